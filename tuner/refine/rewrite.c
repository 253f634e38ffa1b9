/* SPDX-License-Identifier: MIT */
/* Shards of a packed folder, copied with other scales and norms. */
#include "tuner/refine/rewrite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/base/writable.h"
#include "gen/model/tensor_writer.h"
#include "runtime/checksums.h"
#include "runtime/half.h"
#include "tuner/quantize/companions.h"

enum { PATH = 4096, MOST_BYTES = 1 << 28 };

static const double least_half = 0x1p-14, most_half = 65504;

typedef struct rewriting {
  const char *folder, *out;
  const qp_factors *x;
  qp_safetensors *files;
  unsigned char **changed; /* [spans]: bytes of the tensor as it will be */
  cJSON *config, *sums;
  char job[33];
  qp_error *err;
} rewriting;

bool qp_rewrite_has(void *files, const char *tensor) {
  return qp_safetensors_find(files, tensor) != NULL;
}

static qp_status path_of(const char *folder, const char *name, char out[PATH], qp_error *err) {
  if (snprintf(out, PATH, "%s/%s", folder, name) < PATH) return QP_OK;
  return qp_fail(err, QP_E_LIMIT, "%s: the path is too long", folder);
}

static qp_status read_config(const char *folder, cJSON **out, qp_error *err) {
  char path[PATH];
  const cJSON *section = NULL;
  cJSON *config = NULL;
  qp_status status = path_of(folder, "config.json", path, err);
  if (!status) status = qp_json_read_python(path, &config, err);
  if (!status) status = qp_json_object(config, path, "quantization", &section, err);
  if (status) return cJSON_Delete(config), status;
  *out = config;
  return QP_OK;
}

qp_status qp_rewrite_check(const char *folder, const char *out, qp_error *err) {
  char path[PATH], part[PATH];
  cJSON *config = NULL;
  qp_status status = path_of(out, "config.json", path, err);
  if (!status) status = path_of(out, QP_REWRITE_PART, part, err);
  if (!status && access(path, F_OK) == 0 && access(part, F_OK) != 0)
    return qp_fail(err, QP_E_ARG, "%s: there is one already; choose another -o", path);
  if (!status) status = qp_writable_check(path, err);
  if (!status) status = qp_companions_check(folder, err);
  if (!status) status = read_config(folder, &config, err);
  cJSON_Delete(config);
  return status;
}

/* ---- New values ---- */

static double value_at(const qp_tensor *t, size_t i) {
  uint16_t half = 0;
  float f = 0;
  if (t->type == QP_TENSOR_F32)
    memcpy(&f, t->data + i * sizeof f, sizeof f);
  else
    memcpy(&half, t->data + i * sizeof half, sizeof half);
  return (double)(t->type == QP_TENSOR_F32    ? f
                  : t->type == QP_TENSOR_BF16 ? qp_bf16_to_float(half)
                                              : qp_half_to_float(half));
}

static void put(unsigned char *to, qp_tensor_type type, size_t i, double v) {
  const float f = (float)v;
  const uint16_t half = type == QP_TENSOR_BF16 ? qp_double_to_bf16(v) : qp_double_to_half(v);
  if (type == QP_TENSOR_F32)
    memcpy(to + i * sizeof f, &f, sizeof f);
  else
    memcpy(to + i * sizeof half, &half, sizeof half);
}

/* Scales of rows of zeros stay 0. */
static double new_value(const rewriting *w, const qp_factor_span *s, const qp_tensor *t, size_t i) {
  const double offset = s->norm ? (double)qp_forward_norm_offset(w->x->f) : 0;
  const double old = value_at(t, i);
  const double v = (offset + old) * exp(w->x->log[s->first + i]) - offset;
  if (s->norm || t->type != QP_TENSOR_F16 || old == 0) return v;
  return copysign(fmin(fmax(fabs(v), least_half), most_half), v);
}

