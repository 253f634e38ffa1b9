/* SPDX-License-Identifier: MIT */
/* Spec IR -> GPU form: masks, folding, integers, bf16, tables, products, fetch, choice of
   instructions, in this order. */
#include "gen/kernel/lower.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gen/ir/passes.h"

enum {
  MAX_ROOTS = 4,
  MAX_SCALE = 15,
  LOOKUP_COST = 4 /* operations: shift, mask with the lane, load (which takes two slots) */
};

/* Replace *ir by a pass's result. */
static bool step_to(qp_ir **ir, qp_ir *next) {
  qp_ir_free(*ir);
  *ir = next;
  return next != NULL;
}

static unsigned log2_of(unsigned n) { return 31u - (unsigned)__builtin_clz(n); }

static bool is_far(const qp_quantizer *q, unsigned codebook) {
  return qp_book_is_far(&q->codebook[codebook]);
}

static bool is_lookup(const qp_ir_node *n) {
  return (qp_ir_op_row(n->op)->trait & QP_IR_LOOKS_UP) != 0;
}

/* ---- The cut of an unfolded table ---- */

/* What each node depends on: the state, and anything else that is not the same for every weight. */
typedef struct dependence {
  bool state[QP_IR_MAX_NODES], other[QP_IR_MAX_NODES];
} dependence;

static void find_dependence(const qp_ir *ir, const qp_quantizer *q, dependence *d) {
  memset(d, 0, sizeof *d);
  for (unsigned i = 0; i < ir->count; i++) {
    const qp_ir_node *n = &ir->node[i];
    bool input = n->op == QP_IR_INPUT || n->op == QP_IR_INPUT_H;
    d->state[i] = input && n->imm == QP_IN_STATE;
    d->other[i] = (input && n->imm != QP_IN_STATE) || (is_lookup(n) && is_far(q, n->imm));
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) {
      d->state[i] |= d->state[n->arg[k]];
      d->other[i] |= d->other[n->arg[k]];
    }
  }
}

typedef struct cut {
  unsigned roots;
  uint16_t root[MAX_ROOTS];  /* what the table's entries hold */
  unsigned node, low, width; /* The bits low .. low + width of this node are its index. */
  unsigned gain;             /* cost of the nodes that the table replaces */
} cut;

/* Roots: nodes of the state alone that are outputs, or operands of what depends on more.  None if
   a codebook is looked up at more than the state: a kernel has plain tables or an unfolded one. */
static bool find_roots(const qp_ir *ir, const qp_quantizer *q, const dependence *d, cut *c) {
  bool root[QP_IR_MAX_NODES] = {0};
  uint32_t value;
  for (unsigned i = 0; i < ir->count; i++)
    if (is_lookup(&ir->node[i]) && d->other[i] && !is_far(q, ir->node[i].imm)) return false;
  for (unsigned i = 0; i < ir->outputs; i++)
    if (d->state[ir->output[i]] && !d->other[ir->output[i]]) root[ir->output[i]] = true;
  for (unsigned i = 0; i < ir->count; i++)
    for (unsigned k = 0; d->other[i] && k < qp_ir_arity(ir, i); k++) {
      unsigned a = ir->node[i].arg[k];
      if (d->state[a] && !d->other[a] && !qp_ir_is_const(ir, a, &value)) root[a] = true;
    }
  c->roots = 0;
  for (unsigned i = 0; i < ir->count; i++) {
    if (!root[i]) continue;
    if (c->roots == MAX_ROOTS) return false;
    c->root[c->roots++] = (uint16_t)i;
  }
  return c->roots > 0;
}

/* Nodes that cost nothing: numbers and changes of type. */
static bool is_free(const qp_ir *ir, unsigned i) {
  uint32_t value;
  return qp_ir_has(ir, i, QP_IR_RENAMES) || qp_ir_is_const(ir, i, &value);
}

