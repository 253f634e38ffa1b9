/* SPDX-License-Identifier: MIT */
/*
** Make, compile and verify many candidates, in processes of their own:  a kernel that hangs, or
** that leaves the device in an error that stays, costs its own case and no other.
*/
#ifndef QP_RUNNER_H
#define QP_RUNNER_H

#include <stdbool.h>

#include "gen/kernel/family.h"
#include "tuner/check/run.h"

/*
** Run the cases; result[i] belongs to case i.  verify[i] says whether case i is verified (NULL:
** all).
** Must be called before the process starts threads.  A case whose process dies, or is not done in
** time and killed, fails with what became of it; another process goes on with the others, also
** after a fault on a GPU, whose context is lost with it.  SIGINT and SIGTERM end the run early:
** results so far stand, '*cut' (may be NULL) is the signal, else 0.
** Returns an error where no case could be run (device, NVRTC).
*/
qp_status qp_run_cases(qp_families *families, const qp_run_options *opt, const qp_cases *cases,
                       const bool *verify, qp_result *result, int *cut, qp_error *err);

#endif
