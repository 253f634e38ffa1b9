/* SPDX-License-Identifier: MIT */
/*
** Opens devices by name: "cuda:0", "sim", "sim:sm_80", "sim:sm_90:8".  This is done here and not in
** runtime/, so that what engines link does not drag the simulator in.
*/
#include "runtime/device.h"

#include <stdlib.h>
#include <string.h>

/* A decimal number at '*s', at most 'most'; '*s' moves behind it. */
static bool number(const char **s, unsigned most, unsigned *out) {
  if (**s < '0' || **s > '9') return false;
  char *end;
  const unsigned long v = strtoul(*s, &end, 10);
  if (v > most) return false;
  *out = (unsigned)v;
  *s = end;
  return true;
}

static bool sim_name(const char *s, unsigned *arch, unsigned *sms) {
  *arch = 90;
  *sms = 4;
  if (!*s) return true;
  if (*s++ != ':') return false;
  if (!strncmp(s, "sm_", 3)) s += 3;
  if (!number(&s, 999, arch)) return false;
  if (!*s) return true;
  return *s++ == ':' && number(&s, 1024, sms) && !*s;
}

/* What runs without a GPU is named where there is none. */
static qp_status cuda(unsigned index, qp_device **out, qp_error *err) {
  const qp_status status = qp_cuda_open(index, out, err);
  if (status != QP_E_MISSING) return status;
  return qp_fail_prefix(err, status, "device 'cuda:%u' is not here, device 'sim' needs no GPU",
                        index);
}

qp_status qp_device_open(const char *name, qp_device **out, qp_error *err) {
  unsigned index, arch, sms;
  const char *s = name;
  if (!strncmp(name, "cuda:", 5)) {
    s += 5;
    if (number(&s, 1023, &index) && !*s) return cuda(index, out, err);
  } else if (!strcmp(name, "cuda")) {
    return cuda(0, out, err);
  } else if (!strncmp(name, "sim", 3) && sim_name(name + 3, &arch, &sms)) {
    return qp_sim_open(arch, sms, out, err);
  }
  return qp_fail(err, QP_E_ARG,
                 "device '%s': \"cuda:N\" or \"sim[:sm_90[:SMS]]\" (1 to 1024 SMs) is right", name);
}
