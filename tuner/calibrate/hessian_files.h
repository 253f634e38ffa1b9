/* SPDX-License-Identifier: MIT */
/* Hessians of a block, written as its inputs come:  a forward pass --> [files in DIR/hessians]. */
#ifndef QP_HESSIAN_FILES_H
#define QP_HESSIAN_FILES_H

#include "gen/model/forward.h"
#include "tuner/calibrate/moments.h"

/*
** Adds up the Hessians of one block's groups (or of the lm_head: block == layers).  Given to
** qp_forward_block as a hook (qp_hessian_files_hook), it adds up E[x x^T] of each group; then
** qp_hessian_files_write writes a file for each, in the form of tuner/calibrate/CALIBRATION.md.
*/
typedef struct qp_hessian_files {
  const qp_model *model;
  unsigned block, groups;
  qp_moments *group[QP_MODEL_GROUPS];
} qp_hessian_files;

/* QP_E_MISSING: no BLAS; QP_E_NOMEM. */
qp_status qp_hessian_files_begin(const qp_model *m, unsigned block, qp_parallel *p,
                                 qp_hessian_files *out, qp_error *err);
qp_forward_hook qp_hessian_files_hook(qp_hessian_files *h);
/* Write the files into 'folder', each as a whole or not at all.  QP_E_ARG means that activations
   are not finite; QP_E_IO. */
qp_status qp_hessian_files_write(const qp_hessian_files *h, const char *folder, qp_error *err);
void qp_hessian_files_end(qp_hessian_files *h);

/* Make the name of a group's file without ".safetensors", which is also the name of its tensor
   without ".hessian": "model.layers.0.qkv"; that of the lm_head is "lm_head". */
void qp_hessian_files_name(const qp_model *m, unsigned block, unsigned group,
                           char out[QP_MODEL_NAME]);
/* Read what qp_hessian_files_write wrote for the group that linear 'linear' of the block reads
   ('linears' stands for the lm_head): 'out' is malloc'ed, [columns][columns].  QP_E_ARG means that
   it is of another size; QP_E_NOMEM; errors of qp_safetensors_open. */
qp_status qp_hessian_files_read(const qp_model *m, const char *folder, unsigned block,
                                unsigned linear, float **out, qp_error *err);

/* folder/index.json: which file holds the Hessian of which linear. */
qp_status qp_hessian_files_index(const qp_model *m, const char *folder, qp_error *err);

#endif
