/* SPDX-License-Identifier: MIT */
/* Plans of models with experts and blocks of several kinds. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/models.h"
#include "tuner/plan/figures.h"
#include "tuner/plan/planner.h"
#include "tuner/plan/report.h"

static qp_models *models;
static qp_palette *palette;
static qp_menu *menu;
static qp_model *model;
static qp_plan_input in;
static qp_error err;

/* Blocks 0 and 2 have 8 experts, block 1 an MLP. */
static const char config[] =
    "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 64, \"intermediate_size\": 96,"
    "\"num_attention_heads\": 4, \"num_hidden_layers\": 3, \"vocab_size\": 48, \"head_dim\": 16,"
    "\"moe_intermediate_size\": 32, \"num_experts_per_tok\": 2, \"mlp_only_layers\": [1],"
    "\"num_experts\": 8}";

static void begin(void) {
  static const char *const names[] = {"nuq-2", "nuq-3", "nuq-4"};
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  menu = calloc(1, sizeof *menu);
  model = calloc(1, sizeof *model);
  for (unsigned i = 0; i < 3; i++) {
    const qp_quantizer *q;
    cr_assert_eq(qp_palette_find(palette, names[i], &q, &err), QP_OK, "%s", err.text);
    cr_assert_eq(qp_menu_add(menu, q, NULL, &err), QP_OK);
    menu->entry[i].distortion = 0.12 / (1 << 2 * i);
  }
  cr_assert_eq(qp_models_parse(models, "m/config.json", config, strlen(config), model, &err), QP_OK,
               "%s", err.text);
  cr_assert_eq(qp_plan_input_init(&in, model, menu, &err), QP_OK, "%s", err.text);
}

static void end(void) {
  qp_plan_input_free(&in);
  free(menu);
  free(model);
  qp_palette_close(palette);
  qp_models_close(models);
}

TestSuite(plan_stacks, .init = begin, .fini = end);

static qp_plan make(void) {
  qp_plan plan;
  qp_solution solution;
  const qp_planner_options o = {.time_limit_s = 60};
  cr_assert_eq(qp_planner_run(&in, &o, &plan, &solution, &err), QP_OK, "%s", err.text);
  return plan;
}

static const qp_plan_linear *find(const qp_plan *p, const char *tensor) {
  for (unsigned i = 0; i < p->linears; i++)
    if (!strcmp(p->linear[i].tensor, tensor)) return &p->linear[i];
  return NULL;
}

Test(plan_stacks, a_stack_is_one_item_whose_bytes_are_those_of_all_experts) {
  in.bits_limit = 4.8;
  qp_plan plan = make();
  const qp_plan_linear *up = find(&plan, "model.layers.2.mlp.experts.*.up_proj");
  cr_assert(up && up->experts == 8 && up->rows == 32 && up->columns == 64);
  const qp_quantizer *q =
      menu->entry[qp_menu_find(menu, plan.quantizer[up->quantizer].name)].quantizer;
  cr_assert_eq(up->bytes, 8 * qp_plan_bytes(q, 32, 64));
  cr_assert(!find(&plan, "model.layers.1.mlp.experts.*.up_proj"));
  cr_assert(find(&plan, "model.layers.1.mlp.up_proj") &&
            !find(&plan, "model.layers.0.mlp.up_proj"));
  cr_assert_eq(plan.linears, 3 * 4 + 3 * 3 + 1);
  cr_assert_eq(plan.weights.planned, model->linear_weights);
  cr_assert_eq(plan.weights.active, model->active_weights + model->head_weights);
  cr_assert_leq(plan.bits_per_weight, 4.8);
  qp_plan_free(&plan);
}

/* A stack's sensitivity goes by its name with a '*', which is that of all its experts together. */
Test(plan_stacks, sensitivities_are_those_of_whole_stacks) {
  cJSON *tree = cJSON_CreateObject();
  bool head, fed;
  char name[QP_MODEL_NAME], one[QP_MODEL_NAME];
  unsigned block, linear, stacks = 0;
  for (unsigned i = 0; i < qp_model_count(model); i++) {
    qp_model_place(model, i, &block, &linear);
    qp_model_tensor(model, linear, block, name);
    cJSON_AddNumberToObject(tree, name, i + 1);
    stacks += strchr(name, '*') != NULL;
  }
  cr_assert_eq(stacks, 2 * 3, "three of each of two blocks");
  cr_assert_eq(qp_figures_sensitivity("f.json", tree, &in, &head, &fed, &err), QP_OK, "%s",
               err.text);
  for (unsigned i = 0; i < qp_model_count(model); i++) cr_expect_eq(in.alpha[i], i + 1);
  qp_model_expert("model.layers.2.mlp.experts.*.up_proj", 3, one);
  cJSON_AddNumberToObject(tree, one, 1);
  cr_expect_eq(qp_figures_sensitivity("f.json", tree, &in, &head, &fed, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "'model.layers.2.mlp.experts.3.up_proj' is no linear"), "%s",
            err.text);
  cJSON_DeleteItemFromObject(tree, one);
  cJSON_DeleteItemFromObject(tree, "model.layers.2.mlp.experts.*.up_proj");
  cr_expect_eq(qp_figures_sensitivity("f.json", tree, &in, &head, &fed, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "model.layers.2.mlp.experts.*.up_proj"), "%s", err.text);
  cJSON_Delete(tree);
}

