/* SPDX-License-Identifier: MIT */
/* A case as rows of `qpal check` show it, and rows that an earlier check wrote. */
#include "tuner/check/case_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"

enum { NAME, FAMILY, SHAPE, TYPE, TUNABLES };

static const char *const column[QP_CASE_TEXTS] = {
#define NAME_OF(name) #name,
    QP_CASE_BEFORE_BATCH(NAME_OF) QP_CASE_BEHIND_BATCH(NAME_OF)
#undef NAME_OF
};

static void name_of(const qp_problem *p, char *to, size_t size) {
  size_t n = 0;
  to[0] = 0;
  for (unsigned s = 0; s < p->segments && n < size; s++)
    n += (size_t)snprintf(to + n, size - n, "%s%s", s ? "," : "", p->segment[s].quantizer->name);
  if (!p->segments) snprintf(to, size, "%s", p->inverse ? "inverse" : "forward");
}

static void shape_of(const qp_problem *p, char *to, size_t size) {
  size_t n = 0;
  to[0] = 0;
  for (unsigned s = 0; s < p->segments && n < size; s++)
    n += (size_t)snprintf(to + n, size - n, "%s%u", s ? "+" : "", p->segment[s].rows);
  if (n < size && qp_op_has_columns(p->op))
    n += (size_t)snprintf(to + n, size - n, "x%u%s", p->columns, p->top_k ? ", " : "");
  if (n < size && qp_op_has_experts(p->op))
    snprintf(to + n, size - n, "%u of %u", p->top_k, qp_problem_all_experts(p));
}

static void type_of(const qp_case *c, char *to, size_t size) {
  const qp_problem *p = &c->problem;
  char more[48] = "";
  size_t n = 0;
  if (qp_problem_pieces(p) > 1) n = (size_t)snprintf(more, sizeof more, " %u pieces", p->pieces);
  if (qp_side_block(p->rotation))
    n += (size_t)snprintf(more + n, sizeof more - n, " in %u", qp_side_block(p->rotation));
  snprintf(more + n, sizeof more - n, "%s%s", qp_side_has_order(p->rotation) ? " ordered" : "",
           qp_side_has_scale(p->rotation) ? " scaled" : "");
  snprintf(to, size, "%s%s%s%s%s%s", qp_dtype_name(p->type),
           p->op == QP_OP_GEMM && p->out_type == QP_F32 ? "->f32" : "",
           p->rotate_fused ? " rotated" : "", p->inverse ? " inverse" : "",
           c->unrotate ? " unrotated" : "", more);
}

static void tunables_of(const qp_choice *c, char *to, size_t size) {
  size_t n = 0;
  to[0] = 0;
  for (unsigned i = 0; i < c->family->tunables && n < size; i++)
    if (c->value[i] != c->family->tunable[i].value[0])
      n += (size_t)snprintf(to + n, size - n, "%s%s=%u", n ? "," : "", c->family->tunable[i].name,
                            c->value[i]);
}

void qp_case_text_make(const qp_case *c, qp_case_text *out) {
  const size_t size = QP_CASE_TEXT_BYTES;
  /* cppcheck-suppress uninitvar ; it is filled here */
  name_of(&c->problem, out->of[NAME], size);
  snprintf(out->of[FAMILY], size, "%s", c->choice.family->name);
  shape_of(&c->problem, out->of[SHAPE], size);
  type_of(c, out->of[TYPE], size);
  tunables_of(&c->choice, out->of[TUNABLES], size);
}

/* ---- rows that are there ---- */

/* A row as one text. */
typedef struct key {
  char *text;
} key;

static int by_text(const void *a, const void *b) {
  return strcmp(((const key *)a)->text, ((const key *)b)->text);
}

static char *key_of(const char *const *text, unsigned batch) {
  size_t n = 16;
  for (unsigned i = 0; i < QP_CASE_TEXTS; i++) n += strlen(text[i]) + 1;
  char *all = malloc(n), *at = all;
  if (!all) return NULL;
  for (unsigned i = 0; i < QP_CASE_TEXTS; i++) at += sprintf(at, "%s\n", text[i]);
  sprintf(at, "%u", batch);
  return all;
}

static char *case_key(const qp_case *c) {
  qp_case_text made;
  const char *text[QP_CASE_TEXTS];
  qp_case_text_make(c, &made);
  for (unsigned i = 0; i < QP_CASE_TEXTS; i++) text[i] = made.of[i];
  return key_of(text, c->problem.batch);
}

