/* SPDX-License-Identifier: MIT */
/*
** Arguments of kernel launches:  addresses --> [one parameter, 64-bit words in order].
** Each list below is one kernel operation's struct Args.  From it come the text of the struct in
** the generated source (gen/kernel), the bytes that a launch passes (qp_arguments_pack, which the
** generator and the kernel library share) and the tables of lua/families/FAMILIES.md.
*/
#ifndef QP_ARGUMENTS_H
#define QP_ARGUMENTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  QP_ARGUMENT_FIELDS = 4,    /* group fields of a stream */
  QP_ARGUMENT_CODEBOOKS = 4, /* codebooks of a stream */
  QP_ARGUMENT_STREAMS = 32,  /* most streams of a launch */
  QP_ARGUMENT_SEGMENTS = 8,  /* most segments of a launch */
  QP_ARGUMENT_POW2 = 16,
  QP_PARAMS_MAX = 4096 /* bytes of a kernel's parameters */
};

/* One stream of packed weights: a linear, or one column range of a split quantizer. */
typedef struct qp_stream_arguments {
  uint64_t codes, field[QP_ARGUMENT_FIELDS], codebook[QP_ARGUMENT_CODEBOOKS];
} qp_stream_arguments;

/* One linear of a launch.  Of a dequant it has the scale, and W^ as y; of a gather the scale. */
typedef struct qp_segment_arguments {
  uint64_t scale, bias, residual, y;
} qp_segment_arguments;

/* Elements from row to row of a segment's Y and residual, which are the two halves of a word. */
typedef struct qp_stride_arguments {
  uint32_t y, residual;
} qp_stride_arguments;

/* What a launch may be given: device addresses and counts; 0 where there is none. */
typedef struct qp_arguments {
  uint64_t x, y; /* What a launch reads and writes (rotate: input and output; gemm: x only; gather:
                    ids and Y; encode: targets and codes). */
  uint64_t signs, workspace, counters, zero, zero_words;
  uint64_t table, start;                                  /* encode */
  uint64_t errors, factor, sum_unit, metric, paths, part; /* encode-fed; values: of states, */
  uint64_t apart;                                         /* and this; rows-product: factor, part */
  uint64_t residual, sum, weight, post_weight, norm;      /* rotate-norm */
  uint64_t up, activation;                                /* Words of rotate-glu; of gemm-glu and
                                                        experts-glu only 'activation'. */
  uint64_t routing, x_share;                              /* experts */
  uint64_t combined;                                      /* combine; weight: its weights */
  uint64_t k, v, keys, values, rotary;                    /* attend */
  uint64_t positions, context;                            /* attend, pick */
  uint64_t heads, attention, pairs;                       /* attend */
  uint64_t tokens, known, ids, vocabulary;                /* pick; weight: its embedding */
  uint64_t matrix, bias, outputs, prologue;               /* plain; with norm, up and activation */
  uint64_t rows; /* rotate: rows of X; gather: ids; encode: sequences (codes: targets);
                    route: assignments */
  uint64_t x_stride, y_stride, up_stride; /* Elements from row to row; of gemm only those of x. */
  qp_stream_arguments stream[QP_ARGUMENT_STREAMS];
  qp_segment_arguments segment[QP_ARGUMENT_SEGMENTS];
  qp_stride_arguments stride[QP_ARGUMENT_SEGMENTS];
} qp_arguments;

/* The word of a gated linear unit.  Its halves are an activation by its number and a limit, 0:
   there is none. */
static inline uint64_t qp_glu_word(uint32_t activation, float limit) {
  uint32_t bits;
  memcpy(&bits, &limit, sizeof bits);
  return activation | (uint64_t)bits << 32;
}

/*
** WORD(slot, declaration, comment): a 64-bit word, 'slot' of qp_arguments, a stream or a segment.
** LIST(kind, declaration, comment): POW2, STREAMS, SEGMENTS or STRIDES (one a segment), each as
** often as the launch has it.  Strides stand last: what a kernel of a library of format version 1
** takes is the words before them.
** The declaration is the template's; its order is that of the words.
*/
#define QP_STREAM_WORDS(WORD)                                                                      \
  WORD(codes, "const unsigned *codes", "superblocks, [row groups][superblocks]")                   \
  WORD(field, "const void *field[4]", "group fields, [row groups][groups][8][4]")                  \
  WORD(codebook, "const unsigned short *codebook[4]",                                              \
       "fp16 [entries][dim]; a row-scoped one is [rows][entries]")

