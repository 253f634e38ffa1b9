/* SPDX-License-Identifier: MIT */
/* Do config.json and the shards of a packed folder say the same? */
#ifndef QP_SECTION_CHECK_H
#define QP_SECTION_CHECK_H

#include "runtime/status.h"

/*
** Compare the section `quantization` of FOLDER/config.json, by which weights are decoded, with the
** same section in the metadata of each shard: quantizers, linears, and what stands beside them.
** Returns QP_OK also where the folder has no config.json.  QP_E_ARG means that they differ (file
** and entry are named); errors of reading.
*/
qp_status qp_section_check(const char *folder, qp_error *err);

#endif
