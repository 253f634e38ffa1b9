/* SPDX-License-Identifier: MIT */
/* Reads Lua's grammar (its manual, section 9) and puts calls around what decides. */
#include "gen/spec/spec_guard.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "gen/spec/lua_text.h"
#include "runtime/list.h"

enum { MOST_DEPTH = 190 /* as Lua itself */, MOST_QUOTED = 60 };

/* What becomes of a place of the text, in the order in which changes of one place follow. */
typedef enum change { CLOSE, COMMA, OPEN } change;

typedef struct edit {
  change kind;
  const char *at;
  const char *name;      /* OPEN: of the function */
  const char *from, *to; /* CLOSE: what is quoted */
  size_t order;          /* in which they were found: inner ones first */
} edit;

typedef struct reader {
  qp_lua_token t;  /* the next token */
  const char *end; /* of the one before */
  unsigned depth;
  bool failed;
  edit *list;
  size_t count, capacity;
} reader;

static bool is(const reader *r, const char *word) { return qp_lua_token_is(r->t, word); }

static void advance(reader *r) {
  r->end = r->t.at + r->t.length;
  r->t = qp_lua_token_at(r->end);
}

static bool accept(reader *r, const char *word) {
  if (!is(r, word)) return false;
  advance(r);
  return true;
}

static void expect(reader *r, const char *word) {
  if (!accept(r, word)) r->failed = true;
}

static bool is_name(qp_lua_token t) {
  static const char *const keywords[] = {"and",   "break", "do",       "else",  "elseif", "end",
                                         "false", "for",   "function", "goto",  "if",     "in",
                                         "local", "nil",   "not",      "or",    "repeat", "return",
                                         "then",  "true",  "until",    "while", NULL};
  return t.length && (isalpha((unsigned char)*t.at) || *t.at == '_') &&
         !qp_lua_token_is_one_of(t, keywords);
}

static void name(reader *r) {
  if (!is_name(r->t)) r->failed = true;
  advance(r);
}

static bool enter(reader *r) {
  if (++r->depth > MOST_DEPTH || !r->t.length) r->failed = true;
  return !r->failed;
}

/* ---- Changes ---- */

static void add(reader *r, edit e) {
  edit *larger = qp_list_room(r->list, r->count, &r->capacity, sizeof *r->list);
  if (!larger) {
    r->failed = true;
    return;
  }
  r->list = larger;
  e.order = r->count;
  r->list[r->count++] = e;
}

/* A call around what ends here. */
static void wrap(reader *r, const char *function, const char *begin, const char *end,
                 const char *from, const char *to) {
  add(r, (edit){.kind = OPEN, .at = begin, .name = function});
  add(r, (edit){.kind = CLOSE, .at = end, .from = from, .to = to});
}

/* ---- Expressions ---- */

static void expression(reader *r, int limit);
static void block(reader *r);

static void expressions(reader *r) {
  do expression(r, 0);
  while (!r->failed && accept(r, ","));
}

/* From its parameters on. */
static void function(reader *r) {
  expect(r, "(");
  while (!r->failed && !is(r, ")")) {
    if (!accept(r, "...")) name(r);
    if (!accept(r, ",")) break;
  }
  expect(r, ")");
  block(r);
  expect(r, "end");
}

static void table(reader *r) {
  expect(r, "{");
  while (!r->failed && !is(r, "}")) {
    if (accept(r, "[")) {
      expression(r, 0);
      expect(r, "]");
      expect(r, "=");
    } else if (is_name(r->t) && qp_lua_token_is(qp_lua_token_at(r->t.at + r->t.length), "=")) {
      advance(r);
      advance(r);
    }
    expression(r, 0);
    if (!accept(r, ",") && !accept(r, ";")) break;
  }
  expect(r, "}");
}

static bool is_string(qp_lua_token t) {
  return t.length && (*t.at == '"' || *t.at == '\'' || (*t.at == '[' && t.length > 1));
}

static bool arguments(reader *r) {
  if (is_string(r->t)) {
    advance(r);
  } else if (is(r, "{")) {
    table(r);
  } else if (accept(r, "(")) {
    if (!is(r, ")")) expressions(r);
    expect(r, ")");
  } else {
    return false;
  }
  return true;
}

