/* SPDX-License-Identifier: MIT */
/* Makes the knapsack of an input, as build.h describes. */
#include "tuner/plan/build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Memory that lives as long as the problem ---- */

static void *keep(qp_plan_problem *p, void *memory) {
  if (!memory) return NULL;
  void **more = realloc(p->memory, (p->memories + 1) * sizeof *more);
  if (!more) {
    free(memory);
    return NULL;
  }
  p->memory = more;
  return p->memory[p->memories++] = memory;
}

void qp_plan_problem_free(qp_plan_problem *p) {
  for (size_t i = 0; i < p->memories; i++) free(p->memory[i]);
  free(p->memory);
  free(p->class_of);
  qp_costs_free(&p->costs);
  *p = (qp_plan_problem){0};
}

/* ---- One item ---- */

enum { MAX_LISTS = 1 << 11, MAX_MODES = 1 << 14, MAX_TURNS = 16 };

typedef struct builder {
  qp_plan_problem *p;
  const qp_plan_input *in;
  qp_error *err;
  unsigned class, group, linears, blocks;
  bool head, by_ps, by_bytes;
  const qp_group_costs *costs;
  double *loss; /* [linears][menu]: sum over the blocks of the class; NAN: not for this linear */
  unsigned turns, turn[MAX_TURNS]; /* ways in which quantizers of the menu have x rotated */
  qp_knap_list list[MAX_LISTS];
  qp_knap_mode mode[MAX_MODES];
  qp_mode_info info[MAX_MODES];
  unsigned lists, modes;
  qp_knap_option *option; /* being made */
  unsigned options;
} builder;

static unsigned model_linear(const builder *b, unsigned l) {
  const qp_model *m = b->in->model;
  return b->head ? m->linears : m->group[b->group].linear[l];
}

static uint64_t bytes_of(const builder *b, unsigned l, unsigned q) {
  return b->in->bytes[(size_t)model_linear(b, l) * b->in->menu->count + q];
}

static double loss_of(const builder *b, unsigned l, unsigned q) {
  return b->loss[(size_t)l * b->in->menu->count + q];
}

static bool fits(const builder *b, unsigned l, unsigned q) {
  return !isnan(loss_of(b, l, q)) && bytes_of(b, l, q) != UINT64_MAX;
}

/* How a quantizer takes x: qp_quantizer_side() with the columns of the rotation's diagonal blocks;
   0: fp16, which takes x however linears beside it have it. */
static unsigned turn_of(const builder *b, unsigned q) {
  const qp_quantizer *quantizer = b->in->menu->entry[q].quantizer;
  const unsigned columns = b->in->model->linear[model_linear(b, 0)].columns;
  if (!quantizer) return 0;
  const unsigned side = qp_quantizer_side(quantizer);
  return qp_side_block(quantizer->rotation) ? side : side | columns;
}

/* Can linears with this quantizer be beside those that have x turned in the way of a class? */
static bool is_of_class(const builder *b, unsigned q, unsigned class) {
  const unsigned turn = turn_of(b, q);
  return !turn || b->turn[class] == turn;
}

/* Find the ways in which linears of one input read it rotated; each way is a class of launches. */
static qp_status find_turns(builder *b) {
  b->turns = 0;
  for (unsigned q = 0; q < b->in->menu->count; q++) {
    unsigned turn = turn_of(b, q), i = 0;
    bool held = false;
    for (unsigned l = 0; l < b->linears; l++) held = held || fits(b, l, q);
    while (i < b->turns && b->turn[i] != turn) i++;
    if (!turn || !held || i < b->turns) continue;
    if (b->turns == MAX_TURNS)
      return qp_fail(b->err, QP_E_LIMIT, "quantizers of the menu rotate x in more than %d ways",
                     MAX_TURNS);
    b->turn[b->turns++] = turn;
  }
  if (!b->turns) b->turn[b->turns++] = 1; /* fp16 alone */
  return QP_OK;
}

