/* SPDX-License-Identifier: MIT */
/* Reads Hessians of linears:  safetensors -> E[x~ x~^T] of the rotated inputs. */
#ifndef QP_HESSIAN_H
#define QP_HESSIAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gen/base/rotate.h"
#include "runtime/safetensors.h"
#include "runtime/status.h"

enum { QP_HESSIAN_GROUPS = 64 };

typedef struct qp_hessian {
  qp_safetensors *file;
  const qp_tensor *tensor;
  unsigned groups, columns; /* groups: 0 where the linear has none */
  size_t samples; /* how many x it is the mean of, as the file says ("tokens"); 0: not known */
} qp_hessian;

/*
** Open the Hessian of the linear NAME: in a folder the file NAME.safetensors, or the one that
** index.json there names for it, in which the only tensor, or the one of these names, counts; in a
** file the tensor NAME.hessian or NAME.  tuner/calibrate/CALIBRATION.md describes it.  F32,
** symmetric, [columns][columns], or [groups][columns][columns] with one for each of 'groups' equal
** groups of rows (as GuidedQuant makes them, arXiv 2505.07004), each a multiple of 32.  A linear
** without one is not an error: then out->groups is 0.
** QP_E_ARG: another type or shape; errors of qp_safetensors_open.
*/
qp_status qp_hessian_open(const char *path, const char *name, unsigned rows, unsigned columns,
                          qp_hessian *out, qp_error *err);
/* Changes when the file that would be opened for a linear does (size, time); 0: there is none. */
uint64_t qp_hessian_stamp(const char *path, const char *name);

/* Would the same file be opened for both linears, one of a folder's that holds one tensor? */
bool qp_hessian_is_same(const char *path, const char *a, const char *b);

/* Free what qp_hessian_open gave. */
void qp_hessian_close(qp_hessian *h);

/*
** Are all numbers of it finite and at most 1e30, none of its diagonal negative, and is it symmetric
** (but for a thousandth of the mean diagonal)?  QP_E_ARG names the tensor, the element's place in
** it and what it is; QP_E_LIMIT: 'cancel' (may be NULL) was set.
*/
qp_status qp_hessian_check(const qp_hessian *h, const _Atomic bool *cancel, qp_error *err);

/* Group i for weights whose input side is 'in' (NULL: x itself); malloc'ed [columns][columns]. */
qp_status qp_hessian_read(const qp_hessian *h, unsigned i, const qp_input *in, unsigned threads,
                          float **out, qp_error *err);

#endif
