/* SPDX-License-Identifier: MIT */
/* Problem: what one kernel launch computes, and on what architecture. */
#ifndef QP_PROBLEM_H
#define QP_PROBLEM_H

#include <stdbool.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

enum {
  QP_MAX_SEGMENTS = 8,
  QP_MAX_BATCH = 64,
  QP_MAX_EXPERTS = 512,
  QP_MAX_TOP_K = 16,
  QP_MAX_SLICES = 8,
  QP_MAX_TILE = 16
};

/*
** X(identifier, name, segments, batch, inverse, experts):  does a problem of it have linears; rows
** of X and a type of Y; an inverse; experts, among which a router chooses?  The order is that of
** qpal.h and of runtime/arguments.h.
*/
#define QP_OPS(X)                                                                                  \
  X(GEMM, "gemm", true, true, false, false)                                                        \
  X(ROTATE, "rotate", false, false, true, false)                                                   \
  X(DEQUANT, "dequant", true, false, false, false)                                                 \
  X(GATHER, "gather", true, false, false, false)                                                   \
  X(ENCODE, "encode", true, false, false, false)                                                   \
  X(ROTATE_NORM, "rotate-norm", false, false, false, false)                                        \
  X(ROTATE_GLU, "rotate-glu", false, false, false, false)                                          \
  X(GEMM_GLU, "gemm-glu", true, true, false, false)                                                \
  X(ROUTE, "route", false, false, false, true)                                                     \
  X(EXPERTS, "experts", true, true, false, true)                                                   \
  X(ATTEND, "attend", false, false, false, false)                                                  \
  X(PICK, "pick", false, false, false, false)                                                      \
  X(COMBINE, "combine", false, false, false, false)                                                \
  X(PLAIN, "plain", false, false, false, false)                                                    \
  X(EXPERTS_GLU, "experts-glu", true, true, false, true)                                           \
  X(ENCODE_FED, "encode-fed", true, false, false, false)                                           \
  X(ROWS_PRODUCT, "rows-product", false, false, false, false)

/* Their names for a help text, as QP_OPS(QP_OP_WORD). */
#define QP_OP_WORD(id, name, ...) name " "

typedef enum qp_op {
#define X(id, ...) QP_OP_##id,
  QP_OPS(X)
#undef X
      QP_OP_COUNT
} qp_op;
typedef enum qp_dtype { QP_F16, QP_BF16, QP_F32 } qp_dtype;

/*
** gemm     Y_s[N,M_s] = r_s * (X~ [N,K] W^_s^T) (+ bias_s) (+ residual_s)     for each segment s
** dequant  W^_s[M_s,K], times r_s where it is given                           for each segment s
** gather   Y[t] = row ids[t] of diag(r) W^ H diag(s), or 0 where 0 <= ids[t] < M does not hold; one
**          segment; of a W that was not rotated H and s are the identity
** rotate   Y[N,K] = H (s * X)   or, inverse,   Y[N,K] = s * (H^T X)
** rotate-norm   h = post(X) (+ residual),  Y = H (s * (offset + w) * h / rms(h)),
**          rms(h) = sqrt(mean(h^2) + eps);  post(X) is X, or with a weight of its own
**          (offset + w') * X / rms(X);  h is written back, and rounded, where a place is given
** rotate-glu    Y = H (s * activation(gate) * up), both clamped first where there is a limit
** gemm-glu      Y[N,M] = activation(g) * u,  u and g what gemm gives of two segments, up and gate,
**          which have equal quantizers and rows; no residual
** route    assignments of N tokens to top_k of E experts each, sorted by expert and cut into tiles
**          of at most 'tile' (runtime/routing.h)
** experts  Y_s[a,M_s] = r_s[e] * (X~[row] W^_s[e]^T) (+ bias_s[e])  for each assignment a of a
**          token to an expert e; row is the token's, or a's own.  Segments are stacks of E equal
**          linears of M rows each, packed as one of E M rows
** experts-glu   Y[a,M] = activation(g) * u,  u and g what experts gives of two stacks, up and gate,
**          of equal rows
** attend   of each sequence one token at position p:  k and v, which got its rotary position, go to
**          the cache at p,  Y_h = sum_t softmax_t(scale Q_h . keys[t]) values[t]  over t <= p, of
**          the last 'window' ones;  K is the size of a head
** pick     of each sequence the token behind position p: the one that is given there, else the
**          largest logit's;  p goes on by one, Y is the token's row of a 16-bit embedding [V][K]
** combine  of each token  Y = residual + sum over k of weight[k] X[token top_k + k],  k rising: all
**          that a model adds up of its experts' outputs
** plain    Y[N,M] = X' W^T (+ bias) (+ residual)  of a W [M,K] that stays in 16 bits, of any M;
**          X' is X, (offset + w) * X / rms(X), or activation(gate) * up
** encode-fed   codes of W~[M,K], the errors of each eight columns fed forward into those behind
**          (gen/encode/feedback.h); one segment, a trellis
** rows-product  out[j] = sum of M[j][i] a[i]  for each j < K and 32 rows side by side, over i up to
**          j, from j on, or all, i rising (gen/encode/rows_product.h)
** encode   codes of W~[M,K], given as the lanes' sequences (gen/spec/layout.h); one segment, which
**          is no split
** X~ is X, or with 'rotate_fused' H (s * X).
** With an order and scales of the columns H stands for H P, s for s * d (runtime/input_side.h); the
** inverse rotation is the transposed, which makes W of W^.
*/
typedef struct qp_problem {
  qp_op op;
  unsigned segments; /* How many of the list below are used; rotations have none. */
  struct {
    const qp_quantizer *quantizer;
    unsigned rows; /* M of the linear, or of one expert: a multiple of 16, of an expert one of
                      32. */
  } segment[QP_MAX_SEGMENTS];
  unsigned columns; /* K, a multiple of 32. */
  /* H has diagonal blocks of so many columns, a multiple of 32.  0 stands for one block of all K
     columns, 1 for no rotation at all.  Flags of runtime/input_side.h say that columns have an
     order, or scales, of their own. */
  unsigned rotation;
  unsigned pieces;   /* Equal ranges of K, each with streams of its own (gemm, dequant); 0 counts as
                        1. */
  unsigned batch;    /* N, 1 to 64: rows of X, or tokens.  Operations without rows ignore it. */
  unsigned experts;  /* E, 1 to 512, where the operation has experts. */
  unsigned top_k;    /* Experts that a token goes to, 1 to 16. */
  unsigned slices;   /* Ranks that divide the experts which tokens go to, of which E is one rank's
                        share; 0 counts as 1, which has all of them. */
  unsigned tile;     /* Most assignments of a tile, 1 to 16; its weights are decoded once for all of
                        them. */
  qp_dtype type;     /* X, bias, W^ and gather's Y have this type: F16 or BF16. */
  qp_dtype out_type; /* gemm's Y and residual have this one: F32, or the same as 'type'. */
  bool rotate_fused; /* The gemm rotates X itself. */
  bool inverse;      /* A rotation goes back. */
  unsigned arch;     /* One of qp_arch_table. */
  unsigned sm_count; /* Multiprocessors over which the work is divided. */
} qp_problem;

