/* SPDX-License-Identifier: MIT */
/* Models:  lua/models/x.lua -> the shapes of their linears. */
#include "gen/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/lua_host.h"
#include "gen/resource.h"

enum { MAX_MODELS = 128 };

struct qp_models {
  size_t count;
  qp_model model[MAX_MODELS];
  qp_lua *lua; /* during loading */
  qp_error *err;
  qp_status status;
};

static qp_status read_number(qp_models *m, qp_lua_ref v, const char *file, size_t i,
                             const char *field, unsigned *out) {
  char path[64];
  int64_t n = 0;
  snprintf(path, sizeof path, "%zu.%s", i, field);
  if (!qp_lua_get_integer(m->lua, v, path, &n) || n < 1 || n > 1 << 24)
    return qp_fail(m->err, QP_E_ARG, "%s: model %zu: field '%s': an integer from 1 to %d is needed",
                   file, i, field, 1 << 24);
  *out = (unsigned)n;
  return QP_OK;
}

static qp_status read_model(qp_models *m, qp_lua_ref v, const char *file, size_t i, qp_model *out) {
  char path[32];
  qp_model model = {0};
  const struct {
    const char *field;
    unsigned *to;
  } numbers[] = {{"hidden", &model.hidden},     {"intermediate", &model.intermediate},
                 {"heads", &model.heads},       {"kv_heads", &model.kv_heads},
                 {"head_dim", &model.head_dim}, {"layers", &model.layers},
                 {"vocab", &model.vocab}};
  snprintf(path, sizeof path, "%zu.name", i);
  const char *name = qp_lua_get_string(m->lua, v, path);
  if (!name || !*name || strlen(name) >= sizeof model.name)
    return qp_fail(m->err, QP_E_ARG, "%s: model %zu: field 'name': 1 to %zu characters are needed",
                   file, i, sizeof model.name - 1);
  memcpy(model.name, name, strlen(name) + 1);
  for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
    qp_status st = read_number(m, v, file, i, numbers[k].field, numbers[k].to);
    if (st) return st;
  }
  *out = model;
  return QP_OK;
}

static void load_file(const char *path, void *arg) {
  qp_models *m = arg;
  const char *text;
  size_t bytes, n = strlen(path);
  qp_lua_ref v = 0;
  if (m->status || n < 4 || strcmp(path + n - 4, ".lua") != 0) return;
  m->status = qp_resource_read(path, &text, &bytes, m->err);
  if (!m->status) m->status = qp_lua_run(m->lua, NULL, path, text, bytes, &v, m->err);
  size_t models = m->status ? 0 : qp_lua_length(m->lua, v, "");
  for (size_t i = 1; i <= models && !m->status; i++) {
    if (m->count == MAX_MODELS)
      m->status = qp_fail(m->err, QP_E_LIMIT, "%s: more than %d models", path, MAX_MODELS);
    else if (!(m->status = read_model(m, v, path, i, &m->model[m->count])))
      m->count++;
  }
}

qp_status qp_models_open(qp_models **out, qp_error *err) {
  qp_models *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for the models");
  m->err = err;
  m->status = qp_lua_open(NULL, &m->lua, err);
  if (!m->status) {
    qp_resource_each("lua/models/", load_file, m);
    qp_lua_close(m->lua);
    m->lua = NULL;
  }
  qp_status st = m->status;
  if (st) return qp_models_close(m), st;
  *out = m;
  return QP_OK;
}

void qp_models_close(qp_models *m) { free(m); }
size_t qp_models_count(const qp_models *m) { return m->count; }
const qp_model *qp_models_get(const qp_models *m, size_t i) { return &m->model[i]; }

qp_status qp_models_find(const qp_models *m, const char *name, const qp_model **out,
                         qp_error *err) {
  for (size_t i = 0; i < m->count; i++)
    if (!strcmp(m->model[i].name, name)) return *out = &m->model[i], QP_OK;
  return qp_fail(err, QP_E_ARG, "model '%s' is not known; qpal list models names them", name);
}

void qp_model_groups(const qp_model *m, qp_model_group group[QP_MODEL_GROUPS]) {
  unsigned q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
  group[0] = (qp_model_group){"qkv", 3, {q, kv, kv}, m->hidden};
  group[1] = (qp_model_group){"o", 1, {m->hidden}, q};
  group[2] = (qp_model_group){"up-gate", 2, {m->intermediate, m->intermediate}, m->hidden};
  group[3] = (qp_model_group){"down", 1, {m->hidden}, m->intermediate};
}
