/* SPDX-License-Identifier: MIT */
/* What the metadata of packed weights (PACKED.md) says:  shards -> [table] -> packed.c. */
#ifndef QP_PACKED_TABLE_H
#define QP_PACKED_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/include/qpal.h"
#include "runtime/safetensors.h"
#include "runtime/status.h"

enum { QP_PACKED_NAME = 256, QP_PACKED_HASH = 40 };

typedef struct qp_packed_quantizer {
  char name[64], hash[QP_PACKED_HASH];
  uint64_t layout;
} qp_packed_quantizer;

typedef struct qp_packed_linear {
  char name[QP_PACKED_NAME];
  char signs[QP_PACKED_NAME]; /* The tensor of its input's side; "": x is taken as it is. */
  char quantizer[64];
  uint64_t rows, columns;
  uint64_t rotation;  /* Columns of a diagonal block of H; 0: one block of all columns. */
  uint64_t slices;    /* Equal slices of rows or columns that ranks can share. */
  bool order, scaled; /* Its columns have an order, and scales (runtime/input_side.h). */
  char split[8];      /* What the slices are of: "rows" or "columns"; "": it is whole. */
  float *scale;       /* [rows], where the file holds fp16; NULL: those of the file are taken. */
  unsigned listed;    /* Parts that a split lists, of a narrow linear some of no columns, ... */
  unsigned parts;     /* ... of which only those that have some are kept. */
  struct {
    uint64_t column, columns;
    uint64_t sparse; /* A row has so many sparse entries. */
    unsigned number; /* Its place among those listed, by which its tensors are named. */
  } part[QPAL_MAX_PARTS + QPAL_MORE_PARTS];
} qp_packed_linear;

/* Packed weights as they were opened.  The caller of qpal_packed_open owns them and all that they
   point to. */
struct qpal_packed {
  char *path; /* As it was opened. */
  qp_safetensors *tensors;
  unsigned rank, size; /* The rank of all those that share the model; 0 of 1 has all of it. */
  size_t quantizers, linears;
  qp_packed_quantizer *quantizer;
  qp_packed_linear *linear;
};

/* Find the quantizer of this name in the table, or NULL. */
qp_packed_quantizer *qp_packed_find_quantizer(const qpal_packed *p, const char *name);

/* Read one shard's metadata into the table.  QP_E_ARG: it is not what PACKED.md says, or of another
   run than the first shard's (names file, field and value); QP_E_NOMEM. */
qp_status qp_packed_read_shard(qpal_packed *p, unsigned shard, qp_error *err);

/* Write the message that memory ran out, and return QP_E_NOMEM. */
qp_status qp_packed_no_memory(qp_error *err);

#endif
