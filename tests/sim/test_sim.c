/* SPDX-License-Identifier: MIT */
/* The simulator as a device: names, memory, modules, functions, launches, counters. */
#include "runtime/sim/memory.h"
#include "tests/sim/sim_kit.h"

#include <math.h>

Test(sim, devices_are_opened_by_name) {
  static const struct {
    const char *name;
    unsigned arch, sms, smem;
  } good[] = {{"sim", 90, 4, 232448},         {"sim:sm_80", 80, 4, 166912},
              {"sim:sm_86:2", 86, 2, 101376}, {"sim:sm_89", 89, 4, 101376},
              {"sim:sm_100", 100, 4, 232448}, {"sim:120:1", 120, 1, 101376},
              {"sim:75", 75, 4, 65536},       {"sim:121", 121, 4, 101376}};
  qp_error err = {0};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    qp_device *d;
    cr_assert_eq(qp_device_open(good[i].name, &d, &err), QP_OK, "%s", err.text);
    cr_assert_eq(d->info.arch, good[i].arch);
    cr_assert_eq(d->info.sm_count, good[i].sms);
    cr_assert_eq(d->info.smem_block_bytes, good[i].smem);
    cr_assert(d->info.simulated);
    cr_assert_str_eq(d->info.name, "PTX simulator");
    qp_device_close(d);
  }
  static const char *const bad[] = {
      "",           "simulator", "sim:",   "sim:sm_70", "sim:sm_90:0",    "sim:90:4:1",
      "sim:sm_90:", "cuda:",     "cuda:x", "gpu",       "sim:sm_90:99999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    qp_device *d = NULL;
    cr_assert_eq(qp_device_open(bad[i], &d, &err), QP_E_ARG, "%s", bad[i]);
    cr_assert_null(d);
  }
}

Test(sim, memory_is_aligned_checked_and_reused) {
  kit k;
  kit_open(&k, "sim");
  qp_devptr p[3];
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(qp_device_alloc(k.dev, 1000, &p[i], &k.err), QP_OK);
    cr_assert_eq(p[i] % 256, 0);
  }
  char text[1000] = "some bytes", back[1000] = {0};
  cr_assert_eq(qp_device_upload(k.dev, p[1], text, sizeof text, &k.err), QP_OK);
  cr_assert_eq(qp_device_download(k.dev, back, p[1], sizeof back, &k.err), QP_OK);
  cr_assert_arr_eq(text, back, sizeof text);
  cr_assert_eq(qp_device_upload(k.dev, p[1] + 1, text, sizeof text, &k.err), QP_E_ARG);
  cr_assert_eq(qp_device_download(k.dev, back, 0, 1, &k.err), QP_E_ARG);
  cr_assert_eq(qp_device_fill(k.dev, p[2], 1, 1001, &k.err), QP_E_ARG);
  qp_device_free(k.dev, p[1]);
  cr_assert_eq(qp_device_download(k.dev, back, p[1], 1, &k.err), QP_E_ARG);
  qp_device_free(k.dev, 0);
  cr_assert_eq(qp_device_alloc(k.dev, (size_t)1 << 40, &p[1], &k.err), QP_E_NOMEM);
  kit_close(&k);
}

Test(sim, more_memory_may_be_given_in_turn_than_there_is_at_once) {
  qp_sim_arena arena;
  qp_error err;
  uint64_t at = 0, last = 0;
  cr_assert_eq(qp_sim_arena_open(&arena, (uint64_t)1 << 20, &err), QP_OK, "%s", err.text);
  cr_expect_eq(qp_sim_arena_alloc(&arena, (uint64_t)1 << 20, &at, &err), QP_E_NOMEM);
  for (int i = 0; i < 5; i++) {
    cr_assert_eq(qp_sim_arena_alloc(&arena, 400000, &at, &err), QP_OK, "%s", err.text);
    cr_assert_neq(at, last, "addresses move on, so that one used too late is seen");
    cr_assert(qp_sim_arena_free(&arena, at));
    last = at;
  }
  cr_assert_eq(qp_sim_arena_alloc(&arena, 400000, &at, &err), QP_OK);
  cr_assert_eq(qp_sim_arena_alloc(&arena, 400000, &last, &err), QP_OK);
  cr_expect_eq(qp_sim_arena_alloc(&arena, 400000, &last, &err), QP_E_NOMEM);
  qp_sim_arena_close(&arena);
}

