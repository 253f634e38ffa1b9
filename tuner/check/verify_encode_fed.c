/* SPDX-License-Identifier: MIT */
/* Compares a kernel that feeds errors forward with the CPU's coder: codes must be the same bits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/coder.h"
#include "gen/encode/feedback.h"
#include "gen/encode/sample.h"
#include "runtime/sim/sim.h"
#include "tuner/check/verify_internal.h"
#include "tuner/quantize/device_search.h"

enum {
  ROWS = 32,
  GRAIN = QP_CODER_TRELLIS_GRAIN,
  BEFORE = 24, /* columns of a part before, whose errors stand */
  BUFFERS = 9,
  GUARD = 256,
  FACTOR_BITS = 16,
  INSTRUCTIONS_A_STATE = 512 /* of a thread at most, where nothing is optimised */
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
  float *target;   /* [groups][32][columns] */
  int32_t *errors; /* [groups][all][32], of the columns before */
  int32_t *lost;   /* of the CPU: the same of all columns */
  uint32_t *code;  /* of the CPU: [groups][32][steps] */
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
  const bool ok = d->out.codes && d->x && d->target && d->value && d->error && d->sum && d->state;
  return ok ? qp_coder_work_new(&c->coder, &c->stream, &d->work, c->err) : out_of_memory(c);
}

/* Errors of columns [from, end) become those of values, and pass on to all columns behind. */
static void pass_errors(const fed_check *c, fed_desk *d, unsigned from, unsigned end) {
  for (size_t r = 0; r < ROWS; r++)
    for (size_t k = r * c->all + from; k < r * c->all + end; k++)
      d->error[k] = qp_feedback_error(d->value[k], d->x[k]);
  qp_feedback_pass(&c->feedback, from, end, c->all, d->error, d->sum);
}

static qp_status code_columns(const fed_check *c, fed_desk *d, unsigned group) {
  const unsigned n = c->stream.columns;
  const qp_coder *coder = &c->coder;
  qp_status status =
      qp_coder_begin(coder, d->work, &c->stream, group, d->x + BEFORE, c->all, &d->out, c->err);
  for (unsigned k = 0; k < n && !status; k += GRAIN) {
    const unsigned end = k + GRAIN < n ? k + GRAIN : n;
    qp_feedback_targets(&c->feedback, BEFORE + k, c->all, d->x, d->sum, d->target);
    status = qp_coder_columns(coder, d->work, &c->stream, group, k, end, d->target + BEFORE,
                              &d->out, d->value + BEFORE, c->all, c->err);
    if (!status) pass_errors(c, d, BEFORE + k, BEFORE + end);
  }
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
  qp_feedback_pass(&c->feedback, 0, BEFORE, c->all, d->error, d->sum);
  const qp_status status = code_columns(c, d, group);
  for (size_t i = 0; i < (size_t)c->all * ROWS; i++)
    c->lost[group * (size_t)c->all * ROWS + i] = (int32_t)d->error[i % ROWS * c->all + i / ROWS];
  for (unsigned lane = 0; lane < ROWS && !status; lane++) {
    qp_coder_states(&c->coder, d->work, lane, d->state);
    for (size_t i = 0; i < c->steps; i++)
      c->code[((size_t)group * ROWS + lane) * c->steps + i] = d->state[i] >> (q->window - q->step);
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
    for (size_t i = 0; i < cells; i++)
      if (i / n < i % n)
        f->unit[i] = (int)(u[i] * (float)(1 << (FACTOR_BITS - 2)) * (i % 37 ? 1 : 16));
  }
  free(u);
  return f->unit && f->scale && u ? QP_OK : out_of_memory(c);
}

/* N(0,1), but for a row of outliers, one of zeros, and one beyond what steps of 16 bits hold. */
static qp_status make_data(fed_check *c, uint64_t seed) {
  const qp_problem *p = &c->k->problem;
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_status status = qp_layout_stream(q, p->segment[0].rows, p->columns, &c->stream, c->err);
  if (!status) status = qp_coder_make(&c->coder, q, c->err);
  if (status) return status;
  c->all = BEFORE + p->columns;
  c->groups = c->stream.row_groups;
  c->steps = (size_t)c->stream.superblocks * c->stream.period.steps;
  const size_t cells = c->groups * ROWS * p->columns, errors = c->groups * ROWS * c->all;
  c->target = calloc(cells, sizeof *c->target);
  c->errors = calloc(errors, sizeof *c->errors);
  c->lost = calloc(errors, sizeof *c->lost);
  c->code = calloc(c->groups * ROWS * c->steps, sizeof *c->code);
  if (!c->target || !c->errors || !c->lost || !c->code) return out_of_memory(c);
  qp_sample_gaussian(seed, (size_t)p->segment[0].rows * p->columns, c->target);
  for (size_t k = 0; k < p->columns; k++) {
    if (k % 16 == 3) c->target[p->columns + k] *= 30;
    c->target[2 * p->columns + k] *= k < p->columns / 2 ? 0 : 8;
  }
  for (size_t i = 0; i < errors; i++) /* those that the kernel writes are far out */
    c->errors[i] = i / ROWS % c->all < BEFORE ? (int)(i * 7919 % 20011) - 10005 : INT32_MIN;
  status = make_feedback(c, seed + 1);
  return status ? status : encode_on_cpu(c);
}

