/* SPDX-License-Identifier: MIT */
/* Holds a kernel's instructions by kind, with its jumps: PTX and SASS are read into it to be
   counted. */
#ifndef QP_LISTING_H
#define QP_LISTING_H

#include <stdint.h>

#include "gen/inspect/flow.h"
#include "gen/inspect/instruction_mix.h"
#include "gen/inspect/rates.h"

/* The kinds, named as the fields of qp_instruction_mix that count them. */
#define QP_KINDS(X)                                                                                \
  X(integer_alu)                                                                                   \
  X(integer_mul)                                                                                   \
  X(half_math)                                                                                     \
  X(float_math)                                                                                    \
  X(mma)                                                                                           \
  X(shared_load)                                                                                   \
  X(shared_store)                                                                                  \
  X(global_load)                                                                                   \
  X(global_store)                                                                                  \
  X(atomic)                                                                                        \
  X(shuffle)                                                                                       \
  X(barrier)                                                                                       \
  X(convert)                                                                                       \
  X(control)                                                                                       \
  X(other)

typedef enum qp_kind {
#define X(name) QP_KIND_##name,
  QP_KINDS(X)
#undef X
      QP_KIND_none, /* holds a place in the flow, is no instruction */
} qp_kind;

/*
** One instruction.  What is behind 'kind' is known of SASS only: the unit that executes it, and
** what the unit is given to do: the fewest passes of a load of shared memory (4-byte ones of all
** lanes take one), the words a lane that a load of weights brings (one that the first-level cache
** does not keep).
*/
typedef struct qp_instruction {
  qp_kind kind;
  bool stops; /* the one behind it is not reached from it */
  qp_sm_unit unit;
  uint8_t passes, words;
} qp_instruction;

typedef struct qp_listing qp_listing;

/* Make an empty listing, which qp_listing_free frees.  NULL means that there is no memory. */
qp_listing *qp_listing_new(void);
void qp_listing_free(qp_listing *l);

/*
** Build a listing in the order of the text.  Names are not copied.  Want of memory is kept until
** qp_listing_instruction_mix.
**   add     the next instruction
**   branch  the last instruction may go to this label of an open scope
**   label   the next instruction has this label
**   open, close  a scope of labels; the whole is one already
*/
void qp_listing_add(qp_listing *l, const qp_instruction *i);
void qp_listing_branch(qp_listing *l, const char *text, size_t length);
void qp_listing_label(qp_listing *l, const char *text, size_t length);
void qp_listing_open(qp_listing *l);
void qp_listing_close(qp_listing *l);

/* Get instruction i, counted from 0. */
const qp_instruction *qp_listing_at(const qp_listing *l, size_t i);

/* Make the flow graph, after the last instruction was added.  False means that there is no memory;
   the graph must be freed in any case. */
bool qp_listing_flow(qp_listing *l, qp_flow *g);
void qp_listing_flow_free(qp_flow *g);

/*
** Count the kinds in the main loop: among the natural loops (a header that dominates a jump back
** to it, and all that reaches that jump), each without the loops inside it, the one with the most
** instructions.  A few instructions that poll a barrier are a wait, not a loop.  Without a loop all
** that can be reached is counted.  QP_E_NOMEM.  Comes after the last instruction.
*/
qp_status qp_listing_instruction_mix(qp_listing *l, qp_instruction_mix *out, qp_error *err);

#endif
