/* SPDX-License-Identifier: MIT */
/* What qpal quantize takes: families of models, kinds of files, plans, Hessians. */
#include <cjson/cJSON.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gen/base/json.h"
#include "tests/quantize/quantize_kit.h"

TestSuite(quantize_inputs, .init = make_folder, .fini = remove_folder);

/* ---- Families ---- */

enum { HIDDEN = 64, MIDDLE = 96, HEADS = 2, KV_HEADS = 1, HEAD = 32, VOCAB = 48, MOST_LINEARS = 7 };

typedef struct linear {
  const char *name, *group;
  unsigned rows, columns;
} linear;

#define Q    "self_attn.q_proj", "qkv", HEADS *HEAD, HIDDEN
#define K    "self_attn.k_proj", "qkv", KV_HEADS *HEAD, HIDDEN
#define V    "self_attn.v_proj", "qkv", KV_HEADS *HEAD, HIDDEN
#define O    "self_attn.o_proj", "o", HIDDEN, HEADS *HEAD
#define UP   "mlp.up_proj", "up-gate", MIDDLE, HIDDEN
#define GATE "mlp.gate_proj", "up-gate", MIDDLE, HIDDEN
#define DOWN "mlp.down_proj", "down", HIDDEN, MIDDLE
#define SEVEN                                                                                      \
  {                                                                                                \
    {Q}, {K}, {V}, {O}, {UP}, {GATE}, { DOWN }                                                     \
  }

static const struct family {
  const char *type, *blocks, *config, *kept; /* kept: a norm or bias of each block */
  linear linear[MOST_LINEARS];
} families[] = {
    {"llama", "model.layers", "", "input_layernorm.weight", SEVEN},
    {"mistral", "model.layers", "\"sliding_window\": 4096,", "input_layernorm.weight", SEVEN},
    {"smollm3", "model.layers", "", "input_layernorm.weight", SEVEN},
    {"qwen2", "model.layers", "", "self_attn.q_proj.bias", SEVEN},
    {"qwen3", "model.layers", "", "self_attn.q_norm.weight", SEVEN},
    {"gemma", "model.layers", "", "input_layernorm.weight", SEVEN},
    {"gemma2", "model.layers", "", "pre_feedforward_layernorm.weight", SEVEN},
    {"gemma3_text", "model.layers", "", "self_attn.q_norm.weight", SEVEN},
    {"phi3",
     "model.layers",
     "",
     "input_layernorm.weight",
     {{"self_attn.qkv_proj", "qkv", (HEADS + 2 * KV_HEADS) * HEAD, HIDDEN},
      {O},
      {"mlp.gate_up_proj", "up-gate", 2 * MIDDLE, HIDDEN},
      {DOWN}}},
    {"bert",
     "encoder.layer",
     "",
     "attention.self.query.bias",
     {{"attention.self.query", "qkv", HIDDEN, HIDDEN},
      {"attention.self.key", "qkv", HIDDEN, HIDDEN},
      {"attention.self.value", "qkv", HIDDEN, HIDDEN},
      {"attention.output.dense", "o", HIDDEN, HIDDEN},
      {"intermediate.dense", "up", MIDDLE, HIDDEN},
      {"output.dense", "down", HIDDEN, MIDDLE}}},
};
enum { FAMILIES = sizeof families / sizeof *families };

static unsigned linears_of(const struct family *f) {
  unsigned n = 0;
  while (n < MOST_LINEARS && f->linear[n].name) n++;
  return n;
}

/* What the file's type holds of the weights of linear l of a block. */
static float *values_of(const linear *l, unsigned seed, qp_tensor_type type) {
  const size_t n = (size_t)l->rows * l->columns;
  float *w = weights_of(seed, n);
  for (size_t i = 0; i < n; i++)
    w[i] = type == QP_TENSOR_F16    ? qp_half_to_float(qp_float_to_half(w[i]))
           : type == QP_TENSOR_BF16 ? qp_bf16_to_float(qp_float_to_bf16(w[i]))
                                    : w[i];
  return w;
}

