/* SPDX-License-Identifier: MIT */
/* Run a kernel on a device with fresh random data; compare with a double-precision reference. */
#include "tuner/check/verify.h"

#include "tuner/check/verify_internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"

/* ---- Comparison ---- */

double qp_check_read(const qp_check *c, const unsigned char *bytes, size_t i, qp_dtype type) {
  uint16_t v;
  float f;
  if (type == QP_F32) return memcpy(&f, bytes + 4 * i, 4), (double)f;
  return memcpy(&v, bytes + 2 * i, 2), qp_check_widen(c, v);
}

void qp_check_compare_by(qp_check_sums *s, double got, double want, double size) {
  const double d = got - want;
  s->difference += d * d;
  s->reference += size * size;
  s->n++;
}

void qp_check_compare(qp_check_sums *s, double got, double want) {
  qp_check_compare_by(s, got, want, want);
}

double qp_check_scale(const qp_check *c, unsigned segment, unsigned row) {
  return c->segment[segment].scale ? (double)c->segment[segment].scale[row] : 1;
}

/* Compute the row of W^ times its scale; where there are signs, in the checkpoint's basis. */
static void plain_row(const qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                      double *out) {
  const unsigned columns = c->k->problem.columns;
  const double scale = qp_check_scale(c, segment, row);
  for (unsigned k = 0; k < columns; k++) out[k] = scale * (double)qp_half_to_float(w[k]);
  if (c->signs) qp_check_turn(c, true, out);
}

/* Compare the row of W itself. */
static void compare_weights(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                            const unsigned char *y, qp_check_sums *s) {
  const qp_problem *p = &c->k->problem;
  plain_row(c, segment, row, w, c->plain);
  for (unsigned k = 0; k < p->columns; k++)
    qp_check_compare(s, qp_check_read(c, y, (size_t)row * p->columns + k, p->type), c->plain[k]);
}

double qp_check_product(const qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                        unsigned n) {
  const double *x = c->rotated + (size_t)n * c->k->problem.columns;
  double sum = 0;
  for (unsigned k = 0; k < c->k->problem.columns; k++) sum += (double)qp_half_to_float(w[k]) * x[k];
  sum *= qp_check_scale(c, segment, row);
  return c->segment[segment].bias ? sum + qp_check_widen(c, c->segment[segment].bias[row]) : sum;
}

/* What the row adds up to with each row of X~. */
static void compare_products(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                             const unsigned char *y, qp_check_sums *s) {
  const qp_problem *p = &c->k->problem;
  for (unsigned n = 0; n < p->batch; n++) {
    const size_t at = (size_t)n * qp_check_y_stride(c, segment) + row;
    double sum = qp_check_product(c, segment, row, w, n);
    if (c->segment[segment].residual)
      sum += qp_check_read(c, c->segment[segment].residual,
                           (size_t)n * p->segment[segment].rows + row, p->out_type);
    qp_check_compare(s, qp_check_read(c, y, at, p->out_type), sum);
  }
}

qp_status qp_check_decode_rows(qp_check *c, unsigned segment, unsigned row_group, uint16_t *w,
                               uint16_t *piece) {
  const qp_kernel *k = c->k;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_kernel_stream *s = &k->stream[i];
    if (s->segment != segment) continue;
    qp_packed packed = {.stream = &s->stream, .codes = c->stream[i].codes};
    for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) packed.field[f] = c->stream[i].field[f];
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) packed.codebook[b] = c->stream[i].codebook[b];
    qp_status status = qp_reference_decode(c->reference, &packed, row_group, piece, c->err);
    if (status) return status;
    for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
      memcpy(w + (size_t)r * k->problem.columns + s->column, piece + (size_t)r * s->stream.columns,
             s->stream.columns * sizeof *w);
  }
  return QP_OK;
}

/* The i-th of n row groups chosen from all: first and last are among them. */
static unsigned choose(unsigned i, unsigned n, unsigned all) {
  return n == all || n < 2 ? i : (unsigned)((uint64_t)i * (all - 1) / (n - 1));
}

