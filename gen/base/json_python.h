/* SPDX-License-Identifier: MIT */
/*
** NaN, Infinity and -Infinity, which are no JSON but which Python's json module writes and reads: a
** config.json may hold one in a field that nobody here reads.  They become items of type cJSON_Raw,
** that is no number to whoever asks for one, and that are printed as they were read.
*/
#ifndef QP_JSON_PYTHON_H
#define QP_JSON_PYTHON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/* Is there such a word outside strings? */
bool qp_json_python_has(const char *text, size_t bytes);
/* The text with each such word as a string that begins with U+0001, malloc'ed; NULL: no memory. */
char *qp_json_python_quote(const char *text, size_t bytes, size_t *length);
/* Of a tree that was read from such a text: these strings become raw items. */
void qp_json_python_unquote(cJSON *tree);

#endif
