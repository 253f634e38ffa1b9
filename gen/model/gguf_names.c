/* SPDX-License-Identifier: MIT */
/* Names of llama.cpp --> names of Hugging Face, by the entries of lua/architectures.lua. */
#include "gen/model/gguf_names.h"
#include "gen/model/gguf_rotary.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Entries of lua/architectures.lua ---- */

static bool is_text(qp_lua *l, qp_lua_ref v, const char *path, char *out, size_t size) {
  const char *text = qp_lua_get_string(l, v, path);
  if (!text || !*text || strlen(text) >= size) return false;
  memcpy(out, text, strlen(text) + 1);
  return true;
}

static qp_status wrong_entry(const char *name, const char *what, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "lua/architectures.lua: gguf of '%s': %s", name, what);
}

/* Read the names below path.FIELD. */
static qp_status read_names(qp_lua *l, qp_lua_ref v, const char *path, const char *field,
                            qp_gguf_architecture *a, qp_error *err) {
  char at[160];
  const char **keys;
  qp_status status = QP_OK;
  snprintf(at, sizeof at, "%s.%s", path, field);
  const size_t count = qp_lua_keys(l, v, at, &keys);
  for (size_t i = 0; i < count && !status; i++) {
    if (a->names == QP_GGUF_NAMES) {
      status = wrong_entry(a->name, "more than 64 names of tensors", err);
      break;
    }
    qp_gguf_name *n = &a->tensor[a->names];
    *n = (qp_gguf_name){.block = !strcmp(field, "block")};
    snprintf(at, sizeof at, "%s.%s.%s", path, field, keys[i]);
    if (strlen(keys[i]) >= sizeof n->there || !is_text(l, v, at, n->here, sizeof n->here)) {
      status = wrong_entry(a->name, "model and block need names of at most 95 characters", err);
      break;
    }
    memcpy(n->there, keys[i], strlen(keys[i]) + 1);
    snprintf(at, sizeof at, "%s.reorders.%s", path, n->there);
    const char *heads = n->block ? qp_lua_get_string(l, v, at) : NULL;
    n->reorders = heads != NULL;
    n->of_kv_heads = heads && !strcmp(heads, "kv_heads");
    a->names++;
  }
  free(keys);
  return status;
}

static qp_status read_entry(qp_lua *l, qp_lua_ref v, size_t i, qp_gguf_architecture *a,
                            qp_error *err) {
  char path[64], prefix[64] = "", blocks[32] = "layers";
  snprintf(path, sizeof path, "%zu.types.1", i);
  if (!is_text(l, v, path, a->model_type, sizeof a->model_type))
    return wrong_entry(a->name, "types are needed", err);
  snprintf(path, sizeof path, "%zu.prefix", i);
  is_text(l, v, path, prefix, sizeof prefix);
  snprintf(path, sizeof path, "%zu.blocks", i);
  is_text(l, v, path, blocks, sizeof blocks);
  snprintf(a->blocks, sizeof a->blocks, "%s%s", prefix, blocks);
  snprintf(path, sizeof path, "%zu.gguf.class", i);
  is_text(l, v, path, a->class, sizeof a->class);
  snprintf(path, sizeof path, "%zu.gguf.adds_one", i);
  qp_lua_get_boolean(l, v, path, &a->adds_one);
  snprintf(path, sizeof path, "%zu.gguf", i);
  qp_status status = read_names(l, v, path, "model", a, err);
  if (!status) status = read_names(l, v, path, "block", a, err);
  if (!status && !a->names) status = wrong_entry(a->name, "model and block are needed", err);
  return status;
}

/* Find the number of the entry whose gguf.architecture is 'name', and which has experts or not; 0:
   there is none; else 'known' lists all. */
static size_t find_entry(qp_lua *l, qp_lua_ref v, const char *name, bool experts, char *known,
                         size_t size) {
  const size_t count = qp_lua_length(l, v, "");
  size_t n = 0;
  *known = 0;
  for (size_t i = 1; i <= count; i++) {
    char path[64], other[32];
    snprintf(path, sizeof path, "%zu.gguf.architecture", i);
    if (!is_text(l, v, path, other, sizeof other)) continue;
    bool has = false;
    snprintf(path, sizeof path, "%zu.gguf.experts", i);
    qp_lua_get_boolean(l, v, path, &has);
    if (!strcmp(other, name) && has == experts) return i;
    if (n < size) n += (size_t)snprintf(known + n, size - n, "%s%s", n ? ", " : "", other);
  }
  return 0;
}

qp_status qp_gguf_architecture_of(qp_models *models, const qp_gguf *g, const char *file,
                                  qp_gguf_architecture *out, qp_error *err) {
  qp_gguf_architecture a = {0};
  char known[512], key[64];
  uint64_t experts = 0;
  if (!qp_gguf_text(g, "general.architecture", a.name, sizeof a.name))
    return qp_fail(err, QP_E_ARG, "%s: key 'general.architecture' is missing, or too long", file);
  qp_lua *l = qp_models_lua(models);
  const qp_lua_ref v = qp_models_architectures(models);
  snprintf(key, sizeof key, "%s.expert_count", a.name);
  qp_gguf_unsigned(g, key, &experts);
  const size_t i = find_entry(l, v, a.name, experts > 0, known, sizeof known);
  qp_status status = qp_lua_all_read(l, QP_OK, err);
  if (status) return status;
  if (!i && experts)
    return qp_fail(err, QP_E_ARG, "%s: %s is %llu: experts of this architecture are not read", file,
                   key, (unsigned long long)experts);
  if (!i)
    return qp_fail(err, QP_E_ARG, "%s: general.architecture is '%s': %s are known", file, a.name,
                   known);
  status = qp_lua_all_read(l, read_entry(l, v, i, &a, err), err);
  if (!status) *out = a;
  return status;
}