static void sum_losses(builder *b) {
  const qp_plan_input *in = b->in;
  unsigned n = in->menu->count, all = qp_plan_linears(in->model);
  memset(b->loss, 0, (size_t)b->linears * n * sizeof *b->loss);
  for (unsigned block = 0; block < (b->head ? 1 : in->model->layers); block++) {
    if (!b->head && b->p->class_of[block] != b->class) continue;
    for (unsigned l = 0; l < b->linears; l++) {
      size_t i = b->head ? all - 1 : qp_model_number(in->model, block, model_linear(b, l));
      for (unsigned q = 0; q < n; q++)
        b->loss[(size_t)l * n + q] += in->alpha[i] * in->distortion[i * n + q];
    }
  }
}

static int compare_options(const void *a, const void *b) {
  const qp_knap_option *x = a, *y = b;
  if (x->loss != y->loss) return x->loss < y->loss ? -1 : 1;
  if (x->ps != y->ps) return x->ps < y->ps ? -1 : 1;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  return x->tag < y->tag ? -1 : x->tag > y->tag;
}

/* Drop options that another one dominates, which no exclusion can bring back into play. */
static void prune(builder *b) {
  unsigned kept = 0;
  qsort(b->option, b->options, sizeof *b->option, compare_options);
  for (unsigned i = 0; i < b->options; i++) {
    unsigned k = kept;
    while (k && ((b->by_ps && b->option[k - 1].ps > b->option[i].ps) ||
                 (b->by_bytes && b->option[k - 1].bytes > b->option[i].bytes)))
      k--;
    if (!k) b->option[kept++] = b->option[i];
  }
  b->options = kept;
}

/* Make a list of the options made since the last one, and give its index; -1: there are none, or no
   memory (*status). */
static int end_list(builder *b, qp_status *status) {
  if (!b->options) return -1;
  qp_knap_option *copy = keep(b->p, malloc(b->options * sizeof *copy));
  if (!copy || b->lists == MAX_LISTS) {
    *status = qp_fail(b->err, copy ? QP_E_LIMIT : QP_E_NOMEM, "no room for the plan's choices");
    return -1;
  }
  memcpy(copy, b->option, b->options * sizeof *copy);
  b->list[b->lists] = (qp_knap_list){b->options, copy};
  b->options = 0;
  return (int)b->lists++;
}

static qp_knap_mode *add_mode(builder *b, unsigned mask, unsigned class, qp_mode_info info,
                              qp_status *status) {
  if (b->modes == MAX_MODES) {
    *status = qp_fail(b->err, QP_E_LIMIT, "no room for the plan's launches");
    return NULL;
  }
  b->mode[b->modes] = (qp_knap_mode){.mask = mask, .class = class};
  b->info[b->modes] = info;
  return &b->mode[b->modes++];
}

/* Options of all of a mask with one quantizer: alone, or fused where that was measured. */
static qp_status add_same(builder *b, unsigned mask, unsigned class) {
  const qp_plan_input *in = b->in;
  unsigned linears = (unsigned)__builtin_popcount(mask);
  for (unsigned i = 0; i < in->menu->count * (in->table ? QP_PATHS : 1); i++) {
    unsigned q = in->table ? i / QP_PATHS : i, path = in->table ? i % QP_PATHS : QP_PATH_ANY;
    int64_t ps = 0;
    if (!is_of_class(b, q, class)) continue;
    if (in->table) ps = qp_costs_same(&b->p->costs, in, b->group, mask, q, path)->ps;
    qp_knap_option o = {.ps = ps * b->blocks, .tag = q * QP_KNAP_TAGS + path};
    bool ok = ps >= 0;
    for (unsigned l = 0; l < b->linears && ok; l++) {
      if (!(mask >> l & 1)) continue;
      ok = fits(b, l, q);
      if (!ok) break;
      o.loss += loss_of(b, l, q);
      o.bytes += (int64_t)(bytes_of(b, l, q) * b->blocks);
    }
    if (ok) b->option[b->options++] = o;
  }
  qp_status status = QP_OK;
  if (b->by_ps) prune(b);
  int list = end_list(b, &status);
  if (list < 0) return status;
  qp_mode_info info = {linears == 1 ? QP_MODE_ALONE : QP_MODE_SAME, 0};
  qp_knap_mode *m = add_mode(b, mask, class, info, &status);
  if (m) m->parts = 1, m->list[0] = (unsigned)list;
  return status;
}

