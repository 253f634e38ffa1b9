/* SPDX-License-Identifier: MIT */
/* Launches that depend on each other: run overlapped and one by one, and compared. */
#include "tuner/check/chain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/kernel/kernel.h"
#include "runtime/cuda_time.h"
#include "runtime/half.h"
#include "runtime/sim/sim.h"
#include "tuner/check/random_fields.h"

enum { LINKS = 4, BUFFERS = LINKS + 1, STAGES = 2 };

/* A kernel of the chain, after it was compiled and loaded. */
typedef struct stage {
  qp_kernel kernel;
  qp_compiled compiled;
  qp_module *module;
  qp_function *function;
} stage;

typedef struct chain {
  qp_device *dev;
  const qp_chain_case *what;
  qp_random random;
  qp_error *err;
  stage rotate, gemm;
  unsigned links;
  size_t values;        /* batch * size: the values of each of the buffers below, at 4 bytes each */
  qp_devptr x[BUFFERS]; /* X, A, B, C, D: [batch][size], fp16; or X and, fp32, Y */
  qp_devptr signs, scale, workspace, counters;
  qp_devptr codes[STAGES][QP_MAX_STREAMS], field[STAGES][QP_MAX_STREAMS][QP_MAX_ARRAYS];
  qp_devptr codebook[QP_MAX_STREAMS][QP_MAX_CODEBOOKS];
  qp_devptr made[256];
  unsigned count;
  unsigned char params[LINKS][QP_PARAMS_MAX];
  qp_chain_link link[LINKS];
} chain;

/* ---- Kernels ---- */

static qp_status make_stage(chain *c, qp_families *families, qp_compiler *compiler,
                            const qp_problem *problem, const char *path, stage *s) {
  const qp_family *family = qp_families_serving(families, problem, path);
  if (!family) return qp_fail(c->err, QP_E_ARG, "no kernel family serves the chain");
  qp_choice choice;
  qp_choice_default(family, &choice);
  qp_choice_put(&choice, "pdl", 1);
  if (problem->op == QP_OP_GEMM) qp_choice_put(&choice, "atomic", c->what->atomic);
  qp_status status = qp_kernel_make(families, problem, &choice, &s->kernel, c->err);
  if (status) return status;
  const bool simulated = c->dev->info.simulated;
  const qp_compile_job job = {.name = s->kernel.name,
                              .source = s->kernel.source,
                              .arch = problem->arch,
                              .want_cubin = !simulated,
                              .want_ptx = simulated};
  status = qp_compiler_run(compiler, &job, &s->compiled, c->err);
  if (!status)
    status = qp_device_load(c->dev, simulated ? (void *)s->compiled.ptx : s->compiled.cubin,
                            simulated ? s->compiled.ptx_bytes : s->compiled.cubin_bytes, &s->module,
                            c->err);
  if (!status) status = qp_device_function(c->dev, s->module, s->kernel.name, &s->function, c->err);
  return status;
}

static qp_status make_stages(chain *c, qp_families *families, qp_compiler *compiler) {
  const qp_chain_case *w = c->what;
  const qp_problem rotate = {.op = QP_OP_ROTATE,
                             .columns = w->size,
                             .batch = w->batch,
                             .type = QP_F16,
                             .arch = w->arch,
                             .sm_count = w->sm_count};
  qp_problem gemm = {.op = QP_OP_GEMM,
                     .segments = 1,
                     .columns = w->size,
                     .batch = w->batch,
                     .type = QP_F16,
                     .out_type = w->atomic ? QP_F32 : QP_F16,
                     .arch = w->arch,
                     .sm_count = w->sm_count};
  gemm.segment[0].quantizer = w->quantizer;
  gemm.segment[0].rows = w->size;
  const qp_status status = make_stage(c, families, compiler, &rotate, NULL, &c->rotate);
  return status ? status : make_stage(c, families, compiler, &gemm, w->path, &c->gemm);
}

/* ---- Buffers ---- */

