/* SPDX-License-Identifier: MIT */
/* Fits group fields by least squares. */
#include "gen/encode/field_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"

/*
** A weight is near  a u + b,  a and b set by the fields.  Codes that are chosen leave a parabola in
** a and b (qp_level_sums); its lowest point is the next a and b, for which codes are chosen again.
** The way down ends in one of many valleys, so it begins in many places:
**   1  scan     a and b for ranges of all sizes that are wider or narrower than the targets'
**   2  descend  from the best few, a and b free
**   3  project  to the fields' values: the parabola's lowest point among them
**   4  settle   codes and fields in turn
**   5  polish   steps in every field, and in every two, while one helps; at last with what codes
**               decode to, rounding and all
** Where there are few points, all are looked at instead.
*/
enum {
  FEW_POINTS = 256,
  KEPT = 4,         /* places from which the scan's best ways begin */
  DESCENTS = 4,     /* rounds of steps 2 and 4, at most */
  SCAN_STEPS = 256, /* at most */
  MOST_SLICES = 16, /* values of the smaller fields, in each of which b is a times one number */
  SAMPLES = 32,     /* fields at which a form is looked for */
  FINE_AXIS = 256,  /* a field of more values moves by longer steps too, from LONGEST_STEP down */
  LONGEST_STEP = 32,
  EXACT_ROUNDS = 4 /* of steps whose errors are exact, at most */
};
/* The widest range of a scan as a multiple of the targets', of uneven levels and of even ones; the
   next range is narrower by 2^(-1/64), one among slices by 2^(-1/32), one of a coarse scan by
   2^(-1/4). */
static const double widest[2] = {4, 1.3};
static const double finely = 0.98922801319397546, usually = 0.97857206208770013;
static const double coarsely = 0.84089641525371454;
/* Ranges whose two ends move: parts of the way from the mean to the targets' ends. */
static const double widest_end = 1.1, least_end = 0.2, end_step = 0.06;
/* Of errors, times the least: narrower ranges are worse still; a slice is worth a finer scan. */
static const double hopeless = 3, promising = 1.25;

typedef struct group {
  size_t n;
  const float *x;
  double least, most, mean;
} group;

/* Codes that were chosen at a and b, of which b is free or a times a number. */
typedef struct guess {
  bool shifts;
  double ratio;
  double a, b;
  qp_level_sums sums;
  double reached; /* The error at the parabola's lowest point. */
} guess;

typedef struct place {
  uint32_t at[QP_MAX_FIELDS];
  double error;
} place;

/* ---- The form of a and b ---- */

static void ab_at(const qp_field_fit *f, const uint32_t *at, double *a, double *b) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  for (unsigned i = 0; i < f->fields; i++) raw[i] = f->axis[i].value[at[i]];
  qp_affine_at(f->affine, raw, a, b);
}

/* Is the middle one of three places of a field where a line through the others says? */
static bool is_on_line(const qp_field_fit *f, const uint32_t *from, unsigned field) {
  const qp_field_axis *x = &f->axis[field];
  const uint32_t where[3] = {0, x->count / 2, x->count - 1};
  uint32_t at[QP_MAX_FIELDS];
  double a[3], b[3];
  memcpy(at, from, sizeof at);
  for (unsigned i = 0; i < 3; i++) {
    at[field] = where[i];
    ab_at(f, at, &a[i], &b[i]);
  }
  const double part = (x->number[where[1]] - x->number[0]) / (x->number[where[2]] - x->number[0]);
  const double size = fabs(a[0]) + fabs(a[2]) + fabs(b[0]) + fabs(b[2]);
  return fabs(a[0] + part * (a[2] - a[0]) - a[1]) <= 0x1p-9 * size &&
         fabs(b[0] + part * (b[2] - b[0]) - b[1]) <= 0x1p-9 * size;
}

static void draw_place(const qp_field_fit *f, qp_random *r, uint32_t *at) {
  for (unsigned i = 0; i < f->fields; i++)
    at[i] = (uint32_t)(qp_random_uniform(r, 0, 1) * f->axis[i].count);
}

static bool is_ratio(double a, double b, double ratio) {
  return fabs(b - ratio * a) <= 0x1p-9 * (fabs(b) + fabs(a));
}

