/* SPDX-License-Identifier: MIT */
/* Launches what stands beside the packed linears of a decoder: qpal_attend, qpal_pick, qpal_plain.
   */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "runtime/library_launch.h"

static_assert((int)QP_LAUNCH_ATTEND == (int)QPAL_ATTEND &&
                  (int)QP_LAUNCH_PICK == (int)QPAL_PICK && (int)QP_LAUNCH_PLAIN == (int)QPAL_PLAIN,
              "kernels of the library are launched by their op");

static qpal_status check_flags(unsigned flags) {
  if (!(flags & ~(unsigned)QPAL_PDL)) return QPAL_OK;
  return qp_refuse(QPAL_E_ARG, "flags is 0x%x; QPAL_PDL is known", flags);
}

static qpal_status launch(const qpal_kernels *ks, unsigned op, unsigned columns, unsigned type,
                          const qp_lib_arguments *a, unsigned flags, void *stream) {
  const uint32_t kernel = qp_lib_find_kernel(ks, op, QP_LIB_NONE, columns, type, false);
  if (kernel == QP_LIB_NONE)
    return qp_refuse(QPAL_E_NO_KERNEL,
                     "the library has no %s of K = %u in %s; qpal export "
                     "--decoder puts them in",
                     op == QPAL_ATTEND ? "attention"
                     : op == QPAL_PICK ? "choice of tokens"
                                       : "linear in 16 bits",
                     columns, qp_lib_type_names[type]);
  if (!a->words.rows) return QPAL_OK;
  void *before = qp_device_enter(ks->device);
  const qpal_status status = qp_lib_launch(ks, kernel, a, (flags & QPAL_PDL) != 0, stream);
  qp_device_leave(ks->device, before);
  return status;
}

/* ---- attend ---- */

static qpal_status check_heads(const qpal_attend_args *a) {
  if (!a->kv_heads || a->heads % a->kv_heads || !a->heads || a->heads > 1u << 16)
    return qp_refuse(QPAL_E_ARG,
                     "kv_heads is %u and heads %u; the one must divide the other, of "
                     "which there are 1 to 65536",
                     a->kv_heads, a->heads);
  if (!a->context || a->context > 1u << 30)
    return qp_refuse(QPAL_E_ARG, "context is %u; 1 to 2^30 are possible", a->context);
  if (a->rotary && (!a->pairs || 2 * (uint64_t)a->pairs > a->columns))
    return qp_refuse(QPAL_E_ARG, "pairs is %u; a head has %u elements: 1 to %u", a->pairs,
                     a->columns, a->columns / 2);
  if (!isfinite(a->scale))
    return qp_refuse(QPAL_E_ARG, "scale is %g; it must be a number", (double)a->scale);
  return a->reserved ? qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved) : QPAL_OK;
}

static qpal_status check_attend(qpal_attend_args *a) {
  const struct {
    const char *name;
    qpal_ptr at;
    unsigned align;
    bool needed;
  } address[] = {{"q", a->q, 16, true},
                 {"k", a->k, 16, true},
                 {"v", a->v, 16, true},
                 {"y", a->y, 16, true},
                 {"keys", a->keys, 16, true},
                 {"values", a->values, 16, true},
                 {"positions", a->positions, 4, true},
                 {"rotary", a->rotary, 4, false}};
  qpal_status status = qp_lib_check_type(a->type, false);
  if (!status) status = check_flags(a->flags);
  if (!status) status = check_heads(a);
  for (size_t i = 0; i < sizeof address / sizeof *address && !status; i++)
    status = qp_lib_check_address(address[i].name, 0, address[i].at, address[i].align,
                                  address[i].needed);
  const uint64_t q = (uint64_t)a->heads * a->columns;
  if (!status && q > UINT32_MAX)
    status = qp_refuse(QPAL_E_ARG, "columns is %u; heads of it make no row", a->columns);
  if (status) return status;
  const unsigned kv = a->kv_heads * a->columns;
  status = qp_lib_take_stride("q_stride", 0, (unsigned)q, 8, &a->q_stride);
  if (!status) status = qp_lib_take_stride("kv_stride", 0, kv, 8, &a->kv_stride);
  return status ? status : qp_lib_take_stride("y_stride", 0, (unsigned)q, 8, &a->y_stride);
}

qpal_status qpal_attend(const qpal_kernels *ks, const qpal_attend_args *given, void *stream) {
  qpal_attend_args a;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_attend_args");
  if (!status) status = check_attend(&a);
  if (status) return status;
  qp_lib_arguments to = {.words = {.x = a.q,
                                   .y = a.y,
                                   .k = a.k,
                                   .v = a.v,
                                   .keys = a.keys,
                                   .values = a.values,
                                   .positions = a.positions,
                                   .rotary = a.rotary,
                                   .rows = a.rows,
                                   .x_stride = a.q_stride,
                                   .up_stride = a.kv_stride,
                                   .y_stride = a.y_stride,
                                   .context = a.context,
                                   .pairs = a.pairs}};
  memcpy(&to.words.heads, (const unsigned[]){a.heads, a.kv_heads}, sizeof to.words.heads);
  memcpy(&to.words.attention, &a.scale, sizeof a.scale);
  memcpy((char *)&to.words.attention + sizeof a.scale, &a.window, sizeof a.window);
  return launch(ks, QPAL_ATTEND, a.columns, a.type, &to, a.flags, stream);
}

/* ---- pick ---- */

