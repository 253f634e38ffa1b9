/* SPDX-License-Identifier: MIT */
/* Checkpoints that others have packed are sources like those in 16 bits: what is written from them
   is what is written from their values. */
#include <math.h>
#include <unistd.h>

#include "gen/model/checkpoint.h"
#include "tests/quantize/quantize_kit.h"

TestSuite(quantize_sources, .init = make_folder, .fini = remove_folder);

enum { HIDDEN = 64, MIDDLE = 96, KV = 32, VOCAB = 48, GROUP = 32 };

static const struct linear {
  const char *name;
  unsigned rows, columns;
} linears[] = {{"self_attn.q_proj", HIDDEN, HIDDEN}, {"self_attn.k_proj", KV, HIDDEN},
               {"self_attn.v_proj", KV, HIDDEN},     {"self_attn.o_proj", HIDDEN, HIDDEN},
               {"mlp.up_proj", MIDDLE, HIDDEN},      {"mlp.gate_proj", MIDDLE, HIDDEN},
               {"mlp.down_proj", HIDDEN, MIDDLE}};
enum { LINEARS = sizeof linears / sizeof *linears };

static void write_config(const char *in, const char *more) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": %d,"
           " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"num_hidden_layers\": 1,"
           " \"vocab_size\": %d, \"tie_word_embeddings\": true%s}",
           HIDDEN, MIDDLE, VOCAB, more);
  write_text(path("%s/config.json", in), text);
}

static unsigned code_of(unsigned l, unsigned row, unsigned column) {
  return (row * 11 + column * 5 + row * column / 3 + l) % 16;
}
static uint16_t scale_of(unsigned row, unsigned group) {
  return (uint16_t)(0x2401 + 37 * row + 489 * group);
}

/* Takes 'data' over. */
static void add_raw(pending *p, const char *name, qp_tensor_type type, unsigned rows,
                    unsigned columns, void *data) {
  const uint64_t shape[] = {rows, columns};
  cr_assert_eq(qp_tensor_writer_declare(p->w, name, type, 2, shape, NULL, &err), QP_OK);
  p->bytes[p->count] = (size_t)rows * columns * qp_tensor_type_bytes(type);
  p->data[p->count++] = data;
}

static unsigned zero_of(unsigned row, unsigned group) { return 1 + (row * 3 + group) % 15; }

static unsigned mistyped = LINEARS; /* the linear whose codes say that they are F32 */

/* GPTQ, 4 bits, version 1: words along columns; zeros less one in words along rows. */
static void add_gptq(pending *p, unsigned l) {
  const unsigned rows = linears[l].rows, columns = linears[l].columns, groups = columns / GROUP;
  uint32_t *codes = calloc((size_t)rows * columns / 8, 4);
  uint32_t *zeros = calloc((size_t)groups * rows / 8, 4);
  uint16_t *scales = malloc((size_t)groups * rows * 2);
  char name[128];
  for (unsigned r = 0; r < rows; r++) {
    for (unsigned k = 0; k < columns; k++) codes[k / 8 * rows + r] |= code_of(l, r, k) << k % 8 * 4;
    for (unsigned g = 0; g < groups; g++) {
      scales[g * rows + r] = scale_of(r, g);
      zeros[(g * rows + r) / 8] |= (zero_of(r, g) - 1) << r % 8 * 4;
    }
  }
  snprintf(name, sizeof name, "model.layers.0.%s.qweight", linears[l].name);
  add_raw(p, name, l == mistyped ? QP_TENSOR_F32 : QP_TENSOR_I32, columns / 8, rows, codes);
  snprintf(name, sizeof name, "model.layers.0.%s.qzeros", linears[l].name);
  add_raw(p, name, QP_TENSOR_I32, groups, rows / 8, zeros);
  snprintf(name, sizeof name, "model.layers.0.%s.scales", linears[l].name);
  add_raw(p, name, QP_TENSOR_F16, groups, rows, scales);
}

