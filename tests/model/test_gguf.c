/* SPDX-License-Identifier: MIT */
/* GGUF files are read as llama.cpp writes them, and refused when they are wrong. */
#include <cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/model/checkpoint.h"
#include "gen/model/gguf.h"
#include "gen/model/gguf_names.h"

static qp_error err;

/* ---- Blocks ---- */

/*
** What the Python package gguf 0.19 (quants.dequantize) makes of two blocks of bytes
** x >> 24, x = 1664525 x + 1013904223 from x = 7, with the half at each scale's place in block b
** set to the bytes 0x66, 0x2e + b + k (k: first or second scale), MXFP4's exponents to 126, 129
** and the first scales of NVFP4 to 0x7f, 0xff.
*/
static const struct golden {
  const char *name;
  uint32_t number;
  unsigned index[13];
  float value[13];
  unsigned count;
  double sum; /* of magnitudes */
} golden[] = {
    {"Q4_0",
     2,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {0.399902344f, 0.49987793f, 0.299926758f, 0.0999755859f, 0.599853516f, -0.199951172f,
      -0.199951172f, 0.462402344f, 0.346801758f, -0.809204102f},
     10,
     27.2032471},
    {"Q4_1",
     3,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {1.31530762f, 1.21533203f, 1.11535645f, 0.115600586f, 1.4152832f, 1.4152832f, 1.4152832f,
      0.715454102f, 0.599853516f, 1.17785645f},
     10,
     65.5002441},
    {"Q5_0",
     6,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {-0.399902344f, -0.299926758f, 1.09973145f, -1.09973145f, -1.59960938f, 0.699829102f,
      0.699829102f, 1.73400879f, -0.115600586f, 1.27160645f},
     10,
     57.8994141},
    {"Q5_1",
     7,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {0.215576172f, 1.21533203f, 3.21484375f, 0.215576172f, 1.61523438f, 1.21533203f, 1.21533203f,
      3.48986816f, 1.64025879f, 1.29345703f},
     10,
     120.081665},
    {"Q8_0",
     8,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {-9.99755859f, -1.89953613f, 10.6973877f, 12.0970459f, -3.79907227f, -9.69763184f,
      -9.69763184f, -11.6756592f, 9.24804688f, 12.0224609f},
     10,
     467.897583},
    {"Q4_K",
     12,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {6.43273926f, -1.96520996f, 25.5716553f, 20.1729736f, -3.78991699f, 4.27392578f, 13.3717041f,
      0.690429688f, 14.2056885f, 5.41101074f, -0.492675781f, 6.62451172f, 4.13415527f},
     13,
     9207.23315},
    {"Q5_K",
     13,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {18.4298096f, 6.43273926f, 52.5650635f, 22.8723145f, 52.1964111f, 35.4663086f, 15.9710693f,
      -0.809204102f, 37.5999756f, 11.7094727f, 18.5961914f, 58.197876f, 21.7089844f},
     13,
     14654.9354},
    {"Q3_K",
     11,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {-3.19921875f, 1.19970703f, -2.19946289f, 4.39892578f, 2.49938965f, 1.3996582f, 3.19921875f,
      -0.899780273f, -6.79833984f, -2.39941406f, 4.16162109f, 6.5892334f, -0},
     13,
     1846.75159},
    {"Q2_K",
     10,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {3.55224609f, -1.6184082f, 0.159301758f, -1.6184082f, 0, 0.621704102f, 2.59936523f, -0.015625f,
      -0.209350586f, 0.0124511719f, -1.41821289f, -1.09960938f, 0.00634765625f},
     13,
     546.311157},
    {"IQ4_NL",
     20,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {5.29870605f, 6.89831543f, 3.79907227f, 1.29968262f, 8.89782715f, -2.19946289f, -2.19946289f,
      6.12683105f, 4.39282227f, -12.0224609f},
     10,
     381.251587},
    {"IQ4_XS",
     23,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {207.949219f, -75.9814453f, -55.9863281f, 20.7949219f, -12.4969482f, -135.166992f,
      -12.9968262f, -5.19873047f, -165.059692f, -132.767578f, -88.0876465f, -404.948853f,
      -78.8395996f},
     13,
     56184.166},
    {"MXFP4",
     39,
     {0, 1, 15, 16, 17, 31, 31, 32, 37, 63},
     {-0.25f, -1, 3, -2, -0.25f, -1, -1, -2, -24, -2},
     10,
     409.25},
    {"IQ2_XXS",
     16,
     {0, 7, 8, 31, 32, 100, 127, 200, 255, 256, 300, 500},
     {3.09924316f, 9.68513489f, 3.09924316f, -16.658432f, 1.29968262f, -5.93605042f, 1.89953613f,
      -1.29968262f, -9.06028748f, -10.4763031f, -16.776535f, -9.75379944f},
     12,
     2830.33028},
    {"IQ2_XS",
     17,
     {0, 7, 8, 31, 32, 100, 127, 200, 255, 256, 300, 500},
     {16.658432f, -16.658432f, -16.658432f, 3.43666077f, 1.69958496f, -0.899780273f, -8.43544006f,
      -1.89953613f, 3.09924316f, -1.50280762f, 16.776535f, 1.50280762f},
     12,
     2386.65089},
    {"IQ3_XXS",
     18,
     {0, 7, 8, 31, 32, 100, 127, 200, 255, 256, 300, 500},
     {-2.69934082f, 41.8397827f, 8.09802246f, -41.8397827f, 3.09924316f, -0.299926758f,
      0.699829102f, 0.699829102f, -11.6971436f, -11.444458f, -2.89001465f, 39.4197998f},
     12,
     5596.28571},
    {"TQ1_0",
     34,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {-0.0999755859f, -0.0999755859f, 0.0999755859f, -0.0999755859f, -0.0999755859f, -0.0999755859f,
      0.0999755859f, -0.0999755859f, -0.0999755859f, 0.0999755859f, 0, -0.115600586f, 0},
     13,
     35.5075684},
    {"TQ2_0",
     35,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {0, 0.199951172f, 0.199951172f, 0.0999755859f, 0.199951172f, -0.0999755859f, -0.0999755859f, 0,
      0, 0.0999755859f, 0.231201172f, -0.115600586f, 0.231201172f},
     13,
     57.6213379},
    {"NVFP4",
     40,
     {0, 1, 7, 8, 9, 16, 31, 40, 63, 64, 72, 79, 127},
     {-0.0f, -0.0f, 0, 0, -0.0f, 108, -216, 0.28125f, 52, -480, 1440, -480, 0.3515625f},
     13,
     28749.2441},
    {"Q6_K",
     14,
     {0, 31, 32, 63, 64, 100, 127, 128, 200, 255, 256, 300, 500},
     {-49.2879639f, -31.4923096f, 44.189209f, 7.49816895f, 66.4837646f, 7.19824219f, 283.130859f,
      59.7854004f, 17.9956055f, -5.19873047f, 76.2963867f, -31.2121582f, -398.128418f},
     13,
     57671.6017},
};

