/* SPDX-License-Identifier: MIT */
/* Defines what a quantizer is:  it evaluates all states to tables and checks, and serialises to a
   hash. */
#include "gen/spec/definition.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/text.h"
#include "gen/ir/ir_value.h"
#include "gen/ir/passes.h"
#include "runtime/half.h"

#define MOST_OPERATIONS ((uint64_t)1 << 32) /* of a check: seconds */

enum {
  BATCH = 256,                /* states evaluated together */
  MOST_TABLE_BITS = 24,       /* of a state */
  MOST_EVALUATIONS = 1 << 22, /* states times values of fields; beyond, ends of ranges do */
  MOST_CODE_BITS = 20,        /* of a code all of whose values are looked at; beyond, */
  RUN_BITS = 16,              /* every value of its lowest bits is looked at, every value of those
                                 above, */
  DRAWN_CODES = 1 << 18       /* and this many others */
};

unsigned qp_quantizer_state_bits(const qp_quantizer *q) {
  return q->planes ? q->planes_read : q->window;
}

/* ---- Evaluation ---- */

static void fill_env(const qp_quantizer *q, const uint32_t *fields,
                     const uint16_t *const *codebooks, qp_ir_env *env) {
  memset(env, 0, sizeof *env);
  for (unsigned f = 0; f < q->fields && fields; f++) env->input[QP_IN_GROUP + f] = fields[f];
  for (unsigned c = 0; c < q->codebooks; c++) {
    env->codebook[c].data = codebooks && codebooks[c] ? codebooks[c] : q->codebook[c].data;
    env->codebook[c].entries = q->codebook[c].entries;
    env->codebook[c].dim = q->codebook[c].dim;
  }
}

/* Unpack the weights of one evaluation's outputs: PAIRs for an even dim, HALFs for an odd one. */
static void unpack(unsigned dim, const uint32_t *word, uint16_t *out) {
  for (unsigned i = 0; i < dim; i++) {
    const uint32_t w = dim % 2 ? word[i] : word[i / 2] >> (i % 2 ? 16 : 0);
    out[i] = (uint16_t)(w & 0xffff);
  }
}

void qp_quantizer_decode(const qp_quantizer *q, uint32_t state, const uint32_t *fields,
                         const uint16_t *const *codebooks, uint16_t *out) {
  assert(q->decode);
  uint32_t word[QP_IR_MAX_OUTPUTS];
  qp_ir_env env;
  fill_env(q, fields, codebooks, &env);
  env.input[QP_IN_STATE] = state;
  qp_ir_eval(q->decode, &env, word);
  unpack(q->dim, word, out);
}

/* Some of a quantizer's states: state i is i times 'stride', masked. */
typedef struct walk {
  uint32_t count, stride, mask;
} walk;

/*
** All states, in one walk; of the longest codes, whose parts add up (gen/encode/stages.h) or are
** put side by side, some.  How many walks there are.
*/
static unsigned list_walks(const qp_quantizer *q, walk out[3]) {
  const unsigned bits = qp_quantizer_state_bits(q);
  if (q->kind == QP_TRELLIS || bits <= MOST_CODE_BITS)
    return out[0] = (walk){1u << bits, 1, ~0u}, 1;
  const uint32_t mask = bits < 32 ? (1u << bits) - 1 : ~0u;
  out[0] = (walk){1u << RUN_BITS, 1, mask};
  out[1] = (walk){1u << (bits - RUN_BITS), 1u << RUN_BITS, mask};
  out[2] = (walk){DRAWN_CODES, 0x9e3779b1, mask};
  return 3;
}

static uint32_t state_at(const walk *w, uint32_t i) { return i * w->stride & w->mask; }

static uint64_t states_in(const qp_quantizer *q) {
  walk w[3];
  uint64_t sum = 0;
  for (unsigned i = list_walks(q, w); i-- > 0;) sum += w[i].count;
  return sum;
}

