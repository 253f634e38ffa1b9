/* SPDX-License-Identifier: MIT */
/* NVML; see nvml.h. */
#include "tuner/tune/nvml.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/dynlib.h"

enum { CLOCK_SM = 1 };

typedef struct calls {
  int (*Init)(void);
  int (*Shutdown)(void);
  int (*ByBus)(const char *, void **);
  int (*Driver)(char *, unsigned);
  int (*Clock)(void *, int, unsigned *);
  int (*Reasons)(void *, unsigned long long *);
  int (*OldReasons)(void *, unsigned long long *);
} calls;

struct qp_nvml {
  calls call;
  void *device;
};

static const struct {
  unsigned bit;
  const char *name;
} reasons[] = {{0x2, "applications_clocks"}, {0x4, "sw_power_cap"},   {0x8, "hw_slowdown"},
               {0x10, "sync_boost"},         {0x20, "sw_thermal"},    {0x40, "hw_thermal"},
               {0x80, "hw_power_brake"},     {0x100, "display_clock"}};

/* Init, Shutdown and ByBus are needed; without another call only what it gives is not known. */
static qp_status load(calls *c, qp_error *err) {
  const struct {
    const char *symbol;
    void *function;
    bool needed;
  } symbols[] = {{"nvmlInit_v2", &c->Init, true},
                 {"nvmlShutdown", &c->Shutdown, true},
                 {"nvmlDeviceGetHandleByPciBusId_v2", &c->ByBus, true},
                 {"nvmlSystemGetDriverVersion", &c->Driver, false},
                 {"nvmlDeviceGetClockInfo", &c->Clock, false},
                 {"nvmlDeviceGetCurrentClocksEventReasons", &c->Reasons, false},
                 {"nvmlDeviceGetCurrentClocksThrottleReasons", &c->OldReasons, false}};
  void *handle;
  qp_status status = qp_dynlib_open(QP_DYNLIB_NVML, NULL, &handle, err);
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols && !status; i++)
    if (qp_dynlib_symbol(handle, "NVML", symbols[i].symbol, symbols[i].function, err) &&
        symbols[i].needed)
      status = QP_E_MISSING;
  if (!status && !c->Reasons) c->Reasons = c->OldReasons; /* as it was called before driver 535 */
  return status;
}

qp_nvml *qp_nvml_open(const char *bus) {
  qp_error ignored = {0};
  qp_nvml *n = calloc(1, sizeof *n);
  if (!n) return NULL;
  if (load(&n->call, &ignored) || n->call.Init()) return free(n), NULL;
  if (n->call.ByBus(bus, &n->device)) return qp_nvml_close(n), NULL;
  return n;
}

void qp_nvml_close(qp_nvml *n) {
  if (n) n->call.Shutdown();
  free(n);
}

void qp_nvml_driver(const qp_nvml *n, char *out, size_t size) {
  out[0] = 0;
  if (n && n->call.Driver && n->call.Driver(out, (unsigned)size)) out[0] = 0;
}

void qp_nvml_state(const qp_nvml *n, qp_meter_state *out) {
  unsigned long long bits = 0;
  *out = (qp_meter_state){0};
  if (!n) return;
  if (n->call.Clock && n->call.Clock(n->device, CLOCK_SM, &out->clock_mhz)) out->clock_mhz = 0;
  if (!n->call.Reasons || n->call.Reasons(n->device, &bits)) return;
  for (size_t i = 0, at = 0; i < sizeof reasons / sizeof *reasons; i++)
    if ((bits & reasons[i].bit) && at < sizeof out->throttle)
      at += (size_t)snprintf(out->throttle + at, sizeof out->throttle - at, "%s%s", at ? "," : "",
                             reasons[i].name);
}
