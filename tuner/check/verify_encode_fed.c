/* SPDX-License-Identifier: MIT */
/* Compares a kernel that feeds errors forward with the CPU's coder: codes must be the same bits. */
#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/coder.h"
#include "gen/encode/feedback.h"
#include "gen/encode/lanes.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"
#include "tuner/check/verify_internal.h"
#include "tuner/quantize/device_search.h"

enum {
  ROWS = 32,
  BEFORE = 24, /* columns of a part before, whose errors stand */
  BUFFERS = 11,
  GUARD = 256,
  FACTOR_BITS = 16,
  /* Of a thread at most, where nothing is optimised: for each state of a step; for a group of
     fields of 256 weights. */
  INSTRUCTIONS_A_STATE = 512,
  INSTRUCTIONS_A_GROUP = 1 << 24
};

/* One check: what the kernel gets, what the CPU makes of the same. */
typedef struct fed_check {
  qp_device *dev;
  const qp_kernel *k;
  qp_coder coder;
  qp_stream stream;
  qp_feedback feedback; /* U is made up, and so is its unit; there is no Hessian */
  unsigned all;
  size_t groups, steps;
  bool by_row;                   /* group fields, scalars, pairs: codes are found by row, */
  size_t row_codes;              /* [groups][32][so many] */
  size_t raws;                   /* of a row with group fields, else 0; */
  uint32_t *raw;                 /* [groups][32][raws] */
  uint8_t *field[QP_MAX_ARRAYS]; /* of the CPU, as they are stored */
  uint16_t *table;               /* codebooks by row: [groups][32][states][dim] */
  uint32_t *apart;               /* with sparse entries: [groups][32][columns / 32, rounded up] */
  float *target;                 /* [groups][32][columns] */
  int32_t *errors;               /* [groups][all][32], of the columns before */
  int32_t *lost;                 /* of the CPU: the same of all columns */
  uint32_t *code;                /* of the CPU: [groups][32][steps] */
  qp_devptr buffer[BUFFERS];
  unsigned buffers;
  qp_error *err;
} fed_check;

/* What the CPU's coder works on, of 32 rows of all columns. */
typedef struct fed_desk {
  qp_coder_work *work;
  qp_coder_out out;
  float *x, *target, *value;
  double *error, *sum;
  uint32_t *state;
} fed_desk;

static qp_status out_of_memory(const fed_check *c) {
  return qp_fail(c->err, QP_E_NOMEM, "no memory for %u columns", c->all);
}

static qp_status add(fed_check *c, const void *data, size_t bytes, qp_devptr *out) {
  unsigned char guard[GUARD];
  memset(guard, 0xa5, sizeof guard);
  qp_status status = qp_device_alloc(c->dev, bytes + GUARD, out, c->err);
  if (status) return status;
  c->buffer[c->buffers++] = *out;
  status = qp_device_upload(c->dev, *out + bytes, guard, GUARD, c->err);
  if (status) return status;
  return data ? qp_device_upload(c->dev, *out, data, bytes, c->err)
              : qp_device_fill(c->dev, *out, 0xff, bytes, c->err);
}

/* ---- The CPU ---- */

static void free_desk(fed_desk *d) {
  qp_coder_work_free(d->work);
  free(d->out.codes);
  for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) free(d->out.codebook[b]);
  free(d->x);
  free(d->target);
  free(d->value);
  free(d->error);
  free(d->sum);
  free(d->state);
}

static qp_status make_desk(const fed_check *c, fed_desk *d) {
  const size_t cells = (size_t)ROWS * c->all;
  *d = (fed_desk){.out.codes = calloc(c->stream.code_words, sizeof(uint32_t)),
                  .x = calloc(cells, sizeof(float)),
                  .target = calloc(cells, sizeof(float)),
                  .value = calloc(cells, sizeof(float)),
                  .error = calloc(cells, sizeof(double)),
                  .sum = calloc(cells, sizeof(double)),
                  .state = calloc(c->steps, sizeof(uint32_t))};
  memcpy(d->out.field, c->field, sizeof d->out.field);
  bool ok = true;
  const qp_quantizer *q = c->coder.quantizer;
  for (unsigned b = 0; b < q->codebooks; b++) {
    const size_t numbers = (size_t)q->codebook[b].entries * q->codebook[b].dim;
    if (q->codebook[b].scope != QP_SCOPE_ROW) continue;
    ok = (d->out.codebook[b] = calloc(c->groups * ROWS * numbers, sizeof(uint16_t))) && ok;
  }
  ok = ok && d->out.codes && d->x && d->target && d->value && d->error && d->sum && d->state;
  return ok ? qp_coder_work_new(&c->coder, &c->stream, &d->work, c->err) : out_of_memory(c);
}