static qp_status alloc(chain *c, size_t bytes, qp_devptr *out) {
  const qp_status status = qp_device_alloc(c->dev, bytes ? bytes : 16, out, c->err);
  if (!status) c->made[c->count++] = *out;
  return status;
}

static qp_status alloc_data(chain *c, const void *data, size_t bytes, qp_devptr *out) {
  const qp_status status = alloc(c, bytes, out);
  return status ? status : qp_device_upload(c->dev, *out, data, bytes, c->err);
}

/* Make a buffer of random bytes. */
static qp_status alloc_random(chain *c, size_t bytes, qp_devptr *out) {
  unsigned char *data = malloc(bytes + 8);
  if (!data) return qp_fail(c->err, QP_E_NOMEM, "no memory for a chain's data");
  for (size_t i = 0; i < bytes; i += 8) {
    const uint64_t v = qp_random_next(&c->random);
    memcpy(data + i, &v, 8);
  }
  const qp_status status = alloc_data(c, data, bytes, out);
  free(data);
  return status;
}

/* Buffers of fields whose values make sense. */
static qp_status alloc_fields(chain *c, const qp_stream *s, qp_devptr out[QP_MAX_ARRAYS]) {
  uint8_t *array[QP_MAX_ARRAYS] = {0};
  qp_status status = QP_OK;
  for (unsigned a = 0; a < s->arrays && !status; a++)
    if (!(array[a] = calloc(1, s->field_bytes[a])))
      status = qp_fail(c->err, QP_E_NOMEM, "no memory for a chain's data");
  if (!status) qp_random_fields(&c->random, s, array);
  for (unsigned a = 0; a < s->arrays; a++) {
    if (!status) status = alloc_data(c, array[a], s->field_bytes[a], &out[a]);
    free(array[a]);
  }
  return status;
}

static qp_status make_stream(chain *c, unsigned i) {
  const qp_stream *s = &c->gemm.kernel.stream[i].stream;
  const qp_quantizer *q = s->quantizer;
  qp_status status = QP_OK;
  for (unsigned g = 0; g < STAGES && !status; g++) {
    status = alloc_random(c, s->code_words * 4, &c->codes[g][i]);
    if (!status) status = alloc_fields(c, s, c->field[g][i]);
  }
  for (unsigned b = 0; b < q->codebooks && !status; b++) {
    const qp_codebook *book = &q->codebook[b];
    const size_t copies = book->scope == QP_SCOPE_ROW ? (size_t)s->row_groups * QP_GROUP_ROWS : 1;
    const size_t bytes = (size_t)book->entries * book->dim * 2;
    status = alloc(c, copies * bytes, &c->codebook[i][b]);
    for (size_t r = 0; r < copies && !status; r++)
      status = qp_device_upload(c->dev, c->codebook[i][b] + r * bytes, book->data, bytes, c->err);
  }
  return status;
}

static qp_status make_x(chain *c) {
  const size_t n = (size_t)c->what->size * c->what->batch;
  uint16_t *x = malloc(n * sizeof *x);
  if (!x) return qp_fail(c->err, QP_E_NOMEM, "no memory for a chain's data");
  for (size_t i = 0; i < n; i++) x[i] = qp_double_to_half(qp_random_uniform(&c->random, -1, 1));
  c->values = n;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < BUFFERS && !status; i++) status = alloc(c, n * 4, &c->x[i]);
  if (!status) status = qp_device_upload(c->dev, c->x[0], x, n * sizeof *x, c->err);
  free(x);
  return status;
}

/* Row scales that keep the chain's numbers within fp16. */
static qp_status make_scale(chain *c) {
  const unsigned n = c->what->size;
  float *scale = malloc(n * sizeof *scale);
  if (!scale) return qp_fail(c->err, QP_E_NOMEM, "no memory for a chain's data");
  for (unsigned i = 0; i < n; i++) scale[i] = 1.0f / (float)n;
  qp_status status = alloc(c, n * sizeof *scale, &c->scale);
  if (!status) status = qp_device_upload(c->dev, c->scale, scale, n * sizeof *scale, c->err);
  free(scale);
  return status;
}

