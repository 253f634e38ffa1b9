/* SPDX-License-Identifier: MIT */
/* Reads sensitivities, distortions and sizes from files, as figures.h describes. */
#include "tuner/plan/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"

static const double most_alpha = 1e15, most_distortion = 10;

/* ---- Names of linears ---- */

/* Does 'key' say 'name', with or without ".weight"? */
static bool says(const char *key, const char *name) {
  size_t n = strlen(name);
  return !strncmp(key, name, n) && (!key[n] || !strcmp(key + n, ".weight"));
}

/* Index in qp_model.linear of a name within a block, of any that has it, or -1. */
static int block_linear(const qp_model *m, const char *key) {
  for (unsigned i = 0; i < m->linears; i++)
    if (says(key, m->linear[i].tensor)) return (int)i;
  return -1;
}

/* Does so for one block: blocks of several kinds may have the linear in several shapes. */
static int linear_of_block(const qp_model *m, unsigned block, const char *key) {
  for (unsigned i = 0; i < m->linears; i++)
    if (qp_model_has(m, block, i) && says(key, m->linear[i].tensor)) return (int)i;
  return -1;
}

/* Is linear i one of those that were taken from the matrix that 'key' names in this block? */
static bool is_of(const qp_model *m, unsigned block, unsigned i, const char *key) {
  const char *matrix = m->linear[i].of.tensor;
  return *matrix && qp_model_has(m, block, i) && says(key, matrix);
}

/* Sum the rows of all of them; 0: there is no such matrix. */
static unsigned rows_of(const qp_model *m, unsigned block, const char *key) {
  unsigned rows = 0;
  for (unsigned i = 0; i < m->linears; i++)
    if (is_of(m, block, i, key)) rows += m->linear[i].rows;
  return rows;
}

static bool is_head(const qp_model *m, const char *key) {
  return says(key, "lm_head") || says(key, m->linear[m->linears].tensor);
}

/* Find the block of a tensor, and give its name within; NULL: it is in none. */
static const char *block_of(const qp_model *m, const char *key, unsigned *block) {
  char before[sizeof m->prefix + sizeof m->blocks];
  char *end;
  size_t n = (size_t)snprintf(before, sizeof before, "%s%s.", m->prefix, m->blocks);
  if (strncmp(key, before, n) != 0 || key[n] < '0' || key[n] > '9') return NULL;
  const unsigned long number = strtoul(key + n, &end, 10);
  if (*end != '.' || number >= m->layers) return NULL;
  *block = (unsigned)number;
  return end + 1;
}

/* Index of a linear by the name of its tensor, the lm_head's the last, or -1. */
static int64_t tensor_linear(const qp_model *m, const char *key) {
  unsigned block = 0;
  if (is_head(m, key)) return (int64_t)qp_plan_linears(m) - 1;
  const char *name = block_of(m, key, &block);
  const int l = name ? linear_of_block(m, block, name) : -1;
  return l < 0 ? -1 : (int64_t)qp_model_number(m, block, (unsigned)l);
}

/* ---- Sensitivities ---- */

static qp_status take_alpha(const char *where, const cJSON *v, double share, double *to,
                            qp_error *err) {
  if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= most_alpha))
    return qp_fail(err, QP_E_ARG, "%s: '%.100s': a sensitivity from 0 to %g is needed", where,
                   v->string, most_alpha);
  if (!isnan(*to)) return qp_fail(err, QP_E_ARG, "%s: '%.100s' is given twice", where, v->string);
  *to = share * v->valuedouble;
  return QP_OK;
}

/* The sensitivity of a matrix of which a block has the linears apart: of equal distortions theirs
   add up to it, in proportion to their rows.  '*found': there is such a matrix. */
static qp_status share_alpha(const char *where, const cJSON *v, const qp_model *m, unsigned block,
                             const char *key, double *alpha, bool *found, qp_error *err) {
  const unsigned rows = key ? rows_of(m, block, key) : 0;
  qp_status status = QP_OK;
  *found = rows > 0;
  for (unsigned i = 0; i < m->linears && *found && !status; i++)
    if (is_of(m, block, i, key))
      status = take_alpha(where, v, (double)m->linear[i].rows / rows,
                          &alpha[qp_model_number(m, block, i)], err);
  return status;
}

static qp_status unknown_linear(const char *where, const char *key, const qp_model *m,
                                qp_error *err) {
  char first[QP_MODEL_NAME];
  qp_model_tensor(m, 0, 0, first);
  return qp_fail(err, QP_E_ARG, "%s: '%.100s' is no linear of %s, whose first is %s", where, key,
                 m->name, first);
}