static void write_config(const struct family *f, const char *in) {
  char text[1024];
  const bool bert = !strcmp(f->type, "bert");
  snprintf(text, sizeof text,
           "{\"model_type\": \"%s\", %s \"hidden_size\": %d, \"intermediate_size\": %d,"
           " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,"
           " \"num_hidden_layers\": 2, \"vocab_size\": %d, \"tie_word_embeddings\": true}",
           f->type, f->config, HIDDEN, MIDDLE, HEADS, bert ? HEADS : KV_HEADS, HEAD, VOCAB);
  write_text(path("%s/config.json", in), text);
}

/* Two shards, one for each block, and their index. */
static void make_family(const struct family *f, qp_tensor_type type, const char *in) {
  char map[4096] = "{\"weight_map\": {", name[128];
  for (unsigned b = 0; b < 2; b++) {
    pending p;
    pending_begin(&p, path("%s/model-%u.safetensors", in, b));
    for (unsigned l = 0; l < linears_of(f); l++) {
      snprintf(name, sizeof name, "%s.%u.%s.weight", f->blocks, b, f->linear[l].name);
      pending_add(&p, name, type, f->linear[l].rows, f->linear[l].columns,
                  values_of(&f->linear[l], 10 * b + l, type));
      snprintf(map + strlen(map), sizeof map - strlen(map), "\"%s\": \"model-%u.safetensors\", ",
               name, b);
    }
    snprintf(name, sizeof name, "%s.%u.%s", f->blocks, b, f->kept);
    pending_add(&p, name, QP_TENSOR_F32, 0, HIDDEN, weights_of(99, HIDDEN));
    snprintf(map + strlen(map), sizeof map - strlen(map), "\"%s\": \"model-%u.safetensors\"%s",
             name, b, b ? "}}" : ", ");
    pending_write(&p);
  }
  write_text(path("%s/model.safetensors.index.json", in), map);
  write_config(f, in);
}

static void expect_family(const struct family *f, qp_tensor_type type, const char *out) {
  qp_safetensors *s;
  char name[128], signs[128];
  float *kept = weights_of(99, HIDDEN);
  cr_assert_eq(qp_safetensors_open(path("%s", out), &s, &err), QP_OK, "%s", err.text);
  for (unsigned b = 0; b < 2; b++) {
    for (unsigned l = 0; l < linears_of(f); l++) {
      const linear *n = &f->linear[l];
      float *w = values_of(n, 10 * b + l, type);
      snprintf(name, sizeof name, "%s.%u.%s", f->blocks, b, n->name);
      snprintf(signs, sizeof signs, "%s.%u.%s.signs", f->blocks, b, n->group);
      const double error =
          output_error(s, name, signs, quantizer_of("nuq-8"), w, n->rows, n->columns);
      cr_expect(error < 3e-4, "%s: %s: relative error of y is %g", f->type, name, error);
      free(w);
    }
    snprintf(name, sizeof name, "%s.%u.%s", f->blocks, b, f->kept);
    cr_expect_eq(memcmp(tensor(s, "%s", name), kept, HIDDEN * sizeof *kept), 0, "%s", name);
  }
  qp_safetensors_close(s);
  free(kept);
}

Test(quantize_inputs, every_family_is_quantized_from_shards) {
  static const qp_tensor_type types[] = {QP_TENSOR_F32, QP_TENSOR_F16, QP_TENSOR_BF16};
  for (unsigned i = 0; i < FAMILIES; i++) {
    const struct family *f = &families[i];
    char out[64];
    snprintf(out, sizeof out, "%s-out", f->type);
    make_family(f, types[i % 3], f->type);
    cr_assert_eq(quantize_from(f->type, "--quantizer nuq-8", out), 0, "%s: %s", f->type, answer);
    expect_family(f, types[i % 3], out);
  }
}

