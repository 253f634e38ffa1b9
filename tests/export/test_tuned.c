/* SPDX-License-Identifier: MIT */
/* From a folder with tuned/ to a table, a plan and a kernel library, as a user does it. */
#include <cjson/cJSON.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/model/models.h"
#include "tests/command/command_kit.h"
#include "tuner/base/session.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"

static qp_error err;

/* What the made-up GPU takes: 2 us a launch, and a picosecond for two bits of weights. */
static int64_t time_of(const qp_model_launch *l, double bits) {
  double weights = 0;
  for (unsigned i = 0; i < l->linears; i++) weights += (double)l->rows[i] * l->columns;
  return 2000000 + (int64_t)(weights * bits / 2);
}

typedef struct maker {
  qp_session session;
  qp_models *models;
  const qp_model *model;
  qp_model_launch launch[QP_MODEL_LAUNCHES];
  unsigned launches;
  qp_records all;
} maker;

static const char gpu[] = "Made-up GPU 9000";

static void add_record(maker *m, const qp_model_launch *l, const qp_quantizer *q, const char *set,
                       int64_t ps, const char *timer) {
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = l->linears,
                  .columns = l->columns,
                  .batch = 1,
                  .type = QP_F16,
                  .out_type = QP_F16,
                  .arch = 90,
                  .sm_count = 20};
  for (unsigned i = 0; i < l->linears; i++) {
    p.segment[i].quantizer = q;
    p.segment[i].rows = l->rows[i];
  }
  qp_choice c;
  qp_kernel k;
  qp_record r;
  qp_choice_default(qp_families_find(m->session.families, "gemm_tensor"), &c);
  cr_assert_eq(qp_choice_set(&c, set, &err), QP_OK);
  cr_assert_eq(qp_kernel_make(m->session.families, &p, &c, &k, &err), QP_OK, "%s", err.text);
  qp_record_begin(&k, &c, &r);
  qp_kernel_free(&k);
  r.ps = ps - 500000;
  r.chain_ps = ps;
  r.spread_ps = 1000;
  r.samples = 100;
  snprintf(r.gpu, sizeof r.gpu, "%s", gpu);
  snprintf(r.driver, sizeof r.driver, "580");
  snprintf(r.nvrtc, sizeof r.nvrtc, "13");
  snprintf(r.timer, sizeof r.timer, "%s", timer);
  snprintf(r.date, sizeof r.date, "2026-01-01T00:00:00Z");
  cr_assert_eq(qp_records_add(&m->all, &r, &err), QP_OK);
}

/* Every launch of SmolLM2-135M with nuq-4 and nuq-2: fastest with 8 warps, and slower ones. */
static void make_tuned(const char *timer, const char *file) {
  static const char *const names[] = {"nuq-4", "nuq-2"};
  maker *m = calloc(1, sizeof *m);
  cr_assert_eq(qp_session_open(&m->session, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&m->models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_find(m->models, "smollm2-135m", &m->model, &err), QP_OK, "%s", err.text);
  m->launches = qp_model_launches(m->model, m->launch);
  snprintf(m->all.gpu, sizeof m->all.gpu, "%s", gpu);
  for (unsigned i = 0; i < m->launches; i++)
    for (unsigned n = 0; n < 2; n++) {
      const qp_quantizer *q = NULL;
      cr_assert_eq(qp_palette_find(m->session.palette, names[n], &q, &err), QP_OK);
      const int64_t ps = time_of(&m->launch[i], n ? 2 : 4);
      add_record(m, &m->launch[i], q, "warps=8", ps, timer);
      add_record(m, &m->launch[i], q, "warps=16", ps + 900000, timer);
    }
  char *bytes = NULL;
  size_t count = 0;
  cr_assert_eq(qp_records_print(&m->all, &bytes, &count, &err), QP_OK);
  write_file(file, bytes);
  free(bytes);
  qp_records_free(&m->all);
  qp_models_close(m->models);
  qp_session_close(&m->session);
  free(m);
}

TestSuite(tuned, .init = open_folder, .fini = close_folder);

static double number(const cJSON *o, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  cr_assert(cJSON_IsNumber(v), "%s", name);
  return v->valuedouble;
}

/* ps of one launch whose linears have these rows together. */
static double us(double rows, double columns, double bits) {
  return (2000000 + rows * columns * bits / 2) * 1e-6;
}

/* SmolLM2-135M: 30 blocks, 576 wide; q 576, k and v 192; gate and up 1536; head 49152. */
static double pass_us(double bits) {
  return 30 * (us(576 + 192 + 192, 576, bits) + us(576, 576, bits) + us(2 * 1536, 576, bits) +
               us(576, 1536, bits));
}

Test(tuned, the_table_shows_the_fastest_of_each_launch) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  expect("table made-up --model smollm2-135m --json", 0, "\"exact\"");
  cJSON *rows = cJSON_Parse(text), *row;
  unsigned seen = 0;
  cJSON_ArrayForEach(row, rows) {
    const char *name = cJSON_GetObjectItem(row, "quantizer")->valuestring;
    const char *launch = cJSON_GetObjectItem(row, "launch")->valuestring;
    cr_assert(strstr(cJSON_GetObjectItem(row, "kernel")->valuestring, "__w8"));
    if (strcmp(launch, "qkv") != 0) continue;
    seen++;
    cr_assert_float_eq(number(row, "us"), us(960, 576, name[4] == '4' ? 4 : 2), 1e-3);
  }
  cr_assert_eq(seen, 2);
  cJSON_Delete(rows);
  expect("table made-up --model smollm2-135m", 0, "nuq-4");
}