/* Launches of several quantizers that were measured: a mode for each, with one option a linear. */
static qp_status add_measured(builder *b, const qp_mixed_cost *mixed, unsigned class) {
  qp_status status = QP_OK;
  unsigned list[QP_GROUP_LINEARS_MAX], parts = 0;
  for (int k = 0; k < __builtin_popcount(mixed->mask); k++)
    if (!is_of_class(b, mixed->tag[k] / QP_KNAP_TAGS, class)) return QP_OK;
  for (unsigned l = 0; l < b->linears; l++) {
    if (!(mixed->mask >> l & 1)) continue;
    unsigned q = mixed->tag[parts] / QP_KNAP_TAGS;
    if (!fits(b, l, q)) return QP_OK;
    b->option[b->options++] = (qp_knap_option){.loss = loss_of(b, l, q),
                                               .ps = parts ? 0 : mixed->cost.ps * b->blocks,
                                               .bytes = (int64_t)(bytes_of(b, l, q) * b->blocks),
                                               .tag = mixed->tag[parts]};
    int made = end_list(b, &status);
    if (made < 0) return status;
    list[parts++] = (unsigned)made;
  }
  qp_knap_mode *m = add_mode(b, mixed->mask, class, (qp_mode_info){QP_MODE_MIXED, 0}, &status);
  if (!m) return status;
  m->parts = parts;
  memcpy(m->list, list, parts * sizeof *list);
  return QP_OK;
}

/* Make the lists of the parts of modelled launches: list[l] has linear l with each quantizer on a
   path, or is -1. */
static qp_status part_lists(builder *b, unsigned path, unsigned class, int *list) {
  const qp_plan_input *in = b->in;
  for (unsigned l = 0; l < b->linears; l++) {
    for (unsigned q = 0; q < in->menu->count; q++) {
      int64_t ps = qp_costs_same(&b->p->costs, in, b->group, 1u << l, q, path)->ps;
      if (ps < 0 || !in->menu->entry[q].quantizer || !fits(b, l, q)) continue;
      if (!is_of_class(b, q, class)) continue;
      b->option[b->options++] = (qp_knap_option){.loss = loss_of(b, l, q),
                                                 .ps = ps * b->blocks,
                                                 .bytes = (int64_t)(bytes_of(b, l, q) * b->blocks),
                                                 .tag = q * QP_KNAP_TAGS + path};
    }
    qp_status status = QP_OK;
    list[l] = end_list(b, &status);
    if (status) return status;
  }
  return QP_OK;
}

/* Insert a combination of tags in order; one that is there already is not added again. */
static unsigned insert_tags(unsigned *list, unsigned count, const unsigned *tags, unsigned parts) {
  unsigned at = count;
  while (at && qp_knap_compare_tags(list + (size_t)(at - 1) * parts, tags, parts) > 0) at--;
  if (at && !qp_knap_compare_tags(list + (size_t)(at - 1) * parts, tags, parts)) return count;
  unsigned *to = list + (size_t)at * parts;
  memmove(to + parts, to, (size_t)(count - at) * parts * sizeof *to);
  memcpy(to, tags, parts * sizeof *to);
  return count + 1;
}

