/* SPDX-License-Identifier: MIT */
/* Finds the codes of a bitshift trellis, with the table of states, sequences in flight, and choices
   told. */
#include "gen/encode/trellis.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/long_search.h"
#include "gen/encode/trellis_push.h"
#include "gen/encode/trellis_step.h"

enum {
  LANES = QP_TRELLIS_LANES,
  SEQUENCES = QP_TRELLIS_SEQUENCES,
  MOST_BYTES = 256 << 20, /* most memory of the sums that one thread keeps for the least number of
                             steps */
  MARKS = 32,             /* most steps whose sums are kept longer, to search again from there */
  TRIES = 64,             /* of a limit that is to let so many paths through */
  FIRST_LIMIT = 256
};

/* ---- Memory of a thread ---- */

/* One sequence in flight: its run, the sums, and what is not yet told. */
typedef struct flight {
  const float
      *target; /* [steps][dim], circular: position p of the run is step (first + p) % steps */
  unsigned first, steps;
  uint32_t start;   /* The group before position 0; >= groups: any. */
  uint32_t end;     /* The group behind the last position; >= groups: any. */
  unsigned limit;   /* where paths are given up: sums above the least, of the last position */
  uint32_t *codes;  /* or NULL */
  uint16_t *sum;    /* [rows][stride], of the position that comes next; NULL where all is pushed */
  uint16_t *before; /* [kept + 1][tiles * 32]: sums before each position, by group */
  uint16_t *mark;   /* [MARKS][tiles * 32]: sums before every mark_steps-th position */
  unsigned told;    /* positions whose codes are written */
  uint32_t origin;  /* the group before position 0, once a position is told */
} flight;

struct qp_search {
  flight flight[SEQUENCES];
  /* survivors on the way back, [tiles * 32]: the groups they go through, each once; of each group
     at the end the number of that which it comes from; when each was met, and as which number */
  uint32_t *alive, *kin, *seen, *number, *renumber;
  uint32_t stamp;
  qp_trellis_step step;
  qp_trellis_push push;
  uint16_t *square;        /* [rows.size] */
  uint16_t *out;           /* [groups / fan][qp_push_stride] */
  qp_survivors *survivors; /* of a long window, in place of all that */
};

static size_t width_of(const qp_trellis *t) { return (size_t)t->tiles * LANES; }
static unsigned max_of(unsigned a, unsigned b) { return a > b ? a : b; }

unsigned qp_trellis_sequences(const qp_trellis *t) {
  if (t->width) return 1;
  const size_t one = sizeof(uint16_t) * width_of(t) * t->kept;
  unsigned n = SEQUENCES;
  while (n > 2 && n * one > MOST_BYTES) n /= 2;
  return n;
}

static uint16_t *new_sums(size_t n) {
  return aligned_alloc(64, (sizeof(uint16_t) * n + 63) & ~63u);
}

static bool new_flight(const qp_trellis *t, flight *f) {
  const size_t width = width_of(t);
  f->sum = t->pushed ? NULL : new_sums((size_t)t->turned * t->stride);
  f->before = new_sums(width * (t->kept + 1));
  f->mark = new_sums(width * MARKS);
  return (f->sum || t->pushed) && f->before && f->mark;
}

static bool new_push(const qp_trellis *t, qp_search *s) {
  if (!t->rows.windows) return true;
  s->push = qp_trellis_push_choose();
  s->square = new_sums(t->rows.size + 1);
  s->out = new_sums((size_t)t->groups / t->fan * qp_push_stride(t));
  return s->square && s->out;
}

qp_status qp_search_new(const qp_trellis *t, qp_search **out, qp_error *err) {
  const size_t width = width_of(t);
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
  }
  free(s->alive);
  free(s->kin);
  free(s->seen);
  free(s->number);
  free(s->renumber);
  free(s->square);
  free(s->out);
  qp_survivors_free(s->survivors);
  free(s);
}

/* ---- One sequence ---- */

static uint16_t *before(const qp_trellis *t, const flight *f, unsigned at) {
  return f->before + at % (t->kept + 1) * width_of(t);
}

/* The sums of a position are changed: those from which the next one reads are made anew. */
static void settle(const qp_trellis *t, const qp_search *s, const flight *f, uint16_t *sums) {
  if (!t->pushed) s->step.turn(t, sums, f->sum);
}

