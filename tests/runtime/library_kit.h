/* SPDX-License-Identifier: MIT */
/* For tests of kernel libraries: a small one, random packed weights for it, what they should
** give. */
#ifndef QP_LIBRARY_KIT_H
#define QP_LIBRARY_KIT_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/hadamard.h"
#include "gen/spec/reference.h"
#include "runtime/half.h"
#include "runtime/include/qpal.h"
#include "runtime/include/qpal_sim.h"
#include "tuner/check/random_fields.h"
#include "tuner/export/export.h"
#include "tuner/base/session.h"

#ifndef KIT_COLUMNS /* a test may have more */
#define KIT_COLUMNS 192
#endif
enum { KIT_K = KIT_COLUMNS, KIT_MEMBERS = 3 };

static qp_session kit_session;
static qp_error kit_err;
static qp_random kit_random = {.state = 11};

static const char *const kit_quantizers[KIT_MEMBERS] = {"tcq-2.75", "int4-g128", "anyprec-3"};
static const unsigned kit_rows[KIT_MEMBERS] = {48, 64, 16};

__attribute__((unused)) static void *kit_alloc(size_t bytes) {
  void *p = calloc(bytes ? bytes : 1, 1);
  cr_assert_not_null(p);
  return p;
}

static const qp_quantizer *kit_find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(kit_session.palette, name, &q, &kit_err), QP_OK, "%s", kit_err.text);
  return q;
}

/*
** One group "layers.0.test" of a split, a quantizer with group fields and one with row codebooks;
** one group "layers.0.left" in 16 bits; one "layers.0.single" of the first linear's shape, whose
** rows can be gathered.
*/
__attribute__((unused)) static void kit_groups(qp_export_group g[3]) {
  memset(g, 0, 3 * sizeof *g);
  snprintf(g[0].name, sizeof g->name, "layers.0.test");
  snprintf(g[0].path, sizeof g->path, "tensor");
  g[0].columns = KIT_K;
  g[0].members = KIT_MEMBERS;
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    snprintf(g[0].member[m].tensor, sizeof g->member[m].tensor, "model.layers.0.w%u", m);
    g[0].member[m].quantizer = kit_find(kit_quantizers[m]);
    g[0].member[m].rows = kit_rows[m];
  }
  snprintf(g[1].name, sizeof g->name, "layers.0.left");
  snprintf(g[1].path, sizeof g->path, "any");
  g[1].columns = 64;
  g[1].members = 1;
  snprintf(g[1].member[0].tensor, sizeof g->member[0].tensor, "model.layers.0.fp16");
  g[1].member[0].rows = 32;
  g[2] = g[0];
  snprintf(g[2].name, sizeof g->name, "layers.0.single");
  snprintf(g[2].path, sizeof g->path, "cuda");
  g[2].members = 1;
  g[2].lookup = true;
  snprintf(g[2].member[0].tensor, sizeof g->member[0].tensor, "model.layers.0.alone");
}

/* For two simulated GPUs: sm_90 with 2 multiprocessors, sm_80 with 2. */
__attribute__((unused)) static qp_export_request kit_request(const qp_export_group *g) {
  return (qp_export_request){.model = "tiny",
                             .groups = 3,
                             .group = g,
                             .gpus = 1,
                             .gpu = {{.name = "sm_90", .arch = 90, .sm_count = 2}},
                             .batches = 2,
                             .batch = {1, 4},
                             .types = 1,
                             .type = {QP_F16},
                             .dequant = true,
                             .rotate = true,
                             .inverse = true,
                             .norm = true,
                             .glu = true,
                             .pdl = true,
                             .ptx = QP_PTX_ALL,
                             .chosen = "the families' defaults"};
}

/* The bytes of a library; the caller frees them. */
__attribute__((unused)) static void *kit_export(const qp_export_request *r, size_t *bytes) {
  void *data = NULL;
  qp_text notes = {0};
  cr_assert_eq(qp_export_make(kit_session.families, r, &data, bytes, &notes, &kit_err), QP_OK, "%s",
               kit_err.text);
  qp_text_free(&notes);
  return data;
}

/* ---- Packed weights ---- */

typedef struct kit_linear {
  const qp_quantizer *quantizer;
  unsigned rows, parts;
  float *scale;
  double *w; /* [rows][KIT_K]: r W^ */
  struct {
    qp_stream stream;
    unsigned column;
    uint32_t *codes;
    uint8_t *field[QP_MAX_ARRAYS];
    uint16_t *codebook[QP_MAX_CODEBOOKS];
  } part[QP_MAX_PARTS];
  qpal_weights on_device;
  qpal_weights_part more[QPAL_MORE_PARTS]; /* of on_device */
} kit_linear;

static void kit_fill_part(kit_linear *l, unsigned i, const qp_quantizer *q, unsigned from,
                          unsigned to) {
  qp_stream *s = &l->part[i].stream;
  cr_assert_eq(qp_layout_stream(q, l->rows, to - from, s, &kit_err), QP_OK);
  l->part[i].column = from;
  l->part[i].codes = kit_alloc(4 * s->code_words);
  for (size_t k = 0; k < s->code_words; k++)
    l->part[i].codes[k] = (uint32_t)(qp_random_next(&kit_random) >> 16);
  for (unsigned f = 0; f < s->arrays; f++) l->part[i].field[f] = kit_alloc(s->field_bytes[f]);
  qp_random_fields(&kit_random, s, l->part[i].field);
  for (unsigned b = 0; b < q->codebooks; b++) {
    if (q->codebook[b].scope == QP_SCOPE_SPEC) continue;
    const size_t n = (size_t)q->codebook[b].entries * q->codebook[b].dim *
                     (q->codebook[b].scope == QP_SCOPE_ROW ? 32 * s->row_groups : 1);
    l->part[i].codebook[b] = kit_alloc(2 * n);
    for (size_t k = 0; k < n; k++)
      l->part[i].codebook[b][k] = qp_double_to_half(qp_random_uniform(&kit_random, -2, 2));
  }
}

