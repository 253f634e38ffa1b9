/* SPDX-License-Identifier: MIT */
/* SIGINT and SIGTERM as a wish to end a long run where its work is whole. */
#ifndef QP_STOP_H
#define QP_STOP_H

#include <stdatomic.h>
#include <stdbool.h>

/* True once one of the signals came after qp_stop_catch; for whoever takes a pointer to look at. */
extern _Atomic bool qp_stopped;

/* From here on the first signal sets qp_stopped; a second one ends the process at once. */
void qp_stop_catch(void);

#endif
