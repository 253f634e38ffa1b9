/* SPDX-License-Identifier: MIT */
/* A tuning run: which problem is tried when; see tune.h. */
#include "tuner/tune/tune.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tuner/base/output.h"
#include "tuner/tune/schedule.h"
#include "tuner/tune/tune_internal.h"

enum {
  BATCH = 8,        /* candidates of a visit where nothing limits the time */
  SHORT_BATCH = 4,  /* of a later visit under a budget: between them others may be worth more */
  FEW_PROBLEMS = 8, /* these have time for long visits */
  MOST_AHEAD = 32   /* candidates that compile while one is measured, at most */
};

/* How long beyond its budget a run without any result goes on looking for one. */
static const double patience_s = 10;
/* The share of the budget that the products of cuBLAS may take. */
static const double crossover_share = 0.1;
/* What timing a finalist takes, about, before any was seen. */
static const double first_finalist_s = 0.1;

/* ---- Limits ---- */

bool qp_tuner_stopped(const qp_tuner *t) { return t->opt.stop && atomic_load(t->opt.stop); }

double qp_tuner_left_s(const qp_tuner *t) {
  const double end_s = t->started + t->opt.budget_s - t->reserved_s;
  return t->opt.budget_s > 0 ? fmax(0, end_s - qp_seconds()) : -1;
}

bool qp_tuner_is_over(const qp_tuner *t) {
  if (qp_tuner_stopped(t)) return true;
  if (t->opt.budget_s <= 0) return false;
  const double grace = t->done > t->failed ? 0 : patience_s;
  return qp_seconds() >= t->started + t->opt.budget_s - t->reserved_s + grace;
}

/* ---- A run ---- */

typedef struct line {
  qp_tuner *t;
  size_t count;
  qp_problem_run *run; /* [count] */
  qp_stake *stake;     /* [count] */
  qp_visit *first, **last;
  unsigned flying; /* candidates of the visits in the line */
} line;

static unsigned visits_of(const qp_problem_run *c) {
  unsigned n = 0;
  for (unsigned k = 0; k < QP_RUN_VISITS; k++) n += c->flying[k] != NULL;
  return n;
}

/* Under a budget a path whose first candidates cannot win for what their code counts is left. */
enum { BOUNDED_MOST = 2 };

static bool can_begin(const qp_problem_run *c) {
  if (c->t->opt.budget_s > 0 && !c->best_ps && c->bounded >= BOUNDED_MOST) return false;
  return !c->closed && !c->waits && visits_of(c) < QP_RUN_VISITS;
}

/* The best result of the others in the ring, 0 where there is none. */
static int64_t rival_ps(const line *l, const qp_problem_run *c) {
  int64_t best = 0;
  for (size_t i = c->rival; i != c->number; i = l->run[i].rival)
    if (l->run[i].best_ps && (!best || l->run[i].best_ps < best)) best = l->run[i].best_ps;
  return best;
}

static qp_stake stake_of(const line *l, const qp_problem_run *c) {
  return (qp_stake){.best_ps = c->best_ps,
                    .rival_ps = rival_ps(l, c),
                    .floor_ps = c->floor_ps,
                    .launches = c->problem->launches,
                    .tried = c->made,
                    .closed = !can_begin(c)};
}

/* The next problem; NULL: there is none, or what is under way decides. */
static qp_problem_run *choose(line *l) {
  size_t i = 0;
  if (l->t->opt.budget_s <= 0) {
    while (i < l->count && !can_begin(&l->run[i])) i++;
  } else {
    for (size_t k = 0; k < l->count; k++) l->stake[k] = stake_of(l, &l->run[k]);
    i = qp_schedule_next(l->stake, l->count);
  }
  return i < l->count ? &l->run[i] : NULL;
}

/* Candidates of the run's next visit: under a budget the first has one alone. */
static unsigned visit_size(const line *l, const qp_problem_run *c) {
  if (l->t->opt.budget_s <= 0) return BATCH;
  if (!c->made) return 1;
  return l->count <= FEW_PROBLEMS ? BATCH : SHORT_BATCH;
}

/* Is enough under way to keep the compilers busy?  Without a budget this must not depend on
   them, for the order of candidates depends on it. */
static bool is_full(const line *l) {
  const qp_tuner *t = l->t;
  if (!l->first) return false;
  if (t->opt.budget_s <= 0) return l->first->next != NULL;
  const unsigned wanted = t->workers + SHORT_BATCH;
  return l->first->next && l->flying >= (wanted < MOST_AHEAD ? wanted : MOST_AHEAD);
}

static qp_status begin_more(line *l, qp_error *err) {
  qp_status status = QP_OK;
  while (!status && !is_full(l) && !qp_tuner_is_over(l->t)) {
    qp_problem_run *c = choose(l);
    qp_visit *v = NULL;
    if (!c) break;
    status = qp_problem_run_begin(c, visit_size(l, c), &v, err);
    if (!v) continue;
    l->flying += v->count;
    *l->last = v;
    l->last = &v->next;
  }
  return status;
}

static qp_visit *take_first(line *l) {
  qp_visit *v = l->first;
  l->first = v->next;
  if (!l->first) l->last = &l->first;
  l->flying -= v->count;
  return v;
}

/* Seconds that the finalists which are due will take. */
static double due_s(const line *l) {
  double finalists = 0;
  for (size_t i = 0; i < l->count; i++) finalists += l->run[i].due;
  return finalists * l->t->finalist_s;
}

/* The first result is timed as it would be in a model at once, so that a table has it; later ones
   when there is nothing better to do. */
static bool is_to_finish(const line *l, const qp_problem_run *c) {
  if (c->closed && !visits_of(c)) return true;
  return l->t->opt.budget_s > 0 && c->due && !c->timed;
}

