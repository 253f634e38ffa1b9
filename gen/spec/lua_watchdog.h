/* SPDX-License-Identifier: MIT */
/* A timer that ends code of a spec which stays inside one function of C, where no hook sees it. */
#ifndef QP_LUA_WATCHDOG_H
#define QP_LUA_WATCHDOG_H

#include <stdbool.h>

#include "gen/spec/lua_meter.h"

/*
** Run f(arg) on this thread for at most m->seconds of its CPU time.  Then m->overdue is set, for a
** hook to end the run; a quarter of the time later f is left where it stands, and false returned.
** f must take memory by qp_lua_meter_allocate alone and hold no lock.  What it changed may be half
** changed after false: a Lua state must not be touched again, not even to close it.  Runs do not
** nest: one inside another is watched with it.
*/
bool qp_watchdog_run(qp_lua_meter *m, void (*f)(void *arg), void *arg);

#endif
