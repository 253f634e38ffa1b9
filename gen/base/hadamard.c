/* SPDX-License-Identifier: MIT */
/* Constructs Hadamard matrices, factors K into their orders, and transforms in double precision. */
#include "gen/base/hadamard.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ORDER = 428 };

/* ---- Constructions ---- */

static bool is_prime(unsigned n) {
  for (unsigned d = 2; d * d <= n; d++)
    if (n % d == 0) return false;
  return n >= 2;
}

/* Give the quadratic character of i modulo an odd prime q: 0, 1 or -1. */
static int character(int i, unsigned q) {
  unsigned a = (unsigned)((i % (int)q + (int)q) % (int)q);
  if (a == 0) return 0;
  for (unsigned x = 1; x <= q / 2; x++)
    if (x * x % q == a) return 1;
  return -1;
}

/* Build Paley's first construction, of order q + 1 for a prime q = 3 mod 4: I + S, where S is the
   bordered skew character matrix. */
static void paley1(unsigned q, int8_t *h) {
  unsigned n = q + 1;
  for (unsigned i = 0; i < n; i++)
    for (unsigned j = 0; j < n; j++) {
      int v = i == j ? 1 : i == 0 ? 1 : j == 0 ? -1 : character((int)j - (int)i, q);
      h[i * n + j] = (int8_t)v;
    }
}

/* Build Paley's second construction, of order 2 (q + 1) for a prime q = 1 mod 4: the symmetric
   conference matrix C with 0 -> (1 -1 / -1 -1), +-1 -> +-(1 1 / 1 -1). */
static void paley2(unsigned q, int8_t *h) {
  unsigned n = q + 1, order = 2 * n;
  static const int8_t zero[2][2] = {{1, -1}, {-1, -1}}, one[2][2] = {{1, 1}, {1, -1}};
  for (unsigned i = 0; i < n; i++)
    for (unsigned j = 0; j < n; j++) {
      int c = i == j ? 0 : i == 0 || j == 0 ? 1 : character((int)j - (int)i, q);
      for (unsigned a = 0; a < 2; a++)
        for (unsigned b = 0; b < 2; b++)
          h[(2 * i + a) * order + 2 * j + b] = (int8_t)(c == 0 ? zero[a][b] : c * one[a][b]);
    }
}

/*
** Williamson's construction (1944), order 4 n: four symmetric circulants A, B, C, D of order n with
** A^2 + B^2 + C^2 + D^2 = 4 n I.  First rows, entries 0 .. n/2 (the rest by symmetry); found by
** search over sequences that a subgroup of the units of Z_n leaves as they are.
*/
static const struct {
  unsigned n;
  const char *row[4];
} williamson[] = {
    {13, {"+-+++-+", "+-++---", "+-++---", "++---+-"}},
    {23, {"+--+-+-+++++", "+--++-+-+-++", "+++---++--++", "+--+--+++---"}},
    {25, {"+-++---++++++", "+-+---+---+++", "+-+--+-++--++", "++--+--++-+--"}},
    {43,
     {"+---++--++++-+-+++-++-", "++---++++-+--+--++----", "+++-+-++--+-+-++++-+--",
      "++-++++++----+-+--++-+"}},
};
enum { WILLIAMSON = sizeof williamson / sizeof *williamson };

