/* SPDX-License-Identifier: MIT */
/* Tiny made-up models of every family that the forward pass knows, the same on every machine. */
#ifndef QP_FORWARD_KIT_H
#define QP_FORWARD_KIT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/model/computation.h"
#include "gen/model/tensor_writer.h"

enum { KIT_TOKENS = 40, KIT_VOCAB = 96 };

/* A config.json and the length of the sequence that is run; eps and soft caps are such that they
** count. */
typedef struct kit_family {
  const char *name, *config;
  unsigned tokens;
} kit_family;

#define KIT_SIZES                                                                                  \
  "\"hidden_size\": 64, \"intermediate_size\": 96, \"num_attention_heads\": 4, "                   \
  "\"num_key_value_heads\": 2, \"num_hidden_layers\": 4, \"vocab_size\": 96, "                     \
  "\"bos_token_id\": 1, \"eos_token_id\": 2, \"pad_token_id\": 0, \"rms_norm_eps\": 0.01, "

static const kit_family kit_families[] = {
    {"llama",
     "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], " KIT_SIZES
     "\"attention_bias\": true, \"mlp_bias\": true, \"rope_theta\": 5000.0, "
     "\"tie_word_embeddings\": false}",
     40},
    {"llama-3",
     "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], " KIT_SIZES
     "\"rope_theta\": 500.0, \"max_position_embeddings\": 512, \"rope_scaling\": {\"rope_type\": "
     "\"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
     "\"original_max_position_embeddings\": 64}, \"tie_word_embeddings\": true}",
     40},
    {"llama-linear",
     "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], " KIT_SIZES
     "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}, \"head_dim\": 16, "
     "\"tie_word_embeddings\": false}",
     40},
    {"llama-dynamic",
     "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], " KIT_SIZES
     "\"max_position_embeddings\": 16, \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": "
     "2.0}, \"tie_word_embeddings\": false}",
     40},
    {"mistral",
     "{\"model_type\": \"mistral\", \"architectures\": [\"MistralForCausalLM\"], " KIT_SIZES
     "\"head_dim\": 16, \"sliding_window\": 7, \"rope_theta\": 10000.0, "
     "\"tie_word_embeddings\": false}",
     40},
    {"smollm3",
     "{\"model_type\": \"smollm3\", \"architectures\": [\"SmolLM3ForCausalLM\"], " KIT_SIZES
     "\"no_rope_layers\": [1, 0, 1, 0], \"use_sliding_window\": true, \"sliding_window\": 9, "
     "\"rope_theta\": 2000.0, \"tie_word_embeddings\": true}",
     40},
    {"qwen2",
     "{\"model_type\": \"qwen2\", \"architectures\": [\"Qwen2ForCausalLM\"], " KIT_SIZES
     "\"use_sliding_window\": true, \"sliding_window\": 5, \"max_window_layers\": 2, "
     "\"rope_theta\": 1000.0, \"tie_word_embeddings\": true}",
     40},
    {"qwen3",
     "{\"model_type\": \"qwen3\", \"architectures\": [\"Qwen3ForCausalLM\"], " KIT_SIZES
     "\"head_dim\": 24, \"max_position_embeddings\": 128, \"rope_parameters\": {\"rope_type\": "
     "\"yarn\", \"rope_theta\": 1000.0, \"factor\": 4.0, \"original_max_position_embeddings\": "
     "32}, \"tie_word_embeddings\": false}",
     40},
    {"gemma",
     "{\"model_type\": \"gemma\", \"architectures\": [\"GemmaForCausalLM\"], " KIT_SIZES
     "\"head_dim\": 16, \"hidden_act\": \"gelu\", \"tie_word_embeddings\": true}",
     40},
    {"gemma2",
     "{\"model_type\": \"gemma2\", \"architectures\": [\"Gemma2ForCausalLM\"], " KIT_SIZES
     "\"head_dim\": 16, \"query_pre_attn_scalar\": 24, \"sliding_window\": 6, "
     "\"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 3.0, "
     "\"tie_word_embeddings\": true}",
     40},
    {"gemma3",
     "{\"model_type\": \"gemma3_text\", \"architectures\": [\"Gemma3ForCausalLM\"], " KIT_SIZES
     "\"head_dim\": 16, \"query_pre_attn_scalar\": 20, \"sliding_window\": 6, "
     "\"sliding_window_pattern\": 3, \"rope_theta\": 50000.0, \"rope_local_base_freq\": 100.0, "
     "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}, "
     "\"tie_word_embeddings\": true}",
     40},
    {"phi3",
     "{\"model_type\": \"phi3\", \"architectures\": [\"Phi3ForCausalLM\"], " KIT_SIZES
     "\"sliding_window\": 30, \"partial_rotary_factor\": 0.5, \"max_position_embeddings\": 64, "
     "\"original_max_position_embeddings\": 32, \"rope_scaling\": {\"type\": \"longrope\", "
     "\"short_factor\": [1.0, 1.5, 2.0, 3.0], \"long_factor\": [1.0, 3.0, 9.0, 20.0]}, "
     "\"tie_word_embeddings\": false}",
     40},
    {"phi3-short",
     "{\"model_type\": \"phi3\", \"architectures\": [\"Phi3ForCausalLM\"], " KIT_SIZES
     "\"partial_rotary_factor\": 0.5, \"max_position_embeddings\": 64, "
     "\"original_max_position_embeddings\": 32, \"rope_scaling\": {\"type\": \"longrope\", "
     "\"short_factor\": [1.0, 1.5, 2.0, 3.0], \"long_factor\": [1.0, 3.0, 9.0, 20.0]}, "
     "\"tie_word_embeddings\": false}",
     20},
};
enum { KIT_FAMILIES = sizeof kit_families / sizeof *kit_families };

