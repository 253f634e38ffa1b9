/* SPDX-License-Identifier: MIT */
/* Takes gradients back through attention:  q, k, v, dL/dout --> dL/dq, dL/dk, dL/dv. */
#ifndef QP_ATTENTION_BACK_H
#define QP_ATTENTION_BACK_H

#include "gen/model/attention.h"

/*
** For the sums of qp_attention_run and d_out [tokens][heads][head_dim] = dL/dout:
**   dq, dk, dv    as q, k, v of 'in', rows 'in->stride' floats apart: written
** Weights are computed again, a block of queries at a time: memory of a thread is that of a block
** of queries against all keys of the longest sequence.  The same sums with any number of threads.
** QP_E_NOMEM.
*/
qp_status qp_attention_back(const qp_attention *a, const qp_attention_input *in,
                            const qp_blas *blas, qp_parallel *p, const float *d_out, float *dq,
                            float *dk, float *dv, qp_error *err);

#endif
