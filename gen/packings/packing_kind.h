/* SPDX-License-Identifier: MIT */
/* What a format of packed weights is, and a matrix in it; PACKINGS.md describes formats and their
   layouts. */
#ifndef QP_PACKING_KIND_H
#define QP_PACKING_KIND_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/packings/numbers.h"
#include "runtime/safetensors.h"
#include "runtime/status.h"

enum { QP_PACKING_PARTS = 6, QP_PACKING_DIMS = 3 };

typedef struct qp_packing qp_packing;

/* What config.json says; it is read while packings are found, and not kept. */
typedef struct qp_packing_config {
  const char *file;     /* begins messages */
  const char *method;   /* quant_method */
  const cJSON *section; /* quantization_config */
  qp_tensor_type type;  /* torch_dtype: F16, BF16 or F32 */
} qp_packing_config;

/* A format, which is a row of the table in packing.c. */
typedef struct qp_packing_kind {
  const char *method, *name;          /* quant_method; in messages: "GPTQ" */
  const char *made;                   /* ends the name of the matrix: ".weight" or "" */
  const char *part[QP_PACKING_PARTS]; /* ends of the names of its tensors */
  unsigned needed;                    /* number of the parts, from the first, that must be there */
  uint32_t types;                     /* The first part may have these types: bits 1 <<
                                         QP_TENSOR_... */
  /* Check parts and sizes against each other; fills in all that follows 'part' below. */
  qp_status (*open)(qp_packing *p, const qp_packing_config *config, qp_error *err);
  void (*decode)(const qp_packing *p, uint64_t first, uint64_t count, float *out);
  const struct qp_packing_codes *codes; /* NULL: they are not kept by import */
} qp_packing_kind;

/* How weights are kept as they are: codes, and numbers that a row's columns share. */
typedef struct qp_packing_codes {
  /* The quantizer of ours that decodes them alike ("int4-g128"); false: 'why' not. */
  bool (*quantizer)(const qp_packing *p, char name[64], char why[256]);
  uint32_t (*code)(const qp_packing *p, uint64_t row, uint64_t column);
  /* What field 'field' of that quantizer is for a weight. */
  float (*number)(const qp_packing *p, uint64_t row, uint64_t column, const char *field);
  /* Where columns go so that those of a group stand together, [columns]; NULL: they do. */
  void (*order)(const qp_packing *p, uint16_t *order);
} qp_packing_codes;

/* One matrix W, [rows][columns], or a stack of them, [E][rows][columns], as its tensors hold it. */
struct qp_packing {
  char *name; /* "model.layers.0.self_attn.q_proj.weight" */
  const qp_packing_kind *kind;
  const qp_safetensors *file;
  const qp_tensor *part[QP_PACKING_PARTS]; /* as kind->part; NULL: it is not there */
  unsigned dims;
  uint64_t shape[QP_PACKING_DIMS];
  uint64_t rows, columns; /* rows: of all in a stack */
  qp_tensor_type type;    /* what its own package gives values in: F16, BF16 or F32 */
  /* private: */
  qp_numbers codes, zeros;       /* codes and zeros of integers */
  bool codes_by_column;          /* lines of codes are columns of W; else rows */
  bool zeros_by_row;             /* lines of zeros are rows of W; else groups */
  unsigned zero;                 /* where there are no zeros */
  size_t scale_row, scale_group; /* elements of part 'scales' from row to row, and from group to
                                    group */
  const qp_tensor *scales;
  uint64_t group_rows, group;       /* rows and columns that have one scale */
  const unsigned char *group_of;    /* I32 [columns]: the group of each column, or NULL */
  float factor;                     /* of all scales: a second scale, by which they are ... */
  bool divides;                     /* ... divided, or else multiplied */
  bool exponents;                   /* scales are bytes e: 2^(e - 127) */
  const qp_tensor *nested, *levels; /* of scales that are packed themselves */
  float offset;
  uint64_t nested_group;
};

#endif
