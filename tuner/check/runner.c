/* SPDX-License-Identifier: MIT */
/* The runner: cases -> [processes] -> results, whatever a kernel does to the process that runs
   it. */
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

#include "gen/base/process.h"
#include "tuner/base/output.h"
#include "tuner/check/checking_process.h"

enum { MAX_PROCESSES = 64, IDLE_DEATHS = 3 };

/* One process, and what it said last. */
typedef struct member {
  pid_t pid;
  int fd; /* -1: none, and its share is done */
  bool greeted, busy, timed;
  size_t now;          /* the case that it makes or runs */
  double since;        /* when that began */
  unsigned idle_death; /* deaths in a row without a word about a case */
  char gone[600];      /* why it could open nothing */
} member;

typedef struct runner {
  const qp_run_options *opt;
  qp_checking_process share; /* what all processes have in common */
  qp_result *result;
  bool *settled;
  size_t count, done;
  member member[MAX_PROCESSES];
  size_t members;
  double timeout_s;
  bool simulated;
  bool stop;
  qp_progress bar;
} runner;

static volatile sig_atomic_t cut_by;

static void on_signal(int number) { cut_by = number; }

/* ---- Processes ---- */

static bool has_work(const runner *r, size_t number) {
  for (size_t i = number; i < r->count; i += r->members)
    if (!r->settled[i]) return true;
  return false;
}

static void start(runner *r, size_t number) {
  member *m = &r->member[number];
  int ends[2];
  m->fd = m->pid = -1;
  m->greeted = m->busy = false;
  if (pipe(ends)) {
    snprintf(m->gone, sizeof m->gone, "no pipe: %s", strerror(errno));
    return;
  }
  fflush(NULL);
  qp_error why = {.text = ""};
  if (qp_process_fork(&m->pid, &why))
    snprintf(m->gone, sizeof m->gone, "%.*s", (int)sizeof m->gone - 1, why.text);
  if (m->pid == 0) {
    qp_checking_process share = r->share;
    signal(SIGINT, SIG_IGN); /* the runner decides */
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    for (size_t i = 0; i < r->members; i++)
      if (i != number && r->member[i].fd > 0) close(r->member[i].fd);
    share.first = number;
    share.step = r->members;
    share.out = ends[1];
    qp_checking_process_run(&share);
    _exit(0);
  }
  close(ends[1]);
  if (m->pid < 0)
    close(ends[0]);
  else
    m->fd = ends[0];
}

/* Wait for a process whose end was seen or made; how it ended, in words. */
static void end(member *m, char *how, size_t size) {
  int status = 0;
  close(m->fd);
  m->fd = -1;
  while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFSIGNALED(status))
    snprintf(how, size, "its process died of signal %d (%s)", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
  else
    snprintf(how, size, "its process ended with status %d", WEXITSTATUS(status));
}

/* ---- Results ---- */

static void take(runner *r, const qp_result *result) {
  if (result->index >= r->count || r->settled[result->index]) return;
  r->settled[result->index] = true;
  r->result[result->index] = *result;
  r->done++;
  qp_progress_end(&r->bar); /* the row stands where the bar stood */
  if (r->opt->each) r->opt->each(r->opt->user, result);
  if (r->opt->fail_fast && result->outcome == QP_OUTCOME_FAIL) r->stop = true;
}

static void fail_case(runner *r, size_t index, const char *why) {
  qp_result result;
  memset(&result, 0, sizeof result);
  result.index = index;
  result.outcome = QP_OUTCOME_FAIL;
  result.error = NAN;
  snprintf(result.why, sizeof result.why, "%.590s", why);
  take(r, &result);
}

/* The process is gone: the case it was at fails, and another goes on with the rest. */
static void replace(runner *r, size_t number, const char *instead) {
  member *m = &r->member[number];
  char how[sizeof m->gone + 64];
  end(m, how, sizeof how);
  if (m->busy) fail_case(r, m->now, instead ? instead : how);
  m->idle_death = m->busy ? 0 : m->idle_death + 1;
  if (r->stop || !has_work(r, number)) return;
  if (m->idle_death < IDLE_DEATHS) {
    start(r, number);
    return;
  }
  snprintf(how, sizeof how, "not run: no process could be had that checks: %s",
           *m->gone ? m->gone : "each ended at once");
  for (size_t i = number; i < r->count; i += r->members)
    if (!r->settled[i]) fail_case(r, i, how);
}

/* ---- Messages ---- */

