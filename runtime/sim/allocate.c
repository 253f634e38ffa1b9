/* SPDX-License-Identifier: MIT */
/*
** Register and frame allocation.  PTX is close to single assignment; kernels name thousands of
** virtual registers of which few live at a time.  Each function's registers get places by linear
** scan over live intervals, so that a warp's file stays small enough for the host's caches.
**
** Rules: liveness is computed per basic block; an instruction whose guard may fail does not end the
** life of the value it overwrites; a destination never shares words with a source of the same
** instruction (a loop over lanes writes one while reading the other); registers of 64 bits and of
** 32 never share a place: a lane's 64 bits lie where the words of two other lanes would, which may
** stand elsewhere in the program.
*/
#include "runtime/sim/parse.h"

#include <stdlib.h>

typedef struct block {
  uint32_t begin, end;     /* ops */
  uint32_t next[2], nexts; /* further successors of brx are in 'many' */
} block;

typedef struct flow {
  parser *p;
  uint32_t ops, begin; /* ops of the function: begin .. begin + ops */
  block *blocks;
  uint32_t count;
  uint32_t *block_of;  /* op -> block */
  uint32_t *first_ref; /* From an op to its first reference; ops + 1 entries. */
  reference *refs;     /* The function's references, sorted by op. */
  uint32_t ref_count;
  uint64_t *in, *out, *gen, *kill; /* bit sets, 'words' each, per block */
  size_t words;
  uint32_t *from, *to; /* The live interval of each register, in ops; from > to: it is unused. */
} flow;

static bool ends_block(const qp_sim_op *o) { return o->flow != QP_SIM_FLOW_NEXT; }
static bool falls_through(const qp_sim_op *o) { return !ends_block(o) || o->guard != QP_SIM_TRUE; }

static int by_op(const void *x, const void *y) {
  const reference *a = x, *b = y;
  return a->op < b->op ? -1 : a->op > b->op;
}

static bool find_blocks(flow *f) {
  parser *p = f->p;
  uint8_t *leader = calloc(f->ops + 1, 1);
  if (!leader) return false;
  leader[0] = 1;
  for (uint32_t i = 0; i < f->ops; i++) {
    const qp_sim_op *o = p->ops.at + f->begin + i;
    if (!ends_block(o)) continue;
    leader[i + 1] = 1;
    if (o->flow == QP_SIM_FLOW_JUMP) leader[o->target - f->begin] = 1;
    if (o->flow == QP_SIM_FLOW_TABLE)
      for (int64_t k = 0; k < o->imm; k++) leader[(uint32_t)p->ext.at[o->ext + k] - f->begin] = 1;
  }
  for (uint32_t i = 0; i < f->ops; i++) f->count += leader[i];
  f->blocks = calloc(f->count + 1, sizeof *f->blocks);
  f->block_of = calloc(f->ops + 1, sizeof *f->block_of);
  if (f->blocks && f->block_of) {
    uint32_t b = UINT32_MAX;
    for (uint32_t i = 0; i < f->ops; i++) {
      if (leader[i]) f->blocks[++b].begin = i;
      f->blocks[b].end = i + 1;
      f->block_of[i] = b;
    }
  }
  free(leader);
  return f->blocks && f->block_of;
}

static void scan_block(flow *f, uint32_t b) {
  const parser *p = f->p;
  uint64_t *gen = f->gen + b * f->words, *kill = f->kill + b * f->words;
  for (uint32_t i = f->blocks[b].begin; i < f->blocks[b].end; i++) {
    const bool sure = p->ops.at[f->begin + i].guard == QP_SIM_TRUE;
    for (int pass = 0; pass < 2; pass++)
      for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++) {
        const uint32_t v = f->refs[r].vreg;
        const uint64_t bit = UINT64_C(1) << (v % 64);
        const bool def = f->refs[r].def;
        if (pass == 0 && (!def || !sure) && !(kill[v / 64] & bit)) gen[v / 64] |= bit;
        if (pass == 1 && def && sure) kill[v / 64] |= bit;
      }
  }
}