static qp_status change(rewriting *w, size_t i) {
  const qp_factor_span *s = &w->x->span[i];
  const qp_tensor *t = qp_safetensors_find(w->files, s->name);
  if (!t || t->elements < s->count ||
      (t->type != QP_TENSOR_F32 && t->type != QP_TENSOR_F16 && t->type != QP_TENSOR_BF16))
    return qp_fail(w->err, QP_E_ARG, "%s: tensor '%s' is missing, or not %u of F32, F16 or BF16",
                   w->folder, s->name, s->count);
  if (!(w->changed[i] = malloc(t->bytes + 1)))
    return qp_fail(w->err, QP_E_NOMEM, "no memory for '%s'", s->name);
  memcpy(w->changed[i], t->data, t->bytes);
  for (size_t k = 0; k < s->count; k++) put(w->changed[i], t->type, k, new_value(w, s, t, k));
  return QP_OK;
}

/* The new bytes of a tensor, or NULL: as it was. */
static const unsigned char *changed_of(const rewriting *w, const char *tensor) {
  for (size_t i = 0; i < w->x->spans; i++)
    if (!strcmp(w->x->span[i].name, tensor)) return w->changed[i];
  return NULL;
}

static void hex(char *out, size_t size, uint64_t high, uint64_t low) {
  if (size > 32)
    snprintf(out, size, "%016llx%016llx", (unsigned long long)high, (unsigned long long)low);
  else
    snprintf(out, size, "%016llx", (unsigned long long)low);
}

/* All that is to be written: bytes, their checksums, and the key of the shards. */
static qp_status change_all(rewriting *w) {
  const cJSON *list = NULL;
  const char *job = qp_safetensors_metadata(w->files, 0, "job");
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, job ? job : "", job ? strlen(job) : 0);
  qp_status status = QP_OK;
  if (w->sums) status = qp_json_object(w->sums, QP_CHECKSUMS_FILE, "tensors", &list, w->err);
  for (size_t i = 0; i < w->x->spans && !status; i++) {
    const qp_factor_span *s = &w->x->span[i];
    status = change(w, i);
    if (status) break;
    const size_t bytes = qp_safetensors_find(w->files, s->name)->bytes;
    char sum[17];
    hex(sum, sizeof sum, 0, XXH3_64bits(w->changed[i], bytes));
    XXH3_128bits_update(&state, sum, sizeof sum);
    cJSON *old = cJSON_GetObjectItemCaseSensitive(list, s->name);
    if (old) cJSON_SetValuestring(old, sum);
  }
  const XXH128_hash_t h = XXH3_128bits_digest(&state);
  hex(w->job, sizeof w->job, h.high64, h.low64);
  return status;
}

/* ---- Writing ---- */

static int by_place(const void *a, const void *b) {
  const qp_tensor *x = *(const qp_tensor *const *)a, *y = *(const qp_tensor *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The tensors of a shard as they lie in it, codes first; malloc'ed. */
static const qp_tensor **tensors_of(const rewriting *w, unsigned shard, size_t *count) {
  const size_t all = qp_safetensors_count(w->files);
  const qp_tensor **list = malloc((all + 1) * sizeof *list);
  *count = 0;
  for (size_t i = 0; list && i < all; i++) {
    const qp_tensor *t = qp_safetensors_get(w->files, i);
    if (t->shard == shard) list[(*count)++] = t;
  }
  if (list) qsort(list, *count, sizeof *list, by_place);
  return list;
}

static qp_status describe(const rewriting *w, qp_tensor_writer *to, unsigned shard) {
  static const char *const kept[] = {"format", "version", "quantization"};
  qp_status status = qp_tensor_writer_metadata(to, "job", w->job, w->err);
  for (size_t i = 0; i < sizeof kept / sizeof *kept && !status; i++) {
    const char *value = qp_safetensors_metadata(w->files, shard, kept[i]);
    if (value) status = qp_tensor_writer_metadata(to, kept[i], value, w->err);
  }
  return status;
}

static qp_status fill(const rewriting *w, qp_tensor_writer *to, const qp_tensor **list,
                      size_t count) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < count && !status; i++) /* equal offsets: tensors of no bytes */
    status = qp_tensor_writer_declare(to, list[i]->name, list[i]->type, list[i]->dims,
                                      list[i]->shape, NULL, w->err);
  if (!status) status = qp_tensor_writer_start(to, w->err);
  for (size_t i = 0; i < count && !status; i++) {
    const unsigned char *changed = changed_of(w, list[i]->name);
    status =
        qp_tensor_writer_write(to, i, 0, changed ? changed : list[i]->data, list[i]->bytes, w->err);
    qp_safetensors_release(w->files, list[i]);
  }
  return status ? status : qp_tensor_writer_finish(to, w->err);
}

