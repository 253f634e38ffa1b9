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

/* How a window is read: vectors of it; from a pool of squares, at places of 16 bits or 32, or from
   a table; codes from one move to the next strip to another, or 0. */
typedef struct NAME(shape) {
  unsigned vectors;
  bool table, near;
  unsigned period;
  unsigned dim; /* weights of a step of the table, or 0: the trellis says how many */
} NAME(shape);

/* The same from rows that move from strip to strip; 'first': the first group of the row. */
INLINE void NAME(visit_joints)(NAME(shape) s, const reader *r, size_t first, unsigned window,
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

/* Do so for two windows of one period each at once.  Of each all vectors but that with the move lie
   in one strip: a vector more is read than there are. */
INLINE void NAME(visit_twice)(NAME(shape) s, const reader *r, size_t first, uint32_t path,
                              VECTOR *least) {
  const size_t group = first + (path >> 16);
  const VECTOR before = MM(set1_epi16)((short)path);
  const unsigned moves = r->turn[group];
  const NAME(turn) turn = TURN(moves);
  QP_UNROLL for (unsigned w = 0; w < 2; w++) {
    const uint16_t *square = r->square + r->near[group] + w * (s.period + r->apart);
    VECTOR now = LOAD_ANY(square);
    QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) {
      const unsigned stays = 0u - (moves > (i + 1) * WIDTH); /* as a mask: no branch foresees it */
      const unsigned at = r->apart + i * WIDTH + ((WIDTH - r->apart) & stays);
      const VECTOR next = LOAD_ANY(square + at), v = PICK(now, next, turn, i * WIDTH);
      VECTOR *to = least + w * s.vectors + i;
      *to = MM(min_epu16)(*to, MM(adds_epu16)(v, before));
      now = next;
    }
  }
}

/* Bring the sums of one path to the least ones; 'first': where the windows of its row begin. */
INLINE void NAME(visit)(NAME(shape) s, const reader *r, size_t first, uint32_t path,
                        VECTOR *least) {
  const size_t at = first + (size_t)(path >> 16) * r->windows;
  const VECTOR before = MM(set1_epi16)((short)path);
  if (s.table) {
    const form f = {s.dim ? s.dim : r->dim, r->doublings, true};
    const int16_t *values = r->table + at * f.dim * LANES;
    VECTOR v[QP_TRELLIS_DIM] = {{0}}, x[QP_TRELLIS_DIM] = {{0}};
    QP_UNROLL for (unsigned e = 0; e < f.dim; e++) v[e] = LOAD_ANY(values + e * LANES);
    QP_UNROLL for (unsigned e = 0; e < f.dim; e++) x[e] = MM(set1_epi16)(r->x[e]);
    least[0] = MM(min_epu16)(least[0], NAME(add)(f, x, v, before));
    return;
  }
  const uint16_t *square = r->square + (s.near ? r->near[at] : r->offset[at]);
  QP_UNROLL for (unsigned i = 0; i < s.vectors; i++) least[i] =
      MM(min_epu16)(least[i], MM(adds_epu16)(LOAD_ANY(square + i * WIDTH), before));
}

/* The least sums of a window of a row that has paths.  By a pool they are taken by fours, the last
   one several times, so that no branch has to foresee how many there are. */
INLINE void NAME(window)(NAME(shape) s, const reader *r, uint32_t row, unsigned window,
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

/* The least sums of windows [first, first + count), counted over all rows, to b->sum. */
INLINE void NAME(sum_windows)(NAME(shape) s, const reader *r, uint32_t first, uint32_t count,
                              batch *b) {
  uint32_t row = first / r->windows;
  unsigned window = first % r->windows;
  for (uint32_t i = 0; i < count; i++) {
    VECTOR least[4] = {{0}};
    if (r->begin[row] < r->begin[row + 1])
      NAME(window)(s, r, row, window, least);
    else
      QP_UNROLL for (unsigned k = 0; k < s.vectors; k++) least[k] = MM(set1_epi16)(-1);
    QP_UNROLL for (unsigned k = 0; k < s.vectors; k++) STORE_ANY(b->sum[i] + k * WIDTH, least[k]);
    if (++window == r->windows) window = 0, row++;
  }
}

/* The same of rows of one window each.  Paths follow each other whichever row is theirs, so that no
   branch has to foresee how many it has. */
INLINE void NAME(sum_rows)(NAME(shape) s, const reader *r, uint32_t first, uint32_t count,
                           batch *b) {
  const uint32_t begin = r->begin[first], n = r->begin[first + count] - begin;
  uint8_t of[BATCH * CHUNK + LANES];
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t end = r->begin[first + i + 1] - begin;
    QP_UNROLL for (unsigned v = 0; v < s.vectors; v++)
        STORE_ANY(b->sum[i] + v * WIDTH, MM(set1_epi16)(-1));
    uint32_t k = r->begin[first + i] - begin;
    do /* once where it has none, too, as no branch foresees that: the next row's stand there */
      memset(of + k, (int)i, LANES);
    while ((k += LANES) < end);
  }
  for (uint32_t k = 0; k < n; k++) {
    VECTOR least[4] = {{0}};
    uint16_t *sum = b->sum[of[k]];
    QP_UNROLL for (unsigned v = 0; v < s.vectors; v++) least[v] = LOAD_ANY(sum + v * WIDTH);
    NAME(visit)(s, r, (size_t)(first + of[k]) << r->step, r->path[begin + k], least);
    QP_UNROLL for (unsigned v = 0; v < s.vectors; v++) STORE_ANY(sum + v * WIDTH, least[v]);
  }
}

