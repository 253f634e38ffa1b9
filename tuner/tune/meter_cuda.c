/* SPDX-License-Identifier: MIT */
/*
** A GPU as a meter.  Weights are random bits in one pool that is much larger than the L2 cache;
** launches walk through it, each reads its weights where the one before ended, so that they are in
** no cache. A chain's replays read the same once more: where a chain reads too little to clear the
** cache, it is cleared before them.
** Activations, codebooks and outputs are the same in every launch and stay warm.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/resource.h"
#include "gen/compile/nvrtc.h"
#include "runtime/cuda_time.h"
#include "runtime/routing.h"
#include "tuner/base/cublas.h"
#include "tuner/check/routing.h"
#include "tuner/tune/cupti.h"
#include "tuner/tune/meter.h"
#include "tuner/tune/nvml.h"

enum {
  POOL_IN_L2 = 8,        /* size of the pool in sizes of the L2 cache */
  CHUNK = 1 << 20,       /* uploaded at once */
  LEAST_POOL = 64 << 20, /* bytes */
  ALIGN = 256,           /* alignment of everything in the pool */
  LINKS = 512,           /* launches of a chain at most */
  LEAST_LINKS = 48,      /* fewer hide what a chain's ends cost */
  REPLAYS = 15,          /* of a chain; the median counts */
  READS = 8,             /* reads of the pool, to measure the bandwidth */
  ROW_GROUPS = 8         /* row groups of each segment that the verification compares */
};

typedef struct gpu {
  qp_meter base;
  qp_device *dev;
  qp_nvml *nvml;
  qp_reference *reference;
  bool events;
  qp_cublas *cublas; /* NULL before it is asked for */
  char cublas_version[64];
  qp_devptr pool;
  size_t pool_bytes, cursor; /* where the next launch finds its weights */
  qp_chain_link link[LINKS];
  unsigned char params[LINKS][QP_PARAMS_MAX];
} gpu;

struct qp_metered {
  const qp_kernel *kernel;
  qp_module *module;
  qp_function *function;
  qp_arguments args; /* but what rotates */
  qp_devptr own[QP_MAX_STREAMS * QP_MAX_CODEBOOKS + 3 * QP_MAX_SEGMENTS + 4];
  unsigned owns;
  qp_devptr y[2][QP_MAX_SEGMENTS]; /* outputs, in turn; of a rotation the first */
  qp_devptr routings;              /* QP_ROUTINGS_TIMED routings of experts, in turn. */
  size_t routing_bytes;            /* of one */
  size_t copy_bytes;               /* bytes of one copy of the weights */
  unsigned next;                   /* launches so far */
};

/* ---- The pool ---- */

static qp_status fill_pool(gpu *g, qp_error *err) {
  uint32_t *chunk = malloc(CHUNK);
  if (!chunk) return qp_fail(err, QP_E_NOMEM, "no memory for random weights");
  qp_random random = {1};
  for (size_t i = 0; i < CHUNK / sizeof *chunk; i++) chunk[i] = (uint32_t)qp_random_next(&random);
  qp_status status = QP_OK;
  for (size_t at = 0; at < g->pool_bytes && !status; at += CHUNK)
    status = qp_device_upload(g->dev, g->pool + at, chunk, CHUNK, err);
  free(chunk);
  return status;
}

/* Make the pool at least this large; what lay in it moves. */
static qp_status need_pool(gpu *g, size_t bytes, qp_error *err) {
  bytes = (bytes + CHUNK - 1) / CHUNK * CHUNK;
  if (bytes <= g->pool_bytes) return QP_OK;
  qp_device_free(g->dev, g->pool);
  g->pool = 0;
  g->pool_bytes = g->cursor = 0;
  qp_status status = qp_device_alloc(g->dev, bytes, &g->pool, err);
  if (status) return qp_fail_prefix(err, status, "%zu bytes of weights", bytes);
  g->pool_bytes = bytes;
  return fill_pool(g, err);
}

/* ---- A candidate's buffers ---- */

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* Add memory of the candidate's own: a copy of 'data', or zeros. */
static qp_status add(gpu *g, qp_metered *c, const void *data, size_t bytes, qp_devptr *out,
                     qp_error *err) {
  *out = 0;
  if (!bytes) return QP_OK;
  if (c->owns == sizeof c->own / sizeof *c->own)
    return qp_fail(err, QP_E_LIMIT, "%s needs too many buffers", c->kernel->name);
  qp_status status = qp_device_alloc(g->dev, bytes, out, err);
  if (status) return status;
  c->own[c->owns++] = *out;
  return data ? qp_device_upload(g->dev, *out, data, bytes, err)
              : qp_device_fill(g->dev, *out, 0, bytes, err);
}

