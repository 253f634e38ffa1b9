/* SPDX-License-Identifier: MIT */
/* Shows plans:  plan -> [totals, heat map in the terminal, SVG, differences]. */
#ifndef QP_REPORT_H
#define QP_REPORT_H

#include <stdio.h>

#include "gen/base/text.h"
#include "tuner/plan/plan_file.h"

/* Print totals, limits, memory by part and notes, a line for each. */
void qp_report_totals(const qp_plan *p, FILE *to);

/*
** Blocks across, linears down.  A cell is a letter for the quantizer's family (the first of its
** name) and its stored bits; '+' joins it to the next linear of its launch.  With 'colour' the cell
** is narrower and its background says the bits (256-colour terminal).
*/
void qp_report_map(const qp_plan *p, bool colour, FILE *to);

/* Draw the heat map as SVG, where colour stands for bits, shape for the family, and a line joins
   fused cells. */
void qp_report_svg(const qp_plan *p, qp_text *to);

/* Print every linear and launch in which two plans differ, and what it costs; as JSON rows if asked
   for. QP_E_ARG means that the plans are of different models. */
qp_status qp_report_diff(const qp_plan *a, const qp_plan *b, bool json, qp_error *err);

/* Give a colour for stored bits per weight, 0xRRGGBB: blue at 1.5 and less, yellow at 6 and more.
   */
unsigned qp_report_colour(double bits);

/* The entry of a packed embedding that is no lm_head, which is the last, or NULL: there is none. */
const qp_plan_linear *qp_report_embedding(const qp_plan *p);

/* Find the lm_head's entry; NULL means that the model has none. */
const qp_plan_linear *qp_report_head(const qp_plan *p);
/* Rows of the heat map, a role each: a linear that has it; 0: a block has two of one role, or there
   are too many. */
enum { QP_REPORT_ROWS = 64 };
unsigned qp_report_rows(const qp_plan *p, unsigned out[QP_REPORT_ROWS]);
/* Find the plan's linear in a row and block; -1 means that the block has none. */
int qp_report_cell(const qp_plan *p, const unsigned *rows, unsigned row, unsigned block);

#endif
