/* SPDX-License-Identifier: MIT */
/*
** Where paths of a long window meet, for one width of vectors:  survivors_meet.c includes this text
** once for each instruction set.  It defines before, beside what trellis_step_wide.h explains,
**   LOAD_ANY, STORE_ANY   of what is not aligned
**   BELOW(sum, limit)     a bit for each of WIDTH sums that is below the limit's, which is not 0
**   JOIN(low, high)       a vector of LANES numbers, or two
**   TURN(turn)            what PICK needs of a number of lanes, up to QP_CODE_ROWS_CHUNK
**   PICK(a, b, turn, i)   numbers of a whose lanes, the first one being lane i, are before the
**                         turn, and else those of b
** All of it is undefined again at the end, so there is no include guard.
*/

#include "gen/encode/square_wide.h"

#define READER NAME(reader)

/* How a window is read: vectors of it; from a pool of squares, at places of 16 bits or 32, or from
   a table; codes from one move to the next strip to another, or 0. */
typedef struct NAME(shape) {
  unsigned vectors;
  bool table, near;
  unsigned period;
  form f;
} NAME(shape);

/* What is read of a meeting, where no store can be thought to change it. */
typedef struct READER {
  const uint32_t *begin, *path, *offset;
  const uint16_t *square, *near, *behind, *place;
  const uint8_t *turn;
  const int16_t *table;
  unsigned step, windows, blocks, apart;
  VECTOR x[QP_TRELLIS_DIM];
} READER;

INLINE READER NAME(reader_of)(const qp_trellis *t, NAME(shape) s, const qp_meeting *m) {
  READER r = {.begin = m->begin,
              .path = m->path,
              .offset = t->rows.offset,
              .square = m->square,
              .near = t->rows.near,
              .behind = m->behind,
              .place = t->ahead.offset,
              .turn = t->rows.turn,
              .table = t->rows.table,
              .apart = t->rows.apart,
              .step = t->step,
              .windows = t->rows.windows,
              .blocks = t->ahead.blocks};
  for (unsigned e = 0; s.table && e < s.f.dim; e++) r.x[e] = MM(set1_epi16)(m->x[e]);
  return r;
}

/* The same from rows that move from strip to strip; 'first': the first group of the row. */
INLINE void NAME(visit_joints)(NAME(shape) s, const READER *r, size_t first, unsigned window,
                               uint32_t path, VECTOR *least) {
  const size_t group = first + (path >> 16);
  const unsigned span = s.vectors * WIDTH;
  const VECTOR before = MM(set1_epi16)((short)path);
  const uint16_t *square =
      r->square + r->near[group] + window * (span + span / s.period * r->apart);
  const NAME(turn) turn = TURN(r->turn[group]);
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
    const uint16_t *from = square + i * WIDTH + i * WIDTH / s.period * r->apart;
    const VECTOR now = PICK(LOAD_ANY(from), LOAD_ANY(from + r->apart), turn, i * WIDTH % s.period);
    least[i] = MM(min_epu16)(least[i], MM(adds_epu16)(now, before));
  }
}

/* Bring the sums of one path to the least ones; 'first': where the windows of its row begin. */
INLINE void NAME(visit)(NAME(shape) s, const READER *r, size_t first, uint32_t path,
                        VECTOR *least) {
  const size_t at = first + (size_t)(path >> 16) * r->windows;
  const VECTOR before = MM(set1_epi16)((short)path);
  if (s.table) {
    const int16_t *values = r->table + at * s.f.dim * LANES;
    VECTOR v[QP_TRELLIS_DIM] = {{0}};
    QP_UNROLL for (unsigned e = 0; e < s.f.dim; e++) v[e] = LOAD_ANY(values + e * LANES);
    least[0] = MM(min_epu16)(least[0], NAME(add)(s.f, r->x, v, before));
    return;
  }
  const uint16_t *square = r->square + (s.near ? r->near[at] : r->offset[at]);
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) least[i] =
      MM(min_epu16)(least[i], MM(adds_epu16)(LOAD_ANY(square + i * WIDTH), before));
}

/* The least sums of a window of a row that has paths.  By a pool they are taken by fours, the last
   one several times, so that no branch has to foresee how many there are. */
