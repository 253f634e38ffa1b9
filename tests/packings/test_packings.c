/* SPDX-License-Identifier: MIT */
/*
** Packed weights of others are read as their own packages read them.  Words are written here by
** hand or by plain loops that know nothing of the readers; what is expected is computed from the
** codes.
*/
#include <math.h>

#include "runtime/half.h"
#include "tests/packings/packings_kit.h"

TestSuite(packings, .init = begin, .fini = end);

static float half_of(double v) { return qp_half_to_float(qp_double_to_half(v)); }
static float bf16_of(double v) { return qp_bf16_to_float(qp_double_to_bf16(v)); }

/* Number i of a stream of 'bits' each, put into words that were 0. */
static void set_bits(uint32_t *words, size_t stride, unsigned i, unsigned bits, unsigned value) {
  for (unsigned b = 0; b < bits; b++)
    if (value >> b & 1) words[(i * bits + b) / 32 * stride] |= 1u << (i * bits + b) % 32;
}

/* Some code, zero and scale for each place; scales are fp16 numbers with many bits. */
static unsigned code_of(unsigned row, unsigned column, unsigned bits) {
  return (row * 7 + column * 5 + row * column) % (1u << bits);
}
static unsigned zero_of(unsigned row, unsigned group, unsigned bits) {
  return 1 + (row * 3 + group) % ((1u << bits) - 1); /* no zero of 0 */
}
static uint16_t scale_of(unsigned row, unsigned group) {
  return (uint16_t)(0x2c01 + 77 * row + 389 * group);
}

/* ---- GPTQ ---- */

enum { ROWS = 32, COLUMNS = 64, GROUP = 16, GROUPS = COLUMNS / GROUP };

typedef struct gptq_case {
  unsigned bits;
  bool second, ordered; /* version 2; act-order */
} gptq_case;

static unsigned group_of(gptq_case c, unsigned column) {
  return c.ordered ? (column * 5 + 3) % GROUPS : column / GROUP;
}

static void put_gptq(shelf *s, gptq_case c, float want[ROWS * COLUMNS]) {
  static uint32_t codes[COLUMNS * ROWS], zeros[GROUPS * ROWS];
  int32_t order[COLUMNS];
  uint16_t scales[GROUPS * ROWS];
  const unsigned b = c.bits, zero_words = ROWS * b / 32;
  memset(codes, 0, sizeof codes);
  memset(zeros, 0, sizeof zeros);
  for (unsigned r = 0; r < ROWS; r++) {
    for (unsigned g = 0; g < GROUPS; g++) {
      scales[g * ROWS + r] = scale_of(r, g);
      set_bits(zeros + g * zero_words, 1, r, b, zero_of(r, g, b) - !c.second);
    }
    for (unsigned k = 0; k < COLUMNS; k++) {
      const unsigned g = group_of(c, k);
      order[k] = (int32_t)g;
      set_bits(codes + r, ROWS, k, b, code_of(r, k, b));
      want[r * COLUMNS + k] = half_of(((double)code_of(r, k, b) - (double)zero_of(r, g, b)) *
                                      (double)qp_half_to_float(scale_of(r, g)));
    }
  }
  PUT(s, "a.qweight", I32, codes, COLUMNS * b / 32, ROWS);
  PUT(s, "a.qzeros", I32, zeros, GROUPS, zero_words);
  PUT(s, "a.scales", F16, scales, GROUPS, ROWS);
  if (c.ordered) PUT(s, "a.g_idx", I32, order, COLUMNS);
}

Test(packings, gptq_of_both_versions_with_and_without_order_is_read) {
  static const unsigned bits[] = {2, 3, 4, 8};
  static float want[ROWS * COLUMNS];
  for (unsigned i = 0; i < 16; i++) {
    const gptq_case c = {bits[i / 4], i & 1, i >> 1 & 1};
    shelf s = {0};
    char section[256];
    put_gptq(&s, c, want);
    snprintf(section, sizeof section,
             "\"quant_method\": \"gptq\", \"bits\": %u, \"group_size\": %d, "
             "\"checkpoint_format\": \"%s\"",
             c.bits, GROUP, c.second ? "gptq_v2" : "gptq");
    expect_values(&s, section, "", "a.weight", QP_TENSOR_F16, ROWS, COLUMNS, want);
  }
}

