/* SPDX-License-Identifier: MIT */
/* What the simulator must refuse, and what its messages say. */
#include "tests/sim/sim_kit.h"

#define SHARED ".shared .align 16 .b8 buf[4096];\n"
#define SLOT   "shl.b32 %r3, %r0, 2; mov.u32 %r9, buf; add.s32 %r3, %r3, %r9;\n"

/* Input: 256 bytes of zero; output: 4096 bytes. */
Test(sim_fault, accesses_out_of_bounds_are_found) {
  kit_fault("", "ld.global.u32 %r1, [%d0+256];", 32, QP_E_DEVICE, "out of bounds", "kernel 'k'",
            "block 0", "thread 0", "ld.global.u32 %r1, [%d0+256];", "256 bytes from the start",
            NULL);
  kit_fault("", "ld.global.u32 %r1, [%d0+-4];", 32, QP_E_DEVICE, "out of bounds", NULL);
  kit_fault("", "st.global.u32 [%d2], %r0;", 1024, QP_OK, NULL);
  kit_fault("", "st.global.u32 [%d2+4], %r0;", 1024, QP_E_DEVICE, "thread 1023", NULL);
  kit_fault("", "mov.u64 %d3, 0; ld.global.u32 %r1, [%d3];", 1, QP_E_DEVICE, "address 0x0", NULL);
  kit_fault("", "mov.u64 %d3, 64; st.u32 [%d3], %r0;", 1, QP_E_DEVICE, "address 0x40", NULL);
  kit_fault(SHARED, SLOT "st.shared.u32 [%r3+4096], %r0;", 32, QP_E_DEVICE, "out of bounds",
            "shared", NULL);
  kit_fault(SHARED, "mov.u32 %r1, 0; st.shared.u32 [%r1], %r0;", 32, QP_E_DEVICE, "out of bounds",
            NULL);
  kit_fault("", ".local .align 4 .b8 l[8]; st.local.u32 [l+16], %r0;", 1, QP_E_DEVICE, "local",
            NULL);
  kit_fault("", "atom.global.add.u32 %r1, [%d0+256], 1;", 1, QP_E_DEVICE, "out of bounds", NULL);
}

Test(sim_fault, misaligned_accesses_are_found) {
  kit_fault("", "ld.global.u32 %r1, [%d0+2];", 1, QP_E_DEVICE, "misaligned", NULL);
  kit_fault("", "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0+8];", 1, QP_E_DEVICE, "misaligned",
            "16 bytes", NULL);
  kit_fault(SHARED, "mov.u32 %r1, buf; st.shared.u64 [%r1+4], %d0;", 1, QP_E_DEVICE, "misaligned",
            "shared", NULL);
  kit_fault(SHARED, "mov.u32 %r1, buf; st.shared.u64 [%r1], %d0; ld.shared.u32 %r2, [%r1+2];", 1,
            QP_E_DEVICE, "misaligned", "shared", NULL);
}

Test(sim_fault, reads_of_what_nothing_wrote_are_found) {
  kit_fault(SHARED, SLOT "ld.shared.u32 %r1, [%r3];", 32, QP_E_DEVICE, "uninitialised", "shared",
            NULL);
  kit_fault(SHARED, "mov.u32 %r9, buf; st.shared.u16 [%r9], %h1; ld.shared.u32 %r1, [%r9];", 1,
            QP_E_DEVICE, "uninitialised", "0x402", NULL);
  kit_fault("", ".local .align 4 .b8 l[8]; ld.local.u32 %r1, [l];", 1, QP_E_DEVICE, "uninitialised",
            "local", NULL);
  kit k;
  kit_open(&k, "sim");
  kit_buffers(&k, NULL, 0, 128); /* the input is allocated and not written */
  cr_assert_eq(kit_run(&k, "", "ld.global.u32 %r1, [%d0];", 1, 1, 0), QP_E_DEVICE);
  cr_assert(strstr(k.err.text, "uninitialised"), "%s", k.err.text);
  kit_close(&k);
}

