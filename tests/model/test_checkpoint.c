/* SPDX-License-Identifier: MIT */
/* Checkpoints are read under the names of the whole model, whatever they leave out. */
#include <unistd.h>

#include "gen/model/checkpoint.h"
#include "tests/quantize/quantize_kit.h"

enum { HIDDEN = 32, VOCAB = 48 };

static qp_models *models;

static void begin(void) {
  make_folder();
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}

static void end(void) {
  qp_models_close(models);
  remove_folder();
}

TestSuite(checkpoint, .init = begin, .fini = end);

/* A config.json with one more member, such as "\"tie_word_embeddings\": true". */
static void write_config(const char *type, const char *more) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", \"hidden_size\": %d, \"intermediate_size\": 64,"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": %d, %s}",
           type, HIDDEN, VOCAB, more);
  write_text(path("in/config.json"), text);
}

/* Tensors of HIDDEN columns by these names; NULL ends the list. */
static void write_tensors(const char *const *names) {
  pending p;
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned i = 0; names[i]; i++)
    pending_add(&p, names[i], QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(i + 1, HIDDEN * HIDDEN));
  pending_write(&p);
}

static qp_checkpoint *open_checkpoint(const char *name) {
  qp_checkpoint *c;
  cr_assert_eq(qp_checkpoint_open(path("%s", name), models, &c, &err), QP_OK, "%s", err.text);
  return c;
}

static void expect_tensors(const qp_checkpoint *c, const char *const *names) {
  size_t n = 0;
  for (; names[n]; n++) cr_expect(qp_checkpoint_find(c, names[n]), "%s is missing", names[n]);
  cr_expect_eq(qp_checkpoint_count(c), n);
}

Test(checkpoint, of_the_blocks_alone_has_the_names_of_the_whole_model) {
  static const char *const there[] = {"layers.0.self_attn.q_proj.weight", "embed_tokens.weight",
                                      "norm.weight", NULL};
  static const char *const here[] = {"model.layers.0.self_attn.q_proj.weight",
                                     "model.embed_tokens.weight", "model.norm.weight", NULL};
  write_config("llama", "\"tie_word_embeddings\": true");
  write_tensors(there);
  qp_checkpoint *c = open_checkpoint("in");
  expect_tensors(c, here);
  qp_checkpoint_close(c);
}

Test(checkpoint, whose_names_begin_with_more_than_the_prefix_is_read) {
  static const char *const there[] = {"bert.encoder.layer.0.attention.self.query.weight",
                                      "bert.embeddings.word_embeddings.weight",
                                      "cls.predictions.bias", NULL};
  static const char *const here[] = {"encoder.layer.0.attention.self.query.weight",
                                     "embeddings.word_embeddings.weight", "cls.predictions.bias",
                                     NULL};
  write_config("bert", "\"tie_word_embeddings\": true");
  write_tensors(there);
  qp_checkpoint *c = open_checkpoint("in");
  expect_tensors(c, here);
  qp_checkpoint_close(c);
}

/* transformers 5 saves other names than the hub has; a tower has blocks of the same names. */
Test(checkpoint, of_a_decoder_beside_towers_has_one_set_of_names) {
  static const char *const heads[] = {"lm_head.weight", "language_model.lm_head.weight"};
  static const char *const before[] = {"model.language_model.", "language_model.model."};
  for (unsigned i = 0; i < 2; i++) {
    char name[128];
    pending p;
    write_text(path("in/config.json"),
               "{\"model_type\": \"llava\", \"text_config\": {\"model_type\": \"llama\","
               "\"hidden_size\": 32, \"intermediate_size\": 64, \"num_attention_heads\": 2,"
               "\"num_hidden_layers\": 1, \"vocab_size\": 48}}");
    pending_begin(&p, path("in/model.safetensors"));
    pending_add(&p, "audio_tower.layers.0.self_attn.q_proj.weight", QP_TENSOR_F32, 16, 16,
                weights_of(1, 16 * 16));
    snprintf(name, sizeof name, "%slayers.0.self_attn.q_proj.weight", before[i]);
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(2, HIDDEN * HIDDEN));
    snprintf(name, sizeof name, "%sembed_tokens.weight", before[i]);
    pending_add(&p, name, QP_TENSOR_F32, VOCAB, HIDDEN, weights_of(3, VOCAB * HIDDEN));
    pending_add(&p, heads[i], QP_TENSOR_F32, VOCAB, HIDDEN, weights_of(4, VOCAB * HIDDEN));
    pending_write(&p);
    qp_checkpoint *c = open_checkpoint("in");
    const qp_model *m = qp_checkpoint_model(c);
    cr_assert(!m->tied, "%s", heads[i]);
    snprintf(name, sizeof name, "%s.weight", m->linear[m->linears].tensor);
    cr_assert(qp_checkpoint_find(c, name), "%s", name);
    cr_assert(qp_checkpoint_find(c, "language_model.model.layers.0.self_attn.q_proj.weight"));
    cr_assert(qp_checkpoint_find(c, "language_model.model.embed_tokens.weight"));
    cr_assert(qp_checkpoint_find(c, "audio_tower.layers.0.self_attn.q_proj.weight"));
    qp_checkpoint_close(c);
  }
}

