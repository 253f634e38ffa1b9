/* SPDX-License-Identifier: MIT */
/* Run a kernel on a device with fresh random data; compare with a double-precision reference. */
#include "tuner/check/verify.h"

#include "tuner/check/verify_internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/hadamard.h"
#include "runtime/half.h"

enum { GUARD_BYTES = 256, GUARD_BYTE = 0xa5, POISON_BYTE = 0xff, MAX_BUFFERS = 256 };

typedef struct check check;

typedef struct sums {
  double difference, reference;
  size_t n;
} sums;

/* What the check of one operation makes and compares; the table of them stands below. */
typedef struct op_check {
  /* All of a check in a file of its own; NULL: what follows. */
  qp_status (*whole)(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                     uint64_t seed, qp_verdict *v, qp_error *err);
  bool rotates;                  /* X~ is rotated, whatever the problem says */
  qp_status (*inputs)(check *c); /* beside streams, segments, workspace and counters */
  bool no_outputs;               /* segments have none of their own */
  qp_status (*outputs)(check *c, sums *s, qp_verdict *v);
  /* A row of a segment's W^ (fp16 bits of all K columns) against the outputs that hang on it. */
  void (*row)(check *c, unsigned segment, unsigned row, const uint16_t *w, const unsigned char *y,
              sums *s);
} op_check;

/* All of one check: host copies of the inputs, device buffers, the launch's arguments. */
struct check {
  qp_device *dev;
  const qp_kernel *k;
  qp_reference *reference;
  qp_random random;
  qp_error *err;
  uint64_t seed;
  unsigned row_groups_max;
  unsigned buffers;
  qp_devptr buffer[MAX_BUFFERS];
  uint16_t *x;     /* [batch or rows][K], type of the problem */
  int32_t *ids;    /* [batch], gather */
  uint32_t *signs; /* [K / 32]; gather: NULL where W was not rotated */
  double *rotated; /* [batch][K]: X~, what the weights are multiplied with */
  struct {
    uint32_t *codes;
    uint8_t *field[QP_MAX_FIELDS];
    uint16_t *codebook[QP_MAX_CODEBOOKS]; /* tensor and row scope; NULL: the default */
  } stream[QP_MAX_STREAMS];
  struct {
    float *scale;
    uint16_t *bias;
    unsigned char *residual;
  } segment[QP_MAX_SEGMENTS];
  qp_arguments args;
  qp_launch launch;
  unsigned char params[QP_PARAMS_MAX];
  qp_function *function;
  const op_check *of;
};

/* ---- Types ---- */

static uint16_t narrow(const check *c, double v) {
  return c->k->problem.type == QP_BF16 ? qp_double_to_bf16(v) : qp_double_to_half(v);
}

static double widen(const check *c, uint16_t v) {
  return c->k->problem.type == QP_BF16 ? (double)qp_bf16_to_float(v) : (double)qp_half_to_float(v);
}

static double read_output(const check *c, const unsigned char *bytes, size_t i, qp_dtype type) {
  uint16_t v;
  float f;
  if (type == QP_F32) return memcpy(&f, bytes + 4 * i, 4), (double)f;
  return memcpy(&v, bytes + 2 * i, 2), widen(c, v);
}

/* ---- Buffers ---- */

/* A device buffer with a guard behind it; 'data' is uploaded, or the buffer is poisoned. */
static qp_status add_buffer(check *c, const void *data, size_t bytes, qp_devptr *out) {
  unsigned char guard[GUARD_BYTES];
  memset(guard, GUARD_BYTE, sizeof guard);
  assert(c->buffers < MAX_BUFFERS);
  qp_status status = qp_device_alloc(c->dev, bytes + GUARD_BYTES, out, c->err);
  if (status) return status;
  c->buffer[c->buffers++] = *out;
  status = qp_device_upload(c->dev, *out + bytes, guard, sizeof guard, c->err);
  if (status || !bytes) return status;
  return data ? qp_device_upload(c->dev, *out, data, bytes, c->err)
              : qp_device_fill(c->dev, *out, POISON_BYTE, bytes, c->err);
}

