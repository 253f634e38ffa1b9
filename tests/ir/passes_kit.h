/* SPDX-License-Identifier: MIT */
/* For tests of passes over the IR: what a pass makes prints so, and values stay the same. */
#ifndef QP_PASSES_KIT_H
#define QP_PASSES_KIT_H

#include <criterion/criterion.h>

#include "gen/ir/passes.h"
#include "tests/ir/decodes.h"

#define NEW(ir) qp_ir *ir __attribute__((cleanup(free_ir))) = qp_ir_new()
#define OWNED   __attribute__((cleanup(free_ir)))
static inline void free_ir(qp_ir **ir) { qp_ir_free(*ir); }

static inline void assert_prints(const qp_ir *ir, const char *want) {
  qp_error err = {0};
  cr_assert_eq(qp_ir_verify(ir, &err), QP_OK, "%s", err.text);
  char *text = qp_ir_dump(ir);
  cr_assert_str_eq(text, want, "\n%s", text);
  free(text);
}

static inline uint32_t random_word(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 32);
}

/* Both give the same on random inputs; of the state only bits below 'window' are set in 'a'. */
static inline void assert_equal_values(const qp_ir *a, const qp_ir *b, unsigned window) {
  uint64_t seed = 3;
  const uint16_t book[] = {0x3c00, 0x4000, 0x4200, 0xbc00, 0x1234, 0x9876, 0x0001, 0x7bff};
  for (unsigned i = 0; i < 2000; i++) {
    qp_ir_env env = {.codebook = {{book, 4, 2}, {book, 8, 1}}};
    uint32_t x[QP_IR_MAX_OUTPUTS], y[QP_IR_MAX_OUTPUTS];
    for (unsigned k = 0; k < QP_IN_COUNT; k++) env.input[k] = random_word(&seed);
    qp_ir_eval(b, &env, y);
    if (window < 32) env.input[QP_IN_STATE] &= (1u << window) - 1;
    qp_ir_eval(a, &env, x);
    cr_assert_eq(a->outputs, b->outputs);
    for (unsigned k = 0; k < a->outputs; k++)
      cr_assert_eq(x[k], y[k], "output %u of state %08x: %08x, not %08x", k, env.input[QP_IN_STATE],
                   y[k], x[k]);
  }
}

static inline unsigned count_of(const qp_ir *ir, qp_ir_op op) {
  unsigned n = 0;
  for (unsigned i = 0; i < ir->count; i++) n += ir->node[i].op == op;
  return n;
}

#endif
