/* SPDX-License-Identifier: MIT */
/* Models:  lua/models/x.lua or a config.json, with lua/architectures.lua -> [linears]. */
#include "gen/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "gen/spec/lua_files.h"
#include "gen/spec/lua_host.h"

enum { MAX_MODELS = 256, MAX_SIZE = 1 << 24, MAX_LAYERS = 1024 };
static const char *const architectures_file = "lua/architectures.lua";
static const char *const rotary_file = "lua/rotary.lua"; /* what its entries call */

struct qp_models {
  size_t count;
  qp_model model[MAX_MODELS];
  qp_lua *lua;
  qp_lua_ref architectures;
};

/* ---- Sizes: what they are called in lua/models and in a config.json ---- */

enum size_name {
  HIDDEN,
  INTERMEDIATE,
  HEADS,
  KV_HEADS,
  HEAD_DIM,
  LAYERS,
  VOCAB,
  TIED, /* the first of the flags */
  ATTENTION_BIAS,
  MLP_BIAS,
  SIZES
};

static const struct {
  const char *name, *config;
} size_names[] = {
    [HIDDEN] = {"hidden", "hidden_size"},
    [INTERMEDIATE] = {"intermediate", "intermediate_size"},
    [HEADS] = {"heads", "num_attention_heads"},
    [KV_HEADS] = {"kv_heads", "num_key_value_heads"},
    [HEAD_DIM] = {"head_dim", "head_dim"},
    [LAYERS] = {"layers", "num_hidden_layers"},
    [VOCAB] = {"vocab", "vocab_size"},
    [TIED] = {"tied", "tie_word_embeddings"},
    [ATTENTION_BIAS] = {"attention_bias", "attention_bias"},
    [MLP_BIAS] = {"mlp_bias", "mlp_bias"},
};
_Static_assert(sizeof size_names / sizeof *size_names == SIZES, "a name for every size");

/* What a model file or a config.json says; 0: nothing (a flag: false). */
typedef struct sizes {
  unsigned value[SIZES];
  bool given[SIZES];
} sizes;

static unsigned largest(unsigned i) { return i == LAYERS ? MAX_LAYERS : MAX_SIZE; }

static qp_status fill_in(sizes *s, const char *where, bool config, qp_error *err) {
  if (!s->given[KV_HEADS]) s->value[KV_HEADS] = s->value[HEADS];
  if (!s->given[HEAD_DIM] && s->value[HEADS])
    s->value[HEAD_DIM] = s->value[HIDDEN] / s->value[HEADS];
  for (unsigned i = 0; i < TIED; i++)
    if (!s->value[i])
      return qp_fail(err, QP_E_ARG, "%s: field '%s' is missing: an integer from 1 to %u is needed",
                     where, config ? size_names[i].config : size_names[i].name, largest(i));
  return QP_OK;
}

static qp_status lua_sizes(qp_lua *l, qp_lua_ref v, const char *at, const char *where, sizes *out,
                           qp_error *err) {
  for (unsigned i = 0; i < SIZES; i++) {
    char path[96];
    int64_t n = 0;
    bool flag = false;
    snprintf(path, sizeof path, "%s%s%s", at, *at ? "." : "", size_names[i].name);
    qp_lua_type type = qp_lua_type_of(l, v, path);
    if (type == QP_LUA_NIL) continue;
    if (type == QP_LUA_BOOLEAN && i >= TIED && qp_lua_get_boolean(l, v, path, &flag))
      n = flag;
    else if (!qp_lua_get_integer(l, v, path, &n) || n < (i < TIED) || n > largest(i))
      return qp_fail(err, QP_E_ARG, "%s: field '%s': an integer from 1 to %u is needed", where,
                     size_names[i].name, largest(i));
    out->value[i] = (unsigned)n;
    out->given[i] = true;
  }
  return QP_OK;
}

static qp_status json_sizes(const cJSON *object, const char *where, sizes *out, qp_error *err) {
  for (unsigned i = 0; i < SIZES; i++) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, size_names[i].config);
    int64_t n = 0;
    if (!v || cJSON_IsNull(v)) continue;
    if (i >= TIED) {
      if (!cJSON_IsBool(v))
        return qp_fail(err, QP_E_ARG, "%s: field '%s': true or false is needed", where,
                       size_names[i].config);
      n = cJSON_IsTrue(v);
    } else {
      qp_status status =
          qp_json_integer(object, where, size_names[i].config, 1, largest(i), &n, err);
      if (status) return status;
    }
    out->value[i] = (unsigned)n;
    out->given[i] = true;
  }
  return QP_OK;
}

