/* SPDX-License-Identifier: MIT */
/* JSON from outside, read with care; see json.h. */
#include "gen/base/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/json_python.h"
#include "runtime/regular_file.h"

enum { MAX_FILE = 256 << 20 };

/* cJSON recurses, so depth is counted before it runs. */
static bool too_deep(const char *text, size_t bytes) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < bytes; i++) {
    char c = text[i];
    if (quoted) {
      if (c == '\\')
        i++;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > QP_JSON_MAX_DEPTH) return true;
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return false;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static qp_status check_names(const char *file, const cJSON *object, qp_error *err) {
  size_t n = 0, i = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, object) n++;
  if (n < 2) return QP_OK;
  const char **names = malloc(n * sizeof *names);
  if (!names) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  cJSON_ArrayForEach(item, object) names[i++] = item->string;
  qsort(names, n, sizeof *names, compare_names);
  qp_status status = QP_OK;
  for (i = 1; i < n && !status; i++)
    if (!strcmp(names[i - 1], names[i]))
      status =
          qp_fail(err, QP_E_ARG, "%s: key '%.80s' appears twice in one object", file, names[i]);
  free(names);
  return status;
}

static qp_status check_tree(const char *file, const cJSON *v, qp_error *err) {
  if (cJSON_IsNumber(v) && !isfinite(v->valuedouble))
    return qp_fail(err, QP_E_ARG, "%s: '%.80s' is a number beyond the range of double", file,
                   v->string ? v->string : "an item");
  qp_status status = cJSON_IsObject(v) ? check_names(file, v, err) : QP_OK;
  const cJSON *item;
  if (!status) cJSON_ArrayForEach(item, v) {
      status = check_tree(file, item, err);
      if (status) break;
    }
  return status;
}

static qp_status not_json(const char *file, const char *text, size_t at, qp_error *err) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < at; i++, column++)
    if (text[i] == '\n') line++, column = 0;
  return qp_fail(err, QP_E_ARG, "%s:%zu:%zu: this is no JSON", file, line, column);
}

static qp_status parse(const char *file, const char *text, size_t bytes, cJSON **out,
                       qp_error *err) {
  const char *end = text;
  cJSON *tree = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
  size_t at = end >= text && end <= text + bytes ? (size_t)(end - text) : 0;
  if (!tree && qp_is_lfs_pointer(text, bytes))
    return qp_fail(err, QP_E_ARG, "%s: " QP_LFS_POINTER, file);
  if (!tree) return not_json(file, text, at, err);
  while (at < bytes && strchr(" \t\r\n", text[at]) && text[at]) at++;
  qp_status status = at == bytes ? check_tree(file, tree, err) : not_json(file, text, at, err);
  if (status) return cJSON_Delete(tree), status;
  *out = tree;
  return QP_OK;
}

qp_status qp_json_parse(const char *file, const char *text, size_t bytes, cJSON **out,
                        qp_error *err) {
  if (too_deep(text, bytes))
    return qp_fail(err, QP_E_ARG, "%s: more than %d levels of nesting", file, QP_JSON_MAX_DEPTH);
  return parse(file, text, bytes, out, err);
}

qp_status qp_json_parse_python(const char *file, const char *text, size_t bytes, cJSON **out,
                               qp_error *err) {
  if (!qp_json_python_has(text, bytes)) return qp_json_parse(file, text, bytes, out, err);
  size_t length;
  char *quoted = qp_json_python_quote(text, bytes, &length);
  if (!quoted) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  qp_status status = qp_json_parse(file, quoted, length, out, err);
  free(quoted);
  if (!status) qp_json_python_unquote(*out);
  return status;
}

typedef qp_status parser(const char *file, const char *text, size_t bytes, cJSON **out,
                         qp_error *err);

static qp_status read_with(parser *how, const char *file, cJSON **out, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  qp_status status = qp_file_read(file, MAX_FILE, &text, &bytes, err);
  if (status) return status;
  status = how(file, text, bytes, out, err);
  free(text);
  return status;
}

qp_status qp_json_read(const char *file, cJSON **out, qp_error *err) {
  return read_with(qp_json_parse, file, out, err);
}

qp_status qp_json_read_python(const char *file, cJSON **out, qp_error *err) {
  return read_with(qp_json_parse_python, file, out, err);
}

static qp_status wrong(const cJSON *v, const char *where, const char *name, const char *right,
                       qp_error *err) {
  if (!v)
    return qp_fail(err, QP_E_ARG, "%s: field '%s' is missing: %s is needed", where, name, right);
  char *text = cJSON_PrintUnformatted(v);
  qp_status status = qp_fail(err, QP_E_ARG, "%s: field '%s' is %.60s: %s is needed", where, name,
                             text ? text : "unreadable", right);
  cJSON_free(text);
  return status;
}

qp_status qp_json_text(const cJSON *object, const char *where, const char *name, const char **out,
                       qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!cJSON_IsString(v) || !*v->valuestring) return wrong(v, where, name, "a string", err);
  *out = v->valuestring;
  return QP_OK;
}

qp_status qp_json_number(const cJSON *object, const char *where, const char *name, double lo,
                         double hi, double *out, qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  char right[96];
  snprintf(right, sizeof right, "a number from %g to %g", lo, hi);
  if (!cJSON_IsNumber(v) || !(v->valuedouble >= lo && v->valuedouble <= hi))
    return wrong(v, where, name, right, err);
  *out = v->valuedouble;
  return QP_OK;
}

qp_status qp_json_integer(const cJSON *object, const char *where, const char *name, int64_t lo,
                          int64_t hi, int64_t *out, qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  char right[96];
  snprintf(right, sizeof right, "an integer from %lld to %lld", (long long)lo, (long long)hi);
  if (!cJSON_IsNumber(v) || !(fabs(v->valuedouble) <= 0x1p53) ||
      v->valuedouble != floor(v->valuedouble) || (int64_t)v->valuedouble < lo ||
      (int64_t)v->valuedouble > hi)
    return wrong(v, where, name, right, err);
  *out = (int64_t)v->valuedouble;
  return QP_OK;
}

qp_status qp_json_array(const cJSON *object, const char *where, const char *name, const cJSON **out,
                        qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!cJSON_IsArray(v)) return wrong(v, where, name, "a list", err);
  *out = v;
  return QP_OK;
}

qp_status qp_json_object(const cJSON *object, const char *where, const char *name,
                         const cJSON **out, qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!cJSON_IsObject(v)) return wrong(v, where, name, "an object", err);
  *out = v;
  return QP_OK;
}
