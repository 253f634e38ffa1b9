/* SPDX-License-Identifier: MIT */
/* Lowers a spec's IR to its form for a GPU, by folding, tables in shared memory, masks and choice
   of instructions, and prints it as CUDA. */
#ifndef QP_LOWER_H
#define QP_LOWER_H

#include "gen/ir/ir.h"
#include "gen/spec/quantizer.h"

/* Is a codebook looked up in global memory?  Those of rows, and those that shared memory does not
   hold. */
enum { QP_TABLE_NUMBERS = 1 << 15 };
static inline bool qp_book_is_far(const qp_codebook *b) {
  return b->scope == QP_SCOPE_ROW || b->entries * b->dim > QP_TABLE_NUMBERS;
}

typedef enum qp_table_form {
  QP_TABLE_PLAIN,   /* a shared-memory table holds the codebook's entries as they are */
  QP_TABLE_UNFOLDED /* it holds the results of all that follows the narrowest cut of the IR
                       (sign applied, two scalars in one entry, conversions done) */
} qp_table_form;

typedef struct qp_lower_options {
  bool bf16; /* outputs are BPAIRs */
  qp_table_form form;
  unsigned copies;          /* copies of each table entry, 1..32, power of two: lane l reads copy
                               l % copies.  0: as many as fit 'table_bytes_max', at most one
                               a bank */
  unsigned table_bytes_max; /* all tables together */
  unsigned unfold_bits_max; /* widest index of an unfolded table, in bits (12: 4096 entries) */
  bool shift_by_multiply;   /* left shifts become SCALE (the multiply pipe; pow2[] is a kernel
                               argument, so that ptxas cannot turn them back) */
} qp_lower_options;

typedef struct qp_table {
  unsigned entries;
  unsigned words; /* of 32 bits an entry: 1, 2 or 4 (a HALF takes a word, in both halves) */
  unsigned copies;
  unsigned stride; /* bytes from entry to entry: 4 * words * copies */
  unsigned offset; /* bytes from the start of the table area, a multiple of 128 */
  qp_ir *entry;    /* from INPUT QP_IN_INDEX to the entry's 'words' outputs, with LOOKUPs of the
                      codebooks */
} qp_table;

/*
** What a kernel decodes.  One step reads a window of 'window' bits, 'step' bits after the last
** one's, and gives 'pairs' PAIRs (or BPAIRs).  Odd quantizer dims are folded: two codes are read as
** one (a V=1 trellis of window L and step b becomes V=2 with window L+b and step 2b).
*/
typedef struct qp_lowered {
  const qp_quantizer *quantizer; /* not a split */
  qp_lower_options options;
  unsigned window, step, pairs;
  unsigned tables;
  qp_table table[QP_MAX_CODEBOOKS];
  unsigned table_bytes; /* size of the table area, which holds all tables */
  qp_ir *main;          /* QP_IN_STATE, QP_IN_GROUP+f, QP_IN_LANE+t -> 'pairs' outputs */
  bool row_lookup;      /* main looks up a codebook that is far, through a pointer */
} qp_lowered;

/* QP_E_LIMIT: the tables do not fit (says by how much); QP_E_ARG: an option is out of range. */
qp_status qp_lower(const qp_quantizer *q, const qp_lower_options *opt, qp_lowered *out,
                   qp_error *err);
void qp_lowered_free(qp_lowered *l);

/*
** The lowered form on the CPU, as the GPU computes it.  'bind' fills env's codebooks and makes its
** tables (malloc'ed; qp_lowered_unbind frees them); 'codebooks' overrides data of tensor/row scoped
** ones, or NULL.
** 'eval' decodes one state of any bits above the window for lane 'lane'; out holds 'pairs' words.
** The caller may set what env's inputs from QP_IN_AROUND on say: the stream around these 32 bits,
** and the row that is decoded with this one.
*/
qp_status qp_lowered_bind(const qp_lowered *l, const uint16_t *const *codebooks, qp_ir_env *env,
                          qp_error *err);
void qp_lowered_unbind(qp_ir_env *env);
void qp_lowered_eval(const qp_lowered *l, qp_ir_env *env, uint32_t state, unsigned lane,
                     const uint32_t *fields, uint32_t *out);

/*
** Print the CUDA text of a struct, malloc'ed, which the caller frees:
**
**   // tcq-3: lua/quantizers/tcq.lua:9
**   struct NAME {
**     static constexpr unsigned WINDOW = 16, STEP = 6, PAIRS = 1, FIELDS = 0;
**     static constexpr unsigned TABLES = 1, CODEBOOKS = 1, TABLE_BYTES = 131072;
**     static constexpr bool ROW_LOOKUP = false;
**     static constexpr bool PERMUTES = false;  // a row's codebook of 4 or 8 values, by its codes
**     // Of table T.
**     template <unsigned T> static constexpr unsigned entries(), words(), copies(), offset();
**     // One entry of table T; cb[i] is codebook i in global memory, fp16 [entries][dim].
**     template <unsigned T>
**     static __device__ __forceinline__ void entry(unsigned id, const unsigned short *const *cb,
**                                                  unsigned *out);
**     // One step.  at: where its window lies, as Window of templates/weights.cuh.in or Whole of
**     // the prelude; g: group fields (fp16 bits, in both halves, or integers and what stands above
**     // them); row: codebooks that are far, in order, a row's its own (ROW_LOOKUP only, two rows
**     // never share a step); lane[t]: (laneid % copies) * words * 4; tables: shared-memory address
**     // of the table area; pow2[i] == 1 << i, a kernel argument.
**     template <class At>
**     static __device__ __forceinline__ void decode(const At &at, const unsigned *g,
**         const unsigned short *const *row, const unsigned *lane, unsigned tables,
**         const unsigned *pow2, unsigned *out);
**   };
**
** Functions it calls (p_add, h_of_uint, w_lop3, lds1/lds2/lds4, ...) live in
** templates/prelude.cuh.in.  Loads of several words of one entry are one lds2 or lds4.
*/
char *qp_lowered_cuda(const qp_lowered *l, const char *name);

/*
** Do the same for a quantizer that was not lowered: its decode function stands there operation by
** operation as the spec has it, codebooks looked up in global memory.
**
**   struct NAME {
**     static constexpr unsigned WINDOW = 16, STEP = 6, DIM = 2, FIELDS = 0;
**     // One code.  s: the window, exactly WINDOW bits; g: group fields; cb[i]: codebook i, of a
**     // row-scoped one all rows; row: of W.  out: DIM / 2 pairs of fp16, or DIM halves where DIM
**     // is odd.
**     static __device__ __forceinline__ void decode(unsigned s, const unsigned *g,
**         const unsigned short *const *cb, unsigned row, unsigned *out);
**   };
*/
char *qp_plain_cuda(const qp_quantizer *q, const char *name);

/*
** Print what qp_affine_at computes (gen/encode/affine.h), the same operations in the same order:
**
**   struct NAME {
**     // g: the fields' raw values; cb and row as above.
**     static __device__ void at(const unsigned *g, const unsigned short *const *cb, unsigned row,
**         Real &a, Real &b);
**   };
**
** Real, Term and term_add, term_of_half, ... that it calls live in templates/encode_fields.cu.in.
*/
struct qp_affine;
char *qp_affine_cuda(const qp_quantizer *q, const struct qp_affine *f, const char *name);

#endif
