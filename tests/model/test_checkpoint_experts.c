/* SPDX-License-Identifier: MIT */
/* Experts are read one by one from every form in which checkpoints hold them. */
#include <stdio.h>
#include <unistd.h>

#include "gen/model/checkpoint.h"
#include "tests/quantize/quantize_kit.h"

enum { E = 3, H = 8, I = 4 };
typedef enum projection { GATE, UP, DOWN } projection;

static qp_models *models;

static void begin(void) {
  make_folder();
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}

static void end(void) {
  qp_models_close(models);
  remove_folder();
}

TestSuite(checkpoint_experts, .init = begin, .fini = end);

/* The weight at [row][column] of an expert's matrix. */
static float weight(projection p, unsigned expert, unsigned row, unsigned column) {
  return (float)(1000 * (unsigned)p + 100 * expert + 10 * row + column);
}

static void write_config(const char *type, const char *more) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": %d, \"intermediate_size\": %d, %s"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": 48,"
           " \"moe_intermediate_size\": %d, \"num_experts_per_tok\": 2}",
           type, H, I, more, I);
  write_text(path("in/config.json"), text);
}

/* One tensor of a file, whose elements 'at' gives by their place. */
static void add(pending *p, const char *name, unsigned dims, const uint64_t *shape,
                float (*at)(const uint64_t *place)) {
  size_t n = 1;
  uint64_t place[3] = {0};
  for (unsigned d = 0; d < dims; d++) n *= shape[d];
  float *data = malloc(n * sizeof *data);
  for (size_t i = 0; i < n; i++) {
    size_t rest = i;
    for (unsigned d = dims; d-- > 0; rest /= shape[d]) place[d] = rest % shape[d];
    data[i] = at(place);
  }
  cr_assert_eq(qp_tensor_writer_declare(p->w, name, QP_TENSOR_F32, dims, shape, NULL, &err), QP_OK);
  p->bytes[p->count] = n * sizeof *data;
  p->data[p->count++] = data;
}

static qp_checkpoint *open_checkpoint(void) {
  qp_checkpoint *c;
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_OK, "%s", err.text);
  return c;
}

/* Each expert's rows from the second on are what 'weight' says. */
static void expect_experts(const char *format, const char *const *names) {
  qp_checkpoint *c = open_checkpoint();
  for (unsigned p = GATE; p <= DOWN; p++)
    for (unsigned e = 0; e < E; e++) {
      char name[128];
      float out[H * H];
      const unsigned rows = p == DOWN ? H : I, columns = p == DOWN ? I : H;
      snprintf(name, sizeof name, format, e, names[p]);
      const qp_source_tensor *t = qp_checkpoint_find(c, name);
      cr_assert(t && t->rows == rows && t->columns == columns, "%s", name);
      cr_assert_eq(qp_checkpoint_read(c, t, 1, rows - 1, out, &err), QP_OK, "%s", err.text);
      for (unsigned r = 1; r < rows; r++)
        for (unsigned k = 0; k < columns; k++)
          cr_assert_eq(out[(r - 1) * columns + k], weight((projection)p, e, r, k), "%s", name);
      cr_assert_eq(qp_checkpoint_read(c, t, 1, rows, out, &err), QP_E_ARG, "past the end");
    }
  qp_checkpoint_close(c);
}

static const char *const usual[] = {"gate_proj", "up_proj", "down_proj"};

static float at_gate_up(const uint64_t *p) { /* [E][2 I][H] */
  return weight(p[1] < I ? GATE : UP, (unsigned)p[0], (unsigned)(p[1] % I), (unsigned)p[2]);
}
static float at_down(const uint64_t *p) { /* [E][H][I] */
  return weight(DOWN, (unsigned)p[0], (unsigned)p[1], (unsigned)p[2]);
}

Test(checkpoint_experts, of_stacks_with_gate_and_up_behind_one_another) {
  static const uint64_t up[] = {E, 2 * I, H}, down[] = {E, H, I};
  pending p;
  write_config("qwen3_moe", "\"num_experts\": 3,");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "model.layers.0.mlp.experts.gate_up_proj", 3, up, at_gate_up);
  add(&p, "model.layers.0.mlp.experts.down_proj", 3, down, at_down);
  pending_write(&p);
  expect_experts("model.layers.0.mlp.experts.%u.%s.weight", usual);
}

/* As transformers writes what the publisher has columns first; of H = 2 I, where the shape of gate
   and up tells nothing, too. */
Test(checkpoint_experts, of_a_family_of_columns_first_may_lie_columns_last) {
  static const uint64_t up[] = {E, 2 * I, H}, down[] = {E, H, I};
  pending p;
  write_config("qwen3_vl_moe_text", "\"num_experts\": 3,");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "model.layers.0.mlp.experts.gate_up_proj", 3, up, at_gate_up);
  add(&p, "model.layers.0.mlp.experts.down_proj", 3, down, at_down);
  pending_write(&p);
  expect_experts("model.layers.0.mlp.experts.%u.%s.weight", usual);
}

