/* SPDX-License-Identifier: MIT */
/* Fuzz target: any bytes as a file of quantizers.  It is loaded and used, or refused. */
#include "gen/spec/definition.h"
#include "gen/spec/spec.h"
#include "tests/fuzz/fuzz_kit.h"

static void use(const qp_quantizer *q) {
  uint32_t fields[QP_MAX_FIELDS] = {0};
  uint16_t *table = malloc(sizeof *table * q->dim << q->window), one[16];
  qp_error err = {.text = ""};
  if (table && qp_quantizer_table(q, fields, NULL, table, &err) == QP_OK) {
    qp_quantizer_decode(q, 0, fields, NULL, one);
    if (memcmp(one, table, sizeof *one * q->dim) != 0) abort();
  }
  free(table);
  free(qp_ir_dump(q->decode));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  qp_spec **specs = NULL;
  size_t count = 0;
  qp_error err = {.text = ""};
  const qp_status status =
      qp_spec_load("fuzz.lua", (const char *)data, bytes, &specs, &count, &err);
  if (status != QP_OK) {
    if (strncmp(err.text, "fuzz.lua", 8) != 0) abort(); /* every message names the file */
    return 0;
  }
  for (size_t i = 0; i < count; i++) {
    if (specs[i]->quantizer.decode && specs[i]->quantizer.window <= 16) use(&specs[i]->quantizer);
    qp_spec_free(specs[i]);
  }
  free(specs);
  return 0;
}
