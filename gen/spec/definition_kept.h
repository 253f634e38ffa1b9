/* SPDX-License-Identifier: MIT */
/* Hashes of definitions that were checked before, in the cache directory. */
#ifndef QP_DEFINITION_KEPT_H
#define QP_DEFINITION_KEPT_H

#include "gen/spec/quantizer.h"

/*
** A check and a hash look at every state, which for long windows takes longer than many a command
** does. What they found is kept in DIR/definition/<XXH3-128 of all that they depend on>, as one
** line that has the definition's hash and a checksum.  A definition that failed its check is never
** kept.
*/

/*
** What was found for the palette comes with qpal, in this resource: sorted lines of the key and the
** content of such a file, which tests/spec/ship writes.
*/
#define QP_SHIPPED_DEFINITIONS "lua/shipped/definitions.txt"

/* Is the quantizer known to be right?  Then its hash is in q->hash. */
bool qp_definition_is_kept(qp_quantizer *q);

/* Keep q->hash of a quantizer that passed qp_quantizer_check; what cannot be written is found
   again. */
void qp_definition_keep(const qp_quantizer *q);

#endif