static bool read_bytes(int fd, void *to, size_t bytes) {
  char *p = to;
  for (size_t left = bytes; left;) {
    ssize_t n = read(fd, p, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    left -= (size_t)n;
  }
  return true;
}

/* What the limit of a kernel counts: in the simulator the processor time of the process, which is
   no more where other work has the machine too. */
static double clock_of(const runner *r, const member *m) {
  return r->simulated ? qp_process_seconds(m->pid) : qp_seconds();
}

/* False where it ended without a word. */
static bool hear_greeting(member *m, qp_checking_greeting *hello) {
  m->greeted = read_bytes(m->fd, hello, sizeof *hello);
  if (m->greeted && hello->status)
    snprintf(m->gone, sizeof m->gone, "%.*s", (int)sizeof m->gone - 1, hello->err.text);
  return m->greeted;
}

static void hear(runner *r, size_t number) {
  member *m = &r->member[number];
  qp_checking_message message;
  qp_checking_greeting hello;
  if (!m->greeted) {
    if (!hear_greeting(m, &hello)) replace(r, number, NULL);
    return;
  }
  if (!read_bytes(m->fd, &message, sizeof message)) {
    replace(r, number, NULL);
    return;
  }
  if (message.kind == QP_CHECKING_RESULT) {
    m->idle_death = 0;
    m->busy = m->busy && m->now != message.result.index;
    take(r, &message.result);
  } else {
    m->idle_death = 0;
    m->busy = message.kind != QP_CHECKING_WAITS;
    m->timed = message.kind == QP_CHECKING_RUNS;
    m->now = message.result.index;
    m->since = clock_of(r, m);
  }
}

static void end_overdue(runner *r) {
  for (size_t i = 0; i < r->members; i++) {
    member *m = &r->member[i];
    char why[128];
    if (m->fd < 0 || !m->busy || !m->timed || clock_of(r, m) - m->since < r->timeout_s) continue;
    snprintf(why, sizeof why, "not done after %.3g s: it hangs, and its process was killed",
             r->timeout_s);
    kill(m->pid, SIGKILL);
    replace(r, i, why);
  }
}

static size_t running(const runner *r) {
  size_t n = 0;
  for (size_t i = 0; i < r->members; i++) n += r->member[i].fd >= 0;
  return n;
}

static void collect(runner *r) {
  struct pollfd p[MAX_PROCESSES];
  qp_progress_begin(&r->bar, r->opt->what, r->count);
  while (running(r) && !r->stop && !cut_by) {
    for (size_t i = 0; i < r->members; i++)
      p[i] = (struct pollfd){.fd = r->member[i].fd, .events = POLLIN};
    if (poll(p, r->members, 200) < 0 && errno != EINTR) break;
    for (size_t i = 0; i < r->members && !cut_by; i++)
      if (p[i].fd >= 0 && p[i].fd == r->member[i].fd && p[i].revents & (POLLIN | POLLHUP | POLLERR))
        hear(r, i);
    end_overdue(r);
    qp_progress_show(&r->bar, r->done, "");
  }
  qp_progress_end(&r->bar);
  for (size_t i = 0; i < r->members; i++) {
    char how[640];
    if (r->member[i].fd < 0) continue;
    kill(r->member[i].pid, SIGKILL);
    end(&r->member[i], how, sizeof how);
  }
}

/* ---- The run ---- */

/* Start the first process, which says whether device and NVRTC can be had at all.  The drivers stay
   out of this one. */
static qp_status start_first(runner *r, qp_error *err) {
  member *m = &r->member[0];
  qp_checking_greeting hello;
  char how[640];
  start(r, 0);
  if (m->fd < 0) return qp_fail(err, QP_E_IO, "no process to check in: %s", m->gone);
  if (!hear_greeting(m, &hello)) {
    end(m, how, sizeof how);
    return qp_fail(err, QP_E_DEVICE, "%s: the process that opened it ended", r->opt->device);
  }
  if (!hello.status) return QP_OK;
  end(m, how, sizeof how);
  *err = hello.err;
  return hello.status;
}

static void size_run(runner *r, unsigned *compilers) {
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  const bool sim = !strncmp(r->opt->device, "sim", 3);
  r->simulated = sim;
  r->members = r->opt->processes ? r->opt->processes : sim && cpus > 0 ? (size_t)cpus : 1;
  if (r->members > MAX_PROCESSES) r->members = MAX_PROCESSES;
  *compilers = sim || cpus < 1 ? 1 : (unsigned)cpus;
  r->timeout_s = r->opt->timeout_s > 0 ? r->opt->timeout_s : sim ? 600 : 120;
}

static qp_status run_all(runner *r, qp_error *err) {
  struct sigaction act = {.sa_handler = on_signal}, was_int, was_term;
  cut_by = 0;
  for (size_t i = 0; i < r->members; i++) r->member[i].fd = -1;
  const qp_status status = start_first(r, err);
  if (status) return status;
  sigaction(SIGINT, &act, &was_int);
  sigaction(SIGTERM, &act, &was_term);
  for (size_t i = 1; i < r->members; i++) start(r, i);
  collect(r);
  sigaction(SIGINT, &was_int, NULL);
  sigaction(SIGTERM, &was_term, NULL);
  return QP_OK;
}

qp_status qp_run_cases(qp_families *families, const qp_run_options *opt, const qp_cases *cases,
                       const bool *verify, qp_result *result, int *cut, qp_error *err) {
  runner *r = calloc(1, sizeof *r);
  bool *settled = calloc(cases->count + 1, sizeof *settled);
  if (!r || !settled)
    return free(r), free(settled), qp_fail(err, QP_E_NOMEM, "no memory for a run");
  for (size_t i = 0; i < cases->count; i++) {
    memset(&result[i], 0, sizeof result[i]);
    result[i].index = i;
    result[i].error = NAN;
    snprintf(result[i].why, sizeof result[i].why, "not run");
  }
  *r = (runner){.opt = opt, .result = result, .settled = settled, .count = cases->count};
  r->share = (qp_checking_process){
      .families = families, .opt = opt, .cases = cases, .verify = verify, .settled = settled};
  size_run(r, &r->share.compilers);
  const qp_status status = run_all(r, err);
  if (cut) *cut = cut_by;
  free(settled);
  free(r);
  return status;
}
