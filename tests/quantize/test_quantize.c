/* SPDX-License-Identifier: MIT */
/* qpal quantize, as a user calls it, on a small llama: what it writes is what the weights were. */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/json.h"
#include "tests/quantize/quantize_kit.h"

enum { HIDDEN = 96, MIDDLE = 192, VOCAB = 48, KV = 48, BLOCKS = 2 };

/* ---- A checkpoint ---- */

static const struct linear {
  const char *name, *group;
  unsigned rows, columns;
} linears[] = {
    {"self_attn.q_proj", "qkv", HIDDEN, HIDDEN}, {"self_attn.k_proj", "qkv", KV, HIDDEN},
    {"self_attn.v_proj", "qkv", KV, HIDDEN},     {"self_attn.o_proj", "o", HIDDEN, HIDDEN},
    {"mlp.up_proj", "up-gate", MIDDLE, HIDDEN},  {"mlp.gate_proj", "up-gate", MIDDLE, HIDDEN},
    {"mlp.down_proj", "down", HIDDEN, MIDDLE}};
enum { LINEARS = sizeof linears / sizeof *linears };

static float *linear_weights(unsigned block, unsigned l) {
  return weights_of(100 * block + l + 1, (size_t)linears[l].rows * linears[l].columns);
}

/* A palette of the user's own whose trellises are encoded in no time. */
static const char spec[] =
    "local function small(name, step)\n"
    "  return trellis { name = name, window = 10, dim = 2, step = step,\n"
    "    codebook = gaussian_kmeans { entries = 64, dim = 2, seed = 1 },\n"
    "    decode = function (s, c)\n"
    "      local h = s * 0x9e3779b1\n"
    "      return flip_sign(c[h >> 20 & 63], 1, h >> 31 & 1)\n"
    "    end }\n"
    "end\n"
    "return { small('two', 4), small('three', 6),\n"
    "  split { name = 'half', parts = { { 'two', 1/2 }, { 'three', 1/2 } } } }\n";

static void make_vocabulary(unsigned vocab) {
  char config[512];
  snprintf(
      config, sizeof config,
      "{\"model_type\": \"llama\", \"hidden_size\": 96, \"intermediate_size\": 192,"
      " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 48,"
      " \"num_hidden_layers\": 2, \"vocab_size\": %u, \"tie_word_embeddings\": true, \"own\": [1]}",
      vocab);
  pending p;
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned b = 0; b < BLOCKS; b++)
    for (unsigned l = 0; l < LINEARS; l++) {
      char name[128];
      snprintf(name, sizeof name, "model.layers.%u.%s.weight", b, linears[l].name);
      pending_add(&p, name, QP_TENSOR_F32, linears[l].rows, linears[l].columns,
                  linear_weights(b, l));
    }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, vocab, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_add(&p, "model.norm.weight", QP_TENSOR_F32, 0, HIDDEN, weights_of(10, HIDDEN));
  pending_write(&p);
  write_text(path("in/config.json"), config);
  write_text(path("own.lua"), spec);
}

static void make_own_checkpoint(void) { make_vocabulary(VOCAB); }

static void make_checkpoint(void) {
  make_folder();
  make_own_checkpoint();
}

TestSuite(quantize, .init = make_checkpoint, .fini = remove_folder);

/* The same with one of the user's own quantizers. */
static int quantize_own(const char *name, const char *options, const char *out) {
  char all[1024];
  snprintf(all, sizeof all, "--quantizer '%s:%s' %s", path("own.lua"), name, options);
  return quantize(all, out);
}

/* Every linear of an output is the checkpoint's up to an error that the rate allows. */
static void expect_weights(const char *out, const char *quantizer, bool rotated, double most) {
  qp_safetensors *s;
  const qp_quantizer *q = quantizer_of(quantizer);
  cr_assert_eq(qp_safetensors_open(path("%s", out), &s, &err), QP_OK, "%s", err.text);
  for (unsigned b = 0; b < BLOCKS; b++)
    for (unsigned l = 0; l < LINEARS; l++) {
      char name[128], signs[128];
      snprintf(name, sizeof name, "model.layers.%u.%s", b, linears[l].name);
      snprintf(signs, sizeof signs, "model.layers.%u.%s.signs", b, linears[l].group);
      float *w = linear_weights(b, l);
      const double error =
          output_error(s, name, rotated ? signs : NULL, q, w, linears[l].rows, linears[l].columns);
      cr_assert(error < most, "%s: relative error of y is %g", name, error);
      cr_assert(error > most / 30, "%s: %g is less than the rate allows", name, error);
      free(w);
    }
  qp_safetensors_close(s);
}

