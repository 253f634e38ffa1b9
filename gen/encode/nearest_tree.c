/* SPDX-License-Identifier: MIT */
/* A k-d tree whose nodes have sixteen children each, for vector instructions. */
#include "gen/encode/nearest_tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/simd.h"

enum { FAN = QP_TREE_TILE, MAX_LEVELS = 8, MAX_DIM = 16 };
/* Of |x|^2 and the largest |t|^2: more than what a distance or a box is off by its rounding. */
#define MARGIN 0x1p-15F

struct qp_codeword_tree {
  unsigned dim, tiles, levels;
  float most;     /* the largest |t|^2 */
  float *table;   /* [tiles][1 + dim][16]: |t|^2, -2 t; where there is no code infinite */
  uint32_t *code; /* [tiles][16] */
  /* Node i of level l is around nodes 16 i to 16 i + 15 of the level below, or tiles. */
  struct {
    unsigned nodes;
    float *box; /* [nodes][dim][2][16]: the least and the largest number in each child */
  } level[MAX_LEVELS];
  int simd;
};

/* ---- Making ---- */

typedef struct maker {
  const float *values;
  unsigned dim, axis;
  uint32_t *order;
} maker;

/* Codewords are told apart by their numbers along the axis, equal ones by their codes. */
static bool is_before(const maker *m, uint32_t a, uint32_t b) {
  const float x = m->values[(size_t)a * m->dim + m->axis];
  const float y = m->values[(size_t)b * m->dim + m->axis];
  return x < y || (!(y < x) && a < b);
}

/* Bring the k least of [from, end) to its beginning (Hoare's selection). */
static void select_least(const maker *m, unsigned from, unsigned end, unsigned k) {
  uint32_t *o = m->order;
  unsigned low = from, high = end - 1;
  const unsigned want = from + k;
  while (low < high) {
    const uint32_t pivot = o[low + (high - low) / 2];
    unsigned i = low, j = high;
    for (;; i++, j--) {
      while (is_before(m, o[i], pivot)) i++;
      while (is_before(m, pivot, o[j])) j--;
      if (i >= j) break;
      const uint32_t t = o[i];
      o[i] = o[j], o[j] = t;
    }
    if (want <= j)
      high = j;
    else
      low = j + 1;
  }
}

/* The axis along which the codewords of a range differ most. */
static unsigned widest(const maker *m, unsigned from, unsigned end) {
  unsigned best = 0;
  double most = -1;
  for (unsigned e = 0; e < m->dim; e++) {
    double sum = 0, square = 0;
    for (unsigned i = from; i < end; i++) {
      const double v = (double)m->values[(size_t)m->order[i] * m->dim + e];
      sum += v;
      square += v * v;
    }
    const double spread = square - sum * sum / (end - from);
    if (spread > most) most = spread, best = e;
  }
  return best;
}

/* Halve a range at a whole number of tiles, and its halves. */
static void split(maker *m, unsigned from, unsigned end) {
  while (end - from > FAN) {
    unsigned left = FAN;
    while (2 * left < end - from) left *= 2;
    m->axis = widest(m, from, end);
    select_least(m, from, end, left);
    split(m, from, from + left);
    from += left;
  }
}