/*
** Evaluate a whole IR for the states first .. first + BATCH - 1 of a walk, node by node, so that
** the compiler can make vectors of the loops.  v[node][i] is the value for state first + i of it.
*/
static void evaluate_batch(const qp_ir *ir, const qp_ir_env *env, const walk *w, uint32_t first,
                           uint32_t (*v)[BATCH]) {
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    const uint32_t imm = node->imm, imm2 = node->imm2;
    const uint32_t *va = v[node->arg[0]], *vb = v[node->arg[1]], *vc = v[node->arg[2]];
    uint32_t *to = v[n];
    (void)imm2;
    if (node->op == QP_IR_INPUT && imm == QP_IN_STATE) {
      for (unsigned i = 0; i < BATCH; i++) to[i] = state_at(w, first + i);
      continue;
    }
    switch ((qp_ir_op)node->op) {
#define X(op, text, args, result, trait, spec, evaluation, ...)                                    \
  case QP_IR_##op:                                                                                 \
    for (unsigned i = 0; i < BATCH; i++) {                                                         \
      const uint32_t a = va[i], b = vb[i], c = vc[i];                                              \
      (void)a;                                                                                     \
      (void)b;                                                                                     \
      (void)c;                                                                                     \
      to[i] = (uint32_t)(evaluation);                                                              \
    }                                                                                              \
    break;
      QP_IR_OPS(X)
#undef X
    case QP_IR_OP_COUNT: break;
    }
  }
}

typedef struct sweep {
  const qp_quantizer *q;
  qp_ir_env env;
  uint32_t (*v)[BATCH];
  uint32_t highest[QP_MAX_CODEBOOKS]; /* entry of each codebook that check_states saw read */
} sweep;

static bool sweep_open(sweep *s, const qp_quantizer *q) {
  *s = (sweep){.q = q, .v = calloc(q->decode->count ? q->decode->count : 1, sizeof *s->v)};
  return s->v != NULL;
}

/* Give the weights of state first + i after evaluate_batch. */
static void sweep_weights(const sweep *s, unsigned i, uint16_t *out) {
  const qp_ir *ir = s->q->decode;
  uint32_t word[QP_IR_MAX_OUTPUTS] = {0};
  for (unsigned k = 0; k < ir->outputs; k++) word[k] = s->v[ir->output[k]][i];
  unpack(s->q->dim, word, out);
}

/* Write the weights of 'count' states of a batch. */
static void write_weights(const sweep *s, unsigned count, uint16_t *out) {
  const uint32_t *pair = s->v[s->q->decode->output[0]];
  const unsigned dim = s->q->dim;
  for (unsigned i = 0; i < count; i++) {
    if (dim == 2) { /* the usual case, of which there are many */
      out[2 * i] = (uint16_t)(pair[i] & 0xffff);
      out[2 * i + 1] = (uint16_t)(pair[i] >> 16);
    } else {
      sweep_weights(s, i, out + (size_t)i * dim);
    }
  }
}

qp_status qp_quantizer_table(const qp_quantizer *q, const uint32_t *fields,
                             const uint16_t *const *codebooks, uint16_t *out, qp_error *err) {
  if (!q->decode) return qp_fail(err, QP_E_ARG, "%s is a split: its parts have tables", q->name);
  if (q->window > MOST_TABLE_BITS) {
    return qp_fail(err, QP_E_LIMIT, "%s: a table of 2^%u states is too large (2^%d at most)",
                   q->name, q->window, MOST_TABLE_BITS);
  }
  sweep s;
  if (!sweep_open(&s, q)) return qp_fail(err, QP_E_NOMEM, "no memory for a decode table");
  fill_env(q, fields, codebooks, &s.env);
  const uint32_t states = (uint32_t)1 << qp_quantizer_state_bits(q);
  const walk all = {states, 1, ~0u};
  for (uint32_t first = 0; first < states; first += BATCH) {
    evaluate_batch(q->decode, &s.env, &all, first, s.v);
    const uint32_t left = states - first;
    write_weights(&s, left < BATCH ? left : BATCH, out + (size_t)first * q->dim);
  }
  memset(out + (size_t)states * q->dim, 0,
         sizeof *out * q->dim * (((size_t)1 << q->window) - states)); /* planes that are not read */
  free(s.v);
  return QP_OK;
}

/* ---- Checks ---- */

