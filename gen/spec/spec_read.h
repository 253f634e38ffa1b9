/* SPDX-License-Identifier: MIT */
/* Reads one quantizer's Lua table: its typed fields, codebooks and group fields. */
#ifndef QP_SPEC_READ_H
#define QP_SPEC_READ_H

#include "gen/spec/lua_host.h"
#include "gen/spec/quantizer.h"

/* The table that is read, { kind, line, fields }, and where messages about it point. */
typedef struct qp_reader {
  qp_lua *lua;
  const char *file;
  const char *text; /* The file's text, in which the line of a field is found; NULL: the
                       constructor's line is named. */
  int line;         /* The constructor's line; 0: it is not known. */
  const char *name; /* The quantizer's name, NULL before it is known. */
  qp_lua_ref v;
  qp_error *err;
} qp_reader;

/* "file:line: name: message"; QP_E_ARG.  Where the message begins with "field 'PATH'" or "codebook
   'NAME'", the line is that field's own. */
qp_status qp_read_fail(const qp_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The line where the constructor spells a field out ("group.size"); 0: it does not. */
int qp_read_line(const qp_reader *r, const char *field);

/* Say what a value is, for "got ...": "17", "the string 'x'", "a table", "nothing".  The text is
   valid until the next call by the same thread. */
const char *qp_read_describe(const qp_reader *r, const char *path);

/*
** Read fields by their path ("fields.window"); a message names the field as the user wrote it.
** QP_E_ARG is given where a field is missing (a boolean is false then), of another type or out of
** lo..hi; outputs are then untouched.  The Lua state owns a string.
*/
bool qp_read_is_nil(const qp_reader *r, const char *path);
qp_status qp_read_string(const qp_reader *r, const char *path, const char **out);
qp_status qp_read_boolean(const qp_reader *r, const char *path, bool *out);
qp_status qp_read_unsigned(const qp_reader *r, const char *path, unsigned lo, unsigned hi,
                           unsigned *out);

/* Refuse keys of the table at 'path' that are not in 'known' (NULL-ended), and list items unless
   'items'; 'what' is how the message calls the table. */
qp_status qp_read_known(const qp_reader *r, const char *path, const char *what,
                        const char *const *known, bool items);

/* Read fields.codebook or fields.codebooks and compute their data.  q->codebooks counts those that
   the caller frees, also after an error. */
qp_status qp_read_codebooks(const qp_reader *r, qp_quantizer *q);

/* fields.group; sets group 0 where there is none. */
qp_status qp_read_group(const qp_reader *r, qp_quantizer *q);

#endif
