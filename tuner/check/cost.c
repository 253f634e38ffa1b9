/* SPDX-License-Identifier: MIT */
#include "tuner/check/cost.h"

#include <math.h>
#include <stdio.h>

#include "gen/kernel/kernel.h"
#include "gen/spec/reference.h"
#include "runtime/device.h"
#include "runtime/sim/sim.h"
#include "tuner/check/verify.h"

enum { ROWS = 1024, COLUMNS = 1024, WARP_LANES = 32, ISSUE_SLOTS = 4 };

/* Count one launch on one multiprocessor. */
static qp_status count_launch(const qp_compiled *c, const qp_kernel *k, qp_device *dev,
                              qp_sim_counters *out, qp_error *err) {
  qp_verdict v;
  qp_reference *reference = qp_reference_new();
  if (!reference) return qp_fail(err, QP_E_NOMEM, "out of memory");
  qp_status status = qp_sim_counters_reset(dev, err);
  if (!status) status = qp_verify(dev, k, c, reference, 1, 1, &v, err);
  if (!status && !v.pass) status = qp_fail(err, QP_E_WRONG, "%s: %s", k->name, v.why);
  if (!status) status = qp_sim_counters_get(dev, out, err);
  qp_reference_free(reference);
  return status;
}

static qp_status count_rows(qp_compiler *compiler, qp_families *families, const qp_problem *p,
                            qp_device *dev, qp_sim_counters *out, qp_error *err) {
  qp_choice choice;
  qp_kernel k;
  qp_compiled c = {0};
  qp_choice_default(qp_families_serving(families, p, NULL), &choice);
  qp_status status = qp_kernel_make(families, p, &choice, &k, err);
  if (status) return status;
  const qp_compile_job job = {
      .name = k.name, .source = k.source, .arch = p->arch, .want_ptx = true};
  status = qp_compiler_run(compiler, &job, &c, err);
  if (!status) status = count_launch(&c, &k, dev, out, err);
  qp_compiled_free(&c);
  qp_kernel_free(&k);
  return status;
}

/* All but moves: in PTX they join the ways into a loop, in SASS they are gone. */
static double all_instructions(const qp_sim_counters *c) {
  double sum = 0;
  for (unsigned i = 0; i < QP_SIM_KIND_COUNT; i++)
    if (i != QP_SIM_MOVE) sum += (double)c->thread_instructions[i];
  return sum;
}

qp_status qp_cost_count(qp_families *families, qp_compiler *compiler, const qp_quantizer *q,
                        unsigned arch, qp_cost *out, qp_error *err) {
  char name[32];
  qp_device *dev = NULL;
  qp_sim_switches switches;
  qp_sim_counters once, twice;
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = 1,
                  .segment[0] = {q, ROWS},
                  .columns = COLUMNS,
                  .batch = 1,
                  .arch = arch,
                  .sm_count = 1};
  snprintf(name, sizeof name, "sim:sm_%u:1", arch);
  qp_status status = qp_device_open(name, &dev, err);
  if (status) return status;
  status = qp_sim_switches_get(dev, &switches, err);
  switches.bank_conflicts = true;
  if (!status) status = qp_sim_switches_set(dev, &switches, err);
  if (!status) status = count_rows(compiler, families, &p, dev, &once, err);
  p.segment[0].rows = 2 * ROWS;
  if (!status) status = count_rows(compiler, families, &p, dev, &twice, err);
  qp_device_close(dev);
  if (status) return status;
  const double weights = (double)ROWS * COLUMNS;
  out->instructions = (all_instructions(&twice) - all_instructions(&once)) / weights;
  out->wavefronts =
      (double)(twice.shared_wavefronts - once.shared_wavefronts) * WARP_LANES / weights;
  out->slots = fmax(out->instructions, ISSUE_SLOTS * out->wavefronts);
  return QP_OK;
}