static void add_values(pending *p, unsigned l) {
  const unsigned rows = linears[l].rows, columns = linears[l].columns;
  float *w = malloc((size_t)rows * columns * sizeof *w);
  char name[128];
  for (unsigned i = 0; i < rows * columns; i++)
    w[i] = ((float)code_of(l, i / columns, i % columns) -
            (float)zero_of(i / columns, i % columns / GROUP)) *
           qp_half_to_float(scale_of(i / columns, i % columns / GROUP));
  snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l].name);
  pending_add(p, name, QP_TENSOR_F16, rows, columns, w);
}

/* The group of each column: neighbours, or by act-order, where some linear may have its own. */
static enum { NEIGHBOURS, ACT_ORDER, OWN_ORDERS, UNEVEN } act_order;
static unsigned group_of(unsigned l, unsigned k) {
  const unsigned columns = linears[l].columns;
  const unsigned turn = act_order == OWN_ORDERS && strstr(linears[l].name, "k_proj") ? 11 : 5;
  if (act_order == NEIGHBOURS) return k / GROUP;
  if (act_order == UNEVEN && k == 9) return 0;
  return (turn * k + 7) % columns / GROUP;
}

static void add_order(pending *p, unsigned l) {
  const unsigned columns = linears[l].columns;
  int32_t *order = malloc(columns * sizeof *order);
  char name[128];
  for (unsigned k = 0; k < columns; k++) order[k] = (int32_t)group_of(l, k);
  snprintf(name, sizeof name, "model.layers.0.%s.g_idx", linears[l].name);
  add_raw(p, name, QP_TENSOR_I32, 1, columns, order);
}

