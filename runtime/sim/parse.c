/* SPDX-License-Identifier: MIT */
/* Parses the text of a PTX module: its directives, functions, scopes, labels and statements. */
#include "runtime/sim/parse.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- labels ---- */

static bool add_label(parser *p, const token *t) {
  for (uint32_t i = p->symbols.count; i-- > p->scope;)
    if (p->symbols.at[i].kind == SYM_LABEL && p->symbols.at[i].length == t->length &&
        !memcmp(p->symbols.at[i].name, t->text, t->length))
      return p_fail(p, "label '%.*s' is there twice", (int)t->length, t->text);
  return p_declare(
      p, (symbol){.kind = SYM_LABEL, .name = t->text, .length = t->length, .index = p->ops.count});
}

/* Resolve branches at the end of a scope: those to its labels are known now; the others look
   further out. */
static void resolve_labels(parser *p, uint32_t first_patch, uint32_t scope) {
  uint32_t kept = first_patch;
  for (uint32_t i = first_patch; i < p->patches.count; i++) {
    const patch q = p->patches.at[i];
    const symbol *found = NULL;
    for (uint32_t k = p->symbols.count; k-- > scope && !found;) {
      const symbol *s = p->symbols.at + k;
      if (s->kind == SYM_LABEL && s->length == q.length && !memcmp(s->name, q.name, q.length))
        found = s;
    }
    if (!found)
      p->patches.at[kept++] = q;
    else if (q.ext == UINT32_MAX)
      p->ops.at[q.op].target = found->index;
    else
      p->ext.at[q.ext] = (int32_t)found->index;
  }
  p->patches.count = kept;
}

/* ---- statements ---- */

static void skip_statement(parser *p) {
  while (p_ok(p) && p->tok.kind != T_END && !p_punct(p, ';')) p_next(p);
  p_accept_punct(p, ';');
}

static bool split_mnemonic(parser *p) {
  const token *t = &p->tok;
  if (t->length >= sizeof p->mnemonic) return p_fail(p, "the instruction's name is too long");
  memcpy(p->mnemonic, t->text, t->length);
  p->mnemonic[t->length] = 0;
  p->parts = 0;
  for (char *s = p->mnemonic; s;) {
    char *dot = strchr(s, '.');
    if (dot) *dot++ = 0;
    if (p->parts == sizeof p->part / sizeof *p->part)
      return p_fail(p, "the instruction has too many modifiers");
    p->part[p->parts] = s;
    p->used[p->parts++] = false;
    s = dot;
  }
  return true;
}

static bool parse_instruction(parser *p) {
  p->guard = QP_SIM_TRUE;
  if (p_accept_punct(p, '@')) {
    const bool negated = p_accept_punct(p, '!');
    uint32_t index;
    const symbol *s = p->tok.kind == T_IDENT ? p_find(p, p->tok.text, p->tok.length, &index) : NULL;
    if (!s || s->kind != SYM_PRED) return p_fail(p, "a guard must be a predicate");
    const int32_t pred = (int32_t)(s->index + index);
    p->guard = negated ? ~pred : pred;
    p_next(p);
  }
  if (p->tok.kind != T_IDENT) return p_fail(p, "an instruction is expected");
  const token name = p->tok;
  p->line_op = name.line;
  if (!split_mnemonic(p)) return false;
  p->used[0] = true;
  p->pending = p->refs.count;
  p_next(p);
  const bool good = p_decode(p);
  if (!good && p_ok(p)) {
    p->tok.line = name.line;
    return p_fail(p, "unknown instruction '%.*s'", (int)name.length, name.text);
  }
  return good;
}

static bool parse_body(parser *p);

static bool parse_scope(parser *p) {
  const uint32_t symbols = p->symbols.count, patches = p->patches.count, outer = p->scope;
  p->scope = symbols;
  if (!parse_body(p)) return false;
  resolve_labels(p, patches, symbols);
  p->symbols.count = symbols;
  p->scope = outer;
  return true;
}

/* name: .branchtargets a, b, c; */
static bool parse_targets(parser *p, const token *name) {
  symbol s = {.kind = SYM_TARGETS, .name = name->text, .length = name->length, .text = p->tok.text};
  skip_statement(p);
  return p_declare(p, s);
}