static void fill(unsigned char *raw, const qp_block_type *t) {
  uint32_t x = 7;
  for (unsigned i = 0; i < 2 * t->bytes; i++) {
    x = x * 1664525 + 1013904223;
    raw[i] = (unsigned char)(x >> 24);
  }
  static const struct {
    const char *name;
    unsigned first, halves;
  } scales[] = {{"Q4_1", 0, 2},   {"Q5_1", 0, 2},   {"Q4_K", 0, 2},   {"Q5_K", 0, 2},
                {"Q2_K", 80, 2},  {"Q3_K", 108, 1}, {"Q6_K", 208, 1}, {"MXFP4", 0, 0},
                {"TQ1_0", 52, 1}, {"TQ2_0", 64, 1}, {"NVFP4", 0, 0}};
  unsigned first = 0, halves = 1;
  for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
    if (!strcmp(scales[i].name, t->name)) first = scales[i].first, halves = scales[i].halves;
  for (unsigned b = 0; b < 2; b++) {
    for (unsigned k = 0; k < halves; k++) {
      raw[b * t->bytes + first + 2 * k] = 0x66;
      raw[b * t->bytes + first + 2 * k + 1] = (unsigned char)(0x2e + b + k);
    }
    if (!halves && t->number == 39) raw[b * t->bytes] = (unsigned char)(126 + 3 * b);
    if (!halves && t->number == 40) raw[b * t->bytes] = b ? 0xff : 0x7f;
  }
}

