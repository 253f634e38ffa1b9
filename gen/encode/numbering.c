/* SPDX-License-Identifier: MIT */
/* Gives equal things equal numbers, in the order in which they come:  arrays of words -->
   numbers. */
#include "gen/encode/numbering.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_SLOTS = 64 };

bool qp_numbering_new(qp_numbering *n, size_t most) {
  *n = (qp_numbering){.most = (uint32_t)most, .slots = LEAST_SLOTS};
  size_t all = n->slots;
  while (all < 4 * most) all *= 2;
  n->slot = calloc(all, sizeof *n->slot);
  n->place = malloc(sizeof *n->place * most);
  return n->slot && n->place;
}

void qp_numbering_free(qp_numbering *n) {
  free(n->slot);
  free(n->place);
}

static inline bool equal_words(const void *a, const void *b, size_t bytes) {
  for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
    uint32_t x, y;
    memcpy(&x, (const unsigned char *)a + i, sizeof x);
    memcpy(&y, (const unsigned char *)b + i, sizeof y);
    if (x != y) return false;
  }
  return true;
}

static inline uint64_t hash_of(const unsigned char *at, size_t bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
    uint32_t word;
    memcpy(&word, at + i, sizeof word);
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
  }
  return hash;
}

/* Use twice as many slots. */
static void double_slots(qp_numbering *n, const unsigned char *base, size_t bytes) {
  n->slots *= 2;
  memset(n->slot, 0, sizeof *n->slot * n->slots);
  for (uint32_t i = 0; i < n->count; i++) {
    size_t at = hash_of(base + n->place[i] * bytes, bytes);
    while (n->slot[at & (n->slots - 1)]) at++;
    n->slot[at & (n->slots - 1)] = i + 1;
  }
}

static inline uint32_t number_of(qp_numbering *n, const void *base, size_t bytes, size_t place) {
  const unsigned char *at = (const unsigned char *)base + place * bytes;
  for (size_t i = hash_of(at, bytes);; i++) {
    uint32_t *slot = &n->slot[i & (n->slots - 1)];
    if (*slot) {
      const unsigned char *other = (const unsigned char *)base + n->place[*slot - 1] * bytes;
      if (equal_words(other, at, bytes)) return *slot - 1;
      continue;
    }
    if (n->count == n->most) return QP_NUMBER_NONE;
    n->place[n->count] = place;
    *slot = ++n->count;
    if (4 * (size_t)n->count > n->slots) double_slots(n, base, bytes);
    return n->count - 1;
  }
}

uint32_t qp_number_of(qp_numbering *n, const void *base, size_t bytes, size_t place) {
  return number_of(n, base, bytes, place);
}

bool qp_number_all(qp_numbering *n, const void *base, size_t bytes, size_t count, uint32_t *id) {
  const bool two = bytes == 2 * sizeof(uint32_t); /* pairs, mostly */
  for (size_t i = 0; i < count; i++) {
    id[i] = two ? number_of(n, base, 2 * sizeof(uint32_t), i) : number_of(n, base, bytes, i);
    if (id[i] == QP_NUMBER_NONE) return false;
  }
  return true;
}
