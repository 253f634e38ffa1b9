/* SPDX-License-Identifier: MIT */
/* GGUF files; the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#include "gen/model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/map.h"
#include "runtime/regular_file.h"

enum { MAX_TENSORS = 65536, MAX_KEYS = 65536, MAX_ALIGNMENT = 1 << 20, MAX_NESTING = 4 };

/* Types of metadata values. */
enum value_type {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  BOOL,
  STRING,
  ARRAY,
  U64,
  I64,
  F64,
  VALUE_TYPES
};

static const unsigned char value_bytes[VALUE_TYPES] = {
    [U8] = 1,  [I8] = 1,   [U16] = 2, [I16] = 2, [U32] = 4, [I32] = 4,
    [F32] = 4, [BOOL] = 1, [U64] = 8, [I64] = 8, [F64] = 8};

typedef struct pair {
  const unsigned char *key; /* in the file, not NUL-ended */
  size_t key_bytes;
  uint32_t type, item;        /* 'item' is the type of an array's items. */
  uint64_t length;            /* The length of a string in bytes, of an array in items. */
  const unsigned char *value; /* the scalar, the string's first byte, or the array's first item */
} pair;

struct qp_gguf {
  char *file;
  qp_map map;
  const unsigned char *data;
  size_t bytes;
  size_t pairs, tensors;
  pair *pair;
  qp_gguf_tensor *tensor;
};

/* ---- Reading forward ---- */

typedef struct cursor {
  qp_gguf *g;
  size_t at;
  qp_error *err;
} cursor;

static qp_status truncated(const cursor *c, const char *what, uint64_t bytes) {
  return qp_fail(
      c->err, QP_E_ARG,
      "%s: %s at offset %zu needs %llu bytes, the file has %zu more: truncated or corrupt",
      c->g->file, what, c->at, (unsigned long long)bytes, c->g->bytes - c->at);
}

/* Read 'bytes' little-endian bytes as a number. */
static uint64_t number_at(const unsigned char *p, unsigned bytes) {
  uint64_t v = 0;
  for (unsigned i = bytes; i-- > 0;) v = v << 8 | p[i];
  return v;
}

static qp_status take(cursor *c, const char *what, uint64_t bytes, const unsigned char **out) {
  if (bytes > c->g->bytes - c->at) return truncated(c, what, bytes);
  *out = c->g->data + c->at;
  c->at += (size_t)bytes;
  return QP_OK;
}

static qp_status take_number(cursor *c, const char *what, unsigned bytes, uint64_t *out) {
  const unsigned char *p;
  qp_status status = take(c, what, bytes, &p);
  if (!status) *out = number_at(p, bytes);
  return status;
}

static qp_status take_string(cursor *c, const char *what, const unsigned char **out,
                             uint64_t *length) {
  qp_status status = take_number(c, what, 8, length);
  return status ? status : take(c, what, *length, out);
}

/* ---- Metadata ---- */

static qp_status skip_value(cursor *c, uint64_t type, unsigned nesting, pair *out);

/* Items of fixed size are passed over at once, so that a count costs nothing. */
static qp_status skip_array(cursor *c, unsigned nesting, pair *out) {
  uint64_t type, count, bytes;
  qp_status status = take_number(c, "an array's type", 4, &type);
  if (!status) status = take_number(c, "an array's length", 8, &count);
  if (status) return status;
  if (type >= VALUE_TYPES)
    return qp_fail(c->err, QP_E_ARG, "%s: offset %zu: an array of type %llu, there are 0 to %d",
                   c->g->file, c->at, (unsigned long long)type, VALUE_TYPES - 1);
  if (nesting == MAX_NESTING)
    return qp_fail(c->err, QP_E_LIMIT, "%s: offset %zu: more than %d levels of arrays", c->g->file,
                   c->at, MAX_NESTING);
  out->length = count;
  out->item = (uint32_t)type;
  out->value = c->g->data + c->at;
  if (value_bytes[type]) {
    if (__builtin_mul_overflow(count, (uint64_t)value_bytes[type], &bytes)) bytes = UINT64_MAX;
    return take(c, "an array", bytes, &out->value);
  }
  for (uint64_t i = 0; i < count && !status; i++) { /* each takes 8 bytes of the file or fails */
    pair item = {0};
    status = skip_value(c, type, nesting + 1, &item);
  }
  return status;
}