#define QP_GEMM_SEGMENT_WORDS(WORD)                                                                \
  WORD(scale, "const float *scale", "[M] row scales r, or null: 1")                                \
  WORD(bias, "const void *bias", "[M], type of X, or null")                                        \
  WORD(residual, "const void *residual", "[N][M], type of Y, or null")                             \
  WORD(y, "void *y", "[N][M]")

#define QP_GEMM_STRIDE_WORDS(WORD)                                                                 \
  WORD(y, "unsigned y, residual", "elements from row to row; M where rows lie close")

#define QP_GEMM_ARGUMENTS(WORD, LIST)                                                              \
  WORD(x, "const void *x", "[N][K]")                                                               \
  WORD(signs, "const unsigned *signs", "bit k % 32 of word k / 32: s[k] is -1 (fused rotation)")   \
  WORD(workspace, "float *workspace", "slots of [N][32] partial sums")                             \
  WORD(counters, "unsigned *counters", "one a row group, zero between launches")                   \
  WORD(zero, "float *zero", "cleared by this launch for a later one's atomic sums, or null")       \
  WORD(zero_words, "unsigned long long zero_words", "of 'zero'")                                   \
  LIST(POW2, "unsigned pow2[16]",                                                                  \
       "1 << i; an argument, so that ptxas leaves the multiplications alone")                      \
  LIST(STREAMS, "Stream stream[STREAMS]", "packed weights")                                        \
  LIST(SEGMENTS, "Segment segment[SEGMENTS]", "linears that read x")                               \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of x")                   \
  LIST(STRIDES, "Stride stride[SEGMENTS]", "of the rows of Y and residual of each")

#define QP_ROTATE_ARGUMENTS(WORD, LIST)                                                            \
  WORD(x, "const void *x", "[rows][K]")                                                            \
  WORD(y, "void *y", "[rows][K]; may be x")                                                        \
  WORD(signs, "const unsigned *signs", "bit k % 32 of word k / 32: s[k] is -1")                    \
  WORD(rows, "unsigned long long rows", "of X")                                                    \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of X")                   \
  WORD(y_stride, "unsigned long long y_stride", "of Y")

#define QP_DEQUANT_SEGMENT_WORDS(WORD)                                                             \
  WORD(scale, "const float *scale", "[M] row scales r, or null: 1")                                \
  WORD(y, "void *w", "[M][K]")

#define QP_DEQUANT_ARGUMENTS(WORD, LIST)                                                           \
  LIST(POW2, "unsigned pow2[16]", "1 << i")                                                        \
  LIST(STREAMS, "Stream stream[STREAMS]", "packed weights")                                        \
  LIST(SEGMENTS, "Segment segment[SEGMENTS]", "linears")

#define QP_GATHER_SEGMENT_WORDS(WORD)                                                              \
  WORD(scale, "const float *scale", "[M] row scales r, or null: 1")

#define QP_GATHER_ARGUMENTS(WORD, LIST)                                                            \
  WORD(x, "const int *ids", "[rows] rows of W; outside of them a row of Y is 0")                   \
  WORD(y, "void *y", "[rows][K]")                                                                  \
  WORD(signs, "const unsigned *signs",                                                             \
       "bit k % 32 of word k / 32: s[k] is -1; null: W is not rotated")                            \
  WORD(rows, "unsigned long long rows", "of Y")                                                    \
  LIST(STREAMS, "Stream stream[STREAMS]", "packed weights")                                        \
  LIST(SEGMENTS, "Segment segment[SEGMENTS]", "one linear")

