/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <math.h>

#include "gen/base/random.h"
#include "gen/base/rotate.h"

enum { K = 96, ROWS = 40, BLOCK = 32 };

static float w[ROWS * K], rotated[ROWS * K], moments[K * K], around[K * K];
static uint32_t signs[(K + 31) / 32];

static void fill(float *values, size_t n, uint64_t seed) {
  qp_random random = {seed};
  for (size_t i = 0; i < n; i++) values[i] = (float)qp_random_uniform(&random, -1, 1);
}

static void make(const qp_input *in, unsigned threads) {
  qp_error err = {0};
  fill(w, ROWS * K, 1);
  fill(rotated, ROWS * K, 1);
  qp_rotate_signs("a.weight", 7, K, signs);
  cr_assert_eq(qp_rotate_rows(rotated, ROWS, in, threads, &err), QP_OK, "%s", err.text);
}

Test(rotate, rows_come_back_by_any_number_of_threads) {
  const qp_input in[] = {{.columns = K, .signs = signs},
                         {.columns = K, .block = BLOCK, .signs = signs}};
  for (unsigned i = 0; i < 4; i++) {
    qp_error err = {0};
    make(&in[i % 2], 1 + i);
    cr_assert_gt(fabsf(rotated[1] - w[1]), 1e-3f);
    cr_assert_eq(qp_rotate_rows_back(rotated, ROWS, &in[i % 2], 1 + i, &err), QP_OK);
    for (unsigned k = 0; k < ROWS * K; k++) cr_assert_float_eq(rotated[k], w[k], 1e-6);
  }
}

Test(rotate, blocks_leave_what_other_blocks_hold_alone) {
  const qp_input in = {.columns = K, .block = BLOCK, .signs = signs};
  make(&in, 1);
  for (unsigned row = 0; row < ROWS; row++)
    for (unsigned from = 0; from < K; from += BLOCK) {
      double before = 0, after = 0;
      for (unsigned k = row * K + from; k < row * K + from + BLOCK; k++) {
        before += (double)w[k] * w[k];
        after += (double)rotated[k] * rotated[k];
      }
      cr_assert_float_eq(before, after, 1e-5);
    }
}

Test(rotate, weights_without_signs_stay_as_they_are) {
  const qp_input in = {.columns = K};
  make(&in, 2);
  cr_assert_arr_eq(rotated, w, sizeof w);
}

static uint16_t order[K], scale[K];

/* Columns in another order, some twice or half as large. */
static qp_input with_columns(void) {
  for (unsigned k = 0; k < K; k++) {
    order[k] = (uint16_t)((k * 35 + 11) % K);
    scale[k] = k % 3 ? 0x3c00 : k % 2 ? 0x4000 : 0x3800;
  }
  return (qp_input){.columns = K, .block = BLOCK, .signs = signs, .order = order, .scale = scale};
}

Test(rotate, columns_go_to_their_places_and_are_divided_by_their_scales) {
  qp_input in = with_columns();
  qp_error err = {0};
  in.block = 1;
  make(&in, 2);
  for (unsigned i = 0; i < ROWS * K; i++) {
    const unsigned k = i % K, at = i - k + order[k];
    const float minus = signs[k / 32] >> (k % 32) & 1 ? -1 : 1;
    cr_assert_eq(rotated[at], minus * w[i] / (k % 3 ? 1 : k % 2 ? 2.0f : 0.5f));
  }
  in.block = BLOCK;
  make(&in, 2);
  cr_assert_eq(qp_rotate_rows_back(rotated, ROWS, &in, 2, &err), QP_OK);
  for (unsigned i = 0; i < ROWS * K; i++) cr_assert_float_eq(rotated[i], w[i], 1e-6);
}

/* The error that a change of weights causes is one number, rotated or not. */
Test(rotate, moments_turn_as_their_inputs_do) {
  const qp_input in = with_columns();
  qp_error err = {0};
  make(&in, 2);
  fill(around, K * K, 2);
  for (unsigned i = 0; i < K; i++)
    for (unsigned j = 0; j < K; j++) moments[i * K + j] = around[i * K + j] + around[j * K + i];
  for (unsigned i = 0; i < K * K; i++) around[i] = moments[i];
  cr_assert_eq(qp_rotate_moments(around, &in, 2, &err), QP_OK);
  double before = 0, after = 0;
  for (unsigned i = 0; i < K; i++)
    for (unsigned j = 0; j < K; j++) {
      before += (double)w[i] * moments[i * K + j] * w[j];
      after += (double)rotated[i] * around[i * K + j] * rotated[j];
    }
  cr_assert_float_eq(before, after, 1e-5 * (1 + fabs(before)));
}
