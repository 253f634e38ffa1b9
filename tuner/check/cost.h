/* SPDX-License-Identifier: MIT */
/* What decoding a quantizer costs on the tensor-core path, counted in the simulator. */
#ifndef QP_COST_H
#define QP_COST_H

#include "gen/compile/compile.h"
#include "gen/kernel/family.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** Per weight and lane: PTX instructions but moves, and wavefronts of shared memory (passes of a
** warp's access through the 32 banks).  A multiprocessor issues instructions of four warps in a
** cycle but serves one wavefront, so a kernel that waits for nothing else is bound by
**     slots = max(instructions, 4 wavefronts)        issue slots a weight.
** All that the kernel does with a weight is in them, its share of loads and products included.
*/
typedef struct qp_cost {
  double instructions, wavefronts, slots;
} qp_cost;

/*
** Count with the default kernel at batch 1:  what twice the rows cost more, so that what a launch
** costs however large it is (tables, activations, the last sum) is not in it.  The kernel's result
** is verified on the way.
** QP_E_WRONG: the kernel decodes wrongly; else as qp_kernel_make, qp_compiler_run
** and the simulator.
*/
qp_status qp_cost_count(qp_families *families, qp_compiler *compiler, const qp_quantizer *q,
                        unsigned arch, qp_cost *out, qp_error *err);

#endif
