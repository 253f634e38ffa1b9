/* SPDX-License-Identifier: MIT */
/*
** The steps that choose fields whose sum a weight is (gen/encode/field_sums.h):  a group's targets
** --> its fields, and the nearest sum of each target.  C (gen/encode/field_sums.c) and CUDA
** (templates/encode_sums.cu.in) compile this one text, so that both take the same steps and round
** alike.  Before it are defined
**   QP_STEP, QP_INFINITE, qp_real   as templates/field_fit.h has them
**   QP_SUMS_FIELDS, QP_SUMS_CLASSES fields and different sums that there is room for, the latter at
**                                   most 256
**   qp_sums           the group in hand and all that is known of its quantizer, by these functions:
**     sums_fields, sums_classes    fields; different sums, which are classes of weights
**     sums_factor(k, f)            what class k multiplies field f by;
**     sums_fixed(k)                what it adds
**     sums_lowest(f), sums_highest(f)   of a field
**     sums_count                   targets
**     sums_target(i)               the targets, ascending;
**     sums_before(i)               the sum of the i least,
**     sums_square                  and of all squares
**     sums_drawn_class(i, j), sums_drawn_target(i, j)   of start i, equation j: a class and the
**                                  number of a target, of which the part below it is drawn once for
**                                  all groups
**     sums_known(i, f)             fields where turns for N(0,1) end, the best such start first
**     sums_root(x)
**
** Codes and fields take turns. Given the fields a target has the nearest of the classes' sums: all
** of those between two halves of neighbouring sums, so that sorted targets and their sums so far
** say what equations the fields then solve. Turns begin
**   1  at the SUMS_BEST best of SUMS_DRAWN places where a few targets are sums that are drawn, the
**      best first, of equals the earlier draw,
**   2  at what is known of N(0,1), in SUMS_SIZES sizes each,
** and the end with the least error is taken, of equals the one that began first.
*/
#ifndef QP_FIELD_SUMS_STEPS
#define QP_FIELD_SUMS_STEPS

enum {
  SUMS_KNOWN = 6,  /* ends for N(0,1), at most */
  SUMS_DRAWN = 96, /* starts that a group's own targets give, */
  SUMS_BEST = 12,  /* of which the best are kept */
  SUMS_SIZES = 8,  /* of a group's numbers, against those of N(0,1) */
  SUMS_STARTS = SUMS_BEST + SUMS_KNOWN * SUMS_SIZES,
  SUMS_TURNS = 12 /* of codes and fields, at most, from each start */
};
#define SUMS_WORTH_A_TURN 0.9998 /* It must bring the error below this share of that before. */
#define SUMS_RIDGE        1e-9   /* of an equation's own square */

/* The sums of the classes, and the classes from the least to the largest; before the first use the
   order holds each class once. */
typedef struct sums_levels {
  qp_real level[QP_SUMS_CLASSES];
  unsigned char order[QP_SUMS_CLASSES];
} sums_levels;

typedef struct sums_place {
  qp_real field[QP_SUMS_FIELDS];
  qp_real error;
} sums_place;

/* The equations of the fields; of 'a' the lower triangle. */
typedef struct sums_equations {
  qp_real a[QP_SUMS_FIELDS][QP_SUMS_FIELDS], b[QP_SUMS_FIELDS];
} sums_equations;

/* ---- Sums at a place ---- */

/* Of equal sums the lower class comes first, whatever the order before. */
QP_STEP bool sums_is_above(const sums_levels *l, unsigned a, unsigned b) {
  return l->level[a] > l->level[b] || (!(l->level[b] > l->level[a]) && a > b);
}

/* Put the order right, which is nearly the one before. */
QP_STEP void sums_sort(const qp_sums *s, sums_levels *l) {
  for (unsigned i = 1; i < sums_classes(s); i++) {
    const unsigned k = l->order[i];
    unsigned at = i;
    for (; at && sums_is_above(l, l->order[at - 1], k); at--) l->order[at] = l->order[at - 1];
    l->order[at] = (unsigned char)k;
  }
}

QP_STEP void sums_find_levels(const qp_sums *s, const qp_real *field, sums_levels *l) {
  for (unsigned k = 0; k < sums_classes(s); k++) {
    qp_real sum = sums_fixed(s, k);
    for (unsigned f = 0; f < sums_fields(s); f++) sum += sums_factor(s, k, f) * field[f];
    l->level[k] = sum;
  }
  sums_sort(s, l);
}

/* The class whose sum is nearest, of equals the lower sum. */
QP_STEP unsigned sums_nearest(const qp_sums *s, const sums_levels *l, qp_real x) {
  unsigned low = 0, high = sums_classes(s) - 1; /* places in the order */
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (x <= (l->level[l->order[middle]] + l->level[l->order[middle + 1]]) / 2)
      high = middle;
    else
      low = middle + 1;
  }
  return l->order[low];
}

