/* SPDX-License-Identifier: MIT */
/* Kernel libraries through the public interface: launched in the simulator, refused when
** damaged. */
#include "tests/runtime/open_library.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/library_format.h"

static void set_up(void) {
  open_session();
  qp_export_group g[3];
  kit_groups(g);
  const qp_export_request r = kit_request(g);
  open_library(&r);
}

TestSuite(library, .init = set_up, .fini = close_all);

/* ---- What it holds ---- */

Test(library, tells_its_groups_linears_and_quantizers) {
  qpal_library_info info = {.size = sizeof info};
  cr_assert_eq(qpal_library_describe(library, &info), QPAL_OK);
  cr_expect_str_eq(info.model, "tiny");
  cr_expect_eq(info.groups, 3);
  cr_expect_eq(info.targets, 1);
  cr_expect_eq(info.file_bytes, file_bytes);
  cr_expect_geq(info.toolkit, 12000);
  unsigned group = 9, member = 9;
  cr_assert_eq(qpal_library_find_linear(library, "model.layers.0.w1.weight", &group, &member),
               QPAL_OK);
  cr_expect_eq(group, 0);
  cr_expect_eq(member, 1);
  qpal_linear_info linear = {.size = sizeof linear};
  qpal_quantizer_info q = {.size = sizeof q};
  cr_assert_eq(qpal_library_linear(library, group, member, &linear), QPAL_OK);
  cr_assert_eq(qpal_library_quantizer(library, linear.quantizer, &q), QPAL_OK);
  cr_expect_str_eq(q.name, "int4-g128");
  cr_expect_str_eq(q.hash, kit_find("int4-g128")->hash);
  cr_expect_eq(linear.rows, 64);
  cr_expect_eq(linear.columns, KIT_K);
  qpal_group_info g = {.size = sizeof g};
  cr_assert_eq(qpal_library_find_group(library, "layers.0.single", &group), QPAL_OK);
  cr_assert_eq(qpal_library_group(library, group, &g), QPAL_OK);
  cr_expect(g.gathers);
  cr_assert_eq(qpal_library_find_group(library, "layers.0.left", &group), QPAL_OK);
  cr_assert_eq(qpal_library_group(library, group, &g), QPAL_OK);
  cr_expect_str_eq(g.path, "engine");
  cr_expect_not(g.gathers);
  cr_assert_eq(qpal_library_linear(library, group, 0, &linear), QPAL_OK);
  cr_expect_eq(linear.quantizer, QPAL_NONE);
}

Test(library, refuses_names_and_indices_that_are_not_there) {
  unsigned group, member;
  qpal_group_info g = {.size = sizeof g};
  cr_expect_eq(qpal_library_find_group(library, "layers.1.test", &group), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "layers.1.test"));
  cr_expect_eq(qpal_library_find_linear(library, "model.layers.0.w", &group, &member), QPAL_E_ARG);
  cr_expect_eq(qpal_library_find_linear(library, "model.layers.0.w1.weigh", &group, &member),
               QPAL_E_ARG);
  cr_expect_eq(qpal_library_group(library, 3, &g), QPAL_E_ARG);
  cr_expect_eq(qpal_library_group(NULL, 0, &g), QPAL_E_ARG);
}

