/* SPDX-License-Identifier: MIT */
/* Does to rows what a forward pass does: products with weights and norms, shared out to threads. */
#include <math.h>
#include <stdlib.h>

#include "gen/model/forward_state.h"
#include "gen/model/vector_math.h"

enum { LEAST_TILE = 64, SAME_TILE = 256, NORM_ROWS = 16 };

qp_status qp_forward_grow(qp_forward_buffer *b, size_t floats, qp_error *err) {
  if (b->floats >= floats) return QP_OK;
  free(b->data);
  *b = (qp_forward_buffer){.data = malloc(floats * sizeof *b->data)};
  if (!b->data) return qp_fail(err, QP_E_NOMEM, "no memory for %zu activations", floats);
  b->floats = floats;
  return QP_OK;
}

/* ---- Products ---- */

typedef struct product_job {
  const qp_forward *f;
  const qp_product *p;
  size_t row_tile;
  unsigned feature_tile, feature_tiles;
} product_job;

static void product_tile(void *argument, size_t i, unsigned thread) {
  const product_job *j = argument;
  const qp_product *p = j->p;
  (void)thread;
  const size_t row = i / j->feature_tiles * j->row_tile;
  const unsigned feature = (unsigned)(i % j->feature_tiles) * j->feature_tile;
  const size_t rows = p->rows - row < j->row_tile ? p->rows - row : j->row_tile;
  const unsigned left = p->features - feature;
  const int m = (int)(left < j->feature_tile ? left : j->feature_tile), n = (int)rows;
  const int k = (int)p->columns, x_stride = (int)p->x_stride, out_stride = (int)p->out_stride;
  const float one = 1, zero = 0;
  float *out = p->out + row * p->out_stride + feature;
  /* In column-major order this is out^T [features][rows] = W x^T. */
  j->f->blas->sgemm("T", "N", &m, &n, &k, &one, p->w + (size_t)feature * p->columns, &k,
                    p->x + row * p->x_stride, &x_stride, &zero, out, &out_stride);
  for (size_t r = 0; r < rows && p->scale; r++)
    for (size_t c = 0; c < (size_t)m; c++) out[r * p->out_stride + c] *= p->scale[feature + c];
  for (size_t r = 0; r < rows && p->bias; r++)
    qp_vector_add(out + r * p->out_stride, p->bias + feature, (size_t)m);
}

/* BLAS packs both operands of each tile, so tiles are few and large: one a thread, along the longer
   side. */
void qp_forward_product(const qp_forward *f, const qp_product *p) {
  const unsigned threads = qp_parallel_threads(f->parallel);
  product_job j = {f, p, p->rows, p->features, 1};
  if (f->same) {
    j.row_tile = SAME_TILE;
  } else if (p->rows >= p->features) {
    j.row_tile = (p->rows + threads - 1) / threads;
    if (j.row_tile < LEAST_TILE) j.row_tile = LEAST_TILE;
  } else {
    j.feature_tile = (p->features + threads - 1) / threads;
    if (j.feature_tile < LEAST_TILE) j.feature_tile = LEAST_TILE;
  }
  j.feature_tiles = (p->features + j.feature_tile - 1) / j.feature_tile;
  const size_t row_tiles = (p->rows + j.row_tile - 1) / j.row_tile;
  qp_parallel_for(f->parallel, row_tiles * j.feature_tiles, product_tile, &j);
}

/* ---- Norms ---- */

typedef struct norm_job {
  const qp_forward *f;
  const qp_norm_rows *n;
} norm_job;

static void norm_piece(const qp_computation *c, const qp_forward_norm *norm, const float *x,
                       float *y) {
  const size_t n = norm->width;
  float mean = 0, squares = qp_vector_sum_squares(x, n) / (float)n;
  if (c->norm_kind == QP_NORM_LAYER) {
    mean = qp_vector_sum(x, n) / (float)n;
    squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    squares /= (float)n;
  }
  const float factor = 1 / sqrtf(squares + c->eps);
  qp_vector_norm(x, mean, factor, norm->weight, c->norm_offset, norm->bias, n, y);
}

static void norm_some(void *argument, size_t i, unsigned thread) {
  const norm_job *j = argument;
  const qp_norm_rows *n = j->n;
  (void)thread;
  const size_t first = i * NORM_ROWS;
  const size_t end = n->rows - first < NORM_ROWS ? n->rows : first + NORM_ROWS;
  for (size_t r = first; r < end; r++)
    for (unsigned k = 0; k < n->count; k++)
      norm_piece(&j->f->computation, n->norm, n->x + r * n->x_stride + k * n->norm->width,
                 n->y + r * n->y_stride + k * n->norm->width);
}

void qp_forward_norm_rows(const qp_forward *f, const qp_norm_rows *n) {
  norm_job j = {f, n};
  qp_parallel_for(f->parallel, (n->rows + NORM_ROWS - 1) / NORM_ROWS, norm_some, &j);
}
