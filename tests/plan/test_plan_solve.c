/* SPDX-License-Identifier: MIT */
/*
** The solver against two others on random small instances: plain enumeration, and CBC (Debian
** package coinor-cbc) on an integer program that this file writes from the instance's own arrays.
*/
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tuner/plan/build.h"
#include "tuner/plan/planner.h"

enum { MAX_BLOCKS = 3, MAX_Q = 4, LINEARS = 4, OVERHEAD = 40, MAX_LAUNCHES = 400 };

/* Three linears a, b, c with one input, and d alone.  Figures are small whole numbers (losses in
** 64ths), so that a solver in floating point cannot mistake one plan for another. */
typedef struct instance {
  unsigned blocks, quantizers;
  bool fp16, fusion, mixed;       /* fp16: quantizer 0 */
  int ps[1 << LINEARS][MAX_Q][2]; /* by mask, quantizer, path; -1: not measured */
  int bytes[LINEARS][MAX_Q];
  int alpha[MAX_BLOCKS][LINEARS], distortion[MAX_Q]; /* in 64ths */
  bool turned[MAX_Q];            /* x is rotated in blocks of 32 before it, else whole */
  int64_t ps_limit, bytes_limit; /* -1: none */
} instance;

static uint64_t seed;
static int pick(int lo, int hi) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return lo + (int)((seed >> 33) % (uint64_t)(hi - lo + 1));
}

static bool is_mask(unsigned mask) { return mask == 8 || (mask > 0 && mask < 8); }

static instance draw(unsigned number, unsigned blocks, unsigned quantizers) {
  instance n = {.blocks = blocks, .quantizers = quantizers};
  seed = 1000003u * number + 17;
  for (int i = 0; i < 10; i++) pick(0, 1);
  n.fp16 = pick(0, 2) == 0;
  n.fusion = number % 4 != 0;
  n.mixed = number % 4 >= 2;
  for (unsigned q = 0; q < quantizers; q++) n.turned[q] = number % 3 == 1 && (q + number) % 2;
  for (unsigned q = 0; q < quantizers; q++) {
    n.distortion[q] = (int)(200 / (1 << (2 * q))) + pick(0, 9);
    for (unsigned l = 0; l < LINEARS; l++) n.bytes[l][q] = (int)(20 + 30 * q) + pick(0, 12);
    for (unsigned mask = 1; mask < 16; mask++)
      for (unsigned path = 0; path < 2; path++) {
        int members = __builtin_popcount(mask);
        n.ps[mask][q][path] = OVERHEAD + members * ((int)(30 + 20 * q) + pick(-15, 15));
        bool lost = path ? pick(0, 2) == 0 : pick(0, 9) == 0 && members > 1;
        if (lost || !is_mask(mask)) n.ps[mask][q][path] = -1;
      }
  }
  for (unsigned b = 0; b < blocks; b++)
    for (unsigned l = 0; l < LINEARS; l++) n.alpha[b][l] = pick(1, 60);
  /* Limits that lie inside, at the edge of, and outside what is possible. */
  int limits = pick(0, 2);
  n.ps_limit = limits == 1 ? -1 : (int64_t)blocks * pick(150, 520);
  n.bytes_limit = limits == 0 ? -1 : (int64_t)blocks * pick(90, 430);
  return n;
}

/* ---- Every launch of the instance, said once more ---- */

typedef struct launch {
  unsigned mask, turns; /* bit 0, 1: x may be rotated whole, in blocks */
  int loss[MAX_BLOCKS], ps, bytes;
} launch;

/* The ways in which x may be rotated before all of a launch: 0, there is none. */
static unsigned turns_of(const instance *n, unsigned mask, const unsigned *q) {
  unsigned turns = 3;
  for (unsigned k = 0; k < (unsigned)__builtin_popcount(mask); k++)
    if (!(n->fp16 && q[k] == 0)) turns &= n->turned[q[k]] ? 2 : 1;
  return mask == 8 ? 3 : turns; /* d is alone with its input */
}

