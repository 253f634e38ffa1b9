/* SPDX-License-Identifier: MIT */
/* Rotary embeddings of GGUF files as config.json says them. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/model/gguf_rotary.h"

static unsigned char file[4096];
static size_t bytes;
static qp_error err;

static void put(const void *p, size_t n) {
  memcpy(file + bytes, p, n);
  bytes += n;
}
static void put32(uint32_t v) { put(&v, 4); }
static void put64(uint64_t v) { put(&v, 8); }
static void put_text(const char *s) {
  put64(strlen(s));
  put(s, strlen(s));
}

static void begin(uint64_t tensors, uint64_t keys) {
  bytes = 0;
  put("GGUF", 4);
  put32(3);
  put64(tensors);
  put64(keys);
}
static void key_text(const char *key, const char *value) {
  put_text(key);
  put32(8);
  put_text(value);
}
static void key_number(const char *key, float value) {
  put_text(key);
  put32(6);
  put(&value, 4);
}
static void key_whole(const char *key, uint32_t value) {
  put_text(key);
  put32(4);
  put32(value);
}
static void list(const char *name, uint64_t n, uint64_t offset) {
  put_text(name);
  put32(1);
  put64(n);
  put32(0);
  put64(offset);
}
static void values(const float *v, size_t n) {
  while (bytes % 32) file[bytes++] = 0;
  put(v, n * sizeof *v);
}

/* Compare what is added to {hidden_size, num_attention_heads} with 'want'. */
static void expect(const char *architecture, const char *want) {
  qp_gguf *g;
  cr_assert_eq(qp_gguf_parse("f.gguf", file, bytes, &g, &err), QP_OK, "%s", err.text);
  qp_gguf_part part = {.path = "f.gguf", .file = g};
  cJSON *config = cJSON_Parse("{\"hidden_size\": 64, \"num_attention_heads\": 4}");
  const qp_status status = qp_gguf_rotary(architecture, &(qp_gguf_parts){1, &part}, config, &err);
  cJSON_DeleteItemFromObject(config, "hidden_size");
  cJSON_DeleteItemFromObject(config, "num_attention_heads");
  char *got = cJSON_PrintUnformatted(config);
  cr_expect_str_eq(status ? err.text : got, want);
  cJSON_free(got);
  cJSON_Delete(config);
  qp_gguf_close(g);
}

Test(gguf_rotary, a_file_that_scales_nothing_adds_nothing) {
  begin(0, 2);
  key_text("llama.rope.scaling.type", "none");
  key_whole("llama.rope.dimension_count", 16);
  expect("llama", "{}");
}

Test(gguf_rotary, part_of_a_head_and_scalings_keep_their_numbers) {
  begin(0, 4);
  key_text("qwen2.rope.scaling.type", "yarn");
  key_whole("qwen2.rope.dimension_count", 4);
  key_number("qwen2.rope.scaling.factor", 4);
  key_whole("qwen2.rope.scaling.original_context_length", 32768);
  expect("qwen2", "{\"partial_rotary_factor\":0.25,\"rope_scaling\":{\"original_max_position_"
                  "embeddings\":32768,\"rope_type\":\"yarn\",\"factor\":4},\"original_max_position_"
                  "embeddings\":32768}");
  begin(0, 2);
  key_text("gemma3.rope.scaling.type", "linear");
  key_number("gemma3.rope.scaling.factor", 8);
  expect("gemma3", "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}");
}

Test(gguf_rotary, factors_of_frequencies_are_those_of_the_tensors) {
  const float one[] = {1, 2, 8.5f}, two[8 + 2] = {1, 3, [8] = 4, 5};
  begin(1, 0);
  list("rope_freqs.weight", 3, 0);
  values(one, 3);
  expect("llama", "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"short_factor\":[1,2,8.5],"
                  "\"long_factor\":[1,2,8.5],\"attention_factor\":1}}");
  begin(2, 2);
  key_whole("phi3.rope.scaling.original_context_length", 4096);
  key_number("phi3.rope.scaling.attn_factor", 1.25f);
  list("rope_factors_short.weight", 2, 0);
  list("rope_factors_long.weight", 2, 32);
  values(two, 10);
  expect("phi3",
         "{\"rope_scaling\":{\"original_max_position_embeddings\":4096,\"rope_type\":\"longrope\","
         "\"short_factor\":[1,3],\"long_factor\":[4,5],\"attention_factor\":1.25},"
         "\"original_max_position_embeddings\":4096}");
}

Test(gguf_rotary, what_is_not_known_is_refused_by_its_key) {
  begin(0, 1);
  key_text("llama.rope.scaling.type", "warp");
  expect("llama", "f.gguf: key 'llama.rope.scaling.type' is 'warp'; none, linear, yarn and "
                  "longrope (with its tensors) are known");
  begin(0, 1);
  key_text("llama.rope.scaling.type", "linear");
  expect("llama", "f.gguf: key 'llama.rope.scaling.factor' is missing, or not above 0");
  const float zero[] = {1, 0};
  begin(1, 0);
  list("rope_freqs.weight", 2, 0);
  values(zero, 2);
  expect("llama", "f.gguf: tensor 'rope_freqs.weight': element 1 is 0; numbers are needed");
}
