/* SPDX-License-Identifier: MIT */
/* What a spec that runs in the Lua sandbox may use: memory, instructions, time. */
#include "gen/spec/lua_meter.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BYTES_AN_INSTRUCTION = 16 }; /* bytes allocated that cost as much */

static double cpu_seconds(void) {
  struct timespec t;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)) return 0;
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void qp_meter_start(qp_meter *m, bool running) {
  m->budget = m->instructions;
  m->deadline_s = cpu_seconds() + QP_METER_MOST_SECONDS;
  m->running = running;
}

qp_meter_limit qp_meter_charge(qp_meter *m, double instructions) {
  if (!m->running) return QP_METER_FINE;
  if (instructions < (double)m->budget) {
    m->budget -= (uint64_t)instructions;
  } else {
    m->budget = 0;
  }
  return m->budget ? QP_METER_FINE : QP_METER_INSTRUCTIONS;
}

qp_meter_limit qp_meter_tick(qp_meter *m, double instructions) {
  const qp_meter_limit limit = qp_meter_charge(m, instructions);
  if (limit != QP_METER_FINE || !m->running) return limit;
  return cpu_seconds() > m->deadline_s ? QP_METER_SECONDS : QP_METER_FINE;
}

void *qp_meter_allocate(void *meter, void *ptr, size_t old_bytes, size_t bytes) {
  qp_meter *m = meter;
  if (!ptr) old_bytes = 0; /* then Lua says there what kind of object it makes */
  if (!bytes) {
    free(ptr);
    m->used_bytes -= old_bytes;
    return NULL;
  }
  if (bytes > old_bytes && m->running) {
    const size_t more = bytes - old_bytes;
    if (m->used_bytes > m->memory_bytes || more > m->memory_bytes - m->used_bytes) return NULL;
    qp_meter_charge(m, (double)more / BYTES_AN_INSTRUCTION);
  }
  void *p = realloc(ptr, bytes);
  if (p) m->used_bytes += bytes - old_bytes;
  return p;
}

/* Items of a Lua pattern that may match several lengths: x* x+ x- x? and %b. */
static unsigned count_choices(const char *pattern, size_t bytes) {
  unsigned choices = 0;
  bool in_set = false;
  for (size_t i = 0; i < bytes; i++) {
    if (pattern[i] == '%') {
      const bool balance = !in_set && i + 1 < bytes && pattern[i + 1] == 'b';
      choices += balance;
      i += balance ? 3 : 1; /* %bxy, else %x */
    } else if (pattern[i] == '[' || pattern[i] == ']') {
      in_set = pattern[i] == '[';
    } else if (!in_set && pattern[i] && strchr("*+-?", pattern[i])) {
      choices++;
    }
  }
  return choices;
}

double qp_meter_pattern(const char *pattern, size_t pattern_bytes, size_t subject_bytes) {
  const bool anchored = pattern_bytes > 0 && pattern[0] == '^';
  const double lengths = (double)subject_bytes + 1;
  double steps = anchored ? 1 : lengths;
  for (unsigned n = count_choices(pattern, pattern_bytes); n > 0; n--) steps *= lengths;
  return steps * ((double)pattern_bytes + 1) / 8;
}