static qp_status guard_is_whole(check *c, qp_devptr at, size_t bytes, const char *what,
                                qp_verdict *v) {
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

static void *host(check *c, size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);
  if (!p) qp_fail(c->err, QP_E_NOMEM, "no memory for a check's data (%zu bytes)", bytes);
  return p;
}

static void fill_random(check *c, void *to, size_t bytes) {
  unsigned char *p = to;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t v = qp_random_next(&c->random);
    memcpy(p + i, &v, bytes - i < 8 ? bytes - i : 8);
  }
}

/* ---- Inputs ---- */

static void random_field(check *c, const qp_field *f, uint8_t *to, size_t bytes) {
  size_t n = f->type == QP_FIELD_F16 ? bytes / 2 : f->type == QP_FIELD_U8 ? bytes : bytes * 2;
  for (size_t i = 0; i < n; i++) {
    double v = qp_random_uniform(&c->random, f->lo, f->type == QP_FIELD_F16 ? f->hi : f->hi + 1);
    if (f->type == QP_FIELD_F16) {
      uint16_t h = qp_double_to_half(v);
      memcpy(to + 2 * i, &h, 2);
    } else if (f->type == QP_FIELD_U8) {
      to[i] = (uint8_t)v;
    } else {
      to[i / 2] = (uint8_t)(to[i / 2] | (unsigned)v << (4 * (i % 2)));
    }
  }
}

/* Row and tensor codebooks: the default times a factor of each row, so that a wrong row shows. */
static uint16_t *random_codebook(check *c, const qp_codebook *b, size_t rows) {
  size_t n = (size_t)b->entries * b->dim;
  uint16_t *data = host(c, rows * n * sizeof *data);
  for (size_t r = 0; r < rows && data; r++) {
    double factor = qp_random_uniform(&c->random, 0.5, 1.5);
    for (size_t i = 0; i < n; i++)
      data[r * n + i] = qp_double_to_half(factor * (double)qp_half_to_float(b->data[i]));
  }
  return data;
}

static qp_status make_codebook(check *c, unsigned i, unsigned b) {
  const qp_stream *s = &c->k->stream[i].stream;
  const qp_codebook *book = &s->quantizer->codebook[b];
  size_t rows = book->scope == QP_SCOPE_ROW ? (size_t)s->row_groups * QP_GROUP_ROWS : 1;
  const uint16_t *data = book->data;
  if (book->scope != QP_SCOPE_SPEC) {
    data = c->stream[i].codebook[b] = random_codebook(c, book, rows);
    if (!data) return QP_E_NOMEM;
  }
  return add_buffer(c, data, rows * book->entries * book->dim * 2, &c->args.stream[i].codebook[b]);
}

static qp_status make_stream(check *c, unsigned i) {
  const qp_stream *s = &c->k->stream[i].stream;
  if (!(c->stream[i].codes = host(c, s->code_words * 4))) return QP_E_NOMEM;
  fill_random(c, c->stream[i].codes, s->code_words * 4);
  qp_status status = add_buffer(c, c->stream[i].codes, s->code_words * 4, &c->args.stream[i].codes);
  for (unsigned f = 0; f < s->quantizer->fields && !status; f++) {
    if (!(c->stream[i].field[f] = host(c, s->field_bytes[f]))) return QP_E_NOMEM;
    random_field(c, &s->quantizer->field[f], c->stream[i].field[f], s->field_bytes[f]);
    status = add_buffer(c, c->stream[i].field[f], s->field_bytes[f], &c->args.stream[i].field[f]);
  }
  for (unsigned b = 0; b < s->quantizer->codebooks && !status; b++) status = make_codebook(c, i, b);
  return status;
}

