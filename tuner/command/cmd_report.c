/* SPDX-License-Identifier: MIT */
/* qpal report: one page about what qpal make, or plan and quantize, wrote. */
#include <qpal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "tuner/base/options.h"
#include "tuner/base/session.h"
#include "tuner/command/commands.h"
#include "tuner/plan/plan_file.h"
#include "tuner/report/page.h"
#include "tuner/tune/drawing.h"
#include "tuner/tune/records.h"

static const qp_verb_help help = {
    "report", "OUT -o report.html [--records FILE.jsonl]",
    "Writes one page about the model in OUT, as qpal make leaves it: OUT/plan.json, the fronts of\n"
    "OUT/plan.front.svg, the distortions of OUT/packed. The page needs no network and follows the\n"
    "reader's light or dark scheme. What is missing in OUT is left out, but for the plan."};

typedef struct report_options {
  const char *out, *records;
  double read_gbs;
} report_options;

enum { MOST_SVG = 64 << 20, PATH_BYTES = 4096 };

/* OUT/NAME where it is there; "" where it is not. */
static void path_of(const char *folder, const char *name, char out[PATH_BYTES]) {
  const int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);
  if (n >= PATH_BYTES || access(out, F_OK) != 0) *out = 0;
}

static qp_status draw_records(const report_options *o, qp_text *to, qp_error *err) {
  qp_session session = {0};
  qp_records records = {0};
  qp_status status = qp_session_open(&session, err);
  if (!status) status = qp_records_read(o->records, 0, &records, err);
  if (!status) qp_tune_svg(&records, session.palette, o->read_gbs, to);
  qp_records_free(&records);
  qp_session_close(&session);
  return status;
}

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
  if (!status && o->records) status = draw_records(o, &tuned, err);
  const qp_page_parts parts = {.plan = &plan,
                               .quantized = figures,
                               .front = front_svg,
                               .tuned = o->records ? tuned.s : NULL,
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
  return report(o, words->word[0], err);
}

int qp_cmd_report(int argc, char **argv) {
  report_options o = {.read_gbs = 0};
  const qp_option table[] = {
      QP_TEXT("o", o.out, "FILE", "page to write"),
      QP_TEXT("records", o.records, "FILE", "also draw these records of qpal tune"),
      QP_REAL("read-bandwidth", o.read_gbs, "GBS",
              "of the GPU, 1e9 bytes a second: the floor in that drawing", 1e6),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