Test(gguf, blocks_decode_as_ggml_decodes_them) {
  for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
    const qp_block_type *t = qp_block_type_find(golden[g].number);
    unsigned char raw[512];
    float out[512];
    double sum = 0;
    cr_assert(t && !strcmp(t->name, golden[g].name));
    fill(raw, t);
    t->decode(raw, 2 * t->elements, out);
    for (unsigned i = 0; i < golden[g].count; i++)
      cr_assert_float_eq(out[golden[g].index[i]], golden[g].value[i],
                         1e-6 * fabs((double)golden[g].value[i]) + 1e-9, "%s [%u]: %g", t->name,
                         golden[g].index[i], (double)out[golden[g].index[i]]);
    for (unsigned i = 0; i < 2 * t->elements; i++) sum += fabs((double)out[i]);
    cr_assert_float_eq(sum, golden[g].sum, 1e-6 * golden[g].sum, "%s", t->name);
  }
}

/* findings/gguf-mxfp4-negative-zero-and-nan.sh: code 8 is +0, and 0.5 stays finite at 255. */
Test(gguf, mxfp4_has_no_negative_zero_and_no_nan) {
  const unsigned char block[17] = {255, 0x80, 0x19, 0x2a};
  static const float want[] = {0, -0x1p127f, -INFINITY}, high[] = {0, 0x1p127f, INFINITY};
  float out[32];
  qp_block_type_find(39)->decode(block, 32, out);
  for (unsigned i = 0; i < 3; i++) {
    cr_assert(out[i] == want[i] && !signbit(out[0]), "%u: %g", i, (double)out[i]);
    cr_assert(out[16 + i] == high[i] && !signbit(out[16]), "%u: %g", i, (double)out[16 + i]);
  }
}

/* ---- Files ---- */

typedef struct build {
  unsigned char data[1 << 16];
  size_t n;
} build;

static build b;

static void put(const void *p, size_t n) {
  memcpy(b.data + b.n, p, n);
  b.n += n;
}
static void put32(uint32_t v) { put(&v, 4); }
static void put64(uint64_t v) { put(&v, 8); }
static void put_text(const char *s) {
  put64(strlen(s));
  put(s, strlen(s));
}
static void put_key32(const char *key, uint32_t v) {
  put_text(key);
  put32(4);
  put32(v);
}

static void begin(uint64_t tensors, uint64_t keys) {
  b.n = 0;
  put("GGUF", 4);
  put32(3);
  put64(tensors);
  put64(keys);
}

static void tensor(const char *name, uint64_t columns, uint64_t rows, uint32_t type,
                   uint64_t offset) {
  put_text(name);
  put32(rows ? 2 : 1);
  put64(columns);
  if (rows) put64(rows);
  put32(type);
  put64(offset);
}

static void align(void) {
  while (b.n % 32) b.data[b.n++] = 0;
}

static qp_status parse(qp_gguf **g) {
  unsigned char *copy = malloc(b.n + 1); /* exactly as long, for sanitizers */
  memcpy(copy, b.data, b.n);
  err.text[0] = 0;
  qp_status status = qp_gguf_parse("f.gguf", copy, b.n, g, &err);
  if (status) free(copy); /* else it leaks for the rest of the test */
  return status;
}

