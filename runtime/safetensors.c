/* SPDX-License-Identifier: MIT */
/* Reads the tensors of .safetensors files; https://huggingface.co/docs/safetensors describes the
   format. */
#include "runtime/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/json_scan.h"
#include "runtime/list.h"
#include "runtime/regular_file.h"

enum { MAX_HEADER = 100000000, MAX_SHARDS = 4096, MAX_METADATA = 1 << 24, MAX_ENTRIES = 1024 };

typedef struct entry {
  char *key, *value;
} entry;

typedef struct shard {
  char *path;
  qp_map map; /* empty where the bytes are the caller's */
  size_t entries, capacity;
  entry *entry; /* __metadata__ */
} shard;

struct qp_safetensors {
  unsigned shards;
  shard *shard;
  size_t count, capacity;
  qp_tensor *tensor;
};

/* ---- Types ---- */

#define ROW(name, bits) {#name, bits},
static const struct {
  const char *name;
  unsigned bits;
} types[] = {QP_TENSOR_TYPES(ROW)};
#undef ROW

const char *qp_tensor_type_name(qp_tensor_type t) { return types[t].name; }
unsigned qp_tensor_type_bits(qp_tensor_type t) { return types[t].bits; }
unsigned qp_tensor_type_bytes(qp_tensor_type t) { return (types[t].bits + 7) / 8; }

uint64_t qp_tensor_bytes(qp_tensor_type t, uint64_t elements) {
  return elements / 8 * types[t].bits + (elements % 8 * types[t].bits + 7) / 8;
}

void qp_safetensors_close(qp_safetensors *s) {
  if (!s) return;
  for (size_t i = 0; i < s->count; i++) free((char *)(uintptr_t)s->tensor[i].name);
  for (unsigned i = 0; i < s->shards; i++) {
    for (size_t k = 0; k < s->shard[i].entries; k++) {
      free(s->shard[i].entry[k].key);
      free(s->shard[i].entry[k].value);
    }
    free(s->shard[i].entry);
    free(s->shard[i].path);
    qp_map_close(&s->shard[i].map);
  }
  free(s->shard);
  free(s->tensor);
  free(s);
}

static qp_status no_memory(const char *file, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory to read its header", file);
}

/* ---- One header ---- */

/* What is being read of one shard. */
typedef struct reading {
  qp_safetensors *s;
  unsigned shard;
  qp_json_scan json;
  const unsigned char *data; /* after the header */
  size_t data_bytes, data_offset;
  qp_error *err;
} reading;

static qp_status read_metadata(reading *r) {
  shard *sh = &r->s->shard[r->shard];
  char key[QP_JSON_SCAN_KEY];
  bool more;
  if (qp_json_scan_peek(&r->json) == QP_JSON_NULL) return qp_json_scan_skip(&r->json, NULL, NULL);
  qp_status status = qp_json_scan_open(&r->json, '{');
  while (!status && !(status = qp_json_scan_key(&r->json, key, &more)) && more) {
    for (size_t i = 0; i < sh->entries; i++)
      if (!strcmp(sh->entry[i].key, key))
        return qp_json_scan_fail(&r->json, QP_E_ARG, "__metadata__ holds a key twice");
    if (sh->entries == MAX_ENTRIES)
      return qp_json_scan_fail(&r->json, QP_E_LIMIT, "__metadata__ has more than 1024 entries");
    entry *larger = qp_list_room(sh->entry, sh->entries, &sh->capacity, sizeof *larger);
    if (!larger) return no_memory(sh->path, r->err);
    sh->entry = larger;
    size_t at = 0, length = 0;
    qp_json_scan ahead = r->json;
    status = qp_json_scan_skip(&ahead, &at, &length); /* unescaped it is not longer */
    if (!status && length > MAX_METADATA)
      return qp_json_scan_fail(&r->json, QP_E_LIMIT, "an entry of __metadata__ is over 16 MB");
    char *value = status ? NULL : malloc(length + 1), *name = status ? NULL : strdup(key);
    if (!status && value && name) status = qp_json_scan_text(&r->json, value, length + 1);
    if (status || !value || !name) {
      free(value);
      free(name);
      return status ? status : no_memory(sh->path, r->err);
    }
    sh->entry[sh->entries++] = (entry){name, value};
  }
  return status;
}

