/* SPDX-License-Identifier: MIT */
/* Reads families of models:  an entry of lua/architectures.lua + sizes, config -> [linears,
   groups]. */
#ifndef QP_ARCHITECTURE_H
#define QP_ARCHITECTURE_H

#include <cjson/cJSON.h>

#include "gen/model/model.h"
#include "gen/model/sizes.h"
#include "runtime/status.h"

/*
** Run lua/architectures.lua and the files of lua/architectures, which add entries; '*list' is all
** of them and belongs to the caller.  Errors name file and line.
*/
qp_status qp_architectures_load(qp_lua *l, qp_lua_ref *list, qp_error *err);

/* Number of the entry that describes model_type 'type', from 1; 0: there is none. */
size_t qp_architecture_find(qp_lua *l, qp_lua_ref list, const char *type);
/* Write a field of an entry as text to out[size]; false means that there is none, or that it does
   not fit. */
bool qp_architecture_text(qp_lua *l, qp_lua_ref list, size_t entry, const char *field, char *out,
                          size_t size);
bool qp_architecture_has(qp_lua *l, qp_lua_ref list, size_t entry, const char *field);
/* QP_E_ARG that says which types are known, or why one that is known is refused. */
qp_status qp_architecture_unknown(qp_lua *l, qp_lua_ref list, const char *where, const char *field,
                                  const char *type, qp_error *err);

/* What is to be described. */
typedef struct qp_architecture_case {
  size_t family;       /* entry that says what blocks are ... */
  size_t shell;        /* ... and that says what stands around them; mostly the same */
  qp_sizes sizes;      /* as given */
  const cJSON *config; /* config of the decoder; NULL: only sizes are given */
  const cJSON *root;   /* The whole config.json; NULL: there is none. */
  const char *where;   /* begins messages */
} qp_architecture_case;

/*
** Fill in 'out', whose name and type are set.  QP_E_ARG: sizes are missing (the message names the
** field), or the entry is wrong.
*/
qp_status qp_architecture_describe(qp_lua *l, qp_lua_ref list, const qp_architecture_case *given,
                                   qp_model *out, qp_error *err);

#endif
