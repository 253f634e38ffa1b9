/* SPDX-License-Identifier: MIT */
/* Names of llama.cpp (gguf-py/gguf/tensor_mapping.py, constants.py) --> names of Hugging Face. */
#include "gen/model/gguf_names.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMON = 1, GEMMA = 2, PHI3 = 4, BERT = 8, TWO_NORMS = 16 };

static const qp_gguf_architecture architectures[] = {
    {"llama", "llama", COMMON | TWO_NORMS, true, false}, /* Mistral and SmolLM too */
    {"qwen2", "qwen2", COMMON | TWO_NORMS, false, false},
    {"qwen3", "qwen3", COMMON | TWO_NORMS, false, false},
    {"smollm3", "smollm3", COMMON | TWO_NORMS, true, false},
    {"gemma", "gemma", COMMON | TWO_NORMS, false, true},
    {"gemma2", "gemma2", COMMON | GEMMA, false, true},
    {"gemma3", "gemma3_text", COMMON | GEMMA, false, true},
    {"phi3", "phi3", COMMON | TWO_NORMS | PHI3, false, false},
    {"bert", "bert", BERT, false, false},
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* Of several rows with one name, the last that is the architecture's own counts. */
typedef struct row {
  const char *from, *to;
  unsigned names;
} row;

static const row outside[] = {
    {"token_embd", "model.embed_tokens", COMMON},
    {"output_norm", "model.norm", COMMON},
    {"output", "lm_head", COMMON},
    {"token_embd", "embeddings.word_embeddings", BERT},
    {"position_embd", "embeddings.position_embeddings", BERT},
    {"token_types", "embeddings.token_type_embeddings", BERT},
    {"token_embd_norm", "embeddings.LayerNorm", BERT},
};

static const row inside[] = {
    {"attn_norm", "input_layernorm", COMMON},
    {"attn_q", "self_attn.q_proj", COMMON},
    {"attn_k", "self_attn.k_proj", COMMON},
    {"attn_v", "self_attn.v_proj", COMMON},
    {"attn_output", "self_attn.o_proj", COMMON},
    {"attn_q_norm", "self_attn.q_norm", COMMON},
    {"attn_k_norm", "self_attn.k_norm", COMMON},
    {"ffn_gate", "mlp.gate_proj", COMMON},
    {"ffn_up", "mlp.up_proj", COMMON},
    {"ffn_down", "mlp.down_proj", COMMON},
    {"ffn_norm", "post_attention_layernorm", TWO_NORMS},
    {"post_attention_norm", "post_attention_layernorm", GEMMA},
    {"ffn_norm", "pre_feedforward_layernorm", GEMMA},
    {"post_ffw_norm", "post_feedforward_layernorm", GEMMA},
    {"attn_qkv", "self_attn.qkv_proj", PHI3},
    {"ffn_up", "mlp.gate_up_proj", PHI3},
    {"attn_q", "attention.self.query", BERT},
    {"attn_k", "attention.self.key", BERT},
    {"attn_v", "attention.self.value", BERT},
    {"attn_output", "attention.output.dense", BERT},
    {"attn_output_norm", "attention.output.LayerNorm", BERT},
    {"ffn_up", "intermediate.dense", BERT},
    {"ffn_down", "output.dense", BERT},
    {"layer_output_norm", "output.LayerNorm", BERT},
};

qp_status qp_gguf_architecture_of(const qp_gguf *g, const char *file,
                                  const qp_gguf_architecture **out, qp_error *err) {
  char name[64], known[256] = "";
  if (!qp_gguf_text(g, "general.architecture", name, sizeof name))
    return qp_fail(err, QP_E_ARG, "%s: key 'general.architecture' is missing", file);
  for (size_t i = 0, n = 0; i < ARCHITECTURES; i++) {
    if (!strcmp(architectures[i].name, name)) return *out = &architectures[i], QP_OK;
    n +=
        (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", architectures[i].name);
  }
  return qp_fail(err, QP_E_ARG, "%s: general.architecture is '%s': %s are known", file, name,
                 known);
}

/* 'name' up to its last dot in a table, or NULL. */
static const char *look_up(const row *table, size_t rows, unsigned names, const char *name,
                           size_t length) {
  const char *found = NULL;
  for (size_t i = 0; i < rows; i++)
    if (table[i].names & names && strlen(table[i].from) == length &&
        !memcmp(table[i].from, name, length))
      found = table[i].to;
  return found;
}

bool qp_gguf_rename(const qp_gguf_architecture *a, const char *name, char *out, size_t size) {
  const char *dot = strrchr(name, '.'), *to = NULL;
  unsigned block = 0;
  int n = 0;
  if (dot && sscanf(name, "blk.%u.%n", &block, &n) == 1 && n && name + n <= dot) {
    to = look_up(inside, sizeof inside / sizeof *inside, a->names, name + n,
                 (size_t)(dot - name - n));
    if (to)
      n = snprintf(out, size, "%s.%u.%s%s", a->names & BERT ? "encoder.layer" : "model.layers",
                   block, to, dot);
  } else if (dot) {
    to = look_up(outside, sizeof outside / sizeof *outside, a->names, name, (size_t)(dot - name));
    if (to) n = snprintf(out, size, "%s%s", to, dot);
  }
  if (!to) n = snprintf(out, size, "%s", name);
  return n >= 0 && (size_t)n < size;
}

/* ---- config.json ---- */

static const struct {
  const char *from, *to; /* from: after "ARCHITECTURE." */
  bool needed;
} sizes[] = {
    {"embedding_length", "hidden_size", true},
    {"feed_forward_length", "intermediate_size", true},
    {"attention.head_count", "num_attention_heads", true},
    {"attention.head_count_kv", "num_key_value_heads", false},
    {"attention.key_length", "head_dim", false},
    {"block_count", "num_hidden_layers", true},
    {"context_length", "max_position_embeddings", false},
    {"attention.sliding_window", "sliding_window", false},
};

static const struct {
  const char *from, *to;
} numbers[] = {
    {"rope.freq_base", "rope_theta"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
};

/* An integer as JSON text: cJSON's double would round above 2^53, and a size is far below. */
static bool add_size(cJSON *o, const char *name, uint64_t v) {
  return v < (uint64_t)1 << 53 && cJSON_AddNumberToObject(o, name, (double)v);
}

static uint64_t vocabulary(const qp_gguf *g) {
  uint64_t n = 0;
  if (qp_gguf_length(g, "tokenizer.ggml.tokens", &n)) return n;
  const qp_gguf_tensor *t = qp_gguf_find(g, "token_embd.weight");
  return t && t->dims == 2 ? t->shape[1] : 0;
}

static qp_status add_sizes(cJSON *o, const qp_gguf_architecture *a, const qp_gguf *g,
                           const char *file, qp_error *err) {
  char key[128];
  uint64_t n;
  double v;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    snprintf(key, sizeof key, "%s.%s", a->name, sizes[i].from);
    if (qp_gguf_unsigned(g, key, &n)) {
      if (!add_size(o, sizes[i].to, n))
        return qp_fail(err, QP_E_ARG, "%s: key '%s' is %llu, which is too large", file, key,
                       (unsigned long long)n);
    } else if (sizes[i].needed) {
      return qp_fail(err, QP_E_ARG, "%s: key '%s' is missing, or no single whole number", file,
                     key);
    }
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    snprintf(key, sizeof key, "%s.%s", a->name, numbers[i].from);
    if (qp_gguf_number(g, key, &v)) cJSON_AddNumberToObject(o, numbers[i].to, v);
  }
  return QP_OK;
}

qp_status qp_gguf_config(const qp_gguf_architecture *a, const qp_gguf *g, const char *file,
                         char **out, qp_error *err) {
  cJSON *o = cJSON_CreateObject();
  if (!o) return qp_fail(err, QP_E_NOMEM, "%s: no memory for its config", file);
  cJSON_AddStringToObject(o, "model_type", a->model_type);
  qp_status st = add_sizes(o, a, g, file, err);
  const uint64_t vocab = vocabulary(g);
  if (!st && !vocab)
    st = qp_fail(err, QP_E_ARG, "%s: neither tokenizer.ggml.tokens nor token_embd.weight is there",
                 file);
  char *text = NULL;
  if (!st) {
    add_size(o, "vocab_size", vocab);
    cJSON_AddBoolToObject(o, "tie_word_embeddings", !qp_gguf_find(g, "output.weight"));
    cJSON_AddBoolToObject(o, "attention_bias", qp_gguf_find(g, "blk.0.attn_q.bias") != NULL);
    cJSON_AddBoolToObject(o, "mlp_bias", qp_gguf_find(g, "blk.0.ffn_up.bias") != NULL);
    char *printed = cJSON_Print(o);
    text = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    if (!text) st = qp_fail(err, QP_E_NOMEM, "%s: no memory for its config", file);
  }
  cJSON_Delete(o);
  if (!st) *out = text;
  return st;
}