/* A mask below an OR with a constant: one LOP3 does both. */
static bool is_masked_or(const qp_ir *ir, unsigned i) {
  uint32_t value;
  if (ir->node[i].op != QP_IR_AND || !qp_ir_is_const(ir, ir->node[i].arg[1], &value)) return false;
  for (unsigned u = i + 1; u < ir->count; u++) {
    const qp_ir_node *n = &ir->node[u];
    if (n->op == QP_IR_OR && n->arg[0] == i && qp_ir_is_const(ir, n->arg[1], &value)) return true;
  }
  return false;
}

/* Count what nodes between the roots and node n cost, where a look-up costs as much as one of the
   unfolded table; false if the state is reached other than through n, or n is itself a root. */
static bool between(const qp_ir *ir, const cut *c, unsigned n, const dependence *d,
                    unsigned *gain) {
  bool seen[QP_IR_MAX_NODES] = {0};
  *gain = 0;
  for (unsigned i = 0; i < c->roots; i++) seen[c->root[i]] = true;
  if (seen[n]) return false;
  for (unsigned i = ir->count; i-- > 0;) {
    if (!seen[i] || i == n) continue;
    if (ir->node[i].op == QP_IR_INPUT && d->state[i]) return false;
    *gain += is_lookup(&ir->node[i]) ? LOOKUP_COST : !is_free(ir, i) && !is_masked_or(ir, i);
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) seen[ir->node[i].arg[k]] = true;
  }
  return seen[n];
}

static unsigned words_of(unsigned roots) { return roots == 3 ? 4 : roots; }

/* The cut that replaces most; of equals, the one with the narrowest index.  It has to replace as
   much as it costs. */
static bool find_cut(const qp_ir *ir, const qp_quantizer *q, const qp_lower_options *opt,
                     cut *out) {
  uint32_t demand[QP_IR_MAX_NODES];
  dependence *d = malloc(sizeof *d);
  cut c = {0}, best = {0};
  if (!d) return false;
  find_dependence(ir, q, d);
  bool any = find_roots(ir, q, d, &c);
  for (unsigned n = 0; any && n < ir->count; n++) {
    if (!d->state[n] || d->other[n] || qp_ir_type_of(ir, n) != QP_WORD) continue;
    if (!between(ir, &c, n, d, &c.gain)) continue;
    qp_pass_demand(ir, c.root, c.roots, (int)n, demand);
    if (!demand[n]) continue;
    c.node = n;
    c.low = (unsigned)__builtin_ctz(demand[n]);
    c.width = log2_of(demand[n]) - c.low + 1;
    if (c.width > opt->unfold_bits_max) continue;
    if ((4u * words_of(c.roots)) << c.width > opt->table_bytes_max) continue;
    if (c.gain > best.gain || (c.gain == best.gain && c.width < best.width)) best = c;
  }
  free(d);
  *out = best;
  return best.gain >= LOOKUP_COST;
}

/* ---- Tables ---- */

static int shifted(qp_ir *ir, int x, int left, bool multiply) {
  if (left < 0) return qp_ir_add_two(ir, QP_IR_SHR, x, qp_ir_add_word(ir, (uint32_t)-left));
  if (left == 0) return x;
  if (multiply && left <= MAX_SCALE) return qp_ir_add(ir, QP_IR_SCALE, &x, (uint32_t)left, 0);
  return qp_ir_add_two(ir, QP_IR_SHL, x, qp_ir_add_word(ir, (uint32_t)left));
}

/*
** Byte address of an entry:  bits low .. low+width of x, times the stride, with this lane's copy:
** one shift, and one AND/OR that ptxas makes a single LOP3.  width 32: x has no bits to clear.
*/
static int address(qp_ir *ir, const qp_table *t, unsigned number, int x, unsigned low,
                   unsigned width, bool multiply) {
  unsigned stride = log2_of(t->stride);
  int a = shifted(ir, x, (int)stride - (int)low, multiply);
  if (a < 0) return -1;
  if (width < 32)
    a = qp_ir_add_two(ir, QP_IR_AND, a, qp_ir_add_word(ir, ((1u << width) - 1) << stride));
  if (t->copies == 1) return a;
  return qp_ir_add_two(ir, QP_IR_OR, a, qp_ir_add(ir, QP_IR_INPUT, NULL, QP_IN_LANE + number, 0));
}