static qp_status make_buffers(chain *c) {
  const qp_kernel *g = &c->gemm.kernel;
  qp_status status = make_x(c);
  if (!status) status = make_scale(c);
  if (!status) status = alloc_random(c, (c->what->size + 31) / 32 * 4, &c->signs);
  if (!status) status = alloc(c, g->workspace_bytes, &c->workspace);
  if (!status) status = alloc(c, g->counters * 4, &c->counters);
  if (!status && g->counters)
    status = qp_device_fill(c->dev, c->counters, 0, g->counters * 4, c->err);
  for (unsigned i = 0; i < g->streams && !status; i++) status = make_stream(c, i);
  return status;
}

/* ---- Launches ---- */

/* Link i reads buffer i and writes buffer i + 1: rotations at even places, gemms at odd ones. */
static void make_link(chain *c, unsigned i) {
  const bool gemm = c->what->atomic || i % 2;
  const stage *s = gemm ? &c->gemm : &c->rotate;
  const qp_kernel *k = &s->kernel;
  qp_arguments a = {.x = c->x[i], .signs = c->signs};
  if (gemm) {
    a.workspace = k->workspace_bytes ? c->workspace : 0;
    a.counters = k->counters ? c->counters : 0;
    a.segment[0].y = c->x[i + 1];
    a.segment[0].scale = c->scale;
    for (unsigned n = 0; n < k->streams; n++) {
      a.stream[n].codes = c->codes[i / 2][n];
      memcpy(a.stream[n].field, c->field[i / 2][n], sizeof a.stream[n].field);
      memcpy(a.stream[n].codebook, c->codebook[n], sizeof a.stream[n].codebook);
    }
  } else {
    a.y = c->x[i + 1];
    a.rows = c->what->batch;
  }
  c->link[i] = (qp_chain_link){.function = s->function,
                               .launch = {.grid = k->grid,
                                          .block = k->block,
                                          .smem_bytes = k->smem_bytes,
                                          .params = c->params[i],
                                          .params_bytes = qp_kernel_params(k, &a, c->params[i]),
                                          .pdl = true}};
}

/* What the launches find: outputs of NaNs, or of zeros where they add. */
static qp_status prepare(chain *c) {
  qp_status status = QP_OK;
  for (unsigned i = 1; i < BUFFERS && !status; i++)
    status = qp_device_fill(c->dev, c->x[i], c->what->atomic ? 0 : 0xff, c->values * 4, c->err);
  return status;
}

/* One after another. */
static qp_status run_apart(chain *c) {
  qp_status status = prepare(c);
  for (unsigned i = 0; i < c->links && !status; i++) {
    qp_launch alone = c->link[i].launch;
    alone.pdl = false;
    status = qp_device_launch(c->dev, c->link[i].function, &alone, c->err);
    if (!status) status = qp_device_sync(c->dev, c->err);
  }
  return status;
}

/* Put the links on a stream that is being captured; 'arg' is the chain. */
static qp_status enqueue(void *stream, void *arg, qp_error *err) {
  chain *c = arg;
  qp_status status = QP_OK;
  if (c->what->atomic) status = c->dev->ops->clear(c->dev, c->x[1], c->values * 4, stream, err);
  for (unsigned i = 0; i < c->links && !status; i++) {
    qp_launch launch = c->link[i].launch;
    launch.on_stream = true;
    launch.stream = stream;
    status = qp_device_launch(c->dev, c->link[i].function, &launch, err);
  }
  return status;
}

static qp_status run_graph(chain *c) {
  const qp_graph_work work = {.enqueue = enqueue, .arg = c, .warm = true};
  double seconds;
  return qp_cuda_time_work(c->dev, &work, 8, &seconds, c->err);
}

