/* SPDX-License-Identifier: MIT */
/* Chooses and compiles what goes into a kernel library:  groups + GPUs -> chosen candidates ->
   cubins, PTX -> [file]. */
#ifndef QP_EXPORT_H
#define QP_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/base/text.h"
#include "gen/compile/compile.h"
#include "gen/kernel/family.h"
#include "gen/kernel/problem.h"
#include "gen/model/model.h"
#include "runtime/status.h"

enum {
  QP_EXPORT_GPUS = 16,
  QP_EXPORT_BATCHES = 16,
  QP_EXPORT_LEAST_HEAD = 32,
  QP_EXPORT_MOST_HEAD = 512, /* elements of a head that attention can do */
  QP_EXPORT_SMALL = 128,     /* kernels of a type that make a small library */
  QP_EXPORT_COMBINES = 16,   /* widths of experts' outputs that differ; a model has one */
  QP_EXPORT_SOURCE = 160
};

typedef struct qp_export_gpu {
  char name[128];
  unsigned arch, sm_count;
  const char *chosen; /* what chose its candidates; NULL: what the request says */
} qp_export_gpu;

typedef struct qp_export_group {
  char name[96];    /* "layers.3.q+k+v"; unique */
  char path[16];    /* The path of a gemm family, "any" or "", or "engine" where the weights stay in
                       16 bits. */
  bool lookup;      /* its one member is an embedding: with a kernel that gathers its rows ... */
  bool lookup_only; /* ... and is no lm_head: without gemms and dequant */
  int block;        /* -1: none */
  unsigned columns; /* K */
  unsigned pieces, rotation;       /* as in qp_problem, for all members; 0: one */
  bool shares_columns;             /* ranks divide its columns, not its rows */
  qp_model_producer input;         /* what makes it: QP_PRODUCER_OTHER where it is not known */
  bool glu;                        /* two members, up and gate in this order */
  unsigned experts, top_k, slices; /* of stacks as in qp_problem; 0: there are none */
  unsigned members;
  struct {
    char tensor[QP_MODEL_NAME];    /* without ".weight" */
    const qp_quantizer *quantizer; /* NULL: 16 bits (then of all members) */
    unsigned rows;                 /* rows of the linear; of a stack those of one expert */
  } member[QP_MAX_SEGMENTS];
} qp_export_group;

/*
** Which candidate a problem gets on a GPU.  'choice' comes filled with the family's defaults for
** the problem's path; change it where something better is known, and say by what in 'source'.
** 'latency_ps' is -1 unless it is set.
*/
typedef qp_status (*qp_export_chooser)(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                                       qp_choice *choice, char source[QP_EXPORT_SOURCE],
                                       int64_t *latency_ps, qp_error *err);

/*
** From which number of rows on decoding and a library's GEMM are faster than this problem's
** kernels at the batches of the export, by 'path'.  0: not known; UINT32_MAX: they never are, as
** far as was measured.
*/
typedef unsigned (*qp_export_crossover)(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                                        const char *path, const unsigned *batch, size_t batches);

/* Picoseconds that a gated linear unit behind this gemm of up and gate saves against one before the
   rotation that follows; 0: it saves none, or is not known to. */
typedef int64_t (*qp_export_pair)(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                                  const char *path);

typedef enum qp_export_ptx { QP_PTX_NEWEST, QP_PTX_ALL, QP_PTX_NONE } qp_export_ptx;

typedef struct qp_export_request {
  const char *model; /* "" where there is none */
  size_t groups;
  const qp_export_group *group; /* the caller's */
  unsigned gpus;
  qp_export_gpu gpu[QP_EXPORT_GPUS]; /* all different */
  unsigned batches, batch[QP_EXPORT_BATCHES];
  unsigned types;
  qp_dtype type[2];              /* types of X: F16, BF16 */
  bool second_if_small;          /* the second one is taken only beside at most QP_EXPORT_SMALL of
                                    the first */
  bool out_f32;                  /* Y is F32, not as X */
  bool dequant;                  /* with kernels that decode each linear, ... */
  bool rotate;                   /* with rotations of each K, alone and with what makes the input */
  bool no_prologue;              /* ... without what makes it */
  bool norm, glu;                /* ... with a norm, with a gated linear unit, of whatever K */
  bool inverse;                  /* and their inverses */
  unsigned decoder;              /* size of a head: with attend, pick of each K that norms make, and
                                    plain of each; 0: without */
  bool decoder_of_model;         /* what of it cannot be is noted, else it is an error */
  bool rotate_fused;             /* with gemms that rotate X themselves */
  bool gemm_glu;                 /* and of up and gate gemms, or experts, that give
                                    activation(gate) * up, all; else those that 'pair' tells to be
                                    quicker */
  bool pdl;                      /* Kernels use programmatic dependent launch, from sm_90 on. */
  qp_export_ptx ptx;             /* These GPUs get PTX: those of the newest architecture, all, or
                                    none. */
  unsigned workers;              /* compilers; 0: as many as CPUs */
  qp_export_chooser choose;      /* NULL: the families' defaults */
  qp_export_crossover crossover; /* NULL: not known */
  qp_export_pair pair;           /* NULL: not known */
  void *chooser;                 /* the argument of these */
  const char *chosen;            /* said of every target: "the families' defaults" */
} qp_export_request;

/*
** Make, compile and write the library; '*data' is malloc'ed and the caller's.  A batch for which a
** group's kernel cannot be (shared memory) is left out with a line in 'notes' (added to).
** The same request gives the same bytes.  Must be called before the process starts threads.
** QP_E_ARG: the request is wrong, or mixes 16-bit and quantized members in a group; QP_E_LIMIT: a
** group has no kernel at all, with the reason; QP_E_COMPILE, QP_E_MISSING (NVRTC), QP_E_NOMEM.
*/
qp_status qp_export_make(qp_families *families, const qp_export_request *r, void **data,
                         size_t *bytes, qp_text *notes, qp_error *err);

#endif
