/* SPDX-License-Identifier: MIT */
/* Keeps compiled kernels:  key of (source, options, NVRTC build) -> cubin + PTX on disk. */
#include "gen/compile/cubin_cache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/cache_dir.h"
#include "gen/base/file.h"
#include "gen/compile/nvrtc.h"

enum { FORMAT_VERSION = 1 };
static const char magic[8] = {'q', 'p', 'a', 'l', 'c', 'u', 'b', '\n'};
static const uint64_t most_bytes = (uint64_t)1 << 30;

/* Head of an entry, as it lies in the file (little-endian; another byte order is another magic). */
typedef struct entry_head {
  char magic[8];
  uint32_t version, head_bytes;
  qp_cubin_cache_key key;
  uint64_t cubin_bytes, ptx_bytes, log_bytes;
  uint32_t registers, smem_static_bytes, stack_bytes, spill_store_bytes, spill_load_bytes, barriers;
  qp_cubin_cache_key checksum; /* The checksum of the whole file with this field zero. */
} entry_head;
static_assert(sizeof(entry_head) == 96, "an entry's head has no padding");

struct qp_cubin_cache {
  char directory[PATH_MAX - 128];
  bool is_own; /* The directory was given; else it is the user's cache. */
};

qp_status qp_cubin_cache_open(const char *directory, qp_cubin_cache **out, qp_error *err) {
  qp_cubin_cache *cache = calloc(1, sizeof *cache);
  if (!cache) return qp_fail(err, QP_E_NOMEM, "out of memory for the compile cache");
  cache->is_own = directory != NULL;
  if (!directory) {
    qp_cache_dir(cache->directory, sizeof cache->directory);
  } else if (strlen(directory) < sizeof cache->directory) {
    memcpy(cache->directory, directory, strlen(directory) + 1);
  }
  *out = cache;
  return QP_OK;
}

void qp_cubin_cache_close(qp_cubin_cache *cache) { free(cache); }

const char *qp_cubin_cache_directory(const qp_cubin_cache *cache) { return cache->directory; }

/* Each part with its length, so that no two lists of parts run together to the same bytes. */
static void hash_text(XXH3_state_t *state, const char *text) {
  const uint64_t n = strlen(text);
  XXH3_128bits_update(state, &n, sizeof n);
  XXH3_128bits_update(state, text, n);
}

static qp_cubin_cache_key key_of_digest(XXH128_hash_t h) {
  return (qp_cubin_cache_key){.low = h.low64, .high = h.high64};
}

qp_cubin_cache_key qp_cubin_cache_key_of(const char *version, const qp_compile_job *job,
                                         bool cubin) {
  const qp_nvrtc_options options = qp_nvrtc_options_of(job->arch, cubin);
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  hash_text(&state, version);
  for (unsigned i = 0; i < options.count; i++) hash_text(&state, options.text[i]);
  hash_text(&state, job->name);
  hash_text(&state, job->source);
  return key_of_digest(XXH3_128bits_digest(&state));
}

bool qp_cubin_cache_path(const qp_cubin_cache *cache, const qp_cubin_cache_key *key, char *path,
                         size_t size) {
  if (!*cache->directory) return false;
  const int n = snprintf(path, size, "%s/cubin/%02x/%016" PRIx64 "%016" PRIx64, cache->directory,
                         (unsigned)(key->high >> 56), key->high, key->low);
  return n > 0 && (size_t)n < size;
}

static qp_cubin_cache_key checksum_of(const entry_head *head, const void *payload, size_t bytes) {
  entry_head blank = *head;
  blank.checksum = (qp_cubin_cache_key){0};
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, &blank, sizeof blank);
  XXH3_128bits_update(&state, payload, bytes);
  return key_of_digest(XXH3_128bits_digest(&state));
}

static bool same_key(const qp_cubin_cache_key *a, const qp_cubin_cache_key *b) {
  return a->low == b->low && a->high == b->high;
}

static bool read_all(int fd, char *out, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = read(fd, out, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out += n;
    bytes -= (size_t)n;
  }
  return true;
}

/* Read a whole file of ordinary size into memory; NULL: it is none.  O_NONBLOCK is there because a
   FIFO must not stop us. */
static char *read_file(const char *path, size_t *bytes) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return NULL;
  struct stat st;
  char *data = NULL;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(entry_head) &&
      (uint64_t)st.st_size <= most_bytes) {
    *bytes = (size_t)st.st_size;
    data = malloc(*bytes);
    if (data && !read_all(fd, data, *bytes)) {
      free(data);
      data = NULL;
    }
  }
  close(fd);
  return data;
}

