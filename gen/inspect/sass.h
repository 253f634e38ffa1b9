/* SPDX-License-Identifier: MIT */
/* SASS text, as nvdisasm prints it -> [listing]. */
#ifndef QP_SASS_H
#define QP_SASS_H

#include "gen/inspect/listing.h"

/* Read the section of one kernel into a new listing, which refers to the text; false if the text
   has none. */
bool qp_sass_read(qp_listing *l, const char *text, const char *kernel);

#endif
