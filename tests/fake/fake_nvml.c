/* SPDX-License-Identifier: MIT */
/*
** A libnvidia-ml for tests, in one library with the fake driver.  FAKE_NVML_REASONS are the bits of
** its throttle reasons; FAKE_NVML_FAIL names a call that fails.  Built with
** FAKE_NVML_OLD it has neither the driver's version nor the reasons.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int opened;

static int outcome(const char *call) {
  const char *fails = getenv("FAKE_NVML_FAIL");
  return fails && !strcmp(fails, call) ? 999 : 0;
}

int nvmlInit_v2(void) { return opened++, outcome("nvmlInit_v2"); }
int nvmlShutdown(void) { return opened--, 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
  *device = &opened;
  return strcmp(bus, "0000:3b:00.0") ? 6 : outcome("nvmlDeviceGetHandleByPciBusId_v2");
}
#ifndef FAKE_NVML_OLD
int nvmlSystemGetDriverVersion(char *s, unsigned n) {
  return snprintf(s, n, "580.159"), outcome("nvmlSystemGetDriverVersion");
}
#endif
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz) {
  *mhz = device == &opened && type == 1 ? 1980 : 0;
  return outcome("nvmlDeviceGetClockInfo");
}
#ifndef FAKE_NVML_OLD
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits) {
  const char *reasons = getenv("FAKE_NVML_REASONS");
  *bits = device == &opened && reasons ? strtoull(reasons, NULL, 0) : 0;
  return outcome("nvmlDeviceGetCurrentClocksThrottleReasons");
}
#endif
