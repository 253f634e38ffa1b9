/* SPDX-License-Identifier: MIT */
/* Sums whose order does not hang on who adds them. */
#include "tests/runtime/open_library.h"

TestSuite(library_sums, .init = open_session, .fini = close_all);

enum { OWNED_M = 64, OWNED_N = 4 };

static qp_status choose_owned(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                              qp_choice *choice, char source[QP_EXPORT_SOURCE], int64_t *latency_ps,
                              qp_error *err) {
  (void)gpu, (void)source, (void)latency_ps, (void)err;
  if (p->op == QP_OP_GEMM) qp_choice_put(choice, "owned", *(const unsigned *)arg);
  return QP_OK;
}

/* A library of one linear whose blocks have whole row groups, or share them. */
static void export_one(unsigned owned) {
  qp_export_group g[3];
  kit_groups(g);
  g[2].member[0].quantizer = kit_find("int4-g128");
  g[2].member[0].rows = OWNED_M;
  qp_export_request r = kit_request(&g[2]);
  r.groups = 1;
  r.choose = choose_owned;
  r.chooser = &owned;
  export_again(&r);
}

/* Y of random data that is the same each time; returns what the launch needs of workspace. */
static uint64_t run_one(unsigned owned, uint16_t *y) {
  kit_linear l;
  qpal_linear_info info = {.size = sizeof info};
  qpal_gemm_info gemm = {.size = sizeof gemm};
  export_one(owned);
  kit_random.state = 5;
  kit_linear_make(&l, "int4-g128", OWNED_M);
  cr_assert_eq(qpal_library_linear(library, 0, 0, &info), QPAL_OK);
  kit_linear_upload(&l, device, &info);
  uint16_t *x = random_halves((size_t)OWNED_N * KIT_K);
  qpal_segment segment = {.weights = &l.on_device,
                          .y = kit_upload(device, NULL, 2 * OWNED_M * OWNED_N)};
  qpal_gemm_args a = {.size = sizeof a,
                      .rows = OWNED_N,
                      .type = QPAL_F16,
                      .out_type = QPAL_F16,
                      .x = kit_upload(device, x, 2ul * OWNED_N * KIT_K),
                      .segment = &segment};
  cr_assert_eq(qpal_gemm_query(kernels, &a, &gemm), QPAL_OK, "%s", qpal_message());
  if (gemm.workspace_bytes) a.workspace = kit_upload(device, NULL, gemm.workspace_bytes);
  if (gemm.counter_bytes) a.counters = kit_upload(device, NULL, gemm.counter_bytes);
  cr_assert_eq(qpal_gemm(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, y, segment.y, 2 * OWNED_M * OWNED_N), QPAL_OK);
  kit_linear_free(&l);
  free(x);
  return gemm.workspace_bytes + gemm.counter_bytes;
}

/* Two row groups of two units each, so that both ways divide them alike: a unit a warp. */
Test(library_sums, sums_in_a_block_have_the_bits_of_those_in_order_where_units_are_divided_alike) {
  static uint16_t in_order[OWNED_M * OWNED_N], owned[OWNED_M * OWNED_N];
  cr_expect_gt(run_one(0, in_order), 0, "warps of several blocks share a row group");
  cr_expect_eq(run_one(1, owned), 0, "no workspace, no counters");
  cr_expect_eq(memcmp(in_order, owned, sizeof owned), 0);
  cr_expect_neq(in_order[0] & 0x7fff, 0);
}
