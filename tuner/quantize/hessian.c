/* SPDX-License-Identifier: MIT */
/* Reads Hessians of linears. */
#include "tuner/quantize/hessian.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/json.h"
#include "gen/base/rotate.h"

enum { SQUARE = 64 }; /* elements looked at together with those across the diagonal */
static const float most_moment = 1e30F; /* sums of products with larger ones may leave fp32 */

void qp_hessian_close(qp_hessian *h) {
  qp_safetensors_close(h->file);
  *h = (qp_hessian){0};
}

/* "[64][128]" */
static void write_shape(const qp_tensor *t, char *out, size_t size) {
  size_t n = 0;
  *out = 0;
  for (unsigned d = 0; d < t->dims && n < size; d++)
    n += (size_t)snprintf(out + n, size - n, "[%llu]", (unsigned long long)t->shape[d]);
}

static qp_status check(const qp_tensor *t, const char *path, unsigned rows, unsigned columns,
                       unsigned *groups, qp_error *err) {
  const bool several = t->dims == 3;
  const unsigned d = several ? 1 : 0;
  const uint64_t n = several ? t->shape[0] : 1;
  if (t->type != QP_TENSOR_F32 || t->dims != 2 + d || t->shape[d] != columns ||
      t->shape[d + 1] != columns) {
    char shape[256];
    write_shape(t, shape, sizeof shape);
    return qp_fail(
        err, QP_E_ARG, "%s: tensor '%s' is %s %s; F32, [%u][%u] or [groups][%u][%u], is needed",
        path, t->name, qp_tensor_type_name(t->type), shape, columns, columns, columns, columns);
  }
  if (n < 1 || n > QP_HESSIAN_GROUPS || (n > 1 && rows % (32 * n)))
    return qp_fail(err, QP_E_ARG,
                   "%s: tensor '%s' has %llu groups: 1 to %d that divide %u rows into multiples of "
                   "32 are needed",
                   path, t->name, (unsigned long long)n, QP_HESSIAN_GROUPS, rows);
  *groups = (unsigned)n;
  return QP_OK;
}

/*
** folder/index.json may name the file of a linear that shares its input, so its Hessian, with
** others. An index that cannot be read is an error when the file is opened: 'file' is then
** its own path.
*/
static bool file_by_index(const char *folder, const char *name, char file[4096]) {
  struct stat info;
  cJSON *tree;
  int n = snprintf(file, 4096, "%s/index.json", folder);
  if (n < 0 || n >= 4096 || stat(file, &info) != 0) return false;
  if (qp_json_read(file, &tree, NULL)) return true;
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(tree, "linears");
  const cJSON *entry = cJSON_GetObjectItemCaseSensitive(linears, name);
  const bool found = cJSON_IsString(entry) && !strchr(entry->valuestring, '/');
  if (found) n = snprintf(file, 4096, "%s/%s", folder, entry->valuestring);
  cJSON_Delete(tree);
  return found && n >= 0 && n < 4096;
}

/* Name the file of a linear; false: its path is too long. */
static bool file_of(const char *path, const char *name, char file[4096], bool *folder) {
  struct stat info;
  *folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  const int n = *folder ? snprintf(file, 4096, "%s/%s.safetensors", path, name)
                        : snprintf(file, 4096, "%s", path);
  if (n < 0 || n >= 4096) return false;
  char other[4096];
  if (*folder && stat(file, &info) != 0 && file_by_index(path, name, other))
    memcpy(file, other, sizeof other);
  return true;
}

uint64_t qp_hessian_stamp(const char *path, const char *name) {
  char file[4096];
  struct stat info;
  bool folder;
  if (!file_of(path, name, file, &folder) || stat(file, &info) != 0) return 0;
  const uint64_t facts[] = {(uint64_t)info.st_size, (uint64_t)info.st_mtim.tv_sec,
                            (uint64_t)info.st_mtim.tv_nsec};
  uint64_t hash = 1;
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
    hash = (hash ^ facts[i]) * 0x9e3779b97f4a7c15u;
  return hash ? hash : 1;
}

bool qp_hessian_is_same(const char *path, const char *a, const char *b) {
  char file[2][4096];
  bool folder;
  return file_of(path, a, file[0], &folder) && file_of(path, b, file[1], &folder) && folder &&
         !strcmp(file[0], file[1]);
}

qp_status qp_hessian_open(const char *path, const char *name, unsigned rows, unsigned columns,
                          qp_hessian *out, qp_error *err) {
  char file[4096], tensor[512];
  struct stat info;
  bool folder;
  if (!file_of(path, name, file, &folder))
    return qp_fail(err, QP_E_LIMIT, "%s: too long a path", path);
  qp_hessian h = {.columns = columns};
  if (folder && stat(file, &info) != 0) return *out = h, QP_OK;
  qp_status status = qp_safetensors_open(file, &h.file, err);
  if (status) return status;
  snprintf(tensor, sizeof tensor, "%s.hessian", name);
  h.tensor = qp_safetensors_find(h.file, tensor);
  if (!h.tensor) h.tensor = qp_safetensors_find(h.file, name);
  if (!h.tensor && folder && qp_safetensors_count(h.file) == 1)
    h.tensor = qp_safetensors_get(h.file, 0);
  if (h.tensor) status = check(h.tensor, file, rows, columns, &h.groups, err);
  const char *tokens = qp_safetensors_metadata(h.file, 0, "tokens");
  if (tokens && isdigit((unsigned char)*tokens)) h.samples = strtoull(tokens, NULL, 10);
  if (status) return qp_hessian_close(&h), status;
  *out = h;
  return QP_OK;
}

