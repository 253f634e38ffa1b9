/* SPDX-License-Identifier: MIT */
/* qpal quantize --device: what encode kernels write is what the threads write, byte for byte. */
#include <math.h>
#include <sys/stat.h>

#include "gen/compile/compile.h"
#include "gen/encode/feedback.h"
#include "gen/encode/sample.h"
#include "tuner/quantize/device_search.h"

#include "tests/quantize/quantize_kit.h"

/* Trellises small enough for the simulator. */
static const char spec[] =
    "local function tiny(name, step)\n"
    "  return trellis { name = name, window = 8, dim = 2, step = step,\n"
    "    codebook = gaussian_kmeans { entries = 256, dim = 2, seed = 1 },\n"
    "    decode = function (s, c) return c[s & 255] end }\n"
    "end\n"
    "return { tiny('tiny-2', 4), tiny('tiny-3', 6),\n"
    "  scalar { name = 'own', bits = 3, codebook = lloyd_max { entries = 8, scope = 'tensor' },\n"
    "    decode = function (c, book) return book[c] end },\n"
    "  scalar { name = 'rows', bits = 2, codebook = lloyd_max { entries = 4, scope = 'row' },\n"
    "    decode = function (c, book) return book[c] end },\n"
    "  scalar { name = 'of-rows', bits = 2, group = { size = 16, scale = { 'u3', 1, 7 },\n"
    "      d = { 'f16', 0.125, 0.5, scope = 'row' } },\n"
    "    decode = function (c, _, g) return g.d * half(g.scale) * (half(c) - 1.5) end },\n"
    "  scalar { name = 'sparse', bits = 2, sparse = 0.04, rotation = 'none',\n"
    "    codebook = lloyd_max { entries = 4, scope = 'row' } },\n"
    "  trellis { name = 'sparse-tiny', window = 8, dim = 2, step = 4, sparse = 0.04,\n"
    "    rotation = 'none', codebook = random_gaussian { entries = 256, dim = 2 } },\n"
    "  vector { name = 'sparse-four', dim = 4, bits = 6, sparse = 0.04, rotation = 'none',\n"
    "    codebook = random_gaussian { entries = 64, dim = 4 },\n"
    "    decode = function (c, book) return book[c] end },\n"
    "  vector { name = 'three', dim = 3, bits = 6,\n"
    "    codebook = random_gaussian { entries = 64, dim = 3 },\n"
    "    decode = function (c, book) return book[c] end },\n"
    "  scalar { name = 'sparse-fields', bits = 2, sparse = 0.04, rotation = 'none',\n"
    "    group = { size = 32, d = { 'f16', 0.015625, 4 } },\n"
    "    decode = function (c, _, g) return g.d * (half(c) - 1.5) end },\n"
    "  vector { name = 'scaled', dim = 4, bits = 6,\n"
    "    codebook = random_gaussian { entries = 64, dim = 4 },\n"
    "    group = { size = 16, d = { 'f16', 0.015625, 4 } },\n"
    "    decode = function (c, book, g) return book[c] * g.d end },\n"
    "  vector { name = 'stages', dim = 8, bits = 21,\n"
    "    codebooks = { a = random_gaussian { entries = 32, dim = 8 },\n"
    "      b = random_gaussian { entries = 32, dim = 8, seed = 2 },\n"
    "      c = random_gaussian { entries = 32, dim = 8, seed = 3 },\n"
    "      d = random_gaussian { entries = 64, dim = 8, seed = 4, scope = 'tensor' } },\n"
    "    decode = function (c, books) return books.a[c & 31] * 0.5 +\n"
    "      books.b[c >> 5 & 31] * 0.25 + books.c[c >> 10 & 31] * 0.125 + books.d[c >> 15] end },\n"
    "  scalar { name = 'signs', bits = 2, planes = true,\n"
    "    group = { size = 48, a = { 'f16', 0.015625, 4 }, b = { 'bf16', 0.015625, 4 } },\n"
    "    decode = function (c, _, g)\n"
    "      local function sign(bit) return single(half_signed(bit * 2 - 1)) end\n"
    "      return sign(c & 1) * single(g.a) + sign(c >> 1) * g.b end },\n"
    "  vector { name = 'trits', dim = 4, bits = 8,\n"
    "    group = { size = 48, d = { 'f16', 0.015625, 4 } },\n"
    "    decode = function (c, _, g)\n"
    "      local w = {}\n"
    "      for i = 0, 3 do w[i + 1] = half_signed(min(c >> 2 * i & 3, 2) - 1) * g.d end\n"
    "      return w end },\n"
    "  split { name = 'tiny', parts = { { 'tiny-2', 1/2 }, { 'tiny-3', 1/2 } } } }\n";