static size_t output_count(const check *c, unsigned segment) {
  const qp_problem *p = &c->k->problem;
  size_t m = p->segment[segment].rows;
  return qp_op_has_batch(p->op) ? m * p->batch : m * p->columns;
}

static qp_dtype output_type(const check *c) {
  return qp_op_has_batch(c->k->problem.op) ? c->k->problem.out_type : c->k->problem.type;
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

static bool comes_with(const check *c, unsigned segment, unsigned without) {
  const unsigned turn = (unsigned)((c->seed + segment) % EXTRAS);
  return turn != without && turn != WITH_NONE;
}

static qp_status make_scale(check *c, unsigned i, unsigned m) {
  if (!(c->segment[i].scale = host(c, m * sizeof(float)))) return QP_E_NOMEM;
  for (unsigned r = 0; r < m; r++)
    c->segment[i].scale[r] = (float)qp_random_uniform(&c->random, 0.5, 2);
  return add_buffer(c, c->segment[i].scale, m * sizeof(float), &c->args.segment[i].scale);
}

static qp_status make_bias(check *c, unsigned i, unsigned m) {
  if (!(c->segment[i].bias = host(c, m * 2))) return QP_E_NOMEM;
  for (unsigned r = 0; r < m; r++)
    c->segment[i].bias[r] = narrow(c, qp_random_uniform(&c->random, -4, 4));
  return add_buffer(c, c->segment[i].bias, m * 2, &c->args.segment[i].bias);
}

static qp_status make_residual(check *c, unsigned i, size_t outputs, unsigned type) {
  if (!(c->segment[i].residual = host(c, outputs * type))) return QP_E_NOMEM;
  for (size_t r = 0; r < outputs; r++) {
    float f = (float)qp_random_uniform(&c->random, -4, 4);
    uint16_t h = narrow(c, (double)f);
    memcpy(c->segment[i].residual + r * type, type == 4 ? (void *)&f : (void *)&h, type);
  }
  return add_buffer(c, c->segment[i].residual, outputs * type, &c->args.segment[i].residual);
}

static qp_status make_segment(check *c, unsigned i) {
  const qp_problem *p = &c->k->problem;
  const unsigned m = p->segment[i].rows, type = qp_dtype_bytes(output_type(c));
  const size_t outputs = output_count(c, i);
  const bool adds = qp_op_has_batch(p->op);
  qp_status status = QP_OK;
  if (comes_with(c, i, WITHOUT_SCALE)) status = make_scale(c, i, m);
  if (!status && adds && comes_with(c, i, WITHOUT_BIAS)) status = make_bias(c, i, m);
  if (!status && adds && comes_with(c, i, WITHOUT_RESIDUAL))
    status = make_residual(c, i, outputs, type);
  if (status || c->of->no_outputs) return status;
  status = add_buffer(c, NULL, outputs * type, &c->args.segment[i].y);
  if (!status && c->k->adds_to_zero)
    status = qp_device_fill(c->dev, c->args.segment[i].y, 0, outputs * type, c->err);
  return status;
}

/* What this launch clears for a later one's atomic sums: more words than it has threads, an odd
   number. */
static qp_status make_zero(check *c) {
  if (!c->k->adds_to_zero) return QP_OK;
  c->args.zero_words = (uint64_t)c->k->grid * c->k->block + 37;
  return add_buffer(c, NULL, c->args.zero_words * 4, &c->args.zero);
}

/* X in the problem's type, its signs, and X~ in double precision. */
static qp_status make_x(check *c, unsigned rows) {
  const qp_problem *p = &c->k->problem;
  size_t n = (size_t)rows * p->columns;
  c->x = host(c, n * sizeof *c->x);
  c->signs = host(c, (p->columns + 31) / 32 * 4);
  c->rotated = host(c, n * sizeof *c->rotated);
  if (!c->x || !c->signs || !c->rotated) return QP_E_NOMEM;
  fill_random(c, c->signs, (p->columns + 31) / 32 * 4);
  for (size_t i = 0; i < n; i++) c->x[i] = narrow(c, qp_random_uniform(&c->random, -1, 1));
  const bool rotate = p->rotate_fused || c->of->rotates;
  qp_hadamard h;
  qp_hadamard_factor(p->columns, &h);
  for (unsigned r = 0; r < rows; r++) {
    double *y = c->rotated + (size_t)r * p->columns;
    for (unsigned k = 0; k < p->columns; k++) {
      y[k] = widen(c, c->x[(size_t)r * p->columns + k]);
      if (rotate && !p->inverse && c->signs[k / 32] >> (k % 32) & 1) y[k] = -y[k];
    }
    if (rotate && p->inverse)
      qp_hadamard_apply_transposed(&h, y, y);
    else if (rotate)
      qp_hadamard_apply(&h, y, y);
    for (unsigned k = 0; k < p->columns && rotate && p->inverse; k++)
      if (c->signs[k / 32] >> (k % 32) & 1) y[k] = -y[k];
  }
  qp_status status = add_buffer(c, c->x, n * 2, &c->args.x);
  if (!status) status = add_buffer(c, c->signs, (p->columns + 31) / 32 * 4, &c->args.signs);
  return status;
}

static qp_status gemm_inputs(check *c) {
  const qp_status status = make_x(c, c->k->problem.batch);
  return status ? status : make_zero(c);
}

static qp_status rotate_inputs(check *c) {
  const qp_problem *p = &c->k->problem;
  c->args.rows = p->batch;
  const qp_status status = make_x(c, p->batch);
  return status ? status : add_buffer(c, NULL, (size_t)p->batch * p->columns * 2, &c->args.y);
}

/* First and last row, behind each end, the same twice, then any. */
static void random_ids(check *c, unsigned n) {
  const int32_t rows = (int32_t)c->k->problem.segment[0].rows;
  const int32_t known[] = {rows - 1, -1, 0, rows, rows - 1, INT32_MIN, INT32_MAX};
  for (unsigned i = 0; i < n; i++)
    c->ids[i] = i < sizeof known / sizeof *known
                    ? known[i]
                    : (int32_t)(qp_random_next(&c->random) % (uint64_t)rows);
}

static qp_status gather_inputs(check *c) {
  const qp_problem *p = &c->k->problem;
  const size_t words = (p->columns + 31) / 32;
  c->args.rows = p->batch;
  if (!(c->ids = host(c, p->batch * sizeof *c->ids))) return QP_E_NOMEM;
  random_ids(c, p->batch);
  qp_status status = add_buffer(c, c->ids, p->batch * sizeof *c->ids, &c->args.x);
  if (!status) status = add_buffer(c, NULL, (size_t)p->batch * p->columns * 2, &c->args.y);
  if (status || !comes_with(c, 0, WITHOUT_SIGNS)) return status;
  if (!(c->signs = host(c, words * 4))) return QP_E_NOMEM;
  fill_random(c, c->signs, words * 4);
  return add_buffer(c, c->signs, words * 4, &c->args.signs);
}

static qp_status make_inputs(check *c) {
  const qp_kernel *k = c->k;
  qp_status status = c->of->inputs ? c->of->inputs(c) : QP_OK;
  for (unsigned i = 0; i < k->streams && !status; i++) status = make_stream(c, i);
  for (unsigned i = 0; i < k->problem.segments && !status; i++) status = make_segment(c, i);
  if (!status && k->workspace_bytes)
    status = add_buffer(c, NULL, k->workspace_bytes, &c->args.workspace);
  if (!status && k->counters) {
    status = add_buffer(c, NULL, k->counters * 4, &c->args.counters);
    if (!status) status = qp_device_fill(c->dev, c->args.counters, 0, k->counters * 4, c->err);
  }
  return status;
}

/* ---- Comparison ---- */

static void compare(sums *s, double got, double want) {
  double d = got - want;
  s->difference += d * d;
  s->reference += want * want;
  s->n++;
}

static double scale_of(const check *c, unsigned segment, unsigned row) {
  return c->segment[segment].scale ? (double)c->segment[segment].scale[row] : 1;
}

/* The row of W^ itself, times its scale. */
static void compare_weights(check *c, unsigned segment, unsigned row, const uint16_t *w,
                            const unsigned char *y, sums *s) {
  const qp_problem *p = &c->k->problem;
  const double scale = scale_of(c, segment, row);
  for (unsigned k = 0; k < p->columns; k++)
    compare(s, read_output(c, y, (size_t)row * p->columns + k, p->type),
            scale * (double)qp_half_to_float(w[k]));
}

/* What the row adds up to with each row of X~. */
static void compare_products(check *c, unsigned segment, unsigned row, const uint16_t *w,
                             const unsigned char *y, sums *s) {
  const qp_problem *p = &c->k->problem;
  for (unsigned n = 0; n < p->batch; n++) {
    const double *x = c->rotated + (size_t)n * p->columns;
    double sum = 0;
    for (unsigned k = 0; k < p->columns; k++) sum += (double)qp_half_to_float(w[k]) * x[k];
    size_t at = (size_t)n * p->segment[segment].rows + row;
    sum *= scale_of(c, segment, row);
    if (c->segment[segment].bias) sum += widen(c, c->segment[segment].bias[row]);
    if (c->segment[segment].residual)
      sum += read_output(c, c->segment[segment].residual, at, p->out_type);
    compare(s, read_output(c, y, at, p->out_type), sum);
  }
}

/* W^ of one row group over all column ranges: [32][K] fp16 bits. */
static qp_status decode_rows(check *c, unsigned segment, unsigned row_group, uint16_t *w,
                             uint16_t *piece) {
  const qp_kernel *k = c->k;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_kernel_stream *s = &k->stream[i];
    if (s->segment != segment) continue;
    qp_packed packed = {.stream = &s->stream, .codes = c->stream[i].codes};
    for (unsigned f = 0; f < QP_MAX_FIELDS; f++) packed.field[f] = c->stream[i].field[f];
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) packed.codebook[b] = c->stream[i].codebook[b];
    qp_status status = qp_reference_decode(c->reference, &packed, row_group, piece, c->err);
    if (status) return status;
    for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
      memcpy(w + (size_t)r * k->problem.columns + s->column, piece + (size_t)r * s->stream.columns,
             s->stream.columns * sizeof *w);
  }
  return QP_OK;
}

