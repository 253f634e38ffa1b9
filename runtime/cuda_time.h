/* SPDX-License-Identifier: MIT */
/* What libraries beside the driver need of a CUDA device; time of a chain of launches in a CUDA
   graph: what adds up in a model. */
#ifndef QP_CUDA_TIME_H
#define QP_CUDA_TIME_H

#include "runtime/device.h"

typedef struct qp_chain_link {
  qp_function *function;
  qp_launch launch; /* its params stay valid until the call returns */
} qp_chain_link;

/* What is timed as one CUDA graph. */
typedef struct qp_graph_work {
  /* Puts the work on 'stream' (a CUstream); it is being captured, so it must not wait. */
  qp_status (*enqueue)(void *stream, void *arg, qp_error *err);
  void *arg;
  bool warm;          /* enqueue it once outside the graph, because libraries load their kernels
                         then */
  size_t flush_bytes; /* written before each replay and not timed: more than the L2 cache, and the
                         work finds nothing in it; 0: none */
} qp_graph_work;

/*
** What to flush before work that reads so many bytes once, in order: nothing where that is several
** times the L2 cache, which clears itself then.  What a flush writes stays in the cache and goes to
** memory while the work reads: as many bytes as the cache has, at the cost of the work's bandwidth.
*/
static inline size_t qp_flush_before(size_t bytes, size_t l2_bytes) {
  return bytes >= 4 * l2_bytes ? 0 : 2 * l2_bytes;
}

/*
** Capture the work into a graph, replay it 3 times to warm up and then 'replays' times (1 to 64);
** '*seconds' is the median of one replay, by events: all launches with the gaps between them.
** 'dev' must be a CUDA device.  QP_E_DEVICE: a driver call failed; QP_E_NOMEM; as 'enqueue' fails.
*/
qp_status qp_cuda_time_work(qp_device *dev, const qp_graph_work *work, unsigned replays,
                            double *seconds, qp_error *err);

/* Do the same with a chain of launches. */
qp_status qp_cuda_time_chain(qp_device *dev, const qp_chain_link *links, size_t count,
                             size_t flush_bytes, unsigned replays, double *seconds, qp_error *err);

/* The CUstream that launches, copies and fills of a CUDA device go to: libraries that are to be in
   order with them use it. */
void *qp_cuda_stream(const qp_device *dev);

#endif