/* The same of rows of two windows that move from strip to strip. */
INLINE void NAME(sum_twos)(NAME(shape) s, const reader *r, uint32_t first, uint32_t count,
                           batch *b) {
  for (uint32_t i = 0; i < count; i += 2) {
    const uint32_t row = (first + i) / 2, last = r->begin[row + 1];
    VECTOR least[8] = {{0}};
    QP_UNROLL for (unsigned v = 0; v < 2 * s.vectors; v++) least[v] = MM(set1_epi16)(-1);
    for (uint32_t k = r->begin[row]; k < last; k += 2)
      QP_UNROLL for (uint32_t l = 0; l < 2; l++) NAME(visit_twice)(
          s, r, (size_t)row << r->step, r->path[least_of(k + l, last - 1)], least);
    QP_UNROLL for (unsigned v = 0; v < 2 * s.vectors; v++)
        STORE_ANY(b->sum[i + v / s.vectors] + v % s.vectors * WIDTH, least[v]);
  }
}

/* The same of rows of WINDOWS windows, where those alone are visited that may lead below the
   limit. */
INLINE void NAME(sum_sifted)(NAME(shape) s, const reader *r, uint32_t first, uint32_t count,
                             batch *b) {
  sifted to;
  for (uint32_t i = 0; i < count; i++)
    QP_UNROLL for (unsigned v = 0; v < s.vectors; v++)
        STORE_ANY(b->sum[i] + v * WIDTH, MM(set1_epi16)(-1));
  for (uint32_t i = 0; i < count; i += WINDOWS) {
    const uint32_t row = (first + i) / WINDOWS, end = r->begin[row + 1];
    for (uint32_t k = r->begin[row]; k < end; k += SIFTED) {
      const unsigned n =
          NAME(sift)(r, (size_t)row << r->step, r->path + k, least_of(SIFTED, end - k), &to);
      for (unsigned l = 0; l < n; l++) {
        const VECTOR before = MM(set1_epi16)((short)to.of[l]);
        const uint16_t *square = r->square + to.place[l];
        uint16_t *sum = b->sum[i + (to.of[l] >> 16)];
        QP_UNROLL for (unsigned v = 0; v < s.vectors; v++) STORE_ANY(
            sum + v * WIDTH, MM(min_epu16)(LOAD_ANY(sum + v * WIDTH),
                                           MM(adds_epu16)(LOAD_ANY(square + v * WIDTH), before)));
      }
    }
  }
}

/* Each shape in a function of its own, or too much would be alive in one. */
#define SUM(name, ...)                                                                             \
  APART TARGET static void NAME(sum_##name)(const reader *from, uint32_t first, uint32_t count,    \
                                            batch *b) {                                            \
    const reader r = *from;                                                                        \
    const NAME(shape) s = {__VA_ARGS__};                                                           \
    if (r.windows == 1 && !s.table && !s.period)                                                   \
      NAME(sum_rows)(s, &r, first, count, b);                                                      \
    else if (s.period == CHUNK && r.windows == 2)                                                  \
      NAME(sum_twos)(s, &r, first, count, b);                                                      \
    else if (r.least && s.near && !s.period)                                                       \
      NAME(sum_sifted)(s, &r, first, count, b);                                                    \
    else                                                                                           \
      NAME(sum_windows)(s, &r, first, count, b);                                                   \
  }

SUM(near64, .vectors = 64 / WIDTH, .near = true)
SUM(near32, .vectors = 32 / WIDTH, .near = true)
SUM(far64, .vectors = 64 / WIDTH)
SUM(far32, .vectors = 32 / WIDTH)
SUM(joints64, .vectors = 64 / WIDTH, .near = true, .period = 64)
SUM(joints32, .vectors = 64 / WIDTH, .near = true, .period = 32)
#ifdef OF_LANES
SUM(near16, .vectors = 1, .near = true)
SUM(far16, .vectors = 1)
SUM(pairs, .vectors = 1, .table = true, .dim = 2)
SUM(table, .vectors = 1, .table = true)
#endif