Test(sim, variables_of_a_module_are_initialised) {
  uint32_t out[4];
  kit_words(
      ".const .align 4 .b32 c[4] = {1, 2, -3};\n.global .align 4 .f32 g[2] = {0f3F800000, 2.5};\n"
      ".global .align 1 .b8 bytes[4] = {1, 2, 3, 4};\n",
      "mul.wide.u32 %d3, %r0, 4; mov.u64 %d4, c; add.s64 %d3, %d3, %d4; ld.const.u32 %r1, [%d3];\n"
      "ld.global.f32 %f1, [g+4]; cvt.rzi.s32.f32 %r2, %f1; add.s32 %r1, %r1, %r2;\n"
      "ld.global.u8 %r3, [bytes+3]; add.s32 %r1, %r1, %r3; st.global.u32 [%d2], %r1;",
      NULL, 0, 4, out);
  const uint32_t want[4] = {7, 8, 3, 6};
  cr_assert_arr_eq(out, want, sizeof want);
}

/* One function keeps 64 bits over a barrier of the warp that others come to in a function of words.
 */
Test(sim, lanes_in_different_functions_keep_their_registers) {
  uint32_t out[32];
  kit_words(
      ".func (.param .b32 r) wide(.param .b32 x)\n{ .reg .b32 %a; .reg .b64 %z;\n"
      "ld.param.u32 %a, [x]; mul.wide.u32 %z, %a, 5; bar.warp.sync -1;\n"
      "cvt.u32.u64 %a, %z; st.param.b32 [r], %a; ret; }\n"
      ".func (.param .b32 r) narrow(.param .b32 x)\n{ .reg .b32 %a<4>;\n"
      "ld.param.u32 %a1, [x]; mul.lo.u32 %a2, %a1, 3; add.s32 %a3, %a1, %a2; bar.warp.sync -1;\n"
      "xor.b32 %a3, %a3, %a2; xor.b32 %a3, %a3, %a1; st.param.b32 [r], %a3; ret; }\n",
      "setp.lt.u32 %p1, %r0, 13; { .param .b32 p; .param .b32 q; st.param.b32 [p], %r0;\n"
      "@%p1 bra WIDE; call (q), narrow, (p); bra END; WIDE: call (q), wide, (p);\n"
      "END: ld.param.b32 %r2, [q]; }\nst.global.u32 [%d2], %r2;",
      NULL, 0, 32, out);
  for (unsigned i = 0; i < 32; i++)
    cr_assert_eq(out[i], i < 13 ? 5 * i : 4 * i ^ 3 * i ^ i, "%u: %u", i, out[i]);
}

Test(sim, functions_take_arguments_and_return) {
  uint32_t out[64];
  kit_words(
      ".func (.param .b32 r) twice(.param .b32 x);\n"
      ".func (.param .b32 r) more(.param .b32 x, .param .b64 y)\n{ .reg .b32 %a<4>; .reg .b64 %z;\n"
      "ld.param.u32 %a1, [x]; ld.param.u64 %z, [y]; cvt.u32.u64 %a2, %z;\n"
      "{ .param .b32 p0; st.param.b32 [p0], %a1; .param .b32 q0;\n"
      "call.uni (q0), twice, (p0); ld.param.b32 %a3, [q0]; }\n"
      "add.s32 %a3, %a3, %a2; st.param.b32 [r], %a3; ret; }\n"
      ".func (.param .b32 r) twice(.param .b32 x)\n{ .reg .b32 %a<4>; .reg .pred %p;\n"
      "ld.param.u32 %a1, [x]; and.b32 %a2, %a1, 1; setp.eq.u32 %p, %a2, 0; @%p bra EVEN;\n"
      "add.s32 %a1, %a1, 100; EVEN: shl.b32 %a1, %a1, 1; st.param.b32 [r], %a1; ret; }\n",
      "{ .param .b32 p0; .param .b64 p1; .param .b32 q; mov.u64 %d5, 7; st.param.b32 [p0], %r0;\n"
      "st.param.b64 [p1], %d5; call (q), more, (p0, p1); ld.param.b32 %r2, [q]; }\n"
      "st.global.u32 [%d2], %r2;",
      NULL, 0, 64, out);
  for (unsigned i = 0; i < 64; i++) cr_assert_eq(out[i], 2 * (i & 1 ? i + 100 : i) + 7);
  kit_fault(".func f()\n{ call f; ret; }\n", "call f;", 1, QP_E_COMPILE, "recursive", NULL);
  kit_fault(".extern .func f();\n", "call f;", 1, QP_E_COMPILE, "no body", NULL);
}

