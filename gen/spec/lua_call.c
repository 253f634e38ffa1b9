/* SPDX-License-Identifier: MIT */
/* Calls Lua functions with tables of numbers and strings. */
#include <math.h>

#include "gen/spec/lua_call_internal.h"
#include "gen/spec/lua_value.h"

typedef struct call_job {
  qp_lua_ref v;
  const qp_lua_table *args;
  size_t n;
  qp_lua_ref result, second;
} call_job;

static void push_number(lua_State *L, double x) {
  if (x == floor(x) && fabs(x) <= 0x1p53) {
    lua_pushinteger(L, (lua_Integer)x);
  } else {
    lua_pushnumber(L, x);
  }
}

void qp_lua_push_table(lua_State *L, const qp_lua_table *t) {
  lua_createtable(L, 0, (int)t->fields);
  for (size_t i = 0; i < t->fields; i++) {
    if (t->field[i].string) {
      lua_pushstring(L, t->field[i].string);
    } else {
      push_number(L, t->field[i].number);
    }
    lua_setfield(L, -2, t->field[i].name);
  }
}

static int do_call(lua_State *L) {
  call_job *job = lua_touserdata(L, 1);
  luaL_checkstack(L, (int)job->n + 4, "arguments");
  qp_lua_push_ref(L, job->v);
  qp_lua_about_to_call(L);
  for (size_t i = 0; i < job->n; i++) qp_lua_push_table(L, &job->args[i]);
  lua_call(L, (int)job->n, 2);
  qp_lua_keep(L, &job->second);
  return qp_lua_keep(L, &job->result);
}

qp_status qp_lua_call(qp_lua *l, qp_lua_ref v, const qp_lua_table *args, size_t n,
                      qp_lua_ref *result, qp_lua_ref *second, qp_error *err) {
  call_job job = {v, args, n, 0, 0};
  const qp_status status = qp_lua_protect(l, true, do_call, &job, err);
  if (status) return status;
  *result = job.result;
  if (second) {
    *second = job.second;
  } else {
    qp_lua_release(l, job.second);
  }
  return QP_OK;
}

typedef struct apply_job {
  qp_lua_ref v, argument, result;
} apply_job;

static int do_apply(lua_State *L) {
  apply_job *job = lua_touserdata(L, 1);
  qp_lua_push_ref(L, job->v);
  qp_lua_about_to_call(L);
  qp_lua_push_ref(L, job->argument);
  lua_call(L, 1, 1);
  return qp_lua_keep(L, &job->result);
}

qp_status qp_lua_apply(qp_lua *l, qp_lua_ref v, qp_lua_ref argument, qp_lua_ref *result,
                       qp_error *err) {
  apply_job job = {v, argument, 0};
  const qp_status status = qp_lua_protect(l, true, do_apply, &job, err);
  if (!status) *result = job.result;
  return status;
}
