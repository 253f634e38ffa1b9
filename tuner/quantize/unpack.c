/* SPDX-License-Identifier: MIT */
/* Unpacks packed weights to a plain checkpoint, which is one model.safetensors. */
#include "tuner/quantize/unpack.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/model/tensor_writer.h"
#include "gen/model/weights.h"
#include "runtime/half.h"
#include "tuner/base/watch.h"
#include "tuner/quantize/companions.h"

enum { CHUNK_WEIGHTS = 1 << 22 };

typedef struct unpacking {
  const char *folder, *out;
  qp_tensor_type type;
  qp_models *models;
  qp_weights *weights;
  qp_safetensors *files;
  qp_parallel *threads;
  cJSON *config;
  const cJSON *linears;
  qp_tensor_writer *w;
  qp_watch watch;
  qp_error *err;
} unpacking;

static qp_status open_all(unpacking *u, qp_palette *palette, unsigned threads) {
  const cJSON *section = NULL;
  char path[4096];
  if (snprintf(path, sizeof path, "%s/config.json", u->out) >= (int)sizeof path)
    return qp_fail(u->err, QP_E_LIMIT, "%s: the path is too long", u->out);
  if (access(path, F_OK) == 0)
    return qp_fail(u->err, QP_E_ARG, "%s: there is one already; choose another -o", path);
  qp_status status = qp_models_open(&u->models, u->err);
  if (!status) status = qp_weights_open(u->folder, u->models, palette, &u->weights, u->err);
  if (!status) {
    const char *text = qp_weights_config(u->weights);
    status = qp_json_parse_python(u->folder, text, strlen(text), &u->config, u->err);
  }
  if (!status) status = qp_json_object(u->config, u->folder, "quantization", &section, u->err);
  if (!status) status = qp_json_array(section, u->folder, "linears", &u->linears, u->err);
  if (!status) status = qp_safetensors_open(u->folder, &u->files, u->err);
  return status ? status : qp_parallel_open(threads, &u->threads, u->err);
}

static const char *name_of(const cJSON *linear) {
  return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(linear, "name"));
}

static uint64_t count_of(const cJSON *linear, const char *field) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(linear, field);
  return cJSON_IsNumber(v) && v->valuedouble > 0 ? (uint64_t)v->valuedouble : 0;
}

/* [0] rows without those that a vocabulary was padded with, [1] columns. */
static void shape_of(const cJSON *linear, uint64_t shape[2]) {
  shape[0] = count_of(linear, "rows") - count_of(linear, "padding");
  shape[1] = count_of(linear, "columns");
}

/* Is the tensor one that packing made (runtime/PACKED.md)? */
static bool is_packing(const unpacking *u, const char *tensor) {
  static const char *const parts[] = {"codes.", "field.", "codebook.", "row_scales", "weight"};
  const size_t n = strlen(tensor);
  const cJSON *l, *q;
  if (n > 6 && (!strcmp(tensor + n - 6, ".signs") || !strcmp(tensor + n - 6, ".input")))
    return true;
  cJSON_ArrayForEach(l, u->linears) {
    const char *name = name_of(l);
    const size_t length = name ? strlen(name) : 0;
    if (!length || strncmp(tensor, name, length) != 0 || tensor[length] != '.') continue;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
      if (!strncmp(tensor + length + 1, parts[i], strlen(parts[i]))) return true;
  }
  const cJSON *section = cJSON_GetObjectItemCaseSensitive(u->config, "quantization");
  cJSON_ArrayForEach(q, cJSON_GetObjectItemCaseSensitive(section, "quantizers")) {
    const size_t length = strlen(q->string);
    if (!strncmp(tensor, q->string, length) && !strncmp(tensor + length, ".codebook.", 10))
      return true;
  }
  return false;
}

/* A tensor to be written: under its own name, or, of one that was taken apart for ranks, the whole
   in place of the part that has its first row; the others are skipped. */
