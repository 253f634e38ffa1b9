/* SPDX-License-Identifier: MIT */
/* A GPU as a meter; see meter.h. */
#include <stdio.h>

#include "tuner/tune/meter.h"

qp_status qp_meter_open_cuda(unsigned index, bool events, qp_meter **out, qp_error *err) {
  char name[32];
  qp_device *dev = NULL;
  (void)events, (void)out;
  snprintf(name, sizeof name, "cuda:%u", index);
  const qp_status st = qp_device_open(name, &dev, err);
  if (st) return st;
  qp_fail(err, QP_E_MISSING, "%s (%s): this build has no timer for GPUs", name, dev->info.name);
  qp_device_close(dev);
  return QP_E_MISSING;
}
