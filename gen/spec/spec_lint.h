/* SPDX-License-Identifier: MIT */
/* Conditions on symbolic values, found in the text of a decode function. */
#ifndef QP_SPEC_LINT_H
#define QP_SPEC_LINT_H

#include <stdbool.h>
#include <stddef.h>

/*
** To Lua every value of a decode function is true and none equals a number, and no metamethod is
** asked, so a trace cannot notice  if lt(s, 3) then  or  eq(s, 3) == 1  or  s == 3.  This finds
** them, where s is the first parameter: '*line' is the line in 'text', from 0, and 'found' the
** text of the condition, cut to 'size'.  False: there is none.  A condition on a variable that
** holds a value is not found.  Thread-safe.
*/
bool qp_spec_find_condition(const char *text, int *line, char *found, size_t size);

#endif
