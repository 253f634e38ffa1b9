/* SPDX-License-Identifier: MIT */
/* Any text as a kernel's PTX body: it is counted or refused, and the kinds sum up. */
#include "gen/compile/compile.h"
#include "gen/inspect/instruction_mix.h"
#include "tests/fuzz/fuzz_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char head[] = ".entry k()\n{\n";
  char *text = malloc(sizeof head + size);
  if (!text) return 0;
  memcpy(text, head, sizeof head - 1);
  if (size) memcpy(text + sizeof head - 1, data, size);
  text[sizeof head - 1 + size] = 0;
  qp_instruction_mix m;
  qp_error err = {.text = ""};
  if (qp_instruction_mix_ptx(text, "k", &m, &err) == QP_OK) {
    const unsigned sum = m.integer_alu + m.integer_mul + m.half_math + m.float_math + m.mma +
                         m.shared_load + m.shared_store + m.global_load + m.global_store +
                         m.atomic + m.shuffle + m.barrier + m.convert + m.control + m.other;
    if (sum != m.total) abort();
  }
  free(text);
  return 0;
}
