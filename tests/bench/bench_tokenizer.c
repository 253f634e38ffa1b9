/* SPDX-License-Identifier: MIT */
/*
** Bytes a second that a tokenizer encodes:  bench_tokenizer MODEL FILE
** With --ids the ids instead, a line for each of the file's records, which end with the bytes 1e
** 0a; tests/model/compare_tokenizers.py compares these with another implementation's.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/model/tokenizer.h"
#include "runtime/map.h"
#include "tuner/base/output.h"

static int complain(const qp_error *err) {
  fprintf(stderr, "bench_tokenizer: %s\n", err->text);
  return 2;
}

static int encode(const qp_tokenizer *t, const char *s, size_t n, bool print) {
  qp_error err = {.text = ""};
  uint32_t *ids;
  size_t count;
  const double started = qp_seconds();
  if (qp_tokenizer_encode(t, s, n, print, &ids, &count, &err)) return complain(&err);
  const double seconds = qp_seconds() - started;
  for (size_t i = 0; print && i < count; i++) printf(i ? " %u" : "%u", ids[i]);
  if (print)
    printf("\n");
  else
    printf("%zu bytes, %zu tokens, %.3f s, %.2f MB/s\n", n, count, seconds,
           1e-6 * (double)n / seconds);
  free(ids);
  return 0;
}

int main(int argc, char **argv) {
  const bool print = argc == 4 && !strcmp(argv[3], "--ids");
  qp_error err = {.text = ""};
  qp_tokenizer *t;
  qp_map file;
  if (argc != 3 && !print) return fprintf(stderr, "bench_tokenizer MODEL FILE [--ids]\n"), 2;
  if (qp_map_open(argv[2], &file, &err) || qp_tokenizer_open(argv[1], &t, &err))
    return complain(&err);
  const char *s = (const char *)file.data;
  int code = print ? 0 : encode(t, s, file.bytes, false);
  for (size_t at = 0; print && !code && at < file.bytes;) {
    const char *end = memmem(s + at, file.bytes - at, "\x1e\n", 2);
    const size_t n = end ? (size_t)(end - s) - at : file.bytes - at;
    code = encode(t, s + at, n, true);
    at += n + 2;
  }
  qp_tokenizer_close(t);
  qp_map_close(&file);
  return code;
}
