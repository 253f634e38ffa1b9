/* SPDX-License-Identifier: MIT */
/* Listing -> blocks -> dominators -> natural loops -> the inner loop's instruction mix. */
#include "gen/inspect/listing.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT32_MAX
enum { WAIT_INSTRUCTIONS = 16 }; /* more than these are work, not a wait */

typedef struct name {
  const char *text;
  size_t length;
  uint32_t place; /* a label's instruction, or the branch's own */
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
  uint8_t *kind;
  bool *stops;
  size_t count, room;
  names labels, branches;
  scope scopes[MOST_SCOPES];
  size_t depth;
  bool no_memory;
};

qp_listing *qp_listing_new(void) { return calloc(1, sizeof(qp_listing)); }

void qp_listing_free(qp_listing *l) {
  if (!l) return;
  free(l->kind);
  free(l->stops);
  free(l->labels.at);
  free(l->branches.at);
  free(l);
}

/* Double *room elements of 'size' bytes; false and unchanged for want of memory. */
static bool grow(void **at, size_t *room, size_t size) {
  const size_t more = *room ? 2 * *room : 256;
  void *bigger = realloc(*at, more * size);
  if (!bigger) return false;
  *at = bigger;
  *room = more;
  return true;
}

void qp_listing_add(qp_listing *l, qp_kind kind, bool stops) {
  if (l->no_memory) return;
  if (l->count == l->room) {
    size_t room = l->room;
    void *kinds = l->kind, *ends = l->stops;
    const bool one = grow(&kinds, &room, sizeof *l->kind);
    l->kind = kinds;
    const bool two = one && grow(&ends, &l->room, sizeof *l->stops);
    l->stops = ends;
    if (!two) {
      l->no_memory = true;
      return;
    }
  }
  l->kind[l->count] = (uint8_t)kind;
  l->stops[l->count] = stops;
  l->count++;
}

