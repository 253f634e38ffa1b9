/* SPDX-License-Identifier: MIT */
/* The measuring half of the bench, as measure.h describes. */
#include "tuner/bench/measuring_process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/compile/compile.h"
#include "tuner/bench/choose.h"
#include "tuner/base/cublas.h"
#include "tuner/base/output.h"

/* What stands behind a row while it is measured. */
typedef struct job {
  qp_kernel kernel;
  qp_compiled compiled;
  qp_metered *metered;
  bool made, settled; /* 'kernel' is there; 'compiled' is */
} job;

typedef struct run {
  const qp_bench_options *o;
  qp_bench *b;
  qp_session *session;
  qp_compiler *compiler;
  qp_meter *meter;
  qp_bench_chooser chooser;
  job *job; /* of each row; used where it has a kernel */
  size_t jobs;
  size_t from;      /* rows before this one are done */
  size_t submitted; /* rows before this one were given to the compilers */
  qp_bench_place *place;
  qp_progress progress;
  size_t done;
} run;

/* ---- What is measured ---- */

static qp_problem problem_of(const run *r, const qp_bench_row *row) {
  const qp_model_launch *l = &r->b->launch[row->launch];
  const qp_op op = r->b->op[row->launch];
  qp_problem p = {.batch = op == QP_OP_DEQUANT ? 1 : row->batch,
                  .type = QP_F16,
                  .out_type = QP_F16,
                  .arch = r->meter->info.device.arch,
                  .sm_count = r->meter->info.device.sm_count};
  qp_model_launch_pose(l, row->quantizer, &p);
  p.op = op;
  return p;
}

static void give_up(qp_bench_row *row, qp_bench_outcome outcome, const char *why) {
  row->outcome = outcome;
  snprintf(row->why, sizeof row->why, "%.230s", why);
}

static int64_t floor_of(const run *r, uint64_t bytes) {
  const double gbs = r->meter->info.read_gbs;
  return gbs > 0 ? llround((double)bytes / gbs * 1000) : 0;
}

static job *job_of(const run *r, const qp_bench_row *row) { return &r->job[row - r->b->row]; }

/* ---- Compiling ---- */

/* Tell what is being run, for whoever watches this process. */
static void enter(run *r, size_t row, bool block) {
  r->place->row = row;
  r->place->block = block;
  r->place->running = true;
  atomic_fetch_add(&r->place->beat, 1);
}

/* The device is idle: waiting for compilers is nobody's fault. */
static void leave(run *r) { r->place->running = false; }

static qp_status submit(run *r, qp_bench_row *row, qp_error *err) {
  job *j = job_of(r, row);
  const qp_problem p = problem_of(r, row);
  qp_error why = {0};
  qp_status status = qp_problem_check(&p, &why);
  if (!status) status = qp_bench_choose(&r->chooser, &p, r->o->path, row, &j->kernel, &why);
  if (status == QP_E_LIMIT || status == QP_E_ARG)
    return give_up(row, QP_BENCH_NONE, why.text), QP_OK;
  if (status) return qp_fail(err, status, "%s", why.text);
  j->made = true;
  row->floor_ps = floor_of(r, row->bytes);
  const qp_compile_job c = {.name = j->kernel.name,
                            .source = j->kernel.source,
                            .arch = p.arch,
                            .want_cubin = true,
                            .want_ptx = r->meter->info.device.wants_ptx,
                            .user = j};
  return qp_compiler_submit(r->compiler, &c, err);
}

static bool is_time_over(const run *r) {
  return r->place->deadline > 0 && qp_seconds() >= r->place->deadline;
}

/* Keep the compilers busy with what comes next, but not with what the budget may leave out. */
static qp_status submit_ahead(run *r, size_t block, qp_error *err) {
  enum { AHEAD = 8 };
  const size_t end = (block + 1 + AHEAD) * r->b->launches;
  qp_status status = QP_OK;
  for (; r->submitted < r->b->rows && r->submitted < end && !status && !is_time_over(r);
       r->submitted++)
    if (qp_bench_has_kernel(r->b, &r->b->row[r->submitted]))
      status = submit(r, &r->b->row[r->submitted], err);
  return status;
}

/* Wait until the kernels of a quantizer are compiled; false: there is no time left for that. */
static bool wait_for_kernels(run *r, size_t block) {
  const size_t begin = block * r->b->launches;
  qp_compiled done;
  void *user;
  for (unsigned i = 0; i < r->b->launches; i++) {
    const qp_bench_row *row = &r->b->row[begin + i];
    const job *j = qp_bench_has_kernel(r->b, row) ? job_of(r, row) : NULL;
    while (j && j->made && !j->settled) {
      if (is_time_over(r) || !qp_compiler_next(r->compiler, &done, &user)) return false;
      ((job *)user)->compiled = done;
      ((job *)user)->settled = true;
    }
  }
  return begin + r->b->launches <= r->submitted;
}

/* ---- Measuring ---- */

