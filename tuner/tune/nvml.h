/* SPDX-License-Identifier: MIT */
/* Reads clocks and throttle reasons of a GPU from NVML, by dlopen; everything works without it. */
#ifndef QP_NVML_H
#define QP_NVML_H

#include <stddef.h>

#include "tuner/tune/meter.h"

typedef struct qp_nvml qp_nvml;

/* Find the GPU at a PCI bus address ("0000:3b:00.0").  NULL means that there is no NVML ($QPAL_NVML
   names another), or that it does not know the GPU. */
qp_nvml *qp_nvml_open(const char *bus);
void qp_nvml_close(qp_nvml *n);

/* Give the driver's version, "580.159"; it is "" where 'n' is NULL. */
void qp_nvml_driver(const qp_nvml *n, char *out, size_t size);
/* Now; zeroed where 'n' is NULL.  An idle GPU is no reason to throttle. */
void qp_nvml_state(const qp_nvml *n, qp_meter_state *out);

#endif
