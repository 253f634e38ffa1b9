/* SPDX-License-Identifier: MIT */
/* A decode function called with symbolic values. */
#include "gen/spec/lua_trace.h"

#include <string.h>

#include "gen/spec/lua_call_internal.h"

typedef struct trace_job {
  qp_lua *lua;
  qp_lua_ref v;
  const char *path;
  const qp_lua_decode *decode;
} trace_job;

/* Set the table of numbers and strings 'field' as item i of the table below. */
static void push_item(lua_State *L, const qp_lua_field *field, size_t fields, unsigned i) {
  qp_lua_push_table(L, &(qp_lua_table){field, fields});
  lua_rawseti(L, -2, (lua_Integer)i + 1);
}

/* What the prelude's trace() is told: { dim =, named =, state =, codebooks = {}, fields = {} }. */
static void push_shape(lua_State *L, const qp_lua_decode *d) {
  const qp_lua_field top[] = {
      {"dim", NULL, d->dim}, {"named", NULL, d->named}, {"state", NULL, d->state ? *d->state : 0}};
  qp_lua_push_table(L, &(qp_lua_table){top, d->state ? 3 : 2});
  lua_newtable(L);
  for (unsigned i = 0; i < d->codebooks; i++) {
    const qp_lua_field book[] = {{"name", d->codebook[i].name, 0},
                                 {"entries", NULL, d->codebook[i].entries},
                                 {"dim", NULL, d->codebook[i].dim},
                                 {"given", NULL, d->codebook[i].given}};
    push_item(L, book, 4, i);
  }
  lua_setfield(L, -2, "codebooks");
  lua_newtable(L);
  for (unsigned i = 0; i < d->fields; i++) {
    const qp_lua_field field[] = {{"name", d->field[i].name, 0}, {"type", d->field[i].type, 0}};
    push_item(L, field, 2, i);
  }
  lua_setfield(L, -2, "fields");
}

static int do_trace(lua_State *L) {
  const trace_job *job = lua_touserdata(L, 1);
  qp_lua_push_ref(L, job->lua->prelude_ref);
  if (!qp_lua_step_into(L, "trace", strlen("trace")))
    return luaL_error(L, "the prelude has not run");
  qp_lua_push_path(L, job->v, job->path);
  qp_lua_about_to_call(L);
  push_shape(L, job->decode);
  lua_call(L, 2, 0);
  return 0;
}

qp_status qp_lua_trace(qp_lua *l, qp_lua_ref v, const char *path, const qp_lua_decode *decode,
                       qp_ir *ir, qp_error *err) {
  trace_job job = {l, v, path, decode};
  l->ir = ir;
  l->trace++;
  l->fallback = decode->where;
  l->what = decode->what;
  ir->outputs = 0;
  const qp_status status = qp_lua_protect(l, true, do_trace, &job, err);
  l->fallback = NULL;
  l->ir = NULL;
  if (status) ir->outputs = 0;
  return status;
}
