/* SPDX-License-Identifier: MIT */
/* Functions of long vectors that take much of a forward pass's time beside matrix products. */
#ifndef QP_VECTOR_MATH_H
#define QP_VECTOR_MATH_H

#include <stddef.h>

#include "gen/model/computation.h"

/* All for finite values, in fp32, by the widest vectors that the CPU has (gen/base/simd.h); exp
   is within 2 units in the last place.  Sums are taken over 16 partial sums, so they do not
   depend on the CPU. */

/* The largest of x[n]; it is -INFINITY for n = 0. */
float qp_vector_max(const float *x, size_t n);
/* Replace x[i] by exp(x[i] - shift) and return their sum. */
float qp_vector_exp_sum(float *x, size_t n, float shift);
/* The sum of exp(x[i] - shift), x as it is. */
float qp_vector_sum_exp(const float *x, size_t n, float shift);
/* sum p[i] (a[i] - b[i]),  p[i] = exp(a[i] - shift). */
double qp_vector_weighted_difference(const float *a, const float *b, size_t n, float shift);
float qp_vector_sum(const float *x, size_t n);
float qp_vector_sum_squares(const float *x, size_t n);
/* Multiply: x[i] *= factor. */
void qp_vector_scale(float *x, size_t n, float factor);
/* Add: y[i] += x[i]. */
void qp_vector_add(float *y, const float *x, size_t n);
/* Cap softly: x[i] = cap tanh(x[i] / cap). */
void qp_vector_softcap(float *x, size_t n, float cap);
/* y[i] = (x[i] - mean) factor (offset + weight[i]) + bias[i];  bias may be NULL */
void qp_vector_norm(const float *x, float mean, float factor, const float *weight, float offset,
                    const float *bias, size_t n, float *y);
/* Compute gate[i] = activation(gate[i]) up[i]; where 'up' is NULL it is activation(gate[i]). */
void qp_vector_activate(qp_activation activation, float *gate, const float *up, size_t n);

#endif
