/* SPDX-License-Identifier: MIT */
/* Quantizers from users' Lua files: the language, its checks, tables, hashes. */
#include "gen/spec/quantizer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/resource.h"
#include "gen/spec/definition.h"
#include "gen/spec/lua_host.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error error;
static char folder[64], path[128];

static void write_spec(const char *text) {
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f);
  cr_assert_eq(fwrite(text, 1, strlen(text), f), strlen(text));
  fclose(f);
}

/* A QPAL_HOME with the prelude and an empty palette. */
static void set_up(void) {
  const char *prelude;
  size_t bytes;
  cr_assert_eq(qp_resource_read("lua/prelude.lua", &prelude, &bytes, &error), QP_OK);
  memcpy(folder, "/tmp/qpal-test-XXXXXX", 22);
  cr_assert_not_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/lua", folder);
  cr_assert_eq(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/lua/prelude.lua", folder);
  write_spec(prelude);
  snprintf(path, sizeof path, "%s/my.lua", folder);
  setenv("QPAL_HOME", folder, 1);
  error.text[0] = 0;
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
}

static void tear_down(void) {
  char command[128];
  qp_palette_close(palette);
  snprintf(command, sizeof command, "rm -r %s", folder);
  cr_expect_eq(system(command), 0);
}

TestSuite(quantizer, .init = set_up, .fini = tear_down);

/* The only quantizer of a file with this text. */
static const qp_quantizer *load(const char *text) {
  const qp_quantizer *q = NULL;
  write_spec(text);
  cr_assert_eq(qp_palette_find(palette, path, &q, &error), QP_OK, "%s", error.text);
  return q;
}

/* Load a file, or one quantizer of it, in a palette of its own, since a palette reads a file
   once. */
static qp_status try_load_of(const char *name, const char *text) {
  const qp_quantizer *q = NULL;
  qp_palette *fresh = NULL;
  char full[512];
  write_spec(text);
  cr_assert_eq(qp_palette_open(&fresh, &error), QP_OK);
  error.text[0] = 0;
  snprintf(full, sizeof full, "%s%s%s", path, name ? ":" : "", name ? name : "");
  const qp_status status = qp_palette_find(fresh, full, &q, &error);
  qp_palette_close(fresh);
  return status;
}

static void expect_error_of(const char *name, const char *text, const char *message) {
  const qp_status status = try_load_of(name, text);
  cr_expect(status == QP_E_ARG || status == QP_E_LIMIT, "\n%s\ngives status %d", text, (int)status);
  cr_expect_not_null(strstr(error.text, message), "\n%s\nsays %s\nnot  %s", text, error.text,
                     message);
  cr_expect_eq(strncmp(error.text, path, strlen(path)), 0, "names no file: %s", error.text);
}

static void expect_error(const char *text, const char *message) {
  expect_error_of(NULL, text, message);
}

static float weight(const qp_quantizer *q, uint32_t state, unsigned i) {
  uint16_t w[16];
  qp_quantizer_decode(q, state, NULL, NULL, w);
  return qp_half_to_float(w[i]);
}

#define PUBLISHED                                                                                  \
  "return trellis {\n"                                                                             \
  "  name = 'mine', window = 16, dim = 2, step = 6,\n"                                             \
  "  codebook = values { dim = 2, (function ()\n"                                                  \
  "    local t = {}\n    for i = 1, 1024 do t[i] = i / 1024 end\n    return t\n  end)() },\n"      \
  "  decode = function (s, codebook)\n"                                                            \
  "    local h = s * s + s\n"                                                                      \
  "    local pair = codebook[h >> 6 & 511]\n"                                                      \
  "    return flip_sign(pair, 1, h >> 15 & 1)\n"                                                   \
  "  end,\n}\n"

Test(quantizer, reads_a_trellis_as_the_design_writes_it) {
  const qp_quantizer *q = load(PUBLISHED);
  cr_expect_str_eq(q->name, "mine");
  cr_expect_str_eq(q->file, path);
  cr_expect(q->kind == QP_TRELLIS && q->window == 16 && q->dim == 2 && q->step == 6);
  cr_expect(q->rate == 3 && q->stored_rate == 3);
  cr_expect(q->codebooks == 1 && q->codebook[0].entries == 512 && q->codebook[0].dim == 2);
  cr_expect(q->line_first == 8 && q->line_last == 12);
  cr_expect_eq(strncmp(q->decode_text, "  decode = function (s, codebook)\n", 34), 0);
  cr_expect_eq(q->decode->outputs, 1);
  cr_expect_eq(qp_ir_type_of(q->decode, q->decode->output[0]), QP_PAIR);
  cr_expect_eq(strlen(q->hash), 32);
  for (uint32_t s = 0; s < 65536; s += 257) {
    const uint32_t h = s * s + s, entry = h >> 6 & 511;
    const float sign = h >> 15 & 1 ? -1.0f : 1.0f;
    const float first = qp_half_to_float(qp_double_to_half((2 * entry + 1) / 1024.0));
    cr_expect_eq(weight(q, s, 0), sign * first);
    cr_expect_eq(weight(q, s, 1), qp_half_to_float(qp_double_to_half((2 * entry + 2) / 1024.0)));
  }
}

Test(quantizer, table_and_single_decode_agree) {
  const qp_quantizer *q = load(PUBLISHED);
  uint16_t *table = malloc(sizeof *table * 2 * 65536), one[2];
  cr_assert_not_null(table);
  cr_assert_eq(qp_quantizer_table(q, NULL, NULL, table, &error), QP_OK);
  for (uint32_t s = 0; s < 65536; s++) {
    qp_quantizer_decode(q, s, NULL, NULL, one);
    cr_assert(table[2 * s] == one[0] && table[2 * s + 1] == one[1], "state %u", s);
  }
  free(table);
}

Test(quantizer, a_default_decode_is_the_codebook_itself) {
  const qp_quantizer *q =
      load("return vector { name = 'v', dim = 4, bits = 2,\n"
           "  codebook = values { dim = 4, {1, 2, 3, 4}, {5, 6, 7, 8, 9, 10, 11, 12},\n"
           "    {-1, -2, -3, -4} } }");
  cr_expect(q->window == 2 && q->step == 2 && q->rate == 0.5);
  cr_expect(q->line_first == 0 && strstr(q->decode_text, "codebook[code]"));
  cr_expect_eq(weight(q, 0, 3), 4);
  cr_expect_eq(weight(q, 2, 0), 9);
  cr_expect_eq(weight(q, 3, 2), -3);
}

Test(quantizer, odd_dims_give_halves) {
  const qp_quantizer *q = load("return vector { name = 'ternary', dim = 5, bits = 8,\n"
                               "  decode = function (code)\n"
                               "    local w, x = {}, code\n"
                               "    for i = 1, 5 do\n"
                               "      x = (x & 255) * 3\n"
                               "      w[i] = half_signed((x >> 8) - 1)\n"
                               "    end\n    return w\n  end }");
  cr_expect_eq(q->decode->outputs, 5);
  cr_expect_float_eq(q->rate, 1.6, 1e-12);
  cr_expect_eq(weight(q, 0, 0), -1);
  cr_expect_eq(weight(q, 255, 4), 1);
  for (unsigned i = 0; i < 5; i++) cr_expect(fabsf(weight(q, 77, i)) <= 1);
}

Test(quantizer, group_fields_come_sorted_by_name) {
  const qp_quantizer *q =
      load("return scalar { name = 'int4', bits = 4,\n"
           "  group = { size = 128, zero = { 'u4', 0, 15 }, scale = { 'f16', 0.001, 4 } },\n"
           "  decode = function (code, _, group)\n"
           "    return (half(code) - half(group.zero)) * group.scale\n  end }");
  cr_assert_eq(q->fields, 2);
  cr_expect_str_eq(q->field[0].name, "scale");
  cr_expect(q->field[0].type == QP_FIELD_F16 && q->field[0].lo == 0.001 && q->field[0].hi == 4);
  cr_expect_str_eq(q->field[1].name, "zero");
  cr_expect(q->group == 128 && q->rate == 4 && q->stored_rate == 4 + 20 / 128.0);
  const uint32_t fields[] = {qp_double_to_half(0.5), 7};
  uint16_t w[16];
  qp_quantizer_decode(q, 9, fields, NULL, w);
  cr_expect_eq(qp_half_to_float(w[0]), 1);
  cr_assert_eq(qp_quantizer_table(q, fields, NULL, w, &error), QP_OK);
  cr_expect_eq(qp_half_to_float(w[3]), -2);
}

Test(quantizer, stored_codebooks_are_replaced_by_the_caller) {
  const qp_quantizer *q = load("return scalar { name = 'rows', bits = 2,\n"
                               "  codebook = values { 1, 2, 3, 4, scope = 'row' } }");
  cr_expect_eq(q->codebook[0].scope, QP_SCOPE_ROW);
  const uint16_t own[] = {0x3c00, 0x4000, 0xbc00, 0xc000};
  const uint16_t *books[] = {own};
  uint16_t w;
  qp_quantizer_decode(q, 2, NULL, books, &w);
  cr_expect_eq(w, 0xbc00);
  qp_quantizer_decode(q, 2, NULL, NULL, &w);
  cr_expect_eq(qp_half_to_float(w), 3);
}

/* Of 4096 columns and as many rows. */
Test(quantizer, what_rows_and_linears_store_once_is_part_of_the_stored_rate) {
  const qp_quantizer *q =
      load("return scalar { name = 'once', bits = 2,\n"
           "  codebooks = { a = values { 1, 2, 3, 4, scope = 'row' },\n"
           "    b = values { 1, 2, 3, 4, scope = 'tensor' }, c = values { 1, 2, 3, 4 } },\n"
           "  group = { size = 16, scale = { 'e4m3', 1, 4 },\n"
           "    row = { 'f16', 1, 4, scope = 'row' }, all = { 'f32', 1, 4, scope = 'tensor' } },\n"
           "  decode = function (code, m, g)\n"
           "    return (m.a[code] + m.b[code] + m.c[code]) * g.scale * g.row * half(g.all)\n"
           "  end }");
  cr_expect_float_eq(q->stored_rate,
                     2 + 8 / 16.0 + (16 + 64) / 4096.0 + (32 + 64) / 4096.0 / 4096.0, 1e-12,
                     "%.12f", q->stored_rate);
}

Test(quantizer, bit_planes_that_are_not_read_are_no_part_of_the_code) {
  const qp_quantizer *q = load("return scalar { name = 'any', bits = 4, planes = true,\n"
                               "  planes_read = 2, codebook = values { 1, 2, 3, 4 } }");
  cr_expect(q->planes && q->planes_read == 2 && q->step == 4 && q->rate == 2);
  cr_expect_eq(q->stored_rate, 4);
  uint16_t table[16];
  cr_assert_eq(qp_quantizer_table(q, NULL, NULL, table, &error), QP_OK);
  cr_expect_eq(qp_half_to_float(table[3]), 4);
  cr_expect_eq(table[4], 0);
}

Test(quantizer, splits_find_parts_in_their_file) {
  const qp_quantizer *q = NULL;
  write_spec("local list = {}\n"
             "for bits = 1, 2 do list[bits] = scalar { name = 'u-' .. bits, bits = bits,\n"
             "  decode = function (c) return half(c) end } end\n"
             "list[3] = split { name = 's-1.25', parts = { { 'u-1', 3/4 }, { 'u-2', 1/4 } } }\n"
             "return list");
  char name[160];
  snprintf(name, sizeof name, "%s:s-1.25", path);
  cr_assert_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  cr_expect(q->kind == QP_SPLIT && q->parts == 2 && q->rate == 1.25);
  cr_expect_str_eq(q->part[1].quantizer->name, "u-2");
  cr_expect_eq(strlen(q->hash), 32);
  cr_expect_null(q->decode);
  cr_expect_eq(qp_palette_find(palette, path, &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "it has u-1, u-2, s-1.25"), "%s", error.text);
}

/* ---- The language ---- */

/* Weight 0 of one code of a scalar with this decode body, for code 'code' of 8 bits. */
static float body(const char *text, uint32_t code) {
  static const struct {
    const char *name, *used, *book;
  } books[] = {{"a", "books.a", "values { 1, 2, 4, 8 }"},
               {"p", "books.p", "values { dim = 2, 1, 2, 3, 4 }"},
               {"v", "books.v", "values { dim = 4, 1, 2, 3, 4 }"}};
  char spec[1024], given[256] = "";
  qp_palette *fresh = NULL;
  const qp_quantizer *q = NULL;
  for (size_t i = 0; i < sizeof books / sizeof *books; i++) {
    const size_t used = strlen(given);
    if (!strstr(text, books[i].used)) continue;
    snprintf(given + used, sizeof given - used, "%s%s = %s", used ? ", " : "", books[i].name,
             books[i].book);
  }
  snprintf(spec, sizeof spec,
           "return vector { name = 'b', dim = 3, bits = 8,\n"
           "  %s%s%s\n"
           "  decode = function (c, books)\n"
           "    local function pair() %s end\n"
           "    local all = { pair() }\n"
           "    all[#all + 1] = half(c) -- reads every bit\n"
           "    return table.unpack(all)\n"
           "  end }",
           *given ? "codebooks = { " : "", given, *given ? " }," : "", text);
  write_spec(spec);
  cr_assert_eq(qp_palette_open(&fresh, &error), QP_OK);
  cr_assert_eq(qp_palette_find(fresh, path, &q, &error), QP_OK, "%s: %s", text, error.text);
  const float w = weight(q, code, 0);
  qp_palette_close(fresh);
  return w;
}

Test(quantizer, words_wrap_and_have_the_operators_of_lua) {
  cr_expect_eq(body("return half((c - 256) >> 24 & 255), 0", 5), 255);
  cr_expect_eq(body("return half((c * 0x83DCD12D ~ c) & 1023), 0", 3),
               (float)((3 * 0x83DCD12Du ^ 3) & 1023));
  cr_expect_eq(body("return half(-c & 15), 0", 1), 15);
  cr_expect_eq(body("return half(~c & 15), 0", 1), 14);
  cr_expect_eq(body("return half(1 << (c & 7) | 16), 0", 3), 24);
  cr_expect_eq(body("return half(c & 2^3 - 1), 0", 255), 7);
  cr_expect_eq(body("return half(c - c + (c << 40) + (c >> 8)), 0", 255), 0);
}

Test(quantizer, conditions_on_plain_numbers_are_free) {
  cr_expect_eq(body("-- if lt(c, 3) then\n local n, t = 0, { c = 1 }\n for i = 1, 4 do\n"
                    " if i ~= 2 and t.c == 1 then n = n + i end end return half(c + n), 0",
                    1),
               9);
}

Test(quantizer, words_have_functions) {
  cr_expect_eq(body("return half(eq(c, 3) * 2 + lt(c, 4)), 0", 3), 3);
  cr_expect_eq(body("return half(select(c & 1, c, 100)), 0", 4), 100);
  cr_expect_eq(body("return half(min(c, 9) + max(c, 9)), 0", 4), 13);
  cr_expect_eq(body("return half(popcount(c) * 10 + parity(c)), 0", 7), 31);
  cr_expect_eq(body("return half(bits(c, 2, 3)), 0", 0xff), 7);
  cr_expect_eq(body("return half(byte(c << 8, 1) + byte(c, 3)), 0", 0x45), 0x45);
  cr_expect_eq(body("return half(bytesum(c * 0x01010101, 7)), 0", 2), 15);
  cr_expect_eq(body("return half(dp4a(c, 3, 1) + mad(c, c, c) & 255), 0", 2), 13);
  cr_expect_eq(body("return half(prmt(c, 0, 0x4404) >> 8), 0", 9), 9);
  cr_expect_eq(body("return half(lop3(c, 6, 3, 0x96)), 0", 5), 5 ^ 6 ^ 3);
  cr_expect_eq(body("return half(funnel(c, 0, 4)), 0", 0xf3), 15);
  cr_expect_eq(body("return half(c + popcount(0xff) + bits(0xab, 4, 4)), 0", 1), 19);
}

Test(quantizer, halves_and_pairs_have_arithmetic) {
  cr_expect_eq(body("return half(c) * 0.5 + 1, 0", 4), 3);
  cr_expect_eq(body("return 2 - half(c), 0", 4), -2);
  cr_expect_eq(body("return -half_signed(c - 8), 0", 3), 5);
  cr_expect_eq(body("return as_half(0x3c00 + c), 0", 0), 1);
  cr_expect_eq(body("return as_pair(0x40003c00 ~ c)", 0), 1);
  cr_expect_eq(body("return fma(half(c), 2, 1), 0", 4), 9);
  cr_expect_eq(body("return fma(pack(half(c), 1), half(c), 1)", 4), 17);
  cr_expect_eq(body("return abs(half(c) - 9), 0", 4), 5);
  cr_expect_eq(body("local p = pack(half(c), 7) * 2 return hi(p) - lo(p), 0", 4), 6);
  cr_expect_eq(body("return as_pair(word_of(pack(half(c), 1)))", 4), 4);
  cr_expect_eq(body("return half(word_of(half(c)) >> 8), 0", 1), 0x3c);
  cr_expect_eq(body("return flip_sign(half(c), 1, c & 1), 0", 5), -5);
  cr_expect_eq(body("return select(c & 1, half(c), 3), 0", 4), 3);
}

Test(quantizer, singles_have_arithmetic_and_halves_become_singles) {
  cr_expect_eq(body("return (single(c) + 4096) * 2 - 8192, 0", 4), 8); /* fp16 has no 4100 + 2^-2 */
  cr_expect_eq(body("return single_signed(c - 8) * 0.5, 0", 3), -2.5f);
  cr_expect_eq(body("return fma(single(c), half(3), -1), 0", 4), 11);
  cr_expect_eq(body("return as_single(word_of(single(c)) + (1 << 23)), 0", 3), 6);
  cr_expect_eq(body("return pack(abs(-single(c)), 1)", 3), 3);
  cr_expect_eq(body("return half(select(c & 1, single(c), 7)) + 1, 0", 5), 6);
  /* Rounded once, at the end: fp16 has no 2049. */
  cr_expect_eq(body("return half((single(2048) + half(c)) * 0.5 - 1024), 0", 1), 0.5f);
  cr_expect_eq(body("return vec(single(c) * 0.25, 1)", 3), 0.75f);
}

/* Each type's number, by way of the decode: for a raw value what gen/spec/field.h says it is. */
Test(quantizer, a_decode_gets_every_field_as_the_number_that_it_is) {
  static const struct {
    const char *field;
    uint32_t raw;
    double number;
  } cases[] = {
      {"'u2', 0, 3", 3, 3},
      {"'u3', 0, 7", 6, 6},
      {"'u6', 0, 63", 45, 45},
      {"'s4', -8, 7", 9, -7},
      {"'s8', -128, 127", 0x81, -127},
      {"'e4m3', -448, 448", 0xfe, -448},
      {"'e4m3', 0, 448", 0x03, 0x3p-9},
      {"'e5m2', -57344, 57344", 0xbd, -1.25},
      {"'e8m0', 1, 2", 130, 8},
      {"'bf16', -4, 4", 0xc049, -3.140625},
      {"'f32', -4, 4", 0x40490fdb, 3.140625},
      {"'f16', -4, 4", 0xc248, -3.140625},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const bool word = cases[i].field[1] == 'u';
    qp_palette *fresh = NULL;
    const qp_quantizer *q = NULL;
    char text[256];
    uint16_t w;
    snprintf(text, sizeof text,
             "return scalar { name = 'x', bits = 1, group = { x = { %s, scope = 'tensor' } },\n"
             "  decode = function (c, _, g) return %s * half(c) end }",
             cases[i].field, word ? "half(g.x)" : "g.x");
    write_spec(text);
    cr_assert_eq(qp_palette_open(&fresh, &error), QP_OK);
    cr_assert_eq(qp_palette_find(fresh, path, &q, &error), QP_OK, "%s", error.text);
    qp_quantizer_decode(q, 1, (uint32_t[QP_MAX_FIELDS]){cases[i].raw}, NULL, &w);
    cr_expect_eq((double)qp_half_to_float(w), cases[i].number, "%s: %g", cases[i].field,
                 (double)qp_half_to_float(w));
    cr_expect(fabs(qp_field_number(q->field[0].type, cases[i].raw) - cases[i].number) < 1e-3);
    cr_expect_eq(qp_field_raw(q->field[0].type, qp_field_number(q->field[0].type, cases[i].raw)),
                 cases[i].raw);
    qp_palette_close(fresh);
  }
}

Test(quantizer, codebooks_and_vecs_have_elements) {
  cr_expect_eq(body("return books.a[c & 3], 0", 3), 8);
  cr_expect_eq(body("return books.p[c & 1]", 1), 3);
  cr_expect_eq(body("local v = books.v[c >> 8] return v[3] + half(c), v[4]", 2), 5);
  cr_expect_eq(body("local v = books.v[0] * 2 + books.v[c >> 8] return v[2], v[1]", 0), 6);
  cr_expect_eq(
      body("local v = vec(half(c), books.p[c & 1], 5) return v[#v] + v[2], v[3] + v[1]", 0), 6);
  cr_expect_eq(body("local v = concat(half(c), books.v[0]) return v[3] + v[1], 0", 1), 3);
  cr_expect_eq(body("local v = flip_sign(books.v[0], 3, c & 1) return v[3], v[4]", 1), -3);
  cr_expect_eq(body("local v = -abs(books.v[0] - 3) return v[1] + half(c), 0", 0), -2);
}

Test(quantizer, a_constant_state_traces_to_what_evaluation_gives) {
  const char *text = "return { decode = function (s)\n"
                     "  local x = bytesum(s * 0x83DCD12D) - 510\n"
                     "  local y = as_pair((s * 89226354 + 64248484) & 0x8fff8fff ~ 0x3b603b60)\n"
                     "  return fma(half_signed(x), 0.0068, 0.01), lo(y) + hi(y), abs(y)\nend }";
  qp_lua *l = NULL;
  qp_lua_ref v = 0;
  cr_assert_eq(qp_lua_open(NULL, &l, &error), QP_OK);
  cr_assert_eq(qp_lua_run(l, "lua/prelude.lua", "my.lua", text, strlen(text), &v, &error), QP_OK,
               "%s", error.text);
  qp_lua_decode d = {.where = "my.lua:1", .what = "decode", .dim = 4};
  qp_ir *symbolic = qp_ir_new();
  cr_assert_eq(qp_lua_trace(l, v, "decode", &d, symbolic, &error), QP_OK, "%s", error.text);
  for (uint32_t state = 0; state < 65536; state += 1111) {
    qp_ir *folded = qp_ir_new();
    qp_ir_env env = {.input = {state}};
    uint32_t out[QP_IR_MAX_OUTPUTS], known = 0;
    qp_ir_eval(symbolic, &env, out);
    d.state = &state;
    cr_assert_eq(qp_lua_trace(l, v, "decode", &d, folded, &error), QP_OK, "%s", error.text);
    cr_assert_eq(folded->outputs, 2);
    for (unsigned i = 0; i < 2; i++) {
      cr_expect(qp_ir_is_const(folded, folded->output[i], &known), "state %u", state);
      cr_expect_eq(known, out[i], "state %u", state);
    }
    qp_ir_free(folded);
  }
  qp_ir_free(symbolic);
  qp_lua_close(l);
}

/* ---- Messages ---- */

#define DECODE(body)                                                                               \
  "return scalar { name = 'x', bits = 4,\n codebook = values { 1, 2 },\n"                          \
  " decode = function (c, book)\n" body "\n end }"

Test(quantizer, type_errors_name_the_line_and_what_would_be_right) {
  expect_error(
      DECODE("return c + half(c)"),
      "my.lua:4: x: decode: '+' needs two words, two halves or two pairs, got word and half; "
      "use as_pair(...) or half(...)");
  expect_error(DECODE("local x\n x = half(c) & 3"),
               "my.lua:5: x: decode: '&' needs two words, got half");
  expect_error(DECODE("if c < 3 then return 1 end"), "'<' is not for values of a decode function; "
                                                     "use lt(a, b)");
  expect_error(DECODE("local x = c if c + 1 == x then return 1 end"),
               "decides when the file is loaded");
  expect_error(DECODE("return half(c / 2)"), "multiply by the reciprocal");
  expect_error(DECODE("return half(c // 2)"), "shift with >>");
  expect_error(DECODE("return half(c % 2)"), "mask with &");
  expect_error(DECODE("return half(c & 0.5)"), "'&': 0.5 is not an integer");
  expect_error(DECODE("return half(c & (1 << 40))"), "does not fit 32 bits");
  expect_error(DECODE("local x = half(c) * 1e6 return x"),
               "my.lua:4: x: decode: '*': 1000000.0 is no "
               "fp16 number");
  expect_error(DECODE("return book[half(c)]"), "index should be a word, got half");
  expect_error(DECODE("return book[2]"),
               "index should be an integer from 0 to 1, got the number 2");
  expect_error(DECODE("local x = flip_sign(half(c), 2, c) return x"),
               "flip_sign(x, i, bit): i should be an integer from 1 to 1, got the number 2");
  expect_error(DECODE("return c.x"), "a word has no elements");
  expect_error(DECODE("return c"),
               "result 1 should be a half, a pair or a vec, got word; use half");
  expect_error(DECODE("return half(c), half(c)"), "it returns 2 weights, and dim is 1");
  expect_error(DECODE("return nil"), "result 1 should be a half, a pair or a vec, got nil");
  expect_error(DECODE("return"), "it returns nothing; write 'return' before its 1 weight");
  expect_error(DECODE("return book.x.y"), "index should be a word, got the string 'x'");
  expect_error("return scalar { name = 'x', bits = 1,\n"
               "  decode = function (c, _, g) return half(c) * g.scale end }",
               "my.lua:2: x: decode: attempt to index a nil value (local 'g'); "
               "decode(state, codebook, group) is given");
  expect_error(DECODE("return undefined(c)"), "my.lua:4: x: decode: there is no 'undefined'");
  expect_error(DECODE("local x = fma(half(c), vec(1, 2), pack(1, 2)) return x"),
               "a vec with a pair");
}

Test(quantizer, decodes_that_make_no_sense_are_refused) {
  expect_error(DECODE("return book[c]"), "state 0x2 reads codebook 'codebook' at 2, and it has the "
                                         "entries 0 to 1");
  expect_error(DECODE("return half(c) * 60000"), "weight 1 of state 0x2 is infinite");
  expect_error(DECODE("return as_half(0x7c00 + c)"), "weight 1 of state 0x0 is infinite");
  expect_error(DECODE("return as_half(0x7c01 + c)"), "weight 1 of state 0x0 is NaN");
  expect_error(DECODE("if c then return 1 end return half(c)"), "'if c' decides");
  expect_error(DECODE("if c + 1 then return 1 end return half(c)"), "'if c + 1' decides");
  expect_error("return scalar { name = 'x', bits = 1, codebook = values { 1, 2, 3 },\n"
               "  group = { size = 16, at = { 'u4', 0, 6 }, s = { 'f16', -1, 1 } },\n"
               "  decode = function (c, b, g) return b[min(g.at, 6 - g.at) + c] * g.s end }",
               "state 0x1 reads codebook 'codebook' at 3, and it has the entries 0 to 2");
  expect_error(DECODE("while true do c = c + 1 end"), "it needs more than 4096 operations");
  expect_error(DECODE("if lt(c, 3) then c = c + 1 end return half(c)"),
               "my.lua:4: x: decode: 'if lt(c, 3)' decides when the file is loaded, not for each "
               "state; use eq(a, b)");
  expect_error(DECODE("local x = eq(c, 3) == 1 return half(c)"), "'eq(c, 3) == 1' decides");
  expect_error(DECODE("if c == 3 then return 1 end return half(c)"), "'c == 3' decides");
  expect_error(DECODE("if 3 ~= c then return 1 end return half(c)"), "'3 ~= c' decides");
  expect_error(DECODE("return half(c & 1) * (c >> 1 == 1 and -1 or 1)"), "'c >> 1 == 1' decides");
  expect_error(DECODE("return half(lt(c, 3) and c or 1)"), "'lt(c, 3) and' decides");
  expect_error("local function sign(x)\n  if x == 1 then return -1 end\n  return 1\nend\n"
               "return scalar { name = 'x', bits = 2, decode = function (c)\n"
               "  return half(c) * sign(c >> 1) end }",
               "my.lua:2: x: decode: 'x == 1' decides");
  expect_error(DECODE("local t = { half(c) } while t[1] do t[1] = nil end return half(c)"),
               "'while t[1]' decides");
  expect_error(
      "return trellis { name = 'x', window = 24, dim = 1, step = 1, decode = function (s)\n"
      "  for i = 1, 500 do s = s * s + i end return half(s & 1) end }",
      "operations for each of 2^24 states are too many to check");
  expect_error(DECODE("while true do end"), "ran more than");
  expect_error(DECODE("error('mine')"), "my.lua:4: mine");
}

Test(quantizer, field_errors_name_field_value_and_what_would_be_right) {
  expect_error("return trellis { name = 'x', window = 16, dim = 2, step = 17 }",
               "my.lua:1: x: field 'step': 17 is larger than the window (16)");
  expect_error("return trellis { name = 'x', window = 99, dim = 2, step = 4 }",
               "field 'window' should be an integer from 1 to 24, got 99");
  expect_error("return trellis { name = 'x', window = '8', dim = 2, step = 4 }",
               "got the string '8'");
  expect_error("return trellis { name = 'x', window = 8, dim = 3, step = 4 }",
               "field 'dim': 3 should be 1, 2, 4 or 8");
  expect_error("return trellis { name = 'x', dim = 2, step = 4 }", "field 'window' is missing; it "
                                                                   "should be an integer");
  expect_error("\nreturn trellis { name = 'x', windw = 16 }",
               "my.lua:2: x: trellis has no field 'windw'; did you mean 'window'?");
  expect_error("return scalar { name = 'X!', bits = 2 }",
               "field 'name': 'X!' should be lower-case");
  expect_error("return scalar { name = 'a.lua', bits = 2 }", "not end in '.lua'");
  expect_error("return scalar { bits = 2 }", "field 'name' is missing");
  expect_error("return scalar { 'x', name = 'x', bits = 2 }", "an item without a name");
  expect_error("return scalar { name = 'x', bits = 2 }", "field 'decode' is missing");
  expect_error("return scalar { name = 'x', bits = 2, decode = 3 }",
               "field 'decode' should be a function, got 3");
  expect_error("return scalar { name = 'x', bits = 1, rotation = 96, codebook = values { -1, 1 } }",
               "field 'rotation' should be");
  expect_error("return scalar { name = 'x', bits = 1, rotation = 'no', codebook = values { 1 } }",
               "field 'rotation' should be");
  expect_error("return scalar { name = 'x', bits = 2, planes_read = 1 }",
               "goes with 'planes = true'");
}

Test(quantizer, errors_in_codebooks_and_groups_name_field_and_value) {
  expect_error("return scalar { name = 'x', bits = 2, codebook = { 1 } }",
               "field 'codebook' should be a codebook: gaussian_kmeans");
  expect_error("return scalar { name = 'x', bits = 2, codebook = values { 1e9 } }",
               "number 1 of its values is 1e+09");
  expect_error("return scalar { name = 'x', bits = 2, codebook = values { dim = 2, 1 } }",
               "should be a multiple of its dim (2)");
  expect_error("return scalar { name = 'x', bits = 2, codebook = values { dim = 2, { 1 } } }",
               "values[1]: a row of 1 numbers");
  expect_error("return scalar { name = 'x', bits = 2, codebook = values { 1, nil, 3 } }",
               "my.lua:1: values[2] should be a number or a list of numbers, got nil");
  expect_error("return vector { name = 'x', dim = 2, bits = 1, codebook = values { 1, 2 } }",
               "my.lua:1: x: decode: it returns 1 weights, and dim is 2");
  expect_error("return scalar { name = 'x', bits = 2, codebook = values { 1, scope = 'all' } }",
               "field 'codebook.scope' should be \"spec\", \"tensor\" or \"row\"");
  expect_error("return scalar { name = 'x', bits = 2, codebook = lloyd_max { entries = 0 } }",
               "field 'codebook.entries' should be an integer from 1 to 65536, got 0");
  expect_error("return scalar { name = 'x', bits = 2, codebook = lloyd_max { entris = 4 } }",
               "lloyd_max has no field 'entris'; did you mean 'entries'?");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 100 } }",
               "field 'group.size' should be a multiple of 8, got 100");
  expect_error("return scalar { name = 'x', bits = 2, group = { a = { 'u4', 0, 15 } } }",
               "field 'group.size' is missing, and so is a size or scope of 'group.a'");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 16, a = { 'u4', 0, 15 },\n"
               "  b = { 'u4', 0, 15, size = 24 } } }",
               "groups of 16 columns, of which no whole number is a group of 'group.b' (24)");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  group = { a = { 'f32', 0, 1, size = 24, scope = 'row' } } }",
               "field 'group.a' has a size and a scope; leave one out");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  group = { a = { 'f32', 0, 1, scope = 'spec' } } }",
               "field 'group.a.scope' should be \"row\" or \"tensor\", got the string 'spec'");
  expect_error(
      "return scalar { name = 'x', bits = 2, group = { size = 64, a = { 'e8m0', 0, 1 } } }",
      "with 5.87747e-39 <= lowest <= highest <= 1.70141e+38");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64 } }",
               "field 'group' has no fields");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64, a = { 'f64', 0, 1 } } }",
               "a type of f16, u4, u8, u2, u3, u6, s4, s8, e4m3, e5m2, e8m0, bf16, f32, got the "
               "string 'f64'");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64, a = { 'u4', 0, 16 } } }",
               "lowest <= highest <= 15, both integers");
  expect_error("return vector { name = 'x', dim = 16, bits = 16,\n"
               "  group = { size = 64, a = { 'u4', 0, 15 } }, decode = function () end }",
               "field 'dim': 16 should be 1, 2, 4 or 8 where there are group fields");
}

