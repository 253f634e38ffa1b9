/* SPDX-License-Identifier: MIT */
/*
** The steps that fit group fields by least squares:  a group's targets --> places in the fields'
** lists of values.  C (gen/encode/field_fit.c) and CUDA (templates/encode_fields.cu.in) compile
** this one text, so that both take the same steps and round alike.  Before it are defined
**   QP_STEP           what a function begins with
**   qp_real           a double; sums and products are rounded one by one, none is fused
**   qp_level_sums     as gen/encode/levels.h has it, of qp_real
**   QP_INFINITE       of qp_real
**   QP_FIT_FIELDS     fields that a place has room for, an even number
**   qp_fit            the group in hand and all that is known of its quantizer, by these functions:
**     fit_fields, fit_count(field), fit_number(field, place), fit_line(field)
**     fit_order(i)    fields by their count of values, the largest first
**     fit_few         there are few points, so that all are looked at
**     fit_flips, fit_shifts, fit_slices
**                     a may be negative; b is not a times one number, but is while only the first
**                     field of the order moves
**     fit_even, fit_level(i)   levels are evenly spaced; the first (0) and the last (1)
**     fit_ab(at)      a and b at a place
**     fit_sums(a, b)  sums over the targets, each at its nearest level: qp_levels_fit
**     fit_exact(at)   the sum of squared errors of what codes decode to at a place
**     fit_least, fit_most, fit_mean   of the targets
**
** A weight is near  a u + b,  a and b set by the fields.  Codes that are chosen leave a parabola in
** a and b; its lowest point is the next a and b, for which codes are chosen again.  The way down
** ends in one of many valleys, so it begins in many places:
**   1  scan     a and b for ranges of all sizes that are wider or narrower than the targets'
**   2  descend  from the best few, a and b free
**   3  project  to the fields' values: the parabola's lowest point among them
**   4  settle   codes and fields in turn
**   5  polish   steps in every field, and in every two, while one helps; at last with what codes
**               decode to, rounding and all
** Where there are few points, all are looked at instead.
*/
#ifndef QP_FIELD_FIT_STEPS
#define QP_FIELD_FIT_STEPS

enum {
  FIT_KEPT = 4,         /* places from which the scan's best ways begin */
  FIT_DESCENTS = 4,     /* rounds of steps 2 and 4, at most */
  FIT_SCAN_STEPS = 256, /* at most */
  FIT_MOST_SLICES = 16, /* values of the smaller fields, in each of which b is a times one number */
  FIT_FINE_AXIS = 256,  /* a field of more values moves by longer steps too, from this one down: */
  FIT_LONGEST_STEP = 32,
  FIT_EXACT_ROUNDS = 4 /* of steps whose errors are exact, at most */
};
/* A scan's widest range as a multiple of the targets', of uneven levels and of even ones; how much
   narrower the next one is: 2^(-1/64), of one among slices 2^(-1/32), of a coarse scan 2^(-1/4). */
#define FIT_WIDEST      4
#define FIT_WIDEST_EVEN 1.3
#define FIT_FINELY      0.98922801319397546
#define FIT_USUALLY     0.97857206208770013
#define FIT_COARSELY    0.84089641525371454
/* Ranges whose two ends move: parts of the way from the mean to the targets' ends. */
#define FIT_WIDEST_END 1.1
#define FIT_LEAST_END  0.2
#define FIT_END_STEP   0.06
/* Of errors, times the least: narrower ranges are worse still; a slice is worth a finer scan. */
#define FIT_HOPELESS  3
#define FIT_PROMISING 1.25

/* Codes that were chosen at a and b, of which b is free or a times a number. */
typedef struct fit_guess {
  unsigned long long shifts; /* 0 or 1, as wide as what follows: no padding is copied */
  qp_real ratio;
  qp_real a, b;
  qp_level_sums sums;
  qp_real reached; /* the error at the parabola's lowest point */
} fit_guess;

typedef struct fit_place {
  unsigned at[QP_FIT_FIELDS];
  qp_real error;
} fit_place;

QP_STEP void fit_copy(unsigned *to, const unsigned *from) {
  for (unsigned i = 0; i < QP_FIT_FIELDS; i++) to[i] = from[i];
}

