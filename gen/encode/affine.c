/* SPDX-License-Identifier: MIT */
/* Affine decodes, seen in their IR. */
#include "gen/encode/affine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/ir/ir_value.h"
#include "runtime/half.h"

/*
** What a node's value depends on.  Where an op joins what depends on the code alone (u) with what
** depends on fields alone (a number k), or with what was so joined (a u + b), the result is of that
** form too if the op is a sum, a difference, a product with a number, or says a number in another
** type.
*/
enum {
  NONE = 0,
  CODE = 1,
  FIELDS = 2,
  JOINED = CODE | FIELDS,
  MAX_CODES = 4096,
  TRIALS = 64, /* fields at which the form is compared with the decode */
  TRIAL_SEED = 9
};

typedef struct term {
  double a, b; /* a u + b */
} term;

/* The number that a value of a type is. */
static double number_of(qp_ir_type type, uint32_t bits) {
  switch (type) {
  case QP_HALF: return (double)qp_half_to_float((uint16_t)bits);
  case QP_SINGLE: return (double)qp_ir_f(bits);
  default: return (double)(int32_t)bits;
  }
}

static const qp_ir *ir_of(const qp_affine *f) { return f->quantizer->decode; }

/* Does the op keep the form?  'kind' is of its operands. */
static bool keeps_form(qp_ir_op op, const uint8_t kind[3]) {
  switch (op) {
  case QP_IR_ADD:
  case QP_IR_SUB:
  case QP_IR_HADD:
  case QP_IR_HSUB:
  case QP_IR_HNEG:
  case QP_IR_HALF_OF_INT:
  case QP_IR_HALF_OF_UINT:
  case QP_IR_SADD:
  case QP_IR_SSUB:
  case QP_IR_SNEG:
  case QP_IR_SINGLE_OF_HALF:
  case QP_IR_SINGLE_OF_INT:
  case QP_IR_SINGLE_OF_UINT:
  case QP_IR_HALF_OF_SINGLE: return true;
  case QP_IR_HMUL:
  case QP_IR_HFMA:
  case QP_IR_SMUL:
  case QP_IR_SFMA: return !(kind[0] & CODE) || !(kind[1] & CODE);
  default: return false;
  }
}

static term product(term x, term y) {
  return x.a != 0 ? (term){x.a * y.b, x.b * y.b} : (term){x.b * y.a, x.b * y.b};
}

qp_affine_join qp_affine_join_of(qp_ir_op op) {
  switch (op) {
  case QP_IR_ADD:
  case QP_IR_HADD:
  case QP_IR_SADD: return QP_AFFINE_ADD;
  case QP_IR_SUB:
  case QP_IR_HSUB:
  case QP_IR_SSUB: return QP_AFFINE_SUB;
  case QP_IR_HNEG:
  case QP_IR_SNEG: return QP_AFFINE_NEG;
  case QP_IR_HMUL:
  case QP_IR_SMUL: return QP_AFFINE_MUL;
  case QP_IR_HFMA:
  case QP_IR_SFMA: return QP_AFFINE_FMA;
  default: return QP_AFFINE_SAME;
  }
}

/* Apply the op to terms; keeps_form said yes. */
static term join(qp_ir_op op, const term x[3]) {
  switch (qp_affine_join_of(op)) {
  case QP_AFFINE_ADD: return (term){x[0].a + x[1].a, x[0].b + x[1].b};
  case QP_AFFINE_SUB: return (term){x[0].a - x[1].a, x[0].b - x[1].b};
  case QP_AFFINE_NEG: return (term){-x[0].a, -x[0].b};
  case QP_AFFINE_MUL: return product(x[0], x[1]);
  case QP_AFFINE_FMA: {
    const term p = product(x[0], x[1]);
    return (term){p.a + x[2].a, p.b + x[2].b};
  }
  default: return x[0];
  }
}

qp_affine_value qp_affine_value_of(const qp_affine *f, unsigned node) {
  if (f->kind[node] == JOINED) return QP_AFFINE_TERM;
  return f->kind[node] & FIELDS ? QP_AFFINE_FIELDS : QP_AFFINE_FIXED;
}

/* ---- Evaluation ---- */

static void fill_env(const qp_quantizer *q, const uint32_t *fields, uint32_t state,
                     qp_ir_env *env) {
  memset(env->input, 0, sizeof env->input);
  env->input[QP_IN_STATE] = state;
  for (unsigned f = 0; f < q->fields && fields; f++) env->input[QP_IN_GROUP + f] = fields[f];
  for (unsigned c = 0; c < q->codebooks; c++) {
    env->codebook[c].data = q->codebook[c].data;
    env->codebook[c].entries = q->codebook[c].entries;
    env->codebook[c].dim = q->codebook[c].dim;
  }
}

