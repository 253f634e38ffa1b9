/* SPDX-License-Identifier: MIT */
/* A launch of every operation on the library of fuzz_library_kit.h, each right as it is. */
#ifndef QP_TESTS_FUZZ_LAUNCH_KIT_H
#define QP_TESTS_FUZZ_LAUNCH_KIT_H

#include "runtime/include/qpal_sim.h"
#include "tests/fuzz/fuzz_library_kit.h"

/* Operations, and of rotations and gemms what stands before and behind them; the last three are of
   a matrix in 16 bits. */
enum { KIT_MOST_ROWS = 8, KIT_PLAIN = 30, KIT_CALLS = 33 };

typedef struct kit_call {
  qpal_gemm_args gemm;
  qpal_rotate_args rotate;
  qpal_dequant_args dequant;
  qpal_gather_args gather;
  qpal_experts_args experts;
  qpal_route_args route;
  qpal_attend_args attend;
  qpal_pick_args pick;
  qpal_combine_args combine;
  unsigned combines; /* 1: in the place of route */
  qpal_segment segment[2];
  qpal_weights weights[2];
  qpal_plain_args plain;
} kit_call;

/* Host pointers, and what the struct holds at most, are the caller's promise. */
static inline void kit_keep_promises(kit_call *c) {
  for (unsigned i = 0; i < 2; i++) c->segment[i].weights = &c->weights[i];
  c->gemm.segment = c->experts.segment = c->segment;
  c->dequant.weights = c->gather.weights = &c->weights[0];
#define AT_MOST(s)                                                                                 \
  if (c->s.size > sizeof c->s) c->s.size = sizeof c->s
  AT_MOST(gemm);
  AT_MOST(rotate);
  AT_MOST(dequant);
  AT_MOST(gather);
  AT_MOST(experts);
  AT_MOST(route);
  AT_MOST(attend);
  AT_MOST(pick);
  AT_MOST(combine);
  AT_MOST(plain);
  if (c->gemm.rows > KIT_MOST_ROWS && c->gemm.rows <= 65536)
    c->gemm.rows = 1 + c->gemm.rows % KIT_MOST_ROWS;
}

/* Its addresses are those of a buffer of 64 KiB. */
static inline kit_call kit_right(qpal_ptr p) {
  kit_call right = {
      .gemm = {.size = sizeof right.gemm, .rows = 1, .x = p, .workspace = p, .counters = p},
      .rotate = {.size = sizeof right.rotate,
                 .columns = KIT_COLUMNS,
                 .rows = 1,
                 .x = p,
                 .y = p + 4096,
                 .signs = p},
      .dequant = {.size = sizeof right.dequant, .group = KIT_PAIR, .w = p},
      .gather = {.size = sizeof right.gather, .group = KIT_PAIR, .rows = 1, .ids = p, .y = p},
      .experts = {.size = sizeof right.experts,
                  .group = KIT_STACKS,
                  .tokens = 1,
                  .x = p,
                  .routing = p,
                  .workspace = p,
                  .counters = p},
      .route = {.size = sizeof right.route, .group = KIT_STACKS, .tokens = 1, .ids = p},
      .attend = {.size = sizeof right.attend,
                 .columns = KIT_COLUMNS,
                 .rows = 1,
                 .heads = 4,
                 .kv_heads = 2,
                 .context = 16,
                 .scale = 0.125f,
                 .positions = p},
      .pick = {.size = sizeof right.pick,
               .columns = KIT_COLUMNS,
               .rows = 1,
               .vocabulary = 64,
               .context = 16,
               .logits = p,
               .tokens = p,
               .positions = p,
               .ids = p},
      .combine = {.size = sizeof right.combine,
                  .columns = KIT_COLUMNS,
                  .tokens = 1,
                  .top_k = KIT_TOP_K,
                  .x = p,
                  .weights = p,
                  .y = p + 4096},
      .plain = {.size = sizeof right.plain,
                .columns = KIT_COLUMNS,
                .outputs = 5,
                .rows = 1,
                .x = p,
                .y = p + 4096,
                .w = p}};
  right.route.routing = p;
  right.attend.q = right.attend.k = right.attend.v = right.attend.y = p;
  right.attend.keys = right.attend.values = p;
  for (unsigned i = 0; i < 2; i++) {
    right.segment[i].y = p + 8192;
    right.weights[i].scale = p;
    right.weights[i].part[0].codes = right.weights[i].part[1].codes = p;
  }
  return right;
}

/* One call of operation 'op' % 10, route or combine as 'combines' says; the last two are gemms with
   an epilogue and with a prologue.  From KIT_PLAIN on they are others. */
static inline qpal_status kit_launch(const qpal_kernels *kernels, unsigned op, kit_call *c) {
  qpal_gemm_info info = {.size = sizeof info};
  qpal_experts_info experts = {.size = sizeof experts};
  qpal_status query, status;
  kit_keep_promises(c);
  if (op >= KIT_PLAIN) return qpal_plain(kernels, &c->plain, NULL);
  switch (op % 10) {
  case 1: return qpal_rotate(kernels, &c->rotate, NULL);
  case 2: return qpal_dequant(kernels, &c->dequant, NULL);
  case 3: return qpal_gather(kernels, &c->gather, NULL);
  case 4:
    query = qpal_experts_query(kernels, &c->experts, &experts);
    status = qpal_experts(kernels, &c->experts, NULL);
    must(!query || status == query);
    return status;
  case 5:
    return c->combines & 1 ? qpal_combine(kernels, &c->combine, NULL)
                           : qpal_route(kernels, &c->route, NULL);
  case 6: return qpal_attend(kernels, &c->attend, NULL);
  case 7: return qpal_pick(kernels, &c->pick, NULL);
  default:
    query = qpal_gemm_query(kernels, &c->gemm, &info);
    status = qpal_gemm(kernels, &c->gemm, NULL);
    must(!query || status);
    must(query || info.launches <= KIT_MOST_ROWS);
    return status;
  }
}

/* Call 'op' of KIT_CALLS, on a buffer at 'p'. */
static inline kit_call kit_begin(unsigned op, qpal_ptr p) {
  kit_call c = kit_right(p);
  if (op % 10 == 8) {
    c.gemm.group = KIT_PAIR;
    c.gemm.epilogue = QPAL_EPILOGUE_GLU;
    c.segment[1].y = 0;
  }
  if (op % 10 == 4 && op / 10 == 1) {
    c.experts.group = KIT_PAIR;
    c.experts.epilogue = QPAL_EPILOGUE_GLU;
    c.segment[1].y = 0;
  }
  if (op % 10 == 9) {
    c.gemm.out_type = QPAL_F32;
    c.gemm.capacity = 2;
    c.gemm.signs = p;
  }
  if (op >= KIT_PLAIN) c.plain.prologue = op - KIT_PLAIN;
  if (op == KIT_PLAIN + QPAL_PROLOGUE_GLU) c.plain.up = p;
  c.combines = op / 10 % 3 == 1;
  if (op % 10 == 1 && op / 10 % 3) {
    c.rotate.prologue = op / 10 % 3;
    if (op / 10 % 3 == QPAL_PROLOGUE_GLU) c.rotate.up = c.rotate.x;
  }
  return c;
}

#endif
