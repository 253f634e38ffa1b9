/* SPDX-License-Identifier: MIT */
/* qpal tune as a user calls it, on the replay device: everything but the clock. */
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "gen/inspect/disassembler.h"
#include "tests/command/command_kit.h"
#include "tuner/tune/records.h"

static qp_error err;

/* What interrupt_run runs. */
#define TWO                                                                                        \
  "tune --shape 64x64 --shape 32x64 --batch 1 --paths tensor --quantizers nuq-2 "                  \
  "--max-candidates 8 --device replay:slow.json "
#define SHAPE "tune --shape 64x64 --batch 1 --paths tensor --quantizers nuq-2 "

/* A replay device; 'more' goes into its object. */
static void write_device(const char *name, const char *more) {
  FILE *f = fopen(in_folder(name), "w");
  cr_assert(f);
  fprintf(f, "{\"gpu\": \"Replayed GPU\", \"arch\": 90, \"sm_count\": 4, \"driver\": \"1\"%s}",
          more);
  fclose(f);
}

static void set_up(void) {
  open_folder();
  write_device("plain.json", "");
}

TestSuite(tune, .init = set_up, .fini = close_folder);

static qp_records read_results(const char *name) {
  qp_records r = {0};
  cr_assert_eq(qp_records_read(in_folder(name), QP_RECORDS_REPLAY, &r, &err), QP_OK, "%s",
               err.text);
  return r;
}

static size_t count_outcome(const qp_records *r, qp_record_outcome o) {
  size_t n = 0;
  for (size_t i = 0; i < r->count; i++) n += r->list[i].outcome == o;
  return n;
}

static const qp_record *find_kernel(const qp_records *r, const char *kernel) {
  for (size_t i = 0; i < r->count; i++)
    if (!strcmp(r->list[i].kernel, kernel)) return &r->list[i];
  return NULL;
}

/* The same candidates with the same outcomes and times, whenever they were measured. */
static void expect_same(const qp_records *a, const qp_records *b) {
  cr_expect_eq(a->count, b->count, "%zu and %zu records", a->count, b->count);
  for (size_t i = 0; i < a->count; i++) {
    const qp_record *x = &a->list[i], *y = find_kernel(b, x->kernel);
    cr_assert(y, "%s is missing", x->kernel);
    cr_expect_eq(x->outcome, y->outcome, "%s", x->kernel);
    cr_expect_eq(x->ps, y->ps, "%s: %ld and %ld", x->kernel, (long)x->ps, (long)y->ps);
  }
}

Test(tune, every_candidate_becomes_a_record_and_equal_code_is_measured_once) {
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 20 -o a.jsonl"), 0, "%s",
               text);
  qp_records r = read_results("a.jsonl");
  cr_expect_eq(r.count, 20);
  cr_expect_gt(count_outcome(&r, QP_RECORD_OK), 5);
  cr_expect_gt(count_outcome(&r, QP_RECORD_DUPLICATE), 0);
  for (size_t i = 0; i < r.count; i++) {
    const qp_record *x = &r.list[i];
    if (x->outcome == QP_RECORD_OK) cr_expect(x->ps > 0 && x->samples >= 20 && x->error > 0);
    if (x->outcome != QP_RECORD_DUPLICATE) continue;
    cr_assert(!strncmp(x->why, "as ", 3), "%s", x->why);
    const qp_record *same = find_kernel(&r, x->why + 3);
    cr_assert(same && same->outcome == QP_RECORD_OK, "%s", x->why);
    cr_expect(same->registers == x->registers && same->smem_bytes == x->smem_bytes);
  }
  size_t finalists = 0;
  for (size_t i = 0; i < r.count; i++)
    finalists += r.list[i].samples >= 100 && r.list[i].chain_ps && r.list[i].clock_mhz;
  cr_expect(finalists >= 1 && finalists <= 4, "%zu", finalists);
  cr_expect_neq(access(in_folder("a.jsonl.journal"), F_OK), 0, "the journal has done its work");
  qp_records_free(&r);
}

