/* SPDX-License-Identifier: MIT */
/*
** The architectures of GPUs, one row each: what kernels are generated for, what the simulator poses
** as and what a loader lets run where.  Nouns: a 'compute capability' is what a GPU says of itself,
** 10 * major + minor; an 'architecture' is a compute capability that has a row here.  The table is
** constant; nothing is owned.
*/
#ifndef QP_ARCH_H
#define QP_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

/*
** X(bit, NAME, name): what the instructions of an architecture can do.
**   mma_k16     mma.sync.m16n8k16 of fp16 and bf16: the tensor path
**   async_copy  cp.async
**   pdl         programmatic dependent launch, griddepcontrol
**   cluster     thread-block clusters
**   wide_load   loads and stores of 32 bytes a thread
*/
#define QP_ARCH_ABILITIES(X)                                                                       \
  X(0, MMA_K16, "mma_k16")                                                                         \
  X(1, ASYNC_COPY, "async_copy")                                                                   \
  X(2, PDL, "pdl")                                                                                 \
  X(3, CLUSTER, "cluster")                                                                         \
  X(4, WIDE_LOAD, "wide_load")

typedef enum qp_arch_ability {
#define X(bit, id, name) QP_ARCH_##id = 1 << bit,
  QP_ARCH_ABILITIES(X)
#undef X
} qp_arch_ability;

/* Cubins cross minor versions in the desktop line; each chip of Tegra's is its own. */
typedef enum qp_arch_line { QP_ARCH_DESKTOP, QP_ARCH_TEGRA } qp_arch_line;

typedef struct qp_arch {
  unsigned number;     /* 90; 0 ends the table */
  unsigned smem_bytes; /* most dynamic shared memory that a block can opt into */
  unsigned sm_count;   /* multiprocessors of the usual part: what grids are made for by default */
  unsigned abilities;  /* qp_arch_ability bits of the architecture */
  const char *part;    /* the usual part: "H100 SXM" */
  qp_arch_line line;
  unsigned nvrtc; /* the first NVRTC that compiles for it, 100 major + minor: 1208 */
} qp_arch;

/* All rows by rising number; a row of number 0 ends them. */
extern const qp_arch qp_arch_table[];

/* Find the row of an architecture; NULL means that there is none. */
const qp_arch *qp_arch_find(unsigned number);
/* Find the row whose code a GPU of this compute capability runs, as PTX at least: this is its own
   row or the nearest lower one.  Below the first row it is NULL. */
const qp_arch *qp_arch_nearest(unsigned capability);

/* Read "sm_90" or "90" as 90.  QP_E_ARG names the architectures that are known and leaves 'arch'
   alone. */
qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err);
/* Write "sm_75, 80, ... or 121" to 'to', cut at its end, and return 'to'. */
const char *qp_arch_names(char *to, size_t size);

/* Find the bit of an ability's name; 0: there is none of this name. */
unsigned qp_arch_ability_parse(const char *name);
/* Write the names of these bits, "mma_k16, pdl", to 'to', cut at its end.  Returns 'to'. */
const char *qp_arch_ability_names(unsigned bits, char *to, size_t size);

/* Fields of a row, for an architecture that may have none: it then gives 0 or false. */
unsigned qp_arch_smem_bytes(unsigned arch);
unsigned qp_arch_sm_count(unsigned arch);
bool qp_arch_has(unsigned arch, qp_arch_ability ability);

/*
** Say whether a cubin made for architecture 'made_for' runs on a GPU of this compute capability:
** the same one, or, both desktop parts with a row, a higher minor version of one major (CUDA C++
** Programming Guide, "Binary Compatibility").
*/
bool qp_arch_runs_cubin(unsigned made_for, unsigned capability);

#endif
