/* SPDX-License-Identifier: MIT */
/* What a calibration has measured so far. */
#include "tuner/calibrate/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gen/base/json.h"
#include "gen/base/text.h"
#include "gen/base/writable.h"
#include "runtime/regular_file.h"

struct qp_ledger {
  char *path;
  const qp_model *model;
  int file;
  size_t linears;          /* linears of the model, with one block more for the lm_head */
  bool *hessians;          /* [layers + 1] */
  bool *measured;          /* [linears] */
  qp_sensitivity *measure; /* [linears] */
};

/* The lm_head's place is the last. */
static size_t place_of(const qp_ledger *l, unsigned block, unsigned linear) {
  return block < l->model->layers ? (size_t)block * l->model->linears + linear : l->linears - 1;
}

void qp_ledger_close(qp_ledger *l, bool remove) {
  if (!l) return;
  if (remove) unlink(l->path);
  if (l->file >= 0) close(l->file);
  free(l->path);
  free(l->hessians);
  free(l->measured);
  free(l->measure);
  free(l);
}

static qp_status new_ledger(const char *path, const qp_model *m, qp_ledger **out, qp_error *err) {
  qp_ledger *l = calloc(1, sizeof *l);
  if (!l) return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
  *l = (qp_ledger){.model = m, .file = -1, .linears = (size_t)m->layers * m->linears + 1};
  l->path = strdup(path);
  l->hessians = calloc(m->layers + 1, sizeof *l->hessians);
  l->measured = calloc(l->linears, sizeof *l->measured);
  l->measure = calloc(l->linears, sizeof *l->measure);
  if (l->path && l->hessians && l->measured && l->measure) {
    *out = l;
    return QP_OK;
  }
  qp_ledger_close(l, false);
  return qp_fail(err, QP_E_NOMEM, "%s: no memory", path);
}

/* ---- Reading ---- */

static qp_status take_line(qp_ledger *l, const char *where, const cJSON *o, qp_error *err) {
  int64_t block, linear;
  qp_sensitivity s;
  qp_status status = qp_json_integer(o, where, "block", 0, l->model->layers, &block, err);
  if (status) return status;
  if (cJSON_GetObjectItemCaseSensitive(o, "hessians")) return l->hessians[block] = true, QP_OK;
  status = qp_json_integer(o, where, "linear", 0, l->model->linears, &linear, err);
  if (!status) status = qp_json_number(o, where, "alpha", -1e300, 1e300, &s.alpha, err);
  if (!status) status = qp_json_number(o, where, "error", 0, 1e300, &s.error, err);
  if (status) return status;
  const bool head = block == l->model->layers;
  if (head != (linear == l->model->linears))
    return qp_fail(err, QP_E_ARG, "%s: block %lld has no linear %lld", where, (long long)block,
                   (long long)linear);
  const size_t at = place_of(l, (unsigned)block, (unsigned)linear);
  l->measured[at] = true;
  l->measure[at] = s;
  return QP_OK;
}

static qp_status take_key(const char *where, const char *path, const cJSON *o, const char *key,
                          qp_error *err) {
  const char *found;
  qp_status status = qp_json_text(o, where, "key", &found, err);
  if (status || !strcmp(found, key)) return status;
  return qp_fail(
      err, QP_E_ARG,
      "%s: a calibration of another model, text or other options, or by another version of "
      "qpal, was begun there: give another -o, or remove the folder, and it is measured "
      "anew",
      path);
}

/* Lines of text[n]; '*good' is where the whole ones end. */
static qp_status take_lines(qp_ledger *l, const char *text, size_t n, const char *key, size_t *good,
                            qp_error *err) {
  qp_status status = QP_OK;
  *good = 0;
  for (unsigned line = 1; *good < n && !status; line++) {
    char where[4200];
    const char *begin = text + *good, *end = memchr(begin, '\n', n - *good);
    cJSON *tree;
    if (!end) return QP_OK; /* torn */
    snprintf(where, sizeof where, "%s:%u", l->path, line);
    status = qp_json_parse(where, begin, (size_t)(end - begin), &tree, err);
    if (status) return status;
    status = line == 1 ? take_key(where, l->path, tree, key, err) : take_line(l, where, tree, err);
    cJSON_Delete(tree);
    *good = (size_t)(end - text) + 1;
  }
  return status;
}