/* Every path begins in the start group, or in any. */
static void begin(const qp_trellis *t, const qp_search *s, flight *f) {
  uint16_t *sums = before(t, f, 0);
  for (unsigned g = 0; g < width_of(t); g++)
    sums[g] = f->start >= t->groups || g % t->groups == f->start ? 0 : QP_NO_PATH;
  settle(t, s, f, sums);
  f->told = 0;
  f->limit = FIRST_LIMIT;
}

static void set_x(const qp_trellis *t, const flight *f, unsigned at, int16_t x[QP_TRELLIS_DIM]) {
  unsigned step = f->first + at;
  if (step >= f->steps) step -= f->steps;
  const float *target = f->target + (size_t)step * t->dim;
  for (unsigned i = 0; i < t->dim; i++) x[i] = (int16_t)qp_metric_target(&t->metric, target[i]);
}

static uint32_t best_group(const qp_trellis *t, const flight *f, unsigned at) {
  const uint16_t *sums = before(t, f, at);
  uint32_t best = 0;
  for (uint32_t g = 1; g < t->groups; g++)
    if (sums[g] < sums[best]) best = g;
  return best;
}

/* The choice of group g at a position that is so near to the run's begin that not all groups can
   come before it: those that do have the start group's newest bits as their oldest. */
static unsigned choice_near_start(const qp_trellis *t, const flight *f, unsigned at, uint32_t g,
                                  const int16_t *x) {
  const uint16_t *sums = before(t, f, at);
  const int16_t *table = t->by_group + (size_t)g * t->dim * t->fan;
  const uint32_t old = f->start >> at * t->step, mask = (t->groups >> at * t->step) - 1;
  unsigned best = 0, least = QP_NO_PATH + 1;
  for (unsigned j = 0; j < t->fan; j++) {
    const uint32_t from = (g << t->step | j) & (t->groups - 1);
    unsigned v = sums[from];
    if ((from ^ old) & mask) continue;
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], table[i * t->fan + j]);
    v = v < QP_NO_PATH ? v : QP_NO_PATH;
    if (v < least) least = v, best = j;
  }
  return best;
}

/* Find the state at a position, from the group behind it. */
static uint32_t state_at(const qp_trellis *t, const qp_search *s, const flight *f, unsigned at,
                         uint32_t g, const int16_t *x) {
  const bool near = f->start < t->groups && at * t->step < t->window - t->step;
  return g << t->step |
         (near ? choice_near_start(t, f, at, g, x) : s->step.choice(t, g, x, before(t, f, at)));
}

/* Walk from the group behind position 'end' - 1 back to the one before position 'begin'; with
   'tell' the codes are written on the way. */
static uint32_t walk(const qp_trellis *t, const qp_search *s, const flight *f, uint32_t g,
                     unsigned begin, unsigned end, bool tell) {
  for (unsigned at = end; at-- > begin;) {
    int16_t x[QP_TRELLIS_DIM];
    set_x(t, f, at, x);
    const uint32_t state = state_at(t, s, f, at, g, x);
    if (tell) f->codes[at] = state >> (t->window - t->step);
    g = state & (t->groups - 1);
  }
  return g;
}

/* ---- Survivors ---- */

/* One position back: 'alive' groups become those that they come from, each once.  Returns how
   many. */
