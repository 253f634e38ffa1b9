/* SPDX-License-Identifier: MIT */
/*
** Any bytes as packed weights.  An even first byte: the rest is the metadata 'quantization' of a file
** that is right otherwise; an odd one: the rest is the whole file.  It is refused with a message, or
** each linear of a library is asked for, and what is handed out lies inside of the file.
*/
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/include/qpal.h"
#include "tuner/export/library_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 32, COLUMNS = 128, SCALES = 4 * ROWS, SIGNS = COLUMNS / 8 };

static char path[64];
static qpal_library *library;
static uint64_t code_bytes;

static void forget(void) {
  unlink(path);
  qpal_library_close(library);
}

/* A library with the linears 't0' and 't1': 4 bits a weight, the codebook stored with the weights. */
static void make_library(void) {
  static qp_quantizer q = {.name = "a",
                           .hash = "00112233445566778899aabbccddeeff",
                           .kind = QP_SCALAR,
                           .window = 4,
                           .dim = 1,
                           .step = 4,
                           .planes_read = 4,
                           .rate = 4,
                           .stored_rate = 4,
                           .codebooks = 1,
                           .layout = QP_LAYOUT_VERSION};
  q.codebook[0] = (qp_codebook){.name = "c", .entries = 16, .dim = 1, .scope = QP_SCOPE_TENSOR};
  qp_error err = {.text = ""};
  qp_library_writer *w = qp_library_writer_new(13000, "m", "g");
  uint32_t linear[2], problem, single[2];
  for (unsigned i = 0; i < 2; i++) {
    qp_library_writer_linear(w, &q, ROWS, COLUMNS, &linear[i], &err);
    qp_library_writer_problem(w, &linear[i], 1, COLUMNS, "", &single[i], &err);
  }
  qp_library_writer_problem(w, linear, 2, COLUMNS, "tensor", &problem, &err);
  const qp_lib_group g = {
      .name = qp_library_writer_string(w, "g0"),
      .path = qp_library_writer_string(w, "tensor"),
      .problem = problem,
      .tensor = {qp_library_writer_string(w, "t0"), qp_library_writer_string(w, "t1")},
      .single = {single[0], single[1]}};
  qp_library_writer_group(w, &g, &err);
  static uint64_t file[1 << 12]; /* is used where it lies, so it must stay */
  void *made = NULL;
  size_t bytes = 0;
  if (qp_library_writer_finish(w, &made, &bytes, &err) || bytes > sizeof file) abort();
  memcpy(file, made, bytes);
  free(made);
  qp_library_writer_free(w);
  if (qpal_library_from_memory(file, bytes, &library)) abort();
  qpal_linear_info info = {.size = sizeof info};
  if (qpal_library_linear(library, 0, 0, &info) || info.parts != 1) abort();
  code_bytes = info.part[0].code_bytes;
}

static void begin(void) {
  snprintf(path, sizeof path, "/tmp/fuzz-packed-%ld.safetensors", (long)getpid());
  make_library();
  atexit(forget);
}

/* As a string of JSON. */
static void add_text(FILE *to, const uint8_t *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] < 32 || text[i] == '"' || text[i] == '\\' || text[i] > 126)
      fprintf(to, "\\u%04x", text[i]);
    else
      fputc(text[i], to);
}

/* All that t0 needs is there, so that metadata that are right reach the end. */
static void write_around(FILE *to, const uint8_t *text, size_t size) {
  char *header = NULL;
  size_t length = 0;
  FILE *h = open_memstream(&header, &length);
  if (!h) abort();
  fputs("{\"__metadata__\":{\"format\":\"qpal-packed\",\"version\":\"1\",\"quantization\":\"", h);
  add_text(h, text, size);
  const unsigned long long a = code_bytes, b = a + SCALES, c = b + SIGNS, d = c + 32;
  fprintf(h,
          "\"},\"t0.codes.0\":{\"dtype\":\"U32\",\"shape\":[%llu],\"data_offsets\":[0,%llu]},"
          "\"t0.row_scales\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[%llu,%llu]},"
          "\"s\":{\"dtype\":\"U32\",\"shape\":[4],\"data_offsets\":[%llu,%llu]},"
          "\"t0.codebook.0.0\":{\"dtype\":\"F16\",\"shape\":[1,16],\"data_offsets\":[%llu,%llu]}}",
          a / 4, a, a, b, b, c, c, d);
  if (fclose(h)) abort();
  const uint64_t bytes = length;
  if (!fwrite(&bytes, 8, 1, to) || !fwrite(header, length, 1, to)) abort();
  free(header);
  for (unsigned long long i = 0; i < d; i++) fputc((int)(i & 127), to);
}

/* Read all bytes, so that a sanitizer, or the kernel, sees one outside. */
static unsigned walk(qpal_bytes b) {
  unsigned sum = 0;
  for (uint64_t i = 0; i < b.bytes; i++) sum += ((const unsigned char *)b.data)[i];
  return sum;
}

static void ask(const qpal_packed *p) {
  unsigned sum = 0;
  for (unsigned m = 0; m < 2; m++) {
    qpal_packed_linear l = {.size = sizeof l};
    if (qpal_packed_find(p, library, 0, m, &l)) {
      if (!*qpal_message()) abort();
      continue;
    }
    if (l.parts != 1 || l.part[0].codes.bytes != code_bytes || l.scale.bytes != SCALES ||
        l.part[0].codebook[0].bytes != 32)
      abort();
    sum += walk(l.scale) + walk(l.signs) + walk(l.part[0].codes) + walk(l.part[0].codebook[0]);
  }
  qpal_tensor t = {.size = sizeof t};
  if (!qpal_packed_tensor(p, "s", &t)) sum += walk(t.bytes);
  if (sum > 255u * (1u << 20)) abort(); /* more than the files have; and the sum is used */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!library) begin();
  if (!size) return 0;
  FILE *f = fopen(path, "wb");
  if (!f) abort();
  if (data[0] & 1)
    fwrite(data + 1, 1, size - 1, f);
  else
    write_around(f, data + 1, size - 1);
  if (fclose(f)) abort();
  qpal_packed *p = NULL;
  if (qpal_packed_open(path, &p)) {
    if (!strstr(qpal_message(), path)) abort();
    return 0;
  }
  ask(p);
  qpal_packed_close(p);
  return 0;
}
