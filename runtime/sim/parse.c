/* SPDX-License-Identifier: MIT */
/* PTX modules: directives, variables, functions, scopes, labels. */
#include "parse.h"

#include <stdio.h>
#include <stdlib.h>

static char *copy_name(parser *p, const token *t) {
  char *s = strndup(t->text, t->length);
  if (!s && p->status == QP_OK) p->status = qp_fail(p->err, QP_E_NOMEM, "host memory exhausted");
  return s;
}

static uint32_t align_to(uint32_t x, uint32_t align) { return (x + align - 1) / align * align; }

/* ---- variables ---- */

typedef struct variable {
  token name;
  unsigned type;
  uint32_t vector, align, element, bytes; /* element: bytes of one */
  bool sized;                             /* an array whose length is given, or no array */
  uint32_t range;                         /* name<range> */
} variable;

/* ".align 16 .b8" and the like, up to the name */
static bool variable_head(parser *p, variable *v) {
  *v = (variable){.vector = 1};
  bool typed = false;
  while (p_ok(p) && p->tok.kind == T_IDENT && p->tok.text[0] == '.') {
    char word[16] = {0};
    memcpy(word, p->tok.text + 1, p->tok.length - 1 < 15 ? p->tok.length - 1 : 15);
    if (!strcmp(word, "align")) {
      p_next(p);
      if (p->tok.kind != T_INT || p->tok.integer < 1 || p->tok.integer > 4096)
        return p_fail(p, "an alignment is expected");
      v->align = (uint32_t)p->tok.integer;
    } else if (!strcmp(word, "v2") || !strcmp(word, "v4")) {
      v->vector = word[1] == '2' ? 2 : 4;
    } else if (!strcmp(word, "ptr")) { /* .ptr .global .align 8: says what a parameter points at */
      p_next(p);
      while (p->tok.kind == T_IDENT && p->tok.text[0] == '.') {
        if (p_accept(p, ".align"))
          p_next(p);
        else
          p_next(p);
      }
      break;
    } else if (p_type(word, &v->type)) {
      typed = true;
    } else {
      return p_fail(p, "'.%s' is not a known type", word);
    }
    p_next(p);
  }
  if (!typed) return p_fail(p, "a type is expected");
  v->element = p_type_bits(v->type) / 8 * v->vector;
  if (v->align < v->element) v->align = v->align ? v->align : v->element;
  return true;
}

/* the name, "<n>" and "[n]" */
static bool variable_name(parser *p, variable *v) {
  if (p->tok.kind != T_IDENT) return p_fail(p, "a name is expected");
  v->name = p->tok;
  v->sized = true;
  v->range = 0;
  p_next(p);
  if (p_accept_punct(p, '<')) {
    if (p->tok.kind != T_INT || p->tok.integer < 1 || p->tok.integer > 1 << 20)
      return p_fail(p, "a number of registers is expected");
    v->range = (uint32_t)p->tok.integer;
    p_next(p);
    if (!p_expect_punct(p, '>')) return false;
  }
  uint64_t count = 1;
  while (p_accept_punct(p, '[')) {
    if (p_accept_punct(p, ']')) {
      v->sized = false;
      continue;
    }
    if (p->tok.kind != T_INT || p->tok.integer < 0) return p_fail(p, "a length is expected");
    count *= (uint64_t)p->tok.integer;
    p_next(p);
    if (!p_expect_punct(p, ']')) return false;
  }
  if (count * v->element > 1u << 30) return p_fail(p, "the variable is too large");
  v->bytes = (uint32_t)count * v->element;
  return true;
}

static bool declare(parser *p, const variable *v, symbol s) {
  s.name = v->name.text;
  s.length = v->name.length;
  s.bytes = v->bytes;
  return p_declare(p, s);
}