/* What must live at a block's end is what its successors need. */
static void gather_out(flow *f, uint32_t b) {
  const parser *p = f->p;
  uint64_t *out = f->out + b * f->words;
  const qp_sim_op *last = p->ops.at + f->begin + f->blocks[b].end - 1;
#define JOIN(target)                                                                               \
  do {                                                                                             \
    const uint64_t *in = f->in + (size_t)(target)*f->words;                                        \
    for (size_t s_ = 0; s_ < f->words; s_++) out[s_] |= in[s_];                                    \
  } while (0)
  if (falls_through(last) && b + 1 < f->count) JOIN(b + 1);
  if (last->flow == QP_SIM_FLOW_JUMP) JOIN(f->block_of[last->target - f->begin]);
  if (last->flow == QP_SIM_FLOW_TABLE)
    for (int64_t k = 0; k < last->imm; k++)
      JOIN(f->block_of[(uint32_t)p->ext.at[last->ext + k] - f->begin]);
#undef JOIN
}

static void solve(flow *f) {
  bool changed = true;
  for (uint32_t b = 0; b < f->count; b++) scan_block(f, b);
  while (changed) {
    changed = false;
    for (uint32_t b = f->count; b-- > 0;) {
      gather_out(f, b);
      uint64_t *in = f->in + b * f->words;
      const uint64_t *out = f->out + b * f->words, *gen = f->gen + b * f->words;
      const uint64_t *kill = f->kill + b * f->words;
      for (size_t k = 0; k < f->words; k++) {
        const uint64_t v = gen[k] | (out[k] & ~kill[k]);
        changed |= v != in[k];
        in[k] = v;
      }
    }
  }
}

static void extend(flow *f, uint32_t v, uint32_t at) {
  if (at < f->from[v]) f->from[v] = at;
  if (at > f->to[v]) f->to[v] = at;
}

/* Positions: op i reads at 2 i and writes at 2 i + 1, but holds both throughout. */
static void intervals(flow *f) {
  for (uint32_t b = 0; b < f->count; b++)
    for (size_t k = 0; k < f->words; k++) {
      for (uint64_t s = f->in [b * f->words + k]; s; s &= s - 1)
        extend(f, (uint32_t)(64 * k) + (uint32_t)__builtin_ctzll(s), f->blocks[b].begin);
      for (uint64_t s = f->out[b * f->words + k]; s; s &= s - 1)
        extend(f, (uint32_t)(64 * k) + (uint32_t)__builtin_ctzll(s), f->blocks[b].end);
    }
  for (uint32_t i = 0; i < f->ops; i++)
    for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++) extend(f, f->refs[r].vreg, i);
}

/* ---- linear scan ---- */

typedef struct interval {
  uint32_t from, to, vreg;
} interval;

static int by_from(const void *x, const void *y) {
  const interval *a = x, *b = y;
  if (a->from != b->from) return a->from < b->from ? -1 : 1;
  return a->vreg < b->vreg ? -1 : a->vreg > b->vreg;
}

/* Give each live register a place, in units of 32 words; '*place' is indexed by register. */
static bool scan(flow *f, uint32_t *place, uint32_t *units) {
  const uint32_t n = f->p->vregs.count;
  interval *list = malloc((n + 1) * sizeof *list);
  uint32_t *busy = malloc((2 * n + 4) * sizeof *busy); /* by unit: 1 + its holder's last op */
  uint8_t *width = calloc(2 * n + 4, 1); /* unit -> 1, 2: begins one of so many; 0: within one */
  if (!list || !busy || !width) {
    free(list);
    free(busy);
    free(width);
    return false;
  }
  uint32_t count = 0, used = 0;
  for (uint32_t v = 0; v < n; v++)
    if (f->from[v] <= f->to[v]) list[count++] = (interval){f->from[v], f->to[v], v};
  qsort(list, count, sizeof *list, by_from);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t size = f->p->vregs.at[list[i].vreg];
    uint32_t at = 0;
    while (at < used && (width[at] != size || busy[at] > list[i].from)) at++;
    if (at == used) {
      width[at] = (uint8_t)size;
      used += size;
    }
    for (uint32_t k = 0; k < size; k++) busy[at + k] = list[i].to + 1;
    place[list[i].vreg] = at;
  }
  *units = used;
  free(list);
  free(busy);
  free(width);
  return true;
}

