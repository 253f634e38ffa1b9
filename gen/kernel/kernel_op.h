/* SPDX-License-Identifier: MIT */
/*
** What C makes for a family's template:  one row for each operation of a kernel, with its
** functions. A family's file names its row by 'op' and 'form'; adding a row is adding one file
** op_*.c and its line in QP_KERNEL_OPS.  lua/families/FAMILIES.md describes the rows for people,
** and a test compares the two.
*/
#ifndef QP_KERNEL_OP_H
#define QP_KERNEL_OP_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/base/text.h"
#include "gen/kernel/problem.h"
#include "runtime/arguments.h"
#include "runtime/status.h"

struct qp_kernel;

/* X(hole, what C puts there): what a template may ask for as @{hole}. */
#define QP_HOLES(X)                                                                                \
  X(name, "the kernel's symbol, which is its configuration")                                       \
  X(header, "comments: name, origin, segments, launch")                                            \
  X(constants, "the operation's constants, then the family's own tunables in capitals")            \
  X(stream, "struct Stream: what a kernel gets of packed weights")                                 \
  X(arguments, "struct Args and what it holds")                                                    \
  X(quantizers, "a struct L0, L1, ... for each quantizer: its decode function and layout")         \
  X(parts, "how the work is divided: structs and tables")                                          \
  X(rotation, "the Hadamard transform's constants (rotate, gather), or the fused rotation (gemm)") \
  X(dispatch, "the statement that calls the part's function with its quantizer's struct")

typedef enum qp_hole_id {
#define X(name, help) QP_HOLE_##name,
  QP_HOLES(X)
#undef X
      QP_HOLE_COUNT
} qp_hole_id;

/* A constant of a template, or a member of one of the structs of its tables. */
typedef struct qp_named {
  const char *name, *help;
  bool flag; /* true or false; else an unsigned number */
} qp_named;

/* A struct of a template's tables; a list of them ends with one whose name is NULL. */
typedef struct qp_struct {
  const char *name;
  const qp_named *member;
  unsigned members;
} qp_struct;

/*
** Lists of named values are written once, as  #define LIST(X) X(UNSIGNED, name, value, help) ...;
** QP_NAMED makes the table of names, QP_VALUE stores the values at *v++.
*/
enum { QP_UNSIGNED = 0, QP_FLAG = 1 };
#define QP_NAMED(type, name, value, help) {#name, help, QP_##type},
#define QP_VALUE(type, name, value, help) *v++ = (unsigned)(value);
enum { QP_NAMED_MAX = 32 }; /* most values of one list */

/* A tunable that C reads.  A family may have others: they become constants of its template. */
enum { QP_NEEDED = 1 << 30 };
typedef struct qp_tunable_use {
  const char *name;
  unsigned low, high; /* possible values */
  unsigned absent;    /* what a family without it has; QP_NEEDED: none can be without */
  bool power;         /* only 0 and powers of two */
  const char *help;
} qp_tunable_use;

typedef struct qp_kernel_op {
  qp_op op;
  const char *form; /* "": what a family's file has that names no form */
  const char *help;
  const qp_tunable_use *tunable;
  unsigned tunables;
  const qp_named *constant;
  unsigned constants;
  void (*values)(const struct qp_kernel *k, unsigned *v); /* Writes the values of the constants, in
                                                             order. */
  const qp_struct *structs; /* The structs of the hole 'parts'; NULL: there are none. */
  /* Can a kernel of this row do the problem?  QP_E_LIMIT with the reason, which names 'family'. */
  qp_status (*check)(const qp_problem *p, const char *family, qp_error *err);
  /* Fill in what the launch needs: grid, shared memory, workspace, parts, and the tunables that are
     left to C. */
  qp_status (*size)(struct qp_kernel *k, qp_error *err);
  /* These make the text of each hole; NULL means that templates of this row have no such hole. */
  qp_status (*hole[QP_HOLE_COUNT])(qp_text *t, const struct qp_kernel *k, qp_error *err);
} qp_kernel_op;

/* A row's list and its length:  QP_OP_LIST(tunable, tunable). */
#define QP_OP_LIST(field, list) .field = list, .field##s = sizeof(list) / sizeof *(list)

