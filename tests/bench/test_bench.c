/* SPDX-License-Identifier: MIT */
/* qpal bench as a user calls it, on the replay device. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], text[1 << 20];
static cJSON *json;

static void begin(void) {
  strcpy(folder, "/tmp/qpal_bench_XXXXXX");
  cr_assert(mkdtemp(folder));
}

static void end(void) {
  char command[128];
  cJSON_Delete(json);
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_assert_eq(system(command), 0);
}
TestSuite(bench, .init = begin, .fini = end);

/* A GPU of 1000 GB/s that is exact; 'more' fields of its file. */
static void replay(const char *more) {
  char path[96];
  snprintf(path, sizeof path, "%s/gpu.json", folder);
  FILE *f = fopen(path, "w");
  cr_assert(f);
  fprintf(f,
          "{\"gpu\":\"Replayed\",\"arch\":90,\"sm_count\":132,\"driver\":\"7\","
          "\"bandwidth_gbs\":1000,\"launch_ns\":1000%s}",
          more);
  fclose(f);
}

/* Run  qpal VERB --device replay:... OPTIONS ; the exit code. */
static int ask(const char *verb, const char *options) {
  char command[1024];
  snprintf(command, sizeof command, "cd %s && '%s/qpal' %s --device replay:gpu.json %s 2>&1",
           folder, QP_BINARY_DIR, verb, options);
  FILE *f = popen(command, "r");
  cr_assert(f);
  const size_t n = fread(text, 1, sizeof text - 1, f);
  text[n] = 0;
  return WEXITSTATUS(pclose(f));
}

/* The JSON of stdout stands behind the lines of progress that stderr had. */
static void parse(void) {
  const char *begin = strchr(text, '{');
  cJSON_Delete(json);
  cr_assert(begin && (json = cJSON_Parse(begin)), "%.2000s", text);
}

static const cJSON *get(const cJSON *o, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
  cr_assert(v, "%s", name);
  return v;
}

static const cJSON *row(const char *launch, int batch) {
  const cJSON *r, *found = NULL;
  cJSON_ArrayForEach(r, get(json, "rows")) {
    if (!strcmp(get(r, "launch")->valuestring, launch) && get(r, "batch")->valueint == batch)
      found = r;
  }
  cr_assert(found, "no row for %s", launch);
  return found;
}

static double number(const cJSON *o, const char *name) { return get(o, name)->valuedouble; }

Test(bench, rows_stand_beside_the_time_that_their_bytes_take) {
  replay("");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1 --json"), 0, "%s", text);
  parse();
  cr_assert_float_eq(number(json, "read_gbs"), 1000, 1e-9);
  /* Llama-3.1-8B: q 4096, k and v 1024 rows; 4 bits a weight; 1000 bytes a nanosecond */
  const struct {
    const char *launch;
    double rows, columns;
  } want[] = {{"qkv", 6144, 4096},
              {"o", 4096, 4096},
              {"up-gate", 28672, 4096},
              {"down", 4096, 14336},
              {"lm_head", 128256, 4096}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const cJSON *r = row(want[i].launch, 1);
    const double bytes = want[i].rows * want[i].columns / 2, floor = bytes / 1e6;
    cr_assert_float_eq(number(r, "bytes"), bytes, 0.5, "%s", want[i].launch);
    cr_assert_float_eq(number(r, "floor_us"), floor, 1e-6);
    /* the device: one to two times the floor with a launch */
    cr_assert(number(r, "us") >= floor + 1 && number(r, "us") <= 2 * (floor + 1));
    cr_assert_float_eq(number(r, "gbs"), bytes / number(r, "us") / 1000, 1e-3);
    cr_assert_str_eq(get(r, "outcome")->valuestring, "PASS");
    cr_assert_str_eq(get(r, "source")->valuestring, "default");
  }
  size_t gemms = 0;
  const cJSON *r;
  cJSON_ArrayForEach(r, get(json, "rows")) gemms += !strcmp(get(r, "op")->valuestring, "gemm");
  cr_assert_eq(gemms, 5, "cuBLAS has no rows here");
  cr_assert(strstr(get(json, "cublas")->valuestring, "no cuBLAS"));
}

