/* SPDX-License-Identifier: MIT */
/* Tokens of Lua, as its manual has them (3.1). */
#include "gen/spec/lua_text.h"

#include <ctype.h>
#include <string.h>

bool qp_lua_token_is(qp_lua_token t, const char *word) {
  return strlen(word) == t.length && !strncmp(t.at, word, t.length);
}

bool qp_lua_token_is_one_of(qp_lua_token t, const char *const *words) {
  while (*words && !qp_lua_token_is(t, *words)) words++;
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

/* Digits, letters and points; a sign behind an exponent's letter. */
static const char *skip_number(const char *at) {
  const char *exponent = at[0] == '0' && (at[1] | 32) == 'x' ? "pP" : "eE";
  while (is_letter(*at) || *at == '.') {
    const bool sign = strchr(exponent, *at) && (at[1] == '+' || at[1] == '-');
    at += sign ? 2 : 1;
  }
  return at;
}

static const char *skip_operator(const char *at) {
  static const char *const longer[] = {
      "...", "..", "==", "~=", "<=", ">=", "<<", ">>", "//", "::", NULL};
  for (const char *const *o = longer; *o; o++) {
    if (!strncmp(at, *o, strlen(*o))) return at + strlen(*o);
  }
  return at + 1;
}

static const char *token_end(const char *at) {
  const char *end = *at == '[' ? skip_long(at) : NULL;
  if (end) return end;
  if (*at == '"' || *at == '\'') return skip_string(at);
  if (isdigit((unsigned char)*at) || (*at == '.' && isdigit((unsigned char)at[1])))
    return skip_number(at);
  if (!is_letter(*at)) return skip_operator(at);
  while (is_letter(*at)) at++;
  return at;
}

qp_lua_token qp_lua_token_at(const char *at) {
  at = skip_blank(at);
  return (qp_lua_token){at, *at ? (size_t)(token_end(at) - at) : 0};
}
