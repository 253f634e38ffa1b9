/* SPDX-License-Identifier: MIT */
/* Races in global memory within a launch: between lanes, warps and blocks. */
#include "tests/sim/sim_kit.h"

/* Runs a body, in which %r9 is the block and out begins as bytes of 0; a race must be found or
   not. */
static void run(const char *body, unsigned grid, unsigned block, uint64_t schedule,
                const char *race) {
  kit k;
  char text[4096];
  const uint32_t in[64] = {0};
  kit_open(&k, "sim:sm_90");
  kit_buffers(&k, in, sizeof in, 4096);
  cr_assert_eq(qp_device_fill(k.dev, k.out, 0, 4096, &k.err), QP_OK);
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(k.dev, &s, &k.err), QP_OK);
  s.schedule = schedule;
  cr_assert_eq(qp_sim_switches_set(k.dev, &s, &k.err), QP_OK);
  snprintf(text, sizeof text, "mov.u32 %%r9, %%ctaid.x;\n%s", body);
  const qp_status got = kit_run(&k, "", text, grid, block, 0);
  cr_expect_eq(got, race ? QP_E_DEVICE : QP_OK, "%s: %s", body, k.err.text);
  if (race) {
    cr_expect(strstr(k.err.text, "race: "), "%s", k.err.text);
    cr_expect(strstr(k.err.text, race), "'%s' is not in: %s", race, k.err.text);
  }
  kit_close(&k);
}

static void found(const char *body, unsigned grid, unsigned block, const char *race) {
  for (uint64_t seed = 0; seed < 4; seed++) run(body, grid, block, seed, race);
}
static void fine(const char *body, unsigned grid, unsigned block) {
  for (uint64_t seed = 0; seed < 4; seed++) run(body, grid, block, seed, NULL);
}

#define OWN "st.global.u32 [%d2], %r0;\n"
#define NEXT                                                                                       \
  "xor.b32 %r1, %r0, 1; mul.wide.u32 %d3, %r1, 4; add.s64 %d3, %d1, %d3;\n"                        \
  "ld.global.u32 %r2, [%d3];\n"
#define NEXT_WARP                                                                                  \
  "xor.b32 %r1, %r0, 32; mul.wide.u32 %d3, %r1, 4; add.s64 %d3, %d1, %d3;\n"                       \
  "ld.global.u32 %r2, [%d3];\n"

Test(sim_order, threads_of_a_block_need_a_barrier) {
  found("st.global.u32 [%d1], %r0;", 1, 32, "writes");
  found(OWN NEXT, 1, 32, "reads");
  fine(OWN "bar.warp.sync -1;\n" NEXT, 1, 32);
  found(OWN "bar.warp.sync -1;\n" NEXT_WARP, 1, 64, "global address");
  fine(OWN "bar.sync 0;\n" NEXT_WARP, 1, 64);
  found("ld.global.u32 %r2, [%d1]; setp.eq.u32 %p1, %r0, 40; @%p1 st.global.u32 [%d1], %r2;", 1, 64,
        "global address");
}

Test(sim_order, shuffles_and_votes_order_no_memory) {
  found(OWN "shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1;\n" NEXT, 1, 32, "reads");
  found(OWN "vote.sync.any.pred %p1, %p2, -1;\n" NEXT, 1, 32, "reads");
  kit_fault(".shared .align 16 .b8 buf[4096];\n",
            "shl.b32 %r3, %r0, 2; mov.u32 %r9, buf; add.s32 %r3, %r3, %r9;\n"
            "st.shared.u32 [%r3], %r0; shfl.sync.bfly.b32 %r4, %r0, 1, 31, -1;\n"
            "xor.b32 %r4, %r3, 4; ld.shared.u32 %r5, [%r4];",
            32, QP_E_DEVICE, "race", "shared", NULL);
}

