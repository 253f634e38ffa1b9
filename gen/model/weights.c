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
  qp_model *apart; /* The model taken apart, as weights that ranks share may be; NULL where no
                      matrix holds several linears. */
  cJSON *config;   /* These three belong to a packed folder; else they are NULL. */
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

static qp_status find_parts(qp_weights *w, qp_error *err) {
  const qp_model *m = qp_checkpoint_model(w->checkpoint);
  bool joined = false;
  for (unsigned i = 0; i < m->linears; i++) joined = joined || m->linear[i].parts > 1;
  if (!joined) return QP_OK;
  if (!(w->apart = malloc(sizeof *w->apart)))
    return qp_fail(err, QP_E_NOMEM, "%s: no memory", qp_weights_path(w));
  return qp_model_take_apart(m, w->apart, err);
}

qp_status qp_weights_open(const char *path, qp_models *models, qp_palette *palette,
                          qp_weights **out, qp_error *err) {
  qp_weights *w = calloc(1, sizeof *w);
  if (!w) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  qp_status status = qp_checkpoint_open(path, models, &w->checkpoint, err);
  if (!status) status = open_packed(w, palette, err);
  if (!status && w->packed) status = find_parts(w, err);
  if (status) return qp_weights_close(w), status;
  *out = w;
  return QP_OK;
}

