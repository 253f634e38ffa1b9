/* SPDX-License-Identifier: MIT */
/*
** Where the bits of packed weights lie (layout version 1).  One layout serves every kernel and
** every tunable; segments that are fused into one launch keep their own buffers.
**
** STREAM.  The codes of one linear (or of one column range of a split quantizer): M rows x K
** columns, padded to row groups of 32 rows and to superblocks.  A row group's weights belong to 32
** lanes; each lane owns a private bit stream that runs along K, one code of 'step' bits after the
** other, the first code in the lowest bits of the first word.
**
** BLOCK.  32 rows x 64 columns: 32 pairs of weights for each lane.  Pair j = 4 t + r of lane l,
** where t = m + 2 k is one of eight 16 x 16 tiles of the tensor cores (m: tile row, k: tile column,
** r: fragment register), holds the weights at
**
**   row    = 16 m + l / 4 + 8 (r & 1)
**   column = 32 (k / 2) + 8 (l & 3) + 4 (k & 1) + 2 (r / 2)        and the column after it
**
** so that a lane's pairs in 32 columns are 8 neighbouring columns in each of 4 rows.
**
** BY ROW.  Codes of more than 2 weights together with group fields or codebooks by row lie in one
** row: weights follow each other in the stream by 32 columns, in them by row (m, then r & 1), then
** by column.
**
** SUPERBLOCK.  The smallest number of blocks after which codes and words end together: 1 for 2, 4
** or 8 weights a code and whole half-bits of rate, 5 for five weights in 8 bits.  It holds 'words'
** 32-bit words for each lane, stored in planes so that a warp's loads are coalesced: words / 4
** planes of [32 lanes][4 words], then [32][2] if words & 2, then [32][1] if words & 1.
** Superblocks of a row group are contiguous, row groups follow each other.
**
** TRELLIS.  The state of step i is the window of bits  [step (i+1) - window, step (i+1))  of the
** lane's stream, newest bits highest.  A lane's stream is circular over its row group: bits before
** bit 0 are the last bits of its last superblock (tail-biting over all of K).
**
** BIT PLANES (scalar quantizers with 'planes').  A lane's 64 weights of a block take 2 words a
** plane, most significant plane first; bit 2 (j & 15) + i of word j / 16 of a plane belongs to
** weight i of pair j.
**
** GROUP FIELDS.  A field has a piece for each row group.  That of the weights at column group g and
** row (m, l / 4, r & 1) is element  e = (g * 8 + l / 4) * 4 + 2 m + (r & 1)  of the piece.  One of
** b bits takes the bits [b e, b (e + 1)) of the piece, the lowest in the lowest bits of its first
** byte.  There are  groups = padded columns / size  of them, rounded up; 1 of a field that is
** all the row's; of a field that is the linear's the piece is one element, the same in each row
** group.  Pieces are filled up to a multiple of 16 bytes.
** Fields 0, 1 and 2 have an array each, of their pieces in the order of the row groups; all others
** share array 3: a row group's pieces lie in the order of the fields.
**
** SPARSE ENTRIES.  Of a quantizer that has them, one more piece for each row group, behind that of
** its last field as if it were one, holds n words for each row: [n][32 rows].  A word is a column
** of the stream (low 16 bits) and the bits of an fp16 number, which is added to the weight there.
** A row's columns ascend; none is twice, but for words of 0, which stand for nothing, at the
** beginning.  n is the row's share of the stream's columns, rounded to nearest, at least 1.
*/
#ifndef QP_LAYOUT_H
#define QP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

enum {
  QP_GROUP_ROWS = 32,
  QP_BLOCK_COLUMNS = 64,
  QP_BLOCK_PAIRS = 32,
  QP_SPARSE_COLUMNS = 65536,                           /* most columns of a stream that has sparse
                                                          entries */
  QP_SPARSE_MOST = QP_SPARSE_COLUMNS / QP_SPARSE_SHARE /* most sparse entries of a row */
};

/* The period of a quantizer's codes; a split has none. */
typedef struct qp_period {
  unsigned blocks;     /* blocks a superblock */
  unsigned steps;      /* codes of one lane in it */
  unsigned words;      /* 32-bit words of one lane in it */
  unsigned words_read; /* the same, less than 'words' where only the first bit planes are read */
} qp_period;

