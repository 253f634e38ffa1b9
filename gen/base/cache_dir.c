/* SPDX-License-Identifier: MIT */
/* Where results that are costly to find again are kept between runs. */
#include "gen/base/cache_dir.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "gen/base/file.h"

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

/* ---- What could not be kept ---- */

typedef struct loss {
  atomic_int found; /* 1: the reason is being written; 2: it is */
  char why[512];
} loss;
static loss own_loss, *first_loss = &own_loss;

void qp_cache_watch(void) {
  void *shared =
      mmap(NULL, sizeof(loss), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared != MAP_FAILED) first_loss = shared;
}

static void remember(const char *why) {
  int none = 0;
  if (!atomic_compare_exchange_strong(&first_loss->found, &none, 1)) return;
  snprintf(first_loss->why, sizeof first_loss->why, "%.500s", why);
  atomic_store(&first_loss->found, 2);
}

bool qp_cache_keep(const char *path, const void *data, size_t bytes) {
  qp_error err = {.text = ""};
  const char *own = getenv("QPAL_CACHE");
  const bool kept = *path && !qp_file_write_unsafely(path, data, bytes, &err);
  if (kept || (own && !*own)) return kept;
  remember(*path ? err.text
                 : "$QPAL_CACHE, $XDG_CACHE_HOME and $HOME name no folder for the cache");
  return false;
}

bool qp_cache_lost(char *out, size_t size) {
  if (atomic_load(&first_loss->found) != 2) return false;
  snprintf(out, size,
           "%s; every command compiles and searches again what it could have kept: set QPAL_CACHE "
           "to a folder that can be written (or to nothing: QPAL_CACHE= is no cache)",
           first_loss->why);
  return true;
}