static bool parse_registers(parser *p) {
  variable v;
  if (!variable_head(p, &v)) return false;
  do {
    v.range = 0;
    if (!variable_name(p, &v)) return false;
    const uint32_t n = v.range ? v.range : 1;
    symbol s = {.range = v.range != 0, .count = n, .bits = p_type_bits(v.type)};
    if (v.type == QP_SIM_PRED) {
      s.kind = SYM_PRED;
      s.index = p->preds;
      p->preds += n;
    } else {
      s.kind = SYM_REG;
      s.index = p->vregs.count;
      for (uint32_t i = 0; i < n && p_ok(p); i++) p_new_vreg(p, s.bits == 64 ? 2 : 1);
    }
    if (!declare(p, &v, s)) return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Values of an initialiser, nested braces flattened. */
static bool init_values(parser *p, const variable *v, uint8_t *out, uint32_t *at) {
  if (p_accept_punct(p, '{')) {
    do {
      if (!init_values(p, v, out, at)) return false;
    } while (p_accept_punct(p, ','));
    return p_expect_punct(p, '}');
  }
  const uint32_t size = p_type_bits(v->type) / 8;
  if (*at + size > v->bytes) return p_fail(p, "more initial values than the variable holds");
  const bool minus = p_accept_punct(p, '-');
  uint64_t bits;
  if (p->tok.kind == T_INT) {
    bits = (uint64_t)(minus ? 0 - p->tok.integer : p->tok.integer);
  } else if (p->tok.kind == T_FLOAT) {
    const double d = minus ? -p->tok.real : p->tok.real;
    const float f = (float)d;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    memcpy(&bits, &d, sizeof bits);
    if (size == 4) bits = p->tok.is_single && !minus ? p->tok.single : u;
  } else {
    return p_fail(p, "an initial value must be a number");
  }
  memcpy(out + *at, &bits, size);
  *at += size;
  p_next(p);
  return true;
}

/* A variable in global or constant memory; an initialised one is zero where nothing is said. */
static bool parse_global(parser *p, bool constant) {
  variable v;
  if (!variable_head(p, &v)) return false;
  do {
    if (!variable_name(p, &v)) return false;
    qp_sim_global g = {
        .name = copy_name(p, &v.name), .bytes = v.bytes, .align = v.align, .constant = constant};
    if (!g.name || !P_PUSH(p, globals, g)) {
      free(g.name);
      return false;
    }
    qp_sim_global *q = p->globals.at + p->globals.count - 1;
    if (!(q->init = calloc(1, v.bytes + 16))) return p_fail(p, "host memory exhausted");
    uint32_t at = 0;
    if (p_accept_punct(p, '=') && !init_values(p, &v, q->init, &at)) return false;
    if (p->place(p->place_arg, q, p->err) != QP_OK) {
      p->status = QP_E_NOMEM;
      return false;
    }
    if (!declare(p, &v, (symbol){.kind = SYM_GLOBAL, .index = p->globals.count - 1})) return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Shared: of the module, or of the function being parsed. */
static bool parse_shared(parser *p, bool external) {
  variable v;
  if (!variable_head(p, &v)) return false;
  do {
    if (!variable_name(p, &v)) return false;
    qp_sim_function *f = p->function >= 0 ? p->functions.at + p->function : NULL;
    if (external || !v.sized) {
      if (v.align > p->code->shared_align) p->code->shared_align = v.align;
      if (!declare(p, &v, (symbol){.kind = SYM_SHARED_DYNAMIC})) return false;
      continue;
    }
    const bool own = f && f->entry;
    uint32_t *used = own ? &f->shared_bytes : &p->code->shared_bytes;
    if (own && *used < p->code->shared_bytes) *used = p->code->shared_bytes;
    const uint32_t offset = align_to(*used + QP_SIM_SHARED_START, v.align);
    *used = offset - QP_SIM_SHARED_START + v.bytes;
    if (!declare(p, &v, (symbol){.kind = SYM_SHARED, .offset = offset})) return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Local memory, and .param variables for calls: places in the frame. */
static bool parse_frame(parser *p) {
  variable v;
  if (!variable_head(p, &v)) return false;
  do {
    if (!variable_name(p, &v)) return false;
    p->frame = align_to(p->frame, v.align < 16 ? 16 : v.align);
    if (!declare(p, &v, (symbol){.kind = SYM_LOCAL, .offset = p->frame})) return false;
    p->frame += v.bytes;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* ---- labels ---- */

static bool add_label(parser *p, const token *t) {
  for (uint32_t i = p->symbols.count; i-- > p->scope;)
    if (p->symbols.at[i].kind == SYM_LABEL && p->symbols.at[i].length == t->length &&
        !memcmp(p->symbols.at[i].name, t->text, t->length))
      return p_fail(p, "label '%.*s' is there twice", (int)t->length, t->text);
  return p_declare(
      p, (symbol){.kind = SYM_LABEL, .name = t->text, .length = t->length, .index = p->ops.count});
}

/* At the end of a scope: branches to its labels are known now; the others look further out. */
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
  if (p_accept(p, ".reg")) return parse_registers(p);
  if (p_accept(p, ".shared")) return parse_shared(p, false);
  if (p_accept(p, ".local") || p_accept(p, ".param")) return parse_frame(p);
  if (p_accept(p, ".global")) return parse_global(p, false);
  if (p_accept(p, ".const")) return parse_global(p, true);
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
  qp_sim_function f = {.name = copy_name(p, name)};
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
    if (!variable_head(p, &v) || !variable_name(p, &v)) return false;
    at = align_to(at, entry ? v.align : v.align < 16 ? 16 : v.align);
    const qp_sim_param param = {.offset = at, .bytes = v.bytes};
    if (!declare(p, &v, (symbol){.kind = entry ? SYM_PARAM : SYM_LOCAL, .offset = at}))
      return false;
    at += v.bytes;
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
  p_push(p, &end);
  if (p->patches.count) {
    const patch *q = p->patches.at;
    p->tok.line = q->line;
    return p_fail(p, "label '%.*s' is not declared", (int)q->length, q->name);
  }
  f->end = p->ops.count;
  f->frame_bytes = align_to(p->frame, 16);
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
  if (p->tok.kind != T_IDENT || p->tok.length < 4 || memcmp(p->tok.text, "sm_", 3))
    return p_fail(p, ".target sm_XY expected");
  for (size_t i = 3; i < p->tok.length && p->tok.text[i] >= '0' && p->tok.text[i] <= '9'; i++)
    sm = 10 * sm + (unsigned)(p->tok.text[i] - '0');
  if (sm > p->arch)
    return p_fail(p, "the PTX is for sm_%u; this device poses as sm_%u", sm, p->arch);
  const uint32_t line = p->tok.line;
  while (p->tok.line == line && p->tok.kind != T_END) p_next(p);
  return p_ok(p);
}

static bool parse_top(parser *p) {
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
  if (p_accept(p, ".shared")) return parse_shared(p, external);
  if (p_accept(p, ".global")) return parse_global(p, false);
  if (p_accept(p, ".const")) return parse_global(p, true);
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

static bool consts_done(parser *p) {
  qp_sim_code *c = p->code;
  const size_t bytes = ((size_t)p->consts.count * sizeof(uint32_t) + 128) / 64 * 64;
  c->consts = aligned_alloc(64, bytes);
  if (!c->consts) return p_fail(p, "host memory exhausted");
  if (p->consts.count) memcpy(c->consts, p->consts.at, p->consts.count * sizeof(uint32_t));
  c->const_words = p->consts.count;
  free(p->consts.at);
  return true;
}

qp_status qp_sim_decode(const char *ptx, size_t bytes, unsigned arch, qp_sim_place place, void *arg,
                        qp_sim_code **out, qp_error *err) {
  parser *p = calloc(1, sizeof *p);
  qp_sim_code *code = calloc(1, sizeof *code);
  char *text = malloc(bytes + 1);
  if (!p || !code || !text) {
    free(p);
    free(code);
    free(text);
    return qp_fail(err, QP_E_NOMEM, "host memory exhausted");
  }
  memcpy(text, ptx, bytes);
  text[bytes] = 0;
  *code = (qp_sim_code){.text = text, .text_bytes = bytes, .shared_align = 16};
  *p = (parser){.err = err,
                .begin = text,
                .cursor = text,
                .end = text + bytes,
                .line = 1,
                .arch = arch,
                .place = place,
                .place_arg = arg,
                .code = code,
                .function = -1,
                .preds = 1};
  p_next(p);
  while (p_ok(p) && p->tok.kind != T_END && parse_top(p)) {
  }
  if (p_ok(p)) p_link(p);
  if (p_ok(p))
    consts_done(p);
  else
    free(p->consts.at);
  code->ops = p->ops.at;
  code->op_count = p->ops.count;
  code->ext = p->ext.at;
  code->ext_count = p->ext.count;
  code->functions = p->functions.at;
  code->function_count = p->functions.count;
  code->globals = p->globals.at;
  code->global_count = p->globals.count;
  code->preds = p->preds;
  free(p->symbols.at);
  free(p->patches.at);
  free(p->refs.at);
  free(p->vregs.at);
  free(p->frame_ops.at);
  free(p->frame_exts.at);
  free(p->callees.at);
  const qp_status status = p->status;
  free(p);
  if (status != QP_OK) {
    for (uint32_t i = 0; i < code->global_count; i++)
      if (code->globals[i].address) place(arg, code->globals + i, NULL);
    qp_sim_code_free(code);
    return status;
  }
  *out = code;
  return QP_OK;
}

void qp_sim_code_free(qp_sim_code *code) {
  if (!code) return;
  for (uint32_t i = 0; i < code->function_count; i++) {
    free(code->functions[i].name);
    free(code->functions[i].params);
    free(code->functions[i].callees);
  }
  for (uint32_t i = 0; i < code->global_count; i++) {
    free(code->globals[i].name);
    free(code->globals[i].init);
  }
  free(code->functions);
  free(code->globals);
  free(code->ops);
  free(code->ext);
  free(code->consts);
  free(code->text);
  free(code);
}

const char *qp_sim_code_line(const qp_sim_code *code, uint32_t line, size_t *bytes) {
  const char *s = code->text, *end = s + code->text_bytes;
  for (uint32_t i = 1; i < line && s < end; s++)
    if (*s == '\n') i++;
  while (s < end && (*s == ' ' || *s == '\t')) s++;
  const char *stop = s;
  while (stop < end && *stop != '\n' && *stop != '\r') stop++;
  *bytes = (size_t)(stop - s);
  return s;
}