/* ---- Tests ---- */

Test(quantize, outputs_are_those_of_the_weights) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "14 linears"), "%s", answer);
  expect_weights("out", "nuq-4", true, 0.015);
}

Test(quantize, a_split_quantizer_stores_its_parts) {
  char name[512];
  cr_assert_eq(quantize_own("half", "", "out"), 0, "%s", answer);
  snprintf(name, sizeof name, "%s:half", path("own.lua"));
  expect_weights("out", name, true, 0.15);
}

Test(quantize, group_fields_are_stored) {
  cr_assert_eq(quantize("--quantizer mxfp4", "out"), 0, "%s", answer);
  expect_weights("out", "mxfp4", true, 0.03);
}

Test(quantize, without_rotation_there_are_no_signs) {
  qp_safetensors *s;
  cr_assert_eq(quantize("--quantizer nuq-6 --no-rotation", "out"), 0, "%s", answer);
  expect_weights("out", "nuq-6", false, 0.2);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK);
  for (size_t i = 0; i < qp_safetensors_count(s); i++)
    cr_assert_null(strstr(qp_safetensors_get(s, i)->name, ".signs"));
  qp_safetensors_close(s);
}

Test(quantize, what_is_not_quantized_stays_bit_for_bit) {
  qp_safetensors *s;
  float *embedding = weights_of(9, (size_t)VOCAB * HIDDEN), *q = linear_weights(1, 0);
  cr_assert_eq(quantize("--quantizer nuq-4 --keep layers.1.self_attn.q", "out"), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(memcmp(tensor(s, "model.embed_tokens.weight"), embedding, 4 * VOCAB * HIDDEN), 0);
  cr_assert_eq(memcmp(tensor(s, "model.layers.1.self_attn.q_proj.weight"), q, 4 * HIDDEN * HIDDEN),
               0);
  cr_assert_null(qp_safetensors_find(s, "model.layers.1.self_attn.q_proj.codes.0"));
  cr_assert_null(qp_safetensors_find(s, "model.layers.0.self_attn.k_proj.weight"));
  const qp_tensor *guard = qp_safetensors_find(s, "model.layers.0.self_attn.q_proj.weight");
  cr_assert(guard && guard->elements == 0, "the first stops loaders that know no packing");
  qp_safetensors_close(s);
  free(embedding);
  free(q);
}

Test(quantize, a_tied_head_is_packed_beside_the_embedding) {
  qp_safetensors *s;
  float *embedding = weights_of(9, (size_t)VOCAB * HIDDEN);
  cr_assert_eq(quantize("--quantizer nuq-4 --lm-head", "out"), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  cr_assert(qp_safetensors_find(s, "model.embed_tokens.weight"));
  cr_assert(output_error(s, "lm_head", "lm_head.signs", quantizer_of("nuq-4"), embedding, VOCAB,
                         HIDDEN) < 0.015);
  qp_safetensors_close(s);
  free(embedding);
}

Test(quantize, a_tied_embedding_is_packed_once_and_is_the_head_too) {
  qp_safetensors *s;
  float *embedding = weights_of(9, (size_t)VOCAB * HIDDEN);
  cr_assert_eq(quantize("--quantizer nuq-4 --embedding nuq-8 --lm-head --verify", "out"), 0, "%s",
               answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  cr_expect_null(qp_safetensors_find(s, "model.embed_tokens.weight"));
  cr_expect_null(qp_safetensors_find(s, "lm_head.codes.0"), "no second copy");
  cr_assert(output_error(s, "model.embed_tokens", "model.embed_tokens.signs", quantizer_of("nuq-8"),
                         embedding, VOCAB, HIDDEN) < 2e-4);
  qp_safetensors_close(s);
  free(embedding);
}

Test(quantize, an_odd_vocabulary_is_padded_by_rows_of_zeros) {
  qp_safetensors *s;
  cJSON *config;
  float *embedding = weights_of(9, (size_t)VOCAB * HIDDEN);
  make_vocabulary(41);
  cr_assert_eq(quantize("--quantizer nuq-4 --embedding nuq-8 --verify", "out"), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_json_read(path("out/config.json"), &config, &err), QP_OK, "%s", err.text);
  const cJSON *first = cJSON_GetObjectItem(cJSON_GetObjectItem(config, "quantization"), "linears");
  first = cJSON_GetArrayItem(first, 0);
  cr_expect_str_eq(cJSON_GetObjectItem(first, "name")->valuestring, "model.embed_tokens");
  cr_expect_eq(cJSON_GetObjectItem(first, "rows")->valuedouble, 48);
  cr_expect_eq(cJSON_GetObjectItem(first, "padding")->valuedouble, 7);
  memset(embedding + 41 * HIDDEN, 0, 7 * HIDDEN * sizeof *embedding);
  cr_assert(output_error(s, "model.embed_tokens", "model.embed_tokens.signs", quantizer_of("nuq-8"),
                         embedding, VOCAB, HIDDEN) < 2e-4);
  float *scale = scales_of(s, "model.embed_tokens", VOCAB);
  for (unsigned r = 41; r < VOCAB; r++) cr_expect_eq(scale[r], 0);
  free(scale);
  free(embedding);
  cJSON_Delete(config);
  qp_safetensors_close(s);
}

/* Is a tensor there, in an output made by a plan with these options? */
static void expect_planned(const char *options, const char *there, const char *missing) {
  char arguments[1024];
  qp_safetensors *s;
  snprintf(arguments, sizeof arguments, "plan --model '%s' --quantizers nuq-4 %s -o '%s'",
           path("in/config.json"), options, path("plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s'", path("plan.json"));
  cr_assert_eq(quantize(arguments, "out"), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  cr_expect(qp_safetensors_find(s, there), "%s: %s", options, there);
  cr_expect_null(qp_safetensors_find(s, missing), "%s: %s", options, missing);
  qp_safetensors_close(s);
  snprintf(arguments, sizeof arguments, "rm -r '%s'", path("out"));
  cr_assert_eq(system(arguments), 0);
}

Test(quantize, a_plan_says_what_becomes_of_the_embedding) {
  static const char table[] = "model.embed_tokens.weight", codes[] = "model.embed_tokens.codes.0";
  for (unsigned vocab = VOCAB; vocab; vocab = vocab == VOCAB ? 41 : 0) {
    make_vocabulary(vocab);
    expect_planned("", table, codes);
    expect_planned("--embedding plan", codes, table);
    expect_planned("--embedding nuq-8", codes, "lm_head.codes.0");
    expect_planned("--lm-head plan --embedding keep", table, codes);
    expect_planned("--lm-head plan --embedding keep", "lm_head.codes.0", codes);
  }
}

Test(quantize, the_bits_that_it_tells_are_the_bytes_that_it_stores) {
  qp_safetensors *s;
  cJSON *config, *report;
  cr_assert_eq(quantize_own("two", "", "out"), 0, "%s", answer);
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK);
  cr_assert_eq(qp_json_read(path("out/config.json"), &config, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_json_read(path("out/quantize-report.json"), &report, &err), QP_OK);
  double bytes = 0, weights = 0;
  for (size_t i = 0; i < qp_safetensors_count(s); i++) {
    const qp_tensor *t = qp_safetensors_get(s, i);
    const char *end = strrchr(t->name, '.');
    if (strcmp(end, ".weight") != 0) bytes += (double)t->bytes;
  }
  for (unsigned l = 0; l < LINEARS; l++) weights += BLOCKS * linears[l].rows * linears[l].columns;
  const cJSON *section = cJSON_GetObjectItem(config, "quantization");
  const double bits = cJSON_GetObjectItem(section, "bits_per_weight")->valuedouble;
  cr_assert_float_eq(bits, 8 * bytes / weights, 1e-9, "%g and %g", bits, 8 * bytes / weights);
  cr_assert_eq(cJSON_GetObjectItem(report, "weights")->valuedouble, weights);
  cr_assert(cJSON_GetObjectItem(config, "own"), "the checkpoint's own fields stay");
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(section, "linears")), BLOCKS * LINEARS);
  cJSON_Delete(config);
  cJSON_Delete(report);
  qp_safetensors_close(s);
}

Test(quantize, verify_decodes_by_reference_and_kernel) {
  cr_assert_eq(quantize_own("half", "--verify", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "PASS"), "%s", answer);
}

/* Change one byte in the middle of a tensor's data: of a float, the one of its exponent. */
static void damage(const char *out, const char *name) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", out), &s, &err), QP_OK);
  const qp_tensor *t = qp_safetensors_find(s, name);
  cr_assert(t);
  const size_t at = t->offset + t->bytes / 8 * 4 + 3;
  FILE *f = fopen(qp_safetensors_shard_path(s, t->shard), "r+b");
  cr_assert(f);
  fseek(f, (long)at, SEEK_SET);
  int c = fgetc(f);
  fseek(f, (long)at, SEEK_SET);
  fputc(c ^ 0x55, f);
  fclose(f);
  qp_safetensors_close(s);
}

Test(quantize, verify_sees_a_changed_byte) {
  static const char *const names[] = {"model.layers.1.mlp.up_proj.codes.0",
                                      "model.layers.0.self_attn.k_proj.row_scales",
                                      "model.layers.1.down.signs", "nuq-4.codebook.0"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char out[16];
    snprintf(out, sizeof out, "out%zu", i);
    cr_assert_eq(quantize("--quantizer nuq-4", out), 0, "%s", answer);
    damage(out, names[i]);
    cr_assert_eq(quantize("--quantizer nuq-4 --verify --row-groups 1", out), 1, "%s: %s", names[i],
                 answer);
    cr_assert(strstr(answer, "FAIL"), "%s: %s", names[i], answer);
  }
}

/* Files of encoded linears that a run has left so far. */
static unsigned encoded_so_far(const char *out) {
  unsigned n = 0;
  for (unsigned b = 0; b < BLOCKS; b++)
    for (unsigned l = 0; l < LINEARS; l++)
      n += !access(path("%s/.qpal/model.layers.%u.%s.safetensors", out, b, linears[l].name), F_OK);
  return n;
}

/* Start a run and kill it when 'linears' are done; false: it ended before. */
static bool kill_after(unsigned count, const char *quantizer) {
  char in[512], out[512];
  snprintf(in, sizeof in, "%s", path("in"));
  snprintf(out, sizeof out, "%s", path("killed"));
  pid_t child = fork();
  if (!child) {
    if (freopen("/dev/null", "w", stdout))
      execl(QP_BINARY_DIR "/qpal", "qpal", "quantize", in, "--quantizer", quantizer, "--threads",
            "1", "-o", out, NULL);
    _exit(99);
  }
  int status = 0;
  pid_t ended = 0;
  while (encoded_so_far("killed") < count && !(ended = waitpid(child, &status, WNOHANG)))
    usleep(200);
  if (!ended) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

/* Kill a run at several moments; the one that ends writes what an undisturbed one writes. */
Test(quantize, a_killed_run_goes_on_and_gives_the_same_files) {
  char quantizer[512];
  snprintf(quantizer, sizeof quantizer, "%s:half", path("own.lua"));
  cr_assert_eq(quantize_own("half", "", "whole"), 0, "%s", answer);
  unsigned kills = 0;
  for (unsigned count = 1; count < BLOCKS * LINEARS; count += 4)
    kills += kill_after(count, quantizer);
  cr_assert_gt(kills, 1, "runs end before they can be killed");
  cr_assert_gt(encoded_so_far("killed"), 1);
  cr_assert_eq(quantize_own("half", "", "killed"), 0, "%s", answer);
  cr_assert(strstr(answer, "were there already"), "%s", answer);
  cr_assert_neq(access(path("killed/.qpal"), F_OK), 0, "nothing is left behind");
  expect_same_files("whole", "killed");
}

Test(quantize, finished_linears_are_not_encoded_again) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "were there already"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-5", "out"), 2);
  cr_assert(strstr(answer, "another run"), "%s", answer);
}

Test(quantize, wrong_wishes_are_refused) {
  cr_assert_eq(quantize("", "out"), 2);
  cr_assert(strstr(answer, "--quantizer"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-99", "out"), 2);
  cr_assert_eq(quantize("--quantizer nuq-4 --input-scale x", "out"), 2);
  cr_assert_eq(quantize("--quantizer nuq-4 --keep proj", "out"), 2);
  cr_assert(strstr(answer, "no linear"), "%s", answer);
  cr_assert_eq(quantize("--plan /nowhere/plan.json", "out"), 2);
  cr_assert_eq(ask("quantize /nowhere.safetensors --quantizer nuq-4 -o /tmp/none"), 2);
  cr_assert_eq(ask("quantize a b --quantizer nuq-4 -o /tmp/none"), 2);
}

Test(quantize, weights_that_are_not_the_models_are_named) {
  static const char config[] =
      "{\"model_type\": \"llama\", \"hidden_size\": 128, \"intermediate_size\": 192,"
      " \"num_attention_heads\": 2, \"num_hidden_layers\": 2, \"vocab_size\": 48}";
  write_text(path("in/config.json"), config);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "model.layers.0.self_attn.q_proj.weight"), "%s", answer);
  cr_assert(strstr(answer, "128 x 128"), "%s", answer);
}

/* Some elements w of a tensor of fp32 become w times 'factor' plus 'more' where they stand in the
   file. */
static void edit(const char *name, size_t first, size_t count, float factor, float more) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("in"), &s, &err), QP_OK);
  const qp_tensor *t = qp_safetensors_find(s, name);
  cr_assert(t && t->type == QP_TENSOR_F32, "%s", name);
  float *w = malloc(t->bytes);
  memcpy(w, t->data, t->bytes);
  for (size_t i = first; i < first + count; i++) w[i] = w[i] * factor + more;
  FILE *f = fopen(path("in/model.safetensors"), "r+b");
  fseek(f, (long)t->offset, SEEK_SET);
  fwrite(w, 1, t->bytes, f);
  fclose(f);
  free(w);
  qp_safetensors_close(s);
}

