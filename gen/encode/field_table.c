/* SPDX-License-Identifier: MIT */
/* The table that the encode kernel of group fields reads. */
#include "gen/encode/field_table.h"

#include <stdlib.h>
#include <string.h>

#include "gen/encode/coder.h"
#include "gen/encode/field_fit.h"
#include "gen/encode/nested.h"

/* One of the two searches, and what both have. */
typedef struct source {
  const qp_quantizer *quantizer;
  qp_field_search *search;
  qp_nested *nested;
  const qp_field_fit *fit; /* NULL: nested */
  const qp_field_axis *axis;
  const qp_levels *levels;
  qp_nested_view view;
} source;

static void close_source(source *s) {
  qp_field_search_free(s->search);
  qp_nested_free(s->nested);
}

static qp_status check(const qp_quantizer *q, qp_error *err) {
  const unsigned bits = q->planes ? q->planes_read : q->window;
  if (q->kind == QP_TRELLIS || q->kind == QP_SPLIT || !q->fields)
    return qp_fail(err, QP_E_LIMIT, "%s has no group fields", q->name);
  if (q->dim != 1 || bits > QP_FIELD_TABLE_BITS)
    return qp_fail(
        err, QP_E_LIMIT,
        "%s: group fields with codes of %u bits for %u weights; kernels search them with "
        "codes of up to %d bits for one",
        q->name, bits, q->dim, QP_FIELD_TABLE_BITS);
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope != QP_SCOPE_SPEC)
      return qp_fail(err, QP_E_LIMIT,
                     "%s: group fields with codebooks of the linear or of rows are searched on the "
                     "CPU",
                     q->name);
  return QP_OK;
}

static qp_status open_source(const qp_quantizer *q, unsigned columns, source *s, qp_error *err) {
  *s = (source){.quantizer = q};
  qp_status status = check(q, err);
  if (status) return status;
  bool known = false;
  if (qp_is_nested(q)) {
    status = qp_nested_new(q, columns, &s->nested, err);
    known = !status && qp_nested_view_of(s->nested, &s->view);
    if (known) s->axis = s->view.axis, s->levels = s->view.levels;
  } else {
    status = qp_field_search_new(q, &s->search, err);
    s->fit = status ? NULL : qp_field_search_fit(s->search);
    known = s->fit != NULL;
    if (known) s->axis = s->fit->axis, s->levels = &s->fit->affine->levels;
  }
  if (!status && !known)
    status =
        qp_fail(err, QP_E_LIMIT,
                "%s: kernels search group fields where a weight is, but for rounding, a number "
                "that the fields set times one that the code sets, and a sum",
                q->name);
  if (status) close_source(s);
  return status;
}

/* Are there groups of several sizes, or more fields of one than have a table of all points? */
static bool is_nested(const source *s) {
  unsigned n = 0;
  double points = 1;
  for (unsigned f = 0; f < s->quantizer->fields && !s->fit; f++)
    if (s->view.own >> f & 1) n++, points *= s->axis[f].count;
  return !s->fit && (s->view.unit != s->view.group || n > QP_FIELD_TABLE_FIELDS ||
                     points > QP_FIELD_TABLE_POINTS);
}

/* Does a field vary?  A nested search has them all. */
static bool varies(const source *s, unsigned f) {
  return s->fit || is_nested(s) || s->view.own >> f & 1;
}

/* Count the values of a field in the table. */
static unsigned count_of(const source *s, unsigned f) {
  return varies(s, f) ? s->axis[f].count : 1;
}

static void describe_nested(const source *s, qp_field_table *t) {
  const qp_nested_view *v = &s->view;
  unsigned before = 0;
  for (unsigned f = 0; f < t->fields; f++) {
    const bool own = v->own >> f & 1, larger = v->larger >> f & 1;
    t->size[f] = (qp_field_sizes){.count = s->axis[f].count,
                                  .before = before,
                                  .each = larger ? v->size[f] / v->group : 0,
                                  .start = own      ? s->axis[f].count - 1
                                           : larger ? 0
                                                    : v->frozen[f]};
    before += s->axis[f].count;
  }
  t->line_of = (qp_field_line){.parts = {v->parts[0], v->parts[1]},
                               .low = v->low,
                               .high = v->high,
                               .u_low = v->u_low,
                               .span = v->u_high - v->u_low,
                               .apart = s->levels->apart,
                               .first = s->levels->first};
  for (unsigned i = 0; i < QP_FIELD_TABLE_FIELDS; i++) t->varies[i] = t->fields, t->count[i] = 1;
}

/* Those that vary, and how many points they have; there may be too many. */
static unsigned list_fields(const source *s, qp_field_table *t, double *points) {
  unsigned n = 0;
  *points = 1;
  for (unsigned i = 0; i < QP_FIELD_TABLE_FIELDS; i++) t->varies[i] = t->fields, t->count[i] = 1;
  for (unsigned f = 0; f < t->fields; f++) {
    if (!varies(s, f)) continue;
    *points *= s->axis[f].count;
    if (n++ >= QP_FIELD_TABLE_FIELDS) continue;
    t->varies[n - 1] = f;
    t->count[n - 1] = s->axis[f].count;
    t->line[n - 1] = s->fit && s->fit->line[f];
  }
  return n;
}

