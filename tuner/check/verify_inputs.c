/* SPDX-License-Identifier: MIT */
/* Makes what a checked kernel gets:  kernel, seed -> random data, guarded device buffers,
   arguments. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"
#include "tuner/check/random_fields.h"
#include "tuner/check/verify_internal.h"

enum { GUARD_BYTES = 256, GUARD_BYTE = 0xa5 };

/* ---- Types ---- */

uint16_t qp_check_narrow(const qp_check *c, double v) {
  return c->k->problem.type == QP_BF16 ? qp_double_to_bf16(v) : qp_double_to_half(v);
}

double qp_check_widen(const qp_check *c, uint16_t v) {
  return c->k->problem.type == QP_BF16 ? (double)qp_bf16_to_float(v) : (double)qp_half_to_float(v);
}

/* ---- Buffers ---- */

qp_status qp_check_buffer(qp_check *c, const void *data, size_t bytes, qp_devptr *out) {
  unsigned char guard[GUARD_BYTES];
  memset(guard, GUARD_BYTE, sizeof guard);
  assert(c->buffers < QP_CHECK_BUFFERS);
  qp_status status = qp_device_alloc(c->dev, bytes + GUARD_BYTES, out, c->err);
  if (status) return status;
  c->buffer[c->buffers++] = *out;
  status = qp_device_upload(c->dev, *out + bytes, guard, sizeof guard, c->err);
  if (status || !bytes) return status;
  return data ? qp_device_upload(c->dev, *out, data, bytes, c->err)
              : qp_device_fill(c->dev, *out, QP_CHECK_POISON, bytes, c->err);
}

qp_status qp_check_guard(qp_check *c, qp_devptr at, size_t bytes, const char *what, qp_verdict *v) {
  unsigned char guard[GUARD_BYTES];
  qp_status status = qp_device_download(c->dev, guard, at + bytes, sizeof guard, c->err);
  if (status) return status;
  for (unsigned i = 0; i < GUARD_BYTES; i++)
    if (guard[i] != GUARD_BYTE) {
      snprintf(v->why, sizeof v->why, "%s: byte %u behind its end was overwritten", what, i);
      return QP_E_WRONG;
    }
  return QP_OK;
}

void *qp_check_host(qp_check *c, size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);
  if (!p) qp_fail(c->err, QP_E_NOMEM, "no memory for a check's data (%zu bytes)", bytes);
  return p;
}

uint16_t *qp_check_random(qp_check *c, size_t n, double low, double high) {
  uint16_t *v = qp_check_host(c, n * sizeof *v);
  for (size_t i = 0; i < n && v; i++)
    v[i] = qp_check_narrow(c, qp_random_uniform(&c->random, low, high));
  return v;
}

qp_status qp_check_put_rows(qp_check *c, const void *data, size_t rows, size_t width, size_t stride,
                            size_t bytes, qp_devptr *out) {
  const size_t all = rows * stride * bytes;
  unsigned char *apart = qp_check_host(c, all);
  if (!apart) return QP_E_NOMEM;
  memset(apart, QP_CHECK_POISON, all);
  for (size_t i = 0; i < rows; i++)
    memcpy(apart + i * stride * bytes, (const unsigned char *)data + i * width * bytes,
           width * bytes);
  const qp_status status = qp_check_buffer(c, apart, all, out);
  free(apart);
  return status;
}

static void fill_random(qp_check *c, void *to, size_t bytes) {
  unsigned char *p = to;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t v = qp_random_next(&c->random);
    memcpy(p + i, &v, bytes - i < 8 ? bytes - i : 8);
  }
}

/* ---- Strides ---- */

/* What lies behind a row: different for each matrix, so that one taken for another shows. */
enum { X_GAP = 8 /* rows of X begin at 16 bytes */, Y_GAP = 3, RESIDUAL_GAP = 5 };

unsigned qp_check_x_stride(const qp_check *c) {
  const qp_op op = c->k->problem.op;
  const bool apart = qp_op_multiplies(op) || op == QP_OP_ROTATE || qp_op_multiplies_stacks(op);
  return c->k->problem.columns + (apart ? X_GAP : 0);
}

unsigned qp_check_y_stride(const qp_check *c, unsigned segment) {
  const qp_problem *p = &c->k->problem;
  if (p->op == QP_OP_ROTATE) return p->columns + 2 * X_GAP;
  return qp_op_has_batch(p->op) ? p->segment[segment].rows + Y_GAP : p->columns;
}

unsigned qp_check_residual_stride(const qp_check *c, unsigned segment) {
  return c->k->problem.segment[segment].rows + RESIDUAL_GAP;
}

