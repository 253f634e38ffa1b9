/* SPDX-License-Identifier: MIT */
/*
** Dominance DP; see dominance.h.  A state is an undominated partial plan over the first items:  no
** other one has at most its ps, its bytes and its loss.  States are sorted by ps, then bytes, so
** each choice of the next item gives a sorted run; runs are merged and swept once.
*/
#include "tuner/plan/dominance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/list.h"
#include "tuner/base/output.h"
#include "tuner/plan/hull.h"

typedef struct state {
  int64_t ps, bytes;
  double loss, reduced;
  uint32_t parent, choice;
} state;

/* How a kept state came about. */
typedef struct step {
  uint32_t parent, choice;
} step;

/* Two limits: multipliers, and what the layers from one on take at them. */
enum { PRICES = 13 };
typedef struct rest {
  double bound; /* The sum of min (loss + lambda ps + mu bytes). */
  qp_knap_total total;
} rest;

typedef struct work {
  qp_dominance *d;
  unsigned items;
  unsigned *order;               /* items with several choices, coarse ones first: bounds of the
                                    rest are the tighter the finer it is */
  unsigned layers;               /* number of layers */
  int64_t *rest_ps, *rest_bytes; /* [layers + 1]: the least that layers i.. add */
  struct {
    double lambda, mu;
    rest *rest;     /* [layers + 1] */
    uint32_t *take; /* [layers]: the choice */
  } price[PRICES];
  bool one_limit, by_bytes;
  qp_hull hull;       /* one limit */
  uint32_t *take;     /* [layers] */
  double cutoff;      /* The loss of the best plan so far. */
  bool completed;     /* That plan is state 'at' after 'layer', and the rest at 'by'. */
  unsigned layer, by; /* 'by' is the index of a price, or steps on the hull. */
  size_t at;
  step **history; /* [layers] */
  state *now, *next, *spare;
  size_t count, capacity, next_capacity, spare_capacity;
  /* The sweep's staircase, with bytes rising and loss falling. */
  struct {
    int64_t bytes;
    double loss;
  } * stair;
  size_t stairs, stair_capacity;
} work;

static bool reserve(state **array, size_t *capacity, size_t count) {
  if (count <= *capacity) return true;
  size_t n = *capacity ? *capacity : 1024;
  while (n < count) n *= 2;
  state *more = realloc(*array, n * sizeof *more);
  if (!more) return false;
  *array = more;
  *capacity = n;
  return true;
}

static int compare_states(const state *a, const state *b) {
  if (a->ps != b->ps) return a->ps < b->ps ? -1 : 1;
  if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
  if (a->loss != b->loss) return a->loss < b->loss ? -1 : 1;
  return 0;
}

static void merge(const state *a, size_t n, const state *b, size_t m, state *to) {
  while (n && m) {
    if (compare_states(b, a) < 0)
      *to++ = *b++, m--;
    else
      *to++ = *a++, n--;
  }
  memcpy(to, n ? a : b, (n + m) * sizeof *to);
}

/* Sort 'runs' sorted pieces of w->next, which begin at start[0..runs]. */
static bool merge_runs(work *w, size_t *start, size_t runs) {
  if (!reserve(&w->spare, &w->spare_capacity, start[runs])) return false;
  while (runs > 1) {
    size_t made = 0;
    for (size_t i = 0; i < runs; i += 2) {
      size_t a = start[i], b = start[i + 1], c = i + 2 <= runs ? start[i + 2] : b;
      merge(w->next + a, b - a, w->next + b, c - b, w->spare + a);
      start[made++] = a;
    }
    start[made] = start[runs];
    runs = made;
    state *swap = w->next;
    w->next = w->spare, w->spare = swap;
    size_t capacity = w->next_capacity;
    w->next_capacity = w->spare_capacity, w->spare_capacity = capacity;
  }
  return true;
}

/* Does a state that came before, so with no more ps, dominate this one?  Else it
   becomes a stair. */
