/* SPDX-License-Identifier: MIT */
/* Reads one Lua file of quantizers:  text --lua_host--> [checked quantizers]. */
#ifndef QP_SPEC_H
#define QP_SPEC_H

#include "gen/spec/quantizer.h"

#define QP_PRELUDE "lua/prelude.lua" /* runs before a file */

/* A quantizer of a file.  The parts of a split are names until the palette knows all quantizers. */
typedef struct qp_spec {
  qp_quantizer quantizer;
  int line;    /* line of its constructor; 0: not known */
  char *fault; /* why it is refused; NULL: it is right.  Then its name is all that holds */
  char part_name[QP_MAX_PARTS][sizeof((qp_quantizer *)0)->name]; /* split only */
  int part_line[QP_MAX_PARTS]; /* where each is named; else the line of the constructor */
} qp_spec;

/*
** Run 'text' (named 'file' in messages) and check every quantizer that it returns, in order.
** '*out' is an array of '*count' (>= 1) pointers; each and the array are malloc'ed: the caller
** hands each to qp_spec_free and frees the array.  Hashes are set except for splits.  One that is
** wrong has a 'fault', and the others stand.
** QP_E_ARG: the file itself is wrong, one without a name is, or all are, with file, line, field and
** value; QP_E_LIMIT: the file runs too long or needs too much memory; QP_E_NOMEM.  Outputs are
** untouched on error.
*/
qp_status qp_spec_load(const char *file, const char *text, size_t bytes, qp_spec ***out,
                       size_t *count, qp_error *err);
void qp_spec_free(qp_spec *s);

/* Set rate and stored rate of a split whose parts are resolved. */
void qp_spec_finish_split(qp_quantizer *q);

#endif
