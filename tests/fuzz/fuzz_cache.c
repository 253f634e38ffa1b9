/* SPDX-License-Identifier: MIT */
/*
** Any bytes as an entry of the cache: a codebook, what is known of a definition, a compiled kernel.
** An even second byte: the rest is the file; an odd one: a list of changes (where, 2 bytes; to
** what, 1 byte) of a good one.  It is what was kept, or counts as nothing.
*/
#include <dirent.h>
#include <limits.h>

#include "gen/compile/cubin_cache.h"
#include "gen/spec/codebook.h"
#include "gen/spec/definition_kept.h"
#include "gen/spec/spec.h"
#include "tests/fuzz/fuzz_kit.h"

enum { CODEBOOK, DEFINITION, CUBIN, KINDS };
enum { ENTRIES = 5, MOST = 1 << 16 };

static char folder[64];
static char path[KINDS][PATH_MAX];
static unsigned char good[KINDS][4096];
static size_t good_bytes[KINDS];
static uint16_t book[ENTRIES];
static qp_spec **spec;
static qp_cubin_cache *cubins;
static qp_cubin_cache_key key;

static const char text[] =
    "return trellis { name = 'f-2', window = 10, dim = 1, step = 2, decode = function (s)\n"
    "  return half_signed(s * 89226354 + 64248484 >> 20 & 1023) * (1 / 512) end }";

static void forget(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  must(!system(command));
}

/* The only file in a folder of the cache. */
static void find(const char *below, char out[PATH_MAX]) {
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/%s", folder, below);
  DIR *d = opendir(name);
  must(d != NULL);
  for (struct dirent *e = readdir(d); e; e = readdir(d))
    if (e->d_name[0] != '.') must(snprintf(out, PATH_MAX, "%s/%s", name, e->d_name) < PATH_MAX);
  closedir(d);
}

static void keep_kernel(void) {
  static char cubin[] = "ELF\0with\0zeros", ptx[] = "some PTX", log[] = "a log";
  static const qp_compile_job job = {.name = "k", .source = "s", .arch = 90, .want_cubin = true};
  const qp_compiled result = {.log = log,
                              .cubin = cubin,
                              .cubin_bytes = sizeof cubin,
                              .ptx = ptx,
                              .ptx_bytes = sizeof ptx - 1,
                              .res = {.registers = 1}};
  must(!qp_cubin_cache_open(folder, &cubins, NULL));
  key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  must(qp_cubin_cache_write(cubins, &key, &result));
  must(qp_cubin_cache_path(cubins, &key, path[CUBIN], PATH_MAX));
}

static void begin(void) {
  qp_error err = {.text = ""};
  size_t count = 0;
  own_path(folder, sizeof folder, ".cache");
  atexit(forget);
  must(!setenv("QPAL_CACHE", folder, 1));
  must(!qp_codebook_lloyd_max(ENTRIES, book, &err));
  must(!qp_spec_load("f.lua", text, sizeof text - 1, &spec, &count, &err));
  qp_definition_keep(&spec[0]->quantizer);
  keep_kernel();
  find("codebook", path[CODEBOOK]);
  find("definition", path[DEFINITION]);
  for (unsigned k = 0; k < KINDS; k++) {
    FILE *f = fopen(path[k], "rb");
    must(f != NULL);
    good_bytes[k] = fread(good[k], 1, sizeof good[k], f);
    fclose(f);
    must(good_bytes[k] > 0);
  }
}

static void try_codebook(void) {
  uint16_t found[ENTRIES];
  must(!qp_codebook_lloyd_max(ENTRIES, found, NULL) && !memcmp(found, book, sizeof book));
}

/* libFuzzer sees what a checksum is compared with and finds other hashes with theirs: of these too
   the hash is the one that the file says, and the checksum no other file's. */
static void try_definition(const unsigned char *file, size_t bytes) {
  static char other[sizeof spec[0]->quantizer.hash], checksum[17];
  qp_quantizer q = spec[0]->quantizer;
  const size_t digits = strlen(q.hash);
  memset(q.hash, 0, sizeof q.hash);
  if (!qp_definition_is_kept(&q) || !strcmp(q.hash, spec[0]->quantizer.hash)) return;
  must(bytes >= good_bytes[DEFINITION] && !memcmp(file, q.hash, digits));
  must(memcmp(file + digits, good[DEFINITION] + digits, good_bytes[DEFINITION] - digits) != 0);
  if (!strcmp(other, q.hash)) must(!memcmp(checksum, file + digits + 1, 16));
  memcpy(other, q.hash, sizeof other);
  memcpy(checksum, file + digits + 1, 16);
}

static void try_kernel(void) {
  qp_compiled c = {.status = QP_OK};
  if (!qp_cubin_cache_read(cubins, &key, &c)) return;
  touch(c.cubin, c.cubin_bytes);
  touch(c.ptx, c.ptx_bytes + (c.ptx != NULL));
  touch(c.log, strlen(c.log));
  qp_compiled_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned char file[MOST];
  if (!spec) begin();
  if (size < 2 || size > MOST) return 0;
  const unsigned kind = data[0] % KINDS;
  const bool changes = data[1] & 1;
  const size_t bytes = changes ? good_bytes[kind] : size - 2;
  memcpy(file, changes ? good[kind] : data + 2, bytes);
  for (size_t i = 2; changes && i + 3 <= size; i += 3)
    file[(data[i] | (size_t)data[i + 1] << 8) % bytes] = data[i + 2];
  write_bytes(path[kind], file, bytes);
  if (kind == CODEBOOK) try_codebook();
  if (kind == DEFINITION) try_definition(file, bytes);
  if (kind == CUBIN) try_kernel();
  return 0;
}
