/* SPDX-License-Identifier: MIT */
/* Draws what a report shows of one model beside the plan's own drawings:  plan, figures -> SVG. */
#ifndef QP_REPORT_DRAWINGS_H
#define QP_REPORT_DRAWINGS_H

#include <cjson/cJSON.h>

#include "gen/base/text.h"
#include "tuner/plan/plan_file.h"

/*
** Draw the distortion of every planned linear, relative to its weights' variance, on a logarithmic
** axis against its block, a colour a role.  'report' (or NULL) is a quantize-report.json: where it
** has a linear, what was measured stands for what was planned.
*/
void qp_draw_distortions(const qp_plan *p, const cJSON *report, qp_text *to);

/* Draw the stored bytes by part of the model, with a bar each: roles of the linears, lm_head,
   embedding, the rest. */
void qp_draw_sizes(const qp_plan *p, qp_text *to);

#endif
