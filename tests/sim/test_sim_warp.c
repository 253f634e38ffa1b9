/* SPDX-License-Identifier: MIT */
/* The simulator's collectives: shuffles, votes, barriers, mma, ldmatrix, asynchronous copies. */
#include "tests/sim/sim_kit.h"

#include <math.h>

#define STORE(reg) "st.global.u32 [%d2], " reg ";\n"

static uint32_t ramp(unsigned i) { return i * 2654435761u + 12345; }

/* Every thread reads in[thread] into %r1 first. */
#define LOAD "mul.wide.u32 %d3, %r0, 4; add.s64 %d3, %d0, %d3; ld.global.u32 %r1, [%d3];\n"

static void run32(const char *top, const char *body, uint32_t out[32]) {
  uint32_t in[32];
  for (unsigned i = 0; i < 32; i++) in[i] = ramp(i);
  kit_words(top, body, in, sizeof in, 32, out);
}

Test(sim_warp, shuffles_move_values_between_lanes) {
  uint32_t out[32];
  run32("", LOAD "shfl.sync.bfly.b32 %r2, %r1, 5, 31, -1;" STORE("%r2"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], ramp(i ^ 5));
  run32("", LOAD "shfl.sync.idx.b32 %r2, %r1, 7, 31, -1;" STORE("%r2"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], ramp(7));
  run32("", LOAD "shfl.sync.up.b32 %r2|%p1, %r1, 3, 0, -1; @!%p1 mov.u32 %r2, 1;" STORE("%r2"),
        out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i < 3 ? 1 : ramp(i - 3));
  run32("", LOAD "shfl.sync.down.b32 %r2|%p1, %r1, 3, 31, -1; @!%p1 mov.u32 %r2, 1;" STORE("%r2"),
        out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i > 28 ? 1 : ramp(i + 3));
  /* segments of 8 lanes: c = (32 - 8) << 8 | 31 */
  run32("", LOAD "shfl.sync.down.b32 %r2, %r1, 1, 0x181f, -1;" STORE("%r2"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], ramp(i % 8 == 7 ? i : i + 1));
  run32("", LOAD "shfl.sync.idx.b32 %r2, %r1, 2, 0x181f, -1;" STORE("%r2"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], ramp(i / 8 * 8 + 2));
}

Test(sim_warp, a_shuffle_completes_between_two_sides_of_a_branch) {
  uint32_t out[32];
  run32("",
        LOAD "setp.lt.u32 %p1, %r0, 16; @%p1 bra LOW;\n"
             "shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1; bra END;\n"
             "LOW: add.s32 %r1, %r1, 1; shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;\n"
             "END:" STORE("%r2"),
        out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], ramp(i ^ 16) + (i >= 16));
}

/* One lane of the warp selects other bytes, or replicates a sign, and each lane has its own. */
Test(sim_warp, lanes_permute_bytes_by_selectors_of_their_own) {
  uint32_t out[32];
  run32("",
        LOAD "setp.eq.u32 %p1, %r0, 19; selp.u32 %r3, 0x4567, 0x3120, %p1;\n"
             "prmt.b32 %r2, %r1, %r0, %r3;" STORE("%r2"),
        out);
  for (unsigned i = 0; i < 32; i++) {
    const uint32_t r = ramp(i);
    const uint32_t others = (r & 0xff0000ff) | (r >> 8 & 0xff00) | (r << 8 & 0xff0000);
    cr_assert_eq(out[i], i == 19 ? i << 24 : others);
  }
  run32("",
        LOAD "shl.b32 %r3, %r0, 3; and.b32 %r3, %r3, 8; or.b32 %r3, %r3, 0x3210;\n"
             "prmt.b32 %r2, %r1, 0, %r3;" STORE("%r2"),
        out);
  for (unsigned i = 0; i < 32; i++) {
    const uint32_t sign = ramp(i) & 0x80 ? 0xff : 0;
    cr_assert_eq(out[i], i % 2 ? (ramp(i) & ~0xffu) | sign : ramp(i));
  }
}

