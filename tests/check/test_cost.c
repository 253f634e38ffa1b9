/* SPDX-License-Identifier: MIT */
/* Costs that the simulator counts, beside what the decodes' instructions say. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tuner/check/cost.h"
#include "tuner/base/session.h"

static qp_session session;
static qp_compiler *compiler;
static qp_error err;

static void open_all(void) {
  const qp_compiler_options options = {.workers = 1};
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_compiler_open(&options, &compiler, &err), QP_OK, "%s", err.text);
}

static void close_all(void) {
  qp_compiler_close(compiler);
  qp_session_close(&session);
}

TestSuite(cost, .init = open_all, .fini = close_all);

static qp_cost cost_of(const char *name) {
  const qp_quantizer **q;
  size_t n;
  qp_cost cost;
  cr_assert_eq(qp_session_quantizers(&session, name, &q, &n, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_cost_count(session.families, compiler, q[0], 90, &cost, &err), QP_OK, "%s",
               err.text);
  free(q);
  return cost;
}

/* s * C + D against s * s + s and a sign that its table has unfolded: one multiplication a pair.
** Of its windows of 17 bits fewer lie where they need no shift. */
Test(cost, a_linear_hash_saves_an_instruction_for_two_weights) {
  const qp_cost published = cost_of("tcq-3"), linear = cost_of("lin-3");
  cr_assert_leq(published.instructions - linear.instructions, 0.5 + 1e-9);
  cr_assert_geq(published.instructions - linear.instructions, 0.45);
  cr_assert_float_eq(published.wavefronts, linear.wavefronts, 1e-9);
}

/* One of each family, and with $QPAL_ALL (tests/nightly) all: two kernels are compiled for each. */
Test(cost, trained_codes_cost_no_more_than_the_published_one_at_their_rate) {
  static const char *const codes[][2] = {
      {"lin-3", "tcq-3"},      {"wide-3", "tcq-3"},     {"mix-5", "tcq-5"}, {"wide-2", "tcq-2"},
      {"wide-2.5", "tcq-2.5"}, {"wide-3.5", "tcq-3.5"}, {"lin-2", "tcq-2"}, {"mix-3.5", "tcq-3.5"},
      {"mix-4", "tcq-4"},      {"mix-4.5", "tcq-4.5"}};
  const size_t count = getenv("QPAL_ALL") ? sizeof codes / sizeof *codes : 3;
  for (size_t i = 0; i < count; i++) {
    const double ours = cost_of(codes[i][0]).slots, published = cost_of(codes[i][1]).slots;
    cr_expect_leq(ours, published + 1e-9, "%s: %g, %s: %g", codes[i][0], ours, codes[i][1],
                  published);
  }
}

/* 512 entries and a sign fit 32 times into shared memory, 2048 and a sign only 8 times: four lanes
** then share four banks, and the fullest of 8 x 4 banks serves 2 to 4 of them. */
Test(cost, tables_with_fewer_copies_than_lanes_cost_wavefronts) {
  const qp_cost small = cost_of("tcq-3"), large = cost_of("tcq-5");
  cr_assert_geq(large.wavefronts - small.wavefronts, 0.5 * (2 - 1));
  cr_assert_leq(large.wavefronts - small.wavefronts, 0.5 * (4 - 1));
  cr_assert_float_eq(small.slots, small.instructions, 1e-9);
  cr_assert_float_eq(large.slots, 4 * large.wavefronts, 1e-9);
}
