/* SPDX-License-Identifier: MIT */
/*
** A place for a worker process and its conversation:  item -> request -> [worker] -> reply ->
** result. Its socket does not block; the compiler's event loop says when to send and to receive.
*/
#ifndef QP_COMPILE_SLOT_H
#define QP_COMPILE_SLOT_H

#include <sys/types.h>

#include "gen/compile/compile_item.h"
#include "gen/compile/fork_server.h"

/* A slot for a worker process.  Its pid is 0 while none is running. */
typedef struct qp_slot {
  pid_t pid;
  int fd;
  qp_item *item;  /* what it works on; NULL: idle */
  double start;   /* when that began, on the monotonic clock */
  double limit_s; /* how much processor time it may take, and how long it may stand still */
  struct {
    double began;    /* processor time of the process, when it began */
    double at, used; /* when it was seen to go on last, and what it had used for this item */
    double next;     /* when to look again */
  } time;
  char *request;
  size_t request_bytes, sent;
  qp_reply_head head;
  size_t got; /* bytes of the reply that have come, its head included */
  char *payload;
  size_t payload_bytes;
} qp_slot;

typedef enum qp_slot_progress { QP_SLOT_MORE, QP_SLOT_COMPLETE, QP_SLOT_BROKEN } qp_slot_progress;

/* Forget the conversation; the process stays. */
void qp_slot_rest(qp_slot *s);
/* End the process of a slot, tell how it had died if it had, and leave the slot empty. */
bool qp_slot_end(qp_fork_server *server, qp_slot *s, int *wait_status);
/*
** Begin the time of an item.
** Where a machine has more to do than processors, a compile takes long without being at fault. So
** the limit is of processor time, and a process that takes none at all is ended when as much time
** has passed; one to which others leave little of a processor goes on. Both are looked at where the
** process could have reached its limit by then.
*/
void qp_slot_limit(qp_slot *s, double limit_s);
/* Say whether the process goes on, has spent its time, or stands still. */
typedef enum qp_slot_pace { QP_SLOT_GOES_ON, QP_SLOT_SPENT, QP_SLOT_STANDS } qp_slot_pace;
qp_slot_pace qp_slot_look(qp_slot *s);
/* The same where the clock is at 'now' and the process has used 'seconds' of a processor. */
qp_slot_pace qp_slot_judge(qp_slot *s, double now, double seconds);

/* Make the request of an item; false for want of memory. */
bool qp_slot_request(qp_slot *s, const qp_item *it);
/* Send or receive what goes without waiting.  BROKEN: the other end is gone, or no reply comes. */
qp_slot_progress qp_slot_send(qp_slot *s);
qp_slot_progress qp_slot_receive(qp_slot *s);
/* Take the parts of a whole reply as a result.  False means that there is no memory. */
bool qp_slot_unpack(const qp_slot *s, qp_compiled *out);

#endif
