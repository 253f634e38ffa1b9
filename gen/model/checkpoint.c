/* SPDX-License-Identifier: MIT */
/* A model's weights from safetensors or GGUF, under one set of names. */
#include "gen/model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/json.h"
#include "gen/model/checkpoint_state.h"
#include "gen/model/gguf_names.h"
#include "gen/model/tensor_survey.h"

static qp_status no_memory(const char *path, qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
}

void qp_checkpoint_close(qp_checkpoint *c) {
  if (!c) return;
  for (size_t i = 0; i < c->count; i++) free(c->tensor[i].name);
  for (size_t i = 0; i < c->views; i++) free(c->view[i].name);
  free(c->tensor);
  free(c->view);
  qp_packings_free(c->packing, c->packings);
  qp_safetensors_close(c->plain);
  qp_gguf_parts_close(&c->packed);
  free(c->path);
  free(c->config);
  free(c);
}

/* ---- Stamp: FNV-1a ---- */

static uint64_t stir(uint64_t hash, unsigned char byte) { return (hash ^ byte) * 0x100000001b3u; }

/* Eight bytes, the lowest first. */
static uint64_t stir_number(uint64_t hash, int64_t number) {
  for (unsigned i = 0; i < 64; i += 8) hash = stir(hash, (unsigned char)((uint64_t)number >> i));
  return hash;
}

static void stir_file(qp_checkpoint *c, const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return;
  const char *slash = strrchr(path, '/');
  for (const char *name = slash ? slash + 1 : path; *name; name++)
    c->stamp = stir(c->stamp, (unsigned char)*name);
  c->stamp = stir_number(c->stamp, (int64_t)info.st_size);
  c->stamp = stir_number(c->stamp, (int64_t)info.st_mtim.tv_sec);
  c->stamp = stir_number(c->stamp, (int64_t)info.st_mtim.tv_nsec);
}

/* ---- Tensors ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(((const qp_source_tensor *)a)->name, ((const qp_source_tensor *)b)->name);
}

static void set_rows(qp_source_tensor *t) {
  const bool part = t->plain && qp_tensor_type_bits(t->plain->type) % 8; /* rows may share a byte */
  t->columns = t->dims ? t->shape[t->dims - 1] : 1;
  t->rows = 1;
  for (unsigned i = 0; i + 1 < t->dims; i++) t->rows *= t->shape[i]; /* the reader checked it */
  if (part) t->columns *= t->rows, t->rows = 1;
}

qp_status qp_checkpoint_sort(const char *path, qp_source_tensor *list, size_t count,
                             qp_error *err) {
  if (count) qsort(list, count, sizeof *list, compare_names);
  for (size_t i = 1; i < count; i++)
    if (!compare_names(&list[i - 1], &list[i]))
      return qp_fail(err, QP_E_ARG, "%s: two tensors are '%s'", path, list[i].name);
  return QP_OK;
}

static qp_status add_plain(qp_checkpoint *c, const qp_tensor *from, qp_error *err) {
  qp_source_tensor t = {.name = strdup(from->name),
                        .dims = from->dims,
                        .type = qp_tensor_type_name(from->type),
                        .kept_type = from->type,
                        .plain = from};
  if (!t.name) return no_memory(c->path, err);
  memcpy(t.shape, from->shape, sizeof t.shape);
  if (from->elements) set_rows(&t); /* of an empty tensor a product could overflow */
  c->tensor[c->count++] = t;
  return QP_OK;
}

static qp_status add_packing(qp_checkpoint *c, const qp_packing *from, qp_error *err) {
  qp_source_tensor t = {.name = strdup(from->name),
                        .dims = from->dims,
                        .rows = from->rows,
                        .columns = from->columns,
                        .type = from->kind->name,
                        .kept_type = from->type,
                        .packing = from};
  if (!t.name) return no_memory(c->path, err);
  memcpy(t.shape, from->shape, sizeof from->shape);
  c->tensor[c->count++] = t;
  return QP_OK;
}