/* gptqmodel 7.7.0 wrote the zeros 1 2 0 4 5 as the nibbles 0 1 15 2 4. */
Test(packings, gptq_zeros_of_0_are_read_as_their_writer_meant_them) {
  static const unsigned zeros[] = {1, 2, 0, 4, 5, 6, 7, 8};
  const uint32_t codes[8] = {0}, words[1] = {0x76542f10u};
  uint16_t scales[8];
  float want[8 * 8];
  shelf s = {0};
  for (unsigned r = 0; r < 8; r++) scales[r] = 0x3c00;
  for (unsigned i = 0; i < 64; i++) want[i] = (float)-(int)zeros[i / 8];
  PUT(&s, "a.qweight", I32, codes, 1, 8);
  PUT(&s, "a.qzeros", I32, words, 1, 1);
  PUT(&s, "a.scales", F16, scales, 1, 8);
  shelf other = s;
  for (unsigned i = 0; i < 3; i++) {
    other.tensor[i].data = malloc(s.tensor[i].bytes);
    memcpy(other.tensor[i].data, s.tensor[i].data, s.tensor[i].bytes);
  }
  expect_values(&s,
                "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -1,"
                "\"meta\": {\"quantizer\": [\"gptqmodel:7.7.0\"]}",
                "", "a.weight", QP_TENSOR_F16, 8, 8, want);
  expect_refusal(&other, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -1",
                 "tensor 'a.qzeros': holds zeros of 0, which GPTQModel and AutoGPTQ do not store "
                 "alike");
}

/* ---- AWQ ---- */

/* Columns 0 to 7 of codes 0 to 7 were the word 0x75316420 (autoawq 0.2.9). */
static const unsigned awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};

static void fill_awq(float want[ROWS * COLUMNS]) {
  for (unsigned r = 0; r < ROWS; r++)
    for (unsigned k = 0; k < COLUMNS; k++)
      want[r * COLUMNS + k] =
          half_of(((double)code_of(r, k, 4) - (double)zero_of(r, k / GROUP, 4)) *
                  (double)qp_half_to_float(scale_of(r, k / GROUP)));
}

Test(packings, awq_gemm_is_read_with_its_order_of_nibbles) {
  static uint32_t codes[COLUMNS][ROWS / 8], zeros[GROUPS][ROWS / 8];
  static float want[ROWS * COLUMNS];
  uint16_t scales[GROUPS][ROWS];
  shelf s = {0};
  fill_awq(want);
  for (unsigned r = 0; r < ROWS; r += 8)
    for (unsigned n = 0; n < 8; n++) {
      const unsigned row = r + awq_order[n];
      for (unsigned k = 0; k < COLUMNS; k++) codes[k][r / 8] |= code_of(row, k, 4) << 4 * n;
      for (unsigned g = 0; g < GROUPS; g++) {
        zeros[g][r / 8] |= zero_of(row, g, 4) << 4 * n;
        scales[g][row] = scale_of(row, g);
      }
    }
  PUT(&s, "a.qweight", I32, codes, COLUMNS, ROWS / 8);
  PUT(&s, "a.qzeros", I32, zeros, GROUPS, ROWS / 8);
  PUT(&s, "a.scales", F16, scales, GROUPS, ROWS);
  expect_values(&s,
                "\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 16,"
                "\"version\": \"gemm\"",
                "", "a.weight", QP_TENSOR_F16, ROWS, COLUMNS, want);
}

