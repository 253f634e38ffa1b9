/* SPDX-License-Identifier: MIT */
/* Turns a JSON tree into a Lua value:  cJSON --> [text of a Lua table] --> value in the sandbox. */
#ifndef QP_LUA_JSON_H
#define QP_LUA_JSON_H

#include <cjson/cJSON.h>

#include "gen/spec/lua_host.h"

/*
** Objects and arrays become tables, whole numbers become integers, and null becomes false, so that
** it can be told from what is missing.  'name' is what messages call the text.  The caller releases
** '*out'.  QP_E_LIMIT means that there is more than the sandbox holds; QP_E_NOMEM.
*/
qp_status qp_lua_from_json(qp_lua *l, const cJSON *tree, const char *name, qp_lua_ref *out,
                           qp_error *err);

#endif