/* Weights that others have packed, by what the config says of them; 'taken' are their tensors. */
static qp_status find_packings(qp_checkpoint *c, const char *config, bool *taken, qp_error *err) {
  cJSON *tree = NULL;
  qp_status status = qp_json_parse_python(config, c->config, strlen(c->config), &tree, err);
  if (!status)
    status = qp_packings_find(c->plain, config, tree, &c->packing, &c->packings, taken, err);
  cJSON_Delete(tree);
  return status;
}

static qp_status list_plain(qp_checkpoint *c, const char *config, qp_error *err) {
  const size_t count = qp_safetensors_count(c->plain);
  bool *taken = calloc(count + 1, sizeof *taken);
  qp_status status = taken ? find_packings(c, config, taken, err) : no_memory(c->path, err);
  if (!status && !(c->tensor = calloc(count + 1, sizeof *c->tensor)))
    status = no_memory(c->path, err);
  for (size_t i = 0; i < count && !status; i++)
    if (!taken[i]) status = add_plain(c, qp_safetensors_get(c->plain, i), err);
  for (size_t i = 0; i < c->packings && !status; i++) status = add_packing(c, &c->packing[i], err);
  free(taken);
  return status ? status : qp_checkpoint_sort(c->path, c->tensor, c->count, err);
}

static bool ends_with(const char *s, const char *end) {
  const size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* What the converter did to a tensor, to be undone. */
static qp_status undo(const qp_checkpoint *c, const qp_gguf_architecture *a, const qp_gguf_name *n,
                      qp_source_tensor *t, qp_error *err) {
  if (a->adds_one && ends_with(t->name, "norm.weight")) t->minus = 1;
  if (!n || !n->reorders) return QP_OK;
  if (t->dims == 1) t->rows = t->columns, t->columns = 1; /* a bias: an element a row */
  t->heads = n->of_kv_heads ? c->model.kv_heads : c->model.heads;
  if (t->rows % (2 * (uint64_t)t->heads) || (t->columns == 1 && t->packed->type->elements != 1))
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s': %llu rows are not %u heads of an even size",
                   c->path, t->packed->name, (unsigned long long)t->rows, t->heads);
  return QP_OK;
}

static qp_tensor_type kept_type(const qp_block_type *type) {
  return type->number == 0 ? QP_TENSOR_F32 : type->number == 30 ? QP_TENSOR_BF16 : QP_TENSOR_F16;
}

static qp_status cannot_read(const qp_gguf_part *part, const qp_gguf_tensor *t, qp_error *err) {
  char known[160] = "";
  const char *type = qp_block_type_name(t->number);
  for (size_t i = 0, n = 0; i < qp_block_types() && n < sizeof known; i++)
    n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                          qp_block_type_get(i)->name);
  return qp_fail(err, QP_E_ARG, "%s: tensor '%s' at offset %zu: type %s (%u) is not read; %s are",
                 part->path, t->name, t->offset, type ? type : "unknown", t->number, known);
}

static qp_status add_packed(qp_checkpoint *c, const qp_gguf_architecture *a,
                            const qp_gguf_part *part, const qp_gguf_tensor *from, qp_error *err) {
  char name[256];
  const qp_gguf_name *entry;
  if (!from->type) return cannot_read(part, from, err);
  if (!qp_gguf_rename(a, from->name, name, sizeof name, &entry))
    return qp_fail(err, QP_E_LIMIT, "%s: tensor '%s': its name is too long", part->path,
                   from->name);
  qp_source_tensor t = {.name = strdup(name),
                        .dims = from->dims,
                        .type = from->type->name,
                        .packed = from,
                        .file = part->file,
                        .kept_type = kept_type(from->type)};
  if (!t.name) return no_memory(c->path, err);
  for (unsigned d = 0; d < t.dims; d++) t.shape[d] = from->shape[t.dims - 1 - d];
  set_rows(&t);
  c->tensor[c->count++] = t;
  return undo(c, a, entry, &c->tensor[c->count - 1], err);
}