/* Blocks of the array and their signs:  A B C D / -B A -D C / -C D A -B / -D -C B A. */
static const int array_block[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
static const int array_sign[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};

static void make_williamson(unsigned which, int8_t *h) {
  unsigned n = williamson[which].n, order = 4 * n;
  for (unsigned i = 0; i < order; i++)
    for (unsigned j = 0; j < order; j++) {
      unsigned d = (j % n + n - i % n) % n, at = d <= n / 2 ? d : n - d;
      const char *row = williamson[which].row[array_block[i / n][j / n]];
      h[i * order + j] = (int8_t)(array_sign[i / n][j / n] * (row[at] == '+' ? 1 : -1));
    }
}

/* Which construction gives an order; 0: none. */
enum construction { NONE, PALEY1, PALEY2, WILLIAMSON_FIRST };

static unsigned construction_of(unsigned n) {
  if (n < 4 || n > MAX_ORDER || n % 4) return NONE;
  if (is_prime(n - 1)) return PALEY1;
  if (is_prime(n / 2 - 1) && (n / 2 - 1) % 4 == 1) return PALEY2;
  for (unsigned w = 0; w < WILLIAMSON; w++)
    if (4 * williamson[w].n == n) return WILLIAMSON_FIRST + w;
  return NONE;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int8_t *made[MAX_ORDER / 4 + 1];

const int8_t *qp_hadamard_base(unsigned n) {
  unsigned how = construction_of(n);
  if (how == NONE) return NULL;
  pthread_mutex_lock(&lock);
  int8_t *h = made[n / 4];
  if (!h && (h = calloc(n, n))) {
    if (how == PALEY1)
      paley1(n - 1, h);
    else if (how == PALEY2)
      paley2(n / 2 - 1, h);
    else
      make_williamson(how - WILLIAMSON_FIRST, h);
    made[n / 4] = h;
  }
  pthread_mutex_unlock(&lock);
  return h;
}

/* ---- Factoring ---- */

/* A base order is worth having only where its odd part is not 1; Sylvester's does powers of two. */
static bool is_base(unsigned n) { return n > 4 && (n & (n - 1)) && construction_of(n) != NONE; }

typedef struct search {
  qp_hadamard best;
  unsigned best_cost; /* The additions an element takes: the sum of base orders, and the tail's
                         logarithm. */
} search;

/* Try bases not smaller than 'least' that multiply to rest's odd part times powers of two. */
static void factor(search *s, qp_hadamard *h, unsigned rest, unsigned least, unsigned cost) {
  if ((rest & (rest - 1)) == 0) {
    unsigned log2_tail = (unsigned)__builtin_ctz(rest);
    if (cost + log2_tail >= s->best_cost) return;
    s->best = *h;
    s->best.log2_tail = log2_tail;
    s->best_cost = cost + log2_tail;
    return;
  }
  if (h->bases == QP_HADAMARD_FACTORS) return;
  for (unsigned n = least; n <= MAX_ORDER && n <= rest; n += 4) {
    if (rest % n || !is_base(n) || cost + n >= s->best_cost) continue;
    h->base[h->bases++] = n;
    factor(s, h, rest / n, n, cost + n);
    h->base[--h->bases] = 0;
  }
}

void qp_hadamard_factor(unsigned order, qp_hadamard *out) {
  for (unsigned blocks = 1;; blocks++) { /* ends at blocks == order: blocks of one */
    if (order % blocks) continue;
    search s = {.best_cost = ~0u};
    qp_hadamard h = {.order = order, .blocks = blocks};
    factor(&s, &h, order / blocks, 12, 0);
    if (s.best_cost == ~0u) continue;
    *out = s.best;
    return;
  }
}

void qp_hadamard_factor_blocks(unsigned order, unsigned block, qp_hadamard *out) {
  qp_hadamard h;
  qp_hadamard_factor(block ? block : order, &h);
  h.blocks *= order / h.order;
  h.order = order;
  *out = h;
}

/* ---- The transform ---- */

enum {
  SOME = 4 /* of a base order, which is a multiple of it: neighbours that compilers vectorize */
};

/* Base matrices as numbers to multiply with, made once: element [j][i] is what input j counts for
   output i.  NULL: no memory. */
static const double *base_numbers(unsigned n, bool transposed) {
  static double *kept[2][MAX_ORDER / 4 + 1];
  const int8_t *b = qp_hadamard_base(n);
  pthread_mutex_lock(&lock);
  double *m = kept[transposed][n / 4];
  if (b && !m && (m = malloc((size_t)n * n * sizeof *m))) {
    for (size_t j = 0; j < n; j++)
      for (size_t i = 0; i < n; i++) m[j * n + i] = transposed ? b[j * n + i] : b[i * n + j];
    kept[transposed][n / 4] = m;
  }
  pthread_mutex_unlock(&lock);
  return m;
}

/* sum[i] += b[i] x, i < n */
static void add_times(double *restrict sum, const double *restrict b, unsigned n, double x) {
  for (unsigned i = 0; i < n; i += SOME)
    for (unsigned k = 0; k < SOME; k++) sum[i + k] += b[i + k] * x;
}

/* y[i] = sum_j B[i][j] x[j] over elements 'stride' apart, for all places of one factor, in the
   order of j. */
static void apply_base(double *y, unsigned count, unsigned n, unsigned stride, bool transposed) {
  const double *b = base_numbers(n, transposed);
  double sum[MAX_ORDER] = {0};
  for (unsigned start = 0; start < count; start++) {
    if (start / stride % n) continue; /* not the first of its n elements */
    for (unsigned i = 0; i < n; i++) sum[i] = 0;
    for (unsigned j = 0; j < n; j++) add_times(sum, b + (size_t)j * n, n, y[start + j * stride]);
    for (unsigned i = 0; i < n; i++) y[start + i * stride] = sum[i];
  }
}

/* a, b become a + b, a - b */
static void add_and_subtract(double *restrict a, double *restrict b, unsigned n) {
  unsigned i = 0;
  for (; i + SOME <= n; i += SOME) {
    double sum[SOME], difference[SOME];
    for (unsigned k = 0; k < SOME; k++) sum[k] = a[i + k] + b[i + k];
    for (unsigned k = 0; k < SOME; k++) difference[k] = a[i + k] - b[i + k];
    for (unsigned k = 0; k < SOME; k++) a[i + k] = sum[k];
    for (unsigned k = 0; k < SOME; k++) b[i + k] = difference[k];
  }
  for (; i < n; i++) {
    const double sum = a[i] + b[i];
    b[i] = a[i] - b[i];
    a[i] = sum;
  }
}

static void apply(const qp_hadamard *h, const double *x, double *y, bool transposed) {
  unsigned size = h->order / h->blocks;
  if (x != y) memcpy(y, x, h->order * sizeof *y);
  for (unsigned step = 1; step < 1u << h->log2_tail; step *= 2)
    for (unsigned i = 0; i < h->order; i += 2 * step) add_and_subtract(y + i, y + i + step, step);
  unsigned stride = 1u << h->log2_tail;
  for (unsigned f = h->bases; f-- > 0; stride *= h->base[f])
    apply_base(y, h->order, h->base[f], stride, transposed);
  double scale = 1 / sqrt((double)size);
  for (unsigned i = 0; i < h->order; i++) y[i] *= scale;
}

void qp_hadamard_apply(const qp_hadamard *h, const double *x, double *y) { apply(h, x, y, false); }

void qp_hadamard_apply_transposed(const qp_hadamard *h, const double *x, double *y) {
  apply(h, x, y, true);
}
