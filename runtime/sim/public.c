/* SPDX-License-Identifier: MIT */
/* Opens the simulator as a device of the public interface. */
#include "runtime/include/qpal_sim.h"

#include "runtime/library_state.h"

qpal_status qpal_sim_open(unsigned arch, unsigned sm_count, qpal_device **out) {
  enum { SMS = 4 };
  qp_error err = {.text = ""};
  qp_device *dev = NULL;
  if (!out) return qp_refuse(QPAL_E_ARG, "out is NULL");
  if (qpal_message() != qp_own_message()) /* libqpal was found first */
    return qp_refuse(QPAL_E_MISMATCH, "this process holds libqpal beside libqpal_sim");
  const qp_status status = qp_sim_open(arch, sm_count ? sm_count : SMS, &dev, &err);
  return status ? qp_refuse_status(status, &err) : qp_device_wrap(dev, out);
}
