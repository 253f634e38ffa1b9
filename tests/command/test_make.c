/* SPDX-License-Identifier: MIT */
/* qpal make: what it writes is what its verbs write, and a run that stopped goes on. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/model/forward_kit.h"
#include "tests/quantize/quantize_kit.h"

enum { HIDDEN = 64, MIDDLE = 128, VOCAB = 64 };

static void make_checkpoint(void) {
  static const struct {
    const char *name;
    unsigned rows, columns;
  } linears[] = {{"self_attn.q_proj", HIDDEN, HIDDEN}, {"self_attn.k_proj", HIDDEN, HIDDEN},
                 {"self_attn.v_proj", HIDDEN, HIDDEN}, {"self_attn.o_proj", HIDDEN, HIDDEN},
                 {"mlp.up_proj", MIDDLE, HIDDEN},      {"mlp.gate_proj", MIDDLE, HIDDEN},
                 {"mlp.down_proj", HIDDEN, MIDDLE}};
  pending p;
  make_folder();
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < sizeof linears / sizeof *linears; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l].name);
    pending_add(&p, name, QP_TENSOR_F32, linears[l].rows, linears[l].columns,
                weights_of(l + 1, (size_t)linears[l].rows * linears[l].columns));
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_add(&p, "model.norm.weight", QP_TENSOR_F32, 0, HIDDEN, weights_of(10, HIDDEN));
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128,"
             " \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"head_dim\": 32,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 64}");
}

TestSuite(make, .init = make_checkpoint, .fini = remove_folder);

static int make(const char *options) {
  char arguments[1024];
  snprintf(arguments, sizeof arguments, "make '%s' -o '%s' %s", path("in"), path("out"), options);
  return ask(arguments);
}

Test(make, writes_what_the_verbs_write_one_by_one) {
  char arguments[2048], command[2048];
  cr_assert_eq(make("--bits 4.2 --quantizers nuq"), 0, "%s", answer);
  cr_assert(strstr(answer, "[3/4] qpal verify"), "%s", answer);
  cr_assert(strstr(answer, "PASS"), "%s", answer);
  cr_assert(strstr(answer, "--gpu"), "it says that no kernels were exported: %s", answer);
  snprintf(arguments, sizeof arguments, "plan --model '%s' --bits 4.2 --quantizers nuq -o '%s'",
           path("in"), path("by_hand.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s'", path("by_hand.json"));
  cr_assert_eq(quantize(arguments, "by_hand"), 0, "%s", answer);
  snprintf(command, sizeof command, "diff -r '%s' '%s' && cmp '%s' '%s'", path("out/packed"),
           path("by_hand"), path("out/plan.json"), path("by_hand.json"));
  cr_assert_eq(system(command), 0);
}

/* A second name of a file, which keeps what another file of its first name does not change. */
static void keep(const char *file) {
  char from[512];
  snprintf(from, sizeof from, "%s", path("%s", file));
  cr_assert_eq(link(from, path("kept")), 0, "%s", from);
}

/* Another file took the name, whole at once: no byte of the kept one was written over. */
static void expect_replaced(const char *file) {
  struct stat now, before;
  cr_assert(!stat(path("%s", file), &now) && !stat(path("kept"), &before), "%s", file);
  cr_assert_neq(now.st_ino, before.st_ino, "%s was written over", file);
  cr_assert_eq(unlink(path("kept")), 0);
}

Test(make, goes_on_where_it_was_and_only_with_the_same_wishes) {
  cr_assert_eq(make("--bits 1 --quantizers nuq"), 1, "%s", answer);
  keep("out/make.json");
  cr_assert_eq(make("--bits 4.2 --quantizers nuq"), 0, "%s", answer);
  expect_replaced("out/make.json");
  keep("out/report.html");
  cr_assert_eq(make("--bits 4.2 --quantizers nuq"), 0, "%s", answer);
  expect_replaced("out/report.html");
  cr_assert(strstr(answer, "plan.front.svg is there already"), "%s", answer);
  cr_assert(strstr(answer, "weights were there already"), "%s", answer);
  cr_assert_eq(make("--bits 3.2 --quantizers nuq"), 2, "%s", answer);
  cr_assert(strstr(answer, "field 'bits' is '4.2'"), "%s", answer);
}

