/* SPDX-License-Identifier: MIT */
/* qpal table shows the best measured latencies of a model's launches, and makes unions of record
   files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/checkpoint.h"
#include "gen/base/file.h"
#include "gen/base/text.h"
#include "gen/spec/layout.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/base/session.h"
#include "tuner/tune/library.h"
#include "tuner/tune/crossover.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/pairs.h"
#include "tuner/tune/problems.h"

static const qp_verb_help help = {
    "table", "GPU --model MODEL [options]   |   --merge A.jsonl B.jsonl... -o OUT.jsonl",
    "Prints what was measured for a model's launches on a GPU: microseconds a launch, quantizers "
    "down,\n"
    "linears and fusion groups across, of each the better path unless one is named.  GPU is a file "
    "of\n"
    "records (.jsonl), or a part of the name of one in tuned/ (h100).  Behind a number stands how "
    "its\n"
    "row was found: nothing for this GPU and driver, ' for another driver, ~ for scaled from the "
    "nearest\n"
    "shape, * for another GPU.  Records of another generator or definition are stale and left "
    "out.\n"
    "What was not measured, since its machine code takes longer than another path, comes last, "
    "with the\n"
    "reason ('why' in JSON).  --merge writes the union of files of one GPU, sorted, each record "
    "once."};

typedef struct table_options {
  const char *model, *quantizers, *path, *time, *worst, *out, *csv;
  unsigned batch;
  bool json, merge, replay, stale;
} table_options;

static qp_status merge(const table_options *o, const qp_words *words, qp_error *err) {
  qp_records all = {0};
  unsigned policy = o->replay ? QP_RECORDS_REPLAY : QP_RECORDS_MEASURED;
  qp_status status = QP_OK;
  if (words->count < 2 || !o->out)
    return qp_fail(err, QP_E_ARG, "--merge needs two files at least, and -o OUT.jsonl");
  for (size_t i = 0; i < words->count && !status; i++) {
    status = qp_records_read(words->word[i], policy, &all, err);
    if (status) qp_fail_prefix(err, status, "--merge");
  }
  if (!status) status = qp_records_write(o->out, &all, err);
  if (!status)
    printf("%s: %zu records of %s read from %zu files\n", o->out, all.count, all.gpu, words->count);
  qp_records_free(&all);
  return status;
}

/* ---- The matrix ---- */

typedef struct cell {
  qp_pick pick;
  size_t path; /* of the matrix's */
  bool there;
  unsigned crossover; /* as in qp_crossover_rows */
} cell;

typedef struct matrix {
  const table_options *o;
  const qp_model *model;
  qp_model_launch launch[QP_MODEL_LAUNCHES];
  unsigned launches;
  const qp_quantizer **quantizer;
  size_t quantizers;
  unsigned arch, sm_count;
  const char *path[QP_MAX_PATHS];
  size_t paths;
  cell *cell; /* [quantizers][launches] */
  size_t found;
} matrix;

static qp_problem problem_of(const matrix *m, size_t q, const qp_model_launch *at) {
  qp_problem p = {.batch = m->o->batch,
                  .type = QP_F16,
                  .out_type = QP_F16,
                  .arch = m->arch,
                  .sm_count = m->sm_count};
  qp_model_launch_pose(at, m->quantizer[q], &p);
  return p;
}

static void fill_cell(matrix *m, qp_lookup *l, size_t q, unsigned launch) {
  cell *c = &m->cell[q * m->launches + launch];
  const qp_problem p = problem_of(m, q, &m->launch[launch]);
  for (size_t path = 0; path < m->paths; path++) {
    qp_pick pick;
    if (m->o->path && strcmp(m->o->path, m->path[path]) != 0) continue;
    if (!qp_lookup_find(l, &p, m->path[path], &pick)) continue;
    bool better = !c->there || pick.match < c->pick.match ||
                  (pick.match == c->pick.match && pick.ps < c->pick.ps);
    if (better) *c = (cell){.pick = pick, .path = path, .there = true};
  }
  m->found += c->there;
}