Test(sim_order, blocks_are_not_ordered) {
  found("st.global.u32 [%d2], %r9;", 2, 32, "writes");
  found("setp.eq.u32 %p1, %r9, 0; @%p1 st.global.u32 [%d2], %r0;\n"
        "@!%p1 ld.global.u32 %r2, [%d2];",
        2, 32, "");
  found("ld.global.u32 %r2, [%d2]; setp.eq.u32 %p1, %r9, 1; @%p1 st.global.u32 [%d2], %r0;", 3, 32,
        "");
  /* atomics do not race with each other, but with what is none */
  fine("red.global.add.u32 [%d1], 1; atom.global.add.u32 %r1, [%d1], 1;", 2, 64);
  found("red.global.add.u32 [%d1], 1; ld.global.u32 %r1, [%d1];", 2, 64, "reads");
  /* bytes of one word, of which each block reads and writes its own */
  fine("shl.b32 %r3, %r9, 1; cvt.u64.u32 %d4, %r3; add.s64 %d4, %d1, %d4;\n"
       "setp.eq.u32 %p1, %r0, 0; @%p1 ld.global.u16 %h1, [%d4]; @%p1 st.global.u16 [%d4], %h1;",
       4, 32);
  fine("cvt.u16.u32 %h1, %r9; cvt.u64.u32 %d4, %r9; add.s64 %d4, %d1, %d4;\n"
       "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u8 [%d4], %h1;",
       4, 32);
}

/* Each lane stores a word of its block; the last block to come at the counter reads the other's. */
#define LAST(store_to_arrival, arrive, arrival_to_read)                                            \
  "shl.b32 %r3, %r9, 5; add.s32 %r3, %r3, %r0; mul.wide.u32 %d3, %r3, 4; add.s64 %d3, %d1, %d3;\n" \
  "st.global.u32 [%d3+128], %r0;\n" store_to_arrival "mov.u32 %r4, 0;\n"                           \
  "setp.eq.u32 %p1, %r0, 0; @%p1 " arrive " %r4, [%d1], 1;\n"                                      \
  "shfl.sync.idx.b32 %r4, %r4, 0, 31, -1;\n" arrival_to_read                                       \
  "setp.eq.u32 %p2, %r4, 0; @%p2 bra END; xor.b32 %r3, %r3, 33;\n"                                 \
  "mul.wide.u32 %d3, %r3, 4; add.s64 %d3, %d1, %d3; ld.global.cg.u32 %r5, [%d3+128];\n END:"
#define SYNC "bar.warp.sync -1;\n"

