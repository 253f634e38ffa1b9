/* SPDX-License-Identifier: MIT */
/* What stands between two steps of the trellis search: sums are levelled and turned alike by every
** instruction set, and no path stays none. */
#include "gen/encode/trellis_step.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/encode/sample.h"

enum { MOST = 1 << 13 };

static qp_error err;
static _Alignas(64) uint16_t before[MOST], least[3][MOST], sum[3][2 * MOST];
static const char *const isa[] = {"plain", "avx2", "avx512"};

/* Fewer columns than 32 and more, rows that are no whole number of eight, more groups than a tile
   has. */
static const unsigned kinds[][2] = {{12, 1}, {12, 2}, {12, 3}, {12, 4}, {13, 4},
                                    {12, 6}, {14, 6}, {6, 2},  {10, 5}, {15, 4}};

/* Sums of which every 'none'-th is no path; beyond the groups they are repeated. */
static void make_sums(const qp_trellis *t, unsigned none) {
  qp_random random = {7};
  for (unsigned g = 0; g < t->tiles * QP_TRELLIS_LANES; g++) {
    const unsigned v = 300 + (unsigned)(qp_random_next(&random) % 60000);
    before[g] = (uint16_t)(g % none == none - 1 ? QP_NO_PATH : v);
    if (g >= t->groups) before[g] = before[g % t->groups];
  }
}

static void turn_with(unsigned n, const qp_trellis *t) {
  memcpy(least[n], before, sizeof before);
  memset(sum[n], 0, sizeof sum[n]);
  setenv("QPAL_ISA", isa[n], 1);
  qp_trellis_step_choose().turn(t, least[n], sum[n], false);
  unsetenv("QPAL_ISA");
}

static void expect_turned(const qp_trellis *t) {
  unsigned lowest = QP_NO_PATH;
  for (unsigned g = 0; g < t->groups; g++) lowest = before[g] < lowest ? before[g] : lowest;
  for (unsigned n = 0; n < 3; n++) {
    turn_with(n, t);
    for (unsigned g = 0; g < t->groups; g++) {
      const bool path = before[g] < QP_NO_PATH || lowest == QP_NO_PATH;
      const unsigned wanted = path ? before[g] - lowest : QP_NO_PATH;
      const unsigned column = g / t->turned, row = g % t->turned;
      cr_assert_eq(least[n][g], wanted, "%s, %u bits, steps of %u: group %u", isa[n], t->window,
                   t->step, g);
      cr_assert_eq(sum[n][row * t->stride + column], wanted, "%s, %u bits, steps of %u: [%u][%u]",
                   isa[n], t->window, t->step, row, column);
    }
    cr_expect_arr_eq(sum[n], sum[0], sizeof sum[n], "%s", isa[n]);
  }
}

Test(trellis_step, sums_are_levelled_and_turned_and_no_path_stays_none) {
  static float values[1 << 15];
  qp_sample_gaussian(3, 1 << 15, values);
  for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    qp_trellis t;
    cr_assert_eq(qp_trellis_make(&t, kinds[k][0], kinds[k][1], 1, values, &err), QP_OK, "%s",
                 err.text);
    make_sums(&t, 5);
    expect_turned(&t);
    make_sums(&t, 1);
    expect_turned(&t);
    qp_trellis_free(&t);
  }
}
