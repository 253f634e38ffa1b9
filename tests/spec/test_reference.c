/* SPDX-License-Identifier: MIT */
/* The CPU reference: weights are packed here bit by bit, as layout.h says, and read back. */
#include "gen/spec/reference.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_reference *reference;
static qp_error error;
static qp_random rng;

static void set_up(void) {
  error.text[0] = 0;
  rng.state = 7;
  reference = qp_reference_new();
  cr_assert_not_null(reference);
}

static void tear_down(void) {
  qp_reference_free(reference);
  qp_palette_close(palette);
}

TestSuite(reference, .init = set_up, .fini = tear_down);

/* A linear's packed weights, and what each lane's stream was before it was packed. */
typedef struct linear {
  qp_stream stream;
  qp_packed packed;
  uint32_t *codes;
  uint8_t *field[QP_MAX_ARRAYS];
  uint16_t *codebook[QP_MAX_CODEBOOKS];
  uint8_t *bit; /* [row groups][32 lanes][bits of a lane] */
  size_t lane_bits;
} linear;

static void *allocate(size_t n) {
  void *p = calloc(n ? n : 1, 1);
  cr_assert_not_null(p);
  return p;
}

/* Draw the lanes' bits; put their words down in the order in which a superblock has them. */
static void draw_codes(linear *l) {
  const unsigned words = l->stream.period.words, superblocks = l->stream.superblocks;
  l->lane_bits = (size_t)superblocks * words * 32;
  const size_t bits = l->lane_bits * 32 * l->stream.row_groups;
  l->bit = allocate(bits);
  for (size_t i = 0; i < bits; i++) l->bit[i] = qp_random_next(&rng) >> 40 & 1;
  l->codes = allocate(l->stream.code_words * sizeof *l->codes);
  uint32_t *at = l->codes;
  for (size_t sb = 0; sb < (size_t)l->stream.row_groups * superblocks; sb++)
    for (unsigned first = 0, wide; first < words; first += wide) {
      wide = words - first >= 4 ? 4 : words - first >= 2 ? 2 : 1;
      for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = first; i < first + wide; i++, at++)
          for (unsigned b = 0; b < 32; b++) {
            const size_t from = (sb / superblocks * 32 + lane) * l->lane_bits;
            const size_t in = (sb % superblocks * words + i) * 32 + b;
            *at |= (uint32_t)l->bit[from + in] << b;
          }
    }
  cr_assert_eq(at - l->codes, (ptrdiff_t)l->stream.code_words);
}

static void draw_fields(linear *l) {
  const qp_quantizer *q = l->stream.quantizer;
  for (unsigned f = 0; f < l->stream.arrays; f++) {
    const size_t n = l->stream.field_bytes[f];
    l->field[f] = allocate(n);
    for (size_t i = 0; i < n; i++) l->field[f][i] = (uint8_t)(qp_random_next(&rng) >> 50);
    if (f < q->fields && q->field[f].type == QP_FIELD_F16) /* no NaN, whose bits mean nothing */
      for (size_t i = 1; i < n; i += 2) l->field[f][i] &= 0xbf;
    l->packed.field[f] = l->field[f];
  }
}

/* Of each row all entries but the first, which is a word of 0. */
static void draw_sparse(linear *l) {
  const qp_stream *s = &l->stream;
  const unsigned array = qp_layout_sparse_array(s->quantizer);
  for (unsigned row = 0; row < 32 * s->row_groups; row++)
    for (unsigned e = 0; e < s->sparse; e++) {
      const uint32_t column = s->columns * e / s->sparse + row % 5, half = 0x3c00 + 16 * row + e;
      qp_layout_set_sparse(s, row, e, l->field[array], e ? half << 16 | column : 0);
    }
}

/* What they add to a weight. */
static float sparse_of(const linear *l, unsigned row, unsigned column) {
  for (unsigned e = 1; e < l->stream.sparse; e++)
    if (l->stream.columns * e / l->stream.sparse + row % 5 == column)
      return qp_half_to_float((uint16_t)(0x3c00 + 16 * row + e));
  return 0;
}

