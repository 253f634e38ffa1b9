/* SPDX-License-Identifier: MIT */
/* Codes of a bitshift trellis with too many states to follow all:  targets + table --> codes. */
#include "gen/encode/beam.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gen/encode/beam_step.h"
#include "gen/encode/traceback.h"
#include "runtime/half.h"

enum {
  LANES = 8,
  BIN_SHIFT = 15, /* sums are sorted into bins by their bits above these: 1/256 of them wide */
  BINS = 0x7f800000 >> BIN_SHIFT, /* of finite floats that are not negative */
  SAMPLE = 1 << 16,               /* candidates from which a step's limit is guessed */
  USUAL_CANDIDATES = 1 << 21,     /* of a step; twice as many for steps of few choices: */
  FEW_CHOICES = 4,                /* bits at most */
  USUAL_LEAST = 1024,             /* survivors */
  HUGE_PAGE = 2 << 20,
  TRIES = 8 /* of a limit that let too few through */
};

/* ---- Table ---- */

unsigned qp_beam_usual_width(unsigned step) {
  const unsigned width =
      (step <= FEW_CHOICES ? 2u : 1u) * USUAL_CANDIDATES >> (step < 16 ? step : 16);
  return width > USUAL_LEAST ? width : USUAL_LEAST;
}

void qp_beam_set_width(qp_beam *b, unsigned width) {
  if (width < QP_BEAM_LEAST) width = QP_BEAM_LEAST;
  if (width > QP_BEAM_MOST) width = QP_BEAM_MOST;
  b->width = width < b->groups ? width : b->groups;
}

qp_status qp_beam_make(qp_beam *b, unsigned window, unsigned step, unsigned dim, unsigned width,
                       const float *values, qp_error *err) {
  if (window > QP_BEAM_WINDOW || !step || 2 * step > window || !dim || dim > QP_BEAM_DIM) {
    return qp_fail(err, QP_E_LIMIT,
                   "window %u, step %u, dim %u: windows of up to %d bits, steps of up to half of "
                   "them and up to %d weights a step can be encoded",
                   window, step, dim, QP_BEAM_WINDOW, QP_BEAM_DIM);
  }
  *b = (qp_beam){.window = window, .step = step, .dim = dim, .fan = 1u << step};
  b->padded = b->fan < LANES ? LANES : b->fan;
  b->groups = 1u << (window - step);
  qp_beam_set_width(b, width);
  const size_t row = (size_t)dim * b->padded;
  const size_t bytes = sizeof *b->table * b->groups * row;
  b->table = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1));
  if (!b->table) return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", window);
#ifdef MADV_HUGEPAGE
  (void)madvise(b->table, bytes, MADV_HUGEPAGE); /* rows are read all over it */
#endif
  memset(b->table, 0, bytes);
  for (uint32_t g = 0; g < b->groups; g++) {
    for (unsigned code = 0; code < b->fan; code++) {
      const float *v = values + ((size_t)code << (window - step) | g) * dim;
      for (unsigned i = 0; i < dim; i++)
        b->table[g * row + i * b->padded + code] = qp_float_to_half(v[i]);
    }
  }
  return QP_OK;
}

void qp_beam_free(qp_beam *b) {
  free(b->table);
  *b = (qp_beam){0};
}

/* ---- Memory ---- */

struct qp_beam_search {
  qp_beam_step step;
  qp_survivors now, next;
  unsigned best; /* of 'now' */
  qp_candidates found;
  qp_traceback *traceback;
  uint32_t *stay; /* [width] */
  float *sample;  /* [SAMPLE + fan] */
  unsigned *bin;  /* [BINS] */
  float wanted;   /* candidates asked for, of each one that is to survive */
  uint32_t seam[2 * QP_BEAM_AROUND];
};

static bool new_survivors(qp_survivors *s, unsigned width) {
  s->group = malloc(sizeof *s->group * width);
  s->sum = malloc(sizeof *s->sum * width);
  return s->group && s->sum;
}

