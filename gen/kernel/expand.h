/* SPDX-License-Identifier: MIT */
/* The template expander puts values into the holes of templates/x.cu.in and gives CUDA source with
   #line. */
#ifndef QP_EXPAND_H
#define QP_EXPAND_H

#include <stddef.h>

#include "runtime/status.h"

typedef struct qp_hole {
  const char *name, *value;
} qp_hole;

/*
** A hole is @{name}; @{include:templates/y.cuh.in}, alone in its line, brings in another template.
** A hole alone in its line takes text of any number of lines, which compilers are told to call
** "<name>"; what follows is again numbered as in the template, so that an error points at the
** template's line.
** '*text' is malloc'ed.  QP_E_ARG: an unknown hole, an open one, an include that goes round; with
** file and line.
*/
qp_status qp_expand(const char *template_file, const qp_hole *holes, size_t n, char **text,
                    qp_error *err);

#endif