static void change(const char *name, size_t first, size_t count, float factor) {
  edit(name, first, count, factor, 0);
}

static void change_down(size_t first, size_t count, float factor) {
  change("model.layers.1.mlp.down_proj.weight", first, count, factor);
}

/* What changes a code, a scale, or where one lies. */
Test(quantize, another_option_or_another_weight_makes_it_another_run) {
  static const char *const other[] = {"--seed 2",  "--no-rotation", "--input-scale 0.9",
                                      "--beam 64", "--keep o_proj", "--blocks 1",
                                      "--lm-head"};
  char options[128];
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    snprintf(options, sizeof options, "--quantizer nuq-4 %s", other[i]);
    cr_expect_eq(quantize(options, "out"), 2, "%s", other[i]);
    cr_expect(strstr(answer, "another run"), "%s: %s", other[i], answer);
  }
  cr_assert_eq(quantize("--quantizer nuq-4 --threads 1", "out"), 0, "%s", answer);
  change_down(0, 1, 2);
  cr_expect_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_expect(strstr(answer, "another run"), "%s", answer);
}

Test(quantize, a_weight_that_is_no_number_is_named_before_work) {
  change_down(1 * MIDDLE + 13, 1, NAN);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "'model.layers.1.mlp.down_proj.weight' [1][13] is nan"), "%s", answer);
  cr_assert_neq(access(path("out"), F_OK), 0, "nothing is left behind");
}