qp_status qp_beam_search_new(const qp_beam *b, qp_beam_search **out, qp_error *err) {
  qp_beam_search *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  s->step = qp_beam_step_choose();
  s->found.room = b->width + 40; /* lists at equal places of pages would share cache sets */
  s->found.list = malloc(sizeof *s->found.list * s->found.room * b->fan);
  s->found.count = malloc(sizeof *s->found.count * b->fan);
  s->found.last = malloc(sizeof *s->found.last * b->fan);
  s->stay = malloc(sizeof *s->stay * b->width);
  s->sample = malloc(sizeof *s->sample * (SAMPLE + 2 * (b->padded > LANES ? b->padded : LANES)));
  s->bin = malloc(sizeof *s->bin * BINS);
  bool ok = new_survivors(&s->now, b->width) && new_survivors(&s->next, b->width) &&
            s->found.list && s->found.count && s->found.last && s->stay && s->sample && s->bin;
  qp_status status = ok ? qp_traceback_new(b->width, b->step, &s->traceback, err)
                        : qp_fail(err, QP_E_NOMEM, "no memory for %u survivors", b->width);
  if (status) {
    qp_beam_search_free(s);
    return status;
  }
  *out = s;
  return QP_OK;
}

void qp_beam_search_free(qp_beam_search *s) {
  if (!s) return;
  free(s->now.group);
  free(s->now.sum);
  free(s->next.group);
  free(s->next.sum);
  free(s->found.list);
  free(s->found.count);
  free(s->found.last);
  free(s->stay);
  free(s->sample);
  free(s->bin);
  qp_traceback_free(s->traceback);
  free(s);
}

/* ---- One step ---- */

/* The upper edge of bin 'i'. */
static float edge_of(uint32_t i) {
  return i + 1 < BINS ? qp_float_of_bits((i + 1) << BIN_SHIFT) : INFINITY;
}

/* A limit below which 'wanted' of the step's candidates are, by a sample of them. */
static float guess_limit(const qp_beam *b, qp_beam_search *s, const float *x, double wanted) {
  const size_t all = (size_t)s->now.count << b->step;
  if ((double)all <= wanted) return INFINITY;
  const unsigned stride = (unsigned)((all + SAMPLE - 1) / SAMPLE);
  const unsigned n = s->step.sample(b, &s->now, x, stride / 2, stride, s->sample);
  memset(s->bin, 0, sizeof *s->bin * BINS);
  for (unsigned i = 0; i < n; i++) s->bin[qp_float_bits(s->sample[i]) >> BIN_SHIFT]++;
  const double share = wanted * n / (double)all;
  double below = 0;
  uint32_t i = 0;
  while (i < BINS - 1 && below + s->bin[i] < share) below += s->bin[i++];
  return edge_of(i);
}

static unsigned count_found(const qp_beam *b, const qp_candidates *found) {
  unsigned n = 0;
  for (unsigned code = 0; code < b->fan; code++) n += found->count[code];
  return n;
}

/* Drop the worst of more than 'width' candidates: whole bins of equal worth, which leaves a little
   fewer. */
static void drop_worst(const qp_beam *b, qp_beam_search *s) {
  memset(s->bin, 0, sizeof *s->bin * BINS);
  for (unsigned code = 0; code < b->fan; code++) {
    const qp_candidate *list = s->found.list + code * s->found.room;
    for (unsigned i = 0; i < s->found.count[code]; i++)
      s->bin[qp_float_bits(list[i].sum) >> BIN_SHIFT]++;
  }
  unsigned kept = 0;
  uint32_t end = 0;
  while (kept + s->bin[end] <= b->width) kept += s->bin[end++];
  unsigned left =
      b->width - kept; /* of the bin at the edge the first ones stay: never none at all */
  for (unsigned code = 0; code < b->fan; code++) {
    qp_candidate *list = s->found.list + code * s->found.room;
    unsigned n = 0;
    for (unsigned i = 0; i < s->found.count[code]; i++) {
      const uint32_t at = qp_float_bits(list[i].sum) >> BIN_SHIFT;
      if (at > end || (at == end && !left)) continue;
      if (at == end) left--;
      list[n++] = list[i];
    }
    s->found.count[code] = n;
  }
}

