/* SPDX-License-Identifier: MIT */
/* Lists the problems that the tuning of a model, or of a shape, consists of. */
#ifndef QP_PROBLEMS_H
#define QP_PROBLEMS_H

#include "gen/kernel/family.h"
#include "gen/kernel/problem.h"
#include "gen/model/model.h"
#include "tuner/base/options.h"
#include "tuner/plan/plan_file.h"

/* A launch by one family.  Families of one path compete for its row of the table.  'label' names
   its linears ("qkv 6144x4096"), or what else it is ("rotate 4096"). */
typedef struct qp_tune_problem {
  qp_problem problem;
  const qp_family *family;
  char path[16]; /* the family's */
  char label[64];
  unsigned launches; /* launches of it for one token of the model or plan; 1 for a shape of its
                        own */
} qp_tune_problem;

typedef struct qp_tune_problems {
  qp_tune_problem *list; /* malloc'ed */
  size_t count, capacity;
} qp_tune_problems;

/* One launch of a model: it computes linears of one group, or the lm_head. */
typedef struct qp_model_launch {
  char label[64];
  unsigned linears, rows[QP_MODEL_GROUP_LINEARS], columns;
  bool fused;              /* more than one linear */
  unsigned experts, top_k; /* of stacks, whose shapes are those of one expert; else 0 */
  unsigned slices;         /* of stacks that are one of so many slices of all experts; else 0 */
  unsigned widest; /* of stacks: the largest K of those that one routing serves, its tiles' */
  unsigned copies; /* linears of all blocks of the model that it may stand for */
} qp_model_launch;

enum { QP_MODEL_LAUNCHES = 256 };

/*
** List the launches that a plan may use: each linear or stack of experts, each subset of those that
** read the same input, and the lm_head; equal shapes in equal order stand once.  There are at most
** QP_MODEL_LAUNCHES; returns their number.
*/
unsigned qp_model_launches(const qp_model *m, qp_model_launch out[QP_MODEL_LAUNCHES]);

/* Make '*p' the problem of a launch: operation, shapes, by one quantizer, and of stacks how their
   tiles are; batch, types and device are those it has. */
void qp_model_launch_pose(const qp_model_launch *l, const qp_quantizer *q, qp_problem *p);

/* Fill 'p' with the gemm of a group of a model by one quantizer, or with the experts of its stacks,
   at the batch that the caller has put in it, as type and GPU.  False, with 'p' untouched, means
   that the group is not up and gate of equal rows. */
bool qp_model_pair_pose(const qp_model *m, unsigned group, const qp_quantizer *q, qp_problem *p);
/* Say which op such a gemm, or experts, has with the gated linear unit behind it. */
qp_op qp_model_pair_op(const qp_problem *gemm);

typedef struct qp_problems_wishes {
  const qp_quantizer *const *quantizer;
  size_t quantizers;
  const unsigned *batch;
  size_t batches;
  const qp_families *all;
  const qp_family *const *family; /* families that are tuned */
  size_t families;
  qp_dtype type;
  unsigned arch, sm_count;
} qp_problems_wishes;

/*
** Add, for the operations gemm and experts in 'ops' (bits 1 << QP_OP_*), every launch x quantizer
** (one for all segments) x batch x family, in this order from the outside:
** batch, quantizer, launch, family; so that where time ends, whole quantizers are known.  Launches
** whose shapes kernels cannot have (rows no multiple of 16) are left out and counted in '*skipped',
** once a batch.  A problem that is there already is counted ('launches'), not added again.
** QP_E_NOMEM.
*/
qp_status qp_problems_add(qp_tune_problems *list, const qp_model_launch *launch, size_t launches,
                          const qp_problems_wishes *w, unsigned ops, size_t *skipped,
                          qp_error *err);
/*
** Add what a model launches beside its gemms and stacks; 'ops' has the bits 1 << QP_OP_*.  With
** rotate: the rotation of each input of linears, at every batch (of a group one, for all that read
** it), alone and with the norm or gated linear unit that makes the input.  With dequant: the
** weights of each linear to 16 bits, for every quantizer.  With gather: one row of the embedding,
** for every quantizer.  With experts: what routes to stacks, and the sum over a token's experts, at
** every batch.  By every family that does them, in front of the problems that are there.
** QP_E_NOMEM.
*/
qp_status qp_problems_add_model(qp_tune_problems *list, const qp_model *m,
                                const qp_families *families, const qp_problems_wishes *w,
                                unsigned ops, qp_error *err);

/* An input that a model rotates once a pass: its K, how many there are, and how many of each
   producer; the rows of it for each token: top_k of what the last linears of experts read, else
   1. */
typedef struct qp_model_rotation {
  unsigned columns, rows, launches, by[QP_PRODUCERS];
} qp_model_rotation;

/* List the inputs of all groups of a model and of its lm_head, those of equal K once; returns their
   number. */
enum { QP_MODEL_ROTATIONS = QP_MODEL_GROUPS + 1 };
unsigned qp_model_rotations(const qp_model *m, qp_model_rotation out[QP_MODEL_ROTATIONS]);
/* The stacks of a model to which one routing goes, and in how many blocks. */
typedef struct qp_model_routing {
  unsigned experts, top_k, slices, blocks;
  unsigned widest;  /* K, as in qp_model_launch */
  unsigned columns; /* columns of the sum over a token's experts */
} qp_model_routing;
enum { QP_MODEL_ROUTINGS = 8 };
/* Returns their number. */
unsigned qp_model_routings(const qp_model *m, qp_model_routing out[QP_MODEL_ROUTINGS]);
/* Make '*p' the problem of route, or of combine; batch and device are those it has. */
void qp_model_routing_pose(const qp_model_routing *r, qp_op op, qp_problem *p);

/* The rotation that has in its launch what makes the input, or alone where nothing can be. */
qp_op qp_op_of_producer(qp_model_producer producer);

/* QP_E_ARG: a launch's path is no family's (names the launch and the paths there are). */
qp_status qp_problems_check_plan(const qp_plan *plan, const qp_families *families, qp_error *err);

/*
** The launches of a plan as they are, mixed quantizers included, each at every batch of 'w'
** (whose quantizers and families do not count) by the families of the launch's path, or of the
** default family's where that is "any".  Launches in 16 bits are left out.  'quantizer' are those
** of the plan, by qp_plan_resolve.  QP_E_NOMEM; QP_E_ARG: a launch cannot be (names the field).
*/
qp_status qp_problems_add_plan(qp_tune_problems *list, const qp_plan *plan,
                               const qp_quantizer *const *quantizer, const qp_problems_wishes *w,
                               qp_error *err);
void qp_problems_free(qp_tune_problems *list);

/* Do two problems compute the same, if by different families? */
bool qp_problems_alike(const qp_tune_problem *a, const qp_tune_problem *b);

/* Read "1,8" as numbers from 1 to 64.  QP_E_ARG. */
enum { QP_MAX_BATCHES = 16 };
qp_status qp_batches_parse(const char *text, unsigned out[QP_MAX_BATCHES], size_t *count,
                           qp_error *err);

/*
** Keep shard i of n ("2/4", from 1): the problems whose number leaves the rest i - 1 when divided
** by n.  The n shards are disjoint and together they are everything.  QP_E_ARG.
*/
qp_status qp_problems_shard(qp_tune_problems *list, const char *shard, qp_error *err);

#endif
