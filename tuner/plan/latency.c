/* SPDX-License-Identifier: MIT */
/* Keeps latencies of launches in one neutral form, and reads foreign tables (latency.h). */
#include "tuner/plan/latency.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "runtime/list.h"

/* A launch longer than this is no launch: a day. */
static const double max_seconds = 86400;
static const int64_t max_ps = (int64_t)86400 * 1000000000000;

const char *qp_latency_match_name(qp_latency_match m) {
  static const char *const names[] = {[QP_MATCH_EXACT] = "exact",
                                      [QP_MATCH_OTHER_DRIVER] = "other driver",
                                      [QP_MATCH_NEAREST_SHAPE] = "nearest shape",
                                      [QP_MATCH_OTHER_GPU] = "other gpu"};
  _Static_assert(sizeof names / sizeof *names == QP_MATCH_KINDS, "a name for every kind of match");
  return (unsigned)m < QP_MATCH_KINDS ? names[m] : "none";
}

static qp_status check_row(const qp_latency_table *t, const qp_latency_row *r, qp_error *err) {
  const char *what = r->key[0] ? r->key : r->member[0].quantizer;
  if (r->members < 1 || r->members > QP_LATENCY_MEMBERS || (r->key[0] && r->members != 1))
    return qp_fail(err, QP_E_ARG, "%s: row %s: %u members: 1 to %d are needed", t->source, what,
                   r->members, r->key[0] ? 1 : QP_LATENCY_MEMBERS);
  if (r->ps < 1 || r->ps > max_ps || r->spread_ps < 0 || r->spread_ps > max_ps)
    return qp_fail(err, QP_E_ARG, "%s: row %s: %lld ps with spread %lld: above 0 is needed",
                   t->source, what, (long long)r->ps, (long long)r->spread_ps);
  if (!r->path[0] || r->batch < 1)
    return qp_fail(err, QP_E_ARG, "%s: row %s: a path and a batch are needed", t->source, what);
  for (unsigned i = 0; i < r->members; i++)
    if (!r->member[i].quantizer[0] ||
        (!r->key[0] && (!r->member[i].rows || !r->member[i].columns ||
                        r->member[i].columns != r->member[0].columns)))
      return qp_fail(err, QP_E_ARG, "%s: row %s: member %u needs a quantizer and a shape",
                     t->source, what, i);
  return QP_OK;
}

qp_status qp_latency_add(qp_latency_table *t, const qp_latency_row *row, qp_error *err) {
  qp_status status = check_row(t, row, err);
  if (status) return status;
  qp_latency_row *more = qp_list_room(t->row, t->rows, &t->capacity, sizeof *more);
  if (!more) return qp_fail(err, QP_E_NOMEM, "%s: no memory for rows", t->source);
  t->row = more;
  t->row[t->rows++] = *row;
  return QP_OK;
}

void qp_latency_free(qp_latency_table *t) {
  free(t->row);
  t->row = NULL;
  t->rows = t->capacity = 0;
}

/* ---- Foreign tables ---- */

static bool copy(char *to, size_t size, const char *from) {
  if (strlen(from) >= size) return false;
  memcpy(to, from, strlen(from) + 1);
  return true;
}

static qp_status read_seconds(const cJSON *v, const char *where, const char *name, bool zero,
                              int64_t *ps, qp_error *err) {
  double s = cJSON_IsNumber(v) ? v->valuedouble : NAN;
  if (!(s <= max_seconds) || !(zero ? s >= 0 : s > 0)) {
    char *text = v ? cJSON_PrintUnformatted(v) : NULL;
    qp_status status =
        qp_fail(err, QP_E_ARG, "%s: field '%s' is %.60s: seconds %s 0 are needed", where, name,
                text ? text : "missing", zero ? "of at least" : "above");
    cJSON_free(text);
    return status;
  }
  *ps = llround(s * 1e12);
  if (!zero && *ps == 0) *ps = 1;
  return QP_OK;
}

/* spread.KEY.QUANTIZER.PATH, 0 where there is none. */
static qp_status read_spread(const cJSON *spread, const char *where, const qp_latency_row *row,
                             int64_t *out, qp_error *err) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(spread, row->key);
  v = cJSON_GetObjectItemCaseSensitive(v, row->member[0].quantizer);
  v = cJSON_GetObjectItemCaseSensitive(v, row->path);
  return v ? read_seconds(v, where, "spread", true, out, err) : QP_OK;
}

