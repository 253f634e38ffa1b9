/* SPDX-License-Identifier: MIT */
/* Template expander. */
#include "gen/kernel/expand.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/base/text.h"

enum { MAX_DEPTH = 8 };

typedef struct expansion {
  const qp_hole *holes;
  size_t n;
  qp_text out;
  qp_error *err;
} expansion;

static qp_status expand_file(expansion *e, const char *file, unsigned depth);

static const char *hole_value(const expansion *e, const char *name, size_t n) {
  for (size_t i = 0; i < e->n; i++)
    if (strlen(e->holes[i].name) == n && !memcmp(e->holes[i].name, name, n))
      return e->holes[i].value;
  return NULL;
}

/* A line that is one hole and nothing else. */
static qp_status expand_block(expansion *e, const char *file, unsigned line, const char *name,
                              size_t n, unsigned depth) {
  if (n > 8 && !memcmp(name, "include:", 8)) {
    char *path = strndup(name + 8, n - 8);
    if (!path) return qp_fail(e->err, QP_E_NOMEM, "%s:%u: no memory", file, line);
    qp_status status = expand_file(e, path, depth + 1);
    if (status) qp_fail_prefix(e->err, status, "%s:%u", file, line);
    free(path);
    if (status) return status;
  } else {
    const char *value = hole_value(e, name, n);
    if (!value)
      return qp_fail(e->err, QP_E_ARG, "%s:%u: hole '@{%.*s}' is not known", file, line, (int)n,
                     name);
    qp_text_add(&e->out, "#line 1 \"<%.*s>\"\n%s", (int)n, name, value);
    if (e->out.length && e->out.s[e->out.length - 1] != '\n') qp_text_append(&e->out, "\n", 1);
  }
  qp_text_add(&e->out, "#line %u \"%s\"\n", line + 1, file);
  return QP_OK;
}

static qp_status expand_line(expansion *e, const char *file, unsigned line, const char *s, size_t n,
                             unsigned depth) {
  if (n > 3 && !memcmp(s, "@{", 2) && s[n - 1] == '}' && !memchr(s + 2, '@', n - 2))
    return expand_block(e, file, line, s + 2, n - 3, depth);
  while (n) {
    const char *at = memmem(s, n, "@{", 2);
    size_t plain = at ? (size_t)(at - s) : n;
    qp_text_append(&e->out, s, plain);
    s += plain;
    n -= plain;
    if (!at) break;
    const char *end = memchr(s, '}', n);
    if (!end) return qp_fail(e->err, QP_E_ARG, "%s:%u: '@{' without '}'", file, line);
    size_t length = (size_t)(end - s) - 2;
    const char *value = hole_value(e, s + 2, length);
    if (!value)
      return qp_fail(e->err, QP_E_ARG, "%s:%u: hole '@{%.*s}' is not known", file, line,
                     (int)length, s + 2);
    qp_text_append(&e->out, value, strlen(value));
    n -= length + 3;
    s += length + 3;
  }
  qp_text_append(&e->out, "\n", 1);
  return QP_OK;
}

static qp_status expand_file(expansion *e, const char *file, unsigned depth) {
  const char *s;
  size_t n;
  if (depth > MAX_DEPTH)
    return qp_fail(e->err, QP_E_ARG, "%s: included more than %d deep", file, MAX_DEPTH);
  qp_status status = qp_resource_read(file, &s, &n, e->err);
  if (status) return status;
  qp_text_add(&e->out, "#line 1 \"%s\"\n", file);
  for (unsigned line = 1; n && !status; line++) {
    const char *end = memchr(s, '\n', n);
    size_t length = end ? (size_t)(end - s) : n;
    status = expand_line(e, file, line, s, length, depth);
    size_t taken = length + (end ? 1 : 0);
    s += taken;
    n -= taken;
  }
  return status;
}

qp_status qp_expand(const char *template_file, const qp_hole *holes, size_t n, char **text,
                    qp_error *err) {
  expansion e = {.holes = holes, .n = n, .err = err};
  qp_status status = expand_file(&e, template_file, 0);
  char *s = qp_text_take(&e.out);
  if (!status && !s)
    status = qp_fail(err, QP_E_NOMEM, "%s: no memory for the source", template_file);
  if (status) return free(s), status;
  *text = s;
  return QP_OK;
}
