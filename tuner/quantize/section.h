/* SPDX-License-Identifier: MIT */
/* The section `quantization` of packed models (runtime/PACKED.md), the index, config and report. */
#ifndef QP_SECTION_H
#define QP_SECTION_H

#include <cjson/cJSON.h>

#include "tuner/quantize/job.h"
#include "tuner/quantize/packed_linear.h"

/* Write a linear's entry with its figures as JSON text, which is malloc'ed.  QP_E_NOMEM. */
qp_status qp_section_linear(const qp_job_linear *l, const qp_linear_figures *f, char **out,
                            qp_error *err);

/* Make the section with these entries, which it takes over even on error; the caller frees '*out'.
   */
qp_status qp_section_make(const qp_job *j, cJSON *linears, cJSON **out, qp_error *err);

/* Tell how many bytes the signs of all inputs and the definitions' codebooks take, which stand once
   in a model. */
uint64_t qp_section_sign_bytes(const qp_job *j);
uint64_t qp_section_codebook_bytes(const qp_job *j);

/*
** What all shards together say, after every one is there:  model.safetensors.index.json,
** config.json and quantize-report.json, each whole or not at all.  The report is the JSON that
** `qpal plan --distortion` reads ("linears"), with figures; '*report' (to be freed) is the same
** tree.
** QP_E_ARG: a shard is not of this job or lacks a linear; QP_E_IO; QP_E_NOMEM.
*/
qp_status qp_section_finish(const qp_job *j, cJSON **report, qp_error *err);

#endif