/* Largest where they alone can be held, and beyond fp32 as soon as a rotation adds them up. */
Test(quantize, a_row_whose_norm_is_beyond_fp32_is_named_before_work) {
  edit("model.layers.1.mlp.down_proj.weight", 3 * MIDDLE, 1, 0, 3.4e38f);
  cr_assert_eq(quantize("--quantizer nuq-4 --verify", "one"), 0, "%s", answer);
  edit("model.layers.1.mlp.down_proj.weight", 3 * MIDDLE, MIDDLE, 0, 3.4e38f);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "'model.layers.1.mlp.down_proj.weight' [3]: a norm of "), "%s", answer);
  cr_assert_neq(access(path("out"), F_OK), 0, "nothing is left behind");
}

Test(quantize, a_number_that_is_none_in_what_stays_is_named_before_work) {
  change("model.embed_tokens.weight", 2 * HIDDEN + 5, 1, INFINITY);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "'model.embed_tokens.weight' [2][5] is "), "%s", answer);
  cr_assert_neq(access(path("out"), F_OK), 0, "nothing is left behind");
}

Test(quantize, a_checkpoint_that_was_refused_and_mended_is_quantized_into_the_same_folder) {
  mkdir(path("out"), 0777);
  change_down(0, 1, INFINITY);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert_neq(access(path("out/.qpal"), F_OK), 0, "nothing is left behind");
  cr_assert_eq(access(path("out"), F_OK), 0, "the user's folder stays");
  remove_folder();
  mkdir(folder, 0777);
  make_own_checkpoint();
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
}

