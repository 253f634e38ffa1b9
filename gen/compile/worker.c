/* SPDX-License-Identifier: MIT */
/* Runs the loop of a worker process:  request -> NVRTC -> reply. */
#include "gen/compile/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

double qp_worker_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool qp_reply_payload(const qp_reply_head *head, size_t *bytes) {
  const uint64_t most = QP_WORKER_MOST_BYTES;
  if (head->magic != QP_WORKER_REPLY || head->status >= QP_STATUS_COUNT) return false;
  if (head->log_bytes > most || head->cubin_bytes > most || head->ptx_bytes > most) return false;
  const uint64_t sum = head->log_bytes + head->cubin_bytes + head->ptx_bytes;
  if (sum > most) return false;
  *bytes = (size_t)sum;
  return true;
}

static bool receive(int fd, void *out, size_t bytes) {
  char *at = out;
  while (bytes > 0) {
    const ssize_t n = recv(fd, at, bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= (size_t)n;
  }
  return true;
}

static bool transmit(int fd, const void *data, size_t bytes) {
  const char *at = data;
  while (bytes > 0) {
    const ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= (size_t)n;
  }
  return true;
}

static char *receive_text(int fd, uint64_t bytes) {
  char *text = bytes <= QP_WORKER_MOST_BYTES ? malloc((size_t)bytes + 1) : NULL;
  if (!text) return NULL;
  if (!receive(fd, text, (size_t)bytes)) {
    free(text);
    return NULL;
  }
  text[bytes] = 0;
  return text;
}

static bool transmit_reply(int fd, const qp_compiled *c, double seconds) {
  const char *log = c->log ? c->log : "";
  const qp_reply_head head = {.magic = QP_WORKER_REPLY,
                              .status = (uint32_t)c->status,
                              .log_bytes = strlen(log),
                              .cubin_bytes = c->cubin_bytes,
                              .ptx_bytes = c->ptx_bytes,
                              .seconds = seconds};
  return transmit(fd, &head, sizeof head) && transmit(fd, log, (size_t)head.log_bytes) &&
         transmit(fd, c->cubin, c->cubin_bytes) && transmit(fd, c->ptx, c->ptx_bytes);
}

typedef struct worker {
  const qp_compile_backend *backend;
  void *self; /* the backend's, once it is open */
  bool open;
} worker;

static void perform(worker *w, qp_worker_task task, const qp_compile_job *job, qp_compiled *out) {
  qp_error why = {.text = ""};
  char version[256] = "";
  if (!w->open) {
    out->status = w->backend->open(&w->self, &why);
    w->open = out->status == QP_OK;
  }
  if (w->open && task == QP_WORKER_COMPILE) {
    w->backend->compile(w->self, job, out);
    return;
  }
  if (w->open) out->status = w->backend->describe(w->self, version, sizeof version, &why);
  out->log = strdup(out->status == QP_OK ? version : why.text);
}

/* Answer one request; false when there is nobody to answer to. */
static bool serve_one(int fd, worker *w) {
  qp_request_head head;
  if (!receive(fd, &head, sizeof head) || head.magic != QP_WORKER_REQUEST) return false;
  char *name = receive_text(fd, head.name_bytes);
  char *source = name ? receive_text(fd, head.source_bytes) : NULL;
  bool ok = source != NULL;
  if (ok) {
    const double start = qp_worker_clock();
    const qp_compile_job job = {.name = name,
                                .source = source,
                                .arch = head.arch,
                                .want_cubin = head.want_cubin != 0,
                                .want_ptx = true};
    qp_compiled out = {0};
    perform(w, (qp_worker_task)head.task, &job, &out);
    ok = transmit_reply(fd, &out, qp_worker_clock() - start);
    qp_compiled_free(&out);
  }
  free(name);
  free(source);
  return ok;
}

void qp_worker_serve(int fd, const void *backend) {
  worker w = {.backend = backend};
  while (serve_one(fd, &w)) {
  }
}
