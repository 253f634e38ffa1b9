/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/json.h"
#include "gen/model/models.h"

static qp_models *models;
static qp_error err;
static void open_models(void) {
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}
static void close_models(void) { qp_models_close(models); }
TestSuite(model, .init = open_models, .fini = close_models);

static const qp_model *find(const char *name) {
  const qp_model *m = NULL;
  cr_assert_eq(qp_models_find(models, name, &m, &err), QP_OK, "%s: %s", name, err.text);
  return m;
}

static qp_status parse(const char *file, const char *text, qp_model *out) {
  return qp_models_parse(models, file, text, strlen(text), out, &err);
}

Test(model, a_shipped_name_is_the_shipped_model_s_whatever_was_added_before) {
  const qp_model other = {.name = "llama-3.1-8b"}, mine = {.name = "mine"};
  const qp_model *added, *own;
  cr_assert_eq(qp_models_add(models, &other, &added, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_add(models, &mine, &own, &err), QP_OK, "%s", err.text);
  const qp_model *m = find("llama-3.1-8b");
  cr_expect(m != added && m->layers == 32);
  cr_expect_eq(find("mine"), own);
  cr_expect_eq(find("llama-3.1-8b"), m);
}

Test(model, groups_are_the_linears_that_share_an_input) {
  const qp_model *m = find("llama-3.1-8b");
  static const qp_model_group want[] = {{"qkv", 3, {4096, 1024, 1024}, 4096, {0, 1, 2}},
                                        {"o", 1, {4096}, 4096, {3}},
                                        {"up-gate", 2, {14336, 14336}, 4096, {4, 5}},
                                        {"down", 1, {4096}, 14336, {6}}};
  cr_assert_eq(m->groups, 4);
  for (unsigned i = 0; i < m->groups; i++) {
    const qp_model_group *g = &m->group[i];
    cr_assert_str_eq(g->name, want[i].name);
    cr_assert_eq(g->linears, want[i].linears);
    cr_assert_arr_eq(g->rows, want[i].rows, g->linears * sizeof *g->rows);
    cr_assert_arr_eq(g->linear, want[i].linear, g->linears * sizeof *g->linear);
    cr_assert_eq(g->columns, want[i].columns);
  }
}

/* Numbers of parameters as the model cards' safetensors metadata give them. */
Test(model, parameters_are_as_many_as_published) {
  static const struct {
    const char *name;
    uint64_t parameters;
  } published[] = {
      {"llama-2-7b", 6738415616},   {"llama-3.1-8b", 8030261248},    {"llama-3.1-70b", 70553706496},
      {"llama-3.2-1b", 1235814400}, {"llama-3.2-3b", 3212749824},    {"qwen2.5-0.5b", 494032768},
      {"qwen2.5-7b", 7615616512},   {"qwen2.5-72b", 72706203648},    {"qwen3-0.6b", 596049920},
      {"qwen3-8b", 8190735360},     {"mistral-7b-v0.1", 7241732096}, {"gemma-2-2b", 2614341888},
      {"gemma-2-9b", 9241705984},   {"gemma-3-1b", 999885952},       {"phi-3-mini", 3821079552},
      {"phi-4", 14659507200},       {"smollm2-135m", 134515008},     {"smollm2-1.7b", 1711376384},
  };
  for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
    const qp_model *m = find(published[i].name);
    uint64_t n = m->linear_weights + m->embedding_bytes / 2 + m->other_bytes / 2 +
                 (m->tied ? 0 : m->head_weights);
    cr_expect_eq(n, published[i].parameters, "%s: %llu, published %llu", m->name,
                 (unsigned long long)n, (unsigned long long)published[i].parameters);
  }
}

