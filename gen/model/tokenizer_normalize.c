/* SPDX-License-Identifier: MIT */
/* Normalizers rewrite a text before it is cut into pieces.  No other file knows utf8proc. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "gen/model/tokenizer_parts.h"

void qp_normalizer_free(qp_normalizer *step) {
  qp_pattern_free(step->pattern);
  free(step->content);
  free(step->charsmap);
  *step = (qp_normalizer){0};
}

static qp_status no_memory(qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "no memory to normalize a text");
}

/* ---- Unicode's normalization forms ---- */

static qp_status unicode_form(int options, const char *s, size_t n, qp_text *out, qp_error *err) {
  utf8proc_uint8_t *result = NULL;
  const utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n,
                                               &result, (utf8proc_option_t)options);
  if (length < 0)
    return qp_fail(err, length == UTF8PROC_ERROR_NOMEM ? QP_E_NOMEM : QP_E_ARG,
                   "a text cannot be normalized: %s", utf8proc_errmsg(length));
  qp_text_append(out, (const char *)result, (size_t)length);
  free(result);
  return QP_OK;
}

/* ---- Character by character ---- */

static void put(qp_text *out, uint32_t c) {
  char s[4];
  qp_text_append(out, s, qp_utf8_write(c, s));
}

static void lowercase(uint32_t c, qp_text *out) {
  if (c == 0x130) { /* the only character whose small letter is two */
    put(out, 'i');
    put(out, 0x307);
  } else {
    put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
  }
}

/* All marks go, those that take room too. */
static void strip_accent(uint32_t c, qp_text *out) {
  const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
  if (category < UTF8PROC_CATEGORY_MN || category > UTF8PROC_CATEGORY_ME) put(out, c);
}

/* SentencePiece's "nmt": control characters go, what separates becomes a space. */
static void nmt(uint32_t c, qp_text *out) {
  if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
      c == 0x9f)
    return;
  const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                     (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xfeff || c == 0xfffd;
  put(out, space ? ' ' : c);
}

static void each(void (*step)(uint32_t c, qp_text *out), const char *s, size_t n, qp_text *out) {
  for (size_t i = 0; i < n; i += qp_utf8_bytes(s + i)) step(qp_utf8_read(s + i), out);
}

static void strip(const qp_normalizer *step, const char *s, size_t n, qp_text *out) {
  size_t begin = 0, end = n;
  while (step->left && begin < end && qp_is_white_space(qp_utf8_read(s + begin)))
    begin += qp_utf8_bytes(s + begin);
  while (step->right && end > begin) {
    size_t last = end - 1;
    while (((unsigned char)s[last] & 0xc0) == 0x80) last--;
    if (!qp_is_white_space(qp_utf8_read(s + last))) break;
    end = last;
  }
  qp_text_append(out, s + begin, end - begin);
}

static qp_status replace(const qp_normalizer *step, const char *s, size_t n, qp_text *out,
                         qp_error *err) {
  qp_span *span;
  size_t count, at = 0;
  qp_status status = qp_pattern_find(step->pattern, s, n, &span, &count, err);
  if (status) return status;
  for (size_t i = 0; i < count; i++) {
    qp_text_append(out, s + at, span[i].begin - at);
    qp_text_append(out, step->content, strlen(step->content));
    at = span[i].end;
  }
  qp_text_append(out, s + at, n - at);
  free(span);
  return QP_OK;
}

/* ---- SentencePiece's compiled maps ---- */

