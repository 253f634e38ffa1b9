/* SPDX-License-Identifier: MIT */
/* The compiler:  jobs -> [cache] -> worker processes -> results, one event loop without threads. */
#include "gen/compile/compile_internal.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/compile/cubin.h"
#include "gen/compile/cubin_cache.h"
#include "gen/compile/fork_server.h"
#include "gen/compile/nvrtc.h"
#include "gen/compile/worker.h"

enum {
  MOST_WORKERS = 1024,
  MOST_WAITING = 64, /* results that may wait for qp_compiler_next before more is dispatched */
  LOAD_S = 60,       /* loading NVRTC from a cold disk may take longer than a compile may */
};

/* A job on its way: in the queue, then in a worker, then among the results. */
typedef struct item {
  struct item *next;
  qp_worker_task task;
  qp_compile_job job;     /* owns name and source */
  qp_cubin_cache_key key; /* of the compile that would be run */
  qp_compiled result;     /* before there is one: out of memory */
} item;

typedef struct list {
  item *head, **tail;
  size_t count;
} list;

/* A slot for a worker process; pid 0: none is running. */
typedef struct slot {
  pid_t pid;
  int fd;
  item *item;     /* what it works on; NULL: idle */
  double start;   /* of that, on the monotonic clock */
  double limit_s; /* how long it may take */
  char *request;
  size_t request_bytes, sent;
  qp_reply_head head;
  size_t got; /* bytes of the reply, its head included */
  char *payload;
  size_t payload_bytes;
} slot;

struct qp_compiler {
  qp_fork_server *server;
  qp_cubin_cache *cache;
  list queue, done;
  slot *slots;
  struct pollfd *polls;
  unsigned slot_count, busy;
  double timeout_s;
  char version[256];
};

void qp_compiled_free(qp_compiled *c) {
  if (!c) return;
  free(c->log);
  free(c->cubin);
  free(c->ptx);
  *c = (qp_compiled){0};
}

static void list_init(list *l) { *l = (list){.tail = &l->head}; }

static void list_push(list *l, item *it) {
  it->next = NULL;
  *l->tail = it;
  l->tail = &it->next;
  l->count++;
}

static void list_push_front(list *l, item *it) {
  it->next = l->head;
  if (!l->head) l->tail = &it->next;
  l->head = it;
  l->count++;
}

/* Take 'it' out of the list (NULL: the first); NULL if it is not there. */
static item *list_take(list *l, const item *it) {
  for (item **at = &l->head; *at; at = &(*at)->next) {
    item *found = *at;
    if (it && found != it) continue;
    *at = found->next;
    if (!*at) l->tail = at;
    l->count--;
    return found;
  }
  return NULL;
}

static void item_free(item *it) {
  if (!it) return;
  free((char *)(uintptr_t)it->job.name);
  free((char *)(uintptr_t)it->job.source);
  qp_compiled_free(&it->result);
  free(it);
}

static item *item_new(qp_worker_task task, const qp_compile_job *job) {
  item *it = calloc(1, sizeof *it);
  if (!it) return NULL;
  it->task = task;
  it->job = *job;
  it->job.name = strdup(job->name);
  it->job.source = strdup(job->source);
  it->result.log = strdup("out of memory");
  it->result.status = QP_E_NOMEM;
  if (!it->job.name || !it->job.source || !it->result.log) {
    item_free(it);
    return NULL;
  }
  return it;
}

/* Give the item a failure instead of what it has; without memory even for that, a NOMEM. */
static void item_fail(item *it, qp_status status, const char *why) {
  char *log = strdup(why);
  if (!log) {
    status = QP_E_NOMEM;
    log = it->result.log;
    it->result.log = NULL;
  }
  qp_compiled_free(&it->result);
  it->result = (qp_compiled){.status = status, .log = log};
}

/* ---- one worker ---- */

static void slot_rest(slot *s) {
  free(s->request);
  free(s->payload);
  s->request = s->payload = NULL;
  s->request_bytes = s->sent = s->got = s->payload_bytes = 0;
  s->item = NULL;
}

/* End the process of a slot, tell how it had died if it had, and leave the slot empty. */
static bool slot_end(qp_compiler *c, slot *s, int *wait_status) {
  close(s->fd);
  const bool known = qp_fork_server_end(c->server, s->pid, wait_status);
  s->pid = 0;
  s->fd = -1;
  return known;
}

