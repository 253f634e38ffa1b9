/* SPDX-License-Identifier: MIT */
/* Latencies of a model's launches; see costs.h. */
#include "tuner/plan/costs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/plan/knapsack.h"

double qp_normal_quantile(double p) {
  double lo = 0, hi = 40;
  for (int i = 0; i < 200; i++) {
    double z = (lo + hi) / 2;
    if (0.5 * erfc(-z / sqrt(2.0)) < p)
      lo = z;
    else
      hi = z;
  }
  return (lo + hi) / 2;
}

/* ---- Groups ---- */

/* Count the linears of a group by position; the lm_head is a group of its own. */
static unsigned group_linears(const qp_model *m, unsigned g) {
  return g < m->groups ? m->group[g].linears : 1;
}

static const qp_model_linear *group_linear(const qp_model *m, unsigned g, unsigned i) {
  return &m->linear[g < m->groups ? m->group[g].linear[i] : m->linears];
}

static qp_launch_cost *same(const qp_group_costs *g, const qp_plan_input *in, unsigned mask,
                            unsigned quantizer, unsigned path) {
  return &g->same[((size_t)mask * in->menu->count + quantizer) * QP_PATHS + path];
}

const qp_launch_cost *qp_costs_same(const qp_costs *c, const qp_plan_input *in, unsigned group,
                                    unsigned mask, unsigned quantizer, unsigned path) {
  return same(&c->group[group], in, mask, quantizer, path);
}

/* ---- Rows to launches ---- */

typedef struct filler {
  const qp_plan_input *in;
  const qp_latency_table *table;
  const qp_latency_row *row;
  size_t index;
  unsigned path;
  int quantizer[QP_LATENCY_MEMBERS]; /* The places of the row's members in the menu. */
  unsigned group;
  qp_group_costs *to;
  unsigned member[QP_GROUP_LINEARS_MAX]; /* The row's member for each linear of the mask. */
  qp_error *err;
} filler;

static qp_status put(filler *f, qp_launch_cost *cost) {
  const qp_latency_row *r = f->row;
  /* Of stacks there may be rows by several tiles: the faster counts. */
  const bool tiles = cost->ps >= 0 && cost->match == r->match && r->experts;
  if (tiles && r->ps >= cost->ps) return QP_OK;
  if (cost->ps >= 0 && cost->row != f->index && cost->match == r->match && !tiles)
    return qp_fail(f->err, QP_E_ARG,
                   "%s: two rows for one launch: rows %zu and %zu, %s on the %s path%s%s",
                   f->table->source, cost->row + 1, f->index + 1, r->member[0].quantizer, r->path,
                   r->key[0] ? ", key " : "", r->key);
  if (cost->ps < 0 || r->match < cost->match || tiles)
    *cost = (qp_launch_cost){r->ps, r->spread_ps, r->match, f->index};
  return QP_OK;
}

static qp_status put_mixed(filler *f, unsigned mask, const unsigned *tag) {
  qp_group_costs *g = f->to;
  for (unsigned i = 0; i < g->mixeds; i++)
    if (g->mixed[i].mask == mask && !memcmp(g->mixed[i].tag, tag, sizeof g->mixed[i].tag))
      return put(f, &g->mixed[i].cost);
  qp_mixed_cost *more = realloc(g->mixed, (g->mixeds + 1) * sizeof *more);
  if (!more) return qp_fail(f->err, QP_E_NOMEM, "no memory for latencies");
  g->mixed = more;
  g->mixed[g->mixeds] = (qp_mixed_cost){.mask = mask, .cost = {.ps = -1}};
  memcpy(g->mixed[g->mixeds].tag, tag, sizeof g->mixed->tag);
  return put(f, &g->mixed[g->mixeds++].cost);
}

/* The row's members stand for the linears of 'mask' in the order of f->member. */
static qp_status take_mask(filler *f, unsigned mask) {
  unsigned tag[QP_GROUP_LINEARS_MAX] = {0}, n = 0;
  bool equal = true;
  for (unsigned l = 0; l < f->to->linears; l++) {
    if (!(mask >> l & 1)) continue;
    int q = f->quantizer[f->row->key[0] ? 0 : f->member[n]];
    equal = equal && q == f->quantizer[0];
    tag[n++] = (unsigned)q * QP_KNAP_TAGS + f->path;
  }
  if (!equal) return put_mixed(f, mask, tag);
  return put(f, same(f->to, f->in, mask, (unsigned)f->quantizer[0], f->path));
}

