/* SPDX-License-Identifier: MIT */
/* Writes a packed folder with other scales and norms:  folder + factors --> folder
   (runtime/PACKED.md). */
#ifndef QP_REWRITE_H
#define QP_REWRITE_H

#include <cjson/cJSON.h>

#include "runtime/safetensors.h"
#include "tuner/refine/factors.h"

/* Tell whether there is such a tensor, for qp_factors_open; 'arg' is the folder's qp_safetensors.
   */
bool qp_rewrite_has(void *files, const char *tensor);

/*
** Write to 'out' what 'folder' holds, with row scales and norms times their factors, in the types
** that they have there (of fp16 scales at least its least normal number), their checksums, a `job`
** of its own, and 'said' as the member `refined` of the section `quantization`.  config.json comes
** last: before that 'out' is no model.
** QP_E_ARG: 'folder' is not packed, or 'out' holds a config.json already and no
** QP_REWRITE_PART; QP_E_IO; QP_E_NOMEM.
*/
qp_status qp_rewrite(const char *folder, const char *out, const qp_factors *x, const cJSON *said,
                     qp_error *err);

/* In 'out' until all is written: what a training is at (training_file.h), of whoever calls. */
#define QP_REWRITE_PART "refine.part"

/* QP_E_ARG as that, before the work is done; a run that was killed behind config.json may go on. */
qp_status qp_rewrite_check(const char *folder, const char *out, qp_error *err);

#endif
