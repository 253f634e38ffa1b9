/* SPDX-License-Identifier: MIT */
/* Instruction mixes of inner loops, from PTX and from SASS. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/compile/compile.h"
#include "gen/inspect/instruction_mix.h"

static qp_instruction_mix mix_of(const char *ptx, const char *kernel) {
  qp_error err = {.text = ""};
  qp_instruction_mix m = {0};
  cr_assert_eq(qp_instruction_mix_ptx(ptx, kernel, &m, &err), QP_OK, "%s", err.text);
  cr_assert_not(m.sass);
  cr_assert_eq(m.total, m.integer_alu + m.integer_mul + m.half_math + m.float_math + m.mma +
                            m.shared_load + m.shared_store + m.global_load + m.global_store +
                            m.atomic + m.shuffle + m.barrier + m.convert + m.control + m.other);
  return m;
}

#define ENTRY(body) ".visible .entry k(\n\t.param .u64 k_param_0\n)\n.maxntid 128\n{\n" body "}\n"

Test(mix, every_kind_of_instruction_is_counted_with_its_pipe) {
  const qp_instruction_mix m =
      mix_of(ENTRY("\t.reg .b32 %r<9>;\n"
                   "$L__BB0_1:\n"
                   "\tshf.l.wrap.b32 %r1, %r2, %r3, 6;\n\tlop3.b32 %r1, %r2, %r3, %r4, 0x6a;\n"
                   "\tadd.s32 %r1, %r2, 4;\n"              /* 3 integer_alu */
                   "\tmad.lo.s32 %r1, %r2, %r3, %r1;\n"    /* integer_mul */
                   "\tdp4a.u32.u32 %r1, %r2, %r3, %r4;\n"  /* integer_mul */
                   "\tfma.rn.f16x2 %r1, %r2, %r3, %r4;\n"  /* half_math */
                   "\tfma.rn.bf16x2 %r1, %r2, %r3, %r4;\n" /* half_math */
                   "\tfma.rn.f32 %f1, %f2, %f3, %f4;\n\tadd.f32 %f1, %f2, %f3;\n"
                   "\tmul.f64 %fd1, %fd2, %fd3;\n" /* 3 float_math */
                   "\tmma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, "
                   "{%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};\n" /* mma */
                   "\tld.shared.v4.u32 {%r1,%r2,%r3,%r4}, [%r5];\n"
                   "\tldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1,%r2,%r3,%r4}, [%r5];\n"
                   "\tst.shared::cta.b32 [%r1], %r2;\n" /* shared_store */
                   "\tld.global.nc.v4.u32 {%r1,%r2,%r3,%r4}, [%rd1];\n\tld.f32 %f1, [%rd1];\n"
                   "\tcp.async.cg.shared.global [%r1], [%rd1], 16;\n" /* 3 global_load */
                   "\tst.global.f32 [%rd1], %f1;\n"
                   "\tcp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r1], %r2;\n"
                   "\tred.global.add.f32 [%rd1], %f1;\n"                      /* atomic */
                   "\tshfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, -1;\n"          /* shuffle */
                   "\tbar.sync 0;\n\tcp.async.wait_group 0;\n"                /* 2 barrier */
                   "\tcvt.rn.f16.f32 %rs1, %f1;\n"                            /* convert */
                   "\tmov.b32 %r1, %r2;\n\tld.param.u64 %rd1, [k_param_0];\n" /* 2 other */
                   "\tsetp.ne.s32 %p1, %r1, 0;\n"                             /* integer_alu */
                   "\t@%p1 bra $L__BB0_1;\n"                                  /* control */
                   "\tret;\n"),
             "k");
  cr_assert_eq(m.integer_alu, 4);
  cr_assert_eq(m.integer_mul, 2);
  cr_assert_eq(m.half_math, 2);
  cr_assert_eq(m.float_math, 3);
  cr_assert_eq(m.mma, 1);
  cr_assert_eq(m.shared_load, 2);
  cr_assert_eq(m.shared_store, 1);
  cr_assert_eq(m.global_load, 3);
  cr_assert_eq(m.global_store, 2);
  cr_assert_eq(m.atomic, 1);
  cr_assert_eq(m.shuffle, 1);
  cr_assert_eq(m.barrier, 2);
  cr_assert_eq(m.convert, 1);
  cr_assert_eq(m.control, 1);
  cr_assert_eq(m.other, 2);
  cr_assert_eq(m.total, 28);
}