Test(quantizer, what_is_stored_must_be_used) {
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64,\n"
               "  a = { 'f16', 0, 1 }, b = { 'u4', 0, 15 } },\n"
               "  decode = function (c, _, g) return half(c) * g.a end }",
               "my.lua:3: x: decode never uses group.b, which would be stored for every group");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  codebooks = { a = values { 1, 2, 3, 4 }, b = values { 1, 2 } },\n"
               "  decode = function (c, k) return k.a[c] end }",
               "my.lua:3: x: decode never reads codebook 'b'");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  decode = function (c) return ({ 1, 2, 3, 4 })[c + 1] end }",
               "got nil; a table of Lua has nothing at a word: values { ... } has");
  expect_error("return scalar { name = 'x', bits = 3,\n"
               "  codebook = values { -1, 0, 1, 2 },\n"
               "  decode = function (c, k) return k[c & 3] end }",
               "my.lua:3: x: decode never reads bit 2 of the 3 bits of a code");
  expect_error("return vector { name = 'x', dim = 2, bits = 6,\n"
               "  codebook = gaussian_kmeans { entries = 16, dim = 2 },\n"
               "  decode = function (c, k) return k[c >> 2] end }",
               "my.lua:3: x: decode never reads bit 0 of the 6 bits of a code");
  expect_error("return trellis { name = 'x', window = 8, dim = 1, step = 2,\n"
               "  codebook = lloyd_max { entries = 64 },\n"
               "  decode = function (s, k) return k[s * 2 & 31] end }",
               "no state reads codebook 'codebook' behind entry 30");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  group = { size = 64,\n"
               "    a = { 'f16', 0, 1, sise = 256 } } }",
               "my.lua:3: x: field 'group.a' has no field 'sise'; did you mean 'size'?");
  expect_error(
      "return scalar { name = 'x', bits = 2, group = { size = 64, a = { 'u4', 0, 1, 2 } } }",
      "field 'group.a' has 4 items");
}

