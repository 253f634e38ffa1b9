/* SPDX-License-Identifier: MIT */
/* Finds the codes of a bitshift trellis, with the table of states, sequences in flight, and choices
   told. */
#include "gen/encode/trellis.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/long_search.h"
#include "gen/encode/trellis_flight.h"
#include "gen/encode/trellis_forward.h"

enum {
  LANES = QP_TRELLIS_LANES,
  SEQUENCES = QP_TRELLIS_SEQUENCES,
  MOST_BYTES = 256 << 20, /* most memory of the sums that one thread keeps for the least number of
                             steps */
  FIRST_LIMIT = 256
};

/* ---- Memory of a thread ---- */

static unsigned max_of(unsigned a, unsigned b) { return a > b ? a : b; }

unsigned qp_trellis_sequences(const qp_trellis *t) {
  if (t->width) return 1;
  const size_t one = sizeof(uint16_t) * qp_flight_width(t) * t->kept;
  unsigned n = SEQUENCES;
  while (n > 2 && n * one > MOST_BYTES) n /= 2;
  return n;
}

static uint16_t *new_sums(size_t n) {
  return aligned_alloc(64, (sizeof(uint16_t) * n + 63) & ~63u);
}

static bool new_flight(const qp_trellis *t, qp_flight *f) {
  const size_t width = qp_flight_width(t);
  f->sum = t->pushed ? NULL : new_sums(t->sums);
  f->before = new_sums(width * (t->kept + 1));
  f->mark = new_sums(width * QP_TRELLIS_MARKS);
  return (f->sum || t->pushed) && f->before && f->mark;
}

static bool new_push(const qp_trellis *t, qp_search *s) {
  const size_t rows = t->groups / t->fan;
  bool ok = true;
  s->push = qp_trellis_push_choose();
  if (!t->rows.windows) return true;
  s->square = new_sums(t->rows.size + 1);
  s->out = new_sums(rows * qp_push_stride(t) + QP_PUSH_SLACK);
  s->row = malloc(sizeof *s->row * rows);
  for (unsigned k = 0; ok && k < qp_trellis_sequences(t); k++)
    ok = (s->flight[k].live = malloc(sizeof(uint64_t) * ((rows + 63) / 64))) != NULL;
  return ok && s->square && s->out && s->row;
}

qp_status qp_search_new(const qp_trellis *t, qp_search **out, qp_error *err) {
  const size_t width = qp_flight_width(t);
  qp_search *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  *out = s;
  if (t->width) {
    const qp_status status = qp_survivors_new(t, &s->survivors, err);
    if (status) qp_search_free(s);
    return status;
  }
  bool ok = new_push(t, s);
  for (unsigned k = 0; ok && k < qp_trellis_sequences(t); k++) ok = new_flight(t, &s->flight[k]);
  s->alive = malloc(sizeof *s->alive * width);
  s->kin = malloc(sizeof *s->kin * width);
  s->seen = calloc(width, sizeof *s->seen);
  s->number = malloc(sizeof *s->number * width);
  s->renumber = malloc(sizeof *s->renumber * width);
  if (!ok || !s->alive || !s->kin || !s->seen || !s->number || !s->renumber) {
    qp_search_free(s);
    return qp_fail(err, QP_E_NOMEM, "no memory to search a trellis of %u groups", t->groups);
  }
  s->step = qp_trellis_step_choose();
  return QP_OK;
}

void qp_search_free(qp_search *s) {
  if (!s) return;
  for (unsigned k = 0; k < SEQUENCES; k++) {
    free(s->flight[k].sum);
    free(s->flight[k].before);
    free(s->flight[k].mark);
    free(s->flight[k].live);
  }
  free(s->alive);
  free(s->kin);
  free(s->seen);
  free(s->number);
  free(s->renumber);
  free(s->square);
  free(s->out);
  free(s->row);
  qp_survivors_free(s->survivors);
  free(s);
}

/* ---- One sequence ---- */

/* The sums of a position are changed: those from which the next one reads are made anew. */
static void settle(const qp_trellis *t, const qp_search *s, const qp_flight *f, uint16_t *sums) {
  if (!t->pushed) s->step.turn(t, sums, f->sum, false);
}

/* Every path begins in the start group, or with f->even in it or in that which mirrors it, or in
   any. */
