/* SPDX-License-Identifier: MIT */
/*
** The steps that search group fields on a grid of their values:  a group's targets --> a place in
** each field's list.  C (gen/encode/nested.c) and CUDA (templates/encode_fields.cu.in) compile this
** one text, so that both take the same steps and round alike.  Before it are defined
**   QP_STEP, QP_INFINITE, QP_FIT_FIELDS   as templates/field_fit.h has them
**   qp_grid           the group in hand and all that is known of its quantizer, by these functions:
**     grid_fields, grid_count(field)   fields, values of each
**     grid_judge(at, most)             the least sum of squared errors at a place; where it is more
**                                      than 'most', some number that is more
** A set of fields is a bit for each.
*/
#ifndef QP_FIELD_GRID_STEPS
#define QP_FIELD_GRID_STEPS

enum {
  GRID_LARGER_POINTS = 576, /* of fields of larger groups, at first, for one group; */
  GRID_OWN_POINTS = 64      /* of a group's own ones */
};

typedef struct grid_point {
  unsigned at[QP_FIT_FIELDS];
  float error;
} grid_point;

/* Move a place; false: there is no such place. */
QP_STEP bool grid_move(const qp_grid *n, grid_point *p, unsigned f, bool up, unsigned by) {
  if (up ? p->at[f] + by >= grid_count(n, f) : p->at[f] < by) return false;
  p->at[f] = up ? p->at[f] + by : p->at[f] - by;
  return true;
}

QP_STEP bool grid_try(qp_grid *n, grid_point *p, grid_point *best) {
  p->error = grid_judge(n, p->at, best->error);
  if (!(p->error < best->error)) return false;
  *best = *p;
  return true;
}

/* Steps of one length in each of the fields, and in every two, while one helps. */
QP_STEP void grid_descend(qp_grid *n, unsigned fields, const unsigned *step, grid_point *best) {
  const unsigned count = grid_fields(n);
  for (bool better = true; better;) {
    better = false;
    for (unsigned i = 0; i < count * count * 4; i++) {
      const unsigned f = i / 4 / count, g = i / 4 % count;
      if (f > g || !(fields >> f & 1) || !(fields >> g & 1) || (f == g && i % 4 > 1)) continue;
      grid_point p = *best;
      if (!grid_move(n, &p, f, i & 1, step[f])) continue;
      if (f != g && !grid_move(n, &p, g, i & 2, step[g])) continue;
      better = grid_try(n, &p, best) || better;
    }
  }
}

/* Distances of a grid over the fields that has at most so many points. */
QP_STEP void grid_steps(const qp_grid *n, unsigned fields, unsigned most, unsigned *step) {
  for (unsigned f = 0; f < QP_FIT_FIELDS; f++) step[f] = 1;
  for (;;) {
    float points = 1;
    unsigned widest = QP_FIT_FIELDS;
    for (unsigned f = 0; f < grid_fields(n); f++) {
      if (!(fields >> f & 1)) continue;
      points *= (float)((grid_count(n, f) + step[f] - 1) / step[f]);
      if (widest == QP_FIT_FIELDS ||
          grid_count(n, f) / step[f] > grid_count(n, widest) / step[widest])
        widest = f;
    }
    if (points <= (float)most) return;
    step[widest] *= 2;
  }
}

QP_STEP unsigned grid_first(const qp_grid *n, unsigned f, unsigned step) {
  return step / 2 < grid_count(n, f) ? step / 2 : 0;
}

/* A grid, then steps that halve: the fields in question, others as they are in 'best'. */
QP_STEP void grid_search(qp_grid *n, unsigned fields, unsigned points, grid_point *best) {
  unsigned step[QP_FIT_FIELDS];
  grid_steps(n, fields, points, step);
  grid_point p = *best;
  for (unsigned f = 0; f < grid_fields(n); f++)
    if (fields >> f & 1) p.at[f] = grid_first(n, f, step[f]);
  best->error = QP_INFINITE;
  for (bool more = true; more;) {
    grid_try(n, &p, best);
    more = false;
    for (unsigned f = 0; f < grid_fields(n) && !more; f++) {
      if (!(fields >> f & 1)) continue;
      more = grid_move(n, &p, f, true, step[f]);
      if (!more) p.at[f] = grid_first(n, f, step[f]);
    }
  }
  for (bool last = false; !last;) {
    last = true;
    for (unsigned f = 0; f < grid_fields(n); f++) {
      step[f] = (step[f] + 1) / 2;
      last = last && step[f] == 1;
    }
    grid_descend(n, fields, step, best);
  }
}

#endif
