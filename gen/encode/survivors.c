/* SPDX-License-Identifier: MIT */
/*
** Follows some of the paths of a trellis with a long window.  Survivors of a position stand in
** order of their groups in a ring of positions; codes are found again from them on the way back.
*/
#include "gen/encode/survivors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gen/encode/survivors_meet.h"
#include "gen/encode/trellis_push.h"

enum {
  MOST_BYTES = 128 << 20, /* of the ring, for more positions than */
  LEAST_KEPT = 160,
  MOST_KEPT = 1024,
  SAMPLED = 4096, /* sums of a position, of whole rows, which say where the limit is */
  FIRST_REACH = 256,
  AHEAD_SHARE = 4 /* of the paths, where they are but looked ahead at */
};

struct qp_survivors {
  qp_trellis_push push;
  qp_meet meet;
  unsigned kept;      /* positions in the ring, but one */
  size_t room;        /* survivors of a position */
  uint32_t *path;     /* [kept + 1][room]: j << 16 | sum */
  uint32_t *begin;    /* [kept + 1][rows + 1] */
  uint32_t *route;    /* [kept + 1]: groups of the path that was chosen */
  uint16_t *square;   /* [rows.size] */
  unsigned squared;   /* for which position it is, plus one; 0: none */
  qp_outlook outlook; /* the position behind */
  unsigned foreseen;  /* for which position outlook.square is, plus one; 0: none */
  uint16_t *column;   /* [rows]: the least sum by the code that is watched */
  uint16_t *sample;   /* [rows that are sampled][fan filled up] */
  uint32_t *found;    /* [fan][stride_of] */
  uint32_t *live;     /* [1 + rows + room + 16]: of qp_meeting */
  uint32_t *next;     /* [fan], and */
  uint32_t *ends;     /* [fan][ends_stride_of]: of qp_meeting */
  uint64_t *may;      /* codes that may come at a position */
  /* on the way back: groups, each once; of each survivor at the end the number of that which it
     comes from; when each of the ring was met, and as which number */
  uint32_t *alive, *renumber, *kin, *seen, *number;
  uint32_t stamp;
};

typedef qp_survivors_progress progress;

/* ---- Memory ---- */

static unsigned rows_of(const qp_trellis *t) { return t->groups / t->fan; }
static unsigned row_bits(const qp_trellis *t) { return t->window - 2 * t->step; }
static unsigned words_of(const qp_trellis *t) { return t->fan < 64 ? 1 : t->fan / 64; }
static unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

static unsigned rows_apart(const qp_trellis *t) {
  return t->groups > SAMPLED ? t->groups / SAMPLED : 1;
}

/* Room for what is found of one code: a little more than the rows, or all codes' would share cache
   sets. */
static size_t stride_of(const qp_trellis *t) { return rows_of(t) + 16; }

static size_t ends_stride_of(const qp_trellis *t) { return rows_of(t) / t->fan + 16; }

static void set_sizes(const qp_trellis *t, qp_survivors *s) {
  s->room = t->width + t->width / 4 < t->groups ? t->width + t->width / 4 : t->groups;
  const size_t one = sizeof *s->path * (s->room + rows_of(t) + 1);
  s->kept = MOST_KEPT;
  while (s->kept > LEAST_KEPT && s->kept * one > MOST_BYTES) s->kept -= LEAST_KEPT / 5;
}

static void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) & ~(size_t)63); }

/* Memory that is written in many places at once: of large pages, where there are. */
static void *large(size_t bytes) {
  const size_t page = 2 << 20, all = (bytes + page - 1) & ~(page - 1);
  void *to = aligned_alloc(page, all);
#ifdef MADV_HUGEPAGE
  if (to) madvise(to, all, MADV_HUGEPAGE);
#endif
  return to;
}

