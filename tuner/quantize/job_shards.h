/* SPDX-License-Identifier: MIT */
/* Divides the output into files:  linears of a job, tensors of its checkpoint -> [kept tensors,
   shards]. */
#ifndef QP_JOB_SHARDS_H
#define QP_JOB_SHARDS_H

#include "tuner/quantize/job.h"

/* Tell where a linear stands in the model: -1 before the blocks, the number of its block, or the
   number of blocks if it is behind them. */
long qp_job_place(const qp_model *model, const qp_job_linear *l);

/*
** List the tensors that stay as they are, in the order of the model, and put blocks together up to
** 'mib' MiB a file; a block is never divided.  Sets kept, kepts, shard and shards of a job whose
** linears are listed.  QP_E_NOMEM.
*/
qp_status qp_job_shards_make(const qp_model *model, unsigned mib, qp_job *j, qp_error *err);

#endif
