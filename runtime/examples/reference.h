/* SPDX-License-Identifier: MIT */
/* Computes a decoder's arithmetic in plain C and fp32, to compare with. */
#ifndef EXAMPLE_REFERENCE_H
#define EXAMPLE_REFERENCE_H

#include <math.h>
#include <stdlib.h>

/* y [rows] = x [columns] W^T + bias, or without where it is NULL. */
static void multiply(const float *w, const float *bias, unsigned rows, unsigned columns,
                     const float *x, float *y) {
  for (unsigned r = 0; r < rows; r++, w += columns) {
    float sum = 0;
    for (unsigned k = 0; k < columns; k++) sum += w[k] * x[k];
    y[r] = sum + (bias ? bias[r] : 0);
  }
}

static void rms_norm(const float *x, const float *weight, unsigned n, double eps, float *y) {
  double sum = 0;
  for (unsigned k = 0; k < n; k++) sum += (double)x[k] * (double)x[k];
  const double scale = 1 / sqrt(sum / n + eps);
  for (unsigned k = 0; k < n; k++) y[k] = (float)((double)x[k] * scale) * weight[k];
}

/* The tables [positions][2][dim / 2] hold cosines, then sines; the caller frees them. */
static float *rotary_table(unsigned positions, unsigned dim, double theta) {
  const unsigned half = dim / 2;
  float *table = calloc((size_t)positions * dim, sizeof *table);
  for (unsigned t = 0; t < positions && table; t++)
    for (unsigned k = 0; k < half; k++) {
      const double angle = t * pow(theta, -2.0 * k / dim);
      table[t * dim + k] = (float)cos(angle);
      table[t * dim + half + k] = (float)sin(angle);
    }
  return table;
}

/* Apply rotary positions: elements k and k + dim / 2 of each head turn together, by the cosines and
   sines of their position. */
static void turn(float *x, unsigned heads, unsigned dim, const float *table) {
  const unsigned half = dim / 2;
  for (unsigned h = 0; h < heads; h++, x += dim)
    for (unsigned k = 0; k < half; k++) {
      const float was = x[k];
      x[k] = was * table[k] - x[k + half] * table[half + k];
      x[k + half] = x[k + half] * table[k] + was * table[half + k];
    }
}

/* out = sum_t softmax_t(q . keys[t] / sqrt(dim)) values[t] of one head over positions t from 0 to
   'position'; rows of keys and values are 'width' apart; 'score' has room for the positions. */
static void attend(const float *q, const float *keys, const float *values, size_t width,
                   unsigned dim, unsigned position, float *score, float *out) {
  float most = -INFINITY, total = 0;
  for (unsigned t = 0; t <= position; t++) {
    float dot = 0;
    for (unsigned i = 0; i < dim; i++) dot += q[i] * keys[t * width + i];
    score[t] = dot / sqrtf((float)dim);
    if (score[t] > most) most = score[t];
  }
  for (unsigned t = 0; t <= position; t++) total += score[t] = expf(score[t] - most);
  for (unsigned i = 0; i < dim; i++) {
    float sum = 0;
    for (unsigned t = 0; t <= position; t++) sum += score[t] * values[t * width + i];
    out[i] = sum / total;
  }
}

#endif