/* What is measured of a mask on a path may not be modelled. */
static qp_status exclude_measured(builder *b, unsigned mask, unsigned path, qp_knap_mode *m) {
  unsigned menu = b->in->menu->count, n = 0;
  unsigned *tags =
      keep(b->p, calloc((size_t)(menu + b->costs->mixeds) * m->parts + 1, sizeof *tags));
  if (!tags) return qp_fail(b->err, QP_E_NOMEM, "no memory for the plan's choices");
  for (unsigned q = 0; q < menu; q++) {
    unsigned same[QP_KNAP_LINEARS];
    if (qp_costs_same(&b->p->costs, b->in, b->group, mask, q, path)->ps < 0) continue;
    for (unsigned k = 0; k < m->parts; k++) same[k] = q * QP_KNAP_TAGS + path;
    n = insert_tags(tags, n, same, m->parts);
  }
  for (unsigned i = 0; i < b->costs->mixeds; i++) {
    const qp_mixed_cost *mixed = &b->costs->mixed[i];
    if (mixed->mask == mask && mixed->tag[0] % QP_KNAP_TAGS == path)
      n = insert_tags(tags, n, mixed->tag, m->parts);
  }
  m->excluded = tags;
  m->exclusions = n;
  return QP_OK;
}

static qp_status add_modelled(builder *b, unsigned path, unsigned class) {
  int list[QP_GROUP_LINEARS_MAX] = {0};
  qp_status status = part_lists(b, path, class, list);
  for (unsigned mask = 3; mask < 1u << b->linears && !status; mask++) {
    unsigned parts = 0;
    if (!(mask & (mask - 1))) continue;
    qp_knap_mode *m = add_mode(b, mask, class, (qp_mode_info){QP_MODE_MODELLED, path}, &status);
    if (!m) break;
    for (unsigned l = 0; l < b->linears; l++) {
      if (!(mask >> l & 1)) continue;
      if (list[l] < 0) break;
      m->list[parts++] = (unsigned)list[l];
    }
    if (parts < (unsigned)__builtin_popcount(mask)) {
      b->modes--;
      continue;
    }
    m->parts = parts;
    m->offset_ps = -(int64_t)(parts - 1) * b->p->costs.overhead_ps * b->blocks;
    status = exclude_measured(b, mask, path, m);
  }
  return status;
}

/* Is there a class in which each linear is in some launch? */
static bool has_whole_class(const builder *b) {
  for (unsigned class = 0; class < b->turns; class ++) {
    unsigned met = 0;
    for (unsigned i = 0; i < b->modes; i++)
      if (b->mode[i].class == class) met |= b->mode[i].mask;
    if (met == (1u << b->linears) - 1) return true;
  }
  return false;
}

/* The first linear that no mode serves. */
static qp_status check_covered(const builder *b) {
  for (unsigned l = 0; l < b->linears; l++) {
    const qp_model_linear *linear = &b->in->model->linear[model_linear(b, l)];
    unsigned i = 0;
    while (i < b->modes && !(b->mode[i].mask == 1u << l)) i++;
    if (i < b->modes) continue;
    /* It may still be served in a fused launch; qp_knap_check sees whether all are. */
    for (i = 0; i < b->modes && !(b->mode[i].mask >> l & 1);) i++;
    if (i < b->modes) continue;
    char stack[48] = "";
    if (linear->experts)
      snprintf(stack, sizeof stack, "the stack of %u experts of ", linear->experts);
    return qp_fail(b->err, QP_E_ARG,
                   "%s: no latency of %s%s (%u x %u) of %s for any quantizer and path asked for%s",
                   b->in->table ? b->in->table->source : "the menu", stack, linear->role,
                   linear->rows, linear->columns, b->in->model->name,
                   b->in->table ? "" : " that can hold this shape");
  }
  if (has_whole_class(b)) return QP_OK;
  return qp_fail(b->err, QP_E_ARG,
                 "group %s of %s: its linears read one x, and no quantizers that rotate it alike "
                 "can hold all of them",
                 b->in->model->group[b->group].name, b->in->model->name);
}

