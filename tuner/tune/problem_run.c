/* SPDX-License-Identifier: MIT */
/* Runs one problem's candidates:  search -> compile, verify, time -> records  (tune_internal.h). */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tuner/base/output.h"
#include "tuner/check/bound.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/nearest.h"
#include "tuner/tune/tune_internal.h"

enum { FINALISTS = 4, SEEDS = 2 };

/* Finalists are those within this much of the best. */
static const double final_band = 0.10;

static void show(qp_problem_run *c, const char *now, bool news) {
  const qp_tuner *t = c->t;
  const qp_tune_state state = {.problem = c->problem,
                               .number = c->number + 1,
                               .begun = t->begun,
                               .problems = t->problems,
                               .candidates = (unsigned)c->own.count,
                               .best_ps = c->best_ps,
                               .floor_ps = c->floor_ps,
                               .done = t->done,
                               .failed = t->failed,
                               .resumed = t->resumed,
                               .left_s = qp_tuner_left_s(t),
                               .now = now,
                               .news = news};
  if (t->opt.show) t->opt.show(t->opt.arg, &state);
}

/* ---- One candidate ---- */

static void stamp(const qp_tuner *t, qp_record *r) {
  const time_t now = time(NULL);
  struct tm utc;
  snprintf(r->gpu, sizeof r->gpu, "%s", t->info.device.name);
  snprintf(r->driver, sizeof r->driver, "%s", t->info.driver);
  snprintf(r->timer, sizeof r->timer, "%s", t->info.timer);
  snprintf(r->nvrtc, sizeof r->nvrtc, "%s", qp_compiler_version(t->compiler));
  if (gmtime_r(&now, &utc)) strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static void put_measured(qp_record *r, const qp_measured *m) {
  r->outcome = m->outcome;
  r->error = m->error;
  r->ps = m->timing.ps;
  r->spread_ps = m->timing.spread_ps;
  r->samples = m->timing.samples;
  r->chain_ps = m->chain_ps;
  r->chain_pdl_ps = m->chain_pdl_ps;
  r->clock_mhz = m->state.clock_mhz;
  snprintf(r->throttle, sizeof r->throttle, "%s", m->state.throttle);
  snprintf(r->why, sizeof r->why, "%s", m->why);
  if (m->outcome != QP_RECORD_OK) r->ps = r->spread_ps = r->chain_ps = r->chain_pdl_ps = 0;
}

/* A record is final: to the journal, to the results. */
static qp_status keep(qp_problem_run *c, qp_candidate *x, bool fresh, qp_error *err) {
  const qp_record_outcome outcome = x->record.outcome;
  qp_status status = fresh ? qp_journal_end(c->t->journal, &x->record, err) : QP_OK;
  if (!status) status = qp_records_add(&c->own, &x->record, err);
  x->settled = true;
  c->t->done++;
  c->t->resumed += !fresh;
  c->bounded += outcome == QP_RECORD_BOUNDED;
  c->t->failed +=
      outcome != QP_RECORD_OK && outcome != QP_RECORD_DUPLICATE && outcome != QP_RECORD_BOUNDED;
  return status;
}

static qp_status fail(qp_problem_run *c, qp_candidate *x, qp_record_outcome outcome,
                      const char *why, qp_error *err) {
  x->record.outcome = outcome;
  snprintf(x->record.why, sizeof x->record.why, "%.230s", why);
  stamp(c->t, &x->record);
  return keep(c, x, true, err);
}

/* ---- Proposing and compiling ---- */

/* Find the same candidate as an earlier run of this GPU, driver, timer and compiler left it. */
static const qp_record *find_earlier(const qp_tuner *t, const qp_record *like) {
  const qp_records *all = t->opt.earlier;
  const char *nvrtc = qp_compiler_version(t->compiler);
  const qp_record *newest = NULL;
  for (size_t i = 0; all && i < all->count; i++) {
    const qp_record *r = &all->list[i];
    if (strcmp(r->kernel, like->kernel) != 0 || strcmp(r->generator, like->generator) != 0 ||
        strcmp(r->tunables, like->tunables) != 0 || strcmp(r->gpu, t->info.device.name) != 0 ||
        strcmp(r->driver, t->info.driver) != 0 || strcmp(r->timer, t->info.timer) != 0 ||
        strncmp(r->nvrtc, nvrtc, sizeof r->nvrtc - 1) != 0)
      continue;
    if (r->outcome == QP_RECORD_TIMER || r->outcome == QP_RECORD_LOST) continue; /* once more */
    if (!newest || strcmp(r->date, newest->date) > 0) newest = r;
  }
  return newest;
}

static qp_status submit(qp_problem_run *c, qp_candidate *x, qp_error *err) {
  const qp_record *told = qp_journal_find(c->t->journal, &x->record);
  if (!told) told = find_earlier(c->t, &x->record);
  if (told) return x->record = *told, x->told = true, QP_OK;
  if (qp_journal_lost(c->t->journal, x->kernel.name) > 1)
    return fail(c, x, QP_RECORD_LOST, "the machine went down twice while it was measured", err);
  const qp_compile_job job = {.name = x->kernel.name,
                              .source = x->kernel.source,
                              .arch = c->problem->problem.arch,
                              .want_cubin = true,
                              .want_ptx = true,
                              .user = x};
  const qp_status status = qp_compiler_submit(c->t->compiler, &job, err);
  x->compiling = !status;
  return status;
}

/* Other choices may leave the generator no other kernel than one of this problem's. */
static bool is_known(const qp_problem_run *c, const qp_visit *v, const char *kernel) {
  for (size_t i = 0; i < c->own.count; i++)
    if (!strcmp(c->own.list[i].kernel, kernel)) return true;
  for (unsigned i = 0; i < v->count; i++)
    if (!strcmp(v->list[i].kernel.name, kernel)) return true;
  for (unsigned k = 0; k < QP_RUN_VISITS; k++)
    for (unsigned i = 0; c->flying[k] && i < c->flying[k]->count; i++)
      if (!strcmp(c->flying[k]->list[i].kernel.name, kernel)) return true;
  return false;
}

/* What was best for the nearest problems:  at first as earlier runs know it, which may have this
   one itself, then as this run knows it, where the problem's own best is the nearest. */
static unsigned choose_seeds(const qp_problem_run *c, qp_choice out[2 * SEEDS + 1]) {
  const qp_tuner *t = c->t;
  unsigned n = 0;
  if (!c->made && t->opt.known)
    n = qp_nearest_choices(t->opt.known, c->problem, t->session, out, SEEDS);
  return n + qp_nearest_choices(&t->leaders, c->problem, t->session, out + n, SEEDS + 1);
}

static qp_status open_search(qp_problem_run *c, qp_error *err) {
  const qp_tuner *t = c->t;
  const qp_search_options so = {.strategy = t->opt.strategy,
                                .seed = t->opt.seed + c->number + 1,
                                .fixed = t->info.chains ? NULL : "pdl"};
  return qp_search_open(t->session->families, c->problem->family, &c->problem->problem, &so,
                        &c->search, err);
}

static bool is_seed(const qp_choice *seed, unsigned seeds, const qp_choice *choice) {
  for (unsigned i = 0; i < seeds; i++)
    if (!memcmp(seed[i].value, choice->value, choice->family->tunables * sizeof *choice->value))
      return true;
  return false;
}

/* Fill the visit; without candidates the search is at its end, or waits. */
static qp_status propose(qp_problem_run *c, qp_visit *v, unsigned most, qp_error *err) {
  qp_choice choice[QP_VISIT_MOST], seed[2 * SEEDS + 1];
  const unsigned seeds = choose_seeds(c, seed);
  qp_status status = QP_OK;
  qp_search_seed(c->search, seed, seeds);
  while (!status && !v->count) {
    const unsigned left = c->t->opt.most ? c->t->opt.most - c->made : UINT_MAX;
    const unsigned n = qp_search_propose(c->search, choice, left < most ? left : most);
    if (!n) break;
    for (unsigned i = 0; !status && i < n; i++) {
      qp_candidate *x = &v->list[v->count];
      if (qp_candidate_make(c->t->session->families, &c->problem->problem, &choice[i], x, NULL)) {
        qp_search_tell(c->search, &choice[i], 0); /* cannot be: not a candidate */
        continue;
      }
      if (is_known(c, v, x->kernel.name)) {
        qp_search_tell(c->search, &choice[i], 0);
        qp_candidate_free(x);
        continue;
      }
      x->seeded = is_seed(seed, seeds, &choice[i]);
      v->count++;
      c->made++;
      status = submit(c, x, err);
    }
  }
  return status;
}

static int64_t floor_ps(const qp_problem_run *c) {
  const qp_problem *p = &c->problem->problem;
  double bytes = 0;
  if (p->op == QP_OP_GATHER) return 0; /* a few rows: all of it is latency */
  for (unsigned i = 0; i < p->segments; i++)
    bytes += (double)p->segment[i].rows * p->columns *
             (p->segment[i].quantizer->stored_rate / 8 + (p->op == QP_OP_DEQUANT ? 2 : 0));
  bytes *= qp_problem_met_experts(p);
  return c->t->info.read_gbs > 0 ? llround(bytes / c->t->info.read_gbs * 1e3) : 0;
}

static unsigned visits(const qp_problem_run *c) {
  unsigned n = 0;
  for (unsigned k = 0; k < QP_RUN_VISITS; k++) n += c->flying[k] != NULL;
  return n;
}

qp_status qp_problem_run_begin(qp_problem_run *c, unsigned most, qp_visit **out, qp_error *err) {
  qp_visit *v = calloc(1, sizeof *v);
  if (!v) return qp_fail(err, QP_E_NOMEM, "no memory for candidates");
  v->run = c;
  *out = NULL;
  qp_status status = QP_OK;
  if (!c->search) {
    c->floor_ps = floor_ps(c);
    status = open_search(c, err);
  }
  if (!status) status = propose(c, v, most, err);
  const bool ends = c->t->opt.most && c->made == c->t->opt.most;
  c->closed = ends || (!status && !v->count && !visits(c));
  c->waits = !v->count && visits(c);
  if (!v->count) return free(v), status;
  c->flying[c->flying[0] != NULL] = v;
  *out = v;
  return status;
}

/* ---- Measuring ---- */

static qp_status collect(qp_problem_run *c, qp_visit *v, qp_error *err) {
  for (unsigned i = 0; i < v->count; i++) {
    while (v->list[i].compiling) {
      qp_compiled compiled;
      void *user;
      if (!qp_compiler_next(c->t->compiler, &compiled, &user))
        return qp_fail(err, QP_E_DEVICE, "the compiler lost %s", v->list[i].kernel.name);
      qp_candidate *done = user;
      done->compiling = false;
      qp_candidate_compiled(done, &compiled, c->t->info.read_gbs);
    }
  }
  return QP_OK;
}

/* The measured candidate of this problem that is the same code, or NULL. */
static const qp_record *find_same(const qp_problem_run *c, const qp_candidate *x) {
  for (size_t i = 0; *x->record.code && i < c->own.count; i++) {
    const qp_record *r = &c->own.list[i];
    if (!strcmp(r->code, x->record.code) && r->outcome != QP_RECORD_DUPLICATE) return r;
  }
  return NULL;
}

/*
** Another path has a result, and this one's candidate takes longer by what its machine code counts
** alone, on a GPU whose clock is a tenth above the usual part's: it need not be measured.  Not
** where nothing can be counted: no disassembler, no hot loop.
*/
static bool is_bounded(qp_problem_run *c, const qp_candidate *x, qp_error *why) {
  const double faster_clock = 1.1;
  qp_bound b;
  if (!c->rival_ps || c->best_ps || !x->compiled.cubin ||
      qp_bound_count(&x->kernel, &x->compiled, &b, NULL))
    return false;
  double us = b.issue_us;
  const char *binds = "issue";
  for (unsigned p = 0; p < QP_PIPE_COUNT; p++)
    if (b.pipe_us[p] > us) us = b.pipe_us[p], binds = qp_pipe_name((qp_pipe)p);
  const qp_problem *problem = &x->kernel.problem;
  if (problem->experts) us *= qp_problem_met_experts(problem) / problem->experts; /* at least */
  if (us * 1e6 <= faster_clock * (double)c->rival_ps) return false;
  qp_fail(why, QP_E_LIMIT, "bounded by %s: %.2f us; another path took %.2f us", binds, us,
          (double)c->rival_ps * 1e-6);
  return true;
}

static qp_status measure(qp_problem_run *c, qp_candidate *x, qp_error *err) {
  qp_error why = {0};
  if (x->told) return keep(c, x, false, err);
  if (x->compiled.status)
    return fail(c, x, x->compiled.status == QP_E_LIMIT ? QP_RECORD_HANG : QP_RECORD_COMPILE,
                x->compiled.log ? x->compiled.log : "", err);
  if (qp_candidate_launches(x, c->t->opt.spill_limit, &why))
    return fail(c, x, QP_RECORD_RESOURCES, why.text, err);
  const qp_record *same = find_same(c, x);
  if (same) {
    snprintf(why.text, sizeof why.text, "as %.200s", same->kernel);
    return fail(c, x, QP_RECORD_DUPLICATE, why.text, err);
  }
  if (is_bounded(c, x, &why)) return fail(c, x, QP_RECORD_BOUNDED, why.text, err);
  show(c, x->kernel.name, false);
  qp_measured m;
  qp_measure_job job = {
      .problem = c->problem->problem, .choice = x->choice, .seed = c->t->opt.seed + c->t->done};
  job.cubin = qp_compiled_image(&x->compiled, c->t->info.device.wants_ptx, &job.cubin_bytes);
  qp_status status = qp_journal_begin(c->t->journal, x->kernel.name, err);
  if (!status) status = qp_measurer_screen(c->t->measurer, &job, &m, err);
  if (status) return status;
  put_measured(&x->record, &m);
  stamp(c->t, &x->record);
  return keep(c, x, true, err);
}

/* What the search is told: a duplicate takes as long as the candidate that was measured. */
static int64_t result_ps(const qp_problem_run *c, const qp_candidate *x) {
  const qp_record *r = x->record.outcome == QP_RECORD_DUPLICATE ? find_same(c, x) : &x->record;
  return r && r->outcome == QP_RECORD_OK ? r->ps : 0;
}

static bool is_sooner(const qp_candidate *a, const qp_candidate *b) {
  return a->seeded != b->seeded ? a->seeded : a->estimate_ps < b->estimate_ps;
}

/* What was best for the nearest problems first, then the lowest estimate: a budget that ends
   early has seen what looks best. */
static qp_candidate *next_candidate(qp_visit *v) {
  qp_candidate *best = NULL;
  for (unsigned i = 0; i < v->count; i++) {
    qp_candidate *x = &v->list[i];
    if (!x->settled && (!best || is_sooner(x, best))) best = x;
  }
  return best;
}

/* The fastest of the own records, and what others may begin with. */
static void note_best(qp_problem_run *c) {
  const qp_record *best = NULL;
  for (size_t i = 0; i < c->own.count; i++) {
    const qp_record *r = &c->own.list[i];
    if (r->outcome == QP_RECORD_OK && (!best || r->ps < best->ps)) best = r;
  }
  c->best_ps = best ? best->ps : 0;
  c->t->leaders.list[c->number] = best ? *best : (qp_record){.outcome = QP_RECORD_LOST};
}

/* ---- Finalists ---- */

/* Choose the numbers of the fastest records of the problem within the band, the best first. */
static unsigned choose_finalists(const qp_problem_run *c, size_t pick[QP_MAX_FINALISTS]) {
  const unsigned most = c->t->opt.finalists ? c->t->opt.finalists : FINALISTS;
  const size_t n = c->own.count;
  unsigned count = 0;
  while (count < most && count < QP_MAX_FINALISTS) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
      bool taken = c->own.list[i].outcome != QP_RECORD_OK;
      for (unsigned k = 0; k < count; k++) taken |= pick[k] == i;
      if (!taken && (best == n || c->own.list[i].ps < c->own.list[best].ps)) best = i;
    }
    if (best == n) break;
    if (count && (double)c->own.list[best].ps > (1 + final_band) * (double)c->own.list[pick[0]].ps)
      break;
    pick[count++] = best;
  }
  return count;
}

