/* SPDX-License-Identifier: MIT */
/* Reads the sizes of a model:  an entry of lua/models, or a config.json -> [numbers by our names].
   */
#ifndef QP_SIZES_H
#define QP_SIZES_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "gen/spec/lua_call.h"
#include "gen/spec/lua_host.h"
#include "runtime/status.h"

typedef enum qp_size_name {
  QP_SIZE_HIDDEN,
  QP_SIZE_INTERMEDIATE,
  QP_SIZE_HEADS,
  QP_SIZE_KV_HEADS,
  QP_SIZE_HEAD_DIM,
  QP_SIZE_LAYERS,
  QP_SIZE_VOCAB,
  QP_SIZE_TIED, /* the first of the flags */
  QP_SIZE_ATTENTION_BIAS,
  QP_SIZE_MLP_BIAS,
  QP_SIZES
} qp_size_name;

enum { QP_SIZE_MOST = 1 << 24 /* Every size but the number of layers is at most this. */ };

/* What is said of a size; 0 (of a flag: false) means that nothing is. */
typedef struct qp_sizes {
  unsigned value[QP_SIZES];
  bool given[QP_SIZES];
} qp_sizes;

/* What a size is called in Lua ("hidden"). */
const char *qp_size_text(qp_size_name name);

/*
** Read what the table at 'at' of 'v' ("" : itself) says; 'where' begins messages.  Fields that are
** missing stay as they are in '*out'.  QP_E_ARG: a value is no size (the message names the field).
*/
qp_status qp_sizes_read_lua(qp_lua *l, qp_lua_ref v, const char *at, const char *where,
                            qp_sizes *out, qp_error *err);

/*
** Read sizes from an object of a config.json in the same way, under the names of Hugging Face, or
** under those of the table 'names' of 'v' (names.hidden = "d_model", or a path into it:
** "attn_config.kv_n_heads").  The number of layers may be the length of a list.
*/
qp_status qp_sizes_read_json(const cJSON *object, qp_lua *l, qp_lua_ref v, const char *names,
                             const char *where, qp_sizes *out, qp_error *err);

/* Take from 'defaults' what is not given. */
void qp_sizes_default(qp_sizes *s, const qp_sizes *defaults);

/*
** kv_heads and head_dim follow from the others where they are not given; all sizes must be there
** then.  'config': messages name the fields of a config.json.
*/
qp_status qp_sizes_complete(qp_sizes *s, const char *where, bool config, qp_error *err);

/* Find the value at a path in a tree, "a.b", or "a.1" for a list's first item.  NULL means that
   there is none. */
const cJSON *qp_sizes_at(const cJSON *tree, const char *path);

#endif
