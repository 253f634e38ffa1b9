/* SPDX-License-Identifier: MIT */
/* Reads token ids from a text file:  FILE --> [sequences of ids]. */
#ifndef QP_TOKENS_H
#define QP_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

/* Sequences of token ids, which lie one behind another. */
typedef struct qp_tokens {
  uint32_t *id;     /* [tokens] */
  size_t *end;      /* [sequences]: sequence i ends before id[end[i]]; none is empty */
  size_t sequences; /* tokens: end[sequences - 1] */
} qp_tokens;

/*
** Read a sequence from each line: decimal ids below 2^32 with blanks or tabs between.  Empty lines
** and lines that begin with '#' are passed over.  qp_tokens_free frees the result.  QP_E_ARG means
** that something else stands there (the message names line and column), or that there are no ids at
** all; QP_E_IO; QP_E_NOMEM.
*/
qp_status qp_tokens_read(const char *path, qp_tokens *out, qp_error *err);
qp_status qp_tokens_parse(const char *file, const char *text, size_t bytes, qp_tokens *out,
                          qp_error *err);
void qp_tokens_free(qp_tokens *t);

/* Keep only the first 'most' (at least 1) tokens. */
void qp_tokens_limit(qp_tokens *t, size_t most);

/* Cut the sequences so that none is longer than 'context': each line becomes pieces, from its
   beginning on. */
qp_status qp_tokens_cut(const qp_tokens *t, size_t context, qp_tokens *out, qp_error *err);

#endif
