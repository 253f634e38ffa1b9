/* SPDX-License-Identifier: MIT */
/* Which kernel a row of the bench runs; see choose.h. */
#include "tuner/bench/choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/tune/library.h"

/* Read the file in tuned/ that is of this GPU; where there is none '*out' stays empty. */
static qp_status read_own(const char *gpu, qp_records *out, char *source, qp_error *err) {
  qp_records *all = NULL;
  size_t count = 0;
  qp_status status = qp_library_all(&all, &count, err);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(all[i].gpu, gpu) != 0 || out->count) {
      qp_records_free(&all[i]);
      continue;
    }
    char name[160];
    qp_records_file_name(gpu, name, sizeof name);
    snprintf(source, 256, "tuned/%s.jsonl", name);
    *out = all[i];
  }
  free(all);
  return status;
}

qp_status qp_bench_chooser_open(qp_session *s, const qp_meter_info *info, const char *file,
                                qp_bench_chooser *out, char *source, qp_error *err) {
  const bool replay = !strcmp(info->timer, "replay");
  qp_status status;
  *out = (qp_bench_chooser){.session = s};
  source[0] = 0;
  if (file) {
    snprintf(source, 256, "%s", file);
    status =
        qp_records_read(file, replay ? QP_RECORDS_REPLAY : QP_RECORDS_MEASURED, &out->records, err);
    if (!status && strcmp(out->records.gpu, info->device.name) != 0)
      status = qp_fail(err, QP_E_ARG, "%s: field 'gpu': '%s' is not this GPU, '%s'", file,
                       out->records.gpu, info->device.name);
  } else {
    status = read_own(info->device.name, &out->records, source, err);
  }
  const qp_lookup_options lo = {.kind = info->chains ? QP_TIME_CHAIN : QP_TIME_KERNEL,
                                .driver = info->driver,
                                .worst = QP_MATCH_OTHER_DRIVER,
                                .families = s->families,
                                .palette = s->palette};
  if (!status && out->records.count) status = qp_lookup_open(&out->records, &lo, &out->lookup, err);
  if (status) qp_bench_chooser_close(out);
  return status;
}

void qp_bench_chooser_close(qp_bench_chooser *c) {
  qp_lookup_close(c->lookup);
  qp_records_free(&c->records);
  c->lookup = NULL;
}

/* Find the best pick of the wished path, or of all; what is no gemm has no path. */
static bool find(qp_bench_chooser *c, const qp_problem *p, const char *path, qp_pick *best) {
  if (p->op != QP_OP_GEMM && p->op != QP_OP_EXPERTS)
    return c->lookup && qp_lookup_find(c->lookup, p, NULL, best);
  const char *paths[QP_MAX_PATHS];
  const size_t n = qp_families_paths(c->session->families, QP_OP_GEMM, paths, NULL);
  bool there = false;
  for (size_t i = 0; i < n && c->lookup; i++) {
    qp_pick pick;
    if (path && strcmp(path, paths[i]) != 0) continue;
    if (!qp_lookup_find(c->lookup, p, paths[i], &pick)) continue;
    if (!there || pick.match < best->match || (pick.match == best->match && pick.ps < best->ps))
      *best = pick;
    there = true;
  }
  return there;
}

/* Weights that a launch reads; of what is no gemm also what it reads and writes beside them. */
static uint64_t bytes_of(const qp_kernel *k) {
  const qp_problem *p = &k->problem;
  uint64_t bytes = 0;
  const uint64_t values = (uint64_t)p->columns * p->batch;
  if (p->op == QP_OP_ROTATE) return 4 * values;
  if (p->op == QP_OP_ROTATE_GLU) return 6 * values;  /* gate and up */
  if (p->op == QP_OP_ROTATE_NORM) return 8 * values; /* reads a residual, and writes the sum back */
  for (unsigned i = 0; i < p->segments && p->op == QP_OP_DEQUANT; i++)
    bytes += (uint64_t)2 * p->segment[i].rows * p->columns;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    bytes += s->code_words * 4;
    for (unsigned f = 0; f < s->arrays; f++) bytes += s->field_bytes[f];
    for (unsigned b = 0; b < s->quantizer->codebooks; b++) {
      const qp_codebook *book = &s->quantizer->codebook[b];
      const uint64_t rows =
          book->scope == QP_SCOPE_ROW ? (uint64_t)QP_GROUP_ROWS * s->row_groups : 0;
      bytes += rows * book->entries * book->dim * 2;
    }
  }
  if (qp_op_multiplies_stacks(p->op)) /* of those that tokens go to */
    bytes = (uint64_t)((double)bytes * qp_problem_met_experts(p) / p->experts);
  return bytes;
}

qp_status qp_bench_choose(qp_bench_chooser *c, const qp_problem *p, const char *path,
                          qp_bench_row *row, qp_kernel *out, qp_error *err) {
  qp_pick pick;
  qp_problem problem = *p;
  qp_choice choice;
  qp_status status = QP_OK;
  if (find(c, p, path, &pick)) {
    status = qp_record_restore(pick.record, c->session->families, c->session->palette, &problem,
                               &choice, err);
    row->source = pick.match == QP_MATCH_EXACT ? "tuned" : "tuned, other driver";
    row->table_ps = pick.ps;
  } else {
    const qp_family *family = qp_families_serving(
        c->session->families, p, p->op == QP_OP_GEMM || p->op == QP_OP_EXPERTS ? path : NULL);
    if (!family)
      return qp_fail(err, QP_E_ARG, "there is no %s on the path '%s'", qp_op_name(p->op),
                     path ? path : "");
    qp_choice_default(family, &choice);
    row->source = "default";
  }
  if (!status) status = qp_kernel_make(c->session->families, &problem, &choice, out, err);
  if (status) return status;
  snprintf(row->path, sizeof row->path, "%s", choice.family->path);
  snprintf(row->kernel, sizeof row->kernel, "%s", out->name);
  row->bytes = bytes_of(out);
  return QP_OK;
}
