/* SPDX-License-Identifier: MIT */
/*
** A libcupti for tests, in one library with the fake driver, whose launches it sees.  Launch i
** takes FAKE_CUPTI_NS + i % 3 ns (7000 where it is not set).  FAKE_CUPTI_VERSION is its version.
** FAKE_CUPTI_FAULT:
**   zero       the third record starts at 0          backwards  the third one ends before it starts
**   drop       the third record is dropped, and counted as dropped
**   lose       the third record never comes           busy       another tool has CUPTI
**   other      a kernel of someone else runs between ours
**   deaf       after it was disabled, it has to be enabled twice to give records
**   stone      after it was disabled, it never gives records again
** FAKE_CUPTI_REFUSES is a CUptiResult that enabling fails with.
*/
#include "tests/fake/fake_cupti.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, BUSY = 39, MAX_LIMIT = 12, KIND = 10, STRIDE = 216, MOST = 1 << 16 };
enum { AT_START = 16, AT_END = 24, AT_NAME = 104 };

typedef struct ran {
  char name[512];
  uint64_t start, end;
} ran;

static ran *list;
static unsigned count, since, dropped, enabled, disabled;
static uint64_t now = 1000000;
static void (*request)(uint8_t **, size_t *, size_t *);
static void (*complete)(void *, uint32_t, uint8_t *, size_t, size_t);

static int fault(const char *name) {
  const char *f = getenv("FAKE_CUPTI_FAULT");
  return f && !strcmp(f, name);
}

static void add(const char *name, uint64_t start, uint64_t end) {
  if (count == MOST) return;
  strncpy(list[count].name, name, sizeof list->name - 1);
  list[count].start = start;
  list[count++].end = end;
}

void fake_cupti_ran(const char *kernel, unsigned n) {
  const char *ns = getenv("FAKE_CUPTI_NS");
  if (!enabled) return;
  for (unsigned i = 0; i < n; i++) {
    const unsigned third = since % 20 == 2;
    const uint64_t took = (ns ? (uint64_t)atol(ns) : 7000) + since++ % 3, end = now + took;
    if (fault("other")) add("someone_elses", now, end);
    if (third && fault("drop"))
      dropped++;
    else if (third && fault("backwards"))
      add(kernel, now + 9, now); /* any end before its start */
    else if (third && fault("zero"))
      add(kernel, 0, end);
    else if (!third || !fault("lose"))
      add(kernel, now, end);
    now = end + 1500;
  }
}

int cuptiGetVersion(uint32_t *v) {
  const char *version = getenv("FAKE_CUPTI_VERSION");
  return *v = version ? (uint32_t)atol(version) : 130000, OK;
}
int cuptiGetResultString(int r, const char **s) {
  return *s = r == BUSY ? "CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED" : "CUPTI_ERROR", OK;
}
int cuptiActivityRegisterCallbacks(void (*r)(uint8_t **, size_t *, size_t *),
                                   void (*c)(void *, uint32_t, uint8_t *, size_t, size_t)) {
  return request = r, complete = c, OK;
}
int cuptiActivityEnable(int kind) {
  const char *refuses = getenv("FAKE_CUPTI_REFUSES");
  if (refuses) return atoi(refuses);
  if (kind != KIND || fault("busy")) return BUSY;
  if (!list) list = calloc(MOST, sizeof *list);
  enabled = !(disabled && fault("stone")) && !(disabled == 1 && fault("deaf"));
  disabled += disabled != 0;
  return list ? OK : MAX_LIMIT;
}
int cuptiActivityDisable(int kind) {
  enabled = 0;
  disabled = 1;
  return kind == KIND ? OK : MAX_LIMIT;
}

/* A buffer full after the other; records come latest first, as nothing promises their order. */
int cuptiActivityFlushAll(uint32_t flag) {
  (void)flag;
  since = 0;
  do {
    uint8_t *buffer;
    size_t size, most, valid = 0;
    request(&buffer, &size, &most);
    for (; count && valid + STRIDE <= size; valid += STRIDE) {
      const ran *r = &list[--count];
      const uint32_t kind = KIND;
      const char *name = r->name;
      memset(buffer + valid, 0, STRIDE);
      memcpy(buffer + valid, &kind, sizeof kind);
      memcpy(buffer + valid + AT_START, &r->start, 8);
      memcpy(buffer + valid + AT_END, &r->end, 8);
      memcpy(buffer + valid + AT_NAME, &name, sizeof name);
    }
    complete(NULL, 0, buffer, size, valid);
  } while (count);
  return OK;
}
int cuptiActivityGetNextRecord(uint8_t *buffer, size_t valid, void **record) {
  uint8_t *next = *record ? (uint8_t *)*record + STRIDE : buffer;
  if (next + STRIDE > buffer + valid) return MAX_LIMIT;
  return *record = next, OK;
}
int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *n) {
  (void)context, (void)stream;
  *n = dropped;
  return dropped = 0, OK;
}
