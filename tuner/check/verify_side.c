/* SPDX-License-Identifier: MIT */
/* The input side of a check: signs, an order and scales of the columns, in double precision. */
#include <stdlib.h>

#include "gen/base/hadamard.h"
#include "gen/base/rotate.h"
#include "runtime/half.h"
#include "tuner/check/verify_internal.h"

/* Any order: each column changes places with one that follows. */
static void shuffle(qp_check *c, uint16_t *order, unsigned n) {
  for (unsigned k = 0; k < n; k++) order[k] = (uint16_t)k;
  for (unsigned k = 0; k + 1 < n; k++) {
    const unsigned other = k + (unsigned)(qp_random_next(&c->random) % (n - k));
    const uint16_t kept = order[k];
    order[k] = order[other];
    order[other] = kept;
  }
}

qp_status qp_check_make_side(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  const size_t bytes = qp_side_bytes(p->columns, p->rotation);
  c->signs = qp_check_host(c, bytes);
  c->turned = qp_check_host(c, p->columns * sizeof *c->turned);
  if (!c->signs || !c->turned) return QP_E_NOMEM;
  for (size_t i = 0; i < bytes / 4; i++) c->signs[i] = (uint32_t)qp_random_next(&c->random);
  unsigned char *side = (unsigned char *)c->signs;
  if (qp_side_has_order(p->rotation))
    shuffle(c, (uint16_t *)(void *)(side + qp_side_order_at(p->columns)), p->columns);
  uint16_t *scale = (uint16_t *)(void *)(side + qp_side_scale_at(p->columns, p->rotation));
  for (unsigned k = 0; k < p->columns && qp_side_has_scale(p->rotation); k++)
    scale[k] = qp_float_to_half((float)qp_random_uniform(&c->random, 0.5, 2));
  return qp_check_buffer(c, c->signs, bytes, &c->args.signs);
}

void qp_check_turn(const qp_check *c, bool back, double *v) {
  const qp_problem *p = &c->k->problem;
  const qp_input in = qp_input_of(p->columns, p->rotation, c->signs);
  double *y = c->turned;
  qp_hadamard h;
  qp_hadamard_factor_blocks(p->columns, in.block, &h);
  if (back) qp_hadamard_apply_transposed(&h, v, v);
  for (unsigned k = 0; k < p->columns; k++) {
    const unsigned to = in.order ? in.order[k] : k;
    const double d = in.scale ? (double)qp_half_to_float(in.scale[k]) : 1;
    const double signed_d = in.signs[k / 32] >> (k % 32) & 1 ? -d : d;
    y[back ? k : to] = v[back ? to : k] * signed_d;
  }
  for (unsigned k = 0; k < p->columns; k++) v[k] = y[k];
  if (!back) qp_hadamard_apply(&h, v, v);
}
