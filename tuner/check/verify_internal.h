/* SPDX-License-Identifier: MIT */
/* One check, from its inputs (verify_inputs.c) to its verdict.  Only tuner/check/verify*.c include
   it. */
#ifndef QP_VERIFY_INTERNAL_H
#define QP_VERIFY_INTERNAL_H

#include "gen/base/random.h"
#include "tuner/check/verify.h"

enum { QP_CHECK_POISON = 0xff /* byte of what nothing has written */, QP_CHECK_BUFFERS = 256 };

typedef struct qp_check qp_check;
typedef struct qp_check_decoder qp_check_decoder; /* verify_decoder.c */

typedef struct qp_check_sums {
  double difference, reference;
  size_t n;
} qp_check_sums;

/* What the check of one operation makes and compares; the table of them is in verify.c. */
typedef struct qp_op_check {
  /* Does all of a check in a file of its own; NULL: what follows does it. */
  qp_status (*whole)(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                     uint64_t seed, qp_verdict *v, qp_error *err);
  bool rotates;                     /* X~ is rotated, whatever the problem says */
  qp_status (*inputs)(qp_check *c); /* Makes the inputs, beside streams, segments, workspace and
                                       counters. */
  bool no_outputs;                  /* segments have none of their own */
  bool pairs;                       /* the first segment's output is of two: up and gate */
  double tolerance;                 /* Holds for fp16, and four times it for bf16; 0: the usual
                                       one. */
  double f32_tolerance;             /* Holds for fp32 outputs from fp16; 0: that of fp16 does. */
  qp_status (*outputs)(qp_check *c, qp_check_sums *s, qp_verdict *v);
  /* Compares a row of a segment's W^ (fp16 bits of all K columns) with the outputs that hang on it;
     of a pair, gate's row lies a row group behind. */
  void (*row)(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
              const unsigned char *y, qp_check_sums *s);
} qp_op_check;

/* All of one check: host copies of the inputs, device buffers, the launch's arguments. */
struct qp_check {
  qp_device *dev;
  const qp_kernel *k;
  qp_reference *reference;
  qp_random random;
  qp_error *err;
  uint64_t seed;
  float glu_limit; /* The limit of a gated linear unit; 0: there is none. */
  unsigned row_groups_max;
  double x_most;  /* the largest of X; 0: 1, or what weights leave of it that would overflow */
  double largest; /* The largest of some weights by their codes, before scales; 0: that was not
                     looked at. */
  unsigned buffers;
  qp_devptr buffer[QP_CHECK_BUFFERS];
  uint16_t *x;       /* [batch or rows][K], type of the problem */
  int32_t *ids;      /* [batch], gather; [batch][top_k], route and experts */
  uint32_t *routing; /* what route makes of them */
  uint32_t *signs;   /* the side of x (runtime/input_side.h); gather, dequant: NULL where W stays as
                        it is decoded */
  double *turned;    /* [K], room for a row that is turned */
  double *rotated;   /* [batch][K]: X~, what the weights are multiplied with */
  double *plain;     /* [K], for a row of W */
  struct {
    uint32_t *codes;
    uint8_t *field[QP_MAX_ARRAYS];
    uint16_t *codebook[QP_MAX_CODEBOOKS]; /* tensor and row scope; NULL: the default */
  } stream[QP_MAX_STREAMS];
  struct {
    float *scale;
    uint16_t *bias;
    unsigned char *residual;
  } segment[QP_MAX_SEGMENTS];
  struct {
    uint16_t *residual, *up, *weight, *post; /* NULL: it comes without */
    double *sum;                             /* [batch][K]: h */
  } prologue;
  qp_check_decoder *decoder; /* NULL but of attend and pick */
  qp_arguments args;
  qp_launch launch;
  unsigned char params[QP_PARAMS_MAX];
  qp_function *function;
  const qp_kernel *turn; /* of a dequant: the inverse rotation behind it; NULL: none */
  qp_function *turn_function;
  const qp_op_check *of;
};

