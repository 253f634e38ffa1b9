/* SPDX-License-Identifier: MIT */
/* Codes of a bitshift trellis:  targets + table of states --Viterbi--> codes. */
#include "gen/encode/trellis.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/beam.h"
#include "gen/encode/trellis_step.h"

enum {
  LANES = QP_TRELLIS_LANES,
  SEQUENCES = QP_TRELLIS_SEQUENCES,
  RING = 2048,    /* steps whose choices are kept */
  RING_ASK = 256, /* steps after which it is asked whether all survivors share their past */
  MARKS = 32,     /* most steps whose sums are kept, to search again from there */
  FLIGHT_BYTES = 128 << 20, /* of choices, for one thread */
};

/* ---- Table ---- */

static unsigned max_of(unsigned a, unsigned b) { return a > b ? a : b; }

static qp_status make_long(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                           const float *values, qp_error *err) {
  *t = (qp_trellis){.window = window, .step = step, .dim = dim, .long_window = true};
  return qp_beam_make(&t->beam, window, step, dim, qp_beam_usual_width(step), values, err);
}

qp_status qp_trellis_make(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                          const float *values, qp_error *err) {
  if (window > QP_TRELLIS_WINDOW) return make_long(t, window, step, dim, values, err);
  if (step > 16 || step > window || !step || !dim || dim > QP_TRELLIS_DIM) {
    return qp_fail(err, QP_E_LIMIT,
                   "window %u, step %u, dim %u: windows of up to %d bits, steps of up to 16 and up "
                   "to %d weights a step can be encoded",
                   window, step, dim, QP_TRELLIS_WINDOW, QP_TRELLIS_DIM);
  }
  const unsigned groups = 1u << (window - step), fan = 1u << step;
  const unsigned columns = groups >> step ? groups >> step : 1;
  const unsigned tiles = (groups + LANES - 1) / LANES, width = (1 + dim) * LANES;
  float *table = aligned_alloc(64, sizeof *table * tiles * fan * width);
  if (!table) return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of %u states", groups * fan);
  for (unsigned tile = 0; tile < tiles; tile++) {
    for (unsigned j = 0; j < fan; j++) {
      float *row = table + ((size_t)tile * fan + j) * width;
      for (unsigned l = 0; l < LANES; l++) {
        const float *v = values + ((size_t)((tile * LANES + l) % groups) << step | j) * dim;
        float square = 0;
        for (unsigned i = 0; i < dim; i++) square = fmaf(v[i], v[i], square);
        row[l] = square;
        for (unsigned i = 0; i < dim; i++) row[(1 + i) * LANES + l] = -2 * v[i];
      }
    }
  }
  *t = (qp_trellis){.window = window,
                    .step = step,
                    .dim = dim,
                    .groups = groups,
                    .fan = fan,
                    .tiles = tiles,
                    .rows = groups < fan ? groups : fan,
                    .spread = max_of(LANES, columns),
                    .stride = max_of(LANES, columns) + LANES,
                    .table = table};
  return QP_OK;
}

void qp_trellis_free(qp_trellis *t) {
  free(t->table);
  qp_beam_free(&t->beam);
  *t = (qp_trellis){0};
}

/* ---- Search ---- */

/* One sequence in flight: the sums, and the choices of the last RING steps that are not yet told. */
typedef struct flight {
  float *sum;     /* [rows][spread] */
  float *least;   /* [tiles * 16] */
  uint16_t *from; /* [RING][tiles * 16] */
  float *mark;    /* [MARKS][groups]: sums before every mark_steps-th step */
  unsigned told;  /* steps whose codes are written */
  uint32_t start; /* the group before step 0, once a step is told */
} flight;

struct qp_search {
  flight flight[SEQUENCES];
  uint32_t *alive, *seen; /* [groups]: the groups that survivors go through; when each was met */
  uint32_t stamp;
  qp_step_run *run;
  qp_beam_search *beam; /* of a long window, alone */
};

/* What advance() does with the choices besides keeping those of the last RING steps. */
typedef enum telling {
  TELL_NOTHING,
  TELL_COMMON, /* tell what all survivors have in common, exactly */
  TELL_SOON    /* and where that falls behind by RING steps, what the best one has */
} telling;

