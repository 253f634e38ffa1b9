/* SPDX-License-Identifier: MIT */
/* Makes rows of a latency table of records, as rows.h describes. */
#include "tuner/tune/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/tune/library.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/pairs.h"
#include "tuner/tune/problems.h"

typedef struct reading {
  const qp_session *session;
  const qp_rows_wishes *w;
  qp_records records, *other;
  size_t others;
  char source[256];
  qp_lookup *lookup;
  qp_latency_table table;
  qp_error *err;
} reading;

/* A launch that no record answers exactly, from the nearest that may be used. */
static qp_status add_near(reading *r, const qp_problem *p, const char *path) {
  qp_pick pick;
  if (!qp_lookup_find(r->lookup, p, path, &pick) || pick.match <= QP_MATCH_OTHER_DRIVER)
    return QP_OK;
  qp_latency_row row = {.members = p->segments,
                        .experts = p->experts,
                        .top_k = p->top_k,
                        .slices = p->slices > 1 ? p->slices : 0,
                        .batch = p->batch,
                        .ps = pick.ps,
                        .spread_ps = qp_record_standard_error(pick.record),
                        .samples = pick.record->samples,
                        .match = pick.match};
  for (unsigned i = 0; i < p->segments; i++) {
    const qp_quantizer *q = p->segment[i].quantizer;
    row.member[i].rows = p->segment[i].rows;
    row.member[i].columns = p->columns;
    snprintf(row.member[i].quantizer, sizeof row.member[i].quantizer, "%s", q->name);
    snprintf(row.member[i].hash, sizeof row.member[i].hash, "%s", q->hash);
  }
  snprintf(row.path, sizeof row.path, "%s", path);
  return qp_latency_add(&r->table, &row, r->err);
}

static qp_status add_launch(reading *r, const qp_model_launch *launch, const qp_quantizer *q,
                            unsigned batch) {
  qp_problem p = {.batch = batch,
                  .type = QP_F16,
                  .out_type = QP_F16,
                  .arch = r->records.list[0].arch,
                  .sm_count = r->records.list[0].sm_count};
  qp_model_launch_pose(launch, q, &p);
  const char *path[QP_MAX_PATHS];
  const size_t paths = qp_families_paths(r->session->families, QP_OP_GEMM, path, NULL);
  qp_status status = QP_OK;
  for (size_t i = 0; i < paths && !status; i++) status = add_near(r, &p, path[i]);
  return status;
}

static qp_status add_model(reading *r, unsigned batch) {
  qp_model_launch launch[QP_MODEL_LAUNCHES];
  const unsigned launches = qp_model_launches(r->w->model, launch);
  qp_status status = QP_OK;
  for (size_t q = 0; q < r->w->quantizers && !status; q++)
    for (unsigned i = 0; i < launches && r->w->quantizer[q] && !status; i++)
      status = add_launch(r, &launch[i], r->w->quantizer[q], batch);
  return status;
}

/* Find the time of one rotation; false: no record knows. */
static bool find_rotation(const reading *r, qp_op op, unsigned columns, unsigned batch,
                          int64_t *ps) {
  const qp_problem p = {.op = op,
                        .columns = columns,
                        .batch = batch,
                        .type = QP_F16,
                        .out_type = QP_F16,
                        .arch = r->records.list[0].arch,
                        .sm_count = r->records.list[0].sm_count};
  qp_pick pick;
  if (!qp_lookup_find(r->lookup, &p, NULL, &pick)) return false;
  *ps = pick.ps;
  return true;
}

/* What routes to the model's stacks and adds up their outputs, where records answer for all of it;
   false: they do not. */
static bool add_routings(const reading *r, unsigned batch, int64_t *ps, unsigned *launches) {
  static const qp_op op[] = {QP_OP_ROUTE, QP_OP_COMBINE};
  qp_model_routing routing[QP_MODEL_ROUTINGS];
  const unsigned n = qp_model_routings(r->w->model, routing);
  for (unsigned i = 0; i < 2 * n; i++) {
    qp_pick pick;
    qp_problem p = {.batch = batch,
                    .type = QP_F16,
                    .out_type = QP_F16,
                    .arch = r->records.list[0].arch,
                    .sm_count = r->records.list[0].sm_count};
    qp_model_routing_pose(&routing[i / 2], op[i % 2], &p);
    if (!qp_lookup_find(r->lookup, &p, NULL, &pick)) return false;
    *ps += pick.ps * routing[i / 2].blocks;
    *launches += routing[i / 2].blocks;
  }
  return true;
}

/*
** What the model's rotations take in one pass at this batch, where a record answers each of them:
** with the prologue that makes the input where that was measured, else alone.  A group's input is
** rotated once, for all linears that read it.  With them what stands around stacks of experts.
*/
static void add_rotations(reading *r, unsigned batch) {
  qp_model_rotation rotation[QP_MODEL_ROTATIONS];
  const unsigned n = qp_model_rotations(r->w->model, rotation);
  qp_latency_table *t = &r->table;
  int64_t ps = 0, one;
  unsigned launches = 0, prologues = 0, routings = 0;
  if (t->rotations == QP_LATENCY_BATCHES) return;
  for (unsigned i = 0; i < n; i++)
    for (int p = 0; p < QP_PRODUCERS; p++) {
      const qp_op op = qp_op_of_producer((qp_model_producer)p);
      const unsigned of = rotation[i].by[p], rows = batch * rotation[i].rows;
      if (!of) continue;
      if (op != QP_OP_ROTATE && find_rotation(r, op, rotation[i].columns, rows, &one))
        prologues += of;
      else if (!find_rotation(r, QP_OP_ROTATE, rotation[i].columns, rows, &one))
        return;
      ps += one * of;
      launches += of;
    }
  if (!add_routings(r, batch, &ps, &routings)) return;
  t->rotation[t->rotations].batch = batch;
  t->rotation[t->rotations].routings = routings;
  t->rotation[t->rotations].launches = launches;
  t->rotation[t->rotations].prologues = prologues;
  t->rotation[t->rotations++].ps = ps;
}

