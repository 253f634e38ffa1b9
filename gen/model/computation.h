/* SPDX-License-Identifier: MIT */
/* What a model computes, in numbers:  lua/architectures.lua (forward) + config.json -->
   [computation]. */
#ifndef QP_COMPUTATION_H
#define QP_COMPUTATION_H

#include <stddef.h>

#include "gen/model/models.h"

typedef enum qp_norm_kind { QP_NORM_RMS, QP_NORM_LAYER } qp_norm_kind;
typedef enum qp_activation {
  QP_ACTIVATION_SILU,
  QP_ACTIVATION_GELU, /* the one with the error function */
  QP_ACTIVATION_GELU_TANH,
  QP_ACTIVATION_RELU
} qp_activation;

/* The norms of a block, by where they stand. */
typedef enum qp_norm_place {
  QP_BEFORE_ATTENTION,
  QP_POST_ATTENTION,
  QP_BEFORE_MLP,
  QP_POST_MLP,
  QP_NORM_Q,
  QP_NORM_K,
  QP_NORM_PLACES
} qp_norm_place;

typedef struct qp_layer_kind {
  unsigned window; /* tokens that a query sees, itself among them; 0: all before it */
  unsigned rotary; /* number of its turns from 1; 0: none */
} qp_layer_kind;

enum { QP_COMPUTATION_NAME = 96, QP_MAX_TURNS = 4 };

/* The head comment of lua/architectures.lua says what each field means. */
typedef struct qp_computation {
  qp_norm_kind norm_kind;
  float eps, norm_offset;
  char norm[QP_NORM_PLACES][QP_COMPUTATION_NAME]; /* Names of norms in a block, without ".weight";
                                                     "": there is none. */
  char final[QP_COMPUTATION_NAME];                /* whole name, without ".weight" */
  float embedding_scale, scale;
  float attention_softcap, softcap; /* 0: none */
  qp_activation activation;
  qp_layer_kind *layer; /* [layers] */
  /* private: */
  qp_lua *lua;
  qp_lua_ref turns;
  unsigned head_dim;
} qp_computation;

/* How heads are turned at a position: see lua/rotary.lua. */
typedef struct qp_turns {
  unsigned pairs;    /* pairs of a head that are turned: at most head_dim / 2 */
  double *frequency; /* [pairs] radians a position */
  double scale;
} qp_turns;

/*
** Read how a model computes from its config.json's text ('file' names it in messages).  'models'
** must outlive the result.  QP_E_ARG: the architecture has no forward pass, or the config says what
** it does not know (the message names field and value); QP_E_NOMEM.
*/
qp_status qp_computation_open(qp_models *models, const qp_model *model, const char *file,
                              const char *config, qp_computation *out, qp_error *err);
void qp_computation_close(qp_computation *c);

/* The turns of sequences of 'length' tokens; '*count' at most QP_MAX_TURNS, freed by
   qp_turns_free. */
qp_status qp_computation_turns(const qp_computation *c, size_t length, qp_turns out[QP_MAX_TURNS],
                               unsigned *count, qp_error *err);
void qp_turns_free(qp_turns *turns, unsigned count);

#endif
