/* SPDX-License-Identifier: MIT */
/*
** Unigram: of all ways to write a piece with tokens the one of the greatest sum of scores.  A
** character that no token of one character covers may be unknown, at the least score minus 10.
*/
#include <stdlib.h>

#include "gen/model/tokenizer_parts.h"

enum { NONE = -1 };

/* The best way to write the text up to here. */
typedef struct node {
  double score;
  int64_t begin; /* Where its last token begins; NONE: no way was found yet. */
  uint32_t id;
} node;

typedef struct lattice {
  const qp_tokenizer *t;
  node *node; /* [bytes + 1] */
  size_t at, character;
  bool covered; /* some token is exactly the character at 'at' */
} lattice;

static void offer(lattice *l, size_t length, uint32_t id, double score) {
  node *to = &l->node[l->at + length];
  const double sum = score + l->node[l->at].score;
  if (to->begin == NONE || sum > to->score)
    *to = (node){.score = sum, .begin = (int64_t)l->at, .id = id};
}

static void visit(void *arg, size_t length, uint32_t id) {
  lattice *l = arg;
  if (length == l->character) l->covered = true;
  offer(l, length, id, l->t->unigram.score[id]);
}

static void fill(lattice *l, const char *s, size_t n) {
  for (size_t i = 0; i <= n; i++) l->node[i] = (node){.begin = NONE};
  for (l->at = 0; l->at < n; l->at += l->character) {
    l->character = qp_utf8_bytes(s + l->at);
    l->covered = false;
    qp_vocabulary_prefixes(l->t->vocabulary, s + l->at, n - l->at, visit, l);
    if (!l->covered) offer(l, l->character, (uint32_t)l->t->unknown, l->t->unigram.unknown_score);
  }
}

/* Unknown characters in a row are one token, or the tokens of their bytes. */
static void emit(const lattice *l, const char *s, const size_t *end, size_t count, qp_ids *out) {
  const uint32_t unknown = (uint32_t)l->t->unknown;
  for (size_t i = count; i-- > 0;) {
    const node *last = &l->node[end[i]];
    const size_t begin = (size_t)last->begin;
    if (last->id != unknown) {
      qp_ids_add(out, last->id);
      continue;
    }
    size_t stop = end[i];
    while (i > 0 && l->node[end[i - 1]].id == unknown) stop = end[--i];
    const int64_t whole = qp_vocabulary_find(l->t->vocabulary, s + begin, stop - begin);
    if (whole >= 0)
      qp_ids_add(out, (uint32_t)whole);
    else if (!l->t->unigram.byte_fallback ||
             !qp_append_byte_tokens(l->t, s + begin, stop - begin, out))
      qp_ids_add(out, unknown);
  }
}

qp_status qp_unigram_encode(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out,
                            qp_error *err) {
  lattice l = {.t = t, .node = malloc((n + 1) * sizeof *l.node)};
  size_t *end = malloc((n + 1) * sizeof *end), count = 0;
  if (l.node && end) {
    fill(&l, s, n);
    for (size_t at = n; at > 0; at = (size_t)l.node[at].begin) end[count++] = at;
    emit(&l, s, end, count, out);
  }
  const bool ok = l.node && end;
  free(l.node);
  free(end);
  return ok ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory to encode %zu bytes", n);
}
