/* SPDX-License-Identifier: MIT */
/* Candidates once they are compiled: which are the same code, which can be launched. */
#include <criterion/criterion.h>
#include <string.h>

#include "tuner/base/session.h"
#include "tuner/tune/candidate.h"

static qp_error err;
static qp_session session;
static qp_compiler *compiler;
static qp_problem problem;

static void begin(void) {
  const qp_compiler_options opt = {.workers = 1};
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_compiler_open(&opt, &compiler, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  problem = (qp_problem){.op = QP_OP_GEMM,
                         .segments = 1,
                         .segment = {{.quantizer = q, .rows = 256}},
                         .columns = 256,
                         .batch = 1,
                         .type = QP_F16,
                         .out_type = QP_F16,
                         .arch = 90,
                         .sm_count = 132};
}

static void end(void) {
  qp_compiler_close(compiler);
  qp_session_close(&session);
}
TestSuite(candidate, .init = begin, .fini = end);

static qp_candidate make(const char *assignment) {
  qp_candidate c;
  qp_compiled compiled;
  qp_choice choice;
  qp_choice_default(qp_families_find(session.families, "gemm_tensor"), &choice);
  if (assignment) cr_assert_eq(qp_choice_set(&choice, assignment, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_candidate_make(session.families, &problem, &choice, &c, &err), QP_OK, "%s",
               err.text);
  const qp_compile_job job = {.name = c.kernel.name,
                              .source = c.kernel.source,
                              .arch = 90,
                              .want_cubin = true,
                              .want_ptx = true};
  cr_assert_eq(qp_compiler_run(compiler, &job, &compiled, &err), QP_OK, "%s", err.text);
  qp_candidate_compiled(&c, &compiled, 3000);
  return c;
}

Test(candidate, equal_code_under_other_names_is_one_candidate) {
  qp_candidate plain = make(NULL), same = make("stages=2"), named = make("copies=32"),
               other = make("copies=1"), launch = make("warps=8");
  cr_assert_neq(plain.record.code[0], 0);
  cr_assert_str_eq(plain.record.code, same.record.code);
  cr_assert_str_neq(plain.kernel.name, named.kernel.name);
  cr_assert_str_eq(plain.record.code, named.record.code, "0 copies: as many as fit, 32 here");
  cr_assert_str_neq(plain.record.code, other.record.code);
  cr_assert_str_neq(plain.record.code, launch.record.code);
  qp_candidate *all[] = {&plain, &same, &named, &other, &launch};
  for (size_t i = 0; i < 5; i++) qp_candidate_free(all[i]);
}

Test(candidate, its_record_begins_with_problem_resources_and_an_estimate) {
  qp_candidate c = make(NULL);
  cr_assert_str_eq(c.record.family, "gemm_tensor");
  cr_assert_str_eq(c.record.segment[0].quantizer, "nuq-4");
  cr_assert_eq(c.record.segment[0].rows, 256);
  cr_assert_gt(c.record.registers, 16);
  cr_assert_gt(c.record.smem_bytes, 0);
  cr_assert_gt(c.estimate_ps, 10922, "32 KiB at 3e12 bytes a second");
  qp_candidate_free(&c);
}

Test(candidate, what_cannot_be_launched_is_told_by_its_report) {
  qp_candidate c = make(NULL);
  cr_assert_eq(qp_candidate_launches(&c, 0, &err), QP_OK, "%s", err.text);
  const qp_record good = c.record;
  c.record.registers = 129; /* 512 threads of 129: more than 65536 */
  cr_assert_eq(qp_candidate_launches(&c, 0, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "129 registers"), "%s", err.text);
  c.record.registers = 128;
  cr_assert_eq(qp_candidate_launches(&c, 0, &err), QP_OK);
  c.record = good;
  c.record.smem_bytes = 232449;
  cr_assert_eq(qp_candidate_launches(&c, 0, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "232448"), "%s", err.text);
  c.record = good;
  c.record.spill_bytes = 8;
  cr_assert_eq(qp_candidate_launches(&c, 7, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "spills 8 bytes"), "%s", err.text);
  cr_assert_eq(qp_candidate_launches(&c, 8, &err), QP_OK);
  c.record = good;
  qp_candidate_free(&c);
}
