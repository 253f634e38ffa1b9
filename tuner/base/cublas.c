/* SPDX-License-Identifier: MIT */
/*
** cuBLAS; see cublas.h.  Its header is not needed: these calls and enumerators are those of cuBLAS
** 11 to 13.
*/
#include "tuner/base/cublas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "runtime/cuda_time.h"
#include "runtime/dynlib.h"
#include "runtime/half.h"

enum { OP_N = 0, OP_T = 1, R_32F = 0, R_16F = 2, COMPUTE_32F = 68, GEMM_DEFAULT = -1 };
enum {
  CHUNK = 1 << 20,
  LEAST_LINKS = 12,          /* of a chain */
  CHECKED = 64,              /* rows compared with the reference */
  REPLAYS = 15,              /* the median counts */
  WORKSPACE_BYTES = 32 << 20 /* what cuBLAS takes by itself on Hopper */
};

/* The tolerance of our own kernels in fp16 (qp_verify). */
static const double tolerance = 2e-3;

#define CUBLAS_CALLS(X)                                                                            \
  X(Create, "cublasCreate_v2", (void **))                                                          \
  X(Destroy, "cublasDestroy_v2", (void *))                                                         \
  X(GetVersion, "cublasGetVersion_v2", (void *, int *))                                            \
  X(SetStream, "cublasSetStream_v2", (void *, void *))                                             \
  X(SetWorkspace, "cublasSetWorkspace_v2", (void *, void *, size_t))                               \
  X(GemmEx, "cublasGemmEx",                                                                        \
    (void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int,     \
     int, const void *, void *, int, int, int, int))

struct qp_cublas {
#define X(name, symbol, parameters) int(*name) parameters;
  CUBLAS_CALLS(X)
#undef X
  qp_device *dev;
  void *handle;
  qp_devptr weights, x, y, workspace;
  size_t weights_bytes, x_bytes, y_bytes;
};

static qp_status failed(int result, const char *call, qp_error *err) {
  return qp_fail(err, QP_E_DEVICE, "%s: cuBLAS status %d", call, result);
}

static qp_status load(qp_cublas *c, qp_error *err) {
  void *library;
  qp_status status = qp_dynlib_open(QP_DYNLIB_CUBLAS, NULL, &library, err);
#define X(name, symbol, parameters)                                                                \
  if (!status) status = qp_dynlib_symbol(library, "cuBLAS", symbol, &c->name, err);
  CUBLAS_CALLS(X)
#undef X
  return status;
}

qp_status qp_cublas_open(qp_device *dev, qp_cublas **out, char *version, size_t size,
                         qp_error *err) {
  int number = 0, r;
  qp_cublas *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for cuBLAS");
  c->dev = dev;
  qp_status status = load(c, err);
  if (!status) status = qp_device_sync(dev, err); /* its context is current now */
  if (!status && (r = c->Create(&c->handle))) status = failed(r, "cublasCreate", err);
  if (!status && (r = c->GetVersion(c->handle, &number)))
    status = failed(r, "cublasGetVersion", err);
  if (!status) status = qp_device_alloc(dev, WORKSPACE_BYTES, &c->workspace, err);
  if (status) return qp_cublas_close(c), status;
  snprintf(version, size, "cuBLAS %d.%d.%d", number / 10000, number / 100 % 100, number % 100);
  *out = c;
  return QP_OK;
}

void qp_cublas_close(qp_cublas *c) {
  if (!c) return;
  if (c->handle) c->Destroy(c->handle);
  const qp_devptr buffer[] = {c->weights, c->x, c->y, c->workspace};
  for (size_t i = 0; i < sizeof buffer / sizeof *buffer; i++) qp_device_free(c->dev, buffer[i]);
  free(c);
}

/* cuBLAS' calls go to this stream from now on, with a workspace of ours: taking a stream gives its
   own back. */
