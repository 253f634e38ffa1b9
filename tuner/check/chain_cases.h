/* SPDX-License-Identifier: MIT */
/* The chains of launches that `qpal check --chains` runs. */
#ifndef QP_CHAIN_CASES_H
#define QP_CHAIN_CASES_H

#include "runtime/status.h"
#include "tuner/base/session.h"

typedef struct qp_chain_wishes {
  const char *device;                   /* as qp_device_open takes it */
  const qp_quantizer *const *quantizer; /* NULL: one of each kind */
  size_t quantizers;
  unsigned seed;
  bool json;
} qp_chain_wishes;

/*
** Run each quantizer's chain (chain.h) at batch 1 and 8 on every path, and the launch that adds
** after a fill, with a row for each on stdout.  '*failed' counts those that did not pass.  An
** architecture without dependent launches has no chains, which is said.  QP_E_MISSING means that
** there is no device or no NVRTC; QP_E_NOMEM.
*/
qp_status qp_chain_cases_run(const qp_session *s, const qp_chain_wishes *w, size_t *failed,
                             qp_error *err);

#endif