Test(sim_fault, races_in_shared_memory_are_found) {
  /* all lanes write one word */
  kit_fault(SHARED, "mov.u32 %r9, buf; st.shared.u32 [%r9], %r0;", 32, QP_E_DEVICE, "race",
            "thread 1:", "thread 0 wrote", NULL);
  /* write, then read a neighbour's word */
  kit_fault(SHARED, SLOT "st.shared.u32 [%r3], %r0; xor.b32 %r4, %r3, 4; ld.shared.u32 %r5, [%r4];",
            32, QP_E_DEVICE, "race", "reads", NULL);
  /* the same between warps, where __syncwarp does not help */
  kit_fault(SHARED,
            SLOT "st.shared.u32 [%r3], %r0; bar.sync 0; st.shared.u32 [%r3], %r0;\n"
                 "bar.warp.sync -1; xor.b32 %r4, %r3, 128; ld.shared.u32 %r5, [%r4];",
            64, QP_E_DEVICE, "race", NULL);
  /* read, then another thread writes without a barrier */
  kit_fault(SHARED,
            SLOT "st.shared.u32 [%r3], %r0; bar.sync 0; xor.b32 %r4, %r3, 128;\n"
                 "ld.shared.u32 %r5, [%r4]; st.shared.u32 [%r3], %r5;",
            64, QP_E_DEVICE, "race", NULL);
  /* many readers, then one of them writes */
  kit_fault(
      SHARED,
      "mov.u32 %r9, buf; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r9], %r0; bar.sync 0;\n"
      "ld.shared.u32 %r5, [%r9]; bar.warp.sync -1; setp.eq.u32 %p2, %r0, 63;\n"
      "@%p2 st.shared.u32 [%r9], %r5;",
      64, QP_E_DEVICE, "race", NULL);
  /* readers of another warp, which runs first behind the barrier, then a write */
  kit_fault(SHARED,
            "mov.u32 %r9, buf; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r9], %r0;\n"
            "bar.sync 0; setp.ge.u32 %p2, %r0, 32; @%p2 ld.shared.u32 %r5, [%r9];\n"
            "@%p1 st.shared.u32 [%r9], %r0;",
            64, QP_E_DEVICE, "race", "thread 0: race: writes", "thread 63 read", NULL);
  /* bytes of one word belong to different threads: no race; nor do atomics race */
  kit_fault(
      SHARED,
      "mov.u32 %r9, buf; add.s32 %r3, %r9, %r0; cvt.u16.u32 %h1, %r0;\n"
      "st.shared.u8 [%r3], %h1; bar.sync 0; ld.shared.u8 %h2, [%r3]; st.shared.u8 [%r3], %h2;",
      64, QP_OK, NULL);
  /* nor do volatile accesses, but with what is none */
#define BEGUN                                                                                      \
  "mov.u32 %r9, buf; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r9], 0; bar.sync 0;\n"
  kit_fault(SHARED,
            BEGUN "@%p1 st.volatile.shared.u32 [%r9], 1; ld.volatile.shared.u32 %r1, [%r9];", 64,
            QP_OK, NULL);
  kit_fault(SHARED, BEGUN "@%p1 st.volatile.shared.u32 [%r9], 1; ld.shared.u32 %r1, [%r9];", 64,
            QP_E_DEVICE, "race", NULL);
  kit_fault(SHARED,
            "mov.u32 %r9, buf; setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r9], 0; bar.sync 0;\n"
            "atom.shared.add.u32 %r1, [%r9], 1; red.shared.add.u32 [%r9], 1;",
            64, QP_OK, NULL);
}

Test(sim_fault, switches_turn_checks_off) {
  kit k;
  kit_open(&k, "sim");
  kit_buffers(&k, NULL, 0, 128);
  const qp_sim_switches off = {.thread_limit = 1000};
  cr_assert_eq(qp_sim_switches_set(k.dev, &off, &k.err), QP_OK);
  cr_assert_eq(kit_run(&k, SHARED,
                       "mov.u32 %r9, buf; st.shared.u32 [%r9], %r0;\n"
                       "ld.global.u32 %r1, [%d0];",
                       1, 32, 0),
               QP_OK, "%s", k.err.text);
  const qp_sim_switches none = {.thread_limit = 0};
  cr_assert_eq(qp_sim_switches_set(k.dev, &none, &k.err), QP_E_ARG);
  kit_close(&k);
}

Test(sim_fault, barriers_that_not_all_reach_are_found) {
  kit_fault("", "setp.lt.u32 %p1, %r0, 40; @%p1 bar.sync 0;", 64, QP_E_DEVICE, "divergent",
            "40 of 64", "thread 40", "has ended", NULL);
  kit_fault("", "setp.eq.u32 %p1, %r0, 3; @%p1 exit; bar.sync 0;", 32, QP_E_DEVICE, "divergent",
            "31 of 32", "thread 3 has ended", NULL);
  kit_fault("", "setp.lt.u32 %p1, %r0, 32; @%p1 bar.sync 1; @!%p1 bar.sync 2;", 64, QP_E_DEVICE,
            "divergent", "waits elsewhere", NULL);
  kit_fault("", "bar.sync 16;", 32, QP_E_DEVICE, "no barrier 16", NULL);
  kit_fault("", "bar.sync 1, 48;", 64, QP_E_DEVICE, "not a multiple of 32", NULL);
  kit_fault("", "bar.sync 1, 128;", 64, QP_E_DEVICE, "larger than the block", NULL);
}

Test(sim_fault, collectives_without_their_lanes_are_found) {
  kit_fault("",
            "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\n"
            "@!%p1 bar.sync 0;",
            32, QP_E_DEVICE, "waits for lanes 0xffffffff", "never come", NULL);
  kit_fault("", "shfl.sync.bfly.b32 %r1, %r0, 1, 31, 1;", 32, QP_E_DEVICE, "not in the member mask",
            NULL);
  kit_fault("", "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 0xffff;", 32,
            QP_E_DEVICE, "does not take part", NULL);
  const char *mma = "mov.f32 %f1, 0f00000000; mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                    "{%f1,%f1,%f1,%f1}, {%r1,%r1}, {%r1}, {%f1,%f1,%f1,%f1};";
  kit_fault("", mma, 16, QP_E_DEVICE, "needs all 32 lanes", NULL);
  kit_fault("", mma, 32, QP_OK, NULL);
}