Test(quantizer, entries_between_others_that_no_state_reads_are_counted) {
  const qp_quantizer *q =
      load("return scalar { name = 'x', bits = 2,\n"
           "  codebooks = { a = values { 1, 2, 3, 4, 5, 6, 7 }, b = values { 0, 1, 2 } },\n"
           "  decode = function (c, k) return k.a[c << 1] + k.b[c & 1] + k.b[c & 2] end }");
  cr_expect_eq(qp_quantizer_unread(q, 0), 3);
  cr_expect_eq(qp_quantizer_unread(q, 1), 0);
}

Test(quantizer, what_is_wrong_in_a_table_is_said_of_its_own_line) {
  expect_error("return scalar {\n  name = 'x',\n  bits = 2,\n  codbook = values { 1 } }",
               "my.lua:4: x: scalar has no field 'codbook'; did you mean 'codebook'?");
  expect_error("return vector {\n  name = 'x', dim = 2,\n  step = 4 }",
               "my.lua:3: x: vector has no field 'step'; did you mean 'bits'?");
  expect_error("return trellis {\n  name = 'x',\n  bits = 4 }",
               "my.lua:3: x: trellis has no field 'bits'; did you mean 'step'?");
  expect_error("return scalar {\n  name = 'x', bits = 2,\n  codebook = values {\n    1e9 } }",
               "my.lua:3: x: codebook 'codebook': number 1");
  expect_error("return scalar {\n  name = 'x', bits = 2,\n  codebooks = {\n"
               "    a = values { 1 },\n    codebook = lloyd_max {\n      entris = 4 } } }",
               "my.lua:6: x: lloyd_max has no field 'entris'");
  expect_error("return scalar {\n  name = 'x', bits = 2,\n  codebooks = {\n"
               "    a = values { 1 },\n    b = values { dim = 2, 1 } } }",
               "my.lua:5: x: codebook 'b': 1 values should be a multiple");
  expect_error("return split {\n  name = 'x',\n  parts = {\n    { 'nuq-2', 1/2 },\n"
               "    { 'nuq-33', 1/2 } } }",
               "my.lua:4: x: field 'parts': there is no quantizer 'nuq-2'");
  expect_error_of("x",
                  "local half = 1/2\nlocal function q(n)\n  return scalar { name = n, bits = 1,\n"
                  "    codebook = values { -1, 1 } }\nend\nreturn { q('a'), split {\n"
                  "  name = 'x',\n  parts = {\n    { 'a', half },\n    { 'b', half } } } }",
                  "my.lua:10: x: field 'parts': there is no quantizer 'b'");
}

