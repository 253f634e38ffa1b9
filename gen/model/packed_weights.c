/* SPDX-License-Identifier: MIT */
/* Decodes linears that `qpal quantize` packed, on the CPU. */
#include "gen/model/packed_weights.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/base/rotate.h"
#include "gen/model/section_check.h"
#include "gen/spec/reference.h"
#include "runtime/half.h"
#include "runtime/input_side.h"
#include "runtime/packed_version.h"
#include "runtime/safetensors.h"
#include "runtime/sparse_entries.h"

enum { NAME = 256, MAX_THREADS = 256, MAX_SIZE = 1 << 24 };

struct qp_packed_entry {
  const char *name, *signs; /* The tensor of the side of x; NULL: x is taken as it is. */
  const qp_quantizer *quantizer;
  unsigned rows, columns; /* rows: without padding */
  unsigned padding;       /* rows of zeros behind them */
  unsigned rotation;      /* columns of a diagonal block of H (0: all), with flags
                             (runtime/input_side.h) */
  unsigned pieces;        /* pieces of K, with streams of their own */
};

struct qp_packed_weights {
  qp_safetensors *file;
  size_t count;
  qp_packed_entry *entry;               /* [count], sorted by name */
  qp_reference *reference[MAX_THREADS]; /* of each thread, made when it first decodes */
};

/* One linear's arrays. */
typedef struct part {
  qp_stream stream;
  qp_packed packed;
  unsigned column;
} part;

typedef struct arrays {
  part part[QP_MAX_RANGES];
  unsigned parts;
  const void *scales; /* [rows], fp32 or fp16 */
  bool half_scales;
  const void *side; /* of x, or NULL */
} arrays;

/* ---- The section ---- */

static qp_status check_format(const cJSON *section, const char *where, unsigned *version,
                              qp_error *err) {
  const char *format = NULL;
  int64_t number = 0;
  qp_status status = qp_json_text(section, where, "format", &format, err);
  if (status) return status;
  if (strcmp(format, "qpal-packed") != 0)
    return qp_fail(err, QP_E_ARG, "%s: format '%s' is not read; qpal-packed is", where, format);
  status =
      qp_json_integer(section, where, "version", QP_PACKED_FIRST, QP_PACKED_LAST, &number, err);
  *version = (unsigned)number;
  return status ? status
                : qp_json_integer(section, where, "layout", QP_LAYOUT_VERSION, QP_LAYOUT_VERSION,
                                  &number, err);
}

/* The quantizer of this name, of a user's file that was read or of the palette, if it is the one
   that the weights were packed with.  A folder of weights names no file to be run. */
static qp_status find_quantizer(const cJSON *section, const char *where, const char *name,
                                qp_palette *palette, const qp_quantizer **out, qp_error *err) {
  const cJSON *all = NULL, *entry = NULL;
  const char *hash = NULL;
  qp_status status = qp_json_object(section, where, "quantizers", &all, err);
  if (!status) status = qp_json_object(all, where, name, &entry, err);
  if (!status) status = qp_json_text(entry, where, "hash", &hash, err);
  if (!status && qp_palette_path_bytes(name))
    return qp_fail(err, QP_E_ARG, "%s: quantizers: '%s' is a file; a quantizer's name is needed",
                   where, name);
  if (status) return status;
  *out = NULL;
  status = qp_palette_opened(palette, name, hash, out, err);
  if (!status && !*out) status = qp_palette_find(palette, name, out, err);
  if (status) return qp_fail_prefix(err, status, "%s: quantizers", where);
  if (strcmp((*out)->hash, hash) != 0)
    status = qp_fail(err, QP_E_ARG,
                     "%s: quantizer '%s' has the hash %s here, %s as it is defined "
                     "now: other weights "
                     "would be decoded",
                     where, name, hash, (*out)->hash);
  return status;
}

/* Refuse a linear that has what the section's version does not have. */
static qp_status check_version(const cJSON *v, const char *where, unsigned version,
                               const qp_packed_entry *e, qp_error *err) {
  const char *field;
  const qp_packed_extras extras = {.rotation =
                                       cJSON_GetObjectItemCaseSensitive(v, "rotation") != NULL,
                                   .split = cJSON_GetObjectItemCaseSensitive(v, "split") != NULL,
                                   .order = qp_side_has_order(e->rotation),
                                   .scale = qp_side_has_scale(e->rotation),
                                   .sparse = qp_packed_has_sparse(e->quantizer),
                                   .parts = e->quantizer->parts};
  const unsigned needed = qp_packed_version(&extras, &field);
  if (needed <= version || !*field) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: linear '%s': field '%s' is of packed weights of version %u and later; "
                 "field 'version' is %u",
                 where, e->name, field, needed, version);
}