Test(checkpoint, that_lacks_linears_of_its_config_says_the_first) {
  static const char *const there[] = {"model.layers.0.self_attn.q_proj.weight",
                                      "model.layers.0.self_attn.k_proj.weight",
                                      "model.layers.0.self_attn.v_proj.weight",
                                      "model.layers.0.mlp.up_proj.weight", /* of another shape */
                                      "model.embed_tokens.weight",
                                      NULL};
  write_config("llama", "\"tie_word_embeddings\": true");
  write_tensors(there);
  qp_checkpoint *c = open_checkpoint("in");
  cr_assert_str_eq(qp_checkpoint_model(c)->lacks,
                   "tensor 'model.layers.0.self_attn.o_proj.weight' is missing, 7 in all");
  qp_checkpoint_close(c);
}

Test(checkpoint, that_lacks_an_embedding_says_so_and_which_shape_is_wrong) {
  static const char *const names[] = {"self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o",
                                      "mlp.gate",    "mlp.up",      "mlp.down"};
  write_config("llama", "\"tie_word_embeddings\": false");
  for (unsigned whole = 0; whole < 2; whole++) {
    pending p;
    char name[128];
    pending_begin(&p, path("in/model.safetensors"));
    for (unsigned i = 0; i < 7; i++) {
      const unsigned rows = whole && (i == 4 || i == 5) ? 64 : 32, columns = i == 6 ? 64 : 32;
      snprintf(name, sizeof name, "model.layers.0.%s_proj.weight", names[i]);
      pending_add(&p, name, QP_TENSOR_F32, rows, columns, weights_of(i + 1, rows * columns));
    }
    pending_write(&p);
    qp_checkpoint *c = open_checkpoint("in");
    cr_expect_str_eq(
        qp_checkpoint_model(c)->lacks,
        whole ? "tensor 'model.embed_tokens.weight' is missing, 5 in all" /* and head, norms */
              : "tensor 'model.layers.0.mlp.up_proj.weight' is 32 x 32, not 64 x 32, 7 in all");
    qp_checkpoint_close(c);
  }
}

/* Write three blocks of 'type' less one tensor, with the experts of the last two as one. */
static void write_blocks(const char *type, const char *const *names, const char *without) {
  pending p;
  char config[400], name[128];
  snprintf(
      config, sizeof config,
      "{\"model_type\": \"%s\", \"hidden_size\": 32, \"intermediate_size\": 64, \"head_dim\": 16,"
      " \"num_attention_heads\": 2, \"num_hidden_layers\": 3, \"vocab_size\": 48,"
      " \"num_experts\": 2, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 32,"
      " \"mlp_only_layers\": [0], \"tie_word_embeddings\": true}",
      type);
  write_text(path("in/config.json"), config);
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned b = 0; b < 3; b++)
    for (unsigned i = 0; names[i]; i++) {
      const unsigned only = names[i][0] == '-' ? 1 : names[i][0] == '+' ? 2 : 0;
      if (only && (only == 1) != (b == 0)) continue;
      snprintf(name, sizeof name, "model.layers.%u.%s.weight", b, names[i] + (only > 0));
      const unsigned rows = strstr(name, "gate_proj") || strstr(name, "up_proj") ? 64 : 32;
      const unsigned columns = strstr(name, "down_proj") ? 64 : 32;
      const bool square = !strstr(name, "mlp.") || strstr(name, "experts");
      if (strcmp(name, without) != 0)
        pending_add(&p, name, QP_TENSOR_F32, square ? 32 : rows, square ? 32 : columns,
                    weights_of(i + 1, (square ? 32 : rows) * (square ? 32 : columns)));
    }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(9, VOCAB * HIDDEN));
  if (strcmp(without, "model.norm.weight") != 0)
    pending_add(&p, "model.norm.weight", QP_TENSOR_F32, 1, HIDDEN, weights_of(8, HIDDEN));
  pending_write(&p);
}