/* A row without a time.  A device that failed is not to be used again: then the run ends. */
static qp_status ended(qp_bench_row *row, qp_status status, qp_error *err) {
  give_up(row, QP_BENCH_FAIL, err->text);
  return status == QP_E_WRONG ? QP_OK : qp_fail_prefix(err, status, "%s", row->kernel);
}

static qp_status time_row(run *r, qp_bench_row *row, job *j, qp_error *err) {
  qp_meter *m = r->meter;
  qp_status status = m->ops->load(m, &j->kernel, &j->compiled, &j->metered, err);
  if (!status)
    status = qp_timing_take(m, j->metered, r->o->samples ? r->o->samples : 20, &row->timing, err);
  if (!status && m->info.chains) status = m->ops->chain(m, j->metered, false, &row->chain_ps, err);
  if (!status && m->info.chains && j->kernel.pdl)
    status = m->ops->chain(m, j->metered, true, &row->chain_pdl_ps, err);
  m->ops->state(m, &row->state);
  if (status) return ended(row, status, err);
  row->outcome = QP_BENCH_PASS;
  return QP_OK;
}

static qp_status measure_row(run *r, qp_bench_row *row, qp_error *err) {
  job *j = job_of(r, row);
  qp_verdict v = {0};
  if (row->absent) return QP_OK;
  qp_progress_show(&r->progress, r->done++, row->kernel);
  if (!j->made) return QP_OK;
  enter(r, (size_t)(row - r->b->row), false);
  if (j->compiled.status) return give_up(row, QP_BENCH_FAIL, j->compiled.log), QP_OK;
  qp_status status =
      r->meter->ops->verify(r->meter, &j->kernel, &j->compiled, r->o->seed + r->done, &v, err);
  if (status) return ended(row, status, err);
  row->error = v.error;
  if (v.pass) return time_row(r, row, j, err);
  give_up(row, QP_BENCH_FAIL, v.why);
  return strstr(v.why, "CUDA_ERROR") ? qp_fail(err, QP_E_DEVICE, "%s: %s", row->kernel, v.why)
                                     : QP_OK;
}

/* Add up the launches of a block; false: one of them failed. */
static bool sum_block(const run *r, const qp_bench_row *row, qp_bench_block *out) {
  int64_t table = 0, rows = 0;
  bool whole = true, every = true;
  out->floor_ps = 0;
  for (unsigned i = 0; i < r->b->block_launches; i++) {
    whole &= row[i].outcome == QP_BENCH_PASS;
    every &= row[i].table_ps > 0;
    table += row[i].table_ps;
    rows += qp_bench_row_ps(&row[i]);
    out->floor_ps += row[i].floor_ps;
  }
  out->whole = whole;
  out->from_table = every;
  out->predicted_ps = every ? table : rows;
  return whole;
}

static qp_status measure_block(run *r, const qp_bench_row *row, qp_bench_block *out,
                               qp_error *err) {
  qp_metered *list[QP_MODEL_GROUPS];
  bool pdl[QP_MODEL_GROUPS];
  qp_meter *m = r->meter;
  if (!sum_block(r, row, out) || !m->info.chains || !m->ops->pass) return QP_OK;
  for (unsigned i = 0; i < r->b->block_launches; i++) {
    list[i] = job_of(r, &row[i])->metered;
    pdl[i] = row[i].chain_pdl_ps && row[i].chain_pdl_ps < row[i].chain_ps;
  }
  enter(r, (size_t)(row - r->b->row), true);
  const qp_status status = m->ops->pass(m, list, pdl, r->b->block_launches, &out->measured_ps, err);
  return status ? qp_fail_prefix(err, status, "a block of %s at batch %u", out->quantizer->name,
                                 out->batch)
                : QP_OK;
}

static void drop(run *r, const qp_bench_row *row) {
  for (unsigned i = 0; i < r->b->launches; i++) {
    job *j = job_of(r, &row[i]);
    if (j->metered) r->meter->ops->unload(r->meter, j->metered);
    qp_compiled_free(&j->compiled);
    if (j->made) qp_kernel_free(&j->kernel);
    j->metered = NULL;
    j->made = false;
  }
}

/* Measure one quantizer at one batch: its rows, then its block. */
static qp_status measure_quantizer(run *r, size_t block, qp_error *err) {
  qp_bench_row *row = &r->b->row[block * r->b->launches];
  qp_status status = QP_OK;
  for (unsigned i = 0; i < r->b->launches && !status; i++)
    if (block * r->b->launches + i >= r->from) status = measure_row(r, &row[i], err);
  if (!status) status = measure_block(r, row, &r->b->block[block], err);
  drop(r, row);
  return status;
}