static void add_row(qp_latency_table *t, unsigned experts, unsigned top_k, unsigned rows,
                    unsigned columns, int64_t ps) {
  qp_latency_row r = {.members = 1, .experts = experts, .top_k = top_k, .batch = 1, .ps = ps};
  r.member[0].rows = rows;
  r.member[0].columns = columns;
  snprintf(r.member[0].quantizer, sizeof r.member->quantizer, "nuq-3");
  snprintf(r.path, sizeof r.path, "tensor");
  cr_assert_eq(qp_latency_add(t, &r, &err), QP_OK, "%s", err.text);
}

Test(plan_stacks, a_stack_s_latency_is_that_of_as_many_experts_and_top_k) {
  qp_latency_table t = {.source = "made up", .overhead_ps = -1};
  const unsigned dense[][2] = {{64, 64}, {96, 64}, {64, 96}, {48, 64}};
  for (unsigned i = 0; i < 4; i++) add_row(&t, 0, 0, dense[i][0], dense[i][1], 1000);
  add_row(&t, 0, 0, 32, 64, 10); /* of one matrix of a stack's shape, and of other routers */
  add_row(&t, 0, 0, 64, 32, 10);
  add_row(&t, 8, 4, 32, 64, 20);
  add_row(&t, 16, 2, 64, 32, 20);
  in.table = &t;
  qp_plan plan = {0};
  qp_solution solution;
  const qp_planner_options o = {.time_limit_s = 60};
  cr_assert_eq(qp_planner_run(&in, &o, &plan, &solution, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "the stack of 8 experts of expert_"), "%s", err.text);
  add_row(&t, 8, 2, 32, 64, 700000);
  add_row(&t, 8, 2, 64, 32, 300000); /* by tiles of 8, and of 16 */
  add_row(&t, 8, 2, 64, 32, 200000);
  plan = make();
  /* Three linears of four, q k v as one row each, of each of three blocks and the head: 1000 ps. */
  int64_t stacks = 0, others = 0;
  for (unsigned i = 0; i < plan.launches; i++) {
    const qp_plan_linear *l = &plan.linear[plan.launch[i].linear[0]];
    *(l->experts ? &stacks : &others) += plan.launch[i].latency_ps;
  }
  cr_expect_eq(stacks, 2 * (2 * 700000 + 200000), "%lld", (long long)stacks);
  cr_expect_eq(others % 1000, 0);
  qp_plan_free(&plan);
  qp_latency_free(&t);
}

Test(plan_stacks, a_plan_with_stacks_is_read_as_it_was_written) {
  char *text = NULL, *again = NULL;
  size_t bytes = 0, n = 0;
  qp_plan plan = make(), read = {0};
  cr_assert_eq(qp_plan_print(&plan, &text, &bytes, &err), QP_OK);
  cr_assert_eq(qp_plan_parse("plan.json", text, bytes, &read, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_plan_check(&read, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_plan_print(&read, &again, &n, &err), QP_OK);
  cr_assert_str_eq(text, again);
  char *experts = strstr(text, "\"experts\": 8");
  memcpy(experts + 11, "0", 1);
  cr_assert_eq(qp_plan_parse("plan.json", text, bytes, &read, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "experts"), "%s", err.text);
  free(text);
  free(again);
  qp_plan_free(&plan);
  qp_plan_free(&read);
}

Test(plan_stacks, rows_of_the_map_are_roles_and_blocks_without_one_are_blank) {
  qp_plan plan = make();
  unsigned row[QP_REPORT_ROWS], dense = 0, rows = qp_report_rows(&plan, row);
  cr_assert_eq(rows, 4 + 3 + 3);
  while (strcmp(plan.linear[row[dense]].role, "down") != 0) dense++;
  cr_assert_eq(qp_report_cell(&plan, row, dense, 0), -1);
  const int cell = qp_report_cell(&plan, row, dense, 1);
  cr_assert(cell >= 0 && plan.linear[cell].block == 1);
  qp_plan_free(&plan);
}

Test(plan_stacks, types_of_blocks_are_for_models_of_equal_blocks) {
  qp_plan plan;
  qp_solution solution;
  const qp_planner_options o = {.time_limit_s = 60, .block_types = 2};
  cr_assert_eq(qp_planner_run(&in, &o, &plan, &solution, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "2 kinds"), "%s", err.text);
}
