/* SPDX-License-Identifier: MIT */
/* Reads NaN, Infinity and -Infinity, which Python's json module writes:  text -> JSON text -> raw
   items. */
#include "gen/base/json_python.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"

static const char *const words[] = {"NaN", "Infinity", "-Infinity"};

/* Give the word at text[at], or NULL. */
static const char *word_at(const char *text, size_t bytes, size_t at) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const size_t n = strlen(words[i]);
    if (bytes - at >= n && !memcmp(text + at, words[i], n)) return words[i];
  }
  return NULL;
}

/* The next word outside strings from '*at' on, which is moved there; NULL: there is none. */
static const char *next_word(const char *text, size_t bytes, size_t *at) {
  bool quoted = false;
  for (; *at < bytes; ++*at) {
    const char c = text[*at];
    if (c == '"') quoted = !quoted;
    if (c == '\\' && quoted) ++*at;
    const char *word = quoted || c == '"' ? NULL : word_at(text, bytes, *at);
    if (word) return word;
  }
  return NULL;
}

bool qp_json_python_has(const char *text, size_t bytes) {
  size_t at = 0;
  return next_word(text, bytes, &at) != NULL;
}

char *qp_json_python_quote(const char *text, size_t bytes, size_t *length) {
  qp_text t = {0};
  size_t at = 0, from = 0;
  for (const char *word; (word = next_word(text, bytes, &at)); from = at) {
    qp_text_append(&t, text + from, at - from);
    qp_text_add(&t, "\"\\u0001%s\"", word);
    at += strlen(word);
  }
  qp_text_append(&t, text + from, bytes - from);
  *length = t.length;
  return qp_text_take(&t);
}

void qp_json_python_unquote(cJSON *tree) {
  cJSON *item;
  cJSON_ArrayForEach(item, tree) qp_json_python_unquote(item);
  char *text = cJSON_IsString(tree) ? tree->valuestring : NULL;
  if (!text || *text != 1 || !word_at(text + 1, strlen(text + 1), 0)) return;
  memmove(text, text + 1, strlen(text));
  tree->type = (tree->type & ~cJSON_String) | cJSON_Raw;
}