static qp_status try_problems(line *l, qp_error *err) {
  qp_tuner *t = l->t;
  qp_status status = begin_more(l, err);
  while (!status && l->first && !qp_tuner_is_over(t)) {
    if (t->opt.budget_s > 0 && t->begun == l->count && qp_tuner_left_s(t) <= due_s(l)) break;
    qp_visit *v = take_first(l);
    qp_problem_run *c = v->run;
    c->rival_ps = rival_ps(l, c);
    status = qp_problem_run_visit(c, v, err);
    if (!status) status = begin_more(l, err); /* compilers work while finalists are timed */
    if (!status && is_to_finish(l, c)) status = qp_problem_run_finish(c, err);
  }
  return status;
}

/* Those that count most first: the budget may end before the last. */
static qp_status time_finalists(line *l, qp_error *err) {
  qp_status status = QP_OK;
  while (!status && !qp_tuner_is_over(l->t)) {
    qp_problem_run *best = NULL;
    double most = -1;
    for (size_t i = 0; i < l->count; i++) {
      const qp_stake s = stake_of(l, &l->run[i]);
      if (!l->run[i].due || qp_stake_worth(&s) <= most) continue;
      most = qp_stake_worth(&s);
      best = &l->run[i];
    }
    if (!best) break;
    status = qp_problem_run_finish(best, err);
  }
  return status;
}

static qp_status open_line(line *l, qp_tuner *t, const qp_tune_problems *problems, qp_error *err) {
  *l = (line){.t = t, .count = problems->count, .last = &l->first};
  l->run = calloc(l->count + 1, sizeof *l->run);
  l->stake = calloc(l->count + 1, sizeof *l->stake);
  t->leaders.list = calloc(l->count + 1, sizeof *t->leaders.list);
  if (!l->run || !l->stake || !t->leaders.list)
    return qp_fail(err, QP_E_NOMEM, "no memory for %zu problems", l->count);
  t->problems = t->leaders.count = l->count;
  for (size_t i = 0; i < l->count; i++) {
    qp_problem_run *c = &l->run[i];
    *c = (qp_problem_run){.t = t, .problem = &problems->list[i], .number = i, .rival = i};
    t->leaders.list[i].outcome = QP_RECORD_LOST;
    size_t k = 0;
    while (k < i && !qp_problems_alike(&problems->list[k], &problems->list[i])) k++;
    if (k == i) continue;
    c->rival = l->run[k].rival; /* into the ring of those that compute the same */
    l->run[k].rival = i;
  }
  return QP_OK;
}

/* All records; the compilers end first, they may still point into visits. */
static qp_status close_line(line *l, qp_records *out, qp_tune_end *end, qp_error *err) {
  qp_status status = QP_OK;
  qp_compiler_close(l->t->compiler);
  l->t->compiler = NULL;
  for (size_t i = 0; l->run && i < l->count; i++) {
    qp_problem_run *c = &l->run[i];
    end->begun += c->visited;
    end->working += c->best_ps > 0;
    for (size_t k = 0; k < c->own.count && !status; k++)
      status = qp_records_add(out, &c->own.list[k], err);
    qp_problem_run_close(c);
  }
  free(l->run);
  free(l->stake);
  return status;
}

qp_status qp_tuner_run(qp_tuner *t, const qp_tune_problems *problems, const char *journal_file,
                       qp_records *out, qp_tune_end *end, qp_error *err) {
  const qp_journal_stamp journal = {
      .gpu = t->info.device.name, .driver = t->info.driver, .timer = t->info.timer};
  line l;
  *end = (qp_tune_end){.complete = false};
  qp_status status = qp_journal_open(journal_file, &journal, &t->journal, err);
  if (status) return status;
  snprintf(out->gpu, sizeof out->gpu, "%s", t->info.device.name);
  t->started = qp_seconds();
  if (t->opt.crossovers) t->reserved_s = crossover_share * t->opt.budget_s;
  status = open_line(&l, t, problems, err);
  if (!status) status = try_problems(&l, err);
  if (!status) status = time_finalists(&l, err);
  qp_error lost = {0};
  const qp_status closed = close_line(&l, out, end, &lost);
  if (!status && closed) status = qp_fail(err, closed, "%s", lost.text);
  t->reserved_s = 0;
  if (!status && t->opt.crossovers) status = qp_tuner_crossovers(t, problems, out, end, err);
  end->resumed = t->resumed;
  end->complete = !status && end->begun == problems->count && !qp_tuner_stopped(t);
  return status;
}

/* ---- Opening ---- */

qp_status qp_tuner_open(qp_session *s, const qp_tune_options *opt, qp_tuner **out, qp_error *err) {
  assert(opt->device);
  qp_tuner *t = calloc(1, sizeof *t);
  if (!t) return qp_fail(err, QP_E_NOMEM, "no memory for a tuner");
  t->session = s;
  t->opt = *opt;
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  t->finalist_s = first_finalist_s;
  t->workers = opt->workers ? opt->workers : cpus > 0 ? (unsigned)cpus : 1;
  const qp_compiler_options co = {.workers = t->workers};
  const qp_measurer_options mo = {.device = opt->device,
                                  .events = opt->events,
                                  .families = s->families,
                                  .timeout_s = opt->timeout_s,
                                  .samples = QP_TUNE_SAMPLES,
                                  .rounds = QP_TUNE_ROUNDS};
  qp_status status = qp_measurer_open(&mo, &t->measurer, err);
  if (!status) status = qp_compiler_open(&co, &t->compiler, err);
  if (!status) status = qp_measurer_info(t->measurer, &t->info, err);
  if (status) return qp_tuner_close(t), status;
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
  qp_records_free(&t->leaders);
  free(t);
}