static void note_due(qp_problem_run *c) {
  size_t pick[QP_MAX_FINALISTS];
  const unsigned count = choose_finalists(c, pick);
  bool timed = true;
  for (unsigned i = 0; i < count; i++)
    timed &= c->own.list[pick[i]].samples >= QP_TUNE_ROUNDS * QP_TUNE_SAMPLES;
  c->due = timed ? 0 : count;
}

/* Make kernel and cubin of a record again; the cubin is in the cache. */
static qp_status remake(qp_problem_run *c, const qp_record *r, qp_candidate *x, qp_error *err) {
  qp_problem p;
  qp_choice choice;
  qp_status status =
      qp_record_restore(r, c->t->session->families, c->t->session->palette, &p, &choice, err);
  if (!status) status = qp_candidate_make(c->t->session->families, &p, &choice, x, err);
  if (status) return status;
  const qp_compile_job job = {.name = x->kernel.name,
                              .source = x->kernel.source,
                              .arch = p.arch,
                              .want_cubin = true,
                              .want_ptx = true};
  status = qp_compiler_run(c->t->compiler, &job, &x->compiled, err);
  if (status) qp_candidate_free(x);
  return status;
}

static qp_status time_finalists(qp_problem_run *c, const size_t *pick, unsigned count,
                                qp_error *err) {
  qp_candidate x[QP_MAX_FINALISTS] = {0};
  qp_measure_job job[QP_MAX_FINALISTS];
  qp_measured m[QP_MAX_FINALISTS] = {0};
  unsigned made = 0;
  qp_status status = QP_OK;
  for (; !status && made < count; made += !status) {
    status = remake(c, &c->own.list[pick[made]], &x[made], err);
    if (status) break;
    job[made] = (qp_measure_job){
        .problem = c->problem->problem, .choice = x[made].choice, .seed = c->t->opt.seed};
    job[made].cubin =
        qp_compiled_image(&x[made].compiled, c->t->info.device.wants_ptx, &job[made].cubin_bytes);
    m[made].error = c->own.list[pick[made]].error;
  }
  if (!status) show(c, x[0].kernel.name, false);
  for (unsigned i = 0; !status && i < count; i++)
    status = qp_journal_begin(c->t->journal, x[i].kernel.name, err);
  if (!status) status = qp_measurer_final(c->t->measurer, job, count, m, err);
  for (unsigned i = 0; !status && i < count; i++) {
    qp_record *r = &c->own.list[pick[i]];
    put_measured(r, &m[i]);
    stamp(c->t, r);
    status = qp_journal_end(c->t->journal, r, err);
  }
  for (unsigned i = 0; i < made; i++) qp_candidate_free(&x[i]);
  return status;
}