/* Words are wrong before anything is begun, also those of the last steps; and what nothing was made
   with yet may be said otherwise. */
Test(make, refuses_wrong_words_first_and_lets_them_be_put_right) {
  write_text(path("text"), "a text\n");
  cr_assert_eq(make("--bits 4.2 --quantizers nuq --gpu sm_9x"), 2, "%s", answer);
  cr_assert(strstr(answer, "sm_9x") && !strstr(answer, "[1/"), "%s", answer);
  cr_assert_eq(make("--bits 4.2 --quantizers nuq --gpu sm_90 --type f17"), 2, "%s", answer);
  cr_assert(strstr(answer, "f17") && !strstr(answer, "[1/"), "%s", answer);
  cr_assert_eq(make("--bits 4.2 --quantizers nuq --judge /nowhere"), 2, "%s", answer);
  cr_assert(strstr(answer, "/nowhere") && !strstr(answer, "[1/"), "%s", answer);
  char arguments[512];
  snprintf(arguments, sizeof arguments, "--bits 1 --quantizers nuq --text '%s'", path("text"));
  cr_assert_eq(make(arguments), 1, "%s", answer);
  cr_assert(strstr(answer, "infeasible") && !strstr(answer, "qpal calibrate"), "%s", answer);
  cr_assert_eq(make("--bits 1 --quantizers nuq"), 1, "%s", answer); /* has begun nothing */
  cr_assert_eq(make("--bits 4.2 --quantizers nuq"), 0, "%s", answer);
  cr_assert_eq(make("--bits 4.2 --quantizers nuq --seed 2"), 2, "%s", answer);
  cr_assert(strstr(answer, "field 'seed' is '', and '2' is asked for"), "%s", answer);
}

/* What the step that 'pid' runs has been told of its place among all, before its progress. */
static void expect_place(pid_t pid, const char *place) {
  char file[64], held[8192];
  long child = 0;
  snprintf(file, sizeof file, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
  FILE *f = fopen(file, "r");
  cr_assert(f && fscanf(f, "%ld", &child) == 1, "%s", file);
  fclose(f);
  snprintf(file, sizeof file, "/proc/%ld/environ", child);
  f = fopen(file, "r");
  cr_assert(f, "%s", file);
  const size_t n = fread(held, 1, sizeof held, f);
  fclose(f);
  cr_assert(memmem(held, n, place, strlen(place) + 1), "%s is not in %s", place, file);
}

/* The step that runs ends with make, however make ends: what it would have said is never said, and
   the folder is free for the same command. */
Test(make, that_is_killed_takes_its_step_with_it) {
  char command[1024], said[4096];
  size_t n = 0;
  write_text(path("slow.lua"), "for i = 1, 1 << 40 do end");
  snprintf(command, sizeof command,
           "exec '%s/qpal' make '%s' -o '%s' --bits 4 --quantizers '%s:a' 2>&1", QP_BINARY_DIR,
           path("in"), path("out"), path("slow.lua"));
  int fd[2];
  cr_assert_eq(pipe(fd), 0);
  const pid_t pid = fork();
  if (!pid) {
    dup2(fd[1], 1);
    close(fd[0]);
    close(fd[1]);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
  }
  close(fd[1]);
  for (ssize_t got;
       n + 1 < sizeof said && (got = read(fd[0], said + n, sizeof said - 1 - n)) > 0;) {
    n += (size_t)got;
    said[n] = 0;
    if (!strstr(said, "[1/4]")) continue;
    usleep(500000); /* the step is in slow.lua now, for seconds */
    expect_place(pid, "QPAL_STEP=[1/4] ");
    kill(pid, SIGKILL);
  }
  close(fd[0]);
  waitpid(pid, NULL, 0);
  cr_assert(strstr(said, "[1/4] qpal plan") && !strstr(strchr(said, '\n'), "slow.lua"), "%s", said);
  cr_assert_eq(make("--bits 4.2 --quantizers nuq"), 0, "%s", answer);
}

/* What a run that is killed between two files leaves: the same command writes the rest. */
Test(make, goes_on_behind_every_file_to_the_same_bytes) {
  static const char *const last[] = {"report.html",    "packed/config.json", "packed",
                                     "plan.front.svg", "plan.front.json",    "plan.svg",
                                     "plan.json"};
  char command[2048];
  cr_assert_eq(make("--bits 4.6 --quantizers nuq-4,nuq-5"), 0, "%s", answer);
  snprintf(command, sizeof command, "cp -r '%s' '%s'", path("out"), path("whole"));
  cr_assert_eq(system(command), 0);
  for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
    for (size_t k = 0; k <= i; k++) {
      snprintf(command, sizeof command, "rm -rf '%s/%s'", path("out"), last[k]);
      cr_assert_eq(system(command), 0);
    }
    cr_assert_eq(make("--bits 4.6 --quantizers nuq-4,nuq-5"), 0, "%s: %s", last[i], answer);
    snprintf(command, sizeof command, "diff -r '%s' '%s' >&2", path("out"), path("whole"));
    cr_assert_eq(system(command), 0, "behind %s", last[i]);
  }
}

