/* SPDX-License-Identifier: MIT */
/* qpal tour compiles the palette's kernels for Llama-3.1-8B and checks a sample of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/models.h"
#include "runtime/arch.h"
#include "tuner/check/cases.h"
#include "tuner/command/commands.h"
#include "tuner/base/options.h"
#include "tuner/base/output.h"
#include "tuner/check/runner.h"
#include "tuner/base/session.h"

static const qp_verb_help help = {
    "tour", "[QUANTIZER...] [options]",
    "Generates and compiles the gemm kernels of Llama-3.1-8B's linears (q|k|v and up|gate fused) "
    "for the\n"
    "GPU that is here, or for sm_90 without one; checks a sample of them on that GPU, or in the "
    "PTX\n"
    "simulator, and prints registers, shared memory, spills and error of each."};

/* The launches are the model's four fused groups, and its k linear alone, which is small enough for
   the simulator. */
enum { GROUPS = 5, CHECKED = GROUPS - 1, SAMPLE_EVERY = 6 };

static qp_status model_groups(qp_model_group *group, qp_error *err) {
  qp_models *models;
  const qp_model *m;
  qp_status status = qp_models_open(&models, err);
  if (status) return status;
  status = qp_models_find(models, "llama-3.1-8b", &m, err);
  if (!status) {
    for (unsigned g = 0; g < CHECKED; g++) group[g] = m->group[g];
    group[CHECKED] = (qp_model_group){
        .name = "k", .linears = 1, .rows = {m->kv_heads * m->head_dim}, .columns = m->hidden};
  }
  qp_models_close(models);
  return status;
}

/* The last group is small enough for the simulator; a GPU checks any. */
static bool in_sample(size_t quantizer, unsigned group, bool gpu) {
  if (gpu) return (quantizer + group) % SAMPLE_EVERY == 0 || group == CHECKED;
  return group == CHECKED && quantizer % SAMPLE_EVERY == 0;
}

static qp_status make_cases(const qp_families *f, const qp_model_group *groups,
                            const qp_quantizer *const *q, size_t n, unsigned arch, unsigned sms,
                            bool gpu, qp_cases *cases, bool **verify, qp_error *err) {
  const qp_family *family = qp_families_for(f, QP_OP_GEMM, NULL);
  cases->list = calloc(n * GROUPS + 1, sizeof *cases->list);
  *verify = calloc(n * GROUPS + 1, sizeof **verify);
  if (!cases->list || !*verify || !family)
    return qp_fail(err, QP_E_NOMEM, "no memory for the tour");
  for (size_t i = 0; i < n; i++)
    for (unsigned g = 0; g < GROUPS; g++) {
      qp_case *c = &cases->list[cases->count];
      c->problem = (qp_problem){.op = QP_OP_GEMM,
                                .segments = groups[g].linears,
                                .columns = groups[g].columns,
                                .batch = 1,
                                .arch = arch,
                                .sm_count = sms};
      for (unsigned s = 0; s < groups[g].linears; s++) {
        c->problem.segment[s].quantizer = q[i];
        c->problem.segment[s].rows = groups[g].rows[s];
      }
      qp_choice_default(family, &c->choice);
      (*verify)[cases->count++] = in_sample(i, g, gpu);
    }
  return QP_OK;
}

