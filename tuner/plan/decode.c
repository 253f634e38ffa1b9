/* SPDX-License-Identifier: MIT */
/* Makes a plan of the knapsack's solution, as build.h describes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/plan/build.h"

typedef struct decoder {
  const qp_plan_problem *p;
  qp_plan *plan;
  bool used[QP_MENU_MAX];
  unsigned index[QP_MENU_MAX]; /* in plan->quantizer */
  unsigned modelled, inexact;
} decoder;

static unsigned linear_index(const qp_plan_problem *p, const qp_item_info *info, unsigned block,
                             unsigned l) {
  const qp_model *m = p->in->model;
  if (info->group == m->groups) return qp_model_count(m);
  return qp_model_number(m, block, m->group[info->group].linear[l]);
}

static void fill_linears(decoder *d) {
  const qp_plan_input *in = d->p->in;
  const qp_model *m = in->model;
  unsigned n = qp_plan_linears(m);
  for (unsigned i = 0; i < n; i++) {
    bool head = i + 1 == n;
    unsigned k, block;
    qp_model_place(m, i, &block, &k);
    qp_plan_linear *l = &d->plan->linear[i];
    *l = (qp_plan_linear){.block = head ? QP_PLAN_NO_BLOCK : (int)block,
                          .experts = m->linear[k].experts,
                          .active = m->linear[k].experts ? m->linear[k].active : 0,
                          .rows = m->linear[k].rows,
                          .columns = m->linear[k].columns,
                          .quantizer = UINT32_MAX,
                          .lookup = head && in->lookup,
                          .sensitivity = in->alpha[i]};
    qp_model_tensor(m, k, block, l->tensor);
    memcpy(l->role, m->linear[k].role, sizeof l->role);
  }
  d->plan->linears = n;
}

/* Set quantizer, distortion and bytes of linear i. */
static void set_quantizer(decoder *d, unsigned i, unsigned q) {
  const qp_plan_input *in = d->p->in;
  const qp_model *m = in->model;
  unsigned k, block, menu = in->menu->count;
  qp_model_place(m, i, &block, &k);
  qp_plan_linear *l = &d->plan->linear[i];
  l->quantizer = q;
  l->distortion = in->distortion[(size_t)i * menu + q];
  l->bytes = in->bytes[(size_t)k * menu + q];
  d->used[q] = true;
}

static qp_plan_launch *add_launch(decoder *d, const qp_item_info *info, unsigned block) {
  const qp_model *m = d->p->in->model;
  bool head = info->group == m->groups;
  qp_plan_launch *l = &d->plan->launch[d->plan->launches++];
  *l = (qp_plan_launch){.block = head ? QP_PLAN_NO_BLOCK : (int)block, .latency_ps = -1};
  snprintf(l->group, sizeof l->group, "%s", head ? "lm_head" : m->group[info->group].name);
  snprintf(l->how, sizeof l->how, "none");
  snprintf(l->path, sizeof l->path, "any");
  return l;
}

/* The latency of a launch of the choice, and how it is known. */
static void time_launch(decoder *d, const qp_knap_item *item, const qp_item_info *info,
                        const qp_knap_choice *c, unsigned launch, unsigned at, qp_plan_launch *to) {
  const qp_knap_mode *m = &item->mode[c->mode[launch]];
  const qp_costs *costs = &d->p->costs;
  qp_latency_match match = QP_MATCH_EXACT;
  int64_t ps = m->offset_ps;
  unsigned tag = 0;
  for (unsigned k = 0; k < m->parts; k++) {
    const qp_knap_option *o = &item->list[m->list[k]].option[c->option[at + k]];
    ps += o->ps;
    tag = o->tag;
  }
  to->latency_ps = ps / info->blocks;
  const unsigned path = tag % QP_KNAP_TAGS;
  snprintf(to->path, sizeof to->path, "%s", path < costs->paths ? costs->path[path] : "any");
  qp_mode_kind kind = info->mode[c->mode[launch]].kind;
  if (kind == QP_MODE_ALONE || kind == QP_MODE_SAME)
    match =
        qp_costs_same(costs, d->p->in, info->group, m->mask, tag / QP_KNAP_TAGS, tag % QP_KNAP_TAGS)
            ->match;
  snprintf(to->how, sizeof to->how, "%s",
           kind == QP_MODE_MODELLED ? "modelled" : qp_latency_match_name(match));
  d->modelled += kind == QP_MODE_MODELLED;
  d->inexact += match != QP_MATCH_EXACT;
}

