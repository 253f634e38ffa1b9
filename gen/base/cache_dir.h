/* SPDX-License-Identifier: MIT */
/* Where results that are costly to find again are kept between runs. */
#ifndef QP_CACHE_DIR_H
#define QP_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>

/*
** The cache directory: $QPAL_CACHE (empty: none), else $XDG_CACHE_HOME/qpal, else ~/.cache/qpal.
** False, and "" in 'out', where there is none or its path does not fit.  It need not exist: who
** writes into it makes it.
*/
bool qp_cache_dir(char *out, size_t size);

#endif
