/* SPDX-License-Identifier: MIT */
/* Calls a decode function with symbolic values:  Lua function --trace--> IR. */
#ifndef QP_LUA_TRACE_H
#define QP_LUA_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/ir/ir.h"
#include "gen/spec/lua_ref.h"
#include "runtime/status.h"

enum { QP_LUA_MAX_CODEBOOKS = 4, QP_LUA_MAX_FIELDS = 8 };

/* What a decode function is called with and what it must return. */
typedef struct qp_lua_decode {
  const char *where;     /* "my.lua:3", for messages that have no line of their own */
  const char *what;      /* "tcq-3: decode": begins messages about values */
  unsigned dim;          /* weights it returns */
  const uint32_t *state; /* Decode is called with this state or code; NULL: with the input
                            QP_IN_STATE. */
  bool named;            /* codebooks are passed as a table by name, else the only one itself */
  unsigned codebooks;
  struct {
    const char *name;
    unsigned entries, dim, given; /* as qp_codebook has them */
  } codebook[QP_LUA_MAX_CODEBOOKS];
  unsigned fields;
  struct {
    const char *name;
    const char *type; /* The name of its type in gen/spec/field.h. */
  } field[QP_LUA_MAX_FIELDS];
} qp_lua_decode;

/*
** Call the function at 'path' (nil: codebook[state]) with symbolic values and append what it
** computes to 'ir', with its outputs as in qp_quantizer: PAIRs for an even dim, else HALFs.  The
** state must have run lua/prelude.lua.  Errors (QP_E_ARG, QP_E_LIMIT) name file and line; 'ir' may
** then hold nodes but has no outputs.
*/
qp_status qp_lua_trace(qp_lua *l, qp_lua_ref v, const char *path, const qp_lua_decode *decode,
                       qp_ir *ir, qp_error *err);

#endif
