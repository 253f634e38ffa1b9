/* SPDX-License-Identifier: MIT */
/* The best input scale of a quantizer on N(0,1), measured once and kept. */
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/cache_dir.h"
#include "gen/base/file.h"
#include "gen/base/resource.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"

/*
** With x scaled by f before it is coded and the result scaled back by the best factor, the
** distortion on a sample is  1 - (sum x v)^2 / (sum x^2 sum v^2).  It is smooth in f with one
** valley: a coarse scan brackets it, a parabola through three points, twice, ends it.  All points
** use the same sample, so that its noise cancels.
*/
enum {
  METHOD = 7, /* of what is kept: changed with the method */
  MOST_KEPT_BYTES = 64,
  SCAN_POINTS = 10,
  SCAN_WEIGHTS = 4096,
  FINE_WEIGHTS = 32768, /* weights for trellises */
  USUAL_WINDOW = 16,    /* each bit beyond doubles the time, so it halves the sample, */
  MOST_HALVINGS = 3,    /* at most so often */
  BEAM_AS_WINDOW = 17,  /* a narrow beam takes as long */
  NARROWER = 4,
  FINE_CODE_WEIGHTS = 1 << 20, /* weights for codes by themselves: they are quick, and high rates
                                  feel the tail */
  MOST_COMPARED_BITS = 32,     /* fewer where each weight is compared with so many codes */
  SEED = 20
};

typedef struct valley {
  const qp_coder *coder;  /* [parts]: a split has one scale for all of its parts */
  const double *fraction; /* [parts] */
  unsigned parts;
  const float *sample;
  size_t n;
  double power;
} valley;

static qp_status depth(const valley *v, double scale, double *out, qp_error *err) {
  double cross = 0, square = 0;
  for (unsigned p = 0; p < v->parts; p++) {
    double c, s;
    qp_status status = qp_sample_code(&v->coder[p], v->n, v->sample, scale, &c, &s, NULL, err);
    if (status) return status;
    cross += v->fraction[p] * c;
    square += v->fraction[p] * s;
  }
  *out = square > 0 ? 1 - cross * cross / (v->power * square) : 1;
  return QP_OK;
}

static void set_sample(valley *v, size_t n) {
  v->n = n;
  for (unsigned p = 0; p < v->parts; p++) v->n -= v->n % v->coder[p].quantizer->dim;
  v->power = 0;
  for (size_t i = 0; i < v->n; i++) v->power += (double)v->sample[i] * (double)v->sample[i];
}

/* The valley lies nearly where it lies with a narrower beam, if that is not too narrow: so much
   that paths are found only at smaller scales. */
static void narrow(qp_trellis *t) {
  const unsigned least = 1u << 20 >> t->step < 4096 ? 1u << 20 >> t->step : 4096;
  const unsigned width = t->width / NARROWER;
  qp_trellis_set_width(t, width > least ? width : least < t->width ? least : t->width);
}

/* Estimates it for codes in stages from some of them. */
static double stages_rms(const qp_coder *c) {
  enum { CODES = 4096 };
  const unsigned dim = c->quantizer->dim;
  double sum = 0;
  for (uint32_t i = 0; i < CODES; i++) {
    float own[QP_NEAREST_DIM];
    const uint32_t all = c->quantizer->window < 32 ? (1u << c->quantizer->window) - 1 : ~0u;
    const float *v = qp_coder_value(c, i * 0x9e3779b1 & all, own);
    for (unsigned e = 0; e < dim; e++) sum += (double)v[e] * (double)v[e];
  }
  return sqrt(sum / (CODES * dim));
}

/* Compute the root mean square of the states' values. */
static double table_rms(const qp_coder *c) {
  if (!c->values) return stages_rms(c);
  const size_t n = (size_t)c->states * c->quantizer->dim;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)c->values[i] * (double)c->values[i];
  return sqrt(sum / (double)n);
}

/* Find the lowest point of the parabola through three; where that is not between the outer two, the
   lowest of the three. */
static double parabola(const double x[3], const double y[3]) {
  double a = (x[1] - x[0]) * (y[1] - y[2]), b = (x[1] - x[2]) * (y[1] - y[0]);
  double at = a - b != 0 ? x[1] - 0.5 * ((x[1] - x[0]) * a - (x[1] - x[2]) * b) / (a - b) : x[1];
  if (at > x[0] && at < x[2]) return at;
  const unsigned lowest = y[0] < y[1] ? 0 : y[2] < y[1] ? 2 : 1;
  return x[lowest];
}

static unsigned halvings(const qp_coder *coder, unsigned parts) {
  unsigned most = 0;
  for (unsigned p = 0; p < parts; p++) {
    const unsigned window = coder[p].kind != QP_CODER_TRELLIS ? 0
                            : coder[p].trellis.width          ? BEAM_AS_WINDOW
                                                              : coder[p].quantizer->window;
    if (window > USUAL_WINDOW + most) most = window - USUAL_WINDOW;
  }
  return most < MOST_HALVINGS ? most : MOST_HALVINGS;
}

