/* SPDX-License-Identifier: MIT */
/* Matrices with the rows of several linears, as linears of their own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/models.h"

static qp_models *models;
static qp_model *whole, *apart;
static qp_error err;

static void begin(void) {
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  whole = calloc(1, sizeof *whole);
  apart = calloc(1, sizeof *apart);
}

static void end(void) {
  free(whole);
  free(apart);
  qp_models_close(models);
}

TestSuite(take_apart, .init = begin, .fini = end);

/* 8 heads of 32, 4 of keys, and what else the family asks for. */
static void take(const char *type, const char *more) {
  char text[1024];
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": 256, \"intermediate_size\": 512, %s"
           "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 32,"
           "\"num_hidden_layers\": 2, \"vocab_size\": 1000}",
           type, more);
  cr_assert_eq(qp_models_parse(models, "m/config.json", text, strlen(text), whole, &err), QP_OK,
               "%s", err.text);
  cr_assert_eq(qp_model_take_apart(whole, apart, &err), QP_OK, "%s", err.text);
}

static const qp_model_linear *of_role(const char *role) {
  for (unsigned i = 0; i < apart->linears; i++)
    if (!strcmp(apart->linear[i].role, role)) return &apart->linear[i];
  cr_assert(false, "%s", role);
  return NULL;
}

/* Are rows 'row' and the first of part 'role' where the matrix has them? */
static void expect(const char *role, unsigned rows, unsigned row, unsigned there) {
  const qp_model_linear *l = of_role(role);
  cr_expect_eq(l->rows, rows, "%s: %u rows", role, l->rows);
  cr_expect_eq(qp_model_row(&l->of, row), there, "%s: row %u is %u", role, row,
               (unsigned)qp_model_row(&l->of, row));
}

/* Every row of every matrix that was taken apart is one row of one linear. */
static void expect_all_rows(void) {
  unsigned matrices = 0;
  for (unsigned i = 0; i < whole->linears; i++) {
    const qp_model_linear *l = &whole->linear[i];
    if (l->parts < 2) continue;
    unsigned *hit = calloc(l->rows, sizeof *hit);
    matrices++;
    for (unsigned k = 0; k < apart->linears; k++) {
      const qp_model_linear *p = &apart->linear[k];
      for (unsigned r = 0; !strcmp(p->of.tensor, l->tensor) && r < p->rows; r++) {
        cr_assert_lt(qp_model_row(&p->of, r), l->rows, "%s", p->tensor);
        hit[qp_model_row(&p->of, r)]++;
      }
    }
    for (unsigned r = 0; r < l->rows; r++) cr_assert_eq(hit[r], 1, "%s: row %u", l->tensor, r);
    free(hit);
  }
  cr_assert(matrices);
}

Test(take_apart, parts_stand_in_their_matrix_s_place_and_group) {
  take("phi3", "");
  cr_assert_eq(apart->linears, 7);
  cr_expect_str_eq(apart->linear[0].tensor, "self_attn.qkv_proj.q");
  cr_expect_str_eq(apart->linear[4].tensor, "mlp.gate_up_proj.up", "up before gate, as launched");
  const qp_model_group *g = &apart->group[of_role("up")->group];
  cr_expect(g->linears == 2 && g->rows[0] == 512 && g->linear[1] == 5, "%s", g->name);
  cr_expect_eq(apart->group[of_role("k")->group].linears, 3);
  cr_expect_str_eq(apart->linear[apart->linears].role, "lm_head");
  expect("v", 128, 3, 256 + 128 + 3);
  expect("gate", 512, 3, 3);
  expect("up", 512, 3, 512 + 3);
  cr_expect_eq(qp_model_count(apart), 14);
  expect_all_rows();
}

Test(take_apart, what_is_a_matrix_of_its_own_stays) {
  take("llama", "");
  cr_expect_eq(memcmp(whole, apart, sizeof *whole), 0);
}

