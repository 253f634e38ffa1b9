/* SPDX-License-Identifier: MIT */
/* What a search of paths counts in:  table of states --> scale of its whole numbers. */
#include "gen/encode/metric.h"

#include <math.h>

/* Largest magnitude and mean square of a table's values. */
static void measure_values(const float *values, size_t n, double *peak, double *power) {
  double most = 0, sum = 0;
  for (size_t i = 0; i < n; i++) {
    const double v = fabs((double)values[i]);
    most = v > most ? v : most;
    sum += v * v;
  }
  *peak = most;
  *power = sum / (double)n;
}

/*
** With e = 1 / scale, a sum's unit is  2^15 e^2 / 4^doublings  and its rounding has a variance of
** dim / 12 units^2, against a distortion of a step of  about 1.2 dim power 2^(-2 step / dim):
** rounding adds the ratio of the two squares to the distortion, relatively.  'coarse' is the unit
** at which that is 0.1 %. Differences that cannot be beyond 16 bits are best, as nothing has to be
** clipped: x^ may then be as far out as t^'s peak leaves room. */
qp_metric qp_metric_choose(unsigned step, unsigned dim, size_t states, const float *values) {
  enum { FINER = 4, FARTHEST = 8 };
  const double most = 32767, margin = 0.75;
  double peak, power;
  qp_metric m = {0};
  measure_values(values, states * dim, &peak, &power);
  const double rms = sqrt(power), rate = (double)step / dim;
  const double coarse = 0.13 * power * exp2(-2 * rate) * sqrt(dim);
  if (!(power > 0)) peak = 1;
  if (power > 0 && peak > FARTHEST * rms) peak = FARTHEST * rms;
  const double reach = peak + margin * rms;
  double e = (peak + reach) / most;
  m.clips = power > 0 && 0x1p15 * e * e > coarse;
  if (m.clips) {
    e = reach / most;
    while (m.doublings < 2 && 0x1p15 * e * e / exp2(2 * m.doublings) > coarse) m.doublings++;
  } else if (0x1p15 * e * e < coarse / FINER) {
    e = sqrt(coarse / FINER / 0x1p15);
  }
  m.scale = (float)(1 / e);
  m.edge = m.peak = (int)most;
  if (m.clips) return m;
  m.peak = (int)rint(peak / e);
  m.edge = (int)most - m.peak;
  return m;
}

static int whole(float x, float scale, int limit) {
  const float v = x * scale;
  if (!(v > (float)-limit)) return -limit;
  return v < (float)limit ? (int)rintf(v) : limit;
}

int qp_metric_target(const qp_metric *m, float x) { return whole(x, m->scale, m->edge); }
int qp_metric_value(const qp_metric *m, float v) { return whole(v, m->scale, m->peak); }
