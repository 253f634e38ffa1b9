/* SPDX-License-Identifier: MIT */
/* Finds codes by the `encode` kernels:  lanes' targets --[kernel on a device]--> codes. */
#ifndef QP_DEVICE_SEARCH_H
#define QP_DEVICE_SEARCH_H

#include "gen/compile/compile.h"
#include "gen/encode/coder.h"
#include "gen/encode/encode.h"
#include "gen/encode/feedback.h"
#include "gen/kernel/family.h"
#include "gen/kernel/kernel.h"
#include "runtime/arguments.h"
#include "runtime/device.h"
#include "runtime/status.h"

typedef struct qp_device_search qp_device_search;

/*
** Open a device ("cuda:0", "sim"; 'arch' and 'sm_count' as qp_session_device gives them).  Kernels
** are made when a quantizer and a number of columns are first met, and kept, as are their tables
** and the buffers of a search, the largest so far.  'compiler' and 'families' must outlive it.
** QP_E_DEVICE, QP_E_MISSING: no such device; QP_E_NOMEM.  '*out' is untouched on
** error.  One thread at a time uses it.
*/
qp_status qp_device_search_open(const char *device, unsigned arch, unsigned sm_count,
                                qp_compiler *compiler, qp_families *families,
                                qp_device_search **out, qp_error *err);
void qp_device_search_close(qp_device_search *s);

/*
** Give the searcher that is put into qp_encode_options; it is valid as long as 's' is.  Its search
** fails with QP_E_MISSING where no encode kernel takes the quantizer (gen/kernel/op_encode.c), with
** QP_E_DEVICE where a launch fails, and with errors of the compiler.  Its products are QP_E_MISSING
** of fewer than 512 columns.
*/
const qp_encode_searcher *qp_device_search_hook(const qp_device_search *s);

/* Count the codes found so far. */
size_t qp_device_search_codes(const qp_device_search *s);

/*
** The table that a kernel reads, *bytes long: what state s decodes to as fp16,
** [coder->states][dim]; of a trellis what gen/encode/path_table.h says, numbers and behind them
** values 2^(doublings - 82) in fp32, or levels, padded to a multiple of four, and behind them
** values and numbers of levels, each number times the bytes of a metric of all pairs; of group
** fields what gen/encode/field_table.h says; of codes in stages, and of vectors whose errors are
** fed forward, what templates/stage_table.h says.  malloc'ed; NULL: no memory.
*/
void *qp_device_search_table(const qp_coder *coder, const qp_kernel *kernel, size_t *bytes);

/*
** Make what the kernels read of 'n' targets: the targets themselves, or of a trellis
** x^ 2^(doublings - 82), both in fp32.  It is malloc'ed, 4 n bytes; NULL means that there is no
** memory.
*/
void *qp_device_search_targets(const qp_coder *coder, size_t n, const float *targets);

/* The same for kernels that feed errors forward: fp16 [2^window][dim] of what states decode to, of
   vectors all codebooks behind each other; and the words of their arithmetic and of the columns of
   'first' of all. */
void *qp_device_search_values(const qp_coder *coder, size_t *bytes);
void qp_device_search_words(const qp_coder *coder, unsigned first, unsigned all, qp_arguments *out);
/* Put U as whole numbers to 'to' [columns][columns]. */
qp_status qp_device_search_factor(qp_device *dev, const qp_feedback *f, qp_devptr to,
                                  qp_error *err);

#endif
