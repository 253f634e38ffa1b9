/* SPDX-License-Identifier: MIT */
/* What a plan is made from. */
#include <criterion/criterion.h>
#include <math.h>

#include "gen/model/models.h"
#include "tuner/plan/input.h"

static double squared(const void *arg, double fraction) { return (void)arg, fraction * fraction; }

/* Distortion of a quantizer that loses 'nominal' on N(0,1) (NAN: it is not for this linear), in a
** linear of a block of SmolLM2-135M; with feedback the first x of the columns lose x^2 of all. */
static double distortion(const char *name, double nominal, unsigned linear, bool fed) {
  static qp_menu menu;
  const qp_quantizer *q;
  const qp_model *model;
  qp_palette *palette;
  qp_models *models;
  qp_plan_input in;
  qp_error err;
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_find(models, "smollm2-135m", &model, &err), QP_OK, "%s", err.text);
  menu = (qp_menu){0};
  cr_assert_eq(qp_menu_add(&menu, q, NULL, &err), QP_OK, "%s", err.text);
  menu.entry[0].distortion = isnan(nominal) ? 0.0188 : nominal;
  cr_assert_eq(qp_plan_input_init(&in, model, &menu, &err), QP_OK, "%s", err.text);
  if (isnan(nominal)) in.distortion[linear] = NAN;
  if (fed) qp_plan_input_fed(&in, linear, squared, NULL);
  const double d = in.distortion[linear];
  qp_plan_input_free(&in);
  qp_models_close(models);
  qp_palette_close(palette);
  return d;
}

/* 576 columns are 320 at 3 bits and 256 at 3.5, 3.22 bits in all; 1536 are halves. */
Test(plan_input, a_split_loses_what_the_columns_of_its_parts_lose) {
  cr_expect_float_eq(distortion("tcq-3.25", 0.01451, 0, false), 0.0150, 1e-4);
  cr_expect_float_eq(distortion("tcq-3.25", 0.01451, 6, false), 0.01451, 1e-9);
  cr_expect_float_eq(distortion("tcq-3", 0.0188, 0, false), 0.0188, 1e-9);
}

/* A quarter of the loss lies in the half at 3 bits: with 4^-rate for that of each half
   (0.25 + 0.75 / 2) / (0.5 + 0.5 / 2) = 5/6 of what halves alike would lose. */
Test(plan_input, a_split_loses_by_what_feedback_leaves_its_parts) {
  cr_expect_float_eq(distortion("tcq-3.25", 0.012, 6, true), 0.010, 1e-9);
  cr_expect_float_eq(distortion("tcq-3", 0.0188, 6, true), 0.0188, 1e-9);
}

Test(plan_input, a_quantizer_that_is_not_for_a_linear_stays_so) {
  cr_expect(isnan(distortion("tcq-3", NAN, 6, true)));
}
