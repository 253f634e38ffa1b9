/* SPDX-License-Identifier: MIT */
/* Opens a model's own tokenizer and takes a text through its steps (tokenizer_parts.h). */
#include "gen/model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/json.h"
#include "gen/model/tokenizer_parts.h"
#include "runtime/map.h"

/* ---- Making one ---- */

qp_tokenizer *qp_tokenizer_new(const char *file) {
  qp_tokenizer *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->unknown = -1;
  t->file = strdup(file);
  t->vocabulary = qp_vocabulary_new();
  t->plain_added = qp_vocabulary_new();
  t->normalized_added = qp_vocabulary_new();
  if (t->file && t->vocabulary && t->plain_added && t->normalized_added) return t;
  qp_tokenizer_close(t);
  return NULL;
}

void qp_tokenizer_close(qp_tokenizer *t) {
  if (!t) return;
  for (unsigned i = 0; i < t->normalizers; i++) qp_normalizer_free(&t->normalizer[i]);
  for (unsigned i = 0; i < t->splitters; i++) qp_splitter_free(&t->splitter[i]);
  for (size_t i = 0; i < t->added; i++) free(t->added_token[i].content);
  free(t->added_token);
  qp_vocabulary_free(t->vocabulary);
  qp_vocabulary_free(t->plain_added);
  qp_vocabulary_free(t->normalized_added);
  free(t->bpe.merge);
  free(t->bpe.prefix);
  free(t->bpe.suffix);
  free(t->unigram.score);
  free(t->byte_id);
  free(t->file);
  free(t);
}

static qp_status no_memory(const qp_tokenizer *t, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory for a tokenizer", t->file);
}

qp_status qp_tokenizer_add_token(qp_tokenizer *t, const qp_added_token *token, qp_error *err) {
  qp_added_token copy = *token;
  if (!*token->content) return QP_OK;
  qp_added_token *more = realloc(t->added_token, (t->added + 1) * sizeof *more);
  if (!more) return no_memory(t, err);
  t->added_token = more;
  if (!(copy.content = strdup(token->content))) return no_memory(t, err);
  t->added_token[t->added++] = copy;
  return QP_OK;
}

/* s[n] through all normalizers. */
static qp_status normalize(const qp_tokenizer *t, const char *s, size_t n, qp_text *out,
                           qp_error *err) {
  qp_text now = {0};
  qp_text_append(&now, s, n);
  qp_status status = now.failed ? no_memory(t, err) : QP_OK;
  for (unsigned i = 0; i < t->normalizers && !status; i++) {
    qp_text next = {0};
    status = qp_normalize(&t->normalizer[i], now.s, now.length, &next, err);
    qp_text_free(&now);
    now = next;
  }
  if (status) return qp_text_free(&now), qp_fail_prefix(err, status, "%s", t->file);
  *out = now;
  return QP_OK;
}

static qp_status index_added_token(qp_tokenizer *t, size_t i, qp_error *err) {
  const qp_added_token *token = &t->added_token[i];
  if (!token->normalized)
    return qp_vocabulary_add(t->plain_added, token->content, strlen(token->content), (uint32_t)i,
                             err);
  qp_text text;
  qp_status status = normalize(t, token->content, strlen(token->content), &text, err);
  if (status) return status;
  if (text.length)
    status = qp_vocabulary_add(t->normalized_added, text.s, text.length, (uint32_t)i, err);
  qp_text_free(&text);
  return status;
}

/* byte_id, where the vocabulary has a token for each byte. */
static qp_status index_bytes(qp_tokenizer *t, qp_error *err) {
  uint32_t id[256];
  for (unsigned byte = 0; byte < 256; byte++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    const int64_t found = qp_vocabulary_find(t->vocabulary, name, strlen(name));
    if (found < 0) return QP_OK;
    id[byte] = (uint32_t)found;
  }
  if (!(t->byte_id = malloc(sizeof id))) return no_memory(t, err);
  memcpy(t->byte_id, id, sizeof id);
  return QP_OK;
}

static void count_ids(qp_tokenizer *t) {
  for (size_t i = 0; i < qp_vocabulary_count(t->vocabulary); i++) {
    size_t n;
    uint32_t id;
    qp_vocabulary_string(t->vocabulary, i, &n, &id);
    if (id >= t->size) t->size = id + 1;
  }
  for (size_t i = 0; i < t->added; i++)
    if (t->added_token[i].id >= t->size) t->size = t->added_token[i].id + 1;
  for (unsigned i = 0; i < t->before; i++)
    if (t->before_id[i] >= t->size) t->size = t->before_id[i] + 1;
  for (unsigned i = 0; i < t->after; i++)
    if (t->after_id[i] >= t->size) t->size = t->after_id[i] + 1;
}

