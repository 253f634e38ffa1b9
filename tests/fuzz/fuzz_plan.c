/* SPDX-License-Identifier: MIT */
/*
** Fuzz target for the planner's JSON: the first byte picks what the rest is read as.  What is read
** well is also used: a plan is added up and written, figures and tables become a plan.
*/
#include "gen/base/json.h"
#include "gen/model/models.h"
#include "tuner/plan/figures.h"
#include "tuner/plan/planner.h"
#include "tuner/plan/report.h"
#include "tests/fuzz/fuzz_kit.h"

static qp_models *models;
static qp_model model;
static qp_menu menu;
static qp_palette *palette;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  static const char config[] =
      "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
      "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"num_hidden_layers\": 2,"
      "\"vocab_size\": 128}";
  static qp_quantizer q[2] = {{.name = "a-2", .kind = QP_SCALAR, .window = 2, .dim = 1, .step = 2},
                              {.name = "b-4", .kind = QP_SCALAR, .window = 4, .dim = 1, .step = 4}};
  (void)argc, (void)argv;
  if (qp_models_open(&models, NULL) || qp_palette_open(&palette, NULL) ||
      !freopen("/dev/null", "w", stdout) || /* what --diff prints */
      qp_models_parse(models, "m.json", config, sizeof config - 1, &model, NULL) ||
      qp_menu_add(&menu, &q[0], NULL, NULL) || qp_menu_add(&menu, &q[1], NULL, NULL) ||
      qp_menu_add(&menu, NULL, NULL, NULL))
    abort();
  menu.entry[0].distortion = 0.1;
  menu.entry[1].distortion = 0.01;
  return 0;
}

/* As quantize and export take it, and as --diff compares it with itself. */
static void use_plan(const qp_plan *p) {
  const qp_quantizer **q = calloc(p->quantizers + 1, sizeof(const qp_quantizer *));
  qp_error err = {.text = ""};
  must(q != NULL);
  must(!qp_plan_resolve(p, palette, q, &err) || *err.text);
  free(q);
  must(!qp_report_diff(p, p, p->linears % 2, &err) || *err.text);
}

static void try_plan_file(const char *text, size_t bytes) {
  qp_plan p;
  char *again = NULL, *last = NULL;
  size_t n = 0, m = 0;
  if (qp_plan_parse("p.json", text, bytes, &p, NULL)) return;
  qp_plan_check(&p, NULL);
  use_plan(&p);
  if (!qp_plan_print(&p, &again, &n, NULL)) {
    qp_plan q;
    if (qp_plan_parse("again.json", again, n, &q, NULL)) abort(); /* what is written reads back */
    must(!qp_plan_print(&q, &last, &m, NULL) && n == m && !memcmp(again, last, n));
    qp_plan_free(&q);
  }
  free(last);
  free(again);
  qp_plan_free(&p);
}

static void plan_with(qp_plan_input *in) {
  qp_plan p;
  qp_solution s;
  qp_error err = {0};
  qp_status status = qp_planner_run(in, &(qp_planner_options){.time_limit_s = 1}, &p, &s, &err);
  if (!status) qp_plan_free(&p);
}

static void try_table(const char *text, size_t bytes) {
  qp_latency_table t;
  qp_plan_input in;
  if (qp_latency_parse_foreign("t.json", text, bytes, &t, NULL)) return;
  if (!qp_plan_input_init(&in, &model, &menu, NULL)) {
    in.table = &t;
    in.head = bytes % 2;
    in.latency_limit_ps = bytes % 3 ? t.constant_ps + 20000000 : -1;
    in.bits_limit = bytes % 5 ? -1 : 3;
    in.confidence = bytes % 7 ? 0.5 : 0.9;
    plan_with(&in);
    qp_plan_input_free(&in);
  }
  qp_latency_free(&t);
}

static void try_figures(unsigned kind, const char *text, size_t bytes) {
  qp_menu own = menu;
  qp_plan_input in;
  cJSON *tree = NULL;
  bool head = false, fed = false;
  qp_status status = QP_OK;
  if (qp_json_parse("f.json", text, bytes, &tree, NULL)) return;
  if (kind == 0) status = qp_figures_distortion("f.json", tree, &own, NULL);
  if (!status && !qp_plan_input_init(&in, &model, &own, NULL)) {
    if (kind == 0) status = qp_figures_linear_distortion("f.json", tree, &in, NULL);
    if (kind == 1) status = qp_figures_sensitivity("f.json", tree, &in, &head, &fed, NULL);
    if (kind == 2) status = qp_figures_sizes("f.json", tree, &in, NULL);
    in.head = head;
    in.bits_limit = 3;
    if (!status) plan_with(&in);
    qp_plan_input_free(&in);
  }
  cJSON_Delete(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  const char *text = (const char *)data + 1;
  qp_model other;
  switch (data[0] % 6) {
  case 0: try_plan_file(text, size - 1); break;
  case 1: try_table(text, size - 1); break;
  case 2: qp_models_parse(models, "m.json", text, size - 1, &other, NULL); break;
  default: try_figures(data[0] % 6 - 3u, text, size - 1); break;
  }
  return 0;
}