static qp_status run_overlapped(chain *c) {
  qp_sim_switches before, switches;
  qp_status status = prepare(c);
  if (!c->dev->info.simulated) return status ? status : run_graph(c);
  if (!status) status = qp_sim_switches_get(c->dev, &before, c->err);
  if (status) return status;
  switches = before;
  switches.overlap = true;
  status = qp_sim_switches_set(c->dev, &switches, c->err);
  for (unsigned i = 0; i < c->links && !status; i++)
    status = qp_device_launch(c->dev, c->link[i].function, &c->link[i].launch, c->err);
  const qp_status restored = qp_sim_switches_set(c->dev, &before, NULL);
  return status ? status : restored;
}

/* ---- Comparison ---- */

static double value(const chain *c, const unsigned char *bytes, size_t i) {
  uint16_t h;
  float f;
  if (c->what->atomic) return memcpy(&f, bytes + 4 * i, 4), (double)f;
  return memcpy(&h, bytes + 2 * i, 2), (double)qp_half_to_float(h);
}

static qp_status compare(const chain *c, const unsigned char *apart,
                         const unsigned char *overlapped, qp_verdict *v) {
  double difference = 0, reference = 0;
  for (size_t i = 0; i < c->values; i++) {
    const double want = value(c, apart, i), d = value(c, overlapped, i) - want;
    difference += d * d;
    reference += want * want;
  }
  v->error = sqrt(difference / reference); /* NaN where a value was never written */
  v->compared = c->values;
  if (!(reference > 0) || !isfinite(reference)) {
    snprintf(v->why, sizeof v->why, "the launches one by one gave no finite numbers");
    return QP_E_WRONG;
  }
  if (c->what->atomic ? v->error <= v->tolerance : memcmp(apart, overlapped, 2 * c->values) == 0)
    return QP_OK;
  snprintf(v->why, sizeof v->why,
           "launches that overlap gave other numbers than one by one: relative L2 error %.3g",
           v->error);
  return QP_E_WRONG;
}

static qp_status run_both(chain *c, qp_verdict *v) {
  const size_t bytes = c->values * 4;
  unsigned char *apart = malloc(2 * bytes);
  if (!apart) return qp_fail(c->err, QP_E_NOMEM, "no memory for a chain's results");
  qp_status status = run_apart(c);
  if (!status) status = qp_device_download(c->dev, apart, c->x[c->links], bytes, c->err);
  if (!status) status = run_overlapped(c);
  if (!status) status = qp_device_sync(c->dev, c->err);
  if (!status) status = qp_device_download(c->dev, apart + bytes, c->x[c->links], bytes, c->err);
  if (!status) status = compare(c, apart, apart + bytes, v);
  free(apart);
  return status;
}

static void stage_free(qp_device *dev, stage *s) {
  if (s->module) qp_device_unload(dev, s->module);
  qp_compiled_free(&s->compiled);
  qp_kernel_free(&s->kernel);
}

qp_status qp_chain_verify(qp_device *dev, qp_families *families, qp_compiler *compiler,
                          const qp_chain_case *what, qp_verdict *out, qp_error *err) {
  if (what->arch < 90)
    return qp_fail(err, QP_E_ARG, "sm_%u has no programmatic dependent launch; sm_90 and later do",
                   what->arch);
  chain *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a chain");
  *c = (chain){.dev = dev,
               .what = what,
               .random = {what->seed},
               .err = err,
               .links = what->atomic ? 1 : LINKS};
  qp_verdict v = {.tolerance = what->atomic ? 1e-5 : 0};
  qp_status status = make_stages(c, families, compiler);
  if (!status) status = make_buffers(c);
  for (unsigned i = 0; i < c->links && !status; i++) make_link(c, i);
  if (!status) status = run_both(c, &v);
  if (status == QP_E_DEVICE) snprintf(v.why, sizeof v.why, "%.500s", err ? err->text : "device");
  for (unsigned i = 0; i < c->count; i++) qp_device_free(dev, c->made[i]);
  stage_free(dev, &c->rotate);
  stage_free(dev, &c->gemm);
  free(c);
  if (status && status != QP_E_DEVICE && status != QP_E_WRONG) return status;
  v.pass = status == QP_OK;
  *out = v;
  return QP_OK;
}
