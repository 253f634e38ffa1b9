/* SPDX-License-Identifier: MIT */
/* Makes a kernel of a candidate:  problem + family + tunables -> CUDA source, launch geometry,
   parameters. */
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
  QP_MAX_STREAMS = QP_ARGUMENT_STREAMS,
  QP_MAX_KERNEL_PARTS = 64,
  QP_MAX_CLUSTERS = QP_MAX_SEGMENTS,
  QP_KERNEL_NAME = 512
};

/* One stream of packed weights that a kernel reads: a segment, or a column range of its split. */
typedef struct qp_kernel_stream {
  qp_stream stream; /* Its quantizer is never a split. */
  unsigned segment; /* The problem's segment that it belongs to. */
  unsigned column;  /* The stream begins at this column of K. */
  unsigned lowered; /* The kernel's lowered quantizer with this number decodes it. */
} qp_kernel_stream;

/* Sums that wait in shared memory have so many floats from batch row to batch row: a warp's stores
   of one product go to 32 banks. */
enum { QP_SUMS_STRIDE = 36 };

/* A range of the grid's blocks that work at one stream's columns; the templates see its fields by
   the list PART of op_gemm.c (op_dequant.c has one of its own). */
typedef struct qp_part {
  unsigned lowered;         /* This lowered quantizer decodes it. */
  unsigned cluster;         /* It belongs to the cluster with this number. */
  unsigned stream;          /* The stream of the cluster's first segment ... */
  unsigned stream_step;     /* ... and how many streams further the next segment's is. */
  unsigned block, blocks;   /* The first block of the grid, and how many there are. */
  unsigned column, columns; /* The first column of X, and how many there are without padding. */
  unsigned first, count; /* The first superblock of a row group that is the part's, and how many. */
  unsigned total;        /* All superblocks of a row group. */
  unsigned units, row_groups; /* Units of work of a row group, and row groups of the cluster. */
  unsigned share, extra; /* Units of each warp (of each block, if it owns row groups), and how many
                            of the first have one more. */
  unsigned slot;         /* Sums go to the workspace at slot + warp + row group. */
  unsigned sparse;       /* Sparse entries of a row of the stream. */
} qp_part;

/* Segments that share tables, warps and counters, because one quantizer decodes them all. */
typedef struct qp_cluster {
  unsigned segment, segments; /* The first one, and how many there are. */
  unsigned part, parts;       /* The same of its parts. */
  unsigned counter;           /* Its first row group (of gemm-glu: pair of row groups) counts with
                                 this counter. */
  unsigned row_groups;        /* Row groups of all segments together. */
} qp_cluster;

typedef struct qp_kernel {
  char name[QP_KERNEL_NAME]; /* The configuration, by the grammar below; the symbol, too. */
  qp_problem problem;
  qp_choice choice;
  char *source;           /* Freestanding CUDA C++, owned by the kernel. */
  unsigned grid, block;   /* How many blocks there are, and how many threads a block has. */
  unsigned smem_bytes;    /* Dynamic shared memory of a block. */
  bool pdl;               /* It contains the instructions of programmatic dependent launch. */
  bool adds_to_zero;      /* A gemm adds to Y by atomics: Y must be zero before the launch. */
  size_t workspace_bytes; /* Partial sums in fp32 go there; what it holds before does not matter. */
  unsigned counters;      /* 32-bit words that must be zero before the first launch; every launch
                             leaves them zero. */
  unsigned plain; /* Quantizers that are not lowered, which a gemm by rows and a gather decode; */
  unsigned lowereds; /* those that are, which all other kernels decode. */
  qp_lowered lowered[QP_MAX_STREAMS];
  unsigned x_offset[QP_MAX_STREAMS]; /* For each lowered one X begins here in shared memory. */
  unsigned streams;
  qp_kernel_stream stream[QP_MAX_STREAMS];
  unsigned clusters;
  qp_cluster cluster[QP_MAX_CLUSTERS];
  unsigned parts;
  qp_part part[QP_MAX_KERNEL_PARTS];
  /* A gemm keeps so many rows of X in shared memory, padding included, so many bytes apart; what
     rotations and sums need in passing begins at 'scratch_offset'. */
  unsigned x_rows, x_stride_bytes, scratch_offset;
  unsigned x_batch; /* Rows of X that a gemm multiplies at once: the batch; of experts those of a
                       tile. */
  unsigned runs;    /* Superblocks of a gemm's unit of work. */
  /* experts-glu: sums of up and gate that wait for each other lie so many floats behind the
     workspace's begin, counters of their row groups so many behind the first. */
  unsigned gated_sums, gated_counters;
  /* encode of a trellis: entries of its table (gen/encode/path_table.h) and their span, else levels
     of weight 'held'; steps whose sums are in the workspace together, and how much later their
     codes are told. */
  unsigned path_entries, path_span, path_levels, path_held, path_segment, path_behind;
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
**             (also experts-glu)
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

/* Lay the arguments (runtime/arguments.h) out as the kernel's parameter.  Returns the number of
   bytes used, at most QP_PARAMS_MAX. */
size_t qp_kernel_params(const qp_kernel *k, const qp_arguments *args, unsigned char *params);

/* What follows is private to gen/kernel. */
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
