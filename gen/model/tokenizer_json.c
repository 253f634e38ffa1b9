/* SPDX-License-Identifier: MIT */
/* tokenizer.json, as Hugging Face's tokenizers writes it, read into the steps of a tokenizer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/base/suggest.h"
#include "gen/model/tokenizer_parts.h"

enum { MAX_ID = 1 << 24 };

static const cJSON *get(const cJSON *object, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  return cJSON_IsNull(v) ? NULL : v;
}

/* ---- Fields with a default ---- */

static qp_status wrong_field(const char *where, const char *name, const cJSON *v, const char *right,
                             qp_error *err) {
  char *text = v ? cJSON_PrintUnformatted(v) : NULL;
  qp_status status = qp_fail(err, QP_E_ARG, "%s: field '%s' is %.80s: %s is needed", where, name,
                             text ? text : "missing", right);
  cJSON_free(text);
  return status;
}

static qp_status get_boolean(const cJSON *object, const char *where, const char *name,
                             bool otherwise, bool *out, qp_error *err) {
  const cJSON *v = get(object, name);
  if (v && !cJSON_IsBool(v)) return wrong_field(where, name, v, "true or false", err);
  *out = v ? cJSON_IsTrue(v) : otherwise;
  return QP_OK;
}

/* A string that may be empty; NULL where it is null or missing. */
static qp_status get_string(const cJSON *object, const char *where, const char *name,
                            const char **out, qp_error *err) {
  const cJSON *v = get(object, name);
  if (v && !cJSON_IsString(v)) return wrong_field(where, name, v, "a string", err);
  *out = v ? v->valuestring : NULL;
  return QP_OK;
}

/* Give the index of the one of 'names' (a NULL ends them) that stands at 'name'; missing or null:
   'otherwise'. */
static qp_status get_choice(const cJSON *object, const char *where, const char *name,
                            const char *const *names, unsigned otherwise, unsigned *out,
                            qp_error *err) {
  const char *text = NULL;
  qp_status status = get_string(object, where, name, &text, err);
  if (status) return status;
  *out = otherwise;
  if (!text) return QP_OK;
  size_t n = 0;
  for (; names[n]; n++)
    if (!strcmp(names[n], text)) return *out = (unsigned)n, QP_OK;
  const char *near = qp_suggest(text, names, n);
  return qp_fail(err, QP_E_ARG, "%s: field '%s' is \"%.60s\", which is not known%s%s%s", where,
                 name, text, near ? " (near: \"" : "", near ? near : "", near ? "\")" : "");
}

static qp_status copy_string(const char *where, const char *s, char **out, qp_error *err) {
  if (!s || (*out = strdup(s))) return QP_OK;
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
}

/* "pattern": {"Regex": ...} or {"String": ...}. */
static qp_status get_pattern(const cJSON *object, const char *where, qp_pattern **out,
                             qp_error *err) {
  const cJSON *pattern = get(object, "pattern");
  const cJSON *regex = get(pattern, "Regex"), *literal = get(pattern, "String");
  const cJSON *source = regex ? regex : literal;
  if (cJSON_IsString(pattern)) source = pattern;
  if (!cJSON_IsString(source))
    return wrong_field(where, "pattern", pattern, "{\"Regex\": text} or {\"String\": text}", err);
  return qp_pattern_new(where, source->valuestring, !regex, out, err);
}

/* ---- Normalizers ---- */

static const char *const normalizer_names[] = {
    "NFC",     "NFD",     "NFKC", "NFKD",        "Lowercase", "Strip",    "StripAccents",
    "Replace", "Prepend", "Nmt",  "Precompiled", "ByteLevel", "Sequence", NULL};
enum { NORMALIZER_SEQUENCE = QP_NORMALIZE_BYTES + 1 };