static qp_status compare_segment(qp_check *c, unsigned segment, const unsigned char *y,
                                 qp_check_sums *s) {
  const qp_problem *p = &c->k->problem;
  unsigned rows = qp_problem_stream_rows(p, segment), all = (rows + 31) / 32;
  unsigned n = c->row_groups_max && c->row_groups_max < all ? c->row_groups_max : all;
  size_t cells = (size_t)QP_GROUP_ROWS * p->columns;
  uint16_t *w = qp_check_host(c, 3 * cells * sizeof *w);
  if (!w) return QP_E_NOMEM;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < n && !status; i++) {
    unsigned rg = choose(i, n, all);
    status = qp_check_decode_rows(c, segment, rg, w, w + 2 * cells);
    if (!status && c->of->pairs)
      status = qp_check_decode_rows(c, segment + 1, rg, w + cells, w + 2 * cells);
    for (unsigned r = 0; r < QP_GROUP_ROWS && !status && rg * QP_GROUP_ROWS + r < rows; r++)
      c->of->row(c, segment, rg * QP_GROUP_ROWS + r, w + (size_t)r * p->columns, y, s);
  }
  free(w);
  return status;
}

static bool has_nan(const qp_check *c, const unsigned char *y, size_t n, size_t *where) {
  for (size_t i = 0; i < n; i++)
    if (isnan(qp_check_read(c, y, i, qp_check_output_type(c)))) return *where = i, true;
  return false;
}

/* Rows of outputs: each is written, what lies between them is as it was. */
static qp_status check_rows(const qp_check *c, const unsigned char *y, unsigned rows,
                            unsigned width, unsigned stride, const char *what, qp_verdict *v) {
  const unsigned bytes = qp_dtype_bytes(qp_check_output_type(c));
  const unsigned char was = c->k->adds_to_zero ? 0 : QP_CHECK_POISON;
  size_t at;
  for (unsigned n = 0; n < rows; n++) {
    const unsigned char *row = y + (size_t)n * stride * bytes;
    if (has_nan(c, row, width, &at)) {
      snprintf(v->why, sizeof v->why, "%s: [%u][%zu] is NaN or was never written", what, n, at);
      v->error = NAN;
      return QP_E_WRONG;
    }
    for (size_t i = (size_t)width * bytes; i < (size_t)stride * bytes; i++)
      if (row[i] != was) {
        snprintf(v->why, sizeof v->why, "%s: byte %zu behind row %u was overwritten", what,
                 i - (size_t)width * bytes, n);
        return QP_E_WRONG;
      }
  }
  return QP_OK;
}

static qp_status check_segment(qp_check *c, unsigned i, qp_check_sums *s, unsigned char *y,
                               qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const bool batch = qp_op_has_batch(p->op);
  size_t bytes = qp_check_output_count(c, i) * qp_dtype_bytes(qp_check_output_type(c));
  char what[32];
  snprintf(what, sizeof what, "output of segment %u", i + 1);
  qp_status status = qp_device_download(c->dev, y, c->args.segment[i].y, bytes, c->err);
  if (!status) status = qp_check_guard(c, c->args.segment[i].y, bytes, what, v);
  if (!status)
    status = check_rows(c, y, qp_check_output_rows(c, i), batch ? p->segment[i].rows : p->columns,
                        qp_check_y_stride(c, i), what, v);
  if (!status && qp_op_multiplies_stacks(p->op)) status = qp_check_others(c, i, y, v);
  return status ? status : compare_segment(c, i, y, s);
}

static qp_status check_rotation(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const unsigned rows = c->k->problem.batch, columns = c->k->problem.columns;
  const size_t stride = c->args.y_stride, bytes = 2 * rows * stride;
  unsigned char *y = qp_check_host(c, bytes);
  if (!y) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, y, c->args.y, bytes, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, bytes, "output", v);
  if (!status) status = check_rows(c, y, rows, columns, (unsigned)stride, "output", v);
  for (size_t i = 0; i < (size_t)rows * columns && !status; i++)
    qp_check_compare(s, qp_check_read(c, y, i / columns * stride + i % columns, c->k->problem.type),
                     c->rotated[i]);
  free(y);
  return status;
}

/* Compute row 'row' of W in the checkpoint's basis, in double precision. */
static qp_status row_of(qp_check *c, unsigned row, uint16_t *cells, double *out) {
  const unsigned columns = c->k->problem.columns;
  const size_t all = (size_t)QP_GROUP_ROWS * columns;
  const qp_status status = qp_check_decode_rows(c, 0, row / QP_GROUP_ROWS, cells, cells + all);
  if (status) return status;
  plain_row(c, 0, row, cells + (size_t)(row % QP_GROUP_ROWS) * columns, out);
  return QP_OK;
}