static qp_status read_all(int file, qp_text *out) {
  char part[4096];
  ssize_t n;
  while ((n = read(file, part, sizeof part)) > 0) qp_text_append(out, part, (size_t)n);
  return n < 0 ? QP_E_IO : out->failed ? QP_E_NOMEM : QP_OK;
}

/* ---- Writing ---- */

static qp_status write_line(qp_ledger *l, const char *line, qp_error *err) {
  const size_t n = strlen(line);
  const ssize_t written = write(l->file, line, n);
  if (written == (ssize_t)n) return QP_OK;
  return qp_fail(err, QP_E_IO, "%s: cannot be written: %s", l->path,
                 written < 0 ? strerror(errno) : "the disk is full");
}

static qp_status start(qp_ledger *l, const char *key, qp_error *err) {
  qp_text text = {0};
  size_t good = 0;
  char line[256];
  qp_status status = read_all(l->file, &text);
  if (status) {
    status = qp_fail(err, status, "%s: cannot be read: %s", l->path, strerror(errno));
  } else if (text.length) {
    status = take_lines(l, text.s, text.length, key, &good, err);
  }
  qp_text_free(&text);
  if (status) return status;
  if (ftruncate(l->file, (off_t)good) != 0 || lseek(l->file, 0, SEEK_END) < 0)
    return qp_fail(err, QP_E_IO, "%s: cannot be written: %s", l->path, strerror(errno));
  if (good) return QP_OK;
  snprintf(line, sizeof line, "{\"ledger\":\"qpal-calibrate\",\"key\":\"%s\"}\n", key);
  return write_line(l, line, err);
}

qp_status qp_ledger_open(const char *file, const char *key, const qp_model *m, qp_ledger **out,
                         qp_error *err) {
  qp_ledger *l = NULL;
  qp_status status = new_ledger(file, m, &l, err);
  if (status) return status;
  if (access(file, F_OK)) status = qp_writable_check(file, err);
  if (!status) status = qp_regular_file_open(file, O_RDWR | O_CREAT, &l->file, err);
  if (!status && flock(l->file, LOCK_EX | LOCK_NB) != 0)
    status = qp_fail(err, QP_E_IO, "%s: another run writes it", file);
  if (!status) status = start(l, key, err);
  if (status) return qp_ledger_close(l, false), status;
  *out = l;
  return QP_OK;
}

/* ---- Entries ---- */

bool qp_ledger_has_hessians(const qp_ledger *l, unsigned block) { return l->hessians[block]; }

bool qp_ledger_sensitivity(const qp_ledger *l, unsigned block, unsigned linear,
                           qp_sensitivity *out) {
  const size_t at = place_of(l, block, linear);
  if (l->measured[at]) *out = l->measure[at];
  return l->measured[at];
}

qp_status qp_ledger_add_hessians(qp_ledger *l, unsigned block, qp_error *err) {
  char line[64];
  snprintf(line, sizeof line, "{\"block\":%u,\"hessians\":true}\n", block);
  qp_status status = write_line(l, line, err);
  if (!status) l->hessians[block] = true;
  return status;
}

qp_status qp_ledger_add_sensitivity(qp_ledger *l, unsigned block, unsigned linear,
                                    const qp_sensitivity *s, qp_error *err) {
  char line[192];
  snprintf(line, sizeof line, "{\"block\":%u,\"linear\":%u,\"alpha\":%.17g,\"error\":%.17g}\n",
           block, linear, s->alpha, s->error);
  qp_status status = write_line(l, line, err);
  if (status) return status;
  const size_t at = place_of(l, block, linear);
  l->measured[at] = true;
  l->measure[at] = *s;
  return QP_OK;
}
