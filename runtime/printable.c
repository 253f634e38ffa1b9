/* SPDX-License-Identifier: MIT */
/* Text of others, as it may be printed. */
#include "runtime/printable.h"

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
static size_t escape(unsigned c, size_t bytes, bool lines, char out[ESCAPE + 1]) {
  const bool stays = lines && (c == '\n' || c == '\t');
  if ((c < 0x20 && !stays) || (c >= 0x7f && c < 0xa0) || (bytes == 1 && c >= 0x80))
    return (size_t)snprintf(out, ESCAPE + 1, "\\x%02x", c & 0xff);
  return misleads(c) ? (size_t)snprintf(out, ESCAPE + 1, "\\u%04x", c & 0xffff) : 0;
}

void qp_printable(char *text, size_t size, bool lines) {
  for (char *at = text; *at;) {
    char shown[ESCAPE + 1];
    unsigned letter;
    const size_t bytes = read_letter(at, &letter), length = escape(letter, bytes, lines, shown);
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
