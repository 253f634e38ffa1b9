/* SPDX-License-Identifier: MIT */
/* A rank's part of a model: whole heads, rows of what comes out, columns of what goes in. */
#include "tuner/plan/parallel.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/models.h"

static qp_models *models;
static qp_model *whole, *rank;
static qp_error err;

static void begin(void) {
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  whole = calloc(1, sizeof *whole);
  rank = calloc(1, sizeof *rank);
}

static void end(void) {
  free(whole);
  free(rank);
  qp_models_close(models);
}

TestSuite(parallel, .init = begin, .fini = end);

static void take(const char *type, unsigned heads, unsigned keys, const char *more) {
  char text[640];
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": 256, \"intermediate_size\": 512, %s"
           "\"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": 32,"
           "\"num_hidden_layers\": 3, \"vocab_size\": 1000}",
           type, more, heads, keys);
  cr_assert_eq(qp_models_parse(models, "m/config.json", text, strlen(text), whole, &err), QP_OK,
               "%s", err.text);
}

static qp_status split(unsigned ranks, unsigned slices) {
  const qp_parallel_ways ways = {.ranks = ranks, .slices = slices};
  return qp_parallel_split(whole, &ways, rank, &err);
}

static const qp_model_linear *of_role(const qp_model *m, const char *role) {
  for (unsigned i = 0; i <= m->linears; i++)
    if (!strcmp(m->linear[i].role, role)) return &m->linear[i];
  cr_assert(false, "%s", role);
  return NULL;
}

static void expect(const char *role, unsigned rows, unsigned columns) {
  const qp_model_linear *l = of_role(rank, role);
  cr_expect(l->rows == rows && l->columns == columns, "%s: %u x %u", role, l->rows, l->columns);
}

Test(parallel, rows_of_heads_and_columns_of_what_they_give) {
  take("llama", 8, 4, "");
  cr_assert_eq(split(4, 1), QP_OK, "%s", err.text);
  expect("q", 64, 256);
  expect("k", 32, 256);
  expect("o", 256, 64);
  expect("up", 128, 256);
  expect("down", 256, 128);
  expect("lm_head", 1000, 256); /* 250 rows are no row groups */
  cr_assert_eq(rank->group[of_role(rank, "o")->group].columns, 64);
  cr_assert_eq(rank->linear_weights * 4, whole->linear_weights);
  cr_assert_eq(rank->other_bytes, whole->other_bytes);
  cr_assert_eq(qp_parallel_reduces(whole), 2 * 3);
  cr_assert_eq(split(1, 1), QP_OK);
  cr_assert_eq(memcmp(rank->linear, whole->linear, sizeof rank->linear), 0);
}

Test(parallel, a_head_of_keys_stays_whole_where_there_are_more_ranks) {
  take("llama", 8, 2, "");
  cr_assert_eq(split(8, 1), QP_OK, "%s", err.text);
  expect("q", 32, 256);
  expect("k", 32, 256);
  take("phi3", 8, 2, "");
  cr_assert_eq(split(4, 1), QP_OK, "%s", err.text);
  expect("q", 64, 256); /* they lie in one matrix, and are taken apart */
  expect("k", 32, 256);
  expect("gate", 128, 256);
}

Test(parallel, every_expert_is_divided_like_an_mlp) {
  take("qwen3_moe", 8, 4, "\"num_experts\": 4, \"moe_intermediate_size\": 64,");
  cr_assert_eq(split(2, 1), QP_OK, "%s", err.text);
  expect("expert_up", 32, 256);
  expect("expert_down", 256, 32);
  cr_assert_eq(of_role(rank, "expert_up")->experts, 4);
}

Test(parallel, slices_of_experts_are_whole_matrices) {
  take("qwen3_moe", 8, 4,
       "\"num_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 64,");
  cr_assert_eq(split(1, 4), QP_OK, "%s", err.text);
  expect("expert_up", 64, 256);
  expect("q", 256, 256);
  cr_assert(of_role(rank, "expert_up")->experts == 1 && of_role(rank, "expert_up")->active == 2);
  cr_assert_eq(rank->slices, 4);
  const uint64_t one = 64 * 256;
  cr_assert_eq(whole->linear_weights - rank->linear_weights, 3 * 3 * 3 * one);
  cr_assert_eq(2 * (whole->active_weights - rank->active_weights), 3 * 3 * 3 * one, "a half of 2");
  cr_assert_eq(split(2, 2), QP_OK, "%s", err.text);
  expect("q", 128, 256);
  expect("expert_down", 256, 64);
  cr_assert_eq(split(1, 8), QP_E_ARG);
  cr_assert(strstr(err.text, "4 experts"), "%s", err.text);
}