Test(quantize, a_key_without_anything_encoded_does_not_bind_a_folder) {
  write_text(path("out/.qpal/job"), "00000000000000000000000000000000\n");
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  write_text(path("two/.qpal/job"), "00000000000000000000000000000000\n");
  write_text(path("two/.qpal/model.layers.0.mlp.up_proj.safetensors"), "of another run");
  cr_assert_eq(quantize("--quantizer nuq-4", "two"), 2);
  cr_assert(strstr(answer, "another run"), "%s", answer);
  cr_assert_eq(access(path("two/.qpal/job"), F_OK), 0, "what another run kept stays");
}

Test(quantize, a_folder_that_another_process_writes_to_is_refused) {
  write_text(path("out/.qpal/lock"), "");
  const int held = open(path("out/.qpal/lock"), O_RDWR);
  cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "out: another process writes to this folder"), "%s", answer);
  cr_assert_eq(access(path("out/.qpal/lock"), F_OK), 0, "the lock is the other's");
  close(held);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
}

Test(quantize, a_folder_that_holds_a_config_of_others_is_refused_and_stays) {
  char *text = NULL;
  size_t bytes;
  write_text(path("out/config.json"), "{\"mine\": 1}");
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 2);
  cr_assert(strstr(answer, "out: holds a config.json that is not of a run of"), "%s", answer);
  cr_assert_eq(qp_file_read(path("out/config.json"), 100, &text, &bytes, &err), QP_OK);
  cr_assert_str_eq(text, "{\"mine\": 1}");
  cr_assert_neq(access(path("out/.qpal"), F_OK), 0, "nothing is left behind");
  free(text);
}

