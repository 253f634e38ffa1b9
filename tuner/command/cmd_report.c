/* SPDX-License-Identifier: MIT */
/* qpal report: one page about what qpal make, or plan and quantize, wrote. */
#include <qpal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "gen/inspect/rates.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"
#include "tuner/command/commands.h"
#include "tuner/plan/plan_file.h"
#include "tuner/report/page.h"
#include "tuner/tune/drawing.h"
#include "tuner/tune/library.h"
#include "tuner/tune/records.h"

static const qp_verb_help help = {
    "report", "OUT -o report.html [--gpu GPU | --records FILE.jsonl]",
    "Writes one page about the model in OUT, as qpal make leaves it: OUT/plan.json, the fronts of\n"
    "OUT/plan.front.svg, the distortions of OUT/packed, and what qpal tune measured of the plan's\n"
    "launches: records of the GPU in tuned/, or a file of them. The page needs no network and\n"
    "follows the reader's light or dark scheme. What is missing in OUT is left out, but for the "
    "plan."};

typedef struct report_options {
  const char *out, *records, *gpu;
  double read_gbs;
} report_options;

enum { MOST_SVG = 64 << 20, PATH_BYTES = 4096, WHY_BYTES = 512 };

/* OUT/NAME where it is there; "" where it is not. */
static void path_of(const char *folder, const char *name, char out[PATH_BYTES]) {
  const int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);
  if (n >= PATH_BYTES || access(out, F_OK) != 0) *out = 0;
}

/* ---- Records of the plan's launches ---- */

/* Do the record's segments have the rows of the launch's linears, one each, in whatever order? */
static bool is_of_launch(const qp_plan *p, const qp_plan_launch *l, const qp_record *r) {
  bool taken[QP_PLAN_MEMBERS] = {false};
  if (r->segments != l->members || strncmp(r->op, "gemm", 4) != 0) return false;
  for (unsigned s = 0; s < r->segments; s++) {
    unsigned m = 0;
    while (m < l->members &&
           (taken[m] || p->linear[l->linear[m]].rows != r->segment[s].rows ||
            p->linear[l->linear[m]].columns != r->columns))
      m++;
    if (m == l->members) return false;
    taken[m] = true;
  }
  return true;
}

static qp_status keep_planned(const qp_plan *p, const qp_records *all, qp_records *out,
                              qp_error *err) {
  qp_status status = QP_OK;
  for (size_t i = 0; i < all->count && !status; i++) {
    bool planned = false;
    for (unsigned l = 0; l < p->launches && !planned; l++)
      planned = is_of_launch(p, &p->launch[l], &all->list[i]);
    if (planned) status = qp_records_add(out, &all->list[i], err);
  }
  return status;
}

/* The GPU that the plan is for, or that qpal make was told; "" where nobody said. */
static void find_gpu(const qp_plan *p, const char *folder, char out[128]) {
  char file[PATH_BYTES];
  cJSON *made = NULL;
  snprintf(out, 128, "%s", p->gpu);
  path_of(folder, "make.json", file);
  if (*out || !*file || qp_json_read(file, &made, NULL)) return;
  const char *gpu = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(made, "gpu"));
  snprintf(out, 128, "%s", gpu ? gpu : "");
  cJSON_Delete(made);
}

/* The records that were asked for, or those of the model's GPU; '*why': there are none. */
static qp_status read_records(const report_options *o, const qp_plan *p, const char *folder,
                              qp_records *out, char why[WHY_BYTES], qp_error *err) {
  char gpu[128], source[256];
  if (o->records) return qp_records_read(o->records, 0, out, err);
  if (o->gpu) return qp_library_read(o->gpu, 0, out, source, err);
  find_gpu(p, folder, gpu);
  const qp_status status = *gpu ? qp_library_read(gpu, 0, out, source, err) : QP_OK;
  if (status != QP_E_ARG && status != QP_E_DEVICE && status != QP_E_MISSING) return status;
  /* a GPU that nobody has tuned for, or one that was here when the plan was made */
  snprintf(why, WHY_BYTES, "%.400s", err->text);
  return QP_OK;
}

