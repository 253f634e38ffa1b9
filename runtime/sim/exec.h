/* SPDX-License-Identifier: MIT */
/*
** State of a launch.  The lanes of a warp that stand at the same instruction execute it together,
** as a group; which groups form is only a matter of speed.  A collective instruction completes when
** all threads it names have arrived, whatever groups they came in.
*/
#ifndef QP_SIM_EXEC_H
#define QP_SIM_EXEC_H

#include "runtime/sim/code.h"
#include "runtime/sim/memory.h"

enum {
  QP_SIM_WARPS = 32,    /* most warps in a block */
  QP_SIM_BARRIERS = 16, /* named barriers of a block */
  QP_SIM_NOBODY = 0xffff
};

typedef struct qp_sim_block qp_sim_block;
typedef struct qp_sim_launch qp_sim_launch;

/* The last accesses to a word of shared memory.  Clocks are those of the warp whose thread accessed
   it. */
typedef struct qp_sim_touch {
  uint32_t write_clock, read_clock;
  uint16_t writer, reader;              /* thread, or QP_SIM_NOBODY */
  uint8_t write_bytes, read_bytes;      /* Which of the four bytes were accessed. */
  uint8_t write_strong, read_many;      /* an atomic or strong write; read by more than 'reader' */
  uint32_t read_generation, read_warps; /* warps that read since that block-wide barrier */
} qp_sim_touch;

/* A copy in flight. */
typedef struct qp_sim_copy {
  uint64_t source;        /* global address */
  uint32_t target, bytes; /* shared address, bytes it fills */
  uint32_t source_bytes;  /* the rest is zero */
  uint32_t group;         /* The commit group of a cp.async. */
  uint32_t barrier;       /* The copy completes on this mbarrier; 0: on none. */
  uint32_t clock;         /* The issuing warp's clock. */
  uint16_t thread;
  const qp_sim_op *op;
} qp_sim_copy;

typedef struct qp_sim_copies {
  qp_sim_copy *list;
  uint32_t count, room;
} qp_sim_copies;

/* An mbarrier object; 'clock' gathers what the threads that arrived have seen. */
typedef struct qp_sim_mbarrier {
  uint32_t address;
  uint32_t expected, pending; /* arrivals */
  int64_t bytes;              /* transactions outstanding in this phase */
  uint32_t phase;
  uint32_t clock[QP_SIM_WARPS];
} qp_sim_mbarrier;

typedef struct qp_sim_barrier {
  uint32_t arrived;               /* threads */
  uint32_t expected;              /* 0: nobody is here yet */
  uint32_t waiting[QP_SIM_WARPS]; /* lanes that wait */
  uint32_t value[QP_SIM_WARPS];   /* bar.red: predicates */
  uint32_t came[QP_SIM_WARPS];    /* lanes that arrived, waiting or not */
} qp_sim_barrier;

typedef enum qp_sim_event {
  QP_SIM_NONE,
  QP_SIM_REGROUP, /* lanes went different ways; pc[] of those that left 'active' is set */
  QP_SIM_YIELD,   /* nothing to do until others have run */
  QP_SIM_FAULT
} qp_sim_event;

