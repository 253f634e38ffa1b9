/* SPDX-License-Identifier: MIT */
/* Finds models:  lua/models/x.lua or a config.json, with lua/architectures.lua -> [linears]. */
#include "gen/model/models.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "gen/model/architecture.h"
#include "gen/model/sizes.h"
#include "gen/packings/packing.h"
#include "gen/spec/lua_files.h"
#include "gen/spec/lua_host.h"
#include "runtime/printable.h"

enum { MAX_MODELS = 256 }; /* of lua/models, and of config.json */

#define FOLDER "lua/models/"

struct qp_models {
  bool loaded; /* Those of lua/models are. */
  size_t count, added;
  qp_model model[MAX_MODELS], own[MAX_MODELS]; /* of lua/models; of config.json */
  qp_lua *lua;
  qp_lua_ref architectures;
};

/* ---- Files of lua/models ---- */

static bool get_text(qp_lua *l, qp_lua_ref v, const char *path, char *out, size_t size) {
  const char *text = qp_lua_get_string(l, v, path);
  if (!text || !*text || strlen(text) >= size) return false;
  memcpy(out, text, strlen(text) + 1);
  return true;
}

static qp_status read_model(qp_models *m, qp_lua_ref v, const char *file, size_t i, qp_model *out,
                            qp_error *err) {
  char path[32], where[QP_MODEL_NAME];
  qp_model model = {0};
  qp_architecture_case c = {.where = where};
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
  qp_status status = qp_sizes_read_lua(m->lua, v, path, where, &c.sizes, err);
  c.family = c.shell = qp_architecture_find(m->lua, m->architectures, model.type);
  if (!status && !c.family)
    status = qp_architecture_unknown(m->lua, m->architectures, where, "type", model.type, err);
  if (!status) status = qp_architecture_describe(m->lua, m->architectures, &c, &model, err);
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

qp_status qp_models_load(qp_models *m, qp_error *err) {
  if (m->loaded) return QP_OK;
  m->count = 0;
  qp_status status = qp_lua_each_file(m->lua, FOLDER, NULL, load_file, m, err);
  status = qp_lua_all_read(m->lua, status, err);
  m->loaded = !status;
  return status;
}

/* Are the models, and what describes them, what the binary carries, of which tests have loaded all?
   In another QPAL_HOME what is wrong in any is said whatever is asked for. */
static bool are_carried(void) {
  static const char *const prefixes[] = {FOLDER, "lua/architectures", "lua/blocks.lua",
                                         "lua/rotary.lua"};
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (!qp_resource_is_carried(prefixes[i])) return false;
  return true;
}

qp_status qp_models_open(qp_models **out, qp_error *err) {
  qp_models *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for the models");
  qp_status status = qp_lua_open(NULL, &m->lua, err);
  if (!status) status = qp_architectures_load(m->lua, &m->architectures, err);
  if (!status && !are_carried()) status = qp_models_load(m, err);
  status = qp_lua_all_read(m->lua, status, err);
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

size_t qp_models_count(const qp_models *m) {
  assert(m->loaded);
  return m->count;
}

qp_status qp_models_entry(qp_models *m, const char *type, const char *name, qp_lua_ref *out,
                          qp_error *err) {
  char path[64];
  const size_t architecture = qp_architecture_find(m->lua, m->architectures, type);
  if (!architecture)
    return qp_architecture_unknown(m->lua, m->architectures, type, "model_type", type, err);
  snprintf(path, sizeof path, "%zu.%s", architecture, name);
  return qp_lua_get(m->lua, m->architectures, path, out, err);
}
const qp_model *qp_models_get(const qp_models *m, size_t i) { return &m->model[i]; }

/* ---- config.json ---- */

/* "models/tiny/config.json" -> "tiny"; a file of another name gives its own. */
void qp_models_name_after(const char *file, char *out, size_t size) {
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

/* ---- A decoder inside something larger ---- */

/* Where models with a vision tower keep the decoder's fields, if their entry does not say. */
static const char *const nested[] = {"text_config", "llm_config", "language_config"};

static const cJSON *find_nested(const qp_models *m, size_t shell, const cJSON *tree) {
  char path[64];
  if (shell && qp_architecture_text(m->lua, m->architectures, shell, "text", path, sizeof path)) {
    const cJSON *found = qp_sizes_at(tree, path);
    if (cJSON_IsObject(found)) return found;
  }
  for (size_t i = 0; i < sizeof nested / sizeof *nested; i++) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(tree, nested[i]);
    if (cJSON_IsObject(found)) return found;
  }
  return NULL;
}

/*
** The entries that describe a config: 'shell' by its own model_type, 'family' the same if that has
** blocks, else by the model_type of the decoder inside, or what the shell takes it for.
*/
static qp_status find_entries(const qp_models *m, const char *file, const cJSON *tree,
                              const char *type, qp_architecture_case *c, qp_error *err) {
  char of[64];
  const cJSON *inside = NULL;
  c->shell = c->family = qp_architecture_find(m->lua, m->architectures, type);
  const cJSON *text = find_nested(m, c->shell, tree);
  c->config = text ? text : tree;
  if (c->shell && qp_architecture_has(m->lua, m->architectures, c->shell, "block")) return QP_OK;
  if (text) inside = cJSON_GetObjectItemCaseSensitive(text, "model_type");
  const char *name = inside && cJSON_IsString(inside) ? inside->valuestring : type;
  c->family = qp_architecture_find(m->lua, m->architectures, name);
  /* What the shell takes it for, unless it says that it is something else. */
  if (!c->family && !strncmp(name, type, strlen(type))) c->family = c->shell;
  if (!c->shell && text) c->shell = qp_architecture_find(m->lua, m->architectures, "*");
  if (!c->shell) c->shell = c->family;
  for (unsigned i = 0; i < 4; i++) {
    if (!c->family || qp_architecture_has(m->lua, m->architectures, c->family, "block")) break;
    if (!qp_architecture_text(m->lua, m->architectures, c->family, "of", of, sizeof of)) break;
    c->family = qp_architecture_find(m->lua, m->architectures, of);
  }
  if (c->family && qp_architecture_has(m->lua, m->architectures, c->family, "block")) return QP_OK;
  return qp_architecture_unknown(m->lua, m->architectures, file,
                                 name == type ? "model_type" : "model_type of the decoder", name,
                                 err);
}

/* Find the "fp8" of quantization_config; it is "" where the weights are not quantized. */
static void find_quantized(const cJSON *tree, const cJSON *config, qp_model *m) {
  const char *method = NULL;
  const cJSON *q = qp_packing_section(tree, &method);
  if (!q) q = qp_packing_section(config, &method);
  if (!q) return;
  const char *algorithm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(q, "quant_algo"));
  snprintf(m->quantized, sizeof m->quantized, "%s%s%s",
           method ? method : "a method that it does not name", algorithm ? " " : "",
           algorithm ? algorithm : "");
  qp_printable(m->quantized, sizeof m->quantized, false);
  m->packing_is_read = method && qp_packing_is_read(method);
}

static qp_status parse_tree(qp_models *m, const char *file, const cJSON *tree, qp_model *out,
                            qp_error *err) {
  qp_model model = {0};
  qp_architecture_case c = {.where = file, .root = tree};
  const char *type = NULL;
  char path[64];
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  qp_status status = qp_json_text(tree, file, "model_type", &type, err);
  if (status) return status;
  if (strlen(type) >= sizeof model.type)
    return qp_architecture_unknown(m->lua, m->architectures, file, "model_type", type, err);
  memcpy(model.type, type, strlen(type) + 1);
  qp_models_name_after(file, model.name, sizeof model.name);
  status = find_entries(m, file, tree, type, &c, err);
  snprintf(path, sizeof path, "%zu.names", c.family);
  if (!status)
    status = qp_sizes_read_json(tree, m->lua, m->architectures, path, file, &c.sizes, err);
  const qp_sizes whole = c.sizes;
  if (!status && c.config != tree)
    status = qp_sizes_read_json(c.config, m->lua, m->architectures, path, file, &c.sizes, err);
  if (whole.given[QP_SIZE_TIED]) c.sizes.value[QP_SIZE_TIED] = whole.value[QP_SIZE_TIED];
  if (!status) status = qp_architecture_describe(m->lua, m->architectures, &c, &model, err);
  if (status) return status;
  find_quantized(tree, c.config, &model);
  if (is_headless(tree) && !qp_architecture_has(m->lua, m->architectures, c.family, "headed"))
    qp_model_drop_head(&model);
  *out = model;
  return QP_OK;
}

qp_status qp_models_parse(qp_models *m, const char *file, const char *text, size_t bytes,
                          qp_model *out, qp_error *err) {
  cJSON *tree;
  qp_status status = qp_json_parse_python(file, text, bytes, &tree, err);
  if (status) return status;
  status = qp_lua_all_read(m->lua, parse_tree(m, file, tree, out, err), err);
  cJSON_Delete(tree);
  return status;
}

bool qp_models_unknown(qp_models *m, const char *file, const char *text, char *type, size_t size) {
  cJSON *tree = NULL;
  qp_architecture_case c = {0};
  const char *name = NULL;
  bool unknown = !qp_json_parse_python(file, text, strlen(text), &tree, NULL);
  if (unknown && cJSON_IsObject(tree) && !cJSON_GetObjectItemCaseSensitive(tree, "model_type")) {
    snprintf(type, size, "unnamed");
    cJSON_Delete(tree);
    return true;
  }
  unknown = unknown && !qp_json_text(tree, file, "model_type", &name, NULL) && strlen(name) < size;
  if (unknown) unknown = find_entries(m, file, tree, name, &c, NULL) != QP_OK && !c.family;
  if (unknown) snprintf(type, size, "%s", name);
  cJSON_Delete(tree);
  return unknown;
}

static qp_status load_config(qp_models *m, const char *path, const qp_model **out, qp_error *err) {
  char file[4096];
  struct stat info;
  bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
  if (snprintf(file, sizeof file, "%s%s", path, folder ? "/config.json" : "") >= (int)sizeof file)
    return qp_fail(err, QP_E_ARG, "%.60s...: the path is too long", path);
  if (m->added == MAX_MODELS) return qp_fail(err, QP_E_LIMIT, "more than %d models", MAX_MODELS);
  cJSON *tree;
  qp_status status = qp_json_read_python(file, &tree, err);
  if (status) return status;
  status = qp_lua_all_read(m->lua, parse_tree(m, file, tree, &m->own[m->added], err), err);
  cJSON_Delete(tree);
  if (!status) *out = &m->own[m->added++];
  return status;
}

qp_status qp_models_add(qp_models *m, const qp_model *model, const qp_model **out, qp_error *err) {
  if (m->added == MAX_MODELS) return qp_fail(err, QP_E_LIMIT, "more than %d models", MAX_MODELS);
  m->own[m->added] = *model;
  *out = &m->own[m->added++];
  return QP_OK;
}

qp_status qp_models_find(qp_models *m, const char *name, const qp_model **out, qp_error *err) {
  size_t n = strlen(name);
  if (name[0] == '.' || strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".json")))
    return load_config(m, name, out, err);
  const qp_status status = qp_models_load(m, err);
  if (status) return status;
  const char *names[2 * MAX_MODELS];
  for (size_t i = 0; i < m->count + m->added; i++) {
    const qp_model *model = i < m->count ? &m->model[i] : &m->own[i - m->count];
    if (!strcmp(model->name, name)) return *out = model, QP_OK;
    names[i] = model->name;
  }
  const char *near = qp_suggest(name, names, m->count + m->added);
  return qp_fail(err, QP_E_ARG,
                 "model '%s' is not known%s%s%s; qpal list models names them, and the path of a "
                 "checkpoint or a config.json is taken too",
                 name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