/* One row of Y: of an id that is no row of W it is 0 to the bit. */
static qp_status compare_gathered(qp_check *c, unsigned t, const unsigned char *y, uint16_t *cells,
                                  double *row, qp_check_sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const int32_t id = c->ids[t];
  if (id >= 0 && (unsigned)id < p->segment[0].rows) {
    const qp_status status = row_of(c, (unsigned)id, cells, row);
    for (unsigned k = 0; k < p->columns && !status; k++)
      qp_check_compare(s, qp_check_read(c, y, (size_t)t * p->columns + k, p->type), row[k]);
    return status;
  }
  for (size_t i = 0; i < 2 * (size_t)p->columns; i++)
    if (y[2 * (size_t)t * p->columns + i]) {
      snprintf(v->why, sizeof v->why, "output: row %u is of id %d and must be 0", t, id);
      return QP_E_WRONG;
    }
  return QP_OK;
}

static qp_status check_gathered(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const size_t n = (size_t)p->batch * p->columns;
  size_t at;
  unsigned char *y = qp_check_host(c, n * 2);
  uint16_t *cells = qp_check_host(c, 2 * (size_t)QP_GROUP_ROWS * p->columns * sizeof *cells);
  double *row = qp_check_host(c, p->columns * sizeof *row);
  qp_status status = y && cells && row ? QP_OK : QP_E_NOMEM;
  if (!status) status = qp_device_download(c->dev, y, c->args.y, n * 2, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, n * 2, "output", v);
  if (!status && has_nan(c, y, n, &at)) {
    snprintf(v->why, sizeof v->why, "output: [%zu][%zu] is NaN or was never written",
             at / p->columns, at % p->columns);
    v->error = NAN;
    status = QP_E_WRONG;
  }
  for (unsigned t = 0; t < p->batch && !status; t++)
    status = compare_gathered(c, t, y, cells, row, s, v);
  free(y);
  free(cells);
  free(row);
  return status;
}

static qp_status check_counters(qp_check *c, qp_verdict *v) {
  if (!c->k->counters) return QP_OK;
  uint32_t *counters = qp_check_host(c, c->k->counters * 4);
  if (!counters) return QP_E_NOMEM;
  qp_status status =
      qp_device_download(c->dev, counters, c->args.counters, c->k->counters * 4, c->err);
  for (unsigned i = 0; i < c->k->counters && !status; i++)
    if (counters[i]) {
      snprintf(v->why, sizeof v->why, "counter %u was left at %u; it must return to 0", i,
               counters[i]);
      status = QP_E_WRONG;
    }
  free(counters);
  return status;
}

static qp_status check_zero(qp_check *c, qp_verdict *v) {
  const size_t words = c->args.zero_words;
  if (!words) return QP_OK;
  uint32_t *zero = qp_check_host(c, words * 4);
  if (!zero) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, zero, c->args.zero, words * 4, c->err);
  if (!status) status = qp_check_guard(c, c->args.zero, words * 4, "range to clear", v);
  for (size_t i = 0; i < words && !status; i++)
    if (zero[i]) {
      snprintf(v->why, sizeof v->why, "word %zu of %zu that the launch clears was left at %#x", i,
               words, zero[i]);
      status = QP_E_WRONG;
    }
  free(zero);
  return status;
}

/* Launch the inverse rotation of a segment's rows of W in their place. */
static qp_status turn_back(qp_check *c, unsigned segment) {
  const qp_problem *p = &c->k->problem;
  const qp_kernel *k = c->turn;
  unsigned char params[QP_PARAMS_MAX];
  const qp_arguments a = {.x = c->args.segment[segment].y,
                          .y = c->args.segment[segment].y,
                          .signs = c->args.signs,
                          .rows = qp_problem_stream_rows(p, segment),
                          .x_stride = p->columns,
                          .y_stride = p->columns};
  const qp_launch launch = {.grid = k->grid,
                            .block = k->block,
                            .smem_bytes = k->smem_bytes,
                            .params = params,
                            .params_bytes = qp_kernel_params(k, &a, params)};
  return qp_device_launch(c->dev, c->turn_function, &launch, c->err);
}

static qp_status run(qp_check *c) {
  qp_status status = qp_device_launch(c->dev, c->function, &c->launch, c->err);
  for (unsigned i = 0; c->turn && i < c->k->problem.segments && !status; i++)
    status = turn_back(c, i);
  return status ? status : qp_device_sync(c->dev, c->err);
}