static bool dominated(work *w, const state *s, bool *failed) {
  size_t lo = 0, hi = w->stairs;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (w->stair[mid].bytes <= s->bytes)
      lo = mid + 1;
    else
      hi = mid;
  }
  if (lo && w->stair[lo - 1].loss <= s->loss) return true;
  if (lo && w->stair[lo - 1].bytes == s->bytes) lo--;
  size_t end = lo;
  while (end < w->stairs && w->stair[end].loss >= s->loss) end++;
  if (end == lo) {
    void *more = qp_list_room(w->stair, w->stairs, &w->stair_capacity, sizeof *w->stair);
    if (!more) return *failed = true, true;
    w->stair = more;
    memmove(w->stair + lo + 1, w->stair + lo, (w->stairs - lo) * sizeof *w->stair);
    w->stairs++;
  } else if (end > lo + 1) {
    memmove(w->stair + lo + 1, w->stair + end, (w->stairs - end) * sizeof *w->stair);
    w->stairs -= end - lo - 1;
  }
  w->stair[lo].bytes = s->bytes;
  w->stair[lo].loss = s->loss;
  return false;
}

/* Note a complete plan of this loss: state 'at' after 'layer', and the rest by the hull or a
   price. */
static void lower_cutoff(work *w, double loss, unsigned layer, size_t at, unsigned by) {
  if (loss >= w->cutoff) return;
  w->cutoff = loss;
  w->completed = true;
  w->layer = layer, w->by = by, w->at = at;
}

/* Can a state after 'layer' not lead to a plan below the cutoff?  If it can, it is completed. */
static bool weigh_by_hull(work *w, unsigned layer, const state *s, size_t at) {
  const qp_knap *k = w->d->k;
  int64_t left = w->by_bytes ? k->bytes_limit - s->bytes : k->ps_limit - s->ps;
  qp_hull_rest r = qp_hull_left(&w->hull, layer + 1, left);
  if (s->loss + r.bound >= w->cutoff + w->d->margin) return true;
  lower_cutoff(w, s->loss + r.loss, layer, at, r.steps);
  return false;
}

static bool weigh_by_prices(work *w, unsigned layer, const state *s, size_t at) {
  const qp_knap *k = w->d->k;
  for (unsigned j = 0; j < PRICES; j++) {
    double bound = s->loss + w->price[j].rest[layer + 1].bound;
    if (w->price[j].lambda > 0) bound -= w->price[j].lambda * (double)(k->ps_limit - s->ps);
    if (w->price[j].mu > 0) bound -= w->price[j].mu * (double)(k->bytes_limit - s->bytes);
    if (bound >= w->cutoff + w->d->margin) return true;
  }
  for (unsigned j = 0; j < PRICES; j++) {
    const qp_knap_total *t = &w->price[j].rest[layer + 1].total;
    if (s->ps + t->ps > k->ps_limit || s->bytes + t->bytes > k->bytes_limit) continue;
    lower_cutoff(w, s->loss + t->loss, layer, at, j);
  }
  return false;
}

static bool is_hopeless(work *w, unsigned layer, const state *s, size_t at) {
  return w->one_limit ? weigh_by_hull(w, layer, s, at) : weigh_by_prices(w, layer, s, at);
}

