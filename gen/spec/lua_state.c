/* SPDX-License-Identifier: MIT */
/* The inside of a sandboxed Lua state holds messages, limits, protected calls and references. */
#include "gen/spec/lua_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/spec/lua_watchdog.h"

static_assert((int)QP_LUA_METER_STRING == LUA_TSTRING, "the meter knows strings by their type");

qp_lua *qp_lua_of(lua_State *L) { return *(qp_lua **)lua_getextraspace(L); }

/* ---- Messages and limits ---- */

bool qp_lua_user_line(lua_State *L, lua_Debug *ar) {
  const qp_lua *l = qp_lua_of(L);
  for (int level = 0; lua_getstack(L, level, ar); level++) {
    if (!lua_getinfo(L, "Sl", ar) || ar->currentline < 0) continue;
    if (ar->source[0] == '@' && !strcmp(ar->source + 1, l->prelude)) continue;
    return true;
  }
  return false;
}

static void push_where(lua_State *L) {
  lua_Debug ar;
  if (qp_lua_user_line(L, &ar)) {
    lua_pushfstring(L, "%s:%d: ", ar.source + 1, ar.currentline);
  } else {
    const qp_lua *l = qp_lua_of(L);
    lua_pushfstring(L, "%s%s", l->fallback ? l->fallback : "", l->fallback ? ": " : "");
  }
}

int qp_lua_raise(lua_State *L) {
  const qp_lua *l = qp_lua_of(L);
  push_where(L);
  lua_pushfstring(L, "%s%s", l->ir ? l->what : "", l->ir ? ": " : "");
  lua_rotate(L, -3, 2);
  lua_concat(L, 3);
  return lua_error(L);
}

void qp_lua_check_limit(lua_State *L, qp_lua_meter_limit hit) {
  qp_lua *l = qp_lua_of(L);
  if (hit == QP_LUA_METER_FINE) return;
  l->hit = hit;
  push_where(L);
  if (hit == QP_LUA_METER_SECONDS) {
    char text[64];
    snprintf(text, sizeof text, "took more than %g seconds", l->meter.seconds);
    lua_pushstring(L, text);
  } else {
    lua_pushfstring(L,
                    "ran more than %I instructions (or copied as much); is there a loop without "
                    "an end?",
                    (lua_Integer)l->meter.instructions);
  }
  lua_concat(L, 2);
  lua_error(L);
}

static void see(qp_lua *l, const char *source, int line) {
  const size_t size = sizeof l->seen_file - 1, n = source[0] == '@' ? strlen(source + 1) : 0;
  memcpy(l->seen_file, source + 1, n < size ? n : size);
  l->seen_file[n < size ? n : size] = 0;
  l->seen_line = line;
}

void qp_lua_about_to_call(lua_State *L) {
  lua_Debug ar;
  lua_pushvalue(L, -1);
  if (lua_iscfunction(L, -1) || lua_type(L, -1) != LUA_TFUNCTION) {
    lua_pop(L, 1);
  } else if (lua_getinfo(L, ">S", &ar)) {
    see(qp_lua_of(L), ar.source, ar.linedefined);
  }
}

void qp_lua_on_count(lua_State *L, lua_Debug *ar) {
  qp_lua *l = qp_lua_of(L);
  if (!l->meter.running) return;
  if (qp_lua_user_line(L, ar)) see(l, ar->source, ar->currentline);
  qp_lua_check_limit(L, qp_lua_meter_tick(&l->meter, QP_LUA_HOOK_EVERY));
}

/* ---- Protected calls ---- */

const char *qp_lua_after(const char *text, const char *prefix) {
  while (*prefix && *text == *prefix) text++, prefix++;
  return *prefix ? NULL : text;
}

/* What Lua itself says of a decode that took a value for a plain number, and what to write. */
static const char *advice(const char *said) {
  static const char *const values[] = {"got word)", "got half)", "got single)",
                                       "got pair)", "got vec)",  "got codebook)"};
  if (strstr(said, "nil value (local"))
    return "; decode(state, codebook, group) is given a codebook and a group where the quantizer "
           "has them";
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    if (strstr(said, values[i]))
      return "; a value of decode has no number when the file is loaded: bounds of a 'for' and "
             "Lua's own functions are for plain numbers; of the state, look it up in a codebook";
  }
  return "";
}

/* What Lua itself says of a decode gets the name of the quantizer, and advice. */
static void explain(lua_State *L) {
  static const char *const own[] = {": attempt to ", ": bad argument ", ": bad 'for' "};
  const qp_lua *l = qp_lua_of(L);
  const char *text = lua_tostring(L, 1), *said = NULL;
  for (size_t i = 0; l->ir && !said && i < sizeof own / sizeof *own; i++)
    said = strstr(text, own[i]);
  if (!said) return;
  said += 2;
  lua_pushlstring(L, text, (size_t)(said - text));
  lua_pushfstring(L, "%s: %s%s", l->what, said, advice(said));
  lua_concat(L, 2);
  lua_replace(L, 1);
  lua_settop(L, 1);
}

