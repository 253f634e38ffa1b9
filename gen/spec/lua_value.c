/* SPDX-License-Identifier: MIT */
/* Values of a sandboxed Lua state, read by path. */
#include "gen/spec/lua_value.h"

#include <stdlib.h>
#include <string.h>

#include "gen/spec/lua_state.h"

static qp_lua_type type_at(lua_State *L, int index) {
  static const qp_lua_type types[] = {
      [LUA_TNIL] = QP_LUA_NIL,       [LUA_TBOOLEAN] = QP_LUA_BOOLEAN,
      [LUA_TNUMBER] = QP_LUA_NUMBER, [LUA_TSTRING] = QP_LUA_STRING,
      [LUA_TTABLE] = QP_LUA_TABLE,   [LUA_TFUNCTION] = QP_LUA_FUNCTION};
  const int type = lua_type(L, index);
  if (lua_isinteger(L, index)) return QP_LUA_INTEGER;
  if (type == LUA_TLIGHTUSERDATA || type > LUA_TFUNCTION) return QP_LUA_OTHER;
  return types[type];
}

/* One value that is looked at, and all that is asked of it. */
typedef struct look {
  qp_lua_ref v;
  const char *path;
  qp_lua_type type;
  bool boolean;
  lua_Integer integer;
  bool is_integer;
  double number;
  const char *string;
  size_t length;
  int first_line, last_line;
  bool want_ref;
  qp_lua_ref ref;
} look;

static int do_look(lua_State *L) {
  look *k = lua_touserdata(L, 1);
  qp_lua_push_path(L, k->v, k->path);
  k->type = type_at(L, -1);
  if (k->want_ref) return qp_lua_keep(L, &k->ref);
  k->boolean = lua_toboolean(L, -1);
  if (k->type == QP_LUA_INTEGER || k->type == QP_LUA_NUMBER) {
    int exact = 0;
    k->integer = lua_tointegerx(L, -1, &exact);
    k->is_integer = exact;
    k->number = lua_tonumber(L, -1);
  }
  if (k->type == QP_LUA_TABLE) k->length = (size_t)lua_rawlen(L, -1);
  if (k->type == QP_LUA_STRING) { /* The string is kept alive in the registry, under itself. */
    k->string = lua_tostring(L, -1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "qpal.strings");
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
  }
  if (k->type == QP_LUA_FUNCTION && !lua_iscfunction(L, -1)) {
    lua_Debug ar;
    if (lua_getinfo(L, ">S", &ar)) k->first_line = ar.linedefined;
    k->last_line = ar.lastlinedefined;
  }
  return 0;
}

static look look_at(qp_lua *l, qp_lua_ref v, const char *path) {
  look k = {.v = v, .path = path};
  if (qp_lua_protect(l, false, do_look, &k, NULL) != QP_OK) {
    k = (look){.type = QP_LUA_NIL};
    l->missed = true;
  }
  return k;
}

qp_status qp_lua_all_read(const qp_lua *l, qp_status status, qp_error *err) {
  return l && l->missed && !l->spoilt ? qp_fail(err, QP_E_NOMEM, "out of memory") : status;
}

qp_lua_type qp_lua_type_of(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).type;
}

bool qp_lua_get_boolean(qp_lua *l, qp_lua_ref v, const char *path, bool *out) {
  const look k = look_at(l, v, path);
  if (k.type != QP_LUA_BOOLEAN) return false;
  *out = k.boolean;
  return true;
}

bool qp_lua_get_integer(qp_lua *l, qp_lua_ref v, const char *path, int64_t *out) {
  const look k = look_at(l, v, path);
  if (!k.is_integer) return false;
  *out = k.integer;
  return true;
}

bool qp_lua_get_number(qp_lua *l, qp_lua_ref v, const char *path, double *out) {
  const look k = look_at(l, v, path);
  if (k.type != QP_LUA_INTEGER && k.type != QP_LUA_NUMBER) return false;
  *out = k.number;
  return true;
}

const char *qp_lua_get_string(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).string;
}

size_t qp_lua_length(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).length;
}

bool qp_lua_get_lines(qp_lua *l, qp_lua_ref v, const char *path, int *first, int *last) {
  const look k = look_at(l, v, path);
  if (k.first_line <= 0) return false;
  *first = k.first_line;
  *last = k.last_line;
  return true;
}

