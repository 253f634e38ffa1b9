/* SPDX-License-Identifier: MIT */
/* Adds a packed embedding to a plan, as embedding.h describes. */
#include "tuner/plan/embedding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/spec/layout.h"
#include "tuner/plan/input.h"

uint64_t qp_plan_embedding_bytes(const qp_model *m, const qp_quantizer *q) {
  const uint64_t bytes = qp_plan_bytes(q, qp_layout_padded_rows(m->vocab), m->hidden);
  return bytes == UINT64_MAX ? bytes : bytes + 4 * (uint64_t)((m->hidden + 31) / 32);
}

/* The plan's entry of a quantizer, made where there is none. */
static unsigned find_quantizer(qp_plan *p, const qp_quantizer *q, const char *spec) {
  unsigned i = 0;
  while (i < p->quantizers && strcmp(p->quantizer[i].name, q->name) != 0) i++;
  if (i < p->quantizers) return i;
  qp_menu menu = {.count = 1, .entry = {{.quantizer = q}}};
  qp_plan_quantizer *to = &p->quantizer[p->quantizers++];
  *to = (qp_plan_quantizer){.rate_bits = q->stored_rate,
                            .codebook_bytes = qp_plan_codebook_bytes(&menu, NULL)};
  snprintf(to->name, sizeof to->name, "%s", q->name);
  snprintf(to->hash, sizeof to->hash, "%s", q->hash);
  snprintf(to->spec, sizeof to->spec, "%s", spec);
  p->memory.codebooks += to->codebook_bytes;
  p->memory_bytes += to->codebook_bytes;
  return i;
}

qp_status qp_plan_add_embedding(qp_plan *p, const qp_model *m, const qp_quantizer *q,
                                const char *spec, double distortion, qp_error *err) {
  qp_plan_linear *linear = realloc(p->linear, (p->linears + 1) * sizeof *linear);
  if (linear) p->linear = linear;
  qp_plan_quantizer *more = realloc(p->quantizer, (p->quantizers + 1) * sizeof *more);
  if (more) p->quantizer = more;
  if (!linear || !more) return qp_fail(err, QP_E_NOMEM, "no memory for the plan");
  const uint64_t bytes = qp_plan_embedding_bytes(m, q);
  qp_plan_linear *l = &p->linear[p->linears++];
  *l = (qp_plan_linear){.role = "embedding",
                        .block = QP_PLAN_NO_BLOCK,
                        .lookup = true,
                        .rows = qp_layout_padded_rows(m->vocab),
                        .columns = m->hidden,
                        .distortion = distortion,
                        .bytes = bytes};
  snprintf(l->tensor, sizeof l->tensor, "%s", m->embedding);
  l->quantizer = find_quantizer(p, q, spec);
  p->memory_bytes += bytes - p->memory.embedding;
  p->memory.embedding = bytes;
  return QP_OK;
}