static qp_status read_type(reading *r, qp_tensor *t) {
  char name[16], message[96];
  qp_status status = qp_json_scan_text(&r->json, name, sizeof name);
  if (status) return status;
  for (unsigned i = 0; i < QP_TENSOR_TYPE_COUNT; i++)
    if (!strcmp(types[i].name, name)) return t->type = (qp_tensor_type)i, QP_OK;
  snprintf(message, sizeof message, "dtype '%s' is not known", name);
  return qp_json_scan_fail(&r->json, QP_E_ARG, message);
}

static qp_status read_shape(reading *r, qp_tensor *t) {
  bool more;
  qp_status status = qp_json_scan_open(&r->json, '[');
  t->elements = 1;
  while (!status && !(status = qp_json_scan_item(&r->json, &more)) && more) {
    if (t->dims == QP_TENSOR_DIMS)
      return qp_json_scan_fail(&r->json, QP_E_LIMIT, "a tensor of more than 8 dimensions");
    uint64_t *n = &t->shape[t->dims++];
    status = qp_json_scan_unsigned(&r->json, n);
    if (!status && __builtin_mul_overflow(t->elements, *n, &t->elements))
      status = qp_json_scan_fail(&r->json, QP_E_ARG, "a shape with more than 2^64 elements");
  }
  return status;
}

static qp_status read_offsets(reading *r, uint64_t range[2]) {
  unsigned n = 0;
  bool more;
  qp_status status = qp_json_scan_open(&r->json, '[');
  while (!status && !(status = qp_json_scan_item(&r->json, &more)) && more) {
    if (n == 2) return qp_json_scan_fail(&r->json, QP_E_ARG, "data_offsets are two numbers");
    status = qp_json_scan_unsigned(&r->json, &range[n++]);
  }
  if (!status && n != 2)
    status = qp_json_scan_fail(&r->json, QP_E_ARG, "data_offsets are two numbers");
  return status;
}

/* Check offsets against the file, the type and the shape. */
static qp_status place(reading *r, const uint64_t range[2], qp_tensor *t) {
  const char *file = r->s->shard[r->shard].path;
  const unsigned bits = types[t->type].bits;
  uint64_t all = 0;
  if (range[0] > range[1] || range[1] > r->data_bytes)
    return qp_fail(r->err, QP_E_ARG,
                   "%s: tensor '%.200s': data_offsets [%llu, %llu] are not within the %zu bytes of "
                   "data; the file is truncated or its header is wrong",
                   file, t->name, (unsigned long long)range[0], (unsigned long long)range[1],
                   r->data_bytes);
  const bool fits = !__builtin_mul_overflow(t->elements, (uint64_t)bits, &all);
  if (!fits || all % 8 || all / 8 != range[1] - range[0])
    return qp_fail(
        r->err, QP_E_ARG,
        "%s: tensor '%.200s' at offset %llu: %llu bytes, but its shape has %llu elements "
        "of %s",
        file, t->name, (unsigned long long)range[0], (unsigned long long)(range[1] - range[0]),
        (unsigned long long)t->elements, types[t->type].name);
  t->data = r->data + range[0];
  t->bytes = (size_t)(all / 8);
  t->offset = r->data_offset + (size_t)range[0];
  t->shard = r->shard;
  return QP_OK;
}

static qp_status read_tensor(reading *r, const char *name) {
  enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
  qp_safetensors *s = r->s;
  qp_tensor t = {0}, *larger = qp_list_room(s->tensor, s->count, &s->capacity, sizeof *larger);
  if (!larger) return no_memory(s->shard[r->shard].path, r->err);
  s->tensor = larger;
  uint64_t range[2] = {0, 0};
  char key[QP_JSON_SCAN_KEY];
  unsigned seen = 0, field;
  bool more;
  qp_status status = qp_json_scan_open(&r->json, '{');
  while (!status && !(status = qp_json_scan_key(&r->json, key, &more)) && more) {
    field = !strcmp(key, "dtype")          ? DTYPE
            : !strcmp(key, "shape")        ? SHAPE
            : !strcmp(key, "data_offsets") ? OFFSETS
                                           : 0;
    if (seen & field)
      return qp_json_scan_fail(&r->json, QP_E_ARG,
                               "a tensor has dtype, shape and data_offsets, each once");
    seen |= field;
    status = field == DTYPE     ? read_type(r, &t)
             : field == SHAPE   ? read_shape(r, &t)
             : field == OFFSETS ? read_offsets(r, range)
                                : qp_json_scan_skip(&r->json, NULL, NULL);
  }
  if (status) return qp_fail_prefix(r->err, status, "tensor '%.200s'", name);
  if (seen != (DTYPE | SHAPE | OFFSETS))
    return qp_json_scan_fail(&r->json, QP_E_ARG, "a tensor needs dtype, shape and data_offsets");
  t.name = name;
  if ((status = place(r, range, &t))) return status;
  if (!(t.name = strdup(name))) return no_memory(s->shard[r->shard].path, r->err);
  s->tensor[s->count++] = t;
  return QP_OK;
}