/* '-' begins names of the first block alone, which has no experts, '+' those of the others. */
static const char *const blocks_of_qwen[] = {"self_attn.q_proj",
                                             "self_attn.k_proj",
                                             "self_attn.v_proj",
                                             "self_attn.o_proj",
                                             "self_attn.q_norm",
                                             "self_attn.k_norm",
                                             "input_layernorm",
                                             "post_attention_layernorm",
                                             "-mlp.gate_proj",
                                             "-mlp.up_proj",
                                             "-mlp.down_proj",
                                             "+mlp.gate",
                                             "+mlp.experts.0.gate_proj",
                                             "+mlp.experts.0.up_proj",
                                             "+mlp.experts.0.down_proj",
                                             "+mlp.experts.1.gate_proj",
                                             "+mlp.experts.1.up_proj",
                                             "+mlp.experts.1.down_proj",
                                             NULL};

Test(checkpoint, that_lacks_a_norm_or_a_router_says_which) {
  static const char *const without[] = {
      "",
      "model.layers.0.input_layernorm.weight",
      "model.layers.2.self_attn.k_norm.weight",
      "model.layers.1.mlp.gate.weight",
      "model.norm.weight",
  };
  for (unsigned i = 0; i < sizeof without / sizeof *without; i++) {
    char right[160] = "";
    write_blocks("qwen3_moe", blocks_of_qwen, without[i]);
    if (i) snprintf(right, sizeof right, "tensor '%s' is missing, 1 in all", without[i]);
    qp_checkpoint *c = open_checkpoint("in");
    cr_expect_str_eq(qp_checkpoint_model(c)->lacks, right);
    qp_checkpoint_close(c);
  }
}

/* Norms that no entry names, of a family that is not described: as most of its blocks have them. */
Test(checkpoint, of_an_unknown_family_lacks_a_norm_that_its_other_blocks_have) {
  static const char *const names[] = {"self_attn.q_proj", "self_attn.o_proj", "some_norm", NULL};
  for (unsigned i = 0; i < 2; i++) {
    write_blocks("nobody_knows", names, i ? "model.layers.1.some_norm.weight" : "");
    qp_checkpoint *c = open_checkpoint("in");
    cr_expect(qp_checkpoint_model(c)->surveyed);
    cr_expect_str_eq(qp_checkpoint_model(c)->lacks,
                     i ? "tensor 'model.layers.1.some_norm.weight' is missing, 1 in all" : "");
    qp_checkpoint_close(c);
  }
}

Test(checkpoint, whose_blocks_have_another_word_is_read) {
  static const char *const names[] = {"model.blocks.0.self_attn.q_proj.weight",
                                      "model.embed_tokens.weight", "model.norm.weight", NULL};
  char name[QP_MODEL_NAME];
  write_config("llama", "\"tie_word_embeddings\": true");
  write_tensors(names);
  qp_checkpoint *c = open_checkpoint("in");
  expect_tensors(c, names);
  qp_model_tensor(qp_checkpoint_model(c), 0, 0, name);
  cr_expect_str_eq(name, "model.blocks.0.self_attn.q_proj");
  qp_checkpoint_close(c);
}

Test(checkpoint, whose_embedding_has_another_name_is_read) {
  static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight", NULL};
  pending p;
  write_config("llama", "\"tie_word_embeddings\": true");
  pending_begin(&p, path("in/model.safetensors"));
  pending_add(&p, names[0], QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(1, HIDDEN * HIDDEN));
  pending_add(&p, "other.wte.weight", QP_TENSOR_F32, VOCAB, HIDDEN, weights_of(2, VOCAB * HIDDEN));
  pending_write(&p);
  qp_checkpoint *c = open_checkpoint("in");
  cr_expect_str_eq(qp_checkpoint_model(c)->embedding, "other.wte");
  cr_expect_str_eq(qp_checkpoint_model(c)->linear[qp_checkpoint_model(c)->linears].tensor,
                   "other.wte");
  qp_checkpoint_close(c);
}

/* A checkpoint of 3 experts that stand one by one, but for up of the middle one; its config counts
   'experts'. */