Test(packings, awq_gemv_is_read_with_rows_of_zeros_and_scales_filled_up) {
  static uint32_t codes[ROWS][COLUMNS / 8], zeros[ROWS][4];
  static uint16_t scales[ROWS][32];
  static float want[ROWS * COLUMNS];
  shelf s = {0};
  fill_awq(want);
  for (unsigned r = 0; r < ROWS; r++) {
    for (unsigned k = 0; k < COLUMNS; k++) set_bits(codes[r], 1, k, 4, code_of(r, k, 4));
    for (unsigned g = 0; g < GROUPS; g++) {
      set_bits(zeros[r], 1, g, 4, zero_of(r, g, 4));
      scales[r][g] = scale_of(r, g);
    }
  }
  PUT(&s, "a.qweight", I32, codes, ROWS, COLUMNS / 8);
  PUT(&s, "a.qzeros", I32, zeros, ROWS, 4);
  PUT(&s, "a.scales", F16, scales, ROWS, 32);
  expect_values(&s,
                "\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 16,"
                "\"version\": \"GEMV\"",
                "", "a.weight", QP_TENSOR_F16, ROWS, COLUMNS, want);
}

/* ---- compressed-tensors, pack-quantized ---- */

typedef struct compressed_case {
  unsigned bits;
  bool gaps, asymmetric, ordered;
} compressed_case;

/* As set_bits, with 32 / bits whole numbers a word where there are gaps. */
static void set_packed(uint32_t *words, size_t stride, unsigned i, compressed_case c,
                       unsigned value) {
  const unsigned n = 32 / c.bits;
  if (c.gaps)
    words[i / n * stride] |= value << i % n * c.bits;
  else
    set_bits(words, stride, i, c.bits, value);
}

static unsigned words_of(unsigned count, compressed_case c) {
  return c.gaps ? (count + 32 / c.bits - 1) / (32 / c.bits) : (count * c.bits + 31) / 32;
}

static void put_compressed(shelf *s, compressed_case c, float want[ROWS * COLUMNS]) {
  static uint32_t codes[ROWS * COLUMNS], zeros[ROWS * GROUPS];
  uint16_t scales[ROWS * GROUPS];
  int32_t order[COLUMNS];
  const int64_t shape[] = {ROWS, COLUMNS};
  const unsigned words = words_of(COLUMNS, c), b = c.bits;
  memset(codes, 0, sizeof codes);
  memset(zeros, 0, sizeof zeros);
  for (unsigned r = 0; r < ROWS; r++) {
    for (unsigned g = 0; g < GROUPS; g++) {
      scales[r * GROUPS + g] = qp_double_to_bf16(0.01 + 0.003 * r + 0.07 * g);
      set_packed(zeros + g, GROUPS, r, c, zero_of(r, g, b));
    }
    for (unsigned k = 0; k < COLUMNS; k++) {
      const unsigned g = group_of((gptq_case){.ordered = c.ordered}, k);
      const unsigned zero = c.asymmetric ? zero_of(r, g, b) : 1u << (b - 1);
      order[k] = (int32_t)g;
      set_packed(codes + r * words, 1, k, c, code_of(r, k, b));
      want[r * COLUMNS + k] = bf16_of(((double)code_of(r, k, b) - (double)zero) *
                                      (double)qp_bf16_to_float(scales[r * GROUPS + g]));
    }
  }
  PUT(s, "a.weight_packed", I32, codes, ROWS, words);
  PUT(s, "a.weight_scale", BF16, scales, ROWS, GROUPS);
  PUT(s, "a.weight_shape", I64, shape, 2);
  if (c.asymmetric) PUT(s, "a.weight_zero_point", I32, zeros, words_of(ROWS, c), GROUPS);
  if (c.ordered) PUT(s, "a.weight_g_idx", I32, order, COLUMNS);
}

Test(packings, compressed_integers_of_both_packings_are_read) {
  static const unsigned bits[] = {2, 3, 4, 5, 6, 7, 8};
  static float want[ROWS * COLUMNS];
  for (unsigned i = 0; i < 7 * 8; i++) {
    const compressed_case c = {bits[i / 8], i & 1, i >> 1 & 1, i >> 2 & 1};
    shelf s = {0};
    char section[256];
    put_compressed(&s, c, want);
    snprintf(section, sizeof section,
             "\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"group_0\": "
             "{\"weights\": {\"num_bits\": %u, \"group_size\": %d}}}",
             c.bits, GROUP);
    expect_values(&s, section, "", "a.weight", QP_TENSOR_BF16, ROWS, COLUMNS, want);
  }
}

