/* SPDX-License-Identifier: MIT */
/* Targets find the nearest level, and the sums of a fit are those of the definition. */
#include <criterion/criterion.h>
#include <math.h>

#include "gen/base/simd.h"
#include "gen/encode/levels.h"
#include "gen/encode/sample.h"

enum { TARGETS = 93 }; /* not whole vectors */

static qp_error err;

/* Even, up to 16 and more than 16 uneven levels. */
static qp_levels make(unsigned kind) {
  double value[100];
  qp_levels l;
  const unsigned count = kind == 0 ? 7 : kind == 1 ? 11 : 100;
  for (unsigned i = 0; i < count; i++) {
    const double at = (double)i - count / 2.0;
    value[i] = kind ? at * fabs(at) / count : -3.25 + 0.5 * i;
  }
  cr_assert_eq(qp_levels_make(&l, count, value, &err), QP_OK, "%s", err.text);
  cr_assert_eq(l.even, kind == 0);
  return l;
}

Test(levels, sums_are_those_of_the_nearest_levels) {
  float x[TARGETS];
  qp_sample_gaussian(3, TARGETS, x);
  for (unsigned kind = 0; kind < 3; kind++) {
    for (int sign = -1; sign < 2; sign += 2) {
      qp_levels l = make(kind);
      const double a = sign * (kind == 0 ? 0.7 : kind == 1 ? 0.9 : 0.17), b = 0.31;
      qp_level_sums is, want = {.n = TARGETS};
      qp_levels_fit(&l, TARGETS, x, a, b, &is);
      for (unsigned i = 0; i < TARGETS; i++) {
        double e = INFINITY, u = 0;
        for (unsigned k = 0; k < l.count; k++) {
          const double other = (double)x[i] - (a * (double)l.value[k] + b);
          if (fabs(other) < fabs(e)) e = other, u = (double)l.value[k];
        }
        want.ee += e * e;
        want.eu += e * u;
        want.e += e;
        want.u += u;
        want.uu += u * u;
      }
      const double got[] = {is.ee, is.eu, is.e, is.u, is.uu, is.n};
      const double is_to_be[] = {want.ee, want.eu, want.e, want.u, want.uu, want.n};
      for (unsigned i = 0; i < 6; i++)
        cr_expect_float_eq(got[i], is_to_be[i], 1e-5 * (1 + fabs(is_to_be[i])),
                           "kind %u, sum %u: %g, not %g", kind, i, got[i], is_to_be[i]);
      qp_levels_free(&l);
    }
  }
}

Test(levels, sums_do_not_depend_on_the_instruction_set) {
  float x[TARGETS];
  qp_sample_gaussian(4, TARGETS, x);
  for (unsigned kind = 0; kind < 3; kind++) {
    for (unsigned n = TARGETS - 8; n <= TARGETS; n++) {
      qp_levels l = make(kind);
      qp_level_sums plain, best;
      qp_levels_fit(&l, n, x, 0.4, -0.1, &best);
      l.simd = QP_SIMD_PLAIN;
      qp_levels_fit(&l, n, x, 0.4, -0.1, &plain);
      cr_expect_arr_eq(&plain, &best, sizeof plain, "kind %u, %u targets", kind, n);
      qp_levels_free(&l);
    }
  }
}

Test(levels, a_scale_of_zero_gives_every_target_one_value) {
  const float x[4] = {-2, 0, 1, 3};
  qp_levels l = make(1);
  qp_level_sums s;
  qp_levels_fit(&l, 4, x, 0, 0.5, &s);
  cr_expect_float_eq(s.ee, 6.25 + 0.25 + 0.25 + 6.25, 1e-6);
  qp_levels_free(&l);
}
