/* SPDX-License-Identifier: MIT */
/* Do config.json and the shards of a packed folder say the same? */
#ifndef QP_SECTION_CHECK_H
#define QP_SECTION_CHECK_H

#include <cjson/cJSON.h>

#include "runtime/safetensors.h"
#include "runtime/status.h"

/*
** Compare the section `quantization` of FOLDER/config.json, by which weights are decoded, with the
** same section in the metadata of each shard: quantizers, linears, and what stands beside them.
** Returns QP_OK also where the folder has no config.json.  QP_E_ARG means that they differ (file
** and entry are named); errors of reading.
*/
qp_status qp_section_check(const char *folder, qp_error *err);
/* The same of a section that was read from 'config' (a path, for messages) and of the shards that
   are open; where no shard has a section, as other tools leave them that write tensors anew, there
   is nothing to compare. */
qp_status qp_section_compare(const cJSON *section, const char *config, const qp_safetensors *shards,
                             qp_error *err);

#endif