static void put(const instance *n, unsigned mask, const unsigned *q, int ps, launch *to) {
  *to = (launch){.mask = mask, .turns = turns_of(n, mask, q), .ps = ps};
  for (unsigned l = 0, k = 0; l < LINEARS; l++) {
    if (!(mask >> l & 1)) continue;
    to->bytes += n->bytes[l][q[k]];
    for (unsigned b = 0; b < n->blocks; b++) to->loss[b] += n->alpha[b][l] * n->distortion[q[k]];
    k++;
  }
}

/* ps of quantizers q on a path, -1 where it cannot be had. */
static int launch_ps(const instance *n, unsigned mask, const unsigned *q, unsigned path) {
  unsigned members = (unsigned)__builtin_popcount(mask);
  bool same = true, fp16 = false;
  int sum = -(int)(members - 1) * OVERHEAD;
  for (unsigned l = 0, k = 0; l < LINEARS; l++) {
    if (!(mask >> l & 1)) continue;
    int ps = n->ps[1u << l][q[k]][path];
    same = same && q[k] == q[0];
    fp16 = fp16 || (n->fp16 && q[k] == 0);
    if (ps < 0 || sum == INT32_MIN)
      sum = INT32_MIN;
    else
      sum += ps;
    k++;
  }
  if (members == 1) return n->ps[mask][q[0]][path];
  if (!n->fusion) return -1;
  if (same && n->ps[mask][q[0]][path] >= 0) return n->ps[mask][q[0]][path];
  return n->mixed && !fp16 && sum != INT32_MIN ? sum : -1;
}

static unsigned launches_of(const instance *n, launch *list) {
  unsigned count = 0;
  for (unsigned mask = 1; mask < 16; mask++) {
    unsigned members = (unsigned)__builtin_popcount(mask), combinations = 1;
    if (!is_mask(mask)) continue;
    for (unsigned k = 0; k < members; k++) combinations *= n->quantizers;
    for (unsigned c = 0; c < combinations; c++)
      for (unsigned path = 0; path < 2; path++) {
        unsigned q[LINEARS], rest = c;
        for (unsigned k = 0; k < members; k++, rest /= n->quantizers) q[k] = rest % n->quantizers;
        int ps = launch_ps(n, mask, q, path);
        cr_assert_lt(count, MAX_LAUNCHES);
        if (ps >= 0 && turns_of(n, mask, q)) put(n, mask, q, ps, &list[count++]);
      }
  }
  return count;
}

/* ---- The planner's answer ---- */

typedef struct answer {
  qp_solution solution;
  qp_plan plan;
} answer;

static void make_table(const instance *n, const char (*names)[8], qp_latency_table *t) {
  static const char letters[] = "abcd";
  qp_error err = {0};
  *t = (qp_latency_table){.source = "random", .model = "random", .overhead_ps = OVERHEAD};
  for (unsigned mask = 1; mask < 16; mask++)
    for (unsigned q = 0; q < n->quantizers; q++)
      for (unsigned path = 0; path < 2; path++) {
        qp_latency_row r = {.members = 1, .batch = 1, .ps = n->ps[mask][q][path]};
        unsigned k = 0;
        if (r.ps < 0) continue;
        for (unsigned l = 0; l < LINEARS; l++)
          if (mask >> l & 1) r.key[k++] = letters[l];
        snprintf(r.path, sizeof r.path, "%s", path ? "cuda" : "tensor");
        snprintf(r.member[0].quantizer, sizeof r.member[0].quantizer, "%s", names[q]);
        cr_assert_eq(qp_latency_add(t, &r, &err), QP_OK, "%s", err.text);
      }
}

static size_t most_states; /* that the solver may keep; 0: its own limit */

