/* SPDX-License-Identifier: MIT */
/* The inside of a sandboxed Lua state.  Only the files that know Lua, lua_*.c of this room, include
   it. */
#ifndef QP_LUA_STATE_H
#define QP_LUA_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "gen/ir/ir.h"
#include "gen/spec/lua_meter.h"
#include "gen/spec/lua_ref.h"
#include "runtime/status.h"

enum { QP_LUA_HOOK_EVERY = 1000 }; /* instructions between two looks at the limits */

struct qp_lua {
  lua_State *L;
  qp_lua_meter meter;
  qp_lua_meter_limit hit;
  int seen_line;        /* line of the spec when the limits were last looked at; 0: not yet */
  char seen_file[256];  /* file of that line; "": fallback.  Lua's own text may be freed by then */
  char prelude[64];     /* its resource path; "" before it has run */
  int prelude_ref;      /* what the prelude returned */
  qp_ir *ir;            /* IR of the trace that runs */
  uint32_t trace;       /* its number */
  const char *what;     /* is traced */
  const char *fallback; /* where a message points that no line of the spec is to blame for */
  bool spoilt;          /* was left inside a function of C: must not be touched */
  bool missed;          /* there was no memory to look at a value, or to make one */
  struct qp_lua *next_spoilt;
};

/* The state that runs 'L'. */
qp_lua *qp_lua_of(lua_State *L);

/*
** Call f(arg) where errors are caught.  'guarded': under the limits, as code of a spec runs.  The
** stack is as before afterwards.
*/
qp_status qp_lua_protect(qp_lua *l, bool guarded, lua_CFunction f, void *arg, qp_error *err);
/* What runs next is the function on top of the stack: for a message that has no better line. */
void qp_lua_about_to_call(lua_State *L);
/* Raise the error on the top of the stack and put the spec's line before it. */
int qp_lua_raise(lua_State *L);
/* Raise an error if a limit was hit. */
void qp_lua_check_limit(lua_State *L, qp_lua_meter_limit hit);
/* This hook runs every QP_LUA_HOOK_EVERY instructions and looks at the limits. */
void qp_lua_on_count(lua_State *L, lua_Debug *ar);
/* Find the innermost line of a spec that is running (not of the prelude, not of C); false means
   that there is none. */
bool qp_lua_user_line(lua_State *L, lua_Debug *ar);
/* What follows 'prefix' in 'text'; NULL if it does not begin so. */
const char *qp_lua_after(const char *text, const char *prefix);

/* Keep the value on top of the stack, and return 0, which a C function passes on. */
int qp_lua_keep(lua_State *L, qp_lua_ref *out);
void qp_lua_push_ref(lua_State *L, qp_lua_ref v);
/* Replace the table on top by its element 'key': a string, or a number where it is all digits;
   false: it is no table. */
bool qp_lua_step_into(lua_State *L, const char *key, size_t bytes);
/* Push the value that a dotted path leads to from 'v', or nil. */
void qp_lua_push_path(lua_State *L, qp_lua_ref v, const char *path);

#endif
