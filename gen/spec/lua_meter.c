/* SPDX-License-Identifier: MIT */
/* What a spec that runs in the Lua sandbox may use: memory, instructions, time. */
#include "gen/spec/lua_meter.h"

#include <stdlib.h>
#include <string.h>

enum {
  BYTES_AN_INSTRUCTION = 16, /* allocated bytes that cost as much as an instruction */
  STRING_HEAD = 64           /* at most, of a string that Lua keeps */
};

void qp_lua_meter_start(qp_lua_meter *m, bool running) {
  m->budget = m->instructions;
  m->long_string = false;
  m->running = running;
}

qp_lua_meter_limit qp_lua_meter_charge(qp_lua_meter *m, double instructions) {
  if (!m->running) return QP_LUA_METER_FINE;
  if (instructions < (double)m->budget) {
    m->budget -= (uint64_t)instructions;
  } else {
    m->budget = 0;
  }
  return m->budget ? QP_LUA_METER_FINE : QP_LUA_METER_INSTRUCTIONS;
}

qp_lua_meter_limit qp_lua_meter_tick(qp_lua_meter *m, double instructions) {
  const qp_lua_meter_limit limit = qp_lua_meter_charge(m, instructions);
  if (limit != QP_LUA_METER_FINE || !m->running) return limit;
  return m->overdue ? QP_LUA_METER_SECONDS : QP_LUA_METER_FINE;
}

/* May 'more' bytes be added, by an object of Lua's kind 'kind' (0: one that grows)? */
static bool may_grow(qp_lua_meter *m, size_t more, size_t kind) {
  if (!m->running) return true;
  if (kind == QP_LUA_METER_STRING && more > QP_LUA_METER_STRING_BYTES + STRING_HEAD)
    m->long_string = true;
  if (m->long_string) return false;
  if (m->used_bytes > m->memory_bytes || more > m->memory_bytes - m->used_bytes) return false;
  qp_lua_meter_charge(m, (double)more / BYTES_AN_INSTRUCTION);
  return true;
}

static void *resize(qp_lua_meter *m, void *ptr, size_t old_bytes, size_t bytes) {
  if (!bytes) free(ptr);
  void *p = bytes ? realloc(ptr, bytes) : NULL;
  if (p || !bytes) m->used_bytes += bytes - old_bytes;
  return p;
}

void *qp_lua_meter_allocate(void *meter, void *ptr, size_t old_bytes, size_t bytes) {
  qp_lua_meter *m = meter;
  const size_t kind = ptr ? 0 : old_bytes; /* of what Lua makes */
  if (!ptr) old_bytes = 0;
  if (bytes > old_bytes && !may_grow(m, bytes - old_bytes, kind)) return NULL;
  m->allocating = 1;
  void *p = resize(m, ptr, old_bytes, bytes);
  m->allocating = 0;
  return p;
}

/* Items of a Lua pattern that may match several lengths, x* x+ x- x? and %b, or compare one: %1. */
static unsigned count_choices(const char *pattern, size_t bytes) {
  unsigned choices = 0;
  bool in_set = false;
  for (size_t i = 0; i < bytes; i++) {
    if (pattern[i] == '%') {
      const int next = !in_set && i + 1 < bytes ? pattern[i + 1] : 0;
      choices += next == 'b' || (next >= '1' && next <= '9');
      i += next == 'b' ? 3 : 1; /* %bxy, else %x */
    } else if (pattern[i] == '[' || pattern[i] == ']') {
      in_set = pattern[i] == '[';
    } else if (!in_set && pattern[i] && strchr("*+-?", pattern[i])) {
      choices++;
    }
  }
  return choices;
}

double qp_lua_meter_pattern(const char *pattern, size_t pattern_bytes, size_t subject_bytes) {
  const bool anchored = pattern_bytes > 0 && pattern[0] == '^';
  const double lengths = (double)subject_bytes + 1;
  double steps = anchored ? 1 : lengths;
  for (unsigned n = count_choices(pattern, pattern_bytes); n > 0; n--) steps *= lengths;
  return steps * ((double)pattern_bytes + 1) / 8;
}
