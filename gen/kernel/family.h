/* SPDX-License-Identifier: MIT */
/* Kernel families:  lua/families/x.lua -> tunables, their values, constraints, template. */
#ifndef QP_FAMILY_H
#define QP_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "gen/kernel/problem.h"
#include "runtime/status.h"

enum { QP_MAX_TUNABLES = 20, QP_MAX_TUNABLE_VALUES = 16 };

typedef struct qp_tunable {
  char name[24]; /* "warps" */
  char tag[8];   /* its short form in kernel names: "w" */
  char help[160];
  unsigned values;
  unsigned value[QP_MAX_TUNABLE_VALUES]; /* the first is the default */
} qp_tunable;

typedef struct qp_family {
  char name[32]; /* "gemm_tensor" */
  char file[64]; /* "lua/families/gemm_tensor.lua" */
  char path[16]; /* "tensor", "cuda"; "" where the operation has one path */
  char template_file[64];
  char help[160];
  qp_op op;
  unsigned tunables;
  qp_tunable tunable[QP_MAX_TUNABLES];
  int constraint; /* the Lua function (private) */
} qp_family;

/* A family and one value for each tunable: with a problem, a candidate. */
typedef struct qp_choice {
  const qp_family *family;
  unsigned value[QP_MAX_TUNABLES];
} qp_choice;

typedef struct qp_families qp_families;

/* Load every file of lua/families. */
qp_status qp_families_open(qp_families **out, qp_error *err);
void qp_families_close(qp_families *f);
size_t qp_families_count(const qp_families *f);
const qp_family *qp_families_get(const qp_families *f, size_t i);
const qp_family *qp_families_find(const qp_families *f, const char *name);
/* The first family of an operation with this path ("" or NULL: any). */
const qp_family *qp_families_for(const qp_families *f, qp_op op, const char *path);

/* The defaults; value 0 of some tunables means that the generator chooses. */
void qp_choice_default(const qp_family *family, qp_choice *out);
/* "warps=24": QP_E_ARG names the tunable's values. */
qp_status qp_choice_set(qp_choice *c, const char *assignment, qp_error *err);
unsigned qp_choice_get(const qp_choice *c, const char *tunable);
/* What the generator chose for a tunable that was left to it. */
void qp_choice_put(qp_choice *c, const char *tunable, unsigned value);
/* The family's own constraint on this problem: QP_E_LIMIT with the reason where it says no. */
qp_status qp_choice_check(qp_families *f, const qp_choice *c, const qp_problem *p, qp_error *err);

#endif
