/* SPDX-License-Identifier: MIT */
/* Characters and growing lists of tokenizers; see tokenizer_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "gen/model/tokenizer_parts.h"
#include "runtime/list.h"

/* ---- Growing lists ---- */

void qp_ids_add(qp_ids *ids, uint32_t id) {
  if (ids->failed) return;
  uint32_t *more = qp_list_room(ids->id, ids->count, &ids->capacity, sizeof *more);
  if (!more) {
    ids->failed = true;
    return;
  }
  ids->id = more;
  ids->id[ids->count++] = id;
}

void qp_pieces_begin(qp_pieces *p, bool first) {
  if (p->failed) return;
  if (p->count && !p->piece[p->count - 1].length) p->count--; /* an empty piece is none */
  qp_piece *more = qp_list_room(p->piece, p->count, &p->capacity, sizeof *more);
  if (!more) {
    p->failed = true;
    return;
  }
  p->piece = more;
  p->piece[p->count++] = (qp_piece){.begin = p->text.length, .first = first};
}

void qp_pieces_append(qp_pieces *p, const char *s, size_t n) {
  if (p->failed) return;
  qp_text_append(&p->text, s, n);
  p->failed = p->text.failed;
  p->piece[p->count - 1].length += n;
}

void qp_pieces_free(qp_pieces *p) {
  qp_text_free(&p->text);
  free(p->piece);
  *p = (qp_pieces){0};
}

/* ---- Characters ---- */

unsigned qp_utf8_bytes(const char *s) {
  const unsigned char c = (unsigned char)*s;
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

uint32_t qp_utf8_read(const char *s) {
  const unsigned char *u = (const unsigned char *)s;
  const unsigned n = qp_utf8_bytes(s);
  uint32_t c = n == 1 ? u[0] : u[0] & (0xffu >> (n + 1));
  for (unsigned i = 1; i < n; i++) c = c << 6 | (u[i] & 0x3f);
  return c;
}

unsigned qp_utf8_write(uint32_t c, char out[4]) {
  const unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (unsigned i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)(lead[n] | c);
  return n;
}

/* Count the bytes of the valid character at s[n]; 0: it is cut, overlong, a surrogate or beyond
   U+10FFFF. */
static unsigned valid_character(const unsigned char *s, size_t n) {
  if (s[0] < 0x80) return 1;
  if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
  const unsigned bytes = qp_utf8_bytes((const char *)s);
  if (n < bytes) return 0;
  for (unsigned i = 1; i < bytes; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  const uint32_t c = qp_utf8_read((const char *)s);
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[bytes] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
  return bytes;
}

size_t qp_utf8_check(const char *s, size_t n) {
  size_t i = 0;
  while (i < n) {
    const unsigned bytes = valid_character((const unsigned char *)s + i, n - i);
    if (!bytes) return i;
    i += bytes;
  }
  return n;
}

bool qp_is_white_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

/* Bytes that print in Latin-1 stand for themselves; the others, in order, are U+0100 and up. */
static uint32_t character_of(unsigned byte) {
  if (byte < 0x21) return 0x100 + byte;
  if (byte >= 0x7f && byte <= 0xa0) return 0x121 + byte - 0x7f;
  return byte == 0xad ? 0x143 : byte;
}

void qp_append_bytes_as_characters(qp_text *out, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char c[4];
    qp_text_append(out, c, qp_utf8_write(character_of((unsigned char)s[i]), c));
  }
}
