/* SPDX-License-Identifier: MIT */
/* The rows of encode find group fields with the codes of their group, other codes by the nearest
   codeword; op_encode_trellis.c has that of trellises. */
#include <stdint.h>
#include <stdlib.h>

#include "runtime/arch.h"
#include "gen/encode/affine.h"
#include "gen/encode/field_table.h"
#include "gen/encode/trellis.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"
#include "gen/kernel/op_encode.h"

enum {
  DIM_MAX = 16,
  LANES = 8, /* threads of a group of fields */
  WARP = QP_ENCODE_WARP,
  FED_SPAN = 64, /* columns whose sums of errors a row keeps */
  FEW_CODES = 64 /* that eight threads look through */
};

/* ---- What rows have in common ---- */

qp_status qp_encode_add_decode(qp_text *t, const qp_kernel *k, qp_error *err) {
  char *decode = qp_plain_cuda(qp_encode_quantizer(k), "P0");
  if (!decode) return qp_fail(err, QP_E_NOMEM, "no memory for the decode's text");
  qp_text_add(t, "%s", decode);
  free(decode);
  return QP_OK;
}

unsigned qp_encode_fed_grid(const qp_kernel *k, unsigned rows) {
  const unsigned all = k->problem.segment[0].rows;
  return (all + QP_ENCODE_ROWS - 1) / QP_ENCODE_ROWS * (QP_ENCODE_ROWS / rows);
}

/* ---- Which quantizers ---- */

static bool has_row_books(const qp_quantizer *q) {
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope == QP_SCOPE_ROW) return true;
  return false;
}

qp_status qp_encode_check_linear(const qp_problem *p, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  if (p->segments != 1)
    return qp_fail(err, QP_E_LIMIT, "encode takes one linear, not %u", p->segments);
  if (q->kind == QP_SPLIT)
    return qp_fail(err, QP_E_LIMIT, "%s is a split; its parts are encoded one by one", q->name);
  return QP_OK;
}

qp_status qp_encode_other_kind(const qp_problem *p, const char *family, const char *kind,
                               qp_error *err) {
  return qp_fail(err, QP_E_ARG, "family %s is for %s; %s is of another kind", family, kind,
                 p->segment[0].quantizer->name);
}

qp_status qp_encode_check(const qp_problem *p, const char *family, bool trellis, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  const qp_status status = qp_encode_check_linear(p, err);
  if (status) return status;
  const bool rows = has_row_books(q);
  if (trellis != (q->kind == QP_TRELLIS))
    return qp_encode_other_kind(p, family, trellis ? "trellises" : "codes that stand alone", err);
  if (q->fields) return qp_encode_other_kind(p, family, "codes without group fields", err);
  if (rows && (trellis || p->columns % q->dim))
    return qp_fail(err, QP_E_LIMIT,
                   "%s: with codebooks by row kernels encode vectors of %u weights, which divide "
                   "K; K is %u",
                   q->name, q->dim, p->columns);
  if (!trellis && q->window > QP_TRELLIS_WINDOW)
    return qp_encode_other_kind(p, family, "codes that have one table", err);
  if (q->window > QP_TRELLIS_WINDOW || q->dim > DIM_MAX)
    return qp_fail(err, QP_E_LIMIT, "%s: window %u, dim %u; kernels encode up to %d and %d",
                   q->name, q->window, q->dim, QP_TRELLIS_WINDOW, DIM_MAX);
  return QP_OK;
}

qp_status qp_encode_check_vectors(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  const qp_status status = qp_encode_check_linear(p, err);
  if (status) return status;
  if (q->kind != QP_VECTOR || q->fields || has_row_books(q))
    return qp_encode_other_kind(p, family, "vectors by codebooks of the spec or the linear", err);
  if (q->dim > DIM_MAX)
    return qp_fail(err, QP_E_LIMIT, "%s: dim %u; kernels encode up to %d", q->name, q->dim,
                   DIM_MAX);
  return QP_OK;
}

static qp_status check_codes(const qp_problem *p, const char *family, qp_error *err) {
  return qp_encode_check(p, family, false, err);
}

/* ---- Codes of vector and scalar quantizers ---- */

