/* SPDX-License-Identifier: MIT */
/* Checkpoints for tests of qpal quantize, and what packed weights compute by runtime/PACKED.md. */
#ifndef QP_TESTS_QUANTIZE_KIT_H
#define QP_TESTS_QUANTIZE_KIT_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "gen/base/file.h"
#include "gen/base/random.h"
#include "gen/base/hadamard.h"
#include "gen/model/tensor_writer.h"
#include "gen/spec/reference.h"
#include "runtime/half.h"
#include "runtime/safetensors.h"

static qp_error err;
static char folder[] = "/tmp/qpal-quantize-XXXXXX";

/* A name in the folder; the eight newest stay valid. */
static inline const char *path(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline const char *path(const char *format, ...) {
  static char text[8][512];
  static unsigned next;
  char name[256], *p = text[next++ % 8];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  snprintf(p, 512, "%s/%s", folder, name);
  return p;
}

static inline void make_folder(void) { cr_assert(mkdtemp(folder)); }

static inline void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
}

static inline void write_text(const char *file, const char *text) {
  cr_assert_eq(qp_file_write(file, text, strlen(text), &err), QP_OK, "%s", err.text);
}

/* ---- Writing a checkpoint ---- */

/* Weights with a few large ones, as models have them: a sum of two uniforms, some times 8. */
static inline float *weights_of(unsigned seed, size_t n) {
  float *w = malloc(n * sizeof *w);
  qp_random r = {seed};
  for (size_t i = 0; i < n; i++) {
    double v = qp_random_uniform(&r, -1, 1) + qp_random_uniform(&r, -1, 1);
    w[i] = (float)(0.05 * v * (qp_random_next(&r) % 64 ? 1 : 8));
  }
  return w;
}

/* Tensors of one file, declared and then written. */
typedef struct pending {
  qp_tensor_writer *w;
  size_t count;
  void *data[64]; /* owned */
  size_t bytes[64];
} pending;

static inline void pending_begin(pending *p, const char *file) {
  *p = (pending){0};
  cr_assert_eq(qp_tensor_writer_new(file, &p->w, &err), QP_OK, "%s", err.text);
}

/* Takes 'data' over: fp32 values, which are changed to what the type holds of them. */
static inline void pending_add(pending *p, const char *name, qp_tensor_type type, unsigned rows,
                               unsigned columns, float *data) {
  const uint64_t shape[] = {rows, columns};
  const size_t n = (size_t)(rows ? rows : 1) * columns;
  cr_assert_eq(qp_tensor_writer_declare(p->w, name, type, rows ? 2 : 1, rows ? shape : shape + 1,
                                        NULL, &err),
               QP_OK);
  p->bytes[p->count] = n * qp_tensor_type_bytes(type);
  if (type != QP_TENSOR_F32)
    for (size_t i = 0; i < n; i++) {
      const uint16_t h =
          type == QP_TENSOR_F16 ? qp_float_to_half(data[i]) : qp_float_to_bf16(data[i]);
      memcpy((unsigned char *)data + 2 * i, &h, 2);
    }
  p->data[p->count++] = data;
}

