/* SPDX-License-Identifier: MIT */
/* Linears of more parts than ABI 1's structs had room for. */
#define KIT_COLUMNS 384

#include "tests/runtime/open_library.h"

#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/library_format.h"

enum { PARTS = 6, M = 48 };

/* The last two parts of six lie in 'more', and have a codebook and fields of their own. */
static const char spec[] =
    "return { split { name = 'six', parts = {\n"
    "  { 'nuq-2', 1/6 }, { 'nuq-2', 1/6 }, { 'nuq-2', 1/6 }, { 'nuq-2', 1/6 },\n"
    "  { 'anyprec-3', 1/6 }, { 'nf4-g64', 1/6 } } },\n"
    "  split { name = 'four', parts = {\n"
    "  { 'nuq-2', 1/4 }, { 'nuq-2', 1/4 }, { 'nuq-2', 1/4 }, { 'nuq-2', 1/4 } } } }\n";
static char path[64], six[72], four[72];

static void set_up(void) {
  open_session();
  snprintf(path, sizeof path, "/tmp/qpal-parts-%ld.lua", (long)getpid());
  snprintf(six, sizeof six, "%s:six", path);
  snprintf(four, sizeof four, "%s:four", path);
  FILE *f = fopen(path, "w");
  cr_assert(f && fputs(spec, f) >= 0 && !fclose(f));
}

static void tear_down(void) {
  unlink(path);
  close_all();
}

TestSuite(library_parts, .init = set_up, .fini = tear_down);

/* A group of one linear of this quantizer for each kind of cores, or for CUDA cores alone. */
static void export_them(const char *quantizer, unsigned groups) {
  qp_export_group g[3];
  kit_groups(g);
  for (unsigned i = 2; i > 2 - groups; i--) {
    g[i] = g[2];
    g[i].member[0].quantizer = kit_find(quantizer);
    g[i].member[0].rows = M;
    g[i].lookup = false;
    snprintf(g[i].name, sizeof g->name, "layers.%u.test", i);
    snprintf(g[i].path, sizeof g->path, "%s", i == 2 ? "cuda" : "tensor");
  }
  qp_export_request r = kit_request(&g[3 - groups]);
  r.groups = groups;
  r.batches = 1;
  r.dequant = groups > 1;
  r.rotate = r.inverse = r.norm = r.glu = r.pdl = false;
  close_library();
  open_library(&r);
}

static qpal_linear_info describe(void) {
  qpal_linear_info info = {.size = sizeof info};
  cr_assert_eq(qpal_library_linear(library, 0, 0, &info), QPAL_OK, "%s", qpal_message());
  return info;
}

/* ---- Launches ---- */

/* sqrt(sum (got - want)^2 / sum want^2) of Y = X W^T, one row of X. */
static double error_of_gemm(kit_linear *l, unsigned group) {
  uint16_t *x = random_halves(KIT_K), got[M];
  double want[M] = {0};
  qpal_kernels_info all = {.size = sizeof all};
  qpal_segment segment = {.weights = &l->on_device, .y = kit_upload(device, NULL, sizeof got)};
  qpal_gemm_args a = {.size = sizeof a,
                      .group = group,
                      .rows = 1,
                      .type = QPAL_F16,
                      .out_type = QPAL_F16,
                      .x = kit_upload(device, x, 2 * KIT_K),
                      .segment = &segment};
  cr_assert_eq(qpal_kernels_describe(kernels, &all), QPAL_OK);
  if (all.workspace_bytes) a.workspace = kit_upload(device, NULL, all.workspace_bytes);
  if (all.counter_bytes) a.counters = kit_upload(device, NULL, all.counter_bytes);
  cr_assert_eq(qpal_gemm(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, segment.y, sizeof got), QPAL_OK);
  for (unsigned r = 0; r < M; r++)
    for (unsigned k = 0; k < KIT_K; k++)
      want[r] += l->w[(size_t)r * KIT_K + k] * (double)qp_half_to_float(x[k]);
  free(x);
  l->on_device.more = NULL; /* as a program of before leaves what was reserved */
  cr_expect_eq(qpal_gemm(kernels, &a, NULL), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "weights.more (member 0) is NULL; it has 2 parts"), "%s",
            qpal_message());
  l->on_device.more = l->more;
  return kit_error(got, want, M);
}

