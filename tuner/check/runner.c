/* SPDX-License-Identifier: MIT */
/* Make, compile and verify many candidates, in several processes. */
#include "tuner/check/runner.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/kernel/kernel.h"
#include "runtime/device.h"
#include "runtime/sim/sim.h"
#include "tuner/base/output.h"
#include "tuner/check/verify.h"

enum { MAX_PROCESSES = 64 };

/* A candidate between its submission to the compiler and its verdict. */
typedef struct pending {
  size_t index;
  double started;
  qp_kernel kernel;
} pending;

/* What one process works with. */
typedef struct worker {
  qp_families *families;
  const qp_run_options *opt;
  const qp_cases *cases;
  const bool *verify;
  qp_device *dev;
  qp_compiler *compiler;
  qp_reference *reference;
  int out; /* results go here */
  size_t waiting;
} worker;

/* ---- One process ---- */

static bool send_result(const worker *w, const qp_result *r) {
  const char *p = (const char *)r;
  for (size_t left = sizeof *r; left;) {
    ssize_t n = write(w->out, p, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    left -= (size_t)n;
  }
  return true;
}

static void tell(const worker *w, const pending *p, qp_outcome outcome, double error,
                 const qp_compiled *c, const char *why) {
  qp_result r;
  memset(&r, 0, sizeof r);
  r.index = p->index;
  r.outcome = outcome;
  r.error = error;
  r.seconds = qp_seconds() - p->started;
  r.smem_dynamic_bytes = p->kernel.smem_bytes;
  if (c) r.res = c->res;
  snprintf(r.why, sizeof r.why, "%s", why);
  send_result(w, &r);
}

static bool is_default(const qp_choice *c) {
  for (unsigned i = 0; i < c->family->tunables; i++)
    if (c->value[i] != c->family->tunable[i].value[0]) return false;
  return true;
}

static void submit(worker *w, size_t index) {
  const qp_case *q = &w->cases->list[index];
  qp_error err = {0};
  pending *p = calloc(1, sizeof *p);
  if (!p) return;
  p->index = index;
  p->started = qp_seconds();
  qp_status st = qp_kernel_make(w->families, &q->problem, &q->choice, &p->kernel, &err);
  bool refused = st == QP_E_LIMIT && !is_default(&q->choice);
  bool ptx = w->dev->info.wants_ptx;
  if (!st) {
    qp_compile_job job = {.name = p->kernel.name,
                          .source = p->kernel.source,
                          .arch = q->problem.arch,
                          .want_cubin = !ptx || w->opt->cubins,
                          .want_ptx = ptx,
                          .user = p};
    st = qp_compiler_submit(w->compiler, &job, &err);
    if (!st) w->waiting++;
  }
  if (!st) return;
  tell(w, p, refused ? QP_OUTCOME_SKIP : QP_OUTCOME_FAIL, NAN, NULL, err.text);
  qp_kernel_free(&p->kernel);
  free(p);
}

static void judge(worker *w, pending *p, const qp_compiled *c) {
  qp_verdict v = {0};
  qp_error err = {0};
  if (c->status) {
    tell(w, p, QP_OUTCOME_FAIL, NAN, NULL, c->log);
  } else if (w->verify && !w->verify[p->index]) {
    tell(w, p, QP_OUTCOME_MADE, NAN, c, "");
  } else if (qp_verify(w->dev, &p->kernel, c, w->reference, w->opt->seed + p->index,
                       w->opt->row_groups_max, &v, &err)) {
    tell(w, p, QP_OUTCOME_FAIL, NAN, c, err.text);
  } else {
    tell(w, p, v.pass ? QP_OUTCOME_PASS : QP_OUTCOME_FAIL, v.error, c, v.why);
  }
}

/* Cases first, first + stride, ...: a few are with the compiler while one is verified. */
static void work(worker *w, size_t first, size_t stride, size_t ahead) {
  size_t next = first;
  while (next < w->cases->count || w->waiting) {
    for (; next < w->cases->count && w->waiting < ahead; next += stride) submit(w, next);
    qp_compiled c;
    void *user;
    if (!qp_compiler_next(w->compiler, &c, &user)) continue;
    w->waiting--;
    judge(w, user, &c);
    qp_kernel_free(&((pending *)user)->kernel);
    free(user);
    qp_compiled_free(&c);
  }
}

/* The order in which the simulator runs blocks and warps. */
static qp_status shuffle(worker *w, qp_error *err) {
  qp_sim_switches switches;
  if (!w->opt->schedule) return QP_OK;
  qp_status st = qp_sim_switches_get(w->dev, &switches, err);
  switches.schedule = w->opt->schedule;
  return st ? st : qp_sim_switches_set(w->dev, &switches, err);
}

static qp_status open_worker(worker *w, unsigned compilers, qp_error *err) {
  qp_compiler_options co = {.workers = compilers};
  qp_status st = qp_compiler_open(&co, &w->compiler, err);
  if (!st) st = qp_device_open(w->opt->device, &w->dev, err);
  if (!st) st = shuffle(w, err);
  if (!st && !(w->reference = qp_reference_new())) st = qp_fail(err, QP_E_NOMEM, "no memory");
  return st;
}

static void run_process(worker *w, size_t number, size_t processes, unsigned compilers) {
  qp_error err = {0};
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (!open_worker(w, compilers, &err)) {
    work(w, number, processes, compilers + 2);
    qp_compiler_close(w->compiler);
    qp_device_close(w->dev);
    qp_reference_free(w->reference);
  }
  _exit(0);
}

/* ---- The parent ---- */

static bool read_result(int fd, qp_result *r) {
  char *p = (char *)r;
  for (size_t left = sizeof *r; left;) {
    ssize_t n = read(fd, p, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    left -= (size_t)n;
  }
  return true;
}

static void collect(int *fd, size_t processes, const qp_run_options *opt, const qp_cases *cases,
                    qp_result *result) {
  size_t open = 0, done = 0;
  for (size_t i = 0; i < processes; i++) open += fd[i] >= 0;
  struct pollfd p[MAX_PROCESSES];
  qp_progress bar;
  qp_progress_begin(&bar, opt->what, cases->count);
  while (open) {
    for (size_t i = 0; i < processes; i++) p[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
    if (poll(p, processes, -1) < 0 && errno != EINTR) break;
    for (size_t i = 0; i < processes; i++) {
      qp_result r;
      if (fd[i] < 0 || !(p[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
      if (read_result(fd[i], &r)) {
        if (r.index < cases->count) result[r.index] = r;
        done++;
      } else {
        close(fd[i]);
        fd[i] = -1;
        open--;
      }
    }
    qp_progress_show(&bar, done, "");
  }
  qp_progress_end(&bar);
}

/* Can the device and NVRTC be had at all?  In a process of its own: the drivers stay out of this
 * one. */
static qp_status try_once(const qp_run_options *opt, qp_families *families, const qp_cases *cases,
                          qp_error *err) {
  struct {
    qp_status status;
    qp_error err;
  } answer = {.status = QP_E_DEVICE};
  int fd[2];
  if (pipe(fd)) return qp_fail(err, QP_E_IO, "pipe: %s", strerror(errno));
  pid_t pid = fork();
  if (pid == 0) {
    worker w = {.families = families, .opt = opt, .cases = cases};
    answer.err.text[0] = 0;
    answer.status = open_worker(&w, 1, &answer.err);
    ssize_t n = write(fd[1], &answer, sizeof answer);
    _exit(n == (ssize_t)sizeof answer ? 0 : 1);
  }
  close(fd[1]);
  char *to = (char *)&answer;
  size_t got = 0;
  for (ssize_t n; got < sizeof answer && (n = read(fd[0], to + got, sizeof answer - got)) > 0;)
    got += (size_t)n;
  close(fd[0]);
  if (pid > 0) waitpid(pid, NULL, 0);
  if (got != sizeof answer)
    return qp_fail(err, QP_E_DEVICE, "%s: the process that opened it ended", opt->device);
  if (answer.status) *err = answer.err;
  return answer.status;
}

qp_status qp_run_cases(qp_families *families, const qp_run_options *opt, const qp_cases *cases,
                       const bool *verify, qp_result *result, qp_error *err) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  bool sim = !strncmp(opt->device, "sim", 3);
  size_t processes = opt->processes ? opt->processes : sim && cpus > 0 ? (size_t)cpus : 1;
  unsigned compilers = sim || cpus < 1 ? 1 : (unsigned)cpus;
  int fd[MAX_PROCESSES], ends[2];
  pid_t pid[MAX_PROCESSES];
  if (processes > MAX_PROCESSES) processes = MAX_PROCESSES;
  qp_status st = try_once(opt, families, cases, err);
  if (st) return st;
  for (size_t i = 0; i < cases->count; i++) {
    memset(&result[i], 0, sizeof result[i]);
    result[i].error = NAN;
    snprintf(result[i].why, sizeof result[i].why, "the process that checked it ended");
  }
  fflush(NULL);
  for (size_t i = 0; i < processes; i++) {
    fd[i] = -1;
    pid[i] = -1;
    if (pipe(ends)) continue;
    pid[i] = fork();
    if (pid[i] == 0) {
      close(ends[0]);
      worker w = {
          .families = families, .opt = opt, .cases = cases, .verify = verify, .out = ends[1]};
      run_process(&w, i, processes, compilers);
    }
    close(ends[1]);
    fd[i] = ends[0];
  }
  collect(fd, processes, opt, cases, result);
  for (size_t i = 0; i < processes; i++)
    if (pid[i] > 0) waitpid(pid[i], NULL, 0);
  return QP_OK;
}