/* Give the six bits of a base64 digit, or -1. */
static int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static qp_status read_charsmap(const char *where, const char *text, qp_normalizer *out,
                               qp_error *err) {
  size_t n = text ? strlen(text) : 0;
  while (n && text[n - 1] == '=') n--;
  if (!n) return qp_fail(err, QP_E_ARG, "%s: field 'precompiled_charsmap' is missing", where);
  if (!(out->charsmap = malloc(n))) return qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
  uint32_t bits = 0;
  for (size_t i = 0; i < n; i++) {
    const int d = digit(text[i]);
    if (d < 0)
      return qp_fail(err, QP_E_ARG, "%s: field 'precompiled_charsmap' is no base64 at %zu", where,
                     i);
    bits = bits << 6 | (uint32_t)d;
    if (i % 4) out->charsmap[out->charsmap_bytes++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
  }
  return qp_charsmap_check(out->charsmap, out->charsmap_bytes, where, err);
}

static qp_status read_normalizer_fields(const cJSON *object, const char *where, qp_normalizer *n,
                                        qp_error *err) {
  const char *text = NULL;
  qp_status status = QP_OK;
  switch (n->kind) {
  case QP_NORMALIZE_STRIP:
    status = get_boolean(object, where, "strip_left", true, &n->left, err);
    return status ? status : get_boolean(object, where, "strip_right", true, &n->right, err);
  case QP_NORMALIZE_REPLACE:
    status = get_pattern(object, where, &n->pattern, err);
    if (!status) status = get_string(object, where, "content", &text, err);
    return status ? status : copy_string(where, text ? text : "", &n->content, err);
  case QP_NORMALIZE_PREPEND:
    status = qp_json_text(object, where, "prepend", &text, err);
    return status ? status : copy_string(where, text, &n->content, err);
  case QP_NORMALIZE_PRECOMPILED:
    status = get_string(object, where, "precompiled_charsmap", &text, err);
    return status ? status : read_charsmap(where, text, n, err);
  default: return QP_OK;
  }
}

static qp_status add_normalizer(qp_tokenizer *t, const cJSON *object, const char *where,
                                unsigned kind, qp_error *err) {
  if (t->normalizers == QP_TOKENIZER_STEPS)
    return qp_fail(err, QP_E_LIMIT, "%s: more than %d normalizers", where, QP_TOKENIZER_STEPS);
  qp_normalizer *n = &t->normalizer[t->normalizers++];
  n->kind = (qp_normalizer_kind)kind;
  return read_normalizer_fields(object, where, n, err);
}

static qp_status read_normalizer(qp_tokenizer *t, const cJSON *object, const char *where,
                                 qp_error *err) {
  unsigned kind = 0;
  if (!cJSON_IsObject(object)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  const char *type;
  qp_status status = qp_json_text(object, where, "type", &type, err);
  if (!status) status = get_choice(object, where, "type", normalizer_names, 0, &kind, err);
  if (status) return status;
  if (kind != NORMALIZER_SEQUENCE) return add_normalizer(t, object, where, kind, err);
  const cJSON *list, *item;
  if ((status = qp_json_array(object, where, "normalizers", &list, err))) return status;
  cJSON_ArrayForEach(item, list) if ((status = read_normalizer(t, item, where, err))) return status;
  return QP_OK;
}

qp_status qp_tokenizer_read_normalizer(qp_tokenizer *t, const cJSON *object, qp_error *err) {
  char where[4200];
  if (!object || cJSON_IsNull(object)) return QP_OK;
  snprintf(where, sizeof where, "%s: normalizer", t->file);
  return read_normalizer(t, object, where, err);
}

/* ---- Pre-tokenizers ---- */

enum splitter_type {
  TYPE_SPLIT,
  TYPE_BYTE_LEVEL,
  TYPE_DIGITS,
  TYPE_METASPACE,
  TYPE_PUNCTUATION,
  TYPE_WHITESPACE,
  TYPE_WHITESPACE_SPLIT,
  TYPE_SEQUENCE
};
static const char *const splitter_names[] = {"Split",           "ByteLevel",   "Digits",
                                             "Metaspace",       "Punctuation", "Whitespace",
                                             "WhitespaceSplit", "Sequence",    NULL};
static const char *const behavior_names[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous", NULL};

static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static qp_status add_splitter(qp_tokenizer *t, const char *where, qp_splitter_kind kind,
                              qp_splitter **out, qp_error *err) {
  if (t->splitters == QP_TOKENIZER_STEPS)
    return qp_fail(err, QP_E_LIMIT, "%s: more than %d steps", where, QP_TOKENIZER_STEPS);
  *out = &t->splitter[t->splitters++];
  (*out)->kind = kind;
  return QP_OK;
}

/* Add a pattern of our own. */
static qp_status add_words(qp_tokenizer *t, const char *where, const char *regex,
                           qp_split_behavior behavior, bool invert, qp_error *err) {
  qp_splitter *s = NULL;
  qp_status status = add_splitter(t, where, QP_SPLITTER_PATTERN, &s, err);
  if (status) return status;
  s->behavior = behavior;
  s->invert = invert;
  return qp_pattern_new(where, regex, false, &s->pattern, err);
}

static qp_status read_split(qp_tokenizer *t, const cJSON *object, const char *where,
                            qp_error *err) {
  qp_splitter *s = NULL;
  unsigned behavior = QP_SPLIT_ISOLATED;
  qp_status status = add_splitter(t, where, QP_SPLITTER_PATTERN, &s, err);
  if (!status) status = get_pattern(object, where, &s->pattern, err);
  if (!status) status = get_boolean(object, where, "invert", false, &s->invert, err);
  if (!status)
    status =
        get_choice(object, where, "behavior", behavior_names, QP_SPLIT_ISOLATED, &behavior, err);
  if (!status) s->behavior = (qp_split_behavior)behavior;
  return status;
}

static qp_status read_byte_level(qp_tokenizer *t, const cJSON *object, const char *where,
                                 qp_error *err) {
  bool space = true, words = true;
  qp_splitter *s = NULL;
  qp_status status = get_boolean(object, where, "add_prefix_space", true, &space, err);
  if (!status) status = get_boolean(object, where, "use_regex", true, &words, err);
  if (!status && space) status = add_splitter(t, where, QP_SPLITTER_SPACE, &s, err);
  if (!status && words) status = add_words(t, where, gpt2_words, QP_SPLIT_ISOLATED, false, err);
  return status ? status : add_splitter(t, where, QP_SPLITTER_BYTES, &s, err);
}

static qp_status read_metaspace(qp_tokenizer *t, const cJSON *object, const char *where,
                                qp_error *err) {
  static const char *const schemes[] = {"never", "first", "always", NULL};
  const char *mark;
  bool prefix = true, split = true;
  unsigned scheme;
  qp_splitter *s = NULL;
  qp_status status = qp_json_text(object, where, "replacement", &mark, err);
  if (!status) status = get_boolean(object, where, "add_prefix_space", true, &prefix, err);
  if (!status) status = get_boolean(object, where, "split", true, &split, err);
  if (!status)
    status = get_choice(object, where, "prepend_scheme", schemes,
                        prefix ? QP_PREPEND_ALWAYS : QP_PREPEND_NEVER, &scheme, err);
  if (!status) status = add_splitter(t, where, QP_SPLITTER_METASPACE, &s, err);
  if (status) return status;
  s->scheme = (qp_prepend_scheme)scheme;
  s->behavior = QP_SPLIT_MERGED_WITH_NEXT;
  status = copy_string(where, mark, &s->mark, err);
  return status || !split ? status : qp_pattern_new(where, mark, true, &s->pattern, err);
}

static qp_status read_digits(qp_tokenizer *t, const cJSON *object, const char *where,
                             qp_error *err) {
  bool each = false;
  qp_status status = get_boolean(object, where, "individual_digits", false, &each, err);
  return status ? status
                : add_words(t, where, "\\p{N}", each ? QP_SPLIT_ISOLATED : QP_SPLIT_CONTIGUOUS,
                            false, err);
}

static qp_status read_punctuation(qp_tokenizer *t, const cJSON *object, const char *where,
                                  qp_error *err) {
  unsigned behavior;
  qp_status status =
      get_choice(object, where, "behavior", behavior_names, QP_SPLIT_ISOLATED, &behavior, err);
  return status ? status
                : add_words(t, where, "[\\p{P}$+<=>^`|~]", (qp_split_behavior)behavior, false, err);
}

static qp_status read_splitter(qp_tokenizer *t, const cJSON *object, const char *where,
                               qp_error *err) {
  unsigned type = 0;
  const char *name;
  const cJSON *list, *item;
  if (!cJSON_IsObject(object)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  qp_status status = qp_json_text(object, where, "type", &name, err);
  if (!status) status = get_choice(object, where, "type", splitter_names, 0, &type, err);
  if (status) return status;
  switch ((enum splitter_type)type) {
  case TYPE_SPLIT: return read_split(t, object, where, err);
  case TYPE_BYTE_LEVEL: return read_byte_level(t, object, where, err);
  case TYPE_DIGITS: return read_digits(t, object, where, err);
  case TYPE_METASPACE: return read_metaspace(t, object, where, err);
  case TYPE_PUNCTUATION: return read_punctuation(t, object, where, err);
  case TYPE_WHITESPACE: return add_words(t, where, "\\w+|[^\\w\\s]+", QP_SPLIT_REMOVED, true, err);
  case TYPE_WHITESPACE_SPLIT: return add_words(t, where, "\\s", QP_SPLIT_REMOVED, false, err);
  case TYPE_SEQUENCE: break;
  }
  if ((status = qp_json_array(object, where, "pretokenizers", &list, err))) return status;
  cJSON_ArrayForEach(item, list) if ((status = read_splitter(t, item, where, err))) return status;
  return QP_OK;
}

qp_status qp_tokenizer_read_splitter(qp_tokenizer *t, const cJSON *object, qp_error *err) {
  char where[4200];
  if (!object || cJSON_IsNull(object)) return QP_OK;
  snprintf(where, sizeof where, "%s: pre_tokenizer", t->file);
  return read_splitter(t, object, where, err);
}

/* ---- BPE ---- */

static qp_status read_vocabulary(qp_tokenizer *t, const cJSON *list, const char *where,
                                 qp_error *err) {
  const cJSON *item;
  qp_status status = QP_OK;
  cJSON_ArrayForEach(item, list) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < MAX_ID) ||
        item->valuedouble != floor(item->valuedouble))
      return qp_fail(err, QP_E_ARG, "%s: token '%.60s': an id from 0 to %d is needed", where,
                     item->string, MAX_ID - 1);
    status = qp_vocabulary_add(t->vocabulary, item->string, strlen(item->string),
                               (uint32_t)item->valuedouble, err);
    if (status) return status;
  }
  return QP_OK;
}

/* Find the two halves of a merge, "a b" or ["a", "b"]; their lengths go to n. */
static bool halves_of(const cJSON *item, const char *half[2], size_t n[2]) {
  if (cJSON_IsString(item)) {
    const char *space = strchr(item->valuestring, ' ');
    if (!space || strchr(space + 1, ' ')) return false;
    half[0] = item->valuestring;
    n[0] = (size_t)(space - half[0]);
    half[1] = space + 1;
  } else {
    const cJSON *a = cJSON_IsArray(item) ? item->child : NULL, *b = a ? a->next : NULL;
    if (!b || !cJSON_IsString(a) || !cJSON_IsString(b) || b->next) return false;
    half[0] = a->valuestring;
    n[0] = strlen(half[0]);
    half[1] = b->valuestring;
  }
  n[1] = strlen(half[1]);
  return true;
}

static qp_status read_merge(qp_tokenizer *t, const cJSON *item, size_t number, const char *where,
                            qp_text *text, qp_error *err) {
  const char *half[2];
  size_t n[2];
  if (!halves_of(item, half, n))
    return qp_fail(err, QP_E_ARG,
                   "%s: merges[%zu]: two tokens are needed, \"a b\" or [\"a\", \"b\"]", where,
                   number);
  const size_t prefix = t->bpe.prefix ? strlen(t->bpe.prefix) : 0;
  const size_t skip =
      prefix && n[1] >= prefix && !strncmp(half[1], t->bpe.prefix, prefix) ? prefix : 0;
  text->length = 0;
  qp_text_append(text, half[0], n[0]);
  qp_text_append(text, half[1] + skip, n[1] - skip);
  if (text->failed) return qp_fail(err, QP_E_NOMEM, "%s: no memory for merges", where);
  const int64_t left = qp_vocabulary_find(t->vocabulary, half[0], n[0]);
  const int64_t right = qp_vocabulary_find(t->vocabulary, half[1], n[1]);
  const int64_t both = qp_vocabulary_find(t->vocabulary, text->s, text->length);
  if (left < 0 || right < 0 || both < 0)
    return qp_fail(err, QP_E_ARG, "%s: merges[%zu]: '%.40s' is not in the vocabulary", where,
                   number,
                   left < 0    ? half[0]
                   : right < 0 ? half[1]
                               : text->s);
  qp_bpe_add(&t->bpe, (uint32_t)left, (uint32_t)right, (uint32_t)both);
  return QP_OK;
}

static qp_status read_merges(qp_tokenizer *t, const cJSON *list, const char *where, qp_error *err) {
  const cJSON *item;
  qp_text text = {0};
  size_t number = 0;
  qp_status status = qp_bpe_reserve(&t->bpe, (size_t)cJSON_GetArraySize(list), where, err);
  if (!status) cJSON_ArrayForEach(item, list) {
      status = read_merge(t, item, number++, where, &text, err);
      if (status) break;
    }
  qp_text_free(&text);
  return status;
}

static qp_status read_bpe(qp_tokenizer *t, const cJSON *model, const char *where, qp_error *err) {
  const cJSON *vocabulary, *merges;
  const char *unknown = NULL, *prefix = NULL, *suffix = NULL;
  qp_bpe *b = &t->bpe;
  t->model = QP_TOKENIZER_BPE;
  qp_status status = qp_json_object(model, where, "vocab", &vocabulary, err);
  if (!status) status = qp_json_array(model, where, "merges", &merges, err);
  if (!status) status = get_boolean(model, where, "byte_fallback", false, &b->byte_fallback, err);
  if (!status) status = get_boolean(model, where, "fuse_unk", false, &b->fuse_unknown, err);
  if (!status) status = get_boolean(model, where, "ignore_merges", false, &b->ignore_merges, err);
  if (!status) status = get_string(model, where, "unk_token", &unknown, err);
  if (!status) status = get_string(model, where, "continuing_subword_prefix", &prefix, err);
  if (!status) status = get_string(model, where, "end_of_word_suffix", &suffix, err);
  if (!status && prefix && *prefix) status = copy_string(where, prefix, &b->prefix, err);
  if (!status && suffix && *suffix) status = copy_string(where, suffix, &b->suffix, err);
  if (!status) status = read_vocabulary(t, vocabulary, where, err);
  if (!status) status = read_merges(t, merges, where, err);
  if (!status && unknown) t->unknown = qp_vocabulary_find(t->vocabulary, unknown, strlen(unknown));
  return status;
}

/* ---- Unigram ---- */

/*
** A score as the JSON reader of Hugging Face's tokenizers (Rust's serde_json) gets it: its digits
** as a whole number, divided by a power of ten, which can be an ulp from the nearest double.  Ways
** to write a line of dashes differ by less, so the ids of such a line hang on it.  The digits are
** the shortest that read back as the number, as every writer prints them.
*/
static double score_as_read_there(double score) {
  char text[32];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*e", digits - 1, fabs(score));
    if (strtod(text, NULL) == fabs(score)) break;
  }
  char *mark = strchr(text, 'e');
  if (!mark) return score;
  int exponent = atoi(mark + 1);
  uint64_t whole = 0;
  const char *end = mark;
  while (end > text && end[-1] == '0') end--;
  for (const char *c = text; c < end; c++) {
    if (*c == '.') continue;
    whole = whole * 10 + (uint64_t)(*c - '0');
    if (c > text) exponent--;
  }
  const double power = pow(10, abs(exponent)); /* exact up to 10^22 */
  const double size = exponent < 0 ? (double)whole / power : (double)whole * power;
  return score < 0 ? -size : size;
}