static int compare_codes(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void fill_tiles(qp_codeword_tree *t, unsigned count, const float *values,
                       const uint32_t *order) {
  for (unsigned i = 0; i < t->tiles * FAN; i++) {
    float *at = t->table + (size_t)(i / FAN) * (1 + t->dim) * FAN + i % FAN;
    float square = i < count ? 0 : INFINITY;
    t->code[i] = i < count ? order[i] : 0;
    for (unsigned e = 0; e < t->dim; e++) {
      const float v = i < count ? values[(size_t)order[i] * t->dim + e] : 0;
      square = fmaf(v, v, square);
      at[(1 + e) * FAN] = -2 * v;
    }
    at[0] = square;
    if (i < count && square > t->most) t->most = square;
  }
}

/* The box around codewords [from, end) of the order. */
static void surround(unsigned dim, const float *values, const uint32_t *order, unsigned from,
                     unsigned end, float *box) {
  for (unsigned e = 0; e < dim; e++) {
    float low = INFINITY, high = -INFINITY;
    for (unsigned i = from; i < end; i++) {
      const float v = values[(size_t)order[i] * dim + e];
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    box[(2 * e) * FAN] = low;
    box[(2 * e + 1) * FAN] = high;
  }
}

static bool fill_level(qp_codeword_tree *t, unsigned l, unsigned count, const float *values,
                       const uint32_t *order) {
  const unsigned children = l ? t->level[l - 1].nodes : t->tiles;
  const unsigned each = (unsigned)FAN << (4 * l); /* codewords of a child */
  const unsigned nodes = t->level[l].nodes = (children + FAN - 1) / FAN;
  float *box = t->level[l].box = aligned_alloc(64, sizeof *box * 2 * (size_t)t->dim * FAN * nodes);
  if (!box) return false;
  for (unsigned i = 0; i < nodes * FAN; i++) {
    const size_t from = (size_t)i * each, end = from + each;
    surround(t->dim, values, order, (unsigned)(from < count ? from : count),
             (unsigned)(end < count ? end : count),
             box + (size_t)(i / FAN) * 2 * t->dim * FAN + i % FAN);
  }
  return true;
}

static bool fill(qp_codeword_tree *t, unsigned count, const float *values) {
  uint32_t *order = malloc(sizeof *order * count);
  t->table = aligned_alloc(64, sizeof *t->table * (size_t)t->tiles * (1 + t->dim) * FAN);
  t->code = aligned_alloc(64, sizeof *t->code * (size_t)t->tiles * FAN);
  bool ok = order && t->table && t->code;
  if (ok) {
    maker m = {.values = values, .dim = t->dim, .order = order};
    for (unsigned i = 0; i < count; i++) order[i] = i;
    split(&m, 0, count);
    for (unsigned i = 0; i < count; i += FAN)
      qsort(order + i, count - i < FAN ? count - i : FAN, sizeof *order, compare_codes);
    fill_tiles(t, count, values, order);
  }
  do ok = ok && fill_level(t, t->levels, count, values, order);
  while (ok && t->level[t->levels++].nodes > 1);
  free(order);
  return ok;
}

qp_status qp_codeword_tree_new(unsigned count, unsigned dim, const float *values,
                               qp_codeword_tree **out, qp_error *err) {
  qp_codeword_tree *t = calloc(1, sizeof *t);
  if (t) {
    *t = (qp_codeword_tree){.dim = dim, .tiles = (count + FAN - 1) / FAN, .simd = (int)qp_simd()};
    if (fill(t, count, values)) {
      *out = t;
      return QP_OK;
    }
  }
  qp_codeword_tree_free(t);
  return qp_fail(err, QP_E_NOMEM, "no memory for a tree of %u codes", count);
}

void qp_codeword_tree_free(qp_codeword_tree *t) {
  if (!t) return;
  for (unsigned l = 0; l < MAX_LEVELS; l++) free(t->level[l].box);
  free(t->table);
  free(t->code);
  free(t);
}

/* ---- Distances of sixteen ---- */

/* |t|^2 - 2 x.t of a tile; bits are set where it is not above what is wanted. */
static unsigned tile_plain(const float *tile, unsigned dim, const float *x, float wanted,
                           float *out) {
  unsigned set = 0;
  for (unsigned l = 0; l < FAN; l++) {
    out[l] = tile[l];
    for (unsigned e = 0; e < dim; e++) out[l] = fmaf(x[e], tile[(1 + e) * FAN + l], out[l]);
    set |= (unsigned)(out[l] <= wanted) << l;
  }
  return set;
}

/* The squared distances of x from boxes. */
static void boxes_plain(const float *box, unsigned dim, const float *x, float *out) {
  for (unsigned l = 0; l < FAN; l++) {
    out[l] = 0;
    for (unsigned e = 0; e < dim; e++) {
      const float below = box[2 * e * FAN + l] - x[e], above = x[e] - box[(2 * e + 1) * FAN + l];
      const float d = fmaxf(fmaxf(below, above), 0);
      out[l] = fmaf(d, d, out[l]);
    }
  }
}

#ifdef QP_X86
#include <immintrin.h>

QP_AVX2_INLINE unsigned some_tile_avx2(const float *tile, unsigned dim, const float *x,
                                       float wanted, float *out) {
  const __m256 most = _mm256_set1_ps(wanted);
  __m256 a = _mm256_load_ps(tile), b = _mm256_load_ps(tile + 8);
  for (unsigned e = 0; e < dim; e++) {
    const __m256 v = _mm256_broadcast_ss(x + e);
    a = _mm256_fmadd_ps(v, _mm256_load_ps(tile + (size_t)(1 + e) * FAN), a);
    b = _mm256_fmadd_ps(v, _mm256_load_ps(tile + (size_t)(1 + e) * FAN + 8), b);
  }
  _mm256_store_ps(out, a);
  _mm256_store_ps(out + 8, b);
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, most, _CMP_LE_OQ)) |
         (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(b, most, _CMP_LE_OQ)) << 8;
}

QP_AVX2 static unsigned tile_avx2(const float *tile, unsigned dim, const float *x, float wanted,
                                  float *out) {
  return dim == 8 ? some_tile_avx2(tile, 8, x, wanted, out)
                  : some_tile_avx2(tile, dim, x, wanted, out);
}

QP_AVX2_INLINE void some_boxes_avx2(const float *box, unsigned dim, const float *x, float *out) {
  __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (unsigned e = 0; e < dim; e++) {
    const __m256 v = _mm256_broadcast_ss(x + e);
    QP_UNROLL for (unsigned half = 0; half < 2; half++) {
      const float *at = box + (size_t)2 * e * FAN + 8 * half;
      const __m256 below = _mm256_sub_ps(_mm256_load_ps(at), v);
      const __m256 above = _mm256_sub_ps(v, _mm256_load_ps(at + FAN));
      const __m256 d = _mm256_max_ps(_mm256_max_ps(below, above), _mm256_setzero_ps());
      sum[half] = _mm256_fmadd_ps(d, d, sum[half]);
    }
  }
  _mm256_store_ps(out, sum[0]);
  _mm256_store_ps(out + 8, sum[1]);
}

