/* SPDX-License-Identifier: MIT */
/*
** Tokenizers give the ids that Hugging Face's tokenizers gives, on small ones that
** tests/model/make_tokenizers.py trained and stored; compare_tokenizers.py does the same for real
** ones.
*/
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/tokenizer.h"
#include "gen/model/tokenizer_pattern.h"

#define FOLDER QP_SOURCE_DIR "/tests/model/tokenizers/"

static qp_error err;

static qp_tokenizer *open_tokenizer(const char *name) {
  char path[512];
  qp_tokenizer *t = NULL;
  snprintf(path, sizeof path, FOLDER "%s", name);
  cr_assert_eq(qp_tokenizer_open(path, &t, &err), QP_OK, "%s", err.text);
  return t;
}

/* ---- The same ids ---- */

static void expect_ids(const qp_tokenizer *t, const char *name, const char *text,
                       const cJSON *wanted) {
  uint32_t *ids;
  size_t count, i = 0;
  cr_assert_eq(qp_tokenizer_encode(t, text, strlen(text), true, &ids, &count, &err), QP_OK, "%s",
               err.text);
  const cJSON *id;
  cJSON_ArrayForEach(id, wanted) {
    cr_assert(i < count, "%s: '%s' has %zu ids", name, text, count);
    cr_assert_eq(ids[i], (uint32_t)id->valueint, "%s: '%s' at %zu: %u for %d", name, text, i,
                 ids[i], id->valueint);
    i++;
  }
  cr_assert_eq(i, count, "%s: '%s' has %zu ids for %zu", name, text, count, i);
  free(ids);
}

/* Lines of lines.json through 'file', with the ids stored for 'name'. */
static void expect_all(const char *file, const char *name) {
  cJSON *tree;
  cr_assert_eq(qp_json_read(FOLDER "lines.json", &tree, &err), QP_OK, "%s", err.text);
  qp_tokenizer *t = open_tokenizer(file);
  const cJSON *lines = cJSON_GetObjectItem(tree, "lines"), *ids = cJSON_GetObjectItem(tree, name);
  cr_assert_eq(cJSON_GetArraySize(lines), cJSON_GetArraySize(ids));
  cr_assert_gt(cJSON_GetArraySize(lines), 100);
  const cJSON *line = lines->child, *wanted = ids->child;
  for (; line; line = line->next, wanted = wanted->next)
    expect_ids(t, file, line->valuestring, wanted);
  qp_tokenizer_close(t);
  cJSON_Delete(tree);
}

Test(tokenizer, bytes_cut_by_gpt2_words_and_digits_agree) { expect_all("byte.json", "byte"); }
Test(tokenizer, regular_expressions_whole_words_and_added_tokens_agree) {
  expect_all("regex.json", "regex");
}
Test(tokenizer, sentencepiece_bpe_with_byte_fallback_agrees) {
  expect_all("pieces.json", "pieces");
}
Test(tokenizer, characters_with_unknown_ones_and_metaspace_agree) {
  expect_all("metaspace.json", "metaspace");
}
Test(tokenizer, unigram_with_a_compiled_map_agrees) { expect_all("unigram.json", "unigram"); }
Test(tokenizer, gguf_names_its_pre_tokenizer_and_agrees) { expect_all("byte.gguf", "byte"); }
Test(tokenizer, gguf_scores_become_merges_and_agree) { expect_all("pieces.gguf", "pieces"); }

Test(tokenizer, special_tokens_stand_around_a_text_only_if_asked) {
  qp_tokenizer *t = open_tokenizer("regex.json");
  const uint32_t *before;
  uint32_t *with, *without;
  size_t n, m, prefix;
  qp_tokenizer_prefix(t, &before, &prefix);
  cr_assert_eq(prefix, 1);
  cr_assert_str_eq(qp_tokenizer_token(t, before[0]), "<s>");
  cr_assert_eq(qp_tokenizer_id(t, "</s>"), before[0] + 1);
  cr_assert_eq(qp_tokenizer_encode(t, "fox", 3, true, &with, &n, &err), QP_OK);
  cr_assert_eq(qp_tokenizer_encode(t, "fox", 3, false, &without, &m, &err), QP_OK);
  cr_assert_eq(n, m + 2);
  cr_assert_eq(with[0], before[0]);
  cr_assert_eq(with[n - 1], before[0] + 1);
  cr_assert_eq(memcmp(with + 1, without, m * sizeof *with), 0);
  cr_assert_gt(qp_tokenizer_size(t), before[0] + 1);
  free(with);
  free(without);
  qp_tokenizer_close(t);
}

Test(tokenizer, a_nul_byte_is_a_byte_of_the_text) {
  qp_tokenizer *t = open_tokenizer("byte.json");
  uint32_t *ids;
  size_t n;
  cr_assert_eq(qp_tokenizer_encode(t, "\0", 1, false, &ids, &n, &err), QP_OK);
  cr_assert_eq(n, 1);
  cr_assert_str_eq(qp_tokenizer_token(t, ids[0]), "\u0100");
  free(ids);
  qp_tokenizer_close(t);
}

