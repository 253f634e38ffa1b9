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

/* Version 3 has rotations in blocks, or slices for ranks, 4 orders and scales of columns
   (qp_job_version). */
enum {
  QP_PACKED_PLAIN = 2,
  QP_PACKED_CUT = 3,
  QP_PACKED_VERSION = 4,
  QP_JOB_NAME = QP_MODEL_NAME + 64
};

/* How ranks share a linear (PACKED.md). */
typedef enum qp_job_split { QP_JOB_WHOLE, QP_JOB_ROWS, QP_JOB_COLUMNS } qp_job_split;

/* A linear to be quantized. */
typedef struct qp_job_linear {
  char name[QP_MODEL_NAME]; /* of its packed tensors; see runtime/PACKED.md */
  char signs[QP_JOB_NAME];  /* tensor of its input's side; "": x is taken as it is */
  char group[32];           /* "qkv"; "lm_head"; "embedding", of a tied model the lm_head as well */
  char hessian[QP_MODEL_NAME]; /* name of its Hessian; "" : it has none */
  bool copy; /* its tensor stays: of a tied model the embedding, beside a packed lm_head */
  const qp_source_tensor *weight;
  const qp_quantizer *quantizer; /* owned by the palette */
  unsigned rows, columns; /* rows padded to what kernels take; weight->rows are the tensor's */
  unsigned rotation; /* columns of a diagonal block of H, 0: all, 1: it is not rotated, and flags
                        of runtime/input_side.h */
  qp_job_split split;
  unsigned slices; /* equal slices of rows or columns that ranks can have; of columns each has
                      streams of its own; 0: 1 */
} qp_job_linear;

/* One file of the output: linears and kept tensors [first, first + count) of the job's. */
typedef struct qp_job_shard {
  char file[64]; /* "model-00001-of-00004.safetensors" */
  size_t linear, linears, kept, kepts;
} qp_job_shard;

typedef struct qp_job {
  const qp_checkpoint *checkpoint;
  const char *folder; /* of the output */
  bool rotate;
  bool keeps_codes; /* import: linears that are packed already are kept, no others are packed */
  unsigned seed;
  double input_scale;  /* of all quantizers, or 0: the best of each */
  unsigned beam;       /* as in qp_encode_options */
  const char *hessian; /* file or folder, or NULL */
  double damping;      /* as hessian_damping in qp_encode_options */
  unsigned threads;
  const qp_encode_searcher *searcher; /* set by the caller: a device, or NULL */
  struct qp_residual *residual;       /* set by the caller (residual.h), or NULL */
  qp_coders *coders;                  /* of the linears encoded so far, or NULL */
  qp_sides *sides;                    /* input sides made so far (side.h) */
  size_t linears, kepts, quantizers, shards;
  qp_job_linear *linear;
  const qp_source_tensor **kept;  /* tensors that stay as they are */
  const qp_quantizer **quantizer; /* those in use, splits before their parts, sorted by name */
  unsigned odds; /* linears that stay as they are because no kernel takes their shapes ... */
  char odd[256]; /* ... "mlp.up_proj (172 x 64), ..." */
  double *scale; /* [quantizers], or NULL before qp_job_scale */
  qp_job_shard *shard;
  char key[33]; /* hash of all that decides about the output */
} qp_job;

/* What the caller wants. */
typedef struct qp_job_wishes {
  const char *folder, *plan, *hessian; /* plan: file of a plan.json, or NULL */
  const qp_quantizer *quantizer;       /* of all linears, where there is no plan */
  bool head;                           /* the lm_head too (a plan says so itself) */
  const qp_quantizer *embedding;       /* of the embedding, of a tied model the lm_head's too; or
                                          NULL: it stays, unless a plan says otherwise */
  bool rotate;
  bool keeps_codes; /* in place of plan and quantizer: see qp_job */
  unsigned seed, threads;
  unsigned blocks; /* only the first so many; 0: all */
  unsigned ranks;  /* tensor parallelism: most ranks that may open it; 0: as the plan says, or 1 */
  unsigned slices; /* of the number of experts, which stay whole; 0: the same */
  uint64_t text;   /* qp_residual_key of what targets are corrected by; 0: they are not */
  unsigned shard_bytes_mib;
  double input_scale, damping;
  unsigned beam;
  const char *const *keep; /* linears whose name contains one of these stay as they are */
  size_t keeps;
} qp_job_wishes;

/*
** Linears of a shape that kernels do not take (rows a multiple of 16, columns of 32) stay
** as they are; embedding and lm_head, whose rows are the vocabulary, get rows of zeros instead.
** QP_E_ARG: a linear of the model is not in the checkpoint or has another shape, the plan is of
** another model, names quantizers that are not those of the palette or gives one to a linear of
** such a shape; QP_E_IO, QP_E_NOMEM.  '*out' is untouched on error; free it with qp_job_free.  The
** checkpoint and the strings in 'w' must outlive it.
*/
qp_status qp_job_make(const qp_checkpoint *c, const qp_job_wishes *w, qp_palette *palette,
                      qp_job *out, qp_error *err);
void qp_job_free(qp_job *j);

/*
** Find the input scale of each quantizer that a linear has (qp_encode_input_scale), once for all of
** them.  Errors of that.
*/
qp_status qp_job_scale(qp_job *j, qp_error *err);

/* Ranges of columns with streams of their own: 1, or the slices of columns. */
unsigned qp_job_pieces(const qp_job_linear *l);
/* Is linear i the first that has the tensor of its input's side? */
bool qp_job_side_is_new(const qp_job *j, size_t i);
/* Version of the packed folder: the least that says all. */
unsigned qp_job_version(const qp_job *j);

/* The input scale of a linear, after qp_job_scale. */
double qp_job_scale_of(const qp_job *j, const qp_job_linear *l);

/*
** Rows [first, first + count) of a linear's weights as fp32: out [count][columns]; rows behind the
** tensor's last are 0.  Errors of qp_checkpoint_read.
*/
qp_status qp_job_read(const qp_job *j, const qp_job_linear *l, uint64_t first, uint64_t count,
                      float *out, qp_error *err);

/* Weights of the linears that are quantized. */
uint64_t qp_job_weights(const qp_job *j);

/* Path of a file in the output folder; false: too long. */
bool qp_job_path(const qp_job *j, const char *file, char out[4096]);

#endif
