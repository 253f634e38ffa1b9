/* SPDX-License-Identifier: MIT */
/* A string that grows as text is added. */
#ifndef QP_TEXT_H
#define QP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct qp_text {
  char *s; /* NUL-ended once something was added; malloc'ed */
  size_t length, capacity;
  bool failed; /* memory ran out; everything after is ignored */
} qp_text;

/* Append printf's text, or n bytes.  Where memory runs out the text has failed, which
   qp_text_take tells. */
void qp_text_add(qp_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void qp_text_append(qp_text *t, const char *s, size_t n);
/* Hand over the string ("" if nothing was added) and clear the text.  NULL means that memory ran
   out. */
char *qp_text_take(qp_text *t);
void qp_text_free(qp_text *t);

#endif
