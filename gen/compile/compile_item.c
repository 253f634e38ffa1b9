/* SPDX-License-Identifier: MIT */
/* Items of the compiler and lists of them; results as jobs want them. */
#include "gen/compile/compile_item.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gen/compile/cubin.h"

void qp_compiled_free(qp_compiled *c) {
  if (!c) return;
  free(c->log);
  free(c->cubin);
  free(c->ptx);
  *c = (qp_compiled){0};
}

void qp_item_list_init(qp_item_list *l) { *l = (qp_item_list){.tail = &l->head}; }

void qp_item_list_push(qp_item_list *l, qp_item *it) {
  it->next = NULL;
  *l->tail = it;
  l->tail = &it->next;
  l->count++;
}

void qp_item_list_push_front(qp_item_list *l, qp_item *it) {
  it->next = l->head;
  if (!l->head) l->tail = &it->next;
  l->head = it;
  l->count++;
}

qp_item *qp_item_list_take(qp_item_list *l, const qp_item *it) {
  for (qp_item **at = &l->head; *at; at = &(*at)->next) {
    qp_item *found = *at;
    if (it && found != it) continue;
    *at = found->next;
    if (!*at) l->tail = at;
    l->count--;
    return found;
  }
  return NULL;
}

void qp_item_free(qp_item *it) {
  if (!it) return;
  free((char *)(uintptr_t)it->job.name);
  free((char *)(uintptr_t)it->job.source);
  qp_compiled_free(&it->result);
  free(it);
}

qp_item *qp_item_new(qp_worker_task task, const qp_compile_job *job) {
  qp_item *it = calloc(1, sizeof *it);
  if (!it) return NULL;
  it->task = task;
  it->job = *job;
  it->job.name = strdup(job->name);
  it->job.source = strdup(job->source);
  it->result.log = strdup("out of memory");
  it->result.status = QP_E_NOMEM;
  if (!it->job.name || !it->job.source || !it->result.log) {
    qp_item_free(it);
    return NULL;
  }
  return it;
}

void qp_item_fail(qp_item *it, qp_status status, const char *why) {
  char *log = strdup(why);
  if (!log) {
    status = QP_E_NOMEM;
    log = it->result.log;
    it->result.log = NULL;
  }
  qp_compiled_free(&it->result);
  it->result = (qp_compiled){.status = status, .log = log};
}

void qp_item_list_free(qp_item_list *l) {
  for (qp_item *it; (it = qp_item_list_take(l, NULL)) != NULL;) qp_item_free(it);
}

/* ---- Results ---- */

bool qp_item_find_resources(qp_item *it) {
  qp_compiled *r = &it->result;
  qp_resources *res = &r->res;
  qp_error why = {.text = ""};
  const qp_status status = qp_cubin_resources(r->cubin, r->cubin_bytes, it->job.name, res, &why);
  if (status != QP_OK) {
    qp_item_fail(it, status, why.text);
    return false;
  }
  const bool told =
      qp_ptxas_spills(r->log, it->job.name, &res->spill_store_bytes, &res->spill_load_bytes);
  if (!told && res->stack_bytes > 0) {
    qp_fail(&why, status,
            "%s: it has a stack frame of %u bytes, and ptxas' log does not say how much "
            "of that is spilled registers",
            it->job.name, res->stack_bytes);
    qp_item_fail(it, QP_E_COMPILE, why.text);
    return false;
  }
  return true;
}

void qp_item_keep_wanted(qp_item *it) {
  if (!it->job.want_cubin) {
    free(it->result.cubin);
    it->result.cubin = NULL;
    it->result.cubin_bytes = 0;
    it->result.res = (qp_resources){0};
  }
  if (!it->job.want_ptx) {
    free(it->result.ptx);
    it->result.ptx = NULL;
    it->result.ptx_bytes = 0;
  }
}