/* The i-th of n row groups chosen from all: first and last are among them. */
static unsigned choose(unsigned i, unsigned n, unsigned all) {
  return n == all || n < 2 ? i : (unsigned)((uint64_t)i * (all - 1) / (n - 1));
}

static qp_status compare_segment(check *c, unsigned segment, const unsigned char *y, sums *s) {
  const qp_problem *p = &c->k->problem;
  unsigned rows = p->segment[segment].rows, all = (rows + 31) / 32;
  unsigned n = c->row_groups_max && c->row_groups_max < all ? c->row_groups_max : all;
  size_t cells = (size_t)QP_GROUP_ROWS * p->columns;
  uint16_t *w = host(c, 2 * cells * sizeof *w);
  if (!w) return QP_E_NOMEM;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < n && !status; i++) {
    unsigned rg = choose(i, n, all);
    status = decode_rows(c, segment, rg, w, w + cells);
    for (unsigned r = 0; r < QP_GROUP_ROWS && !status && rg * QP_GROUP_ROWS + r < rows; r++)
      c->of->row(c, segment, rg * QP_GROUP_ROWS + r, w + (size_t)r * p->columns, y, s);
  }
  free(w);
  return status;
}

static bool has_nan(const check *c, const unsigned char *y, size_t n, size_t *where) {
  for (size_t i = 0; i < n; i++)
    if (isnan(read_output(c, y, i, output_type(c)))) return *where = i, true;
  return false;
}