static qp_checkpoint *open_experts(unsigned experts) {
  pending p;
  char name[128];
  snprintf(name, sizeof name,
           "\"num_experts\": %u, \"num_experts_per_tok\": 1, \"moe_intermediate_size\": 32,"
           "\"head_dim\": 16",
           experts);
  write_config("qwen3_moe", name);
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "model.layers.0.self_attn.%c_proj.weight", "qkvo"[i]);
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(i + 1, HIDDEN * HIDDEN));
  }
  for (unsigned i = 0; i < 9; i++) {
    static const char *const linear[] = {"gate", "up", "down"};
    snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.%s_proj.weight", i / 3,
             linear[i % 3]);
    if (i == 4) continue;
    pending_add(&p, name, QP_TENSOR_F32, HIDDEN, HIDDEN, weights_of(i + 1, HIDDEN * HIDDEN));
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(9, VOCAB * HIDDEN));
  pending_write(&p);
  return open_checkpoint("in");
}

Test(checkpoint, that_lacks_an_expert_says_which) {
  qp_checkpoint *c = open_experts(3);
  cr_expect_str_eq(qp_checkpoint_model(c)->lacks,
                   "tensor 'model.layers.0.mlp.experts.1.up_proj.weight' is missing, 7 in all");
  cr_expect_str_eq(qp_checkpoint_model(c)->exceeds, "");
  qp_checkpoint_close(c);
}

Test(checkpoint, that_has_more_experts_than_its_config_counts_says_both_numbers) {
  qp_checkpoint *c = open_experts(2);
  cr_expect_str_eq(qp_checkpoint_model(c)->exceeds,
                   "the tensors ('model.layers.0.mlp.experts.2.down_proj.weight' ...) are of 3 "
                   "experts, its config counts 2");
  qp_checkpoint_close(c);
}

/* Some have blocks behind the last that predict further tokens, and count them apart. */
Test(checkpoint, that_has_more_blocks_than_its_config_counts_says_both_numbers) {
  static const char *const there[] = {"model.layers.0.self_attn.q_proj.weight",
                                      "model.layers.1.self_attn.q_proj.weight",
                                      "model.layers.2.mlp.down_proj.weight",
                                      "model.layers.3.norm.weight",
                                      "model.embed_tokens.weight",
                                      NULL};
  static const char *const more[] = {"\"tie_word_embeddings\": true",
                                     "\"num_nextn_predict_layers\": 1",
                                     "\"num_nextn_predict_layers\": 2"};
  static const char *const said[] = {
      "the tensors ('model.layers.1.self_attn.q_proj.weight' ...) are of 3 blocks, its config "
      "counts 1",
      "the tensors ('model.layers.2.mlp.down_proj.weight' ...) are of 3 blocks, its config "
      "counts 1",
      ""};
  write_tensors(there);
  for (unsigned i = 0; i < 3; i++) {
    write_config("llama", more[i]);
    qp_checkpoint *c = open_checkpoint("in");
    cr_expect_str_eq(qp_checkpoint_model(c)->exceeds, said[i]);
    qp_checkpoint_close(c);
  }
}

Test(checkpoint, with_all_its_names_keeps_them) {
  static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight", "lm_head.weight",
                                      "score.weight", "model.embed_tokens.weight", NULL};
  write_config("llama", "\"tie_word_embeddings\": false");
  write_tensors(names);
  qp_checkpoint *c = open_checkpoint("in");
  expect_tensors(c, names);
  cr_assert_not(qp_checkpoint_model(c)->tied);
  qp_checkpoint_close(c);
}

Test(checkpoint, without_an_lm_head_is_tied_whatever_its_config_says) {
  static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight",
                                      "model.embed_tokens.weight", NULL};
  char head[QP_MODEL_NAME];
  write_config("llama", "\"tie_word_embeddings\": false");
  write_tensors(names);
  qp_checkpoint *c = open_checkpoint("in");
  const qp_model *m = qp_checkpoint_model(c);
  cr_assert(m->tied);
  qp_model_tensor(m, m->linears, 0, head);
  cr_assert_str_eq(head, "model.embed_tokens");
  qp_checkpoint_close(c);
}