Test(bench, rotations_are_rows_once_a_batch_and_dequants_once_a_quantizer) {
  size_t rotations = 0, with_norm = 0, with_glu = 0, dequants = 0;
  const cJSON *r;
  replay("");
  cr_assert_eq(ask("bench", "--quantizers nuq-4,nuq-2 --batch 1,8 --json"), 0, "%s", text);
  parse();
  cJSON_ArrayForEach(r, get(json, "rows")) {
    const char *op = get(r, "op")->valuestring;
    if (strcmp(op, "gemm") != 0) cr_expect_str_eq(get(r, "outcome")->valuestring, "PASS");
    rotations += !strcmp(op, "rotate");
    with_norm += !strcmp(op, "rotate-norm");
    with_glu += !strcmp(op, "rotate-glu");
    dequants += !strcmp(op, "dequant");
  }
  cr_expect_eq(rotations, 2 * 2, "K of 4096 and 14336, batch 1 and 8: %zu", rotations);
  cr_expect_eq(with_norm, 2, "K of 4096, batch 1 and 8: %zu", with_norm);
  cr_expect_eq(with_glu, 2, "K of 14336, batch 1 and 8: %zu", with_glu);
  cr_expect_float_eq(number(row("rotate-glu 14336", 8), "bytes"), 6.0 * 14336 * 8, 0.5);
  cr_expect_eq(dequants, 2 * 5, "q, k, up, down and lm_head, k as v: %zu", dequants);
  cr_expect_float_eq(number(row("rotate 14336", 8), "bytes"), 4.0 * 14336 * 8, 0.5);
  const double bytes = 4096.0 * 4096 * (0.25 + 2); /* the last one: 2 bits read, 16 written */
  cr_expect_float_eq(number(row("dequant q", 1), "bytes"), bytes, 0.5);
}

Test(bench, a_block_is_the_sum_of_its_groups_and_not_of_the_lm_head) {
  replay("");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1,8 --json"), 0, "%s", text);
  parse();
  cr_assert_eq(cJSON_GetArraySize(get(json, "blocks")), 2);
  for (int i = 0; i < 2; i++) {
    const cJSON *b = cJSON_GetArrayItem(get(json, "blocks"), i);
    static const char *const launch[] = {"qkv", "o", "up-gate", "down"};
    double sum = 0;
    for (size_t l = 0; l < 4; l++) sum += number(row(launch[l], i ? 8 : 1), "chain_us");
    cr_assert_float_eq(number(b, "predicted_us"), sum, 1e-5);
    cr_assert_float_eq(number(b, "measured_us"), sum, 1e-5, "this device has no other cost");
    cr_assert_float_eq(number(b, "floor_us"), 218103808.0 / 2 / 1e6, 1e-5, "its weights");
    cr_assert_str_eq(get(b, "predicted_from")->valuestring, "rows");
  }
}

Test(bench, tuned_kernels_are_taken_where_there_are_records) {
  replay("");
  cr_assert_eq(ask("tune", "--shape 4096x14336 --quantizers nuq-4 --batch 1 --max-candidates 2 "
                           "-o records.jsonl"),
               0, "%s", text);
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1 --records records.jsonl --json"), 0, "%s",
               text);
  parse();
  cr_assert_str_eq(get(row("down", 1), "source")->valuestring, "tuned");
  cr_assert_str_eq(get(row("qkv", 1), "source")->valuestring, "default");
  cr_assert_str_eq(get(cJSON_GetArrayItem(get(json, "blocks"), 0), "predicted_from")->valuestring,
                   "rows", "not every launch has a record");
}

Test(bench, a_wrong_kernel_is_a_row_that_fails_and_makes_the_answer_false) {
  replay(",\"rules\":[{\"match\":\"k14336\",\"fault\":\"wrong\"}]");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1"), 1, "%s", text);
  cr_assert(strstr(text, "FAIL") && strstr(text, "4 rows failed"),
            "gemm, dequant, rotate, rotate-glu: %s", text);
  cr_assert(strstr(text, "nuq-4 down at batch 1: relative L2 error"), "%s", text);
}

Test(bench, a_row_without_trusted_timestamps_fails) {
  replay(",\"rules\":[{\"match\":\"k14336\",\"fault\":\"timer\"}]");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1"), 1, "%s", text);
  cr_assert(strstr(text, "is no duration"), "%s", text);
}