Test(quantizer, what_a_table_has_beside_its_fields_is_not_lost) {
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  group = { size = 32, a = { 'f16', 0, 1 },\n    { 'f16', 0, 1 } } }",
               "my.lua:2: x: field 'group' has an item without a name");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  group = { size = 32, a = { 'f16', 0, 1 }, [true] = { 'f16', 0, 1 } } }",
               "my.lua:2: x: field 'group' has an item without a name");
  expect_error("return scalar { name = 'x', bits = 2,\n"
               "  codebooks = { a = values { 1 }, [9] = values { 1 } } }",
               "my.lua:2: x: field 'codebooks' should be a table { name = codebook, ... }, got one "
               "with items without names");
  expect_error("return scalar { name = 'x', [2.5] = 1, bits = 2, codebook = values { 1 } }",
               "scalar has a key that is no name and no place in a list");
  expect_error("return split { name = 'x', parts = { { 'a', 1/2 }, { 'b', 1/2 },\n  c = 1 } }",
               "my.lua:2: x: field 'parts' has no field 'c'; it is a list");
  expect_error("return split { name = 'x', parts = { { 'a', 1/2, at = 3 }, { 'b', 1/2 } } }",
               "field 'parts': an item has no field 'at'; it is a list");
  expect_error("local q = scalar { name = 'x', bits = 1, codebook = values { -1, 1 } }\n"
               "return { q, b = q }",
               "the list of quantizers that it returns has no field 'b'; it is a list");
}

