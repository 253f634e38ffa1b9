/* SPDX-License-Identifier: MIT */
/*
** Weights that others have packed in safetensors files (GPTQ, AWQ, FP8, ...):  tensors,
** quantization_config -> [matrices] -> rows as numbers.  Formats and their layouts: PACKINGS.md.
*/
#ifndef QP_PACKING_H
#define QP_PACKING_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gen/packings/packing_kind.h"

/* Find the section of config.json that says how weights are packed, and its quant_method, or "mlx",
   which names none.  NULL: there is no such section; '*method' NULL: it names none. */
const cJSON *qp_packing_section(const cJSON *tree, const char **method);

/* Tell whether weights of this quant_method can be read, and list all methods for messages: "gptq,
   awq, ...". */
bool qp_packing_is_read(const char *method);
const char *qp_packing_methods(char out[160]);

/*
** Find the matrices that the tensors of 's' hold by the quantization_config of a config.json
** ('file', 'tree'): '*list' [*count], sorted by name, freed with qp_packings_free; taken[i] is set
** for every tensor of 's' that belongs to one.  None where config.json says nothing of it, or names
** a method that is not read.  's' must outlive them.
** QP_E_ARG: a tensor is missing, or of a type or shape that the others and the config do not allow
** (the message names file, tensor, and what is right), or a value of the config is not one that is
** read; QP_E_NOMEM.  On error nothing is left to be freed.
*/
qp_status qp_packings_find(const qp_safetensors *s, const char *file, const cJSON *tree,
                           qp_packing **list, size_t *count, bool *taken, qp_error *err);
void qp_packings_free(qp_packing *list, size_t count);

/*
** Read rows [first, first + count) as fp32 into out[count][columns]: the values that the format's
** own package gives, which are numbers of p->type.  Any number of threads may call it.
*/
void qp_packing_read(const qp_packing *p, uint64_t first, uint64_t count, float *out);

#endif
