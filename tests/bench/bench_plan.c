/* SPDX-License-Identifier: MIT */
/*
** CPU time of the planner on Llama-3.1-8B with the published RTX 4090 table: from the input
** (latencies, sensitivities and sizes in memory) to the proven plan.  Every row is so many limits,
** drawn between what is cheapest and what is best; blocks beyond 32 repeat the 32 with other
** sensitivities.
*/
#include <math.h>
#include <time.h>

#include "tests/plan/plan_kit.h"
#include "tuner/plan/planner.h"

enum { MOST_RUNS = 64 };

static double cpu_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* The input with as many blocks as asked for. */
static qp_status repeat(const published *p, const qp_model *model, qp_plan_input *in,
                        qp_error *err) {
  qp_plan_input own;
  unsigned n = model->linears, blocks = p->in.model->layers;
  qp_status status = qp_plan_input_init(&own, model, &p->menu, err);
  if (status) return status;
  for (unsigned b = 0; b < model->layers; b++) {
    const unsigned copy = b / blocks;
    for (unsigned l = 0; l < n; l++)
      own.alpha[b * n + l] =
          p->in.alpha[b % blocks * n + l] * (1 + 0.37 * sin(1.0 + copy * 7.0 + b));
  }
  memcpy(own.bytes, p->in.bytes, (n + 1) * p->menu.count * sizeof *own.bytes);
  own.table = &p->table;
  *in = own;
  return QP_OK;
}

typedef struct row {
  const char *name;
  unsigned blocks;
  bool latency, bits, mixed;
} row;

static void run_row(const published *p, const row *r, unsigned runs) {
  qp_model model = *p->in.model;
  qp_plan_input in;
  qp_error err = {0};
  double total[MOST_RUNS], solve[MOST_RUNS];
  unsigned proven = 0, found = 0;
  model.linear_weights = model.linear_weights / model.layers * r->blocks;
  model.layers = r->blocks;
  if (repeat(p, &model, &in, &err)) {
    printf("%s\n", err.text);
    return;
  }
  in.mixed_fusion = r->mixed;
  for (unsigned i = 0; i < runs; i++) {
    double at = (i + 0.5) / runs, blocks = r->blocks / 32.0;
    qp_plan plan = {0};
    qp_solution s;
    if (r->latency)
      in.latency_limit_ps = p->table.constant_ps + (int64_t)(blocks * (2.6e9 + 2.6e9 * at));
    if (r->bits) in.bits_limit = r->latency ? 2.0 + 2.5 * fmod(at * 7, 1) : 1.8 + 3.4 * at;
    double start = cpu_ms();
    qp_status status =
        qp_planner_run(&in, &(qp_planner_options){.time_limit_s = 60}, &plan, &s, &err);
    total[found] = cpu_ms() - start;
    solve[found] = s.seconds * 1e3;
    if (status) continue;
    found++;
    proven += plan.proven;
    qp_plan_free(&plan);
  }
  qp_plan_input_free(&in);
  if (!found) return;
  qsort(total, found, sizeof *total, compare);
  qsort(solve, found, sizeof *solve, compare);
  printf("%-34s %6u %8u %7u %10.2f %10.2f %12.2f\n", r->name, r->blocks, found, proven,
         total[found / 2], total[found - 1], solve[found / 2]);
}

int main(int argc, char **argv) {
  static published p;
  unsigned runs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 24;
  static const row rows[] = {{"latency", 32, true, false, false},
                             {"bits", 32, false, true, false},
                             {"latency and bits", 32, true, true, false},
                             {"latency", 80, true, false, false},
                             {"bits", 80, false, true, false},
                             {"latency and bits", 80, true, true, false},
                             {"latency, mixed fusion", 32, true, false, true},
                             {"latency and bits, mixed fusion", 32, true, true, true},
                             {"latency, mixed fusion", 80, true, false, true}};
  if (runs < 1 || runs > MOST_RUNS || !published_are_there()) return 1;
  if (published_open(&p, false)) return printf("%s\n", p.err.text), 1;
  printf("%-34s %6s %8s %7s %10s %10s %12s\n", "limits", "blocks", "feasible", "proven",
         "median ms", "worst ms", "in qp_solve");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run_row(&p, &rows[i], runs);
  published_close(&p);
  return 0;
}