Test(quantizer, what_lua_says_of_values_comes_with_advice) {
  static const char advice[] = "a value of decode has no number when the file is loaded";
  expect_error(DECODE("for i = 1, c do end return half(c)"),
               "my.lua:4: x: decode: bad 'for' limit (number expected, got word); a value of");
  expect_error(DECODE("return half(math.floor(c))"), advice);
  expect_error(DECODE("return math.sqrt(half(c))"), advice);
  expect_error(DECODE("return half(({ 1, 2 })[c])"),
               "got nil; a table of Lua has nothing at a word");
  expect_error(DECODE("return half(c) * ({ 1, 2 })[c]"),
               "got half and nil; a table of Lua has nothing at a word");
  expect_error(DECODE("return c.x"), "decode(state, codebook, group) is given the state first");
  expect_error(DECODE("return half(0/0) * half(c)"), "half(x): nan is no fp16 number");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64, a = 'f16' } }",
               "bf16, f32, got the string 'f16'");
  expect_error("return scalar { name = 'x', bits = 2, group = { size = 64, a = { 'f16', lo } } }",
               "lowest <= highest <= 65504, got a function and nothing");
  expect_error("return 3", "a list of 1 to 256, got 3");
}

Test(quantizer, names_that_are_not_there_get_advice) {
  expect_error(DECODE("return popcout(c)"), "no 'popcout'; did you mean 'popcount'?");
  expect_error(DECODE("return sqrt(half(c))"), "no 'sqrt'; Lua's own is math.sqrt");
  expect_error(DECODE("return half(math.random(4))"), "no 'math.random'; a definition is the same");
  expect_error(DECODE("return half(math.flor(4))"), "did you mean 'math.floor'?");
  expect_error(DECODE("return half(('x'):reverse1())"), "did you mean 'string.reverse'?");
  expect_error("local m = require 'm'", "my.lua:1: there is no 'require'; a file stands alone");
  expect_error("return scaler { name = 'x' }", "did you mean 'scalar'?");
  expect_error(DECODE("return c * 0.5"), "0.5 is not an integer; half(word) is the number");
}

