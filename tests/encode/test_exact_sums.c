/* SPDX-License-Identifier: MIT */
/* Exact sums: those of whole numbers, with any vectors, and nothing beside them is touched. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "gen/base/random.h"
#include "gen/encode/exact_sums.h"

enum { ROWS = QP_EXACT_ROWS, COLUMNS = 210 };

static double errors[ROWS * COLUMNS], sums[ROWS * COLUMNS];
static float u[COLUMNS * COLUMNS];

/* Sums of up to 53 bits, so that one rounding anywhere would show: 25 bits by 20 by 2^8. */
static void make_numbers(void) {
  qp_random random = {1};
  for (unsigned i = 0; i < ROWS * COLUMNS; i++)
    errors[i] = (double)(qp_random_next(&random) % ((1 << 25) + 1)) - (1 << 24);
  for (unsigned i = 0; i < COLUMNS * COLUMNS; i++)
    u[i] = (float)((int)(qp_random_next(&random) % ((1 << 21) + 1)) - (1 << 20));
}

static long long by_hand(unsigned r, unsigned k, unsigned first, unsigned last) {
  long long sum = 0;
  for (unsigned i = first; i < last; i++)
    sum += (long long)errors[r * COLUMNS + i] * (long long)u[i * COLUMNS + k];
  return sum;
}

static void expect_sums(const char *isa, unsigned first, unsigned last, unsigned from, unsigned end,
                        long long more) {
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = 0; k < COLUMNS; k++) {
      const long long wanted = k >= from && k < end ? by_hand(r, k, first, last) + more : more;
      cr_assert_eq((long long)sums[r * COLUMNS + k], wanted, "%s, %u to %u of %u to %u: [%u][%u]",
                   isa, from, end, first, last, r, k);
    }
}

static void fill(double with) {
  for (unsigned i = 0; i < ROWS * COLUMNS; i++) sums[i] = with;
}

static const char *const isa[] = {"plain", "avx2", "avx512"};
static const unsigned edges[][3] = {{0, 0, 1},     {1, 3, 19},    {63, 70, 86},
                                    {64, 64, 128}, {65, 66, 209}, {200, 200, COLUMNS}};

Test(exact_sums, of_all_errors_so_far_they_are_those_of_whole_numbers) {
  make_numbers();
  for (unsigned s = 0; s < sizeof isa / sizeof *isa; s++)
    for (unsigned n = 0; n < sizeof edges / sizeof *edges; n++) {
      fill(5);
      setenv("QPAL_ISA", isa[s], 1);
      qp_exact_sums(COLUMNS, edges[n][0], edges[n][1], edges[n][2], errors, u, sums);
      unsetenv("QPAL_ISA");
      for (unsigned r = 0; r < ROWS; r++) /* they begin anew */
        for (unsigned k = edges[n][1]; k < edges[n][2]; k++) sums[r * COLUMNS + k] += 5;
      expect_sums(isa[s], 0, edges[n][0], edges[n][1], edges[n][2], 5);
    }
}

Test(exact_sums, later_errors_add_to_them) {
  make_numbers();
  for (unsigned s = 0; s < sizeof isa / sizeof *isa; s++)
    for (unsigned n = 0; n < sizeof edges / sizeof *edges; n++) {
      const unsigned at = edges[n][0], first = at < 8 ? 0 : at - 8;
      fill(7);
      setenv("QPAL_ISA", isa[s], 1);
      qp_exact_add(COLUMNS, first, at, edges[n][1], edges[n][2], errors, u, sums);
      unsetenv("QPAL_ISA");
      expect_sums(isa[s], first, at, edges[n][1], edges[n][2], 7);
    }
}
