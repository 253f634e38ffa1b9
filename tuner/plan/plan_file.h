/* SPDX-License-Identifier: MIT */
/* plan.json is what `qpal plan` writes and quantize, export and diff read; PLAN.md has its schema.
   */
#ifndef QP_PLAN_FILE_H
#define QP_PLAN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/model/model.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"

enum {
  QP_PLAN_VERSION = 1,
  QP_PLAN_MEMBERS = 8, /* linears of one launch */
  QP_PLAN_BATCHES = 8,
  QP_PLAN_NO_BLOCK = -1 /* block of the lm_head */
};
/* The quantizer of linears that stay as they are, in 16 bits: it has no definition and no hash. */
#define QP_PLAN_FP16 "fp16"

/* A quantizer that linears of the plan use. */
typedef struct qp_plan_quantizer {
  char name[64];
  char hash[33];           /* hash of the definition; "" for fp16 */
  char spec[320];          /* a palette name, or "path.lua:name"; see plan_spec.h */
  double rate_bits;        /* Stored bits of a weight, without padding and row scales. */
  uint64_t codebook_bytes; /* stored once a model, however many linears use it */
} qp_plan_quantizer;

typedef struct qp_plan_linear {
  char tensor[QP_MODEL_NAME]; /* Its name in the checkpoint without ".weight" (qp_model_tensor). */
  char role[16];
  int block;   /* 0 to blocks - 1, or QP_PLAN_NO_BLOCK. */
  bool lookup; /* It is the embedding: its role is "embedding", or "lm_head" where it is both. */
  unsigned rows, columns; /* out_features M and in_features K. */
  unsigned experts;       /* Experts of a stack, for whose numbers 'tensor' has a '*'; 0 for a
                             single matrix. */
  unsigned active;        /* Those of them that a token goes to; 0 for one matrix, or in an older
                             plan. */
  unsigned quantizer;     /* Index into qp_plan.quantizer. */
  double sensitivity;     /* alpha */
  double distortion;      /* D, relative to the variance of the weights; the loss is alpha D. */
  uint64_t bytes; /* All that is stored: codes after padding, fields, row scales, codebooks of its
                     own. */
} qp_plan_linear;

/* One gemm launch.  It lists the linears that are fused into it, in order; all read the same
   input. */
typedef struct qp_plan_launch {
  int block;
  char group[32]; /* "qkv", "o", ...; "lm_head" */
  char path[16];  /* path of a gemm family; "any" where nothing was known about latencies */
  unsigned members, linear[QP_PLAN_MEMBERS]; /* indices into qp_plan.linear */
  int64_t latency_ps;                        /* latency of one launch; -1: not known */
  char how[32]; /* where the latency comes from: "exact", "other driver", "nearest shape",
                   "other gpu", "modelled", or "none" */
} qp_plan_launch;

/* Where the bytes of the stored model go. */
typedef struct qp_plan_memory {
  uint64_t linears;   /* The linears of the blocks: codes, fields, row scales, codebooks of their
                         own. */
  uint64_t lm_head;   /* 0 where a tied lm_head is the embedding itself. */
  uint64_t signs;     /* The rotations take a bit for each column of each group. */
  uint64_t codebooks; /* Codebooks that belong to a quantizer are stored once a model. */
  uint64_t embedding;
  uint64_t other;  /* Norms, biases and routers. */
  uint64_t passed; /* What is no part of the decoder, such as a vision tower. */
} qp_plan_memory;

/* How many weights the model has, and where; all are 0 in plans that do not say. */
typedef struct qp_plan_weights {
  uint64_t planned; /* Linears that have a quantizer, with all their experts. */
  uint64_t lm_head; /* One that stays in 16 bits and is not the embedding's matrix. */
  uint64_t embedding, other, passed; /* As in qp_plan_memory. */
  uint64_t active; /* Weights of the blocks and the lm_head that one token goes through. */
  uint64_t table;  /* An embedding that is not the lm_head; it is shown, but stands in no file. */
} qp_plan_weights;

