/* SPDX-License-Identifier: MIT */
/* What packed models say of themselves. */
#include "tuner/quantize/section.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "runtime/checksums.h"
#include "runtime/safetensors.h"
#include "tuner/quantize/companions.h"

enum { CHECKSUM_BYTES = 8 << 20 };

static qp_status no_memory(qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "no memory for the section 'quantization'");
}

static const char *kind_name(qp_quantizer_kind k) {
  static const char *const names[] = {"trellis", "vector", "scalar", "split"};
  return names[k];
}

/* ---- Linears ---- */

static void add_part(cJSON *parts, const qp_job_linear *l, unsigned p) {
  const qp_range r = qp_layout_range(l->quantizer, l->columns, qp_job_pieces(l), p);
  const qp_quantizer *q = r.quantizer;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "quantizer", q->name);
  cJSON_AddNumberToObject(o, "column", r.column);
  cJSON_AddNumberToObject(o, "columns", r.columns);
  cJSON_AddNumberToObject(o, "fields", qp_layout_arrays(q));
  qp_stream stream;
  if (!qp_layout_stream(q, l->rows, r.columns, &stream, NULL) && stream.sparse)
    cJSON_AddNumberToObject(o, "sparse", stream.sparse);
  cJSON *books = cJSON_AddArrayToObject(o, "codebooks");
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope != QP_SCOPE_SPEC) cJSON_AddItemToArray(books, cJSON_CreateNumber(c));
  cJSON_AddItemToArray(parts, o);
}

qp_status qp_section_linear(const qp_job_linear *l, const qp_linear_figures *f, char **out,
                            qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "name", l->name);
  cJSON_AddStringToObject(o, "group", l->group);
  cJSON_AddNumberToObject(o, "rows", l->rows);
  if (l->weight->rows < l->rows)
    cJSON_AddNumberToObject(o, "padding", (double)(l->rows - l->weight->rows));
  cJSON_AddNumberToObject(o, "columns", l->columns);
  cJSON_AddStringToObject(o, "quantizer", l->quantizer->name);
  if (*l->signs)
    cJSON_AddStringToObject(o, "signs", l->signs);
  else
    cJSON_AddNullToObject(o, "signs");
  const unsigned block = qp_side_block(l->rotation);
  if (block > 1 || (block && *l->signs)) cJSON_AddNumberToObject(o, "rotation", block);
  if (qp_side_has_order(l->rotation)) cJSON_AddTrueToObject(o, "order");
  if (qp_side_has_scale(l->rotation)) cJSON_AddTrueToObject(o, "scale");
  if (l->split) {
    cJSON_AddStringToObject(o, "split", l->split == QP_JOB_ROWS ? "rows" : "columns");
    cJSON_AddNumberToObject(o, "slices", l->slices);
  }
  if (l->of) {
    cJSON *of = cJSON_AddObjectToObject(o, "of");
    cJSON_AddStringToObject(of, "name", l->hessian);
    cJSON_AddNumberToObject(of, "begin", l->of->begin);
    cJSON_AddNumberToObject(of, "run", l->of->run);
    cJSON_AddNumberToObject(of, "period", l->of->period);
  }
  cJSON *parts = cJSON_AddArrayToObject(o, "parts");
  for (unsigned p = 0; p < qp_linear_parts(l->quantizer); p++) add_part(parts, l, p);
  cJSON_AddNumberToObject(o, "bytes", (double)f->bytes);
  cJSON_AddNumberToObject(o, "distortion", f->distortion);
  cJSON_AddNumberToObject(o, "distortion_original", f->original);
  cJSON_AddNumberToObject(o, "proxy", f->proxy);
  if (f->damping > 0) cJSON_AddNumberToObject(o, "damping", f->damping);
  if (f->input_scale > 0 && f->input_scale < 1)
    cJSON_AddNumberToObject(o, "input_scale", f->input_scale);
  if (*f->unfitted) cJSON_AddStringToObject(o, "unfitted", f->unfitted);
  char *printed = cJSON_PrintUnformatted(o), *text = printed ? strdup(printed) : NULL;
  cJSON_free(printed);
  cJSON_Delete(o);
  if (!text) return no_memory(err);
  *out = text;
  return QP_OK;
}

/* ---- Quantizers ---- */