static bool new_ring(const qp_trellis *t, qp_survivors *s) {
  const size_t slots = s->kept + 1, one = sizeof(uint32_t) * s->room;
  s->path = large(one * slots);
  s->begin = malloc(sizeof *s->begin * (rows_of(t) + 1) * slots);
  s->route = malloc(sizeof *s->route * slots);
  s->alive = malloc(one);
  s->renumber = malloc(one);
  s->kin = malloc(one);
  s->number = malloc(one);
  s->seen = calloc(s->room, sizeof *s->seen);
  return s->path && s->begin && s->route && s->alive && s->renumber && s->kin && s->number &&
         s->seen;
}

qp_status qp_survivors_new(const qp_trellis *t, qp_survivors **out, qp_error *err) {
  qp_survivors *s = *out = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "out of memory");
  set_sizes(t, s);
  s->push = qp_trellis_push_choose();
  s->meet = qp_meet_choose();
  s->square = qp_outlook_squares(&t->rows);
  s->sample = aligned(sizeof *s->sample * (rows_of(t) / rows_apart(t)) * qp_push_stride(t));
  s->column = aligned(sizeof *s->column * rows_of(t));
  s->found = large(sizeof *s->found * t->fan * stride_of(t));
  s->live = malloc(sizeof *s->live * (1 + rows_of(t) + s->room + 16));
  s->next = malloc(sizeof *s->next * t->fan);
  s->ends = malloc(sizeof *s->ends * t->fan * ends_stride_of(t));
  s->may = malloc(sizeof *s->may * words_of(t));
  const bool foresees = qp_outlook_new(&s->outlook, &t->rows, &t->ahead);
  if (!new_ring(t, s) || !s->square || !s->column || !s->sample || !s->found || !s->live ||
      !s->next || !s->ends || !s->may || !foresees) {
    qp_survivors_free(s);
    return qp_fail(err, QP_E_NOMEM, "no memory to search a trellis of 2^%u states", t->window);
  }
  return QP_OK;
}

void qp_survivors_free(qp_survivors *s) {
  if (!s) return;
  free(s->path);
  free(s->begin);
  free(s->route);
  free(s->square);
  free(s->ends);
  qp_outlook_free(&s->outlook);
  free(s->column);
  free(s->sample);
  free(s->found);
  free(s->live);
  free(s->next);
  free(s->may);
  free(s->alive);
  free(s->renumber);
  free(s->kin);
  free(s->number);
  free(s->seen);
  free(s);
}

unsigned qp_survivors_room(const qp_survivors *s) { return s->kept; }

/* ---- Survivors of a position ---- */

static uint32_t *paths_at(const qp_survivors *s, unsigned at) {
  return s->path + at % (s->kept + 1) * s->room;
}

static uint32_t *begins_at(const progress *p, unsigned at) {
  return p->s->begin + (size_t)(at % (p->s->kept + 1)) * (rows_of(p->t) + 1);
}

unsigned qp_survivors_count(const progress *p) { return begins_at(p, p->at)[rows_of(p->t)]; }

/* About 'width' groups that are spread over all.  Returns how many. */
static uint32_t begin_anywhere(const progress *p, uint32_t *begin, uint32_t *path) {
  const qp_trellis *t = p->t;
  const uint32_t apart = t->groups / t->width;
  const uint64_t part = UINT64_MAX / apart + 1; /* n part < part: where apart divides n */
  uint32_t count = 0;
  for (uint32_t row = 0, g = 0; row < rows_of(t); row++) {
    begin[row] = count;
    for (uint32_t j = 0; j < t->fan; j++, g++)
      if ((g * UINT32_C(0x9e3779b1) >> 16) * part <= part - 1 && count < p->s->room)
        path[count++] = j << 16;
  }
  return count;
}

/* The given group alone. */
static uint32_t begin_at(const progress *p, uint32_t start, uint32_t *begin, uint32_t *path) {
  const uint32_t row = start >> p->t->step;
  memset(begin, 0, sizeof *begin * (row + 1));
  for (uint32_t after = row + 1; after < rows_of(p->t); after++) begin[after] = 1;
  path[0] = (start & (p->t->fan - 1)) << 16;
  return 1;
}

