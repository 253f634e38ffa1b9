/* SPDX-License-Identifier: MIT */
/* qpal refine: what is trained, what is written, and what is refused. */
#include <limits.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/base/json.h"
#include "tests/model/forward_kit.h"
#include "tests/quantize/quantize_kit.h"
#include "tuner/refine/refine.h"
#include "tuner/refine/rewrite.h"

#define SHARD "model-00001-of-00001.safetensors"

enum { SEQUENCES = 12, LENGTH = 24, MOST_WORDS = 8192 };

/* "in", "out" (packed), ids to train on and other ids. */
static void write_ids(const char *name, unsigned seed, unsigned sequences, unsigned length) {
  char *ids = malloc(MOST_WORDS);
  size_t n = 0;
  qp_random r = {seed};
  cr_assert(ids);
  for (unsigned i = 0; i < sequences * length; i++)
    n += (size_t)snprintf(ids + n, MOST_WORDS - n, "%u%c", 3 + (unsigned)(qp_random_next(&r) % 93),
                          (i + 1) % length ? ' ' : '\n');
  write_text(path("%s", name), ids);
  free(ids);
}

static void make_packed(const kit_family *family, const char *options) {
  char in[512];
  snprintf(in, sizeof in, "%s", path("in"));
  cr_assert_eq(mkdir(in, 0777), 0);
  cr_assert_eq(kit_write(in, family->config, &err), QP_OK, "%s", err.text);
  cr_assert_eq(quantize(options, "out"), 0, "%s", answer);
  write_ids("train.tokens", 1, SEQUENCES, LENGTH);
  write_ids("other.tokens", 2, SEQUENCES, LENGTH);
}

static const kit_family *family_of(const char *name) {
  unsigned i = 0;
  while (i < KIT_FAMILIES && strcmp(kit_families[i].name, name) != 0) i++;
  cr_assert(i < KIT_FAMILIES, "%s", name);
  return &kit_families[i];
}

TestSuite(refine, .init = make_folder, .fini = remove_folder);

static int refine(const char *options, const char *to) {
  char arguments[2560];
  snprintf(arguments, sizeof arguments,
           "refine '%s' --against '%s' --tokens '%s' --context %u --batch %u %s -o '%s'",
           path("out"), path("in"), path("train.tokens"), LENGTH, 2 * LENGTH, options,
           path("%s", to));
  return ask(arguments);
}

/* The number behind "NAME": in the last answer, or in a file. */
static double number_in(const char *text, const char *name) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\":", name);
  const char *at = strstr(text, key);
  cr_assert(at, "%s is missing in %s", name, text);
  return strtod(at + strlen(key), NULL);
}

static double divergence(const char *model, const char *ids) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments,
           "evaluate '%s' --against '%s' --tokens '%s' --context 1000 --json", path("%s", model),
           path("in"), path("%s", ids));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  return number_in(answer, "kl_divergence");
}

static double said(const char *model, const char *name) {
  size_t bytes;
  char *config = read_file(path("%s/config.json", model), &bytes);
  config[bytes] = 0;
  const double v = number_in(strstr(config, "\"refined\":"), name);
  free(config);
  return v;
}

static bool is_trained(const char *name) {
  return strstr(name, "row_scales") || strstr(name, "norm");
}