static cJSON *quantizer_entry(const qp_quantizer *q) {
  char name[128];
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "hash", q->hash);
  cJSON_AddNumberToObject(o, "layout", q->layout);
  cJSON_AddStringToObject(o, "kind", kind_name(q->kind));
  cJSON_AddNumberToObject(o, "rate_bits", q->rate);
  cJSON_AddNumberToObject(o, "stored_bits", q->stored_rate);
  if (q->kind != QP_SPLIT) {
    cJSON *books = cJSON_AddArrayToObject(o, "codebooks");
    for (unsigned c = 0; c < q->codebooks; c++) {
      snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
      const bool spec = q->codebook[c].scope == QP_SCOPE_SPEC;
      cJSON_AddItemToArray(books, spec ? cJSON_CreateString(name) : cJSON_CreateNull());
    }
    return o;
  }
  cJSON *parts = cJSON_AddArrayToObject(o, "parts");
  for (unsigned p = 0; p < q->parts; p++) {
    cJSON *part = cJSON_CreateObject();
    cJSON_AddStringToObject(part, "quantizer", q->part[p].quantizer->name);
    cJSON_AddNumberToObject(part, "fraction", q->part[p].fraction);
    cJSON_AddItemToArray(parts, part);
  }
  return o;
}

qp_status qp_section_make(const qp_job *j, cJSON *linears, cJSON **out, qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "format", "qpal-packed");
  cJSON_AddNumberToObject(o, "version", qp_job_version(j));
  cJSON_AddNumberToObject(o, "layout", QP_LAYOUT_VERSION);
  cJSON_AddStringToObject(o, "rotation", j->rotate ? "hadamard" : "none");
  cJSON_AddNumberToObject(o, "seed", j->seed);
  cJSON *quantizers = cJSON_AddObjectToObject(o, "quantizers");
  for (size_t i = 0; i < j->quantizers; i++)
    cJSON_AddItemToObject(quantizers, j->quantizer[i]->name, quantizer_entry(j->quantizer[i]));
  if (!o || !quantizers || !linears || !cJSON_AddItemToObject(o, "linears", linears)) {
    cJSON_Delete(o);
    return no_memory(err);
  }
  *out = o;
  return QP_OK;
}

uint64_t qp_section_sign_bytes(const qp_job *j) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < j->linears; i++) {
    const qp_job_linear *l = &j->linear[i];
    if (*l->signs && qp_job_side_is_new(j, i)) bytes += qp_side_bytes(l->columns, l->rotation);
  }
  return bytes;
}

uint64_t qp_section_codebook_bytes(const qp_job *j) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < j->quantizers; i++) {
    const qp_quantizer *q = j->quantizer[i];
    for (unsigned c = 0; c < q->codebooks && q->kind != QP_SPLIT; c++)
      if (q->codebook[c].scope == QP_SCOPE_SPEC)
        bytes += (uint64_t)2 * q->codebook[c].entries * q->codebook[c].dim;
  }
  return bytes;
}

/* ---- After the last shard ---- */

/* What is gathered from the shards. */
typedef struct gathering {
  const qp_job *j;
  cJSON *linears; /* entries of all shards */
  cJSON *map;     /* weight_map */
  cJSON *sums;    /* checksum of each tensor; NULL: they are there */
  double total_bytes, linear_bytes, weights;
  qp_error *err;
} gathering;

static qp_status gather_entries(gathering *g, const char *file, const char *text) {
  cJSON *tree = NULL;
  const cJSON *list = NULL;
  double bytes = 0, rows = 0, columns = 0;
  qp_status status = qp_json_parse(file, text, strlen(text), &tree, g->err);
  if (!status) status = qp_json_array(tree, file, "linears", &list, g->err);
  const cJSON *item;
  if (!status) cJSON_ArrayForEach(item, list) {
      status = qp_json_number(item, file, "bytes", 0, 0x1p53, &bytes, g->err);
      if (!status) status = qp_json_number(item, file, "rows", 1, 0x1p32, &rows, g->err);
      if (!status) status = qp_json_number(item, file, "columns", 1, 0x1p32, &columns, g->err);
      if (status) break;
      g->linear_bytes += bytes;
      g->weights += rows * columns;
      cJSON_AddItemToArray(g->linears, cJSON_Duplicate(item, true));
    }
  cJSON_Delete(tree);
  return status;
}

