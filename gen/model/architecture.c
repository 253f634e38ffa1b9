/* SPDX-License-Identifier: MIT */
/* Reads families of models, the entries of lua/architectures.lua, as architecture.h describes. */
#include "gen/model/architecture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/base/suggest.h"
#include "gen/model/kinds.h"
#include "gen/spec/lua_files.h"
#include "gen/spec/lua_json.h"

static const char *const architectures_file = "lua/architectures.lua";
static const char *const rotary_file = "lua/rotary.lua"; /* what its entries call */
static const char *const folder = "lua/architectures/", *const blocks_file = "lua/blocks.lua";

enum { MAX_TYPES = 512 };

/* ---- Entries ---- */

static qp_status ignore(const char *file, qp_lua_ref value, void *arg, qp_error *err) {
  (void)file, (void)value, (void)arg, (void)err;
  return QP_OK;
}

static qp_status run_file(qp_lua *l, const char *prelude, const char *file, qp_lua_ref *result,
                          qp_error *err) {
  const char *text;
  size_t bytes;
  const qp_status status = qp_resource_read(file, &text, &bytes, err);
  return status ? status : qp_lua_run(l, prelude, file, text, bytes, result, err);
}

qp_status qp_architectures_load(qp_lua *l, qp_lua_ref *list, qp_error *err) {
  qp_lua_ref nothing = 0;
  qp_status status = run_file(l, rotary_file, architectures_file, list, err);
  if (!status) status = run_file(l, NULL, blocks_file, &nothing, err);
  qp_lua_release(l, nothing);
  if (!status) status = qp_lua_each_file(l, folder, NULL, ignore, NULL, err);
  return status;
}

bool qp_architecture_text(qp_lua *l, qp_lua_ref list, size_t entry, const char *field, char *out,
                          size_t size) {
  char path[96];
  snprintf(path, sizeof path, "%zu.%s", entry, field);
  const char *text = qp_lua_get_string(l, list, path);
  if (!text || strlen(text) >= size) return false;
  memcpy(out, text, strlen(text) + 1);
  return true;
}

bool qp_architecture_has(qp_lua *l, qp_lua_ref list, size_t entry, const char *field) {
  char path[96];
  snprintf(path, sizeof path, "%zu.%s", entry, field);
  return entry && qp_lua_type_of(l, list, path) != QP_LUA_NIL;
}

size_t qp_architecture_find(qp_lua *l, qp_lua_ref list, const char *type) {
  const size_t count = qp_lua_length(l, list, "");
  for (size_t i = 1; i <= count; i++)
    for (size_t k = 1;; k++) {
      char path[64];
      snprintf(path, sizeof path, "%zu.types.%zu", i, k);
      const char *name = qp_lua_get_string(l, list, path);
      if (!name) break;
      if (!strcmp(name, type)) return i;
    }
  return 0;
}

qp_status qp_architecture_unknown(qp_lua *l, qp_lua_ref list, const char *where, const char *field,
                                  const char *type, qp_error *err) {
  char why[256];
  const char *names[MAX_TYPES];
  size_t known = 0;
  const size_t entry = qp_architecture_find(l, list, type);
  const size_t count = qp_lua_length(l, list, "");
  if (entry && qp_architecture_text(l, list, entry, "refused", why, sizeof why))
    return qp_fail(err, QP_E_ARG, "%s: field '%s': '%s' is not planned: %s", where, field, type,
                   why);
  for (size_t i = 1; i <= count; i++)
    for (size_t k = 1; known < MAX_TYPES && !qp_architecture_has(l, list, i, "refused"); k++) {
      char path[64];
      snprintf(path, sizeof path, "%zu.types.%zu", i, k);
      if (!(names[known] = qp_lua_get_string(l, list, path))) break;
      known++;
    }
  const char *near = qp_suggest(type, names, known);
  return qp_fail(err, QP_E_ARG,
                 "%s: field '%s': '%.60s' is none of the %zu that %s and %s describe%s%s%s; of a "
                 "folder with its weights, the tensors say what its linears are",
                 where, field, type, known, architectures_file, folder,
                 near ? "; the nearest is '" : "", near ? near : "", near ? "'" : "");
}