/* Give members to linears of equal shape in every way: linear l of the group and on. */
static qp_status place(filler *f, unsigned l, unsigned mask, unsigned placed, unsigned used) {
  const qp_latency_row *r = f->row;
  if (placed == r->members) return take_mask(f, mask);
  if (l == f->to->linears) return QP_OK;
  const qp_model_linear *linear = group_linear(f->in->model, f->group, l);
  const unsigned slices = f->in->slices > 1 && linear->experts ? f->in->slices : 0;
  if (linear->experts != r->experts || slices != r->slices ||
      (r->experts && linear->active != r->top_k))
    return QP_OK; /* a launch of one matrix says nothing of a stack's */
  qp_status status = place(f, l + 1, mask, placed, used);
  for (unsigned m = 0; m < r->members && !status; m++) {
    if ((used >> m & 1) || r->member[m].rows != linear->rows ||
        r->member[m].columns != linear->columns)
      continue;
    f->member[placed] = m;
    status = place(f, l + 1, mask | 1u << l, placed + 1, used | 1u << m);
  }
  return status;
}

/* Linears that a key names: a role, or first letters of roles; 0: not in this group. */
static unsigned key_mask(const qp_model *m, unsigned g, const char *key) {
  unsigned mask = 0, n = group_linears(m, g);
  if (group_linear(m, g, 0)->experts) return 0;
  for (unsigned i = 0; i < n; i++)
    if (!strcmp(group_linear(m, g, i)->role, key)) return 1u << i;
  for (; *key; key++) {
    unsigned i = 0;
    while (i < n && (group_linear(m, g, i)->role[0] != *key || (mask >> i & 1))) i++;
    if (i == n) return 0;
    mask |= 1u << i;
  }
  return mask;
}

/* Is the row of this batch, for quantizers of the menu with their definitions, and good enough? */
static bool is_usable(filler *f, const qp_latency_row *r, unsigned batch, qp_costs *c) {
  const qp_plan_input *in = f->in;
  if (r->batch != batch) return false;
  f->path = 0;
  while (f->path < c->paths && strcmp(c->path[f->path], r->path) != 0) f->path++;
  if (f->path == c->paths) return false;
  for (unsigned i = 0; i < r->members; i++) {
    f->quantizer[i] = qp_menu_find(in->menu, r->member[i].quantizer);
    if (f->quantizer[i] < 0) return false;
    const qp_quantizer *q = in->menu->entry[f->quantizer[i]].quantizer;
    if (r->match > in->accept ||
        (q && r->member[i].hash[0] && strcmp(r->member[i].hash, q->hash) != 0))
      return c->rows_refused++, false;
  }
  return true;
}

static qp_status take_row(filler *f, qp_costs *c) {
  const qp_model *m = f->in->model;
  bool placed = false;
  qp_status status = QP_OK;
  for (unsigned g = 0; g < c->groups && !status; g++) {
    f->group = g;
    f->to = &c->group[g];
    if (!f->row->key[0]) {
      status = place(f, 0, 0, 0, 0);
      continue;
    }
    unsigned mask = key_mask(m, g, f->row->key);
    if (!mask) continue;
    placed = true;
    status = take_mask(f, mask);
  }
  if (!status && f->row->key[0] && !placed)
    status = qp_fail(f->err, QP_E_ARG, "%s: key '%s' names no linears of %s with one input",
                     f->table->source, f->row->key, m->name);
  c->rows_used++;
  return status;
}

static qp_status take_rows(const qp_plan_input *in, unsigned batch, qp_costs *c, qp_error *err) {
  filler f = {.in = in, .table = in->table, .err = err};
  qp_status status = QP_OK;
  for (size_t i = 0; i < in->table->rows && !status; i++) {
    f.row = &in->table->row[i];
    f.index = i;
    if (is_usable(&f, f.row, batch, c)) status = take_row(&f, c);
  }
  return status;
}

/* ---- Spreads ---- */

/* Are the linears of two masks of equal shapes, in some order? */
static bool equal_shapes(const qp_model *m, unsigned g, unsigned a, unsigned b) {
  unsigned n = group_linears(m, g);
  if (__builtin_popcount(a) != __builtin_popcount(b)) return false;
  for (unsigned i = 0; i < n; i++) {
    unsigned rows = group_linear(m, g, i)->rows, in_a = 0, in_b = 0;
    for (unsigned k = 0; k < n; k++) {
      if (group_linear(m, g, k)->rows != rows) continue;
      in_a += a >> k & 1;
      in_b += b >> k & 1;
    }
    if (in_a != in_b) return false;
  }
  return true;
}

