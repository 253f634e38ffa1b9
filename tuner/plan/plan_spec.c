/* SPDX-License-Identifier: MIT */
/* Where the quantizers of a plan come from. */
#include "tuner/plan/plan_spec.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/spec/quantizer.h"

/* Is one of the path's components ".."? */
static bool climbs(const char *path, size_t bytes) {
  for (size_t i = 0; i + 2 <= bytes; i++) {
    const bool starts = i == 0 || path[i - 1] == '/';
    const bool ends = i + 2 == bytes || path[i + 2] == '/';
    if (starts && ends && path[i] == '.' && path[i + 1] == '.') return true;
  }
  return false;
}

qp_status qp_plan_spec_check(const char *spec, const char *where, qp_error *err) {
  const size_t bytes = qp_palette_path_bytes(spec);
  if (!bytes || (*spec != '/' && !climbs(spec, bytes))) return QP_OK;
  return qp_fail(
      err, QP_E_ARG,
      "%s: field 'spec' is '%s'; a name of the palette or a file in the plan's folder or "
      "below it is needed",
      where, spec);
}

static qp_status too_long(const char *spec, qp_error *err) {
  return qp_fail(err, QP_E_LIMIT, "%.60s...: the path is too long", spec);
}

/* Count the bytes of the folder in "folder/file", with its slash. */
static size_t folder_bytes(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash ? (size_t)(slash - file) + 1 : 0;
}

qp_status qp_plan_spec_open(const char *file, const char *spec, char *out, size_t size,
                            qp_error *err) {
  const size_t folder = qp_palette_path_bytes(spec) ? folder_bytes(file) : 0;
  const int n = snprintf(out, size, "%.*s%s", (int)folder, file, spec);
  return n < 0 || (size_t)n >= size ? too_long(spec, err) : QP_OK;
}

/* Find the canonical path of the first 'bytes' of a text; "": the working directory. */
static qp_status canonical(const char *text, size_t bytes, char out[PATH_MAX], qp_error *err) {
  char path[PATH_MAX];
  if (bytes >= sizeof path) return too_long(text, err);
  snprintf(path, sizeof path, "%.*s", (int)bytes, text);
  if (realpath(bytes ? path : ".", out)) return QP_OK;
  return qp_fail(err, QP_E_ARG, "%s: cannot be found: %s", path, strerror(errno));
}

/* What is not there has no canonical path; writing the plan would make it anyway. */
static qp_status make_folders(const char *file, qp_error *err) {
  char path[PATH_MAX];
  if (strlen(file) >= sizeof path) return too_long(file, err);
  memcpy(path, file, strlen(file) + 1);
  qp_file_make_folders(path);
  return QP_OK;
}

qp_status qp_plan_spec_name(const char *file, const char *spec, char *out, size_t size,
                            qp_error *err) {
  char folder[PATH_MAX], path[PATH_MAX];
  const size_t bytes = qp_palette_path_bytes(spec);
  qp_status status = QP_OK;
  if (bytes) status = make_folders(file, err);
  if (bytes && !status) status = canonical(file, folder_bytes(file), folder, err);
  if (bytes && !status) status = canonical(spec, bytes, path, err);
  if (status) return status;
  const size_t above = bytes ? strlen(folder) : 0;
  if (bytes && (strncmp(path, folder, above) != 0 || path[above] != '/'))
    return qp_fail(err, QP_E_ARG,
                   "%s: a plan names files of its own folder or below it, so that it can travel: "
                   "put %.*s into %s, or write the plan beside it",
                   file, (int)bytes, spec, folder);
  const int n = bytes ? snprintf(out, size, "%s%s", path + above + 1, spec + bytes)
                      : snprintf(out, size, "%s", spec);
  return n < 0 || (size_t)n >= size ? too_long(spec, err) : QP_OK;
}
