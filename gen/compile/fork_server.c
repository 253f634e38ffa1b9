/* SPDX-License-Identifier: MIT */
/* The process that forks, kills and reaps the compiler's workers. */
#include "gen/compile/fork_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/process.h"

struct qp_fork_server {
  int fd;
  pid_t pid;
};

/* One message each way: "spawn" carries the worker's end of a socket, "end" names a worker. */
typedef struct request {
  enum { SPAWN, END } kind;
  pid_t pid;
} request;

typedef struct reply {
  int error; /* errno, or 0 */
  pid_t pid;
  int wait_status;
} reply;

typedef union control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
} control;

static bool send_request(int socket, const request *r, int passed) {
  control c;
  struct iovec data = {.iov_base = (void *)(uintptr_t)r, .iov_len = sizeof *r};
  struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1};
  if (passed >= 0) {
    memset(&c, 0, sizeof c);
    m.msg_control = c.bytes;
    m.msg_controllen = sizeof c.bytes;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof passed);
    memcpy(CMSG_DATA(h), &passed, sizeof passed);
  }
  ssize_t n;
  do n = sendmsg(socket, &m, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)sizeof *r;
}

static bool receive_request(int socket, request *r, int *passed) {
  control c;
  struct iovec data = {.iov_base = r, .iov_len = sizeof *r};
  struct msghdr m = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c.bytes};
  ssize_t n;
  do n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  *passed = -1;
  if (n != (ssize_t)sizeof *r) return false;
  const struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
    memcpy(passed, CMSG_DATA(h), sizeof *passed);
  }
  return true;
}

/* Die with the parent, also if it died before this call. */
static void follow_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
}

static void reset_signals(void) {
  for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Keep 'fd' and standard error only: a descriptor held here would keep others' pipes open. */
static void keep_only(int fd) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
  }
  if (fd > 3) close_range(3, (unsigned)fd - 1, 0);
  close_range((unsigned)(fd > 2 ? fd + 1 : 3), ~0u, 0);
}

typedef struct duty {
  void (*serve)(int fd, const void *arg);
  const void *arg;
} duty;

static reply spawn_worker(const duty *d, int control_fd, int passed) {
  const pid_t server = getpid();
  if (passed < 0) return (reply){.error = EBADF};
  pid_t pid;
  const qp_status status = qp_process_fork(&pid, NULL);
  if (pid == 0) {
    follow_parent(server);
    close(control_fd);
    d->serve(passed, d->arg);
    _exit(0);
  }
  return (reply){.error = status ? EAGAIN : 0, .pid = pid};
}

static reply end_worker(pid_t pid) {
  reply r = {.pid = pid};
  kill(pid, SIGKILL);
  pid_t got;
  do got = waitpid(pid, &r.wait_status, 0);
  while (got < 0 && errno == EINTR);
  if (got != pid) r.error = ECHILD;
  return r;
}

static void run_server(int fd, const duty *d) {
  request r;
  int passed;
  while (receive_request(fd, &r, &passed)) {
    const reply answer = r.kind == SPAWN ? spawn_worker(d, fd, passed) : end_worker(r.pid);
    if (passed >= 0) close(passed);
    if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer) break;
  }
}

qp_status qp_fork_server_open(void (*serve)(int fd, const void *arg), const void *arg,
                              qp_fork_server **out, qp_error *err) {
  qp_fork_server *server = calloc(1, sizeof *server);
  if (!server) return qp_fail(err, QP_E_NOMEM, "out of memory for the compiler's processes");
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    free(server);
    return qp_fail(err, QP_E_LIMIT, "no socket for the compiler's processes: %s", strerror(errno));
  }
  const duty d = {.serve = serve, .arg = arg};
  const pid_t parent = getpid();
  pid_t pid;
  const qp_status status = qp_process_fork(&pid, err);
  if (pid == 0) {
    follow_parent(parent);
    reset_signals();
    keep_only(pair[1]);
    run_server(pair[1], &d);
    _exit(0);
  }
  close(pair[1]);
  if (status) {
    close(pair[0]);
    free(server);
    return qp_fail_prefix(err, status, "the compiler's processes");
  }
  *server = (qp_fork_server){.fd = pair[0], .pid = pid};
  *out = server;
  return QP_OK;
}

void qp_fork_server_close(qp_fork_server *server) {
  if (!server) return;
  shutdown(server->fd, SHUT_RDWR); /* closing is not enough: a process forked since has it too */
  close(server->fd);
  while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
  }
  free(server);
}

/* Ask and hear the answer; false if the server is gone. */
static bool ask(qp_fork_server *server, const request *r, int passed, reply *answer) {
  if (!send_request(server->fd, r, passed)) return false;
  ssize_t n;
  do n = recv(server->fd, answer, sizeof *answer, 0);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)sizeof *answer;
}

qp_status qp_fork_server_spawn(qp_fork_server *server, int *fd, pid_t *pid, qp_error *err) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return qp_fail(err, QP_E_LIMIT, "no socket for a compiler process: %s", strerror(errno));
  }
  reply answer = {0};
  const bool heard = ask(server, &(request){.kind = SPAWN}, pair[1], &answer);
  close(pair[1]);
  if (!heard || answer.error != 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0) {
    close(pair[0]);
    return qp_fail(err, QP_E_LIMIT, "no process to compile in: %s",
                   heard ? strerror(answer.error) : "the process that starts them is gone");
  }
  *fd = pair[0];
  *pid = answer.pid;
  return QP_OK;
}

bool qp_fork_server_end(qp_fork_server *server, pid_t pid, int *wait_status) {
  reply answer = {0};
  if (!ask(server, &(request){.kind = END, .pid = pid}, -1, &answer)) return false;
  if (answer.error != 0) return false;
  *wait_status = answer.wait_status;
  return true;
}
