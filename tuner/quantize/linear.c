/* SPDX-License-Identifier: MIT */
/* One linear: weights --[rotate, encode, measure]--> a file with its packed tensors. */
#include "tuner/quantize/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/encode.h"
#include "gen/model/tensor_writer.h"
#include "runtime/half.h"
#include "tuner/quantize/hessian.h"
#include "tuner/quantize/measure.h"
#include "gen/base/rotate.h"
#include "tuner/quantize/keep_codes.h"
#include "tuner/quantize/residual.h"
#include "tuner/quantize/section.h"
#include "tuner/quantize/side.h"

/* A linear in work.  Where a Hessian stands for each of several groups of rows, each group is a
   band that is encoded by itself; codes of row groups follow each other, so bands do too. */
typedef struct bench {
  const qp_job *j;
  const qp_job_linear *l;
  void *side; /* of x, or NULL */
  qp_input in;
  unsigned bands;
  qp_encoded *band;
  qp_error *err;
} bench;

static unsigned band_rows(const bench *b) { return b->l->rows / b->bands; }

/* ---- Encoding ---- */

static qp_status encode_band(bench *b, const qp_hessian *hessian, unsigned i,
                             qp_encode_options *options) {
  const qp_job_linear *l = b->l;
  const unsigned rows = band_rows(b);
  float *weights = malloc((size_t)rows * l->columns * sizeof *weights), *moments = NULL;
  if (!weights)
    return qp_fail(b->err, QP_E_NOMEM, "no memory for %u x %u weights", rows, l->columns);
  const unsigned threads = qp_encode_threads(b->j->threads);
  qp_status status = qp_job_read(b->j, l, (uint64_t)i * rows, rows, weights, b->err);
  qp_checkpoint_release(b->j->checkpoint, l->weight);
  if (!status && b->j->residual && b->bands > 1)
    status =
        qp_fail(b->err, QP_E_ARG,
                "guided Hessians are of parts of a linear, and --text gives targets of a whole "
                "one: give one of the two");
  if (!status && b->j->residual)
    status = qp_residual_target(b->j->residual, l->name, weights, options->cancel, b->err);
  if (!status) status = qp_rotate_rows(weights, rows, &b->in, threads, b->err);
  if (!status && hessian->groups)
    status = qp_hessian_read(hessian, i, &b->in, threads, &moments, b->err);
  options->hessian = moments;
  if (!status)
    status =
        qp_encode_linear(l->quantizer, weights, rows, l->columns, options, &b->band[i], b->err);
  free(weights);
  free(moments);
  return status;
}

/* Codes as the source has them, in one band. */
static qp_status keep(bench *b, _Atomic size_t *done) {
  if (!(b->band = calloc(1, sizeof *b->band))) return qp_fail(b->err, QP_E_NOMEM, "no memory");
  const qp_status status = qp_keep_codes(b->j, b->l, b->band, b->err);
  b->bands = status ? 0 : 1;
  if (!status && done) *done += (size_t)b->l->rows * b->l->columns;
  return status;
}

static qp_status encode(bench *b, _Atomic size_t *done, const _Atomic bool *cancel) {
  qp_hessian hessian = {0};
  qp_status status = QP_OK;
  if (b->j->hessian && *b->l->hessian)
    status =
        qp_hessian_open(b->j->hessian, b->l->hessian, b->l->rows, b->l->columns, &hessian, b->err);
  b->bands = hessian.groups ? hessian.groups : 1;
  if (!status && !(b->band = calloc(b->bands, sizeof *b->band)))
    status = qp_fail(b->err, QP_E_NOMEM, "no memory");
  qp_encode_options options = {.threads = b->j->threads,
                               .input_scale = qp_job_scale_of(b->j, b->l),
                               .beam = b->j->beam,
                               .hessian_damping = b->j->damping,
                               .hessian_samples = hessian.samples,
                               .settles_scale = !(b->j->input_scale > 0),
                               .settles_damping = !(b->j->damping > 0),
                               .pieces = qp_job_pieces(b->l),
                               .searcher = b->j->searcher,
                               .coders = b->j->coders,
                               .done = done,
                               .cancel = cancel};
  for (unsigned i = 0; i < b->bands && !status; i++) status = encode_band(b, &hessian, i, &options);
  qp_hessian_close(&hessian);
  return status;
}

/* ---- Measuring ---- */

