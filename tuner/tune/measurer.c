/* SPDX-License-Identifier: MIT */
/* Runs the measuring process, as measurer.h describes. */
#include "tuner/tune/measurer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/compile/fork_server.h"
#include "tuner/base/output.h"

/*
** A request is  head | { job | cubin } x count;  the worker answers with messages of one size, the
** last one DONE.  A NOTE names the candidate that is about to run: what the worker dies of is its.
*/
enum { REQUEST = 0x51504d52, REPLY = 0x51504d50, MOST_CUBIN = 1 << 28 };
enum { OPEN_TIMEOUT_S = 180, REPLACE_TRIES = 4 };
typedef enum task { TASK_INFO, TASK_SCREEN, TASK_FINAL, TASK_CUBLAS } task;
typedef enum kind { KIND_NOTE, KIND_RESULT, KIND_DONE } kind;

typedef struct request_head {
  uint32_t magic, task, count;
} request_head;

/* Both ends are one program, and its quantizers and families were loaded before it forked. */
typedef struct request_job {
  qp_problem problem;
  qp_choice choice;
  uint64_t seed, cubin_bytes;
} request_job;

typedef struct message {
  uint32_t magic, kind, index;
  qp_status status; /* of DONE */
  char text[1024];
  qp_meter_info info; /* What DONE brings after TASK_INFO. */
  qp_measured measured;
} message;

struct qp_measurer {
  qp_measurer_options opt;
  qp_fork_server *fork_server;
  int fd; /* -1: no worker */
  pid_t pid;
  unsigned lost;
};

/* ---- The worker ---- */

typedef struct server {
  const qp_measurer_options *opt;
  int fd;
  qp_meter *meter;
  unsigned now; /* the candidate that runs */
} server;

