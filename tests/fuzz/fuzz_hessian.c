/* SPDX-License-Identifier: MIT */
/*
** Any bytes as a file of Hessians.  An even first byte: the rest is the elements of one that is
** right otherwise; an odd one: the whole file.  It is refused with a message, or read, and what
** passed the check is finite.
*/
#include <math.h>

#include "tests/fuzz/fuzz_kit.h"
#include "tuner/quantize/hessian.h"

enum { COLUMNS = 4, ROWS = 64, MOST = 1 << 16 };

static char path[64];

static void forget(void) { unlink(path); }

/* One, or two groups of rows, by the size. */
static void write_around(const uint8_t *data, size_t size) {
  static unsigned char file[1024];
  const unsigned groups = 1 + (size >= 2 * COLUMNS * COLUMNS * 4),
                 bytes = groups * COLUMNS * COLUMNS * 4;
  char header[256];
  const int n =
      snprintf(header, sizeof header,
               "{\"l.hessian\":{\"dtype\":\"F32\",\"shape\":[%u,%u,%u],\"data_offsets\":[0,%u]}}",
               groups, COLUMNS, COLUMNS, bytes);
  memset(file, 0, sizeof file);
  file[0] = (unsigned char)n;
  memcpy(file + 8, header, (size_t)n);
  memcpy(file + 8 + n, data, size < bytes ? size : bytes);
  write_bytes(path, file, 8 + (size_t)n + bytes);
}

static void use(const qp_hessian *h, qp_error *err) {
  const bool fine = qp_hessian_check(h, NULL, err) == QP_OK;
  must(fine || *err->text);
  for (unsigned g = 0; g < h->groups; g++) {
    float *m = NULL;
    must(!qp_hessian_read(h, g, NULL, 1, &m, err));
    for (unsigned i = 0; i < COLUMNS * COLUMNS; i++) must(!fine || isfinite(m[i]));
    free(m);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_hessian h = {0};
  qp_error err = {.text = ""};
  if (!*path) {
    own_path(path, sizeof path, ".safetensors");
    atexit(forget);
  }
  if (size < 1 || size > MOST) return 0;
  if (data[0] & 1) {
    write_bytes(path, data + 1, size - 1);
  } else {
    write_around(data + 1, size - 1);
  }
  if (qp_hessian_open(path, "l", ROWS, COLUMNS, &h, &err)) {
    must_name(&err, path);
    return 0;
  }
  use(&h, &err);
  qp_hessian_close(&h);
  return 0;
}
