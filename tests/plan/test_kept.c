/* SPDX-License-Identifier: MIT */
/* Linears that no quantizer can hold are left out of plans, with a note, and counted in 16 bits. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/models.h"
#include "gen/spec/quantizer.h"
#include "tuner/plan/kept.h"

static qp_models *models;
static qp_palette *palette;
static qp_menu *menu;
static qp_error err;

static void begin(void) {
  const qp_quantizer *q;
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(palette, "nuq-3", &q, &err), QP_OK, "%s", err.text);
  menu = calloc(1, sizeof *menu);
  cr_assert_eq(qp_menu_add(menu, q, NULL, &err), QP_OK);
}

static void end(void) {
  free(menu);
  qp_palette_close(palette);
  qp_models_close(models);
}

TestSuite(kept, .init = begin, .fini = end);

static qp_model model_of(unsigned intermediate, unsigned vocab, const char *class) {
  char text[512];
  qp_model m;
  snprintf(text, sizeof text,
           "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": %u,"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 3, \"vocab_size\": %u,"
           " \"architectures\": [\"%s\"]}",
           intermediate, vocab, class);
  cr_assert_eq(qp_models_parse(models, "m/config.json", text, strlen(text), &m, &err), QP_OK, "%s",
               err.text);
  return m;
}

Test(kept, odd_linears_leave_their_groups_and_stay_in_16_bits) {
  const qp_model m = model_of(172, 128, "LlamaForCausalLM");
  qp_model to;
  char note[QP_KEPT_NOTE];
  cr_assert_eq(qp_kept_drop(&m, menu, false, &to, note, &err), QP_OK, "%s", err.text);
  cr_assert(strstr(note, "up (172 x 64), gate (172 x 64), down (64 x 172) stay in 16 bits"), "%s",
            note);
  cr_assert_eq(to.linears, 4);
  cr_assert_eq(to.groups, 2);
  cr_assert_str_eq(to.linear[to.linears].role, "lm_head");
  for (unsigned g = 0; g < to.groups; g++)
    for (unsigned i = 0; i < to.group[g].linears; i++) {
      const qp_model_linear *l = &to.linear[to.group[g].linear[i]];
      cr_assert_eq(l->group, g);
      cr_assert_eq(l->rows, to.group[g].rows[i]);
    }
  const uint64_t weights = 3ull * 172 * 64;
  cr_assert_eq(to.linear_weights, m.linear_weights - 3 * weights);
  cr_assert_eq(to.other_bytes, m.other_bytes + 2 * 3 * weights);
}

Test(kept, a_model_of_even_shapes_stays_as_it_is) {
  const qp_model m = model_of(128, 128, "LlamaForCausalLM");
  qp_model to;
  char note[QP_KEPT_NOTE];
  cr_assert_eq(qp_kept_drop(&m, menu, false, &to, note, &err), QP_OK, "%s", err.text);
  cr_assert_str_eq(note, "");
  cr_assert_eq(to.linears, m.linears);
  cr_assert_arr_eq(to.group, m.group, sizeof m.group);
  cr_assert_not(qp_kept_head(&m, menu, false, note), "%s", note);
}

/* In fp16 a linear of any shape can be planned, unless it has to have a latency. */
Test(kept, fp16_holds_every_shape_where_no_latencies_are_asked_for) {
  const qp_model m = model_of(172, 32001, "LlamaForCausalLM");
  qp_model to;
  char note[QP_KEPT_NOTE];
  cr_assert_eq(qp_menu_add(menu, NULL, NULL, &err), QP_OK);
  cr_assert_eq(qp_kept_drop(&m, menu, false, &to, note, &err), QP_OK);
  cr_assert_eq(to.linears, m.linears);
  cr_assert_not(qp_kept_head(&m, menu, false, note));
  cr_assert_eq(qp_kept_drop(&m, menu, true, &to, note, &err), QP_OK);
  cr_assert_eq(to.linears, 4);
  cr_assert_not(qp_kept_head(&m, menu, true, note), "a vocabulary is padded");
}

Test(kept, heads_of_odd_vocabularies_are_padded) {
  static const unsigned vocab[] = {32001, 30522, 151665}, padded[] = {32016, 30528, 151680};
  char note[QP_KEPT_NOTE];
  for (unsigned i = 0; i < 3; i++) {
    const qp_model m = model_of(128, vocab[i], "LlamaForCausalLM");
    qp_model to;
    cr_assert_not(qp_kept_head(&m, menu, false, note), "%s", note);
    cr_assert_eq(qp_kept_drop(&m, menu, false, &to, note, &err), QP_OK);
    cr_expect_eq(to.linear[to.linears].rows, padded[i]);
    cr_expect_eq(to.vocab, vocab[i]);
  }
}

Test(kept, a_class_without_a_head_has_none_to_plan) {
  static const char *const classes[] = {"LlamaModel", "LlamaForSequenceClassification"};
  char note[QP_KEPT_NOTE];
  for (unsigned i = 0; i < 2; i++) {
    const qp_model m = model_of(128, 128, classes[i]);
    cr_assert(qp_kept_head(&m, menu, false, note));
    cr_assert(strstr(note, "m has no lm_head"), "%s", note);
  }
}

Test(kept, nothing_left_to_plan_is_an_error) {
  qp_model m = model_of(128, 128, "LlamaForCausalLM"), to;
  char note[QP_KEPT_NOTE];
  for (unsigned i = 0; i < m.linears; i++) m.linear[i].rows = 17;
  cr_assert_eq(qp_kept_drop(&m, menu, false, &to, note, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "no linear of its blocks can be planned"), "%s", err.text);
}
