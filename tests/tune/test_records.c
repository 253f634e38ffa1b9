/* SPDX-License-Identifier: MIT */
/* Files of records: what is refused and where, unions, and how a record is found. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/model/models.h"
#include "tuner/base/session.h"
#include "tuner/tune/library.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/problems.h"
#include "tuner/tune/records.h"

static qp_error err;

#define HEAD "{\"schema\":\"qpal-records\",\"version\":1,\"gpu\":\"Some GPU\"}\n"

/* A record with these numbers; 'more' replaces the last fields. */
static const char *line(const char *kernel, unsigned rows, unsigned batch, long ps, long chain,
                        const char *driver, const char *timer) {
  static char text[4][2048];
  static unsigned turn;
  char *to = text[turn++ % 4];
  snprintf(to, sizeof text[0],
           "{\"kernel\":\"%s\",\"segments\":[{\"rows\":%u,\"quantizer\":\"q-3\",\"hash\":\"ab\"}],"
           "\"rotate_fused\":false,\"outcome\":\"ok\",\"error\":0.0001,\"columns\":4096,"
           "\"batch\":%u,\"arch\":90,\"sm_count\":132,\"ps\":%ld,\"spread_ps\":1000,\"samples\":9,"
           "\"chain_ps\":%ld,\"chain_pdl_ps\":0,\"clock_mhz\":1980,\"registers\":64,"
           "\"smem_bytes\":1,\"spill_bytes\":0,\"op\":\"gemm\",\"family\":\"gemm_tensor\","
           "\"path\":\"tensor\",\"type\":\"f16\",\"out_type\":\"f16\",\"tunables\":\"warps=16\","
           "\"generator\":\"00\",\"gpu\":\"Some GPU\",\"driver\":\"%s\",\"nvrtc\":\"13\","
           "\"timer\":\"%s\",\"date\":\"2026-01-01T00:00:00Z\",\"why\":\"\",\"throttle\":\"\"}\n",
           kernel, rows, batch, ps, chain, driver, timer);
  return to;
}

static qp_status parse(const char *text, unsigned policy, qp_records *out) {
  err.text[0] = 0;
  return qp_records_parse("a.jsonl", text, strlen(text), policy, out, &err);
}

static void refuses(const char *text, const char *part) {
  qp_records r = {0};
  cr_assert_eq(parse(text, QP_RECORDS_MEASURED, &r), QP_E_ARG, "%s", text);
  cr_assert(strstr(err.text, part), "'%s' is missing in: %s", part, err.text);
  cr_assert_eq(r.count, 0, "nothing is half-read");
}

static char *join(const char *a, const char *b, const char *c) {
  static char text[8192];
  snprintf(text, sizeof text, "%s%s%s", a, b, c);
  return text;
}

Test(records, a_file_comes_back_byte_for_byte_and_sorted) {
  qp_records r = {0};
  char *text = NULL;
  size_t bytes = 0;
  const char *b = line("b", 64, 1, 5000, 6000, "1", "CUPTI 13");
  const char *a = line("a", 32, 1, 4000, 0, "1", "CUPTI 13");
  cr_assert_eq(parse(join(HEAD, b, a), QP_RECORDS_MEASURED, &r), QP_OK, "%s", err.text);
  cr_assert_eq(r.count, 2);
  cr_assert_eq(r.list[0].ps, 5000);
  cr_assert_eq(r.list[0].segment[0].rows, 64);
  cr_assert_str_eq(r.list[0].driver, "1");
  cr_assert_eq(qp_records_print(&r, &text, &bytes, &err), QP_OK);
  qp_records again = {0};
  char *text2 = NULL;
  cr_assert_eq(parse(text, QP_RECORDS_MEASURED, &again), QP_OK, "%s", err.text);
  cr_assert_str_eq(again.list[0].kernel, "a", "sorted");
  cr_assert_eq(qp_records_print(&again, &text2, &bytes, &err), QP_OK);
  cr_assert_str_eq(text, text2);
  free(text);
  free(text2);
  qp_records_free(&r);
  qp_records_free(&again);
}

