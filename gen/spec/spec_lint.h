/* SPDX-License-Identifier: MIT */
/* Reads from the text of a spec what its values do not tell: the lines of fields. */
#ifndef QP_SPEC_LINT_H
#define QP_SPEC_LINT_H

/*
** Find the line (from 1) where the first constructor at or behind line 'line' of a file's text
** spells a field out, by its path: "dim", "group.size", "codebooks.a.entries".  Where only a
** beginning of the path is spelled out it is that one's line; 0 means that none is.  Thread-safe.
*/
int qp_spec_find_field(const char *text, int line, const char *path);

/* Find the line where the string 'word' stands, at or behind line 'line'; 0: nowhere. */
int qp_spec_find_string(const char *text, int line, const char *word);

#endif