static unsigned step_back(const qp_trellis *t, qp_search *s, const flight *f, unsigned at,
                          unsigned alive) {
  int16_t x[QP_TRELLIS_DIM];
  unsigned kept = 0;
  set_x(t, f, at, x);
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
static unsigned list_survivors(const qp_trellis *t, qp_search *s, const flight *f, unsigned end) {
  const uint16_t *sums = before(t, f, end);
  unsigned count = 0;
  for (uint32_t g = 0; g < t->groups; g++) {
    s->kin[g] = count;
    if (sums[g] < QP_NO_PATH) s->alive[count++] = g;
  }
  return count;
}

/* All survivors before position *at back to where one is left, or to 'stop'.  Returns how many
   are. */
static unsigned trace(const qp_trellis *t, qp_search *s, const flight *f, unsigned stop,
                      unsigned *at) {
  unsigned count = list_survivors(t, s, f, *at);
  while (*at > stop && count > 1) count = step_back(t, s, f, --*at, count);
  return count;
}

/* Do the same, but to 'stop' in any case; s->kin[g] becomes which of s->alive group g before 'end'
   comes from. */
static void trace_kin(const qp_trellis *t, qp_search *s, const flight *f, unsigned stop,
                      unsigned end) {
  unsigned count = list_survivors(t, s, f, end);
  for (unsigned at = end; at > stop;) {
    count = step_back(t, s, f, --at, count);
    for (uint32_t g = 0; g < t->groups; g++)
      if (before(t, f, end)[g] < QP_NO_PATH) s->kin[g] = s->renumber[s->kin[g]];
  }
}

/* Give up the survivors that do not go through the same group as the best one, where trace_kin()
   ended.  Returns that group. */
static uint32_t keep_best(const qp_trellis *t, const qp_search *s, flight *f, unsigned end) {
  uint16_t *sums = before(t, f, end);
  const uint32_t best = s->kin[best_group(t, f, end)];
  for (uint32_t g = 0; g < t->groups; g++)
    if (s->kin[g] != best) sums[g] = QP_NO_PATH;
  for (uint32_t g = t->groups; g < width_of(t); g++) sums[g] = sums[g % t->groups];
  settle(t, s, f, sums);
  return s->alive[best];
}

/* What advance() does besides keeping the sums of the last positions. */
typedef enum telling {
  TELL_NOTHING,
  TELL_COMMON, /* tell what all survivors have in common, exactly */
  TELL_SOON    /* and where that falls behind by all that is kept, what the best one has */
} telling;

static void tell_common(const qp_trellis *t, qp_search *s, flight *f, unsigned end, telling tell) {
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

typedef struct fleet {
  unsigned count;
  flight *flight[SEQUENCES];
  unsigned end;    /* positions of the run */
  unsigned pruned; /* position from which on only the best paths are kept; */
  unsigned width;  /* so many */
} fleet;

/* From mark to mark: far enough apart that MARKS reach to the end. */
static unsigned mark_steps(const qp_trellis *t, unsigned steps) {
  return max_of((steps + MARKS - 1) / MARKS, t->kept / 2);
}

/* Step 0 of a run that begins behind a given group: 'fan' states in place of all. */
static void leave_start(const qp_trellis *t, const flight *f, const int16_t *x, uint16_t *least) {
  const size_t width = width_of(t);
  for (size_t g = 0; g < t->groups; g++) least[g] = QP_NO_PATH;
  for (uint32_t code = 0; code < t->fan; code++) {
    const uint32_t state = code << (t->window - t->step) | f->start, g = state >> t->step;
    const int16_t *value = t->by_group + (size_t)g * t->dim * t->fan + (state & (t->fan - 1));
    unsigned v = 0;
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], value[i * t->fan]);
    if (v < least[g]) least[g] = (uint16_t)v;
  }
  for (size_t g = t->groups; g < width; g++) least[g] = least[g % t->groups];
}

/* ---- Forward, from groups that paths lead to ---- */

/*
** A limit below which 'width' sums are, of 'lowest' and more, up to twice as many: the last
** position's, or nearby.  Whole numbers alone, so that it is the same everywhere.
*/
static unsigned find_limit(const qp_trellis *t, const qp_search *s, flight *f, unsigned width,
                           const uint16_t *sums, unsigned lowest) {
  const unsigned many = 2 * width, few = width;
  bool up = false, down = false;
  for (unsigned i = 0; i < TRIES; i++) {
    const unsigned limit = lowest + f->limit < QP_NO_PATH ? lowest + f->limit : QP_NO_PATH;
    const unsigned count = s->push.count((unsigned)width_of(t), sums, limit);
    if (count > many && !up && f->limit > 1) {
      f->limit -= f->limit / (count > 2 * many ? 8 : 32) + 1;
      down = true;
    } else if (count < few && !down && limit < QP_NO_PATH) {
      f->limit += f->limit / (count < few / 2 ? 8 : 32) + 1;
      up = true;
    } else {
      break;
    }
  }
  return lowest + f->limit < QP_NO_PATH ? lowest + f->limit : QP_NO_PATH;
}

