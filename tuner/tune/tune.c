/* SPDX-License-Identifier: MIT */
/* A tuning run; see tune.h. */
#include "tuner/tune/tune.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tuner/output.h"
#include "tuner/tune/candidate.h"
#include "tuner/tune/journal.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/measurer.h"
#include "tuner/tune/nearest.h"

enum { BATCH = 8, FINALISTS = 4, SAMPLES = 20, ROUNDS = 5 };

/* What one compile takes, about; how large batches are under a budget is guessed by it. */
static const double compile_s = 1.5;
/* How long beyond its share of the budget a problem may look for a first result. */
static const double patience_s = 10;
/* Finalists are those within this much of the best. */
static const double final_band = 0.10;

struct qp_tuner {
  qp_session *session;
  qp_tune_options opt;
  qp_compiler *compiler;
  qp_measurer *measurer;
  qp_meter_info info;
  qp_journal *journal;
  unsigned workers;
  double started;
};

/* Candidates that are compiled together and measured in the order of their estimates. */
typedef struct batch {
  qp_candidate list[BATCH];
  unsigned count;
} batch;

/* One problem's tuning. */
typedef struct course {
  qp_tuner *t;
  const qp_tune_problem *problem;
  qp_search *search;
  qp_records *out;
  size_t first; /* its records begin here in 'out' */
  double deadline;
  unsigned batch_size;
  unsigned made; /* candidates so far */
  double latest; /* when even a problem without a result is left */
  qp_tune_state state;
  batch batch[2];
} course;

/* ---- Limits ---- */

static bool stopped(const qp_tuner *t) { return t->opt.stop && atomic_load(t->opt.stop); }

static double left_s(const qp_tuner *t) {
  return t->opt.budget_s > 0 ? t->started + t->opt.budget_s - qp_seconds() : -1;
}

static bool is_over(const course *c) {
  if (stopped(c->t)) return true;
  if (c->t->opt.budget_s <= 0) return false;
  return qp_seconds() >= (c->state.best_ps ? c->deadline : c->latest);
}

