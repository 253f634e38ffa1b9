/* SPDX-License-Identifier: MIT */
/* What lua/prelude.lua is built from: symbolic values as userdata. */
#ifndef QP_LUA_PRIMITIVES_H
#define QP_LUA_PRIMITIVES_H

#include "gen/spec/lua_state.h"

/* Push the table of primitives, which the prelude gets as its argument. */
void qp_lua_push_primitives(lua_State *L);

#endif
