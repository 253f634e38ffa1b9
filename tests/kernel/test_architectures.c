/* SPDX-License-Identifier: MIT */
/* Every architecture of the table compiles kernels with one quantizer of each kind. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "gen/compile/compile.h"
#include "gen/kernel/kernel.h"
#include "runtime/arch.h"

enum { KINDS = 4, COLUMNS = 1024 };
static const char *const kinds[KINDS] = {"tcq-3", "vq2-3", "nuq-4", "tcq-3.25"};

static qp_families *families;
static qp_palette *palette;
static qp_compiler *compiler;

/* A launch that decodes the quantizers 'first' to 'last' of kinds. */
static void submit(const qp_arch *arch, qp_op op, unsigned first, unsigned last) {
  qp_kernel k;
  qp_error err = {.text = ""};
  qp_problem p = {.op = op,
                  .segments = last + 1 - first,
                  .columns = COLUMNS,
                  .batch = 1,
                  .type = QP_BF16,
                  .out_type = QP_BF16,
                  .arch = arch->number,
                  .sm_count = arch->sm_count ? arch->sm_count : 8};
  qp_choice choice;
  for (unsigned s = 0; s < p.segments; s++) {
    cr_assert_eq(qp_palette_find(palette, kinds[first + s], &p.segment[s].quantizer, &err), QP_OK,
                 "%s", err.text);
    p.segment[s].rows = 64;
  }
  qp_choice_default(qp_families_serving(families, &p, NULL), &choice);
  cr_assert_eq(qp_kernel_make(families, &p, &choice, &k, &err), QP_OK, "sm_%u: %s", arch->number,
               err.text);
  const qp_compile_job job = {.name = k.name,
                              .source = k.source,
                              .arch = arch->number,
                              .want_cubin = true,
                              .want_ptx = true,
                              .user = (void *)(uintptr_t)arch};
  cr_assert_eq(qp_compiler_submit(compiler, &job, &err), QP_OK, "%s", err.text);
  qp_kernel_free(&k);
}

/* A result is right, or says that this NVRTC is older than the architecture. */
static void judge(const qp_arch *arch, const qp_compiled *c) {
  unsigned major = 0, minor = 0;
  char target[32];
  cr_assert_eq(sscanf(qp_compiler_version(compiler), "NVRTC %u.%u", &major, &minor), 2);
  if (arch->nvrtc > 100 * major + minor) {
    cr_expect_eq(c->status, QP_E_COMPILE);
    cr_expect_not_null(strstr(c->log, "does not compile for"), "%s", c->log);
    return;
  }
  cr_assert_eq(c->status, QP_OK, "sm_%u: %s", arch->number, c->log);
  snprintf(target, sizeof target, ".target sm_%u\n", arch->number);
  cr_expect_not_null(strstr(c->ptx, target));
  cr_expect_eq(
      strstr(c->ptx, "cp.async.cg") != NULL && !qp_arch_has(arch->number, QP_ARCH_ASYNC_COPY), 0);
  cr_expect_leq(c->res.registers, 255u);
}

Test(architectures, each_compiles_launches_with_every_kind_of_quantizer) {
  qp_error err = {.text = ""};
  const qp_compiler_options opt = {.workers = 2};
  cr_assert_eq(qp_compiler_open(&opt, &compiler, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_families_open(&families, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  unsigned rows = 0, results = 0;
  for (const qp_arch *a = qp_arch_table; a->number; a++, rows++) {
    /* All decoders, then the gemm around a trellis, vectors or scalars. */
    submit(a, QP_OP_DEQUANT, 0, KINDS - 1);
    submit(a, QP_OP_GEMM, rows % 3, rows % 3);
  }
  qp_compiled out;
  for (void *user; qp_compiler_next(compiler, &out, &user); results++) {
    judge(user, &out);
    qp_compiled_free(&out);
  }
  cr_assert_eq(results, 2 * rows);
  qp_compiler_close(compiler);
  qp_palette_close(palette);
  qp_families_close(families);
}
