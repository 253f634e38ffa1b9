/* SPDX-License-Identifier: MIT */
/* Tensor parallelism; see parallel.h. */
#include "tuner/plan/parallel.h"

#include <string.h>

typedef enum division { WHOLE, ROWS, KEYS, JOINED, COLUMNS } division;

static const struct {
  const char *role;
  division how; /* KEYS: rows of keys' heads; JOINED: q, k and v below one another */
} divisions[] = {{"q", ROWS},         {"k", KEYS},       {"v", KEYS},        {"qkv", JOINED},
                 {"gate", ROWS},      {"up", ROWS},      {"gate_up", ROWS},  {"q_b", ROWS},
                 {"kv_b", ROWS},      {"o", COLUMNS},    {"down", COLUMNS},  {"attn_gate", ROWS},
                 {"delta_qkv", ROWS}, {"delta_z", ROWS}, {"delta_in", ROWS}, {"delta_out", COLUMNS},
                 {"delta_q", ROWS},   {"delta_k", ROWS}, {"delta_v", ROWS},  {"delta_f", ROWS},
                 {"delta_g", ROWS},   {"r", ROWS}};

/* Experts, routed and shared, are divided as an MLP is: "expert_up" as "up". */
static division division_of(const char *role) {
  static const char *const before[] = {"expert_", "shared_"};
  for (unsigned i = 0; i < 2; i++)
    if (!strncmp(role, before[i], strlen(before[i]))) role += strlen(before[i]);
  for (size_t i = 0; i < sizeof divisions / sizeof *divisions; i++)
    if (!strcmp(divisions[i].role, role)) return divisions[i].how;
  return WHOLE;
}

bool qp_parallel_divides_columns(const char *role) { return division_of(role) == COLUMNS; }

/* Heads of keys that a rank has. */
static unsigned keys_of(unsigned heads, unsigned ranks) {
  return heads > ranks ? heads / ranks : 1;
}

static qp_status cannot(const qp_model *m, const qp_model_linear *l, unsigned ranks,
                        const char *what, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "--tp %u: %s of %s is %u x %u, and %u ranks do not divide its %s",
                 ranks, l->role, m->name, l->rows, l->columns, ranks, what);
}

static qp_status divide(const qp_model *m, unsigned ranks, qp_model_linear *l, qp_error *err) {
  const unsigned all_keys = l->head_count ? l->head_count : m->kv_heads;
  const unsigned keys = keys_of(all_keys, ranks);
  switch (division_of(l->role)) {
  case WHOLE: break;
  case ROWS:
    if (l->head_count % ranks) return cannot(m, l, ranks, "heads", err);
    if (l->rows % (strstr(l->role, "gate_up") ? 2 * ranks : ranks))
      return cannot(m, l, ranks, "rows", err);
    l->rows /= ranks;
    break;
  case KEYS:
    if (l->rows % all_keys || (all_keys % ranks && ranks % all_keys))
      return cannot(m, l, ranks, "heads", err);
    l->rows = l->rows / all_keys * keys;
    break;
  case JOINED: {
    const unsigned all = m->heads + 2 * m->kv_heads;
    if (l->rows % all) return cannot(m, l, ranks, "heads", err);
    l->rows = l->rows / all * (m->heads / ranks + 2 * keys);
    break;
  }
  case COLUMNS:
    if (l->columns % ranks) return cannot(m, l, ranks, "columns", err);
    l->columns /= ranks;
  }
  return QP_OK;
}

/* Weights of a linear that one token goes through, of a slice of the experts on average. */
static uint64_t active_of(const qp_model *m, const qp_model_linear *l) {
  const uint64_t one = (uint64_t)l->rows * l->columns;
  return l->experts ? one * l->active / (m->slices ? m->slices : 1) : one;
}

static void count(const qp_model *whole, qp_model *m) {
  m->linear_weights = 0;
  for (unsigned i = 0; i < m->linears; i++) {
    const uint64_t copies = qp_model_copies(m, i);
    m->linear_weights += copies * qp_model_weights(&m->linear[i]);
    m->active_weights -=
        copies * (active_of(whole, &whole->linear[i]) - active_of(m, &m->linear[i]));
  }
  const qp_model_linear *head = &m->linear[m->linears];
  m->head_weights = whole->head_weights ? (uint64_t)head->rows * head->columns : 0;
}

static bool is_power(unsigned n) { return n && n <= QP_PARALLEL_RANKS && !(n & (n - 1)); }

/* Take a slice of the experts, each of them whole. */
static qp_status slice(const qp_model *m, unsigned slices, qp_model_linear *l, qp_error *err) {
  if (l->experts % slices)
    return qp_fail(err, QP_E_ARG, "--ep %u: %s of %s are %u experts, which %u do not divide",
                   slices, l->role, m->name, l->experts, slices);
  l->experts /= slices;
  return QP_OK;
}

