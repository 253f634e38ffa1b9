/* SPDX-License-Identifier: MIT */
/* Makes the tables of a bitshift trellis:  values of its states --> as the search reads them. */
#include "gen/encode/trellis_table.h"

#include <stdlib.h>

enum {
  LANES = QP_TRELLIS_LANES,
  LEAST_SPREAD = 16,          /* sums of a row, at least: they are repeated */
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

/* Fill the table by tile, where steps are made backward, and that by group, for the way back. */
static bool fill_tables(qp_trellis *t, const float *values) {
  const size_t one = sizeof *t->table * t->fan * t->dim;
  t->by_group = malloc(one * t->groups + 64);
  if (!t->pushed) t->table = aligned_alloc(64, one * t->tiles * LANES);
  if (!t->by_group || (!t->table && !t->pushed)) return false;
  for (unsigned g = 0; g < t->groups; g++)
    for (unsigned i = 0; i < t->dim; i++)
      for (unsigned j = 0; j < t->fan; j++)
        t->by_group[((size_t)g * t->dim + i) * t->fan + j] =
            number_at(t, values, (size_t)g * t->fan + j, i);
  for (unsigned g = 0; !t->pushed && g < t->tiles * LANES; g++)
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
  if (!status && !t->width && !fill_tables(t, values)) status = QP_E_NOMEM;
  if (!status) return QP_OK;
  const unsigned window = t->window;
  qp_trellis_free(t);
  return qp_fail(err, status, "no memory for a trellis of 2^%u states", window);
}

/* So many of 16 of the usual width lose as little as all of it. */
static unsigned share_of(const qp_trellis *t) {
  enum { LOOKING = 7, LOOKING_COARSELY = 10, LONG_STEPS = 14, LONG_STEP = 10 };
  if (t->ahead.size) return t->ahead.coarse ? LOOKING_COARSELY : LOOKING;
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
  t->kept = kept_steps(t);
  t->metric = qp_metric_choose(step, dim, (size_t)groups * fan, values);
  return make_tables(t, values, err);
}

void qp_trellis_free(qp_trellis *t) {
  free(t->table);
  free(t->by_group);
  qp_code_rows_free(&t->rows);
  qp_lookahead_free(&t->ahead);
  *t = (qp_trellis){0};
}