/* The menu of an instance, and the names as a table has them. */
static void fill_menu(const instance *n, qp_menu *menu, char (*shown)[8]) {
  static const char names[MAX_Q][8] = {"w-2", "x-3", "y-4", "z-5"};
  static qp_quantizer quantizer[MAX_Q];
  qp_error err = {0};
  menu->count = 0;
  for (unsigned q = 0; q < n->quantizers; q++) {
    bool fp16 = n->fp16 && q == 0;
    quantizer[q] = (qp_quantizer){.kind = QP_SCALAR, .window = 2, .dim = 1, .step = 2};
    quantizer[q].rotation = n->turned[q] ? 32 : q % 2 ? 64 : 0; /* of 64 columns: the same */
    snprintf(quantizer[q].name, sizeof quantizer[q].name, "%s", names[q]);
    snprintf(shown[q], 8, "%s", fp16 ? "fp16" : names[q]);
    cr_assert_eq(qp_menu_add(menu, fp16 ? NULL : &quantizer[q], NULL, &err), QP_OK);
    menu->entry[q].distortion = n->distortion[q] / 64.0;
  }
}

/* Blocks of linears a, b, c, which read one input, and d. */
static void fill_model(const instance *n, qp_model *m) {
  *m = (qp_model){.name = "random", .layers = n->blocks, .linears = LINEARS, .groups = 2};
  for (unsigned l = 0; l <= LINEARS; l++) {
    m->linear[l] = (qp_model_linear){.group = l == 3, .rows = 64, .columns = 64};
    snprintf(m->linear[l].role, sizeof m->linear[l].role, "%c", "abcdh"[l]);
    snprintf(m->linear[l].tensor, sizeof m->linear[l].tensor, "%c", "abcdh"[l]);
  }
  m->linear_weights = (uint64_t)n->blocks * 4 * 4096;
  m->head_weights = 4096; /* stays in 16 bits, outside the limit that is drawn */
  m->group[0] = (qp_model_group){"abc", 3, {64, 64, 64}, 64, {0, 1, 2}};
  m->group[1] = (qp_model_group){"d", 1, {64}, 64, {3}};
}

static void set_input(const instance *n, const qp_latency_table *table, qp_plan_input *in) {
  in->table = table;
  in->fusion = n->fusion, in->mixed_fusion = n->mixed;
  in->latency_limit_ps = n->ps_limit;
  if (n->bytes_limit >= 0)
    in->memory_limit_bytes =
        n->bytes_limit + 2 * 4096 + (int64_t)qp_plan_sign_bytes(in->model, false);
  for (unsigned b = 0; b < n->blocks; b++)
    for (unsigned l = 0; l < LINEARS; l++) in->alpha[b * LINEARS + l] = n->alpha[b][l];
  for (unsigned l = 0; l < LINEARS; l++)
    for (unsigned q = 0; q < n->quantizers; q++)
      in->bytes[l * in->menu->count + q] = (uint64_t)n->bytes[l][q];
}

enum { ITEMS = 64 };

/* The least time of the quantizers that were chosen, item by item, with the constant part. */
static int64_t fastest_ps(const qp_plan_problem *p, const qp_knap_choice *choice) {
  static qp_knap_choice fastest[ITEMS];
  cr_assert_leq(p->knap.items, ITEMS);
  for (unsigned i = 0; i < p->knap.items; i++) {
    unsigned tag[QP_KNAP_LINEARS] = {0};
    qp_knap_quantizers(&p->knap.item[i], &choice[i], tag);
    cr_assert(qp_knap_fastest(&p->full.item[i], tag, &fastest[i]));
  }
  return p->fixed_ps + qp_knap_plan_sum(&p->full, fastest).ps;
}

