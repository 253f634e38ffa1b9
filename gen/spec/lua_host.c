/* SPDX-License-Identifier: MIT */
/* The Lua sandbox:  text of lua/ --run, trace--> values and IR.  The only file that knows Lua. */
#include "gen/spec/lua_host.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "gen/base/resource.h"
#include "gen/spec/lua_meter.h"
#include "runtime/half.h"

enum { HOOK_EVERY = 1000 }; /* instructions between two looks at the limits */

struct qp_lua {
  lua_State *L;
  qp_meter meter;
  qp_meter_limit hit;
  int seen_line;        /* of the spec, when the limits were last looked at; 0: not yet */
  char prelude[64];     /* its resource path; "" before it has run */
  int prelude_ref;      /* what the prelude returned */
  qp_ir *ir;            /* of the trace that runs */
  uint32_t trace;       /* its number */
  const char *what;     /* is traced */
  const char *fallback; /* where a message points that no line of the spec is to blame for */
};

/* A value of a decode function: a node of the IR of a trace. */
typedef struct value {
  uint32_t trace;
  uint16_t node;
} value;

static const char *const type_name[] = {[QP_WORD] = "word", [QP_HALF] = "half", [QP_PAIR] = "pair"};
static const char *const metatable_name[] = {
    [QP_WORD] = "qpal.word", [QP_HALF] = "qpal.half", [QP_PAIR] = "qpal.pair"};

static qp_lua *host_of(lua_State *L) { return *(qp_lua **)lua_getextraspace(L); }

/* ---- Messages and limits ---- */

/* Position of the innermost line of a spec (not of the prelude, not of C); false if there is none.
 */
static bool user_line(lua_State *L, lua_Debug *ar) {
  const qp_lua *l = host_of(L);
  for (int level = 0; lua_getstack(L, level, ar); level++) {
    if (!lua_getinfo(L, "Sl", ar) || ar->currentline < 0) continue;
    if (ar->source[0] == '@' && !strcmp(ar->source + 1, l->prelude)) continue;
    return true;
  }
  return false;
}

static void push_where(lua_State *L) {
  lua_Debug ar;
  if (user_line(L, &ar)) {
    lua_pushfstring(L, "%s:%d: ", ar.source + 1, ar.currentline);
  } else {
    const qp_lua *l = host_of(L);
    lua_pushfstring(L, "%s%s", l->fallback ? l->fallback : "", l->fallback ? ": " : "");
  }
}

/* Raise the error on the top of the stack, with the spec's line before it. */
static int raise(lua_State *L) {
  const qp_lua *l = host_of(L);
  push_where(L);
  lua_pushfstring(L, "%s%s", l->ir ? l->what : "", l->ir ? ": " : "");
  lua_rotate(L, -3, 2);
  lua_concat(L, 3);
  return lua_error(L);
}

static void check_limit(lua_State *L, qp_meter_limit hit) {
  qp_lua *l = host_of(L);
  if (hit == QP_METER_FINE) return;
  l->hit = hit;
  push_where(L);
  if (hit == QP_METER_SECONDS) {
    lua_pushfstring(L, "took more than %d seconds", (int)QP_METER_MOST_SECONDS);
  } else {
    lua_pushfstring(L,
                    "ran more than %I instructions (or copied as much); is there a loop without "
                    "an end?",
                    (lua_Integer)l->meter.instructions);
  }
  lua_concat(L, 2);
  lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar) {
  qp_lua *l = host_of(L);
  if (!l->meter.running) return;
  if (user_line(L, ar)) l->seen_line = ar->currentline;
  check_limit(L, qp_meter_tick(&l->meter, HOOK_EVERY));
}

