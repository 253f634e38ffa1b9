/* SPDX-License-Identifier: MIT */
/*
** Any text as a tokenizer.json: refused with a message that names the file, or it encodes texts:
** its own source, and characters of one to four bytes.  Every id is below the tokenizer's size; the
** same text gives the same ids again.
*/
#include "gen/model/tokenizer.h"
#include "tests/fuzz/fuzz_kit.h"

static void encode(const qp_tokenizer *t, const char *text, size_t n) {
  qp_error err = {.text = ""};
  uint32_t *ids, *again;
  size_t count, more;
  if (qp_tokenizer_encode(t, text, n, true, &ids, &count, &err) != QP_OK) {
    if (!*err.text) abort();
    return;
  }
  for (size_t i = 0; i < count; i++)
    if (ids[i] >= qp_tokenizer_size(t)) abort();
  if (qp_tokenizer_encode(t, text, n, true, &again, &more, &err) != QP_OK || more != count ||
      memcmp(ids, again, count * sizeof *ids) != 0)
    abort();
  free(again);
  free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char mixed[] =
      "a b  \xc3\xa9 e\xcc\x81 \xe6\xbc\xa2 \xf0\x9f\x98\x80\n<s>1234'll A\0z";
  qp_error err = {.text = ""};
  qp_tokenizer *t;
  if (size > 1 << 14) return 0;
  if (qp_tokenizer_parse("f.json", (const char *)data, size, &t, &err) != QP_OK) {
    if (!strstr(err.text, "f.json") && !strstr(err.text, "memory")) abort();
    return 0;
  }
  encode(t, mixed, sizeof mixed - 1);
  encode(t, (const char *)data, size < 512 ? size : 512);
  encode(t, "", 0);
  qp_tokenizer_close(t);
  return 0;
}