/* One block whose k_proj has 16 rows (half a group) of 64 columns. */
static void make_checkpoint(void) {
  static const struct {
    const char *name;
    unsigned rows, columns;
  } linears[] = {{"self_attn.q_proj", 64, 64}, {"self_attn.k_proj", 16, 64},
                 {"self_attn.v_proj", 16, 64}, {"self_attn.o_proj", 64, 64},
                 {"mlp.up_proj", 96, 64},      {"mlp.gate_proj", 96, 64},
                 {"mlp.down_proj", 64, 96}};
  pending p;
  make_folder();
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < sizeof linears / sizeof *linears; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l].name);
    pending_add(&p, name, QP_TENSOR_F32, linears[l].rows, linears[l].columns,
                weights_of(l + 1, (size_t)linears[l].rows * linears[l].columns));
  }
  pending_write(&p);
  write_text(path("in/config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96,"
             " \"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"head_dim\": 16,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 48, \"tie_word_embeddings\": true}");
  write_text(path("own.lua"), spec);
}

TestSuite(quantize_device, .init = make_checkpoint, .fini = remove_folder);

/* 'codes': how many the kernels found. */
static void expect_same(const char *options, const char *codes) {
  char on_device[1024];
  snprintf(on_device, sizeof on_device, "%s --device sim", options);
  cr_assert_eq(quantize(options, "cpu"), 0, "%s", answer);
  cr_assert_eq(quantize(on_device, "sim"), 0, "%s", answer);
  cr_assert(strstr(answer, codes), "%s", answer);
  expect_same_files("cpu", "sim");
}

Test(quantize_device, trellises_and_splits) {
  char options[512];
  snprintf(options, sizeof options,
           "--quantizer '%s:tiny' --keep q_proj --keep v_proj --keep o_proj --keep mlp",
           path("own.lua"));
  expect_same(options, "\n1024 codes by kernels on sim"); /* 32 lanes, 64 columns, pairs */
}

/* A file of h/ for a linear, alike in neighbouring columns, so that errors are passed on. */
static void write_hessian(const char *linear, int columns) {
  float *h = malloc(sizeof *h * (size_t)(columns * columns)); /* it is the file's */
  pending p;
  for (int i = 0; i < columns; i++)
    for (int j = 0; j < columns; j++)
      h[i * columns + j] = powf(0.95f, fabsf((float)(i - j))) + (i == j ? 0.1f : 0);
  pending_begin(&p, path("h/model.layers.0.%s.safetensors", linear));
  pending_add(&p, "hessian", QP_TENSOR_F32, (unsigned)columns, (unsigned)columns, h);
  pending_write(&p);
}

/* Options for two linears with Hessians of different columns. */
static const char *with_hessians(const char *quantizer) {
  static char options[1024];
  cr_assert_eq(mkdir(path("h"), 0777), 0);
  write_hessian("self_attn.k_proj", 64);
  write_hessian("mlp.down_proj", 96);
  snprintf(options, sizeof options,
           "--quantizer '%s' --hessian '%s' --keep q_proj --keep v_proj --keep o_proj"
           " --keep up_proj --keep gate_proj",
           quantizer, path("h"));
  return options;
}

/* Of down_proj a part of 64 columns, whose errors are passed on to the other one's 32. */
Test(quantize_device, errors_of_trellises_and_splits_are_fed_forward) {
  char quantizer[512];
  snprintf(quantizer, sizeof quantizer, "%s:tiny", path("own.lua"));
  expect_same(with_hessians(quantizer), "\n5120 codes by kernels on sim");
}

/* 96 columns are a group of 64, whose errors are passed on to half of one. */
Test(quantize_device, errors_of_group_fields_are_fed_forward) {
  expect_same(with_hessians("nf4-g64"), "\n8192 codes by kernels on sim");
}

