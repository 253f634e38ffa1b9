/* SPDX-License-Identifier: MIT */
/* Sparse entries of packed weights, right and wrong. */
#include "runtime/sparse_entries.h"

#include <criterion/criterion.h>
#include <string.h>

enum { GROUPS = 2, ENTRIES = 3, COLUMNS = 300, BEFORE = 16, PIECE = BEFORE / 4 + 32 * ENTRIES };

/* Fields of 16 bytes, then entries: words of 0 first, columns 7 and 299 behind. */
static uint32_t array[GROUPS * PIECE];
static const qp_sparse_array all = {array, sizeof array, GROUPS, ENTRIES, COLUMNS};
static char why[128];

static uint32_t *entry(unsigned row, unsigned e) {
  return &array[row / 32 * PIECE + BEFORE / 4 + 32 * e + row % 32];
}

static void set_up(void) {
  memset(array, 0xff, sizeof array); /* what stands before is no entry */
  for (unsigned row = 0; row < 32 * GROUPS; row++) {
    *entry(row, 0) = 0;
    *entry(row, 1) = 7 | 0x3c00u << 16;
    *entry(row, 2) = 299 | 0xbc00u << 16;
  }
}

TestSuite(sparse_entries, .init = set_up);

static void expect_wrong(unsigned row, unsigned e, uint32_t word, const char *says) {
  const uint32_t before = *entry(row, e);
  *entry(row, e) = word;
  cr_expect_not(qp_sparse_is_right(&all, why, sizeof why), "%s", says);
  cr_expect_str_eq(why, says);
  *entry(row, e) = before;
}

Test(sparse_entries, that_ascend_are_right_behind_words_of_0) {
  cr_expect(qp_sparse_is_right(&all, why, sizeof why), "%s", why);
  *entry(5, 0) = 0x3c00u << 16; /* column 0 */
  *entry(6, 1) = 0;
  cr_expect(qp_sparse_is_right(&all, why, sizeof why), "%s", why);
}

Test(sparse_entries, of_a_damaged_file_are_refused_by_row_and_column) {
  expect_wrong(0, 2, 300 | 0x3c00u << 16, "row 0 has a sparse entry of column 300; there are 300");
  expect_wrong(63, 1, 299 | 0x3c00u << 16,
               "row 63 has a sparse entry of column 299 behind one of column 299");
  expect_wrong(33, 0, 8 | 0x3c00u << 16,
               "row 33 has a sparse entry of column 7 behind one of column 8");
  expect_wrong(31, 2, 0, "row 31 has a sparse entry of column 0 behind one of column 7");
  expect_wrong(9, 1, 7 | 0x7c00u << 16, "row 9 has a sparse entry of column 7 that is no number");
  expect_wrong(9, 1, 7 | 0xfe01u << 16, "row 9 has a sparse entry of column 7 that is no number");
}

Test(sparse_entries, without_room_for_them_are_refused) {
  qp_sparse_array small = all;
  small.entries = ENTRIES + 1;
  cr_expect_not(qp_sparse_is_right(&small, why, sizeof why));
  small = all, small.bytes -= 4;
  cr_expect_not(qp_sparse_is_right(&small, why, sizeof why));
}
