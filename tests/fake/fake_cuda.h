/* SPDX-License-Identifier: MIT */
/* What the fake driver saw. */
#ifndef QP_FAKE_CUDA_H
#define QP_FAKE_CUDA_H

#include <stddef.h>

typedef struct fake_cuda_launch {
  unsigned launches, replays, grid, block, smem_bytes, smem_allowed;
  int carveout, pdl;
  void *stream;          /* of the last launch */
  unsigned fills, waits; /* cuMemsetD8Async, cuStreamSynchronize */
  size_t params_bytes;
  unsigned char params[4096];
} fake_cuda_launch;

const fake_cuda_launch *fake_cuda_last(void);
/* The context that the calling thread has, and a second one that is not the primary one. */
void *fake_cuda_current(void);
void *fake_cuda_other(void);
int fake_cuda_live(
    void); /* contexts, streams, allocations, modules, graphs, events not given back */

#endif
