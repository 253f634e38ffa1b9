/* SPDX-License-Identifier: MIT */
/* Passes that choose instructions; the rules stand above each in passes.h. */
#include <stdlib.h>
#include <string.h>

#include "gen/ir/ir_value.h"
#include "gen/ir/passes.h"

/* Is node n 'op' of something and a constant? */
static bool with_constant(const qp_ir *ir, int n, qp_ir_op op, uint32_t *value) {
  return ir->node[n].op == op && qp_ir_is_const(ir, ir->node[n].arg[1], value);
}

/* ---- Shifts ---- */

static uint32_t moved(uint32_t x, qp_ir_op op, uint32_t by) {
  return op == QP_IR_SHL ? x << by : x >> by;
}

static int shift(qp_ir *ir, qp_ir_op op, int x, uint32_t by) {
  uint32_t c;
  const qp_ir_op back = op == QP_IR_SHL ? QP_IR_SHR : QP_IR_SHL;
  if (with_constant(ir, x, QP_IR_AND, &c)) {
    int inner = shift(ir, op, ir->node[x].arg[0], by);
    return inner < 0 ? -1
                     : qp_ir_add_two(ir, QP_IR_AND, inner, qp_ir_add_word(ir, moved(c, op, by)));
  }
  if (with_constant(ir, x, back, &c) && c < 32) {
    int inner = ir->node[x].arg[0];
    if (c != by) inner = shift(ir, c > by ? back : op, inner, c > by ? c - by : by - c);
    uint32_t kept = moved(moved(~0u, back, c), op, by);
    return inner < 0 ? -1 : qp_ir_add_two(ir, QP_IR_AND, inner, qp_ir_add_word(ir, kept));
  }
  return qp_ir_add_two(ir, op, x, qp_ir_add_word(ir, by));
}

static int join_shift(qp_copy *c, unsigned i, const int *args) {
  const qp_ir_op op = (qp_ir_op)c->from->node[i].op;
  uint32_t by;
  if (op != QP_IR_SHL && op != QP_IR_SHR) return QP_KEEP;
  if (!qp_ir_is_const(c->from, c->from->node[i].arg[1], &by) || by >= 32) return QP_KEEP;
  return shift(c->to, op, args[0], by);
}

qp_ir *qp_pass_join_shifts(const qp_ir *ir) { return qp_pass_rewrite(ir, join_shift, NULL); }

/* ---- Small integers and halves ---- */

/* 0x6400 + x is the fp16 number 1024 + x; an addition where it can become part of x. */
static int small_half(qp_ir *ir, int x, uint32_t minus) {
  const unsigned op = ir->node[x].op;
  const bool sum = op == QP_IR_ADD || op == QP_IR_MUL;
  int bits = qp_ir_add_two(ir, sum ? QP_IR_ADD : QP_IR_OR, x, qp_ir_add_word(ir, 0x6400));
  if (bits < 0) return -1;
  int one_k = qp_ir_add(ir, QP_IR_HALF_CONST, NULL, 0x6400 + minus, 0);
  return qp_ir_add_two(ir, QP_IR_HSUB, qp_ir_add_one(ir, QP_IR_AS_HALF, bits), one_k);
}

/* See a half as 16 bits of a word, from byte *at on; 'low': its upper byte is not looked at. */
static bool half_in_word(qp_ir *ir, int half, bool low, int *word, uint32_t *at) {
  const qp_ir_node n = ir->node[half];
  *at = n.op == QP_IR_HI ? 2 : 0;
  if (n.op == QP_IR_LO || n.op == QP_IR_HI) {
    *word = qp_ir_add_one(ir, QP_IR_WORD_OF_PAIR, n.arg[0]);
    return *word >= 0;
  }
  if (n.op != QP_IR_AS_HALF) return false;
  uint32_t by;
  *word = n.arg[0];
  if (with_constant(ir, *word, QP_IR_SHR, &by) && by % 8 == 0 && by <= (low ? 24 : 16)) {
    *word = ir->node[*word].arg[0];
    *at = by / 8;
  }
  return true;
}

/* The largest value of a word, where that is known: of sums and of bounds, as exponents in e8m0
   have them. */