/* What is wrong with state 'state', the i-th of the batch. */
static qp_status check_lookups(const sweep *s, uint32_t state, unsigned i, qp_error *err) {
  const qp_ir *ir = s->q->decode;
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    if (!qp_ir_has(ir, n, QP_IR_LOOKS_UP)) continue;
    const qp_codebook *book = &s->q->codebook[node->imm];
    const uint32_t index = s->v[node->arg[0]][i];
    if (index < book->entries) continue;
    return qp_fail(err, QP_E_ARG,
                   "decode: state 0x%x reads codebook '%s' at %u, and it has the entries 0 to %u; "
                   "mask the index or give it more entries",
                   state, book->name, index, book->entries - 1);
  }
  return QP_OK;
}

static qp_status check_weights(const sweep *s, uint32_t state, unsigned i, qp_error *err) {
  uint16_t weight[2 * QP_IR_MAX_OUTPUTS];
  sweep_weights(s, i, weight);
  for (unsigned k = 0; k < s->q->dim; k++) {
    if ((weight[k] & 0x7c00) != 0x7c00) continue;
    return qp_fail(err, QP_E_ARG,
                   "decode: weight %u of state 0x%x is %s; every state must give finite fp16 "
                   "numbers",
                   k + 1, state, weight[k] & 0x3ff ? "NaN" : "infinite");
  }
  return QP_OK;
}

/* Is each of the batch's first states right?  This gives the usual answer without a branch for
   each, and notes the highest entries that are read. */
static bool batch_is_right(sweep *s, unsigned states) {
  const qp_ir *ir = s->q->decode;
  uint32_t wrong = 0;
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    if (!qp_ir_has(ir, n, QP_IR_LOOKS_UP)) continue;
    const uint32_t entries = s->q->codebook[node->imm].entries, *index = s->v[node->arg[0]];
    uint32_t highest = 0;
    for (unsigned i = 0; i < states; i++) highest = index[i] > highest ? index[i] : highest;
    wrong |= highest >= entries;
    if (highest > s->highest[node->imm]) s->highest[node->imm] = highest;
  }
  for (unsigned k = 0; k < ir->outputs; k++) {
    const uint32_t *word = s->v[ir->output[k]];
    for (unsigned i = 0; i < states; i++) {
      wrong |= (~word[i] & 0x7c00) == 0;
      wrong |= (~word[i] & 0x7c000000) == 0;
    }
  }
  return !wrong;
}

static qp_status check_walk(sweep *s, const walk *w, qp_error *err) {
  for (uint32_t first = 0; first < w->count; first += BATCH) {
    evaluate_batch(s->q->decode, &s->env, w, first, s->v);
    const unsigned count = w->count - first < BATCH ? w->count - first : BATCH;
    if (batch_is_right(s, count)) continue;
    for (unsigned i = 0; i < count; i++) {
      qp_status status = check_lookups(s, state_at(w, first + i), i, err);
      if (!status) status = check_weights(s, state_at(w, first + i), i, err);
      if (status) return status;
    }
  }
  return QP_OK;
}

static qp_status check_states(sweep *s, qp_error *err) {
  walk w[3];
  const unsigned walks = list_walks(s->q, w);
  qp_status status = QP_OK;
  for (unsigned i = 0; i < walks && !status; i++) status = check_walk(s, &w[i], err);
  return status;
}

static bool uses_input(const qp_ir *ir, uint32_t input) {
  for (unsigned n = 0; n < ir->count; n++) {
    const unsigned op = ir->node[n].op;
    if ((op == QP_IR_INPUT || op == QP_IR_INPUT_H) && ir->node[n].imm == input) return true;
  }
  return false;
}

static bool uses_codebook(const qp_ir *ir, unsigned book) {
  for (unsigned n = 0; n < ir->count; n++) {
    if (qp_ir_has(ir, n, QP_IR_LOOKS_UP) && ir->node[n].imm == book) return true;
  }
  return false;
}

