/* SPDX-License-Identifier: MIT */
/* What the GPU tier is asked and what it finds, as options, rows and blocks. */
#ifndef QP_BENCH_ROW_H
#define QP_BENCH_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/model/model.h"
#include "tuner/base/session.h"
#include "tuner/tune/meter.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"

typedef struct qp_bench_options {
  const char *device;  /* as qp_meter_open takes it */
  bool events;         /* time by events */
  const char *records; /* file of records; NULL: the GPU's own in tuned/, if there is one */
  const qp_model *model;
  const qp_quantizer *const *quantizer;
  size_t quantizers;
  const unsigned *batch;
  size_t batches;
  const char *path; /* "tensor", "cuda"; NULL: the better one that was tuned, else tensor */
  bool all;         /* every launch that a plan may use, not only a block's and the lm_head */
  unsigned samples; /* launches of a row; 0: 20 */
  uint64_t seed;    /* seed of the data that kernels are verified with */
  double timeout_s; /* a row that takes longer hangs; 0: 60 */
  double budget_s;  /* no quantizer is begun after it; 0: none */
} qp_bench_options;

typedef enum qp_bench_outcome {
  QP_BENCH_NONE, /* not measured: no kernel for this problem, no cuBLAS, or the run ended before */
  QP_BENCH_PASS,
  QP_BENCH_FAIL /* does not compile, its result differs from the reference, or it gives no time */
} qp_bench_outcome;

/* 'why' of a row that was not measured for want of time. */
#define QP_BENCH_LATE "the budget ended before"

/* What was measured of one kernel at one launch of the model. */
typedef struct qp_bench_row {
  const qp_quantizer *quantizer; /* NULL: cuBLAS with fp16 weights, or a rotation */
  unsigned launch, batch;        /* An index into qp_bench.launch, and the rows of activations. */
  bool
      absent; /* there is no such row: a rotation once for all quantizers, a dequant at one batch */
  char path[16], kernel[QP_KERNEL_NAME];
  const char *source; /* "tuned", "tuned, other driver", "default", "cuBLAS" */
  qp_bench_outcome outcome;
  char why[240];
  double error;                   /* relative L2 error against the reference */
  uint64_t bytes;                 /* bytes of packed weights that a launch reads */
  qp_timing timing;               /* The kernel's own duration, which cuBLAS has none of. */
  int64_t chain_ps, chain_pdl_ps; /* The duration of a launch in a CUDA graph chain; 0: it was not
                                     measured. */
  int64_t table_ps;               /* The same as its record has it; 0: there is none. */
  int64_t floor_ps;               /* The bytes over the read bandwidth of this run; 0: that is not
                                     known. */
  qp_meter_state state;
} qp_bench_row;

/* Give the faster of the two chain times, else the kernel's own; 0: there is none. */
int64_t qp_bench_row_ps(const qp_bench_row *row);

/* All linears of one transformer block, one launch for each group that reads one input. */
typedef struct qp_bench_block {
  const qp_quantizer *quantizer; /* NULL: cuBLAS with fp16 weights */
  unsigned batch;
  bool whole;           /* every launch passed */
  bool from_table;      /* 'predicted_ps' adds up records, else rows of this run. */
  int64_t measured_ps;  /* duration of one pass in a CUDA graph; 0: not measured */
  int64_t predicted_ps; /* sum over the launches */
  int64_t floor_ps;
  char why[240]; /* it could not be measured */
} qp_bench_block;

typedef struct qp_bench {
  qp_meter_info info;
  char model[64];
  char records[256]; /* where records came from; "" for none */
  char cublas[512];  /* its version, or why it is not there */
  bool cublas_there;
  /* The first 'block_launches' make up a block; what is no gemm comes last. */
  unsigned launches, block_launches;
  qp_model_launch launch[QP_MODEL_LAUNCHES];
  qp_op op[QP_MODEL_LAUNCHES]; /* What each launch does: gemm, rotate or dequant. */
  size_t rows, blocks, stale;
  size_t late;           /* rows that the budget left no time for */
  qp_bench_row *row;     /* malloc'ed */
  qp_bench_block *block; /* malloc'ed */
} qp_bench;

/* Has the row a kernel of ours?  Else it is one of cuBLAS, or absent. */
bool qp_bench_has_kernel(const qp_bench *b, const qp_bench_row *row);

#endif
