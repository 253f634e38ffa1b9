/* SPDX-License-Identifier: MIT */
/* Makes the tables of a bitshift trellis:  values of its states --> as the search reads them. */
#include "gen/encode/trellis_table.h"

#include <stdlib.h>

enum {
  LANES = QP_TRELLIS_LANES,
  LEAST_SPREAD = 16,          /* sums of a row, at least: they are repeated */
  LEAST_TURNED = 8,           /* rows of a mirrored trellis */
  KEPT = 8192,                /* steps whose sums are kept; fewer where they take much memory, */
  LEAST_KEPT = 512,           /* but no fewer than this, */
  FLIGHT_BYTES = 128 << 20,   /* most memory of the sums that one thread keeps */
  USUAL_CANDIDATES = 1 << 21, /* states of a step times its choices; twice as many for steps of few
                                 choices, */
  FEW_CHOICES = 4,            /* choices, in bits, that count as few */
  SHARE_OF = 16,
  USUAL_LEAST = 1024,    /* paths */
  LEAST_PUSHED = 4,      /* bits of a step that is made forward; one of fewer only if nothing else
                            works */
  SMALL_TABLE = 1 << 20, /* bytes */
  STATES_A_SQUARE = 4,   /* at least, or strips are no gain */
  LOOKED_UP = 4,         /* numbers for each path that is kept, to look a step ahead at most */
  SEAM_MEMORIES = 24,    /* steps on each side of a seam, in those that a state remembers */
  MOST_SEAM = 96,
  MOST_LONG_SEAM = 64
};

static unsigned max_of(unsigned a, unsigned b) { return a > b ? a : b; }

/* ---- Sizes ---- */

unsigned qp_trellis_usual_width(unsigned step) {
  const unsigned width =
      (step <= FEW_CHOICES ? 2u : 1u) * USUAL_CANDIDATES >> (step < 16 ? step : 16);
  return max_of(width, USUAL_LEAST);
}

void qp_trellis_set_width(qp_trellis *t, unsigned width) {
  if (!t->width) return;
  if (width < QP_BEAM_LEAST) width = QP_BEAM_LEAST;
  if (width > QP_BEAM_MOST) width = QP_BEAM_MOST;
  t->width = width < t->groups ? width : t->groups;
}

unsigned qp_trellis_seam(unsigned window, unsigned step, unsigned steps) {
  const unsigned most = window > QP_TRELLIS_WINDOW ? MOST_LONG_SEAM : MOST_SEAM;
  const unsigned wanted = SEAM_MEMORIES * ((window + step - 1) / step);
  const unsigned around = wanted < most ? wanted : most;
  return around < steps ? around : steps;
}

/* Steps whose sums are kept, so that those of all sequences take no more than FLIGHT_BYTES. */
static unsigned kept_steps(const qp_trellis *t) {
  const size_t one = sizeof(uint16_t) * t->tiles * LANES * QP_TRELLIS_SEQUENCES;
  unsigned n = KEPT;
  while (n > LEAST_KEPT && n * one > FLIGHT_BYTES) n /= 2;
  return n;
}

static qp_status check_sizes(unsigned window, unsigned step, unsigned dim, qp_error *err) {
  const bool longer = window > QP_TRELLIS_WINDOW;
  if (longer &&
      (window > QP_BEAM_WINDOW || !step || 2 * step > window || !dim || dim > QP_TRELLIS_DIM)) {
    return qp_fail(err, QP_E_LIMIT,
                   "window %u, step %u, dim %u: windows of up to %d bits, steps of up to half of "
                   "them and up to %d weights a step can be encoded",
                   window, step, dim, QP_BEAM_WINDOW, QP_TRELLIS_DIM);
  }
  if (step > 16 || step > window || !step || !dim || dim > QP_TRELLIS_DIM) {
    return qp_fail(err, QP_E_LIMIT,
                   "window %u, step %u, dim %u: windows of up to %d bits, steps of up to 16 and up "
                   "to %d weights a step can be encoded",
                   window, step, dim, QP_TRELLIS_WINDOW, QP_TRELLIS_DIM);
  }
  return QP_OK;
}

/* ---- Values ---- */

static int16_t number_at(const qp_trellis *t, const float *values, size_t state, unsigned i) {
  return (int16_t)qp_metric_value(&t->metric, values[state * t->dim + i]);
}