QP_STEP bool fit_same(const qp_fit *f, const unsigned *x, const unsigned *y) {
  bool same = true;
  for (unsigned i = 0; i < fit_fields(f); i++) same = same && x[i] == y[i];
  return same;
}

/* The lesser, and x where y is none. */
QP_STEP qp_real fit_less(qp_real x, qp_real y) { return y < x ? y : x; }
QP_STEP qp_real fit_size(qp_real x) { return x < 0 ? -x : x; }

/* The ratio of b to a where the first field of the order is at its end. */
QP_STEP qp_real fit_ratio(const qp_fit *f, const unsigned *from) {
  unsigned at[QP_FIT_FIELDS];
  qp_real a, b;
  fit_copy(at, from);
  at[fit_order(f, 0)] = fit_count(f, fit_order(f, 0)) - 1;
  fit_ab(f, at, &a, &b);
  return a != 0 ? b / a : 0;
}

/* ---- a and b that are free ---- */

/* How far the parabola's lowest point is from where codes were chosen. */
QP_STEP void fit_lowest(const fit_guess *g, qp_real *da, qp_real *db) {
  const qp_level_sums *s = &g->sums;
  const qp_real k = g->ratio;
  if (g->shifts) {
    const qp_real det = s->uu * s->n - s->u * s->u;
    *da = det > 0 ? (s->n * s->eu - s->u * s->e) / det : 0;
    *db = det > 0 ? (s->uu * s->e - s->u * s->eu) / det : s->e / s->n;
  } else {
    const qp_real square = s->uu + 2 * k * s->u + k * k * s->n;
    *da = square > 0 ? (s->eu + k * s->e) / square : 0;
    *db = k * *da;
  }
}

/* The parabola, at a and b. */
QP_STEP qp_real fit_error(const fit_guess *g, qp_real a, qp_real b) {
  const qp_level_sums *s = &g->sums;
  const qp_real da = a - g->a, db = b - g->b;
  return s->ee - 2 * (da * s->eu + db * s->e) + da * da * s->uu + 2 * da * db * s->u +
         db * db * s->n;
}

/* Codes are chosen at a and b; what else 'out' says is given. */
QP_STEP void fit_choose(const qp_fit *f, qp_real a, qp_real b, fit_guess *out) {
  qp_real da, db;
  out->a = a;
  out->b = b;
  fit_sums(f, a, b, &out->sums);
  fit_lowest(out, &da, &db);
  out->reached = fit_error(out, a + da, b + db);
}

QP_STEP void fit_forget(fit_guess *kept) {
  for (unsigned i = 0; i < FIT_KEPT; i++) {
    fit_guess *g = &kept[i];
    g->shifts = 0;
    g->ratio = g->a = g->b = 0;
    g->sums.ee = g->sums.eu = g->sums.e = g->sums.u = g->sums.uu = g->sums.n = 0;
    g->reached = QP_INFINITE;
  }
}

/* The best so far, the best one first; others that reach the same are the same. */
QP_STEP void fit_keep(fit_guess *kept, const fit_guess *g) {
  unsigned at = FIT_KEPT;
  for (unsigned i = 0; i < FIT_KEPT; i++)
    if (fit_size(kept[i].reached - g->reached) <= 1e-9 * g->reached) return;
  for (; at && g->reached < kept[at - 1].reached; at--)
    if (at < FIT_KEPT) kept[at] = kept[at - 1];
  if (at < FIT_KEPT) kept[at] = *g;
}

/* Ranges of all sizes: b is a times one number.  The least error that was reached. */
QP_STEP qp_real fit_scan_ratio(const qp_fit *f, qp_real ratio, bool flipped, qp_real step,
                               fit_guess *kept) {
  const qp_real low = ratio + fit_level(f, 0), high = ratio + fit_level(f, 1);
  const qp_real most = flipped ? -fit_least(f) : fit_most(f);
  const qp_real least = flipped ? -fit_most(f) : fit_least(f);
  qp_real cover = 0, best = QP_INFINITE;
  if (high > 0 && most > 0) cover = most / high;
  if (low < 0 && least < 0) cover = -fit_less(-cover, -(least / low));
  if (!(cover > 0))
    cover =
        -fit_less(-fit_size(most), -fit_size(least)) / -fit_less(-fit_size(high), -fit_size(low));
  const qp_real widest = fit_even(f) ? FIT_WIDEST_EVEN : FIT_WIDEST;
  qp_real a = (flipped ? -cover : cover) * widest;
  for (unsigned i = 0; i < FIT_SCAN_STEPS; i++, a *= step) {
    fit_guess now;
    now.shifts = 0;
    now.ratio = ratio;
    fit_choose(f, a, a * ratio, &now);
    fit_keep(kept, &now);
    best = fit_less(best, now.reached);
    if (now.reached > FIT_HOPELESS * best) break;
  }
  return best;
}

