/* SPDX-License-Identifier: MIT */
/* Conditions on symbolic values, found in the text of a decode function. */
#include "gen/spec/spec_lint.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 4096 };

typedef struct token {
  const char *at;
  size_t length; /* 0 behind the last token */
} token;

static bool is(token t, const char *word) {
  return strlen(word) == t.length && !strncmp(t.at, word, t.length);
}

static bool is_one_of(token t, const char *const *words) {
  while (*words && !is(t, *words)) words++;
  return *words != NULL;
}

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Behind a long bracket "[[" or "[==[" that begins at 'at'; NULL if none does. */
static const char *skip_long(const char *at) {
  size_t level = strspn(at + 1, "=");
  if (at[0] != '[' || at[1 + level] != '[') return NULL;
  for (const char *end = strchr(at, ']'); end; end = strchr(end + 1, ']')) {
    if (strspn(end + 1, "=") == level && end[1 + level] == ']') return end + level + 2;
  }
  return at + strlen(at);
}

static const char *skip_string(const char *at) {
  const char quote = *at++;
  while (*at && *at != quote) at += *at == '\\' && at[1] ? 2 : 1;
  return *at ? at + 1 : at;
}

/* Move behind space and comments. */
static const char *skip_blank(const char *at) {
  for (;;) {
    if (isspace((unsigned char)*at)) {
      at++;
    } else if (at[0] == '-' && at[1] == '-') {
      const char *end = at[2] == '[' ? skip_long(at + 2) : NULL;
      at = end ? end : at + strcspn(at, "\n");
    } else {
      return at;
    }
  }
}

static const char *token_end(const char *at) {
  const char *end = *at == '[' ? skip_long(at) : NULL;
  if (end) return end;
  if (*at == '"' || *at == '\'') return skip_string(at);
  if ((at[0] == '=' || at[0] == '~') && at[1] == '=') return at + 2;
  end = at + 1;
  while (is_letter(*at) && is_letter(*end)) end++;
  return end;
}

/* Read the tokens of a text and one of length 0 behind them; what does not fit is left out. */
static void read_tokens(const char *text, token *out) {
  size_t n = 0;
  for (const char *at = skip_blank(text); *at && n + 2 < MAX_TOKENS;) {
    const char *end = token_end(at);
    out[n++] = (token){at, (size_t)(end - at)};
    at = skip_blank(end);
  }
  out[n] = out[n + 1] = (token){text + strlen(text), 0};
}

/* The ')' of a call of eq or lt that begins at t; NULL if there is none. */
static const token *call_end(const token *t) {
  static const char *const names[] = {"eq", "lt", NULL};
  int depth = 0;
  if (!is_one_of(t[0], names) || !is(t[1], "(")) return NULL;
  for (t++; t->length; t++) {
    depth += is(*t, "(") - is(*t, ")");
    if (!depth) return t;
  }
  return NULL;
}

/* ---- Names that stand for values ---- */

enum { MAX_NAMES = 64 };

/* Locals of a decode function that hold values: its state and what is computed of values. */
typedef struct value_names {
  token name[MAX_NAMES];
  size_t count;
  token codebook, group; /* The second and the third parameter, whose items are values. */
} value_names;

static bool same(token a, token b) {
  return a.length && a.length == b.length && !strncmp(a.at, b.at, a.length);
}

static bool is_value(const value_names *v, token t) {
  for (size_t i = 0; i < v->count; i++) {
    if (same(v->name[i], t)) return true;
  }
  return false;
}

/* Is the token a value, or one's beginning, where it stands? */
static bool gives_value(const value_names *v, const token *t) {
  if (is(t[-1], ".") || is(t[-1], ":") || is(t[-1], "#")) return false;
  if (same(t[0], v->codebook)) return is(t[1], "[");
  if (same(t[0], v->group)) return is(t[1], ".") || is(t[1], "[");
  return is_value(v, t[0]);
}

/* Is 'b' on a later line than 'a'? */
static bool line_between(token a, token b) {
  return memchr(a.at, '\n', (size_t)(b.at - a.at)) != NULL;
}

/* Does the expression that begins at t, up to the end of its statement or its line, compute of
   values?  One that asks for a type or makes a table or a function is left out. */
static bool computes_of_values(const value_names *v, const token *t) {
  static const char *const plain[] = {"{", "function", "type", "tostring", NULL};
  static const char *const ends[] = {"local", "return", "if",   "for", "while",
                                     "end",   "else",   "then", ";",   NULL};
  bool found = false;
  int depth = 0;
  for (const token *first = t; t->length && !is_one_of(*t, ends); t++) {
    if (t > first && depth <= 0 && line_between(t[-1], *t)) break;
    if (is_one_of(*t, plain)) return false;
    depth += is(*t, "(") - is(*t, ")");
    found = found || gives_value(v, t);
  }
  return found;
}

