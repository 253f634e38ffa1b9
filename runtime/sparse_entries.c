/* SPDX-License-Identifier: MIT */
/* Checks the sparse entries of packed weights, which a damaged file may have in any order. */
#include "runtime/sparse_entries.h"

#include <stdio.h>
#include <string.h>

enum { GROUP_ROWS = 32 };

/* Check one row; its words lie GROUP_ROWS apart. */
static bool row_is_right(const unsigned char *word, const qp_sparse_array *a, uint64_t row,
                         char *why, size_t size) {
  uint32_t last = 0;
  bool begun = false;
  for (uint64_t e = 0; e < a->entries; e++) {
    uint32_t entry;
    memcpy(&entry, word + 4 * GROUP_ROWS * e, sizeof entry);
    const uint32_t column = entry & 0xffff;
    if (!entry && !begun) continue;
    if (column >= a->columns)
      return snprintf(why, size, "row %llu has a sparse entry of column %u; there are %llu",
                      (unsigned long long)row, column, (unsigned long long)a->columns),
             false;
    if (begun && column <= last)
      return snprintf(why, size, "row %llu has a sparse entry of column %u behind one of column %u",
                      (unsigned long long)row, column, last),
             false;
    if ((entry >> 26 & 31) == 31)
      return snprintf(why, size, "row %llu has a sparse entry of column %u that is no number",
                      (unsigned long long)row, column),
             false;
    last = column;
    begun = true;
  }
  return true;
}

bool qp_sparse_is_right(const qp_sparse_array *a, char *why, size_t size) {
  const uint64_t piece = a->bytes / a->row_groups, own = 4 * GROUP_ROWS * a->entries;
  if (a->bytes % a->row_groups || piece < own)
    return snprintf(why, size, "%llu bytes for %llu row groups have no room for %llu entries a row",
                    (unsigned long long)a->bytes, (unsigned long long)a->row_groups,
                    (unsigned long long)a->entries),
           false;
  for (uint64_t row = 0; row < a->row_groups * GROUP_ROWS; row++) {
    const unsigned char *group = (const unsigned char *)a->data + row / GROUP_ROWS * piece;
    if (!row_is_right(group + (piece - own) + 4 * (row % GROUP_ROWS), a, row, why, size))
      return false;
  }
  return true;
}
