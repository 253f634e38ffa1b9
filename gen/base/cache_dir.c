/* SPDX-License-Identifier: MIT */
/* Where results that are costly to find again are kept between runs. */
#include "gen/base/cache_dir.h"

#include <stdio.h>
#include <stdlib.h>

static bool join(char *out, size_t size, const char *directory, const char *below) {
  const int n = snprintf(out, size, "%s%s", directory, below);
  if (n > 0 && (size_t)n < size) return true;
  *out = 0; /* a path that does not fit is no cache */
  return false;
}

bool qp_cache_dir(char *out, size_t size) {
  const char *own = getenv("QPAL_CACHE");
  const char *xdg = getenv("XDG_CACHE_HOME");
  const char *home = getenv("HOME");
  *out = 0;
  if (own) return join(out, size, own, "");
  if (xdg && *xdg == '/') return join(out, size, xdg, "/qpal");
  if (home && *home) return join(out, size, home, "/.cache/qpal");
  return false;
}