Test(sim_warp, votes_matches_and_reductions) {
  uint32_t out[32];
  run32("", "setp.lt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r2, %p1, -1;" STORE("%r2"), out);
  cr_assert_eq(out[9], 0x1f);
  run32("",
        "setp.lt.u32 %p1, %r0, 5; vote.sync.any.pred %p2, !%p1, -1; selp.u32 %r2, 1, 0, %p2;" STORE(
            "%r2"),
        out);
  cr_assert_eq(out[9], 1);
  run32("",
        "setp.lt.u32 %p1, %r0, 5; vote.sync.all.pred %p2, %p1, -1; selp.u32 %r2, 1, 0, %p2;" STORE(
            "%r2"),
        out);
  cr_assert_eq(out[9], 0);
  run32("", "and.b32 %r1, %r0, 3; match.any.sync.b32 %r2, %r1, -1;" STORE("%r2"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], 0x11111111u << (i & 3));
  run32("",
        "mov.u32 %r1, 7; match.all.sync.b32 %r2|%p1, %r1, -1; @!%p1 mov.u32 %r2, 0;" STORE("%r2"),
        out);
  cr_assert_eq(out[31], 0xffffffff);
  run32("", "redux.sync.add.s32 %r2, %r0, -1;" STORE("%r2"), out);
  cr_assert_eq(out[3], 31 * 16);
  run32("", "sub.s32 %r1, %r0, 4; redux.sync.min.s32 %r2, %r1, -1;" STORE("%r2"), out);
  cr_assert_eq(out[3], (uint32_t)-4);
  run32("", "sub.s32 %r1, %r0, 4; redux.sync.max.u32 %r2, %r1, -1;" STORE("%r2"), out);
  cr_assert_eq(out[3], (uint32_t)-1);
  run32("", "activemask.b32 %r2;" STORE("%r2"), out);
  cr_assert_eq(out[3], 0xffffffff);
  run32("", "elect.sync %r2|%p1, -1; selp.u32 %r2, 9, %r2, %p1;" STORE("%r2"), out);
  cr_assert_eq(out[0], 9);
  cr_assert_eq(out[1], 0);
}

Test(sim_warp, special_registers_say_where_a_thread_is) {
  uint32_t out[64];
  kit_words("",
            "mov.u32 %r1, %laneid; mov.u32 %r2, %warpid; shl.b32 %r2, %r2, 8; or.b32 %r1, %r1, "
            "%r2; mov.u32 %r3, %ntid.x; shl.b32 %r3, %r3, 16; or.b32 %r1, %r1, %r3;" STORE("%r1"),
            NULL, 0, 64, out);
  cr_assert_eq(out[37], 64u << 16 | 1 << 8 | 5);
  kit_words("",
            "mov.u32 %r1, %lanemask_lt; mov.u32 %r2, %nsmid; add.s32 %r1, %r1, %r2;" STORE("%r1"),
            NULL, 0, 32, out);
  cr_assert_eq(out[5], 0x1f + 4);
  kit_words("", "add.u32 %r1, %tid.x, 100;" STORE("%r1"), NULL, 0, 32, out);
  cr_assert_eq(out[5], 105);
}

/* ---- barriers ---- */

#define SHARED ".shared .align 16 .b8 buf[4096];\n"
#define AT(reg, index)                                                                             \
  "shl.b32 " reg ", " index ", 2; mov.u32 %r9, buf; add.s32 " reg ", " reg ", %r9;\n"

Test(sim_warp, a_barrier_orders_shared_memory) {
  uint32_t out[128];
  kit_words(SHARED,
            AT("%r3", "%r0") "st.shared.u32 [%r3], %r0; bar.sync 0; xor.b32 %r4, %r0, 96;\n" AT(
                "%r4", "%r4") "ld.shared.u32 %r5, [%r4];" STORE("%r5"),
            NULL, 0, 128, out);
  for (unsigned i = 0; i < 128; i++) cr_assert_eq(out[i], i ^ 96);
}

Test(sim_warp, named_barriers_count_threads) {
  uint32_t out[128];
  /* warps 0 and 1 produce and only arrive, warps 2 and 3 wait for all 128 */
  kit_words(SHARED,
            AT("%r3", "%r0") "setp.lt.u32 %p1, %r0, 64; @%p1 st.shared.u32 [%r3], %r0;\n"
                             "mov.u32 %r5, 0; @%p1 bar.arrive 3, 128; @%p1 bra END;\n"
                             "bar.sync 3, 128; sub.s32 %r4, %r0, 64;\n" AT(
                                 "%r4", "%r4") "ld.shared.u32 %r5, [%r4];\nEND:" STORE("%r5"),
            NULL, 0, 128, out);
  for (unsigned i = 64; i < 128; i++) cr_assert_eq(out[i], i - 64);
}