Test(library, structs_of_older_and_newer_programs_are_taken) {
  struct {
    qpal_library_info info;
    uint64_t later[2];
  } newer = {.info.size = sizeof newer, .later = {7, 7}};
  cr_assert_eq(qpal_library_describe(library, &newer.info), QPAL_OK);
  cr_expect_eq(newer.later[1], 0, "what this library does not know is 0");
  cr_expect_eq(newer.info.size, sizeof newer);
  struct {
    qpal_group_info info;
  } older = {.info = {.size = offsetof(qpal_group_info, gathers), .gathers = 77}};
  cr_expect_eq(qpal_library_group(library, 2, &older.info), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(older.info.gathers, 77, "what an older program has behind it is not touched");
  qpal_library_info small = {.size = 16};
  cr_expect_eq(qpal_library_describe(library, &small), QPAL_E_ARG);
  load();
  struct {
    qpal_gemm_args args;
    uint64_t later;
  } asks = {.args = {.size = sizeof asks, .rows = 1}, .later = 0};
  qpal_gemm_info info = {.size = sizeof info};
  cr_expect_eq(qpal_gemm_query(kernels, &asks.args, &info), QPAL_OK, "%s", qpal_message());
  asks.later = 1;
  cr_expect_eq(qpal_gemm_query(kernels, &asks.args, &info), QPAL_E_ARG);
}

/* ---- Launches ---- */

/* A group's linears on the device, its x, and where results go. */
typedef struct bench {
  unsigned group, members, rows;
  kit_linear linear[KIT_MEMBERS];
  uint16_t *x, *residual[KIT_MEMBERS], *bias[KIT_MEMBERS];
  qpal_segment segment[KIT_MEMBERS];
  qpal_gemm_args args;
} bench;

static void make_bench(bench *b, const char *group, unsigned rows, unsigned capacity) {
  qpal_group_info g = {.size = sizeof g};
  *b = (bench){.rows = rows};
  cr_assert_eq(qpal_library_find_group(library, group, &b->group), QPAL_OK);
  cr_assert_eq(qpal_library_group(library, b->group, &g), QPAL_OK);
  b->members = g.members;
  b->x = random_halves((size_t)capacity * KIT_K);
  for (unsigned m = 0; m < g.members; m++) {
    qpal_linear_info info = {.size = sizeof info};
    kit_linear_make(&b->linear[m], kit_quantizers[m], kit_rows[m]);
    cr_assert_eq(qpal_library_linear(library, b->group, m, &info), QPAL_OK);
    kit_linear_upload(&b->linear[m], device, &info);
    const size_t outputs = (size_t)capacity * kit_rows[m];
    b->residual[m] = random_halves(outputs);
    b->bias[m] = random_halves(kit_rows[m]);
    b->segment[m] = (qpal_segment){.weights = &b->linear[m].on_device,
                                   .bias = kit_upload(device, b->bias[m], 2ul * kit_rows[m]),
                                   .residual = kit_upload(device, b->residual[m], 2 * outputs),
                                   .y = kit_upload(device, NULL, 2 * outputs)};
  }
  b->args = (qpal_gemm_args){.size = sizeof b->args,
                             .group = b->group,
                             .rows = rows,
                             .capacity = capacity,
                             .type = QPAL_F16,
                             .out_type = QPAL_F16,
                             .flags = QPAL_PDL,
                             .x = kit_upload(device, b->x, 2ul * capacity * KIT_K),
                             .segment = b->segment};
  qpal_kernels_info all = {.size = sizeof all};
  cr_assert_eq(qpal_kernels_describe(kernels, &all), QPAL_OK);
  if (all.workspace_bytes) b->args.workspace = kit_upload(device, NULL, all.workspace_bytes);
  if (all.counter_bytes) b->args.counters = kit_upload(device, NULL, all.counter_bytes);
}

/* Y of member m in double precision, from W as the CPU reference decodes it. */
static double *expected(const bench *b, unsigned m) {
  const kit_linear *l = &b->linear[m];
  double *y = kit_alloc((size_t)b->rows * l->rows * sizeof *y);
  for (unsigned n = 0; n < b->rows; n++)
    for (unsigned r = 0; r < l->rows; r++) {
      const size_t at = (size_t)n * l->rows + r;
      y[at] =
          (double)qp_half_to_float(b->bias[m][r]) + (double)qp_half_to_float(b->residual[m][at]);
      for (unsigned k = 0; k < KIT_K; k++)
        y[at] +=
            l->w[(size_t)r * KIT_K + k] * (double)qp_half_to_float(b->x[(size_t)n * KIT_K + k]);
    }
  return y;
}

static void compare_bench(const bench *b) {
  for (unsigned m = 0; m < b->members; m++) {
    const size_t n = (size_t)b->rows * b->linear[m].rows;
    uint16_t *got = kit_alloc(2 * n);
    cr_assert_eq(qpal_download(device, got, b->segment[m].y, 2 * n), QPAL_OK);
    double *want = expected(b, m);
    cr_expect_lt(kit_error(got, want, n), 2e-3, "%u rows, member %u: error %g", b->rows, m,
                 kit_error(got, want, n));
    free(want);
    free(got);
  }
}

static void free_bench(bench *b) {
  for (unsigned m = 0; m < b->members; m++) {
    kit_linear_free(&b->linear[m]);
    free(b->residual[m]);
    free(b->bias[m]);
  }
  free(b->x);
}

Test(library, gemm_of_a_mixed_group_is_that_of_the_reference_for_any_number_of_rows) {
  static const struct {
    unsigned rows, capacity, launches, batch;
  } cases[] = {{1, 1, 1, 1}, {3, 3, 3, 1}, {3, 4, 1, 4}, {4, 4, 1, 4}, {6, 6, 3, 4}, {6, 8, 2, 4}};
  load();
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    bench b;
    qpal_gemm_info info = {.size = sizeof info};
    make_bench(&b, "layers.0.test", cases[i].rows, cases[i].capacity);
    cr_assert_eq(qpal_gemm_query(kernels, &b.args, &info), QPAL_OK, "%s", qpal_message());
    cr_expect_eq(info.launches, cases[i].launches, "case %u: %u launches", i, info.launches);
    cr_expect_eq(info.batch, cases[i].batch, "case %u: batch %u", i, info.batch);
    cr_expect_eq(info.prefer_dequant, cases[i].rows > 4);
    cr_expect(info.pdl);
    cr_assert_eq(qpal_gemm(kernels, &b.args, NULL), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_wait(device, NULL), QPAL_OK);
    compare_bench(&b);
    free_bench(&b);
  }
}

