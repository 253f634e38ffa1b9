/* SPDX-License-Identifier: MIT */
/* Finds the rows from which decoding the weights and cuBLAS beat the fused kernels:  records ->
   [rows]. */
#ifndef QP_CROSSOVER_H
#define QP_CROSSOVER_H

#include "tuner/tune/lookup.h"
#include "tuner/tune/measurer.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"

/*
** Three measurements decide it, each a record: the fused kernels at the batches that were tuned,
** the dequantization of each linear to 16 bits, and cuBLAS' product with 16-bit weights of the
** same shape at some numbers of rows.  A record of cuBLAS has op "cublas", one segment of the
** quantizer "fp16" with the rows of all linears of the launch together, and the number of rows of
** X as its batch.
*/
#define QP_CUBLAS_OP "cublas"

enum { QP_CROSSOVER_MOST = 4096, QP_CROSSOVER_POINTS = 128 };

/* What a launch costs by each way. */
typedef struct qp_crossover_sides {
  size_t batches; /* The batches of the fused kernels, rising. */
  unsigned batch[QP_MAX_BATCHES];
  int64_t gemm_ps[QP_MAX_BATCHES];
  int64_t dequant_ps; /* time of decoding all its linears */
  size_t points;      /* points of cuBLAS, rising */
  struct {
    unsigned rows;
    int64_t ps;
    const qp_record *record; /* The records own it; NULL: it was entered by hand. */
  } point[QP_CROSSOVER_POINTS];
} qp_crossover_sides;

/* Fused kernels for this number of rows: as the runtime launches them where buffers have room for
   padding (the smallest that takes all that are left, else the largest).  'batches' is not 0. */
int64_t qp_crossover_fused_ps(const qp_crossover_sides *s, unsigned rows);
/* Give the time of decoding and cuBLAS; between two points it lies on the line through them.  It is
   0 outside of the points. */
int64_t qp_crossover_decoded_ps(const qp_crossover_sides *s, unsigned rows);
/* Enter a point of cuBLAS in its place.  One of the same rows is replaced, unless its record is
   newer; what has no room is left out. */
void qp_crossover_add(qp_crossover_sides *s, unsigned rows, int64_t ps, const qp_record *record);

/*
** The least number of rows from which on decoding is faster at every number up to the last point.
** 0 means that this is not known, for want of a side; QP_CROSSOVER_NEVER, that it is not faster at
** the last point.
*/
#define QP_CROSSOVER_NEVER UINT32_MAX
unsigned qp_crossover_rows(const qp_crossover_sides *s);

/*
** Find the sides of a launch (gemm; its own batch does not count) by 'path' with kernels of these
** batches, from the records and a look-up of them.  A batch that no record answers is left out;
** false: none is answered, or a linear's dequantization is not.  Records must stay while the
** sides are used.
*/
bool qp_crossover_find(qp_lookup *l, const qp_records *records, const qp_problem *launch,
                       const char *path, const unsigned *batch, size_t batches,
                       qp_crossover_sides *out);

/* List the batches of the records' gemms, rising; returns their number. */
size_t qp_crossover_batches(const qp_records *records, unsigned batch[QP_MAX_BATCHES]);

/* Enter what the records have of cuBLAS at the launch's shape. */
void qp_crossover_add_records(const qp_records *records, const qp_problem *launch,
                              qp_crossover_sides *out);

/* Begin the record of cuBLAS at a launch's shape; time, outcome and stamps are the caller's. */
void qp_cublas_record_begin(const qp_problem *launch, unsigned rows, qp_record *out);

#endif
