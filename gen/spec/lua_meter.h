/* SPDX-License-Identifier: MIT */
/* What a spec that runs in the Lua sandbox may use: memory, instructions, time. */
#ifndef QP_LUA_METER_H
#define QP_LUA_METER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qp_lua_meter_limit {
  QP_LUA_METER_FINE,
  QP_LUA_METER_INSTRUCTIONS,
  QP_LUA_METER_SECONDS
} qp_lua_meter_limit;

/* The last resort, for what counting instructions does not see. */
#define QP_LUA_METER_MOST_SECONDS 20.0

enum {
  QP_LUA_METER_STRING = 4, /* what Lua says when it allocates a string: LUA_TSTRING */
  QP_LUA_METER_STRING_BYTES = 1024 * 1024 /* most of one: operators on strings are not charged */
};

typedef struct qp_lua_meter {
  size_t used_bytes, memory_bytes; /* bytes in use, and the most that may be */
  uint64_t instructions, budget;   /* most instructions of a call, and what is left of the call that
                                      runs */
  double seconds;                  /* most of the thread's CPU time that a call may take */
  bool running;                    /* code of a spec runs: the limits hold */
  bool long_string;                /* A string was refused because it is too long. */
  /* The handler of a signal shares these (lua_watchdog.c). */
  volatile sig_atomic_t overdue, allocating;
} qp_lua_meter;

/* Begin a call with a whole budget; 'running' says whether the limits hold. */
void qp_lua_meter_start(qp_lua_meter *m, bool running);

/* Take instructions off the budget, down to none; which limit is then exceeded. */
qp_lua_meter_limit qp_lua_meter_charge(qp_lua_meter *m, double instructions);
/* The same with a look at whether the time is over. */
qp_lua_meter_limit qp_lua_meter_tick(qp_lua_meter *m, double instructions);

/* An allocator as Lua wants it; 'meter' is a qp_lua_meter.  What it hands out costs instructions
   too, so that copying large strings in a loop comes to an end. */
void *qp_lua_meter_allocate(void *meter, void *ptr, size_t old_bytes, size_t bytes);

/*
** Most steps that matching a Lua pattern of 'pattern_bytes' against 'subject_bytes' can take: each
** repeated item may try every length, from every start unless the pattern is anchored, and each
** %1 compares a capture.
*/
double qp_lua_meter_pattern(const char *pattern, size_t pattern_bytes, size_t subject_bytes);

#endif
