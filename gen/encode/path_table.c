/* SPDX-License-Identifier: MIT */
/* What the states of a trellis decode to, as encode kernels read it. */
#include "gen/encode/path_table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
  LEAST_STEP = 4,       /* bits of a step whose rows may be windows of strips, */
  STRIPS_AN_ENTRY = 4,  /* where these are not so many times as long as the list of entries, */
  STATES_A_DISTANCE = 8 /* nor longer by more than a weight for so many states */
};

/* The state of a row and a code. */
static size_t state_of(const qp_path_table *t, const qp_code_rows_of *of, size_t row, size_t code) {
  const size_t fan = (size_t)1 << of->step, sets = t->rows / fan;
  return (code * sets + row / fan) << of->step | row % fan;
}

static int16_t number_at(const qp_code_rows_of *of, size_t state, unsigned i) {
  return (int16_t)qp_metric_value(of->metric, of->value[state * of->dim + i]);
}

/* ---- A number for each state ---- */

typedef struct numbering {
  uint32_t *slot;  /* [slots]: number + 1, or 0; slots: a power of two */
  uint32_t *state; /* [most]: where each value was met first */
  size_t slots, count, most;
} numbering;

/* Give the number of a state's value; n->most: there are too many. */
static size_t number_of(numbering *n, const qp_code_rows_of *of, size_t state) {
  const size_t bytes = sizeof *of->value * of->dim;
  const float *value = of->value + state * of->dim;
  const unsigned char *byte = (const unsigned char *)value;
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * 0x100000001b3;
  for (size_t at = (size_t)(hash ^ hash >> 29);; at++) {
    uint32_t *slot = &n->slot[at & (n->slots - 1)];
    if (!*slot && n->count == n->most) return n->most;
    if (!*slot) {
      n->state[n->count] = (uint32_t)state;
      *slot = (uint32_t)++n->count;
    }
    if (!memcmp(of->value + (size_t)n->state[*slot - 1] * of->dim, value, bytes)) return *slot - 1;
  }
}

static unsigned reversed(unsigned i, unsigned size) {
  unsigned v = 0;
  for (unsigned bit = 1; bit < size; bit *= 2, i /= 2) v = v * 2 + i % 2;
  return v;
}

/* Codes of reversed bits in turn: lanes whose codes differ in their highest bits get entries that
   follow each other. */
static bool number_states(qp_path_table *t, const qp_code_rows_of *of, numbering *n) {
  for (size_t row = 0; row < t->rows; row++)
    for (unsigned i = 0; i < t->codes; i++) {
      const unsigned code = reversed(i, t->codes);
      const size_t number = number_of(n, of, state_of(t, of, row, code));
      if (number == n->most) return false;
      t->number[row * t->codes + code] = (uint32_t)number;
    }
  return true;
}

static qp_status make_numbers(qp_path_table *t, const qp_code_rows_of *of, size_t most,
                              qp_error *err) {
  numbering n = {.most = most, .slots = 64};
  while (n.slots < 2 * most) n.slots *= 2;
  n.slot = calloc(n.slots, sizeof *n.slot);
  n.state = malloc(sizeof *n.state * (most + 1));
  t->number = malloc(sizeof *t->number * t->rows * t->codes);
  const bool room = n.slot && n.state && t->number;
  t->entries = room && number_states(t, of, &n) ? (unsigned)n.count : 0;
  t->value = t->entries ? malloc(sizeof *t->value * t->entries * t->dim) : NULL;
  for (size_t i = 0; t->value && i < t->entries; i++)
    for (unsigned e = 0; e < t->dim; e++) t->value[i * t->dim + e] = number_at(of, n.state[i], e);
  free(n.slot);
  free(n.state);
  return room && (t->value || !t->entries)
             ? QP_OK
             : qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u states", of->window);
}

/* ---- Strips ---- */

/* Take the strips' windows and what lies in them, [dim][size], as entries. */
static qp_status take_strips(qp_path_table *t, const qp_code_rows *rows, qp_error *err) {
  const size_t numbers = (size_t)t->rows * rows->windows;
  free(t->number);
  free(t->value);
  t->span = rows->span;
  t->number = malloc(sizeof *t->number * numbers);
  t->value = malloc(sizeof *t->value * rows->size * t->dim);
  if (!t->number || !t->value)
    return qp_fail(err, QP_E_NOMEM, "no memory for %u strips", rows->size);
  memcpy(t->number, rows->offset, sizeof *t->number * numbers);
  t->entries = rows->size;
  for (size_t i = 0; i < rows->size; i++)
    for (size_t e = 0; e < t->dim; e++) t->value[i * t->dim + e] = rows->pool[e * rows->size + i];
  return QP_OK;
}

