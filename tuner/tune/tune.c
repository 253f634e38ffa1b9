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

enum { BATCH = 8, FINALISTS = 4, SAMPLES = 20, ROUNDS = 5, SEEDS = 2, AHEAD = 8 };

/* What one compile takes, about, before any was seen. */
static const double first_compile_s = 1.5;
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
  size_t done, failed, resumed; /* candidates */
  double after_s;               /* a problem's time beyond its deadline, on the average */
  double compile_s;             /* a compile, on the average; what is in the cache takes nothing */
};

/* Candidates that are compiled together and measured in the order of their estimates. */
typedef struct batch {
  qp_candidate list[BATCH];
  unsigned count;
} batch;

/* One problem's tuning.  It begins, with its first batch, while an earlier one is measured. */
typedef struct course {
  struct course *next; /* of those that are over */
  qp_tuner *t;
  const qp_tune_problem *problem;
  qp_search *search;
  qp_choice seed[SEEDS]; /* best of the nearest problems */
  unsigned seeds;
  qp_records own;
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
  c->state.done = c->t->done;
  c->state.failed = c->t->failed;
  c->state.resumed = c->t->resumed;
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
  if (!st) st = qp_records_add(&c->own, &x->record, err);
  x->settled = true;
  c->state.candidates++;
  c->t->done++;
  c->t->resumed += !fresh;
  const bool slow_or_same =
      x->record.outcome == QP_RECORD_OK || x->record.outcome == QP_RECORD_DUPLICATE;
  c->t->failed += !slow_or_same;
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
  for (size_t i = 0; i < c->own.count; i++)
    if (!strcmp(c->own.list[i].kernel, kernel)) return true;
  for (unsigned k = 0; k < 2; k++)
    for (unsigned i = 0; i < c->batch[k].count; i++)
      if (!strcmp(c->batch[k].list[i].kernel.name, kernel)) return true;
  return false;
}

static bool is_seed(const course *c, const qp_choice *choice) {
  for (unsigned i = 0; i < c->seeds; i++)
    if (!memcmp(c->seed[i].value, choice->value, choice->family->tunables * sizeof *choice->value))
      return true;
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
      x->seeded = is_seed(c, &choice[i]);
      b->count++;
      c->made++;
      st = submit(c, x, err);
    }
  }
  return st;
}