INLINE void NAME(window)(NAME(shape) s, const READER *r, uint32_t row, unsigned window,
                         VECTOR *least) {
  const size_t all = (size_t)row << r->step, first = all * r->windows + window;
  const uint32_t last = r->begin[row + 1] - 1;
  uint32_t k = r->begin[row];
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) least[i] = MM(set1_epi16)(-1);
  for (; s.table && k <= last; k++) NAME(visit)(s, r, first, r->path[k], least);
  for (; s.period && k <= last; k += TOGETHER)
    QP_UNROLL for (uint32_t i = 0; i < TOGETHER; i++)
        NAME(visit_joints)(s, r, all, window, r->path[least_of(k + i, last)], least);
  for (; !s.table && k <= last; k += TOGETHER)
    QP_UNROLL for (uint32_t i = 0; i < TOGETHER; i++)
        NAME(visit)(s, r, first, r->path[least_of(k + i, last)], least);
}

/* What is compared with the limit, in the stead of the sums of a window. */
INLINE void NAME(judge)(NAME(shape) s, const READER *r, uint32_t row, unsigned window,
                        VECTOR *sum) {
  const unsigned each = WIDTH / LANES;
  const uint16_t *place = r->place + (size_t)row * r->blocks + window * s.vectors * each;
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) sum[i] = MM(adds_epu16)(
      sum[i], JOIN(r->behind + place[i * each], r->behind + place[i * each + each - 1]));
}

/* Windows [first, first + count), counted over all rows; returns the least sums. */
INLINE VECTOR NAME(meet)(NAME(shape) s, const READER *r, const qp_meeting *m, uint32_t first,
                         uint32_t count, VECTOR lowest, batch *b) {
  const VECTOR limit = MM(set1_epi16)((short)m->limit);
  const uint64_t *may = m->may;
  const unsigned span = s.vectors * WIDTH;
  const unsigned watched = m->column ? m->watched / span : r->windows;
  uint32_t row = first / r->windows;
  unsigned window = first % r->windows;
  b->count = 0;
  for (uint32_t i = 0; i < count; i++) {
    VECTOR least[4] = {{0}};
    uint64_t found = 0;
    if (r->begin[row] < r->begin[row + 1]) {
      NAME(window)(s, r, row, window, least);
      QP_UNROLL for (unsigned k = 0; k < s.vectors; k++) {
        lowest = MM(min_epu16)(lowest, least[k]);
        STORE_ANY(b->sum[i] + k * WIDTH, least[k]);
      }
      if (window == watched) m->column[row] = b->sum[i][m->watched % span];
      if (r->behind) NAME(judge)(s, r, row, window, least);
      QP_UNROLL for (unsigned k = 0; k < s.vectors; k++) found |= (uint64_t)BELOW(least[k], limit)
                                                                  << k * WIDTH;
      list(b, i, may ? found & may_come(may, window * span) : found);
    }
    if (++window == r->windows) window = 0, row++;
  }
  return lowest;
}

INLINE bool NAME(rows)(const qp_trellis *t, NAME(shape) s, qp_meeting *m, VECTOR *lowest) {
  const uint32_t all = t->groups / t->fan * t->rows.windows, at_once = least_of(BATCH, t->fan);
  const READER r = NAME(reader_of)(t, s, m);
  VECTOR low = MM(set1_epi16)(-1);
  batch b;
  bool room = true;
  for (uint32_t first = 0; first < all; first += at_once) {
    const uint32_t count = least_of(at_once, all - first);
    low = NAME(meet)(s, &r, m, first, count, low, &b);
    room = keep(t, m, first, count, room, &b);
  }
  *lowest = low;
  return room;
}

INLINE VECTOR NAME(one_row)(const qp_trellis *t, NAME(shape) s, const qp_meeting *m, uint32_t row,
                            uint16_t *sum) {
  const READER r = NAME(reader_of)(t, s, m);
  VECTOR lowest = MM(set1_epi16)(-1);
  for (unsigned window = 0; window < r.windows; window++) {
    VECTOR least[4] = {{0}};
    NAME(window)(s, &r, row, window, least);
    if (r.behind) NAME(judge)(s, &r, row, window, least);
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
      lowest = MM(min_epu16)(lowest, least[i]);
      STORE_ANY(sum + (size_t)window * t->rows.span + i * WIDTH, least[i]);
    }
  }
  return lowest;
}

#undef READER
#undef NAME
#undef INLINE
#undef MM
#undef VECTOR
#undef WIDTH
#undef LOAD_ANY
#undef STORE_ANY
#undef JOIN
#undef BELOW
#undef TURN
#undef PICK