static bool is_apart(const fed_check *c, size_t row, size_t column) {
  const size_t words = (c->stream.columns + 31) / 32;
  return c->apart && c->apart[row * words + column / 32] >> column % 32 & 1;
}

/* What sparse entries stand for comes to its target. */
static void set_apart(const fed_check *c, fed_desk *d, unsigned group, unsigned from,
                      unsigned end) {
  for (size_t r = 0; r < ROWS; r++)
    for (size_t k = from; k < end; k++)
      if (is_apart(c, group * ROWS + r, k))
        d->value[r * c->all + BEFORE + k] = d->target[r * c->all + BEFORE + k];
}

/* Errors of columns [from, end) become those of values, and pass on to all columns behind. */
static void pass_errors(const fed_check *c, fed_desk *d, unsigned from, unsigned end) {
  for (size_t r = 0; r < ROWS; r++)
    for (size_t k = r * c->all + from; k < r * c->all + end; k++)
      d->error[k] = qp_feedback_error(d->value[k], d->x[k]);
  qp_feedback_pass(&c->feedback, from, end, end, c->all, d->error, d->sum);
}

/* What codes of a group of rows decode to, each row's by its own codebook. */
static void keep_tables(const fed_check *c, const fed_desk *d, unsigned group) {
  const size_t n = (size_t)ROWS * c->coder.states * c->coder.quantizer->dim;
  const float *value = qp_coder_row_values(d->work);
  for (size_t i = 0; i < n; i++) c->table[group * n + i] = qp_float_to_half(value[i]);
}

static qp_status code_columns(const fed_check *c, fed_desk *d, unsigned group) {
  const unsigned n = c->stream.columns;
  const qp_coder *coder = &c->coder;
  const unsigned grain = qp_coder_grain(coder, &c->stream);
  qp_status status =
      qp_coder_begin(coder, d->work, &c->stream, group, d->x + BEFORE, c->all, &d->out, c->err);
  if (!status && c->table) keep_tables(c, d, group);
  for (unsigned k = 0; k < n && !status; k += grain) {
    const unsigned end = k + grain < n ? k + grain : n;
    qp_feedback_targets(&c->feedback, BEFORE + k, c->all, d->x, d->sum, d->target);
    status = qp_coder_columns(coder, d->work, &c->stream, group, k, end, d->target + BEFORE,
                              &d->out, d->value + BEFORE, c->all, c->err);
    if (!status) set_apart(c, d, group, k, end);
    if (!status) pass_errors(c, d, BEFORE + k, BEFORE + end);
  }
  if (!status) qp_coder_end(coder, d->work, &c->stream, group, &d->out);
  return status;
}

static qp_status encode_group(const fed_check *c, fed_desk *d, unsigned group) {
  const size_t n = c->stream.columns;
  const qp_quantizer *q = c->coder.quantizer;
  memset(d->sum, 0, sizeof *d->sum * ROWS * c->all);
  for (size_t r = 0; r < ROWS; r++) {
    memcpy(d->x + r * c->all + BEFORE, c->target + (group * ROWS + r) * n, sizeof *d->x * n);
    for (size_t k = 0; k < BEFORE; k++)
      d->error[r * c->all + k] = c->errors[(group * (size_t)c->all + k) * ROWS + r];
  }
  qp_feedback_pass(&c->feedback, 0, BEFORE, BEFORE, c->all, d->error, d->sum);
  const qp_status status = code_columns(c, d, group);
  for (size_t i = 0; i < (size_t)c->all * ROWS; i++)
    c->lost[group * (size_t)c->all * ROWS + i] = (int32_t)d->error[i % ROWS * c->all + i / ROWS];
  for (unsigned lane = 0; lane < ROWS && !status; lane++) {
    qp_coder_states(&c->coder, d->work, lane, d->state);
    for (size_t i = 0; i < c->steps; i++)
      c->code[((size_t)group * ROWS + lane) * c->steps + i] =
          c->coder.kind == QP_CODER_TRELLIS ? d->state[i] >> (q->window - q->step) : d->state[i];
  }
  return status;
}

