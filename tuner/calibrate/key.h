/* SPDX-License-Identifier: MIT */
/* What a calibration is of: the model's weights, the text's tokens, the options that decide about
   its numbers. */
#ifndef QP_CALIBRATION_KEY_H
#define QP_CALIBRATION_KEY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "tuner/calibrate/sensitivity.h"
#include "tuner/plan/calibration.h"

enum { QP_CALIBRATION_KEY = 33 }; /* bytes of a key: 32 hexadecimal digits and the end */

typedef struct qp_calibrate_options {
  const char *folder; /* the folder to write to */
  const char *text;   /* what the tokens came from: kept in calibration.json */
  bool hessians;
  bool half; /* the forward pass's products take fp16: results are not those of another run */
  size_t sensitivity_tokens; /* tokens that sensitivities are measured on, the first ones in whole
                                sequences; 0: none are measured */
  qp_sensitivity_options sensitivity;
  uint64_t logit_bytes;        /* as qp_probe_open takes it */
  const _Atomic bool *stopped; /* set by a signal: the run ends before the next linear or block */
} qp_calibrate_options;

/* All of it is the caller's.  'probe_tokens' of the tokens are for sensitivities. */
typedef struct qp_calibration_subject {
  qp_forward *f;
  const qp_tokens *tokens;
  const qp_calibrate_options *o;
  size_t probe_tokens;
} qp_calibration_subject;

/* Calibrations of the same key are the same to the last byte. */
void qp_calibration_key(const qp_calibration_subject *s, char out[QP_CALIBRATION_KEY]);

/* A digest of the tokens and where their sequences end, which calibration.json keeps. */
uint64_t qp_calibration_ids(const qp_tokens *tokens);

/*
** Is the calibration 'c', which was read from 'folder', the one of 's'?  So is one of a qpal of
** before its key knew all weights: '*earlier', of the first and the last linear alone.
** QP_E_ARG: it is another one; the message names the folder, what differs and what to do.
** QP_E_NOMEM; errors of the forward pass's weights.
*/
qp_status qp_calibration_compare(const qp_calibration *c, const char *folder,
                                 const qp_calibration_subject *s, bool *earlier, qp_error *err);

#endif