static qp_status read_quantizer(qp_latency_table *t, const cJSON *o, const cJSON *spread,
                                qp_latency_row *row, qp_error *err) {
  char where[512];
  const cJSON *v;
  snprintf(where, sizeof where, "%s: groups.%s.%.60s", t->source, row->key, o->string);
  if (!copy(row->member[0].quantizer, sizeof row->member[0].quantizer, o->string))
    return qp_fail(err, QP_E_ARG, "%s: the quantizer's name is too long", where);
  if (!cJSON_IsObject(o) || !o->child)
    return qp_fail(err, QP_E_ARG, "%s: an object of paths is needed, such as {\"tensor\": 1e-5}",
                   where);
  cJSON_ArrayForEach(v, o) {
    if (!*v->string || !copy(row->path, sizeof row->path, v->string))
      return qp_fail(err, QP_E_ARG, "%s: path '%.60s': 1 to %zu characters are needed", where,
                     v->string, sizeof row->path - 1);
    row->spread_ps = 0;
    qp_status status = read_seconds(v, where, v->string, false, &row->ps, err);
    if (!status) status = read_spread(spread, where, row, &row->spread_ps, err);
    if (!status) status = qp_latency_add(t, row, err);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status read_groups(qp_latency_table *t, const cJSON *tree, unsigned batch,
                             qp_error *err) {
  const cJSON *groups, *group, *o;
  const cJSON *spread = cJSON_GetObjectItemCaseSensitive(tree, "spread");
  qp_status status = qp_json_object(tree, t->source, "groups", &groups, err);
  if (status) return status;
  cJSON_ArrayForEach(group, groups) {
    qp_latency_row row = {.members = 1, .batch = batch, .match = QP_MATCH_EXACT};
    if (!group->string[0] || !copy(row.key, sizeof row.key, group->string))
      return qp_fail(err, QP_E_ARG, "%s: groups: '%.60s': first letters of roles are needed",
                     t->source, group->string);
    if (!cJSON_IsObject(group))
      return qp_fail(err, QP_E_ARG, "%s: groups.%s: an object of quantizers is needed", t->source,
                     row.key);
    cJSON_ArrayForEach(o, group) {
      status = read_quantizer(t, o, spread, &row, err);
      if (status) return status;
    }
  }
  if (!t->rows) return qp_fail(err, QP_E_ARG, "%s: field 'groups' has no latencies", t->source);
  return QP_OK;
}

static qp_status read_name(const cJSON *tree, const char *source, const char *name, char *out,
                           size_t size, qp_error *err) {
  const char *text = NULL;
  qp_status status = qp_json_text(tree, source, name, &text, err);
  if (!status && !copy(out, size, text))
    status =
        qp_fail(err, QP_E_ARG, "%s: field '%s': more than %zu characters", source, name, size - 1);
  return status;
}

/* "published figures (method: not known), Q-Palette repository, ..." */
static void read_about(const cJSON *tree, qp_latency_table *t) {
  static const char *const fields[] = {"kind", "method", "source"};
  const char *text[3];
  for (int i = 0; i < 3; i++) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(tree, fields[i]);
    text[i] = cJSON_IsString(v) && v->valuestring[0] ? v->valuestring : NULL;
  }
  if (!text[0] && !text[2]) return;
  const int n = snprintf(t->about, sizeof t->about, "%.40s figures (method: %.60s)%s%.110s",
                         text[0] ? text[0] : "foreign", text[1] ? text[1] : "not told",
                         text[2] ? ", " : "", text[2] ? text[2] : "");
  if (n < 0) t->about[0] = 0;
}

static qp_status read_tree(qp_latency_table *t, const cJSON *tree, qp_error *err) {
  int64_t batch = 1;
  if (!cJSON_IsObject(tree)) return qp_fail(err, QP_E_ARG, "%s: an object is needed", t->source);
  qp_status status = read_name(tree, t->source, "gpu", t->gpu, sizeof t->gpu, err);
  if (!status) status = read_name(tree, t->source, "model", t->model, sizeof t->model, err);
  if (!status) status = qp_json_integer(tree, t->source, "batch", 1, 1 << 16, &batch, err);
  if (!status)
    status = read_seconds(cJSON_GetObjectItemCaseSensitive(tree, "constant_s"), t->source,
                          "constant_s", true, &t->constant_ps, err);
  const cJSON *overhead = cJSON_GetObjectItemCaseSensitive(tree, "launch_overhead_s");
  if (!status && overhead)
    status = read_seconds(overhead, t->source, "launch_overhead_s", true, &t->overhead_ps, err);
  read_about(tree, t);
  return status ? status : read_groups(t, tree, (unsigned)batch, err);
}

static qp_status take_tree(const char *file, cJSON *tree, qp_latency_table *out, qp_error *err) {
  qp_latency_table t = {.overhead_ps = -1};
  snprintf(t.source, sizeof t.source, "%s", file);
  qp_status status = read_tree(&t, tree, err);
  cJSON_Delete(tree);
  if (status) return qp_latency_free(&t), status;
  *out = t;
  return QP_OK;
}

qp_status qp_latency_parse_foreign(const char *file, const char *text, size_t bytes,
                                   qp_latency_table *out, qp_error *err) {
  cJSON *tree = NULL;
  qp_status status = qp_json_parse(file, text, bytes, &tree, err);
  return status ? status : take_tree(file, tree, out, err);
}

qp_status qp_latency_read_foreign(const char *file, qp_latency_table *out, qp_error *err) {
  cJSON *tree = NULL;
  qp_status status = qp_json_read(file, &tree, err);
  return status ? status : take_tree(file, tree, out, err);
}
