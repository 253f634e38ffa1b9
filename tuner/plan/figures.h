/* SPDX-License-Identifier: MIT */
/* Sensitivities, distortions and sizes from files -> [plan input]. */
#ifndef QP_FIGURES_H
#define QP_FIGURES_H

#include <cjson/cJSON.h>

#include "tuner/plan/input.h"

/*
** Sensitivities alpha >= 0 of every linear, in one of two forms:
**   {"alpha": [{"self_attn.q_proj": A, ...}, ... a block each], "lm_head": A}   names in a block
**   {"model.layers.0.self_attn.q_proj": A, ..., "lm_head": A}                   names of tensors
** Names may end in ".weight"; "model", "source", "note" and "feedback" are allowed beside them.
** The lm_head may be missing ("lm_head" or its tensor's name): then '*head' is false.  '*fed': the
** field "feedback" is true, so alpha is of linears that are coded with error feedback.
** QP_E_ARG: a linear is missing (all that are, are listed), a name is none of the model's linears,
** a number is negative or no number, "model" names another one, "feedback" is no truth value.  'in'
** is untouched on error.
*/
qp_status qp_figures_sensitivity(const char *file, const cJSON *tree, qp_plan_input *in, bool *head,
                                 bool *fed, qp_error *err);

/*
** Distortions D in [0, 10], in any of these forms, where D may also be {"distortion": D, ...}:
**   [{"quantizer": "tcq-3", "distortion": D}, ...]         what qpal distortion --json prints
**   {"quantizers": {"tcq-3": D, ...}}  or  {"tcq-3": D}    on N(0,1), for the menu
**   {"linears": {"model.layers.0.self_attn.q_proj": {"tcq-3": D}}}
**                      of one linear: the report of qpal quantize; "quantizers" may stand beside it
** Quantizers that are not in the menu are skipped, and so is what stands beside "linears".
*/
/* Read figures for the menu, which must be done before qp_plan_input_init. */
qp_status qp_figures_distortion(const char *file, const cJSON *tree, qp_menu *menu, qp_error *err);
/* Read figures of linears, which must be done after it.  QP_E_ARG means that a name is none of the
   model's linears. */
qp_status qp_figures_linear_distortion(const char *file, const cJSON *tree, qp_plan_input *in,
                                       qp_error *err);

/*
** Stored bytes in the form  {"linears": {"self_attn.q_proj": {"bytes": {"tcq-3": N}}}}  instead of
** what this project stores.  Linears and quantizers that are not named cannot be chosen.
*/
qp_status qp_figures_sizes(const char *file, const cJSON *tree, qp_plan_input *in, qp_error *err);

#endif