Test(sim_warp, a_barrier_reduces_predicates) {
  uint32_t out[64];
  kit_words("",
            "setp.gt.u32 %p1, %r0, 60; barrier.cta.red.popc.aligned.u32 %r2, 0, %p1;\n"
            "bar.red.or.pred %p2, 1, %p1; @!%p2 mov.u32 %r2, 99;" STORE("%r2"),
            NULL, 0, 64, out);
  cr_assert_eq(out[0], 3);
  kit_words(
      "",
      "setp.gt.u32 %p1, %r0, 60; bar.red.and.pred %p2, 0, %p1; selp.u32 %r2, 1, 0, %p2;" STORE(
          "%r2"),
      NULL, 0, 64, out);
  cr_assert_eq(out[0], 0);
}

Test(sim_warp, syncwarp_orders_the_lanes_of_a_warp) {
  uint32_t out[32];
  kit_words(SHARED,
            AT("%r3", "%r0") "st.shared.u32 [%r3], %r0; bar.warp.sync -1;\n"
                             "xor.b32 %r4, %r0, 1;" AT(
                                 "%r4", "%r4") "ld.shared.u32 %r5, [%r4];" STORE("%r5"),
            NULL, 0, 32, out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i ^ 1);
}

/* ---- mma ---- */

static uint16_t half_of(unsigned i) {
  return qp_float_to_half((float)((int)(ramp(i) >> 20) - 2048) / 1024.0f);
}
static uint16_t bf16_of(unsigned i) {
  return qp_float_to_bf16((float)((int)(ramp(i) >> 20) - 2048) / 1024.0f);
}

typedef struct matrices {
  uint16_t a[16][16], b[16][8];
  float c[16][8];
} matrices;

static void fill_matrices(matrices *m, bool bf16) {
  for (unsigned i = 0; i < 16; i++)
    for (unsigned j = 0; j < 16; j++) m->a[i][j] = bf16 ? bf16_of(16 * i + j) : half_of(16 * i + j);
  for (unsigned i = 0; i < 16; i++)
    for (unsigned j = 0; j < 8; j++) {
      m->b[i][j] = bf16 ? bf16_of(999 + 8 * i + j) : half_of(999 + 8 * i + j);
      m->c[i][j] = (float)(i * 8 + j) / 16.0f;
    }
}

/* Fragments as the PTX manual gives them, with element (row, column) found from lane and place:
** 4 words of A, 2 of B, 4 of C. */
static void fragments_of(const matrices *m, unsigned k, unsigned l, uint32_t in[10]) {
  const unsigned g = l / 4, t = l % 4;
  for (unsigned i = 0; i < k / 2; i++) { /* a element i of 8: PTX's formulas */
    const unsigned row = i % 4 < 2 ? g : g + 8, column = 2 * t + (i & 1) + (i >= 4 ? 8 : 0);
    in[i / 2] |= (uint32_t)m->a[row][column] << (16 * (i & 1));
  }
  for (unsigned i = 0; i < k / 4; i++) {
    const unsigned row = 2 * t + (i & 1) + (i >= 2 ? 8 : 0);
    in[4 + i / 2] |= (uint32_t)m->b[row][g] << (16 * (i & 1));
  }
  for (unsigned i = 0; i < 4; i++) memcpy(&in[6 + i], &m->c[i < 2 ? g : g + 8][2 * t + (i & 1)], 4);
}

static double product_at(const matrices *m, bool bf16, unsigned k, unsigned row, unsigned column) {
  float (*const number)(uint16_t) = bf16 ? qp_bf16_to_float : qp_half_to_float;
  double sum = (double)m->c[row][column];
  for (unsigned q = 0; q < k; q++)
    sum += (double)number(m->a[row][q]) * (double)number(m->b[q][column]);
  return sum;
}

