/* SPDX-License-Identifier: MIT */
/* Lists what the states behind each group of a trellis decode to where rows move from strip to
   strip:  table of states --> strips + where rows begin and move on. */
#include "gen/encode/code_joints.h"

#include <stdlib.h>
#include <string.h>

enum {
  NONE = QP_NUMBER_NONE,
  MOST = UINT16_MAX, /* values, and numbers of all strips */
  MOST_STRIPS = 2048,
  MOST_FAN = 255, /* codes that 8 bits tell apart */
  LEAST_PERIOD = 32,
  MOST_PERIOD = QP_CODE_ROWS_CHUNK
};

/* A chain of values that mostly follow each other in rows, closed or not. */
typedef struct chain {
  bool closed, known; /* known: what lies beside it */
  int length;
  uint32_t first, beside; /* value; chain that rows move on to */
  int shift;              /* by how much its columns are further than those of the other one */
} chain;

/* A chain laid out. */
typedef struct strip {
  uint32_t chain;
  int column; /* of its first value */
  bool home;  /* rows may begin in it */
} strip;

/* Values by their numbers. */
typedef struct joints {
  const qp_code_rows_of *of;
  const qp_numbering *value;
  const uint32_t *id;    /* [2^window]: of each state */
  uint32_t next[MOST];   /* what mostly comes at the next code of a row, or NONE, */
  uint32_t other[MOST];  /* and else */
  int32_t oftener[MOST]; /* how much more often the one does */
  uint32_t last[MOST];   /* what it mostly comes behind, or NONE */
  uint32_t chain_of[MOST];
  int32_t column[MOST]; /* in its chain */
  uint32_t place[MOST]; /* in the pool */
  uint32_t pool[MOST];
  chain chain[MOST_STRIPS];
  strip strip[MOST_STRIPS];
  unsigned chains, strips;
  size_t used;
} joints;

static uint32_t groups_of(const qp_code_rows_of *of) { return 1u << (of->window - of->step); }
static unsigned fan_of(const qp_code_rows_of *of) { return 1u << of->step; }

static void swap(uint32_t *a, uint32_t *b) {
  const uint32_t was = *a;
  *a = *b;
  *b = was;
}

/* At most two values follow each one in rows.  False: more do. */
static bool find_next(joints *j) {
  const uint32_t groups = groups_of(j->of), count = j->value->count;
  const size_t all = (size_t)groups * (fan_of(j->of) - 1);
  for (uint32_t i = 0; i < count; i++) j->next[i] = j->other[i] = NONE, j->oftener[i] = 0;
  for (size_t s = 0; s < all; s++) {
    const uint32_t id = j->id[s], is = j->id[s + groups];
    if (j->next[id] == NONE) j->next[id] = is;
    if (j->next[id] != is && j->other[id] == NONE) j->other[id] = is;
    if (j->next[id] != is && j->other[id] != is) return false;
    j->oftener[id] += j->next[id] == is ? 1 : -1;
  }
  for (uint32_t i = 0; i < count; i++)
    if (j->oftener[i] < 0 && j->other[i] != NONE) swap(&j->next[i], &j->other[i]);
  return true;
}

/* Of values that but one follows, it does so mostly where no other one claims it. */
static bool find_last(joints *j) {
  const uint32_t count = j->value->count;
  for (uint32_t i = 0; i < count; i++) j->last[i] = NONE;
  for (unsigned pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t next = j->next[i];
      if (next == NONE || (j->other[i] == NONE) != pass) continue;
      if (j->last[next] == NONE)
        j->last[next] = i;
      else if (!pass)
        return false;
      else
        j->other[i] = next, j->next[i] = NONE;
    }
  return true;
}

static bool add_chain(joints *j, uint32_t first) {
  if (j->chains == MOST_STRIPS) return false;
  chain *c = &j->chain[j->chains];
  *c = (chain){.first = first};
  for (uint32_t i = first; i != NONE && j->chain_of[i] == NONE; i = j->next[i]) {
    j->chain_of[i] = j->chains;
    j->column[i] = c->length++;
    c->closed = j->next[i] == first;
  }
  j->chains++;
  return true;
}

