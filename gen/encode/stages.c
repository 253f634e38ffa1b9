/* SPDX-License-Identifier: MIT */
/* Codes of several stages whose vectors add up. */
#include "gen/encode/stages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/base/simd.h"
#include "runtime/half.h"

enum {
  MAX_SURVIVORS = QP_STAGE_SURVIVORS,
  TRIED = 64, /* random codes for each place where a run may end */
  LANES = 16
};
#define MARGIN        0x1p-15F /* of squares: more than what distances are off by their rounding */
#define MOST_ROUNDING 0x1p-8   /* of a sum of fp16 numbers, against the sum of their sizes */

/* ---- Where runs end ---- */

static void decode(const qp_quantizer *q, uint32_t code, float *out) {
  uint16_t half[QP_NEAREST_DIM];
  qp_quantizer_decode(q, code, NULL, NULL, half);
  for (unsigned e = 0; e < q->dim; e++) out[e] = qp_half_to_float(half[e]);
}

/* Does decode add what the bits below 'at' give to what those from there on do? */
static bool adds_up(const qp_quantizer *q, unsigned at, const float *base) {
  qp_random random = {.state = at};
  const uint32_t low = (1u << at) - 1, all = q->window < 32 ? (1u << q->window) - 1 : ~0u;
  for (unsigned i = 0; i < TRIED; i++) {
    const uint32_t code = (uint32_t)qp_random_next(&random) & all;
    float whole[QP_NEAREST_DIM], a[QP_NEAREST_DIM], b[QP_NEAREST_DIM];
    decode(q, code, whole);
    decode(q, code & low, a);
    decode(q, code & ~low, b);
    for (unsigned e = 0; e < q->dim; e++) {
      const double size = fabs((double)a[e]) + fabs((double)b[e]) + fabs((double)base[e]);
      const double off = (double)a[e] + (double)b[e] - (double)base[e] - (double)whole[e];
      if (fabs(off) > MOST_ROUNDING * size) return false;
    }
  }
  return true;
}

/* False: no runs, or more than are searched. */
static bool find_runs(qp_stages *s) {
  const qp_quantizer *q = s->quantizer;
  unsigned from = 0;
  for (unsigned at = 1; at <= q->window; at++) {
    if (at < q->window && !adds_up(q, at, s->base)) continue;
    if (s->count == QP_MAX_STAGES || at - from > QP_STAGE_BITS) return false;
    s->stage[s->count].shift = from;
    s->stage[s->count++].bits = at - from;
    from = at;
  }
  return s->count > 1;
}

static float square_of(const float *x, unsigned n) {
  float sum = 0;
  for (unsigned e = 0; e < n; e++) sum += x[e] * x[e];
  return sum;
}

/* What a run of bits adds; its power is the sum of squares. */
static bool fill_stage(qp_stages *s, unsigned k, double *power, qp_error *err) {
  const unsigned count = 1u << s->stage[k].bits, dim = s->dim;
  float *value = s->stage[k].value = malloc(sizeof *value * count * dim);
  if (!value) return false;
  *power = 0;
  for (uint32_t c = 0; c < count; c++) {
    float *v = value + (size_t)c * dim;
    decode(s->quantizer, c << s->stage[k].shift, v);
    for (unsigned e = 0; e < dim; e++) v[e] -= s->base[e];
    const float square = square_of(v, dim);
    *power += (double)square / count;
    s->stage[k].most = square > s->stage[k].most ? square : s->stage[k].most;
  }
  return !qp_codewords_make(&s->stage[k].words, count, dim, value, err);
}

qp_status qp_stages_make(qp_stages *out, const qp_quantizer *q, qp_error *err) {
  qp_stages s = {.quantizer = q, .dim = q->dim};
  *out = (qp_stages){0};
  if (q->kind != QP_VECTOR || q->fields || q->dim > QP_NEAREST_DIM) return QP_OK;
  decode(q, 0, s.base);
  if (!find_runs(&s)) return QP_OK;
  double power[QP_MAX_STAGES];
  for (unsigned k = 0; k < s.count; k++)
    if (!fill_stage(&s, k, &power[k], err)) {
      qp_stages_free(&s);
      return qp_fail(err, QP_E_NOMEM, "no memory for the stages of %s", q->name);
    }
  for (unsigned k = 1; k < s.count; k++) /* the largest first; of equals in order */
    for (unsigned i = k; i > 0 && power[i] > power[i - 1]; i--) {
      const double p = power[i];
      power[i] = power[i - 1], power[i - 1] = p;
      const __typeof__(s.stage[0]) stage = s.stage[i];
      s.stage[i] = s.stage[i - 1], s.stage[i - 1] = stage;
    }
  *out = s;
  return QP_OK;
}