Test(take_apart, rows_alternate_as_families_have_them) {
  take("internlm2", ""); /* each head of keys behind its heads of q */
  expect("q", 256, 64, 128);
  expect("k", 128, 33, 128 + 64 + 1);
  expect_all_rows();
  take("phi3small", "\"ff_intermediate_size\": 512, ");
  expect("gate", 512, 5, 10);
  expect("up", 512, 5, 11);
  expect_all_rows();
  take("gpt_neox", "");
  expect("k", 128, 0, 32);
  expect_all_rows();
  take("falcon", "\"new_decoder_architecture\": true, \"num_kv_heads\": 4, ");
  expect("v", 128, 32, 128 + 96);
  expect_all_rows();
  take("falcon", "\"multi_query\": true, ");
  expect("k", 32, 1, 256 + 1);
  expect_all_rows();
  take("codegen", "\"n_embd\": 256, \"n_layer\": 2, \"n_head\": 8, "); /* q, v, k, four times */
  expect("v", 256, 64, 192 + 64);
  expect("k", 256, 0, 128);
  expect_all_rows();
  take("gpt_bigcode", "\"n_embd\": 256, \"n_layer\": 2, \"n_head\": 8, ");
  expect("v", 32, 0, 256 + 32);
  cr_expect_eq(of_role("v")->head_count, 1, "one head of keys, whatever the config says");
  expect_all_rows();
  take("modernbert", "");
  expect_all_rows();
}

/* Transformers has no class of these: as their publishers' modelling files have the rows. */
Test(take_apart, rows_of_families_that_transformers_lacks) {
  take("baichuan", "");
  expect("k", 128, 1, 256 + 1);
  expect("v", 128, 1, 256 + 128 + 1);
  expect_all_rows();
  take("internlm2", "\"bias\": true, ");
  expect("v", 128, 33, 128 + 96 + 1); /* behind two heads of q and one of k */
  cr_expect(of_role("q")->bias && of_role("o")->bias && !of_role("down")->bias);
  take("chatglm", "\"num_layers\": 2, \"padded_vocab_size\": 1000, \"ffn_hidden_size\": 512, "
                  "\"multi_query_attention\": true, \"multi_query_group_num\": 2, "
                  "\"kv_channels\": 32, ");
  expect("k", 64, 1, 256 + 1);
  expect("v", 64, 1, 256 + 64 + 1);
  expect("gate", 512, 1, 1);
  expect("up", 512, 1, 512 + 1);
  expect_all_rows();
  take("qwen", "\"kv_channels\": 32, ");
  expect("k", 256, 1, 256 + 1);
  expect("v", 256, 1, 512 + 1);
  cr_expect_str_eq(of_role("gate")->tensor, "mlp.w2");
  expect_all_rows();
  take("phi3small", "\"ff_intermediate_size\": 512, ");
  expect("q", 256, 64, 128);
  expect("k", 128, 33, 128 + 64 + 1);
  expect("v", 128, 33, 128 + 96 + 1);
  take("bailing_moe", "\"num_experts\": 4, \"moe_intermediate_size\": 64, "
                      "\"num_experts_per_tok\": 2, ");
  expect("k", 128, 1, 256 + 1);
  expect("v", 128, 1, 256 + 128 + 1);
  expect_all_rows();
  take("new", "");
  expect("k", 256, 1, 256 + 1);
  expect("up", 512, 1, 1);
  expect("gate", 512, 1, 512 + 1);
  expect_all_rows();
}

Test(take_apart, of_a_gated_delta_net_too) {
  take("qwen3_next",
       "\"linear_num_key_heads\": 4, \"linear_key_head_dim\": 32, \"linear_num_value_heads\": 8, "
       "\"linear_value_head_dim\": 32, \"num_experts\": 4, \"moe_intermediate_size\": 64, "
       "\"full_attention_interval\": 2, ");
  expect("delta_k", 128, 32, 192 + 32); /* a head: 32 of q, 32 of k, 64 of v, 64 of z */
  expect("delta_z", 256, 64, 192 + 128);
  expect_all_rows();
  for (unsigned i = 0; i < apart->linears; i++)
    if (!strncmp(apart->linear[i].role, "delta", 5)) cr_expect(qp_model_has(apart, 0, i));
  cr_expect(!qp_model_has(apart, 1, (unsigned)(of_role("delta_q") - apart->linear)));
  cr_expect(qp_model_has(apart, 1, (unsigned)(of_role("q") - apart->linear)));
  cr_expect_eq(qp_model_count(apart), qp_model_count(whole) + 3);
}
