/* SPDX-License-Identifier: MIT */
/* Folders of Lua files that describe things; see lua_files.h. */
#include "gen/spec/lua_files.h"

#include <string.h>

#include "gen/base/resource.h"

typedef struct walk {
  qp_lua *lua;
  const char *prelude;
  qp_lua_visit visit;
  void *arg;
  qp_error *err;
  qp_status status;
} walk;

static void run_file(const char *path, void *arg) {
  walk *w = arg;
  const char *text;
  size_t bytes, n = strlen(path);
  qp_lua_ref value = 0;
  if (w->status || n < 4 || strcmp(path + n - 4, ".lua") != 0) return;
  w->status = qp_resource_read(path, &text, &bytes, w->err);
  if (!w->status) w->status = qp_lua_run(w->lua, w->prelude, path, text, bytes, &value, w->err);
  if (w->status) return;
  w->status = w->visit(path, value, w->arg, w->err);
  qp_lua_release(w->lua, value);
}

qp_status qp_lua_each_file(qp_lua *l, const char *folder, const char *prelude, qp_lua_visit visit,
                           void *arg, qp_error *err) {
  walk w = {.lua = l, .prelude = prelude, .visit = visit, .arg = arg, .err = err};
  qp_resource_each(folder, run_file, &w);
  return w.status;
}