static void write_model(const char *in, bool packed) {
  pending p;
  write_config(in, packed ? ", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4,"
                            " \"group_size\": 32, \"sym\": true, \"desc_act\": false}"
                          : "");
  pending_begin(&p, path("%s/model.safetensors", in));
  for (unsigned l = 0; l < LINEARS; l++) {
    if (packed)
      add_gptq(&p, l), add_order(&p, l);
    else
      add_values(&p, l);
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F16, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_add(&p, "model.norm.weight", QP_TENSOR_F16, 0, HIDDEN, weights_of(10, HIDDEN));
  pending_write(&p);
}

static void expect_same_tensors(const char *one, const char *other) {
  qp_safetensors *a, *b;
  cr_assert_eq(qp_safetensors_open(path("%s", one), &a, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_open(path("%s", other), &b, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(a), qp_safetensors_count(b));
  for (size_t i = 0; i < qp_safetensors_count(a); i++) {
    const qp_tensor *x = qp_safetensors_get(a, i), *y = qp_safetensors_get(b, i);
    cr_assert_str_eq(x->name, y->name);
    cr_assert(x->type == y->type && x->bytes == y->bytes && !memcmp(x->data, y->data, x->bytes),
              "%s", x->name);
  }
  qp_safetensors_close(a);
  qp_safetensors_close(b);
}

Test(quantize_sources, of_gptq_give_what_their_values_give) {
  write_model("packed", true);
  write_model("plain", false);
  cr_assert_eq(quantize_from("packed", "--quantizer nuq-3 --verify --keep o_proj", "a"), 0, "%s",
               answer);
  cr_assert_eq(quantize_from("plain", "--quantizer nuq-3 --verify --keep o_proj", "b"), 0, "%s",
               answer);
  expect_same_tensors("a", "b");
  char arguments[1024];
  snprintf(arguments, sizeof arguments, "plan --model '%s' --quantizers nuq-3", path("packed"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  cr_assert(strstr(answer, "quantized already (gptq), and read as they decode"), "%s", answer);
}

/* ---- qpal import ---- */

static int import(const char *in, const char *options, const char *out) {
  char arguments[2048];
  snprintf(arguments, sizeof arguments, "import '%s' %s -o '%s'", path("%s", in), options,
           path("%s", out));
  return ask(arguments);
}

Test(quantize_sources, that_are_imported_decode_to_their_values_bit_for_bit) {
  write_model("packed", true);
  cr_assert_eq(import("packed", "--keep o_proj", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "6 linears kept bit for bit"), "%s", answer);
  cr_assert(strstr(answer, "int4-g32"), "%s", answer);
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("out"), &s, &err), QP_OK, "%s", err.text);
  for (unsigned l = 0; l < LINEARS; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s", linears[l].name);
    if (strstr(name, "o_proj")) {
      snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l].name);
      cr_assert(qp_safetensors_find(s, name), "%s stays", name);
      continue;
    }
    float *scale = scales_of(s, name, linears[l].rows);
    double *w = decode(s, name, quantizer_of("int4-g32"), linears[l].rows, linears[l].columns);
    for (unsigned i = 0; i < linears[l].rows * linears[l].columns; i++) {
      const unsigned row = i / linears[l].columns, column = i % linears[l].columns;
      const double exact = ((double)code_of(l, row, column) - zero_of(row, column / GROUP)) *
                           (double)qp_half_to_float(scale_of(row, column / GROUP));
      cr_assert(scale[row] == 1 && w[i] == (double)qp_half_to_float(qp_double_to_half(exact)),
                "%s [%u][%u]: %g for %g", name, row, column, w[i], exact);
    }
    free(scale);
    free(w);
  }
  qp_safetensors_close(s);
  char arguments[1024];
  cr_assert_eq(import("packed", "--keep o_proj", "out"), 0, "again: %s", answer);
  snprintf(arguments, sizeof arguments, "verify '%s'", path("out"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
}

Test(quantize_sources, that_cannot_be_kept_are_refused_with_the_reason) {
  write_model("packed", true);
  write_model("plain", false);
  write_config("packed", ", \"quantization_config\": {\"quant_method\": \"exl3\"}");
  cr_assert_eq(import("packed", "", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "exl3, which is not read and cannot be kept bit for bit"), "%s", answer);
  cr_assert_eq(import("plain", "", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "no linear of it is packed; qpal quantize packs"), "%s", answer);
  write_config("packed", ", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 8,"
                         " \"group_size\": 16}");
  cr_assert_eq(import("packed", "", "out"), 2, "%s", answer);
  mistyped = 1; /* it must not be left out without a word */
  write_model("packed", true);
  cr_assert_eq(import("packed", "", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, ".weight' is not there, nor one of a type that it is packed as"), "%s",
            answer);
  cr_assert(access(path("out"), F_OK) != 0, "something was written");
}

/* pack-quantized with BF16 scales: products of up to 12 bits, which the package rounds to BF16. */
static void write_compressed(void) {
  pending p;
  write_config("in", ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\","
                     " \"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 4}}}}");
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < LINEARS; l++) {
    const unsigned rows = linears[l].rows, columns = linears[l].columns, groups = columns / GROUP;
    uint32_t *codes = calloc((size_t)rows * columns / 8, 4);
    uint32_t *zeros = calloc((size_t)rows / 8 * groups, 4);
    uint16_t *scales = malloc((size_t)rows * groups * 2);
    int32_t *shape = malloc(2 * sizeof *shape);
    char name[128];
    for (unsigned i = 0; i < rows * columns; i++)
      codes[i / 8] |= code_of(l, i / columns, i % columns) << i % 8 * 4;
    for (unsigned i = 0; i < rows * groups; i++) {
      scales[i] = (uint16_t)(0x3c81 + 2 * i);
      zeros[i / groups / 8 * groups + i % groups] |= zero_of(i / groups, i % groups)
                                                     << i / groups % 8 * 4;
    }
    shape[0] = (int32_t)rows, shape[1] = (int32_t)columns;
    snprintf(name, sizeof name, "model.layers.0.%s.weight_packed", linears[l].name);
    add_raw(&p, name, QP_TENSOR_I32, rows, columns / 8, codes);
    snprintf(name, sizeof name, "model.layers.0.%s.weight_scale", linears[l].name);
    add_raw(&p, name, QP_TENSOR_BF16, rows, groups, scales);
    snprintf(name, sizeof name, "model.layers.0.%s.weight_shape", linears[l].name);
    add_raw(&p, name, QP_TENSOR_I32, 2, 1, shape);
    snprintf(name, sizeof name, "model.layers.0.%s.weight_zero_point", linears[l].name);
    add_raw(&p, name, QP_TENSOR_I32, rows / 8, groups, zeros);
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F16, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_write(&p);
}

/* What is kept is compared with the source's values weight by weight: this sees the rounding. */
Test(quantize_sources, with_scales_in_bf16_are_imported_with_their_rounding) {
  write_compressed();
  cr_assert_eq(import("in", "", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "7 linears kept bit for bit") && strstr(answer, "int4-g32-bf16"), "%s",
            answer);
}

/* ---- Products in fp32, rounded once ---- */

/* Bytes of codes, without the NaNs of E4M3, all below 'end'. */
static unsigned char *bytes_of(size_t n, unsigned seed, unsigned end) {
  unsigned char *bytes = malloc(n);
  for (size_t i = 0; i < n; i++) {
    bytes[i] = (unsigned char)((i * i * 7 + i * 37 + seed) % 251 % end);
    if ((bytes[i] & 127) == 127) bytes[i] = 1;
  }
  return bytes;
}

static float *floats_of(size_t n, unsigned seed) {
  float *f = malloc(n * sizeof *f);
  qp_random r = {seed};
  for (size_t i = 0; i < n; i++) f[i] = (float)qp_random_uniform(&r, 0.0007, 0.0011);
  return f;
}

static void add_named(pending *p, unsigned l, const char *end, qp_tensor_type type, unsigned rows,
                      unsigned columns, void *data) {
  char name[128];
  snprintf(name, sizeof name, "model.layers.0.%s%s", linears[l].name, end);
  add_raw(p, name, type, rows, columns, data);
}

static void add_4_bits(pending *p, unsigned l, const char *type, bool fp4) {
  const unsigned rows = linears[l].rows, columns = linears[l].columns;
  static const float nf4_map[16] = {
      -1.0f,           -0.69619280100f, -0.52507305145f,  -0.39491748810f,
      -0.28444138169f, -0.18477343023f, -0.091050036252f, 0,
      0.079580299556f, 0.16093020141f,  0.24611230195f,   0.33791524172f,
      0.44070982933f,  0.56261700392f,  0.72295683622f,   1};
  static const float fp4_map[16] = {
      0, 5.20833349e-3f,  0.666666687f,  1,  0.333333343f,  0.5f,  0.166666672f,  0.25f,
      0, -5.20833349e-3f, -0.666666687f, -1, -0.333333343f, -0.5f, -0.166666672f, -0.25f};
  const float *map = fp4 ? fp4_map : nf4_map;
  char *state = calloc(1, 256);
  const int n = snprintf(state, 256,
                         "{\"quant_type\": \"%s\", \"blocksize\": 64, \"dtype\": \"%s\", "
                         "\"shape\": [%u, %u]}",
                         fp4 ? "fp4" : "nf4", type, rows, columns);
  add_named(p, l, ".weight", QP_TENSOR_U8, rows * columns / 2, 1,
            bytes_of(rows * columns / 2, l, 256));
  add_named(p, l,
            fp4 ? ".weight.quant_state.bitsandbytes__fp4" : ".weight.quant_state.bitsandbytes__nf4",
            QP_TENSOR_U8, (unsigned)n, 1, state);
  add_named(p, l, ".weight.absmax", QP_TENSOR_F32, rows * columns / 64, 1,
            floats_of(rows * columns / 64, l));
  add_named(p, l, ".weight.quant_map", QP_TENSOR_F32, 16, 1, memcpy(malloc(64), map, 64));
}

/* Of 64 columns: down, of 96, stays as it is. */
static void write_format(const char *in, const char *method, const char *more, const char *type) {
  pending p;
  char config[256];
  snprintf(config, sizeof config,
           ", \"torch_dtype\": \"%s\", \"quantization_config\": "
           "{\"quant_method\": \"%s\"%s}",
           type, method, more);
  write_config(in, config);
  pending_begin(&p, path("%s/model.safetensors", in));
  for (unsigned l = 0; l < LINEARS; l++) {
    const unsigned rows = linears[l].rows, columns = linears[l].columns;
    const size_t n = (size_t)rows * columns;
    if (l + 1 == LINEARS) {
      add_values(&p, l);
    } else if (!strcmp(method, "fp8")) {
      const bool blocks = *more != 0;
      add_named(&p, l, ".weight", QP_TENSOR_F8_E4M3, rows, columns, bytes_of(n, l, 256));
      add_named(&p, l, blocks ? ".weight_scale_inv" : ".weight_scale", QP_TENSOR_F32,
                blocks ? 1 : rows, 1, floats_of(rows, l));
    } else if (!strcmp(method, "modelopt")) {
      add_named(&p, l, ".weight", QP_TENSOR_U8, rows, columns / 2, bytes_of(n / 2, l, 256));
      add_named(&p, l, ".weight_scale", QP_TENSOR_F8_E4M3, rows, columns / 16,
                bytes_of(n / 16, l + 3, 128));
      add_named(&p, l, ".weight_scale_2", QP_TENSOR_F32, 1, 1, floats_of(1, l));
    } else if (!strcmp(method, "compressed-tensors")) {
      float *global = floats_of(1, l);
      *global = 2688 / (*global * 100);
      add_named(&p, l, ".weight_packed", QP_TENSOR_U8, rows, columns / 2, bytes_of(n / 2, l, 256));
      add_named(&p, l, ".weight_scale", QP_TENSOR_F8_E4M3, rows, columns / 16,
                bytes_of(n / 16, l + 3, 128));
      add_named(&p, l, ".weight_global_scale", QP_TENSOR_F32, 1, 1, global);
    } else if (strstr(more, "8bit")) {
      float *largest = floats_of(rows, l);
      for (unsigned r = 0; r < rows; r++) largest[r] *= 100;
      add_named(&p, l, ".weight", QP_TENSOR_I8, rows, columns, bytes_of(n, l, 256));
      add_named(&p, l, ".SCB", QP_TENSOR_F32, rows, 1, largest);
    } else {
      add_4_bits(&p, l, type, strstr(more, "fp4") != NULL);
    }
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F16, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_write(&p);
}

#define FP4  ", \"bnb_4bit_quant_type\": \"fp4\""
#define INT8 ", \"load_in_8bit\": true"

Test(quantize_sources, whose_products_are_in_fp32_are_imported_with_their_rounding) {
  static const struct {
    const char *method, *more, *type, *quantizer;
  } of[] = {{"fp8", "", "bfloat16", "e4m3-row-bf16"},
            {"fp8", ", \"weight_block_size\": [128, 128]", "bfloat16", "e4m3-g128-bf16"},
            {"modelopt", "", "bfloat16", "nvfp4-f32-bf16"},
            {"modelopt", "", "float16", "nvfp4 "},
            {"compressed-tensors", "", "bfloat16", "nvfp4-quotient-bf16"},
            {"bitsandbytes", "", "bfloat16", "nf4-g64-f32-bf16"},
            {"bitsandbytes", "", "float16", "nf4-g64-f32 "},
            {"bitsandbytes", FP4, "bfloat16", "fp4-g64-f32-bf16"},
            {"bitsandbytes", FP4, "float16", "fp4-g64-f32 "},
            {"bitsandbytes", INT8, "bfloat16", "int8-row-f32-bf16"},
            {"bitsandbytes", INT8, "float16", "int8-row-f32 "}};
  for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
    char in[8], out[8];
    snprintf(in, sizeof in, "in%u", i);
    snprintf(out, sizeof out, "out%u", i);
    write_format(in, of[i].method, of[i].more, of[i].type);
    cr_assert_eq(import(in, "", out), 0, "%s: %s", of[i].quantizer, answer);
    cr_assert(strstr(answer, "6 linears kept bit for bit") && strstr(answer, of[i].quantizer),
              "%s: %s", of[i].quantizer, answer);
  }
  write_format("half", "fp8", "", "float16");
  cr_assert_eq(import("half", "", "none"), 2, "%s", answer);
  cr_assert(strstr(answer, "of FP8 only F8_E4M3 whose products are rounded to BF16 is kept"), "%s",
            answer);
}

static uint16_t *halves_of(size_t n, unsigned seed, double lo, double hi, bool bf16) {
  uint16_t *to = malloc(n * sizeof *to);
  qp_random r = {seed};
  for (size_t i = 0; i < n; i++) {
    const float f = (float)qp_random_uniform(&r, lo, hi);
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    to[i] = bf16 ? (uint16_t)(bits >> 16) : qp_float_to_half(f);
  }
  return to;
}

/* The value of the first linear's first weight; q has 8 bits, by an object of its own. */
static void write_mlx(const char *in, bool bf16, double *first) {
  pending p;
  char config[256];
  snprintf(config, sizeof config,
           ", \"quantization\": {\"group_size\": 32, \"bits\": 4, "
           "\"model.layers.0.%s\": {\"group_size\": 64, \"bits\": 8}}",
           linears[0].name);
  write_config(in, config);
  pending_begin(&p, path("%s/model.safetensors", in));
  for (unsigned l = 0; l < LINEARS; l++) {
    const unsigned rows = linears[l].rows, columns = linears[l].columns, bits = l ? 4 : 8;
    const unsigned n = rows * columns / (l ? 32 : 64);
    const qp_tensor_type type = bf16 ? QP_TENSOR_BF16 : QP_TENSOR_F16;
    unsigned char *codes = bytes_of(rows * columns * bits / 8, l, 256);
    uint16_t *scales = halves_of(n, l + 1, 0.0007, 0.0011, bf16);
    uint16_t *biases = halves_of(n, l + 9, -0.2, -0.1, bf16);
    if (!l && !bf16)
      *first = (double)qp_half_to_float(qp_float_to_half(
          qp_half_to_float(qp_float_to_half((float)codes[0] * qp_half_to_float(scales[0]))) +
          qp_half_to_float(biases[0])));
    add_named(&p, l, ".weight", QP_TENSOR_U32, rows, columns * bits / 32, codes);
    add_named(&p, l, ".scales", type, rows, n / rows, scales);
    add_named(&p, l, ".biases", type, rows, n / rows, biases);
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F16, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_write(&p);
}

/* mlx rounds the product and the sum (seen of mlx 0.32.4, 2 to 8 bits, both types). */
Test(quantize_sources, of_mlx_are_read_and_kept_with_both_roundings) {
  double first = 0;
  char arguments[1024], name[128];
  write_mlx("bf16", true, &first);
  cr_assert_eq(import("bf16", "", "kept"), 0, "%s", answer);
  cr_assert(strstr(answer, "7 linears kept bit for bit") && strstr(answer, "affine4-g32-bf16") &&
                strstr(answer, "affine8-g64-bf16"),
            "%s", answer);
  write_mlx("in", false, &first);
  cr_assert_eq(import("in", "", "out"), 0, "%s", answer);
  cr_assert(strstr(answer, "7 linears kept bit for bit") && strstr(answer, "affine4-g32 "), "%s",
            answer);
  snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s' --type f16", path("out"),
           path("plain"));
  cr_assert_eq(ask(arguments), 0, "%s", answer);
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("plain"), &s, &err), QP_OK, "%s", err.text);
  snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[0].name);
  const qp_tensor *t = qp_safetensors_find(s, name);
  uint16_t got;
  cr_assert_not_null(t);
  memcpy(&got, t->data, 2);
  cr_expect_eq((double)qp_half_to_float(got), first);
  qp_safetensors_close(s);
}