/* Without latencies: what may share a launch does. */
static void fuse_untimed(decoder *d, const qp_knap_item *item, const qp_item_info *info,
                         unsigned block, const unsigned *q) {
  const qp_plan_input *in = d->p->in;
  bool taken[QP_KNAP_LINEARS] = {false};
  for (unsigned l = 0; l < item->linears; l++) {
    if (taken[l]) continue;
    qp_plan_launch *to = add_launch(d, info, block);
    bool fp16 = !in->menu->entry[q[l]].quantizer;
    for (unsigned k = l; k < item->linears; k++) {
      bool mix = in->mixed_fusion && !fp16 && in->menu->entry[q[k]].quantizer;
      bool joins = k == l || (in->fusion && (q[k] == q[l] || mix));
      if (taken[k] || !joins || to->members == QP_PLAN_MEMBERS) continue;
      taken[k] = true;
      to->linear[to->members++] = linear_index(d->p, info, block, k);
    }
  }
}

static void decode_block(decoder *d, unsigned i, const qp_knap_item *item, const qp_knap_choice *c,
                         unsigned block) {
  const qp_item_info *info = &d->p->item[i];
  unsigned q[QP_KNAP_LINEARS] = {0}, at = 0;
  qp_knap_quantizers(item, c, q);
  for (unsigned l = 0; l < item->linears; l++)
    set_quantizer(d, linear_index(d->p, info, block, l), q[l]);
  if (!d->p->in->table) {
    fuse_untimed(d, item, info, block, q);
    return;
  }
  for (unsigned k = 0; k < c->launches; k++) {
    const qp_knap_mode *m = &item->mode[c->mode[k]];
    qp_plan_launch *to = add_launch(d, info, block);
    for (unsigned l = 0; l < item->linears; l++)
      if (m->mask >> l & 1) to->linear[to->members++] = linear_index(d->p, info, block, l);
    time_launch(d, item, info, c, k, at, to);
    at += m->parts;
  }
}

static void decode_item(decoder *d, unsigned i, const qp_knap_choice *choice) {
  const qp_plan_problem *p = d->p;
  const qp_knap_item *item = &p->knap.item[i];
  qp_knap_choice c = *choice, faster;
  if (p->in->table) { /* Of plans with one loss the solver's need not be the fastest. */
    unsigned q[QP_KNAP_LINEARS] = {0};
    qp_knap_quantizers(item, &c, q);
    if (qp_knap_fastest(&p->full.item[i], q, &faster)) item = &p->full.item[i], c = faster;
  }
  if (p->item[i].group == p->in->model->groups) {
    decode_block(d, i, item, &c, 0);
    return;
  }
  for (unsigned b = 0; b < p->in->model->layers; b++)
    if (p->class_of[b] == p->item[i].class) decode_block(d, i, item, &c, b);
}

/* The lm_head that is not planned stays in 16 bits; menu indices become the plan's. */
static void fill_quantizers(decoder *d) {
  const qp_menu *menu = d->p->in->menu;
  qp_plan *plan = d->plan;
  qp_plan_linear *head = &plan->linear[plan->linears - 1];
  for (unsigned q = 0; q < menu->count; q++) {
    const qp_menu_entry *e = &menu->entry[q];
    if (!d->used[q]) continue;
    qp_plan_quantizer *to = &plan->quantizer[plan->quantizers];
    d->index[q] = plan->quantizers++;
    *to = (qp_plan_quantizer){.rate_bits = e->quantizer ? e->quantizer->stored_rate : 16};
    memcpy(to->name, e->name, sizeof to->name);
    memcpy(to->spec, e->spec, sizeof to->spec);
    if (!e->quantizer) continue;
    memcpy(to->hash, e->quantizer->hash, sizeof to->hash);
    bool *only = calloc(menu->count, sizeof *only);
    if (!only) continue;
    only[q] = true;
    to->codebook_bytes = qp_plan_codebook_bytes(menu, only);
    free(only);
  }
  for (unsigned i = 0; i < plan->linears; i++)
    if (plan->linear[i].quantizer != UINT32_MAX)
      plan->linear[i].quantizer = d->index[plan->linear[i].quantizer];
  if (d->p->in->model->headless) plan->linears--;
  if (head->quantizer != UINT32_MAX || d->p->in->model->headless) return;
  head->sensitivity = head->distortion = 0;
  head->bytes = 2 * (uint64_t)head->rows * head->columns;
  for (head->quantizer = 0; head->quantizer < plan->quantizers; head->quantizer++)
    if (!strcmp(plan->quantizer[head->quantizer].name, QP_PLAN_FP16)) return;
  plan->quantizer[plan->quantizers++] =
      (qp_plan_quantizer){.name = QP_PLAN_FP16, .spec = QP_PLAN_FP16, .rate_bits = 16};
}

