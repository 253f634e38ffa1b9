/* SPDX-License-Identifier: MIT */
/* The files of a packed model, made so that a killed run goes on where it was. */
#ifndef QP_SHARD_H
#define QP_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "tuner/quantize/job.h"

/*
** FOLDER/.qpal/ is there while a run is not complete: the job's key, a lock, and a file for each
** linear that is encoded and whose shard is not written yet.  Every file gets its name when it is
** whole.
*/
typedef struct qp_shards {
  const qp_job *j;
  int lock;
  bool made;     /* the output folder was not there */
  bool ours;     /* what is in it is of this job, or nothing */
  bool complete; /* all shards and the index were there already */
  size_t found;  /* weights of linears that were there already */
  bool *written; /* [shards] */
  bool *encoded; /* [linears]: in a shard, or in a file of its own */
} qp_shards;

/*
** Look at the output folder, make it if need be, and lock it.
** QP_E_ARG: it holds a model of another run (other weights, quantizers or options), or another
** process writes there; QP_E_IO; QP_E_NOMEM.  Close with qp_shards_close, which takes away what a
** run made that has nothing to be gone on with: its key, its lock, and folders that are empty.
*/
qp_status qp_shards_open(const qp_job *j, qp_shards *out, qp_error *err);
void qp_shards_close(qp_shards *s);

/* Encode linear i into a file of its own, if that is not there. */
qp_status qp_shards_encode(qp_shards *s, size_t i, _Atomic size_t *done, const _Atomic bool *cancel,
                           qp_error *err);

/* Put shard i together, if it is not there, and remove its linears' own files. */
qp_status qp_shards_write(qp_shards *s, size_t i, qp_error *err);

/* Remove what was written, after an error that the same command would meet again; then close. */
void qp_shards_discard(qp_shards *s);

/* Remove FOLDER/.qpal/ after the index was written. */
void qp_shards_finish(qp_shards *s);

#endif