/* Ranges whose ends move by themselves. */
QP_STEP void fit_scan_ends(const qp_fit *f, fit_guess *kept) {
  const qp_real first = fit_level(f, 0), span = fit_level(f, 1) - first, mean = fit_mean(f);
  const qp_real least = fit_least(f), most = fit_most(f);
  qp_real best = QP_INFINITE;
  for (qp_real low = FIT_WIDEST_END; low > FIT_LEAST_END; low -= FIT_END_STEP) {
    qp_real best_here = QP_INFINITE;
    for (qp_real high = FIT_WIDEST_END; high > FIT_LEAST_END; high -= FIT_END_STEP) {
      const qp_real from = mean + low * (least - mean), to = mean + high * (most - mean);
      const qp_real a = (to - from) / span;
      fit_guess now;
      now.shifts = 1;
      now.ratio = 0;
      fit_choose(f, a, from - a * first, &now);
      fit_keep(kept, &now);
      best_here = fit_less(best_here, now.reached);
      best = fit_less(best, now.reached);
      if (now.reached > FIT_HOPELESS * best_here) break;
    }
    if (best_here > FIT_HOPELESS * best) break;
  }
}

QP_STEP void fit_descend(const qp_fit *f, fit_guess *from) {
  for (unsigned i = 0; i < FIT_DESCENTS; i++) {
    qp_real da, db;
    fit_guess next = *from;
    fit_lowest(from, &da, &db);
    fit_choose(f, from->a + da, from->b + db, &next);
    if (!(next.sums.ee < from->sums.ee)) return;
    *from = next;
  }
}

/* ---- The fields' values ---- */

QP_STEP qp_real fit_parabola(const qp_fit *f, const fit_guess *g, const unsigned *at) {
  qp_real a, b;
  fit_ab(f, at, &a, &b);
  return fit_error(g, a, b);
}

/* The place of a number in a field's list: the nearest. */
QP_STEP unsigned fit_nearest(const qp_fit *f, unsigned field, qp_real number) {
  unsigned low = 0, high = fit_count(f, field) - 1;
  if (!(number > fit_number(f, field, 0))) return 0;
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    if (fit_number(f, field, middle) <= number)
      low = middle;
    else
      high = middle;
  }
  const qp_real below = number - fit_number(f, field, low);
  return below <= fit_number(f, field, high) - number ? low : high;
}

/* Along a line the parabola is one in the field's number. */
QP_STEP qp_real fit_lowest_on_line(const qp_fit *f, const fit_guess *g, unsigned field,
                                   unsigned *at) {
  const qp_level_sums *s = &g->sums;
  const unsigned last = fit_count(f, field) - 1;
  qp_real a, b, a1, b1;
  at[field] = 0;
  fit_ab(f, at, &a, &b);
  at[field] = last;
  fit_ab(f, at, &a1, &b1);
  const qp_real first = fit_number(f, field, 0), width = fit_number(f, field, last) - first;
  const qp_real sa = (a1 - a) / width, sb = (b1 - b) / width, da = a - g->a, db = b - g->b;
  const qp_real slope = sa * (s->eu - da * s->uu - db * s->u) + sb * (s->e - da * s->u - db * s->n);
  const qp_real curve = sa * sa * s->uu + 2 * sa * sb * s->u + sb * sb * s->n;
  at[field] = curve > 0 ? fit_nearest(f, field, first + slope / curve) : 0;
  return fit_parabola(f, g, at);
}

/* One step along a field; false: there is no such place. */
QP_STEP bool fit_moved(const qp_fit *f, unsigned *at, unsigned field, bool up, unsigned step) {
  if (up ? at[field] + step >= fit_count(f, field) : at[field] < step) return false;
  at[field] = up ? at[field] + step : at[field] - step;
  return true;
}

