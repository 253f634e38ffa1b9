/* SPDX-License-Identifier: MIT */
/* Lists what the states behind each group of a trellis decode to:  table of states --> rows by
   code. */
#include "gen/encode/code_rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/code_joints.h"
#include "gen/encode/numbering.h"

enum {
  NONE = QP_NUMBER_NONE,
  ABSENT = NONE - 1,
  MOST_PHASES = 4, /* powers of two */
  CLASSES = 4
};

static uint32_t groups_of(const qp_code_rows_of *of) { return 1u << (of->window - of->step); }
static unsigned fan_of(const qp_code_rows_of *of) { return 1u << of->step; }
static unsigned least_of(unsigned a, unsigned b) { return a < b ? a : b; }

/* Give the state behind group p by a code. */
static size_t state_of(const qp_code_rows_of *of, uint32_t p, unsigned code) {
  return (size_t)code << (of->window - of->step) | p;
}

/* t^ of a state's weight e. */
static int16_t number_at(const qp_code_rows_of *of, size_t state, unsigned e) {
  return (int16_t)qp_metric_value(of->metric, of->value[state * of->dim + e]);
}

/* ---- Strips ---- */

typedef struct strips {
  const qp_code_rows_of *of;
  const uint32_t *word; /* in the stead of values, or NULL */
  size_t most;
  unsigned longest; /* window */
  unsigned phases;  /* codes after which values alternate alike, and parts of all codes in which
                       they differ: nodes are [values][phases][classes] */
  unsigned classes;
  qp_numbering value; /* numbers of the different values [dim] */
  uint32_t *id;       /* [2^window]: the number of each state's */
  uint32_t *next;     /* [values]: which comes at the next code of a row, or NONE */
  uint32_t *pool;     /* [most]: numbers of values */
  uint32_t *begin;    /* [values]: where windows that begin with it do */
} strips;

static bool number_values(strips *s) {
  const size_t states = (size_t)1 << s->of->window, bytes = sizeof(float) * s->of->dim;
  const void *base = s->word ? (const void *)s->word : s->of->value;
  return qp_number_all(&s->value, base, bytes, states, s->id);
}

static uint32_t kinds_of(const strips *s) { return s->phases * s->classes; }
static uint32_t nodes_of(const strips *s) { return s->value.count * kinds_of(s); }

/* Nodes are values at codes of a row, of which it may matter which they are. */
static uint32_t kind_of(const strips *s, unsigned code) {
  assert(s->classes && s->classes <= fan_of(s->of));
  return code / (fan_of(s->of) / s->classes) * s->phases + code % s->phases;
}

/* Go from one code to the next one in all rows; 'last': windows end with it. */
static bool find_next_of(strips *s, unsigned code, bool last) {
  const uint32_t kinds = kinds_of(s), kind = kind_of(s, code);
  const uint32_t then = last ? 0 : kind_of(s, code + 1), groups = groups_of(s->of);
  const uint32_t *id = s->id + state_of(s->of, 0, code);
  for (uint32_t p = 0; p < groups; p++) {
    uint32_t *next = &s->next[id[p] * kinds + kind];
    if (last) {
      if (*next == ABSENT) *next = NONE;
      continue;
    }
    const uint32_t is = id[p + groups] * kinds + then;
    if (*next < ABSENT && *next != is) return false;
    *next = is;
  }
  return true;
}

/* Is each node followed by the same one in all windows of 'span' codes?  next[] says by which. */
static bool find_next(strips *s, unsigned span) {
  for (uint32_t i = 0; i < nodes_of(s); i++) s->next[i] = ABSENT;
  for (unsigned code = 0; code < fan_of(s->of); code++)
    if (!find_next_of(s, code, (code + 1) % span == 0)) return false;
  return true;
}

/* Lay out values from 'id' on, as they follow each other, until one that has a place; behind it as
   many as windows reach. */
static bool lay_strip(strips *s, uint32_t id, unsigned span, size_t *used) {
  for (; id != NONE && s->begin[id] == NONE; id = s->next[id]) {
    if (*used + span > s->most) return false;
    s->begin[id] = (uint32_t)*used;
    s->pool[(*used)++] = id / kinds_of(s);
  }
  for (unsigned i = 1; i < span; i++) {
    s->pool[(*used)++] = id == NONE ? 0 : id / kinds_of(s);
    id = id == NONE ? NONE : s->next[id];
  }
  return true;
}