static qp_status check_segment(check *c, unsigned i, sums *s, unsigned char *y, qp_verdict *v) {
  size_t n = output_count(c, i), bytes = n * qp_dtype_bytes(output_type(c)), at;
  char what[32];
  snprintf(what, sizeof what, "output of segment %u", i + 1);
  qp_status status = qp_device_download(c->dev, y, c->args.segment[i].y, bytes, c->err);
  if (!status) status = guard_is_whole(c, c->args.segment[i].y, bytes, what, v);
  if (status) return status;
  if (has_nan(c, y, n, &at)) {
    const qp_problem *p = &c->k->problem;
    const unsigned width = qp_op_has_batch(p->op) ? p->segment[i].rows : p->columns;
    snprintf(v->why, sizeof v->why, "%s: [%zu][%zu] is NaN or was never written", what, at / width,
             at % width);
    v->error = NAN;
    return QP_E_WRONG;
  }
  return compare_segment(c, i, y, s);
}

static qp_status check_rotation(check *c, sums *s, qp_verdict *v) {
  size_t n = (size_t)c->k->problem.batch * c->k->problem.columns, at;
  unsigned char *y = host(c, n * 2);
  if (!y) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, y, c->args.y, n * 2, c->err);
  if (!status) status = guard_is_whole(c, c->args.y, n * 2, "output", v);
  if (!status && has_nan(c, y, n, &at)) {
    snprintf(v->why, sizeof v->why, "output: value %zu is NaN or was never written", at);
    v->error = NAN;
    status = QP_E_WRONG;
  }
  for (size_t i = 0; i < n && !status; i++)
    compare(s, read_output(c, y, i, c->k->problem.type), c->rotated[i]);
  free(y);
  return status;
}