/* From which number of rows on decoding and cuBLAS are faster than the kernels of
   the cell's path. */
static void fill_crossovers(matrix *m, qp_lookup *l, const qp_records *records) {
  unsigned batch[QP_MAX_BATCHES];
  const size_t batches = qp_crossover_batches(records, batch);
  for (size_t i = 0; i < m->quantizers * m->launches; i++) {
    cell *c = &m->cell[i];
    qp_crossover_sides sides;
    const qp_problem p = problem_of(m, i / m->launches, &m->launch[i % m->launches]);
    if (c->there && p.op == QP_OP_GEMM &&
        qp_crossover_find(l, records, &p, m->path[c->path], batch, batches, &sides))
      c->crossover = qp_crossover_rows(&sides);
  }
}

static const char *mark(qp_latency_match match) {
  static const char *const marks[] = {"", "'", "~", "*"};
  _Static_assert(sizeof marks / sizeof *marks == QP_MATCH_KINDS, "a mark for every match");
  return marks[match];
}

static bool is_shown(const matrix *m, size_t path) {
  for (size_t i = 0; i < m->quantizers * m->launches; i++)
    if (m->cell[i].there && m->cell[i].path == path) return true;
  return false;
}

static void latency_text(const matrix *m, const cell *c, char *to, size_t size) {
  if (!c->there) return (void)snprintf(to, size, "-");
  snprintf(to, size, "%.2f%.*s%s", (double)c->pick.ps * 1e-6, c->path && !m->o->path ? 1 : 0,
           m->path[c->path], mark(c->pick.match));
}

static void crossover_text(const matrix *m, const cell *c, char *to, size_t size) {
  (void)m;
  if (!c->crossover)
    snprintf(to, size, "-");
  else if (c->crossover == QP_CROSSOVER_NEVER)
    snprintf(to, size, "> %d", QP_CROSSOVER_MOST);
  else
    snprintf(to, size, "%u", c->crossover);
}

/* Print quantizers down, launches across; quantizers without any entry are left out. */
static void print_matrix(const matrix *m, const char *none,
                         void (*text_of)(const matrix *, const cell *, char *, size_t)) {
  enum { MOST_SHOWN = 20 };
  qp_column column[MOST_SHOWN + 3] = {{"quantizer", false}};
  unsigned shown = m->launches < MOST_SHOWN ? m->launches : MOST_SHOWN;
  for (unsigned i = 0; i < shown; i++) column[i + 1] = (qp_column){m->launch[i].label, true};
  qp_table_out *t = qp_table_new(column, false);
  for (size_t q = 0; q < m->quantizers; q++) {
    char text[48];
    bool any = false;
    for (unsigned i = 0; i < m->launches; i++) {
      text_of(m, &m->cell[q * m->launches + i], text, sizeof text);
      any |= strcmp(text, none) != 0;
    }
    if (!any) continue;
    qp_table_row(t);
    qp_table_text(t, m->quantizer[q]->name);
    for (unsigned i = 0; i < shown; i++) {
      text_of(m, &m->cell[q * m->launches + i], text, sizeof text);
      qp_table_text(t, text);
    }
  }
  qp_table_print(t);
  if (m->launches > shown) printf("(%u more launches: --json or --csv)\n", m->launches - shown);
}

static void print_crossovers(const matrix *m) {
  bool any = false;
  for (size_t i = 0; i < m->quantizers * m->launches; i++) any |= m->cell[i].crossover != 0;
  if (!any) return;
  printf("\nFrom this number of rows on dequant and cuBLAS are faster than the kernels of the "
         "batches that were tuned:\n");
  print_matrix(m, "-", crossover_text);
}

/* ---- What was left out ---- */

typedef void (*see_left_out)(const matrix *m, size_t q, const qp_model_launch *launch,
                             const qp_record *r, void *arg);

