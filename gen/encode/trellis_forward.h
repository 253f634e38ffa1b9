/* SPDX-License-Identifier: MIT */
/* Steps of a trellis search forward from each group that a path leads to, and the paths that are
   given up where it but looks ahead. */
#ifndef QP_TRELLIS_FORWARD_H
#define QP_TRELLIS_FORWARD_H

#include "gen/encode/trellis_flight.h"

/* Makes the sums behind position 'at' from those before it.  From all->pruned on only the best
   paths stay; the steps behind it look at the few rows alone that these lead to. */
void qp_forward(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all, qp_flight *f,
                unsigned at);

/* Give up paths of the sums behind position 'at', which is all->pruned and was not levelled. */
void qp_forward_prune(const qp_trellis *t, const struct qp_search *s, const qp_fleet *all,
                      qp_flight *f, unsigned at);

#endif