Test(mix, the_loop_with_most_instructions_of_its_own_is_counted) {
  const qp_instruction_mix m =
      mix_of(ENTRY("$outer:\n"
                   "\tmul.lo.s32 %r1, %r1, %r2;\n\tmul.lo.s32 %r1, %r1, %r2;\n"
                   "\tmul.lo.s32 %r1, %r1, %r2;\n\tmul.lo.s32 %r1, %r1, %r2;\n"
                   "$short:\n"
                   "\tadd.s32 %r1, %r1, 1;\n"
                   "\t@%p1 bra $short;\n"
                   "$long:\n"
                   "\tadd.f32 %f1, %f1, %f2;\n\tadd.f32 %f1, %f1, %f2;\n"
                   "\t@%p1 bra $long;\n"
                   "\t@%p1 bra $outer;\n"
                   "\tret;\n"),
             "k");
  cr_assert_eq(m.float_math, 0);
  cr_assert_eq(m.integer_alu, 0);
  cr_assert_eq(m.integer_mul, 4);
  cr_assert_eq(m.total, 5);
}

Test(mix, blocks_of_a_loop_that_lie_behind_it_belong_to_it) {
  const qp_instruction_mix m = mix_of(ENTRY("$head:\n"
                                            "\t@%p2 bra $aside;\n"
                                            "$back:\n"
                                            "\tadd.s32 %r1, %r1, 1;\n"
                                            "\t@%p1 bra $head;\n"
                                            "\tret;\n"
                                            "$aside:\n"
                                            "\tmul.lo.s32 %r1, %r1, %r1;\n"
                                            "\tbra.uni $back;\n"),
                                      "k");
  cr_assert_eq(m.integer_alu, 1);
  cr_assert_eq(m.integer_mul, 1);
  cr_assert_eq(m.control, 3, "%u", m.control);
  cr_assert_eq(m.total, 5);
}

Test(mix, a_wait_on_a_barrier_inside_a_loop_is_not_the_inner_loop) {
  const qp_instruction_mix m =
      mix_of(ENTRY("$head:\n"
                   "\t{\n\t.reg .pred P1;\n"
                   "WAIT:\n"
                   "\tmbarrier.try_wait.parity.shared::cta.b64 P1, [%r1], %r2;\n"
                   "\t@P1 bra DONE;\n"
                   "\tbra WAIT;\n"
                   "DONE:\n\t}\n"
                   "\t{\n"
                   "WAIT:\n" /* the same name in another scope */
                   "\tmbarrier.try_wait.parity.shared::cta.b64 P1, [%r1], %r2;\n"
                   "\t@P1 bra DONE;\n"
                   "\tbra WAIT;\n"
                   "DONE:\n\t}\n"
                   "\tfma.rn.f32 %f1, %f2, %f3, %f4;\n"
                   "\t@%p1 bra $head;\n"
                   "\tret;\n"),
             "k");
  cr_assert_eq(m.float_math, 1);
  cr_assert_eq(m.barrier, 2);
  cr_assert_eq(m.control, 5, "%u", m.control);
}

Test(mix, a_kernel_without_a_loop_is_counted_whole) {
  const qp_instruction_mix m = mix_of(ENTRY("\tadd.s32 %r1, %r1, 1;\n"
                                            "\t@%p1 bra $skip;\n"
                                            "\tadd.f32 %f1, %f1, %f1; /* a ; in a comment {\n */\n"
                                            "$skip:\n"
                                            "\tret;\n"
                                            "$never:\n"
                                            "\tbra.uni $never;\n"),
                                      "k");
  cr_assert_eq(m.integer_alu, 1);
  cr_assert_eq(m.float_math, 1);
  cr_assert_eq(m.total, 4);
}

Test(mix, jumps_through_a_table_are_followed) {
  const qp_instruction_mix m = mix_of(ENTRY("$head:\n"
                                            "$table: .branchtargets\n\t$one,\n\t$two;\n"
                                            "\tbrx.idx %r1, $table;\n"
                                            "$one:\n"
                                            "\tadd.s32 %r1, %r1, 1;\n"
                                            "\tbra.uni $next;\n"
                                            "$two:\n"
                                            "\tadd.f32 %f1, %f1, %f1;\n"
                                            "$next:\n"
                                            "\t@%p1 bra $head;\n"
                                            "\tret;\n"),
                                      "k");
  cr_assert_eq(m.integer_alu, 1);
  cr_assert_eq(m.float_math, 1);
  cr_assert_eq(m.control, 3, "%u", m.control);
}