static qp_status collect(course *c, batch *b, qp_error *err) {
  for (unsigned i = 0; i < b->count; i++) {
    while (b->list[i].compiling) {
      qp_compiled compiled;
      void *user;
      if (!qp_compiler_next(c->t->compiler, &compiled, &user))
        return qp_fail(err, QP_E_DEVICE, "the compiler lost %s", b->list[i].kernel.name);
      qp_candidate *done = user;
      done->compiling = false;
      c->t->compile_s += (compiled.seconds - c->t->compile_s) / 8;
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
  for (size_t i = 0; *x->record.code && i < c->own.count; i++) {
    const qp_record *r = &c->own.list[i];
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
                              .seed = c->t->opt.seed + c->t->done,
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

static bool is_sooner(const qp_candidate *a, const qp_candidate *b) {
  return a->seeded != b->seeded ? a->seeded : a->estimate_ps < b->estimate_ps;
}

/* What was best for the nearest problems first, then the lowest estimate: a budget that ends early
 * has seen what looks best. */
static qp_candidate *next_candidate(batch *b) {
  qp_candidate *best = NULL;
  for (unsigned i = 0; i < b->count; i++) {
    qp_candidate *x = &b->list[i];
    if (!x->settled && (!best || is_sooner(x, best))) best = x;
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

/* Numbers of the fastest records of the problem within the band, best first. */
static unsigned choose_finalists(course *c, size_t pick[QP_MAX_FINALISTS]) {
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
    st = remake(c, &c->own.list[pick[made]], &x[made], err);
    if (st) break;
    job[made] = (qp_measure_job){.problem = c->problem->problem,
                                 .choice = x[made].choice,
                                 .seed = c->t->opt.seed,
                                 .cubin = x[made].compiled.cubin,
                                 .cubin_bytes = x[made].compiled.cubin_bytes};
    m[made].error = c->own.list[pick[made]].error;
  }
  if (!st) show(c, x[0].kernel.name);
  for (unsigned i = 0; !st && i < count; i++)
    st = qp_journal_begin(c->t->journal, x[i].kernel.name, err);
  if (!st) st = qp_measurer_final(c->t->measurer, job, count, m, err);
  for (unsigned i = 0; !st && i < count; i++) {
    qp_record *r = &c->own.list[pick[i]];
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
  for (unsigned i = 0; i < count; i++) timed &= c->own.list[pick[i]].samples >= ROUNDS * SAMPLES;
  if (!count || timed || stopped(c->t)) return QP_OK;
  return time_finalists(c, pick, count, err);
}

/* ---- A problem ---- */

static qp_status open_search(course *c, const qp_records *out, qp_error *err) {
  const qp_tuner *t = c->t;
  const qp_family *family = qp_families_for(t->session->families, QP_OP_GEMM, c->problem->path);
  if (!family)
    return qp_fail(err, QP_E_ARG, "no kernel family does gemm on path '%s'", c->problem->path);
  c->seeds = qp_nearest_choices(out, c->problem, t->session, c->seed, SEEDS);
  if (t->opt.known)
    c->seeds += qp_nearest_choices(t->opt.known, c->problem, t->session, c->seed + c->seeds,
                                   SEEDS - c->seeds);
  const qp_search_options so = {.strategy = t->opt.strategy,
                                .seed = t->opt.seed + c->state.number,
                                .from = c->seed,
                                .froms = c->seeds,
                                .fixed = t->info.chains ? NULL : "pdl"};
  return qp_search_open(t->session->families, family, &c->problem->problem, &so, &c->search, err);
}

/* Seconds of the budget for each problem that is left, this one included, to search in. */
static double share_s(const course *c) {
  const double share = left_s(c->t) / (double)(c->state.problems - c->state.number + 1);
  return fmax(0, share - c->t->after_s);
}

/* What the last candidate and the finalists took beyond the deadline is spared from the next. */
static void note_overrun(course *c) {
  const double over = fmax(0, qp_seconds() - c->deadline);
  if (c->t->opt.budget_s > 0) c->t->after_s += (over - c->t->after_s) / 8;
}

static int64_t floor_ps(const course *c) {
  const qp_problem *p = &c->problem->problem;
  double bytes = 0;
  for (unsigned i = 0; i < p->segments; i++)
    bytes += (double)p->segment[i].rows * p->columns * p->segment[i].quantizer->stored_rate / 8;
  return c->t->info.read_gbs > 0 ? llround(bytes / c->t->info.read_gbs * 1e3) : 0;
}

/* Propose its first candidates and let them compile. */
static qp_status begin_course(course *c, const qp_records *out, qp_error *err) {
  const qp_tuner *t = c->t;
  const double fit = share_s(c) * t->workers / fmax(t->compile_s, 1e-3);
  c->batch_size = t->opt.budget_s <= 0 || fit > BATCH ? BATCH : fit < 1 ? 1 : (unsigned)fit;
  c->state.floor_ps = floor_ps(c);
  const qp_status st = open_search(c, out, err);
  return st ? st : prepare(c, &c->batch[0], err);
}

/* Does the compiler still point into its batches? */
static bool is_compiling(const course *c) {
  for (unsigned i = 0; i < 2; i++)
    for (unsigned k = 0; k < c->batch[i].count; k++)
      if (c->batch[i].list[k].compiling) return true;
  return false;
}

static void free_course(course *c) {
  for (unsigned i = 0; i < 2; i++) release(&c->batch[i]);
  qp_search_close(c->search);
  qp_records_free(&c->own);
  free(c);
}

/* Would another batch be compiled before the problem's time is over? */
static bool has_time(const course *c) {
  if (is_over(c)) return false;
  if (c->t->opt.budget_s <= 0 || !c->state.best_ps) return true;
  return qp_seconds() + c->t->compile_s < c->deadline;
}

/* Two batches in turn: one compiles while the other is measured. */
static qp_status tune_problem(course *c, qp_error *err) {
  unsigned turn = 0;
  qp_status st = QP_OK;
  c->deadline = qp_seconds() + share_s(c);
  c->latest = c->deadline + share_s(c) + patience_s;
  while (!st && c->batch[turn].count) {
    batch *now = &c->batch[turn], *next = &c->batch[!turn];
    if (has_time(c)) st = prepare(c, next, err);
    show(c, "");
    if (!st) st = collect(c, now, err);
    if (!st) st = measure_batch(c, now, err);
    release(now);
    if (!st && !next->count && has_time(c)) st = prepare(c, next, err);
    turn = !turn;
    if (is_over(c)) break;
  }
  if (!st) st = finish(c, err);
  note_overrun(c);
  c->state.over = true;
  show(c, "");
  return st;
}

/* ---- A run ---- */

typedef struct line {
  qp_tuner *t;
  const qp_tune_problems *problems;
  qp_records *out;
  course *ring[AHEAD + 1]; /* problems 'at' to 'begun', each at its number modulo the ring */
  size_t at, begun;
  course *old; /* are over, but what they wanted still compiles */
} line;

/* Problems that should compile while one is measured: as many as pass while a compile lasts. */
static size_t ahead(const line *l) {
  if (l->t->opt.budget_s <= 0) return 1;
  const double share = left_s(l->t) / (double)(l->problems->count - l->at);
  const double wanted = share > 0 ? ceil(l->t->compile_s / share) : AHEAD;
  return wanted < 1 ? 1 : wanted > AHEAD ? AHEAD : (size_t)wanted;
}

static qp_status begin_more(line *l, qp_error *err) {
  const size_t wanted = l->at + 1 + ahead(l);
  qp_status st = QP_OK;
  while (!st && l->begun < l->problems->count && l->begun < wanted && !stopped(l->t)) {
    course *c = calloc(1, sizeof *c);
    if (!c) return qp_fail(err, QP_E_NOMEM, "no memory for a problem");
    *c = (course){.t = l->t, .problem = &l->problems->list[l->begun]};
    c->state = (qp_tune_state){
        .problem = c->problem, .number = l->begun + 1, .problems = l->problems->count};
    l->ring[l->begun++ % (AHEAD + 1)] = c;
    st = begin_course(c, l->out, err);
  }
  return st;
}

static void sweep(line *l) {
  for (course **at = &l->old, *c; (c = *at);) {
    if (is_compiling(c)) {
      at = &c->next;
      continue;
    }
    *at = c->next;
    free_course(c);
  }
}

static qp_status run_next(line *l, qp_error *err) {
  qp_status st = begin_more(l, err);
  if (st || l->at == l->begun) return st;
  course *c = l->ring[l->at % (AHEAD + 1)];
  st = tune_problem(c, err);
  qp_error kept = {.text = ""};
  for (size_t i = 0; i < c->own.count; i++) {
    const qp_status added = qp_records_add(l->out, &c->own.list[i], &kept);
    if (added && !st) st = qp_fail(err, added, "%s", kept.text);
  }
  l->at++;
  c->next = l->old;
  l->old = c;
  sweep(l);
  return st;
}

/* What nobody waits for any more ends with the compiler. */
static void abandon(line *l) {
  qp_compiler_close(l->t->compiler);
  l->t->compiler = NULL;
  for (; l->at < l->begun; l->at++) free_course(l->ring[l->at % (AHEAD + 1)]);
  for (course *c; (c = l->old);) {
    l->old = c->next;
    free_course(c);
  }
}

qp_status qp_tuner_run(qp_tuner *t, const qp_tune_problems *problems, const char *journal_file,
                       qp_records *out, bool *complete, qp_error *err) {
  const qp_journal_stamp journal = {
      .gpu = t->info.device.name, .driver = t->info.driver, .timer = t->info.timer};
  line l = {.t = t, .problems = problems, .out = out};
  *complete = false;
  qp_status st = qp_journal_open(journal_file, &journal, &t->journal, err);
  if (st) return st;
  snprintf(out->gpu, sizeof out->gpu, "%s", t->info.device.name);
  t->started = qp_seconds();
  while (!st && l.at < problems->count && !stopped(t)) {
    if (t->opt.budget_s > 0 && left_s(t) <= 0) break;
    st = run_next(&l, err);
  }
  *complete = !st && l.at == problems->count && !stopped(t);
  abandon(&l);
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
  t->compile_s = first_compile_s;
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