static uint32_t most_of(const qp_ir *ir, int n, uint32_t *least) {
  uint32_t c, low = 0;
  const qp_ir_node *w = &ir->node[n];
  *least = 0;
  if (qp_ir_arity(ir, (unsigned)n) != 2 || !qp_ir_is_const(ir, w->arg[1], &c)) return ~0u;
  const uint32_t most = most_of(ir, w->arg[0], &low);
  switch (w->op) {
  case QP_IR_AND: return c;
  case QP_IR_MAX: return *least = c > low ? c : low, most > c ? most : c;
  case QP_IR_MIN: return *least = c < low ? c : low, most < c ? most : c;
  case QP_IR_SUB: return low < c || most == ~0u ? ~0u : (*least = low - c, most - c);
  default: return ~0u;
  }
}

/* Make both halves x << k, below 2^16:  x * (2^k + 2^(16+k)), a difference's constant outside. */
static int twice(qp_ir *ir, int half) {
  uint32_t k, c, least;
  if (ir->node[half].op != QP_IR_AS_HALF) return -1;
  const int word = ir->node[half].arg[0];
  if (!with_constant(ir, word, QP_IR_SHL, &k) || k >= 16) return -1;
  int x = ir->node[word].arg[0];
  if (most_of(ir, x, &least) >> (16 - k)) return -1;
  const uint32_t factor = 0x10001u << k;
  const bool difference = with_constant(ir, x, QP_IR_SUB, &c);
  if (difference) x = ir->node[x].arg[0];
  int v = qp_ir_add_two(ir, QP_IR_MUL, x, qp_ir_add_word(ir, factor));
  if (difference && v >= 0) v = qp_ir_add_two(ir, QP_IR_ADD, v, qp_ir_add_word(ir, 0 - c * factor));
  return v < 0 ? -1 : qp_ir_add_one(ir, QP_IR_AS_PAIR, v);
}

/* low: of both the upper byte is not looked at. */
static int pack(qp_ir *ir, int lo, int hi, bool low) {
  const qp_ir_node l = ir->node[lo], h = ir->node[hi];
  if (l.op == QP_IR_AS_HALF && h.op == QP_IR_AS_HALF) {
    const qp_ir_node a = ir->node[l.arg[0]], b = ir->node[h.arg[0]];
    uint32_t c, d;
    const bool logical = a.op == QP_IR_AND || a.op == QP_IR_OR || a.op == QP_IR_XOR;
    if (logical && a.op == b.op && qp_ir_is_const(ir, a.arg[1], &c) &&
        qp_ir_is_const(ir, b.arg[1], &d)) {
      int la = qp_ir_add_one(ir, QP_IR_AS_HALF, a.arg[0]),
          ha = qp_ir_add_one(ir, QP_IR_AS_HALF, b.arg[0]);
      const bool byte = a.op == QP_IR_AND && ((c | d) & 0xffff) <= 255;
      int both = la < 0 || ha < 0 ? -1 : pack(ir, la, ha, low || byte);
      int bits = both < 0 ? -1 : qp_ir_add_one(ir, QP_IR_WORD_OF_PAIR, both);
      if (bits < 0) return -1;
      bits = qp_ir_add_two(ir, (qp_ir_op)a.op, bits, qp_ir_add_word(ir, (c & 0xffff) | d << 16));
      return qp_ir_add_one(ir, QP_IR_AS_PAIR, bits);
    }
  }
  int x, y;
  uint32_t i, j;
  const int both = lo == hi ? twice(ir, lo) : -1;
  if (both >= 0) return both;
  if (lo == hi && l.op == QP_IR_INPUT_H) return qp_ir_add(ir, QP_IR_INPUT_P, NULL, l.imm, 0);
  if (!half_in_word(ir, lo, low, &x, &i) || !half_in_word(ir, hi, low, &y, &j) || i + j == 0)
    return qp_ir_add_two(ir, QP_IR_PACK, lo, hi);
  const uint32_t bytes = i | (i + 1) % 4 << 4 | (4 + j) << 8 | (4 + (j + 1) % 4) << 12;
  const int args[] = {x, y, qp_ir_add_word(ir, bytes)};
  return qp_ir_add_one(ir, QP_IR_AS_PAIR, qp_ir_add(ir, QP_IR_PRMT, args, 0, 0));
}