Test(mix, a_kernel_is_found_by_its_whole_name_only) {
  static const char ptx[] = ".entry kk(.param .u32 a)\n{\n\tret;\n}\n"
                            ".entry k(.param .u32 a)\n{\n\tadd.s32 %r1, %r1, 1;\n\tret;\n}\n";
  const qp_instruction_mix m = mix_of(ptx, "k");
  cr_assert_eq(m.total, 2);
  qp_error err = {.text = ""};
  qp_instruction_mix untouched = {.total = 77};
  cr_assert_eq(qp_instruction_mix_ptx(ptx, "kkk", &untouched, &err), QP_E_ARG);
  cr_assert_not_null(strstr(err.text, "'kkk'"));
  cr_assert_eq(untouched.total, 77);
}

Test(mix, cut_text_never_reads_beyond_its_end) {
  static const char ptx[] =
      ENTRY("$head:\n\t@%p1 bra $head;\n\t{ $t: .branchtargets $head;\n\tbrx.idx %r1, $t; }\n"
            "\t// note\n\t/* note */ .loc 1 2 3\n\tret;\n");
  for (size_t n = 0; n < sizeof ptx; n++) {
    char *cut = malloc(n + 1); /* of just that size, for the address sanitizer */
    cr_assert_not_null(cut);
    memcpy(cut, ptx, n);
    cut[n] = 0;
    qp_instruction_mix m;
    qp_error err = {.text = ""};
    const qp_status s = qp_instruction_mix_ptx(cut, "k", &m, &err);
    cr_assert(s == QP_OK || s == QP_E_ARG);
    free(cut);
  }
}

/* ---- through NVRTC ---- */

/* A loop of 8 multiply-adds and 1 shuffle a turn, behind a loop that fills shared memory. */
static const char source[] =
    "extern \"C\" __global__ void work(float *y, const float *x, int n, float f) {\n"
    "  __shared__ float s[256];\n"
    "  for (int i = threadIdx.x; i < 256; i += blockDim.x) s[i] = x[i];\n"
    "  __syncthreads();\n"
    "  float a = 0;\n"
    "#pragma unroll 1\n"
    "  for (int i = 0; i < n; i++) {\n"
    "    float t = s[(i + threadIdx.x) & 255];\n"
    "#pragma unroll\n"
    "    for (int j = 0; j < 8; j++) t = t * f + x[8 * i + j];\n"
    "    a += __shfl_xor_sync(~0u, t, 1);\n"
    "  }\n"
    "  y[threadIdx.x] = a;\n"
    "}\n";

static qp_compiled compile(unsigned arch) {
  qp_error err = {.text = ""};
  qp_compiler *c = NULL;
  const qp_compiler_options opt = {.workers = 1, .cache_dir = ""};
  cr_assert_eq(qp_compiler_open(&opt, &c, &err), QP_OK, "%s", err.text);
  const qp_compile_job job = {
      .name = "work", .source = source, .arch = arch, .want_cubin = true, .want_ptx = true};
  qp_compiled out = {0};
  cr_assert_eq(qp_compiler_run(c, &job, &out, &err), QP_OK, "%s", err.text);
  qp_compiler_close(c);
  return out;
}

static void expect_work(const qp_instruction_mix *m) {
  cr_assert_eq(m->float_math, 9); /* 8 fused, 1 sum */
  cr_assert_eq(m->global_load, 8);
  cr_assert_eq(m->shared_load, 1);
  cr_assert_eq(m->shuffle, 1);
  cr_assert_eq(m->shared_store, 0);
  cr_assert_eq(m->barrier, 0);
  cr_assert(m->control >= 1);
}

Test(mix, the_inner_loop_of_compiled_ptx_has_the_source_s_operations) {
  static const unsigned archs[] = {80, 90, 120};
  for (size_t i = 0; i < 3; i++) {
    qp_compiled out = compile(archs[i]);
    const qp_instruction_mix m = mix_of(out.ptx, "work");
    expect_work(&m);
    qp_compiled_free(&out);
  }
}

