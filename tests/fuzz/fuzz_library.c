/* SPDX-License-Identifier: MIT */
/*
** Any bytes as a kernel library: the loader may refuse them; what it takes can be asked everything.
** Checksums would keep the fuzzer out, so they are put right.  An even first byte: the rest is a
** file; an odd one: the rest is a list of changes (where, 3 bytes; to what, 1 byte) of a good
** library.
*/
#include <stddef.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/include/qpal.h"
#include "runtime/include/qpal_sim.h"
#include "runtime/library_format.h"
#include "tests/fuzz/fuzz_library_kit.h"

static unsigned char *good;
static size_t good_bytes;
static qpal_device *device;

static void make_good(void) {
  good = make_library(&good_bytes);
  qpal_library *l = NULL;
  must(!qpal_library_from_memory(good, good_bytes, &l));
  qpal_library_close(l);
  must(!qpal_sim_open(90, 4, &device));
}

/* What launches would do: nothing runs. */
static void ask_kernels(const qpal_kernels *ks, unsigned groups) {
  qpal_kernels_info info = {.size = sizeof info};
  must(!qpal_kernels_describe(ks, &info));
  for (unsigned i = 0; i < groups && i < 64; i++) {
    qpal_gemm_info gemm = {.size = sizeof gemm};
    qpal_experts_info experts = {.size = sizeof experts};
    for (unsigned way = 0; way < 4; way++) {
      const qpal_gemm_args g = {.size = sizeof g,
                                .group = i,
                                .rows = 1 + way,
                                .epilogue = way == 3,
                                .signs = way == 2 ? 16 : 0};
      must(!qpal_gemm_query(ks, &g, &gemm) || *qpal_message());
    }
    const qpal_experts_args e = {.size = sizeof e, .group = i, .tokens = 2};
    must(!qpal_experts_query(ks, &e, &experts) || *qpal_message());
  }
}

static void ask_everything(const qpal_library *l) {
  qpal_library_info info = {.size = sizeof info};
  if (qpal_library_describe(l, &info)) abort();
  size_t letters = strlen(info.model) + strlen(info.generator);
  for (unsigned i = 0; i < info.targets && i < 64; i++) {
    qpal_target_info t = {.size = sizeof t};
    if (qpal_library_target(l, i, &t)) abort();
    letters += strlen(t.name) + strlen(t.chosen);
  }
  for (unsigned i = 0; i < info.quantizers && i < 64; i++) {
    qpal_quantizer_info q = {.size = sizeof q};
    if (qpal_library_quantizer(l, i, &q)) abort();
    letters += strlen(q.name) + strlen(q.hash);
  }
  for (unsigned i = 0; i < info.groups && i < 64; i++) {
    qpal_group_info g = {.size = sizeof g};
    if (qpal_library_group(l, i, &g)) abort();
    letters += strlen(g.name) + strlen(g.path);
    for (unsigned m = 0; m < g.members; m++) {
      qpal_linear_info e = {.size = sizeof e};
      if (qpal_library_linear(l, i, m, &e)) abort();
      letters += strlen(e.tensor);
    }
  }
  for (unsigned i = 0; i < info.kernels && i < 64; i++) {
    qpal_kernel_info k = {.size = sizeof k};
    if (qpal_library_kernel(l, i, &k)) abort();
    letters += strlen(k.name) + strlen(k.source);
  }
  unsigned group, member;
  qpal_library_find_linear(l, "t1.weight", &group, &member);
  qpal_kernels *ks = NULL;
  if (letters && !qpal_kernels_load(l, device, NULL, &ks)) {
    ask_kernels(ks, info.groups);
    qpal_kernels_close(ks);
  }
}

static void put_right(unsigned char *file, size_t bytes) {
  qp_lib_header h;
  if (bytes < sizeof h) return;
  memcpy(&h, file, sizeof h);
  memcpy(h.magic, QP_LIB_MAGIC, sizeof h.magic);
  if (h.version != QP_LIB_VERSION_CLOSE) h.version = QP_LIB_VERSION;
  h.file_bytes = bytes;
  h.checksum = 0;
  if (h.manifest_bytes > bytes) h.manifest_bytes = bytes;
  memcpy(file, &h, sizeof h);
  if (h.manifest_bytes < sizeof h) return;
  h.checksum = XXH3_64bits(file, (size_t)h.manifest_bytes);
  memcpy(file, &h, sizeof h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!good) make_good();
  if (!size) return 0;
  const int changes = data[0] & 1;
  const size_t bytes = changes ? good_bytes : size - 1;
  unsigned char *file = malloc(bytes + 8); /* aligned, and its end is guarded by the sanitizer */
  if (!file) return 0;
  memcpy(file, changes ? good : data + 1, bytes);
  for (size_t i = 1; changes && i + 4 <= size; i += 4) {
    const size_t at = data[i] | (size_t)data[i + 1] << 8 | (size_t)data[i + 2] << 16;
    file[at % bytes] = data[i + 3];
  }
  put_right(file, bytes);
  unsigned char *exact = realloc(file, bytes ? bytes : 1);
  if (exact) file = exact;
  qpal_library *l = NULL;
  if (!qpal_library_from_memory(file, bytes, &l)) {
    ask_everything(l);
    qpal_library_close(l);
  }
  free(file);
  return 0;
}