/* ---- Architectures ---- */

/* Index of the architecture that describes 'type', 0 if there is none. */
static size_t find_architecture(qp_models *m, const char *type) {
  size_t count = qp_lua_length(m->lua, m->architectures, "");
  for (size_t i = 1; i <= count; i++) {
    char path[64];
    snprintf(path, sizeof path, "%zu.types", i);
    size_t types = qp_lua_length(m->lua, m->architectures, path);
    for (size_t k = 1; k <= types; k++) {
      snprintf(path, sizeof path, "%zu.types.%zu", i, k);
      const char *name = qp_lua_get_string(m->lua, m->architectures, path);
      if (name && !strcmp(name, type)) return i;
    }
  }
  return 0;
}

static qp_status unknown_type(qp_models *m, const char *where, const char *field, const char *type,
                              qp_error *err) {
  char known[512] = "";
  size_t count = qp_lua_length(m->lua, m->architectures, ""), n = 0;
  for (size_t i = 1; i <= count; i++)
    for (size_t k = 1; n < sizeof known; k++) {
      char path[64];
      snprintf(path, sizeof path, "%zu.types.%zu", i, k);
      const char *name = qp_lua_get_string(m->lua, m->architectures, path);
      if (!name) break;
      n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", name);
    }
  return qp_fail(err, QP_E_ARG, "%s: field '%s': '%.60s' is not described in %s, which knows %s",
                 where, field, type, architectures_file, known);
}

static qp_status architecture_wrong(const char *type, const char *what, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "%s: %s: %s", architectures_file, type, what);
}

/* Call architecture.NAME(sizes). */
static qp_status call(qp_models *m, size_t architecture, const char *name, const sizes *s,
                      qp_lua_ref *result, qp_error *err) {
  qp_lua_field field[SIZES];
  for (unsigned i = 0; i < SIZES; i++)
    field[i] = (qp_lua_field){size_names[i].name, NULL, s->value[i]};
  const qp_lua_table args = {field, SIZES};
  char path[64];
  qp_lua_ref f = 0;
  snprintf(path, sizeof path, "%zu.%s", architecture, name);
  qp_status status = qp_lua_get(m->lua, m->architectures, path, &f, err);
  if (!status) status = qp_lua_call(m->lua, f, &args, 1, result, NULL, err);
  qp_lua_release(m->lua, f);
  return status ? qp_fail_prefix(err, status, "%s: %s", architectures_file, name) : QP_OK;
}

static bool get_text(qp_lua *l, qp_lua_ref v, const char *path, char *out, size_t size) {
  const char *text = qp_lua_get_string(l, v, path);
  if (!text || !*text || strlen(text) >= size) return false;
  memcpy(out, text, strlen(text) + 1);
  return true;
}

static qp_status add_to_group(qp_model *m, const char *name, qp_model_linear *l, qp_error *err) {
  unsigned g = 0;
  while (g < m->groups && strcmp(m->group[g].name, name) != 0) g++;
  if (g == QP_MODEL_GROUPS) return architecture_wrong(m->type, "too many groups", err);
  qp_model_group *group = &m->group[g];
  if (g == m->groups) {
    *group = (qp_model_group){.columns = l->columns};
    memcpy(group->name, name, strlen(name) + 1);
    m->groups++;
  }
  if (group->columns != l->columns)
    return architecture_wrong(m->type, "linears of one group need the same columns", err);
  if (group->linears == QP_MODEL_GROUP_LINEARS)
    return architecture_wrong(m->type, "too many linears in a group", err);
  l->group = g;
  group->linear[group->linears] = m->linears;
  group->rows[group->linears++] = l->rows;
  return QP_OK;
}

