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
#include "tests/fuzz/fuzz_kit.h"

static unsigned char *good;
static size_t good_bytes;
static qpal_device *device;

/* gemm of batch 1 and 2, dequant, gather, rotate; their images are no code. */
static void add_kernels(qp_library_writer *w, uint32_t both, uint32_t alone) {
  static char image[128] = "\177ELF";
  const uint32_t gemm = 48 + 64 + 3 * 72 + 2 * 32 + 3 * 8; /* bytes of its arguments */
  const qp_lib_kernel kernel[] = {
      {.op = QPAL_GEMM, .problem = both, .batch = 1, .params_bytes = gemm},
      {.op = QPAL_GEMM, .problem = both, .batch = 2, .params_bytes = gemm},
      {.op = QPAL_DEQUANT, .problem = alone, .params_bytes = 64 + 72 + 16},
      {.op = QPAL_GATHER, .problem = alone, .params_bytes = 32 + 72 + 8},
      {.op = QPAL_ROTATE, .problem = QP_LIB_NONE, .params_bytes = 48}};
  qp_error err = {.text = ""};
  for (unsigned i = 0; i < sizeof kernel / sizeof *kernel; i++) {
    qp_lib_kernel k = kernel[i];
    k.name = qp_library_writer_string(w, "k");
    k.columns = 128;
    k.grid = 4;
    k.block = 32;
    k.latency_ps = -1;
    qp_library_writer_image(w, 0, 90, image, sizeof image, &k.cubin, &err);
    qp_library_writer_image(w, 1, 90, image, sizeof image, &k.ptx, &err);
    qp_library_writer_kernel(w, &k, &err);
  }
}

/* A library with a group of two linears, one of them split. */
static void make_good(void) {
  static uint16_t book[16];
  static qp_quantizer plain, split;
  const qp_quantizer *const q[2] = {&plain, &split};
  qp_error err = {.text = ""};
  uint32_t both, alone[2], target;
  plain = four_bits();
  *plain.hash = 0;
  plain.codebook[0].scope = QP_SCOPE_SPEC;
  plain.codebook[0].data = book;
  split = (qp_quantizer){.name = "b",
                         .kind = QP_SPLIT,
                         .rate = 4,
                         .stored_rate = 4,
                         .parts = 2,
                         .part = {{&plain, 0.5}, {&plain, 0.5}},
                         .layout = QP_LAYOUT_VERSION};
  qp_library_writer *w = qp_library_writer_new(13000, "m", "g");
  add_group(w, q, &both, alone);
  qp_library_writer_target(w, "sm_90", "c", 90, 4, &target, &err);
  add_kernels(w, both, alone[0]);
  void *file = NULL;
  must(!qp_library_writer_finish(w, &file, &good_bytes, &err));
  good = file;
  qp_library_writer_free(w);
  qpal_library *l = NULL;
  must(!qpal_library_from_memory(good, good_bytes, &l));
  qpal_library_close(l);
  must(!qpal_sim_open(90, 4, &device));
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
  if (letters && !qpal_kernels_load(l, device, NULL, &ks)) qpal_kernels_close(ks);
}

static void put_right(unsigned char *file, size_t bytes) {
  qp_lib_header h;
  if (bytes < sizeof h) return;
  memcpy(&h, file, sizeof h);
  memcpy(h.magic, QP_LIB_MAGIC, sizeof h.magic);
  h.version = QP_LIB_VERSION;
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
