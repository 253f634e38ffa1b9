/* SPDX-License-Identifier: MIT */
/* Lowered decode -> CUDA text; the struct's contract stands in lower.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "gen/encode/affine.h"
#include "gen/ir/passes.h"
#include "gen/kernel/lower.h"

/* Where an emitted function finds codebooks that are looked up. */
typedef enum lookups {
  FROM_ROW,    /* of those that are far, by pointer: what lowered decode functions have left */
  FROM_GLOBAL, /* in global memory, by codebook, for entry functions */
  FROM_ANY     /* in global memory, a row's own at its row: decode functions as the spec says */
} lookups;

typedef struct emitter {
  qp_text *t;
  const qp_ir *ir;
  const qp_quantizer *q;
  const qp_lowered *l; /* NULL: not lowered, there are no tables */
  lookups lookups;
  char (*name)[80]; /* how each node is written */
  unsigned loads;
} emitter;

static void spell_input(char *to, size_t size, unsigned which) {
  if (which == QP_IN_STATE)
    snprintf(to, size, "s");
  else if (which == QP_IN_INDEX)
    snprintf(to, size, "id");
  else if (which < QP_IN_LANE)
    snprintf(to, size, "g[%u]", which - QP_IN_GROUP);
  else
    snprintf(to, size, "lane[%u]", which - QP_IN_LANE);
}

/* Put operands and immediates into an op's spelling. */
static void spell(const emitter *e, const qp_ir_node *n, char *to, size_t size) {
  const char *form = qp_ir_op_row(n->op)->cuda;
  uint32_t shift;
  if ((n->op == QP_IR_SHL || n->op == QP_IR_SHR) && qp_ir_is_const(e->ir, n->arg[1], &shift) &&
      shift < 32)
    form = n->op == QP_IR_SHL ? "%a << %b" : "%a >> %b";
  size_t at = 0;
  for (const char *f = form; *f && at + 1 < size; f++) {
    if (*f != '%') {
      to[at++] = *f;
      continue;
    }
    char number[16];
    const char *with = number;
    f++;
    if (*f >= 'a' && *f <= 'c')
      with = e->name[n->arg[*f - 'a']];
    else
      snprintf(number, sizeof number, "%u", *f == 'i' ? n->imm : n->imm2);
    at += (size_t)snprintf(to + at, size - at, "%s", with);
    if (at >= size) at = size - 1;
  }
  to[at] = 0;
}

/* One vector load for all words of an entry that are wanted at one address. */
static void emit_load(emitter *e, unsigned i) {
  const qp_ir_node *n = &e->ir->node[i];
  const qp_table *table = &e->l->table[n->imm];
  assert(table);
  unsigned number = e->loads++;
  qp_text_add(e->t, "    unsigned w%u[%u];\n    lds%u(w%u, %s + (tables + %uu));\n", number,
              table->words, table->words, number, e->name[n->arg[0]], table->offset);
  for (unsigned j = i; j < e->ir->count; j++) {
    const qp_ir_node *m = &e->ir->node[j];
    if (qp_ir_has(e->ir, j, QP_IR_LOADS) && m->imm == n->imm && m->arg[0] == n->arg[0])
      snprintf(e->name[j], sizeof e->name[j], "w%u[%u]", number, m->imm2);
  }
}

/* The place of a codebook that is far among those. */
static unsigned far_book(const qp_quantizer *q, unsigned codebook) {
  unsigned place = 0;
  for (unsigned b = 0; b < codebook; b++) place += qp_book_is_far(&q->codebook[b]);
  return place;
}

static void emit_lookup(emitter *e, unsigned i) {
  const qp_ir_node *n = &e->ir->node[i];
  const qp_codebook *b = &e->q->codebook[n->imm];
  const char *idx = e->name[n->arg[0]];
  if (e->lookups == FROM_ROW && b->dim == 1)
    qp_text_add(e->t, "    const unsigned v%u = __ldg(row[%u] + %s);\n", i, far_book(e->q, n->imm),
                idx);
  else if (e->lookups == FROM_ROW)
    qp_text_add(e->t,
                "    const unsigned v%u = __ldg((const unsigned *)row[%u] + (%s) * %uu + %uu);\n",
                i, far_book(e->q, n->imm), idx, b->dim / 2, n->imm2);
  else if (e->lookups == FROM_ANY && b->scope == QP_SCOPE_ROW && b->dim == 1)
    qp_text_add(e->t, "    const unsigned v%u = __ldg(cb[%u] + row * %uu + min(%s, %uu));\n", i,
                n->imm, b->entries, idx, b->entries - 1);
  else if (e->lookups == FROM_ANY && b->scope == QP_SCOPE_ROW)
    qp_text_add(
        e->t,
        "    const unsigned v%u = __ldg((const unsigned *)cb[%u] + row * %uu + min(%s, %uu));\n", i,
        n->imm, b->entries, idx, b->entries - 1);
  else if (b->dim == 1)
    qp_text_add(e->t, "    const unsigned v%u = __ldg(cb[%u] + min(%s, %uu));\n", i, n->imm, idx,
                b->entries - 1);
  else
    qp_text_add(
        e->t,
        "    const unsigned v%u = __ldg((const unsigned *)cb[%u] + min(%s, %uu) * %u + %u);\n", i,
        n->imm, idx, b->entries - 1, b->dim / 2, n->imm2);
  snprintf(e->name[i], sizeof e->name[i], "v%u", i);
}

