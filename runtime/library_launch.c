/* SPDX-License-Identifier: MIT */
/* Launches kernels:  arguments of the public interface --> which kernels, their parameters, the
   stream. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/arguments.h"
#include "runtime/library_launch.h"

enum {
  ROWS_MAX = 65536,
  GEMM_ARGS_LEAST = offsetof(qpal_gemm_args, x_stride), /* bytes in QPAL_ABI 1 */
  DEQUANT_ARGS_LEAST = offsetof(qpal_dequant_args, signs)
};

static_assert((int)QP_LAUNCH_GEMM == (int)QPAL_GEMM && (int)QP_LAUNCH_ROTATE == (int)QPAL_ROTATE &&
                  (int)QP_LAUNCH_DEQUANT == (int)QPAL_DEQUANT &&
                  (int)QP_LAUNCH_GATHER == (int)QPAL_GATHER &&
                  (int)QP_LAUNCH_GEMM_GLU == (int)QPAL_GEMM_GLU,
              "kernels of the library are launched by their op");
static_assert((int)QPAL_MAX_FIELDS <= (int)QP_ARGUMENT_FIELDS &&
                  (int)QPAL_MAX_CODEBOOKS <= (int)QP_ARGUMENT_CODEBOOKS &&
                  (int)QP_LIB_MEMBERS <= (int)QP_ARGUMENT_SEGMENTS &&
                  (int)QPAL_MAX_PARTS == (int)QP_LIB_PARTS &&
                  (int)QPAL_MORE_PARTS == (int)QP_LIB_MORE_PARTS,
              "the arguments hold every linear of a launch");

const char *const qp_lib_type_names[3] = {"f16", "bf16", "f32"};

/* ---- Arguments ---- */

static const qpal_weights_part *part_of(const qpal_weights *w, unsigned i) {
  return i < QPAL_MAX_PARTS ? &w->part[i] : &w->more[i - QPAL_MAX_PARTS];
}

/* The streams of one linear: codes, fields, codebooks (the library's own come from its
   constants). */
void qp_lib_add_streams(qp_lib_arguments *a, const qpal_kernels *ks, const qp_lib_linear *e,
                        unsigned experts, const qpal_weights *w) {
  const qpal_library *l = ks->library;
  const unsigned pieces = qp_lib_pieces(l, e);
  for (unsigned n = 0; n < pieces * e->parts; n++) { /* piece by piece */
    const unsigned i = n % e->parts, piece = n / e->parts;
    const qp_lib_part *part = qp_lib_part_of(e, i);
    const qpal_weights_part *from = part_of(w, i);
    const qp_lib_quantizer *q = QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, part->quantizer);
    qp_stream_arguments *to = &a->words.stream[a->streams++];
    to->codes = from->codes + part->code_bytes / pieces * piece * experts;
    for (unsigned f = 0; f < q->fields; f++)
      to->field[f] = from->field[f] + part->field_bytes[f] / pieces * piece * experts;
    for (unsigned c = 0; c < q->codebooks; c++) {
      const qp_lib_codebook *book = QP_LIB_GET(l, CODEBOOKS, qp_lib_codebook, q->codebook[c]);
      to->codebook[c] = book->scope ? from->codebook[c] + part->codebook_bytes[c] / pieces * piece
                                    : ks->constants + book->constant;
    }
  }
}

qpal_status qp_lib_launch(const qpal_kernels *ks, uint32_t kernel, const qp_lib_arguments *a,
                          bool pdl, void *stream) {
  const qp_lib_kernel *k = QP_LIB_GET(ks->library, KERNELS, qp_lib_kernel, kernel);
  unsigned char params[QP_PARAMS_MAX];
  qp_error err = {.text = ""};
  const size_t bytes = qp_arguments_pack(k->op, &a->words, a->streams, a->segments, params);
  const qp_launch how = {.grid = k->grid,
                         .block = k->block,
                         .smem_bytes = k->smem_bytes,
                         .params = params,
                         .params_bytes = k->params_bytes, /* without strides in older libraries */
                         .pdl = pdl && k->flags & QP_LIB_PDL,
                         .on_stream = true,
                         .stream = stream};
  assert(k->params_bytes <= bytes);
  (void)bytes;
  if (a->words.activation > QPAL_RELU && !(k->flags & QP_LIB_LIMITS)) /* a limit is above it, too */
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "kernel '%.200s' was exported before gated linear units took limits, and "
                     "activation %d: export it again",
                     qp_lib_string(ks->library, k->name), QPAL_SWIGLU_OAI);
  const qp_status status =
      qp_device_launch(ks->device->dev, ks->function[kernel - ks->first], &how, &err);
  if (status) qp_fail_prefix(&err, status, "kernel '%.200s'", qp_lib_string(ks->library, k->name));
  return qp_refuse_status(status, &err);
}

