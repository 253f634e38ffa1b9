/* SPDX-License-Identifier: MIT */
/* What the encode kernel is told of group fields is what the CPU's searches use. */
#include "gen/encode/field_table.h"

#include <criterion/criterion.h>
#include <string.h>

#include "gen/encode/field_axis.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(field_table, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

static const void *part(const qp_field_table *t, unsigned i) {
  uint32_t begin;
  memcpy(&begin, t->data + 4 * i, 4);
  cr_assert_lt(begin, t->bytes);
  return t->data + begin;
}

Test(field_table, values_of_fields_stand_one_behind_another) {
  const qp_quantizer *q = find("int3-g128");
  qp_field_table t;
  qp_field_axis scale;
  cr_assert_eq(qp_field_table_make(q, 128, true, &t, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_field_axis_make(&scale, &q->field[0], QP_FRACTION_FINE, &err), QP_OK);
  cr_assert_eq(t.count[0], scale.count);
  cr_assert_eq(t.count[1], 8);
  cr_expect_eq(t.points, 0);
  const uint32_t *raw = part(&t, QP_FIELD_TABLE_RAWS);
  const double *number = part(&t, QP_FIELD_TABLE_NUMBERS);
  for (unsigned i = 0; i < scale.count; i++) {
    cr_expect_eq(raw[i], scale.value[i]);
    cr_expect_eq(number[i], scale.number[i]);
  }
  for (unsigned zero = 0; zero < 8; zero++) {
    cr_expect_eq(raw[scale.count + zero], zero);
    cr_expect_eq(number[scale.count + zero], zero);
  }
  qp_field_axis_free(&scale);
  qp_field_table_free(&t);
}

/* Of each scale: a level times a, and b, is what the level's codes decode to. */
Test(field_table, a_and_b_of_a_grid_give_what_codes_decode_to) {
  const qp_quantizer *q = find("nvfp4");
  qp_field_table t;
  uint16_t half[16];
  cr_assert_eq(qp_field_table_make(q, 64, true, &t, &err), QP_OK, "%s", err.text);
  const double *ab = part(&t, QP_FIELD_TABLE_AB);
  const uint32_t *raw = part(&t, QP_FIELD_TABLE_RAWS);
  const float *level = part(&t, QP_FIELD_TABLE_LEVELS);
  const unsigned own = t.varies[0], from = own ? 1 : 0;
  for (unsigned i = 0; i < t.count[0]; i++) {
    uint32_t fields[QP_MAX_FIELDS] = {raw[own ? 0 : t.count[0]], raw[own ? 0 : t.count[0]]};
    fields[own] = raw[from + i];
    cr_assert_eq(qp_quantizer_table(q, fields, NULL, half, &err), QP_OK);
    const double least = ab[2 * i] * (double)level[0] + ab[2 * i + 1];
    const double most = ab[2 * i] * (double)level[t.levels - 1] + ab[2 * i + 1];
    cr_expect_float_eq(most, (double)qp_half_to_float(half[7]), 1e-6 + most / 1024);   /* 6 */
    cr_expect_float_eq(least, (double)qp_half_to_float(half[15]), 1e-6 + most / 1024); /* -6 */
  }
  qp_field_table_free(&t);
}

Test(field_table, a_field_of_the_linear_has_one_value) {
  qp_field_table t;
  cr_assert_eq(qp_field_table_make(find("nvfp4-quotient-bf16"), 64, false, &t, &err), QP_OK);
  cr_expect_eq(t.fields, 3);
  cr_expect_eq(t.varies[1], 3);
  cr_expect_eq(t.own, 1u << t.varies[0]);
  cr_expect_gt(t.count[0], 100);
  cr_expect_eq(t.points, t.count[0]);
  cr_expect_null(t.data);
}

/* Of q4_k d and dmin are those of 8 groups, and begin at their least; others at their largest. */
Test(field_table, fields_of_several_sizes_say_how_many_groups_share_them) {
  static const char *const name[] = {"d", "dmin", "scale", "least"};
  const qp_quantizer *q = find("q4_k");
  unsigned before = 0;
  qp_field_table t;
  cr_assert_eq(qp_field_table_make(q, 512, false, &t, &err), QP_OK);
  cr_expect(t.nested && t.grid);
  cr_expect_eq(t.group, 32);
  cr_expect_eq(t.unit, 256);
  for (unsigned f = 0; f < t.fields; f++) {
    const bool larger = q->field[f].size == 256;
    cr_expect_eq(t.size[f].each, larger ? 8 : 0, "%s", name[f]);
    cr_expect_eq(t.size[f].start, larger ? 0 : 63);
    cr_expect_eq(t.size[f].before, before);
    cr_expect_eq(t.larger >> f & 1, larger);
    cr_expect_eq(t.own >> f & 1, !larger);
    before += t.size[f].count;
  }
  cr_expect_neq(t.line_of.parts[0], t.line_of.parts[1]);
}

/* A unit is the row, in whole groups. */
Test(field_table, fields_of_rows_are_shared_by_all_groups) {
  qp_field_table t;
  cr_assert_eq(qp_field_table_make(find("nf4-g64-dq"), 160, false, &t, &err), QP_OK);
  cr_expect_eq(t.group, 64);
  cr_expect_eq(t.unit, 192);
  for (unsigned f = 0; f < t.fields; f++) cr_expect_eq(t.size[f].each, t.larger >> f & 1 ? 3 : 0);
}

Test(field_table, what_kernels_cannot_search_is_refused_with_the_reason) {
  static const struct {
    const char *name, *why;
  } row[] = {{"bcq-2", "a number that the fields set"},
             {"aqlm-2x8", "no group"},
             {"ccq-2", "weights"},
             {"nuq-4", "no group"},
             {"tcq-3", "no group"}};
  for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
    qp_field_table t;
    cr_expect_eq(qp_field_table_make(find(row[i].name), 256, true, &t, &err), QP_E_LIMIT);
    cr_expect(strstr(err.text, row[i].why) && strstr(err.text, row[i].name), "%s: %s", row[i].name,
              err.text);
  }
}