Test(sim_fault, endless_loops_and_traps_end) {
  kit_fault("", "AGAIN: bar.sync 0; bra AGAIN;", 64, QP_E_DEVICE, "timeout", "limit of 100000",
            NULL);
  kit_fault("", "L: bra L;", 32, QP_E_DEVICE, "timeout", "bra L", NULL);
  kit_fault("", "setp.eq.u32 %p1, %r0, 7; @%p1 trap;", 32, QP_E_DEVICE, "trap", "thread 7", NULL);
}

#define MB ".shared .align 8 .b64 bar8;\n"
Test(sim_fault, copies_that_were_not_waited_for_are_found) {
  kit_fault(SHARED,
            SLOT "mul.wide.u32 %d3, %r0, 4; add.s64 %d3, %d0, %d3;\n"
                 "cp.async.ca.shared.global [%r3], [%d3], 4; cp.async.commit_group;\n"
                 "cp.async.wait_group 1; ld.shared.u32 %r4, [%r3];",
            32, QP_E_DEVICE, "asynchronous copy", "not been waited for", NULL);
  kit_fault(SHARED MB,
            "mov.u32 %r9, bar8; mov.u32 %r8, buf; mbarrier.init.shared.b64 [%r9], 1;\n"
            "mbarrier.arrive.expect_tx.shared.b64 _, [%r9], 64;\n"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r8], [%d0], 64, "
            "[%r9];\nld.shared.u32 %r1, [%r8];",
            1, QP_E_DEVICE, "asynchronous copy", NULL);
  kit_fault(SHARED MB,
            "mov.u32 %r9, bar8; mov.u32 %r8, buf;\n"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r8], [%d0], 64, "
            "[%r9];",
            1, QP_E_DEVICE, "no mbarrier", NULL);
  kit_fault(SHARED MB,
            "mov.u32 %r9, bar8; mov.u32 %r8, buf; mbarrier.init.shared.b64 [%r9], 1;\n"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r8], [%d0], 512, "
            "[%r9];",
            1, QP_E_DEVICE, "out of bounds", NULL);
  kit_fault(MB,
            "mov.u32 %r9, bar8; mbarrier.init.shared.b64 [%r9], 1;\n"
            "mbarrier.arrive.shared.b64 _, [%r9], 2;",
            1, QP_E_DEVICE, "2 arrivals", NULL);
  kit_fault(MB,
            "mov.u32 %r9, bar8; mbarrier.init.shared.b64 [%r9], 1;\n"
            "L: mbarrier.try_wait.parity.shared.b64 %p1, [%r9], 0; @!%p1 bra L;",
            1, QP_E_DEVICE, "timeout", NULL);
}

Test(sim_fault, constant_memory_cannot_be_written) {
  kit_fault(".const .align 4 .b32 c[2] = {1, 2};\n", "mov.u64 %d3, c; st.global.u32 [%d3], %r0;", 1,
            QP_E_DEVICE, "constant memory", NULL);
}

Test(sim_fault, unknown_text_is_refused_with_its_line) {
  kit_fault("", "frobnicate.u32 %r1, %r2;", 1, QP_E_COMPILE, "PTX line 10", "unknown instruction",
            "frobnicate", NULL);
  kit_fault("", "add.u31 %r1, %r2, %r3;", 1, QP_E_COMPILE, "unknown instruction", NULL);
  kit_fault("", "add.s32.wild %r1, %r2, %r3;", 1, QP_E_COMPILE, NULL);
  kit_fault("", "add.s32 %r1, %r2;", 1, QP_E_COMPILE, "takes 3 operands", NULL);
  kit_fault("", "add.s32 %r1, %r2, %d3;", 1, QP_E_COMPILE, "has 64 bits", NULL);
  kit_fault("", "add.s32 %r1, %r2, %nothing;", 1, QP_E_COMPILE, "not declared", NULL);
  kit_fault("", "add.f32 %f1, %f2, 3;", 1, QP_E_COMPILE, "floating-point", NULL);
  kit_fault("", "bra NOWHERE;", 1, QP_E_COMPILE, "label 'NOWHERE'", NULL);
  kit_fault("", "A: A: ret;", 1, QP_E_COMPILE, "twice", NULL);
  kit_fault("", "ld.global.u32 %h1, [%d0];", 1, QP_E_COMPILE, "has 16 bits", NULL);
  kit_fault("", "ld.param.u32 %r1, [a+16];", 1, QP_E_COMPILE, "16 bytes of parameters", NULL);
  kit_fault("", "@%r1 ret;", 1, QP_E_COMPILE, "guard", NULL);
  kit_fault("", "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f1};", 1,
            QP_E_COMPILE, "not known", NULL);
  kit_fault(".texref t;", "ret;", 1, QP_E_COMPILE, ".texref", NULL);
  kit_fault("", "add.s32 %r1, %r2, ;", 1, QP_E_COMPILE, NULL);
  kit_fault("", "{ ret;", 1, QP_E_COMPILE, "'}' expected", NULL);
}
