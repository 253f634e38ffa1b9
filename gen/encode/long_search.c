/* SPDX-License-Identifier: MIT */
/* Finds the codes of a trellis with a long window. */
#include "gen/encode/long_search.h"

#include <assert.h>
#include <string.h>

enum { MOST_AROUND = 128 /* steps on each side of a seam */ };

/* A path before a seam, which a circle may take up again in its last positions,
   [first, first + count) of the run. */
typedef struct lead {
  unsigned first, count;
  uint32_t code[MOST_AROUND];
  uint64_t rest[MOST_AROUND + 1]; /* the sum from each position on */
} lead;

/* The best way to the end by the lead, if 'group' is that before position 'at'. */
typedef struct joint {
  uint64_t sum;
  unsigned at;
  uint32_t group;
} joint;

static unsigned group_bits(const qp_trellis *t) { return t->window - t->step; }

static unsigned steps_of_group(const qp_trellis *t) {
  return (group_bits(t) + t->step - 1) / t->step;
}

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
  qp_survivors_cheapest(p, p->at, code, given, &least, &group);
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

/* Is it better to take the lead's codes from the position before p->at on than all that was seen
   before?  So many of them make its groups the path's.  'base': of the sums before it. */
static void try_to_join(const qp_survivors_progress *p, uint64_t base, const lead *l, joint *best) {
  const unsigned joining = steps_of_group(p->t);
  const unsigned at = p->at - 1, first = at - l->first;
  if (first + joining > l->count) return;
  const uint64_t gone = base + l->rest[first + joining];
  uint64_t least = best->sum > gone ? best->sum - gone : 0;
  if (!qp_survivors_cheapest(p, at, l->code + first, joining, &least, &best->group)) return;
  best->sum = gone + least;
  best->at = at;
}

/* Begin a lead with the codes before a seam, from the group before them on; returns the group at
   the seam. */
static uint32_t begin_lead(const qp_trellis *t, const qp_survivors_run *run, uint32_t group,
                           const uint32_t *code, lead *l) {
  memcpy(l->code, code, sizeof *code * l->count);
  sum_lead(t, run, group, l);
  for (unsigned i = 0; i < l->count; i++) group = next_group(t, group, code[i]);
  return group;
}

/* Choose the path before the seam, where a run that began before it comes to the same positions
   again. */
static uint32_t choose_lead(qp_survivors_progress *p, lead *l) {
  const qp_survivors_run *run = p->run;
  if (run->steps - p->told > qp_survivors_room(p->s))
    qp_survivors_settle(p, qp_survivors_room(p->s) - l->count);
  if (p->told < run->before) qp_survivors_choose(p, run->before);
  return begin_lead(p->t, run, p->origin, run->early, l);
}

/* Find codes of a whole circle; returns the group where it closes.  A run begins before the seam,
   which the best path there leads to when the run comes to the last positions; of a short circle
   the path through the seam is found before. */
static uint32_t find_circle(const qp_trellis *t, qp_survivors *s, const float *target,
                            unsigned circle, uint32_t *codes) {
  const unsigned around = qp_trellis_seam(t->window, t->step, circle);
  const bool is_short = circle < 2 * around;
  uint32_t early[2 * MOST_AROUND], seam = QP_ANY_GROUP, before = 0;
  if (is_short) before = find_lead(t, s, target, circle, around, early, &seam);
  const qp_survivors_run run = {.target = target,
                                .circle = circle,
                                .first = is_short ? 0 : circle - around,
                                .steps = is_short ? circle : around + circle,
                                .start = seam,
                                .end = QP_ANY_GROUP,
                                .before = is_short ? 0 : around,
                                .early = early,
                                .codes = codes};
  lead l = {.first = run.steps - around, .count = around};
  qp_survivors_progress p = {.t = t, .s = s, .run = &run};
  joint best = {.sum = UINT64_MAX};
  if (is_short) begin_lead(t, &run, before, early, &l);
  qp_survivors_begin(&p);
  while (p.at < run.steps) {
    if (!is_short && p.at == l.first) seam = choose_lead(&p, &l);
    const uint64_t base = p.base;
    p.watched = p.at < l.first ? QP_ANY_CODE : l.code[p.at - l.first];
    qp_survivors_advance(&p);
    if (p.at > l.first) try_to_join(&p, base, &l, &best);
  }
  qp_survivors_tell(&p, best.at, best.group);
  for (unsigned at = best.at; at < run.steps; at++) codes[at - run.before] = l.code[at - l.first];
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
