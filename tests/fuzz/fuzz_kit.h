/* SPDX-License-Identifier: MIT */
/* What fuzz targets share: the entry, files, messages, a small library. */
#ifndef QP_TESTS_FUZZ_KIT_H
#define QP_TESTS_FUZZ_KIT_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/status.h"
#include "tuner/export/library_writer.h"

/* libFuzzer calls it with one input after the other. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of every input. */
static inline void must(bool holds) {
  if (!holds) abort();
}

/* A message names the file that it is about. */
static inline void must_name(const qp_error *err, const char *file) {
  must(strstr(err->text, file) != NULL);
}

/* The bytes as a string that ends, malloc'ed. */
static inline char *as_text(const uint8_t *data, size_t size) {
  char *copy = malloc(size + 1);
  must(copy != NULL);
  if (size) memcpy(copy, data, size);
  copy[size] = 0;
  return copy;
}

/* Read all bytes, so that a sanitizer, or the kernel, sees one outside. */
static inline void touch(const void *data, size_t bytes) {
  static volatile unsigned char seen;
  for (size_t i = 0; i < bytes; i++) seen = ((const unsigned char *)data)[i];
  (void)seen;
}

/* ---- Files ---- */

static inline void write_bytes(const char *path, const void *data, size_t size) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(file >= 0 && (!size || write(file, data, size) == (ssize_t)size));
  close(file);
}

/* Where files lie: in memory where that can be had; much is brought to the disk for each input. */
static inline const char *files_folder(void) {
  return access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
}

/* A path of this process' own: "fuzz-PID" and 'end' in that folder. */
static inline void own_path(char *out, size_t size, const char *end) {
  snprintf(out, size, "%s/fuzz-%ld%s", files_folder(), (long)getpid(), end);
}

/* ---- A library ---- */

/* The quantizer 'a': 4 bits a weight, its codebook stored with the weights. */
static inline qp_quantizer four_bits(void) {
  qp_quantizer q = {.name = "a",
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
  return q;
}

/* The linears 't0' and 't1' of 32 x 128 as the group 'g0'; problems of both and of each alone. */
static inline void add_group(qp_library_writer *w, const qp_quantizer *const q[2], uint32_t *both,
                             uint32_t alone[2]) {
  qp_error err = {.text = ""};
  uint32_t linear[2];
  for (unsigned i = 0; i < 2; i++) {
    qp_library_writer_linear(w, q[i], 32, 128, 0, 0, &linear[i], &err);
    qp_library_writer_problem(w, &linear[i], 1, 128, "", &alone[i], &err);
  }
  qp_library_writer_problem(w, linear, 2, 128, "tensor", both, &err);
  const qp_lib_group g = {
      .name = qp_library_writer_string(w, "g0"),
      .path = qp_library_writer_string(w, "tensor"),
      .problem = *both,
      .tensor = {qp_library_writer_string(w, "t0"), qp_library_writer_string(w, "t1")},
      .single = {alone[0], alone[1]}};
  qp_library_writer_group(w, &g, &err);
}

#endif