qp_status qp_tokenizer_finish(qp_tokenizer *t, qp_error *err) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < t->added && !status; i++) status = index_added_token(t, i, err);
  if (!status) status = qp_vocabulary_sort(t->plain_added, err);
  if (!status) status = qp_vocabulary_sort(t->normalized_added, err);
  if (!status && t->model == QP_TOKENIZER_UNIGRAM) status = qp_vocabulary_sort(t->vocabulary, err);
  if (!status) status = index_bytes(t, err);
  count_ids(t);
  return status;
}

/* ---- Opening ---- */

static qp_status finish(qp_tokenizer *t, qp_status status, qp_tokenizer **out, qp_error *err) {
  if (!status) status = qp_tokenizer_finish(t, err);
  if (status) return qp_tokenizer_close(t), status;
  *out = t;
  return QP_OK;
}

qp_status qp_tokenizer_parse(const char *file, const char *text, size_t bytes, qp_tokenizer **out,
                             qp_error *err) {
  cJSON *tree;
  const size_t valid = qp_utf8_check(text, bytes); /* its strings go into texts */
  if (valid != bytes)
    return qp_fail(err, QP_E_ARG, "%s: it is no UTF-8 at byte %zu (0x%02x)", file, valid,
                   (unsigned char)text[valid]);
  qp_status status = qp_json_parse(file, text, bytes, &tree, err);
  if (status) return status;
  qp_tokenizer *t = qp_tokenizer_new(file);
  status =
      t ? qp_tokenizer_read_json(t, tree, err) : qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  cJSON_Delete(tree);
  return finish(t, status, out, err);
}

static qp_status from_json(const char *path, qp_tokenizer **out, qp_error *err) {
  qp_map map;
  qp_status status = qp_map_open(path, &map, err);
  if (status) return status;
  status = qp_tokenizer_parse(path, (const char *)map.data, map.bytes, out, err);
  qp_map_close(&map);
  return status;
}

static qp_status from_gguf(const char *path, qp_tokenizer **out, qp_error *err) {
  qp_gguf *g;
  qp_status status = qp_gguf_open(path, &g, err);
  if (status) return status;
  qp_tokenizer *t = qp_tokenizer_new(path);
  status = t ? qp_tokenizer_read_gguf(t, g, err)
             : qp_fail(err, QP_E_NOMEM, "%s: no memory for a tokenizer", path);
  qp_gguf_close(g);
  return finish(t, status, out, err);
}

static bool ends_with(const char *s, const char *end) {
  const size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* tokenizer.json of a model's path; false: too long. */
static bool json_of(const char *path, char *out, size_t size) {
  struct stat info;
  const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  const char *slash = strrchr(path, '/');
  const size_t length = folder ? strlen(path) : slash ? (size_t)(slash - path) : 0;
  const int n = length ? snprintf(out, size, "%.*s/tokenizer.json", (int)length, path)
                       : snprintf(out, size, "%stokenizer.json", slash || folder ? "/" : "");
  return n >= 0 && (size_t)n < size;
}

qp_status qp_tokenizer_open(const char *path, qp_tokenizer **out, qp_error *err) {
  char file[4096];
  struct stat info;
  if (ends_with(path, ".gguf")) return from_gguf(path, out, err);
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  const bool json = ends_with(name, ".json") && strcmp(name, "config.json") != 0 &&
                    !ends_with(name, "index.json");
  if (json) {
    snprintf(file, sizeof file, "%s", path);
  } else if (!json_of(path, file, sizeof file)) {
    return qp_fail(err, QP_E_LIMIT, "%s: too long a path", path);
  }
  if (stat(file, &info) != 0)
    return qp_fail(err, QP_E_IO,
                   "%s: there is no such file: text needs the model's tokenizer.json "
                   "(token ids need none)",
                   file);
  return from_json(file, out, err);
}

/* ---- Encoding ---- */

bool qp_append_byte_tokens(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out) {
  if (!t->byte_id) return false;
  for (size_t i = 0; i < n; i++) qp_ids_add(out, t->byte_id[(unsigned char)s[i]]);
  return true;
}

static qp_status encode_pieces(const qp_tokenizer *t, const qp_pieces *p, qp_ids *out,
                               qp_error *err) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < p->count && !status; i++) {
    const char *s = p->text.s + p->piece[i].begin;
    const size_t n = p->piece[i].length;
    if (!n) continue;
    if (t->model == QP_TOKENIZER_UNIGRAM)
      status = qp_unigram_encode(t, s, n, out, err);
    else if ((status = qp_bpe_encode(t, s, n, out)))
      status = qp_fail(err, status, "%s: a piece of %zu bytes is too long", t->file, n);
  }
  return status;
}