void qp_stages_free(qp_stages *s) {
  for (unsigned k = 0; k < QP_MAX_STAGES; k++) {
    qp_codewords_free(&s->stage[k].words);
    free(s->stage[k].value);
  }
  *s = (qp_stages){0};
}

size_t qp_stages_bytes(const qp_stages *s) {
  size_t bytes = 0;
  for (unsigned k = 0; k < s->count; k++)
    bytes += sizeof(float) * (2 * s->dim + 1) << s->stage[k].bits;
  return bytes;
}

size_t qp_stages_scratch(const qp_stages *s) {
  size_t most = 0;
  for (unsigned k = 0; k < s->count; k++)
    if (s->stage[k].words.tiles > most) most = s->stage[k].words.tiles;
  return most * LANES;
}

/* ---- Search ---- */

/* |t|^2 - 2 x t of every code, in fused multiply-adds. */
static void distances_plain(const qp_codewords *c, const float *x, float *out) {
  for (unsigned i = 0; i < c->tiles * LANES; i++) {
    const float *at = c->table + (size_t)(i / LANES) * (1 + c->dim) * LANES + i % LANES;
    out[i] = at[0];
    for (unsigned e = 0; e < c->dim; e++) out[i] = fmaf(x[e], at[(1 + e) * LANES], out[i]);
  }
}

#ifdef QP_X86
#include <immintrin.h>

QP_AVX2 static void distances_avx2(const qp_codewords *c, const float *x, float *out) {
  const float *at = c->table;
  for (unsigned tile = 0; tile < c->tiles; tile++, at += (1 + c->dim) * LANES) {
    __m256 a = _mm256_loadu_ps(at), b = _mm256_loadu_ps(at + 8);
    for (unsigned e = 0; e < c->dim; e++) {
      const __m256 v = _mm256_set1_ps(x[e]);
      a = _mm256_fmadd_ps(v, _mm256_loadu_ps(at + (1 + e) * LANES), a);
      b = _mm256_fmadd_ps(v, _mm256_loadu_ps(at + (1 + e) * LANES + 8), b);
    }
    _mm256_storeu_ps(out + (size_t)tile * LANES, a);
    _mm256_storeu_ps(out + (size_t)tile * LANES + 8, b);
  }
}
#endif

static void distances(const qp_codewords *c, const float *x, float *out) {
#ifdef QP_X86
  if (c->simd >= QP_SIMD_AVX2) {
    distances_avx2(c, x, out);
    return;
  }
#endif
  distances_plain(c, x, out);
}

typedef struct survivor {
  uint32_t code;
  float rest[QP_NEAREST_DIM]; /* the target less what was chosen */
} survivor;

unsigned qp_stages_width(const qp_stages *s, unsigned k) {
  const unsigned bits = k + 1 < s->count ? s->stage[k + 1].bits : 0;
  return bits <= 8 ? MAX_SURVIVORS : bits <= 12 ? MAX_SURVIVORS / 2 : MAX_SURVIVORS / 4;
}

/* A code of a stage behind survivor 'from' of the stage before. */
typedef struct candidate {
  float sum; /* of squares that it leaves */
  uint32_t from, code;
} candidate;

/* The survivors of a stage in the making: those with the least sums, ascending. */
typedef struct survivors {
  const qp_stages *stages;
  unsigned stage, width, count;
  const survivor *before; /* of the stage before, */
  unsigned from;          /* that in hand, */
  float square;           /* and its square, less what distances may be off by */
  candidate kept[MAX_SURVIVORS];
} survivors;

/* Of equal sums the lower numbers are the less: it does not matter in which order codes come. */
static bool is_less(const candidate *a, const candidate *b) {
  if (a->sum != b->sum) return a->sum < b->sum;
  return a->from != b->from ? a->from < b->from : a->code < b->code;
}