static qp_status read_scores(qp_tokenizer *t, const cJSON *list, const char *where, qp_error *err) {
  const cJSON *item;
  uint32_t id = 0;
  double least = INFINITY;
  qp_status status = QP_OK;
  t->unigram.score = malloc(((size_t)cJSON_GetArraySize(list) + 1) * sizeof(double));
  if (!t->unigram.score) return qp_fail(err, QP_E_NOMEM, "%s: no memory for scores", where);
  cJSON_ArrayForEach(item, list) {
    const cJSON *token = cJSON_IsArray(item) ? item->child : NULL,
                *score = token ? token->next : NULL;
    if (!score || !cJSON_IsString(token) || !cJSON_IsNumber(score) || id >= MAX_ID)
      return qp_fail(err, QP_E_ARG, "%s: vocab[%u]: [token, score] is needed", where, id);
    t->unigram.score[id] = score_as_read_there(score->valuedouble);
    if (t->unigram.score[id] < least) least = t->unigram.score[id];
    status =
        qp_vocabulary_add(t->vocabulary, token->valuestring, strlen(token->valuestring), id++, err);
    if (status) return status;
  }
  t->unigram.unknown_score = least - 10;
  return QP_OK;
}

static qp_status read_unigram(qp_tokenizer *t, const cJSON *model, const char *where,
                              qp_error *err) {
  const cJSON *list = NULL;
  t->model = QP_TOKENIZER_UNIGRAM;
  qp_status status = qp_json_array(model, where, "vocab", &list, err);
  if (!status)
    status = get_boolean(model, where, "byte_fallback", false, &t->unigram.byte_fallback, err);
  const int size = cJSON_GetArraySize(list);
  if (!status && !size) status = qp_fail(err, QP_E_ARG, "%s: field 'vocab' is empty", where);
  if (!status) status = qp_json_integer(model, where, "unk_id", 0, size - 1, &t->unknown, err);
  return status ? status : read_scores(t, list, where, err);
}