static qp_status check_ranks(const qp_model *m, unsigned ranks, qp_error *err) {
  if (!is_power(ranks)) return qp_fail(err, QP_E_ARG, "--tp %u: 1, 2, 4 or 8 is needed", ranks);
  if (m->heads % ranks)
    return qp_fail(err, QP_E_ARG, "--tp %u: %s has %u heads, which %u ranks do not divide", ranks,
                   m->name, m->heads, ranks);
  if (m->kv_heads % ranks && ranks % m->kv_heads)
    return qp_fail(err, QP_E_ARG,
                   "--tp %u: %s has %u heads of keys: their number and that of the ranks must "
                   "divide one another",
                   ranks, m->name, m->kv_heads);
  return QP_OK;
}

qp_status qp_parallel_apart(const qp_model *m, unsigned ranks, qp_model *out, qp_error *err) {
  if (ranks > 1) return qp_model_take_apart(m, out, err);
  return *out = *m, QP_OK;
}

qp_status qp_parallel_split(const qp_model *m, const qp_parallel_ways *ways, qp_model *out,
                            qp_error *err) {
  const unsigned ranks = ways->ranks ? ways->ranks : 1, slices = ways->slices ? ways->slices : 1;
  qp_model whole, to;
  bool experts = false;
  qp_status status = check_ranks(m, ranks, err);
  if (!status) status = qp_parallel_apart(m, ways->made > ranks ? ways->made : ranks, &whole, err);
  if (status) return status;
  m = &whole;
  to = whole;
  if (!is_power(slices)) status = qp_fail(err, QP_E_ARG, "--ep %u: 1, 2, 4 or 8 is needed", slices);
  for (unsigned i = 0; i < to.linears && !status; i++) {
    qp_model_linear *l = &to.linear[i];
    experts = experts || l->experts;
    if (l->experts && slices > 1)
      status = slice(m, slices, l, err), to.slices = slices;
    else if (ranks > 1)
      status = divide(m, ranks, l, err);
  }
  if (!status && slices > 1 && !experts)
    status = qp_fail(err, QP_E_ARG, "--ep %u: %s has no experts; --tp shares its linears", slices,
                     m->name);
  if (status) return status;
  for (unsigned g = 0; g < to.groups; g++) {
    qp_model_group *group = &to.group[g];
    group->columns = to.linear[group->linear[0]].columns;
    for (unsigned i = 0; i < group->linears; i++) {
      group->rows[i] = to.linear[group->linear[i]].rows;
      if (to.linear[group->linear[i]].columns != group->columns)
        return cannot(m, &m->linear[group->linear[i]], ranks, "input alike", err);
    }
  }
  qp_model_linear *head = &to.linear[to.linears];
  if (!to.tied && head->rows % (32 * ranks) == 0) head->rows /= ranks; /* as it is packed */
  count(m, &to);
  *out = to;
  return QP_OK;
}

bool qp_parallel_is_joined(const char *role) {
  return strstr(role, "qkv") || strstr(role, "gate_up") || !strcmp(role, "delta_in");
}

static qp_status cannot_cut(const qp_model *m, const qp_model_linear *l, unsigned ranks,
                            const char *why, qp_error *err) {
  return qp_fail(err, QP_E_ARG, "--tp %u: %s of %s, %u x %u, cannot be packed in slices: %s", ranks,
                 l->role, m->name, l->rows, l->columns, why);
}

qp_status qp_parallel_cut(const qp_model *m, const qp_model_linear *l, const qp_parallel_ways *ways,
                          qp_cut *out, qp_error *err) {
  const unsigned ranks = ways->ranks ? ways->ranks : 1;
  const bool head = l == &m->linear[m->linears];
  const unsigned keys = l->head_count ? l->head_count : m->kv_heads;
  const bool whole = head ? m->tied : l->experts && ways->slices > 1;
  const division how = whole ? WHOLE : head ? ROWS : division_of(l->role);
  qp_cut cut = {QP_CUT_NONE, 1};
  qp_status status = check_ranks(m, ranks, err);
  if (status) return status;
  if (ranks > 1 && how != WHOLE) {
    cut = (qp_cut){how == COLUMNS ? QP_CUT_COLUMNS : QP_CUT_ROWS, ranks};
    if (how == KEYS && keys < ranks) cut.slices = keys;
    if (head && l->rows % (32 * ranks)) cut = (qp_cut){QP_CUT_NONE, 1};
  }
  if (cut.way && qp_parallel_is_joined(l->role))
    return cannot_cut(m, l, ranks, "several linears' rows lie in it, in an order that is not known",
                      err);
  if (cut.way == QP_CUT_ROWS && l->rows % (32 * cut.slices))
    return cannot_cut(m, l, ranks, "a rank's rows are no multiple of 32", err);
  if (cut.way == QP_CUT_COLUMNS && l->columns % (32 * cut.slices))
    return cannot_cut(m, l, ranks, "a rank's columns are no multiple of 32", err);
  return *out = cut, QP_OK;
}

unsigned qp_parallel_reduces(const qp_model *m) {
  unsigned n = 0;
  for (unsigned b = 0; b < m->layers; b++) {
    bool attention = false, mlp = false;
    for (unsigned i = 0; i < m->linears; i++) {
      if (!qp_model_has(m, b, i) || !qp_parallel_divides_columns(m->linear[i].role)) continue;
      if (strstr(m->linear[i].role, "down"))
        mlp = true;
      else
        attention = true;
    }
    n += attention + mlp;
  }
  return n;
}
