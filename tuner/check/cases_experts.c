/* SPDX-License-Identifier: MIT */
/* Lists what `qpal check` covers of a router's choice and of stacks of experts. */
#include "tuner/check/cases_make.h"
#include "tuner/check/routing.h"

/*
** These cases are a router's choice and stacks of experts: up and gate of two quantizers, or one
** alone.  Where tokens go turns with the seed, which rises from case to case: of each kernel there
** are as many cases as turns, and they compile once.  A block meets several tiles, and shares row
** groups with the next one.
*/
enum { ROUTING_TURNS = QP_ROUTING_COUNT };

typedef struct routed {
  unsigned batch, top_k, experts, tile;
} routed;

static void push_turns(qp_case_maker *m, qp_problem p, const routed *r, const qp_choice *c) {
  p.batch = m->w->batch ? m->w->batch : r->batch;
  p.top_k = r->top_k;
  p.experts = r->experts;
  p.tile = r->tile < p.batch ? r->tile : p.batch;
  const bool few = m->w->coverage == QP_COVER_FEW;
  /* what routings change is the same with the unit behind it: all of them once */
  const bool again = p.op == QP_OP_EXPERTS_GLU && m->w->coverage != QP_COVER_ALL &&
                     (c->family->rank > 1 || p.segment[0].quantizer->kind == QP_SPLIT);
  const unsigned turns = few || again ? 1 : ROUTING_TURNS;
  for (unsigned turn = 0; turn < turns; turn++) qp_cases_push(m, &p, c);
}

void qp_cases_routes(qp_case_maker *m) {
  static const routed of[] = {{64, 16, 512, 8}, {8, 1, 1, 8}, {5, 3, 40, 2}, {1, 8, 128, 1}};
  const qp_case_families *list = &m->of[QP_OP_ROUTE];
  const unsigned n = m->w->coverage == QP_COVER_FEW ? 1 : 4;
  for (size_t f = 0; f < list->count; f++)
    for (unsigned i = 0; i < n; i++) {
      qp_choice c;
      qp_choice_default(list->family[f], &c);
      push_turns(m, qp_cases_problem(m, QP_OP_ROUTE, QP_F16, 1), &of[i], &c);
    }
}

/* Warps have several row groups of a tile, share others, and blocks share some, too. Types and
   routing hang on the quantizer and the path. With the gated linear unit behind it up and gate have
   equal rows, and another quantizer's where there is one. */
static void expert_pair(qp_case_maker *m, const qp_quantizer *a, const qp_quantizer *b,
                        const qp_family *f) {
  const bool glu = f->op == QP_OP_EXPERTS_GLU;
  static const routed of[] = {{20, 2, 3, 16}, {1, 3, 8, 1}, {4, 1, 1, 2}, {3, 2, 5, 8}};
  const unsigned turn = a->step + a->dim + f->rank;
  qp_problem p = qp_cases_problem(m, f->op, turn % 3 == 1 ? QP_BF16 : QP_F16, 1);
  qp_choice c;
  qp_choice_default(f, &c);
  qp_cases_set(&c, "warps=8");
  p.out_type = turn % 2 ? QP_F32 : p.type;
  p.sm_count = 5;
  p.segments = b || glu ? 2 : 1;
  p.segment[0].quantizer = a;
  p.segment[1].quantizer = b ? b : a;
  p.segment[0].rows = m->w->rows ? m->w->rows : glu ? 160 : 416;
  p.segment[1].rows = glu ? p.segment[0].rows : m->w->rows ? m->w->rows : 32;
  p.columns = m->w->columns ? m->w->columns : a->kind == QP_SPLIT ? 640 : 320;
  push_turns(m, p, &of[a->kind == QP_SPLIT ? 0 : f->rank > 1 ? 1 : 2 + turn % 2], &c);
}

/* A case of as many tokens, experts and choices as there can be, with a few rows of each expert. */
static void most_experts(qp_case_maker *m, const qp_quantizer *q, const qp_family *f) {
  static const routed most = {QP_MAX_BATCH, QP_MAX_TOP_K, QP_MAX_EXPERTS, 8};
  qp_problem p = qp_cases_problem(m, QP_OP_EXPERTS, QP_F16, 1);
  qp_choice c;
  if (m->w->rows || m->w->columns || m->w->batch) return;
  qp_choice_default(f, &c);
  p.sm_count = 3;
  p.segments = 1;
  p.segment[0].quantizer = q;
  p.segment[0].rows = 32;
  p.columns = 64;
  push_turns(m, p, &most, &c);
}

/* Pairs of kinds of quantizers, or by default a trellis and what follows it, a split alone, and the
   first two on another path. */
static void pairs_by(qp_case_maker *m, const qp_family *family, const qp_quantizer *const *first,
                     unsigned kinds) {
  const bool all = m->w->coverage == QP_COVER_ALL, few = m->w->coverage == QP_COVER_FEW;
  for (unsigned k = 0; k < kinds; k++) {
    const bool alone = first[k]->kind == QP_SPLIT || kinds == 1;
    const bool chosen = family->rank > 1 ? !k
                        : first[k]->kind == QP_SPLIT
                            ? first[k] == qp_cases_first_chained(first, kinds, true) && !few
                            : first[k] == qp_cases_first_chained(first, kinds, false);
    const qp_quantizer *next = alone ? NULL : first[(k + 1) % kinds];
    if (all || chosen) expert_pair(m, first[k], next, family);
  }
}

void qp_cases_experts(qp_case_maker *m) {
  static const qp_op of[] = {QP_OP_EXPERTS, QP_OP_EXPERTS_GLU};
  const qp_quantizer *first[QP_CASE_KINDS];
  const unsigned kinds = qp_cases_first_of_kinds(m, first);
  for (unsigned o = 0; o < 2; o++) {
    const qp_case_families *list = &m->of[of[o]];
    for (size_t f = 0; f < list->count; f++) pairs_by(m, list->family[f], first, kinds);
    if (!o && m->w->coverage != QP_COVER_FEW && kinds && list->count)
      most_experts(m, first[0], list->family[0]);
  }
}