static void begin(const qp_trellis *t, const qp_search *s, qp_flight *f) {
  uint16_t *sums = qp_flight_before(t, f, 0);
  const bool any = f->start >= t->groups;
  memset(sums, any ? 0 : 0xff, sizeof *sums * qp_flight_width(t));
  for (size_t g = f->start; g < qp_flight_width(t); g += t->groups) sums[g] = 0;
  if (f->even && !any) sums[t->groups - 1 - f->start] = 0;
  if (any) settle(t, s, f, sums); /* a given one is left in a way of its own */
  f->told = 0;
  f->limit = FIRST_LIMIT;
}

static uint32_t best_group(const qp_trellis *t, const qp_search *s, const qp_flight *f,
                           unsigned at) {
  return s->push.best(t->groups, qp_flight_before(t, f, at));
}

/* The choice of group g at a position that is so near to the run's begin that not all groups can
   come before it: those that do have the start group's newest bits as their oldest, or with f->even
   what mirrors them. */
static unsigned choice_near_start(const qp_trellis *t, const qp_flight *f, unsigned at, uint32_t g,
                                  const int16_t *x) {
  const uint16_t *sums = qp_flight_before(t, f, at);
  const int16_t *table = t->by_group + (size_t)g * t->dim * t->fan;
  const uint32_t old = f->start >> at * t->step, mask = (t->groups >> at * t->step) - 1;
  unsigned best = 0, least = QP_NO_PATH + 1;
  for (unsigned j = 0; j < t->fan; j++) {
    const uint32_t from = (g << t->step | j) & (t->groups - 1);
    unsigned v = sums[from];
    if (((from ^ old) & mask) && !(f->even && ((from ^ ~old) & mask) == 0)) continue;
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], table[i * t->fan + j]);
    v = v < QP_NO_PATH ? v : QP_NO_PATH;
    if (v < least) least = v, best = j;
  }
  return best;
}

/* Find the state at a position, from the group behind it. */
static uint32_t state_at(const qp_trellis *t, const qp_search *s, const qp_flight *f, unsigned at,
                         uint32_t g, const int16_t *x) {
  const bool near = f->start < t->groups && at * t->step < t->window - t->step;
  return g << t->step | (near ? choice_near_start(t, f, at, g, x)
                              : s->step.choice(t, g, x, qp_flight_before(t, f, at)));
}

/* Walk from the group behind position 'end' - 1 back to the one before position 'begin'; with
   'tell' the codes are written on the way. */
static uint32_t walk(const qp_trellis *t, const qp_search *s, const qp_flight *f, uint32_t g,
                     unsigned begin, unsigned end, bool tell) {
  assert(!tell || f->codes);
  for (unsigned at = end; at-- > begin;) {
    int16_t x[QP_TRELLIS_DIM];
    qp_flight_target(t, f, at, x);
    const uint32_t state = state_at(t, s, f, at, g, x);
    if (tell) f->codes[at] = state >> (t->window - t->step);
    g = state & (t->groups - 1);
  }
  return g;
}

/* ---- Survivors ---- */

/* One position back: 'alive' groups become those that they come from, each once.  Returns how
   many. */
static unsigned step_back(const qp_trellis *t, qp_search *s, const qp_flight *f, unsigned at,
                          unsigned alive) {
  int16_t x[QP_TRELLIS_DIM];
  unsigned kept = 0;
  qp_flight_target(t, f, at, x);
  s->stamp++;
  for (unsigned a = 0; a < alive; a++) {
    const uint32_t g = state_at(t, s, f, at, s->alive[a], x) & (t->groups - 1);
    if (s->seen[g] != s->stamp) {
      s->seen[g] = s->stamp;
      s->number[g] = kept;
      s->alive[kept++] = g;
    }
    s->renumber[a] = s->number[g];
  }
  return kept;
}

/* The groups of all survivors before position 'end', to s->alive, and s->kin: which of them each
   is. */
static unsigned list_survivors(const qp_trellis *t, qp_search *s, const qp_flight *f,
                               unsigned end) {
  const uint16_t *sums = qp_flight_before(t, f, end);
  unsigned count = 0;
  for (uint32_t g = 0; g < t->groups; g++) {
    s->kin[g] = count;
    if (sums[g] < QP_NO_PATH) s->alive[count++] = g;
  }
  return count;
}

/* All survivors before position *at back to where one is left, or to 'stop'.  Returns how many
   are. */
static unsigned trace(const qp_trellis *t, qp_search *s, const qp_flight *f, unsigned stop,
                      unsigned *at) {
  unsigned count = list_survivors(t, s, f, *at);
  while (*at > stop && count > 1) count = step_back(t, s, f, --*at, count);
  return count;
}

