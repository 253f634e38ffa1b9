/* SPDX-License-Identifier: MIT */
/* PTX tokens. */
#include "runtime/sim/parse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

bool p_fail(parser *p, const char *format, ...) {
  if (p->status != QP_OK) return false;
  char what[1024];
  va_list ap;
  va_start(ap, format);
  vsnprintf(what, sizeof what, format, ap);
  va_end(ap);
  const uint32_t line = p->tok.line ? p->tok.line : 1;
  size_t n = 0;
  const char *text = p->code ? qp_sim_code_line(p->code, line, &n) : "";
  p->status = qp_fail(p->err, QP_E_COMPILE, "PTX line %u '%.*s': %s", line,
                      (int)(n < 200 ? n : 200), text, what);
  return false;
}

bool p_grow(parser *p, void **at, uint32_t count, uint32_t *room, size_t size) {
  if (count < *room) return true;
  const uint32_t more = *room ? 2 * *room : 64;
  void *q = realloc(*at, more * size);
  if (!q) {
    if (p->status == QP_OK) p->status = qp_fail(p->err, QP_E_NOMEM, "host memory exhausted");
    return false;
  }
  *at = q;
  *room = more;
  return true;
}

static bool ident_char(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '.' || c == '%';
}

static void skip_blank(parser *p) {
  while (p->cursor < p->end) {
    const char c = *p->cursor;
    const size_t left = (size_t)(p->end - p->cursor);
    if (c == '\n') {
      p->line++;
      p->cursor++;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      p->cursor++;
    } else if (left > 1 && c == '/' && p->cursor[1] == '/') {
      while (p->cursor < p->end && *p->cursor != '\n') p->cursor++;
    } else if (left > 1 && c == '/' && p->cursor[1] == '*') {
      for (p->cursor += 2; p->cursor < p->end; p->cursor++) {
        if (*p->cursor == '\n') p->line++;
        if (*p->cursor == '*' && p->cursor + 1 < p->end && p->cursor[1] == '/') break;
      }
      p->cursor = p->end - p->cursor < 2 ? p->end : p->cursor + 2;
    } else {
      return;
    }
  }
}

/* 0f and eight, 0d and sixteen hexadecimal digits are bit patterns. */
static void number(parser *p) {
  token *t = &p->tok;
  const char *s = p->cursor;
  const int kind = s + 1 < p->end ? tolower((unsigned char)s[1]) : 0;
  char digits[72];
  size_t n = 0;
  while (s + n < p->end && n < sizeof digits - 1 &&
         (isalnum((unsigned char)s[n]) || s[n] == '.' ||
          ((s[n] == '-' || s[n] == '+') && n > 0 && tolower((unsigned char)s[n - 1]) == 'e' &&
           kind != 'x' && kind != 'f' && kind != 'd'))) {
    digits[n] = s[n];
    n++;
  }
  digits[n] = 0;
  t->length = n;
  p->cursor += n;
  if (s[0] == '0' && kind == 'f' && n == 10) {
    t->kind = T_FLOAT;
    t->is_single = true;
    t->single = (uint32_t)strtoul(digits + 2, NULL, 16);
    float f;
    memcpy(&f, &t->single, sizeof f);
    t->real = (double)f;
  } else if (s[0] == '0' && kind == 'd' && n == 18) {
    const uint64_t bits = strtoull(digits + 2, NULL, 16);
    t->kind = T_FLOAT;
    memcpy(&t->real, &bits, sizeof t->real);
  } else if (s[0] == '0' && kind == 'b') {
    t->kind = T_INT;
    t->integer = (int64_t)strtoull(digits + 2, NULL, 2);
  } else if (kind != 'x' && strpbrk(digits, ".eE")) {
    t->kind = T_FLOAT;
    t->real = strtod(digits, NULL);
  } else {
    t->kind = T_INT;
    t->integer = (int64_t)strtoull(digits, NULL, 0);
  }
}

void p_next(parser *p) {
  skip_blank(p);
  p->tok = (token){.text = p->cursor, .line = p->line};
  token *t = &p->tok;
  if (p->status != QP_OK || p->cursor >= p->end || !*p->cursor) return; /* T_END */
  const char c = *p->cursor;
  if (isdigit((unsigned char)c)) {
    number(p);
  } else if (ident_char(c)) {
    t->kind = T_IDENT;
    const char *s = p->cursor;
    while (s < p->end) {
      if (ident_char(*s))
        s++;
      else if (p->end - s > 2 && s[0] == ':' && s[1] == ':')
        s += 2;
      else
        break;
    }
    t->length = (size_t)(s - p->cursor);
    p->cursor = s;
  } else if (c == '"') {
    t->kind = T_STRING;
    const char *s = p->cursor + 1;
    while (s < p->end && *s != '"' && *s != '\n') s++;
    p->cursor = s < p->end ? s + 1 : s;
    t->length = (size_t)(p->cursor - t->text);
  } else {
    t->kind = T_PUNCT;
    t->punct = c;
    t->length = 1;
    p->cursor++;
  }
}

bool token_is(const token *t, const char *text) {
  return t->kind == T_IDENT && strlen(text) == t->length && !memcmp(t->text, text, t->length);
}
bool p_is(const parser *p, const char *text) { return token_is(&p->tok, text); }
bool p_punct(const parser *p, char c) { return p->tok.kind == T_PUNCT && p->tok.punct == c; }

bool p_accept(parser *p, const char *text) {
  if (!p_is(p, text)) return false;
  p_next(p);
  return true;
}
bool p_accept_punct(parser *p, char c) {
  if (!p_punct(p, c)) return false;
  p_next(p);
  return true;
}
bool p_expect_punct(parser *p, char c) {
  if (p_accept_punct(p, c)) return true;
  return p_fail(p, "'%c' expected, not '%.*s'", c, (int)p->tok.length, p->tok.text);
}
