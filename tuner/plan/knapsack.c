/* SPDX-License-Identifier: MIT */
/* Solves one item of the planner's problem at given multipliers, as knapsack.h describes. */
#include "runtime/list.h"
#include "tuner/plan/knapsack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  MASKS = 1 << QP_KNAP_LINEARS,
  MAX_LISTS = 1 << 11,
  MAX_OPTIONS = 1 << 16,
  MAX_MODES = 1 << 14
};

/* Multipliers and, for one item, the best option of each list at them. */
typedef struct prices {
  const qp_knap_item *item;
  double weight, lambda, mu;
  double least[MAX_LISTS];
  unsigned best[MAX_LISTS];
} prices;

static double price(const prices *p, const qp_knap_option *o) {
  return p->weight * o->loss + p->lambda * (double)o->ps + p->mu * (double)o->bytes;
}

static double offset_price(const prices *p, const qp_knap_mode *m) {
  return p->weight * m->offset_loss + p->lambda * (double)m->offset_ps;
}

static void set_prices(prices *p, const qp_knap_item *item, double weight, double lambda,
                       double mu) {
  p->item = item;
  p->weight = weight, p->lambda = lambda, p->mu = mu;
  for (unsigned i = 0; i < item->lists; i++) {
    const qp_knap_list *list = &item->list[i];
    double least = price(p, &list->option[0]);
    unsigned best = 0;
    for (unsigned k = 1; k < list->count; k++) {
      double v = price(p, &list->option[k]);
      if (v < least) least = v, best = k;
    }
    p->least[i] = least;
    p->best[i] = best;
  }
}

int qp_knap_compare_tags(const unsigned *a, const unsigned *b, unsigned parts) {
  for (unsigned k = 0; k < parts; k++)
    if (a[k] != b[k]) return a[k] < b[k] ? -1 : 1;
  return 0;
}