static qp_status measure(bench *b, qp_linear_figures *out) {
  qp_measure sums = {0};
  qp_status status = QP_OK;
  double proxy = 0, damping = 0, share = 1;
  for (unsigned i = 0; i < b->bands && !status; i++) {
    const qp_encoded *e = &b->band[i];
    qp_linear_part part[QP_MAX_RANGES];
    for (unsigned p = 0; p < e->parts; p++) {
      part[p] = (qp_linear_part){.stream = e->part[p].stream, .column = e->part[p].column};
      part[p].packed = qp_encoded_packed(e, p);
    }
    status = qp_measure_rows(b->j, b->l, i * band_rows(b), e->rows, part, e->parts, e->row_scale,
                             &sums, b->err);
    proxy += e->proxy / b->bands;
    if (e->damping > damping) damping = e->damping;
    const double usual = b->j->keeps_codes ? 0 : qp_job_scale_of(b->j, b->l);
    if (e->input_scale < share * usual) share = e->input_scale / usual;
  }
  if (!status)
    *out = (qp_linear_figures){.distortion = qp_measure_ratio(sums.lost, sums.power),
                               .original = qp_measure_ratio(sums.lost_back, sums.power_back),
                               .proxy = proxy,
                               .damping = damping,
                               .input_scale = b->j->keeps_codes ? 0 : share};
  if (!status) memcpy(out->unfitted, b->band[0].unfitted, sizeof out->unfitted);
  return status;
}

/* ---- Writing ---- */

/* One packed tensor, put together from chunks: of each piece of K those of all bands. */
typedef struct output {
  char name[QP_JOB_NAME];
  qp_tensor_type type;
  unsigned dims;
  uint64_t shape[2];
  size_t bytes; /* of one chunk */
  unsigned chunks;
  const void *data[QP_HESSIAN_GROUPS * QP_MAX_PIECES];
} output;

enum { MAX_OUTPUTS = QP_MAX_PARTS * (1 + QP_MAX_ARRAYS + QP_MAX_CODEBOOKS) + 1 };

static void add_output(output *list, unsigned *count, const output *o) {
  if (o->bytes) list[(*count)++] = *o;
}

static unsigned chunks_of(const bench *b) { return b->bands * qp_job_pieces(b->l); }

/* Find part p of the quantizer in a chunk: of which band it is, and which of its streams. */
static const qp_encoded *band_of(const bench *b, unsigned chunk) {
  return &b->band[chunk % b->bands];
}
static unsigned stream_of(const bench *b, unsigned chunk, unsigned p) {
  return chunk / b->bands * qp_linear_parts(b->l->quantizer) + p;
}

static void list_codebooks(const bench *b, unsigned p, output *list, unsigned *count) {
  const qp_quantizer *q = b->band[0].part[p].stream.quantizer;
  const unsigned chunks = chunks_of(b);
  for (unsigned c = 0; c < q->codebooks; c++) {
    const qp_codebook *book = &q->codebook[c];
    if (book->scope == QP_SCOPE_SPEC) continue;
    const bool by_row = book->scope == QP_SCOPE_ROW;
    const unsigned row_count = b->band[0].part[p].stream.row_groups * QP_GROUP_ROWS;
    output o = {.type = QP_TENSOR_F16,
                .dims = 2,
                .shape = {(by_row ? row_count : book->entries) * chunks,
                          by_row ? book->entries * book->dim : book->dim},
                .bytes = (size_t)2 * book->entries * book->dim * (by_row ? row_count : 1),
                .chunks = chunks};
    snprintf(o.name, sizeof o.name, "%s.codebook.%u.%u", b->l->name, p, c);
    for (unsigned i = 0; i < chunks; i++)
      o.data[i] = band_of(b, i)->part[stream_of(b, i, p)].codebook[c];
    add_output(list, count, &o);
  }
}

static void list_part(const bench *b, unsigned p, output *list, unsigned *count) {
  const qp_stream *s = &b->band[0].part[p].stream;
  const unsigned chunks = chunks_of(b);
  output codes = {.type = QP_TENSOR_U32,
                  .dims = 1,
                  .shape = {s->code_words * chunks},
                  .bytes = s->code_words * 4,
                  .chunks = chunks};
  snprintf(codes.name, sizeof codes.name, "%s.codes.%u", b->l->name, p);
  for (unsigned i = 0; i < chunks; i++)
    codes.data[i] = band_of(b, i)->part[stream_of(b, i, p)].codes;
  add_output(list, count, &codes);
  for (unsigned f = 0; f < s->arrays; f++) {
    const bool half = qp_layout_array_is_half(s->quantizer, f);
    output o = {.type = half ? QP_TENSOR_F16 : QP_TENSOR_U8,
                .dims = 1,
                .shape = {s->field_bytes[f] * chunks / (half ? 2 : 1)},
                .bytes = s->field_bytes[f],
                .chunks = chunks};
    snprintf(o.name, sizeof o.name, "%s.field.%u.%u", b->l->name, p, f);
    for (unsigned i = 0; i < chunks; i++)
      o.data[i] = band_of(b, i)->part[stream_of(b, i, p)].field[f];
    add_output(list, count, &o);
  }
  list_codebooks(b, p, list, count);
}

