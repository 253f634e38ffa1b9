/* SPDX-License-Identifier: MIT */
/* Makes codebooks for N(0,1) weights, as codebook.h describes. */
#include "gen/spec/codebook.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/cache_dir.h"
#include "gen/base/file.h"
#include "gen/base/gaussian.h"
#include "gen/base/random.h"
#include "gen/base/resource.h"
#include "gen/spec/kmeans.h"
#include "runtime/half.h"

enum { ALGORITHM = 4 }; /* bumped when results change */

typedef enum method { KMEANS, LLOYD_MAX, RANDOM } method;
static const char *const method_names[] = {"kmeans", "lloyd-max", "random"};

/* ---- Kept on disk: DIR/codebook/<method>-<entries>x<dim>-<seed>-<version> ---- */

typedef struct file_head {
  char magic[8];
  uint32_t version, method, entries, dim;
  uint64_t seed, checksum;
} file_head;

static file_head head_of(method m, unsigned entries, unsigned dim, uint64_t seed,
                         const uint16_t *data) {
  return (file_head){.magic = "qpalcb",
                     .version = ALGORITHM,
                     .method = m,
                     .entries = entries,
                     .dim = dim,
                     .seed = seed,
                     .checksum = XXH3_64bits(data, (size_t)entries * dim * sizeof *data)};
}

static void name_of(const file_head *h, char *name, size_t size) {
  snprintf(name, size, "%s-%ux%u-%llx-%d", method_names[h->method], h->entries, h->dim,
           (unsigned long long)h->seed, ALGORITHM);
}

/* The file's path; false where there is no cache. */
static bool path_of(const char *name, char *path, size_t size) {
  char dir[PATH_MAX];
  if (!qp_cache_dir(dir, sizeof dir)) return false;
  const int n = snprintf(path, size, "%s/codebook/%s", dir, name);
  return n > 0 && (size_t)n < size;
}

/* Take a codebook out of a file's bytes; false where they are not whole, or of another one. */
static bool take_file(const void *bytes, size_t size, const file_head *want, uint16_t *out) {
  const size_t n = (size_t)want->entries * want->dim * sizeof *out;
  if (size != sizeof *want + n) return false;
  uint16_t *data = malloc(n);
  if (!data) return false;
  memcpy(data, (const char *)bytes + sizeof *want, n);
  const file_head head = head_of((method)want->method, want->entries, want->dim, want->seed, data);
  const bool ok = !memcmp(bytes, &head, sizeof head);
  if (ok) memcpy(out, data, n);
  free(data);
  return ok;
}

static bool read_file(const char *path, const file_head *want, uint16_t *out) {
  const size_t size = sizeof *want + (size_t)want->entries * want->dim * sizeof *out;
  char *text = NULL;
  size_t bytes = 0;
  if (qp_file_read(path, size, &text, &bytes, NULL)) return false;
  const bool ok = take_file(text, bytes, want, out);
  free(text);
  return ok;
}

/* Those of the palette come with it: the file of the same name in lua/shipped/codebook. */
static bool read_shipped(const char *name, const file_head *want, uint16_t *out) {
  const char *text;
  size_t bytes;
  char path[128];
  snprintf(path, sizeof path, "lua/shipped/codebook/%s", name);
  return !qp_resource_read(path, &text, &bytes, NULL) && take_file(text, bytes, want, out);
}

/* A codebook that cannot be kept is computed again. */
static void write_file(const char *path, const file_head *head, const uint16_t *data) {
  size_t n = (size_t)head->entries * head->dim * sizeof *data;
  unsigned char *all = malloc(sizeof *head + n);
  if (!all) return;
  memcpy(all, head, sizeof *head);
  memcpy(all + sizeof *head, data, n);
  qp_cache_keep(path, all, sizeof *head + n);
  free(all);
}

/* ---- Lloyd-Max ---- */

static void lloyd_max(unsigned n, double *c) {
  double spread = sqrt(3.0); /* the best density of points is that of N(0,3) */
  for (unsigned i = 0; i < n; i++) c[i] = spread * qp_gaussian_quantile((i + 0.5) / n);
  for (unsigned round = 0; round < 20000; round++) {
    double moved = 0, phi = 0, pdf = 0;
    for (unsigned i = 0; i < n; i++) {
      double edge = i + 1 < n ? (c[i] + c[i + 1]) / 2 : 40;
      double phi1 = qp_gaussian_cumulative(edge), pdf1 = i + 1 < n ? qp_gaussian_density(edge) : 0;
      double mean = phi1 > phi ? (pdf - pdf1) / (phi1 - phi) : c[i];
      double by = mean > c[i] ? mean - c[i] : c[i] - mean;
      if (by > moved) moved = by;
      c[i] = mean;
      phi = phi1;
      pdf = pdf1;
    }
    if (moved < 1e-7) break;
  }
  for (unsigned i = 0; i < n / 2; i++) { /* exactly symmetric */
    double half = (c[n - 1 - i] - c[i]) / 2;
    c[i] = -half;
    c[n - 1 - i] = half;
  }
  if (n % 2) c[n / 2] = 0;
}