/* One row of the file; '*out' stays NULL where its case is to be checked again. */
static qp_status read_row(const cJSON *row, const char *where, char **out, qp_error *err) {
  const char *text[QP_CASE_TEXTS], *result = NULL;
  int64_t batch = 0;
  if (!cJSON_IsObject(row)) return qp_fail(err, QP_E_ARG, "%s: should be an object", where);
  for (unsigned i = 0; i < QP_CASE_TEXTS; i++) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, column[i]);
    if (!cJSON_IsString(value))
      return qp_fail(err, QP_E_ARG, "%s: field '%s' should be a text, as check --json writes it",
                     where, column[i]);
    text[i] = value->valuestring;
  }
  qp_status status = qp_json_text(row, where, "result", &result, err);
  if (!status && !strcmp(text[FAMILY], "definition")) return QP_OK; /* it has no case */
  if (!status) status = qp_json_integer(row, where, "batch", 0, UINT32_MAX, &batch, err);
  if (status || (strcmp(result, "PASS") != 0 && strcmp(result, "not run") != 0)) return status;
  *out = key_of(text, (unsigned)batch);
  return *out ? QP_OK : qp_fail(err, QP_E_NOMEM, "%s: no memory", where);
}

static qp_status read_rows(const char *file, const cJSON *array, key *keys, size_t *count,
                           qp_error *err) {
  size_t i = 0;
  const cJSON *row;
  cJSON_ArrayForEach(row, array) {
    char where[QP_CASE_TEXT_BYTES], *text = NULL;
    snprintf(where, sizeof where, "%s: row %zu", file, ++i);
    const qp_status status = read_row(row, where, &text, err);
    if (status) return status;
    if (text) keys[(*count)++].text = text;
  }
  qsort(keys, *count, sizeof *keys, by_text);
  return QP_OK;
}

/* How many of the sorted keys are this text. */
static size_t count_of(const key *keys, size_t count, const char *text) {
  size_t first = 0, end = count, n = 0;
  while (first < end) {
    const size_t middle = first + (end - first) / 2;
    if (strcmp(keys[middle].text, text) < 0)
      first = middle + 1;
    else
      end = middle;
  }
  while (first + n < count && !strcmp(keys[first + n].text, text)) n++;
  return n;
}

static void free_keys(key *keys, size_t count) {
  for (size_t i = 0; keys && i < count; i++) free(keys[i].text);
  free(keys);
}

/* Keep the cases of which there are fewer rows than cases.  Cases of one kernel differ in their
   random data alone, which turns with their number: all of them are left out or none. */
static qp_status keep_others(qp_cases *cases, const key *rows, size_t count, qp_error *err) {
  key *keys = calloc(cases->count + 1, sizeof *keys);
  bool *left_out = calloc(cases->count + 1, sizeof *left_out), memory = keys && left_out;
  size_t kept = 0;
  for (size_t i = 0; memory && i < cases->count; i++)
    memory = (keys[i].text = case_key(cases->list + i));
  if (memory) qsort(keys, cases->count, sizeof *keys, by_text);
  for (size_t i = 0; memory && i < cases->count; i++) {
    char *text = case_key(cases->list + i);
    memory = text;
    left_out[i] = memory && count_of(rows, count, text) >= count_of(keys, cases->count, text);
    free(text);
  }
  free_keys(keys, cases->count);
  for (size_t i = 0; memory && i < cases->count; i++)
    if (!left_out[i]) cases->list[kept++] = cases->list[i];
  if (memory) cases->count = kept;
  free(left_out);
  return memory ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for rows that are left out");
}

qp_status qp_cases_leave_out(const char *file, qp_cases *cases, qp_error *err) {
  cJSON *array = NULL;
  size_t count = 0;
  qp_status status = qp_json_read(file, &array, err);
  if (status) return status;
  if (!cJSON_IsArray(array))
    status =
        qp_fail(err, QP_E_ARG, "%s: should be an array of rows, as check --json writes it", file);
  key *keys = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *keys);
  if (!status && !keys) status = qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  if (!status) status = read_rows(file, array, keys, &count, err);
  if (!status) status = keep_others(cases, keys, count, err);
  free_keys(keys, count);
  cJSON_Delete(array);
  return status;
}
