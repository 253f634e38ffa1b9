/* SPDX-License-Identifier: MIT */
/* Lists launches of gemm, dequant and gemm-glu whose warps reach their steady state, for every kind
   of quantizer in every family, in pairs of two kinds. */
#include "tuner/check/cases_make.h"
#include "tuner/check/steady.h"

/* Where no shape is found (a wish, a limit of the architecture) there is no such case. */
static void push_steady(qp_case_maker *m, qp_problem p, const qp_choice *c) {
  qp_error why = {0};
  if (m->w->columns || m->w->rows) return;
  if (!qp_steady_shape(m->families, &p, c, &why)) qp_cases_push(m, &p, c);
}

/* Segments of a, then of b: a warp goes from segment to segment of each. */
static void add_segments(qp_problem *p, const qp_quantizer *a, const qp_quantizer *b) {
  static const unsigned rows[] = {16, 32, 0, 48, 0};
  const bool alone = !qp_kernel_mergeable(a), both = !b || qp_kernel_mergeable(b);
  for (unsigned i = 0; i < 5; i++) {
    const bool last = rows[i] == 0;
    if (!last && !(i < 3 ? !alone : both)) continue; /* its cluster is a segment */
    if (i > 2 && !b) break;
    p->segment[p->segments].quantizer = i < 3 ? a : b;
    p->segment[p->segments++].rows = rows[i];
  }
}

/*
** Two kinds of quantizers in one launch:  of the list of kinds the first and the second, the third
** and the fourth, ...  A kind that is appended stands beside the last one where that had no partner
** of its own.  Type and batch hang on the quantizer, so that a part of the palette is checked as
** the whole is.
*/
static void steady_pair(qp_case_maker *m, const qp_family *f, const qp_quantizer *a,
                        const qp_quantizer *b) {
  const unsigned turn = a->step + a->dim;
  qp_problem p = qp_cases_problem(m, f->op, turn % 3 == 1 ? QP_BF16 : QP_F16, 1 + turn % 3);
  qp_choice c;
  qp_choice_default(f, &c);
  p.sm_count = 1;
  add_segments(&p, a, b);
  if (f->op == QP_OP_GEMM) {
    qp_cases_set(&c, "warps=8");
    qp_cases_set(&c, "runs=2");
    qp_cases_set(&c, "slabs=2");
  }
  push_steady(m, p, &c);
}

/* Blocks that share a part, and a warp that has a row group to itself; then sums by atomic adds. */
static void steady_sums(qp_case_maker *m, const qp_family *f, const qp_quantizer *a,
                        const qp_quantizer *b) {
  qp_problem p = qp_cases_problem(m, f->op, QP_F16, 2);
  qp_choice c;
  qp_choice_default(f, &c);
  qp_cases_set(&c, "warps=8");
  add_segments(&p, a, NULL);
  p.sm_count = 3;
  push_steady(m, p, &c);
  p = qp_cases_problem(m, f->op, QP_BF16, 3);
  p.out_type = QP_F32;
  p.sm_count = 1;
  add_segments(&p, a, b);
  qp_cases_set(&c, "slabs=2");
  qp_cases_set(&c, "atomic=1");
  push_steady(m, p, &c);
}

/* Blocks that have whole row groups, not all as many, and warps that share them. */
static void steady_owned(qp_case_maker *m, const qp_family *f, const qp_quantizer *q) {
  qp_problem p = qp_cases_problem(m, f->op, QP_F16, 3);
  qp_choice c;
  qp_choice_default(f, &c);
  qp_cases_set(&c, "warps=8");
  qp_cases_set(&c, "owned=1");
  add_segments(&p, q, NULL);
  p.sm_count = 3;
  push_steady(m, p, &c);
}

/* On a GPU: all its multiprocessors, each of whose warps goes around its ring. */
enum {
  GPU_MULTIPROCESSORS = 17
}; /* at least; the simulator poses with fewer unless it is told otherwise */
static void steady_device(qp_case_maker *m, const qp_family *f, const qp_quantizer *q) {
  qp_problem p = qp_cases_problem(m, f->op, QP_F16, 1);
  qp_choice c;
  if (m->w->sm_count < GPU_MULTIPROCESSORS) return;
  qp_choice_default(f, &c);
  qp_cases_set(&c, "warps=8");
  add_segments(&p, q, NULL);
  push_steady(m, p, &c);
}

