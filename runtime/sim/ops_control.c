/* SPDX-License-Identifier: MIT */
/* Branches, calls, ends, and instructions that only advise. */
#include "runtime/sim/rows.h"

/* Send the lanes of 'mask' to an op; the group goes on together only if all of it goes there. */
static void jump(qp_sim_warp *w, uint32_t mask, uint32_t target) {
  if (mask == w->active) {
    w->next = target;
    return;
  }
  QP_SIM_LOOP(mask, l) w->pc[l] = target;
  w->active &= ~mask;
  w->event = QP_SIM_REGROUP;
}

void qp_sim_do_bra(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) { jump(w, mask, o->target); }

/* r[0]: index; the targets are in the ext list */
void qp_sim_do_brx(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const uint32_t *index = qp_sim_reg(w, o->r[0]);
  const int32_t *targets = qp_sim_ext(w, o);
  QP_SIM_LOOP(mask, l) {
    if (index[l] >= (uint32_t)o->imm) {
      qp_sim_fault(w, o, l, "branch index %u is not below %u", index[l], (unsigned)o->imm);
      return;
    }
    w->pc[l] = (uint32_t)targets[index[l]];
  }
  w->active &= ~mask;
  w->event = QP_SIM_REGROUP;
}

/* Copy an argument or a result between frames, with what is known of its bytes. */
static void copy_frame(qp_sim_warp *w, unsigned lane, uint32_t to, uint32_t from, uint32_t bytes) {
  qp_sim_block *b = w->block;
  const size_t frame = (size_t)(w->index * QP_SIM_LANES + lane) * b->frame_bytes;
  memcpy(b->local + frame + to, b->local + frame + from, bytes);
  memcpy(b->local_shadow + frame + to, b->local_shadow + frame + from, bytes);
}

/*
** target: function; ext: the frame offsets of the arguments, then (if there is a result) its own.
** Frames do not move: no function calls itself, so that each has its place in the thread's frame.
*/
void qp_sim_do_call(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const qp_sim_function *f = w->block->launch->code->functions + o->target;
  const int32_t *args = qp_sim_ext(w, o);
  QP_SIM_LOOP(mask, l) {
    if (w->depth[l] == QP_SIM_CALL_DEPTH) {
      qp_sim_fault(w, o, l, "calls are nested more than %d deep", QP_SIM_CALL_DEPTH);
      return;
    }
    for (uint32_t i = 0; i < f->param_count; i++)
      copy_frame(w, l, f->frame_base + f->params[i].offset, (uint32_t)args[i], f->params[i].bytes);
    w->stack[w->depth[l]++][l] = w->here;
  }
  jump(w, mask, f->start);
}

void qp_sim_do_ret(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  const qp_sim_code *code = w->block->launch->code;
  uint32_t ends = 0;
  QP_SIM_LOOP(mask, l) {
    if (w->depth[l] == 0) {
      ends |= 1u << l;
      continue;
    }
    const uint32_t caller = w->stack[--w->depth[l]][l];
    const qp_sim_op *call = code->ops + caller;
    const qp_sim_function *f = code->functions + call->target;
    if (f->result.bytes)
      copy_frame(w, l, (uint32_t)code->ext[call->ext + f->param_count],
                 f->frame_base + f->result.offset, f->result.bytes);
    w->pc[l] = caller + 1;
  }
  if (ends != mask) w->event = QP_SIM_REGROUP;
  w->active &= ~(mask & ~ends);
  if (ends) qp_sim_do_exit(w, o, ends);
}

void qp_sim_do_exit(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  (void)o;
  qp_sim_exit_lanes(w, mask);
}

void qp_sim_do_trap(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_fault(w, o, qp_sim_lane(mask), "the kernel executed trap");
}

void qp_sim_do_nop(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  (void)w;
  (void)o;
  (void)mask;
}

/* A policy is opaque; any value will do. */
void qp_sim_do_createpolicy(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask) {
  qp_sim_u64 *d = (qp_sim_u64 *)qp_sim_reg(w, o->r[0]);
  QP_SIM_LOOP(mask, l) d[l] = UINT64_C(0x14f0000000000000);
}
