/* SPDX-License-Identifier: MIT */
/* Runs k-means on N(0, I): it draws quasi-random points and does Lloyd's rounds over strips of
   sorted centers. */
#include "gen/spec/kmeans.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/gaussian.h"
#include "gen/base/random.h"
#include "gen/base/thread.h"

enum {
  MAX_DIM = 8,
  MAX_STRIPS = 256,
  NEIGHBOURS = 16,      /* of a center that are kept */
  NEIGHBOUR_ROUNDS = 4, /* for so many rounds */
  THREADS = 4,          /* at most */
  THREAD_POINTS = 8192  /* at least */
};

/* Coordinate k of point i is the fraction of i / g^(k+1), g^(dim+1) = g + 1 (Roberts 2018), shifted
   by the seed; as 64-bit fractions, so that it is exact. */
static void quasi_steps(unsigned dim, uint64_t *step) {
  double g = 1.5;
  for (int round = 0; round < 60; round++) {
    double p = 1;
    for (unsigned d = 0; d < dim; d++) p *= g;
    g -= (p * g - g - 1) / ((dim + 1) * p - 1);
  }
  double a = 1;
  for (unsigned k = 0; k < dim; k++) {
    a /= g;
    step[k] = (uint64_t)(a * 0x1p63) * 2;
  }
}

static double quasi(const uint64_t *step, uint64_t i, unsigned k, uint64_t seed) {
  return qp_random_unit(step[k] * (i + 1) + qp_random_mix(seed * 8 + k));
}

typedef struct ranked {
  double key;
  unsigned center;
} ranked;

typedef struct cloud {
  unsigned n, dim, entries;
  double *point, *weight; /* [n][dim], [n] */
  double *center;         /* [entries][dim] */
  unsigned *nearest;      /* [n]: numbers of centers */
  unsigned *order;        /* Centers lie in strips by their first coordinate, in each strip by the
                             second. */
  unsigned *place;        /* where each stands in that order */
  ranked *rank;           /* [entries]: for sorting */
  double *sorted;         /* [entries][dim]: the centers in that order */
  unsigned strips, strip[MAX_STRIPS + 1]; /* strip s is strip[s] .. strip[s + 1] of the order */
  double edge[MAX_STRIPS];                /* The least first coordinate of each strip. */
  unsigned *neighbour;                    /* [entries][NEIGHBOURS]: the nearest other centers */
} cloud;

static double distance(const double *a, const double *b, unsigned dim) {
  double s = 0;
  for (unsigned k = 0; k < dim; k++) s += (a[k] - b[k]) * (a[k] - b[k]);
  return s;
}

static int by_key(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->center < y->center ? -1 : x->center > y->center;
}

/* Order the centers order[from .. end) by one coordinate. */
static void sort_by(cloud *c, unsigned axis, unsigned from, unsigned end) {
  for (unsigned i = from; i < end; i++)
    c->rank[i] = (ranked){c->center[(size_t)c->order[i] * c->dim + axis], c->order[i]};
  qsort(c->rank + from, end - from, sizeof *c->rank, by_key);
  for (unsigned i = from; i < end; i++) c->order[i] = c->rank[i].center;
}

/* Compute the squared distance from p to center number 'at' of those in order of their first
   coordinate. */
static inline double to_sorted(const cloud *c, const double *p, unsigned at) {
  const double *q = c->sorted + (size_t)at * c->dim;
  if (c->dim != 2) return distance(p, q, c->dim);
  double x = q[0] - p[0], y = q[1] - p[1];
  return x * x + y * y;
}

/* Search one strip: outwards along the second coordinate, from where the point would stand. */
static void search_strip(const cloud *c, const double *p, unsigned strip, double *least,
                         unsigned *best) {
  unsigned from = c->strip[strip], end = c->strip[strip + 1], lo = from, hi = end;
  while (lo < hi) {
    unsigned mid = (lo + hi) / 2;
    if (c->sorted[(size_t)mid * c->dim + 1] < p[1])
      lo = mid + 1;
    else
      hi = mid;
  }
  for (unsigned at = lo; at < end; at++) {
    double y = c->sorted[(size_t)at * c->dim + 1] - p[1];
    if (y * y > *least) break;
    double d = to_sorted(c, p, at);
    if (d < *least) *least = d, *best = at;
  }
  for (unsigned at = lo; at-- > from;) {
    double y = c->sorted[(size_t)at * c->dim + 1] - p[1];
    if (y * y > *least) break;
    double d = to_sorted(c, p, at);
    if (d < *least) *least = d, *best = at;
  }
}