static void show(course *c, const char *now) {
  c->state.now = now;
  c->state.left_s = left_s(c->t);
  if (c->t->opt.show) c->t->opt.show(c->t->opt.arg, &c->state);
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
static qp_status keep(course *c, qp_candidate *x, bool fresh, qp_error *err) {
  qp_status st = fresh ? qp_journal_end(c->t->journal, &x->record, err) : QP_OK;
  if (!st) st = qp_records_add(c->out, &x->record, err);
  x->settled = true;
  c->state.candidates++;
  c->state.done++;
  c->state.resumed += !fresh;
  const bool slow_or_same =
      x->record.outcome == QP_RECORD_OK || x->record.outcome == QP_RECORD_DUPLICATE;
  c->state.failed += !slow_or_same;
  if (x->record.outcome == QP_RECORD_OK && (!c->state.best_ps || x->record.ps < c->state.best_ps))
    c->state.best_ps = x->record.ps;
  return st;
}

static qp_status fail(course *c, qp_candidate *x, qp_record_outcome outcome, const char *why,
                      qp_error *err) {
  x->record.outcome = outcome;
  snprintf(x->record.why, sizeof x->record.why, "%.230s", why);
  stamp(c->t, &x->record);
  return keep(c, x, true, err);
}

/* ---- A batch: propose and compile ---- */

static qp_status submit(course *c, qp_candidate *x, qp_error *err) {
  const qp_record *told = qp_journal_find(c->t->journal, &x->record);
  if (told) {
    x->record = *told;
    return keep(c, x, false, err);
  }
  if (qp_journal_lost(c->t->journal, x->kernel.name) > 1)
    return fail(c, x, QP_RECORD_LOST, "two runs were killed while it was measured", err);
  const qp_compile_job job = {.name = x->kernel.name,
                              .source = x->kernel.source,
                              .arch = c->problem->problem.arch,
                              .want_cubin = true,
                              .want_ptx = true,
                              .user = x};
  const qp_status st = qp_compiler_submit(c->t->compiler, &job, err);
  x->compiling = !st;
  return st;
}

/* Other choices may leave the generator no other kernel than one of this problem's. */
static bool is_known(const course *c, const char *kernel) {
  for (size_t i = c->first; i < c->out->count; i++)
    if (!strcmp(c->out->list[i].kernel, kernel)) return true;
  for (unsigned k = 0; k < 2; k++)
    for (unsigned i = 0; i < c->batch[k].count; i++)
      if (!strcmp(c->batch[k].list[i].kernel.name, kernel)) return true;
  return false;
}

static qp_status prepare(course *c, batch *b, qp_error *err) {
  qp_choice choice[BATCH];
  qp_status st = QP_OK;
  b->count = 0;
  while (!st && !b->count) {
    const unsigned most = c->t->opt.most ? c->t->opt.most - c->made : UINT_MAX;
    const unsigned n =
        qp_search_propose(c->search, choice, most < c->batch_size ? most : c->batch_size);
    if (!n) break;
    for (unsigned i = 0; !st && i < n; i++) {
      qp_candidate *x = &b->list[b->count];
      if (qp_candidate_make(c->t->session->families, &c->problem->problem, &choice[i], x, NULL)) {
        qp_search_tell(c->search, &choice[i], 0); /* cannot be: not a candidate */
        continue;
      }
      if (is_known(c, x->kernel.name)) {
        qp_search_tell(c->search, &choice[i], 0);
        qp_candidate_free(x);
        continue;
      }
      b->count++;
      c->made++;
      st = submit(c, x, err);
    }
  }
  return st;
}

static qp_status collect(course *c, batch *b, qp_error *err) {
  show(c, "");
  for (unsigned i = 0; i < b->count; i++) {
    while (b->list[i].compiling) {
      qp_compiled compiled;
      void *user;
      if (!qp_compiler_next(c->t->compiler, &compiled, &user))
        return qp_fail(err, QP_E_DEVICE, "the compiler lost %s", b->list[i].kernel.name);
      qp_candidate *done = user;
      done->compiling = false;
      qp_candidate_compiled(done, &compiled, c->t->info.read_gbs);
    }
  }
  return QP_OK;
}

static void release(batch *b) {
  for (unsigned i = 0; i < b->count; i++) qp_candidate_free(&b->list[i]);
  b->count = 0;
}

/* ---- A batch: measure ---- */

/* The measured candidate of this problem that is the same code, or NULL. */
static const qp_record *find_same(const course *c, const qp_candidate *x) {
  for (size_t i = c->first; *x->record.code && i < c->out->count; i++) {
    const qp_record *r = &c->out->list[i];
    if (!strcmp(r->code, x->record.code) && r->outcome != QP_RECORD_DUPLICATE) return r;
  }
  return NULL;
}

static qp_status measure(course *c, qp_candidate *x, qp_error *err) {
  qp_error why = {0};
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
  show(c, x->kernel.name);
  qp_measured m;
  const qp_measure_job job = {.problem = c->problem->problem,
                              .choice = x->choice,
                              .seed = c->t->opt.seed + c->state.done,
                              .cubin = x->compiled.cubin,
                              .cubin_bytes = x->compiled.cubin_bytes};
  qp_status st = qp_journal_begin(c->t->journal, x->kernel.name, err);
  if (!st) st = qp_measurer_screen(c->t->measurer, &job, &m, err);
  if (st) return st;
  put_measured(&x->record, &m);
  stamp(c->t, &x->record);
  return keep(c, x, true, err);
}

/* What the search is told: a duplicate takes as long as the candidate that was measured. */
static int64_t result_ps(const course *c, const qp_candidate *x) {
  const qp_record *r = x->record.outcome == QP_RECORD_DUPLICATE ? find_same(c, x) : &x->record;
  return r && r->outcome == QP_RECORD_OK ? r->ps : 0;
}

/* Lowest estimate first, so that a budget that ends early has seen what looks best. */
static qp_candidate *next_candidate(batch *b) {
  qp_candidate *best = NULL;
  for (unsigned i = 0; i < b->count; i++) {
    qp_candidate *x = &b->list[i];
    if (!x->settled && (!best || x->estimate_ps < best->estimate_ps)) best = x;
  }
  return best;
}

static qp_status measure_batch(course *c, batch *b, qp_error *err) {
  qp_candidate *x;
  while (!is_over(c) && (x = next_candidate(b))) {
    const qp_status st = measure(c, x, err);
    if (st) return st;
    show(c, "");
  }
  for (unsigned i = 0; i < b->count; i++)
    if (b->list[i].settled)
      qp_search_tell(c->search, &b->list[i].choice, result_ps(c, &b->list[i]));
  return QP_OK;
}

/* ---- Finalists ---- */

static qp_record *record_at(course *c, size_t i) { return &c->out->list[c->first + i]; }

/* Numbers of the fastest records of the problem within the band, best first. */
static unsigned choose_finalists(course *c, size_t pick[QP_MAX_FINALISTS]) {
  const unsigned most = c->t->opt.finalists ? c->t->opt.finalists : FINALISTS;
  const size_t n = c->out->count - c->first;
  unsigned count = 0;
  while (count < most && count < QP_MAX_FINALISTS) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
      bool taken = record_at(c, i)->outcome != QP_RECORD_OK;
      for (unsigned k = 0; k < count; k++) taken |= pick[k] == i;
      if (!taken && (best == n || record_at(c, i)->ps < record_at(c, best)->ps)) best = i;
    }
    if (best == n) break;
    if (count &&
        (double)record_at(c, best)->ps > (1 + final_band) * (double)record_at(c, pick[0])->ps)
      break;
    pick[count++] = best;
  }
  return count;
}

