/* SPDX-License-Identifier: MIT */
/* Writes down what a search of group fields knows of a quantizer, for the encode kernel:
   field_fit.c, nested.c --> sizes that become constants, a table of bytes. */
#ifndef QP_FIELD_TABLE_H
#define QP_FIELD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

enum {
  QP_FIELD_TABLE_FIELDS = 2,       /* that vary, at most */
  QP_FIELD_TABLE_BITS = 8,         /* most bits of a code */
  QP_FIELD_TABLE_POINTS = 1 << 22, /* most points of a grid: a and b of each are 16 bytes */
  QP_FIELD_TABLE_HEADER = 16       /* words */
};

/* What each word of the header counts: bytes from the table's beginning to an array. */
typedef enum qp_field_table_part {
  QP_FIELD_TABLE_AB,      /* of a grid: double [points][2]: a and b; the first field moves first */
  QP_FIELD_TABLE_NUMBERS, /* double [values of all fields]: their numbers, which ascend in each */
  QP_FIELD_TABLE_RAWS,    /* uint32 [values of all fields]: the same as they are stored */
  QP_FIELD_TABLE_LEVELS,  /* float [room]: u; beyond the last level the same again */
  QP_FIELD_TABLE_EDGES,   /* float [room]: halfway to the next u; from the last on infinite */
  QP_FIELD_TABLE_CODES,   /* uint32 [levels]: a code of each level */
  QP_FIELD_TABLE_BOOKS,   /* fp16 [entries][dim] of each codebook, 4 words */
  QP_FIELD_TABLE_PARTS = QP_FIELD_TABLE_BOOKS + 4
} qp_field_table_part;

/* A field of a nested search. */
typedef struct qp_field_sizes {
  unsigned count, before; /* its values, those of the fields before it */
  unsigned each;          /* smallest groups that share it; 0: it is no larger group's */
  unsigned start;         /* where it stands before it is searched */
} qp_field_sizes;

/* What a and b of a nested search come of: what two codes decode to at the fields. */
typedef struct qp_field_line {
  unsigned parts[2];   /* fields that a, and the least weight, depend on; others are at 0 */
  unsigned low, high;  /* codes of the least and the largest u */
  float u_low, span;   /* the least u, and how far the largest is from it */
  double apart, first; /* the levels': gen/encode/levels.h */
} qp_field_line;

typedef struct qp_field_table {
  unsigned fields;                        /* all of the quantizer's */
  unsigned varies[QP_FIELD_TABLE_FIELDS]; /* those that vary; 'fields': there is none */
  unsigned count[QP_FIELD_TABLE_FIELDS];  /* their values, else 1; other fields have one each */
  bool line[QP_FIELD_TABLE_FIELDS];       /* a and b follow a line as the field's number moves */
  unsigned first;                         /* the field with the most values */
  bool few, flips, shifts, slices;        /* as qp_field_fit has them */
  bool grid;            /* searched on a grid: templates/field_grid.h, else field_fit.h */
  unsigned own, larger; /* grid: the smallest groups' fields and others, a bit for each */
  bool nested;          /* grid: units are searched whole: templates/field_unit.h */
  unsigned group, unit; /* columns of the smallest group, and of the largest */
  qp_field_sizes size[QP_MAX_FIELDS]; /* nested; then no field is in 'varies', and each has all of
                                         its values */
  qp_field_line line_of;              /* nested */
  bool even;                          /* levels are 0, 1, 2, ... */
  unsigned levels, room, states;      /* room: 2^depth, at least 16; states: codes */
  size_t points;                      /* of a grid, else 0 */
  size_t bytes;
  unsigned char *data; /* malloc'ed, begins with the header */
} qp_field_table;

/*
** Write the table of a quantizer for rows of 'columns'; 'data' stays NULL where 'with_data' is
** false.  Free with qp_field_table_free.  QP_E_LIMIT: the kernel cannot search its fields, and why;
** QP_E_NOMEM.
*/
qp_status qp_field_table_make(const qp_quantizer *q, unsigned columns, bool with_data,
                              qp_field_table *out, qp_error *err);
void qp_field_table_free(qp_field_table *t);

#endif