QP_STEP unsigned fit_first_step(const qp_fit *f, unsigned field) {
  unsigned step = 1;
  while (step < fit_count(f, field) / 4) step *= 2;
  return step;
}

/* The parabola's lowest point over the first field of the order, others as they are: on a line, or
   by steps that get shorter. */
QP_STEP qp_real fit_lowest_of_first(const qp_fit *f, const fit_guess *g, unsigned *at) {
  const unsigned field = fit_order(f, 0);
  if (fit_line(f, field)) return fit_lowest_on_line(f, g, field, at);
  qp_real best = fit_parabola(f, g, at);
  for (unsigned step = fit_first_step(f, field); step; step /= 2) {
    for (unsigned up = 0; up < 2; up++) {
      unsigned now[QP_FIT_FIELDS];
      fit_copy(now, at);
      if (!fit_moved(f, now, field, up != 0, step)) continue;
      const qp_real error = fit_parabola(f, g, now);
      if (!(error < best)) continue;
      best = error;
      fit_copy(at, now);
    }
  }
  return best;
}

/* The same over the first two: the second by steps, the first follows. */
QP_STEP void fit_lowest_of_two(const qp_fit *f, const fit_guess *g, unsigned *at) {
  const unsigned field = fit_order(f, 1);
  qp_real best = fit_lowest_of_first(f, g, at);
  for (unsigned step = fit_first_step(f, field); step; step /= 2) {
    for (unsigned up = 0; up < 2; up++) {
      unsigned now[QP_FIT_FIELDS];
      fit_copy(now, at);
      if (!fit_moved(f, now, field, up != 0, step)) continue;
      const qp_real error = fit_lowest_of_first(f, g, now);
      if (!(error < best)) continue;
      best = error;
      fit_copy(at, now);
    }
  }
}

QP_STEP qp_real fit_codes(const qp_fit *f, const unsigned *at, fit_guess *out) {
  qp_real a, b;
  fit_ab(f, at, &a, &b);
  fit_sums(f, a, b, &out->sums);
  out->a = a;
  out->b = b;
  return out->sums.ee;
}

/* Codes and fields in turn, from a place; is it, or where it leads, better than the best one? */
QP_STEP void fit_settle(const qp_fit *f, const unsigned *from, fit_place *best) {
  fit_place now;
  fit_guess codes;
  now.error = QP_INFINITE;
  fit_copy(now.at, from);
  for (unsigned i = 0; i < FIT_DESCENTS; i++) {
    unsigned before[QP_FIT_FIELDS];
    const qp_real error = fit_codes(f, now.at, &codes);
    if (!(error < now.error)) break;
    now.error = error;
    if (error < best->error) *best = now;
    fit_copy(before, now.at);
    for (unsigned k = 0; k < fit_fields(f); k++)
      if (fit_line(f, k) && fit_count(f, k) > FIT_FINE_AXIS)
        fit_lowest_on_line(f, &codes, k, now.at);
    if (fit_same(f, before, now.at)) break;
  }
}

/* Where a guess leads, also from the neighbours in fields of few values. */
QP_STEP void fit_project(const qp_fit *f, const fit_guess *from, fit_place *best) {
  unsigned at[QP_FIT_FIELDS];
  for (unsigned i = 0; i < QP_FIT_FIELDS; i++) at[i] = 0;
  for (unsigned i = 0; i < fit_fields(f); i++) at[i] = fit_count(f, i) / 4 * 3;
  if (fit_fields(f) > 1)
    fit_lowest_of_two(f, from, at);
  else
    fit_lowest_of_first(f, from, at);
  fit_settle(f, at, best);
  for (unsigned k = 0; k < fit_fields(f); k++) {
    if (fit_count(f, k) > FIT_FINE_AXIS) continue;
    for (unsigned up = 0; up < 2; up++) {
      unsigned near[QP_FIT_FIELDS];
      fit_copy(near, at);
      if (!fit_moved(f, near, k, up != 0, 1)) continue;
      if (fit_order(f, 0) != k) fit_lowest_of_first(f, from, near);
      fit_settle(f, near, best);
    }
  }
}

QP_STEP bool fit_move(const qp_fit *f, unsigned *at, unsigned field, bool up, unsigned step) {
  return fit_moved(f, at, field, up, fit_count(f, field) <= FIT_FINE_AXIS ? 1 : step);
}

