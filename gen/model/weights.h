/* SPDX-License-Identifier: MIT */
/* Reads a model's weights in fp32, whatever they are stored as:  checkpoint, GGUF or packed folder
   --> [rows]. */
#ifndef QP_WEIGHTS_H
#define QP_WEIGHTS_H

#include <stdbool.h>

#include "gen/base/parallel.h"
#include "gen/model/checkpoint.h"
#include "gen/spec/quantizer.h"

typedef struct qp_weights qp_weights;

/*
** 'palette' has the quantizers of packed linears; NULL: the palette is loaded where there are any.
** 'path' as of qp_checkpoint_open, or a folder that `qpal quantize` wrote (runtime/PACKED.md),
** whose packed linears are then read as W = diag(r) W^ H diag(s), decoded on the CPU.
** Errors as of qp_checkpoint_open and qp_packed_weights_open.
*/
qp_status qp_weights_open(const char *path, qp_models *models, qp_palette *palette,
                          qp_weights **out, qp_error *err);
void qp_weights_close(qp_weights *w);

/* The model and the path that were opened; they live as long as the weights. */
const qp_model *qp_weights_model(const qp_weights *w);
const char *qp_weights_path(const qp_weights *w);
uint64_t qp_weights_digest(const qp_weights *w);    /* qp_checkpoint_digest of what was opened */
const char *qp_weights_config(const qp_weights *w); /* the text of config.json */

/*
** The tensor 'name' (with ".weight"), packed or not, as fp32: rows [first, first + count) of
** [rows][columns] to out [count][columns]; a vector has one column.  QP_E_ARG: it is missing or
** of another shape.
*/
qp_status qp_weights_read(qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                          uint64_t first, uint64_t count, qp_parallel *p, float *out,
                          qp_error *err);
/* Report the same error, if there is one, without reading. */
qp_status qp_weights_check(const qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                           qp_error *err);
bool qp_weights_has(const qp_weights *w, const char *name);

/*
** Of the tensor 'part' (a ".weight" or ".bias") of a linear that lies there taken apart, for ranks:
** the tensor that the model has in its place, with its number of rows, which the functions above
** find too.  '*first': the part has its first row.  False: it is no such tensor.
*/
bool qp_weights_whole(const qp_weights *w, const char *part, char whole[QP_MODEL_NAME + 16],
                      uint64_t *rows, bool *first);
uint64_t qp_weights_elements(const qp_weights *w, const char *name); /* 0: it is missing */

#endif
