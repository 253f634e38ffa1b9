/* SPDX-License-Identifier: MIT */
/* What rows of a latency table mean for a model's launches, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/plan/planner.h"

/* One block: a, b (64 x 64) and c (32 x 64) read one input, d (64 x 96) another. */
enum { A, B, C, D, LINEARS };
static qp_model model = {
    .name = "toy",
    .layers = 1,
    .linears = LINEARS,
    .groups = 2,
    .linear = {{.role = "a", .tensor = "a", .rows = 64, .columns = 64},
               {.role = "b", .tensor = "b", .rows = 64, .columns = 64},
               {.role = "c", .tensor = "c", .rows = 32, .columns = 64},
               {.role = "d", .tensor = "d", .rows = 64, .columns = 96},
               {.role = "h", .tensor = "h", .rows = 32, .columns = 64}},
    .group = {{"abc", 3, {64, 64, 32}, 64, {A, B, C}}, {"d", 1, {64}, 96, {D}}},
    .linear_weights = 16384,
    .head_weights = 2048};
static qp_quantizer two = {
    .name = "w-2", .hash = "aa", .kind = QP_SCALAR, .window = 2, .dim = 1, .step = 2};
static qp_quantizer four = {
    .name = "w-4", .hash = "bb", .kind = QP_SCALAR, .window = 4, .dim = 1, .step = 4};
enum { TWO, FOUR };
static const char *const names[] = {"w-2", "w-4"};

static qp_menu menu;
static qp_plan_input in;
static qp_latency_table table;
static qp_error err;

static void open_input(void) {
  menu.count = 0;
  cr_assert_eq(qp_menu_add(&menu, &two, NULL, &err), QP_OK);
  cr_assert_eq(qp_menu_add(&menu, &four, NULL, &err), QP_OK);
  menu.entry[TWO].distortion = 0.1;
  menu.entry[FOUR].distortion = 0.01;
  cr_assert_eq(qp_plan_input_init(&in, &model, &menu, &err), QP_OK, "%s", err.text);
  table = (qp_latency_table){.source = "toy.jsonl", .gpu = "toy", .overhead_ps = -1};
  in.table = &table;
}

static void close_input(void) {
  qp_plan_input_free(&in);
  qp_latency_free(&table);
}
TestSuite(plan_costs, .init = open_input, .fini = close_input);

/* A row of linears with their quantizers, ends with -1; it can be changed until the next. */
static qp_latency_row *row(int64_t ps, const int *linear, const int *quantizer) {
  qp_latency_row r = {.path = "tensor", .batch = 1, .ps = ps};
  for (; linear[r.members] >= 0; r.members++) {
    const qp_model_linear *l = &model.linear[linear[r.members]];
    r.member[r.members].rows = l->rows;
    r.member[r.members].columns = l->columns;
    snprintf(r.member[r.members].quantizer, sizeof r.member[0].quantizer, "%s",
             names[quantizer[r.members]]);
  }
  cr_assert_eq(qp_latency_add(&table, &r, &err), QP_OK, "%s", err.text);
  return &table.row[table.rows - 1];
}
#define ROW(ps, ...) row(ps, (const int[]){__VA_ARGS__, -1}, (const int[]){QS, QS, QS})
#define QS           TWO

static int64_t cost(const qp_costs *c, unsigned group, unsigned mask, unsigned q) {
  return qp_costs_same(c, &in, group, mask, q, 0)->ps;
}

static qp_costs make(void) {
  qp_costs c;
  cr_assert_eq(qp_costs_make(&in, &c, &err), QP_OK, "%s", err.text);
  return c;
}

static void expect_refused(const char *part) {
  qp_costs c;
  qp_status status = qp_costs_make(&in, &c, &err);
  cr_expect_eq(status, QP_E_ARG, "not refused: %s", part);
  cr_expect(strstr(err.text, part), "'%s' is missing in: %s", part, err.text);
  if (!status) qp_costs_free(&c);
}

