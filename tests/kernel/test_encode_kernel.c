/* SPDX-License-Identifier: MIT */
/* The encode kernels in the simulator: the CPU's codes, bit for bit, by the command a user has. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_by(const char *op, const char *device, const char *quantizer) {
  char command[1024], line[512], all[8192] = "";
  snprintf(command, sizeof command, "%s/qpal check %s --op %s --device %s 2>&1", QP_BINARY_DIR,
           quantizer, op, device);
  FILE *f = popen(command, "r");
  cr_assert_not_null(f);
  while (fgets(line, sizeof line, f))
    if (strlen(all) + strlen(line) < sizeof all) strcat(all, line);
  cr_expect_eq(pclose(f), 0, "%s: %s", quantizer, all);
  cr_expect(strstr(all, "PASS") != NULL, "%s: %s", quantizer, all);
}

static void check_on(const char *device, const char *quantizer) {
  check_by("encode", device, quantizer);
}
static void check(const char *quantizer) { check_on("sim:sm_90:2", quantizer); }

/* More groups than threads, fewer, one, more than registers hold; one, two and four weights a step;
   steps beyond a byte; a block for each pair, whose sums and numbers are read several at once. */
Test(encode_kernel, small_trellises_get_the_codes_of_the_cpu) {
  static const char *const names[] = {"small10-8-4", "small12-3-1", "small12-6-2"};
  char path[512];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/tests/kernel/encode_small.lua:%s", QP_SOURCE_DIR, names[i]);
    check(path);
  }
  check_by("encode --shape 16x64", "sim:sm_90:16",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:small14-1-4");
}

/* Distances of one weight's values are found once a step; before sm_90 sums have room for three. */
Test(encode_kernel, a_trellis_of_many_values_gets_the_codes_of_the_cpu) {
  check_by("encode --shape 16x64", "sim:sm_75:16",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:levels14-6-2");
}

/* Distances are computed for each state; with outliers, beyond 16 bits. */
Test(encode_kernel, a_trellis_with_a_codebook_of_the_linear_gets_the_codes_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/kernel/encode_small.lua:own10-9-2");
}

/* There sums are compared as fp16 numbers, which hold less. */
Test(encode_kernel, steps_with_sums_beyond_what_fast_ones_hold_are_made_again) {
  check_on("sim:sm_80:2", QP_SOURCE_DIR "/tests/kernel/encode_small.lua:small9-1-1");
}

Test(encode_kernel, vectors_in_several_pieces_get_the_codes_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/kernel/encode_small.lua:pieces8");
}

/* More survivors than a stage has codes, stages in another order than their bits. */
Test(encode_kernel, codes_in_stages_are_those_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/kernel/encode_small.lua:stages8");
}

Test(encode_kernel, group_fields_that_turn_levels_around_are_those_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/kernel/encode_small.lua:falls4");
}

Test(encode_kernel, fields_that_scale_vectors_are_those_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/kernel/encode_small.lua:scaled4");
}

/* Of several types, beside a number that no field sets. */
Test(encode_kernel, fields_that_add_up_are_those_of_the_cpu) {
  check(QP_SOURCE_DIR "/tests/encode/sums.lua:shifted");
}

/* Paths that are given up and all that stay; two weights a step and one; before sm_90, too; of
   states that decode to what those that mirror them do. */
Test(encode_kernel, errors_of_small_trellises_are_fed_forward_as_by_the_cpu) {
  static const char *const names[] = {"small15-5-2", "small8-2-1", "mirrored12-6-2"};
  char path[512];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/tests/kernel/encode_small.lua:%s", QP_SOURCE_DIR, names[i]);
    check_by("encode-fed --shape 16x64", i ? "sim:sm_90:2" : "sim:sm_80:2", path);
  }
}

Test(encode_kernel, errors_of_pairs_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x96", "sim:sm_90:2", "vq2-2");
}

/* Codewords that shared memory does not hold. */
Test(encode_kernel, errors_of_scalars_of_many_codes_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x32", "sim:sm_75:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:far13");
}

/* Of four weights by one table, of eight in stages by a codebook of the linear. */
Test(encode_kernel, errors_of_vectors_in_several_rows_are_fed_forward_as_by_the_cpu) {
  static const char *const names[] = {"four6", "stages8"};
  char path[512];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/tests/kernel/encode_small.lua:%s", QP_SOURCE_DIR, names[i]);
    check_by("encode-fed --shape 16x64", "sim:sm_90:2", path);
  }
}

/* All columns of three blocks for the same errors, the last ones padding; beside sparse entries. */
Test(encode_kernel, errors_of_vectors_that_end_between_columns_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x224", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:table6-6");
  check_by("encode-fed --shape 16x224", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:table3-6");
}

Test(encode_kernel, errors_are_fed_forward_into_sparse_entries_beside_trellises_and_vectors) {
  static const char *const names[] = {"encode/sparse.lua:trellis-sparse",
                                      "kernel/encode_small.lua:scaled4-sparse"};
  char path[512];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/tests/%s", QP_SOURCE_DIR, names[i]);
    check_by("encode-fed --shape 16x96", "sim:sm_90:2", path);
  }
}

/* Of a triangle, of its transpose, of all of a matrix: by the seed. */
Test(encode_kernel, products_of_rows_are_those_of_the_cpu) {
  char op[64];
  for (unsigned seed = 1; seed <= 3; seed++) {
    snprintf(op, sizeof op, "rows-product --few --seed %u", seed);
    check_by(op, "sim:sm_90:2", "");
  }
}

/* Errors pass on within the larger group, and to the next, which is not whole. */
Test(encode_kernel, errors_of_fields_of_two_sizes_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x64", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:sizes2");
}

/* Within the larger group, and to the next, which is not whole. */
Test(encode_kernel, errors_of_fields_that_scale_vectors_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x64", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:scaled4");
  check_by("encode-fed --shape 16x544", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:scaled4-row");
}

/* Of four weights a code, in two groups. */
Test(encode_kernel, errors_of_fields_that_add_up_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x64", "sim:sm_90:2", QP_SOURCE_DIR "/tests/encode/sums.lua:four");
}

/* A scale that may be negative, a last group of few columns. */
Test(encode_kernel, errors_of_group_fields_are_fed_forward_as_by_the_cpu) {
  check_by("encode-fed --shape 16x160", "sim:sm_90:2",
           QP_SOURCE_DIR "/tests/kernel/encode_small.lua:falls4");
}