static qp_status take_stream(qp_cublas *c, void *stream, qp_error *err) {
  int r = c->SetStream(c->handle, stream);
  if (!r) r = c->SetWorkspace(c->handle, (void *)(uintptr_t)c->workspace, WORKSPACE_BYTES);
  return r ? failed(r, "cublasSetStream", err) : QP_OK;
}

/* Column by column this is y^T (features x rows) = w (as columns x features)^T x^T. */
qp_status qp_cublas_multiply(qp_cublas *c, const qp_cublas_product *p, qp_error *err) {
  const float one = 1, zero = 0;
  const int m = (int)p->features, n = (int)p->rows, k = (int)p->columns, ld = (int)p->y_stride;
  c->dev->ops->enter(c->dev);
  const qp_status status = take_stream(c, qp_cuda_stream(c->dev), err);
  if (status) return status;
  const int r = c->GemmEx(c->handle, OP_T, OP_N, m, n, k, &one, (const void *)(uintptr_t)p->w,
                          R_16F, k, (const void *)(uintptr_t)p->x, R_16F, k, &zero,
                          (void *)(uintptr_t)p->y, R_32F, ld, COMPUTE_32F, GEMM_DEFAULT);
  return r ? failed(r, "cublasGemmEx", err) : QP_OK;
}

/* Finite halves of both signs below 2: what they are does not change the time, NaNs may.  A
   buffer holds this chunk again and again.  malloc'ed. */
static uint32_t *make_chunk(qp_error *err) {
  uint32_t *chunk = malloc(CHUNK);
  if (!chunk) return qp_fail(err, QP_E_NOMEM, "no memory for random weights"), NULL;
  qp_random random = {1};
  for (size_t i = 0; i < CHUNK / sizeof *chunk; i++)
    chunk[i] = (uint32_t)qp_random_next(&random) & 0xbfffbfffu;
  return chunk;
}

static qp_status fill(qp_device *dev, qp_devptr to, size_t bytes, qp_error *err) {
  uint32_t *chunk = make_chunk(err);
  if (!chunk) return QP_E_NOMEM;
  qp_status status = QP_OK;
  for (size_t at = 0; at < bytes && !status; at += CHUNK)
    status = qp_device_upload(dev, to + at, chunk, bytes - at < CHUNK ? bytes - at : CHUNK, err);
  free(chunk);
  return status;
}

/* Fill a buffer of at least this size; what was in it is gone where it had to grow. */
static qp_status need(qp_cublas *c, qp_devptr *buffer, size_t *have, size_t bytes, qp_error *err) {
  if (bytes <= *have) return QP_OK;
  qp_device_free(c->dev, *buffer);
  *buffer = 0;
  *have = 0;
  qp_status status = qp_device_alloc(c->dev, bytes, buffer, err);
  if (!status) status = fill(c->dev, *buffer, bytes, err);
  if (!status) *have = bytes;
  return status;
}

typedef struct gemms {
  qp_cublas *c;
  unsigned rows, columns, batch, copies, launches;
} gemms;

/*
** cuBLAS counts columns first: with W as K x M and X as K x N, leading dimension K, it computes
** Y (M x N, leading dimension M) = W^T X, which row by row is Y[N,M].
*/
static qp_status enqueue(void *stream, void *arg, qp_error *err) {
  const gemms *g = arg;
  qp_cublas *c = g->c;
  const float one = 1, zero = 0;
  const int m = (int)g->rows, n = (int)g->batch, k = (int)g->columns;
  const qp_status status = take_stream(c, stream, err);
  if (status) return status;
  for (unsigned i = 0; i < g->launches; i++) {
    const qp_devptr w = c->weights + (size_t)(i % g->copies) * g->rows * g->columns * 2;
    const int r = c->GemmEx(c->handle, OP_T, OP_N, m, n, k, &one, (const void *)(uintptr_t)w, R_16F,
                            k, (const void *)(uintptr_t)c->x, R_16F, k, &zero,
                            (void *)(uintptr_t)c->y, R_16F, m, COMPUTE_32F, GEMM_DEFAULT);
    if (r) return failed(r, "cublasGemmEx", err);
  }
  return QP_OK;
}