/* Are these two fp16 numbers 1024 + x, with x an integer below 1024? */
static bool is_kilo(const qp_ir *ir, const uint32_t *may, unsigned pair) {
  uint32_t c;
  const qp_ir_node *n = &ir->node[pair];
  return n->op == QP_IR_AS_PAIR && with_constant(ir, n->arg[0], QP_IR_OR, &c) && c == 0x64006400 &&
         !(may[ir->node[n->arg[0]].arg[0]] & ~0x03ff03ffu);
}

/* Of pair_of_integers (integers.c):  (1024 + x, 1024 + 2^k y) * (1, 2^-k) + c - n, n an integer
   below 1024 that is 1024 + n - 1024: sums of integers below 2048 are exact in any order. */
static int subtract_from_sum(qp_copy *c, unsigned i, const uint32_t *may) {
  const qp_ir *ir = c->from;
  const qp_ir_node *a = &ir->node[ir->node[i].arg[0]], *n = &ir->node[ir->node[i].arg[1]];
  uint32_t kilo, down, sum;
  if (a->op != QP_IR_PFMA || n->op != QP_IR_PSUB) return QP_KEEP;
  if (!is_kilo(ir, may, a->arg[0]) || !is_kilo(ir, may, n->arg[0])) return QP_KEEP;
  if (!qp_ir_is_const(ir, n->arg[1], &kilo) || kilo != 0x64006400) return QP_KEEP;
  if (!qp_ir_is_const(ir, a->arg[1], &down) || (down & 0xffff) != 0x3c00) return QP_KEEP;
  if (!qp_ir_is_const(ir, a->arg[2], &sum) || (sum & 0xffff) != 0xe400) return QP_KEEP;
  const int rest = qp_ir_add_constant(c->to, QP_PAIR, qp_ir_padd(sum, 0x64006400));
  const int less = rest < 0 ? -1 : qp_ir_add_two(c->to, QP_IR_PSUB, rest, c->map[n->arg[0]]);
  const int three[] = {c->map[a->arg[0]], c->map[a->arg[1]], less};
  return less < 0 ? -1 : qp_ir_add(c->to, QP_IR_PFMA, three, 0, 0);
}

/* (1024 + x - c) - (1024 + y - c):  x - y has no rounding either way. */
static int subtract_small(qp_copy *c, unsigned i, const uint32_t *may) {
  const qp_ir *ir = c->from;
  const qp_ir_node *a = &ir->node[ir->node[i].arg[0]], *b = &ir->node[ir->node[i].arg[1]];
  uint32_t kilo;
  if (a->op != QP_IR_PSUB || b->op != QP_IR_PSUB || a->arg[1] != b->arg[1]) return QP_KEEP;
  if (!qp_ir_is_const(ir, a->arg[1], &kilo) || kilo != 0x64006400) return QP_KEEP;
  if (!is_kilo(ir, may, a->arg[0]) || !is_kilo(ir, may, b->arg[0])) return QP_KEEP;
  return qp_ir_add_two(c->to, QP_IR_PSUB, c->map[a->arg[0]], c->map[b->arg[0]]);
}

/* (PRMT(x, x, 1 and 3) & 0xff00ff | 0x64006400) - c, of bits 8 and 9 of both halves alone: they are
   the first bits of 1024 + 256 n where they lie. */