/* What versions 3 and 4 say of the input side, and of slices for ranks. */
static qp_status read_cut(const cJSON *v, const char *where, qp_packed_entry *out, qp_error *err) {
  int64_t block = 0, slices = 1;
  qp_status status = QP_OK;
  const char *split = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "split"));
  if (cJSON_GetObjectItemCaseSensitive(v, "rotation"))
    status = qp_json_integer(v, where, "rotation", 1, out->columns, &block, err);
  if (!status && split && !strcmp(split, "columns"))
    status = qp_json_integer(v, where, "slices", 1, QP_MAX_PIECES, &slices, err);
  if (!status && ((block && out->columns % block) || out->columns % slices))
    status = qp_fail(err, QP_E_ARG,
                     "%s: linear '%s': rotation in blocks of %d columns, %d slices: both must "
                     "divide its %u columns",
                     where, out->name, (int)block, (int)slices, out->columns);
  out->rotation = (unsigned)block;
  if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(v, "order"))) out->rotation |= QP_SIDE_ORDER;
  if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(v, "scale"))) out->rotation |= QP_SIDE_SCALE;
  if (!status && (out->rotation & QP_SIDE_FLAGS) && !out->signs)
    status = qp_fail(err, QP_E_ARG,
                     "%s: linear '%s': field '%s', but 'signs' names no tensor that holds it",
                     where, out->name, qp_side_has_order(out->rotation) ? "order" : "scale");
  if (!status && qp_side_has_order(out->rotation) && out->columns > QP_SIDE_COLUMNS_MAX)
    status = qp_fail(err, QP_E_ARG, "%s: linear '%s': an order of %u columns; at most %d", where,
                     out->name, out->columns, QP_SIDE_COLUMNS_MAX);
  out->pieces = (unsigned)slices;
  return status;
}

static qp_status read_entry(const cJSON *section, const char *where, const cJSON *v,
                            qp_palette *palette, qp_packed_entry *out, qp_error *err) {
  const char *quantizer = NULL;
  int64_t rows = 0, columns = 0;
  qp_status status = qp_json_text(v, where, "name", &out->name, err);
  if (!status) status = qp_json_text(v, where, "quantizer", &quantizer, err);
  if (!status) status = qp_json_integer(v, where, "rows", 1, MAX_SIZE, &rows, err);
  if (!status) status = qp_json_integer(v, where, "columns", 1, MAX_SIZE, &columns, err);
  if (!status) status = find_quantizer(section, where, quantizer, palette, &out->quantizer, err);
  if (status) return status;
  int64_t padding = 0;
  if (cJSON_GetObjectItemCaseSensitive(v, "padding"))
    status = qp_json_integer(v, where, "padding", 0, rows - 1, &padding, err);
  if (status) return status;
  out->signs = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "signs"));
  out->rows = (unsigned)(rows - padding);
  out->padding = (unsigned)padding;
  out->columns = (unsigned)columns;
  return read_cut(v, where, out, err);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const qp_packed_entry *)a)->name, ((const qp_packed_entry *)b)->name);
}

static qp_status read_section(qp_packed_weights *w, const char *folder, const cJSON *section,
                              qp_palette *palette, qp_error *err) {
  char where[4200];
  const cJSON *list = NULL, *v;
  snprintf(where, sizeof where, "%.4096s/config.json: quantization", folder);
  unsigned version = 0;
  qp_status status = check_format(section, where, &version, err);
  if (!status) status = qp_json_array(section, where, "linears", &list, err);
  if (status) return status;
  w->entry = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *w->entry);
  if (!w->entry) return qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
  cJSON_ArrayForEach(v, list) {
    qp_packed_entry *e = &w->entry[w->count];
    status = read_entry(section, where, v, palette, e, err);
    if (!status) status = check_version(v, where, version, e, err);
    if (status) return status;
    w->count++;
  }
  qsort(w->entry, w->count, sizeof *w->entry, by_name);
  return QP_OK;
}

/* ---- Codebooks of definitions ---- */

