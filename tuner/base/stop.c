/* SPDX-License-Identifier: MIT */
/* SIGINT and SIGTERM as a wish to end a long run; see stop.h. */
#include "tuner/base/stop.h"

#include <signal.h>

_Atomic bool qp_stopped;

static void stop(int number) {
  (void)number;
  atomic_store(&qp_stopped, true);
}

void qp_stop_catch(void) {
  struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}