static const float *value_of(const qp_stages *s, unsigned k, uint32_t code) {
  return s->stage[k].value + (size_t)code * s->dim;
}

static float square_between(const float *a, const float *b, unsigned n) {
  float sum = 0;
  for (unsigned e = 0; e < n; e++) sum += (a[e] - b[e]) * (a[e] - b[e]);
  return sum;
}

static void keep(survivors *s, uint32_t code) {
  const candidate now = {.sum = square_between(s->before[s->from].rest,
                                               value_of(s->stages, s->stage, code), s->stages->dim),
                         .from = s->from,
                         .code = code};
  if (s->count == s->width && !is_less(&now, &s->kept[s->width - 1])) return;
  unsigned at = s->count < s->width ? s->count++ : s->width - 1;
  for (; at > 0 && is_less(&now, &s->kept[at - 1]); at--) s->kept[at] = s->kept[at - 1];
  s->kept[at] = now;
}

/* The distance (gen/encode/nearest.h) beyond which a code makes none of the least sums. */
static float wanted_of(const survivors *s) {
  return s->count < s->width ? INFINITY : s->kept[s->width - 1].sum - s->square;
}

/* A qp_codeword_visit. */
static float keep_some(void *arg, unsigned set, const float *distance, const uint32_t *code) {
  survivors *s = arg;
  for (; set; set &= set - 1) {
    const unsigned l = (unsigned)__builtin_ctz(set);
    if (!(distance[l] > wanted_of(s))) keep(s, code[l]);
  }
  return wanted_of(s);
}

static void look_at_all(survivors *s, const qp_codewords *words, float *scratch) {
  distances(words, s->before[s->from].rest, scratch);
  for (uint32_t c = 0; c < words->count; c++)
    if (!(scratch[c] > wanted_of(s))) keep(s, c);
}

/* Run one stage: it finds the best of all survivors with all codes. */
static void run_stage(const qp_stages *s, unsigned k, survivor *all, unsigned *count,
                      float *scratch) {
  const qp_codewords *words = &s->stage[k].words;
  survivor before[MAX_SURVIVORS];
  survivors out = {.stages = s, .stage = k, .width = qp_stages_width(s, k), .before = before};
  memcpy(before, all, sizeof before[0] * *count);
  for (; out.from < *count; out.from++) {
    const float *rest = before[out.from].rest, square = square_of(rest, s->dim);
    out.square = square - MARGIN * (square + s->stage[k].most);
    if (words->tree)
      qp_codeword_tree_search(words->tree, rest, keep_some, &out);
    else
      look_at_all(&out, words, scratch);
  }
  *count = out.count;
  for (unsigned i = 0; i < out.count; i++) {
    const candidate *c = &out.kept[i];
    const float *value = value_of(s, k, c->code);
    all[i].code = before[c->from].code | c->code << s->stage[k].shift;
    for (unsigned e = 0; e < s->dim; e++) all[i].rest[e] = before[c->from].rest[e] - value[e];
  }
}

static uint32_t search_one(const qp_stages *s, const float *target, float *scratch) {
  survivor kept[MAX_SURVIVORS] = {{.code = 0}};
  unsigned count = 1, last = s->count - 1;
  for (unsigned e = 0; e < s->dim; e++) kept[0].rest[e] = target[e] - s->base[e];
  for (unsigned k = 0; k < last; k++) run_stage(s, k, kept, &count, scratch);
  float rest[MAX_SURVIVORS * QP_NEAREST_DIM];
  uint32_t code[MAX_SURVIVORS];
  for (unsigned i = 0; i < count; i++)
    memcpy(rest + (size_t)i * s->dim, kept[i].rest, sizeof *rest * s->dim);
  qp_codewords_nearest(&s->stage[last].words, count, rest, code);
  unsigned best = 0;
  float least = INFINITY;
  for (unsigned i = 0; i < count; i++) {
    const float sum = square_between(kept[i].rest, value_of(s, last, code[i]), s->dim);
    if (sum < least) least = sum, best = i;
  }
  return kept[best].code | code[best] << s->stage[last].shift;
}

void qp_stages_search(const qp_stages *s, size_t n, const float *targets, float *scratch,
                      uint32_t *codes) {
  for (size_t i = 0; i < n; i++) codes[i] = search_one(s, targets + i * s->dim, scratch);
}