/* Random numbers below 2 in size, as fp16 and as bf16: zeros would draw less power than a model. */
static qp_status add_activations(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  const size_t rows = p->batch * (p->top_k ? p->top_k : 1); /* one an assignment */
  const size_t words = p->columns * rows / 2 + 16384;       /* padding is read, too */
  uint32_t *x = malloc(4 * words);
  if (!x) return qp_fail(err, QP_E_NOMEM, "no memory for activations");
  qp_random random = {2};
  for (size_t i = 0; i < words; i++) x[i] = (uint32_t)qp_random_next(&random) & 0xbfffbfffu;
  qp_status status = add(g, c, x, 4 * words, &c->args.x, err);
  free(x);
  return status;
}

static size_t codebook_bytes(const qp_stream *s, unsigned b) {
  const qp_codebook *book = &s->quantizer->codebook[b];
  const size_t rows = book->scope == QP_SCOPE_ROW ? (size_t)32 * s->row_groups : 1;
  return rows * book->entries * book->dim * 2;
}

/* Place the addresses of one copy of the weights; returns its bytes.  With 'base' 0 it only
   counts. */
static size_t place_weights(const qp_kernel *k, qp_devptr base, qp_arguments *a) {
  size_t at = 0;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    a->stream[i].codes = base + at;
    at += aligned(s->code_words * 4);
    for (unsigned f = 0; f < s->arrays; f++) {
      a->stream[i].field[f] = base + at;
      at += aligned(s->field_bytes[f]);
    }
    for (unsigned b = 0; b < s->quantizer->codebooks; b++) {
      if (s->quantizer->codebook[b].scope != QP_SCOPE_ROW) continue;
      a->stream[i].codebook[b] = base + at;
      at += aligned(codebook_bytes(s, b));
    }
  }
  return at;
}

static qp_status add_segments(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < p->segments && !status; i++) {
    const bool stacks = qp_op_has_experts(p->op);
    const size_t of_one = (p->segment[i].rows + 31) / 32 * 32;
    const size_t rows = of_one * (stacks ? p->experts : 1);
    const size_t rows_of_y = stacks ? qp_problem_assignments(p) : p->batch;
    float *scale = malloc(rows * sizeof *scale);
    if (!scale) return qp_fail(err, QP_E_NOMEM, "no memory for scales");
    for (size_t r = 0; r < rows; r++) scale[r] = 0.03125f;
    status = add(g, c, scale, rows * sizeof *scale, &c->args.segment[i].scale, err);
    free(scale);
    if (p->op == QP_OP_GATHER) continue; /* what it writes is a few rows: add_rows */
    const size_t bytes = p->op == QP_OP_DEQUANT ? 2 * rows * p->columns : 4 * of_one * rows_of_y;
    for (unsigned k = 0; k < 2 && !status; k++) status = add(g, c, NULL, bytes, &c->y[k][i], err);
  }
  return status;
}

static qp_status add_codebooks(gpu *g, qp_metered *c, unsigned stream, qp_error *err) {
  const qp_stream *s = &c->kernel->stream[stream].stream;
  qp_status status = QP_OK;
  for (unsigned b = 0; b < s->quantizer->codebooks && !status; b++)
    if (s->quantizer->codebook[b].scope != QP_SCOPE_ROW) /* else it lies in the pool */
      status = add(g, c, s->quantizer->codebook[b].data, codebook_bytes(s, b),
                   &c->args.stream[stream].codebook[b], err);
  return status;
}

/* What a rotation reads and writes beside X, a gather beside its ids. */
static qp_status add_rows(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  qp_status status = QP_OK;
  c->args.rows = p->batch;
  for (unsigned k = 0; k < 2 && !status; k++)
    status = add(g, c, NULL, (size_t)2 * p->columns * p->batch, &c->y[k][0], err);
  return status;
}

