/* SPDX-License-Identifier: MIT */
/*
** Any arguments of a launch: the first byte is the operation, the rest a list of changes (where, 2
** bytes; to what, 1 byte) of a call that is right.  Kernels do nothing, so that addresses need not
** be any; host pointers stay.  It is refused with a message, or launched, and a query before it
** says the same.
*/
#include "runtime/include/qpal_sim.h"
#include "tests/fuzz/fuzz_library_kit.h"

enum { MOST_ROWS = 8 };

typedef struct call {
  qpal_gemm_args gemm;
  qpal_rotate_args rotate;
  qpal_dequant_args dequant;
  qpal_gather_args gather;
  qpal_experts_args experts;
  qpal_route_args route;
  qpal_attend_args attend;
  qpal_pick_args pick;
  qpal_segment segment[2];
  qpal_weights weights[2];
} call;

static qpal_library *library;
static qpal_device *device;
static qpal_kernels *kernels;
static call right;

/* Host pointers, and what the struct holds at most, are the caller's promise. */
static void keep_promises(call *c) {
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
  if (c->gemm.rows > MOST_ROWS && c->gemm.rows <= 65536) c->gemm.rows = 1 + c->gemm.rows % 8;
}

static void make_right(void) {
  qpal_ptr p = 0;
  must(!qpal_alloc(device, 1 << 16, &p));
  right = (call){
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
               .ids = p}};
  right.route.routing = p;
  right.attend.q = right.attend.k = right.attend.v = right.attend.y = p;
  right.attend.keys = right.attend.values = p;
  for (unsigned i = 0; i < 2; i++) {
    right.segment[i].y = p + 8192;
    right.weights[i].scale = p;
    right.weights[i].part[0].codes = right.weights[i].part[1].codes = p;
  }
}

/* One call of operation 'op' % 10; the last two are gemms with an epilogue and with a prologue. */
static qpal_status call_it(unsigned op, call *c) {
  qpal_gemm_info info = {.size = sizeof info};
  qpal_experts_info experts = {.size = sizeof experts};
  qpal_status query, status;
  keep_promises(c);
  switch (op % 10) {
  case 1: return qpal_rotate(kernels, &c->rotate, NULL);
  case 2: return qpal_dequant(kernels, &c->dequant, NULL);
  case 3: return qpal_gather(kernels, &c->gather, NULL);
  case 4:
    query = qpal_experts_query(kernels, &c->experts, &experts);
    status = qpal_experts(kernels, &c->experts, NULL);
    must(!query || status == query);
    return status;
  case 5: return qpal_route(kernels, &c->route, NULL);
  case 6: return qpal_attend(kernels, &c->attend, NULL);
  case 7: return qpal_pick(kernels, &c->pick, NULL);
  default:
    query = qpal_gemm_query(kernels, &c->gemm, &info);
    status = qpal_gemm(kernels, &c->gemm, NULL);
    must(!query || status);
    must(query || info.launches <= MOST_ROWS);
    return status;
  }
}

/* The call before it is changed. */
static call begin_call(unsigned op) {
  call c = right;
  if (op % 10 == 8) {
    c.gemm.group = KIT_PAIR;
    c.gemm.epilogue = QPAL_EPILOGUE_GLU;
    c.segment[1].y = 0;
  }
  if (op % 10 == 9) {
    c.gemm.out_type = QPAL_F32;
    c.gemm.capacity = 2;
    c.gemm.signs = right.gemm.x;
  }
  if (op % 10 == 1 && op / 10 % 3) {
    c.rotate.prologue = op / 10 % 3;
    if (op / 10 % 3 == QPAL_PROLOGUE_GLU) c.rotate.up = c.rotate.x;
  }
  return c;
}

static void begin(void) {
  static void *file;
  size_t bytes;
  file = make_library(&bytes);
  must(!qpal_library_from_memory(file, bytes, &library));
  must(!qpal_sim_open(90, 4, &device));
  must(!qpal_kernels_load(library, device, NULL, &kernels));
  make_right();
  for (unsigned op = 0; op < 30; op++) {
    call c = begin_call(op);
    must(!call_it(op, &c));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!library) begin();
  if (!size) return 0;
  call c = begin_call(data[0]);
  for (size_t i = 1; i + 3 <= size; i += 3)
    ((unsigned char *)&c)[(data[i] | (size_t)data[i + 1] << 8) % sizeof c] = data[i + 2];
  must(!call_it(data[0], &c) || *qpal_message());
  return 0;
}
