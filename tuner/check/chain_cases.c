/* SPDX-License-Identifier: MIT */
/* The chains of launches that `qpal check --chains` runs; see chain_cases.h. */
#include "tuner/check/chain_cases.h"

#include <stdio.h>

#include "runtime/device.h"
#include "tuner/base/output.h"
#include "tuner/check/chain.h"

enum { SIZE = 512, FIRST_WITH_PDL = 90 };

/* There is one of each kind of decode: trellis, split, table, pairs, group fields, planes with
   rows' codebooks. */
static const char *const kinds[] = {"tcq-3", "tcq-2.25",  "vq2-3",
                                    "nuq-4", "int4-g128", "anyprec-3"};

typedef struct runner {
  const qp_session *session;
  const qp_chain_wishes *wishes;
  qp_device *dev;
  qp_compiler *compiler;
  qp_table_out *table;
  size_t failed, passed;
} runner;

static qp_status run_one(runner *r, const qp_quantizer *q, const char *path, unsigned batch,
                         bool atomic, qp_error *err) {
  const qp_chain_case what = {.quantizer = q,
                              .path = path,
                              .size = SIZE,
                              .batch = batch,
                              .atomic = atomic,
                              .arch = r->dev->info.arch,
                              .sm_count = r->dev->info.sm_count,
                              .seed = r->wishes->seed};
  qp_verdict v;
  const qp_status status =
      qp_chain_verify(r->dev, r->session->families, r->compiler, &what, &v, err);
  if (status) return status;
  qp_table_row(r->table);
  qp_table_text(r->table, q->name);
  qp_table_text(r->table, path);
  qp_table_text(r->table, atomic ? "fill, gemm" : "rotate, gemm, rotate, gemm");
  qp_table_number(r->table, batch, "%.0f");
  qp_table_number(r->table, v.error, "%.2e");
  qp_table_text(r->table, v.pass ? "PASS" : "FAIL");
  qp_table_text(r->table, v.pass ? "" : v.why);
  if (v.pass)
    r->passed++;
  else
    r->failed++;
  return QP_OK;
}

static qp_status run_quantizer(runner *r, const qp_quantizer *q, qp_error *err) {
  const char *path[QP_MAX_PATHS];
  size_t usual = 0;
  qp_status status = QP_OK;
  qp_families_paths(r->session->families, QP_OP_GEMM, path, &usual);
  for (size_t p = 0; p < usual && !status; p++) {
    for (unsigned batch = 1; batch <= 8 && !status; batch += 7)
      status = run_one(r, q, path[p], batch, false, err);
    if (!status) status = run_one(r, q, path[p], 1, true, err);
  }
  return status;
}

static qp_status run_all(runner *r, qp_error *err) {
  const qp_chain_wishes *w = r->wishes;
  qp_status status = QP_OK;
  for (size_t i = 0; i < w->quantizers && !status; i++)
    status = run_quantizer(r, w->quantizer[i], err);
  for (size_t i = 0; !w->quantizer && i < sizeof kinds / sizeof *kinds && !status; i++) {
    const qp_quantizer *q = NULL;
    status = qp_palette_find(r->session->palette, kinds[i], &q, err);
    if (!status) status = run_quantizer(r, q, err);
  }
  return status;
}

qp_status qp_chain_cases_run(const qp_session *s, const qp_chain_wishes *w, size_t *failed,
                             qp_error *err) {
  static const qp_column columns[] = {{"quantizer", false}, {"path", false}, {"launches", false},
                                      {"batch", true},      {"error", true}, {"result", false},
                                      {"why", false},       {NULL, false}};
  runner r = {.session = s, .wishes = w};
  qp_status status = qp_compiler_open(NULL, &r.compiler, err);
  if (!status) status = qp_device_open(w->device, &r.dev, err);
  if (!status && r.dev->info.arch < FIRST_WITH_PDL) {
    printf("sm_%u has no programmatic dependent launch: no chains\n", r.dev->info.arch);
  } else if (!status) {
    r.table = qp_table_new(columns, w->json);
    status = run_all(&r, err);
    qp_table_print(r.table);
    fprintf(w->json ? stderr : stdout, "%zu chains on %s: %zu PASS, %zu FAIL\n",
            r.passed + r.failed, w->device, r.passed, r.failed);
  }
  if (r.dev) qp_device_close(r.dev);
  qp_compiler_close(r.compiler);
  *failed = r.failed;
  return status;
}