/* Put rows of 'width' bytes on the device, 'stride' bytes apart, with NaNs between. */
static qp_status add_rows(qp_check *c, const void *data, unsigned rows, size_t width, size_t stride,
                          qp_devptr *out) {
  unsigned char *apart = qp_check_host(c, rows * stride);
  if (!apart) return QP_E_NOMEM;
  memset(apart, QP_CHECK_POISON, rows * stride);
  for (unsigned n = 0; n < rows; n++)
    memcpy(apart + n * stride, (const unsigned char *)data + n * width, width);
  const qp_status status = qp_check_buffer(c, apart, rows * stride, out);
  free(apart);
  return status;
}

/* ---- Inputs ---- */

/* Row and tensor codebooks: the default times a factor of each row, so that a wrong row shows. */
static uint16_t *random_codebook(qp_check *c, const qp_codebook *b, size_t rows) {
  size_t n = (size_t)b->entries * b->dim;
  uint16_t *data = qp_check_host(c, rows * n * sizeof *data);
  for (size_t r = 0; r < rows && data; r++) {
    double factor = qp_random_uniform(&c->random, 0.5, 1.5);
    for (size_t i = 0; i < n; i++)
      data[r * n + i] = qp_double_to_half(factor * (double)qp_half_to_float(b->data[i]));
  }
  return data;
}

static qp_status make_codebook(qp_check *c, unsigned i, unsigned b) {
  const qp_stream *s = &c->k->stream[i].stream;
  const qp_codebook *book = &s->quantizer->codebook[b];
  size_t rows = book->scope == QP_SCOPE_ROW ? (size_t)s->row_groups * QP_GROUP_ROWS : 1;
  const uint16_t *data = book->data;
  if (book->scope != QP_SCOPE_SPEC) {
    data = c->stream[i].codebook[b] = random_codebook(c, book, rows);
    if (!data) return QP_E_NOMEM;
  }
  return qp_check_buffer(c, data, rows * book->entries * book->dim * 2,
                         &c->args.stream[i].codebook[b]);
}

static qp_status make_stream(qp_check *c, unsigned i) {
  const qp_stream *s = &c->k->stream[i].stream;
  if (!(c->stream[i].codes = qp_check_host(c, s->code_words * 4))) return QP_E_NOMEM;
  fill_random(c, c->stream[i].codes, s->code_words * 4);
  qp_status status =
      qp_check_buffer(c, c->stream[i].codes, s->code_words * 4, &c->args.stream[i].codes);
  for (unsigned a = 0; a < s->arrays; a++)
    if (!(c->stream[i].field[a] = qp_check_host(c, s->field_bytes[a]))) return QP_E_NOMEM;
  qp_random_fields(&c->random, s, c->stream[i].field);
  for (unsigned a = 0; a < s->arrays && !status; a++)
    status =
        qp_check_buffer(c, c->stream[i].field[a], s->field_bytes[a], &c->args.stream[i].field[a]);
  for (unsigned b = 0; b < s->quantizer->codebooks && !status; b++) status = make_codebook(c, i, b);
  return status;
}

unsigned qp_check_output_rows(const qp_check *c, unsigned segment) {
  const qp_problem *p = &c->k->problem;
  if (qp_op_multiplies_stacks(p->op)) return qp_problem_assignments(p);
  return qp_op_has_batch(p->op) ? p->batch : p->segment[segment].rows;
}

size_t qp_check_output_count(const qp_check *c, unsigned segment) {
  return (size_t)qp_check_y_stride(c, segment) * qp_check_output_rows(c, segment);
}

qp_dtype qp_check_output_type(const qp_check *c) {
  return qp_op_has_batch(c->k->problem.op) ? c->k->problem.out_type : c->k->problem.type;
}

/*
** Weights whose sums or scaled values leave fp16, as those of a code that is fp16 itself, are met
** by a smaller X and smaller scales: overflow would be the data's fault, not the kernel's.
*/
enum { SOME_CODES = 1024, MOST_WEIGHT = 64, MOST_SCALED = 16384 };

static double largest_weight(qp_check *c) {
  uint16_t w[16];
  qp_random random = {.state = c->seed};
  for (unsigned i = 0; i < c->k->streams * SOME_CODES; i++) {
    const qp_quantizer *q = c->k->stream[i / SOME_CODES].stream.quantizer;
    uint32_t fields[QP_MAX_FIELDS] = {0};
    for (unsigned f = 0; f < q->fields; f++)
      fields[f] = qp_field_raw(q->field[f].type, q->field[f].hi);
    const unsigned bits = q->planes ? q->planes_read : q->window;
    qp_quantizer_decode(q, (uint32_t)(qp_random_next(&random) & ((1ull << bits) - 1)), fields, NULL,
                        w);
    for (unsigned d = 0; d < q->dim; d++)
      c->largest = fmax(c->largest, fabs((double)qp_half_to_float(w[d])));
  }
  return c->largest;
}