static qp_status read_model(qp_tokenizer *t, const cJSON *tree, qp_error *err) {
  static const char *const names[] = {"BPE", "Unigram", NULL};
  char where[4200];
  const cJSON *model;
  unsigned type;
  qp_status status = qp_json_object(tree, t->file, "model", &model, err);
  if (status) return status;
  snprintf(where, sizeof where, "%s: model", t->file);
  const unsigned otherwise = get(model, "merges") ? 0 : 1; /* files of 2019 have no type */
  if ((status = get_choice(model, where, "type", names, otherwise, &type, err))) return status;
  return type ? read_unigram(t, model, where, err) : read_bpe(t, model, where, err);
}

/* ---- Added tokens ---- */

static qp_status read_added(qp_tokenizer *t, const cJSON *item, const char *where, qp_error *err) {
  qp_added_token token = {0};
  const char *content = NULL;
  bool special = false;
  int64_t id = 0;
  qp_status status =
      cJSON_IsObject(item) ? QP_OK : qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  if (!status) status = get_string(item, where, "content", &content, err);
  if (!status && !content) status = wrong_field(where, "content", NULL, "a string", err);
  if (!status) status = qp_json_integer(item, where, "id", 0, MAX_ID - 1, &id, err);
  if (!status) status = get_boolean(item, where, "special", false, &special, err);
  if (!status) status = get_boolean(item, where, "single_word", false, &token.single_word, err);
  if (!status) status = get_boolean(item, where, "lstrip", false, &token.left_strip, err);
  if (!status) status = get_boolean(item, where, "rstrip", false, &token.right_strip, err);
  if (!status) status = get_boolean(item, where, "normalized", !special, &token.normalized, err);
  if (status) return status;
  const int64_t known = qp_vocabulary_find(t->vocabulary, content, strlen(content));
  char *copy = strdup(content);
  if (!copy) return qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
  token.content = copy;
  token.id = (uint32_t)(known >= 0 ? known : id);
  status = qp_tokenizer_add_token(t, &token, err);
  free(copy);
  return status;
}