/* Row scales as fp16, or NULL where one is out of its range. */
static uint16_t *half_scales(const bench *b, qp_status *status) {
  const unsigned rows = band_rows(b);
  uint16_t *half = malloc(sizeof *half * b->l->rows);
  if (!half) *status = qp_fail(b->err, QP_E_NOMEM, "no memory for %u row scales", b->l->rows);
  for (size_t i = 0; half && i < b->l->rows; i++) {
    const float scale = b->band[i / rows].row_scale[i % rows];
    half[i] = qp_float_to_half(scale);
    if (qp_half_to_float(half[i]) == scale) continue;
    free(half);
    half = NULL;
  }
  return half;
}

/* List the tensors to write; 'half' is what half_scales() made. */
static unsigned list_outputs(const bench *b, const uint16_t *half, output *list) {
  unsigned count = 0;
  for (unsigned p = 0; p < qp_linear_parts(b->l->quantizer); p++) list_part(b, p, list, &count);
  const size_t rows = band_rows(b);
  output scales = {.type = half ? QP_TENSOR_F16 : QP_TENSOR_F32,
                   .dims = 1,
                   .shape = {b->l->rows},
                   .bytes = rows * (half ? sizeof *half : sizeof(float)),
                   .chunks = b->bands};
  snprintf(scales.name, sizeof scales.name, "%s.row_scales", b->l->name);
  for (unsigned i = 0; i < b->bands; i++)
    scales.data[i] = half ? (const void *)(half + i * rows) : b->band[i].row_scale;
  add_output(list, &count, &scales);
  return count;
}

/* Codebooks of scope tensor are one for all rows, so bands cannot each have theirs. */
static qp_status check_bands(const bench *b) {
  if (b->bands == 1) return QP_OK;
  for (unsigned p = 0; p < b->band[0].parts; p++) {
    const qp_quantizer *q = b->band[0].part[p].stream.quantizer;
    for (unsigned c = 0; c < q->codebooks; c++)
      if (q->codebook[c].scope == QP_SCOPE_TENSOR)
        return qp_fail(b->err, QP_E_ARG,
                       "quantizer %s has one codebook a linear: it takes one Hessian, not %u",
                       q->name, b->bands);
  }
  return QP_OK;
}

static qp_status write_file(const bench *b, const output *list, unsigned count,
                            const qp_linear_figures *f, const char *path) {
  qp_tensor_writer *w = NULL;
  char *entry = NULL;
  qp_status status = qp_tensor_writer_new(path, &w, b->err);
  for (unsigned i = 0; i < count && !status; i++)
    status = qp_tensor_writer_declare(w, list[i].name, list[i].type, list[i].dims, list[i].shape,
                                      NULL, b->err);
  if (!status) status = qp_section_linear(b->l, f, &entry, b->err);
  if (!status) status = qp_tensor_writer_metadata(w, "job", b->j->key, b->err);
  if (!status) status = qp_tensor_writer_metadata(w, "linear", entry, b->err);
  if (!status) status = qp_tensor_writer_start(w, b->err);
  for (unsigned i = 0; i < count; i++)
    for (unsigned p = 0; p < list[i].chunks && !status; p++)
      status = qp_tensor_writer_write(w, i, (uint64_t)p * list[i].bytes, list[i].data[p],
                                      list[i].bytes, b->err);
  if (!status) status = qp_tensor_writer_finish(w, b->err);
  qp_tensor_writer_free(w);
  free(entry);
  return status;
}

static qp_status write_packed(bench *b, const char *path) {
  qp_linear_figures f = {0};
  output *list = calloc(MAX_OUTPUTS, sizeof *list);
  qp_status status = list ? check_bands(b) : qp_fail(b->err, QP_E_NOMEM, "no memory");
  uint16_t *half = status ? NULL : half_scales(b, &status);
  if (!status) status = measure(b, &f);
  if (!status) {
    const unsigned count = list_outputs(b, half, list);
    for (unsigned i = 0; i < count; i++) {
      uint64_t elements = list[i].shape[0] * (list[i].dims == 2 ? list[i].shape[1] : 1);
      f.bytes += elements * qp_tensor_type_bytes(list[i].type);
    }
    status = write_file(b, list, count, &f, path);
  }
  free(half);
  free(list);
  return status;
}

qp_status qp_linear_write(const qp_job *j, const qp_job_linear *l, const char *path,
                          _Atomic size_t *done, const _Atomic bool *cancel, qp_error *err) {
  bench b = {.j = j, .l = l, .err = err};
  qp_status status = qp_side_make(j, l, cancel, &b.side, err);
  b.in = qp_input_of(l->columns, l->rotation, b.side);
  if (!status) status = j->keeps_codes ? keep(&b, done) : encode(&b, done, cancel);
  if (!status) status = write_packed(&b, path);
  for (unsigned i = 0; b.band && i < b.bands; i++) qp_encoded_free(&b.band[i]);
  free(b.band);
  free(b.side);
  return status ? qp_fail_prefix(err, status, "%s: linear '%s' (%s at %s)",
                                 qp_checkpoint_path(j->checkpoint), l->name, l->weight->type,
                                 l->quantizer->name)
                : QP_OK;
}