Test(sim, scopes_tables_and_local_memory) {
  uint32_t out[32];
  kit_words(
      "",
      "and.b32 %r1, %r0, 3;\n"
      "T: .branchtargets L0, L1, L2, L3;\nbrx.idx %r1, T;\n"
      "L0: mov.u32 %r2, 10; bra END;\nL1: mov.u32 %r2, 11; bra END;\n"
      "L2: mov.u32 %r2, 12; bra END;\nL3: mov.u32 %r2, 13;\nEND:\n"
      "{ .reg .b32 %r2; mov.u32 %r2, 99; { .reg .pred q; setp.eq.u32 q, %r0, 99; @q bra E;\n"
      "E: add.u32 %r2, %r2, 1; } }\n"
      ".local .align 8 .b8 depot[64]; mov.u64 %d4, depot; cvta.local.u64 %d4, %d4;\n"
      "mul.wide.u32 %d5, %r1, 4; add.s64 %d5, %d5, %d4; st.u32 [%d5], %r2;\n"
      "setp.eq.u32 %p1, %r1, 2; @%p1 ld.local.u32 %r3, [depot+8]; @%p1 add.s32 %r2, %r3, %r3;\n"
      "st.global.u32 [%d2], %r2;",
      NULL, 0, 32, out);
  for (unsigned i = 0; i < 32; i++) cr_assert_eq(out[i], i % 4 == 2 ? 24 : 10 + i % 4);
}

Test(sim, dynamic_shared_memory_lies_behind_static) {
  kit k;
  kit_open(&k, "sim");
  kit_buffers(&k, NULL, 0, 128);
  const char *top = ".extern .shared .align 1024 .b8 dyn[];\n";
  const char *body =
      ".shared .align 4 .b8 own[100]; mov.u32 %r1, dyn; mov.u32 %r2, %dynamic_smem_size;\n"
      "add.s32 %r3, %r1, %r2; st.shared.u32 [%r3+-4], %r0; and.b32 %r1, %r1, 1023;\n"
      "mov.u32 %r4, own; add.s32 %r4, %r4, 96; st.shared.u32 [%r4], %r0;\n"
      "st.shared.u32 [dyn], %r0; st.global.u32 [%d1], %r1;";
  cr_assert_eq(kit_run(&k, top, body, 1, 1, 4096), QP_OK, "%s", k.err.text);
  cr_assert_eq(k.result[0] | k.result[1], 0);
  cr_assert_eq(kit_run(&k, top, body, 1, 1, 0), QP_E_DEVICE);
  kit_close(&k);
}

