/* SPDX-License-Identifier: MIT */
/* Arguments of launches: the words of each operation's list, in its order. */
#include "runtime/arguments.h"

#include <criterion/criterion.h>
#include <string.h>

static const qp_arguments some = {.x = 1,
                                  .y = 2,
                                  .signs = 3,
                                  .rows = 4,
                                  .x_stride = 13,
                                  .y_stride = 14,
                                  .stream = {{.codes = 5, .field = {6}, .codebook = {7, 8, 9, 10}}},
                                  .segment = {{.scale = 11, .y = 12}}};

Test(arguments, of_a_rotation_are_its_words_in_order) {
  const uint64_t expected[] = {1, 2, 3, 4, 13, 14};
  unsigned char got[QP_PARAMS_MAX];
  cr_assert_eq(qp_arguments_pack(QP_LAUNCH_ROTATE, &some, 0, 0, got), sizeof expected);
  cr_expect_arr_eq(got, expected, sizeof expected);
}

Test(arguments, of_a_dequant_are_powers_streams_and_segments) {
  const uint64_t behind[] = {5, 6, 0, 0, 0, 7, 8, 9, 10, 11, 12};
  unsigned char got[QP_PARAMS_MAX];
  uint32_t pow2[QP_ARGUMENT_POW2];
  cr_assert_eq(qp_arguments_pack(QP_LAUNCH_DEQUANT, &some, 1, 1, got), 64 + sizeof behind);
  memcpy(pow2, got, sizeof pow2);
  for (unsigned i = 0; i < QP_ARGUMENT_POW2; i++) cr_expect_eq(pow2[i], 1u << i);
  cr_expect_arr_eq(got + sizeof pow2, behind, sizeof behind);
}

Test(arguments, of_a_gemm_end_with_its_strides_which_older_kernels_do_without) {
  const qp_arguments a = {.x_stride = 1, .stride = {{2, 3}, {4, 5}}};
  const uint64_t behind[] = {1, 2 | 3ull << 32, 4 | 5ull << 32};
  unsigned char got[QP_PARAMS_MAX];
  const size_t close = qp_arguments_bytes_close(QP_LAUNCH_GEMM, 3, 2);
  cr_assert_eq(close, 48 + 64 + 3 * 72 + 2 * 32);
  cr_assert_eq(qp_arguments_pack(QP_LAUNCH_GEMM, &a, 3, 2, got), close + sizeof behind);
  cr_expect_arr_eq(got + close, behind, sizeof behind);
  cr_expect_eq(qp_arguments_bytes_close(QP_LAUNCH_ROTATE, 0, 0), 32);
  cr_expect_eq(qp_arguments_bytes_close(QP_LAUNCH_DEQUANT, 1, 1),
               qp_arguments_bytes(QP_LAUNCH_DEQUANT, 1, 1));
}

Test(arguments, take_the_bytes_that_are_counted_and_never_too_many) {
  unsigned char got[QP_PARAMS_MAX];
  for (unsigned launch = 0; launch < QP_LAUNCH_COUNT; launch++) {
    const size_t most = qp_arguments_bytes(launch, QP_ARGUMENT_STREAMS, QP_ARGUMENT_SEGMENTS);
    cr_expect_leq(most, QP_PARAMS_MAX);
    cr_expect_eq(qp_arguments_pack(launch, &some, QP_ARGUMENT_STREAMS, QP_ARGUMENT_SEGMENTS, got),
                 most);
  }
}