Test(library, gemm_on_cuda_cores_is_that_of_the_reference) {
  bench b;
  load();
  make_bench(&b, "layers.0.single", 2, 2);
  cr_assert_eq(qpal_gemm(kernels, &b.args, NULL), QPAL_OK, "%s", qpal_message());
  compare_bench(&b);
  free_bench(&b);
}

Test(library, dequant_gives_each_member_s_weights) {
  bench b;
  load();
  make_bench(&b, "layers.0.test", 1, 1);
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    const size_t n = (size_t)kit_rows[m] * KIT_K;
    uint16_t *got = kit_alloc(2 * n);
    const qpal_dequant_args a = {.size = sizeof a,
                                 .group = b.group,
                                 .member = m,
                                 .type = QPAL_F16,
                                 .weights = &b.linear[m].on_device,
                                 .w = kit_upload(device, NULL, 2 * n)};
    cr_assert_eq(qpal_dequant(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_download(device, got, a.w, 2 * n), QPAL_OK);
    cr_expect_lt(kit_error(got, b.linear[m].w, n), 1e-3);
    free(got);
  }
  free_bench(&b);
}

/* A row of W in the checkpoint's basis. */
static void turn_back(const double *w, const uint32_t *signs, double *out) {
  qp_hadamard h;
  qp_hadamard_factor(KIT_K, &h);
  qp_hadamard_apply_transposed(&h, w, out);
  for (unsigned k = 0; k < KIT_K; k++)
    if (signs[k / 32] >> (k % 32) & 1) out[k] = -out[k];
}

Test(library, dequant_with_signs_gives_weights_as_the_checkpoint_has_them) {
  static uint32_t signs[KIT_K / 32];
  static double want[48 * KIT_K];
  static uint16_t got[48 * KIT_K];
  bench b;
  load();
  make_bench(&b, "layers.0.test", 1, 1);
  for (unsigned i = 0; i < KIT_K / 32; i++) signs[i] = (uint32_t)qp_random_next(&kit_random);
  for (unsigned r = 0; r < kit_rows[0]; r++)
    turn_back(b.linear[0].w + (size_t)r * KIT_K, signs, want + (size_t)r * KIT_K);
  qpal_dequant_args a = {.size = sizeof a,
                         .group = b.group,
                         .type = QPAL_F16,
                         .weights = &b.linear[0].on_device,
                         .w = kit_upload(device, NULL, sizeof got),
                         .signs = kit_upload(device, signs, sizeof signs)};
  cr_assert_eq(qpal_dequant(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a.w, sizeof got), QPAL_OK);
  cr_expect_lt(kit_error(got, want, 48 * KIT_K), 1e-3);
  a.size = offsetof(qpal_dequant_args, signs); /* a program from before there were signs */
  cr_assert_eq(qpal_dequant(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a.w, sizeof got), QPAL_OK);
  cr_expect_lt(kit_error(got, b.linear[0].w, 48 * KIT_K), 1e-3);
  a.size = sizeof a, a.signs += 4;
  cr_expect_eq(qpal_dequant(kernels, &a, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "signs"), "%s", qpal_message());
  free_bench(&b);
}