Test(sim_order, a_release_that_is_acquired_orders_blocks) {
  fine(LAST(SYNC, "atom.acq_rel.gpu.global.add.u32", SYNC), 2, 32);
  found(LAST(SYNC, "atom.relaxed.gpu.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST(SYNC, "atom.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST(SYNC, "atom.acquire.gpu.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST(SYNC, "atom.release.gpu.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST(SYNC, "atom.acq_rel.cta.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST("", "atom.acq_rel.gpu.global.add.u32", SYNC), 2, 32, "reads");
  found(LAST(SYNC, "atom.acq_rel.gpu.global.add.u32", ""), 2, 32, "reads");
}

Test(sim_order, fences_around_relaxed_atomics_order_blocks) {
  fine(LAST(SYNC "fence.acq_rel.gpu;\n", "atom.global.add.u32", "membar.gl;\n" SYNC), 2, 32);
  fine(LAST(SYNC "membar.gl;\n", "atom.global.add.u32", "fence.sc.gpu;\n" SYNC), 2, 32);
  found(LAST(SYNC, "atom.global.add.u32", "membar.gl;\n" SYNC), 2, 32, "reads");
  found(LAST(SYNC "membar.gl;\n", "atom.global.add.u32", SYNC), 2, 32, "reads");
}

/* What a block's first warp has acquired its other warp knows behind a barrier. */
Test(sim_order, barriers_hand_on_what_was_acquired) {
#define HAND_ON(barrier)                                                                           \
  "setp.lt.u32 %p3, %r0, 32; mul.wide.u32 %d4, %r9, 4; add.s64 %d4, %d1, %d4;\n"                   \
  "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%d4+128], %r9;\n"                                  \
  "@%p1 atom.acq_rel.gpu.global.add.u32 %r4, [%d1], 1;\n@%p1 st.global.u32 [%d4+256], "            \
  "%r4;\n" barrier "ld.global.u32 %r5, [%d4+256]; setp.eq.u32 %p2, %r5, 0; @%p2 bra END;\n"        \
  "xor.b32 %r3, %r9, 1; mul.wide.u32 %d4, %r3, 4; add.s64 %d4, %d1, %d4;\n"                        \
  "ld.global.u32 %r5, [%d4+128];\n END:"
  fine(HAND_ON("bar.sync 0;\n"), 2, 64);
  found(HAND_ON("bar.warp.sync -1;\n"), 2, 64, "global address");
}

Test(sim_order, what_is_read_past_coherence_is_not_written) {
  found("ld.global.nc.u32 %r1, [%d2]; st.global.u32 [%d2], %r1;", 1, 32, "not coherent");
  found("st.global.u32 [%d2], %r0; ld.global.nc.u32 %r1, [%d2];", 1, 32, "not coherent");
  fine("ld.global.nc.u32 %r1, [%d0]; st.global.u32 [%d2], %r1;", 1, 32);
}

/* One block writes and releases, the other reads what it has acquired. */
#define HANDED(release, acquire)                                                                   \
  "setp.eq.u32 %p1, %r9, 0; @!%p1 bra WAIT; mov.u32 %r2, 1; st.global.u32 [%d1+128], %r2;\n"       \
  "st." release ".global.u32 [%d1], %r2; bra END;\n"                                               \
  "WAIT: ld." acquire ".global.u32 %r2, [%d1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT;\n"          \
  "ld.global.u32 %r3, [%d1+128];\n END:"

Test(sim_order, loads_acquire_what_stores_release) {
  fine(HANDED("release.gpu", "acquire.gpu"), 2, 1);
  found(HANDED("release.gpu", "relaxed.gpu"), 2, 1, "reads");
  found(HANDED("relaxed.gpu", "acquire.gpu"), 2, 1, "reads");
}

/* Lanes 128 bytes apart, whose words are not all of one page; then another warp writes one. */
#define APART(written)                                                                             \
  "mul.wide.u32 %d3, %r0, 128; add.s64 %d3, %d1, %d3; setp.lt.u32 %p1, %r0, 32;\n"                 \
  "@%p1 ld.global.u32 %r2, [%d3]; setp.eq.u32 %p2, %r0, 32; @%p2 st.global.u32 [%d1+" written      \
  "], %r0;"

Test(sim_order, each_lane_of_a_load_is_ordered) {
  found(APART("0"), 1, 64, "global address");
  found(APART("2048"), 1, 64, "global address");
  found(APART("3968"), 1, 64, "global address");
  fine(APART("3972"), 1, 64);
}

Test(sim_order, lanes_before_one_that_reads_what_nothing_wrote_are_ordered) {
  kit k;
  const uint32_t in[4] = {0};
  kit_open(&k, "sim:sm_90");
  kit_buffers(&k, in, sizeof in, 256);
  cr_assert_eq(qp_device_alloc(k.dev, 256, &k.out, &k.err), QP_OK);
  cr_assert_eq(qp_device_fill(k.dev, k.out, 0, 16, &k.err), QP_OK); /* of its first four words */
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(k.dev, &s, &k.err), QP_OK);
  s.uninitialised = false;
  cr_assert_eq(qp_sim_switches_set(k.dev, &s, &k.err), QP_OK);
  const char *body = "setp.lt.u32 %p1, %r0, 32; @%p1 ld.global.u32 %r2, [%d2];\n"
                     "setp.eq.u32 %p2, %r0, 32; @%p2 st.global.u32 [%d1+4], %r0;";
  cr_assert_eq(kit_run(&k, "", body, 1, 64, 0), QP_E_DEVICE);
  cr_expect(strstr(k.err.text, "race: "), "%s", k.err.text);
  kit_close(&k);
}

Test(sim_order, launches_come_one_after_the_other) {
  kit k;
  const uint32_t in[4] = {0};
  kit_open(&k, "sim:sm_90");
  kit_buffers(&k, in, sizeof in, 256);
  for (unsigned i = 0; i < 3; i++)
    cr_assert_eq(kit_run(&k, "", i % 2 ? "ld.global.u32 %r1, [%d1+4];" : OWN, 1, 32, 0), QP_OK,
                 "%s", k.err.text);
  kit_close(&k);
}
