/* SPDX-License-Identifier: MIT */
/*
** Routing:  a router's choice  ids [tokens][top_k]  --route-->  [sorted, in tiles]  --> experts.
** Assignment a = token * top_k + k sends a token to expert ids[a].  32-bit words, at 16 bytes:
**
**   [0]  number of tiles    [1]  assignments in tiles    [2]  assignments    [3]  word of order[0]
**   tiles   {expert, first, count, 0}: the assignments order[first .. first + count), which all go
**           to one expert.  Experts rise, none is in a tile without an assignment; all tiles of an
**           expert but the last are full
**   order   assignments sorted by expert, those of one expert as they came; behind them those whose
**           id is no expert, which are in no tile
**
** There is room for as many tiles as there can be, and 'order' begins behind it: [3] says where.
*/
#ifndef QP_ROUTING_H
#define QP_ROUTING_H

enum { QP_ROUTING_HEAD = 4, QP_ROUTING_TILE = 4 /* words */ };

/* Most tiles that so many assignments to so many experts can make: each expert that is met has one
   that may not be full. */
static inline unsigned qp_routing_tiles(unsigned assignments, unsigned experts, unsigned tile) {
  const unsigned met = experts < assignments ? experts : assignments;
  return (assignments + met * (tile - 1)) / tile;
}

/* Where 'order' begins. */
static inline unsigned qp_routing_order(unsigned assignments, unsigned experts, unsigned tile) {
  return QP_ROUTING_HEAD + QP_ROUTING_TILE * qp_routing_tiles(assignments, experts, tile);
}

/* Count the words of all of it. */
static inline unsigned qp_routing_words(unsigned assignments, unsigned experts, unsigned tile) {
  return qp_routing_order(assignments, experts, tile) + assignments;
}

#endif