/* A second launch of a kernel that sums in order must give the same bits. */
static qp_status check_repeat(qp_check *c, unsigned i, const unsigned char *y, qp_verdict *v) {
  size_t bytes = qp_check_output_count(c, i) * qp_dtype_bytes(qp_check_output_type(c));
  unsigned char *again = qp_check_host(c, bytes);
  if (!again) return QP_E_NOMEM;
  qp_status status = qp_device_fill(c->dev, c->args.segment[i].y, QP_CHECK_POISON, bytes, c->err);
  if (!status) status = run(c);
  if (!status) status = qp_device_download(c->dev, again, c->args.segment[i].y, bytes, c->err);
  if (!status && memcmp(y, again, bytes) != 0) {
    snprintf(v->why, sizeof v->why, "a second launch gave other bits in segment %u", i + 1);
    status = QP_E_WRONG;
  }
  free(again);
  return status;
}

static qp_status check_segments(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  qp_status status = QP_OK;
  const unsigned outputs = c->of->pairs ? 1 : c->k->problem.segments;
  for (unsigned i = 0; i < outputs && !status; i++) {
    unsigned char *y =
        qp_check_host(c, qp_check_output_count(c, i) * qp_dtype_bytes(qp_check_output_type(c)));
    status = y ? check_segment(c, i, s, y, v) : QP_E_NOMEM;
    if (!status && !c->dev->info.simulated && !c->k->adds_to_zero)
      status = check_repeat(c, i, y, v);
    free(y);
  }
  return status;
}

/* The checks of the operations, each in its row. */
static const qp_op_check checks[QP_OP_COUNT] = {
    [QP_OP_GEMM] = {.inputs = qp_check_gemm_inputs,
                    .outputs = check_segments,
                    .row = compare_products},
    [QP_OP_ROTATE] = {.rotates = true, .inputs = qp_check_rotate_inputs, .outputs = check_rotation},
    [QP_OP_DEQUANT] = {.inputs = qp_check_dequant_inputs,
                       .outputs = check_segments,
                       .row = compare_weights},
    [QP_OP_GATHER] = {.inputs = qp_check_gather_inputs,
                      .no_outputs = true,
                      .outputs = check_gathered},
    [QP_OP_ENCODE] = {.whole = qp_verify_encode},
    [QP_OP_ENCODE_FED] = {.whole = qp_verify_encode_fed},
    [QP_OP_ROUTE] = {.inputs = qp_check_route_inputs, .outputs = qp_check_route_outputs},
    [QP_OP_EXPERTS] = {.inputs = qp_check_experts_inputs,
                       .outputs = check_segments,
                       .row = qp_check_expert_products},
    [QP_OP_EXPERTS_GLU] = {.pairs = true,
                           .tolerance = 1e-3, /* as of gemm-glu */
                           .f32_tolerance = 5e-5,
                           .inputs = qp_check_experts_glu_inputs,
                           .outputs = check_segments,
                           .row = qp_check_expert_products},
    [QP_OP_ROTATE_NORM] = {.inputs = qp_check_norm_inputs, .outputs = qp_check_prologue_outputs},
    [QP_OP_GEMM_GLU] = {.pairs = true,
                        .tolerance = 1e-3,     /* a third of it is seen */
                        .f32_tolerance = 5e-5, /* between gelu and gelu by tanh lie 1e-4 */
                        .inputs = qp_check_pair_inputs,
                        .outputs = check_segments,
                        .row = qp_check_pair},
    [QP_OP_ROTATE_GLU] = {.inputs = qp_check_glu_inputs, .outputs = qp_check_prologue_outputs},
    [QP_OP_ATTEND] = {.inputs = qp_check_attend_inputs, .outputs = qp_check_attend_outputs},
    [QP_OP_PICK] = {.inputs = qp_check_pick_inputs, .outputs = qp_check_pick_outputs},
    [QP_OP_PLAIN] = {.inputs = qp_check_plain_inputs, .outputs = qp_check_plain_outputs},
    [QP_OP_ROWS_PRODUCT] = {.inputs = qp_check_rows_product_inputs,
                            .outputs = qp_check_rows_product_outputs},
    [QP_OP_COMBINE] = {.inputs = qp_check_combine_inputs, .outputs = qp_check_combine_outputs},
};