Test(records, a_union_is_the_same_whichever_file_comes_first) {
  const char *a = line("a", 32, 1, 4000, 0, "1", "x"), *b = line("b", 32, 1, 4000, 0, "1", "x");
  char *text[2];
  size_t bytes;
  for (int i = 0; i < 2; i++) {
    qp_records x = {0}, y = {0};
    char first[4096];
    snprintf(first, sizeof first, "%s%s%s", HEAD, a, b);
    cr_assert_eq(parse(i ? first : join(HEAD, b, ""), 0, &x), QP_OK, "%s", err.text);
    cr_assert_eq(parse(i ? join(HEAD, b, "") : first, 0, &y), QP_OK, "%s", err.text);
    cr_assert_eq(qp_records_merge(&x, &y, &err), QP_OK);
    cr_assert_eq(x.count, 3);
    cr_assert_eq(qp_records_print(&x, &text[i], &bytes, &err), QP_OK);
    qp_records_free(&x);
    qp_records_free(&y);
  }
  cr_assert_str_eq(text[0], text[1]);
  size_t lines = 0;
  for (const char *c = text[0]; *c; c++) lines += *c == '\n';
  cr_assert_eq(lines, 3, "schema, a and b; b only once");
  free(text[0]);
  free(text[1]);
}

Test(records, records_of_two_gpus_are_never_one_file) {
  qp_records x = {.gpu = "Some GPU"}, y = {.gpu = "Other GPU"};
  cr_assert_eq(qp_records_merge(&x, &y, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "Other GPU"));
}

Test(records, what_is_wrong_is_named_with_file_line_and_field) {
  refuses("", "a.jsonl: empty");
  refuses("{\"schema\":\"tables\",\"version\":1,\"gpu\":\"x\"}\n", "a.jsonl:1: field 'schema'");
  refuses("{\"schema\":\"qpal-records\",\"version\":7,\"gpu\":\"x\"}\n", "'version'");
  refuses(HEAD "{\n", "a.jsonl:2");
  refuses(HEAD "[]\n", "a.jsonl:2: an object");
  refuses(join(HEAD, line("a", 32, 1, 4000, 0, "1", "x"), "{\"kernel\":1}\n"), "a.jsonl:3");
  refuses(join(HEAD, line("a", 32, 1, 0, 0, "1", "x"), ""), "field 'ps'");
  refuses(join(HEAD, line("a", 32, 1, -4, 0, "1", "x"), ""), "'ps'");
  refuses(join(HEAD, line("a", 32, 1, 4, 0, "", "x"), ""), "'driver'");
  refuses(join("{\"schema\":\"qpal-records\",\"version\":1,\"gpu\":\"Other\"}\n",
               line("a", 32, 1, 4, 0, "1", "x"), ""),
          "a.jsonl:2: field 'gpu'");
}

Test(records, the_replay_device_s_records_are_no_measurements) {
  const char *text = join(HEAD, line("a", 32, 1, 4000, 0, "1", "replay"), "");
  refuses(text, "replay device");
  qp_records r = {0};
  cr_assert_eq(parse(text, QP_RECORDS_REPLAY, &r), QP_OK);
  cr_assert_eq(qp_records_write("/tmp/tuned/x.jsonl", &r, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "never enter tuned/"), "%s", err.text);
  qp_records_free(&r);
}

Test(records, a_torn_last_line_is_tolerated_in_journals_only) {
  qp_records r = {0};
  const char *text = join(HEAD, line("a", 32, 1, 4000, 0, "1", "x"), "{\"kernel\":\"b");
  cr_assert_eq(parse(text, QP_RECORDS_TORN, &r), QP_OK, "%s", err.text);
  cr_assert_eq(r.count, 1);
  qp_records_free(&r);
  refuses(text, "a.jsonl:3");
}

Test(records, a_gpu_s_file_is_named_after_it) {
  char name[64];
  qp_records_file_name("NVIDIA H100 80GB HBM3", name, sizeof name);
  cr_assert_str_eq(name, "nvidia-h100-80gb-hbm3");
  qp_records_file_name("NVIDIA GeForce RTX 4090 (x)", name, sizeof name);
  cr_assert_str_eq(name, "nvidia-geforce-rtx-4090-x");
}