static unsigned columns_of(const qp_trellis *t) { return t->groups / t->turned; }

/* Do all states s and ~s decode to the same, and are there rows and columns as pairs want them? */
static bool is_mirrored(const qp_trellis *t, const float *values) {
  const unsigned columns = columns_of(t);
  const size_t last = (size_t)t->groups * t->fan - 1;
  const bool fits = columns == 1 || columns == 4 || columns == 16 || columns >= 2 * LANES;
  if (t->pushed || t->dim != 2 || t->groups < 2 * LANES || t->turned < LEAST_TURNED || !fits)
    return false;
  for (size_t s = 0; s <= last / 2; s++)
    for (unsigned i = 0; i < t->dim; i++)
      if (number_at(t, values, s, i) != number_at(t, values, last - s, i)) return false;
  return true;
}

/* Rows of a mirrored trellis with few columns. */
static void shorten_rows(qp_trellis *t) {
  const unsigned columns = columns_of(t);
  if (columns >= LANES) return;
  t->spread = t->stride = columns > 1 ? columns : 2;
  t->sums = (columns > 1 ? 2 : 1) * (size_t)t->turned * t->stride;
}

/* Of the groups 32 tile to 32 tile + 31 of the lower half, and those that mirror them. */
static qp_trellis_pair pair_of(const qp_trellis *t, unsigned tile) {
  const unsigned columns = columns_of(t), column = tile * LANES % columns;
  const ptrdiff_t stride = (ptrdiff_t)t->stride;
  qp_trellis_pair p = {.apart = {stride, stride}};
  if (columns > LANES) {
    p.descends = column >= columns / 2;
    p.from[0] = p.from[1] = p.descends ? columns - LANES - column : column;
    p.from[!p.descends] += columns / 2;
  } else if (columns > 1) {
    p.from[1] = (size_t)t->turned * t->stride;
  } else {
    p.from[1] = (size_t)(t->turned - 1) * t->stride;
    p.apart[1] = -stride;
  }
  return p;
}

/* Of a mirrored trellis, the lower half of the groups in the order of lanes. */
static void fill_pairs(qp_trellis *t, const float *values) {
  int16_t *to = t->table;
  for (unsigned tile = 0; tile < t->tiles / 2; tile++) {
    t->pair[tile] = pair_of(t, tile);
    const bool descends = t->pair[tile].descends;
    for (unsigned j = 0; j < t->fan; j++)
      for (unsigned i = 0; i < t->dim; i++)
        for (unsigned l = 0; l < LANES; l++) {
          const size_t g = tile * LANES + (descends ? LANES - 1 - l : l);
          *to++ = number_at(t, values, g * t->fan + (descends ? t->fan - 1 - j : j), i);
        }
  }
}

/* Fill the table by tile, where steps are made backward, and that by group, for the way back. */
static bool fill_tables(qp_trellis *t, const float *values) {
  const size_t one = sizeof *t->table * t->fan * t->dim;
  const unsigned tiles = t->mirrored ? t->tiles / 2 : t->tiles;
  t->by_group = malloc(one * t->groups + 64);
  if (!t->pushed) t->table = aligned_alloc(64, one * tiles * LANES);
  if (t->mirrored) t->pair = malloc(sizeof *t->pair * tiles);
  if (!t->by_group || (!t->table && !t->pushed) || (!t->pair && t->mirrored)) return false;
  for (unsigned g = 0; g < t->groups; g++)
    for (unsigned i = 0; i < t->dim; i++)
      for (unsigned j = 0; j < t->fan; j++)
        t->by_group[((size_t)g * t->dim + i) * t->fan + j] =
            number_at(t, values, (size_t)g * t->fan + j, i);
  if (t->mirrored) fill_pairs(t, values);
  for (unsigned g = 0; !t->pushed && !t->mirrored && g < t->tiles * LANES; g++)
    for (unsigned j = 0; j < t->fan; j++)
      for (unsigned i = 0; i < t->dim; i++)
        t->table[(((size_t)(g / LANES) * t->fan + j) * t->dim + i) * LANES + g % LANES] =
            number_at(t, values, (size_t)(g % t->groups) * t->fan + j, i);
  return true;
}