/* A word of a table as the type that it stands for. */
static int loaded(qp_ir *ir, unsigned table, unsigned word, int addr, qp_ir_type type) {
  if (addr < 0) return -1;
  int v = qp_ir_add(ir, type == QP_BPAIR ? QP_IR_LOAD_B : QP_IR_LOAD, &addr, table, word);
  if (v < 0 || type == QP_PAIR || type == QP_BPAIR) return v;
  v = qp_ir_add_one(ir, type == QP_HALF ? QP_IR_LO : QP_IR_WORD_OF_PAIR, v);
  return type == QP_SINGLE && v >= 0 ? qp_ir_add_one(ir, QP_IR_AS_SINGLE, v) : v;
}

/* Bring a root into the form of an entry's word. */
static int as_entry(qp_ir *ir, int v, qp_ir_type type) {
  if (type == QP_HALF) return qp_ir_add_two(ir, QP_IR_PACK, v, v);
  if (type == QP_SINGLE && v >= 0) v = qp_ir_add_one(ir, QP_IR_WORD_OF_SINGLE, v);
  if (type == QP_WORD || type == QP_SINGLE) return qp_ir_add(ir, QP_IR_AS_PAIR, &v, 0, 0);
  return v;
}

static int index_for_cut(qp_copy *c, unsigned i, const int *args) {
  const cut *k = c->user;
  (void)args;
  if (i != k->node) return QP_KEEP;
  return qp_ir_add_two(c->to, QP_IR_SHL, qp_ir_add(c->to, QP_IR_INPUT, NULL, QP_IN_INDEX, 0),
                       qp_ir_add_word(c->to, k->low));
}

/* Cut out the IR of the unfolded table's entries. */
static qp_ir *cut_entry(const qp_ir *ir, const cut *k) {
  bool need[QP_IR_MAX_NODES] = {0};
  qp_ir *to = qp_ir_new();
  int *map = malloc(ir->count * sizeof *map);
  for (unsigned i = 0; i < k->roots; i++) need[k->root[i]] = true;
  for (unsigned i = ir->count; i-- > 0;)
    for (unsigned a = 0; need[i] && i != k->node && a < qp_ir_arity(ir, i); a++)
      need[ir->node[i].arg[a]] = true;
  cut copy = *k;
  bool ok = to && map && qp_pass_copy_into(to, ir, need, index_for_cut, &copy, map);
  for (unsigned i = 0; ok && i < words_of(k->roots); i++) {
    unsigned r = i < k->roots ? i : k->roots - 1; /* three roots: the fourth word repeats */
    int v = as_entry(to, map[k->root[r]], qp_ir_type_of(ir, k->root[r]));
    ok = v >= 0;
    to->output[to->outputs++] = (uint16_t)v;
  }
  free(map);
  if (!ok) return qp_ir_free(to), NULL;
  return to;
}

typedef struct with_table {
  qp_lowered *l;
  const cut *cut;
} with_table;

static int load_for_root(qp_copy *c, unsigned i, const int *args) {
  const with_table *w = c->user;
  (void)args;
  for (unsigned r = 0; r < w->cut->roots; r++) {
    if (w->cut->root[r] != i) continue;
    int addr = address(c->to, &w->l->table[0], 0, c->map[w->cut->node], w->cut->low, w->cut->width,
                       w->l->options.shift_by_multiply);
    return loaded(c->to, 0, r, addr, qp_ir_type_of(c->from, i));
  }
  return QP_KEEP;
}

/* ---- Plain tables: one for each codebook that is looked up ---- */