static bool parse_statement(parser *p) {
  if (p_accept_punct(p, ';')) return true;
  if (p_accept_punct(p, '{')) return parse_scope(p);
  if (p->tok.kind != T_IDENT && !p_punct(p, '@'))
    return p_fail(p, "a statement is expected, not '%.*s'", (int)p->tok.length, p->tok.text);
  if (p_accept(p, ".reg")) return p_registers(p);
  if (p_accept(p, ".shared")) return p_shared(p, false);
  if (p_accept(p, ".local") || p_accept(p, ".param")) return p_frame(p);
  if (p_accept(p, ".global")) return p_global(p, false);
  if (p_accept(p, ".const")) return p_global(p, true);
  if (p_accept(p, ".loc")) { /* no semicolon: ends with its line */
    while (p->cursor < p->end && *p->cursor != '\n') p->cursor++;
    p_next(p);
    return p_ok(p);
  }
  if (p_is(p, ".pragma")) {
    skip_statement(p);
    return p_ok(p);
  }
  if (p->tok.kind == T_IDENT && p->tok.text[0] != '.') {
    const token name = p->tok;
    const char *cursor = p->cursor;
    const uint32_t line = p->line;
    p_next(p);
    if (p_accept_punct(p, ':')) {
      if (p_accept(p, ".branchtargets")) return parse_targets(p, &name);
      if (p_is(p, ".callprototype")) {
        skip_statement(p);
        return p_ok(p);
      }
      return add_label(p, &name);
    }
    p->tok = name;
    p->cursor = cursor;
    p->line = line;
  }
  return parse_instruction(p);
}

/* Up to the closing brace, which is taken. */
static bool parse_body(parser *p) {
  while (p_ok(p) && !p_punct(p, '}')) {
    if (p->tok.kind == T_END) return p_fail(p, "'}' expected before the end");
    if (!parse_statement(p)) return false;
  }
  return p_expect_punct(p, '}');
}

/* ---- functions ---- */

static uint32_t function_index(parser *p, const token *name) {
  for (uint32_t i = 0; i < p->functions.count; i++) {
    const char *s = p->functions.at[i].name;
    if (strlen(s) == name->length && !memcmp(s, name->text, name->length)) return i;
  }
  qp_sim_function f = {.name = p_copy_name(p, name)};
  if (!f.name || !P_PUSH(p, functions, f)) {
    free(f.name);
    return 0;
  }
  return p->functions.count - 1;
}

/* "(.param .b32 a, ...)": an entry's lie in the parameter space, a function's in its frame. */
static bool parse_params(parser *p, bool entry, bool result, qp_sim_function *f) {
  if (!p_accept_punct(p, '(')) return true;
  uint32_t at = entry ? 0 : p->frame;
  if (!result) {
    free(f->params);
    f->params = NULL;
    f->param_count = 0;
  }
  while (p_ok(p) && !p_accept_punct(p, ')')) {
    variable v;
    if (!p_accept(p, ".param") && !p_accept(p, ".reg")) return p_fail(p, ".param expected");
    if (!p_variable_head(p, &v) || !p_variable_name(p, &v)) return false;
    qp_sim_param param = {.bytes = v.bytes};
    if (!p_place(p, &at, entry || v.align > 16 ? v.align : 16, v.bytes, &param.offset) ||
        !p_variable_declare(
            p, &v, (symbol){.kind = entry ? SYM_PARAM : SYM_LOCAL, .offset = param.offset}))
      return false;
    if (result) {
      f->result = param;
    } else {
      qp_sim_param *q = realloc(f->params, (f->param_count + 1) * sizeof *q);
      if (!q) return p_fail(p, "host memory exhausted");
      f->params = q;
      f->params[f->param_count++] = param;
    }
    p_accept_punct(p, ',');
  }
  if (entry)
    f->param_bytes = at;
  else
    p->frame = at;
  return p_ok(p);
}

static bool parse_limits(parser *p, qp_sim_function *f) {
  while (p_ok(p) && p->tok.kind == T_IDENT && p->tok.text[0] == '.') {
    const bool max = p_is(p, ".maxntid"), required = p_is(p, ".reqntid");
    p_next(p);
    uint32_t product = 1;
    while (p->tok.kind == T_INT) {
      product *= (uint32_t)p->tok.integer;
      p_next(p);
      if (!p_accept_punct(p, ',')) break;
    }
    if (max || required) f->max_threads = product;
    if (required) f->required_threads = product;
  }
  return p_ok(p);
}