/* Find the nearest center of a point: its last nearest is the first guess, then strips are searched
   outwards from the guess's until a strip's edge is farther than the best.  Numbers are those of
   the sorted order. */
static unsigned nearest(const cloud *c, const double *p, unsigned guess) {
  unsigned best = guess, middle = (unsigned)((uint64_t)guess * c->strips / c->entries);
  double least = to_sorted(c, p, guess);
  for (unsigned s = middle; s < c->strips; s++) {
    double x = c->edge[s] - p[0]; /* The least first coordinate in the strip. */
    if (s > middle && x > 0 && x * x > least) break;
    search_strip(c, p, s, &least, &best);
  }
  for (unsigned s = middle; s-- > 0;) {
    double x = c->edge[s + 1] - p[0]; /* no coordinate in strip s is larger */
    if (x < 0 && x * x > least) break;
    search_strip(c, p, s, &least, &best);
  }
  return best;
}

/* Centers into strips of equal number by their first coordinate, each strip by the second. */
static void sort_centers(cloud *c) {
  for (unsigned i = 0; i < c->entries; i++) c->order[i] = i;
  sort_by(c, 0, 0, c->entries);
  for (unsigned s = 0; s < c->strips; s++) {
    c->edge[s] = c->center[(size_t)c->order[c->strip[s]] * c->dim];
    sort_by(c, 1, c->strip[s], c->strip[s + 1]);
  }
  for (unsigned i = 0; i < c->entries; i++) {
    memcpy(c->sorted + (size_t)i * c->dim, c->center + (size_t)c->order[i] * c->dim,
           c->dim * sizeof *c->sorted);
    c->place[c->order[i]] = i;
  }
}

/* Find the nearest other centers of each, by looking at all. */
static void find_neighbours(cloud *c) {
  for (unsigned e = 0; e < c->entries; e++) {
    unsigned *list = c->neighbour + (size_t)e * NEIGHBOURS, n = 0;
    double at[NEIGHBOURS];
    for (unsigned o = 0; o < c->entries; o++) {
      const double d =
          distance(c->center + (size_t)e * c->dim, c->center + (size_t)o * c->dim, c->dim);
      if (o == e || (n == NEIGHBOURS && d >= at[n - 1])) continue;
      unsigned i = n < NEIGHBOURS ? n++ : n - 1;
      for (; i > 0 && at[i - 1] > d; i--) at[i] = at[i - 1], list[i] = list[i - 1];
      at[i] = d;
      list[i] = o;
    }
    while (n < NEIGHBOURS) list[n++] = e; /* few centers */
  }
}

/* From center to nearer neighbour until none is nearer: the nearest one, but for rare corners. */
static unsigned descend(const cloud *c, const double *p, unsigned guess) {
  unsigned best = guess, from;
  double least = distance(p, c->center + (size_t)best * c->dim, c->dim);
  do {
    from = best;
    const unsigned *list = c->neighbour + (size_t)from * NEIGHBOURS;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
      const double d = distance(p, c->center + (size_t)list[i] * c->dim, c->dim);
      if (d < least) least = d, best = list[i];
    }
  } while (best != from);
  return best;
}

/* The points first .. end, which one thread takes. */
typedef struct slice {
  cloud *c;
  unsigned first, end;
  bool exact, moved;
} slice;

static void *find_nearest(void *argument) {
  slice *s = argument;
  cloud *c = s->c; /* cppcheck-suppress uninitvar ; all of it is set before a thread has it */
  for (unsigned i = s->first; i < s->end; i++) {
    const double *p = c->point + (size_t)i * c->dim;
    const unsigned was = c->nearest[i];
    unsigned e = c->dim == 2 ? descend(c, p, was) : was;
    if (s->exact) e = c->order[nearest(c, p, c->place[e])];
    s->moved |= e != was;
    c->nearest[i] = e;
  }
  return NULL;
}