static void draw_codebooks(linear *l) {
  const qp_quantizer *q = l->stream.quantizer;
  for (unsigned c = 0; c < q->codebooks; c++) {
    const qp_codebook *book = &q->codebook[c];
    if (book->scope == QP_SCOPE_SPEC) continue;
    const size_t copies = book->scope == QP_SCOPE_ROW ? 32 * l->stream.row_groups : 1;
    const size_t n = copies * book->entries * book->dim;
    l->codebook[c] = allocate(n * sizeof(uint16_t));
    for (size_t i = 0; i < n; i++)
      l->codebook[c][i] = (uint16_t)(qp_random_next(&rng) >> 40 & 0xbfff);
    l->packed.codebook[c] = l->codebook[c];
  }
}

static linear draw(const qp_quantizer *q, unsigned rows, unsigned columns) {
  linear l = {0};
  cr_assert_eq(qp_layout_stream(q, rows, columns, &l.stream, &error), QP_OK, "%s", error.text);
  draw_codes(&l);
  draw_fields(&l);
  draw_sparse(&l);
  draw_codebooks(&l);
  l.packed.codes = l.codes;
  return l;
}

static void drop(linear *l) {
  free(l->codes);
  free(l->bit);
  for (unsigned f = 0; f < QP_MAX_ARRAYS; f++) free(l->field[f]);
  for (unsigned c = 0; c < QP_MAX_CODEBOOKS; c++) free(l->codebook[c]);
}

/* Where a weight is: its lane, and its number in the lane's stream. */
static unsigned lane_of(unsigned row, unsigned column) { return 4 * (row % 8) + column % 32 / 8; }

static size_t number_of(const qp_quantizer *q, unsigned row, unsigned column) {
  bool by_row = q->dim > 2 && q->fields;
  for (unsigned c = 0; c < q->codebooks; c++)
    by_row |= q->dim > 2 && q->codebook[c].scope == QP_SCOPE_ROW;
  if (by_row) /* eight columns of each of the lane's four rows, then the next 32 columns */
    return (size_t)column / 32 * 32 + 8 * (row % 32 / 8) + column % 8;
  const unsigned tile = row % 32 / 16 + 2 * (2 * (column % 64 / 32) + column % 8 / 4);
  const unsigned reg = row / 8 % 2 + 2 * (column % 4 / 2);
  return (size_t)column / 64 * 64 + 2 * (4 * tile + reg) + column % 2;
}

static uint32_t state_of(const linear *l, unsigned row, unsigned column) {
  const qp_quantizer *q = l->stream.quantizer;
  const uint8_t *bit = l->bit + ((size_t)row / 32 * 32 + lane_of(row, column)) * l->lane_bits;
  const size_t w = number_of(l->stream.quantizer, row, column);
  uint32_t state = 0;
  if (q->planes) {
    for (unsigned p = 0; p < q->planes_read; p++)
      state = 2 * state + bit[(w / 64 * q->step + p) * 64 + w % 64];
    return state;
  }
  size_t at = (w / q->dim + 1) * q->step; /* one past the newest bit */
  for (unsigned i = 0; i < q->window; i++) {
    at = at ? at - 1 : l->lane_bits - 1;
    state = 2 * state + bit[at];
  }
  return state;
}

/* Bytes of a row group's piece of a field. */
static size_t piece_of(const linear *l, unsigned f) {
  const qp_field *field = &l->stream.quantizer->field[f];
  const size_t columns = (size_t)l->stream.superblocks * l->stream.period.blocks * 64;
  const size_t groups = field->size ? (columns + field->size - 1) / field->size : 1;
  const size_t bits = (field->tensor ? 1 : 32 * groups) * qp_field_row_of(field->type)->bits;
  return (bits + 127) / 128 * 16;
}

