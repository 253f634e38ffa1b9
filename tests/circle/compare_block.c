/* SPDX-License-Identifier: MIT */
/*
** compare_block PACKED OUT: is what the example runtime/examples/block.c computed right?  Packed
** weights are decoded by the CPU reference, x is rotated in double precision; one line a linear,
** with the relative L2 error.  Exit code 1: an error above 4e-3 (the rotated x is rounded to fp16
** once more than in `qpal check`), or nothing to compare.
*/
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/hadamard.h"
#include "gen/spec/reference.h"
#include "runtime/half.h"
#include "runtime/safetensors.h"
#include "tuner/base/session.h"

static qp_error err;
static qp_session session;
static qp_safetensors *packed, *out;

static void need(qp_status status) {
  if (!status) return;
  fprintf(stderr, "compare_block: %s\n", err.text);
  exit(2);
}

static const qp_tensor *tensor(const qp_safetensors *s, const char *name, const char *what) {
  char full[400];
  snprintf(full, sizeof full, "%s.%s", name, what);
  const qp_tensor *t = qp_safetensors_find(s, full);
  if (!t) need(qp_fail(&err, QP_E_ARG, "tensor %s is missing", full));
  return t;
}

static void *bytes_of(const qp_tensor *t) {
  void *copy = malloc(t->bytes + 1);
  if (!copy) exit(2);
  return memcpy(copy, t->data, t->bytes);
}

/* Row scales, stored as fp16. */
static float *scales_of(const char *name, unsigned rows) {
  uint16_t *half = bytes_of(tensor(packed, name, "row_scales"));
  float *scale = malloc(rows * sizeof *scale);
  if (!scale) exit(2);
  for (unsigned r = 0; r < rows; r++) scale[r] = qp_half_to_float(half[r]);
  free(half);
  return scale;
}

/* W^ of one linear, [rows][columns], times its row scales. */
static double *decode(const char *name, const qp_quantizer *q, unsigned rows, unsigned columns) {
  double *w = calloc((size_t)rows * columns, sizeof *w);
  float *scale = scales_of(name, rows);
  qp_reference *reference = qp_reference_new();
  const unsigned ranges = q->kind == QP_SPLIT ? q->parts : 1;
  for (unsigned i = 0; i < ranges; i++) {
    const unsigned from = qp_layout_part_column(q, columns, i);
    const unsigned width = qp_layout_part_column(q, columns, i + 1) - from;
    const qp_quantizer *leaf = q->kind == QP_SPLIT ? q->part[i].quantizer : q;
    qp_stream stream;
    char what[40];
    if (!width) continue;
    need(qp_layout_stream(leaf, rows, width, &stream, &err));
    snprintf(what, sizeof what, "codes.%u", i);
    qp_packed p = {.stream = &stream, .codes = bytes_of(tensor(packed, name, what))};
    for (unsigned f = 0; f < leaf->fields; f++) {
      snprintf(what, sizeof what, "field.%u.%u", i, f);
      p.field[f] = bytes_of(tensor(packed, name, what));
    }
    for (unsigned c = 0; c < leaf->codebooks; c++) {
      if (leaf->codebook[c].scope == QP_SCOPE_SPEC) continue;
      snprintf(what, sizeof what, "codebook.%u.%u", i, c);
      p.codebook[c] = bytes_of(tensor(packed, name, what));
    }
    uint16_t *group = malloc(2ul * 32 * width);
    for (unsigned g = 0; g < stream.row_groups; g++) {
      need(qp_reference_decode(reference, &p, g, group, &err));
      for (unsigned r = 0; r < 32 && 32 * g + r < rows; r++)
        for (unsigned k = 0; k < width; k++)
          w[(size_t)(32 * g + r) * columns + from + k] =
              (double)scale[32 * g + r] * (double)qp_half_to_float(group[(size_t)r * width + k]);
    }
    free(group);
    free((void *)(uintptr_t)p.codes);
    for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) free((void *)(uintptr_t)p.field[f]);
    for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free((void *)(uintptr_t)p.codebook[c]);
  }
  qp_reference_free(reference);
  free(scale);
  return w;
}