/* Find the nearest center of each point, by several threads; did any change? */
static bool assign(cloud *c, bool exact) {
  pthread_t thread[THREADS];
  slice s[THREADS];
  bool started[THREADS] = {false}, moved = false;
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned n = cpus < 1 ? 1 : cpus > THREADS ? THREADS : (unsigned)cpus;
  while (n > 1 && c->n / n < THREAD_POINTS) n--;
  for (unsigned i = 0; i < n; i++) {
    s[i] = (slice){.c = c,
                   .first = (unsigned)((uint64_t)c->n * i / n),
                   .end = (unsigned)((uint64_t)c->n * (i + 1) / n),
                   .exact = exact};
    started[i] = i > 0 && qp_thread_start(&thread[i], find_nearest, &s[i]);
    if (i > 0 && !started[i]) find_nearest(&s[i]);
  }
  find_nearest(&s[0]);
  for (unsigned i = 0; i < n; i++) {
    if (started[i]) qp_thread_join(thread[i]);
    moved |= s[i].moved;
  }
  return moved;
}

/* Move each center 'stride' times the way to the mean of its points; false: no point changed sides.
   Exact searches go through the strips, others through the neighbours. */
static bool lloyd_round(cloud *c, double stride, bool exact, double *sum, double *mass) {
  if (exact) sort_centers(c);
  const bool moved = assign(c, exact);
  memset(sum, 0, sizeof *sum * c->entries * c->dim);
  memset(mass, 0, sizeof *mass * c->entries);
  for (unsigned i = 0; i < c->n; i++) {
    const double *p = c->point + (size_t)i * c->dim;
    const unsigned e = c->nearest[i];
    mass[e] += c->weight[i];
    for (unsigned k = 0; k < c->dim; k++) sum[(size_t)e * c->dim + k] += c->weight[i] * p[k];
  }
  for (unsigned e = 0; e < c->entries; e++) {
    for (unsigned k = 0; k < c->dim && mass[e] > 0; k++) {
      double *at = &c->center[(size_t)e * c->dim + k];
      *at += stride * (sum[(size_t)e * c->dim + k] / mass[e] - *at);
    }
  }
  return moved;
}

/*
** First centers in the plane: a sunflower, radii at equal steps of N(0, variance I)'s measure,
** angles the golden angle apart (turned by the seed): closer to the hexagons of the best quantizer
** than a lattice would start.
*/
static void sunflower(cloud *c, double variance, uint64_t seed) {
  const double turn_x = -0.73736887807831985, turn_y = 0.67549029426152364; /* pi (3 - sqrt 5) */
  double x = 1, y = 0;
  for (uint64_t i = 0; i < seed % 64; i++) {
    double t = x * turn_x - y * turn_y;
    y = x * turn_y + y * turn_x;
    x = t;
  }
  for (unsigned e = 0; e < c->entries; e++) {
    /* This finds the radius with measure u inside, 1 - exp(-r^2 / 2) = u, by Newton's method on r^2
       / 2. */
    double rest = 1 - (e + 0.5) / c->entries, h = 0;
    for (unsigned round = 0; round < 60; round++) h += 1 - rest / qp_gaussian_exp(-h);
    double r = sqrt(2 * variance * h);
    c->center[2 * (size_t)e] = r * x;
    c->center[2 * (size_t)e + 1] = r * y;
    double t = x * turn_x - y * turn_y, norm;
    y = x * turn_y + y * turn_x;
    norm = sqrt(t * t + y * y); /* rounding must not add up */
    x = t / norm;
    y /= norm;
  }
}

/* Points and first centers with density pdf^(dim/(dim+2)): N(0, (dim+2)/dim I); weights give pdf
   back. */