/* Of the sums before the last 'left' positions those that can lead to the end. */
static void keep_what_ends(const qp_trellis *t, const flight *f, unsigned left, uint16_t *sums) {
  const unsigned gone = left * t->step;
  for (uint32_t g = 0; g < t->groups; g++)
    if (((g >> gone) ^ f->end) & ((t->groups >> gone) - 1)) sums[g] = QP_NO_PATH;
}

/* Take their least off the sums behind a position; with 'width' only the best ones stay.  Near a
   given end all paths stay that lead there. */
static void level(const qp_trellis *t, const qp_search *s, flight *f, unsigned width, unsigned left,
                  unsigned lowest, uint16_t *sums) {
  const unsigned n = (unsigned)width_of(t);
  const bool ends = f->end < t->groups && left * t->step < t->window - t->step;
  unsigned limit = QP_NO_PATH;
  if (width && !ends) limit = find_limit(t, s, f, width, sums, lowest);
  if (lowest == QP_NO_PATH)
    memset(sums, 0, sizeof *sums * n);
  else
    s->push.level(n, lowest, limit, sums);
  if (width && ends) keep_what_ends(t, f, left, sums);
}

static void push_one(const qp_trellis *t, const qp_search *s, const fleet *all, flight *f,
                     unsigned at) {
  int16_t x[QP_TRELLIS_DIM];
  uint16_t *sums = before(t, f, at + 1);
  unsigned lowest = QP_NO_PATH;
  set_x(t, f, at, x);
  if (at == 0 && f->start < t->groups) {
    leave_start(t, f, x, sums);
    for (uint32_t g = 0; g < t->groups; g++) lowest = sums[g] < lowest ? sums[g] : lowest;
  } else {
    if (t->rows.pool) s->push.squares(t, x, s->square);
    lowest = s->push.run(t, x, s->square, before(t, f, at), s->out);
    s->push.turn(t, s->out, sums);
    for (uint32_t g = t->groups; g < width_of(t); g++) sums[g] = sums[g % t->groups];
  }
  level(t, s, f, at >= all->pruned ? all->width : 0, all->end - at - 1, lowest, sums);
}

/* ---- A position of all of them ---- */

/* In the first positions behind a given group a part of the choices can be made alone: every
   'apart'-th from 'first' on. */
static void limit_choices(const qp_trellis *t, const flight *f, unsigned at, qp_step_batch *batch) {
  const unsigned fixed = t->window - t->step - at * t->step;
  const uint32_t apart = fixed < t->step ? 1u << fixed : t->fan;
  batch->first = f->start >> at * t->step & (apart - 1);
  batch->apart = apart;
}

static void run_tiles(const qp_trellis *t, const qp_search *s, const qp_step_batch *batch) {
  for (unsigned tile = 0; tile < t->tiles; tile++) s->step.run(t, tile, batch);
}

static void pull_all(const qp_trellis *t, const qp_search *s, const fleet *all, unsigned at) {
  const bool given = all->flight[0]->start < t->groups; /* all have one, or none */
  const bool near = given && (at == 0 || at * t->step < t->window - t->step);
  qp_step_batch batch = {.count = all->count, .apart = 1};
  for (unsigned k = 0; k < all->count; k++) {
    const flight *f = all->flight[k];
    set_x(t, f, at, batch.x[k]);
    batch.sum[k] = f->sum;
    batch.least[k] = before(t, f, at + 1);
    if (given && at == 0) leave_start(t, f, batch.x[k], batch.least[k]);
  }
  if (!near) run_tiles(t, s, &batch);
  for (unsigned k = 0; near && at && k < all->count; k++) {
    qp_step_batch one = {.count = 1, .sum = {batch.sum[k]}, .least = {batch.least[k]}};
    memcpy(one.x[0], batch.x[k], sizeof one.x[0]);
    limit_choices(t, all->flight[k], at, &one);
    run_tiles(t, s, &one);
  }
  for (unsigned k = 0; k < all->count; k++) s->step.turn(t, batch.least[k], all->flight[k]->sum);
}

static void advance_one(const qp_trellis *t, const qp_search *s, const fleet *all, unsigned at) {
  if (!t->pushed && at < all->pruned) {
    pull_all(t, s, all, at);
    return;
  }
  for (unsigned k = 0; k < all->count; k++) push_one(t, s, all, all->flight[k], at);
}

