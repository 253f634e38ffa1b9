/* SPDX-License-Identifier: MIT */
/* qpal quantize --text: o and down take back what the linears before them lost. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/random.h"
#include "gen/model/text_tokens.h"
#include "tests/model/forward_kit.h"
#include "tests/quantize/quantize_kit.h"
#include "tuner/quantize/residual.h"

enum { SEQUENCES = 40, LENGTH = 24, MOST_WORDS = 8192, HIDDEN = 64 };

static void write_ids(const char *name, unsigned seed) {
  char *ids = malloc(MOST_WORDS);
  size_t n = 0;
  qp_random r = {seed};
  cr_assert(ids);
  for (unsigned i = 0; i < SEQUENCES * LENGTH; i++)
    n += (size_t)snprintf(ids + n, MOST_WORDS - n, "%u%c", 3 + (unsigned)(qp_random_next(&r) % 93),
                          (i + 1) % LENGTH ? ' ' : '\n');
  write_text(path("%s", name), ids);
  free(ids);
}

static void make_model(const char *family) {
  unsigned i = 0;
  while (strcmp(kit_families[i].name, family) != 0) i++;
  cr_assert_eq(mkdir(path("in"), 0777), 0);
  cr_assert_eq(kit_write(path("in"), kit_families[i].config, &err), QP_OK, "%s", err.text);
  write_ids("text.tokens", 1);
  write_ids("other.tokens", 2);
}

TestSuite(residual, .init = make_folder, .fini = remove_folder);

static int quantize_by_text(const char *options, const char *out) {
  char all[1024];
  snprintf(all, sizeof all, "--quantizer nuq-3 --tokens '%s' --context %u %s", path("text.tokens"),
           LENGTH, options);
  return quantize(all, out);
}

static double divergence(const char *model) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "evaluate '%s' --against '%s' --tokens '%s' --json",
           path("%s", model), path("in"), path("other.tokens"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  const char *at = strstr(answer, "\"kl_divergence\":");
  cr_assert(at, "%s", answer);
  return strtod(strchr(at, ':') + 1, NULL);
}

Test(residual, lowers_the_divergence_on_other_text_at_the_same_size) {
  make_model("llama");
  cr_assert_eq(quantize("--quantizer nuq-3", "plain"), 0, "%s", answer);
  cr_assert_eq(quantize_by_text("", "mended"), 0, "%s", answer);
  const double before = divergence("plain"), after = divergence("mended");
  cr_expect_lt(after, 0.96 * before, "%g -> %g", before, after);
  qp_safetensors *a, *b;
  cr_assert_eq(qp_safetensors_open(path("plain"), &a, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_open(path("mended"), &b, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(a), qp_safetensors_count(b));
  for (size_t i = 0; i < qp_safetensors_count(a); i++)
    cr_expect_eq(qp_safetensors_get(a, i)->bytes, qp_safetensors_get(b, i)->bytes);
  qp_safetensors_close(a);
  qp_safetensors_close(b);
}

static void expect_same(const char *one, const char *other) {
  char command[2048];
  snprintf(command, sizeof command, "diff -r '%s' '%s'", path("%s", one), path("%s", other));
  cr_expect_eq(system(command), 0, "%s and %s", one, other);
}

/* A run is killed when o of the second block is coded, and the same command given again. */
static void kill_and_go_on(const char *out) {
  char in[512], text[512], to[512], coded[1024];
  int status = 0;
  snprintf(in, sizeof in, "%s", path("in"));
  snprintf(text, sizeof text, "%s", path("text.tokens"));
  snprintf(to, sizeof to, "%s", path("%s", out));
  snprintf(coded, sizeof coded, "%s/.qpal/model.layers.1.self_attn.o_proj.safetensors", to);
  const pid_t child = fork();
  if (!child) {
    if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
      execl(QP_BINARY_DIR "/qpal", "qpal", "quantize", in, "--quantizer", "nuq-3", "--tokens", text,
            "--context", "24", "-o", to, NULL);
    _exit(99);
  }
  pid_t ended = 0;
  while (access(coded, F_OK) != 0 && !(ended = waitpid(child, &status, WNOHANG))) usleep(200);
  if (!ended) kill(child, SIGKILL);
  if (!ended) waitpid(child, &status, 0);
  cr_assert(WIFSIGNALED(status), "it ended before it could be killed");
  cr_assert_eq(quantize_by_text("", out), 0, "%s", answer);
  cr_expect(strstr(answer, "were there already"), "%s", answer);
}

Test(residual, gives_the_same_bytes_by_any_number_of_threads_and_after_a_kill) {
  make_model("qwen2");
  cr_assert_eq(quantize_by_text("--threads 1", "one"), 0, "%s", answer);
  cr_assert_eq(quantize_by_text("--threads 3", "three"), 0, "%s", answer);
  kill_and_go_on("killed");
  expect_same("one", "three");
  expect_same("one", "killed");
}

Test(residual, targets_are_the_weights_where_nothing_was_lost) {
  qp_models *models;
  qp_tokens text;
  qp_residual *r;
  float w[HIDDEN * HIDDEN], before[HIDDEN * HIDDEN];
  make_model("llama-3");
  qp_random random = {1};
  for (size_t i = 0; i < HIDDEN * HIDDEN; i++) w[i] = (float)qp_random_uniform(&random, -1, 1);
  memcpy(before, w, sizeof w);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_text_or_ids(path("in"), NULL, path("text.tokens"), LENGTH, 0, &text, &err), QP_OK,
               "%s", err.text);
  cr_assert_eq(qp_residual_open(path("in"), models, &text, 1, &r, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_residual_target(r, "model.layers.2.self_attn.o_proj", w, NULL, &err), QP_OK);
  cr_expect_arr_eq(w, before, sizeof w, "nothing was coded");
  cr_assert_eq(qp_residual_target(r, "model.layers.2.self_attn.q_proj", w, NULL, &err), QP_OK);
  cr_expect_arr_eq(w, before, sizeof w, "not of q");
  qp_residual_close(r);
  qp_tokens_free(&text);
  qp_models_close(models);
}

Test(residual, says_what_it_has_no_targets_for) {
  char all[1024];
  make_model("gemma3");
  cr_expect_eq(quantize_by_text("", "gemma"), 0);
  cr_expect(strstr(answer, "gemma3") && strstr(answer, "before it is added"), "%s", answer);
  snprintf(all, sizeof all, "--text '%s'", path("text.tokens"));
  cr_expect_eq(quantize_by_text(all, "out"), 2);
  cr_expect(strstr(answer, "--text FILE or --tokens FILE: give one"), "%s", answer);
  cr_expect_neq(access(path("out/config.json"), F_OK), 0);
}

Test(residual, threads_of_the_text_begin_when_all_is_forked_that_kernels_need) {
  make_model("llama");
  cr_assert_eq(quantize_by_text("--threads 2 --blocks 1", "cpu"), 0, "%s", answer);
  cr_assert_eq(quantize_by_text("--threads 2 --blocks 1 --device sim --verify", "sim"), 0, "%s",
               answer);
  cr_expect(strstr(answer, "PASS"), "%s", answer);
  cr_assert_eq(quantize_by_text("--threads 2 --blocks 1 --verify", "sim"), 0, "%s", answer);
  cr_expect(strstr(answer, "were there already"), "%s", answer);
  cr_expect(strstr(answer, "PASS"), "%s", answer);
}
