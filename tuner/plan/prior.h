/* SPDX-License-Identifier: MIT */
/* Guesses the sensitivities of a model of which nothing was measured:  tuned/, lua/sensitivity/ ->
   [alpha]. */
#ifndef QP_PRIOR_H
#define QP_PRIOR_H

#include "tuner/plan/input.h"

enum { QP_PRIOR_NOTE = 256 };

/*
** Set in->alpha where the user gives none:
**   the sensitivities that come with qpal, tuned/NAME-sensitivity.json, where the model's name
**     begins with NAME (upper or lower case) and it has these blocks and linears;
**   else a guess by role and depth: lua/sensitivity/prior.json, which says how it was fitted:
**     alpha = weights / all weights * role's factor * depth's factor,
**     depth's between the points of a list, from the first block to the last.
** Where '*feedback' is true (quantize will have Hessians) tuned/NAME-feedback.json comes first,
** alpha of linears coded with error feedback: '*feedback' is left true then, else made false.
** A role that the prior does not know has the factor 1.  '*head': the lm_head has one too.  'note'
** gets a sentence on what was taken and what would be better.
** QP_E_ARG: one of these files is wrong; QP_E_IO, QP_E_NOMEM.
*/
qp_status qp_prior_apply(qp_plan_input *in, bool *head, bool *feedback, char note[QP_PRIOR_NOTE],
                         qp_error *err);

#endif