static int subtract_in_place(qp_copy *c, unsigned i, const uint32_t *may) {
  const qp_ir *ir = c->from;
  const qp_ir_node *n = &ir->node[i], *pair = &ir->node[n->arg[0]];
  const qp_ir_node *kilo = &ir->node[pair->arg[0]], *low = &ir->node[kilo->arg[0]];
  const qp_ir_node *bytes = &ir->node[low->arg[0]];
  uint32_t number, mask, selectors, less;
  if (pair->op != QP_IR_AS_PAIR || kilo->op != QP_IR_OR || low->op != QP_IR_AND) return QP_KEEP;
  if (bytes->op != QP_IR_PRMT || bytes->arg[0] != bytes->arg[1]) return QP_KEEP;
  if (!qp_ir_is_const(ir, kilo->arg[1], &number) || number != 0x64006400) return QP_KEEP;
  if (!qp_ir_is_const(ir, low->arg[1], &mask) || mask != 0xff00ff) return QP_KEEP;
  if (!qp_ir_is_const(ir, bytes->arg[2], &selectors) || (selectors & 0x303) != 0x301)
    return QP_KEEP;
  if (!qp_ir_is_const(ir, n->arg[1], &less) || (may[bytes->arg[0]] & 0xfc00fc00)) return QP_KEEP;
  /* (1024 + 256 n) / 256 - c',  c' = 4 + (c - 1024):  integers */
  const uint32_t rest = qp_ir_padd(qp_ir_psub(0x64006400, less), 0xc400c400);
  qp_ir *to = c->to;
  int v = qp_ir_add_two(to, QP_IR_AND, c->map[bytes->arg[0]], qp_ir_add_word(to, 0x03000300));
  v = v < 0 ? -1 : qp_ir_add_two(to, QP_IR_OR, v, c->map[kilo->arg[1]]);
  v = v < 0 ? -1 : qp_ir_add_one(to, QP_IR_AS_PAIR, v);
  const int three[] = {v, qp_ir_add_constant(to, QP_PAIR, 0x1c001c00),
                       qp_ir_add_constant(to, QP_PAIR, rest)};
  return v < 0 ? -1 : qp_ir_add(to, QP_IR_PFMA, three, 0, 0);
}

static int choose_half(qp_copy *c, unsigned i, const int *args) {
  const uint32_t *may = c->user;
  const qp_ir_node *n = &c->from->node[i];
  uint32_t minus = 0;
  switch (n->op) {
  case QP_IR_HALF_OF_INT:
    if (with_constant(c->from, n->arg[0], QP_IR_SUB, &minus) && minus < 1024 &&
        may[c->from->node[n->arg[0]].arg[0]] < 1024)
      return small_half(c->to, c->map[c->from->node[n->arg[0]].arg[0]], minus);
    return may[n->arg[0]] < 1024 ? small_half(c->to, args[0], 0) : QP_KEEP;
  case QP_IR_HALF_OF_UINT: return may[n->arg[0]] < 1024 ? small_half(c->to, args[0], 0) : QP_KEEP;
  case QP_IR_PACK: return pack(c->to, args[0], args[1], false);
  case QP_IR_PSUB: {
    int v = subtract_small(c, i, may);
    if (v == QP_KEEP) v = subtract_from_sum(c, i, may);
    return v == QP_KEEP ? subtract_in_place(c, i, may) : v;
  }
  default: return QP_KEEP;
  }
}

/* Three times: packing shows once halves are subtracted, differences once halves are packed. */
qp_ir *qp_pass_choose_halves(const qp_ir *ir) {
  uint32_t *may = malloc((QP_IR_MAX_NODES + 1) * sizeof *may);
  qp_ir *now = may ? qp_pass_copy(ir, NULL, NULL) : NULL;
  for (unsigned round = 0; now && round < 3; round++) {
    qp_pass_known(now, may);
    qp_ir *next = qp_pass_rewrite(now, choose_half, may);
    qp_ir_free(now);
    now = next;
  }
  free(may);
  return now;
}

/* ---- Multiply-add, bytes, three-input logic ---- */

typedef struct selection {
  unsigned uses[QP_IR_MAX_NODES];
} selection;

static bool const_is(const qp_ir *ir, unsigned node, uint32_t value) {
  uint32_t c;
  return qp_ir_is_const(ir, node, &c) && c == value;
}

