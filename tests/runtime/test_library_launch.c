/* SPDX-License-Identifier: MIT */
/*
** Launches whose matrices are parts of wider ones; and those of a library that was exported before
** kernels took strides (version_1.qpal: nuq-2, 32 x 192, batches 1 and 2, and its rotation).
*/
#include "tests/runtime/open_library.h"

#include "runtime/library_format.h"

enum { ROWS = 6, X_STRIDE = KIT_K + 16, ALL = 48 + 64 + 16, Y_STRIDE = ALL + 5, POISON = 0xab };

static kit_linear linear[KIT_MEMBERS];
static qpal_segment segment[KIT_MEMBERS];
static qpal_gemm_args args;
static uint16_t *x;

static void set_up(void) {
  open_session();
  qp_export_group g[3];
  kit_groups(g);
  qp_export_request r = kit_request(g);
  r.groups = 1;
  r.dequant = false;
  open_library(&r);
  load();
}

static void tear_down(void) {
  for (unsigned m = 0; m < KIT_MEMBERS; m++) kit_linear_free(&linear[m]);
  free(x);
  close_all();
}

TestSuite(library_launch, .init = set_up, .fini = tear_down);

/* Weights on the device, x [ROWS][KIT_K], workspace and counters. */
static void make_args(unsigned members) {
  qpal_kernels_info all = {.size = sizeof all};
  for (unsigned m = 0; m < members; m++) {
    qpal_linear_info info = {.size = sizeof info};
    cr_assert_eq(qpal_library_linear(library, 0, m, &info), QPAL_OK, "%s", qpal_message());
    kit_linear_make(&linear[m], members == 1 ? "nuq-2" : kit_quantizers[m], info.rows);
    kit_linear_upload(&linear[m], device, &info);
    segment[m] = (qpal_segment){.weights = &linear[m].on_device};
  }
  x = random_halves(ROWS * KIT_K);
  cr_assert_eq(qpal_kernels_describe(kernels, &all), QPAL_OK);
  args = (qpal_gemm_args){.size = sizeof args, .rows = ROWS, .segment = segment};
  args.x = kit_upload(device, x, 2ul * ROWS * KIT_K);
  if (all.workspace_bytes) args.workspace = kit_upload(device, NULL, all.workspace_bytes);
  if (all.counter_bytes) args.counters = kit_upload(device, NULL, all.counter_bytes);
}

/* Memory on the device whose bytes are all POISON, and what is in it now. */
static qpal_ptr poisoned(size_t bytes) {
  unsigned char *host = kit_alloc(bytes);
  memset(host, POISON, bytes);
  const qpal_ptr p = kit_upload(device, host, bytes);
  free(host);
  return p;
}
static uint16_t *fetch(qpal_ptr p, size_t n) {
  uint16_t *host = kit_alloc(2 * n);
  cr_assert_eq(qpal_download(device, host, p, 2 * n), QPAL_OK, "%s", qpal_message());
  return host;
}

/* The same rows, 'stride' elements apart, NaNs between. */
static qpal_ptr apart(const uint16_t *rows, unsigned width, unsigned stride) {
  uint16_t *host = kit_alloc(2ul * ROWS * stride);
  memset(host, 0xff, 2ul * ROWS * stride);
  for (unsigned n = 0; n < ROWS; n++)
    memcpy(host + (size_t)n * stride, rows + (size_t)n * width, 2ul * width);
  const qpal_ptr p = kit_upload(device, host, 2ul * ROWS * stride);
  free(host);
  return p;
}