static qp_status skip_value(cursor *c, uint64_t type, unsigned nesting, pair *out) {
  if (type >= VALUE_TYPES)
    return qp_fail(c->err, QP_E_ARG, "%s: offset %zu: metadata of type %llu, there are 0 to %d",
                   c->g->file, c->at, (unsigned long long)type, VALUE_TYPES - 1);
  if (type == STRING) return take_string(c, "a string", &out->value, &out->length);
  if (type == ARRAY) return skip_array(c, nesting, out);
  return take(c, "a value", value_bytes[type], &out->value);
}

static qp_status read_pair(cursor *c, pair *p) {
  uint64_t length = 0, type = 0;
  qp_status status = take_string(c, "a key", &p->key, &length);
  p->key_bytes = (size_t)length;
  if (!status) status = take_number(c, "a value's type", 4, &type);
  if (!status) status = skip_value(c, type, 0, p);
  if (status)
    return qp_fail_prefix(c->err, status, "key '%.*s'", (int)(length < 80 && p->key ? length : 0),
                          p->key ? (const char *)p->key : "");
  p->type = (uint32_t)type;
  return QP_OK;
}

static int compare_pairs(const void *a, const void *b) {
  const pair *x = a, *y = b;
  const size_t n = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
  const int order = n ? memcmp(x->key, y->key, n) : 0;
  return order ? order : x->key_bytes < y->key_bytes ? -1 : x->key_bytes > y->key_bytes;
}

static qp_status read_pairs(cursor *c, uint64_t count) {
  qp_gguf *g = c->g;
  if (count > MAX_KEYS)
    return qp_fail(c->err, QP_E_LIMIT, "%s: %llu metadata keys are more than %d", g->file,
                   (unsigned long long)count, MAX_KEYS);
  if (!(g->pair = calloc((size_t)count + 1, sizeof *g->pair)))
    return qp_fail(c->err, QP_E_NOMEM, "%s: no memory for its metadata", g->file);
  for (; g->pairs < count; g->pairs++) {
    qp_status status = read_pair(c, &g->pair[g->pairs]);
    if (status) return status;
  }
  qsort(g->pair, g->pairs, sizeof *g->pair, compare_pairs);
  for (size_t i = 1; i < g->pairs; i++)
    if (!compare_pairs(&g->pair[i - 1], &g->pair[i]))
      return qp_fail(c->err, QP_E_ARG, "%s: key '%.*s' appears twice", g->file,
                     (int)(g->pair[i].key_bytes < 80 ? g->pair[i].key_bytes : 80),
                     (const char *)g->pair[i].key);
  return QP_OK;
}

/* ---- Tensors ---- */

/* Count the bytes of a tensor by its type; rows are whole blocks. */
static qp_status size_of(const cursor *c, qp_gguf_tensor *t) {
  uint64_t elements = 1, bytes;
  if (!t->type) return QP_OK;
  bool fits = true;
  for (unsigned i = 0; i < t->dims; i++)
    fits = fits && !__builtin_mul_overflow(elements, t->shape[i], &elements);
  if (!fits || (t->dims ? t->shape[0] : elements) % t->type->elements ||
      __builtin_mul_overflow(elements / t->type->elements, (uint64_t)t->type->bytes, &bytes) ||
      bytes > SIZE_MAX)
    return qp_fail(
        c->err, QP_E_ARG,
        "%s: tensor '%s': rows of %llu elements, %llu in all: not whole blocks of %s (%u), "
        "or too many",
        c->g->file, t->name, (unsigned long long)(t->dims ? t->shape[0] : 1),
        (unsigned long long)elements, t->type->name, t->type->elements);
  t->bytes = (size_t)bytes;
  return QP_OK;
}