static inline void pending_write(pending *p) {
  cr_assert_eq(qp_tensor_writer_start(p->w, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < p->count; i++)
    cr_assert_eq(qp_tensor_writer_write(p->w, i, 0, p->data[i], p->bytes[i], &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_finish(p->w, &err), QP_OK, "%s", err.text);
  qp_tensor_writer_free(p->w);
  for (size_t i = 0; i < p->count; i++) free(p->data[i]);
}

/* ---- The command ---- */

static char answer[1 << 16]; /* what it printed */

static inline int ask(const char *arguments) {
  char command[3072];
  snprintf(command, sizeof command, "'%s/qpal' %s 2>&1", QP_BINARY_DIR, arguments);
  FILE *f = popen(command, "r");
  cr_assert(f);
  answer[fread(answer, 1, sizeof answer - 1, f)] = 0;
  return WEXITSTATUS(pclose(f));
}

/* qpal quantize FOLDER/in OPTIONS -o FOLDER/out */
static inline int quantize_from(const char *in, const char *options, const char *out) {
  char arguments[2560];
  snprintf(arguments, sizeof arguments, "quantize '%s' %s -o '%s'", path("%s", in), options,
           path("%s", out));
  return ask(arguments);
}

static inline int quantize(const char *options, const char *out) {
  return quantize_from("in", options, out);
}

static inline char *read_file(const char *name, size_t *bytes) {
  FILE *f = fopen(name, "rb");
  cr_assert(f, "%s", name);
  char *data = malloc(1 << 20);
  *bytes = fread(data, 1, 1 << 20, f);
  fclose(f);
  return data;
}

/* Two outputs are the same, byte for byte. */
static inline void expect_same_files(const char *one, const char *other) {
  static const char *const names[] = {"model-00001-of-00001.safetensors", "config.json",
                                      "quantize-report.json", "model.safetensors.index.json"};
  for (size_t i = 0; i < 4; i++) {
    size_t n, m;
    char *a = read_file(path("%s/%s", one, names[i]), &n);
    char *b = read_file(path("%s/%s", other, names[i]), &m);
    cr_assert(n == m && !memcmp(a, b, n), "%s of %s differs from that of %s", names[i], other, one);
    free(a);
    free(b);
  }
}

/* ---- y by the stored form, with nothing of the encoder: y = r (W^ (H (s x))) ---- */

static qp_palette *palette;

static inline const qp_quantizer *quantizer_of(const char *name) {
  const qp_quantizer *q;
  if (!palette) cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

static inline const void *tensor(const qp_safetensors *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline const void *tensor(const qp_safetensors *s, const char *format, ...) {
  char name[256];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  const qp_tensor *t = qp_safetensors_find(s, name);
  cr_assert(t, "%s is missing", name);
  return t->data;
}

/* W^ [rows padded to 32][columns] of a linear whose quantizer has its codebook in its
** definition. */
static inline double *decode(const qp_safetensors *s, const char *name, const qp_quantizer *q,
                             unsigned rows, unsigned columns) {
  const unsigned groups = (rows + 31) / 32, parts = q->kind == QP_SPLIT ? q->parts : 1;
  double *w = calloc((size_t)groups * 32 * columns, sizeof *w);
  uint16_t *half = malloc((size_t)32 * columns * sizeof *half);
  qp_reference *reference = qp_reference_new();
  for (unsigned p = 0; p < parts; p++) {
    const unsigned from = qp_layout_part_column(q, columns, p);
    const unsigned to = qp_layout_part_column(q, columns, p + 1);
    qp_stream stream;
    cr_assert_eq(
        qp_layout_stream(parts > 1 ? q->part[p].quantizer : q, rows, to - from, &stream, &err),
        QP_OK);
    qp_packed packed = {.stream = &stream, .codes = tensor(s, "%s.codes.%u", name, p)};
    for (unsigned f = 0; f < stream.quantizer->fields; f++)
      packed.field[f] = tensor(s, "%s.field.%u.%u", name, p, f);
    for (unsigned g = 0; g < groups; g++) {
      cr_assert_eq(qp_reference_decode(reference, &packed, g, half, &err), QP_OK);
      for (unsigned r = 0; r < 32; r++)
        for (unsigned c = 0; c < to - from; c++)
          w[((size_t)g * 32 + r) * columns + from + c] =
              (double)qp_half_to_float(half[(size_t)r * (to - from) + c]);
    }
  }
  qp_reference_free(reference);
  free(half);
  return w;
}

/* The row scales of a linear, which are stored as fp16; the caller frees them. */
static inline float *scales_of(const qp_safetensors *s, const char *name, unsigned rows) {
  const uint16_t *half = tensor(s, "%s.row_scales", name);
  float *scale = malloc(rows * sizeof *scale);
  for (unsigned r = 0; r < rows; r++) scale[r] = qp_half_to_float(half[r]);
  return scale;
}

/* |y - W x|^2 / |W x|^2 over a few random x. */
static inline double output_error(const qp_safetensors *s, const char *name, const char *signs,
                                  const qp_quantizer *q, const float *w, unsigned rows,
                                  unsigned columns) {
  double *packed = decode(s, name, q, rows, columns), lost = 0, power = 0;
  float *scale = scales_of(s, name, rows);
  const uint32_t *sign = signs ? tensor(s, "%s", signs) : NULL;
  qp_hadamard h;
  qp_hadamard_factor(columns, &h);
  double *x = malloc(2 * columns * sizeof *x), *y = x + columns;
  qp_random random = {4};
  for (unsigned n = 0; n < 16; n++) {
    for (unsigned k = 0; k < columns; k++) {
      x[k] = y[k] = qp_random_uniform(&random, -1, 1);
      if (sign && sign[k / 32] >> (k % 32) & 1) y[k] = -y[k];
    }
    if (sign) qp_hadamard_apply(&h, y, y);
    for (unsigned r = 0; r < rows; r++) {
      double want = 0, got = 0;
      for (unsigned k = 0; k < columns; k++) {
        want += (double)w[(size_t)r * columns + k] * x[k];
        got += packed[(size_t)r * columns + k] * y[k];
      }
      got *= (double)scale[r];
      lost += (got - want) * (got - want);
      power += want * want;
    }
  }
  free(scale);
  free(packed);
  free(x);
  return lost / power;
}

#endif