Test(mix, the_inner_loop_of_disassembled_sass_has_the_source_s_operations) {
  static const unsigned archs[] = {80, 86, 89, 90, 100, 120};
  for (size_t i = 0; i < 6; i++) {
    qp_compiled out = compile(archs[i]);
    qp_error err = {.text = ""};
    qp_instruction_mix m = {0};
    const qp_status s = qp_instruction_mix_sass(out.cubin, out.cubin_bytes, "work", &m, &err);
    if (s == QP_E_MISSING) {
      qp_compiled_free(&out);
      cr_skip_test("no nvdisasm on this machine");
    }
    cr_assert_eq(s, QP_OK, "%s", err.text);
    cr_assert(m.sass);
    expect_work(&m);
    qp_compiled_free(&out);
  }
}

/* ---- a disassembler of our own making ---- */

static char fake_path[64];

/* Let QPAL_NVDISASM be a script that prints 'text' and ends with 'status'. */
static void fake_nvdisasm(const char *text, int status) {
  snprintf(fake_path, sizeof fake_path, "/tmp/qpal-nvdisasm-XXXXXX");
  const int fd = mkstemp(fake_path);
  cr_assert(fd >= 0);
  FILE *f = fdopen(fd, "w");
  cr_assert_not_null(f);
  fprintf(f, "#!/bin/sh\ncat <<'END'\n%s\nEND\nexit %d\n", text, status);
  fclose(f);
  cr_assert_eq(chmod(fake_path, 0700), 0);
  setenv("QPAL_NVDISASM", fake_path, 1);
}

static const char listing[] = "\t.section\t.text.kk,\"ax\",@progbits\n"
                              "kk:\n"
                              ".text.kk:\n"
                              "        /*0000*/                   HFMA2 R1, R2, R3, R4 ;\n"
                              "\t.section\t.text.k,\"ax\",@progbits\n"
                              "k:\n"
                              ".text.k:\n"
                              "        /*0000*/                   LDC R1, c[0x0][0x28] ;\n"
                              ".L_x_1:\n"
                              "        /*0010*/                   LDS R4, [R2] ;\n"
                              "        /*0020*/                   BSSY B0, `(.L_x_3) ;\n"
                              "        /*0030*/              @!P1 BRA `(.L_x_2) ;\n"
                              "        /*0040*/                   IMAD.WIDE.U32 R2, R2, 0x4, R6 ;\n"
                              "        /*0050*/                   BSYNC B0 ;\n"
                              ".L_x_3:\n"
                              "        /*0060*/                   BRA.U UP0, `(.L_x_1) ;\n"
                              "        /*0070*/                   EXIT ;\n"
                              ".L_x_2:\n"
                              "        /*0080*/                   LOP3.LUT R2, R2, R3, RZ, 0xc0 ;\n"
                              "        /*0090*/                   BRA `(.L_x_3) ;\n"
                              ".L_x_4:\n"
                              "        /*00a0*/                   BRA `(.L_x_4);\n"
                              "        /*00b0*/                   NOP;\n";

Test(mix, sass_is_read_with_predicates_modifiers_and_reconvergence) {
  fake_nvdisasm(listing, 0);
  qp_instruction_mix m = {0};
  qp_error err = {.text = ""};
  cr_assert_eq(qp_instruction_mix_sass("", 0, "k", &m, &err), QP_OK, "%s", err.text);
  cr_assert_eq(m.shared_load, 1);
  cr_assert_eq(m.integer_mul, 1);
  cr_assert_eq(m.integer_alu, 1);
  cr_assert_eq(m.half_math, 0);
  cr_assert_eq(m.control, 5, "%u", m.control);
  cr_assert_eq(m.total, 8);
  cr_assert_eq(qp_instruction_mix_sass("", 0, "kkk", &m, &err), QP_E_ARG);
  unlink(fake_path);
}

Test(mix, a_disassembler_that_fails_is_an_error_and_one_that_is_absent_is_missing) {
  fake_nvdisasm(listing, 3);
  qp_instruction_mix m = {.total = 77};
  qp_error err = {.text = ""};
  cr_assert_eq(qp_instruction_mix_sass("", 0, "k", &m, &err), QP_E_IO);
  cr_assert_eq(m.total, 77);
  unlink(fake_path);
  cr_assert_eq(qp_instruction_mix_sass("", 0, "k", &m, &err), QP_E_MISSING);
  cr_assert_not_null(strstr(err.text, "QPAL_NVDISASM"));
}
