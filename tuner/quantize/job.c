/* SPDX-License-Identifier: MIT */
/* What a job of qpal quantize says of its linears (job_make.c makes it). */
#include "tuner/quantize/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/packed_weights.h"
#include "runtime/input_side.h"
#include "runtime/packed_version.h"

void qp_job_free(qp_job *j) {
  free(j->linear);
  free(j->kept);
  free(j->quantizer);
  free(j->shard);
  free(j->scale);
  qp_coders_free(j->coders);
  qp_sides_free(j->sides);
  *j = (qp_job){0};
}

bool qp_job_path(const qp_job *j, const char *file, char out[4096]) {
  return snprintf(out, 4096, "%s/%s", j->folder, file) < 4096;
}

qp_status qp_job_read(const qp_job *j, const qp_job_linear *l, uint64_t first, uint64_t count,
                      float *out, qp_error *err) {
  const uint64_t rows = l->weight->rows, end = first + count < rows ? first + count : rows;
  const uint64_t there = end > first ? end - first : 0;
  memset(out + (size_t)there * l->columns, 0, (size_t)(count - there) * l->columns * sizeof *out);
  return there ? qp_checkpoint_read(j->checkpoint, l->weight, first, there, out, err) : QP_OK;
}

uint64_t qp_job_weights(const qp_job *j) {
  uint64_t n = 0;
  for (size_t i = 0; i < j->linears; i++) n += (uint64_t)j->linear[i].rows * j->linear[i].columns;
  return n;
}

unsigned qp_job_pieces(const qp_job_linear *l) {
  return l->split == QP_JOB_COLUMNS && l->slices ? l->slices : 1;
}

static unsigned version_of(const qp_job_linear *l) {
  const char *field;
  const qp_packed_extras extras = {.rotation = qp_side_block(l->rotation) > 1,
                                   .split = l->split != QP_JOB_WHOLE,
                                   .order = qp_side_has_order(l->rotation),
                                   .scale = qp_side_has_scale(l->rotation),
                                   .sparse = qp_packed_has_sparse(l->quantizer),
                                   .parts = l->quantizer->parts};
  return qp_packed_version(&extras, &field);
}

unsigned qp_job_version(const qp_job *j) {
  unsigned version = QP_PACKED_PLAIN;
  for (size_t i = 0; i < j->linears; i++) {
    const unsigned of = version_of(&j->linear[i]);
    version = of > version ? of : version;
  }
  return version;
}

/* ---- Input scales ---- */

static size_t place_of_quantizer(const qp_job *j, const qp_quantizer *q) {
  size_t i = 0;
  while (j->quantizer[i] != q) i++;
  return i;
}

qp_status qp_job_scale(qp_job *j, qp_error *err) {
  if (!(j->scale = calloc(j->quantizers, sizeof *j->scale)))
    return qp_fail(err, QP_E_NOMEM, "no memory for the quantizers' scales");
  qp_status status = QP_OK;
  for (size_t i = 0; i < j->linears && !status; i++) {
    const qp_quantizer *q = j->linear[i].quantizer;
    double *scale = &j->scale[place_of_quantizer(j, q)];
    if (*scale > 0) continue;
    *scale = j->input_scale;
    if (!(*scale > 0)) status = qp_encode_input_scale(q, scale, err);
  }
  return status;
}

double qp_job_scale_of(const qp_job *j, const qp_job_linear *l) {
  return j->scale[place_of_quantizer(j, l->quantizer)];
}
