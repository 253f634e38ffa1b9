/* SPDX-License-Identifier: MIT */
/* For tests that work with one library at a time: made as asked, opened, its kernels in the
** simulator. */
#ifndef QP_OPEN_LIBRARY_H
#define QP_OPEN_LIBRARY_H

#include "tests/runtime/library_kit.h"

static void *file; /* of the library, aligned by malloc */
static size_t file_bytes;
static qpal_library *library;
static qpal_device *device;
static qpal_kernels *kernels;

static inline void open_session(void) {
  cr_assert_eq(qp_session_open(&kit_session, &kit_err), QP_OK, "%s", kit_err.text);
}

static inline void open_library(const qp_export_request *r) {
  file = kit_export(r, &file_bytes);
  cr_assert_eq(qpal_library_from_memory(file, file_bytes, &library), QPAL_OK, "%s",
               qpal_message());
}

static inline void load(void) {
  cr_assert_eq(qpal_sim_open(90, 2, &device), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
}

static inline void close_library(void) {
  qpal_kernels_close(kernels);
  qpal_device_close(device);
  qpal_library_close(library);
  free(file);
  kernels = NULL, device = NULL, library = NULL, file = NULL;
}

/* The library that a request makes in the place of the one there was, its kernels loaded. */
static inline void export_again(const qp_export_request *r) {
  close_library();
  open_library(r);
  load();
}

static inline void close_all(void) {
  close_library();
  qp_session_close(&kit_session);
}

static inline uint16_t *random_halves(size_t n) {
  uint16_t *h = kit_alloc(n * sizeof *h);
  for (size_t i = 0; i < n; i++) h[i] = qp_double_to_half(qp_random_uniform(&kit_random, -1, 1));
  return h;
}

#endif