/* The lowest bit of a code that decode never reads; 'bits' if it reads all. */
static unsigned unread_bit(const qp_quantizer *q, unsigned bits) {
  uint32_t *demand = malloc(sizeof *demand * q->decode->count), read = 0;
  if (!demand) return bits; /* what else needs memory says so */
  qp_pass_demand(q->decode, q->decode->output, q->decode->outputs, -1, demand);
  for (unsigned n = 0; n < q->decode->count; n++) {
    const qp_ir_node *at = &q->decode->node[n];
    if (at->op == QP_IR_INPUT && at->imm == QP_IN_STATE) read |= demand[n];
  }
  free(demand);
  for (unsigned b = 0; b < bits; b++)
    if (!(read >> b & 1)) return b;
  return bits;
}

/* Codes of scalars and vectors.  Of bit planes the file says itself which are read; bits that a
   trellis does not read make its window smaller, not its codes. */
static qp_status check_bits_read(const qp_quantizer *q, qp_error *err) {
  if (q->kind == QP_TRELLIS || q->planes) return QP_OK;
  const unsigned bits = q->window, bit = unread_bit(q, bits);
  if (bit == bits) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "decode never reads bit %u of the %u bits of a code, which would be stored for "
                 "every code; use it or let 'bits' be less",
                 bit, bits);
}

/* Fields and codebooks that decode never reads would be stored and loaded for nothing. */
static qp_status check_all_used(const qp_quantizer *q, qp_error *err) {
  for (unsigned f = 0; f < q->fields; f++) {
    if (uses_input(q->decode, QP_IN_GROUP + f)) continue;
    return qp_fail(err, QP_E_ARG,
                   "decode never uses group.%s, which would be stored for every group; use it or "
                   "leave it out",
                   q->field[f].name);
  }
  for (unsigned c = 0; c < q->codebooks; c++) {
    if (uses_codebook(q->decode, c)) continue;
    return qp_fail(err, QP_E_ARG,
                   "decode never reads codebook '%s', which every kernel would hold; read it or "
                   "leave it out",
                   q->codebook[c].name);
  }
  return check_bits_read(q, err);
}

/* The same of a codebook's last entries, after all states were checked. */
static qp_status check_all_read(const sweep *s, qp_error *err) {
  for (unsigned c = 0; c < s->q->codebooks; c++) {
    const qp_codebook *book = &s->q->codebook[c];
    if (s->highest[c] + 1 >= book->entries) continue;
    return qp_fail(err, QP_E_ARG,
                   "decode: no state reads codebook '%s' behind entry %u, and it has the entries 0 "
                   "to %u; let it have %u, or let the index reach further",
                   book->name, s->highest[c], book->entries - 1, s->highest[c] + 1);
  }
  return QP_OK;
}

/* Values of a field that are checked: all of a small range of integers, else its two ends. */
static unsigned field_values(const qp_field *f, bool all) {
  if (f->lo == f->hi) return 1;
  return all && qp_field_row_of(f->type)->integer ? (unsigned)(f->hi - f->lo) + 1 : 2;
}

static uint32_t field_value(const qp_field *f, unsigned i, unsigned values) {
  if (!qp_field_row_of(f->type)->integer) return qp_field_raw(f->type, i ? f->hi : f->lo);
  return qp_field_raw(f->type, f->lo + (values > 2 ? i : i * (f->hi - f->lo)));
}

/* How many combinations of the fields' values there are. */
static uint64_t combinations(const qp_quantizer *q, bool all) {
  uint64_t n = 1;
  for (unsigned f = 0; f < q->fields; f++) n *= field_values(&q->field[f], all);
  return n;
}

static bool checks_all_values(const qp_quantizer *q) {
  return combinations(q, true) * states_in(q) <= MOST_EVALUATIONS;
}

uint64_t qp_quantizer_evaluations(const qp_quantizer *q) {
  return combinations(q, checks_all_values(q)) * states_in(q);
}

static void choose_fields(const qp_quantizer *q, bool all, uint64_t number, uint32_t *fields) {
  for (unsigned f = 0; f < q->fields; f++) {
    const unsigned values = field_values(&q->field[f], all);
    fields[f] = field_value(&q->field[f], (unsigned)(number % values), values);
    number /= values;
  }
}