static qp_status make_strips(qp_path_table *t, const qp_code_rows_of *of, size_t most,
                             qp_error *err) {
  qp_code_rows rows = {0};
  if (!t->entries || 2 * of->step > of->window || of->step < LEAST_STEP) return QP_OK;
  const size_t further = ((size_t)1 << of->window) / of->dim / STATES_A_DISTANCE;
  if (most / STRIPS_AN_ENTRY > t->entries) most = (size_t)t->entries * STRIPS_AN_ENTRY;
  if (most > t->entries + further) most = t->entries + further;
  qp_status status = qp_code_rows_make_strips(&rows, of, most, err);
  if (!status && rows.pool && rows.size <= most) status = take_strips(t, &rows, err);
  qp_code_rows_free(&rows);
  return status;
}

/* ---- All states ---- */

static qp_status list_values(qp_path_table *t, const qp_code_rows_of *of, qp_error *err) {
  free(t->number);
  t->number = NULL;
  t->value = malloc(sizeof *t->value * t->rows * t->codes * t->dim);
  if (!t->value) return qp_fail(err, QP_E_NOMEM, "no memory for a trellis of 2^%u", of->window);
  for (size_t i = 0; i < (size_t)t->rows * t->codes; i++)
    for (unsigned e = 0; e < t->dim; e++)
      t->value[i * t->dim + e] = number_at(of, state_of(t, of, i / t->codes, i % t->codes), e);
  return QP_OK;
}

qp_status qp_path_table_make(qp_path_table *out, const qp_code_rows_of *of, size_t most,
                             qp_error *err) {
  const unsigned groups = 1u << (of->window - of->step), fan = 1u << of->step;
  const unsigned sets = groups > fan ? groups / fan : 1;
  *out = (qp_path_table){.rows = sets * fan, .codes = groups / sets, .span = 1, .dim = of->dim};
  qp_status status = most ? make_numbers(out, of, most, err) : QP_OK;
  if (!status) status = make_strips(out, of, most, err);
  if (!status && !out->entries) status = list_values(out, of, err);
  if (status) qp_path_table_free(out);
  return status;
}

/* ---- Levels of one weight ---- */

enum { WHOLES = 1 << 16 /* different t^ */ };

static unsigned whole_of(int16_t v) { return (uint16_t)v; }

/* Number the values of weight 'held' in the order of 'number', [WHOLES], and say how many they
   are. */
static unsigned number_levels(const qp_path_table *t, unsigned held, uint16_t *number) {
  const size_t states = (size_t)t->rows * t->codes;
  unsigned count = 0;
  memset(number, 0, sizeof *number * WHOLES);
  for (size_t i = 0; i < states; i++) number[whole_of(t->value[i * t->dim + held])] = 1;
  for (unsigned v = 0; v < WHOLES; v++)
    if (number[v]) number[v] = (uint16_t)count++;
  return count;
}

static void take_levels(qp_path_table *t, unsigned held, const uint16_t *number) {
  const size_t states = (size_t)t->rows * t->codes;
  t->held = held;
  for (size_t i = 0; i < states; i++) {
    int16_t *value = &t->value[i * t->dim + held];
    const uint16_t level = number[whole_of(*value)];
    t->level[level] = *value;
    *value = (int16_t)level;
  }
}

qp_status qp_path_table_hold(qp_path_table *t, size_t most, qp_error *err) {
  if (t->entries || t->dim < 2) return QP_OK;
  uint16_t *number = malloc(sizeof *number * WHOLES);
  if (!number) return qp_fail(err, QP_E_NOMEM, "no memory for numbers of a weight's values");
  if (most > INT16_MAX) most = INT16_MAX;
  unsigned held = 0, least = 0;
  for (unsigned e = 0; e < t->dim; e++) {
    const unsigned count = number_levels(t, e, number);
    if (!least || count < least) held = e, least = count;
  }
  const bool few = least <= most;
  t->level = few ? malloc(sizeof *t->level * least) : NULL;
  if (t->level) {
    t->levels = number_levels(t, held, number);
    take_levels(t, held, number);
  }
  free(number);
  return !few || t->level ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for %u levels", least);
}

void qp_path_table_free(qp_path_table *t) {
  free(t->number);
  free(t->value);
  free(t->level);
  *t = (qp_path_table){0};
}