/* ---- Draws ---- */

/*
** Quantiles rounded to fp16, a million in some milliseconds, so that large codebooks need not be
** kept.  Between nodes a cubic with the quantile's own values and slopes at both (Hermite) is less
** than 'NEAR' off; where numbers so far below and above it round to one, that is the quantile's.
** Else, and at both ends, the quantile is computed.
*/
enum { NODES = 2048, ENDS = 16 };
#define NEAR 1e-6
static double node_value[NODES], node_slope[NODES]; /* slopes are by a node's distance */
static pthread_once_t nodes_once = PTHREAD_ONCE_INIT;

static void make_nodes(void) {
  for (int i = ENDS; i <= NODES - ENDS; i++) {
    node_value[i] = qp_gaussian_quantile((double)i / NODES);
    node_slope[i] = 1 / (qp_gaussian_density(node_value[i]) * NODES);
  }
}

/* Round a number from 2^-14 on, to nearest, ties to even. */
static uint16_t round_normal(double x) {
  enum { CUT = 42, BIAS = 1023 - 15 }; /* bits that fp16 has not; exponents are less by that */
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits += ((uint64_t)1 << (CUT - 1)) - 1 + (bits >> CUT & 1);
  return (uint16_t)((bits >> CUT) - ((uint64_t)BIAS << 10));
}

uint16_t qp_codebook_draw(double u) {
  pthread_once(&nodes_once, make_nodes);
  const double at = u * NODES;
  const int i = (int)at;
  if (i >= ENDS && i < NODES - ENDS) {
    const double t = at - i, a = node_value[i], b = node_value[i + 1];
    const double c = node_slope[i] - (b - a), d = node_slope[i + 1] - (b - a);
    const double x = a + t * ((b - a) + (1 - t) * (c * (1 - t) - d * t));
    const double size = x < 0 ? -x : x;
    if (size > 0x1p-10) {
      const uint16_t low = round_normal(size - NEAR);
      if (low == round_normal(size + NEAR)) return (uint16_t)(low | (x < 0) << 15);
    }
  }
  return qp_double_to_half(qp_gaussian_quantile(u));
}

static void draw_all(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out) {
  const uint64_t first = qp_random_mix(seed);
  for (size_t i = 0; i < (size_t)entries * dim; i++)
    out[i] = qp_codebook_draw(qp_random_unit(qp_random_mix(first + i)));
}

/* ---- The three methods ---- */

static qp_status compute(method m, unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                         qp_error *err) {
  qp_status status = QP_OK;
  double *v = malloc(sizeof *v * entries * dim);
  if (!v) return qp_fail(err, QP_E_NOMEM, "no memory for a codebook of %u entries", entries);
  if (m == KMEANS && dim > 1)
    status = qp_kmeans(entries, dim, seed, v, err);
  else
    lloyd_max(entries, v);
  for (size_t i = 0; !status && i < (size_t)entries * dim; i++) out[i] = qp_double_to_half(v[i]);
  free(v);
  return status;
}

static qp_status make(method m, unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                      qp_error *err) {
  char name[64], path[PATH_MAX];
  if (entries < 1 || entries > QP_CODEBOOK_MAX_ENTRIES)
    return qp_fail(err, QP_E_ARG, "field 'entries': %u; 1 to %d are possible", entries,
                   QP_CODEBOOK_MAX_ENTRIES);
  unsigned most = m == RANDOM ? QP_CODEBOOK_MAX_ENTRIES
                  : dim > 2   ? 1024
                              : 8192; /* seconds, not hours */
  if (entries > most)
    return qp_fail(err, QP_E_ARG, "field 'entries': %u; %s in %u dimensions takes at most %u",
                   entries, method_names[m], dim, most);
  if (dim < 1 || dim > QP_CODEBOOK_MAX_DIM)
    return qp_fail(err, QP_E_ARG, "field 'dim': %u; 1 to %d are possible", dim,
                   QP_CODEBOOK_MAX_DIM);
  if (m == RANDOM) return draw_all(entries, dim, seed, out), QP_OK;
  file_head head = {.method = m, .entries = entries, .dim = dim, .seed = seed};
  name_of(&head, name, sizeof name);
  if (read_shipped(name, &head, out)) return QP_OK;
  bool kept = path_of(name, path, sizeof path);
  if (kept && read_file(path, &head, out)) return QP_OK;
  const qp_status status = compute(m, entries, dim, seed, out, err);
  if (status) return status;
  head = head_of(m, entries, dim, seed, out);
  write_file(kept ? path : "", &head, out);
  return QP_OK;
}

qp_status qp_codebook_gaussian_kmeans(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err) {
  return make(KMEANS, entries, dim, seed, out, err);
}

qp_status qp_codebook_lloyd_max(unsigned entries, uint16_t *out, qp_error *err) {
  return make(LLOYD_MAX, entries, 1, 0, out, err);
}

qp_status qp_codebook_random_gaussian(unsigned entries, unsigned dim, uint64_t seed, uint16_t *out,
                                      qp_error *err) {
  return make(RANDOM, entries, dim, seed, out, err);
}