/* Are all look-ups of this codebook converted to bf16 at once? */
static bool all_converted(const qp_ir *ir, unsigned codebook) {
  for (unsigned i = 0; i < ir->count; i++)
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) {
      const qp_ir_node *a = &ir->node[ir->node[i].arg[k]];
      if (is_lookup(a) && a->imm == codebook &&
          (a->op != QP_IR_LOOKUP_P || ir->node[i].op != QP_IR_BPAIR_OF_PAIR))
        return false;
    }
  for (unsigned i = 0; i < ir->outputs; i++)
    if (is_lookup(&ir->node[ir->output[i]]) && ir->node[ir->output[i]].imm == codebook)
      return false;
  return true;
}

/* Of entries of more than 8 numbers a table holds 8: word 4 and what follows lie in the next. */
enum { TABLE_WORDS = 4 };

static qp_ir *plain_entry(const qp_codebook *b, unsigned codebook, unsigned first, bool bf16) {
  qp_ir *to = qp_ir_new();
  if (!to) return NULL;
  int idx = qp_ir_add(to, QP_IR_INPUT, NULL, QP_IN_INDEX, 0);
  for (unsigned i = first; i < (b->dim + 1) / 2 && i < first + TABLE_WORDS; i++) {
    qp_ir_op op = b->dim == 1 ? QP_IR_LOOKUP_H : QP_IR_LOOKUP_P;
    int v = idx < 0 ? -1 : qp_ir_add(to, op, &idx, codebook, i);
    if (v >= 0 && b->dim == 1) v = qp_ir_add_two(to, QP_IR_PACK, v, v);
    if (v >= 0 && bf16) v = qp_ir_add(to, QP_IR_BPAIR_OF_PAIR, &v, 0, 0);
    if (v < 0) return qp_ir_free(to), NULL;
    to->output[to->outputs++] = (uint16_t)v;
  }
  return to;
}

typedef struct plain_tables {
  qp_lowered *l;
  int table_of[QP_MAX_CODEBOOKS]; /* -1: none */
  bool bf16[QP_MAX_CODEBOOKS];
} plain_tables;

/* x and the bits of it that an index takes: idx = (x >> low) & (2^width - 1), or all of idx. */
static unsigned index_bits(const qp_ir *ir, unsigned idx, unsigned *low, unsigned *width) {
  const qp_ir_node *n = &ir->node[idx];
  uint32_t m, s;
  *low = 0;
  *width = 32;
  if (n->op == QP_IR_SHR && qp_ir_is_const(ir, n->arg[1], &s) && s < 32)
    return *low = s, *width = 32 - s, n->arg[0];
  if (n->op != QP_IR_AND || !qp_ir_is_const(ir, n->arg[1], &m) || (m & (m + 1))) return idx;
  *width = log2_of(m) + 1;
  const qp_ir_node *x = &ir->node[n->arg[0]];
  if (x->op != QP_IR_SHR || !qp_ir_is_const(ir, x->arg[1], &s) || s + *width > 32) return n->arg[0];
  *low = s;
  return x->arg[0];
}

static int load_for_lookup(qp_copy *c, unsigned i, const int *args) {
  const plain_tables *p = c->user;
  const qp_ir_node *n = &c->from->node[i];
  (void)args;
  bool converts = n->op == QP_IR_BPAIR_OF_PAIR && is_lookup(&c->from->node[n->arg[0]]);
  const qp_ir_node *look = converts ? &c->from->node[n->arg[0]] : n;
  if (!is_lookup(look) || p->table_of[look->imm] < 0) return QP_KEEP;
  if (p->bf16[look->imm] && !converts)
    return qp_ir_add_word(c->to, 0); /* its conversion takes its place */
  if (converts && !p->bf16[look->imm]) return QP_KEEP;
  unsigned t = (unsigned)p->table_of[look->imm] + look->imm2 / TABLE_WORDS, low, width;
  unsigned x = index_bits(c->from, look->arg[0], &low, &width);
  int addr =
      address(c->to, &p->l->table[t], t, c->map[x], low, width, p->l->options.shift_by_multiply);
  qp_ir_type type = converts ? QP_BPAIR : look->op == QP_IR_LOOKUP_H ? QP_HALF : QP_PAIR;
  return loaded(c->to, t, look->imm2 % TABLE_WORDS, addr, type);
}

