/* SPDX-License-Identifier: MIT */
/* The definitions that packed weights rely on: lua/quantizers/definitions.txt, a name and a hash a
 * line. */
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

#endif