Test(sim, launches_are_checked_as_on_a_gpu) {
  kit k;
  kit_target = 86;
  kit_open(&k, "sim:sm_86");
  kit_buffers(&k, NULL, 0, 128);
  char *text = kit_kernel("", "ret;");
  cr_assert_eq(kit_load(&k, text), QP_OK, "%s", k.err.text);
  free(text);
  cr_assert_eq(kit_launch(&k, 1, 1025, 0), QP_E_ARG);
  cr_assert_eq(kit_launch(&k, 1, 0, 0), QP_E_ARG);
  cr_assert_eq(kit_launch(&k, 0, 32, 0), QP_E_ARG);
  cr_assert_eq(kit_launch(&k, 1, 32, 101376), QP_OK);
  cr_assert_eq(kit_launch(&k, 1, 32, 101377), QP_E_LIMIT);
  cr_assert(strstr(k.err.text, "101376"), "%s", k.err.text);
  qp_function *f;
  cr_assert_eq(qp_device_function(k.dev, k.module, "nothing", &f, &k.err), QP_E_ARG);
  cr_assert_eq(qp_device_function(k.dev, k.module, "k", &f, &k.err), QP_OK);
  const qp_launch small = {.grid = 1, .block = 1, .params = &k.in, .params_bytes = 8};
  cr_assert_eq(qp_device_launch(k.dev, f, &small, &k.err), QP_E_ARG);
  cr_assert_eq(kit_load(&k, KIT_HEAD ".entry k() .maxntid 64 .minnctapersm 1 { ret; }"), QP_OK,
               "%s", k.err.text);
  cr_assert_eq(kit_launch(&k, 1, 65, 0), QP_E_ARG);
  cr_assert_eq(kit_load(&k, KIT_HEAD ".entry k() .reqntid 64, 1, 1 { ret; }"), QP_OK);
  cr_assert_eq(kit_launch(&k, 1, 32, 0), QP_E_ARG);
  cr_assert_eq(kit_load(&k, ".version 9.0\n.target sm_90a\n.address_size 64\n"), QP_E_COMPILE);
  cr_assert_eq(kit_load(&k, "\x7f"
                            "ELF is a cubin"),
               QP_E_ARG);
  kit_close(&k);
}

/* A module with these declarations and a kernel with this body, and what is said of it. */
typedef struct refusal {
  const char *top, *body, *said;
} refusal;

Test(sim, variables_without_a_place_in_memory_are_refused) {
  static const char flag[] = "a predicate has no place in memory", all[] = "2^30 bytes together",
                    large[] = "the variable is too large";
  static const refusal rows[] = {
      {".global .pred g;", "", flag},
      {".shared .pred s;", "", flag},
      {".func f(.param .pred x);", "", flag},
      {"", ".local .pred l;", flag},
      {".global .align 4 .b32 g[4294967296][4294967296];", "", large},
      {".global .b8 g[1073741825];", "", large},
      {".shared .b8 s[1073741824]; .shared .b8 t[1073741824];", "", all},
      {"", ".local .b8 l[1073741824]; .local .b8 m[1];", all},
      {".func f(.param .b8 x[1073741824], .param .b8 y[1073741824]);", "", all},
      {".func f(.param .b32 x) { .local .b8 l[1073741800]; ret; }",
       ".local .b8 l[1073741800]; .param .b32 x; call.uni f, (x);", "2^30 bytes"},
      {".func f(.param .b32 x) { ret; }", ".param .b64 x; call.uni f, (x);",
       "'f' takes 4 bytes, not 8"},
      {".func (.param .b64 r) f() { ret; }", ".param .b32 x; call.uni (x), f;",
       "'f' gives 8 bytes, not 4"},
  };
  kit k;
  kit_open(&k, "sim");
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *text = kit_kernel(rows[i].top, rows[i].body);
    cr_expect_eq(kit_load(&k, text), QP_E_COMPILE, "row %u", i);
    cr_expect(strstr(k.err.text, rows[i].said), "row %u: %s", i, k.err.text);
    free(text);
  }
  kit_close(&k);
}

