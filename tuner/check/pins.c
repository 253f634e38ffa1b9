/* SPDX-License-Identifier: MIT */
/* Reads and compares the definitions that packed weights rely on. */
#include "tuner/check/pins.h"

#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/spec/pinned.h"

qp_status qp_pins_check(const qp_quantizer *q, qp_error *err) {
  const char *text;
  size_t bytes;
  if (strncmp(q->file, "lua/quantizers/", 15) != 0) return QP_OK;
  qp_status status = qp_resource_read(QP_PINNED, &text, &bytes, err);
  if (status) return status;
  const char *pin = qp_pinned_find(text, q->name);
  if (pin && !strncmp(pin, q->hash, strlen(q->hash))) return QP_OK;
  return qp_fail(
      err, QP_E_WRONG,
      "%s: %s has the definition %s, and %s says %.32s; weights packed before would decode "
      "to other values. If that is meant: qpal list --pins > %s",
      q->file, q->name, q->hash, QP_PINNED, pin ? pin : "nothing", QP_PINNED);
}

/* A quantizer and where its line begins; behind all lines where it has none. */
typedef struct placed {
  const qp_quantizer *q;
  size_t line, number; /* 'number': its place in the list that is sorted */
} placed;

static int by_line(const void *a, const void *b) {
  const placed *l = a, *r = b;
  if (l->line != r->line) return l->line < r->line ? -1 : 1;
  return l->number < r->number ? -1 : l->number > r->number;
}

qp_status qp_pins_sort(const qp_quantizer **list, size_t count, qp_error *err) {
  const char *text;
  size_t bytes;
  qp_status status = qp_resource_read(QP_PINNED, &text, &bytes, err);
  if (status) return status;
  placed *of = calloc(count ? count : 1, sizeof *of);
  if (!of) return qp_fail(err, QP_E_NOMEM, "no memory to sort %zu quantizers", count);
  for (size_t i = 0; i < count; i++) {
    const char *pin = qp_pinned_find(text, list[i]->name);
    of[i] = (placed){list[i], pin ? (size_t)(pin - text) : SIZE_MAX, i};
  }
  qsort(of, count, sizeof *of, by_line);
  for (size_t i = 0; i < count; i++) list[i] = of[i].q;
  free(of);
  return QP_OK;
}