/* A name or an expression in brackets, and what is looked up in it or called. */
static void suffixed(reader *r) {
  if (accept(r, "(")) {
    expression(r, 0);
    expect(r, ")");
  } else {
    name(r);
  }
  while (!r->failed) {
    if (accept(r, ".")) {
      name(r);
    } else if (accept(r, "[")) {
      expression(r, 0);
      expect(r, "]");
    } else if (accept(r, ":")) {
      name(r);
      if (!arguments(r)) r->failed = true;
    } else if (!arguments(r)) {
      return;
    }
  }
}

static void simple(reader *r) {
  static const char *const constants[] = {"nil", "true", "false", "...", NULL};
  if (is_string(r->t) || isdigit((unsigned char)*r->t.at) ||
      (*r->t.at == '.' && isdigit((unsigned char)r->t.at[1])) ||
      qp_lua_token_is_one_of(r->t, constants)) {
    advance(r);
  } else if (is(r, "{")) {
    table(r);
  } else if (accept(r, "function")) {
    function(r);
  } else {
    suffixed(r);
  }
}

/* How tightly operators bind what stands left and right of them. */
typedef struct binding {
  const char *symbol;
  int left, right;
} binding;

enum { UNARY = 12 };
static const binding bindings[] = {
    {"or", 1, 1},   {"and", 2, 2}, {"<", 3, 3},   {">", 3, 3},   {"<=", 3, 3},  {">=", 3, 3},
    {"~=", 3, 3},   {"==", 3, 3},  {"|", 4, 4},   {"~", 5, 5},   {"&", 6, 6},   {"<<", 7, 7},
    {">>", 7, 7},   {"..", 9, 8},  {"+", 10, 10}, {"-", 10, 10}, {"*", 11, 11}, {"/", 11, 11},
    {"//", 11, 11}, {"%", 11, 11}, {"^", 14, 13},
};

static const binding *find_binding(const reader *r) {
  for (size_t i = 0; i < sizeof bindings / sizeof *bindings; i++)
    if (is(r, bindings[i].symbol)) return &bindings[i];
  return NULL;
}

static void unary(reader *r) {
  static const char *const operators[] = {"not", "-", "#", "~", NULL};
  const char *start = r->t.at;
  const bool negates = is(r, "not");
  if (!qp_lua_token_is_one_of(r->t, operators)) {
    simple(r);
    return;
  }
  advance(r);
  const char *operand = r->t.at;
  expression(r, UNARY);
  if (negates) wrap(r, "_condition(", operand, r->end, start, r->end);
}

/* Read an operator that stands behind an expression, and what follows it. */
static void binary(reader *r, const binding *b, const char *start) {
  const qp_lua_token operator= r->t;
  const bool equal = is(r, "=="), unequal = is(r, "~=");
  const char *left_end = r->end;
  advance(r);
  if (b->left == 2) wrap(r, "_condition(", start, left_end, start, r->end);
  expression(r, b->right);
  if (!equal && !unequal) return;
  add(r, (edit){.kind = COMMA, .at = operator.at});
  wrap(r, equal ? "_equal(" : "_unequal(", start, r->end, start, r->end);
}

/* Operators that bind no tighter than 'limit' are left. */
static void expression(reader *r, int limit) {
  const char *start = r->t.at;
  const binding *b;
  if (!enter(r)) return;
  unary(r);
  while (!r->failed && (b = find_binding(r)) && b->left > limit) binary(r, b, start);
  r->depth--;
}

/* ---- Statements ---- */

/* What stands behind 'if', 'elseif', 'while' or 'until', which is the token before. */
static void condition(reader *r, const char *keyword) {
  const char *start = r->t.at;
  expression(r, 0);
  wrap(r, "_condition(", start, r->end, keyword, r->end);
}

static void if_statement(reader *r, const char *keyword) {
  do {
    condition(r, keyword);
    expect(r, "then");
    block(r);
    keyword = r->t.at;
  } while (!r->failed && accept(r, "elseif"));
  if (accept(r, "else")) block(r);
  expect(r, "end");
}

static void while_statement(reader *r, const char *keyword) {
  condition(r, keyword);
  expect(r, "do");
  block(r);
  expect(r, "end");
}

static void repeat_statement(reader *r) {
  block(r);
  const char *keyword = r->t.at;
  expect(r, "until");
  condition(r, keyword);
}

static void names(reader *r) {
  do {
    name(r);
    if (accept(r, "<")) {
      name(r);
      expect(r, ">");
    }
  } while (!r->failed && accept(r, ","));
}