static void rewrite(flow *f, const uint32_t *place) {
  parser *p = f->p;
  for (uint32_t i = 0; i < f->ref_count; i++) {
    const reference *r = f->refs + i;
    qp_sim_op *o = p->ops.at + r->op;
    const int32_t word = (int32_t)(place[r->vreg] * QP_SIM_LANES);
    if (r->field < REF_EXT)
      /* cppcheck-suppress arrayIndexOutOfBoundsCond ; a number below REF_EXT is of r */
      o->r[r->field] = word;
    else
      p->ext.at[o->ext + r->field - REF_EXT] = word;
  }
}

static bool prepare(flow *f) {
  parser *p = f->p;
  const uint32_t n = p->vregs.count;
  f->refs = p->refs.at ? p->refs.at + p->ref_begin : NULL; /* NULL: nothing refers to a register */
  f->ref_count = f->refs ? p->refs.count - p->ref_begin : 0;
  if (f->ref_count) qsort(f->refs, f->ref_count, sizeof *f->refs, by_op);
  f->first_ref = calloc(f->ops + 2, sizeof *f->first_ref);
  if (!f->first_ref || !find_blocks(f)) return false;
  for (uint32_t i = 0; i < f->ref_count; i++) f->first_ref[f->refs[i].op - f->begin + 1]++;
  for (uint32_t i = 0; i < f->ops; i++) f->first_ref[i + 1] += f->first_ref[i];
  f->words = (n + 63) / 64 + 1;
  const size_t set = f->words * f->count + 1;
  f->in = calloc(set, sizeof *f->in);
  f->out = calloc(set, sizeof *f->out);
  f->gen = calloc(set, sizeof *f->gen);
  f->kill = calloc(set, sizeof *f->kill);
  f->from = malloc((n + 1) * sizeof *f->from);
  f->to = calloc(n + 1, sizeof *f->to);
  if (!f->in || !f->out || !f->gen || !f->kill || !f->from || !f->to) return false;
  memset(f->from, 0xff, (n + 1) * sizeof *f->from);
  return true;
}

bool p_allocate(parser *p) {
  flow f = {.p = p, .begin = p->op_begin, .ops = p->ops.count - p->op_begin};
  uint32_t *place = calloc(p->vregs.count + 1, sizeof *place), units = 0;
  bool good = place && prepare(&f);
  if (good) {
    solve(&f);
    intervals(&f);
    good = scan(&f, place, &units);
  }
  if (good) {
    rewrite(&f, place);
    p->functions.at[p->function].reg_words = units * QP_SIM_LANES;
  }
  free(f.blocks);
  free(f.block_of);
  free(f.first_ref);
  free(f.in);
  free(f.out);
  free(f.gen);
  free(f.kill);
  free(f.from);
  free(f.to);
  free(place);
  return good || p_fail(p, "host memory exhausted");
}

/* ---- functions behind their callers ---- */

static bool push_down(parser *p, bool *changed) {
  *changed = false;
  for (uint32_t i = 0; i < p->functions.count; i++) {
    const qp_sim_function *f = p->functions.at + i;
    for (uint32_t k = 0; k < f->callee_count; k++) {
      qp_sim_function *g = p->functions.at + f->callees[k];
      if (!g->defined) {
        p->tok.line = p->ops.at[f->start].line;
        return p_fail(p, "'%s' calls '%s', which has no body", f->name, g->name);
      }
      const uint32_t frame = f->frame_base + f->frame_bytes;
      if (frame + g->frame_bytes > P_SPACE)
        return p_fail(p, "frames of calls take more than 2^30 bytes together");
      if (g->level <= f->level || g->frame_base < frame) *changed = true;
      if (g->level <= f->level) g->level = f->level + 1;
      if (g->frame_base < frame) g->frame_base = frame;
    }
  }
  return true;
}

