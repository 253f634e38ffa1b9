/* SPDX-License-Identifier: MIT */
/* What the files of several formats share: they read fields of quantization_config and find parts
   of the right shape. */
#ifndef QP_PARTS_H
#define QP_PARTS_H

#include "gen/packings/packing_kind.h"

/* ---- Fields of quantization_config, or of a section in it ---- */

/* Read an integer from 'lo' to 'hi'; it is 'otherwise' where it is missing or null. */
qp_status qp_packing_integer(const qp_packing_config *c, const cJSON *section, const char *name,
                             int64_t lo, int64_t hi, int64_t otherwise, int64_t *out,
                             qp_error *err);
/* Read a text; it is 'otherwise' where it is missing. */
const char *qp_packing_text(const cJSON *section, const char *name, const char *otherwise);

/* ---- Parts ---- */

/* "FILE: tensor 'NAME'", for messages. */
const char *qp_packing_where(const qp_packing *p, unsigned part, char out[512]);

/*
** Part 'part' is there, of one of 'types' (bits 1 << type) and of rows x columns elements (its
** shape without ones).  QP_E_ARG names it, what it is, and what is right.
*/
qp_status qp_packing_expect(const qp_packing *p, unsigned part, uint32_t types, uint64_t rows,
                            uint64_t columns, qp_error *err);
/* Part 'part' has one of 'types' and two dimensions. */
qp_status qp_packing_matrix(const qp_packing *p, unsigned part, uint32_t types, qp_error *err);

#define QP_TYPE(name) (1u << QP_TENSOR_##name)
enum { QP_REAL_TYPES = QP_TYPE(F32) | QP_TYPE(F16) | QP_TYPE(BF16) };

/* Give W its shape. */
void qp_packing_shape(qp_packing *p, uint64_t rows, uint64_t columns);

static inline uint64_t qp_ceil_divide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* ---- The formats ---- */

qp_status qp_gptq_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
qp_status qp_awq_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
qp_status qp_compressed_integers_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_integers_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_integers_codes;

qp_status qp_fp8_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_fp8_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_fp8_codes;

qp_status qp_compressed_nvfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
qp_status qp_modelopt_nvfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_nvfp4_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_nvfp4_codes;
qp_status qp_compressed_mxfp4_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_compressed_mxfp4_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
qp_status qp_gpt_oss_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_gpt_oss_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_mxfp4_codes;

qp_status qp_mlx_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_mlx_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_mlx_codes;

qp_status qp_bitsandbytes_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_bitsandbytes_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);
extern const qp_packing_codes qp_nf4_codes;
extern const qp_packing_codes qp_llm_int8_codes;
qp_status qp_llm_int8_open(qp_packing *p, const qp_packing_config *c, qp_error *err);
void qp_llm_int8_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out);

#endif
