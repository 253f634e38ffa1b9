/* SPDX-License-Identifier: MIT */
#include "runtime/input_side.h"

#include <limits.h>
#include <stdio.h>

#include "runtime/half.h"

static unsigned half_at(const unsigned char *bytes, unsigned k) {
  return bytes[2 * k] | (unsigned)bytes[2 * k + 1] << 8;
}

static bool is_order(const unsigned char *order, unsigned columns, char *why, size_t size) {
  unsigned char taken[QP_SIDE_COLUMNS_MAX / CHAR_BIT] = {0};
  for (unsigned k = 0; k < columns; k++) {
    const unsigned to = half_at(order, k), bit = 1u << to % CHAR_BIT;
    if (to >= columns) {
      snprintf(why, size, "column %u goes to %u of %u", k, to, columns);
      return false;
    }
    if (taken[to / CHAR_BIT] & bit) {
      snprintf(why, size, "column %u goes to %u, where another goes", k, to);
      return false;
    }
    taken[to / CHAR_BIT] |= (unsigned char)bit;
  }
  return true;
}

static bool are_scales(const unsigned char *scale, unsigned columns, char *why, size_t size) {
  for (unsigned k = 0; k < columns; k++) {
    const unsigned d = half_at(scale, k);
    if ((d & 0x7fff) && (d & 0x7c00) != 0x7c00) continue;
    snprintf(why, size, "the scale of column %u is %g", k, (double)qp_half_to_float((uint16_t)d));
    return false;
  }
  return true;
}

bool qp_side_is_right(const void *side, unsigned columns, unsigned rotation, char *why,
                      size_t size) {
  const unsigned char *bytes = side;
  return (!qp_side_has_order(rotation) ||
          is_order(bytes + qp_side_order_at(columns), columns, why, size)) &&
         (!qp_side_has_scale(rotation) ||
          are_scales(bytes + qp_side_scale_at(columns, rotation), columns, why, size));
}