/* ---- Choosing copies and places ---- */

static unsigned bytes_of(const qp_table *t) { return (t->entries * t->stride + 127) / 128 * 128; }

static void set_copies(qp_table *t, unsigned copies) {
  t->copies = copies;
  t->stride = 4 * t->words * copies;
}

static qp_status place_tables(qp_lowered *l, qp_error *err) {
  const qp_lower_options *o = &l->options;
  for (unsigned i = 0; i < l->tables; i++) {
    unsigned most = 32 / l->table[i].words;
    set_copies(&l->table[i], o->copies && o->copies < most ? o->copies : most);
  }
  for (;;) {
    unsigned sum = 0, largest = 0;
    for (unsigned i = 0; i < l->tables; i++) {
      l->table[i].offset = sum;
      sum += bytes_of(&l->table[i]);
      if (bytes_of(&l->table[i]) > bytes_of(&l->table[largest])) largest = i;
    }
    l->table_bytes = sum;
    if (sum <= o->table_bytes_max) return QP_OK;
    if (o->copies || l->table[largest].copies == 1)
      return qp_fail(
          err, QP_E_LIMIT,
          "%s: its tables take %u bytes of shared memory, %u more than the %u there are; "
          "%s",
          l->quantizer->name, sum, sum - o->table_bytes_max, o->table_bytes_max,
          o->copies > 1 ? "choose fewer copies" : "the codebook is too large");
    set_copies(&l->table[largest], l->table[largest].copies / 2);
  }
}

/* ---- The stages ---- */

static qp_status unfold(qp_lowered *l, const cut *k, qp_error *err) {
  qp_table *t = &l->table[0];
  *t = (qp_table){.entries = 1u << k->width, .words = words_of(k->roots)};
  t->entry = cut_entry(l->main, k);
  if (!t->entry) return qp_fail(err, QP_E_NOMEM, "no memory to lower %s", l->quantizer->name);
  l->tables = 1;
  qp_status status = place_tables(l, err);
  if (status) return status;
  with_table w = {l, k};
  if (!step_to(&l->main, qp_pass_copy(l->main, load_for_root, &w)) ||
      !step_to(&l->main, qp_pass_copy(l->main, NULL, NULL)))
    return qp_fail(err, QP_E_LIMIT, "%s: its decode has too many operations", l->quantizer->name);
  return QP_OK;
}

/* Count the entries of each codebook's table, with room for what an index can reach beyond the
   codebook where that is no more than the next power of two; else the index has to be clamped. */
static void table_entries(const qp_lowered *l, uint32_t *entries) {
  const qp_quantizer *q = l->quantizer;
  uint32_t may[QP_IR_MAX_NODES];
  qp_pass_known(l->main, may);
  for (unsigned k = 0; k < q->codebooks; k++) entries[k] = q->codebook[k].entries;
  for (unsigned i = 0; i < l->main->count; i++) {
    const qp_ir_node *n = &l->main->node[i];
    if (!is_lookup(n) || is_far(q, n->imm)) continue;
    uint32_t reach = may[n->arg[0]], most = q->codebook[n->imm].entries - 1;
    if (reach >= entries[n->imm] && most && reach < 2u << log2_of(most))
      entries[n->imm] = reach + 1;
  }
}

static bool add_plain_table(qp_lowered *l, unsigned codebook, unsigned first, uint32_t entries,
                            bool bf16) {
  const qp_codebook *b = &l->quantizer->codebook[codebook];
  if (l->tables == QP_MAX_CODEBOOKS) return false;
  const unsigned words = b->dim == 1 ? 1 : b->dim / 2 < TABLE_WORDS ? b->dim / 2 : TABLE_WORDS;
  qp_ir *entry = plain_entry(b, codebook, first, bf16);
  if (entry) l->table[l->tables++] = (qp_table){.entries = entries, .words = words, .entry = entry};
  return entry != NULL;
}

