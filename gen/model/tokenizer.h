/* SPDX-License-Identifier: MIT */
/* A model's own tokenizer, from tokenizer.json or a GGUF's metadata:  text -> [token ids]. */
#ifndef QP_TOKENIZER_H
#define QP_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

typedef struct qp_tokenizer qp_tokenizer;

/*
** Of a model's path: a .gguf file (tokenizer.ggml.*), a tokenizer.json, or a folder or a file in a
** folder (config.json, *.safetensors) that holds a tokenizer.json.
**   models        BPE (on bytes, on characters with byte fallback, as SentencePiece makes it) and
**                 unigram
**   normalizers   NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace Prepend Nmt Precompiled
**                 ByteLevel Sequence
**   pre-tokenizers  Split ByteLevel Digits Metaspace Punctuation Whitespace WhitespaceSplit
**                 Sequence
**   post-processors TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence
** How the pre-tokenizers that a GGUF only names work is said in lua/tokenizers.json.
** QP_E_ARG: something else, or a field that is wrong (the message names file, field and value);
** QP_E_IO; QP_E_LIMIT; QP_E_NOMEM.  '*out' is untouched on error.  Close with qp_tokenizer_close.
*/
qp_status qp_tokenizer_open(const char *path, qp_tokenizer **out, qp_error *err);

/* Do the same with the text of a tokenizer.json, which 'file' names in messages. */
qp_status qp_tokenizer_parse(const char *file, const char *text, size_t bytes, qp_tokenizer **out,
                             qp_error *err);
void qp_tokenizer_close(qp_tokenizer *t);

/*
** Ids of a text of 'bytes' bytes (NULs count): '*out' is malloc'ed [count], also where count is 0.
** With 'special' the post-processor's tokens (beginning of the text, end) are put around it.
** Special and added tokens are found in the text wherever their names stand in it.  Any number of
** threads may encode at once.
** QP_E_ARG: the text is no UTF-8 (the message gives the offset); QP_E_LIMIT: a pattern ran into
** PCRE2's limits on this text; QP_E_NOMEM.  Outputs are untouched on error.
*/
qp_status qp_tokenizer_encode(const qp_tokenizer *t, const char *text, size_t bytes, bool special,
                              uint32_t **out, size_t *count, qp_error *err);

/* These give one more than the largest id; the name of an id (of bytes as the vocabulary writes
   them), or NULL where it has none; and the id of a name, or -1. */
uint32_t qp_tokenizer_size(const qp_tokenizer *t);
const char *qp_tokenizer_token(const qp_tokenizer *t, uint32_t id);
int64_t qp_tokenizer_id(const qp_tokenizer *t, const char *token);

/* The tokens that 'special' puts before a text: '*ids' [count] belongs to 't'. */
void qp_tokenizer_prefix(const qp_tokenizer *t, const uint32_t **ids, size_t *count);

#endif