void qp_survivors_begin(progress *p) {
  const qp_trellis *t = p->t;
  const uint32_t start = p->run->start;
  p->at = p->told = 0;
  p->base = 0;
  p->chosen = p->until = 0;
  p->watched = QP_ANY_CODE;
  p->reach = FIRST_REACH;
  p->bound = QP_NO_PATH;
  uint32_t *begin = begins_at(p, 0), *path = paths_at(p->s, 0);
  const uint32_t count =
      start == QP_ANY_GROUP ? begin_anywhere(p, begin, path) : begin_at(p, start, begin, path);
  begin[rows_of(t)] = count;
  p->s->squared = p->s->foreseen = 0;
}

static void set_x(const qp_trellis *t, const qp_survivors_run *run, unsigned at,
                  int16_t x[QP_TRELLIS_DIM]) {
  const unsigned step = (run->first + at) % run->circle;
  for (unsigned i = 0; i < t->dim; i++)
    x[i] = (int16_t)qp_metric_target(&t->metric, run->target[(size_t)step * t->dim + i]);
}

static unsigned square_behind(const qp_trellis *t, const int16_t *x, uint32_t group,
                              uint32_t code) {
  const qp_code_rows *r = &t->rows;
  const size_t window = (size_t)group * r->windows + code / r->span;
  const int16_t *value = r->pool ? r->pool + qp_code_rows_at(r, group, code)
                                 : r->table + window * t->dim * QP_CODE_ROWS_LANES + code % r->span;
  const size_t apart = r->pool ? r->size : QP_CODE_ROWS_LANES;
  unsigned v = 0;
  for (size_t i = 0; i < t->dim; i++) v += qp_metric_square(&t->metric, x[i], value[i * apart]);
  return v;
}

unsigned qp_survivors_square(const qp_trellis *t, const qp_survivors_run *run, unsigned at,
                             uint32_t group, uint32_t code) {
  int16_t x[QP_TRELLIS_DIM];
  set_x(t, run, at, x);
  return square_behind(t, x, group, code);
}

/* Compute the squares of the position that comes next, if there are not yet any: or take those that
   were foreseen. */
static void set_squares(const progress *p, const int16_t *x) {
  qp_survivors *s = p->s;
  if (!p->t->rows.pool || s->squared == p->at + 1) return;
  s->squared = p->at + 1;
  if (s->foreseen != p->at + 1) {
    s->push.squares(p->t, x, s->square);
    return;
  }
  uint16_t *now = s->outlook.square;
  s->outlook.square = s->square;
  s->square = now;
  s->foreseen = 0;
}

/* ---- The way back ---- */

/* Which survivor before a position a group behind it comes from: its number; *group becomes its
   group. */
static uint32_t come_from(const progress *p, unsigned at, const int16_t *x, uint32_t *group) {
  const qp_trellis *t = p->t;
  const uint32_t row = *group & (rows_of(t) - 1), code = *group >> row_bits(t);
  const uint32_t *begin = begins_at(p, at) + row, *path = paths_at(p->s, at);
  uint32_t best = begin[0];
  unsigned least = QP_NO_PATH + 1;
  for (uint32_t k = begin[0]; k < begin[1]; k++) {
    const uint32_t from = row << t->step | path[k] >> 16;
    const unsigned v =
        least_of((path[k] & QP_NO_PATH) + square_behind(t, x, from, code), QP_NO_PATH);
    if (v < least) least = v, best = k;
  }
  *group = row << t->step | path[best] >> 16;
  return best;
}

static uint32_t *code_of(const qp_survivors_run *run, unsigned at) {
  return at < run->before ? run->early + at : run->codes + (at - run->before);
}

void qp_survivors_tell(progress *p, unsigned end, uint32_t group) {
  for (unsigned at = end; at-- > p->told;) {
    int16_t x[QP_TRELLIS_DIM];
    set_x(p->t, p->run, at, x);
    *code_of(p->run, at) = group >> row_bits(p->t);
    come_from(p, at, x, &group);
  }
  if (!p->told) p->origin = group;
  p->told = end;
}

/* One position back: 'count' groups in s->alive become those that they come from, each once.
   Returns how many. */
