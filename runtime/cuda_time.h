/* SPDX-License-Identifier: MIT */
/* Time of a chain of launches in a CUDA graph: what adds up in a model. */
#ifndef QP_CUDA_TIME_H
#define QP_CUDA_TIME_H

#include "device.h"

typedef struct qp_chain_link {
  qp_function *function;
  qp_launch launch; /* its params stay valid until the call returns */
} qp_chain_link;

/*
** Capture the launches into a graph, replay it 3 times to warm up and then 'replays' times (1 to
** 64); '*seconds' is the median of one replay, by events: all launches with the gaps between them.
** 'dev' must be a CUDA device.  QP_E_DEVICE: a driver call failed.
*/
qp_status qp_cuda_time_chain(qp_device *dev, const qp_chain_link *links, size_t count,
                             unsigned replays, double *seconds, qp_error *err);

#endif
