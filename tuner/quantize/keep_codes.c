/* SPDX-License-Identifier: MIT */
/* A linear that is packed already, as it is. */
#include "tuner/quantize/keep_codes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/lanes.h"
#include "gen/model/source_codes.h"
#include "runtime/half.h"

/* What is being kept. */
typedef struct keeping {
  const qp_job *j;
  const qp_job_linear *l;
  qp_encoded *e;
  uint32_t *code; /* [32][steps] of a row group */
  float *codes,
      *lanes;        /* [32][columns], [32][steps][dim]: the same as numbers, by row and by lane */
  float *values;     /* [32][columns], of the source */
  uint16_t *decoded; /* [32][columns] */
  uint32_t *row;     /* [columns], as the source has them */
  uint16_t *order, *from; /* [columns]: where the source's go, where each is from; NULL: as here */
  qp_reference *reference;
  qp_error *err;
} keeping;

static size_t lane_steps(const qp_stream *s) { return (size_t)s->superblocks * s->period.steps; }

/* false: no memory. */
static bool take_order(keeping *k) {
  const unsigned columns = k->e->columns;
  if (!qp_side_has_order(k->l->rotation)) return true;
  k->order = malloc(columns * sizeof *k->order);
  k->from = malloc(columns * sizeof *k->from);
  if (!k->order || !k->from) return false;
  qp_source_order(k->l->weight, k->order);
  for (unsigned c = 0; c < columns; c++) k->from[k->order[c]] = (uint16_t)c;
  return true;
}

static size_t place_of(const keeping *k, size_t column) {
  return k->order ? k->order[column] : column;
}

static qp_status begin(keeping *k) {
  qp_encoded *e = k->e;
  qp_stream *s = &e->part[0].stream;
  const size_t weights = (size_t)QP_GROUP_ROWS * e->columns;
  qp_status status = qp_layout_stream(e->quantizer, e->rows, e->columns, s, k->err);
  if (status) return status;
  e->part[0].codes = calloc(s->code_words, sizeof(uint32_t));
  e->row_scale = malloc(sizeof *e->row_scale * e->rows);
  e->row_distortion = calloc(e->rows, sizeof *e->row_distortion);
  bool ok = e->part[0].codes && e->row_scale && e->row_distortion;
  for (unsigned a = 0; a < s->arrays && ok; a++)
    ok = (e->part[0].field[a] = calloc(1, s->field_bytes[a])) != NULL;
  k->code = malloc(QP_GROUP_ROWS * lane_steps(s) * sizeof *k->code);
  k->lanes = malloc(QP_GROUP_ROWS * lane_steps(s) * s->quantizer->dim * sizeof *k->lanes);
  k->codes = malloc(weights * sizeof *k->codes);
  k->values = malloc(weights * sizeof *k->values);
  k->decoded = malloc(weights * sizeof *k->decoded);
  k->row = malloc(e->columns * sizeof *k->row);
  k->reference = qp_reference_new();
  ok = ok && take_order(k);
  if (ok && k->code && k->lanes && k->codes && k->values && k->decoded && k->row && k->reference)
    return QP_OK;
  return qp_fail(k->err, QP_E_NOMEM, "no memory for %u x %u codes", e->rows, e->columns);
}

static void end(keeping *k) {
  free(k->code);
  free(k->lanes);
  free(k->codes);
  free(k->values);
  free(k->decoded);
  free(k->row);
  free(k->order);
  free(k->from);
  qp_reference_free(k->reference);
}

/* ---- Fields ---- */

/* Does a field's element begin at a column of a row, that no row before it has set? */
static bool begins(const qp_field *f, unsigned row, unsigned column) {
  if (f->tensor) return row % QP_GROUP_ROWS == 0 && column == 0;
  return f->size ? column % f->size == 0 : column == 0;
}

static qp_status keep_field(keeping *k, unsigned f, unsigned row, unsigned column) {
  const qp_quantizer *q = k->e->quantizer;
  const qp_field *field = &q->field[f];
  const unsigned from = k->from ? k->from[column] : column;
  const double number = qp_source_number(k->l->weight, row, from, field->name);
  const uint32_t raw = qp_field_raw(field->type, number);
  if (qp_field_number(field->type, raw) != number)
    return qp_fail(k->err, QP_E_ARG, "row %u, column %u: %s %g is not one that %s holds", row,
                   column, field->name, number, q->name);
  qp_layout_set_field(&k->e->part[0].stream, f, row, column,
                      k->e->part[0].field[qp_layout_array(f)], raw);
  return QP_OK;
}

