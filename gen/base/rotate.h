/* SPDX-License-Identifier: MIT */
/* The rotation of a linear's input side:  W --> W diag(s) H^T, so that y = W~ (H (s x)) = W x. */
#ifndef QP_ROTATE_H
#define QP_ROTATE_H

#include <stdint.h>

#include "runtime/status.h"

/*
** Signs of the input of 'columns' values that the tensor 'name' holds: word i is the low half of
** the i-th splitmix64 number, its state begun as FNV-1a(name) ^ seed; bits at and beyond 'columns'
** are 0. out[(columns + 31) / 32].
*/
void qp_rotate_signs(const char *name, uint64_t seed, unsigned columns, uint32_t *out);

/*
** Each row w of 'rows' x 'columns' values becomes  H (s * w),  or inverse  s * (H^T w);  H is the
** orthonormal Hadamard matrix of gen/base/hadamard.h, computed in double precision by 'threads'
** threads (at least 1).  QP_E_NOMEM: the values are then half rotated.
*/
qp_status qp_rotate_rows(float *values, unsigned rows, unsigned columns, const uint32_t *signs,
                         unsigned threads, qp_error *err);
qp_status qp_rotate_rows_back(float *values, unsigned rows, unsigned columns, const uint32_t *signs,
                              unsigned threads, qp_error *err);

/*
** H R H^T of a symmetric matrix R = E[(s x)(s x)^T]: 'values' [columns][columns] holds E[x x^T] and
** becomes E[x~ x~^T], x~ = H (s x).
*/
qp_status qp_rotate_moments(float *values, unsigned columns, const uint32_t *signs,
                            unsigned threads, qp_error *err);

#endif
