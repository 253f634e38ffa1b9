/* SPDX-License-Identifier: MIT */
/*
** The end of a tuning run:  times of gemms and dequants --cuBLAS at some rows--> records of cuBLAS.
** Of every launch the number of rows is searched from which decoding and cuBLAS are faster; a
** product of one shape and number of rows is measured once, whatever the quantizers.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tuner/tune/crossover.h"
#include "tuner/tune/tune_internal.h"

enum { REFINEMENTS = 6 };

typedef struct search {
  qp_tuner *t;
  qp_records *out;     /* of the run: products are added */
  qp_records known;    /* The records of the run and of earlier ones, before the search. */
  qp_lookup *lookup;   /* of 'known' */
  qp_records products; /* of the search */
  char version[64];    /* of cuBLAS; "": not yet seen */
  qp_tune_end *end;
  const qp_tune_problem *problem;
  qp_crossover_sides sides;
} search;

/* ---- One product ---- */

static bool answers(const qp_record *r, const qp_record *like) {
  return !strcmp(r->kernel, like->kernel) && !strcmp(r->generator, like->generator) &&
         !strcmp(r->driver, like->driver) && !strcmp(r->timer, like->timer);
}

/* As this run for another quantizer, or an earlier one, left it.  Another cuBLAS may be faster:
   before its version is known nothing answers. */
static const qp_record *find_known(const search *s, const qp_record *like) {
  const qp_records *const all[] = {&s->products, &s->known};
  for (size_t k = 0; k < sizeof all / sizeof *all; k++)
    for (size_t i = all[k]->count; i-- > 0;)
      if (answers(&all[k]->list[i], like)) return &all[k]->list[i];
  return qp_journal_find(s->t->journal, like);
}

