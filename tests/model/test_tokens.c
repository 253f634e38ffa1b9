/* SPDX-License-Identifier: MIT */
/* Token ids from text. */
#include <criterion/criterion.h>
#include <string.h>

#include "gen/model/tokens.h"

static qp_status parse(const char *text, qp_tokens *out, qp_error *err) {
  return qp_tokens_parse("ids", text, strlen(text), out, err);
}

Test(tokens, a_line_is_a_sequence_and_comments_are_passed_over) {
  qp_tokens t;
  cr_assert_eq(parse("# ids of two texts\n1 22\t333\n\n 4294967295 \r\n", &t, NULL), QP_OK);
  cr_assert_eq(t.sequences, 2);
  cr_assert_eq(t.end[0], 3);
  cr_assert_eq(t.end[1], 4);
  const uint32_t want[] = {1, 22, 333, 4294967295u};
  cr_assert_arr_eq(t.id, want, sizeof want);
  qp_tokens_free(&t);
}

Test(tokens, what_is_no_id_is_named_by_line_and_column) {
  qp_tokens t;
  qp_error err = {{0}};
  cr_assert_eq(parse("1 2\n3 x4\n", &t, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "ids: line 2, column 3"), "%s", err.text);
  cr_assert_eq(parse("5 4294967296", &t, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "line 1, column 3: the id is too large"), "%s", err.text);
  cr_assert_eq(parse("# nothing\n\n", &t, &err), QP_E_ARG);
  cr_assert_eq(parse("", &t, &err), QP_E_ARG);
}

Test(tokens, long_sequences_are_cut_from_their_beginnings) {
  qp_tokens t, cut;
  cr_assert_eq(parse("1 2 3 4 5\n6 7\n", &t, NULL), QP_OK);
  cr_assert_eq(qp_tokens_cut(&t, 2, &cut, NULL), QP_OK);
  const size_t want[] = {2, 4, 5, 7};
  cr_assert_eq(cut.sequences, 4);
  cr_assert_arr_eq(cut.end, want, sizeof want);
  cr_assert_arr_eq(cut.id, t.id, 7 * sizeof *t.id);
  qp_tokens_free(&cut);
  qp_tokens_limit(&t, 6);
  cr_assert_eq(t.sequences, 2);
  cr_assert_eq(t.end[1], 6);
  qp_tokens_limit(&t, 5);
  cr_assert_eq(t.sequences, 1);
  qp_tokens_free(&t);
}
