/* SPDX-License-Identifier: MIT */
/*
** A compile on its way:  submitted -> queue -> worker -> done -> handed out.  An 'item' owns a copy
** of its job and, from the start, a result; a 'list' is a queue of items, which it does not own.
*/
#ifndef QP_COMPILE_ITEM_H
#define QP_COMPILE_ITEM_H

#include "gen/compile/cubin_cache.h"
#include "gen/compile/job.h"
#include "gen/compile/worker.h"

/* A job on its way: it stands in the queue, then goes to a worker, then is among the results. */
typedef struct qp_item {
  struct qp_item *next;
  qp_worker_task task;
  qp_compile_job job;     /* owns name and source */
  qp_cubin_cache_key key; /* key of the compile that would be run */
  qp_compiled result;     /* before there is one: out of memory */
} qp_item;

typedef struct qp_item_list {
  qp_item *head, **tail;
  size_t count;
} qp_item_list;

/* Copy a job into a new item.  NULL means that there is no memory. */
qp_item *qp_item_new(qp_worker_task task, const qp_compile_job *job);
void qp_item_free(qp_item *it); /* NULL is allowed */
/* Give the item a failure in place of what it has; where there is no memory even for that, it
   becomes QP_E_NOMEM. */
void qp_item_fail(qp_item *it, qp_status status, const char *why);
/* Read the resources of a compiled kernel from its cubin and log.  False means that there are none,
   and then that is the result. */
bool qp_item_find_resources(qp_item *it);
/* Leave in a result what the job asked for. */
void qp_item_keep_wanted(qp_item *it);

/* An empty list; an item goes to its end, or in front. The list owns what it holds. */
void qp_item_list_init(qp_item_list *l);
void qp_item_list_push(qp_item_list *l, qp_item *it);
void qp_item_list_push_front(qp_item_list *l, qp_item *it);
/* Take 'it' out of the list (NULL: the first); NULL if it is not there. */
qp_item *qp_item_list_take(qp_item_list *l, const qp_item *it);
void qp_item_list_free(qp_item_list *l); /* with its items */

#endif