/* Do the same, but to 'stop' in any case; s->kin[g] becomes which of s->alive group g before 'end'
   comes from. */
static void trace_kin(const qp_trellis *t, qp_search *s, const qp_flight *f, unsigned stop,
                      unsigned end) {
  unsigned count = list_survivors(t, s, f, end);
  for (unsigned at = end; at > stop;) {
    count = step_back(t, s, f, --at, count);
    for (uint32_t g = 0; g < t->groups; g++)
      if (qp_flight_before(t, f, end)[g] < QP_NO_PATH) s->kin[g] = s->renumber[s->kin[g]];
  }
}

/* Give up the survivors that do not go through the same group as the best one, where trace_kin()
   ended.  Returns that group. */
static uint32_t keep_best(const qp_trellis *t, const qp_search *s, qp_flight *f, unsigned end) {
  uint16_t *sums = qp_flight_before(t, f, end);
  const uint32_t best = s->kin[best_group(t, s, f, end)];
  for (uint32_t g = 0; g < t->groups; g++)
    if (s->kin[g] != best) sums[g] = QP_NO_PATH;
  for (uint32_t g = t->groups; g < qp_flight_width(t); g++) sums[g] = sums[g % t->groups];
  settle(t, s, f, sums);
  return s->alive[best];
}

/* What advance() does besides keeping the sums of the last positions. */
typedef enum telling {
  TELL_NOTHING,
  TELL_COMMON, /* tell what all survivors have in common, exactly */
  TELL_SOON    /* and where that falls behind by all that is kept, what the best one has */
} telling;

static void tell_common(const qp_trellis *t, qp_search *s, qp_flight *f, unsigned end,
                        telling tell) {
  const unsigned half = end - t->kept / 2;
  unsigned at = end;
  const bool one = trace(t, s, f, f->told, &at) == 1 && at > f->told;
  if (!one && (tell != TELL_SOON || end - f->told < t->kept)) return;
  uint32_t g = s->alive[0];
  if (!one) {
    at = half;
    trace_kin(t, s, f, half, end);
    g = keep_best(t, s, f, end);
  }
  g = walk(t, s, f, g, f->told, at, true);
  if (!f->told) f->origin = g;
  f->told = at;
}

/* ---- Sequences side by side ---- */

/* From mark to mark: far enough apart that QP_TRELLIS_MARKS reach to the end. */
static unsigned mark_steps(const qp_trellis *t, unsigned steps) {
  return max_of((steps + QP_TRELLIS_MARKS - 1) / QP_TRELLIS_MARKS, t->kept / 2);
}

/* ---- A position of all of them ---- */

/* In the first positions behind a given group a part of the choices can be made alone: every
   'apart'-th from 'first' on. */
static void limit_choices(const qp_trellis *t, const qp_flight *f, unsigned at,
                          qp_step_batch *batch) {
  const unsigned fixed = t->window - t->step - at * t->step;
  const uint32_t apart = fixed < t->step ? 1u << fixed : t->fan;
  batch->first = f->start >> at * t->step & (apart - 1);
  batch->apart = apart;
}

static void run_tiles(const qp_trellis *t, const qp_search *s, const qp_step_batch *batch) {
  const unsigned tiles = t->mirrored ? t->tiles / 2 : t->tiles;
  for (unsigned tile = 0; tile < tiles; tile++) s->step.run(t, tile, batch);
}

/* The sums behind a position, from those that were turned; they are not levelled yet. */
static void pull_all(const qp_trellis *t, const qp_search *s, const qp_fleet *all, unsigned at) {
  const bool given = all->flight[0]->start < t->groups; /* all have one, or none */
  const bool near = given && (at == 0 || at * t->step < t->window - t->step);
  qp_step_batch batch = {.count = all->count, .apart = 1, .even = all->flight[0]->even};
  for (unsigned k = 0; k < all->count; k++) {
    const qp_flight *f = all->flight[k];
    qp_flight_target(t, f, at, batch.x[k]);
    batch.sum[k] = f->sum;
    batch.least[k] = qp_flight_before(t, f, at + 1);
    if (given && at == 0) qp_flight_leave_start(t, f, batch.x[k], batch.least[k]);
  }
  if (!near) run_tiles(t, s, &batch);
  for (unsigned k = 0; near && at && k < all->count; k++) {
    qp_step_batch one = {
        .count = 1, .sum = {batch.sum[k]}, .least = {batch.least[k]}, .even = batch.even};
    memcpy(one.x[0], batch.x[k], sizeof one.x[0]);
    limit_choices(t, all->flight[k], at, &one);
    run_tiles(t, s, &one);
  }
}

