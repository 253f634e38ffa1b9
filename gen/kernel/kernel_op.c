/* SPDX-License-Identifier: MIT */
/* The table of what C makes for templates; the rows' functions stand in op_*.c. */
#include "gen/kernel/kernel_op.h"

#include <stdio.h>
#include <string.h>

const qp_kernel_op *const qp_kernel_ops[] = {
#define X(name) &qp_op_##name,
    QP_KERNEL_OPS(X)
#undef X
        NULL};

static const char *const hole_names[] = {
#define X(name, help) #name,
    QP_HOLES(X)
#undef X
};

qp_status qp_kernel_op_takes_all(const qp_problem *p, const char *family, qp_error *err) {
  (void)p, (void)family, (void)err;
  return QP_OK;
}

const char *qp_hole_name(qp_hole_id hole) { return hole_names[hole]; }

qp_status qp_kernel_op_find(qp_op op, const char *form, const qp_kernel_op **out, qp_error *err) {
  char forms[128] = "";
  size_t n = 0;
  for (const qp_kernel_op *const *row = qp_kernel_ops; *row; row++) {
    if ((*row)->op != op) continue;
    if (!strcmp((*row)->form, form)) return *out = *row, QP_OK;
    if (*(*row)->form && n < sizeof forms)
      n += (size_t)snprintf(forms + n, sizeof forms - n, "%s%s", n ? ", " : "", (*row)->form);
  }
  if (!*form) return qp_fail(err, QP_E_ARG, "%s needs one of %s", qp_op_name(op), forms);
  return qp_fail(err, QP_E_ARG, "'%s' is no form of %s, which has %s", form, qp_op_name(op),
                 *forms ? forms : "none");
}