static float at_mixed_gate_up(const uint64_t *p) { /* [E][H][2 I], by turns */
  return weight(p[2] % 2 ? UP : GATE, (unsigned)p[0], (unsigned)(p[2] / 2), (unsigned)p[1]);
}
static float at_turned_down(const uint64_t *p) { /* [E][I][H] */
  return weight(DOWN, (unsigned)p[0], (unsigned)p[2], (unsigned)p[1]);
}

Test(checkpoint_experts, of_gpt_oss_whose_columns_of_gate_and_up_alternate) {
  static const uint64_t up[] = {E, H, 2 * I}, down[] = {E, I, H};
  pending p;
  write_config("gpt_oss", "\"num_local_experts\": 3,");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "model.layers.0.mlp.experts.gate_up_proj", 3, up, at_mixed_gate_up);
  add(&p, "model.layers.0.mlp.experts.down_proj", 3, down, at_turned_down);
  pending_write(&p);
  expect_experts("model.layers.0.mlp.experts.%u.%s.weight", usual);
}

static float at_biases(const uint64_t *p) { /* [E][2 I], by turns */
  return weight(p[1] % 2 ? UP : GATE, (unsigned)p[0], (unsigned)(p[1] / 2), 0);
}

static void write_gpt_oss(uint64_t wide) {
  static const uint64_t up[] = {E, H, 2 * I};
  const uint64_t biases[] = {E, wide};
  pending p;
  write_config("gpt_oss", "\"num_local_experts\": 3,");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "model.layers.0.mlp.experts.gate_up_proj", 3, up, at_mixed_gate_up);
  add(&p, "model.layers.0.mlp.experts.gate_up_proj_bias", 2, biases, at_biases);
  pending_write(&p);
}

Test(checkpoint_experts, of_gpt_oss_have_biases_that_alternate_too) {
  write_gpt_oss(2 * I);
  qp_checkpoint *c = open_checkpoint();
  for (unsigned q = GATE; q <= UP; q++)
    for (unsigned e = 0; e < E; e++) {
      char name[128];
      float out[I];
      snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.%s.bias", e, usual[q]);
      const qp_source_tensor *t = qp_checkpoint_find(c, name);
      cr_assert(t && t->dims == 1 && t->rows == I && t->columns == 1, "%s", name);
      cr_assert_eq(qp_checkpoint_read(c, t, 1, I - 1, out + 1, &err), QP_OK, "%s", err.text);
      for (unsigned r = 1; r < I; r++) cr_expect_eq(out[r], weight((projection)q, e, r, 0));
    }
  qp_checkpoint_close(c);
}

Test(checkpoint_experts, with_biases_of_another_shape_are_refused) {
  qp_checkpoint *c;
  write_gpt_oss(2 * I + 1);
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "gate_up_proj_bias' is 3 x 9: biases of 3 experts of 8"), "%s",
            err.text);
}

static float at_rows(projection q, const uint64_t *p) { /* [E I][H] */
  return weight(q, (unsigned)(p[0] / I), (unsigned)(p[0] % I), (unsigned)p[1]);
}
static float at_w1(const uint64_t *p) { return at_rows(GATE, p); }
static float at_v1(const uint64_t *p) { return at_rows(UP, p); }
static float at_w2(const uint64_t *p) {
  return weight(DOWN, (unsigned)(p[0] / I), (unsigned)p[1], (unsigned)(p[0] % I));
}

Test(checkpoint_experts, of_dbrx_whose_experts_lie_below_one_another) {
  static const uint64_t shape[] = {E * I, H};
  static const char *const names[] = {"w1", "v1", "w2"};
  static float (*const at[])(const uint64_t *) = {at_w1, at_v1, at_w2};
  pending p;
  write_config("dbrx", "\"ffn_config\": {\"moe_num_experts\": 3, \"moe_top_k\": 1},");
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned i = 0; i < 3; i++) {
    char name[96];
    snprintf(name, sizeof name, "transformer.blocks.0.ffn.experts.mlp.%s", names[i]);
    add(&p, name, 2, shape, at[i]);
  }
  pending_write(&p);
  expect_experts("transformer.blocks.0.ffn.experts.%u.%s.weight", names);
}

Test(checkpoint_experts, of_another_number_or_shape_are_refused) {
  static const uint64_t up[] = {E + 1, 2 * I, H};
  pending p;
  qp_checkpoint *c;
  write_config("qwen3_moe", "\"num_experts\": 3,");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "model.layers.0.mlp.experts.gate_up_proj", 3, up, at_gate_up);
  pending_write(&p);
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "3 experts of 8 x 8"), "%s", err.text);
  cr_assert(strstr(err.text, "gate_up_proj"), "%s", err.text);
}