static void add_name(qp_listing *l, names *n, const char *text, size_t length, size_t place) {
  if (l->no_memory) return;
  if (n->count == n->room) {
    void *at = n->at;
    if (!grow(&at, &n->room, sizeof *n->at)) {
      l->no_memory = true;
      return;
    }
    n->at = at;
  }
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

/* ---- the flow graph ---- */

/* Blocks, numbered in the text's order, and their edges both ways in rows of one array each. */
typedef struct graph {
  const qp_listing *l;
  uint32_t count;
  uint32_t *first;    /* [count + 1] first instruction of a block */
  uint32_t *block_of; /* [instructions] */
  uint32_t *out_row, *out;
  uint32_t *in_row, *in;
  uint32_t *order, *rank; /* blocks in reverse postorder; a block's place in it, or NOWHERE */
  uint32_t reached;
  uint32_t *dominator; /* immediate, of reached blocks */
  bool *header;
  uint32_t *work;
  uint8_t *member;
} graph;

static void graph_free(graph *g) {
  void *const owned[] = {g->first, g->block_of, g->out_row,   g->out,    g->in_row, g->in,
                         g->order, g->rank,     g->dominator, g->header, g->work,   g->member};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

static uint32_t *numbers(size_t count) { return calloc(count + 1, sizeof(uint32_t)); }

static bool jumps(const name *b, size_t instructions) { return b->to < instructions; }

static bool find_blocks(graph *g) {
  const qp_listing *l = g->l;
  uint8_t *leads = calloc(l->count + 1, 1);
  g->block_of = numbers(l->count);
  g->first = numbers(l->count + 1);
  if (!leads || !g->block_of || !g->first) {
    free(leads);
    return false;
  }
  leads[0] = 1;
  for (size_t i = 0; i < l->count; i++) {
    if (l->stops[i]) leads[i + 1] = 1;
  }
  for (size_t i = 0; i < l->branches.count; i++) {
    const name *b = &l->branches.at[i];
    leads[b->place + 1] = 1;
    if (jumps(b, l->count)) leads[b->to] = 1;
  }
  for (uint32_t i = 0; i < l->count; i++) {
    if (leads[i]) g->first[g->count++] = i;
    g->block_of[i] = g->count - 1;
  }
  g->first[g->count] = (uint32_t)l->count;
  free(leads);
  return true;
}

/* Call 'visit' for every edge. */
static void each_edge(graph *g, void (*visit)(graph *g, uint32_t from, uint32_t to)) {
  const qp_listing *l = g->l;
  for (uint32_t b = 0; b + 1 < g->count; b++) {
    if (!l->stops[g->first[b + 1] - 1]) visit(g, b, b + 1);
  }
  for (size_t i = 0; i < l->branches.count; i++) {
    const name *b = &l->branches.at[i];
    if (jumps(b, l->count)) visit(g, g->block_of[b->place], g->block_of[b->to]);
  }
}

static void count_edge(graph *g, uint32_t from, uint32_t to) {
  g->out_row[from + 1]++;
  g->in_row[to + 1]++;
}

/* order and rank serve as the rows' fill marks until the walk needs them */
static void put_edge(graph *g, uint32_t from, uint32_t to) {
  g->out[g->out_row[from] + g->order[from]++] = to;
  g->in[g->in_row[to] + g->rank[to]++] = from;
}

static bool find_edges(graph *g) {
  const size_t edges = g->count + g->l->branches.count;
  g->out_row = numbers(g->count + 1);
  g->in_row = numbers(g->count + 1);
  g->out = numbers(edges);
  g->in = numbers(edges);
  g->order = numbers(g->count);
  g->rank = numbers(g->count);
  if (!g->out_row || !g->in_row || !g->out || !g->in || !g->order || !g->rank) return false;
  each_edge(g, count_edge);
  for (uint32_t b = 0; b < g->count; b++) {
    g->out_row[b + 1] += g->out_row[b];
    g->in_row[b + 1] += g->in_row[b];
  }
  each_edge(g, put_edge);
  return true;
}

/* Depth first from block 0; work holds the stack, dominator the next edge of each block on it. */
static bool find_order(graph *g) {
  g->work = numbers(g->count);
  g->dominator = numbers(g->count);
  g->member = calloc(g->count + 1, 1);
  g->header = calloc(g->count + 1, sizeof *g->header);
  if (!g->work || !g->dominator || !g->member || !g->header) return false;
  uint32_t depth = 0, place = g->count;
  for (uint32_t b = 0; b < g->count; b++) {
    g->rank[b] = NOWHERE;
    g->dominator[b] = g->out_row[b];
  }
  g->work[depth++] = 0;
  g->member[0] = 1;
  while (depth > 0) {
    const uint32_t b = g->work[depth - 1];
    if (g->dominator[b] == g->out_row[b + 1]) {
      depth--;
      g->order[--place] = b;
      continue;
    }
    const uint32_t to = g->out[g->dominator[b]++];
    if (!g->member[to]) {
      g->member[to] = 1;
      g->work[depth++] = to;
    }
  }
  g->reached = g->count - place;
  memmove(g->order, g->order + place, g->reached * sizeof *g->order);
  for (uint32_t i = 0; i < g->reached; i++) g->rank[g->order[i]] = i;
  return true;
}

static uint32_t common_dominator(const graph *g, uint32_t a, uint32_t b) {
  while (a != b) {
    if (g->rank[a] > g->rank[b]) {
      a = g->dominator[a];
    } else {
      b = g->dominator[b];
    }
  }
  return a;
}

/* K. Cooper, T. Harvey, K. Kennedy, A Simple, Fast Dominance Algorithm, 2001. */
static void find_dominators(graph *g) {
  for (uint32_t b = 0; b < g->count; b++) g->dominator[b] = NOWHERE;
  g->dominator[0] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t i = 1; i < g->reached; i++) {
      const uint32_t b = g->order[i];
      uint32_t dominator = NOWHERE;
      for (uint32_t e = g->in_row[b]; e < g->in_row[b + 1]; e++) {
        const uint32_t from = g->in[e];
        if (g->dominator[from] == NOWHERE) continue;
        dominator = dominator == NOWHERE ? from : common_dominator(g, from, dominator);
      }
      if (g->dominator[b] != dominator) {
        g->dominator[b] = dominator;
        changed = true;
      }
    }
  }
}

