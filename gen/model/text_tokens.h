/* SPDX-License-Identifier: MIT */
/* Reads a text file for a model, by the model's own tokenizer:  FILE --> [sequences of ids]. */
#ifndef QP_TEXT_TOKENS_H
#define QP_TEXT_TOKENS_H

#include "gen/model/tokens.h"

/*
** Tokenize the text of 'file' as the model at 'model' does (its tokenizer is found as by
** qp_tokenizer_open), at most 'most' tokens of it (0: all), in sequences of at most 'context'
** tokens.  Each begins with what the tokenizer puts before a text (<s>), which counts as tokens of
** the context, not of the text.
** QP_E_ARG: an empty file, no UTF-8, or a context that leaves no room; errors of qp_tokenizer_open;
** QP_E_IO; QP_E_NOMEM.  Free with qp_tokens_free.
*/
qp_status qp_text_tokens(const char *model, const char *file, size_t context, size_t most,
                         qp_tokens *out, qp_error *err);

/*
** Read tokens from one of two files, while the other is NULL: from 'text' as above, or from 'ids'
** as qp_tokens_read does.  At most 'most' of them are taken (0 stands for all) and cut into
** sequences of at most 'context'.  Errors are those of qp_text_tokens, qp_tokens_read and
** qp_tokens_cut.
*/
qp_status qp_text_or_ids(const char *model, const char *text, const char *ids, size_t context,
                         size_t most, qp_tokens *out, qp_error *err);

#endif
