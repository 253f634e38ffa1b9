/* SPDX-License-Identifier: MIT */
/* Reads fields of quantization_config and finds parts of the right shape. */
#include "gen/packings/parts.h"

#include <stdio.h>

#include "gen/base/json.h"

qp_status qp_packing_integer(const qp_packing_config *c, const cJSON *section, const char *name,
                             int64_t lo, int64_t hi, int64_t otherwise, int64_t *out,
                             qp_error *err) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(section, name);
  char where[512];
  *out = otherwise;
  if (!item || cJSON_IsNull(item)) return QP_OK;
  snprintf(where, sizeof where, "%.400s: quantization_config", c->file);
  return qp_json_integer(section, where, name, lo, hi, out, err);
}

const char *qp_packing_text(const cJSON *section, const char *name, const char *otherwise) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(section, name));
  return text ? text : otherwise;
}

const char *qp_packing_where(const qp_packing *p, unsigned part, char out[512]) {
  const qp_tensor *t = p->part[part];
  snprintf(out, 512, "%.200s: tensor '%.200s'", qp_safetensors_shard_path(p->file, t->shard),
           t->name);
  return out;
}

static void list_types(uint32_t types, char out[128]) {
  size_t n = 0;
  out[0] = 0;
  for (unsigned i = 0; i < QP_TENSOR_TYPE_COUNT && n < 100; i++)
    if (types >> i & 1)
      n += (size_t)snprintf(out + n, 128 - n, "%s%s", n ? " or " : "",
                            qp_tensor_type_name((qp_tensor_type)i));
}

static void list_shape(const qp_tensor *t, char out[128]) {
  size_t n = (size_t)snprintf(out, 128, "[");
  for (unsigned i = 0; i < t->dims && n < 100; i++)
    n += (size_t)snprintf(out + n, 128 - n, "%s%llu", i ? ", " : "",
                          (unsigned long long)t->shape[i]);
  snprintf(out + n, 128 - n, "]");
}

/* Is the shape rows x columns, but for dimensions of 1? */
static bool has_shape(const qp_tensor *t, uint64_t rows, uint64_t columns) {
  uint64_t want[2], got[QP_TENSOR_DIMS];
  unsigned wants = 0, gots = 0;
  if (rows != 1) want[wants++] = rows;
  if (columns != 1) want[wants++] = columns;
  for (unsigned i = 0; i < t->dims; i++)
    if (t->shape[i] != 1) got[gots++] = t->shape[i];
  if (gots != wants) return false;
  for (unsigned i = 0; i < wants; i++)
    if (got[i] != want[i]) return false;
  return true;
}

static qp_status is_other(const qp_packing *p, unsigned part, uint32_t types, const char *shape,
                          qp_error *err) {
  char where[512], known[128], got[128];
  const qp_tensor *t = p->part[part];
  list_types(types, known);
  list_shape(t, got);
  return qp_fail(err, QP_E_ARG, "%s: %s of %s: %s of %s is needed (%s)",
                 qp_packing_where(p, part, where), qp_tensor_type_name(t->type), got, known, shape,
                 p->kind->name);
}

qp_status qp_packing_expect(const qp_packing *p, unsigned part, uint32_t types, uint64_t rows,
                            uint64_t columns, qp_error *err) {
  char shape[64];
  const qp_tensor *t = p->part[part];
  if (types >> t->type & 1 && has_shape(t, rows, columns)) return QP_OK;
  snprintf(shape, sizeof shape, "[%llu, %llu]", (unsigned long long)rows,
           (unsigned long long)columns);
  return is_other(p, part, types, shape, err);
}

qp_status qp_packing_matrix(const qp_packing *p, unsigned part, uint32_t types, qp_error *err) {
  const qp_tensor *t = p->part[part];
  if (types >> t->type & 1 && t->dims == 2 && t->elements) return QP_OK;
  return is_other(p, part, types, "two dimensions", err);
}

void qp_packing_shape(qp_packing *p, uint64_t rows, uint64_t columns) {
  p->dims = 2;
  p->shape[0] = p->rows = rows;
  p->shape[1] = p->columns = columns;
}