/* ---- Inputs (verify_inputs.c) ---- */

/*
** Rows of a gemm's and a rotation's matrices do not lie close: behind each is a gap, of NaNs where
** the kernel reads and of poison where it writes, which must be there afterwards.  These give the
** elements from row to row: of X, and of Y and residual of a segment.
*/
unsigned qp_check_x_stride(const qp_check *c);
unsigned qp_check_y_stride(const qp_check *c, unsigned segment);
unsigned qp_check_residual_stride(const qp_check *c, unsigned segment);

/* Streams, segments, workspace and counters in c->args, and what the operation's row makes beside
   them.  QP_E_NOMEM, QP_E_DEVICE; what was made until then is freed by qp_check_release. */
qp_status qp_check_inputs(qp_check *c);
qp_status qp_check_gemm_inputs(qp_check *c);
/* Make X of so many rows in the problem's type, its signs, and X~ in double precision. */
qp_status qp_check_x(qp_check *c, unsigned rows);
qp_status qp_check_rotate_inputs(qp_check *c);
qp_status qp_check_gather_inputs(qp_check *c);
/* Random signs, order and scales, as the problem's rotation has them: c->signs, and on the device.
   QP_E_NOMEM, QP_E_DEVICE. */
qp_status qp_check_make_side(qp_check *c);
/* v [K] becomes H P (s * d * v), or 'back' s * d * (P^T H^T v); after qp_check_make_side. */
void qp_check_turn(const qp_check *c, bool back, double *v);
/* Make the signs of a dequant whose W is turned back. */
qp_status qp_check_dequant_inputs(qp_check *c);
/* Free the check and all that it has. */
void qp_check_release(qp_check *c);

/* How many rows the segment's output has, and its values with what lies between rows, and their
   type. */
unsigned qp_check_output_rows(const qp_check *c, unsigned segment);
size_t qp_check_output_count(const qp_check *c, unsigned segment);
qp_dtype qp_check_output_type(const qp_check *c);
/* Turn a value into the 16 bits of the problem's type, and back. */
uint16_t qp_check_narrow(const qp_check *c, double v);
double qp_check_widen(const qp_check *c, uint16_t v);

/* Make a device buffer with a guard behind it; 'data' is uploaded, or else the buffer is poisoned.
   */
qp_status qp_check_buffer(qp_check *c, const void *data, size_t bytes, qp_devptr *out);
/* Zeroed host memory, which the caller frees; NULL: none is left, c->err says so. */
void *qp_check_host(qp_check *c, size_t bytes);
/* Numbers of the problem's type between 'low' and 'high', which the caller frees; NULL: c->err. */
uint16_t *qp_check_random(qp_check *c, size_t n, double low, double high);
/* Send rows of 'width' values of 'bytes' to the device, 'stride' values apart, with poison between
   them. */
qp_status qp_check_put_rows(qp_check *c, const void *data, size_t rows, size_t width, size_t stride,
                            size_t bytes, qp_devptr *out);
/* Return QP_E_WRONG, with 'why' in the verdict, if something was written behind a buffer; 'what' is
   its name for people. */
qp_status qp_check_guard(qp_check *c, qp_devptr at, size_t bytes, const char *what, qp_verdict *v);

/* ---- Rotations with a prologue (verify_prologue.c) ---- */

enum { QP_CHECK_ACTIVATIONS = 5 };
/* Apply a gated linear unit by the check's activation and limit. */
double qp_check_glu(const qp_check *c, double gate, double up);
qp_status qp_check_norm_inputs(qp_check *c);
qp_status qp_check_glu_inputs(qp_check *c);
/* Y, and h where it is written back. */
qp_status qp_check_prologue_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);
void qp_check_prologue_release(qp_check *c);
void qp_check_compare(qp_check_sums *s, double got, double want);
/* Add the same where errors are to be seen beside 'size', not beside the value itself. */
void qp_check_compare_by(qp_check_sums *s, double got, double want, double size);