Test(quantizer, a_wrong_one_leaves_the_others_of_its_file) {
  const qp_quantizer *q = NULL;
  char name[160];
  write_spec("local function good(c) return half(c) end\n"
             "return { scalar { name = 'a-2', bits = 2, decode = good },\n"
             "  scalar { name = 'b', bits = 44, decode = good },\n"
             "  split { name = 'c', parts = { { 'a-2', 1/2 }, { 'b', 1/2 } } } }");
  snprintf(name, sizeof name, "%s:a-2", path);
  cr_expect_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  snprintf(name, sizeof name, "%s:b", path);
  cr_expect_eq(qp_palette_find(palette, name, &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "my.lua:3: b: field 'bits'"), "%s", error.text);
  snprintf(name, sizeof name, "%s:c", path);
  cr_expect_eq(qp_palette_find(palette, name, &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "my.lua:4: c: field 'parts': 'b' is refused"), "%s", error.text);
  cr_expect_eq(qp_palette_find(palette, path, &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "it has a-2, b, c; one is refused: "), "%s", error.text);
}

Test(quantizer, what_a_file_returns_is_checked) {
  expect_error("return 3", "it should return a quantizer or a list");
  expect_error("", "it returns nothing; write 'return' before its quantizer");
  expect_error("return trellis {}, trellis {}",
               "returns 2 values; return one, which may be a list");
  expect_error("return {}", "it should return a quantizer or a list");
  expect_error("return { 3 }", "it should return trellis { ... }");
  expect_error("return { values { 1 } }", "got values { ... }");
  expect_error("return trellis 'x'", "my.lua:1: trellis should be called with one table");
  expect_error("return trellis { name = 'x'", "my.lua:1: '}' expected");
  expect_error(
      "local s = scalar { name = 'x', bits = 1, decode = function (c) return half(c) end }\n"
      "return { s, s }",
      "field 'name': 'x' is taken by");
  expect_error("return split { name = 'x', parts = { { 'a', 0.5 }, { 'b', 0.4 } } }",
               "the fractions add up to 0.9, should be 1");
  expect_error("return split { name = 'x', parts = { { 'a', 0.5 }, { 'b', 0.5 } } }",
               "there is no quantizer 'a'");
  expect_error("return split { name = 'x', parts = { { 'a', 1 } } }", "a list of 2 to 16 items");
  expect_error("local p = {}\nfor i = 1, 17 do p[i] = { 'nuq-2', 1/17 } end\n"
               "return split { name = 'x', parts = p }",
               "a list of 2 to 16 items { \"name\", fraction }, got a table of 17");
}