Test(tokenizer, a_text_that_is_no_utf8_is_refused_with_its_place) {
  qp_tokenizer *t = open_tokenizer("byte.json");
  static const struct {
    const char *text;
    size_t bytes;
    const char *place;
  } cases[] = {{"ab\xff", 3, "byte 2"},
               {"a\xc3", 2, "byte 1"},
               {"\xc0\x80", 2, "byte 0"},
               {"x\xed\xa0\x80", 4, "byte 1"},
               {"\xf4\x90\x80\x80", 4, "byte 0"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint32_t *ids = NULL;
    size_t n = 77;
    cr_assert_eq(qp_tokenizer_encode(t, cases[i].text, cases[i].bytes, true, &ids, &n, &err),
                 QP_E_ARG);
    cr_assert(strstr(err.text, cases[i].place), "%s", err.text);
    cr_assert(!ids && n == 77, "outputs stay as they were");
  }
  qp_tokenizer_close(t);
}

/* ---- Wrong files ---- */

static void expect_refusal(const char *text, const char *part) {
  qp_tokenizer *t = NULL;
  err.text[0] = 0;
  cr_assert_neq(qp_tokenizer_parse("f/tokenizer.json", text, strlen(text), &t, &err), QP_OK, "%s",
                text);
  cr_assert(strstr(err.text, "f/tokenizer.json"), "%s", err.text);
  cr_assert(strstr(err.text, part), "'%s' is not in: %s", part, err.text);
  cr_assert_null(t);
}

#define BPE "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

Test(tokenizer, wrong_files_are_refused_with_file_and_field) {
  expect_refusal("[]", "an object");
  expect_refusal("{}", "'model' is missing");
  expect_refusal("{\"model\":\"\xff\"}", "no UTF-8 at byte 10");
  expect_refusal("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "\"WordPiece\"");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "token 'a'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0.5},\"merges\":[]}}", "token 'a'");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
                 "merges[0]: 'b' is not in");
  expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}",
                 "merges[0]");
  expect_refusal("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "'vocab' is empty");
  expect_refusal("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1]],\"unk_id\":1}}", "unk_id");
  expect_refusal("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]],\"unk_id\":0}}", "vocab[0]");
  expect_refusal("{" BPE ",\"normalizer\":{\"type\":\"NFX\"}}", "\"NFX\", which is not known");
  expect_refusal("{" BPE ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":"
                 "\"/////w==\"}}",
                 "whose trie has");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
                 "\"behavior\":\"Isolated\"}}",
                 "pattern '('");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                 "\"[a&&b]\"},\"behavior\":\"Isolated\"}}",
                 "'[a&&b]'");
  expect_refusal("{" BPE ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}}", "BertPreTokenizer");
  expect_refusal("{" BPE ",\"added_tokens\":[{\"id\":3}]}", "added_tokens[0]: field 'content'");
  expect_refusal("{" BPE ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
                 "[{\"SpecialToken\":{\"id\":\"<s>\"}}],\"special_tokens\":{}}}",
                 "special_tokens['<s>']");
}

Test(tokenizer, a_model_without_a_tokenizer_says_what_is_missing) {
  qp_tokenizer *t;
  cr_assert_eq(qp_tokenizer_open(FOLDER "../config.json", &t, &err), QP_E_IO);
  cr_assert(strstr(err.text, "tests/model/tokenizers/../tokenizer.json"), "%s", err.text);
}

/* ---- Patterns ---- */

static void expect_spans(const char *source, const char *text, const char *wanted) {
  qp_pattern *p;
  qp_span *span;
  size_t count;
  char found[256] = "";
  cr_assert_eq(qp_pattern_new("f", source, false, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_pattern_find(p, text, strlen(text), &span, &count, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < count; i++)
    snprintf(found + strlen(found), sizeof found - strlen(found), "%zu-%zu ", span[i].begin,
             span[i].end);
  cr_assert_str_eq(found, wanted, "%s", source);
  free(span);
  qp_pattern_free(p);
}

Test(tokenizer, patterns_mean_what_oniguruma_means) {
  expect_spans("\\s",
               "a\u180e \xc2\x85"
               "b",
               "4-5 5-7 "); /* U+180E is no white space */
  expect_spans("[\\s]+", "a \u3000b", "1-5 ");
  expect_spans("a{1,2}+b", "aaaaab", "0-6 "); /* no possessive: (?:a{1,2})+ */
  expect_spans("(ab){2}+c", "ababababc", "0-9 ");
  expect_spans("\\w+", "e\u0301_\u0660-", "0-6 "); /* marks and connectors are of words */
  expect_spans("x*", "axxb", "1-3 ");              /* empty matches are none */
  expect_spans("^b$", "a\nb\nc", "2-3 ");          /* lines, as in Ruby */
}

Test(tokenizer, a_pattern_that_backtracks_without_end_is_stopped) {
  qp_pattern *p;
  qp_span *span = NULL;
  size_t count = 5;
  char text[64];
  memset(text, 'a', sizeof text);
  cr_assert_eq(qp_pattern_new("f", "(?:a|aa|a+)+$(?<=b)", false, &p, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_pattern_find(p, text, sizeof text, &span, &count, &err), QP_E_LIMIT);
  cr_assert(strstr(err.text, "f: pattern") && strstr(err.text, "limit"), "%s", err.text);
  cr_assert(!span && count == 5);
  qp_pattern_free(p);
}