/* Can every quantizer that a launch may give a linear also be had for it alone? */
static bool is_free_alone(const builder *b) {
  const qp_plan_input *in = b->in;
  unsigned alone[QP_GROUP_LINEARS_MAX][QP_MENU_MAX / 32] = {{0}};
  if (!in->table) return true;
  for (unsigned l = 0; l < b->linears; l++)
    for (unsigned i = 0; i < in->menu->count * QP_PATHS; i++) {
      unsigned q = i / QP_PATHS;
      if (qp_costs_same(&b->p->costs, in, b->group, 1u << l, q, i % QP_PATHS)->ps >= 0)
        alone[l][q / 32] |= 1u << q % 32;
    }
  for (unsigned m = 0; m < b->modes; m++) {
    const qp_knap_mode *mode = &b->mode[m];
    for (unsigned l = 0, part = 0; l < b->linears; l++) {
      if (!(mode->mask >> l & 1)) continue;
      const qp_knap_list *list = &b->list[mode->list[part]];
      for (unsigned o = 0; o < list->count; o++) {
        unsigned q = list->option[o].tag / QP_KNAP_TAGS;
        if (!(alone[l][q / 32] >> q % 32 & 1)) return false;
      }
      if (mode->parts > 1) part++;
    }
  }
  return true;
}

/* Find the mode of a linear by itself in a class; -1: it has none. */
static int mode_alone(const builder *b, unsigned l, unsigned class) {
  for (unsigned m = 0; m < b->modes; m++)
    if (b->mode[m].mask == 1u << l && b->mode[m].class == class) return (int)m;
  return -1;
}

/* Without a limit on latency: each linear by itself, options that bytes and loss leave.  A class
   in which a linear has none cannot serve the item. */
static qp_status make_thin(builder *b, qp_knap_item *item) {
  unsigned n = 0;
  qp_status status = QP_OK;
  qp_knap_mode *mode = keep(b->p, calloc((size_t)b->linears * b->turns, sizeof *mode));
  qp_knap_list *list = keep(b->p, calloc((size_t)b->linears * b->turns, sizeof *list));
  if (!mode || !list) return qp_fail(b->err, QP_E_NOMEM, "no memory for the plan's choices");
  for (unsigned i = 0; i < b->linears * b->turns; i++) {
    const unsigned l = i % b->linears, class = i / b->linears;
    const int m = mode_alone(b, l, class);
    if (m < 0) continue;
    const qp_knap_list *from = &b->list[b->mode[m].list[0]];
    memcpy(b->option, from->option, from->count * sizeof *b->option);
    b->options = from->count;
    prune(b);
    const int made = end_list(b, &status);
    if (made < 0) return status;
    list[n] = b->list[made];
    mode[n] = (qp_knap_mode){.mask = 1u << l, .class = class, .parts = 1, .list = {n}};
    n++;
  }
  const qp_knap_item thin = {b->linears, n, n, list, mode, b->turns};
  if (isfinite(qp_knap_cheapest(&thin, 1, 0, 0, NULL, NULL))) *item = thin;
  return QP_OK; /* else the whole item stays */
}

/* Add every launch of a class. */
static qp_status add_class(builder *b, unsigned class) {
  qp_status status = QP_OK;
  const qp_plan_input *in = b->in;
  for (unsigned mask = 1; mask < 1u << b->linears && !status; mask++)
    if (!(mask & (mask - 1)) || (in->fusion && in->table)) status = add_same(b, mask, class);
  const bool mixed = in->fusion && in->mixed_fusion && in->table && b->linears > 1;
  for (unsigned i = 0; i < b->costs->mixeds && mixed && !status; i++)
    status = add_measured(b, &b->costs->mixed[i], class);
  const unsigned paths = mixed && b->p->costs.overhead_ps > 0 ? b->p->costs.paths : 0;
  for (unsigned path = 0; path < paths && !status; path++) status = add_modelled(b, path, class);
  return status;
}

