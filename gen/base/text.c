/* SPDX-License-Identifier: MIT */
/* A string that grows as text is added. */
#include "gen/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(qp_text *t, size_t more) {
  if (t->failed) return false;
  if (t->length + more + 1 <= t->capacity) return true;
  size_t capacity = t->capacity ? t->capacity : 256;
  while (capacity < t->length + more + 1) capacity *= 2;
  char *s = realloc(t->s, capacity);
  if (!s) return t->failed = true, false;
  t->s = s;
  t->capacity = capacity;
  return true;
}

void qp_text_append(qp_text *t, const char *s, size_t n) {
  if (!reserve(t, n)) return;
  memcpy(t->s + t->length, s, n);
  t->length += n;
  t->s[t->length] = 0;
}

void qp_text_add(qp_text *t, const char *format, ...) {
  va_list ap, again;
  va_start(ap, format);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, format, ap);
  if (n > 0 && reserve(t, (size_t)n)) {
    vsnprintf(t->s + t->length, (size_t)n + 1, format, again);
    t->length += (size_t)n;
  }
  va_end(again);
  va_end(ap);
}

char *qp_text_take(qp_text *t) {
  qp_text_append(t, "", 0);
  char *s = t->failed ? NULL : t->s;
  if (t->failed) free(t->s);
  *t = (qp_text){0};
  return s;
}

void qp_text_free(qp_text *t) {
  free(t->s);
  *t = (qp_text){0};
}
