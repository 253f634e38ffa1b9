/* SPDX-License-Identifier: MIT */
/* What stands between two steps of the search forward: by every instruction set the same sums are
** counted, taken and turned. */
#include "gen/encode/trellis_push.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/encode/sample.h"

enum { N = 160, MOST = 1 << 14 };

static qp_error err;
static const char *const isa[] = {"plain", "avx2", "avx512"};

static qp_trellis_push push_with(unsigned n) {
  setenv("QPAL_ISA", isa[n], 1);
  const qp_trellis_push push = qp_trellis_push_choose();
  unsetenv("QPAL_ISA");
  return push;
}

/* All that a limit may be, among sums of which some are the limit itself, one less, and no path. */
Test(trellis_push, sums_below_a_limit_are_counted_and_levelled_all_others_are_no_path) {
  static const unsigned limits[] = {0, 1, 40, 1000, 40000, QP_NO_PATH - 1, QP_NO_PATH};
  qp_random random = {5};
  for (unsigned l = 0; l < sizeof limits / sizeof *limits; l++) {
    _Alignas(64) uint16_t sums[N], got[N];
    const unsigned limit = limits[l], lowest = limit ? limit / 2 : 0;
    unsigned below = 0;
    for (unsigned i = 0; i < N; i++) {
      const unsigned some = lowest + (unsigned)(qp_random_next(&random) % (QP_NO_PATH - lowest));
      const unsigned kind = i % 5;
      sums[i] = (uint16_t)(kind == 0            ? limit
                           : kind == 1 && limit ? limit - 1
                           : kind == 2          ? QP_NO_PATH
                                                : some);
      below += sums[i] < limit;
    }
    for (unsigned n = 0; n < 3; n++) {
      memcpy(got, sums, sizeof sums);
      cr_expect_eq(push_with(n).count(N, sums, limit), below, "%s, limit %u", isa[n], limit);
      push_with(n).level(N, lowest, limit, got);
      for (unsigned i = 0; i < N; i++)
        cr_assert_eq(got[i], sums[i] < limit ? sums[i] - lowest : QP_NO_PATH, "%s, limit %u: %u",
                     isa[n], limit, sums[i]);
    }
  }
}

Test(trellis_push, rows_of_codes_become_sums_by_group) {
  static const unsigned kinds[][2] = {{12, 2}, {12, 4}, {14, 4}, {14, 6}, {13, 5}, {8, 3}};
  static _Alignas(64) uint16_t out[8 * MOST], sums[MOST];
  static float values[MOST];
  qp_sample_gaussian(3, MOST, values);
  for (unsigned i = 0; i < 8 * MOST; i++) out[i] = (uint16_t)(i * 40503u >> 3);
  for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    qp_trellis t;
    cr_assert_eq(qp_trellis_make(&t, kinds[k][0], kinds[k][1], 1, values, &err), QP_OK, "%s",
                 err.text);
    const unsigned stride = qp_push_stride(&t), rows = t.groups / t.fan;
    for (unsigned n = 0; n < 3; n++) {
      memset(sums, 0, sizeof sums);
      push_with(n).turn(&t, out, sums);
      for (unsigned g = 0; g < t.groups; g++)
        cr_assert_eq(sums[g], out[(size_t)(g % rows) * stride + g / rows],
                     "%s, %u bits, steps of %u: group %u", isa[n], t.window, t.step, g);
    }
    qp_trellis_free(&t);
  }
}
