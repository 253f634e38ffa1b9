/* SPDX-License-Identifier: MIT */
/* Reads JSON from front to back without building a tree:  text -> [values, as asked for]. */
#ifndef QP_JSON_SCAN_H
#define QP_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* A reader of one text, set up by qp_json_scan_begin.  It owns nothing. */
typedef struct qp_json_scan {
  const char *file; /* what messages call the text */
  const char *text;
  size_t bytes, at;
  unsigned depth;   /* objects and arrays that are open */
  uint64_t started; /* bit d: the one at depth d has had a member */
  qp_error *err;
} qp_json_scan;

enum { QP_JSON_SCAN_DEPTH = 32, QP_JSON_SCAN_KEY = 512 };

/* What the next value is. */
typedef enum qp_json_kind {
  QP_JSON_OBJECT,
  QP_JSON_LIST,
  QP_JSON_STRING,
  QP_JSON_NUMBER,
  QP_JSON_BOOLEAN,
  QP_JSON_NULL,
  QP_JSON_NOTHING /* the text ends, or what comes begins no value */
} qp_json_kind;

/*
** Begin to read a text, which is strict RFC 8259: no comments, no trailing commas, no control
** characters in strings, no leading zeros; escapes must be whole and surrogates paired.  The
** functions below take the next value and return QP_E_ARG with file, line and column where it is
** not what was asked for, QP_E_LIMIT where objects and arrays nest deeper than QP_JSON_SCAN_DEPTH
** or a string does not fit.  After an error the reader must not be used any more.  A reader is used
** by one thread; 'err' may be NULL.
**
**   qp_json_scan_open(s, '{');
**   while (!(st = qp_json_scan_key(s, key, &more)) && more) { take or skip the value of 'key' }
**
** A key that one object holds twice is not noticed here: who reads objects must check its own.
*/
void qp_json_scan_begin(qp_json_scan *s, const char *file, const char *text, size_t bytes,
                        qp_error *err);
qp_json_kind qp_json_scan_peek(qp_json_scan *s);

/* Enter an object ('{') or an array ('['). */
qp_status qp_json_scan_open(qp_json_scan *s, char bracket);
/* The next member's name (NUL-ended), or '*more' false at the object's end, which is left. */
qp_status qp_json_scan_key(qp_json_scan *s, char key[QP_JSON_SCAN_KEY], bool *more);
/* Is there another item?  False at the array's end, which is left. */
qp_status qp_json_scan_item(qp_json_scan *s, bool *more);

/* Read a string, unescaped to UTF-8 and NUL-ended; '\u0000' is refused. */
qp_status qp_json_scan_text(qp_json_scan *s, char *out, size_t size);
/* Read a whole number from 0 to 2^64 - 1, without sign, fraction or exponent. */
qp_status qp_json_scan_unsigned(qp_json_scan *s, uint64_t *out);
/* Any number that is finite as a double. */
qp_status qp_json_scan_number(qp_json_scan *s, double *out);
qp_status qp_json_scan_boolean(qp_json_scan *s, bool *out);
/* Any value, checked like the others, but also NaN and Infinity as Python writes them; *begin and
   *length (or NULL) are its place in the text. */
qp_status qp_json_scan_skip(qp_json_scan *s, size_t *begin, size_t *length);

/* QP_E_ARG if anything but white space follows. */
qp_status qp_json_scan_end(qp_json_scan *s);

/* Fail with "file:line:column: message" at the place of the next value. */
qp_status qp_json_scan_fail(const qp_json_scan *s, qp_status status, const char *message);

#endif
