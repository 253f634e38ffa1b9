/* SPDX-License-Identifier: MIT */
/* Takes gradients back through linears, norms and activations. */
#include "gen/model/backward_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "gen/model/vector_math.h"

enum { LEAST_TILE = 64, ROWS = 16, FACTORS = 64 };

/* ---- Linears ---- */

typedef struct product_job {
  const qp_forward *f;
  const qp_product_back *p;
  size_t tile;
} product_job;

static void product_tile(void *argument, size_t i, unsigned thread) {
  const product_job *j = argument;
  const qp_product_back *p = j->p;
  (void)thread;
  const size_t row = i * j->tile, left = p->rows - row;
  const int n = (int)(left < j->tile ? left : j->tile), m = (int)p->columns;
  const int k = (int)p->features, dy_stride = (int)p->dy_stride, dx_stride = (int)p->dx_stride;
  const float one = 1, before = p->add ? 1 : 0;
  /* In column-major order this is dx^T [columns][rows] = W^T dy^T. */
  j->f->blas->sgemm("N", "N", &m, &n, &k, &one, p->w, &m, p->dy + row * p->dy_stride, &dy_stride,
                    &before, p->dx + row * p->dx_stride, &dx_stride);
}

void qp_product_back_run(const qp_forward *f, const qp_product_back *p) {
  const unsigned threads = qp_parallel_threads(f->parallel);
  product_job j = {f, p, (p->rows + threads - 1) / threads}; /* BLAS packs W for each tile */
  if (j.tile < LEAST_TILE) j.tile = LEAST_TILE;
  qp_parallel_for(f->parallel, (p->rows + j.tile - 1) / j.tile, product_tile, &j);
}

/* ---- Norms ---- */

typedef struct norm_job {
  const qp_forward *f;
  const qp_norm_back *b;
} norm_job;

/*
** y_i = (x_i - mean) r g_i + bias_i,  r = (var + eps)^-1/2,  z = dy g:
**   dx = r (z - [mean of z] - (x - mean) r^2 [mean of z (x - mean)]);  mean = 0 of an RMS norm, and
** the first bracket is of a LayerNorm alone.
*/
static void norm_piece(const qp_computation *c, const qp_forward_norm *norm, const float *x,
                       const float *dy, bool add, float *dx) {
  const size_t n = norm->width;
  const bool layer = c->norm_kind == QP_NORM_LAYER;
  const double mean = layer ? (double)(qp_vector_sum(x, n) / (float)n) : 0;
  double squares = 0, inner = 0, sum = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = (double)x[i] - mean, z = (double)(dy[i] * (c->norm_offset + norm->weight[i]));
    squares += d * d;
    inner += z * d;
    sum += z;
  }
  const double width = (double)n, r = 1 / sqrt(squares / width + (double)c->eps);
  const double along = r * r * inner / width, shift = layer ? sum / width : 0;
  for (size_t i = 0; i < n; i++) {
    const double d = (double)x[i] - mean, z = (double)(dy[i] * (c->norm_offset + norm->weight[i]));
    const float v = (float)(r * (z - shift - d * along));
    dx[i] = add ? dx[i] + v : v;
  }
}

static void norm_some(void *argument, size_t i, unsigned thread) {
  const norm_job *j = argument;
  const qp_norm_rows *n = &j->b->n;
  (void)thread;
  const size_t end = n->rows - i * ROWS < ROWS ? n->rows : (i + 1) * ROWS;
  for (size_t r = i * ROWS; r < end; r++)
    for (unsigned k = 0; k < n->count; k++)
      norm_piece(&j->f->computation, n->norm, n->x + r * n->x_stride + k * n->norm->width,
                 j->b->dy + r * n->y_stride + k * n->norm->width, j->b->add,
                 j->b->dx + r * n->x_stride + k * n->norm->width);
}

void qp_norm_back_run(const qp_forward *f, const qp_norm_back *b) {
  norm_job j = {f, b};
  qp_parallel_for(f->parallel, (b->n.rows + ROWS - 1) / ROWS, norm_some, &j);
}

/* ---- Factors ---- */

static void factor_some(void *argument, size_t i, unsigned thread) {
  const qp_factor_back *b = argument;
  (void)thread;
  const size_t first = i * FACTORS, end = b->count - first < FACTORS ? b->count : first + FACTORS;
  for (size_t k = first; k < end; k++) b->out[k] = 0;
  for (size_t r = 0; r < b->rows; r++) {
    const float *dy = b->dy + r * b->dy_stride, *y = b->y + r * b->y_stride;
    for (size_t k = first; k < end; k++)
      b->out[k] += (double)dy[k] * (double)(y[k] - (b->bias ? b->bias[k] : 0));
  }
}