/* Is the node byte k of some word?  (x >> 8k) & 255, x & 255, x >> 24. */
static bool is_byte(const qp_ir *ir, unsigned node, unsigned *of, unsigned *k) {
  const qp_ir_node *n = &ir->node[node];
  uint32_t c;
  if (n->op == QP_IR_SHR && const_is(ir, n->arg[1], 24)) return *of = n->arg[0], *k = 3, true;
  if (n->op == QP_IR_PRMT && const_is(ir, n->arg[1], 0) && qp_ir_is_const(ir, n->arg[2], &c) &&
      (c & ~3u) == 0x4440u)
    return *of = n->arg[0], *k = c & 3, true;
  if (n->op != QP_IR_AND || !const_is(ir, n->arg[1], 255)) return false;
  const qp_ir_node *s = &ir->node[n->arg[0]];
  if (s->op == QP_IR_SHR && qp_ir_is_const(ir, s->arg[1], &c) && c < 32 && c % 8 == 0)
    return *of = s->arg[0], *k = c / 8, true;
  return *of = n->arg[0], *k = 0, true;
}

/* Leaves of a tree of additions; inner sums must be used once. */
static unsigned add_leaves(const qp_ir *ir, const selection *s, unsigned node, uint16_t *leaf,
                           unsigned n, unsigned max) {
  for (unsigned k = 0; k < 2 && n <= max; k++) {
    unsigned a = ir->node[node].arg[k];
    if (ir->node[a].op == QP_IR_ADD && s->uses[a] == 1)
      n = add_leaves(ir, s, a, leaf, n, max);
    else if (n < max)
      leaf[n++] = (uint16_t)a;
    else
      n = max + 1;
  }
  return n;
}

/* Choose DP4A for x.byte0 + x.byte1 + x.byte2 + x.byte3 (+ rest). */
static int select_dp4a(qp_copy *c, const selection *s, unsigned i) {
  uint16_t leaf[5];
  unsigned n = add_leaves(c->from, s, i, leaf, 0, 5), seen = 0, of = 0, x = 0, k = 0;
  int rest = -1;
  if (n < 4 || n > 5) return QP_KEEP;
  for (unsigned j = 0; j < n; j++) {
    bool byte = is_byte(c->from, leaf[j], &x, &k) && (!seen || x == of) && !(seen >> k & 1);
    if (byte)
      seen |= 1u << k, of = x;
    else if (rest < 0)
      rest = c->map[leaf[j]];
    else
      return QP_KEEP;
  }
  if (seen != 15) return QP_KEEP;
  int args[] = {c->map[of], qp_ir_add_word(c->to, 0x01010101u),
                rest >= 0 ? rest : qp_ir_add_word(c->to, 0)};
  return qp_ir_add(c->to, QP_IR_DP4A, args, 0, 0);
}

static int select_mad(qp_copy *c, const selection *s, unsigned i, const int *args) {
  const qp_ir_node *n = &c->from->node[i];
  for (unsigned k = 0; k < 2; k++) {
    const qp_ir_node *m = &c->from->node[n->arg[k]];
    if (m->op != QP_IR_MUL || s->uses[n->arg[k]] != 1) continue;
    int three[] = {c->map[m->arg[0]], c->map[m->arg[1]], args[1 - k]};
    return qp_ir_add(c->to, QP_IR_MAD, three, 0, 0);
  }
  return QP_KEEP;
}

static int select_funnel(qp_copy *c, unsigned i) {
  const qp_ir_node *n = &c->from->node[i];
  for (unsigned k = 0; k < 2; k++) {
    const qp_ir_node *r = &c->from->node[n->arg[k]], *l = &c->from->node[n->arg[1 - k]];
    uint32_t a, b;
    if (r->op != QP_IR_SHR || l->op != QP_IR_SHL) continue;
    if (!qp_ir_is_const(c->from, r->arg[1], &a) || !qp_ir_is_const(c->from, l->arg[1], &b))
      continue;
    if (a + b != 32 || a == 0 || b == 0) continue;
    int args[] = {c->map[r->arg[0]], c->map[l->arg[0]], c->map[r->arg[1]]};
    return qp_ir_add(c->to, QP_IR_FUNNEL, args, 0, 0);
  }
  return QP_KEEP;
}

