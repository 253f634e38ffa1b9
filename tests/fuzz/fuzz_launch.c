/* SPDX-License-Identifier: MIT */
/*
** Any arguments of a launch: the first byte is the operation, the rest a list of changes (where, 2
** bytes; to what, 1 byte) of a call that is right.  Kernels do nothing, so that addresses need not
** be any; host pointers stay.  It is refused with a message, or launched, and a query before it
** says the same.
*/
#include "tests/fuzz/fuzz_launch_kit.h"

static qpal_library *library;
static qpal_device *device;
static qpal_kernels *kernels;
static qpal_ptr buffer;

static void begin(void) {
  static void *file;
  size_t bytes;
  file = make_library(&bytes);
  must(!qpal_library_from_memory(file, bytes, &library));
  must(!qpal_sim_open(90, 4, &device));
  must(!qpal_kernels_load(library, device, NULL, &kernels));
  must(!qpal_alloc(device, 1 << 16, &buffer));
  for (unsigned op = 0; op < KIT_CALLS; op++) {
    kit_call c = kit_begin(op, buffer);
    must(!kit_launch(kernels, op, &c));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!library) begin();
  if (!size) return 0;
  const unsigned op = data[0] % KIT_CALLS;
  kit_call c = kit_begin(op, buffer);
  for (size_t i = 1; i + 3 <= size; i += 3)
    ((unsigned char *)&c)[(data[i] | (size_t)data[i + 1] << 8) % sizeof c] = data[i + 2];
  must(!kit_launch(kernels, op, &c) || *qpal_message());
  return 0;
}
