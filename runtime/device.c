/* SPDX-License-Identifier: MIT */
/* What all devices have in common. */
#include "device.h"

void qp_device_close(qp_device *dev) {
  if (dev) dev->ops->close(dev);
}
