/* SPDX-License-Identifier: MIT */
/*
** The definitions that packed weights rely on: lua/quantizers/definitions.txt, a name, its hash and
** its file a line, in the order in which quantizers came: a new one's line is the last.
*/
#ifndef QP_PINS_H
#define QP_PINS_H

#include "gen/spec/quantizer.h"
#include "runtime/status.h"

/*
** Compare a quantizer of lua/quantizers with its pinned hash.  QP_E_WRONG: it differs, or has none;
** the message says how to pin a change that is meant.  QP_OK for a user's own file, which nothing
** is pinned for.
*/
qp_status qp_pins_check(const qp_quantizer *q, qp_error *err);

/*
** Sort quantizers by their lines in the file, those without one behind them in the order they are
** in.  So a quantizer that is added, in whatever file, changes the place of no other.  QP_E_IO: the
** file is not there; QP_E_NOMEM.  The list is as it was on error.
*/
qp_status qp_pins_sort(const qp_quantizer **list, size_t count, qp_error *err);

#endif
