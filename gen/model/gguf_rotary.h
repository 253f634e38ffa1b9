/* SPDX-License-Identifier: MIT */
/* Says what GGUF files tell of rotary embeddings as a config.json says it:  metadata, tensors -->
   [rope_scaling]. */
#ifndef QP_GGUF_ROTARY_H
#define QP_GGUF_ROTARY_H

#include <cjson/cJSON.h>

#include "gen/model/gguf_parts.h"
#include "runtime/status.h"

/*
** Add to 'config' (with hidden_size, num_attention_heads and perhaps head_dim) what the keys
** ARCHITECTURE.rope.* and the tensors rope_freqs, rope_factors_short and rope_factors_long say:
**   rope.dimension_count               partial_rotary_factor
**   rope.scaling.type linear, yarn     rope_scaling with factor and the context it was trained on
**   rope_freqs (Llama 3.1),            rope_scaling of type longrope: each frequency is divided by
**   rope_factors_* (Phi 3)             its factor
** QP_E_ARG: another type, or a tensor that is no list of numbers (the message names it).
*/
qp_status qp_gguf_rotary(const char *architecture, const qp_gguf_parts *parts, cJSON *config,
                         qp_error *err);

#endif
