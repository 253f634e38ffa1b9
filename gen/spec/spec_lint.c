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

/* Behind space and comments. */
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

/* Tokens of a text and one of length 0 behind them; what does not fit is left out. */
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

/* The last token of a condition on a value that begins at t; NULL if none does. */
static const token *condition_end(const token *t, token state) {
  static const char *const keywords[] = {"if", "elseif", "while", "until", "not", NULL};
  static const char *const compare[] = {"==", "~=", NULL};
  static const char *const after[] = {"then", "do", "and", "or", NULL};
  const bool begins = t->length == state.length && !strncmp(t->at, state.at, state.length);
  if (begins && is_one_of(t[1], compare)) return t + 2;
  const token *end = call_end(t);
  if (end && is_one_of(end[1], compare)) return end + 2;
  if (is_one_of(*t, compare)) {
    return t[1].length == state.length && !strncmp(t[1].at, state.at, state.length) ? t + 1 : NULL;
  }
  if (!is_one_of(*t, keywords)) return NULL;
  if (call_end(t + 1)) return call_end(t + 1);
  const bool alone = t[1].length == state.length && !strncmp(t[1].at, state.at, state.length);
  return alone && is_one_of(t[2], after) ? t + 1 : NULL;
}

bool qp_spec_find_condition(const char *text, int *line, char *found, size_t size) {
  token tokens[MAX_TOKENS];
  const token *t = tokens;
  read_tokens(text, tokens);
  while (t->length && !is(*t, "function")) t++;
  while (t->length && !is(*t, "(")) t++;
  if (!t->length || !t[1].length) return false;
  const token state = *++t;
  for (t++; t->length; t++) {
    if (is(t[-1], ".") || is(t[-1], ":")) continue; /* a field of that name */
    const token *last = condition_end(t, state);
    if (!last) continue;
    *line = 0;
    for (const char *c = text; c < t->at; c++) *line += *c == '\n';
    snprintf(found, size, "%.*s", (int)(last->at + last->length - t->at), t->at);
    return true;
  }
  return false;
}