static uint64_t embedding_weights(const qp_model *m) { return (uint64_t)m->vocab * m->hidden; }

static void add_up(decoder *d) {
  const qp_plan_problem *p = d->p;
  const qp_model *m = p->in->model;
  qp_plan *plan = d->plan;
  uint64_t planned = 0;
  const qp_plan_linear *head = m->headless ? NULL : &plan->linear[plan->linears - 1];
  plan->memory = (qp_plan_memory){.signs = qp_plan_sign_bytes(m, p->in->head),
                                  .codebooks = qp_plan_codebook_bytes(p->in->menu, d->used),
                                  .embedding = m->embedding_bytes,
                                  .other = m->other_bytes,
                                  .passed = m->passed_bytes};
  plan->weights = (qp_plan_weights){.planned = p->planned_weights,
                                    .lm_head = p->in->head || m->tied ? 0 : m->head_weights,
                                    .embedding = m->tied && p->in->head ? 0 : embedding_weights(m),
                                    .other = m->other_bytes / 2,
                                    .passed = m->passed_bytes / 2,
                                    .active = m->active_weights + m->head_weights,
                                    .table = m->tied ? 0 : embedding_weights(m)};
  plan->loss = 0;
  for (unsigned i = 0; i < plan->linears; i++) {
    const qp_plan_linear *l = &plan->linear[i];
    plan->loss += l->sensitivity * l->distortion;
    if (l->block != QP_PLAN_NO_BLOCK) plan->memory.linears += l->bytes;
  }
  bool head_is_embedding = head && m->tied && !plan->quantizer[head->quantizer].hash[0];
  plan->memory.lm_head = head && !head_is_embedding ? head->bytes : 0;
  if (head && p->in->lookup && !head_is_embedding) plan->memory.embedding = 0;
  planned = plan->memory.linears + (head && p->in->head ? head->bytes : 0);
  plan->bits_per_weight = 8 * (double)planned / (double)p->planned_weights;
  const qp_plan_memory *b = &plan->memory;
  plan->memory_bytes =
      b->linears + b->lm_head + b->signs + b->codebooks + b->embedding + b->other + b->passed;
  plan->latency_ps = plan->constant_ps = -1;
  if (!p->in->table) return;
  plan->constant_ps = p->fixed_ps;
  plan->latency_ps = p->fixed_ps;
  for (unsigned i = 0; i < plan->launches; i++) plan->latency_ps += plan->launch[i].latency_ps;
}

static void note(qp_plan *p, const char *format, unsigned a, unsigned b) {
  char *to = p->note[p->notes++];
  int n = snprintf(to, sizeof *p->note, format, a, b);
  if (n < 0) *to = 0;
}

/* Which launches have the gated linear unit behind them. */
static void add_unit_note(const qp_plan_input *in, qp_plan *plan) {
  if (!in->table || !in->table->units_behind) return;
  snprintf(plan->note[plan->notes++], sizeof *plan->note,
           "%u measured launches of up and gate are quicker with the gated linear unit behind the "
           "gemm or experts (gemm-glu, experts-glu) than with it before down's rotation, and are "
           "counted so",
           in->table->units_behind);
}

/* Records know no attention and no norms; rotations they may know.  Other tables say what
   is in them. */
