/* SPDX-License-Identifier: MIT */
/*
** Which accesses to global memory of one launch are ordered, over all its blocks; PTX ISA, "memory
** consistency model".
**
** An access happens before another by the program's order, by barriers (of a block, of a warp) and
** where a release is acquired: an atomic or strong access with .release or .acq_rel, or behind a
** fence, and a later .acquire or .acq_rel of the same word, or one before a fence. Of two accesses
** to the same bytes by different threads, one a write, that are not ordered the second one is a
** race; atomics and strong accesses do not race with each other. What is read through the
** non-coherent cache (ld.global.nc) may not be written in the launch at all.
**
** Of each word of memory the last reader and the last writer are kept: a race with an earlier one
** is not seen, what is seen is one.
*/
#ifndef QP_SIM_ORDER_H
#define QP_SIM_ORDER_H

#include "runtime/sim/exec.h"

/* What is known of one warp's accesses: those of all its lanes with clocks below 'all', those of
   'lane' with clocks below 'own'. */
typedef struct qp_sim_known {
  uint32_t all, own, lane;
} qp_sim_known;

/* What is known of the warps of a grid, numbered over all blocks. */
typedef struct qp_sim_far {
  uint32_t count;
  qp_sim_known warp[];
} qp_sim_far;

typedef struct qp_sim_order qp_sim_order; /* the order of a device; its memory is kept between
                                             launches */

/* Begin a launch: nothing was touched.  '*order' is made when it is NULL.  QP_E_NOMEM. */
qp_status qp_sim_order_begin(qp_sim_order **order, qp_sim_launch *launch, qp_error *err);
void qp_sim_order_close(qp_sim_order *order);

/* Note that each of these lanes reads global memory, at offset[lane] in the arena, or that one
   writes it; false means that this is a fault. */
bool qp_sim_order_reads(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, const uint64_t *offset,
                        unsigned bytes);
bool qp_sim_order_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                        unsigned bytes, bool strong);

/* Note what a lane's atomic or strong access releases and acquires, after it was recorded. */
void qp_sim_order_meet(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset);
/* Lanes execute a fence. */
void qp_sim_order_fence(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes);
/* What one lane has acquired is known to the lanes that it meets at a barrier of their warp. */
void qp_sim_order_share(qp_sim_warp *w, uint32_t lanes);
/* Add what 'from' knows to '*to'; false: no memory. */
bool qp_sim_far_add(qp_sim_far **to, const qp_sim_far *from);

#endif
