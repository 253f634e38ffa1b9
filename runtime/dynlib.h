/* SPDX-License-Identifier: MIT */
/* Shared libraries opened at run time, from the usual names and places. */
#ifndef QP_DYNLIB_H
#define QP_DYNLIB_H

#include "status.h"

/*
** Open the first of 'names' (ends with NULL) that can be; if the environment variable 'override' is
** set, its value alone is tried.  '*handle' is dlopen's, kept until exit.  QP_E_MISSING: the
** message says what was tried, the loader's reasons, and 'advice', how to get the library.
*/
qp_status qp_dynlib_open(const char *what, const char *override, const char *const *names,
                         const char *advice, void **handle, qp_error *err);

/* The address of a symbol in '*function' (a pointer to a function pointer); QP_E_MISSING names it.
 */
qp_status qp_dynlib_symbol(void *handle, const char *what, const char *symbol, void *function,
                           qp_error *err);

#endif