static int compare_offsets(const void *a, const void *b) {
  const qp_tensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Tensors of one shard follow each other without gap and overlap from first to last byte. */
static qp_status check_cover(const reading *r, size_t first) {
  const qp_safetensors *s = r->s;
  const char *file = s->shard[r->shard].path;
  size_t at = r->data_offset, n = s->count - first;
  if (n) qsort(s->tensor + first, n, sizeof *s->tensor, compare_offsets);
  for (size_t i = first; i < s->count; at += s->tensor[i++].bytes)
    if (s->tensor[i].offset != at)
      return qp_fail(r->err, QP_E_ARG,
                     "%s: tensor '%.200s' begins at byte %zu, the one before it ends at %zu: there "
                     "should be neither gap nor overlap",
                     file, s->tensor[i].name, s->tensor[i].offset, at);
  if (at != r->data_offset + r->data_bytes)
    return qp_fail(r->err, QP_E_ARG, "%s: tensors end at byte %zu of %zu", file, at,
                   r->data_offset + r->data_bytes);
  return QP_OK;
}

static qp_status read_header(qp_safetensors *s, unsigned index, const unsigned char *bytes,
                             size_t size, qp_error *err) {
  const char *file = s->shard[index].path;
  uint64_t length = 0;
  if (qp_is_lfs_pointer(bytes, size)) return qp_fail(err, QP_E_ARG, "%s: " QP_LFS_POINTER, file);
  if (size < 8)
    return qp_fail(err, QP_E_ARG,
                   "%s: %zu bytes: no safetensors file, that begins with 8 bytes of "
                   "its header's length",
                   file, size);
  for (unsigned i = 8; i-- > 0;) length = length << 8 | bytes[i];
  if (length > size - 8)
    return qp_fail(err, QP_E_ARG,
                   "%s: a header of %llu bytes in a file of %zu: truncated, or no "
                   "safetensors file",
                   file, (unsigned long long)length, size);
  if (length > MAX_HEADER)
    return qp_fail(err, QP_E_LIMIT, "%s: a header of %llu bytes is over %d", file,
                   (unsigned long long)length, MAX_HEADER);
  const size_t header = (size_t)length, first = s->count;
  reading r = {.s = s,
               .shard = index,
               .data = bytes + 8 + header,
               .data_bytes = size - 8 - header,
               .data_offset = 8 + header,
               .err = err};
  char key[QP_JSON_SCAN_KEY];
  bool more, metadata = false;
  qp_json_scan_begin(&r.json, file, (const char *)bytes + 8, header, err);
  qp_status status = qp_json_scan_open(&r.json, '{');
  while (!status && !(status = qp_json_scan_key(&r.json, key, &more)) && more) {
    const bool is_metadata = !strcmp(key, "__metadata__");
    if (is_metadata && metadata)
      return qp_json_scan_fail(&r.json, QP_E_ARG, "__metadata__ appears twice");
    metadata |= is_metadata;
    status = is_metadata ? read_metadata(&r) : read_tensor(&r, key);
  }
  if (!status) status = qp_json_scan_end(&r.json);
  return status ? status : check_cover(&r, first);
}

/* ---- All of it ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(((const qp_tensor *)a)->name, ((const qp_tensor *)b)->name);
}

static qp_status sort_names(qp_safetensors *s, qp_error *err) {
  if (s->count) qsort(s->tensor, s->count, sizeof *s->tensor, compare_names);
  for (size_t i = 1; i < s->count; i++)
    if (!compare_names(&s->tensor[i - 1], &s->tensor[i]))
      return qp_fail(err, QP_E_ARG, "%s: tensor '%.200s' appears twice",
                     s->shard[s->tensor[i].shard].path, s->tensor[i].name);
  return QP_OK;
}

static qp_status add_shard(qp_safetensors *s, const char *path, unsigned *index, qp_error *err) {
  if (s->shards == MAX_SHARDS)
    return qp_fail(err, QP_E_LIMIT, "%s: more than %d shards", path, MAX_SHARDS);
  shard *larger = realloc(s->shard, (s->shards + 1) * sizeof *larger);
  if (!larger) return no_memory(path, err);
  s->shard = larger;
  s->shard[s->shards] = (shard){.path = strdup(path)};
  if (!s->shard[s->shards].path) return no_memory(path, err);
  *index = s->shards++;
  return QP_OK;
}

static qp_status open_file(qp_safetensors *s, const char *path, qp_error *err) {
  unsigned index;
  qp_status status = add_shard(s, path, &index, err);
  if (!status) status = qp_map_open(path, &s->shard[index].map, err);
  if (status) return status;
  return read_header(s, index, s->shard[index].map.data, s->shard[index].map.bytes, err);
}

/* ---- Index ---- */

/* What an index says, which is the shard of each tensor. */
typedef struct listing {
  size_t count, capacity;
  struct listed {
    char *name;
    unsigned shard;
  } * tensor;
} listing;

static int compare_listed(const void *a, const void *b) {
  return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static void free_listing(listing *l) {
  for (size_t i = 0; i < l->count; i++) free(l->tensor[i].name);
  free(l->tensor);
}

/* A shard lies in the index's folder: no path that leads elsewhere. */
static qp_status shard_of(qp_safetensors *s, qp_json_scan *json, const char *index_path,
                          const char *name, unsigned *out, qp_error *err) {
  const char *slash = strrchr(index_path, '/');
  const size_t folder = slash ? (size_t)(slash - index_path) + 1 : 0;
  if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
    return qp_json_scan_fail(json, QP_E_ARG, "a shard is a file's name without folder");
  for (unsigned i = 0; i < s->shards; i++)
    if (!strcmp(s->shard[i].path + folder, name)) return *out = i, QP_OK;
  const size_t size = folder + strlen(name) + 1;
  char *path = malloc(size);
  if (!path) return no_memory(index_path, err);
  snprintf(path, size, "%.*s%s", (int)folder, index_path, name);
  qp_status status = add_shard(s, path, out, err);
  free(path);
  return status;
}

static qp_status read_weight_map(qp_safetensors *s, qp_json_scan *json, const char *path,
                                 listing *l, qp_error *err) {
  char key[QP_JSON_SCAN_KEY], file[QP_JSON_SCAN_KEY];
  bool more;
  qp_status status = qp_json_scan_open(json, '{');
  while (!status && !(status = qp_json_scan_key(json, key, &more)) && more) {
    struct listed *larger = qp_list_room(l->tensor, l->count, &l->capacity, sizeof *larger);
    if (!larger) return no_memory(path, err);
    l->tensor = larger;
    unsigned index = 0;
    status = qp_json_scan_text(json, file, sizeof file);
    if (!status) status = shard_of(s, json, path, file, &index, err);
    if (status) return status;
    char *name = strdup(key);
    if (!name) return no_memory(path, err);
    l->tensor[l->count++] = (struct listed){name, index};
  }
  return status;
}

/* The shards hold what the index lists, each tensor where it says, and nothing else. */
static qp_status check_listing(const qp_safetensors *s, listing *l, const char *path,
                               qp_error *err) {
  if (l->count) qsort(l->tensor, l->count, sizeof *l->tensor, compare_listed);
  for (size_t i = 0; i < l->count; i++) {
    const qp_tensor *t = qp_safetensors_find(s, l->tensor[i].name);
    const char *shard_path = s->shard[l->tensor[i].shard].path;
    if (i && !compare_listed(&l->tensor[i - 1], &l->tensor[i]))
      return qp_fail(err, QP_E_ARG, "%s: tensor '%.200s' appears twice", path, l->tensor[i].name);
    if (!t || t->shard != l->tensor[i].shard)
      return qp_fail(err, QP_E_ARG, "%s: tensor '%.200s' should be in %s, and is not", path,
                     l->tensor[i].name, shard_path);
  }
  if (l->count != s->count)
    return qp_fail(err, QP_E_ARG, "%s: lists %zu tensors, its shards hold %zu", path, l->count,
                   s->count);
  return QP_OK;
}

static qp_status open_index(qp_safetensors *s, const char *path, qp_error *err) {
  qp_map map = {0};
  listing l = {0};
  char key[QP_JSON_SCAN_KEY];
  bool more, found = false;
  qp_status status = qp_map_open(path, &map, err);
  if (status) return status;
  qp_json_scan json;
  qp_json_scan_begin(&json, path, (const char *)map.data, map.bytes, err);
  status = qp_json_scan_open(&json, '{');
  while (!status && !(status = qp_json_scan_key(&json, key, &more)) && more) {
    const bool here = !strcmp(key, "weight_map");
    if (here && found) status = qp_json_scan_fail(&json, QP_E_ARG, "weight_map appears twice");
    found |= here;
    if (!status)
      status =
          here ? read_weight_map(s, &json, path, &l, err) : qp_json_scan_skip(&json, NULL, NULL);
  }
  if (!status) status = qp_json_scan_end(&json);
  if (!status && !found) status = qp_fail(err, QP_E_ARG, "%s: field 'weight_map' is missing", path);
  for (unsigned i = 0; i < s->shards && !status; i++) {
    status = qp_map_open(s->shard[i].path, &s->shard[i].map, err);
    if (!status) status = read_header(s, i, s->shard[i].map.data, s->shard[i].map.bytes, err);
  }
  if (!status) status = sort_names(s, err);
  if (!status) status = check_listing(s, &l, path, err);
  free_listing(&l);
  qp_map_close(&map);
  return status;
}

static bool ends_with(const char *s, const char *end) {
  const size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* Open a folder's single file, or its index; one that was left behind beside a single file says
   nothing. */
static qp_status open_folder(qp_safetensors *s, const char *folder, qp_error *err) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  const size_t size = strlen(folder) + 40;
  char *path = malloc(size);
  if (!path) return no_memory(folder, err);
  struct stat info;
  qp_status status = QP_E_IO;
  for (unsigned i = 0; i < 2; i++) {
    snprintf(path, size, "%s/%s", folder, names[i]);
    if (stat(path, &info) != 0) continue;
    status = i ? open_index(s, path, err) : open_file(s, path, err);
    free(path);
    return status;
  }
  free(path);
  return qp_fail(err, status, "%s: a folder without %s and %s", folder, names[0], names[1]);
}

qp_status qp_safetensors_open(const char *path, qp_safetensors **out, qp_error *err) {
  struct stat info;
  qp_safetensors *s = calloc(1, sizeof *s);
  if (!s) return no_memory(path, err);
  qp_status status = stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? open_folder(s, path, err)
                     : ends_with(path, ".json")                      ? open_index(s, path, err)
                                                                     : open_file(s, path, err);
  if (!status) status = sort_names(s, err);
  if (status) return qp_safetensors_close(s), status;
  *out = s;
  return QP_OK;
}

qp_status qp_safetensors_parse(const char *file, const unsigned char *data, size_t bytes,
                               qp_safetensors **out, qp_error *err) {
  unsigned index;
  qp_safetensors *s = calloc(1, sizeof *s);
  if (!s) return no_memory(file, err);
  qp_status status = add_shard(s, file, &index, err);
  if (!status) status = read_header(s, index, data, bytes, err);
  if (!status) status = sort_names(s, err);
  if (status) return qp_safetensors_close(s), status;
  *out = s;
  return QP_OK;
}

/* ---- Looking ---- */

size_t qp_safetensors_count(const qp_safetensors *s) { return s->count; }

const qp_tensor *qp_safetensors_get(const qp_safetensors *s, size_t i) { return &s->tensor[i]; }

const qp_tensor *qp_safetensors_find(const qp_safetensors *s, const char *name) {
  const qp_tensor key = {.name = name};
  return s->count ? bsearch(&key, s->tensor, s->count, sizeof key, compare_names) : NULL;
}

unsigned qp_safetensors_shards(const qp_safetensors *s) { return s->shards; }

const char *qp_safetensors_shard_path(const qp_safetensors *s, unsigned shard_index) {
  return s->shard[shard_index].path;
}

const char *qp_safetensors_metadata(const qp_safetensors *s, unsigned shard_index,
                                    const char *key) {
  const shard *sh = &s->shard[shard_index];
  for (size_t i = 0; i < sh->entries; i++)
    if (!strcmp(sh->entry[i].key, key)) return sh->entry[i].value;
  return NULL;
}

void qp_safetensors_release(const qp_safetensors *s, const qp_tensor *t) {
  qp_map_release(&s->shard[t->shard].map, t->offset, t->bytes);
}
