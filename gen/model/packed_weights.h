/* SPDX-License-Identifier: MIT */
/* Decodes linears that `qpal quantize` packed, on the CPU:  folder (runtime/PACKED.md) --> W =
   diag(r) W^ H diag(s). */
#ifndef QP_PACKED_WEIGHTS_H
#define QP_PACKED_WEIGHTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "gen/base/parallel.h"
#include "gen/spec/quantizer.h"

typedef struct qp_packed_weights qp_packed_weights;

/*
** Open a folder whose config.json has the section 'section', which must outlive the result, as
** 'palette' must.  QP_E_ARG means that format, version or layout is another one, or that the
** palette lacks a quantizer or defines it otherwise (its hash or a codebook differs); errors of
** qp_safetensors_open.
*/
qp_status qp_packed_weights_open(const char *folder, const cJSON *section, qp_palette *palette,
                                 qp_packed_weights **out, qp_error *err);
void qp_packed_weights_close(qp_packed_weights *w); /* NULL is allowed */

/* Does it, or one of its parts, store sparse entries?  Then version 5 is needed. */
static inline bool qp_packed_has_sparse(const qp_quantizer *q) {
  bool any = q->sparse > 0;
  for (unsigned i = 0; i < q->parts; i++) any |= q->part[i].quantizer->sparse > 0;
  return any;
}

/* Find a linear by its name without ".weight", or NULL. */
typedef struct qp_packed_entry qp_packed_entry;
const qp_packed_entry *qp_packed_weights_find(const qp_packed_weights *w, const char *name);
uint64_t qp_packed_entry_rows(const qp_packed_entry *e);
uint64_t qp_packed_entry_columns(const qp_packed_entry *e);

/* Decode rows [first, first + count) to out [count][columns], by the threads of 'p'.  QP_E_ARG
   means that a tensor is missing or of another size; QP_E_NOMEM. */
qp_status qp_packed_weights_read(qp_packed_weights *w, const qp_packed_entry *e, uint64_t first,
                                 uint64_t count, qp_parallel *p, float *out, qp_error *err);

#endif