#define QP_ENCODE_ARGUMENTS(WORD, LIST)                                                            \
  WORD(x, "const void *targets",                                                                   \
       "trellis: float x^ [sequences][STEPS][DIM]; codes: float [sequences][DIM], of ROW "         \
       "[sequences][K]; fields: float [sequences][K]")                                             \
  WORD(table, "const void *table",                                                                 \
       "trellis: gen/encode/path_table.h, numbers, then float t^ [ENTRIES][DIM]; codes: fp16 "     \
       "[CODES][DIM], of ROW [sequences][CODES][DIM]; fields: gen/encode/field_table.h, shapes: "  \
       "shape_table.h, sums: sum_table.h beside it; stages: templates/stage_table.h")              \
  WORD(y, "unsigned *codes",                                                                       \
       "[sequences][STEPS]; of codes [sequences], of ROW [sequences][ROW]; of fields "             \
       "[sequences][K]")                                                                           \
  WORD(start, "unsigned *start",                                                                   \
       "trellis: [sequences], the group before the first step; fields: raw "                       \
       "[sequences][K / GROUP, rounded up, or 1 BY_ROW][FIELDS]")                                  \
  WORD(workspace, "void *room", "trellis: [blocks][kept steps][GROUPS + 2][PAIRS] pairs of sums")  \
  WORD(rows, "unsigned long long sequences", "codes: targets, or with ROW rows; fields: rows")

#define QP_ENCODE_FED_ARGUMENTS(WORD, LIST)                                                        \
  WORD(x, "const float *targets", "x [groups][32][K]")                                             \
  WORD(table, "const void *table",                                                                 \
       "trellis: gen/encode/path_table.h, numbers, then float t^ [ENTRIES][DIM]; codes: fp16 "     \
       "[CODES][DIM], OF_ROWS [groups][32][CODES][DIM]; fields: gen/encode/field_table.h; "        \
       "vectors: templates/stage_table.h; shapes: gen/encode/shape_table.h, sums: sum_table.h "    \
       "beside it")                                                                                \
  WORD(values, "const unsigned short *values",                                                     \
       "trellis: fp16 [2^WINDOW][DIM]; vectors: fp16 of all codebooks")                            \
  WORD(y, "unsigned *codes",                                                                       \
       "trellis, vectors: [groups][32 lanes][STEPS]; else [groups][32][K / DIM]")                  \
  WORD(start, "unsigned *start",                                                                   \
       "fields: raw [groups][32][K / GROUP, rounded up, or 1 BY_ROW][FIELDS]")                     \
  WORD(workspace, "void *room",                                                                    \
       "trellis: [blocks][steps of a run][GROUPS + 2][PAIRS] pairs of sums")                       \
  WORD(rows, "unsigned long long groups", "of 32 rows")                                            \
  WORD(errors, "int *errors", "[groups][all][32]: those of columns before 'first' stand")          \
  WORD(factor, "const int *factor", "U [all][all] (gen/encode/feedback.h)")                        \
  WORD(sum_unit, "const double *sum_unit", "[all]: of sums of errors times U")                     \
  WORD(metric, "float scale, edge",                                                                \
       "trellis: x^ is x scale, within the edge (gen/encode/metric.h)")                            \
  WORD(paths, "float unit_of_target; unsigned short kept, mirrored",                               \
       "trellis: 2^(doublings - 82); groups kept of those looked ahead at, 0: all; do states s "   \
       "and ~s decode to the same?")                                                               \
  WORD(part, "unsigned first, all", "where K begins in all columns, which share errors and U")     \
  WORD(apart, "const unsigned *apart",                                                             \
       "APART: bit k % 32 of [groups][32][K / 32, rounded up]: column k's weight comes to its "    \
       "target")

#define QP_ROWS_PRODUCT_ARGUMENTS(WORD, LIST)                                                      \
  WORD(x, "const float *a", "[K][32]: rows side by side")                                          \
  WORD(factor, "const float *m", "M [K][stride]")                                                  \
  WORD(y, "float *out", "[K][32]; may not be a")                                                   \
  WORD(part, "unsigned stride, part",                                                              \
       "elements of M from row to row; 0: i up to j, 1: from j on, 2: all")

#define QP_ROTATE_NORM_ARGUMENTS(WORD, LIST)                                                       \
  WORD(x, "const void *x", "[rows][K]")                                                            \
  WORD(y, "void *y", "[rows][K]; may be x, if sum is not")                                         \
  WORD(signs, "const unsigned *signs", "bit k % 32 of word k / 32: s[k] is -1")                    \
  WORD(rows, "unsigned long long rows", "of X")                                                    \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of X")                   \
  WORD(y_stride, "unsigned long long y_stride", "of Y")                                            \
  WORD(residual, "const void *residual", "[rows][K], added to X, or null")                         \
  WORD(sum, "void *sum", "[rows][K] h; may be x or residual; null: not written")                   \
  WORD(weight, "const void *weight", "[K] w, or null: ones for offset + w")                        \
  WORD(post_weight, "const void *post_weight", "[K] w' of a norm of X itself, or null: none")      \
  WORD(norm, "float eps, offset", "added to the mean of squares, and to w")

