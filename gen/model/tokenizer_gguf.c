/* SPDX-License-Identifier: MIT */
/*
** The tokenizer in a GGUF's metadata (tokenizer.ggml.*), read into the steps of a tokenizer.
**   gpt2    BPE on bytes: tokens, merges; the pre-tokenizer is only named (lua/tokenizers.json)
**   llama   BPE as SentencePiece makes it: tokens and scores, from which merges follow
**   t5      SentencePiece's unigram: tokens, scores and a map of characters
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/model/tokenizer_parts.h"
#include "runtime/list.h"

#define KEY(name) "tokenizer.ggml." name

/* tokenizer.ggml.token_type */
enum token_type { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
enum { MAX_TOKENS = 1 << 24 };

typedef struct reader {
  qp_tokenizer *t;
  const qp_gguf *g;
  qp_error *err;
  qp_status status;
  uint64_t tokens;
  double *score;       /* [tokens]; NULL: none */
  unsigned char *type; /* [tokens]; NULL: none */
} reader;

static qp_status no_memory(const reader *r) {
  return qp_fail(r->err, QP_E_NOMEM, "%s: no memory for a tokenizer", r->t->file);
}

/* ---- Tokens ---- */

static void add_token(void *arg, uint64_t i, const char *s, size_t bytes) {
  reader *r = arg;
  if (r->status) return;
  if (qp_utf8_check(s, bytes) != bytes) {
    r->status = qp_fail(r->err, QP_E_ARG, "%s: " KEY("tokens") "[%llu] is no UTF-8", r->t->file,
                        (unsigned long long)i);
    return;
  }
  r->status = qp_vocabulary_add(r->t->vocabulary, s, bytes, (uint32_t)i, r->err);
}

static void keep_score(void *arg, uint64_t i, double value) {
  ((reader *)arg)->score[i] = isfinite(value) ? value : 0;
}

static void keep_type(void *arg, uint64_t i, double value) {
  ((reader *)arg)->type[i] = value >= 1 && value <= BYTE ? (unsigned char)value : NORMAL;
}

/* A list beside the tokens, as long as they are, if the file has it. */
static qp_status beside(const reader *r, const char *key, bool *there) {
  uint64_t n;
  *there = qp_gguf_length(r->g, key, &n);
  if (*there && n != r->tokens)
    return qp_fail(r->err, QP_E_ARG, "%s: key '%s' has %llu items for %llu tokens", r->t->file, key,
                   (unsigned long long)n, (unsigned long long)r->tokens);
  return QP_OK;
}

static qp_status read_tokens(reader *r) {
  if (!qp_gguf_length(r->g, KEY("tokens"), &r->tokens) || !r->tokens)
    return qp_fail(r->err, QP_E_ARG,
                   "%s: key '" KEY("tokens") "' is missing: the file holds no "
                                             "tokenizer",
                   r->t->file);
  if (r->tokens > MAX_TOKENS)
    return qp_fail(r->err, QP_E_LIMIT, "%s: %llu tokens are more than %d", r->t->file,
                   (unsigned long long)r->tokens, MAX_TOKENS);
  if (!qp_gguf_each_string(r->g, KEY("tokens"), add_token, r))
    return qp_fail(r->err, QP_E_ARG, "%s: key '" KEY("tokens") "' holds no strings", r->t->file);
  bool scores = false, types = false;
  qp_status status = r->status;
  if (!status) status = beside(r, KEY("scores"), &scores);
  if (!status) status = beside(r, KEY("token_type"), &types);
  if (status) return status;
  r->score = scores ? calloc((size_t)r->tokens, sizeof *r->score) : NULL;
  r->type = types ? calloc((size_t)r->tokens, sizeof *r->type) : NULL;
  if ((scores && !r->score) || (types && !r->type)) return no_memory(r);
  if (scores) qp_gguf_each_number(r->g, KEY("scores"), keep_score, r);
  if (types) qp_gguf_each_number(r->g, KEY("token_type"), keep_type, r);
  return QP_OK;
}

static enum token_type type_of(const reader *r, uint64_t id) {
  return r->type ? (enum token_type)r->type[id] : NORMAL;
}

static void add_added(void *arg, uint64_t i, const char *s, size_t bytes) {
  reader *r = arg;
  const enum token_type type = type_of(r, i);
  if (r->status || (type != CONTROL && type != USER_DEFINED && type != UNKNOWN)) return;
  char *name = strndup(s, bytes);
  if (!name) {
    r->status = no_memory(r);
    return;
  }
  const qp_added_token token = {.content = name, .id = (uint32_t)i};
  r->status = qp_tokenizer_add_token(r->t, &token, r->err);
  free(name);
}

/* An id that the metadata names; -1: none. */
static qp_status read_id(const reader *r, const char *key, int64_t *out) {
  uint64_t id;
  *out = -1;
  if (!qp_gguf_unsigned(r->g, key, &id) || id == UINT32_MAX) return QP_OK;
  if (id >= r->tokens)
    return qp_fail(r->err, QP_E_ARG, "%s: key '%s' is %llu: there are %llu tokens", r->t->file, key,
                   (unsigned long long)id, (unsigned long long)r->tokens);
  *out = (int64_t)id;
  return QP_OK;
}

static bool flag(const reader *r, const char *key, bool otherwise) {
  uint64_t v;
  return qp_gguf_unsigned(r->g, key, &v) ? v != 0 : otherwise;
}

static qp_status read_around(reader *r, bool begin_by_default) {
  int64_t begin, end;
  qp_status status = read_id(r, KEY("bos_token_id"), &begin);
  if (!status) status = read_id(r, KEY("eos_token_id"), &end);
  if (status) return status;
  if (begin >= 0 && flag(r, KEY("add_bos_token"), begin_by_default))
    r->t->before_id[r->t->before++] = (uint32_t)begin;
  if (end >= 0 && flag(r, KEY("add_eos_token"), false))
    r->t->after_id[r->t->after++] = (uint32_t)end;
  return QP_OK;
}

/* ---- Steps, written as tokenizer.json writes them ---- */

static qp_status read_steps(reader *r, const char *normalizer, const char *splitter) {
  cJSON *tree = NULL;
  qp_status status = QP_OK;
  if (normalizer) status = qp_json_parse(r->t->file, normalizer, strlen(normalizer), &tree, r->err);
  if (!status && normalizer) status = qp_tokenizer_read_normalizer(r->t, tree, r->err);
  cJSON_Delete(tree);
  tree = NULL;
  if (!status && splitter)
    status = qp_json_parse(r->t->file, splitter, strlen(splitter), &tree, r->err);
  if (!status && splitter) status = qp_tokenizer_read_splitter(r->t, tree, r->err);
  cJSON_Delete(tree);
  return status;
}

/* ---- gpt2 ---- */

static void add_merge(void *arg, uint64_t i, const char *s, size_t bytes) {
  reader *r = arg;
  const qp_vocabulary *v = r->t->vocabulary;
  const char *space = bytes ? memchr(s + 1, ' ', bytes - 1) : NULL; /* tokens are never empty */
  if (r->status) return;
  if (!space) {
    r->status = qp_fail(r->err, QP_E_ARG,
                        "%s: " KEY("merges") "[%llu]: two tokens with a space "
                                             "between them are needed",
                        r->t->file, (unsigned long long)i);
    return;
  }
  const size_t n = (size_t)(space - s), m = bytes - n - 1;
  qp_text both = {0};
  qp_text_append(&both, s, n);
  qp_text_append(&both, space + 1, m);
  const int64_t left = qp_vocabulary_find(v, s, n), right = qp_vocabulary_find(v, space + 1, m);
  const int64_t id = both.failed ? -1 : qp_vocabulary_find(v, both.s, both.length);
  qp_text_free(&both);
  if (left < 0 || right < 0 || id < 0)
    r->status = qp_fail(r->err, QP_E_ARG,
                        "%s: " KEY("merges") "[%llu]: '%.*s' is not of tokens of "
                                             "the vocabulary",
                        r->t->file, (unsigned long long)i, (int)(bytes < 80 ? bytes : 80), s);
  else
    qp_bpe_add(&r->t->bpe, (uint32_t)left, (uint32_t)right, (uint32_t)id);
}

/* Find the entry of lua/tokenizers.json for tokenizer.ggml.pre; a string there names another
   entry. */
static qp_status find_pre(reader *r, const cJSON *table, const cJSON **out) {
  char name[64] = "default";
  qp_gguf_text(r->g, KEY("pre"), name, sizeof name);
  const cJSON *entry = cJSON_GetObjectItemCaseSensitive(table, name);
  if (cJSON_IsString(entry)) entry = cJSON_GetObjectItemCaseSensitive(table, entry->valuestring);
  if (!cJSON_IsObject(entry))
    return qp_fail(r->err, QP_E_ARG,
                   "%s: key '" KEY("pre") "' is '%s', which lua/tokenizers.json does not know: use "
                                          "the model's tokenizer.json, or add an entry",
                   r->t->file, name);
  *out = entry;
  return QP_OK;
}

static qp_status apply_pre(reader *r, const cJSON *entry) {
  qp_tokenizer *t = r->t;
  t->bpe.ignore_merges = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "ignore_merges"));
  qp_status status = qp_tokenizer_read_normalizer(
      t, cJSON_GetObjectItemCaseSensitive(entry, "normalizer"), r->err);
  if (!status)
    status = qp_tokenizer_read_splitter(t, cJSON_GetObjectItemCaseSensitive(entry, "pre_tokenizer"),
                                        r->err);
  return status ? status
                : read_around(r, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "bos")));
}

