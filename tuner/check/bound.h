/* SPDX-License-Identifier: MIT */
/*
** What bounds a gemm kernel, counted from its machine code:  kernel + cubin -> [instructions of the
** hot loop by pipe] -> least time of each pipe, of issue and of the bytes.  Nothing is run;
** tuner/check/cost.h counts PTX in the simulator instead.
*/
#ifndef QP_BOUND_H
#define QP_BOUND_H

#include "gen/compile/compile.h"
#include "gen/inspect/rates.h"
#include "gen/kernel/kernel.h"
#include "runtime/status.h"

/*
** Counts are per two weights and lane: warp instructions of the common way around the hot loop over
** the pairs of weights that a lane decodes on it.  'lds_passes' are passes of shared memory with
** the conflicts that random indices give.  Times are microseconds of the whole launch on the
** architecture's usual part, as if all multiprocessors were busy from begin to end.
*/
typedef struct qp_bound {
  double instructions, pipe[QP_PIPE_COUNT], lds_passes;
  double issue_us, pipe_us[QP_PIPE_COUNT], memory_us;
  double us;         /* the largest of them: no launch is faster */
  const char *binds; /* What binds: "issue", a pipe's name or "memory". */
} qp_bound;

/* Tell whether kernels of an operation can be counted: this holds for gemm and experts, with a
   gated linear unit behind them or without. */
bool qp_bound_counts(qp_op op);

/*
** Count a gemm (not by rows) in its cubin.  QP_E_ARG means that it is another operation, or that
** the hot loop is not found; QP_E_MISSING, that there is no nvdisasm.  Other errors are those of
** qp_disassemble.
*/
qp_status qp_bound_count(const qp_kernel *k, const qp_compiled *c, qp_bound *out, qp_error *err);

/* Passes that a warp's load from a table takes, mean over random indices: every lane its own. */
double qp_bound_passes(const qp_table *t);

#endif
