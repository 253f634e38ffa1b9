/* SPDX-License-Identifier: MIT */
/* The layout of packed weights against what layout.h says, counted out element by element. */
#include "gen/spec/layout.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static qp_error error;

static void set_up(void) { error.text[0] = 0; }

TestSuite(layout, .init = set_up);

static qp_quantizer codes_of(unsigned dim, unsigned step) {
  return (qp_quantizer){.name = "q", .kind = QP_VECTOR, .dim = dim, .window = step, .step = step};
}

Test(layout, every_weight_of_a_block_belongs_to_one_pair_of_one_lane) {
  bool seen[QP_GROUP_ROWS][QP_BLOCK_COLUMNS] = {{false}};
  for (unsigned lane = 0; lane < 32; lane++)
    for (unsigned j = 0; j < QP_BLOCK_PAIRS; j++) {
      unsigned row = 99, column = 99;
      qp_layout_pair(lane, j, &row, &column);
      cr_assert(row < QP_GROUP_ROWS && column < QP_BLOCK_COLUMNS && column % 2 == 0);
      cr_expect(!seen[row][column], "row %u, column %u twice", row, column);
      seen[row][column] = seen[row][column + 1] = true;
    }
  for (unsigned r = 0; r < QP_GROUP_ROWS; r++)
    for (unsigned c = 0; c < QP_BLOCK_COLUMNS; c++) cr_expect(seen[r][c]);
}

/* From a place back to the pair: the bits of row and column, sorted into lane, tile, register. */
Test(layout, pairs_lie_in_the_fragments_of_tensor_core_tiles) {
  for (unsigned row = 0; row < QP_GROUP_ROWS; row++)
    for (unsigned column = 0; column < QP_BLOCK_COLUMNS; column += 2) {
      const unsigned lane = 4 * (row % 8) + column % 32 / 8;
      const unsigned tile_row = row / 16, tile_column = 2 * (column / 32) + column % 8 / 4;
      const unsigned reg = row / 8 % 2 + 2 * (column % 4 / 2);
      unsigned r = 99, c = 99;
      qp_layout_pair(lane, 4 * (tile_row + 2 * tile_column) + reg, &r, &c);
      cr_expect(r == row && c == column, "(%u, %u), not (%u, %u)", r, c, row, column);
    }
}

Test(layout, a_lane_has_eight_neighbouring_columns_of_four_rows_in_every_32) {
  for (unsigned lane = 0; lane < 32; lane++)
    for (unsigned half = 0; half < 2; half++) {
      unsigned rows[32] = {0};
      for (unsigned j = 16 * half; j < 16 * half + 16; j++) {
        unsigned row, column;
        qp_layout_pair(lane, j, &row, &column);
        cr_expect_eq(column / 8, 4 * half + lane % 4);
        rows[row]++;
      }
      for (unsigned r = 0; r < 32; r++) cr_expect_eq(rows[r], r % 8 == lane / 4 ? 4 : 0);
    }
}

Test(layout, codes_of_several_weights_with_fields_lie_in_one_row) {
  qp_quantizer q = codes_of(8, 16);
  bool seen[QP_GROUP_ROWS][2 * QP_BLOCK_COLUMNS] = {{false}};
  q.fields = 1;
  cr_expect(qp_layout_by_row(&q));
  for (unsigned lane = 0; lane < 32; lane++)
    for (size_t i = 0; i < 4 * QP_BLOCK_PAIRS; i++) {
      unsigned first_row, row;
      size_t first, column;
      qp_layout_weight(&q, lane, i - i % 8, &first_row, &first);
      qp_layout_weight(&q, lane, i, &row, &column);
      cr_assert(row < QP_GROUP_ROWS && column < 2 * QP_BLOCK_COLUMNS && !seen[row][column]);
      cr_expect(row == first_row && column == first + i % 8 && first % 8 == 0,
                "weight %zu: row %u, column %zu", i, row, column);
      seen[row][column] = true;
    }
}

/* Counted in the order in which memory holds them: planes of 4 words, then 2, then 1. */
Test(layout, words_of_a_superblock_lie_in_planes_of_four_two_and_one) {
  for (unsigned words = 1; words <= 67; words++) {
    unsigned at = 0, first = 0;
    while (first < words) {
      const unsigned left = words - first, wide = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < wide; i++, at++)
          cr_expect_eq(qp_layout_word(words, lane, first + i), at, "word %u of %u, lane %u",
                       first + i, words, lane);
      first += wide;
    }
    cr_expect_eq(at, 32 * words);
  }
}

