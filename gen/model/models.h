/* SPDX-License-Identifier: MIT */
/* Finds models:  lua/models/x.lua or a config.json, with lua/architectures.lua -> [linears]. */
#ifndef QP_MODELS_H
#define QP_MODELS_H

#include <stddef.h>

#include "gen/model/model.h"
#include "gen/spec/lua_host.h"
#include "runtime/status.h"

typedef struct qp_models qp_models;

/* What a model is called by the path of its config.json: its folder. */
void qp_models_name_after(const char *file, char *out, size_t size);

/*
** Load lua/architectures.lua and the files of lua/architectures; those of lua/models where a model
** is first asked for by its name, if all are what the binary carries, else at once.  Errors name
** file, field and value.
*/
qp_status qp_models_open(qp_models **out, qp_error *err);
/* Load those of lua/models if they are not yet; the same errors. */
qp_status qp_models_load(qp_models *m, qp_error *err);
void qp_models_close(qp_models *m);
/* What lua/architectures.lua returned, a list, and the state that holds it. */
qp_lua *qp_models_lua(qp_models *m);
qp_lua_ref qp_models_architectures(const qp_models *m);

/* Models of lua/models, which are loaded. */
size_t qp_models_count(const qp_models *m);
const qp_model *qp_models_get(const qp_models *m, size_t i);
/* Get what lua/architectures.lua says of a model_type under a name ("forward"); it is nil where
   nothing is said.  The caller releases '*out'.  QP_E_ARG means that the type is not known. */
qp_status qp_models_entry(qp_models *m, const char *type, const char *name, qp_lua_ref *out,
                          qp_error *err);

/*
** By name, or by path of a Hugging Face config.json (contains '/', begins with '.' or ends in
** ".json"; a folder's path means the config.json in it); the model is then named after the folder.
** A checkpoint's path is found by qp_checkpoint_find_model (checkpoint.h).
** '*out' belongs to 'm'.
** QP_E_ARG: there is none of this name (with the nearest), or the config.json is wrong or of a
** model_type that lua/architectures.lua does not describe; QP_E_IO: it cannot be read; QP_E_LIMIT.
*/
qp_status qp_models_find(qp_models *m, const char *name, const qp_model **out, qp_error *err);

/* Let 'm' own a copy of a model.  QP_E_LIMIT: there are too many. */
qp_status qp_models_add(qp_models *m, const qp_model *model, const qp_model **out, qp_error *err);

/*
** Do the same with a text in memory, which 'file' names in messages and (by its folder) the model.
** '*out' is copied to; it stays valid without 'm'.
*/
qp_status qp_models_parse(qp_models *m, const char *file, const char *text, size_t bytes,
                          qp_model *out, qp_error *err);

/* Is a config.json of a model_type that no entry says anything of?  Its model_type is copied,
   "unnamed" where there is none. */
bool qp_models_unknown(qp_models *m, const char *file, const char *text, char *type, size_t size);

#endif
