/* SPDX-License-Identifier: MIT */
/* Reads a folder that qpal calibrate wrote. */
#include "tuner/plan/calibration.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/json.h"

void qp_calibration_close(qp_calibration *c) {
  cJSON_Delete(c->tree);
  *c = (qp_calibration){0};
}

/* out = folder/name, where that is there; else "". */
static qp_status path_of(const char *folder, const char *name, char out[QP_CALIBRATION_PATH],
                         qp_error *err) {
  struct stat info;
  const int n = snprintf(out, QP_CALIBRATION_PATH, "%s/%s", folder, name);
  if (n < 0 || n >= QP_CALIBRATION_PATH)
    return qp_fail(err, QP_E_LIMIT, "%s: too long a path", folder);
  if (stat(out, &info) != 0) *out = 0;
  return QP_OK;
}

static qp_status read_tree(const char *file, qp_calibration *c, qp_error *err) {
  int64_t version;
  const char *key;
  qp_status status = qp_json_read(file, &c->tree, err);
  if (!status && !cJSON_IsObject(c->tree))
    status = qp_fail(err, QP_E_ARG, "%s: an object is needed", file);
  if (!status) status = qp_json_integer(c->tree, file, "calibration", 1, 1 << 20, &version, err);
  if (!status && version != QP_CALIBRATION_VERSION)
    status = qp_fail(err, QP_E_ARG, "%s: field 'calibration' is version %lld: this qpal reads %d",
                     file, (long long)version, QP_CALIBRATION_VERSION);
  if (!status) status = qp_json_text(c->tree, file, "key", &key, err);
  if (!status) snprintf(c->key, sizeof c->key, "%s", key);
  return status;
}

qp_status qp_calibration_open(const char *folder, qp_calibration *out, qp_error *err) {
  qp_calibration c = {0};
  char file[QP_CALIBRATION_PATH];
  qp_status status = path_of(folder, "calibration.json", file, err);
  if (!status && !*file)
    status =
        qp_fail(err, QP_E_IO,
                "%s: there is no calibration.json in it:  qpal calibrate MODEL --text FILE -o %s  "
                "makes one (a run that was stopped has none yet)",
                folder, folder);
  if (!status) status = read_tree(file, &c, err);
  if (!status) status = path_of(folder, "sensitivity.json", c.sensitivity, err);
  if (!status) status = path_of(folder, "hessians", c.hessian, err);
  if (status) return qp_calibration_close(&c), status;
  *out = c;
  return QP_OK;
}

bool qp_calibration_is_of(const qp_calibration *c, uint64_t digest) {
  char own[17];
  const char *said = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->tree, "weights"));
  snprintf(own, sizeof own, "%016llx", (unsigned long long)digest);
  return !said || !strcmp(said, own);
}

bool qp_calibration_find(const qp_calibration *c, const char *linear, double *alpha,
                         double *error) {
  const cJSON *linears = cJSON_GetObjectItemCaseSensitive(c->tree, "linears");
  const cJSON *entry = cJSON_GetObjectItemCaseSensitive(linears, linear);
  const cJSON *a = cJSON_GetObjectItemCaseSensitive(entry, "sensitivity");
  const cJSON *e = cJSON_GetObjectItemCaseSensitive(entry, "standard_error");
  if (!cJSON_IsNumber(a)) return false;
  *alpha = a->valuedouble;
  *error = cJSON_IsNumber(e) ? e->valuedouble : 0;
  return true;
}