void qp_factor_back_run(const qp_forward *f, const qp_factor_back *b) {
  qp_parallel_for(f->parallel, (b->count + FACTORS - 1) / FACTORS, factor_some,
                  (void *)(uintptr_t)b);
}

static void scale_some(void *argument, size_t i, unsigned thread) {
  const qp_scale_back *b = argument;
  (void)thread;
  const size_t end = b->rows - i * ROWS < ROWS ? b->rows : (i + 1) * ROWS;
  for (size_t r = i * ROWS; r < end; r++)
    for (size_t k = 0; k < b->count; k++)
      b->out[r * b->count + k] = b->dy[r * b->dy_stride + k] * b->scale[k];
}

void qp_scale_back_run(const qp_forward *f, const qp_scale_back *b) {
  qp_parallel_for(f->parallel, (b->rows + ROWS - 1) / ROWS, scale_some, (void *)(uintptr_t)b);
}

/* What the norm gives out is computed again; its heads share their weights. */
qp_status qp_norm_tell(const qp_forward *f, const qp_backward_hook *hook, unsigned block,
                       qp_norm_place place, const qp_norm_rows *n, const float *dy, qp_error *err) {
  const unsigned width = n->norm->width;
  const size_t all = (size_t)n->count * width;
  if (!hook || !hook->factor) return QP_OK;
  float *y = malloc(n->rows * all * sizeof *y + 1);
  double *g = malloc(all * sizeof *g + 1);
  qp_status status = y && g ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for a norm's gradients");
  if (!status) {
    qp_forward_norm again = *n->norm;
    again.bias = NULL;
    qp_norm_rows rows = *n;
    rows.norm = &again, rows.y = y, rows.y_stride = all;
    qp_forward_norm_rows(f, &rows);
    const qp_factor_back b = {.dy = dy,
                              .y = y,
                              .rows = n->rows,
                              .dy_stride = n->y_stride,
                              .y_stride = all,
                              .count = all,
                              .out = g};
    qp_factor_back_run(f, &b);
    for (size_t i = width; i < all; i++) g[i % width] += g[i];
    const qp_factor_gradient of = {
        .block = block, .place = place, .count = width, .norm = true, .g = g};
    status = hook->factor(hook->arg, &of, err);
  }
  free(y);
  free(g);
  return status;
}

/* ---- Activations ---- */

typedef struct activation_job {
  const qp_forward *f;
  const qp_activation_back *a;
} activation_job;

/* Compute the activation and its slope. */
static void activation_of(qp_activation kind, float x, float *y, float *slope) {
  const float root = 0.797884560802865356f, cubic = 0.044715f; /* (2 / pi)^1/2 */
  switch (kind) {
  case QP_ACTIVATION_SILU: {
    const float s = 1 / (1 + expf(-x));
    *y = x * s;
    *slope = s * (1 + x * (1 - s));
    break;
  }
  case QP_ACTIVATION_GELU: {
    const float s = 0.5f * (1 + erff(x * 0.707106781186547524f));
    *y = x * s;
    *slope = s + x * 0.398942280401432678f * expf(-0.5f * x * x);
    break;
  }
  case QP_ACTIVATION_GELU_TANH: {
    const float t = tanhf(root * (x + cubic * x * x * x));
    *y = 0.5f * x * (1 + t);
    *slope = 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * root * (1 + 3 * cubic * x * x);
    break;
  }
  case QP_ACTIVATION_RELU:
    *y = x > 0 ? x : 0;
    *slope = x > 0 ? 1 : 0;
    break;
  }
}

static void activation_some(void *argument, size_t i, unsigned thread) {
  const activation_job *j = argument;
  const qp_activation_back *a = j->a;
  (void)thread;
  const size_t end = a->rows - i * ROWS < ROWS ? a->rows : (i + 1) * ROWS;
  for (size_t r = i * ROWS; r < end; r++) {
    float *gate = a->gate + r * a->inner * (a->gated ? 2 : 1), *up = gate + a->inner;
    const float *dy = a->dy + r * a->inner;
    for (size_t k = 0; k < a->inner; k++) {
      float y = 0, slope = 0;
      activation_of(j->f->computation.activation, gate[k], &y, &slope);
      gate[k] = dy[k] * slope * (a->gated ? up[k] : 1);
      if (a->gated) up[k] = dy[k] * y;
    }
  }
}

void qp_activation_back_run(const qp_forward *f, const qp_activation_back *a) {
  activation_job j = {f, a};
  qp_parallel_for(f->parallel, (a->rows + ROWS - 1) / ROWS, activation_some, &j);
}
