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

/* The Hessian of q_proj: 'first' in one half of the diagonal, 'second' in the other, 'other'
** elsewhere. */
static double share(float first, float second, float other, size_t *found) {
  const uint64_t shape[] = {HIDDEN, HIDDEN};
  float h[HIDDEN * HIDDEN];
  double all[16];
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
  const qp_status status = qp_feedback_shares(file, m, all, found, &err);
  const unsigned linears = m->layers * m->linears + 1;
  qp_models_close(models);
  if (status == QP_E_MISSING) cr_skip_test("no BLAS");
  cr_assert_eq(status, QP_OK, "%s", err.text);
  for (unsigned i = 1; i < linears; i++) cr_expect_eq(all[i], 1);
  return all[0];
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
