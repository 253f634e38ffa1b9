/* SPDX-License-Identifier: MIT */
/* Adds an embedding that is no lm_head, packed by a quantizer that is given:  plan -> [plan]. */
#ifndef QP_PLAN_EMBEDDING_H
#define QP_PLAN_EMBEDDING_H

#include "tuner/plan/plan_file.h"

/*
** Stored bytes of a model's embedding packed by 'q', the vocabulary padded to what kernels take:
** codes, fields, row scales and the signs of its rotation.  UINT64_MAX: it cannot hold the shape.
*/
uint64_t qp_plan_embedding_bytes(const qp_model *m, const qp_quantizer *q);

/*
** Append it to a finished plan, as the last linear (role "embedding", 'lookup', in no launch), and
** count its bytes where those of the 16-bit one were counted.  No loss is known of it: sensitivity
** 0.  'spec' is what qp_palette_find takes.  QP_E_NOMEM.
*/
qp_status qp_plan_add_embedding(qp_plan *p, const qp_model *m, const qp_quantizer *q,
                                const char *spec, double distortion, qp_error *err);

#endif