static qp_status make_item(builder *b, qp_knap_item *item, qp_knap_item *full, qp_item_info *info) {
  b->lists = b->modes = b->options = 0;
  b->costs = &b->p->costs.group[b->group];
  sum_losses(b);
  qp_status status = find_turns(b);
  for (unsigned class = 0; class < b->turns && !status; class ++) status = add_class(b, class);
  if (!status) status = check_covered(b);
  if (status) return status;
  qp_knap_list *list = keep(b->p, calloc(b->lists + 1, sizeof *list));
  qp_knap_mode *mode = keep(b->p, calloc(b->modes + 1, sizeof *mode));
  qp_mode_info *mode_info = keep(b->p, calloc(b->modes + 1, sizeof *mode_info));
  if (!list || !mode || !mode_info)
    return qp_fail(b->err, QP_E_NOMEM, "no memory for the plan's choices");
  memcpy(list, b->list, b->lists * sizeof *list);
  memcpy(mode, b->mode, b->modes * sizeof *mode);
  memcpy(mode_info, b->info, b->modes * sizeof *mode_info);
  *full = *item = (qp_knap_item){b->linears, b->lists, b->modes, list, mode, b->turns};
  *info = (qp_item_info){b->class, b->group, b->blocks, mode_info};
  return !b->by_ps && is_free_alone(b) ? make_thin(b, item) : QP_OK;
}

/* ---- The whole ---- */

int64_t qp_plan_rotation_ps(const qp_plan_input *in) {
  const qp_latency_table *t = in->table;
  double ps = 0;
  for (unsigned b = 0; t && b < in->batches; b++) {
    unsigned i = 0;
    while (i < t->rotations && t->rotation[i].batch != in->batch[b].batch) i++;
    if (i == t->rotations) return -1;
    ps += in->batch[b].weight * (double)t->rotation[i].ps;
  }
  return t ? llround(ps) : -1;
}

static qp_status set_limits(qp_plan_problem *p, qp_error *err) {
  const qp_plan_input *in = p->in;
  const qp_model *m = in->model;
  p->planned_weights = m->linear_weights + (in->head ? m->head_weights : 0);
  const int64_t rotation_ps = qp_plan_rotation_ps(in);
  p->fixed_ps = (in->table ? in->table->constant_ps : 0) + (rotation_ps > 0 ? rotation_ps : 0);
  const uint64_t embedding = in->lookup ? 0 : m->embedding_bytes; /* else it is the planned head */
  p->fixed_bytes =
      (int64_t)(embedding + m->other_bytes + m->passed_bytes + qp_plan_sign_bytes(m, in->head) +
                qp_plan_codebook_bytes(in->menu, NULL));
  if (!in->head && !m->tied && !m->headless) p->fixed_bytes += 2 * (int64_t)m->head_weights;
  p->knap.ps_limit = p->knap.bytes_limit = QP_KNAP_NO_LIMIT;
  if (in->latency_limit_ps >= 0) {
    if (!in->table)
      return qp_fail(err, QP_E_ARG,
                     "a limit on latency needs measured latencies: tune this GPU, or name a table");
    if (in->latency_limit_ps < p->fixed_ps)
      return qp_fail(err, QP_E_WRONG,
                     "infeasible: the limit of %.3f us is below the constant part, %.3f us",
                     (double)in->latency_limit_ps * 1e-6, (double)p->fixed_ps * 1e-6);
    p->knap.ps_limit = in->latency_limit_ps - p->fixed_ps;
  }
  if (in->memory_limit_bytes >= 0) {
    if (in->memory_limit_bytes < p->fixed_bytes)
      return qp_fail(err, QP_E_WRONG,
                     "infeasible: the limit of %lld bytes is below what is not quantized, %lld",
                     (long long)in->memory_limit_bytes, (long long)p->fixed_bytes);
    p->knap.bytes_limit = in->memory_limit_bytes - p->fixed_bytes;
  }
  if (in->bits_limit >= 0) {
    int64_t bytes = (int64_t)floor(in->bits_limit * (double)p->planned_weights / 8);
    if (bytes < p->knap.bytes_limit) p->knap.bytes_limit = bytes;
  }
  return QP_OK;
}

