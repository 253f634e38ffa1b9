/* SPDX-License-Identifier: MIT */
/* Finds where the quantizers of a plan come from: the palette, or spec files beside the plan. */
#ifndef QP_PLAN_SPEC_H
#define QP_PLAN_SPEC_H

#include <stddef.h>

#include "runtime/status.h"

/*
** A plan may travel, so a spec in it is a name of the palette, or "PATH.lua:NAME" with a path from
** the plan's own folder down: neither absolute nor with "..".
*/

/* QP_E_ARG: the spec names another file; the message begins with 'where'. */
qp_status qp_plan_spec_check(const char *spec, const char *where, qp_error *err);

/*
** Write a spec as the command line takes it to out[size], for a plan that was read from 'file' ("":
** a text; then paths start at the working directory).  QP_E_LIMIT: it is too long.
*/
qp_status qp_plan_spec_open(const char *file, const char *spec, char *out, size_t size,
                            qp_error *err);

/*
** Go the other way: write a spec of the command line to out[size] as a plan that is written to
** 'file' names it.  QP_E_ARG means that the spec's file is not in the plan's folder or below it, or
** cannot be found; QP_E_LIMIT.
*/
qp_status qp_plan_spec_name(const char *file, const char *spec, char *out, size_t size,
                            qp_error *err);

#endif
