/* SPDX-License-Identifier: MIT */
/* Random group fields that make sense, for streams whose kernels are checked. */
#ifndef QP_RANDOM_FIELDS_H
#define QP_RANDOM_FIELDS_H

#include <stdint.h>

#include "gen/base/random.h"
#include "gen/spec/layout.h"

/* Fill a stream's arrays, [field_bytes[a]] of zeros, with numbers from the fields' ranges; one that
   is the linear's is the same in each row group; and sparse entries. */
void qp_random_fields(qp_random *random, const qp_stream *s, uint8_t *const array[QP_MAX_ARRAYS]);

#endif