Test(make, a_step_that_fails_ends_it_with_that_steps_code) {
  cr_assert_eq(make("--bits 0.5 --quantizers nuq"), 1, "%s", answer);
  cr_assert(strstr(answer, "infeasible"), "%s", answer);
  cr_assert_neq(access(path("out/packed"), F_OK), 0, "nothing was quantized");
}

Test(make, says_what_is_missing) {
  cr_assert_eq(make(""), 2);
  cr_assert(strstr(answer, "--bits"), "%s", answer);
  cr_assert_eq(make("--tps 100"), 2);
  cr_assert(strstr(answer, "--gpu"), "%s", answer);
  char arguments[512];
  snprintf(arguments, sizeof arguments, "make /nowhere --bits 4 -o '%s'", path("out"));
  cr_assert_eq(ask(arguments), 2);
  cr_assert(strstr(answer, "/nowhere: cannot be opened") && !strstr(answer, "[1/"), "%s", answer);
  cr_assert_neq(access(path("out"), F_OK), 0);
}

/* A decoder that can be run, with a tokenizer of letters, and a text of two pieces. */
static void make_decoder(void) {
  char words[1200], tokenizer[1024];
  char in[512];
  make_folder();
  snprintf(in, sizeof in, "%s", path("in"));
  cr_assert_eq(mkdir(in, 0777), 0);
  cr_assert_eq(kit_write(in, kit_families[2].config, &err), QP_OK, "%s", err.text);
  size_t n = (size_t)snprintf(tokenizer, sizeof tokenizer,
                              "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
  for (int i = 0; i < 26; i++)
    n += (size_t)snprintf(tokenizer + n, sizeof tokenizer - n, "%s\"%c\":%d", i ? "," : "", 'a' + i,
                          3 + i);
  snprintf(tokenizer + n, sizeof tokenizer - n, "}}}");
  write_text(path("in/tokenizer.json"), tokenizer);
  for (size_t i = 0; i < sizeof words; i++) words[i] = (char)('a' + i * i % 101 % 26);
  words[sizeof words - 1] = 0;
  write_text(path("words.txt"), words);
}

TestSuite(make_text, .init = make_decoder, .fini = remove_folder);

Test(make_text, refines_what_it_quantized) {
  char options[1024], command[2048];
  snprintf(options, sizeof options, "--bits 3.3 --quantizers nuq --text '%s'", path("words.txt"));
  cr_assert_eq(make(options), 0, "%s", answer);
  cr_expect(strstr(answer, "[4/6] qpal refine"), "%s", answer);
  cr_expect(strstr(answer, "PASS"), "%s", answer);
  snprintf(command, sizeof command, "cmp -s '%s' '%s'",
           path("out/packed/model-00001-of-00001.safetensors"),
           path("out/quantized/model-00001-of-00001.safetensors"));
  cr_expect_neq(system(command), 0);
  cr_assert_eq(make(options), 0, "%s", answer);
  cr_expect(strstr(answer, "packed/config.json is there already"), "%s", answer);
  strcat(options, " --no-refine");
  cr_expect_eq(make(options), 2, "%s", answer);
  cr_expect(strstr(answer, "field 'refine' is ''"), "%s", answer);
}
