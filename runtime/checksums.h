/* SPDX-License-Identifier: MIT */
/* Is every array of packed weights what was written?  checksums.json + safetensors -> yes or no. */
#ifndef QP_CHECKSUMS_H
#define QP_CHECKSUMS_H

#include <stdbool.h>

#include "runtime/safetensors.h"

#define QP_CHECKSUMS_FILE      "checksums.json"
#define QP_CHECKSUMS_ALGORITHM "XXH3-64"

/*
** Compare every tensor with the checksum that FOLDER/checksums.json has for it (PACKED.md); with
** 'whole' its other entries are missing tensors, else they may be in files that are not open.
** Reads all bytes once, in little memory.
** QP_E_ARG: a tensor differs, is missing or has no checksum, or the file is wrong (all named);
** QP_E_MISSING: there is no checksums.json; QP_E_IO; QP_E_NOMEM.
*/
qp_status qp_checksums_verify(const qp_safetensors *s, const char *folder, bool whole,
                              qp_error *err);

#endif
