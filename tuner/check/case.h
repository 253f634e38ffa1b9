/* SPDX-License-Identifier: MIT */
/* A case of `qpal check`, a list of them, and what is wished of the list. */
#ifndef QP_CASE_H
#define QP_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/kernel/family.h"
#include "gen/kernel/problem.h"
#include "gen/spec/quantizer.h"

typedef struct qp_case {
  qp_problem problem;
  qp_choice choice;
  bool unrotate; /* a dequant, and behind it the inverse rotation of W's rows */
} qp_case;

typedef struct qp_cases {
  qp_case *list; /* malloc'ed */
  size_t count, capacity;
} qp_cases;

typedef enum qp_coverage {
  QP_COVER_FEW,  /* each quantizer in each family once, and two rotations */
  QP_COVER_SOME, /* the same with mixtures, some rotations and tunables; of a whole palette a
                    reference family has but one quantizer of each kind */
  QP_COVER_ALL   /* each quantizer x family x batch 1 to 8 and 16 x fp16 and bf16, and every
                    rotation */
} qp_coverage;

/* Where a quantizer stands alone in a gemm or dequant, beside launches of several. */
typedef enum qp_singles {
  QP_SINGLES_EACH, /* in each family of gemm, and in dequant */
  QP_SINGLES_TURN, /* in one of dequant and the families of gemm that compete, in turn; the first
                      quantizer of each kind in all, unless pairs of kinds are left out */
  QP_SINGLES_NONE  /* in reference families alone */
} qp_singles;

typedef struct qp_case_wishes {
  qp_coverage coverage;
  qp_singles singles;
  const qp_quantizer *const *quantizer; /* the ones to cover */
  size_t quantizers;
  unsigned arch, sm_count;
  /* These filter the cases; a negative number, 0 or NULL lets through everything that the coverage
     holds. */
  uint32_t ops;           /* 1 << qp_op of each */
  int type;               /* qp_dtype of the activations */
  const char *path;       /* path of families that have one */
  const char *family;     /* only this one */
  unsigned batch;         /* only this one */
  unsigned rows, columns; /* only this shape */
  bool no_pairs;          /* no launches of two kinds of quantizers in the steady state */
  bool unrotate;          /* of dequant: W in the checkpoint's basis, by two launches */
} qp_case_wishes;

#endif