static qp_status encode_on_cpu(const fed_check *c) {
  fed_desk d;
  qp_status status = make_desk(c, &d);
  for (unsigned g = 0; g < c->groups && !status; g++) status = encode_group(c, &d, g);
  free_desk(&d);
  return status;
}

/* ---- Data ---- */

/* U of numbers about 1/4, some of them large, as whole numbers of a unit that differs by column. */
static qp_status make_feedback(fed_check *c, uint64_t seed) {
  const size_t n = c->all, cells = n * n;
  qp_feedback *f = &c->feedback;
  *f = (qp_feedback){.columns = c->all};
  f->unit = calloc(cells, sizeof *f->unit);
  f->scale = calloc(n, sizeof *f->scale);
  float *u = malloc(sizeof *u * cells);
  if (f->unit && f->scale && u) {
    qp_sample_gaussian(seed, cells, u);
    for (size_t k = 0; k < n; k++)
      f->scale[k] = 1.0 / (1 << (FACTOR_BITS + k % 3)) / (1 << QP_FEEDBACK_ERROR_FRACTION);
    for (size_t i = 0; i < n; i++)
      for (size_t k = i + 1; k < n; k++) {
        const float wide = (i * n + k) % 37 ? 1 : 16;
        f->unit[i * n + k] = truncf(u[i * n + k] * (float)(1 << (FACTOR_BITS - 2)) * wide);
      }
  }
  free(u);
  return f->unit && f->scale && u ? QP_OK : out_of_memory(c);
}

/* N(0,1), but for a row of outliers, one of zeros and of what is beyond what steps of 16 bits hold,
   one with an error beyond what is passed on, one of zeros that nothing is passed on to; every
   other one is wider than codes reach, so that paths that are given up would be the best. */
static void fill_targets(fed_check *c, uint64_t seed) {
  const size_t n = c->stream.columns, rows = c->stream.rows;
  qp_sample_gaussian(seed, rows * n, c->target);
  for (size_t i = 0; i < rows * n; i++)
    if (i / n % 2) c->target[i] *= (float)(1 + i / n % 8);
  for (size_t k = 0; k < n; k++) {
    if (k % 16 == 3) c->target[n + k] *= 30;
    c->target[2 * n + k] *= k < n / 2 ? 0 : 8;
    if (k % 32 == 9) c->target[3 * n + k] = 1000;
    c->target[4 * n + k] = 0;
  }
  for (size_t i = 0; i < c->groups * ROWS * c->all; i++) { /* the kernel's are far out before */
    const bool zero = i % ROWS == 4 && i / ROWS < c->all;
    c->errors[i] =
        i / ROWS % c->all < BEFORE ? (zero ? 0 : (int)(i * 7919 % 20011) - 10005) : INT32_MIN;
  }
}

/* Some weights of each row, with the first and the last column among them. */
static qp_status mark_apart(fed_check *c) {
  const size_t n = c->stream.columns, words = (n + 31) / 32, rows = c->groups * ROWS;
  if (!(c->coder.quantizer->sparse > 0)) return QP_OK;
  c->apart = calloc(rows * words, sizeof *c->apart);
  if (!c->apart) return out_of_memory(c);
  for (size_t r = 0; r < rows; r++)
    for (size_t k = 0; k < n; k++) {
      if ((r * 7 + k * 13) % 29 && (r % 8 || (k && k + 1 < n))) continue;
      c->apart[r * words + k / 32] |= UINT32_C(1) << k % 32;
      c->target[r * n + k] = 0;
    }
  return QP_OK;
}

