/* SPDX-License-Identifier: MIT */
#include "tuner/tune/candidate.h"

#include <inttypes.h>
#include <stdio.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/compile/cubin.h"
#include "gen/inspect/instruction_mix.h"
#include "tuner/tune/search.h"

enum { REGISTERS = 65536, REGISTERS_UNIT = 256, WARP = 32 };

qp_status qp_candidate_make(qp_families *families, const qp_problem *p, const qp_choice *choice,
                            qp_candidate *out, qp_error *err) {
  *out = (qp_candidate){.choice = *choice};
  const qp_status status = qp_kernel_make(families, p, choice, &out->kernel, err);
  if (!status) qp_record_begin(&out->kernel, choice, &out->record);
  return status;
}

void qp_candidate_free(qp_candidate *c) {
  qp_kernel_free(&c->kernel);
  qp_compiled_free(&c->compiled);
}

/* Machine code under another name is the same candidate. */
static uint64_t hash_code(const qp_candidate *c) {
  const uint64_t launch[4] = {c->kernel.grid, c->kernel.block, c->kernel.smem_bytes, c->kernel.pdl};
  if (!c->compiled.cubin) return 0;
  const uint64_t code = qp_cubin_code(c->compiled.cubin, c->compiled.cubin_bytes, c->kernel.name);
  return code ? XXH3_64bits_withSeed(launch, sizeof launch, code) : 0;
}

void qp_candidate_compiled(qp_candidate *c, qp_compiled *compiled, double read_gbs) {
  qp_instruction_mix mix;
  c->compiled = *compiled;
  c->record.registers = compiled->res.registers;
  c->record.smem_bytes = compiled->res.smem_static_bytes + c->kernel.smem_bytes;
  c->record.spill_bytes = compiled->res.spill_store_bytes + compiled->res.spill_load_bytes;
  const uint64_t code = hash_code(c);
  if (code) snprintf(c->record.code, sizeof c->record.code, "%016" PRIx64, code);
  if (compiled->ptx && !qp_instruction_mix_ptx(compiled->ptx, c->kernel.name, &mix, NULL))
    c->estimate_ps = qp_search_roofline(&c->kernel, &mix, read_gbs);
}

qp_status qp_candidate_launches(const qp_candidate *c, unsigned spill_limit, qp_error *err) {
  const unsigned arch = c->kernel.problem.arch, warps = (c->kernel.block + WARP - 1) / WARP;
  const unsigned a_warp = (c->record.registers * WARP + REGISTERS_UNIT - 1) / REGISTERS_UNIT;
  if (warps * a_warp * REGISTERS_UNIT > REGISTERS)
    return qp_fail(err, QP_E_LIMIT, "%u threads with %u registers; a multiprocessor has %d",
                   c->kernel.block, c->record.registers, REGISTERS);
  if (c->record.smem_bytes > qp_arch_smem_bytes(arch))
    return qp_fail(err, QP_E_LIMIT, "%u bytes of shared memory; sm_%u has %u", c->record.smem_bytes,
                   arch, qp_arch_smem_bytes(arch));
  if (c->record.spill_bytes > spill_limit)
    return qp_fail(err, QP_E_LIMIT, "spills %u bytes a thread; the limit is %u",
                   c->record.spill_bytes, spill_limit);
  return QP_OK;
}
