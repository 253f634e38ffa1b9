/* SPDX-License-Identifier: MIT */
/*
** The checks of route and experts.  Where tokens go turns with the seed (tuner/check/routing.h), as
** does whether assignments of a token share its row of X.
*/
#include <stdio.h>
#include <stdlib.h>

#include "runtime/routing.h"
#include "tuner/check/routing.h"
#include "tuner/check/verify_internal.h"

static unsigned words_of(const qp_problem *p) {
  return qp_routing_words(qp_problem_assignments(p), p->experts, p->tile);
}

/* Ids of the routing whose turn it is; of route those of a token fewer, where there are several. */
static qp_status make_ids(qp_check *c, unsigned *assignments) {
  const qp_problem *p = &c->k->problem;
  const unsigned all = qp_problem_assignments(p);
  const bool fewer = p->op == QP_OP_ROUTE && p->batch > 2 && c->seed / QP_ROUTING_COUNT % 2;
  *assignments = fewer ? all - p->top_k : all;
  if (!(c->ids = qp_check_host(c, all * sizeof *c->ids))) return QP_E_NOMEM;
  if (!(c->routing = qp_check_host(c, words_of(p) * 4))) return QP_E_NOMEM;
  qp_routing_choose(p, (qp_routing_kind)(c->seed % QP_ROUTING_COUNT), &c->random, c->ids);
  qp_routing_sort(p, c->ids, *assignments, c->routing);
  return QP_OK;
}

/* ---- route ---- */

qp_status qp_check_route_inputs(qp_check *c) {
  unsigned assignments = 0;
  qp_status status = make_ids(c, &assignments);
  c->args.rows = assignments;
  if (!status) status = qp_check_buffer(c, c->ids, assignments * sizeof *c->ids, &c->args.x);
  if (!status) status = qp_check_buffer(c, NULL, words_of(&c->k->problem) * 4, &c->args.y);
  return status;
}

static qp_status compare_words(const qp_check *c, const uint32_t *got, const char *what,
                               unsigned from, unsigned n, qp_verdict *v) {
  for (unsigned i = from; i < from + n; i++)
    if (got[i] != c->routing[i]) {
      snprintf(v->why, sizeof v->why, "routing, %s: word %u is %u and must be %u", what, i - from,
               got[i], c->routing[i]);
      return QP_E_WRONG;
    }
  return QP_OK;
}

qp_status qp_check_route_outputs(qp_check *c, qp_check_sums *s, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const unsigned words = words_of(p), assignments = (unsigned)c->args.rows;
  const unsigned order = qp_routing_order(qp_problem_assignments(p), p->experts, p->tile);
  uint32_t *got = qp_check_host(c, words * 4);
  if (!got) return QP_E_NOMEM;
  qp_status status = qp_device_download(c->dev, got, c->args.y, words * 4, c->err);
  if (!status) status = qp_check_guard(c, c->args.y, words * 4, "routing", v);
  if (!status) status = compare_words(c, got, "head", 0, QP_ROUTING_HEAD, v);
  if (!status)
    status = compare_words(c, got, "tiles", QP_ROUTING_HEAD, QP_ROUTING_TILE * c->routing[0], v);
  if (!status) status = compare_words(c, got, "order", order, assignments, v);
  s->n = QP_ROUTING_HEAD + QP_ROUTING_TILE * c->routing[0] + assignments;
  free(got);
  return status;
}

/* ---- experts ---- */

qp_status qp_check_experts_inputs(qp_check *c) {
  const qp_problem *p = &c->k->problem;
  const bool shares = (c->seed + c->seed / QP_ROUTING_COUNT) % 2;
  unsigned assignments = 0;
  qp_status status = make_ids(c, &assignments);
  c->args.x_share = shares ? p->top_k : 1;
  if (!status) status = qp_check_x(c, shares ? p->batch : assignments);
  if (!status) status = qp_check_buffer(c, c->routing, words_of(p) * 4, &c->args.routing);
  return status;
}

qp_status qp_check_experts_glu_inputs(qp_check *c) {
  const qp_status status = qp_check_choose_pair(c);
  return status ? status : qp_check_experts_inputs(c);
}

/* Multiply a row of all experts' with each assignment to its expert; of a pair, up's row with
   gate's. */
void qp_check_expert_products(qp_check *c, unsigned segment, unsigned row, const uint16_t *w,
                              const unsigned char *y, qp_check_sums *s) {
  const qp_problem *p = &c->k->problem;
  const unsigned m = p->segment[segment].rows, expert = row / m;
  for (unsigned a = 0; a < qp_problem_assignments(p); a++) {
    if (c->ids[a] != (int32_t)expert) continue;
    const unsigned n = a / (unsigned)c->args.x_share;
    const size_t at = (size_t)a * qp_check_y_stride(c, segment) + row % m;
    if (c->of->pairs)
      qp_check_pair_at(c, segment, row, w, n, y, at, s);
    else
      qp_check_compare(s, qp_check_read(c, y, at, p->out_type),
                       qp_check_product(c, segment, row, w, n));
  }
}

/* Rows of Y of assignments to what is no expert are 0 to the bit. */
qp_status qp_check_others(qp_check *c, unsigned segment, const unsigned char *y, qp_verdict *v) {
  const qp_problem *p = &c->k->problem;
  const unsigned bytes = qp_dtype_bytes(p->out_type);
  for (unsigned a = 0; a < qp_problem_assignments(p); a++) {
    if (c->ids[a] >= 0 && c->ids[a] < (int32_t)p->experts) continue;
    const unsigned char *row = y + (size_t)a * qp_check_y_stride(c, segment) * bytes;
    for (size_t i = 0; i < (size_t)p->segment[segment].rows * bytes; i++)
      if (row[i]) {
        snprintf(v->why, sizeof v->why, "output of segment %u: row %u is of id %d and must be 0",
                 segment + 1, a, c->ids[a]);
        return QP_E_WRONG;
      }
  }
  return QP_OK;
}