/* Row 'row' of W in the checkpoint's basis, in double precision. */
static qp_status row_of(check *c, unsigned row, uint16_t *cells, double *out) {
  const unsigned columns = c->k->problem.columns;
  const size_t all = (size_t)QP_GROUP_ROWS * columns;
  const qp_status status = decode_rows(c, 0, row / QP_GROUP_ROWS, cells, cells + all);
  if (status) return status;
  const uint16_t *w = cells + (size_t)(row % QP_GROUP_ROWS) * columns;
  for (unsigned k = 0; k < columns; k++)
    out[k] = scale_of(c, 0, row) * (double)qp_half_to_float(w[k]);
  if (!c->signs) return QP_OK;
  qp_hadamard h;
  qp_hadamard_factor(columns, &h);
  qp_hadamard_apply_transposed(&h, out, out);
  for (unsigned k = 0; k < columns; k++)
    if (c->signs[k / 32] >> (k % 32) & 1) out[k] = -out[k];
  return QP_OK;
}

/* One row of Y: of an id that is no row of W it is 0 to the bit. */
static qp_status compare_gathered(check *c, unsigned t, const unsigned char *y, uint16_t *cells,
                                  double *row, sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const int32_t id = c->ids[t];
  if (id >= 0 && (unsigned)id < p->segment[0].rows) {
    const qp_status status = row_of(c, (unsigned)id, cells, row);
    for (unsigned k = 0; k < p->columns && !status; k++)
      compare(s, read_output(c, y, (size_t)t * p->columns + k, p->type), row[k]);
    return status;
  }
  for (size_t i = 0; i < 2 * (size_t)p->columns; i++)
    if (y[2 * (size_t)t * p->columns + i]) {
      snprintf(v->why, sizeof v->why, "output: row %u is of id %d and must be 0", t, id);
      return QP_E_WRONG;
    }
  return QP_OK;
}