#define CODES_CONSTANTS(X)                                                                         \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, CODES, 1u << (q->planes ? q->planes_read : q->window), "codewords")                  \
  X(UNSIGNED, EACH, qp_choice_get(&k->choice, "each"), "targets a thread")                         \
  X(UNSIGNED, ROW, has_row_books(q) ? k->problem.columns / q->dim : 0,                             \
    "codes of a row, which has codewords of its own; 0: all have the same")

static const qp_named codes_constant[] = {CODES_CONSTANTS(QP_NAMED)};

static void codes_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  CODES_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use codes_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
    {"each", 1, 64, QP_NEEDED, false, "targets a thread"},
};

static qp_status size_codes(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = 2 * k->problem.sm_count;
  return QP_OK;
}

const qp_kernel_op qp_op_encode_codes = {
    .op = QP_OP_ENCODE,
    .form = "codes",
    .help = "the nearest codeword of each target, codewords through shared memory in pieces",
    QP_OP_LIST(tunable, codes_tunable),
    QP_OP_LIST(constant, codes_constant),
    .values = codes_values,
    .check = check_codes,
    .size = size_codes,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- The same with error feedback ---- */

static unsigned codes_of(const qp_quantizer *q) {
  return 1u << (q->planes ? q->planes_read : q->window);
}
static unsigned team_of(const qp_quantizer *q) { return codes_of(q) > FEW_CODES ? WARP : LANES; }

static qp_status check_fed_codes(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  const qp_status status = qp_encode_check(p, family, false, err);
  if (status) return status;
  if (q->dim > 2 && !has_row_books(q))
    return qp_encode_other_kind(p, family, "codes that lie in a row", err);
  return QP_OK;
}

/* Bytes of the codewords in shared memory, as the template's struct Shared has them. */
static uint64_t words_bytes(const qp_kernel *k) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  const unsigned tables = has_row_books(q) ? k->block / team_of(q) : 1;
  return 4 * ((uint64_t)tables * codes_of(q) * (1 + q->dim) + 1);
}
static unsigned sums_bytes(const qp_kernel *k) {
  return 8 * FED_SPAN * (k->block / team_of(qp_encode_quantizer(k)));
}
/* Do the codewords not fit?  Then each is made of the table whenever it is looked at. */
static bool are_far(const qp_kernel *k) {
  return sums_bytes(k) + words_bytes(k) > qp_arch_smem_bytes(k->problem.arch);
}

#define FED_CODES_CONSTANTS(X)                                                                     \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, TEAM, team_of(q), "threads that have a row")                                         \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, SPAN, FED_SPAN, "columns whose sums of errors are kept")                             \
  X(UNSIGNED, DIM, q->dim, "weights a code")                                                       \
  X(UNSIGNED, CODES, codes_of(q), "codewords")                                                     \
  X(FLAG, OF_ROWS, has_row_books(q), "each row has codewords of its own")                          \
  X(FLAG, FAR, are_far(k), "shared memory does not hold the codewords")                            \
  X(FLAG, APART, q->sparse > 0, "some weights of a row come to their targets")

static const qp_named fed_codes_constant[] = {FED_CODES_CONSTANTS(QP_NAMED)};

static void fed_codes_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  FED_CODES_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use fed_tunable[] = {QP_ENCODE_FED_WARPS};

static qp_status size_fed_codes(qp_kernel *k, qp_error *err) {
  (void)err;
  k->grid = qp_encode_fed_grid(k, k->block / team_of(qp_encode_quantizer(k)));
  k->smem_bytes = sums_bytes(k) + (unsigned)(are_far(k) ? 4 : words_bytes(k));
  k->smem_bytes += k->smem_bytes % 8;
  return QP_OK;
}

const qp_kernel_op qp_op_encode_fed_codes = {
    .op = QP_OP_ENCODE_FED,
    .form = "codes",
    .help = "the nearest codeword, code by code, errors fed forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, fed_codes_constant),
    .values = fed_codes_values,
    .check = check_fed_codes,
    .size = size_fed_codes,
    .hole = {QP_HOLES_OF_ALL},
};

/* ---- Group fields ---- */

static qp_status check_fields(const qp_problem *p, const char *family, qp_error *err) {
  const qp_quantizer *q = p->segment[0].quantizer;
  qp_field_table t;
  qp_status status = qp_encode_check_linear(p, err);
  if (!status && (q->kind == QP_TRELLIS || !q->fields || q->dim > 2))
    status = qp_encode_other_kind(p, family, "scalars with group fields", err);
  if (!status) status = qp_field_table_make(q, p->columns, false, &t, err);
  return status;
}