static qp_status read_gpt2(reader *r) {
  static const char resource[] = "lua/tokenizers.json";
  const char *text;
  size_t bytes;
  uint64_t merges;
  cJSON *table = NULL;
  const cJSON *entry = NULL;
  if (!qp_gguf_length(r->g, KEY("merges"), &merges))
    return qp_fail(r->err, QP_E_ARG, "%s: key '" KEY("merges") "' is missing", r->t->file);
  qp_status status = qp_bpe_reserve(&r->t->bpe, (size_t)merges, r->t->file, r->err);
  if (!status && !qp_gguf_each_string(r->g, KEY("merges"), add_merge, r))
    status = qp_fail(r->err, QP_E_ARG, "%s: key '" KEY("merges") "' holds no strings", r->t->file);
  if (!status) status = r->status;
  if (!status) status = qp_resource_read(resource, &text, &bytes, r->err);
  if (!status) status = qp_json_parse(resource, text, bytes, &table, r->err);
  if (!status) status = find_pre(r, table, &entry);
  if (!status) status = apply_pre(r, entry);
  cJSON_Delete(table);
  return status;
}

/* ---- llama: merges from scores ---- */

/* A token seen as two others.  They rank by the token's score, the greatest first; of one token
   those of the longer left half, as Hugging Face's converter orders them. */
