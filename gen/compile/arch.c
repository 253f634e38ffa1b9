/* SPDX-License-Identifier: MIT */
/* The architectures that kernels are generated for. */
#include <stdlib.h>
#include <string.h>

#include "gen/compile/arch.h"

/* Shared memory: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability",
** "Maximum amount of shared memory per thread block". */
#define ARCHITECTURES(X)                                                                           \
  X(80, 163)                                                                                       \
  X(86, 99)                                                                                        \
  X(89, 99)                                                                                        \
  X(90, 227)                                                                                       \
  X(100, 227)                                                                                      \
  X(120, 99)

#define NUMBER(arch, smem_kib) arch,
const unsigned qp_architectures[] = {ARCHITECTURES(NUMBER) 0};
#undef NUMBER

unsigned qp_arch_smem_bytes(unsigned arch) {
  switch (arch) {
#define CASE(number, smem_kib)                                                                     \
  case number: return smem_kib * 1024u;
    ARCHITECTURES(CASE)
#undef CASE
  default: return 0;
  }
}

qp_status qp_arch_parse(const char *text, unsigned *arch, qp_error *err) {
#define NAME(number, smem_kib)                                                                     \
  if (strcmp(digits, #number) == 0) {                                                              \
    *arch = number;                                                                                \
    return QP_OK;                                                                                  \
  }
#define LIST(number, smem_kib) " sm_" #number
  const char *digits = strncmp(text, "sm_", 3) == 0 ? text + 3 : text;
  ARCHITECTURES(NAME)
  return qp_fail(err, QP_E_ARG, "architecture '%s' is not known; known are" ARCHITECTURES(LIST),
                 text);
#undef NAME
#undef LIST
}
