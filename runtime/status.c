/* SPDX-License-Identifier: MIT */
/* Error messages.  (Names in parentheses: analysers see macros of the same names, status.h.) */
#include "runtime/status.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the control character that begins at 's'; 0: none does. */
static size_t control_bytes(const char *s) {
  const unsigned char c = (unsigned char)s[0], next = c ? (unsigned char)s[1] : 0;
  if (c == 0xc2 && next >= 0x80 && next < 0xa0) return 2;
  return (c && c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
}

void qp_text_plain(char *text, size_t size) {
  enum { ESCAPE = 4 };
  for (char *at = text; *at; at++) {
    const size_t bytes = control_bytes(at), before = (size_t)(at - text);
    if (!bytes) continue;
    if (before + ESCAPE >= size) { /* no room for the escape: the text ends here */
      *at = 0;
      return;
    }
    const unsigned shown = (unsigned char)at[bytes - 1];
    const size_t room = size - before - ESCAPE - 1, rest = strlen(at + bytes);
    memmove(at + ESCAPE, at + bytes, rest < room ? rest : room);
    at[ESCAPE + (rest < room ? rest : room)] = 0;
    memcpy(at, (char[]){'\\', 'x', "0123456789abcdef"[shown >> 4], "0123456789abcdef"[shown & 15]},
           ESCAPE);
    at += ESCAPE - 1;
  }
}

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