/* The candidates that survive, to s->found. */
static void find(const qp_beam *b, qp_beam_search *s, const float *x) {
  const double wanted = (double)s->wanted * b->width;
  unsigned n = 0;
  for (unsigned i = 0; i < TRIES; i++) {
    const float limit = i + 1 < TRIES ? guess_limit(b, s, x, ldexp(wanted, (int)i)) : INFINITY;
    memset(s->found.count, 0, sizeof *s->found.count * b->fan);
    s->step.expand(b, &s->now, x, limit, &s->found);
    n = count_found(b, &s->found);
    if (n > b->width / 2 || isinf(limit)) break;
  }
  const float ratio = (float)b->width / (float)n;
  s->wanted *= ratio < 0.8F ? 0.9F : ratio > 1.25F ? 1.12F : 1 + (ratio - 1) / 2;
  s->wanted = s->wanted < 0.5F ? 0.5F : s->wanted > 64 ? 64 : s->wanted;
  if (n > b->width) drop_worst(b, s);
}

/* Those that were found become the survivors; their sums are taken less the least, so that floats
   stay exact enough however long the run is. */
static unsigned settle(const qp_beam *b, qp_beam_search *s, uint32_t *record) {
  const qp_survivors was = s->now, to = s->next;
  unsigned n = 0, best = 0;
  for (unsigned code = 0; code < b->fan; code++) {
    const qp_candidate *list = s->found.list + code * s->found.room;
    const uint32_t newest = (uint32_t)code << (b->window - 2 * b->step);
    for (unsigned i = 0; i < s->found.count[code]; i++, n++) {
      to.group[n] = newest | was.group[list[i].parent] >> b->step;
      to.sum[n] = list[i].sum;
      record[n] = list[i].parent << b->step | code;
      if (to.sum[n] < to.sum[best]) best = n;
    }
  }
  const float least = to.sum[best];
  for (unsigned i = 0; i < n; i++) to.sum[i] -= least;
  s->next = was;
  s->now = to;
  s->now.count = n;
  return best;
}

static void advance(const qp_beam *b, qp_beam_search *s, const float *x) {
  uint32_t *record;
  const unsigned stay = qp_traceback_reserve(s->traceback, s->now.count, s->best, s->stay, &record);
  if (stay < s->now.count) {
    for (unsigned i = 0; i < stay; i++) {
      s->now.group[i] = s->now.group[s->stay[i]];
      s->now.sum[i] = s->now.sum[s->stay[i]];
    }
    s->now.count = stay;
  }
  find(b, s, x);
  s->best = settle(b, s, record);
  qp_traceback_add(s->traceback, s->now.count);
}

/* ---- Runs ---- */

/* The i-th of 'count' groups that are spread over all. */
static uint32_t spread(const qp_beam *b, uint32_t i, uint32_t count) {
  const uint32_t from = (uint32_t)((uint64_t)i * b->groups / count);
  const uint32_t to = (uint32_t)((uint64_t)(i + 1) * b->groups / count);
  return from + (i * 0x9e3779b1u >> 8) % (to - from);
}

static void begin(const qp_beam *b, qp_beam_search *s, const uint32_t *start, uint32_t *codes) {
  const unsigned count = start ? 1 : b->width;
  for (unsigned i = 0; i < count; i++) {
    s->now.group[i] = start ? *start : spread(b, i, count);
    s->now.sum[i] = 0;
  }
  s->now.count = count;
  s->best = 0;
  s->wanted = 1.25F;
  qp_traceback_begin(s->traceback, codes);
}

/* The end of a run whose last group is given: what is left to choose is little, and all of it is
   tried. */