Test(quantize, a_complete_folder_is_left_as_it_is) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert_neq(access(path("out/.qpal"), F_OK), 0, "no lock is left behind");
  cr_assert_eq(quantize("--quantizer nuq-3", "out"), 2);
  cr_assert_neq(access(path("out/.qpal"), F_OK), 0, "not by a refused run either");
}

/* Change a byte of a tensor where it stands in the only shard. */
static void change_byte(const char *tensor, size_t at, unsigned char byte) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  const qp_tensor *t = qp_safetensors_find(s, tensor);
  cr_assert(t, "%s", tensor);
  cr_assert_neq(t->data[at], byte);
  FILE *f = fopen(qp_safetensors_shard_path(s, t->shard), "r+b");
  fseek(f, (long)(t->offset + at), SEEK_SET);
  fputc(byte, f);
  fclose(f);
  qp_safetensors_close(s);
}

static int ask_verify(void) {
  char arguments[600];
  snprintf(arguments, sizeof arguments, "verify '%s'", path("out"));
  return ask(arguments);
}

/* What is damaged is not unpacked either. */
static int ask_unpack(void) {
  char arguments[1200];
  snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s'", path("out"), path("plain"));
  return ask(arguments);
}

static void copy_folder(const char *from, const char *to) {
  char command[1200];
  snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", path("%s", to),
           path("%s", from), path("%s", to));
  cr_assert_eq(system(command), 0);
}

Test(quantize, a_byte_that_changed_anywhere_in_a_packed_folder_is_found) {
  static const char *const names[] = {
      "model.layers.0.mlp.up_proj.codes.0", "model.layers.1.self_attn.k_proj.row_scales",
      "model.layers.1.qkv.signs", "nuq-4.codebook.0", "model.embed_tokens.weight"};
  cr_assert_eq(quantize("--quantizer nuq-4", "whole"), 0, "%s", answer);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    copy_folder("whole", "out");
    cr_assert_eq(ask_verify(), 0, "%s", answer);
    change_byte(names[i], 0, 0x5a);
    cr_assert_eq(ask_verify(), 1, "%s", answer);
    cr_assert(strstr(answer, names[i]), "%s: %s", names[i], answer);
  }
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "the same command again");
  cr_assert_eq(ask_verify(), 1, "does not bless what is damaged: %s", answer);
}