/* ---- What is being described ---- */

typedef struct describing {
  qp_lua *lua;
  qp_lua_ref list, m; /* m, the argument of the entry's functions. */
  const qp_architecture_case *c;
  qp_model *out;
  qp_error *err;
} describing;

static qp_status wrong(const describing *d, const char *what) {
  return qp_fail(d->err, QP_E_ARG, "%s: %s: %s: %s", d->c->where, architectures_file, d->out->type,
                 what);
}

/* A copy of a config without what is large and says nothing of the model. */
static cJSON *lean_copy(const cJSON *config) {
  static const char *const drop[] = {"quantization_config", "id2label", "label2id", "auto_map",
                                     "task_specific_params"};
  cJSON *copy = config ? cJSON_Duplicate(config, true) : cJSON_CreateObject();
  for (size_t i = 0; copy && i < sizeof drop / sizeof *drop; i++)
    cJSON_DeleteItemFromObjectCaseSensitive(copy, drop[i]);
  return copy;
}

static qp_status make_argument(describing *d) {
  cJSON *o = cJSON_CreateObject();
  for (unsigned i = 0; i < QP_SIZES; i++)
    cJSON_AddNumberToObject(o, qp_size_text(i), d->c->sizes.value[i]);
  cJSON_AddItemToObject(o, "config", lean_copy(d->c->config));
  cJSON_AddItemToObject(o, "root", lean_copy(d->c->root));
  const qp_status status = qp_lua_from_json(d->lua, o, d->c->where, &d->m, d->err);
  cJSON_Delete(o);
  return status;
}

/* '*result': what entry.NAME(m) gives; QP_E_MISSING without a message: there is none. */
static qp_status call(describing *d, size_t entry, const char *name, qp_lua_ref *result) {
  char path[64];
  qp_lua_ref f = 0;
  if (!qp_architecture_has(d->lua, d->list, entry, name)) return QP_E_MISSING;
  snprintf(path, sizeof path, "%zu.%s", entry, name);
  qp_status status = qp_lua_get(d->lua, d->list, path, &f, d->err);
  if (!status) status = qp_lua_apply(d->lua, f, d->m, result, d->err);
  qp_lua_release(d->lua, f);
  if (status) qp_fail_prefix(d->err, status, "%s: %s: %s", d->c->where, architectures_file, name);
  return status;
}

/* ---- Linears ---- */

static bool get_text(const describing *d, qp_lua_ref v, const char *at, const char *field,
                     char *out, size_t size) {
  char path[160];
  snprintf(path, sizeof path, "%s%s", at, field);
  const char *text = qp_lua_get_string(d->lua, v, path);
  if (!text || !*text || strlen(text) >= size) return false;
  memcpy(out, text, strlen(text) + 1);
  return true;
}

static bool get_flag(const describing *d, qp_lua_ref v, const char *at, const char *field) {
  char path[160];
  bool flag = false;
  snprintf(path, sizeof path, "%s%s", at, field);
  return qp_lua_get_boolean(d->lua, v, path, &flag) && flag;
}

/* Read a whole number from 'lo' to 'hi', or 'otherwise' where it is missing.  False: something else
   is there. */
static bool get_number(const describing *d, qp_lua_ref v, const char *at, const char *field,
                       int64_t lo, int64_t hi, int64_t otherwise, unsigned *out) {
  char path[160];
  int64_t n = otherwise;
  snprintf(path, sizeof path, "%s%s", at, field);
  const bool there = qp_lua_type_of(d->lua, v, path) != QP_LUA_NIL;
  if (there && !qp_lua_get_integer(d->lua, v, path, &n)) return false;
  if (n < lo || n > hi) return false;
  *out = (unsigned)n;
  return true;
}

