/* SPDX-License-Identifier: MIT */
/*
** Finds the linears that cannot be planned:  model, menu -> [the model without them], and why.
** They stay in 16 bits because no quantizer of the menu can hold their shape: kernels take rows in
** multiples of 16 and columns in multiples of 32.
*/
#ifndef QP_KEPT_H
#define QP_KEPT_H

#include "tuner/plan/input.h"

enum { QP_KEPT_NOTE = 256 };

/*
** '*out' is the model with the linears of its blocks that can be planned; the bytes of the others
** are among its other_bytes.  'note' says which those are and why, "" where all can be planned.
** 'timed': there is a latency table, which has no kernels for such shapes in fp16 either.
** QP_E_ARG: none is left.
*/
qp_status qp_kept_drop(const qp_model *m, const qp_menu *menu, bool timed, qp_model *out,
                       char note[QP_KEPT_NOTE], qp_error *err);

/* Why the lm_head cannot be planned, written to 'note'; false: it can be. */
bool qp_kept_head(const qp_model *m, const qp_menu *menu, bool timed, char note[QP_KEPT_NOTE]);

#endif
