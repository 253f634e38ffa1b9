/* SPDX-License-Identifier: MIT */
/*
** Byte-pair encoding.  A piece begins as its characters; of all neighbouring pairs that have a
** merge the one of the lowest rank (the leftmost of equals) becomes one symbol, until none has one.
** Symbols are a list with links to neighbours; candidates wait in a heap and are dropped when they
** come up if their symbols have changed meanwhile, so a piece of n characters takes n log n steps.
*/
#include <stdlib.h>
#include <string.h>

#include "gen/model/tokenizer_parts.h"

/* ---- Merges ---- */

qp_status qp_bpe_reserve(qp_bpe *b, size_t count, const char *file, qp_error *err) {
  b->places = 16;
  while (b->places < 2 * count) b->places *= 2;
  if (!(b->merge = malloc(b->places * sizeof *b->merge)))
    return qp_fail(err, QP_E_NOMEM, "%s: no memory for %zu merges", file, count);
  for (size_t i = 0; i < b->places; i++) b->merge[i].pair = UINT64_MAX;
  return QP_OK;
}

static size_t place_of(const qp_bpe *b, uint64_t pair) {
  uint64_t hash = pair * 0x9e3779b97f4a7c15u;
  size_t i = (size_t)(hash ^ hash >> 32) & (b->places - 1);
  while (b->merge[i].pair != UINT64_MAX && b->merge[i].pair != pair) i = (i + 1) & (b->places - 1);
  return i;
}

void qp_bpe_add(qp_bpe *b, uint32_t left, uint32_t right, uint32_t id) {
  const uint64_t pair = (uint64_t)left << 32 | right;
  b->merge[place_of(b, pair)] = (qp_merge){.pair = pair, .rank = (uint32_t)b->merges++, .id = id};
}

static const qp_merge *find_merge(const qp_bpe *b, uint32_t left, uint32_t right) {
  if (!b->places) return NULL;
  const uint64_t pair = (uint64_t)left << 32 | right;
  const qp_merge *m = &b->merge[place_of(b, pair)];
  return m->pair == pair ? m : NULL;
}

/* ---- A piece ---- */

enum { NONE = -1 };

typedef struct symbol {
  uint32_t id;
  int64_t before, after; /* NONE: there is none */
  bool gone;
} symbol;

typedef struct candidate {
  uint64_t order; /* rank << 32 | position */
  uint32_t id;    /* The id of the merged symbol. */
} candidate;

typedef struct word {
  const qp_bpe *bpe;
  symbol *symbol;
  candidate *heap;
  size_t symbols, waiting;
} word;

static void sift_up(candidate *heap, size_t i) {
  while (i && heap[i].order < heap[(i - 1) / 2].order) {
    const candidate c = heap[i];
    heap[i] = heap[(i - 1) / 2];
    heap[i = (i - 1) / 2] = c;
  }
}

static void sift_down(candidate *heap, size_t n) {
  for (size_t i = 0, least; 2 * i + 1 < n; i = least) {
    least = 2 * i + 1;
    if (least + 1 < n && heap[least + 1].order < heap[least].order) least++;
    if (heap[i].order <= heap[least].order) return;
    const candidate c = heap[i];
    heap[i] = heap[least];
    heap[least] = c;
  }
}

static candidate pop(word *w) {
  const candidate top = w->heap[0];
  w->heap[0] = w->heap[--w->waiting];
  sift_down(w->heap, w->waiting);
  return top;
}

/* The pair that begins with symbol 'left' waits if it has a merge. */
static void offer(word *w, int64_t left) {
  if (left == NONE || w->symbol[left].after == NONE) return;
  const qp_merge *m = find_merge(w->bpe, w->symbol[left].id, w->symbol[w->symbol[left].after].id);
  if (!m) return;
  w->heap[w->waiting] = (candidate){.order = (uint64_t)m->rank << 32 | (uint64_t)left, .id = m->id};
  sift_up(w->heap, w->waiting++);
}