static qp_status read_stack(const describing *d, qp_lua_ref v, const char *at, qp_model_linear *l) {
  if (!get_number(d, v, at, "experts", 0, 1 << 16, 0, &l->experts) ||
      !get_number(d, v, at, "active", 0, l->experts, l->experts, &l->active))
    return qp_fail(d->err, QP_E_ARG,
                   "%s: linear %s: experts from 0 to %d and active ones from 0 to their number "
                   "are needed",
                   d->c->where, l->role, 1 << 16);
  if (!l->experts != !strchr(l->tensor, '*'))
    return wrong(d, "a tensor with a '*' and 'experts' belong together");
  get_text(d, v, at, "stack.tensor", l->stack.tensor, sizeof l->stack.tensor);
  l->stack.interleaved = get_flag(d, v, at, "stack.interleaved");
  l->stack.transposed = get_flag(d, v, at, "stack.transposed");
  if (!get_number(d, v, at, "stack.parts", 1, 8, 1, &l->stack.parts) ||
      !get_number(d, v, at, "stack.part", 0, l->stack.parts - 1, 0, &l->stack.part))
    return wrong(d, "stack: a part below the number of parts, 1 to 8, is needed");
  return QP_OK;
}

/* Linears whose rows lie in this matrix. */
static qp_status read_parts(const describing *d, qp_lua_ref v, const char *at, qp_model_linear *l) {
  char path[160];
  uint64_t rows = 0;
  snprintf(path, sizeof path, "%sparts", at);
  if (qp_lua_type_of(d->lua, v, path) != QP_LUA_TABLE) return QP_OK;
  const size_t count = qp_lua_length(d->lua, v, path);
  if (count < 2 || count > QP_MODEL_PARTS ||
      !get_number(d, v, at, "turns", 1, l->rows, 1, &l->turns))
    return wrong(d, "parts of a linear: 2 to 4 of them, and turns, are needed");
  for (size_t i = 0; i < count; i++) {
    qp_model_part *p = &l->part[i];
    snprintf(path, sizeof path, "%sparts.%zu.", at, i + 1);
    if (!get_text(d, v, path, "role", p->role, sizeof p->role) ||
        !get_number(d, v, path, "rows", 1, (int64_t)l->rows, 0, &p->rows) ||
        !get_number(d, v, path, "begin", 0, (int64_t)l->rows, 0, &p->begin) ||
        !get_number(d, v, path, "heads", 0, QP_SIZE_MOST, 0, &p->heads))
      return wrong(d, "a part of a linear needs role, rows and begin");
    rows += p->rows;
  }
  l->parts = (unsigned)count;
  return rows * l->turns == l->rows ? QP_OK : wrong(d, "a linear's parts have not all of its rows");
}

static qp_status read_linear(const describing *d, qp_lua_ref v, const char *at, qp_kind_list *k) {
  if (k->count == QP_MODEL_LINEARS) return wrong(d, "too many linears");
  qp_model_linear *l = &k->linear[k->count];
  *l = (qp_model_linear){0};
  if (!get_text(d, v, at, "role", l->role, sizeof l->role) ||
      !get_text(d, v, at, "tensor", l->tensor, sizeof l->tensor) ||
      !get_text(d, v, at, "group", k->group[k->count], sizeof k->group[0]))
    return wrong(d, "a linear needs role, group and tensor");
  if (!get_number(d, v, at, "rows", 1, QP_SIZE_MOST, 0, &l->rows) ||
      !get_number(d, v, at, "columns", 1, QP_SIZE_MOST, 0, &l->columns)) {
    char path[160];
    int64_t rows = 0, columns = 0;
    snprintf(path, sizeof path, "%srows", at);
    qp_lua_get_integer(d->lua, v, path, &rows);
    snprintf(path, sizeof path, "%scolumns", at);
    qp_lua_get_integer(d->lua, v, path, &columns);
    return qp_fail(d->err, QP_E_ARG, "%s: linear %s is %lld x %lld: sizes from 1 to %d are needed",
                   d->c->where, l->role, (long long)rows, (long long)columns, QP_SIZE_MOST);
  }
  l->bias = get_flag(d, v, at, "bias");
  k->count++;
  const qp_status status = read_parts(d, v, at, l);
  return status ? status : read_stack(d, v, at, l);
}