static uint32_t field_of(const linear *l, unsigned f, unsigned row, unsigned column) {
  const qp_field *field = &l->stream.quantizer->field[f];
  const unsigned array = f < 3 ? f : 3, bits = qp_field_row_of(field->type)->bits;
  const size_t group = field->size ? column / field->size : 0;
  const size_t e = field->tensor ? 0 : 32 * group + row % 8 * 4 + row % 32 / 8;
  size_t all = f < 3 ? 0 : 128 * (size_t)l->stream.sparse, before = 0;
  for (unsigned k = array; k < (f < 3 ? f + 1 : l->stream.quantizer->fields); k++) {
    all += piece_of(l, k);
    before += k < f ? piece_of(l, k) : 0;
  }
  const uint8_t *piece = l->field[array] + row / 32 * all + before;
  uint32_t raw = 0;
  for (unsigned i = 0; i < bits; i++)
    raw |= ((unsigned)piece[(e * bits + i) / 8] >> (e * bits + i) % 8 & 1u) << i;
  return raw;
}

static uint16_t weight_of(const linear *l, unsigned row, unsigned column) {
  const qp_quantizer *q = l->stream.quantizer;
  uint32_t fields[QP_MAX_FIELDS] = {0};
  const uint16_t *books[QP_MAX_CODEBOOKS] = {0};
  uint16_t weights[16];
  for (unsigned f = 0; f < q->fields; f++) fields[f] = field_of(l, f, row, column);
  for (unsigned c = 0; c < q->codebooks; c++) {
    const bool by_row = q->codebook[c].scope == QP_SCOPE_ROW;
    books[c] = l->codebook[c] ? l->codebook[c] : q->codebook[c].data;
    if (by_row) books[c] += (size_t)row * q->codebook[c].entries;
  }
  qp_quantizer_decode(q, state_of(l, row, column), fields, books, weights);
  const uint16_t weight = weights[number_of(l->stream.quantizer, row, column) % q->dim];
  const float more = sparse_of(l, row, column);
  return more != 0 ? qp_float_to_half(qp_half_to_float(weight) + more) : weight;
}

static void expect_round_trip(const qp_quantizer *q, unsigned rows, unsigned columns) {
  linear l = draw(q, rows, columns);
  l.packed.stream = &l.stream;
  uint16_t *out = allocate((size_t)32 * columns * sizeof *out);
  size_t wrong = 0;
  for (unsigned rg = 0; rg < l.stream.row_groups; rg++) {
    memset(out, 0xfe, (size_t)32 * columns * sizeof *out);
    cr_assert_eq(qp_reference_decode(reference, &l.packed, rg, out, &error), QP_OK, "%s",
                 error.text);
    for (unsigned i = 0; i < 32; i++)
      for (unsigned c = 0; c < columns; c++)
        wrong += out[(size_t)i * columns + c] != weight_of(&l, 32 * rg + i, c);
  }
  cr_expect_eq(wrong, 0, "%s: %zu of %u x %u weights", q->name, wrong, rows, columns);
  free(out);
  drop(&l);
}

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  if (!palette) cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  cr_assert_eq(qp_palette_find(palette, name, &q, &error), QP_OK, "%s", error.text);
  return q;
}

Test(reference, reads_back_what_was_packed_for_every_quantizer) {
  cr_assert_eq(qp_palette_open(&palette, &error), QP_OK, "%s", error.text);
  unsigned leaves = 0;
  cr_assert_eq(qp_palette_load(palette, &error), QP_OK, "%s", error.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    if (q->kind == QP_SPLIT) continue;
    expect_round_trip(q, 48, 352);
    leaves++;
  }
  cr_expect_gt(leaves, 10);
}

