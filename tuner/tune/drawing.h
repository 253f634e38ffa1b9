/* SPDX-License-Identifier: MIT */
/* Draws measured latencies:  records -> SVG of latency against rate, with the floor. */
#ifndef QP_TUNE_DRAWING_H
#define QP_TUNE_DRAWING_H

#include "gen/base/text.h"
#include "gen/spec/quantizer.h"
#include "tuner/tune/records.h"

/*
** One plot for each shape and batch size (the first 24 that the records name): of every quantizer
** its fastest kernel, microseconds against stored bits a weight, one colour a family, and the line
** of what reading the weights takes at 'read_gbs' (1e9 bytes a second; 0: no line).  Quantizers
** that the palette does not know are left out.
*/
void qp_tune_svg(const qp_records *records, qp_palette *palette, double read_gbs, qp_text *out);

#endif