static qp_status read_kind(const describing *d, qp_lua_ref v, const char *at, uint64_t *has) {
  char path[96], where[512];
  snprintf(where, sizeof where, "%.400s: %s: %s", d->c->where, architectures_file, d->out->type);
  qp_kind_list *k = calloc(1, sizeof *k);
  if (!k) return qp_fail(d->err, QP_E_NOMEM, "%s: no memory", d->c->where);
  snprintf(path, sizeof path, "%.*s", (int)strlen(at) - (*at != 0), at);
  const size_t count = qp_lua_length(d->lua, v, path);
  qp_status status = QP_OK;
  for (size_t i = 1; i <= count && !status; i++) {
    snprintf(path, sizeof path, "%s%zu.", at, i);
    status = read_linear(d, v, path, k);
  }
  if (!status) status = qp_kinds_add(d->out, where, k, has, d->err);
  free(k);
  return status;
}

/* ---- Kinds of blocks ---- */

/* Number of the kind of this name, one more than there are: it is new. */
static unsigned kind_of(char (*names)[32], unsigned kinds, const char *name) {
  unsigned i = 0;
  while (i < kinds && strcmp(names[i], name) != 0) i++;
  return i;
}

/* Blocks of several kinds: { layers = { "a", "b", ... }, kind = { a = {...}, b = {...} } }. */
static qp_status read_kinds(const describing *d, qp_lua_ref v, char (*names)[32]) {
  qp_model *m = d->out;
  if (qp_lua_length(d->lua, v, "layers") != m->layers)
    return qp_fail(d->err, QP_E_ARG,
                   "%s: it says of %zu of %u layers what they are (a list of layers is too short, "
                   "or too long)",
                   d->c->where, qp_lua_length(d->lua, v, "layers"), m->layers);
  for (unsigned b = 0; b < m->layers; b++) {
    char path[64], name[32];
    snprintf(path, sizeof path, "layers.%u", b + 1);
    if (!get_text(d, v, path, "", name, sizeof name)) return wrong(d, "layers need names of kinds");
    const unsigned k = kind_of(names, m->kinds, name);
    m->kind[b] = (unsigned char)k;
    if (k < m->kinds) continue;
    if (k == QP_MODEL_KINDS) return wrong(d, "too many kinds of blocks");
    snprintf(path, sizeof path, "kind.%s", name);
    if (qp_lua_type_of(d->lua, v, path) != QP_LUA_TABLE)
      return qp_fail(d->err, QP_E_ARG, "%s: layer %u is a '%s', of which nothing is known",
                     d->c->where, b, name);
    memcpy(names[m->kinds++], name, sizeof name);
    snprintf(path, sizeof path, "kind.%s.", name);
    const qp_status status = read_kind(d, v, path, &m->has[k]);
    if (status) return status;
  }
  if (m->kinds == 1) m->kinds = 0;
  return QP_OK;
}

static qp_status read_blocks(describing *d, char (*names)[32]) {
  qp_lua_ref v = 0;
  uint64_t has;
  qp_status status = call(d, d->c->family, "block", &v);
  if (status == QP_E_MISSING) return wrong(d, "a function 'block' is needed");
  if (status) return status;
  status = qp_lua_type_of(d->lua, v, "layers") == QP_LUA_TABLE ? read_kinds(d, v, names)
                                                               : read_kind(d, v, "", &has);
  qp_lua_release(d->lua, v);
  if (!status && !d->out->linears) status = wrong(d, "block gives no linears");
  return status;
}

/* ---- What is beside the linears ---- */

static qp_status add_beside(const describing *d, qp_lua_ref v, const char *path, const char *of) {
  qp_model *m = d->out;
  qp_model_beside *b = &m->beside[m->besides];
  if (m->besides == QP_MODEL_BESIDE) return wrong(d, "too many tensors beside the linears");
  if (!get_text(d, v, path, "", b->tensor, sizeof b->tensor))
    return wrong(d, "beside: names of tensors are needed");
  snprintf(b->of, sizeof b->of, "%s", of);
  m->besides++;
  return QP_OK;
}

