/* SPDX-License-Identifier: MIT */
/* Sensitivities of a model of which nothing was measured. */
#include "tuner/plan/prior.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/base/resource.h"
#include "tuner/plan/figures.h"

static const char folder[] = "tuned/", ending[] = "-sensitivity.json", fed[] = "-feedback.json";
static const char prior_file[] = "lua/sensitivity/prior.json";

static qp_status read_resource(const char *path, cJSON **out, qp_error *err) {
  const char *text;
  size_t bytes;
  qp_status status = qp_resource_read(path, &text, &bytes, err);
  return status ? status : qp_json_parse(path, text, bytes, out, err);
}

/* ---- A model that was measured ---- */

typedef struct search {
  const qp_model *model;
  char path[128]; /* of the longest name that fits; "": none */
  size_t length;
} search;

static bool begins_with(const char *model, const char *name, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (tolower((unsigned char)model[i]) != tolower((unsigned char)name[i])) return false;
  return true;
}

static void visit(const char *path, void *arg) {
  search *s = arg;
  const char *name = path + sizeof folder - 1, *end = strstr(name, ending);
  const size_t n = end ? (size_t)(end - name) : 0;
  if (!n || strlen(end) >= sizeof ending || strlen(path) >= sizeof s->path) return;
  if (n <= s->length || !begins_with(s->model->name, name, n)) return;
  snprintf(s->path, sizeof s->path, "%s", path);
  s->length = n;
}

/* '*found': in->alpha is of the model that 'path' describes, which may be a variant
   of this name. */
static qp_status take_measured(qp_plan_input *in, const char *path, bool *head, bool *found,
                               qp_error *err) {
  cJSON *tree = NULL;
  bool fed_too; /* as the name of the file says */
  *found = false;
  qp_status status = read_resource(path, &tree, err);
  const cJSON *blocks = cJSON_GetObjectItemCaseSensitive(tree, "alpha");
  if (!status && cJSON_GetArraySize(blocks) == (int)in->model->layers) {
    cJSON_DeleteItemFromObjectCaseSensitive(tree, "model");
    *found = !qp_figures_sensitivity(path, tree, in, head, &fed_too, NULL);
  }
  cJSON_Delete(tree);
  return status;
}

/* The same of linears coded with error feedback, where that file is there too. */
static qp_status take_fed(qp_plan_input *in, search *s, bool *head, bool *found, qp_error *err) {
  char path[sizeof s->path + sizeof fed];
  const char *text;
  size_t bytes;
  snprintf(path, sizeof path, "%s%.*s%s", folder, (int)s->length, s->path + sizeof folder - 1, fed);
  *found = false;
  if (qp_resource_read(path, &text, &bytes, NULL)) return QP_OK;
  qp_status status = take_measured(in, path, head, found, err);
  if (*found) snprintf(s->path, sizeof s->path, "%.*s", (int)sizeof s->path - 1, path);
  return status;
}

/* ---- The guess ---- */

/* The factor at 'place' (0: the first block, 1: the last) of points at equal distances. */
static double depth_factor(const cJSON *points, double place) {
  const int n = cJSON_GetArraySize(points);
  const double at = place * (n - 1);
  const int left = (int)at < n - 1 ? (int)at : n - 2;
  if (n < 2) return 1;
  const double a = cJSON_GetArrayItem(points, left)->valuedouble;
  const double b = cJSON_GetArrayItem(points, left + 1)->valuedouble;
  return exp(log(a) + (log(b) - log(a)) * (at - left));
}

/* Experts have the factor of their kind of matrix: "expert_up" has that of "up". */
static double role_factor(const cJSON *roles, const char *role) {
  const cJSON *v = cJSON_GetObjectItemCaseSensitive(roles, role);
  const char *kind = strchr(role, '_');
  if (!v && kind) v = cJSON_GetObjectItemCaseSensitive(roles, kind + 1);
  return v ? v->valuedouble : 1;
}

static qp_status check_factors(const cJSON *list, const char *name, qp_error *err) {
  const cJSON *v;
  cJSON_ArrayForEach(v, list) if (!cJSON_IsNumber(v) || !(v->valuedouble > 0)) return qp_fail(
      err, QP_E_ARG, "%s: field '%s': numbers above 0 are needed", prior_file, name);
  return QP_OK;
}

/* Weights that a token meets: of a stack those of the experts that it goes through. */
static double weights_met(const qp_model_linear *l) {
  return (double)l->rows * l->columns * (l->experts ? l->active : 1);
}

static void guess(qp_plan_input *in, const cJSON *roles, const cJSON *points) {
  const qp_model *m = in->model;
  const unsigned linears = qp_plan_linears(m);
  double all = 0;
  for (unsigned i = 0; i < linears; i++) {
    const bool head = i + 1 == linears;
    unsigned block, number;
    qp_model_place(m, i, &block, &number);
    const qp_model_linear *l = &m->linear[number];
    const double place = m->layers > 1 ? (double)block / (m->layers - 1) : 0;
    all += weights_met(l);
    in->alpha[i] =
        weights_met(l) * role_factor(roles, l->role) * (head ? 1 : depth_factor(points, place));
  }
  for (unsigned i = 0; i < linears; i++) in->alpha[i] /= all;
}

static qp_status take_guess(qp_plan_input *in, qp_error *err) {
  cJSON *tree = NULL;
  const cJSON *roles = NULL, *points = NULL;
  qp_status status = read_resource(prior_file, &tree, err);
  if (!status) status = qp_json_object(tree, prior_file, "roles", &roles, err);
  if (!status) status = qp_json_array(tree, prior_file, "depth", &points, err);
  if (!status) status = check_factors(roles, "roles", err);
  if (!status) status = check_factors(points, "depth", err);
  if (!status) guess(in, roles, points);
  cJSON_Delete(tree);
  return status;
}

qp_status qp_prior_apply(qp_plan_input *in, bool *head, bool *feedback, char note[QP_PRIOR_NOTE],
                         qp_error *err) {
  search s = {.model = in->model};
  const bool wanted = *feedback;
  bool found = false;
  qp_status status = QP_OK;
  *head = true;
  *feedback = false;
  qp_resource_each(folder, visit, &s);
  if (s.length && wanted) status = take_fed(in, &s, head, feedback, err);
  found = *feedback;
  if (!status && s.length && !found) status = take_measured(in, s.path, head, &found, err);
  if (!status && !found) status = take_guess(in, err);
  if (found)
    snprintf(note, QP_PRIOR_NOTE,
             "no sensitivities by --calibration: those of %.80s;  qpal calibrate MODEL --text FILE "
             "-o DIR  "
             "measures those of your text",
             s.path);
  else
    snprintf(note, QP_PRIOR_NOTE,
             "no sensitivities by --calibration: a guess by role and depth;  qpal calibrate MODEL "
             "--text FILE -o DIR  measures them: less loss at the same bits");
  return status;
}
