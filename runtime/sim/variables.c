/* SPDX-License-Identifier: MIT */
/* Decodes the variables of PTX: registers, global, constant, shared and local memory. */
#include "runtime/sim/parse.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/half.h"

char *p_copy_name(parser *p, const token *t) {
  char *s = strndup(t->text, t->length);
  if (!s && p->status == QP_OK) p->status = qp_fail(p->err, QP_E_NOMEM, "host memory exhausted");
  return s;
}

/* Read ".align 16 .b8" and the like, up to the name. */
static bool head(parser *p, variable *v) {
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

bool p_variable_head(parser *p, variable *v) {
  if (!head(p, v)) return false;
  return v->element || p_fail(p, "a predicate has no place in memory");
}

bool p_place(parser *p, uint32_t *used, uint32_t align, uint32_t bytes, uint32_t *offset) {
  const uint64_t at = ((uint64_t)*used + align - 1) / align * align;
  if (at + bytes > P_SPACE) return p_fail(p, "variables take more than 2^30 bytes together");
  *offset = (uint32_t)at;
  *used = (uint32_t)at + bytes;
  return true;
}

/* the name, "<n>" and "[n]" */
bool p_variable_name(parser *p, variable *v) {
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
    if (p->tok.integer > P_SPACE || (count *= (uint64_t)p->tok.integer) > P_SPACE)
      return p_fail(p, "the variable is too large");
    p_next(p);
    if (!p_expect_punct(p, ']')) return false;
  }
  if (count * v->element > P_SPACE) return p_fail(p, "the variable is too large");
  v->bytes = (uint32_t)count * v->element;
  return true;
}

bool p_variable_declare(parser *p, const variable *v, symbol s) {
  s.name = v->name.text;
  s.length = v->name.length;
  s.bytes = v->bytes;
  return p_declare(p, s);
}

bool p_registers(parser *p) {
  variable v;
  if (!head(p, &v)) return false;
  do {
    v.range = 0;
    if (!p_variable_name(p, &v)) return false;
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
    if (!p_variable_declare(p, &v, s)) return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Read the values of an initialiser, nested braces flattened. */
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
    memcpy(&bits, &d, sizeof bits);
    if (size == 4) bits = p->tok.is_single && !minus ? p->tok.single : qp_float_bits((float)d);
  } else {
    return p_fail(p, "an initial value must be a number");
  }
  memcpy(out + *at, &bits, size);
  *at += size;
  p_next(p);
  return true;
}

/* Make a variable in global or constant memory; an initialised one is zero where nothing is
   said. */
bool p_global(parser *p, bool constant) {
  variable v;
  if (!p_variable_head(p, &v)) return false;
  do {
    if (!p_variable_name(p, &v)) return false;
    qp_sim_global g = {
        .name = p_copy_name(p, &v.name), .bytes = v.bytes, .align = v.align, .constant = constant};
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
    if (!p_variable_declare(p, &v, (symbol){.kind = SYM_GLOBAL, .index = p->globals.count - 1}))
      return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Make a shared variable, of the module or of the function that is being parsed. */
bool p_shared(parser *p, bool external) {
  variable v;
  if (!p_variable_head(p, &v)) return false;
  do {
    if (!p_variable_name(p, &v)) return false;
    qp_sim_function *f = p->function >= 0 ? p->functions.at + p->function : NULL;
    if (external || !v.sized) {
      if (v.align > p->code->shared_align) p->code->shared_align = v.align;
      if (!p_variable_declare(p, &v, (symbol){.kind = SYM_SHARED_DYNAMIC})) return false;
      continue;
    }
    const bool own = f && f->entry;
    uint32_t *used = own ? &f->shared_bytes : &p->code->shared_bytes;
    if (own && *used < p->code->shared_bytes) *used = p->code->shared_bytes;
    uint32_t end = *used + QP_SIM_SHARED_START, offset;
    if (!p_place(p, &end, v.align, v.bytes, &offset)) return false;
    *used = end - QP_SIM_SHARED_START;
    if (!p_variable_declare(p, &v, (symbol){.kind = SYM_SHARED, .offset = offset})) return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}

/* Make a place in the frame for local memory, or for a .param variable of calls. */
bool p_frame(parser *p) {
  variable v;
  if (!p_variable_head(p, &v)) return false;
  do {
    if (!p_variable_name(p, &v)) return false;
    uint32_t offset;
    if (!p_place(p, &p->frame, v.align < 16 ? 16 : v.align, v.bytes, &offset) ||
        !p_variable_declare(p, &v, (symbol){.kind = SYM_LOCAL, .offset = offset}))
      return false;
  } while (p_accept_punct(p, ','));
  return p_expect_punct(p, ';');
}
