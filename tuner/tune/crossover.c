/* SPDX-License-Identifier: MIT */
/* Finds the rows from which decoding and cuBLAS beat the fused kernels, as crossover.h describes.
   */
#include "tuner/tune/crossover.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int64_t qp_crossover_fused_ps(const qp_crossover_sides *s, unsigned rows) {
  const size_t last = s->batches - 1;
  int64_t ps = rows / s->batch[last] * s->gemm_ps[last];
  const unsigned left = rows % s->batch[last];
  size_t i = 0;
  while (s->batch[i] < left) i++;
  return left ? ps + s->gemm_ps[i] : ps;
}

int64_t qp_crossover_decoded_ps(const qp_crossover_sides *s, unsigned rows) {
  size_t i = 0;
  while (i < s->points && s->point[i].rows < rows) i++;
  if (i == s->points) return 0;
  if (s->point[i].rows == rows) return s->dequant_ps + s->point[i].ps;
  if (!i) return 0;
  const double part =
      (double)(rows - s->point[i - 1].rows) / (double)(s->point[i].rows - s->point[i - 1].rows);
  const int64_t below = s->point[i - 1].ps, above = s->point[i].ps;
  return s->dequant_ps + below + llround(part * (double)(above - below));
}

void qp_crossover_add(qp_crossover_sides *s, unsigned rows, int64_t ps, const qp_record *record) {
  size_t at = 0;
  while (at < s->points && s->point[at].rows < rows) at++;
  const bool there = at < s->points && s->point[at].rows == rows;
  const qp_record *old = there ? s->point[at].record : NULL;
  if (old && record && strcmp(old->date, record->date) > 0) return;
  if (!there && s->points == QP_CROSSOVER_POINTS) return;
  if (!there) {
    memmove(&s->point[at + 1], &s->point[at], (s->points - at) * sizeof *s->point);
    s->points++;
  }
  s->point[at].rows = rows;
  s->point[at].ps = ps;
  s->point[at].record = record;
}

unsigned qp_crossover_rows(const qp_crossover_sides *s) {
  if (!s->batches || s->dequant_ps <= 0 || !s->points) return 0;
  const unsigned first = s->point[0].rows, last = s->point[s->points - 1].rows;
  unsigned rows = last;
  while (rows >= first && qp_crossover_decoded_ps(s, rows) < qp_crossover_fused_ps(s, rows)) rows--;
  if (rows == last) return QP_CROSSOVER_NEVER;
  /* faster at the first point already: below it nothing is known but where that is one row */
  return rows < first && first > 1 ? 0 : rows + 1;
}

/* ---- Records ---- */

static unsigned rows_of(const qp_problem *p) {
  unsigned rows = 0;
  for (unsigned i = 0; i < p->segments; i++) rows += p->segment[i].rows;
  return rows;
}

void qp_cublas_record_begin(const qp_problem *launch, unsigned rows, qp_record *out) {
  *out = (qp_record){.segments = 1,
                     .columns = launch->columns,
                     .batch = rows,
                     .arch = launch->arch,
                     .sm_count = launch->sm_count};
  out->segment[0].rows = rows_of(launch);
  snprintf(out->segment[0].quantizer, sizeof out->segment->quantizer, "fp16");
  snprintf(out->segment[0].hash, sizeof out->segment->hash, "fp16");
  snprintf(out->op, sizeof out->op, QP_CUBLAS_OP);
  snprintf(out->family, sizeof out->family, QP_CUBLAS_OP);
  snprintf(out->type, sizeof out->type, "%s", qp_dtype_name(QP_F16));
  snprintf(out->out_type, sizeof out->out_type, "%s", qp_dtype_name(QP_F16));
  snprintf(out->nvrtc, sizeof out->nvrtc, "none");
  snprintf(out->kernel, sizeof out->kernel, QP_CUBLAS_OP "__%ux%u__n%u__sm_%u_%u",
           out->segment[0].rows, launch->columns, rows, launch->arch, launch->sm_count);
}

static bool is_of(const qp_record *r, const qp_problem *launch, unsigned rows) {
  return r->outcome == QP_RECORD_OK && !strcmp(r->op, QP_CUBLAS_OP) && r->segments == 1 &&
         r->segment[0].rows == rows && r->columns == launch->columns && r->arch == launch->arch &&
         r->sm_count == launch->sm_count && r->chain_ps > 0;
}

void qp_crossover_add_records(const qp_records *records, const qp_problem *launch,
                              qp_crossover_sides *out) {
  const unsigned rows = rows_of(launch);
  for (size_t i = 0; i < records->count; i++) {
    const qp_record *r = &records->list[i];
    if (is_of(r, launch, rows)) qp_crossover_add(out, r->batch, r->chain_ps, r);
  }
}

size_t qp_crossover_batches(const qp_records *records, unsigned batch[QP_MAX_BATCHES]) {
  size_t n = 0;
  for (size_t i = 0; i < records->count; i++) {
    const qp_record *r = &records->list[i];
    size_t at = 0;
    while (at < n && batch[at] < r->batch) at++;
    if (strcmp(r->op, qp_op_name(QP_OP_GEMM)) != 0 || n == QP_MAX_BATCHES) continue;
    if (at < n && batch[at] == r->batch) continue;
    memmove(&batch[at + 1], &batch[at], (n - at) * sizeof *batch);
    batch[at] = r->batch;
    n++;
  }
  return n;
}

static void add_batch(qp_lookup *l, const qp_problem *launch, const char *path, unsigned batch,
                      qp_crossover_sides *out) {
  qp_problem p = *launch;
  qp_pick pick;
  p.batch = batch;
  if (out->batches == QP_MAX_BATCHES || !qp_lookup_find(l, &p, path, &pick)) return;
  size_t at = out->batches;
  for (; at && out->batch[at - 1] > batch; at--) {
    out->batch[at] = out->batch[at - 1];
    out->gemm_ps[at] = out->gemm_ps[at - 1];
  }
  out->batch[at] = batch;
  out->gemm_ps[at] = pick.ps;
  out->batches++;
}

/* Sum the time of all linears of the launch; 0: one is not known. */
static int64_t dequant_ps(qp_lookup *l, const qp_problem *launch) {
  int64_t ps = 0;
  for (unsigned i = 0; i < launch->segments; i++) {
    qp_problem p = *launch;
    qp_pick pick;
    p.op = QP_OP_DEQUANT;
    p.segments = p.batch = 1;
    p.segment[0] = launch->segment[i];
    if (!qp_lookup_find(l, &p, NULL, &pick)) return 0;
    ps += pick.ps;
  }
  return ps;
}

bool qp_crossover_find(qp_lookup *l, const qp_records *records, const qp_problem *launch,
                       const char *path, const unsigned *batch, size_t batches,
                       qp_crossover_sides *out) {
  *out = (qp_crossover_sides){.dequant_ps = dequant_ps(l, launch)};
  if (!out->dequant_ps) return false;
  for (size_t i = 0; i < batches; i++) add_batch(l, launch, path, batch[i], out);
  qp_crossover_add_records(records, launch, out);
  return out->batches > 0;
}
