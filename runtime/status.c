/* SPDX-License-Identifier: MIT */
/* Error messages.  (Names in parentheses: analysers see macros of the same names, status.h.) */
#include "runtime/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { ESCAPE = 6 }; /* bytes of the longest */

/* The character of UTF-8 that begins at 's' and the bytes that it has; 1 and its byte where none
   does. */
static size_t read_letter(const char *s, unsigned *letter) {
  static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char *c = (const unsigned char *)s;
  const size_t bytes = c[0] < 0xc2 ? 1 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 1;
  *letter = c[0];
  if (bytes == 1) return 1;
  unsigned value = c[0] & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; i++) {
    if ((c[i] & 0xc0) != 0x80) return 1; /* a NUL, too */
    value = value << 6 | (c[i] & 0x3fu);
  }
  if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 1;
  *letter = value;
  return bytes;
}

/* Characters that end lines, have no width, or turn the direction of what follows. */
static bool misleads(unsigned c) {
  return c == 0x61c || (c >= 0x200b && c < 0x2010) || (c >= 0x2028 && c < 0x202f) ||
         (c >= 0x2060 && c < 0x2070) || c == 0xfeff || (c >= 0xfff9 && c < 0xfffc);
}

/* Write what is shown in place of a character that has 'bytes' bytes; the length, 0: it stays. */
static size_t escape(unsigned c, size_t bytes, char out[ESCAPE + 1]) {
  const bool stays = c == '\n' || c == '\t';
  if ((c < 0x20 && !stays) || (c >= 0x7f && c < 0xa0) || (bytes == 1 && c >= 0x80))
    return (size_t)snprintf(out, ESCAPE + 1, "\\x%02x", c & 0xff);
  return misleads(c) ? (size_t)snprintf(out, ESCAPE + 1, "\\u%04x", c & 0xffff) : 0;
}

void qp_text_plain(char *text, size_t size) {
  for (char *at = text; *at;) {
    char shown[ESCAPE + 1];
    unsigned letter;
    const size_t bytes = read_letter(at, &letter), length = escape(letter, bytes, shown);
    const size_t before = (size_t)(at - text);
    if (length && before + length >= size) { /* no room for the escape: the text ends here */
      *at = 0;
      return;
    }
    if (length) {
      const size_t room = size - before - length - 1, rest = strlen(at + bytes);
      memmove(at + length, at + bytes, rest < room ? rest : room);
      at[length + (rest < room ? rest : room)] = 0;
      memcpy(at, shown, length);
    }
    at += length ? length : bytes;
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