/* A proven plan adds up and is within the limits. */
static void check_plan(const instance *n, const qp_plan_problem *p, const qp_knap_choice *choice,
                       answer *a) {
  qp_error err = {0};
  const qp_knap_total again = qp_knap_plan_sum(&p->knap, choice);
  cr_assert_eq(again.ps, a->solution.total.ps);
  cr_assert(n->ps_limit < 0 || again.ps <= n->ps_limit);
  cr_assert(n->bytes_limit < 0 || again.bytes <= n->bytes_limit);
  cr_assert_eq(qp_plan_decode(p, choice, &a->solution, &a->plan, &err), QP_OK);
  cr_assert_eq(qp_plan_check(&a->plan, &err), QP_OK, "%s", err.text);
  cr_assert_float_eq(a->plan.loss, again.loss, 1e-9);
  if (n->ps_limit >= 0) cr_assert_leq(a->plan.latency_ps, again.ps);
  cr_assert_eq(a->plan.latency_ps, fastest_ps(p, choice));
  qp_plan_free(&a->plan);
}

static answer ask(const instance *n) {
  static qp_menu menu;
  char shown[MAX_Q][8];
  qp_model m;
  qp_error err = {0};
  qp_plan_input in;
  qp_latency_table table;
  qp_plan_problem p;
  answer a = {0};
  fill_menu(n, &menu, shown);
  fill_model(n, &m);
  cr_assert_eq(qp_plan_input_init(&in, &m, &menu, &err), QP_OK, "%s", err.text);
  make_table(n, (const char(*)[8])shown, &table);
  set_input(n, &table, &in);
  const qp_solve_options options = {.most_states = most_states};
  cr_assert_eq(qp_plan_build(&in, NULL, 0, &p, &err), QP_OK, "%s", err.text);
  qp_knap_choice *choice = calloc(p.knap.items + 1, sizeof *choice);
  cr_assert_eq(qp_solve(&p.knap, &options, choice, &a.solution, &err), QP_OK, "%s", err.text);
  if (a.solution.outcome == QP_SOLVE_PROVEN) check_plan(n, &p, choice, &a);
  free(choice);
  qp_plan_problem_free(&p);
  qp_plan_input_free(&in);
  qp_latency_free(&table);
  return a;
}

/* ---- Enumeration ---- */

typedef struct whole {
  int loss, ps, bytes;
} whole;

/* All ways to launch the linears of 'left' in block b behind rotations 'turns', added to 'sum'. */
static void enumerate(const launch *list, unsigned count, unsigned b, unsigned left, unsigned turns,
                      whole sum, whole *out, size_t *n, size_t room) {
  if (!left) {
    cr_assert_lt(*n, room);
    out[(*n)++] = sum;
    return;
  }
  unsigned low = left & (~left + 1);
  for (unsigned i = 0; i < count; i++) {
    const launch *l = &list[i];
    if (!(l->mask & low) || (l->mask & ~left) || !(l->turns & turns)) continue;
    enumerate(list, count, b, left & ~l->mask, l->mask == 8 ? turns : turns & l->turns,
              (whole){sum.loss + l->loss[b], sum.ps + l->ps, sum.bytes + l->bytes}, out, n, room);
  }
}

static bool within(const instance *n, const whole *w) {
  return (n->ps_limit < 0 || w->ps <= n->ps_limit) &&
         (n->bytes_limit < 0 || w->bytes <= n->bytes_limit);
}

Test(plan_solve, plans_are_those_of_plain_enumeration) {
  enum { ROOM = 1 << 14, INSTANCES = 240 };
  static whole block[2][ROOM];
  unsigned feasible = 0;
  for (unsigned i = 0; i < INSTANCES; i++) {
    instance n = draw(i, 2, 2);
    launch list[MAX_LAUNCHES];
    unsigned count = launches_of(&n, list);
    size_t size[2] = {0, 0};
    int best = INT32_MAX;
    for (unsigned b = 0; b < 2; b++)
      enumerate(list, count, b, 15, 3, (whole){0, 0, 0}, block[b], &size[b], ROOM);
    for (size_t x = 0; x < size[0]; x++)
      for (size_t y = 0; y < size[1]; y++) {
        whole w = {block[0][x].loss + block[1][y].loss, block[0][x].ps + block[1][y].ps,
                   block[0][x].bytes + block[1][y].bytes};
        if (w.loss < best && within(&n, &w)) best = w.loss;
      }
    answer a = ask(&n);
    if (best == INT32_MAX) {
      cr_expect_eq(a.solution.outcome, QP_SOLVE_INFEASIBLE, "instance %u", i);
      cr_expect(a.solution.ps_over > 0 || a.solution.bytes_over > 0);
      continue;
    }
    feasible++;
    cr_expect_eq(a.solution.outcome, QP_SOLVE_PROVEN, "instance %u", i);
    cr_expect_float_eq(a.solution.total.loss, best / 64.0, 1e-9, "instance %u: %.9g, best %.9g", i,
                       a.solution.total.loss, best / 64.0);
    cr_expect_eq(a.solution.bound, a.solution.total.loss);
  }
  cr_assert(feasible > INSTANCES / 3 && feasible < INSTANCES, "%u feasible", feasible);
}

