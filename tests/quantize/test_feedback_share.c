/* SPDX-License-Identifier: MIT */
/* The share of its loss that error feedback leaves a linear. */
#include "tests/quantize/quantize_kit.h"

#include <math.h>

#include "gen/model/models.h"
#include "tuner/quantize/feedback_share.h"

TestSuite(feedback_share, .init = make_folder, .fini = remove_folder);

enum { HIDDEN = 32 };

/* A model of one block. */
static const qp_model *tiny(qp_models **models) {
  const qp_model *m;
  write_text(path("config.json"),
             "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 64, "
             "\"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"num_hidden_layers\": 1, "
             "\"vocab_size\": 64, \"tie_word_embeddings\": false}");
  cr_assert_eq(qp_models_open(models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_find(*models, path("config.json"), &m, &err), QP_OK, "%s", err.text);
  return m;
}

/* The profile of q_proj, whose Hessian is 'first' in one half of the diagonal, 'second' in the
** other, 'other' elsewhere. */
static qp_feedback_profile profile(float first, float second, float other, size_t *found) {
  const uint64_t shape[] = {HIDDEN, HIDDEN};
  float h[HIDDEN * HIDDEN];
  qp_feedback_profile all[16];
  qp_tensor_writer *w;
  qp_models *models;
  const qp_model *m = tiny(&models);
  for (unsigned i = 0; i < HIDDEN * HIDDEN; i++)
    h[i] = i % (HIDDEN + 1) ? other : i < HIDDEN * HIDDEN / 2 ? first : second;
  const char *file = path("h.safetensors");
  cr_assert_eq(qp_tensor_writer_new(file, &w, &err), QP_OK);
  qp_tensor_writer_declare(w, "model.layers.0.self_attn.q_proj.hessian", QP_TENSOR_F32, 2, shape,
                           NULL, &err);
  qp_tensor_writer_start(w, &err);
  qp_tensor_writer_write(w, 0, 0, h, sizeof h, &err);
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_OK, "%s", err.text);
  qp_tensor_writer_free(w);
  const qp_status status = qp_feedback_profiles(file, m, all, found, &err);
  const unsigned linears = m->layers * m->linears + 1;
  qp_models_close(models);
  if (status == QP_E_MISSING) cr_skip_test("no BLAS");
  cr_assert_eq(status, QP_OK, "%s", err.text);
  for (unsigned i = 1; i < linears; i++) cr_expect_eq(all[i].share, 1);
  return all[0];
}

static double share(float first, float second, float other, size_t *found) {
  return profile(first, second, other, found).share;
}

Test(feedback_share, is_the_geometric_by_the_arithmetic_mean_of_what_the_inputs_hold) {
  size_t found = 0;
  cr_expect_float_eq(share(3, 3, 0, &found), 1, 1e-6);
  cr_expect_eq(found, 1);
  /* means of 1 and 9, damped by 0.01 of 5 */
  cr_expect_float_eq(share(1, 9, 0, &found), sqrt(1.05 * 9.05) / 5.05, 1e-6);
  /* one direction of 1 + 31/2 and 31 of 1/2, damped by 0.01 */
  cr_expect_float_eq(share(1, 1, 0.5F, &found), exp((log(16.51) + 31 * log(0.51)) / 32) / 1.01,
                     1e-6);
}

Test(feedback_share, says_nothing_of_inputs_that_never_came) {
  size_t found = 0;
  cr_expect_eq(share(0, 0, 0, &found), 1);
}

Test(feedback_share, lies_in_the_last_columns) {
  size_t found = 0;
  const qp_feedback_profile white = profile(3, 3, 0, &found), p = profile(1, 9, 0, &found);
  cr_expect_float_eq(white.excess, 1, 1e-6);
  cr_expect_float_eq(qp_feedback_before(&white, 0.3), 0.3, 1e-6);
  cr_expect_eq(p.before[0], 0);
  cr_expect_float_eq(p.before[QP_FEEDBACK_STEPS], 1, 1e-9);
  for (unsigned i = 0; i < QP_FEEDBACK_STEPS; i++) cr_expect_geq(p.before[i + 1], p.before[i]);
  /* d_0 = 1 / (H^-1)_00 is the harmonic mean of 1.05 and 9.05 at least, d_31 = H_31,31 is 5.05;
     the sum of all lies between what the means say */
  cr_expect_float_eq(p.before[2] * 32 * p.share * 5.05 * p.excess, 2 / (1 / 1.05 + 1 / 9.05), 1e-4);
  cr_expect_float_eq((1 - p.before[62]) * 32 * p.share * 5.05 * p.excess, 5.05, 1e-4);
  cr_expect_lt(qp_feedback_before(&p, 0.5), 0.45);
  cr_expect(p.excess > 1.05 && p.excess < 1 / p.share, "%g", p.excess);
}
