/* SPDX-License-Identifier: MIT */
/* Error messages.  (Names in parentheses: analysers see macros of the same names, status.h.) */
#include "runtime/status.h"

#include <stdio.h>
#include <string.h>

#include "runtime/printable.h"

void qp_text_plain(char *text, size_t size) { qp_printable(text, size, true); }

qp_status(qp_fail)(qp_error *err, qp_status status, const char *format, ...) {
  if (!err) return status;
  va_list ap;
  va_start(ap, format);
  vsnprintf(err->text, sizeof err->text, format, ap);
  va_end(ap);
  qp_text_plain(err->text, sizeof err->text);
  return status;
}

qp_status(qp_fail_prefix)(qp_error *err, qp_status status, const char *format, ...) {
  if (!err) return status;
  char old[sizeof err->text], head[512];
  memcpy(old, err->text, sizeof old);
  va_list ap;
  va_start(ap, format);
  vsnprintf(head, sizeof head, format, ap);
  va_end(ap);
  qp_text_plain(head, sizeof head);
  size_t n = strlen(head), room = sizeof err->text - 1;
  memcpy(err->text, head, n);
  for (const char *s = ": "; *s && n < room;) err->text[n++] = *s++;
  for (const char *s = old; *s && n < room;) err->text[n++] = *s++;
  err->text[n] = 0;
  return status;
}

const char *qp_status_name(qp_status status) {
  static const char *const names[] = {
      [QP_OK] = "ok",
      [QP_E_ARG] = "wrong argument or input",
      [QP_E_IO] = "input/output failed",
      [QP_E_NOMEM] = "out of memory",
      [QP_E_MISSING] = "something needed is missing",
      [QP_E_DEVICE] = "device failure",
      [QP_E_COMPILE] = "compilation failed",
      [QP_E_WRONG] = "result differs from the reference",
      [QP_E_LIMIT] = "limit exceeded",
  };
  _Static_assert(sizeof names / sizeof *names == QP_STATUS_COUNT, "a name for every status");
  return (unsigned)status < QP_STATUS_COUNT ? names[status] : "unknown status";
}
