/* SPDX-License-Identifier: MIT */
/* The compiler:  jobs -> [cache] -> worker processes -> results.  It is one event loop without
   threads. */
#include "gen/compile/compile_internal.h"

#include <assert.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/compile/compile_slot.h"
#include "gen/compile/nvrtc.h"
#include "gen/compile/worker.h"

enum {
  MOST_WORKERS = 1024,
  MOST_WAITING = 64, /* results that may wait for qp_compiler_next before more is dispatched */
  LOAD_S = 60,       /* loading NVRTC from a cold disk may take longer than a compile may */
};

struct qp_compiler {
  qp_fork_server *server;
  qp_cubin_cache *cache;
  qp_item_list queue, done;
  qp_slot *slots;
  struct pollfd *polls;
  unsigned slot_count, busy;
  double timeout_s;
  char version[256];
};

/* ---- results ---- */

static void finish_reply(qp_compiler *c, qp_slot *s) {
  qp_item *it = s->item;
  qp_compiled r;
  if (qp_slot_unpack(s, &r)) {
    qp_compiled_free(&it->result);
    it->result = r;
    if (it->task == QP_WORKER_COMPILE && r.status == QP_OK &&
        (!it->job.want_cubin || qp_item_find_resources(it))) {
      qp_cubin_cache_write(c->cache, &it->key, &it->result);
      qp_item_keep_wanted(it);
    }
  }
  qp_item_list_push(&c->done, it);
}

static void finish_broken(qp_compiler *c, qp_slot *s) {
  qp_item *it = s->item;
  const double seconds = qp_worker_clock() - s->start;
  int wait_status = 0;
  qp_error why;
  if (!qp_slot_end(c->server, s, &wait_status)) {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process is gone", it->job.name);
  } else if (WIFSIGNALED(wait_status)) {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process ended by signal %d (%s)", it->job.name,
            WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
  } else {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process ended with exit code %d", it->job.name,
            WEXITSTATUS(wait_status));
  }
  qp_item_fail(it, QP_E_COMPILE, why.text);
  it->result.seconds = seconds;
  qp_item_list_push(&c->done, it);
}

static void end_late(qp_compiler *c, qp_slot *s, const char *how) {
  qp_item *it = s->item;
  const double seconds = qp_worker_clock() - s->start;
  int wait_status;
  qp_error why;
  qp_slot_end(c->server, s, &wait_status);
  qp_fail(&why, QP_E_LIMIT, "%s: compiling %s %g s and was ended", it->job.name, how, s->limit_s);
  qp_item_fail(it, QP_E_LIMIT, why.text);
  it->result.seconds = seconds;
  qp_item_list_push(&c->done, it);
}

static void finish_spent(qp_compiler *c, qp_slot *s) {
  end_late(c, s, "took more processor time than");
}

static void finish_standing(qp_compiler *c, qp_slot *s) { end_late(c, s, "stood still for"); }

static void slot_finish(qp_compiler *c, qp_slot *s, void (*how)(qp_compiler *, qp_slot *)) {
  how(c, s);
  qp_slot_rest(s);
  c->busy--;
}

/* ---- the event loop ---- */

/* True if the item was done by the cache.  A compile for PTX alone may use a whole result. */
static bool from_cache(qp_compiler *c, qp_item *it) {
  if (it->task != QP_WORKER_COMPILE) return false;
  it->key = qp_cubin_cache_key_of(c->version, &it->job, it->job.want_cubin);
  qp_compiled r;
  bool found = qp_cubin_cache_read(c->cache, &it->key, &r);
  if (!found && !it->job.want_cubin) {
    const qp_cubin_cache_key whole = qp_cubin_cache_key_of(c->version, &it->job, true);
    found = qp_cubin_cache_read(c->cache, &whole, &r);
  }
  if (!found) return false;
  qp_compiled_free(&it->result);
  it->result = r;
  qp_item_keep_wanted(it);
  qp_item_list_push(&c->done, it);
  return true;
}

static void fail_item(qp_compiler *c, qp_item *it, qp_status status, const char *why) {
  qp_item_fail(it, status, why);
  qp_item_list_push(&c->done, it);
}

/* Start a job on an idle slot, in a new process where it has none.  A process that died while
   it was idle is found out here, and the job goes to a new one. */
static void slot_start(qp_compiler *c, qp_slot *s, qp_item *it) {
  if (!qp_slot_request(s, it)) {
    qp_slot_rest(s);
    qp_item_list_push(&c->done, it);
    return;
  }
  for (int attempt = 0;; attempt++) {
    qp_error why = {.text = ""};
    if (s->pid == 0) {
      const qp_status status = qp_fork_server_spawn(c->server, &s->fd, &s->pid, &why);
      if (status != QP_OK) {
        qp_slot_rest(s);
        fail_item(c, it, status, why.text);
        return;
      }
    }
    if (qp_slot_send(s) != QP_SLOT_BROKEN) break;
    int wait_status;
    qp_slot_end(c->server, s, &wait_status);
    s->sent = 0;
    if (attempt == 1) {
      qp_slot_rest(s);
      fail_item(c, it, QP_E_COMPILE, "the compiler's process ends before it takes a job");
      return;
    }
  }
  s->item = it;
  qp_slot_limit(s, it->task == QP_WORKER_COMPILE ? c->timeout_s : fmax(c->timeout_s, LOAD_S));
  c->busy++;
}