/* ---- 8 bits ---- */

/* Some of E4M3, by hand: 0x38 = 1, 0x08 = 2^-6, 0x01 = 2^-9, 0x7e = 448, 0xb9 = -1.125. */
static const unsigned char e4m3_bytes[] = {0x38, 0x08, 0x01, 0x7e, 0xb9, 0x00, 0x80, 0x4c};
static const float e4m3_values[] = {1, 0x1p-6f, 0x1p-9f, 448, -1.125f, 0, -0.0f, 6};
/* And of E5M2: 0x3c = 1, 0x01 = 2^-16, 0x7b = 57344, 0xc1 = -2.5. */
static const unsigned char e5m2_bytes[] = {0x3c, 0x01, 0x7b, 0xc1, 0x00, 0x80, 0x04, 0x44};
static const float e5m2_values[] = {1, 0x1p-16f, 57344, -2.5f, 0, -0.0f, 0x1p-14f, 4};

enum { R8 = 5, K8 = 8 };

/* R8 rows of these bytes, turned by one column a row, times scale(row, column). */
static void fill_8(const unsigned char *bytes, const float *values, unsigned char *out,
                   float want[R8 * K8], float (*scale)(unsigned row, unsigned column),
                   bool as_bf16) {
  for (unsigned r = 0; r < R8; r++)
    for (unsigned k = 0; k < K8; k++) {
      const float v = values[(k + r) % K8] * scale(r, k);
      out[r * K8 + k] = bytes[(k + r) % K8];
      want[r * K8 + k] = as_bf16 ? bf16_of((double)v) : half_of((double)v);
    }
}

static float block_scale(unsigned row, unsigned column) {
  static const float scales[2][2] = {{0.123f, 3.7f}, {0.001f, 11}};
  return scales[row / 3][column / 5];
}
static float row_scale(unsigned row, unsigned column) {
  return 0.3f * (float)(row + 1) + 0 * (float)column;
}
static float one_scale(unsigned row, unsigned column) { return 0.7f + 0 * (float)(row + column); }

Test(packings, fp8_of_blocks_that_do_not_divide_the_matrix_is_read) {
  static const float scales[] = {0.123f, 3.7f, 0.001f, 11};
  unsigned char bytes[R8 * K8];
  float want[R8 * K8];
  for (unsigned second = 0; second < 2; second++) {
    shelf s = {0};
    fill_8(second ? e5m2_bytes : e4m3_bytes, second ? e5m2_values : e4m3_values, bytes, want,
           block_scale, true);
    if (second)
      PUT(&s, "a.weight", F8_E5M2, bytes, R8, K8);
    else
      PUT(&s, "a.weight", F8_E4M3, bytes, R8, K8);
    PUT(&s, "a.weight_scale_inv", F32, scales, 2, 2);
    expect_values(&s, "\"quant_method\": \"fp8\", \"weight_block_size\": [3, 5]",
                  ", \"torch_dtype\": \"bfloat16\"", "a.weight", QP_TENSOR_BF16, R8, K8, want);
  }
}

Test(packings, fp8_of_one_scale_and_of_one_a_row_is_read) {
  static const char *const sections[] = {
      "\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"",
      "\"quant_method\": \"fp8\", \"activation_scheme\": \"static\"",
      "\"quant_method\": \"compressed-tensors\"", "\"quant_method\": \"fbgemm_fp8\""};
  unsigned char bytes[R8 * K8];
  float want[R8 * K8], scales[R8];
  for (unsigned i = 0; i < 8; i++) {
    shelf s = {0};
    fill_8(e4m3_bytes, e4m3_values, bytes, want, i & 1 ? row_scale : one_scale, false);
    for (unsigned r = 0; r < R8; r++) scales[r] = i & 1 ? row_scale(r, 0) : one_scale(r, 0);
    PUT(&s, "a.weight", F8_E4M3, bytes, R8, K8);
    if (i & 1)
      PUT(&s, "a.weight_scale", F32, scales, R8, 1);
    else
      put(&s, "a.weight_scale", QP_TENSOR_F32, NULL, 0, scales);
    expect_values(&s, sections[i / 2], ", \"torch_dtype\": \"float16\"", "a.weight", QP_TENSOR_F16,
                  R8, K8, want);
  }
}

