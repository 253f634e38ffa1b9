/* SPDX-License-Identifier: MIT */
/* Any bytes as a file of records: what is read is printed, and reads back the same; merged with
   itself, as qpal table --merge does, it stays what it was. */
#include "tuner/tune/lookup.h"
#include "tuner/tune/records.h"
#include "tests/fuzz/fuzz_kit.h"

static void use(const qp_records *r) {
  const qp_lookup_options o = {.worst = QP_MATCH_OTHER_DRIVER};
  qp_latency_table table = {.overhead_ps = -1};
  qp_lookup *l = NULL;
  char name[32];
  qp_records_file_name(r->gpu, name, sizeof name);
  if (qp_lookup_open(r, &o, &l, NULL)) return;
  qp_lookup_latency(l, 1, "fuzz", &table, NULL);
  qp_latency_free(&table);
  qp_lookup_close(l);
}

/* A union has each record once. */
static void merge(qp_records *to, const qp_records *from, const char *text, size_t bytes) {
  char *merged = NULL;
  size_t n = 0;
  qp_error err = {.text = ""};
  must(!qp_records_merge(to, from, &err) && !qp_records_print(to, &merged, &n, &err));
  must(n == bytes && !memcmp(merged, text, n));
  free(merged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_records r = {0}, again = {0};
  char *text = NULL, *text2 = NULL;
  size_t bytes = 0, bytes2 = 0;
  if (size < 1) return 0;
  const unsigned policy = data[0] & (QP_RECORDS_REPLAY | QP_RECORDS_TORN);
  if (qp_records_parse("fuzz", (const char *)data + 1, size - 1, policy, &r, NULL)) return 0;
  use(&r);
  if (r.gpu[0] && !qp_records_print(&r, &text, &bytes, NULL)) {
    if (qp_records_parse("again", text, bytes, policy, &again, NULL)) abort();
    if (qp_records_print(&again, &text2, &bytes2, NULL)) abort();
    if (bytes != bytes2 || memcmp(text, text2, bytes) != 0) abort();
    merge(&again, &r, text, bytes);
  }
  free(text);
  free(text2);
  qp_records_free(&r);
  qp_records_free(&again);
  return 0;
}
