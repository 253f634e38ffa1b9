/* SPDX-License-Identifier: MIT */
/* Calibrates a model:  forward pass, tokens --> [DIR: Hessians, sensitivities]. */
#ifndef QP_CALIBRATE_H
#define QP_CALIBRATE_H

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tuner/calibrate/key.h"

/*
** Write options->folder in the form of CALIBRATION.md.  What an earlier run of the same model,
** tokens and options left there is not done again, and the files are the same bytes as without a
** stop.  Where all is there nothing is done.
** QP_E_ARG: the folder holds another calibration; QP_E_LIMIT: stopped; errors of the forward pass;
** QP_E_IO, QP_E_NOMEM.  Files are written whole or not at all.
*/
qp_status qp_calibrate(qp_forward *f, const qp_tokens *tokens, const qp_calibrate_options *o,
                       qp_error *err);

#endif
