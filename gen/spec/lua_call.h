/* SPDX-License-Identifier: MIT */
/* Calls Lua functions with tables of numbers and strings. */
#ifndef QP_LUA_CALL_H
#define QP_LUA_CALL_H

#include <stddef.h>

#include "gen/spec/lua_ref.h"
#include "runtime/status.h"

/* These call functions such as a family's constraint.  Their arguments are flat tables of numbers
   and strings. */
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

#endif
