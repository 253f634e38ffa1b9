/* SPDX-License-Identifier: MIT */
/* Reads lua/quantizers/definitions.txt; see pinned.h. */
#include "gen/spec/pinned.h"

#include <stdio.h>
#include <string.h>

#include "gen/base/resource.h"

const char *qp_pinned_find(const char *text, const char *name) {
  size_t n = strlen(name);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (!strncmp(line, name, n) && line[n] == ' ') return line + n + 1;
    if (!*line) break;
  }
  return NULL;
}

bool qp_pinned_file(const char *name, char *out, size_t size) {
  const char *text;
  size_t bytes;
  if (qp_resource_read(QP_PINNED, &text, &bytes, NULL)) return false;
  const char *pin = qp_pinned_find(text, name);
  if (!pin) return false;
  pin += strcspn(pin, " \n"); /* behind the hash */
  const size_t length = *pin == ' ' ? strcspn(pin + 1, "\n") : 0;
  const int n = snprintf(out, size, "lua/quantizers/%.*s", (int)length, pin + 1);
  return length > 0 && n > 0 && (size_t)n < size;
}