static void run_mma(kit *kt, const char *op, const uint32_t in[32][10]) {
  char body[2048];
  kit_open(kt, "sim");
  kit_buffers(kt, in, 32 * sizeof in[0], 32 * 16);
  snprintf(body, sizeof body,
           "mul.wide.u32 %%d3, %%r0, 40; add.s64 %%d3, %%d0, %%d3;\n"
           "ld.global.v2.u32 {%%r10, %%r11}, [%%d3]; ld.global.v2.u32 {%%r12, %%r13}, [%%d3+8];\n"
           "ld.global.v2.u32 {%%r14, %%r15}, [%%d3+16]; ld.global.v2.f32 {%%f1, %%f2}, [%%d3+24];\n"
           "ld.global.v2.f32 {%%f3, %%f4}, [%%d3+32];\n%s\n"
           "mul.wide.u32 %%d4, %%r0, 16; add.s64 %%d4, %%d4, %%d1;\n"
           "st.global.v4.f32 [%%d4], {%%f1, %%f2, %%f3, %%f4};",
           op);
  cr_assert_eq(kit_run(kt, "", body, 1, 32, 0), QP_OK, "%s", kt->err.text);
}

static void check_mma(const char *op, bool bf16, unsigned k) {
  matrices m;
  uint32_t in[32][10] = {0};
  kit kt;
  fill_matrices(&m, bf16);
  for (unsigned l = 0; l < 32; l++) fragments_of(&m, k, l, in[l]);
  run_mma(&kt, op, in);
  for (unsigned l = 0; l < 32; l++)
    for (unsigned i = 0; i < 4; i++) {
      const unsigned row = i < 2 ? l / 4 : l / 4 + 8, column = 2 * (l % 4) + (i & 1);
      float got;
      memcpy(&got, kt.result + 16 * l + 4 * i, 4);
      cr_assert_float_eq(got, product_at(&m, bf16, k, row, column), 1e-5, "row %u, column %u", row,
                         column);
    }
  kit_close(&kt);
}

Test(sim_warp, mma_multiplies_matrices) {
  check_mma("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, "
            "{%r10,%r11,%r12,%r13}, {%r14,%r15}, {%f1,%f2,%f3,%f4};",
            false, 16);
  check_mma("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, "
            "{%r10,%r11,%r12,%r13}, {%r14,%r15}, {%f1,%f2,%f3,%f4};",
            true, 16);
  check_mma("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, "
            "{%r10,%r11}, {%r14}, {%f1,%f2,%f3,%f4};",
            false, 8);
}

Test(sim_warp, mma_multiplies_bytes_exactly) {
  /* A all 2, B all 3, C = 5: 5 + 32 * 6 */
  uint32_t out[32];
  run32("",
        "mov.u32 %r1, 0x02020202; mov.u32 %r2, 0xfdfdfdfd; mov.u32 %r3, 5;\n"
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r10,%r11,%r12,%r13}, "
        "{%r1,%r1,%r1,%r1}, {%r2,%r2}, {%r3,%r3,%r3,%r3};" STORE("%r13"),
        out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], (uint32_t)(5 - 32 * 6));
}

/* ---- ldmatrix, stmatrix ---- */

/* Shared memory holds halves 0, 1, 2, ...; lane l gives the address of row l: 16 bytes each. */
#define FILL                                                                                       \
  "shl.b32 %r3, %r0, 4; mov.u32 %r9, buf; add.s32 %r3, %r3, %r9; shl.b32 %r4, %r0, 3;\n"           \
  "add.s32 %r5, %r4, 1; shl.b32 %r5, %r5, 16; or.b32 %r5, %r5, %r4;\n"                             \
  "add.s32 %r6, %r5, 0x20002; add.s32 %r7, %r6, 0x20002; add.s32 %r8, %r7, 0x20002;\n"             \
  "st.shared.v4.u32 [%r3], {%r5, %r6, %r7, %r8}; bar.warp.sync -1;\n"

Test(sim_warp, ldmatrix_hands_out_rows_or_columns) {
  uint32_t out[32];
  kit_words(SHARED,
            FILL
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10,%r11,%r12,%r13}, [%r3];" STORE("%r12"),
            NULL, 0, 32, out);
  for (unsigned l = 0; l < 32; l++) { /* matrix 2 begins at half 128 */
    const uint32_t low = 128 + 8 * (l / 4) + 2 * (l % 4);
    cr_assert_eq(out[l], (low + 1) << 16 | low);
  }
  kit_words(SHARED,
            FILL "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r10,%r11}, [%r3];" STORE("%r11"),
            NULL, 0, 32, out);
  for (unsigned l = 0; l < 32; l++) {
    const uint32_t low = 64 + 8 * (2 * (l % 4)) + l / 4;
    cr_assert_eq(out[l], (low + 8) << 16 | low);
  }
}