static qp_status list_packed(qp_checkpoint *c, const qp_gguf_architecture *a, qp_error *err) {
  size_t count = 0;
  qp_status status = QP_OK;
  for (unsigned p = 0; p < c->packed.count; p++) count += qp_gguf_count(c->packed.part[p].file);
  if (!(c->tensor = calloc(count + 1, sizeof *c->tensor))) return no_memory(c->path, err);
  for (unsigned p = 0; p < c->packed.count; p++) {
    const qp_gguf_part *part = &c->packed.part[p];
    for (size_t i = 0; i < qp_gguf_count(part->file) && !status; i++)
      status = add_packed(c, a, part, qp_gguf_get(part->file, i), err);
  }
  return status ? status : qp_checkpoint_sort(c->path, c->tensor, c->count, err);
}

/* ---- Opening ---- */

static qp_status open_packed(qp_checkpoint *c, qp_models *models, qp_error *err) {
  qp_gguf_architecture a;
  qp_status status = qp_gguf_parts_open(c->path, &c->packed, err);
  if (status) return status;
  const qp_gguf_part *first = &c->packed.part[0];
  status = qp_gguf_architecture_of(models, first->file, first->path, &a, err);
  if (!status) status = qp_gguf_config(&a, &c->packed, &c->config, err);
  if (!status)
    status = qp_models_parse(models, c->path, c->config, strlen(c->config), &c->model, err);
  if (!status) status = list_packed(c, &a, err);
  if (!status) status = qp_checkpoint_list_experts(c, err);
  for (unsigned i = 0; i < c->packed.count; i++) stir_file(c, c->packed.part[i].path);
  return status;
}

static qp_status read_config(qp_checkpoint *c, const char *path, qp_error *err) {
  qp_map map;
  qp_status status = qp_map_open(path, &map, err);
  if (status)
    return qp_fail_prefix(err, QP_E_ARG,
                          "%s: a config.json is needed beside the weights, to say what model it is",
                          c->path);
  c->config = malloc(map.bytes + 1);
  if (c->config) {
    if (map.bytes) memcpy(c->config, map.data, map.bytes);
    c->config[map.bytes] = 0;
  }
  qp_map_close(&map);
  return c->config ? QP_OK : no_memory(path, err);
}

/* By config.json; of a family that is not described, by the tensors. */
static qp_status find_model(qp_checkpoint *c, qp_models *models, const char *config,
                            qp_error *err) {
  char type[sizeof c->model.type];
  if (!qp_models_unknown(models, config, c->config, type, sizeof type))
    return qp_models_parse(models, config, c->config, strlen(c->config), &c->model, err);
  qp_models_name_after(config, c->model.name, sizeof c->model.name);
  memcpy(c->model.type, type, sizeof type);
  return qp_tensor_survey(c->tensor, c->count, c->path, &c->model, err);
}

static qp_status open_plain(qp_checkpoint *c, qp_models *models, qp_error *err) {
  struct stat info;
  const bool folder = stat(c->path, &info) == 0 && S_ISDIR(info.st_mode);
  const char *slash = strrchr(c->path, '/');
  const int length = folder ? (int)strlen(c->path) : slash ? (int)(slash - c->path) : 1;
  char path[4096];
  if ((size_t)length + 16 > sizeof path)
    return qp_fail(err, QP_E_LIMIT, "%s: the path is too long", c->path);
  snprintf(path, sizeof path, "%.*s/config.json", length, folder || slash ? c->path : ".");
  qp_status status = qp_safetensors_open(c->path, &c->plain, err);
  if (!status) status = read_config(c, path, err);
  if (!status) status = list_plain(c, path, err);
  if (!status) status = find_model(c, models, path, err);
  if (!status) status = qp_checkpoint_use_names(c, err);
  if (!status) qp_checkpoint_find_embedding(c);
  if (!status) qp_checkpoint_find_head(c);
  if (!status) status = qp_checkpoint_list_experts(c, err);
  for (unsigned i = 0; !status && i < qp_safetensors_shards(c->plain); i++)
    stir_file(c, qp_safetensors_shard_path(c->plain, i));
  return status;
}