typedef struct qp_plan {
  char file[1024]; /* It was read from this file, and specs are found beside it; "" in memory. */
  char model[64], model_type[32];
  unsigned blocks;
  unsigned head_dim; /* Elements of a head of attention; 0: not known. */
  unsigned ranks;    /* Ranks that share the model: shapes, bytes and latencies are those of one; 1:
                        it is whole. */
  unsigned slices;   /* Ranks that share its experts, each of which stays whole. */
  char gpu[128];     /* "" where no latency table was used. */
  unsigned batches;
  struct {
    unsigned batch;
    double weight; /* They add up to 1: the latency is the weighted mean over the batches. */
  } batch[QP_PLAN_BATCHES];
  double loss, bound, gap; /* gap = (loss - bound) / loss, and 0 where the plan is proven best. */
  bool proven;
  int64_t latency_ps, constant_ps; /* One pass takes so long, of which a part is constant; -1: it is
                                      not known. */
  double confidence; /* 0.5: latencies are medians; else this quantile of what was measured. */
  qp_plan_memory memory;
  qp_plan_weights weights;
  uint64_t memory_bytes;      /* The sum of 'memory'. */
  double bits_per_weight;     /* 8 * planned bytes / planned weights, see PLAN.md. */
  int64_t latency_limit_ps;   /* -1: none was asked for; the same holds for the two below. */
  int64_t memory_limit_bytes; /* It limits memory_bytes. */
  double bits_limit;          /* It limits bits_per_weight. */
  unsigned quantizers, linears, launches, notes;
  qp_plan_quantizer *quantizer;
  qp_plan_linear *linear;
  qp_plan_launch *launch;
  char (*note)[256]; /* What a reader should know: assumptions, rows that are modelled. */
} qp_plan;

/* Is a linear an embedding that is looked up alone, no lm_head? */
bool qp_plan_looks_up_alone(const qp_plan_linear *l);

/* Bytes, loss and other derived totals are not recomputed: qp_plan_check does that. */
void qp_plan_free(qp_plan *p); /* frees what it points to; a zeroed plan is fine */

/*
** Read and check a plan: every field of the schema with its type and range, indices, names that are
** used once, each linear in at most one launch, members of a launch with one input size.  '*out' is
** to be freed with qp_plan_free.
** QP_E_ARG: the text is no such plan, or of another version (the message names file, field, value);
** QP_E_IO, QP_E_LIMIT, QP_E_NOMEM.  '*out' is untouched on error.
*/
qp_status qp_plan_read(const char *file, qp_plan *out, qp_error *err);
/* Do the same with a text in memory, which 'file' names in messages. */
qp_status qp_plan_parse(const char *file, const char *text, size_t bytes, qp_plan *out,
                        qp_error *err);

/* Write the plan as JSON text with a line for each linear and launch; it is malloc'ed. */
qp_status qp_plan_print(const qp_plan *p, char **out, size_t *bytes, qp_error *err);
/* Write it to 'file', whole or not at all. */
qp_status qp_plan_write(const qp_plan *p, const char *file, qp_error *err);

/*
** Find the palette's quantizer for each of the plan's, out[quantizers]; NULL stands for fp16, and
** the palette owns them.  QP_E_ARG means that one is not known, or that its definition hash differs
** from the plan's: weights packed by the plan would decode to something else.
*/
qp_status qp_plan_resolve(const qp_plan *p, qp_palette *palette, const qp_quantizer **out,
                          qp_error *err);

/*
** Add up again what the plan says of itself: loss, latency, memory and limits.  QP_E_ARG means that
** a total differs from its parts, or that a limit is exceeded by a picosecond or a byte.
*/
qp_status qp_plan_check(const qp_plan *p, qp_error *err);

#endif
