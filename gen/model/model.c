/* SPDX-License-Identifier: MIT */
/* Names and numbers a model's linears and its blocks. */
#include "gen/model/model.h"

#include <stdio.h>
#include <string.h>

/* ---- Kinds of blocks ---- */

bool qp_model_has(const qp_model *m, unsigned block, unsigned linear) {
  return !m->kinds || m->has[m->kind[block]] >> linear & 1;
}

bool qp_model_has_group(const qp_model *m, unsigned block, unsigned group) {
  return qp_model_has(m, block, m->group[group].linear[0]);
}

static unsigned linears_of(const qp_model *m, unsigned block) {
  return m->kinds ? (unsigned)__builtin_popcountll(m->has[m->kind[block]]) : m->linears;
}

static unsigned first_of(const qp_model *m, unsigned block) {
  unsigned n = 0;
  if (!m->kinds) return block * m->linears;
  for (unsigned b = 0; b < block; b++) n += linears_of(m, b);
  return n;
}

unsigned qp_model_count(const qp_model *m) { return first_of(m, m->layers); }

unsigned qp_model_number(const qp_model *m, unsigned block, unsigned linear) {
  if (block >= m->layers) return qp_model_count(m);
  if (!m->kinds) return block * m->linears + linear;
  const uint64_t before = m->has[m->kind[block]] & (((uint64_t)1 << linear) - 1);
  return first_of(m, block) + (unsigned)__builtin_popcountll(before);
}

void qp_model_place(const qp_model *m, unsigned number, unsigned *block, unsigned *linear) {
  unsigned b = 0;
  if (!m->kinds) {
    const bool head = number >= m->layers * m->linears;
    *block = head ? m->layers : number / m->linears;
    *linear = head ? m->linears : number % m->linears;
    return;
  }
  for (; b < m->layers && number >= linears_of(m, b); b++) number -= linears_of(m, b);
  *block = b;
  *linear = m->linears;
  for (unsigned l = 0; b < m->layers && l < m->linears; l++)
    if (qp_model_has(m, b, l) && !number--) {
      *linear = l;
      return;
    }
}

unsigned qp_model_copies(const qp_model *m, unsigned linear) {
  unsigned n = 0;
  if (!m->kinds) return m->layers;
  for (unsigned b = 0; b < m->layers; b++) n += qp_model_has(m, b, linear);
  return n;
}

unsigned qp_model_group_copies(const qp_model *m, unsigned group) {
  return qp_model_copies(m, m->group[group].linear[0]);
}

uint64_t qp_model_weights(const qp_model_linear *l) {
  return (uint64_t)l->rows * l->columns * (l->experts ? l->experts : 1);
}

/* ---- Names ---- */

static bool ends_in(const char *role, const char *end) {
  const size_t n = strlen(role), m = strlen(end);
  return n >= m && !strcmp(role + n - m, end);
}

qp_model_producer qp_model_producer_of(const char *role) {
  if (ends_in(role, "down")) return QP_PRODUCER_GLU;
  return !strcmp(role, "o") ? QP_PRODUCER_OTHER : QP_PRODUCER_NORM;
}

bool qp_model_gates(const char *up, const char *gate) {
  return ends_in(up, "up") && !ends_in(up, "gate_up") && ends_in(gate, "gate");
}

void qp_model_tensor(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]) {
  if (linear >= m->linears)
    snprintf(out, QP_MODEL_NAME, "%s", m->linear[m->linears].tensor);
  else
    snprintf(out, QP_MODEL_NAME, "%s%s.%u.%s", m->prefix, m->blocks, block,
             m->linear[linear].tensor);
}

void qp_model_matrix(const qp_model *m, unsigned linear, unsigned block, char out[QP_MODEL_NAME]) {
  if (linear >= m->linears || !*m->linear[linear].of.tensor)
    qp_model_tensor(m, linear, block, out);
  else
    snprintf(out, QP_MODEL_NAME, "%s%s.%u.%s", m->prefix, m->blocks, block,
             m->linear[linear].of.tensor);
}

void qp_model_expert(const char *tensor, unsigned expert, char out[QP_MODEL_NAME]) {
  const char *star = strchr(tensor, '*');
  if (star)
    snprintf(out, QP_MODEL_NAME, "%.*s%u%s", (int)(star - tensor), tensor, expert, star + 1);
  else
    snprintf(out, QP_MODEL_NAME, "%s", tensor);
}

/* ---- The lm_head ---- */

void qp_model_drop_head(qp_model *m) {
  m->headless = true;
  m->head_weights = 0;
}

void qp_model_tie_head(qp_model *m) {
  m->tied = true;
  memcpy(m->linear[m->linears].tensor, m->embedding, sizeof m->embedding);
}