/* Tensors are the same in name, type and bytes, but for the values of scales and norms. */
static void expect_same_codes(const char *one, const char *other) {
  qp_safetensors *a, *b;
  size_t changed = 0;
  cr_assert_eq(qp_safetensors_open(path("%s", one), &a, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_open(path("%s", other), &b, &err), QP_OK, "%s", err.text);
  cr_expect_eq(qp_safetensors_count(a), qp_safetensors_count(b));
  for (size_t i = 0; i < qp_safetensors_count(a); i++) {
    const qp_tensor *x = qp_safetensors_get(a, i), *y = qp_safetensors_find(b, x->name);
    cr_assert(y && y->type == x->type && y->bytes == x->bytes && y->offset % 2 == 0, "%s", x->name);
    const bool same = !memcmp(x->data, y->data, x->bytes);
    changed += !same;
    cr_expect_eq(same, !is_trained(x->name), "%s", x->name);
    if (strstr(x->name, ".codes.")) cr_expect_eq(y->offset % 128, 0, "%s", x->name);
  }
  cr_expect_gt(changed, 4 * 7, "scales of all linears");
  cr_expect_str_neq(qp_safetensors_metadata(a, 0, "job"), qp_safetensors_metadata(b, 0, "job"));
  qp_safetensors_close(a);
  qp_safetensors_close(b);
}

/* Every field of "refined" is in the document of the format. */
static void expect_documented(const char *model) {
  size_t bytes;
  char *text = read_file(QP_SOURCE_DIR "/runtime/PACKED.md", &bytes);
  text[bytes] = 0;
  const char *from = strstr(text, "\"refined\": {");
  cJSON *config = NULL;
  cr_assert_eq(qp_json_read(path("%s/config.json", model), &config, &err), QP_OK, "%s", err.text);
  const cJSON *said = cJSON_GetObjectItem(cJSON_GetObjectItem(config, "quantization"), "refined");
  cr_assert(from && said && said->child);
  *strchr(from, '}') = 0;
  for (const cJSON *field = said->child; field; field = field->next) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", field->string);
    cr_expect(strstr(from, key), "%s", key);
  }
  cJSON_Delete(config);
  free(text);
}

Test(refine, lowers_the_divergence_on_other_text_with_the_same_codes) {
  char arguments[1024];
  make_packed(family_of("llama"), "--quantizer nuq-2");
  cr_assert_eq(refine("--steps 30 --rate 0.01", "refined"), 0, "%s", answer);
  const double before = divergence("out", "other.tokens");
  const double after = divergence("refined", "other.tokens");
  cr_expect_lt(after, 0.9 * before, "%g -> %g", before, after);
  expect_same_codes("out", "refined");
  expect_documented("refined");
  snprintf(arguments, sizeof arguments, "verify '%s'", path("refined"));
  cr_expect_eq(ask(arguments), 0, "%s", answer);
  cr_expect(strstr(answer, "PASS"), "%s", answer);
}

/* The last of so few sequences is held out; one more token behind it is predicted by its last. */
static void write_held_out(void) {
  size_t bytes;
  char *ids = read_file(path("train.tokens"), &bytes), longer[1024];
  ids[bytes - 1] = 0;
  snprintf(longer, sizeof longer, "%s 5\n", strrchr(ids, '\n') + 1);
  write_text(path("held.tokens"), longer);
  *(strrchr(ids, '\n') + 1) = 0;
  free(ids);
}

/* Norms of gemma add 1 to their weights, and stand in six places of gemma3. */
static void check_written(const char *name) {
  make_packed(family_of(name), "--quantizer nuq-4");
  write_ids("train.tokens", 1, 4, LENGTH);
  write_held_out();
  cr_assert_eq(refine("--steps 12 --rate 0.003", "refined"), 0, "%s", answer);
  cr_expect_gt(said("refined", "best_step"), 0);
  cr_expect_eq(said("refined", "held_out"), LENGTH);
  const double was = divergence("out", "held.tokens"), is = divergence("refined", "held.tokens");
  cr_expect_float_eq(was, said("refined", "kl_before"), 1e-3 * was, "%g", was);
  cr_expect_float_eq(is, said("refined", "kl_after"), 1e-3 * is, "%g", is);
  cr_expect_lt(is, was);
}

Test(refine, writes_what_was_trained_where_norms_add_one) { check_written("gemma3"); }
Test(refine, writes_what_was_trained_where_q_k_and_v_are_one) { check_written("phi3"); }

