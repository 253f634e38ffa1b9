/* SPDX-License-Identifier: MIT */
/* A stranger's test on a machine without a GPU: opens the installed simulator.  Exit code 1: it was
** refused, with the status's name. */
#include <qpal_sim.h>
#include <stdio.h>

int main(void) {
  qpal_device *device = NULL;
  const qpal_status status = qpal_sim_open(90, 4, &device);
  if (status) return puts(qpal_status_name(status)), 1;
  qpal_device_close(device);
  return printf("qpal %s\n", qpal_version()), 0;
}