/* MXFP4 of compressed-tensors; the last row of down has another exponent. */
static void write_mxfp4(unsigned char exponent) {
  pending p;
  write_config("in", ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\"}");
  pending_begin(&p, path("in/model.safetensors"));
  for (unsigned l = 0; l < LINEARS; l++) {
    const unsigned rows = linears[l].rows, columns = linears[l].columns;
    unsigned char *codes = malloc((size_t)rows * columns / 2);
    unsigned char *scales = malloc((size_t)rows * columns / 32);
    char name[128];
    for (unsigned i = 0; i < rows * columns / 2; i++) codes[i] = (unsigned char)(37 * i + 5);
    memset(scales, 121, (size_t)rows * columns / 32);
    if (l + 1 == LINEARS) scales[rows * columns / 32 - 1] = exponent;
    snprintf(name, sizeof name, "model.layers.0.%s.weight_packed", linears[l].name);
    add_raw(&p, name, QP_TENSOR_U8, rows, columns / 2, codes);
    snprintf(name, sizeof name, "model.layers.0.%s.weight_scale", linears[l].name);
    add_raw(&p, name, QP_TENSOR_U8, rows, columns / 32, scales);
  }
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F16, VOCAB, HIDDEN,
              weights_of(9, (size_t)VOCAB * HIDDEN));
  pending_write(&p);
}

