/* SPDX-License-Identifier: MIT */
/* Makes packed weights a plain checkpoint again:  folder (runtime/PACKED.md) -> model.safetensors.
   */
#ifndef QP_UNPACK_H
#define QP_UNPACK_H

#include "gen/spec/quantizer.h"
#include "runtime/safetensors.h"

/*
** Every quantized linear of 'folder' as W = diag(r) W^ H diag(s) in 'type' (F16, BF16 or F32),
** other tensors as they are, config.json without what tells of packing, tokenizer and settings; to
** 'out', whose config.json is written last.  'palette' has the quantizers; NULL: the palette.
** 'threads' 0: one a CPU.
** QP_E_ARG: 'folder' is not packed, or 'out' is 'folder' or holds a config.json already; QP_E_IO,
** QP_E_NOMEM.
*/
qp_status qp_unpack(const char *folder, const char *out, qp_tensor_type type, qp_palette *palette,
                    unsigned threads, qp_error *err);

#endif