static int report(const qp_model_group *groups, const qp_cases *cases, const qp_result *result,
                  bool json, const char *device) {
  static const qp_column columns[] = {
      {"quantizer", false}, {"linears", false},    {"shape", false},  {"registers", true},
      {"smem_bytes", true}, {"spill_bytes", true}, {"seconds", true}, {"error", true},
      {"result", false},    {NULL, false}};
  static const char *const names[] = {"LOST", "PASS", "FAIL", "SKIP", "compiled"};
  qp_table_out *t = qp_table_new(columns, json);
  size_t count[5] = {0};
  for (size_t i = 0; i < cases->count; i++) {
    const qp_problem *p = &cases->list[i].problem;
    const qp_result *r = &result[i];
    char shape[128];
    size_t n = 0;
    for (unsigned s = 0; s < p->segments; s++)
      n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%u", s ? "+" : "", p->segment[s].rows);
    snprintf(shape + n, sizeof shape - n, "x%u", p->columns);
    count[r->outcome]++;
    qp_table_row(t);
    qp_table_text(t, p->segment[0].quantizer->name);
    qp_table_text(t, groups[i % GROUPS].name);
    qp_table_text(t, shape);
    qp_table_number(t, r->res.registers, "%.0f");
    qp_table_number(t, r->res.smem_static_bytes + r->smem_dynamic_bytes, "%.0f");
    qp_table_number(t, r->res.spill_store_bytes + r->res.spill_load_bytes, "%.0f");
    qp_table_number(t, r->seconds, "%.2f");
    qp_table_number(t, r->error, "%.2e");
    qp_table_text(t, r->outcome == QP_OUTCOME_FAIL ? r->why : names[r->outcome]);
  }
  qp_table_print(t);
  fprintf(json ? stderr : stdout,
          "%zu kernels: %zu compiled, of these %zu checked on %s: %zu PASS, %zu FAIL\n",
          cases->count, count[QP_OUTCOME_MADE] + count[QP_OUTCOME_PASS],
          count[QP_OUTCOME_PASS] + count[QP_OUTCOME_FAIL], device, count[QP_OUTCOME_PASS],
          count[QP_OUTCOME_FAIL] + count[QP_OUTCOME_LOST]);
  return count[QP_OUTCOME_FAIL] + count[QP_OUTCOME_LOST] ? 1 : 0;
}

typedef struct tour_options {
  const char *device;
  bool json;
} tour_options;

static qp_status run(const char *list, const tour_options *o, int *code, qp_error *err) {
  qp_session s;
  qp_status status = qp_session_open(&s, err);
  if (status) return status;
  const qp_quantizer **q = NULL;
  size_t n = 0;
  char chosen[64] = "";
  unsigned arch, sms;
  bool *verify = NULL;
  qp_cases cases = {0};
  qp_result *result = NULL;
  qp_model_group groups[GROUPS];
  status = model_groups(groups, err);
  if (!status) status = qp_session_quantizers(&s, list, &q, &n, err);
  if (!status) status = qp_session_device(o->device, chosen, sizeof chosen, &arch, &sms, err);
  bool gpu = !status && strncmp(chosen, "sim", 3) != 0;
  if (!status && !gpu) sms = qp_arch_sm_count(arch); /* the kernels are those of the real chip */
  if (!status) status = make_cases(s.families, groups, q, n, arch, sms, gpu, &cases, &verify, err);
  if (!status && !(result = calloc(cases.count + 1, sizeof *result)))
    status = qp_fail(err, QP_E_NOMEM, "no memory for results");
  qp_run_options ro = {
      .device = chosen, .seed = 1, .row_groups_max = 8, .cubins = true, .what = "tour"};
  if (!status) status = qp_run_cases(s.families, &ro, &cases, verify, result, NULL, err);
  if (!status) *code = report(groups, &cases, result, o->json, chosen);
  free(result);
  free(verify);
  free(q);
  qp_cases_free(&cases);
  qp_session_close(&s);
  return status;
}

static qp_status act(void *options, const qp_words *words, int *code, qp_error *err) {
  const tour_options *o = options;
  char list[16384];
  const qp_status status = qp_words_list(words, list, sizeof list, err);
  return status ? status : run(words->count ? list : "tcq,vq2,nuq", o, code, err);
}

int qp_cmd_tour(int argc, char **argv) {
  tour_options o = {0};
  const qp_option table[] = {
      QP_TEXT("device", o.device, "D", "cuda:N or sim[:sm_90[:SMS]]; a GPU if there is one"),
      QP_FLAG("json", o.json, "rows as JSON"),
      {0}};
  return qp_verb_run(&help, table, argc, argv, act, &o);
}