Test(plan_costs, a_row_serves_every_set_of_linears_of_its_shapes) {
  ROW(100, A);
  ROW(70, C);
  ROW(130, C, A); /* in another order than the model's */
  ROW(90, D);
  qp_costs c = make();
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 100);
  cr_expect_eq(cost(&c, 0, 1 << B, TWO), 100);
  cr_expect_eq(cost(&c, 0, 1 << C, TWO), 70);
  cr_expect_eq(cost(&c, 0, 1 << A | 1 << C, TWO), 130);
  cr_expect_eq(cost(&c, 0, 1 << B | 1 << C, TWO), 130);
  cr_expect_eq(cost(&c, 0, 1 << A | 1 << B, TWO), -1);
  cr_expect_eq(cost(&c, 0, 1 << A, FOUR), -1);
  cr_expect_eq(cost(&c, 1, 1, TWO), 90);
  cr_expect_eq(c.overhead_ps, 40, "fusing saved 100 + 70 - 130");
  qp_costs_free(&c);
}

Test(plan_costs, rows_of_another_gpu_are_refused_unless_asked_for) {
  ROW(100, A)->match = QP_MATCH_OTHER_GPU;
  in.accept = QP_MATCH_OTHER_DRIVER;
  expect_refused("rows of other shapes, GPUs or definitions were refused");
  in.accept = QP_MATCH_OTHER_GPU;
  qp_costs c = make();
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 100);
  cr_expect_eq(qp_costs_same(&c, &in, 0, 1 << A, TWO, 0)->match, QP_MATCH_OTHER_GPU);
  qp_costs_free(&c);
  ROW(110, A); /* an exact row goes before it */
  c = make();
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 110);
  qp_costs_free(&c);
}

Test(plan_costs, rows_of_another_definition_are_refused) {
  snprintf(ROW(100, A)->member[0].hash, 33, "ab");
  expect_refused("definitions were refused");
  snprintf(ROW(120, A)->member[0].hash, 33, "aa");
  qp_costs c = make();
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 120);
  cr_expect_eq(c.rows_refused, 1);
  qp_costs_free(&c);
}

Test(plan_costs, rows_that_say_one_launch_twice_are_refused) {
  ROW(100, A, C);
  ROW(101, C, A);
  expect_refused("two rows for one launch: rows 1 and 2");
}

Test(plan_costs, equal_shapes_share_their_samples) {
  static const char *const keys[] = {"a", "b", "c"};
  static const int64_t ps[] = {1000, 1200, 500}, spread[] = {30, 40, 20};
  snprintf(table.model, sizeof table.model, "toy");
  for (unsigned i = 0; i < 3; i++) {
    qp_latency_row r = {.members = 1, .path = "tensor", .batch = 1, .ps = ps[i]};
    r.spread_ps = spread[i];
    snprintf(r.key, sizeof r.key, "%s", keys[i]);
    snprintf(r.member[0].quantizer, sizeof r.member[0].quantizer, "w-2");
    cr_assert_eq(qp_latency_add(&table, &r, &err), QP_OK, "%s", err.text);
  }
  in.confidence = 0.95;
  qp_costs c = make();
  /* a and b: mean 1100, standard error sqrt(30^2 + 40^2) / 2 = 25; z(0.95) = 1.6449 */
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 1141);
  cr_expect_eq(cost(&c, 0, 1 << B, TWO), 1141);
  cr_expect_eq(cost(&c, 0, 1 << C, TWO), 533);
  qp_costs_free(&c);
  cr_expect_float_eq(qp_normal_quantile(0.975), 1.959963985, 1e-8);
}

