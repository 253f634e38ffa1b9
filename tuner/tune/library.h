/* SPDX-License-Identifier: MIT */
/* Finds records: in files, in tuned/ of the current folder, and in tuned/ inside the binary. */
#ifndef QP_TUNE_LIBRARY_H
#define QP_TUNE_LIBRARY_H

#include "tuner/tune/records.h"

/*
** Records of GPU: a path (contains '/' or ends in ".jsonl"), or a part of the name of a file in
** tuned/ ("h100"; letters as in qp_records_file_name), then also the GPU's own name, or that of the
** device "cuda:N".  Files of one name in the current folder's tuned/ and among the resources are
** read as one set.  'source' (256 bytes) becomes the file's.
** QP_E_ARG: there is none (what there is instead is named), or several fit (they are named); the
** errors of qp_session_probe for a device; QP_E_IO.  'policy' (qp_records_policy) is of a file that
** is named by its path; tuned/ holds measurements only, whatever it says.
*/
qp_status qp_library_read(const char *gpu, unsigned policy, qp_records *out, char source[256],
                          qp_error *err);

/* Read every file in tuned/ in order, malloc'ed; free each with qp_records_free. */
qp_status qp_library_all(qp_records **out, size_t *count, qp_error *err);

#endif