static void emit_node(emitter *e, unsigned i) {
  const qp_ir_node *n = &e->ir->node[i];
  char text[256];
  if (n->op == QP_IR_INPUT || n->op == QP_IR_INPUT_H || n->op == QP_IR_INPUT_P) {
    spell_input(e->name[i], sizeof e->name[i], n->imm);
  } else if (qp_ir_has(e->ir, i, QP_IR_LOADS)) {
    if (!e->name[i][0]) emit_load(e, i);
  } else if (qp_ir_has(e->ir, i, QP_IR_LOOKS_UP)) {
    emit_lookup(e, i);
  } else if (qp_ir_has(e->ir, i, QP_IR_LEAF | QP_IR_RENAMES)) {
    spell(e, n, e->name[i], sizeof e->name[i]);
  } else {
    spell(e, n, text, sizeof text);
    qp_text_add(e->t, "    const unsigned v%u = %s;\n", i, text);
    snprintf(e->name[i], sizeof e->name[i], "v%u", i);
  }
}

static void emit_body(emitter e) {
  const qp_ir *ir = e.ir;
  qp_text *t = e.t;
  e.name = calloc(ir->count + 1, sizeof *e.name);
  if (!e.name) {
    t->failed = true;
    return;
  }
  for (unsigned i = 0; i < ir->count; i++) emit_node(&e, i);
  for (unsigned i = 0; i < ir->outputs; i++)
    qp_text_add(t, "    out[%u] = %s;\n", i, e.name[ir->output[i]]);
  free(e.name);
}

static void emit_table_facts(qp_text *t, const qp_lowered *l) {
  static const char *const facts[] = {"entries", "words", "copies", "offset"};
  for (unsigned f = 0; f < 4; f++) {
    qp_text_add(t, "  template <unsigned T> static __device__ constexpr unsigned %s() { return ",
                facts[f]);
    for (unsigned i = 0; i < l->tables; i++) {
      const qp_table *table = &l->table[i];
      unsigned value[] = {table->entries, table->words, table->copies, table->offset};
      qp_text_add(t, "T == %u ? %u : ", i, value[f]);
    }
    qp_text_add(t, "0; }\n");
  }
}

static void emit_entries(qp_text *t, const qp_lowered *l) {
  if (!l->tables) return;
  qp_text_add(
      t, "  template <unsigned T>\n  static __device__ __forceinline__ void entry(unsigned id, "
         "const unsigned short *const *cb, unsigned *out) {\n");
  for (unsigned i = 0; i < l->tables; i++) {
    qp_text_add(t, "   if constexpr (T == %u) {\n", i);
    emit_body((emitter){
        .t = t, .ir = l->table[i].entry, .q = l->quantizer, .l = l, .lookups = FROM_GLOBAL});
    qp_text_add(t, "   }\n");
  }
  qp_text_add(t, "  }\n");
}

/*
** Row codebooks of at most 8 values that a bit-plane code names as it is: a warp's lane keeps the
** 16 bytes of each of its rows in registers, and a byte permute takes 4 codes, a nibble each.
*/
static bool permutes(const qp_quantizer *q) {
  const qp_ir *ir = q->decode;
  const qp_codebook *b = q->codebook;
  if (!q->planes || q->planes_read > 3 || q->fields || q->codebooks != 1) return false;
  if (b->scope != QP_SCOPE_ROW || b->dim != 1 || b->entries != 1u << q->planes_read) return false;
  if (b->entries < 4 || ir->outputs != 1 || ir->node[ir->output[0]].op != QP_IR_LOOKUP_H)
    return false;
  return ir->node[ir->node[ir->output[0]].arg[0]].op == QP_IR_INPUT;
}