/* MXFP8: 32 columns a power of two; 8-bit integers a row. */
Test(packings, mxfp8_and_int8_of_compressed_tensors_are_read) {
  unsigned char bytes[64], exponents[] = {127 - 3, 127 + 5};
  int8_t integers[2 * 4] = {1, -128, 127, 0, 5, -6, 7, -8};
  uint16_t scales[] = {qp_double_to_bf16(0.37), qp_double_to_bf16(1.9)};
  float want[64];
  shelf s = {0};
  for (unsigned k = 0; k < 64; k++) {
    bytes[k] = e4m3_bytes[k % 8];
    want[k] = e4m3_values[k % 8] * (k < 32 ? 0x1p-3f : 0x1p5f);
  }
  PUT(&s, "a.weight", F8_E4M3, bytes, 1, 64);
  PUT(&s, "a.weight_scale", U8, exponents, 1, 2);
  expect_values(&s, "\"quant_method\": \"compressed-tensors\"", "", "a.weight", QP_TENSOR_BF16, 1,
                64, want);
  PUT(&s, "a.weight", I8, integers, 2, 4);
  PUT(&s, "a.weight_scale", BF16, scales, 2, 1);
  for (unsigned i = 0; i < 8; i++)
    want[i] = bf16_of((double)integers[i] * (double)qp_bf16_to_float(scales[i / 4]));
  expect_values(&s, "\"quant_method\": \"compressed-tensors\"", "", "a.weight", QP_TENSOR_BF16, 2,
                4, want);
}

/* ---- 4 bits ---- */