static qp_status read_blocks(const char *file, const cJSON *blocks, const qp_plan_input *in,
                             double *alpha, qp_error *err) {
  const qp_model *m = in->model;
  const cJSON *block, *v;
  unsigned b = 0;
  if (cJSON_GetArraySize(blocks) != (int)m->layers)
    return qp_fail(err, QP_E_ARG, "%s: field 'alpha' has %d blocks, %s has %u", file,
                   cJSON_GetArraySize(blocks), m->name, m->layers);
  cJSON_ArrayForEach(block, blocks) {
    char where[512];
    snprintf(where, sizeof where, "%s: alpha[%u]", file, b);
    if (!cJSON_IsObject(block)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", where);
    cJSON_ArrayForEach(v, block) {
      int l = linear_of_block(m, b, v->string);
      bool found = false;
      qp_status status = QP_OK;
      if (l < 0) status = share_alpha(where, v, m, b, v->string, alpha, &found, err);
      if (status) return status;
      if (found) continue;
      if (l < 0 && block_linear(in->whole, v->string) >= 0) continue; /* it stays as it is */
      if (l < 0) return unknown_linear(where, v->string, m, err);
      status = take_alpha(where, v, 1, &alpha[qp_model_number(m, b, (unsigned)l)], err);
      if (status) return status;
    }
    b++;
  }
  return QP_OK;
}

static qp_status list_missing(const char *file, const qp_model *m, const double *alpha,
                              qp_error *err) {
  char list[2048] = "";
  size_t n = 0, missing = 0;
  for (unsigned i = 0; i + 1 < qp_plan_linears(m); i++) {
    char name[QP_MODEL_NAME];
    if (!isnan(alpha[i])) continue;
    missing++;
    unsigned block, linear;
    qp_model_place(m, i, &block, &linear);
    qp_model_tensor(m, linear, block, name);
    if (n < sizeof list)
      n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", name);
  }
  if (!missing) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: %zu of %u linears of %s have no sensitivity: %s%s", file,
                 missing, qp_plan_linears(m) - 1, m->name, list, n >= sizeof list ? " ..." : "");
}

static qp_status read_sensitivity(const char *file, const cJSON *tree, const qp_plan_input *in,
                                  double *alpha, qp_error *err) {
  const qp_model *m = in->model;
  const cJSON *v, *blocks = cJSON_GetObjectItemCaseSensitive(tree, "alpha");
  qp_status status = QP_OK;
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  if (cJSON_IsArray(blocks)) status = read_blocks(file, blocks, in, alpha, err);
  cJSON_ArrayForEach(v, tree) {
    if (status) return status;
    if (!strcmp(v->string, "model")) {
      if (!cJSON_IsString(v) || strcmp(v->valuestring, m->name) != 0)
        status = qp_fail(err, QP_E_ARG, "%s: field 'model' is '%.60s', the plan is for %s", file,
                         cJSON_IsString(v) ? v->valuestring : "no name", m->name);
      continue;
    }
    if (!strcmp(v->string, "feedback")) {
      if (!cJSON_IsBool(v))
        status = qp_fail(err, QP_E_ARG, "%s: field 'feedback': true or false is needed", file);
      continue;
    }
    if (!strcmp(v->string, "source") || !strcmp(v->string, "note") || v == blocks) continue;
    int64_t i = tensor_linear(m, v->string);
    unsigned block = 0;
    bool found = false;
    const char *name = i < 0 ? block_of(m, v->string, &block) : NULL;
    if (name) status = share_alpha(file, v, m, block, name, alpha, &found, err);
    if (status || found) continue;
    if (i < 0 && tensor_linear(in->whole, v->string) >= 0) continue; /* it stays as it is */
    status =
        i < 0 ? unknown_linear(file, v->string, m, err) : take_alpha(file, v, 1, &alpha[i], err);
  }
  return status ? status : list_missing(file, m, alpha, err);
}

qp_status qp_figures_sensitivity(const char *file, const cJSON *tree, qp_plan_input *in, bool *head,
                                 bool *fed, qp_error *err) {
  unsigned n = qp_plan_linears(in->model);
  double *alpha = calloc(n, sizeof *alpha);
  if (!alpha) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  for (unsigned i = 0; i < n; i++) alpha[i] = NAN;
  qp_status status = read_sensitivity(file, tree, in, alpha, err);
  if (!status) {
    *head = !isnan(alpha[n - 1]);
    *fed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tree, "feedback"));
    if (!*head) alpha[n - 1] = 0;
    memcpy(in->alpha, alpha, n * sizeof *alpha);
  }
  free(alpha);
  return status;
}

/* ---- Distortions ---- */

static qp_status take_distortion(const char *file, const char *name, const cJSON *v, double *to,
                                 qp_error *err) {
  if (cJSON_IsObject(v)) v = cJSON_GetObjectItemCaseSensitive(v, "distortion");
  if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0 && v->valuedouble <= most_distortion))
    return qp_fail(err, QP_E_ARG, "%s: '%.100s': a distortion from 0 to %g is needed", file, name,
                   most_distortion);
  *to = v->valuedouble;
  return QP_OK;
}

static bool is_remark(const char *name) {
  return !strcmp(name, "source") || !strcmp(name, "note") || !strcmp(name, "model");
}