static bool read_all(int fd, void *to, size_t bytes) {
  for (char *p = to; bytes;) {
    ssize_t n = read(fd, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    bytes -= (size_t)n;
  }
  return true;
}

static bool say(const server *s, const message *m) {
  const char *p = (const char *)m;
  for (size_t left = sizeof *m; left;) {
    ssize_t n = send(s->fd, p, left, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    left -= (size_t)n;
  }
  return true;
}

static void note(unsigned index, void *arg) {
  server *s = arg;
  s->now = index;
  say(s, &(message){.magic = REPLY, .kind = KIND_NOTE, .index = index});
}

typedef struct candidate {
  qp_kernel kernel;
  qp_compiled compiled;
  qp_metered *metered;
  uint64_t seed;
  qp_measured out;
} candidate;

static void set_outcome(candidate *c, qp_status status, const qp_error *err) {
  c->out.outcome = status == QP_E_WRONG ? QP_RECORD_TIMER : QP_RECORD_DEVICE;
  snprintf(c->out.why, sizeof c->out.why, "%.230s", err->text);
}

static void screen(server *s, candidate *c) {
  qp_error err = {0};
  qp_verdict v = {0};
  qp_meter *m = s->meter;
  c->out.outcome = QP_RECORD_DEVICE;
  qp_status status = m->ops->verify(m, &c->kernel, &c->compiled, c->seed, &v, &err);
  if (status) {
    set_outcome(c, QP_E_DEVICE, &err);
    return;
  }
  c->out.error = v.error;
  if (!v.pass) {
    c->out.outcome = strstr(v.why, "CUDA_ERROR") ? QP_RECORD_DEVICE : QP_RECORD_WRONG;
    if (!(v.error >= 0)) c->out.error = 0; /* NaN is no JSON */
    snprintf(c->out.why, sizeof c->out.why, "%.230s", v.why);
    return;
  }
  status = m->ops->load(m, &c->kernel, &c->compiled, &c->metered, &err);
  if (!status)
    status =
        qp_timing_take(m, c->metered, s->opt->samples ? s->opt->samples : 20, &c->out.timing, &err);
  m->ops->state(m, &c->out.state);
  if (c->metered) m->ops->unload(m, c->metered);
  c->metered = NULL;
  if (status)
    set_outcome(c, status, &err);
  else
    c->out.outcome = QP_RECORD_OK;
}

/* The index of the candidate that failed, or -1. */
static int finalists(server *s, candidate *c, unsigned count) {
  qp_error err = {0};
  qp_meter *m = s->meter;
  qp_metered *list[QP_MAX_FINALISTS];
  qp_timing timing[QP_MAX_FINALISTS] = {0};
  unsigned rounds = s->opt->rounds ? s->opt->rounds : 5;
  unsigned samples = s->opt->samples ? s->opt->samples : 20;
  qp_status status = QP_OK;
  for (unsigned i = 0; i < count && !status; i++) {
    note(i, s);
    status = m->ops->load(m, &c[i].kernel, &c[i].compiled, &c[i].metered, &err);
    list[i] = c[i].metered;
  }
  if (!status)
    status = qp_timing_interleaved(m, list, count, rounds, samples, timing, note, s, &err);
  for (unsigned i = 0; i < count && !status; i++) {
    note(i, s);
    c[i].out.timing = timing[i];
    if (m->info.chains) status = m->ops->chain(m, list[i], false, &c[i].out.chain_ps, &err);
    if (!status && m->info.chains && c[i].kernel.pdl)
      status = m->ops->chain(m, list[i], true, &c[i].out.chain_pdl_ps, &err);
    m->ops->state(m, &c[i].out.state);
    c[i].out.outcome = QP_RECORD_OK;
  }
  for (unsigned i = 0; i < count; i++)
    if (c[i].metered) m->ops->unload(m, c[i].metered);
  if (!status) return -1;
  set_outcome(&c[s->now], status, &err);
  return (int)s->now;
}

/* The library's product; a missing library is the one failure that is not the candidate's. */
static qp_status product(server *s, candidate *c, qp_error *err) {
  const qp_problem *p = &c->kernel.problem;
  qp_meter *m = s->meter;
  qp_meter_product got = {0};
  const qp_status status = m->ops->cublas(m, p->segment[0].rows, p->columns, p->batch, &got, err);
  c->out.timing = (qp_timing){.ps = got.ps, .samples = status ? 0 : 1};
  c->out.error = got.error >= 0 ? got.error : 0; /* NaN is no JSON */
  snprintf(c->out.by, sizeof c->out.by, "%s", got.version);
  m->ops->state(m, &c->out.state);
  c->out.outcome = QP_RECORD_OK;
  if (!status || status == QP_E_MISSING) return status;
  c->out.outcome = status == QP_E_WRONG   ? QP_RECORD_WRONG
                   : status == QP_E_NOMEM ? QP_RECORD_RESOURCES
                                          : QP_RECORD_DEVICE;
  snprintf(c->out.why, sizeof c->out.why, "%.230s", err->text);
  return QP_OK;
}

static bool receive_candidate(server *s, task t, candidate *c) {
  request_job job;
  qp_error err = {0};
  if (!read_all(s->fd, &job, sizeof job) || job.cubin_bytes > MOST_CUBIN) return false;
  void *cubin = malloc(job.cubin_bytes + 1);
  if (!cubin || !read_all(s->fd, cubin, job.cubin_bytes)) return free(cubin), false;
  ((char *)cubin)[job.cubin_bytes] = 0; /* of PTX, the end of the text */
  c->compiled = (qp_compiled){
      .cubin = cubin, .cubin_bytes = job.cubin_bytes, .ptx = cubin, .ptx_bytes = job.cubin_bytes};
  c->seed = job.seed;
  c->kernel.problem = job.problem;
  if (t == TASK_CUBLAS) return true;
  return !qp_kernel_make(s->opt->families, &job.problem, &job.choice, &c->kernel, &err);
}

static bool serve_jobs(server *s, const request_head *head) {
  candidate *c = calloc(head->count, sizeof *c);
  message done = {.magic = REPLY, .kind = KIND_DONE};
  qp_error err = {0};
  bool ok = c != NULL;
  int bad = -1;
  for (unsigned i = 0; i < head->count && ok; i++) ok = receive_candidate(s, head->task, &c[i]);
  if (ok && head->task != TASK_FINAL) note(0, s);
  if (ok && head->task == TASK_SCREEN) {
    screen(s, c);
  } else if (ok && head->task == TASK_CUBLAS) {
    done.status = product(s, c, &err);
  } else if (ok) {
    bad = finalists(s, c, head->count);
  }
  for (unsigned i = 0; i < head->count && ok; i++)
    if (bad < 0 || (int)i == bad)
      ok =
          say(s, &(message){.magic = REPLY, .kind = KIND_RESULT, .index = i, .measured = c[i].out});
  snprintf(done.text, sizeof done.text, "%.1000s", err.text);
  if (ok) ok = say(s, &done);
  for (unsigned i = 0; c && i < head->count; i++) {
    qp_kernel_free(&c[i].kernel);
    free(c[i].compiled.cubin);
    if (c[i].out.outcome == QP_RECORD_DEVICE)
      ok = false; /* the context may be lost: a new process */
  }
  free(c);
  return ok;
}

static void serve(int fd, const void *arg) {
  server s = {.opt = arg, .fd = fd};
  request_head head;
  while (read_all(fd, &head, sizeof head) && head.magic == REQUEST &&
         head.count <= QP_MAX_FINALISTS) {
    message m = {.magic = REPLY, .kind = KIND_DONE};
    qp_error err = {0};
    if (!s.meter) m.status = qp_meter_open(s.opt->device, s.opt->events, &s.meter, &err);
    if (m.status || head.task == TASK_INFO) {
      if (!m.status) m.info = s.meter->info;
      snprintf(m.text, sizeof m.text, "%.1000s", err.text);
      if (!say(&s, &m) || m.status) break;
    } else if (!serve_jobs(&s, &head)) {
      break;
    }
  }
  if (s.meter) s.meter->ops->close(s.meter);
}

/* ---- The parent ---- */

qp_status qp_measurer_open(const qp_measurer_options *opt, qp_measurer **out, qp_error *err) {
  qp_measurer *m = calloc(1, sizeof *m);
  if (!m) return qp_fail(err, QP_E_NOMEM, "no memory for a measurer");
  m->opt = *opt;
  m->fd = -1;
  qp_status status = qp_fork_server_open(serve, &m->opt, &m->fork_server, err);
  if (status) return free(m), status;
  *out = m;
  return QP_OK;
}

/* End the worker; its wait status where that is known. */
static bool end_worker(qp_measurer *m, int *status) {
  bool known = m->fd >= 0 && qp_fork_server_end(m->fork_server, m->pid, status);
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
  return known;
}

void qp_measurer_close(qp_measurer *m) {
  int status;
  if (!m) return;
  end_worker(m, &status);
  qp_fork_server_close(m->fork_server);
  free(m);
}

unsigned qp_measurer_lost(const qp_measurer *m) { return m->lost; }

typedef enum channel { CHANNEL_OK, CHANNEL_TIMEOUT, CHANNEL_CLOSED } channel;

static channel wait_for(int fd, short events, double deadline) {
  for (;;) {
    double left = deadline - qp_seconds();
    if (left <= 0) return CHANNEL_TIMEOUT;
    struct pollfd p = {.fd = fd, .events = events};
    int n = poll(&p, 1, (int)(left * 1000) + 1);
    if (n > 0) return CHANNEL_OK;
    if (n < 0 && errno != EINTR) return CHANNEL_CLOSED;
  }
}

static channel transfer(int fd, void *data, size_t bytes, bool out, double deadline) {
  for (char *p = data; bytes;) {
    channel c = wait_for(fd, out ? POLLOUT : POLLIN, deadline);
    if (c != CHANNEL_OK) return c;
    ssize_t n = out ? send(fd, p, bytes, MSG_NOSIGNAL) : recv(fd, p, bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return CHANNEL_CLOSED;
    p += n;
    bytes -= (size_t)n;
  }
  return CHANNEL_OK;
}

static channel send_request(qp_measurer *m, task t, const qp_measure_job *job, unsigned count,
                            double deadline) {
  request_head head = {.magic = REQUEST, .task = t, .count = count};
  channel c = transfer(m->fd, &head, sizeof head, true, deadline);
  for (unsigned i = 0; i < count && c == CHANNEL_OK; i++) {
    request_job r = {.problem = job[i].problem,
                     .choice = job[i].choice,
                     .seed = job[i].seed,
                     .cubin_bytes = job[i].cubin_bytes};
    c = transfer(m->fd, &r, sizeof r, true, deadline);
    void *cubin = (void *)(uintptr_t)job[i].cubin; /* only read */
    if (c == CHANNEL_OK) c = transfer(m->fd, cubin, job[i].cubin_bytes, true, deadline);
  }
  return c;
}

static qp_status begin_worker(qp_measurer *m, qp_meter_info *info, qp_error *err) {
  message reply = {0};
  qp_status status = QP_OK;
  int exited;
  if (m->fd < 0) status = qp_fork_server_spawn(m->fork_server, &m->fd, &m->pid, err);
  if (status) return m->fd = -1, status;
  double deadline = qp_seconds() + OPEN_TIMEOUT_S;
  channel c = send_request(m, TASK_INFO, NULL, 0, deadline);
  if (c == CHANNEL_OK) c = transfer(m->fd, &reply, sizeof reply, false, deadline);
  if (c != CHANNEL_OK || reply.magic != REPLY) {
    end_worker(m, &exited);
    return qp_fail(err, QP_E_DEVICE, "%s: the process that opens it %s", m->opt.device,
                   c == CHANNEL_TIMEOUT ? "hangs" : "ended");
  }
  if (reply.status) {
    end_worker(m, &exited);
    return qp_fail(err, reply.status, "%s", reply.text);
  }
  if (info) *info = reply.info;
  return QP_OK;
}

/* After a lost worker the driver may need a moment until the device can be had again. */
static qp_status replace_worker(qp_measurer *m, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < REPLACE_TRIES; i++) {
    if (i) sleep(i);
    status = begin_worker(m, NULL, err);
    if (status != QP_E_DEVICE && status != QP_E_MISSING) break;
  }
  return status;
}

qp_status qp_measurer_info(qp_measurer *m, qp_meter_info *out, qp_error *err) {
  return begin_worker(m, out, err);
}

/* Says what the worker died of, as the outcome of the candidate that it last named. */
static void blame(qp_measurer *m, channel c, qp_measured *out) {
  int status = 0;
  bool known = end_worker(m, &status);
  m->lost++;
  out->timing = (qp_timing){0};
  if (c == CHANNEL_TIMEOUT) {
    out->outcome = QP_RECORD_HANG;
    snprintf(out->why, sizeof out->why, "did not end within %.0f s",
             m->opt.timeout_s > 0 ? m->opt.timeout_s : 30);
    return;
  }
  out->outcome = QP_RECORD_CRASH;
  if (known && WIFSIGNALED(status))
    snprintf(out->why, sizeof out->why, "its process was killed by signal %d (%s)",
             WTERMSIG(status), strsignal(WTERMSIG(status)));
  else
    snprintf(out->why, sizeof out->why, "its process ended with code %d",
             known && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* Run a request; 'bad' becomes the index of a candidate that failed, or -1. */
static qp_status ask(qp_measurer *m, task t, const qp_measure_job *job, unsigned count,
                     qp_measured *out, int *bad, qp_error *err) {
  double limit = m->opt.timeout_s > 0 ? m->opt.timeout_s : 30;
  unsigned now = 0;
  *bad = -1;
  qp_status status = m->fd < 0 ? replace_worker(m, err) : QP_OK;
  if (status) return status;
  channel c = send_request(m, t, job, count, qp_seconds() + limit);
  while (c == CHANNEL_OK) {
    message reply;
    c = transfer(m->fd, &reply, sizeof reply, false, qp_seconds() + limit);
    if (c != CHANNEL_OK) break;
    if (reply.magic != REPLY || reply.index >= count) {
      c = CHANNEL_CLOSED;
      break;
    }
    if (reply.kind == KIND_NOTE) now = reply.index;
    if (reply.kind == KIND_RESULT) {
      out[reply.index] = reply.measured;
      if (reply.measured.outcome != QP_RECORD_OK) *bad = (int)reply.index;
    }
    if (reply.kind != KIND_DONE) continue;
    if (reply.status) return qp_fail(err, reply.status, "%s", reply.text);
    int exited;
    if (*bad >= 0 && out[*bad].outcome == QP_RECORD_DEVICE) {
      end_worker(m, &exited); /* Sticky errors end with their process. */
      m->lost++;
    }
    return QP_OK;
  }
  *bad = (int)now;
  blame(m, c, &out[now]);
  return QP_OK;
}

qp_status qp_measurer_screen(qp_measurer *m, const qp_measure_job *job, qp_measured *out,
                             qp_error *err) {
  int bad;
  *out = (qp_measured){0};
  return ask(m, TASK_SCREEN, job, 1, out, &bad, err);
}

qp_status qp_measurer_cublas(qp_measurer *m, const qp_measure_job *job, qp_measured *out,
                             qp_error *err) {
  int bad;
  *out = (qp_measured){0};
  return ask(m, TASK_CUBLAS, job, 1, out, &bad, err);
}

qp_status qp_measurer_final(qp_measurer *m, const qp_measure_job *job, unsigned count,
                            qp_measured *out, qp_error *err) {
  qp_measure_job left[QP_MAX_FINALISTS];
  qp_measured got[QP_MAX_FINALISTS] = {0};
  unsigned index[QP_MAX_FINALISTS], n = count;
  if (count > QP_MAX_FINALISTS) return qp_fail(err, QP_E_ARG, "%u finalists", count);
  for (unsigned i = 0; i < count; i++) left[i] = job[i], index[i] = i;
  while (n) {
    int bad;
    qp_status status = ask(m, TASK_FINAL, left, n, got, &bad, err);
    if (status) return status;
    for (unsigned i = 0; i < n; i++)
      if (bad < 0 || (int)i == bad) {
        double error = out[index[i]].error;
        out[index[i]] = got[i];
        out[index[i]].error = error;
      }
    if (bad < 0) return QP_OK;
    for (unsigned i = (unsigned)bad; i + 1 < n; i++) left[i] = left[i + 1], index[i] = index[i + 1];
    n--;
  }
  return QP_OK;
}
