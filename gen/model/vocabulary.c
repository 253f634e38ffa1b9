/* SPDX-License-Identifier: MIT */
/*
** Maps strings to their numbers.  Entries lie in the order in which they were added; a hash table
** and, once sorted, a list in byte order hold their indices.  In that list the strings that begin
** with the same bytes are neighbours, so a walk over a text narrows a range byte by byte.
*/
#include "gen/model/vocabulary.h"

#define XXH_INLINE_ALL
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { EMPTY = -1 };

typedef struct entry {
  char *s;
  size_t n;
  uint32_t value;
} entry;

struct qp_vocabulary {
  entry *entry;
  size_t count, capacity, places; /* places: a power of two */
  int64_t *place;                 /* index into 'entry', or EMPTY */
  const entry **sorted;
};

qp_vocabulary *qp_vocabulary_new(void) { return calloc(1, sizeof(qp_vocabulary)); }

void qp_vocabulary_free(qp_vocabulary *v) {
  if (!v) return;
  for (size_t i = 0; i < v->count; i++) free(v->entry[i].s);
  free(v->entry);
  free(v->place);
  free(v->sorted);
  free(v);
}

/* The place of a string: where it is, or the empty one where it would be. */
static size_t place_of(const qp_vocabulary *v, const char *s, size_t n) {
  size_t i = (size_t)XXH3_64bits(s, n) & (v->places - 1);
  for (; v->place[i] != EMPTY; i = (i + 1) & (v->places - 1)) {
    const entry *e = &v->entry[v->place[i]];
    if (e->n == n && !memcmp(e->s, s, n)) break;
  }
  return i;
}

/* Make room for twice as many entries, with four places for each. */
static bool grow(qp_vocabulary *v) {
  const size_t capacity = v->capacity ? 2 * v->capacity : 256, places = 4 * capacity;
  entry *entries = realloc(v->entry, capacity * sizeof *entries);
  if (!entries) return false;
  v->entry = entries;
  int64_t *place = malloc(places * sizeof *place);
  if (!place) return false;
  for (size_t i = 0; i < places; i++) place[i] = EMPTY;
  free(v->place);
  v->place = place;
  v->places = places;
  v->capacity = capacity;
  for (size_t i = 0; i < v->count; i++)
    v->place[place_of(v, v->entry[i].s, v->entry[i].n)] = (int64_t)i;
  return true;
}

qp_status qp_vocabulary_add(qp_vocabulary *v, const char *s, size_t n, uint32_t value,
                            qp_error *err) {
  if (v->count == v->capacity && !grow(v))
    return qp_fail(err, QP_E_NOMEM, "no memory for a vocabulary");
  const size_t i = place_of(v, s, n);
  if (v->place[i] != EMPTY) return v->entry[v->place[i]].value = value, QP_OK;
  entry e = {.s = malloc(n + 1), .n = n, .value = value};
  if (!e.s) return qp_fail(err, QP_E_NOMEM, "no memory for a vocabulary");
  memcpy(e.s, s, n);
  e.s[n] = 0;
  v->place[i] = (int64_t)v->count;
  v->entry[v->count++] = e;
  return QP_OK;
}

static int compare(const void *a, const void *b) {
  const entry *x = *(const entry *const *)a, *y = *(const entry *const *)b;
  const int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
  return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

qp_status qp_vocabulary_sort(qp_vocabulary *v, qp_error *err) {
  free(v->sorted);
  if (!(v->sorted = malloc((v->count + 1) * sizeof *v->sorted)))
    return qp_fail(err, QP_E_NOMEM, "no memory for a vocabulary");
  for (size_t i = 0; i < v->count; i++) v->sorted[i] = &v->entry[i];
  qsort(v->sorted, v->count, sizeof *v->sorted, compare);
  return QP_OK;
}

size_t qp_vocabulary_count(const qp_vocabulary *v) { return v->count; }

const char *qp_vocabulary_string(const qp_vocabulary *v, size_t i, size_t *n, uint32_t *value) {
  *n = v->entry[i].n;
  *value = v->entry[i].value;
  return v->entry[i].s;
}

int64_t qp_vocabulary_find(const qp_vocabulary *v, const char *s, size_t n) {
  if (!v->count) return -1;
  const int64_t i = v->place[place_of(v, s, n)];
  return i == EMPTY ? -1 : (int64_t)v->entry[i].value;
}

/* In [lo, hi), whose strings agree before 'depth' and are longer, the first whose byte there is at
   least 'byte'. */
static size_t first_from(const qp_vocabulary *v, size_t lo, size_t hi, size_t depth,
                         unsigned byte) {
  while (lo < hi) {
    const size_t middle = lo + (hi - lo) / 2;
    if ((unsigned char)v->sorted[middle]->s[depth] < byte)
      lo = middle + 1;
    else
      hi = middle;
  }
  return lo;
}

void qp_vocabulary_prefixes(const qp_vocabulary *v, const char *s, size_t n, qp_prefix_visit *visit,
                            void *arg) {
  size_t lo = 0, hi = v->count;
  if (lo < hi && !v->sorted[lo]->n) lo++; /* the empty string is no prefix */
  for (size_t depth = 0; depth < n; depth++) {
    const unsigned byte = (unsigned char)s[depth];
    lo = first_from(v, lo, hi, depth, byte);
    hi = first_from(v, lo, hi, depth, byte + 1);
    if (lo == hi) return;
    if (v->sorted[lo]->n == depth + 1) {
      visit(arg, depth + 1, v->sorted[lo]->value);
      if (++lo == hi) return;
    }
  }
}
