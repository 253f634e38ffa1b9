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

/* Is there a tensor of this name, with one of the endings that norms and routers have? */
static bool is_there(const qp_checkpoint *c, const char *tensor) {
  static const char *const ends[] = {"", ".weight", ".gamma", ".scale"};
  char name[QP_MODEL_NAME + 16];
  bool found = false;
  for (unsigned i = 0; i < sizeof ends / sizeof *ends && !found; i++) {
    snprintf(name, sizeof name, "%s%s", tensor, ends[i]);
    found = qp_checkpoint_find_stored(c, name) != NULL;
  }
  return found;
}

static void compare_beside(comparing *on, const char *tensor) {
  if (!is_there(on->c, tensor)) compare(on, tensor, 0, 0);
}

static bool has_role(const qp_model *m, unsigned block, const char *role) {
  unsigned i = 0;
  if (!strcmp(role, "later")) return block > 0;
  while (i < m->linears && (strcmp(m->linear[i].role, role) != 0 || !qp_model_has(m, block, i)))
    i++;
  return i < m->linears;
}

/* What the family says that its blocks have beside the linears. */
static void compare_blocks(comparing *on) {
  const qp_model *m = &on->c->model;
  char name[QP_MODEL_NAME];
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned i = 0; i < m->besides; i++) {
      const qp_model_beside *is = &m->beside[i];
      if (*is->of && !has_role(m, b, is->of)) continue;
      snprintf(name, sizeof name, "%s%s.%u.%s", m->prefix, m->blocks, b, is->tensor);
      compare_beside(on, name);
    }
  if (*m->last) compare_beside(on, m->last);
}

static void compare_linears(comparing *on) {
  const qp_model *m = &on->c->model;
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned i = 0; i < m->linears; i++)
      if (qp_model_has(m, b, i)) compare_linear(on, i, b);
  if (!m->surveyed) compare(on, m->embedding, 0, 0);
  if (!m->headless && !m->tied) compare(on, m->linear[m->linears].tensor, 0, 0);
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

/* ---- What most blocks of a kind have ---- */

/* Is the tensor of a block a norm or a router, by its name? */
static bool is_beside(const qp_model *m, const char *tensor, unsigned block, const char *rest) {
  static const char *const words[] = {"norm", "router", "ln_", "gate.weight"};
  unsigned i = 0, expert, of;
  const size_t n = strlen(rest);
  while (i < sizeof words / sizeof *words && !strstr(rest, words[i])) i++;
  if (i == sizeof words / sizeof *words || n < 7 || strcmp(rest + n - 7, ".weight") != 0)
    return false;
  for (i = 0; i < m->besides; i++) /* compared already */
    if (!strncmp(rest, m->beside[i].tensor, n - 7) && !m->beside[i].tensor[n - 7]) return false;
  return !strstr(rest, "experts.") && !is_linear(m, tensor, block, &expert, &of);
}

/* Compare one tensor of blocks of a kind, where more than half of these have it. */
static void compare_kind(comparing *on, unsigned kind, const char *rest) {
  const qp_model *m = &on->c->model;
  const size_t n = strlen(rest) - strlen(".weight");
  char name[QP_MODEL_NAME];
  unsigned of = 0, have = 0;
  for (unsigned pass = 0; pass < 2; pass++)
    for (unsigned b = 0; b < m->layers; b++) {
      if (m->kinds && m->kind[b] != kind) continue;
      snprintf(name, sizeof name, "%s%s.%u.%.*s", m->prefix, m->blocks, b, (int)n, rest);
      if (pass && 2 * have > of) compare(on, name, 0, 0);
      if (pass) continue;
      snprintf(name, sizeof name, "%s%s.%u.%s", m->prefix, m->blocks, b, rest);
      of++, have += qp_checkpoint_find(on->c, name) != NULL;
    }
}

/* Norms and routers that the family does not name: as in the first block that has them. */
static void compare_alike(comparing *on) {
  enum { MOST = 64 };
  const qp_checkpoint *c = on->c;
  const char *done[MOST];
  unsigned count = 0;
  for (size_t i = 0; i < c->count && count < MOST; i++) {
    const char *name = c->tensor[i].name;
    const unsigned block = block_of(&c->model, name);
    if (!block || block > c->model.layers) continue;
    const char *rest =
        strchr(name + strlen(c->model.prefix) + strlen(c->model.blocks) + 1, '.') + 1;
    unsigned k = 0;
    if (!is_beside(&c->model, name, block - 1, rest)) continue;
    while (k < count && strcmp(done[k], rest) != 0) k++;
    if (k < count) continue;
    done[count++] = rest;
    for (unsigned kind = 0; kind < (c->model.kinds ? c->model.kinds : 1); kind++)
      compare_kind(on, kind, rest);
  }
}

static void say_what_lacks(qp_checkpoint *c) {
  comparing on = {.c = c};
  qp_model *m = &c->model;
  if (!*m->quantized || c->packings) compare_linears(&on);
  compare_blocks(&on);
  compare_alike(&on);
  if (on.count) snprintf(m->lacks, sizeof m->lacks, "%s, %u in all", on.first, on.count);
}

void qp_checkpoint_compare(qp_checkpoint *c) {
  say_what_lacks(c);
  if (!c->model.surveyed) say_what_exceeds(c);
}
