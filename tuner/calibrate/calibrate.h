/* SPDX-License-Identifier: MIT */
/* Calibrates a model:  forward pass, tokens --> [DIR: Hessians, sensitivities]. */
#ifndef QP_CALIBRATE_H
#define QP_CALIBRATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tuner/calibrate/sensitivity.h"

typedef struct qp_calibrate_options {
  const char *folder; /* of the output */
  const char *text;   /* what the tokens came from: kept in calibration.json */
  bool hessians;
  bool half; /* the forward pass's products take fp16: results are not those of another run */
  size_t sensitivity_tokens; /* Sensitivities are measured on the first so many, in whole sequences;
                                0: there is no measurement. */
  qp_sensitivity_options sensitivity;
  uint64_t logit_bytes;        /* as qp_probe_open takes it */
  const _Atomic bool *stopped; /* set by a signal: the run ends before the next linear or block */
} qp_calibrate_options;

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
