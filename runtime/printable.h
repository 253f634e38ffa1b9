/* SPDX-License-Identifier: MIT */
/* Text of others, as it may be printed. */
#ifndef QP_PRINTABLE_H
#define QP_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>

/*
** Control characters, which terminals obey, and what is no UTF-8 become "\xNN" in text[size],
** characters without width, ends of lines, turns of direction "\uNNNN"; cut where that gets too
** long.  'lines': newlines and tabs stay, as in messages; not in a name or a cell of a table, which
** are one line.
*/
void qp_printable(char *text, size_t size, bool lines);

#endif