static inline void kit_tokens(unsigned count, uint32_t *out) {
  qp_random r = {99};
  for (unsigned i = 0; i < count; i++) out[i] = 3 + (uint32_t)(qp_random_next(&r) % 93);
}

/* ---- Checkpoints ---- */

typedef struct kit_writer {
  qp_tensor_writer *w;
  const qp_model *model;
  const qp_computation *c;
  bool declare; /* else write */
  size_t next;
  qp_status status;
} kit_writer;

/* 'size' is about the largest value; norms lie around 'middle'.  Numbers depend on the name
** alone. */
static inline void kit_put(kit_writer *k, const char *name, uint64_t rows, uint64_t columns,
                           double size, double middle) {
  const uint64_t shape[] = {rows, columns};
  if (k->status) return;
  if (k->declare) {
    k->status =
        qp_tensor_writer_declare(k->w, name, QP_TENSOR_F32, columns ? 2 : 1, shape, NULL, NULL);
    return;
  }
  qp_random r = {0xcbf29ce484222325u};
  const char *plain = strstr(name, "model.") ? strstr(name, "model.") : name;
  for (const char *s = plain; *s; s++) r.state = (r.state ^ (unsigned char)*s) * 0x100000001b3u;
  const size_t n = (size_t)(rows * (columns ? columns : 1));
  float *values = malloc(n * sizeof *values);
  for (size_t i = 0; i < n; i++) values[i] = (float)(middle + size * qp_random_uniform(&r, -1, 1));
  k->status = qp_tensor_writer_write(k->w, k->next++, 0, values, n * sizeof *values, NULL);
  free(values);
}

static inline void kit_put_block(kit_writer *k, unsigned block) {
  const qp_model *m = k->model;
  const double middle = 1 - (double)k->c->norm_offset;
  char name[512], linear[QP_MODEL_NAME];
  for (unsigned i = 0; i < m->linears; i++) {
    const qp_model_linear *l = &m->linear[i];
    qp_model_tensor(m, i, block, linear);
    snprintf(name, sizeof name, "%s.weight", linear);
    kit_put(k, name, l->rows, l->columns, 2.5 / sqrt(l->columns), 0);
    snprintf(name, sizeof name, "%s.bias", linear);
    if (l->bias) kit_put(k, name, l->rows, 0, 0.3, 0);
  }
  for (unsigned i = 0; i < QP_NORM_PLACES; i++) {
    if (!*k->c->norm[i]) continue;
    snprintf(name, sizeof name, "%s%s.%u.%s.weight", m->prefix, m->blocks, block, k->c->norm[i]);
    kit_put(k, name, i >= QP_NORM_Q ? m->head_dim : m->hidden, 0, 0.5, middle);
  }
}

static inline void kit_put_all(kit_writer *k, bool declare) {
  const qp_model *m = k->model;
  char name[512], head[QP_MODEL_NAME];
  k->declare = declare;
  snprintf(name, sizeof name, "%s.weight", m->embedding);
  kit_put(k, name, m->vocab, m->hidden, 1.0 / (double)k->c->embedding_scale, 0);
  for (unsigned b = 0; b < m->layers; b++) kit_put_block(k, b);
  snprintf(name, sizeof name, "%s.weight", k->c->final);
  kit_put(k, name, m->hidden, 0, 0.5, 1 - (double)k->c->norm_offset);
  qp_model_tensor(m, m->linears, 0, head);
  snprintf(name, sizeof name, "%s.weight", head);
  if (!m->tied) kit_put(k, name, m->vocab, m->hidden, 2.5 / sqrt(m->hidden), 0);
}

/* Write folder/config.json and folder/model.safetensors. */
static inline qp_status kit_write(const char *folder, const char *config, qp_error *err) {
  char path[4200];
  qp_models *models = NULL;
  qp_model model;
  qp_computation c = {0};
  kit_writer k = {.model = &model, .c = &c};
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *f = fopen(path, "w");
  if (!f) return qp_fail(err, QP_E_IO, "%s: cannot be written", path);
  fputs(config, f);
  fclose(f);
  qp_status status = qp_models_open(&models, err);
  if (!status) status = qp_models_parse(models, path, config, strlen(config), &model, err);
  if (!status) status = qp_computation_open(models, &model, path, config, &c, err);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  if (!status) status = qp_tensor_writer_new(path, &k.w, err);
  if (!status) status = qp_tensor_writer_metadata(k.w, "format", "pt", err);
  if (!status) kit_put_all(&k, true);
  if (!status) status = k.status ? k.status : qp_tensor_writer_start(k.w, err);
  if (!status) kit_put_all(&k, false);
  if (!status) status = k.status ? k.status : qp_tensor_writer_finish(k.w, err);
  qp_tensor_writer_free(k.w);
  qp_computation_close(&c);
  if (models) qp_models_close(models);
  return status;
}

#endif