static bool dominates(const graph *g, uint32_t a, uint32_t b) {
  while (g->rank[b] > g->rank[a]) b = g->dominator[b];
  return a == b;
}

static bool is_back_edge(const graph *g, uint32_t from, uint32_t to) {
  return g->rank[from] != NOWHERE && g->rank[to] != NOWHERE && dominates(g, to, from);
}

static void mark_header(graph *g, uint32_t from, uint32_t to) {
  if (is_back_edge(g, from, to)) g->header[to] = true;
}

/* The natural loop of a header, in member[]. */
static void find_body(graph *g, uint32_t header) {
  memset(g->member, 0, g->count);
  g->member[header] = 1;
  uint32_t depth = 0;
  for (uint32_t e = g->in_row[header]; e < g->in_row[header + 1]; e++) {
    const uint32_t from = g->in[e];
    if (!is_back_edge(g, from, header) || g->member[from]) continue;
    g->member[from] = 1;
    g->work[depth++] = from;
  }
  while (depth > 0) {
    const uint32_t b = g->work[--depth];
    for (uint32_t e = g->in_row[b]; e < g->in_row[b + 1]; e++) {
      const uint32_t from = g->in[e];
      if (g->member[from] || g->rank[from] == NOWHERE) continue;
      g->member[from] = 1;
      g->work[depth++] = from;
    }
  }
}

/* ---- counting ---- */

/* The instructions of the blocks in member[]. */
static qp_instruction_mix count_members(const graph *g) {
  qp_instruction_mix m = {0};
  unsigned *const field[] = {
#define X(name) &m.name,
      QP_KINDS(X)
#undef X
  };
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->member[b]) continue;
    for (uint32_t i = g->first[b]; i < g->first[b + 1]; i++) {
      const unsigned kind = g->l->kind[i];
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

/* The loop of a header less the loops inside it, in member[]. */
static bool find_own(graph *g, uint32_t header) {
  find_body(g, header);
  uint8_t *own = malloc(g->count);
  if (!own) return false;
  memcpy(own, g->member, g->count);
  for (uint32_t h = 0; h < g->count; h++) {
    if (!g->header[h] || h == header || !own[h]) continue;
    find_body(g, h);
    if (g->member[header]) continue; /* a loop around this one */
    for (uint32_t b = 0; b < g->count; b++) own[b] = own[b] && !g->member[b];
  }
  memcpy(g->member, own, g->count);
  free(own);
  return true;
}

static qp_instruction_mix inner_loop(graph *g) {
  each_edge(g, mark_header);
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->header[b]) continue;
    find_body(g, b);
    const qp_instruction_mix m = count_members(g);
    if (is_wait(&m)) g->header[b] = false;
  }
  qp_instruction_mix best = {0};
  for (uint32_t b = 0; b < g->count; b++) {
    if (!g->header[b]) continue;
    if (!find_own(g, b)) continue;
    const qp_instruction_mix m = count_members(g);
    if (m.total > best.total) best = m;
  }
  if (best.total > 0) return best;
  for (uint32_t b = 0; b < g->count; b++) g->member[b] = g->rank[b] != NOWHERE;
  return count_members(g);
}

qp_status qp_listing_instruction_mix(qp_listing *l, qp_instruction_mix *out, qp_error *err) {
  if (!l->no_memory) bind(l, &(scope){0});
  if (!l->no_memory && l->count == 0) {
    *out = (qp_instruction_mix){0};
    return QP_OK;
  }
  graph g = {.l = l};
  const bool ok = !l->no_memory && find_blocks(&g) && find_edges(&g) && find_order(&g);
  if (ok) {
    find_dominators(&g);
    *out = inner_loop(&g);
  }
  graph_free(&g);
  return ok ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
}