/* ---- What it must be, seen before work begins ---- */

/* Where a message says that an element is: "tensor 'NAME' [1][13]", or "[2][1][13]" of groups. */
static void write_place(const qp_hessian *h, size_t group, size_t i, size_t k, char out[512]) {
  char first[32] = "";
  if (h->tensor->dims == 3) snprintf(first, sizeof first, "[%zu]", group);
  snprintf(out, 512, "tensor '%.400s' %s[%zu][%zu]", h->tensor->name, first, i, k);
}

static float element(const qp_hessian *h, size_t group, size_t i, size_t k) {
  float x; /* the file may have put it on any byte */
  memcpy(&x, h->tensor->data + ((group * h->columns + i) * h->columns + k) * sizeof x, sizeof x);
  return x;
}

/* Read row 'row' of all groups, beneath each other. */
static qp_status check_row(const qp_hessian *h, size_t row, float *x, qp_error *err) {
  const size_t n = h->columns;
  char place[512];
  size_t i = 0;
  memcpy(x, h->tensor->data + row * n * sizeof *x, n * sizeof *x);
  while (i < n && fabsf(x[i]) <= most_moment) i++;
  if (i == n) return QP_OK;
  write_place(h, row / n, row % n, i, place);
  return qp_fail(err, QP_E_ARG, "%s is %g; moments should be finite and at most %g", place,
                 (double)x[i], (double)most_moment);
}

/* 'slack' is what elements may be off by. */
static qp_status check_diagonal(const qp_hessian *h, size_t group, double *slack, qp_error *err) {
  double mean = 0;
  char place[512];
  for (size_t i = 0; i < h->columns; i++)
    mean += fabs((double)element(h, group, i, i)) / h->columns;
  *slack = 1e-3 * mean;
  for (size_t i = 0; i < h->columns; i++) {
    const double x = (double)element(h, group, i, i);
    if (x >= -*slack) continue;
    write_place(h, group, i, i, place);
    return qp_fail(err, QP_E_ARG, "%s is %g; means of squares should not be negative", place, x);
  }
  return QP_OK;
}

/* Is the square that begins at row i and column k what lies across the diagonal? */
static qp_status check_square(const qp_hessian *h, size_t group, size_t i, size_t k, double slack,
                              qp_error *err) {
  char place[512];
  const size_t n = h->columns, rows = n - i < SQUARE ? n - i : SQUARE;
  for (size_t r = i; r < i + rows; r++)
    for (size_t c = k; c < k + SQUARE && c < r; c++) {
      const double below = (double)element(h, group, r, c), above = (double)element(h, group, c, r);
      if (fabs(below - above) <= slack) continue;
      write_place(h, group, r, c, place);
      return qp_fail(err, QP_E_ARG, "%s is %g, and [%zu][%zu] is %g; it should be symmetric", place,
                     below, c, r, above);
    }
  return QP_OK;
}

static qp_status check_group(const qp_hessian *h, size_t group, const _Atomic bool *cancel,
                             qp_error *err) {
  double slack;
  qp_status status = check_diagonal(h, group, &slack, err);
  for (size_t i = 0; i < h->columns && !status; i += SQUARE) {
    if (cancel && atomic_load(cancel)) status = qp_fail(err, QP_E_LIMIT, "stopped");
    for (size_t k = 0; k <= i && !status; k += SQUARE)
      status = check_square(h, group, i, k, slack, err);
  }
  return status;
}

qp_status qp_hessian_check(const qp_hessian *h, const _Atomic bool *cancel, qp_error *err) {
  const size_t rows = (size_t)h->groups * h->columns;
  if (!rows) return QP_OK;
  float *x = malloc(h->columns * sizeof *x);
  qp_status status = x ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for a row of a Hessian");
  for (size_t row = 0; row < rows && !status; row++) {
    if (cancel && atomic_load(cancel)) status = qp_fail(err, QP_E_LIMIT, "stopped");
    if (!status) status = check_row(h, row, x, err);
  }
  free(x);
  for (size_t g = 0; g < h->groups && !status; g++) status = check_group(h, g, cancel, err);
  qp_safetensors_release(h->file, h->tensor);
  return status;
}

/* Rotations spread over few elements what many differ by across the diagonal. */
static void make_symmetric(float *m, size_t n) {
  for (size_t i = 0; i < n; i += SQUARE)
    for (size_t k = 0; k <= i; k += SQUARE)
      for (size_t r = i; r < i + SQUARE && r < n; r++)
        for (size_t c = k; c < k + SQUARE && c < r; c++)
          m[r * n + c] = m[c * n + r] = 0.5F * m[r * n + c] + 0.5F * m[c * n + r];
}

qp_status qp_hessian_read(const qp_hessian *h, unsigned i, const qp_input *in, unsigned threads,
                          float **out, qp_error *err) {
  const size_t bytes = (size_t)h->columns * h->columns * sizeof(float);
  float *m = malloc(bytes);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for a Hessian of %u columns", h->columns);
  memcpy(m, h->tensor->data + i * bytes, bytes);
  qp_safetensors_release(h->file, h->tensor);
  make_symmetric(m, h->columns);
  qp_status status = in ? qp_rotate_moments(m, in, threads, err) : QP_OK;
  if (status) return free(m), status;
  *out = m;
  return QP_OK;
}