Test(plan_costs, batches_cost_their_weighted_mean) {
  ROW(100, A);
  ROW(300, A)->batch = 8;
  ROW(60, C); /* not measured at batch 8 */
  in.batches = 2;
  in.batch[0].batch = 1, in.batch[0].weight = 0.75;
  in.batch[1].batch = 8, in.batch[1].weight = 0.25;
  qp_costs c = make();
  cr_expect_eq(cost(&c, 0, 1 << A, TWO), 150);
  cr_expect_eq(cost(&c, 0, 1 << C, TWO), -1);
  qp_costs_free(&c);
}

/* Rows of every linear alone; the plan of least loss within a limit. */
static qp_plan plan_within(int64_t limit_ps) {
  qp_plan p;
  qp_solution s;
  in.latency_limit_ps = limit_ps;
  qp_status status = qp_planner_run(&in, &(qp_planner_options){0}, &p, &s, &err);
  cr_assert_eq(status, QP_OK, "%s", err.text);
  return p;
}

static void add_singles(void) {
  for (int q = TWO; q <= FOUR; q++) {
    row(1000 + q, (const int[]){A, -1}, &q);
    row(1000 + q, (const int[]){C, -1}, &q);
    row(1000 + q, (const int[]){D, -1}, &q);
  }
}

Test(plan_costs, measured_mixed_launches_go_before_modelled_ones) {
  add_singles();
  table.overhead_ps = 900;
  in.head = false;
  qp_plan p = plan_within(1 << 20);
  qp_plan_free(&p);
  /* Modelled: a|b|c takes 3 x 1001 - 1800 = 1203 and d 1001; a row of two at w-2 and one at w-4
  ** says more than the model of it would. */
  p = plan_within(2204);
  cr_expect_eq(p.latency_ps, 2204);
  cr_expect_str_eq(p.launch[0].how, "modelled");
  qp_plan_free(&p);
  row(1500, (const int[]){A, B, C, -1}, (const int[]){TWO, TWO, FOUR});
  p = plan_within(2203); /* 1202 + 1001: two at w-4, one at w-2 in abc, or d at w-2 */
  cr_expect_eq(p.latency_ps, 2203);
  for (unsigned i = 0; i < p.launches; i++)
    if (p.launch[i].members == 3) {
      unsigned fours = 0;
      for (unsigned k = 0; k < 3; k++)
        fours += !strcmp(p.quantizer[p.linear[p.launch[i].linear[k]].quantizer].name, "w-4");
      cr_expect_neq(fours, 1, "that launch was measured, and takes longer");
    }
  qp_plan_free(&p);
  for (size_t i = 0; i < table.rows; i++) /* measured faster than modelled: it is taken */
    if (table.row[i].members == 3) table.row[i].ps = 700;
  p = plan_within(1701);
  cr_expect_eq(p.latency_ps, 1701);
  cr_expect_str_eq(p.launch[0].how, "exact");
  cr_expect_eq(p.launch[0].members, 3);
  qp_plan_free(&p);
}

Test(plan_costs, fp16_is_never_part_of_a_modelled_launch) {
  cr_assert_eq(qp_menu_add(&menu, NULL, NULL, &err), QP_OK);
  qp_plan_input_free(&in);
  cr_assert_eq(qp_plan_input_init(&in, &model, &menu, &err), QP_OK, "%s", err.text);
  in.table = &table;
  add_singles();
  table.overhead_ps = 900;
  for (int l = A; l <= D; l++) {
    if (l == B) continue; /* a's rows serve it */
    snprintf(row(1002, (const int[]){l, -1}, (const int[]){TWO})->member[0].quantizer, 64, "fp16");
  }
  qp_plan p = plan_within(4008);
  cr_expect_eq(p.loss, 0, "all in 16 bits, a launch each");
  cr_expect_eq(p.launches, 4);
  qp_plan_free(&p);
  p = plan_within(4007);
  for (unsigned i = 0; i < p.launches; i++)
    for (unsigned k = 0; k < p.launch[i].members && p.launch[i].members > 1; k++)
      cr_expect_str_neq(p.quantizer[p.linear[p.launch[i].linear[k]].quantizer].name, "fp16");
  qp_plan_free(&p);
}