Test(library, gather_gives_rows_in_the_checkpoint_s_basis_and_zeros_for_ids_that_are_none) {
  enum { IDS = 5 };
  const int32_t ids[IDS] = {47, -1, 0, 33, 48};
  uint32_t signs[KIT_K / 32];
  uint16_t got[IDS * KIT_K];
  double want[KIT_K];
  bench b;
  load();
  make_bench(&b, "layers.0.single", 1, 1);
  for (unsigned i = 0; i < KIT_K / 32; i++) signs[i] = (uint32_t)(qp_random_next(&kit_random) >> 9);
  qpal_gather_args a = {.size = sizeof a,
                        .group = b.group,
                        .type = QPAL_F16,
                        .rows = IDS,
                        .weights = &b.linear[0].on_device,
                        .ids = kit_upload(device, ids, sizeof ids),
                        .signs = kit_upload(device, signs, sizeof signs),
                        .y = kit_upload(device, NULL, sizeof got)};
  for (int rotated = 1; rotated >= 0; rotated--) {
    if (!rotated) a.signs = 0;
    cr_assert_eq(qpal_gather(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_download(device, got, a.y, sizeof got), QPAL_OK);
    for (unsigned t = 0; t < IDS; t++) {
      const bool there = ids[t] >= 0 && ids[t] < 48;
      const double *w = b.linear[0].w + (there ? ids[t] : 0) * KIT_K;
      memcpy(want, w, sizeof want);
      if (rotated) turn_back(w, signs, want);
      if (there) cr_expect_lt(kit_error(got + t * KIT_K, want, KIT_K), 1e-3, "id %d", ids[t]);
      for (unsigned k = 0; k < KIT_K && !there; k++) cr_assert_eq(got[t * KIT_K + k], 0);
    }
  }
  free_bench(&b);
}

Test(library, a_gather_refuses_what_it_cannot_do_and_touches_nothing) {
  bench b;
  load();
  make_bench(&b, "layers.0.single", 1, 1);
  const qpal_gather_args good = {
      .size = sizeof good, .group = b.group, .type = QPAL_F16, .weights = &b.linear[0].on_device};
  cr_expect_eq(qpal_gather(kernels, &good, NULL), QPAL_OK, "no ids: %s", qpal_message());
  qpal_gather_args a = good;
  a.rows = 1;
  cr_expect_eq(qpal_gather(kernels, &a, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "ids"), "%s", qpal_message());
  a = good, a.member = 1;
  cr_expect_eq(qpal_gather(kernels, &a, NULL), QPAL_E_ARG);
  a = good, a.type = QPAL_F32;
  cr_expect_eq(qpal_gather(kernels, &a, NULL), QPAL_E_ARG);
  a = good, a.flags = 64;
  cr_expect_eq(qpal_gather(kernels, &a, NULL), QPAL_E_ARG);
  a = good, a.rows = 1, a.type = QPAL_BF16, a.ids = 64, a.y = 64;
  cr_expect_eq(qpal_gather(kernels, &a, NULL), QPAL_E_NO_KERNEL);
  cr_expect(strstr(qpal_message(), "no gather of 'model.layers.0.alone' to bf16"), "%s",
            qpal_message());
  free_bench(&b);
}

Test(library, rotate_is_the_hadamard_transform_and_its_inverse_undoes_it) {
  enum { ROWS = 3, N = ROWS * KIT_K };
  uint16_t got[N];
  uint32_t signs[KIT_K / 32];
  double want[N];
  qp_hadamard h;
  load();
  uint16_t *x = random_halves(N);
  for (unsigned i = 0; i < KIT_K / 32; i++) signs[i] = (uint32_t)(qp_random_next(&kit_random) >> 9);
  qp_hadamard_factor(KIT_K, &h);
  for (unsigned i = 0; i < N; i++) {
    want[i] = (double)qp_half_to_float(x[i]);
    if (signs[i % KIT_K / 32] >> (i % 32) & 1) want[i] = -want[i];
  }
  for (unsigned r = 0; r < ROWS; r++) qp_hadamard_apply(&h, want + r * KIT_K, want + r * KIT_K);
  qpal_rotate_args a = {.size = sizeof a,
                        .columns = KIT_K,
                        .rows = ROWS,
                        .type = QPAL_F16,
                        .x = kit_upload(device, x, sizeof got),
                        .y = kit_upload(device, NULL, sizeof got),
                        .signs = kit_upload(device, signs, sizeof signs)};
  cr_assert_eq(qpal_rotate(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a.y, sizeof got), QPAL_OK);
  cr_expect_lt(kit_error(got, want, N), 2e-3);
  a.x = a.y;
  a.inverse = 1;
  cr_assert_eq(qpal_rotate(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a.y, sizeof got), QPAL_OK);
  for (unsigned i = 0; i < N; i++) want[i] = (double)qp_half_to_float(x[i]);
  cr_expect_lt(kit_error(got, want, N), 2e-3);
  free(x);
}

/* Rows of X through the prologue in double precision, then H (s *). */
static void rotated(const double *x, unsigned rows, const uint32_t *signs, double *out) {
  qp_hadamard h;
  qp_hadamard_factor(KIT_K, &h);
  for (unsigned r = 0; r < rows; r++) {
    double *to = out + r * KIT_K;
    for (unsigned k = 0; k < KIT_K; k++)
      to[k] = signs[k / 32] >> (k % 32) & 1 ? -x[r * KIT_K + k] : x[r * KIT_K + k];
    qp_hadamard_apply(&h, to, to);
  }
}

enum { PROLOGUE_ROWS = 2, PROLOGUE_N = PROLOGUE_ROWS * KIT_K };

static void expect_rotated(const qpal_rotate_args *a, const double *x, const uint32_t *signs) {
  uint16_t got[PROLOGUE_N];
  double want[PROLOGUE_N];
  cr_assert_eq(qpal_rotate(kernels, a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a->y, sizeof got), QPAL_OK);
  rotated(x, PROLOGUE_ROWS, signs, want);
  cr_expect_lt(kit_error(got, want, PROLOGUE_N), 2e-3);
}

Test(library, rotate_adds_a_residual_and_normalizes_before) {
  uint16_t *x = random_halves(PROLOGUE_N), *residual = random_halves(PROLOGUE_N);
  uint16_t *weight = random_halves(KIT_K), sum[PROLOGUE_N];
  const uint32_t signs[KIT_K / 32] = {0x12345678, 0x9abcdef0, 1, 2, 3, 4};
  double v[PROLOGUE_N], h[PROLOGUE_N];
  load();
  for (unsigned r = 0; r < PROLOGUE_ROWS; r++) {
    double squares = 0;
    for (unsigned i = r * KIT_K; i < (r + 1) * KIT_K; i++) {
      h[i] = (double)qp_half_to_float(x[i]) + (double)qp_half_to_float(residual[i]);
      squares += h[i] * h[i];
    }
    for (unsigned i = r * KIT_K; i < (r + 1) * KIT_K; i++)
      v[i] =
          h[i] / sqrt(squares / KIT_K + 0.25) * (1 + (double)qp_half_to_float(weight[i % KIT_K]));
  }
  qpal_rotate_args a = {.size = sizeof a,
                        .columns = KIT_K,
                        .rows = PROLOGUE_ROWS,
                        .type = QPAL_F16,
                        .x = kit_upload(device, x, sizeof sum),
                        .y = kit_upload(device, NULL, sizeof sum),
                        .signs = kit_upload(device, signs, sizeof signs),
                        .prologue = QPAL_PROLOGUE_NORM,
                        .eps = 0.25f,
                        .weight_offset = 1,
                        .residual = kit_upload(device, residual, sizeof sum),
                        .weight = kit_upload(device, weight, KIT_K * 2)};
  a.sum = a.residual;
  expect_rotated(&a, v, signs);
  cr_assert_eq(qpal_download(device, sum, a.residual, sizeof sum), QPAL_OK);
  cr_expect_lt(kit_error(sum, h, PROLOGUE_N), 1e-3);
  free(x), free(residual), free(weight);
}

Test(library, rotate_applies_a_gated_linear_unit_before_whose_halves_lie_in_one_buffer) {
  uint16_t *both = random_halves(2 * PROLOGUE_N);
  const uint32_t signs[KIT_K / 32] = {0x12345678, 0x9abcdef0, 1, 2, 3, 4};
  double v[PROLOGUE_N];
  load();
  for (unsigned i = 0; i < PROLOGUE_N; i++) {
    const uint16_t *row = both + i / KIT_K * 2 * KIT_K;
    const double gate = (double)qp_half_to_float(row[i % KIT_K]);
    v[i] = gate / (1 + exp(-gate)) * (double)qp_half_to_float(row[KIT_K + i % KIT_K]);
  }
  qpal_rotate_args a = {.size = sizeof a,
                        .columns = KIT_K,
                        .rows = PROLOGUE_ROWS,
                        .type = QPAL_F16,
                        .x = kit_upload(device, both, 4 * PROLOGUE_N),
                        .y = kit_upload(device, NULL, 2 * PROLOGUE_N),
                        .signs = kit_upload(device, signs, sizeof signs),
                        .x_stride = 2 * KIT_K,
                        .prologue = QPAL_PROLOGUE_GLU,
                        .activation = QPAL_SILU,
                        .up_stride = 2 * KIT_K};
  a.up = a.x + 2 * KIT_K;
  expect_rotated(&a, v, signs);
  free(both);
}

Test(library, refuses_prologues_without_what_they_read_and_names_it) {
  qpal_rotate_args a = {.size = sizeof a, .columns = KIT_K, .rows = 2, .type = QPAL_F16};
  load();
  a.x = kit_upload(device, NULL, 4 * PROLOGUE_N), a.y = kit_upload(device, NULL, 2 * PROLOGUE_N);
  a.signs = kit_upload(device, NULL, KIT_K / 8);
  const struct {
    qpal_rotate_args with;
    const char *says;
  } bad[] = {{{.prologue = 3}, "prologue is 3"},
             {{.prologue = QPAL_PROLOGUE_NORM, .inverse = 1}, "no prologue"},
             {{.prologue = QPAL_PROLOGUE_NORM, .eps = -1}, "eps is -1"},
             {{.prologue = QPAL_PROLOGUE_NORM, .weight_offset = NAN}, "weight_offset"},
             {{.prologue = QPAL_PROLOGUE_NORM, .sum = 8}, "sum (member 0)"},
             {{.prologue = QPAL_PROLOGUE_NORM, .sum = a.y}, "y is sum"},
             {{.prologue = QPAL_PROLOGUE_NORM, .sum = a.x, .x_stride = 2 * KIT_K}, "sum is x"},
             {{.prologue = QPAL_PROLOGUE_NORM, .up = a.x}, "up is given"},
             {{.prologue = QPAL_PROLOGUE_GLU}, "up (member 0) is 0"},
             {{.prologue = QPAL_PROLOGUE_GLU, .up = a.x, .activation = 5}, "activation is 5"},
             {{.prologue = QPAL_PROLOGUE_GLU, .up = a.x, .limit = NAN}, "limit is"},
             {{.limit = 7}, "limit is given"},
             {{.prologue = QPAL_PROLOGUE_GLU, .up = a.x, .up_stride = 8}, "up_stride"},
             {{.prologue = QPAL_PROLOGUE_GLU, .up = a.x, .weight = a.x}, "weight is given"},
             {{.residual = a.x}, "residual is given"},
             {{.reserved = 1}, "reserved is 1"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    qpal_rotate_args b = bad[i].with;
    b.size = sizeof b, b.columns = KIT_K, b.rows = 2, b.type = QPAL_F16;
    b.x = a.x, b.y = a.y, b.signs = a.signs;
    cr_expect_eq(qpal_rotate(kernels, &b, NULL), QPAL_E_ARG, "%s", bad[i].says);
    cr_expect(strstr(qpal_message(), bad[i].says), "'%s': %s", bad[i].says, qpal_message());
  }
}

Test(library, refuses_launches_without_what_they_need_and_names_it) {
  bench b;
  load();
  make_bench(&b, "layers.0.test", 1, 1);
  qpal_gemm_args a = b.args;
  a.x = 0;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "x "), "%s", qpal_message());
  a = b.args, a.x += 2;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "multiple of 16"), "%s", qpal_message());
  a = b.args, a.workspace = 0;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  a = b.args, a.rows = 0;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  a = b.args, a.group = 99;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  a = b.args, a.type = QPAL_BF16, a.out_type = QPAL_BF16;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_NO_KERNEL);
  cr_expect(strstr(qpal_message(), "f16 to f16, batch 4"), "%s", qpal_message());
  a = b.args, a.group = 1;
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_NO_KERNEL);
  cr_expect(strstr(qpal_message(), "engine"), "%s", qpal_message());
  b.linear[1].on_device.part[0].field[0] = 0;
  cr_expect_eq(qpal_gemm(kernels, &b.args, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "field") && strstr(qpal_message(), "member 1"), "%s",
            qpal_message());
  free_bench(&b);
}

