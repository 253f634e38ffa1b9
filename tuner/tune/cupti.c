/* SPDX-License-Identifier: MIT */
/*
** Reads activity records of CUPTI (cupti.h).  Its header is not needed: the calls have kept their
** types from CUPTI 11 to 13, and of a kernel's record only the prefix is read that all versions
** share.
*/
#include "tuner/tune/cupti.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/dynlib.h"

enum { KIND_CONCURRENT_KERNEL = 10, OK = 0, FLUSH_FORCED = 1 };
/* These refusals of CUptiResult have an advice of their own. */
enum {
  VIRTUALIZED_DEVICE = 33,
  INSUFFICIENT_PRIVILEGES = 35,
  MULTIPLE_SUBSCRIBERS = 39,
  NOT_ALLOWED = 40,
  MIG_DEVICE = 43,
  WSL_DEVICE = 45,
};
/* Bytes from the start of CUpti_ActivityKernelN. */
enum { AT_KIND = 0, AT_START = 16, AT_END = 24, AT_NAME = 104 };
enum { BUFFER_BYTES = 1 << 20, BUFFER_ALIGN = 8, MOST_LAUNCHES = 1 << 14 };

typedef void (*on_request)(uint8_t **buffer, size_t *size, size_t *most);
typedef void (*on_complete)(void *context, uint32_t stream, uint8_t *buffer, size_t size,
                            size_t valid);

#define CUPTI_CALLS(X)                                                                             \
  X(GetVersion, "cuptiGetVersion", (uint32_t *))                                                   \
  X(GetResultString, "cuptiGetResultString", (int, const char **))                                 \
  X(RegisterCallbacks, "cuptiActivityRegisterCallbacks", (on_request, on_complete))                \
  X(Enable, "cuptiActivityEnable", (int))                                                          \
  X(Disable, "cuptiActivityDisable", (int))                                                        \
  X(FlushAll, "cuptiActivityFlushAll", (uint32_t))                                                 \
  X(GetNextRecord, "cuptiActivityGetNextRecord", (uint8_t *, size_t, void **))                     \
  X(GetDropped, "cuptiActivityGetNumDroppedRecords", (void *, uint32_t, size_t *))

static struct {
#define X(name, symbol, parameters) int(*name) parameters;
  CUPTI_CALLS(X)
#undef X
} cupti;

typedef struct launch {
  uint64_t start, end; /* ns */
  char name[320];
} launch;

