/* SPDX-License-Identifier: MIT */
/*
** The PTX simulator's own interface, beside runtime/device.h: what it counted, and its switches.
** Every 'dev' here must be one that qp_sim_open made; other devices give QP_E_ARG.
*/
#ifndef QP_SIM_H
#define QP_SIM_H

#include "runtime/device.h"
#include "runtime/sim/counters.h"

/* Name of a kind ("integer ALU"). */
const char *qp_sim_kind_name(qp_sim_kind kind);

/* Copy the sums to '*out'.  QP_E_ARG means that the device is no simulator. */
qp_status qp_sim_counters_get(qp_device *dev, qp_sim_counters *out, qp_error *err);
/* Set all sums to zero.  QP_E_ARG means that the device is no simulator. */
qp_status qp_sim_counters_reset(qp_device *dev, qp_error *err);

/* Read or set the switches; they hold from the next launch on.  QP_E_ARG: not a simulator, or a
   thread_limit of 0. */
qp_status qp_sim_switches_get(qp_device *dev, qp_sim_switches *out, qp_error *err);
qp_status qp_sim_switches_set(qp_device *dev, const qp_sim_switches *in, qp_error *err);

#endif
