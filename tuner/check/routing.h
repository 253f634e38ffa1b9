/* SPDX-License-Identifier: MIT */
/* Routes on the CPU: it chooses which experts tokens go to, and computes what `route` makes of
   that. */
#ifndef QP_CHECK_ROUTING_H
#define QP_CHECK_ROUTING_H

#include <stdint.h>

#include "gen/base/random.h"
#include "gen/kernel/problem.h"

/* X(kind, where tokens go) */
#define QP_ROUTINGS(X)                                                                             \
  X(RANDOM, "each token to top_k different experts")                                               \
  X(ONE, "all tokens to the same experts")                                                         \
  X(FEW, "each token to top_k of 2 top_k experts at most: none to most")                           \
  X(BROKEN, "to any, the same one twice among them, and to ids that are no expert")

typedef enum qp_routing_kind {
#define X(kind, help) QP_ROUTING_##kind,
  QP_ROUTINGS(X)
#undef X
      QP_ROUTING_COUNT
} qp_routing_kind;

/* Kernels of experts are timed with routings of random tokens from this seed: so many in turn, for
   tokens of a model go to others every time, and the weights that they meet are in no cache. */
enum { QP_ROUTING_SEED = 1, QP_ROUTINGS_TIMED = 32 };

/* Make ids [batch][top_k] for a problem of experts or route. */
void qp_routing_choose(const qp_problem *p, qp_routing_kind kind, qp_random *random, int32_t *ids);

/* What route makes of 'assignments' ids, at most those of the problem: words as runtime/routing.h
   says; words that mean nothing are left as they are. */
void qp_routing_sort(const qp_problem *p, const int32_t *ids, unsigned assignments,
                     uint32_t *routing);

#endif