#define QP_ROTATE_GLU_ARGUMENTS(WORD, LIST)                                                        \
  WORD(x, "const void *gate", "[rows][K]")                                                         \
  WORD(y, "void *y", "[rows][K]; may be gate or up")                                               \
  WORD(signs, "const unsigned *signs", "bit k % 32 of word k / 32: s[k] is -1")                    \
  WORD(rows, "unsigned long long rows", "of gate and up")                                          \
  WORD(x_stride, "unsigned long long gate_stride", "elements from row to row of gate")             \
  WORD(y_stride, "unsigned long long y_stride", "of Y")                                            \
  WORD(up, "const void *up", "[rows][K]")                                                          \
  WORD(up_stride, "unsigned long long up_stride", "of up")                                         \
  WORD(activation, "unsigned activation; float limit",                                             \
       "0 silu, 1 gelu by tanh, 2 gelu, 3 relu, 4 swiglu of gpt-oss; 0: none")

#define QP_GEMM_GLU_ARGUMENTS(WORD, LIST)                                                          \
  QP_GEMM_ARGUMENTS(WORD, LIST)                                                                    \
  WORD(activation, "unsigned activation; float limit",                                             \
       "0 silu, 1 gelu by tanh, 2 gelu, 3 relu, 4 swiglu of gpt-oss; 0: none")

#define QP_ROUTE_ARGUMENTS(WORD, LIST)                                                             \
  WORD(x, "const int *ids", "[tokens][top_k] experts; outside of them an assignment gets no tile") \
  WORD(y, "unsigned *routing", "runtime/routing.h")                                                \
  WORD(rows, "unsigned long long assignments", "tokens * top_k, at most ASSIGNMENTS")

#define QP_EXPERTS_SEGMENT_WORDS(WORD)                                                             \
  WORD(scale, "const float *scale", "[E][M] row scales r, or null: 1")                             \
  WORD(bias, "const void *bias", "[E][M], type of X, or null")                                     \
  WORD(y, "void *y", "[assignments][M]")

#define QP_EXPERTS_STRIDE_WORDS(WORD)                                                              \
  WORD(y, "unsigned y, unused", "elements from row to row; M where rows lie close")

#define QP_EXPERTS_ARGUMENTS(WORD, LIST)                                                           \
  WORD(x, "const void *x", "[tokens][K], or [assignments][K]")                                     \
  WORD(routing, "const unsigned *routing", "what route wrote")                                     \
  WORD(workspace, "float *workspace", "slots of [BATCH][32] partial sums")                         \
  WORD(counters, "unsigned *counters", "one a row group and tile, zero between launches")          \
  LIST(POW2, "unsigned pow2[16]", "1 << i")                                                        \
  LIST(STREAMS, "Stream stream[STREAMS]", "packed weights, of all experts one behind another")     \
  LIST(SEGMENTS, "Segment segment[SEGMENTS]", "stacks that read x")                                \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of x")                   \
  WORD(x_share, "unsigned long long x_share", "assignments that read one row of x: top_k or 1")    \
  LIST(STRIDES, "Stride stride[SEGMENTS]", "of the rows of Y")

#define QP_EXPERTS_GLU_ARGUMENTS(WORD, LIST)                                                       \
  QP_EXPERTS_ARGUMENTS(WORD, LIST)                                                                 \
  WORD(activation, "unsigned activation; float limit",                                             \
       "0 silu, 1 gelu by tanh, 2 gelu, 3 relu, 4 swiglu of gpt-oss; 0: none")