/* Exponents below 113 are beyond our mxfp4: seen at the last linear, after others were written. */
Test(quantize_sources, of_which_one_weight_would_decode_otherwise_leave_nothing) {
  write_mxfp4(105);
  cr_assert_eq(import("in", "", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "linear 'model.layers.0.mlp.down_proj' (MXFP4 at mxfp4): row 63, column "
                           "64 is "),
            "%s", answer);
  cr_assert(strstr(answer, "it cannot be kept bit for bit"), "%s", answer);
  cr_assert(access(path("out"), F_OK) != 0, "something was left");
  cr_assert_eq(import("in", "--keep down_proj", "out"), 0, "%s", answer);
  write_mxfp4(113);
  cr_assert_eq(import("in", "", "other"), 0, "%s", answer);
  cr_assert(strstr(answer, "7 linears kept bit for bit"), "%s", answer);
}

/* Do the weights that are unpacked have the values of the source? */
static void expect_values(const char *in) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", in), &s, &err), QP_OK, "%s", err.text);
  for (unsigned l = 0; l < LINEARS; l++) {
    char name[128];
    snprintf(name, sizeof name, "model.layers.0.%s.weight", linears[l].name);
    const qp_tensor *t = qp_safetensors_find(s, name);
    cr_assert(t && t->type == QP_TENSOR_F16, "%s", name);
    for (unsigned i = 0; i < linears[l].rows * linears[l].columns; i++) {
      const unsigned row = i / linears[l].columns, column = i % linears[l].columns;
      const unsigned group = group_of(l, column);
      const double exact = ((double)code_of(l, row, column) - zero_of(row, group)) *
                           (double)qp_half_to_float(scale_of(row, group));
      uint16_t got;
      memcpy(&got, t->data + 2ul * i, 2);
      cr_assert_eq(got, qp_double_to_half(exact), "%s [%u][%u]", name, row, column);
    }
  }
  qp_safetensors_close(s);
}

