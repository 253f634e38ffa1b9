/* SPDX-License-Identifier: MIT */
/* Says what to export:  plan, model or shapes -> [groups]; names of GPUs -> architectures. */
#ifndef QP_EXPORT_GROUPS_H
#define QP_EXPORT_GROUPS_H

#include "gen/model/model.h"
#include "gen/spec/quantizer.h"
#include "runtime/status.h"
#include "tuner/export/export.h"
#include "tuner/base/options.h"
#include "tuner/plan/parallel.h"
#include "tuner/plan/plan_file.h"

/*
** All of these give a malloc'ed array, which the caller frees.
**
** A plan's launches become groups, in its order; each member keeps its own quantizer.
** QP_E_ARG: a quantizer is not known, or its hash differs from the plan's; a launch mixes fp16 with
** quantized linears.
*/
qp_status qp_export_plan_groups(const qp_plan *plan, qp_palette *palette, qp_export_group **out,
                                size_t *count, qp_error *err);

/* Make a model's groups of linears that read one input, all with one quantizer, on 'path'.  The
   lm_head is there only with 'head'.  'embedding' is the packed embedding's quantizer, or NULL: of
   a tied model it is the lm_head's as well, of others it makes a group "embedding" that is looked
   up alone. */
qp_status qp_export_model_groups(const qp_model *model, const qp_quantizer *q,
                                 const qp_quantizer *embedding, const char *path, bool head,
                                 qp_export_group **out, size_t *count, qp_error *err);

/* Of groups for 'ranks' ranks, that o, down and the like were packed for 'made' of them, which is a
   multiple: their columns are in pieces, their rotation in blocks; and the blocks that definitions
   ask for.  QP_E_ARG: these do not divide the columns, or differ in one group. */
qp_status qp_export_cut_groups(qp_export_group *group, size_t groups, unsigned ranks, unsigned made,
                               qp_error *err);

/* Make one group "shapes" of linears "linear.0", ..., with a quantizer for each or one for all. */
qp_status qp_export_shape_groups(const qp_shapes *shapes, const qp_quantizer *const *q, size_t n,
                                 const char *path, qp_export_group **out, size_t *count,
                                 qp_error *err);

/*
** "sm_90" (with the usual number of multiprocessors of that architecture), "sm_90:114", "h100" and
** other names (QP_E_ARG lists them), that of a published table in tuned/ ("rtx4090-published": the
** GPU that it is of), or "cuda:0", the GPU that is here.
*/
qp_status qp_export_gpu_parse(const char *text, qp_export_gpu *out, qp_error *err);

#endif
