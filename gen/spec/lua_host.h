/* SPDX-License-Identifier: MIT */
/* The Lua sandbox: a state in which text of lua/ and of users runs under limits. */
#ifndef QP_LUA_HOST_H
#define QP_LUA_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "gen/spec/lua_call.h"
#include "gen/spec/lua_trace.h"
#include "gen/spec/lua_value.h"
#include "runtime/status.h"

typedef struct qp_lua_limits {
  size_t memory_bytes;   /* 0: 64 MiB */
  uint64_t instructions; /* a call; 0: 200 million */
  double seconds;        /* CPU time that a call may take; 0: 20 */
} qp_lua_limits;

/* Make a state with the base, string, table, math and utf8 libraries, less everything that reaches
   files, processes, modules, bytecode, metatables of strings or the collector; math.random is
   absent too. */
qp_status qp_lua_open(const qp_lua_limits *limits, qp_lua **out, qp_error *err);
void qp_lua_close(qp_lua *l);

/*
** Run a chunk (text only, named 'file' in messages) with the globals of 'prelude' (a resource path
** such as "lua/prelude.lua", run first and once a state; NULL for none).  *result: what it returns,
** one value at most (nil for none).  Errors carry file and line; a run over a limit (QP_E_LIMIT)
** says which limit and by what.  What a state's globals hold stays for the next chunk.  A run that
** had to be left inside a function of C (lua_watchdog.h) spoils the state: every later use fails.
*/
qp_status qp_lua_run(qp_lua *l, const char *prelude, const char *file, const char *text,
                     size_t bytes, qp_lua_ref *result, qp_error *err);

#endif