/* At 'local a, b = ...': keep a and b as names of values if it computes of values; if not, a name
   of before means something else from here on. */
static void read_local(value_names *v, const token *t) {
  const token *end = t + 1;
  while (end->length && is_letter(*end->at) && is(end[1], ",")) end += 2;
  const bool values = end->length && is(end[1], "=") && computes_of_values(v, end + 2);
  for (const token *name = t + 1; name <= end; name += 2) {
    for (size_t i = 0; i < v->count; i++) {
      if (same(v->name[i], *name)) v->name[i].length = 0;
    }
    if (values && v->count < MAX_NAMES) v->name[v->count++] = *name;
  }
}

/* ---- Conditions ---- */

/* The last token of a condition on a value that begins at t; NULL if none does. */
static const token *condition_end(const token *t, const value_names *v) {
  static const char *const keywords[] = {"if", "elseif", "while", "until", "not", NULL};
  static const char *const compare[] = {"==", "~=", NULL};
  static const char *const after[] = {"then", "do", "and", "or", NULL};
  if (is_value(v, t[0]) && is_one_of(t[1], compare)) return t + 2;
  const token *end = call_end(t);
  if (end && is_one_of(end[1], compare)) return end + 2;
  if (is_one_of(*t, compare)) return is_value(v, t[1]) ? t + 1 : NULL;
  if (!is_one_of(*t, keywords)) return NULL;
  if (call_end(t + 1)) return call_end(t + 1);
  return is_value(v, t[1]) && is_one_of(t[2], after) ? t + 1 : NULL;
}

/* The parameters of a function, behind its '('; returns the token behind them. */
static const token *read_parameters(const token *t, value_names *v) {
  token given[3] = {0};
  for (size_t n = 0; t->length && !is(*t, ")"); t++) {
    if (is(*t, ",")) continue;
    if (n < 3) given[n++] = *t;
  }
  *v = (value_names){.name = {given[0]}, .count = 1, .codebook = given[1], .group = given[2]};
  return t;
}

bool qp_spec_find_condition(const char *text, int *line, char *found, size_t size) {
  token tokens[MAX_TOKENS];
  const token *t = tokens;
  value_names values;
  read_tokens(text, tokens);
  while (t->length && !is(*t, "function")) t++;
  while (t->length && !is(*t, "(")) t++;
  if (!t->length || !t[1].length) return false;
  for (t = read_parameters(t + 1, &values); t->length; t++) {
    if (is(t[-1], ".") || is(t[-1], ":")) continue; /* a field of that name */
    const token *last = condition_end(t, &values);
    if (!last) {
      if (is(*t, "local")) read_local(&values, t);
      continue;
    }
    *line = 0;
    for (const char *c = text; c < t->at; c++) *line += *c == '\n';
    snprintf(found, size, "%.*s", (int)(last->at + last->length - t->at), t->at);
    return true;
  }
  return false;
}

/* ---- Fields ---- */

/* Find the token at or behind 'at'; at the end of the text it has length 0. */
static token token_at(const char *at) {
  at = skip_blank(at);
  return (token){at, *at ? (size_t)(token_end(at) - at) : 0};
}

static const char *line_start(const char *text, int line) {
  for (; line > 1 && text; line--) {
    text = strchr(text, '\n');
    if (text) text++;
  }
  return text;
}

/* Find the place behind the name of the first constructor at or behind 'at'. */
static const char *constructor_at(const char *at) {
  static const char *const names[] = {"trellis", "vector", "scalar", "split", NULL};
  token t = token_at(at);
  while (t.length && !is_one_of(t, names)) t = token_at(t.at + t.length);
  return t.at + t.length;
}

int qp_spec_find_field(const char *text, int line, const char *path) {
  const char *at = line_start(text, line);
  int depth = 0, wanted = 1, found = 0;
  if (!at) return 0;
  for (token t = token_at(constructor_at(at)); t.length; t = token_at(t.at + t.length)) {
    const size_t part = strcspn(path, ".");
    depth += is(t, "{") - is(t, "}");
    if (depth < wanted && (is(t, "}") || (found && is(t, ",")))) break; /* its table is over */
    if (depth != wanted || t.length != part || strncmp(t.at, path, part) != 0) continue;
    if (!is(token_at(t.at + t.length), "=")) continue;
    found = line;
    for (const char *c = at; c < t.at; c++) found += *c == '\n';
    if (!path[part]) break;
    path += part + 1;
    wanted++;
  }
  return found;
}