static bool find_chains(joints *j) {
  const uint32_t count = j->value->count;
  bool ok = true;
  j->chains = 0;
  for (uint32_t i = 0; i < count; i++) j->chain_of[i] = NONE;
  for (unsigned pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; ok && i < count; i++)
      if (j->chain_of[i] == NONE && (pass || j->last[i] == NONE)) ok = add_chain(j, i);
  return ok;
}

static int wrapped(const chain *c, int column) {
  return c->closed ? (column % c->length + c->length) % c->length : column;
}

/* Rows that move on from a chain do so to one other, whose columns are shifted alike. */
static bool find_beside(joints *j) {
  for (uint32_t i = 0; i < j->value->count; i++) {
    const uint32_t other = j->other[i];
    if (other == NONE) continue;
    chain *c = &j->chain[j->chain_of[i]];
    const chain *to = &j->chain[j->chain_of[other]];
    const int shift = wrapped(to, j->column[i] + 1 - j->column[other]);
    if (c->closed != to->closed || (c->closed && c->length != to->length)) return false;
    if (c->known && (c->beside != j->chain_of[other] || c->shift != shift)) return false;
    c->known = true;
    c->beside = j->chain_of[other];
    c->shift = shift;
  }
  return true;
}

/* List strips that are beside each other until these are the first ones again, and as many more as
   rows move on to. */
static bool list_strips(joints *j, uint32_t first, unsigned moves, bool *placed) {
  const unsigned begin = j->strips;
  int column = 0, least = 0;
  for (uint32_t c = first;; c = j->chain[c].beside) {
    const bool home = !placed[c];
    if (j->strips == MOST_STRIPS) return false;
    if (!home && !moves--) break;
    placed[c] = true;
    j->strip[j->strips++] = (strip){c, column, home};
    least = column < least ? column : least;
    if (!j->chain[c].known) break;
    column = wrapped(&j->chain[c], column + j->chain[c].shift);
  }
  for (unsigned i = begin; i < j->strips; i++) j->strip[i].column -= least;
  return true;
}

static void lay_strip(joints *j, const strip *s, unsigned all) {
  const chain *c = &j->chain[s->chain];
  uint32_t *to = j->pool + j->used, id = c->first;
  for (unsigned i = 0; i < all; i++) to[i] = 0;
  for (int i = 0; i < c->length; i++, id = j->next[id]) {
    const int at = wrapped(c, i + s->column);
    if (s->home) j->place[id] = (uint32_t)j->used + (uint32_t)at;
    for (int k = at; k < (int)all; k += c->closed ? c->length : (int)all) to[k] = id;
  }
  j->used += all;
}

/* Lay out all chains for rows that move on so many times; 0: there is no room, else how far strips
   are apart. */
static unsigned lay_all(joints *j, unsigned moves) {
  bool placed[MOST_STRIPS] = {0}, follows[MOST_STRIPS] = {0};
  int most = 0;
  j->strips = 0;
  for (uint32_t c = 0; c < j->chains; c++)
    if (j->chain[c].known) follows[j->chain[c].beside] = true;
  for (unsigned pass = 0; pass < 2; pass++) /* those that none moves on to first */
    for (uint32_t c = 0; c < j->chains; c++)
      if (!placed[c] && (pass || !follows[c]) && !list_strips(j, c, moves, placed)) return 0;
  for (unsigned i = 0; i < j->strips; i++) {
    const chain *c = &j->chain[j->strip[i].chain];
    const int columns = c->length + (c->closed ? 0 : j->strip[i].column);
    most = columns > most ? columns : most;
  }
  const unsigned all = (unsigned)most + fan_of(j->of) - 1;
  if ((size_t)all * j->strips + 2 * QP_CODE_ROWS_SLACK + fan_of(j->of) > MOST) return 0;
  j->used = 0;
  for (unsigned i = 0; i < j->strips; i++) lay_strip(j, &j->strip[i], all);
  return all;
}

/* Find where the row of each group begins and moves on, if all move on as they should; 'at': where
   each is. */