/* A candidate is stale when its left symbol is gone or the pair has another merge by now. */
static bool is_current(const word *w, const candidate *c) {
  const symbol *left = &w->symbol[c->order & 0xffffffff];
  if (left->gone || left->after == NONE) return false;
  const qp_merge *m = find_merge(w->bpe, left->id, w->symbol[left->after].id);
  return m && m->id == c->id && m->rank == c->order >> 32;
}

static void join(word *w, const candidate *c) {
  const int64_t at = (int64_t)(c->order & 0xffffffff);
  symbol *left = &w->symbol[at], *right = &w->symbol[left->after];
  left->id = c->id;
  left->after = right->after;
  right->gone = true;
  if (left->after != NONE) w->symbol[left->after].before = at;
  offer(w, left->before);
  offer(w, at);
}

static void merge_all(word *w) {
  for (size_t i = 0; i + 1 < w->symbols; i++) offer(w, (int64_t)i);
  while (w->waiting) {
    const candidate c = pop(w);
    if (is_current(w, &c)) join(w, &c);
  }
}

/* ---- From characters to symbols ---- */

/* Find the id of the character s[n] at the piece's beginning, middle or end, or -1. */
static int64_t character_id(const qp_tokenizer *t, const char *s, size_t n, bool at_begin,
                            bool at_end) {
  const char *prefix = at_begin ? NULL : t->bpe.prefix, *suffix = at_end ? t->bpe.suffix : NULL;
  if (!prefix && !suffix) return qp_vocabulary_find(t->vocabulary, s, n);
  qp_text name = {0};
  qp_text_add(&name, "%s%.*s%s", prefix ? prefix : "", (int)n, s, suffix ? suffix : "");
  const int64_t id = name.failed ? -1 : qp_vocabulary_find(t->vocabulary, name.s, name.length);
  qp_text_free(&name);
  return id;
}

/* Symbols of s[n]; unknown characters in a row are one where the model fuses them. */
static void first_symbols(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out) {
  bool after_unknown = false;
  for (size_t i = 0; i < n;) {
    const size_t bytes = qp_utf8_bytes(s + i);
    const int64_t id = character_id(t, s + i, bytes, i == 0, i + bytes == n);
    const bool known =
        id >= 0 || (t->bpe.byte_fallback && qp_append_byte_tokens(t, s + i, bytes, out));
    if (id >= 0) qp_ids_add(out, (uint32_t)id);
    if (!known && t->unknown >= 0 && !(after_unknown && t->bpe.fuse_unknown))
      qp_ids_add(out, (uint32_t)t->unknown);
    after_unknown = !known;
    i += bytes;
  }
}

static qp_status encode_symbols(const qp_bpe *bpe, const qp_ids *first, qp_ids *out) {
  const size_t n = first->count;
  word w = {.bpe = bpe, .symbols = n};
  if (n >= UINT32_MAX) return QP_E_LIMIT;
  /* Each join makes one symbol less and offers at most two candidates. */
  w.symbol = malloc((n + 1) * sizeof *w.symbol);
  w.heap = malloc((3 * n + 1) * sizeof *w.heap);
  if (w.symbol && w.heap) {
    for (size_t i = 0; i < n; i++)
      w.symbol[i] = (symbol){
          .id = first->id[i], .before = (int64_t)i - 1, .after = i + 1 < n ? (int64_t)i + 1 : NONE};
    merge_all(&w);
    for (int64_t i = n ? 0 : NONE; i != NONE; i = w.symbol[i].after)
      qp_ids_add(out, w.symbol[i].id);
  } else {
    out->failed = true;
  }
  free(w.symbol);
  free(w.heap);
  return QP_OK;
}

qp_status qp_bpe_encode(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out) {
  if (t->bpe.ignore_merges) {
    const int64_t id = qp_vocabulary_find(t->vocabulary, s, n);
    if (id >= 0) return qp_ids_add(out, (uint32_t)id), QP_OK;
  }
  qp_ids first = {0};
  first_symbols(t, s, n, &first);
  qp_status status = QP_OK;
  if (first.failed)
    out->failed = true;
  else
    status = encode_symbols(&t->bpe, &first, out);
  free(first.id);
  return status;
}
