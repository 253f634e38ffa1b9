/* SPDX-License-Identifier: MIT */
/*
** Sums second moments of a linear's inputs.  The matrix is cut into square tiles; those on and
** below the diagonal are summed, each by one thread, in an order that does not depend on their
** number.
*/
#include "tuner/calibrate/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 128, PIECE_ROWS = 512 };

struct qp_moments {
  unsigned columns, tiles; /* tiles: along a side */
  size_t rows;
  double *sum;    /* [columns][columns], its lower tiles */
  float *product; /* [threads][TILE][TILE] */
  qp_parallel *parallel;
  const qp_blas *blas;
};

void qp_moments_free(qp_moments *m) {
  if (!m) return;
  free(m->sum);
  free(m->product);
  free(m);
}

qp_status qp_moments_new(unsigned columns, qp_parallel *p, const qp_blas *blas, qp_moments **out,
                         qp_error *err) {
  qp_moments *m = calloc(1, sizeof *m);
  if (m) {
    *m = (qp_moments){.columns = columns, .parallel = p, .blas = blas};
    m->tiles = (columns + TILE - 1) / TILE;
    m->sum = calloc((size_t)columns * columns, sizeof *m->sum);
    m->product = malloc((size_t)qp_parallel_threads(p) * TILE * TILE * sizeof *m->product);
  }
  if (!m || !m->sum || !m->product) {
    qp_moments_free(m);
    return qp_fail(err, QP_E_NOMEM, "no memory for moments of %u columns (%.1f GB)", columns,
                   8e-9 * columns * columns);
  }
  *out = m;
  return QP_OK;
}

/* ---- Adding ---- */

typedef struct piece {
  qp_moments *m;
  const float *x;
  int rows;
} piece;

static int tile_size(const qp_moments *m, unsigned tile) {
  const unsigned left = m->columns - tile * TILE;
  return (int)(left < TILE ? left : TILE);
}

/* Tile i of the lower half: row r of tiles has r + 1. */
static void place_of(size_t i, unsigned *row, unsigned *column) {
  unsigned r = 0;
  while (i > r) i -= ++r;
  *row = r;
  *column = (unsigned)i;
}

/* Compute sum[a][b] += sum over rows of x[.][a] x[.][b] for a tile. */
static void add_tile(void *argument, size_t i, unsigned thread) {
  const piece *p = argument;
  qp_moments *m = p->m;
  unsigned row, column;
  place_of(i, &row, &column);
  const int height = tile_size(m, row), width = tile_size(m, column), k = (int)m->columns;
  const float one = 1, zero = 0;
  float *product = m->product + (size_t)thread * TILE * TILE;
  m->blas->sgemm("N", "T", &width, &height, &p->rows, &one, p->x + (size_t)column * TILE, &k,
                 p->x + (size_t)row * TILE, &k, &zero, product, &width);
  double *to = m->sum + (size_t)row * TILE * m->columns + (size_t)column * TILE;
  for (int a = 0; a < height; a++)
    for (int b = 0; b < width; b++)
      to[(size_t)a * m->columns + (size_t)b] += (double)product[a * width + b];
}

void qp_moments_add(qp_moments *m, const float *x, size_t rows) {
  const size_t tiles = (size_t)m->tiles * (m->tiles + 1) / 2;
  for (size_t at = 0; at < rows; at += PIECE_ROWS) {
    const size_t n = rows - at < PIECE_ROWS ? rows - at : PIECE_ROWS;
    piece p = {.m = m, .x = x + at * m->columns, .rows = (int)n};
    qp_parallel_for(m->parallel, tiles, add_tile, &p);
  }
  m->rows += rows;
}

/* ---- Result ---- */

size_t qp_moments_rows(const qp_moments *m) { return m->rows; }

qp_status qp_moments_mean(const qp_moments *m, float *out, qp_error *err) {
  const size_t k = m->columns;
  if (!m->rows) return qp_fail(err, QP_E_ARG, "no activations were seen");
  for (size_t a = 0; a < k; a++)
    for (size_t b = 0; b <= a; b++) {
      const float mean = (float)(m->sum[a * k + b] / (double)m->rows);
      if (!isfinite(mean))
        return qp_fail(err, QP_E_ARG,
                       "the mean of x[%zu] x[%zu] is %g: the model's activations overflow", a, b,
                       (double)mean);
      out[a * k + b] = out[b * k + a] = mean;
    }
  return QP_OK;
}