Test(quantizer, parts_of_a_split_take_x_as_it_says) {
  static const char text[] =
      "local function of(name, side)\n"
      "  side.name, side.bits, side.decode = name, 2, function (c) return half(c) end\n"
      "  return scalar(side)\n"
      "end\n"
      "return { of('a', {}), of('b', { rotation = 128 }), split { name = 'x', %s\n"
      "  parts = { { 'a', 1/2 }, { 'b', 1/2 } } } }";
  static const char *const wrong[] = {"", "rotation = 256,",
                                      "rotation = 128, order = 'sensitivity',"};
  char full[512];
  for (unsigned i = 0; i < 3; i++) {
    snprintf(full, sizeof full, text, wrong[i]);
    expect_error_of("x", full, "'b' has a rotation, order or scale of its own");
  }
  snprintf(full, sizeof full, text, "rotation = 128,");
  cr_expect_eq(try_load_of("x", full), QP_OK, "%s", error.text);
}

Test(quantizer, a_split_has_up_to_sixteen_parts) {
  const qp_quantizer *q = NULL;
  char name[512];
  write_spec(
      "local function of(name, bits)\n"
      "  return scalar { name = name, bits = bits, decode = function (c) return half(c) end }\n"
      "end\n"
      "local p = {}\nfor i = 1, 16 do p[i] = { 'a', 1/16 } end\np[16][1] = 'b'\n"
      "return { of('a', 2), of('b', 4), split { name = 'x', parts = p } }");
  snprintf(name, sizeof name, "%s:x", path);
  cr_assert_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  cr_assert_eq(q->parts, 16);
  cr_expect_str_eq(q->part[14].quantizer->name, "a");
  cr_expect_str_eq(q->part[15].quantizer->name, "b");
  cr_expect_float_eq(q->rate, (15 * 2 + 4) / 16.0, 1e-12);
}

