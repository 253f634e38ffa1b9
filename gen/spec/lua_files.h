/* SPDX-License-Identifier: MIT */
/* Folders of Lua files that describe things (lua/families, lua/models), run one after the other. */
#ifndef QP_LUA_FILES_H
#define QP_LUA_FILES_H

#include "gen/spec/lua_host.h"
#include "runtime/status.h"

/* Gets what a file returned.  The value belongs to the caller of qp_lua_each_file and lasts for the
   call only, unless 'visit' takes references of its own (qp_lua_get). */
typedef qp_status (*qp_lua_visit)(const char *file, qp_lua_ref value, void *arg, qp_error *err);

/*
** Run each .lua file below 'folder' ("lua/models/", resources, in sorted order) with the globals of
** 'prelude' (NULL: none) and hand its value to 'visit'.  Stops at the first error, of a file (it
** names file and line) or of 'visit'.
*/
qp_status qp_lua_each_file(qp_lua *l, const char *folder, const char *prelude, qp_lua_visit visit,
                           void *arg, qp_error *err);

#endif
