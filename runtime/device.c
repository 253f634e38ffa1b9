/* SPDX-License-Identifier: MIT */
/* What all devices have in common. */
#include "runtime/device.h"

#include <stdio.h>

void qp_device_close(qp_device *dev) {
  if (dev) dev->ops->close(dev);
}

const char *qp_device_remark(const qp_device_info *info, char *to, size_t size) {
  *to = 0;
  if (info->arch != info->capability)
    snprintf(to, size,
             "%s: sm_%u is not in the table of architectures (runtime/arch.c); kernels are PTX for "
             "sm_%u, the nearest "
             "lower one, which the driver compiles",
             info->name, info->capability, info->arch);
  return to;
}