/* They are found twice, in an order of their own: by kernels, then by threads. */
Test(quantize_device, errors_of_scalars_are_fed_forward) {
  expect_same(with_hessians("nuq-3"), "\n8192 codes by kernels on sim");
}

Test(quantize_device, errors_of_pairs_are_fed_forward) {
  expect_same(with_hessians("vq2-2"), "\n4096 codes by kernels on sim");
}

Test(quantize_device, errors_of_scalars_by_codebooks_of_rows_are_fed_forward) {
  char quantizer[512];
  snprintf(quantizer, sizeof quantizer, "%s:rows", path("own.lua"));
  expect_same(with_hessians(quantizer), "\n8192 codes by kernels on sim");
}

/* One quantizer of own.lua, of k_proj alone. */
static const char *own(const char *name, bool fed) {
  static char options[1024];
  char quantizer[512];
  snprintf(quantizer, sizeof quantizer, "%s:%s", path("own.lua"), name);
  if (fed)
    snprintf(options, sizeof options, "%s --keep down_proj", with_hessians(quantizer));
  else
    snprintf(options, sizeof options,
             "--quantizer '%s' --keep q_proj --keep v_proj --keep o_proj --keep mlp", quantizer);
  return options;
}

Test(quantize_device, errors_of_fields_of_rows_are_fed_forward) {
  expect_same(own("of-rows", true), "\n2048 codes by kernels on sim");
}

/* Eight weights of a code in stages, and columns of padding. */
Test(quantize_device, errors_of_vectors_in_several_rows_are_fed_forward) {
  expect_same(own("stages", true), "\n1024 codes by kernels on sim");
}

/* They take up errors of the columns before them; of k_proj half of the rows are padding. */
Test(quantize_device, errors_are_fed_forward_into_sparse_entries_beside_codebooks_of_rows) {
  expect_same(own("sparse", true), "\n8192 codes by kernels on sim"); /* encoded four times */
}

Test(quantize_device, errors_are_fed_forward_into_sparse_entries_beside_group_fields) {
  expect_same(own("sparse-fields", true), "\n4096 codes by kernels on sim");
}

Test(quantize_device, errors_are_fed_forward_into_sparse_entries_beside_trellises) {
  expect_same(own("sparse-tiny", true), "\n1024 codes by kernels on sim");
}

Test(quantize_device, errors_are_fed_forward_into_sparse_entries_beside_vectors) {
  expect_same(own("sparse-four", true), "\n512 codes by kernels on sim");
}

/* Of three weights, whose lanes have padding to 192 columns. */
Test(quantize_device, errors_of_vectors_that_end_between_columns_are_fed_forward) {
  expect_same(own("three", true), "\n2048 codes by kernels on sim");
}

Test(quantize_device, errors_of_fields_that_scale_vectors_are_fed_forward) {
  expect_same(own("scaled", true), "\n512 codes by kernels on sim");
}

/* Beside bf16 a last group that is not whole. */
Test(quantize_device, errors_of_fields_that_add_up_are_fed_forward) {
  expect_same(own("signs", true), "\n2048 codes by kernels on sim");
}

/* What rounds to BF16 on the way has no kernel: when it is asked for, threads take over. */
Test(quantize_device, what_has_no_kernel_with_a_hessian_is_encoded_by_threads) {
  expect_same(with_hessians("int4-g128-bf16"), "\n0 codes by kernels on sim");
}

Test(quantize_device, vectors) {
  expect_same("--quantizer vq2-2 --keep mlp", "\n6144 codes by kernels on sim");
}

Test(quantize_device, scalars) {
  expect_same("--quantizer nuq-4 --keep mlp", "\n12288 codes by kernels on sim");
}

/* 96 columns are a group of 64 and half of one. */
Test(quantize_device, group_fields) {
  expect_same("--quantizer nf4-g64 --keep q_proj --keep k_proj --keep v_proj --keep o_proj"
              " --keep up_proj --keep gate_proj",
              "\n6144 codes by kernels on sim");
}

Test(quantize_device, fields_that_scale_vectors) {
  expect_same(own("scaled", false), "\n512 codes by kernels on sim");
}

