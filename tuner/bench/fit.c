/* SPDX-License-Identifier: MIT */
/* Fits a line to the rows of a quantizer, as fit.h describes. */
#include "tuner/bench/fit.h"

#include <math.h>

/* The weighted sums of a line's normal equations. */
typedef struct sums {
  double w, x, y, xx, xy;
  unsigned rows;
} sums;

static bool counts(const qp_bench *b, const qp_bench_row *r, const qp_quantizer *q,
                   unsigned batch) {
  return b->op[r->launch] == QP_OP_GEMM && r->quantizer == q && r->batch == batch &&
         r->outcome == QP_BENCH_PASS && r->bytes && qp_bench_row_ps(r) > 0;
}

static void add(sums *s, double x, double y) {
  const double w = 1 / (y * y); /* errors relative to the time */
  s->w += w;
  s->x += w * x;
  s->y += w * y;
  s->xx += w * x * x;
  s->xy += w * x * y;
  s->rows++;
}

bool qp_bench_fit_rows(const qp_bench *b, const qp_quantizer *q, unsigned batch,
                       qp_bench_fit *out) {
  sums s = {0};
  for (size_t i = 0; i < b->rows; i++)
    if (counts(b, &b->row[i], q, batch))
      add(&s, (double)b->row[i].bytes, (double)qp_bench_row_ps(&b->row[i]));
  const double spread = s.w * s.xx - s.x * s.x;
  if (s.rows < 3 || !(spread > 1e-9 * s.w * s.xx)) return false;
  const double slope = (s.w * s.xy - s.x * s.y) / spread; /* picoseconds a byte */
  const double start = (s.y - slope * s.x) / s.w;
  if (!(slope > 0)) return false;
  *out = (qp_bench_fit){
      .quantizer = q, .batch = batch, .rows = s.rows, .tb_s = 1 / slope, .launch_us = start * 1e-6};
  for (size_t i = 0; i < b->rows; i++) {
    if (!counts(b, &b->row[i], q, batch)) continue;
    const double ps = (double)qp_bench_row_ps(&b->row[i]);
    out->worst = fmax(out->worst, fabs(slope * (double)b->row[i].bytes + start - ps) / ps);
  }
  return true;
}
