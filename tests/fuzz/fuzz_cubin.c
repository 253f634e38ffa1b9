/* SPDX-License-Identifier: MIT */
/* Any bytes as a cubin: the reader may refuse them, and reads nothing outside. */
#include "gen/compile/cubin.h"
#include "tests/fuzz/fuzz_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_error err = {.text = ""};
  qp_resources res = {0};
  qp_cubin_resources(data, size, "k", &res, &err);
  qp_cubin_code(data, size, "k");
  char *log = as_text(data, size);
  qp_ptxas_spills(log, "k", &res.spill_store_bytes, &res.spill_load_bytes);
  free(log);
  return 0;
}
