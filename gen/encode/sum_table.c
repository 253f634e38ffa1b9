/* SPDX-License-Identifier: MIT */
/* The table that the encode kernel of fields that add up reads. */
#include "gen/encode/sum_table.h"

#include <stdlib.h>
#include <string.h>

#include "gen/encode/affine.h"
#include "gen/encode/field_sums.h"
#include "gen/encode/nested.h"
#include "gen/encode/shapes.h"

enum { HEADER = (4 * QP_SUM_TABLE_PARTS + 15) / 16 * 16 };

/* The sums as which the CPU finds a quantizer's fields; NULL: it finds them otherwise. */
static qp_status sums_of(const qp_quantizer *q, qp_field_sums **out, qp_error *err) {
  qp_affine affine = {0};
  *out = NULL;
  if (q->kind == QP_TRELLIS || q->kind == QP_SPLIT || !q->fields) return QP_OK;
  if (qp_is_nested(q) && !qp_has_shapes(q)) return QP_OK;
  const qp_status status = qp_is_nested(q) ? QP_OK : qp_affine_make(&affine, q, err);
  const bool line = affine.quantizer != NULL;
  qp_affine_free(&affine);
  return status || line ? status : qp_field_sums_new(q, out, err);
}

bool qp_is_sums(const qp_quantizer *q) {
  qp_field_sums *s = NULL;
  const bool so = !sums_of(q, &s, NULL) && s;
  qp_field_sums_free(s);
  return so;
}

/* Where parts begin; 'combined': codes of all combinations. */
static void lay_out(const qp_quantizer *q, const qp_field_sums_view *v, size_t combined,
                    uint32_t begin[QP_SUM_TABLE_PARTS], size_t *bytes) {
  const size_t fields = q->fields;
  size_t size[QP_SUM_TABLE_PARTS] = {[QP_SUM_TABLE_FACTORS] = 8 * v->classes * (fields + 1),
                                     [QP_SUM_TABLE_BOUNDS] = 16 * fields,
                                     [QP_SUM_TABLE_STARTS] = 8 * (v->known * fields + 1),
                                     [QP_SUM_TABLE_DRAWS] = 8 * v->drawn * fields,
                                     [QP_SUM_TABLE_CLASSES] = 4 * v->drawn * fields,
                                     [QP_SUM_TABLE_STATES] = 4 * (size_t)v->classes,
                                     [QP_SUM_TABLE_COMBINED] = 4 * combined};
  for (unsigned b = 0; b < q->codebooks; b++)
    size[QP_SUM_TABLE_BOOKS + b] = 2 * (size_t)q->codebook[b].entries * q->codebook[b].dim;
  *bytes = HEADER;
  for (unsigned i = 0; i < QP_SUM_TABLE_PARTS; i++) {
    begin[i] = (uint32_t)*bytes;
    *bytes += (size[i] + 15) / 16 * 16;
  }
}

static qp_status write_data(const qp_quantizer *q, qp_field_sums *s, qp_sum_table *t,
                            qp_error *err) {
  const size_t fields = q->fields;
  uint32_t begin[QP_SUM_TABLE_PARTS];
  qp_field_sums_view v;
  size_t combined = 1;
  qp_field_sums_view_of(s, &v);
  for (unsigned e = 0; e < q->dim; e++) combined *= v.classes;
  lay_out(q, &v, combined, begin, &t->bytes);
  unsigned char *to = t->data = calloc(1, t->bytes);
  if (!to) return qp_fail(err, QP_E_NOMEM, "no memory for %zu codes", combined);
  const double known = v.known;
  double *bound = (double *)(void *)(to + begin[QP_SUM_TABLE_BOUNDS]);
  for (unsigned f = 0; f < q->fields; f++)
    bound[2 * f] = q->field[f].lo, bound[2 * f + 1] = q->field[f].hi;
  memcpy(to, begin, sizeof begin);
  memcpy(to + begin[QP_SUM_TABLE_FACTORS], v.factor, 8 * v.classes * (fields + 1));
  memcpy(to + begin[QP_SUM_TABLE_STARTS], &known, sizeof known);
  memcpy(to + begin[QP_SUM_TABLE_STARTS] + sizeof known, v.start, 8 * v.known * fields);
  memcpy(to + begin[QP_SUM_TABLE_DRAWS], v.part, 8 * v.drawn * fields);
  memcpy(to + begin[QP_SUM_TABLE_CLASSES], v.sum, 4 * v.drawn * fields);
  memcpy(to + begin[QP_SUM_TABLE_STATES], v.state, 4 * (size_t)v.classes);
  memcpy(to + begin[QP_SUM_TABLE_COMBINED], v.combined, 4 * combined);
  for (unsigned b = 0; b < q->codebooks; b++)
    memcpy(to + begin[QP_SUM_TABLE_BOOKS + b], q->codebook[b].data,
           2 * (size_t)q->codebook[b].entries * q->codebook[b].dim);
  return QP_OK;
}

qp_status qp_sum_table_make(const qp_quantizer *q, bool with_data, qp_sum_table *out,
                            qp_error *err) {
  qp_field_sums *s = NULL;
  qp_status status = sums_of(q, &s, err);
  if (!status && !s)
    status = qp_fail(err, QP_E_ARG, "%s: weights are no sums of group fields", q->name);
  if (status) return status;
  qp_sum_table t = {.classes = qp_field_sums_classes(s)};
  for (unsigned f = 0; f < q->fields; f++) {
    t.halves |= (unsigned)(q->field[f].type == QP_FIELD_F16) << f;
    t.bf16 |= (unsigned)(q->field[f].type == QP_FIELD_BF16) << f;
  }
  if (with_data) status = write_data(q, s, &t, err);
  qp_field_sums_free(s);
  if (!status) *out = t;
  return status;
}

void qp_sum_table_free(qp_sum_table *t) {
  free(t->data);
  *t = (qp_sum_table){0};
}