static bool has_tensor(const char *in, const char *name) {
  qp_safetensors *s;
  cr_assert_eq(qp_safetensors_open(path("%s", in), &s, &err), QP_OK, "%s", err.text);
  const bool found = qp_safetensors_find(s, name) != NULL;
  qp_safetensors_close(s);
  return found;
}

/* Columns of a group do not stand together: they are brought together, and x with them. */
Test(quantize_sources, with_act_order_are_kept_with_the_order_of_their_columns) {
  for (act_order = ACT_ORDER; act_order <= OWN_ORDERS; act_order++) {
    const char *packed = act_order == ACT_ORDER ? "packed1" : "packed2";
    const char *out = act_order == ACT_ORDER ? "out1" : "out2";
    const char *plain = act_order == ACT_ORDER ? "plain1" : "plain2";
    char arguments[1024];
    write_model(packed, true);
    cr_assert_eq(import(packed, "", out), 0, "%s", answer);
    cr_assert(strstr(answer, "7 linears kept bit for bit") && strstr(answer, "int4-g32-act"), "%s",
              answer);
    snprintf(arguments, sizeof arguments, "unpack '%s' -o '%s' --type f16", path("%s", out),
             path("%s", plain));
    cr_assert_eq(ask(arguments), 0, "%s", answer);
    expect_values(plain);
    cr_assert(has_tensor(out, "model.layers.0.qkv.order.input"));
    cr_assert_eq(has_tensor(out, "model.layers.0.self_attn.k_proj.input"), act_order == OWN_ORDERS);
    cr_assert(!has_tensor(out, "model.layers.0.self_attn.v_proj.input"), "that of q");
  }
}