/* Functions never share places of registers, as widths of one function do not:
   lanes of a warp may stand in different ones. */
static void spread_registers(parser *p) {
  uint32_t end = 0;
  for (uint32_t i = 0; i < p->functions.count; i++) {
    const qp_sim_function *f = p->functions.at + i;
    if (f->entry && f->reg_words > end) end = f->reg_words;
  }
  for (uint32_t i = 0; i < p->functions.count; i++) {
    qp_sim_function *f = p->functions.at + i;
    if (f->entry) continue;
    f->reg_base = end;
    end += f->reg_words;
  }
}

/* Largest ends of a function and all that it may reach; 'seen' has a mark for each function. */
static void total(const parser *p, uint32_t index, uint8_t *seen, qp_sim_function *entry) {
  const qp_sim_function *f = p->functions.at + index;
  if (seen[index]) return;
  seen[index] = 1;
  const uint32_t regs = f->reg_base + f->reg_words, frame = f->frame_base + f->frame_bytes;
  if (entry->total_reg_words < regs) entry->total_reg_words = regs;
  if (entry->total_frame_bytes < frame) entry->total_frame_bytes = frame;
  for (uint32_t k = 0; k < f->callee_count; k++) total(p, f->callees[k], seen, entry);
}

static bool totals(parser *p) {
  for (uint32_t i = 0; i < p->functions.count; i++) {
    qp_sim_function *f = p->functions.at + i;
    if (!f->entry) continue;
    uint8_t *seen = calloc(p->functions.count, 1);
    if (!seen) return p_fail(p, "host memory exhausted");
    total(p, i, seen, f);
    free(seen);
  }
  return true;
}

static const qp_sim_function *owner(const parser *p, uint32_t op) {
  for (uint32_t i = 0; i < p->functions.count; i++) {
    const qp_sim_function *f = p->functions.at + i;
    if (f->defined && op >= f->start && op < f->end) return f;
  }
  return NULL;
}

static void move_registers(parser *p, const reference *r, uint32_t base) {
  qp_sim_op *o = p->ops.at + r->op;
  if (r->field < REF_EXT)
    /* cppcheck-suppress arrayIndexOutOfBoundsCond ; a number below REF_EXT is of r */
    o->r[r->field] += (int32_t)base;
  else
    p->ext.at[o->ext + r->field - REF_EXT] += (int32_t)base;
}

bool p_link(parser *p) {
  bool changed = true;
  for (uint32_t pass = 0; changed; pass++) {
    if (pass > p->functions.count) {
      p->tok.line = 1;
      return p_fail(p, "the module has recursive functions, which the simulator does not run");
    }
    if (!push_down(p, &changed)) return false;
  }
  spread_registers(p);
  if (!totals(p)) return false;
  for (uint32_t i = 0; i < p->refs.count; i++) {
    const qp_sim_function *f = owner(p, p->refs.at[i].op);
    if (f && f->reg_base) move_registers(p, p->refs.at + i, f->reg_base);
  }
  for (uint32_t i = 0; i < p->frame_ops.count; i++) {
    const qp_sim_function *f = owner(p, p->frame_ops.at[i]);
    if (f) p->ops.at[p->frame_ops.at[i]].imm += f->frame_base;
  }
  for (uint32_t i = 0; i < p->frame_exts.count; i += 2) {
    const qp_sim_function *f = owner(p, p->frame_exts.at[i]);
    if (f) p->ext.at[p->frame_exts.at[i + 1]] += (int32_t)f->frame_base;
  }
  return true;
}