/*
** Functions of the libraries that loop in C, where no hook sees them: each is wrapped so that the
** call is charged what it may cost before it runs.  Some are taken away.
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

/* Call the function that is the first upvalue. */
static int wrapped(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static int charged(lua_State *L) {
  const double steps = cost_of(L, (cost)lua_tointeger(L, lua_upvalueindex(2)));
  check_limit(L, qp_meter_charge(&host_of(L)->meter, steps > 0 ? steps : 0));
  return wrapped(L);
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

/* Globals: what base_kept names, and the libraries that reach nothing outside. */
static void build_globals(lua_State *L) {
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

/* ---- Primitives of the prelude ---- */

static value *value_at(lua_State *L, int index, qp_ir_type *type) {
  if (lua_type(L, index) != LUA_TUSERDATA) return NULL;
  for (qp_ir_type t = QP_WORD; t <= QP_PAIR; t++) {
    value *v = luaL_testudata(L, index, metatable_name[t]);
    if (v) {
      *type = t;
      return v;
    }
  }
  return NULL;
}

static int push_value(lua_State *L, int node) {
  qp_lua *l = host_of(L);
  if (node < 0) {
    lua_pushfstring(L, "it needs more than %d operations", (int)QP_IR_MAX_NODES);
    return raise(L);
  }
  value *v = lua_newuserdatauv(L, sizeof *v, 0);
  v->trace = l->trace;
  v->node = (uint16_t)node;
  luaL_setmetatable(L, metatable_name[qp_ir_type_of(l->ir, v->node)]);
  return 1;
}

static qp_ir *tracing(lua_State *L, const char *what) {
  qp_lua *l = host_of(L);
  if (!l->ir) {
    lua_pushfstring(L, "%s: only a decode function can make or use values", what);
    raise(L);
  }
  return l->ir;
}

/* The node of an operand, of the type that 'letter' (of an op's args) says. */
static int operand(lua_State *L, int index, char letter, const char *what) {
  qp_ir *ir = tracing(L, what);
  qp_ir_type type = QP_WORD;
  const value *v = value_at(L, index, &type);
  if (!v && letter == 'w' && lua_isinteger(L, index)) {
    const int node = qp_ir_add(ir, QP_IR_CONST, NULL, (uint32_t)lua_tointeger(L, index), 0);
    if (node >= 0) return node;
    push_value(L, node);
  }
  if (v && v->trace != host_of(L)->trace) {
    lua_pushfstring(L, "%s: the value is of another decode function or an earlier call", what);
    raise(L);
  }
  if (!v || type_name[type][0] != letter) {
    lua_pushfstring(L, "%s: operand %d has a wrong type (%s)", what, index - 3,
                    v ? type_name[type] : luaL_typename(L, index));
    raise(L);
  }
  return v->node;
}

/* op(name, imm, imm2, operands...): a value, or of integers alone an integer. */
static int prim_op(lua_State *L) {
  const qp_ir_op op = qp_ir_op_find(luaL_checkstring(L, 1));
  const uint32_t imm = (uint32_t)luaL_checkinteger(L, 2);
  const uint32_t imm2 = (uint32_t)luaL_checkinteger(L, 3);
  if (op == QP_IR_OP_COUNT) return luaL_error(L, "no operation '%s'", lua_tostring(L, 1));
  const qp_ir_op_info *row = qp_ir_op_row(op);
  lua_settop(L, 3 + (int)row->arity);
  bool known = row->result == QP_WORD;
  uint32_t words[3] = {0};
  for (unsigned i = 0; i < row->arity; i++) {
    known = known && row->args[i] == 'w' && lua_isinteger(L, 4 + (int)i);
    if (known) words[i] = (uint32_t)lua_tointeger(L, 4 + (int)i);
  }
  if (known) {
    lua_pushinteger(L, qp_ir_op_evaluate(op, words, imm, imm2, &(qp_ir_env){.input = {0}}));
    return 1;
  }
  int args[3] = {0};
  for (unsigned i = 0; i < row->arity; i++)
    args[i] = operand(L, 4 + (int)i, row->args[i], row->name);
  return push_value(L, qp_ir_add(tracing(L, row->name), op, args, imm, imm2));
}

static int prim_type(lua_State *L) {
  qp_ir_type type = QP_WORD;
  if (!value_at(L, 1, &type)) return 0;
  lua_pushstring(L, type_name[type]);
  return 1;
}

static int prim_constant(lua_State *L) {
  const uint32_t word = (uint32_t)luaL_checkinteger(L, 1);
  return push_value(L, qp_ir_add(tracing(L, "a word"), QP_IR_CONST, NULL, word, 0));
}

static int prim_half(lua_State *L) {
  const uint16_t bits = qp_double_to_half(luaL_checknumber(L, 1));
  return push_value(L, qp_ir_add(tracing(L, "a half"), QP_IR_HALF_CONST, NULL, bits, 0));
}

static int prim_input(lua_State *L) {
  const uint32_t number = (uint32_t)luaL_checkinteger(L, 1);
  const qp_ir_op op = lua_toboolean(L, 2) ? QP_IR_INPUT_H : QP_IR_INPUT;
  return push_value(L, qp_ir_add(tracing(L, "input"), op, NULL, number, 0));
}

static int prim_output(lua_State *L) {
  qp_ir_type type = QP_WORD;
  qp_ir *ir = tracing(L, "output");
  if (!value_at(L, 1, &type) || type == QP_WORD) return luaL_error(L, "not a half or pair");
  const int node = operand(L, 1, type_name[type][0], "result");
  if (ir->outputs == QP_IR_MAX_OUTPUTS) {
    lua_pushfstring(L, "it returns more than %d values", (int)QP_IR_MAX_OUTPUTS);
    return raise(L);
  }
  ir->output[ir->outputs++] = (uint16_t)node;
  return 0;
}

/* The integer that a word is known to be, or nil. */
static int prim_value(lua_State *L) {
  qp_ir_type type = QP_WORD;
  const value *v = value_at(L, 1, &type);
  const qp_lua *l = host_of(L);
  uint32_t known = 0;
  if (!v || !l->ir || v->trace != l->trace || !qp_ir_is_const(l->ir, v->node, &known)) return 0;
  lua_pushinteger(L, known);
  return 1;
}

static int prim_fail(lua_State *L) {
  lua_settop(L, 1);
  return raise(L);
}

static int prim_line(lua_State *L) {
  lua_Debug ar;
  lua_pushinteger(L, user_line(L, &ar) ? ar.currentline : 0);
  return 1;
}

static int prim_setmetatable(lua_State *L) {
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

static int prim_wrap(lua_State *L) {
  lua_settop(L, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

/* { { op =, form = "eq(a, b)", arity = 2 }, ... } of all ops that are functions of words. */
static void push_functions(lua_State *L) {
  lua_newtable(L);
  for (unsigned op = 0; op < QP_IR_OP_COUNT; op++) {
    const qp_ir_op_info *row = qp_ir_op_row(op);
    if (!*row->spec) continue;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, row->name);
    lua_setfield(L, -2, "op");
    lua_pushstring(L, row->spec);
    lua_setfield(L, -2, "form");
    lua_pushinteger(L, (lua_Integer)row->arity);
    lua_setfield(L, -2, "arity");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
}

static void push_primitives(lua_State *L) {
  static const luaL_Reg functions[] = {{"op", prim_op},
                                       {"type", prim_type},
                                       {"constant", prim_constant},
                                       {"half", prim_half},
                                       {"input", prim_input},
                                       {"output", prim_output},
                                       {"value", prim_value},
                                       {"fail", prim_fail},
                                       {"line", prim_line},
                                       {"setmetatable", prim_setmetatable},
                                       {"wrap", prim_wrap},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushinteger(L, QP_IN_STATE);
  lua_setfield(L, -2, "STATE");
  lua_pushinteger(L, QP_IN_GROUP);
  lua_setfield(L, -2, "GROUP");
  lua_newtable(L);
  for (qp_ir_type t = QP_WORD; t <= QP_PAIR; t++) {
    luaL_newmetatable(L, metatable_name[t]);
    lua_setfield(L, -2, type_name[t]);
  }
  lua_setfield(L, -2, "metatable");
  push_functions(L);
  lua_setfield(L, -2, "functions");
}

/* ---- Protected calls ---- */

/* What follows 'prefix' in 'text'; NULL if it does not begin so. */
static const char *after(const char *text, const char *prefix) {
  while (*prefix && *text == *prefix) text++, prefix++;
  return *prefix ? NULL : text;
}

/*
** Messages begin with the spec's file and line.  Lua cuts long file names, and blames the prelude
** for what happens inside it.
*/
static int on_error(lua_State *L) {
  lua_Debug ar;
  if (lua_type(L, 1) != LUA_TSTRING) {
    lua_pushfstring(L, "error without a message, but with a %s", luaL_typename(L, 1));
    lua_replace(L, 1);
  }
  const char *text = lua_tostring(L, 1);
  if (!user_line(L, &ar)) return 1;
  const char *whole = after(text, ar.source + 1), *cut = after(text, ar.short_src);
  if (whole && *whole == ':') return 1;
  if (cut && *cut == ':') {
    lua_pushfstring(L, "%s%s", ar.source + 1, cut);
  } else {
    lua_pushfstring(L, "%s:%d: %s", ar.source + 1, ar.currentline, text);
  }
  return 1;
}

/* Lua gives no position with this error. */
static qp_status fail_memory(const qp_lua *l, qp_error *err) {
  char line[48] = "";
  if (l->seen_line) snprintf(line, sizeof line, " (last seen at line %d)", l->seen_line);
  return qp_fail(err, QP_E_LIMIT, "%s%sneeds more than %zu MiB of memory%s",
                 l->fallback ? l->fallback : "", l->fallback ? ": " : "",
                 l->meter.memory_bytes >> 20, line);
}

/*
** Call f(arg) where errors are caught.  'guarded': under the limits, as code of a spec runs.  The
** stack is as before afterwards.
*/
static qp_status protect(qp_lua *l, bool guarded, lua_CFunction f, void *arg, qp_error *err) {
  lua_State *L = l->L;
  const int top = lua_gettop(L);
  l->hit = QP_METER_FINE;
  l->seen_line = 0;
  lua_pushcfunction(L, on_error);
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, arg);
  qp_meter_start(&l->meter, guarded);
  const int rc = lua_pcall(L, 1, 0, top + 1);
  l->meter.running = false;
  qp_status status = QP_OK;
  if (rc == LUA_ERRMEM) {
    status = guarded ? fail_memory(l, err) : qp_fail(err, QP_E_NOMEM, "out of memory");
  } else if (rc != LUA_OK) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error in an error";
    status = qp_fail(err, l->hit ? QP_E_LIMIT : QP_E_ARG, "%s", text);
  }
  lua_settop(L, top);
  return status;
}

/* Keep the value on top of the stack; always 0, for a C function to return. */
static int make_ref(lua_State *L, qp_lua_ref *out) {
  const int ref = luaL_ref(L, LUA_REGISTRYINDEX);
  *out = ref == LUA_REFNIL ? 0 : ref;
  return 0;
}

static void push_ref(lua_State *L, qp_lua_ref v) {
  if (v > 0) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, v);
  } else {
    lua_pushnil(L);
  }
}

static int do_open(lua_State *L) {
  build_globals(L);
  return 0;
}

qp_status qp_lua_open(const qp_lua_limits *limits, qp_lua **out, qp_error *err) {
  qp_lua *l = calloc(1, sizeof *l);
  if (!l) return qp_fail(err, QP_E_NOMEM, "out of memory");
  l->meter.memory_bytes = limits && limits->memory_bytes ? limits->memory_bytes : (size_t)64 << 20;
  l->meter.instructions = limits && limits->instructions ? limits->instructions : 200000000;
  l->L = lua_newstate(qp_meter_allocate, &l->meter);
  if (!l->L) {
    qp_lua_close(l);
    return qp_fail(err, QP_E_NOMEM, "out of memory");
  }
  *(qp_lua **)lua_getextraspace(l->L) = l;
  const qp_status status = protect(l, false, do_open, NULL, err);
  if (status != QP_OK) {
    qp_lua_close(l);
    return status;
  }
  lua_sethook(l->L, on_count, LUA_MASKCOUNT, HOOK_EVERY);
  *out = l;
  return QP_OK;
}

void qp_lua_close(qp_lua *l) {
  if (!l) return;
  if (l->L) lua_close(l->L);
  free(l);
}

/* ---- Running ---- */

typedef struct run_job {
  const char *file, *text;
  size_t bytes;
  bool with_primitives;
  qp_lua_ref *result;
} run_job;

/* Push the chunk, or raise its syntax error with the whole file name. */
static void push_chunk(lua_State *L, const run_job *job) {
  lua_Debug ar;
  const char *name = lua_pushfstring(L, "@%s", job->file);
  const int rc = luaL_loadbufferx(L, job->text, job->bytes, name, "t");
  if (rc == LUA_OK) return;
  if (rc == LUA_ERRMEM) lua_error(L);
  const char *message = lua_tostring(L, -1);
  if (luaL_loadbufferx(L, "", 0, name, "t") != LUA_OK || !lua_getinfo(L, ">S", &ar)) {
    lua_error(L);
    return; /* never: for readers of the code that do not know Lua */
  }
  const char *rest = after(message, ar.short_src);
  lua_pushfstring(L, "%s%s%s", job->file, rest ? "" : ": ", rest ? rest : message);
  lua_error(L);
}

static int do_run(lua_State *L) {
  const run_job *job = lua_touserdata(L, 1);
  push_chunk(L, job);
  if (job->with_primitives) push_primitives(L);
  const int base = lua_gettop(L) - 1 - job->with_primitives;
  lua_call(L, job->with_primitives, LUA_MULTRET);
  const int results = lua_gettop(L) - base;
  if (results > 1) {
    return luaL_error(L, "%s: returns %d values; return one, which may be a list", job->file,
                      results);
  }
  lua_settop(L, base + 1); /* nil where there is no result */
  return make_ref(L, job->result);
}

static qp_status run_prelude(qp_lua *l, const char *path, qp_error *err) {
  if (l->prelude[0]) {
    if (!strcmp(path, l->prelude)) return QP_OK;
    return qp_fail(err, QP_E_ARG, "%s: the state has run another prelude, %s", path, l->prelude);
  }
  if (strlen(path) >= sizeof l->prelude) return qp_fail(err, QP_E_ARG, "%s: path too long", path);
  const char *text;
  size_t bytes;
  const qp_status status = qp_resource_read(path, &text, &bytes, err);
  if (status != QP_OK) return status;
  run_job job = {path, text, bytes, true, &l->prelude_ref};
  const qp_status ran = protect(l, true, do_run, &job, err);
  if (ran == QP_OK) memcpy(l->prelude, path, strlen(path) + 1);
  return ran;
}

qp_status qp_lua_run(qp_lua *l, const char *prelude, const char *file, const char *text,
                     size_t bytes, qp_lua_ref *result, qp_error *err) {
  qp_status status = prelude ? run_prelude(l, prelude, err) : QP_OK;
  if (status != QP_OK) return status;
  qp_lua_ref ref = 0;
  run_job job = {file, text, bytes, false, &ref};
  l->fallback = file;
  status = protect(l, true, do_run, &job, err);
  l->fallback = NULL;
  if (status == QP_OK) *result = ref;
  return status;
}

/* ---- Reading values ---- */

/* Replace the table on top by its element 'key': a string, or a number where it is all digits. */
static bool step_into(lua_State *L, const char *key, size_t bytes) {
  if (lua_type(L, -1) != LUA_TTABLE || bytes == 0) return false;
  lua_pushlstring(L, key, bytes);
  if (strspn(key, "0123456789") >= bytes && bytes < 16) {
    lua_pushinteger(L, (lua_Integer)strtoull(key, NULL, 10));
    lua_replace(L, -2);
  }
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return true;
}

static void push_path(lua_State *L, qp_lua_ref v, const char *path) {
  push_ref(L, v);
  while (*path) {
    const size_t bytes = strcspn(path, ".");
    if (!step_into(L, path, bytes)) {
      lua_pop(L, 1);
      lua_pushnil(L);
      return;
    }
    path += bytes + (path[bytes] == '.');
  }
}

static qp_lua_type type_at(lua_State *L, int index) {
  static const qp_lua_type types[] = {
      [LUA_TNIL] = QP_LUA_NIL,       [LUA_TBOOLEAN] = QP_LUA_BOOLEAN,
      [LUA_TNUMBER] = QP_LUA_NUMBER, [LUA_TSTRING] = QP_LUA_STRING,
      [LUA_TTABLE] = QP_LUA_TABLE,   [LUA_TFUNCTION] = QP_LUA_FUNCTION};
  const int type = lua_type(L, index);
  if (lua_isinteger(L, index)) return QP_LUA_INTEGER;
  if (type == LUA_TLIGHTUSERDATA || type > LUA_TFUNCTION) return QP_LUA_OTHER;
  return types[type];
}

/* One value that is looked at, and all that is asked of it. */
typedef struct look {
  qp_lua_ref v;
  const char *path;
  qp_lua_type type;
  bool boolean;
  lua_Integer integer;
  bool is_integer;
  double number;
  const char *string;
  size_t length;
  int first_line, last_line;
  bool want_ref;
  qp_lua_ref ref;
} look;

static int do_look(lua_State *L) {
  look *k = lua_touserdata(L, 1);
  push_path(L, k->v, k->path);
  k->type = type_at(L, -1);
  if (k->want_ref) return make_ref(L, &k->ref);
  k->boolean = lua_toboolean(L, -1);
  if (k->type == QP_LUA_INTEGER || k->type == QP_LUA_NUMBER) {
    int exact = 0;
    k->integer = lua_tointegerx(L, -1, &exact);
    k->is_integer = exact;
    k->number = lua_tonumber(L, -1);
  }
  if (k->type == QP_LUA_TABLE) k->length = (size_t)lua_rawlen(L, -1);
  if (k->type == QP_LUA_STRING) { /* kept alive in the registry, under itself */
    k->string = lua_tostring(L, -1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "qpal.strings");
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
  }
  if (k->type == QP_LUA_FUNCTION && !lua_iscfunction(L, -1)) {
    lua_Debug ar;
    if (lua_getinfo(L, ">S", &ar)) k->first_line = ar.linedefined;
    k->last_line = ar.lastlinedefined;
  }
  return 0;
}

static look look_at(qp_lua *l, qp_lua_ref v, const char *path) {
  look k = {.v = v, .path = path};
  if (protect(l, false, do_look, &k, NULL) != QP_OK) k = (look){.type = QP_LUA_NIL};
  return k;
}

qp_lua_type qp_lua_type_of(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).type;
}

bool qp_lua_get_boolean(qp_lua *l, qp_lua_ref v, const char *path, bool *out) {
  const look k = look_at(l, v, path);
  if (k.type != QP_LUA_BOOLEAN) return false;
  *out = k.boolean;
  return true;
}

bool qp_lua_get_integer(qp_lua *l, qp_lua_ref v, const char *path, int64_t *out) {
  const look k = look_at(l, v, path);
  if (!k.is_integer) return false;
  *out = k.integer;
  return true;
}

bool qp_lua_get_number(qp_lua *l, qp_lua_ref v, const char *path, double *out) {
  const look k = look_at(l, v, path);
  if (k.type != QP_LUA_INTEGER && k.type != QP_LUA_NUMBER) return false;
  *out = k.number;
  return true;
}

const char *qp_lua_get_string(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).string;
}

size_t qp_lua_length(qp_lua *l, qp_lua_ref v, const char *path) {
  return look_at(l, v, path).length;
}

bool qp_lua_get_lines(qp_lua *l, qp_lua_ref v, const char *path, int *first, int *last) {
  const look k = look_at(l, v, path);
  if (k.first_line <= 0) return false;
  *first = k.first_line;
  *last = k.last_line;
  return true;
}

qp_status qp_lua_get(qp_lua *l, qp_lua_ref v, const char *path, qp_lua_ref *out, qp_error *err) {
  look k = {.v = v, .path = path, .want_ref = true};
  const qp_status status = protect(l, false, do_look, &k, err);
  if (status == QP_OK) *out = k.ref;
  return status;
}

void qp_lua_release(qp_lua *l, qp_lua_ref v) {
  if (v > 0) luaL_unref(l->L, LUA_REGISTRYINDEX, v); /* sets existing fields: allocates nothing */
}

typedef struct keys_job {
  qp_lua_ref v;
  const char *path;
  size_t count;
  const char **keys;
} keys_job;

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One pass measures, the next copies. */
static int do_keys(lua_State *L) {
  keys_job *job = lua_touserdata(L, 1);
  push_path(L, job->v, job->path);
  size_t bytes = 0;
  for (int pass = 0; pass < 2 && lua_type(L, -1) == LUA_TTABLE; pass++) {
    char *text = NULL;
    if (pass) {
      job->keys = job->count ? malloc(job->count * sizeof *job->keys + bytes) : NULL;
      if (!job->keys) return 0;
      text = (char *)(job->keys + job->count);
    }
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (lua_type(L, -2) != LUA_TSTRING) continue;
      const char *key = lua_tostring(L, -2);
      const size_t length = strlen(key) + 1;
      if (pass) text = (char *)memcpy(text, key, length), job->keys[i] = text, text += length;
      bytes += length;
      job->count = ++i;
    }
  }
  return 0;
}