/* The factor that brings the largest weight down to 'most'; 1 where it is below. */
static double shrink_to(qp_check *c, double most) {
  const double largest = c->largest > 0 ? c->largest : largest_weight(c);
  return largest > most ? most / largest : 1;
}

/* What a segment comes with: of five segments or seeds in a row, one has all, one nothing, three
   all but one. */
enum {
  WITHOUT_SCALE,
  WITHOUT_BIAS,
  WITHOUT_RESIDUAL,
  WITH_ALL,
  WITH_NONE,
  EXTRAS,
  WITHOUT_SIGNS = WITHOUT_BIAS /* gather */
};

static bool comes_with(const qp_check *c, unsigned segment, unsigned without) {
  const unsigned turn = (unsigned)((c->seed + segment) % EXTRAS);
  return turn != without && turn != WITH_NONE;
}

static qp_status make_scale(qp_check *c, unsigned i, unsigned m) {
  if (!(c->segment[i].scale = qp_check_host(c, m * sizeof(float)))) return QP_E_NOMEM;
  const double shrink = shrink_to(c, MOST_SCALED);
  for (unsigned r = 0; r < m; r++)
    c->segment[i].scale[r] = (float)(shrink * qp_random_uniform(&c->random, 0.5, 2));
  return qp_check_buffer(c, c->segment[i].scale, m * sizeof(float), &c->args.segment[i].scale);
}

static qp_status make_bias(qp_check *c, unsigned i, unsigned m) {
  if (!(c->segment[i].bias = qp_check_host(c, m * 2))) return QP_E_NOMEM;
  for (unsigned r = 0; r < m; r++)
    c->segment[i].bias[r] = qp_check_narrow(c, qp_random_uniform(&c->random, -4, 4));
  return qp_check_buffer(c, c->segment[i].bias, m * 2, &c->args.segment[i].bias);
}

static qp_status make_residual(qp_check *c, unsigned i, unsigned m, unsigned type) {
  const size_t outputs = (size_t)m * c->k->problem.batch;
  if (!(c->segment[i].residual = qp_check_host(c, outputs * type))) return QP_E_NOMEM;
  for (size_t r = 0; r < outputs; r++) {
    float f = (float)qp_random_uniform(&c->random, -4, 4);
    uint16_t h = qp_check_narrow(c, (double)f);
    memcpy(c->segment[i].residual + r * type, type == 4 ? (void *)&f : (void *)&h, type);
  }
  c->args.stride[i].residual = qp_check_residual_stride(c, i);
  return add_rows(c, c->segment[i].residual, c->k->problem.batch, m * type,
                  (size_t)type * c->args.stride[i].residual, &c->args.segment[i].residual);
}

static qp_status make_segment(qp_check *c, unsigned i) {
  const qp_problem *p = &c->k->problem;
  const unsigned m = qp_problem_stream_rows(p, i);
  const unsigned type = qp_dtype_bytes(qp_check_output_type(c));
  const size_t outputs = qp_check_output_count(c, i);
  const bool adds = qp_op_has_batch(p->op);
  qp_status status = QP_OK;
  if (comes_with(c, i, WITHOUT_SCALE)) status = make_scale(c, i, m);
  if (!status && adds && comes_with(c, i, WITHOUT_BIAS)) status = make_bias(c, i, m);
  if (!status && p->op == QP_OP_GEMM && comes_with(c, i, WITHOUT_RESIDUAL))
    status = make_residual(c, i, m, type);
  if (status || c->of->no_outputs || (c->of->pairs && i)) return status;
  if (adds) c->args.stride[i].y = qp_check_y_stride(c, i);
  status = qp_check_buffer(c, NULL, outputs * type, &c->args.segment[i].y);
  if (!status && c->k->adds_to_zero)
    status = qp_device_fill(c->dev, c->args.segment[i].y, 0, outputs * type, c->err);
  return status;
}

/* What this launch clears for a later one's atomic sums: more words than it has threads, an odd
   number. */
static qp_status make_zero(qp_check *c) {
  if (!c->k->adds_to_zero) return QP_OK;
  c->args.zero_words = (uint64_t)c->k->grid * c->k->block + 37;
  return qp_check_buffer(c, NULL, c->args.zero_words * 4, &c->args.zero);
}

