/* SPDX-License-Identifier: MIT */
/* Without measured sensitivities a plan takes those that come with qpal, or a guess by role and
** depth. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/model/models.h"
#include "tuner/plan/input.h"
#include "tuner/plan/prior.h"

static qp_error err;
static char note[QP_PRIOR_NOTE];
static bool with_feedback, got_feedback;

/* Sensitivities of a model of this shape and name, for a menu of 16 bits. */
static double *alpha_of(const char *like, const char *name, unsigned layers, qp_model *m) {
  static qp_menu menu;
  qp_models *models;
  const qp_model *found;
  qp_plan_input in;
  bool head = false, feedback = with_feedback;
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_find(models, like, &found, &err), QP_OK, "%s", err.text);
  *m = *found;
  strcpy(m->name, name);
  m->layers = layers ? layers : m->layers;
  menu.count = 0;
  cr_assert_eq(qp_menu_add(&menu, NULL, NULL, &err), QP_OK);
  cr_assert_eq(qp_plan_input_init(&in, m, &menu, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_prior_apply(&in, &head, &feedback, note, &err), QP_OK, "%s", err.text);
  cr_assert(head || !m->tied);
  got_feedback = feedback;
  double *alpha = malloc(qp_plan_linears(m) * sizeof *alpha);
  memcpy(alpha, in.alpha, qp_plan_linears(m) * sizeof *alpha);
  qp_plan_input_free(&in);
  qp_models_close(models);
  return alpha;
}

/* By weight, as a share of all roles' in a block. */
static double per_weight(const qp_model *m, const double *alpha, unsigned block, const char *role) {
  for (unsigned l = 0; l < m->linears; l++)
    if (!strcmp(m->linear[l].role, role))
      return alpha[block * m->linears + l] / m->linear[l].rows / m->linear[l].columns;
  cr_assert_fail("no role %s", role);
  return 0;
}

Test(prior, a_measured_model_is_found_by_the_beginning_of_its_name) {
  qp_model m;
  double *named = alpha_of("llama-3.1-8b", "llama-3.1-8b", 0, &m);
  cr_assert(strstr(note, "tuned/llama-3.1-8b-sensitivity.json"), "%s", note);
  cr_assert(strstr(note, "qpal calibrate"), "%s", note);
  double *variant = alpha_of("llama-3.1-8b", "Llama-3.1-8B-Instruct", 0, &m);
  cr_assert_eq(memcmp(named, variant, qp_plan_linears(&m) * sizeof *named), 0);
  for (unsigned i = 0; i + 1 < qp_plan_linears(&m); i++) cr_assert_gt(named[i], 0);
  cr_assert_float_eq(named[2], 0.1333, 1e-3, "v of the first block as it was published");
  free(named);
  free(variant);
}

Test(prior, sensitivities_with_error_feedback_are_taken_where_they_come_with_qpal) {
  qp_model m;
  double *white = alpha_of("smollm2-135m", "smollm2-135m", 0, &m);
  cr_assert_not(got_feedback);
  with_feedback = true;
  double *fed = alpha_of("smollm2-135m", "SmolLM2-135M-Instruct", 0, &m);
  cr_assert(got_feedback);
  cr_assert(strstr(note, "tuned/smollm2-135m-feedback.json"), "%s", note);
  double before = 0, after = 0;
  for (unsigned i = 0; i + 1 < qp_plan_linears(&m); i++) {
    cr_assert_gt(fed[i], 0);
    before += white[i];
    after += fed[i];
  }
  cr_assert_lt(after, before / 2, "%g of %g", after, before);
  free(alpha_of("llama-3.1-8b", "llama-3.1-8b", 0, &m));
  cr_assert_not(got_feedback, "none come with it");
  cr_assert(strstr(note, "tuned/llama-3.1-8b-sensitivity.json"), "%s", note);
  with_feedback = false;
  free(white);
  free(fed);
}

/* Facts that other measurements of this model gave too: v and one down far above their weights. */
Test(prior, smollm2_has_what_was_measured) {
  qp_model m;
  double *alpha = alpha_of("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1", 0, &m), sum = 0, v = 0;
  const unsigned n = qp_plan_linears(&m);
  cr_assert(strstr(note, "tuned/smollm2-135m-sensitivity.json"), "%s", note);
  for (unsigned i = 0; i < n; i++) {
    cr_assert_gt(alpha[i], 0);
    if (i + 1 < n) sum += alpha[i];
    if (i + 1 < n && !strcmp(m.linear[i % m.linears].role, "v")) v += alpha[i];
  }
  cr_assert(v > 0.2 * sum && v < 0.45 * sum, "v has %g of %g", v, sum);
  cr_assert_gt(alpha[11 * m.linears + m.linears - 1], 0.05 * sum, "down of block 11");
  free(alpha);
}

Test(prior, another_name_or_another_number_of_blocks_gets_the_guess) {
  qp_model m;
  double *other = alpha_of("smollm2-135m", "mine", 0, &m);
  cr_assert(strstr(note, "a guess by role and depth"), "%s", note);
  cr_assert(strstr(note, "qpal calibrate"), "%s", note);
  free(other);
  other = alpha_of("smollm2-135m", "smollm2-135m-pruned", 7, &m);
  cr_assert(strstr(note, "a guess"), "%s", note);
  free(other);
}

Test(prior, the_guess_puts_v_above_all_and_gate_below) {
  qp_model m;
  double *alpha = alpha_of("llama-3.1-8b", "unknown", 0, &m);
  for (unsigned b = 0; b < m.layers; b += 5) {
    const double v = per_weight(&m, alpha, b, "v"), gate = per_weight(&m, alpha, b, "gate");
    cr_assert_gt(v, 2 * per_weight(&m, alpha, b, "down"));
    cr_assert_lt(gate, per_weight(&m, alpha, b, "down"));
    cr_assert_lt(gate, v);
  }
  cr_assert_neq(per_weight(&m, alpha, 0, "v"), per_weight(&m, alpha, 16, "v"), "depth counts");
  cr_assert_gt(alpha[qp_plan_linears(&m) - 1], 0);
  free(alpha);
}