/* Every path of a launch that tuning left out for what its machine code counts. */
static void each_left_out(const matrix *m, qp_lookup *l, see_left_out see, void *arg) {
  for (size_t q = 0; q < m->quantizers; q++)
    for (unsigned i = 0; i < m->launches; i++) {
      const qp_problem p = problem_of(m, q, &m->launch[i]);
      for (size_t path = 0; path < m->paths; path++) {
        if (m->o->path && strcmp(m->o->path, m->path[path]) != 0) continue;
        const qp_record *r = qp_lookup_left_out(l, &p, m->path[path]);
        if (r) see(m, q, &m->launch[i], r, arg);
      }
    }
}

static void print_left_out(const matrix *m, size_t q, const qp_model_launch *launch,
                           const qp_record *r, void *arg) {
  bool *any = arg;
  unsigned rows = 0;
  for (unsigned s = 0; s < r->segments; s++) rows += r->segment[s].rows;
  if (!*any) printf("\nNot measured:\n");
  *any = true;
  printf("%s %s, %ux%u, path %s: %s\n", m->quantizer[q]->name, launch->label, rows, r->columns,
         r->path, r->why);
}

/* ---- What is no gemm ---- */

/* Find one launch of dequant or gather, or by no quantizer of rotate, with so many rows a token;
   false: no record answers. */
static bool find_other(const matrix *m, qp_lookup *l, qp_op op, const qp_quantizer *q,
                       unsigned rows, unsigned columns, qp_pick *pick) {
  qp_problem p = {.op = op,
                  .segments = q ? 1 : 0,
                  .columns = columns,
                  .batch = q ? 1 : m->o->batch * rows,
                  .type = QP_F16,
                  .out_type = QP_F16,
                  .arch = m->arch,
                  .sm_count = m->sm_count};
  p.segment[0].quantizer = q;
  p.segment[0].rows = rows;
  return qp_lookup_find(l, &p, NULL, pick);
}

typedef void (*see_other)(const matrix *m, const char *launch, const qp_quantizer *q,
                          unsigned columns, const qp_pick *pick, void *arg);

/* Go through what routes to stacks of experts, and the sums of their outputs. */
static size_t each_routing(const matrix *m, qp_lookup *l, see_other see, void *arg) {
  static const qp_op op[] = {QP_OP_ROUTE, QP_OP_COMBINE};
  qp_model_routing r[QP_MODEL_ROUTINGS];
  const unsigned n = qp_model_routings(m->model, r);
  size_t found = 0;
  for (unsigned i = 0; i < 2 * n; i++) {
    qp_pick pick;
    qp_problem p = {.batch = m->o->batch,
                    .type = QP_F16,
                    .out_type = QP_F16,
                    .arch = m->arch,
                    .sm_count = m->sm_count};
    qp_model_routing_pose(&r[i / 2], op[i % 2], &p);
    if (!qp_lookup_find(l, &p, NULL, &pick)) continue;
    see(m, qp_op_name(op[i % 2]), NULL, p.columns, &pick, arg);
    found++;
  }
  return found;
}

/* Every rotation, dequantization and look-up of the model that a record answers;
   returns their number. */
static size_t each_other(const matrix *m, qp_lookup *l, see_other see, void *arg) {
  qp_model_rotation rotation[QP_MODEL_ROTATIONS];
  const unsigned n = qp_model_rotations(m->model, rotation);
  qp_pick pick;
  size_t found = 0;
  for (unsigned i = 0; i < n; i++) {
    for (unsigned op = 0; op < QP_OP_COUNT; op++) {
      if (!qp_op_rotates((qp_op)op)) continue;
      if (!find_other(m, l, (qp_op)op, NULL, rotation[i].rows, rotation[i].columns, &pick))
        continue;
      see(m, qp_op_name((qp_op)op), NULL, rotation[i].columns, &pick, arg);
      found++;
    }
  }
  found += each_routing(m, l, see, arg);
  for (size_t q = 0; q < m->quantizers; q++)
    for (unsigned i = 0; i < m->model->linears + !m->model->headless; i++) {
      const qp_model_linear *at = &m->model->linear[i];
      char launch[64];
      if (at->experts) continue;
      if (!find_other(m, l, QP_OP_DEQUANT, m->quantizer[q], at->rows, at->columns, &pick)) continue;
      snprintf(launch, sizeof launch, "dequant %.48s", at->role);
      see(m, launch, m->quantizer[q], at->columns, &pick, arg);
      found++;
    }
  const unsigned rows = qp_layout_padded_rows(m->model->vocab), columns = m->model->hidden;
  for (size_t q = 0; q < m->quantizers; q++) {
    if (!find_other(m, l, QP_OP_GATHER, m->quantizer[q], rows, columns, &pick)) continue;
    see(m, "gather", m->quantizer[q], columns, &pick, arg);
    found++;
  }
  return found;
}