size_t qp_lua_keys(qp_lua *l, qp_lua_ref v, const char *path, const char ***keys) {
  keys_job job = {.v = v, .path = path};
  *keys = NULL;
  if (protect(l, false, do_keys, &job, NULL) != QP_OK || !job.keys) return 0;
  qsort(job.keys, job.count, sizeof *job.keys, by_text);
  *keys = job.keys;
  return job.count;
}

typedef struct numbers_job {
  qp_lua_ref v;
  const char *path;
  size_t count, wrong; /* items; the first that is no number */
  double *values;      /* NULL: no list, or out of memory */
  bool is_list;
} numbers_job;

static int do_numbers(lua_State *L) {
  numbers_job *job = lua_touserdata(L, 1);
  push_path(L, job->v, job->path);
  job->is_list = lua_type(L, -1) == LUA_TTABLE;
  if (!job->is_list) return 0;
  job->count = (size_t)lua_rawlen(L, -1);
  job->values = malloc((job->count + 1) * sizeof *job->values);
  for (size_t i = 0; job->values && i < job->count && !job->wrong; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TNUMBER) job->wrong = i + 1;
    job->values[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  return 0;
}

qp_status qp_lua_get_numbers(qp_lua *l, qp_lua_ref v, const char *path, double **values,
                             size_t *count, qp_error *err) {
  numbers_job job = {.v = v, .path = path};
  qp_status status = protect(l, false, do_numbers, &job, err);
  if (status == QP_OK && !job.is_list)
    status = qp_fail(err, QP_E_ARG, "should be a list of numbers");
  if (status == QP_OK && !job.values) status = qp_fail(err, QP_E_NOMEM, "out of memory");
  if (status == QP_OK && job.wrong) {
    status = qp_fail(err, QP_E_ARG, "item %zu is no number", job.wrong);
  }
  if (status != QP_OK) {
    free(job.values);
    return status;
  }
  *values = job.values;
  *count = job.count;
  return QP_OK;
}

/* ---- Calling ---- */

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

static void push_table(lua_State *L, const qp_lua_table *t) {
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
  push_ref(L, job->v);
  for (size_t i = 0; i < job->n; i++) push_table(L, &job->args[i]);
  lua_call(L, (int)job->n, 2);
  make_ref(L, &job->second);
  return make_ref(L, &job->result);
}

qp_status qp_lua_call(qp_lua *l, qp_lua_ref v, const qp_lua_table *args, size_t n,
                      qp_lua_ref *result, qp_lua_ref *second, qp_error *err) {
  call_job job = {v, args, n, 0, 0};
  const qp_status status = protect(l, true, do_call, &job, err);
  if (status != QP_OK) return status;
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
  push_ref(L, job->v);
  push_ref(L, job->argument);
  lua_call(L, 1, 1);
  return make_ref(L, &job->result);
}

qp_status qp_lua_apply(qp_lua *l, qp_lua_ref v, qp_lua_ref argument, qp_lua_ref *result,
                       qp_error *err) {
  apply_job job = {v, argument, 0};
  const qp_status status = protect(l, true, do_apply, &job, err);
  if (status == QP_OK) *result = job.result;
  return status;
}

/* ---- Tracing ---- */

typedef struct trace_job {
  qp_lua *lua;
  qp_lua_ref v;
  const char *path;
  const qp_lua_decode *decode;
} trace_job;

/* The table of numbers and strings 'field', as item i of the table below. */
static void push_item(lua_State *L, const qp_lua_field *field, size_t fields, unsigned i) {
  push_table(L, &(qp_lua_table){field, fields});
  lua_rawseti(L, -2, (lua_Integer)i + 1);
}

/* What the prelude's trace() is told: { dim =, named =, state =, codebooks = {}, fields = {} }. */
static void push_shape(lua_State *L, const qp_lua_decode *d) {
  const qp_lua_field top[] = {
      {"dim", NULL, d->dim}, {"named", NULL, d->named}, {"state", NULL, d->state ? *d->state : 0}};
  push_table(L, &(qp_lua_table){top, d->state ? 3 : 2});
  lua_newtable(L);
  for (unsigned i = 0; i < d->codebooks; i++) {
    const qp_lua_field book[] = {{"name", d->codebook[i].name, 0},
                                 {"entries", NULL, d->codebook[i].entries},
                                 {"dim", NULL, d->codebook[i].dim}};
    push_item(L, book, 3, i);
  }
  lua_setfield(L, -2, "codebooks");
  lua_newtable(L);
  for (unsigned i = 0; i < d->fields; i++) {
    const qp_lua_field field[] = {{"name", d->field[i].name, 0}, {"half", NULL, d->field[i].half}};
    push_item(L, field, 2, i);
  }
  lua_setfield(L, -2, "fields");
}

static int do_trace(lua_State *L) {
  const trace_job *job = lua_touserdata(L, 1);
  push_ref(L, job->lua->prelude_ref);
  if (!step_into(L, "trace", strlen("trace"))) return luaL_error(L, "the prelude has not run");
  push_path(L, job->v, job->path);
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
  const qp_status status = protect(l, true, do_trace, &job, err);
  l->fallback = NULL;
  l->ir = NULL;
  if (status != QP_OK) ir->outputs = 0;
  return status;
}
