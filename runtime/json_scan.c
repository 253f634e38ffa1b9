/* SPDX-License-Identifier: MIT */
/* JSON read from front to back; see json_scan.h. */
#include "runtime/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(QP_JSON_SCAN_DEPTH < 64, "a bit of 'started' for each level");

void qp_json_scan_begin(qp_json_scan *s, const char *file, const char *text, size_t bytes,
                        qp_error *err) {
  *s = (qp_json_scan){.file = file, .text = text, .bytes = bytes, .err = err};
}

qp_status qp_json_scan_fail(const qp_json_scan *s, qp_status status, const char *message) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < s->at && i < s->bytes; i++, column++)
    if (s->text[i] == '\n') line++, column = 0;
  return qp_fail(s->err, status, "%s:%zu:%zu: %s", s->file, line, column, message);
}

static qp_status wrong(const qp_json_scan *s, const char *message) {
  return qp_json_scan_fail(s, QP_E_ARG, message);
}

/* Look at the next byte, which is 0 at the end; a NUL in the text is nothing that JSON allows
   either. */
static char look(const qp_json_scan *s) { return (char)(s->at < s->bytes ? s->text[s->at] : 0); }

static char next_of_value(qp_json_scan *s) {
  while (s->at < s->bytes && s->text[s->at] && strchr(" \t\r\n", s->text[s->at])) s->at++;
  return look(s);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

qp_json_kind qp_json_scan_peek(qp_json_scan *s) {
  const char c = next_of_value(s);
  if (is_digit(c)) return QP_JSON_NUMBER;
  switch (c) {
  case '{': return QP_JSON_OBJECT;
  case '[': return QP_JSON_LIST;
  case '"': return QP_JSON_STRING;
  case '-': return QP_JSON_NUMBER;
  case 't':
  case 'f': return QP_JSON_BOOLEAN;
  case 'n': return QP_JSON_NULL;
  default: return QP_JSON_NOTHING;
  }
}

/* ---- Objects and arrays ---- */

qp_status qp_json_scan_open(qp_json_scan *s, char bracket) {
  if (next_of_value(s) != bracket)
    return wrong(s, bracket == '{' ? "an object ({...}) is needed" : "a list ([...]) is needed");
  if (s->depth == QP_JSON_SCAN_DEPTH)
    return qp_json_scan_fail(s, QP_E_LIMIT, "more than 32 levels of nesting");
  s->at++;
  s->depth++;
  s->started &= ~((uint64_t)1 << s->depth);
  return QP_OK;
}

/* Go past the comma before the next member, or past the closing bracket. */
static qp_status go_on(qp_json_scan *s, char closing, bool *more) {
  char c = next_of_value(s);
  const uint64_t bit = (uint64_t)1 << s->depth;
  if (c == closing) {
    s->at++;
    s->depth--;
    *more = false;
    return QP_OK;
  }
  if (s->started & bit) {
    if (c != ',') return wrong(s, "a comma or the closing bracket is missing");
    s->at++;
    c = next_of_value(s);
    if (c == closing) return wrong(s, "a value is missing after the comma");
  }
  s->started |= bit;
  *more = true;
  return QP_OK;
}

qp_status qp_json_scan_key(qp_json_scan *s, char key[QP_JSON_SCAN_KEY], bool *more) {
  qp_status status = go_on(s, '}', more);
  if (status || !*more) return status;
  status = qp_json_scan_text(s, key, QP_JSON_SCAN_KEY);
  if (status) return status;
  if (next_of_value(s) != ':') return wrong(s, "':' is missing after a member's name");
  s->at++;
  return QP_OK;
}

qp_status qp_json_scan_item(qp_json_scan *s, bool *more) { return go_on(s, ']', more); }

/* ---- Strings ---- */

static bool read_hex(qp_json_scan *s, uint32_t *out) {
  uint32_t v = 0;
  for (unsigned i = 0; i < 4; i++, s->at++) {
    const char c = look(s), low = (char)(c | 0x20);
    if (is_digit(c))
      v = v * 16 + (uint32_t)(c - '0');
    else if (low >= 'a' && low <= 'f')
      v = v * 16 + (uint32_t)(low - 'a' + 10);
    else
      return false;
  }
  *out = v;
  return true;
}

/* After "\u": one code point, of two escapes where it is a surrogate pair; 0 if it is not right. */
static uint32_t read_code_point(qp_json_scan *s) {
  uint32_t high, low;
  if (!read_hex(s, &high)) return 0;
  if (high < 0xd800 || high > 0xdfff) return high;
  if (high > 0xdbff || s->bytes - s->at < 6 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u')
    return 0;
  s->at += 2;
  if (!read_hex(s, &low) || low < 0xdc00 || low > 0xdfff) return 0;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static unsigned to_utf8(uint32_t c, char out[4]) {
  if (c < 0x80) return out[0] = (char)c, 1;
  const unsigned n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (unsigned i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)(lead[n] | c);
  return n;
}

static unsigned read_escape(qp_json_scan *s, char out[4]) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char c = look(s);
  const char *at = c ? strchr(from, c) : NULL;
  s->at++;
  if (at) return out[0] = to[at - from], 1;
  const uint32_t code = c == 'u' ? read_code_point(s) : 0;
  return code ? to_utf8(code, out) : 0;
}

/* 'out' may be NULL: the string is only checked. */
static qp_status read_text(qp_json_scan *s, char *out, size_t size) {
  if (next_of_value(s) != '"') return wrong(s, "a string is needed");
  s->at++;
  for (size_t n = 0;;) {
    char c = look(s), piece[4];
    unsigned length = 1;
    if (c == '"') {
      s->at++;
      if (out) out[n] = 0;
      return QP_OK;
    }
    if ((unsigned char)c < 0x20) return wrong(s, "a string has no end, or holds a control code");
    s->at++;
    piece[0] = c;
    if (c == '\\' && !(length = read_escape(s, piece)))
      return wrong(s, "a string holds a wrong escape");
    if (!out) continue;
    if (n + length >= size) return qp_json_scan_fail(s, QP_E_LIMIT, "a string is too long");
    memcpy(out + n, piece, length);
    n += length;
  }
}

qp_status qp_json_scan_text(qp_json_scan *s, char *out, size_t size) {
  return read_text(s, out, size);
}

/* ---- Numbers and words ---- */

static size_t skip_digits(const qp_json_scan *s, size_t at) {
  while (at < s->bytes && is_digit(s->text[at])) at++;
  return at;
}

/* End of the number at the reader's place, or that place where there is none. */
static size_t number_end(const qp_json_scan *s) {
  size_t at = s->at + (look(s) == '-'), end = skip_digits(s, at);
  if (end == at || (s->text[at] == '0' && end > at + 1)) return s->at;
  at = end;
  if (at < s->bytes && s->text[at] == '.') {
    end = skip_digits(s, at + 1);
    if (end == at + 1) return s->at;
    at = end;
  }
  if (at < s->bytes && (s->text[at] | 0x20) == 'e') {
    at++;
    if (at < s->bytes && (s->text[at] == '+' || s->text[at] == '-')) at++;
    end = skip_digits(s, at);
    if (end == at) return s->at;
    at = end;
  }
  return at;
}

qp_status qp_json_scan_unsigned(qp_json_scan *s, uint64_t *out) {
  next_of_value(s);
  const size_t end = number_end(s);
  uint64_t v = 0;
  bool right = end > s->at;
  for (size_t i = s->at; i < end && right; i++) {
    const uint64_t digit = (uint64_t)(s->text[i] - '0');
    right = is_digit(s->text[i]) && v <= (UINT64_MAX - digit) / 10;
    v = v * 10 + digit;
  }
  if (!right) return wrong(s, "a whole number from 0 to 2^64 - 1 is needed");
  s->at = end;
  *out = v;
  return QP_OK;
}

qp_status qp_json_scan_number(qp_json_scan *s, double *out) {
  char text[64];
  next_of_value(s);
  const size_t end = number_end(s), n = end - s->at;
  if (!n || n >= sizeof text) return wrong(s, "a number of at most 63 characters is needed");
  memcpy(text, s->text + s->at, n);
  text[n] = 0;
  const double v = strtod(text, NULL);
  if (!isfinite(v)) return wrong(s, "a number is beyond the range of double");
  s->at = end;
  *out = v;
  return QP_OK;
}

static bool take_word(qp_json_scan *s, const char *word) {
  const size_t n = strlen(word);
  next_of_value(s);
  if (s->bytes - s->at < n || memcmp(s->text + s->at, word, n) != 0) return false;
  s->at += n;
  return true;
}

qp_status qp_json_scan_boolean(qp_json_scan *s, bool *out) {
  const bool yes = take_word(s, "true");
  if (!yes && !take_word(s, "false")) return wrong(s, "true or false is needed");
  *out = yes;
  return QP_OK;
}

/* ---- Any value ---- */

/* Passed over, also NaN and Infinity as Python writes them: nobody wants the value. */
static qp_status skip_scalar(qp_json_scan *s) {
  if (take_word(s, "NaN") || take_word(s, "Infinity") || take_word(s, "-Infinity")) return QP_OK;
  switch (qp_json_scan_peek(s)) {
  case QP_JSON_STRING: return read_text(s, NULL, 0);
  case QP_JSON_NUMBER: {
    const size_t end = number_end(s);
    if (end == s->at) return wrong(s, "this is no number");
    s->at = end;
    return QP_OK;
  }
  default:
    if (take_word(s, "true") || take_word(s, "false") || take_word(s, "null")) return QP_OK;
    return wrong(s, "a value is needed");
  }
}

qp_status qp_json_scan_skip(qp_json_scan *s, size_t *begin, size_t *length) {
  next_of_value(s);
  const size_t from = s->at;
  const unsigned outside = s->depth;
  uint64_t objects = 0; /* bit d: the one at depth d is an object */
  qp_status status = QP_OK;
  bool fresh = true; /* a value comes next, not a member's end */
  char key[QP_JSON_SCAN_KEY];
  while (!status && (fresh || s->depth > outside)) {
    bool more = true;
    if (!fresh)
      status =
          objects >> s->depth & 1 ? qp_json_scan_key(s, key, &more) : qp_json_scan_item(s, &more);
    fresh = false;
    if (status || !more) continue;
    const char c = next_of_value(s);
    if (c != '{' && c != '[') {
      status = skip_scalar(s);
      continue;
    }
    status = qp_json_scan_open(s, c);
    objects = (objects & ~((uint64_t)1 << s->depth)) | (uint64_t)(c == '{') << s->depth;
  }
  if (status) return status;
  if (begin) *begin = from;
  if (length) *length = s->at - from;
  return QP_OK;
}

qp_status qp_json_scan_end(qp_json_scan *s) {
  next_of_value(s);
  return s->at == s->bytes ? QP_OK : wrong(s, "something follows the value");
}