/* The ratio of b to a where the first field of the order is at its end. */
static double ratio_at(const qp_field_fit *f, const uint32_t *from) {
  uint32_t at[QP_MAX_FIELDS];
  double a, b;
  memcpy(at, from, sizeof at);
  at[f->order[0]] = f->axis[f->order[0]].count - 1;
  ab_at(f, at, &a, &b);
  return a != 0 ? b / a : 0;
}

static void look_at_form(qp_field_fit *f) {
  qp_random r = {.state = 1};
  double ratio = 0, others = 1;
  for (unsigned i = 0; i < f->fields; i++) f->line[i] = f->axis[i].count > 2;
  for (unsigned i = 1; i < f->fields; i++) others *= f->axis[f->order[i]].count;
  f->slices = others <= MOST_SLICES;
  for (unsigned s = 0; s < SAMPLES; s++) {
    uint32_t at[QP_MAX_FIELDS] = {0};
    double a, b;
    draw_place(f, &r, at);
    ab_at(f, at, &a, &b);
    f->flips |= a < 0;
    f->slices &= is_ratio(a, b, ratio_at(f, at));
    if (!s) ratio = ratio_at(f, at);
    f->shifts |= !is_ratio(a, b, ratio);
    for (unsigned i = 0; i < f->fields; i++) f->line[i] &= is_on_line(f, at, i);
  }
}

void qp_field_fit_free(qp_field_fit *f) {
  free(f->rounded);
  qp_levels_free(&f->exact);
  *f = (qp_field_fit){0};
}

/* Levels that others take the place of. */
static qp_status make_exact(qp_field_fit *f, qp_error *err) {
  const unsigned n = f->affine->levels.count;
  double *some = malloc(sizeof *some * n);
  f->rounded = malloc(sizeof *f->rounded * n);
  qp_status status = some && f->rounded ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  for (unsigned i = 0; !status && i < n; i++) some[i] = i;
  if (!status) status = qp_levels_make(&f->exact, n, some, err);
  free(some);
  return status;
}

qp_status qp_field_fit_make(qp_field_fit *out, const qp_affine *affine, const qp_field_axis *axis,
                            qp_error *err) {
  qp_field_fit f = {
      .affine = affine, .axis = axis, .fields = affine->quantizer->fields, .points = 1};
  for (unsigned i = 0; i < f.fields; i++) {
    unsigned at = i;
    for (; at && axis[f.order[at - 1]].count < axis[i].count; at--) f.order[at] = f.order[at - 1];
    f.order[at] = i;
    f.points *= axis[i].count;
  }
  look_at_form(&f);
  const qp_status status = make_exact(&f, err);
  if (status)
    qp_field_fit_free(&f);
  else
    *out = f;
  return status;
}

/* ---- a and b that are free ---- */

/* How far the parabola's lowest point is from where codes were chosen. */
static void lowest(const guess *g, double *da, double *db) {
  const qp_level_sums *s = &g->sums;
  const double k = g->ratio;
  if (g->shifts) {
    const double det = s->uu * s->n - s->u * s->u;
    *da = det > 0 ? (s->n * s->eu - s->u * s->e) / det : 0;
    *db = det > 0 ? (s->uu * s->e - s->u * s->eu) / det : s->e / s->n;
  } else {
    const double square = s->uu + 2 * k * s->u + k * k * s->n;
    *da = square > 0 ? (s->eu + k * s->e) / square : 0;
    *db = k * *da;
  }
}

/* Give the parabola's value at a and b. */
static double error_at(const guess *g, double a, double b) {
  const qp_level_sums *s = &g->sums;
  const double da = a - g->a, db = b - g->b;
  return s->ee - 2 * (da * s->eu + db * s->e) + da * da * s->uu + 2 * da * db * s->u +
         db * db * s->n;
}

/* Codes are chosen at a and b; what else 'out' says is given. */
static void choose(const qp_field_fit *f, const group *g, double a, double b, guess *out) {
  double da, db;
  out->a = a;
  out->b = b;
  qp_levels_fit(&f->affine->levels, g->n, g->x, a, b, &out->sums);
  lowest(out, &da, &db);
  out->reached = error_at(out, a + da, b + db);
}

static void forget(guess kept[KEPT]) {
  for (unsigned i = 0; i < KEPT; i++) kept[i] = (guess){.reached = INFINITY};
}

/* Keep the best guesses so far, the best one first; one that reaches the same as another counts as
   the same. */