/* ---- Checks of addresses ---- */

qpal_status qp_lib_check_address(const char *name, unsigned index, qpal_ptr p, unsigned align,
                                 bool needed) {
  if (!p && needed) return qp_refuse(QPAL_E_ARG, "%s (member %u) is 0", name, index);
  if (p % align)
    return qp_refuse(QPAL_E_ARG, "%s (member %u) is 0x%llx; it must be a multiple of %u", name,
                     index, (unsigned long long)p, align);
  return QPAL_OK;
}

qpal_status qp_lib_check_weights(const qpal_library *l, const qp_lib_linear *e, unsigned member,
                                 const qpal_weights *w) {
  if (!w) return qp_refuse(QPAL_E_ARG, "weights (member %u) is NULL", member);
  qpal_status status = qp_lib_check_address("weights.scale", member, w->scale, 4, false);
  if (!status && e->parts > QPAL_MAX_PARTS && !w->more)
    return qp_refuse(QPAL_E_ARG, "weights.more (member %u) is NULL; it has %u parts behind %d",
                     member, e->parts - QPAL_MAX_PARTS, QPAL_MAX_PARTS);
  for (unsigned i = 0; i < e->parts && !status; i++) {
    const uint32_t quantizer = qp_lib_part_of(e, i)->quantizer;
    const qp_lib_quantizer *q = QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, quantizer);
    const qpal_weights_part *part = part_of(w, i);
    status = qp_lib_check_address("weights.part.codes", member, part->codes, 16, true);
    for (unsigned f = 0; f < q->fields && !status; f++)
      status = qp_lib_check_address("weights.part.field", member, part->field[f], 16, true);
    for (unsigned c = 0; c < q->codebooks && !status; c++)
      if (QP_LIB_GET(l, CODEBOOKS, qp_lib_codebook, q->codebook[c])->scope)
        status = qp_lib_check_address("weights.part.codebook", member, part->codebook[c], 16, true);
  }
  return status;
}

qpal_status qp_lib_take_stride(const char *name, unsigned member, unsigned width, unsigned multiple,
                               unsigned *stride) {
  if (!*stride || *stride == width) return *stride = width, QPAL_OK;
  if (*stride > width && *stride % multiple == 0) return QPAL_OK;
  return qp_refuse(QPAL_E_ARG,
                   "%s (member %u) is %u; it must be a multiple of %u and at least %u, or 0: %u",
                   name, member, *stride, multiple, width, width);
}

qpal_status qp_lib_check_type(unsigned type, bool f32) {
  if (type <= (f32 ? QPAL_F32 : QPAL_BF16)) return QPAL_OK;
  return qp_refuse(QPAL_E_ARG, "type %u; QPAL_F16, QPAL_BF16%s", type, f32 ? " or QPAL_F32" : "");
}

qpal_status qp_lib_check_norm(float eps, float weight_offset, qpal_ptr weight) {
  if (!(eps >= 0) || !isfinite(eps))
    return qp_refuse(QPAL_E_ARG, "eps is %g; it must be a number from 0 on", (double)eps);
  if (!isfinite(weight_offset))
    return qp_refuse(QPAL_E_ARG, "weight_offset is %g; it must be a number", (double)weight_offset);
  return qp_lib_check_address("weight", 0, weight, 16, false);
}

qpal_status qp_lib_check_glu(unsigned activation, float limit, qpal_ptr up, unsigned columns,
                             unsigned *up_stride) {
  if (activation > QPAL_SWIGLU_OAI)
    return qp_refuse(QPAL_E_ARG, "activation is %u; 0 to %d are known", activation,
                     QPAL_SWIGLU_OAI);
  if (!(limit >= 0))
    return qp_refuse(QPAL_E_ARG, "limit is %g; it must be a number from 0 on", (double)limit);
  const qpal_status status = qp_lib_check_address("up", 0, up, 16, true);
  return status ? status : qp_lib_take_stride("up_stride", 0, columns, 8, up_stride);
}