static void kit_decode_part(kit_linear *l, unsigned i, qp_reference *reference) {
  const qp_stream *s = &l->part[i].stream;
  uint16_t *out = kit_alloc(2ul * 32 * s->columns);
  qp_packed packed = {.stream = s, .codes = l->part[i].codes};
  for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) packed.field[f] = l->part[i].field[f];
  for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) packed.codebook[b] = l->part[i].codebook[b];
  for (unsigned g = 0; g < s->row_groups; g++) {
    cr_assert_eq(qp_reference_decode(reference, &packed, g, out, &kit_err), QP_OK, "%s",
                 kit_err.text);
    for (unsigned r = 0; r < 32 && 32 * g + r < l->rows; r++)
      for (unsigned k = 0; k < s->columns; k++)
        l->w[(size_t)(32 * g + r) * KIT_K + l->part[i].column + k] =
            (double)l->scale[32 * g + r] *
            (double)qp_half_to_float(out[(size_t)r * s->columns + k]);
  }
  free(out);
}

__attribute__((unused)) static void kit_linear_make(kit_linear *l, const char *quantizer,
                                                    unsigned rows) {
  const qp_quantizer *q = kit_find(quantizer);
  const unsigned ranges = q->kind == QP_SPLIT ? q->parts : 1;
  *l = (kit_linear){.quantizer = q, .rows = rows};
  l->scale = kit_alloc(rows * sizeof *l->scale);
  l->w = kit_alloc((size_t)rows * KIT_K * sizeof *l->w);
  for (unsigned r = 0; r < rows; r++) l->scale[r] = (float)qp_random_uniform(&kit_random, 0.5, 2);
  qp_reference *reference = qp_reference_new();
  for (unsigned i = 0; i < ranges; i++) {
    const unsigned from = qp_layout_part_column(q, KIT_K, i);
    const unsigned to = qp_layout_part_column(q, KIT_K, i + 1);
    if (from == to) continue;
    const qp_quantizer *leaf = q->kind == QP_SPLIT ? q->part[i].quantizer : q;
    kit_fill_part(l, l->parts, leaf, from, to);
    kit_decode_part(l, l->parts++, reference);
  }
  qp_reference_free(reference);
}

__attribute__((unused)) static void kit_linear_free(kit_linear *l) {
  for (unsigned i = 0; i < l->parts; i++) {
    free(l->part[i].codes);
    for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) free(l->part[i].field[f]);
    for (unsigned b = 0; b < QP_MAX_CODEBOOKS; b++) free(l->part[i].codebook[b]);
  }
  free(l->scale);
  free(l->w);
}

__attribute__((unused)) static qpal_ptr kit_upload(qpal_device *d, const void *data, size_t bytes) {
  qpal_ptr p = 0;
  cr_assert_eq(qpal_alloc(d, bytes, &p), QPAL_OK, "%s", qpal_message());
  if (data)
    cr_assert_eq(qpal_upload(d, p, data, bytes), QPAL_OK, "%s", qpal_message());
  else
    cr_assert_eq(qpal_zero(d, p, bytes), QPAL_OK, "%s", qpal_message());
  return p;
}

/* To the device, with the sizes that the library says, which must be the layout's. */
__attribute__((unused)) static void kit_linear_upload(kit_linear *l, qpal_device *d,
                                                      const qpal_linear_info *info) {
  cr_assert_eq(info->parts, l->parts);
  cr_assert_eq(info->rows, l->rows);
  l->on_device.scale = kit_upload(d, l->scale, l->rows * sizeof *l->scale);
  l->on_device.more = l->more;
  for (unsigned i = 0; i < l->parts; i++) {
    const qpal_part_info *p = qpal_linear_part(info, i);
    qpal_weights_part *to =
        i < QPAL_MAX_PARTS ? &l->on_device.part[i] : &l->more[i - QPAL_MAX_PARTS];
    const qp_quantizer *q = l->part[i].stream.quantizer;
    cr_assert_eq(p->column, l->part[i].column);
    cr_assert_eq(p->code_bytes, 4 * l->part[i].stream.code_words);
    to->codes = kit_upload(d, l->part[i].codes, p->code_bytes);
    for (unsigned f = 0; f < q->fields; f++) {
      cr_assert_eq(p->field_bytes[f], l->part[i].stream.field_bytes[f]);
      to->field[f] = kit_upload(d, l->part[i].field[f], p->field_bytes[f]);
    }
    for (unsigned b = 0; b < q->codebooks; b++)
      if (p->codebook_bytes[b])
        to->codebook[b] = kit_upload(d, l->part[i].codebook[b], p->codebook_bytes[b]);
  }
}

/* ---- Comparison ---- */

/* sqrt(sum (got - want)^2 / sum want^2); a NaN stays one, and fails. */
__attribute__((unused)) static double kit_error(const uint16_t *got, const double *want, size_t n) {
  double difference = 0, power = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = (double)qp_half_to_float(got[i]) - want[i];
    difference += d * d;
    power += want[i] * want[i];
  }
  return sqrt(difference / power);
}

#endif