static void scatter(cloud *c, uint64_t seed) {
  double variance = (c->dim + 2.0) / c->dim, spread = sqrt(variance);
  uint64_t step[MAX_DIM];
  quasi_steps(c->dim, step);
  for (unsigned i = 0; i < c->n; i++) {
    double square = 0;
    for (unsigned k = 0; k < c->dim; k++) {
      double u = quasi(step, i, k, seed), x = spread * qp_gaussian_quantile(u);
      c->point[(size_t)i * c->dim + k] = x;
      square += x * x;
    }
    c->weight[i] = qp_gaussian_exp(-square / 2 * (1 - 1 / variance));
  }
  if (c->dim == 2) {
    sunflower(c, variance, seed);
    return;
  }
  for (unsigned e = 0; e < c->entries; e++)
    for (unsigned k = 0; k < c->dim; k++)
      c->center[(size_t)e * c->dim + k] =
          spread * qp_gaussian_quantile(quasi(step, e, k, seed + 1));
}

/*
** There are three phases: few points for each center find the shape, in many rounds; more of them
** find the edges; many find the means (those of n points cost 1/n of the distortion).  Means lag
** behind where cells slide along each other, so that strides longer than Lloyd's get there sooner.
*/
enum { PHASES = 3 };
static const struct {
  unsigned points, rounds;
  double stride;
} phases[PHASES] = {{16, 400, 1.9}, {64, 60, 1.9}, {384, 5, 1}};

/* In more than two dimensions neighbours are too many: fewer points, exact searches. */
static unsigned points_of(unsigned dim, unsigned phase) {
  return dim == 2 ? phases[phase].points : 32;
}

static void run_phase(cloud *c, unsigned phase, double *sum, double *mass) {
  const bool flat = c->dim == 2;
  unsigned rounds = flat ? phases[phase].rounds : phase ? 0 : 40;
  if (c->entries > 2048 && rounds > 40) rounds /= 3; /* They start nearer to the best. */
  c->n = c->entries * points_of(c->dim, phase);
  if (c->n < 16384) c->n = 16384;
  for (unsigned round = 0; round < rounds; round++) {
    const bool exact = !flat || !round;
    if (flat && round % NEIGHBOUR_ROUNDS == 0) find_neighbours(c);
    if (!lloyd_round(c, flat ? phases[phase].stride : 1, exact, sum, mass)) return;
  }
}

qp_status qp_kmeans(unsigned entries, unsigned dim, uint64_t seed, double *center, qp_error *err) {
  cloud c = {.n = entries * points_of(dim, PHASES - 1), .dim = dim, .entries = entries};
  c.center = center;
  if (c.n < 16384) c.n = 16384;
  c.strips = 1;
  while (c.strips < MAX_STRIPS && (c.strips + 1) * (c.strips + 1) <= entries) c.strips++;
  for (unsigned s = 0; s <= c.strips; s++)
    c.strip[s] = (unsigned)((uint64_t)entries * s / c.strips);
  c.point = malloc(sizeof *c.point * c.n * dim);
  c.weight = malloc(sizeof *c.weight * c.n);
  c.nearest = calloc(c.n, sizeof *c.nearest);
  c.order = malloc(sizeof *c.order * entries);
  c.place = malloc(sizeof *c.place * entries);
  c.rank = malloc(sizeof *c.rank * entries);
  c.sorted = malloc(sizeof *c.sorted * entries * dim);
  c.neighbour = malloc(sizeof *c.neighbour * entries * NEIGHBOURS);
  double *sum = malloc(sizeof *sum * entries * dim), *mass = malloc(sizeof *mass * entries);
  bool ok = c.point && c.weight && c.nearest && c.order && c.place && c.rank && c.sorted &&
            c.neighbour && sum && mass;
  if (ok) scatter(&c, seed);
  for (unsigned phase = 0; ok && phase < PHASES; phase++) run_phase(&c, phase, sum, mass);
  free(c.point);
  free(c.weight);
  free(c.nearest);
  free(c.order);
  free(c.place);
  free(c.rank);
  free(c.sorted);
  free(c.neighbour);
  free(sum);
  free(mass);
  return ok ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for k-means of %u entries", entries);
}