static qp_status describe(const source *s, qp_field_table *t, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  double points;
  *t = (qp_field_table){.fields = q->fields,
                        .grid = !s->fit,
                        .own = s->view.own,
                        .larger = s->view.larger,
                        .nested = is_nested(s),
                        .group = s->fit ? q->group : s->view.group,
                        .unit = s->fit ? q->group : s->view.unit,
                        .even = s->levels->even,
                        .levels = s->levels->count,
                        .room = 1u << s->levels->depth,
                        .states = 1u << (q->planes ? q->planes_read : q->window)};
  if (t->nested) return describe_nested(s, t), QP_OK;
  const unsigned n = list_fields(s, t, &points);
  if (s->fit) {
    t->first = s->fit->order[0];
    t->few = s->fit->few, t->flips = s->fit->flips;
    t->shifts = s->fit->shifts, t->slices = s->fit->slices;
  }
  if (n > QP_FIELD_TABLE_FIELDS)
    return qp_fail(err, QP_E_LIMIT, "%s: %u group fields; kernels search up to %d", q->name, n,
                   QP_FIELD_TABLE_FIELDS);
  t->points = t->grid ? (size_t)points : 0;
  return QP_OK;
}

static void write_ab(const source *s, const qp_field_table *t, double *ab) {
  uint32_t at[QP_MAX_FIELDS] = {0};
  for (unsigned f = 0; f < t->fields; f++) at[f] = varies(s, f) ? 0 : s->view.frozen[f];
  for (size_t p = 0; p < t->points; p++) {
    size_t left = p;
    for (unsigned i = 0; i < QP_FIELD_TABLE_FIELDS; left /= t->count[i], i++)
      if (t->varies[i] < t->fields) at[t->varies[i]] = (uint32_t)(left % t->count[i]);
    qp_nested_line(s->nested, at, &ab[2 * p], &ab[2 * p + 1]);
  }
}

static void write_values(const source *s, const qp_field_table *t, double *number, uint32_t *raw) {
  for (unsigned f = 0; f < t->fields; f++)
    for (unsigned i = 0; i < count_of(s, f); i++) {
      const uint32_t at = varies(s, f) ? i : s->view.frozen[f];
      *number++ = s->axis[f].number[at];
      *raw++ = s->axis[f].value[at];
    }
}

/* Bytes of each part, and where it begins. */
static void lay_out(const source *s, const qp_field_table *t, uint32_t begin[QP_FIELD_TABLE_PARTS],
                    size_t *bytes) {
  size_t size[QP_FIELD_TABLE_PARTS] = {[QP_FIELD_TABLE_AB] = 16 * t->points,
                                       [QP_FIELD_TABLE_LEVELS] = 4 * (size_t)t->room,
                                       [QP_FIELD_TABLE_EDGES] = 4 * (size_t)t->room,
                                       [QP_FIELD_TABLE_CODES] = 4 * (size_t)t->levels};
  for (unsigned f = 0; f < t->fields; f++) {
    size[QP_FIELD_TABLE_NUMBERS] += 8 * (size_t)count_of(s, f);
    size[QP_FIELD_TABLE_RAWS] += 4 * (size_t)count_of(s, f);
  }
  const qp_quantizer *q = s->quantizer;
  for (unsigned c = 0; c < q->codebooks; c++)
    size[QP_FIELD_TABLE_BOOKS + c] = 2 * (size_t)q->codebook[c].entries * q->codebook[c].dim;
  size_t at = 4 * QP_FIELD_TABLE_HEADER;
  for (unsigned i = 0; i < QP_FIELD_TABLE_PARTS; i++) {
    begin[i] = (uint32_t)at;
    at += (size[i] + 15) / 16 * 16;
  }
  *bytes = at;
}

static qp_status write_data(const source *s, qp_field_table *t, qp_error *err) {
  const qp_quantizer *q = s->quantizer;
  uint32_t begin[QP_FIELD_TABLE_PARTS];
  lay_out(s, t, begin, &t->bytes);
  unsigned char *to = t->data = calloc(1, t->bytes);
  if (!to) return qp_fail(err, QP_E_NOMEM, "no memory for %zu values of group fields", t->points);
  memcpy(to, begin, sizeof begin);
  write_ab(s, t, (double *)(void *)(to + begin[QP_FIELD_TABLE_AB]));
  write_values(s, t, (double *)(void *)(to + begin[QP_FIELD_TABLE_NUMBERS]),
               (uint32_t *)(void *)(to + begin[QP_FIELD_TABLE_RAWS]));
  memcpy(to + begin[QP_FIELD_TABLE_LEVELS], s->levels->value, 4 * (size_t)t->room);
  memcpy(to + begin[QP_FIELD_TABLE_EDGES], s->levels->edge, 4 * (size_t)t->room);
  if (s->fit) memcpy(to + begin[QP_FIELD_TABLE_CODES], s->fit->affine->code, 4 * (size_t)t->levels);
  for (unsigned c = 0; c < q->codebooks; c++)
    memcpy(to + begin[QP_FIELD_TABLE_BOOKS + c], q->codebook[c].data,
           2 * (size_t)q->codebook[c].entries * q->codebook[c].dim);
  return QP_OK;
}

qp_status qp_field_table_make(const qp_quantizer *q, unsigned columns, bool with_data,
                              qp_field_table *out, qp_error *err) {
  source s;
  qp_field_table t;
  qp_status status = open_source(q, columns, &s, err);
  if (status) return status;
  status = describe(&s, &t, err);
  if (!status && with_data) status = write_data(&s, &t, err);
  close_source(&s);
  if (!status) *out = t;
  return status;
}

void qp_field_table_free(qp_field_table *t) {
  free(t->data);
  *t = (qp_field_table){0};
}