/* ---- Names ---- */

static const qp_gguf_name *look_up(const qp_gguf_architecture *a, bool block, const char *name,
                                   size_t length) {
  for (unsigned i = 0; i < a->names; i++) {
    const qp_gguf_name *n = &a->tensor[i];
    if (n->block == block && strlen(n->there) == length && !memcmp(n->there, name, length))
      return n;
  }
  return NULL;
}

bool qp_gguf_rename(const qp_gguf_architecture *a, const char *name, char *out, size_t size,
                    const qp_gguf_name **entry) {
  const char *dot = strrchr(name, '.');
  const qp_gguf_name *to = NULL;
  unsigned block = 0;
  int n = 0;
  if (dot && sscanf(name, "blk.%u.%n", &block, &n) == 1 && n && name + n <= dot) {
    to = look_up(a, true, name + n, (size_t)(dot - name - n));
    if (to) n = snprintf(out, size, "%s.%u.%s%s", a->blocks, block, to->here, dot);
  } else if (dot) {
    to = look_up(a, false, name, (size_t)(dot - name));
    if (to) n = snprintf(out, size, "%s%s", to->here, dot);
  }
  if (!to) n = snprintf(out, size, "%s", name);
  if (entry) *entry = to;
  return n >= 0 && (size_t)n < size;
}

/* ---- config.json ---- */

static const struct {
  const char *from, *to; /* from: after "ARCHITECTURE." */
  bool needed;
} sizes[] = {
    {"embedding_length", "hidden_size", true},
    {"feed_forward_length", "intermediate_size", false},
    {"expert_count", "num_local_experts", false},
    {"expert_used_count", "num_experts_per_tok", false},
    {"expert_feed_forward_length", "moe_intermediate_size", false},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", false},
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

static uint64_t vocabulary(const qp_gguf_parts *p) {
  uint64_t n = 0;
  if (qp_gguf_length(p->part[0].file, "tokenizer.ggml.tokens", &n)) return n;
  const qp_gguf_tensor *t = qp_gguf_parts_find(p, "token_embd.weight");
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
  if (!cJSON_GetObjectItem(o, "intermediate_size") &&
      !cJSON_GetObjectItem(o, "moe_intermediate_size"))
    return qp_fail(err, QP_E_ARG,
                   "%s: key '%s.feed_forward_length' is missing, or no single whole "
                   "number",
                   file, a->name);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    snprintf(key, sizeof key, "%s.%s", a->name, numbers[i].from);
    if (qp_gguf_number(g, key, &v)) cJSON_AddNumberToObject(o, numbers[i].to, v);
  }
  return QP_OK;
}

/* What a text begins and ends with; generation needs them. */
static void add_token_ids(cJSON *o, const qp_gguf *g) {
  static const char *const of[] = {"bos", "eos", "padding"}, *const as[] = {"bos", "eos", "pad"};
  char key[64];
  uint64_t id;
  for (unsigned i = 0; i < 3; i++) {
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", of[i]);
    if (!qp_gguf_unsigned(g, key, &id)) continue;
    snprintf(key, sizeof key, "%s_token_id", as[i]);
    add_size(o, key, id);
  }
}

static bool has_tensor(const qp_gguf_parts *p, const char *name) {
  return qp_gguf_parts_find(p, name) != NULL;
}

qp_status qp_gguf_config(const qp_gguf_architecture *a, const qp_gguf_parts *parts, char **out,
                         qp_error *err) {
  const char *file = parts->part[0].path;
  cJSON *o = cJSON_CreateObject();
  if (!o) return qp_fail(err, QP_E_NOMEM, "%s: no memory for its config", file);
  if (*a->class)
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "architectures"), cJSON_CreateString(a->class));
  cJSON_AddStringToObject(o, "model_type", a->model_type);
  qp_status status = add_sizes(o, a, parts->part[0].file, file, err);
  if (!status) status = qp_gguf_rotary(a->name, parts, o, err);
  const uint64_t vocab = vocabulary(parts);
  if (!status && !vocab)
    status = qp_fail(err, QP_E_ARG,
                     "%s: neither tokenizer.ggml.tokens nor token_embd.weight is there", file);
  char *text = NULL;
  if (!status) {
    add_size(o, "vocab_size", vocab);
    add_token_ids(o, parts->part[0].file);
    cJSON_AddBoolToObject(o, "tie_word_embeddings", !has_tensor(parts, "output.weight"));
    cJSON_AddBoolToObject(o, "attention_bias", has_tensor(parts, "blk.0.attn_q.bias"));
    cJSON_AddBoolToObject(o, "mlp_bias", has_tensor(parts, "blk.0.ffn_up.bias"));
    char *printed = cJSON_Print(o);
    text = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    if (!text) status = qp_fail(err, QP_E_NOMEM, "%s: no memory for its config", file);
  }
  cJSON_Delete(o);
  if (!status) *out = text;
  return status;
}