/* The targets from 'from' on that are not above a number. */
QP_STEP unsigned sums_end_of(const qp_sums *s, unsigned from, qp_real most) {
  unsigned low = from, high = sums_count(s);
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (sums_target(s, middle) <= most)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* ---- Equations ---- */

QP_STEP void sums_clear(unsigned n, sums_equations *q) {
  for (unsigned f = 0; f < n; f++) {
    q->b[f] = 0;
    for (unsigned g = 0; g <= f; g++) q->a[f][g] = 0;
  }
}

/* Some targets, which add up to 'total', have a class. */
QP_STEP void sums_add(const qp_sums *s, unsigned k, qp_real count, qp_real total,
                      sums_equations *q) {
  for (unsigned f = 0; f < sums_fields(s); f++) {
    const qp_real factor = sums_factor(s, k, f);
    q->b[f] += factor * (total - count * sums_fixed(s, k));
    for (unsigned g = 0; g <= f; g++) q->a[f][g] += count * factor * sums_factor(s, k, g);
  }
}

/* The equations of the codes that are nearest at a place, where they are asked for (not NULL);
   returns the sum of squared errors there. */
QP_STEP qp_real sums_set_up(const qp_sums *s, sums_levels *l, const qp_real *field,
                            sums_equations *q) {
  const unsigned n = sums_count(s), classes = sums_classes(s);
  qp_real error = sums_square(s);
  unsigned from = 0;
  sums_find_levels(s, field, l);
  if (q) sums_clear(sums_fields(s), q);
  for (unsigned i = 0; i < classes && from < n; i++) {
    const unsigned k = l->order[i];
    const qp_real v = l->level[k];
    unsigned end = n;
    if (i + 1 < classes) end = sums_end_of(s, from, (v + l->level[l->order[i + 1]]) / 2);
    const qp_real count = end - from, total = sums_before(s, end) - sums_before(s, from);
    error += v * (count * v - 2 * total);
    if (q && end > from) sums_add(s, k, count, total, q);
    from = end;
  }
  return error;
}

/* Cholesky's factors of 'a' in its place. */
QP_STEP void sums_factorize(unsigned n, sums_equations *q) {
  for (unsigned f = 0; f < n; f++) {
    const qp_real own = q->a[f][f];
    for (unsigned g = 0; g <= f; g++) {
      qp_real left = q->a[f][g];
      for (unsigned k = 0; k < g; k++) left -= q->a[f][k] * q->a[g][k];
      if (g < f)
        q->a[f][g] = q->a[g][g] > 0 ? left / q->a[g][g] : 0;
      else
        q->a[f][f] = left > SUMS_RIDGE * own ? sums_root(left) : 0;
    }
  }
}

/* What no equation tells of stays. */
QP_STEP void sums_solve(unsigned n, sums_equations *q, qp_real *field) {
  sums_factorize(n, q);
  for (unsigned f = 0; f < n; f++) {
    for (unsigned k = 0; k < f; k++) q->b[f] -= q->a[f][k] * q->b[k];
    q->b[f] = q->a[f][f] > 0 ? q->b[f] / q->a[f][f] : 0;
  }
  for (unsigned f = n; f-- > 0;) {
    if (!(q->a[f][f] > 0)) continue;
    for (unsigned k = f + 1; k < n; k++) q->b[f] -= q->a[k][f] * field[k];
    field[f] = q->b[f] / q->a[f][f];
  }
}

QP_STEP void sums_keep_within(const qp_sums *s, qp_real *field) {
  for (unsigned f = 0; f < sums_fields(s); f++) {
    const qp_real low = sums_lowest(s, f), high = sums_highest(s, f);
    field[f] = field[f] > low ? (field[f] < high ? field[f] : high) : low;
  }
}

/* ---- A group ---- */

/* Turns from a place while they help. */
QP_STEP void sums_descend(const qp_sums *s, sums_levels *l, unsigned turns, sums_place *p) {
  sums_equations q;
  sums_place now = *p;
  sums_keep_within(s, now.field);
  for (unsigned turn = 0;; turn++) {
    now.error = sums_set_up(s, l, now.field, &q);
    const bool worth = !turn || now.error < SUMS_WORTH_A_TURN * p->error;
    if (!turn || now.error < p->error) *p = now;
    if (!worth || turn == turns) return;
    sums_solve(sums_fields(s), &q, now.field);
    sums_keep_within(s, now.field);
  }
}

/* A start where as many targets as there are fields, drawn, but first the outermost, are sums that
   are drawn, too. */
QP_STEP void sums_draw(const qp_sums *s, unsigned i, qp_real *field) {
  const unsigned n = sums_count(s);
  const bool lowest = sums_target(s, n - 1) < -sums_target(s, 0);
  sums_equations q;
  sums_clear(sums_fields(s), &q);
  for (unsigned f = 0; f < sums_fields(s); f++) field[f] = sums_root(sums_square(s) / n);
  for (unsigned j = 0; j < sums_fields(s); j++) {
    const unsigned at = j ? sums_drawn_target(s, i, j) : lowest ? 0 : n - 1;
    sums_add(s, sums_drawn_class(s, i, j), 1, sums_target(s, at), &q);
  }
  sums_solve(sums_fields(s), &q, field);
  sums_keep_within(s, field);
}

/* Start i of those known of N(0,1). */
QP_STEP void sums_start(const qp_sums *s, unsigned i, qp_real *field) {
  const unsigned k = i % SUMS_SIZES;
  const qp_real size = k == 0   ? 1
                       : k == 1 ? 0.85
                       : k == 2 ? 1.15
                       : k == 3 ? 0.7
                       : k == 4 ? 0.55
                       : k == 5 ? 1.4
                       : k == 6 ? 1.8
                                : 2.3;
  const qp_real rms = sums_root(sums_square(s) / sums_count(s));
  for (unsigned f = 0; f < sums_fields(s); f++)
    field[f] = sums_known(s, i / SUMS_SIZES, f) * (rms * size);
}

#endif