/* ---- gemm ---- */

/* Find the linears of a group in the order of its members. */
static const qp_lib_linear *linear_of(const qpal_library *l, const qp_lib_problem *p, unsigned s) {
  return QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s]);
}

static const qp_lib_problem *problem_of(const qpal_library *l, unsigned group) {
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, group);
  return QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
}

/* Put in what strides of 0 stand for; '*apart': some rows do not lie close. */
static qpal_status take_strides(const qpal_library *l, qpal_gemm_args *a, bool *apart) {
  const qp_lib_problem *p = problem_of(l, a->group);
  qpal_status status = qp_lib_take_stride("x_stride", 0, p->columns, 8, &a->x_stride);
  *apart = a->x_stride != p->columns;
  for (unsigned s = 0; s < p->segments && !status; s++) {
    const unsigned m = linear_of(l, p, s)->rows;
    status = qp_lib_take_stride("y_stride", s, m, 1, &a->y_stride[s]);
    if (!status) status = qp_lib_take_stride("residual_stride", s, m, 1, &a->residual_stride[s]);
    *apart |= a->y_stride[s] != m || a->residual_stride[s] != m;
  }
  return status;
}

static const qp_lib_kernel *kernel_of(const qpal_kernels *ks, uint32_t i) {
  return QP_LIB_GET(ks->library, KERNELS, qp_lib_kernel, i);
}

static qpal_status no_kernel(const qpal_kernels *ks, const qp_lib_group *g,
                             const qpal_gemm_args *a) {
  const qpal_library *l = ks->library;
  char there[512] = "";
  size_t n = 0;
  const qp_lib_range all = ks->gemm[a->epilogue][g->problem];
  const uint32_t first = all.first, count = all.count;
  const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
  if (ks->gemm[QP_LIB_GEMM_EXPERTS][g->problem].count)
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "group '%s' is of stacks of experts, which qpal_experts launches",
                     qp_lib_string(l, g->name));
  if (!count && ks->gemm[0][g->problem].count)
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "group '%s' has no kernel with a gated linear unit: `qpal export --glu` makes "
                     "them of up and gate",
                     qp_lib_string(l, g->name));
  if (!count && QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[0])->parts)
    return qp_refuse(QPAL_E_NO_KERNEL, "group '%s' is looked up by qpal_gather alone",
                     qp_lib_string(l, g->name));
  if (!count)
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "group '%s' has no kernels: its linears stay in 16 bits and are the engine's",
                     qp_lib_string(l, g->name));
  for (uint32_t i = first; i < first + count; i++) {
    const qp_lib_kernel *k = kernel_of(ks, i);
    const int more = snprintf(there + n, sizeof there - n, "%s%s to %s, batch %u%s", n ? "; " : "",
                              qp_lib_type_names[k->type], qp_lib_type_names[k->out_type], k->batch,
                              k->flags & QP_LIB_ROTATES ? ", rotating" : "");
    if (more > 0 && n + (size_t)more < sizeof there) n += (size_t)more;
  }
  return qp_refuse(
      QPAL_E_NO_KERNEL, "group '%s' has no kernel from %s to %s%s%s; there are: %s",
      qp_lib_string(l, g->name), qp_lib_type_names[a->type], qp_lib_type_names[a->out_type],
      a->signs ? " that rotates X ('signs' is given)" : "",
      qp_lib_has_strides(l) ? "" : " (with strides of one row alone: export it again)", there);
}

qpal_status qp_lib_check_epilogue(unsigned epilogue, unsigned activation, float limit) {
  if (epilogue > QPAL_EPILOGUE_GLU)
    return qp_refuse(QPAL_E_ARG, "epilogue is %u; QPAL_EPILOGUE_NONE and _GLU are known", epilogue);
  if (activation > QPAL_SWIGLU_OAI || (activation && !epilogue))
    return qp_refuse(QPAL_E_ARG, "activation is %u; 0 to %d are known, with QPAL_EPILOGUE_GLU",
                     activation, QPAL_SWIGLU_OAI);
  if (!(limit >= 0) || (limit > 0 && !epilogue))
    return qp_refuse(QPAL_E_ARG, "limit is %g; numbers from 0 on are, with QPAL_EPILOGUE_GLU",
                     (double)limit);
  return QPAL_OK;
}

