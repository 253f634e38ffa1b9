/* SPDX-License-Identifier: MIT */
/* What a model computes, in numbers. */
#include "gen/model/computation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/spec/lua_json.h"

static const char *const where = "lua/architectures.lua: forward";
static const char *const places[QP_NORM_PLACES] = {
    "before_attention", "post_attention", "before_mlp", "post_mlp", "q", "k"};
static const char *const activations[] = {"silu", "gelu", "gelu_tanh", "relu"};
static const char *const norm_kinds[] = {"rms", "layer"};

/* What forward() gave, while it is read. */
typedef struct reading {
  qp_lua *lua;
  qp_lua_ref v;
  const qp_model *model;
  qp_computation *c;
  qp_error *err;
} reading;

/* ---- Fields ---- */

static qp_status number(const reading *r, const char *path, double missing, double lo, double hi,
                        float *out) {
  double v = missing;
  bool flag = true; /* false: a config.json's null */
  const qp_lua_type type = qp_lua_type_of(r->lua, r->v, path);
  const bool none = type == QP_LUA_NIL || (qp_lua_get_boolean(r->lua, r->v, path, &flag) && !flag);
  if ((!none && !qp_lua_get_number(r->lua, r->v, path, &v)) || !(v >= lo && v <= hi))
    return qp_fail(r->err, QP_E_ARG, "%s: field '%s': a number from %g to %g is needed", where,
                   path, lo, hi);
  *out = (float)v;
  return QP_OK;
}

static qp_status choice(const reading *r, const char *path, const char *const *names,
                        unsigned count, unsigned *out) {
  const char *text = qp_lua_get_string(r->lua, r->v, path);
  for (unsigned i = 0; text && i < count; i++)
    if (!strcmp(text, names[i])) return *out = i, QP_OK;
  return qp_fail(r->err, QP_E_ARG, "%s: field '%s': '%s' is not known", where, path,
                 text ? text : "nil");
}

/* Read a tensor's name, which 'prefix' goes before; where it is missing it is 'otherwise', or none
   where that is NULL. */
static qp_status name(const reading *r, const char *path, const char *prefix, const char *otherwise,
                      char out[QP_COMPUTATION_NAME]) {
  const char *text = qp_lua_get_string(r->lua, r->v, path);
  *out = 0;
  if (!text) text = otherwise;
  if (text && snprintf(out, QP_COMPUTATION_NAME, "%s%s", prefix, text) >= QP_COMPUTATION_NAME)
    return qp_fail(r->err, QP_E_ARG, "%s: field '%s': the name is too long", where, path);
  return QP_OK;
}

static qp_status read_names(const reading *r) {
  char path[64];
  qp_status status = name(r, "final", r->model->prefix, "norm", r->c->final);
  for (unsigned i = 0; i < QP_NORM_PLACES && !status; i++) {
    snprintf(path, sizeof path, "norms.%s", places[i]);
    status = name(r, path, "", NULL, r->c->norm[i]);
  }
  return status;
}

static qp_status read_numbers(const reading *r) {
  qp_computation *c = r->c;
  qp_status status = number(r, "norm.eps", 0, 0, 1, &c->eps);
  if (!status) status = number(r, "norm.offset", 0, -16, 16, &c->norm_offset);
  if (!status) status = number(r, "embedding_scale", 1, -1e6, 1e6, &c->embedding_scale);
  if (!status) status = number(r, "scale", 1 / sqrt(r->model->head_dim), 0, 1e6, &c->scale);
  if (!status) status = number(r, "attention_softcap", 0, 0, 1e6, &c->attention_softcap);
  if (!status) status = number(r, "softcap", 0, 0, 1e6, &c->softcap);
  unsigned kind = 0, activation = 0;
  if (!status) status = choice(r, "norm.kind", norm_kinds, 2, &kind);
  if (!status) status = choice(r, "activation", activations, 4, &activation);
  c->norm_kind = (qp_norm_kind)kind;
  c->activation = (qp_activation)activation;
  return status;
}

static qp_status read_layers(const reading *r) {
  const unsigned n = r->model->layers;
  if (qp_lua_length(r->lua, r->v, "layers") != n)
    return qp_fail(r->err, QP_E_ARG, "%s: field 'layers': %u entries are needed", where, n);
  if (!(r->c->layer = calloc(n, sizeof *r->c->layer)))
    return qp_fail(r->err, QP_E_NOMEM, "no memory for %u layers", n);
  for (unsigned i = 0; i < n; i++) {
    char path[64];
    int64_t window = -1, rotary = -1;
    snprintf(path, sizeof path, "layers.%u.window", i + 1);
    qp_lua_get_integer(r->lua, r->v, path, &window);
    snprintf(path, sizeof path, "layers.%u.rotary", i + 1);
    qp_lua_get_integer(r->lua, r->v, path, &rotary);
    if (window < 0 || window > 1 << 30 || rotary < 0 || rotary > QP_MAX_TURNS)
      return qp_fail(r->err, QP_E_ARG,
                     "%s: field 'layers': entry %u: window (0 to 2^30) and rotary (0 to %d) are "
                     "needed, got %lld and %lld",
                     where, i + 1, QP_MAX_TURNS, (long long)window, (long long)rotary);
    r->c->layer[i] = (qp_layer_kind){(unsigned)window, (unsigned)rotary};
  }
  return QP_OK;
}

/* ---- Opening ---- */