void qp_weights_close(qp_weights *w) {
  if (!w) return;
  qp_packed_weights_close(w->packed);
  if (w->palette) qp_palette_close(w->palette);
  cJSON_Delete(w->config);
  free(w->apart);
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

/* The name of a block's tensor with 'to' in place of 'from', both as in qp_model_linear, which are
   those of linear l: false: it is no weight or bias 'from' of a block that has l. */
static bool renamed(const qp_weights *w, const qp_model_linear *l, const char *name,
                    const char *from, const char *to, char out[QP_MODEL_NAME + 16]) {
  const qp_model *m = w->apart;
  const size_t n = strlen(m->prefix), k = strlen(m->blocks), f = strlen(from);
  char *end = NULL;
  if (strncmp(name, m->prefix, n) != 0 || strncmp(name + n, m->blocks, k) != 0 ||
      name[n + k] != '.')
    return false;
  const unsigned long block = strtoul(name + n + k + 1, &end, 10);
  if (*end != '.' || block >= m->layers || strncmp(end + 1, from, f) != 0) return false;
  if (!qp_model_has(m, (unsigned)block, (unsigned)(l - m->linear))) return false;
  const char *ending = end + 1 + f;
  if (strcmp(ending, ".weight") != 0 && strcmp(ending, ".bias") != 0) return false;
  snprintf(out, QP_MODEL_NAME + 16, "%.*s%s%s", (int)(end + 1 - name), name, to, ending);
  return true;
}

bool qp_weights_whole(const qp_weights *w, const char *part, char whole[QP_MODEL_NAME + 16],
                      uint64_t *rows, bool *first) {
  for (unsigned i = 0; w->apart && i < w->apart->linears; i++) {
    const qp_model_linear *l = &w->apart->linear[i];
    if (!*l->of.tensor || !renamed(w, l, part, l->tensor, l->of.tensor, whole)) continue;
    *rows = (uint64_t)l->rows / l->of.run * l->of.period;
    *first = l->of.begin == 0;
    return true;
  }
  return false;
}

/* Of a tensor that lies there taken apart, the next linear from *i on, and its own tensor. */
static const qp_model_linear *next_part(const qp_weights *w, const char *name, unsigned *i,
                                        char part[QP_MODEL_NAME + 16]) {
  if (!w->apart || qp_checkpoint_find(w->checkpoint, name) || find_packed(w, name)) return NULL;
  for (; *i < w->apart->linears; ++*i) {
    const qp_model_linear *l = &w->apart->linear[*i];
    if (!*l->of.tensor || !renamed(w, l, name, l->of.tensor, l->tensor, part)) continue;
    ++*i;
    return l;
  }
  return NULL;
}

bool qp_weights_has(const qp_weights *w, const char *name) {
  char part[QP_MODEL_NAME + 16];
  unsigned i = 0;
  if (qp_weights_elements(w, name) > 0 || find_packed(w, name)) return true;
  return next_part(w, name, &i, part) && qp_weights_has(w, part);
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

/* Rows of tensor 'part', linear l, to their places among rows [first, first + count) of what it was
   taken from. */
static qp_status read_part(qp_weights *w, const char *part, const qp_model_linear *l,
                           uint64_t columns, uint64_t first, uint64_t count, qp_parallel *p,
                           float *out, qp_error *err) {
  uint64_t begin = 0, end; /* of the part's rows, whose places ascend */
  while (begin < l->rows && qp_model_row(&l->of, begin) < first) begin++;
  for (end = begin; end < l->rows && qp_model_row(&l->of, end) < first + count;) end++;
  if (begin == end) return QP_OK;
  float *v = malloc((size_t)((end - begin) * columns) * sizeof *v);
  if (!v) return qp_fail(err, QP_E_NOMEM, "%s: no memory", part);
  const qp_status status =
      qp_weights_read(w, part, l->rows, columns, begin, end - begin, p, v, err);
  for (uint64_t r = begin; r < end && !status; r++)
    memcpy(out + (size_t)((qp_model_row(&l->of, r) - first) * columns),
           v + (size_t)((r - begin) * columns), (size_t)columns * sizeof *v);
  free(v);
  return status;
}

/*
** Rows of a tensor that lies there taken apart, from those of its parts; '*found': it does, and
** has the shape.  With out NULL they are looked for alone.
*/
static qp_status read_parts(qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                            uint64_t first, uint64_t count, qp_parallel *p, float *out, bool *found,
                            qp_error *err) {
  char part[QP_MODEL_NAME + 16];
  uint64_t all = 0;
  qp_status status = QP_OK;
  const qp_model_linear *l;
  for (unsigned i = 0; (l = next_part(w, name, &i, part)) && !status;) {
    status = out ? read_part(w, part, l, columns, first, count, p, out, err)
                 : qp_weights_check(w, part, l->rows, columns, err);
    all += l->rows;
  }
  *found = all == rows;
  return status;
}

qp_status qp_weights_check(const qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                           qp_error *err) {
  bool found = false;
  const qp_packed_entry *e = find_packed(w, name);
  if (e && qp_packed_entry_rows(e) == rows && qp_packed_entry_columns(e) == columns) return QP_OK;
  const qp_status status =
      read_parts((qp_weights *)w, name, rows, columns, 0, 0, NULL, NULL, &found, err);
  if (found || status) return status;
  return check_shape(w, qp_checkpoint_find(w->checkpoint, name), name, rows, columns, err);
}

qp_status qp_weights_read(qp_weights *w, const char *name, uint64_t rows, uint64_t columns,
                          uint64_t first, uint64_t count, qp_parallel *p, float *out,
                          qp_error *err) {
  const qp_source_tensor *t = qp_checkpoint_find(w->checkpoint, name);
  const qp_packed_entry *e = find_packed(w, name);
  if (e && qp_packed_entry_rows(e) == rows && qp_packed_entry_columns(e) == columns)
    return qp_packed_weights_read(w->packed, e, first, count, p, out, err);
  bool found = false;
  qp_status status = read_parts(w, name, rows, columns, first, count, p, out, &found, err);
  if (!status && !found) status = check_shape(w, t, name, rows, columns, err);
  if (status || found) return status;
  if (columns == 1 && t->columns != 1) /* the whole vector */
    return qp_checkpoint_read(w->checkpoint, t, 0, t->rows, out, err);
  reading r = {.w = w, .t = t, .first = first, .count = count, .out = out, .err = err};
  qp_parallel_for(p, (size_t)((count + ROWS_A_TURN - 1) / ROWS_A_TURN), read_some, &r);
  return (qp_status)atomic_load(&r.status);
}
