/* SPDX-License-Identifier: MIT */
/* Computes causal attention over whole sequences, in blocks:  q, k, v of some tokens --> mixed
   values. */
#ifndef QP_ATTENTION_H
#define QP_ATTENTION_H

#include <stddef.h>

#include "gen/base/blas.h"
#include "gen/base/parallel.h"

typedef struct qp_attention {
  unsigned heads, kv_heads, head_dim; /* heads: a multiple of kv_heads */
  unsigned window;      /* tokens that a query sees, itself among them; 0: all before it */
  float scale, softcap; /* applied to q k^T; softcap 0: none */
} qp_attention;

/* Memory of a thread; qp_attention_open makes it for these heads, and it serves fewer as well. */
typedef struct qp_attention_scratch {
  unsigned threads;
  size_t floats; /* of each */
  float *data;   /* [threads][floats] */
} qp_attention_scratch;

/* QP_E_NOMEM. */
qp_status qp_attention_open(const qp_attention *a, unsigned threads, qp_attention_scratch *out,
                            qp_error *err);
void qp_attention_close(qp_attention_scratch *s);

/*
** Of each sequence, for each query t and head h (its keys and values are those of head
** h kv_heads / heads):   s_u = scale q_t k_u,  capped,  u = t - window + 1 .. t;
**   out_t = sum_u softmax(s)_u v_u
** Rows of q, k and v begin 'stride' floats apart, those of 'out' heads * head_dim.
**   q [tokens][heads][head_dim]   k, v [tokens][kv_heads][head_dim]
** Sequence i ends before token end[i]; it begins where the one before ends.
** 'tasks' is room for sequences + 1 numbers.  Scores are never all in memory: a block of queries
** meets a block of keys at a time (as FlashAttention, arXiv 2205.14135).
*/
typedef struct qp_attention_input {
  const float *q, *k, *v;
  size_t stride;
  const size_t *end;
  size_t sequences;
} qp_attention_input;

/* The sum above for all sequences, divided over the threads of 'p'; scratch->threads is at least
   theirs. */
void qp_attention_run(const qp_attention *a, const qp_attention_input *in, const qp_blas *blas,
                      qp_parallel *p, const qp_attention_scratch *scratch, size_t *tasks,
                      float *out);

#endif
