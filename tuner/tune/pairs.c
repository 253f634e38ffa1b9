/* SPDX-License-Identifier: MIT */
/* Where a gated linear unit is quicker; see pairs.h. */
#include "tuner/tune/pairs.h"

#include "tuner/tune/problems.h"

static bool find(qp_lookup *l, const qp_problem *p, const char *path, qp_pick *out) {
  return qp_lookup_find(l, p, path, out) && out->match <= QP_MATCH_OTHER_DRIVER;
}

/* The rotation of what the pair gives. */
static bool find_rotation(qp_lookup *l, qp_op op, const qp_problem *gemm, qp_pick *out) {
  const qp_problem p = {.op = op,
                        .columns = gemm->segment[0].rows,
                        .batch = gemm->batch * (gemm->experts ? gemm->top_k : 1),
                        .type = gemm->type,
                        .out_type = gemm->type,
                        .arch = gemm->arch,
                        .sm_count = gemm->sm_count};
  return find(l, &p, NULL, out);
}

bool qp_pair_find(qp_lookup *l, const qp_problem *gemm, const char *path, qp_pair *out) {
  qp_problem both = *gemm;
  both.op = qp_model_pair_op(gemm);
  return gemm->segments == 2 && gemm->segment[0].quantizer == gemm->segment[1].quantizer &&
         find(l, gemm, path, &out->gemm) && find(l, &both, path, &out->gemm_glu) &&
         find_rotation(l, QP_OP_ROTATE_GLU, gemm, &out->rotate_glu) &&
         find_rotation(l, QP_OP_ROTATE, gemm, &out->rotate);
}

int64_t qp_pair_before_ps(const qp_pair *p) { return p->gemm.ps + p->rotate_glu.ps; }
int64_t qp_pair_behind_ps(const qp_pair *p) { return p->gemm_glu.ps + p->rotate.ps; }