/* In config.json, after whole ones: what it says of a linear, of a quantizer, of all. */
Test(quantize, a_config_that_does_not_say_what_the_shards_say_is_found) {
  static const char *const changes[][2] = {
      {"s/(\"rows\":\\s*)([0-9]+)/$1.($2 + 16)/e", "linear 'model.layers."},
      {"s/\"rate_bits\":\\s*4/\"rate_bits\": 3/", "quantizer 'nuq-4' is not what"},
      {"s/\"seed\":\\s*[0-9]+/\"seed\": 77/", "field 'seed' is not what"},
      {"s/\"linears\":\\s*\\[\\s*(\\{(?:[^{}]|(?1))*\\}),/\"linears\": [/", "linear 'model."}};
  cr_assert_eq(quantize("--quantizer nuq-4", "whole"), 0, "%s", answer);
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    char command[1200];
    copy_folder("whole", "out");
    cr_assert_eq(ask_verify(), 0, "%s", answer);
    snprintf(command, sizeof command, "perl -0pi -e '%s' '%s'", changes[i][0],
             path("out/config.json"));
    cr_assert_eq(system(command), 0);
    cr_assert_eq(ask_verify(), 1, "%s: %s", changes[i][0], answer);
    cr_assert(strstr(answer, changes[i][1]), "%s: %s", changes[i][0], answer);
    cr_assert_eq(ask_unpack(), 2, "%s: %s", changes[i][0], answer);
    cr_assert(strstr(answer, changes[i][1]), "%s: %s", changes[i][0], answer);
  }
}

Test(quantize, what_qpal_packed_is_no_source) {
  char arguments[1200];
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "quantize '%s' --quantizer nuq-3 -o '%s/again'",
           path("out"), folder);
  cr_assert_eq(ask(arguments), 2, "%s", answer);
  cr_assert(strstr(answer, "out: its weights were packed by qpal"), "%s", answer);
}

/* Config and shard say alike that columns have an order, which their tensor does not hold. */
Test(quantize, an_order_that_no_tensor_holds_is_found) {
  char command[1200];
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  snprintf(command, sizeof command,
           "cd '%s' && perl -0pi -e 's/\"group\":\\s*\"qkv\"/\"order\": true/g' config.json && "
           "perl -0pi -e 's/\\\\\"group\\\\\":\\\\\"qkv\\\\\",/\\\\\"order\\\\\":true   ,/g' "
           "*.safetensors",
           path("out"));
  cr_assert_eq(system(command), 0);
  cr_assert_eq(ask_verify(), 1, "%s", answer);
  cr_assert(strstr(answer, "'order' is of packed weights of version 4"), "%s", answer);
  snprintf(command, sizeof command,
           "cd '%s' && perl -0pi -e 's/version(\\W+)2/version${1}4/g' config.json *.safetensors",
           path("out"));
  cr_assert_eq(system(command), 0);
  cr_assert_eq(ask_verify(), 1, "%s", answer);
  cr_assert(strstr(answer, "qkv.signs' of its input has 12 bytes; 208 are needed"), "%s", answer);
  snprintf(command, sizeof command,
           "cd '%s' && perl -0pi -e 's/(\"signs\":\\s*)\"[^\"]*\"/${1}null/g' config.json && "
           "perl -0pi -e 's/(\\\\\"signs\\\\\":)(\\\\\"[^\"]*\\\\\")/$1.\"null\".\" "
           "\"x(length($2)-4)/ge' "
           "*.safetensors",
           path("out"));
  cr_assert_eq(system(command), 0);
  cr_assert_eq(ask_verify(), 1, "%s", answer);
  cr_assert(strstr(answer, "'order', but 'signs' names no tensor"), "%s", answer);
  cr_assert_eq(ask_unpack(), 2, "%s", answer);
  cr_assert(strstr(answer, "'order', but 'signs' names no tensor"), "%s", answer);
}

Test(quantize, a_scale_that_is_no_number_is_refused_on_opening) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  change_byte("model.layers.1.self_attn.k_proj.row_scales", 7, 0x7e); /* fp16: a NaN */
  cr_assert_eq(ask_verify(), 1, "%s", answer);
  cr_assert(strstr(answer, "row_scales' [3] is nan"), "%s", answer);
  cr_assert_eq(ask_unpack(), 2, "%s", answer);
  cr_assert(strstr(answer, "row_scales' [3] is nan"), "%s", answer);
}