Test(tuned, a_plan_takes_its_latencies_from_the_records) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  expect("plan --model smollm2-135m --gpu made-up --quantizers nuq-4 --lm-head keep -o p.json "
         "--latency 100s --constant 700us --json",
         0, "Made-up GPU 9000");
  cJSON *plan = cJSON_Parse(text);
  cr_assert(plan, "%.300s", text);
  const double all = number(plan, "latency_s") * 1e6;
  cr_assert_float_eq(all, pass_us(4) + 700, 0.01, "%.3f, not %.3f", all, pass_us(4) + 700);
  cJSON_Delete(plan);
  /* Between all with 2 bits and all with 4 bits the limit decides, and is kept. */
  const double limit = (pass_us(4) + pass_us(2)) / 2;
  char command[256];
  snprintf(command, sizeof command,
           "plan --model smollm2-135m --gpu made-up --quantizers nuq-4,nuq-2 --lm-head keep "
           "--latency %.3fus --json",
           limit);
  expect(command, 0, "\"nuq-2\"");
  plan = cJSON_Parse(text);
  cr_assert_leq(number(plan, "latency_s") * 1e6, limit);
  cr_assert_gt(number(plan, "latency_s") * 1e6, 0.97 * limit);
  cJSON_Delete(plan);
  snprintf(command, sizeof command,
           "plan --model smollm2-135m --gpu made-up --quantizers nuq-4,nuq-2 --lm-head keep "
           "--latency %.3fus",
           0.9 * pass_us(2));
  cr_assert_eq(run(command), 1, "infeasible: %s", text);
}