static bool find_turns(const joints *j, qp_code_rows *out, uint32_t *at) {
  const uint32_t groups = groups_of(j->of);
  for (uint32_t p = 0; p < groups; p++) {
    at[p] = j->place[j->id[p]];
    out->near[p] = (uint16_t)at[p];
    out->turn[p] = 0;
  }
  for (unsigned code = 1; code < fan_of(j->of); code++)
    for (uint32_t p = 0; p < groups; p++) {
      const uint32_t is = j->id[(size_t)code * groups + p];
      if (!out->turn[p] && j->pool[at[p] + code] != is) out->turn[p] = (uint8_t)code;
      if (out->turn[p] && code >= out->turn[p] && (code - out->turn[p]) % out->period == 0)
        at[p] += out->apart;
      if (at[p] + code >= j->used || j->pool[at[p] + code] != is) return false;
    }
  return true;
}

/* Rows that move on for the first time behind a period did so behind their first value, which then
   is followed by no other one. Returns how many are; *ok: they can be. */
static unsigned set_apart(joints *j, qp_code_rows *out, bool *ok) {
  const uint32_t groups = groups_of(j->of);
  unsigned count = 0;
  for (uint32_t p = 0; p < groups; p++) {
    const uint32_t id = j->id[p];
    *ok = *ok && (out->turn[p] || fan_of(j->of) <= out->period);
    if (!out->turn[p]) out->turn[p] = (uint8_t)out->period;
    if (out->turn[p] <= out->period || j->next[id] == NONE) continue;
    *ok = *ok && j->other[id] == NONE;
    j->other[id] = j->next[id];
    j->next[id] = NONE;
    count++;
  }
  return count;
}

static bool fill_pool(const joints *j, qp_code_rows *out) {
  const qp_code_rows_of *of = j->of;
  const size_t size =
      (j->used + 2 * QP_CODE_ROWS_SLACK - 1) / QP_CODE_ROWS_SLACK * QP_CODE_ROWS_SLACK;
  out->pool = aligned_alloc(64, sizeof *out->pool * size * of->dim);
  if (!out->pool) return false;
  out->size = (unsigned)size;
  memset(out->pool, 0, sizeof *out->pool * size * of->dim);
  for (size_t i = 0; i < j->used; i++)
    for (unsigned e = 0; e < of->dim; e++) {
      const float *value = of->value + j->value->place[j->pool[i]] * of->dim;
      out->pool[e * size + i] = (int16_t)qp_metric_value(of->metric, value[e]);
    }
  return true;
}

static bool lay_rows(joints *j, qp_code_rows *out, uint32_t *at) {
  if (!find_last(j) || !find_chains(j) || !find_beside(j)) return false;
  out->apart = lay_all(j, fan_of(j->of) / out->period);
  return out->apart && find_turns(j, out, at);
}

/* True: there is memory; out->pool: there are such strips. */
static bool find_joints(joints *j, qp_code_rows *out, uint32_t *at) {
  for (unsigned period = MOST_PERIOD; period >= LEAST_PERIOD; period /= 2) {
    bool ok = true;
    out->period = period;
    if (!lay_rows(j, out, at)) continue;
    const unsigned count = set_apart(j, out, &ok);
    if (ok && count) ok = lay_rows(j, out, at) && !set_apart(j, out, &ok);
    if (ok) return fill_pool(j, out);
  }
  return true;
}

bool qp_code_joints_find(qp_code_rows *out, const qp_code_rows_of *of, const qp_numbering *value,
                         const uint32_t *id) {
  const size_t groups = groups_of(of);
  *out = (qp_code_rows){.span = QP_CODE_ROWS_CHUNK, .windows = fan_of(of) / QP_CODE_ROWS_CHUNK};
  if (out->windows < 2 || fan_of(of) > MOST_FAN || value->count > MOST) return true;
  joints *j = malloc(sizeof *j);
  uint32_t *at = malloc(sizeof *at * groups);
  if (j) *j = (joints){.of = of, .value = value, .id = id};
  out->near = malloc(sizeof *out->near * groups);
  out->turn = malloc(sizeof *out->turn * groups);
  bool ok = j && at && out->near && out->turn;
  if (ok && find_next(j)) ok = find_joints(j, out, at);
  if (!ok || !out->pool) {
    free(out->near);
    free(out->turn);
    *out = (qp_code_rows){0};
  }
  free(j);
  free(at);
  return ok;
}