/* The kernels that can do it; strides of 0 in '*a' become what they stand for.  Kernels that know
   none can take one row at a time: its stride does not count. */
static qpal_status find_gemms(const qpal_kernels *ks, qpal_gemm_args *a, qp_lib_range *out) {
  const qpal_library *l = ks->library;
  bool apart = false;
  if (a->group >= qp_lib_count(l, QP_LIB_GROUPS))
    return qp_refuse(QPAL_E_ARG, "group %u: the library has %u", a->group,
                     qp_lib_count(l, QP_LIB_GROUPS));
  if (!a->rows || a->rows > ROWS_MAX)
    return qp_refuse(QPAL_E_ARG, "rows is %u; 1 to %d are possible", a->rows, ROWS_MAX);
  if (a->capacity && a->capacity < a->rows)
    return qp_refuse(QPAL_E_ARG, "capacity is %u, fewer than the %u rows", a->capacity, a->rows);
  qpal_status status = qp_lib_check_epilogue(a->epilogue, a->activation, a->limit);
  if (!status && a->reserved)
    status = qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved);
  if (!status) status = qp_lib_check_type(a->type, false);
  if (!status) status = qp_lib_check_type(a->out_type, true);
  if (!status) status = take_strides(l, a, &apart);
  if (status) return status;
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, a->group);
  const qp_lib_range all = ks->gemm[a->epilogue][g->problem];
  *out = (qp_lib_range){.count = 0};
  for (uint32_t i = all.first; i < all.first + all.count; i++) {
    const qp_lib_kernel *k = kernel_of(ks, i);
    if (k->type != a->type || k->out_type != a->out_type ||
        (k->flags & QP_LIB_ROTATES) != (a->signs ? QP_LIB_ROTATES : 0u) ||
        (apart && k->batch > 1 && !qp_lib_has_strides(l)))
      continue;
    if (!out->count++) out->first = i;
  }
  return out->count ? QPAL_OK : no_kernel(ks, g, a);
}

/*
** The kernel for the next rows: of those that there is room for, the smallest that takes all that
** are left, or the largest; NULL where there is room for none.
*/
static const qp_lib_kernel *next_kernel(const qpal_kernels *ks, const qp_lib_range *c,
                                        unsigned left, unsigned room, uint32_t *index) {
  const qp_lib_kernel *chosen = NULL;
  for (uint32_t i = c->first; i < c->first + c->count; i++) {
    const qp_lib_kernel *k = kernel_of(ks, i);
    if (k->batch > room) break;
    chosen = k;
    *index = i;
    if (k->batch >= left) break;
  }
  return chosen;
}

static qpal_status no_room(const qpal_kernels *ks, const qp_lib_range *c, unsigned room) {
  return qp_refuse(
      QPAL_E_NO_KERNEL,
      "the smallest kernel of this group takes %u rows, there is room for %u: give X, Y "
      "and residuals more room and say so in 'capacity'",
      kernel_of(ks, c->first)->batch, room);
}

/* From which number of rows on a GEMM on decoded weights is faster: as it was measured, else what
   the largest kernel cannot do in one launch. */
static unsigned dequant_from(const qpal_kernels *ks, const qp_lib_range *c) {
  const qp_lib_kernel *largest = kernel_of(ks, c->first + c->count - 1);
  const uint32_t measured = qp_lib_dequant_rows(ks->library, largest);
  return measured ? measured : largest->batch + 1;
}

qpal_status qpal_gemm_query(const qpal_kernels *ks, const qpal_gemm_args *given,
                            qpal_gemm_info *info) {
  qpal_gemm_args a;
  qp_lib_range c;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, GEMM_ARGS_LEAST, "qpal_gemm_args");
  if (!status) status = find_gemms(ks, &a, &c);
  if (status) return status;
  qpal_gemm_info own = {.launches = 0};
  own.prefer_dequant = a.rows >= dequant_from(ks, &c);
  unsigned left = a.rows, room = a.capacity ? a.capacity : a.rows;
  while (left) {
    uint32_t index = 0;
    const qp_lib_kernel *k = next_kernel(ks, &c, left, room, &index);
    if (!k) return no_room(ks, &c, room);
    if (!own.launches++) own.kernel = index, own.batch = k->batch;
    own.adds |= (k->flags & QP_LIB_ADDS) != 0;
    own.pdl |= (k->flags & QP_LIB_PDL) != 0;
    if (k->workspace_bytes > own.workspace_bytes) own.workspace_bytes = k->workspace_bytes;
    if (4ull * k->counters > own.counter_bytes) own.counter_bytes = 4ull * k->counters;
    own.latency_ps = own.latency_ps < 0 || k->latency_ps < 0 ? -1 : own.latency_ps + k->latency_ps;
    const unsigned done = k->batch < left ? k->batch : left;
    left -= done;
    room -= done;
  }
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_gemm_info");
}

