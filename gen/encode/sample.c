/* SPDX-License-Identifier: MIT */
/* Codes N(0,1) weights by a quantizer. */
#include "gen/encode/sample.h"

#include <stdlib.h>

#include "gen/base/gaussian.h"
#include "gen/base/random.h"

void qp_sample_gaussian(uint64_t seed, size_t n, float *out) {
  qp_random r = {.state = seed};
  r.state = qp_random_next(&r) ^ seed << 32; /* neighbouring seeds would walk the same values */
  for (size_t i = 0; i < n; i++)
    out[i] = (float)qp_gaussian_quantile(qp_random_uniform(&r, 0x1p-60, 1));
}

/* The trellis searches several runs at a time: the targets are cut into as many. */
static qp_status search_runs(const qp_coder *c, size_t steps, const float *scaled, uint32_t *code,
                             uint32_t *states, qp_error *err) {
  const qp_trellis *t = &c->trellis;
  const unsigned at_once = qp_trellis_sequences(t);
  const unsigned runs = steps / at_once >= 64 ? at_once : 1;
  const size_t each = steps / runs;
  qp_search *search;
  qp_status status = qp_search_new(t, &search, err);
  if (status) return status;
  const float *target[QP_TRELLIS_SEQUENCES] = {0};
  uint32_t *to[QP_TRELLIS_SEQUENCES], start[QP_TRELLIS_SEQUENCES];
  for (unsigned k = 0; k < runs; k++) {
    target[k] = scaled + k * each * t->dim;
    to[k] = code + k * each;
  }
  qp_trellis_search(t, search, QP_ENDS_FREE, runs, (unsigned)each, 0, target, start, NULL, to);
  for (unsigned k = 0; k < runs; k++) {
    uint32_t group = start[k];
    for (size_t i = 0; i < each; i++) {
      const uint32_t s = to[k][i] << (t->window - t->step) | group;
      states[k * each + i] = s;
      group = s >> t->step;
    }
  }
  if (steps > runs * each) { /* what is left over: one short run, behind the last */
    const size_t at = runs * each;
    const float *rest = scaled + at * t->dim;
    uint32_t *rest_code = code + at, group = states[at - 1] >> t->step;
    qp_trellis_search(t, search, QP_ENDS_FROM, 1, (unsigned)(steps - at), 0, &rest, &group, NULL,
                      &rest_code);
    for (size_t i = at; i < steps; i++) {
      states[i] = code[i] << (t->window - t->step) | group;
      group = states[i] >> t->step;
    }
  }
  qp_search_free(search);
  return QP_OK;
}

static qp_status search_codes(const qp_coder *c, size_t n, const float *scaled, uint32_t *code,
                              qp_error *err) {
  if (!c->stages.count) return qp_codewords_nearest(&c->words, n, scaled, code), QP_OK;
  float *scratch = malloc(sizeof *scratch * qp_stages_scratch(&c->stages));
  if (!scratch) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_stages_search(&c->stages, n, scaled, scratch, code);
  free(scratch);
  return QP_OK;
}

qp_status qp_sample_code(const qp_coder *c, size_t n, const float *targets, double scale,
                         double *cross, double *square, uint32_t *states, qp_error *err) {
  const unsigned dim = c->quantizer->dim;
  const size_t steps = n / dim;
  float *scaled = malloc(sizeof *scaled * n);
  uint32_t *code = malloc(sizeof *code * steps);
  uint32_t *state = states ? states : malloc(sizeof *state * steps);
  qp_status status =
      scaled && code && state ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for %zu weights", n);
  for (size_t i = 0; !status && i < n; i++) scaled[i] = targets[i] * (float)scale;
  if (!status && c->kind == QP_CODER_TRELLIS)
    status = search_runs(c, steps, scaled, code, state, err);
  else if (!status)
    status = search_codes(c, steps, scaled, state, err);
  *cross = *square = 0;
  for (size_t i = 0; !status && i < n; i++) {
    float own[QP_NEAREST_DIM];
    const double v = (double)qp_coder_value(c, state[i / dim], own)[i % dim];
    *cross += (double)targets[i] * v;
    *square += v * v;
  }
  free(scaled);
  free(code);
  if (!states) free(state);
  return status;
}