static qp_status check_outputs(qp_check *c, qp_verdict *v) {
  qp_check_sums s = {0};
  qp_status status = check_counters(c, v);
  if (!status) status = check_zero(c, v);
  if (!status) status = c->of->outputs(c, &s, v);
  if (status) return status;
  v->error = sqrt(s.difference / (s.reference > 0 ? s.reference : 1));
  v->compared = s.n;
  if (v->error <= v->tolerance) return QP_OK; /* false for NaN */
  snprintf(v->why, sizeof v->why, "relative L2 error %.3g is above %.0e", v->error, v->tolerance);
  return QP_E_WRONG;
}

/* What became of a check: a verdict, or the error that kept it from being done. */
static qp_status settle(qp_status status, qp_verdict *v, qp_verdict *out, const qp_error *err) {
  if (status == QP_E_DEVICE ||
      status == QP_E_COMPILE) /* the kernel's fault, as the device tells it */
    snprintf(v->why, sizeof v->why, "%.500s", err ? err->text : "the device refused it");
  else if (status && status != QP_E_WRONG)
    return status;
  v->pass = status == QP_OK;
  v->fault = status == QP_E_DEVICE;
  *out = *v;
  return QP_OK;
}

/* Load a compiled kernel on the device. */
static qp_status load(qp_check *c, const qp_kernel *k, const qp_compiled *compiled,
                      qp_module **module, qp_function **function) {
  size_t bytes;
  const void *image = qp_compiled_image(compiled, c->dev->info.wants_ptx, &bytes);
  if (!image)
    return qp_fail(c->err, QP_E_ARG, "%s was not compiled to %s", k->name,
                   c->dev->info.wants_ptx ? "PTX" : "a cubin");
  const qp_status status = qp_device_load(c->dev, image, bytes, module, c->err);
  return status ? status : qp_device_function(c->dev, *module, k->name, function, c->err);
}

static double tolerance_of(const qp_problem *p, const qp_op_check *of) {
  if (of->whole) return 0;
  if (of->f32_tolerance > 0 && p->type == QP_F16 && p->out_type == QP_F32) return of->f32_tolerance;
  const double tolerance = of->tolerance > 0 ? of->tolerance : 2e-3;
  return p->type == QP_BF16 ? 4 * tolerance : tolerance;
}

/* Load, run, compare. */
static qp_status prove(qp_check *c, const qp_compiled *compiled, const qp_compiled *turn,
                       qp_verdict *v) {
  qp_module *module = NULL, *turning = NULL;
  c->launch = (qp_launch){.grid = c->k->grid,
                          .block = c->k->block,
                          .smem_bytes = c->k->smem_bytes,
                          .params = c->params,
                          .params_bytes = qp_kernel_params(c->k, &c->args, c->params)};
  qp_status status = load(c, c->k, compiled, &module, &c->function);
  assert(turn || !c->turn);
  if (!status && c->turn) status = load(c, c->turn, turn, &turning, &c->turn_function);
  if (!status) status = run(c);
  if (!status) status = check_outputs(c, v);
  if (module) qp_device_unload(c->dev, module);
  if (turning) qp_device_unload(c->dev, turning);
  return status;
}

qp_status qp_verify_unrotated(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                              const qp_verify_turn *turn, qp_reference *reference, uint64_t seed,
                              unsigned row_groups_max, qp_verdict *out, qp_error *err) {
  const qp_op_check *of = &checks[kernel->problem.op];
  qp_verdict v = {.tolerance = tolerance_of(&kernel->problem, of)};
  if (of->whole) return settle(of->whole(dev, kernel, compiled, seed, &v, err), &v, out, err);
  qp_check *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a check");
  *c = (qp_check){.dev = dev,
                  .k = kernel,
                  .turn = turn ? turn->kernel : NULL,
                  .reference = reference,
                  .seed = seed,
                  .random = {seed},
                  .err = err,
                  .row_groups_max = row_groups_max,
                  .of = of};
  c->plain = qp_check_host(c, kernel->problem.columns * sizeof *c->plain);
  qp_status status = c->plain ? qp_check_inputs(c) : QP_E_NOMEM;
  if (status) return qp_check_release(c), status;
  status = prove(c, compiled, turn ? turn->compiled : NULL, &v);
  qp_check_release(c);
  return settle(status, &v, out, err);
}

qp_status qp_verify(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                    qp_reference *reference, uint64_t seed, unsigned row_groups_max,
                    qp_verdict *out, qp_error *err) {
  return qp_verify_unrotated(dev, kernel, compiled, NULL, reference, seed, row_groups_max, out,
                             err);
}
