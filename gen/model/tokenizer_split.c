/* SPDX-License-Identifier: MIT */
/* Pre-tokenizers: pieces of a text cut into smaller ones. */
#include <stdlib.h>
#include <string.h>

#include "gen/model/tokenizer_parts.h"

void qp_splitter_free(qp_splitter *step) {
  qp_pattern_free(step->pattern);
  free(step->mark);
  *step = (qp_splitter){0};
}

/* ---- What becomes of matches ---- */

/* Parts of a piece in order, matches and what is between them. */
typedef struct part {
  size_t begin, end;
  bool match;
} part;

/* Cut s[n] into parts, of which there are at most 2 count + 1. */
static size_t parts_of(const qp_span *span, size_t count, size_t n, bool invert, part *out) {
  size_t parts = 0, at = 0;
  for (size_t i = 0; i < count; i++) {
    if (at < span[i].begin) out[parts++] = (part){at, span[i].begin, invert};
    out[parts++] = (part){span[i].begin, span[i].end, !invert};
    at = span[i].end;
  }
  if (at < n) out[parts++] = (part){at, n, invert};
  return parts;
}

/*
** Does part i continue the piece of the part before it?  With the previous, a match does after what
** is no match.  With the next, a part does after a match that was not itself taken by one behind
** it; so the last of several matches in a row goes to what follows.
*/
static bool continues(const part *p, size_t i, qp_split_behavior behavior) {
  if (!i) return false;
  switch (behavior) {
  case QP_SPLIT_MERGED_WITH_PREVIOUS: return p[i].match && !p[i - 1].match;
  case QP_SPLIT_MERGED_WITH_NEXT: return p[i - 1].match && !p[i].match;
  case QP_SPLIT_CONTIGUOUS: return p[i].match == p[i - 1].match;
  default: return false;
  }
}

static qp_status cut(const qp_splitter *step, const char *s, size_t n, bool first, qp_pieces *out,
                     qp_error *err) {
  qp_span *span;
  size_t count;
  qp_status status = qp_pattern_find(step->pattern, s, n, &span, &count, err);
  if (status) return status;
  part *p = malloc((2 * count + 1) * sizeof *p);
  if (!p) return free(span), qp_fail(err, QP_E_NOMEM, "no memory to cut a text");
  const size_t parts = parts_of(span, count, n, step->invert, p);
  for (size_t i = 0; i < parts; i++) {
    if (step->behavior == QP_SPLIT_REMOVED && p[i].match) continue;
    if (!continues(p, i, step->behavior)) qp_pieces_begin(out, first && !p[i].begin);
    qp_pieces_append(out, s + p[i].begin, p[i].end - p[i].begin);
  }
  free(p);
  free(span);
  return QP_OK;
}

/* ---- Steps ---- */

static void with_space(const char *s, size_t n, bool first, qp_pieces *out) {
  qp_pieces_begin(out, first);
  if (n && *s != ' ') qp_pieces_append(out, " ", 1);
  qp_pieces_append(out, s, n);
}

static qp_status as_bytes(const char *s, size_t n, bool first, qp_pieces *out, qp_error *err) {
  qp_text text = {0};
  qp_append_bytes_as_characters(&text, s, n);
  if (text.failed) return qp_text_free(&text), qp_fail(err, QP_E_NOMEM, "no memory to cut a text");
  qp_pieces_begin(out, first);
  qp_pieces_append(out, text.length ? text.s : "", text.length);
  qp_text_free(&text);
  return QP_OK;
}

static bool begins_with(const char *s, size_t n, const char *mark) {
  return n >= strlen(mark) && !memcmp(s, mark, strlen(mark));
}

static qp_status metaspace(const qp_splitter *step, const char *s, size_t n, bool first,
                           qp_pieces *out, qp_error *err) {
  qp_text text = {0};
  const size_t mark = strlen(step->mark);
  const bool prepend =
      step->scheme == QP_PREPEND_ALWAYS || (step->scheme == QP_PREPEND_FIRST && first);
  if (prepend && n && *s != ' ' && !begins_with(s, n, step->mark))
    qp_text_append(&text, step->mark, mark);
  for (size_t i = 0; i < n; i++)
    if (s[i] == ' ')
      qp_text_append(&text, step->mark, mark);
    else
      qp_text_append(&text, s + i, 1);
  qp_status status = QP_OK;
  if (text.failed) {
    status = qp_fail(err, QP_E_NOMEM, "no memory to cut a text");
  } else if (step->pattern) {
    status = cut(step, text.length ? text.s : "", text.length, first, out, err);
  } else {
    qp_pieces_begin(out, first);
    qp_pieces_append(out, text.length ? text.s : "", text.length);
  }
  qp_text_free(&text);
  return status;
}

static qp_status split_piece(const qp_splitter *step, const char *s, size_t n, bool first,
                             qp_pieces *out, qp_error *err) {
  switch (step->kind) {
  case QP_SPLITTER_SPACE: return with_space(s, n, first, out), QP_OK;
  case QP_SPLITTER_PATTERN: return cut(step, s, n, first, out, err);
  case QP_SPLITTER_BYTES: return as_bytes(s, n, first, out, err);
  case QP_SPLITTER_METASPACE: return metaspace(step, s, n, first, out, err);
  }
  return QP_OK;
}

qp_status qp_split(const qp_splitter *step, const qp_pieces *in, qp_pieces *out, qp_error *err) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < in->count && !status; i++) {
    const qp_piece *p = &in->piece[i];
    if (p->length) status = split_piece(step, in->text.s + p->begin, p->length, p->first, out, err);
  }
  return !status && out->failed ? qp_fail(err, QP_E_NOMEM, "no memory to cut a text") : status;
}