Test(refine, gives_the_same_bytes_for_a_seed) {
  char command[2048];
  make_packed(family_of("qwen2"), "--quantizer nuq-3");
  cr_assert_eq(refine("--steps 3 --threads 2", "one"), 0, "%s", answer);
  cr_assert_eq(refine("--steps 3 --threads 2", "again"), 0, "%s", answer);
  cr_assert_eq(refine("--steps 3 --threads 2 --seed 2", "other"), 0, "%s", answer);
  snprintf(command, sizeof command, "diff -r '%s' '%s'", path("one"), path("again"));
  cr_expect_eq(system(command), 0);
  snprintf(command, sizeof command, "cmp -s '%s' '%s'", path("one/" SHARD), path("other/" SHARD));
  cr_expect_neq(system(command), 0);
}

Test(refine, keeps_the_scales_where_no_step_is_better) {
  make_packed(family_of("llama"), "--quantizer nuq-8");
  cr_assert_eq(refine("--steps 2 --rate 0.1", "refined"), 0, "%s", answer);
  cr_expect_eq(said("refined", "best_step"), 0);
  cr_expect_float_eq(divergence("refined", "other.tokens"), divergence("out", "other.tokens"),
                     1e-12);
}

/* ---- Going on ---- */

typedef struct stopping {
  unsigned at;
  _Atomic bool stopped;
} stopping;

static void stop(void *arg, unsigned step, double kl, double seconds) {
  stopping *s = arg;
  (void)kl, (void)seconds;
  if (step == s->at) atomic_store(&s->stopped, true);
}

