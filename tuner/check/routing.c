/* SPDX-License-Identifier: MIT */
/* Routes on the CPU: it chooses which experts tokens go to, and computes what `route` makes of
   that. */
#include "tuner/check/routing.h"

#include <stdbool.h>

#include "runtime/routing.h"

static bool is_among(const int32_t *ids, unsigned n, int32_t id) {
  while (n)
    if (ids[--n] == id) return true;
  return false;
}

/* Choose top_k different ones of the experts base .. base + of. */
static void choose_different(qp_random *random, unsigned base, unsigned of, unsigned top_k,
                             int32_t *ids) {
  for (unsigned k = 0; k < top_k; k++) do
      ids[k] = (int32_t)(base + qp_random_next(random) % of);
    while (is_among(ids, k, ids[k]));
}

void qp_routing_choose(const qp_problem *p, qp_routing_kind kind, qp_random *random, int32_t *ids) {
  const unsigned e = qp_problem_all_experts(p), few = 2 * p->top_k < e ? 2 * p->top_k : e;
  const unsigned base = (unsigned)(qp_random_next(random) % (e - few + 1));
  const int32_t wrong[] = {-1, (int32_t)e, INT32_MIN, INT32_MAX};
  for (unsigned t = 0; t < p->batch; t++, ids += p->top_k) {
    if (kind == QP_ROUTING_ONE && t)
      for (unsigned k = 0; k < p->top_k; k++) ids[k] = ids[(int)k - (int)p->top_k];
    else if (kind == QP_ROUTING_FEW)
      choose_different(random, base, few, p->top_k, ids);
    else
      choose_different(random, 0, e, p->top_k, ids);
    for (unsigned k = 0; k < p->top_k && kind == QP_ROUTING_BROKEN; k++) {
      const unsigned what = (unsigned)(qp_random_next(random) % 8);
      if (what < 4)
        ids[k] = wrong[what];
      else if (what == 4)
        ids[k] = ids[0];
    }
  }
}

void qp_routing_sort(const qp_problem *p, const int32_t *ids, unsigned assignments,
                     uint32_t *routing) {
  const unsigned all = qp_problem_assignments(p);
  uint32_t *tile = routing + QP_ROUTING_HEAD;
  uint32_t *order = routing + qp_routing_order(all, p->experts, p->tile);
  unsigned tiles = 0, n = 0;
  for (unsigned e = 0; e < p->experts; e++) {
    const unsigned first = n;
    for (unsigned a = 0; a < assignments; a++)
      if (ids[a] == (int32_t)e) order[n++] = a;
    for (unsigned at = first; at < n; at += p->tile, tiles++, tile += QP_ROUTING_TILE) {
      tile[0] = e;
      tile[1] = at;
      tile[2] = n - at < p->tile ? n - at : p->tile;
      tile[3] = 0;
    }
  }
  routing[0] = tiles;
  routing[1] = n;
  routing[2] = assignments;
  routing[3] = (uint32_t)(order - routing);
  for (unsigned a = 0; a < assignments; a++)
    if (ids[a] < 0 || ids[a] >= (int32_t)p->experts) order[n++] = a;
}