static qpal_status check_segments(const qpal_library *l, const qpal_gemm_args *a) {
  const qp_lib_problem *p = problem_of(l, a->group);
  const unsigned bytes = a->out_type == QPAL_F32 ? 4 : 2;
  qpal_status status = QPAL_OK;
  for (unsigned s = 0; s < p->segments && !status; s++) {
    const qpal_segment *e = &a->segment[s];
    status = qp_lib_check_weights(l, linear_of(l, p, s), s, e->weights);
    if (!status) status = qp_lib_check_address("bias", s, e->bias, 2, false);
    if (!status) status = qp_lib_check_address("residual", s, e->residual, bytes, false);
    if (!status) status = qp_lib_check_address("y", s, e->y, bytes, !a->epilogue || !s);
    if (!status && a->epilogue && (e->residual || (s && e->y)))
      status = qp_refuse(QPAL_E_ARG, "%s (member %u) is given, which a gated linear unit has not",
                         e->residual ? "residual" : "y", s);
  }
  return status;
}

static qpal_status check_gemm(const qpal_kernels *ks, const qpal_gemm_args *a,
                              const qp_lib_range *c) {
  bool workspace = false, counters = false;
  for (uint32_t i = c->first; i < c->first + c->count; i++) {
    workspace |= kernel_of(ks, i)->workspace_bytes > 0;
    counters |= kernel_of(ks, i)->counters > 0;
  }
  if (a->flags & ~(unsigned)(QPAL_PDL | QPAL_Y_IS_ZERO))
    return qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL and QPAL_Y_IS_ZERO are known", a->flags);
  if (!a->segment) return qp_refuse(QPAL_E_ARG, "segment is NULL");
  qpal_status status = qp_lib_check_address("x", 0, a->x, 16, true);
  if (!status) status = qp_lib_check_address("signs", 0, a->signs, 4, false);
  if (!status) status = qp_lib_check_address("workspace", 0, a->workspace, 16, workspace);
  if (!status) status = qp_lib_check_address("counters", 0, a->counters, 4, counters);
  return status ? status : check_segments(ks->library, a);
}

/* Where row 'row' of a matrix begins; 0 stays 0. */
static qpal_ptr at_row(qpal_ptr p, unsigned row, unsigned stride, unsigned bytes) {
  return p ? p + (uint64_t)row * stride * bytes : 0;
}

/* Make the arguments of rows 'row' and on; 'words.zero' stays 0, as there is nothing to clear for a
   later launch. */
static qp_lib_arguments gemm_arguments(const qpal_kernels *ks, const qpal_gemm_args *a,
                                       unsigned row) {
  const qp_lib_problem *p = problem_of(ks->library, a->group);
  const unsigned bytes = a->out_type == QPAL_F32 ? 4 : 2;
  qp_lib_arguments to = {.words = {.x = at_row(a->x, row, a->x_stride, 2),
                                   .x_stride = a->x_stride,
                                   .signs = a->signs,
                                   .workspace = a->workspace,
                                   .counters = a->counters,
                                   .activation = qp_glu_word(a->activation, a->limit)},
                         .segments = p->segments};
  for (unsigned s = 0; s < p->segments; s++) {
    const qpal_segment *e = &a->segment[s];
    const qp_stride_arguments stride = {.y = a->y_stride[s], .residual = a->residual_stride[s]};
    qp_lib_add_streams(&to, ks, linear_of(ks->library, p, s), 1, e->weights);
    to.words.segment[s] =
        (qp_segment_arguments){.scale = e->weights->scale,
                               .bias = e->bias,
                               .residual = at_row(e->residual, row, stride.residual, bytes),
                               .y = at_row(e->y, row, stride.y, bytes)};
    to.words.stride[s] = stride;
  }
  return to;
}