static qp_status make_data(fed_check *c, uint64_t seed) {
  const qp_problem *p = &c->k->problem;
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_status status = qp_layout_stream(q, p->segment[0].rows, p->columns, &c->stream, c->err);
  if (!status) status = qp_coder_make(&c->coder, q, c->err);
  if (status) return status;
  c->all = BEFORE + p->columns;
  c->groups = c->stream.row_groups;
  c->steps = (size_t)c->stream.superblocks * c->stream.period.steps;
  c->by_row = c->coder.kind != QP_CODER_TRELLIS && !qp_coder_feeds_vectors(&c->coder);
  c->row_codes = c->by_row ? p->columns / q->dim : c->steps;
  c->raws = qp_coder_has_fields(&c->coder) ? qp_field_groups(&c->stream) * q->fields : 0;
  const size_t cells = c->groups * ROWS * p->columns, errors = c->groups * ROWS * c->all;
  c->target = calloc(cells, sizeof *c->target);
  c->errors = calloc(errors, sizeof *c->errors);
  c->lost = calloc(errors, sizeof *c->lost);
  c->code = calloc(c->groups * ROWS * c->steps, sizeof *c->code);
  c->raw = calloc(c->groups * ROWS * c->raws + 1, sizeof *c->raw);
  bool ok = c->target && c->errors && c->lost && c->code && c->raw;
  if (c->coder.kind == QP_CODER_ROWS)
    ok = (c->table = calloc(c->groups * ROWS * c->coder.states * q->dim, 2)) && ok;
  for (unsigned f = 0; f < c->stream.arrays; f++)
    ok = (c->field[f] = calloc(1, c->stream.field_bytes[f])) && ok;
  if (!ok) return out_of_memory(c);
  fill_targets(c, seed);
  status = mark_apart(c);
  if (!status) status = make_feedback(c, seed + 1);
  return status ? status : encode_on_cpu(c);
}

/* ---- The kernel ---- */

static qp_status add_all(fed_check *c, qp_arguments *a) {
  const size_t n = c->all, rows = c->groups * ROWS;
  size_t table_bytes = 0, value_bytes = 0;
  void *table = qp_device_search_table(&c->coder, c->k, &table_bytes);
  void *values = c->by_row ? NULL : qp_device_search_values(&c->coder, &value_bytes);
  if (c->table) table_bytes = 2 * rows * c->coder.states * c->coder.quantizer->dim;
  *a = (qp_arguments){.rows = c->groups};
  qp_device_search_words(&c->coder, BEFORE, c->all, a);
  qp_status status = table && (values || c->by_row) ? QP_OK : out_of_memory(c);
  if (!status) status = add(c, c->table ? c->table : table, table_bytes, &a->table);
  if (!status && !c->by_row) status = add(c, values, value_bytes, &a->values);
  if (!status && c->raws) status = add(c, NULL, 4 * rows * c->raws, &a->start);
  if (!status && c->apart)
    status = add(c, c->apart, 4 * rows * ((c->stream.columns + 31) / 32), &a->apart);
  if (!status) status = add(c, c->target, 4 * rows * c->stream.columns, &a->x);
  if (!status) status = add(c, c->errors, 4 * rows * n, &a->errors);
  if (!status) status = add(c, NULL, 4 * n * n, &a->factor);
  if (!status) status = qp_device_search_factor(c->dev, &c->feedback, a->factor, c->err);
  if (!status) status = add(c, c->feedback.scale, sizeof(double) * n, &a->sum_unit);
  if (!status) status = add(c, NULL, 4 * rows * c->row_codes, &a->y);
  if (!status && c->k->workspace_bytes) status = add(c, NULL, c->k->workspace_bytes, &a->workspace);
  free(table);
  free(values);
  return status;
}

static uint64_t instructions_of(const fed_check *c) {
  const qp_quantizer *q = c->coder.quantizer;
  const uint64_t states = (UINT64_C(1) << q->window) / c->k->block + 1;
  if (c->raws) return c->raws * INSTRUCTIONS_A_GROUP;
  if (c->by_row) return c->row_codes * (c->coder.states + ROWS * c->all) * INSTRUCTIONS_A_STATE;
  return ROWS * (4 * c->steps + 512) * states * INSTRUCTIONS_A_STATE;
}

/* Words that the kernel wrote, to 'got', and what stands behind them. */
static qp_status read_words(fed_check *c, qp_devptr at, size_t words, const char *what,
                            uint32_t *got, qp_verdict *v) {
  unsigned char guard[GUARD];
  qp_status status = qp_device_download(c->dev, got, at, 4 * words, c->err);
  if (!status) status = qp_device_download(c->dev, guard, at + 4 * words, GUARD, c->err);
  for (size_t i = 0; i < GUARD && !status; i++) {
    if (guard[i] == 0xa5) continue;
    snprintf(v->why, sizeof v->why, "%ss: byte %zu behind their end was overwritten", what, i);
    status = QP_E_WRONG;
  }
  v->compared += words;
  return status;
}

