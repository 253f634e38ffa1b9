/* SPDX-License-Identifier: MIT */
/* What a run of qpal quantize does:  checkpoint + plan or quantizer -> [linears, shards]. */
#ifndef QP_JOB_H
#define QP_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/base/rotate.h"
#include "gen/encode/coders.h"
#include "gen/encode/encode.h"
#include "gen/model/checkpoint.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"
#include "tuner/quantize/sides.h"

enum { QP_JOB_NAME = QP_MODEL_NAME + 64 };

/* How ranks share a linear (PACKED.md). */
typedef enum qp_job_split { QP_JOB_WHOLE, QP_JOB_ROWS, QP_JOB_COLUMNS } qp_job_split;

/* A linear to be quantized. */
typedef struct qp_job_linear {
  char name[QP_MODEL_NAME]; /* Its packed tensors have this name (runtime/PACKED.md). */
  char signs[QP_JOB_NAME];  /* The tensor of its input's side; "": x is taken as it is. */
  char group[32]; /* "qkv", "lm_head", or "embedding", which of a tied model is the lm_head, too. */
  char hessian[QP_MODEL_NAME]; /* The name of its Hessian; "" where it has none. */
  bool copy; /* Its tensor stays beside the packed one: a tied model's embedding, of which the
                lm_head is packed. */
  const qp_source_tensor *weight;
  const qp_model_rows *of;       /* Its place in a matrix that was taken apart, or NULL. */
  const qp_quantizer *quantizer; /* Owned by the palette. */
  unsigned rows, columns; /* Rows are padded to what kernels take; the tensor has weight->rows. */
  unsigned rotation;      /* Columns of a diagonal block of H; 0: one block of all columns, 1: the
                             linear is not rotated; with flags of runtime/input_side.h. */
  qp_job_split split;
  unsigned slices; /* Equal slices of rows or columns that ranks can have; slices of columns have
                      streams of their own; 0 counts as 1. */
} qp_job_linear;

/* One file of the output: it has linears and kept tensors [first, first + count) of the job's. */
typedef struct qp_job_shard {
  char file[64]; /* "model-00001-of-00004.safetensors" */
  size_t linear, linears, kept, kepts;
} qp_job_shard;

typedef struct qp_job {
  const qp_checkpoint *checkpoint;
  const char *folder; /* The output goes there. */
  bool rotate;
  bool keeps_codes; /* An import: linears that are packed already are kept, no others are packed. */
  unsigned seed;
  double input_scale;  /* All quantizers get this one; 0: each gets its best. */
  unsigned beam;       /* As in qp_encode_options. */
  const char *hessian; /* A file or folder, or NULL. */
  double damping;      /* As hessian_damping in qp_encode_options. */
  unsigned threads;
  const qp_encode_searcher *searcher; /* The caller sets it to search on a device; else NULL. */
  struct qp_residual *residual;       /* The caller sets it to correct targets (residual.h). */
  qp_coders *coders;                  /* Those of the linears that were encoded so far, or NULL. */
  qp_sides *sides;                    /* Input sides that were made so far (sides.h). */
  size_t linears, kepts, quantizers, shards;
  qp_job_linear *linear;
  const qp_source_tensor **kept;  /* These tensors stay as they are. */
  const qp_quantizer **quantizer; /* All that are in use, splits before their parts, by name. */
  unsigned odds; /* Linears that stay as they are because no kernel takes their shapes, ... */
  char odd[256]; /* ... as this says: "mlp.up_proj (172 x 64), ..." */
  double *scale; /* [quantizers], or NULL before qp_job_scale. */
  qp_job_shard *shard;
  char key[33]; /* A hash of all that decides about the output. */
} qp_job;

/* What the caller wants. */
typedef struct qp_job_wishes {
  const char *folder, *plan, *hessian; /* 'plan' is the file of a plan.json, or NULL. */
  const qp_quantizer *quantizer;       /* All linears get it where there is no plan. */
  bool head;                           /* The lm_head gets it, too (a plan says so itself). */
  /* The embedding gets this one, which of a tied model is the lm_head, too; NULL: it stays, unless
     a plan says otherwise. */
  const qp_quantizer *embedding;
  bool rotate;
  bool keeps_codes; /* As in qp_job, in place of plan and quantizer. */
  unsigned seed, threads;
  unsigned blocks; /* Blocks that are quantized, from the first; 0: all. */
  unsigned ranks;  /* Ranks that may share the output by tensor parallelism; 0: as many as the plan
                      says, or 1. */
  unsigned slices; /* Ranks that may share the experts, each of which stays whole; 0 likewise. */
  uint64_t text;   /* qp_residual_key of what corrects the targets; 0: nothing does. */
  unsigned shard_bytes_mib;
  double input_scale, damping;
  unsigned beam;
  const char *const *keep; /* Linears whose name contains one of these stay as they are. */
  size_t keeps;
} qp_job_wishes;

/*
** Linears of a shape that kernels do not take (rows a multiple of 16, columns of 32) stay
** as they are; embedding and lm_head, whose rows are the vocabulary, get rows of zeros instead.
** QP_E_ARG: a linear of the model is not in the checkpoint or has another shape, the plan is of
** another model, names quantizers that are not those of the palette or gives one to a linear of
** such a shape; QP_E_IO, QP_E_NOMEM.  '*out' is untouched on error; free it with qp_job_free.  The
** checkpoint and the strings in 'w' must outlive it.  For several ranks the checkpoint is taken
** apart (qp_checkpoint_take_apart).
*/
qp_status qp_job_make(qp_checkpoint *c, const qp_job_wishes *w, qp_palette *palette, qp_job *out,
                      qp_error *err);
void qp_job_free(qp_job *j);

/*
** Find the input scale of each quantizer that a linear has, once for all of its linears.  Errors
** are those of qp_encode_input_scale.
*/
qp_status qp_job_scale(qp_job *j, qp_error *err);

/* Count the ranges of columns with streams of their own: this is 1, or the number of slices where
   columns are sliced. */
unsigned qp_job_pieces(const qp_job_linear *l);
/* Is linear i the first that has the tensor of its input's side? */
bool qp_job_side_is_new(const qp_job *j, size_t i);
/* Tell the version of the packed folder, which is the least that says all. */
unsigned qp_job_version(const qp_job *j);

/* Give the input scale of a linear, after qp_job_scale. */
double qp_job_scale_of(const qp_job *j, const qp_job_linear *l);

/*
** Read rows [first, first + count) of a linear's weights as fp32 into out [count][columns]; rows
** behind the tensor's last are 0.  Errors are those of qp_checkpoint_read.
*/
qp_status qp_job_read(const qp_job *j, const qp_job_linear *l, uint64_t first, uint64_t count,
                      float *out, qp_error *err);

/* Weights of the linears that are quantized. */
uint64_t qp_job_weights(const qp_job *j);

/* Make the path of a file in the output folder; false means that it is too long. */
bool qp_job_path(const qp_job *j, const char *file, char out[4096]);

#endif