static qp_status read_tensor(cursor *c, qp_gguf_tensor *t) {
  const unsigned char *name;
  uint64_t length = 0, dims = 0, number = 0, offset = 0;
  qp_status status = take_string(c, "a tensor's name", &name, &length);
  if (status) return status;
  if (length >= sizeof t->name || memchr(name, 0, (size_t)length))
    return qp_fail(c->err, QP_E_LIMIT,
                   "%s: offset %zu: a tensor's name of %llu characters (at most %zu, no NUL)",
                   c->g->file, c->at, (unsigned long long)length, sizeof t->name - 1);
  memcpy(t->name, name, (size_t)length);
  if ((status = take_number(c, "a tensor's dimensions", 4, &dims))) return status;
  if (dims > QP_GGUF_DIMS)
    return qp_fail(c->err, QP_E_LIMIT, "%s: tensor '%s': %llu dimensions are more than %d",
                   c->g->file, t->name, (unsigned long long)dims, QP_GGUF_DIMS);
  t->dims = (unsigned)dims;
  for (unsigned i = 0; i < t->dims && !status; i++)
    status = take_number(c, "a tensor's shape", 8, &t->shape[i]);
  if (!status) status = take_number(c, "a tensor's type", 4, &number);
  if (!status) status = take_number(c, "a tensor's offset", 8, &offset);
  if (status) return qp_fail_prefix(c->err, status, "tensor '%s'", t->name);
  t->number = (uint32_t)number;
  t->type = qp_block_type_find(t->number);
  t->offset = (size_t)offset; /* For now it counts in the data. */
  return size_of(c, t);
}

static int compare_offsets(const void *a, const void *b) {
  const qp_gguf_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const qp_gguf_tensor *)a)->name, ((const qp_gguf_tensor *)b)->name);
}

/* Make offsets count within the file, aligned and without overlap; then sort the tensors by
   name. */
static qp_status place_tensors(cursor *c, uint64_t alignment) {
  qp_gguf *g = c->g;
  const size_t pad = (size_t)((alignment - c->at % alignment) % alignment);
  const size_t begin = pad > g->bytes - c->at ? g->bytes : c->at + pad;
  qsort(g->tensor, g->tensors, sizeof *g->tensor, compare_offsets);
  size_t end = 0;
  for (size_t i = 0; i < g->tensors; i++) {
    qp_gguf_tensor *t = &g->tensor[i];
    const char *reason = t->offset % alignment                     ? "is not aligned"
                         : t->offset > g->bytes - begin            ? "is behind the file's end"
                         : t->bytes > g->bytes - begin - t->offset ? "leaves too few bytes"
                         : t->offset < end                         ? "is in the tensor before it"
                                                                   : NULL;
    if (reason)
      return qp_fail(
          c->err, QP_E_ARG,
          "%s: tensor '%s' of %zu bytes: offset %zu of %zu bytes of data %s: truncated or "
          "corrupt",
          g->file, t->name, t->bytes, t->offset, g->bytes - begin, reason);
    end = t->offset + t->bytes;
    t->offset += begin;
    if (t->type) t->data = g->data + t->offset;
  }
  qsort(g->tensor, g->tensors, sizeof *g->tensor, compare_names);
  for (size_t i = 1; i < g->tensors; i++)
    if (!compare_names(&g->tensor[i - 1], &g->tensor[i]))
      return qp_fail(c->err, QP_E_ARG, "%s: tensor '%s' appears twice", g->file, g->tensor[i].name);
  return QP_OK;
}