/* Names, and { of = role, name, ... }: what of them blocks with such a linear have. */
static qp_status read_beside(describing *d) {
  char path[64], of[sizeof d->out->beside[0].of];
  qp_lua_ref v = 0;
  snprintf(path, sizeof path, "%zu.beside", d->c->family);
  qp_status status = qp_lua_type_of(d->lua, d->list, path) == QP_LUA_TABLE
                         ? qp_lua_get(d->lua, d->list, path, &v, d->err)
                         : call(d, d->c->family, "beside", &v);
  if (status) return status == QP_E_MISSING ? QP_OK : status;
  const size_t count = qp_lua_length(d->lua, v, "");
  for (size_t i = 1; i <= count && !status; i++) {
    snprintf(path, sizeof path, "%zu", i);
    const size_t names = qp_lua_length(d->lua, v, path);
    if (qp_lua_type_of(d->lua, v, path) != QP_LUA_TABLE) {
      status = add_beside(d, v, path, "");
      continue;
    }
    if (!get_text(d, v, path, ".of", of, sizeof of)) status = wrong(d, "beside: a role is needed");
    for (size_t k = 1; k <= names && !status; k++) {
      snprintf(path, sizeof path, "%zu.%zu", i, k);
      status = add_beside(d, v, path, of);
    }
  }
  qp_lua_release(d->lua, v);
  return status;
}

/* The norm behind the blocks, where the entry says what else they have. */
static qp_status find_last(describing *d) {
  char path[64], name[64] = "norm";
  qp_model *m = d->out;
  qp_lua_ref v = 0;
  if (!m->besides) return QP_OK;
  snprintf(path, sizeof path, "%zu.last", d->c->family);
  const bool asked = qp_lua_type_of(d->lua, d->list, path) == QP_LUA_FUNCTION;
  qp_status status =
      asked ? call(d, d->c->family, "last", &v) : qp_lua_get(d->lua, d->list, path, &v, d->err);
  if (status) return status;
  const bool none = qp_lua_type_of(d->lua, v, "") == QP_LUA_BOOLEAN;
  get_text(d, v, "", "", name, sizeof name);
  if (!none) snprintf(m->last, sizeof m->last, "%s%s", m->prefix, name);
  qp_lua_release(d->lua, v);
  return QP_OK;
}

/* A number of weights that an entry's function gives, or of each kind of blocks one. */
static qp_status weights_of(describing *d, const char *name, char (*names)[32], uint64_t missing,
                            uint64_t *out) {
  qp_lua_ref v = 0;
  const int64_t most = (int64_t)1 << 50;
  const qp_status status = call(d, d->c->family, name, &v);
  if (status) return *out = missing, status == QP_E_MISSING ? QP_OK : status;
  int64_t n = -1, sum = 0;
  if (qp_lua_type_of(d->lua, v, "") != QP_LUA_TABLE) {
    if (qp_lua_get_integer(d->lua, v, "", &n)) sum = n;
  } else {
    for (unsigned b = 0; b < d->out->layers; b++) {
      n = 0;
      qp_lua_get_integer(d->lua, v, names[d->out->kind[b]], &n);
      if (n < 0 || n > most) break;
      sum += n;
    }
  }
  const bool by_kind = qp_lua_type_of(d->lua, v, "") == QP_LUA_TABLE;
  qp_lua_release(d->lua, v);
  if (n < 0 || n > most)
    return qp_fail(d->err, QP_E_ARG, "%s: %s: %s: %s gives no number of weights", d->c->where,
                   architectures_file, d->out->type, name);
  *out = by_kind || strcmp(name, "extra") != 0 ? (uint64_t)sum : (uint64_t)sum * d->out->layers;
  return QP_OK;
}

static qp_status read_passed(describing *d) {
  qp_lua_ref v = 0;
  int64_t n = 0;
  const qp_status status = call(d, d->c->shell, "passed", &v);
  if (status) return status == QP_E_MISSING ? QP_OK : status;
  if (qp_lua_type_of(d->lua, v, "") == QP_LUA_TABLE) {
    qp_lua_get_integer(d->lua, v, "weights", &n);
    get_text(d, v, "", "what", d->out->passed, sizeof d->out->passed);
  }
  qp_lua_release(d->lua, v);
  if (n < 0 || n > (int64_t)1 << 50) return wrong(d, "passed gives no number of weights");
  d->out->passed_bytes = 2 * (uint64_t)n;
  return QP_OK;
}