qp_status qp_problem_run_finish(qp_problem_run *c, qp_error *err) {
  size_t pick[QP_MAX_FINALISTS];
  qp_tuner *t = c->t;
  if (!c->due || qp_tuner_stopped(t)) return QP_OK;
  const double began = qp_seconds();
  const unsigned count = choose_finalists(c, pick);
  const qp_status status = time_finalists(c, pick, count, err);
  t->finalist_s += ((qp_seconds() - began) / count - t->finalist_s) / 8;
  if (status) return status;
  c->timed = true;
  c->due = 0; /* of those that failed now nobody asks again */
  note_best(c);
  return QP_OK;
}

/* ---- A visit ---- */

qp_status qp_problem_run_visit(qp_problem_run *c, qp_visit *v, qp_error *err) {
  const int64_t before = c->best_ps;
  const bool first = !c->visited;
  qp_candidate *x;
  show(c, "", false);
  qp_status status = collect(c, v, err);
  while (!status && !qp_tuner_is_over(c->t) && (x = next_candidate(v))) {
    status = measure(c, x, err);
    if (!status) show(c, "", false);
  }
  if (status) return status;
  for (unsigned i = 0; i < v->count; i++)
    if (v->list[i].settled)
      qp_search_tell(c->search, &v->list[i].choice, result_ps(c, &v->list[i]));
  for (unsigned k = 0; k < QP_RUN_VISITS; k++)
    if (c->flying[k] == v) c->flying[k] = NULL;
  c->waits = false;
  c->visited = true;
  c->t->begun += first;
  qp_visit_free(v);
  note_best(c);
  note_due(c);
  show(c, "", first || c->best_ps != before);
  return QP_OK;
}

void qp_visit_free(qp_visit *v) {
  for (unsigned i = 0; v && i < v->count; i++) qp_candidate_free(&v->list[i]);
  free(v);
}

void qp_problem_run_close(qp_problem_run *c) {
  for (unsigned k = 0; k < QP_RUN_VISITS; k++) qp_visit_free(c->flying[k]);
  if (c->search) qp_search_close(c->search);
  qp_records_free(&c->own);
}