/* ---- Stopped early ---- */

Test(plan_solve, a_stopped_search_certifies_its_gap) {
  unsigned stopped = 0;
  for (unsigned i = 0; i < 120; i++) {
    instance n = draw(9000 + i, 3, 4);
    answer exact = ask(&n);
    most_states = 1 + i % 12;
    answer part = ask(&n);
    most_states = 0;
    if (part.solution.outcome == QP_SOLVE_PROVEN)
      cr_expect_eq(part.solution.total.loss, exact.solution.total.loss, "instance %u", i);
    if (part.solution.outcome != QP_SOLVE_STOPPED) continue;
    stopped++;
    cr_expect_leq(part.solution.bound, exact.solution.total.loss + 1e-9, "instance %u", i);
    cr_expect_geq(part.solution.total.loss, exact.solution.total.loss - 1e-9, "instance %u", i);
  }
  cr_expect_gt(stopped, 10);
}

/* ---- CBC ---- */

static void write_terms(FILE *f, const instance *n, const launch *list, unsigned count, int what) {
  for (unsigned b = 0; b < n->blocks; b++)
    for (unsigned i = 0; i < count; i++) {
      int v = what == 0 ? list[i].loss[b] : what == 1 ? list[i].ps : list[i].bytes;
      fprintf(f, " + %d x%u_%u%s", v, b, i, i % 8 == 7 ? "\n" : "");
    }
}

/* The launches with linear l of block b that want one rotation alone; t_b: it is in blocks. */
static void write_turns(FILE *f, const launch *list, unsigned count, unsigned b, unsigned l) {
  for (unsigned turns = 1; turns <= 2; turns++) {
    fprintf(f, " t%u_%u_%u: 0 x%u_0", turns, b, l, b);
    for (unsigned i = 0; i < count; i++)
      if (list[i].turns == turns && list[i].mask >> l & 1)
        fprintf(f, " + x%u_%u%s", b, i, i % 12 == 11 ? "\n" : "");
    fprintf(f, turns == 1 ? " + t%u <= 1\n" : " - t%u <= 0\n", b);
  }
}

/* minimise the loss (or, 'fastest', ps without a limit on it) in the LP format. */
static void write_program(const char *file, const instance *n, const launch *list, unsigned count,
                          bool fastest) {
  FILE *f = fopen(file, "w");
  cr_assert(f);
  fprintf(f, "Minimize\n obj:");
  write_terms(f, n, list, count, fastest ? 1 : 0);
  fprintf(f, "\nSubject To\n");
  for (unsigned b = 0; b < n->blocks; b++)
    for (unsigned l = 0; l < LINEARS; l++) {
      fprintf(f, " c%u_%u:", b, l);
      for (unsigned i = 0; i < count; i++)
        if (list[i].mask >> l & 1) fprintf(f, " + x%u_%u%s", b, i, i % 12 == 11 ? "\n" : "");
      fprintf(f, " = 1\n");
      if (l < 3) write_turns(f, list, count, b, l);
    }
  if (n->ps_limit >= 0 && !fastest) {
    fprintf(f, " ps:");
    write_terms(f, n, list, count, 1);
    fprintf(f, " <= %lld\n", (long long)n->ps_limit);
  }
  if (n->bytes_limit >= 0) {
    fprintf(f, " bytes:");
    write_terms(f, n, list, count, 2);
    fprintf(f, " <= %lld\n", (long long)n->bytes_limit);
  }
  fprintf(f, "Binary\n");
  for (unsigned b = 0; b < n->blocks; b++)
    for (unsigned i = 0; i < count; i++) fprintf(f, " x%u_%u\n", b, i);
  for (unsigned b = 0; b < n->blocks; b++) fprintf(f, " t%u\n", b);
  fprintf(f, "End\n");
  fclose(f);
}