/* The family's embedding behind the prefix of what stands around it, or the usual one. */
static void add_embedding(const describing *d) {
  char name[sizeof d->out->embedding], before[sizeof d->out->prefix] = "";
  qp_model *m = d->out;
  const size_t family = d->c->family;
  const char *rest = "embed_tokens";
  if (qp_architecture_text(d->lua, d->list, d->c->shell, "embedding", m->embedding,
                           sizeof m->embedding))
    return;
  qp_architecture_text(d->lua, d->list, family, "prefix", before, sizeof before);
  if (qp_architecture_text(d->lua, d->list, family, "embedding", name, sizeof name) &&
      !strncmp(name, before, strlen(before)))
    rest = name + strlen(before);
  snprintf(m->embedding, sizeof m->embedding, "%s%s", m->prefix, rest);
}

static qp_status add_head(const describing *d) {
  qp_model *m = d->out;
  const size_t shell = d->c->shell;
  qp_model_linear *head = &m->linear[m->linears];
  *head = (qp_model_linear){.role = "lm_head", .rows = m->vocab, .columns = m->hidden};
  if (!qp_architecture_text(d->lua, d->list, shell, "prefix", m->prefix, sizeof m->prefix))
    return wrong(d, "a prefix is needed");
  if (!qp_architecture_text(d->lua, d->list, shell, "blocks", m->blocks, sizeof m->blocks) &&
      !qp_architecture_text(d->lua, d->list, d->c->family, "blocks", m->blocks, sizeof m->blocks))
    memcpy(m->blocks, "layers", sizeof "layers");
  add_embedding(d);
  if (m->tied)
    memcpy(head->tensor, m->embedding, sizeof m->embedding);
  else if (!qp_architecture_text(d->lua, d->list, shell, "head", head->tensor, sizeof head->tensor))
    return wrong(d, "a head is needed");
  return QP_OK;
}

static void take_sizes(const qp_sizes *s, qp_model *out) {
  const unsigned *v = s->value;
  out->hidden = v[QP_SIZE_HIDDEN], out->intermediate = v[QP_SIZE_INTERMEDIATE];
  out->heads = v[QP_SIZE_HEADS], out->kv_heads = v[QP_SIZE_KV_HEADS];
  out->head_dim = v[QP_SIZE_HEAD_DIM], out->layers = v[QP_SIZE_LAYERS];
  out->vocab = v[QP_SIZE_VOCAB], out->tied = v[QP_SIZE_TIED];
}

/* Sizes that config and entries leave out: those of the shell, then those of the family. */
static qp_status complete(describing *d, qp_architecture_case *c) {
  qp_status status = QP_OK;
  const size_t entries[] = {c->shell, c->family};
  for (unsigned i = 0; i < 2 && !status; i++) {
    char path[64];
    qp_sizes defaults = {0};
    snprintf(path, sizeof path, "%zu.defaults", entries[i]);
    status = qp_sizes_read_lua(d->lua, d->list, path, architectures_file, &defaults, d->err);
    if (!status) qp_sizes_default(&c->sizes, &defaults);
  }
  if (!status) status = qp_sizes_complete(&c->sizes, c->where, c->config != NULL, d->err);
  if (!status) take_sizes(&c->sizes, d->out);
  return status;
}

qp_status qp_architecture_describe(qp_lua *l, qp_lua_ref list, const qp_architecture_case *given,
                                   qp_model *out, qp_error *err) {
  qp_architecture_case c = *given;
  describing d = {.lua = l, .list = list, .c = &c, .out = out, .err = err};
  char names[QP_MODEL_KINDS + 1][32] = {{0}};
  uint64_t extra = 0, once = 0;
  qp_status status = complete(&d, &c);
  if (status) return status;
  status = make_argument(&d);
  if (!status) status = read_blocks(&d, names);
  if (!status) status = weights_of(&d, "extra", names, 0, &extra);
  if (!status) status = weights_of(&d, "once", names, out->hidden, &once);
  if (!status) status = read_passed(&d);
  if (!status) status = read_beside(&d);
  if (!status) status = add_head(&d);
  if (!status) status = find_last(&d);
  if (!status) qp_kinds_count(out, extra, once);
  qp_lua_release(l, d.m);
  return status;
}
