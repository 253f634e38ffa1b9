/* SPDX-License-Identifier: MIT */
/*
** The steps of a tokenizer, in the order in which a text passes them (what tokenizer.c does):
**
**   added tokens      cut out of the text                           tokenizer_added.c
**   normalizers       what is between them, rewritten             tokenizer_normalize.c
**   pre-tokenizers    cut into pieces, which no token crosses     tokenizer_split.c
**   model             BPE or unigram: each piece becomes ids      tokenizer_bpe.c, _unigram.c
**   post-processor    ids around all of it
**
** A qp_tokenizer owns all of its parts; readers (tokenizer_json.c, tokenizer_gguf.c) fill it, and
** nothing changes it afterwards.
*/
#ifndef QP_TOKENIZER_PARTS_H
#define QP_TOKENIZER_PARTS_H

#include <cjson/cJSON.h>

#include "gen/base/text.h"
#include "gen/model/gguf.h"
#include "gen/model/tokenizer_pattern.h"
#include "gen/model/vocabulary.h"

typedef struct qp_tokenizer qp_tokenizer; /* as in tokenizer.h */

/* ---- Growing lists ---- */

typedef struct qp_ids {
  uint32_t *id; /* malloc'ed */
  size_t count, capacity;
  bool failed; /* memory ran out */
} qp_ids;

/* Append; 'failed' is set where memory runs out. */
void qp_ids_add(qp_ids *ids, uint32_t id);

/* The pieces of a text, each of which is a slice of 'text'. */
typedef struct qp_piece {
  size_t begin, length;
  bool first; /* the source's first character is in it */
} qp_piece;

typedef struct qp_pieces {
  qp_text text;
  qp_piece *piece; /* malloc'ed */
  size_t count, capacity;
  bool failed;
} qp_pieces;

/* Append a copy of s[n] to the last piece; begin a piece (empty ones are dropped by the next). */
void qp_pieces_begin(qp_pieces *p, bool first);
void qp_pieces_append(qp_pieces *p, const char *s, size_t n);
void qp_pieces_free(qp_pieces *p);

/* ---- Characters ---- */

/* Tell how many bytes the character at s[0] of valid UTF-8 has, and which character it is, given
   the bytes that qp_utf8_bytes told. */
unsigned qp_utf8_bytes(const char *s);
uint32_t qp_utf8_read(const char *s);
unsigned qp_utf8_write(uint32_t c, char out[4]);
/* Offset of the first byte that is no UTF-8, or 'n'. */
size_t qp_utf8_check(const char *s, size_t n);
/* Unicode's White_Space. */
bool qp_is_white_space(uint32_t c);
/* Tell whether a character is a letter, mark, digit or connector, which is what \w matches. */
bool qp_is_word(uint32_t c);
/* GPT-2's way to write bytes as characters: those that print stay, others are U+0100 and up. */
void qp_append_bytes_as_characters(qp_text *out, const char *s, size_t n);

/* ---- Normalizers ---- */

typedef enum qp_normalizer_kind {
  QP_NORMALIZE_NFC,
  QP_NORMALIZE_NFD,
  QP_NORMALIZE_NFKC,
  QP_NORMALIZE_NFKD,
  QP_NORMALIZE_LOWERCASE,
  QP_NORMALIZE_STRIP,
  QP_NORMALIZE_STRIP_ACCENTS,
  QP_NORMALIZE_REPLACE,
  QP_NORMALIZE_PREPEND,
  QP_NORMALIZE_NMT,
  QP_NORMALIZE_PRECOMPILED,
  QP_NORMALIZE_BYTES
} qp_normalizer_kind;

typedef struct qp_normalizer {
  qp_normalizer_kind kind;
  qp_pattern *pattern;     /* REPLACE */
  char *content;           /* REPLACE, PREPEND; malloc'ed */
  bool left, right;        /* STRIP */
  unsigned char *charsmap; /* PRECOMPILED: SentencePiece's; malloc'ed */
  size_t charsmap_bytes;
} qp_normalizer;

/* Checks what a charsmap's own numbers promise; 'field' begins the message. */
qp_status qp_charsmap_check(const unsigned char *map, size_t bytes, const char *field,
                            qp_error *err);
/* Compute out = step(s[n]), where 'out' is empty before. */
qp_status qp_normalize(const qp_normalizer *step, const char *s, size_t n, qp_text *out,
                       qp_error *err);
void qp_normalizer_free(qp_normalizer *step);

/* ---- Pre-tokenizers ---- */

/* What becomes of the matches of a pattern. */
typedef enum qp_split_behavior {
  QP_SPLIT_REMOVED,
  QP_SPLIT_ISOLATED,
  QP_SPLIT_MERGED_WITH_PREVIOUS,
  QP_SPLIT_MERGED_WITH_NEXT,
  QP_SPLIT_CONTIGUOUS
} qp_split_behavior;

typedef enum qp_prepend_scheme {
  QP_PREPEND_NEVER,
  QP_PREPEND_FIRST, /* before the first piece only */
  QP_PREPEND_ALWAYS
} qp_prepend_scheme;