/* Shapes, types and architecture within what kernels can do; the message names the field. */
qp_status qp_problem_check(const qp_problem *p, qp_error *err);

/* The name that users write ("gemm"); whether problems of the operation have linears, rows of X, an
   inverse; the operation of a name, or QP_E_ARG with the names there are. */
const char *qp_op_name(qp_op op);
bool qp_op_has_segments(qp_op op);
bool qp_op_has_batch(qp_op op);
bool qp_op_has_inverse(qp_op op);
bool qp_op_has_experts(qp_op op);
/* All operations but route have a K. */
bool qp_op_has_columns(qp_op op);
/* These take rows of K values in and out and no weights: rotate, and the rotations with a prologue.
   */
bool qp_op_rotates(qp_op op);
/* These multiply X by packed weights: gemm, and gemm with a gated linear unit behind it. */
bool qp_op_multiplies(qp_op op);
/* The same of stacks, among which a router chooses: experts, and with the unit behind it. */
bool qp_op_multiplies_stacks(qp_op op);
/* A gated linear unit is behind the sums, of up and gate: gemm-glu, experts-glu. */
bool qp_op_has_unit(qp_op op);
qp_status qp_op_parse(const char *text, qp_op *out, qp_error *err);
const char *qp_dtype_name(qp_dtype t); /* "f16", "bf16", "f32" */
qp_status qp_dtype_parse(const char *text, qp_dtype *out, qp_error *err);
unsigned qp_dtype_bytes(qp_dtype t);

/* Count the ranges of K that have streams of their own; there is at least 1. */
unsigned qp_problem_pieces(const qp_problem *p);
/* Count the rows of all of a segment's packed weights; of a stack these are the rows of all
   experts. */
unsigned qp_problem_stream_rows(const qp_problem *p, unsigned segment);
/* Give the problem that makes the plain W of what the dequant 'of' writes: it is the inverse
   rotation of its rows. */
qp_problem qp_problem_rotation_back(const qp_problem *of);
/* Count the assignments of tokens to experts, which are N top_k. */
unsigned qp_problem_assignments(const qp_problem *p);
/* Experts that tokens go to, of this rank and others. */
unsigned qp_problem_all_experts(const qp_problem *p);
/* Experts that some token goes to, on average where each token goes to any top_k: of E, or 1 where
   the operation has none. */
double qp_problem_met_experts(const qp_problem *p);
/* Assignments a tile where nobody says: an expert gets each token once at most, tensor cores take 8
   rows for one; fewer where their X would take most of a block's shared memory. */
unsigned qp_problem_usual_tile(unsigned tokens, unsigned columns);

#endif