static void add_rotation_note(const qp_plan_input *in, qp_plan *plan) {
  if (!in->table || *in->table->model) return;
  const int64_t ps = qp_plan_rotation_ps(in);
  char *to = plan->note[plan->notes++], routings[80] = "";
  bool stacks = false;
  for (unsigned i = 0; i < in->model->linears; i++) stacks |= in->model->linear[i].experts > 0;
  if (stacks)
    snprintf(routings, sizeof routings, " and %u launches that route to experts or add them up",
             in->table->rotation[0].routings);
  if (ps >= 0)
    snprintf(
        to, sizeof *plan->note,
        "the constant part has %u rotations%s, %.3f us; %u rotations with the norm or gated linear "
        "unit before them",
        in->table->rotation[0].launches, routings, (double)ps * 1e-6,
        in->table->rotation[0].prologues);
  else
    snprintf(to, sizeof *plan->note,
             "rotations of the linears' inputs%s are in no latency: qpal tune --ops rotate%s",
             stacks ? ", and what routes to experts," : "", stacks ? ",experts" : "");
}

static void add_notes(decoder *d) {
  qp_plan *plan = d->plan;
  if (d->modelled)
    snprintf(plan->note[plan->notes++], sizeof *plan->note,
             "%u of %u launches mix quantizers and are modelled: the sum of their parts, with one "
             "launch overhead of %.3f us instead of one each",
             d->modelled, plan->launches, (double)d->p->costs.overhead_ps * 1e-6);
  if (d->inexact)
    note(plan, "%u of %u launches have latencies that are not exact: see how", d->inexact,
         plan->launches);
  if (!d->p->in->table) note(plan, "no latencies were used", 0, 0);
  add_unit_note(d->p->in, plan);
  add_rotation_note(d->p->in, plan);
  if (d->p->in->lookup)
    note(plan, "the embedding is the lm_head: one matrix, planned and counted once", 0, 0);
  if (!d->p->in->head && !d->p->in->model->headless)
    note(plan, "the lm_head stays in 16 bits and is not counted in bits_per_weight", 0, 0);
}

static qp_status make_room(decoder *d, qp_error *err) {
  unsigned n = qp_plan_linears(d->p->in->model);
  qp_plan *plan = d->plan;
  plan->linear = calloc((size_t)n + 1, sizeof *plan->linear);
  plan->launch = calloc((size_t)n + 1, sizeof *plan->launch);
  plan->quantizer = calloc((size_t)d->p->in->menu->count + 1, sizeof *plan->quantizer);
  plan->note = calloc(20, sizeof *plan->note);
  if (plan->linear && plan->launch && plan->quantizer && plan->note) return QP_OK;
  qp_plan_free(plan);
  return qp_fail(err, QP_E_NOMEM, "no memory for the plan");
}

static void set_head(const qp_plan_problem *p, const qp_solution *solution, qp_plan *plan) {
  const qp_plan_input *in = p->in;
  memcpy(plan->model, in->model->name, sizeof plan->model);
  memcpy(plan->model_type, in->model->type, sizeof plan->model_type);
  plan->blocks = in->model->layers;
  plan->head_dim = in->model->head_dim;
  plan->ranks = in->ranks ? in->ranks : 1;
  plan->slices = in->slices ? in->slices : 1;
  if (in->table) memcpy(plan->gpu, in->table->gpu, sizeof plan->gpu);
  plan->batches = in->batches;
  for (unsigned i = 0; i < in->batches; i++) {
    plan->batch[i].batch = in->batch[i].batch;
    plan->batch[i].weight = in->batch[i].weight;
  }
  plan->confidence = in->confidence;
  plan->latency_limit_ps = in->latency_limit_ps;
  plan->memory_limit_bytes = in->memory_limit_bytes;
  plan->bits_limit = in->bits_limit;
  plan->proven = solution->outcome == QP_SOLVE_PROVEN;
}

qp_status qp_plan_decode(const qp_plan_problem *p, const qp_knap_choice *choice,
                         const qp_solution *solution, qp_plan *out, qp_error *err) {
  qp_plan plan = {0};
  decoder d = {.p = p, .plan = &plan};
  qp_status status = make_room(&d, err);
  if (status) return status;
  set_head(p, solution, &plan);
  fill_linears(&d);
  for (unsigned i = 0; i < p->knap.items; i++) decode_item(&d, i, &choice[i]);
  fill_quantizers(&d);
  add_up(&d);
  plan.bound = plan.proven || !isfinite(solution->bound) ? plan.loss : solution->bound;
  plan.gap = plan.loss > 0 && plan.bound < plan.loss ? (plan.loss - plan.bound) / plan.loss : 0;
  add_notes(&d);
  *out = plan;
  return QP_OK;
}