typedef struct split {
  double score;
  uint32_t left, right, id, left_characters, order;
} split;

typedef struct splits {
  split *split;
  size_t count, capacity;
  bool failed;
} splits;

static int compare_splits(const void *a, const void *b) {
  const split *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->left_characters != y->left_characters)
    return x->left_characters > y->left_characters ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

static void add_split(splits *list, split s) {
  split *more = qp_list_room(list->split, list->count, &list->capacity, sizeof *more);
  if (!more) {
    list->failed = true;
    return;
  }
  list->split = more;
  s.order = (uint32_t)list->count;
  list->split[list->count++] = s;
}

static void split_token(const reader *r, const char *s, size_t n, uint32_t id, splits *out) {
  const qp_vocabulary *v = r->t->vocabulary;
  uint32_t characters = 1;
  for (size_t at = qp_utf8_bytes(s); at < n && !out->failed; at += qp_utf8_bytes(s + at)) {
    const int64_t left = qp_vocabulary_find(v, s, at),
                  right = qp_vocabulary_find(v, s + at, n - at);
    if (left >= 0 && right >= 0)
      add_split(out, (split){.score = r->score[id],
                             .left = (uint32_t)left,
                             .right = (uint32_t)right,
                             .id = id,
                             .left_characters = characters});
    characters++;
  }
}

static qp_status merges_from_scores(reader *r) {
  splits list = {0};
  for (size_t i = 0; i < qp_vocabulary_count(r->t->vocabulary) && !list.failed; i++) {
    size_t n;
    uint32_t id;
    const char *s = qp_vocabulary_string(r->t->vocabulary, i, &n, &id);
    const enum token_type type = type_of(r, id);
    if (n && type != CONTROL && type != UNKNOWN && type != BYTE) split_token(r, s, n, id, &list);
  }
  qp_status status =
      list.failed ? no_memory(r) : qp_bpe_reserve(&r->t->bpe, list.count, r->t->file, r->err);
  if (!status && list.count) qsort(list.split, list.count, sizeof *list.split, compare_splits);
  for (size_t i = 0; i < list.count && !status; i++)
    qp_bpe_add(&r->t->bpe, list.split[i].left, list.split[i].right, list.split[i].id);
  free(list.split);
  return status;
}