static uint32_t evaluate(const qp_ir *ir, unsigned n, const uint32_t *v, const qp_ir_env *env) {
  const qp_ir_node *node = &ir->node[n];
  const uint32_t operand[3] = {v[node->arg[0]], v[node->arg[1]], v[node->arg[2]]};
  return qp_ir_op_evaluate(node->op, operand, node->imm, node->imm2, env);
}

static bool is_fixed(const qp_affine *f, unsigned n) { return !(f->kind[n] & FIELDS); }

void qp_affine_at(const qp_affine *f, const uint32_t *fields, double *a, double *b) {
  const qp_ir *ir = ir_of(f);
  uint32_t v[QP_IR_MAX_NODES];
  term t[QP_IR_MAX_NODES];
  qp_ir_env env;
  fill_env(f->quantizer, fields, 0, &env);
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    if (f->kind[n] == JOINED) {
      const term x[3] = {t[node->arg[0]], t[node->arg[1]], t[node->arg[2]]};
      t[n] = join(node->op, x);
      continue;
    }
    v[n] = is_fixed(f, n) ? f->fixed[(size_t)n * f->states] : evaluate(ir, n, v, &env);
    t[n] = n == f->unit ? (term){1, 0} : (term){0, number_of(qp_ir_type_of(ir, n), v[n])};
  }
  /* cppcheck-suppress uninitvar ; an IR has nodes */
  const term all = t[ir->output[0]];
  *a = all.a * f->levels.apart;
  *b = all.b + all.a * f->levels.first;
}

/* What some codes decode to, or all: the fields' own values are computed once. */
static void decode(const qp_affine *f, const uint32_t *fields, unsigned count,
                   const uint32_t *codes, float *values) {
  const qp_ir *ir = ir_of(f);
  uint32_t v[QP_IR_MAX_NODES];
  qp_ir_env env;
  fill_env(f->quantizer, fields, 0, &env);
  for (unsigned i = 0; i < count; i++) {
    const uint32_t state = codes ? codes[i] : i;
    for (unsigned n = 0; n < ir->count; n++) {
      if (is_fixed(f, n))
        v[n] = f->fixed[(size_t)n * f->states + state];
      else if (f->kind[n] == JOINED || !i)
        v[n] = evaluate(ir, n, v, &env);
    }
    values[i] = qp_half_to_float((uint16_t)v[ir->output[0]]);
  }
}

void qp_affine_table(const qp_affine *f, const uint32_t *fields, float *values) {
  decode(f, fields, f->states, NULL, values);
}

void qp_affine_rounded(const qp_affine *f, const uint32_t *fields, float *values) {
  const unsigned n = f->levels.count;
  decode(f, fields, n, f->code, values);
  if (values[0] <= values[n - 1]) return;
  for (unsigned i = 0; i < n / 2; i++) {
    const float other = values[i];
    values[i] = values[n - 1 - i];
    values[n - 1 - i] = other;
  }
}

/* ---- Recognition ---- */

/* What each node depends on, and the one node that is u; false: the decode is of another form. */
static bool trace(qp_affine *f) {
  const qp_ir *ir = ir_of(f);
  bool found = false;
  for (unsigned n = 0; n < ir->count; n++) {
    const qp_ir_node *node = &ir->node[n];
    const unsigned arity = qp_ir_arity(ir, n);
    const bool input = node->op == QP_IR_INPUT || node->op == QP_IR_INPUT_H;
    uint8_t of[3] = {NONE};
    f->kind[n] = !input ? NONE : node->imm == QP_IN_STATE ? CODE : FIELDS;
    for (unsigned i = 0; i < arity; i++) f->kind[n] |= of[i] = f->kind[node->arg[i]];
    if (f->kind[n] != JOINED) continue;
    if (!keeps_form(node->op, of)) return false;
    for (unsigned i = 0; i < arity; i++) {
      if (of[i] != CODE) continue;
      if (found && f->unit != node->arg[i]) return false;
      f->unit = node->arg[i];
      found = true;
    }
  }
  return found && f->kind[ir->output[0]] == JOINED;
}