static unsigned step_back(progress *p, unsigned at, unsigned count) {
  qp_survivors *s = p->s;
  int16_t x[QP_TRELLIS_DIM];
  unsigned left = 0;
  set_x(p->t, p->run, at, x);
  s->stamp++;
  for (unsigned i = 0; i < count; i++) {
    uint32_t group = s->alive[i];
    const uint32_t is = come_from(p, at, x, &group);
    if (s->seen[is] != s->stamp) {
      s->seen[is] = s->stamp;
      s->number[is] = left;
      s->alive[left++] = group;
    }
    s->renumber[i] = s->number[is];
  }
  return left;
}

/* The groups of all survivors to s->alive; s->kin: which of them each is. */
static unsigned list_survivors(progress *p) {
  const uint32_t *begin = begins_at(p, p->at), *path = paths_at(p->s, p->at);
  unsigned count = 0;
  for (uint32_t row = 0; row < rows_of(p->t); row++)
    for (; count < begin[row + 1]; count++) {
      p->s->alive[count] = row << p->t->step | path[count] >> 16;
      p->s->kin[count] = count;
    }
  return count;
}

static uint32_t best_number(const progress *p) {
  const uint32_t *path = paths_at(p->s, p->at), count = qp_survivors_count(p);
  uint32_t best = 0;
  for (uint32_t i = 1; i < count; i++)
    if ((path[i] & QP_NO_PATH) < (path[best] & QP_NO_PATH)) best = i;
  return best;
}

/* Give up the survivors that are no kin of the best one.  Returns its number in s->alive. */
static uint32_t keep_kin(progress *p) {
  uint32_t *begin = begins_at(p, p->at), *path = paths_at(p->s, p->at), left = 0, i = 0;
  const uint32_t *kin = p->s->kin, best = kin[best_number(p)];
  for (uint32_t row = 0; row < rows_of(p->t); row++) {
    const uint32_t end = begin[row + 1];
    begin[row] = left;
    for (; i < end; i++)
      if (kin[i] == best) path[left++] = path[i];
  }
  begin[rows_of(p->t)] = left;
  return best;
}

void qp_survivors_settle(progress *p, unsigned open) {
  if (p->at <= p->told + open) return;
  const unsigned all = list_survivors(p), stop = p->at - open;
  unsigned at = p->at, count = all;
  while (at > stop && count > 1) {
    count = step_back(p, --at, count);
    for (unsigned i = 0; i < all; i++) p->s->kin[i] = p->s->renumber[p->s->kin[i]];
  }
  const uint32_t best = count > 1 ? keep_kin(p) : 0;
  qp_survivors_tell(p, at, p->s->alive[best]);
}

/* ---- A position ---- */

/* Positions at the end whose codes a given group behind them says, and of how many bits it says
   those of the position before them. */
static unsigned parted_bits(const progress *p) {
  const unsigned bits = p->t->window - p->t->step;
  const bool parted = p->run->end != QP_ANY_GROUP && p->at + bits / p->t->step + 1 == p->run->steps;
  return parted ? bits % p->t->step : 0;
}

/* Codes whose newest 'bits' are the oldest of the group at the end; NULL: all. */
static const uint64_t *codes_that_end(const progress *p, unsigned bits) {
  const qp_trellis *t = p->t;
  if (!bits) return NULL;
  memset(p->s->may, 0, sizeof *p->s->may * words_of(t));
  for (uint32_t code = 0; code < t->fan; code++)
    if (code >> (t->step - bits) == (p->run->end & ((1u << bits) - 1)))
      p->s->may[code / 64] |= UINT64_C(1) << code % 64;
  return p->s->may;
}

/* The least limit that lets about 'wanted' of n sums through. */
static unsigned bisect(const qp_survivors *s, unsigned n, const uint16_t *sums, unsigned lowest,
                       unsigned wanted, unsigned reach) {
  unsigned low = 0, high = reach;
  while (lowest + high < QP_NO_PATH && s->push.count(n, sums, lowest + high) < wanted) {
    low = high;
    high *= 2;
  }
  while (high - low > 1 + high / 64) {
    const unsigned middle = low + (high - low) / 2;
    if (lowest + middle < QP_NO_PATH && s->push.count(n, sums, lowest + middle) < wanted)
      low = middle;
    else
      high = middle;
  }
  return high;
}