static double error_of_dequant(kit_linear *l) {
  uint16_t *got = kit_alloc(2ul * M * KIT_K);
  const qpal_dequant_args a = {.size = sizeof a,
                               .type = QPAL_F16,
                               .weights = &l->on_device,
                               .w = kit_upload(device, NULL, 2ul * M * KIT_K)};
  cr_assert_eq(qpal_dequant(kernels, &a, NULL), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_download(device, got, a.w, 2ul * M * KIT_K), QPAL_OK);
  const double error = kit_error(got, l->w, (size_t)M * KIT_K);
  free(got);
  return error;
}

/* ---- What a file says, and lies ---- */

static void expect_described(void) {
  const qpal_linear_info info = describe();
  cr_expect_eq(info.parts, PARTS);
  uint64_t bytes = 4ul * M;
  for (unsigned i = 0; i < PARTS; i++) {
    const qpal_part_info *p = qpal_linear_part(&info, i);
    cr_expect_eq(p->column, 64 * i);
    cr_expect_eq(p->columns, 64);
    bytes += p->code_bytes + p->field_bytes[0] + p->codebook_bytes[0];
  }
  cr_expect_eq(info.bytes, bytes);
  cr_expect_gt(info.more[0].codebook_bytes[0], 0);
  cr_expect_gt(info.more[1].field_bytes[0], 0);
  const size_t older[] = {offsetof(qpal_linear_info, pieces), offsetof(qpal_linear_info, more),
                          sizeof info - 1};
  for (unsigned i = 0; i < 3; i++) {
    qpal_linear_info small = {.size = older[i], .parts = 77};
    cr_expect_eq(qpal_library_linear(library, 0, 0, &small), QPAL_E_MISMATCH);
    cr_expect(strstr(qpal_message(), "'model.layers.0.alone' has 6 parts"), "%s", qpal_message());
    cr_expect_eq(small.parts, 77, "untouched");
  }
}

/* Opens a copy of the library, whose word at 'at' is 'value', with a right checksum. */
static qpal_status open_changed(size_t at, uint32_t value) {
  unsigned char *copy = kit_alloc(file_bytes);
  qpal_library *l = NULL;
  memcpy(copy, file, file_bytes);
  memcpy(copy + at, &value, sizeof value);
  qp_lib_header *h = (qp_lib_header *)(void *)copy;
  h->checksum = 0;
  h->checksum = XXH3_64bits(copy, (size_t)h->manifest_bytes);
  const qpal_status status = qpal_library_from_memory(copy, file_bytes, &l);
  qpal_library_close(l);
  free(copy);
  return status;
}

