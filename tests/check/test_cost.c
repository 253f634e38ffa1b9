/* SPDX-License-Identifier: MIT */
/* Costs that the simulator counts, beside what the decodes' instructions say; and machine code of
   stacks of experts, read without a disassembler. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "gen/kernel/kernel.h"
#include "tuner/check/cost.h"
#include "tuner/base/session.h"

static qp_session session;
static qp_compiler *compiler;
static qp_error err;

static void open_all(void) {
  const qp_compiler_options options = {.workers = 1};
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_compiler_open(&options, &compiler, &err), QP_OK, "%s", err.text);
}

static void close_all(void) {
  qp_compiler_close(compiler);
  qp_session_close(&session);
}

TestSuite(cost, .init = open_all, .fini = close_all);

static qp_cost cost_of(const char *name) {
  const qp_quantizer **q;
  size_t n;
  qp_cost cost;
  cr_assert_eq(qp_session_quantizers(&session, name, &q, &n, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_cost_count(session.families, compiler, q[0], 90, &cost, &err), QP_OK, "%s",
               err.text);
  free(q);
  return cost;
}

/* s * C + D against s * s + s and a sign that its table has unfolded: one multiplication a pair.
** Of its windows of 17 bits fewer lie where they need no shift. */
Test(cost, a_linear_hash_saves_an_instruction_for_two_weights) {
  const qp_cost published = cost_of("tcq-3"), linear = cost_of("lin-3");
  cr_assert_leq(published.instructions - linear.instructions, 0.5 + 1e-9);
  cr_assert_geq(published.instructions - linear.instructions, 0.45);
  cr_assert_float_eq(published.wavefronts, linear.wavefronts, 1e-9);
}

/* One of each family, and with $QPAL_ALL (tests/nightly) all: two kernels are compiled for each. */
Test(cost, trained_codes_cost_no_more_than_the_published_one_at_their_rate) {
  static const char *const codes[][2] = {
      {"lin-3", "tcq-3"},      {"wide-3", "tcq-3"},     {"mix-5", "tcq-5"}, {"wide-2", "tcq-2"},
      {"wide-2.5", "tcq-2.5"}, {"wide-3.5", "tcq-3.5"}, {"lin-2", "tcq-2"}, {"mix-3.5", "tcq-3.5"},
      {"mix-4", "tcq-4"},      {"mix-4.5", "tcq-4.5"}};
  const size_t count = getenv("QPAL_ALL") ? sizeof codes / sizeof *codes : 3;
  for (size_t i = 0; i < count; i++) {
    const double ours = cost_of(codes[i][0]).slots, published = cost_of(codes[i][1]).slots;
    cr_expect_leq(ours, published + 1e-9, "%s: %g, %s: %g", codes[i][0], ours, codes[i][1],
                  published);
  }
}

/* 512 entries and a sign fit 32 times into shared memory, 2048 and a sign only 8 times: four lanes
** then share four banks, and the fullest of 8 x 4 banks serves 2 to 4 of them. */
Test(cost, tables_with_fewer_copies_than_lanes_cost_wavefronts) {
  const qp_cost small = cost_of("tcq-3"), large = cost_of("tcq-5");
  cr_assert_geq(large.wavefronts - small.wavefronts, 0.5 * (2 - 1));
  cr_assert_leq(large.wavefronts - small.wavefronts, 0.5 * (4 - 1));
  cr_assert_float_eq(small.slots, small.instructions, 1e-9);
  cr_assert_float_eq(large.slots, 4 * large.wavefronts, 1e-9);
}

/* ---- machine code ---- */

/* Compile the kernel of a stack of experts with default tunables, in tiles of 8. */
static qp_compiled compile_stack(const char *quantizer, unsigned arch, unsigned sm_count) {
  const qp_quantizer **q;
  size_t n;
  qp_kernel k = {0};
  qp_choice choice;
  qp_compiled out = {0};
  cr_assert_eq(qp_session_quantizers(&session, quantizer, &q, &n, &err), QP_OK, "%s", err.text);
  const qp_problem p = {.op = QP_OP_EXPERTS,
                        .segments = 1,
                        .segment[0] = {q[0], 1536},
                        .columns = 4096,
                        .batch = 8,
                        .tile = 8,
                        .experts = 1,
                        .top_k = 1,
                        .arch = arch,
                        .sm_count = sm_count};
  qp_choice_default(qp_families_serving(session.families, &p, "tensor"), &choice);
  cr_assert_eq(qp_kernel_make(session.families, &p, &choice, &k, &err), QP_OK, "%s", err.text);
  const qp_compile_job job = {.name = k.name, .source = k.source, .arch = arch, .want_cubin = true};
  cr_assert_eq(qp_compiler_run(compiler, &job, &out, &err), QP_OK, "%s", err.text);
  qp_kernel_free(&k);
  free(q);
  return out;
}

/* Loads from shared memory, and those of them whose address is a lane's register and a uniform one:
** an instruction has 128 bits, 984 (hex) in the lowest 12, and bit 91 for the uniform register. */
typedef struct loads {
  unsigned all, uniform;
} loads;
static loads count_loads(const unsigned char *cubin) {
  loads n = {0};
  Elf64_Ehdr head;
  memcpy(&head, cubin, sizeof head);
  for (unsigned i = 0; i < head.e_shnum; i++) {
    Elf64_Shdr section;
    memcpy(&section, cubin + head.e_shoff + i * sizeof section, sizeof section);
    if (section.sh_type != SHT_PROGBITS || !(section.sh_flags & SHF_EXECINSTR)) continue;
    for (size_t at = 0; at < section.sh_size; at += 16) {
      uint64_t code[2];
      memcpy(code, cubin + section.sh_offset + at, sizeof code);
      if ((code[0] & 0xfff) != 0x984) continue;
      n.all++;
      n.uniform += code[1] >> (91 - 64) & 1;
    }
  }
  return n;
}

/* Else each look-up would have an addition of its own, 1.0 for two weights: tcq-3 on sm_90 where
** the base is a plain number, q4_k on sm_100 where it comes by a shuffle. 2 stages of 2 superblocks
** have 4 x 32 pairs of weights for each lane. */
Test(cost, look_ups_of_stacks_take_the_base_of_tables_from_a_uniform_register, .timeout = 120) {
  static const struct {
    const char *quantizer;
    unsigned arch, sm_count;
  } cases[] = {{"tcq-3", 90, 132}, {"q4_k", 100, 148}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    qp_compiled c = compile_stack(cases[i].quantizer, cases[i].arch, cases[i].sm_count);
    const loads n = count_loads(c.cubin);
    qp_compiled_free(&c);
    cr_assert_gt(n.all, 128, "%s: %u", cases[i].quantizer, n.all);
    cr_assert_geq(n.uniform, 128, "%s on sm_%u: %u of %u", cases[i].quantizer, cases[i].arch,
                  n.uniform, n.all);
  }
}