qp_status qp_quantizer_check(const qp_quantizer *q, qp_error *err) {
  qp_status status = qp_ir_verify(q->decode, err);
  if (status) return qp_fail_prefix(err, status, "decode");
  if (q->decode->outputs != (q->dim % 2 ? q->dim : q->dim / 2)) {
    return qp_fail(err, QP_E_ARG, "decode: %u outputs for %u weights", q->decode->outputs, q->dim);
  }
  if (q->decode->count * states_in(q) > MOST_OPERATIONS) {
    return qp_fail(err, QP_E_ARG,
                   "decode: %u operations for each of 2^%u states are too many to check; make the "
                   "window smaller or the function simpler",
                   q->decode->count, qp_quantizer_state_bits(q));
  }
  if (!uses_input(q->decode, QP_IN_STATE)) {
    return qp_fail(err, QP_E_ARG,
                   "decode: the result does not depend on the state; a value is no condition of "
                   "'if', 'and', 'or' or '==': use eq, lt and select");
  }
  sweep s;
  if (!sweep_open(&s, q)) return qp_fail(err, QP_E_NOMEM, "out of memory");
  const bool all = checks_all_values(q);
  const uint64_t count = combinations(q, all);
  for (uint64_t i = 0; i < count && !status; i++) {
    uint32_t fields[QP_MAX_FIELDS] = {0};
    choose_fields(q, all, i, fields);
    fill_env(q, fields, NULL, &s.env);
    status = check_states(&s, err);
  }
  free(s.v);
  if (!status) status = check_all_used(q, err);
  return status ? status : check_all_read(&s, err);
}

/* Mark what the batch's first states read of a codebook. */
static void mark_read(const sweep *s, unsigned codebook, unsigned states, bool *read) {
  const qp_ir *ir = s->q->decode;
  const uint32_t entries = s->q->codebook[codebook].entries;
  for (unsigned n = 0; n < ir->count; n++) {
    if (!qp_ir_has(ir, n, QP_IR_LOOKS_UP) || ir->node[n].imm != codebook) continue;
    const uint32_t *index = s->v[ir->node[n].arg[0]];
    for (unsigned i = 0; i < states; i++)
      if (index[i] < entries) read[index[i]] = true;
  }
}

unsigned qp_quantizer_unread(const qp_quantizer *q, unsigned codebook) {
  walk w[3];
  sweep s;
  unsigned unread = 0;
  const unsigned entries = q->codebook[codebook].entries;
  if (q->fields || list_walks(q, w) != 1 || !sweep_open(&s, q)) return 0;
  bool *read = calloc(entries, sizeof *read);
  fill_env(q, NULL, NULL, &s.env);
  for (uint32_t first = 0; read && first < w[0].count; first += BATCH) {
    const uint32_t left = w[0].count - first;
    evaluate_batch(q->decode, &s.env, &w[0], first, s.v);
    mark_read(&s, codebook, left < BATCH ? left : BATCH, read);
  }
  for (unsigned e = 0; read && e < entries; e++) unread += !read[e];
  free(read);
  free(s.v);
  return unread;
}

/* ---- Hash ---- */

/* Numbers in place of a codebook that is stored with the weights: what decode does with them
   counts. */
static uint16_t *stand_in(const qp_codebook *book) {
  const size_t numbers = (size_t)book->entries * book->dim;
  uint16_t *data = malloc(numbers * sizeof *data);
  for (size_t i = 0; i < numbers && data; i++)
    data[i] = qp_double_to_half((double)(i % 1021) / 64 - 8);
  return data;
}

/* Weights of all states into the hash, as bytes in one order on every machine. */
static void hash_walk(sweep *s, const walk *along, XXH3_state_t *hash) {
  const uint32_t states = along->count;
  uint16_t w[QP_IR_MAX_OUTPUTS * 2];
  unsigned char bytes[BATCH * QP_IR_MAX_OUTPUTS * 4];
  for (uint32_t first = 0; first < states; first += BATCH) {
    size_t n = 0;
    evaluate_batch(s->q->decode, &s->env, along, first, s->v);
    for (unsigned i = 0; i < BATCH && first + i < states; i++) {
      if (s->q->dim == 2) { /* the usual case, of which there are many */
        const uint32_t pair = s->v[s->q->decode->output[0]][i];
        for (unsigned k = 0; k < 4; k++) bytes[n++] = (unsigned char)(pair >> 8 * k);
        continue;
      }
      sweep_weights(s, i, w);
      for (unsigned k = 0; k < s->q->dim; k++) {
        bytes[n++] = (unsigned char)(w[k] & 0xff);
        bytes[n++] = (unsigned char)(w[k] >> 8);
      }
    }
    XXH3_128bits_update(hash, bytes, n);
  }
}