static void advance_one(const qp_trellis *t, const qp_search *s, const qp_fleet *all, unsigned at) {
  const bool pulled = !t->pushed && at <= all->pruned;
  if (pulled) pull_all(t, s, all, at);
  for (unsigned k = 0; k < all->count; k++) {
    qp_flight *f = all->flight[k];
    if (!pulled)
      qp_forward(t, s, all, f, at);
    else if (at == all->pruned)
      qp_forward_prune(t, s, all, f, at);
    else
      s->step.turn(t, qp_flight_before(t, f, at + 1), f->sum, f->even);
  }
}

/* Is it time to tell, before position 'at' of a run that ends at 'end'?  Where all that is not told
   is kept until then, never. */
static bool should_tell(const qp_trellis *t, const qp_flight *f, unsigned at, unsigned end) {
  const unsigned waiting = at - f->told;
  return end - f->told > t->kept && waiting >= t->kept / 4 * 3 && waiting <= t->kept &&
         waiting % (t->kept / 8) == 0;
}

/* Positions [from, to), from sums that are in place; with 'every' sums are marked. */
static void advance(const qp_trellis *t, qp_search *s, const qp_fleet *all, unsigned from,
                    unsigned to, telling tell, unsigned every) {
  const size_t width = qp_flight_width(t);
  for (unsigned at = from; at < to; at++) {
    for (unsigned k = 0; every && at % every == 0 && k < all->count; k++)
      memcpy(all->flight[k]->mark + at / every * width, qp_flight_before(t, all->flight[k], at),
             sizeof(uint16_t) * width);
    advance_one(t, s, all, at);
    for (unsigned k = 0; tell && k < all->count; k++)
      if (should_tell(t, all->flight[k], at + 1, to))
        tell_common(t, s, all->flight[k], at + 1, tell);
  }
}

static void go_back(const qp_trellis *t, const qp_search *s, qp_flight *f, unsigned mark,
                    unsigned at) {
  uint16_t *sums = qp_flight_before(t, f, at);
  memcpy(sums, f->mark + mark * qp_flight_width(t), sizeof *sums * qp_flight_width(t));
  settle(t, s, f, sums);
}

/*
** Tell the codes up to the end, from group g[k] behind it; g[k] becomes the one before position 0.
** Where survivors differed for longer than sums are kept, these are made again from the last mark
** that shows something new, as often as needed. (A table whose states s and ~s decode to the same
** has two paths of equal sums everywhere; which of them closes the circle is known at the end
** alone.) */
static void tell_rest(const qp_trellis *t, qp_search *s, qp_fleet all, unsigned steps,
                      uint32_t *g) {
  const unsigned every = mark_steps(t, steps);
  unsigned from = 0, to = steps;
  uint32_t *end[SEQUENCES];
  for (unsigned k = 0; k < all.count; k++) end[k] = &g[k];
  for (;;) {
    const unsigned reach = max_of(from, to > t->kept ? to - t->kept : 0);
    unsigned open = 0;
    for (unsigned k = 0; k < all.count; k++) {
      qp_flight *f = all.flight[k];
      const unsigned down = max_of(reach, f->told);
      *end[k] = walk(t, s, f, *end[k], down, to, true);
      if (down == f->told) {
        *end[k] = f->told ? f->origin : *end[k];
        continue;
      }
      end[open] = end[k];
      all.flight[open++] = f;
    }
    if (!open) return;
    all.count = open;
    to = reach;
    unsigned mark = to > t->kept ? (to - t->kept + every - 1) / every : 0;
    if (mark * every >= to) mark = (to - 1) / every;
    from = mark * every;
    for (unsigned k = 0; k < open; k++) go_back(t, s, all.flight[k], mark, from);
    advance(t, s, &all, from, to, TELL_NOTHING, 0);
  }
}

/* ---- Searches ---- */

/* A run of which the last 'ahead' positions are but looked at. */
typedef struct run {
  unsigned steps, ahead, first;
  const float *const *target;
  const uint32_t *start, *end; /* or NULL */
  uint32_t *const *codes;
} run;

/* Looking ahead, a quarter of the groups is enough, where few codes follow each a smaller share,
   but no fewer than AHEAD_LEAST. */
