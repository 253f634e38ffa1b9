/* SPDX-License-Identifier: MIT */
/* How survivors of a beam search came to be:  survivors + parents --> codes from step 0 on. */
#include "gen/encode/traceback.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
  ROOM_STEPS = 48,  /* of full width, that there is room for */
  MOST_STEPS = 8192 /* that are not yet told */
};

typedef struct step {
  size_t at; /* its first record */
  unsigned count;
} step;

struct qp_traceback {
  unsigned width, bits;
  uint32_t *record; /* [width * ROOM_STEPS] */
  size_t used;
  step step[MOST_STEPS];
  unsigned steps;  /* not yet told */
  size_t told;     /* steps before them */
  uint32_t origin; /* once a step is told: the ancestor of all before the first step */
  uint32_t *codes;
  uint32_t *number;           /* [width]: of records that stay, when others are swept away */
  unsigned char *stays, *was; /* [width] */
};

qp_status qp_traceback_new(unsigned width, unsigned bits, qp_traceback **out, qp_error *err) {
  qp_traceback *p = calloc(1, sizeof *p);
  if (p) {
    p->width = width;
    p->bits = bits;
    p->record = malloc(sizeof *p->record * width * ROOM_STEPS);
    p->number = malloc(sizeof *p->number * width);
    p->stays = malloc(width);
    p->was = malloc(width);
  }
  if (!p || !p->record || !p->number || !p->stays || !p->was) {
    qp_traceback_free(p);
    return qp_fail(err, QP_E_NOMEM, "no memory for the past of %u survivors", width);
  }
  *out = p;
  return QP_OK;
}

void qp_traceback_free(qp_traceback *p) {
  if (!p) return;
  free(p->record);
  free(p->number);
  free(p->stays);
  free(p->was);
  free(p);
}

void qp_traceback_begin(qp_traceback *p, uint32_t *codes) {
  p->used = 0;
  p->steps = 0;
  p->told = 0;
  p->origin = 0;
  p->codes = codes;
}

static uint32_t code_of(const qp_traceback *p, uint32_t record) {
  return record & (((uint32_t)1 << p->bits) - 1);
}

static uint32_t *records(const qp_traceback *p, unsigned i) { return p->record + p->step[i].at; }

/* Keep those records of a step that the next one's descend from. */
static void sweep_step(qp_traceback *p, unsigned i) {
  uint32_t *mine = records(p, i), *next = records(p, i + 1);
  const unsigned count = p->step[i].count, children = p->step[i + 1].count;
  memset(p->stays, 0, count);
  for (unsigned j = 0; j < children; j++) p->stays[next[j] >> p->bits] = 1;
  unsigned kept = 0;
  for (unsigned j = 0; j < count; j++) {
    p->number[j] = kept;
    if (p->stays[j]) mine[kept++] = mine[j];
  }
  for (unsigned j = 0; j < children; j++)
    next[j] = p->number[next[j] >> p->bits] << p->bits | code_of(p, next[j]);
  p->step[i].count = kept;
}

/* Write and forget the oldest steps: those of a single record. */
static void tell(qp_traceback *p) {
  unsigned n = 0;
  while (n + 1 < p->steps && p->step[n].count == 1) {
    const uint32_t record = *records(p, n++);
    if (!p->told) p->origin = record >> p->bits;
    p->codes[p->told++] = code_of(p, record);
  }
  p->steps -= n;
  memmove(p->step, p->step + n, sizeof *p->step * p->steps);
}

static void sweep(qp_traceback *p) {
  for (unsigned i = p->steps ? p->steps - 1 : 0; i-- > 0;) sweep_step(p, i);
  tell(p);
  p->used = 0;
  for (unsigned i = 0; i < p->steps; i++) {
    memmove(p->record + p->used, records(p, i), sizeof *p->record * p->step[i].count);
    p->step[i].at = p->used;
    p->used += p->step[i].count;
  }
}

/* The oldest step at which survivors may still differ, if what follows it is to take half of the
   room. */
static unsigned middle_of(const qp_traceback *p) {
  const size_t most = (size_t)p->width * (ROOM_STEPS / 2);
  size_t after = 0;
  unsigned i = p->steps - 1;
  while (i > 0 && p->steps - i < MOST_STEPS / 2 && after + p->step[i].count <= most)
    after += p->step[i--].count;
  return i;
}

/* Of the survivors keep those that descend from the same record of step 'middle' as 'best' does. */
static unsigned keep_kin(qp_traceback *p, unsigned middle, unsigned best, uint32_t *keep) {
  uint32_t ancestor = best;
  for (unsigned i = p->steps - 1; i > middle; i--) ancestor = records(p, i)[ancestor] >> p->bits;
  memset(p->was, 0, p->step[middle].count);
  p->was[ancestor] = 1;
  for (unsigned i = middle + 1; i < p->steps; i++) {
    const uint32_t *mine = records(p, i);
    for (unsigned k = 0; k < p->step[i].count; k++) p->stays[k] = p->was[mine[k] >> p->bits];
    unsigned char *swap = p->was;
    p->was = p->stays;
    p->stays = swap;
  }
  step *newest = &p->step[p->steps - 1];
  uint32_t *mine = p->record + newest->at;
  unsigned kept = 0;
  for (unsigned k = 0; k < newest->count; k++) {
    if (!p->was[k]) continue;
    mine[kept] = mine[k];
    keep[kept++] = k;
  }
  newest->count = kept;
  return kept;
}

unsigned qp_traceback_reserve(qp_traceback *p, unsigned count, unsigned best, uint32_t *keep,
                              uint32_t **record) {
  const size_t room = (size_t)p->width * ROOM_STEPS;
  if (p->used + p->width > room || p->steps == MOST_STEPS) {
    sweep(p);
    const unsigned middle = p->steps ? middle_of(p) : 0;
    if (middle > 0) {
      count = keep_kin(p, middle, best, keep);
      sweep(p);
    }
  }
  *record = p->record + p->used;
  return count;
}

void qp_traceback_add(qp_traceback *p, unsigned count) {
  p->step[p->steps++] = (step){.at = p->used, .count = count};
  p->used += count;
}

uint32_t qp_traceback_walk(qp_traceback *p, uint32_t last) {
  for (unsigned i = p->steps; i-- > 0;) {
    const uint32_t record = records(p, i)[last];
    p->codes[p->told + i] = code_of(p, record);
    last = record >> p->bits;
  }
  return p->told ? p->origin : last;
}
