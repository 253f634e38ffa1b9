/* SPDX-License-Identifier: MIT */
/* Reads the sizes of a model, as sizes.h describes. */
#include "gen/model/sizes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/model.h"

static const struct {
  const char *name, *config;
} size_names[] = {
    [QP_SIZE_HIDDEN] = {"hidden", "hidden_size"},
    [QP_SIZE_INTERMEDIATE] = {"intermediate", "intermediate_size"},
    [QP_SIZE_HEADS] = {"heads", "num_attention_heads"},
    [QP_SIZE_KV_HEADS] = {"kv_heads", "num_key_value_heads"},
    [QP_SIZE_HEAD_DIM] = {"head_dim", "head_dim"},
    [QP_SIZE_LAYERS] = {"layers", "num_hidden_layers"},
    [QP_SIZE_VOCAB] = {"vocab", "vocab_size"},
    [QP_SIZE_TIED] = {"tied", "tie_word_embeddings"},
    [QP_SIZE_ATTENTION_BIAS] = {"attention_bias", "attention_bias"},
    [QP_SIZE_MLP_BIAS] = {"mlp_bias", "mlp_bias"},
};
_Static_assert(sizeof size_names / sizeof *size_names == QP_SIZES, "a name for every size");

const char *qp_size_text(qp_size_name name) { return size_names[name].name; }

static unsigned largest(unsigned i) {
  return i == QP_SIZE_LAYERS ? (unsigned)QP_MODEL_LAYERS : (unsigned)QP_SIZE_MOST;
}

static bool is_flag(unsigned i) { return i >= QP_SIZE_TIED; }

/* ---- Lua ---- */

qp_status qp_sizes_read_lua(qp_lua *l, qp_lua_ref v, const char *at, const char *where,
                            qp_sizes *out, qp_error *err) {
  for (unsigned i = 0; i < QP_SIZES; i++) {
    char path[96];
    int64_t n = 0;
    bool flag = false;
    snprintf(path, sizeof path, "%s%s%s", at, *at ? "." : "", size_names[i].name);
    const qp_lua_type type = qp_lua_type_of(l, v, path);
    if (type == QP_LUA_NIL) continue;
    if (type == QP_LUA_BOOLEAN && is_flag(i) && qp_lua_get_boolean(l, v, path, &flag))
      n = flag;
    else if (!qp_lua_get_integer(l, v, path, &n) || n < !is_flag(i) || n > largest(i))
      return qp_fail(err, QP_E_ARG, "%s: field '%s': an integer from 1 to %u is needed", where,
                     size_names[i].name, largest(i));
    out->value[i] = (unsigned)n;
    out->given[i] = true;
  }
  return QP_OK;
}

/* ---- JSON ---- */

/* The item of a list or member of an object that the first word of a path names. */
static const cJSON *step(const cJSON *tree, const char *word) {
  if (!cJSON_IsArray(tree)) return cJSON_GetObjectItemCaseSensitive(tree, word);
  const long number = strtol(word, NULL, 10);
  return number > 0 && number < 1 << 20 ? cJSON_GetArrayItem(tree, (int)number - 1) : NULL;
}

const cJSON *qp_sizes_at(const cJSON *tree, const char *path) {
  char words[96], *rest = words;
  snprintf(words, sizeof words, "%s", path);
  for (const char *w; tree && (w = strsep(&rest, "."));) tree = step(tree, w);
  return tree;
}

static qp_status take(const cJSON *v, unsigned i, const char *field, const char *where,
                      qp_sizes *out, qp_error *err) {
  if (is_flag(i)) {
    if (!cJSON_IsBool(v))
      return qp_fail(err, QP_E_ARG, "%s: field '%s': true or false is needed", where, field);
    out->value[i] = cJSON_IsTrue(v) != 0;
  } else {
    const bool list = i == QP_SIZE_LAYERS && cJSON_IsArray(v); /* of what each layer is */
    const double n = list ? cJSON_GetArraySize(v) : cJSON_IsNumber(v) ? v->valuedouble : 0;
    if (!(n >= 1 && n <= largest(i)) || n != (double)(unsigned)n)
      return qp_fail(err, QP_E_ARG, "%s: field '%s': an integer from 1 to %u is needed", where,
                     field, largest(i));
    out->value[i] = (unsigned)n;
  }
  out->given[i] = true;
  return QP_OK;
}

qp_status qp_sizes_read_json(const cJSON *object, qp_lua *l, qp_lua_ref v, const char *names,
                             const char *where, qp_sizes *out, qp_error *err) {
  for (unsigned i = 0; i < QP_SIZES; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s.%s", names, size_names[i].name);
    const char *own = qp_lua_get_string(l, v, path), *field = own ? own : size_names[i].config;
    const cJSON *item = qp_sizes_at(object, field);
    if (own && (!item || cJSON_IsNull(item)))
      item = cJSON_GetObjectItemCaseSensitive(object, field = size_names[i].config);
    if (!item || cJSON_IsNull(item)) continue;
    const qp_status status = take(item, i, field, where, out, err);
    if (status) return status;
  }
  return QP_OK;
}

/* ---- All ---- */

void qp_sizes_default(qp_sizes *s, const qp_sizes *defaults) {
  for (unsigned i = 0; i < QP_SIZES; i++)
    if (!s->given[i] && defaults->given[i]) s->value[i] = defaults->value[i], s->given[i] = true;
}

qp_status qp_sizes_complete(qp_sizes *s, const char *where, bool config, qp_error *err) {
  if (!s->given[QP_SIZE_KV_HEADS]) s->value[QP_SIZE_KV_HEADS] = s->value[QP_SIZE_HEADS];
  if (!s->given[QP_SIZE_HEAD_DIM] && s->value[QP_SIZE_HEADS])
    s->value[QP_SIZE_HEAD_DIM] = s->value[QP_SIZE_HIDDEN] / s->value[QP_SIZE_HEADS];
  for (unsigned i = 0; i < QP_SIZE_TIED; i++)
    if (!s->value[i])
      return qp_fail(err, QP_E_ARG, "%s: field '%s' is missing: an integer from 1 to %u is needed",
                     where, config ? size_names[i].config : size_names[i].name, largest(i));
  return QP_OK;
}