static const float fp4[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                              -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* Two rows of 'columns' codes, the even column in the lower half of a byte. */
static void fill_4(unsigned columns, unsigned char *bytes) {
  memset(bytes, 0, columns);
  for (unsigned i = 0; i < 2 * columns; i++)
    bytes[i / 2] |= (unsigned char)(i * 7 % 16 << (i & 1 ? 4 : 0));
}

Test(packings, nvfp4_of_compressed_tensors_divides_and_of_modelopt_multiplies) {
  unsigned char bytes[32], scales[] = {0x7e, 0x0b, 0x01, 0x4c};
  static const float decoded[] = {448, 0x1.6p-6f, 0x1p-9f, 6};
  const float global = 0x1.8540b2p+13f; /* by which to divide and to multiply differ in BF16 */
  float want[64];
  shelf s = {0};
  fill_4(32, bytes);
  for (unsigned i = 0; i < 64; i++) {
    const float scale = decoded[i / 16] / global;
    want[i] = bf16_of((double)(fp4[i * 7 % 16] * scale));
  }
  PUT(&s, "a.weight_packed", U8, bytes, 2, 16);
  PUT(&s, "a.weight_scale", F8_E4M3, scales, 2, 2);
  PUT(&s, "a.weight_global_scale", F32, &global, 1);
  expect_values(&s, "\"quant_method\": \"compressed-tensors\"", ", \"dtype\": \"float16\"",
                "a.weight", QP_TENSOR_BF16, 2, 32, want);
  for (unsigned i = 0; i < 64; i++) {
    const float scale = decoded[i / 16] * global;
    want[i] = half_of((double)(fp4[i * 7 % 16] * scale));
  }
  PUT(&s, "a.weight", U8, bytes, 2, 16);
  PUT(&s, "a.weight_scale", F8_E4M3, scales, 2, 2);
  put(&s, "a.weight_scale_2", QP_TENSOR_F32, NULL, 0, &global);
  expect_values(&s, "\"quant_method\": \"modelopt\"", ", \"dtype\": \"float16\"", "a.weight",
                QP_TENSOR_F16, 2, 32, want);
}

Test(packings, mxfp4_is_read_also_where_the_exponent_is_255) {
  unsigned char bytes[64], exponents[] = {127 - 9, 255, 0, 140};
  float want[128];
  shelf s = {0};
  fill_4(64, bytes);
  for (unsigned i = 0; i < 128; i++) {
    const float v = fp4[i * 7 % 16];
    const unsigned e = exponents[i / 32];
    want[i] = e == 255 ? v * INFINITY : ldexpf(v, (int)e - 127);
  }
  opened o;
  PUT(&s, "a.weight_packed", U8, bytes, 2, 32);
  PUT(&s, "a.weight_scale", U8, exponents, 2, 2);
  cr_assert_eq(open_shelf(&s, "\"quant_method\": \"compressed-tensors\"", "", &o), QP_OK, "%s",
               err.text);
  float got[128];
  qp_packing_read(&o.list[0], 0, 2, got);
  for (unsigned i = 0; i < 128; i++)
    cr_assert(isnan(want[i]) ? isnan(got[i]) : !memcmp(&got[i], &want[i], 4), "%u", i);
  close_shelf(&o);
  for (unsigned i = 32; i < 64; i++) want[i] = ldexpf(fp4[i * 7 % 16], 128); /* 0 and 0.5 stay */
  PUT(&s, "mlp.experts.gate_up_proj_blocks", U8, bytes, 2, 1, 2, 16);
  PUT(&s, "mlp.experts.gate_up_proj_scales", U8, exponents, 2, 1, 2);
  expect_values(&s, "\"quant_method\": \"mxfp4\"", "", "mlp.experts.gate_up_proj", QP_TENSOR_BF16,
                2, 64, want);
}

/* ---- bitsandbytes ---- */

/* Two rows of 48 columns in blocks of 16, the even element in the upper half of a byte. */
static void put_nf4(shelf *s, bool nested, float want[96]) {
  static const char state[] =
      "{\"quant_type\": \"nf4\", \"blocksize\": 16, \"dtype\": \"float16\", \"shape\": [2, 48],"
      "\"nested_blocksize\": 4, \"nested_dtype\": \"float32\", \"nested_offset\": 0.0375}";
  static const float nested_scales[] = {0.31f, 0.77f};
  unsigned char bytes[48] = {0}, levels[6];
  float book[16], map[256], scales[6];
  for (unsigned i = 0; i < 16; i++) book[i] = (float)i / 7.3f - 1;
  for (unsigned i = 0; i < 256; i++) map[i] = (float)i / 311.0f - 0.4f;
  for (unsigned b = 0; b < 6; b++) {
    levels[b] = (unsigned char)(40 * b + 3);
    const float product = map[levels[b]] * nested_scales[b / 4];
    scales[b] = nested ? product + 0.0375f : 0.01f + 0.1f * (float)b;
  }
  for (unsigned i = 0; i < 96; i++) {
    const float v = book[i * 5 % 16] * scales[i / 16];
    bytes[i / 2] |= (unsigned char)(i * 5 % 16 << (i & 1 ? 0 : 4));
    want[i] = half_of((double)v);
  }
  PUT(s, "a.weight", U8, bytes, 48, 1);
  PUT(s, "a.weight.quant_state.bitsandbytes__nf4", U8, state, sizeof state - 1);
  if (nested)
    PUT(s, "a.weight.absmax", U8, levels, 6);
  else
    PUT(s, "a.weight.absmax", F32, scales, 6);
  PUT(s, "a.weight.quant_map", F32, book, 16);
  if (nested) PUT(s, "a.weight.nested_absmax", F32, nested_scales, 2);
  if (nested) PUT(s, "a.weight.nested_quant_map", F32, map, 256);
}

Test(packings, nf4_of_bitsandbytes_is_read_with_scales_packed_or_not) {
  float want[96];
  for (unsigned nested = 0; nested < 2; nested++) {
    shelf s = {0};
    put_nf4(&s, nested, want);
    expect_values(&s, "\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true", "", "a.weight",
                  QP_TENSOR_F16, 2, 48, want);
  }
}

/* ---- What is not read ---- */

static shelf small_gptq(uint64_t groups) {
  static const uint32_t zeros[64] = {0};
  shelf s = {0};
  PUT(&s, "a.qweight", I32, zeros, 4, 8);
  PUT(&s, "a.qzeros", I32, zeros, groups, 1);
  PUT(&s, "a.scales", F16, zeros, groups, 8);
  return s;
}

Test(packings, that_are_wrong_are_refused_with_tensor_field_and_value) {
  static const uint32_t order[32] = {7};
  shelf s = small_gptq(2);
  free(s.tensor[--s.count].data);
  expect_refusal(&s, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 16",
                 "tensor 'a.scales' is missing: GPTQ has it beside 'a.qweight' (I32)");
  s = small_gptq(2);
  expect_refusal(&s, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 8",
                 "tensor 'a.qzeros': I32 of [2, 1]: I32 of [4, 1] is needed (GPTQ)");
  s = small_gptq(2);
  expect_refusal(
      &s, "\"quant_method\": \"gptq\", \"bits\": 5, \"group_size\": 16",
      "config.json: quantization_config: field 'bits': 5 is not read; 2, 3, 4 and 8 are");
  s = small_gptq(2);
  expect_refusal(&s,
                 "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 16, "
                 "\"checkpoint_format\": \"gptq_p\"",
                 "field 'checkpoint_format': gptq_p is not read; gptq and gptq_v2 are");
  s = small_gptq(2);
  PUT(&s, "a.g_idx", I32, order, 32);
  expect_refusal(&s, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 16",
                 "tensor 'a.g_idx': column 0 is of group 7: there are 2");
  s = small_gptq(2);
  expect_refusal(&s, "\"quant_method\": \"awq\", \"bits\": 4, \"version\": \"gemv_fast\"",
                 "field 'version': gemv_fast is not read; gemm and gemv are");
}

Test(packings, whose_columns_have_an_order_that_no_tensor_says_are_refused) {
  static const char *const orders[] = {"true", "\"group\"", "\"Dynamic\""};
  static float want[ROWS * COLUMNS];
  shelf s = small_gptq(2);
  expect_refusal(
      &s, "\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 16, \"desc_act\": true",
      "tensor 'a.qweight': its groups have columns in an order of their own (desc_act of");
  for (unsigned i = 0; i < 3; i++) {
    char section[256];
    put_compressed(&s, (compressed_case){.bits = 4}, want);
    snprintf(section, sizeof section,
             "\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {\"weights\": "
             "{\"num_bits\": 4, \"actorder\": %s}}}",
             orders[i]);
    expect_refusal(&s, section, "(actorder of");
  }
  put_compressed(&s, (compressed_case){.bits = 4}, want);
  expect_values(
      &s,
      "\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {\"weights\": "
      "{\"num_bits\": 4, \"actorder\": \"weight\"}}}",
      "", "a.weight", QP_TENSOR_BF16, ROWS, COLUMNS, want);
}

/* Where it is needed, it is named; where it may be missing, it is as if it were. */
Test(packings, a_tensor_without_elements_holds_nothing) {
  static const char section[] =
      "\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {\"weights\": "
      "{\"num_bits\": 4}}}";
  static float want[ROWS * COLUMNS];
  shelf s = {0};
  put_compressed(&s, (compressed_case){.bits = 4}, want);
  PUT(&s, "a.weight_g_idx", I32, want, 0);
  expect_values(&s, section, "", "a.weight", QP_TENSOR_BF16, ROWS, COLUMNS, want);
  put_compressed(&s, (compressed_case){.bits = 4}, want);
  s.tensor[1].shape[1] = s.tensor[1].bytes = 0;
  expect_refusal(&s, section, "tensor 'a.weight_scale' has no elements: pack-quantized needs them");
}

Test(packings, of_methods_that_are_not_known_are_left_alone) {
  opened o;
  shelf s = small_gptq(2);
  cr_assert_eq(open_shelf(&s, "\"quant_method\": \"exl3\"", "", &o), QP_OK);
  cr_assert(o.count == 0 && !o.taken[0]);
  cr_assert(!qp_packing_is_read("exl3") && qp_packing_is_read("gptq"));
  close_shelf(&o);
}
