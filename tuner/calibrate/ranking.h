/* SPDX-License-Identifier: MIT */
/* Shows which linears of a model matter:  sensitivities --> [table by role, by block, the first].
   */
#ifndef QP_RANKING_H
#define QP_RANKING_H

#include "gen/model/model.h"
#include "tuner/plan/calibration.h"

/*
** Print to stdout what a calibration found: where the loss would lie if all linears had the same
** distortion.  With 'json' one object a linear, in the order of the model.  QP_E_ARG: a linear has
** no sensitivity; QP_E_NOMEM.
*/
qp_status qp_ranking_print(const qp_calibration *c, const qp_model *m, bool json, qp_error *err);

#endif
