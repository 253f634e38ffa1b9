/* SPDX-License-Identifier: MIT */
/*
** Makes a kernel of a candidate, and its parameters.  The stages are the same for every operation:
** check the problem, the family's constraint and the row, size the launch, name it, write its
** source. What differs stands in the operation's row (kernel_op.h).
*/
#include "gen/kernel/kernel.h"

#include <stdlib.h>

#include "runtime/arch.h"

#define X(id, ...) _Static_assert((int)QP_OP_##id == (int)QP_LAUNCH_##id, "an op's arguments");
QP_OPS(X)
#undef X
_Static_assert((int)QP_MAX_STREAMS <= (int)QP_ARGUMENT_STREAMS &&
                   (int)QP_MAX_SEGMENTS <= (int)QP_ARGUMENT_SEGMENTS &&
                   (int)QP_MAX_ARRAYS == (int)QP_ARGUMENT_FIELDS &&
                   (int)QP_MAX_CODEBOOKS == (int)QP_ARGUMENT_CODEBOOKS,
               "the arguments hold every stream of a launch");

static qp_status make(qp_families *families, qp_kernel *k, qp_error *err) {
  const qp_family *family = k->choice.family;
  qp_status status = qp_problem_check(&k->problem, err);
  if (!status) status = qp_choice_check(families, &k->choice, &k->problem, err);
  if (!status) status = qp_family_check_arch(family, k->problem.arch, err);
  if (!status) status = family->kernel->check(&k->problem, family->name, err);
  if (!status) status = family->kernel->size(k, err);
  if (status) return status;
  qp_kernel_name(k);
  return qp_kernel_source(k, err);
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
  k->block = 32 * qp_choice_get(choice, "warps");
  k->pdl = qp_choice_get(choice, "pdl") && qp_arch_has(problem->arch, QP_ARCH_PDL);
  k->adds_to_zero = qp_choice_get(choice, "atomic") != 0;
  const qp_status status = make(families, k, err);
  if (status)
    qp_kernel_free(k);
  else
    *out = *k;
  free(k);
  return status;
}

void qp_kernel_free(qp_kernel *k) {
  for (unsigned i = 0; i < k->lowereds; i++) qp_lowered_free(&k->lowered[i]);
  free(k->source);
  *k = (qp_kernel){0};
}

size_t qp_kernel_params(const qp_kernel *k, const qp_arguments *args, unsigned char *params) {
  const qp_problem *p = &k->problem;
  qp_arguments a = *args;
  if (!a.x_stride) a.x_stride = p->columns;
  if (!a.y_stride) a.y_stride = p->columns;
  if (!a.up_stride) a.up_stride = p->columns;
  for (unsigned s = 0; s < p->segments; s++) {
    if (!a.stride[s].y) a.stride[s].y = p->segment[s].rows;
    if (!a.stride[s].residual) a.stride[s].residual = p->segment[s].rows;
  }
  return qp_arguments_pack(p->op, &a, k->streams, p->segments, params);
}
