/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/model.h"

static qp_models *models;
static qp_error err;
static void open_models(void) {
  cr_assert_eq(qp_models_open(&models, &err), QP_OK, "%s", err.text);
}
static void close_models(void) { qp_models_close(models); }
TestSuite(model, .init = open_models, .fini = close_models);

Test(model, groups_are_the_linears_that_share_an_input) {
  const qp_model *m;
  qp_model_group g[QP_MODEL_GROUPS];
  cr_assert_eq(qp_models_find(models, "llama-3.1-8b", &m, &err), QP_OK);
  qp_model_groups(m, g);
  static const qp_model_group want[] = {{"qkv", 3, {4096, 1024, 1024}, 4096},
                                        {"o", 1, {4096}, 4096},
                                        {"up-gate", 2, {14336, 14336}, 4096},
                                        {"down", 1, {4096}, 14336}};
  for (unsigned i = 0; i < QP_MODEL_GROUPS; i++) {
    cr_assert_str_eq(g[i].name, want[i].name);
    cr_assert_eq(g[i].linears, want[i].linears);
    cr_assert_arr_eq(g[i].rows, want[i].rows, want[i].linears * sizeof *want[i].rows);
    cr_assert_eq(g[i].columns, want[i].columns);
  }
}

Test(model, sizes_fit_together) {
  cr_assert_gt(qp_models_count(models), 5);
  for (size_t i = 0; i < qp_models_count(models); i++) {
    const qp_model *m = qp_models_get(models, i);
    cr_assert_eq(m->heads % m->kv_heads, 0, "%s", m->name);
    cr_assert_eq(m->hidden % 32, 0, "%s", m->name);
    cr_assert_eq(m->intermediate % 32, 0, "%s", m->name);
  }
}

Test(model, an_unknown_model_is_named) {
  const qp_model *m;
  cr_assert_eq(qp_models_find(models, "gpt-9", &m, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "gpt-9"));
}