/* Those that follow no other one first, or their strips would be cut. */
static bool lay_strips(strips *s, unsigned span, size_t *used) {
  const uint32_t count = nodes_of(s);
  bool *follows = calloc(count, sizeof *follows), ok = follows != NULL;
  for (uint32_t i = 0; ok && i < count; i++)
    if (s->next[i] < ABSENT) follows[s->next[i]] = true;
  for (uint32_t i = 0; i < count; i++) s->begin[i] = NONE;
  *used = 0;
  for (unsigned pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; ok && i < count; i++)
      if (s->begin[i] == NONE && s->next[i] != ABSENT && (pass || !follows[i]))
        ok = lay_strip(s, i, span, used);
  free(follows);
  return ok;
}

/* ---- Windows ---- */

/* Windows of numbers of values, each kept once; and how they overlap. */
typedef struct windows {
  unsigned span;
  uint32_t *number;       /* [all][span]: as rows have them */
  qp_numbering different; /* which of them are */
  uint32_t *next;         /* [different]: the window that begins 'later' codes later, or NONE */
  uint8_t *later;
  bool *follows; /* [different]: some other one */
} windows;

static const uint32_t *window_at(const windows *w, uint32_t i) {
  return w->number + w->different.place[i] * w->span;
}

/* Number the different windows; is[i] is that of window i. */
static bool number_windows(const strips *s, windows *w, size_t all, uint32_t *is) {
  const unsigned count = fan_of(s->of) / w->span;
  for (size_t i = 0; i < all; i++) {
    const uint32_t p = (uint32_t)(i / count);
    for (unsigned c = 0; c < w->span; c++)
      w->number[i * w->span + c] = s->id[state_of(s->of, p, (unsigned)(i % count) * w->span + c)];
    is[i] = qp_number_of(&w->different, w->number, sizeof *w->number * w->span, i);
    if (is[i] == NONE) return false;
  }
  return true;
}

/* What chain_windows() works with. */
typedef struct overlaps {
  uint32_t *part; /* [2 different][span - 1]: beginnings of heads, then ends of tails */
  uint32_t *head; /* [2 different]: of each different part the first head that begins with it */
  uint32_t *list; /* [different]: the next one that does */
} overlaps;

/* Windows that no other one follows get one that begins 'later' codes later and follows none. */
static bool chain_later(windows *w, unsigned later, const overlaps *o) {
  const uint32_t count = w->different.count;
  const size_t length = w->span - later, bytes = sizeof *o->part * length;
  qp_numbering n;
  const bool ok = qp_numbering_new(&n, 2 * (size_t)count);
  for (uint32_t i = 0; ok && i < 2 * count; i++) o->head[i] = NONE;
  for (uint32_t i = count; ok && i-- > 0;) {
    if (w->follows[i]) continue;
    memcpy(o->part + i * length, window_at(w, i), bytes);
    uint32_t *to = &o->head[qp_number_of(&n, o->part, bytes, i)];
    o->list[i] = *to;
    *to = i;
  }
  for (uint32_t i = 0; ok && i < count; i++) {
    if (w->next[i] != NONE) continue;
    memcpy(o->part + (count + i) * length, window_at(w, i) + later, bytes);
    uint32_t *to = &o->head[qp_number_of(&n, o->part, bytes, count + i)];
    if (*to == NONE || *to == i) continue;
    w->next[i] = *to;
    w->later[i] = (uint8_t)later;
    w->follows[*to] = true;
    *to = o->list[*to];
  }
  qp_numbering_free(&n);
  return ok;
}

static bool chain_windows(windows *w) {
  const size_t count = w->different.count;
  overlaps o = {.part = malloc(sizeof *o.part * 2 * count * w->span),
                .head = malloc(sizeof *o.head * 2 * count),
                .list = malloc(sizeof *o.list * count)};
  bool ok = o.part && o.head && o.list;
  for (unsigned later = 1; ok && later < w->span; later++) ok = chain_later(w, later, &o);
  free(o.part);
  free(o.head);
  free(o.list);
  return ok;
}

/* Lay the windows of a chain out; begin[] gets their places. */
static bool lay_chain(strips *s, const windows *w, uint32_t i, uint32_t *begin, size_t *used) {
  for (bool more = true; more; i = w->next[i]) {
    more = w->next[i] != NONE && begin[w->next[i]] == NONE && w->next[i] != i;
    const unsigned n = more ? w->later[i] : w->span;
    if (*used + w->span > s->most) return false;
    begin[i] = (uint32_t)*used;
    for (unsigned c = 0; c < n; c++) s->pool[(*used)++] = window_at(w, i)[c];
  }
  return true;
}