/* Is the row the launch of this problem by this path? */
static bool is_launch(const qp_latency_row *row, const qp_problem *p, const char *path) {
  bool same = row->members == p->segments && row->batch == p->batch && !strcmp(row->path, path) &&
              row->experts == p->experts && row->top_k == p->top_k;
  for (unsigned i = 0; same && i < p->segments; i++)
    same = row->member[i].rows == p->segment[i].rows && row->member[i].columns == p->columns &&
           !strcmp(row->member[i].hash, p->segment[i].quantizer->hash);
  return same;
}

/* The gated linear unit behind the gemm instead of before down's rotation, whose time is in the
   constant part with the unit in it. */
static void put_behind(reading *r, const qp_problem *p, const char *path) {
  qp_pair pair;
  if (!qp_pair_find(r->lookup, p, path, &pair)) return;
  const int64_t saves = qp_pair_before_ps(&pair) - qp_pair_behind_ps(&pair);
  for (size_t i = 0; saves > 0 && i < r->table.rows; i++) {
    qp_latency_row *row = &r->table.row[i];
    if (!is_launch(row, p, path) || row->unit_behind) continue;
    row->ps = row->ps > saves ? row->ps - saves : 1;
    row->unit_behind = true;
    r->table.units_behind++;
  }
}

/* Launches of up and gate where that is quicker, by each path. */
static void add_units(reading *r, unsigned batch) {
  const char *path[QP_MAX_PATHS];
  const size_t paths = qp_families_paths(r->session->families, QP_OP_GEMM, path, NULL);
  for (unsigned g = 0; g < r->w->model->groups; g++)
    for (size_t q = 0; q < r->w->quantizers; q++) {
      qp_problem p = {.op = QP_OP_GEMM,
                      .batch = batch,
                      .type = QP_F16,
                      .out_type = QP_F16,
                      .arch = r->records.list[0].arch,
                      .sm_count = r->records.list[0].sm_count};
      const qp_quantizer *by = r->w->quantizer[q];
      if (!by || !qp_model_pair_pose(r->w->model, g, by, &p)) continue;
      for (size_t i = 0; i < paths; i++) put_behind(r, &p, path[i]);
    }
}

static qp_status add_rows(reading *r, qp_time_kind kind) {
  const qp_lookup_options lo = {.kind = kind,
                                .worst = r->w->worst,
                                .other = r->other,
                                .others = r->others,
                                .families = r->session->families,
                                .palette = r->session->palette};
  char source[256];
  snprintf(source, sizeof source, "%.200s (%s times)", r->source, qp_time_kind_name(kind));
  qp_status status = qp_lookup_open(&r->records, &lo, &r->lookup, r->err);
  for (size_t i = 0; i < r->w->batches && !status; i++) {
    status = qp_lookup_latency(r->lookup, r->w->batch[i], source, &r->table, r->err);
    if (!status && r->w->worst > QP_MATCH_OTHER_DRIVER) status = add_model(r, r->w->batch[i]);
    if (!status && r->w->model) {
      add_rotations(r, r->w->batch[i]);
      add_units(r, r->w->batch[i]);
    }
  }
  qp_lookup_close(r->lookup);
  r->lookup = NULL;
  return status;
}

/* Which batch sizes the records of gemms are of: "1, 8". */
static void batches_text(const qp_records *records, char *out, size_t size) {
  size_t n = 0;
  out[0] = 0;
  for (unsigned b = 1; b <= QP_MAX_BATCH && n < size; b++) {
    bool any = false;
    for (size_t i = 0; i < records->count && !any; i++)
      any = records->list[i].batch == b && records->list[i].outcome == QP_RECORD_OK &&
            (!strcmp(records->list[i].op, qp_op_name(QP_OP_GEMM)) ||
             !strcmp(records->list[i].op, qp_op_name(QP_OP_EXPERTS)));
    if (any) n += (size_t)snprintf(out + n, size - n, "%s%u", n ? ", " : "", b);
  }
}

static qp_status no_rows(const reading *r) {
  char batches[128];
  batches_text(&r->records, batches, sizeof batches);
  if (!*batches)
    return qp_fail(r->err, QP_E_ARG, "%s has no measured kernel; make some with qpal tune",
                   r->source);
  return qp_fail(r->err, QP_E_ARG,
                 "%s has no record that fits; it has batch sizes %s (--batch); records of other "
                 "generators or definitions are stale and not used",
                 r->source, batches);
}

qp_status qp_rows_read(const qp_session *s, const qp_rows_wishes *w, qp_latency_table *out,
                       qp_error *err) {
  reading r = {.session = s, .w = w, .table = {.overhead_ps = -1}, .err = err};
  qp_status status = qp_library_read(w->gpu, QP_RECORDS_MEASURED, &r.records, r.source, err);
  if (!status && w->worst == QP_MATCH_OTHER_GPU) status = qp_library_all(&r.other, &r.others, err);
  for (int kind = 0; kind < QP_TIME_KINDS && !status && !r.table.rows && r.records.count; kind++)
    status = add_rows(&r, (qp_time_kind)kind);
  if (!status && !r.table.rows) status = no_rows(&r);
  for (size_t i = 0; i < r.others; i++) qp_records_free(&r.other[i]);
  free(r.other);
  qp_records_free(&r.records);
  if (status) return qp_latency_free(&r.table), status;
  *out = r.table;
  return QP_OK;
}
