/* SPDX-License-Identifier: MIT */
/* Random group fields that make sense. */
#include "tuner/check/random_fields.h"

#include <math.h>

static uint32_t draw(qp_random *random, const qp_field *f) {
  const bool integer = qp_field_row_of(f->type)->integer;
  const double v = qp_random_uniform(random, f->lo, integer ? f->hi + 1 : f->hi);
  return qp_field_raw(f->type, integer ? floor(v) : v);
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
}
