/* SPDX-License-Identifier: MIT */
/*
** Reads lua/quantizers/definitions.txt:  NAME --> [its hash, the file that defines it].  A line is
** "NAME HASH FILE", FILE as it is named in lua/quantizers.
*/
#ifndef QP_PINNED_H
#define QP_PINNED_H

#include <stdbool.h>
#include <stddef.h>

#define QP_PINNED "lua/quantizers/definitions.txt"

/* Find what a text of such lines says behind a name and its blank, "HASH FILE\n", or NULL. */
const char *qp_pinned_find(const char *text, const char *name);

/* Path of the file that is said to define a quantizer: "lua/quantizers/tcq.lua".  False where no
   line says it, or it does not fit. */
bool qp_pinned_file(const char *name, char *out, size_t size);

#endif
