/* SPDX-License-Identifier: MIT */
/* What the encode kernel is told of group fields is what the CPU's searches use. */
#include "gen/encode/field_table.h"

#include <criterion/criterion.h>
#include <string.h>

#include "gen/encode/affine.h"
#include "gen/encode/field_axis.h"

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

Test(field_table, a_and_b_stand_at_the_places_of_the_fields) {
  const qp_quantizer *q = find("int3-g128");
  qp_field_table t;
  qp_affine affine;
  qp_field_axis scale;
  cr_assert_eq(qp_field_table_make(q, 128, true, &t, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_affine_make(&affine, q, &err), QP_OK);
  cr_assert_eq(qp_field_axis_make(&scale, &q->field[0], QP_FRACTION_FINE, &err), QP_OK);
  cr_assert_eq(t.count[0], scale.count);
  cr_assert_eq(t.count[1], 8);
  const double *ab = part(&t, QP_FIELD_TABLE_AB);
  const uint32_t *raw = part(&t, QP_FIELD_TABLE_RAWS);
  for (unsigned zero = 0; zero < 8; zero++)
    for (unsigned i = zero; i < scale.count; i += 97) {
      double a, b;
      qp_affine_at(&affine, (uint32_t[QP_MAX_FIELDS]){scale.value[i], zero}, &a, &b);
      const double *at = ab + 2 * ((size_t)zero * scale.count + i);
      cr_expect(at[0] == a && at[1] == b, "%u, %u: %g %g, not %g %g", i, zero, at[0], at[1], a, b);
      cr_expect_eq(raw[i], scale.value[i]);
      cr_expect_eq(raw[scale.count + zero], zero);
    }
  qp_field_axis_free(&scale);
  qp_affine_free(&affine);
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

Test(field_table, what_kernels_cannot_search_is_refused_with_the_reason) {
  static const struct {
    const char *name, *why;
  } row[] = {{"q4_k", "one size"},     {"affine4-g32", "values together"},
             {"int8-row-f32", "rows"}, {"ccq-2", "weights"},
             {"nuq-4", "no group"},    {"tcq-3", "no group"}};
  for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
    qp_field_table t;
    cr_expect_eq(qp_field_table_make(find(row[i].name), 256, true, &t, &err), QP_E_LIMIT);
    cr_expect(strstr(err.text, row[i].why) && strstr(err.text, row[i].name), "%s: %s", row[i].name,
              err.text);
  }
}
