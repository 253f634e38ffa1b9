/* SPDX-License-Identifier: MIT */
/* A text file becomes pieces of a context, each begun as the tokenizer begins a text. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gen/model/text_tokens.h"
#include "gen/model/tokenizer.h"

#define MODEL QP_SOURCE_DIR "/tests/model/tokenizers/regex.json"

static qp_error err;
static char path[] = "/tmp/qpal-text-XXXXXX";

static void write_file(const char *s, size_t n) {
  const int f = mkstemp(path);
  cr_assert(f >= 0 && write(f, s, n) == (ssize_t)n);
  close(f);
}

static void remove_file(void) { unlink(path); }

TestSuite(text_tokens, .fini = remove_file);

Test(text_tokens, pieces_hold_all_of_the_text_and_begin_with_its_prefix) {
  static const char text[] =
      "It was the best of times, it was the worst of times.\nThe quick brown fox.";
  qp_tokenizer *t;
  qp_tokens pieces;
  uint32_t *all;
  size_t count, seen = 0;
  write_file(text, sizeof text - 1);
  cr_assert_eq(qp_tokenizer_open(MODEL, &t, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_tokenizer_encode(t, text, sizeof text - 1, false, &all, &count, &err), QP_OK);
  cr_assert_eq(qp_text_tokens(MODEL, path, 8, 0, &pieces, &err), QP_OK, "%s", err.text);
  cr_assert_eq(pieces.sequences, (count + 6) / 7);
  for (size_t i = 0, begin = 0; i < pieces.sequences; begin = pieces.end[i++]) {
    cr_assert_eq(pieces.id[begin], (uint32_t)qp_tokenizer_id(t, "<s>"));
    cr_assert_leq(pieces.end[i] - begin, 8);
    for (size_t k = begin + 1; k < pieces.end[i]; k++) cr_assert_eq(pieces.id[k], all[seen++]);
  }
  cr_assert_eq(seen, count);
  qp_tokens_free(&pieces);
  cr_assert_eq(qp_text_tokens(MODEL, path, 8, 9, &pieces, &err), QP_OK, "%s", err.text);
  cr_assert_eq(pieces.end[pieces.sequences - 1], 9 + 2, "nine of the text, two that begin");
  qp_tokens_free(&pieces);
  cr_assert_eq(qp_text_tokens(MODEL, path, 2, 0, &pieces, &err), QP_E_ARG);
  free(all);
  qp_tokenizer_close(t);
}

Test(text_tokens, a_file_without_text_or_of_other_bytes_is_refused_by_name) {
  qp_tokens pieces;
  write_file("", 0);
  cr_assert_eq(qp_text_tokens(MODEL, path, 8, 0, &pieces, &err), QP_E_ARG);
  cr_assert(strstr(err.text, path) && strstr(err.text, "no text"), "%s", err.text);
  unlink(path);
  strcpy(path + sizeof path - 7, "XXXXXX");
  write_file("ab\xff", 3);
  cr_assert_eq(qp_text_tokens(MODEL, path, 8, 0, &pieces, &err), QP_E_ARG);
  cr_assert(strstr(err.text, path) && strstr(err.text, "byte 2"), "%s", err.text);
}
