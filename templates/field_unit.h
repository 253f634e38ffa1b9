/* SPDX-License-Identifier: MIT */
/*
** The steps that search the fields of a unit, where larger groups' fields are shared by several
** smallest groups, whose own fields follow them.  C (gen/encode/nested.c) and CUDA
** (templates/units.cuh.in) compile this one text.  Before it are defined
**   QP_STEP           as templates/field_fit.h has it
**   qp_unit           the unit in hand, with a point for each of its smallest groups (field_grid.h)
**                     and room for another, by these functions:
**     unit_fields, unit_groups   fields, smallest groups
**     unit_each(f)    smallest groups that share field f, where it is a larger group's; else 0
**     unit_begin()    the larger fields for the group with the largest target, its own fields at
**                     their largest; then each group's own ones
**     unit_sum(first, end)       the sum of the points' errors
**     unit_follow(f, up, by, first, end, was)   the other points: field f a step away, the groups'
**                     own fields following; the sum of their errors, or where it is no less than
**                     'was', or there is no such place, some number that is no less
**     unit_keep(first, end)      the other points become the points
*/
#ifndef QP_FIELD_UNIT_STEPS
#define QP_FIELD_UNIT_STEPS

enum { UNIT_LONGEST_STEP = 8 };

/* Is field f of some groups better a step away? */
QP_STEP bool unit_try(qp_unit *u, unsigned f, bool up, unsigned by, unsigned first, unsigned end) {
  const float was = unit_sum(u, first, end);
  if (!(unit_follow(u, f, up, by, first, end, was) < was)) return false;
  unit_keep(u, first, end);
  return true;
}

/* Steps of one length in each larger field of each of its groups, while one helps. */
QP_STEP void unit_improve(qp_unit *u, unsigned by) {
  const unsigned groups = unit_groups(u);
  for (bool better = true; better;) {
    better = false;
    for (unsigned f = 0; f < unit_fields(u); f++) {
      const unsigned each = unit_each(u, f);
      for (unsigned first = 0; each && first < groups; first += each) {
        const unsigned end = first + each < groups ? first + each : groups;
        for (unsigned up = 0; up < 2; up++)
          better = unit_try(u, f, up != 0, by, first, end) || better;
      }
    }
  }
}

QP_STEP void unit_choose(qp_unit *u) {
  unit_begin(u);
  for (unsigned by = UNIT_LONGEST_STEP; by; by /= 2) unit_improve(u, by);
}

#endif
