/* SPDX-License-Identifier: MIT */
/* qpal evaluate as a user runs it: made-up models, packed by qpal quantize, judged against their
** sources. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/weights.h"
#include "tests/model/forward_kit.h"

typedef struct place {
  char folder[64], source[96], tokens[96], packed[96];
} place;

static void make_place(const char *family, place *p) {
  char command[256];
  qp_error err = {{0}};
  uint32_t id[KIT_TOKENS];
  *p = (place){.folder = "/tmp/qpal_evaluate_XXXXXX"};
  cr_assert(mkdtemp(p->folder) != NULL);
  snprintf(p->source, sizeof p->source, "%s/source", p->folder);
  snprintf(p->tokens, sizeof p->tokens, "%s/tokens.txt", p->folder);
  snprintf(p->packed, sizeof p->packed, "%s/packed", p->folder);
  snprintf(command, sizeof command, "mkdir %s", p->source);
  cr_assert_eq(system(command), 0);
  for (unsigned i = 0; i < KIT_FAMILIES; i++)
    if (!strcmp(kit_families[i].name, family))
      cr_assert_eq(kit_write(p->source, kit_families[i].config, &err), QP_OK, "%s", err.text);
  FILE *f = fopen(p->tokens, "w");
  kit_tokens(KIT_TOKENS, id);
  for (unsigned i = 0; i < KIT_TOKENS; i++) fprintf(f, "%u%c", id[i], i == 24 ? '\n' : ' ');
  fclose(f);
}

static void remove_place(const place *p) {
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", p->folder);
  cr_assert_eq(system(command), 0);
}

static int run(char *out, size_t size, const char *format, ...) {
  char command[1024];
  va_list list;
  const int n = snprintf(command, sizeof command, "%s/qpal ", QP_BINARY_DIR);
  va_start(list, format);
  vsnprintf(command + n, sizeof command - (size_t)n, format, list);
  va_end(list);
  FILE *p = popen(command, "r");
  out[fread(out, 1, size - 1, p)] = 0;
  return pclose(p) >> 8;
}

static double number(const cJSON *row, const char *name) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, name);
  cr_assert(cJSON_IsNumber(v), "%s is missing", name);
  return v->valuedouble;
}

static cJSON *evaluate(const place *p, const char *model, const char *more) {
  char out[4096];
  const int code =
      run(out, sizeof out, "evaluate %s --json --tokens %s --threads 2 %s", model, p->tokens, more);
  cr_assert_eq(code, 0, "%s", out);
  cJSON *all = cJSON_Parse(out);
  cr_assert(cJSON_GetArraySize(all) == 1, "%s", out);
  return all;
}

Test(evaluate, a_model_does_not_diverge_from_itself) {
  place p;
  char more[128];
  make_place("qwen2", &p);
  snprintf(more, sizeof more, "--against %s", p.source);
  cJSON *all = evaluate(&p, p.source, more), *alone = evaluate(&p, p.source, "");
  const cJSON *row = all->child;
  cr_expect_eq(number(row, "tokens"), KIT_TOKENS - 2); /* two texts */
  cr_expect_float_eq(number(row, "kl_divergence"), 0, 1e-6);
  cr_expect_eq(number(row, "same_top"), 1);
  cr_expect_eq(number(row, "perplexity"), number(row, "source_perplexity"));
  cr_expect_float_eq(number(alone->child, "perplexity"), number(row, "perplexity"), 1e-3);
  cr_expect(!cJSON_HasObjectItem(alone->child, "kl_divergence"));
  cJSON_Delete(all);
  cJSON_Delete(alone);
  remove_place(&p);
}

Test(evaluate, pieces_are_predicted_from_their_own_beginnings) {
  place p;
  make_place("llama", &p);
  cJSON *all = evaluate(&p, p.source, "--context 10"); /* 25 and 15 tokens in 3 and 2 pieces */
  cr_expect_eq(number(all->child, "tokens"), 40 - 5);
  cJSON *some = evaluate(&p, p.source, "--context 10 --limit 27");
  cr_expect_eq(number(some->child, "tokens"), 27 - 4);
  cJSON_Delete(all);
  cJSON_Delete(some);
  remove_place(&p);
}