Test(quantize_sources, with_groups_of_unequal_size_are_read_but_not_kept) {
  act_order = UNEVEN;
  write_model("packed", true);
  cr_assert_eq(quantize_from("packed", "--quantizer nuq-3", "a"), 0, "%s", answer);
  cr_assert_eq(import("packed", "", "out"), 2, "%s", answer);
  cr_assert(strstr(answer, "act-order: group 0 has 33 columns of 32"), "%s", answer);
}

/* Experts of gpt-oss: packed rows are gate and up in turns. */
Test(quantize_sources, that_are_stacks_of_mxfp4_give_experts) {
  enum { E = 2, H = 64, W = 32 };
  static const float fp4[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  const uint64_t blocks[] = {E, 2 * W, H / 32, 16};
  unsigned char *codes = malloc(E * 2 * W * H / 2), *scales = malloc(E * 2 * W * H / 32);
  pending p;
  for (unsigned i = 0; i < E * 2 * W * H / 2; i++) codes[i] = (unsigned char)(i * 41 + i / 64);
  for (unsigned i = 0; i < E * 2 * W * H / 32; i++) scales[i] = (unsigned char)(120 + i % 9);
  write_text(path("in/config.json"),
             "{\"model_type\": \"gpt_oss\", \"hidden_size\": 64, \"intermediate_size\": 32,"
             " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 32,"
             " \"num_hidden_layers\": 1, \"vocab_size\": 48, \"num_local_experts\": 2,"
             " \"num_experts_per_tok\": 1, \"quantization_config\": {\"quant_method\": "
             "\"mxfp4\"}}");
  pending_begin(&p, path("in/model.safetensors"));
  const char *const name = "model.layers.0.mlp.experts.gate_up_proj";
  char part[96];
  snprintf(part, sizeof part, "%s_blocks", name);
  cr_assert_eq(qp_tensor_writer_declare(p.w, part, QP_TENSOR_U8, 4, blocks, NULL, &err), QP_OK);
  p.bytes[p.count] = E * 2 * W * H / 2;
  p.data[p.count++] = codes;
  snprintf(part, sizeof part, "%s_scales", name);
  cr_assert_eq(qp_tensor_writer_declare(p.w, part, QP_TENSOR_U8, 3, blocks, NULL, &err), QP_OK);
  p.bytes[p.count] = E * 2 * W * H / 32;
  p.data[p.count++] = scales;
  pending_add(&p, "model.embed_tokens.weight", QP_TENSOR_F32, 48, 64, weights_of(3, 48 * 64));
  unsigned char kept[E * 2 * W * H / 2], exponents[E * 2 * W * H / 32];
  memcpy(kept, codes, sizeof kept);
  memcpy(exponents, scales, sizeof exponents);
  pending_write(&p);
  qp_models *models;
  qp_checkpoint *c;
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_checkpoint_open(path("in"), models, &c, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < 2 * E; i++) {
    float out[W * H];
    snprintf(part, sizeof part, "model.layers.0.mlp.experts.%u.%s_proj.weight", i / 2,
             i & 1 ? "up" : "gate");
    const qp_source_tensor *t = qp_checkpoint_find(c, part);
    cr_assert(t && t->rows == W && t->columns == H, "%s", part);
    cr_assert_eq(qp_checkpoint_read(c, t, 0, W, out, &err), QP_OK, "%s", err.text);
    for (unsigned k = 0; k < W * H; k++) {
      const size_t at = ((size_t)(i / 2) * 2 * W + 2 * (k / H) + (i & 1)) * H + k % H;
      const unsigned code = kept[at / 2] >> (at & 1 ? 4 : 0) & 15;
      cr_assert_eq(out[k], ldexpf(fp4[code], exponents[at / 32] - 127), "%s [%u]", part, k);
    }
  }
  qp_checkpoint_close(c);
  qp_models_close(models);
}