/* Also where the checksums say that it is as it was written. */
Test(quantize, a_definition_s_codebook_that_was_changed_or_left_out_is_refused_on_opening) {
  char command[1200];
  cr_assert_eq(quantize("--quantizer tcq-1.75 --blocks 1", "whole"), 0, "%s", answer);
  copy_folder("whole", "out");
  change_byte("tcq-1.5.codebook.0", 3, 0x5a);
  cr_assert_eq(ask_unpack(), 2, "%s", answer);
  cr_assert(strstr(answer, "tensor 'tcq-1.5.codebook.0' is not the codebook of tcq-1.5"), "%s",
            answer);
  copy_folder("whole", "out");
  change_byte("tcq-2.codebook.0", 3, 0x5a);
  cr_assert_eq(ask_unpack(), 2, "%s", answer);
  cr_assert(strstr(answer, "tensor 'tcq-2.codebook.0' is not the codebook of tcq-2"), "%s", answer);
  copy_folder("whole", "out");
  snprintf(command, sizeof command,
           "cd '%s' && sed -i 's/\"tcq-2[.]codebook[.]0\":/\"tcq-2.codebook.9\":/' *.safetensors*",
           path("out"));
  cr_assert_eq(system(command), 0);
  cr_assert_eq(ask_unpack(), 2, "%s", answer);
  cr_assert(strstr(answer, "tensor 'tcq-2.codebook.0' is missing"), "%s", answer);
}

Test(quantize, a_tensor_without_a_checksum_or_no_checksums_at_all_are_named) {
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  write_text(path("out/checksums.json"), "{\"algorithm\": \"XXH3-64\", \"tensors\": {}}");
  cr_assert_eq(ask_verify(), 1);
  cr_assert(strstr(answer, "has no checksum"), "%s", answer);
  write_text(path("out/checksums.json"),
             "{\"algorithm\": \"XXH3-64\", \"tensors\": {\"more\": \"0\"}}");
  cr_assert_eq(ask_verify(), 1);
  cr_assert(strstr(answer, "tensor 'more' is missing"), "%s", answer);
  write_text(path("out/checksums.json"), "{\"algorithm\": \"CRC\", \"tensors\": {}}");
  cr_assert_eq(ask_verify(), 1);
  cr_assert(strstr(answer, "algorithm"), "%s", answer);
  unlink(path("out/checksums.json"));
  cr_assert_eq(ask_verify(), 1);
  cr_assert(strstr(answer, "is missing"), "%s", answer);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert_eq(ask_verify(), 0, "%s", answer);
}

/* What perl does to a whole file: a hash cut off, a tensor that is there twice, one left out, the
   algorithm behind what it is of. */
Test(quantize, checksums_that_are_cut_off_or_there_twice_or_out_of_order_are_refused) {
  static const char *const changes[][2] = {
      {"s/(\"nuq-4[.]codebook[.]0\":\\s*\"\\w{8})\\w{8}/$1/",
       "'nuq-4.codebook.0' has the checksum"},
      {"s/(\"nuq-4[.]codebook[.]0\":\\s*\"\\w+\")/$1,$1/", "'nuq-4.codebook.0' is there twice"},
      {"s/\"model[.]embed_tokens[.]weight\":\\s*\"\\w+\",//",
       "'model.embed_tokens.weight' has no checksum"},
      {"s/(\"algorithm\":\\s*\"[^\"]*\"),(.*)\\}/$2,$1}/s",
       "field 'algorithm' should stand before"}};
  cr_assert_eq(quantize("--quantizer nuq-4", "whole"), 0, "%s", answer);
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    char command[1200];
    copy_folder("whole", "out");
    snprintf(command, sizeof command, "perl -0pi -e '%s' '%s'", changes[i][0],
             path("out/checksums.json"));
    cr_assert_eq(system(command), 0);
    cr_expect_eq(ask_verify(), 1, "%s: %s", changes[i][0], answer);
    cr_expect(strstr(answer, changes[i][1]), "%s: %s", changes[i][0], answer);
  }
}

/* Rows that fp16 cannot hold are in the scales; a kernel's fp16 result is no measure of them. */
Test(quantize, verify_is_right_for_rows_of_any_size) {
  static const float factor[] = {1e30f, 1e-30f, 6e4f};
  for (unsigned i = 0; i < 3; i++) change_down((size_t)(40 * i) * MIDDLE, 3 * MIDDLE, factor[i]);
  cr_assert_eq(quantize("--quantizer nuq-4 --verify", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "PASS"), "%s", answer);
}