#define QP_COMBINE_ARGUMENTS(WORD, LIST)                                                           \
  WORD(x, "const void *x", "[tokens * top_k][K]")                                                  \
  WORD(y, "void *y", "[tokens][K]; may be residual")                                               \
  WORD(weight, "const float *weight", "[tokens][top_k]")                                           \
  WORD(residual, "const void *residual", "[tokens][K], added, or null")                            \
  WORD(rows, "unsigned long long rows", "tokens")                                                  \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of x")                   \
  WORD(y_stride, "unsigned long long y_stride", "of Y")                                            \
  WORD(up_stride, "unsigned long long residual_stride", "of residual")                             \
  WORD(combined, "unsigned top_k, x_f32", "rows of x of a token; 1: x is fp32, else as Y")

#define QP_ATTEND_ARGUMENTS(WORD, LIST)                                                            \
  WORD(x, "const void *q", "[rows][heads][K]")                                                     \
  WORD(y, "void *y", "[rows][heads][K]")                                                           \
  WORD(k, "const void *k", "[rows][kv_heads][K] of the new token")                                 \
  WORD(v, "const void *v", "[rows][kv_heads][K]")                                                  \
  WORD(keys, "void *keys", "[rows][context][kv_heads][K], the cache")                              \
  WORD(values, "void *values", "[rows][context][kv_heads][K]")                                     \
  WORD(positions, "const int *positions", "[rows]; outside of 0 .. context - 1 a row of Y is 0")   \
  WORD(rotary, "const float *rotary", "[context][2][pairs] cosines, then sines; null: none")       \
  WORD(rows, "unsigned long long rows", "sequences")                                               \
  WORD(x_stride, "unsigned long long q_stride", "elements from row to row of q")                   \
  WORD(up_stride, "unsigned long long kv_stride", "of k and v")                                    \
  WORD(y_stride, "unsigned long long y_stride", "of Y")                                            \
  WORD(context, "unsigned long long context", "positions of the cache")                            \
  WORD(heads, "unsigned heads, kv_heads", "heads of q; of k and v, which divide them")             \
  WORD(attention, "float scale; unsigned window", "of q . k; positions seen, 0: all")              \
  WORD(pairs, "unsigned long long pairs", "elements i and i + pairs of a head turn together")

#define QP_PICK_ARGUMENTS(WORD, LIST)                                                              \
  WORD(x, "const void *logits", "[rows][logits_stride]")                                           \
  WORD(y, "void *y", "[rows][K], the token's row of the embedding")                                \
  WORD(weight, "const void *embedding", "[vocabulary][K], or null: Y is not written")              \
  WORD(tokens, "int *tokens", "[rows][context] by position")                                       \
  WORD(known, "const int *known", "[rows]: tokens before it are given; null: none")                \
  WORD(positions, "int *positions", "[rows] of the token that the logits are of; goes on by 1")    \
  WORD(ids, "int *ids", "[rows], the tokens picked")                                               \
  WORD(rows, "unsigned long long rows", "sequences")                                               \
  WORD(x_stride, "unsigned long long logits_stride", "elements, a multiple of 8")                  \
  WORD(y_stride, "unsigned long long y_stride", "of Y")                                            \
  WORD(context, "unsigned long long context", "positions of 'tokens'")                             \
  WORD(vocabulary, "unsigned long long vocabulary", "logits of a row")

#define QP_PLAIN_ARGUMENTS(WORD, LIST)                                                             \
  WORD(x, "const void *x", "[rows][K]; of GLU the gate")                                           \
  WORD(y, "void *y", "[rows][outputs]; may be residual")                                           \
  WORD(matrix, "const void *matrix", "[outputs][K] W")                                             \
  WORD(bias, "const void *bias", "[outputs], or null")                                             \
  WORD(residual, "const void *residual", "[rows][outputs], rows as those of Y, or null")           \
  WORD(weight, "const void *weight", "NORM: [K] w, or null: ones for offset + w")                  \
  WORD(up, "const void *up", "GLU: [rows][K]")                                                     \
  WORD(rows, "unsigned long long rows", "of X")                                                    \
  WORD(outputs, "unsigned long long outputs", "rows of W")                                         \
  WORD(x_stride, "unsigned long long x_stride", "elements from row to row of x")                   \
  WORD(y_stride, "unsigned long long y_stride", "of Y and residual")                               \
  WORD(up_stride, "unsigned long long up_stride", "of up")                                         \
  WORD(prologue, "unsigned long long prologue", "0 none, 1 NORM, 2 GLU")                           \
  WORD(norm, "float eps, offset", "NORM: added to the mean of squares, and to w")                  \
  WORD(activation, "unsigned activation; float limit",                                             \
       "GLU: 0 silu, 1 gelu by tanh, 2 gelu, 3 relu, 4 swiglu of gpt-oss; 0: none")

