/* SPDX-License-Identifier: MIT */
/* Keeps what a run that was stopped goes on from:  pieces of memory <--> one file. */
#ifndef QP_TRAINING_FILE_H
#define QP_TRAINING_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct qp_training_piece {
  void *data;
  size_t bytes;
} qp_training_piece;

/* Whole or not at all, under a key that says of which run.  QP_E_IO, QP_E_NOMEM. */
qp_status qp_training_file_write(const char *file, uint64_t key, const qp_training_piece *piece,
                                 size_t pieces, qp_error *err);

/* Read the same pieces back.  False, with all as they were, means that there is no such file of
   this key and size, or that it is damaged. */
bool qp_training_file_read(const char *file, uint64_t key, const qp_training_piece *piece,
                           size_t pieces);

#endif