Test(tuned, a_library_gets_the_kernels_that_were_fastest) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  expect("export --shape 576x576 --quantizer nuq-4 --gpu made-up --batch 1 --type f16 --ptx none "
         "-o lib",
         0, "tuned/made-up-gpu-9000.jsonl");
  char file[128];
  snprintf(file, sizeof file, "%s/lib/manifest.json", folder);
  FILE *f = fopen(file, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  cr_assert(strstr(text, "_sm90_c20__w8"), "%.3000s", text);
  cr_assert(strstr(text, "Made-up GPU 9000"));
  expect("export --shape 576x576 --quantizer nuq-4 --gpu made-up --batch 1 --type f16 --ptx none "
         "--untuned -o plain",
         0, "the families' defaults");
  snprintf(file, sizeof file, "%s/plain/manifest.json", folder);
  f = fopen(file, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  cr_assert(strstr(text, "_sm90_c20__w16"), "%.3000s", text);
  cr_assert_null(strstr(text, "_sm90_c20__w8"));
}

/* The whole of page.html, which the caller frees. */
static char *report(const char *options) {
  char command[256], file[128];
  snprintf(command, sizeof command, "report . -o page.html %s", options);
  expect(command, 0, "page.html");
  snprintf(file, sizeof file, "%s/page.html", folder);
  char *page = NULL;
  size_t bytes = 0;
  cr_assert_eq(qp_file_read(file, 1 << 24, &page, &bytes, &err), QP_OK, "%s", err.text);
  char *whole = strndup(page, bytes);
  free(page);
  return whole;
}

Test(tuned, a_report_draws_what_was_measured_of_the_plan_s_launches) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  expect("plan --model smollm2-135m --quantizers nuq-4,nuq-2 --lm-head keep --bits 3 -o plan.json",
         0, "");
  char *page = report("");
  cr_expect_null(strstr(page, "class=\"floor\""), "no GPU is known");
  free(page);
  write_file("make.json", "{\"gpu\": \"made-up\"}");
  page = report("");
  cr_expect(strstr(page, "class=\"floor\""));
  cr_expect(strstr(page, "576 x 1536, batch 1") && strstr(page, "nuq-2: 2"), "%.2000s", page);
  cr_expect_null(strstr(page, "49152 x 576"), "no launch of the plan's");
  free(page);
  write_file("make.json", "{\"gpu\": \"sm_90\"}");
  page = report("");
  cr_expect(strstr(page, "no records of such a GPU"));
  free(page);
  expect("report . -o page.html --gpu sm_90", 2, "no records of such a GPU");
  expect("report . -o page.html --gpu made-up --records tuned/made-up-gpu-9000.jsonl", 2,
         "not both");
}

Test(tuned, a_file_of_records_by_its_path_does_as_well) {
  make_tuned("CUPTI 13.0", "elsewhere/mine.jsonl");
  expect("table elsewhere/mine.jsonl --model smollm2-135m", 0, "nuq-2");
  expect("plan --model smollm2-135m --gpu elsewhere/mine.jsonl --quantizers nuq-4 --latency 100s",
         0, "Made-up GPU 9000");
  expect("export --shape 576x576 --quantizer nuq-4 --gpu elsewhere/mine.jsonl --batch 1 "
         "--type f16 --ptx none -o lib",
         0, "elsewhere/mine.jsonl");
}

Test(tuned, replayed_records_are_refused_by_plan_table_and_export) {
  make_tuned("replay", "tuned/made-up-gpu-9000.jsonl");
  expect("table made-up --model smollm2-135m", 2, "replay device");
  expect("table made-up --model smollm2-135m --replay", 2, "replay device");
  expect("plan --model smollm2-135m --gpu made-up --quantizers nuq-4", 2, "replay device");
  expect("plan --model smollm2-135m --gpu tuned/made-up-gpu-9000.jsonl --quantizers nuq-4", 2,
         "replay device");
  expect("export --shape 576x576 --quantizer nuq-4 --gpu made-up --batch 1 -o lib", 2,
         "replay device");
}

Test(tuned, what_the_records_lack_is_told) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  expect("plan --model smollm2-135m --gpu other --quantizers nuq-4", 2, "qpal tune");
  expect("plan --model smollm2-135m --gpu made-up --quantizers nuq-4 --batch 8", 2,
         "it has batch sizes 1 (--batch)");
  expect("plan --model smollm2-135m --quantizers nuq-4 --bits 5 --constant 1ms", 2,
         "--constant: only with --gpu");
  expect("export --shape 576x576 --quantizer nuq-4 --gpu other -o lib", 2, "other");
}

Test(tuned, launches_without_a_row_are_scaled_only_if_asked_for) {
  make_tuned("CUPTI 13.0", "tuned/made-up-gpu-9000.jsonl");
  const char *strict = "plan --model qwen2.5-0.5b --gpu made-up --quantizers nuq-4 --lm-head keep "
                       "--latency 100s --no-fusion";
  cr_assert_neq(run(strict), 0, "%s", text);
  char command[256];
  snprintf(command, sizeof command, "%s --accept 'nearest shape' --json", strict);
  expect(command, 0, "nearest shape");
}