static void add_other_row(const matrix *m, const char *launch, const qp_quantizer *q,
                          unsigned columns, const qp_pick *pick, void *arg) {
  qp_table_out *t = arg;
  const qp_record *r = pick->record;
  (void)m;
  qp_table_row(t);
  qp_table_text(t, launch);
  qp_table_text(t, q ? q->name : "");
  qp_table_number(t, q ? r->segment[0].rows : r->batch, "%.0f");
  qp_table_number(t, columns, "%.0f");
  qp_table_number(t, (double)pick->ps * 1e-6, "%.2f");
  qp_table_text(t, qp_latency_match_name(pick->match));
}

static void count_other(const matrix *m, const char *launch, const qp_quantizer *q,
                        unsigned columns, const qp_pick *pick, void *arg) {
  (void)m, (void)launch, (void)q, (void)columns, (void)pick, (void)arg;
}

static void print_others(const matrix *m, qp_lookup *l) {
  static const qp_column column[] = {{"launch", false}, {"quantizer", false}, {"rows", true},
                                     {"columns", true}, {"us", true},         {"how", false},
                                     {NULL, false}};
  if (!each_other(m, l, count_other, NULL)) return;
  qp_table_out *t = qp_table_new(column, m->o->json);
  each_other(m, l, add_other_row, t);
  if (!m->o->json) printf("\n");
  qp_table_print(t);
}

/* ---- Gated linear units ---- */

static bool find_pair(const matrix *m, qp_lookup *l, unsigned group, size_t q, size_t path,
                      qp_problem *p, qp_pair *pair) {
  *p = problem_of(m, q, &(qp_model_launch){.linears = 0});
  return (!m->o->path || !strcmp(m->o->path, m->path[path])) &&
         qp_model_pair_pose(m->model, group, m->quantizer[q], p) &&
         qp_pair_find(l, p, m->path[path], pair);
}

typedef void (*see_pair)(const matrix *m, size_t q, size_t path, const qp_problem *p,
                         const qp_pair *pair, void *arg);

/* Every gated linear unit of which all four launches were measured. */
static void each_pair(const matrix *m, qp_lookup *l, see_pair see, void *arg) {
  for (unsigned g = 0; g < m->model->groups; g++)
    for (size_t q = 0; q < m->quantizers; q++)
      for (size_t path = 0; path < m->paths; path++) {
        qp_problem p;
        qp_pair pair;
        if (find_pair(m, l, g, q, path, &p, &pair)) see(m, q, path, &p, &pair, arg);
      }
}

static void see_any_pair(const matrix *m, size_t q, size_t path, const qp_problem *p,
                         const qp_pair *pair, void *any) {
  (void)m, (void)q, (void)path, (void)p, (void)pair;
  *(bool *)any = true;
}

static void add_pair_row(const matrix *m, size_t q, size_t path, const qp_problem *p,
                         const qp_pair *pair, void *arg) {
  qp_table_out *t = arg;
  const int64_t before = qp_pair_before_ps(pair), behind = qp_pair_behind_ps(pair);
  const int64_t ps[] = {pair->gemm.ps,     pair->rotate_glu.ps, before,
                        pair->gemm_glu.ps, pair->rotate.ps,     behind};
  qp_table_row(t);
  qp_table_text(t, m->quantizer[q]->name);
  qp_table_number(t, p->segment[0].rows, "%.0f");
  qp_table_number(t, p->columns, "%.0f");
  qp_table_text(t, m->path[path]);
  for (size_t i = 0; i < sizeof ps / sizeof *ps; i++)
    qp_table_number(t, (double)ps[i] * 1e-6, "%.2f");
  qp_table_text(t, behind < before ? "behind" : "before");
}

