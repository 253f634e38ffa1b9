/* SPDX-License-Identifier: MIT */
/* Makes a flow graph:  instructions and jumps -> blocks -> dominators -> natural loops. */
#include "gen/inspect/flow.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE QP_FLOW_NOWHERE

void qp_flow_free(qp_flow *g) {
  void *const owned[] = {g->first, g->block_of, g->out_row,   g->out,    g->in_row, g->in,
                         g->order, g->rank,     g->dominator, g->header, g->work,   g->member};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

static uint32_t *numbers(size_t count) { return calloc(count + 1, sizeof(uint32_t)); }

static bool find_blocks(qp_flow *g) {
  uint8_t *leads = calloc(g->instructions + 1, 1);
  g->block_of = numbers(g->instructions);
  g->first = numbers(g->instructions + 1);
  if (!leads || !g->block_of || !g->first) {
    free(leads);
    return false;
  }
  leads[0] = 1;
  for (size_t i = 0; i < g->instructions; i++) {
    if (g->stops[i]) leads[i + 1] = 1;
  }
  for (size_t i = 0; i < g->jumps; i++) {
    leads[g->jump[i].from + 1] = 1;
    if (g->jump[i].to < g->instructions) leads[g->jump[i].to] = 1;
  }
  for (uint32_t i = 0; i < g->instructions; i++) {
    if (leads[i]) g->first[g->count++] = i;
    g->block_of[i] = g->count - 1;
  }
  g->first[g->count] = g->instructions;
  free(leads);
  return true;
}

/* Call 'visit' for every edge. */
static void each_edge(qp_flow *g, void (*visit)(qp_flow *g, uint32_t from, uint32_t to)) {
  for (uint32_t b = 0; b + 1 < g->count; b++) {
    if (!g->stops[g->first[b + 1] - 1]) visit(g, b, b + 1);
  }
  for (size_t i = 0; i < g->jumps; i++) {
    const qp_jump *j = &g->jump[i];
    if (j->to < g->instructions) visit(g, g->block_of[j->from], g->block_of[j->to]);
  }
}

static void count_edge(qp_flow *g, uint32_t from, uint32_t to) {
  g->out_row[from + 1]++;
  g->in_row[to + 1]++;
}

/* order and rank serve as the rows' fill marks until the walk needs them */
static void put_edge(qp_flow *g, uint32_t from, uint32_t to) {
  g->out[g->out_row[from] + g->order[from]++] = to;
  g->in[g->in_row[to] + g->rank[to]++] = from;
}

static bool find_edges(qp_flow *g) {
  const size_t edges = g->count + g->jumps;
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

/* Walk depth first from block 0; 'work' holds the stack, 'dominator' the next edge of each block on
   it. */
static bool find_order(qp_flow *g) {
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

static uint32_t common_dominator(const qp_flow *g, uint32_t a, uint32_t b) {
  while (a != b) {
    if (g->rank[a] > g->rank[b]) {
      a = g->dominator[a];
    } else {
      b = g->dominator[b];
    }
  }
  return a;
}

/* This is the algorithm of K. Cooper, T. Harvey, K. Kennedy, A Simple, Fast Dominance Algorithm,
   2001. */
static void find_dominators(qp_flow *g) {
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

static bool dominates(const qp_flow *g, uint32_t a, uint32_t b) {
  while (g->rank[b] > g->rank[a]) b = g->dominator[b];
  return a == b;
}

bool qp_flow_goes_back(const qp_flow *g, uint32_t from, uint32_t to) {
  return g->rank[from] != NOWHERE && g->rank[to] != NOWHERE && dominates(g, to, from);
}

static void mark_header(qp_flow *g, uint32_t from, uint32_t to) {
  if (qp_flow_goes_back(g, from, to)) g->header[to] = true;
}

void qp_flow_loop(qp_flow *g, uint32_t header) {
  memset(g->member, 0, g->count);
  g->member[header] = 1;
  uint32_t depth = 0;
  for (uint32_t e = g->in_row[header]; e < g->in_row[header + 1]; e++) {
    const uint32_t from = g->in[e];
    if (!qp_flow_goes_back(g, from, header) || g->member[from]) continue;
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

bool qp_flow_own(qp_flow *g, uint32_t header) {
  qp_flow_loop(g, header);
  uint8_t *own = malloc(g->count);
  if (!own) return false;
  memcpy(own, g->member, g->count);
  for (uint32_t h = 0; h < g->count; h++) {
    if (!g->header[h] || h == header || !own[h]) continue;
    qp_flow_loop(g, h);
    if (g->member[header]) continue; /* a loop around this one */
    for (uint32_t b = 0; b < g->count; b++) own[b] = own[b] && !g->member[b];
  }
  memcpy(g->member, own, g->count);
  free(own);
  return true;
}

bool qp_flow_make(qp_flow *g) {
  if (!find_blocks(g) || !find_edges(g) || !find_order(g)) return false;
  find_dominators(g);
  each_edge(g, mark_header);
  return true;
}
