/* SPDX-License-Identifier: MIT */
/* Entries of a row that are stored apart; see sparse.h. */
#include "gen/encode/sparse.h"

#include <math.h>
#include <stdlib.h>

#include "runtime/half.h"

#define LARGEST_HALF 65504.0f

/* Compare by what entries weigh ('coded' here), the heaviest first; equal ones by column. */
static int by_weight(const void *a, const void *b) {
  const qp_sparse_entry *x = a, *y = b;
  if (x->coded != y->coded) return x->coded > y->coded ? -1 : 1;
  return x->column < y->column ? -1 : x->column > y->column;
}

static int by_column(const void *a, const void *b) {
  const qp_sparse_entry *x = a, *y = b;
  return x->column < y->column ? -1 : x->column > y->column;
}

void qp_sparse_take(unsigned n, unsigned columns, const float *column_weight, float *x,
                    qp_sparse_entry *scratch, qp_sparse_entry *out) {
  for (unsigned k = 0; k < columns; k++)
    scratch[k] = (qp_sparse_entry){
        .column = k, .weight = x[k], .coded = x[k] * x[k] * (column_weight ? column_weight[k] : 1)};
  qsort(scratch, columns, sizeof *scratch, by_weight);
  qsort(scratch, n, sizeof *scratch, by_column);
  for (unsigned i = 0; i < n; i++) {
    out[i] = (qp_sparse_entry){.column = scratch[i].column, .weight = scratch[i].weight};
    x[out[i].column] = 0;
  }
}

void qp_sparse_store(const qp_stream *s, unsigned row, const qp_sparse_entry *entry, float *wanted,
                     uint8_t *array) {
  unsigned at = s->sparse; /* words of 0 come first */
  for (unsigned i = s->sparse; i-- > 0;) {
    const float lacks = fminf(fmaxf(wanted[i] - entry[i].coded, -LARGEST_HALF), LARGEST_HALF);
    const uint16_t half = qp_float_to_half(lacks);
    wanted[i] = qp_half_to_float(qp_float_to_half(entry[i].coded + qp_half_to_float(half)));
    if (half & 0x7fff)
      qp_layout_set_sparse(s, row, --at, array, entry[i].column | (uint32_t)half << 16);
  }
  while (at > 0) qp_layout_set_sparse(s, row, --at, array, 0);
}
