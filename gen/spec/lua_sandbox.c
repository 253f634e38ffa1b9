/* SPDX-License-Identifier: MIT */
/* The globals of a sandboxed Lua state, and what calls of them are charged. */
#include "gen/spec/lua_sandbox.h"

#include <math.h>
#include <stdbool.h>

#include <lualib.h>

/*
** Functions of the libraries that loop in C, where no hook sees them: each is qp_lua_wrapped so
** that the call is charged what it may cost before it runs: by what goes in, what comes out and how
** often it loops.  Some are taken away.  What is neither here nor taken away costs no more than
** what it allocates, or than one string may be long.
*/
typedef enum cost {
  COST_REMOVED,
  COST_SIZE,
  COST_SORT,
  COST_RANGE,
  COST_CONCAT,
  COST_UNPACK,
  COST_PATTERN,
  COST_REPEAT,
  COST_FORMAT,
  COST_PACK
} cost;

enum { NUMBER_AS_TEXT = 64, SIXTEEN_BYTES = 16 }; /* instructions; bytes copied in one */

static double sizes(lua_State *L) {
  double sum = 0;
  for (int i = 1; i <= lua_gettop(L); i++) {
    const int type = lua_type(L, i);
    if (type == LUA_TSTRING || type == LUA_TTABLE) sum += (double)lua_rawlen(L, i);
  }
  return sum;
}

/* Length of the string that argument i is; 0: it is none. */
static double length_of(lua_State *L, int i) {
  return lua_type(L, i) == LUA_TSTRING ? (double)lua_rawlen(L, i) : 0;
}

/* string.rep(text, n, separator) turns n times, also where nothing is copied; more than the memory
   holds is refused before the first. */
static double cost_of_repeat(lua_State *L) {
  const double n = fmax(0, lua_tonumber(L, 2)), one = length_of(L, 1) + length_of(L, 3);
  if (n * one > (double)qp_lua_of(L)->meter.memory_bytes) return one;
  return n * (1 + one / SIXTEEN_BYTES);
}

/* A comparison looks at whole strings. */
static double cost_of_sort(lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE) return 1;
  const lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  double longest = 0;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    longest = fmax(longest, length_of(L, -1));
    lua_pop(L, 1);
  }
  return 32 * (double)n * (1 + longest / SIXTEEN_BYTES);
}

static double cost_of_format(lua_State *L) {
  double sum = sizes(L);
  const char *format = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
  for (size_t i = 0; i < (size_t)length_of(L, 1); i++) sum += format[i] == '%' ? NUMBER_AS_TEXT : 0;
  return sum;
}

/* The numbers in a format of string.pack are bytes that it writes, up to what the memory holds. */
static double cost_of_pack(lua_State *L) {
  const double most = (double)qp_lua_of(L)->meter.memory_bytes;
  double sum = sizes(L), number = 0;
  const char *format = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
  for (size_t i = 0; i < (size_t)length_of(L, 1); i++) {
    const bool digit = format[i] >= '0' && format[i] <= '9';
    number = digit ? fmin(most, 10 * number + (format[i] - '0')) : 0;
    sum += number;
  }
  return sum;
}

static double cost_of_pattern(lua_State *L) {
  size_t subject = 0, length = 0;
  (void)lua_tolstring(L, 1, &subject);
  const char *pattern = lua_tolstring(L, 2, &length);
  return qp_lua_meter_pattern(pattern, length, subject);
}

/* Arguments 'first' and the one behind it are the ends of a range, where they are given. */
static double range(lua_State *L, int first) {
  return fmax(0, lua_tonumber(L, first + 1) - lua_tonumber(L, first) + 1);
}

static double cost_of(lua_State *L, cost kind) {
  switch (kind) {
  case COST_SORT: return cost_of_sort(L);
  case COST_RANGE: return range(L, 2);
  case COST_CONCAT: return sizes(L) + (lua_isnoneornil(L, 4) ? 0 : range(L, 3));
  case COST_UNPACK: return sizes(L) + range(L, 2);
  case COST_PATTERN: return cost_of_pattern(L);
  case COST_REPEAT: return cost_of_repeat(L);
  case COST_FORMAT: return cost_of_format(L);
  case COST_PACK: return cost_of_pack(L);
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
  qp_lua_check_limit(L, qp_lua_meter_charge(&qp_lua_of(L)->meter, steps > 0 ? steps : 0));
  return qp_lua_wrapped(L);
}

static const struct {
  const char *library, *function; /* library NULL: a global */
  cost kind;
} charged_functions[] = {
    {"string", "byte", COST_SIZE},     {"string", "find", COST_PATTERN},
    {"string", "match", COST_PATTERN}, {"string", "gmatch", COST_PATTERN},
    {"string", "gsub", COST_PATTERN},  {"string", "format", COST_FORMAT},
    {"string", "rep", COST_REPEAT},    {"string", "unpack", COST_SIZE},
    {"string", "pack", COST_PACK},     {"string", "packsize", COST_SIZE},
    {"string", "lower", COST_SIZE},    {"string", "upper", COST_SIZE},
    {"string", "reverse", COST_SIZE},  {"table", "concat", COST_CONCAT},
    {"table", "insert", COST_SIZE},    {"table", "remove", COST_SIZE},
    {"table", "sort", COST_SORT},      {"table", "move", COST_RANGE},
    {"table", "unpack", COST_UNPACK},  {"utf8", "len", COST_SIZE},
    {"utf8", "codepoint", COST_SIZE},  {"utf8", "offset", COST_SIZE},
    {"utf8", "codes", COST_SIZE},      {NULL, "tonumber", COST_SIZE},
    {NULL, "tostring", COST_SIZE},     {"string", "dump", COST_REMOVED},
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
    if (charged_functions[i].library) {
      lua_getfield(L, -1, charged_functions[i].library);
    } else {
      lua_pushvalue(L, -1);
    }
    lua_getfield(L, -1, charged_functions[i].function);
    lua_pushinteger(L, charged_functions[i].kind);
    lua_pushcclosure(L, charged, 2);
    if (charged_functions[i].kind == COST_REMOVED) lua_pushnil(L), lua_replace(L, -2);
    lua_setfield(L, -2, charged_functions[i].function);
    lua_pop(L, 1);
  }
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}