static qp_status read_all_added(qp_tokenizer *t, const cJSON *tree, qp_error *err) {
  char where[4200];
  unsigned number = 0;
  const cJSON *list = get(tree, "added_tokens"), *item;
  if (!list) return QP_OK;
  if (!cJSON_IsArray(list)) return wrong_field(t->file, "added_tokens", list, "a list", err);
  cJSON_ArrayForEach(item, list) {
    snprintf(where, sizeof where, "%s: added_tokens[%u]", t->file, number++);
    qp_status status = read_added(t, item, where, err);
    if (status) return status;
  }
  return QP_OK;
}

/* ---- Post-processors ---- */

static qp_status add_around(qp_tokenizer *t, bool after, const cJSON *number, const char *where,
                            qp_error *err) {
  unsigned *count = after ? &t->after : &t->before;
  if (!number || !cJSON_IsNumber(number) ||
      !(number->valuedouble >= 0 && number->valuedouble < MAX_ID))
    return qp_fail(err, QP_E_ARG, "%s: an id from 0 to %d is needed", where, MAX_ID - 1);
  if (*count == QP_TOKENIZER_AROUND)
    return qp_fail(err, QP_E_LIMIT, "%s: more than %d tokens around a text", where,
                   QP_TOKENIZER_AROUND);
  (after ? t->after_id : t->before_id)[(*count)++] = (uint32_t)number->valuedouble;
  return QP_OK;
}

