/* SPDX-License-Identifier: MIT */
/* Reads token ids from a text file. */
#include "gen/model/tokens.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/map.h"

void qp_tokens_free(qp_tokens *t) {
  free(t->id);
  free(t->end);
  *t = (qp_tokens){0};
}

/* What is being read: the text, and the ids that were found so far. */
typedef struct reading {
  const char *file, *text;
  size_t bytes, at, line, line_start;
  qp_tokens out;
  size_t tokens;
  qp_error *err;
} reading;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static qp_status wrong(const reading *r, const char *what) {
  return qp_fail(r->err, QP_E_ARG,
                 "%s: line %zu, column %zu: %s; a line should be ids below 2^32 "
                 "with blanks between",
                 r->file, r->line, r->at - r->line_start + 1, what);
}

static qp_status read_id(reading *r) {
  uint64_t id = 0;
  const size_t start = r->at;
  for (; r->at < r->bytes && is_digit(r->text[r->at]); r->at++) {
    id = 10 * id + (uint64_t)(r->text[r->at] - '0');
    if (id > UINT32_MAX) return r->at = start, wrong(r, "the id is too large");
  }
  r->out.id[r->tokens++] = (uint32_t)id;
  return QP_OK;
}

static qp_status read_line(reading *r) {
  const size_t before = r->tokens;
  qp_status status = QP_OK;
  r->line++;
  r->line_start = r->at;
  if (r->text[r->at] == '#')
    while (r->at < r->bytes && r->text[r->at] != '\n') r->at++;
  for (; r->at < r->bytes && r->text[r->at] != '\n' && !status;) {
    const char c = r->text[r->at];
    if (c == ' ' || c == '\t' || c == '\r')
      r->at++;
    else
      status = is_digit(c) ? read_id(r) : wrong(r, "this is no id");
  }
  r->at++; /* the end of the line */
  if (!status && r->tokens > before) r->out.end[r->out.sequences++] = r->tokens;
  return status;
}

qp_status qp_tokens_parse(const char *file, const char *text, size_t bytes, qp_tokens *out,
                          qp_error *err) {
  size_t lines = 1;
  for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
  reading r = {.file = file, .text = text, .bytes = bytes, .err = err};
  r.out.id = malloc((bytes / 2 + 1) * sizeof *r.out.id); /* an id and a blank take 2 bytes */
  r.out.end = malloc(lines * sizeof *r.out.end);
  qp_status status = QP_OK;
  if (!r.out.id || !r.out.end) status = qp_fail(err, QP_E_NOMEM, "%s: no memory for its ids", file);
  while (!status && r.at < bytes) status = read_line(&r);
  if (!status && !r.tokens)
    status = qp_fail(err, QP_E_ARG, "%s: there are no token ids in it", file);
  if (status) return qp_tokens_free(&r.out), status;
  *out = r.out;
  return QP_OK;
}

qp_status qp_tokens_read(const char *path, qp_tokens *out, qp_error *err) {
  qp_map map;
  qp_status status = qp_map_open(path, &map, err);
  if (status) return status;
  status = qp_tokens_parse(path, (const char *)map.data, map.bytes, out, err);
  qp_map_close(&map);
  return status;
}

void qp_tokens_limit(qp_tokens *t, size_t most) {
  for (size_t i = 0; i < t->sequences; i++) {
    if (t->end[i] < most) continue;
    t->end[i] = most;
    t->sequences = i + 1;
  }
}

qp_status qp_tokens_cut(const qp_tokens *t, size_t context, qp_tokens *out, qp_error *err) {
  size_t pieces = 0;
  for (size_t i = 0, begin = 0; i < t->sequences; begin = t->end[i++])
    pieces += (t->end[i] - begin + context - 1) / context;
  const size_t tokens = t->sequences ? t->end[t->sequences - 1] : 0;
  qp_tokens cut = {malloc(tokens * sizeof *cut.id + 1), malloc(pieces * sizeof *cut.end + 1), 0};
  if (!cut.id || !cut.end) {
    qp_tokens_free(&cut);
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu token ids", tokens);
  }
  if (tokens) memcpy(cut.id, t->id, tokens * sizeof *cut.id);
  for (size_t i = 0, begin = 0; i < t->sequences; begin = t->end[i++])
    for (size_t at = begin; at < t->end[i]; at += context)
      cut.end[cut.sequences++] = t->end[i] - at < context ? t->end[i] : at + context;
  *out = cut;
  return QP_OK;
}