/* The mean of medians of launches of equal shapes, and the standard error of that mean. */
static qp_launch_cost pooled(const qp_plan_input *in, const qp_group_costs *g, unsigned group,
                             unsigned mask, unsigned q, unsigned path) {
  qp_launch_cost own = *same(g, in, mask, q, path);
  double ps = 0, square = 0, n = 0;
  for (unsigned other = 1; other < 1u << g->linears; other++) {
    const qp_launch_cost *c = same(g, in, other, q, path);
    if (c->ps < 0 || c->match != own.match || !equal_shapes(in->model, group, mask, other))
      continue;
    ps += (double)c->ps, square += (double)c->spread_ps * (double)c->spread_ps, n++;
  }
  own.ps = llround(ps / n);
  own.spread_ps = llround(sqrt(square) / n);
  return own;
}

static qp_status add_confidence(const qp_plan_input *in, qp_costs *c, qp_error *err) {
  double z = qp_normal_quantile(in->confidence);
  bool any = false;
  for (unsigned g = 0; g < c->groups; g++) {
    qp_group_costs *to = &c->group[g];
    size_t n = ((size_t)1 << to->linears) * in->menu->count * QP_PATHS;
    qp_launch_cost *upper = calloc(n + 1, sizeof *upper);
    if (!upper) return qp_fail(err, QP_E_NOMEM, "no memory for latencies");
    for (size_t i = 0; i < n; i++) {
      upper[i] = to->same[i];
      if (upper[i].ps < 0) continue;
      size_t launch = i / QP_PATHS;
      upper[i] = pooled(in, to, g, (unsigned)(launch / in->menu->count),
                        (unsigned)(launch % in->menu->count), (unsigned)(i % QP_PATHS));
      any = any || upper[i].spread_ps > 0;
      upper[i].ps += llround(z * (double)upper[i].spread_ps);
    }
    free(to->same);
    to->same = upper;
    for (unsigned i = 0; i < to->mixeds; i++)
      to->mixed[i].cost.ps += llround(z * (double)to->mixed[i].cost.spread_ps);
  }
  if (!any && c->rows_used)
    return qp_fail(err, QP_E_ARG,
                   "%s: no row has a spread, which a confidence of %g needs; tune again, or plan "
                   "without --confidence",
                   in->table->source, in->confidence);
  return QP_OK;
}

/* ---- Batches ---- */

static void weigh(qp_launch_cost *sum, const qp_launch_cost *one, double weight, bool first) {
  if (first)
    sum->ps = one->ps < 0 ? -1 : llround(weight * (double)one->ps);
  else
    sum->ps = sum->ps < 0 || one->ps < 0 ? -1 : sum->ps + llround(weight * (double)one->ps);
  if (first || one->match > sum->match) sum->match = one->match;
  if (first) sum->row = one->row;
}

static void weigh_group(const qp_plan_input *in, qp_group_costs *sum, qp_group_costs *one,
                        double weight, bool first) {
  size_t n = ((size_t)1 << sum->linears) * in->menu->count * QP_PATHS;
  for (size_t i = 0; i < n; i++) weigh(&sum->same[i], &one->same[i], weight, first);
  if (first) {
    sum->mixed = one->mixed, sum->mixeds = one->mixeds;
    one->mixed = NULL, one->mixeds = 0;
    for (unsigned i = 0; i < sum->mixeds; i++)
      sum->mixed[i].cost.ps = llround(weight * (double)sum->mixed[i].cost.ps);
    return;
  }
  unsigned kept = 0;
  for (unsigned i = 0; i < sum->mixeds; i++) {
    qp_mixed_cost *m = &sum->mixed[i];
    for (unsigned k = 0; k < one->mixeds; k++) {
      if (one->mixed[k].mask != m->mask || memcmp(one->mixed[k].tag, m->tag, sizeof m->tag) != 0)
        continue;
      weigh(&m->cost, &one->mixed[k].cost, weight, false);
      sum->mixed[kept++] = *m;
      break;
    }
  }
  sum->mixeds = kept;
}

/* Indices of paths are the same for every batch. */
static qp_status list_paths(const qp_plan_input *in, qp_costs *c, qp_error *err) {
  c->paths = in->paths;
  memcpy(c->path, in->path, sizeof c->path);
  for (size_t i = 0; in->table && !in->paths && i < in->table->rows; i++) {
    const char *path = in->table->row[i].path;
    unsigned k = 0;
    while (k < c->paths && strcmp(c->path[k], path) != 0) k++;
    if (k < c->paths) continue;
    if (c->paths == QP_PATHS)
      return qp_fail(err, QP_E_LIMIT, "%s: more than %d paths", in->table->source, QP_PATHS);
    snprintf(c->path[c->paths++], QP_PATH_NAME, "%s", path);
  }
  return QP_OK;
}