static bool head_is_good(const entry_head *h, const qp_cubin_cache_key *key, const char *payload,
                         size_t bytes) {
  if (memcmp(h->magic, magic, sizeof magic) != 0 || h->version != FORMAT_VERSION ||
      h->head_bytes != sizeof *h || !same_key(&h->key, key)) {
    return false;
  }
  if (h->cubin_bytes > bytes || h->ptx_bytes > bytes || h->log_bytes > bytes ||
      h->cubin_bytes + h->ptx_bytes + h->log_bytes != bytes) {
    return false;
  }
  const qp_cubin_cache_key sum = checksum_of(h, payload, bytes);
  return same_key(&sum, &h->checksum);
}

static char *copy_text(const char *data, size_t bytes) {
  char *text = malloc(bytes + 1);
  if (!text) return NULL;
  memcpy(text, data, bytes);
  text[bytes] = 0;
  return text;
}

static bool unpack(const entry_head *h, const char *payload, qp_compiled *out) {
  qp_compiled c = {
      .status = QP_OK,
      .cubin_bytes = (size_t)h->cubin_bytes,
      .ptx_bytes = (size_t)h->ptx_bytes,
      .res = {.registers = h->registers,
              .smem_static_bytes = h->smem_static_bytes,
              .stack_bytes = h->stack_bytes,
              .spill_store_bytes = h->spill_store_bytes,
              .spill_load_bytes = h->spill_load_bytes,
              .barriers = h->barriers},
      .cached = true,
  };
  const char *ptx = payload + c.cubin_bytes;
  const char *log = ptx + c.ptx_bytes;
  if (c.cubin_bytes) c.cubin = copy_text(payload, c.cubin_bytes);
  if (c.ptx_bytes) c.ptx = copy_text(ptx, c.ptx_bytes);
  c.log = copy_text(log, (size_t)h->log_bytes);
  if (!c.log || (c.cubin_bytes && !c.cubin) || (c.ptx_bytes && !c.ptx)) {
    qp_compiled_free(&c);
    return false;
  }
  *out = c;
  return true;
}

bool qp_cubin_cache_read(const qp_cubin_cache *cache, const qp_cubin_cache_key *key,
                         qp_compiled *out) {
  char path[PATH_MAX];
  if (!qp_cubin_cache_path(cache, key, path, sizeof path)) return false;
  size_t bytes = 0;
  char *data = read_file(path, &bytes);
  if (!data) return false;
  entry_head head;
  memcpy(&head, data, sizeof head);
  const char *payload = data + sizeof head;
  const bool ok =
      head_is_good(&head, key, payload, bytes - sizeof head) && unpack(&head, payload, out);
  free(data);
  return ok;
}

bool qp_cubin_cache_write(const qp_cubin_cache *cache, const qp_cubin_cache_key *key,
                          const qp_compiled *result) {
  char path[PATH_MAX];
  if (!qp_cubin_cache_path(cache, key, path, sizeof path))
    return !cache->is_own && qp_cache_keep("", NULL, 0);
  entry_head head = {
      .version = FORMAT_VERSION,
      .head_bytes = sizeof head,
      .key = *key,
      .cubin_bytes = result->cubin_bytes,
      .ptx_bytes = result->ptx_bytes,
      .log_bytes = strlen(result->log),
      .registers = result->res.registers,
      .smem_static_bytes = result->res.smem_static_bytes,
      .stack_bytes = result->res.stack_bytes,
      .spill_store_bytes = result->res.spill_store_bytes,
      .spill_load_bytes = result->res.spill_load_bytes,
      .barriers = result->res.barriers,
  };
  memcpy(head.magic, magic, sizeof magic);
  const size_t payload = result->cubin_bytes + result->ptx_bytes + (size_t)head.log_bytes;
  if (payload > most_bytes - sizeof head) return false;
  char *data = malloc(sizeof head + payload);
  if (!data) return false;
  char *at = data + sizeof head;
  if (result->cubin_bytes) memcpy(at, result->cubin, result->cubin_bytes);
  at += result->cubin_bytes;
  if (result->ptx_bytes) memcpy(at, result->ptx, result->ptx_bytes);
  at += result->ptx_bytes;
  memcpy(at, result->log, (size_t)head.log_bytes);
  head.checksum = checksum_of(&head, data + sizeof head, payload);
  memcpy(data, &head, sizeof head);
  const bool ok = qp_cache_keep(path, data, sizeof head + payload);
  free(data);
  return ok;
}
