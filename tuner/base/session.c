/* SPDX-License-Identifier: MIT */
/* What most verbs begin with. */
#include "tuner/base/session.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/process.h"
#include "runtime/device.h"
#include "runtime/list.h"

qp_status qp_session_open(qp_session *s, qp_error *err) {
  *s = (qp_session){0};
  qp_status status = qp_families_open(&s->families, err);
  if (!status) status = qp_palette_open(&s->palette, err);
  if (status) qp_session_close(s);
  return status;
}

void qp_session_close(qp_session *s) {
  if (s->palette) qp_palette_close(s->palette);
  qp_families_close(s->families);
  *s = (qp_session){0};
}

typedef struct picks {
  const qp_quantizer **list;
  size_t count, capacity;
} picks;

static qp_status pick(const qp_quantizer *q, void *to, qp_error *err) {
  picks *p = to;
  const qp_quantizer **list = qp_list_room(p->list, p->count, &p->capacity, sizeof *list);
  if (!list) return qp_fail(err, QP_E_NOMEM, "no memory for a list of quantizers");
  p->list = list;
  p->list[p->count++] = q;
  return QP_OK;
}

/* A path, a name, or a family, which a whole name beats. */
static qp_status pick_word(qp_session *s, picks *p, const char *word, qp_error *err) {
  const size_t before = p->count;
  const qp_quantizer *q;
  qp_status status = QP_OK;
  if (!qp_palette_path_bytes(word)) status = qp_palette_each(s->palette, word, pick, p, err);
  if (status || p->count > before) return status;
  status = qp_palette_find(s->palette, word, &q, err);
  return status ? status : pick(q, p, err);
}

qp_status qp_session_quantizers(qp_session *s, const char *list, const qp_quantizer ***out,
                                size_t *count, qp_error *err) {
  picks p = {0};
  qp_status status = list ? QP_OK : qp_palette_load(s->palette, err);
  if (!list)
    for (size_t i = 0; !status && i < qp_palette_count(s->palette); i++)
      status = pick(qp_palette_get(s->palette, i), &p, err);
  char *words = list ? strdup(list) : NULL, *rest = words;
  for (char *w; !status && rest && (w = strsep(&rest, ","));) status = pick_word(s, &p, w, err);
  free(words);
  if (!status && p.count == 0) status = qp_fail(err, QP_E_ARG, "no quantizer is named");
  if (status) return free(p.list), status;
  *out = p.list;
  *count = p.count;
  return QP_OK;
}

qp_status qp_session_read_files(qp_session *s, const char *list, qp_error *err) {
  const qp_quantizer *q;
  qp_status status = QP_OK;
  char *words = strdup(list), *rest = words;
  if (!words) return qp_fail(err, QP_E_NOMEM, "no memory for a list of files");
  for (char *w; !status && (w = strsep(&rest, ","));)
    status = qp_palette_path_bytes(w) == strlen(w) && *w ? qp_palette_open_file(s->palette, w, err)
                                                         : qp_palette_find(s->palette, w, &q, err);
  free(words);
  return status;
}

qp_status qp_session_probe(const char *name, qp_device_info *info, qp_error *err) {
  struct {
    qp_status status;
    qp_device_info info;
    qp_error err;
  } answer = {.status = QP_E_DEVICE};
  int fd[2];
  if (pipe(fd)) return qp_fail(err, QP_E_IO, "no pipe");
  fflush(NULL);
  pid_t pid;
  const qp_status status = qp_process_fork(&pid, err);
  if (pid == 0) {
    qp_device *dev = NULL;
    answer.err.text[0] = 0;
    answer.status = qp_device_open(name, &dev, &answer.err);
    if (!answer.status) answer.info = dev->info;
    for (size_t at = 0; at < sizeof answer;) {
      ssize_t n = write(fd[1], (char *)&answer + at, sizeof answer - at);
      if (n <= 0) break;
      at += (size_t)n;
    }
    _exit(0);
  }
  close(fd[1]);
  size_t got = 0;
  for (ssize_t n;
       got < sizeof answer && (n = read(fd[0], (char *)&answer + got, sizeof answer - got)) > 0;)
    got += (size_t)n;
  close(fd[0]);
  if (status) return qp_fail_prefix(err, status, "%s", name);
  waitpid(pid, NULL, 0);
  if (got != sizeof answer)
    return qp_fail(err, QP_E_DEVICE, "%s: the process that opened it ended", name);
  if (answer.status && err) *err = answer.err;
  *info = answer.info;
  return answer.status;
}

void qp_session_remark(const qp_device_info *info) {
  char text[512];
  if (*qp_device_remark(info, text, sizeof text)) fprintf(stderr, "qpal: %s\n", text);
}

qp_status qp_session_device(const char *name, char *chosen, size_t size, unsigned *arch,
                            unsigned *sm_count, qp_error *err) {
  qp_device_info info;
  qp_status status = QP_E_MISSING;
  if (!name) {
    status = qp_session_probe("cuda:0", &info, NULL);
    name = status ? "sim" : "cuda:0";
  }
  if (status) status = qp_session_probe(name, &info, err);
  if (status) return status;
  qp_session_remark(&info);
  snprintf(chosen, size, "%s", name);
  *arch = info.arch;
  *sm_count = info.sm_count;
  return QP_OK;
}
