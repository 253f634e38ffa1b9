/* SPDX-License-Identifier: MIT */
/* Lines of fields, found in the text of a spec. */
#include "gen/spec/spec_lint.h"

#include <stdbool.h>
#include <string.h>

#include "gen/spec/lua_text.h"

static qp_lua_token next(qp_lua_token t) { return qp_lua_token_at(t.at + t.length); }

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
  qp_lua_token t = qp_lua_token_at(at);
  while (t.length && !qp_lua_token_is_one_of(t, names)) t = next(t);
  return t.at + t.length;
}

static int line_of(const char *begin, int line, const char *end) {
  for (const char *c = begin; c < end; c++) line += *c == '\n';
  return line;
}

int qp_spec_find_string(const char *text, int line, const char *word) {
  const char *at = line_start(text, line);
  const size_t length = strlen(word);
  if (!at) return 0;
  for (qp_lua_token t = qp_lua_token_at(at); t.length; t = next(t)) {
    const bool string = *t.at == '"' || *t.at == '\'';
    if (string && t.length == length + 2 && !strncmp(t.at + 1, word, length))
      return line_of(at, line, t.at);
  }
  return 0;
}

int qp_spec_find_field(const char *text, int line, const char *path) {
  const char *at = line_start(text, line);
  int depth = 0, wanted = 1, found = 0;
  if (!at) return 0;
  for (qp_lua_token t = qp_lua_token_at(constructor_at(at)); t.length; t = next(t)) {
    const size_t part = strcspn(path, ".");
    depth += qp_lua_token_is(t, "{") - qp_lua_token_is(t, "}");
    if (depth < wanted && (qp_lua_token_is(t, "}") || (found && qp_lua_token_is(t, ","))))
      break; /* its table is over */
    if (depth != wanted || t.length != part || strncmp(t.at, path, part) != 0) continue;
    if (!qp_lua_token_is(next(t), "=")) continue;
    found = line_of(at, line, t.at);
    if (!path[part]) break;
    path += part + 1;
    wanted++;
  }
  return found;
}