/* H (s * x) of one row. */
static void rotate(double *x, const uint32_t *signs, unsigned columns) {
  qp_hadamard h;
  qp_hadamard_factor(columns, &h);
  for (unsigned k = 0; k < columns; k++)
    if (signs[k / 32] >> (k % 32) & 1) x[k] = -x[k];
  qp_hadamard_apply(&h, x, x);
}

static double compare(const char *name, const qp_quantizer *q, const char *signs_name) {
  const qp_tensor *tx = tensor(out, name, "x"), *ty = tensor(out, name, "y");
  const unsigned n = (unsigned)tx->shape[0], columns = (unsigned)tx->shape[1];
  const unsigned rows = (unsigned)ty->shape[1];
  uint16_t *hx = bytes_of(tx), *hy = bytes_of(ty);
  const qp_tensor *ts = signs_name ? qp_safetensors_find(packed, signs_name) : NULL;
  uint32_t *signs = ts ? bytes_of(ts) : NULL;
  double *w = decode(name, q, rows, columns), *x = calloc(columns, sizeof *x);
  double difference = 0, power = 0;
  for (unsigned i = 0; i < n; i++) {
    for (unsigned k = 0; k < columns; k++)
      x[k] = (double)qp_half_to_float(hx[(size_t)i * columns + k]);
    if (signs) rotate(x, signs, columns);
    for (unsigned r = 0; r < rows; r++) {
      double y = 0;
      for (unsigned k = 0; k < columns; k++) y += w[(size_t)r * columns + k] * x[k];
      const double d = y - (double)qp_half_to_float(hy[(size_t)i * rows + r]);
      difference += d * d;
      power += y * y;
    }
  }
  free(hx), free(hy), free(signs), free(w), free(x);
  return power > 0 ? sqrt(difference / power) : difference > 0 ? INFINITY : 0;
}

/* The linears that one shard's metadata describes and OUT has. */
static unsigned compare_shard(unsigned shard, bool *right) {
  unsigned compared = 0;
  const char *text = qp_safetensors_metadata(packed, shard, "quantization");
  cJSON *root = text ? cJSON_Parse(text) : NULL;
  const cJSON *linear;
  cJSON_ArrayForEach(linear, cJSON_GetObjectItem(root, "linears")) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(linear, "name"));
    const char *quantizer = cJSON_GetStringValue(cJSON_GetObjectItem(linear, "quantizer"));
    const char *signs = cJSON_GetStringValue(cJSON_GetObjectItem(linear, "signs"));
    const qp_quantizer *q = NULL;
    char full[400];
    snprintf(full, sizeof full, "%s.y", name ? name : "");
    if (!name || !quantizer || !qp_safetensors_find(out, full)) continue;
    need(qp_palette_find(session.palette, quantizer, &q, &err));
    const double error = compare(name, q, signs);
    const bool good = error <= 4e-3; /* false for NaN */
    printf("  %-40s %-10s error %.2e  %s\n", name, quantizer, error, good ? "PASS" : "FAIL");
    *right &= good;
    compared++;
  }
  cJSON_Delete(root);
  return compared;
}

int main(int argc, char **argv) {
  bool right = true;
  unsigned compared = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: compare_block PACKED OUT\n");
    return 2;
  }
  need(qp_session_open(&session, &err));
  need(qp_safetensors_open(argv[1], &packed, &err));
  need(qp_safetensors_open(argv[2], &out, &err));
  for (unsigned i = 0; i < qp_safetensors_shards(packed); i++) compared += compare_shard(i, &right);
  printf("%u linears compared with the CPU reference: %s\n", compared,
         right && compared ? "PASS" : "FAIL");
  qp_safetensors_close(out);
  qp_safetensors_close(packed);
  qp_session_close(&session);
  return right && compared ? 0 : 1;
}
