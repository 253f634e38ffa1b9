/* SPDX-License-Identifier: MIT */
/* A gated linear unit behind a gemm. */
#include "tests/runtime/open_library.h"

TestSuite(library_glu, .init = open_session, .fini = close_all);

enum { PAIR_M = 48, PAIR_N = 5 /* of kernels for 1 and 4 rows: two launches */ };

typedef struct pair {
  kit_linear linear[2];
  uint16_t *x;
  qpal_segment segment[2];
  qpal_gemm_args args;
} pair;

static void make_pair(pair *b) {
  qp_export_group g[3];
  qpal_kernels_info all = {.size = sizeof all};
  kit_groups(g);
  g[2].lookup = false, g[2].glu = true, g[2].members = 2;
  snprintf(g[2].path, sizeof g[2].path, "tensor");
  for (unsigned m = 0; m < 2; m++) {
    g[2].member[m] = g[2].member[0];
    g[2].member[m].quantizer = kit_find("tcq-2.75");
    g[2].member[m].rows = PAIR_M;
  }
  qp_export_request r = kit_request(&g[2]);
  r.groups = 1, r.gemm_glu = true, r.dequant = r.rotate = false;
  export_again(&r);
  *b = (pair){.x = random_halves((size_t)PAIR_N * KIT_K)};
  for (unsigned m = 0; m < 2; m++) {
    qpal_linear_info info = {.size = sizeof info};
    kit_linear_make(&b->linear[m], "tcq-2.75", PAIR_M);
    cr_assert_eq(qpal_library_linear(library, 0, m, &info), QPAL_OK);
    kit_linear_upload(&b->linear[m], device, &info);
    b->segment[m].weights = &b->linear[m].on_device;
  }
  b->segment[0].y = kit_upload(device, NULL, 2 * PAIR_N * (PAIR_M + 8));
  cr_assert_eq(qpal_kernels_describe(kernels, &all), QPAL_OK);
  b->args = (qpal_gemm_args){.size = sizeof b->args,
                             .rows = PAIR_N,
                             .type = QPAL_F16,
                             .out_type = QPAL_F16,
                             .x = kit_upload(device, b->x, 2ul * PAIR_N * KIT_K),
                             .workspace = kit_upload(device, NULL, all.workspace_bytes),
                             .counters = kit_upload(device, NULL, all.counter_bytes),
                             .segment = b->segment,
                             .y_stride = {PAIR_M + 8},
                             .epilogue = QPAL_EPILOGUE_GLU};
}

static double product_of(const pair *b, unsigned m, unsigned row, unsigned n) {
  double sum = 0;
  for (unsigned k = 0; k < KIT_K; k++)
    sum += b->linear[m].w[(size_t)row * KIT_K + k] *
           (double)qp_half_to_float(b->x[(size_t)n * KIT_K + k]);
  return sum;
}

Test(library_glu, a_gemm_of_up_and_gate_gives_the_gated_linear_unit_of_both) {
  static uint16_t got[PAIR_N * (PAIR_M + 8)];
  pair b;
  make_pair(&b);
  static const unsigned activations[] = {QPAL_SILU, QPAL_RELU, QPAL_SWIGLU_OAI};
  for (unsigned i = 0; i < 3; i++) {
    const unsigned activation = activations[i];
    const bool last = activation == QPAL_SWIGLU_OAI;
    double difference = 0, reference = 0;
    b.args.activation = activation;
    b.args.limit = last ? 0.5f : 0;
    cr_assert_eq(qpal_gemm(kernels, &b.args, NULL), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_download(device, got, b.segment[0].y, sizeof got), QPAL_OK);
    for (unsigned n = 0; n < PAIR_N; n++)
      for (unsigned row = 0; row < PAIR_M; row++) {
        const double gate = product_of(&b, 1, row, n), up = product_of(&b, 0, row, n);
        const double g = fmin(gate, 0.5), u = fmax(fmin(up, 0.5), -0.5);
        const double want = last                      ? g / (1 + exp(-1.702 * g)) * (u + 1)
                            : activation == QPAL_SILU ? gate / (1 + exp(-gate)) * up
                                                      : fmax(gate, 0) * up;
        const double d = (double)qp_half_to_float(got[n * (PAIR_M + 8) + row]) - want;
        difference += d * d, reference += want * want;
      }
    cr_expect_lt(sqrt(difference / reference), 2e-3, "activation %u: error %g", activation,
                 sqrt(difference / reference));
  }
  qpal_gemm_info info = {.size = sizeof info};
  cr_assert_eq(qpal_gemm_query(kernels, &b.args, &info), QPAL_OK, "%s", qpal_message());
  cr_expect(info.batch == 4 && info.launches == 2, "batch %u, %u launches", info.batch,
            info.launches);
  for (unsigned m = 0; m < 2; m++) kit_linear_free(&b.linear[m]);
  free(b.x);
}

static void refuse_gemm(qpal_gemm_args a, qpal_status status, const char *what) {
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), status, "%s: %s", what, qpal_message());
  cr_expect(strstr(qpal_message(), what), "%s: %s", what, qpal_message());
}

Test(library_glu, a_gated_linear_unit_refuses_what_it_has_not_and_names_it) {
  pair b;
  make_pair(&b);
  qpal_gemm_args a = b.args;
  a.activation = 5;
  refuse_gemm(a, QPAL_E_ARG, "activation is 5");
  a = b.args, a.limit = -1;
  refuse_gemm(a, QPAL_E_ARG, "limit is -1");
  a = b.args, a.epilogue = 0, a.limit = 7;
  refuse_gemm(a, QPAL_E_ARG, "limit is 7");
  a = b.args, a.epilogue = 2;
  refuse_gemm(a, QPAL_E_ARG, "epilogue is 2");
  a = b.args, a.epilogue = 0, a.activation = 1;
  refuse_gemm(a, QPAL_E_ARG, "activation is 1");
  b.segment[1].y = b.segment[0].y;
  refuse_gemm(b.args, QPAL_E_ARG, "y (member 1)");
  b.segment[1].y = 0, b.segment[0].residual = b.segment[0].y;
  refuse_gemm(b.args, QPAL_E_ARG, "residual (member 0)");
  qp_export_group g[3];
  kit_groups(g);
  const qp_export_request r = kit_request(g);
  export_again(&r);
  refuse_gemm(b.args, QPAL_E_NO_KERNEL, "--glu");
  for (unsigned m = 0; m < 2; m++) kit_linear_free(&b.linear[m]);
  free(b.x);
}