/* Make the m of lua/architectures.lua, with the config. */
static qp_status make_argument(const reading *r, const char *file, const char *config,
                               qp_lua_ref *out) {
  const qp_model *m = r->model;
  const struct {
    const char *name;
    unsigned value;
  } sizes[] = {{"hidden", m->hidden},     {"intermediate", m->intermediate},
               {"heads", m->heads},       {"kv_heads", m->kv_heads},
               {"head_dim", m->head_dim}, {"layers", m->layers},
               {"vocab", m->vocab},       {"tied", m->tied}};
  cJSON *tree = NULL, *argument = cJSON_CreateObject();
  qp_status status = qp_json_parse_python(file, config, strlen(config), &tree, r->err);
  if (status) return cJSON_Delete(argument), status;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    cJSON_AddNumberToObject(argument, sizes[i].name, sizes[i].value);
  /* Models with a vision tower keep the decoder's fields in an object of their own. */
  cJSON *text = cJSON_GetObjectItemCaseSensitive(tree, "text_config");
  const bool inside = cJSON_IsObject(text);
  cJSON *c = inside ? cJSON_DetachItemViaPointer(tree, text) : tree;
  cJSON_AddItemToObject(argument, "config", c);
  status = qp_lua_from_json(r->lua, argument, file, out, r->err);
  if (inside) cJSON_Delete(tree);
  cJSON_Delete(argument);
  return status;
}

static qp_status call_forward(qp_models *models, reading *r, const char *file, const char *config) {
  qp_lua_ref function = 0, argument = 0;
  qp_status status = qp_models_entry(models, r->model->type, "forward", &function, r->err);
  if (status) return status;
  if (qp_lua_type_of(r->lua, function, "") != QP_LUA_FUNCTION)
    status = qp_fail(r->err, QP_E_ARG,
                     "%s: field 'model_type': '%s' has no 'forward' in lua/architectures.lua: its "
                     "forward pass is not known",
                     file, r->model->type);
  if (!status) status = make_argument(r, file, config, &argument);
  if (!status && (status = qp_lua_apply(r->lua, function, argument, &r->v, r->err)))
    qp_fail_prefix(r->err, status, "%s: %s", file, where);
  qp_lua_release(r->lua, argument);
  qp_lua_release(r->lua, function);
  return status;
}

qp_status qp_computation_open(qp_models *models, const qp_model *model, const char *file,
                              const char *config, qp_computation *out, qp_error *err) {
  qp_computation c = {.lua = qp_models_lua(models), .head_dim = model->head_dim};
  reading r = {.lua = c.lua, .model = model, .c = &c, .err = err};
  qp_status status = call_forward(models, &r, file, config);
  if (!status) status = read_names(&r);
  if (!status) status = read_numbers(&r);
  if (!status) status = read_layers(&r);
  if (!status) status = qp_lua_get(r.lua, r.v, "turns", &c.turns, err);
  status = qp_lua_all_read(r.lua, status, err);
  qp_lua_release(r.lua, r.v);
  if (status) return qp_computation_close(&c), status;
  *out = c;
  return QP_OK;
}

void qp_computation_close(qp_computation *c) {
  free(c->layer);
  if (c->lua) qp_lua_release(c->lua, c->turns);
  *c = (qp_computation){0};
}

/* ---- Turns ---- */

void qp_turns_free(qp_turns *turns, unsigned count) {
  for (unsigned i = 0; i < count; i++) free(turns[i].frequency);
}

static qp_status read_turns(const qp_computation *c, qp_lua_ref v, unsigned i, qp_turns *out,
                            qp_error *err) {
  char path[64];
  size_t pairs = 0;
  double scale = 0;
  snprintf(path, sizeof path, "%u.frequencies", i + 1);
  qp_status status = qp_lua_get_numbers(c->lua, v, path, &out->frequency, &pairs, err);
  if (status) return qp_fail_prefix(err, status, "%s: turns: %s", where, path);
  snprintf(path, sizeof path, "%u.scale", i + 1);
  const bool scaled = qp_lua_get_number(c->lua, v, path, &scale) && isfinite(scale);
  bool finite = true;
  for (size_t k = 0; k < pairs; k++) finite = finite && isfinite(out->frequency[k]);
  if (scaled && finite && pairs <= c->head_dim / 2) {
    out->pairs = (unsigned)pairs;
    out->scale = scale;
    return QP_OK;
  }
  free(out->frequency);
  return qp_fail(err, QP_E_ARG,
                 "%s: turns: entry %u: at most %u finite frequencies and a scale are needed", where,
                 i + 1, c->head_dim / 2);
}

qp_status qp_computation_turns(const qp_computation *c, size_t length, qp_turns out[QP_MAX_TURNS],
                               unsigned *count, qp_error *err) {
  const qp_lua_field field = {"length", NULL, (double)length};
  const qp_lua_table at = {&field, 1};
  qp_lua_ref v = 0;
  qp_status status = qp_lua_call(c->lua, c->turns, &at, 1, &v, NULL, err);
  if (status) return qp_fail_prefix(err, status, "%s: turns", where);
  const size_t n = qp_lua_length(c->lua, v, "");
  unsigned got = 0;
  if (n > QP_MAX_TURNS)
    status = qp_fail(err, QP_E_LIMIT, "%s: turns: %zu entries, at most %d are known", where, n,
                     QP_MAX_TURNS);
  while (!status && got < n) {
    status = read_turns(c, v, got, &out[got], err);
    if (!status) got++;
  }
  qp_lua_release(c->lua, v);
  if (status) return qp_turns_free(out, got), status;
  *count = got;
  return QP_OK;
}
