/* SPDX-License-Identifier: MIT */
/* Added tokens: names that are cut out of a text before anything else happens to it. */
#include <string.h>

#include "gen/model/tokenizer_parts.h"

/* The beginning of the character that ends at s[end]. */
static size_t character_before(const char *s, size_t end) {
  size_t at = end - 1;
  while (at && ((unsigned char)s[at] & 0xc0) == 0x80) at--;
  return at;
}

static bool stands_alone(const char *s, size_t n, size_t begin, size_t end) {
  const bool left = begin == 0 || !qp_is_word(qp_utf8_read(s + character_before(s, begin)));
  const bool right = end == n || !qp_is_word(qp_utf8_read(s + end));
  return left && right;
}

static void take_space(const qp_added_token *token, const char *s, size_t n, size_t from,
                       qp_added_place *p) {
  while (token->left_strip && p->begin > from) {
    const size_t at = character_before(s, p->begin);
    if (!qp_is_white_space(qp_utf8_read(s + at))) break;
    p->begin = at;
  }
  while (token->right_strip && p->end < n && qp_is_white_space(qp_utf8_read(s + p->end)))
    p->end += qp_utf8_bytes(s + p->end);
}

typedef struct longest {
  size_t length;
  uint32_t value;
} longest;

static void keep_longest(void *arg, size_t length, uint32_t value) {
  *(longest *)arg = (longest){length, value};
}

/* Find the leftmost, and of several the longest; one that must stand alone and does not is passed
   over. */
bool qp_added_find(const qp_tokenizer *t, const qp_vocabulary *added, const char *s, size_t n,
                   size_t from, qp_added_place *out) {
  if (!qp_vocabulary_count(added)) return false;
  for (size_t at = from; at < n;) {
    longest found = {0};
    qp_vocabulary_prefixes(added, s + at, n - at, keep_longest, &found);
    if (!found.length) {
      at += qp_utf8_bytes(s + at);
      continue;
    }
    const qp_added_token *token = &t->added_token[found.value];
    if (!token->single_word || stands_alone(s, n, at, at + found.length)) {
      *out = (qp_added_place){.begin = at, .end = at + found.length, .id = token->id};
      take_space(token, s, n, from, out);
      return true;
    }
    at += found.length;
  }
  return false;
}
