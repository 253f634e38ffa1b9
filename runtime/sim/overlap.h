/* SPDX-License-Identifier: MIT */
/*
** Launches that overlap, as programmatic dependent launch lets them:  a grid may begin while
** the one before it still runs, and owns nothing that the earlier ones touch until it has
** waited for them.
**
** Each byte of global memory remembers the last launch that wrote it and the last that read
** it.  A launch with 'pdl' set does not know, before griddepcontrol.wait, whether its
** predecessor has ended; nor whether the predecessor's own predecessor has, if that one let
** its dependents go before it had waited itself.  What such launches wrote may not be read,
** and what they read or wrote may not be written, by a thread that has not executed
** griddepcontrol.wait.  PTX ISA, "griddepcontrol".
*/
#ifndef QP_SIM_OVERLAP_H
#define QP_SIM_OVERLAP_H

#include "runtime/sim/exec.h"

enum { QP_SIM_SLOTS = 256, QP_SIM_SLOT_NAME = 96 };

/* The launches of a device that may still run.  A slot is a launch's number; 0 is none. */
typedef struct qp_sim_chain {
  uint8_t *writer, *reader; /* The slots, a byte for each of the arena; NULL until they are first
                               needed. */
  unsigned last;            /* newest slot */
  unsigned open;            /* slots open .. last may still run when the next launch begins */
  bool before_last_waited;  /* a thread of the newest launch waited for those before it */
  bool all_done;            /* something waited for every launch since 'last' */
  char name[QP_SIM_SLOTS][QP_SIM_SLOT_NAME];
} qp_sim_chain;

/* Everything launched so far has ended: a copy, a fill, a synchronisation. */
static inline void qp_sim_chain_drain(qp_sim_chain *c) { c->all_done = true; }

/* Free what the chain remembers of memory. */
void qp_sim_chain_close(qp_sim_chain *c);

/*
** Give a launch its place: launch->slot and the slots that its threads may meet before and after
** they have waited.  QP_E_NOMEM: there is no address space for the slots.
*/
qp_status qp_sim_chain_begin(qp_sim_chain *c, qp_sim_launch *launch, bool pdl, qp_error *err);

/* The launch was run: what it tells about those before it. */
void qp_sim_chain_end(qp_sim_chain *c, const qp_sim_launch *launch);

/* Note that a lane reads or writes global memory at an offset in the arena; false means that this
   is a fault. */
bool qp_sim_chain_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                       unsigned bytes);
bool qp_sim_chain_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint64_t offset,
                        unsigned bytes);

#endif