/* Piece by piece, so that memory is one piece however large the tensor is. */
static uint64_t checksum_of(const qp_safetensors *file, const qp_tensor *t) {
  XXH3_state_t s;
  XXH3_64bits_reset(&s);
  for (size_t at = 0; at < t->bytes; at += CHECKSUM_BYTES) {
    const size_t left = t->bytes - at, n = left < CHECKSUM_BYTES ? left : CHECKSUM_BYTES;
    XXH3_64bits_update(&s, (const char *)t->data + at, n);
    qp_safetensors_release(file, t);
  }
  return XXH3_64bits_digest(&s);
}

/* Of a folder that has checksums already, they stay: they are of what was written. */
static void add_checksum(gathering *g, const qp_safetensors *file, const qp_tensor *t) {
  char sum[17];
  if (!g->sums) return;
  snprintf(sum, sizeof sum, "%016llx", (unsigned long long)checksum_of(file, t));
  cJSON_AddStringToObject(g->sums, t->name, sum);
}

static qp_status gather_shard(gathering *g, const qp_job_shard *s) {
  char path[4096];
  qp_safetensors *file = NULL;
  if (!qp_job_path(g->j, s->file, path))
    return qp_fail(g->err, QP_E_LIMIT, "%s: the path is too long", g->j->folder);
  qp_status status = qp_safetensors_open(path, &file, g->err);
  if (status) return status;
  const char *key = qp_safetensors_metadata(file, 0, "job");
  const char *text = qp_safetensors_metadata(file, 0, "quantization");
  if (!key || !text || strcmp(key, g->j->key) != 0)
    status = qp_fail(g->err, QP_E_ARG, "%s: is not of this run", path);
  if (!status) status = gather_entries(g, path, text);
  for (size_t i = 0; i < qp_safetensors_count(file) && !status; i++) {
    const qp_tensor *t = qp_safetensors_get(file, i);
    cJSON_AddStringToObject(g->map, t->name, s->file);
    g->total_bytes += (double)t->bytes;
    add_checksum(g, file, t);
  }
  qp_safetensors_close(file);
  return status;
}

static qp_status write_json(const qp_job *j, const char *name, const cJSON *tree, qp_error *err) {
  char path[4096];
  if (!qp_job_path(j, name, path))
    return qp_fail(err, QP_E_LIMIT, "%s: the path is too long", j->folder);
  char *text = cJSON_Print(tree);
  if (!text) return no_memory(err);
  qp_status status = qp_file_write(path, text, strlen(text), err);
  cJSON_free(text);
  return status;
}

static qp_status write_checksums(const gathering *g) {
  if (!g->sums) return QP_OK;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "algorithm", QP_CHECKSUMS_ALGORITHM);
  cJSON_AddItemReferenceToObject(o, "tensors", g->sums);
  const qp_status status = write_json(g->j, QP_CHECKSUMS_FILE, o, g->err);
  cJSON_Delete(o);
  return status;
}

static qp_status write_index(const gathering *g) {
  cJSON *o = cJSON_CreateObject(), *m = cJSON_AddObjectToObject(o, "metadata");
  cJSON_AddNumberToObject(m, "total_size", g->total_bytes);
  cJSON_AddItemReferenceToObject(o, "weight_map", g->map);
  qp_status status = write_json(g->j, "model.safetensors.index.json", o, g->err);
  cJSON_Delete(o);
  return status;
}

static double bits_per_weight(const gathering *g) {
  const double shared =
      (double)qp_section_sign_bytes(g->j) + (double)qp_section_codebook_bytes(g->j);
  return g->weights > 0 ? 8 * (g->linear_bytes + shared) / g->weights : 0;
}

/* Who loads the folder in transformers and vLLM: the plug-in that is registered by this name. */
static void add_method(cJSON *config, unsigned version, double bits) {
  cJSON_DeleteItemFromObjectCaseSensitive(config, "quantization_config");
  cJSON *method = cJSON_AddObjectToObject(config, "quantization_config");
  cJSON_AddStringToObject(method, "quant_method", "qpal");
  cJSON_AddStringToObject(method, "format", "qpal-packed");
  cJSON_AddNumberToObject(method, "version", version);
  cJSON_AddNumberToObject(method, "bits_per_weight", bits);
}