static bool lay_chains(strips *s, const windows *w, uint32_t *begin, size_t *used) {
  bool ok = true;
  *used = 0;
  for (uint32_t i = 0; i < w->different.count; i++) begin[i] = NONE;
  for (unsigned pass = 0; pass < 2; pass++) /* those that follow none first, then circles */
    for (uint32_t i = 0; ok && i < w->different.count; i++)
      if (begin[i] == NONE && (pass || !w->follows[i])) ok = lay_chain(s, w, i, begin, used);
  return ok;
}

/* Windows that are equal once only, and what they have in common, where neighbours vary. */
static bool lay_windows(strips *s, qp_code_rows *out, size_t *used) {
  const size_t all = (size_t)groups_of(s->of) * out->windows;
  windows w = {.span = out->span, .number = malloc(sizeof *w.number * all * out->span)};
  uint32_t *begin = NULL;
  bool ok = w.number && qp_numbering_new(&w.different, s->most) &&
            number_windows(s, &w, all, out->offset);
  const size_t count = ok ? w.different.count : 1;
  w.next = malloc(sizeof *w.next * count);
  w.later = malloc(sizeof *w.later * count);
  w.follows = calloc(count, sizeof *w.follows);
  begin = malloc(sizeof *begin * count);
  ok = ok && w.next && w.later && w.follows && begin;
  for (size_t i = 0; ok && i < count; i++) w.next[i] = NONE;
  ok = ok && chain_windows(&w) && lay_chains(s, &w, begin, used);
  for (size_t i = 0; ok && i < all; i++) out->offset[i] = begin[out->offset[i]];
  free(begin);
  free(w.next);
  free(w.later);
  free(w.follows);
  free(w.number);
  qp_numbering_free(&w.different);
  return ok;
}

/* Which value each number of the strips is. */
static bool fill_numbers(const strips *s, size_t used, qp_code_rows *out) {
  out->size = (unsigned)used;
  out->values = s->value.count;
  out->number = malloc(sizeof *out->number * used);
  out->state = malloc(sizeof *out->state * out->values);
  if (!out->number || !out->state) return false;
  memcpy(out->number, s->pool, sizeof *out->number * used);
  for (uint32_t i = 0; i < out->values; i++) out->state[i] = (uint32_t)s->value.place[i];
  return true;
}

static bool fill_pool(const strips *s, size_t used, qp_code_rows *out) {
  const qp_code_rows_of *of = s->of;
  if (s->word) return fill_numbers(s, used, out);
  const size_t size = (used + 2 * QP_CODE_ROWS_SLACK - 1) / QP_CODE_ROWS_SLACK * QP_CODE_ROWS_SLACK;
  out->pool = aligned_alloc(64, sizeof *out->pool * size * of->dim);
  if (!out->pool) return false;
  out->size = (unsigned)size;
  memset(out->pool, 0, sizeof *out->pool * size * of->dim);
  for (size_t i = 0; i < used; i++)
    for (unsigned e = 0; e < of->dim; e++)
      out->pool[e * size + i] = number_at(of, s->value.place[s->pool[i]], e);
  return true;
}

static bool new_offsets(const qp_code_rows_of *of, unsigned span, qp_code_rows *out) {
  free(out->offset);
  *out = (qp_code_rows){.span = span, .windows = fan_of(of) / span};
  out->offset = malloc(sizeof *out->offset * groups_of(of) * out->windows);
  return out->offset != NULL;
}

/* Windows of as many codes as there can be, at least 'least'.  False: there are none, or no
   memory. */
static bool find_windows(strips *s, unsigned most, unsigned least, qp_code_rows *out) {
  const qp_code_rows_of *of = s->of;
  size_t used = 0;
  for (unsigned span = most; span >= least && nodes_of(s) <= s->most; span /= 2) {
    if (!find_next(s, span) || !lay_strips(s, span, &used)) continue;
    if (!new_offsets(of, span, out)) return false;
    for (unsigned w = 0; w < out->windows; w++) {
      const uint32_t kind = kind_of(s, w * span);
      for (uint32_t p = 0; p < groups_of(of); p++)
        out->offset[(size_t)p * out->windows + w] =
            s->begin[s->id[state_of(of, p, w * span)] * kinds_of(s) + kind];
    }
    return fill_pool(s, used, out);
  }
  return false;
}

/* Do so where values alternate, or differ from part to part of the codes; or where rows move from
   strip to strip. */
