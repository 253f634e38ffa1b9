/* SPDX-License-Identifier: MIT */
/* What NVRTC says of itself, in the cache directory; see description_kept.h. */
#include "gen/compile/description_kept.h"

#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/cache_dir.h"
#include "gen/base/file.h"
#include "gen/base/text.h"

enum { MOST_BYTES = 1024, PATH_BYTES = PATH_MAX + 32 };

typedef struct opened {
  qp_text key;
  bool builtins, lost;
} opened;

/* Add a library to the key, if it is of NVRTC. */
static int add_library(struct dl_phdr_info *info, size_t size, void *to) {
  opened *o = to;
  const char *slash = strrchr(info->dlpi_name, '/');
  struct stat st;
  (void)size;
  if (!slash || !strstr(slash, "nvrtc")) return 0;
  if (stat(info->dlpi_name, &st)) return o->lost = true, 0;
  if (strstr(slash, "builtins")) o->builtins = true;
  qp_text_add(&o->key, "%s %llu %llu %lld %lld.%09ld\n", info->dlpi_name,
              (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long long)st.st_size,
              (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  return 0;
}

/* The key of this process's NVRTC, and the file that it has; false where there is none. */
static bool find_file(qp_text *key, char *path, size_t size) {
  char dir[PATH_MAX];
  opened o = {0};
  if (!qp_cache_dir(dir, sizeof dir) || !*dir) return false;
  dl_iterate_phdr(add_library, &o);
  const bool known = o.builtins && !o.lost && !o.key.failed;
  const unsigned long long hash = known ? XXH3_64bits(o.key.s, o.key.length) : 0;
  const int n = snprintf(path, size, "%s/nvrtc/%016llx", dir, hash);
  if (known && n > 0 && (size_t)n < size) return *key = o.key, true;
  qp_text_free(&o.key);
  return false;
}

/* Print what the file holds: the text, and a hash of key and text. */
static bool print_entry(const qp_text *key, const char *text, char out[MOST_BYTES]) {
  qp_text both = {0};
  qp_text_add(&both, "%s%s", key->s, text);
  const unsigned long long hash = both.failed ? 0 : XXH3_64bits(both.s, both.length);
  const int n = both.failed ? -1 : snprintf(out, MOST_BYTES, "%s\n%016llx\n", text, hash);
  qp_text_free(&both);
  return n > 0 && n < MOST_BYTES;
}

bool qp_description_is_kept(char *text, size_t size) {
  char path[PATH_BYTES], want[MOST_BYTES], *entry = NULL;
  size_t bytes = 0;
  qp_text key = {0};
  bool ok = find_file(&key, path, sizeof path) &&
            !qp_file_read(path, MOST_BYTES - 1, &entry, &bytes, NULL);
  char *end = ok ? memchr(entry, '\n', bytes) : NULL;
  if (end) *end = 0;
  ok = end && print_entry(&key, entry, want) && strlen(want) == bytes;
  if (ok) *end = '\n';
  ok = ok && !memcmp(want, entry, bytes) && (size_t)(end - entry) < size;
  if (ok) snprintf(text, size, "%.*s", (int)(end - entry), entry);
  free(entry);
  qp_text_free(&key);
  return ok;
}

void qp_description_keep(const char *text) {
  char path[PATH_BYTES], entry[MOST_BYTES];
  qp_text key = {0};
  if (find_file(&key, path, sizeof path) && print_entry(&key, text, entry))
    (void)qp_file_write_unsafely(path, entry, strlen(entry), NULL);
  qp_text_free(&key);
}