Test(library_parts, of_four_are_described_to_programs_of_abi_1_in_files_as_before) {
  export_them(four, 1);
  const qp_lib_header *h = file;
  qpal_linear_info old = {.size = offsetof(qpal_linear_info, pieces), .pieces = 77};
  cr_expect_eq(qpal_library_linear(library, 0, 0, &old), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(old.parts, 4);
  cr_expect_eq(old.pieces, 77, "what an older program has behind it is not touched");
  cr_expect_eq(h->version, QP_LIB_VERSION_WHOLE);
  cr_expect_eq(h->section[QP_LIB_LINEARS].record_bytes, QP_LIB_LINEAR_PIECES);
  cr_expect_eq(h->section[QP_LIB_QUANTIZERS].record_bytes, QP_LIB_QUANTIZER_LEAST);
  const size_t linear = h->section[QP_LIB_LINEARS].offset + offsetof(qp_lib_linear, parts);
  const size_t split = h->section[QP_LIB_QUANTIZERS].offset + offsetof(qp_lib_quantizer, parts) +
                       (h->section[QP_LIB_QUANTIZERS].count - 1ul) * QP_LIB_QUANTIZER_LEAST;
  cr_expect_eq(open_changed(linear, 5), QPAL_E_FORMAT, "its records have room for four");
  cr_expect(strstr(qpal_message(), "linear 0: field 'parts': 5"), "%s", qpal_message());
  cr_expect_eq(open_changed(split, 5), QPAL_E_FORMAT, "its records have room for four");
  cr_expect(strstr(qpal_message(), "field 'parts': 5"), "%s", qpal_message());
  const struct {
    size_t at;
    uint32_t value;
    const char *says;
  } later[] = {{offsetof(qp_lib_linear, rotation), 64, "'rotation': 64 is of version 3 and later"},
               {offsetof(qp_lib_linear, rotation), 1u << 28, "is of version 4 and later"},
               {offsetof(qp_lib_linear, pieces), 2, "'pieces': 2 is of version 3 and later"}};
  for (unsigned i = 0; i < sizeof later / sizeof *later; i++) {
    const size_t at = h->section[QP_LIB_LINEARS].offset + later[i].at;
    cr_expect_eq(open_changed(at, later[i].value), QPAL_E_FORMAT, "%s", later[i].says);
    cr_expect(strstr(qpal_message(), later[i].says), "'%s': %s", later[i].says, qpal_message());
  }
}

Test(library_parts, constants_that_no_codebook_needs_are_refused_and_not_allocated) {
  export_them(four, 1);
  const qp_lib_header *h = file;
  const size_t at = offsetof(qp_lib_header, constants_bytes);
  const uint32_t most = (h->constants_bytes + 255) / 256 * 256;
  cr_expect_gt(most, 0);
  cr_expect_eq(open_changed(at, most), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(open_changed(at, most + 1), QPAL_E_FORMAT);
  cr_expect_eq(open_changed(at, UINT32_MAX), QPAL_E_FORMAT);
  cr_expect(strstr(qpal_message(), "'constants_bytes': 4294967295"), "%s", qpal_message());
}

static void expect_lies_refused(void) {
  const qp_lib_header *h = file;
  cr_expect_eq(h->version, QP_LIB_VERSION);
  const size_t linear = h->section[QP_LIB_LINEARS].offset;
  const size_t split = h->section[QP_LIB_QUANTIZERS].offset +
                       (h->section[QP_LIB_QUANTIZERS].count - 1ul) * sizeof(qp_lib_quantizer);
  const struct {
    size_t at;
    uint32_t value;
    const char *says;
  } bad[] = {
      {linear + offsetof(qp_lib_linear, parts), 17, "'parts': 17"},
      {linear + offsetof(qp_lib_linear, parts), 5, "'columns': 384"},
      {linear + offsetof(qp_lib_linear, more[1].quantizer), 99, "'part.quantizer': 99"},
      {linear + offsetof(qp_lib_linear, more[0].column), 64, "'part.column': 64"},
      {linear + offsetof(qp_lib_linear, more[1].columns), 128, "'part.columns': 128"},
      {split + offsetof(qp_lib_quantizer, parts), 17, "'parts': 17"},
      {split + offsetof(qp_lib_quantizer, more[1]), 99, "'part': 99"},
      {offsetof(qp_lib_header, version), 4, "'parts': 6 is of version 5 and later"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_expect_eq(open_changed(bad[i].at, bad[i].value), QPAL_E_FORMAT, "%s", bad[i].says);
    cr_expect(strstr(qpal_message(), bad[i].says), "'%s': %s", bad[i].says, qpal_message());
  }
  cr_expect_eq(open_changed(linear, h->section[QP_LIB_QUANTIZERS].count - 1), QPAL_OK, "%s",
               qpal_message());
}

Test(library_parts, six_of_them_are_described_multiplied_on_both_kinds_of_cores_and_decoded) {
  kit_linear l;
  export_them(six, 2);
  load();
  kit_linear_make(&l, six, M);
  const qpal_linear_info info = describe();
  kit_linear_upload(&l, device, &info);
  for (unsigned g = 0; g < 2; g++) {
    const double error = error_of_gemm(&l, g);
    cr_expect_lt(error, 2e-3, "group %u: %g", g, error);
  }
  const double error = error_of_dequant(&l);
  cr_expect_lt(error, 1e-3, "%g", error);
  kit_linear_free(&l);
  expect_described();
  expect_lies_refused();
}