static void for_statement(reader *r) {
  names(r);
  if (!accept(r, "=")) expect(r, "in");
  expressions(r);
  expect(r, "do");
  block(r);
  expect(r, "end");
}

static void local_statement(reader *r) {
  if (accept(r, "function")) {
    name(r);
    function(r);
    return;
  }
  names(r);
  if (accept(r, "=")) expressions(r);
}

static void function_statement(reader *r) {
  do name(r);
  while (!r->failed && (accept(r, ".") || accept(r, ":")));
  function(r);
}

static bool ends_block(const reader *r) {
  static const char *const ends[] = {"end", "else", "elseif", "until", NULL};
  return !r->t.length || qp_lua_token_is_one_of(r->t, ends);
}

static void return_statement(reader *r) {
  if (!ends_block(r) && !is(r, ";")) expressions(r);
  accept(r, ";");
  if (!ends_block(r)) r->failed = true;
}

/* An assignment or a call. */
static void other_statement(reader *r) {
  do suffixed(r);
  while (!r->failed && accept(r, ","));
  if (accept(r, "=")) expressions(r);
}

static void statement(reader *r) {
  const char *start = r->t.at;
  if (accept(r, ";") || accept(r, "break")) return;
  if (accept(r, "if")) {
    if_statement(r, start);
  } else if (accept(r, "while")) {
    while_statement(r, start);
  } else if (accept(r, "do")) {
    block(r);
    expect(r, "end");
  } else if (accept(r, "for")) {
    for_statement(r);
  } else if (accept(r, "repeat")) {
    repeat_statement(r);
  } else if (accept(r, "function")) {
    function_statement(r);
  } else if (accept(r, "local")) {
    local_statement(r);
  } else if (accept(r, "return")) {
    return_statement(r);
  } else if (accept(r, "goto")) {
    name(r);
  } else if (accept(r, "::")) {
    name(r);
    expect(r, "::");
  } else {
    other_statement(r);
  }
}

static void block(reader *r) {
  while (!r->failed && !ends_block(r) && enter(r)) {
    statement(r);
    r->depth--;
  }
}

/* ---- The text with its changes ---- */

static int by_place(const void *a, const void *b) {
  const edit *x = a, *y = b;
  if (x->at != y->at) return x->at < y->at ? -1 : 1;
  if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
  return (x->order < y->order) == (x->kind == CLOSE) ? -1 : 1;
}

/* Add a piece of the text as a string of Lua, on one line, cut where it gets long. */
static void quote(qp_text *out, const char *from, const char *to) {
  const bool cut = to - from > MOST_QUOTED;
  if (cut) to = from + MOST_QUOTED;
  while (cut && (*to & 0xc0) == 0x80) to--; /* within a letter of UTF-8 */
  for (const char *c = from; c < to; c++) {
    const bool blank = isspace((unsigned char)*c);
    if (blank && c > from && isspace((unsigned char)c[-1])) continue;
    if (*c == '"' || *c == '\\') qp_text_append(out, "\\", 1);
    qp_text_append(out, blank ? " " : c, 1);
  }
  if (cut) qp_text_append(out, "...", 3);
}

static char *apply(reader *r, const char *text) {
  qp_text out = {0};
  if (r->count) qsort(r->list, r->count, sizeof *r->list, by_place);
  if (r->count) qp_text_add(&out, "local _condition, _equal, _unequal = _guards() ");
  for (size_t i = 0; i < r->count; i++) {
    const edit *e = &r->list[i];
    qp_text_append(&out, text, (size_t)(e->at - text));
    text = e->kind == COMMA ? e->at + 2 : e->at;
    if (e->kind == COMMA) qp_text_append(&out, ",", 1);
    if (e->kind == OPEN) qp_text_append(&out, e->name, strlen(e->name));
    if (e->kind != CLOSE) continue;
    qp_text_append(&out, ",\"", 2);
    quote(&out, e->from, e->to);
    qp_text_append(&out, "\")", 2);
  }
  qp_text_append(&out, text, strlen(text) + 1);
  if (!out.failed) return out.s;
  qp_text_free(&out);
  return NULL;
}

char *qp_spec_guard(const char *text) {
  reader r = {.t = qp_lua_token_at(text), .end = text};
  block(&r);
  if (r.t.length) r.failed = true;
  char *out = r.failed ? strdup(text) : apply(&r, text);
  free(r.list);
  return out;
}