static qp_status tabulate(qp_lowered *l, qp_error *err) {
  const qp_quantizer *q = l->quantizer;
  plain_tables p = {.l = l, .table_of = {-1, -1, -1, -1}};
  uint32_t entries[QP_MAX_CODEBOOKS];
  table_entries(l, entries);
  if (!step_to(&l->main, qp_pass_clamp_lookups(l->main, entries)))
    return qp_fail(err, QP_E_LIMIT, "%s: its decode has too many operations", q->name);
  for (unsigned i = 0; i < l->main->count; i++) {
    const qp_ir_node *n = &l->main->node[i];
    if (!is_lookup(n) || p.table_of[n->imm] >= 0 || is_far(q, n->imm)) continue;
    const qp_codebook *b = &q->codebook[n->imm];
    p.bf16[n->imm] = l->options.bf16 && all_converted(l->main, n->imm);
    p.table_of[n->imm] = (int)l->tables;
    for (unsigned first = 0; first < (b->dim + 1) / 2; first += TABLE_WORDS)
      if (!add_plain_table(l, n->imm, first, entries[n->imm], p.bf16[n->imm]))
        return l->tables == QP_MAX_CODEBOOKS
                   ? qp_fail(err, QP_E_LIMIT, "%s: more than %d tables", q->name, QP_MAX_CODEBOOKS)
                   : qp_fail(err, QP_E_NOMEM, "no memory to lower %s", q->name);
  }
  qp_status status = place_tables(l, err);
  if (status) return status;
  if (!step_to(&l->main, qp_pass_copy(l->main, load_for_lookup, &p)) ||
      !step_to(&l->main, qp_pass_copy(l->main, NULL, NULL)))
    return qp_fail(err, QP_E_LIMIT, "%s: its decode has too many operations", q->name);
  return QP_OK;
}

/* The bits that each group field may have. */
static void field_masks(const qp_quantizer *q, uint32_t *mask) {
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) {
    const unsigned bits = qp_field_row_of(q->field[f].type)->bits;
    mask[f] = bits < 32 ? (1u << bits) - 1 : ~0u;
  }
}

static qp_status prepare(qp_lowered *l, qp_error *err) {
  const qp_quantizer *q = l->quantizer;
  /* Of bit planes the kernel reads 'planes_read' bits a code and puts them side by side. */
  unsigned step = q->planes ? q->planes_read : q->step;
  unsigned window = q->planes ? q->planes_read : q->window;
  uint32_t fields[QP_MAX_FIELDS];
  field_masks(q, fields);
  bool ok = step_to(&l->main, qp_pass_mask_state(q->decode, window)) &&
            step_to(&l->main, qp_pass_mask_fields(l->main, fields));
  l->window = window;
  l->step = step;
  l->pairs = q->dim / 2;
  if (ok && q->dim % 2) {
    l->window = window + step;
    l->step = 2 * step;
    l->pairs = q->dim;
    if (l->window > 32)
      return qp_fail(err, QP_E_LIMIT,
                     "%s: two codes at once take a window of %u bits; 32 are possible", q->name,
                     l->window);
    ok = step_to(&l->main, qp_pass_fold(l->main, step));
  }
  ok = ok && step_to(&l->main, qp_pass_join_shifts(l->main)) &&
       step_to(&l->main, qp_pass_pair_integers(l->main));
  if (ok && l->options.bf16) ok = step_to(&l->main, qp_pass_bf16(l->main));
  return ok ? QP_OK : qp_fail(err, QP_E_LIMIT, "%s: its decode has too many operations", q->name);
}

