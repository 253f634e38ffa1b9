/* SPDX-License-Identifier: MIT */
/*
** What a plan is made from:  model, menu, sensitivities, distortions, latencies, limits -> problem.
*/
#ifndef QP_PLAN_INPUT_H
#define QP_PLAN_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/model/model.h"
#include "gen/spec/quantizer.h"
#include "tuner/plan/latency.h"
#include "tuner/plan/plan_file.h"

enum { QP_MENU_MAX = 512, QP_PATHS = 7 /* most in a table */, QP_PATH_ANY = 7, QP_PATH_NAME = 16 };

/* A quantizer that the planner may choose. */
typedef struct qp_menu_entry {
  const qp_quantizer *quantizer; /* NULL: fp16 */
  char name[64], spec[320];      /* spec: what qp_palette_find takes */
  double distortion;             /* on N(0,1); NAN: not known */
} qp_menu_entry;

typedef struct qp_menu {
  unsigned count;
  qp_menu_entry entry[QP_MENU_MAX];
} qp_menu;

/* Index of the entry of this name, or -1. */
int qp_menu_find(const qp_menu *m, const char *name);
/* Append; QP_E_LIMIT: full; a name that is there already is skipped. */
qp_status qp_menu_add(qp_menu *m, const qp_quantizer *q, const char *spec, qp_error *err);

typedef struct qp_plan_input {
  const qp_model *model;
  const qp_model *whole; /* with linears that cannot be planned, which files may name; or 'model' */
  const qp_menu *menu;
  /* Linears are numbered block by block, blocks * model->linears of them, then the lm_head. */
  double *alpha;      /* [linears]: sensitivities */
  double *distortion; /* [linears][menu->count]; NAN: that quantizer is not for this linear */
  uint64_t *bytes;    /* [model->linears + 1][menu->count]: stored; UINT64_MAX: cannot be stored */
  bool head;          /* the lm_head is planned; else it stays in 16 bits */
  bool lookup; /* with 'head', of a tied model: it is packed once, as lm_head and embedding */
  const qp_latency_table *table; /* NULL: latencies are not known, and there is no limit on them */
  qp_latency_match accept;       /* rows of a worse match are refused */
  bool fusion, mixed_fusion;
  unsigned paths; /* that may be planned, in order of preference; 0: all that the table has */
  char path[QP_PATHS][QP_PATH_NAME];
  double confidence;      /* 0.5 .. 1: latencies are median + quantile * spread */
  unsigned ranks, slices; /* that share the model, and its experts, of which 'model' is one's part;
                             0: it is whole */
  unsigned batches;
  struct {
    unsigned batch;
    double weight;
  } batch[QP_PLAN_BATCHES];
  int64_t latency_limit_ps;   /* most that a pass may take, with the constant; -1: no limit;
                                 likewise below */
  int64_t memory_limit_bytes; /* most that the whole stored model may take */
  double bits_limit;          /* bits per planned weight */
} qp_plan_input;

/*
** Arrays for a model and a menu: distortions of the menu (of a split by the columns that its parts
** really have in each linear), bytes by gen/spec/layout.h, sensitivities all equal per weight
** (alpha_l = weights_l / all weights of linears), no limits, batch 1, fusion on.
** QP_E_ARG: a shape that kernels cannot do; QP_E_NOMEM.  Free with qp_plan_input_free.
*/
qp_status qp_plan_input_init(qp_plan_input *in, const qp_model *model, const qp_menu *menu,
                             qp_error *err);
void qp_plan_input_free(qp_plan_input *in);

/*
** Linear i is coded with error feedback: 'before' says what share of its loss lies in the first
** 'fraction' of its columns if all have one distortion, and distortions of splits are weighted so.
*/
void qp_plan_input_fed(qp_plan_input *in, unsigned i,
                       double (*before)(const void *arg, double fraction), const void *arg);

/* Count the linears with the lm_head, whose index is the last. */
unsigned qp_plan_linears(const qp_model *m);

/*
** Count the stored bytes of one linear: codes with padding and group fields (gen/spec/layout.h),
** fp16 row scales, codebooks of its own (scope tensor or row), order and scales of columns, as if
** no other linear had them too; without the rotation's signs and the definition's codebooks.  NULL:
** 16 bits a weight.  UINT64_MAX: the quantizer cannot hold this shape.
*/
uint64_t qp_plan_bytes(const qp_quantizer *q, unsigned rows, unsigned columns);

/* Bytes of the definition's codebooks of those of the menu that are in 'used' (NULL: all), each
   distinct quantizer or part of a split once. */
uint64_t qp_plan_codebook_bytes(const qp_menu *m, const bool *used);

/*
** Tell how many bytes signs take: a bit for each column in 32-bit words, for each group of each
** block and for the lm_head.
*/
uint64_t qp_plan_sign_bytes(const qp_model *m, bool head);

#endif