static qp_status read_linear(qp_models *m, const char *where, qp_lua_ref v, size_t i, qp_model *out,
                             qp_error *err) {
  qp_model_linear l = {0};
  char path[64], group[sizeof out->group[0].name];
  int64_t rows = 0, columns = 0;
  if (out->linears == QP_MODEL_LINEARS)
    return architecture_wrong(out->type, "too many linears", err);
  const struct {
    const char *name;
    char *to;
    size_t size;
  } texts[] = {{"role", l.role, sizeof l.role},
               {"tensor", l.tensor, sizeof l.tensor},
               {"group", group, sizeof group}};
  for (size_t k = 0; k < 3; k++) {
    snprintf(path, sizeof path, "%zu.%s", i, texts[k].name);
    if (!get_text(m->lua, v, path, texts[k].to, texts[k].size))
      return architecture_wrong(out->type, "a linear needs role, group and tensor", err);
  }
  snprintf(path, sizeof path, "%zu.rows", i);
  bool ok = qp_lua_get_integer(m->lua, v, path, &rows);
  snprintf(path, sizeof path, "%zu.columns", i);
  ok = ok && qp_lua_get_integer(m->lua, v, path, &columns);
  if (!ok || rows < 1 || rows > MAX_SIZE || columns < 1 || columns > MAX_SIZE)
    return qp_fail(err, QP_E_ARG, "%s: linear %s is %lld x %lld: sizes from 1 to %d are needed",
                   where, l.role, (long long)rows, (long long)columns, MAX_SIZE);
  l.rows = (unsigned)rows;
  l.columns = (unsigned)columns;
  snprintf(path, sizeof path, "%zu.bias", i);
  qp_lua_get_boolean(m->lua, v, path, &l.bias);
  qp_status status = add_to_group(out, group, &l, err);
  if (!status) out->linear[out->linears++] = l;
  return status;
}

static qp_status add_head(qp_models *m, size_t architecture, qp_model *out, qp_error *err) {
  qp_model_linear *head = &out->linear[out->linears];
  char path[64];
  *head = (qp_model_linear){.role = "lm_head", .rows = out->vocab, .columns = out->hidden};
  snprintf(path, sizeof path, "%zu.prefix", architecture);
  if (!get_text(m->lua, m->architectures, path, out->prefix, sizeof out->prefix))
    return architecture_wrong(out->type, "a prefix is needed", err);
  snprintf(path, sizeof path, "%zu.blocks", architecture);
  if (!get_text(m->lua, m->architectures, path, out->blocks, sizeof out->blocks))
    memcpy(out->blocks, "layers", sizeof "layers");
  snprintf(path, sizeof path, "%zu.embedding", architecture);
  if (!get_text(m->lua, m->architectures, path, out->embedding, sizeof out->embedding))
    snprintf(out->embedding, sizeof out->embedding, "%sembed_tokens", out->prefix);
  snprintf(path, sizeof path, "%zu.head", architecture);
  if (out->tied)
    memcpy(head->tensor, out->embedding, sizeof out->embedding);
  else if (!get_text(m->lua, m->architectures, path, head->tensor, sizeof head->tensor))
    return architecture_wrong(out->type, "a head is needed", err);
  return QP_OK;
}

static void count_bytes(qp_model *m, uint64_t extra) {
  uint64_t biases = 0;
  for (unsigned i = 0; i < m->linears; i++) {
    m->block_weights += (uint64_t)m->linear[i].rows * m->linear[i].columns;
    if (m->linear[i].bias) biases += m->linear[i].rows;
  }
  m->head_weights = (uint64_t)m->vocab * m->hidden;
  m->embedding_bytes = 2 * m->head_weights;
  m->other_bytes = 2 * (m->layers * (extra + biases) + m->hidden);
}

/* Name, type and sizes -> linears, groups, bytes. */
static qp_status describe(qp_models *m, const char *where, const char *field, sizes *s, bool config,
                          qp_model *out, qp_error *err) {
  size_t architecture = find_architecture(m, out->type);
  if (!architecture) return unknown_type(m, where, field, out->type, err);
  char path[64];
  sizes defaults = {0};
  snprintf(path, sizeof path, "%zu.defaults", architecture);
  qp_status status = lua_sizes(m->lua, m->architectures, path, architectures_file, &defaults, err);
  for (unsigned i = 0; i < SIZES; i++)
    if (!s->given[i] && defaults.given[i]) s->value[i] = defaults.value[i], s->given[i] = true;
  if (!status) status = fill_in(s, where, config, err);
  if (status) return status;
  const unsigned *v = s->value;
  out->hidden = v[HIDDEN], out->intermediate = v[INTERMEDIATE], out->heads = v[HEADS];
  out->kv_heads = v[KV_HEADS], out->head_dim = v[HEAD_DIM], out->layers = v[LAYERS];
  out->vocab = v[VOCAB], out->tied = v[TIED];
  qp_lua_ref list = 0, number = 0;
  int64_t extra = 0;
  status = call(m, architecture, "block", s, &list, err);
  size_t linears = status ? 0 : qp_lua_length(m->lua, list, "");
  for (size_t i = 1; i <= linears && !status; i++)
    status = read_linear(m, where, list, i, out, err);
  if (!status && !linears) status = architecture_wrong(out->type, "block gives no linears", err);
  qp_lua_release(m->lua, list);
  if (!status) status = call(m, architecture, "extra", s, &number, err);
  if (!status && (!qp_lua_get_integer(m->lua, number, "", &extra) || extra < 0 ||
                  extra > 16 * (int64_t)MAX_SIZE))
    status = architecture_wrong(out->type, "extra gives no number of weights", err);
  qp_lua_release(m->lua, number);
  if (!status) status = add_head(m, architecture, out, err);
  if (!status) count_bytes(out, (uint64_t)extra);
  return status;
}