/* Weights of the fine sample, by what it takes to code one. */
static size_t fine_weights(const qp_coder *coder, unsigned fewer) {
  if (coder->kind != QP_CODER_CODES) return (size_t)FINE_WEIGHTS >> fewer;
  size_t n = FINE_CODE_WEIGHTS;
  if (coder->stages.count) return FINE_WEIGHTS;
  while (n * coder->states > (size_t)1 << MOST_COMPARED_BITS) n /= 2;
  return n;
}

static qp_status find_valley(const qp_coder *coder, const double *fraction, unsigned parts,
                             double *out, qp_error *err) {
  const unsigned fewer = halvings(coder, parts);
  const size_t fine = fine_weights(coder, fewer);
  float *sample = malloc(sizeof *sample * fine);
  if (!sample) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_sample_gaussian(SEED, fine, sample);
  valley v = {.coder = coder, .fraction = fraction, .parts = parts, .sample = sample};
  const double rms = table_rms(coder);
  double best = 0, least = INFINITY;
  qp_status status = QP_OK;
  set_sample(&v, (size_t)SCAN_WEIGHTS >> fewer);
  double scale = rms * 0.45;
  for (unsigned i = 0; !status && i < SCAN_POINTS; i++) {
    double d = INFINITY;
    status = depth(&v, scale, &d, err);
    if (d < least) least = d, best = scale;
    scale *= 1.125;
  }
  set_sample(&v, fine);
  /* Of a few weights coded by a beam depths are too rough for a valley as narrow as others'. */
  const double width[] = {0.12, coder->trellis.width ? 0.08 : 0.04};
  for (unsigned k = 0; !status && k < 2; k++) {
    double x[3] = {best * (1 - width[k]), best, best * (1 + width[k])}, y[3] = {0};
    for (unsigned i = 0; !status && i < 3; i++) status = depth(&v, x[i], &y[i], err);
    if (!status) best = parabola(x, y);
  }
  free(sample);
  if (!status) *out = best;
  return status;
}

/* ---- Kept in the cache directory, one small file a quantizer ---- */

static bool path_of(const qp_quantizer *q, char *path, size_t size) {
  char dir[PATH_MAX];
  if (!qp_cache_dir(dir, sizeof dir)) return false;
  const int n = snprintf(path, size, "%s/scale/%s-%d", dir, q->hash, METHOD);
  return n > 0 && (size_t)n < size;
}

static bool read_kept(const char *path, double *out) {
  char *line = NULL, *end = NULL;
  size_t bytes = 0;
  if (qp_file_read(path, MOST_KEPT_BYTES, &line, &bytes, NULL)) return false;
  const double scale = strtod(line, &end);
  const bool ok = !strcmp(end, "\n") && scale > 0 && scale <= 1e6;
  free(line);
  if (!ok) return false;
  *out = scale;
  return true;
}

/* Looks a quantizer of the palette up in what comes with qpal, lines of "HASH-METHOD SCALE". */
static bool read_shipped(const qp_quantizer *q, double *out) {
  const char *text = NULL;
  char key[sizeof q->hash + 16];
  size_t bytes = 0;
  snprintf(key, sizeof key, "%s-%d ", q->hash, METHOD);
  if (qp_resource_read(QP_SHIPPED_SCALES, &text, &bytes, NULL)) return false;
  for (const char *line = text; line && *line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, strlen(key)) != 0) continue;
    *out = strtod(line + strlen(key), NULL);
    return *out > 0 && *out <= 1e6;
  }
  return false;
}

qp_status qp_encode_input_scale(const qp_quantizer *q, double *out, qp_error *err) {
  char path[4096], line[64];
  if (read_shipped(q, out)) return QP_OK;
  const bool keep = path_of(q, path, sizeof path);
  if (keep && read_kept(path, out)) return QP_OK;
  qp_coder coder[QP_MAX_PARTS];
  double fraction[QP_MAX_PARTS] = {1};
  unsigned parts = 0;
  bool fitted = false; /* scales or codebooks of a part take it up */
  qp_status status = QP_OK;
  for (unsigned p = 0; !status && p < (q->kind == QP_SPLIT ? q->parts : 1); p++) {
    if (q->kind == QP_SPLIT) fraction[p] = q->part[p].fraction;
    status = qp_coder_make(&coder[p], q->kind == QP_SPLIT ? q->part[p].quantizer : q, err);
    if (status) break;
    parts++;
    if (coder[p].trellis.width) narrow(&coder[p].trellis);
    fitted |= coder[p].quantizer->fields || coder[p].kind == QP_CODER_ROWS;
  }
  assert(status || parts);
  if (!status && fitted)
    *out = 1;
  else if (!status)
    status = find_valley(coder, fraction, parts, out, err);
  for (unsigned p = 0; p < parts; p++) qp_coder_free(&coder[p]);
  if (status) return status;
  const int n = snprintf(line, sizeof line, "%a\n", *out);
  qp_cache_keep(keep ? path : "", line, n > 0 ? (size_t)n : 0);
  return QP_OK;
}