static qp_status check_gathered(check *c, sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const size_t n = (size_t)p->batch * p->columns;
  size_t at;
  unsigned char *y = host(c, n * 2);
  uint16_t *cells = host(c, 2 * (size_t)QP_GROUP_ROWS * p->columns * sizeof *cells);
  double *row = host(c, p->columns * sizeof *row);
  qp_status status = y && cells && row ? QP_OK : QP_E_NOMEM;
  if (!status) status = qp_device_download(c->dev, y, c->args.y, n * 2, c->err);
  if (!status) status = guard_is_whole(c, c->args.y, n * 2, "output", v);
  if (!status && has_nan(c, y, n, &at)) {
    snprintf(v->why, sizeof v->why, "output: [%zu][%zu] is NaN or was never written",
             at / p->columns, at % p->columns);
    v->error = NAN;
    status = QP_E_WRONG;
  }
  for (unsigned t = 0; t < p->batch && !status; t++)
    status = compare_gathered(c, t, y, cells, row, s, v);
  free(y);
  free(cells);
  free(row);
  return status;
}

static qp_status check_counters(check *c, qp_verdict *v) {
  if (!c->k->counters) return QP_OK;
  uint32_t *counters = host(c, c->k->counters * 4);
  if (!counters) return QP_E_NOMEM;
  qp_status status =
      qp_device_download(c->dev, counters, c->args.counters, c->k->counters * 4, c->err);
  for (unsigned i = 0; i < c->k->counters && !status; i++)
    if (counters[i]) {
      snprintf(v->why, sizeof v->why, "counter %u was left at %u; it must return to 0", i,
               counters[i]);
      status = QP_E_WRONG;
    }
  free(counters);
  return status;
}

static qp_status check_zero(check *c, qp_verdict *v) {
  const size_t words = c->args.zero_words;
  if (!words) return QP_OK;
  uint32_t *zero = host(c, words * 4);
  if (!zero) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, zero, c->args.zero, words * 4, c->err);
  if (!status) status = guard_is_whole(c, c->args.zero, words * 4, "range to clear", v);
  for (size_t i = 0; i < words && !status; i++)
    if (zero[i]) {
      snprintf(v->why, sizeof v->why, "word %zu of %zu that the launch clears was left at %#x", i,
               words, zero[i]);
      status = QP_E_WRONG;
    }
  free(zero);
  return status;
}

static qp_status run(check *c) {
  qp_status status = qp_device_launch(c->dev, c->function, &c->launch, c->err);
  return status ? status : qp_device_sync(c->dev, c->err);
}

/* A second launch of a kernel that sums in order must give the same bits. */
static qp_status check_repeat(check *c, unsigned i, const unsigned char *y, qp_verdict *v) {
  size_t bytes = output_count(c, i) * qp_dtype_bytes(output_type(c));
  unsigned char *again = host(c, bytes);
  if (!again) return QP_E_NOMEM;
  qp_status status = qp_device_fill(c->dev, c->args.segment[i].y, POISON_BYTE, bytes, c->err);
  if (!status) status = run(c);
  if (!status) status = qp_device_download(c->dev, again, c->args.segment[i].y, bytes, c->err);
  if (!status && memcmp(y, again, bytes) != 0) {
    snprintf(v->why, sizeof v->why, "a second launch gave other bits in segment %u", i + 1);
    status = QP_E_WRONG;
  }
  free(again);
  return status;
}

static qp_status check_segments(check *c, sums *s, qp_verdict *v) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < c->k->problem.segments && !status; i++) {
    unsigned char *y = host(c, output_count(c, i) * qp_dtype_bytes(output_type(c)));
    status = y ? check_segment(c, i, s, y, v) : QP_E_NOMEM;
    if (!status && !c->dev->info.simulated && !c->k->adds_to_zero)
      status = check_repeat(c, i, y, v);
    free(y);
  }
  return status;
}

/* A row for each operation. */
static const op_check checks[QP_OP_COUNT] = {
    [QP_OP_GEMM] = {.inputs = gemm_inputs, .outputs = check_segments, .row = compare_products},
    [QP_OP_ROTATE] = {.rotates = true, .inputs = rotate_inputs, .outputs = check_rotation},
    [QP_OP_DEQUANT] = {.outputs = check_segments, .row = compare_weights},
    [QP_OP_GATHER] = {.inputs = gather_inputs, .no_outputs = true, .outputs = check_gathered},
    [QP_OP_ENCODE] = {.whole = qp_verify_encode},
};