/* Are steps made forward?  Where rows are windows of strips, but for short ones of a table that is
   small: going backward by that is as quick. */
static bool is_pushed(const qp_trellis *t) {
  const size_t bytes = sizeof *t->table * t->groups * t->fan * t->dim;
  return t->rows.pool && (t->rows.span > QP_CODE_ROWS_LANES || bytes > SMALL_TABLE);
}

/* Strips where they are few; else a table, where paths are given up. */
static qp_status make_rows(qp_trellis *t, const float *values, qp_error *err) {
  const qp_code_rows_of of = {.window = t->window,
                              .step = t->step,
                              .dim = t->dim,
                              .metric = &t->metric,
                              .value = values,
                              .moves = t->width > 0};
  const bool able = 2 * t->step <= t->window && (t->step >= LEAST_PUSHED || t->width);
  const size_t states = (size_t)t->groups * t->fan;
  qp_status status = QP_OK;
  if (able) status = qp_code_rows_make_strips(&t->rows, &of, states / STATES_A_SQUARE, err);
  const bool looks_ahead = able && t->fan > QP_CODE_ROWS_LANES;
  if (!status && !t->rows.pool && (looks_ahead || t->width))
    status = qp_code_rows_make_table(&t->rows, &of, err);
  if (!status && t->width) status = qp_code_rows_narrow(&t->rows, &of, err);
  if (!status && t->width)
    status = qp_lookahead_make(&t->ahead, &t->rows, &of,
                               (size_t)LOOKED_UP * qp_trellis_usual_width(t->step), err);
  t->pushed = is_pushed(t);
  return status;
}

static qp_status make_tables(qp_trellis *t, const float *values, qp_error *err) {
  qp_status status = make_rows(t, values, err);
  t->mirrored = !status && !t->width && is_mirrored(t, values);
  if (t->mirrored) shorten_rows(t);
  if (!status && !t->width && !fill_tables(t, values)) status = QP_E_NOMEM;
  if (!status) return QP_OK;
  const unsigned window = t->window;
  qp_trellis_free(t);
  return qp_fail(err, status, "no memory for a trellis of 2^%u states", window);
}

/* So many of 16 of the usual width lose as little as all of it. */
static unsigned share_of(const qp_trellis *t) {
  enum { LOOKING = 7, LONG_STEPS = 14, LONG_STEP = 10 };
  if (t->ahead.size) return LOOKING;
  return t->step >= LONG_STEP ? LONG_STEPS : SHARE_OF;
}

qp_status qp_trellis_make(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                          const float *values, qp_error *err) {
  const unsigned width = window > QP_TRELLIS_WINDOW ? qp_trellis_usual_width(step) : 0;
  const qp_status status = qp_trellis_make_kept(t, window, step, dim, width, values, err);
  if (!status && t->width)
    qp_trellis_set_width(t, max_of(width / SHARE_OF * share_of(t), USUAL_LEAST));
  return status;
}

qp_status qp_trellis_make_kept(qp_trellis *t, unsigned window, unsigned step, unsigned dim,
                               unsigned width, const float *values, qp_error *err) {
  const qp_status status = check_sizes(window, step, dim, err);
  if (status) return status;
  const unsigned groups = 1u << (window - step), fan = 1u << step;
  const unsigned columns = groups > fan ? groups / fan : 1;
  *t = (qp_trellis){.window = window,
                    .step = step,
                    .dim = dim,
                    .groups = groups,
                    .fan = fan,
                    .tiles = (groups + LANES - 1) / LANES,
                    .turned = groups < fan ? groups : fan,
                    .spread = max_of(LEAST_SPREAD, columns),
                    .stride = columns < LANES ? LEAST_SPREAD : columns + LANES,
                    .width = width};
  qp_trellis_set_width(t, width);
  t->sums = (size_t)t->turned * t->stride;
  t->kept = kept_steps(t);
  t->metric = qp_metric_choose(step, dim, (size_t)groups * fan, values);
  return make_tables(t, values, err);
}

void qp_trellis_free(qp_trellis *t) {
  free(t->table);
  free(t->by_group);
  free(t->pair);
  qp_code_rows_free(&t->rows);
  qp_lookahead_free(&t->ahead);
  *t = (qp_trellis){0};
}