Test(library, two_devices_may_be_open_at_once_each_with_its_kernels_and_memory) {
  bench here, there;
  load();
  make_bench(&here, "layers.0.test", 1, 1);
  qpal_device *first = device;
  qpal_kernels *its = kernels;
  device = NULL, kernels = NULL;
  cr_assert_eq(qpal_sim_open(100, 3, &device), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
  make_bench(&there, "layers.0.test", 1, 1);
  cr_assert_eq(qpal_gemm(its, &here.args, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_gemm(kernels, &there.args, NULL), QPAL_OK, "%s", qpal_message());
  compare_bench(&there);
  qpal_kernels_close(kernels);
  qpal_device_close(device);
  device = first, kernels = its; /* the other's end is nothing to this one */
  cr_assert_eq(qpal_gemm(kernels, &here.args, NULL), QPAL_OK, "%s", qpal_message());
  compare_bench(&here);
  free_bench(&here);
  free_bench(&there);
}

/* ---- Wrong GPUs ---- */

Test(library, takes_the_nearest_kernels_and_says_how_near_they_are) {
  static const struct {
    unsigned arch, sms, match;
  } cases[] = {{90, 2, QPAL_MATCH_EXACT}, {90, 7, QPAL_MATCH_SM_COUNT}, {100, 2, QPAL_MATCH_PTX}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    qpal_kernels_info info = {.size = sizeof info};
    cr_assert_eq(qpal_sim_open(cases[i].arch, cases[i].sms, &device), QPAL_OK);
    cr_assert_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(qpal_kernels_describe(kernels, &info), QPAL_OK);
    cr_expect_eq(info.match, cases[i].match, "case %u: match %u", i, info.match);
    qpal_kernels_close(kernels), kernels = NULL;
    qpal_device_close(device), device = NULL;
  }
}

Test(library, refuses_a_gpu_that_is_too_old_and_one_that_differs_where_exact_is_wanted) {
  cr_assert_eq(qpal_sim_open(80, 2, &device), QPAL_OK);
  cr_expect_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_E_MISMATCH);
  cr_expect(strstr(qpal_message(), "sm_80") && strstr(qpal_message(), "sm_90"), "%s",
            qpal_message());
  qpal_device_close(device);
  cr_assert_eq(qpal_sim_open(90, 3, &device), QPAL_OK);
  const qpal_load_options exact = {.size = sizeof exact, .exact = 1};
  cr_expect_eq(qpal_kernels_load(library, device, &exact, &kernels), QPAL_E_MISMATCH);
}

/* ---- Damaged files ---- */

static qpal_status open_copy(const void *data, size_t bytes) {
  qpal_library *l = NULL;
  void *copy = kit_alloc(bytes);
  memcpy(copy, data, bytes);
  const qpal_status status = qpal_library_from_memory(copy, bytes, &l);
  cr_expect_eq(status == QPAL_OK, l != NULL);
  qpal_library_close(l);
  free(copy);
  return status;
}

Test(library, refuses_files_cut_off_anywhere) {
  const qp_lib_header *h = file;
  for (size_t n = 0; n < file_bytes; n += n < h->manifest_bytes ? 97 : file_bytes / 50)
    cr_expect_eq(open_copy(file, n), QPAL_E_FORMAT, "%zu bytes", n);
  cr_expect(strstr(qpal_message(), "truncated"), "%s", qpal_message());
}

Test(library, refuses_any_changed_byte_of_its_tables) {
  unsigned char *bytes = file;
  const size_t manifest = ((const qp_lib_header *)file)->manifest_bytes;
  for (size_t i = 0; i < manifest; i += i < 256 ? 1 : 61) {
    bytes[i] ^= 0x10;
    cr_expect_eq(open_copy(file, file_bytes), QPAL_E_FORMAT, "byte %zu", i);
    bytes[i] ^= 0x10;
  }
  cr_expect_eq(open_copy(file, file_bytes), QPAL_OK);
}

Test(library, refuses_a_kernel_whose_bytes_changed_when_it_is_loaded) {
  ((unsigned char *)file)[file_bytes - 100] ^= 1;
  cr_assert_eq(qpal_sim_open(90, 2, &device), QPAL_OK);
  cr_expect_eq(qpal_kernels_load(library, device, NULL, &kernels), QPAL_E_FORMAT);
  cr_expect(strstr(qpal_message(), "checksum") && strstr(qpal_message(), "__"), "%s",
            qpal_message());
}

Test(library, opens_from_a_file_and_says_which_file_is_wrong) {
  char path[] = "/tmp/qpal-library-XXXXXX";
  const int fd = mkstemp(path);
  qpal_library *l = NULL;
  cr_assert(fd >= 0 && write(fd, file, file_bytes) == (ssize_t)file_bytes);
  cr_expect_eq(qpal_library_open(path, &l), QPAL_OK, "%s", qpal_message());
  qpal_library_close(l);
  cr_assert_eq(ftruncate(fd, 1000), 0);
  cr_expect_eq(qpal_library_open(path, &l), QPAL_E_FORMAT);
  cr_expect(strstr(qpal_message(), path), "%s", qpal_message());
  close(fd);
  unlink(path);
  cr_expect_eq(qpal_library_open(path, &l), QPAL_E_IO);
  cr_expect_eq(qpal_library_open("/tmp", &l), QPAL_E_IO);
}

/* ---- Threads ---- */

static void *ask_and_fail(void *arg) {
  unsigned group;
  for (unsigned i = 0; i < 1000; i++) {
    if (qpal_library_find_group(library, arg, &group) != QPAL_E_ARG) return "found";
    if (!strstr(qpal_message(), arg)) return "another thread's message";
  }
  return NULL;
}

Test(library, every_thread_has_its_own_message) {
  char first[] = "one.group", second[] = "other.group";
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, ask_and_fail, first), 0);
  const char *mine = ask_and_fail(second);
  void *its = NULL;
  pthread_join(thread, &its);
  cr_expect_null(mine);
  cr_expect_null(its);
}

