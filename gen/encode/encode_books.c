/* SPDX-License-Identifier: MIT */
/* Fits the codebooks that are a linear's own before its codes are found. */
#include "gen/encode/encode_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/book_fit.h"

typedef qp_encode_job job;
typedef qp_encode_desk desk;

/* How many weights the books are fitted to: some codes for each entry of the largest one. */
static size_t sample_size(const qp_quantizer *q) {
  size_t most = QP_BOOK_FIT_WEIGHTS;
  for (unsigned c = 0; c < q->codebooks; c++) {
    const size_t wanted = (size_t)QP_BOOK_FIT_CODES * q->codebook[c].entries * q->dim;
    if (q->codebook[c].scope == QP_SCOPE_TENSOR && wanted > most) most = wanted;
  }
  return most < QP_BOOK_FIT_MOST ? most : QP_BOOK_FIT_MOST;
}

static float *sample_rows(job *j, unsigned p, qp_stream *s, qp_error *err) {
  const qp_encoded *e = j->out;
  const size_t cells = (size_t)QP_GROUP_ROWS * e->part[p].stream.columns;
  const size_t size = sample_size(e->part[p].stream.quantizer);
  unsigned n = cells < size ? (unsigned)(size / cells) : 1;
  if (n > j->row_groups) n = j->row_groups;
  const unsigned rows = n < j->row_groups ? n * QP_GROUP_ROWS : e->rows;
  float *out = malloc(sizeof *out * cells * n);
  desk d = {.x = malloc(sizeof *d.x * QP_GROUP_ROWS * e->columns)};
  if (!out || !d.x || qp_encode_apart_make(j, &d, err) ||
      qp_layout_stream(e->part[p].stream.quantizer, rows, e->part[p].stream.columns, s, err)) {
    qp_fail(err, QP_E_NOMEM, "no memory for rows to fit codebooks to");
    free(out);
    out = NULL;
  }
  for (unsigned i = 0; out && i < n; i++) {
    qp_encode_load_rows(j, &d, (unsigned)((size_t)i * j->row_groups / n));
    qp_encode_copy_columns(out + i * cells, s->columns, d.x + e->part[p].column, e->columns,
                           s->columns);
  }
  free(d.x);
  qp_encode_apart_free(&d);
  return out;
}

/* Give every part the diagonal of the Hessian for its columns. */
qp_status qp_encode_weigh_columns(job *j, qp_error *err) {
  const size_t columns = j->out->columns;
  for (unsigned p = 0; p < j->out->parts && j->feeds; p++) {
    const unsigned from = j->out->part[p].column, n = j->out->part[p].stream.columns;
    float *w = j->weight[p] = malloc(sizeof *w * (n + 1));
    if (!w) return qp_fail(err, QP_E_NOMEM, "out of memory");
    for (size_t k = 0; k < n; k++) w[k] = j->feedback.hessian[(from + k) * columns + from + k];
  }
  return QP_OK;
}

static qp_status use_own_books(job *j, unsigned p, qp_error *err) {
  qp_quantizer *view = &j->own[p].view;
  *view = *j->coder[p]->quantizer;
  for (unsigned c = 0; c < view->codebooks; c++)
    if (view->codebook[c].scope == QP_SCOPE_TENSOR)
      view->codebook[c].data = j->out->part[p].codebook[c];
  const qp_status status = qp_coder_make(&j->own[p].coder, view, err);
  if (!status && j->options->beam) qp_trellis_set_width(&j->own[p].coder.trellis, j->options->beam);
  if (!status) j->coder[p] = &j->own[p].coder;
  return status;
}

static unsigned least_codes(const job *j, bool whole) {
  if (j->options->stands_for_more) return QP_BOOK_FIT_CODES;
  return whole ? 0 : QP_BOOK_FIT_LEAST;
}

/* What cannot be fitted keeps the spec's codebooks, and says so. */
qp_status qp_encode_fit_books(job *j, unsigned p, qp_error *err) {
  qp_encoded *e = j->out;
  const qp_quantizer *q = e->part[p].stream.quantizer;
  if (!e->part[p].stream.columns) return QP_OK;
  qp_coder_fits_rows(j->coder[p], e->unfitted, sizeof e->unfitted);
  if (!qp_has_tensor_books(q)) return QP_OK;
  qp_stream s = {0};
  float *rows = sample_rows(j, p, &s, err);
  const qp_book_fit_options options = {.threads = qp_encode_threads(j->options->threads),
                                       .beam = j->options->beam,
                                       .least_codes = least_codes(j, s.rows == e->rows),
                                       .column_weight = j->weight[p]};
  uint16_t *book[QP_MAX_CODEBOOKS] = {0};
  for (unsigned c = 0; c < q->codebooks; c++)
    if (q->codebook[c].scope == QP_SCOPE_TENSOR) book[c] = e->part[p].codebook[c];
  qp_error why = {{0}};
  qp_status status =
      rows ? qp_book_fit(q, &s, rows, &options, book, e->unfitted, &why) : QP_E_NOMEM;
  free(rows);
  if (status == QP_E_ARG) {
    snprintf(e->unfitted, sizeof e->unfitted, "%.250s", why.text);
    return QP_OK;
  }
  if (status) return qp_fail(err, status, "%s", why.text);
  return use_own_books(j, p, err);
}