static void evaluate_fixed(qp_affine *f) {
  const qp_ir *ir = ir_of(f);
  uint32_t v[QP_IR_MAX_NODES] = {0};
  qp_ir_env env;
  for (uint32_t state = 0; state < f->states; state++) {
    fill_env(f->quantizer, NULL, state, &env);
    for (unsigned n = 0; n < ir->count; n++) {
      v[n] = is_fixed(f, n) ? evaluate(ir, n, v, &env) : 0;
      f->fixed[(size_t)n * f->states + state] = v[n];
    }
  }
}

typedef struct level {
  double u;
  uint32_t code;
} level;

static int compare(const void *a, const void *b) {
  const level *x = a, *y = b;
  return x->u != y->u ? (x->u > y->u) - (x->u < y->u) : (x->code > y->code) - (x->code < y->code);
}

static double unit_of(const qp_affine *f, uint32_t code) {
  return number_of(qp_ir_type_of(ir_of(f), f->unit), f->fixed[(size_t)f->unit * f->states + code]);
}

/* The levels are the different values of u; of one alone there are none. */
static qp_status make_levels(qp_affine *f, qp_error *err) {
  level *all = malloc(sizeof *all * f->states);
  double *value = malloc(sizeof *value * f->states);
  f->code = malloc(sizeof *f->code * f->states);
  unsigned count = 0;
  qp_status status = all && value && f->code ? QP_OK : qp_fail(err, QP_E_NOMEM, "out of memory");
  for (uint32_t c = 0; !status && c < f->states; c++) all[c] = (level){unit_of(f, c), c};
  if (!status) qsort(all, f->states, sizeof *all, compare);
  for (unsigned i = 0; !status && i < f->states; i++) {
    if (count && all[i].u == value[count - 1]) continue;
    f->code[count] = all[i].code;
    value[count++] = all[i].u;
  }
  if (count > 1) status = qp_levels_make(&f->levels, count, value, err);
  free(value);
  free(all);
  return status;
}

/* Draw raw values of the fields, some at the ends of their ranges. */
static void draw_fields(const qp_quantizer *q, qp_random *r, uint32_t *fields) {
  for (unsigned i = 0; i < q->fields; i++) {
    const qp_field *f = &q->field[i];
    const double u = qp_random_uniform(r, 0, 3), part = u < 1 ? u : u < 2 ? 0 : 1;
    const double x = f->lo + part * (f->hi - f->lo);
    fields[i] = qp_field_raw(f->type, x);
  }
}

/* Is the decode what it seems to be, within what its operations round? */
static bool holds(const qp_affine *f, float *values) {
  const double share = 0x1p-8, least = 0x1p-18; /* beside rounding errors of 2^-11, 2^-24 */
  qp_random r = {.state = TRIAL_SEED};
  uint32_t fields[QP_MAX_FIELDS] = {0};
  for (unsigned trial = 0; trial < TRIALS; trial++) {
    double a, b;
    draw_fields(f->quantizer, &r, fields);
    qp_affine_at(f, fields, &a, &b);
    qp_affine_table(f, fields, values);
    const double size = fabs(b) + fabs(a) * (double)f->levels.value[f->levels.count - 1] +
                        fabs(a) * fabs((double)f->levels.value[0]);
    for (unsigned s = 0; s < f->states; s++) {
      const double u = (unit_of(f, s) - f->levels.first) / f->levels.apart;
      if (!(fabs(a * u + b - (double)values[s]) <= share * size + least)) return false;
    }
  }
  return true;
}

void qp_affine_free(qp_affine *f) {
  free(f->kind);
  free(f->fixed);
  free(f->code);
  qp_levels_free(&f->levels);
  *f = (qp_affine){0};
}

qp_status qp_affine_make(qp_affine *out, const qp_quantizer *q, qp_error *err) {
  qp_affine f = {.quantizer = q, .states = 1u << (q->planes ? q->planes_read : q->window)};
  *out = (qp_affine){0};
  if (q->dim != 1 || f.states > MAX_CODES || q->decode->outputs != 1) return QP_OK;
  const unsigned nodes = q->decode->count;
  f.kind = malloc(nodes);
  f.fixed = malloc(sizeof *f.fixed * nodes * f.states);
  float *values = malloc(sizeof *values * f.states);
  qp_status status = f.kind && f.fixed && values ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory");
  bool ok = !status && trace(&f);
  if (ok) evaluate_fixed(&f);
  if (ok) status = make_levels(&f, err);
  ok = ok && !status && f.levels.count > 1 && holds(&f, values);
  free(values);
  if (ok)
    *out = f;
  else
    qp_affine_free(&f);
  return status;
}
