/* SPDX-License-Identifier: MIT */
/*
** The flow graph of a kernel:  listing -> [blocks, dominators, natural loops] -> what is counted.
** Nouns: a 'block' is a run of instructions that only its end leaves; a 'header' is a block that
** dominates a jump back to it, its 'loop' all that reaches that jump without passing it again.
*/
#ifndef QP_FLOW_H
#define QP_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QP_FLOW_NOWHERE UINT32_MAX

/* Add a jump from instruction 'from'; one to beyond the last instruction goes nowhere. */
typedef struct qp_jump {
  uint32_t from, to;
} qp_jump;

/*
** The caller sets the first four and keeps what they point to as long as the graph; the rest is
** made by qp_flow_make and freed by qp_flow_free.  Edges stand in rows of one array each way: those
** out of block b are out[out_row[b]] .. out[out_row[b + 1] - 1].
*/
typedef struct qp_flow {
  uint32_t instructions;
  const bool *stops; /* [instructions] the next one is not reached from it */
  size_t jumps;
  const qp_jump *jump;

  uint32_t count;     /* blocks, numbered in the text's order */
  uint32_t *first;    /* [count + 1] first instruction of a block */
  uint32_t *block_of; /* [instructions] */
  uint32_t *out_row, *out;
  uint32_t *in_row, *in;
  uint32_t *order, *rank; /* Blocks in reverse postorder, and where a block stands in it, or
                             NOWHERE. */
  uint32_t reached;       /* blocks in 'order' */
  uint32_t *dominator;    /* The immediate dominator of every reached block. */
  bool *header;           /* may be cleared to leave a loop out */
  uint32_t *work;
  uint8_t *member; /* [count]: the blocks that the last qp_flow_loop or qp_flow_own found. */
} qp_flow;

/* False for want of memory; qp_flow_free is due in any case. */
bool qp_flow_make(qp_flow *g);
void qp_flow_free(qp_flow *g);

/* Does the edge go back to a block that dominates where it comes from? */
bool qp_flow_goes_back(const qp_flow *g, uint32_t from, uint32_t to);
/* Mark the natural loop of a header in member[]. */
void qp_flow_loop(qp_flow *g, uint32_t header);
/* Mark the loop of a header less the loops inside it.  False means that there is no memory. */
bool qp_flow_own(qp_flow *g, uint32_t header);

#endif