/* An idle slot, rather one whose process is there. */
static qp_slot *idle_slot(qp_compiler *c) {
  qp_slot *empty = NULL;
  for (unsigned i = 0; i < c->slot_count; i++) {
    qp_slot *s = &c->slots[i];
    if (s->item) continue;
    if (s->pid != 0) return s;
    if (!empty) empty = s;
  }
  return empty;
}

/* Start what can be started.  'urgent' (or NULL), when it is first, does not wait for room. */
static void dispatch(qp_compiler *c, const qp_item *urgent) {
  while (c->queue.head && c->busy < c->slot_count &&
         (c->done.count < MOST_WAITING || c->queue.head == urgent)) {
    qp_item *it = qp_item_list_take(&c->queue, NULL);
    if (!from_cache(c, it)) slot_start(c, idle_slot(c), it);
  }
}

static int wait_ms(const qp_compiler *c) {
  double first = INFINITY;
  for (unsigned i = 0; i < c->slot_count; i++) {
    if (c->slots[i].item) first = fmin(first, c->slots[i].time.next);
  }
  const double ms = ceil(1e3 * (first - qp_worker_clock()));
  return ms <= 0 ? 0 : (int)fmin(ms, 60e3);
}

static void slot_advance(qp_compiler *c, qp_slot *s, short events) {
  qp_slot_progress p = QP_SLOT_MORE;
  if (s->sent < s->request_bytes && (events & POLLOUT)) {
    if (qp_slot_send(s) == QP_SLOT_BROKEN) p = QP_SLOT_BROKEN;
  }
  if (p == QP_SLOT_MORE && (events & (POLLIN | POLLHUP | POLLERR))) p = qp_slot_receive(s);
  if (p == QP_SLOT_COMPLETE) {
    slot_finish(c, s, finish_reply);
  } else if (p == QP_SLOT_BROKEN) {
    slot_finish(c, s, finish_broken);
  } else {
    const qp_slot_pace pace = qp_slot_look(s);
    if (pace == QP_SLOT_SPENT) slot_finish(c, s, finish_spent);
    if (pace == QP_SLOT_STANDS) slot_finish(c, s, finish_standing);
  }
}

/* Wait until a worker says something or is late, and take note of it. */
static void turn(qp_compiler *c) {
  for (unsigned i = 0; i < c->slot_count; i++) {
    const qp_slot *s = &c->slots[i];
    const bool unsent = s->item && s->sent < s->request_bytes;
    c->polls[i] = (struct pollfd){.fd = s->item ? s->fd : -1,
                                  .events = (short)(unsent ? POLLIN | POLLOUT : POLLIN)};
  }
  if (poll(c->polls, c->slot_count, wait_ms(c)) < 0) {
    for (unsigned i = 0; i < c->slot_count; i++) c->polls[i].revents = 0;
  }
  for (unsigned i = 0; i < c->slot_count; i++) {
    if (c->slots[i].item) slot_advance(c, &c->slots[i], c->polls[i].revents);
  }
}

/* Wait for one item (NULL: any); NULL when nothing is queued or running. */
static qp_item *await(qp_compiler *c, const qp_item *it) {
  for (;;) {
    dispatch(c, it);
    qp_item *found = qp_item_list_take(&c->done, it);
    if (found) {
      dispatch(c, NULL); /* keep the workers busy while the caller works on this one */
      return found;
    }
    if (c->busy > 0) {
      turn(c);
    } else if (!c->queue.head) {
      return NULL;
    }
  }
}

/* ---- the public side ---- */

static qp_status ask_version(qp_compiler *c, qp_error *err) {
  const qp_compile_job nothing = {.name = "NVRTC", .source = ""};
  qp_item *it = qp_item_new(QP_WORKER_DESCRIBE, &nothing);
  if (!it) return qp_fail(err, QP_E_NOMEM, "out of memory for the compiler");
  qp_item_list_push(&c->queue, it);
  it = await(c, it);
  qp_status status = it->result.status;
  if (status == QP_OK) {
    strncat(c->version, it->result.log, sizeof c->version - 1);
  } else {
    status = qp_fail(err, status, "%s", it->result.log);
  }
  qp_item_free(it);
  return status;
}

static unsigned slots_wanted(unsigned workers) {
  if (workers == 0) {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    workers = online > 0 ? (unsigned)online : 1;
  }
  return workers < MOST_WORKERS ? workers : MOST_WORKERS;
}