enum { LAUNCHES = 4 };

static void *launch_often(void *arg) {
  bench *b = arg;
  for (unsigned i = 0; i < LAUNCHES; i++) {
    unsigned group = QPAL_NONE;
    qpal_gemm_info info = {.size = sizeof info};
    if (qpal_library_find_group(library, "layers.0.test", &group)) return "find_group failed";
    if (qpal_gemm_query(kernels, &b->args, &info)) return "gemm_query failed";
    if (qpal_gemm(kernels, &b->args, NULL)) return "gemm failed";
    if (qpal_wait(device, NULL)) return "wait failed";
  }
  return NULL;
}

Test(library, threads_share_kernels_and_launch_with_workspaces_of_their_own) {
  enum { THREADS = 3 };
  bench b[THREADS];
  pthread_t thread[THREADS];
  load();
  for (unsigned i = 0; i < THREADS; i++) make_bench(&b[i], "layers.0.test", i + 1, i + 1);
  for (unsigned i = 0; i < THREADS; i++)
    cr_assert_eq(pthread_create(&thread[i], NULL, launch_often, &b[i]), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    void *trouble = NULL;
    pthread_join(thread[i], &trouble);
    cr_expect_null(trouble, "thread %u: %s", i, (const char *)trouble);
  }
  for (unsigned i = 0; i < THREADS; i++) {
    compare_bench(&b[i]);
    free_bench(&b[i]);
  }
}
