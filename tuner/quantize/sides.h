/* SPDX-License-Identifier: MIT */
/* Input sides of a job that are made already:  name of a tensor -> its bytes. */
#ifndef QP_SIDES_H
#define QP_SIDES_H

#include "runtime/status.h"

typedef struct qp_sides qp_sides;

/* None yet; NULL: no memory.  NULL may be freed. */
qp_sides *qp_sides_new(void);
void qp_sides_free(qp_sides *s);

/* The bytes kept under 'name', which stay the store's; NULL: there are none. */
const void *qp_sides_find(const qp_sides *s, const char *name);
/* Keep 'data', malloc'ed, which the store takes over, also on error.  QP_E_NOMEM. */
qp_status qp_sides_keep(qp_sides *s, const char *name, void *data, qp_error *err);

#endif