Test(sim_warp, stmatrix_is_the_inverse_of_ldmatrix) {
  uint32_t out[32];
  kit_words(SHARED,
            FILL "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r3];\n"
                 "add.s32 %r4, %r3, 1024;\n"
                 "stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r4], {%r10};\n"
                 "bar.warp.sync -1; mov.u32 %r9, buf; shl.b32 %r5, %r0, 2; add.s32 %r5, %r5, %r9;\n"
                 "ld.shared.u32 %r6, [%r5+1024];" STORE("%r6"),
            NULL, 0, 32, out);
  for (unsigned i = 0; i < 32; i++) { /* word i of the transposed matrix: row i / 4 */
    const uint32_t low = 8 * (2 * (i % 4)) + i / 4;
    cr_assert_eq(out[i], (low + 8) << 16 | low);
  }
}

/* ---- asynchronous copies ---- */

Test(sim_warp, cp_async_brings_data_by_the_wait) {
  uint32_t in[32], out[32];
  for (unsigned i = 0; i < 32; i++) in[i] = ramp(i);
  kit_words(
      SHARED,
      AT("%r3",
         "%r0") "mul.wide.u32 %d3, %r0, 4; add.s64 %d3, %d0, %d3;\n"
                "cp.async.ca.shared.global [%r3], [%d3], 4; cp.async.commit_group;\n"
                "cp.async.ca.shared.global [%r3+1024], [%d3], 4, 0; cp.async.commit_group;\n"
                "cp.async.wait_group 1; ld.shared.u32 %r4, [%r3];\n"
                "cp.async.wait_all; ld.shared.u32 %r5, [%r3+1024]; add.s32 %r4, %r4, %r5;" STORE(
                    "%r4"),
      in, sizeof in, 32, out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], in[i]);
}

#define MBARRIER                                                                                   \
  "mov.u32 %r9, bar8; setp.eq.u32 %p1, %r0, 0;\n"                                                  \
  "@%p1 mbarrier.init.shared.b64 [%r9], 1; bar.sync 0; mov.u32 %r8, buf;\n"                        \
  "@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [%r9], 128;\n"                                     \
  "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r8], [%d0], 128, "     \
  "[%r9];\n"
#define WITH_MBARRIER SHARED ".shared .align 8 .b64 bar8;\n"

Test(sim_warp, a_bulk_copy_completes_an_mbarrier) {
  uint32_t in[64], out[64];
  for (unsigned i = 0; i < 64; i++) in[i] = ramp(i);
  kit_words(WITH_MBARRIER,
            MBARRIER
            "{ .reg .pred p; L: mbarrier.try_wait.parity.shared.b64 p, [%r9], 0;\n"
            "@!p bra L; }\n"
            "and.b32 %r3, %r0, 31;" AT("%r3", "%r3") "ld.shared.u32 %r4, [%r3];" STORE("%r4"),
            in, sizeof in, 64, out);
  for (unsigned i = 0; i < 64; i++) cr_assert_eq(out[i], in[i % 32]);
}

Test(sim_warp, blocks_that_wait_for_one_another_go_on) {
  kit k;
  kit_open(&k, "sim");
  const uint32_t zero[4] = {0};
  kit_buffers(&k, zero, sizeof zero, 16);
  /* block 0 spins until block 1 has written */
  const char *body = "mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 0; mov.u32 %r2, 77;\n"
                     "@%p1 st.release.gpu.global.u32 [%d0], %r2; @%p1 bra END;\n"
                     "SPIN: ld.acquire.gpu.global.u32 %r3, [%d0]; setp.ne.u32 %p2, %r3, 77;\n"
                     "@%p2 bra SPIN; setp.eq.u32 %p3, %r0, 0; @%p3 st.global.u32 [%d1], %r3;\nEND:";
  cr_assert_eq(kit_run(&k, "", body, 2, 32, 0), QP_OK, "%s", k.err.text);
  cr_assert_eq(k.result[0], 77);
  kit_close(&k);
}