typedef enum qp_splitter_kind {
  QP_SPLITTER_SPACE,   /* put a space before a piece that has none: ByteLevel's add_prefix_space */
  QP_SPLITTER_PATTERN, /* split by 'pattern', 'behavior' and 'invert' */
  QP_SPLITTER_BYTES,   /* bytes become characters */
  QP_SPLITTER_METASPACE, /* Spaces become 'mark', which 'scheme' puts in front; then it splits by
                            'pattern' (NULL: not). */
} qp_splitter_kind;

typedef struct qp_splitter {
  qp_splitter_kind kind;
  qp_pattern *pattern;
  qp_split_behavior behavior;
  bool invert;
  char *mark; /* malloc'ed */
  qp_prepend_scheme scheme;
} qp_splitter;

/* Compute out = step(in), where 'out' is empty before. */
qp_status qp_split(const qp_splitter *step, const qp_pieces *in, qp_pieces *out, qp_error *err);
void qp_splitter_free(qp_splitter *step);

/* ---- Models ---- */

typedef struct qp_merge {
  uint64_t pair; /* Left id << 32 | right id; UINT64_MAX: the place is empty. */
  uint32_t rank, id;
} qp_merge;

typedef struct qp_bpe {
  qp_merge *merge; /* A hash table of 'places' places, a power of two. */
  size_t places, merges;
  bool byte_fallback, fuse_unknown, ignore_merges;
  char *prefix, *suffix; /* continuing_subword_prefix and end_of_word_suffix; NULL: none */
} qp_bpe;

typedef struct qp_unigram {
  double *score; /* [vocabulary's size] */
  double unknown_score;
  bool byte_fallback;
} qp_unigram;

typedef enum qp_tokenizer_model { QP_TOKENIZER_BPE, QP_TOKENIZER_UNIGRAM } qp_tokenizer_model;

/* Make a table for 'count' merges, then add each in the order of rank.  A pair that is there
   already gets the later rank.  QP_E_NOMEM. */
qp_status qp_bpe_reserve(qp_bpe *b, size_t count, const char *file, qp_error *err);
void qp_bpe_add(qp_bpe *b, uint32_t left, uint32_t right, uint32_t id);
qp_status qp_bpe_encode(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out);
qp_status qp_unigram_encode(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out,
                            qp_error *err);
/* Append <0x..> for each byte; false means that the vocabulary lacks one, and then nothing was
   appended. */
bool qp_append_byte_tokens(const qp_tokenizer *t, const char *s, size_t n, qp_ids *out);

/* ---- Added tokens ---- */

typedef struct qp_added_token {
  char *content; /* malloc'ed */
  uint32_t id;
  bool single_word, left_strip, right_strip, normalized;
} qp_added_token;

/* An added token in a text, with the white space that it takes with it. */
typedef struct qp_added_place {
  size_t begin, end;
  uint32_t id;
} qp_added_place;

/* The next of 'added' (values are indices into t->added_token) in s[n] that begins at 'from' or
   later; false: there is none. */
bool qp_added_find(const qp_tokenizer *t, const qp_vocabulary *added, const char *s, size_t n,
                   size_t from, qp_added_place *out);

/* ---- All ---- */

enum { QP_TOKENIZER_STEPS = 32, QP_TOKENIZER_AROUND = 16 };

struct qp_tokenizer {
  char *file;
  qp_vocabulary *vocabulary; /* vocabulary of the model */
  uint32_t size;
  uint32_t *byte_id; /* [256] of <0x00> .. <0xFF>; NULL: not all are there */
  int64_t unknown;   /* -1: none */
  qp_tokenizer_model model;
  qp_bpe bpe;
  qp_unigram unigram;
  unsigned normalizers, splitters;
  qp_normalizer normalizer[QP_TOKENIZER_STEPS];
  qp_splitter splitter[QP_TOKENIZER_STEPS];
  size_t added;
  qp_added_token *added_token;
  qp_vocabulary *plain_added, *normalized_added; /* values are indices into added_token */
  unsigned before, after;
  uint32_t before_id[QP_TOKENIZER_AROUND], after_id[QP_TOKENIZER_AROUND];
};

qp_tokenizer *qp_tokenizer_new(const char *file); /* NULL: no memory */
/* Readers end with this: ids are checked, tables built. */
qp_status qp_tokenizer_finish(qp_tokenizer *t, qp_error *err);
qp_status qp_tokenizer_add_token(qp_tokenizer *t, const qp_added_token *token, qp_error *err);

/* Read the "normalizer" and "pre_tokenizer" objects of a tokenizer.json; NULL or null means that
   there is none. */
qp_status qp_tokenizer_read_normalizer(qp_tokenizer *t, const cJSON *object, qp_error *err);
qp_status qp_tokenizer_read_splitter(qp_tokenizer *t, const cJSON *object, qp_error *err);
qp_status qp_tokenizer_read_json(qp_tokenizer *t, const cJSON *tree, qp_error *err);
qp_status qp_tokenizer_read_gguf(qp_tokenizer *t, const qp_gguf *g, qp_error *err);

#endif