static const char spaces_to_marks[] =
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}";
static const char prefix_and_marks[] =
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]}";

static qp_status read_llama(reader *r) {
  if (!r->score)
    return qp_fail(r->err, QP_E_ARG, "%s: key '" KEY("scores") "' is missing", r->t->file);
  r->t->bpe.byte_fallback = r->t->bpe.fuse_unknown = true;
  const bool prefix = flag(r, KEY("add_space_prefix"), true);
  qp_status status = read_id(r, KEY("unknown_token_id"), &r->t->unknown);
  if (!status) status = merges_from_scores(r);
  if (!status) status = read_steps(r, prefix ? prefix_and_marks : spaces_to_marks, NULL);
  return status ? status : read_around(r, true);
}

/* ---- t5: unigram ---- */

static void keep_byte(void *arg, uint64_t i, double value) {
  ((qp_normalizer *)arg)->charsmap[i] = (unsigned char)(int)value;
}

static qp_status read_charsmap(reader *r) {
  uint64_t n;
  if (!qp_gguf_length(r->g, KEY("precompiled_charsmap"), &n) || !n) return QP_OK;
  qp_normalizer *step = &r->t->normalizer[r->t->normalizers++];
  step->kind = QP_NORMALIZE_PRECOMPILED;
  if (!(step->charsmap = calloc((size_t)n, 1))) return no_memory(r);
  step->charsmap_bytes = (size_t)n;
  qp_gguf_each_number(r->g, KEY("precompiled_charsmap"), keep_byte, step);
  char where[4200];
  snprintf(where, sizeof where, "%s: key '" KEY("precompiled_charsmap") "'", r->t->file);
  return qp_charsmap_check(step->charsmap, step->charsmap_bytes, where, r->err);
}

/* A token of another type than these is never chosen for a text. */
static bool is_usable(const reader *r, uint64_t id) {
  const enum token_type type = type_of(r, id);
  return type == NORMAL || type == USER_DEFINED || type == UNUSED;
}

static void take_scores(reader *r) {
  double least = INFINITY;
  for (uint64_t i = 0; i < r->tokens; i++)
    if (is_usable(r, i) && r->score[i] < least) least = r->score[i];
  r->t->unigram.unknown_score = (isfinite(least) ? least : 0) - 10;
  r->t->unigram.score = r->score;
  r->score = NULL;
}

static qp_status read_t5(reader *r) {
  static const char one_space[] =
      "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"},{\"type\":\"Replace\","
      "\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]}";
  static const char metaspace[] =
      "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"always\"}";
  r->t->model = QP_TOKENIZER_UNIGRAM;
  qp_status status = read_id(r, KEY("unknown_token_id"), &r->t->unknown);
  if (!status && (!r->score || r->t->unknown < 0))
    status = qp_fail(r->err, QP_E_ARG,
                     "%s: keys '" KEY("scores") "' and '" KEY("unknown_token_id") "' are needed",
                     r->t->file);
  if (status) return status;
  r->t->unigram.byte_fallback = true; /* where the vocabulary has them all */
  take_scores(r);
  status = read_charsmap(r);
  const bool shorten = flag(r, KEY("remove_extra_whitespaces"), true);
  if (!status) status = read_steps(r, shorten ? one_space : NULL, metaspace);
  return status ? status : read_around(r, false);
}

/* ---- All ---- */

qp_status qp_tokenizer_read_gguf(qp_tokenizer *t, const qp_gguf *g, qp_error *err) {
  char model[32] = "";
  reader r = {.t = t, .g = g, .err = err};
  qp_gguf_text(g, KEY("model"), model, sizeof model);
  qp_status status = read_tokens(&r);
  if (!status) qp_gguf_each_string(g, KEY("tokens"), add_added, &r);
  if (!status) status = r.status;
  if (!status && !strcmp(model, "gpt2"))
    status = read_gpt2(&r);
  else if (!status && !strcmp(model, "llama"))
    status = read_llama(&r);
  else if (!status && !strcmp(model, "t5"))
    status = read_t5(&r);
  else if (!status)
    status =
        qp_fail(err, QP_E_ARG, "%s: key '" KEY("model") "' is '%s': gpt2, llama and t5 are read",
                t->file, model);
  free(r.score);
  free(r.type);
  return status;
}