/* The factors of a training that is stopped after step 'at' (0: never), malloc'ed. */
static double *train(unsigned at, const char *file, size_t *count, qp_status expected) {
  stopping s = {.at = at ? at : UINT_MAX};
  qp_models *models;
  qp_forward *model, *source;
  qp_tokens tokens;
  qp_factors x;
  qp_safetensors *files;
  qp_refine_result result;
  const qp_forward_options one = {.threads = 1};
  const qp_refine_options o = {.steps = 8,
                               .seed = 3,
                               .batch = 2 * LENGTH,
                               .held = 2 * LENGTH,
                               .rate = 0.01,
                               .file = file,
                               .stopped = &s.stopped,
                               .tell = stop,
                               .arg = &s};
  cr_assert_eq(qp_tokens_read(path("train.tokens"), &tokens, &err), QP_OK);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_assert_eq(qp_forward_open(path("out"), models, &one, &model, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_forward_open(path("in"), models, &one, &source, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_open(path("out"), &files, &err), QP_OK);
  cr_assert_eq(qp_factors_open(model, qp_rewrite_has, files, &x, &err), QP_OK);
  cr_assert_eq(qp_refine(model, source, &tokens, &o, &x, &result, &err), expected, "%s", err.text);
  double *log = malloc(x.count * sizeof *log);
  memcpy(log, x.log, x.count * sizeof *log);
  *count = x.count;
  qp_factors_close(&x);
  qp_safetensors_close(files);
  qp_forward_close(model);
  qp_forward_close(source);
  qp_models_close(models);
  qp_tokens_free(&tokens);
  return log;
}

Test(refine, a_run_that_was_stopped_ends_with_the_same_factors) {
  char file[512];
  size_t count, again;
  make_packed(family_of("llama"), "--quantizer nuq-2");
  snprintf(file, sizeof file, "%s", path("part"));
  double *whole = train(0, NULL, &count, QP_OK);
  free(train(4, file, &again, QP_E_LIMIT));
  cr_expect_eq(access(file, F_OK), 0);
  double *rest = train(4, file, &again, QP_OK); /* it goes on behind that step */
  cr_assert_eq(count, again);
  cr_expect_arr_eq(rest, whole, count * sizeof *whole);
  free(whole);
  free(rest);
}

/* A byte in the middle of a tensor of a folder's weights is another. */
static void change_tensor(const char *of, const char *name) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", of), &s, &err), QP_OK, "%s", err.text);
  const qp_tensor *t = qp_safetensors_find(s, name);
  cr_assert(t, "%s", name);
  FILE *f = fopen(qp_safetensors_shard_path(s, t->shard), "r+b");
  cr_assert(f && !fseek(f, (long)(t->offset + t->bytes / 2), SEEK_SET));
  cr_assert(fputc(t->data[t->bytes / 2] ^ 1, f) != EOF && !fclose(f));
  qp_safetensors_close(s);
}

Test(refine, a_run_whose_models_were_changed_in_their_place_begins_anew) {
  static const char *const changed[][2] = {{"in", "model.layers.1.mlp.up_proj.weight"},
                                           {"out", "model.layers.0.self_attn.o_proj.row_scales"}};
  char file[512];
  size_t count;
  make_packed(family_of("llama"), "--quantizer nuq-2");
  snprintf(file, sizeof file, "%s", path("part"));
  free(train(4, file, &count, QP_E_LIMIT));
  for (unsigned i = 0; i < 2; i++) {
    change_tensor(changed[i][0], changed[i][1]);
    free(train(4, file, &count, QP_E_LIMIT)); /* it comes to that step again */
  }
  free(train(4, file, &count, QP_OK));
}

Test(refine, a_training_that_was_damaged_begins_anew) {
  char file[512];
  size_t count, bytes = 0;
  char *text = NULL;
  make_packed(family_of("llama"), "--quantizer nuq-2");
  snprintf(file, sizeof file, "%s", path("part"));
  free(train(2, file, &count, QP_E_LIMIT));
  cr_assert_eq(qp_file_read(file, 1 << 20, &text, &bytes, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < 4; i++) { /* its key, a place, an order, a factor */
    const size_t at[] = {1, 40, 200, bytes - 1};
    text[at[i]] ^= 0x40;
    cr_assert_eq(qp_file_write(file, text, bytes, &err), QP_OK);
    text[at[i]] ^= 0x40;
    free(train(2, file, &count, QP_E_LIMIT));
  }
  free(text);
}

static void expect_refused(const char *options, const char *to, const char *part) {
  cr_expect_eq(refine(options, to), 2, "%s", options);
  cr_expect(strstr(answer, part), "%s: %s", options, answer);
  cr_expect_null(strstr(answer, "kl_held_out"), "no heading over nothing: %s", answer);
}

Test(refine, cuts_a_short_text_in_two_where_nobody_says_how_long_pieces_are) {
  char arguments[2048];
  make_packed(family_of("llama"), "--quantizer nuq-2");
  snprintf(arguments, sizeof arguments,
           "refine '%s' --against '%s' --tokens '%s' --tokens-used 12 --steps 1 -o '%s'",
           path("out"), path("in"), path("train.tokens"), path("refined"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_expect(strstr(answer, "a text of 12 tokens is short; pieces of it have 6, not 1024"), "%s",
            answer);
}

Test(refine, refuses_bad_input_and_writes_nothing) {
  char arguments[2048];
  make_packed(family_of("llama"), "--quantizer nuq-2");
  expect_refused("--rate 0.5", "refined", "--rate 0.5: from 0.000001 to 0.1");
  expect_refused("--batch 0", "refined", "--batch");
  expect_refused("--text x", "refined", "not both");
  expect_refused("--context 1000 --tokens-used 20", "refined", "--context");
  expect_refused("", "out", "config.json: there is one already; choose another -o");
  snprintf(arguments, sizeof arguments, "refine '%s' --against '%s' --tokens '%s' -o '%s'",
           path("in"), path("in"), path("train.tokens"), path("refined"));
  cr_expect_eq(ask(arguments), 2);
  cr_expect(strstr(answer, "quantization"), "%s", answer);
  cr_expect_neq(access(path("refined"), F_OK), 0);
}
