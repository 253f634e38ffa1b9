/* SPDX-License-Identifier: MIT */
/*
** What the files that list the cases of `qpal check` share:  cases.c (each quantizer, alone and
** mixed), cases_steady.c, cases_rows.c, cases_experts.c.
**
** A quantizer that is appended to the list must not change the cases of others: what is chosen for
** a quantizer hangs on its number and on those before it, not on how many there are, as far as
** there are more than the few that the lists name by number.  test_cases.c sees to it.
*/
#ifndef QP_CASES_MAKE_H
#define QP_CASES_MAKE_H

#include "tuner/check/case.h"

enum {
  QP_CASE_KINDS = 64,     /* kinds of quantizers (steady.h) that are told apart, at most */
  QP_CASE_ACTIVATIONS = 5 /* activations of gated linear units */
};

/* List the families of one operation that the wishes let through: the first 'usual' of them
   compete, then come references. */
typedef struct qp_case_families {
  const qp_family *family[QP_MAX_FAMILIES];
  size_t count, usual;
} qp_case_families;

/* A list in the making. */
typedef struct qp_case_maker {
  qp_families *families;
  qp_case_families of[QP_OP_COUNT];
  const qp_case_wishes *w;
  qp_cases *out;
  bool failed;           /* there was no memory for a case */
  unsigned turn;         /* rotates shapes through the cases of single quantizers */
  bool met[QP_OP_COUNT]; /* operations that some list of cases is for */
} qp_case_maker;

/* Begin a problem without segments and columns; its batch is the wish's where the operation has
   one. */
qp_problem qp_cases_problem(const qp_case_maker *m, qp_op op, qp_dtype type, unsigned batch);

/* Set a tunable ("warps=8") where the family has it. */
void qp_cases_set(qp_choice *c, const char *tunable);

/* Append a case, where the wishes let it through and the family serves the problem: with these
   tunables; with a family's defaults; with those in each family of the operation; or in one of the
   families that compete, in turn, and in every reference. */
void qp_cases_push(qp_case_maker *m, const qp_problem *p, const qp_choice *choice);
void qp_cases_push_default(qp_case_maker *m, const qp_problem *p, const qp_family *f);
void qp_cases_push_each(qp_case_maker *m, const qp_problem *p);
void qp_cases_push_in_turn(qp_case_maker *m, const qp_problem *p, size_t turn);

/* Find the first quantizer of each kind, in their order; 'first' has room for QP_CASE_KINDS.
   Returns how many there are. */
unsigned qp_cases_first_of_kinds(const qp_case_maker *m, const qp_quantizer **first);

/* Find the first split of the list, or the first quantizer whose windows overlap; where there is
   none it is the first of all. */
const qp_quantizer *qp_cases_first_chained(const qp_quantizer *const *list, unsigned n, bool split);

/* ---- Each appends the cases of one matter ---- */

void qp_cases_steady(qp_case_maker *m);    /* Add gemm and dequant in the steady state. */
void qp_cases_pairs(qp_case_maker *m);     /* gemm-glu */
void qp_cases_rotations(qp_case_maker *m); /* Add rotations with and without a prologue. */
void qp_cases_decoders(qp_case_maker *m);  /* attend and pick */
void qp_cases_combines(qp_case_maker *m);  /* sums over a token's experts */
void qp_cases_plains(qp_case_maker *m);    /* linears in 16 bits */
void qp_cases_routes(qp_case_maker *m);    /* a router's choice */
void qp_cases_experts(qp_case_maker *m);   /* stacks of experts */

/* Operations without weights that no list above is for: a new one is checked before it has any. */
void qp_cases_others(qp_case_maker *m);

#endif
