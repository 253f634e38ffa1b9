/* SPDX-License-Identifier: MIT */
/*
** What all drawings share:  numbers -> SVG with a title that fits, axes with round ticks and
** grid lines, marks, legends.  Colours and fonts are classes of one style sheet, which
** follows the reader's light or dark scheme.  Lengths are SVG user units (pixels at a scale
** of 1); y grows downwards.
*/
#ifndef QP_CHART_H
#define QP_CHART_H

#include <stdbool.h>

#include "gen/base/text.h"

enum { QP_CHART_SERIES = 10, QP_CHART_TICKS = 16, QP_CHART_FONT = 12, QP_CHART_LINE = 18 };

typedef enum qp_chart_shape {
  QP_CHART_SQUARE,
  QP_CHART_CIRCLE,
  QP_CHART_DIAMOND,
  QP_CHART_TRIANGLE,
  QP_CHART_CROSS,
  QP_CHART_SHAPES
} qp_chart_shape;

typedef struct qp_chart_axis {
  double lo, hi;     /* range of values */
  bool logarithmic;  /* lo must be positive then */
  const char *title; /* with the unit, as in "latency (us)" */
} qp_chart_axis;

/* A plot is the rectangle between its axes, on the page. */
typedef struct qp_chart_plot {
  double x, y, width, height;
  const char *title; /* NULL: none */
  qp_chart_axis across, up;
} qp_chart_plot;

typedef struct qp_chart_entry {
  const char *text;
  const char *kind; /* class and shape as in qp_chart_mark; "line" is a dashed line */
  qp_chart_shape shape;
  unsigned rgb; /* where 'kind' is NULL */
} qp_chart_entry;

/*
** Begin a drawing of this width; 'height' counts from below the title.  The title is broken into
** lines that fit.  Returns where the drawing's own content may begin (y).  End with qp_chart_close.
*/
double qp_chart_open(qp_text *to, double width, double height, const char *title);
void qp_chart_close(qp_text *to);

/* Text with the characters that XML keeps for itself replaced. */
void qp_chart_xml(qp_text *to, const char *text);
/* Estimate the width of a line of text in the drawing's font, with a little to spare. */
double qp_chart_text_width(const char *text);
/* 'anchor': "start", "middle" or "end". */
void qp_chart_text(qp_text *to, double x, double y, const char *anchor, const char *text);

/*
** Find round values within [lo, hi]: multiples of 1, 2 or 5 times a power of ten, at most 'most' of
** them; on a logarithmic axis 1, 2, 5 of each decade, or the decades alone.  Returns their number.
*/
unsigned qp_chart_ticks(const qp_chart_axis *axis, unsigned most, double out[QP_CHART_TICKS]);

/* Draw axes with ticks, grid lines and titles; from then on values have places. */
void qp_chart_axes(qp_text *to, const qp_chart_plot *p);
double qp_chart_x(const qp_chart_plot *p, double value);
double qp_chart_y(const qp_chart_plot *p, double value);

/*
** Draw a mark with a tooltip, in the class "s0".."s9" of its series, or in 'rgb' where 'kind' is
** NULL.
*/
void qp_chart_mark(qp_text *to, const char *kind, qp_chart_shape shape, unsigned rgb, double x,
                   double y, double radius, const char *tooltip);
/* Write words beside a point of a falling line: right of it above the line, or left of it below the
   line where the plot ends.  Where they meet another line they can still be read. */
void qp_chart_label(qp_text *to, const qp_chart_plot *p, double x, double y, const char *text);

/* Draw a legend in rows within 'width', its first row at y; returns the y of the row below it. */
double qp_chart_legend(qp_text *to, double x, double y, double width, const qp_chart_entry *entry,
                       unsigned count);

#endif