/* Columns whose sums of errors a row keeps: a unit's, or of a long one a group's, made again for
   each. */
static unsigned span_of(const qp_field_table *t) {
  enum { LONG = 512 };
  return t->unit > LONG ? t->group : t->unit;
}

#define FIELDS_CONSTANTS(X)                                                                        \
  X(UNSIGNED, THREADS, k->block, "threads a block")                                                \
  X(UNSIGNED, K, k->problem.columns, "columns of the targets")                                     \
  X(UNSIGNED, GROUP, t.group, "columns that have one table of codes")                              \
  X(UNSIGNED, UNIT, t.unit, "columns whose fields are chosen together")                            \
  X(UNSIGNED, FIELDS, t.fields, "of a group")                                                      \
  X(UNSIGNED, FIELD0, t.varies[0], "a field that varies")                                          \
  X(UNSIGNED, COUNT0, t.count[0], "its values")                                                    \
  X(UNSIGNED, FIELD1, t.varies[1], "the other one; FIELDS: there is none")                         \
  X(UNSIGNED, COUNT1, t.count[1], "its values, else 1")                                            \
  X(UNSIGNED, FIRST, t.first, "the field with more values")                                        \
  X(FLAG, LINE0, t.line[0], "a and b follow a line as FIELD0's number moves")                      \
  X(FLAG, LINE1, t.line[1], "as FIELD1's does")                                                    \
  X(FLAG, FEW, t.few, "all points are looked at")                                                  \
  X(FLAG, FLIPS, t.flips, "a may be negative")                                                     \
  X(FLAG, SHIFTS, t.shifts, "b is not a times one number,")                                        \
  X(FLAG, SLICES, t.slices, "but is while FIRST alone moves")                                      \
  X(FLAG, GRID, t.grid, "fields are searched on a grid")                                           \
  X(UNSIGNED, OWN, t.own, "GRID: fields of GROUP columns, a bit for each")                         \
  X(FLAG, NESTED, t.nested, "GRID: of other fields several groups of a UNIT have one")             \
  X(FLAG, BY_ROW, q->group == 0, "fields are stored once for a row")                               \
  X(UNSIGNED, SPAN, span_of(&t), "with error feedback: columns whose sums of errors are kept")     \
  X(FLAG, APART, q->sparse > 0, "with error feedback: weights of a row come to their targets")     \
  X(FLAG, EVEN, t.even, "levels are 0, 1, 2, ...")                                                 \
  X(UNSIGNED, LEVELS, t.levels, "different values of u")                                           \
  X(UNSIGNED, ROOM, t.room, "a power of two above them, at least 16")                              \
  X(UNSIGNED, STATES, t.states, "codes")

static const qp_named fields_constant[] = {FIELDS_CONSTANTS(QP_NAMED)};

static void fields_values(const qp_kernel *k, unsigned *v) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_field_table t = {0};
  qp_field_table_make(q, k->problem.columns, false, &t, NULL); /* the check made it before */
  FIELDS_CONSTANTS(QP_VALUE)
}

static const qp_tunable_use fields_tunable[] = {
    {"warps", 1, 32, QP_NEEDED, false, "warps a block"},
};

/* Count bytes as the template's struct Shared has them. */
static qp_status size_fields(qp_kernel *k, qp_error *err) {
  enum { BANKS = 64 };
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_field_table t;
  const qp_status status = qp_field_table_make(q, k->problem.columns, false, &t, err);
  if (status) return status;
  const unsigned stride = t.nested ? 1 : (t.group + BANKS - 1) / BANKS * BANKS + LANES;
  const unsigned entries = t.states > t.room ? t.states : t.room, groups = k->block / LANES;
  const unsigned points = t.nested ? 2 * (k->block / WARP) * (t.unit / t.group) : 0;
  const unsigned point = 1 + t.fields + t.fields % 2;
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  k->grid = 4 * k->problem.sm_count;
  k->smem_bytes = 4 * (2 * t.room + groups * (stride + 2 * entries) + points * point);
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: %u groups of %u columns, fields of %u, take %u bytes of shared memory; sm_%u "
                 "has %u",
                 q->name, groups, t.group, t.unit, k->smem_bytes, k->problem.arch, room);
}