struct qp_sim_warp {
  uint32_t *base[2]; /* registers, constants */
  uint32_t *preds;
  qp_sim_block *block;
  uint32_t active;      /* The lanes of the group that runs. */
  uint32_t next;        /* its next op */
  uint32_t here;        /* its current op */
  uint32_t event;       /* qp_sim_event */
  uint32_t carry;       /* The CC.CF of each lane. */
  uint32_t live, ready; /* not exited; of these, not waiting */
  uint32_t waited;      /* lanes that executed griddepcontrol.wait */
  uint32_t parked;      /* lanes that wait at a warp collective */
  uint32_t index;       /* its number in the block */
  uint64_t ticks;       /* instructions executed by groups of this warp */
  uint32_t pc[QP_SIM_LANES];
  uint32_t members[QP_SIM_LANES];  /* While it is parked: the lanes that it waits for. */
  uint64_t last_run[QP_SIM_LANES]; /* ticks */
  uint32_t offer[3][QP_SIM_LANES]; /* what lanes bring to a collective */
  uint64_t wide[QP_SIM_LANES];     /* scratch of an instruction */
  uint32_t depth[QP_SIM_LANES];
  uint32_t stack[QP_SIM_CALL_DEPTH][QP_SIM_LANES]; /* return addresses */
  /* These order accesses to shared memory: */
  uint32_t clock;
  uint32_t seen[QP_SIM_WARPS];     /* clocks of other warps that are ordered before now */
  uint32_t synced[QP_SIM_LANES];   /* The own clock at the lane's last warp-level
                                      synchronisation. */
  uint32_t acquired[QP_SIM_LANES]; /* The own warp's clock that the lane learnt from an mbarrier. */
  uint32_t group[QP_SIM_LANES];    /* The current commit group of cp.async. */
  /* These order accesses to global memory (order.h): */
  struct qp_sim_far *far;   /* What all lanes know of warps; NULL: they know nothing but 'seen'. */
  struct qp_sim_far *fresh; /* what lane 'fresh_lane' has acquired since the warp last met */
  struct qp_sim_far *heard; /* what relaxed accesses have met: acquired by a fence */
  uint32_t fresh_lane;
  uint32_t fenced, fence_clock; /* The lanes that executed a fence, and the clock at the last
                                   one. */
};

struct qp_sim_block {
  qp_sim_launch *launch;
  uint32_t index, sm, threads, warps;
  uint32_t live_warps;
  uint32_t generation;                     /* The block-wide barriers so far, counted from 1. */
  uint32_t generation_clock[QP_SIM_WARPS]; /* each warp's clock that all have seen since then */
  uint32_t shared_bytes;                   /* bytes from address 0 */
  uint8_t *shared, *shared_shadow;
  qp_sim_touch *touch;           /* There is one for each word of shared memory. */
  uint8_t *local, *local_shadow; /* [thread][frame] */
  uint32_t frame_bytes;
  qp_sim_barrier barriers[QP_SIM_BARRIERS];
  qp_sim_mbarrier *mbarriers;
  uint32_t mbarrier_count, mbarrier_room;
  qp_sim_copies copies;
  struct qp_sim_far *handed; /* what arrivals at mbarriers hand on */
  uint64_t progress;         /* counts whatever may free a waiting thread */
  qp_sim_warp warp[QP_SIM_WARPS];
  void *registers;
};

struct qp_sim_launch {
  const qp_sim_code *code;
  const qp_sim_function *kernel;
  qp_sim_arena *arena;
  const uint8_t *params, *params_shadow;
  uint32_t param_bytes;
  uint32_t grid, block_threads, dynamic_bytes, dynamic_start, shared_bytes;
  uint32_t sm_count;
  uint64_t id;
  struct qp_sim_chain *chain; /* NULL: launches are not tracked */
  unsigned slot;              /* The launch has this slot in the chain (overlap.h). */
  unsigned open, open_after;  /* first slot that may still run: before, and after a thread waited */
  struct qp_sim_order *order; /* NULL: accesses to global memory are not ordered */
  bool waited, let_go_early;  /* a thread has waited; one let dependents go before it had */
  uint64_t random;            /* The schedule is made of it. */
  qp_sim_switches switches;
  qp_sim_counters *count;
  qp_status status;
  qp_error *err;
};

/* Run a launch to its end.  QP_E_DEVICE means a fault, which launch->err describes; QP_E_NOMEM. */
qp_status qp_sim_run(qp_sim_launch *launch);