/* Both ways to a gated linear unit, where all four launches were measured. */
static void print_pairs(const matrix *m, qp_lookup *l) {
  static const qp_column column[] = {
      {"quantizer", false}, {"rows", true},       {"columns", true},  {"path", false},
      {"gemm", true},       {"rotate-glu", true}, {"both", true},     {"with unit", true},
      {"rotate", true},     {"both", true},       {"quicker", false}, {NULL, false}};
  bool any = false;
  each_pair(m, l, see_any_pair, &any);
  if (!any) return;
  qp_table_out *t = qp_table_new(column, false);
  each_pair(m, l, add_pair_row, t);
  printf("\nThe gated linear unit of up and gate before down's rotation, or behind their gemm\n"
         "(of stacks experts):\n");
  qp_table_print(t);
}

/* Both ways as launches of the table, by their sums: which is quicker shows. */
static void add_pair_cells(const matrix *m, size_t q, size_t path, const qp_problem *p,
                           const qp_pair *pair, void *arg) {
  enum { UNKNOWN = 4, TEXTS = 4 }; /* numbers, then texts that a single launch has */
  qp_table_out *t = arg;
  char launches[48];
  for (unsigned behind = 0; behind < 2; behind++) {
    const int64_t ps = behind ? qp_pair_behind_ps(pair) : qp_pair_before_ps(pair);
    qp_table_row(t);
    qp_table_text(t, m->quantizer[q]->name);
    snprintf(launches, sizeof launches, behind ? "%s-glu, rotate" : "%s, rotate-glu",
             qp_op_name(p->op));
    qp_table_text(t, launches);
    qp_table_number(t, p->columns, "%.0f");
    qp_table_number(t, m->o->batch, "%.0f");
    qp_table_text(t, m->path[path]);
    qp_table_number(t, (double)ps * 1e-6, "%.3f");
    for (unsigned i = 0; i < UNKNOWN; i++) qp_table_number(t, (double)NAN, "%.3f");
    for (unsigned i = 0; i < TEXTS; i++) qp_table_text(t, "");
    qp_table_number(t, (double)NAN, "%.0f");
    qp_table_text(t, "");
  }
}

/* A launch's path without a time, and the reason. */
static void add_left_out(const matrix *m, size_t q, const qp_model_launch *launch,
                         const qp_record *r, void *arg) {
  enum { TIMES = 5 };
  qp_table_out *t = arg;
  qp_table_row(t);
  qp_table_text(t, m->quantizer[q]->name);
  qp_table_text(t, launch->label);
  qp_table_number(t, launch->columns, "%.0f");
  qp_table_number(t, m->o->batch, "%.0f");
  qp_table_text(t, r->path);
  for (unsigned i = 0; i < TIMES; i++) qp_table_number(t, (double)NAN, "%.3f");
  qp_table_text(t, "not measured");
  qp_table_text(t, r->kernel);
  qp_table_text(t, r->driver);
  qp_table_text(t, r->date);
  qp_table_number(t, (double)NAN, "%.0f");
  qp_table_text(t, r->why);
}