static qp_status lower(qp_lowered *l, qp_error *err) {
  cut k;
  qp_status status = prepare(l, err);
  if (!status && l->options.form == QP_TABLE_UNFOLDED &&
      find_cut(l->main, l->quantizer, &l->options, &k))
    status = unfold(l, &k, err);
  if (!status && l->tables == 0) status = tabulate(l, err);
  if (status) return status;
  if (!step_to(&l->main, qp_pass_pair_products(l->main)) ||
      !step_to(&l->main, qp_pass_move_bits(l->main)) ||
      !step_to(&l->main, qp_pass_pair_rows(l->main)) ||
      !step_to(&l->main, qp_pass_choose_halves(l->main)) ||
      !step_to(&l->main, qp_pass_drop_masks(l->main)) ||
      !step_to(&l->main, qp_pass_fetch_halves(l->main, l->window)) ||
      !step_to(&l->main, qp_pass_fetch(l->main, l->window)) ||
      !step_to(&l->main, qp_pass_select(l->main)))
    return qp_fail(err, QP_E_LIMIT, "%s: its decode has too many operations", l->quantizer->name);
  for (unsigned i = 0; i < l->main->count; i++) l->row_lookup |= is_lookup(&l->main->node[i]);
  status = qp_ir_verify(l->main, err);
  for (unsigned t = 0; t < l->tables && !status; t++) status = qp_ir_verify(l->table[t].entry, err);
  return status;
}

qp_status qp_lower(const qp_quantizer *q, const qp_lower_options *opt, qp_lowered *out,
                   qp_error *err) {
  if (opt->copies > 32 || (opt->copies & (opt->copies - 1)))
    return qp_fail(err, QP_E_ARG, "%u copies of a table; 1, 2, 4, 8, 16 or 32 are possible",
                   opt->copies);
  qp_lowered l = {.quantizer = q, .options = *opt};
  qp_status status = lower(&l, err);
  if (status)
    qp_lowered_free(&l);
  else
    *out = l;
  return status;
}

void qp_lowered_free(qp_lowered *l) {
  qp_ir_free(l->main);
  for (unsigned t = 0; t < l->tables; t++) qp_ir_free(l->table[t].entry);
  *l = (qp_lowered){0};
}

/* ---- Evaluation ---- */

static void bind_codebooks(const qp_quantizer *q, const uint16_t *const *codebooks,
                           qp_ir_env *env) {
  for (unsigned i = 0; i < q->codebooks; i++) {
    const qp_codebook *b = &q->codebook[i];
    env->codebook[i].data = codebooks && codebooks[i] ? codebooks[i] : b->data;
    env->codebook[i].entries = b->entries;
    env->codebook[i].dim = b->dim;
  }
}

qp_status qp_lowered_bind(const qp_lowered *l, const uint16_t *const *codebooks, qp_ir_env *env,
                          qp_error *err) {
  memset(env, 0, sizeof *env);
  bind_codebooks(l->quantizer, codebooks, env);
  for (unsigned t = 0; t < l->tables; t++) {
    const qp_table *table = &l->table[t];
    uint32_t *data = malloc((size_t)table->entries * table->words * sizeof *data);
    env->table[t].data = data;
    if (!data) return qp_lowered_unbind(env), qp_fail(err, QP_E_NOMEM, "no memory for tables");
    env->table[t].entries = table->entries;
    env->table[t].words = table->words;
    env->table[t].stride = table->stride;
    for (unsigned id = 0; id < table->entries; id++) {
      env->input[QP_IN_INDEX] = id;
      qp_ir_eval(table->entry, env, data + (size_t)id * table->words);
    }
  }
  return QP_OK;
}

void qp_lowered_unbind(qp_ir_env *env) {
  for (unsigned t = 0; t < 4; t++) {
    free((void *)(uintptr_t)env->table[t].data);
    env->table[t].data = NULL;
  }
}

void qp_lowered_eval(const qp_lowered *l, qp_ir_env *env, uint32_t state, unsigned lane,
                     const uint32_t *fields, uint32_t *out) {
  env->input[QP_IN_STATE] = state;
  for (unsigned f = 0; f < QP_MAX_FIELDS; f++) env->input[QP_IN_GROUP + f] = fields ? fields[f] : 0;
  for (unsigned t = 0; t < l->tables; t++)
    env->input[QP_IN_LANE + t] = lane % l->table[t].copies * l->table[t].words * 4;
  qp_ir_eval(l->main, env, out);
}
