/* SPDX-License-Identifier: MIT */
/* fp16 and bf16 conversions, against the formats' definition. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>

#include "runtime/half.h"

Test(half, every_half_survives_a_round_trip) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    const float f = qp_half_to_float((uint16_t)h);
    const bool nan = (h & 0x7fff) > QP_HALF_INF;
    cr_assert_eq(isnan(f) != 0, nan, "%04x", h);
    cr_assert_eq(qp_float_to_half(f), nan ? QP_HALF_NAN : h, "%04x", h);
    cr_assert_eq(qp_double_to_half((double)f), nan ? QP_HALF_NAN : h, "%04x", h);
  }
}

Test(half, every_bf16_survives_a_round_trip) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    const float f = qp_bf16_to_float((uint16_t)h);
    const bool nan = (h & 0x7fff) > QP_BF16_INF;
    cr_assert_eq(qp_float_to_bf16(f), nan ? QP_HALF_NAN : h, "%04x", h);
    cr_assert_eq(qp_double_to_bf16((double)f), nan ? QP_HALF_NAN : h, "%04x", h);
  }
}

Test(half, half_values_are_those_of_the_definition) {
  cr_assert_eq(qp_half_to_float(0x3c00), 1.0f);
  cr_assert_eq(qp_half_to_float(0xc000), -2.0f);
  cr_assert_eq(qp_half_to_float(0x7bff), 65504.0f);
  cr_assert_eq(qp_half_to_float(0x0001), 0x1p-24f);
  cr_assert_eq(qp_half_to_float(0x0400), 0x1p-14f);
  cr_assert(isinf(qp_half_to_float(0x7c00)));
}

/* Between two neighbours: just below, at and just above the middle. */
Test(half, rounds_to_nearest_with_ties_to_even) {
  for (uint32_t h = 0; h < 0x7bff; h++) {
    const double lo = (double)qp_half_to_float((uint16_t)h);
    const double hi = (double)qp_half_to_float((uint16_t)(h + 1));
    const double mid = (lo + hi) / 2;
    const uint32_t even = h & 1 ? h + 1 : h;
    cr_assert_eq(qp_double_to_half(mid), even, "%04x", h);
    cr_assert_eq(qp_double_to_half(nextafter(mid, 0)), h, "%04x", h);
    cr_assert_eq(qp_double_to_half(nextafter(mid, 1e9)), h + 1, "%04x", h);
    cr_assert_eq(qp_double_to_half(-mid), 0x8000 | even, "%04x", h);
    cr_assert_eq(qp_float_to_half((float)mid), even, "%04x", h);
  }
  cr_assert_eq(qp_double_to_half(65520.0), 0x7c00, "half way to 65536 overflows");
  cr_assert_eq(qp_double_to_half(nextafter(65520.0, 0)), 0x7bff);
  cr_assert_eq(qp_double_to_half(1e300), 0x7c00);
  cr_assert_eq(qp_double_to_half(-1e-300), 0x8000);
}

Test(half, bf16_rounds_to_nearest_with_ties_to_even) {
  for (uint32_t h = 0; h < 0x7f7f; h++) {
    const double lo = (double)qp_bf16_to_float((uint16_t)h);
    const double hi = (double)qp_bf16_to_float((uint16_t)(h + 1));
    const double mid = (lo + hi) / 2;
    const uint32_t even = h & 1 ? h + 1 : h;
    cr_assert_eq(qp_double_to_bf16(mid), even, "%04x", h);
    cr_assert_eq(qp_double_to_bf16(nextafter(mid, 0)), h, "%04x", h);
    cr_assert_eq(qp_double_to_bf16(nextafter(mid, 1e300)), h + 1, "%04x", h);
    cr_assert_eq(qp_float_to_bf16((float)mid), even, "%04x", h);
  }
  cr_assert_eq(qp_float_to_bf16(0x1.ffp127f), 0x7f80, "half way to 2^128 overflows");
  cr_assert_eq(qp_float_to_bf16(0x1.fdp127f), 0x7f7e, "a tie goes to the even neighbour");
}

/* Rounding to float first would lose the last bit and then see a tie. */
Test(half, a_double_is_rounded_once) {
  cr_assert_eq(qp_double_to_half(1.0 + 0x1p-11 + 0x1p-40), 0x3c01);
  cr_assert_eq(qp_double_to_half(1.0 + 0x1p-11), 0x3c00);
  cr_assert_eq(qp_double_to_bf16(1.0 + 0x1p-8 + 0x1p-40), 0x3f81);
}