static int select_byte(qp_copy *c, unsigned i) {
  unsigned x, k;
  if (!is_byte(c->from, i, &x, &k) || k == 0 || c->from->node[i].op != QP_IR_AND) return QP_KEEP;
  int args[] = {c->map[x], qp_ir_add_word(c->to, 0), qp_ir_add_word(c->to, 0x4440u + k)};
  return qp_ir_add(c->to, QP_IR_PRMT, args, 0, 0);
}

static uint32_t logic(unsigned op, uint32_t a, uint32_t b) {
  return (op == QP_IR_AND ? a & b : op == QP_IR_OR ? a | b : a ^ b) & 0xff;
}

static bool is_logic(unsigned op) { return op == QP_IR_AND || op == QP_IR_OR || op == QP_IR_XOR; }

/* A logical operation that is used once, of something and a constant: best part of a LOP3. */
static bool is_mask(const qp_ir *ir, const selection *s, unsigned node) {
  uint32_t c;
  return is_logic(ir->node[node].op) && s->uses[node] == 1 &&
         qp_ir_is_const(ir, ir->node[node].arg[1], &c);
}

static bool takes_mask(const qp_ir *ir, const selection *s, unsigned node) {
  const qp_ir_node *n = &ir->node[node];
  return is_mask(ir, s, n->arg[0]) || is_mask(ir, s, n->arg[1]);
}

/* Which operand of a logical operation goes into its LOP3: a mask; but rather one that is no LOP3
   with a mask of its own, which two levels would undo.  2: none. */
static unsigned inner_logic(const qp_ir *ir, const selection *s, unsigned i) {
  const uint16_t *arg = ir->node[i].arg;
  for (unsigned k = 0; k < 2; k++)
    if (is_mask(ir, s, arg[k]) && !takes_mask(ir, s, arg[k])) return k;
  for (unsigned k = 0; k < 2; k++)
    if (is_logic(ir->node[arg[k]].op) && s->uses[arg[k]] == 1 && !takes_mask(ir, s, arg[k]))
      return k;
  return 2;
}

static int select_lop3(qp_copy *c, const selection *s, unsigned i, const int *args) {
  const unsigned k = inner_logic(c->from, s, i);
  if (k == 2) return QP_KEEP;
  const qp_ir_node *n = &c->from->node[i], *m = &c->from->node[n->arg[k]];
  const int three[] = {c->map[m->arg[0]], c->map[m->arg[1]], args[1 - k]};
  return qp_ir_add(c->to, QP_IR_LOP3, three, logic(n->op, logic(m->op, 0xf0, 0xcc), 0xaa), 0);
}

/* Arithmetic first, so that a logical operation inside it is still seen as what it is. */
static int select_arithmetic(qp_copy *c, unsigned i, const int *args) {
  const selection *s = c->user;
  int v = QP_KEEP;
  switch (c->from->node[i].op) {
  case QP_IR_ADD: v = select_dp4a(c, s, i); return v == QP_KEEP ? select_mad(c, s, i, args) : v;
  case QP_IR_OR: return select_funnel(c, i);
  case QP_IR_AND: return select_byte(c, i);
  default: return QP_KEEP;
  }
}

static int select_logic(qp_copy *c, unsigned i, const int *args) {
  return is_logic(c->from->node[i].op) ? select_lop3(c, c->user, i, args) : QP_KEEP;
}

static void count_uses(const qp_ir *ir, selection *s) {
  memset(s, 0, sizeof *s);
  for (unsigned i = 0; i < ir->count; i++)
    for (unsigned k = 0; k < qp_ir_arity(ir, i); k++) s->uses[ir->node[i].arg[k]]++;
  for (unsigned i = 0; i < ir->outputs; i++) s->uses[ir->output[i]]++;
}

qp_ir *qp_pass_select(const qp_ir *ir) {
  selection *s = malloc(sizeof *s);
  qp_ir *clean = qp_pass_copy(ir, NULL, NULL), *a = NULL, *b = NULL;
  if (s && clean) {
    count_uses(clean, s);
    a = qp_pass_rewrite(clean, select_arithmetic, s);
  }
  if (a) {
    count_uses(a, s);
    b = qp_pass_rewrite(a, select_logic, s);
  }
  qp_ir_free(clean);
  qp_ir_free(a);
  free(s);
  return b;
}
