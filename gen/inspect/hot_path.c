/* SPDX-License-Identifier: MIT */
/*
** Shortest way with a quota:  each block keeps, for every pair of (words fetched, products) that a
** way from the header reaches it with, the way of fewest instructions; blocks are met in reverse
** postorder, in which edges inside a loop go forward but those that close loops.
*/
#include "gen/inspect/hot_path.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/inspect/disassembler.h"
#include "gen/inspect/sass.h"

enum { MOST_WAYS = 64, NO_WAY = UINT32_MAX };

/* One way from the header to the end of a block. */
typedef struct way {
  uint32_t block, from; /* the way that it goes on from, NO_WAY at the header */
  unsigned words, products, instructions;
} way;

typedef struct search {
  const qp_listing *l;
  qp_flow *g;
  way *ways;      /* [blocks][MOST_WAYS] */
  uint8_t *count; /* [blocks] */
  way *own;       /* [blocks] what each block itself adds */
  bool *hot;      /* [blocks] is it the header of a loop that has a way? */
} search;

static way cost_of_block(const search *s, uint32_t block) {
  way w = {.block = block, .from = NO_WAY};
  for (uint32_t i = s->g->first[block]; i < s->g->first[block + 1]; i++) {
    const qp_instruction *in = qp_listing_at(s->l, i);
    w.instructions++;
    w.words += in->words;
    w.products += in->unit == QP_UNIT_mma;
  }
  return w;
}

/* Keep the way that goes on from 'from' (NO_WAY: begins) into 'block', if none is as good. */
static void extend(search *s, uint32_t from, uint32_t block) {
  way w = s->own[block];
  way *at = s->ways + (size_t)block * MOST_WAYS;
  if (from != NO_WAY) {
    w.words += s->ways[from].words;
    w.products += s->ways[from].products;
    w.instructions += s->ways[from].instructions;
    w.from = from;
  }
  for (unsigned i = 0; i < s->count[block]; i++) {
    if (at[i].words != w.words || at[i].products != w.products) continue;
    if (w.instructions < at[i].instructions) at[i] = w;
    return;
  }
  if (s->count[block] < MOST_WAYS) at[s->count[block]++] = w;
}

/* Extend all ways through the loop in member[]; its header's ways are those that end there
   again. */
static void walk(search *s, uint32_t header) {
  qp_flow *g = s->g;
  memset(s->count, 0, g->count);
  extend(s, NO_WAY, header);
  for (uint32_t r = g->rank[header]; r < g->reached; r++) {
    const uint32_t b = g->order[r];
    for (uint32_t e = g->out_row[b]; g->member[b] && e < g->out_row[b + 1]; e++) {
      const uint32_t to = g->out[e];
      if (!g->member[to] || g->rank[to] <= r) continue;
      for (unsigned i = 0; i < s->count[b]; i++) extend(s, (uint32_t)(b * MOST_WAYS + i), to);
    }
  }
}

/* The best of the ways to a block that goes back to the header. */
static void pick(const search *s, uint32_t header, unsigned words, unsigned products,
                 uint32_t *best, unsigned *fewest) {
  const qp_flow *g = s->g;
  for (uint32_t e = g->in_row[header]; e < g->in_row[header + 1]; e++) {
    const uint32_t b = g->in[e];
    if (!g->member[b] || !qp_flow_goes_back(g, b, header)) continue;
    for (unsigned i = 0; i < s->count[b]; i++) {
      const way *w = s->ways + (size_t)b * MOST_WAYS + i;
      if (w->words < words || w->products < products || w->instructions >= *fewest) continue;
      *fewest = w->instructions;
      *best = (uint32_t)(b * MOST_WAYS + i);
    }
  }
}

static qp_hot_path count_way(const search *s, uint32_t at) {
  qp_hot_path p = {0};
  for (; at != NO_WAY; at = s->ways[at].from) {
    const uint32_t block = s->ways[at].block;
    for (uint32_t i = s->g->first[block]; i < s->g->first[block + 1]; i++) {
      const qp_instruction *in = qp_listing_at(s->l, i);
      p.instructions++;
      p.count[in->unit]++;
      p.lds_passes += in->passes;
      p.words += in->words;
    }
  }
  return p;
}

/* Is there a loop in the natural one of member[] and 'header' that has a way, too?  What goes
   around it is not hot: its shortest way would leave out the loop inside, as where a piece of work
   has no unit for a warp. */
static bool has_hot_inside(const search *s, uint32_t header) {
  for (uint32_t h = 0; h < s->g->count; h++)
    if (h != header && s->g->member[h] && s->hot[h]) return true;
  return false;
}

/* The ways of each loop: by 'out' NULL which are hot, else the best of those with none inside. */
static bool see_loops(search *s, unsigned words, unsigned products, qp_hot_path *out) {
  unsigned fewest = UINT32_MAX;
  for (uint32_t h = 0; h < s->g->count; h++) {
    uint32_t best = NO_WAY;
    unsigned alone = UINT32_MAX;
    if (!s->g->header[h]) continue;
    qp_flow_loop(s->g, h);
    if (out && has_hot_inside(s, h)) continue;
    if (!qp_flow_own(s->g, h)) return false;
    walk(s, h);
    pick(s, h, words, products, &best, out ? &fewest : &alone);
    if (best != NO_WAY && out) *out = count_way(s, best);
    s->hot[h] |= best != NO_WAY;
  }
  return true;
}

/* False for want of memory; 'out' has no instructions where no way will do. */
static bool find(search *s, unsigned words, unsigned products, qp_hot_path *out) {
  const uint32_t blocks = s->g->count;
  s->ways = calloc((size_t)blocks * MOST_WAYS + 1, sizeof *s->ways);
  s->own = calloc(blocks + 1, sizeof *s->own);
  s->count = calloc(blocks + 1, 1);
  s->hot = calloc(blocks + 1, sizeof *s->hot);
  if (!s->ways || !s->own || !s->count || !s->hot) return false;
  for (uint32_t b = 0; b < blocks; b++) s->own[b] = cost_of_block(s, b);
  return see_loops(s, words, products, NULL) && see_loops(s, words, products, out);
}

qp_status qp_hot_path_find(qp_listing *l, unsigned words, unsigned products, qp_hot_path *out,
                           qp_error *err) {
  qp_flow g;
  qp_hot_path p = {0};
  search s = {.l = l, .g = &g};
  const bool ok = qp_listing_flow(l, &g) && find(&s, words, products, &p);
  free(s.ways);
  free(s.own);
  free(s.count);
  free(s.hot);
  qp_listing_flow_free(&g);
  if (!ok) return qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
  if (!p.instructions)
    return qp_fail(err, QP_E_ARG,
                   "no loop of the machine code fetches %u words of weights a lane and has %u "
                   "tensor instructions",
                   words, products);
  *out = p;
  return QP_OK;
}

qp_status qp_hot_path_of_cubin(const void *cubin, size_t bytes, const char *kernel, unsigned words,
                               unsigned products, qp_hot_path *out, qp_error *err) {
  char *text;
  qp_status status = qp_disassemble(cubin, bytes, &text, err);
  if (status) return status;
  qp_listing *l = qp_listing_new();
  if (!l)
    status = qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
  else if (!qp_sass_read(l, text, kernel))
    status = qp_fail(err, QP_E_ARG, "cubin has no kernel '%s'", kernel);
  else
    status = qp_hot_path_find(l, words, products, out, err);
  qp_listing_free(l);
  free(text);
  return status;
}
