/* SPDX-License-Identifier: MIT */
/* What tests of checks need: the palette, a compiler, the simulator, a verdict on one kernel. */
#ifndef QP_CHECK_KIT_H
#define QP_CHECK_KIT_H

#include <criterion/criterion.h>

#include "gen/compile/compile.h"
#include "tuner/base/session.h"
#include "tuner/check/verify.h"

static qp_session session;
static qp_compiler *compiler;
static qp_device *device;
static qp_reference *reference;
static qp_error err;

static inline void kit_open(void) {
  const qp_compiler_options options = {.workers = 1};
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_compiler_open(&options, &compiler, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_device_open("sim", &device, &err), QP_OK, "%s", err.text);
  cr_assert_not_null(reference = qp_reference_new());
}

static inline void kit_close(void) {
  qp_reference_free(reference);
  qp_device_close(device);
  qp_compiler_close(compiler);
  qp_session_close(&session);
}

static inline const qp_quantizer *kit_quantizer(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(session.palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

/* Compile a kernel, whose source may have been changed, and verify it in the simulator. */
static inline qp_verdict kit_verdict(const qp_kernel *k, uint64_t seed) {
  qp_compiled compiled = {0};
  qp_verdict v = {0};
  const qp_compile_job job = {
      .name = k->name, .source = k->source, .arch = k->problem.arch, .want_ptx = true};
  cr_assert_eq(qp_compiler_run(compiler, &job, &compiled, &err), QP_OK, "%s: %s", k->name,
               err.text);
  cr_assert_eq(qp_verify(device, k, &compiled, reference, seed, 0, &v, &err), QP_OK, "%s",
               err.text);
  qp_compiled_free(&compiled);
  return v;
}

#endif