Test(tune, faults_are_recorded_against_their_candidate_and_tuning_goes_on) {
  write_device("bad.json", ", \"rules\": [{\"match\": \"\", \"fault\": \"wrong\", \"every\": 9},"
                           "{\"match\": \"\", \"fault\": \"crash\", \"every\": 8},"
                           "{\"match\": \"\", \"fault\": \"device\", \"every\": 7},"
                           "{\"match\": \"\", \"fault\": \"timer\", \"every\": 6},"
                           "{\"match\": \"\", \"fault\": \"hang\", \"every\": 10}]");
  cr_assert_eq(run(SHAPE "--device replay:bad.json --max-candidates 32 --timeout 1s -o a.jsonl"), 0,
               "%s", text);
  qp_records r = read_results("a.jsonl");
  static const struct {
    qp_record_outcome outcome;
    const char *why;
  } faults[] = {{QP_RECORD_WRONG, "0.7"},
                {QP_RECORD_CRASH, "signal 9"},
                {QP_RECORD_DEVICE, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                {QP_RECORD_TIMER, "no duration"},
                {QP_RECORD_HANG, "1 s"}};
  for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
    size_t n = 0;
    for (size_t i = 0; i < r.count; i++) {
      if (r.list[i].outcome != faults[f].outcome) continue;
      n++;
      cr_expect(strstr(r.list[i].why, faults[f].why), "%s", r.list[i].why);
      cr_expect_eq(r.list[i].ps, 0);
    }
    cr_expect_gt(n, 0, "%s", qp_record_outcome_name(faults[f].outcome));
  }
  cr_expect_eq(r.count, 32);
  cr_expect_gt(count_outcome(&r, QP_RECORD_OK), 5, "tuning goes on");
  qp_records_free(&r);
}

Test(tune, throttling_is_written_into_the_record) {
  write_device("hot.json", ", \"rules\": [{\"match\": \"\", \"fault\": \"throttle\"}]");
  cr_assert_eq(run(SHAPE "--device replay:hot.json --max-candidates 2 -o a.jsonl"), 0, "%s", text);
  qp_records r = read_results("a.jsonl");
  for (size_t i = 0; i < r.count; i++)
    if (r.list[i].outcome == QP_RECORD_OK) {
      cr_expect_str_eq(r.list[i].throttle, "sw_power_cap");
      cr_expect_eq(r.list[i].clock_mhz, 1200);
    }
  qp_records_free(&r);
}

Test(tune, the_seed_decides_which_candidates_are_tried) {
  write_device("noisy.json", ", \"noise\": 0.05");
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 14 -o a.jsonl"), 0, "%s",
               text);
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 14 -o b.jsonl"), 0, "%s",
               text);
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 6 --seed 2 -o c.jsonl"), 0,
               "%s", text);
  cr_assert_eq(run(SHAPE "--device replay:noisy.json --max-candidates 14 -o d.jsonl"), 0, "%s",
               text);
  qp_records a = read_results("a.jsonl"), b = read_results("b.jsonl"), c = read_results("c.jsonl");
  qp_records d = read_results("d.jsonl");
  expect_same(&a, &b);
  size_t other = 0, spread = 0;
  for (size_t i = 0; i < c.count; i++) other += find_kernel(&a, c.list[i].kernel) == NULL;
  cr_expect_gt(other, 0, "another seed goes another way");
  for (size_t i = 0; i < d.count; i++) spread += d.list[i].spread_ps > 0;
  cr_expect_gt(spread, 0, "noise shows as spread");
  qp_records_free(&a);
  qp_records_free(&b);
  qp_records_free(&c);
  qp_records_free(&d);
}

/* Lines of the journal that are records. */
static size_t journal_records(const char *name) {
  char line[8192];
  size_t n = 0;
  FILE *f = fopen(in_folder(name), "r");
  if (!f) return 0;
  while (fgets(line, sizeof line, f)) n += strstr(line, "\"outcome\"") != NULL;
  fclose(f);
  return n;
}

/* Start a run, send it a signal when 'after' records are in its journal; its wait status. */
static int interrupt_run(const char *out, int number, size_t after) {
  char journal[64], device[200];
  snprintf(journal, sizeof journal, "%s.journal", out);
  snprintf(device, sizeof device, "replay:%s", in_folder("slow.json"));
  const pid_t pid = fork();
  if (!pid) {
    cr_assert_not_null(freopen(in_folder("log"), "w", stderr));
    execl(QP_BINARY_DIR "/qpal", "qpal", "tune", "--shape", "64x64", "--shape", "32x64", "--batch",
          "1", "--paths", "tensor", "--quantizers", "nuq-2", "--device", device, "--max-candidates",
          "8", "-o", in_folder(out), NULL);
    _exit(127);
  }
  for (int i = 0; i < 6000 && journal_records(journal) < after; i++) usleep(10000);
  int status;
  kill(pid, number);
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  return status;
}

Test(tune, a_killed_run_goes_on_and_loses_at_most_the_candidate_in_flight) {
  write_device("slow.json", ", \"delay_ms\": 60");
  const char *again = TWO "-o k.jsonl";
  const int status = interrupt_run("k.jsonl", SIGKILL, 13); /* in the second problem */
  cr_assert(WIFSIGNALED(status), "it ended before it was killed");
  const size_t kept = journal_records("k.jsonl.journal");
  cr_assert_geq(kept, 13);
  FILE *f = fopen(in_folder("k.jsonl.journal"), "a"); /* and the last line is torn */
  fputs("{\"begin\":\"gemm_ten", f);
  fclose(f);
  cr_assert_eq(run(again), 0, "%s", text);
  cr_assert_eq(run(TWO "-o whole.jsonl"), 0);
  qp_records a = read_results("k.jsonl"), b = read_results("whole.jsonl");
  expect_same(&a, &b);
  qp_records_free(&a);
  qp_records_free(&b);
}