Test(quantize_inputs, a_linear_of_another_type_is_named_with_its_offset) {
  static unsigned char zeros[HEADS * HEAD * HIDDEN];
  const uint64_t shape[] = {HEADS * HEAD, HIDDEN};
  qp_tensor_writer *w;
  write_config(&families[0], "in");
  cr_assert_eq(qp_tensor_writer_new(path("in/model.safetensors"), &w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_declare(w, "model.layers.0.self_attn.q_proj.weight", QP_TENSOR_I8,
                                        2, shape, NULL, &err),
               QP_OK);
  cr_assert_eq(qp_tensor_writer_start(w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_write(w, 0, 0, zeros, sizeof zeros, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_OK);
  qp_tensor_writer_free(w);
  cr_assert_eq(
      quantize("--quantizer nuq-8 --blocks 1 --keep k_ --keep v_ --keep o_ --keep mlp", "out"), 2);
  cr_assert(strstr(answer, "q_proj.weight' at offset 128: I8 is not read"), "%s", answer);
}

/* A linear that no kernel takes stays in its type, and is named. */
Test(quantize_inputs, odd_linears_stay_as_they_are) {
  pending p;
  char name[96];
  write_config(&families[0], "in");
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < 7; l++) {
    const linear *n = &families[0].linear[l];
    const bool mlp = strstr(n->name, "mlp") != NULL;
    snprintf(name, sizeof name, "model.layers.0.%s.weight", n->name);
    const unsigned rows = mlp && n->rows == MIDDLE ? 172 : n->rows;
    const unsigned columns = mlp && n->columns == MIDDLE ? 172 : n->columns;
    pending_add(&p, name, QP_TENSOR_BF16, rows, columns, weights_of(l, (size_t)rows * columns));
  }
  pending_write(&p);
  char config[512];
  snprintf(config, sizeof config,
           "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": 172,"
           " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,"
           " \"num_hidden_layers\": 1, \"vocab_size\": %d, \"tie_word_embeddings\": true}",
           HIDDEN, HEADS, KV_HEADS, HEAD, VOCAB);
  write_text(path("in/config.json"), config);
  cr_assert_eq(quantize("--quantizer nuq-4", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "3 linears stay as they are: mlp.up_proj (172 x"), "%s", answer);
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  const qp_tensor *up = qp_safetensors_find(s, "model.layers.0.mlp.up_proj.weight");
  cr_assert(up && up->type == QP_TENSOR_BF16);
  cr_assert(qp_safetensors_find(s, "model.layers.0.self_attn.q_proj.codes.0"));
  qp_safetensors_close(s);
}

/* ---- Memory ---- */

/* A llama whose embedding of 'vocab' rows is a hole in the file. */
static void make_long_file(const char *in, unsigned vocab) {
  char header[4096] = "{", text[1024];
  size_t at = 0;
  for (unsigned l = 0; l < 7; l++) {
    const linear *n = &families[0].linear[l];
    const size_t bytes = 4ul * n->rows * n->columns;
    snprintf(text, sizeof text,
             "\"model.layers.0.%s.weight\": {\"dtype\": \"F32\", \"shape\": [%u, %u], "
             "\"data_offsets\": [%zu, %zu]}, ",
             n->name, n->rows, n->columns, at, at + bytes);
    strcat(header, text);
    at += bytes;
  }
  const size_t end = at + 4ul * vocab * HIDDEN;
  snprintf(text, sizeof text,
           "\"model.embed_tokens.weight\": {\"dtype\": \"F32\", \"shape\": [%u, %d], "
           "\"data_offsets\": [%zu, %zu]}}",
           vocab, HIDDEN, at, end);
  strcat(header, text);
  const uint64_t length = strlen(header);
  char config[512];
  snprintf(config, sizeof config,
           "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": %d,"
           " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,"
           " \"num_hidden_layers\": 1, \"vocab_size\": %u, \"tie_word_embeddings\": true}",
           HIDDEN, MIDDLE, HEADS, KV_HEADS, HEAD, vocab);
  write_text(path("%s/config.json", in), config);
  FILE *f = fopen(path("%s/model.safetensors", in), "wb");
  cr_assert(f);
  fwrite(&length, 1, 8, f);
  fwrite(header, 1, length, f);
  fflush(f);
  cr_assert_eq(ftruncate(fileno(f), (off_t)(8 + length + end)), 0);
  fclose(f);
}

/* Most memory in KiB, mapped pages of files too. */
static long memory_of(const char *in, const char *out) {
  struct rusage use;
  char from[512], to[512];
  int status;
  snprintf(from, sizeof from, "%s", path("%s", in));
  snprintf(to, sizeof to, "%s", path("%s", out));
  const pid_t child = fork();
  if (!child) {
    if (freopen("/dev/null", "w", stdout))
      execl(QP_BINARY_DIR "/qpal", "qpal", "quantize", from, "--quantizer", "nuq-4", "-o", to,
            NULL);
    _exit(99);
  }
  cr_assert_eq(wait4(child, &status, 0, &use), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return use.ru_maxrss;
}

Test(quantize_inputs, memory_does_not_grow_with_the_model) {
  make_long_file("short", 1000);
  make_long_file("long", 500000);
  const long less = memory_of("short", "out-short"), more = memory_of("long", "out-long");
  cr_assert_lt(more - less, 32 << 10, "%ld KiB; %ld KiB where the file has 122 MiB more", less,
               more);
}

/* ---- GGUF ---- */

typedef struct gguf {
  unsigned char head[8192], data[1 << 17];
  size_t head_bytes, data_bytes;
  unsigned keys, tensors;
} gguf;

static void put(gguf *g, const void *p, size_t n) {
  cr_assert(g->head_bytes + n <= sizeof g->head);
  memcpy(g->head + g->head_bytes, p, n);
  g->head_bytes += n;
}

static void put_number(gguf *g, uint64_t v, size_t bytes) { put(g, &v, bytes); }

static void put_string(gguf *g, const char *s) {
  put_number(g, strlen(s), 8);
  put(g, s, strlen(s));
}

static void put_key(gguf *g, const char *key, uint32_t v) {
  put_string(g, key);
  put_number(g, 4, 4);
  put_number(g, v, 4);
  g->keys++;
}

/* A tensor's entry; its 'bytes' come next in the data. */
static unsigned char *put_tensor(gguf *g, const char *name, unsigned rows, unsigned columns,
                                 uint32_t type, size_t bytes) {
  unsigned char *at = g->data + g->data_bytes;
  put_string(g, name);
  put_number(g, rows ? 2 : 1, 4);
  put_number(g, columns, 8);
  if (rows) put_number(g, rows, 8);
  put_number(g, type, 4);
  put_number(g, g->data_bytes, 8);
  g->data_bytes += (bytes + 31) / 32 * 32;
  cr_assert(g->data_bytes <= sizeof g->data);
  g->tensors++;
  return at;
}

static void write_gguf(const gguf *g, const char *name) {
  unsigned char pad[32] = {0}, begin[24] = "GGUF\3";
  FILE *f = fopen(path("%s", name), "wb");
  cr_assert(f);
  memcpy(begin + 8, &g->tensors, 4);
  memcpy(begin + 16, &g->keys, 4);
  fwrite(begin, 1, sizeof begin, f);
  fwrite(g->head, 1, g->head_bytes, f);
  fwrite(pad, 1, (32 - (sizeof begin + g->head_bytes) % 32) % 32, f);
  fwrite(g->data, 1, g->data_bytes, f);
  fclose(f);
}

/* Q8_0: of each 32 values a half d and whole numbers q, d q.  Writes blocks, gives values. */
static void fill_q8(unsigned char *to, float *values, size_t n, unsigned seed) {
  qp_random r = {seed};
  for (size_t b = 0; b < n / 32; b++) {
    const uint16_t d = (uint16_t)(0x2000 + 0x400 * (qp_random_next(&r) % 3)); /* 2^-7 .. 2^-5 */
    memcpy(to + 34 * b, &d, 2);
    for (unsigned i = 0; i < 32; i++) {
      const int q = (int)(qp_random_next(&r) % 255) - 127;
      to[34 * b + 2 + i] = (unsigned char)q;
      values[32 * b + i] = (float)q * qp_half_to_float(d);
    }
  }
}

/* A Phi-3, whose q|k|v and gate|up are one matrix each, as llama.cpp names them. */
Test(quantize_inputs, a_phi3_in_gguf_blocks) {
  static const struct {
    const char *from, *to, *signs;
    unsigned rows, columns;
  } list[] = {{"blk.0.attn_qkv", "self_attn.qkv_proj", "qkv", 128, HIDDEN},
              {"blk.0.attn_output", "self_attn.o_proj", "o", HIDDEN, HIDDEN},
              {"blk.0.ffn_up", "mlp.gate_up_proj", "up-gate", 2 * MIDDLE, HIDDEN},
              {"blk.0.ffn_down", "mlp.down_proj", "down", HIDDEN, MIDDLE}};
  static gguf g;
  static float values[4][2 * MIDDLE * HIDDEN];
  put_string(&g, "general.architecture");
  put_number(&g, 8, 4);
  put_string(&g, "phi3");
  g.keys++;
  put_key(&g, "phi3.embedding_length", HIDDEN);
  put_key(&g, "phi3.feed_forward_length", MIDDLE);
  put_key(&g, "phi3.attention.head_count", HEADS);
  put_key(&g, "phi3.attention.head_count_kv", KV_HEADS);
  put_key(&g, "phi3.block_count", 1);
  for (unsigned i = 0; i < 4; i++) {
    char name[64];
    const size_t n = (size_t)list[i].rows * list[i].columns;
    snprintf(name, sizeof name, "%s.weight", list[i].from);
    fill_q8(put_tensor(&g, name, list[i].rows, list[i].columns, 8, n / 32 * 34), values[i], n,
            i + 1);
  }
  float norm[HIDDEN];
  for (unsigned i = 0; i < HIDDEN; i++) norm[i] = (float)i;
  memcpy(put_tensor(&g, "blk.0.attn_norm.weight", 0, HIDDEN, 0, sizeof norm), norm, sizeof norm);
  memset(put_tensor(&g, "token_embd.weight", VOCAB, HIDDEN, 8, VOCAB * HIDDEN / 32 * 34), 0, 1);
  write_gguf(&g, "phi.gguf");
  cr_assert_eq(quantize_from("phi.gguf", "--quantizer nuq-8", "out"), 0, "%s", answer);
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < 4; i++) {
    char name[64], signs[64];
    snprintf(name, sizeof name, "model.layers.0.%s", list[i].to);
    snprintf(signs, sizeof signs, "model.layers.0.%s.signs", list[i].signs);
    const double error = output_error(s, name, signs, quantizer_of("nuq-8"), values[i],
                                      list[i].rows, list[i].columns);
    cr_expect(error < 3e-4, "%s: relative error of y is %g", name, error);
  }
  cr_assert_eq(memcmp(tensor(s, "model.layers.0.input_layernorm.weight"), norm, sizeof norm), 0);
  cr_assert_eq(qp_safetensors_find(s, "model.embed_tokens.weight")->type, QP_TENSOR_F16);
  qp_safetensors_close(s);
}

/* ---- Plans ---- */

static const cJSON *entry_named(const cJSON *list, const char *key, const char *name) {
  const cJSON *item;
  cJSON_ArrayForEach(item, list) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, key));
    if (text && !strcmp(text, name)) return item;
  }
  return NULL;
}