static void keep(guess kept[KEPT], const guess *g) {
  unsigned at = KEPT;
  for (unsigned i = 0; i < KEPT; i++)
    if (fabs(kept[i].reached - g->reached) <= 1e-9 * g->reached) return;
  for (; at && g->reached < kept[at - 1].reached; at--)
    if (at < KEPT) kept[at] = kept[at - 1];
  if (at < KEPT) kept[at] = *g;
}

/* Ranges of all sizes: b is a times one number.  The least error that was reached. */
static double scan_ratio(const qp_field_fit *f, const group *g, double ratio, double sign,
                         double step, guess kept[KEPT]) {
  const qp_levels *l = &f->affine->levels;
  const double low = ratio + (double)l->value[0];
  const double high = ratio + (double)l->value[l->count - 1];
  const double most = sign > 0 ? g->most : -g->least, least = sign > 0 ? g->least : -g->most;
  double cover = 0, best = INFINITY;
  if (high > 0 && most > 0) cover = most / high;
  if (low < 0 && least < 0) cover = fmax(cover, least / low);
  if (!(cover > 0)) cover = fmax(fabs(most), fabs(least)) / fmax(fabs(high), fabs(low));
  double a = sign * cover * widest[l->even];
  for (unsigned i = 0; i < SCAN_STEPS; i++, a *= step) {
    guess now = {.ratio = ratio};
    choose(f, g, a, a * ratio, &now);
    keep(kept, &now);
    best = fmin(best, now.reached);
    if (now.reached > hopeless * best) break;
  }
  return best;
}

/* Scan ranges whose ends move by themselves. */
static void scan_ends(const qp_field_fit *f, const group *g, guess kept[KEPT]) {
  const qp_levels *l = &f->affine->levels;
  const double first = (double)l->value[0], span = (double)l->value[l->count - 1] - first;
  double best = INFINITY;
  for (double low = widest_end; low > least_end; low -= end_step) {
    double best_here = INFINITY;
    for (double high = widest_end; high > least_end; high -= end_step) {
      const double from = g->mean + low * (g->least - g->mean);
      const double to = g->mean + high * (g->most - g->mean);
      const double a = (to - from) / span;
      guess now = {.shifts = true};
      choose(f, g, a, from - a * first, &now);
      keep(kept, &now);
      best_here = fmin(best_here, now.reached);
      best = fmin(best, now.reached);
      if (now.reached > hopeless * best_here) break;
    }
    if (best_here > hopeless * best) break;
  }
}

static void descend(const qp_field_fit *f, const group *g, guess *from) {
  for (unsigned i = 0; i < DESCENTS; i++) {
    double da, db;
    guess next = *from;
    lowest(from, &da, &db);
    choose(f, g, from->a + da, from->b + db, &next);
    if (!(next.sums.ee < from->sums.ee)) return;
    *from = next;
  }
}

/* ---- The fields' values ---- */

static double parabola_at(const qp_field_fit *f, const guess *g, const uint32_t *at) {
  double a, b;
  ab_at(f, at, &a, &b);
  return error_at(g, a, b);
}

/* Find the place in an axis that is nearest to a number. */
static uint32_t nearest_place(const qp_field_axis *x, double number) {
  uint32_t low = 0, high = x->count - 1;
  if (!(number > x->number[0])) return 0;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (x->number[middle] <= number)
      low = middle;
    else
      high = middle;
  }
  return number - x->number[low] <= x->number[high] - number ? low : high;
}

/* Along a line the parabola is one in the field's number. */
static double lowest_on_line(const qp_field_fit *f, const guess *g, unsigned field, uint32_t *at) {
  const qp_field_axis *x = &f->axis[field];
  const qp_level_sums *s = &g->sums;
  double a, b, a1, b1;
  at[field] = 0;
  ab_at(f, at, &a, &b);
  at[field] = x->count - 1;
  ab_at(f, at, &a1, &b1);
  const double width = x->number[x->count - 1] - x->number[0];
  const double sa = (a1 - a) / width, sb = (b1 - b) / width, da = a - g->a, db = b - g->b;
  const double slope = sa * (s->eu - da * s->uu - db * s->u) + sb * (s->e - da * s->u - db * s->n);
  const double curve = sa * sa * s->uu + 2 * sa * sb * s->u + sb * sb * s->n;
  at[field] = curve > 0 ? nearest_place(x, x->number[0] + slope / curve) : 0;
  return parabola_at(f, g, at);
}

