/* SPDX-License-Identifier: MIT */
/* Rows of what the states behind each group of a trellis decode to, as windows of strips: what
   code_rows.h and code_joints.h make. */
#ifndef QP_CODE_STRIPS_H
#define QP_CODE_STRIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/encode/metric.h"

enum {
  QP_CODE_ROWS_CHUNK = 64, /* codes that are looked at together */
  QP_CODE_ROWS_LANES = 16, /* codes that lie together in a table */
  QP_CODE_ROWS_SLACK = 64  /* numbers behind a pool that may be read */
};

/*
** Group p is followed by the states  code << (window - step) | p,  one for each code.  Where decode
** looks a hash of the state up in a codebook, few different rows of neighbouring codes are there:
** of a hash that is linear in the code, each of them is a window of a few long strips.  Of one that
** is nearly so the strips are made of windows that overlap.  A step of the search then needs the
** squares of these strips alone, and to know where each row begins.
*/
typedef struct qp_code_rows {
  unsigned span;    /* codes of a window, a power of two: at most all codes, at most
                       QP_CODE_ROWS_CHUNK */
  unsigned windows; /* windows of a row */
  unsigned size;    /* numbers of the pool, QP_CODE_ROWS_SLACK included; 0: there is a table
                       instead */
  int16_t *pool;    /* t^ [dim][size] */
  uint32_t *offset; /* [groups][windows], into the pool */
  uint16_t *near;   /* the same where the pool is small, else NULL; see qp_code_rows_narrow */
  uint8_t *turn;    /* [groups]: code at which a row moves on to the next strip; or NULL, see
                       code_joints.h.  Then there is no 'offset', and near is [groups]. */
  unsigned period, apart;
  int16_t *table;   /* t^ [groups][fan / 16 or 1][dim][16] */
  uint32_t *number; /* [size], in the pool's stead: which of the different values each is, and */
  uint32_t *state;  /* [values]: a state that has it */
  unsigned values;
} qp_code_rows;

/* The sizes of a trellis, and what its states decode to, [2^window][dim]. */
typedef struct qp_code_rows_of {
  unsigned window, step, dim;
  const qp_metric *metric;
  const float *value;
  bool moves; /* rows may also take strips of up to four alternating values, which come at codes of
                 equal remainders, and move from strip to strip (code_joints.h) */
} qp_code_rows_of;

/* Where the number of a group's code stands in the pool. */
static inline size_t qp_code_rows_at(const qp_code_rows *r, uint32_t group, uint32_t code) {
  if (!r->turn) return r->offset[(size_t)group * r->windows + code / r->span] + code % r->span;
  const unsigned turn = r->turn[group], moves = code < turn ? 0 : 1 + (code - turn) / r->period;
  return r->near[group] + code + (size_t)moves * r->apart;
}

#endif
