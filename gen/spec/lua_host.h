/* SPDX-License-Identifier: MIT */
/* The Lua sandbox, the only module that includes lua.h; all others see values through this. */
#ifndef QP_LUA_HOST_H
#define QP_LUA_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/ir/ir.h"
#include "runtime/status.h"

typedef struct qp_lua qp_lua; /* one sandboxed state; used by one thread */
typedef int qp_lua_ref;       /* a value kept alive by the state; 0 is nil */

typedef struct qp_lua_limits {
  size_t memory_bytes;   /* 0: 64 MiB */
  uint64_t instructions; /* a call; 0: 200 million */
} qp_lua_limits;

/* A state with the base, string, table, math and utf8 libraries less everything that reaches files,
** processes, modules, bytecode, metatables of strings or the collector; math.random is absent. */
qp_status qp_lua_open(const qp_lua_limits *limits, qp_lua **out, qp_error *err);
void qp_lua_close(qp_lua *l);

/*
** Run a chunk (text only, named 'file' in messages) with the globals of 'prelude' (a resource path
** such as "lua/prelude.lua", run first and once a state; NULL for none).  *result: what it returns,
** one value at most (nil for none).  Errors carry file and line; a run over a limit (QP_E_LIMIT)
** says which limit and by what.  What a state's globals hold stays for the next chunk.
*/
qp_status qp_lua_run(qp_lua *l, const char *prelude, const char *file, const char *text,
                     size_t bytes, qp_lua_ref *result, qp_error *err);

/* Reading values.  'path' is dotted from the value: "tunables.warps", "3.name"; "" is the value. */
typedef enum qp_lua_type {
  QP_LUA_NIL,
  QP_LUA_BOOLEAN,
  QP_LUA_INTEGER,
  QP_LUA_NUMBER,
  QP_LUA_STRING,
  QP_LUA_TABLE,
  QP_LUA_FUNCTION,
  QP_LUA_OTHER
} qp_lua_type;
qp_lua_type qp_lua_type_of(qp_lua *l, qp_lua_ref v, const char *path);
bool qp_lua_get_boolean(qp_lua *l, qp_lua_ref v, const char *path, bool *out);
bool qp_lua_get_integer(qp_lua *l, qp_lua_ref v, const char *path, int64_t *out);
bool qp_lua_get_number(qp_lua *l, qp_lua_ref v, const char *path, double *out);
/* The string is owned by the state until it is closed. */
const char *qp_lua_get_string(qp_lua *l, qp_lua_ref v, const char *path);
size_t qp_lua_length(qp_lua *l, qp_lua_ref v, const char *path); /* of an array; 0 if none */
/* String keys of a table, sorted; '*keys' is one malloc'ed block, caller frees. */
size_t qp_lua_keys(qp_lua *l, qp_lua_ref v, const char *path, const char ***keys);
qp_status qp_lua_get(qp_lua *l, qp_lua_ref v, const char *path, qp_lua_ref *out, qp_error *err);
void qp_lua_release(qp_lua *l, qp_lua_ref v);

/* Calling functions, such as a family's constraint.  Arguments are flat tables of numbers and
** strings. */
typedef struct qp_lua_field {
  const char *name;
  const char *string; /* used if not NULL, else 'number' (passed as an integer when it is one) */
  double number;
} qp_lua_field;
typedef struct qp_lua_table {
  const qp_lua_field *field;
  size_t fields;
} qp_lua_table;
/* Call function v(args...); *result is the first return value, *second (if not NULL) the second. */
qp_status qp_lua_call(qp_lua *l, qp_lua_ref v, const qp_lua_table *args, size_t n,
                      qp_lua_ref *result, qp_lua_ref *second, qp_error *err);

/* The same with one value that is already there. */
qp_status qp_lua_apply(qp_lua *l, qp_lua_ref v, qp_lua_ref argument, qp_lua_ref *result,
                       qp_error *err);

/*
** All items of a list, which must be numbers; '*values' is malloc'ed, caller frees.  QP_E_ARG: no
** list, or an item that is no number (the message says which); QP_E_NOMEM.  Outputs are untouched
** on error.
*/
qp_status qp_lua_get_numbers(qp_lua *l, qp_lua_ref v, const char *path, double **values,
                             size_t *count, qp_error *err);

/* First and last line of a Lua function's definition; false if the value is none. */
bool qp_lua_get_lines(qp_lua *l, qp_lua_ref v, const char *path, int *first, int *last);

enum { QP_LUA_MAX_CODEBOOKS = 4, QP_LUA_MAX_FIELDS = 4 };

/* What a decode function is called with and what it must return. */
typedef struct qp_lua_decode {
  const char *where;     /* "my.lua:3", for messages that have no line of their own */
  const char *what;      /* "tcq-3: decode": begins messages about values */
  unsigned dim;          /* weights it returns */
  const uint32_t *state; /* a constant state or code; NULL: the input QP_IN_STATE */
  bool named;            /* codebooks are passed as a table by name, else the only one itself */
  unsigned codebooks;
  struct {
    const char *name;
    unsigned entries, dim;
  } codebook[QP_LUA_MAX_CODEBOOKS];
  unsigned fields;
  struct {
    const char *name;
    bool half; /* an fp16 value, else a word */
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
