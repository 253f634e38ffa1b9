/* SPDX-License-Identifier: MIT */
/* Candidate -> kernel; its parameters. */
#include "gen/kernel/kernel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gen/compile/arch.h"
#include "gen/kernel/rotation.h"

static qp_status make(qp_families *families, qp_kernel *k, qp_error *err) {
  qp_status st = qp_problem_check(&k->problem, err);
  if (!st) st = qp_choice_check(families, &k->choice, &k->problem, err);
  if (st) return st;
  if (k->problem.op == QP_OP_ENCODE) return qp_kernel_encode(k, err);
  if (k->problem.op != QP_OP_ROTATE) {
    st = qp_kernel_partition(k, err);
    if (st) return st;
  } else {
    unsigned room = qp_arch_smem_bytes(k->problem.arch);
    k->grid = k->problem.sm_count;
    k->smem_bytes = qp_rotation_smem_bytes(k->problem.columns);
    if (k->smem_bytes > room)
      return qp_fail(err, QP_E_LIMIT,
                     "a rotation of K = %u takes %u bytes of shared memory; sm_%u has %u",
                     k->problem.columns, k->smem_bytes, k->problem.arch, room);
  }
  qp_kernel_name(k);
  return qp_kernel_source(k, err);
}

/* Sums of more than 4 rows of x and what decode holds need more than the 128 registers that 16
** warps leave to each thread. */
static unsigned choose_warps(const qp_kernel *k) {
  const unsigned warps = qp_choice_get(&k->choice, "warps");
  return warps ? warps : k->problem.batch > 4 ? 8 : 16;
}

qp_status qp_kernel_make(qp_families *families, const qp_problem *problem, const qp_choice *choice,
                         qp_kernel *out, qp_error *err) {
  if (choice->family->op != problem->op)
    return qp_fail(err, QP_E_ARG, "family %s does %s, not %s", choice->family->name,
                   qp_op_name(choice->family->op), qp_op_name(problem->op));
  qp_kernel *k = calloc(1, sizeof *k);
  if (!k) return qp_fail(err, QP_E_NOMEM, "no memory for a kernel");
  k->problem = *problem;
  k->choice = *choice;
  qp_choice_put(&k->choice, "warps", choose_warps(k));
  k->block = 32 * qp_choice_get(&k->choice, "warps");
  k->pdl = qp_choice_get(choice, "pdl") && problem->arch >= 90;
  k->adds_to_zero = qp_choice_get(choice, "atomic") != 0;
  qp_status st = make(families, k, err);
  if (st)
    qp_kernel_free(k);
  else
    *out = *k;
  free(k);
  return st;
}

void qp_kernel_free(qp_kernel *k) {
  for (unsigned i = 0; i < k->lowereds; i++) qp_lowered_free(&k->lowered[i]);
  free(k->source);
  *k = (qp_kernel){0};
}

/* ---- Parameters: 64-bit words in the order of the templates' struct Args ---- */

typedef struct writer {
  unsigned char *to;
  size_t n;
} writer;

static void put(writer *w, uint64_t v) {
  assert(w->n + 8 <= QP_PARAMS_MAX);
  memcpy(w->to + w->n, &v, 8);
  w->n += 8;
}

static void put_pow2(writer *w) {
  for (unsigned i = 0; i < QP_POW2; i += 2) put(w, (uint64_t)1 << i | (uint64_t)1 << (i + 33));
}

static void put_streams(writer *w, const qp_kernel *k, const qp_arguments *a) {
  for (unsigned i = 0; i < k->streams; i++) {
    put(w, a->stream[i].codes);
    for (unsigned f = 0; f < QP_MAX_FIELDS; f++) put(w, a->stream[i].field[f]);
    for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) put(w, a->stream[i].codebook[c]);
  }
}

size_t qp_kernel_params(const qp_kernel *k, const qp_arguments *a, unsigned char *params) {
  writer w = {.n = 0};
  w.to = params;
  if (k->problem.op == QP_OP_ROTATE) {
    put(&w, a->x);
    put(&w, a->y);
    put(&w, a->signs);
    put(&w, a->rows);
    return w.n;
  }
  if (k->problem.op == QP_OP_ENCODE) {
    put(&w, a->x);
    put(&w, a->table);
    put(&w, a->y);
    put(&w, a->start);
    put(&w, a->workspace);
    put(&w, a->rows);
    return w.n;
  }
  if (k->problem.op == QP_OP_DEQUANT) {
    put_pow2(&w);
    put_streams(&w, k, a);
    for (unsigned s = 0; s < k->problem.segments; s++) {
      put(&w, a->segment[s].scale);
      put(&w, a->segment[s].y);
    }
    return w.n;
  }
  put(&w, a->x);
  put(&w, a->signs);
  put(&w, a->workspace);
  put(&w, a->counters);
  put(&w, a->zero);
  put(&w, a->zero_words);
  put_pow2(&w);
  put_streams(&w, k, a);
  for (unsigned s = 0; s < k->problem.segments; s++) {
    put(&w, a->segment[s].scale);
    put(&w, a->segment[s].bias);
    put(&w, a->segment[s].residual);
    put(&w, a->segment[s].y);
  }
  return w.n;
}