/* What the callbacks have gathered; they run on threads of CUPTI's. */
static struct {
  pthread_mutex_t lock;
  bool opened, paused;
  bool unproven; /* resumed, and no record has come since */
  bool never;    /* pausing loses records here: it is not done any more */
  uint32_t version;
  launch *list; /* [MOST_LAUNCHES] */
  size_t count, dropped, overflow;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- Callbacks ---- */

static void give_buffer(uint8_t **buffer, size_t *size, size_t *most) {
  *buffer = aligned_alloc(BUFFER_ALIGN, BUFFER_BYTES);
  *size = *buffer ? BUFFER_BYTES : 0;
  *most = 0; /* as many records as fit */
}

static void take_record(const uint8_t *record) {
  uint32_t kind;
  const char *name;
  memcpy(&kind, record + AT_KIND, sizeof kind);
  if (kind != KIND_CONCURRENT_KERNEL) return;
  if (seen.count == MOST_LAUNCHES) {
    seen.overflow++;
    return;
  }
  launch *l = &seen.list[seen.count++];
  memcpy(&l->start, record + AT_START, sizeof l->start);
  memcpy(&l->end, record + AT_END, sizeof l->end);
  memcpy(&name, record + AT_NAME, sizeof name);
  snprintf(l->name, sizeof l->name, "%s", name ? name : "");
}

static void take_buffer(void *context, uint32_t stream, uint8_t *buffer, size_t size,
                        size_t valid) {
  void *record = NULL;
  size_t dropped = 0;
  (void)size;
  pthread_mutex_lock(&seen.lock);
  while (valid && cupti.GetNextRecord(buffer, valid, &record) == OK) take_record(record);
  if (cupti.GetDropped(context, stream, &dropped) == OK) seen.dropped += dropped;
  pthread_mutex_unlock(&seen.lock);
  free(buffer);
}

/* ---- Opening ---- */

/* What a refusal means and what to do about it, by the numbers of CUptiResult in CUPTI 11 to 13. */
static const struct {
  int result;
  const char *advice;
} advices[] = {
    {INSUFFICIENT_PRIVILEGES, "the driver lets only administrators profile: load its module with "
                              "NVreg_RestrictProfilingToAdminUsers=0, or run as root or with "
                              "CAP_SYS_ADMIN"},
    {VIRTUALIZED_DEVICE, "the GPU is virtual (vGPU), and its host does not allow profiling: enable "
                         "it there"},
    {MULTIPLE_SUBSCRIBERS, "another tool in this process has CUPTI: end the profiler or sanitizer "
                           "that runs it"},
    {NOT_ALLOWED, "this system does not allow profiling: ask its administrator, or run as root or "
                  "with CAP_SYS_ADMIN"},
    {MIG_DEVICE, "a slice of a GPU (MIG) is not profiled by this CUPTI: use a whole GPU"},
    {WSL_DEVICE, "WSL's driver does not allow it: allow GPU performance counters for all users in "
                 "Windows' NVIDIA control panel, and use a newer driver"},
};

static qp_status failed(int result, const char *call, qp_error *err) {
  const char *text = NULL, *advice = "CUPTI gives no advice for this";
  if (cupti.GetResultString(result, &text) != OK) text = NULL;
  for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
    if (advices[i].result == result) advice = advices[i].advice;
  return qp_fail(err, QP_E_DEVICE, "%s: %s (%d): %s; --timer events goes without CUPTI", call,
                 text ? text : "no reason given", result, advice);
}

static qp_status load(qp_error *err) {
  void *handle;
  qp_status status = qp_dynlib_open(QP_DYNLIB_CUPTI, NULL, &handle, err);
#define X(name, symbol, parameters)                                                                \
  if (!status) status = qp_dynlib_symbol(handle, "CUPTI", symbol, &cupti.name, err);
  CUPTI_CALLS(X)
#undef X
  return status;
}

static qp_status enable(qp_error *err) {
  seen.list = calloc(MOST_LAUNCHES, sizeof *seen.list);
  if (!seen.list) return qp_fail(err, QP_E_NOMEM, "no memory for records of launches");
  int r = cupti.GetVersion(&seen.version);
  if (r != OK) return failed(r, "cuptiGetVersion", err);
  if ((r = cupti.RegisterCallbacks(give_buffer, take_buffer)) != OK)
    return failed(r, "cuptiActivityRegisterCallbacks", err);
  if ((r = cupti.Enable(KIND_CONCURRENT_KERNEL)) != OK)
    return failed(r, "cuptiActivityEnable", err);
  return QP_OK;
}

/* Write the version: 10000 major + 100 minor + patch since CUDA 12.4; before that it was a number
   of its own. */
static void version_text(uint32_t v, char *out, size_t size) {
  if (v >= 100000)
    snprintf(out, size, "CUPTI %u.%u", v / 10000, v / 100 % 100);
  else
    snprintf(out, size, "CUPTI API %u", v);
}

qp_status qp_cupti_open(char *version, size_t size, qp_error *err) {
  qp_status status = QP_OK;
  if (!seen.opened) status = load(err);
  if (!status && !seen.opened) status = enable(err);
  if (status) return status;
  seen.opened = true;
  version_text(seen.version, version, size);
  return QP_OK;
}

qp_status qp_cupti_pause(qp_error *err) {
  const char *wish = getenv("QPAL_CUPTI_PAUSE");
  if (wish && !strcmp(wish, "never")) seen.never = true;
  if (!seen.opened || seen.paused || seen.never) return QP_OK;
  const int r = cupti.Disable(KIND_CONCURRENT_KERNEL);
  if (r != OK) return failed(r, "cuptiActivityDisable", err);
  seen.paused = true;
  return QP_OK;
}

qp_status qp_cupti_resume(qp_error *err) {
  if (!seen.opened || !seen.paused) return QP_OK;
  const int r = cupti.Enable(KIND_CONCURRENT_KERNEL);
  if (r != OK) return failed(r, "cuptiActivityEnable", err);
  seen.paused = false;
  seen.unproven = true;
  return QP_OK;
}

bool qp_cupti_pauses(void) { return !seen.never; }

/* ---- Records ---- */

static qp_status flush(qp_error *err) {
  const int r = cupti.FlushAll(FLUSH_FORCED);
  return r == OK ? QP_OK : failed(r, "cuptiActivityFlushAll", err);
}

qp_status qp_cupti_begin(qp_error *err) {
  qp_status status = flush(err);
  pthread_mutex_lock(&seen.lock);
  seen.count = seen.dropped = seen.overflow = 0;
  pthread_mutex_unlock(&seen.lock);
  return status;
}

static int by_start(const void *a, const void *b) {
  const launch *x = a, *y = b;
  return x->start < y->start ? -1 : x->start > y->start;
}

/* Keep the kernel's launches. */
static size_t choose(const char *kernel) {
  size_t kept = 0;
  for (size_t i = 0; i < seen.count; i++)
    if (!strncmp(seen.list[i].name, kernel, sizeof seen.list[i].name - 1))
      seen.list[kept++] = seen.list[i];
  return seen.count = kept;
}

static qp_status take_times(const char *kernel, unsigned n, int64_t *ps, qp_error *err) {
  if (seen.dropped || seen.overflow)
    return qp_fail(err, QP_E_WRONG, "CUPTI dropped %zu records", seen.dropped + seen.overflow);
  const size_t got = choose(kernel);
  if (got != n) return qp_fail(err, QP_E_WRONG, "CUPTI has %zu records of %u launches", got, n);
  qsort(seen.list, got, sizeof *seen.list, by_start);
  for (unsigned i = 0; i < n; i++) {
    const launch *l = &seen.list[i];
    if (!l->start || l->end <= l->start)
      return qp_fail(err, QP_E_WRONG, "launch %u: timestamps %llu to %llu are no duration", i + 1,
                     (unsigned long long)l->start, (unsigned long long)l->end);
    ps[i] = (int64_t)(l->end - l->start) * 1000;
  }
  return QP_OK;
}

/* After a pause no record at all came: enabled once more, and never paused again. */
static qp_status give_up_pausing(qp_error *err) {
  seen.unproven = false;
  seen.never = true;
  const int r = cupti.Enable(KIND_CONCURRENT_KERNEL);
  if (r != OK) return failed(r, "cuptiActivityEnable", err);
  return qp_fail(err, QP_E_LIMIT,
                 "CUPTI has no records since they were paused; QPAL_CUPTI_PAUSE=never goes without "
                 "pauses");
}

qp_status qp_cupti_end(const char *kernel, unsigned n, int64_t *ps, qp_error *err) {
  qp_status status = flush(err);
  if (status) return status;
  pthread_mutex_lock(&seen.lock);
  const bool deaf = seen.unproven && !seen.count && !seen.dropped;
  if (!deaf) status = take_times(kernel, n, ps, err);
  pthread_mutex_unlock(&seen.lock);
  if (deaf) return give_up_pausing(err);
  seen.unproven = false;
  return status;
}