/* Kernel and cubin of a record again; the cubin is in the cache. */
static qp_status remake(course *c, const qp_record *r, qp_candidate *x, qp_error *err) {
  qp_problem p;
  qp_choice choice;
  qp_status st =
      qp_record_restore(r, c->t->session->families, c->t->session->palette, &p, &choice, err);
  if (!st) st = qp_candidate_make(c->t->session->families, &p, &choice, x, err);
  if (st) return st;
  const qp_compile_job job = {.name = x->kernel.name,
                              .source = x->kernel.source,
                              .arch = p.arch,
                              .want_cubin = true,
                              .want_ptx = true};
  st = qp_compiler_run(c->t->compiler, &job, &x->compiled, err);
  if (st) qp_candidate_free(x);
  return st;
}

static qp_status time_finalists(course *c, const size_t *pick, unsigned count, qp_error *err) {
  qp_candidate x[QP_MAX_FINALISTS] = {0};
  qp_measure_job job[QP_MAX_FINALISTS];
  qp_measured m[QP_MAX_FINALISTS] = {0};
  unsigned made = 0;
  qp_status st = QP_OK;
  for (; !st && made < count; made += !st) {
    st = remake(c, record_at(c, pick[made]), &x[made], err);
    if (st) break;
    job[made] = (qp_measure_job){.problem = c->problem->problem,
                                 .choice = x[made].choice,
                                 .seed = c->t->opt.seed,
                                 .cubin = x[made].compiled.cubin,
                                 .cubin_bytes = x[made].compiled.cubin_bytes};
    m[made].error = record_at(c, pick[made])->error;
  }
  if (!st) show(c, x[0].kernel.name);
  for (unsigned i = 0; !st && i < count; i++)
    st = qp_journal_begin(c->t->journal, x[i].kernel.name, err);
  if (!st) st = qp_measurer_final(c->t->measurer, job, count, m, err);
  for (unsigned i = 0; !st && i < count; i++) {
    qp_record *r = record_at(c, pick[i]);
    put_measured(r, &m[i]);
    stamp(c->t, r);
    st = qp_journal_end(c->t->journal, r, err);
  }
  for (unsigned i = 0; i < made; i++) qp_candidate_free(&x[i]);
  return st;
}

static qp_status finish(course *c, qp_error *err) {
  size_t pick[QP_MAX_FINALISTS];
  const unsigned count = choose_finalists(c, pick);
  bool timed = count > 0;
  for (unsigned i = 0; i < count; i++) timed &= record_at(c, pick[i])->samples >= ROUNDS * SAMPLES;
  if (!count || timed || stopped(c->t)) return QP_OK;
  return time_finalists(c, pick, count, err);
}

/* ---- A problem ---- */

static qp_status open_search(course *c, qp_error *err) {
  qp_choice from[2];
  const qp_tuner *t = c->t;
  const qp_family *family = qp_families_for(t->session->families, QP_OP_GEMM, c->problem->path);
  if (!family)
    return qp_fail(err, QP_E_ARG, "no kernel family does gemm on path '%s'", c->problem->path);
  unsigned n = qp_nearest_choices(c->out, c->problem, t->session, from, 2);
  if (t->opt.known && n < 2)
    n += qp_nearest_choices(t->opt.known, c->problem, t->session, from + n, 2 - n);
  const qp_search_options so = {.strategy = t->opt.strategy,
                                .seed = t->opt.seed + c->state.number,
                                .from = from,
                                .froms = n,
                                .fixed = t->info.chains ? NULL : "pdl"};
  return qp_search_open(t->session->families, family, &c->problem->problem, &so, &c->search, err);
}