Test(gguf, metadata_and_tensors_are_found) {
  qp_gguf *g;
  uint64_t n = 0;
  double v = 0;
  char text[8];
  begin(2, 5);
  put_text("general.architecture");
  put32(8);
  put_text("llama");
  put_key32("a.count", 77);
  put_text("a.list");
  put32(9);
  put32(8); /* of strings */
  put64(2);
  put_text("x");
  put_text("yy");
  put_text("a.f");
  put32(6);
  float f = 0.5f;
  put(&f, 4);
  put_text("a.minus");
  put32(5);
  put32((uint32_t)-3);
  tensor("z", 32, 0, 0, 0);
  tensor("a", 32, 2, 2, 128);
  align();
  const size_t begin_of_data = b.n;
  for (unsigned i = 0; i < 128 + 36; i++) b.data[b.n++] = (unsigned char)i;
  cr_assert_eq(parse(&g), QP_OK, "%s", err.text);
  cr_assert(qp_gguf_unsigned(g, "a.count", &n) && n == 77);
  cr_assert_not(qp_gguf_unsigned(g, "a.minus", &n));
  cr_assert(qp_gguf_length(g, "a.list", &n) && n == 2);
  cr_assert(qp_gguf_number(g, "a.f", &v) && v == 0.5);
  cr_assert(qp_gguf_text(g, "general.architecture", text, sizeof text));
  cr_assert_str_eq(text, "llama");
  cr_assert_not(qp_gguf_text(g, "general.architecture", text, 5), "too long for five bytes");
  const qp_gguf_tensor *a = qp_gguf_find(g, "a");
  cr_assert(a && a->bytes == 36 && a->shape[1] == 2 && a->offset == begin_of_data + 128);
  cr_assert_eq(a->data[0], 128);
  qp_gguf_close(g);
}

static void expect_refusal(const char *what, const char *part) {
  qp_gguf *g = NULL;
  cr_assert_neq(parse(&g), QP_OK, "%s", what);
  cr_assert(strstr(err.text, part), "%s: %s", what, err.text);
  cr_assert(strstr(err.text, "f.gguf"), "%s: %s", what, err.text);
}

Test(gguf, wrong_files_are_refused_with_the_reason) {
  b.n = 0;
  expect_refusal("nothing", "GGUF");
  begin(0, 0);
  b.data[4] = 1;
  expect_refusal("version 1", "version 1");
  begin(UINT64_MAX, 0);
  expect_refusal("too many tensors", "18446744073709551615 tensors");
  begin(0, UINT64_MAX);
  expect_refusal("too many keys", "keys");
  begin(0, 1);
  put64(UINT64_MAX);
  expect_refusal("an endless key", "truncated");
  begin(0, 1);
  put_text("k");
  put32(99);
  expect_refusal("an unknown type", "type 99");
  begin(0, 1);
  put_text("k");
  put32(9);
  put32(10);
  put64((uint64_t)1 << 61); /* times 8 bytes: 2^64 */
  expect_refusal("an array that overflows", "truncated");
  begin(0, 1);
  put_text("k");
  for (unsigned i = 0; i < 12; i++) {
    put32(9);
    if (i) put64(1);
  }
  expect_refusal("arrays of arrays", "levels");
  begin(0, 2);
  put_key32("k", 1);
  put_key32("k", 2);
  expect_refusal("a key twice", "twice");
  begin(0, 1);
  put_key32("general.alignment", 3);
  expect_refusal("a strange alignment", "power of two");
}