static qp_status read_tensors(cursor *c, uint64_t count) {
  qp_gguf *g = c->g;
  uint64_t alignment = 32;
  if (count > MAX_TENSORS)
    return qp_fail(c->err, QP_E_LIMIT, "%s: %llu tensors are more than %d", g->file,
                   (unsigned long long)count, MAX_TENSORS);
  if (qp_gguf_unsigned(g, "general.alignment", &alignment) &&
      (!alignment || alignment > MAX_ALIGNMENT || alignment & (alignment - 1)))
    return qp_fail(c->err, QP_E_ARG,
                   "%s: general.alignment is %llu: a power of two up to %d is needed", g->file,
                   (unsigned long long)alignment, MAX_ALIGNMENT);
  if (!(g->tensor = calloc((size_t)count + 1, sizeof *g->tensor)))
    return qp_fail(c->err, QP_E_NOMEM, "%s: no memory for its tensors", g->file);
  for (; g->tensors < count; g->tensors++) {
    qp_status status = read_tensor(c, &g->tensor[g->tensors]);
    if (status) return status;
  }
  return place_tensors(c, alignment);
}

/* ---- All of it ---- */

static qp_status read_file(qp_gguf *g, qp_error *err) {
  cursor c = {.g = g, .err = err};
  uint64_t version = 0, tensors = 0, pairs = 0;
  if (qp_is_lfs_pointer(g->data, g->bytes))
    return qp_fail(err, QP_E_ARG, "%s: " QP_LFS_POINTER, g->file);
  if (g->bytes < 4 || memcmp(g->data, "GGUF", 4) != 0)
    return qp_fail(err, QP_E_ARG, "%s: no GGUF file: it does not begin with 'GGUF'", g->file);
  c.at = 4;
  qp_status status = take_number(&c, "the version", 4, &version);
  if (status) return status;
  if (version != 2 && version != 3)
    return qp_fail(err, QP_E_ARG,
                   "%s: GGUF version %llu: 2 and 3 (little-endian) are read; llama.cpp converts "
                   "others",
                   g->file, (unsigned long long)version);
  status = take_number(&c, "the number of tensors", 8, &tensors);
  if (!status) status = take_number(&c, "the number of metadata keys", 8, &pairs);
  if (!status) status = read_pairs(&c, pairs);
  return status ? status : read_tensors(&c, tensors);
}

void qp_gguf_close(qp_gguf *g) {
  if (!g) return;
  qp_map_close(&g->map);
  free(g->pair);
  free(g->tensor);
  free(g->file);
  free(g);
}

static qp_status finish(qp_gguf *g, qp_status status, qp_gguf **out, qp_error *err) {
  if (!status) status = read_file(g, err);
  if (status) return qp_gguf_close(g), status;
  *out = g;
  return QP_OK;
}

static qp_status new_gguf(const char *file, qp_gguf **out, qp_error *err) {
  qp_gguf *g = calloc(1, sizeof *g);
  if (g) g->file = strdup(file);
  if (!g || !g->file) return free(g), qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  *out = g;
  return QP_OK;
}

qp_status qp_gguf_open(const char *path, qp_gguf **out, qp_error *err) {
  qp_gguf *g;
  qp_status status = new_gguf(path, &g, err);
  if (status) return status;
  status = qp_map_open(path, &g->map, err);
  g->data = g->map.data;
  g->bytes = g->map.bytes;
  return finish(g, status, out, err);
}

qp_status qp_gguf_parse(const char *file, const unsigned char *data, size_t bytes, qp_gguf **out,
                        qp_error *err) {
  qp_gguf *g;
  qp_status status = new_gguf(file, &g, err);
  if (status) return status;
  g->data = data;
  g->bytes = bytes;
  return finish(g, QP_OK, out, err);
}

/* ---- Looking ---- */

size_t qp_gguf_count(const qp_gguf *g) { return g->tensors; }

const qp_gguf_tensor *qp_gguf_get(const qp_gguf *g, size_t i) { return &g->tensor[i]; }