/* ---- Files of lua/models ---- */

static qp_status read_model(qp_models *m, qp_lua_ref v, const char *file, size_t i, qp_model *out,
                            qp_error *err) {
  char path[32], where[QP_MODEL_NAME];
  qp_model model = {0};
  sizes s = {0};
  snprintf(where, sizeof where, "%s: model %zu", file, i);
  snprintf(path, sizeof path, "%zu.name", i);
  if (!get_text(m->lua, v, path, model.name, sizeof model.name))
    return qp_fail(err, QP_E_ARG, "%s: field 'name': 1 to %zu characters are needed", where,
                   sizeof model.name - 1);
  snprintf(path, sizeof path, "%zu.type", i);
  if (!get_text(m->lua, v, path, model.type, sizeof model.type))
    return qp_fail(err, QP_E_ARG, "%s: field 'type': 1 to %zu characters are needed", where,
                   sizeof model.type - 1);
  snprintf(path, sizeof path, "%zu", i);
  qp_status status = lua_sizes(m->lua, v, path, where, &s, err);
  if (!status) status = describe(m, where, "type", &s, false, &model, err);
  if (!status) *out = model;
  return status;
}

static qp_status load_file(const char *file, qp_lua_ref v, void *arg, qp_error *err) {
  qp_models *m = arg;
  const size_t models = qp_lua_length(m->lua, v, "");
  for (size_t i = 1; i <= models; i++) {
    if (m->count == MAX_MODELS)
      return qp_fail(err, QP_E_LIMIT, "%s: more than %d models", file, MAX_MODELS);
    const qp_status status = read_model(m, v, file, i, &m->model[m->count], err);
    if (status) return status;
    m->count++;
  }
  return QP_OK;
}

static qp_status load_architectures(qp_models *m, qp_error *err) {
  const char *text;
  size_t bytes;
  qp_status status = qp_resource_read(architectures_file, &text, &bytes, err);
  if (!status)
    status =
        qp_lua_run(m->lua, rotary_file, architectures_file, text, bytes, &m->architectures, err);
  return status;
}

qp_status qp_models_open(qp_models **out, qp_error *err) {
  qp_models *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for the models");
  qp_status status = qp_lua_open(NULL, &m->lua, err);
  if (!status) status = load_architectures(m, err);
  if (!status) status = qp_lua_each_file(m->lua, "lua/models/", NULL, load_file, m, err);
  if (status) return qp_models_close(m), status;
  *out = m;
  return QP_OK;
}

void qp_models_close(qp_models *m) {
  if (!m) return;
  if (m->lua) qp_lua_close(m->lua);
  free(m);
}

qp_lua *qp_models_lua(qp_models *m) { return m->lua; }
qp_lua_ref qp_models_architectures(const qp_models *m) { return m->architectures; }

size_t qp_models_count(const qp_models *m) { return m->count; }

qp_status qp_models_entry(qp_models *m, const char *type, const char *name, qp_lua_ref *out,
                          qp_error *err) {
  char path[64];
  const size_t architecture = find_architecture(m, type);
  if (!architecture) return unknown_type(m, type, "model_type", type, err);
  snprintf(path, sizeof path, "%zu.%s", architecture, name);
  return qp_lua_get(m->lua, m->architectures, path, out, err);
}
const qp_model *qp_models_get(const qp_models *m, size_t i) { return &m->model[i]; }

/* ---- config.json ---- */

/* "models/tiny/config.json" -> "tiny"; a file of another name gives its own. */
static void name_after(const char *file, char *out, size_t size) {
  const char *end = strrchr(file, '/'), *begin = file;
  if (end && end != file && !strcmp(end, "/config.json")) {
    for (const char *s = file; s < end; s++)
      if (*s == '/') begin = s + 1;
  } else {
    begin = end ? end + 1 : file;
    end = strrchr(begin, '.');
    if (!end || end == begin) end = begin + strlen(begin);
  }
  int length = end - begin < (ptrdiff_t)size ? (int)(end - begin) : (int)size - 1;
  snprintf(out, size, "%.*s", length, begin);
  if (!*out || !strcmp(out, ".") || !strcmp(out, "..")) snprintf(out, size, "config");
}