/* ---- Look-up ---- */

static const qp_quantizer some = {.name = "q-3", .hash = "ab"};

static qp_problem problem(unsigned rows, unsigned batch) {
  return (qp_problem){
      .op = QP_OP_GEMM, .segments = 1, .segment = {{&some, rows}}, .columns = 4096, .batch = batch};
}

static qp_lookup *open_lookup(const char *text, qp_records *r, const char *driver,
                              qp_latency_match worst, qp_time_kind kind) {
  qp_lookup *l = NULL;
  cr_assert_eq(parse(text, QP_RECORDS_MEASURED, r), QP_OK, "%s", err.text);
  qp_lookup_options o = {.kind = kind, .driver = driver, .worst = worst};
  cr_assert_eq(qp_lookup_open(r, &o, &l, &err), QP_OK);
  return l;
}

Test(lookup, the_fastest_is_found_and_ties_go_to_the_first_name) {
  qp_records r = {0};
  char text[8192];
  snprintf(text, sizeof text, "%s%s%s%s", HEAD, line("z", 64, 1, 50000, 0, "1", "x"),
           line("m", 64, 1, 50500, 0, "1", "x"), line("a", 64, 1, 60000, 0, "1", "x"));
  qp_lookup *l = open_lookup(text, &r, "1", QP_MATCH_OTHER_DRIVER, QP_TIME_KERNEL);
  qp_problem p = problem(64, 1), q = problem(64, 2);
  qp_pick pick;
  cr_assert(qp_lookup_find(l, &p, "tensor", &pick));
  cr_assert_str_eq(pick.record->kernel, "m", "within the spread of z, and before it");
  cr_assert_eq(pick.match, QP_MATCH_EXACT);
  cr_assert_not(qp_lookup_find(l, &q, "tensor", &pick), "another batch is another problem");
  cr_assert_not(qp_lookup_find(l, &p, "cuda", &pick));
  qp_lookup_close(l);
  qp_records_free(&r);
}

Test(lookup, times_of_different_kinds_are_never_ranked_together) {
  qp_records r = {0};
  char text[8192];
  snprintf(text, sizeof text, "%s%s%s%s", HEAD, line("a", 64, 1, 10, 0, "1", "events"),
           line("b", 64, 1, 500, 0, "1", "CUPTI"), line("c", 64, 1, 900, 700, "1", "CUPTI"));
  static const struct {
    qp_time_kind kind;
    const char *name;
    long ps;
  } want[] = {{QP_TIME_EVENTS, "a", 10}, {QP_TIME_KERNEL, "b", 500}, {QP_TIME_CHAIN, "c", 700}};
  for (unsigned i = 0; i < 3; i++) {
    qp_lookup *l = open_lookup(text, &r, "1", QP_MATCH_EXACT, want[i].kind);
    qp_problem p = problem(64, 1);
    qp_pick pick;
    cr_assert(qp_lookup_find(l, &p, "tensor", &pick));
    cr_assert_eq(pick.ps, want[i].ps);
    cr_assert_str_eq(pick.record->kernel, want[i].name);
    qp_lookup_close(l);
    qp_records_free(&r);
  }
}

