/* SPDX-License-Identifier: MIT */
/* Which vector instructions this CPU has. */
#include "gen/base/simd.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"plain", "avx2", "avx512"};

const char *qp_simd_name(qp_simd_level level) { return names[level]; }

#ifdef QP_X86
#include <cpuid.h>

/* clang 14 does not know this one's name. */
static bool has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

static qp_simd_level of_cpu(void) {
#ifdef QP_X86
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") || !has_f16c())
    return QP_SIMD_PLAIN;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
    return QP_SIMD_AVX512;
  return QP_SIMD_AVX2;
#else
  return QP_SIMD_PLAIN;
#endif
}

qp_simd_level qp_simd(void) {
  static _Atomic int known = -1; /* cpuid is slow where a hypervisor answers it: 30 us */
  const char *asked = getenv("QPAL_ISA");
  if (atomic_load_explicit(&known, memory_order_relaxed) < 0) atomic_store(&known, (int)of_cpu());
  const qp_simd_level has = (qp_simd_level)atomic_load_explicit(&known, memory_order_relaxed);
  assert(has <= QP_SIMD_AVX512);
  for (unsigned i = QP_SIMD_PLAIN; asked && i < has; i++)
    if (!strcmp(asked, names[i])) return (qp_simd_level)i;
  return has;
}
