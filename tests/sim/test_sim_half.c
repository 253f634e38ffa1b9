/* SPDX-License-Identifier: MIT */
/* The simulator's fp16 arithmetic without modifiers against sums and products in double precision,
   of many pairs of numbers: near and far apart, subnormal, infinite, no numbers. */
#include <fenv.h>
#include <math.h>

#include "gen/base/random.h"
#include "tests/sim/sim_kit.h"

enum { THREADS = 1024, SOURCES = 3, RUNS = 4 };

/* The sum of two doubles whose last bit says that something was lost. */
static double sum_to_odd(double x, double y) {
  fesetround(FE_TOWARDZERO);
  feclearexcept(FE_INEXACT);
  volatile double a = x, b = y;
  volatile double sum = a + b;
  const bool lost = fetestexcept(FE_INEXACT);
  fesetround(FE_TONEAREST);
  uint64_t bits;
  double d = sum;
  memcpy(&bits, &d, sizeof bits);
  bits |= lost;
  memcpy(&d, &bits, sizeof d);
  return d;
}

static uint16_t sum_of(double x, double y) {
  /* the sign of a sum that is exactly zero depends on how it is rounded */
  return qp_double_to_half(x + y == 0 ? x + y : sum_to_odd(x, y));
}

static uint16_t lesser(uint16_t x, uint16_t y, bool want_greater) {
  const float a = qp_half_to_float(x), b = qp_half_to_float(y);
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? QP_HALF_NAN : isnan(a) ? y : x;
  const bool less = a < b || (a == b && signbit(a));
  return less != want_greater ? x : y;
}

typedef struct op {
  const char *name;
  unsigned sources;
} op;

static const op ops[] = {{"add.f16", 2}, {"sub.f16", 2}, {"mul.f16", 2},
                         {"min.f16", 2}, {"max.f16", 2}, {"fma.rn.f16", 3}};

static uint16_t expected(unsigned i, uint16_t x, uint16_t y, uint16_t z) {
  const double a = (double)qp_half_to_float(x), b = (double)qp_half_to_float(y);
  switch (i) {
  case 0: return sum_of(a, b);
  case 1: return sum_of(a, -b);
  case 2: return qp_double_to_half(a * b);
  case 3: return lesser(x, y, false);
  case 4: return lesser(x, y, true);
  default: return sum_of(a * b, (double)qp_half_to_float(z));
  }
}

static qp_random numbers = {.state = 1};

static uint16_t any(void) { return (uint16_t)(qp_random_next(&numbers) >> 48); }

/* Two products' worth of numbers: of every thread all bits at random, or z near -x * y, or far from
   it. */
static void make(uint16_t *in) {
  for (unsigned i = 0; i < THREADS * 2; i++) {
    const uint16_t x = any(), y = any();
    const float product = qp_half_to_float(x) * qp_half_to_float(y);
    const uint16_t near = (uint16_t)(qp_float_to_half(-product) + any() % 3 - 1);
    const uint16_t kinds[] = {any(), near, (uint16_t)(any() & 0x83ff), (uint16_t)(any() | 0x7400)};
    uint16_t *at = in + i / 2 * 2 * SOURCES + i % 2;
    at[0] = x;
    at[2] = y;
    at[4] = kinds[any() % 4];
  }
}

/* 'pair': of both halves of words, else of the lower ones. */
static void run(kit *k, unsigned i, bool pair, const uint16_t *in) {
  char body[1024];
  const char *registers = pair ? "%r1, %r2, %r3" : "%h1, %h2, %h3";
  const char *last = pair ? ", %r4" : ", %h4";
  snprintf(body, sizeof body,
           "mul.wide.u32 %%d3, %%r0, 12; add.s64 %%d3, %%d0, %%d3; mov.u32 %%r1, 0;\n"
           "ld.global.u32 %%r2, [%%d3]; ld.global.u32 %%r3, [%%d3+4]; ld.global.u32 %%r4, "
           "[%%d3+8];\n"
           "cvt.u16.u32 %%h2, %%r2; cvt.u16.u32 %%h3, %%r3; cvt.u16.u32 %%h4, %%r4;\n"
           "%s%s %s%s;\n%s st.global.u32 [%%d2], %%r1;\n",
           ops[i].name, pair ? "x2" : "", registers, ops[i].sources == 3 ? last : "",
           pair ? "" : "cvt.u32.u16 %r1, %h1;");
  cr_assert_eq(kit_run(k, "", body, 1, THREADS, 0), QP_OK, "%s", k->err.text);
  for (unsigned t = 0; t < THREADS; t++) {
    for (unsigned half = 0; half < (pair ? 2 : 1); half++) {
      const uint16_t *at = in + t * 2 * SOURCES + half;
      uint16_t got;
      memcpy(&got, k->result + 4 * t + 2 * half, sizeof got);
      cr_assert_eq(got, expected(i, at[0], at[2], at[4]), "%s %04x %04x %04x: %04x, not %04x",
                   ops[i].name, at[0], at[2], at[4], got, expected(i, at[0], at[2], at[4]));
    }
  }
}

Test(sim_half, arithmetic_is_rounded_once_whatever_the_numbers) {
  uint16_t in[THREADS * 2 * SOURCES];
  for (unsigned r = 0; r < RUNS; r++) {
    kit k;
    make(in);
    kit_open(&k, "sim");
    kit_buffers(&k, in, sizeof in, 4 * THREADS);
    for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
      run(&k, i, true, in);
      run(&k, i, false, in);
    }
    kit_close(&k);
  }
}
