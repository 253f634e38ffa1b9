/* SPDX-License-Identifier: MIT */
/* Any bytes as the description of a replayed GPU: it opens, or is refused by name. */
#include "tests/fuzz/fuzz_kit.h"
#include "tuner/tune/meter.h"

static char path[64];

static void forget(void) { unlink(path); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_meter *m = NULL;
  qp_error err = {.text = ""};
  if (!*path) {
    own_path(path, sizeof path, ".json");
    atexit(forget);
  }
  write_bytes(path, data, size);
  if (qp_meter_open_replay(path, &m, &err)) {
    must(*err.text != 0);
    return 0;
  }
  must(m->info.device.sm_count >= 1 && m->info.device.sm_count <= 1024);
  m->ops->close(m);
  return 0;
}