/* The optimum of a program; NAN: infeasible. */
static double run_cbc(const char *folder) {
  char command[512], file[256], line[256] = "";
  snprintf(command, sizeof command,
           "cd '%s' && cbc p.lp ratioGap 0 allowableGap 0 solve solution p.sol >cbc.log 2>&1",
           folder);
  cr_assert_eq(system(command), 0, "%s", command);
  snprintf(file, sizeof file, "%s/p.sol", folder);
  FILE *f = fopen(file, "r");
  cr_assert(f && fgets(line, sizeof line, f));
  fclose(f);
  const char *value = strstr(line, "objective value");
  cr_assert(value, "%s", line);
  if (!strncmp(line, "Infeasible", 10) || !strncmp(line, "Integer infeasible", 18)) return NAN;
  cr_assert_eq(strncmp(line, "Optimal", 7), 0, "%s", line);
  return atof(value + strlen("objective value"));
}

Test(plan_solve, plans_are_those_of_an_integer_programming_solver) {
  enum { INSTANCES = 208 };
  char folder[] = "/tmp/qpal_cbc_XXXXXX", file[64], command[128];
  if (system("command -v cbc >/dev/null 2>&1") != 0) {
    fprintf(stderr, "SKIPPED: no cbc (Debian: coinor-cbc), so plans are not compared with it\n");
    return;
  }
  cr_assert(mkdtemp(folder));
  snprintf(file, sizeof file, "%s/p.lp", folder);
  unsigned feasible = 0, kinds[3][3] = {{0}};
  for (unsigned i = 0; i < INSTANCES; i++) {
    instance n = draw(5000 + i, 2 + i % 2, 3);
    launch list[MAX_LAUNCHES];
    unsigned count = launches_of(&n, list);
    write_program(file, &n, list, count, false);
    double optimum = run_cbc(folder) / 64;
    answer a = ask(&n);
    kinds[n.fusion + n.mixed][n.ps_limit < 0 ? 1 : n.bytes_limit < 0 ? 0 : 2]++;
    if (!isnan(optimum)) {
      feasible++;
      cr_expect_eq(a.solution.outcome, QP_SOLVE_PROVEN, "instance %u", i);
      cr_expect_float_eq(a.solution.total.loss, optimum, 1e-7, "instance %u: %.9g, cbc %.9g", i,
                         a.solution.total.loss, optimum);
      continue;
    }
    cr_expect_eq(a.solution.outcome, QP_SOLVE_INFEASIBLE, "instance %u", i);
    if (n.ps_limit < 0 || a.solution.bytes_over) continue;
    write_program(file, &n, list, count, true); /* by how much, and the cheapest plan */
    cr_expect_eq((double)(n.ps_limit + a.solution.ps_over), run_cbc(folder), "instance %u", i);
  }
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
  printf("%u instances equal to cbc, %u of them feasible\n", INSTANCES, feasible);
  cr_assert(feasible > INSTANCES / 3 && feasible < INSTANCES);
  for (unsigned f = 0; f < 3; f++) /* without fusion, with, with mixed; one limit, another, both */
    for (unsigned l = 0; l < 3; l++) cr_expect_gt(kinds[f][l], 5, "%u %u", f, l);
}
