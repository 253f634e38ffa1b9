/* SPDX-License-Identifier: MIT */
/* What passes between the compiler and a worker process, and the worker's own loop. */
#ifndef QP_WORKER_H
#define QP_WORKER_H

#include "gen/compile/backend.h"

/*
** A request is  head | name | source,  a reply  head | log | cubin | PTX;  both in the
** machine's own byte order, since both ends are one program.  A worker gets one request at a time.
*/
enum {
  QP_WORKER_REQUEST = 0x51505251,
  QP_WORKER_REPLY = 0x51505250,
};

typedef enum qp_worker_task {
  QP_WORKER_DESCRIBE, /* the reply's log is the description, or why there is none */
  QP_WORKER_COMPILE,
} qp_worker_task;

typedef struct qp_request_head {
  uint32_t magic, task;
  uint32_t arch, want_cubin;
  uint64_t name_bytes, source_bytes;
} qp_request_head;

typedef struct qp_reply_head {
  uint32_t magic, status;
  uint64_t log_bytes, cubin_bytes, ptx_bytes;
  double seconds;
} qp_reply_head;

/* The most bytes that a request or a reply may have behind its head. */
#define QP_WORKER_MOST_BYTES ((uint64_t)1 << 30)

/* Tell how many bytes follow a reply's head; false means that it is no such head. */
bool qp_reply_payload(const qp_reply_head *head, size_t *bytes);

/* The worker: answer requests on 'fd' with 'backend' (a qp_compile_backend) until the other end is
   closed. */
void qp_worker_serve(int fd, const void *backend);

/* Read the monotonic clock, in seconds. */
double qp_worker_clock(void);

#endif