Test(gguf, wrong_tensors_are_refused_with_the_reason) {
  begin(1, 0);
  tensor("t", 33, 1, 2, 0);
  align();
  b.n += 64;
  expect_refusal("half a block", "whole blocks");
  begin(1, 0);
  put_text("t"); /* Q4_0, without dimensions */
  put32(0);
  put32(2);
  put64(0);
  align();
  b.n += 64;
  expect_refusal("a block of no dimensions", "whole blocks");
  begin(1, 0);
  tensor("t", (uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0);
  expect_refusal("a product that overflows", "too many");
  begin(1, 0);
  tensor("t", 32, 1, 0, (uint64_t)1 << 40);
  align();
  b.n += 128;
  expect_refusal("an offset behind the end", "behind the file's end");
  begin(1, 0);
  tensor("t", 32, 1, 0, 0);
  align();
  b.n += 127;
  expect_refusal("a byte short", "too few bytes");
  begin(1, 0);
  tensor("t", 8, 1, 0, 8);
  align();
  b.n += 128;
  expect_refusal("an odd offset", "not aligned");
  begin(2, 0);
  tensor("t", 32, 1, 0, 0);
  tensor("u", 32, 1, 0, 64);
  align();
  b.n += 256;
  expect_refusal("an overlap", "in the tensor before it");
  begin(2, 0);
  tensor("t", 8, 1, 0, 0);
  tensor("t", 8, 1, 0, 32);
  align();
  b.n += 256;
  expect_refusal("a name twice", "twice");
}

Test(gguf, every_cut_of_a_file_is_refused) {
  qp_gguf *g;
  begin(1, 1);
  put_key32("k", 1);
  tensor("t", 8, 1, 0, 0);
  align();
  b.n += 32;
  const size_t whole = b.n;
  for (b.n = 0; b.n < whole; b.n++) cr_assert_neq(parse(&g), QP_OK, "%zu bytes", b.n);
}

/* ---- Names ---- */

static void expect_name(const char *architecture, const char *from, const char *to) {
  qp_gguf *g;
  qp_gguf_architecture a;
  qp_models *models;
  char name[128];
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  begin(0, 1);
  put_text("general.architecture");
  put32(8);
  put_text(architecture);
  cr_assert_eq(parse(&g), QP_OK);
  cr_assert_eq(qp_gguf_architecture_of(models, g, "f", &a, &err), QP_OK, "%s", err.text);
  cr_assert(qp_gguf_rename(&a, from, name, sizeof name, NULL));
  cr_assert_str_eq(name, to);
  qp_gguf_close(g);
  qp_models_close(models);
}

Test(gguf, names_become_those_of_hugging_face) {
  expect_name("llama", "blk.12.attn_q.weight", "model.layers.12.self_attn.q_proj.weight");
  expect_name("llama", "blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight");
  expect_name("llama", "token_embd.weight", "model.embed_tokens.weight");
  expect_name("llama", "output.weight", "lm_head.weight");
  expect_name("llama", "rope_freqs.weight", "rope_freqs.weight");
  expect_name("qwen2", "blk.1.attn_k.bias", "model.layers.1.self_attn.k_proj.bias");
  expect_name("gemma2", "blk.1.ffn_norm.weight", "model.layers.1.pre_feedforward_layernorm.weight");
  expect_name("phi3", "blk.1.ffn_up.weight", "model.layers.1.mlp.gate_up_proj.weight");
  expect_name("phi3", "blk.1.attn_qkv.weight", "model.layers.1.self_attn.qkv_proj.weight");
  expect_name("bert", "blk.1.ffn_up.weight", "encoder.layer.1.intermediate.dense.weight");
}

/* Mixtral is a llama with experts there. */
Test(gguf, experts_have_an_entry_of_their_own) {
  enum { COLUMNS = 32, ROWS = 4, EXPERTS = 3 };
  begin(2, 8);
  put_text("general.architecture");
  put32(8);
  put_text("llama");
  put_key32("llama.embedding_length", COLUMNS);
  put_key32("llama.feed_forward_length", ROWS);
  put_key32("llama.attention.head_count", 2);
  put_key32("llama.attention.head_count_kv", 1);
  put_key32("llama.block_count", 1);
  put_key32("llama.expert_count", EXPERTS);
  put_key32("llama.expert_used_count", 2);
  tensor("token_embd.weight", COLUMNS, 4, 0, 0);
  put_text("blk.0.ffn_up_exps.weight");
  put32(3);
  put64(COLUMNS);
  put64(ROWS);
  put64(EXPERTS);
  put32(0);
  put64(4 * 4 * COLUMNS);
  align();
  for (unsigned i = 0; i < (4 + EXPERTS * ROWS) * COLUMNS; i++) {
    const unsigned row = i / COLUMNS;
    const float v = row < 4 ? 0 : (float)(row - 4);
    put(&v, 4);
  }
  char path[] = "/tmp/qpal-experts-XXXXXX.gguf";
  int f = mkstemps(path, 5);
  cr_assert(f >= 0 && write(f, b.data, b.n) == (ssize_t)b.n);
  close(f);
  qp_models *models;
  qp_checkpoint *c;
  float out[COLUMNS];
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_checkpoint_open(path, models, &c, &err), QP_OK, "%s", err.text);
  unlink(path);
  cr_assert_str_eq(qp_checkpoint_model(c)->type, "mixtral");
  const qp_source_tensor *t =
      qp_checkpoint_find(c, "model.layers.0.block_sparse_moe.experts.2.w3.weight");
  cr_assert(t && t->rows == ROWS);
  cr_assert_eq(qp_checkpoint_read(c, t, 1, 1, out, &err), QP_OK, "%s", err.text);
  cr_assert_eq(out[0], 2 * ROWS + 1);
  qp_checkpoint_close(c);
  qp_models_close(models);
}