/* Windows are sifted where a row has many of them and nothing else was known of what they add; of
   larger pools it takes as long to find the least squares as sifting spares. */
static bool sifts(const qp_trellis *t) {
  return t->rows.near && !t->rows.turn && !t->ahead.size && t->rows.span == QP_CODE_ROWS_CHUNK &&
         t->rows.windows == QP_MEET_SIFTED;
}

/* The least squares of windows of the position that comes next. */
static void set_least(const progress *p, qp_meeting *m) {
  enum { COARSE = 3 }; /* no finer: eight times as many would be found */
  qp_survivors *s = p->s;
  if (!sifts(p->t)) return;
  qp_outlook_windows(&s->outlook, &p->t->rows, p->t->rows.span, COARSE, s->square);
  m->least = s->outlook.window;
  m->coarse = COARSE;
}

/* What the position behind the next one adds at least, or NULL. */
static const uint16_t *look_ahead(const progress *p) {
  const qp_trellis *t = p->t;
  qp_survivors *s = p->s;
  if (!t->ahead.size || p->at + 1 >= p->run->steps) return NULL;
  int16_t x[QP_TRELLIS_DIM];
  set_x(t, p->run, p->at + 1, x);
  s->push.squares(t, x, s->outlook.square);
  s->foreseen = p->at + 2;
  qp_outlook_find(&s->outlook, &t->rows, &t->ahead);
  return s->outlook.behind;
}

/* Write what is compared with the limit in some rows to s->sample; returns the least of it. */
static unsigned sample_rows(const progress *p, const qp_meeting *m, unsigned rows) {
  const qp_trellis *t = p->t;
  qp_survivors *s = p->s;
  const unsigned apart = rows_apart(t), stride = qp_push_stride(t);
  unsigned lowest = QP_NO_PATH;
  memset(s->sample, 0xff, sizeof *s->sample * rows * stride);
  for (unsigned i = 0; i < rows; i++) {
    const uint32_t row = qp_meet_sampled(i, apart);
    uint16_t *to = s->sample + (size_t)i * stride;
    if (m->begin[row] < m->begin[row + 1]) lowest = least_of(lowest, s->meet.row(t, m, row, to));
  }
  return lowest;
}

/* Choose the limit below which about 'width' will be: as some rows say.  Of these no more is found
   than sums below twice the last limit, where that is enough. */
static void choose_limit(progress *p, qp_meeting *m, unsigned width) {
  const qp_trellis *t = p->t;
  const unsigned apart = rows_apart(t), rows = rows_of(t) / apart, n = rows * qp_push_stride(t);
  unsigned reach = p->reach, bound = m->least ? p->bound : QP_NO_PATH;
  m->limit = QP_NO_PATH;
  if (width >= t->groups || (uint64_t)qp_survivors_count(p) * t->fan <= width) return;
  m->behind = look_ahead(p);
  for (;; bound = QP_NO_PATH) {
    m->limit = bound;
    m->floor = sample_rows(p, m, rows);
    if (m->floor < QP_NO_PATH)
      reach = bisect(p->s, n, p->s->sample, m->floor, width / apart + 1, p->reach);
    if (bound == QP_NO_PATH || (m->floor < QP_NO_PATH && m->floor + reach <= bound)) break;
  }
  if (m->floor == QP_NO_PATH) return;
  p->reach = reach;
  m->apart = apart;
  if (!m->behind && t->rows.span == QP_CODE_ROWS_CHUNK && t->rows.windows >= QP_MEET_SIFTED &&
      t->rows.windows <= QP_MEET_MOST_SAMPLED)
    m->sampled = p->s->sample;
  m->limit = least_of(m->floor + reach, QP_NO_PATH);
  p->bound = least_of(2 * m->limit, QP_NO_PATH);
}