const qp_gguf_tensor *qp_gguf_find(const qp_gguf *g, const char *name) {
  qp_gguf_tensor key = {.number = 0};
  if (!g->tensors || strlen(name) >= sizeof key.name) return NULL;
  memcpy(key.name, name, strlen(name) + 1);
  return bsearch(&key, g->tensor, g->tensors, sizeof key, compare_names);
}

static const pair *find_pair(const qp_gguf *g, const char *key) {
  const pair wanted = {.key = (const unsigned char *)key, .key_bytes = strlen(key)};
  return g->pairs ? bsearch(&wanted, g->pair, g->pairs, sizeof wanted, compare_pairs) : NULL;
}

bool qp_gguf_unsigned(const qp_gguf *g, const char *key, uint64_t *out) {
  const pair *p = find_pair(g, key);
  if (!p || p->type == F32 || p->type == F64 || p->type == STRING || p->type == ARRAY) return false;
  const unsigned bytes = value_bytes[p->type];
  const uint64_t v = number_at(p->value, bytes);
  const bool is_signed = p->type == I8 || p->type == I16 || p->type == I32 || p->type == I64;
  if (is_signed && v >> (8 * bytes - 1)) return false;
  *out = v;
  return true;
}

bool qp_gguf_number(const qp_gguf *g, const char *key, double *out) {
  const pair *p = find_pair(g, key);
  float f;
  if (!p || (p->type != F32 && p->type != F64)) return false;
  if (p->type == F64) return memcpy(out, p->value, sizeof *out), true;
  memcpy(&f, p->value, sizeof f);
  *out = (double)f;
  return true;
}

bool qp_gguf_text(const qp_gguf *g, const char *key, char *out, size_t size) {
  const pair *p = find_pair(g, key);
  if (!p || p->type != STRING || p->length >= size || memchr(p->value, 0, (size_t)p->length))
    return false;
  memcpy(out, p->value, (size_t)p->length);
  out[p->length] = 0;
  return true;
}

bool qp_gguf_length(const qp_gguf *g, const char *key, uint64_t *out) {
  const pair *p = find_pair(g, key);
  if (!p || p->type != ARRAY) return false;
  *out = p->length;
  return true;
}

void qp_gguf_release(const qp_gguf *g, size_t offset, size_t bytes) {
  qp_map_release(&g->map, offset, bytes);
}

/* ---- Items of arrays ---- */

static double item_value(const unsigned char *p, uint32_t type) {
  const uint64_t bits = number_at(p, value_bytes[type]);
  float f;
  double d;
  switch (type) {
  case I8: return (int8_t)bits;
  case I16: return (int16_t)bits;
  case I32: return (int32_t)bits;
  case I64: return (double)(int64_t)bits;
  case F32: return memcpy(&f, p, sizeof f), (double)f;
  case F64: return memcpy(&d, p, sizeof d), d;
  default: return (double)bits;
  }
}

bool qp_gguf_each_number(const qp_gguf *g, const char *key, qp_gguf_number_visit *visit,
                         void *arg) {
  const pair *p = find_pair(g, key);
  if (!p || p->type != ARRAY || !value_bytes[p->item]) return false;
  for (uint64_t i = 0; i < p->length; i++)
    visit(arg, i, item_value(p->value + i * value_bytes[p->item], p->item));
  return true;
}

bool qp_gguf_each_string(const qp_gguf *g, const char *key, qp_gguf_string_visit *visit,
                         void *arg) {
  const pair *p = find_pair(g, key);
  if (!p || p->type != ARRAY || p->item != STRING) return false;
  const unsigned char *at = p->value;
  for (uint64_t i = 0; i < p->length; i++) { /* lengths were checked when the file was read */
    const uint64_t bytes = number_at(at, 8);
    visit(arg, i, (const char *)at + 8, (size_t)bytes);
    at += 8 + bytes;
  }
  return true;
}
