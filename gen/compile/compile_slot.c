/* SPDX-License-Identifier: MIT */
/* Leads the conversation with one worker process. */
#include "gen/compile/compile_slot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gen/base/process.h"

enum { SHORTEST_S = 1 /* least time between two looks at a process */ };
static const double some_s = 1e-3; /* a process that has used less stands still */

void qp_slot_rest(qp_slot *s) {
  free(s->request);
  free(s->payload);
  s->request = s->payload = NULL;
  s->request_bytes = s->sent = s->got = s->payload_bytes = 0;
  s->item = NULL;
}

bool qp_slot_end(qp_fork_server *server, qp_slot *s, int *wait_status) {
  close(s->fd);
  const bool known = qp_fork_server_end(server, s->pid, wait_status);
  s->pid = 0;
  s->fd = -1;
  return known;
}

void qp_slot_limit(qp_slot *s, double limit_s) {
  s->limit_s = limit_s;
  s->start = s->time.at = qp_worker_clock();
  s->time.began = qp_process_seconds(s->pid);
  s->time.used = 0;
  s->time.next = s->start + limit_s;
}

qp_slot_pace qp_slot_look(qp_slot *s) {
  return qp_slot_judge(s, qp_worker_clock(), qp_process_seconds(s->pid));
}

qp_slot_pace qp_slot_judge(qp_slot *s, double now, double seconds) {
  const double used = seconds - s->time.began;
  if (now < s->time.next) return QP_SLOT_GOES_ON;
  if (used >= s->limit_s) return QP_SLOT_SPENT;
  if (used - s->time.used >= some_s) {
    s->time.at = now;
    s->time.used = used;
  } else if (now - s->time.at >= s->limit_s) {
    return QP_SLOT_STANDS;
  }
  s->time.next = now + fmax(s->limit_s - used, SHORTEST_S);
  return QP_SLOT_GOES_ON;
}

bool qp_slot_request(qp_slot *s, const qp_item *it) {
  const qp_request_head head = {.magic = QP_WORKER_REQUEST,
                                .task = it->task,
                                .arch = it->job.arch,
                                .want_cubin = it->job.want_cubin,
                                .name_bytes = strlen(it->job.name),
                                .source_bytes = strlen(it->job.source)};
  s->request_bytes = sizeof head + (size_t)head.name_bytes + (size_t)head.source_bytes;
  s->request = malloc(s->request_bytes);
  if (!s->request) return false;
  memcpy(s->request, &head, sizeof head);
  memcpy(s->request + sizeof head, it->job.name, (size_t)head.name_bytes);
  memcpy(s->request + sizeof head + head.name_bytes, it->job.source, (size_t)head.source_bytes);
  return true;
}

qp_slot_progress qp_slot_send(qp_slot *s) {
  while (s->sent < s->request_bytes) {
    const ssize_t n = send(s->fd, s->request + s->sent, s->request_bytes - s->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return QP_SLOT_MORE;
    if (n <= 0) return QP_SLOT_BROKEN;
    s->sent += (size_t)n;
  }
  return QP_SLOT_COMPLETE;
}

/* Where the next bytes of a reply belong, and how many are wanted. */
static qp_slot_progress find_room(qp_slot *s, char **at, size_t *bytes) {
  const size_t head = sizeof s->head;
  if (s->got < head) {
    *at = (char *)&s->head + s->got;
    *bytes = head - s->got;
    return QP_SLOT_MORE;
  }
  if (!s->payload) {
    if (!qp_reply_payload(&s->head, &s->payload_bytes)) return QP_SLOT_BROKEN;
    s->payload = malloc(s->payload_bytes + 1);
    if (!s->payload) return QP_SLOT_BROKEN;
  }
  *at = s->payload + (s->got - head);
  *bytes = s->payload_bytes - (s->got - head);
  return *bytes ? QP_SLOT_MORE : QP_SLOT_COMPLETE;
}

qp_slot_progress qp_slot_receive(qp_slot *s) {
  for (;;) {
    char *at;
    size_t bytes;
    const qp_slot_progress p = find_room(s, &at, &bytes);
    if (p != QP_SLOT_MORE) return p;
    const ssize_t n = recv(s->fd, at, bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return QP_SLOT_MORE;
    if (n <= 0) return QP_SLOT_BROKEN;
    s->got += (size_t)n;
  }
}

static char *copy_part(const char *data, uint64_t bytes) {
  char *copy = malloc((size_t)bytes + 1);
  if (!copy) return NULL;
  memcpy(copy, data, (size_t)bytes);
  copy[bytes] = 0;
  return copy;
}

bool qp_slot_unpack(const qp_slot *s, qp_compiled *out) {
  const qp_reply_head *h = &s->head;
  qp_compiled r = {.status = (qp_status)h->status,
                   .cubin_bytes = (size_t)h->cubin_bytes,
                   .ptx_bytes = (size_t)h->ptx_bytes,
                   .seconds = h->seconds};
  const char *cubin = s->payload + h->log_bytes;
  r.log = copy_part(s->payload, h->log_bytes);
  if (r.cubin_bytes) r.cubin = copy_part(cubin, h->cubin_bytes);
  if (r.ptx_bytes) r.ptx = copy_part(cubin + h->cubin_bytes, h->ptx_bytes);
  if (!r.log || (r.cubin_bytes && !r.cubin) || (r.ptx_bytes && !r.ptx)) {
    qp_compiled_free(&r);
    return false;
  }
  *out = r;
  return true;
}