/* Against the CPU's, [groups][first][second]. */
static qp_status compare(const uint32_t *got, const void *wanted, size_t groups, size_t first,
                         size_t second, const char *what, qp_verdict *v) {
  for (size_t i = 0; i < groups * first * second; i++) {
    uint32_t wants;
    memcpy(&wants, (const unsigned char *)wanted + 4 * i, 4);
    if (got[i] == wants) continue;
    snprintf(v->why, sizeof v->why, "group %zu, %s of %zu, %zu: %d, the CPU's is %d",
             i / second / first, what, i / second % first, i % second, (int)got[i], (int)wants);
    return QP_E_WRONG;
  }
  return QP_OK;
}

static qp_status compare_errors(fed_check *c, qp_devptr at, qp_verdict *v) {
  const size_t words = c->groups * c->all * ROWS;
  uint32_t *got = malloc(sizeof *got * words);
  qp_status status = got ? read_words(c, at, words, "error", got, v) : out_of_memory(c);
  if (!status) status = compare(got, c->lost, c->groups, c->all, ROWS, "error", v);
  free(got);
  return status;
}

static qp_status compare_codes(fed_check *c, qp_devptr at, qp_verdict *v) {
  const size_t each = ROWS * c->row_codes;
  uint32_t *got = malloc(sizeof *got * c->groups * each);
  uint32_t *lanes = malloc(sizeof *lanes * c->groups * ROWS * c->steps);
  qp_status status =
      got && lanes ? read_words(c, at, c->groups * each, "code", got, v) : out_of_memory(c);
  for (size_t g = 0; g < c->groups && !status && c->by_row; g++)
    qp_lanes_of_rows(&c->stream, got + g * each, NULL, lanes + g * ROWS * c->steps);
  if (!status)
    status = compare(c->by_row ? lanes : got, c->code, c->groups, ROWS, c->steps, "code", v);
  free(got);
  free(lanes);
  return status;
}

/* Raw fields, stored as the CPU stores its own. */
static qp_status compare_fields(fed_check *c, qp_devptr at, qp_verdict *v) {
  uint8_t *to[QP_MAX_ARRAYS] = {0};
  qp_status status = read_words(c, at, c->groups * ROWS * c->raws, "group field", c->raw, v);
  for (unsigned f = 0; f < c->stream.arrays && !status; f++)
    if (!(to[f] = calloc(1, c->stream.field_bytes[f]))) status = out_of_memory(c);
  for (unsigned g = 0; g < c->groups && !status; g++)
    qp_field_groups_pack(&c->stream, g, c->raw + g * ROWS * c->raws, to);
  for (unsigned f = 0; f < c->stream.arrays && !status; f++)
    for (size_t i = 0; i < c->stream.field_bytes[f] && !status; i++) {
      if (to[f][i] == c->field[f][i]) continue;
      snprintf(v->why, sizeof v->why, "byte %zu of the stored fields %u: %u, the CPU's is %u", i, f,
               to[f][i], c->field[f][i]);
      status = QP_E_WRONG;
    }
  for (unsigned f = 0; f < c->stream.arrays; f++) free(to[f]);
  return status;
}

static void release(fed_check *c) {
  for (unsigned i = 0; i < c->buffers; i++) qp_device_free(c->dev, c->buffer[i]);
  qp_feedback_free(&c->feedback);
  qp_coder_free(&c->coder);
  free(c->target);
  free(c->errors);
  free(c->lost);
  free(c->code);
  free(c->raw);
  free(c->table);
  free(c->apart);
  for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) free(c->field[f]);
}

qp_status qp_verify_encode_fed(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                               uint64_t seed, qp_verdict *v, qp_error *err) {
  fed_check c = {.dev = dev, .k = kernel, .err = err};
  qp_arguments a = {0};
  qp_status status = make_data(&c, seed);
  if (!status) status = add_all(&c, &a);
  if (!status)
    status = qp_verify_launch_search(dev, kernel, compiled, &a, instructions_of(&c), err);
  v->compared = 0;
  if (!status && c.raws) status = compare_fields(&c, a.start, v);
  if (!status) status = compare_errors(&c, a.errors, v);
  if (!status) status = compare_codes(&c, a.y, v);
  release(&c);
  return status;
}