typedef struct output {
  char name[QP_MODEL_NAME + 16];
  qp_tensor_type type;
  unsigned dims;
  uint64_t shape[QP_TENSOR_DIMS];
  bool joined, skipped;
} output;

static void join(const unpacking *u, output *o) {
  char part[sizeof o->name];
  uint64_t rows;
  bool first = false;
  memcpy(part, o->name, sizeof part);
  o->joined = qp_weights_whole(u->weights, part, o->name, &rows, &first);
  o->skipped = o->joined && !first;
  if (o->joined) o->shape[0] = rows;
}

static qp_status output_of_linear(const unpacking *u, const cJSON *linear, output *o) {
  const char *name = name_of(linear);
  *o = (output){.type = u->type, .dims = 2};
  shape_of(linear, o->shape);
  if (!name || strlen(name) >= QP_MODEL_NAME || !o->shape[0] || !o->shape[1])
    return qp_fail(u->err, QP_E_ARG, "%s: a linear without name or shape", u->folder);
  snprintf(o->name, sizeof o->name, "%s.weight", name);
  return join(u, o), QP_OK;
}

/* Of a tensor that was kept; false: it is one that packing made, or a part that is not first. */
static bool output_of_tensor(const unpacking *u, const qp_tensor *t, output *o) {
  if (is_packing(u, t->name)) return false;
  *o = (output){.type = t->type, .dims = t->dims};
  memcpy(o->shape, t->shape, sizeof o->shape);
  if (strlen(t->name) >= sizeof o->name) return true; /* no part has such a name */
  snprintf(o->name, sizeof o->name, "%s", t->name);
  join(u, o);
  if (o->joined && o->dims == 2) o->type = u->type;
  return !o->skipped;
}

/* Linears first, then the tensors that were kept, in the order of their names. */
static qp_status declare_all(unpacking *u) {
  qp_status status = QP_OK;
  output o;
  const cJSON *l;
  cJSON_ArrayForEach(l, u->linears) {
    status = output_of_linear(u, l, &o);
    if (!status && !o.skipped)
      status = qp_tensor_writer_declare(u->w, o.name, o.type, o.dims, o.shape, NULL, u->err);
    if (status) return status;
  }
  for (size_t i = 0; i < qp_safetensors_count(u->files) && !status; i++) {
    const qp_tensor *t = qp_safetensors_get(u->files, i);
    if (!output_of_tensor(u, t, &o)) continue;
    const char *name = o.joined ? o.name : t->name;
    status = qp_tensor_writer_declare(u->w, name, o.type, o.dims, o.shape, NULL, u->err);
  }
  return status;
}

/* Converts to 'type' in place: a narrower element is written behind those that were read. */
static void narrow(float *v, size_t n, qp_tensor_type type) {
  unsigned char *to = (unsigned char *)v;
  for (size_t i = 0; i < n && type != QP_TENSOR_F32; i++) {
    const float f = v[i];
    const uint16_t bits = type == QP_TENSOR_F16 ? qp_float_to_half(f) : qp_float_to_bf16(f);
    memcpy(to + i * sizeof bits, &bits, sizeof bits);
  }
}

/* Write a tensor as its numbers, which are decoded or put together. */
static qp_status write_numbers(unpacking *u, const output *o, size_t id) {
  const uint64_t rows = o->shape[0], columns = o->dims > 1 ? o->shape[1] : 1;
  const uint64_t most =
      o->dims > 1 ? CHUNK_WEIGHTS / columns + 1 : rows; /* a vector is read whole */
  const size_t bytes = qp_tensor_type_bytes(o->type);
  float *v = malloc(most * columns * sizeof *v);
  qp_status status = v ? QP_OK : qp_fail(u->err, QP_E_NOMEM, "%s: no memory", o->name);
  for (uint64_t row = 0; row < rows && !status; row += most) {
    const uint64_t n = rows - row < most ? rows - row : most;
    status = qp_weights_read(u->weights, o->name, rows, columns, row, n, u->threads, v, u->err);
    if (status) break;
    narrow(v, n * columns, o->type);
    status =
        qp_tensor_writer_write(u->w, id, row * columns * bytes, v, n * columns * bytes, u->err);
    u->watch.done += o->dims > 1 ? n * columns : 0;
  }
  free(v);
  return status;
}