Test(layout, a_superblock_is_the_least_that_codes_and_words_share) {
  static const struct {
    unsigned dim, step, blocks, steps, words;
  } expected[] = {
      {1, 1, 1, 64, 2},   {1, 3, 1, 64, 6},  {1, 8, 1, 64, 16}, {2, 3, 1, 32, 3}, {2, 5, 1, 32, 5},
      {2, 12, 1, 32, 12}, {4, 6, 1, 16, 3},  {4, 7, 2, 32, 7},  {8, 16, 1, 8, 4}, {8, 4, 1, 8, 1},
      {8, 12, 1, 8, 3},   {8, 14, 2, 16, 7}, {5, 8, 5, 64, 16},
  };
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const qp_quantizer q = codes_of(expected[i].dim, expected[i].step);
    qp_period p = {0};
    cr_assert_eq(qp_layout_period(&q, &p, &error), QP_OK, "%s", error.text);
    cr_expect_eq(p.blocks, expected[i].blocks, "dim %u, step %u: %u blocks", q.dim, q.step,
                 p.blocks);
    cr_expect_eq(p.steps, expected[i].steps);
    cr_expect_eq(p.words, expected[i].words);
    cr_expect_eq(p.words_read, p.words);
  }
}

Test(layout, codes_and_words_of_any_superblock_end_together) {
  for (unsigned dim = 1; dim <= 8; dim++)
    for (unsigned step = 1; step <= 16; step++) {
      const qp_quantizer q = codes_of(dim, step);
      qp_period p = {.blocks = 99};
      if (qp_layout_period(&q, &p, &error)) {
        cr_expect_eq(p.blocks, 99, "changed by an error");
        continue;
      }
      cr_expect_eq(p.steps * dim, p.blocks * 64);
      cr_expect_eq(p.steps * step, p.words * 32);
    }
}

Test(layout, a_code_that_fills_no_words_is_refused_by_name) {
  const qp_quantizer q = codes_of(9, 8);
  qp_period p = {.blocks = 3};
  qp_stream s = {.rows = 5};
  cr_expect_eq(qp_layout_period(&q, &p, &error), QP_E_LIMIT);
  cr_expect(strstr(error.text, "quantizer q: codes of 8 bits for 9 weights"), "%s", error.text);
  cr_expect_eq(p.blocks, 3);
  cr_expect_eq(qp_layout_stream(&q, 32, 64, &s, &error), QP_E_LIMIT);
  cr_expect_eq(s.rows, 5);
}

Test(layout, fewer_bit_planes_are_read_than_are_stored) {
  qp_quantizer q = codes_of(1, 3);
  q.kind = QP_SCALAR, q.planes = true, q.planes_read = 2;
  qp_period p = {0};
  cr_assert_eq(qp_layout_period(&q, &p, &error), QP_OK);
  cr_expect_eq(p.words, 6);
  cr_expect_eq(p.words_read, 4);
}

Test(layout, a_stream_is_padded_to_row_groups_and_superblocks) {
  const qp_quantizer q = codes_of(5, 8); /* superblocks of 320 columns, 16 words */
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(&q, 48, 352, &s, &error), QP_OK);
  cr_expect_eq(s.quantizer, &q);
  cr_expect(s.rows == 48 && s.columns == 352);
  cr_expect_eq(s.row_groups, 2);
  cr_expect_eq(s.superblocks, 2);
  cr_expect_eq(s.code_words, 2 * 2 * 16 * 32);
  cr_expect_eq(s.groups, 0);
  cr_assert_eq(qp_layout_stream(&q, 64, 320, &s, &error), QP_OK);
  cr_expect(s.row_groups == 2 && s.superblocks == 1);
}

/* 1.6 bits a weight stay 1.6 bits a weight where nothing is padded. */
Test(layout, packed_codes_take_their_rate_and_no_more) {
  for (unsigned step = 1; step <= 16; step++) {
    const qp_quantizer q = codes_of(4, 2 * step);
    qp_stream s = {0};
    cr_assert_eq(qp_layout_stream(&q, 96, 8 * 320, &s, &error), QP_OK);
    cr_expect_eq(s.code_words * 32 * 4, (size_t)96 * 8 * 320 * 2 * step);
  }
}

static qp_quantizer with_fields(unsigned group) {
  qp_quantizer q = codes_of(1, 4);
  q.group = group, q.fields = 3;
  q.field[0].type = QP_FIELD_F16;
  q.field[1].type = QP_FIELD_U4;
  q.field[2].type = QP_FIELD_U8;
  for (unsigned f = 0; f < 3; f++) q.field[f].size = group;
  return q;
}