/* ROW(identifier): each is defined as qp_op_IDENTIFIER in the op_*.c of its operation. */
#define QP_KERNEL_OPS(ROW)                                                                         \
  ROW(gemm)                                                                                        \
  ROW(gemm_rows)                                                                                   \
  ROW(rotate)                                                                                      \
  ROW(dequant)                                                                                     \
  ROW(gather)                                                                                      \
  ROW(encode_trellis)                                                                              \
  ROW(encode_codes)                                                                                \
  ROW(encode_fed)                                                                                  \
  ROW(encode_fed_codes)                                                                            \
  ROW(encode_fed_fields)                                                                           \
  ROW(encode_fields)                                                                               \
  ROW(encode_shapes)                                                                               \
  ROW(encode_sums)                                                                                 \
  ROW(encode_stages)                                                                               \
  ROW(encode_fed_vectors)                                                                          \
  ROW(encode_fed_shapes)                                                                           \
  ROW(encode_fed_sums)                                                                             \
  ROW(rotate_norm)                                                                                 \
  ROW(rotate_glu)                                                                                  \
  ROW(rotate_tensor)                                                                               \
  ROW(rotate_norm_tensor)                                                                          \
  ROW(rotate_glu_tensor)                                                                           \
  ROW(gemm_glu)                                                                                    \
  ROW(route)                                                                                       \
  ROW(experts)                                                                                     \
  ROW(attend)                                                                                      \
  ROW(pick)                                                                                        \
  ROW(combine)                                                                                     \
  ROW(plain)                                                                                       \
  ROW(experts_glu)                                                                                 \
  ROW(rows_product)

#define X(name) extern const qp_kernel_op qp_op_##name;
QP_KERNEL_OPS(X)
#undef X

/* All rows; a NULL ends the list. */
extern const qp_kernel_op *const qp_kernel_ops[];

/* Find the row of an operation and form.  QP_E_ARG: there is none; the message names those there
   are. */
qp_status qp_kernel_op_find(qp_op op, const char *form, const qp_kernel_op **out, qp_error *err);
const char *qp_hole_name(qp_hole_id hole);

/* The check of a row that does every problem of its operation. */
qp_status qp_kernel_op_takes_all(const qp_problem *p, const char *family, qp_error *err);

/* ---- Texts that rows share (kernel_source.c) ---- */

qp_status qp_hole_text_name(qp_text *t, const struct qp_kernel *k, qp_error *err);
qp_status qp_hole_text_header(qp_text *t, const struct qp_kernel *k, qp_error *err);
qp_status qp_hole_text_constants(qp_text *t, const struct qp_kernel *k, qp_error *err);
qp_status qp_hole_text_stream(qp_text *t, const struct qp_kernel *k, qp_error *err);
qp_status qp_hole_text_arguments(qp_text *t, const struct qp_kernel *k, qp_error *err);
qp_status qp_hole_text_quantizers(qp_text *t, const struct qp_kernel *k, qp_error *err);
#define QP_HOLES_OF_ALL                                                                            \
  [QP_HOLE_name] = qp_hole_text_name, [QP_HOLE_header] = qp_hole_text_header,                      \
  [QP_HOLE_constants] = qp_hole_text_constants, [QP_HOLE_arguments] = qp_hole_text_arguments

/* Print "struct NAME { unsigned member;  // help ... };" and one row "  {1, 2}," of a table of it.
   */
void qp_text_struct(qp_text *t, const qp_struct *of);
/* What a quantizer's struct says of its fields, f = 0, 1, ...: field_bits(f), field_size(f) columns
   a group or 0, field_of_tensor(f), field_loads(f) for a block of 64 columns, field_words(f) of a
   load, field_first(f) of a superblock's FIELD_WORDS. */
void qp_text_fields(qp_text *t, const qp_quantizer *q, unsigned blocks);
void qp_text_row(qp_text *t, const unsigned *value, unsigned members);

/* For the part i of PARTS that a block has, CALL<Ln>(args, ARGUMENTS) with the struct Ln of its
   quantizer, one of 'quantizers'. */
void qp_text_dispatch(qp_text *t, unsigned quantizers, const char *call, const char *arguments);

#endif
