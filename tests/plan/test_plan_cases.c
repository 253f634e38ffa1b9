/* SPDX-License-Identifier: MIT */
/* Plans for Llama-3.1-8B with the published figures, against optima that were proven elsewhere. */
#include <criterion/criterion.h>
#include <math.h>

#include "tests/plan/plan_kit.h"

static published data;

static void check_case(const cJSON *c) {
  const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(c, "name"));
  const cJSON *latency = cJSON_GetObjectItem(c, "latency_limit_s");
  const cJSON *memory = cJSON_GetObjectItem(c, "memory_limit_bytes");
  bool tcq = !strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(c, "quantizers")), "15 tcq");
  cr_assert_eq(published_open(&data, tcq), QP_OK, "%s", data.err.text);
  qp_plan_input *in = &data.in;
  cr_assert_eq(data.menu.count, tcq ? 15 : 32);
  in->fusion = cJSON_IsTrue(cJSON_GetObjectItem(c, "fusion"));
  in->paths = cJSON_IsTrue(cJSON_GetObjectItem(c, "cuda_core_path")) ? 2 : 1;
  memcpy(in->path[0], "tensor", sizeof "tensor");
  memcpy(in->path[1], "cuda", sizeof "cuda");
  if (cJSON_IsNumber(latency)) {
    in->table = &data.table;
    in->latency_limit_ps = (int64_t)floor(latency->valuedouble * 1e12);
  }
  if (cJSON_IsNumber(memory)) in->bits_limit = memory->valuedouble * 16 / 13958643712.0;
  qp_plan_problem problem;
  cr_assert_eq(qp_plan_build(in, NULL, 0, &problem, &data.err), QP_OK, "%s", data.err.text);
  qp_knap_choice *choice = calloc(problem.knap.items, sizeof *choice);
  qp_solution s;
  qp_plan plan;
  cr_assert_eq(qp_solve(&problem.knap, NULL, choice, &s, &data.err), QP_OK, "%s", data.err.text);
  cr_assert_eq(s.outcome, QP_SOLVE_PROVEN);
  cr_assert_eq(qp_plan_decode(&problem, choice, &s, &plan, &data.err), QP_OK);
  cr_assert_eq(qp_plan_check(&plan, &data.err), QP_OK, "%s", data.err.text);
  double optimum = cJSON_GetNumberValue(cJSON_GetObjectItem(c, "optimum"));
  printf("%s: %.15g, %.15g is known; %u evaluations, %u rounds, %zu states, %.2f ms\n", name,
         plan.loss, optimum, s.evaluations, s.rounds, s.states, s.seconds * 1e3);
  cr_expect_float_eq(plan.loss, optimum, 1e-9 * optimum, "%s: %.15g, not %.15g", name, plan.loss,
                     optimum);
  cr_expect(plan.proven && plan.gap == 0);
  if (cJSON_IsNumber(latency)) cr_expect_leq(plan.latency_ps, in->latency_limit_ps);
  if (cJSON_IsNumber(memory))
    cr_expect_leq((double)plan.memory.linears, memory->valuedouble, "%s", name);
  qp_plan_free(&plan);
  free(choice);
  qp_plan_problem_free(&problem);
  published_close(&data);
}

Test(plan_cases, optima_are_those_that_were_proven_elsewhere) {
  cJSON *tree = NULL;
  const cJSON *c;
  if (!published_are_there()) return;
  cr_assert_eq(published_json(&data, "planner_cases.json", &tree), QP_OK, "%s", data.err.text);
  cJSON_ArrayForEach(c, cJSON_GetObjectItem(tree, "cases")) check_case(c);
  cJSON_Delete(tree);
}