static qpal_status check_pick(qpal_pick_args *a) {
  qpal_status status = qp_lib_check_type(a->type, false);
  if (!status) status = check_flags(a->flags);
  if (!status && (!a->vocabulary || a->vocabulary > 1u << 30))
    status = qp_refuse(QPAL_E_ARG, "vocabulary is %u; 1 to 2^30 are possible", a->vocabulary);
  if (!status && (!a->context || a->context > 1u << 30))
    status = qp_refuse(QPAL_E_ARG, "context is %u; 1 to 2^30 are possible", a->context);
  if (!status) status = qp_lib_take_stride("logits_stride", 0, a->vocabulary, 8, &a->logits_stride);
  if (!status && a->logits_stride % 8)
    status = qp_refuse(QPAL_E_ARG,
                       "logits_stride is %u; it must be a multiple of 8, and rows of "
                       "logits be readable to it",
                       a->logits_stride);
  if (!status) status = qp_lib_take_stride("y_stride", 0, a->columns, 8, &a->y_stride);
  if (!status) status = qp_lib_check_address("logits", 0, a->logits, 16, true);
  if (!status) status = qp_lib_check_address("tokens", 0, a->tokens, 4, true);
  if (!status) status = qp_lib_check_address("known", 0, a->known, 4, false);
  if (!status) status = qp_lib_check_address("positions", 0, a->positions, 4, true);
  if (!status) status = qp_lib_check_address("ids", 0, a->ids, 4, true);
  if (!status) status = qp_lib_check_address("embedding", 0, a->embedding, 16, false);
  return status ? status : qp_lib_check_address("y", 0, a->y, 16, a->embedding != 0);
}

qpal_status qpal_pick(const qpal_kernels *ks, const qpal_pick_args *given, void *stream) {
  qpal_pick_args a;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_pick_args");
  if (!status) status = check_pick(&a);
  if (status) return status;
  const qp_lib_arguments to = {.words = {.x = a.logits,
                                         .y = a.y,
                                         .weight = a.embedding,
                                         .tokens = a.tokens,
                                         .known = a.known,
                                         .positions = a.positions,
                                         .ids = a.ids,
                                         .rows = a.rows,
                                         .x_stride = a.logits_stride,
                                         .y_stride = a.y_stride,
                                         .context = a.context,
                                         .vocabulary = a.vocabulary}};
  return launch(ks, QPAL_PICK, a.columns, a.type, &to, a.flags, stream);
}

/* ---- plain ---- */

static qpal_status check_plain_prologue(qpal_plain_args *a) {
  if (a->prologue > QPAL_PROLOGUE_GLU)
    return qp_refuse(QPAL_E_ARG, "prologue is %u; QPAL_PROLOGUE_NONE, _NORM and _GLU are known",
                     a->prologue);
  if (a->up && a->prologue != QPAL_PROLOGUE_GLU)
    return qp_refuse(QPAL_E_ARG, "up is given, which prologue %u does not read", a->prologue);
  if (a->weight && a->prologue != QPAL_PROLOGUE_NORM)
    return qp_refuse(QPAL_E_ARG, "weight is given, which prologue %u does not read", a->prologue);
  if (a->prologue == QPAL_PROLOGUE_NORM)
    return qp_lib_check_norm(a->eps, a->weight_offset, a->weight);
  return a->prologue == QPAL_PROLOGUE_GLU
             ? qp_lib_check_glu(a->activation, a->limit, a->up, a->columns, &a->up_stride)
             : QPAL_OK;
}

static qpal_status check_plain(qpal_plain_args *a) {
  qpal_status status = qp_lib_check_type(a->type, false);
  if (!status) status = check_flags(a->flags);
  if (!status && (!a->outputs || a->outputs > 1u << 30))
    status = qp_refuse(QPAL_E_ARG, "outputs is %u; 1 to 2^30 are possible", a->outputs);
  if (!status && a->reserved)
    status = qp_refuse(QPAL_E_ARG, "reserved is %u; it must be 0", a->reserved);
  if (!status) status = qp_lib_take_stride("x_stride", 0, a->columns, 8, &a->x_stride);
  if (!status) status = qp_lib_take_stride("y_stride", 0, a->outputs, 1, &a->y_stride);
  if (!status) status = qp_lib_check_address("x", 0, a->x, 16, true);
  if (!status) status = qp_lib_check_address("y", 0, a->y, 2, true);
  if (!status) status = qp_lib_check_address("w", 0, a->w, 16, true);
  if (!status) status = qp_lib_check_address("bias", 0, a->bias, 2, false);
  if (!status) status = qp_lib_check_address("residual", 0, a->residual, 2, false);
  if (!status) status = check_plain_prologue(a);
  if (!status && (a->y == a->x || a->y == a->up))
    status = qp_refuse(QPAL_E_ARG, "y is %s, which every block reads", a->y == a->x ? "x" : "up");
  return status;
}

qpal_status qpal_plain(const qpal_kernels *ks, const qpal_plain_args *given, void *stream) {
  qpal_plain_args a;
  if (!ks) return qp_refuse(QPAL_E_ARG, "kernels is NULL");
  qpal_status status = qp_take(&a, given, sizeof a, sizeof a, "qpal_plain_args");
  if (!status) status = check_plain(&a);
  if (status) return status;
  qp_lib_arguments to = {.words = {.x = a.x,
                                   .y = a.y,
                                   .matrix = a.w,
                                   .bias = a.bias,
                                   .residual = a.residual,
                                   .weight = a.weight,
                                   .up = a.up,
                                   .rows = a.rows,
                                   .outputs = a.outputs,
                                   .x_stride = a.x_stride,
                                   .y_stride = a.y_stride,
                                   .up_stride = a.up_stride,
                                   .prologue = a.prologue,
                                   .activation = qp_glu_word(a.activation, a.limit)}};
  memcpy(&to.words.norm, (const float[]){a.eps, a.weight_offset}, sizeof to.words.norm);
  return launch(ks, QPAL_PLAIN, a.columns, a.type, &to, a.flags, stream);
}