/*
** A charsmap is  u32 bytes of the trie | trie | texts, each ended by NUL.  The trie is a double
** array (darts-clone): a unit u of 32 bits holds
**   offset   (u >> 10) << ((u & 0x200) >> 6)     where its children's units are, xor'ed
**   label    u & 0x800000ff                      the byte that leads to it
**   leaf     u >> 8 & 1                          unit [position ^ offset] is a value:
**                                                u & 0x7fffffff, an offset into the texts
*/
static uint32_t u32_at(const unsigned char *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

qp_status qp_charsmap_check(const unsigned char *map, size_t bytes, const char *field,
                            qp_error *err) {
  const size_t trie = bytes >= 4 ? u32_at(map) : 0;
  if (bytes < 8 || trie < 4 || trie % 4 || trie > bytes - 4)
    return qp_fail(err, QP_E_ARG,
                   "%s: a map of %zu bytes whose trie has %zu: whole words of 4 bytes within the "
                   "map are needed",
                   field, bytes, trie);
  if (trie < bytes - 4 && map[bytes - 1])
    return qp_fail(err, QP_E_ARG, "%s: the last text does not end with NUL", field);
  const size_t texts = bytes - 4 - trie;
  const size_t valid = qp_utf8_check((const char *)map + 4 + trie, texts);
  if (valid != texts)
    return qp_fail(err, QP_E_ARG, "%s: its texts are no UTF-8 at byte %zu", field, valid);
  return QP_OK;
}

/* The text for the shortest key that s[n] begins with (as tokenizers takes it), or NULL. */
static const char *map_find(const qp_normalizer *step, const char *s, size_t n) {
  const unsigned char *trie = step->charsmap + 4;
  const size_t units = u32_at(step->charsmap) / 4;
  const size_t texts = step->charsmap_bytes - 4 - 4 * units;
  uint32_t at = offset_of(u32_at(trie));
  for (size_t i = 0; i < n; i++) {
    const unsigned char byte = (unsigned char)s[i];
    if (!byte) return NULL;
    at ^= byte;
    if (at >= units) return NULL;
    const uint32_t unit = u32_at(trie + 4 * (size_t)at);
    if ((unit & 0x800000ff) != byte) return NULL;
    at ^= offset_of(unit);
    if (!(unit >> 8 & 1)) continue;
    if (at >= units) return NULL;
    const uint32_t value = u32_at(trie + 4 * (size_t)at) & 0x7fffffff;
    const char *text = (const char *)trie + 4 * units + value;
    const bool inside = value < texts && ((unsigned char)*text & 0xc0) != 0x80;
    return inside ? text : NULL; /* not from the middle of a character */
  }
  return NULL;
}

/* Count the bytes of the grapheme cluster at s[n]. */
static size_t cluster_bytes(const char *s, size_t n) {
  utf8proc_int32_t state = 0;
  size_t i = qp_utf8_bytes(s);
  uint32_t c = qp_utf8_read(s);
  while (i < n) {
    const uint32_t next = qp_utf8_read(s + i);
    if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
      break;
    c = next;
    i += qp_utf8_bytes(s + i);
  }
  return i;
}

/* A cluster of less than 6 bytes is looked up whole, then its characters one by one. */
static void map_cluster(const qp_normalizer *step, const char *s, size_t n, qp_text *out) {
  const char *text = n < 6 ? map_find(step, s, n) : NULL;
  if (text) {
    qp_text_append(out, text, strlen(text));
    return;
  }
  for (size_t i = 0; i < n; i += qp_utf8_bytes(s + i)) {
    text = map_find(step, s + i, qp_utf8_bytes(s + i));
    qp_text_append(out, text ? text : s + i, text ? strlen(text) : qp_utf8_bytes(s + i));
  }
}

static void precompiled(const qp_normalizer *step, const char *s, size_t n, qp_text *out) {
  for (size_t i = 0; i < n;) {
    const size_t bytes = cluster_bytes(s + i, n - i);
    map_cluster(step, s + i, bytes, out);
    i += bytes;
  }
}

/* ---- One step ---- */

qp_status qp_normalize(const qp_normalizer *step, const char *s, size_t n, qp_text *out,
                       qp_error *err) {
  const int composed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  const int decomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  qp_status status = QP_OK;
  switch (step->kind) {
  case QP_NORMALIZE_NFC: status = unicode_form(composed, s, n, out, err); break;
  case QP_NORMALIZE_NFD: status = unicode_form(decomposed, s, n, out, err); break;
  case QP_NORMALIZE_NFKC: status = unicode_form(composed | UTF8PROC_COMPAT, s, n, out, err); break;
  case QP_NORMALIZE_NFKD:
    status = unicode_form(decomposed | UTF8PROC_COMPAT, s, n, out, err);
    break;
  case QP_NORMALIZE_LOWERCASE: each(lowercase, s, n, out); break;
  case QP_NORMALIZE_STRIP: strip(step, s, n, out); break;
  case QP_NORMALIZE_STRIP_ACCENTS: each(strip_accent, s, n, out); break;
  case QP_NORMALIZE_REPLACE: status = replace(step, s, n, out, err); break;
  case QP_NORMALIZE_PREPEND:
    if (n) qp_text_append(out, step->content, strlen(step->content));
    qp_text_append(out, s, n);
    break;
  case QP_NORMALIZE_NMT: each(nmt, s, n, out); break;
  case QP_NORMALIZE_PRECOMPILED: precompiled(step, s, n, out); break;
  case QP_NORMALIZE_BYTES: qp_append_bytes_as_characters(out, s, n); break;
  }
  if (!status) qp_text_append(out, "", 0);
  return !status && out->failed ? no_memory(err) : status;
}

bool qp_is_word(uint32_t c) {
  switch (utf8proc_category((utf8proc_int32_t)c)) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC: return true;
  default: return false;
  }
}