qp_status qp_checkpoint_open(const char *path, qp_models *models, qp_checkpoint **out,
                             qp_error *err) {
  qp_checkpoint *c = calloc(1, sizeof *c);
  if (c) *c = (qp_checkpoint){.path = strdup(path), .stamp = 0xcbf29ce484222325u};
  if (!c || !c->path) return free(c), no_memory(path, err);
  qp_status status =
      ends_with(path, ".gguf") ? open_packed(c, models, err) : open_plain(c, models, err);
  if (status) return qp_checkpoint_close(c), status;
  qp_checkpoint_compare(c);
  *out = c;
  return QP_OK;
}

/* Does a file of weights stand in the folder? */
static bool holds_weights(const char *folder) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  char path[4096];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) < (int)sizeof path &&
        access(path, F_OK) == 0)
      return true;
  return false;
}

static bool is_checkpoint(const char *name) {
  struct stat info;
  return ends_with(name, ".gguf") || ends_with(name, ".safetensors") ||
         ends_with(name, ".index.json") ||
         (stat(name, &info) == 0 && S_ISDIR(info.st_mode) && holds_weights(name));
}

qp_status qp_checkpoint_find_model(qp_models *models, const char *name, const qp_model **out,
                                   qp_error *err) {
  if (!is_checkpoint(name)) return qp_models_find(models, name, out, err);
  qp_checkpoint *c = NULL;
  qp_status status = qp_checkpoint_open(name, models, &c, err);
  if (!status) status = qp_models_add(models, &c->model, out, err);
  qp_checkpoint_close(c);
  return status;
}

/* ---- Looking ---- */

const qp_model *qp_checkpoint_model(const qp_checkpoint *c) { return &c->model; }
const char *qp_checkpoint_path(const qp_checkpoint *c) { return c->path; }
const char *qp_checkpoint_config(const qp_checkpoint *c) { return c->config; }
uint64_t qp_checkpoint_stamp(const qp_checkpoint *c) { return c->stamp; }
size_t qp_checkpoint_count(const qp_checkpoint *c) { return c->count; }

static void digest_tensor(XXH3_state_t *s, const char *name, const void *data, size_t bytes) {
  const uint64_t size = bytes; /* tells where a tensor ends */
  XXH3_64bits_update(s, name, strlen(name) + 1);
  XXH3_64bits_update(s, &size, sizeof size);
  if (data) XXH3_64bits_update(s, data, bytes);
}

uint64_t qp_checkpoint_digest(const qp_checkpoint *c) {
  XXH3_state_t s;
  XXH3_64bits_reset(&s);
  XXH3_64bits_update(&s, c->config, strlen(c->config) + 1);
  for (size_t i = 0; c->plain && i < qp_safetensors_count(c->plain); i++) {
    const qp_tensor *t = qp_safetensors_get(c->plain, i);
    digest_tensor(&s, t->name, t->data, t->bytes);
    qp_safetensors_release(c->plain, t);
  }
  for (unsigned p = 0; p < c->packed.count; p++)
    for (size_t i = 0; i < qp_gguf_count(c->packed.part[p].file); i++) {
      const qp_gguf_tensor *t = qp_gguf_get(c->packed.part[p].file, i);
      digest_tensor(&s, t->name, t->data, t->bytes);
    }
  return XXH3_64bits_digest(&s);
}

const qp_source_tensor *qp_checkpoint_get(const qp_checkpoint *c, size_t i) {
  return &c->tensor[i];
}

static const qp_source_tensor *find_in(const qp_source_tensor *list, size_t count,
                                       const char *name) {
  const qp_source_tensor key = {.name = (char *)name};
  return count ? bsearch(&key, list, count, sizeof *list, compare_names) : NULL;
}

const qp_source_tensor *qp_checkpoint_find_stored(const qp_checkpoint *c, const char *name) {
  return find_in(c->tensor, c->count, name);
}

const qp_source_tensor *qp_checkpoint_find(const qp_checkpoint *c, const char *name) {
  const qp_source_tensor *t = qp_checkpoint_find_stored(c, name);
  return t ? t : find_in(c->view, c->views, name);
}