Test(lookup, how_a_record_matched_is_told_and_bounded) {
  qp_records r = {0};
  char text[8192];
  snprintf(text, sizeof text, "%s%s%s", HEAD, line("a", 64, 1, 10000, 0, "old", "x"),
           line("b", 1024, 1, 90000, 0, "new", "x"));
  qp_problem same = problem(64, 1), larger = problem(2048, 1);
  qp_pick pick;
  qp_lookup *l = open_lookup(text, &r, "new", QP_MATCH_EXACT, QP_TIME_KERNEL);
  cr_assert_not(qp_lookup_find(l, &same, "tensor", &pick), "another driver is not exact");
  qp_lookup_close(l);
  qp_records_free(&r);
  l = open_lookup(text, &r, "new", QP_MATCH_NEAREST_SHAPE, QP_TIME_KERNEL);
  cr_assert(qp_lookup_find(l, &same, "tensor", &pick));
  cr_assert_eq(pick.match, QP_MATCH_OTHER_DRIVER);
  cr_assert(qp_lookup_find(l, &larger, "tensor", &pick));
  cr_assert_eq(pick.match, QP_MATCH_NEAREST_SHAPE);
  cr_assert_eq(pick.ps, 180000, "1024 rows are nearest; twice the weights, twice the time");
  qp_latency_table table = {.overhead_ps = -1};
  cr_assert_eq(qp_lookup_latency(l, 1, "a.jsonl", &table, &err), QP_OK, "%s", err.text);
  cr_assert_eq(table.rows, 2);
  for (size_t i = 0; i < 2; i++)
    cr_assert_eq(table.row[i].match,
                 table.row[i].member[0].rows == 64 ? QP_MATCH_OTHER_DRIVER : QP_MATCH_EXACT);
  qp_latency_free(&table);
  qp_lookup_close(l);
  qp_records_free(&r);
}