/* A kernel that adds wants its rows of Y zero: what lies close by one call, else row by row. */
static qpal_status clear_y(const qpal_kernels *ks, const qpal_gemm_args *a, unsigned row,
                           unsigned rows, void *stream) {
  const qpal_library *l = ks->library;
  qp_device *dev = ks->device->dev;
  qp_error err = {.text = ""};
  const qp_lib_problem *p = problem_of(l, a->group);
  qp_status status = QP_OK;
  for (unsigned s = 0; s < p->segments && !status; s++) {
    const unsigned m = linear_of(l, p, s)->rows, at_once = a->y_stride[s] == m ? rows : 1;
    for (unsigned n = 0; n < rows && !status; n += at_once) {
      const qpal_ptr y = at_row(a->segment[s].y, row + n, a->y_stride[s], 4); /* they write fp32 */
      const size_t bytes = (size_t)at_once * m * 4;
      status = dev->ops->clear ? dev->ops->clear(dev, y, bytes, stream, &err)
                               : qp_device_fill(dev, y, 0, bytes, &err);
    }
  }
  return qp_refuse_status(status, &err);
}

qpal_status qpal_gemm(const qpal_kernels *ks, const qpal_gemm_args *given, void *stream) {
  qpal_gemm_args a;
  qp_lib_range c;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, GEMM_ARGS_LEAST, "qpal_gemm_args");
  if (!status) status = find_gemms(ks, &a, &c);
  if (!status) status = check_gemm(ks, &a, &c);
  if (status) return status;
  unsigned row = 0, room = a.capacity ? a.capacity : a.rows;
  if (kernel_of(ks, c.first)->batch > room) return no_room(ks, &c, room);
  void *before = qp_device_enter(ks->device);
  while (row < a.rows && !status) {
    uint32_t index = 0;
    const qp_lib_kernel *k = next_kernel(ks, &c, a.rows - row, room - row, &index);
    if (!k) {
      status = no_room(ks, &c, room - row);
      break;
    }
    if (k->flags & QP_LIB_ADDS && !(a.flags & QPAL_Y_IS_ZERO))
      status = clear_y(ks, &a, row, k->batch, stream);
    const qp_lib_arguments to = gemm_arguments(ks, &a, row);
    if (!status) status = qp_lib_launch(ks, index, &to, (a.flags & QPAL_PDL) != 0, stream);
    row += k->batch;
  }
  qp_device_leave(ks->device, before);
  return status;
}

/* ---- dequant, gather ---- */

uint32_t qp_lib_find_kernel(const qpal_kernels *ks, unsigned op, uint32_t problem, unsigned columns,
                            unsigned type, bool inverse) {
  return qp_lib_find_rotation(ks, op, problem, columns, type, inverse, 0);
}

uint32_t qp_lib_find_rotation(const qpal_kernels *ks, unsigned op, uint32_t problem,
                              unsigned columns, unsigned type, bool inverse, unsigned block) {
  const bool rotates = op == QPAL_ROTATE || op == QPAL_ROTATE_NORM || op == QPAL_ROTATE_GLU;
  uint32_t low = ks->first, high = ks->first + ks->count;
  while (low < high) { /* sorted by op, problem, columns, type, INVERSE, block */
    const uint32_t middle = low + (high - low) / 2;
    const qp_lib_kernel *k = kernel_of(ks, middle);
    const uint64_t have[] = {k->op,
                             k->problem,
                             k->columns,
                             k->type,
                             (k->flags & QP_LIB_INVERSE) != 0,
                             rotates ? k->batch : 0};
    const uint64_t want[] = {op, problem, columns, type, inverse, block};
    unsigned i = 0;
    while (i < 5 && have[i] == want[i]) i++;
    if (have[i] == want[i]) return middle;
    if (have[i] < want[i])
      low = middle + 1;
    else
      high = middle;
  }
  return QP_LIB_NONE;
}

