/* SPDX-License-Identifier: MIT */
/* What searches of a trellis keep of each sequence in flight, for trellis.c and trellis_forward.c
   alone. */
#ifndef QP_TRELLIS_FLIGHT_H
#define QP_TRELLIS_FLIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "gen/encode/survivors.h"
#include "gen/encode/trellis_push.h"
#include "gen/encode/trellis_step.h"
#include "gen/encode/trellis_table.h"

enum {
  QP_TRELLIS_MARKS = 32 /* most steps whose sums are kept longer, to search again from there */
};

/* One sequence in flight: its run, the sums, and what is not yet told. */
typedef struct qp_flight {
  const float
      *target; /* [steps][dim], circular: position p of the run is step (first + p) % steps */
  unsigned first, steps;
  uint32_t start;   /* The group before position 0; >= groups: any. */
  uint32_t end;     /* The group behind the last position; >= groups: any. */
  bool even;        /* Sums of g and ~g are the same all the way, of a mirrored trellis. */
  unsigned limit;   /* where paths are given up: sums above the least, of the last position */
  uint32_t *codes;  /* or NULL */
  uint16_t *sum;    /* [rows][stride], of the position that comes next; NULL where all is pushed */
  uint16_t *before; /* [kept + 1][tiles * 32]: sums before each position, by group */
  uint16_t *mark;   /* [QP_TRELLIS_MARKS][tiles * 32]: sums before every mark_steps-th position */
  unsigned told;    /* positions whose codes are written */
  uint32_t origin;  /* the group before position 0, once a position is told */
  uint64_t *live;   /* rows of qp_trellis_push that paths lead to, a bit each, where few do */
} qp_flight;

/* Memory of a thread. */
struct qp_search {
  qp_flight flight[QP_TRELLIS_SEQUENCES];
  /* survivors on the way back, [tiles * 32]: the groups they go through, each once; of each group
     at the end the number of that which it comes from; when each was met, and as which number */
  uint32_t *alive, *kin, *seen, *number, *renumber;
  uint32_t stamp;
  qp_trellis_step step;
  qp_trellis_push push;
  uint16_t *square;        /* [rows.size] */
  uint16_t *out;           /* [groups / fan][qp_push_stride], and QP_PUSH_SLACK more */
  uint32_t *row;           /* [groups / fan]: rows that paths lead to */
  qp_survivors *survivors; /* of a long window, in place of all that */
};

/* Sequences side by side. */
typedef struct qp_fleet {
  unsigned count;
  qp_flight *flight[QP_TRELLIS_SEQUENCES];
  unsigned end;    /* positions of the run */
  unsigned pruned; /* position from which on only the best paths are kept; */
  unsigned width;  /* so many */
} qp_fleet;

static inline size_t qp_flight_width(const qp_trellis *t) {
  return (size_t)t->tiles * QP_TRELLIS_LANES;
}

/* Get the sums before a position, [tiles * 32]. */
static inline uint16_t *qp_flight_before(const qp_trellis *t, const qp_flight *f, unsigned at) {
  return f->before + at % (t->kept + 1) * qp_flight_width(t);
}

/* Set x^ of a position. */
void qp_flight_target(const qp_trellis *t, const qp_flight *f, unsigned at,
                      int16_t x[QP_TRELLIS_DIM]);

/* Step 0 of a run that begins behind a given group, or with f->even behind that which mirrors it:
   'fan' states in place of all. */
void qp_flight_leave_start(const qp_trellis *t, const qp_flight *f, const int16_t *x,
                           uint16_t *least);

#endif