static void set_limits(course *c) {
  const qp_tuner *t = c->t;
  double bytes = 0;
  const double left = left_s(t), share = left / (double)(c->state.problems - c->state.number + 1);
  const double fit = share * t->workers / compile_s;
  c->deadline = qp_seconds() + share;
  c->latest = c->deadline + share + patience_s;
  c->batch_size = t->opt.budget_s <= 0 || fit > BATCH ? BATCH : fit < 1 ? 1 : (unsigned)fit;
  for (unsigned i = 0; i < c->problem->problem.segments; i++)
    bytes += (double)c->problem->problem.segment[i].rows * c->problem->problem.columns *
             c->problem->problem.segment[i].quantizer->stored_rate / 8;
  if (t->info.read_gbs > 0) c->state.floor_ps = llround(bytes / t->info.read_gbs * 1e3);
}

/* Two batches in turn: one compiles while the other is measured. */
static qp_status tune_problem(course *c, qp_error *err) {
  c->first = c->out->count;
  set_limits(c);
  unsigned turn = 0;
  qp_status st = open_search(c, err);
  if (!st) st = prepare(c, &c->batch[0], err);
  while (!st && c->batch[turn].count) {
    batch *now = &c->batch[turn], *next = &c->batch[!turn];
    if (!is_over(c)) st = prepare(c, next, err);
    if (!st) st = collect(c, now, err);
    if (!st) st = measure_batch(c, now, err);
    release(now);
    if (!st && !next->count && !is_over(c)) st = prepare(c, next, err);
    turn = !turn;
    if (is_over(c)) break;
  }
  qp_error ignored = {0};
  for (unsigned i = 0; i < 2; i++) { /* what still compiles points into the batches */
    (void)collect(c, &c->batch[i], st ? &ignored : err);
    release(&c->batch[i]);
  }
  qp_search_close(c->search);
  if (!st) st = finish(c, err);
  c->state.over = true;
  show(c, "");
  return st;
}

qp_status qp_tuner_run(qp_tuner *t, const qp_tune_problems *problems, const char *journal_file,
                       qp_records *out, bool *complete, qp_error *err) {
  const qp_journal_stamp journal = {
      .gpu = t->info.device.name, .driver = t->info.driver, .timer = t->info.timer};
  qp_status st = qp_journal_open(journal_file, &journal, &t->journal, err);
  course *c = st ? NULL : calloc(1, sizeof *c);
  *complete = false;
  if (st) return st;
  if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a tuning run");
  snprintf(out->gpu, sizeof out->gpu, "%s", t->info.device.name);
  t->started = qp_seconds();
  qp_tune_state totals = {.problems = problems->count};
  for (size_t i = 0; !st && i < problems->count && !stopped(t); i++) {
    *c = (course){.t = t, .problem = &problems->list[i], .out = out, .state = totals};
    c->state.problem = &problems->list[i];
    c->state.number = i + 1;
    if (t->opt.budget_s > 0 && left_s(t) <= 0) break;
    st = tune_problem(c, err);
    totals.done = c->state.done;
    totals.failed = c->state.failed;
    totals.resumed = c->state.resumed;
    *complete = !st && i + 1 == problems->count && !stopped(t);
  }
  free(c);
  return st;
}

/* ---- Opening ---- */

qp_status qp_tuner_open(qp_session *s, const qp_tune_options *opt, qp_tuner **out, qp_error *err) {
  assert(opt->device);
  qp_tuner *t = calloc(1, sizeof *t);
  if (!t) return qp_fail(err, QP_E_NOMEM, "no memory for a tuner");
  t->session = s;
  t->opt = *opt;
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  t->workers = opt->workers ? opt->workers : cpus > 0 ? (unsigned)cpus : 1;
  const qp_compiler_options co = {.workers = t->workers};
  const qp_measurer_options mo = {.device = opt->device,
                                  .events = opt->events,
                                  .families = s->families,
                                  .timeout_s = opt->timeout_s,
                                  .samples = SAMPLES,
                                  .rounds = ROUNDS};
  qp_status st = qp_measurer_open(&mo, &t->measurer, err);
  if (!st) st = qp_compiler_open(&co, &t->compiler, err);
  if (!st) st = qp_measurer_info(t->measurer, &t->info, err);
  if (st) return qp_tuner_close(t), st;
  *out = t;
  return QP_OK;
}

const qp_meter_info *qp_tuner_info(const qp_tuner *t) { return &t->info; }

void qp_tuner_done(qp_tuner *t) {
  if (t->journal) qp_journal_close(t->journal, true);
  t->journal = NULL;
}

void qp_tuner_close(qp_tuner *t) {
  if (!t) return;
  if (t->journal) qp_journal_close(t->journal, false);
  if (t->compiler) qp_compiler_close(t->compiler);
  if (t->measurer) qp_measurer_close(t->measurer);
  free(t);
}
