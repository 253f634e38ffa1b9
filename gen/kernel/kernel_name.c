/* SPDX-License-Identifier: MIT */
/* A kernel's name is its configuration; the grammar stands in kernel.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gen/kernel/kernel.h"

static void add(qp_kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(qp_kernel *k, const char *format, ...) {
  size_t n = strlen(k->name);
  va_list ap;
  va_start(ap, format);
  vsnprintf(k->name + n, sizeof k->name - n, format, ap);
  va_end(ap);
}

static void add_segment(qp_kernel *k, unsigned s) {
  const qp_quantizer *q = k->problem.segment[s].quantizer;
  add(k, "%sm%u", s ? "_" : "", k->problem.segment[s].rows);
  for (const char *c = q->name; *c; c++) add(k, "%c", *c == '-' ? '_' : *c == '.' ? 'o' : *c);
  add(k, "h%.8s", q->hash);
}

void qp_kernel_name(qp_kernel *k) {
  const qp_problem *p = &k->problem;
  k->name[0] = 0;
  add(k, "%s__", k->choice.family->name);
  for (unsigned s = 0; s < p->segments; s++) add_segment(k, s);
  if (qp_op_has_columns(p->op)) add(k, "%sk%u_", p->segments ? "_" : "", p->columns);
  if (qp_problem_pieces(p) > 1) add(k, "p%u_", p->pieces);
  if (qp_side_block(p->rotation)) add(k, "b%u_", qp_side_block(p->rotation));
  if (p->rotation & QP_SIDE_FLAGS)
    add(k, "%s%s_", qp_side_has_order(p->rotation) ? "o" : "",
        qp_side_has_scale(p->rotation) ? "d" : "");
  if (qp_op_has_batch(p->op) && !qp_op_has_experts(p->op)) add(k, "n%u_", p->batch);
  if (qp_op_has_experts(p->op)) add(k, "n%ut%ue%ur%u", p->batch, p->top_k, p->experts, p->tile);
  if (qp_op_multiplies_stacks(p->op)) add(k, "_");
  if (qp_op_has_columns(p->op)) add(k, "%s", qp_dtype_name(p->type));
  if (qp_op_has_batch(p->op)) add(k, "_y%s", qp_dtype_name(p->out_type));
  if (p->rotate_fused) add(k, "_rot");
  if (qp_op_has_inverse(p->op) && p->inverse) add(k, "_inv");
  add(k, "_sm%u_c%u__", p->arch, p->sm_count);
  const qp_family *f = k->choice.family;
  for (unsigned i = 0; i < f->tunables; i++) add(k, "%s%u", f->tunable[i].tag, k->choice.value[i]);
}
