/* SPDX-License-Identifier: MIT */
/* The table that encode kernels of vectors read. */
#include "gen/encode/stage_table.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "templates/stage_table.h"

static_assert((int)STAGES_MOST == (int)QP_MAX_STAGES && (int)STAGE_DIM == (int)QP_NEAREST_DIM &&
                  (int)STAGE_SURVIVORS == (int)QP_STAGE_SURVIVORS,
              "the table has room for all of a search");

/* |t|^2 and -2 t as qp_codewords_make has them. */
static void write_words(size_t count, unsigned dim, const float *values, float *to) {
  for (size_t c = 0; c < count; c++, to += 1 + dim) {
    to[0] = 0;
    for (unsigned e = 0; e < dim; e++) {
      to[0] = fmaf(values[c * dim + e], values[c * dim + e], to[0]);
      to[1 + e] = -2 * values[c * dim + e];
    }
  }
}

static stage_header header_of(const qp_coder *c, size_t *floats) {
  const qp_stages *s = &c->stages;
  const unsigned dim = c->quantizer->dim;
  stage_header h = {.stages = s->count ? s->count : 1};
  size_t at = sizeof h / sizeof(float);
  memcpy(h.base, s->base, sizeof h.base);
  for (unsigned k = 0; k < h.stages; k++) {
    stage_head *to = &h.stage[k];
    *to = (stage_head){.count = c->states, .words = (unsigned)at, .width = 1};
    if (s->count) {
      to->shift = s->stage[k].shift;
      to->count = 1u << s->stage[k].bits;
      to->width = qp_stages_width(s, k);
      to->most = s->stage[k].most;
    }
    at += (size_t)to->count * (1 + dim);
  }
  *floats = at;
  return h;
}

void *qp_stage_table_make(const qp_coder *c, size_t *bytes) {
  size_t floats;
  const stage_header h = header_of(c, &floats);
  float *out = malloc(*bytes = sizeof *out * floats);
  if (!out) return NULL;
  memcpy(out, &h, sizeof h);
  for (unsigned k = 0; k < h.stages; k++)
    write_words(h.stage[k].count, c->quantizer->dim,
                c->stages.count ? c->stages.stage[k].value : c->values, out + h.stage[k].words);
  return out;
}
