/* SPDX-License-Identifier: MIT */
/* What goes into a forward pass, and who listens to it: see forward.h. */
#ifndef QP_FORWARD_TYPES_H
#define QP_FORWARD_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct qp_forward qp_forward; /* One thread at a time uses it; it has threads of its own. */

/* Sequences of tokens lie one behind another; each begins at position 0 and sees itself alone. */
typedef struct qp_sequences {
  const uint32_t *token; /* [end[count - 1]] ids below vocab */
  const size_t *end;     /* [count], ascending: sequence i ends before token end[i] */
  size_t count;
} qp_sequences;

/*
** Called with what the linears of a group read, before they do: x [rows][columns], valid during the
** call.  All tokens come, in order, in pieces of any number of rows; groups of a block in the order
** in which it computes them.  'group' counts as in qp_model.group; for the head, block == layers
** and group == groups.  A status other than QP_OK ends the pass and is returned.
*/
typedef struct qp_forward_hook {
  qp_status (*input)(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                     unsigned columns, qp_error *err);
  void *arg;
} qp_forward_hook;

#endif