/*
** Record a fault of one lane (kernel, PTX line, block and thread are put before the message) and
** stop the launch.  Only the first one is kept.
*/
void qp_sim_fault(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* End some lanes.  This wakes collectives that waited for nobody else. */
void qp_sim_exit_lanes(qp_sim_warp *w, uint32_t mask);

/*
** Park lanes at a collective named by members[] (set for them by the caller).  When all lanes named
** have arrived, calls offer(op, lanes) for each op that they stand at, then take(op, lanes, all).
*/
typedef struct qp_sim_collective {
  void (*offer)(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes);
  void (*take)(qp_sim_warp *w, const qp_sim_op *o, uint32_t lanes, uint32_t all);
  bool any_place; /* may complete between different instructions of its kind */
  bool full;      /* needs all 32 lanes, exited ones too */
  bool orders;    /* orders memory among the lanes: a barrier does, a shuffle or vote does not */
} qp_sim_collective;
void qp_sim_gather(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, const uint32_t *members,
                   const qp_sim_collective *how);
/* Find the collective behind an op, or NULL; ops_warp.c keeps them. */
const qp_sim_collective *qp_sim_collective_of(const qp_sim_op *o);

/* Order the lanes of a warp after one another's earlier accesses. */
void qp_sim_order_lanes(qp_sim_warp *w, uint32_t lanes);

/* ---- operands ---- */

typedef float qp_sim_f32 __attribute__((may_alias));
typedef double qp_sim_f64 __attribute__((may_alias));
typedef uint64_t qp_sim_u64 __attribute__((may_alias));
typedef int32_t qp_sim_s32 __attribute__((may_alias));
typedef int64_t qp_sim_s64 __attribute__((may_alias));

static inline uint32_t *qp_sim_reg(const qp_sim_warp *w, int32_t r) {
  return w->base[(uint32_t)r >> 31] + (r & INT32_MAX);
}
static inline uint32_t qp_sim_pred(const qp_sim_warp *w, int32_t r) {
  return r >= 0 ? w->preds[r] : ~w->preds[~r];
}
static inline void qp_sim_set_pred(qp_sim_warp *w, int32_t r, uint32_t mask, uint32_t value) {
  w->preds[r] = (w->preds[r] & ~mask) | (value & mask);
}
static inline const int32_t *qp_sim_ext(const qp_sim_warp *w, const qp_sim_op *o) {
  return w->block->launch->code->ext + o->ext;
}
static inline unsigned qp_sim_lane(uint32_t mask) { return (unsigned)__builtin_ctz(mask); }

/* Run 'body' for each lane l of 'mask'; the full warp is a loop that compilers vectorise, and one
   that cannot be vectorised is fine, too. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed"
#define QP_SIM_VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define QP_SIM_VECTOR _Pragma("GCC ivdep")
#endif
#define QP_SIM_EACH(mask, body)                                                                    \
  do {                                                                                             \
    if ((mask) == UINT32_MAX) {                                                                    \
      QP_SIM_VECTOR for (unsigned l = 0; l < QP_SIM_LANES; l++) { body; }                          \
    } else {                                                                                       \
      for (uint32_t left_ = (mask); left_; left_ &= left_ - 1) {                                   \
        const unsigned l = qp_sim_lane(left_);                                                     \
        body;                                                                                      \
      }                                                                                            \
    }                                                                                              \
  } while (0)
#define QP_SIM_LOOP(mask, l)                                                                       \
  for (uint32_t left_ = (mask), l = 0; left_ && (l = qp_sim_lane(left_), true); left_ &= left_ - 1)

/* ---- checked memory accesses; NULL after a fault ---- */

const uint8_t *qp_sim_read(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                           uint64_t address, unsigned bytes);
/* Read by each lane of 'mask': at[lane] becomes what lies at address[lane], which is overwritten.
   False: a fault. */
bool qp_sim_read_lanes(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint64_t *address,
                       unsigned bytes, const uint8_t **at);
uint8_t *qp_sim_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                      uint64_t address, unsigned bytes);
/* Let each lane of 'mask' write, in their order: at[lane] becomes where the bytes for address[lane]
   go; addresses are overwritten.  False: a fault. */
bool qp_sim_write_lanes(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask, uint64_t *address,
                        unsigned bytes, uint8_t **at);
/* Read and write at once, as one atomic access. */
uint8_t *qp_sim_update(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, unsigned space,
                       uint64_t address, unsigned bytes);
/* Find shared memory by its address within the window; copies that are 'pending' are allowed to be
   there or not. */
void qp_sim_touch_write(qp_sim_warp *w, const qp_sim_op *o, unsigned lane, uint32_t address,
                        unsigned bytes, bool strong);
/* Count the wavefronts of one group's shared accesses (vector of 'bytes' a lane). */
void qp_sim_count_banks(qp_sim_warp *w, uint32_t mask, const uint32_t *addresses, unsigned bytes);
/* Find the address in the shared or local window that a generic address stands for, and the space
   it is in. */
qp_sim_space qp_sim_resolve(uint64_t *address);

#endif
