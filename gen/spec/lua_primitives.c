/* SPDX-License-Identifier: MIT */
/* What lua/prelude.lua is built from: symbolic values as userdata. */
#include "gen/spec/lua_primitives.h"

#include <string.h>

#include "gen/base/suggest.h"
#include "gen/spec/lua_sandbox.h"
#include "runtime/half.h"

/* A value of a decode function: a node of the IR of a trace. */
typedef struct value {
  uint32_t trace;
  uint16_t node;
} value;

static const char *const type_name[] = {
    [QP_WORD] = "word", [QP_HALF] = "half", [QP_PAIR] = "pair", [QP_SINGLE] = "single"};
static const char *const metatable_name[] = {[QP_WORD] = "qpal.word",
                                             [QP_HALF] = "qpal.half",
                                             [QP_PAIR] = "qpal.pair",
                                             [QP_SINGLE] = "qpal.single"};

static value *value_at(lua_State *L, int index, qp_ir_type *type) {
  if (lua_type(L, index) != LUA_TUSERDATA) return NULL;
  for (qp_ir_type t = QP_WORD; t <= QP_SINGLE; t++) {
    value *v = luaL_testudata(L, index, metatable_name[t]);
    if (v) {
      *type = t;
      return v;
    }
  }
  return NULL;
}

static int push_value(lua_State *L, int node) {
  qp_lua *l = qp_lua_of(L);
  if (node < 0 && l->ir->count < QP_IR_MAX_NODES) { /* there was no memory for one */
    l->missed = true;
    lua_pushliteral(L, "out of memory");
    return qp_lua_raise(L);
  }
  if (node < 0) {
    lua_pushfstring(L, "it needs more than %d operations", (int)QP_IR_MAX_NODES);
    return qp_lua_raise(L);
  }
  value *v = lua_newuserdatauv(L, sizeof *v, 0);
  v->trace = l->trace;
  v->node = (uint16_t)node;
  luaL_setmetatable(L, metatable_name[qp_ir_type_of(l->ir, v->node)]);
  return 1;
}

static qp_ir *tracing(lua_State *L, const char *what) {
  qp_lua *l = qp_lua_of(L);
  if (!l->ir) {
    lua_pushfstring(L, "%s: only a decode function can make or use values", what);
    qp_lua_raise(L);
  }
  return l->ir;
}

/* The node of an operand, of the type that 'letter' (of an op's args) says; what raises does not
   come back. */
static int operand(lua_State *L, int index, char letter, const char *what) {
  qp_ir *ir = tracing(L, what);
  qp_ir_type type = QP_WORD;
  const value *v = value_at(L, index, &type);
  if (!v && letter == 'w' && lua_isinteger(L, index)) {
    const int node = qp_ir_add(ir, QP_IR_CONST, NULL, (uint32_t)lua_tointeger(L, index), 0);
    return node >= 0 ? node : push_value(L, node);
  }
  if (v && v->trace != qp_lua_of(L)->trace) {
    lua_pushfstring(L, "%s: the value is of another decode function or an earlier call", what);
    return qp_lua_raise(L);
  }
  if (!v || type_name[type][0] != letter) {
    lua_pushfstring(L, "%s: operand %d has a wrong type (%s)", what, index - 3,
                    v ? type_name[type] : luaL_typename(L, index));
    return qp_lua_raise(L);
  }
  return v->node;
}

/* Make op(name, imm, imm2, operands...): a value, or of integers alone an integer. */
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

static int prim_single(lua_State *L) {
  const uint32_t bits = qp_float_bits((float)luaL_checknumber(L, 1));
  return push_value(L, qp_ir_add_constant(tracing(L, "a single"), QP_SINGLE, bits));
}

static int prim_input(lua_State *L) {
  const uint32_t number = (uint32_t)luaL_checkinteger(L, 1);
  const qp_ir_op op = lua_toboolean(L, 2) ? QP_IR_INPUT_H : QP_IR_INPUT;
  return push_value(L, qp_ir_add(tracing(L, "input"), op, NULL, number, 0));
}

static int prim_output(lua_State *L) {
  qp_ir_type type = QP_WORD;
  qp_ir *ir = tracing(L, "output");
  if (!value_at(L, 1, &type) || type == QP_WORD || type == QP_SINGLE)
    return luaL_error(L, "not a half or pair");
  const int node = operand(L, 1, type_name[type][0], "result");
  if (ir->outputs == QP_IR_MAX_OUTPUTS) {
    lua_pushfstring(L, "it returns more than %d values", (int)QP_IR_MAX_OUTPUTS);
    return qp_lua_raise(L);
  }
  ir->output[ir->outputs++] = (uint16_t)node;
  return 0;
}

/* The integer that a word is known to be, or nil. */
static int prim_value(lua_State *L) {
  qp_ir_type type = QP_WORD;
  const value *v = value_at(L, 1, &type);
  const qp_lua *l = qp_lua_of(L);
  uint32_t known = 0;
  if (!v || !l->ir || v->trace != l->trace || !qp_ir_is_const(l->ir, v->node, &known)) return 0;
  lua_pushinteger(L, known);
  return 1;
}

static int prim_fail(lua_State *L) {
  lua_settop(L, 1);
  return qp_lua_raise(L);
}

static int prim_line(lua_State *L) {
  lua_Debug ar;
  lua_pushinteger(L, qp_lua_user_line(L, &ar) ? ar.currentline : 0);
  return 1;
}

static int prim_setmetatable(lua_State *L) {
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

static int prim_wrap(lua_State *L) {
  lua_settop(L, 1);
  lua_pushcclosure(L, qp_lua_wrapped, 1);
  return 1;
}

/* The name of a list of at most 256 that is nearest to a word, or nil. */
static int prim_suggest(lua_State *L) {
  const char *names[256];
  const char *word = luaL_checkstring(L, 1);
  size_t count = 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  const lua_Unsigned length = lua_rawlen(L, 2);
  luaL_checkstack(L, 256, "names");
  for (lua_Unsigned i = 1; i <= length && count < 256; i++) {
    if (lua_rawgeti(L, 2, (lua_Integer)i) == LUA_TSTRING) names[count++] = lua_tostring(L, -1);
  }
  lua_pushstring(L, qp_suggest(word, names, count));
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

void qp_lua_push_primitives(lua_State *L) {
  static const luaL_Reg functions[] = {{"op", prim_op},
                                       {"type", prim_type},
                                       {"constant", prim_constant},
                                       {"half", prim_half},
                                       {"single", prim_single},
                                       {"input", prim_input},
                                       {"output", prim_output},
                                       {"value", prim_value},
                                       {"fail", prim_fail},
                                       {"line", prim_line},
                                       {"setmetatable", prim_setmetatable},
                                       {"suggest", prim_suggest},
                                       {"wrap", prim_wrap},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushinteger(L, QP_IN_STATE);
  lua_setfield(L, -2, "STATE");
  lua_pushinteger(L, QP_IN_GROUP);
  lua_setfield(L, -2, "GROUP");
  lua_newtable(L);
  for (qp_ir_type t = QP_WORD; t <= QP_SINGLE; t++) {
    luaL_newmetatable(L, metatable_name[t]);
    lua_setfield(L, -2, type_name[t]);
  }
  lua_setfield(L, -2, "metatable");
  push_functions(L);
  lua_setfield(L, -2, "functions");
}
