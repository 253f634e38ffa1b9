/* SPDX-License-Identifier: MIT */
/* The table that the encode kernel of fields that scale vectors reads. */
#include "gen/encode/shape_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/field_sums.h"
#include "gen/encode/nested.h"
#include "gen/encode/shapes.h"

enum { MOST_DIM = 8, HEADER = 4 * QP_SHAPE_TABLE_PARTS };

/* The CPU finds sums in turns, though they may be vectors times a number, too. */
static qp_status check_sums(const qp_quantizer *q, qp_error *err) {
  qp_field_sums *sums = NULL;
  const qp_status status = qp_field_sums_new(q, &sums, err);
  const bool so = sums != NULL;
  qp_field_sums_free(sums);
  if (status || !so) return status;
  return qp_fail(err, QP_E_LIMIT,
                 "%s: weights that are sums of fields get these and their codes in turns, by "
                 "kernels of their own",
                 q->name);
}

static qp_status check(const qp_quantizer *q, unsigned columns, qp_error *err) {
  const unsigned group = qp_nested_group(q);
  if (q->dim > MOST_DIM || columns % q->dim || group % q->dim)
    return qp_fail(err, QP_E_LIMIT,
                   "%s: kernels search group fields of vectors of up to %d weights that divide K "
                   "and groups; these have %u, K is %u",
                   q->name, MOST_DIM, q->dim, columns);
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope != QP_SCOPE_SPEC)
      return qp_fail(err, QP_E_LIMIT,
                     "%s: group fields with codebooks of the linear or of rows are searched on the "
                     "CPU",
                     q->name);
  for (unsigned f = 0; f < q->fields; f++)
    if (!qp_field_row_of(q->field[f].type)->integer && q->field[f].type != QP_FIELD_F16)
      return qp_fail(err, QP_E_LIMIT, "%s: kernels search scales of vectors in fp16 alone",
                     q->name);
  return check_sums(q, err);
}

/* Where parts begin. */
static void lay_out(const qp_quantizer *q, qp_shape_table *t,
                    uint32_t begin[QP_SHAPE_TABLE_PARTS]) {
  size_t size[QP_SHAPE_TABLE_PARTS] = {4 * (size_t)t->states, 4 * (size_t)t->states * q->dim,
                                             8 * (size_t)(t->owns + 2),
                                             4 * (size_t)t->owns * q->fields};
  for (unsigned b = 0; b < q->codebooks; b++)
    size[QP_SHAPE_TABLE_BOOKS + b] = 2 * (size_t)q->codebook[b].entries * q->codebook[b].dim;
  t->bytes = HEADER;
  for (unsigned i = 0; i < QP_SHAPE_TABLE_PARTS; i++) {
    begin[i] = (uint32_t)t->bytes;
    t->bytes += (size[i] + 15) / 16 * 16;
  }
}

static qp_status write_data(const qp_quantizer *q, const qp_shapes *s, const qp_shapes_view *v,
                            qp_shape_table *t, qp_error *err) {
  uint32_t begin[QP_SHAPE_TABLE_PARTS];
  lay_out(q, t, begin);
  unsigned char *to = t->data = calloc(1, t->bytes);
  if (!to) return qp_fail(err, QP_E_NOMEM, "no memory for %u codewords", t->states);
  float *square = (float *)(void *)(to + begin[QP_SHAPE_TABLE_SQUARES]);
  float *twice = (float *)(void *)(to + begin[QP_SHAPE_TABLE_TWICE]);
  double *number = (double *)(void *)(to + begin[QP_SHAPE_TABLE_NUMBERS]);
  memcpy(to, begin, sizeof begin);
  for (size_t i = 0; i < (size_t)t->states * q->dim; i++) {
    square[i / q->dim] = fmaf(v->u[i], v->u[i], square[i / q->dim]);
    twice[i] = -2 * v->u[i];
  }
  for (unsigned i = 0; i < t->owns; i++) {
    uint32_t fields[QP_MAX_FIELDS];
    number[i] = qp_shapes_own(s, i, fields);
    memcpy(to + begin[QP_SHAPE_TABLE_RAWS] + 4 * (size_t)i * q->fields, fields, 4 * q->fields);
  }
  for (unsigned b = 0; b < q->codebooks; b++)
    memcpy(to + begin[QP_SHAPE_TABLE_BOOKS + b], q->codebook[b].data,
           2 * (size_t)q->codebook[b].entries * q->codebook[b].dim);
  if (v->scale < 0) return QP_OK;
  number[t->owns] = q->field[v->scale].lo;
  number[t->owns + 1] = q->field[v->scale].hi;
  return QP_OK;
}

qp_status qp_shape_table_make(const qp_quantizer *q, unsigned columns, bool with_data,
                              qp_shape_table *out, qp_error *err) {
  qp_shapes *s = NULL;
  qp_shapes_view v;
  qp_status status = check(q, columns, err);
  if (!status) status = qp_shapes_new(q, qp_nested_group(q), qp_nested_unit(q, columns), &s, err);
  if (status) return status;
  qp_shapes_view_of(s, &v);
  qp_shape_table t = {.states = v.states,
                      .owns = v.owns,
                      .group = v.group,
                      .unit = v.unit,
                      .scale = v.scale < 0 ? q->fields : (unsigned)v.scale};
  if (with_data) status = write_data(q, s, &v, &t, err);
  qp_shapes_free(s);
  if (!status) *out = t;
  return status;
}

void qp_shape_table_free(qp_shape_table *t) {
  free(t->data);
  *t = (qp_shape_table){0};
}