static bool is_excluded(const qp_knap_item *item, const qp_knap_mode *m, const uint16_t *option) {
  unsigned tags[QP_KNAP_LINEARS], lo = 0, hi = m->exclusions;
  for (unsigned k = 0; k < m->parts; k++) tags[k] = item->list[m->list[k]].option[option[k]].tag;
  while (lo < hi) {
    unsigned mid = (lo + hi) / 2;
    int order = qp_knap_compare_tags(m->excluded + (size_t)mid * m->parts, tags, m->parts);
    if (order == 0) return true;
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return false;
}

/*
** ---- The best combination of a mode, with exclusions: depth first, cut by the lists' least ----
*/

typedef struct mode_search {
  const prices *p;
  const qp_knap_mode *mode;
  double rest[QP_KNAP_LINEARS + 1]; /* least price of parts k.. */
  uint16_t at[QP_KNAP_LINEARS], best[QP_KNAP_LINEARS];
  double least;
} mode_search;

static void search_part(mode_search *s, unsigned k, double sum) {
  const qp_knap_item *item = s->p->item;
  if (k == s->mode->parts) {
    if (sum < s->least && !is_excluded(item, s->mode, s->at)) {
      s->least = sum;
      memcpy(s->best, s->at, sizeof s->at);
    }
    return;
  }
  const qp_knap_list *list = &item->list[s->mode->list[k]];
  const unsigned best = s->p->best[s->mode->list[k]];
  for (unsigned n = 0; n < list->count; n++) { /* the best first: the rest is then cut early */
    unsigned i = n == 0 ? best : n <= best ? n - 1 : n;
    double v = sum + price(s->p, &list->option[i]);
    if (!(v + s->rest[k + 1] < s->least)) continue;
    s->at[k] = (uint16_t)i;
    search_part(s, k + 1, v);
  }
}

/* Least price of a mode, INFINITY where everything is excluded; 'option' takes the combination. */
static double best_of_mode(const prices *p, const qp_knap_mode *m, uint16_t *option) {
  double sum = offset_price(p, m);
  for (unsigned k = 0; k < m->parts; k++) {
    sum += p->least[m->list[k]];
    option[k] = (uint16_t)p->best[m->list[k]];
  }
  if (!m->exclusions || !is_excluded(p->item, m, option)) return sum;
  mode_search s = {.p = p, .mode = m, .least = INFINITY};
  for (unsigned k = m->parts; k-- > 0;) s.rest[k] = s.rest[k + 1] + p->least[m->list[k]];
  search_part(&s, 0, offset_price(p, m));
  memcpy(option, s.best, m->parts * sizeof *option);
  return s.least;
}

/* ---- The best partition ---- */

typedef struct partition {
  double of_mask[MASKS]; /* The least price of launching the linears of a mask together. */
  int mode[MASKS];       /* its mode; -1: none */
  double least[MASKS];   /* The least price of any partition of a mask. */
  unsigned first[MASKS]; /* The launch with its lowest linear. */
} partition;

static unsigned lowest(unsigned mask) { return mask & (~mask + 1); }

/* Find the best partition of every mask, from of_mask and mode. */
static void combine(partition *t, unsigned full) {
  t->least[0] = 0;
  for (unsigned mask = 1; mask <= full; mask++) {
    unsigned low = lowest(mask), others = mask & ~low;
    t->least[mask] = INFINITY;
    t->first[mask] = low;
    for (unsigned sub = others;; sub = (sub - 1) & others) {
      unsigned launch = sub | low;
      double v = t->mode[launch] < 0 ? INFINITY : t->of_mask[launch] + t->least[mask & ~launch];
      if (v < t->least[mask]) t->least[mask] = v, t->first[mask] = launch;
      if (!sub) break;
    }
  }
}

static unsigned classes_of(const qp_knap_item *item) { return item->classes ? item->classes : 1; }

/* Fill in the partitions into modes of a class. */
static void fill_partition(const prices *p, unsigned class, partition *t) {
  const qp_knap_item *item = p->item;
  unsigned full = (1u << item->linears) - 1;
  uint16_t option[QP_KNAP_LINEARS];
  for (unsigned mask = 0; mask <= full; mask++) t->of_mask[mask] = INFINITY, t->mode[mask] = -1;
  for (unsigned i = 0; i < item->modes; i++) {
    const qp_knap_mode *m = &item->mode[i];
    if (m->class != class) continue;
    double v = best_of_mode(p, m, option);
    if (v < t->of_mask[m->mask]) t->of_mask[m->mask] = v, t->mode[m->mask] = (int)i;
  }
  combine(t, full);
}

/* Fill in those of the class with the best one; of equals the first. */
static void fill_best(const prices *p, partition *t) {
  const unsigned full = (1u << p->item->linears) - 1, classes = classes_of(p->item);
  fill_partition(p, 0, t);
  for (unsigned class = 1; class < classes; class ++) {
    partition other;
    fill_partition(p, class, &other);
    if (other.least[full] < t->least[full]) *t = other;
  }
}

static void take_partition(const prices *p, const partition *t, qp_knap_choice *choice) {
  const qp_knap_item *item = p->item;
  unsigned parts = 0;
  *choice = (qp_knap_choice){0};
  for (unsigned mask = (1u << item->linears) - 1; mask; mask &= ~t->first[mask]) {
    int mode = t->mode[t->first[mask]];
    if (mode < 0) return; /* qp_knap_check does not let this happen */
    choice->mode[choice->launches++] = (uint16_t)mode;
    best_of_mode(p, &item->mode[mode], choice->option + parts);
    parts += item->mode[mode].parts;
  }
}

qp_knap_total qp_knap_sum(const qp_knap_item *item, const qp_knap_choice *choice) {
  qp_knap_total t = {0};
  unsigned at = 0;
  for (unsigned i = 0; i < choice->launches; i++) {
    const qp_knap_mode *m = &item->mode[choice->mode[i]];
    t.loss += m->offset_loss;
    t.ps += m->offset_ps;
    for (unsigned k = 0; k < m->parts; k++) {
      const qp_knap_option *o = &item->list[m->list[k]].option[choice->option[at++]];
      t.loss += o->loss;
      t.ps += o->ps;
      t.bytes += o->bytes;
    }
  }
  return t;
}

qp_knap_total qp_knap_plan_sum(const qp_knap *k, const qp_knap_choice *plan) {
  qp_knap_total sum = {0};
  for (unsigned i = 0; i < k->items; i++) {
    qp_knap_total t = qp_knap_sum(&k->item[i], &plan[i]);
    sum.loss += t.loss, sum.ps += t.ps, sum.bytes += t.bytes;
  }
  return sum;
}

double qp_knap_cheapest(const qp_knap_item *item, double weight, double lambda, double mu,
                        qp_knap_choice *choice, qp_knap_total *total) {
  prices p;
  partition t;
  qp_knap_choice own;
  set_prices(&p, item, weight, lambda, mu);
  fill_best(&p, &t);
  if (total && !choice) choice = &own;
  if (choice) take_partition(&p, &t, choice);
  if (total) *total = qp_knap_sum(item, choice);
  return t.least[(1u << item->linears) - 1];
}

/* ---- Quantizers of a choice, and the fastest launches for them ---- */

void qp_knap_quantizers(const qp_knap_item *item, const qp_knap_choice *choice, unsigned *tag) {
  unsigned at = 0;
  for (unsigned i = 0; i < choice->launches; i++) {
    const qp_knap_mode *m = &item->mode[choice->mode[i]];
    for (unsigned l = 0, part = 0; l < item->linears; l++) {
      if (!(m->mask >> l & 1)) continue;
      tag[l] = item->list[m->list[part]].option[choice->option[at + part]].tag / QP_KNAP_TAGS;
      if (m->parts > 1) part++;
    }
    at += m->parts;
  }
}

/* Find the fastest allowed combination of a mode with the tags of its linears; -1: there is
   none. */
static int64_t fastest_of_mode(const qp_knap_item *item, const qp_knap_mode *m, const unsigned *tag,
                               uint16_t *option) {
  int64_t sum = m->offset_ps;
  unsigned linear = 0;
  for (unsigned k = 0; k < m->parts; k++) {
    const qp_knap_list *list = &item->list[m->list[k]];
    unsigned found = list->count;
    while (!(m->mask >> linear & 1)) linear++;
    for (unsigned i = 0; i < list->count; i++)
      if (list->option[i].tag / QP_KNAP_TAGS == tag[linear] &&
          (found == list->count || list->option[i].ps < list->option[found].ps))
        found = i;
    if (found == list->count) return -1;
    for (unsigned l = 0; m->parts == 1 && l < item->linears; l++)
      if ((m->mask >> l & 1) && tag[l] != tag[linear]) return -1;
    option[k] = (uint16_t)found;
    sum += list->option[found].ps;
    linear++;
  }
  return is_excluded(item, m, option) ? -1 : sum;
}

static void fill_fastest(const qp_knap_item *item, const unsigned *tag, unsigned class,
                         partition *t) {
  const unsigned full = (1u << item->linears) - 1;
  uint16_t option[QP_KNAP_LINEARS];
  for (unsigned mask = 0; mask <= full; mask++) t->of_mask[mask] = INFINITY, t->mode[mask] = -1;
  for (unsigned i = 0; i < item->modes; i++) {
    const qp_knap_mode *m = &item->mode[i];
    int64_t v = m->class == class ? fastest_of_mode(item, m, tag, option) : -1;
    if (v >= 0 && (double)v < t->of_mask[m->mask])
      t->of_mask[m->mask] = (double)v, t->mode[m->mask] = (int)i;
  }
  combine(t, full);
}

bool qp_knap_fastest(const qp_knap_item *item, const unsigned *tag, qp_knap_choice *choice) {
  partition t;
  unsigned full = (1u << item->linears) - 1, parts = 0;
  fill_fastest(item, tag, 0, &t);
  for (unsigned class = 1; class < classes_of(item); class ++) {
    partition other;
    fill_fastest(item, tag, class, &other);
    if (other.least[full] < t.least[full]) t = other;
  }
  if (!isfinite(t.least[full])) return false;
  *choice = (qp_knap_choice){0};
  for (unsigned mask = full; mask; mask &= ~t.first[mask]) {
    int mode = t.mode[t.first[mask]];
    choice->mode[choice->launches++] = (uint16_t)mode;
    fastest_of_mode(item, &item->mode[mode], tag, choice->option + parts);
    parts += item->mode[mode].parts;
  }
  return true;
}

/* ---- All choices near the best ---- */

typedef struct near_search {
  const prices *p;
  const partition *t; /* of the class in which is searched */
  unsigned class;
  double least, most_price; /* The least price of all classes, and that with delta. */
  qp_knap_choice at;
  unsigned parts;
  qp_knap_near *near;
  size_t count, capacity, most;
  qp_status status;
} near_search;

static void search_launch(near_search *s, unsigned mask, double sum);

static void keep(near_search *s, double sum) {
  if (s->count == s->most) {
    s->status = QP_E_LIMIT;
    return;
  }
  qp_knap_near *more = qp_list_room(s->near, s->count, &s->capacity, sizeof *more);
  if (!more) {
    s->status = QP_E_NOMEM;
    return;
  }
  s->near = more;
  double reduced = sum - s->least;
  qp_knap_total total = qp_knap_sum(s->p->item, &s->at);
  s->near[s->count++] = (qp_knap_near){.loss = total.loss,
                                       .reduced = reduced > 0 ? reduced : 0,
                                       .ps = total.ps,
                                       .bytes = total.bytes,
                                       .choice = s->at};
}

/* Search the options of parts k.. of a mode; 'rest' is the least price of what comes after the
   mode's part k. */
static void search_options(near_search *s, const qp_knap_mode *m, unsigned k, double sum,
                           double rest, unsigned mask) {
  const qp_knap_item *item = s->p->item;
  if (s->status) return;
  if (k == m->parts) {
    if (m->exclusions && is_excluded(item, m, s->at.option + s->parts - k)) return;
    search_launch(s, mask, sum);
    return;
  }
  const qp_knap_list *list = &item->list[m->list[k]];
  rest -= s->p->least[m->list[k]];
  for (unsigned i = 0; i < list->count; i++) {
    double v = sum + price(s->p, &list->option[i]);
    if (v + rest > s->most_price) continue;
    s->at.option[s->parts++] = (uint16_t)i;
    search_options(s, m, k + 1, v, rest, mask);
    s->parts--;
  }
}

static void search_launch(near_search *s, unsigned mask, double sum) {
  const qp_knap_item *item = s->p->item;
  if (!mask) {
    keep(s, sum);
    return;
  }
  for (unsigned i = 0; i < item->modes && !s->status; i++) {
    const qp_knap_mode *m = &item->mode[i];
    if (m->class != s->class || !(m->mask & lowest(mask)) || (m->mask & ~mask)) continue;
    double start = sum + offset_price(s->p, m), rest = s->t->least[mask & ~m->mask];
    for (unsigned k = 0; k < m->parts; k++) rest += s->p->least[m->list[k]];
    if (!(start + rest <= s->most_price)) continue;
    s->at.mode[s->at.launches++] = (uint16_t)i;
    search_options(s, m, 0, start, rest, mask & ~m->mask);
    s->at.launches--;
  }
}

static int compare_near(const void *a, const void *b) {
  const qp_knap_near *x = a, *y = b;
  if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
  if (x->ps != y->ps) return x->ps < y->ps ? -1 : 1;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  return 0;
}

static size_t drop_dominated(qp_knap_near *near, size_t count, bool by_ps, bool by_bytes) {
  size_t kept = 0;
  if (count) qsort(near, count, sizeof *near, compare_near);
  for (size_t i = 0; i < count; i++) {
    size_t k = kept; /* The nearest in loss dominate most often. */
    while (k > 0 && ((by_ps && near[k - 1].ps > near[i].ps) ||
                     (by_bytes && near[k - 1].bytes > near[i].bytes)))
      k--;
    if (k == 0) near[kept++] = near[i];
  }
  return kept;
}

qp_status qp_knap_within(const qp_knap_item *item, double lambda, double mu, double delta,
                         bool by_ps, bool by_bytes, size_t most, qp_knap_near **out,
                         size_t *count) {
  prices p;
  partition t;
  set_prices(&p, item, 1, lambda, mu);
  fill_best(&p, &t);
  unsigned full = (1u << item->linears) - 1;
  near_search s = {.p = &p, .t = &t, .least = t.least[full], .most = most};
  s.most_price = s.least + delta;
  for (; s.class < classes_of(item) && !s.status; s.class ++) {
    fill_partition(&p, s.class, &t);
    search_launch(&s, full, 0);
  }
  if (s.status) return free(s.near), s.status;
  for (size_t i = 0; i < s.count; i++) { /* what has no limit must not keep anything alive */
    if (!by_ps) s.near[i].ps = 0;
    if (!by_bytes) s.near[i].bytes = 0;
  }
  *count = drop_dominated(s.near, s.count, by_ps, by_bytes);
  *out = s.near;
  return QP_OK;
}

/* ---- Checks ---- */

static const char *item_fault(const qp_knap_item *item) {
  static const int64_t most = (int64_t)1 << 56;
  if (item->linears < 1 || item->linears > QP_KNAP_LINEARS) return "linears";
  if (item->lists < 1 || item->lists > MAX_LISTS) return "lists";
  if (item->modes < 1 || item->modes > MAX_MODES) return "modes";
  for (unsigned i = 0; i < item->lists; i++) {
    const qp_knap_list *l = &item->list[i];
    if (l->count < 1 || l->count > MAX_OPTIONS) return "count of a list";
    for (unsigned k = 0; k < l->count; k++)
      if (!isfinite(l->option[k].loss) || l->option[k].loss < 0 || l->option[k].ps < 0 ||
          l->option[k].ps > most || l->option[k].bytes < 0 || l->option[k].bytes > most)
        return "an option's loss, ps or bytes";
  }
  for (unsigned i = 0; i < item->modes; i++) {
    const qp_knap_mode *m = &item->mode[i];
    if (!m->mask || m->mask >> item->linears) return "mask of a mode";
    if (m->class >= classes_of(item)) return "class of a mode";
    if (m->parts < 1 || m->parts > (unsigned)__builtin_popcount(m->mask)) return "parts of a mode";
    if (m->offset_ps > most || m->offset_ps < -most || !isfinite(m->offset_loss))
      return "offset of a mode";
    for (unsigned k = 0; k < m->parts; k++)
      if (m->list[k] >= item->lists) return "list of a mode";
    for (unsigned e = 1; e < m->exclusions; e++)
      if (qp_knap_compare_tags(m->excluded + (size_t)(e - 1) * m->parts,
                               m->excluded + (size_t)e * m->parts, m->parts) >= 0)
        return "exclusions of a mode: they are not in order";
  }
  if (!isfinite(qp_knap_cheapest(item, 1, 0, 0, NULL, NULL)))
    return "modes: none covers all linears";
  return NULL;
}

qp_status qp_knap_check(const qp_knap *k, qp_error *err) {
  if (k->ps_limit < 0 || k->bytes_limit < 0)
    return qp_fail(err, QP_E_ARG, "plan: limits of %lld ps and %lld bytes: at least 0 is needed",
                   (long long)k->ps_limit, (long long)k->bytes_limit);
  for (unsigned i = 0; i < k->items; i++) {
    const char *fault = item_fault(&k->item[i]);
    if (fault) return qp_fail(err, QP_E_ARG, "plan: item %u: %s", i, fault);
  }
  return QP_OK;
}