/* What a prologue reads beside X: up; a residual, in which h is written back, and a weight. */
static qp_status add_prologue(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  const size_t bytes = (size_t)2 * p->columns * p->batch;
  const float norm[] = {1e-5f, 0};
  if (p->op == QP_OP_ROTATE_GLU) return add(g, c, NULL, bytes, &c->args.up, err);
  if (p->op != QP_OP_ROTATE_NORM) return QP_OK;
  memcpy(&c->args.norm, norm, sizeof norm);
  const qp_status status = add(g, c, NULL, bytes, &c->args.residual, err);
  c->args.sum = c->args.residual;
  return status ? status : add(g, c, NULL, (size_t)2 * p->columns, &c->args.weight, err);
}

static qp_status add_ids(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  int32_t id[QP_MAX_BATCH];
  qp_random random = {3};
  for (unsigned i = 0; i < p->batch; i++)
    id[i] = (int32_t)(qp_random_next(&random) % p->segment[0].rows);
  return add(g, c, id, p->batch * sizeof *id, &c->args.x, err);
}

/* Send tokens to experts at random, each time to others; each assignment has a row of X of its
   own. */
static qp_status add_routings(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  const unsigned n = qp_problem_assignments(p);
  const size_t words = (qp_routing_words(n, p->experts, p->tile) + 3) / 4 * 4;
  qp_random random = {QP_ROUTING_SEED};
  int32_t id[QP_MAX_BATCH * QP_MAX_TOP_K];
  uint32_t *routing = calloc(QP_ROUTINGS_TIMED * words, sizeof *routing);
  if (!routing) return qp_fail(err, QP_E_NOMEM, "no memory for routings");
  for (unsigned i = 0; i < QP_ROUTINGS_TIMED; i++) {
    qp_routing_choose(p, QP_ROUTING_RANDOM, &random, id);
    qp_routing_sort(p, id, n, routing + i * words);
  }
  c->routing_bytes = 4 * words;
  c->args.x_share = 1;
  const qp_status status =
      add(g, c, routing, QP_ROUTINGS_TIMED * c->routing_bytes, &c->routings, err);
  free(routing);
  return status;
}

/* A router's choice, and room for what route makes of it. */
static qp_status add_choice(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  const unsigned n = qp_problem_assignments(p);
  qp_random random = {QP_ROUTING_SEED};
  int32_t id[QP_MAX_BATCH * QP_MAX_TOP_K];
  qp_routing_choose(p, QP_ROUTING_RANDOM, &random, id);
  c->args.rows = n;
  const qp_status status = add(g, c, id, n * sizeof *id, &c->args.x, err);
  const size_t words = (qp_routing_words(n, p->experts, p->tile) + 3) / 4 * 4;
  return status ? status : add(g, c, NULL, 4 * words, &c->args.y, err);
}

/* The weights of a router beside what combine adds up, and Y. */
static qp_status add_router(gpu *g, qp_metered *c, qp_error *err) {
  const qp_problem *p = &c->kernel->problem;
  const uint32_t combined[] = {p->top_k, 0};
  memcpy(&c->args.combined, combined, sizeof combined);
  c->args.rows = p->batch;
  const qp_status status =
      add(g, c, NULL, sizeof(float) * p->batch * p->top_k, &c->args.weight, err);
  return status ? status : add(g, c, NULL, (size_t)2 * p->columns * p->batch, &c->args.y, err);
}

static qp_status add_buffers(gpu *g, qp_metered *c, qp_error *err) {
  const qp_kernel *k = c->kernel;
  const qp_op op = k->problem.op;
  const bool rows = qp_op_rotates(op) || op == QP_OP_GATHER;
  qp_status status = QP_OK;
  if (op == QP_OP_GATHER)
    status = add_ids(g, c, err);
  else if (op == QP_OP_ROUTE)
    status = add_choice(g, c, err);
  else if (op != QP_OP_DEQUANT)
    status = add_activations(g, c, err);
  if (!status) status = add(g, c, NULL, k->workspace_bytes, &c->args.workspace, err);
  if (!status) status = add(g, c, NULL, (size_t)4 * k->counters, &c->args.counters, err);
  if (!status && (k->problem.rotate_fused || rows))
    status = add(g, c, NULL, (size_t)k->problem.columns / 8 + 16, &c->args.signs, err);
  if (!status && rows) status = add_rows(g, c, err);
  if (!status && op == QP_OP_COMBINE) status = add_router(g, c, err);
  if (!status && qp_op_multiplies_stacks(op)) status = add_routings(g, c, err);
  if (!status) status = add_prologue(g, c, err);
  if (!status) status = add_segments(g, c, err);
  for (unsigned i = 0; i < k->streams && !status; i++) status = add_codebooks(g, c, i, err);
  return status;
}

