/* SPDX-License-Identifier: MIT */
/* What differs between two plans; see report.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/base/output.h"
#include "tuner/plan/report.h"

/* The launch of a linear as words: "tensor q|k", "none" where it is in none. */
static void launch_of(const qp_plan *p, unsigned linear, char *to, size_t size) {
  snprintf(to, size, "none");
  for (unsigned i = 0; i < p->launches; i++) {
    const qp_plan_launch *l = &p->launch[i];
    unsigned k = 0;
    while (k < l->members && l->linear[k] != linear) k++;
    if (k == l->members) continue;
    size_t n = (size_t)snprintf(to, size, "%s ", l->path);
    for (k = 0; k < l->members && n < size; k++)
      n += (size_t)snprintf(to + n, size - n, "%s%s", k ? "|" : "", p->linear[l->linear[k]].role);
    return;
  }
}

static double loss_of(const qp_plan_linear *l) { return l->sensitivity * l->distortion; }

/* A row for a linear if anything of it differs. */
static bool diff_linear(qp_table_out *t, const qp_plan *a, const qp_plan *b, unsigned i) {
  const qp_plan_linear *x = &a->linear[i], *y = &b->linear[i];
  const char *from = a->quantizer[x->quantizer].name, *to = b->quantizer[y->quantizer].name;
  char old[128], new[128];
  launch_of(a, i, old, sizeof old);
  launch_of(b, i, new, sizeof new);
  if (!strcmp(from, to) && !strcmp(old, new)) return false;
  qp_table_row(t);
  qp_table_text(t, x->tensor);
  qp_table_text(t, from);
  qp_table_text(t, to);
  qp_table_text(t, old);
  qp_table_text(t, new);
  qp_table_number(t, loss_of(y) - loss_of(x), "%+.4g");
  qp_table_number(t, (double)y->bytes - (double)x->bytes, "%+.0f");
  return true;
}

static void print_change(const char *what, double a, double b, const char *unit) {
  double percent = a != 0 ? 100 * (b - a) / a : NAN;
  printf("%-16s %.9g -> %.9g%s", what, a, b, unit);
  if (isfinite(percent)) printf(" (%+.3f %%)", percent);
  printf("\n");
}

qp_status qp_report_diff(const qp_plan *a, const qp_plan *b, bool json, qp_error *err) {
  static const qp_column columns[] = {
      {"tensor", false},   {"quantizer_a", false}, {"quantizer_b", false}, {"launch_a", false},
      {"launch_b", false}, {"loss_change", true},  {"bytes_change", true}, {NULL, false}};
  if (a->linears != b->linears)
    return qp_fail(err, QP_E_ARG, "plans of different models: %s has %u linears, %s has %u",
                   a->model, a->linears, b->model, b->linears);
  for (unsigned i = 0; i < a->linears; i++)
    if (strcmp(a->linear[i].tensor, b->linear[i].tensor) != 0)
      return qp_fail(err, QP_E_ARG, "plans of different models: %s has %s where %s has %s",
                     a->model, a->linear[i].tensor, b->model, b->linear[i].tensor);
  qp_table_out *t = qp_table_new(columns, json);
  unsigned changed = 0;
  for (unsigned i = 0; i < a->linears; i++) changed += diff_linear(t, a, b, i);
  qp_table_print(t);
  if (json) return QP_OK;
  printf("%s%u of %u linears differ, %u launches become %u\n", changed ? "\n" : "", changed,
         a->linears, a->launches, b->launches);
  print_change("loss", a->loss, b->loss, "");
  if (a->latency_ps > 0 && b->latency_ps > 0) {
    print_change("latency", (double)a->latency_ps * 1e-6, (double)b->latency_ps * 1e-6, " us");
    print_change("tokens/s", 1e12 / (double)a->latency_ps, 1e12 / (double)b->latency_ps, "");
  }
  print_change("bits per weight", a->bits_per_weight, b->bits_per_weight, "");
  print_change("memory", (double)a->memory_bytes, (double)b->memory_bytes, " bytes");
  return QP_OK;
}
