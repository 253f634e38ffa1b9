/* SPDX-License-Identifier: MIT */
#include "tuner/tune/schedule.h"

#include <math.h>

double qp_stake_worth(const qp_stake *s) {
  if (!s->best_ps) return 0;
  const double best = (double)s->best_ps, rival = (double)s->rival_ps;
  const double fastest = s->rival_ps && rival < best ? rival : best;
  const double excess = fmax(0, fastest - (double)s->floor_ps);
  return (s->launches ? s->launches : 1) * excess * fastest / best;
}

/* Larger is sooner. */
static double urgency(const qp_stake *s) {
  if (!s->tried) return INFINITY;
  if (!s->best_ps) return s->tried < QP_STAKE_FAILURES ? 0x1p1000 / s->tried : 0;
  return qp_stake_worth(s) / s->tried;
}

size_t qp_schedule_next(const qp_stake *stake, size_t n) {
  size_t best = n;
  double most = -1;
  for (size_t i = 0; i < n; i++) {
    if (stake[i].closed || urgency(&stake[i]) <= most) continue;
    most = urgency(&stake[i]);
    best = i;
  }
  return best;
}