unsigned qp_trellis_sequences(const qp_trellis *t) {
  if (t->long_window) return 1;
  const size_t one = (size_t)t->tiles * LANES * RING * sizeof(uint16_t);
  unsigned n = SEQUENCES;
  while (n > 2 && n * one > FLIGHT_BYTES) n /= 2;
  return n;
}

qp_status qp_search_new(const qp_trellis *t, qp_search **out, qp_error *err) {
  const size_t width = (size_t)t->tiles * LANES, sums = (size_t)t->rows * t->stride;
  qp_search *s = calloc(1, sizeof *s);
  bool ok = s != NULL;
  if (ok && t->long_window) {
    const qp_status st = qp_beam_search_new(&t->beam, &s->beam, err);
    if (st) free(s);
    *out = s;
    return st;
  }
  for (unsigned k = 0; ok && k < qp_trellis_sequences(t); k++) {
    flight *f = &s->flight[k];
    f->sum = malloc(sizeof *f->sum * sums);
    f->least = malloc(sizeof *f->least * width);
    f->from = malloc(sizeof *f->from * width * RING);
    f->mark = malloc(sizeof *f->mark * t->groups * MARKS);
    ok = f->sum && f->least && f->from && f->mark;
  }
  if (ok) {
    s->alive = malloc(sizeof *s->alive * width);
    s->seen = calloc(width, sizeof *s->seen);
    ok = s->alive && s->seen;
  }
  if (!ok) {
    qp_search_free(s);
    return qp_fail(err, QP_E_NOMEM, "no memory to search a trellis of %u groups", t->groups);
  }
  s->run = qp_step_choose();
  *out = s;
  return QP_OK;
}

void qp_search_free(qp_search *s) {
  if (!s) return;
  for (unsigned k = 0; k < SEQUENCES; k++) {
    free(s->flight[k].sum);
    free(s->flight[k].least);
    free(s->flight[k].from);
    free(s->flight[k].mark);
  }
  free(s->alive);
  free(s->seen);
  qp_beam_search_free(s->beam);
  free(s);
}

/* The new sums, less their least so that floats stay exact enough however long the run is, to where
** the next step reads them: group g = column * fan + row (modulo groups) at [row][column]. */
static void transpose(const qp_trellis *t, flight *f) {
  float least = INFINITY;
  for (unsigned g = 0; g < t->groups; g++) least = f->least[g] < least ? f->least[g] : least;
  const unsigned columns = max_of(t->groups / t->fan, 1);
  for (unsigned column = 0; column < columns; column++) {
    const float *from = f->least + (size_t)column * t->fan;
    for (unsigned row = 0; row < t->rows; row++)
      f->sum[(size_t)row * t->stride + column] = from[row] - least;
  }
  for (unsigned row = 0; columns < LANES && row < t->rows; row++) {
    float *to = f->sum + (size_t)row * t->stride;
    for (unsigned l = columns; l < LANES; l++) to[l] = to[l % columns];
  }
}

/* Every path may begin in any group, or (g < groups) in one alone. */
static void begin(const qp_trellis *t, flight *f, uint32_t g) {
  for (unsigned i = 0; i < t->groups; i++) f->least[i] = g < t->groups && i != g ? INFINITY : 0;
  transpose(t, f);
  f->told = 0;
}

static uint32_t best_group(const qp_trellis *t, const flight *f) {
  uint32_t best = 0;
  for (uint32_t g = 1; g < t->groups; g++)
    if (f->least[g] < f->least[best]) best = g;
  return best;
}

/* Walk from the group behind step 'end' back to the one before step 'begin'; 'codes' (or NULL) gets
** those of the steps below 'stop'. */
static uint32_t walk(const qp_trellis *t, const flight *f, uint32_t g, unsigned begin, unsigned end,
                     unsigned stop, uint32_t *codes) {
  const size_t width = (size_t)t->tiles * LANES;
  for (unsigned i = end; i-- > begin;) {
    uint32_t s = g << t->step | f->from[(i % RING) * width + g];
    if (codes && i < stop) codes[i] = (s >> (t->window - t->step));
    g = s & (t->groups - 1);
  }
  return g;
}