/* A lane that spins on another lane of its own warp must not starve it. */
Test(sim_warp, lanes_that_wait_for_one_another_go_on) {
  uint32_t out[32];
  run32("",
        "setp.eq.u32 %p1, %r0, 5; @%p1 bra GIVE;\n"
        "SPIN: ld.volatile.global.u32 %r3, [%d0]; setp.ne.u32 %p2, %r3, 77; @%p2 bra SPIN;\n"
        "bra END;\nGIVE: mov.u32 %r3, 77; st.volatile.global.u32 [%d0], 77;\nEND:" STORE("%r3"),
        out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], 77);
}

Test(sim_warp, atomics_return_what_was_there) {
  uint32_t out[32];
  run32("", "atom.global.add.u32 %r1, [%d0], 1;" STORE("%r1"), out);
  uint32_t seen = 0;
  for (unsigned i = 0; i < 32; i++) seen |= 1u << (out[i] - ramp(0));
  cr_assert_eq(seen, 0xffffffff);
  run32(
      "",
      "atom.global.cas.b32 %r1, [%d0], 12345, 5; bar.warp.sync -1; ld.global.u32 %r1, [%d0];" STORE(
          "%r1"),
      out);
  cr_assert_eq(out[0], 5);
  run32("",
        "red.global.max.s32 [%d0], %r0; red.global.or.b32 [%d0+4], -1; bar.warp.sync -1;\n"
        "ld.global.u32 %r1, [%d0+4];" STORE("%r1"),
        out);
  cr_assert_eq(out[0], 0xffffffff);
  run32("",
        "setp.eq.u32 %p1, %r0, 0; mov.f32 %f1, 0f3FC00000; mov.u32 %r1, 0; "
        "@%p1 st.global.v2.u32 [%d0], {%r1, %r1}; bar.warp.sync -1;\n"
        "red.global.add.v2.f32 [%d0], {%f1, %f1}; bar.warp.sync -1; ld.global.u32 %r1, "
        "[%d0+4];" STORE("%r1"),
        out);
  const float want = 48;
  cr_assert_eq(memcmp(out, &want, 4), 0);
  run32("",
        "mov.u32 %r1, 0x3c004000; setp.eq.u32 %p1, %r0, 0;\n"
        "@%p1 st.global.u32 [%d0], 0; bar.warp.sync -1; "
        "red.global.add.noftz.f16x2 [%d0], %r1; bar.warp.sync -1; ld.global.u32 %r2, [%d0];" STORE(
            "%r2"),
        out);
  cr_assert_eq(out[0], 0x50005400);
  /* subnormal numbers: none in global memory */
  run32("",
        "mov.u32 %r1, 0x00400000; setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%d0], 0;\n"
        "bar.warp.sync -1; red.global.add.f32 [%d0], 0f00400000; bar.warp.sync -1;\n"
        "ld.global.u32 %r1, [%d0];" STORE("%r1"),
        out);
  cr_assert_eq(out[0], 0);
  run32("", "atom.global.inc.u32 %r1, [%d0], 3; atom.global.exch.b32 %r2, [%d0], 9;" STORE("%r2"),
        out);
  cr_assert_eq(out[31], 9);
}

/* One side keeps 64 bits over a shuffle that the other side comes to later, by way of other
** words. */
#define TWO_SIDES(compare)                                                                         \
  LOAD compare " %p1, %r0, 16; @%p1 bra WORDS;\n"                                                  \
               "mul.wide.u32 %d10, %r0, 3; mul.wide.u32 %d11, %r0, 5;\n"                           \
               "shfl.sync.bfly.b32 %r3, %r1, 16, 31, -1;\n"                                        \
               "add.s64 %d10, %d10, %d11; cvt.u32.u64 %r2, %d10; bra END;\n"                       \
               "WORDS: mov.u32 %r10, -1; add.u32 %r11, %r10, %r0; add.u32 %r12, %r11, %r10;\n"     \
               "xor.b32 %r13, %r10, %r11; xor.b32 %r13, %r13, %r12; add.u32 %r13, %r13, %r10;\n"   \
               "shfl.sync.bfly.b32 %r3, %r13, 16, 31, -1; mov.u32 %r2, 0;\n"                       \
               "END:" STORE("%r2")

Test(sim_warp, values_of_64_bits_live_on_while_other_lanes_write_words) {
  uint32_t out[32]; /* whichever side runs first */
  run32("", TWO_SIDES("setp.lt.u32"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i < 16 ? 0 : 8 * i);
  run32("", TWO_SIDES("setp.ge.u32"), out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i < 16 ? 8 * i : 0);
}
