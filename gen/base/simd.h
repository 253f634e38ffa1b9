/* SPDX-License-Identifier: MIT */
/* Which vector instructions this CPU has, and how functions for them are marked. */
#ifndef QP_SIMD_H
#define QP_SIMD_H

typedef enum qp_simd_level { QP_SIMD_PLAIN, QP_SIMD_AVX2, QP_SIMD_AVX512 } qp_simd_level;

/* The best that the CPU has; $QPAL_ISA (avx512, avx2, plain) asks for a lesser one. */
qp_simd_level qp_simd(void);
const char *qp_simd_name(qp_simd_level level);

#if defined __x86_64__ && defined __GNUC__
#define QP_X86
#define QP_AVX2          __attribute__((target("avx2,fma,f16c,bmi,bmi2,popcnt")))
#define QP_AVX2_INLINE   QP_AVX2 __attribute__((always_inline)) static inline
#define QP_AVX512        __attribute__((target("avx512f,avx512bw,avx2,fma,f16c,bmi,bmi2,popcnt")))
#define QP_AVX512_INLINE QP_AVX512 __attribute__((always_inline)) static inline
#endif

/* gcc -O2 leaves short loops of constant length as they are; clang does not. */
#ifdef __clang__
#define QP_UNROLL
#else
#define QP_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