void qp_cases_steady(qp_case_maker *m) {
  const qp_quantizer *first[QP_CASE_KINDS];
  const unsigned kinds = qp_cases_first_of_kinds(m, first);
  const qp_case_families *gemm = &m->of[QP_OP_GEMM], *dequant = &m->of[QP_OP_DEQUANT];
  for (size_t i = 0; i < gemm->usual + dequant->usual; i++) {
    const qp_family *f = i < gemm->usual ? gemm->family[i] : dequant->family[i - gemm->usual];
    for (unsigned k = 0; k < kinds && !m->w->no_pairs; k += 2)
      steady_pair(m, f, first[k], kinds > 1 ? first[(k + 1) % kinds] : NULL);
    if (f->op != QP_OP_GEMM || !kinds || m->w->coverage == QP_COVER_FEW) continue;
    steady_sums(m, f, qp_cases_first_chained(first, kinds, false),
                qp_cases_first_chained(first, kinds, true));
    steady_owned(m, f, qp_cases_first_chained(first, kinds, false));
    steady_device(m, f, qp_cases_first_chained(first, kinds, false));
  }
}

/* ---- Gated linear units behind a gemm ---- */

/* Add one gemm-glu of two linears of q, with as many rows as the steady state takes where 'rows' is
   0. */
static void pair(qp_case_maker *m, const qp_family *f, qp_problem p, const qp_quantizer *q,
                 unsigned rows) {
  qp_choice c;
  if (!qp_kernel_mergeable(q)) return;
  qp_choice_default(f, &c);
  p.segments = 2;
  for (unsigned s = 0; s < 2; s++) {
    p.segment[s].quantizer = q;
    p.segment[s].rows = m->w->rows ? m->w->rows : rows;
  }
  p.columns = m->w->columns ? m->w->columns : p.columns;
  if (rows) qp_cases_push(m, &p, &c);
  if (rows) return;
  qp_cases_set(&c, "warps=8");
  qp_cases_set(&c, "runs=2");
  qp_cases_set(&c, "slabs=2");
  push_steady(m, p, &c);
}

/*
** Add up and gate: warps in the steady state, slabs, the parts of a split, several blocks; with the
** default family then as many launches of one kernel as there are activations, which turn with the
** seed, that rises from case to case, and whose last row group is half a one.
*/
static void pairs_by(qp_case_maker *m, const qp_family *f, bool first, const qp_quantizer *plain,
                     const qp_quantizer *split) {
  qp_problem p = qp_cases_problem(m, f->op, QP_F16, 1);
  p.sm_count = 3;
  pair(m, f, p, split, 0);
  if (!first || m->w->coverage == QP_COVER_FEW) return;
  p = qp_cases_problem(m, f->op, QP_F16, 3);
  p.out_type = QP_F32;
  p.columns = 576;
  for (unsigned i = 0; i < QP_CASE_ACTIVATIONS; i++) pair(m, f, p, plain, 80);
  p = qp_cases_problem(m, f->op, QP_BF16, 2);
  p.sm_count = 1;
  pair(m, f, p, plain, 0);
  p = qp_cases_problem(m, f->op, QP_F16, 12);
  p.columns = 96;
  p.rotate_fused = true;
  pair(m, f, p, plain, 48);
}

void qp_cases_pairs(qp_case_maker *m) {
  const qp_case_families *list = &m->of[QP_OP_GEMM_GLU];
  const bool all = m->w->coverage == QP_COVER_ALL;
  const qp_quantizer *first[QP_CASE_KINDS];
  const unsigned kinds = qp_cases_first_of_kinds(m, first);
  if (!kinds) return;
  for (size_t f = 0; f < list->count; f++) {
    pairs_by(m, list->family[f], !f, qp_cases_first_chained(first, kinds, false),
             qp_cases_first_chained(first, kinds, true));
    for (unsigned i = 0; i < kinds && all; i++)
      pair(m, list->family[f], qp_cases_problem(m, QP_OP_GEMM_GLU, QP_BF16, 1), first[i], 0);
  }
}
