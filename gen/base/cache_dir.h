/* SPDX-License-Identifier: MIT */
/* Where results that are costly to find again are kept between runs. */
#ifndef QP_CACHE_DIR_H
#define QP_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>

/*
** The cache directory is $QPAL_CACHE (if that is empty there is none), else $XDG_CACHE_HOME/qpal,
** else ~/.cache/qpal.  Returns false, and "" in 'out', where there is none or its path does not
** fit.  The directory need not exist: whoever writes into it makes it.
*/
bool qp_cache_dir(char *out, size_t size);

/*
** Write an entry of the cache, a file below its directory; 'path' is "" where there is none.  That
** it cannot be written is no error, but it is remembered for qp_cache_lost.
*/
bool qp_cache_keep(const char *path, const void *data, size_t bytes);

/* Remember also what processes cannot keep that this one makes from now on. */
void qp_cache_watch(void);

/* Why the first entry that could not be kept was not, what that costs and how to change it: for the
   end of a command.  False: all were kept, or $QPAL_CACHE is empty, which is a wish for none. */
bool qp_cache_lost(char *out, size_t size);

#endif