static void release(gpu *g, qp_metered *c) {
  if (c->module) qp_device_unload(g->dev, c->module);
  for (unsigned i = 0; i < c->owns; i++) qp_device_free(g->dev, c->own[i]);
  free(c);
}

/* The candidate's next launch as link 'at': weights where the last launch ended,
   outputs in turn. */
static void make_launch(gpu *g, qp_metered *c, bool pdl, unsigned at) {
  const qp_kernel *k = c->kernel;
  qp_arguments a = c->args;
  const unsigned n = c->next++;
  if (g->cursor + c->copy_bytes > g->pool_bytes) g->cursor = 0;
  place_weights(k, g->pool + g->cursor, &a);
  g->cursor += c->copy_bytes;
  for (unsigned i = 0; i < k->problem.segments; i++) a.segment[i].y = c->y[n % 2][i];
  if (c->routings) a.routing = c->routings + n % QP_ROUTINGS_TIMED * c->routing_bytes;
  if (qp_op_rotates(k->problem.op) || k->problem.op == QP_OP_GATHER) a.y = c->y[n % 2][0];
  if (k->adds_to_zero) {
    a.zero = c->y[(n + 1) % 2][0];
    a.zero_words = (uint64_t)k->problem.segment[0].rows * k->problem.batch;
  }
  g->link[at].function = c->function;
  g->link[at].launch = (qp_launch){.grid = k->grid,
                                   .block = k->block,
                                   .smem_bytes = k->smem_bytes,
                                   .params = g->params[at],
                                   .params_bytes = qp_kernel_params(k, &a, g->params[at]),
                                   .pdl = pdl && k->pdl};
}

/* ---- What a meter does ---- */

static qp_status gpu_verify(qp_meter *m, const qp_kernel *k, const qp_compiled *c, uint64_t seed,
                            qp_verdict *out, qp_error *err) {
  gpu *g = (gpu *)m;
  return qp_verify(g->dev, k, c, g->reference, seed, ROW_GROUPS, out, err);
}

static qp_status gpu_load(qp_meter *m, const qp_kernel *k, const qp_compiled *image,
                          qp_metered **out, qp_error *err) {
  gpu *g = (gpu *)m;
  qp_metered *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a candidate");
  c->kernel = k;
  qp_arguments counted = {0};
  c->copy_bytes = place_weights(k, 0, &counted);
  qp_status status = need_pool(g, c->copy_bytes, err);
  size_t bytes;
  const void *code = qp_compiled_image(image, g->dev->info.wants_ptx, &bytes);
  if (!status) status = qp_device_load(g->dev, code, bytes, &c->module, err);
  if (!status) status = qp_device_function(g->dev, c->module, k->name, &c->function, err);
  if (!status) status = add_buffers(g, c, err);
  if (status) return release(g, c), status;
  *out = c;
  return QP_OK;
}

static void gpu_unload(qp_meter *m, qp_metered *c) { release((gpu *)m, c); }

/* Passes over all candidates in a graph: enough launches that its ends do not count. */
static qp_status time_passes(gpu *g, qp_metered *const *c, const bool *pdl, unsigned count,
                             unsigned replays, int64_t *ps, qp_error *err) {
  double seconds = 0;
  size_t bytes = 0;
  for (unsigned i = 0; i < count; i++) bytes += c[i]->copy_bytes;
  size_t passes = bytes ? g->pool_bytes / bytes : 1;
  if (passes * count < LEAST_LINKS) passes = (LEAST_LINKS + count - 1) / count;
  if (passes > LINKS / count) passes = LINKS / count;
  const size_t flush = qp_flush_before(passes * bytes, g->dev->info.l2_bytes);
  for (unsigned p = 0; p < passes; p++)
    for (unsigned i = 0; i < count; i++) make_launch(g, c[i], pdl[i], p * count + i);
  qp_status status = qp_cupti_pause(err);
  if (!status)
    status = qp_cuda_time_chain(g->dev, g->link, passes * count, flush, replays, &seconds, err);
  if (status) return status;
  *ps = llround(seconds * 1e12 / (double)passes);
  return QP_OK;
}

