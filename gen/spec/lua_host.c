/* SPDX-License-Identifier: MIT */
/* The Lua sandbox:  text of lua/ --run under limits--> values. */
#include "gen/spec/lua_host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/base/text.h"
#include "gen/spec/lua_primitives.h"
#include "gen/spec/lua_sandbox.h"
#include "gen/spec/lua_state.h"

/* ---- Opening ---- */

static int do_open(lua_State *L) {
  qp_lua_build_globals(L);
  return 0;
}

qp_status qp_lua_open(const qp_lua_limits *limits, qp_lua **out, qp_error *err) {
  qp_lua *l = calloc(1, sizeof *l);
  if (!l) return qp_fail(err, QP_E_NOMEM, "out of memory");
  l->meter.memory_bytes = limits && limits->memory_bytes ? limits->memory_bytes : (size_t)64 << 20;
  l->meter.instructions = limits && limits->instructions ? limits->instructions : 200000000;
  l->meter.seconds = limits && limits->seconds > 0 ? limits->seconds : QP_LUA_METER_MOST_SECONDS;
  l->L = lua_newstate(qp_lua_meter_allocate, &l->meter);
  if (!l->L) {
    qp_lua_close(l);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  *(qp_lua **)lua_getextraspace(l->L) = l;
  const qp_status status = qp_lua_protect(l, false, do_open, NULL, err);
  if (status) {
    qp_lua_close(l);
    return status;
  }
  lua_sethook(l->L, qp_lua_on_count, LUA_MASKCOUNT, QP_LUA_HOOK_EVERY);
  *out = l;
  return QP_OK;
}

/* States that were left inside a function of C: nobody knows what of them is whole. */
static _Atomic(qp_lua *) spoilt;

void qp_lua_close(qp_lua *l) {
  if (!l) return;
  if (l->spoilt) {
    l->next_spoilt = atomic_exchange(&spoilt, l);
    return;
  }
  if (l->L) lua_close(l->L);
  free(l);
}

/* ---- Compiled preludes ---- */

/* A prelude that a state has compiled, for the states to come: each file of the palette runs in a
   state of its own.  Resources stay where they are until exit, so the text's place is a key. */
typedef struct compiled {
  const char *text; /* NULL: free */
  char *code;
  size_t bytes;
} compiled;

enum { PRELUDES = 4 };
static compiled preludes[PRELUDES];
static pthread_mutex_t preludes_lock = PTHREAD_MUTEX_INITIALIZER;

/* Push the function and return true, or push nothing. */
static bool push_compiled(lua_State *L, const char *text, const char *name) {
  compiled found = {0};
  pthread_mutex_lock(&preludes_lock);
  for (int i = 0; i < PRELUDES; i++)
    if (preludes[i].text == text) found = preludes[i];
  pthread_mutex_unlock(&preludes_lock);
  if (!found.text) return false;
  if (luaL_loadbufferx(L, found.code, found.bytes, name, "b") == LUA_OK) return true;
  lua_error(L); /* out of memory */
  return false;
}

static int add_code(lua_State *L, const void *piece, size_t bytes, void *to) {
  (void)L;
  qp_text_append(to, piece, bytes);
  return ((qp_text *)to)->failed;
}

/* Keep the function on top of the stack; that it cannot be kept is no error. */
static void keep_compiled(lua_State *L, const char *text) {
  qp_text code = {0};
  compiled *to = NULL;
  const bool dumped = !lua_dump(L, add_code, &code, false) && !code.failed;
  pthread_mutex_lock(&preludes_lock);
  for (int i = PRELUDES; i-- > 0;)
    if (!preludes[i].text) to = &preludes[i];
  if (dumped && to) {
    *to = (compiled){text, code.s, code.length};
    code = (qp_text){0};
  }
  pthread_mutex_unlock(&preludes_lock);
  qp_text_free(&code);
}

/* ---- Running ---- */

typedef struct run_job {
  const char *file, *text;
  size_t bytes;
  bool with_primitives;
  qp_lua_ref *result;
} run_job;

/* Push the chunk (a prelude that is compiled already as it is), or raise its syntax error with the
   whole file name. */
static void push_chunk(lua_State *L, const run_job *job) {
  lua_Debug ar;
  const char *name = lua_pushfstring(L, "@%s", job->file);
  if (job->with_primitives && push_compiled(L, job->text, name)) return;
  const int rc = luaL_loadbufferx(L, job->text, job->bytes, name, "t");
  if (rc == LUA_OK && job->with_primitives) keep_compiled(L, job->text);
  if (rc == LUA_OK) return;
  if (rc == LUA_ERRMEM) lua_error(L);
  const char *message = lua_tostring(L, -1);
  if (luaL_loadbufferx(L, "", 0, name, "t") != LUA_OK || !lua_getinfo(L, ">S", &ar)) {
    lua_error(L);
    return; /* never: for readers of the code that do not know Lua */
  }
  const char *rest = qp_lua_after(message, ar.short_src);
  lua_pushfstring(L, "%s%s%s", job->file, rest ? "" : ": ", rest ? rest : message);
  lua_error(L);
}

static int do_run(lua_State *L) {
  const run_job *job = lua_touserdata(L, 1);
  push_chunk(L, job);
  if (job->with_primitives) qp_lua_push_primitives(L);
  const int base = lua_gettop(L) - 1 - job->with_primitives;
  lua_call(L, job->with_primitives, LUA_MULTRET);
  const int results = lua_gettop(L) - base;
  if (results > 1) {
    return luaL_error(L, "%s: returns %d values; return one, which may be a list", job->file,
                      results);
  }
  lua_settop(L, base + 1); /* nil where there is no result */
  return qp_lua_keep(L, job->result);
}

static qp_status run_prelude(qp_lua *l, const char *path, qp_error *err) {
  if (l->prelude[0]) {
    if (!strcmp(path, l->prelude)) return QP_OK;
    return qp_fail(err, QP_E_ARG, "%s: the state has run another prelude, %s", path, l->prelude);
  }
  if (strlen(path) >= sizeof l->prelude) return qp_fail(err, QP_E_ARG, "%s: path too long", path);
  const char *text;
  size_t bytes;
  const qp_status status = qp_resource_read(path, &text, &bytes, err);
  if (status) return status;
  run_job job = {path, text, bytes, true, &l->prelude_ref};
  const qp_status ran = qp_lua_protect(l, true, do_run, &job, err);
  if (ran == QP_OK) memcpy(l->prelude, path, strlen(path) + 1);
  return ran;
}

qp_status qp_lua_run(qp_lua *l, const char *prelude, const char *file, const char *text,
                     size_t bytes, qp_lua_ref *result, qp_error *err) {
  qp_status status = prelude ? run_prelude(l, prelude, err) : QP_OK;
  if (status) return status;
  qp_lua_ref ref = 0;
  run_job job = {file, text, bytes, false, &ref};
  l->fallback = file;
  status = qp_lua_protect(l, true, do_run, &job, err);
  l->fallback = NULL;
  if (!status) *result = ref;
  return status;
}