static qp_status keep_fields(keeping *k, unsigned row) {
  const qp_quantizer *q = k->e->quantizer;
  const unsigned step = q->group ? q->group : k->e->columns;
  qp_status status = QP_OK;
  for (unsigned c = 0; c < k->e->columns; c += step)
    for (unsigned f = 0; f < q->fields && !status; f++)
      if (begins(&q->field[f], row, c)) status = keep_field(k, f, row, c);
  return status;
}

/* ---- Rows ---- */

/* Rows of a row group that the tensor has; those behind its last are zeros by a scale of 0. */
static unsigned rows_there(const keeping *k, unsigned first) {
  const uint64_t rows = k->l->weight->rows;
  return rows <= first                  ? 0
         : rows - first < QP_GROUP_ROWS ? (unsigned)(rows - first)
                                        : QP_GROUP_ROWS;
}

static qp_status keep_rows(keeping *k, unsigned row_group) {
  const qp_stream *s = &k->e->part[0].stream;
  const unsigned first = row_group * QP_GROUP_ROWS, rows = rows_there(k, first);
  const size_t steps = QP_GROUP_ROWS * lane_steps(s), columns = k->e->columns;
  memset(k->codes, 0, QP_GROUP_ROWS * columns * sizeof *k->codes);
  qp_status status = QP_OK;
  for (unsigned r = 0; r < rows && !status; r++) {
    qp_source_codes(k->l->weight, first + r, k->row);
    for (size_t c = 0; c < columns; c++) k->codes[r * columns + place_of(k, c)] = (float)k->row[c];
    status = keep_fields(k, first + r);
  }
  qp_lanes_gather(s, k->codes, k->lanes);
  for (size_t i = 0; i < steps; i++) k->code[i] = (uint32_t)k->lanes[i * s->quantizer->dim];
  qp_lanes_pack(s, row_group, k->code, k->e->part[0].codes);
  for (unsigned r = 0; r < QP_GROUP_ROWS && first + r < k->e->rows; r++)
    k->e->row_scale[first + r] = r < rows ? 1 : 0;
  return status;
}

/* Is what was kept what the source decodes to? */
static qp_status check_rows(keeping *k, unsigned row_group) {
  const unsigned first = row_group * QP_GROUP_ROWS, rows = rows_there(k, first);
  const qp_packed packed = qp_encoded_packed(k->e, 0);
  qp_status status = qp_reference_decode(k->reference, &packed, row_group, k->decoded, k->err);
  if (!status) status = qp_job_read(k->j, k->l, first, rows, k->values, k->err);
  const size_t columns = k->e->columns;
  for (size_t i = 0; i < rows * columns && !status; i++) {
    const uint16_t decoded = k->decoded[i - i % columns + place_of(k, i % columns)];
    if (!isfinite(k->values[i]) || decoded != qp_float_to_half(k->values[i]))
      status =
          qp_fail(k->err, QP_E_ARG,
                  "row %zu, column %zu is %g in the source, and %g as %s decodes it: it cannot "
                  "be kept bit for bit",
                  first + i / columns, i % columns, (double)k->values[i],
                  (double)qp_half_to_float(decoded), k->e->quantizer->name);
  }
  return status;
}

qp_status qp_keep_codes(const qp_job *j, const qp_job_linear *l, qp_encoded *out, qp_error *err) {
  qp_encoded e = {.quantizer = l->quantizer, .rows = l->rows, .columns = l->columns, .parts = 1};
  keeping k = {.j = j, .l = l, .e = &e, .err = err};
  qp_status status = begin(&k);
  const unsigned row_groups = status ? 0 : e.part[0].stream.row_groups;
  for (unsigned g = 0; g < row_groups && !status; g++) {
    status = keep_rows(&k, g);
    if (!status) status = check_rows(&k, g);
  }
  end(&k);
  if (status)
    qp_encoded_free(&e);
  else
    *out = e;
  return status;
}