enum { AHEAD_SHARE = 4, AHEAD_SHARE_OF_FEW = 64, FEW_CODES = 32, AHEAD_LEAST = 64 };

unsigned qp_trellis_kept_ahead(const qp_trellis *t) {
  const unsigned quarter = t->groups / AHEAD_SHARE, few = t->groups / AHEAD_SHARE_OF_FEW;
  if (t->width || !t->rows.windows) return t->width;
  if (t->fan > FEW_CODES || quarter <= AHEAD_LEAST) return quarter;
  return max_of(few, AHEAD_LEAST);
}

static qp_fleet fleet_of(const qp_trellis *t, qp_search *s, unsigned count, unsigned positions,
                         const run *r) {
  const unsigned kept = qp_trellis_kept_ahead(t);
  qp_fleet all = {.count = count,
                  .end = positions,
                  .pruned = kept ? positions - r->ahead : positions,
                  .width = kept};
  for (unsigned k = 0; k < count; k++) {
    qp_flight *f = all.flight[k] = &s->flight[k];
    f->target = r->target[k];
    f->first = r->first;
    f->steps = r->steps;
    f->start = r->start ? r->start[k] : t->groups;
    f->end = r->end ? r->end[k] : t->groups;
    f->codes = r->codes ? r->codes[k] : NULL;
    f->even = t->mirrored && (!r->start || !r->end) && positions <= t->kept;
    begin(t, s, f);
  }
  return all;
}

void qp_trellis_seams(const qp_trellis *t, qp_search *s, unsigned count, unsigned steps,
                      unsigned around, const float *const *targets, uint32_t *start) {
  if (t->width) {
    for (unsigned k = 0; k < count; k++)
      start[k] = qp_long_seam(t, s->survivors, targets[k], steps, around);
    return;
  }
  const run r = {.steps = steps, .first = steps - around, .target = targets};
  const qp_fleet all = fleet_of(t, s, count, 2 * around, &r);
  advance(t, s, &all, 0, 2 * around, TELL_NOTHING, 0);
  for (unsigned k = 0; k < count; k++) {
    const uint32_t best = best_group(t, s, all.flight[k], 2 * around);
    start[k] = walk(t, s, all.flight[k], best, around, 2 * around, false);
  }
}

/* The path that mirrors one which begins in the mirrored group. */
static void mirror_codes(const qp_trellis *t, unsigned steps, uint32_t *codes) {
  for (unsigned at = 0; at < steps; at++) codes[at] ^= t->fan - 1;
}

void qp_trellis_search(const qp_trellis *t, qp_search *s, qp_ends ends, unsigned count,
                       unsigned steps, unsigned ahead, const float *const *targets, uint32_t *start,
                       const uint32_t *end, uint32_t *const *codes) {
  assert(count >= 1 && count <= qp_trellis_sequences(t) && steps > ahead);
  assert(ends != QP_ENDS_TIED || (uint64_t)steps * t->step >= t->window);
  assert((ends == QP_ENDS_BETWEEN) == (end != NULL));
  const bool open = ends == QP_ENDS_FREE || ends == QP_ENDS_FROM;
  uint32_t last[SEQUENCES];
  if (t->width) {
    for (unsigned k = 0; k < count; k++)
      qp_long_search(t, s->survivors, ends, steps, ahead, targets[k], &start[k],
                     end ? &end[k] : NULL, codes[k]);
    return;
  }
  if (ends == QP_ENDS_TIED) {
    qp_trellis_seams(t, s, count, steps, qp_trellis_seam(t->window, t->step, steps), targets,
                     start);
    memcpy(last, start, sizeof *last * count);
    end = last;
  }
  const run r = {.steps = steps,
                 .ahead = ahead,
                 .target = targets,
                 .start = ends == QP_ENDS_FREE ? NULL : start,
                 .end = end,
                 .codes = codes};
  const qp_fleet all = fleet_of(t, s, count, steps, &r);
  advance(t, s, &all, 0, steps, open ? TELL_SOON : TELL_COMMON, open ? 0 : mark_steps(t, steps));
  for (unsigned k = 0; k < count; k++)
    last[k] = open ? best_group(t, s, all.flight[k], steps) : all.flight[k]->end;
  tell_rest(t, s, all, steps, last);
  for (unsigned k = 0; ends == QP_ENDS_FREE && k < count; k++) start[k] = last[k];
  for (unsigned k = 0; ends == QP_ENDS_FROM && k < count; k++)
    if (last[k] != start[k]) mirror_codes(t, steps, codes[k]);
}