static bool find_moving(strips *s, unsigned most, qp_code_rows *out) {
  const unsigned fan = fan_of(s->of);
  for (s->classes = 1; s->classes <= CLASSES; s->classes *= CLASSES)
    for (s->phases = 1; s->phases <= MOST_PHASES; s->phases *= 2)
      if (fan / s->classes >= most && find_windows(s, most, most, out)) return true;
  s->phases = s->classes = 1;
  return qp_code_joints_find(out, s->of, &s->value, s->id) && out->pool;
}

/* As long windows as there can be, up to s->longest.  False: out->pool is NULL, there are too many
   of them. */
static bool find_strips(strips *s, qp_code_rows *out) {
  const qp_code_rows_of *of = s->of;
  const unsigned most = least_of(fan_of(of), s->longest),
                 least = least_of(most, QP_CODE_ROWS_LANES);
  size_t used = 0;
  if (!number_values(s)) return false;
  if (find_windows(s, most, least, out)) return true;
  if (of->moves && most == QP_CODE_ROWS_CHUNK && find_moving(s, most, out)) return true;
  for (unsigned span = most; span >= least; span /= 2) {
    if (!new_offsets(of, span, out)) return false;
    if (lay_windows(s, out, &used)) return fill_pool(s, used, out);
  }
  return false;
}

static qp_status make_strips(qp_code_rows *out, const qp_code_rows_of *of, const uint32_t *word,
                             size_t most, qp_error *err) {
  strips s = {.of = of,
              .word = word,
              .most = most,
              .phases = 1,
              .classes = 1,
              .longest = word ? QP_CODE_ROWS_LANES : QP_CODE_ROWS_CHUNK};
  *out = (qp_code_rows){0};
  s.id = calloc((size_t)1 << of->window, sizeof *s.id);
  s.next = malloc(sizeof *s.next * most);
  s.begin = malloc(sizeof *s.begin * most);
  s.pool = malloc(sizeof *s.pool * (most + QP_CODE_ROWS_CHUNK));
  const bool ok = qp_numbering_new(&s.value, most) && s.id && s.next && s.begin && s.pool;
  if (ok && !find_strips(&s, out)) qp_code_rows_free(out);
  qp_numbering_free(&s.value);
  free(s.id);
  free(s.next);
  free(s.begin);
  free(s.pool);
  return ok ? QP_OK
            : qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
}

qp_status qp_code_rows_make_strips(qp_code_rows *out, const qp_code_rows_of *of, size_t most,
                                   qp_error *err) {
  return make_strips(out, of, NULL, most, err);
}

qp_status qp_code_rows_make_numbers(qp_code_rows *out, const qp_code_rows_of *of,
                                    const uint32_t *word, size_t most, qp_error *err) {
  return make_strips(out, of, word, most, err);
}

/* ---- All rows ---- */

qp_status qp_code_rows_make_table(qp_code_rows *out, const qp_code_rows_of *of, qp_error *err) {
  const unsigned fan = fan_of(of), dim = of->dim;
  const unsigned blocks = fan < QP_CODE_ROWS_LANES ? 1 : fan / QP_CODE_ROWS_LANES;
  const size_t row = (size_t)blocks * dim * QP_CODE_ROWS_LANES;
  *out = (qp_code_rows){.span = least_of(fan, QP_CODE_ROWS_LANES), .windows = blocks};
  const size_t bytes = sizeof *out->table * row * groups_of(of);
  out->table = aligned_alloc(64, bytes);
  if (!out->table)
    return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
  memset(out->table, 0, bytes);
  for (unsigned code = 0; code < fan; code++)
    for (uint32_t p = 0; p < groups_of(of); p++) {
      int16_t *to =
          out->table + p * row + (size_t)(code / QP_CODE_ROWS_LANES) * dim * QP_CODE_ROWS_LANES;
      for (unsigned e = 0; e < dim; e++)
        to[e * QP_CODE_ROWS_LANES + code % QP_CODE_ROWS_LANES] =
            number_at(of, state_of(of, p, code), e);
    }
  return QP_OK;
}

qp_status qp_code_rows_narrow(qp_code_rows *r, const qp_code_rows_of *of, qp_error *err) {
  const size_t n = (size_t)groups_of(of) * r->windows;
  if (!r->pool || r->turn || r->size > UINT16_MAX) return QP_OK;
  r->near = malloc(sizeof *r->near * n);
  if (!r->near)
    return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
  for (size_t i = 0; i < n; i++) r->near[i] = (uint16_t)r->offset[i];
  return QP_OK;
}

void qp_code_rows_free(qp_code_rows *r) {
  free(r->pool);
  free(r->offset);
  free(r->near);
  free(r->turn);
  free(r->table);
  free(r->number);
  free(r->state);
  *r = (qp_code_rows){0};
}
