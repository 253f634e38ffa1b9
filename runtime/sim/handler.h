/* SPDX-License-Identifier: MIT */
/*
** How functions of instructions are written: a lane at a time over the registers of a warp.  In the
** expressions l is the lane, d[l] the destination, a[l], b[l] and c[l] the sources.
*/
#ifndef QP_SIM_HANDLER_H
#define QP_SIM_HANDLER_H

#include "runtime/sim/exec.h"

#define REG32(name, i) uint32_t *name = qp_sim_reg(w, o->r[i])
#define REG64(name, i) qp_sim_u64 *name = (qp_sim_u64 *)qp_sim_reg(w, o->r[i])
#define HANDLER(name)  static void name(qp_sim_warp *w, const qp_sim_op *o, uint32_t mask)
#define DO32_1(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO32_2(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO32_3(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG32(d, 0);                                                                                   \
    REG32(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    REG32(c, 3);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint32_t)(expr));                                                    \
  }
#define DO64_1(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }
#define DO64_2(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    REG64(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }
/* These have a 64-bit value and a 32-bit amount. */
#define DO64_W(name, expr)                                                                         \
  HANDLER(name) {                                                                                  \
    REG64(d, 0);                                                                                   \
    REG64(a, 1);                                                                                   \
    REG32(b, 2);                                                                                   \
    QP_SIM_EACH(mask, d[l] = (uint64_t)(expr));                                                    \
  }

/* Rows of a table of instructions (rows.h). */
#define ROW(name, sig, fn)                                                                         \
  { name, sig, fn, NULL, QP_SIM_INT_ALU, 0 }
#define ROW_SUB(name, sig, fn, sub)                                                                \
  { name, sig, fn, NULL, QP_SIM_INT_ALU, sub }

#endif