static qp_status write_shard(const rewriting *w, unsigned shard) {
  char path[PATH];
  const char *from = qp_safetensors_shard_path(w->files, shard), *slash = strrchr(from, '/');
  qp_tensor_writer *to = NULL;
  size_t count = 0;
  const qp_tensor **list = tensors_of(w, shard, &count);
  qp_status status = list ? path_of(w->out, slash ? slash + 1 : from, path, w->err)
                          : qp_fail(w->err, QP_E_NOMEM, "no memory for a shard");
  if (!status) qp_file_make_folders(path);
  if (!status) status = qp_tensor_writer_new(path, &to, w->err);
  if (!status) status = describe(w, to, shard);
  if (!status) status = fill(w, to, list, count);
  qp_tensor_writer_free(to);
  free(list);
  return status;
}

static qp_status write_json(const rewriting *w, const char *name, const cJSON *tree) {
  char path[PATH];
  char *text = cJSON_Print(tree);
  qp_status status = text ? path_of(w->out, name, path, w->err)
                          : qp_fail(w->err, QP_E_NOMEM, "no memory for %s", name);
  if (!status) status = qp_file_write(path, text, strlen(text), w->err);
  cJSON_free(text);
  return status;
}

/* A file that is the same as before; none where there was none. */
static qp_status copy(const rewriting *w, const char *name) {
  char from[PATH], to[PATH], *text = NULL;
  size_t bytes = 0;
  qp_status status = path_of(w->folder, name, from, w->err);
  if (!status) status = path_of(w->out, name, to, w->err);
  if (status || access(from, F_OK) != 0) return status;
  status = qp_file_read(from, MOST_BYTES, &text, &bytes, w->err);
  if (!status) status = qp_file_write(to, text, bytes, w->err);
  free(text);
  return status;
}

static qp_status write_all(const rewriting *w) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < qp_safetensors_shards(w->files) && !status; i++)
    status = write_shard(w, i);
  if (!status && w->sums) status = write_json(w, QP_CHECKSUMS_FILE, w->sums);
  if (!status) status = copy(w, "quantize-report.json");
  if (!status) status = qp_companions_copy(w->folder, w->out, w->err);
  if (!status) status = copy(w, "model.safetensors.index.json");
  return status ? status : write_json(w, "config.json", w->config);
}

/* ---- All ---- */

static qp_status open_all(rewriting *w, const cJSON *said) {
  char path[PATH];
  qp_status status = qp_rewrite_check(w->folder, w->out, w->err);
  if (!status) status = qp_safetensors_open(w->folder, &w->files, w->err);
  if (!status) status = read_config(w->folder, &w->config, w->err);
  if (status) return status;
  cJSON *to = cJSON_GetObjectItemCaseSensitive(w->config, "quantization");
  cJSON_DeleteItemFromObjectCaseSensitive(to, "refined");
  cJSON_AddItemToObject(to, "refined", cJSON_Duplicate(said, true));
  status = path_of(w->folder, QP_CHECKSUMS_FILE, path, w->err);
  if (!status && access(path, F_OK) == 0) status = qp_json_read(path, &w->sums, w->err);
  return status;
}

qp_status qp_rewrite(const char *folder, const char *out, const qp_factors *x, const cJSON *said,
                     qp_error *err) {
  rewriting w = {.folder = folder,
                 .out = out,
                 .x = x,
                 .changed = calloc(x->spans + 1, sizeof *w.changed),
                 .err = err};
  qp_status status =
      w.changed ? open_all(&w, said) : qp_fail(err, QP_E_NOMEM, "no memory for %s", out);
  if (!status) status = change_all(&w);
  if (!status) status = write_all(&w);
  for (size_t i = 0; w.changed && i < x->spans; i++) free(w.changed[i]);
  free(w.changed);
  cJSON_Delete(w.config);
  cJSON_Delete(w.sums);
  qp_safetensors_close(w.files);
  return status;
}
