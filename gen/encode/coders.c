/* SPDX-License-Identifier: MIT */
/* Coders that are kept, the one that was asked for last at the head. */
#include "gen/encode/coders.h"

#include <stdlib.h>

typedef struct kept {
  struct kept *next;
  unsigned beam;
  qp_coder coder;
} kept;

struct qp_coders {
  kept *head;
  unsigned made;
  size_t bytes; /* that are kept at most */
};

qp_coders *qp_coders_new(size_t bytes) {
  qp_coders *c = calloc(1, sizeof *c);
  if (c) c->bytes = bytes;
  return c;
}

static void free_from(kept *k) {
  while (k) {
    kept *next = k->next;
    qp_coder_free(&k->coder);
    free(k);
    k = next;
  }
}

void qp_coders_free(qp_coders *c) {
  if (c) free_from(c->head);
  free(c);
}

static void put_first(qp_coders *c, kept *k) {
  k->next = c->head;
  c->head = k;
}

qp_status qp_coders_get(qp_coders *c, const qp_quantizer *q, unsigned beam, const qp_coder **out,
                        qp_error *err) {
  for (kept **at = &c->head; *at; at = &(*at)->next) {
    kept *k = *at;
    if (k->coder.quantizer != q || k->beam != beam) continue;
    *at = k->next;
    put_first(c, k);
    *out = &k->coder;
    return QP_OK;
  }
  kept *k = calloc(1, sizeof *k);
  if (!k) return qp_fail(err, QP_E_NOMEM, "out of memory");
  const qp_status status = qp_coder_make(&k->coder, q, err);
  if (status) {
    free(k);
    return status;
  }
  k->beam = beam;
  if (beam) qp_trellis_set_width(&k->coder.trellis, beam);
  put_first(c, k);
  c->made++;
  *out = &k->coder;
  return QP_OK;
}

void qp_coders_trim(qp_coders *c) {
  size_t bytes = 0;
  for (kept **at = &c->head; *at; at = &(*at)->next) {
    bytes += qp_coder_bytes(&(*at)->coder);
    if (bytes <= c->bytes) continue;
    free_from(*at);
    *at = NULL;
    return;
  }
}

unsigned qp_coders_made(const qp_coders *c) { return c->made; }