static void print_json(const matrix *m, qp_lookup *lookup) {
  static const qp_column column[] = {
      {"quantizer", false}, {"launch", false},      {"columns", true},      {"batch", true},
      {"path", false},      {"us", true},           {"spread_us", true},    {"kernel_us", true},
      {"chain_us", true},   {"chain_pdl_us", true}, {"how", false},         {"kernel", false},
      {"driver", false},    {"date", false},        {"dequant_rows", true}, {"why", false},
      {NULL, false}};
  qp_table_out *t = qp_table_new(column, true);
  for (size_t i = 0; i < m->quantizers * m->launches; i++) {
    const cell *c = &m->cell[i];
    if (!c->there) continue;
    const qp_record *r = c->pick.record;
    const qp_model_launch *l = &m->launch[i % m->launches];
    qp_table_row(t);
    qp_table_text(t, m->quantizer[i / m->launches]->name);
    qp_table_text(t, l->label);
    qp_table_number(t, l->columns, "%.0f");
    qp_table_number(t, m->o->batch, "%.0f");
    qp_table_text(t, m->path[c->path]);
    const int64_t ps[] = {c->pick.ps, c->pick.spread_ps, r->ps, r->chain_ps, r->chain_pdl_ps};
    for (size_t k = 0; k < sizeof ps / sizeof *ps; k++)
      qp_table_number(t, (double)ps[k] * 1e-6, "%.3f");
    qp_table_text(t, qp_latency_match_name(c->pick.match));
    qp_table_text(t, r->kernel);
    qp_table_text(t, r->driver);
    qp_table_text(t, r->date);
    const bool crosses = c->crossover && c->crossover != QP_CROSSOVER_NEVER;
    qp_table_number(t, crosses ? (double)c->crossover : (double)NAN, "%.0f");
    qp_table_text(t, "");
  }
  each_pair(m, lookup, add_pair_cells, t);
  each_left_out(m, lookup, add_left_out, t);
  qp_table_print(t);
}

static qp_status write_csv(const matrix *m, qp_error *err) {
  qp_text t = {0};
  qp_text_add(&t, "quantizer,launch,columns,batch,path,us,spread_us,how,kernel\n");
  for (size_t i = 0; i < m->quantizers * m->launches; i++) {
    const cell *c = &m->cell[i];
    const qp_model_launch *l = &m->launch[i % m->launches];
    if (c->there)
      qp_text_add(&t, "%s,%s,%u,%u,%s,%.6f,%.6f,%s,%s\n", m->quantizer[i / m->launches]->name,
                  l->label, l->columns, m->o->batch, m->path[c->path], (double)c->pick.ps * 1e-6,
                  (double)c->pick.spread_ps * 1e-6, qp_latency_match_name(c->pick.match),
                  c->pick.record->kernel);
  }
  qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "%s: no memory", m->o->csv)
                              : qp_file_write(m->o->csv, t.s, t.length, err);
  qp_text_free(&t);
  return status;
}

static qp_status parse_match(const char *text, qp_latency_match *out, qp_error *err) {
  for (unsigned i = 0; i < QP_MATCH_KINDS; i++)
    if (!strcmp(text, qp_latency_match_name((qp_latency_match)i)))
      return *out = (qp_latency_match)i, QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "--worst '%s': exact, 'other driver', 'nearest shape' or 'other gpu' is needed",
                 text);
}

static qp_status show(matrix *m, qp_lookup *l, const qp_records *records, const char *source,
                      qp_error *err) {
  m->cell = calloc(m->quantizers * m->launches, sizeof *m->cell);
  if (!m->cell) return qp_fail(err, QP_E_NOMEM, "no memory for a table");
  for (size_t q = 0; q < m->quantizers; q++)
    for (unsigned i = 0; i < m->launches; i++) fill_cell(m, l, q, i);
  fill_crossovers(m, l, records);
  if (!m->found)
    return qp_fail(err, QP_E_WRONG, "%s: no record fits %s at batch %u (%zu records, %zu stale)",
                   source, m->model->name, m->o->batch, records->count, qp_lookup_stale(l));
  if (m->o->csv) return write_csv(m, err);
  if (m->o->json) return print_json(m, l), QP_OK;
  print_matrix(m, "-", latency_text);
  print_others(m, l);
  print_pairs(m, l);
  print_crossovers(m);
  each_left_out(m, l, print_left_out, &(bool){false});
  printf("us a launch (%s time) on %s, batch %u, from %s", m->o->time, records->gpu, m->o->batch,
         source);
  for (size_t i = 1; i < m->paths && !m->o->path; i++)
    if (is_shown(m, i)) printf("; %c: path %s", *m->path[i], m->path[i]);
  printf("%s%s\n", m->o->path ? "; path " : "", m->o->path ? m->o->path : "");
  if (qp_lookup_stale(l)) printf("%zu stale records were passed over\n", qp_lookup_stale(l));
  return QP_OK;
}

