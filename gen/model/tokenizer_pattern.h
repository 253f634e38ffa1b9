/* SPDX-License-Identifier: MIT */
/* Finds the patterns of tokenizers:  a regular expression as tokenizer.json has it -> [spans of a
   text]. */
#ifndef QP_TOKENIZER_PATTERN_H
#define QP_TOKENIZER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/status.h"

typedef struct qp_pattern qp_pattern;

/*
** Compile: 'source' is Oniguruma's Ruby syntax, as Hugging Face's tokenizers read it; it is
** rewritten for PCRE2 where the two differ (what \s, \w and \d are, {n,m}+).  With 'literal' it
** stands for itself.  'where' begins messages.  Free with qp_pattern_free.
** QP_E_ARG: no pattern, or one of set operations ([a&&b]), which PCRE2 has not; QP_E_NOMEM.
*/
qp_status qp_pattern_new(const char *where, const char *source, bool literal, qp_pattern **out,
                         qp_error *err);
void qp_pattern_free(qp_pattern *p);

typedef struct qp_span {
  size_t begin, end; /* bytes */
} qp_span;

/*
** Find all matches in a text of valid UTF-8, from left to right; empty ones are left out.  '*out'
** is malloc'ed, also where '*count' is 0.  Any number of threads may do so at once.  QP_E_LIMIT
** means that PCRE2's limit on matches, depth or memory was reached: the message gives pattern, byte
** and reason; QP_E_NOMEM.
*/
qp_status qp_pattern_find(const qp_pattern *p, const char *text, size_t bytes, qp_span **out,
                          size_t *count, qp_error *err);

#endif