Test(evaluate, a_device_finds_nearly_what_the_cpu_finds) {
  place p;
  char out[4096];
  make_place("gemma3", &p);
  const int code = run(out, sizeof out, "evaluate %s --json --tokens %s --context 9 --device sim",
                       p.source, p.tokens);
  if (code == 3) cr_skip_test("no NVRTC");
  cr_assert_eq(code, 0, "%s", out);
  cJSON *device = cJSON_Parse(out), *cpu = evaluate(&p, p.source, "--context 9");
  const double there = number(device->child, "perplexity"), here = number(cpu->child, "perplexity");
  cr_expect(fabs(there / here - 1) < 2e-3, "%g on the device, %g on the CPU", there, here);
  cr_expect(there != here); /* products take fp16 there */
  cJSON_Delete(device);
  cJSON_Delete(cpu);
  cr_expect_eq(
      run(out, sizeof out, "evaluate %s --tokens %s --device gpu 2>&1", p.source, p.tokens), 2,
      "%s", out);
  remove_place(&p);
}

/* Packed weights count as they are decoded: fine codes diverge little, coarse ones much, and a
** split, fields and rotation are read. */
Test(evaluate, packed_models_diverge_by_what_their_codes_lose) {
  static const struct {
    const char *quantizer, *options;
    double least, most;
  } all[] = {{"nuq-8", "", 1e-5, 4e-3},
             {"nuq-8", "--no-rotation", 1e-5, 4e-3},
             {"nuq-8", "--embedding nuq-8", 1e-5, 4e-3},
             {"vq2-4", "", 4e-3, 0.3},
             {"tcq-3.25", "", 0.03, 0.8}};
  place p;
  char out[4096], more[128];
  make_place("llama", &p);
  snprintf(more, sizeof more, "--against %s", p.source);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const int code = run(out, sizeof out, "quantize %s --quantizer %s %s -o %s 2>&1", p.source,
                         all[i].quantizer, all[i].options, p.packed);
    cr_assert_eq(code, 0, "%s", out);
    cJSON *row = evaluate(&p, p.packed, more);
    const double kl = number(row->child, "kl_divergence");
    cr_expect(kl > all[i].least && kl < all[i].most, "%s %s: %g", all[i].quantizer, all[i].options,
              kl);
    cJSON_Delete(row);
    snprintf(out, sizeof out, "rm -r %s", p.packed);
    cr_assert_eq(system(out), 0);
  }
  remove_place(&p);
}

/* ---- What packed weights are read as ---- */

/* Relative squared error of the packed linear's weights against the source's. */
static double distortion(qp_weights *packed, qp_weights *source, const char *name, uint64_t rows,
                         uint64_t columns, qp_parallel *p) {
  char tensor[256];
  qp_error err = {{0}};
  const size_t n = (size_t)(rows * columns);
  float *w = malloc(2 * n * sizeof *w);
  double lost = 0, power = 0;
  snprintf(tensor, sizeof tensor, "%s.weight", name);
  cr_assert_eq(qp_weights_read(source, tensor, rows, columns, 0, rows, p, w, &err), QP_OK);
  /* in two pieces that end inside a group of 32 rows */
  const uint64_t half = rows / 2 + 3;
  float *got = w + n;
  cr_assert_eq(qp_weights_read(packed, tensor, rows, columns, 0, half, p, got, &err), QP_OK, "%s",
               err.text);
  cr_assert_eq(qp_weights_read(packed, tensor, rows, columns, half, rows - half, p,
                               got + (size_t)(half * columns), &err),
               QP_OK, "%s", err.text);
  for (size_t i = 0; i < n; i++) {
    const double d = (double)w[i] - (double)got[i];
    lost += d * d;
    power += (double)w[i] * (double)w[i];
  }
  free(w);
  return lost / power;
}

/* Read a matrix that lies there taken apart for ranks in one go and 7 rows at a time: the same
   floats, near the source's. */
static void expect_joined(qp_weights *packed, qp_weights *source, const char *name, uint64_t rows,
                          uint64_t columns, qp_parallel *p) {
  enum { CHUNK = 7 };
  qp_error err = {{0}};
  const size_t n = (size_t)(rows * columns);
  float *whole = calloc(2 * n, sizeof *whole), *chunks = whole + n;
  cr_assert_eq(qp_weights_read(packed, name, rows, columns, 0, rows, p, whole, &err), QP_OK, "%s",
               err.text);
  for (uint64_t r = 0; r < rows; r += CHUNK)
    cr_assert_eq(qp_weights_read(packed, name, rows, columns, r,
                                 r + CHUNK < rows ? CHUNK : rows - r, p,
                                 chunks + (size_t)(r * columns), &err),
                 QP_OK, "%s", err.text);
  cr_expect_arr_eq(whole, chunks, n * sizeof *whole, "%s", name);
  cr_assert_eq(qp_weights_read(source, name, rows, columns, 0, rows, p, chunks, &err), QP_OK);
  double lost = 0, power = 0;
  for (size_t i = 0; i < n; i++) {
    lost += ((double)whole[i] - (double)chunks[i]) * ((double)whole[i] - (double)chunks[i]);
    power += (double)chunks[i] * (double)chunks[i];
  }
  cr_expect(lost > 0 && lost < 1e-3 * power, "%s: %g of %g", name, lost, power);
  free(whole);
}

