/* SPDX-License-Identifier: MIT */
/* Pushes sums through a step, all or those of few groups. */
#include "gen/encode/trellis_forward.h"

#include <string.h>

enum {
  TRIES = 64,    /* of a limit that is to let so many paths through */
  FEW_SHARE = 16 /* at most one of so many groups is kept where rows are looked for one by one */
};

/*
** A limit below which 'width' of n sums are, of 'lowest' and more, up to twice as many: the last
** position's, or nearby.  Whole numbers alone, so that it is the same everywhere.
*/
static unsigned find_limit(const struct qp_search *s, qp_flight *f, unsigned width, size_t n,
                           const uint16_t *sums, unsigned lowest) {
  const unsigned many = 2 * width, few = width;
  bool up = false, down = false;
  for (unsigned i = 0; i < TRIES; i++) {
    const unsigned limit = lowest + f->limit < QP_NO_PATH ? lowest + f->limit : QP_NO_PATH;
    const unsigned count = s->push.count((unsigned)n, sums, limit);
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
static void keep_what_ends(const qp_trellis *t, const qp_flight *f, unsigned left, uint16_t *sums) {
  const unsigned gone = left * t->step;
  for (uint32_t g = 0; g < t->groups; g++)
    if (((g >> gone) ^ f->end) & ((t->groups >> gone) - 1)) sums[g] = QP_NO_PATH;
}

/* Take their least off the sums behind a position; with 'width' only the best ones stay.  Near a
   given end all paths stay that lead there. */
static void level(const qp_trellis *t, const struct qp_search *s, qp_flight *f, unsigned width,
                  unsigned left, unsigned lowest, uint16_t *sums) {
  const unsigned n = (unsigned)qp_flight_width(t);
  const bool ends = f->end < t->groups && left * t->step < t->window - t->step;
  unsigned limit = QP_NO_PATH;
  if (width && !ends) limit = find_limit(s, f, width, n, sums, lowest);
  if (lowest == QP_NO_PATH)
    memset(sums, 0, sizeof *sums * n);
  else
    s->push.level(n, lowest, limit, sums);
  if (width && ends) keep_what_ends(t, f, left, sums);
}

/* All rows; of sums that are even half of them, or of one alone half of its codes: the numbers of
   'out' are the same from both of its ends. */
static qp_rows_wanted all_or_half(const qp_trellis *t, bool even) {
  const unsigned rows = t->groups / t->fan;
  if (even && rows > 1) return (qp_rows_wanted){NULL, rows / 2, t->fan};
  if (even && t->fan >= 2 * QP_CODE_ROWS_CHUNK) return (qp_rows_wanted){NULL, rows, t->fan / 2};
  return (qp_rows_wanted){NULL, rows, t->fan};
}

static void push_all(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all,
                     qp_flight *f, unsigned at) {
  int16_t x[QP_TRELLIS_DIM];
  uint16_t *sums = qp_flight_before(t, f, at + 1);
  unsigned lowest = QP_NO_PATH;
  qp_flight_target(t, f, at, x);
  if (at == 0 && f->start < t->groups) {
    qp_flight_leave_start(t, f, x, sums);
    lowest = sums[s->push.best(t->groups, sums)];
  } else {
    if (t->rows.pool) s->push.squares(t, x, s->square);
    const qp_rows_wanted wanted = all_or_half(t, f->even);
    lowest = s->push.run(t, x, s->square, qp_flight_before(t, f, at), wanted, s->out);
    if (wanted.count * wanted.codes < t->groups) s->push.mirror(t->groups, s->out);
    s->push.turn(t, s->out, sums);
    for (uint32_t g = t->groups; g < qp_flight_width(t); g++) sums[g] = sums[g % t->groups];
  }
  level(t, s, f, at >= all->pruned ? all->width : 0, all->end - at - 1, lowest, sums);
}

/* ---- Few groups ---- */

/* Does a sequence that is but looked at ahead leave most groups behind? */
static bool has_few(const qp_trellis *t, const qp_fleet *all, const qp_flight *f) {
  const bool few = all->width && all->width <= t->groups / FEW_SHARE;
  return few && f->end >= t->groups && qp_flight_width(t) == t->groups;
}

/* Does a path lead to one of the groups of a row? */
static bool is_live(unsigned fan, const uint16_t *sums) {
  uint16_t least = QP_NO_PATH;
  for (unsigned i = 0; i < fan; i++) least &= sums[i];
  return least < QP_NO_PATH;
}

/* Find the rows that lead to a path, of sums by group; of those that are even in the lower half. */
static void find_live(const qp_trellis *t, qp_flight *f, const uint16_t *sums) {
  const unsigned rows = t->groups / t->fan;
  memset(f->live, 0, sizeof *f->live * ((rows + 63) / 64));
  for (uint32_t b = 0; b < (f->even ? rows / 2 : rows); b++)
    if (is_live(t->fan, sums + (size_t)b * t->fan)) f->live[b / 64] |= UINT64_C(1) << b % 64;
}

static unsigned list_rows(const qp_trellis *t, const qp_flight *f, uint32_t *row) {
  unsigned count = 0;
  for (uint32_t word = 0; word * 64 < t->groups / t->fan; word++)
    for (uint64_t bits = f->live[word]; bits; bits &= bits - 1)
      row[count++] = word * 64 + (unsigned)__builtin_ctzll(bits);
  return count;
}

static void push_few(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all,
                     qp_flight *f, unsigned at) {
  int16_t x[QP_TRELLIS_DIM];
  uint16_t *sums = qp_flight_before(t, f, at + 1);
  const unsigned rows = list_rows(t, f, s->row), stride = qp_push_stride(t);
  qp_flight_target(t, f, at, x);
  const bool squares = t->rows.pool && t->rows.size <= 2 * all->width * t->fan;
  if (squares) s->push.squares(t, x, s->square);
  const qp_rows_wanted wanted = {s->row, rows, t->fan};
  const unsigned lowest =
      s->push.run(t, x, squares ? s->square : NULL, qp_flight_before(t, f, at), wanted, s->out);
  memset(s->out + (size_t)rows * stride, 0xff, sizeof *s->out * QP_PUSH_SLACK);
  const size_t n = ((size_t)rows * stride + 31) / 32 * 32;
  const unsigned width = f->even ? all->width / 2 : all->width; /* of the rows that are there */
  const unsigned limit = find_limit(s, f, width, n, s->out, lowest);
  memset(sums, lowest == QP_NO_PATH ? 0 : 0xff, sizeof *sums * t->groups);
  memset(f->live, 0, sizeof *f->live * ((t->groups / t->fan + 63) / 64));
  if (lowest == QP_NO_PATH)
    find_live(t, f, sums);
  else
    s->push.place(t, wanted, f->even, s->out, lowest, limit, sums, f->live);
}

void qp_forward(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all, qp_flight *f,
                unsigned at) {
  if (at > all->pruned && has_few(t, all, f)) {
    push_few(t, s, all, f, at);
    return;
  }
  push_all(t, s, all, f, at);
  if (at == all->pruned && has_few(t, all, f)) find_live(t, f, qp_flight_before(t, f, at + 1));
}

void qp_forward_prune(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all,
                      qp_flight *f, unsigned at) {
  uint16_t *sums = qp_flight_before(t, f, at + 1);
  const unsigned lowest = sums[s->push.best(t->groups, sums)];
  level(t, s, f, all->width, all->end - at - 1, lowest, sums);
  if (has_few(t, all, f)) find_live(t, f, sums);
}