Test(sim, instructions_bytes_and_bank_conflicts_are_counted) {
  kit k;
  kit_open(&k, "sim");
  uint32_t in[32] = {0};
  kit_buffers(&k, in, sizeof in, 128);
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(k.dev, &s, &k.err), QP_OK);
  s.bank_conflicts = true;
  cr_assert_eq(qp_sim_switches_set(k.dev, &s, &k.err), QP_OK);
  const char *top = ".shared .align 16 .b8 buf[8192];\n";
  /* stride 2 words: two lanes a bank; then 16-byte rows, free of conflicts; then one word for
  ** all */
  const char *body = "mov.u32 %r9, buf; shl.b32 %r3, %r0, 3; add.s32 %r3, %r3, %r9;\n"
                     "st.shared.u32 [%r3], %r0; bar.sync 0;\n"
                     "shl.b32 %r4, %r0, 4; add.s32 %r4, %r4, %r9; st.shared.v4.u32 [%r4+1024], "
                     "{%r0,%r0,%r0,%r0}; ld.shared.u32 %r5, [%r9]; add.f32 %f1, %f2, %f3;\n"
                     "setp.lt.u32 %p1, %r0, 8; @%p1 fma.rn.f16x2 %r6, %r6, %r6, %r6;\n"
                     "ld.global.u32 %r7, [%d0]; st.global.u32 [%d2], %r7;";
  cr_assert_eq(kit_run(&k, top, body, 1, 32, 0), QP_OK, "%s", k.err.text);
  qp_sim_counters c;
  cr_assert_eq(qp_sim_counters_get(k.dev, &c, &k.err), QP_OK);
  cr_assert_eq(c.launches, 1);
  cr_assert_eq(c.blocks, 1);
  cr_assert_eq(c.global_read_bytes, 128);
  cr_assert_eq(c.global_write_bytes, 128);
  cr_assert_eq(c.shared_write_bytes, 32 * 4 + 32 * 16);
  cr_assert_eq(c.bank_conflicts, 1);
  cr_assert_eq(c.shared_wavefronts, 2 + 4 + 1);
  cr_assert_eq(c.thread_instructions[QP_SIM_FLOAT], 32);
  cr_assert_eq(c.thread_instructions[QP_SIM_HALF], 8);
  cr_assert_eq(c.warp_instructions[QP_SIM_HALF], 1);
  cr_assert_eq(c.thread_instructions[QP_SIM_LD_SHARED], 32);
  cr_assert_eq(c.warp_instructions[QP_SIM_ST_SHARED], 2);
  cr_assert_eq(c.warp_instructions[QP_SIM_BARRIER], 1);
  cr_assert_eq(qp_sim_counters_reset(k.dev, &k.err), QP_OK);
  cr_assert_eq(qp_sim_counters_get(k.dev, &c, &k.err), QP_OK);
  cr_assert_eq(c.launches, 0);
  cr_assert_str_eq(qp_sim_kind_name(QP_SIM_HALF), "half math");
  kit_close(&k);
  qp_device other = {0};
  cr_assert_eq(qp_sim_counters_get(&other, &c, &k.err), QP_E_ARG);
}

/* ---- a kernel as the compiler wrote it ----
** tests/sim/sim_golden.ptx is what nvcc 13.0 made for sm_80 of a kernel with a function that is
** not inlined, a struct argument, constant and local arrays, a switch, shuffles, both kinds of
** shared memory and half2 arithmetic; here the same in C. */

static char *read_file(const char *path) {
  FILE *f = fopen(path, "rb");
  cr_assert(f, "%s", path);
  char *text = calloc(1, 1 << 20);
  cr_assert(fread(text, 1, (1 << 20) - 1, f) > 0);
  fclose(f);
  return text;
}

static float golden_sum(const float *in, int n, int t, int block) {
  static const float table[8] = {1, 2, 4, 8, 0.5f, 0.25f, -1, 3};
  float local[8], sum = 0, s = 0;
  for (int i = 0; i < 8; i++) local[i] = in[(t + i) % n];
  for (int i = 0; i < 8; i++) sum = fmaf(local[((t & 7) + i * 3) & 7], table[i], sum);
  for (int i = 0; i < t % 5; i++) s = fmaf(s, in[t % n], local[i]);
  sum = (sum + s) * 2 + (float)(t + block);
  switch (t % 6) {
  case 0: return sum + 1;
  case 1: return sum * 2;
  case 2: return sum - 3;
  case 3: return -sum;
  case 4: return sum / 3;
  default: return sqrtf(fabsf(sum));
  }
}

