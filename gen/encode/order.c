/* SPDX-License-Identifier: MIT */
/* Orders columns by the diagonal of the Hessian. */
#include "gen/encode/order.h"

#include <stddef.h>
#include <stdlib.h>

typedef struct unit {
  unsigned column;
  double cost;
} unit;

static int compare_units(const void *a, const void *b) {
  const unit *x = a, *y = b;
  if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
  return x->column < y->column ? -1 : x->column > y->column;
}

bool qp_order_columns(const float *hessian, unsigned columns, unsigned first, unsigned count,
                      unsigned dim, unsigned *order) {
  const unsigned units = count / dim;
  unit *list = malloc(sizeof *list * (units + 1));
  if (!list) return false;
  for (unsigned u = 0; u < units; u++) {
    list[u] = (unit){.column = first + u * dim};
    for (size_t k = list[u].column; k < list[u].column + dim; k++)
      list[u].cost += (double)hessian[k * columns + k];
  }
  qsort(list, units, sizeof *list, compare_units);
  for (unsigned u = 0; u < units; u++)
    for (unsigned e = 0; e < dim; e++) order[first + u * dim + e] = list[u].column + e;
  free(list);
  return true;
}

void qp_order_hessian(const float *hessian, unsigned columns, const unsigned *order, float *out) {
  for (size_t i = 0; i < columns; i++) {
    const float *row = hessian + (size_t)order[i] * columns;
    for (size_t k = 0; k < columns; k++) out[i * columns + k] = row[order[k]];
  }
}
