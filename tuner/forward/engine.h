/* SPDX-License-Identifier: MIT */
/*
** Forward passes on a device:  qp_forward + kernels --> the same hidden states and logits.
**
** A qp_engine is a device with its kernels; models are attached to it, each with its weights in
** fp16. Weights stay on the device while there is room for them and are sent again each time
** otherwise; packed ones are decoded by the CPU on their way.  Products take fp16 and add in fp32;
** norms, attention and what is added up between blocks are fp32.  On a GPU the products are
** cuBLAS'.
*/
#ifndef QP_ENGINE_H
#define QP_ENGINE_H

#include "gen/model/forward.h"

typedef struct qp_engine qp_engine;

/*
** Open a device by name (as qp_device_open) and make its kernels; before any qp_forward_open, since
** compilers are forked and a forward pass has threads.  'weight_bytes': of the device's memory that
** weights may take; 0: three quarters.
** QP_E_MISSING: no such device, or no NVRTC; QP_E_COMPILE, QP_E_DEVICE, QP_E_NOMEM.
*/
qp_status qp_engine_open(const char *device, uint64_t weight_bytes, qp_engine **out, qp_error *err);
/* What computes the products: "cuBLAS 13.1.0", or "a plain kernel" with why cuBLAS does not. */
const char *qp_engine_products(const qp_engine *e);
/* After the forward passes that it computes are closed; NULL is allowed. */
void qp_engine_close(qp_engine *e);

/*
** From now on qp_forward_block and qp_forward_head of 'f' run here.  QP_E_LIMIT: heads are longer
** than the kernels take.  They then fail with QP_E_ARG also where a weight is too large for fp16,
** and with QP_E_LIMIT where activations are.
*/
qp_status qp_engine_attach(qp_engine *e, qp_forward *f, qp_error *err);

#endif