Test(model, linears_have_the_names_of_the_checkpoint) {
  static const struct {
    const char *model;
    unsigned linear, block;
    const char *tensor;
  } want[] = {{"llama-3.1-8b", 0, 3, "model.layers.3.self_attn.q_proj"},
              {"llama-3.1-8b", 6, 31, "model.layers.31.mlp.down_proj"},
              {"llama-3.1-8b", 7, 0, "lm_head"},
              {"llama-3.2-1b", 7, 0, "model.embed_tokens"},
              {"phi-3-mini", 0, 1, "model.layers.1.self_attn.qkv_proj"},
              {"phi-3-mini", 2, 1, "model.layers.1.mlp.gate_up_proj"},
              {"gemma-3-4b", 3, 9, "language_model.model.layers.9.self_attn.o_proj"}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    char name[QP_MODEL_NAME];
    qp_model_tensor(find(want[i].model), want[i].linear, want[i].block, name);
    cr_expect_str_eq(name, want[i].tensor);
  }
}

Test(model, sizes_are_what_kernels_can_do) {
  cr_assert_eq(qp_models_load(models, &err), QP_OK, "%s", err.text);
  cr_assert_gt(qp_models_count(models), 30);
  for (size_t i = 0; i < qp_models_count(models); i++) {
    const qp_model *m = qp_models_get(models, i);
    cr_assert_eq(m->heads % m->kv_heads, 0, "%s", m->name);
    for (unsigned k = 0; k <= m->linears; k++) {
      cr_expect_eq(m->linear[k].rows % 16, 0, "%s %s", m->name, m->linear[k].role);
      cr_expect_eq(m->linear[k].columns % 32, 0, "%s %s", m->name, m->linear[k].role);
    }
  }
}

Test(model, a_config_says_what_the_model_file_says) {
  qp_model m;
  const qp_model *want = find("qwen2.5-7b");
  cr_assert_eq(parse("zoo/Qwen2.5-7B/config.json",
                     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\","
                     "\"hidden_size\": 3584, \"intermediate_size\": 18944,"
                     "\"num_attention_heads\": 28, \"num_key_value_heads\": 4,"
                     "\"num_hidden_layers\": 28, \"vocab_size\": 152064,"
                     "\"tie_word_embeddings\": false, \"rope_theta\": 1000000.0}",
                     &m),
               QP_OK, "%s", err.text);
  cr_assert_str_eq(m.name, "Qwen2.5-7B");
  cr_assert_eq(m.head_dim, 128);
  cr_assert_eq(m.linears, want->linears);
  for (unsigned i = 0; i <= m.linears; i++) {
    cr_expect_eq(m.linear[i].rows, want->linear[i].rows);
    cr_expect_eq(m.linear[i].bias, want->linear[i].bias);
  }
  cr_assert_eq(m.other_bytes, want->other_bytes);
}

Test(model, a_decoder_beside_a_vision_tower_is_found) {
  qp_model m;
  cr_assert_eq(parse("config.json",
                     "{\"model_type\": \"gemma3\", \"text_config\": {\"hidden_size\": 2560,"
                     "\"intermediate_size\": 10240, \"model_type\": \"gemma3_text\","
                     "\"num_hidden_layers\": 34}, \"vision_config\": {\"hidden_size\": 1152}}",
                     &m),
               QP_OK, "%s", err.text);
  const qp_model *want = find("gemma-3-4b");
  cr_assert_str_eq(m.name, "config");
  cr_assert_eq(m.hidden, 2560);
  cr_assert(m.tied);
  cr_assert_eq(m.linear_weights, want->linear_weights);
  cr_assert_eq(m.embedding_bytes, want->embedding_bytes);
}

Test(model, a_path_of_a_folder_means_its_config) {
  char folder[] = "/tmp/qpal_model_XXXXXX", file[64];
  cr_assert(mkdtemp(folder));
  snprintf(file, sizeof file, "%s/config.json", folder);
  FILE *f = fopen(file, "w");
  fputs("{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
        "\"num_attention_heads\": 2, \"num_hidden_layers\": 3, \"vocab_size\": 32}",
        f);
  fclose(f);
  const qp_model *m = find(folder);
  cr_assert_str_eq(m->name, strrchr(folder, '/') + 1);
  cr_assert_eq(m->kv_heads, 2);
  cr_assert_eq(m->layers, 3);
  cr_assert_eq(find(file)->hidden, 64);
  unlink(file);
  rmdir(folder);
}

