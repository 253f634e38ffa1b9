/* SPDX-License-Identifier: MIT */
/* A model's weights in fp32, whatever they are stored as. */
#include "gen/model/weights.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/packed_weights.h"

enum { ROWS_A_TURN = 32 };

struct qp_weights {
  qp_checkpoint *checkpoint;
  cJSON *config; /* These three belong to a packed folder; else they are NULL. */
  qp_palette *palette;
  qp_packed_weights *packed;
};

/* Where config.json has a section `quantization` that qpal wrote. */
static qp_status open_packed(qp_weights *w, qp_palette *palette, qp_error *err) {
  const char *path = qp_weights_path(w), *config = qp_weights_config(w);
  qp_status status = qp_json_parse_python(path, config, strlen(config), &w->config, err);
  const cJSON *section = cJSON_GetObjectItemCaseSensitive(w->config, "quantization");
  if (status || !cJSON_IsObject(section)) return status;
  if (!palette) status = qp_palette_open(&w->palette, err);
  return status ? status
                : qp_packed_weights_open(path, section, palette ? palette : w->palette, &w->packed,
                                         err);
}

qp_status qp_weights_open(const char *path, qp_models *models, qp_palette *palette,
                          qp_weights **out, qp_error *err) {
  qp_weights *w = calloc(1, sizeof *w);
  if (!w) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  qp_status status = qp_checkpoint_open(path, models, &w->checkpoint, err);
  if (!status) status = open_packed(w, palette, err);
  if (status) return qp_weights_close(w), status;
  *out = w;
  return QP_OK;
}

void qp_weights_close(qp_weights *w) {
  if (!w) return;
  qp_packed_weights_close(w->packed);
  if (w->palette) qp_palette_close(w->palette);
  cJSON_Delete(w->config);
  qp_checkpoint_close(w->checkpoint);
  free(w);
}

const qp_model *qp_weights_model(const qp_weights *w) { return qp_checkpoint_model(w->checkpoint); }
const char *qp_weights_path(const qp_weights *w) { return qp_checkpoint_path(w->checkpoint); }
uint64_t qp_weights_digest(const qp_weights *w) { return qp_checkpoint_digest(w->checkpoint); }
const char *qp_weights_config(const qp_weights *w) { return qp_checkpoint_config(w->checkpoint); }

uint64_t qp_weights_elements(const qp_weights *w, const char *name) {
  const qp_source_tensor *t = qp_checkpoint_find(w->checkpoint, name);
  return t ? t->rows * t->columns : 0;
}

/* The packed linear whose weights 'name' ("LINEAR.weight") are, or NULL. */
static const qp_packed_entry *find_packed(const qp_weights *w, const char *name) {
  char linear[256];
  const size_t n = strlen(name), end = strlen(".weight");
  if (!w->packed || n <= end || n >= sizeof linear || strcmp(name + n - end, ".weight") != 0)
    return NULL;
  snprintf(linear, sizeof linear, "%.*s", (int)(n - end), name);
  return qp_packed_weights_find(w->packed, linear);
}

bool qp_weights_has(const qp_weights *w, const char *name) {
  return qp_weights_elements(w, name) > 0 || find_packed(w, name);
}

/* ---- Reading ---- */

typedef struct reading {
  const qp_weights *w;
  const qp_source_tensor *t;
  uint64_t first, count;
  float *out;
  _Atomic int status;
  qp_error *err; /* of the first that failed */
} reading;

static void read_some(void *argument, size_t i, unsigned thread) {
  reading *r = argument;
  (void)thread;
  const uint64_t at = (uint64_t)i * ROWS_A_TURN;
  const uint64_t left = r->count - at, n = left < ROWS_A_TURN ? left : ROWS_A_TURN;
  qp_error own = {{0}};
  const qp_status status = qp_checkpoint_read(r->w->checkpoint, r->t, r->first + at, n,
                                              r->out + (size_t)(at * r->t->columns), &own);
  int none = QP_OK;
  if (status && atomic_compare_exchange_strong(&r->status, &none, (int)status) && r->err)
    *r->err = own;
}

/* A vector is one row of its elements, or, reordered (a bias of q or k), one element a row. */
static qp_status check_shape(const qp_weights *w, const qp_source_tensor *t, const char *name,
                             uint64_t rows, uint64_t columns, qp_error *err) {
  const bool vector = columns == 1 && t && t->rows * t->columns == rows && t->dims <= 1;
  if (vector || (t && t->rows == rows && t->columns == columns)) return QP_OK;
  if (!t) return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is missing", qp_weights_path(w), name);
  return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is %llu x %llu; %llu x %llu is needed",
                 qp_weights_path(w), name, (unsigned long long)t->rows,
                 (unsigned long long)t->columns, (unsigned long long)rows,
                 (unsigned long long)columns);
}

qp_status qp_weights_check(const qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                           qp_error *err) {
  const qp_packed_entry *e = find_packed(w, name);
  if (e && qp_packed_entry_rows(e) == rows && qp_packed_entry_columns(e) == columns) return QP_OK;
  return check_shape(w, qp_checkpoint_find(w->checkpoint, name), name, rows, columns, err);
}

qp_status qp_weights_read(qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                          uint64_t first, uint64_t count, qp_parallel *p, float *out,
                          qp_error *err) {
  const qp_source_tensor *t = qp_checkpoint_find(w->checkpoint, name);
  const qp_packed_entry *e = find_packed(w, name);
  if (e && qp_packed_entry_rows(e) == rows && qp_packed_entry_columns(e) == columns)
    return qp_packed_weights_read(w->packed, e, first, count, p, out, err);
  qp_status status = check_shape(w, t, name, rows, columns, err);
  if (status) return status;
  if (columns == 1 && t->columns != 1) /* the whole vector */
    return qp_checkpoint_read(w->checkpoint, t, 0, t->rows, out, err);
  reading r = {.w = w, .t = t, .first = first, .count = count, .out = out, .err = err};
  qp_parallel_for(p, (size_t)((count + ROWS_A_TURN - 1) / ROWS_A_TURN), read_some, &r);
  return (qp_status)atomic_load(&r.status);
}