/* Where the ring is full and survivors still differ: keep those that go through the same group before
** step 'at' as the best one does.  Returns that group. */
static uint32_t keep_best(const qp_trellis *t, flight *f, unsigned at, unsigned end) {
  const uint32_t kept = walk(t, f, best_group(t, f), at, end, 0, NULL);
  for (uint32_t g = 0; g < t->groups; g++)
    if (f->least[g] < INFINITY && walk(t, f, g, at, end, 0, NULL) != kept) f->least[g] = INFINITY;
  transpose(t, f);
  return kept;
}

/* Tell the codes that all survivors behind step 'end' have in common. */
static void tell_common(const qp_trellis *t, qp_search *s, flight *f, unsigned end, telling tell,
                        uint32_t *codes) {
  const size_t width = (size_t)t->tiles * LANES;
  unsigned alive = 0, i = end;
  for (uint32_t g = 0; g < t->groups; g++)
    if (f->least[g] < INFINITY) s->alive[alive++] = g;
  while (i > f->told && alive > 1) {
    const uint16_t *from = f->from + (--i % RING) * width;
    unsigned kept = 0;
    s->stamp++;
    for (unsigned a = 0; a < alive; a++) {
      uint32_t g = (s->alive[a] << t->step | from[s->alive[a]]) & (t->groups - 1);
      if (s->seen[g] == s->stamp) continue;
      s->seen[g] = s->stamp;
      s->alive[kept++] = g;
    }
    alive = kept;
  }
  if (tell == TELL_SOON && end - f->told == RING && i - f->told < RING / 4) {
    i = end - RING / 2;
    s->alive[0] = keep_best(t, f, i, end);
  } else if (alive > 1) {
    return;
  }
  uint32_t g = walk(t, f, s->alive[0], f->told, i, i, codes);
  if (!f->told) f->start = g;
  f->told = i;
}

/* From step to step: far enough apart that MARKS reach to the end. */
static unsigned mark_steps(unsigned steps) {
  const unsigned every = (steps + MARKS - 1) / MARKS;
  return max_of(every, RING / 2);
}

static void set_mark(const qp_trellis *t, flight *f, unsigned mark) {
  memcpy(f->mark + (size_t)mark * t->groups, f->least, sizeof *f->mark * t->groups);
}

static void go_back(const qp_trellis *t, flight *f, unsigned mark) {
  memcpy(f->least, f->mark + (size_t)mark * t->groups, sizeof *f->mark * t->groups);
  transpose(t, f);
}

/* Sequences that are searched side by side. */
typedef struct fleet {
  unsigned count, who[SEQUENCES];
  const float *const *targets; /* by number of sequence, as is codes */
  uint32_t *const *codes;
} fleet;

/* Steps [from, to) of the targets, from sums that are in place; with 'every' sums are marked. */
static void advance(const qp_trellis *t, qp_search *s, const fleet *all, unsigned from, unsigned to,
                    unsigned ahead, telling tell, unsigned every) {
  const size_t width = (size_t)t->tiles * LANES;
  for (unsigned i = from; i < to; i++) {
    qp_step_pair pair[SEQUENCES / 2];
    for (unsigned k = 0; k < all->count + (all->count & 1); k++) { /* an odd one is done twice */
      const unsigned who = all->who[k < all->count ? k : k - 1];
      flight *f = &s->flight[who];
      if (every && i % every == 0) set_mark(t, f, i / every);
      pair[k / 2].x[k & 1] = all->targets[who] + (size_t)i * t->dim;
      pair[k / 2].sum[k & 1] = f->sum;
      pair[k / 2].least[k & 1] = f->least;
      pair[k / 2].from[k & 1] = f->from + ((i + ahead) % RING) * width;
    }
    for (unsigned tile = 0; tile < t->tiles; tile++)
      for (unsigned p = 0; p < (all->count + 1) / 2; p++) s->run(t, tile, &pair[p]);
    for (unsigned k = 0; k < all->count; k++) {
      flight *f = &s->flight[all->who[k]];
      transpose(t, f);
      const unsigned waiting = i + 1 - f->told;
      if (tell && waiting >= RING_ASK && waiting <= RING && waiting % (RING_ASK / 2) == 0)
        tell_common(t, s, f, i + 1, tell, all->codes[all->who[k]]);
    }
  }
}

