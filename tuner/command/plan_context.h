/* SPDX-License-Identifier: MIT */
/* Works out what `qpal plan` is asked:  words, files -> [model, menu, latencies, limits]. */
#ifndef QP_PLAN_CONTEXT_H
#define QP_PLAN_CONTEXT_H

#include <cjson/cJSON.h>

#include "gen/model/models.h"
#include "tuner/base/session.h"
#include "tuner/plan/calibration.h"
#include "tuner/plan/input.h"
#include "tuner/plan/kept.h"
#include "tuner/plan/prior.h"

/* The words of the command; what is not given is NULL, 0 or false. */
typedef struct qp_plan_options {
  const char *model, *gpu, *tps, *latency, *bits, *memory, *sensitivity, *calibration, *hessian,
      *distortion, *sizes;
  const char *quantizers, *paths, *out, *svg, *confidence, *batch, *time_limit, *lm_head,
      *embedding, *accept;
  const char *constant;
  bool no_fusion, no_mixed_fusion, front, diff, json;
  const char *allreduce_us;
  unsigned block_types, tp, ep;
} qp_plan_options;

enum { DISTORTION_FILES = 16 };

/* What a plan is made with; it is opened and closed as one. */
typedef struct qp_plan_context {
  const qp_plan_options *o;
  qp_session session;
  qp_models *models;
  const qp_model *model;  /* the model of whose linears 'planned' has those that can be planned */
  qp_model planned, rank; /* rank: of --tp the part of one rank, which 'model' is then */
  char kept[QP_KEPT_NOTE], head[QP_KEPT_NOTE]; /* what cannot be planned and why, or "" */
  qp_menu *menu;
  qp_latency_table table;
  bool has_table;
  qp_plan_input in;
  cJSON *distortion[DISTORTION_FILES];
  char *distortion_name[DISTORTION_FILES];
  unsigned distortions;
  const qp_quantizer *embedding; /* quantizer of an embedding that is no lm_head; NULL: it stays in
                                    16 bits */
  bool own_is_new; /* the quantizer that --embedding names is in the menu for that alone */
  qp_calibration calibration;
  char prior[QP_PRIOR_NOTE]; /* what the sensitivities are where none are given, or "" */
  char fed[QP_KEPT_NOTE];    /* what is known of error feedback, or "" */
  double time_limit_s;
  qp_error *err;
} qp_plan_context;

/*
** Read all that the words name and set up the planner's input.  Messages name option, file and
** field; '*c' has 'o' and 'err' and is to be closed in any case.
*/
qp_status qp_plan_context_open(qp_plan_context *c);
void qp_plan_context_close(qp_plan_context *c);

#endif
