/* SPDX-License-Identifier: MIT */
/* Chooses which candidate of a problem to try next:  family's values and constraints -> [choices].
   */
#ifndef QP_SEARCH_H
#define QP_SEARCH_H

#include "gen/compile/compile.h"
#include "gen/inspect/instruction_mix.h"
#include "gen/kernel/family.h"
#include "gen/kernel/kernel.h"

typedef enum qp_strategy {
  QP_SEARCH_AUTO,       /* exhaustive where the space has at most QP_SEARCH_SMALL points */
  QP_SEARCH_EXHAUSTIVE, /* Every valid choice comes, in the order of the family's file. */
  QP_SEARCH_LOCAL       /* from the seeds, one tunable changed at a time; restarts at random */
} qp_strategy;
enum { QP_SEARCH_SMALL = 96 };
qp_status qp_strategy_parse(const char *text, qp_strategy *out, qp_error *err);

typedef struct qp_search qp_search;

typedef struct qp_search_options {
  qp_strategy strategy;
  uint64_t seed;
  unsigned most;         /* most candidates that are proposed; 0: no limit */
  const qp_choice *from; /* These choices are tried first, the best of them first; they are
                            copied. */
  unsigned froms;        /* the defaults are tried after them */
  const char *fixed;     /* a tunable that stays at its default; NULL: none */
} qp_search_options;

/* Search a problem's candidates in one family.  'families' and 'problem' must outlive it.
   QP_E_NOMEM. */
qp_status qp_search_open(qp_families *families, const qp_family *family, const qp_problem *problem,
                         const qp_search_options *opt, qp_search **out, qp_error *err);
void qp_search_close(qp_search *s);

/*
** Up to 'most' choices that were not proposed before and that the family's constraint allows; 0:
** the search is at its end (or waits for the results of what it proposed).  What comes depends on
** the seed and on the results alone.
*/
unsigned qp_search_propose(qp_search *s, qp_choice *out, unsigned most);

/* Try these choices before all else, as far as they are new: what has become the best of like
   problems since the search began.  They are at most QP_SEARCH_SEEDS. */
enum { QP_SEARCH_SEEDS = 8 };
void qp_search_seed(qp_search *s, const qp_choice *choices, unsigned count);

/* Tell the search a result in picoseconds; 0 stands for a candidate that failed. */
void qp_search_tell(qp_search *s, const qp_choice *choice, int64_t ps);

/* Count the choices proposed so far. */
unsigned qp_search_count(const qp_search *s);

/*
** A lower estimate of a candidate's duration, for ordering candidates before they are measured:
** the larger of its bytes over bandwidth and its decode instructions over the multiprocessors'
** issue rate (4 warp instructions a cycle at 1.7 GHz), from the main loop's mix: a loop that loads
** n words of 16 bytes a lane decodes n * 128 / rate weights a lane.  Picoseconds.
*/
int64_t qp_search_roofline(const qp_kernel *k, const qp_instruction_mix *mix, double read_gbs);

/* Bytes of packed weights (and group fields) that one launch reads. */
double qp_kernel_weight_bytes(const qp_kernel *k);

#endif
