/* SPDX-License-Identifier: MIT */
/* Targets and beginnings of sequences in flight. */
#include "gen/encode/trellis_flight.h"

#include <assert.h>

void qp_flight_target(const qp_trellis *t, const qp_flight *f, unsigned at,
                      int16_t x[QP_TRELLIS_DIM]) {
  unsigned step = f->first + at;
  if (step >= f->steps) step -= f->steps;
  const float *target = f->target + (size_t)step * t->dim;
  for (unsigned i = 0; i < t->dim; i++) x[i] = (int16_t)qp_metric_target(&t->metric, target[i]);
}

void qp_flight_leave_start(const qp_trellis *t, const qp_flight *f, const int16_t *x,
                           uint16_t *least) {
  const size_t width = qp_flight_width(t);
  assert(t->groups > 0);
  for (size_t g = 0; g < t->groups; g++) least[g] = QP_NO_PATH;
  for (uint32_t code = 0; code < t->fan; code++) {
    const uint32_t state = code << (t->window - t->step) | f->start, g = state >> t->step;
    const int16_t *value = t->by_group + (size_t)g * t->dim * t->fan + (state & (t->fan - 1));
    unsigned v = 0;
    for (unsigned i = 0; i < t->dim; i++)
      v += qp_metric_square(&t->metric, x[i], value[i * t->fan]);
    if (v < least[g]) least[g] = (uint16_t)v;
    if (f->even && v < least[t->groups - 1 - g]) least[t->groups - 1 - g] = (uint16_t)v;
  }
  for (size_t g = t->groups; g < width; g++) least[g] = least[g % t->groups];
}
