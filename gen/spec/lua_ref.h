/* SPDX-License-Identifier: MIT */
/* Names of a sandboxed Lua state and of values in it, for those who do not know Lua. */
#ifndef QP_LUA_REF_H
#define QP_LUA_REF_H

typedef struct qp_lua qp_lua; /* One sandboxed state; one thread at a time uses it. */
typedef int qp_lua_ref;       /* a value kept alive by the state; 0 is nil */

#endif