/* They stand in the folder as they were when the weights were coded. */
static qp_status check_codebooks(const qp_packed_weights *w, const qp_quantizer *q, qp_error *err) {
  char name[NAME];
  for (unsigned c = 0; c < q->codebooks; c++) {
    const qp_codebook *b = &q->codebook[c];
    if (b->scope != QP_SCOPE_SPEC) continue;
    snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
    const qp_tensor *t = qp_safetensors_find(w->file, name);
    const size_t bytes = (size_t)2 * b->entries * b->dim;
    if (!t)
      return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is missing",
                     qp_safetensors_shard_path(w->file, 0), name);
    if (t->type != QP_TENSOR_F16 || t->bytes != bytes || memcmp(t->data, b->data, bytes) != 0)
      return qp_fail(err, QP_E_ARG,
                     "%s: tensor '%s' is not the codebook of %s: it is damaged, or the weights are "
                     "another definition's",
                     qp_safetensors_shard_path(w->file, t->shard), name, q->name);
  }
  return QP_OK;
}

/* Those of each quantizer once, and of the parts of a split. */
static qp_status check_all_codebooks(const qp_packed_weights *w, qp_error *err) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < w->count && !status; i++) {
    const qp_quantizer *q = w->entry[i].quantizer;
    size_t first = 0;
    while (w->entry[first].quantizer != q) first++;
    if (first < i) continue;
    if (q->kind != QP_SPLIT) status = check_codebooks(w, q, err);
    for (unsigned p = 0; p < q->parts && !status; p++)
      status = check_codebooks(w, q->part[p].quantizer, err);
  }
  return status;
}

/* Linears that only one of them lists would be left out, or taken for tensors of 16 bits. */
static qp_status compare_shards(const qp_packed_weights *w, const char *folder,
                                const cJSON *section, qp_error *err) {
  char config[4200];
  snprintf(config, sizeof config, "%.4096s/config.json", folder);
  return qp_section_compare(section, config, w->file, err);
}

qp_status qp_packed_weights_open(const char *folder, const cJSON *section, qp_palette *palette,
                                 qp_packed_weights **out, qp_error *err) {
  qp_packed_weights *w = calloc(1, sizeof *w);
  if (!w) return qp_fail(err, QP_E_NOMEM, "%s: no memory", folder);
  qp_status status = qp_safetensors_open(folder, &w->file, err);
  if (!status) status = read_section(w, folder, section, palette, err);
  if (!status) status = compare_shards(w, folder, section, err);
  if (!status) status = check_all_codebooks(w, err);
  if (status) return qp_packed_weights_close(w), status;
  *out = w;
  return QP_OK;
}

void qp_packed_weights_close(qp_packed_weights *w) {
  if (!w) return;
  for (unsigned i = 0; i < MAX_THREADS; i++)
    if (w->reference[i]) qp_reference_free(w->reference[i]);
  qp_safetensors_close(w->file);
  free(w->entry);
  free(w);
}

const qp_packed_entry *qp_packed_weights_find(const qp_packed_weights *w, const char *name) {
  const qp_packed_entry key = {.name = name};
  return w->count ? bsearch(&key, w->entry, w->count, sizeof *w->entry, by_name) : NULL;
}

uint64_t qp_packed_entry_rows(const qp_packed_entry *e) { return e->rows; }
uint64_t qp_packed_entry_columns(const qp_packed_entry *e) { return e->columns; }

/* ---- A linear's tensors ---- */

static qp_status take(const qp_packed_weights *w, const char *name, qp_tensor_type type,
                      size_t bytes, const void **out, qp_error *err) {
  const qp_tensor *t = qp_safetensors_find(w->file, name);
  const char *path = qp_safetensors_shard_path(w->file, t ? t->shard : 0);
  if (!t) return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is missing", path, name);
  if (t->type != type || t->bytes != bytes || (uintptr_t)t->data % qp_tensor_type_bytes(type))
    return qp_fail(err, QP_E_ARG,
                   "%s: tensor '%s' at offset %zu: %zu bytes of %s; %zu of %s, "
                   "aligned, are needed",
                   path, name, t->offset, t->bytes, qp_tensor_type_name(t->type), bytes,
                   qp_tensor_type_name(type));
  *out = t->data;
  return QP_OK;
}

/* Refuse a stream whose sparse entries are not as the reference reads them. */
static qp_status check_sparse(const qp_packed_weights *w, const qp_packed_entry *e,
                              const qp_range *r, const part *p, qp_error *err) {
  char why[128];
  const unsigned f = qp_layout_sparse_array(p->stream.quantizer);
  const qp_sparse_array a = {.data = p->packed.field[f],
                             .bytes = p->stream.field_bytes[f],
                             .row_groups = p->stream.row_groups,
                             .entries = p->stream.sparse,
                             .columns = p->stream.columns};
  if (qp_sparse_is_right(&a, why, sizeof why)) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: tensor '%s.field.%u.%u': %s",
                 qp_safetensors_shard_path(w->file, 0), e->name, r->part, f, why);
}

