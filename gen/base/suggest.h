/* SPDX-License-Identifier: MIT */
/* "did you mean ...?":  the name nearest to one that is not known. */
#ifndef QP_SUGGEST_H
#define QP_SUGGEST_H

#include <stddef.h>

/*
** Of 'count' names the one that differs from 'word' by the fewest insertions, deletions and changes
** of a letter (the first of several), or NULL where that is more than one and more than a third
** of the word's length plus one.  NULL names are skipped.  Thread-safe.
*/
const char *qp_suggest(const char *word, const char *const *names, size_t count);

#endif
