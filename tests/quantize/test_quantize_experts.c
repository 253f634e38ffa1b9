/* SPDX-License-Identifier: MIT */
/* Mixtures of experts through the command, by plan or one quantizer, from stacks or one by one. */
#include "tests/quantize/quantize_kit.h"

TestSuite(quantize_experts, .init = make_folder, .fini = remove_folder);

enum { HIDDEN = 64, WIDTH = 32, EXPERTS = 2, VOCAB = 48 };

static void write_config(const char *in, const char *more) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"model_type\": \"qwen3_moe\", \"hidden_size\": %d, \"intermediate_size\": 96, %s"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": %d,"
           " \"num_experts\": %d, \"moe_intermediate_size\": %d, \"num_experts_per_tok\": 1}",
           HIDDEN, more, VOCAB, EXPERTS, WIDTH);
  write_text(path("%s/config.json", in), text);
}

static float *gate_up(void) { return weights_of(1, (size_t)EXPERTS * 2 * WIDTH * HIDDEN); }
static float *down(void) { return weights_of(2, (size_t)EXPERTS * HIDDEN * WIDTH); }

/* A part of 'all', which is freed. */
static float *part(float *all, size_t first, size_t n) {
  float *copy = malloc(n * sizeof *copy);
  memcpy(copy, all + first, n * sizeof *copy);
  free(all);
  return copy;
}

static void add_stack(pending *p, const char *name, unsigned rows, unsigned columns, float *data) {
  const uint64_t shape[] = {EXPERTS, rows, columns};
  char tensor[96];
  snprintf(tensor, sizeof tensor, "model.layers.0.mlp.experts.%s", name);
  cr_assert_eq(qp_tensor_writer_declare(p->w, tensor, QP_TENSOR_F32, 3, shape, NULL, &err), QP_OK);
  p->bytes[p->count] = sizeof(float) * EXPERTS * rows * columns;
  p->data[p->count++] = data;
}

static void add_apart(pending *p, unsigned e) {
  char name[96];
  const size_t one = (size_t)WIDTH * HIDDEN;
  snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.gate_proj.weight", e);
  pending_add(p, name, QP_TENSOR_F32, WIDTH, HIDDEN, part(gate_up(), 2 * e * one, one));
  snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.up_proj.weight", e);
  pending_add(p, name, QP_TENSOR_F32, WIDTH, HIDDEN, part(gate_up(), (2 * e + 1) * one, one));
  snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.down_proj.weight", e);
  pending_add(p, name, QP_TENSOR_F32, HIDDEN, WIDTH, part(down(), e * one, one));
}

static void write_model(const char *in, bool stacked) {
  static const char *const square[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
  pending p;
  char name[96];
  write_config(in, "");
  pending_begin(&p, path("%s/model.safetensors", in));
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(3, VOCAB * HIDDEN));
  for (unsigned i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "model.layers.0.self_attn.%s.weight", square[i]);
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(4 + i, HIDDEN * HIDDEN));
  }
  pending_add(&p, "model.layers.0.mlp.gate.weight", QP_TENSOR_F32, EXPERTS, HIDDEN,
              weights_of(9, EXPERTS * HIDDEN));
  if (stacked) add_stack(&p, "gate_up_proj", 2 * WIDTH, HIDDEN, gate_up());
  if (stacked) add_stack(&p, "down_proj", HIDDEN, WIDTH, down());
  for (unsigned e = 0; !stacked && e < EXPERTS; e++) add_apart(&p, e);
  pending_write(&p);
}

/* Every tensor of one packed file is in the other, with the same bytes. */
static void expect_same_tensors(const char *one, const char *other) {
  qp_safetensors *a, *b;
  cr_assert_eq(qp_safetensors_open(path("%s/model-00001-of-00001.safetensors", one), &a, &err),
               QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_open(path("%s/model-00001-of-00001.safetensors", other), &b, &err),
               QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(a), qp_safetensors_count(b));
  for (size_t i = 0; i < qp_safetensors_count(a); i++) {
    const qp_tensor *x = qp_safetensors_get(a, i), *y = qp_safetensors_find(b, x->name);
    cr_assert(y, "%s", x->name);
    cr_assert(x->bytes == y->bytes && !memcmp(x->data, y->data, x->bytes), "%s", x->name);
  }
  qp_safetensors_close(a);
  qp_safetensors_close(b);
}

Test(quantize_experts, of_a_stack_are_coded_as_those_that_stand_alone) {
  write_model("in", true);
  write_model("apart", false);
  cr_assert_eq(quantize("--quantizer nuq-3", "one"), 0, "%s", answer);
  cr_assert(strstr(answer, "mlp.experts.*.up_proj"), "%s", answer);
  cr_assert_eq(quantize_from("apart", "--quantizer nuq-3", "two"), 0, "%s", answer);
  expect_same_tensors("one", "two");
  cr_assert_eq(quantize("--quantizer nuq-3 --keep experts.1.up_proj", "three"), 0, "%s", answer);
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("three/model-00001-of-00001.safetensors"), &s, &err),
               QP_OK);
  cr_assert(qp_safetensors_find(s, "model.layers.0.mlp.experts.gate_up_proj"),
            "one expert is kept");
  cr_assert(!qp_safetensors_find(s, "model.layers.0.mlp.experts.down_proj"));
  qp_safetensors_close(s);
}

Test(quantize_experts, take_what_a_plan_gives_their_stack) {
  char arguments[1024];
  write_model("in", true);
  snprintf(arguments, sizeof arguments,
           "plan --model '%s' --quantizers nuq-3,nuq-5 --bits 7 -o '%s'", path("in"),
           path("plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert(strstr(answer, "a token goes through"), "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s'", path("plan.json"));
  cr_assert_eq(quantize(arguments, "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "mlp.experts.*.down_proj"), "%s", answer);
  snprintf(arguments, sizeof arguments,
           "export --plan '%s' --gpu sm_90 --batch 1 --type f16 -o '%s'", path("plan.json"),
           path("library"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert(strstr(answer, "4 groups of linears"), "%s", answer);
}

Test(quantize_experts, are_no_slices_of_rows_or_columns_for_several_ranks) {
  write_model("in", true);
  cr_assert_eq(quantize("--quantizer nuq-3 --tp 2", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "cannot be packed in slices"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-3 --tp 3", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "--tp 3: 1, 2, 4 or 8 is needed"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-3 --ep 3", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "--ep 3: 1, 2, 4 or 8 is needed"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-3 --ep 8", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "experts, which 8 do not divide"), "%s", answer);
  cr_assert_neq(access(path("out/config.json"), F_OK), 0);
}

Test(quantize_experts, that_are_quantized_already_are_named_at_plan_and_refused_at_quantize) {
  char arguments[1024];
  pending p;
  write_config("in", "\"quantization_config\": {\"quant_method\": \"exl3\"},");
  pending_begin(&p, path("in/model.safetensors"));
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(3, VOCAB * HIDDEN));
  pending_write(&p);
  snprintf(arguments, sizeof arguments, "plan --model '%s' --quantizers nuq-3", path("in"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert(strstr(answer, "quantized already (exl3)"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-3", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "quantization_config: exl3), which is not read; gptq, "), "%s", answer);
}