static double lowest_nested(const qp_field_fit *f, const guess *g, unsigned depth, uint32_t *at);

/* Steps along a field that get shorter; the fields before it in the order follow. */
static double lowest_by_steps(const qp_field_fit *f, const guess *g, unsigned depth, uint32_t *at) {
  const unsigned field = f->order[depth], count = f->axis[field].count;
  double best = depth ? lowest_nested(f, g, depth - 1, at) : parabola_at(f, g, at);
  unsigned step = 1;
  while (step < count / 4) step *= 2;
  for (; step; step /= 2) {
    for (int up = 0; up < 2; up++) {
      uint32_t now[QP_MAX_FIELDS];
      memcpy(now, at, sizeof now);
      if (up ? now[field] + step >= count : now[field] < step) continue;
      now[field] = up ? now[field] + step : now[field] - step;
      const double error = depth ? lowest_nested(f, g, depth - 1, now) : parabola_at(f, g, now);
      if (!(error < best)) continue;
      best = error;
      memcpy(at, now, sizeof now);
    }
  }
  return best;
}

/* The parabola's lowest point over the fields order[0..depth], others as they are. */
static double lowest_nested(const qp_field_fit *f, const guess *g, unsigned depth, uint32_t *at) {
  if (!depth && f->line[f->order[0]]) return lowest_on_line(f, g, f->order[0], at);
  return lowest_by_steps(f, g, depth, at);
}

static double error_of(const qp_field_fit *f, const group *g, const uint32_t *at, guess *out) {
  double a, b;
  ab_at(f, at, &a, &b);
  qp_levels_fit(&f->affine->levels, g->n, g->x, a, b, &out->sums);
  out->a = a;
  out->b = b;
  return out->sums.ee;
}

/* Choose codes and fields in turn, from a place on; is it, or where it leads, better than the best
   one? */
static void settle(const qp_field_fit *f, const group *g, const uint32_t *from, place *best) {
  place now = {.error = INFINITY};
  guess codes;
  memcpy(now.at, from, sizeof now.at);
  for (unsigned i = 0; i < DESCENTS; i++) {
    uint32_t before[QP_MAX_FIELDS];
    const double error = error_of(f, g, now.at, &codes);
    if (!(error < now.error)) break;
    now.error = error;
    if (error < best->error) *best = now;
    memcpy(before, now.at, sizeof before);
    for (unsigned k = 0; k < f->fields; k++)
      if (f->line[k] && f->axis[k].count > FINE_AXIS) lowest_on_line(f, &codes, k, now.at);
    if (!memcmp(before, now.at, sizeof before)) break;
  }
}

/* See where a guess leads, also from the neighbours in fields of few values. */
static void project(const qp_field_fit *f, const group *g, const guess *from, place *best) {
  uint32_t at[QP_MAX_FIELDS] = {0};
  for (unsigned i = 0; i < f->fields; i++) at[i] = f->axis[i].count / 4 * 3;
  lowest_nested(f, from, f->fields > 1, at);
  settle(f, g, at, best);
  for (unsigned k = 0; k < f->fields; k++) {
    if (f->axis[k].count > FINE_AXIS) continue;
    for (int up = 0; up < 2; up++) {
      uint32_t near[QP_MAX_FIELDS];
      memcpy(near, at, sizeof near);
      if (up ? near[k] + 1 >= f->axis[k].count : !near[k]) continue;
      near[k] = up ? near[k] + 1 : near[k] - 1;
      if (f->order[0] != k) lowest_nested(f, from, 0, near);
      settle(f, g, near, best);
    }
  }
}

static bool move(const qp_field_fit *f, uint32_t *at, unsigned field, int direction,
                 unsigned step) {
  if (f->axis[field].count <= FINE_AXIS) step = 1;
  if (direction < 0 ? at[field] < step : at[field] + step >= f->axis[field].count) return false;
  at[field] = direction < 0 ? at[field] - step : at[field] + step;
  return true;
}

/* Compute the error of what codes decode to. */
static double exact_error(qp_field_fit *f, const group *g, const uint32_t *at) {
  uint32_t raw[QP_MAX_FIELDS] = {0};
  qp_level_sums sums;
  for (unsigned i = 0; i < f->fields; i++) raw[i] = f->axis[i].value[at[i]];
  qp_affine_rounded(f->affine, raw, f->rounded);
  qp_levels_set(&f->exact, f->rounded);
  qp_levels_fit(&f->exact, g->n, g->x, 1, 0, &sums);
  return sums.ee;
}