qp_status qp_compiler_open_with(const qp_compiler_options *opt, const qp_compile_backend *backend,
                                qp_compiler **out, qp_error *err) {
  const qp_compiler_options defaults = {0};
  if (!opt) opt = &defaults;
  if (!(opt->timeout_s >= 0)) {
    return qp_fail(err, QP_E_ARG, "timeout_s: %g is not a time; 0 or more seconds are wanted",
                   opt->timeout_s);
  }
  qp_compiler *c = calloc(1, sizeof *c);
  if (!c) return qp_fail(err, QP_E_NOMEM, "out of memory for the compiler");
  qp_item_list_init(&c->queue);
  qp_item_list_init(&c->done);
  const unsigned count = slots_wanted(opt->workers);
  c->timeout_s = opt->timeout_s > 0 ? opt->timeout_s : 120;
  c->slots = calloc(count, sizeof *c->slots);
  c->polls = calloc(count, sizeof *c->polls);
  qp_status status = QP_E_NOMEM;
  if (!c->slots || !c->polls) {
    qp_fail(err, status, "out of memory for %u compiler processes", count);
    goto failed;
  }
  c->slot_count = count;
  for (unsigned i = 0; i < count; i++) c->slots[i].fd = -1;
  status = qp_cubin_cache_open(opt->cache_dir, &c->cache, err);
  if (status == QP_OK) status = qp_fork_server_open(qp_worker_serve, backend, &c->server, err);
  if (status == QP_OK) status = ask_version(c, err);
  if (status != QP_OK) goto failed;
  *out = c;
  return QP_OK;
failed:
  qp_compiler_close(c);
  return status;
}

qp_status qp_compiler_open(const qp_compiler_options *opt, qp_compiler **out, qp_error *err) {
  return qp_compiler_open_with(opt, &qp_nvrtc_backend, out, err);
}

void qp_compiler_close(qp_compiler *c) {
  if (!c) return;
  assert(c->slots || !c->slot_count);
  for (unsigned i = 0; i < c->slot_count; i++) {
    qp_slot *s = &c->slots[i];
    int wait_status;
    if (s->pid != 0) qp_slot_end(c->server, s, &wait_status);
    qp_item_free(s->item);
    qp_slot_rest(s);
  }
  qp_fork_server_close(c->server);
  if (c->queue.tail) qp_item_list_free(&c->queue);
  if (c->done.tail) qp_item_list_free(&c->done);
  qp_cubin_cache_close(c->cache);
  free(c->slots);
  free(c->polls);
  free(c);
}

const char *qp_compiler_version(const qp_compiler *c) { return c->version; }

unsigned qp_compiler_worker_count(const qp_compiler *c) { return c->slot_count; }

pid_t qp_compiler_worker_pid(const qp_compiler *c, unsigned index) {
  return index < c->slot_count ? c->slots[index].pid : 0;
}

static qp_status check_job(const qp_compile_job *job, qp_error *err) {
  if (!job->name || !*job->name) return qp_fail(err, QP_E_ARG, "compile job: name is empty");
  if (!job->source) return qp_fail(err, QP_E_ARG, "compile job '%s': no source", job->name);
  if (!job->want_cubin && !job->want_ptx) {
    return qp_fail(err, QP_E_ARG, "compile job '%s': neither cubin nor PTX is wanted", job->name);
  }
  if (strlen(job->name) + strlen(job->source) > QP_WORKER_MOST_BYTES) {
    return qp_fail(err, QP_E_ARG, "compile job '%s': the source is larger than 1 GiB", job->name);
  }
  if (!qp_arch_find(job->arch)) {
    char text[16];
    unsigned ignored;
    snprintf(text, sizeof text, "sm_%u", job->arch);
    qp_arch_parse(text, &ignored, err);
    return qp_fail_prefix(err, QP_E_ARG, "compile job '%s'", job->name);
  }
  return QP_OK;
}

/* Copy a job and check it; NULL means that the reason is in *status and err. */
static qp_item *item_of(const qp_compile_job *job, qp_status *status, qp_error *err) {
  *status = check_job(job, err);
  if (*status != QP_OK) return NULL;
  qp_item *it = qp_item_new(QP_WORKER_COMPILE, job);
  if (!it) *status = qp_fail(err, QP_E_NOMEM, "compile job '%s': out of memory", job->name);
  return it;
}

qp_status qp_compiler_submit(qp_compiler *c, const qp_compile_job *job, qp_error *err) {
  qp_status status;
  qp_item *it = item_of(job, &status, err);
  if (!it) return status;
  qp_item_list_push(&c->queue, it);
  dispatch(c, NULL);
  return QP_OK;
}

bool qp_compiler_next(qp_compiler *c, qp_compiled *out, void **user) {
  qp_item *it = await(c, NULL);
  if (!it) return false;
  *out = it->result;
  if (user) *user = it->job.user;
  it->result = (qp_compiled){0};
  qp_item_free(it);
  return true;
}

/* Before what is queued: somebody waits for this one. */
qp_status qp_compiler_run(qp_compiler *c, const qp_compile_job *job, qp_compiled *out,
                          qp_error *err) {
  qp_status status;
  qp_item *it = item_of(job, &status, err);
  if (!it) return status;
  qp_item_list_push_front(&c->queue, it);
  it = await(c, it);
  status = it->result.status;
  if (status == QP_OK) {
    *out = it->result;
    it->result = (qp_compiled){0};
  } else {
    qp_fail(err, status, "%s", it->result.log);
  }
  qp_item_free(it);
  return status;
}