static double half_at(const uint32_t *chunk, size_t i) {
  uint16_t v;
  memcpy(&v, (const char *)chunk + i * 2 % CHUNK, sizeof v);
  return (double)qp_half_to_float(v);
}

/* Compute the relative L2 error of CHECKED rows, first and last among them, against sums in double
   precision. */
static double error_of(const gemms *g, const uint32_t *chunk, const uint16_t *y) {
  const size_t copy =
      (size_t)((g->launches - 1) % g->copies) * g->rows; /* that of the last launch */
  const unsigned rows = g->rows < CHECKED ? g->rows : CHECKED;
  double difference = 0, reference = 0;
  for (unsigned i = 0; i < rows; i++) {
    const size_t row = rows < 2 ? 0 : (size_t)i * (g->rows - 1) / (rows - 1);
    for (unsigned n = 0; n < g->batch; n++) {
      double want = 0;
      for (unsigned k = 0; k < g->columns; k++)
        want += half_at(chunk, (copy + row) * g->columns + k) *
                half_at(chunk, (size_t)n * g->columns + k);
      const double d = (double)qp_half_to_float(y[(size_t)n * g->rows + row]) - want;
      difference += d * d;
      reference += want * want;
    }
  }
  return sqrt(difference / reference);
}

/* Compare what the last launch left in Y. */
static qp_status check(const gemms *g, double *error, qp_error *err) {
  const size_t bytes = (size_t)g->batch * g->rows * 2;
  uint16_t *y = malloc(bytes);
  uint32_t *chunk = make_chunk(err);
  qp_status status = y && chunk ? qp_device_download(g->c->dev, y, g->c->y, bytes, err)
                                : qp_fail(err, QP_E_NOMEM, "no memory for a check");
  if (!status) *error = error_of(g, chunk, y);
  free(y);
  free(chunk);
  if (!status && !(*error <= tolerance)) /* also of a NaN */
    status = qp_fail(err, QP_E_WRONG, "relative L2 error %.3g is above %.0e", *error, tolerance);
  return status;
}

qp_status qp_cublas_time(qp_cublas *c, unsigned rows, unsigned columns, unsigned batch, int64_t *ps,
                         double *error, qp_error *err) {
  const size_t one = (size_t)rows * columns * 2, l2 = c->dev->info.l2_bytes;
  const size_t cold = 4 * l2 > one ? 4 * l2 : one;
  gemms g = {.c = c,
             .rows = rows,
             .columns = columns,
             .batch = batch,
             .copies = (unsigned)((cold + one - 1) / one)};
  if (g.copies > 256) g.copies = 256;
  g.launches = (LEAST_LINKS + g.copies - 1) / g.copies * g.copies;
  double seconds = 0;
  qp_status status = need(c, &c->weights, &c->weights_bytes, g.copies * one, err);
  if (!status) status = need(c, &c->x, &c->x_bytes, (size_t)batch * columns * 2, err);
  if (!status) status = need(c, &c->y, &c->y_bytes, (size_t)batch * rows * 2, err);
  if (!status)
    status = qp_device_fill(c->dev, c->y, 0xff, (size_t)batch * rows * 2, err); /* NaNs */
  if (status) return status;
  const qp_graph_work work = {.enqueue = enqueue,
                              .arg = &g,
                              .warm = true,
                              .flush_bytes = qp_flush_before(g.copies * one, l2)};
  status = qp_cuda_time_work(c->dev, &work, REPLAYS, &seconds, err);
  if (!status) status = check(&g, error, err);
  if (!status) *ps = llround(seconds * 1e12 / g.launches);
  return status;
}