/* Exit code 1, 'why' beside the one row that failed, and the rows behind it were measured. */
static void expect_one_lost_row(const char *fault, const char *why) {
  char rule[128], line[160];
  replay("");
  cr_assert_eq(ask("bench", "--quantizers nuq-3,nuq-2 --batch 1 --json"), 0, "%s", text);
  parse();
  const char *kernel =
      get(row("down", 1), "kernel")->valuestring; /* of the last quantizer, nuq-2 */
  snprintf(rule, sizeof rule, ",\"rules\":[{\"match\":\"%.60s\",\"fault\":\"%s\"}]", kernel, fault);
  replay(rule);
  cr_assert_eq(ask("bench", "--quantizers nuq-3,nuq-2,nuq-4 --batch 1 --timeout 3s"), 1, "%s",
               text);
  snprintf(line, sizeof line, "nuq-2 down at batch 1: %s", why);
  cr_assert(strstr(text, line), "%s", text);
  cr_assert(strstr(text, "1 rows failed"), "%s", text);
  const char *blocks = strstr(text, "block of ");
  cr_assert(blocks && strstr(blocks, "nuq-3") && strstr(blocks, "nuq-4"), "before and behind: %s",
            text);
  cr_assert_not(strstr(blocks, "nuq-2"), "not whole: %s", text);
}

Test(bench, a_kernel_that_breaks_the_device_costs_its_own_row) {
  expect_one_lost_row("device", "cuLaunchKernelEx: CUDA_ERROR_ILLEGAL_ADDRESS");
}
Test(bench, a_kernel_that_crashes_costs_its_own_row) {
  expect_one_lost_row("crash", "its process was killed by signal 9");
}
Test(bench, a_kernel_that_hangs_costs_its_own_row) {
  expect_one_lost_row("hang", "did not end within 3 s");
}

Test(bench, a_device_that_every_kernel_breaks_is_given_up) {
  replay(",\"rules\":[{\"match\":\"\",\"fault\":\"crash\"}]");
  cr_assert_eq(ask("bench", "--quantizers nuq --batch 1,8"), 3, "%.2000s", text);
  cr_assert(strstr(text, "broke the device"), "%s", text);
}

Test(bench, a_budget_leaves_out_quantizers_and_says_so) {
  replay(",\"delay_ms\":300");
  cr_assert_eq(ask("bench", "--quantizers nuq-4,nuq-3,nuq-2 --batch 1 --budget 1s"), 0, "%s", text);
  cr_assert(strstr(text, "left no time for "), "%s", text);
  cr_assert_not(strstr(text, "nuq-2"), "the last one: %s", text);
}

Test(bench, throttling_is_told) {
  replay(",\"rules\":[{\"match\":\"k14336\",\"fault\":\"throttle\"}]");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1"), 0, "%s", text);
  cr_assert(strstr(text, "down at batch 1: clocks were held back (sw_power_cap, 1200 MHz)"), "%s",
            text);
}

Test(bench, two_runs_are_compared_row_by_row) {
  replay("");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1 --json >before.json"), 0);
  replay(",\"rules\":[{\"match\":\"k14336\",\"fault\":\"throttle\"}]");
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --batch 1 --against before.json"), 0, "%s", text);
  cr_assert(strstr(text, "14 rows are in both"), "%s", text);
  cr_assert(strstr(text, "+50.0%"), "throttled: half as long again: %s", text);
  cr_assert_eq(ask("bench", "--quantizers nuq-2 --batch 8 --against before.json"), 2, "%s", text);
  cr_assert(strstr(text, "no row is also in this run"), "%s", text);
}

Test(bench, wrong_words_name_what_would_be_right) {
  replay("");
  cr_assert_eq(ask("bench", "--batch 0"), 2);
  cr_assert(strstr(text, "--batch '0'"), "%s", text);
  cr_assert_eq(ask("bench", "--path sideways"), 2);
  cr_assert(strstr(text, "tensor, cuda"), "%s", text);
  cr_assert_eq(ask("bench", "--quantizers nuq-4 --records none.jsonl"), 2);
  cr_assert(strstr(text, "none.jsonl"), "%s", text);
  cr_assert_eq(ask("bench", "--device sim"), 2);
  cr_assert(strstr(text, "simulator has no clock"), "%s", text);
}