/* Measure one product of cuBLAS. */
static qp_status measure_product(run *r, qp_cublas *c, qp_bench_row *row, qp_error *err) {
  const qp_model_launch *l = &r->b->launch[row->launch];
  unsigned rows = 0;
  for (unsigned k = 0; k < l->linears; k++) rows += l->rows[k];
  row->source = "cuBLAS";
  row->bytes = (uint64_t)rows * l->columns * 2;
  row->floor_ps = floor_of(r, row->bytes);
  if (!c) return give_up(row, QP_BENCH_NONE, r->b->cublas), QP_OK;
  enter(r, (size_t)(row - r->b->row), false);
  const qp_status status =
      qp_cublas_time(c, rows, l->columns, row->batch, &row->chain_ps, &row->error, err);
  if (!status) row->outcome = QP_BENCH_PASS;
  if (status) give_up(row, QP_BENCH_FAIL, err->text);
  if (status == QP_E_NOMEM) return give_up(row, QP_BENCH_NONE, err->text), QP_OK;
  return status == QP_E_WRONG ? QP_OK : status; /* a row that failed; the device is fine */
}

/* Measures what needs no quantizer: products of cuBLAS and rotations. */
static qp_status measure_others(run *r, qp_cublas *c, size_t block, qp_error *err) {
  qp_bench_row *row = &r->b->row[block * r->b->launches];
  qp_status status = QP_OK;
  for (unsigned i = 0; i < r->b->launches && !status; i++) {
    if (block * r->b->launches + i < r->from || row[i].absent) continue;
    if (qp_bench_has_kernel(r->b, &row[i]))
      status = measure_row(r, &row[i], err);
    else
      status = measure_product(r, c, &row[i], err);
  }
  if (!status) sum_block(r, row, &r->b->block[block]);
  drop(r, row);
  return status;
}

static void open_cublas(run *r, qp_cublas **out) {
  qp_error err = {0};
  if (!r->meter->gpu) {
    snprintf(r->b->cublas, sizeof r->b->cublas, "the replay device has no cuBLAS");
    return;
  }
  if (qp_cublas_open(r->meter->gpu, out, r->b->cublas, sizeof r->b->cublas, &err))
    snprintf(r->b->cublas, sizeof r->b->cublas, "%.500s", err.text);
  else
    r->b->cublas_there = true;
}

/* The rows of a quantizer that there is no time for say so. */
static void leave_out(run *r, size_t block) {
  for (unsigned i = 0; i < r->b->launches; i++) {
    qp_bench_row *row = &r->b->row[block * r->b->launches + i];
    const bool kernel = qp_bench_has_kernel(r->b, row);
    if (row->absent || row->outcome != QP_BENCH_NONE || (row->why[0] && kernel)) continue;
    give_up(row, QP_BENCH_NONE, QP_BENCH_LATE);
    r->b->late += kernel;
  }
}

static qp_status measure_next(run *r, qp_cublas *cublas, size_t block, qp_error *err) {
  leave(r);
  qp_status status = submit_ahead(r, block, err);
  if (status) return status;
  if (is_time_over(r) || !wait_for_kernels(r, block)) return leave_out(r, block), QP_OK;
  return r->b->block[block].quantizer ? measure_quantizer(r, block, err)
                                      : measure_others(r, cublas, block, err);
}

static qp_status measure_all(run *r, qp_error *err) {
  qp_cublas *cublas = NULL;
  qp_status status = QP_OK;
  open_cublas(r, &cublas);
  qp_progress_begin(&r->progress, "measuring", r->jobs);
  for (size_t i = r->from / r->b->launches; i < r->b->blocks && !status; i++)
    status = measure_next(r, cublas, i, err);
  qp_progress_end(&r->progress);
  qp_cublas_close(cublas);
  return status;
}

static void close_run(run *r) {
  for (size_t i = 0; i < r->jobs && r->job; i++) {
    if (r->job[i].made) qp_kernel_free(&r->job[i].kernel);
    qp_compiled_free(&r->job[i].compiled);
  }
  free(r->job);
  qp_bench_chooser_close(&r->chooser);
  if (r->meter) r->meter->ops->close(r->meter);
  qp_compiler_close(r->compiler);
}

qp_status qp_bench_measure(qp_session *s, const qp_bench_options *opt, size_t from, qp_bench *b,
                           qp_bench_place *place, qp_error *err) {
  run r = {.o = opt, .b = b, .session = s, .from = from, .submitted = from, .place = place};
  r.jobs = b->rows;
  r.job = calloc(r.jobs ? r.jobs : 1, sizeof *r.job);
  if (!r.job) return qp_fail(err, QP_E_NOMEM, "no memory for kernels");
  qp_status status =
      qp_compiler_open(NULL, &r.compiler, err); /* forks: before the driver is opened */
  if (!status) status = qp_meter_open(opt->device, opt->events, &r.meter, err);
  if (!status) {
    b->info = r.meter->info;
    status = qp_bench_chooser_open(s, &b->info, opt->records, &r.chooser, b->records, err);
  }
  if (!status) status = measure_all(&r, err);
  if (r.chooser.lookup) b->stale = qp_lookup_stale(r.chooser.lookup);
  close_run(&r);
  return status;
}
