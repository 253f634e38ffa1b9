/* SPDX-License-Identifier: MIT */
/*
** Reads what mlx packs (mode "affine"): codes along the rows of W, lowest bits first, with a scale
** and a bias for each group of columns.  Values are products rounded to the scales' type, and sums
** rounded again.
*/
#include <stdio.h>
#include <string.h>

#include "gen/packings/parts.h"

enum { CODES, SCALES, BIASES };

static float number_at(const qp_packing *p, unsigned part, uint64_t i) {
  return qp_element_get(p->part[part]->data, p->type, i);
}

void qp_mlx_decode(const qp_packing *p, uint64_t first, uint64_t count, float *out) {
  for (uint64_t row = first; row < first + count; row++)
    for (uint64_t k = 0; k < p->columns; k++) {
      const uint64_t group = (row * p->columns + k) / p->group;
      const float code = (float)qp_numbers_get(&p->codes, row, k);
      const float product = qp_element_round(number_at(p, SCALES, group) * code, p->type);
      *out++ = qp_element_round(product + number_at(p, BIASES, group), p->type);
    }
}

/* What the section says of a module, which may have an object of its own, by its name. */
static const cJSON *section_of(const qp_packing *p, const qp_packing_config *c) {
  char name[512];
  snprintf(name, sizeof name, "%s", p->part[CODES]->name);
  char *end = strrchr(name, '.');
  if (end) *end = 0;
  const cJSON *own = cJSON_GetObjectItemCaseSensitive(c->section, name);
  return cJSON_IsObject(own) ? own : c->section;
}

qp_status qp_mlx_open(qp_packing *p, const qp_packing_config *c, qp_error *err) {
  const cJSON *section = section_of(p, c);
  const char *mode = qp_packing_text(section, "mode", "affine");
  char where[512];
  int64_t group = 64, bits = 4;
  qp_status status = qp_packing_integer(c, section, "group_size", 8, 1 << 16, 64, &group, err);
  if (!status) status = qp_packing_integer(c, section, "bits", 2, 8, 4, &bits, err);
  if (!status) status = qp_packing_matrix(p, CODES, QP_TYPE(U32), err);
  if (status) return status;
  if (strcmp(mode, "affine") != 0)
    return qp_fail(err, QP_E_ARG, "%s: mode '%.20s' of mlx is not read; affine is",
                   qp_packing_where(p, CODES, where), mode);
  const uint64_t words = p->part[CODES]->shape[1], columns = 32 * words / (uint64_t)bits;
  if (bits == 7 || 32 * words % (uint64_t)bits || columns % (uint64_t)group)
    return qp_fail(err, QP_E_ARG,
                   "%s: %llu words a row: codes of %lld bits in groups of %lld, as the config "
                   "says, do not fill them",
                   qp_packing_where(p, CODES, where), (unsigned long long)words, (long long)bits,
                   (long long)group);
  qp_packing_shape(p, p->part[CODES]->shape[0], columns);
  p->group = (uint64_t)group;
  p->scales = p->part[SCALES];
  p->type = p->scales->type;
  p->codes =
      (qp_numbers){.data = p->part[CODES]->data, .word_stride = 1, .line_stride = words,
                   .bits = (unsigned)bits};
  for (unsigned part = SCALES; part <= BIASES && !status; part++)
    status = qp_packing_expect(p, part,
                               part == SCALES ? QP_TYPE(F16) | QP_TYPE(BF16) : 1u << p->type,
                               p->rows, columns / (uint64_t)group, err);
  return status;
}

/* ---- Keeping them ---- */

static bool mlx_quantizer(const qp_packing *p, char name[64], char why[256]) {
  const unsigned bits = p->codes.bits, group = (unsigned)p->group;
  if (!(bits == 4 && (group == 32 || group == 64)) && !(bits == 8 && group == 64)) {
    snprintf(why, 256, "4 bits in groups of 32 and 64 and 8 in 64 are kept, not %u in %u", bits,
             group);
    return false;
  }
  snprintf(name, 64, "affine%u-g%u%s", bits, group, p->type == QP_TENSOR_BF16 ? "-bf16" : "");
  return true;
}

static uint32_t mlx_code(const qp_packing *p, uint64_t row, uint64_t column) {
  return qp_numbers_get(&p->codes, row, column);
}

static float mlx_number(const qp_packing *p, uint64_t row, uint64_t column, const char *field) {
  return number_at(p, strcmp(field, "bias") ? SCALES : BIASES,
                   (row * p->columns + column) / p->group);
}

const qp_packing_codes qp_mlx_codes = {mlx_quantizer, mlx_code, mlx_number, NULL};
