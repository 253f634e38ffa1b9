/* SPDX-License-Identifier: MIT */
/* The globals of a sandboxed Lua state. */
#ifndef QP_LUA_SANDBOX_H
#define QP_LUA_SANDBOX_H

#include "gen/spec/lua_state.h"

/* Globals: a few of the base library, and the libraries that reach nothing outside. */
void qp_lua_build_globals(lua_State *L);
/* Call the function that is the first upvalue: a C function between a spec and the prelude. */
int qp_lua_wrapped(lua_State *L);

#endif
