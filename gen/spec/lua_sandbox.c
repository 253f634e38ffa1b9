/* SPDX-License-Identifier: MIT */
/* The globals of a sandboxed Lua state, and what calls of them are charged. */
#include "gen/spec/lua_sandbox.h"

#include <math.h>

#include <lualib.h>

/*
** Functions of the libraries that loop in C, where no hook sees them: each is qp_lua_wrapped so
** that the call is charged what it may cost before it runs.  Some are taken away.
*/
typedef enum cost { COST_REMOVED, COST_SIZE, COST_SORT, COST_MOVE, COST_UNPACK, COST_PATTERN } cost;

static double sizes(lua_State *L) {
  double sum = 0;
  for (int i = 1; i <= lua_gettop(L); i++) {
    const int type = lua_type(L, i);
    if (type == LUA_TSTRING || type == LUA_TTABLE) sum += (double)lua_rawlen(L, i);
  }
  return sum;
}

static double cost_of(lua_State *L, cost kind) {
  size_t subject = 0, length = 0;
  switch (kind) {
  case COST_SORT: return 32 * sizes(L);
  case COST_MOVE: return lua_tonumber(L, 3) - lua_tonumber(L, 2) + 1;
  case COST_UNPACK: return sizes(L) + fmax(0, lua_tonumber(L, 3) - lua_tonumber(L, 2));
  case COST_PATTERN: {
    (void)lua_tolstring(L, 1, &subject);
    const char *pattern = lua_tolstring(L, 2, &length);
    return qp_meter_pattern(pattern, length, subject);
  }
  default: return sizes(L);
  }
}

int qp_lua_wrapped(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int charged(lua_State *L) {
  const double steps = cost_of(L, (cost)lua_tointeger(L, lua_upvalueindex(2)));
  qp_lua_check_limit(L, qp_meter_charge(&qp_lua_of(L)->meter, steps > 0 ? steps : 0));
  return qp_lua_wrapped(L);
}

static const struct {
  const char *library, *function;
  cost kind;
} charged_functions[] = {
    {"string", "byte", COST_SIZE},     {"string", "find", COST_PATTERN},
    {"string", "match", COST_PATTERN}, {"string", "gmatch", COST_PATTERN},
    {"string", "gsub", COST_PATTERN},  {"string", "format", COST_SIZE},
    {"string", "rep", COST_SIZE},      {"string", "unpack", COST_SIZE},
    {"table", "concat", COST_SIZE},    {"table", "insert", COST_SIZE},
    {"table", "remove", COST_SIZE},    {"table", "sort", COST_SORT},
    {"table", "move", COST_MOVE},      {"table", "unpack", COST_UNPACK},
    {"utf8", "len", COST_SIZE},        {"utf8", "codepoint", COST_SIZE},
    {"utf8", "offset", COST_SIZE},     {"string", "dump", COST_REMOVED},
    {"math", "random", COST_REMOVED},  {"math", "randomseed", COST_REMOVED},
};

/* ---- The sandbox ---- */

static const char *const base_kept[] = {"assert", "error",    "ipairs",   "next", "pairs",
                                        "select", "tonumber", "tostring", "type", "_VERSION"};

void qp_lua_build_globals(lua_State *L) {
  static const luaL_Reg libraries[] = {{"string", luaopen_string},
                                       {"table", luaopen_table},
                                       {"math", luaopen_math},
                                       {"utf8", luaopen_utf8}};
  luaL_requiref(L, "_G", luaopen_base, 0);
  lua_newtable(L);
  for (size_t i = 0; i < sizeof base_kept / sizeof *base_kept; i++) {
    lua_getfield(L, -2, base_kept[i]);
    lua_setfield(L, -2, base_kept[i]);
  }
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 0);
    lua_setfield(L, -2, libraries[i].name);
  }
  for (size_t i = 0; i < sizeof charged_functions / sizeof *charged_functions; i++) {
    lua_getfield(L, -1, charged_functions[i].library);
    lua_getfield(L, -1, charged_functions[i].function);
    lua_pushinteger(L, charged_functions[i].kind);
    lua_pushcclosure(L, charged, 2);
    if (charged_functions[i].kind == COST_REMOVED) lua_pushnil(L), lua_replace(L, -2);
    lua_setfield(L, -2, charged_functions[i].function);
    lua_pop(L, 1);
  }
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}