/* Take stream r of the linear: its chunk of each of its part's tensors. */
static qp_status take_part(const qp_packed_weights *w, const qp_packed_entry *e, const qp_range *r,
                           part *p, qp_error *err) {
  const qp_quantizer *q = p->stream.quantizer;
  char name[NAME + 64];
  const void *at = NULL;
  const size_t words = p->stream.code_words;
  snprintf(name, sizeof name, "%.*s.codes.%u", NAME, e->name, r->part);
  qp_status status = take(w, name, QP_TENSOR_U32, words * 4 * e->pieces, &at, err);
  if (!status) p->packed.codes = (const uint32_t *)at + r->piece * words;
  for (unsigned f = 0; f < p->stream.arrays && !status; f++) {
    const size_t bytes = p->stream.field_bytes[f];
    const bool half = qp_layout_array_is_half(q, f);
    snprintf(name, sizeof name, "%.*s.field.%u.%u", NAME, e->name, r->part, f);
    status = take(w, name, half ? QP_TENSOR_F16 : QP_TENSOR_U8, bytes * e->pieces, &at, err);
    if (!status) p->packed.field[f] = (const uint8_t *)at + r->piece * bytes;
  }
  if (!status && p->stream.sparse) status = check_sparse(w, e, r, p, err);
  for (unsigned c = 0; c < q->codebooks && !status; c++) {
    const qp_codebook *b = &q->codebook[c];
    const size_t rows =
        (b->scope == QP_SCOPE_ROW ? (size_t)p->stream.row_groups * QP_GROUP_ROWS : 1) * b->dim;
    if (b->scope == QP_SCOPE_SPEC) continue; /* the definition's own, which the hash covers */
    snprintf(name, sizeof name, "%.*s.codebook.%u.%u", NAME, e->name, r->part, c);
    status = take(w, name, QP_TENSOR_F16, 2 * rows * b->entries * e->pieces, &at, err);
    if (!status) p->packed.codebook[c] = (const uint16_t *)at + r->piece * rows * b->entries;
  }
  return status;
}

static qp_status check_side(const qp_packed_weights *w, const qp_packed_entry *e, const void *side,
                            qp_error *err) {
  char why[96];
  if (qp_side_is_right(side, e->columns, e->rotation, why, sizeof why)) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: tensor '%s': %s", qp_safetensors_shard_path(w->file, 0),
                 e->signs, why);
}

static float scale_of(const arrays *a, size_t row) {
  return a->half_scales ? qp_half_to_float(((const uint16_t *)a->scales)[row])
                        : ((const float *)a->scales)[row];
}

/* Refuse scales of these rows of which one is NaN or infinite, as libqpal does. */
static qp_status check_scales(const qp_packed_weights *w, const qp_packed_entry *e, const arrays *a,
                              uint64_t first, uint64_t count, qp_error *err) {
  for (uint64_t r = first; r < first + count; r++)
    if (!isfinite(scale_of(a, r)))
      return qp_fail(err, QP_E_ARG,
                     "%s: tensor '%s.row_scales' [%llu] is %g; scales should be "
                     "finite",
                     qp_safetensors_shard_path(w->file, 0), e->name, (unsigned long long)r,
                     (double)scale_of(a, r));
  return QP_OK;
}

static qp_status take_arrays(const qp_packed_weights *w, const qp_packed_entry *e, arrays *a,
                             qp_error *err) {
  const unsigned rows = e->rows + e->padding;
  char name[NAME + 64];
  const void *at = NULL;
  qp_status status = QP_OK;
  *a = (arrays){0};
  for (unsigned i = 0; i < qp_layout_ranges(e->quantizer, e->pieces) && !status; i++) {
    const qp_range r = qp_layout_range(e->quantizer, e->columns, e->pieces, i);
    part *p = &a->part[a->parts];
    if (!r.columns) continue; /* of a narrow linear */
    p->column = r.column;
    status = qp_layout_stream(r.quantizer, rows, r.columns, &p->stream, err);
    if (!status) status = take_part(w, e, &r, p, err);
    p->packed.stream = &p->stream;
    a->parts++;
  }
  snprintf(name, sizeof name, "%.*s.row_scales", NAME, e->name);
  const qp_tensor *scales = qp_safetensors_find(w->file, name);
  a->half_scales = scales && scales->type == QP_TENSOR_F16;
  const qp_tensor_type type = a->half_scales ? QP_TENSOR_F16 : QP_TENSOR_F32;
  if (!status) status = take(w, name, type, rows * qp_tensor_type_bytes(type), &at, err);
  a->scales = at;
  if (!status && e->signs)
    status = take(w, e->signs, QP_TENSOR_U32, qp_side_bytes(e->columns, e->rotation), &at, err);
  if (!status && e->signs) status = check_side(w, e, at, err);
  a->side = e->signs ? at : NULL;
  return status;
}