Test(layout, fields_have_an_element_for_each_row_and_group_of_padded_columns) {
  static const unsigned sizes[] = {16, 32, 64, 128, 256};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const qp_quantizer q = with_fields(sizes[i]);
    qp_stream s = {0};
    cr_assert_eq(qp_layout_stream(&q, 80, 416, &s, &error), QP_OK); /* padded: 96 x 448 */
    const unsigned groups = (448 + sizes[i] - 1) / sizes[i];
    cr_expect_eq(s.groups, groups);
    cr_expect_eq(s.field_bytes[0], (size_t)96 * groups * 2);
    cr_expect_eq(s.field_bytes[1], (size_t)96 * groups / 2);
    cr_expect_eq(s.field_bytes[2], (size_t)96 * groups);
  }
}

/* Counted in the order of memory: row groups, column groups, lanes' rows, tile rows, halves. */
Test(layout, fields_of_a_lane_s_four_rows_are_neighbours) {
  const qp_quantizer q = with_fields(128);
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(&q, 96, 512, &s, &error), QP_OK);
  size_t at = 0;
  for (unsigned rg = 0; rg < 3; rg++)
    for (unsigned g = 0; g < 4; g++)
      for (unsigned in = 0; in < 8; in++)
        for (unsigned tile = 0; tile < 2; tile++)
          for (unsigned upper = 0; upper < 2; upper++, at++) {
            const unsigned row = 32 * rg + 16 * tile + 8 * upper + in;
            for (unsigned f = 0; f < 3; f++) {
              const unsigned bits = qp_field_row_of(q.field[f].type)->bits;
              cr_expect_eq(qp_layout_field(&s, f, row, 128 * g), bits * at);
              cr_expect_eq(qp_layout_field(&s, f, row, 128 * g + 127), bits * at);
            }
          }
  cr_expect_eq(s.field_bytes[2], at);
}

/* Six fields: three arrays of one, and one of three pieces a row group, 16 bytes at a time. */
static qp_quantizer with_many_fields(void) {
  static const struct {
    qp_field_type type;
    unsigned size;
    bool tensor;
  } fields[] = {{QP_FIELD_U6, 48, false},  {QP_FIELD_U3, 0, false}, {QP_FIELD_F32, 96, false},
                {QP_FIELD_F16, 96, false}, {QP_FIELD_U2, 8, false}, {QP_FIELD_BF16, 0, true}};
  qp_quantizer q = codes_of(1, 4);
  q.group = 8, q.fields = 6;
  for (unsigned f = 0; f < 6; f++) {
    q.field[f].type = fields[f].type;
    q.field[f].size = fields[f].size;
    q.field[f].tensor = fields[f].tensor;
  }
  return q;
}

Test(layout, fields_from_the_fourth_on_share_an_array_row_group_by_row_group) {
  const qp_quantizer q = with_many_fields();
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(&q, 64, 192, &s, &error), QP_OK);
  cr_expect(s.arrays == 4 && s.groups == 24);
  cr_expect_eq(s.field_bytes[0], 2 * 4 * 32 * 6 / 8);
  cr_expect_eq(s.field_bytes[1], 2 * 16); /* 12 bytes, filled up */
  cr_expect_eq(s.field_bytes[2], 2 * 2 * 32 * 4);
  const size_t pieces[] = {2 * 32 * 2, 24 * 32 / 4, 16};
  cr_expect_eq(s.field_bytes[3], 2 * (pieces[0] + pieces[1] + pieces[2]));
  cr_expect(qp_layout_array(2) == 2 && qp_layout_array(3) == 3 && qp_layout_array(5) == 3);
  cr_expect(!qp_layout_array_is_half(&q, 3), "of three fields, the first of which is fp16");
  /* Row 41 is lane row 1 of the second row group, the second of its four: 32 + 8 + 1. */
  cr_expect_eq(qp_layout_field(&s, 0, 41, 100), 8 * 96 + 6 * ((2 * 8 + 1) * 4 + 1));
  cr_expect_eq(qp_layout_field(&s, 1, 41, 100), 8 * 16 + 3 * (1 * 4 + 1));
  const size_t second = 8 * (s.field_bytes[3] / 2);
  cr_expect_eq(qp_layout_field(&s, 3, 41, 100), second + 16 * ((1 * 8 + 1) * 4 + 1));
  cr_expect_eq(qp_layout_field(&s, 4, 41, 100),
               second + 8 * pieces[0] + 2 * ((12 * 8 + 1) * 4 + 1));
  cr_expect_eq(qp_layout_field(&s, 5, 41, 100), second + 8 * (pieces[0] + pieces[1]));
}

