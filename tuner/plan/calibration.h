/* SPDX-License-Identifier: MIT */
/* Reads a folder that qpal calibrate wrote:  DIR -> [sensitivities, Hessians]. */
#ifndef QP_CALIBRATION_H
#define QP_CALIBRATION_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

enum { QP_CALIBRATION_VERSION = 1, QP_CALIBRATION_PATH = 4096 };

/* A calibration, whose format is described in tuner/calibrate/CALIBRATION.md. */
typedef struct qp_calibration {
  cJSON *tree;                           /* tree of calibration.json */
  char key[64];                          /* stands for model, text and options */
  char sensitivity[QP_CALIBRATION_PATH]; /* a file as --sensitivity takes it; "": not measured */
  char hessian[QP_CALIBRATION_PATH];     /* a folder as --hessian takes it; "": not measured */
} qp_calibration;

/*
** Open the folder.  QP_E_IO means that there is no calibration.json (the message says how one is
** made), QP_E_ARG that it is of another version or wrong, QP_E_LIMIT that a path is too long.
** '*out' is untouched on error; free it with qp_calibration_close.
*/
qp_status qp_calibration_open(const char *folder, qp_calibration *out, qp_error *err);
void qp_calibration_close(qp_calibration *c);

/* Was it measured on the files of which 'digest' is (qp_checkpoint_digest)?  True too where it does
   not say. */
bool qp_calibration_is_of(const qp_calibration *c, uint64_t digest);

/* Find a linear's sensitivity and its standard error by the name of its tensor ("lm_head" of the
   head); false: they were not measured. */
bool qp_calibration_find(const qp_calibration *c, const char *linear, double *alpha, double *error);

#endif