Test(library_launch, members_write_side_by_side_into_wider_rows_and_nothing_between) {
  uint16_t *close[KIT_MEMBERS], *residual[KIT_MEMBERS];
  make_args(KIT_MEMBERS);
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    residual[m] = random_halves(ROWS * kit_rows[m]);
    segment[m].residual = kit_upload(device, residual[m], 2ul * ROWS * kit_rows[m]);
    segment[m].y = poisoned(2ul * ROWS * kit_rows[m]);
  }
  cr_assert_eq(qpal_gemm(kernels, &args, NULL), QPAL_OK, "%s", qpal_message());
  for (unsigned m = 0; m < KIT_MEMBERS; m++) close[m] = fetch(segment[m].y, ROWS * kit_rows[m]);

  const qpal_ptr y = poisoned(2ul * ROWS * Y_STRIDE);
  args.x = apart(x, KIT_K, args.x_stride = X_STRIDE);
  for (unsigned m = 0, column = 0; m < KIT_MEMBERS; column += kit_rows[m++]) {
    args.y_stride[m] = Y_STRIDE;
    args.residual_stride[m] = kit_rows[m] + 7 + m;
    segment[m].residual = apart(residual[m], kit_rows[m], args.residual_stride[m]);
    segment[m].y = y + 2ul * column;
  }
  qpal_gemm_info info = {.size = sizeof info};
  cr_assert_eq(qpal_gemm_query(kernels, &args, &info), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(info.batch, 4);
  cr_assert_eq(qpal_gemm(kernels, &args, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *got = fetch(y, ROWS * Y_STRIDE);
  for (unsigned n = 0; n < ROWS; n++) {
    const uint16_t *row = got + (size_t)n * Y_STRIDE;
    for (unsigned m = 0; m < KIT_MEMBERS; row += kit_rows[m++])
      cr_expect_arr_eq(row, close[m] + n * kit_rows[m], 2 * kit_rows[m], "row %u, member %u", n, m);
    for (unsigned i = 0; i < Y_STRIDE - ALL; i++) cr_expect_eq(row[i], POISON << 8 | POISON);
  }
  for (unsigned m = 0; m < KIT_MEMBERS; m++) free(close[m]), free(residual[m]);
  free(got);
}

Test(library_launch, a_rotation_reads_and_writes_rows_that_lie_apart) {
  const uint32_t signs[KIT_K / 32] = {0x12345678, 1, 2, 3, 4, 5};
  make_args(KIT_MEMBERS);
  qpal_rotate_args r = {.size = sizeof r, .columns = KIT_K, .rows = ROWS, .x = args.x};
  r.signs = kit_upload(device, signs, sizeof signs);
  r.y = poisoned(2ul * ROWS * KIT_K);
  cr_assert_eq(qpal_rotate(kernels, &r, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *close = fetch(r.y, ROWS * KIT_K);
  r.x = apart(x, KIT_K, r.x_stride = X_STRIDE);
  r.y = poisoned(2ul * ROWS * (r.y_stride = KIT_K + 8));
  cr_assert_eq(qpal_rotate(kernels, &r, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *got = fetch(r.y, ROWS * r.y_stride);
  for (unsigned n = 0; n < ROWS; n++) {
    cr_expect_arr_eq(got + n * r.y_stride, close + n * KIT_K, 2 * KIT_K, "row %u", n);
    for (unsigned i = 0; i < 8; i++)
      cr_expect_eq(got[n * r.y_stride + KIT_K + i], POISON << 8 | POISON);
  }
  free(close);
  free(got);
}

static void expect_refusal(const char *word, unsigned *stride, unsigned value) {
  const unsigned was = *stride;
  *stride = value;
  cr_expect_eq(qpal_gemm(kernels, &args, NULL), QPAL_E_ARG, "%s %u", word, value);
  cr_expect(strstr(qpal_message(), word), "%s", qpal_message());
  *stride = was;
}

Test(library_launch, strides_that_cannot_be_are_refused_by_name) {
  make_args(KIT_MEMBERS);
  for (unsigned m = 0; m < KIT_MEMBERS; m++) segment[m].y = poisoned(2ul * ROWS * kit_rows[m]);
  expect_refusal("x_stride", &args.x_stride, KIT_K - 8);
  expect_refusal("x_stride", &args.x_stride, KIT_K + 4);
  expect_refusal("y_stride (member 1)", &args.y_stride[1], kit_rows[1] - 1);
  expect_refusal("residual_stride (member 2)", &args.residual_stride[2], 1);
  qpal_rotate_args r = {.size = sizeof r, .columns = KIT_K, .rows = 2, .x = args.x, .y = args.x};
  r.signs = args.x;
  r.x_stride = KIT_K + 8;
  cr_expect_eq(qpal_rotate(kernels, &r, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "y is x"), "%s", qpal_message());
}

Test(library_launch, programs_from_before_strides_get_rows_that_lie_close) {
  struct {
    qpal_gemm_args args;
  } older;
  make_args(KIT_MEMBERS);
  for (unsigned m = 0; m < KIT_MEMBERS; m++) segment[m].y = poisoned(2ul * ROWS * kit_rows[m]);
  memset(&older, POISON, sizeof older); /* what is behind the older struct is anything */
  memcpy(&older, &args, offsetof(qpal_gemm_args, x_stride));
  older.args.size = offsetof(qpal_gemm_args, x_stride);
  cr_expect_eq(qpal_gemm(kernels, &older.args, NULL), QPAL_OK, "%s", qpal_message());
}

/* The library of before, in place of the suite's. */
static void take_version_1(void) {
  qpal_kernels_close(kernels);
  qpal_device_close(device);
  qpal_library_close(library);
  cr_assert_eq(qpal_library_open(QP_SOURCE_DIR "/tests/runtime/version_1.qpal", &library), QPAL_OK,
               "%s", qpal_message());
  load();
}

Test(library_launch, a_library_of_version_1_still_computes_rows_that_lie_close) {
  take_version_1();
  make_args(1);
  segment[0].y = poisoned(2ul * ROWS * linear[0].rows);
  cr_assert_eq(qpal_gemm(kernels, &args, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *got = fetch(segment[0].y, ROWS * linear[0].rows);
  double *want = kit_alloc(ROWS * linear[0].rows * sizeof *want);
  for (unsigned i = 0; i < ROWS * linear[0].rows; i++)
    for (unsigned k = 0; k < KIT_K; k++)
      want[i] += linear[0].w[(size_t)(i % linear[0].rows) * KIT_K + k] *
                 (double)qp_half_to_float(x[i / linear[0].rows * KIT_K + k]);
  cr_expect_lt(kit_error(got, want, ROWS * linear[0].rows), 2e-3);
  qpal_rotate_args r = {.size = sizeof r, .columns = KIT_K, .rows = ROWS, .x = args.x, .y = args.x};
  r.signs = kit_upload(device, x, KIT_K / 8);
  cr_expect_eq(qpal_rotate(kernels, &r, NULL), QPAL_OK, "%s", qpal_message());
  r.x_stride = r.y_stride = X_STRIDE;
  cr_expect_eq(qpal_rotate(kernels, &r, NULL), QPAL_E_NO_KERNEL);
  free(want);
  free(got);
}

Test(library_launch, a_library_of_version_1_takes_strides_a_row_at_a_time) {
  qpal_gemm_info info = {.size = sizeof info};
  take_version_1();
  make_args(1);
  const unsigned m = linear[0].rows;
  segment[0].y = poisoned(2ul * ROWS * m);
  cr_assert_eq(qpal_gemm(kernels, &args, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *close = fetch(segment[0].y, ROWS * m);
  args.y_stride[0] = m + 3;
  segment[0].y = poisoned(2ul * ROWS * (m + 3));
  cr_assert_eq(qpal_gemm_query(kernels, &args, &info), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(info.batch, 1);
  cr_expect_eq(info.launches, ROWS);
  cr_assert_eq(qpal_gemm(kernels, &args, NULL), QPAL_OK, "%s", qpal_message());
  uint16_t *got = fetch(segment[0].y, ROWS * (m + 3));
  for (unsigned n = 0; n < ROWS; n++)
    cr_expect_arr_eq(got + n * (m + 3), close + n * m, 2 * m, "row %u", n);
  free(close);
  free(got);
}
