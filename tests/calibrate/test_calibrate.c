/* SPDX-License-Identifier: MIT */
/*
** Calibration on a made-up Llama of two blocks (tests/circle/checkpoint.pl): sensitivities are what
** noise does, Hessians what the linears read, a killed run ends as if nothing had happened, plan
** and quantize use it.
*/
#define XXH_INLINE_ALL
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "gen/base/gaussian.h"
#include "gen/base/json.h"
#include "gen/base/random.h"
#include "gen/model/forward.h"
#include "gen/model/tokens.h"
#include "runtime/safetensors.h"
#include "tuner/calibrate/gradient_sensitivity.h"
#include "tuner/calibrate/ledger.h"
#include "tuner/calibrate/sensitivity.h"
#include "tuner/plan/calibration.h"
#include "tuner/quantize/hessian.h"

enum { TOKENS = 96, SEQUENCES = 3, VOCAB = 64 };

static qp_error err;
static char folder[64];

static void run_shell(const char *format, const char *a, const char *b) {
  char command[1024];
  snprintf(command, sizeof command, format, a, b);
  cr_assert_eq(system(command), 0, "%s", command);
}

static void make_files_again(void) {
  char path[128];
  run_shell("perl '%s/tests/circle/checkpoint.pl' %s", QP_SOURCE_DIR, folder);
  snprintf(path, sizeof path, "%s/tokens", folder);
  FILE *f = fopen(path, "w");
  qp_random r = {.state = 9};
  for (unsigned i = 0; i < TOKENS; i++)
    fprintf(f, "%u%c", (unsigned)(qp_random_next(&r) % VOCAB),
            i % (TOKENS / SEQUENCES) == TOKENS / SEQUENCES - 1 ? '\n' : ' ');
  fclose(f);
}

static void make_files(void) {
  strcpy(folder, "/tmp/qpal-calibrate-XXXXXX");
  cr_assert(mkdtemp(folder));
  make_files_again();
}

static void remove_files(void) { run_shell("rm -r %s%s", folder, ""); }

TestSuite(calibrate, .init = make_files, .fini = remove_files);

/* ---- The model ---- */

typedef struct bench {
  qp_models *models;
  qp_forward *f;
  const qp_model *m;
  qp_tokens tokens;
  qp_sequences s;
} bench;