/* Launch the kernel that does 'op' to one member alone. */
static qpal_status launch_member(const qpal_kernels *ks, unsigned op, const qp_lib_member *one,
                                 unsigned member, unsigned type, qp_lib_arguments *to, bool pdl,
                                 void *stream) {
  const qpal_library *l = ks->library;
  const uint32_t kernel =
      qp_lib_find_kernel(ks, op, one->problem, one->linear->columns, type, false);
  if (kernel == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL, "the library has no %s of '%s' to %s",
                     op == QPAL_GATHER ? "gather" : "dequant",
                     qp_lib_string(l, one->group->tensor[member]), qp_lib_type_names[type]);
  void *before = qp_device_enter(ks->device);
  const qpal_status status = qp_lib_launch(ks, kernel, to, pdl, stream);
  qp_device_leave(ks->device, before);
  return status;
}

/* Bring the rows of W back to the checkpoint's basis, in their place. */
static qpal_status unrotate(const qpal_kernels *ks, uint32_t kernel, const qp_lib_linear *e,
                            const qpal_dequant_args *a, void *stream) {
  const qp_lib_arguments to = {.words = {.x = a->w,
                                         .y = a->w,
                                         .signs = a->signs,
                                         .rows = e->rows,
                                         .x_stride = e->columns,
                                         .y_stride = e->columns}};
  void *before = qp_device_enter(ks->device);
  const qpal_status status = qp_lib_launch(ks, kernel, &to, false, stream);
  qp_device_leave(ks->device, before);
  return status;
}

qpal_status qpal_dequant(const qpal_kernels *ks, const qpal_dequant_args *given, void *stream) {
  qpal_dequant_args a;
  qp_lib_member one;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, DEQUANT_ARGS_LEAST, "qpal_dequant_args");
  if (!status) status = qp_lib_find_member(ks->library, a.group, a.member, &one);
  if (!status && a.flags) status = qp_refuse(QPAL_E_ARG, "flags is 0x%x; it must be 0", a.flags);
  if (!status) status = qp_lib_check_type(a.type, false);
  if (!status) status = qp_lib_check_weights(ks->library, one.linear, a.member, a.weights);
  if (!status) status = qp_lib_check_address("w", a.member, a.w, 16, true);
  if (!status) status = qp_lib_check_address("signs", a.member, a.signs, 16, false);
  if (status) return status;
  const uint32_t turn =
      qp_lib_find_rotation(ks, QPAL_ROTATE, QP_LIB_NONE, one.linear->columns, a.type, true,
                           qp_lib_rotation(ks->library, one.linear));
  if (a.signs && turn == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "the library has no inverse rotation of K = %u in %s, which signs ask for: "
                     "`qpal export --inverse` makes it",
                     one.linear->columns, qp_lib_type_names[a.type]);
  qp_lib_arguments to = {.words.segment = {{.scale = a.weights->scale, .y = a.w}}, .segments = 1};
  qp_lib_add_streams(&to, ks, one.linear, 1, a.weights);
  status = launch_member(ks, QPAL_DEQUANT, &one, a.member, a.type, &to, false, stream);
  return status || !a.signs ? status : unrotate(ks, turn, one.linear, &a, stream);
}

qpal_status qpal_gather(const qpal_kernels *ks, const qpal_gather_args *given, void *stream) {
  qpal_gather_args a;
  qp_lib_member one;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_gather_args");
  if (!status) status = qp_lib_find_member(ks->library, a.group, a.member, &one);
  if (!status && a.flags & ~(unsigned)QPAL_PDL)
    status = qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", a.flags);
  if (!status) status = qp_lib_check_type(a.type, false);
  if (!status) status = qp_lib_check_weights(ks->library, one.linear, a.member, a.weights);
  if (!status) status = qp_lib_check_address("ids", a.member, a.ids, 4, a.rows > 0);
  if (!status) status = qp_lib_check_address("signs", a.member, a.signs, 4, false);
  if (!status) status = qp_lib_check_address("y", a.member, a.y, 16, a.rows > 0);
  if (status || !a.rows) return status;
  qp_lib_arguments to = {.words = {.x = a.ids,
                                   .y = a.y,
                                   .signs = a.signs,
                                   .rows = a.rows,
                                   .segment = {{.scale = a.weights->scale}}},
                         .segments = 1};
  qp_lib_add_streams(&to, ks, one.linear, 1, a.weights);
  return launch_member(ks, QPAL_GATHER, &one, a.member, a.type, &to, (a.flags & QPAL_PDL) != 0,
                       stream);
}