/* Is it time to tell, before position 'at' of a run that ends at 'end'?  Where all that is not told
   is kept until then, never. */
static bool should_tell(const qp_trellis *t, const flight *f, unsigned at, unsigned end) {
  const unsigned waiting = at - f->told;
  return end - f->told > t->kept && waiting >= t->kept / 4 * 3 && waiting <= t->kept &&
         waiting % (t->kept / 8) == 0;
}

/* Positions [from, to), from sums that are in place; with 'every' sums are marked. */
static void advance(const qp_trellis *t, qp_search *s, const fleet *all, unsigned from, unsigned to,
                    telling tell, unsigned every) {
  const size_t width = width_of(t);
  for (unsigned at = from; at < to; at++) {
    for (unsigned k = 0; every && at % every == 0 && k < all->count; k++)
      memcpy(all->flight[k]->mark + at / every * width, before(t, all->flight[k], at),
             sizeof(uint16_t) * width);
    advance_one(t, s, all, at);
    for (unsigned k = 0; tell && k < all->count; k++)
      if (should_tell(t, all->flight[k], at + 1, to))
        tell_common(t, s, all->flight[k], at + 1, tell);
  }
}

static void go_back(const qp_trellis *t, const qp_search *s, flight *f, unsigned mark,
                    unsigned at) {
  uint16_t *sums = before(t, f, at);
  memcpy(sums, f->mark + mark * width_of(t), sizeof *sums * width_of(t));
  settle(t, s, f, sums);
}

/*
** Tell the codes up to the end, from group g[k] behind it; g[k] becomes the one before position 0.
** Where survivors differed for longer than sums are kept, these are made again from the last mark
** that shows something new, as often as needed. (A table whose states s and ~s decode to the same
** has two paths of equal sums everywhere; which of them closes the circle is known at the end
** alone.) */
static void tell_rest(const qp_trellis *t, qp_search *s, fleet all, unsigned steps, uint32_t *g) {
  const unsigned every = mark_steps(t, steps);
  unsigned from = 0, to = steps;
  uint32_t *end[SEQUENCES];
  for (unsigned k = 0; k < all.count; k++) end[k] = &g[k];
  for (;;) {
    const unsigned reach = max_of(from, to > t->kept ? to - t->kept : 0);
    unsigned open = 0;
    for (unsigned k = 0; k < all.count; k++) {
      flight *f = all.flight[k];
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

/* Looking ahead, a quarter of the groups is enough. */
enum { AHEAD_SHARE = 4 };

unsigned qp_trellis_kept_ahead(const qp_trellis *t) {
  return t->width ? t->width : t->rows.windows ? t->groups / AHEAD_SHARE : 0;
}

static fleet fleet_of(const qp_trellis *t, qp_search *s, unsigned count, unsigned positions,
                      const run *r) {
  const unsigned kept = qp_trellis_kept_ahead(t);
  fleet all = {.count = count,
               .end = positions,
               .pruned = kept ? positions - r->ahead : positions,
               .width = kept};
  for (unsigned k = 0; k < count; k++) {
    flight *f = all.flight[k] = &s->flight[k];
    f->target = r->target[k];
    f->first = r->first;
    f->steps = r->steps;
    f->start = r->start ? r->start[k] : t->groups;
    f->end = r->end ? r->end[k] : t->groups;
    f->codes = r->codes ? r->codes[k] : NULL;
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
  const fleet all = fleet_of(t, s, count, 2 * around, &r);
  advance(t, s, &all, 0, 2 * around, TELL_NOTHING, 0);
  for (unsigned k = 0; k < count; k++) {
    const uint32_t best = best_group(t, all.flight[k], 2 * around);
    start[k] = walk(t, s, all.flight[k], best, around, 2 * around, false);
  }
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
  const fleet all = fleet_of(t, s, count, steps, &r);
  advance(t, s, &all, 0, steps, open ? TELL_SOON : TELL_COMMON, open ? 0 : mark_steps(t, steps));
  for (unsigned k = 0; k < count; k++)
    last[k] = open ? best_group(t, all.flight[k], steps) : all.flight[k]->end;
  tell_rest(t, s, all, steps, last);
  for (unsigned k = 0; ends == QP_ENDS_FREE && k < count; k++) start[k] = last[k];
}