/* What is compared with the limit, in the stead of the sums of a window. */
INLINE void NAME(judge)(unsigned vectors, const reader *r, uint32_t row, unsigned window,
                        VECTOR *sum) {
  const unsigned each = WIDTH / LANES;
  const uint16_t *place = r->place + (size_t)row * r->blocks + window * vectors * each;
  QP_UNROLL for (unsigned i = 0; i < vectors; i++) sum[i] = MM(adds_epu16)(
      sum[i], JOIN(r->behind + place[i * each], r->behind + place[i * each + each - 1]));
}

/* List the codes of windows [first, first + count) whose sums, b->sum, are below the limit. */
INLINE void NAME(pick)(unsigned vectors, const reader *r, const qp_meeting *m, uint32_t first,
                       uint32_t count, batch *b) {
  const VECTOR limit = MM(set1_epi16)((short)m->limit);
  const uint64_t *may = m->may;
  const unsigned span = vectors * WIDTH;
  VECTOR lowest = MM(set1_epi16)(-1);
  uint32_t row = first / r->windows;
  unsigned window = first % r->windows, n = 0;
  for (uint32_t i = 0; i < count; i++) {
    VECTOR sum[4] = {{0}};
    uint64_t found = 0;
    QP_UNROLL for (unsigned k = 0; k < vectors; k++) {
      sum[k] = LOAD_ANY(b->sum[i] + k * WIDTH);
      lowest = MM(min_epu16)(lowest, sum[k]);
    }
    if (r->behind) NAME(judge)(vectors, r, row, window, sum);
    QP_UNROLL for (unsigned k = 0; k < vectors; k++) found |= (uint64_t)BELOW(sum[k], limit)
                                                              << k * WIDTH;
    n = NAME(list)(b, n, i * CHUNK, may ? found & may_come(may, window * span) : found, span);
    if (++window == r->windows) window = 0, row++;
  }
  b->count = n;
  b->lowest = least_of(b->lowest, LOWEST(lowest));
}

#define PICKED(vectors)                                                                            \
  APART TARGET static void NAME(pick_##vectors)(const reader *from, const qp_meeting *m,           \
                                                uint32_t first, uint32_t count, batch *b) {        \
    const reader r = *from;                                                                        \
    NAME(pick)(vectors, &r, m, first, count, b);                                                   \
  }

PICKED(1)
PICKED(2)
#ifdef OF_LANES
PICKED(4)
#endif

/* How a trellis's windows are read and what is found in them listed. */
typedef struct NAME(kernel) {
  void (*sum)(const reader *from, uint32_t first, uint32_t count, batch *b);
  void (*pick)(const reader *from, const qp_meeting *m, uint32_t first, uint32_t count, batch *b);
} NAME(kernel);

TARGET static bool NAME(run_all)(const qp_trellis *t, NAME(kernel) kernel, qp_meeting *m) {
  const uint32_t windows = t->rows.windows, all = t->groups / t->fan * windows;
  const uint32_t at_once = m->sampled ? windows : least_of(BATCH, t->fan);
  const reader r = reader_of(t, m);
  batch b;
  bool room = true;
  b.lowest = QP_NO_PATH;
  if (m->column && m->least) watch_all(t, m);
  for (uint32_t first = 0; first < all; first += at_once) {
    const uint32_t count = least_of(at_once, all - first);
    const uint16_t *known = m->sampled ? known_sums(t, m, first / windows) : NULL;
    if (known)
      memcpy(b.sum, known, sizeof *known * t->fan);
    else
      kernel.sum(&r, first, count, &b);
    if (m->column && !m->least) watch(t, m, first, count, &b);
    kernel.pick(&r, m, first, count, &b);
    room = keep(t, m, first, count, room, &b);
  }
  m->lowest = b.lowest;
  return room;
}

TARGET static unsigned NAME(row_of)(const qp_trellis *t, NAME(kernel) kernel, const qp_meeting *m,
                                    uint32_t row, uint16_t *sum) {
  reader r = reader_of(t, m);
  VECTOR lowest = MM(set1_epi16)(-1);
  batch b;
  if (m->limit == QP_NO_PATH) r.least = NULL;
  for (unsigned i = 0; i < r.windows; i++) {
    uint16_t *to = sum + (size_t)i * t->rows.span;
    if (i % BATCH == 0) kernel.sum(&r, row * r.windows + i, least_of(BATCH, r.windows - i), &b);
    for (unsigned k = 0; k < t->rows.span; k += WIDTH) {
      VECTOR v = LOAD_ANY(b.sum[i % BATCH] + k);
      if (r.behind) NAME(judge)(1, &r, row, (i * t->rows.span + k) / WIDTH, &v);
      lowest = MM(min_epu16)(lowest, v);
      STORE_ANY(to + k, v);
    }
  }
  return LOWEST(lowest);
}

#undef SUM
#undef PICKED
#undef OF_LANES
#undef TARGET
#undef LOWEST
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