Test(parallel, what_cannot_be_divided_is_named) {
  take("llama", 6, 6, "");
  cr_assert_eq(split(1, 2), QP_E_ARG);
  cr_assert(strstr(err.text, "--ep 2: m has no experts"), "%s", err.text);
  cr_assert_eq(split(4, 1), QP_E_ARG);
  cr_assert(strstr(err.text, "6 heads"), "%s", err.text);
  cr_assert_eq(split(3, 1), QP_E_ARG);
  cr_assert(strstr(err.text, "1, 2, 4 or 8"), "%s", err.text);
  take("llama", 12, 3, "");
  cr_assert_eq(split(2, 1), QP_E_ARG);
  cr_assert(strstr(err.text, "3 heads of keys"), "%s", err.text);
  take("qwen3_moe", 8, 8, "\"num_experts\": 4, \"moe_intermediate_size\": 36,");
  cr_assert_eq(split(8, 1), QP_E_ARG);
  cr_assert(strstr(err.text, "expert_up"), "%s", err.text);
}

/* ---- How packed weights are cut ---- */

static void take_apart(void) {
  cr_assert_eq(qp_parallel_apart(whole, 2, whole, &err), QP_OK, "%s", err.text);
}

static qp_cut cut_of(const char *role, unsigned ranks, unsigned slices) {
  const qp_parallel_ways ways = {.ranks = ranks, .slices = slices};
  qp_cut cut = {QP_CUT_NONE, 0};
  cr_assert_eq(qp_parallel_cut(whole, of_role(whole, role), &ways, &cut, &err), QP_OK, "%s: %s",
               role, err.text);
  return cut;
}

static void expect_no_cut(const char *role, unsigned ranks, const char *why) {
  const qp_parallel_ways ways = {.ranks = ranks, .slices = 1};
  qp_cut cut;
  cr_expect_eq(qp_parallel_cut(whole, of_role(whole, role), &ways, &cut, &err), QP_E_ARG, "%s",
               role);
  cr_expect(strstr(err.text, why), "%s", err.text);
}

Test(parallel, a_rank_s_part_is_a_slice_of_packed_weights) {
  take("llama", 8, 4, "");
  cr_expect(cut_of("q", 8, 1).way == QP_CUT_ROWS && cut_of("q", 8, 1).slices == 8);
  cr_expect(cut_of("k", 8, 1).way == QP_CUT_ROWS && cut_of("k", 8, 1).slices == 4, "heads");
  cr_expect(cut_of("down", 8, 1).way == QP_CUT_COLUMNS && cut_of("down", 8, 1).slices == 8);
  cr_expect_eq(cut_of("o", 1, 1).way, QP_CUT_NONE);
  cr_expect_eq(cut_of("lm_head", 8, 1).way, QP_CUT_NONE, "1000 rows");
  take("phi3", 8, 2, "");
  take_apart();
  cr_expect(cut_of("q", 4, 1).way == QP_CUT_ROWS && cut_of("q", 4, 1).slices == 4);
  cr_expect_eq(cut_of("k", 4, 1).slices, 2, "heads");
  cr_expect_eq(cut_of("gate", 4, 1).slices, 4);
  take("qwen3_moe", 8, 4, "\"num_experts\": 4, \"moe_intermediate_size\": 64,");
  cr_expect_eq(cut_of("expert_down", 2, 2).way, QP_CUT_NONE);
  cr_expect(cut_of("expert_down", 2, 1).way == QP_CUT_COLUMNS);
  cr_expect(cut_of("expert_up", 2, 1).way == QP_CUT_ROWS && cut_of("expert_up", 2, 1).slices == 2);
}

Test(parallel, what_is_no_slice_of_packed_weights_is_named) {
  take("phi3", 8, 8, "");
  expect_no_cut("qkv", 2, "several linears' rows");
  take("qwen3_moe", 8, 4, "\"num_experts\": 4, \"moe_intermediate_size\": 64,");
  expect_no_cut("expert_up", 4, "multiple of 32");
  take("llama", 8, 8, "");
  expect_no_cut("q", 3, "1, 2, 4 or 8");
}

Test(parallel, weights_that_more_ranks_can_open_are_taken_apart_for_one) {
  const qp_parallel_ways ways = {.ranks = 1, .made = 8};
  take("phi3", 8, 8, "");
  cr_assert_eq(qp_parallel_split(whole, &ways, rank, &err), QP_OK, "%s", err.text);
  expect("q", 256, 256);
  expect("up", 512, 256);
  cr_assert_eq(rank->linear_weights, whole->linear_weights);
}

Test(parallel, heads_of_a_linear_s_own_stay_whole) {
  take("gpt_bigcode", 8, 8, "\"n_embd\": 256, \"n_layer\": 3, \"n_head\": 8, ");
  cr_assert_eq(split(4, 1), QP_OK, "%s", err.text);
  expect("q", 64, 256);
  expect("k", 32, 256); /* every rank has the one head */
  take_apart();
  cr_expect_eq(cut_of("k", 4, 1).slices, 1);
  take("qwen3_next", 8, 8,
       "\"linear_num_key_heads\": 2, \"linear_key_head_dim\": 32, \"linear_num_value_heads\": 8,"
       "\"linear_value_head_dim\": 32, \"num_experts\": 4, \"moe_intermediate_size\": 64,");
  cr_assert_eq(split(2, 1), QP_OK, "%s", err.text);
  expect("delta_k", 32, 256);
  cr_assert_eq(split(4, 1), QP_E_ARG);
  cr_assert(strstr(err.text, "delta_q") && strstr(err.text, "heads"), "%s", err.text);
}