static void golden(const float *in, int n, int block, float *out) {
  float v[128], part[4] = {0};
  for (int t = 0; t < 128; t++) v[t] = golden_sum(in, n, t, block);
  for (int warp = 0; warp < 4; warp++) { /* a butterfly, as lane 0 sees it */
    float x[32];
    memcpy(x, v + 32 * warp, sizeof x);
    for (int o = 16; o; o >>= 1)
      for (int i = 0; i < o; i++) x[i] += x[i + o];
    part[warp] = x[0];
  }
  for (int t = 0; t < 128; t++) {
    const float a = qp_half_to_float(qp_float_to_half(v[127 - t]));
    const float b = qp_half_to_float(qp_float_to_half(part[t & 3]));
    const float h = qp_half_to_float(qp_double_to_half((double)a * (double)a + (double)a)) +
                    qp_half_to_float(qp_double_to_half((double)b * (double)b + (double)b));
    const int quotient = t / ((t & 7) + 1);
    out[t] = h + (float)quotient + (float)__builtin_popcount((unsigned)t * 77);
  }
}

Test(sim, a_compiled_kernel_gives_what_c_gives) {
  enum { N = 50, BLOCKS = 5 };
  kit k;
  kit_open(&k, "sim");
  float in[N], want[128];
  for (int i = 0; i < N; i++) in[i] = (float)((i * 37) % 23) / 16.0f - 0.6f;
  kit_buffers(&k, in, sizeof in, 4 * 128 * BLOCKS);
  char *text = read_file(QP_SOURCE_DIR "/tests/sim/golden.ptx");
  cr_assert_eq(kit_load(&k, text), QP_OK, "%s", k.err.text);
  free(text);
  qp_function *f;
  cr_assert_eq(qp_device_function(k.dev, k.module, "golden", &f, &k.err), QP_OK);
  const struct {
    qp_devptr in, out;
    int n;
  } params = {k.in, k.out, N};
  const qp_launch how = {.grid = BLOCKS,
                         .block = 128,
                         .smem_bytes = 512,
                         .params = &params,
                         .params_bytes = 20}; /* no padding behind the last */
  cr_assert_eq(qp_device_launch(k.dev, f, &how, &k.err), QP_OK, "%s", k.err.text);
  kit_fetch(&k);
  for (int b = 0; b < BLOCKS; b++) {
    golden(in, N, b, want);
    for (int t = 0; t < 128; t++) {
      float got;
      memcpy(&got, k.result + 4 * (128 * b + t), 4);
      cr_assert_eq(got, want[t], "block %d, thread %d: %g, not %g", b, t, (double)got,
                   (double)want[t]);
    }
  }
  kit_close(&k);
}

/* Odd lanes find shared memory by their generic addresses, even ones global memory. */
Test(sim, generic_addresses_of_a_warp_may_be_of_several_spaces) {
  uint32_t in[32], out[32];
  for (uint32_t i = 0; i < 32; i++) in[i] = 1000 + i;
  kit_words(".shared .align 4 .b8 several[128];",
            "mov.u64 %d3, several; cvta.shared.u64 %d3, %d3; mul.wide.u32 %d4, %r0, 4;\n"
            "add.s64 %d3, %d3, %d4; add.s64 %d5, %d0, %d4;\n"
            "add.u32 %r2, %r0, 100; st.u32 [%d3], %r2;\n"
            "and.b32 %r3, %r0, 1; setp.ne.u32 %p1, %r3, 0;\n"
            "selp.b64 %d6, %d3, %d5, %p1; ld.u32 %r4, [%d6];\n"
            "selp.b64 %d7, %d2, %d3, %p1; st.u32 [%d7], %r4;\n"
            "@%p1 bra done; ld.u32 %r5, [%d3]; st.global.u32 [%d2], %r5;\ndone:",
            in, sizeof in, 32, out);
  for (uint32_t i = 0; i < 32; i++) cr_expect_eq(out[i], i % 2 ? i + 100 : in[i], "%u", out[i]);
}
