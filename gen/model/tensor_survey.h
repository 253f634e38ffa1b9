/* SPDX-License-Identifier: MIT */
/* A model of which only the tensors are known:  names, shapes -> [blocks, linears, groups]. */
#ifndef QP_TENSOR_SURVEY_H
#define QP_TENSOR_SURVEY_H

#include "gen/model/model.h"
#include "gen/model/source_tensor.h"
#include "runtime/status.h"

/*
** Blocks are the tensors of the name before a number that hold most weights ("model.layers.N.");
** linears every matrix in them, and every stack [E, out, in], that is no norm, embedding, router or
** convolution by its name; groups by the usual names (q, k and v; up and gate).  The embedding is
** the largest matrix outside that is called so, the lm_head another one of its shape.  What else
** there is, is passed through.  'out' has name and type.
** QP_E_ARG: there are no such blocks, no embedding, or too many linears; 'file' begins messages.
*/
qp_status qp_tensor_survey(const qp_source_tensor *tensor, size_t count, const char *file,
                           qp_model *out, qp_error *err);

#endif