/* Encode text without added tokens: cut it, and encode the pieces. */
static qp_status encode_text(const qp_tokenizer *t, const char *s, size_t n, bool first,
                             qp_ids *out, qp_error *err) {
  qp_pieces now = {0};
  if (!n) return QP_OK;
  qp_pieces_begin(&now, first);
  if (!now.failed) qp_pieces_append(&now, s, n);
  qp_status status = now.failed ? no_memory(t, err) : QP_OK;
  for (unsigned i = 0; i < t->splitters && !status; i++) {
    qp_pieces next = {0};
    status = qp_split(&t->splitter[i], &now, &next, err);
    qp_pieces_free(&now);
    now = next;
  }
  if (!status) status = encode_pieces(t, &now, out, err);
  qp_pieces_free(&now);
  return status;
}

typedef qp_status encode_part(const qp_tokenizer *t, const char *s, size_t n, bool first,
                              qp_ids *out, qp_error *err);

/* Give the ids of the added tokens in a text; what is between them goes to 'part'. */
static qp_status around_added(const qp_tokenizer *t, const qp_vocabulary *added, const char *s,
                              size_t n, bool first, encode_part *part, qp_ids *out, qp_error *err) {
  qp_status status = QP_OK;
  size_t at = 0;
  qp_added_place place;
  while (!status && at < n && qp_added_find(t, added, s, n, at, &place)) {
    if (place.begin > at) status = part(t, s + at, place.begin - at, first && !at, out, err);
    qp_ids_add(out, place.id);
    at = place.end;
  }
  return status || at == n ? status : part(t, s + at, n - at, first && !at, out, err);
}

static qp_status encode_plain(const qp_tokenizer *t, const char *s, size_t n, bool first,
                              qp_ids *out, qp_error *err) {
  qp_text text;
  qp_status status = normalize(t, s, n, &text, err);
  if (status) return status;
  status = around_added(t, t->normalized_added, text.s, text.length, first, encode_text, out, err);
  qp_text_free(&text);
  return status;
}

qp_status qp_tokenizer_encode(const qp_tokenizer *t, const char *text, size_t bytes, bool special,
                              uint32_t **out, size_t *count, qp_error *err) {
  const size_t valid = qp_utf8_check(text, bytes);
  if (valid != bytes)
    return qp_fail(err, QP_E_ARG, "the text is no UTF-8 at byte %zu (0x%02x)", valid,
                   (unsigned char)text[valid]);
  qp_ids ids = {.id = malloc(64 * sizeof(uint32_t)), .capacity = 64};
  if (!ids.id) return no_memory(t, err);
  for (unsigned i = 0; special && i < t->before; i++) qp_ids_add(&ids, t->before_id[i]);
  qp_status status = around_added(t, t->plain_added, text, bytes, true, encode_plain, &ids, err);
  for (unsigned i = 0; special && i < t->after; i++) qp_ids_add(&ids, t->after_id[i]);
  if (!status && ids.failed) status = no_memory(t, err);
  if (status) return free(ids.id), status;
  *out = ids.id;
  *count = ids.count;
  return QP_OK;
}

/* ---- Looking ---- */

uint32_t qp_tokenizer_size(const qp_tokenizer *t) { return t->size; }

const char *qp_tokenizer_token(const qp_tokenizer *t, uint32_t id) {
  for (size_t i = 0; i < t->added; i++)
    if (t->added_token[i].id == id) return t->added_token[i].content;
  for (size_t i = 0; i < qp_vocabulary_count(t->vocabulary); i++) {
    size_t n;
    uint32_t value;
    const char *s = qp_vocabulary_string(t->vocabulary, i, &n, &value);
    if (value == id) return s;
  }
  return NULL;
}

int64_t qp_tokenizer_id(const qp_tokenizer *t, const char *token) {
  for (size_t i = 0; i < t->added; i++)
    if (!strcmp(t->added_token[i].content, token)) return t->added_token[i].id;
  return qp_vocabulary_find(t->vocabulary, token, strlen(token));
}

void qp_tokenizer_prefix(const qp_tokenizer *t, const uint32_t **ids, size_t *count) {
  *ids = t->before_id;
  *count = t->before;
}