qp_status qp_check_x(qp_check *c, unsigned rows) {
  const qp_problem *p = &c->k->problem;
  size_t n = (size_t)rows * p->columns;
  c->x = qp_check_host(c, n * sizeof *c->x);
  c->rotated = qp_check_host(c, n * sizeof *c->rotated);
  if (!c->x || !c->rotated) return QP_E_NOMEM;
  qp_status status = qp_check_make_side(c);
  if (status) return status;
  const double most = c->x_most > 0 ? c->x_most : shrink_to(c, MOST_WEIGHT);
  for (size_t i = 0; i < n; i++)
    c->x[i] = qp_check_narrow(c, most * qp_random_uniform(&c->random, -1, 1));
  for (unsigned r = 0; r < rows; r++) {
    double *y = c->rotated + (size_t)r * p->columns;
    for (unsigned k = 0; k < p->columns; k++)
      y[k] = qp_check_widen(c, c->x[(size_t)r * p->columns + k]);
    if (p->rotate_fused || c->of->rotates) qp_check_turn(c, p->inverse, y);
  }
  c->args.x_stride = qp_check_x_stride(c);
  return add_rows(c, c->x, rows, 2ul * p->columns, 2 * c->args.x_stride, &c->args.x);
}

qp_status qp_check_gemm_inputs(qp_check *c) {
  const qp_status status = qp_check_x(c, c->k->problem.batch);
  return status ? status : make_zero(c);
}

qp_status qp_check_rotate_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  c->args.rows = p->batch;
  const qp_status status = qp_check_x(c, p->batch);
  if (status) return status;
  c->args.y_stride = qp_check_y_stride(c, 0);
  /* A row of some K in place, among them 14336, which blocks share. */
  if (p->batch == 1 && p->columns / 32 % 3 == 1) {
    c->args.y = c->args.x;
    c->args.y_stride = c->args.x_stride;
    return QP_OK;
  }
  return qp_check_buffer(c, NULL, p->batch * c->args.y_stride * 2, &c->args.y);
}

/* First and last row, behind each end, the same twice, then any. */
static void random_ids(qp_check *c, unsigned n) {
  const int32_t rows = (int32_t)c->k->problem.segment[0].rows;
  const int32_t known[] = {rows - 1, -1, 0, rows, rows - 1, INT32_MIN, INT32_MAX};
  for (unsigned i = 0; i < n; i++)
    c->ids[i] = i < sizeof known / sizeof *known
                    ? known[i]
                    : (int32_t)(qp_random_next(&c->random) % (uint64_t)rows);
}

qp_status qp_check_dequant_inputs(qp_check *c) { return c->turn ? qp_check_make_side(c) : QP_OK; }

qp_status qp_check_gather_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  c->args.rows = p->batch;
  if (!(c->ids = qp_check_host(c, p->batch * sizeof *c->ids))) return QP_E_NOMEM;
  random_ids(c, p->batch);
  qp_status status = qp_check_buffer(c, c->ids, p->batch * sizeof *c->ids, &c->args.x);
  if (!status) status = qp_check_buffer(c, NULL, (size_t)p->batch * p->columns * 2, &c->args.y);
  return status || !comes_with(c, 0, WITHOUT_SIGNS) ? status : qp_check_make_side(c);
}

qp_status qp_check_inputs(qp_check *c) {
  const qp_kernel *k = c->k;
  const bool last = c->of->inputs && c->of->pairs, first = c->of->inputs && !last;
  qp_status status = first ? c->of->inputs(c) : QP_OK;
  for (unsigned i = 0; i < k->streams && !status; i++) status = make_stream(c, i);
  for (unsigned i = 0; i < k->problem.segments && !status; i++) status = make_segment(c, i);
  if (!status && last) status = c->of->inputs(c);
  if (!status && k->workspace_bytes)
    status = qp_check_buffer(c, NULL, k->workspace_bytes, &c->args.workspace);
  if (!status && k->counters) {
    status = qp_check_buffer(c, NULL, k->counters * 4, &c->args.counters);
    if (!status) status = qp_device_fill(c->dev, c->args.counters, 0, k->counters * 4, c->err);
  }
  return status;
}

void qp_check_release(qp_check *c) {
  for (unsigned i = 0; i < c->buffers; i++) qp_device_free(c->dev, c->buffer[i]);
  free(c->x);
  free(c->ids);
  free(c->routing);
  free(c->signs);
  free(c->turned);
  free(c->rotated);
  free(c->plain);
  qp_check_prologue_release(c);
  qp_check_decoder_release(c);
  for (unsigned i = 0; i < QP_MAX_STREAMS; i++) {
    free(c->stream[i].codes);
    for (unsigned a = 0; a < QP_MAX_ARRAYS; a++) free(c->stream[i].field[a]);
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) free(c->stream[i].codebook[b]);
  }
  for (unsigned i = 0; i < QP_MAX_SEGMENTS; i++) {
    free(c->segment[i].scale);
    free(c->segment[i].bias);
    free(c->segment[i].residual);
  }
  free(c);
}