/* Tensors that are only passed through may have types whose elements are no whole bytes. */
Test(checkpoint, keeps_tensors_of_less_than_a_byte_an_element) {
  static const char header[] = "{\"__metadata__\":null,\"x\":{\"dtype\":\"F4\",\"shape\":[2,3,2],"
                               "\"data_offsets\":[0,6],\"note\":[1,{}]}}";
  unsigned char kept[6];
  write_config("llama", "\"tie_word_embeddings\": true");
  FILE *f = fopen(path("in/model.safetensors"), "wb");
  const uint64_t length = sizeof header - 1;
  fwrite(&length, 1, 8, f);
  fwrite(header, 1, sizeof header - 1, f);
  fwrite("\1\2\3\4\5\6", 1, 6, f);
  fclose(f);
  qp_checkpoint *c = open_checkpoint("in");
  const qp_source_tensor *x = qp_checkpoint_find(c, "x");
  cr_assert(x && !strcmp(x->type, "F4"));
  cr_assert_eq(qp_checkpoint_keep(c, x, 0, x->rows, kept, &err), QP_OK, "%s", err.text);
  cr_assert_eq(memcmp(kept, "\1\2\3\4\5\6", 6), 0);
  qp_checkpoint_close(c);
}

/* ---- GGUF in parts ---- */

static void put(FILE *f, uint64_t v, unsigned bytes) { fwrite(&v, 1, bytes, f); }

static void put_text(FILE *f, const char *s) {
  put(f, strlen(s), 8);
  fputs(s, f);
}

static void put_key(FILE *f, const char *key, uint32_t v) {
  put_text(f, key);
  put(f, 4, 4);
  put(f, v, 4);
}

/* Part 'index' of 'count', with one tensor of 32 x 32 in F32; the first says what model it is. */
static void write_part(const char *name, unsigned index, unsigned count, const char *tensor_name) {
  FILE *f = fopen(path("%s", name), "wb");
  cr_assert(f);
  fputs("GGUF", f);
  put(f, 3, 4);
  put(f, 1, 8);
  put(f, index ? 2 : 8, 8);
  put_key(f, "split.no", index);
  put_key(f, "split.count", count);
  if (!index) {
    put_text(f, "general.architecture");
    put(f, 8, 4);
    put_text(f, "llama");
    put_key(f, "llama.embedding_length", HIDDEN);
    put_key(f, "llama.feed_forward_length", 64);
    put_key(f, "llama.attention.head_count", 2);
    put_key(f, "llama.block_count", 1);
    put_key(f, "llama.expert_count", 0);
  }
  put_text(f, tensor_name);
  put(f, 2, 4);
  put(f, 32, 8);
  put(f, 32, 8);
  put(f, 0, 4);
  put(f, 0, 8);
  while (ftell(f) % 32) fputc(0, f);
  for (unsigned i = 0; i < 32 * 32; i++) fwrite(&(float){(float)(100 * index)}, 1, 4, f);
  fclose(f);
}

Test(checkpoint, of_several_gguf_files_is_read_from_any_of_them) {
  static const char *const names[] = {"model.embed_tokens.weight",
                                      "model.layers.0.self_attn.v_proj.weight", NULL};
  float row[32];
  write_part("m-00001-of-00002.gguf", 0, 2, "token_embd.weight");
  write_part("m-00002-of-00002.gguf", 1, 2, "blk.0.attn_v.weight");
  for (unsigned i = 1; i <= 2; i++) {
    char name[32];
    snprintf(name, sizeof name, "m-%05u-of-00002.gguf", i);
    qp_checkpoint *c = open_checkpoint(name);
    expect_tensors(c, names);
    cr_assert_eq(qp_checkpoint_read(c, qp_checkpoint_find(c, names[1]), 31, 1, row, &err), QP_OK);
    cr_assert_eq(row[0], 100);
    qp_checkpoint_close(c);
  }
}

static void expect_refusal(const char *name, const char *part) {
  qp_checkpoint *c;
  cr_assert_neq(qp_checkpoint_open(path("%s", name), models, &c, &err), QP_OK);
  cr_assert(strstr(err.text, part), "%s", err.text);
}

Test(checkpoint, of_several_gguf_files_says_which_part_is_wrong) {
  write_part("m-00001-of-00002.gguf", 0, 2, "token_embd.weight");
  expect_refusal("m-00001-of-00002.gguf", "part 2 of 2");
  write_part("m-00002-of-00002.gguf", 0, 2, "blk.0.attn_v.weight");
  expect_refusal("m-00001-of-00002.gguf",
                 "split.no is 0 of split.count 2: by its name it is part 2");
  write_part("other.gguf", 0, 2, "token_embd.weight");
  expect_refusal("other.gguf", "split.count is 2, and its name does not end in");
}