/* Its drawing; none where no launch of the plan was measured, and '*why' says so. */
static qp_status draw_records(const report_options *o, const qp_plan *p, const char *folder,
                              qp_text *to, char why[WHY_BYTES], qp_error *err) {
  qp_session session = {0};
  qp_records all = {0}, planned = {0};
  qp_status status = qp_session_open(&session, err);
  if (!status) status = read_records(o, p, folder, &all, why, err);
  if (!status) status = keep_planned(p, &all, &planned, err);
  if (!status && planned.count) {
    const double usual = qp_rates_of(planned.list[0].arch)->read_gbs;
    qp_tune_svg(&planned, session.palette, o->read_gbs > 0 ? o->read_gbs : usual, to);
  } else if (!status && all.count) {
    snprintf(why, WHY_BYTES, "None of the %zu records is of a launch of this plan.", all.count);
  }
  qp_records_free(&planned);
  qp_records_free(&all);
  qp_session_close(&session);
  return status;
}

/* ---- The page ---- */

static qp_status write_page(const report_options *o, const qp_page_parts *parts, qp_error *err) {
  qp_text t = {0};
  qp_page_write(parts, &t);
  const qp_status status = t.failed ? qp_fail(err, QP_E_NOMEM, "%s: no memory", o->out)
                                    : qp_file_write(o->out, t.s, t.length, err);
  qp_text_free(&t);
  if (!status) printf("%s\n", o->out);
  return status;
}

static qp_status report(const report_options *o, const char *folder, qp_error *err) {
  char plan_file[PATH_BYTES], quantized[PATH_BYTES], front[PATH_BYTES], made_by[64];
  qp_plan plan = {0};
  cJSON *figures = NULL;
  char *front_svg = NULL;
  size_t bytes;
  char why[WHY_BYTES] = "";
  qp_text tuned = {0};
  path_of(folder, "packed/quantize-report.json", quantized);
  path_of(folder, "plan.front.svg", front);
  snprintf(made_by, sizeof made_by, "qpal %s", qpal_version());
  qp_status status = QP_OK;
  if (snprintf(plan_file, sizeof plan_file, "%s/plan.json", folder) >= PATH_BYTES)
    status = qp_fail(err, QP_E_LIMIT, "%s: the path is too long", folder);
  if (!status) status = qp_plan_read(plan_file, &plan, err);
  if (!status && *quantized) status = qp_json_read(quantized, &figures, err);
  if (!status && *front) status = qp_file_read(front, MOST_SVG, &front_svg, &bytes, err);
  if (!status) status = draw_records(o, &plan, folder, &tuned, why, err);
  const qp_page_parts parts = {.plan = &plan,
                               .quantized = figures,
                               .front = front_svg,
                               .tuned = tuned.s,
                               .untuned = why,
                               .made_by = made_by};
  if (!status) status = write_page(o, &parts, err);
  qp_text_free(&tuned);
  free(front_svg);
  cJSON_Delete(figures);
  qp_plan_free(&plan);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const report_options *o = options;
  (void)code;
  if (words->count != 1) return qp_fail(err, QP_E_ARG, "one OUT is needed, got %zu", words->count);
  if (!o->out) return qp_fail(err, QP_E_ARG, "-o FILE is needed: the page to write");
  if (o->records && o->gpu) return qp_fail(err, QP_E_ARG, "one of --records and --gpu, not both");
  return report(o, words->word[0], err);
}

int qp_cmd_report(int argc, char **argv) {
  report_options o = {.read_gbs = 0};
  const qp_option table[] = {
      QP_TEXT("o", o.out, "FILE", "page to write"),
      QP_TEXT("gpu", o.gpu, "GPU", "whose records in tuned/ to draw (that of plan or make)"),
      QP_TEXT("records", o.records, "FILE", "instead: these records of qpal tune"),
      QP_REAL("read-bandwidth", o.read_gbs, "GBS",
              "of the GPU, 1e9 bytes a second: the floor in that drawing (its usual part's)", 1e6),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