static qp_status run(const table_options *o, const char *gpu, qp_error *err) {
  qp_session s;
  matrix *m = calloc(1, sizeof *m);
  qp_models *models = NULL;
  qp_records records = {0}, *other = NULL;
  qp_lookup *l = NULL;
  qp_lookup_options lo = {.worst = QP_MATCH_OTHER_DRIVER};
  char source[256];
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for a table");
  qp_status status = qp_session_open(&s, err);
  if (status) return free(m), status;
  m->o = o;
  m->paths = qp_families_paths(s.families, QP_OP_GEMM, m->path, NULL);
  status = qp_time_kind_parse(o->time, &lo.kind, err);
  if (status) qp_fail_prefix(err, status, "--time");
  if (!status && o->path && (status = qp_families_check_path(s.families, QP_OP_GEMM, o->path, err)))
    qp_fail_prefix(err, status, "--path");
  if (!status && o->worst) status = parse_match(o->worst, &lo.worst, err);
  if (!status) status = qp_models_open(&models, err);
  if (!status) status = qp_checkpoint_find_model(models, o->model, &m->model, err);
  if (!status)
    status = qp_session_quantizers(&s, o->quantizers, &m->quantizer, &m->quantizers, err);
  unsigned policy = o->replay ? QP_RECORDS_REPLAY : QP_RECORDS_MEASURED;
  if (!status) status = qp_library_read(gpu, policy, &records, source, err);
  if (!status && lo.worst == QP_MATCH_OTHER_GPU) status = qp_library_all(&other, &lo.others, err);
  lo.other = other;
  lo.families = o->stale ? NULL : s.families;
  lo.palette = s.palette;
  if (!status) status = qp_lookup_open(&records, &lo, &l, err);
  if (!status) {
    m->launches = qp_model_launches(m->model, m->launch);
    m->arch = records.count ? records.list[0].arch : 0;
    m->sm_count = records.count ? records.list[0].sm_count : 0;
    status = show(m, l, &records, source, err);
  }
  qp_lookup_close(l);
  for (size_t i = 0; i < lo.others; i++) qp_records_free(&other[i]);
  free(other);
  qp_records_free(&records);
  free(m->cell);
  free(m->quantizer);
  free(m);
  qp_models_close(models);
  qp_session_close(&s);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const table_options *o = options;
  (void)code;
  if (o->merge) return merge(o, words, err);
  if (words->count != 1 || !o->model)
    return qp_fail(err, QP_E_ARG, "one GPU and --model are needed");
  return run(o, words->word[0], err);
}

int qp_cmd_table(int argc, char **argv) {
  table_options o = {.batch = 1, .time = "chain"};
  const qp_option table[] = {
      QP_TEXT("model", o.model, "MODEL",
              "a name of qpal list models, a checkpoint or a config.json"),
      QP_NUMBER("batch", o.batch, "N", "rows of activations; 1", 1, QP_MAX_BATCH),
      QP_TEXT("quantizers", o.quantizers, "LIST", "names and prefixes; the palette"),
      QP_TEXT("path", o.path, "PATH", "only of this path: tensor or cuda"),
      QP_TEXT("time", o.time, "KIND", "chain (default), kernel or events"),
      QP_TEXT("worst", o.worst, "HOW",
              "worst match to show: exact, 'other driver' (default), 'nearest shape', 'other gpu'"),
      QP_FLAG("stale", o.stale, "show records of older generators too"),
      QP_TEXT("csv", o.csv, "FILE", "write rows as CSV instead"),
      QP_FLAG("json", o.json, "rows as JSON"),
      QP_FLAG("merge", o.merge, "write the union of the files to -o"),
      QP_TEXT("o", o.out, "FILE", "of --merge"),
      QP_FLAG("replay", o.replay, "take records of the replay device too"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