qp_status qp_lua_get(qp_lua *l, qp_lua_ref v, const char *path, qp_lua_ref *out, qp_error *err) {
  look k = {.v = v, .path = path, .want_ref = true};
  const qp_status status = qp_lua_protect(l, false, do_look, &k, err);
  if (!status) *out = k.ref;
  return status;
}

void qp_lua_release(qp_lua *l, qp_lua_ref v) {
  if (v > 0 && !l->spoilt)
    luaL_unref(l->L, LUA_REGISTRYINDEX, v); /* sets existing fields: allocates nothing */
}

typedef struct keys_job {
  qp_lua_ref v;
  const char *path;
  size_t count;
  const char **keys;
} keys_job;

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One pass measures, the next copies. */
static int do_keys(lua_State *L) {
  keys_job *job = lua_touserdata(L, 1);
  qp_lua_push_path(L, job->v, job->path);
  size_t bytes = 0;
  for (int pass = 0; pass < 2 && lua_type(L, -1) == LUA_TTABLE; pass++) {
    char *text = NULL;
    if (pass) {
      job->keys = job->count ? malloc(job->count * sizeof *job->keys + bytes) : NULL;
      if (!job->keys) return 0;
      text = (char *)(job->keys + job->count);
    }
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (lua_type(L, -2) != LUA_TSTRING) continue;
      const char *key = lua_tostring(L, -2);
      const size_t length = strlen(key) + 1;
      if (pass) text = (char *)memcpy(text, key, length), job->keys[i] = text, text += length;
      bytes += length;
      job->count = ++i;
    }
  }
  return 0;
}

size_t qp_lua_keys(qp_lua *l, qp_lua_ref v, const char *path, const char ***keys) {
  keys_job job = {.v = v, .path = path};
  *keys = NULL;
  const qp_status status = qp_lua_protect(l, false, do_keys, &job, NULL);
  if (status || (job.count && !job.keys)) l->missed = true;
  if (status || !job.keys) return free(job.keys), 0;
  qsort(job.keys, job.count, sizeof *job.keys, by_text);
  *keys = job.keys;
  return job.count;
}

/* Count other keys. */
static int do_other_keys(lua_State *L) {
  keys_job *job = lua_touserdata(L, 1);
  qp_lua_push_path(L, job->v, job->path);
  if (lua_type(L, -1) != LUA_TTABLE) return 0;
  const lua_Integer items = (lua_Integer)lua_rawlen(L, -1);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    const lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    job->count += lua_type(L, -2) != LUA_TSTRING && (i < 1 || i > items);
  }
  return 0;
}

bool qp_lua_has_other_keys(qp_lua *l, qp_lua_ref v, const char *path) {
  keys_job job = {.v = v, .path = path};
  if (qp_lua_protect(l, false, do_other_keys, &job, NULL)) l->missed = true;
  return job.count > 0;
}

typedef struct numbers_job {
  qp_lua_ref v;
  const char *path;
  size_t count, wrong; /* items; the first that is no number */
  double *values;      /* NULL: no list, or out of memory */
  bool is_list;
} numbers_job;

static int do_numbers(lua_State *L) {
  numbers_job *job = lua_touserdata(L, 1);
  qp_lua_push_path(L, job->v, job->path);
  job->is_list = lua_type(L, -1) == LUA_TTABLE;
  if (!job->is_list) return 0;
  job->count = (size_t)lua_rawlen(L, -1);
  job->values = malloc((job->count + 1) * sizeof *job->values);
  for (size_t i = 0; job->values && i < job->count && !job->wrong; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TNUMBER) job->wrong = i + 1;
    job->values[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  return 0;
}

qp_status qp_lua_get_numbers(qp_lua *l, qp_lua_ref v, const char *path, double **values,
                             size_t *count, qp_error *err) {
  numbers_job job = {.v = v, .path = path};
  qp_status status = qp_lua_protect(l, false, do_numbers, &job, err);
  if (!status && !job.is_list) status = qp_fail(err, QP_E_ARG, "should be a list of numbers");
  if (!status && !job.values) status = qp_fail(err, QP_E_NOMEM, "out of memory");
  if (!status && job.wrong) {
    status = qp_fail(err, QP_E_ARG, "item %zu is no number", job.wrong);
  }
  if (status) {
    free(job.values);
    return status;
  }
  *values = job.values;
  *count = job.count;
  return QP_OK;
}
