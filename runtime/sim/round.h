/* SPDX-License-Identifier: MIT */
/* Rounds fp32, fp16 and bf16 values as PTX's modifiers say: rounding modes, .ftz, .sat, .relu. */
#ifndef QP_SIM_ROUND_H
#define QP_SIM_ROUND_H

#include <fenv.h>
#include <math.h>
#include <stdint.h>

#include "runtime/half.h"
#include "runtime/sim/rows.h"

#define QP_SIM_NAN_BITS 0x7fffffffu /* what CUDA makes of a NaN in fp32 */

/* Subnormals become zeros of the same sign. */
static inline float qp_sim_flush(float f) {
  const uint32_t u = qp_float_bits(f);
  return u & 0x7f800000 ? f : qp_float_of_bits(u & 0x80000000);
}
/* Bring a number into [0, 1]; NaN becomes 0. */
static inline float qp_sim_saturate(float f) { return f > 0 ? (f < 1 ? f : 1.0f) : 0.0f; }

/* Give the rounding mode of C that a mode of PTX stands for. */
static inline int qp_sim_fenv(unsigned mode) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  return modes[mode & QP_SIM_RND];
}

/* Round a double, exact in itself, to fp16 or bf16 in any rounding mode. */
uint16_t qp_sim_round_half(double d, unsigned mode);
uint16_t qp_sim_round_bf16(double d, unsigned mode);

#endif