/* Steps of one length along each field and each two of them; of length 0 the exact errors count. */
QP_STEP bool fit_polish_once(const qp_fit *f, unsigned step, fit_place *best) {
  const unsigned length = step ? step : 1;
  bool better = false;
  for (unsigned i = 0; i < fit_fields(f); i++) {
    for (unsigned k = i; k < fit_fields(f); k++) {
      for (unsigned d = 0; d < (i == k ? 2u : 4u); d++) { /* --, -+, +-, ++, of one field -, + */
        fit_place now = *best;
        fit_guess codes;
        if (!fit_move(f, now.at, i, i == k ? d != 0 : d > 1, length)) continue;
        if (i != k && !fit_move(f, now.at, k, d % 2 != 0, length)) continue;
        now.error = step ? fit_codes(f, now.at, &codes) : fit_exact(f, now.at);
        if (!(now.error < best->error)) continue;
        *best = now;
        better = true;
      }
    }
  }
  return better;
}

QP_STEP void fit_polish(const qp_fit *f, fit_place *p) {
  for (unsigned step = FIT_LONGEST_STEP; step; step /= 2)
    while (fit_polish_once(f, step, p)) {
    }
  p->error = fit_exact(f, p->at);
  for (unsigned i = 0; i < FIT_EXACT_ROUNDS && fit_polish_once(f, 0, p); i++) {
  }
}

/* The next place, of those that the fields from 'first' of the order on tell apart; false: there is
   none. */
QP_STEP bool fit_next(const qp_fit *f, unsigned first, unsigned *at) {
  for (unsigned i = first; i < fit_fields(f); i++) {
    const unsigned field = fit_order(f, i);
    if (++at[field] < fit_count(f, field)) return true;
    at[field] = 0;
  }
  return false;
}

QP_STEP void fit_try_all(const qp_fit *f, fit_place *best) {
  fit_place now;
  for (unsigned i = 0; i < QP_FIT_FIELDS; i++) now.at[i] = 0;
  do {
    fit_guess codes;
    now.error = fit_codes(f, now.at, &codes);
    if (now.error < best->error) *best = now;
  } while (fit_next(f, 0, now.at));
}

/* Where b is a times one number in each of some slices, those are looked at that promise most. */
QP_STEP void fit_scan_slices(const qp_fit *f, fit_guess *kept) {
  unsigned at[QP_FIT_FIELDS];
  qp_real best[2 * FIT_MOST_SLICES], ratio[FIT_MOST_SLICES], least = QP_INFINITE;
  const unsigned ways = fit_flips(f) ? 2 : 1;
  unsigned slices = 0;
  for (unsigned i = 0; i < QP_FIT_FIELDS; i++) at[i] = 0;
  do {
    ratio[slices] = fit_ratio(f, at);
    for (unsigned flip = 0; flip < ways; flip++) {
      fit_guess other[FIT_KEPT];
      fit_forget(other);
      const qp_real reached = fit_scan_ratio(f, ratio[slices], flip != 0, FIT_COARSELY, other);
      best[2 * slices + flip] = reached;
      least = fit_less(least, reached);
    }
    slices++;
  } while (fit_shifts(f) && fit_next(f, 1, at));
  for (unsigned i = 0; i < slices; i++)
    for (unsigned flip = 0; flip < ways; flip++)
      if (best[2 * i + flip] <= FIT_PROMISING * least)
        fit_scan_ratio(f, ratio[i], flip != 0, slices > 1 ? FIT_USUALLY : FIT_FINELY, kept);
}

/* Find the places: at [fields]. */
QP_STEP void fit_run(const qp_fit *f, unsigned *at) {
  fit_place best;
  fit_guess kept[FIT_KEPT];
  for (unsigned i = 0; i < QP_FIT_FIELDS; i++) best.at[i] = 0;
  best.error = QP_INFINITE;
  fit_forget(kept);
  if (fit_few(f))
    fit_try_all(f, &best);
  else if (fit_shifts(f) && !fit_slices(f))
    fit_scan_ends(f, kept);
  else
    fit_scan_slices(f, kept);
  for (unsigned i = 0; i < FIT_KEPT && kept[i].reached < QP_INFINITE; i++) {
    fit_descend(f, &kept[i]);
    fit_project(f, &kept[i], &best);
  }
  fit_polish(f, &best);
  fit_copy(at, best.at);
}

#endif
