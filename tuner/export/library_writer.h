/* SPDX-License-Identifier: MIT */
/* Writes the bytes of a kernel library:  quantizers, linears, groups, kernels --> [file]. */
#ifndef QP_LIBRARY_WRITER_H
#define QP_LIBRARY_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "gen/spec/quantizer.h"
#include "runtime/library_format.h"
#include "runtime/status.h"

/*
** Things are added in any order, each once: what is there already is found again.  Indices are
** those of runtime/library_format.h.  All functions fail with QP_E_NOMEM only where nothing else is
** said.  The same calls in the same order give the same bytes.
*/
typedef struct qp_library_writer qp_library_writer;

/* Begin a library; 'toolkit' is NVRTC's CUDA version, 1000 major + 10 minor.  NULL means that there
   is no memory. */
qp_library_writer *qp_library_writer_new(uint32_t toolkit, const char *model,
                                         const char *generator);
void qp_library_writer_free(qp_library_writer *w);

/* Add a string and give its offset.  Where memory runs out the offset is 0 and wrong, which finish
   tells. */
uint32_t qp_library_writer_string(qp_library_writer *w, const char *text);

/* Add a linear of a shape.  Where 'q' is NULL it has 16 bits; 'pieces' and 'rotation' are as in
   qp_problem, and 0 stands for one.  QP_E_LIMIT means that the quantizer cannot be laid out,
   QP_E_ARG that it cannot be in so many pieces. */
qp_status qp_library_writer_linear(qp_library_writer *w, const qp_quantizer *q, unsigned rows,
                                   unsigned columns, unsigned pieces, unsigned rotation,
                                   uint32_t *out, qp_error *err);

/* A problem; those with different 'key' (a path, "" for dequant) are different. */
qp_status qp_library_writer_problem(qp_library_writer *w, const uint32_t *linear, unsigned segments,
                                    unsigned columns, const char *key, uint32_t *out,
                                    qp_error *err);

/* A group of linears that read one x; a GPU for which there are kernels, by its name and by the
   word that chose it, with its index in '*out'.  QP_E_NOMEM. */
qp_status qp_library_writer_group(qp_library_writer *w, const qp_lib_group *group, qp_error *err);
qp_status qp_library_writer_target(qp_library_writer *w, const char *name, const char *chosen,
                                   unsigned arch, unsigned sm_count, uint32_t *out, qp_error *err);

/* A cubin or PTX text (its NUL is added); the bytes are copied.  'out' is QP_LIB_NONE for NULL. */
qp_status qp_library_writer_image(qp_library_writer *w, uint32_t kind, unsigned arch,
                                  const void *data, size_t bytes, uint32_t *out, qp_error *err);

/* Add a kernel.  That the same kernel is added twice is QP_E_ARG, which finish tells. */
qp_status qp_library_writer_kernel(qp_library_writer *w, const qp_lib_kernel *kernel,
                                   qp_error *err);

/* The file; '*data' is malloc'ed and the caller's. */
qp_status qp_library_writer_finish(qp_library_writer *w, void **data, size_t *bytes, qp_error *err);

#endif
