/* SPDX-License-Identifier: MIT */
/* Makes one page about a planned model:  plan, figures, drawings -> HTML that needs no network. */
#ifndef QP_REPORT_PAGE_H
#define QP_REPORT_PAGE_H

#include <cjson/cJSON.h>

#include "gen/base/text.h"
#include "tuner/plan/plan_file.h"

/* What there is to show; NULL where there is none, and the page says how to get it. */
typedef struct qp_page_parts {
  const qp_plan *plan;
  const cJSON *quantized;    /* quantize-report.json */
  const char *front, *tuned; /* Drawings as SVG: Pareto fronts, and measured latencies. */
  const char *untuned;       /* why there are none; "" or NULL: nobody asked for a GPU's */
  const char *made_by;       /* "qpal 0.1.0" */
} qp_page_parts;

/*
** The page as HTML: light or dark as the reader's system is, drawings that scroll where they are
** wider than the window; every mark with a tooltip can be reached by keyboard (Tab to a drawing,
** then the arrow keys).  't->failed' where memory is exhausted.
*/
void qp_page_write(const qp_page_parts *parts, qp_text *t);

#endif
