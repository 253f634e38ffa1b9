/* SPDX-License-Identifier: MIT */
/*
** Any bytes behind the first line of a tuning run's journal, or as all of it: it is refused by
** name, or goes on, and what was read is still there when it is opened again.
*/
#include "tests/fuzz/fuzz_kit.h"
#include "tuner/tune/journal.h"

static const char head[] =
    "{\"journal\":\"qpal-tune\",\"version\":1,\"gpu\":\"G\",\"driver\":\"1\",\"timer\":\"t\"}\n";
static const qp_journal_stamp stamp = {"G", "1", "t"};
static char path[64];

static void forget(void) { unlink(path); }

static void write_journal(const uint8_t *data, size_t size) {
  const bool whole = data[0] & 1;
  char *text = malloc(sizeof head + size);
  must(text != NULL);
  const size_t n = whole ? 0 : sizeof head - 1;
  memcpy(text, head, n);
  memcpy(text + n, data + 1, size - 1);
  write_bytes(path, text, n + size - 1);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_journal *j = NULL;
  qp_error err = {.text = ""};
  if (!*path) {
    own_path(path, sizeof path, ".journal");
    atexit(forget);
  }
  if (size < 1) return 0;
  write_journal(data, size);
  if (qp_journal_open(path, &stamp, &j, &err)) {
    must_name(&err, path);
    return 0;
  }
  const size_t count = qp_journal_count(j);
  qp_journal_lost(j, "k");
  must(!qp_journal_begin(j, "k", &err));
  qp_journal_close(j, false);
  must(!qp_journal_open(path, &stamp, &j, &err) && qp_journal_count(j) == count);
  qp_journal_close(j, true);
  return 0;
}