static qp_status gpu_pass(qp_meter *m, qp_metered *const *c, const bool *pdl, unsigned count,
                          int64_t *ps, qp_error *err) {
  if (count < 1 || count > QP_PASS_MOST)
    return qp_fail(err, QP_E_ARG, "a pass over %u candidates; 1 to %d are possible", count,
                   QP_PASS_MOST);
  return time_passes((gpu *)m, c, pdl, count, REPLAYS, ps, err);
}

static qp_status gpu_chain(qp_meter *m, qp_metered *c, bool pdl, int64_t *ps, qp_error *err) {
  return time_passes((gpu *)m, &c, &pdl, 1, REPLAYS, ps, err);
}

/* Between two events there is always more than one launch: a sample is the mean of a chain. */
static qp_status sample_by_events(gpu *g, qp_metered *c, unsigned n, int64_t *ps, qp_error *err) {
  const bool pdl = false;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < n && !status; i++) status = time_passes(g, &c, &pdl, 1, 1, &ps[i], err);
  return status;
}

static qp_status sample_by_cupti(gpu *g, qp_metered *c, unsigned n, int64_t *ps, qp_error *err) {
  qp_status status = qp_device_sync(g->dev, err);
  if (!status) status = qp_cupti_resume(err);
  if (!status) status = qp_cupti_begin(err);
  for (unsigned i = 0; i < n && !status; i++) {
    make_launch(g, c, false, 0);
    status = qp_device_launch(g->dev, c->function, &g->link[0].launch, err);
  }
  if (!status) status = qp_device_sync(g->dev, err);
  return status ? status : qp_cupti_end(c->kernel->name, n, ps, err);
}

/* What a pause may have cost is asked for once more; then it is an error of the timer's. */
static qp_status after_pause(qp_status status) {
  return status == QP_E_LIMIT ? QP_E_WRONG : status;
}

static qp_status gpu_sample(qp_meter *m, qp_metered *c, unsigned n, int64_t *ps, qp_error *err) {
  gpu *g = (gpu *)m;
  if (g->events) return sample_by_events(g, c, n, ps, err);
  qp_status status = sample_by_cupti(g, c, n, ps, err);
  if (status == QP_E_LIMIT) status = sample_by_cupti(g, c, n, ps, err);
  return after_pause(status);
}

static qp_status gpu_cublas(qp_meter *m, unsigned rows, unsigned columns, unsigned batch,
                            qp_meter_product *out, qp_error *err) {
  gpu *g = (gpu *)m;
  qp_status status = qp_cupti_pause(err);
  if (!status && !g->cublas)
    status = qp_cublas_open(g->dev, &g->cublas, g->cublas_version, sizeof g->cublas_version, err);
  if (!status) status = qp_cublas_time(g->cublas, rows, columns, batch, &out->ps, &out->error, err);
  snprintf(out->version, sizeof out->version, "%s", g->cublas_version);
  return status;
}

static void gpu_state(qp_meter *m, qp_meter_state *out) { qp_nvml_state(((gpu *)m)->nvml, out); }

static void gpu_close(qp_meter *m) {
  gpu *g = (gpu *)m;
  qp_cublas_close(g->cublas);
  if (g->dev) qp_device_free(g->dev, g->pool);
  if (g->dev) qp_device_close(g->dev);
  qp_nvml_close(g->nvml);
  qp_reference_free(g->reference);
  free(g);
}

static const qp_meter_ops ops = {.close = gpu_close,
                                 .verify = gpu_verify,
                                 .load = gpu_load,
                                 .unload = gpu_unload,
                                 .sample = gpu_sample,
                                 .chain = gpu_chain,
                                 .pass = gpu_pass,
                                 .cublas = gpu_cublas,
                                 .state = gpu_state};

/* ---- Read bandwidth ---- */

static qp_status compile_reader(unsigned arch, qp_compiled *out, qp_error *err) {
  void *self = NULL;
  const char *source;
  size_t bytes;
  qp_status status = qp_resource_read("templates/read.cu", &source, &bytes, err);
  if (!status) status = qp_nvrtc_backend.open(&self, err);
  if (status) return status;
  const qp_compile_job job = {
      .name = "qpal__read", .source = source, .arch = arch, .want_cubin = true, .want_ptx = true};
  qp_nvrtc_backend.compile(self, &job, out);
  return out->status ? qp_fail(err, out->status, "templates/read.cu: %s", out->log) : QP_OK;
}