static fleet fleet_of(unsigned count, const float *const *targets, uint32_t *const *codes) {
  fleet all = {.count = count, .targets = targets, .codes = codes};
  for (unsigned k = 0; k < count; k++) all.who[k] = k;
  return all;
}

/*
** The codes up to the end, in group end[k].  Where survivors differed for more than RING steps, choices
** are lost; they are made again from the last mark that shows something new, as often as needed.  (A
** table whose states s and ~s decode to the same has two paths of equal sums everywhere; which of
** them closes the circle is known at the end alone.)
*/
static void tell_rest(const qp_trellis *t, qp_search *s, fleet all, unsigned steps, uint32_t *end) {
  const unsigned every = mark_steps(steps);
  unsigned from = 0, to = steps;
  for (;;) {
    const unsigned reach = max_of(from, to > RING ? to - RING : 0);
    unsigned open = 0;
    for (unsigned k = 0; k < all.count; k++) {
      const unsigned who = all.who[k];
      flight *f = &s->flight[who];
      const unsigned down = max_of(reach, f->told);
      end[who] = walk(t, f, end[who], down, to, to, all.codes[who]);
      if (down > f->told) all.who[open++] = who;
    }
    if (!open) return;
    all.count = open;
    to = reach;
    unsigned mark = to > RING ? (to - RING + every - 1) / every : 0;
    if (mark * every >= to) mark = (to - 1) / every;
    from = mark * every;
    for (unsigned k = 0; k < open; k++) go_back(t, &s->flight[all.who[k]], mark);
    advance(t, s, &all, from, to, 0, TELL_NOTHING, 0);
  }
}

void qp_trellis_seams(const qp_trellis *t, qp_search *s, unsigned count, unsigned steps,
                      const float *const *targets, uint32_t *start) {
  const unsigned around = steps < QP_TRELLIS_SEAM ? steps : QP_TRELLIS_SEAM;
  if (t->long_window) {
    for (unsigned k = 0; k < count; k++)
      start[k] = qp_beam_seam(&t->beam, s->beam, steps, around, targets[k]);
    return;
  }
  const fleet all = fleet_of(count, targets, NULL);
  for (unsigned k = 0; k < count; k++) begin(t, &s->flight[k], t->groups);
  advance(t, s, &all, steps - around, steps, around - steps, TELL_NOTHING, 0);
  advance(t, s, &all, 0, around, around, TELL_NOTHING, 0);
  for (unsigned k = 0; k < count; k++) {
    const flight *f = &s->flight[k];
    start[k] = walk(t, f, best_group(t, f), around, 2 * around, 0, NULL);
  }
}

void qp_trellis_search(const qp_trellis *t, qp_search *s, qp_ends ends, unsigned count,
                       unsigned steps, const float *const *targets, uint32_t *start,
                       const uint32_t *end, uint32_t *const *codes) {
  assert(count >= 1 && count <= qp_trellis_sequences(t) && steps > 0);
  assert(ends != QP_ENDS_TIED || (uint64_t)steps * t->step >= t->window);
  assert((ends == QP_ENDS_BETWEEN) == (end != NULL));
  const bool open = ends == QP_ENDS_FREE || ends == QP_ENDS_FROM;
  const fleet all = fleet_of(count, targets, codes);
  uint32_t last[SEQUENCES];
  if (ends == QP_ENDS_TIED) qp_trellis_seams(t, s, count, steps, targets, start);
  if (t->long_window) {
    if (ends == QP_ENDS_TIED) end = start;
    for (unsigned k = 0; k < count; k++)
      qp_beam_run(&t->beam, s->beam, steps, targets[k], ends == QP_ENDS_FREE, start + k,
                  end ? end + k : NULL, codes[k]);
    return;
  }
  for (unsigned k = 0; k < count; k++)
    begin(t, &s->flight[k], ends == QP_ENDS_FREE ? t->groups : start[k]);
  advance(t, s, &all, 0, steps, 0, open ? TELL_SOON : TELL_COMMON, open ? 0 : mark_steps(steps));
  for (unsigned k = 0; k < count; k++)
    last[k] = open ? best_group(t, &s->flight[k]) : end ? end[k] : start[k];
  tell_rest(t, s, all, steps, last);
  for (unsigned k = 0; ends == QP_ENDS_FREE && k < count; k++)
    start[k] = s->flight[k].told ? s->flight[k].start : last[k];
}
