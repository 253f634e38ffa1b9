/* SPDX-License-Identifier: MIT */
/* A family that nobody described is planned and quantized by what its tensors are called. */
#include "gen/model/checkpoint.h"
#include "tests/quantize/quantize_kit.h"

enum { HIDDEN = 64, WIDTH = 96, VOCAB = 48 };

static qp_models *models;

static void begin(void) {
  make_folder();
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}

static void end(void) {
  qp_models_close(models);
  remove_folder();
}

TestSuite(tensor_survey, .init = begin, .fini = end);

static void add(pending *p, const char *name, unsigned rows, unsigned columns) {
  pending_add(p, name, QP_TENSOR_F32, rows, columns,
              weights_of((unsigned)p->count + 1, (size_t)(rows ? rows : 1) * columns));
}

/* Block 0 has an MLP, block 1 two experts one by one; a tower of smaller blocks stands beside. */
static void write_strange(const char *config) {
  static const struct {
    const char *name;
    unsigned rows, columns;
  } list[] = {{"net.embed_tokens.weight", VOCAB, HIDDEN},
              {"net.pos_embed.weight", 2 * VOCAB, HIDDEN},
              {"unembed_out.weight", VOCAB, HIDDEN},
              {"net.h.0.attn.q_proj.weight", HIDDEN, HIDDEN},
              {"net.h.0.attn.k_proj.weight", 32, HIDDEN},
              {"net.h.0.attn.o_proj.weight", HIDDEN, HIDDEN},
              {"net.h.0.attn.o_proj.bias", 0, HIDDEN},
              {"net.h.0.ln_norm.weight", 0, HIDDEN},
              {"net.h.0.ff.w1.weight", WIDTH, HIDDEN},
              {"net.h.0.ff.w2.weight", HIDDEN, WIDTH},
              {"net.h.1.attn.q_proj.weight", HIDDEN, HIDDEN},
              {"net.h.1.attn.k_proj.weight", 32, HIDDEN},
              {"net.h.1.attn.o_proj.weight", HIDDEN, HIDDEN},
              {"net.h.1.moe.gate.weight", 2, HIDDEN},
              {"net.h.1.moe.router.proj.weight", 2, HIDDEN},
              {"net.h.1.moe.experts.0.w1.weight", WIDTH, HIDDEN},
              {"net.h.1.moe.experts.0.w2.weight", HIDDEN, WIDTH},
              {"net.h.1.moe.experts.0.gate.weight", 32, HIDDEN}, /* it is no router */
              {"net.h.1.moe.experts.1.gate.weight", 32, HIDDEN},
              {"net.h.1.moe.experts.1.w1.weight", WIDTH, HIDDEN},
              {"net.h.1.moe.experts.1.w2.weight", HIDDEN, WIDTH},
              {"tower.layers.0.fc1.weight", 32, 32}};
  pending p;
  write_text(path("in/config.json"), config);
  pending_begin(&p, path("in/model.safetensors"));
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    add(&p, list[i].name, list[i].rows, list[i].columns);
  pending_write(&p);
}

static const qp_model_linear *find(const qp_model *m, const char *tensor, unsigned *index) {
  for (unsigned i = 0; i < m->linears; i++)
    if (!strcmp(m->linear[i].tensor, tensor)) return *index = i, &m->linear[i];
  cr_assert(false, "%s", tensor);
  return NULL;
}

Test(tensor_survey, matrices_of_the_largest_blocks_are_linears_in_groups_by_usual_names) {
  qp_checkpoint *c;
  unsigned q, k, w1, up;
  write_strange("{\"model_type\": \"nobody_knows\"}");
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_OK, "%s", err.text);
  const qp_model *m = qp_checkpoint_model(c);
  cr_assert(m->surveyed && !m->tied && m->layers == 2 && m->kinds == 2);
  cr_assert_str_eq(m->prefix, "net.");
  cr_assert_str_eq(m->blocks, "h");
  cr_assert_str_eq(m->embedding, "net.embed_tokens");
  cr_assert_str_eq(m->linear[m->linears].tensor, "unembed_out");
  find(m, "attn.q_proj", &q);
  find(m, "attn.k_proj", &k);
  cr_assert_eq(m->linear[q].group, m->linear[k].group);
  cr_assert_eq(qp_model_copies(m, q), 2);
  find(m, "ff.w1", &w1);
  cr_assert(qp_model_has(m, 0, w1) && !qp_model_has(m, 1, w1));
  const qp_model_linear *stack = find(m, "moe.experts.*.w1", &up);
  cr_assert(stack->experts == 2 && stack->rows == WIDTH && qp_model_copies(m, up) == 1);
  cr_assert_eq(m->linear_weights,
               2u * (2 * HIDDEN + 32) * HIDDEN + 3u * 2 * WIDTH * HIDDEN + 2u * 32 * HIDDEN);
  cr_assert_eq(m->other_bytes, 2u * (2 * HIDDEN + 4 * HIDDEN)); /* bias, norm, routers */
  cr_assert_eq(m->passed_bytes, 2u * (2 * VOCAB * HIDDEN + 32 * 32));
  qp_checkpoint_close(c);
}

Test(tensor_survey, a_folder_is_planned_with_a_list_and_quantized_by_it) {
  char arguments[1024];
  write_strange("{\"model_type\": \"nobody_knows\"}");
  snprintf(arguments, sizeof arguments,
           "plan --model '%s' --quantizers nuq-3,nuq-5 --bits 7 -o '%s'", path("in/config.json"),
           path("plan.json"));
  cr_assert_eq(ask(arguments), 2, "%s", answer);
  cr_assert(strstr(answer, "of a folder with its weights"), "%s", answer);
  snprintf(arguments, sizeof arguments,
           "plan --model '%s' --quantizers nuq-3,nuq-5 --bits 7 -o '%s'", path("in"),
           path("plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert(strstr(answer, "confirm them") && strstr(answer, "moe.experts.*.w2"), "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s'", path("plan.json"));
  cr_assert_eq(quantize(arguments, "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "ff.w1") && strstr(answer, "moe.experts.*.w2"), "%s", answer);
}

Test(tensor_survey, a_config_may_leave_its_type_out) {
  qp_checkpoint *c;
  write_strange("{\"dim\": 64, \"n_layers\": 2}");
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_OK, "%s", err.text);
  cr_assert(qp_checkpoint_model(c)->surveyed && qp_checkpoint_model(c)->layers == 2);
  cr_assert_str_eq(qp_checkpoint_model(c)->type, "unnamed");
  qp_checkpoint_close(c);
}

Test(tensor_survey, what_is_refused_by_name_is_refused_with_its_weights_too) {
  qp_checkpoint *c;
  write_strange("{\"model_type\": \"gpt2\"}");
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "[in, out]"), "%s", err.text);
}

Test(tensor_survey, without_blocks_or_an_embedding_there_is_no_model) {
  qp_checkpoint *c;
  pending p;
  write_text(path("in/config.json"), "{\"model_type\": \"nobody_knows\"}");
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "net.embed_tokens.weight", VOCAB, HIDDEN);
  pending_write(&p);
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "layers.0"), "%s", err.text);
  pending_begin(&p, path("in/model.safetensors"));
  add(&p, "net.h.0.fc1.weight", VOCAB, HIDDEN);
  pending_write(&p);
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "embed"), "%s", err.text);
}