/* All bits zero but one: what it changes are the states whose window it is in, and no others. */
Test(reference, one_bit_reaches_the_windows_it_is_in_and_the_stream_is_a_ring) {
  const qp_quantizer *q = find("tcq-3");
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(q, 32, 128, &s, &error), QP_OK);
  uint32_t *codes = allocate(s.code_words * sizeof *codes);
  uint16_t *zero = allocate(32 * 128 * sizeof *zero), *out = allocate(32 * 128 * sizeof *out);
  const qp_packed packed = {.stream = &s, .codes = codes};
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, zero, &error), QP_OK);
  const size_t bits = s.superblocks * s.period.words * 32, steps = bits / q->step;
  codes[s.code_words - 1] = 1u << 31; /* the newest bit of the last lane's ring */
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, out, &error), QP_OK);
  for (unsigned row = 0; row < 32; row++)
    for (unsigned column = 0; column < 128; column++) {
      const size_t step = number_of(q, row, column) / q->dim;
      const size_t later = (step + 1) % steps; /* steps after the one that shifted the bit in */
      const bool in_window = later * q->step < q->window && lane_of(row, column) == 31;
      if (!in_window)
        cr_expect_eq(out[row * 128 + column], zero[row * 128 + column], "row %u, column %u", row,
                     column);
    }
  cr_expect_neq(memcmp(out, zero, 32 * 128 * sizeof *out), 0);
  free(codes), free(zero), free(out);
}

/* With the codebooks of its definition in the user's hands, a quantizer decodes the same. */
Test(reference, a_codebook_that_is_not_given_is_the_default) {
  const qp_quantizer *q = find("aqlm-2x8");
  linear l = draw(q, 32, 96);
  l.packed.stream = &l.stream;
  uint16_t a[32 * 96], b[32 * 96];
  qp_packed packed = l.packed;
  for (unsigned c = 0; c < q->codebooks; c++) packed.codebook[c] = q->codebook[c].data;
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, a, &error), QP_OK);
  for (unsigned c = 0; c < q->codebooks; c++) packed.codebook[c] = NULL;
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, b, &error), QP_OK);
  cr_expect_arr_eq(a, b, sizeof a);
  cr_assert_eq(qp_reference_decode(reference, &l.packed, 0, b, &error), QP_OK);
  cr_expect_neq(memcmp(a, b, sizeof a), 0, "codebooks that are given are not used");
  drop(&l);
}

/* 4-bit codes, scale 2 and zero 3 everywhere: (code - 3) * 2, and only the code varies. */
Test(reference, gives_hand_computed_weights_of_4_bit_integers) {
  const qp_quantizer *q = find("int4-g128");
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(q, 32, 64, &s, &error), QP_OK);
  cr_assert_eq(q->fields, 2);
  const bool scale_first = q->field[0].type == QP_FIELD_F16;
  uint32_t codes[32 * 8];
  uint8_t scale[64], zero[16];
  uint16_t out[32 * 64];
  for (size_t i = 0; i < 32 * 8; i++) codes[i] = 0x76543210u;
  for (size_t i = 0; i < 32; i++) scale[2 * i] = 0, scale[2 * i + 1] = 0x40; /* 2.0 */
  memset(zero, 0x33, sizeof zero);
  cr_assert(s.code_words == 32 * 8 && s.groups == 1);
  qp_packed packed = {.stream = &s, .codes = codes};
  packed.field[scale_first ? 0 : 1] = scale;
  packed.field[scale_first ? 1 : 0] = zero;
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, out, &error), QP_OK);
  for (unsigned row = 0; row < 32; row++)
    for (unsigned column = 0; column < 64; column++) {
      const double code = (double)(number_of(q, row, column) % 8), expected = (code - 3) * 2;
      cr_expect_eq((double)qp_half_to_float(out[row * 64 + column]), expected);
    }
}

Test(reference, reads_every_field_as_stored) {
  const qp_quantizer *q = find("int4-g128");
  linear l = draw(q, 96, 416);
  l.packed.stream = &l.stream;
  for (unsigned f = 0; f < q->fields; f++)
    for (unsigned row = 0; row < 96; row++)
      for (unsigned column = 0; column < 416; column += 16)
        cr_expect_eq(qp_reference_field(&l.packed, f, row, column), field_of(&l, f, row, column));
  drop(&l);
}

/* Tables are kept by quantizer: one after the other and again, each its own. */
Test(reference, keeps_quantizers_apart) {
  static const char *const names[] = {"tcq-3", "vq2-2", "tcq-3", "e8p-2", "vq2-2"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    expect_round_trip(find(names[i]), 32, 64);
}