Test(tune, ctrl_c_ends_after_the_candidate_in_flight_and_says_how_to_go_on) {
  write_device("slow.json", ", \"delay_ms\": 60");
  const int status = interrupt_run("c.jsonl", SIGINT, 3);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
  cr_expect_neq(access(in_folder("c.jsonl"), F_OK), 0, "nothing half-done is written");
  FILE *f = fopen(in_folder("log"), "r");
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  cr_expect(strstr(text, "same command again"), "%s", text);
  cr_assert_eq(run(TWO "-o c.jsonl"), 0, "%s", text);
}

Test(tune, a_candidate_that_the_machine_went_down_with_twice_is_not_tried_again) {
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 1 -o a.jsonl"), 0, "%s",
               text);
  qp_records a = read_results("a.jsonl");
  cr_assert_eq(a.count, 1);
  FILE *f = fopen(in_folder("b.jsonl.journal"), "w");
  fprintf(f,
          "{\"journal\":\"qpal-tune\",\"version\":1,\"gpu\":\"Replayed GPU\",\"driver\":\"1\","
          "\"timer\":\"replay\"}\n{\"begin\":\"%s\",\"boot\":\"1\"}\n"
          "{\"begin\":\"%s\",\"boot\":\"2\"}\n",
          a.list[0].kernel, a.list[0].kernel);
  fclose(f);
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 2 -o b.jsonl"), 0, "%s",
               text);
  qp_records b = read_results("b.jsonl");
  const qp_record *lost = find_kernel(&b, a.list[0].kernel);
  cr_assert(lost);
  cr_expect_eq(lost->outcome, QP_RECORD_LOST);
  qp_records_free(&a);
  qp_records_free(&b);
}

Test(tune, a_journal_of_another_gpu_or_of_a_run_that_still_runs_is_refused) {
  write_device("other.json", "");
  FILE *f = fopen(in_folder("a.jsonl.journal"), "w");
  fputs("{\"journal\":\"qpal-tune\",\"version\":1,\"gpu\":\"Another GPU\",\"driver\":\"1\","
        "\"timer\":\"replay\"}\n",
        f);
  fclose(f);
  cr_expect_eq(run(SHAPE "--device replay:plain.json --max-candidates 1 -o a.jsonl"), 2, "%s",
               text);
  cr_expect(strstr(text, "'Another GPU' is not this run's 'Replayed GPU'"), "%s", text);
}

Test(tune, results_are_added_to_what_was_there) {
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 3 -o a.jsonl"), 0, "%s",
               text);
  cr_assert_eq(run("tune --shape 64x64,32x64 --batch 1 --paths tensor --quantizers nuq-2 "
                   "--device replay:plain.json --max-candidates 3 -o a.jsonl --svg a.svg"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect_eq(r.count, 6);
  qp_records_free(&r);
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 3 -o a.jsonl --missing"), 0);
  cr_expect(strstr(text, "nothing to tune: every problem has a record"), "%s", text);
  cr_expect_eq(run("tune --shape 40x64 --batch 1 --quantizers nuq-2 --device replay:plain.json "
                   "-o b.jsonl"),
               3, "%s", text);
  cr_expect(strstr(text, "nothing to tune: no kernel takes these shapes"), "%s", text);
  snprintf(text, sizeof text, "cat '%s'", in_folder("a.svg"));
  FILE *f = popen(text, "r");
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  pclose(f);
  cr_expect(strstr(text, "class=\"floor\"") && strstr(text, "nuq-2: 2 bits") &&
            strstr(text, "64+32 x 64, batch 1"));
}

Test(tune, replayed_records_never_enter_tuned_or_a_plan) {
  cr_expect_eq(run(SHAPE "--device replay:plain.json -o tuned/a.jsonl"), 2, "%s", text);
  cr_expect(strstr(text, "never enter tuned/"), "%s", text);
  cr_expect_eq(run(SHAPE "--device replay:plain.json"), 2);
  cr_expect(strstr(text, "-o FILE.jsonl is needed"), "%s", text);
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 1 -o a.jsonl"), 0, "%s",
               text);
  cr_expect_eq(run("plan --model llama-3.1-8b --gpu a.jsonl --bits 3"), 2, "%s", text);
  cr_expect(strstr(text, "replay device"), "%s", text);
  cr_expect_eq(run("table a.jsonl --model llama-3.1-8b"), 2, "%s", text);
}