/* ---- The kernel ---- */

static qp_status add_all(fed_check *c, qp_arguments *a) {
  const size_t n = c->all, rows = c->groups * ROWS;
  size_t table_bytes = 0, value_bytes = 0;
  void *table = qp_device_search_table(&c->coder, c->k, &table_bytes);
  void *values = qp_device_search_values(&c->coder, &value_bytes);
  *a = (qp_arguments){.rows = c->groups};
  qp_device_search_words(&c->coder, BEFORE, c->all, a);
  qp_status status = table && values ? QP_OK : out_of_memory(c);
  if (!status) status = add(c, table, table_bytes, &a->table);
  if (!status) status = add(c, values, value_bytes, &a->values);
  if (!status) status = add(c, c->target, 4 * rows * c->stream.columns, &a->x);
  if (!status) status = add(c, c->errors, 4 * rows * n, &a->errors);
  if (!status) status = add(c, NULL, 4 * n * n, &a->factor);
  if (!status) status = qp_device_search_factor(c->dev, &c->feedback, a->factor, c->err);
  if (!status) status = add(c, c->feedback.scale, sizeof(double) * n, &a->sum_unit);
  if (!status) status = add(c, NULL, 4 * rows * c->steps, &a->y);
  if (!status) status = add(c, NULL, c->k->workspace_bytes, &a->workspace);
  free(table);
  free(values);
  return status;
}

/* The simulator's limit holds for kernels whose work is small. */
static qp_status run(fed_check *c, qp_function *function, const qp_launch *how) {
  qp_sim_switches before, switches;
  if (!c->dev->info.simulated) return qp_device_launch(c->dev, function, how, c->err);
  qp_status status = qp_sim_switches_get(c->dev, &before, c->err);
  if (status) return status;
  const qp_quantizer *q = c->coder.quantizer;
  const uint64_t states = (UINT64_C(1) << q->window) / c->k->block + 1;
  const uint64_t steps = ROWS * (4 * c->steps + 512);
  switches = before;
  if (switches.thread_limit < steps * states * INSTRUCTIONS_A_STATE)
    switches.thread_limit = steps * states * INSTRUCTIONS_A_STATE;
  status = qp_sim_switches_set(c->dev, &switches, c->err);
  if (!status) status = qp_device_launch(c->dev, function, how, c->err);
  const qp_status restored = qp_sim_switches_set(c->dev, &before, NULL);
  return status ? status : restored;
}

static qp_status launch(fed_check *c, const qp_compiled *compiled, qp_arguments *a) {
  size_t bytes;
  const void *image = qp_compiled_image(compiled, c->dev->info.wants_ptx, &bytes);
  unsigned char params[QP_PARAMS_MAX];
  qp_module *module = NULL;
  qp_function *function = NULL;
  qp_status status = qp_device_load(c->dev, image, bytes, &module, c->err);
  if (!status) status = qp_device_function(c->dev, module, c->k->name, &function, c->err);
  const qp_launch how = {.grid = c->k->grid,
                         .block = c->k->block,
                         .smem_bytes = c->k->smem_bytes,
                         .params = params,
                         .params_bytes = qp_kernel_params(c->k, a, params)};
  if (!status) status = run(c, function, &how);
  if (!status) status = qp_device_sync(c->dev, c->err);
  if (module) qp_device_unload(c->dev, module);
  return status;
}

/* Words that the kernel wrote against the CPU's, [groups][first][second], and what stands behind
   them. */
static qp_status compare(fed_check *c, qp_devptr at, const void *wanted, size_t first,
                         size_t second, const char *what, qp_verdict *v) {
  const size_t words = c->groups * first * second;
  unsigned char *got = malloc(4 * words + GUARD);
  qp_status status = got ? QP_OK : out_of_memory(c);
  if (!status) status = qp_device_download(c->dev, got, at, 4 * words + GUARD, c->err);
  for (size_t i = 0; i < GUARD && !status; i++) {
    if (got[4 * words + i] == 0xa5) continue;
    snprintf(v->why, sizeof v->why, "%ss: byte %zu behind their end was overwritten", what, i);
    status = QP_E_WRONG;
  }
  for (size_t i = 0; i < words && !status; i++) {
    int32_t has, wants;
    memcpy(&has, got + 4 * i, 4);
    memcpy(&wants, (const unsigned char *)wanted + 4 * i, 4);
    if (has == wants) continue;
    snprintf(v->why, sizeof v->why, "group %zu, %s of %zu, %zu: %d, the CPU's is %d",
             i / second / first, what, i / second % first, i % second, has, wants);
    status = QP_E_WRONG;
  }
  free(got);
  v->compared += words;
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
}

qp_status qp_verify_encode_fed(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                               uint64_t seed, qp_verdict *v, qp_error *err) {
  fed_check c = {.dev = dev, .k = kernel, .err = err};
  qp_arguments a = {0};
  qp_status status = make_data(&c, seed);
  if (!status) status = add_all(&c, &a);
  if (!status) status = launch(&c, compiled, &a);
  v->compared = 0;
  if (!status) status = compare(&c, a.errors, c.lost, c.all, ROWS, "error", v);
  if (!status) status = compare(&c, a.y, c.code, ROWS, c.steps, "code", v);
  release(&c);
  return status;
}