/* Keep what nothing dominates of w->next, as w->now, and how it came about. */
static qp_status sweep(work *w, unsigned layer, size_t count) {
  size_t kept = 0;
  bool failed = false;
  w->stairs = 0;
  for (size_t i = 0; i < count && !failed; i++)
    if (!dominated(w, &w->next[i], &failed) && !is_hopeless(w, layer, &w->next[i], kept))
      /* It is kept in the work. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
      w->next[kept++] = w->next[i];
  step *history = failed ? NULL : malloc((kept + 1) * sizeof *history);
  if (!history) return QP_E_NOMEM;
  for (size_t i = 0; i < kept; i++) history[i] = (step){w->next[i].parent, w->next[i].choice};
  w->history[layer] = history;
  state *swap = w->now;
  w->now = w->next, w->next = swap;
  size_t capacity = w->capacity;
  w->capacity = w->next_capacity, w->next_capacity = capacity;
  w->count = kept;
  if (kept > w->d->states) w->d->states = kept;
  return QP_OK;
}

/* Make the states that a choice leads to, within limits and delta, in order. */
static size_t extend(work *w, unsigned layer, const qp_knap_near *c, uint32_t choice, state *to) {
  const qp_dominance *d = w->d;
  int64_t most_ps = d->k->ps_limit, most_bytes = d->k->bytes_limit;
  if (most_ps != QP_KNAP_NO_LIMIT) most_ps -= w->rest_ps[layer + 1] + c->ps;
  if (most_bytes != QP_KNAP_NO_LIMIT) most_bytes -= w->rest_bytes[layer + 1] + c->bytes;
  double most_reduced = fmin(d->delta, w->cutoff - d->bound + d->margin) - c->reduced;
  size_t n = 0;
  for (size_t i = 0; i < w->count; i++) {
    const state *s = &w->now[i];
    if (s->ps > most_ps) break;
    if (s->bytes > most_bytes || s->reduced > most_reduced) continue;
    to[n++] = (state){s->ps + c->ps,           s->bytes + c->bytes, s->loss + c->loss,
                      s->reduced + c->reduced, (uint32_t)i,         choice};
  }
  return n;
}

static qp_status advance(work *w, unsigned layer) {
  const qp_near_list *list = &w->d->list[w->order[layer]];
  if (w->d->deadline_s > 0 && qp_seconds() > w->d->deadline_s) return QP_E_LIMIT;
  size_t *start = malloc((list->count + 2) * sizeof *start), n = 0, runs = 0;
  if (!start) return QP_E_NOMEM;
  qp_status status = QP_OK;
  for (size_t c = 0; c < list->count && !status; c++) {
    if (!reserve(&w->next, &w->next_capacity, n + w->count)) {
      status = QP_E_NOMEM;
      break;
    }
    start[runs] = n;
    size_t made = extend(w, layer, &list->near[c], (uint32_t)c, w->next + n);
    if (made) runs++;
    n += made;
    if (n > w->d->most_states) status = QP_E_LIMIT;
  }
  start[runs] = n;
  if (!status && runs && !merge_runs(w, start, runs)) status = QP_E_NOMEM;
  free(start);
  return status ? status : sweep(w, layer, n);
}

/* Set multipliers around those of the dual: along each of them, and along both. */
static void set_multipliers(work *w) {
  static const double around[PRICES][2] = {
      {1, 1},     {0.97, 0.97}, {1.03, 1.03}, {0.9, 0.9}, {1.1, 1.1}, {0.75, 0.75}, {1.35, 1.35},
      {0.9, 1.1}, {1.1, 0.9},   {0.5, 1.2},   {1.2, 0.5}, {0, 0},     {2.5, 2.5}};
  for (unsigned j = 0; j < PRICES; j++) {
    w->price[j].lambda = w->d->lambda * around[j][0];
    w->price[j].mu = w->d->mu * around[j][1];
  }
}

static qp_status prepare_rests(work *w) {
  set_multipliers(w);
  for (unsigned j = 0; j < PRICES; j++) {
    rest *to = w->price[j].rest = calloc((size_t)w->layers + 1, sizeof *to);
    uint32_t *take = w->price[j].take = calloc((size_t)w->layers + 1, sizeof *take);
    if (!to || !take) return QP_E_NOMEM;
    for (unsigned l = w->layers; l-- > 0;) {
      const qp_near_list *list = &w->d->list[w->order[l]];
      double least = INFINITY;
      for (size_t c = 0; c < list->count; c++) {
        const qp_knap_near *n = &list->near[c];
        double v = n->loss + w->price[j].lambda * (double)n->ps + w->price[j].mu * (double)n->bytes;
        if (v < least) least = v, take[l] = (uint32_t)c;
      }
      const qp_knap_near *n = &list->near[take[l]];
      to[l].bound = to[l + 1].bound + least;
      to[l].total = (qp_knap_total){to[l + 1].total.loss + n->loss, to[l + 1].total.ps + n->ps,
                                    to[l + 1].total.bytes + n->bytes};
    }
  }
  return QP_OK;
}

/* Mean step between an item's choices in loss, which at the dual's prices is as good as in cost. */
static double mean_step(const qp_near_list *list) {
  return (list->near[list->count - 1].loss - list->near[0].loss) / (double)list->count;
}

static qp_status prepare(work *w) {
  const qp_dominance *d = w->d;
  w->items = d->k->items;
  w->order = calloc((size_t)w->items + 1, sizeof *w->order);
  w->rest_ps = calloc((size_t)w->items + 2, sizeof *w->rest_ps);
  w->rest_bytes = calloc((size_t)w->items + 2, sizeof *w->rest_bytes);
  w->history = calloc((size_t)w->items + 1, sizeof(step *));
  w->take = calloc((size_t)w->items + 1, sizeof *w->take);
  if (!w->order || !w->take || !w->rest_ps || !w->rest_bytes || !w->history ||
      !reserve(&w->now, &w->capacity, 1))
    return QP_E_NOMEM;
  w->now[0] = (state){0};
  w->count = 1;
  for (unsigned i = 0; i < w->items; i++) {
    if (d->list[i].count == 1) { /* There is nothing to choose: it is a part of the start. */
      const qp_knap_near *c = &d->list[i].near[0];
      w->now[0].ps += c->ps, w->now[0].bytes += c->bytes;
      w->now[0].loss += c->loss, w->now[0].reduced += c->reduced;
      continue;
    }
    unsigned at = w->layers++;
    for (; at && mean_step(&d->list[w->order[at - 1]]) < mean_step(&d->list[i]); at--)
      w->order[at] = w->order[at - 1];
    w->order[at] = i;
  }
  for (unsigned l = w->layers; l-- > 0;) {
    const qp_near_list *list = &d->list[w->order[l]];
    int64_t ps = INT64_MAX, bytes = INT64_MAX;
    for (size_t c = 0; c < list->count; c++) {
      if (list->near[c].ps < ps) ps = list->near[c].ps;
      if (list->near[c].bytes < bytes) bytes = list->near[c].bytes;
    }
    w->rest_ps[l] = w->rest_ps[l + 1] + ps;
    w->rest_bytes[l] = w->rest_bytes[l + 1] + bytes;
  }
  w->by_bytes = d->k->bytes_limit != QP_KNAP_NO_LIMIT;
  w->one_limit = w->by_bytes != (d->k->ps_limit != QP_KNAP_NO_LIMIT);
  /* It is kept in the work. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
  return w->one_limit ? qp_hull_make(d->list, w->order, w->layers, w->by_bytes, &w->hull)
                      : prepare_rests(w);
}

/* Complete the plan where there is nothing to choose at all. */
static void complete_start(work *w, qp_knap_choice *plan) {
  const state *s = &w->now[0];
  if (s->loss >= w->cutoff || s->ps > w->d->k->ps_limit || s->bytes > w->d->k->bytes_limit) return;
  w->d->found = true;
  w->d->loss = s->loss;
  for (unsigned i = 0; i < w->items; i++) plan[i] = w->d->list[i].near[0].choice;
}

/* Write the plan of w->completed. */
static void finish(work *w, qp_knap_choice *plan) {
  qp_dominance *d = w->d;
  size_t at = w->at;
  d->found = true;
  d->loss = w->cutoff;
  for (unsigned i = 0; i < w->items; i++) plan[i] = d->list[i].near[0].choice;
  if (w->one_limit) qp_hull_take(&w->hull, w->layer + 1, w->by, w->take);
  const uint32_t *take = w->one_limit ? w->take : w->price[w->by].take;
  for (unsigned l = w->layer + 1; l < w->layers; l++)
    plan[w->order[l]] = d->list[w->order[l]].near[take[l]].choice;
  for (unsigned l = w->layer + 1; l-- > 0;) {
    step s = w->history[l][at];
    plan[w->order[l]] = d->list[w->order[l]].near[s.choice].choice;
    at = s.parent;
  }
}

qp_status qp_dominance_run(qp_dominance *d, qp_knap_choice *plan) {
  work w = {.d = d, .cutoff = d->most_loss};
  d->found = false;
  d->states = 0;
  qp_status status = prepare(&w);
  for (unsigned l = 0; l < w.layers && !status; l++) status = advance(&w, l);
  if (!status && !w.layers) complete_start(&w, plan);
  if (w.completed && status != QP_E_NOMEM) finish(&w, plan);
  for (unsigned l = 0; w.history && l < w.layers; l++) free(w.history[l]);
  for (unsigned j = 0; j < PRICES; j++) {
    free(w.price[j].rest);
    free(w.price[j].take);
  }
  qp_hull_free(&w.hull);
  free(w.history);
  free(w.order);
  free(w.take);
  free(w.rest_ps);
  free(w.rest_bytes);
  free(w.now);
  free(w.next);
  free(w.spare);
  free(w.stair);
  return status;
}