/* Get value i of outputs or residuals. */
double qp_check_read(const qp_check *c, const unsigned char *bytes, size_t i, qp_dtype type);

/* ---- Rows of W^ (verify.c) ---- */

/* Decode W^ of one row group over all column ranges, [32][K] fp16 bits; 'piece' is room for as
   much. */
qp_status qp_check_decode_rows(qp_check *c, unsigned segment, unsigned row_group, uint16_t *w,
                               uint16_t *piece);
/* Get the fp32 factor of a row; 1 where the segment comes without. */
double qp_check_scale(const qp_check *c, unsigned segment, unsigned row);
/* Compute what a row of W^ adds up to with row n of X~: r (w x) + bias. */
double qp_check_product(const qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                        unsigned n);

/* ---- gemm-glu, and what experts-glu shares with it (verify_pair.c) ---- */

/* Choose activation and limit, and the size of X by how large W^ is, so that gates are where
   activations differ.  All other inputs are made before. */
qp_status qp_check_choose_pair(qp_check *c);
/* Compare output 'at' of the gated linear unit of up's row, which w is, and gate's with what row n
   of X~ gives. */
void qp_check_pair_at(qp_check *c, unsigned segment, unsigned row, const uint16_t *w, unsigned n,
                      const unsigned char *y, size_t at, qp_check_sums *s);
/* These do both for gemm-glu: they make X, and compare all outputs of a row. */
qp_status qp_check_pair_inputs(qp_check *c);
void qp_check_pair(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                   const unsigned char *y, qp_check_sums *s);

/* ---- Experts (verify_experts.c) ---- */

qp_status qp_check_route_inputs(qp_check *c);
qp_status qp_check_route_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);
qp_status qp_check_experts_inputs(qp_check *c);
qp_status qp_check_experts_glu_inputs(qp_check *c);
void qp_check_expert_products(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                              const unsigned char *y, qp_check_sums *s);
/* QP_E_WRONG: an assignment to what is no expert did not give 0. */
qp_status qp_check_others(qp_check *c, unsigned segment, const unsigned char *y, qp_verdict *v);

/* ---- rows-product (verify_rows_product.c) ---- */

qp_status qp_check_rows_product_inputs(qp_check *c);
qp_status qp_check_rows_product_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);

/* ---- combine (verify_combine.c) ---- */

qp_status qp_check_combine_inputs(qp_check *c);
/* Compare to the bit: the order of the sum is part of what it promises. */
qp_status qp_check_combine_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);

/* ---- plain (verify_plain.c) ---- */

qp_status qp_check_plain_inputs(qp_check *c);
qp_status qp_check_plain_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);

/* ---- Between a decoder's linears (verify_decoder.c) ---- */

qp_status qp_check_attend_inputs(qp_check *c);
qp_status qp_check_attend_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);
qp_status qp_check_pick_inputs(qp_check *c);
/* Compare all of it to the bit. */
qp_status qp_check_pick_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v);
void qp_check_decoder_release(qp_check *c);

/* ---- Encode (verify_encode.c) ---- */

/* Check an encode kernel.  QP_E_WRONG with 'why' where codes differ; other errors are the
   device's. */
qp_status qp_verify_encode(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                           uint64_t seed, qp_verdict *v, qp_error *err);
/* The same of a kernel that feeds errors forward (verify_encode_fed.c). */
qp_status qp_verify_encode_fed(qp_device *dev, const qp_kernel *kernel, const qp_compiled *compiled,
                               uint64_t seed, qp_verdict *v, qp_error *err);
/* Load and run a kernel that searches; the simulator's limit becomes at least 'needed' instructions
   of a thread for it. */
qp_status qp_verify_launch_search(qp_device *dev, const qp_kernel *k, const qp_compiled *compiled,
                                  qp_arguments *a, uint64_t needed, qp_error *err);

#endif
