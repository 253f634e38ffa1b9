/* SPDX-License-Identifier: MIT */
/*
** The linear relaxation of what is left, see hull.h.  With one limit it is solved by taking the
** steps of all hulls in the order of their slopes until the limit is met: a lower bound with the
** last step in part, a plan without it.  Sums are kept for every suffix of the layers, so one
** look-up is a binary search.
*/
#include "tuner/plan/hull.h"

#include <math.h>
#include <stdlib.h>

static int64_t cost_of(const qp_knap_near *n, bool bytes) { return bytes ? n->bytes : n->ps; }

/*
** Does a step from a to c save at least as much for its cost as one from a to b?  b is then above.
*/
static bool is_above(const qp_knap_near *a, const qp_knap_near *b, const qp_knap_near *c,
                     bool bytes) {
  double ab = (double)(cost_of(b, bytes) - cost_of(a, bytes));
  double ac = (double)(cost_of(c, bytes) - cost_of(a, bytes));
  return (a->loss - c->loss) * ab >= (a->loss - b->loss) * ac;
}

/* Append the hull of a layer's choices, from the cheapest to the best. */
static void add_layer(qp_hull *h, unsigned layer, const qp_near_list *list, bool bytes,
                      uint32_t *corner) {
  unsigned corners = 0;
  for (size_t i = list->count; i-- > 0;) {
    const qp_knap_near *c = &list->near[i];
    while (corners > 1 &&
           is_above(&list->near[corner[corners - 2]], &list->near[corner[corners - 1]], c, bytes))
      corners--;
    corner[corners++] = (uint32_t)i;
  }
  /* A list has an option. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.ArraySubscript) */
  const qp_knap_near *at = &list->near[corner[0]];
  double slope = INFINITY;
  h->cheapest[layer] = corner[0];
  h->base_cost[layer] = cost_of(at, bytes);
  h->base_loss[layer] = at->loss;
  for (unsigned k = 1; k < corners; k++) {
    const qp_knap_near *to = &list->near[corner[k]];
    int64_t cost = cost_of(to, bytes) - cost_of(at, bytes);
    double loss = at->loss - to->loss;
    slope = fmin(slope, loss / (double)cost);
    h->step[h->steps++] = (qp_hull_step){layer, corner[k], cost, loss, slope};
    at = to;
  }
}

/* Steeper first; steps of one layer stay in order, whatever rounding does to their slopes. */
static int compare_steps(const void *a, const void *b) {
  const qp_hull_step *x = a, *y = b;
  if (x->slope != y->slope) return x->slope > y->slope ? -1 : 1;
  if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
  return x->choice > y->choice ? -1 : x->choice < y->choice; /* the best choice comes first */
}

/* Add running sums for every suffix, from the bases of single layers. */
static bool add_sums(qp_hull *h) {
  size_t room = 0;
  for (unsigned i = 0; i < h->steps; i++) room += h->step[i].layer + 1;
  h->cost = malloc((room + 1) * sizeof *h->cost);
  h->saved = malloc((room + 1) * sizeof *h->saved);
  if (!h->cost || !h->saved || room > UINT32_MAX) return false;
  unsigned at = 0;
  for (unsigned l = 0; l < h->layers; l++) {
    int64_t cost = 0;
    double saved = 0;
    h->first[l] = at;
    for (unsigned i = 0; i < h->steps; i++) {
      if (h->step[i].layer < l) continue;
      h->cost[at] = cost += h->step[i].cost;
      h->saved[at++] = saved += h->step[i].loss;
    }
  }
  h->first[h->layers] = at;
  for (unsigned l = h->layers; l-- > 0;) {
    h->base_cost[l] += h->base_cost[l + 1];
    h->base_loss[l] += h->base_loss[l + 1];
  }
  return true;
}

qp_status qp_hull_make(const qp_near_list *list, const unsigned *order, unsigned layers, bool bytes,
                       qp_hull *out) {
  qp_hull h = {.layers = layers};
  size_t choices = 0, most = 0;
  for (unsigned l = 0; l < layers; l++) {
    choices += list[order[l]].count;
    if (list[order[l]].count > most) most = list[order[l]].count;
  }
  uint32_t *corner = malloc((most + 1) * sizeof *corner);
  h.step = malloc((choices + 1) * sizeof *h.step);
  h.cheapest = calloc((size_t)layers + 1, sizeof *h.cheapest);
  h.base_cost = calloc((size_t)layers + 1, sizeof *h.base_cost);
  h.base_loss = calloc((size_t)layers + 1, sizeof *h.base_loss);
  h.first = calloc((size_t)layers + 1, sizeof *h.first);
  bool ok = corner && h.step && h.cheapest && h.base_cost && h.base_loss && h.first;
  for (unsigned l = 0; ok && l < layers; l++) add_layer(&h, l, &list[order[l]], bytes, corner);
  free(corner);
  if (ok) qsort(h.step, h.steps, sizeof *h.step, compare_steps);
  if (!ok || !add_sums(&h)) return qp_hull_free(&h), QP_E_NOMEM;
  *out = h;
  return QP_OK;
}

void qp_hull_free(qp_hull *h) {
  free(h->step);
  free(h->cheapest);
  free(h->base_cost);
  free(h->base_loss);
  free(h->first);
  free(h->cost);
  free(h->saved);
  *h = (qp_hull){0};
}

qp_hull_rest qp_hull_left(const qp_hull *h, unsigned from, int64_t left) {
  if (from >= h->layers) return (qp_hull_rest){left < 0 ? INFINITY : 0, 0, 0};
  const unsigned n = h->first[from + 1] - h->first[from];
  const int64_t *cost = h->cost + h->first[from];
  const double *saved = h->saved + h->first[from];
  left -= h->base_cost[from];
  if (left < 0) return (qp_hull_rest){INFINITY, INFINITY, 0};
  unsigned lo = 0, hi = n; /* whole steps that fit */
  while (lo < hi) {
    unsigned mid = (lo + hi) / 2;
    if (cost[mid] <= left)
      lo = mid + 1;
    else
      hi = mid;
  }
  double whole = lo ? saved[lo - 1] : 0;
  int64_t spent = lo ? cost[lo - 1] : 0;
  qp_hull_rest r = {.loss = h->base_loss[from] - whole, .steps = lo};
  r.bound = r.loss;
  if (lo < n)
    r.bound -= (saved[lo] - whole) * ((double)(left - spent) / (double)(cost[lo] - spent));
  return r;
}

void qp_hull_take(const qp_hull *h, unsigned from, unsigned steps, uint32_t *take) {
  for (unsigned l = from; l < h->layers; l++) take[l] = h->cheapest[l];
  for (unsigned i = 0; i < h->steps && steps; i++) {
    if (h->step[i].layer < from) continue;
    take[h->step[i].layer] = h->step[i].choice;
    steps--;
  }
}
