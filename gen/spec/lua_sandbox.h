/* SPDX-License-Identifier: MIT */
/* Sets up the globals of a sandboxed Lua state. */
#ifndef QP_LUA_SANDBOX_H
#define QP_LUA_SANDBOX_H

#include "gen/spec/lua_state.h"

/* Set the globals: a few functions of the base library, and the libraries that reach nothing
   outside. */
void qp_lua_build_globals(lua_State *L);
/* Call the function that is the first upvalue: this is a C function that stands between a spec and
   the prelude. */
int qp_lua_wrapped(lua_State *L);

#endif