static qp_status check_outputs(check *c, qp_verdict *v) {
  sums s = {0};
  qp_status status = check_counters(c, v);
  if (!status) status = check_zero(c, v);
  if (!status) status = c->of->outputs(c, &s, v);
  if (status) return status;
  v->error = sqrt(s.difference / (s.reference > 0 ? s.reference : 1));
  v->compared = s.n;
  if (v->error <= v->tolerance) return QP_OK; /* false for NaN */
  snprintf(v->why, sizeof v->why, "relative L2 error %.3g is above %.0e", v->error, v->tolerance);
  return QP_E_WRONG;
}

static void release(check *c) {
  for (unsigned i = 0; i < c->buffers; i++) qp_device_free(c->dev, c->buffer[i]);
  free(c->x);
  free(c->ids);
  free(c->signs);
  free(c->rotated);
  for (unsigned i = 0; i < QP_MAX_STREAMS; i++) {
    free(c->stream[i].codes);
    for (unsigned f = 0; f < QP_MAX_FIELDS; f++) free(c->stream[i].field[f]);
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) free(c->stream[i].codebook[b]);
  }
  for (unsigned i = 0; i < QP_MAX_SEGMENTS; i++) {
    free(c->segment[i].scale);
    free(c->segment[i].bias);
    free(c->segment[i].residual);
  }
  free(c);
}

/* What became of a check: a verdict, or the error that kept it from being done. */
static qp_status settle(qp_status status, qp_verdict *v, qp_verdict *out, const qp_error *err) {
  if (status == QP_E_DEVICE ||
      status == QP_E_COMPILE) /* the kernel's fault, as the device tells it */
    snprintf(v->why, sizeof v->why, "%.500s", err ? err->text : "the device refused it");
  else if (status && status != QP_E_WRONG)
    return status;
  v->pass = status == QP_OK;
  v->fault = status == QP_E_DEVICE;
  *out = *v;
  return QP_OK;
}

qp_status qp_verify(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                    qp_reference *reference, uint64_t seed, unsigned row_groups_max,
                    qp_verdict *out, qp_error *err) {
  qp_verdict v = {.tolerance = kernel->problem.type == QP_BF16 ? 8e-3 : 2e-3};
  size_t bytes;
  const void *image = qp_compiled_image(compiled, dev->info.wants_ptx, &bytes);
  if (!image)
    return qp_fail(err, QP_E_ARG, "%s was not compiled to %s", kernel->name,
                   dev->info.wants_ptx ? "PTX" : "a cubin");
  const op_check *of = &checks[kernel->problem.op];
  if (of->whole) {
    v.tolerance = 0;
    return settle(of->whole(dev, kernel, compiled, seed, &v, err), &v, out, err);
  }
  check *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a check");
  *c = (check){.dev = dev,
               .k = kernel,
               .reference = reference,
               .seed = seed,
               .random = {seed},
               .err = err,
               .row_groups_max = row_groups_max,
               .of = of};
  qp_module *module = NULL;
  qp_status status = make_inputs(c);
  if (status) return release(c), status;
  c->launch = (qp_launch){.grid = kernel->grid,
                          .block = kernel->block,
                          .smem_bytes = kernel->smem_bytes,
                          .params = c->params,
                          .params_bytes = qp_kernel_params(kernel, &c->args, c->params)};
  status = qp_device_load(dev, image, bytes, &module, err);
  if (!status) status = qp_device_function(dev, module, kernel->name, &c->function, err);
  if (!status) status = run(c);
  if (!status) status = check_outputs(c, &v);
  if (module) qp_device_unload(dev, module);
  release(c);
  return settle(status, &v, out, err);
}