static bench open_bench(void) {
  bench b = {0};
  char path[128];
  const qp_forward_options options = {.threads = 2};
  cr_assert_eq(qp_models_open(&b.models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_forward_open(folder, b.models, &options, &b.f, &err), QP_OK, "%s", err.text);
  snprintf(path, sizeof path, "%s/tokens", folder);
  cr_assert_eq(qp_tokens_read(path, &b.tokens, &err), QP_OK, "%s", err.text);
  b.m = qp_forward_model(b.f);
  b.s = (qp_sequences){b.tokens.id, b.tokens.end, b.tokens.sequences};
  return b;
}

static void close_bench(bench *b) {
  qp_forward_close(b->f);
  qp_models_close(b->models);
  qp_tokens_free(&b->tokens);
}

static float *logits_of(bench *b) {
  float *out = malloc(sizeof *out * TOKENS * VOCAB);
  cr_assert_eq(qp_forward_logits(b->f, &b->s, NULL, out, &err), QP_OK, "%s", err.text);
  return out;
}

/* States that go into a block. */
static float *states(bench *b, unsigned block) {
  float *h = malloc(sizeof *h * TOKENS * b->m->hidden);
  cr_assert_eq(qp_forward_embed(b->f, &b->s, h, &err), QP_OK);
  for (unsigned i = 0; i < block; i++)
    cr_assert_eq(qp_forward_block(b->f, i, &b->s, NULL, h, &err), QP_OK);
  return h;
}

static double log_sum(const float *x) {
  double sum = 0;
  for (unsigned i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
  return log(sum);
}

static double mean_divergence(const float *p, const float *q) {
  double sum = 0;
  for (unsigned t = 0; t < TOKENS; t++, p += VOCAB, q += VOCAB) {
    const double lp = log_sum(p), lq = log_sum(q);
    for (unsigned i = 0; i < VOCAB; i++)
      sum += exp((double)p[i] - lp) * ((double)p[i] - lp - (double)q[i] + lq);
  }
  return sum / TOKENS;
}

/* ---- Sensitivities ---- */

/* The definition, with noise of its own and the whole model run each time. */
static double sensitivity_by_hand(bench *b, unsigned block, unsigned linear, double noise,
                                  unsigned probes) {
  const qp_model_linear *l = &b->m->linear[linear];
  const size_t n = (size_t)l->rows * l->columns;
  float *w = malloc(n * sizeof *w), *v = malloc(n * sizeof *v), *own = logits_of(b);
  qp_random r = {.state = 77};
  double sum = 0;
  cr_assert_eq(qp_forward_weights(b->f, block, linear, w, &err), QP_OK);
  for (unsigned i = 0; i < 2 * probes; i++) {
    for (unsigned row = 0; row < l->rows; row++) {
      double mean = 0;
      for (unsigned c = 0; c < l->columns; c++)
        mean += (double)w[row * l->columns + c] * (double)w[row * l->columns + c] / l->columns;
      for (unsigned c = 0; c < l->columns; c++)
        v[row * l->columns + c] =
            w[row * l->columns + c] +
            (float)(sqrt(noise * mean) * qp_gaussian_quantile(qp_random_uniform(&r, 1e-12, 1)));
    }
    qp_forward_override(b->f, block, linear, v);
    float *q = logits_of(b);
    sum += mean_divergence(own, q);
    free(q);
  }
  qp_forward_override(b->f, block, linear, NULL);
  free(w);
  free(v);
  free(own);
  return sum / (2 * probes) / noise;
}

static qp_sensitivity measure(bench *b, uint64_t logit_bytes, unsigned block, unsigned linear,
                              unsigned probes, double noise) {
  const qp_sensitivity_options o = {.noise = noise, .probes = probes, .seed = 3};
  qp_probe *p;
  qp_sensitivity s;
  float *h = states(b, block);
  cr_assert_eq(qp_probe_open(b->f, &b->s, logit_bytes, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_probe_measure(p, &o, block, linear, h, &s, &err), QP_OK, "%s", err.text);
  qp_probe_close(p);
  free(h);
  return s;
}

Test(calibrate, a_sensitivity_is_the_divergence_that_noise_causes) {
  bench b = open_bench();
  const unsigned linears[] = {2, b.m->linears - 1, b.m->linears};
  for (unsigned i = 0; i < 3; i++) {
    const unsigned block = linears[i] == b.m->linears ? b.m->layers : 1;
    const qp_sensitivity s = measure(&b, 1 << 30, block, linears[i], 16, 0.01);
    const double wanted = sensitivity_by_hand(&b, block, linears[i], 0.01, 16);
    cr_expect_float_eq(s.alpha, wanted, 0.1 * wanted, "linear %u: %g for %g", linears[i], s.alpha,
                       wanted);
    cr_expect(s.error > 0 && s.error < 0.3 * s.alpha, "%g +- %g", s.alpha, s.error);
    const double small = measure(&b, 1 << 30, block, linears[i], 16, 0.0025).alpha;
    cr_expect_float_eq(small, s.alpha, 0.05 * s.alpha, "linear in the noise");
  }
  close_bench(&b);
}

/* y[i] = n_i H n_j^T of two rows. */
static double through(const double *h, size_t k, const float *a, const float *b) {
  double sum = 0;
  for (size_t i = 0; i < k; i++)
    for (size_t j = 0; j < k; j++) sum += (double)a[i] * h[i * k + j] * (double)b[j];
  return sum;
}

Test(calibrate, shaped_noise_has_the_same_error_in_every_direction_of_the_outputs) {
  enum { K = 48, ROWS = 70 };
  static float h[K * K], white[ROWS * K], noise[ROWS * K];
  static double damped[K * K];
  double mean = 0, dot;
  qp_random r = {.state = 5};
  qp_parallel *p;
  bench b = open_bench();
  p = qp_forward_parallel(b.f);
  for (unsigned t = 0; t < 3 * K; t++) { /* one direction is much larger */
    float x[K];
    for (unsigned i = 0; i < K; i++)
      x[i] = (float)(qp_gaussian_quantile(qp_random_uniform(&r, 1e-12, 1)) + (t ? 0 : 40.0 * i));
    for (unsigned i = 0; i < K * K; i++) h[i] += x[i / K] * x[i % K] / (3 * K);
  }
  for (unsigned i = 0; i < K; i++) mean += (double)h[i * K + i] / K;
  for (unsigned i = 0; i < K * K; i++) damped[i] = (double)h[i] + (i % (K + 1) ? 0 : 0.01 * mean);
  for (unsigned i = 0; i < ROWS * K; i++)
    noise[i] = white[i] = (float)qp_gaussian_quantile(qp_random_uniform(&r, 1e-12, 1));
  cr_assert_eq(qp_noise_shape(p, h, ROWS, K, noise, &err), QP_OK, "%s", err.text);
  const double g = through(damped, K, noise, noise);
  double square = 0;
  for (unsigned i = 0; i < K; i++) square += (double)white[i] * (double)white[i];
  cr_expect(g / square > 0 && g / square < 0.1 * mean, "%g of %g", g / square, mean);
  for (unsigned row = 1; row < ROWS; row++) {
    dot = 0;
    for (unsigned i = 0; i < K; i++) dot += (double)white[i] * (double)white[row * K + i];
    cr_expect_float_eq(through(damped, K, noise, noise + (size_t)row * K), dot * g / square,
                       1e-3 * g);
  }
  /* Of white inputs nothing is left to feedback: the noise stays as long as it was. */
  memset(h, 0, sizeof h);
  for (unsigned i = 0; i < K; i++) h[i * K + i] = 3;
  memcpy(noise, white, sizeof noise);
  cr_assert_eq(qp_noise_shape(p, h, ROWS, K, noise, &err), QP_OK);
  for (unsigned i = 0; i < ROWS * K; i++) cr_expect_float_eq(noise[i], white[i], 1e-5);
  close_bench(&b);
}

Test(calibrate, logits_that_are_not_kept_are_computed_again_and_the_model_stays) {
  bench b = open_bench();
  float *before = logits_of(&b);
  for (unsigned linear = 2; linear <= b.m->linears; linear += b.m->linears - 2) {
    const unsigned block = linear == 2 ? 0 : b.m->layers;
    const double kept = measure(&b, 1 << 30, block, linear, 1, 0.01).alpha;
    const double again = measure(&b, 0, block, linear, 1, 0.01).alpha;
    cr_expect_float_eq(kept, again, 1e-4 * kept, "%g for %g", again, kept);
  }
  float *after = logits_of(&b);
  cr_assert_eq(memcmp(before, after, sizeof *before * TOKENS * VOCAB), 0);
  free(before);
  free(after);
  close_bench(&b);
}

Test(calibrate, noise_has_just_the_variance_that_was_asked_for) {
  qp_parallel *p;
  float w[3 * 40] = {0}, noise[3 * 40], again[3 * 40];
  cr_assert_eq(qp_parallel_open(2, &p, &err), QP_OK);
  for (unsigned i = 0; i < 80; i++) w[i] = (float)i - 20; /* the last row stays 0 */
  qp_noise_fill(p, 5, 0.02, w, 3, 40, noise);
  qp_noise_fill(p, 5, 0.02, w, 3, 40, again);
  cr_assert_eq(memcmp(noise, again, sizeof noise), 0);
  for (unsigned r = 0; r < 3; r++) {
    double a = 0, e = 0;
    for (unsigned c = 0; c < 40; c++) {
      a += (double)w[40 * r + c] * (double)w[40 * r + c];
      e += (double)noise[40 * r + c] * (double)noise[40 * r + c];
    }
    cr_assert_float_eq(e, 0.02 * a, 1e-5 * a);
  }
  qp_noise_fill(p, 6, 0.02, w, 3, 40, again);
  cr_assert_neq(memcmp(noise, again, sizeof noise), 0);
  qp_parallel_close(p);
}

/* ---- The command ---- */

static int ask(const char *arguments, char *out, size_t size) {
  char command[2048];
  snprintf(command, sizeof command, "'%s/qpal' %s 2>&1", QP_BINARY_DIR, arguments);
  FILE *f = popen(command, "r");
  cr_assert(f);
  const size_t n = fread(out, 1, size - 1, f);
  out[n] = 0;
  return WEXITSTATUS(pclose(f));
}

static char text[1 << 16];

static void expect(int code, const char *part, const char *format) {
  char arguments[1024];
  snprintf(arguments, sizeof arguments, format, folder, folder, folder, folder);
  cr_assert_eq(ask(arguments, text, sizeof text), code, "qpal %s: %s", arguments, text);
  cr_assert(strstr(text, part), "qpal %s: '%s' is not in: %s", arguments, part, text);
}

static void expect_same(const char *file) {
  char a[256], b[256];
  snprintf(a, sizeof a, "%s/whole/%s", folder, file);
  snprintf(b, sizeof b, "%s/killed/%s", folder, file);
  run_shell("cmp %s %s", a, b);
}

static int lines_of(const char *path) {
  FILE *f = fopen(path, "r");
  int lines = 0;
  for (int c; f && (c = fgetc(f)) != EOF;) lines += c == '\n';
  if (f) fclose(f);
  return lines;
}

/* Run it in the background; kill it for good once 'lines' things are done. */
static void run_and_kill(int lines) {
  char model[64], tokens[128], out[128], ledger[256];
  snprintf(model, sizeof model, "%s", folder);
  snprintf(tokens, sizeof tokens, "%s/tokens", folder);
  snprintf(out, sizeof out, "%s/killed", folder);
  snprintf(ledger, sizeof ledger, "%s/killed/ledger.jsonl", folder);
  const pid_t child = fork();
  if (!child) {
    execl(QP_BINARY_DIR "/qpal", "qpal", "calibrate", model, "--tokens", tokens, "-o", out,
          "--probes", "64", "--threads", "1", (char *)NULL);
    _exit(9);
  }
  const struct timespec pause = {.tv_nsec = 1000000};
  while (lines_of(ledger) < lines) {
    int status;
    cr_assert_eq(waitpid(child, &status, WNOHANG), 0, "the run ended before it could be killed");
    nanosleep(&pause, NULL);
  }
  kill(child, SIGKILL);
  int status;
  waitpid(child, &status, 0);
  cr_assert(WIFSIGNALED(status));
}

Test(calibrate, a_killed_run_goes_on_and_ends_with_the_same_bytes) {
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/whole --probes 64 --threads 1");
  run_and_kill(2); /* among the Hessians */
  expect(2, "there is no calibration.json",
         "plan --model %s/config.json --bits 4 --calibration %s/killed");
  run_and_kill(8); /* among the sensitivities */
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/killed --probes 64 --threads 1");
  expect_same("calibration.json");
  expect_same("sensitivity.json");
  expect_same("hessians/index.json");
  expect_same("hessians/model.layers.1.down.safetensors");
  expect_same("hessians/lm_head.safetensors");
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/killed --probes 64 --threads 1");
  expect(2, "field 'probes' of its calibration.json is 64, and 3 is asked for: give another -o",
         "calibrate %s --tokens %s/tokens -o %s/killed --probes 3");
}

/* As the key was before calibration.json told the digest of all weights. */
static void earlier_key(char out[33]) {
  bench b = open_bench();
  const qp_tokens *t = &b.tokens;
  const uint64_t facts[] = {1,    3, b.m->layers, b.m->hidden, b.m->vocab,
                            true, 0, 0,           1,           t->sequences};
  const double noise = 0.01;
  XXH3_state_t s;
  XXH3_128bits_reset(&s);
  XXH3_128bits_update(&s, facts, sizeof facts);
  XXH3_128bits_update(&s, &noise, sizeof noise);
  XXH3_128bits_update(&s, t->end, t->sequences * sizeof *t->end);
  XXH3_128bits_update(&s, t->id, TOKENS * sizeof *t->id);
  for (unsigned i = 0; i < 2; i++) {
    static float w[1 << 16];
    const unsigned l = i ? b.m->linears - 1 : 0;
    const size_t n = (size_t)b.m->linear[l].rows * b.m->linear[l].columns;
    cr_assert_leq(n, sizeof w / sizeof *w);
    cr_assert_eq(qp_forward_weights(b.f, i ? b.m->layers - 1 : 0, l, w, &err), QP_OK);
    XXH3_128bits_update(&s, w, n * sizeof *w);
  }
  const XXH128_hash_t h = XXH3_128bits_digest(&s);
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
  close_bench(&b);
}

/* What is there of other wishes is told by what differs; what an earlier qpal made is used. */
Test(calibrate, a_calibration_of_other_wishes_says_in_what_it_differs) {
  static const char make[] = "calibrate %s --tokens %s/tokens -o %s/cal --no-sensitivities";
  static const char edit[] = "sed -i '%s' %s/cal/calibration.json";
  char key[33], change[128];
  expect(0, "", make);
  expect(2, "field 'tokens' of its calibration.json is 96, and 80 is asked for",
         "calibrate %s --tokens %s/tokens -o %s/cal --no-sensitivities --tokens-used 80");
  expect(2, "field 'sensitivity_tokens'", "calibrate %s --tokens %s/tokens -o %s/cal");
  run_shell("sed -i '1s/^[0-9]*/63/' %s/tokens%s", folder, "");
  expect(2, "field 'token_ids'", make);
  make_files_again();
  expect(0, "", make);
  run_shell("printf x | dd of='%s/model.safetensors' bs=1 conv=notrunc 2>/dev/null "
            "seek=$(($(stat -c %%s '%s/model.safetensors') - 1))",
            folder, folder);
  expect(2, "field 'weights'", make);
  make_files_again();
  run_shell(edit, "s/\"key\": \"../&x/", folder);
  expect(2, "measured by another method", make);
  earlier_key(key);
  snprintf(change, sizeof change, "s/\"key\": .*/\"key\": \"%s\",/; /\"token_ids\"/d", key);
  run_shell(edit, change, folder);
  expect(2, "measured by another method", make);
  run_shell(edit, "/\"weights\"/d", folder);
  expect(0, "an earlier qpal made it", make);
  run_shell(edit, "s/\"key\": \"../&x/", folder);
  expect(2, "measured by another method", make);
}

/* ---- Hessians ---- */

typedef struct seen {
  double *sum; /* of x x^T of the first block's first group */
  unsigned columns;
  size_t rows;
} seen;

static qp_status see(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                     unsigned columns, qp_error *e) {
  seen *s = arg;
  (void)e;
  if (block || group) return QP_OK;
  s->columns = columns;
  s->rows += rows;
  for (size_t r = 0; r < rows; r++)
    for (size_t a = 0; a < columns; a++)
      for (size_t c = 0; c < columns; c++)
        s->sum[a * columns + c] += (double)x[r * columns + a] * (double)x[r * columns + c];
  return QP_OK;
}

static double rounding = 1e-5;

static void expect_hessian(const char *hessians, const char *linear, const seen *s) {
  qp_hessian h;
  float *m;
  cr_assert_eq(qp_hessian_open(hessians, linear, 64, s->columns, &h, &err), QP_OK, "%s", err.text);
  cr_assert_eq(h.groups, 1, "%s has none", linear);
  cr_assert_eq(qp_hessian_read(&h, 0, NULL, 1, &m, &err), QP_OK);
  for (size_t i = 0; i < (size_t)s->columns * s->columns; i++) {
    const double wanted = s->sum[i] / (double)s->rows;
    cr_assert_float_eq(m[i], wanted, rounding * (1 + fabs(wanted)), "%s [%zu]", linear, i);
  }
  free(m);
  qp_hessian_close(&h);
}

/* What the first block's linears read, by a forward pass of the test's own. */
static void see_first_block(seen *s) {
  bench b = open_bench();
  const qp_forward_hook hook = {.input = see, .arg = s};
  float *h = states(&b, 0);
  cr_assert_eq(qp_forward_block(b.f, 0, &b.s, &hook, h, &err), QP_OK);
  free(h);
  close_bench(&b);
}

Test(calibrate, hessians_are_of_what_the_linears_read_and_stored_once) {
  double sum[64 * 64] = {0};
  seen s = {.sum = sum};
  see_first_block(&s);
  expect(0, "", "calibrate %s --tokens %s/tokens -o %s/cal --no-sensitivities");
  char path[128];
  snprintf(path, sizeof path, "%s/cal/hessians", folder);
  expect_hessian(path, "model.layers.0.self_attn.q_proj", &s);
  expect_hessian(path, "model.layers.0.self_attn.v_proj", &s);
  expect(0, "9\n", "list gpus >/dev/null; ls %s/cal/hessians/*.safetensors | wc -l");
}

/* On a device products read fp16, which are what is added up. */
Test(calibrate, a_device_gives_nearly_the_same_hessians_and_says_that_it_was_one) {
  double sum[64 * 64] = {0};
  seen s = {.sum = sum};
  see_first_block(&s);
  expect(0, "", "calibrate %s --tokens %s/tokens -o %s/dev --no-sensitivities --device sim");
  char path[128];
  snprintf(path, sizeof path, "%s/dev/hessians", folder);
  rounding = 2e-3;
  expect_hessian(path, "model.layers.0.self_attn.q_proj", &s);
  expect(0, "\"products\": \"fp16\"", "list gpus >/dev/null; cat %s/dev/calibration.json");
  expect(2, "field 'products' of its calibration.json is fp16, and fp32",
         "calibrate %s --tokens %s/tokens -o %s/dev --no-sensitivities");
}

Test(calibrate, plan_and_quantize_use_it_and_say_so_without_it) {
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/cal");
  expect(0, "--calibration",
         "plan --model %s/config.json --bits 4 --quantizers nuq -o %s/plain.json");
  expect(
      0, "nuq",
      "plan --model %s/config.json --bits 4 --quantizers nuq --calibration %s/cal -o %s/plan.json");
  cr_assert_null(strstr(text, "qpal calibrate"), "%s", text);
  cr_assert_not_null(strstr(text, "with error feedback, as measured"), "%s", text);
  expect(0, "--calibration", "quantize %s --plan %s/plan.json -o %s/out0");
  expect(0, "", "quantize %s --plan %s/plan.json -o %s/out1 --calibration %s/cal");
  cr_assert_null(strstr(text, "qpal calibrate"), "%s", text);
  cr_assert_null(strstr(text, "other files"), "%s", text);
  run_shell("cd %s && mkdir tuned && cp config.json tuned && perl -0777pe "
            "'s/(.)$/chr(1 ^ ord $1)/se' model.safetensors >%s/tuned/model.safetensors",
            folder, folder);
  expect(0, "/cal was measured on other files than",
         "quantize %s/tuned --plan %s/plan.json -o %s/out1b --calibration %s/cal");
  expect(0, "", "quantize %s --plan %s/plan.json -o %s/out2 --hessian %s/cal/hessians");
  run_shell("cmp %s/out1/model-00001-of-00001.safetensors %s/out2/model-00001-of-00001.safetensors",
            folder, folder);
  expect(0, "with error feedback, as measured",
         "plan --model %s/config.json --bits 4 --quantizers nuq --hessian %s/cal/hessians "
         "--sensitivity %s/cal/sensitivity.json -o %s/again.json");
  expect(0, "0 of 15 linears differ", "plan --diff %s/plan.json %s/again.json");
  expect(0, "quantize needs Hessians",
         "plan --model %s/config.json --bits 4 --quantizers nuq "
         "--sensitivity %s/cal/sensitivity.json");
  expect(2, "give one",
         "quantize %s --plan %s/plan.json -o %s/out3 --hessian x --calibration %s/cal");
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/bare --no-hessians");
  expect(2, "it holds no Hessians",
         "quantize %s --quantizer nuq-3 -o %s/out3 --calibration %s/bare");
  expect(0, "", "calibrate %s --tokens %s/tokens -o %s/other --no-sensitivities");
  expect(0, "a guess by role and depth",
         "plan --model %s/config.json --bits 4 --quantizers nuq --calibration %s/other");
  cr_assert_not_null(strstr(text, "linears have Hessians"), "%s", text);
}

Test(calibrate, sensitivities_are_those_with_error_feedback_where_hessians_are_measured) {
  bench b = open_bench();
  const unsigned linear = b.m->linears - 1;
  char path[128], name[QP_MODEL_NAME];
  qp_calibration c;
  qp_hessian h;
  float *moments, *hidden = states(&b, 1);
  double alpha, error;
  expect(0, "down", "calibrate %s --tokens %s/tokens -o %s/cal --probes 1");
  snprintf(path, sizeof path, "%s/cal", folder);
  qp_model_tensor(b.m, linear, 1, name);
  cr_assert_eq(qp_calibration_open(path, &c, &err), QP_OK, "%s", err.text);
  cr_assert(qp_calibration_find(&c, name, &alpha, &error));
  cr_assert_eq(qp_hessian_open(c.hessian, name, b.m->linear[linear].rows,
                               b.m->linear[linear].columns, &h, &err),
               QP_OK);
  cr_assert_eq(qp_hessian_read(&h, 0, NULL, 1, &moments, &err), QP_OK);
  qp_sensitivity_options o = {.noise = 0.01, .probes = 1, .seed = 1, .hessian = moments};
  qp_probe *p;
  qp_sensitivity fed, white;
  cr_assert_eq(qp_probe_open(b.f, &b.s, 1 << 30, &p, &err), QP_OK);
  cr_assert_eq(qp_probe_measure(p, &o, 1, linear, hidden, &fed, &err), QP_OK);
  o.hessian = NULL;
  cr_assert_eq(qp_probe_measure(p, &o, 1, linear, hidden, &white, &err), QP_OK);
  cr_expect_float_eq(alpha, fed.alpha, 1e-6 * fed.alpha);
  cr_expect(fabs(white.alpha - fed.alpha) > 0.05 * fed.alpha, "%g %g", white.alpha, fed.alpha);
  qp_probe_close(p);
  qp_hessian_close(&h);
  qp_calibration_close(&c);
  free(moments);
  free(hidden);
  close_bench(&b);
}

/* ---- Sensitivities by gradients ---- */

/* The mean over many draws of tokens, of linear 'linear' of block 1. */
static double gradient_alpha(bench *b, const char *hessians, unsigned linear) {
  enum { DRAWS = 60 };
  qp_sensitivity *out = malloc((size_t)b->m->layers * b->m->linears * sizeof *out);
  char path[128];
  double sum = 0;
  snprintf(path, sizeof path, "%s/gradients", folder);
  for (unsigned i = 0; i < DRAWS; i++) {
    const qp_gradient_options o = {.seed = 1000 + i, .hessians = hessians, .file = path};
    unlink(path);
    cr_assert_eq(qp_gradient_sensitivities(b->f, &b->s, &o, out, &err), QP_OK, "%s", err.text);
    sum += out[b->m->linears + linear].alpha / DRAWS;
  }
  free(out);
  return sum;
}

Test(calibrate, gradients_give_the_divergence_that_noise_causes) {
  bench b = open_bench();
  for (unsigned linear = 0; linear < b.m->linears; linear++) {
    const double wanted = measure(&b, 1 << 30, 1, linear, 16, 0.0025).alpha;
    const double got = gradient_alpha(&b, NULL, linear); /* of q and k 1e-7: all is rounding */
    cr_expect_float_eq(got, wanted, 0.15 * wanted + 2e-6, "%s: %g for %g", b.m->linear[linear].role,
                       got, wanted);
  }
  close_bench(&b);
}

Test(calibrate, gradients_know_what_error_feedback_leaves) {
  bench b = open_bench();
  char path[128];
  float *hidden = states(&b, 1);
  qp_probe *p;
  expect(0, "", "calibrate %s --tokens %s/tokens -o %s/cal --no-sensitivities");
  snprintf(path, sizeof path, "%s/cal/hessians", folder);
  cr_assert_eq(qp_probe_open(b.f, &b.s, 1 << 30, &p, &err), QP_OK, "%s", err.text);
  for (unsigned linear = 2; linear < b.m->linears; linear += 4) {
    qp_sensitivity_options o = {.noise = 0.0025, .probes = 16, .seed = 1};
    char name[QP_MODEL_NAME];
    qp_sensitivity fed;
    qp_hessian h;
    float *moments;
    qp_model_tensor(b.m, linear, 1, name);
    cr_assert_eq(qp_hessian_open(path, name, b.m->linear[linear].rows, b.m->linear[linear].columns,
                                 &h, &err),
                 QP_OK);
    cr_assert_eq(qp_hessian_read(&h, 0, NULL, 1, &moments, &err), QP_OK);
    o.hessian = moments;
    cr_assert_eq(qp_probe_measure(p, &o, 1, linear, hidden, &fed, &err), QP_OK);
    const double got = gradient_alpha(&b, path, linear);
    cr_expect_float_eq(got, fed.alpha, 0.15 * fed.alpha, "%s: %g for %g", name, got, fed.alpha);
    qp_hessian_close(&h);
    free(moments);
  }
  qp_probe_close(p);
  free(hidden);
  close_bench(&b);
}

Test(calibrate, gradients_go_on_behind_what_is_whole_in_their_file) {
  bench b = open_bench();
  const size_t units = (size_t)b.m->layers * b.m->linears;
  qp_sensitivity whole[64], torn[64];
  char path[128];
  static const double first[64];
  snprintf(path, sizeof path, "%s/gradients", folder);
  cr_assert_leq(units, 64);
  _Atomic size_t done = 0;
  const size_t work = b.s.count * b.m->layers * (QP_GRADIENT_FORTH + QP_GRADIENT_BACK);
  const qp_gradient_options o = {.seed = 1, .file = path, .done = &done};
  cr_assert_eq(qp_gradient_sensitivities(b.f, &b.s, &o, whole, &err), QP_OK, "%s", err.text);
  cr_assert(whole[3].alpha > 0 && whole[3].error > 0);
  cr_expect_eq(atomic_exchange(&done, 0), work);
  cr_assert_eq(truncate(path, (off_t)(units * sizeof(double) + 5)), 0);
  cr_assert_eq(qp_gradient_sensitivities(b.f, &b.s, &o, torn, &err), QP_OK, "%s", err.text);
  cr_expect_eq(atomic_load(&done), work, "what was there is counted");
  for (size_t i = 0; i < units; i++) {
    cr_expect_eq(torn[i].alpha, whole[i].alpha);
    cr_expect_eq(torn[i].error, whole[i].error);
  }
  const _Atomic bool stopped = true;
  const qp_gradient_options ending = {.seed = 1, .file = path, .stopped = &stopped};
  cr_expect_eq(qp_gradient_sensitivities(b.f, &b.s, &ending, torn, &err), QP_OK); /* it is read */
  cr_expect_eq(torn[0].alpha, whole[0].alpha);
  FILE *f = fopen(path, "r+"); /* zeros, as a disk leaves them that lost its power, count nothing */
  fwrite(first, sizeof *first, units, f);
  fclose(f);
  cr_expect_eq(qp_gradient_sensitivities(b.f, &b.s, &o, torn, &err), QP_OK, "%s", err.text);
  cr_expect_eq(torn[0].alpha, whole[0].alpha);
  cr_assert_eq(truncate(path, 0), 0);
  cr_expect_eq(qp_gradient_sensitivities(b.f, &b.s, &ending, torn, &err), QP_E_LIMIT);
  close_bench(&b);
}

/* ---- The ledger ---- */

static void write_text(const char *path, const char *s) {
  FILE *f = fopen(path, "w");
  fputs(s, f);
  fclose(f);
}

Test(calibrate, a_ledger_drops_a_torn_line_and_refuses_another_run) {
  char path[128];
  qp_ledger *l = NULL;
  qp_sensitivity s = {0};
  bench b = open_bench();
  snprintf(path, sizeof path, "%s/ledger", folder);
  write_text(path, "{\"ledger\":\"qpal-calibrate\",\"key\":\"k\"}\n"
                   "{\"block\":0,\"linear\":1,\"alpha\":0.1,\"error\":0.01}\n{\"block\":0,\"lin");
  cr_assert_eq(qp_ledger_open(path, "other", b.m, &l, &err), QP_E_ARG);
  cr_assert_eq(qp_ledger_open(path, "k", b.m, &l, &err), QP_OK, "%s", err.text);
  cr_assert(qp_ledger_sensitivity(l, 0, 1, &s) && s.alpha == 0.1 && s.error == 0.01);
  cr_assert_not(qp_ledger_sensitivity(l, 0, 2, &s));
  cr_assert_not(qp_ledger_has_hessians(l, 0));
  s.alpha = 0.12345678901234567;
  cr_assert_eq(qp_ledger_add_sensitivity(l, b.m->layers, b.m->linears, &s, &err), QP_OK);
  cr_assert_eq(qp_ledger_add_hessians(l, 1, &err), QP_OK);
  qp_ledger_close(l, false);
  cr_assert_eq(qp_ledger_open(path, "k", b.m, &l, &err), QP_OK, "%s", err.text);
  s.alpha = 0;
  cr_assert(qp_ledger_sensitivity(l, b.m->layers, b.m->linears, &s));
  cr_assert_eq(s.alpha, 0.12345678901234567);
  cr_assert(qp_ledger_has_hessians(l, 1));
  qp_ledger_close(l, true);
  cr_assert_neq(access(path, F_OK), 0, "removed");
  write_text(path, "{\"ledger\":\"qpal-calibrate\",\"key\":\"k\"}\n{\"block\":9,\"linear\":1}\n");
  cr_assert_eq(qp_ledger_open(path, "k", b.m, &l, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "ledger:2") && strstr(err.text, "block"), "%s", err.text);
  close_bench(&b);
}
