/* SPDX-License-Identifier: MIT */
/* What a checkpoint holds beside what its config says; see checkpoint_state.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/checkpoint.h"
#include "gen/model/checkpoint_state.h"

/* ---- What is not there ---- */

typedef struct comparing {
  qp_checkpoint *c;
  unsigned count;  /* tensors that are not as they should be, ... */
  char first[280]; /* ... and what the first of them is */
} comparing;

/* Compare a linear's tensor, whose shape does not count where 'rows' is 0. */
static void compare(comparing *on, const char *tensor, unsigned rows, unsigned columns) {
  char weight[QP_MODEL_NAME + 16];
  snprintf(weight, sizeof weight, "%s.weight", tensor);
  const qp_source_tensor *t = qp_checkpoint_find(on->c, weight);
  if (t && (!rows || (t->rows == rows && t->columns == columns))) return;
  if (on->count++) return;
  const int n = snprintf(on->first, sizeof on->first, "tensor '%.160s' is ", weight);
  if (!t)
    snprintf(on->first + n, sizeof on->first - (size_t)n, "missing");
  else
    snprintf(on->first + n, sizeof on->first - (size_t)n, "%llu x %llu, not %u x %u",
             (unsigned long long)t->rows, (unsigned long long)t->columns, rows, columns);
}

static void compare_linear(comparing *on, unsigned linear, unsigned block) {
  const qp_model_linear *l = &on->c->model.linear[linear];
  char name[QP_MODEL_NAME], expert[QP_MODEL_NAME];
  qp_model_tensor(&on->c->model, linear, block, name);
  for (unsigned e = 0; e < (l->experts ? l->experts : 1); e++) {
    qp_model_expert(name, e, expert);
    compare(on, expert, l->rows, l->columns);
  }
}

static void say_what_lacks(qp_checkpoint *c) {
  comparing on = {.c = c};
  qp_model *m = &c->model;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned i = 0; i < m->linears; i++)
      if (qp_model_has(m, b, i)) compare_linear(&on, i, b);
  if (!m->surveyed) compare(&on, m->embedding, 0, 0);
  if (!m->headless && !m->tied) compare(&on, m->linear[m->linears].tensor, 0, 0);
  if (on.count) snprintf(m->lacks, sizeof m->lacks, "%s, %u in all", on.first, on.count);
}

/* ---- What is there beside it ---- */

/* How many blocks that predict further tokens the config counts behind the others. */
static unsigned predicting_blocks(const qp_checkpoint *c) {
  static const char *const keys[] = {"num_nextn_predict_layers", "num_mtp_modules"};
  cJSON *tree = NULL;
  unsigned most = 0;
  if (qp_json_parse_python(c->path, c->config, strlen(c->config), &tree, NULL)) return 0;
  const cJSON *inside = cJSON_GetObjectItemCaseSensitive(tree, "text_config");
  for (unsigned i = 0; i < 2 * sizeof keys / sizeof *keys; i++) {
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(i & 1 ? inside : tree, keys[i / 2]);
    if (cJSON_IsNumber(n) && n->valuedouble > most && n->valuedouble < QP_MODEL_LAYERS)
      most = (unsigned)n->valuedouble;
  }
  cJSON_Delete(tree);
  return most;
}

/* The number of the block that a tensor is of, counted from 1; 0: it is of none. */
static unsigned block_of(const qp_model *m, const char *tensor) {
  char begin[sizeof m->prefix + sizeof m->blocks], *end;
  const int n = snprintf(begin, sizeof begin, "%s%s.", m->prefix, m->blocks);
  if (strncmp(tensor, begin, (size_t)n) != 0) return 0;
  const char *digits = tensor + n;
  if (*digits < '0' || *digits > '9') return 0;
  const unsigned long b = strtoul(digits, &end, 10);
  return *end == '.' && b < 1ul << 20 ? (unsigned)b + 1 : 0;
}

/*
** Is the tensor the weight of a linear as blocks have them?  '*expert' is then the number of its
** expert, counted from 1, and '*experts' how many the config counts; 0: it is none.
*/
static bool is_linear(const qp_model *m, const char *tensor, unsigned block, unsigned *expert,
                      unsigned *experts) {
  char name[QP_MODEL_NAME];
  for (unsigned i = 0; i < m->linears; i++) {
    qp_model_tensor(m, i, block, name);
    const char *star = strchr(name, '*'), *rest = star ? star + 1 : name + strlen(name);
    const size_t n = star ? (size_t)(star - name) : strlen(name);
    char *at = (char *)tensor + n;
    if (strncmp(tensor, name, n) != 0 || (star && (*at < '0' || *at > '9'))) continue;
    *expert = star ? (unsigned)strtoul(tensor + n, &at, 10) + 1 : 0;
    *experts = m->linear[i].experts;
    if (!strncmp(at, rest, strlen(rest)) && !strcmp(at + strlen(rest), ".weight")) return true;
  }
  return false;
}

/* More blocks or experts than the config counts; the first tensor of them. */
typedef struct more {
  const char *first;
  unsigned all, counted;
} more;

static void take(more *of, const char *tensor, unsigned number, unsigned counted) {
  if (number <= counted) return;
  if (!of->first) of->first = tensor;
  if (number > of->all) of->all = number, of->counted = counted;
}

static void say_what_exceeds(qp_checkpoint *c) {
  qp_model *m = &c->model;
  const unsigned counted = m->layers + predicting_blocks(c);
  more blocks = {0}, experts = {0};
  for (size_t i = 0; i < c->count; i++) {
    const char *name = c->tensor[i].name;
    const unsigned block = block_of(m, name);
    unsigned expert, of;
    if (!block || !is_linear(m, name, block - 1, &expert, &of)) continue;
    take(&blocks, name, block, counted);
    if (block <= counted) take(&experts, name, expert, of);
  }
  const more *is = blocks.first ? &blocks : &experts;
  if (is->first)
    snprintf(m->exceeds, sizeof m->exceeds,
             "the tensors ('%.90s' ...) are of %u %s, its config counts %u", is->first, is->all,
             is == &blocks ? "blocks" : "experts", is == &blocks ? m->layers : is->counted);
}

void qp_checkpoint_compare(qp_checkpoint *c) {
  if (!*c->model.quantized || c->packings) say_what_lacks(c);
  if (!c->model.surveyed) say_what_exceeds(c);
}