char *qp_lowered_cuda(const qp_lowered *l, const char *name) {
  const qp_quantizer *q = l->quantizer;
  qp_text t = {0};
  qp_text_add(&t, "// %s: %s:%d\nstruct %s {\n", q->name, q->file, q->line_first, name);
  qp_text_add(&t,
              "  static constexpr unsigned WINDOW = %u, STEP = %u, PAIRS = %u, FIELDS = %u;\n"
              "  static constexpr unsigned TABLES = %u, CODEBOOKS = %u, TABLE_BYTES = %u;\n"
              "  static constexpr bool ROW_LOOKUP = %s, PERMUTES = %s;\n",
              l->window, l->step, l->pairs, q->fields, l->tables, q->codebooks, l->table_bytes,
              l->row_lookup ? "true" : "false", permutes(q) ? "true" : "false");
  emit_table_facts(&t, l);
  emit_entries(&t, l);
  qp_text_add(&t, "  template <class At>\n"
                  "  static __device__ __forceinline__ void decode(const At &at,\n"
                  "      const unsigned *g, const unsigned short *const *row,\n"
                  "      const unsigned *lane, unsigned tables, const unsigned *pow2,\n"
                  "      unsigned *out) {\n"
                  "    const unsigned s = at.state();\n");
  emit_body((emitter){.t = &t, .ir = l->main, .q = q, .l = l});
  qp_text_add(&t, "  }\n};\n");
  return qp_text_take(&t);
}

char *qp_plain_cuda(const qp_quantizer *q, const char *name) {
  const unsigned bits = q->planes ? q->planes_read : q->window;
  qp_text t = {0};
  qp_text_add(&t, "// %s: %s:%d\nstruct %s {\n", q->name, q->file, q->line_first, name);
  qp_text_add(&t,
              "  static constexpr unsigned WINDOW = %u, STEP = %u, DIM = %u, FIELDS = %u;\n"
              "  static __device__ __forceinline__ void decode(unsigned s, const unsigned *g,\n"
              "      const unsigned short *const *cb, unsigned row, unsigned *out) {\n",
              bits, q->planes ? bits : q->step, q->dim, q->fields);
  emit_body((emitter){.t = &t, .ir = q->decode, .q = q, .lookups = FROM_ANY});
  qp_text_add(&t, "  }\n};\n");
  return qp_text_take(&t);
}

/* ---- a and b of a decode that is a u + b ---- */

/* Spell an operand as a term: its own, that of u, or the number that it is. */
static void spell_term(const emitter *e, const qp_affine *f, unsigned n, char *to, size_t size) {
  const qp_ir_type type = qp_ir_type_of(e->ir, n);
  if (qp_affine_value_of(f, n) == QP_AFFINE_TERM)
    snprintf(to, size, "t%u", n);
  else if (n == f->unit)
    snprintf(to, size, "term_of_u()");
  else
    snprintf(to, size, "term_of_%s(%s)",
             type == QP_HALF     ? "half"
             : type == QP_SINGLE ? "single"
                                 : "word",
             e->name[n]);
}

static void emit_term(emitter *e, const qp_affine *f, unsigned n) {
  static const char *const names[] = {"add", "sub", "neg", "mul", "fma", "same"};
  static const unsigned operands[] = {2, 2, 1, 2, 3, 1};
  const qp_ir_node *node = &e->ir->node[n];
  const qp_affine_join join = qp_affine_join_of(node->op);
  qp_text_add(e->t, "    const Term t%u = term_%s(", n, names[join]);
  for (unsigned i = 0; i < operands[join]; i++) {
    char text[128];
    spell_term(e, f, node->arg[i], text, sizeof text);
    qp_text_add(e->t, "%s%s", i ? ", " : "", text);
  }
  qp_text_add(e->t, ");\n");
}

static void emit_terms(emitter e, const qp_affine *f) {
  const qp_ir *ir = e.ir;
  const unsigned all = ir->output[0];
  e.name = calloc(ir->count + 1, sizeof *e.name);
  if (!e.name) {
    e.t->failed = true;
    return;
  }
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_affine_value value = qp_affine_value_of(f, n);
    if (value == QP_AFFINE_FIXED)
      snprintf(e.name[n], sizeof e.name[n], "0x%xu", f->fixed[(size_t)n * f->states]);
    else if (value == QP_AFFINE_FIELDS)
      emit_node(&e, n);
    else
      emit_term(&e, f, n);
  }
  qp_text_add(e.t,
              "    a = t%u.a * Real(%a);\n"
              "    b = t%u.b + t%u.a * Real(%a);\n",
              all, f->levels.apart, all, all, f->levels.first);
  free(e.name);
}

char *qp_affine_cuda(const qp_quantizer *q, const qp_affine *f, const char *name) {
  qp_text t = {0};
  qp_text_add(&t,
              "struct %s {\n"
              "  static __device__ void at(const unsigned *g, const unsigned short *const *cb,\n"
              "      unsigned row, Real &a, Real &b) {\n",
              name);
  emit_terms((emitter){.t = &t, .ir = q->decode, .q = q, .lookups = FROM_ANY}, f);
  qp_text_add(&t, "  }\n};\n");
  return qp_text_take(&t);
}