typedef struct finish {
  const qp_beam *b;
  const float *targets; /* of its steps */
  unsigned steps;
  uint32_t end;
  float best;
  unsigned parent; /* whose codes these are */
  uint32_t code[QP_BEAM_WINDOW + 1], chosen[QP_BEAM_WINDOW + 1];
} finish;

static void try_codes(finish *f, unsigned i, uint32_t group, float sum, unsigned parent) {
  const qp_beam *b = f->b;
  if (i == f->steps) {
    if (group != f->end || !(sum < f->best)) return;
    f->best = sum;
    f->parent = parent;
    memcpy(f->chosen, f->code, sizeof *f->code * f->steps);
    return;
  }
  /* bits of the code that end up in the last group, at the places from 'at' on */
  const int at = (int)(b->window - b->step) - (int)((f->steps - i) * b->step);
  const unsigned free_bits = at >= 0 ? 0 : -at < (int)b->step ? (unsigned)-at : b->step;
  const uint32_t tied = (at >= 0 ? f->end >> at : f->end << free_bits) & (b->fan - 1);
  for (uint32_t low = 0; low < 1u << free_bits; low++) {
    const uint32_t code = free_bits == b->step ? low : tied | low;
    const uint16_t *t = b->table + (size_t)group * b->dim * b->padded + code;
    float with = sum;
    for (unsigned e = 0; e < b->dim; e++) {
      const float d = f->targets[i * b->dim + e] - qp_half_to_float(t[e * b->padded]);
      with = fmaf(d, d, with);
    }
    if (!(with < f->best)) continue;
    f->code[i] = code;
    try_codes(f, i + 1, (code << (b->window - b->step) | group) >> b->step, with, parent);
  }
}

/* Steps whose codes the last group fixes, and one that is free. */
static unsigned finish_steps(const qp_beam *b, unsigned steps) {
  const unsigned tied = (b->window - 1) / b->step; /* (window - step) / step, rounded up */
  return tied + 1 < steps ? tied + 1 : steps;
}

void qp_beam_run(const qp_beam *b, qp_beam_search *s, unsigned steps, const float *targets,
                 bool free_start, uint32_t *start, const uint32_t *end, uint32_t *codes) {
  assert(steps > 0);
  assert(!end || (uint64_t)steps * b->step >= b->window);
  const unsigned last = end ? finish_steps(b, steps) : 0, body = steps - last;
  begin(b, s, free_start ? NULL : start, codes);
  for (unsigned i = 0; i < body; i++) advance(b, s, targets + (size_t)i * b->dim);
  unsigned survivor = s->best;
  if (end) {
    finish f = {.b = b, .targets = targets + (size_t)body * b->dim, .steps = last, .end = *end};
    f.best = INFINITY;
    try_codes(&f, 0, s->now.group[s->best], s->now.sum[s->best],
              s->best); /* a bound for all others */
    for (unsigned i = 0; i < s->now.count; i++) try_codes(&f, 0, s->now.group[i], s->now.sum[i], i);
    memcpy(codes + body, f.chosen, sizeof *codes * last);
    survivor = f.parent;
  }
  const uint32_t from = body ? qp_traceback_walk(s->traceback, survivor) : survivor;
  if (free_start) *start = spread(b, from, b->width);
}

uint32_t qp_beam_seam(const qp_beam *b, qp_beam_search *s, unsigned steps, unsigned around,
                      const float *targets) {
  assert(around <= QP_BEAM_AROUND && around <= steps);
  begin(b, s, NULL, s->seam);
  for (unsigned i = 0; i < around; i++)
    advance(b, s, targets + (size_t)(steps - around + i) * b->dim);
  for (unsigned i = 0; i < around; i++) advance(b, s, targets + (size_t)i * b->dim);
  uint32_t group = spread(b, qp_traceback_walk(s->traceback, s->best), b->width);
  for (unsigned i = 0; i < around; i++)
    group = (s->seam[i] << (b->window - b->step) | group) >> b->step;
  return group;
}
