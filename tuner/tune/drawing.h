/* SPDX-License-Identifier: MIT */
/* Draws measured latencies:  records -> SVG of latency against rate, with the floor. */
#ifndef QP_TUNE_DRAWING_H
#define QP_TUNE_DRAWING_H

#include "gen/base/text.h"
#include "gen/spec/quantizer.h"
#include "tuner/tune/records.h"

/*
** Draw a plot for each shape and batch size (the first 24 that the records name): of every
** quantizer the fastest kernel of each path, microseconds against stored bits a weight, a colour a
** family and a shape a path, and the line of what reading the weights takes at 'read_gbs' (1e9
** bytes a second; 0: no line).  Points are named where no other has as many bits in less time.  One
** plot or two fill the page.  Quantizers that the palette does not know are left out.
*/
void qp_tune_svg(const qp_records *records, qp_palette *palette, double read_gbs, qp_text *out);

#endif
