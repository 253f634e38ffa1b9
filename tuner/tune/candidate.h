/* SPDX-License-Identifier: MIT */
/* Takes one candidate on its way:  choice -> kernel -> cubin -> record. */
#ifndef QP_CANDIDATE_H
#define QP_CANDIDATE_H

#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "tuner/tune/records.h"

typedef struct qp_candidate {
  qp_choice choice; /* as it was asked for */
  qp_kernel kernel;
  qp_compiled compiled;
  qp_record record;
  int64_t estimate_ps; /* qp_search_roofline */
  bool seeded;         /* from the best of a problem near by */
  bool told;           /* 'record' is what an earlier run left */
  bool compiling, settled;
} qp_candidate;

/* Make the kernel and the head of its record; errors are those of qp_kernel_make.  Free it with
   qp_candidate_free. */
qp_status qp_candidate_make(qp_families *families, const qp_problem *p, const qp_choice *choice,
                            qp_candidate *out, qp_error *err);
void qp_candidate_free(qp_candidate *c);

/* Take over what the compiler gave: resources and the code's hash into the record, estimate. */
void qp_candidate_compiled(qp_candidate *c, qp_compiled *compiled, double read_gbs);

/* Judge a candidate by its compile report: a block must be launchable and must spill at most
   'spill_limit' bytes a thread.  Otherwise QP_E_LIMIT says why. */
qp_status qp_candidate_launches(const qp_candidate *c, unsigned spill_limit, qp_error *err);

#endif