/* ---- A llama, with the rows of q and k as llama.cpp has them ---- */

enum { HIDDEN = 32, HEADS = 2, KV_HEADS = 1, HEAD = 16 };

static void llama_tensors(void) {
  static const struct {
    const char *name;
    unsigned columns, rows;
  } list[] = {{"token_embd.weight", HIDDEN, 4},
              {"blk.0.attn_q.weight", HIDDEN, HEADS * HEAD},
              {"blk.0.attn_k.weight", HIDDEN, HEAD},
              {"blk.0.attn_v.weight", HIDDEN, HEAD}};
  uint64_t offset = 0;
  for (unsigned i = 0; i < 4; i++) {
    tensor(list[i].name, list[i].columns, list[i].rows, 0, offset);
    offset += 4ull * list[i].columns * list[i].rows;
  }
  align();
  for (unsigned i = 0; i < 4; i++) /* element = its row */
    for (unsigned r = 0; r < list[i].rows; r++)
      for (unsigned c = 0; c < HIDDEN; c++) {
        float v = (float)r;
        put(&v, 4);
      }
}

/* What transformers asks of a config, and what generation begins and ends with. */
static void expect_config(const qp_checkpoint *c) {
  cJSON *o = cJSON_Parse(qp_checkpoint_config(c));
  const cJSON *classes = cJSON_GetObjectItem(o, "architectures");
  cr_assert_eq(cJSON_GetArraySize(classes), 1);
  cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetArrayItem(classes, 0)), "LlamaForCausalLM");
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "bos_token_id")), 1);
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "eos_token_id")), 2);
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(o, "pad_token_id")), 3);
  cJSON_Delete(o);
}

Test(gguf, rows_of_q_and_k_are_put_back) {
  begin(4, 9);
  put_text("general.architecture");
  put32(8);
  put_text("llama");
  put_key32("llama.embedding_length", HIDDEN);
  put_key32("llama.feed_forward_length", 64);
  put_key32("llama.attention.head_count", HEADS);
  put_key32("llama.attention.head_count_kv", KV_HEADS);
  put_key32("llama.block_count", 1);
  put_key32("tokenizer.ggml.bos_token_id", 1);
  put_key32("tokenizer.ggml.eos_token_id", 2);
  put_key32("tokenizer.ggml.padding_token_id", 3);
  llama_tensors();
  char path[] = "/tmp/qpal-llama-XXXXXX.gguf";
  int f = mkstemps(path, 5);
  cr_assert(f >= 0 && write(f, b.data, b.n) == (ssize_t)b.n);
  close(f);
  qp_models *models;
  qp_checkpoint *c;
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_checkpoint_open(path, models, &c, &err), QP_OK, "%s", err.text);
  unlink(path);
  cr_assert_eq(qp_checkpoint_model(c)->vocab, 4);
  cr_assert(qp_checkpoint_model(c)->tied);
  expect_config(c);
  const qp_source_tensor *q = qp_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
  const qp_source_tensor *v = qp_checkpoint_find(c, "model.layers.0.self_attn.v_proj.weight");
  float out[2 * HEAD * HIDDEN];
  cr_assert(q && v);
  cr_assert_eq(qp_checkpoint_read(c, q, 0, 2 * HEAD, out, &err), QP_OK, "%s", err.text);
  /* llama.cpp: reshape(heads, 2, d/2, columns).swapaxes(1, 2): its row 2 i + j was row 8 j + i */
  for (unsigned h = 0; h < HEADS; h++)
    for (unsigned i = 0; i < HEAD / 2; i++)
      for (unsigned j = 0; j < 2; j++)
        cr_assert_eq(out[(h * HEAD + 8 * j + i) * HIDDEN], (float)(h * HEAD + 2 * i + j));
  cr_assert_eq(qp_checkpoint_read(c, v, 3, 1, out, &err), QP_OK);
  cr_assert_eq(out[0], 3, "v stays");
  cr_assert_eq(qp_checkpoint_read(c, v, 0, HEAD + 1, out, &err), QP_E_ARG, "past the end");
  qp_checkpoint_close(c);
  qp_models_close(models);
}