/* Read "single" of a template: special tokens before and after {"Sequence": ...}. */
static qp_status read_template(qp_tokenizer *t, const cJSON *object, const char *where,
                               qp_error *err) {
  const cJSON *single, *item, *id;
  bool after = false;
  qp_status status = qp_json_array(object, where, "single", &single, err);
  if (status) return status;
  cJSON_ArrayForEach(item, single) {
    const cJSON *special = get(item, "SpecialToken");
    if (!special) {
      after = true;
      continue;
    }
    const char *name;
    if ((status = qp_json_text(special, where, "id", &name, err))) return status;
    const cJSON *ids = get(get(get(object, "special_tokens"), name), "ids");
    if (!cJSON_IsArray(ids))
      return qp_fail(err, QP_E_ARG, "%s: special_tokens['%.60s'] has no 'ids'", where, name);
    cJSON_ArrayForEach(id, ids) if ((status = add_around(t, after, id, where, err))) return status;
  }
  return QP_OK;
}

/* Read "cls" or "sep": [name, id]. */
static qp_status read_pair(qp_tokenizer *t, const cJSON *object, const char *where, qp_error *err) {
  for (unsigned after = 0; after < 2; after++) {
    const cJSON *pair = get(object, after ? "sep" : "cls");
    const cJSON *id = cJSON_IsArray(pair) && pair->child ? pair->child->next : NULL;
    qp_status status = add_around(t, after, id, where, err);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status read_processor(qp_tokenizer *t, const cJSON *object, const char *where,
                                qp_error *err) {
  static const char *const names[] = {"ByteLevel",      "TemplateProcessing", "RobertaProcessing",
                                      "BertProcessing", "Sequence",           NULL};
  const cJSON *list, *item;
  unsigned type = 0;
  if (!cJSON_IsObject(object)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
  qp_status status = get_choice(object, where, "type", names, 0, &type, err);
  if (status || type == 0) return status; /* ByteLevel changes offsets only */
  if (type == 1) return read_template(t, object, where, err);
  if (type < 4) return read_pair(t, object, where, err);
  if ((status = qp_json_array(object, where, "processors", &list, err))) return status;
  cJSON_ArrayForEach(item, list) if ((status = read_processor(t, item, where, err))) return status;
  return QP_OK;
}

/* ---- All ---- */

qp_status qp_tokenizer_read_json(qp_tokenizer *t, const cJSON *tree, qp_error *err) {
  char where[4200];
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", t->file);
  qp_status status = read_model(t, tree, err);
  if (!status) status = read_all_added(t, tree, err);
  if (!status) status = qp_tokenizer_read_normalizer(t, get(tree, "normalizer"), err);
  if (!status) status = qp_tokenizer_read_splitter(t, get(tree, "pre_tokenizer"), err);
  const cJSON *processor = get(tree, "post_processor");
  snprintf(where, sizeof where, "%s: post_processor", t->file);
  return status || !processor ? status : read_processor(t, processor, where, err);
}