/* Where the rows of the next position begin in the ring.  Those with a code begin at m->next[code]
   further on than in the list of that code. */
static void set_begins(const progress *p, const qp_meeting *m, uint32_t *begin) {
  const unsigned blocks = rows_of(p->t) / p->t->fan;
  for (unsigned code = 0; code < p->t->fan; code++, begin += blocks) {
    begin[0] = m->next[code] + code * (uint32_t)m->stride;
    p->s->meet.less(blocks - 1, m->ends + code * m->ends_stride, 0 - m->next[code], begin + 1);
  }
}

/* The same where rows are fewer than codes: of several codes one row. */
static void set_few_begins(const qp_trellis *t, const qp_meeting *m, uint32_t *begin) {
  const unsigned rows = rows_of(t);
  assert(rows);
  const unsigned joined = t->fan / rows;
  for (unsigned row = 0; row < rows; row++)
    begin[row] = m->next[row * joined] + row * joined * (uint32_t)m->stride;
}

/* What was found to the ring, in order of groups, less the lowest sum. */
static void take_found(progress *p, const qp_meeting *m) {
  const qp_trellis *t = p->t;
  uint32_t *begin = begins_at(p, p->at + 1), *path = paths_at(p->s, p->at + 1), base = 0;
  for (unsigned code = 0; code < t->fan; code++) {
    const uint32_t list = code * (uint32_t)m->stride, count = m->next[code] - list;
    p->s->meet.less(count, m->found + code * m->stride, m->lowest, path + base);
    m->next[code] = base - list;
    base += count;
  }
  if (rows_of(t) < t->fan)
    set_few_begins(t, m, begin);
  else
    set_begins(p, m, begin);
  begin[rows_of(t)] = base;
  p->base += m->lowest;
}

/* Where all sums are beyond their bits, the least code that may come is as good as any. */
static void go_blind(const qp_trellis *t, qp_meeting *m) {
  unsigned code = 0;
  while (m->may && !(m->may[code / 64] >> code % 64 & 1)) code++;
  m->lowest = 0;
  for (uint32_t row = 0; row < rows_of(t); row++) {
    if (m->used < m->room && m->begin[row] < m->begin[row + 1]) {
      const uint32_t group = code << row_bits(t) | row;
      m->found[m->next[code]++] = (group & (t->fan - 1)) << 16;
      m->used++;
    }
    if ((row + 1) % t->fan == 0) m->ends[code * m->ends_stride + row / t->fan] = m->next[code];
  }
}

/* All behind a position that are below a limit, which is lowered where they are too many. */
static void find_behind(const progress *p, qp_meeting *m) {
  const qp_trellis *t = p->t;
  for (;;) {
    for (unsigned code = 0; code < t->fan; code++) m->next[code] = code * (uint32_t)m->stride;
    m->used = 0;
    const bool fits = p->s->meet.run(t, m);
    const unsigned floor = m->behind ? m->floor : m->lowest;
    if (fits || m->limit <= floor + 1) break; /* of equals the first will do */
    m->limit = floor + 1 + (m->limit - floor - 1) / 4 * 3;
  }
  if (!m->used) go_blind(t, m);
}

void qp_survivors_advance(progress *p) {
  const qp_trellis *t = p->t;
  qp_survivors *s = p->s;
  int16_t x[QP_TRELLIS_DIM];
  if (p->at - p->told == s->kept) qp_survivors_settle(p, s->kept / 2);
  set_x(t, p->run, p->at, x);
  set_squares(p, x);
  const unsigned parted = parted_bits(p);
  const bool all = t->width >= t->groups, ahead = p->at + p->run->ahead >= p->run->steps;
  qp_meeting m = {.x = x,
                  .square = t->rows.pool ? s->square : NULL,
                  .begin = begins_at(p, p->at),
                  .path = paths_at(s, p->at),
                  .may = codes_that_end(p, parted),
                  .found = s->found,
                  .next = s->next,
                  .ends = s->ends,
                  .ends_stride = ends_stride_of(t),
                  .stride = stride_of(t),
                  .room = s->room,
                  .live = s->live,
                  .column = p->watched == QP_ANY_CODE ? NULL : s->column,
                  .watched = p->watched};
  if (m.column) memset(m.column, 0xff, sizeof *m.column * rows_of(t));
  set_least(p, &m);
  choose_limit(p, &m, (ahead && !all ? t->width / AHEAD_SHARE : t->width) << parted);
  find_behind(p, &m);
  take_found(p, &m);
  p->at++;
}