#define QP_NO_WORDS(WORD)

/* LAUNCH(identifier, arguments, words of a segment, of its strides), in the order of the ops of
   qpal.h. */
#define QP_LAUNCHES(LAUNCH)                                                                        \
  LAUNCH(GEMM, QP_GEMM_ARGUMENTS, QP_GEMM_SEGMENT_WORDS, QP_GEMM_STRIDE_WORDS)                     \
  LAUNCH(ROTATE, QP_ROTATE_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                    \
  LAUNCH(DEQUANT, QP_DEQUANT_ARGUMENTS, QP_DEQUANT_SEGMENT_WORDS, QP_NO_WORDS)                     \
  LAUNCH(GATHER, QP_GATHER_ARGUMENTS, QP_GATHER_SEGMENT_WORDS, QP_NO_WORDS)                        \
  LAUNCH(ENCODE, QP_ENCODE_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                    \
  LAUNCH(ROTATE_NORM, QP_ROTATE_NORM_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                          \
  LAUNCH(ROTATE_GLU, QP_ROTATE_GLU_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                            \
  LAUNCH(GEMM_GLU, QP_GEMM_GLU_ARGUMENTS, QP_GEMM_SEGMENT_WORDS, QP_GEMM_STRIDE_WORDS)             \
  LAUNCH(ROUTE, QP_ROUTE_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                      \
  LAUNCH(EXPERTS, QP_EXPERTS_ARGUMENTS, QP_EXPERTS_SEGMENT_WORDS, QP_EXPERTS_STRIDE_WORDS)         \
  LAUNCH(ATTEND, QP_ATTEND_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                    \
  LAUNCH(PICK, QP_PICK_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                        \
  LAUNCH(COMBINE, QP_COMBINE_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                  \
  LAUNCH(PLAIN, QP_PLAIN_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                                      \
  LAUNCH(EXPERTS_GLU, QP_EXPERTS_GLU_ARGUMENTS, QP_EXPERTS_SEGMENT_WORDS, QP_EXPERTS_STRIDE_WORDS) \
  LAUNCH(ENCODE_FED, QP_ENCODE_FED_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)                            \
  LAUNCH(ROWS_PRODUCT, QP_ROWS_PRODUCT_ARGUMENTS, QP_NO_WORDS, QP_NO_WORDS)

enum {
#define X(name, arguments, segment, stride) QP_LAUNCH_##name,
  QP_LAUNCHES(X)
#undef X
      QP_LAUNCH_COUNT
};

typedef enum qp_argument_kind {
  QP_ARGUMENT_WORD,
  QP_ARGUMENT_LIST_POW2,
  QP_ARGUMENT_LIST_STREAMS,
  QP_ARGUMENT_LIST_SEGMENTS,
  QP_ARGUMENT_LIST_STRIDES
} qp_argument_kind;

typedef struct qp_argument {
  qp_argument_kind kind;
  size_t offset, words; /* of a word: where it lies in its struct above, how many follow it */
  const char *declaration, *comment;
} qp_argument;

/* The words of an operation's struct Args; in each list a declaration that is NULL comes last. */
typedef struct qp_launch_arguments {
  const qp_argument *args, *segment, *stride;
} qp_launch_arguments;

extern const qp_launch_arguments qp_launch_arguments_of[QP_LAUNCH_COUNT];
extern const qp_argument qp_stream_words[];

/*
** Lay the arguments out as the kernel's parameter.  'launch' is one of QP_LAUNCH_*; streams and
** segments are the launch's, within the limits above.  Returns the bytes used, at most
** QP_PARAMS_MAX.
*/
size_t qp_arguments_pack(unsigned launch, const qp_arguments *a, unsigned streams,
                         unsigned segments, unsigned char *params);

/* The bytes that such a launch uses; and without the strides behind, as kernels took them that knew
   none: the rows of X, Y and residuals lay close. */
size_t qp_arguments_bytes(unsigned launch, unsigned streams, unsigned segments);
size_t qp_arguments_bytes_close(unsigned launch, unsigned streams, unsigned segments);

#endif