/* Try steps of one length along each field and each two of them; of length 0 the exact errors
   count. */
static bool polish_once(qp_field_fit *f, const group *g, unsigned step, place *best) {
  static const int directions[][2] = {{-1, 0}, {1, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
  const unsigned length = step ? step : 1;
  bool better = false;
  for (unsigned i = 0; i < f->fields; i++) {
    for (unsigned k = i; k < f->fields; k++) {
      for (unsigned d = i == k ? 0 : 2; d < (i == k ? 2 : 6); d++) {
        place now = *best;
        guess codes;
        if (!move(f, now.at, i, directions[d][0], length)) continue;
        if (i != k && !move(f, now.at, k, directions[d][1], length)) continue;
        now.error = step ? error_of(f, g, now.at, &codes) : exact_error(f, g, now.at);
        if (!(now.error < best->error)) continue;
        *best = now;
        better = true;
      }
    }
  }
  return better;
}

static void polish(qp_field_fit *f, const group *g, place *p) {
  for (unsigned step = LONGEST_STEP; step; step /= 2)
    while (polish_once(f, g, step, p)) {
    }
  p->error = exact_error(f, g, p->at);
  for (unsigned i = 0; i < EXACT_ROUNDS && polish_once(f, g, 0, p); i++) {
  }
}

/* The next place, of those that the fields order[first..] tell apart; false: there is none. */
static bool next_place(const qp_field_fit *f, unsigned first, uint32_t *at) {
  for (unsigned i = first; i < f->fields; i++) {
    const unsigned field = f->order[i];
    if (++at[field] < f->axis[field].count) return true;
    at[field] = 0;
  }
  return false;
}

static void try_all(const qp_field_fit *f, const group *g, place *best) {
  place now = {.at = {0}};
  do {
    guess codes;
    now.error = error_of(f, g, now.at, &codes);
    if (now.error < best->error) *best = now;
  } while (next_place(f, 0, now.at));
}

/* Where b is a times one number in each of some slices, those are looked at that promise most. */
static void scan_slices(const qp_field_fit *f, const group *g, guess kept[KEPT]) {
  uint32_t at[QP_MAX_FIELDS] = {0};
  double best[2 * MOST_SLICES] = {0}, ratio[MOST_SLICES], least = INFINITY;
  const unsigned ways = f->flips ? 2 : 1;
  unsigned slices = 0;
  do {
    ratio[slices] = ratio_at(f, at);
    for (unsigned flip = 0; flip < ways; flip++) {
      guess other[KEPT];
      forget(other);
      const double reached = scan_ratio(f, g, ratio[slices], flip ? -1 : 1, coarsely, other);
      best[2 * slices + flip] = reached;
      least = fmin(least, reached);
    }
    slices++;
  } while (f->shifts && next_place(f, 1, at));
  for (unsigned i = 0; i < 2 * slices; i++)
    if (i % 2 < ways && best[i] <= promising * least)
      scan_ratio(f, g, ratio[i / 2], i % 2 ? -1 : 1, slices > 1 ? usually : finely, kept);
}

static group group_of(size_t n, const float *x) {
  group g = {.n = n, .x = x, .least = INFINITY, .most = -INFINITY};
  for (size_t i = 0; i < n; i++) {
    g.least = fmin(g.least, (double)x[i]);
    g.most = fmax(g.most, (double)x[i]);
    g.mean += (double)x[i] / (double)n;
  }
  return g;
}

void qp_field_fit_run(qp_field_fit *f, size_t n, const float *targets, uint32_t at[QP_MAX_FIELDS]) {
  const group g = group_of(n, targets);
  place best = {.error = INFINITY};
  guess kept[KEPT];
  forget(kept);
  if (f->points <= FEW_POINTS)
    try_all(f, &g, &best);
  else if (f->shifts && !f->slices)
    scan_ends(f, &g, kept);
  else
    scan_slices(f, &g, kept);
  for (unsigned i = 0; i < KEPT && kept[i].reached < INFINITY; i++) {
    descend(f, &g, &kept[i]);
    project(f, &g, &kept[i], &best);
  }
  polish(f, &g, &best);
  memcpy(at, best.at, sizeof best.at);
}
