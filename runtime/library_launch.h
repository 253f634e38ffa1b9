/* SPDX-License-Identifier: MIT */
/* What launches of all operations share.  Only runtime/library_*.c include it. */
#ifndef QP_LIBRARY_LAUNCH_H
#define QP_LIBRARY_LAUNCH_H

#include "runtime/arguments.h"
#include "runtime/library_state.h"

/* The launch of one kernel: its arguments, and how many streams and segments of them it has. */
typedef struct qp_lib_arguments {
  qp_arguments words;
  unsigned streams, segments;
} qp_lib_arguments;

/* Launch kernel 'kernel' of the library on 'stream'.  QPAL_E_DEVICE, with the kernel's name. */
qpal_status qp_lib_launch(const qpal_kernels *ks, uint32_t kernel, const qp_lib_arguments *a,
                          bool pdl, void *stream);

/* Add the streams of one linear, or of a stack of so many experts: its weights, and codebooks of
   the library's own. */
void qp_lib_add_streams(qp_lib_arguments *a, const qpal_kernels *ks, const qp_lib_linear *e,
                        unsigned experts, const qpal_weights *w);
/* QPAL_E_ARG: an address of a member's weights is missing or not aligned. */
qpal_status qp_lib_check_weights(const qpal_library *l, const qp_lib_linear *e, unsigned member,
                                 const qpal_weights *w);

/* Find the kernel of this op with these properties; QP_LIB_NONE means that the library has none. */
uint32_t qp_lib_find_kernel(const qpal_kernels *ks, unsigned op, uint32_t problem, unsigned columns,
                            unsigned type, bool inverse);
/* The same of a rotation whose H has diagonal blocks of 'block' columns, 0: one. */
uint32_t qp_lib_find_rotation(const qpal_kernels *ks, unsigned op, uint32_t problem,
                              unsigned columns, unsigned type, bool inverse, unsigned block);

extern const char *const qp_lib_type_names[3]; /* names by qpal_type */

/* QPAL_E_ARG, naming 'name' and 'index': 'p' is missing, or no multiple of 'align'. */
qpal_status qp_lib_check_address(const char *name, unsigned index, qpal_ptr p, unsigned align,
                                 bool needed);
/* QPAL_E_ARG: 'type' is none of 16 bits (nor, with 'f32', QPAL_F32). */
qpal_status qp_lib_check_type(unsigned type, bool f32);
/* A stride of 0 becomes 'width'; x's are of whole 16 bytes, for so rows are read.  QPAL_E_ARG:
   it is smaller than 'width' or not a multiple of 'multiple'. */
qpal_status qp_lib_take_stride(const char *name, unsigned member, unsigned width, unsigned multiple,
                               unsigned *stride);
/* QPAL_E_ARG: an RMSNorm's eps is no number from 0 on, its offset no number, or its weight, which
   may be missing, lies wrongly. */
qpal_status qp_lib_check_norm(float eps, float weight_offset, qpal_ptr weight);
/* Check an epilogue, its activation and its limit; QPAL_E_ARG means that one of them cannot be. */
qpal_status qp_lib_check_epilogue(unsigned epilogue, unsigned activation, float limit);
/* Check and take a gated linear unit's activation, its limit and its other factor, which is
   'columns' wide and whose stride is taken by qp_lib_take_stride.  QPAL_E_ARG means that one of
   them cannot be. */
qpal_status qp_lib_check_glu(unsigned activation, float limit, qpal_ptr up, unsigned columns,
                             unsigned *up_stride);

#endif