Test(lookup, a_candidate_is_restored_and_goes_stale_with_its_definition) {
  qp_session s;
  const qp_quantizer *q;
  cr_assert_eq(qp_session_open(&s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(s.palette, "nuq-4", &q, &err), QP_OK);
  qp_problem p = {.op = QP_OP_GEMM,
                  .segments = 1,
                  .segment = {{q, 64}},
                  .columns = 128,
                  .batch = 2,
                  .arch = 90,
                  .sm_count = 132};
  qp_choice c;
  qp_kernel k = {0};
  qp_choice_default(qp_families_for(s.families, QP_OP_GEMM, "cuda"), &c);
  cr_assert_eq(qp_choice_set(&c, "warps=8", &err), QP_OK);
  cr_assert_eq(qp_kernel_make(s.families, &p, &c, &k, &err), QP_OK, "%s", err.text);
  qp_record r;
  qp_record_begin(&k, &c, &r);
  cr_assert_eq(qp_record_is_stale(&r, s.families, s.palette, &err), false, "%s", err.text);
  qp_problem p2;
  qp_choice c2;
  cr_assert_eq(qp_record_restore(&r, s.families, s.palette, &p2, &c2, &err), QP_OK);
  cr_assert_eq(qp_choice_get(&c2, "warps"), 8);
  cr_assert_eq(p2.segment[0].quantizer, q);
  r.generator[0] = r.generator[0] == '0' ? '1' : '0';
  cr_assert(qp_record_is_stale(&r, s.families, s.palette, &err));
  qp_record_begin(&k, &c, &r);
  r.segment[0].hash[3] ^= 1;
  cr_assert(qp_record_is_stale(&r, s.families, s.palette, &err));
  cr_assert(strstr(err.text, "nuq-4"), "%s", err.text);
  qp_kernel_free(&k);
  qp_session_close(&s);
}

/* The record of a candidate of experts, through its line. */
static qp_record record_of_stack(const qp_session *s, const qp_problem *p) {
  qp_choice c;
  qp_kernel k = {0};
  qp_record r, again;
  qp_choice_default(qp_families_for(s->families, QP_OP_EXPERTS, "tensor"), &c);
  cr_assert_eq(qp_kernel_make(s->families, p, &c, &k, &err), QP_OK, "%s", err.text);
  qp_record_begin(&k, &c, &r);
  qp_kernel_free(&k);
  r.ps = r.chain_ps = 5000000, r.samples = 20;
  snprintf(r.gpu, sizeof r.gpu, "Some GPU");
  snprintf(r.driver, sizeof r.driver, "1");
  snprintf(r.nvrtc, sizeof r.nvrtc, "13");
  snprintf(r.timer, sizeof r.timer, "CUPTI 13");
  snprintf(r.date, sizeof r.date, "2026-01-01T00:00:00Z");
  char *text = qp_record_print(&r);
  cr_assert(strstr(text, "\"experts\":40,\"top_k\":3,\"tile\":4,\"routing_seed\":1"), "%s", text);
  cr_assert_eq(qp_record_parse("a.jsonl:2", text, strlen(text), &again, &err), QP_OK, "%s",
               err.text);
  free(text);
  cr_assert_not(qp_record_is_stale(&again, s->families, s->palette, &err), "%s", err.text);
  return again;
}

Test(lookup, a_stack_s_record_is_found_for_as_many_experts_top_k_and_a_tile) {
  qp_session s;
  qp_lookup *l;
  qp_pick pick;
  qp_latency_table table = {.overhead_ps = -1};
  cr_assert_eq(qp_session_open(&s, &err), QP_OK, "%s", err.text);
  const qp_quantizer *q;
  cr_assert_eq(qp_palette_find(s.palette, "nuq-4", &q, &err), QP_OK);
  const qp_problem p = {.op = QP_OP_EXPERTS,
                        .segments = 1,
                        .segment = {{q, 64}},
                        .columns = 128,
                        .batch = 4,
                        .experts = 40,
                        .top_k = 3,
                        .tile = 4,
                        .arch = 90,
                        .sm_count = 132};
  qp_record r = record_of_stack(&s, &p);
  const qp_records all = {.gpu = "Some GPU", .count = 1, .list = &r};
  const qp_lookup_options o = {.worst = QP_MATCH_OTHER_GPU};
  cr_assert_eq(qp_lookup_open(&all, &o, &l, &err), QP_OK);
  cr_expect(qp_lookup_find(l, &p, "tensor", &pick) && pick.match == QP_MATCH_EXACT);
  for (unsigned i = 0; i < 4; i++) {
    qp_problem other = p;
    *(i == 0   ? &other.experts
      : i == 1 ? &other.top_k
      : i == 2 ? &other.tile
               : &other.columns) *= 2;
    cr_expect_not(qp_lookup_find(l, &other, "tensor", &pick), "%u", i);
  }
  cr_assert_eq(qp_lookup_latency(l, 4, "a.jsonl", &table, &err), QP_OK, "%s", err.text);
  cr_assert_eq(table.rows, 1);
  cr_expect(table.row[0].experts == 40 && table.row[0].top_k == 3);
  qp_latency_free(&table);
  qp_lookup_close(l);
  qp_session_close(&s);
}

/* ---- Problems ---- */

Test(problems, a_model_s_launches_are_its_linears_and_their_fusions) {
  qp_models *models;
  const qp_model *m;
  static qp_model_launch l[QP_MODEL_LAUNCHES];
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_assert_eq(qp_models_find(models, "llama-3.1-8b", &m, &err), QP_OK);
  unsigned n = qp_model_launches(m, l);
  static const unsigned want[][3] = {{4096, 4096, 1},  {1024, 4096, 1},  {5120, 4096, 2},
                                     {2048, 4096, 2},  {6144, 4096, 3},  {14336, 4096, 1},
                                     {28672, 4096, 2}, {4096, 14336, 1}, {128256, 4096, 1}};
  cr_assert_eq(n, 9);
  for (unsigned w = 0; w < 9; w++) {
    bool found = false;
    for (unsigned i = 0; i < n; i++) {
      unsigned rows = 0;
      for (unsigned k = 0; k < l[i].linears; k++) rows += l[i].rows[k];
      found |= rows == want[w][0] && l[i].columns == want[w][1] && l[i].linears == want[w][2];
    }
    cr_assert(found, "%ux%u of %u linears", want[w][0], want[w][1], want[w][2]);
  }
  qp_models_close(models);
}

Test(problems, a_stack_of_experts_is_a_launch_whose_tiles_are_those_of_its_router) {
  static const char config[] =
      "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 8192, \"intermediate_size\": 96,"
      "\"num_attention_heads\": 4, \"num_hidden_layers\": 3, \"vocab_size\": 48,"
      "\"head_dim\": 16, \"moe_intermediate_size\": 32768, \"num_experts_per_tok\": 2,"
      "\"mlp_only_layers\": [1], \"num_experts\": 8}";
  static qp_model_launch l[QP_MODEL_LAUNCHES];
  static qp_model m;
  qp_models *models;
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_assert_eq(qp_models_parse(models, "m/config.json", config, strlen(config), &m, &err), QP_OK,
               "%s", err.text);
  const unsigned n = qp_model_launches(&m, l);
  unsigned stacks = 0;
  for (unsigned i = 0; i < n; i++) {
    qp_problem p = {.batch = 8};
    qp_model_launch_pose(&l[i], NULL, &p);
    cr_expect_eq(p.op, l[i].experts ? QP_OP_EXPERTS : QP_OP_GEMM);
    if (!l[i].experts) continue;
    cr_expect(p.experts == 8 && p.top_k == 2 && p.tile == 2, "%s: %u", l[i].label, p.tile);
    stacks++;
  }
  cr_expect_eq(stacks, 3, "one, both, and down: %u", stacks);
  qp_model_routing r[QP_MODEL_ROUTINGS];
  cr_assert_eq(qp_model_routings(&m, r), 1);
  cr_expect(r[0].experts == 8 && r[0].top_k == 2 && r[0].columns == 8192 && r[0].blocks == 2,
            "blocks 0 and 2: %u of %u", r[0].blocks, r[0].columns);
  qp_problem route = {.batch = 8}, combine = {.batch = 8};
  qp_model_routing_pose(r, QP_OP_ROUTE, &route);
  qp_model_routing_pose(r, QP_OP_COMBINE, &combine);
  cr_expect(route.tile == 2 && !route.columns && combine.columns == 8192 && combine.top_k == 2);
  qp_model_rotation turn[QP_MODEL_ROTATIONS];
  unsigned down = 0;
  for (unsigned i = qp_model_rotations(&m, turn); i-- > 0;)
    if (turn[i].rows == 2) down += turn[i].columns == 32768 ? turn[i].by[QP_PRODUCER_GLU] : 99;
  cr_expect_eq(down, 2, "of each assignment: %u", down);
  qp_models_close(models);
}

Test(problems, shards_are_disjoint_and_complete) {
  bool seen[23] = {false};
  for (unsigned i = 1; i <= 4; i++) {
    qp_tune_problems list = {.list = calloc(23, sizeof *list.list), .count = 23};
    for (size_t k = 0; k < 23; k++) list.list[k].problem.batch = (unsigned)k;
    char shard[16];
    snprintf(shard, sizeof shard, "%u/4", i);
    cr_assert_eq(qp_problems_shard(&list, shard, &err), QP_OK);
    for (size_t k = 0; k < list.count; k++) {
      cr_assert_not(seen[list.list[k].problem.batch]);
      seen[list.list[k].problem.batch] = true;
    }
    qp_problems_free(&list);
  }
  for (size_t k = 0; k < 23; k++) cr_assert(seen[k]);
  qp_tune_problems none = {0};
  cr_assert_eq(qp_problems_shard(&none, "0/4", &err), QP_E_ARG);
  cr_assert_eq(qp_problems_shard(&none, "5/4", &err), QP_E_ARG);
  cr_assert_eq(qp_problems_shard(&none, "1", &err), QP_E_ARG);
}

Test(problems, batches_are_numbers_within_what_kernels_take) {
  unsigned batch[QP_MAX_BATCHES];
  size_t n;
  cr_assert_eq(qp_batches_parse("1,8", batch, &n, &err), QP_OK);
  cr_assert_eq(n, 2);
  cr_assert_eq(batch[1], 8);
  cr_assert_eq(qp_batches_parse("0", batch, &n, &err), QP_E_ARG);
  cr_assert_eq(qp_batches_parse("1,,2", batch, &n, &err), QP_E_ARG);
  cr_assert_eq(qp_batches_parse("65", batch, &n, &err), QP_E_ARG);
}

/* ---- tuned/ ---- */

static char before[512];

/* A folder of its own, with tuned/ in it. */
static void enter_folder(void) {
  static char folder[64];
  snprintf(folder, sizeof folder, "/tmp/qpal_records_%d", (int)getpid());
  cr_assert(getcwd(before, sizeof before));
  cr_assert_eq(mkdir(folder, 0777), 0);
  cr_assert_eq(chdir(folder), 0);
  cr_assert_eq(mkdir("tuned", 0777), 0);
}

static void leave_folder(void) {
  char command[600], folder[512];
  cr_assert(getcwd(folder, sizeof folder));
  cr_assert_eq(chdir(before), 0);
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
}

static void put_file(const char *name, const char *text) {
  FILE *f = fopen(name, "w");
  cr_assert(f, "%s", name);
  fputs(text, f);
  fclose(f);
}

Test(records, the_current_folder_s_tuned_is_found_by_a_part_of_the_gpu_s_name) {
  qp_records r = {0};
  char source[256];
  enter_folder();
  put_file("tuned/some-gpu-80gb.jsonl", join(HEAD, line("a", 32, 1, 4000, 0, "1", "x"), ""));
  put_file("tuned/some-gpu-40gb.jsonl", join(HEAD, line("b", 32, 1, 4000, 0, "1", "x"), ""));
  cr_assert_eq(qp_library_read("80GB", QP_RECORDS_MEASURED, &r, source, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(r.count, 1);
  cr_assert_str_eq(r.list[0].kernel, "a");
  cr_assert_str_eq(source, "tuned/some-gpu-80gb.jsonl");
  qp_records_free(&r);
  cr_assert_eq(qp_library_read("some gpu", QP_RECORDS_MEASURED, &r, source, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "tuned/some-gpu-40gb.jsonl, tuned/some-gpu-80gb.jsonl"), "%s",
            err.text);
  cr_assert_eq(qp_library_read("toaster", QP_RECORDS_MEASURED, &r, source, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "qpal tune"), "%s", err.text);
  leave_folder();
}

Test(records, a_whole_name_beats_names_that_contain_it) {
  qp_records r = {0};
  char source[256];
  enter_folder();
  put_file("tuned/some-gpu.jsonl", join(HEAD, line("a", 32, 1, 4000, 0, "1", "x"), ""));
  put_file("tuned/some-gpu-2.jsonl", join(HEAD, line("b", 32, 1, 4000, 0, "1", "x"), ""));
  cr_assert_eq(qp_library_read("Some GPU", QP_RECORDS_MEASURED, &r, source, &err), QP_OK, "%s",
               err.text);
  cr_assert_str_eq(r.list[0].kernel, "a");
  qp_records_free(&r);
  leave_folder();
}

Test(records, replay_records_are_refused_in_tuned_whatever_the_reader_allows) {
  qp_records r = {0}, *all = NULL;
  size_t count = 0;
  char source[256];
  enter_folder();
  put_file("tuned/some-gpu.jsonl", join(HEAD, line("a", 32, 1, 4000, 0, "1", "replay"), ""));
  cr_assert_eq(qp_library_read("some-gpu", QP_RECORDS_REPLAY, &r, source, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "tuned/some-gpu.jsonl:2"), "%s", err.text);
  cr_assert_eq(qp_library_all(&all, &count, &err), QP_E_ARG);
  cr_assert_eq(r.count + count, 0);
  leave_folder();
}

Test(records, tuned_is_known_by_any_path_that_leads_there) {
  qp_records r = {0};
  enter_folder();
  cr_assert_eq(
      parse(join(HEAD, line("a", 32, 1, 4000, 0, "1", "replay"), ""), QP_RECORDS_REPLAY, &r),
      QP_OK);
  cr_assert_eq(symlink("tuned", "link"), 0);
  cr_assert_eq(qp_records_write("tuned/x.jsonl", &r, &err), QP_E_ARG);
  cr_assert_eq(qp_records_write("./tuned/../tuned//x.jsonl", &r, &err), QP_E_ARG);
  cr_assert_eq(qp_records_write("link/x.jsonl", &r, &err), QP_E_ARG);
  cr_assert_eq(chdir("tuned"), 0);
  cr_assert_eq(qp_records_write("x.jsonl", &r, &err), QP_E_ARG);
  cr_assert_eq(chdir(".."), 0);
  cr_assert_eq(qp_records_write("x.jsonl", &r, &err), QP_OK, "%s", err.text);
  qp_records_free(&r);
  leave_folder();
}