static void stamp(const search *s, qp_record *r) {
  const time_t now = time(NULL);
  struct tm utc;
  snprintf(r->gpu, sizeof r->gpu, "%s", s->t->info.device.name);
  snprintf(r->driver, sizeof r->driver, "%s", s->t->info.driver);
  snprintf(r->timer, sizeof r->timer, "%s", s->t->info.timer);
  snprintf(r->generator, sizeof r->generator, "%.32s", *s->version ? s->version : "cuBLAS");
  if (gmtime_r(&now, &utc)) strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static qp_status measure(search *s, qp_record *r, qp_error *err) {
  qp_measured m;
  qp_measure_job job = {.problem = {.op = QP_OP_GEMM,
                                    .segments = 1,
                                    .segment = {{.rows = r->segment[0].rows}},
                                    .columns = r->columns,
                                    .batch = r->batch}};
  qp_status status = qp_journal_begin(s->t->journal, r->kernel, err);
  if (!status) status = qp_measurer_cublas(s->t->measurer, &job, &m, err);
  if (status) return status;
  snprintf(s->version, sizeof s->version, "%.60s", m.by);
  stamp(s, r);
  r->outcome = m.outcome;
  r->error = m.error;
  r->ps = r->chain_ps = m.outcome == QP_RECORD_OK ? m.timing.ps : 0;
  r->samples = m.timing.samples;
  r->clock_mhz = m.state.clock_mhz;
  snprintf(r->throttle, sizeof r->throttle, "%s", m.state.throttle);
  snprintf(r->why, sizeof r->why, "%s", m.why);
  s->end->products++;
  status = qp_journal_end(s->t->journal, r, err);
  return status ? status : qp_records_add(&s->products, r, err);
}

/* Is the time of cuBLAS at so many rows a point of the sides now?  '*over': the run is to end. */
static qp_status probe(search *s, unsigned rows, bool *there, bool *over, qp_error *err) {
  qp_record r;
  *there = qp_crossover_decoded_ps(&s->sides, rows) > 0;
  for (size_t i = 0; i < s->sides.points; i++)
    if (s->sides.point[i].rows == rows) return QP_OK;
  *over = qp_tuner_is_over(s->t);
  if (*over) return QP_OK;
  qp_cublas_record_begin(&s->problem->problem, rows, &r);
  stamp(s, &r);
  const qp_record *known = find_known(s, &r);
  qp_status status = QP_OK;
  if (known)
    r = *known;
  else
    status = measure(s, &r, err);
  *there = !status && r.outcome == QP_RECORD_OK;
  if (*there) qp_crossover_add(&s->sides, rows, r.chain_ps, NULL);
  return status;
}

/* ---- One launch ---- */

static bool decoding_wins(const search *s, unsigned rows) {
  return qp_crossover_decoded_ps(&s->sides, rows) < qp_crossover_fused_ps(&s->sides, rows);
}

/* Double the rows until decoding wins, then halve the interval; the last probes stand beside the
   answer, so that no line between points decides it. */
static qp_status bisect(search *s, bool *over, qp_error *err) {
  unsigned low = 0, high = 1;
  bool there = false;
  qp_status status = probe(s, high, &there, over, err);
  while (!status && !*over && there && !decoding_wins(s, high)) {
    low = high;
    high *= 2;
    if (high > QP_CROSSOVER_MOST) return QP_OK;
    status = probe(s, high, &there, over, err);
  }
  while (!status && !*over && there && high - low > 1) {
    const unsigned middle = low + (high - low) / 2;
    status = probe(s, middle, &there, over, err);
    if (status || *over || !there) break;
    if (decoding_wins(s, middle))
      high = middle;
    else
      low = middle;
  }
  for (unsigned i = 0; i < REFINEMENTS && !status && !*over && there; i++) {
    const unsigned rows = qp_crossover_rows(&s->sides);
    const size_t before = s->sides.points;
    if (!rows || rows == QP_CROSSOVER_NEVER) break;
    status = probe(s, rows, &there, over, err);
    if (!status && !*over && rows > 1) status = probe(s, rows - 1, &there, over, err);
    if (s->sides.points == before) break;
  }
  return status;
}

static size_t batches_of(const qp_tune_problems *problems, const qp_tune_problem *like,
                         unsigned batch[QP_MAX_BATCHES]) {
  size_t n = 0;
  for (size_t i = 0; i < problems->count && n < QP_MAX_BATCHES; i++) {
    qp_tune_problem p = problems->list[i];
    const unsigned own = p.problem.batch;
    bool taken = strcmp(p.path, like->path) != 0;
    p.problem.batch = like->problem.batch;
    for (size_t k = 0; k < n; k++) taken |= batch[k] == own;
    if (!taken && qp_problems_alike(&p, like)) batch[n++] = own;
  }
  return n;
}

/* The first of the problems that differ by family and batch alone stands for them. */
static bool is_first(const qp_tune_problems *problems, size_t at) {
  for (size_t i = 0; i < at; i++) {
    qp_tune_problem p = problems->list[i];
    p.problem.batch = problems->list[at].problem.batch;
    if (!strcmp(p.path, problems->list[at].path) && qp_problems_alike(&p, &problems->list[at]))
      return false;
  }
  return true;
}

static qp_status try_launch(search *s, const qp_tune_problems *problems, size_t at, bool *over,
                            qp_error *err) {
  unsigned batch[QP_MAX_BATCHES];
  s->problem = &problems->list[at];
  if (s->problem->problem.op != QP_OP_GEMM || !is_first(problems, at)) return QP_OK;
  const size_t batches = batches_of(problems, s->problem, batch);
  s->end->launches++;
  if (!qp_crossover_find(s->lookup, &s->known, &s->problem->problem, s->problem->path, batch,
                         batches, &s->sides))
    return QP_OK;
  s->sides.points = 0; /* of another cuBLAS, perhaps: each is asked for by its version */
  const qp_status status = bisect(s, over, err);
  s->end->crossovers += !status && qp_crossover_rows(&s->sides) != 0;
  return status;
}

/* ---- The search ---- */

static qp_status open_search(search *s, qp_error *err) {
  const qp_tuner *t = s->t;
  const qp_lookup_options lo = {.kind = QP_TIME_CHAIN,
                                .driver = t->info.driver,
                                .worst = QP_MATCH_EXACT,
                                .families = t->session->families,
                                .palette = t->session->palette};
  qp_status status = QP_OK;
  for (size_t i = 0; t->opt.earlier && i < t->opt.earlier->count && !status; i++)
    status = qp_records_add(&s->known, &t->opt.earlier->list[i], err);
  for (size_t i = 0; i < s->out->count && !status; i++)
    status = qp_records_add(&s->known, &s->out->list[i], err);
  return status ? status : qp_lookup_open(&s->known, &lo, &s->lookup, err);
}

qp_status qp_tuner_crossovers(qp_tuner *t, const qp_tune_problems *problems, qp_records *out,
                              qp_tune_end *end, qp_error *err) {
  search s = {.t = t, .out = out, .end = end};
  bool over = false;
  qp_error own = {0};
  qp_status status = open_search(&s, &own);
  for (size_t i = 0; i < problems->count && !status && !over; i++)
    status = try_launch(&s, problems, i, &over, &own);
  end->without_cublas = status == QP_E_MISSING;
  if (end->without_cublas) {
    snprintf(end->why, sizeof end->why, "%.400s", own.text);
    status = QP_OK;
  }
  for (size_t i = 0; i < s.products.count && !status; i++)
    status = qp_records_add(out, &s.products.list[i], &own);
  qp_lookup_close(s.lookup);
  qp_records_free(&s.known);
  qp_records_free(&s.products);
  return status ? qp_fail(err, status, "%s", own.text) : QP_OK;
}