Test(tune, a_budget_in_time_ends_the_run) {
  write_device("slow.json", ", \"delay_ms\": 300");
  cr_assert_eq(run("tune --shape 64x64 --batch 1,2,3,4 --paths tensor --quantizers nuq-2 "
                   "--strategy exhaustive --device replay:slow.json --budget 4s -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect_gt(r.count, 0);
  cr_expect_lt(r.count, 60, "each takes 0.3 s at least");
  qp_records_free(&r);
}

/* Kernels of the problem with this batch that were measured. */
static unsigned measured(const qp_records *r, unsigned batch) {
  unsigned n = 0;
  for (size_t i = 0; i < r->count; i++)
    n += r->list[i].batch == batch && r->list[i].outcome == QP_RECORD_OK && r->list[i].chain_ps;
  return n;
}

/* Three problems' candidates would take all of the time.  On a machine that is too busy for one of
   each problem, none has two, and the journal stays for the next run. */
Test(tune, a_budget_gives_every_problem_a_record_before_it_is_spent_on_any) {
  enum { PROBLEMS = 4 };
  unsigned fewest = UINT_MAX, most = 0;
  write_device("slow.json", ", \"delay_ms\": 1000");
  cr_assert_eq(run("tune --shape 64x64 --batch 1,2,3,4 --paths tensor --quantizers nuq-2 "
                   "--device replay:slow.json --budget 14s --max-candidates 5 -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  for (unsigned b = 1; b <= PROBLEMS; b++) {
    const unsigned n = measured(&r, b);
    if (n < fewest) fewest = n;
    if (n > most) most = n;
  }
  cr_expect(fewest > 0 || most == 1, "%u to %u: %s", fewest, most, text);
  cr_expect_gt(most, 0);
  cr_expect(!fewest || access(in_folder("a.jsonl.journal"), F_OK) != 0);
  qp_records_free(&r);
}

Test(tune, the_same_command_again_searches_on_from_what_the_output_holds) {
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 6 -o a.jsonl"), 0, "%s",
               text);
  qp_records before = read_results("a.jsonl");
  cr_assert_eq(run(SHAPE "--device replay:plain.json --max-candidates 12 -o a.jsonl"), 0, "%s",
               text);
  cr_expect(strstr(text, " from earlier runs)"), "%s", text);
  qp_records after = read_results("a.jsonl");
  cr_expect_gt(after.count, before.count);
  for (size_t i = 0; i < before.count; i++) cr_expect(find_kernel(&after, before.list[i].kernel));
  qp_records_free(&before);
  qp_records_free(&after);
}

Test(tune, wrong_words_are_named) {
  cr_expect_eq(run("tune --device replay:plain.json -o a.jsonl"), 2);
  cr_expect(strstr(text, "one of --model, --shape and --plan"), "%s", text);
  cr_expect_eq(run(SHAPE "--device sim -o a.jsonl"), 2);
  cr_expect(strstr(text, "a simulator has no clock"), "%s", text);
  cr_expect_eq(run(SHAPE "--device replay:plain.json --budget soon -o a.jsonl"), 2);
  cr_expect(strstr(text, "--budget 'soon'") && strstr(text, "s, m, h"), "%s", text);
  cr_expect_eq(run(SHAPE "--device replay:plain.json --strategy best -o a.jsonl"), 2);
  cr_expect(strstr(text, "auto, exhaustive or local"), "%s", text);
  cr_expect_eq(run(SHAPE "--device replay:plain.json --shard 3/2 -o a.jsonl"), 2);
  cr_expect(strstr(text, "--shard '3/2'"), "%s", text);
  cr_expect_eq(run(SHAPE "--device replay:nowhere.json -o a.jsonl"), 2);
  cr_expect(strstr(text, "nowhere.json"), "%s", text);
  write_device("odd.json", ", \"rules\": [{\"match\": \"\", \"fault\": \"sleep\"}]");
  cr_expect_eq(run(SHAPE "--device replay:odd.json -o a.jsonl"), 2);
  cr_expect(strstr(text, "'sleep' is none of hang"), "%s", text);
}

Test(tune, shards_are_disjoint_and_together_the_whole) {
  static const char *const all = "tune --shape 64x64 --shape 32x64 --shape 64x64,32x64 --batch 1,2 "
                                 "--paths tensor --quantizers nuq-2 --device replay:plain.json "
                                 "--max-candidates 2 ";
  char command[512];
  size_t sum = 0;
  snprintf(command, sizeof command, "%s -o whole.jsonl", all);
  cr_assert_eq(run(command), 0, "%s", text);
  qp_records whole = read_results("whole.jsonl");
  cr_assert_eq(whole.count, 12, "six problems");
  for (unsigned i = 1; i <= 4; i++) {
    snprintf(command, sizeof command, "%s --shard %u/4 -o part%u.jsonl", all, i, i);
    cr_assert_eq(run(command), 0, "%s", text);
    char name[32];
    snprintf(name, sizeof name, "part%u.jsonl", i);
    qp_records part = read_results(name);
    sum += part.count;
    qp_records_free(&part);
  }
  cr_expect_eq(sum, whole.count, "%zu records in the parts", sum);
  cr_assert_eq(run("table --merge part1.jsonl part2.jsonl part3.jsonl part4.jsonl --replay "
                   "-o all.jsonl"),
               0, "%s", text);
  qp_records merged = read_results("all.jsonl");
  cr_expect_eq(merged.count, whole.count);
  /* Shards begin where no like problem was tuned, so their candidates may differ, not their
  ** problems. */
  for (size_t i = 0; i < whole.count; i++) {
    const qp_record *x = &whole.list[i];
    size_t n = 0;
    for (size_t k = 0; k < merged.count; k++) {
      const qp_record *y = &merged.list[k];
      n += x->segments == y->segments && x->batch == y->batch && x->columns == y->columns &&
           x->segment[0].rows == y->segment[0].rows;
    }
    cr_expect_eq(n, 2, "%s", x->kernel);
  }
  snprintf(command, sizeof command, "%s --shard 1/2", all);
  cr_expect_eq(run(command), 2, "a file for all shards could be written by two at a time");
  cr_expect(strstr(text, "own -o"), "%s", text);
  qp_records_free(&whole);
  qp_records_free(&merged);
}

static void write_config(void) {
  FILE *f = fopen(in_folder("config.json"), "w");
  cr_assert(f);
  fputs("{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
        "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"num_hidden_layers\": 2,"
        "\"vocab_size\": 128}",
        f);
  fclose(f);
}

static size_t count_op(const qp_records *r, const char *op) {
  size_t n = 0;
  for (size_t i = 0; i < r->count; i++)
    n += r->list[i].outcome == QP_RECORD_OK && !strcmp(r->list[i].op, op);
  return n;
}

Test(tune, a_model_s_rotations_dequantizations_and_look_ups_are_tuned_and_planned_with) {
  char command[512];
  write_config();
  cr_assert_eq(run("tune --model config.json --quantizers nuq-4 --batch 1 --paths tensor "
                   "--device replay:plain.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect_eq(count_op(&r, "rotate"), 2, "columns of 64 and of 96");
  cr_expect_eq(count_op(&r, "dequant"), 5, "equal shapes once");
  cr_expect_eq(count_op(&r, "gather"), 1);
  cr_expect_gt(count_op(&r, "gemm"), 5);
  cr_assert_eq(run("table a.jsonl --model config.json --replay"), 0, "%s", text);
  cr_expect(strstr(text, "rotate") && strstr(text, "dequant down") && strstr(text, "gather"), "%s",
            text);
  /* as if a GPU had measured them */
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/' '%s/a.jsonl' > '%s/b.jsonl'",
           folder, folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(run("plan --model config.json --gpu b.jsonl --quantizers nuq-4 --latency 1s"), 0,
               "%s", text);
  cr_expect(strstr(text, "the constant part has 9 rotations") &&
                strstr(text, "7 rotations with the norm"),
            "%s", text);
  qp_records_free(&r);
}

/* Tensor cores answer at once; what the code of CUDA cores counts takes longer. */
Test(tune, a_path_that_cannot_win_by_what_its_code_counts_is_left_out_and_told_to_be) {
  qp_error why = {0};
  char *sass = NULL;
  if (qp_disassemble("", 0, &sass, &why) == QP_E_MISSING)
    cr_skip_test("no nvdisasm on this machine");
  unsetenv("QPAL_NVRTC"); /* of code that is not optimised no hot loop is found */
  FILE *f = fopen(in_folder("config.json"), "w");
  cr_assert(f);
  fputs("{\"model_type\": \"llama\", \"hidden_size\": 256, \"intermediate_size\": 256,"
        "\"num_attention_heads\": 4, \"num_hidden_layers\": 1, \"vocab_size\": 128}",
        f);
  fclose(f);
  write_device("fast.json", ", \"bandwidth_gbs\": 1000000, \"launch_ns\": 0.001");
  cr_assert_eq(run("tune --shape 256x256 --quantizers nuq-4 --batch 1 --budget 300s "
                   "--device replay:fast.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect(r.count == 2 && count_outcome(&r, QP_RECORD_BOUNDED) == 1, "%s", text);
  for (size_t i = 0; i < r.count; i++)
    cr_expect_eq(r.list[i].outcome == QP_RECORD_BOUNDED, !strcmp(r.list[i].path, "cuda"));
  cr_assert_eq(run("table a.jsonl --model config.json --replay"), 0, "%s", text);
  cr_expect(strstr(text, "nuq-4 q, 256x256, path cuda: bounded by"), "%s", text);
  qp_records_free(&r);
}

/* The numbers under 'name' in the JSON that was printed last; returns how many. */
static size_t numbers(const char *name, unsigned *out, size_t most) {
  size_t n = 0;
  char key[64];
  const size_t length = (size_t)snprintf(key, sizeof key, "\"%s\":", name);
  for (const char *at = text; n < most && (at = strstr(at, key)); at += length) {
    const unsigned long v = strtoul(at + length, NULL, 10);
    if (v) out[n++] = (unsigned)v; /* null is none */
  }
  return n;
}

static void read_text(const char *name) {
  FILE *f = fopen(in_folder(name), "r");
  cr_assert(f, "%s", name);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
}

/* From tune to what engines are told: the rows from which decoding and cuBLAS are faster. */
Test(tune, the_crossover_to_cublas_is_measured_shown_and_exported) {
  enum { MOST = 64 };
  unsigned shown[MOST], written[MOST];
  char command[512];
  const char *again = "tune --model config.json --quantizers nuq-4 --batch 1,8 --paths tensor "
                      "--device replay:fast.json --max-candidates 1 -o a.jsonl";
  write_config();
  write_device("fast.json", ", \"tflops\": 0.1, \"bandwidth_gbs\": 100, \"launch_ns\": 500");
  cr_assert_eq(run(again), 0, "%s", text);
  cr_expect(strstr(text, "crossover to dequant and cuBLAS: known of 9 of 9 launches"), "%s", text);
  cr_assert_eq(run(again), 0, "%s", text);
  cr_expect(strstr(text, "launches; 1 products timed"), "one tells the version: %s", text);
  cr_assert_eq(run("table a.jsonl --model config.json --replay"), 0, "%s", text);
  cr_expect(strstr(text, "From this number of rows on"), "%s", text);
  cr_assert_eq(run("table a.jsonl --model config.json --replay --json"), 0, "%s", text);
  const size_t n = numbers("dequant_rows", shown, MOST);
  cr_assert_gt(n, 0, "%s", text);
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/' '%s/a.jsonl' > '%s/b.jsonl'",
           folder, folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(run("export --model config.json --quantizer nuq-4 --gpu b.jsonl --batch 1,8 "
                   "--type f16 -o library"),
               0, "%s", text);
  read_text("library/manifest.json");
  const size_t w = numbers("dequant_from_rows", written, MOST);
  cr_assert_gt(w, 0, "%s", text);
  for (size_t i = 0; i < w; i++) {
    size_t k = 0;
    while (k < n && shown[k] != written[i]) k++;
    cr_expect_lt(k, n, "%u rows are in the library, not in the table", written[i]);
  }
  cr_assert_eq(run("export --model config.json --quantizer nuq-4 --gpu b.jsonl --batch 1,4 "
                   "--type f16 -o other"),
               0, "%s", text);
  read_text("other/manifest.json");
  cr_expect_eq(numbers("dequant_from_rows", written, MOST), 0, "batch 4 was not measured");
}

Test(tune, without_cublas_tuning_says_that_no_crossover_was_searched) {
  write_config();
  write_device("none.json", ", \"tflops\": 0");
  cr_assert_eq(run("tune --model config.json --quantizers nuq-4 --batch 1 --paths tensor "
                   "--device replay:none.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  cr_expect(strstr(text, "no crossover to dequant and cuBLAS was searched: the replay device has"),
            "%s", text);
}

Test(tune, rotations_without_records_are_told_to_be_in_no_latency) {
  char command[512];
  write_config();
  cr_assert_eq(
      run("tune --model config.json --quantizers nuq-4 --batch 1 --paths tensor --ops gemm "
          "--device replay:plain.json --max-candidates 1 -o a.jsonl"),
      0, "%s", text);
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/' '%s/a.jsonl' > '%s/b.jsonl'",
           folder, folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(run("plan --model config.json --gpu b.jsonl --quantizers nuq-4 --latency 1s"), 0,
               "%s", text);
  cr_expect(strstr(text, "rotations of the linears' inputs are in no latency"), "%s", text);
  cr_expect_eq(run("tune --model config.json --ops mumble --device replay:plain.json -o c.jsonl"),
               2);
  cr_expect_eq(run(SHAPE "--ops rotate --device replay:plain.json -o c.jsonl"), 2);
  cr_expect(strstr(text, "are a model's"), "%s", text);
}

/* A plan and a table of b.jsonl, in which gemm-glu takes so many picoseconds. */
static void plan_with_pair_of(unsigned ps) {
  char command[512];
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/; /\"op\":\"gemm-glu\"/ "
           "s/\"chain_ps\":[0-9]*/\"chain_ps\":%u/' '%s/a.jsonl' > '%s/b.jsonl'",
           ps, folder, folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(run("table b.jsonl --model config.json"), 0, "%s", text);
  cr_expect(strstr(text, ps > 1000000 ? "before\n" : "behind\n"), "%s", text);
  cr_assert_eq(run("plan --model config.json --gpu b.jsonl --quantizers nuq-4 --latency 1s"), 0,
               "%s", text);
}

Test(tune, a_gated_linear_unit_is_counted_where_it_is_quicker) {
  write_config();
  cr_assert_eq(run("tune --model config.json --quantizers nuq-4 --batch 1 --paths tensor --ops "
                   "gemm,gemm-glu,rotate --device replay:plain.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  cr_assert_eq(run("table a.jsonl --model config.json --replay"), 0, "%s", text);
  cr_expect(strstr(text, "The gated linear unit of up and gate before"), "%s", text);
  cr_assert_eq(run("table a.jsonl --model config.json --replay --json"), 0, "%s", text);
  cr_expect(strstr(text, "\"gemm, rotate-glu\"") && strstr(text, "\"gemm-glu, rotate\""), "%s",
            text);
  plan_with_pair_of(900000000);
  cr_expect(!strstr(text, "gemm-glu"), "%s", text);
  plan_with_pair_of(1000);
  cr_expect(strstr(text, "1 measured launches of up and gate are quicker"), "%s", text);
  cr_assert_eq(run("export --model config.json --quantizer nuq-4 --gpu b.jsonl --batch 1 "
                   "--type f16 --no-dequant -o library"),
               0, "%s", text);
  cr_expect(strstr(text, "also with the gated linear unit behind its gemm"), "%s", text);
}

/* One block with 8 experts, of which a token goes through 2. */
static void write_experts(void) {
  FILE *f = fopen(in_folder("config.json"), "w");
  cr_assert(f);
  fputs("{\"model_type\": \"qwen3_moe\", \"hidden_size\": 64, \"intermediate_size\": 64,"
        " \"moe_intermediate_size\": 64, \"num_experts\": 8, \"num_experts_per_tok\": 2,"
        " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"head_dim\": 32,"
        " \"num_hidden_layers\": 1, \"vocab_size\": 48, \"tie_word_embeddings\": true}",
        f);
  fclose(f);
}

/* The us of the constant part that a plan of one of two ranks says. */
static double constant_of(const char *more) {
  char command[256];
  snprintf(command, sizeof command,
           "plan --model config.json --tp 2 --gpu b.jsonl --quantizers nuq-4 --latency 1s %s",
           more);
  cr_assert_eq(run(command), 0, "%s", text);
  const char *at = strstr(text, "of it constant ");
  return at ? strtod(at + strlen("of it constant "), NULL) : 0;
}

Test(tune, a_rank_s_launches_are_tuned_and_planned_with_what_all_reduces_take) {
  char command[512];
  FILE *f = fopen(in_folder("config.json"), "w");
  cr_assert(f);
  fputs("{\"model_type\": \"phi3\", \"hidden_size\": 64, \"intermediate_size\": 128,"
        "\"num_attention_heads\": 2, \"num_hidden_layers\": 3, \"vocab_size\": 48}",
        f);
  fclose(f);
  cr_assert_eq(run("tune --model config.json --tp 2 --quantizers nuq-4 --batch 1 --paths tensor "
                   "--ops gemm --device replay:plain.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/' '%s/a.jsonl' > '%s/b.jsonl'",
           folder, folder);
  cr_assert_eq(system(command), 0);
  /* behind o and down of each of three blocks */
  cr_expect_float_eq(constant_of("--allreduce-us 7.5") - constant_of(""), 6 * 7.5, 1e-3);
  cr_expect(strstr(text, "\nq ") && !strstr(text, "qkv"), "parts of one matrix: %s", text);
  static const struct {
    const char *words, *why;
  } wrong[] = {{"--tp 2 --allreduce-us 5", "--allreduce-us: it is for --tp or --ep with latencies"},
               {"--gpu b.jsonl --allreduce-us 5", "--allreduce-us: it is for --tp or --ep"},
               {"--tp 2 --gpu b.jsonl --allreduce-us 2e6", "--allreduce-us 2e6: at most 1e6"},
               {"--tp 2 --gpu b.jsonl --allreduce-us -1", "allreduce-us"},
               {"--tp 2 --gpu b.jsonl --allreduce-us 5s", "allreduce-us"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(command, sizeof command, "plan --model config.json --quantizers nuq-4 %s",
             wrong[i].words);
    cr_expect_eq(run(command), 2, "%s: %s", wrong[i].words, text);
    cr_expect(strstr(text, wrong[i].why), "%s: %s", wrong[i].words, text);
  }
}

/* The us of a launch in a table's JSON. */
static void expect_us(const char *launch, double us) {
  char name[64];
  snprintf(name, sizeof name, "\"launch\":\t\"%s\"", launch);
  const char *row = strstr(text, name), *at = row ? strstr(row, "\"us\":") : NULL;
  cr_assert(at, "%s: %s", name, text);
  cr_expect_float_eq(strtod(at + strlen("\"us\":"), NULL), us, 1e-9, "%s: %.20s", name, at);
}

/*
** Tables and plans of b.jsonl, in which launches take so many us: of one stack, of up and gate
** together, of both with their gated linear unit behind them.  '*line' is what the plan's map says
** of up.
*/
static void plan_experts(unsigned stack, unsigned both, unsigned with_unit, char line[64]) {
  char command[1024];
  snprintf(command, sizeof command,
           "sed 's/\"timer\":\"replay\"/\"timer\":\"CUPTI 13.0\"/; "
           "/\"experts_tensor__m64[^_]*_[^_]*_k64/ s/\"chain_ps\":[0-9]*/\"chain_ps\":%u000000/; "
           "/\"experts_tensor__m64[^_]*_[^_]*_m64/ s/\"chain_ps\":[0-9]*/\"chain_ps\":%u000000/; "
           "/\"op\":\"experts-glu\"/ s/\"chain_ps\":[0-9]*/\"chain_ps\":%u000000/' '%s/a.jsonl' "
           "> '%s/b.jsonl'",
           stack, both, with_unit, folder, folder);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(run("table b.jsonl --model config.json --json"), 0, "%s", text);
  expect_us("expert_up", stack);
  expect_us("expert_up-expert_gate", both);
  cr_expect(strstr(text, "\"experts, rotate-glu\"") && strstr(text, "\"experts-glu, rotate\""),
            "%s", text);
  cr_assert_eq(run("plan --model config.json --gpu b.jsonl --quantizers nuq-4 --latency 1s"), 0,
               "%s", text);
  const char *up = strstr(text, "expert_up ");
  cr_assert(up, "%s", text);
  snprintf(line, 64, "%.*s", (int)strcspn(up, "\n"), up);
}

Test(tune, experts_are_planned_in_one_launch_or_apart_whichever_is_quicker) {
  char line[64];
  write_experts();
  cr_assert_eq(run("tune --model config.json --quantizers nuq-4 --batch 1 --paths tensor --ops "
                   "gemm,experts,experts-glu,rotate --device replay:plain.json --max-candidates 1 "
                   "-o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect_eq(count_op(&r, "experts"), 2, "a stack, and two in one launch");
  cr_expect_eq(count_op(&r, "experts-glu"), 2, "by tensor cores and CUDA cores");
  qp_records_free(&r);
  plan_experts(1, 9, 9, line);
  cr_expect(!strchr(line, '+'), "apart: %s", line);
  plan_experts(5, 6, 30, line);
  cr_expect(strchr(line, '+'), "together: %s", line);
  cr_expect(!strstr(text, "are quicker with the gated linear unit behind"), "%s", text);
  plan_experts(5, 6, 2, line);
  cr_expect(strchr(line, '+'), "together: %s", line);
  cr_expect(strstr(text, "1 measured launches of up and gate are quicker with the gated linear "
                         "unit behind"),
            "%s", text);
  cr_assert_eq(run("bench --model config.json --quantizers nuq-4 --batch 1 --records a.jsonl "
                   "--device replay:plain.json"),
               0, "%s", text);
  cr_expect(strstr(text, "experts-up-gate  1  tensor") &&
                strstr(text, "experts-down     1  tensor"),
            "%s", text);
}

Test(tune, up_and_gate_are_tuned_with_their_gated_linear_unit_where_that_is_asked_for) {
  write_config();
  cr_assert_eq(run("tune --model config.json --quantizers nuq-4 --batch 1 --ops gemm-glu "
                   "--device replay:plain.json --max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect(r.count == 2 && count_op(&r, "gemm-glu") == 2, "by tensor cores and CUDA cores");
  cr_expect_eq(count_outcome(&r, QP_RECORD_OK), 2);
  qp_records_free(&r);
  cr_expect_eq(run(SHAPE "--ops gemm-glu --device replay:plain.json -o c.jsonl"), 2);
}

Test(tune, a_plan_s_launches_are_tuned_with_their_quantizers) {
  write_config();
  cr_assert_eq(run("plan --model config.json --quantizers nuq-2,nuq-4 --bits 3 --no-fusion "
                   "-o plan.json"),
               0, "%s", text);
  cr_assert_eq(run("tune --plan plan.json --batch 1 --device replay:plain.json "
                   "--max-candidates 1 -o a.jsonl"),
               0, "%s", text);
  qp_records r = read_results("a.jsonl");
  cr_expect_gt(r.count, 3);
  cr_expect_leq(r.count, 10, "equal launches of both blocks once");
  FILE *f = fopen(in_folder("plan.json"), "r");
  const size_t n = fread(text, 1, sizeof text - 1, f);
  text[n] = 0;
  fclose(f);
  for (size_t i = 0; i < r.count; i++) {
    cr_expect(strstr(text, r.list[i].segment[0].hash), "%s", r.list[i].kernel);
    cr_expect_str_eq(r.list[i].path, "tensor");
    for (size_t k = 0; k < i; k++) cr_expect_str_neq(r.list[i].kernel, r.list[k].kernel);
  }
  qp_records_free(&r);
  cr_expect_eq(run("tune --plan plan.json --model llama-3.1-8b -o a.jsonl"), 2);
  cr_expect(strstr(text, "one of --model, --shape and --plan"), "%s", text);
}