QP_AVX2 static void boxes_avx2(const float *box, unsigned dim, const float *x, float *out) {
  if (dim == 8)
    some_boxes_avx2(box, 8, x, out);
  else
    some_boxes_avx2(box, dim, x, out);
}
#endif

static unsigned tile_of(const qp_codeword_tree *t, unsigned tile, const float *x, float wanted,
                        float *out) {
  const float *at = t->table + (size_t)tile * (1 + t->dim) * FAN;
#ifdef QP_X86
  if (t->simd >= QP_SIMD_AVX2) return tile_avx2(at, t->dim, x, wanted, out);
#endif
  return tile_plain(at, t->dim, x, wanted, out);
}

static void boxes_of(const qp_codeword_tree *t, unsigned level, unsigned node, const float *x,
                     float *out) {
  const float *at = t->level[level].box + (size_t)node * 2 * t->dim * FAN;
#ifdef QP_X86
  if (t->simd >= QP_SIMD_AVX2) {
    boxes_avx2(at, t->dim, x, out);
    return;
  }
#endif
  boxes_plain(at, t->dim, x, out);
}

/* ---- Search ---- */

typedef struct search {
  const qp_codeword_tree *tree;
  const float *x;
  float wanted; /* the largest distance that is */
  float slack;  /* |x|^2 and the margin */
  qp_codeword_visit *visit;
  void *arg;
} search;

static void look_into(search *s, unsigned level, unsigned node);

static void look_at_child(search *s, unsigned level, unsigned child) {
  if (level) {
    look_into(s, level - 1, child);
    return;
  }
  _Alignas(64) float distance[FAN];
  const unsigned set = tile_of(s->tree, child, s->x, s->wanted, distance);
  if (set) s->wanted = s->visit(s->arg, set, distance, s->tree->code + (size_t)child * FAN);
}

/* Boxes at a larger squared distance hold nothing that is wanted. */
static bool is_beyond(const search *s, float away) { return away > s->wanted + s->slack; }

/* Have what child i of a level holds brought to the cache. */
static void fetch(const qp_codeword_tree *t, unsigned level, unsigned child) {
  const size_t each = level ? 2 * (size_t)t->dim * FAN : (size_t)(1 + t->dim) * FAN;
  const float *at = (level ? t->level[level - 1].box : t->table) + child * each;
  for (size_t i = 0; i < each; i += FAN) __builtin_prefetch(at + i);
}

/* The nearest box first: what it holds rules many of the others out. */
static void look_into(search *s, unsigned level, unsigned node) {
  const qp_codeword_tree *t = s->tree;
  const unsigned below = level ? t->level[level - 1].nodes : t->tiles;
  const unsigned first = node * FAN, n = below - first < FAN ? below - first : FAN;
  _Alignas(64) float away[FAN];
  boxes_of(t, level, node, s->x, away);
  unsigned nearest = 0, other[FAN], others = 0;
  for (unsigned i = 1; i < n; i++) nearest = away[i] < away[nearest] ? i : nearest;
  if (is_beyond(s, away[nearest])) return;
  look_at_child(s, level, first + nearest);
  for (unsigned i = 0; i < n; i++) {
    if (i == nearest || is_beyond(s, away[i])) continue;
    fetch(t, level, first + i);
    other[others++] = i;
  }
  for (unsigned i = 0; i < others; i++)
    if (!is_beyond(s, away[other[i]])) look_at_child(s, level, first + other[i]);
}

void qp_codeword_tree_search(const qp_codeword_tree *t, const float *x, qp_codeword_visit *visit,
                             void *arg) {
  float square = 0;
  for (unsigned e = 0; e < t->dim; e++) square = fmaf(x[e], x[e], square);
  search s = {.tree = t,
              .x = x,
              .wanted = INFINITY,
              .slack = square + MARGIN * (square + t->most),
              .visit = visit,
              .arg = arg};
  look_into(&s, t->levels - 1, 0);
}

typedef struct nearest {
  float least;
  uint32_t code;
} nearest;

static float keep_nearest(void *arg, unsigned set, const float *distance, const uint32_t *code) {
  nearest *n = arg;
  for (; set; set &= set - 1) {
    const unsigned l = (unsigned)__builtin_ctz(set);
    if (distance[l] > n->least) continue;
    if (distance[l] < n->least || code[l] < n->code) n->code = code[l];
    n->least = distance[l];
  }
  return n->least;
}

uint32_t qp_codeword_tree_nearest(const qp_codeword_tree *t, const float *x) {
  nearest n = {.least = INFINITY, .code = UINT32_MAX};
  qp_codeword_tree_search(t, x, keep_nearest, &n);
  return n.code != UINT32_MAX ? n.code : 0;
}
