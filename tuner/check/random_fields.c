/* SPDX-License-Identifier: MIT */
/* Random group fields that make sense. */
#include "tuner/check/random_fields.h"

#include <math.h>

#include "runtime/half.h"

static uint32_t draw(qp_random *random, const qp_field *f) {
  const bool integer = qp_field_row_of(f->type)->integer;
  const double v = qp_random_uniform(random, f->lo, integer ? f->hi + 1 : f->hi);
  return qp_field_raw(f->type, integer ? floor(v) : v);
}

/* Draw sparse entries: columns that ascend, one in each of as many ranges; in some rows the first
   stand for nothing. */
static void random_sparse(qp_random *random, const qp_stream *s, uint8_t *array) {
  for (unsigned row = 0; row < s->row_groups * QP_GROUP_ROWS; row++)
    for (unsigned e = row % 3 ? 0 : s->sparse / 2; e < s->sparse; e++) {
      const unsigned first = s->columns * e / s->sparse, end = s->columns * (e + 1) / s->sparse;
      const unsigned column = first + (unsigned)(qp_random_next(random) % (end - first));
      const uint16_t value = qp_double_to_half(qp_random_uniform(random, -8, 8));
      qp_layout_set_sparse(s, row, e, array, column | (uint32_t)value << 16);
    }
}

void qp_random_fields(qp_random *random, const qp_stream *s, uint8_t *const array[QP_MAX_ARRAYS]) {
  const unsigned columns = s->superblocks * s->period.blocks * QP_BLOCK_COLUMNS;
  for (unsigned f = 0; f < s->quantizer->fields; f++) {
    const qp_field *field = &s->quantizer->field[f];
    uint8_t *to = array[qp_layout_array(f)];
    const uint32_t one = draw(random, field);
    for (unsigned row = 0; row < s->row_groups * QP_GROUP_ROWS; row++)
      for (unsigned c = 0; c < columns; c += field->size ? field->size : columns)
        qp_layout_set_field(s, f, row, c, to, field->tensor ? one : draw(random, field));
  }
  if (s->sparse) random_sparse(random, s, array[qp_layout_sparse_array(s->quantizer)]);
}