static qp_status write_all(unpacking *u) {
  size_t id = 0;
  qp_status status = qp_tensor_writer_start(u->w, u->err);
  const cJSON *l;
  output o;
  cJSON_ArrayForEach(l, u->linears) {
    if (!status) status = output_of_linear(u, l, &o);
    if (!status && !o.skipped) status = write_numbers(u, &o, id++);
  }
  for (size_t i = 0; i < qp_safetensors_count(u->files) && !status; i++) {
    const qp_tensor *t = qp_safetensors_get(u->files, i);
    if (!output_of_tensor(u, t, &o)) continue;
    status = o.joined ? write_numbers(u, &o, id++)
                      : qp_tensor_writer_write(u->w, id++, 0, t->data, t->bytes, u->err);
    qp_safetensors_release(u->files, t);
  }
  return status ? status : qp_tensor_writer_finish(u->w, u->err);
}

/* A head that was packed beside a tied embedding is a matrix of its own from then on. */
static void describe(unpacking *u) {
  const cJSON *l;
  cJSON_DeleteItemFromObjectCaseSensitive(u->config, "quantization_config");
  cJSON_ArrayForEach(l, u->linears) {
    if (strcmp(name_of(l), "lm_head") != 0) continue;
    cJSON_DeleteItemFromObjectCaseSensitive(u->config, "tie_word_embeddings");
    cJSON_AddBoolToObject(u->config, "tie_word_embeddings", false);
  }
  cJSON_DeleteItemFromObjectCaseSensitive(u->config, "quantization");
}

static qp_status write_config(unpacking *u) {
  char path[4096];
  snprintf(path, sizeof path, "%s/config.json", u->out);
  describe(u);
  char *text = cJSON_Print(u->config);
  if (!text) return qp_fail(u->err, QP_E_NOMEM, "%s: no memory", path);
  const qp_status status = qp_file_write(path, text, strlen(text), u->err);
  cJSON_free(text);
  return status;
}

static void close_all(unpacking *u) {
  qp_tensor_writer_free(u->w);
  qp_parallel_close(u->threads);
  qp_safetensors_close(u->files);
  cJSON_Delete(u->config);
  qp_weights_close(u->weights);
  if (u->models) qp_models_close(u->models);
}

qp_status qp_unpack(const char *folder, const char *out, qp_tensor_type type, qp_palette *palette,
                    unsigned threads, qp_error *err) {
  unpacking u = {.folder = folder, .out = out, .type = type, .err = err};
  char path[4096];
  uint64_t all = 0;
  const cJSON *l;
  const bool made = access(out, F_OK) != 0;
  qp_status status = open_all(&u, palette, threads);
  if (!status) status = qp_companions_check(folder, err);
  if (!status && snprintf(path, sizeof path, "%s/model.safetensors", out) >= (int)sizeof path)
    status = qp_fail(err, QP_E_LIMIT, "%s: the path is too long", out);
  if (!status) qp_file_make_folders(path);
  if (!status) status = qp_tensor_writer_new(path, &u.w, err);
  if (!status) status = qp_tensor_writer_metadata(u.w, "format", "pt", err);
  if (!status) status = declare_all(&u);
  if (!status) {
    cJSON_ArrayForEach(l, u.linears) all += count_of(l, "rows") * count_of(l, "columns");
    qp_watch_begin(&u.watch, "unpack", "weights", (size_t)all);
    status = write_all(&u);
    qp_watch_end(&u.watch);
  }
  if (!status) status = qp_companions_copy(folder, out, err);
  if (!status) status = write_config(&u);
  close_all(&u);
  if (status && made) rmdir(out); /* if it is empty */
  return status;
}
