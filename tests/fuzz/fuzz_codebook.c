/* SPDX-License-Identifier: MIT */
/* Any bytes as a trained codebook's text: what is taken is printed, and reads back the same. */
#include "gen/spec/codebook_file.h"
#include "tests/fuzz/fuzz_kit.h"

/* The first byte: log2 of the entries, and of the dimension. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint16_t *book = NULL, *again = NULL;
  qp_error err = {.text = ""};
  if (size < 1) return 0;
  const unsigned entries = 1u << data[0] % 8, dim = 1u << data[0] / 8 % 4;
  if (qp_codebook_parse("c.txt", (const char *)data + 1, size - 1, entries, dim, &book, &err)) {
    must_name(&err, "c.txt");
    return 0;
  }
  char *text = qp_codebook_print(entries, dim, book);
  must(text && !qp_codebook_parse("again", text, strlen(text), entries, dim, &again, &err));
  must(!memcmp(book, again, sizeof *book * entries * dim));
  free(text);
  free(again);
  free(book);
  return 0;
}
