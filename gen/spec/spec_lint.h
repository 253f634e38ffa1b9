/* SPDX-License-Identifier: MIT */
/* Reads from the text of a spec what its values do not tell: conditions on values, and the lines of
   fields. */
#ifndef QP_SPEC_LINT_H
#define QP_SPEC_LINT_H

#include <stdbool.h>
#include <stddef.h>

/*
** To Lua every value of a decode function is true and none equals a number, and no metamethod is
** asked, so a trace cannot notice  if lt(s, 3) then  or  eq(s, 3) == 1  or  s == 3.  This finds
** them, where s is the first parameter or a local variable that is declared with an expression of
** values: '*line' is the line in 'text', from 0, and 'found' the text of the condition, cut to
** 'size'.  False: there is none.  Not found are conditions on items of tables, on what functions
** return and on variables that get their value later.  Thread-safe.
*/
bool qp_spec_find_condition(const char *text, int *line, char *found, size_t size);

/*
** Find the line (from 1) where the first constructor at or behind line 'line' of a file's text
** spells a field out, by its path: "dim", "group.size", "codebooks.a.entries".  Where only a
** beginning of the path is spelled out it is that one's line; 0 means that none is.  Thread-safe.
*/
int qp_spec_find_field(const char *text, int line, const char *path);

#endif
