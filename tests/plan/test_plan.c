/* SPDX-License-Identifier: MIT */
/* qpal plan as a user calls it, on a model and a table that this file writes. */
#include <cjson/cJSON.h>
#include <math.h>
#include <unistd.h>

#include "tests/command/command_kit.h"
#include "tuner/plan/plan_file.h"

/* 3 blocks: q 64x64, k and v 32x64, up and gate 96x64, down 64x96; lm_head 128x64. */
static const char *const config =
    "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"num_hidden_layers\": 3,"
    "\"vocab_size\": 128}";

/* A table of nuq-2, 3, 4 and fp16: launches take 1 us and 0.1 us a bit for each 1000 weights. */
static void write_table(const char *name, bool spread, bool head) {
  static const struct {
    const char *key;
    double weights;
  } groups[] = {{"q", 4.1}, {"k", 2},     {"v", 2},      {"qk", 6.1}, {"qv", 6.1},
                {"kv", 4},  {"qkv", 8.1}, {"o", 4.1},    {"u", 6},    {"g", 6},
                {"ug", 12}, {"d", 6},     {"lm_head", 8}};
  static const char *const names[] = {"nuq-2", "nuq-3", "nuq-4", "fp16"};
  static const double bits[] = {2, 3, 4, 16};
  char t[1 << 15];
  size_t n = (size_t)snprintf(t, sizeof t,
                              "{\"gpu\": \"toy\", \"model\": \"config\", \"batch\": 1,"
                              "\"constant_s\": 5e-6, \"groups\": {");
  for (int pass = 0; pass <= spread; pass++) {
    size_t count = sizeof groups / sizeof *groups - !head;
    for (size_t g = 0; g < count; g++) {
      n += (size_t)snprintf(t + n, sizeof t - n, "%s\"%s\": {", g ? ", " : "", groups[g].key);
      for (size_t q = 0; q < 4; q++) {
        double s = 1e-6 + bits[q] * groups[g].weights * 1e-7;
        n += (size_t)snprintf(t + n, sizeof t - n, "%s\"%s\": {\"tensor\": %.9g}", q ? ", " : "",
                              names[q], pass ? s / 100 : s);
      }
      n += (size_t)snprintf(t + n, sizeof t - n, "}");
    }
    n += (size_t)snprintf(t + n, sizeof t - n, "}%s", spread && !pass ? ", \"spread\": {" : "");
  }
  snprintf(t + n, sizeof t - n, "}");
  write_file(name, t);
}

/* Also a palette of the nuq quantizers alone, which loads in no time. */
static void set_up(void) {
  char command[1024];
  open_folder();
  snprintf(command, sizeof command,
           "mkdir '%s/home' && cp -r '%s/lua' '%s/home/' && cd '%s/home/lua/quantizers' && "
           "find . -name '*.lua' ! -name nuq.lua -delete",
           folder, QP_SOURCE_DIR, folder, folder);
  cr_assert_eq(system(command), 0, "%s", command);
  snprintf(command, sizeof command, "%s/home", folder);
  setenv("QPAL_HOME", command, 1);
  write_file("config.json", config);
  write_table("table.json", false, true);
}

TestSuite(plan, .init = set_up, .fini = close_folder);

