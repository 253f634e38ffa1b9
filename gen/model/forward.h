/* SPDX-License-Identifier: MIT */
/* The forward pass of a model in fp32:  weights + token ids --> [hidden states] --> logits.
**
** A qp_forward is a model that is ready to run.  Token ids come as qp_sequences, which the caller
** owns; so are the arrays of hidden states [tokens][hidden] and logits [rows][vocab], fp32.  The
** caller drives it block by block, so that every block may be repeated from kept hidden states with
** other weights, or all at once:
**
**   qp_forward *f;
**   qp_forward_open("model.gguf", models, &(qp_forward_options){0}, &f, err);
**   qp_forward_embed(f, &sequences, hidden, err);
**   for (unsigned b = 0; b < qp_forward_model(f)->layers; b++)
**     qp_forward_block(f, b, &sequences, NULL, hidden, err);          // hidden is replaced
**   qp_forward_head(f, hidden, tokens, NULL, logits, err);
**
** Sensitivity of a linear L of block b:  keep the hidden states that go into block b; then
** qp_forward_override(f, b, L, perturbed), and run blocks b .. layers - 1 and the head on a copy;
** qp_forward_override(f, b, L, NULL) ends it.  E[x x^T] of a group's input: a qp_forward_hook.
*/
#ifndef QP_FORWARD_H
#define QP_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/base/parallel.h"
#include "gen/model/computation.h"
#include "gen/model/forward_types.h"
#include "gen/model/models.h"
#include "gen/spec/quantizer.h"

typedef struct qp_forward_options {
  qp_palette *palette; /* quantizers of packed models, kept open by the caller; NULL: the built-in
                          palette */
  unsigned threads;    /* 0: as many as CPUs */
  /* How many bytes of fp32 weights may stay in memory.  Blocks beyond that are read again each time
     they are run, and the head is read in pieces.  0 stands for half of the machine's memory. */
  uint64_t resident_bytes;
  bool same;   /* Any number of threads gives the same numbers, for a little more time. */
  bool engine; /* blocks and head are computed by an engine (forward_engine.h): no BLAS is needed */
} qp_forward_options;

/*
** Open a checkpoint (folder, .safetensors, .gguf) or a folder that `qpal quantize` wrote.  'models'
** must outlive the result.  Weights are read when a block is first run.
** QP_E_ARG: no such file, or an architecture without a forward pass (messages name file and field);
** QP_E_MISSING: no BLAS; QP_E_IO, QP_E_NOMEM.
*/
qp_status qp_forward_open(const char *path, qp_models *models, const qp_forward_options *options,
                          qp_forward **out, qp_error *err);
void qp_forward_close(qp_forward *f); /* NULL is allowed */

/* The model and the path that were opened; they live as long as the forward pass. */
const qp_model *qp_forward_model(const qp_forward *f);
const char *qp_forward_path(const qp_forward *f);
uint64_t qp_forward_digest(const qp_forward *f);       /* The digest of its files, as
                                                          qp_checkpoint_digest has it. */
qp_parallel *qp_forward_parallel(const qp_forward *f); /* The caller's own loops may use its
                                                          threads. */

/* Look up the hidden states of the tokens, hidden [tokens][hidden].  QP_E_ARG means that an id is
   not below the size of the vocabulary. */
qp_status qp_forward_embed(qp_forward *f, const qp_sequences *s, float *hidden, qp_error *err);

/* Run block 'block' on all sequences, in place; 'hook' may be NULL.  QP_E_ARG means that its
   weights are missing or of another shape; QP_E_NOMEM.  On error 'hidden' is spoilt. */
qp_status qp_forward_block(qp_forward *f, unsigned block, const qp_sequences *s,
                           const qp_forward_hook *hook, float *hidden, qp_error *err);

/* Run half of a block:  x + post(o(attention(norm(x)))),  or with 'mlp'  x + post(down(act(gate)
   up))  of what that gives.  QP_E_MISSING means that an engine computes the blocks, which has no
   halves. */
qp_status qp_forward_half(qp_forward *f, unsigned block, bool mlp, const qp_sequences *s,
                          const qp_forward_hook *hook, float *hidden, qp_error *err);

/* Is what o and down give out normed before it is added (gemma2, gemma3)? */
bool qp_forward_norms_sums(const qp_forward *f);

/* Apply the final norm and the lm_head to any 'rows' hidden states, which gives logits
   [rows][vocab]. */
qp_status qp_forward_head(qp_forward *f, const float *hidden, size_t rows,
                          const qp_forward_hook *hook, float *logits, qp_error *err);

/* Run all of the model.  The logits [tokens][vocab] are large for more than some thousand tokens.
   */
qp_status qp_forward_logits(qp_forward *f, const qp_sequences *s, const qp_forward_hook *hook,
                            float *logits, qp_error *err);

/*
** Let linear 'linear' of a block compute with w [rows][columns], which the caller keeps, until NULL
** is set.  Linears are numbered 0 .. linears - 1 as in qp_model.linear; 'linears' is the head, for
** which 'block' is ignored.  A tied head's w is the embedding as well.
*/
void qp_forward_override(qp_forward *f, unsigned block, unsigned linear, const float *w);

/*
** The rows of a block's linear count scale [rows] times, which the caller keeps and may change
** between passes, until NULL is set.  An engine does not know of it.
*/
void qp_forward_scale(qp_forward *f, unsigned block, unsigned linear, const float *scale);

/* The weights [*width] of a norm, which the caller may change between passes and which live as long
   as 'f'.  With block == layers it is the final norm, and 'place' is ignored.  NULL means that
   there is no such norm. */
float *qp_forward_norm_weights(qp_forward *f, unsigned block, qp_norm_place place, unsigned *width);

/* What every norm adds to its weights: this is 0, or 1 for gemma. */
float qp_forward_norm_offset(const qp_forward *f);

/* The name of that norm's tensor, such as "model.norm.weight"; it is "" where there is none. */
enum { QP_FORWARD_NAME = QP_MODEL_NAME + QP_COMPUTATION_NAME + 16 };
void qp_forward_norm_name(const qp_forward *f, unsigned block, qp_norm_place place,
                          char out[QP_FORWARD_NAME]);

/* Copy the linear's own weights to out [rows][columns]. */
qp_status qp_forward_weights(qp_forward *f, unsigned block, unsigned linear, float *out,
                             qp_error *err);

#endif
