/* SPDX-License-Identifier: MIT */
/* Candidate -> kernel:  problem + family + tunables -> CUDA source, launch geometry, parameters. */
#ifndef QP_KERNEL_H
#define QP_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/kernel/family.h"
#include "gen/kernel/lower.h"
#include "gen/kernel/problem.h"
#include "gen/spec/layout.h"
#include "runtime/arguments.h"
#include "runtime/device.h"
#include "runtime/status.h"

enum {
  QP_MAX_STREAMS = QP_MAX_SEGMENTS * 2,
  QP_MAX_KERNEL_PARTS = 64,
  QP_MAX_CLUSTERS = QP_MAX_SEGMENTS,
  QP_KERNEL_NAME = 512
};

/* One stream of packed weights that a kernel reads: a segment, or a column range of its split. */
typedef struct qp_kernel_stream {
  qp_stream stream; /* quantizer (never a split), sizes */
  unsigned segment;
  unsigned column;  /* where it begins in K */
  unsigned lowered; /* which of the kernel's lowered quantizers decodes it */
} qp_kernel_stream;

/* Floats from batch row to batch row of sums that wait in shared memory: a warp's stores of one
** product go to 32 banks. */
enum { QP_SUMS_STRIDE = 36 };

/* What the fields of parts and clusters mean stands in the lists of op_gemm.c. */
typedef struct qp_part {
  unsigned lowered, cluster, stream, stream_step;
  unsigned block, blocks;
  unsigned column, columns;
  unsigned first, count, total;
  unsigned units, row_groups;
  unsigned share, extra, slot;
} qp_part;

typedef struct qp_cluster {
  unsigned segment, segments, part, parts, counter, row_groups;
} qp_cluster;

typedef struct qp_kernel {
  char name[QP_KERNEL_NAME]; /* the configuration, by the grammar below; also the symbol */
  qp_problem problem;
  qp_choice choice;
  char *source;           /* freestanding CUDA C++ */
  unsigned grid, block;   /* blocks, threads a block */
  unsigned smem_bytes;    /* dynamic, a block */
  bool pdl;               /* contains the instructions of programmatic dependent launch */
  bool adds_to_zero;      /* gemm: Y must be zero before the launch (atomic sums) */
  size_t workspace_bytes; /* fp32 partial sums; contents do not matter */
  unsigned counters; /* 32-bit words, zero before the first launch; the kernel leaves them zero */
  unsigned plain;    /* gemm by rows, gather: quantizers that decode without being lowered */
  unsigned lowereds; /* else: those that are lowered */
  qp_lowered lowered[QP_MAX_STREAMS];
  unsigned x_offset[QP_MAX_STREAMS]; /* of X in shared memory, by lowered */
  unsigned streams;
  qp_kernel_stream stream[QP_MAX_STREAMS];
  unsigned clusters;
  qp_cluster cluster[QP_MAX_CLUSTERS];
  unsigned parts;
  qp_part part[QP_MAX_KERNEL_PARTS];
  unsigned x_rows, x_stride_bytes, scratch_offset; /* gemm: X in shared memory */
  unsigned x_batch; /* gemm: rows of X that are multiplied at once, the batch; experts: a tile */
  unsigned runs;    /* gemm: superblocks a unit of work */
} qp_kernel;

/*
** Names:   FAMILY "__" PROBLEM "__" TUNABLES
**   gemm      SEGMENTS "_k" K INPUT "_n" N "_" TYPE "_y" TYPE [ "_rot" ] DEVICE
**             (also gemm-glu)
**   dequant   SEGMENTS "_k" K INPUT "_" TYPE DEVICE
**   gather    SEGMENTS "_k" K INPUT "_" TYPE DEVICE
**   encode    SEGMENTS "_k" K "_" TYPE DEVICE
**   rotate    "k" K INPUT "_" TYPE [ "_inv" ] DEVICE
**             (also rotate-norm, rotate-glu, without "_inv")
**   route     ROUTING DEVICE
**   experts   SEGMENTS "_k" K "_" ROUTING "_" TYPE "_y" TYPE DEVICE
**   INPUT     [ "_p" PIECES ] [ "_b" BLOCK ] [ "_" SIDE ]    of K; columns of a diagonal block of H
**   SIDE      "o", "d" or "od": columns have an order, scales
**   ROUTING   "n" N "t" TOP_K "e" EXPERTS "r" TILE
**   SEGMENTS  SEGMENT { "_" SEGMENT }
**   SEGMENT   "m" M QUANTIZER    the quantizer's name with '-' as '_' and '.' as 'o', then "h" and
**                                the first 8 digits of its definition hash
**   DEVICE    "_sm" ARCH "_c" SMS
**   TUNABLES  { TAG VALUE } in the order of the family's file, with the values that the generator
**             chose
** Example:  gemm_tensor__m4096tcq_3h1f00ba44_k4096_n1_f16_yf16_sm90_c132__w16r2s2f1c0a0g1p0m1l0b1
*/

/*
** Make the kernel of a candidate.  '*out' is filled (free with qp_kernel_free) or untouched.
** QP_E_LIMIT: the candidate cannot be (shared memory, a constraint of the family), with the reason;
** QP_E_ARG: the problem is wrong.
*/
qp_status qp_kernel_make(qp_families *families, const qp_problem *problem, const qp_choice *choice,
                         qp_kernel *out, qp_error *err);
void qp_kernel_free(qp_kernel *k);

/* Lay the arguments (runtime/arguments.h) out as the kernel's parameter; returns the bytes used, at
   most QP_PARAMS_MAX. */
size_t qp_kernel_params(const qp_kernel *k, const qp_arguments *args, unsigned char *params);

/* Private to gen/kernel. */
void qp_kernel_name(qp_kernel *k);
qp_status qp_kernel_source(qp_kernel *k, qp_error *err);
/* Segments can share tables and warps when one quantizer with one codebook decodes them all. */
bool qp_kernel_mergeable(const qp_quantizer *q);
qp_status qp_partition_gemm(qp_kernel *k, qp_error *err);
qp_status qp_partition_experts(qp_kernel *k, qp_error *err);
qp_status qp_partition_dequant(qp_kernel *k, qp_error *err);
/* The streams of all segments, and the clusters of segments that can share tables and warps. */
qp_status qp_partition_streams(qp_kernel *k, qp_error *err);

#endif
