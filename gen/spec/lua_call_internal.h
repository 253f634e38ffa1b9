/* SPDX-License-Identifier: MIT */
/* Moves tables of numbers and strings to and from the stack of a Lua state. */
#ifndef QP_LUA_CALL_INTERNAL_H
#define QP_LUA_CALL_INTERNAL_H

#include "gen/spec/lua_call.h"
#include "gen/spec/lua_state.h"

void qp_lua_push_table(lua_State *L, const qp_lua_table *t);

#endif