static qp_plan read_plan(const char *name) {
  char path[128];
  qp_plan p;
  qp_error err = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  cr_assert_eq(qp_plan_read(path, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_plan_check(&p, &err), QP_OK, "%s", err.text);
  return p;
}

#define PLAN  "plan --model . --quantizers nuq-2,nuq-3,nuq-4,fp16 "
#define TIMED PLAN "--gpu table.json "

Test(plan, what_is_written_keeps_the_limits) {
  expect(TIMED "--latency 45us -o p.json --svg p.svg", 0, "proven best");
  qp_plan p = read_plan("p.json");
  cr_expect_leq(p.latency_ps, 45000000);
  cr_expect_gt(p.latency_ps, 43000000, "%lld", (long long)p.latency_ps);
  cr_expect_eq(p.linears, 3 * 7 + 1);
  cr_expect_eq(p.constant_ps, 5000000);
  cr_expect_eq(p.bound, p.loss);
  cr_expect_str_eq(p.gpu, "toy");
  qp_plan_free(&p);
  expect(TIMED "--latency 45us --json", 0, "\"schema\": \"qpal-plan\"");
  cJSON *tree = cJSON_Parse(text);
  static const char *const top[] = {"loss",         "bound",        "latency_s",
                                    "tokens_per_s", "memory_bytes", "bits_per_weight"};
  for (size_t i = 0; i < sizeof top / sizeof *top; i++)
    cr_expect(cJSON_IsNumber(cJSON_GetObjectItem(tree, top[i])), "%s", top[i]);
  cJSON_Delete(tree);
}

Test(plan, more_time_and_more_bits_never_lose) {
  double last = INFINITY;
  char arguments[256];
  for (int us = 42; us <= 90; us += 12) {
    snprintf(arguments, sizeof arguments, TIMED "--latency %dus -o p.json", us);
    expect(arguments, 0, "proven");
    qp_plan p = read_plan("p.json");
    cr_expect_leq(p.loss, last);
    last = p.loss;
    qp_plan_free(&p);
  }
  last = INFINITY;
  for (int bits = 4; bits <= 17; bits += 3) {
    snprintf(arguments, sizeof arguments, PLAN "--bits %d -o p.json", bits);
    expect(arguments, 0, "proven");
    qp_plan p = read_plan("p.json");
    cr_expect_leq(p.loss, last);
    cr_expect_leq(p.bits_per_weight, bits);
    cr_expect_eq(p.latency_ps, -1);
    last = p.loss;
    qp_plan_free(&p);
  }
  cr_expect_eq(last, 0, "with 16 bits for all nothing is lost");
}

Test(plan, limits_that_cannot_be_met_say_by_how_much) {
  expect(TIMED "--latency 30us", 1, "us over the limit of 30.000 us");
  expect(TIMED "--latency 4us", 1, "constant part, 5.000 us");
  expect(PLAN "--bits 1", 1, "over the limit of");
  expect(PLAN "--memory 1KB", 1, "not quantized");
  expect(TIMED "--latency 60us --bits 1.5", 1, "bytes over the limit");
}

Test(plan, options_restrict_what_is_chosen) {
  expect(TIMED "--latency 60us --no-fusion -o p.json", 0, "proven");
  qp_plan p = read_plan("p.json");
  cr_expect_eq(p.launches, p.linears);
  qp_plan_free(&p);
  expect(TIMED "--latency 60us --no-mixed-fusion -o p.json", 0, "proven");
  p = read_plan("p.json");
  for (unsigned i = 0; i < p.launches; i++)
    for (unsigned k = 1; k < p.launch[i].members; k++)
      cr_expect_eq(p.linear[p.launch[i].linear[k]].quantizer,
                   p.linear[p.launch[i].linear[0]].quantizer);
  qp_plan_free(&p);
  expect(TIMED "--latency 46us --block-types 1 -o p.json", 0, "linears");
  p = read_plan("p.json");
  for (unsigned l = 0; l < 7; l++)
    cr_expect_eq(p.linear[l].quantizer, p.linear[7 + l].quantizer, "%s", p.linear[l].role);
  cr_expect(p.proven);
  qp_plan_free(&p);
  expect(TIMED "--latency 60us --lm-head keep -o p.json", 0, "stays in 16 bits");
  p = read_plan("p.json");
  cr_expect_str_eq(p.quantizer[p.linear[p.linears - 1].quantizer].name, "fp16");
  qp_plan_free(&p);
  expect(TIMED "--latency 60us --paths cuda", 2, "no row for batch 1");
  expect(TIMED "--latency 60us --batch 1,8", 2, "no row for batch 8");
}

Test(plan, a_tied_head_stays_with_its_embedding_unless_asked) {
  char tied[512];
  snprintf(tied, sizeof tied, "%.*s, \"tie_word_embeddings\": true}", (int)strlen(config) - 1,
           config);
  write_file("tied.json", tied);
  expect("plan --model tied.json --quantizers nuq --bits 3.5 -o p.json", 0, "stays in 16 bits");
  qp_plan p = read_plan("p.json");
  cr_expect_eq(p.memory.lm_head, 0);
  qp_plan_free(&p);
  expect("plan --model tied.json --quantizers nuq --bits 3.5 --lm-head plan -o p.json", 0,
         "proven");
  p = read_plan("p.json");
  cr_expect_gt(p.memory.lm_head, 0);
  cr_expect_eq(p.memory.embedding, 0, "one matrix is both");
  cr_expect(p.linear[p.linears - 1].lookup);
  qp_plan_free(&p);
  expect("plan --model tied.json --quantizers nuq --bits 3.5 --lm-head plan --embedding keep "
         "-o p.json",
         0, "proven");
  p = read_plan("p.json");
  cr_expect_gt(p.memory.lm_head, 0);
  cr_expect_gt(p.memory.embedding, p.memory.lm_head, "a copy, where it is asked for");
  cr_expect_not(p.linear[p.linears - 1].lookup);
  qp_plan_free(&p);
  expect("plan --model tied.json --embedding plan --lm-head keep", 2, "one matrix");
}

Test(plan, a_tied_embedding_gets_the_quantizer_that_is_named_and_nothing_else_does) {
  char tied[512];
  snprintf(tied, sizeof tied, "%.*s, \"tie_word_embeddings\": true}", (int)strlen(config) - 1,
           config);
  write_file("tied.json", tied);
  expect("plan --model tied.json --quantizers nuq-3,nuq-4 --embedding nuq-8 -o p.json", 0,
         "the embedding is the lm_head");
  qp_plan p = read_plan("p.json");
  for (unsigned l = 0; l < p.linears; l++)
    cr_expect_eq(!strcmp(p.quantizer[p.linear[l].quantizer].name, "nuq-8"), l + 1 == p.linears);
  cr_expect_eq(p.memory.embedding, 0);
  qp_plan_free(&p);
}

Test(plan, an_embedding_that_is_no_head_is_the_last_linear_and_looked_up_alone) {
  expect("plan --model config.json --quantizers nuq-3 --embedding nuq-8 -o p.json", 0,
         "embedding  nuq-8");
  qp_plan p = read_plan("p.json");
  const qp_plan_linear *l = &p.linear[p.linears - 1];
  cr_expect(qp_plan_looks_up_alone(l));
  cr_expect_str_eq(l->tensor, "model.embed_tokens");
  cr_expect_str_eq(p.quantizer[l->quantizer].name, "nuq-8");
  cr_expect_eq(p.memory.embedding, l->bytes);
  cr_expect_gt(p.memory.lm_head, 0, "which stays what it was");
  for (unsigned i = 0; i < p.launches; i++)
    for (unsigned k = 0; k < p.launch[i].members; k++)
      cr_expect_neq(p.launch[i].linear[k], p.linears - 1, "it is in no launch");
  qp_plan_free(&p);
  expect("plan --model config.json --quantizers nuq-3 --embedding plan", 2, "name the quantizer");
  expect("plan --model config.json --quantizers nuq-3 --embedding nuq-9", 2, "no quantizer");
}

Test(plan, mixed_launches_are_marked_as_modelled) {
  write_file(
      "alpha.json",
      "{\"alpha\": [{\"self_attn.q_proj\": 0.01, \"self_attn.k_proj\": 1, \"self_attn.v_proj\": 50,"
      "\"self_attn.o_proj\": 1, \"mlp.gate_proj\": 1, \"mlp.up_proj\": 9, \"mlp.down_proj\": 1},"
      "{\"self_attn.q_proj\": 0.01, \"self_attn.k_proj\": 1, \"self_attn.v_proj\": 50,"
      "\"self_attn.o_proj\": 1, \"mlp.gate_proj\": 1, \"mlp.up_proj\": 9, \"mlp.down_proj\": 1},"
      "{\"self_attn.q_proj\": 0.01, \"self_attn.k_proj\": 1, \"self_attn.v_proj\": 50,"
      "\"self_attn.o_proj\": 1, \"mlp.gate_proj\": 1, \"mlp.up_proj\": 9, \"mlp.down_proj\": 1}]}");
  expect(TIMED "--latency 42us --sensitivity alpha.json -o a.json --no-mixed-fusion", 0, "proven");
  expect(TIMED "--latency 42us --sensitivity alpha.json -o b.json", 0,
         "modelled: the sum of their parts, with one launch overhead of 1.000 us");
  qp_plan a = read_plan("a.json"), b = read_plan("b.json");
  cr_expect_lt(b.loss, a.loss);
  unsigned modelled = 0;
  for (unsigned i = 0; i < b.launches; i++) {
    const qp_plan_launch *l = &b.launch[i];
    bool mixed = false;
    double us = 1; /* the table's rule */
    for (unsigned k = 0; k < l->members; k++) {
      const qp_plan_linear *m = &b.linear[l->linear[k]];
      const qp_plan_quantizer *q = &b.quantizer[m->quantizer];
      double weights = m->rows * m->columns / 1000.0;
      mixed = mixed || m->quantizer != b.linear[l->linear[0]].quantizer;
      us += 0.1 * q->rate_bits * (weights > 7 ? 8 : round(weights * 10 + 0.01) / 10);
    }
    cr_expect_eq(!strcmp(l->how, "modelled"), mixed, "%s", l->how);
    modelled += mixed;
    if (mixed) cr_expect_float_eq((double)l->latency_ps * 1e-6, us, 0.1, "%g", us);
  }
  cr_expect_gt(modelled, 0);
  qp_plan_free(&a);
  qp_plan_free(&b);
  expect("plan --diff a.json b.json", 0, "linears differ");
  expect("plan --diff a.json a.json", 0, "0 of 22 linears differ");
  expect("plan --diff a.json b.json --json", 0, "quantizer_a");
}

Test(plan, what_quantize_and_distortion_report_replaces_the_figures) {
  /* As qpal distortion --json prints it; nuq-4 becomes useless, so nothing chooses it. */
  write_file("d.json", "[{\"quantizer\": \"nuq-4\", \"rate\": 4, \"distortion\": 0.9}]");
  expect(PLAN "--quantizers nuq-2,nuq-3,nuq-4 --bits 3.6 -o a.json", 0, "nuq-4");
  expect(PLAN "--quantizers nuq-2,nuq-3,nuq-4 --bits 3.6 -o a.json --distortion d.json", 0,
         "proven");
  cr_expect(!strstr(text, "nuq-4"));
  /* As in quantize-report.json: one linear, whose nuq-2 is as good as lossless. */
  write_file("r.json",
             "{\"model\": \"config\", \"bits_per_weight\": 2.2, \"weights\": 98304,"
             "\"distortion\": 0.1, \"linears\": {\"model.layers.1.mlp.down_proj\": {\"nuq-2\": "
             "{\"distortion\": 1e-9, \"distortion_original\": 1e-9, \"rows\": 64}}}}");
  expect(PLAN "--bits 3.6 -o b.json --distortion d.json,r.json", 0, "proven");
  qp_plan b = read_plan("b.json");
  const qp_plan_linear *l = &b.linear[1 * 7 + 6];
  cr_expect_str_eq(l->tensor, "model.layers.1.mlp.down_proj");
  cr_expect_str_eq(b.quantizer[l->quantizer].name, "nuq-2");
  cr_expect_eq(l->distortion, 1e-9);
  for (unsigned i = 0; i < b.linears; i++)
    cr_expect_str_neq(b.quantizer[b.linear[i].quantizer].name, "nuq-4", "%u", i);
  qp_plan_free(&b);
}

Test(plan, confidence_costs_what_the_spreads_say) {
  write_table("spread.json", true, false);
  expect(PLAN "--gpu spread.json --latency 80us -o a.json", 0, "proven");
  expect(PLAN "--gpu spread.json --latency 80us -o b.json --confidence 0.95", 0, "proven");
  qp_plan a = read_plan("a.json"), b = read_plan("b.json");
  cr_expect_geq(b.loss, a.loss);
  cr_expect_leq(b.latency_ps, 80000000);
  cr_expect_eq(b.confidence, 0.95);
  qp_plan_free(&a);
  qp_plan_free(&b);
  expect(PLAN "--gpu table.json --latency 80us --confidence 0.95", 2, "no row has a spread");
  expect(PLAN "--gpu table.json --latency 80us --confidence 1.5", 2, "from 0.5 to below 1");
}

/* Least loss among the points of a front within a limit on 'axis'. */
static double best_within(const cJSON *line, const char *axis, double limit) {
  const cJSON *p;
  double least = INFINITY;
  cJSON_ArrayForEach(p, line) if (cJSON_GetNumberValue(cJSON_GetObjectItem(p, axis)) <= limit)
      least = fmin(least, cJSON_GetNumberValue(cJSON_GetObjectItem(p, "loss")));
  return least;
}

/* A plan within a limit against the best point of the front within it. */
static void compare_with_front(const cJSON *line, const char *axis, double limit, double step,
                               const char *arguments) {
  expect(arguments, 0, "proven");
  qp_plan p = read_plan("one.json");
  double least = best_within(line, axis, limit);
  cr_expect_geq(least, p.loss * (1 - 1e-9), "%s: %g is better than the best", arguments, least);
  cr_expect_leq(least, p.loss * (1 + step + 1e-9), "%s: %g, best %g", arguments, least, p.loss);
  qp_plan_free(&p);
}

Test(plan, fronts_fall_and_hold_a_plan_near_the_best_for_any_limit) {
  static const char *const lines[][2] = {{"latency", "latency_s"}, {"bits", "bits_per_weight"}};
  expect(TIMED "--latency 60us --front --json", 0, "qpal-front");
  cJSON *tree = cJSON_Parse(text);
  cr_assert(tree);
  double step = cJSON_GetNumberValue(cJSON_GetObjectItem(tree, "step"));
  cr_expect(step > 0 && step <= 0.01, "%g", step);
  for (int i = 0; i < 2; i++) {
    const cJSON *p, *line = cJSON_GetObjectItem(tree, lines[i][0]);
    double x = -1, y = INFINITY;
    cr_expect_gt(cJSON_GetArraySize(line), 20, "%s", lines[i][0]);
    cJSON_ArrayForEach(p, line) {
      double cost = cJSON_GetNumberValue(cJSON_GetObjectItem(p, lines[i][1]));
      double loss = cJSON_GetNumberValue(cJSON_GetObjectItem(p, "loss"));
      cr_expect(cost > x && loss < y, "%s: %g %g after %g %g", lines[i][0], cost, loss, x, y);
      x = cost, y = loss;
    }
  }
  cr_expect(cJSON_IsObject(cJSON_GetObjectItem(tree, "chosen")));
  for (int k = 0; k < 6; k++) {
    char arguments[256];
    snprintf(arguments, sizeof arguments, TIMED "--latency %dus -o one.json", 43 + 7 * k);
    compare_with_front(cJSON_GetObjectItem(tree, "latency"), "latency_s", (43 + 7 * k) * 1e-6, step,
                       arguments);
    snprintf(arguments, sizeof arguments, TIMED "--bits %g -o one.json", 2.9 + 0.37 * k);
    compare_with_front(cJSON_GetObjectItem(tree, "bits"), "bits_per_weight", 2.9 + 0.37 * k, step,
                       arguments);
  }
  cJSON_Delete(tree);
}

Test(plan, fronts_are_written_beside_the_plan) {
  char path[128];
  expect(TIMED "--latency 60us --front -o p.json --svg p.svg", 0, "latency_us");
  expect("plan --diff p.json p.json", 0, "0 of");
  snprintf(path, sizeof path, "%s/p.front.json", folder);
  cr_expect_eq(access(path, R_OK), 0);
  snprintf(path, sizeof path, "cat '%s/p.front.svg'", folder);
  FILE *f = popen(path, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  pclose(f);
  cr_expect(strstr(text, "<title>chosen: loss"), "the chosen plan is marked");
  cr_expect(strstr(text, "</svg>"));
}

Test(plan, wrong_words_and_files_are_named) {
  expect("plan --help", 0, "usage: qpal plan");
  expect("plan", 2, "--model is needed");
  expect("plan --model nothing --bits 3", 2, "'nothing'");
  expect(PLAN "--bits 3 --tps 10", 2, "a limit on latency needs measured latencies");
  expect(PLAN "--gpu no-such-gpu --tps 10", 2, "no-such-gpu");
  expect(TIMED "--tps 10 --latency 10us", 2, "give one");
  expect(TIMED "--tps fast", 2, "'fast'");
  expect(TIMED "--latency 10days", 2, "us, ms, s");
  expect(TIMED "--memory -5", 2, "above 0");
  expect(TIMED "--bits nan", 2, "above 0");
  expect(TIMED "--latency 60us --batch 0", 2, "--batch '0'");
  expect(TIMED "--latency 60us --paths sideways", 2, "tensor, cuda or naive is needed");
  expect(TIMED "--latency 60us extra", 2, "'extra'");
  expect("plan --model . --quantizers nuq-99 --bits 3", 2, "nuq-99");
  expect("plan --diff one.json", 2, "two plans");
  write_file("alpha.json", "{\"alpha\": [{\"self_attn.q_proj\": 1}, {}, {}]}");
  expect(TIMED "--latency 60us --sensitivity alpha.json", 2, "20 of 21 linears of config");
  cr_expect(strstr(text, "model.layers.0.self_attn.k_proj, model.layers.0.self_attn.v_proj"));
  write_file("alpha.json", "{\"model.layers.9.self_attn.q_proj\": 1}");
  expect(TIMED "--sensitivity alpha.json", 2, "'model.layers.9.self_attn.q_proj' is no linear");
  write_file("alpha.json", "{\"model.layers.1.self_attn.q_proj\": -1}");
  expect(TIMED "--sensitivity alpha.json", 2, "a sensitivity from 0");
  write_file("d.json", "{\"nuq-3\": NaN}");
  expect(TIMED "--distortion d.json", 2, "d.json:1:");
  write_file("d.json", "{\"nuq-3\": -0.1}");
  expect(TIMED "--distortion d.json", 2, "a distortion from 0");
}

Test(plan, broken_tables_are_refused) {
  static const struct {
    const char *groups, *part;
  } tables[] = {
      {"{\"q\": {\"nuq-2\": {\"tensor\": -1e-6}}}", "seconds above 0"},
      {"{\"q\": {\"nuq-2\": {\"tensor\": 0}}}", "seconds above 0"},
      {"{\"q\": {\"nuq-2\": {\"tensor\": null}}}", "seconds above 0"},
      {"{\"q\": {\"nuq-2\": {\"tensor\": NaN}}}", "no JSON"},
      {"{\"q\": {\"nuq-2\": {\"sideways\": 1e-6}}}", "tensor, cuda or naive"},
      {"{\"q\": {\"nuq-2\": {}}}", "an object of paths"},
      {"{\"q\": {\"nuq-2\": {\"tensor\": 1e-6}, \"nuq-2\": {\"tensor\": 1e-6}}}", "twice"},
      {"{\"qk\": {\"nuq-2\": {\"tensor\": 1e-6}}, \"kq\": {\"nuq-2\": {\"tensor\": 1e-6}}}",
       "two rows for one launch"},
      {"{\"qx\": {\"nuq-2\": {\"tensor\": 1e-6}}}", "names no linears"},
      {"{\"qo\": {\"nuq-2\": {\"tensor\": 1e-6}}}", "names no linears"},
      {"{\"q\": {\"nuk-2\": {\"tensor\": 1e-6}}}", "did you mean 'nuq-2'"},
      {"{\"q\": {\"nuq-2\": {\"tensor\": 1e-6}}}", "no latency of k"},
      {"{}", "no latencies"},
  };
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    char t[1024];
    snprintf(t, sizeof t,
             "{\"gpu\": \"toy\", \"model\": \"config\", \"batch\": 1, \"constant_s\": 0, "
             "\"groups\": %s}",
             tables[i].groups);
    write_file("bad.json", t);
    expect(PLAN "--gpu bad.json --latency 60us", 2, tables[i].part);
  }
  write_file("bad.json", "{\"gpu\": \"toy\", \"model\": \"other\", \"batch\": 1, \"constant_s\": 0,"
                         "\"groups\": {\"q\": {\"nuq-2\": {\"tensor\": 1e-6}}}}");
  expect(PLAN "--gpu bad.json --latency 60us", 2, "a table of model other");
}