static bool slot_request(slot *s, const item *it) {
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

typedef enum progress { MORE, COMPLETE, BROKEN } progress;

static progress slot_send(slot *s) {
  while (s->sent < s->request_bytes) {
    const ssize_t n = send(s->fd, s->request + s->sent, s->request_bytes - s->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return MORE;
    if (n <= 0) return BROKEN;
    s->sent += (size_t)n;
  }
  return COMPLETE;
}

/* Where the next bytes of a reply belong, and how many are wanted. */
static progress slot_room(slot *s, char **at, size_t *bytes) {
  const size_t head = sizeof s->head;
  if (s->got < head) {
    *at = (char *)&s->head + s->got;
    *bytes = head - s->got;
    return MORE;
  }
  if (!s->payload) {
    if (!qp_reply_payload(&s->head, &s->payload_bytes)) return BROKEN;
    s->payload = malloc(s->payload_bytes + 1);
    if (!s->payload) return BROKEN;
  }
  *at = s->payload + (s->got - head);
  *bytes = s->payload_bytes - (s->got - head);
  return *bytes ? MORE : COMPLETE;
}

static progress slot_receive(slot *s) {
  for (;;) {
    char *at;
    size_t bytes;
    const progress p = slot_room(s, &at, &bytes);
    if (p != MORE) return p;
    const ssize_t n = recv(s->fd, at, bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return MORE;
    if (n <= 0) return BROKEN;
    s->got += (size_t)n;
  }
}

/* ---- results ---- */

static char *copy_part(const char *data, uint64_t bytes) {
  char *copy = malloc((size_t)bytes + 1);
  if (!copy) return NULL;
  memcpy(copy, data, (size_t)bytes);
  copy[bytes] = 0;
  return copy;
}

/* A reply's parts as a result; false for want of memory. */
static bool unpack_reply(const slot *s, qp_compiled *out) {
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

/* Resources of a compiled kernel; a failure becomes the item's. */
static bool find_resources(item *it) {
  qp_compiled *r = &it->result;
  qp_resources *res = &r->res;
  qp_error why = {.text = ""};
  const qp_status s = qp_cubin_resources(r->cubin, r->cubin_bytes, it->job.name, res, &why);
  if (s != QP_OK) {
    item_fail(it, s, why.text);
    return false;
  }
  const bool told =
      qp_ptxas_spills(r->log, it->job.name, &res->spill_store_bytes, &res->spill_load_bytes);
  if (!told && res->stack_bytes > 0) {
    qp_fail(&why, s,
            "%s: it has a stack frame of %u bytes, and ptxas' log does not say how much "
            "of that is spilled registers",
            it->job.name, res->stack_bytes);
    item_fail(it, QP_E_COMPILE, why.text);
    return false;
  }
  return true;
}

/* Leave in a result what the job asked for. */
static void keep_wanted(item *it) {
  if (!it->job.want_cubin) {
    free(it->result.cubin);
    it->result.cubin = NULL;
    it->result.cubin_bytes = 0;
    it->result.res = (qp_resources){0};
  }
  if (!it->job.want_ptx) {
    free(it->result.ptx);
    it->result.ptx = NULL;
    it->result.ptx_bytes = 0;
  }
}

static void finish_reply(qp_compiler *c, slot *s) {
  item *it = s->item;
  qp_compiled r;
  if (unpack_reply(s, &r)) {
    qp_compiled_free(&it->result);
    it->result = r;
    if (it->task == QP_WORKER_COMPILE && r.status == QP_OK &&
        (!it->job.want_cubin || find_resources(it))) {
      qp_cubin_cache_write(c->cache, &it->key, &it->result);
      keep_wanted(it);
    }
  }
  list_push(&c->done, it);
}

static void finish_broken(qp_compiler *c, slot *s) {
  item *it = s->item;
  const double seconds = qp_worker_clock() - s->start;
  int wait_status = 0;
  qp_error why;
  if (!slot_end(c, s, &wait_status)) {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process is gone", it->job.name);
  } else if (WIFSIGNALED(wait_status)) {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process ended by signal %d (%s)", it->job.name,
            WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
  } else {
    qp_fail(&why, QP_E_COMPILE, "%s: the compiler's process ended with exit code %d", it->job.name,
            WEXITSTATUS(wait_status));
  }
  item_fail(it, QP_E_COMPILE, why.text);
  it->result.seconds = seconds;
  list_push(&c->done, it);
}

static void finish_late(qp_compiler *c, slot *s) {
  item *it = s->item;
  int wait_status;
  qp_error why;
  slot_end(c, s, &wait_status);
  qp_fail(&why, QP_E_LIMIT, "%s: compiling took longer than %g s and was ended", it->job.name,
          s->limit_s);
  item_fail(it, QP_E_LIMIT, why.text);
  it->result.seconds = s->limit_s;
  list_push(&c->done, it);
}

static void slot_finish(qp_compiler *c, slot *s, void (*how)(qp_compiler *, slot *)) {
  how(c, s);
  slot_rest(s);
  c->busy--;
}

/* ---- the event loop ---- */

/* True if the item was done by the cache.  A compile for PTX alone may use a whole result. */
static bool from_cache(qp_compiler *c, item *it) {
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
  keep_wanted(it);
  list_push(&c->done, it);
  return true;
}

static void fail_item(qp_compiler *c, item *it, qp_status status, const char *why) {
  item_fail(it, status, why);
  list_push(&c->done, it);
}

/* Start a job on an idle slot, in a new process where it has none.  A process that died while
** it was idle is found out here, and the job goes to a new one. */
static void slot_start(qp_compiler *c, slot *s, item *it) {
  if (!slot_request(s, it)) {
    slot_rest(s);
    list_push(&c->done, it);
    return;
  }
  for (int attempt = 0;; attempt++) {
    qp_error why = {.text = ""};
    if (s->pid == 0) {
      const qp_status status = qp_fork_server_spawn(c->server, &s->fd, &s->pid, &why);
      if (status != QP_OK) {
        slot_rest(s);
        fail_item(c, it, status, why.text);
        return;
      }
    }
    if (slot_send(s) != BROKEN) break;
    int wait_status;
    slot_end(c, s, &wait_status);
    s->sent = 0;
    if (attempt == 1) {
      slot_rest(s);
      fail_item(c, it, QP_E_COMPILE, "the compiler's process ends before it takes a job");
      return;
    }
  }
  s->item = it;
  s->start = qp_worker_clock();
  s->limit_s = it->task == QP_WORKER_COMPILE ? c->timeout_s : fmax(c->timeout_s, LOAD_S);
  c->busy++;
}

/* An idle slot, rather one whose process is there. */
static slot *idle_slot(qp_compiler *c) {
  slot *empty = NULL;
  for (unsigned i = 0; i < c->slot_count; i++) {
    slot *s = &c->slots[i];
    if (s->item) continue;
    if (s->pid != 0) return s;
    if (!empty) empty = s;
  }
  return empty;
}

/* Start what can be started.  'urgent' (or NULL), when it is first, does not wait for room. */
static void dispatch(qp_compiler *c, const item *urgent) {
  while (c->queue.head && c->busy < c->slot_count &&
         (c->done.count < MOST_WAITING || c->queue.head == urgent)) {
    item *it = list_take(&c->queue, NULL);
    if (!from_cache(c, it)) slot_start(c, idle_slot(c), it);
  }
}

static int wait_ms(const qp_compiler *c) {
  double first = INFINITY;
  for (unsigned i = 0; i < c->slot_count; i++) {
    if (c->slots[i].item) first = fmin(first, c->slots[i].start + c->slots[i].limit_s);
  }
  const double ms = ceil(1e3 * (first - qp_worker_clock()));
  return ms <= 0 ? 0 : (int)fmin(ms, 60e3);
}

static void slot_advance(qp_compiler *c, slot *s, short events) {
  progress p = MORE;
  if (s->sent < s->request_bytes && (events & POLLOUT)) {
    if (slot_send(s) == BROKEN) p = BROKEN;
  }
  if (p == MORE && (events & (POLLIN | POLLHUP | POLLERR))) p = slot_receive(s);
  if (p == COMPLETE) {
    slot_finish(c, s, finish_reply);
  } else if (p == BROKEN) {
    slot_finish(c, s, finish_broken);
  } else if (qp_worker_clock() >= s->start + s->limit_s) {
    slot_finish(c, s, finish_late);
  }
}

/* Wait until a worker says something or is late, and take note of it. */
static void turn(qp_compiler *c) {
  for (unsigned i = 0; i < c->slot_count; i++) {
    const slot *s = &c->slots[i];
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
static item *await(qp_compiler *c, const item *it) {
  for (;;) {
    dispatch(c, it);
    item *found = list_take(&c->done, it);
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
  item *it = item_new(QP_WORKER_DESCRIBE, &nothing);
  if (!it) return qp_fail(err, QP_E_NOMEM, "out of memory for the compiler");
  list_push(&c->queue, it);
  it = await(c, it);
  qp_status s = it->result.status;
  if (s == QP_OK) {
    strncat(c->version, it->result.log, sizeof c->version - 1);
  } else {
    s = qp_fail(err, s, "%s", it->result.log);
  }
  item_free(it);
  return s;
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
  list_init(&c->queue);
  list_init(&c->done);
  const unsigned count = slots_wanted(opt->workers);
  c->timeout_s = opt->timeout_s > 0 ? opt->timeout_s : 120;
  c->slots = calloc(count, sizeof *c->slots);
  c->polls = calloc(count, sizeof *c->polls);
  qp_status s = QP_E_NOMEM;
  if (!c->slots || !c->polls) {
    qp_fail(err, s, "out of memory for %u compiler processes", count);
    goto failed;
  }
  c->slot_count = count;
  for (unsigned i = 0; i < count; i++) c->slots[i].fd = -1;
  s = qp_cubin_cache_open(opt->cache_dir, &c->cache, err);
  if (s == QP_OK) s = qp_fork_server_open(qp_worker_serve, backend, &c->server, err);
  if (s == QP_OK) s = ask_version(c, err);
  if (s != QP_OK) goto failed;
  *out = c;
  return QP_OK;
failed:
  qp_compiler_close(c);
  return s;
}

qp_status qp_compiler_open(const qp_compiler_options *opt, qp_compiler **out, qp_error *err) {
  return qp_compiler_open_with(opt, &qp_nvrtc_backend, out, err);
}

static void list_free(list *l) {
  for (item *it; (it = list_take(l, NULL)) != NULL;) item_free(it);
}

void qp_compiler_close(qp_compiler *c) {
  if (!c) return;
  for (unsigned i = 0; i < c->slot_count; i++) {
    slot *s = &c->slots[i];
    int wait_status;
    if (s->pid != 0) slot_end(c, s, &wait_status);
    item_free(s->item);
    slot_rest(s);
  }
  qp_fork_server_close(c->server);
  if (c->queue.tail) list_free(&c->queue);
  if (c->done.tail) list_free(&c->done);
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

/* A checked copy of a job; NULL and the reason in *status and err. */
static item *item_of(const qp_compile_job *job, qp_status *status, qp_error *err) {
  *status = check_job(job, err);
  if (*status != QP_OK) return NULL;
  item *it = item_new(QP_WORKER_COMPILE, job);
  if (!it) *status = qp_fail(err, QP_E_NOMEM, "compile job '%s': out of memory", job->name);
  return it;
}

qp_status qp_compiler_submit(qp_compiler *c, const qp_compile_job *job, qp_error *err) {
  qp_status s;
  item *it = item_of(job, &s, err);
  if (!it) return s;
  list_push(&c->queue, it);
  dispatch(c, NULL);
  return QP_OK;
}

bool qp_compiler_next(qp_compiler *c, qp_compiled *out, void **user) {
  item *it = await(c, NULL);
  if (!it) return false;
  *out = it->result;
  if (user) *user = it->job.user;
  it->result = (qp_compiled){0};
  item_free(it);
  return true;
}

/* Before what is queued: somebody waits for this one. */
qp_status qp_compiler_run(qp_compiler *c, const qp_compile_job *job, qp_compiled *out,
                          qp_error *err) {
  qp_status s;
  item *it = item_of(job, &s, err);
  if (!it) return s;
  list_push_front(&c->queue, it);
  it = await(c, it);
  s = it->result.status;
  if (s == QP_OK) {
    *out = it->result;
    it->result = (qp_compiled){0};
  } else {
    qp_fail(err, s, "%s", it->result.log);
  }
  item_free(it);
  return s;
}
