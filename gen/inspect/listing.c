/* SPDX-License-Identifier: MIT */
/* Counts a listing:  instructions -> flow graph -> the inner loop's instruction mix. */
#include "gen/inspect/listing.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/list.h"

#define NOWHERE QP_FLOW_NOWHERE
enum { WAIT_INSTRUCTIONS = 16 }; /* more than these are work, not a wait */

typedef struct name {
  const char *text;
  size_t length;
  uint32_t place; /* A label's instruction, or the branch's own. */
  uint32_t to;    /* of a branch: the instruction it goes to, once known */
} name;

typedef struct names {
  name *at;
  size_t count, room;
} names;

typedef struct scope {
  size_t labels, branches; /* counts when it was opened */
} scope;

enum { MOST_SCOPES = 256 };

struct qp_listing {
  qp_instruction *at;
  size_t count, room;
  names labels, branches;
  scope scopes[MOST_SCOPES];
  size_t depth;
  bool no_memory;
};

qp_listing *qp_listing_new(void) { return calloc(1, sizeof(qp_listing)); }

void qp_listing_free(qp_listing *l) {
  if (!l) return;
  free(l->at);
  free(l->labels.at);
  free(l->branches.at);
  free(l);
}

void qp_listing_add(qp_listing *l, const qp_instruction *i) {
  if (l->no_memory) return;
  qp_instruction *at = qp_list_room(l->at, l->count, &l->room, sizeof *at);
  if (!at) {
    l->no_memory = true;
    return;
  }
  l->at = at;
  l->at[l->count++] = *i;
}

const qp_instruction *qp_listing_at(const qp_listing *l, size_t i) { return &l->at[i]; }

static void add_name(qp_listing *l, names *n, const char *text, size_t length, size_t place) {
  if (l->no_memory) return;
  name *at = qp_list_room(n->at, n->count, &n->room, sizeof *at);
  if (!at) {
    l->no_memory = true;
    return;
  }
  n->at = at;
  n->at[n->count++] =
      (name){.text = text, .length = length, .place = (uint32_t)place, .to = NOWHERE};
}

void qp_listing_branch(qp_listing *l, const char *text, size_t length) {
  if (l->count > 0) add_name(l, &l->branches, text, length, l->count - 1);
}

void qp_listing_label(qp_listing *l, const char *text, size_t length) {
  add_name(l, &l->labels, text, length, l->count);
}

void qp_listing_open(qp_listing *l) {
  if (l->depth < MOST_SCOPES) {
    l->scopes[l->depth] = (scope){.labels = l->labels.count, .branches = l->branches.count};
  }
  l->depth++;
}

static int compare_names(const void *left, const void *right) {
  const name *a = left, *b = right;
  if (a->length != b->length) return a->length < b->length ? -1 : 1;
  return memcmp(a->text, b->text, a->length);
}

/* Bind the branches of a scope that are still free to its labels, and forget the labels. */
static void bind(qp_listing *l, const scope *s) {
  const size_t count = l->labels.count - s->labels;
  if (count == 0) return;
  name *labels = l->labels.at + s->labels;
  qsort(labels, count, sizeof *labels, compare_names);
  for (size_t i = s->branches; i < l->branches.count; i++) {
    name *b = &l->branches.at[i];
    if (b->to != NOWHERE) continue;
    const name *found = bsearch(b, labels, count, sizeof *labels, compare_names);
    if (found) b->to = found->place;
  }
  l->labels.count = s->labels;
}

void qp_listing_close(qp_listing *l) {
  if (l->depth == 0) return;
  l->depth--;
  if (!l->no_memory && l->depth < MOST_SCOPES) bind(l, &l->scopes[l->depth]);
}

/* ---- counting ---- */

/* Count the instructions of the blocks in member[]. */
static qp_instruction_mix count_members(const qp_flow *g, const qp_listing *l) {
  qp_instruction_mix m = {0};
  unsigned *const field[] = {
#define X(name) &m.name,
      QP_KINDS(X)
#undef X
  };
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->member[b]) continue;
    for (uint32_t i = g->first[b]; i < g->first[b + 1]; i++) {
      const unsigned kind = l->at[i].kind;
      if (kind == QP_KIND_none) continue;
      ++*field[kind];
      m.total++;
    }
  }
  return m;
}

/* A poll of a barrier: a few instructions that test it and go back. */
static bool is_wait(const qp_instruction_mix *m) {
  const unsigned polling = m->barrier + m->control + m->integer_alu + m->other;
  return m->barrier > 0 && m->total == polling && m->total < WAIT_INSTRUCTIONS;
}

static qp_instruction_mix inner_loop(qp_flow *g, const qp_listing *l) {
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->header[b]) continue;
    qp_flow_loop(g, b);
    const qp_instruction_mix m = count_members(g, l);
    if (is_wait(&m)) g->header[b] = false;
  }
  qp_instruction_mix best = {0};
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->header[b]) continue;
    if (!qp_flow_own(g, b)) continue;
    const qp_instruction_mix m = count_members(g, l);
    if (m.total > best.total) best = m;
  }
  if (best.total > 0) return best;
  for (uint32_t b = 0; b < g->count; b++) g->member[b] = g->rank[b] != NOWHERE;
  return count_members(g, l);
}

bool qp_listing_flow(qp_listing *l, qp_flow *g) {
  *g = (qp_flow){0};
  if (l->no_memory) return false;
  bind(l, &(scope){0});
  bool *stops = calloc(l->count + 1, sizeof *stops);
  qp_jump *jump = calloc(l->branches.count + 1, sizeof *jump);
  g->stops = stops;
  g->jump = jump;
  if (!stops || !jump) return false;
  for (size_t i = 0; i < l->count; i++) stops[i] = l->at[i].stops;
  for (size_t i = 0; i < l->branches.count; i++)
    jump[i] = (qp_jump){.from = l->branches.at[i].place, .to = l->branches.at[i].to};
  g->instructions = (uint32_t)l->count;
  g->jumps = l->branches.count;
  return l->count == 0 || qp_flow_make(g);
}

void qp_listing_flow_free(qp_flow *g) {
  qp_flow_free(g);
  free((void *)(uintptr_t)g->stops);
  free((void *)(uintptr_t)g->jump);
  *g = (qp_flow){0};
}

qp_status qp_listing_instruction_mix(qp_listing *l, qp_instruction_mix *out, qp_error *err) {
  qp_flow g;
  const bool ok = qp_listing_flow(l, &g);
  if (ok) *out = g.count ? inner_loop(&g, l) : (qp_instruction_mix){0};
  qp_listing_flow_free(&g);
  return ok ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
}