/* Sensitivities that differ, so that the plan mixes quantizers. */
static void write_sensitivities(void) {
  char text[2048] = "{";
  for (unsigned b = 0; b < 2; b++)
    for (unsigned l = 0; l < 7; l++)
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"model.layers.%u.%s\": %d",
               b + l ? ", " : "", b, families[0].linear[l].name, 1 << (2 * l));
  strcat(text, "}");
  write_text(path("alpha.json"), text);
}

Test(quantize_inputs, a_plan_mixes_quantizers) {
  char arguments[2048];
  cJSON *plan, *config;
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_sensitivities();
  snprintf(arguments, sizeof arguments,
           "plan --model '%s' --bits 4 --quantizers nuq --lm-head keep --sensitivity '%s' -o '%s'",
           path("in/config.json"), path("alpha.json"), path("plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s' --verify", path("plan.json"));
  cr_assert_eq(quantize(arguments, "out"), 0, "%s", answer);
  cr_assert_eq(qp_json_read(path("plan.json"), &plan, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_json_read(path("out/config.json"), &config, &err), QP_OK, "%s", err.text);
  const cJSON *section = cJSON_GetObjectItem(config, "quantization");
  const cJSON *done = cJSON_GetObjectItem(section, "linears"), *item;
  unsigned count = 0;
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(plan, "linears")) {
    const char *name = cJSON_GetObjectItem(item, "tensor")->valuestring;
    const char *wanted = cJSON_GetObjectItem(item, "quantizer")->valuestring;
    const cJSON *entry = entry_named(done, "name", name);
    if (!strcmp(wanted, "fp16")) continue;
    cr_assert(entry, "%s is not quantized", name);
    cr_assert_str_eq(cJSON_GetObjectItem(entry, "quantizer")->valuestring, wanted);
    count++;
  }
  cr_assert_eq(count, 14);
  cr_assert_gt(cJSON_GetArraySize(cJSON_GetObjectItem(section, "quantizers")), 1, "all are alike");
  cJSON_Delete(plan);
  cJSON_Delete(config);
}

Test(quantize_inputs, a_plan_of_another_model_is_refused) {
  char arguments[1024];
  make_family(&families[8], QP_TENSOR_F32, "phi");
  make_family(&families[0], QP_TENSOR_F32, "in");
  snprintf(arguments, sizeof arguments,
           "plan --model '%s' --bits 4 --quantizers nuq --lm-head keep -o '%s'",
           path("phi/config.json"), path("plan.json"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  snprintf(arguments, sizeof arguments, "--plan '%s'", path("plan.json"));
  cr_assert_eq(quantize(arguments, "out"), 2);
  cr_assert(strstr(answer, "plan.json: linear 'model.layers.0.self_attn.qkv_proj'"), "%s", answer);
}

/* ---- Hessians ---- */

static float skew;   /* what elements above the diagonal have more, and those below less */
static double alike; /* what neighbouring inputs have in common, if not 0: then without groups */

/* E[x x^T] of x = (a, 0.05 b): a are the first eight inputs' own, b all others'; correlated. */
static float *hessian_of(unsigned columns, unsigned groups) {
  float *h = calloc((size_t)groups * columns * columns, sizeof *h);
  for (unsigned g = 0; g < groups; g++)
    for (unsigned i = 0; i < columns; i++)
      for (unsigned k = 0; k < columns; k++) {
        const unsigned from = 8 * g;
        const double a = i >= from && i < from + 8 ? 1 : 0.05;
        const double b = k >= from && k < from + 8 ? 1 : 0.05;
        const double far = i < k ? k - i : i - k;
        const float more = i < k ? skew : i > k ? -skew : 0;
        h[((size_t)g * columns + i) * columns + k] =
            (float)(alike > 0 ? pow(alike, far) : a * b * (i == k ? 1 : 0.9)) + more;
      }
  return h;
}

static float spoilt = 1; /* what stands in group g, row 1, column 13 of those that are written, */
static unsigned spoilt_group = 64, spoilt_column = 13; /* for this g; or another column */
static const char *mean_of = NULL; /* as many tokens, as the files say; NULL: they do not */

static void write_hessian(const char *file, const linear *l, unsigned groups) {
  const uint64_t shape[] = {groups, l->columns, l->columns};
  const size_t bytes = (size_t)groups * l->columns * l->columns * sizeof(float);
  float *h = hessian_of(l->columns, groups);
  if (spoilt_group < groups)
    h[((size_t)spoilt_group * l->columns + 1) * l->columns + spoilt_column] = spoilt;
  qp_tensor_writer *w;
  cr_assert_eq(qp_tensor_writer_new(file, &w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_declare(w, "hessian", QP_TENSOR_F32, groups > 1 ? 3 : 2,
                                        groups > 1 ? shape : shape + 1, NULL, &err),
               QP_OK);
  if (mean_of) cr_assert_eq(qp_tensor_writer_metadata(w, "tokens", mean_of, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_start(w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_write(w, 0, 0, h, bytes, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_OK);
  qp_tensor_writer_free(w);
  free(h);
}

/* A row of the stored linear in the basis of the checkpoint: r s (H^T w^). */
static void restore_row(const double *packed, double scale, const uint32_t *signs, unsigned columns,
                        double *out) {
  qp_hadamard h;
  qp_hadamard_factor(columns, &h);
  for (unsigned k = 0; k < columns; k++) { /* column k of H: H e_k */
    double e[MIDDLE] = {0}, sum = 0;
    e[k] = 1;
    qp_hadamard_apply(&h, e, e);
    for (unsigned i = 0; i < columns; i++) sum += e[i] * packed[i];
    out[k] = scale * (signs[k / 32] >> (k % 32) & 1 ? -sum : sum);
  }
}

/* tr(E H E^T) / tr(W H W^T) of rows [first, first + rows) of up_proj of block 0 with Hessian g. */
static double output_loss(const char *out, unsigned first, unsigned rows, unsigned g) {
  const linear *l = &families[0].linear[4];
  float *w = values_of(l, 4, QP_TENSOR_F32), *h = hessian_of(l->columns, g + 1);
  const float *hg = h + (size_t)g * l->columns * l->columns;
  double lost = 0, power = 0, row[MIDDLE];
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", out), &s, &err), QP_OK, "%s", err.text);
  double *packed = decode(s, "model.layers.0.mlp.up_proj", quantizer_of("nuq-3"), l->rows, HIDDEN);
  float *scale = scales_of(s, "model.layers.0.mlp.up_proj", l->rows);
  const uint32_t *signs = tensor(s, "model.layers.0.up-gate.signs");
  for (unsigned r = first; r < first + rows; r++) {
    restore_row(packed + (size_t)r * HIDDEN, (double)scale[r], signs, HIDDEN, row);
    for (unsigned i = 0; i < HIDDEN; i++)
      for (unsigned k = 0; k < HIDDEN; k++) {
        const double hik = (double)hg[(size_t)i * HIDDEN + k];
        const double wi = (double)w[(size_t)r * HIDDEN + i], wk = (double)w[(size_t)r * HIDDEN + k];
        lost += (wi - row[i]) * hik * (wk - row[k]);
        power += wi * hik * wk;
      }
  }
  qp_safetensors_close(s);
  free(scale);
  free(packed);
  free(w);
  free(h);
  return lost / power;
}

static double reported_proxy(const char *out) {
  cJSON *report;
  cr_assert_eq(qp_json_read(path("%s/quantize-report.json", out), &report, &err), QP_OK);
  const cJSON *l =
      cJSON_GetObjectItem(cJSON_GetObjectItem(report, "linears"), "model.layers.0.mlp.up_proj");
  const double v = cJSON_GetObjectItem(cJSON_GetObjectItem(l, "nuq-3"), "proxy")->valuedouble;
  cJSON_Delete(report);
  return v;
}

static void quantize_up(const char *options, const char *out) {
  char all[1024];
  snprintf(all, sizeof all, "--quantizer nuq-3 --blocks 1 --keep gate %s", options);
  cr_assert_eq(quantize(all, out), 0, "%s", answer);
}

/* What counts are the outputs: E[|E x|^2], which a Hessian makes smaller. */
Test(quantize_inputs, a_hessian_of_a_linear_lessens_the_loss_of_its_outputs) {
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  snprintf(options, sizeof options, "--hessian '%s'", path("h"));
  quantize_up("", "plain");
  quantize_up(options, "fed");
  const double plain = output_loss("plain", 0, MIDDLE, 0), fed = output_loss("fed", 0, MIDDLE, 0);
  cr_assert(fed < 0.5 * plain, "%g with the Hessian, %g without", fed, plain);
  cr_assert_float_eq(reported_proxy("fed"), fed, 1e-3 * fed, "%g is told, it is %g",
                     reported_proxy("fed"), fed);
}

Test(quantize_inputs, each_group_of_rows_has_its_own_hessian) {
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 3);
  snprintf(options, sizeof options, "--hessian '%s'", path("h"));
  quantize_up("", "plain");
  quantize_up(options, "fed");
  for (unsigned g = 0; g < 3; g++) {
    const double plain = output_loss("plain", 32 * g, 32, g);
    const double fed = output_loss("fed", 32 * g, 32, g);
    cr_assert(fed < 0.5 * plain, "group %u: %g with the Hessian, %g without", g, fed, plain);
  }
}

Test(quantize_inputs, hessians_that_do_not_fit_are_refused_before_work) {
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[6], 1);
  snprintf(options, sizeof options, "--quantizer nuq-3 --hessian '%s'", path("h"));
  cr_assert_eq(quantize(options, "out"), 2);
  cr_assert(strstr(answer, "is F32 [96][96]; F32, [64][64] or"), "%s", answer);
  write_hessian(path("none/other.safetensors"), &families[0].linear[0], 1);
  snprintf(options, sizeof options, "--quantizer nuq-3 --hessian '%s'", path("none"));
  cr_assert_eq(quantize(options, "out"), 2);
  cr_assert(strstr(answer, "no linear of the model has a Hessian"), "%s", answer);
}

/* Its place in the user's file, not in what the rotation makes of it. */
Test(quantize_inputs, a_hessian_that_is_none_is_refused_before_work) {
  static const struct {
    float value;
    unsigned group, column;
    const char *place;
  } bad[] = {{NAN, 0, 13, "tensor 'hessian' [1][13] is nan"},
             {INFINITY, 2, 13, "[2][1][13] is inf"},
             {3e38F, 0, 1, "[1][1] is 3e+38; moments should be finite and at most 1e+30"},
             {-1, 0, 1, "[1][1] is -1; means of squares should not be negative"},
             {3, 2, 13, "[2][13][1] is 0.00225, and [1][13] is 3; it should be symmetric"},
             {-3, 0, 0, "[1][0] is -3, and [0][1] is 0.9; it should be symmetric"}};
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  snprintf(options, sizeof options, "--quantizer nuq-3 --hessian '%s'", path("h"));
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    spoilt = bad[i].value;
    spoilt_group = bad[i].group;
    spoilt_column = bad[i].column;
    write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4],
                  bad[i].group + 1);
    cr_expect_eq(quantize(options, "out"), 2, "%s", answer);
    cr_expect(strstr(answer, bad[i].place), "'%s' is missing in %s", bad[i].place, answer);
    cr_expect(strstr(answer, "linear 'model.layers.0.mlp.up_proj'"), "%s", answer);
    cr_expect_neq(access(path("out"), F_OK), 0, "something was left behind");
  }
}

/* As by sums in another order: rotated, some would differ by more than what is refused. */
Test(quantize_inputs, a_hessian_that_is_nearly_symmetric_is_taken) {
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  snprintf(options, sizeof options, "--hessian '%s'", path("h"));
  skew = 5e-5F; /* the mean diagonal is 0.127 */
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  quantize_up(options, "out");
}

static double reported_damping(const char *out) {
  cJSON *report;
  cr_assert_eq(qp_json_read(path("%s/quantize-report.json", out), &report, &err), QP_OK);
  const cJSON *l =
      cJSON_GetObjectItem(cJSON_GetObjectItem(report, "linears"), "model.layers.0.mlp.up_proj");
  const double v = cJSON_GetObjectItem(cJSON_GetObjectItem(l, "nuq-3"), "damping")->valuedouble;
  cJSON_Delete(report);
  return v;
}

static void expect_another_run(const char *options) {
  cr_expect_eq(quantize(options, "out"), 2, "%s", options);
  cr_expect(strstr(answer, "another run"), "%s: %s", options, answer);
}

Test(quantize_inputs, another_hessian_or_damping_makes_it_another_run) {
  char options[512], damped[600];
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  snprintf(options, sizeof options, "--quantizer nuq-3 --hessian '%s'", path("h"));
  snprintf(damped, sizeof damped, "%s --damping 0.25", options);
  cr_assert_eq(quantize(options, "out"), 0, "%s", answer);
  cr_assert_eq(quantize(options, "out"), 0, "%s", answer);
  expect_another_run(damped);
  expect_another_run("--quantizer nuq-3");
  skew = 1e-5F; /* the same file, of other bytes */
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  expect_another_run(options);
  skew = 0;
}

Test(quantize_inputs, a_hessian_is_damped_as_much_as_is_asked_for) {
  char options[512];
  make_family(&families[0], QP_TENSOR_F32, "in");
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  snprintf(options, sizeof options, "--hessian '%s' --damping 0.25", path("h"));
  quantize_up(options, "damped");
  cr_expect_eq(reported_damping("damped"), 0.25);
  cr_expect_null(strstr(answer, "not positive definite"), "%s", answer);
  snprintf(options, sizeof options, "--hessian '%s'", path("h"));
  quantize_up(options, "usual");
  cr_expect_eq(reported_damping("usual"), 0.01);
  alike = 0.997;
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  quantize_up(options, "smooth");
  cr_expect_eq(reported_damping("smooth"), 0.01);
  mean_of = "1000000";
  write_hessian(path("h/model.layers.0.mlp.up_proj.safetensors"), &families[0].linear[4], 1);
  quantize_up(options, "settled");
  cr_expect_float_eq(reported_damping("settled"), 0.001, 1e-9, "%g", reported_damping("settled"));
  cr_expect(reported_proxy("settled") < reported_proxy("smooth"), "%g, %g",
            reported_proxy("settled"), reported_proxy("smooth"));
  snprintf(options, sizeof options, "--quantizer nuq-3 --hessian '%s' --damping 2", path("h"));
  cr_expect_eq(quantize(options, "out"), 2);
  cr_expect(strstr(answer, "--damping '2': a number above 0, at most 1"), "%s", answer);
  cr_expect_eq(quantize("--quantizer nuq-3 --damping 0.1", "out"), 2);
  cr_expect(strstr(answer, "--damping is of Hessians"), "%s", answer);
}