Test(quantizer, unknown_names_get_a_suggestion) {
  const qp_quantizer *q = NULL;
  cr_expect_eq(qp_palette_find(palette, "no-such-thing", &q, &error), QP_E_ARG);
  cr_expect(strstr(error.text, "there is no quantizer 'no-such-thing'"), "%s", error.text);
  cr_expect_eq(qp_palette_find(palette, "/no/such/file.lua", &q, &error), QP_E_IO);
  cr_expect_null(q);
}

/* ---- Hashes ---- */

static void hash_of(const char *text, char *out) {
  qp_palette *fresh = NULL;
  const qp_quantizer *q = NULL;
  write_spec(text);
  cr_assert_eq(qp_palette_open(&fresh, &error), QP_OK);
  cr_assert_eq(qp_palette_find(fresh, path, &q, &error), QP_OK, "%s", error.text);
  memcpy(out, q->hash, sizeof q->hash);
  qp_palette_close(fresh);
}

Test(quantizer, a_file_that_fills_its_memory_is_named_though_lua_has_freed_its_name) {
  expect_error("local t = {}\nfor i = 1, 1e9 do t[i .. ''] = ('y'):rep(1000) end",
               ": needs more than 64 MiB of memory (last seen at line 2)");
}

Test(quantizer, the_hash_is_of_the_definition_and_nothing_else) {
  char first[33], second[33];
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 2 } }", first);
  hash_of("-- other text\nreturn scalar { bits = 1, name = 'y',\n"
          "  codebooks = { b = values { 1, 1 + 1 } },\n"
          "  decode = function (c, cb) local unused = cb.b[0] return cb.b[c] end }",
          second);
  cr_expect_str_eq(first, second);
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 2.001 } }", second);
  cr_expect_str_neq(first, second);
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 2 },\n"
          "  decode = function (c, b) return -b[c] end }",
          second);
  cr_expect_str_neq(first, second);
  hash_of("return scalar { name = 'x', bits = 1, rotation = 128, codebook = values { 1, 2 } }",
          second);
  cr_expect_str_neq(first, second, "another rotation");
  hash_of("return scalar { name = 'x', bits = 1, rotation = 'full', codebook = values { 1, 2 } }",
          second);
  cr_expect_str_eq(first, second, "the usual rotation is not said");
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 2, scope = 'tensor' } }",
          first);
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 9, scope = 'tensor' } }",
          second);
  cr_expect_str_eq(first, second);
}

Test(quantizer, sparse_entries_are_part_of_the_stored_rate_and_of_the_hash) {
  const qp_quantizer *q =
      load("return scalar { name = 'x', bits = 4, sparse = 1 / 64, codebook = lloyd_max {\n"
           "  entries = 16, scope = 'row' } }");
  cr_expect(q->sparse == 1 / 64.0 && q->rate == 4);
  cr_expect_float_eq(q->stored_rate, 4 + 32 / 64.0 + 16.0 * 16 / 4096, 1e-12);
  char with[33], other[33], without[33];
  hash_of("return scalar { name = 'x', bits = 1, sparse = 0.1, codebook = values { 1, 2 } }", with);
  hash_of("return scalar { name = 'x', bits = 1, sparse = 0.01, codebook = values { 1, 2 } }",
          other);
  hash_of("return scalar { name = 'x', bits = 1, codebook = values { 1, 2 } }", without);
  cr_expect(strcmp(with, other) != 0 && strcmp(with, without) != 0 && strcmp(other, without) != 0);
  expect_error("return scalar { name = 'x', bits = 1, sparse = 0.2, codebook = values { 1, 2 } }",
               "field 'sparse' should be the share of a row's entries");
  expect_error("return scalar { name = 'x', bits = 1, sparse = 16, codebook = values { 1, 2 } }",
               "at most 1/8, got 16");
  expect_error("return split { name = 'x', sparse = 0.1, parts = { { 'a', 0.5 }, { 'b', 0.5 } } }",
               "sparse");
}
