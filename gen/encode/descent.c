/* SPDX-License-Identifier: MIT */
/* Coordinate descent on codes, some columns at a time. */
#include "gen/encode/descent.h"

#include <string.h>

enum { ROWS = 32, BLOCK = 64 /* columns between two products with all of H */ };

/* The columns [at, at + n) in hand; slope is e H of these columns as it stands now. */
typedef struct block {
  const qp_feedback *f;
  unsigned at, n, dim, states;
  float slope[ROWS][BLOCK];
} block;

static float h_at(const qp_feedback *f, unsigned i, unsigned k) {
  return f->hessian[(size_t)i * f->columns + k];
}

/* A scalar: the loss is a parabola of it, and the nearest code to its lowest point is the best. */
static uint32_t best_scalar(const block *b, const qp_descent_row *row, unsigned k, float v,
                            float slope, uint32_t code) {
  const float h = h_at(b->f, k, k) + (float)b->f->added;
  if (!(h > 0)) return code;
  const float target = v - slope / h;
  uint32_t best;
  qp_codewords_nearest(row->nearest, 1, &target, &best);
  return best;
}

/* A pair: with d = t - v of a code t the loss changes by  2 slope.d + d H d^T. */
static uint32_t best_pair(const block *b, const qp_descent_row *row, unsigned k, const float *v,
                          const float *slope, uint32_t code) {
  const float added = (float)b->f->added, q = 2 * h_at(b->f, k, k + 1);
  const float p = h_at(b->f, k, k) + added, r = h_at(b->f, k + 1, k + 1) + added;
  uint32_t best = code;
  float least = 0;
  for (uint32_t i = 0; i < b->states; i++) {
    const float x = row->table[2 * i] - v[0], y = row->table[2 * i + 1] - v[1];
    const float change = x * (2 * slope[0] + p * x + q * y) + y * (2 * slope[1] + r * y);
    if (change < least) least = change, best = i;
  }
  return best;
}

/* Code u of row r, of the columns from at + i on; 'moved' gets what its values change by. */
static void choose(block *b, const qp_descent_row *row, unsigned r, unsigned i, uint32_t *code,
                   float *values, float *moved) {
  const unsigned k = b->at + i;
  const float *slope = b->slope[r] + i;
  const uint32_t best = b->dim == 1 ? best_scalar(b, row, k, *values, *slope, *code)
                                    : best_pair(b, row, k, values, slope, *code);
  if (best == *code) return;
  *code = best;
  for (unsigned e = 0; e < b->dim; e++) {
    const float now = row->table[(size_t)best * b->dim + e];
    moved[e] = now - values[e];
    values[e] = now;
    for (unsigned c = i + b->dim; c < b->n; c++)
      b->slope[r][c] += moved[e] * h_at(b->f, k + e, b->at + c);
  }
}

void qp_descend(const qp_feedback *f, unsigned first, unsigned end, unsigned dim, unsigned states,
                const qp_descent_row row[32], float *values, float *slopes, float *scratch) {
  const size_t columns = f->columns;
  memset(scratch, 0, sizeof *scratch * ROWS * columns);
  for (unsigned at = first; at < end; at += BLOCK) {
    block b = {.f = f, .at = at, .n = end - at < BLOCK ? end - at : BLOCK, .dim = dim};
    b.states = states;
    for (size_t r = 0; r < ROWS; r++) {
      memcpy(b.slope[r], slopes + r * columns + at, sizeof(float) * b.n);
      for (unsigned i = 0; i < b.n && row[r].table; i += dim)
        choose(&b, &row[r], (unsigned)r, i, &row[r].code[(at + i - first) / dim],
               values + r * columns + at + i, scratch + r * columns + at + i);
    }
    qp_feedback_slopes(f, at, at + b.n, scratch, slopes);
    for (size_t r = 0; r < ROWS; r++)
      for (size_t i = r * columns + at; i < r * columns + at + b.n; i++)
        slopes[i] += (float)f->added * scratch[i];
  }
}
