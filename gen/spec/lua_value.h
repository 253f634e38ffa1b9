/* SPDX-License-Identifier: MIT */
/* Values of a sandboxed Lua state, read by path. */
#ifndef QP_LUA_VALUE_H
#define QP_LUA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/spec/lua_ref.h"
#include "runtime/status.h"

/* 'path' is dotted from the value: "tunables.warps", "3.name"; "" is the value. */
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

/* What there is no memory to look at counts as nil below.  Whoever reads a state asks at the end:
   'status' or, if that has happened, QP_E_NOMEM.  'l' may be NULL. */
qp_status qp_lua_all_read(const qp_lua *l, qp_status status, qp_error *err);

qp_lua_type qp_lua_type_of(qp_lua *l, qp_lua_ref v, const char *path);
bool qp_lua_get_boolean(qp_lua *l, qp_lua_ref v, const char *path, bool *out);
bool qp_lua_get_integer(qp_lua *l, qp_lua_ref v, const char *path, int64_t *out);
bool qp_lua_get_number(qp_lua *l, qp_lua_ref v, const char *path, double *out);
/* The string is owned by the state until it is closed. */
const char *qp_lua_get_string(qp_lua *l, qp_lua_ref v, const char *path);
size_t qp_lua_length(qp_lua *l, qp_lua_ref v, const char *path); /* length of an array; 0 if there
                                                                    is none */
/* Has a table a key that is neither a string nor a number of its array? */
bool qp_lua_has_other_keys(qp_lua *l, qp_lua_ref v, const char *path);
/* List the string keys of a table, sorted; '*keys' is one malloc'ed block, which the caller frees.
   */
size_t qp_lua_keys(qp_lua *l, qp_lua_ref v, const char *path, const char ***keys);
qp_status qp_lua_get(qp_lua *l, qp_lua_ref v, const char *path, qp_lua_ref *out, qp_error *err);
void qp_lua_release(qp_lua *l, qp_lua_ref v);

/*
** All items of a list, which must be numbers; '*values' is malloc'ed, caller frees.  QP_E_ARG: no
** list, or an item that is no number (the message says which); QP_E_NOMEM.  Outputs are untouched
** on error.
*/
qp_status qp_lua_get_numbers(qp_lua *l, qp_lua_ref v, const char *path, double **values,
                             size_t *count, qp_error *err);

/* Find the first and the last line of a Lua function's definition; false means that the value is no
   function. */
bool qp_lua_get_lines(qp_lua *l, qp_lua_ref v, const char *path, int *first, int *last);

#endif