Test(model, wrong_configs_name_file_field_and_what_is_right) {
  static const struct {
    const char *text, *part;
  } wrong[] = {
      {"", "no JSON"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"},
      {"[1]", "an object is needed"},
      {"{}", "model_type"},
      {"{\"model_type\": \"mixtrall\"}", "the nearest is 'mixtral'"},
      {"{\"model_type\": \"llama\"}", "hidden_size"},
      {"{\"model_type\": \"llama\", \"hidden_size\": 1, \"hidden_size\": 2}", "twice"},
      {"{\"model_type\": \"llama\", \"hidden_size\": -4096}", "from 1 to"},
      {"{\"model_type\": \"llama\", \"hidden_size\": 1e99}", "from 1 to"},
      {"{\"model_type\": \"llama\", \"hidden_size\": 1e999}", "range of double"},
      {"{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
       "\"num_attention_heads\": 128, \"num_hidden_layers\": 3, \"vocab_size\": 32}",
       "head_dim"},
      {"{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
       "\"num_attention_heads\": 16777216, \"head_dim\": 16777216, \"num_hidden_layers\": 3,"
       "\"vocab_size\": 32}",
       "sizes from 1 to"},
      {"{\"model_type\": \"llama\", \"tie_word_embeddings\": \"no\"}", "true or false"},
      {"{\"a\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", "nesting"},
      {"{\"model_type\": \"llama\"} x", "no JSON"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    qp_model m;
    cr_expect_eq(parse("there/config.json", wrong[i].text, &m), QP_E_ARG, "%s", wrong[i].text);
    cr_expect(strstr(err.text, "there/config.json"), "%s", err.text);
    cr_expect(strstr(err.text, wrong[i].part), "%s: %s", wrong[i].text, err.text);
  }
}

Test(model, an_unknown_model_is_named_with_the_nearest) {
  const qp_model *m;
  cr_assert_eq(qp_models_find(models, "llama-3.1-8", &m, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "'llama-3.1-8'"));
  cr_assert(strstr(err.text, "llama-3.1-8b"));
  cr_assert_eq(qp_models_find(models, "/nowhere/config.json", &m, &err), QP_E_IO);
  cr_assert(strstr(err.text, "/nowhere/config.json"));
}

/* Python writes and reads such numbers; a field that nobody asks for may hold one. */
Test(model, infinity_in_a_field_that_is_not_read_is_passed_over) {
  static const char right[] =
      "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128,"
      " \"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": 32,"
      " \"limits\": [0.0, Infinity, -Infinity], \"text\": \"NaN \\\" Infinity\", \"x\": NaN}";
  static const char wrong[] =
      "{\"model_type\": \"llama\", \"hidden_size\": Infinity, \"intermediate_size\": 128}";
  qp_model m;
  cr_assert_eq(parse("m/config.json", right, &m), QP_OK, "%s", err.text);
  cr_assert_eq(parse("m/config.json", wrong, &m), QP_E_ARG);
  cr_assert(strstr(err.text, "hidden_size"), "%s", err.text);
}

/* ---- Families, by small configs as transformers 5 writes them, and what it counts ---- */

static uint64_t weights_of(const qp_model *m) {
  const uint64_t head = m->tied ? 0 : m->head_weights;
  return m->linear_weights + (m->embedding_bytes + m->other_bytes + m->passed_bytes) / 2 + head;
}

/* Linears by their numbers, as often as blocks have them. */
static void check_numbers(const qp_model *m) {
  uint64_t sum = 0;
  const unsigned n = qp_model_count(m);
  unsigned block, linear;
  for (unsigned i = 0; i < n; i++) {
    qp_model_place(m, i, &block, &linear);
    cr_assert_lt(block, m->layers);
    cr_assert(qp_model_has(m, block, linear));
    cr_assert(qp_model_has_group(m, block, m->linear[linear].group));
    cr_assert_eq(qp_model_number(m, block, linear), i, "%s: %u", m->type, i);
    sum += qp_model_weights(&m->linear[linear]);
  }
  qp_model_place(m, n, &block, &linear);
  cr_assert(block == m->layers && linear == m->linears);
  cr_assert_eq(qp_model_number(m, m->layers, m->linears), n);
  cr_assert_eq(sum, m->linear_weights, "%s", m->type);
}

static void check_family(const cJSON *line) {
  const cJSON *config = cJSON_GetObjectItem(line, "config");
  const double want = cJSON_GetObjectItem(line, "weights")->valuedouble;
  const bool shell = cJSON_GetObjectItem(config, "text_config") != NULL;
  char *text = cJSON_PrintUnformatted(config);
  qp_model *m = calloc(1, sizeof *m);
  cr_assert_eq(parse("m/config.json", text, m), QP_OK, "%s", err.text);
  check_numbers(m);
  const double got = (double)weights_of(m), off = got / want - 1;
  /* A correction of an expert's score is no parameter to it, of a tower there is an estimate. */
  const double most = shell ? 0.01 : 2e-4;
  cr_expect(off < most && off > -most, "%s: %.0f weights, transformers has %.0f", m->type, got,
            want);
  free(m);
  cJSON_free(text);
}

Test(model, families_have_as_many_weights_as_classes_of_transformers) {
  FILE *f = fopen(QP_SOURCE_DIR "/tests/model/families.jsonl", "r");
  char line[8192];
  unsigned lines = 0;
  cr_assert(f);
  for (; fgets(line, sizeof line, f); lines++) {
    cJSON *tree = NULL;
    cr_assert_eq(qp_json_parse("line", line, strlen(line), &tree, &err), QP_OK, "%s", err.text);
    check_family(tree);
    cJSON_Delete(tree);
  }
  fclose(f);
  cr_assert_geq(lines, 56);
}

static qp_model *model_of(const char *text) {
  qp_model *m = calloc(1, sizeof *m);
  cr_assert_eq(parse("m/config.json", text, m), QP_OK, "%s: %s", text, err.text);
  return m;
}

#define SPARSE                                                                                     \
  "\"model_type\": \"qwen3_moe\", \"hidden_size\": 64, \"intermediate_size\": 96,"                 \
  "\"num_attention_heads\": 4, \"num_hidden_layers\": 3, \"vocab_size\": 48,"                      \
  "\"moe_intermediate_size\": 32, \"num_experts_per_tok\": 2, \"mlp_only_layers\": [1],"

/* The hub has "num_experts" and "head_dim": 16 where transformers 5 saves what stands second. */
Test(model, both_spellings_of_a_config_are_one_model) {
  qp_model *a = model_of("{" SPARSE "\"num_experts\": 8, \"head_dim\": 16}");
  qp_model *b = model_of("{" SPARSE "\"num_local_experts\": 8, \"head_dim\": null,"
                         "\"rope_parameters\": {\"rope_theta\": 1e4}, \"limit\": Infinity}");
  cr_assert_eq(memcmp(a, b, sizeof *a), 0);
  free(a);
  free(b);
}

Test(model, experts_are_stacks_in_the_blocks_that_have_them) {
  char name[QP_MODEL_NAME], expert[QP_MODEL_NAME];
  qp_model *m = model_of("{" SPARSE "\"num_experts\": 8, \"head_dim\": 16}");
  unsigned up = 0, dense = 0;
  while (strcmp(m->linear[up].role, "expert_up") != 0) up++;
  while (strcmp(m->linear[dense].role, "up") != 0) dense++;
  cr_assert_eq(m->kinds, 2);
  cr_assert(qp_model_has(m, 0, up) && !qp_model_has(m, 1, up) && qp_model_has(m, 2, up));
  cr_assert(!qp_model_has(m, 0, dense) && qp_model_has(m, 1, dense));
  cr_assert_eq(qp_model_copies(m, up), 2);
  cr_assert(m->linear[up].experts == 8 && m->linear[up].active == 2);
  cr_assert_eq(qp_model_weights(&m->linear[up]), 8 * 32 * 64);
  const uint64_t norms = 3 * (2 * 64 + 2 * 16), routers = 2 * 8 * 64;
  cr_assert_eq(m->linear_weights + norms + routers - m->active_weights, 2u * 6 * 3 * 32 * 64);
  qp_model_tensor(m, up, 2, name);
  cr_assert_str_eq(name, "model.layers.2.mlp.experts.*.up_proj");
  qp_model_expert(name, 7, expert);
  cr_assert_str_eq(expert, "model.layers.2.mlp.experts.7.up_proj");
  cr_assert_str_eq(m->linear[up].stack.tensor, "mlp.experts.gate_up_proj");
  cr_assert(m->linear[up].stack.part == 1 && m->linear[up].stack.parts == 2);
  free(m);
}

Test(model, around_a_decoder_its_own_name_of_the_embedding_stays) {
  qp_model *m = model_of("{\"model_type\": \"sees\", \"text_config\": {\"model_type\": \"mamba\","
                         "\"hidden_size\": 64, \"num_hidden_layers\": 1, \"vocab_size\": 48}}");
  cr_assert_str_eq(m->embedding, "model.language_model.embeddings");
  cr_assert_str_eq(m->last, "model.language_model.norm_f");
  free(m);
}

Test(model, what_is_no_linear_is_refused_in_a_sentence) {
  qp_model *m = calloc(1, sizeof *m);
  cr_assert_eq(parse("m/config.json", "{\"model_type\": \"gpt2\"}", m), QP_E_ARG);
  cr_assert(strstr(err.text, "[in, out]"), "%s", err.text);
  cr_assert_eq(parse("m/config.json", "{\"model_type\": \"t5\"}", m), QP_E_ARG);
  cr_assert(strstr(err.text, "two stacks of blocks"), "%s", err.text);
  cr_assert_eq(
      parse("m/config.json", "{" SPARSE "\"num_experts\": 8, \"num_attention_heads\": 4}", m),
      QP_E_ARG, "twice");
  free(m);
}

Test(model, a_decoder_is_found_in_any_shell_and_its_head_by_the_whole) {
  static const char text[] =
      "{\"model_type\": \"new_vision_thing\", \"tie_word_embeddings\": true, \"llm_config\":"
      "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
      "\"num_attention_heads\": 4, \"num_hidden_layers\": 3, \"vocab_size\": 48,"
      "\"tie_word_embeddings\": false}, \"vision_config\": {\"hidden_size\": 32, \"depth\": 2,"
      "\"intermediate_size\": 64, \"patch_size\": 2}}";
  qp_model *m = model_of(text);
  cr_assert_str_eq(m->type, "new_vision_thing");
  cr_assert_eq(m->hidden, 64);
  cr_assert(m->tied);
  cr_assert_gt(m->passed_bytes, 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64));
  cr_assert_str_eq(m->passed, "vision tower and projector");
  free(m);
}

Test(model, a_decoder_of_an_unknown_family_is_refused_in_a_known_shell) {
  qp_model *m = calloc(1, sizeof *m);
  cr_assert_eq(parse("m/config.json",
                     "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"news\","
                     "\"hidden_size\": 64}}",
                     m),
               QP_E_ARG);
  cr_assert(strstr(err.text, "'news'") && strstr(err.text, "of the decoder"), "%s", err.text);
  free(m);
}

Test(model, quantization_of_a_checkpoint_is_known_by_its_config) {
  qp_model *m = model_of("{" SPARSE "\"num_experts\": 8, \"quantization_config\":"
                         "{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"}}");
  cr_assert_str_eq(m->quantized, "modelopt NVFP4");
  free(m);
}