Test(layout, what_is_set_of_a_field_is_got_and_nothing_else) {
  const qp_quantizer q = with_many_fields();
  qp_stream s = {0};
  cr_assert_eq(qp_layout_stream(&q, 32, 192, &s, &error), QP_OK);
  for (unsigned f = 0; f < 6; f++) {
    const size_t bytes = s.field_bytes[qp_layout_array(f)];
    const uint32_t raw =
        0xa5c396 & (uint32_t)((1ull << qp_field_row_of(q.field[f].type)->bits) - 1);
    uint8_t *array = malloc(bytes);
    cr_assert_not_null(array);
    memset(array, 0xff, bytes);
    qp_layout_set_field(&s, f, 9, 100, array, raw);
    cr_expect_eq(qp_layout_get_field(&s, f, 9, 100, array), raw);
    unsigned zeros = 0;
    for (size_t i = 0; i < bytes; i++) zeros += 8 - (unsigned)__builtin_popcount(array[i]);
    const unsigned bits = qp_field_row_of(q.field[f].type)->bits;
    cr_expect_eq(zeros, bits - (unsigned)__builtin_popcount(raw), "field %u", f);
    free(array);
  }
}

/* Behind the last field as if they were one: an array of their own, or the end of the fourth. */
Test(layout, sparse_entries_lie_entry_by_entry_and_row_by_row_behind_the_fields) {
  for (unsigned fields = 0; fields <= 6; fields++) {
    qp_quantizer q = with_many_fields();
    q.fields = fields, q.sparse = 0.02;
    qp_stream plain = {0}, s = {0};
    const unsigned array = fields < 3 ? fields : 3;
    cr_assert_eq(qp_layout_stream(&q, 80, 192, &s, &error), QP_OK); /* 3 row groups, 4 entries */
    q.sparse = 0;
    cr_assert_eq(qp_layout_stream(&q, 80, 192, &plain, &error), QP_OK);
    q.sparse = 0.02;
    cr_assert_eq(s.sparse, 4);
    cr_expect_eq(s.arrays, array + 1);
    cr_expect_eq(s.field_bytes[array], plain.field_bytes[array] + 3 * 4 * 32 * 4);
    cr_expect(!qp_layout_array_is_half(&q, array), "%u fields", fields);
    const size_t piece = s.field_bytes[array] / 3, before = plain.field_bytes[array] / 3;
    uint8_t *to = calloc(1, s.field_bytes[array]);
    cr_assert_not_null(to);
    qp_layout_set_sparse(&s, 41, 2, to, 0x3c000007);
    cr_expect_eq(qp_layout_get_sparse(&s, 41, 2, to), 0x3c000007);
    cr_expect_eq(to[piece + before + 4 * (2 * 32 + 9)], 7);
    cr_expect_eq(to[piece + before + 4 * (2 * 32 + 9) + 3], 0x3c);
    if (fields > 3) cr_expect_eq(qp_layout_field(&s, 3, 41, 0), 8 * piece + 16 * 5);
    free(to);
  }
}

Test(layout, sparse_entries_are_a_share_of_the_columns_which_have_numbers_of_16_bits) {
  qp_quantizer q = codes_of(1, 4);
  qp_stream s = {0};
  q.sparse = 0.004;
  cr_assert_eq(qp_layout_stream(&q, 32, 64, &s, &error), QP_OK);
  cr_expect_eq(s.sparse, 1);
  cr_assert_eq(qp_layout_stream(&q, 32, 65536, &s, &error), QP_OK);
  cr_expect_eq(s.sparse, 262);
  cr_expect_eq(qp_layout_stream(&q, 32, 65600, &s, &error), QP_E_LIMIT);
  cr_expect_not_null(strstr(error.text, "65600"), "%s", error.text);
}

Test(layout, a_split_begins_its_parts_at_whole_blocks) {
  qp_quantizer q = {.name = "s", .kind = QP_SPLIT, .parts = 3};
  q.part[0].fraction = 0.3, q.part[1].fraction = 0.25, q.part[2].fraction = 0.45;
  for (unsigned columns = 64; columns <= 4096; columns += 32) {
    unsigned before = 0;
    double fraction = 0;
    for (unsigned i = 0; i <= 3; i++) {
      const unsigned at = qp_layout_part_column(&q, columns, i);
      cr_expect(at >= before && at <= columns);
      cr_expect(at % 64 == 0 || at == columns);
      if (i == 0) cr_expect_eq(at, 0);
      if (i == 3) cr_expect_eq(at, columns);
      const double off = at - fraction * columns;
      cr_expect(off <= 32 && off >= -32, "part %u of %u columns begins at %u", i, columns, at);
      before = at;
      if (i < 3) fraction += q.part[i].fraction;
    }
  }
}

Test(layout, a_quantizer_that_is_no_split_has_one_part) {
  const qp_quantizer q = codes_of(1, 4);
  cr_expect_eq(qp_layout_part_column(&q, 4096, 0), 0);
  cr_expect_eq(qp_layout_part_column(&q, 4096, 1), 4096);
}