static qp_status write_config(const gathering *g) {
  const char *text = qp_checkpoint_config(g->j->checkpoint);
  cJSON *config = NULL, *section = NULL;
  qp_status status = qp_json_parse_python(qp_checkpoint_path(g->j->checkpoint), text, strlen(text),
                                          &config, g->err);
  if (!status) status = qp_section_make(g->j, cJSON_Duplicate(g->linears, true), &section, g->err);
  if (!status) {
    cJSON_AddNumberToObject(section, "bits_per_weight", bits_per_weight(g));
    cJSON_DeleteItemFromObjectCaseSensitive(config, "quantization");
    cJSON_AddItemToObject(config, "quantization", section);
    add_method(config, qp_job_version(g->j), bits_per_weight(g));
    status = write_json(g->j, "config.json", config, g->err);
  }
  cJSON_Delete(config);
  return status;
}

static double number_of(const cJSON *item, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, name);
  return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* Compute a figure's mean over linears, by their weights. */
static double mean_of(const gathering *g, const char *figure) {
  double sum = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, g->linears) sum +=
      number_of(item, "rows") * number_of(item, "columns") * number_of(item, figure);
  return g->weights > 0 ? sum / g->weights : 0;
}

/* Make {"linears": {NAME: {QUANTIZER: {"distortion": D, ...}}}, ...}. */
static cJSON *make_report(const gathering *g) {
  static const char *const figures[] = {"distortion",  "distortion_original",
                                        "proxy",       "damping",
                                        "input_scale", "rows",
                                        "columns",     "bytes",
                                        "unfitted"};
  const qp_model *model = qp_checkpoint_model(g->j->checkpoint);
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "model", model->name);
  cJSON_AddNumberToObject(o, "bits_per_weight", bits_per_weight(g));
  cJSON_AddNumberToObject(o, "weights", g->weights);
  cJSON_AddNumberToObject(o, "bytes",
                          g->linear_bytes + (double)qp_section_sign_bytes(g->j) +
                              (double)qp_section_codebook_bytes(g->j));
  cJSON_AddNumberToObject(o, "stored_bytes", g->total_bytes);
  cJSON_AddNumberToObject(o, "distortion", mean_of(g, "distortion"));
  cJSON_AddNumberToObject(o, "distortion_original", mean_of(g, "distortion_original"));
  if (g->j->hessian) cJSON_AddNumberToObject(o, "proxy", mean_of(g, "proxy"));
  cJSON *linears = cJSON_AddObjectToObject(o, "linears");
  const cJSON *item;
  cJSON_ArrayForEach(item, g->linears) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
    const char *q = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "quantizer"));
    if (!name || !q) continue;
    cJSON *entry = cJSON_AddObjectToObject(linears, name), *f = cJSON_AddObjectToObject(entry, q);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
      const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, figures[i]);
      if (v) cJSON_AddItemToObject(f, figures[i], cJSON_Duplicate(v, false));
    }
  }
  return o;
}

qp_status qp_section_finish(const qp_job *j, cJSON **report, qp_error *err) {
  gathering g = {.j = j, .linears = cJSON_CreateArray(), .map = cJSON_CreateObject(), .err = err};
  char sums[4096];
  const bool summed = qp_job_path(j, QP_CHECKSUMS_FILE, sums) && access(sums, F_OK) == 0;
  if (!summed) g.sums = cJSON_CreateObject();
  qp_status status = g.linears && g.map && (g.sums || summed) ? QP_OK : no_memory(err);
  for (size_t i = 0; i < j->shards && !status; i++) status = gather_shard(&g, &j->shard[i]);
  if (!status && (size_t)cJSON_GetArraySize(g.linears) != j->linears)
    status = qp_fail(err, QP_E_ARG, "%s: its shards hold %d of %zu linears", j->folder,
                     cJSON_GetArraySize(g.linears), j->linears);
  if (!status) status = write_config(&g);
  cJSON *tree = status ? NULL : make_report(&g);
  if (!status) status = write_json(j, "quantize-report.json", tree, err);
  if (!status) status = write_checksums(&g);
  if (!status) status = qp_companions_copy(qp_checkpoint_path(j->checkpoint), j->folder, err);
  if (!status) status = write_index(&g); /* last: a folder with an index is complete */
  cJSON_Delete(g.linears);
  cJSON_Delete(g.map);
  cJSON_Delete(g.sums);
  if (status) return cJSON_Delete(tree), status;
  *report = tree;
  return QP_OK;
}
