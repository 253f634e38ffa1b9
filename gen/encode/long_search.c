/* SPDX-License-Identifier: MIT */
/* Finds the codes of a trellis with a long window. */
#include "gen/encode/long_search.h"

#include <assert.h>

enum { MOST_AROUND = 128 /* steps on each side of a seam */ };

/* A path of which the last positions of a run, [first, first + count), may be. */
typedef struct lead {
  unsigned first, count;
  uint32_t code[2 * MOST_AROUND]; /* those behind 'count' are of the positions behind the seam */
  uint64_t rest[MOST_AROUND + 1]; /* the sum from each position on */
} lead;

/* The best way to the end by the lead, if 'group' is that before position 'at'. */
typedef struct joint {
  uint64_t sum;
  unsigned at;
  uint32_t group;
} joint;

static unsigned group_bits(const qp_trellis *t) { return t->window - t->step; }

static uint32_t next_group(const qp_trellis *t, uint32_t group, uint32_t code) {
  return (code << group_bits(t) | group) >> t->step;
}

/* Tell all codes of a run that ends behind a given group, which says the last ones. */
static void end_between(qp_survivors_progress *p) {
  const qp_survivors_run *run = p->run;
  const unsigned given = group_bits(p->t) / p->t->step, first = run->steps - given;
  uint32_t group = 0, *code = run->codes + first;
  uint64_t least = UINT64_MAX;
  for (unsigned i = 0; i < given; i++)
    code[i] = run->end >> (group_bits(p->t) - p->t->step * (given - i)) & (p->t->fan - 1);
  qp_survivors_cheapest(p, code, given, &least, &group);
  qp_survivors_tell(p, first, group);
}

/* Find codes of a run whose ends are given, or not; returns the group before position 0. */
static uint32_t find_run(const qp_trellis *t, qp_survivors *s, const qp_survivors_run *run) {
  qp_survivors_progress p = {.t = t, .s = s, .run = run};
  const bool between = run->end != QP_ANY_GROUP;
  const unsigned steps = run->steps - (between ? group_bits(t) / t->step : 0);
  qp_survivors_begin(&p);
  while (p.at < steps) qp_survivors_advance(&p);
  if (between)
    end_between(&p);
  else
    qp_survivors_tell(&p, run->steps, qp_survivors_best(&p));
  return p.origin;
}

/* The best path through a seam; returns the group before it, and at the seam. */
static uint32_t find_lead(const qp_trellis *t, qp_survivors *s, const float *target,
                          unsigned circle, unsigned around, uint32_t *code, uint32_t *seam) {
  assert(around <= MOST_AROUND && around <= circle);
  const qp_survivors_run run = {.target = target,
                                .circle = circle,
                                .first = circle - around,
                                .steps = 2 * around,
                                .start = QP_ANY_GROUP,
                                .end = QP_ANY_GROUP,
                                .codes = code};
  const uint32_t group = find_run(t, s, &run);
  *seam = group;
  for (unsigned i = 0; i < around; i++) *seam = next_group(t, *seam, code[i]);
  return group;
}

uint32_t qp_long_seam(const qp_trellis *t, qp_survivors *s, const float *target, unsigned circle,
                      unsigned around) {
  uint32_t code[2 * MOST_AROUND], seam;
  find_lead(t, s, target, circle, around < MOST_AROUND ? around : MOST_AROUND, code, &seam);
  return seam;
}

/* The lead's sums, from the group before its first code on. */
static void sum_lead(const qp_trellis *t, const qp_survivors_run *run, uint32_t group, lead *l) {
  for (unsigned i = 0; i < l->count; i++) {
    l->rest[i] = qp_survivors_square(t, run, l->first + i, group, l->code[i]);
    group = next_group(t, group, l->code[i]);
  }
  l->rest[l->count] = 0;
  for (unsigned i = l->count; i-- > 0;) l->rest[i] += l->rest[i + 1];
}

/* Is it better to take the lead's codes from this position on than all that was seen before?  So
   many of them make its groups the path's. */
static void try_to_join(const qp_survivors_progress *p, const lead *l, joint *best) {
  const unsigned joining = (group_bits(p->t) + p->t->step - 1) / p->t->step;
  const unsigned at = p->at - l->first;
  if (at + joining > l->count) return;
  const uint64_t gone = p->base + l->rest[at + joining];
  uint64_t least = best->sum > gone ? best->sum - gone : 0;
  if (!qp_survivors_cheapest(p, l->code + at, joining, &least, &best->group)) return;
  best->sum = gone + least;
  best->at = p->at;
}

/* Find codes of a whole circle; returns the group where it closes. */
static uint32_t find_circle(const qp_trellis *t, qp_survivors *s, const float *target,
                            unsigned circle, uint32_t *codes) {
  const unsigned around = qp_trellis_seam(t->window, t->step, circle);
  lead l = {.first = circle - around, .count = around};
  uint32_t seam;
  const uint32_t before = find_lead(t, s, target, circle, around, l.code, &seam);
  const qp_survivors_run run = {.target = target,
                                .circle = circle,
                                .steps = circle,
                                .start = seam,
                                .end = QP_ANY_GROUP,
                                .codes = codes};
  qp_survivors_progress p = {.t = t, .s = s, .run = &run};
  joint best = {.sum = UINT64_MAX};
  sum_lead(t, &run, before, &l);
  qp_survivors_begin(&p);
  while (p.at < circle) {
    if (p.at == l.first && circle > qp_survivors_room(s))
      qp_survivors_settle(&p, qp_survivors_room(s) - around);
    if (p.at >= l.first) try_to_join(&p, &l, &best);
    qp_survivors_advance(&p);
  }
  qp_survivors_tell(&p, best.at, best.group);
  for (unsigned at = best.at; at < circle; at++) codes[at] = l.code[at - l.first];
  return seam;
}

void qp_long_search(const qp_trellis *t, qp_survivors *s, qp_ends ends, unsigned steps,
                    unsigned ahead, const float *target, uint32_t *start, const uint32_t *end,
                    uint32_t *codes) {
  if (ends == QP_ENDS_TIED) {
    *start = find_circle(t, s, target, steps, codes);
    return;
  }
  const qp_survivors_run run = {.target = target,
                                .circle = steps,
                                .steps = steps,
                                .ahead = ahead,
                                .start = ends == QP_ENDS_FREE ? QP_ANY_GROUP : *start,
                                .end = end ? *end : QP_ANY_GROUP,
                                .codes = codes};
  *start = find_run(t, s, &run);
}