/* Do records come after a pause?  If they do not, the timer's name tells that there are none. */
static qp_status prove_pause(gpu *g, const qp_chain_link *link, qp_error *err) {
  enum { PROOFS = 2 };
  int64_t ps[PROOFS];
  qp_status status = QP_E_LIMIT;
  for (unsigned tries = 0; tries < 2 && status == QP_E_LIMIT; tries++) {
    status = qp_device_sync(g->dev, err);
    if (!status) status = qp_cupti_resume(err);
    if (!status) status = qp_cupti_begin(err);
    for (unsigned i = 0; i < PROOFS && !status; i++)
      status = qp_device_launch(g->dev, link->function, &link->launch, err);
    if (!status) status = qp_device_sync(g->dev, err);
    if (!status) status = qp_cupti_end("qpal__read", PROOFS, ps, err);
  }
  if (status)
    return qp_fail(err, QP_E_DEVICE, "%s; set QPAL_CUPTI_PAUSE=never", err ? err->text : "");
  char *timer = g->base.info.timer;
  const size_t n = strlen(timer);
  if (!qp_cupti_pauses()) snprintf(timer + n, sizeof g->base.info.timer - n, ", not paused");
  return QP_OK;
}

/* The pool read from end to end, several times in a chain. */
static qp_status measure_bandwidth(gpu *g, qp_error *err) {
  const struct {
    qp_devptr data, out;
    unsigned long long n;
  } args = {g->pool, g->pool, g->pool_bytes / 16};
  qp_chain_link link[READS];
  qp_compiled c = {0};
  qp_module *module = NULL;
  qp_function *f = NULL;
  double seconds = 0;
  qp_status status = compile_reader(g->dev->info.arch, &c, err);
  size_t bytes = 0;
  const void *image = qp_compiled_image(&c, g->dev->info.wants_ptx, &bytes);
  if (!status) status = qp_device_load(g->dev, image, bytes, &module, err);
  if (!status) status = qp_device_function(g->dev, module, "qpal__read", &f, err);
  for (unsigned i = 0; i < READS; i++)
    link[i] = (qp_chain_link){f,
                              {.grid = 2 * g->dev->info.sm_count,
                               .block = 1024,
                               .params = &args,
                               .params_bytes = sizeof args}};
  if (!status) status = qp_cuda_time_chain(g->dev, link, READS, 0, REPLAYS, &seconds, err);
  if (!status && seconds > 0)
    g->base.info.read_gbs = READS * (double)g->pool_bytes / seconds * 1e-9;
  if (!status && !g->events) status = prove_pause(g, link, err);
  if (module) qp_device_unload(g->dev, module);
  qp_compiled_free(&c);
  return status;
}

/* ---- Opening ---- */

static qp_status open_gpu(gpu *g, unsigned index, qp_error *err) {
  qp_meter_info *info = &g->base.info;
  qp_status status = qp_cuda_open(index, &g->dev, err);
  if (status == QP_E_MISSING)
    return qp_fail_prefix(err, status,
                          "there is no GPU to measure on (--device replay:FILE goes through it "
                          "without one, `qpal check --device sim` proves kernels)");
  if (status) return status;
  g->base.gpu = g->dev;
  info->device = g->dev->info;
  info->chains = true;
  g->nvml = qp_nvml_open(info->device.bus);
  qp_nvml_driver(g->nvml, info->driver, sizeof info->driver);
  if (!info->driver[0])
    snprintf(info->driver, sizeof info->driver, "CUDA %u.%u", info->device.driver / 1000,
             info->device.driver / 10 % 100);
  if (g->events)
    snprintf(info->timer, sizeof info->timer, "events");
  else
    status = qp_cupti_open(info->timer, sizeof info->timer, err);
  const size_t pool = POOL_IN_L2 * info->device.l2_bytes;
  if (!status) status = need_pool(g, pool > LEAST_POOL ? pool : LEAST_POOL, err);
  if (!status) status = qp_cupti_pause(err); /* until samples are taken */
  return status ? status : measure_bandwidth(g, err);
}

qp_status qp_meter_open_cuda(unsigned index, bool events, qp_meter **out, qp_error *err) {
  gpu *g = calloc(1, sizeof *g);
  if (g) g->reference = qp_reference_new();
  if (!g || !g->reference) return free(g), qp_fail(err, QP_E_NOMEM, "no memory for a device");
  g->base.ops = &ops;
  g->events = events;
  qp_status status = open_gpu(g, index, err);
  if (status) return gpu_close(&g->base), status;
  *out = &g->base;
  return QP_OK;
}