static bool function_end(parser *p, uint32_t index) {
  qp_sim_function *f = p->functions.at + index;
  /* a body that runs off its end returns */
  p->guard = QP_SIM_TRUE;
  p->line_op = p->tok.line;
  p->pending = p->refs.count;
  qp_sim_op end = p_op(p, qp_sim_do_ret, QP_SIM_CONTROL);
  end.flow = QP_SIM_FLOW_LEAVE;
  p_push(p, &end);
  if (p->patches.count) {
    const patch *q = p->patches.at;
    p->tok.line = q->line;
    return p_fail(p, "label '%.*s' is not declared", (int)q->length, q->name);
  }
  f->end = p->ops.count;
  f->frame_bytes = (p->frame + 15) / 16 * 16;
  f->callees = p->callees.at;
  f->callee_count = p->callees.count;
  p->callees.at = NULL;
  p->callees.count = p->callees.room = 0;
  return p_allocate(p);
}

static bool parse_function(parser *p, bool entry) {
  const uint32_t symbols = p->symbols.count;
  p->frame = 0;
  p->vregs.count = 0;
  p->op_begin = p->ops.count;
  p->ref_begin = p->refs.count;
  qp_sim_function head = {0};
  if (!entry && !parse_params(p, false, true, &head)) return false;
  if (p->tok.kind != T_IDENT) return p_fail(p, "a function's name is expected");
  const uint32_t index = function_index(p, &p->tok);
  if (!p_ok(p)) return false;
  qp_sim_function *f = p->functions.at + index;
  if (f->defined) return p_fail(p, "function '%s' is defined twice", f->name);
  f->entry = entry;
  f->result = head.result;
  p_next(p);
  if (!parse_params(p, entry, false, f) || !parse_limits(p, f)) return false;
  if (p_accept_punct(p, ';')) { /* a declaration */
    p->symbols.count = symbols;
    return true;
  }
  if (!p_expect_punct(p, '{')) return false;
  f->defined = true;
  f->start = p->ops.count;
  p->function = (int32_t)index;
  const bool good = parse_scope(p) && function_end(p, index);
  p->function = -1;
  p->symbols.count = symbols;
  return good;
}

/* ---- modules ---- */

/* .section { ... }: debug information */
static void skip_braces(parser *p) {
  while (p_ok(p) && p->tok.kind != T_END && !p_punct(p, '{')) p_next(p);
  uint32_t depth = 0;
  do {
    if (p_punct(p, '{')) depth++;
    if (p_punct(p, '}')) depth--;
    p_next(p);
  } while (p_ok(p) && p->tok.kind != T_END && depth);
}

static bool parse_target(parser *p) {
  p_next(p);
  unsigned sm = 0;
  if (p->tok.kind != T_IDENT || p->tok.length < 4 || memcmp(p->tok.text, "sm_", 3) != 0)
    return p_fail(p, ".target sm_XY expected");
  for (size_t i = 3; i < p->tok.length && p->tok.text[i] >= '0' && p->tok.text[i] <= '9'; i++)
    sm = 10 * sm + (unsigned)(p->tok.text[i] - '0');
  if (sm > p->arch)
    return p_fail(p, "the PTX is for sm_%u; this device poses as sm_%u", sm, p->arch);
  p->target = sm;
  const uint32_t line = p->tok.line;
  while (p->tok.line == line && p->tok.kind != T_END) p_next(p);
  return p_ok(p);
}

bool p_top(parser *p) {
  bool external = false;
  while (p_accept(p, ".visible") || p_accept(p, ".weak") || p_accept(p, ".common") ||
         (p_is(p, ".extern") && (external = true))) {
    if (p_is(p, ".extern")) p_next(p);
  }
  if (p_accept(p, ".entry")) return parse_function(p, true);
  if (p_accept(p, ".func")) {
    while (p_accept(p, ".noreturn")) {
    }
    return parse_function(p, false);
  }
  if (p_accept(p, ".shared")) return p_shared(p, external);
  if (p_accept(p, ".global")) return p_global(p, false);
  if (p_accept(p, ".const")) return p_global(p, true);
  if (p_is(p, ".target")) return parse_target(p);
  if (p_is(p, ".section")) {
    skip_braces(p);
    return p_ok(p);
  }
  if (p_is(p, ".version") || p_is(p, ".address_size") || p_is(p, ".file") || p_is(p, ".pragma")) {
    const uint32_t line = p->tok.line;
    while (p->tok.line == line && p->tok.kind != T_END) p_next(p);
    return p_ok(p);
  }
  return p_fail(p, "'%.*s' is not a known directive", (int)p->tok.length, p->tok.text);
}