/*
** What decode gives, not how it is written: every state with the fields at the ends of their
** ranges.  So a definition keeps its hash when the IR or its passes change.
*/
static bool add_weights(qp_text *t, const qp_quantizer *q) {
  const uint16_t *codebooks[QP_MAX_CODEBOOKS] = {0};
  uint16_t *made[QP_MAX_CODEBOOKS] = {0};
  XXH3_state_t *hash = XXH3_createState();
  sweep s;
  bool ok = sweep_open(&s, q) && hash != NULL;
  for (unsigned c = 0; c < q->codebooks && ok; c++) {
    if (q->codebook[c].scope != QP_SCOPE_SPEC) codebooks[c] = made[c] = stand_in(&q->codebook[c]);
    ok = q->codebook[c].scope == QP_SCOPE_SPEC || made[c] != NULL;
  }
  if (ok) XXH3_128bits_reset(hash);
  for (uint64_t i = 0; ok && i < combinations(q, false); i++) {
    uint32_t fields[QP_MAX_FIELDS] = {0};
    choose_fields(q, false, i, fields);
    fill_env(q, fields, codebooks, &s.env);
    walk w[3];
    const unsigned walks = list_walks(q, w);
    for (unsigned k = 0; k < walks; k++) hash_walk(&s, &w[k], hash);
  }
  if (ok) {
    const XXH128_hash_t h = XXH3_128bits_digest(hash);
    qp_text_add(t, "weights %016llx%016llx\n", (unsigned long long)h.high64,
                (unsigned long long)h.low64);
  }
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(made[c]);
  XXH3_freeState(hash);
  free(s.v);
  return ok;
}

static void add_codebook(qp_text *t, const qp_codebook *book) {
  qp_text_add(t, "codebook %u %u %d\n", book->entries, book->dim, (int)book->scope);
  if (book->scope != QP_SCOPE_SPEC) return;
  const size_t numbers = (size_t)book->entries * book->dim;
  for (size_t i = 0; i < numbers; i++) { /* The bytes are in one order on every machine. */
    const char bytes[2] = {(char)(book->data[i] & 0xff), (char)(book->data[i] >> 8)};
    qp_text_append(t, bytes, 2);
  }
}

static bool add_definition(qp_text *t, const qp_quantizer *q) {
  qp_text_add(t, "layout %u kind %d\n", q->layout, (int)q->kind);
  for (unsigned i = 0; i < q->parts; i++) {
    qp_text_add(t, "part %.17g %s\n", q->part[i].fraction, q->part[i].quantizer->hash);
  }
  if (q->rotation) qp_text_add(t, "rotation %u\n", q->rotation);
  if (q->kind == QP_SPLIT) return true;
  qp_text_add(t, "window %u dim %u step %u planes %d %u group %u\n", q->window, q->dim, q->step,
              q->planes, q->planes_read, q->group);
  for (unsigned i = 0; i < q->fields; i++) {
    const qp_field *f = &q->field[i];
    qp_text_add(t, "field %s %s", f->name, qp_field_row_of(f->type)->name);
    if (f->size != q->group || f->tensor) qp_text_add(t, " of %u %d", f->size, f->tensor);
    qp_text_add(t, "\n");
  }
  if (q->sparse > 0) qp_text_add(t, "sparse %.17g\n", q->sparse);
  for (unsigned i = 0; i < q->codebooks; i++) add_codebook(t, &q->codebook[i]);
  return add_weights(t, q);
}

bool qp_quantizer_hash(qp_quantizer *q) {
  qp_text t = {0};
  if (!add_definition(&t, q) || t.failed) {
    qp_text_free(&t);
    return false;
  }
  const XXH128_hash_t h = XXH3_128bits(t.s, t.length);
  qp_text_free(&t);
  snprintf(q->hash, sizeof q->hash, "%016llx%016llx", (unsigned long long)h.high64,
           (unsigned long long)h.low64);
  return true;
}
