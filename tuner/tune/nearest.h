/* SPDX-License-Identifier: MIT */
/* Finds where a search begins:  records + problem -> the best choices of the nearest problems. */
#ifndef QP_NEAREST_H
#define QP_NEAREST_H

#include "tuner/base/session.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"

/*
** Find up to 'most' different choices, each the fastest measured one of a problem by the same
** family and architecture.  The nearest problem comes first: by quantizer (same definition, same
** rate, other), then by batch, then by weights, both as ratios.  Records whose family or tunables
** changed are passed over.
*/
unsigned qp_nearest_choices(const qp_records *records, const qp_tune_problem *problem,
                            const qp_session *s, qp_choice *out, unsigned most);

#endif
