/* SPDX-License-Identifier: MIT */
/* Reads and writes codebooks as text. */
#include "gen/spec/codebook_file.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/resource.h"
#include "runtime/half.h"

enum { MAX_BYTES = 4 << 20 };

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* Read one value of four digits; give the place behind it, or NULL. */
static const char *read_half(const char *at, const char *end, uint16_t *out) {
  unsigned v = 0;
  if (end - at < 4) return NULL;
  for (unsigned i = 0; i < 4; i++) {
    int digit = hex_digit(at[i]);
    if (digit < 0) return NULL;
    v = v << 4 | (unsigned)digit;
  }
  *out = (uint16_t)v;
  return at + 4;
}

static qp_status read_entries(const char *file, const char *at, const char *end, unsigned entries,
                              unsigned dim, uint16_t *out, qp_error *err) {
  for (unsigned e = 0; e < entries; e++) {
    for (unsigned i = 0; i < dim; i++) {
      at = read_half(at, end, out + (size_t)e * dim + i);
      if (!at || at >= end || *at++ != (i + 1 < dim ? ' ' : '\n') ||
          (out[(size_t)e * dim + i] & QP_HALF_INF) == QP_HALF_INF) {
        return qp_fail(err, QP_E_ARG,
                       "%s:%u: number %u should be a finite fp16 number as four digits of hex; a "
                       "line has %u, with one space between",
                       file, e + 2, i + 1, dim);
      }
    }
  }
  if (at == end) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s:%u: nothing should follow the %u entries", file, entries + 2,
                 entries);
}

qp_status qp_codebook_parse(const char *file, const char *text, size_t bytes, unsigned entries,
                            unsigned dim, uint16_t **out, qp_error *err) {
  char head[64];
  const size_t n =
      (size_t)snprintf(head, sizeof head, "qpal codebook %u x %u fp16\n", entries, dim);
  if (bytes < n || memcmp(text, head, n) != 0) {
    return qp_fail(err, QP_E_ARG, "%s:1: should be '%.*s'", file, (int)n - 1, head);
  }
  assert(entries && dim);
  uint16_t *data = malloc(sizeof *data * entries * dim);
  if (!data) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_status status = read_entries(file, text + n, text + bytes, entries, dim, data, err);
  if (status)
    free(data);
  else
    *out = data;
  return status;
}

char *qp_codebook_print(unsigned entries, unsigned dim, const uint16_t *data) {
  assert(entries && dim);
  char *text = malloc(64 + (size_t)entries * dim * 5 + 1);
  if (!text) return NULL;
  int at = sprintf(text, "qpal codebook %u x %u fp16\n", entries, dim);
  for (size_t i = 0; i < (size_t)entries * dim; i++)
    /* dim is at least 1. NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
    at += sprintf(text + at, "%04x%c", data[i], i % dim + 1 < dim ? ' ' : '\n');
  return text;
}

/* Names between slashes, none of them hidden, "." or "..". */
static bool lies_below(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  for (;;) {
    const size_t n = strspn(name, letters);
    if (!n || *name == '.') return false;
    if (!name[n]) return true;
    if (name[n] != '/') return false;
    name += n + 1;
  }
}

qp_status qp_codebook_read(const char *spec_file, const char *name, unsigned entries, unsigned dim,
                           uint16_t **out, qp_error *err) {
  char path[1024];
  if (!lies_below(name)) {
    return qp_fail(
        err, QP_E_ARG,
        "field 'file': '%.80s' should be a file (letters, digits, '.', '_', '-', '/') in "
        "or below the folder of %s",
        name, spec_file);
  }
  const char *slash = strrchr(spec_file, '/');
  const int folder = slash ? (int)(slash - spec_file + 1) : 0;
  if (snprintf(path, sizeof path, "%.*s%s", folder, spec_file, name) >= (int)sizeof path)
    return qp_fail(err, QP_E_ARG, "%s: the path is too long", spec_file);
  size_t bytes;
  if (!strncmp(spec_file, "lua/", 4)) {
    const char *text;
    qp_status status = qp_resource_read(path, &text, &bytes, err);
    return status ? status : qp_codebook_parse(path, text, bytes, entries, dim, out, err);
  }
  char *text = NULL;
  qp_status status = qp_file_read(path, MAX_BYTES, &text, &bytes, err);
  if (status) return status;
  status = qp_codebook_parse(path, text, bytes, entries, dim, out, err);
  free(text);
  return status;
}