static qp_status take_entry(const char *file, const char *name, const cJSON *v, qp_menu *menu,
                            qp_error *err) {
  int q = qp_menu_find(menu, name);
  double d = 0;
  qp_status status = take_distortion(file, name, v, &d, err);
  if (!status && q >= 0) menu->entry[q].distortion = d;
  return status;
}

qp_status qp_figures_distortion(const char *file, const cJSON *tree, qp_menu *menu, qp_error *err) {
  const cJSON *v, *from = tree;
  qp_status status = QP_OK;
  if (cJSON_IsArray(tree)) {
    cJSON_ArrayForEach(v, tree) {
      const char *name = NULL;
      if (!status) status = qp_json_text(v, file, "quantizer", &name, err);
      if (!status) status = take_entry(file, name, v, menu, err);
    }
    return status;
  }
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  const cJSON *quantizers = cJSON_GetObjectItemCaseSensitive(tree, "quantizers");
  if (!quantizers && cJSON_GetObjectItemCaseSensitive(tree, "linears")) return QP_OK;
  if (quantizers) from = quantizers;
  if (!cJSON_IsObject(from))
    return qp_fail(err, QP_E_ARG, "%s: field 'quantizers': an object is needed", file);
  cJSON_ArrayForEach(v, from) {
    if (from == tree && is_remark(v->string)) continue;
    if (!status) status = take_entry(file, v->string, v, menu, err);
  }
  return status;
}

/* What a matrix has, each of the linears has that were taken from it. */
static void spread_distortion(const qp_plan_input *in, unsigned block, const char *name, unsigned q,
                              double d) {
  for (unsigned l = 0; l < in->model->linears; l++)
    if (is_of(in->model, block, l, name))
      in->distortion[(size_t)qp_model_number(in->model, block, l) * in->menu->count + q] = d;
}

qp_status qp_figures_linear_distortion(const char *file, const cJSON *tree, qp_plan_input *in,
                                       qp_error *err) {
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(tree, "linears"), *linear, *v;
  qp_status status = QP_OK;
  if (!linears) return QP_OK;
  cJSON_ArrayForEach(linear, linears) {
    int64_t i = linear->string ? tensor_linear(in->model, linear->string) : -1;
    unsigned block = 0;
    const char *name = i < 0 && linear->string ? block_of(in->model, linear->string, &block) : NULL;
    if (i < 0 && linear->string && tensor_linear(in->whole, linear->string) >= 0) continue;
    if (i < 0 && !(name && rows_of(in->model, block, name)))
      return unknown_linear(file, linear->string ? linear->string : "an item", in->model, err);
    cJSON_ArrayForEach(v, linear) {
      int q = v->string ? qp_menu_find(in->menu, v->string) : -1;
      double d = 0;
      status = take_distortion(file, linear->string, v, &d, err);
      if (status) return status;
      if (q >= 0 && i >= 0) in->distortion[(size_t)i * in->menu->count + (unsigned)q] = d;
      if (q >= 0 && i < 0) spread_distortion(in, block, name, (unsigned)q, d);
    }
  }
  return QP_OK;
}

/* ---- Sizes ---- */

static qp_status read_sizes(const char *file, const cJSON *linears, const qp_plan_input *in,
                            uint64_t *bytes, qp_error *err) {
  const cJSON *linear, *list, *v;
  const qp_model *m = in->model;
  cJSON_ArrayForEach(linear, linears) {
    char where[512];
    snprintf(where, sizeof where, "%s: linears.%.100s", file, linear->string);
    int l = is_head(m, linear->string) ? (int)m->linears : block_linear(m, linear->string);
    if (l < 0 && block_linear(in->whole, linear->string) >= 0) continue;
    if (l < 0) return unknown_linear(where, linear->string, m, err);
    qp_status status = qp_json_object(linear, where, "bytes", &list, err);
    if (status) return status;
    cJSON_ArrayForEach(v, list) {
      int64_t n = 0;
      int q = qp_menu_find(in->menu, v->string);
      status = qp_json_integer(list, where, v->string, 1, (int64_t)1 << 50, &n, err);
      if (status) return status;
      if (q >= 0) bytes[(size_t)l * in->menu->count + (size_t)q] = (uint64_t)n;
    }
  }
  return QP_OK;
}

qp_status qp_figures_sizes(const char *file, const cJSON *tree, qp_plan_input *in, qp_error *err) {
  const cJSON *linears = NULL;
  size_t n = (size_t)(in->model->linears + 1) * in->menu->count;
  uint64_t *bytes = malloc((n + 1) * sizeof *bytes);
  if (!bytes) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  for (size_t i = 0; i < n; i++) bytes[i] = UINT64_MAX;
  qp_status status = qp_json_object(tree, file, "linears", &linears, err);
  if (!status) status = read_sizes(file, linears, in, bytes, err);
  if (!status) memcpy(in->bytes, bytes, n * sizeof *bytes);
  free(bytes);
  return status;
}
