/* SPDX-License-Identifier: MIT */
/* Hessians of a block, a file for each group of linears that read the same input. */
#include "tuner/calibrate/hessian_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/text.h"
#include "gen/model/tensor_writer.h"
#include "runtime/safetensors.h"

void qp_hessian_files_end(qp_hessian_files *h) {
  for (unsigned g = 0; g < h->groups; g++) qp_moments_free(h->group[g]);
  *h = (qp_hessian_files){0};
}

static unsigned columns_of(const qp_model *m, unsigned block, unsigned group) {
  return block < m->layers ? m->group[group].columns : m->linear[m->linears].columns;
}

qp_status qp_hessian_files_begin(const qp_model *m, unsigned block, qp_parallel *p,
                                 qp_hessian_files *out, qp_error *err) {
  const qp_blas *blas;
  qp_hessian_files h = {.model = m, .block = block};
  const unsigned groups = block < m->layers ? m->groups : 1;
  qp_status status = qp_blas_open(&blas, err);
  for (; h.groups < groups && !status; h.groups++) {
    status = qp_moments_new(columns_of(m, block, h.groups), p, blas, &h.group[h.groups], err);
    if (status) break;
  }
  if (status) return qp_hessian_files_end(&h), status;
  *out = h;
  return QP_OK;
}

/* Add an input: of a block it counts by the group's own number; the lm_head's input is the only one
   of its pass. */
static qp_status add_input(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                           unsigned columns, qp_error *err) {
  qp_hessian_files *h = arg;
  const unsigned g = block < h->model->layers ? group : 0;
  if (block != h->block || g >= h->groups || columns != columns_of(h->model, block, g))
    return qp_fail(err, QP_E_ARG, "block %u, group %u: an input of %u columns was not expected",
                   block, group, columns);
  qp_moments_add(h->group[g], x, rows);
  return QP_OK;
}

qp_forward_hook qp_hessian_files_hook(qp_hessian_files *h) {
  return (qp_forward_hook){.input = add_input, .arg = h};
}

/* ---- Files ---- */

void qp_hessian_files_name(const qp_model *m, unsigned block, unsigned group,
                           char out[QP_MODEL_NAME]) {
  if (block < m->layers)
    snprintf(out, QP_MODEL_NAME, "%s%s.%u.%s", m->prefix, m->blocks, block, m->group[group].name);
  else
    snprintf(out, QP_MODEL_NAME, "lm_head");
}

static qp_status write_tensor(const char *path, const char *name, const char *rows,
                              unsigned columns, const float *data, qp_error *err) {
  qp_tensor_writer *w = NULL;
  char tensor[QP_MODEL_NAME + 16];
  const uint64_t shape[] = {columns, columns};
  size_t id;
  snprintf(tensor, sizeof tensor, "%s.hessian", name);
  qp_status status = qp_tensor_writer_new(path, &w, err);
  if (!status) status = qp_tensor_writer_declare(w, tensor, QP_TENSOR_F32, 2, shape, &id, err);
  if (!status) status = qp_tensor_writer_metadata(w, "tokens", rows, err);
  if (!status) status = qp_tensor_writer_start(w, err);
  if (!status)
    status = qp_tensor_writer_write(w, id, 0, data, (size_t)columns * columns * sizeof *data, err);
  if (!status) status = qp_tensor_writer_finish(w, err);
  qp_tensor_writer_free(w);
  return status;
}

static qp_status write_group(const qp_hessian_files *h, unsigned group, const char *folder,
                             qp_error *err) {
  const unsigned columns = columns_of(h->model, h->block, group);
  char name[QP_MODEL_NAME], path[4096], rows[32];
  float *mean = malloc((size_t)columns * columns * sizeof *mean);
  if (!mean) return qp_fail(err, QP_E_NOMEM, "no memory for a Hessian of %u columns", columns);
  qp_hessian_files_name(h->model, h->block, group, name);
  snprintf(rows, sizeof rows, "%zu", qp_moments_rows(h->group[group]));
  const int n = snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
  qp_status status = n < 0 || (size_t)n >= sizeof path
                         ? qp_fail(err, QP_E_LIMIT, "%s: too long a path", folder)
                         : qp_moments_mean(h->group[group], mean, err);
  if (status) status = qp_fail_prefix(err, status, "%s", name);
  if (!status) status = write_tensor(path, name, rows, columns, mean, err);
  free(mean);
  return status;
}

qp_status qp_hessian_files_write(const qp_hessian_files *h, const char *folder, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned g = 0; g < h->groups && !status; g++) status = write_group(h, g, folder, err);
  return status;
}

/* ---- Reading ---- */

qp_status qp_hessian_files_read(const qp_model *m, const char *folder, unsigned block,
                                unsigned linear, float **out, qp_error *err) {
  char name[QP_MODEL_NAME], path[4096];
  const unsigned columns = m->linear[linear].columns;
  const size_t bytes = (size_t)columns * columns * sizeof(float);
  qp_safetensors *file = NULL;
  qp_hessian_files_name(m, block, m->linear[linear].group, name);
  const int n = snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
  if (n < 0 || (size_t)n >= sizeof path)
    return qp_fail(err, QP_E_LIMIT, "%s: too long a path", folder);
  qp_status status = qp_safetensors_open(path, &file, err);
  if (status) return status;
  const qp_tensor *t = qp_safetensors_count(file) == 1 ? qp_safetensors_get(file, 0) : NULL;
  if (!t || t->type != QP_TENSOR_F32 || t->bytes != bytes)
    status =
        qp_fail(err, QP_E_ARG, "%s: one tensor F32 [%u][%u] is needed", path, columns, columns);
  float *h = status ? NULL : malloc(bytes);
  if (!status && !h) status = qp_fail(err, QP_E_NOMEM, "no memory for a Hessian");
  if (h) memcpy(h, t->data, bytes);
  qp_safetensors_close(file);
  if (!status) *out = h;
  return status;
}

/* ---- Index ---- */

static void index_entry(qp_text *t, const char *linear, const char *name) {
  qp_text_add(t, "  \"%s\": \"%s.safetensors\",\n", linear, name);
}

qp_status qp_hessian_files_index(const qp_model *m, const char *folder, qp_error *err) {
  char path[4096], name[QP_MODEL_NAME], linear[QP_MODEL_NAME];
  qp_text t = {0};
  qp_text_add(&t, "{\n \"linears\": {\n");
  for (unsigned b = 0; b < m->layers; b++)
    for (unsigned l = 0; l < m->linears; l++) {
      qp_model_tensor(m, l, b, linear);
      qp_hessian_files_name(m, b, m->linear[l].group, name);
      index_entry(&t, linear, name);
    }
  qp_text_add(&t, "  \"lm_head\": \"lm_head.safetensors\"\n }\n}\n");
  const int n = snprintf(path, sizeof path, "%s/index.json", folder);
  qp_status status = QP_OK;
  if (n < 0 || (size_t)n >= sizeof path)
    status = qp_fail(err, QP_E_LIMIT, "%s: too long a path", folder);
  if (!status && t.failed) status = qp_fail(err, QP_E_NOMEM, "%s: no memory", folder);
  if (!status) status = qp_file_write(path, t.s, t.length, err);
  qp_text_free(&t);
  return status;
}