/* ---- Ends ---- */

uint32_t qp_survivors_best(const progress *p) {
  const uint32_t number = best_number(p), *begin = begins_at(p, p->at);
  uint32_t row = 0;
  while (begin[row + 1] <= number) row++;
  return row << p->t->step | paths_at(p->s, p->at)[number] >> 16;
}

void qp_survivors_choose(progress *p, unsigned end) {
  const unsigned slots = p->s->kept + 1;
  uint32_t group = qp_survivors_best(p);
  p->chosen = end;
  p->until = p->at;
  p->s->route[p->at % slots] = group;
  for (unsigned at = p->at; at-- > end;) {
    int16_t x[QP_TRELLIS_DIM];
    set_x(p->t, p->run, at, x);
    come_from(p, at, x, &group);
    p->s->route[at % slots] = group;
  }
  qp_survivors_tell(p, end, group);
}

/* Does a group before a position come from where the path that was chosen does? */
static bool is_kin(const progress *p, unsigned at, uint32_t group) {
  const unsigned slots = p->s->kept + 1;
  for (;; at--) {
    if (at <= p->until && p->s->route[at % slots] == group) return true;
    if (at <= p->chosen) return false;
    int16_t x[QP_TRELLIS_DIM];
    set_x(p->t, p->run, at - 1, x);
    come_from(p, at - 1, x, &group);
  }
}

/* Codes that are given for some positions. */
typedef struct given {
  const uint32_t *code;
  unsigned count;
  int16_t x[QP_BEAM_WINDOW][QP_TRELLIS_DIM]; /* targets of theirs */
} given;

/* A sum, and what those from number 'first' on add behind a group, as far as it is less than
   'least'. */
static uint64_t add_given(const qp_trellis *t, const given *g, unsigned first, uint32_t group,
                          uint64_t sum, uint64_t least) {
  for (unsigned i = first; i < g->count && sum < least; i++) {
    sum += square_behind(t, g->x[i], group, g->code[i]);
    group = (g->code[i] << (t->window - t->step) | group) >> t->step;
  }
  return sum;
}

/* The same behind a row of the position that was made, whose paths are all behind the same group
   after the first code. */
static bool row_may_be(const progress *p, const given *g, uint32_t row, uint64_t least) {
  const uint32_t group = g->code[0] << row_bits(p->t) | row;
  return add_given(p->t, g, 1, group, p->s->column[row], least) < least;
}

bool qp_survivors_cheapest(const progress *p, unsigned at, const uint32_t *code, unsigned count,
                           uint64_t *least, uint32_t *group) {
  const qp_trellis *t = p->t;
  const uint32_t *begin = begins_at(p, at), *path = paths_at(p->s, at);
  const bool known = count && at < p->at && p->watched == code[0];
  given g = {.code = code, .count = count};
  bool found = false;
  for (unsigned i = 0; i < count; i++) set_x(t, p->run, at + i, g.x[i]);
  for (uint32_t row = 0; row < rows_of(t); row++) {
    if (known && (p->s->column[row] >= *least || !row_may_be(p, &g, row, *least))) continue;
    for (uint32_t k = begin[row]; k < begin[row + 1]; k++) {
      const uint32_t from = row << t->step | path[k] >> 16;
      const uint64_t sum = add_given(t, &g, 0, from, path[k] & QP_NO_PATH, *least);
      if (sum >= *least || (p->chosen && !is_kin(p, at, from))) continue;
      *least = sum;
      *group = from;
      found = true;
    }
  }
  return found;
}