static qp_status allocate(const qp_plan_input *in, qp_costs *c, qp_error *err) {
  const qp_model *m = in->model;
  *c = (qp_costs){.groups = m->groups + 1, .overhead_ps = -1};
  const qp_status status = list_paths(in, c, err);
  if (status) return status;
  c->group = calloc(c->groups, sizeof *c->group);
  for (unsigned g = 0; c->group && g < c->groups; g++) {
    qp_group_costs *to = &c->group[g];
    to->linears = group_linears(m, g);
    size_t n = ((size_t)1 << to->linears) * in->menu->count * QP_PATHS;
    to->same = calloc(n + 1, sizeof *to->same);
    if (!to->same) break;
    for (size_t i = 0; i < n; i++) to->same[i] = (qp_launch_cost){.ps = -1};
  }
  if (c->group && c->group[c->groups - 1].same) return QP_OK;
  qp_costs_free(c);
  return qp_fail(err, QP_E_NOMEM, "no memory for latencies");
}

void qp_costs_free(qp_costs *c) {
  for (unsigned g = 0; c->group && g < c->groups; g++) {
    free(c->group[g].same);
    free(c->group[g].mixed);
  }
  free(c->group);
  c->group = NULL;
}

/* ---- Overhead of a launch ---- */

static int compare_ps(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

/* What fusing saved a launch, (sum of parts - fused) / (members - 1); false: not all are known. */
static bool saved(const qp_plan_input *in, const qp_group_costs *g, unsigned mask, unsigned q,
                  unsigned path, int64_t *out) {
  const qp_launch_cost *fused = same(g, in, mask, q, path);
  if (fused->ps < 0) return false;
  int64_t sum = -fused->ps;
  for (unsigned l = 0; l < g->linears; l++) {
    const qp_launch_cost *one = same(g, in, 1u << l, q, path);
    if (!(mask >> l & 1)) continue;
    if (one->ps < 0) return false;
    sum += one->ps;
  }
  *out = sum / (__builtin_popcount(mask) - 1);
  return true;
}

static qp_status estimate_overhead(const qp_plan_input *in, qp_costs *c, qp_error *err) {
  size_t n = 0, room = 0;
  int64_t least = INT64_MAX;
  for (unsigned g = 0; g < c->groups; g++)
    room += ((size_t)1 << c->group[g].linears) * in->menu->count * QP_PATHS;
  int64_t *list = malloc((room + 1) * sizeof *list);
  if (!list) return qp_fail(err, QP_E_NOMEM, "no memory for latencies");
  for (unsigned g = 0; g < c->groups; g++)
    for (unsigned mask = 1; mask < 1u << c->group[g].linears; mask++)
      for (unsigned i = 0; i < in->menu->count * QP_PATHS; i++) {
        unsigned q = i / QP_PATHS, path = i % QP_PATHS;
        int64_t ps = same(&c->group[g], in, mask, q, path)->ps;
        if (ps >= 0 && ps < least) least = ps;
        if ((mask & (mask - 1)) && saved(in, &c->group[g], mask, q, path, &list[n])) n++;
      }
  qsort(list, n, sizeof *list, compare_ps);
  int64_t overhead = in->table->overhead_ps >= 0 ? in->table->overhead_ps
                     : n                         ? list[(n - 1) / 2]
                                                 : -1;
  free(list);
  if (overhead > least) overhead = least; /* a launch costs at least its overhead */
  c->overhead_ps = overhead > 0 ? overhead : -1;
  return QP_OK;
}

qp_status qp_costs_make(const qp_plan_input *in, qp_costs *out, qp_error *err) {
  qp_costs c, one;
  qp_status status = allocate(in, &c, err);
  if (status) return status;
  if (!in->table) return *out = c, QP_OK;
  const qp_latency_table *t = in->table;
  if (t->model[0] && strcmp(t->model, in->model->name) != 0)
    status = qp_fail(err, QP_E_ARG,
                     "%s: a table of model %s, whose launches have no shapes: it cannot serve %s",
                     t->source, t->model, in->model->name);
  for (unsigned b = 0; b < in->batches && !status; b++) {
    status = allocate(in, &one, err);
    if (status) break;
    status = take_rows(in, in->batch[b].batch, &one, err);
    if (!status && in->confidence > 0.5) status = add_confidence(in, &one, err);
    if (!status && !one.rows_used)
      status = qp_fail(
          err, QP_E_ARG, "%s: no row for batch %u and the quantizers and paths asked for%s",
          t->source, in->batch[b].batch,
          one.rows_refused ? "; rows of other shapes, GPUs or definitions were refused" : "");
    for (unsigned g = 0; g < c.groups && !status; g++)
      weigh_group(in, &c.group[g], &one.group[g], in->batch[b].weight, b == 0);
    c.rows_used += one.rows_used, c.rows_refused += one.rows_refused;
    qp_costs_free(&one);
  }
  if (!status) status = estimate_overhead(in, &c, err);
  if (status) return qp_costs_free(&c), status;
  *out = c;
  return QP_OK;
}
