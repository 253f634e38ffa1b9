/* SPDX-License-Identifier: MIT */
/* Keeps coders from linear to linear:  a quantizer --> its coder, which is made once. */
#ifndef QP_CODERS_H
#define QP_CODERS_H

#include <stddef.h>

#include "gen/encode/coder.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

#define QP_CODERS_BYTES ((size_t)1 << 30) /* the usual 'bytes' */

/* A store of coders for later linears, which keeps up to 'bytes' of tables that none needs just
   now.  One thread at a time uses it. qp_coders_open returns NULL where there is no memory. */
typedef struct qp_coders qp_coders;
qp_coders *qp_coders_new(size_t bytes);
void qp_coders_free(qp_coders *c);

/*
** Get the coder of a quantizer that is no split, with a beam of 'beam' survivors (0 stands for the
** usual number).  It is valid until qp_coders_trim.  Errors are those of qp_coder_make.
*/
qp_status qp_coders_get(qp_coders *c, const qp_quantizer *q, unsigned beam, const qp_coder **out,
                        qp_error *err);

/* Forget coders that were not asked for lately, until what is left has no more than 'bytes'. */
void qp_coders_trim(qp_coders *c);

/* Coders that were made so far. */
unsigned qp_coders_made(const qp_coders *c);

#endif
