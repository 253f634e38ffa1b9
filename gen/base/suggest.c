/* SPDX-License-Identifier: MIT */
/* The name nearest to one that is not known. */
#include "gen/base/suggest.h"

#include <string.h>

enum { LONGEST = 63 };

/* Levenshtein distance; both words are at most LONGEST long. */
static size_t distance(const char *a, const char *b) {
  size_t row[LONGEST + 1];
  const size_t n = strlen(b);
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[n];
}

const char *qp_suggest(const char *word, const char *const *names, size_t count) {
  const size_t length = strlen(word);
  if (length > LONGEST) return NULL;
  const char *nearest = NULL;
  size_t best = (length + 1) / 3 > 1 ? (length + 1) / 3 : 1;
  for (size_t i = 0; i < count; i++) {
    if (!names[i] || strlen(names[i]) > LONGEST) continue;
    const size_t d = distance(word, names[i]);
    if (d > best || (d == best && nearest)) continue;
    best = d;
    nearest = names[i];
  }
  return nearest;
}