/* ---- Decoding, a group of 32 rows a turn ---- */

typedef struct decoding {
  qp_packed_weights *w;
  const qp_packed_entry *e;
  const arrays *a;
  uint64_t first, end; /* rows that are wanted */
  float *out;
  _Atomic int status;
  qp_error *err; /* of the first that failed */
} decoding;

/* Decode W^ of a group of rows: half [32][columns], and 'piece' has the same size. */
static qp_status decode_halves(const decoding *d, qp_reference *reference, unsigned row_group,
                               uint16_t *half, uint16_t *piece, qp_error *err) {
  const size_t columns = d->e->columns;
  assert(d->a->parts > 0); /* the last part of a split reaches the end of the row */
  for (unsigned i = 0; i < d->a->parts; i++) {
    const part *p = &d->a->part[i];
    const size_t n = p->stream.columns;
    qp_status status = qp_reference_decode(reference, &p->packed, row_group, piece, err);
    if (status) return status;
    for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
      memcpy(half + r * columns + p->column, piece + r * n, n * sizeof *half);
  }
  return QP_OK;
}

static qp_status decode_group(const decoding *d, qp_reference *reference, uint64_t row_group,
                              qp_error *err) {
  const size_t columns = d->e->columns, cells = QP_GROUP_ROWS * columns;
  const uint64_t begin = row_group * QP_GROUP_ROWS;
  const uint64_t from = begin > d->first ? begin : d->first;
  const uint64_t to = begin + QP_GROUP_ROWS < d->end ? begin + QP_GROUP_ROWS : d->end;
  float *out = d->out + (size_t)(from - d->first) * columns;
  uint16_t *half = malloc(2 * cells * sizeof *half);
  if (!half) return qp_fail(err, QP_E_NOMEM, "no memory to decode 32 rows");
  qp_status status = decode_halves(d, reference, (unsigned)row_group, half, half + cells, err);
  for (uint64_t r = from; r < to && !status; r++) {
    const uint16_t *row = half + (size_t)(r - begin) * columns;
    float *y = out + (size_t)(r - from) * columns;
    for (size_t i = 0; i < columns; i++) y[i] = scale_of(d->a, r) * qp_half_to_float(row[i]);
  }
  free(half);
  const qp_input in = qp_input_of(d->e->columns, d->e->rotation, d->a->side);
  return status ? status : qp_rotate_rows_back(out, (unsigned)(to - from), &in, 1, err);
}

static void decode_some(void *argument, size_t i, unsigned thread) {
  decoding *d = argument;
  qp_reference **reference = &d->w->reference[thread];
  qp_error own = {{0}};
  qp_status status = QP_OK;
  if (atomic_load(&d->status)) return;
  if (!*reference && !(*reference = qp_reference_new()))
    status = qp_fail(&own, QP_E_NOMEM, "no memory to decode weights");
  if (!status) status = decode_group(d, *reference, d->first / QP_GROUP_ROWS + i, &own);
  int none = QP_OK;
  if (status && atomic_compare_exchange_strong(&d->status, &none, (int)status) && d->err)
    *d->err = own;
}

qp_status qp_packed_weights_read(qp_packed_weights *w, const qp_packed_entry *e, uint64_t first,
                                 uint64_t count, qp_parallel *p, float *out, qp_error *err) {
  arrays a;
  qp_status status = take_arrays(w, e, &a, err);
  if (!status) status = check_scales(w, e, &a, first, count, err);
  if (status || !count) return status;
  decoding d = {
      .w = w, .e = e, .a = &a, .first = first, .end = first + count, .out = out, .err = err};
  const uint64_t groups = (d.end + QP_GROUP_ROWS - 1) / QP_GROUP_ROWS - first / QP_GROUP_ROWS;
  qp_parallel_for(p, (size_t)groups, decode_some, &d);
  return (qp_status)atomic_load(&d.status);
}