/* "LlamaForSequenceClassification", "BertModel": classes of transformers that have no lm_head. */
static bool is_headless(const cJSON *tree) {
  static const char *const ends[] = {"Model", "Classification", "ForQuestionAnswering",
                                     "ForMultipleChoice", "ForRewardModeling"};
  const cJSON *class =
      cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "architectures"), 0);
  const char *name = cJSON_GetStringValue(class);
  const size_t n = name ? strlen(name) : 0;
  if (!n || strstr(name, "LMHead")) return false;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (n >= strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i])) return true;
  return false;
}

static qp_status parse_tree(qp_models *m, const char *file, const cJSON *tree, qp_model *out,
                            qp_error *err) {
  qp_model model = {0};
  sizes s = {0};
  const char *type = NULL;
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  qp_status status = qp_json_text(tree, file, "model_type", &type, err);
  if (status) return status;
  if (strlen(type) >= sizeof model.type) return unknown_type(m, file, "model_type", type, err);
  memcpy(model.type, type, strlen(type) + 1);
  name_after(file, model.name, sizeof model.name);
  /* Models with a vision tower keep the decoder's sizes in an object of their own. */
  const cJSON *text = cJSON_GetObjectItemCaseSensitive(tree, "text_config");
  status = json_sizes(tree, file, &s, err);
  if (!status && cJSON_IsObject(text)) status = json_sizes(text, file, &s, err);
  if (!status) status = describe(m, file, "model_type", &s, true, &model, err);
  if (!status && is_headless(tree)) qp_model_drop_head(&model);
  if (!status) *out = model;
  return status;
}

qp_status qp_models_parse(qp_models *m, const char *file, const char *text, size_t bytes,
                          qp_model *out, qp_error *err) {
  cJSON *tree;
  qp_status status = qp_json_parse_python(file, text, bytes, &tree, err);
  if (status) return status;
  status = parse_tree(m, file, tree, out, err);
  cJSON_Delete(tree);
  return status;
}

static qp_status load_config(qp_models *m, const char *path, const qp_model **out, qp_error *err) {
  char file[4096];
  struct stat info;
  bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
  if (snprintf(file, sizeof file, "%s%s", path, folder ? "/config.json" : "") >= (int)sizeof file)
    return qp_fail(err, QP_E_ARG, "%.60s...: the path is too long", path);
  if (m->count == MAX_MODELS) return qp_fail(err, QP_E_LIMIT, "more than %d models", MAX_MODELS);
  cJSON *tree;
  qp_status status = qp_json_read_python(file, &tree, err);
  if (status) return status;
  status = parse_tree(m, file, tree, &m->model[m->count], err);
  cJSON_Delete(tree);
  if (!status) *out = &m->model[m->count++];
  return status;
}

qp_status qp_models_add(qp_models *m, const qp_model *model, const qp_model **out, qp_error *err) {
  if (m->count == MAX_MODELS) return qp_fail(err, QP_E_LIMIT, "more than %d models", MAX_MODELS);
  m->model[m->count] = *model;
  *out = &m->model[m->count++];
  return QP_OK;
}

qp_status qp_models_find(qp_models *m, const char *name, const qp_model **out, qp_error *err) {
  size_t n = strlen(name);
  if (name[0] == '.' || strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".json")))
    return load_config(m, name, out, err);
  const char *names[MAX_MODELS];
  for (size_t i = 0; i < m->count; i++) {
    if (!strcmp(m->model[i].name, name)) return *out = &m->model[i], QP_OK;
    names[i] = m->model[i].name;
  }
  const char *near = qp_suggest(name, names, m->count);
  return qp_fail(err, QP_E_ARG,
                 "model '%s' is not known%s%s%s; qpal list models names them, and the path of a "
                 "checkpoint or a config.json is taken too",
                 name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

void qp_model_tensor(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]) {
  if (linear >= m->linears)
    snprintf(out, QP_MODEL_NAME, "%s", m->linear[m->linears].tensor);
  else
    snprintf(out, QP_MODEL_NAME, "%s%s.%u.%s", m->prefix, m->blocks, block,
             m->linear[linear].tensor);
}

void qp_model_drop_head(qp_model *m) {
  m->headless = true;
  m->head_weights = 0;
}

void qp_model_tie_head(qp_model *m) {
  m->tied = true;
  memcpy(m->linear[m->linears].tensor, m->embedding, sizeof m->embedding);
}