Test(quantize_device, codes_in_stages) {
  expect_same(own("stages", false), "\n1024 codes by kernels on sim");
}

Test(quantize_device, fields_of_groups_and_of_rows) {
  expect_same(own("of-rows", false), "\n2048 codes by kernels on sim");
}

/* Two linears, whose codebooks are two. */
Test(quantize_device, codebooks_of_the_linear) {
  char options[512];
  snprintf(options, sizeof options, "--quantizer '%s:own' --keep q_proj --keep o_proj --keep mlp",
           path("own.lua"));
  expect_same(options, "\n4096 codes by kernels on sim");
}

Test(quantize_device, codebooks_of_rows) {
  char options[512];
  snprintf(options, sizeof options, "--quantizer '%s:rows' --keep q_proj --keep o_proj --keep mlp",
           path("own.lua"));
  expect_same(options, "\n4096 codes by kernels on sim");
}

Test(quantize_device, bit_planes) {
  expect_same("--quantizer anyprec-3 --keep q_proj --keep o_proj --keep mlp",
              "\n4096 codes by kernels on sim");
}

/* Of several types; a last group that is not whole. */
Test(quantize_device, fields_that_add_up) {
  expect_same(own("signs", false), "\n2048 codes by kernels on sim");
}

Test(quantize_device, fields_of_vectors_that_add_up) {
  expect_same(own("trits", false), "\n512 codes by kernels on sim");
}

/* What rounds to BF16 on the way has no encode kernel: threads do it. */
Test(quantize_device, what_has_no_kernel_is_encoded_by_threads) {
  expect_same("--quantizer int4-g128-bf16 --keep mlp", "\n0 codes by kernels on sim");
}

/* Products with C and its transpose, by the searcher and here. */
static void expect_same_products(const qp_encode_searcher *by, float alike) {
  enum { COLUMNS = 512, CELLS = COLUMNS * 32 };
  static float h[COLUMNS * COLUMNS], a[CELLS], got[CELLS], wanted[CELLS];
  unsigned *edge = malloc(2 * sizeof *edge); /* it is the feedback's */
  qp_feedback f;
  for (int i = 0; i < COLUMNS * COLUMNS; i++) {
    const int apart = i / COLUMNS - i % COLUMNS;
    h[i] = powf(alike, fabsf((float)apart));
  }
  edge[0] = 0, edge[1] = COLUMNS;
  cr_assert_eq(qp_feedback_make(&f, COLUMNS, h, 0.01, edge, 1, &err), QP_OK, "%s", err.text);
  qp_sample_gaussian(5, CELLS, a);
  for (unsigned n = 0; n < 2; n++) {
    const qp_rows_part part = n ? QP_ROWS_BEHIND : QP_ROWS_BEFORE;
    cr_assert_eq(by->product(by->context, &f, part, a, got, &err), QP_OK, "%s", err.text);
    if (n)
      qp_feedback_slopes(&f, a, wanted);
    else
      qp_feedback_root(&f, a, wanted);
    cr_expect_eq(memcmp(got, wanted, sizeof got), 0, "%g, %u", (double)alike, n);
  }
  qp_feedback_free(&f);
}

/* Of one linear's Hessian after the other's. */
Test(quantize_device, products_with_the_root_of_a_hessian) {
  qp_families *families;
  qp_compiler *compiler;
  qp_device_search *search;
  const qp_compiler_options options = {.workers = 1};
  cr_assert_eq(qp_families_open(&families, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_compiler_open(&options, &compiler, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_device_search_open("sim", 90, 2, compiler, families, &search, &err), QP_OK, "%s",
               err.text);
  expect_same_products(qp_device_search_hook(search), 0.9f);
  expect_same_products(qp_device_search_hook(search), 0.5f);
  qp_device_search_close(search);
  qp_compiler_close(compiler);
  qp_families_close(families);
}

Test(quantize_device, a_device_that_is_not_there_is_told) {
  cr_assert_eq(quantize("--quantizer nuq-4 --device cuda:99", "out"), 3, "%s", answer);
  cr_assert(strstr(answer, "cuda:99") || strstr(answer, "libcuda"), "%s", answer);
}