static void place(lua_State *L) {
  lua_Debug ar;
  if (lua_type(L, 1) != LUA_TSTRING) {
    lua_pushfstring(L, "error without a message, but with a %s", luaL_typename(L, 1));
    lua_replace(L, 1);
  }
  const char *text = lua_tostring(L, 1);
  if (!qp_lua_user_line(L, &ar)) return;
  const char *whole = qp_lua_after(text, ar.source + 1), *cut = qp_lua_after(text, ar.short_src);
  if (whole && *whole == ':') return;
  if (cut && *cut == ':') {
    lua_pushfstring(L, "%s%s", ar.source + 1, cut);
  } else {
    lua_pushfstring(L, "%s:%d: %s", ar.source + 1, ar.currentline, text);
  }
  lua_replace(L, 1);
  lua_settop(L, 1);
}

/*
** Messages begin with the spec's file and line.  Lua cuts long file names, and blames the prelude
** for what happens inside it.
*/
static int on_error(lua_State *L) {
  place(L);
  explain(L);
  return 1;
}

/* Lua gives no position with these errors. */
static qp_status fail_limit(const qp_lua *l, const char *what, qp_error *err) {
  char line[48] = "";
  const char *file = *l->seen_file ? l->seen_file : l->fallback;
  if (l->seen_line) snprintf(line, sizeof line, " (last seen at line %d)", l->seen_line);
  return qp_fail(err, QP_E_LIMIT, "%s%s%s%s", file ? file : "", file ? ": " : "", what, line);
}

static qp_status fail_memory(const qp_lua *l, qp_error *err) {
  char what[96];
  if (l->meter.long_string) {
    snprintf(what, sizeof what, "makes a string longer than %d MiB",
             QP_LUA_METER_STRING_BYTES >> 20);
  } else {
    snprintf(what, sizeof what, "needs more than %zu MiB of memory", l->meter.memory_bytes >> 20);
  }
  return fail_limit(l, what, err);
}

static qp_status fail_overdue(qp_lua *l, qp_error *err) {
  char what[96];
  l->spoilt = true;
  snprintf(what, sizeof what, "took more than %g seconds in a function that has no end",
           l->meter.seconds);
  return fail_limit(l, what, err);
}

typedef struct protected_call {
  lua_State *L;
  int handler, rc;
} protected_call;

static void run_protected(void *arg) {
  protected_call *call = arg;
  call->rc = lua_pcall(call->L, 1, 0, call->handler);
}

qp_status qp_lua_protect(qp_lua *l, bool guarded, lua_CFunction f, void *arg, qp_error *err) {
  lua_State *L = l->L;
  if (l->spoilt) return qp_fail(err, QP_E_LIMIT, "an earlier run of this Lua state had no end");
  protected_call call = {.L = L, .handler = lua_gettop(L) + 1};
  l->hit = QP_LUA_METER_FINE;
  l->seen_line = 0;
  *l->seen_file = 0;
  lua_pushcfunction(L, on_error);
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, arg);
  qp_lua_meter_start(&l->meter, guarded);
  bool came_back = true;
  if (guarded) {
    came_back = qp_watchdog_run(&l->meter, run_protected, &call);
  } else {
    run_protected(&call);
  }
  l->meter.running = false;
  if (!came_back) return fail_overdue(l, err);
  qp_status status = QP_OK;
  if (call.rc == LUA_ERRMEM) {
    status = guarded ? fail_memory(l, err) : qp_fail(err, QP_E_NOMEM, "out of memory");
  } else if (call.rc != LUA_OK) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error in an error";
    status = qp_fail(err, l->hit ? QP_E_LIMIT : QP_E_ARG, "%s", text);
  }
  lua_settop(L, call.handler - 1);
  return status;
}

int qp_lua_keep(lua_State *L, qp_lua_ref *out) {
  const int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  *out = ref == LUA_REFNIL ? 0 : ref;
  return 0;
}

void qp_lua_push_ref(lua_State *L, qp_lua_ref v) {
  if (v > 0) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, v);
  } else {
    lua_pushnil(L);
  }
}

/* ---- Paths ---- */

bool qp_lua_step_into(lua_State *L, const char *key, size_t bytes) {
  if (lua_type(L, -1) != LUA_TTABLE || bytes == 0) return false;
  lua_pushlstring(L, key, bytes);
  if (strspn(key, "0123456789") >= bytes && bytes < 16) {
    lua_pushinteger(L, (lua_Integer)strtoull(key, NULL, 10));
    lua_replace(L, -2);
  }
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return true;
}

void qp_lua_push_path(lua_State *L, qp_lua_ref v, const char *path) {
  qp_lua_push_ref(L, v);
  while (*path) {
    const size_t bytes = strcspn(path, ".");
    if (!qp_lua_step_into(L, path, bytes)) {
      lua_pop(L, 1);
      lua_pushnil(L);
      return;
    }
    path += bytes + (path[bytes] == '.');
  }
}
