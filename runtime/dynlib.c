/* SPDX-License-Identifier: MIT */
/* Shared libraries opened at run time. */
#include "dynlib.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qp_status qp_dynlib_open(const char *what, const char *override, const char *const *names,
                         const char *advice, void **handle, qp_error *err) {
  const char *chosen = getenv(override);
  const char *const only[] = {chosen, NULL};
  char tried[2048] = "";
  size_t n = 0;
  for (const char *const *name = chosen && *chosen ? only : names; *name; name++) {
    void *h = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (h) return *handle = h, QP_OK;
    const char *why = dlerror();
    int more =
        snprintf(tried + n, sizeof tried - n, "\n  %s: %s", *name, why ? why : "no reason given");
    if (more > 0 && n + (size_t)more < sizeof tried) n += (size_t)more;
  }
  return qp_fail(err, QP_E_MISSING, "%s cannot be opened; %s (or set %s to its path). Tried:%s",
                 what, advice, override, tried);
}

qp_status qp_dynlib_symbol(void *handle, const char *what, const char *symbol, void *function,
                           qp_error *err) {
  void *address = dlsym(handle, symbol);
  if (!address) return qp_fail(err, QP_E_MISSING, "%s has no '%s': it is too old", what, symbol);
  memcpy(function, &address,
         sizeof address); /* ISO C has no cast from object to function pointer */
  return QP_OK;
}