/* Count the blocks of a class; all are of one kind, and '*any' is one of them. */
static unsigned blocks_of(const qp_plan_problem *p, unsigned class, unsigned *any) {
  unsigned n = 0;
  for (unsigned k = 0; k < p->in->model->layers; k++)
    if (p->class_of[k] == class) *any = k, n++;
  return n;
}

static qp_status make_items(builder *b, unsigned classes) {
  const qp_plan_input *in = b->in;
  const qp_model *m = in->model;
  const unsigned all = classes * m->groups + (in->head ? 1 : 0);
  unsigned items = all, n = 0, any = 0;
  qp_knap_item *item = keep(b->p, calloc((size_t)items + 1, sizeof *item));
  qp_knap_item *full = keep(b->p, calloc((size_t)items + 1, sizeof *full));
  b->p->item = keep(b->p, calloc((size_t)items + 1, sizeof *b->p->item));
  if (!item || !full || !b->p->item) return qp_fail(b->err, QP_E_NOMEM, "no memory for the plan");
  qp_status status = QP_OK;
  for (unsigned i = 0; i < all && !status; i++) {
    b->head = i == classes * m->groups;
    b->class = b->head ? 0 : i / m->groups;
    b->group = b->head ? m->groups : i % m->groups;
    b->linears = b->head ? 1 : m->group[b->group].linears;
    b->blocks = b->head ? 1 : blocks_of(b->p, b->class, &any);
    if (!b->head && b->blocks && !qp_model_has_group(m, any, b->group)) continue;
    status = make_item(b, &item[n], &full[n], &b->p->item[n]);
    n++;
  }
  items = n;
  b->p->knap.items = items;
  b->p->knap.item = item;
  b->p->full = b->p->knap;
  b->p->full.item = full;
  return status;
}

static qp_status make_builder(qp_plan_problem *p, builder **out, qp_error *err) {
  const qp_plan_input *in = p->in;
  builder *b = calloc(1, sizeof *b);
  if (b) {
    *b = (builder){.p = p, .in = in, .err = err};
    b->by_ps = p->knap.ps_limit != QP_KNAP_NO_LIMIT;
    b->by_bytes = p->knap.bytes_limit != QP_KNAP_NO_LIMIT;
    b->loss = calloc((size_t)QP_GROUP_LINEARS_MAX * in->menu->count + 1, sizeof *b->loss);
    b->option = calloc((size_t)in->menu->count * QP_PATHS + 1, sizeof *b->option);
    if (b->loss && b->option) {
      *out = b;
      return QP_OK;
    }
    free(b->loss);
    free(b->option);
  }
  free(b);
  return qp_fail(err, QP_E_NOMEM, "no memory for the plan");
}

qp_status qp_plan_build(const qp_plan_input *in, const unsigned *class_of, unsigned classes,
                        qp_plan_problem *out, qp_error *err) {
  qp_plan_problem p = {.in = in};
  builder *b = NULL;
  qp_status status = qp_costs_make(in, &p.costs, err);
  if (status) return status;
  p.class_of = calloc(in->model->layers, sizeof *p.class_of);
  if (!p.class_of) status = qp_fail(err, QP_E_NOMEM, "no memory for the plan");
  for (unsigned i = 0; i < in->model->layers && !status; i++)
    p.class_of[i] = class_of ? class_of[i] : i;
  if (!status) status = set_limits(&p, err);
  if (!status) status = make_builder(&p, &b, err);
  if (!status) status = make_items(b, class_of ? classes : in->model->layers);
  if (b) {
    free(b->loss);
    free(b->option);
    free(b);
  }
  if (status) return qp_plan_problem_free(&p), status;
  *out = p;
  return QP_OK;
}