/* QP_E_LIMIT: the code does not fill whole words within 8 blocks. */
qp_status qp_layout_period(const qp_quantizer *q, qp_period *out, qp_error *err);

/* The sizes of one stream. */
typedef struct qp_stream {
  const qp_quantizer *quantizer; /* not a split */
  qp_period period;
  unsigned rows, columns;           /* as the user has them */
  unsigned row_groups, superblocks; /* These count what there is with padding; superblocks are those
                                       of one row group. */
  unsigned groups;                  /* column groups of the smallest size; 0: none */
  size_t code_words;                /* 32-bit words of all codes */
  unsigned arrays;                  /* arrays of fields and sparse entries */
  size_t field_bytes[QP_MAX_ARRAYS];
  unsigned sparse; /* entries of a row; 0: none */
} qp_stream;

/* Compute the sizes of the stream that holds a matrix of rows x columns.  The quantizer must be no
   split.  Errors are those of qp_layout_period, and QP_E_LIMIT where sparse entries are of too many
   columns. */
qp_status qp_layout_stream(const qp_quantizer *q, unsigned rows, unsigned columns, qp_stream *out,
                           qp_error *err);

/* The number of rows that a kernel takes for a matrix of 'rows': this is the next multiple of 16.
   */
unsigned qp_layout_padded_rows(unsigned rows);

/* Find where word i of 'lane' lies in its superblock. */
unsigned qp_layout_word(unsigned words, unsigned lane, unsigned i);

/* Find the row in the row group and the column in the block at which pair j of 'lane' begins. */
void qp_layout_pair(unsigned lane, unsigned j, unsigned *row, unsigned *column);

/* Do a lane's weights of 32 columns lie row by row? */
bool qp_layout_by_row(const qp_quantizer *q);

/* Find the row in the row group and the column of the stream that weight i of a lane's stream has.
   */
void qp_layout_weight(const qp_quantizer *q, unsigned lane, size_t i, unsigned *row,
                      size_t *column);

/* Which array holds field f of a quantizer, how many arrays there are with that of the sparse
   entries, and whether array a may be read as fp16. */
unsigned qp_layout_array(unsigned f);
unsigned qp_layout_arrays(const qp_quantizer *q);
bool qp_layout_array_is_half(const qp_quantizer *q, unsigned a);

/* Find the first bit, in its array, of field f's element for a row of the stream and a column. */
size_t qp_layout_field(const qp_stream *s, unsigned f, unsigned row, unsigned column);
/* Get or set that element's raw bits in the array of field f. */
uint32_t qp_layout_get_field(const qp_stream *s, unsigned f, unsigned row, unsigned column,
                             const uint8_t *array);
void qp_layout_set_field(const qp_stream *s, unsigned f, unsigned row, unsigned column,
                         uint8_t *array, uint32_t raw);

/* Which array holds the sparse entries; get and set the word of entry e of a row there. */
unsigned qp_layout_sparse_array(const qp_quantizer *q);
uint32_t qp_layout_get_sparse(const qp_stream *s, unsigned row, unsigned e, const uint8_t *array);
void qp_layout_set_sparse(const qp_stream *s, unsigned row, unsigned e, uint8_t *array,
                          uint32_t word);

/* Find the column where part i of a quantizer begins; that of a split is rounded to 64 columns, and
   at i = parts it is K. */
unsigned qp_layout_part_column(const qp_quantizer *q, unsigned columns, unsigned part);

/* The columns that one stream of a linear holds: a part of its quantizer in a piece of K. */
typedef struct qp_range {
  const qp_quantizer *quantizer; /* no split */
  unsigned piece, part;
  unsigned column, columns; /* range of W's columns; none where a split has few */
} qp_range;
/* Count the streams of a linear whose K is in 'pieces' equal pieces (0 stands for 1), and give the
   range of stream i.  They are numbered piece by piece, and in each piece the parts of the
   quantizer follow in order. */
unsigned qp_layout_ranges(const qp_quantizer *q, unsigned pieces);
qp_range qp_layout_range(const qp_quantizer *q, unsigned columns, unsigned pieces, unsigned i);

#endif
