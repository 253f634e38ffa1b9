/* SPDX-License-Identifier: MIT */
/* From which number of rows on decoding is faster, as it was measured. */
#include "tests/runtime/open_library.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/library_format.h"

TestSuite(library_query, .init = open_session, .fini = close_all);

static unsigned from_three(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                           const char *path, const unsigned *batch, size_t batches) {
  cr_assert(!arg && gpu->arch == 90 && p->op == QP_OP_GEMM && *path);
  cr_assert(batches == 2 && batch[0] == 1 && batch[1] == 4);
  return 3;
}

/* What was measured when the library is one of kernels that were tuned. */
static void export_measured(void) {
  qp_export_group g[3];
  kit_groups(g);
  qp_export_request r = kit_request(g);
  r.crossover = from_three;
  file = kit_export(&r, &file_bytes);
}

static void open_made(void) {
  cr_assert_eq(qpal_library_from_memory(file, file_bytes, &library), QPAL_OK, "%s", qpal_message());
  load();
}

static bool prefers_dequant(unsigned rows) {
  qpal_gemm_info info = {.size = sizeof info};
  const qpal_gemm_args a = {.size = sizeof a, .rows = rows, .type = QPAL_F16, .out_type = QPAL_F16};
  cr_assert_eq(qpal_gemm_query(kernels, &a, &info), QPAL_OK, "%s", qpal_message());
  return info.prefer_dequant;
}

Test(library_query, decoding_is_preferred_from_the_measured_number_of_rows_on) {
  export_measured();
  open_made();
  cr_expect_not(prefers_dequant(2));
  cr_expect(prefers_dequant(3));
  cr_expect(prefers_dequant(100));
}

/* Records as they were before 'dequant_rows' was appended to them. */
static void shorten_kernels(void) {
  qp_lib_header *h = file;
  qp_lib_section *s = &h->section[QP_LIB_KERNELS];
  unsigned char *records = (unsigned char *)file + s->offset;
  for (uint32_t i = 0; i < s->count; i++)
    memmove(records + (size_t)i * QP_LIB_KERNEL_LEAST, records + (size_t)i * s->record_bytes,
            QP_LIB_KERNEL_LEAST);
  s->record_bytes = QP_LIB_KERNEL_LEAST;
  h->checksum = 0;
  h->checksum = XXH3_64bits(file, (size_t)h->manifest_bytes);
}

Test(library_query, one_from_before_crossovers_were_measured_prefers_decoding_above_its_kernels) {
  export_measured();
  shorten_kernels();
  open_made();
  cr_expect_not(prefers_dequant(4));
  cr_expect(prefers_dequant(5));
}
