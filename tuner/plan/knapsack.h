/* SPDX-License-Identifier: MIT */
/*
** The planner's optimisation problem, free of models and quantizers:  plan input -> [knapsack].
**
** An item is a group of up to eight linears that read one input.  It is partitioned into launches.
** A mode says how the linears of a mask can be launched together: one option is taken from each of
** its lists, and an offset is added (a mode with one list: a measured launch; a mode with a list
** for each linear: a launch whose latency is the sum of its parts less the overheads that are
** saved).  All modes that an item takes are of one class: they want the input in the same form.
**
**   minimise   sum of loss      subject to   sum of ps <= ps_limit,   sum of bytes <= bytes_limit
**
** over a partition of each item into modes and an option from each list of each mode.
*/
#ifndef QP_KNAPSACK_H
#define QP_KNAPSACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { QP_KNAP_LINEARS = 8 };
#define QP_KNAP_NO_LIMIT INT64_MAX

typedef struct qp_knap_option {
  double loss; /* finite, >= 0 */
  int64_t ps, bytes;
  unsigned tag; /* what the maker means by it; exclusions and qp_knap_fastest compare it */
} qp_knap_option;

typedef struct qp_knap_list {
  unsigned count; /* at least 1 */
  const qp_knap_option *option;
} qp_knap_list;

typedef struct qp_knap_mode {
  unsigned mask;                         /* The linears of the item, bit by bit. */
  unsigned class;                        /* below the item's 'classes' */
  unsigned parts, list[QP_KNAP_LINEARS]; /* indices of the item's lists */
  int64_t offset_ps;
  double offset_loss;
  /* Combinations of tags that may not be taken, being known otherwise: in order, none twice */
  unsigned exclusions;
  const unsigned *excluded; /* [exclusions][parts] */
} qp_knap_mode;

typedef struct qp_knap_item {
  unsigned linears, lists, modes; /* the modes can make up the full mask */
  const qp_knap_list *list;
  const qp_knap_mode *mode;
  unsigned classes; /* 0: 1 */
} qp_knap_item;

typedef struct qp_knap {
  unsigned items;
  const qp_knap_item *item;
  int64_t ps_limit, bytes_limit; /* >= 0, or QP_KNAP_NO_LIMIT */
} qp_knap;

/* Compare two combinations of tags by the first that differs; returns -1, 0 or 1. */
int qp_knap_compare_tags(const unsigned *a, const unsigned *b, unsigned parts);

/* What is taken for one item: modes in order of their lowest linear, options in order of parts. */
typedef struct qp_knap_choice {
  unsigned char launches;
  uint16_t mode[QP_KNAP_LINEARS], option[QP_KNAP_LINEARS];
} qp_knap_choice;

typedef struct qp_knap_total {
  double loss;
  int64_t ps, bytes;
} qp_knap_total;

/* Add up a choice. */
qp_knap_total qp_knap_sum(const qp_knap_item *item, const qp_knap_choice *choice);
/* Do the same over all items of a plan, in order. */
qp_knap_total qp_knap_plan_sum(const qp_knap *k, const qp_knap_choice *plan);

/*
** Find the minimum over all choices of  weight loss + lambda ps + mu bytes,  by the best option of
** each list, the best modes of each mask, and a recursion over masks.  The choice (the first of
** equals) and its totals are written unless NULL.  The result is exact up to rounding.
*/
double qp_knap_cheapest(const qp_knap_item *item, double weight, double lambda, double mu,
                        qp_knap_choice *choice, qp_knap_total *total);

/* List what each linear of a choice has: tag[l] = option tag / QP_KNAP_TAGS, which in the planner
   is its quantizer. */
enum { QP_KNAP_TAGS = 8 };
void qp_knap_quantizers(const qp_knap_item *item, const qp_knap_choice *choice, unsigned *tag);

/*
** Find the choice with the least ps among those in which linear l has an option whose tag /
** QP_KNAP_TAGS is tag[l] (in a mode with one list for several linears: all of them).  False means
** that there is none.
*/
bool qp_knap_fastest(const qp_knap_item *item, const unsigned *tag, qp_knap_choice *choice);

/* A choice whose reduced cost is within 'delta' of the item's least. */
typedef struct qp_knap_near {
  double loss, reduced; /* reduced = loss + lambda ps + mu bytes - least, >= 0 */
  int64_t ps, bytes;
  qp_knap_choice choice;
} qp_knap_near;

/* What is left of an item at some multipliers and delta. */
typedef struct qp_near_list {
  qp_knap_near *near;
  size_t count;
} qp_near_list;

/*
** List all choices with reduced <= delta at multipliers (lambda, mu), less those that another one
** dominates (no more loss; no more ps where 'by_ps'; no more bytes where 'by_bytes').  ps (bytes)
** are 0 in '*out' unless 'by_ps' ('by_bytes').  '*out' is malloc'ed.  QP_E_LIMIT: more than 'most'
** before pruning; QP_E_NOMEM.
*/
qp_status qp_knap_within(const qp_knap_item *item, double lambda, double mu, double delta,
                         bool by_ps, bool by_bytes, size_t most, qp_knap_near **out, size_t *count);

/*
** Check that counts, indices, masks and numbers are as said above.  QP_E_ARG names item and field.
*/
qp_status qp_knap_check(const qp_knap *k, qp_error *err);

#endif