/* The same with sums of errors for each column of a group, for blocks of whole groups of rows. */
static qp_status size_fed_fields(qp_kernel *k, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_field_table t;
  qp_status status = qp_field_table_make(q, k->problem.columns, false, &t, err);
  if (!status) status = size_fields(k, err);
  if (status) return status;
  const unsigned room = qp_arch_smem_bytes(k->problem.arch);
  const unsigned rows = k->block / (t.nested ? WARP : LANES);
  k->grid = qp_encode_fed_grid(k, rows);
  k->smem_bytes += 8 * rows * span_of(&t);
  if (k->smem_bytes <= room) return QP_OK;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: %u rows of groups of %u columns take %u bytes of shared memory; sm_%u has %u",
                 q->name, rows, t.unit, k->smem_bytes, k->problem.arch, room);
}

/* Of what is searched on a grid the table has a and b. */
#define NO_AFFINE                                                                                  \
  "struct A0 {\n  static __device__ void at(const unsigned *, const unsigned short *const *, "     \
  "unsigned, Real &, Real &) {}\n};\n"

/* What constants of a template cannot hold. */
static void add_sizes(qp_text *text, const qp_field_table *t) {
  static const char *const name[] = {"COUNT_OF", "BEFORE", "EACH", "START_AT"};
  for (unsigned n = 0; n < sizeof name / sizeof *name; n++) {
    qp_text_add(text, "static __constant__ unsigned %s[] = {", name[n]);
    for (unsigned f = 0; f < t->fields; f++) {
      const qp_field_sizes *z = &t->size[f];
      const unsigned value[] = {z->count, z->before, z->each, z->start};
      qp_text_add(text, "%s%u", f ? ", " : "", value[n]);
    }
    qp_text_add(text, "};\n");
  }
  const qp_field_line *l = &t->line_of;
  qp_text_add(text,
              "constexpr unsigned LARGER = %u, PART_A = %u, PART_LOW = %u;\n"
              "constexpr unsigned CODE_LOW = %u, CODE_HIGH = %u;\n"
              "constexpr float U_LOW = %af, U_SPAN = %af;\n"
              "constexpr double U_APART = %a, U_FIRST = %a;\n",
              t->larger, l->parts[0], l->parts[1], l->low, l->high, (double)l->u_low,
              (double)l->span, l->apart, l->first);
}

static qp_status add_fields(qp_text *t, const qp_kernel *k, qp_error *err) {
  const qp_quantizer *q = qp_encode_quantizer(k);
  qp_field_table table = {0};
  qp_affine f;
  qp_status status = qp_affine_make(&f, q, err);
  if (status) return status;
  char *ab = f.quantizer ? qp_affine_cuda(q, &f, "A0") : NULL;
  if (f.quantizer && !ab) status = qp_fail(err, QP_E_NOMEM, "no memory for the decode's text");
  if (!status) status = qp_encode_add_decode(t, k, err);
  if (!status) qp_text_add(t, "%s", ab ? ab : NO_AFFINE);
  if (!status) status = qp_field_table_make(q, k->problem.columns, false, &table, err);
  if (!status) add_sizes(t, &table);
  free(ab);
  qp_affine_free(&f);
  return status;
}

const qp_kernel_op qp_op_encode_fields = {
    .op = QP_OP_ENCODE,
    .form = "fields",
    .help = "group fields by least squares or on a grid, eight threads a group, of several sizes a "
            "warp a unit, then the nearest codes",
    QP_OP_LIST(tunable, fields_tunable),
    QP_OP_LIST(constant, fields_constant),
    .values = fields_values,
    .check = check_fields,
    .size = size_fields,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = add_fields},
};

const qp_kernel_op qp_op_encode_fed_fields = {
    .op = QP_OP_ENCODE_FED,
    .form = "fields",
    .help = "group fields, then codes column by column, their errors fed forward",
    QP_OP_LIST(tunable, fed_tunable),
    QP_OP_LIST(constant, fields_constant),
    .values = fields_values,
    .check = check_fields,
    .size = size_fed_fields,
    .hole = {QP_HOLES_OF_ALL, [QP_HOLE_quantizers] = add_fields},
};