/* Heads and slices of whole groups of 32 rows. */
static const char large_phi3[] =
    "{\"model_type\": \"phi3\", \"architectures\": [\"Phi3ForCausalLM\"], "
    "\"hidden_size\": 128, \"intermediate_size\": 192, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"num_hidden_layers\": 2, \"vocab_size\": 96, "
    "\"tie_word_embeddings\": false}";

Test(evaluate, matrices_that_ranks_share_in_parts_are_read_in_any_range_of_rows) {
  place p;
  char out[65536];
  qp_error err = {{0}};
  qp_models *models;
  qp_weights *source, *packed;
  qp_parallel *threads;
  make_place("phi3", &p);
  cr_assert_eq(kit_write(p.source, large_phi3, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_assert_eq(qp_parallel_open(3, &threads, &err), QP_OK);
  cr_assert_eq(run(out, sizeof out,
                   "quantize %s --quantizer nuq-8 --tp 2 --keep down --keep o_proj "
                   "-o %s 2>&1",
                   p.source, p.packed),
               0, "%s", out);
  cr_assert_eq(qp_weights_open(p.source, models, NULL, &source, &err), QP_OK);
  cr_assert_eq(qp_weights_open(p.packed, models, NULL, &packed, &err), QP_OK, "%s", err.text);
  expect_joined(packed, source, "model.layers.1.self_attn.qkv_proj.weight", 128 + 2 * 64, 128,
                threads);
  expect_joined(packed, source, "model.layers.1.mlp.gate_up_proj.weight", 2 * 192, 128, threads);
  qp_weights_close(packed);
  qp_weights_close(source);
  qp_parallel_close(threads);
  qp_models_close(models);
  remove_place(&p);
}

Test(evaluate, packed_weights_are_read_as_far_from_the_source_as_their_config_says) {
  static const char *const quantizers[] = {"tcq-2.75", "mxfp4", "anyprec-3", "nuq-5",
                                           "squeezellm-3"};
  place p;
  char out[65536];
  qp_error err = {{0}};
  qp_models *models;
  qp_weights *source, *packed;
  qp_parallel *threads;
  make_place("phi3", &p);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_assert_eq(qp_parallel_open(3, &threads, &err), QP_OK);
  cr_assert_eq(qp_weights_open(p.source, models, NULL, &source, &err), QP_OK);
  for (size_t i = 0; i < sizeof quantizers / sizeof *quantizers; i++) {
    cr_assert_eq(run(out, sizeof out, "quantize %s --quantizer %s -o %s 2>&1", p.source,
                     quantizers[i], p.packed),
                 0, "%s", out);
    cr_assert_eq(qp_weights_open(p.packed, models, NULL, &packed, &err), QP_OK, "%s", err.text);
    cJSON *config = cJSON_Parse(qp_weights_config(packed));
    const cJSON *section = cJSON_GetObjectItem(config, "quantization"), *l;
    unsigned linears = 0;
    cJSON_ArrayForEach(l, cJSON_GetObjectItem(section, "linears")) {
      const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(l, "name"));
      const double want = number(l, "distortion_original");
      const double got = distortion(packed, source, name, (uint64_t)number(l, "rows"),
                                    (uint64_t)number(l, "columns"), threads);
      cr_expect_float_eq(got, want, 1e-5 * want, "%s of %s: %.9g, not %.9g", name, quantizers[i],
                         got, want);
      linears++;
    }
    cr_expect_eq(linears, 16);
    cJSON_Delete(config);
    qp_weights_close(packed);
    snprintf(out, sizeof out, "rm -r %s", p.packed);
    cr_assert_eq(system(out), 0);
  }
  qp_weights_close(source);
  qp_parallel_close(threads);
  qp_models_close(models);
  remove_place(&p);
}

/* Write 'to' wherever a packed folder's config says 'from' and expect a refusal that says 'why'. */
static void expect_config_refused(const place *p, const char *from, const char *to,
                                  const char *why) {
  char out[4096];
  snprintf(out, sizeof out, "sed -i.old 's#%s#%s#g' %s/config.json", from, to, p->packed);
  cr_assert_eq(system(out), 0);
  cr_expect_eq(run(out, sizeof out, "evaluate %s --tokens %s 2>&1", p->packed, p->tokens), 2);
  cr_expect(strstr(out, why) && strstr(out, "/config.json: quantization: "), "%s", out);
  snprintf(out, sizeof out, "mv %s/config.json.old %s/config.json", p->packed, p->packed);
  cr_assert_eq(system(out), 0);
}

/* Change the column of the first sparse entry in a packed file to one that no row has. */
static void damage_sparse(const char *folder) {
  char file[160], *header = NULL, *name;
  uint64_t length, begin;
  snprintf(file, sizeof file, "%s/model-00001-of-00001.safetensors", folder);
  FILE *f = fopen(file, "r+b");
  cr_assert(f && fread(&length, sizeof length, 1, f) && (header = calloc(1, length + 1)));
  cr_assert_eq(fread(header, 1, length, f), length);
  cr_assert(name = strstr(header, "k_proj.field.0.0\":"));
  cr_assert_eq(sscanf(strstr(name, "data_offsets\":["), "data_offsets\":[%" SCNu64, &begin), 1);
  fseek(f, (long)(sizeof length + length + begin), SEEK_SET);
  cr_assert(fwrite("\xff\xff", 2, 1, f) && !fclose(f));
  free(header);
}

Test(evaluate, packed_weights_that_lie_of_version_or_quantizer_or_a_sparse_entry_are_refused) {
  place p;
  char out[4096];
  make_place("llama", &p);
  cr_assert_eq(
      run(out, sizeof out, "quantize %s --quantizer squeezellm-3 -o %s 2>&1", p.source, p.packed),
      0, "%s", out);
  expect_config_refused(
      &p, "\\(version.*\\)5", "\\14",
      "field 'sparse' is of packed weights of version 5 and later; field 'version' is 4");
  expect_config_refused(&p, "squeezellm-3", "squeezellm-33",
                        "quantizers: there is no quantizer 'squeezellm-33'");
  expect_config_refused(&p, "squeezellm-3", "../a.lua",
                        "quantizers: '../a.lua' is a file; a quantizer's name is needed");
  damage_sparse(p.packed);
  cr_expect_eq(run(out, sizeof out, "evaluate %s --tokens %s 2>&1", p.packed, p.tokens), 2, "%s",
               out);
  cr_expect(strstr(out, "k_proj.field.0.0': row 0 has a sparse entry of column 65535"), "%s", out);
  remove_place(&p);
}

Test(evaluate, what_a_users_file_packed_is_judged_where_the_file_is_named) {
  place p;
  char out[4096], spec[512];
  make_place("llama", &p);
  snprintf(spec, sizeof spec, "%s/mine.lua", p.folder);
  FILE *f = fopen(spec, "w");
  cr_assert(f && fputs("return { scalar { name = 'mine-1', bits = 1, codebook = values { -1, 1 } },"
                       "  scalar { name = 'mine-0', bits = 0 } }\n",
                       f) >= 0);
  cr_assert_eq(fclose(f), 0);
  cr_assert_eq(run(out, sizeof out, "quantize %s --quantizer %s:mine-1 -o %s 2>&1", p.source, spec,
                   p.packed),
               0, "%s", out);
  const char *const evaluate = "evaluate %s --tokens %s 2>&1";
  cr_expect_eq(run(out, sizeof out, evaluate, p.packed, p.tokens), 2, "%s", out);
  cr_expect(strstr(out, "there is no quantizer 'mine-1'"), "%s", out);
  cr_expect_eq(run(out, sizeof out, "evaluate %s --tokens %s --quantizers %s 2>&1", p.packed,
                   p.tokens, spec),
               0, "%s", out);
  remove_place(&p);
}

Test(evaluate, what_cannot_be_judged_is_refused_with_the_reason) {
  place p;
  char out[4096];
  make_place("gemma", &p);
  cr_expect_eq(run(out, sizeof out, "evaluate %s 2>&1", p.source), 2);
  cr_expect(strstr(out, "--tokens FILE"), "%s", out);
  cr_expect_eq(run(out, sizeof out, "evaluate %s/none --tokens %s 2>&1", p.folder, p.tokens), 2);
  FILE *f = fopen(p.tokens, "w");
  fputs("5\n7\n", f);
  fclose(f);
  cr_expect_eq(run(out, sizeof out, "evaluate %s --tokens %s 2>&1", p.source, p.tokens), 2);
  cr_expect(strstr(out, "nothing to predict"), "%s", out);
  f = fopen(p.tokens, "w");
  fputs("5 7 96\n", f);
  fclose(f);
  cr_expect_eq(run(out, sizeof out, "evaluate %s --tokens %s 2>&1", p.source, p.tokens), 2);
  cr_expect(strstr(out, "token 2 is 96"), "%s", out);
  remove_place(&p);
}
