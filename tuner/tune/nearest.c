/* SPDX-License-Identifier: MIT */
#include "tuner/tune/nearest.h"

#include <math.h>
#include <string.h>

#include "tuner/tune/lookup.h"

/* Powers of two that count as much as another quantizer, or another definition of its rate. */
static const double other_quantizer = 16, other_name = 4;

static double distance(const qp_record *r, const qp_problem *p) {
  double there = 0, here = 0, d = 0;
  if (!p->columns) return fabs(log2((double)r->batch / p->batch)); /* what routes */
  if (!p->segments) /* a rotation: by its columns */
    return fabs(log2((double)r->batch / p->batch)) + fabs(log2((double)r->columns / p->columns));
  for (unsigned i = 0; i < r->segments; i++) there += (double)r->segment[i].rows * r->columns;
  for (unsigned i = 0; i < p->segments; i++) here += (double)p->segment[i].rows * p->columns;
  const qp_quantizer *q = p->segment[0].quantizer;
  if (strcmp(r->segment[0].hash, q->hash) != 0) {
    const size_t family = strcspn(q->name, "-");
    const bool like = !strncmp(r->segment[0].quantizer, q->name, family + 1);
    d += like ? other_name : other_quantizer;
  }
  return d + fabs(log2((double)r->batch / p->batch)) + fabs(log2(there / here));
}

static bool restore(const qp_record *r, const qp_session *s, qp_choice *out) {
  qp_problem p;
  qp_error why = {0};
  return !qp_record_restore(r, s->families, s->palette, &p, out, &why);
}

static bool is_among(const qp_choice *c, const qp_choice *list, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    if (list[i].family == c->family &&
        !memcmp(list[i].value, c->value, c->family->tunables * sizeof *c->value))
      return true;
  return false;
}

unsigned qp_nearest_choices(const qp_records *records, const qp_tune_problem *problem,
                            const qp_session *s, qp_choice *out, unsigned most) {
  unsigned n = 0;
  double passed = -1;
  while (n < most) {
    const qp_record *best = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < records->count; i++) {
      const qp_record *r = &records->list[i];
      if (r->outcome != QP_RECORD_OK || strcmp(r->family, problem->family->name) != 0 ||
          r->arch != problem->problem.arch)
        continue;
      const double d = distance(r, &problem->problem);
      if (d <= passed || d > least || (best && d == least && r->ps >= best->ps)) continue;
      least = d;
      best = r;
    }
    if (!best) break;
    passed = least;
    qp_choice c;
    if (restore(best, s, &c) && !is_among(&c, out, n)) out[n++] = c;
  }
  return n;
}
