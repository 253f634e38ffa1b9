/* SPDX-License-Identifier: MIT */
/* One process of a check: case -> kernel -> compiled -> verdict, a few with the compiler at a
   time. */
#include "tuner/check/checking_process.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/kernel/kernel.h"
#include "runtime/device.h"
#include "runtime/sim/sim.h"
#include "tuner/base/output.h"
#include "tuner/check/verify.h"

/* A candidate between its submission to the compiler and its verdict. */
typedef struct pending {
  size_t index;
  double started;
  qp_kernel kernel;
} pending;

typedef struct worker {
  const qp_checking_process *share;
  qp_device *dev;
  qp_compiler *compiler;
  qp_reference *reference;
  size_t waiting;
  bool lost; /* the device's context is in an error that stays */
} worker;

/* ---- Messages ---- */

static void send_bytes(const worker *w, const void *data, size_t bytes) {
  const char *p = data;
  for (size_t left = bytes; left;) {
    ssize_t n = write(w->share->out, p, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    p += n;
    left -= (size_t)n;
  }
}

static void note(const worker *w, qp_checking_kind kind, size_t index, const char *why) {
  qp_checking_message m;
  memset(&m, 0, sizeof m);
  m.kind = kind;
  m.result.index = index;
  snprintf(m.result.why, sizeof m.result.why, "%.590s", why);
  send_bytes(w, &m, sizeof m);
}

static void tell(const worker *w, const pending *p, qp_outcome outcome, double error,
                 const qp_compiled *c, const char *why) {
  qp_checking_message m;
  memset(&m, 0, sizeof m);
  m.kind = QP_CHECKING_RESULT;
  m.result.index = p->index;
  m.result.outcome = outcome;
  m.result.error = error;
  m.result.seconds = qp_seconds() - p->started;
  m.result.smem_dynamic_bytes = p->kernel.smem_bytes;
  if (c) m.result.res = c->res;
  snprintf(m.result.why, sizeof m.result.why, "%s", why);
  send_bytes(w, &m, sizeof m);
}

/* ---- One case ---- */

/* Limits are no failures: of tunables, of shared memory, of what the device or host can hold. */
static qp_outcome refused(qp_status status) {
  return status == QP_E_LIMIT || status == QP_E_NOMEM ? QP_OUTCOME_SKIP : QP_OUTCOME_FAIL;
}

static void submit(worker *w, size_t index) {
  const qp_case *q = &w->share->cases->list[index];
  const bool ptx = w->dev->info.wants_ptx;
  qp_error err = {0};
  pending *p = calloc(1, sizeof *p);
  if (!p) return;
  note(w, QP_CHECKING_MAKES, index, "");
  p->index = index;
  p->started = qp_seconds();
  qp_status status = qp_kernel_make(w->share->families, &q->problem, &q->choice, &p->kernel, &err);
  if (!status) {
    const qp_compile_job job = {.name = p->kernel.name,
                                .source = p->kernel.source,
                                .arch = q->problem.arch,
                                .want_cubin = !ptx || w->share->opt->cubins,
                                .want_ptx = ptx,
                                .user = p};
    status = qp_compiler_submit(w->compiler, &job, &err);
  }
  if (!status) {
    w->waiting++;
    note(w, QP_CHECKING_WAITS, index, "");
    return;
  }
  tell(w, p, refused(status), NAN, NULL, err.text);
  qp_kernel_free(&p->kernel);
  free(p);
}

/* Make the inverse rotation of such rows, by its family's defaults; both results are the caller's
   to free. */
static qp_status make_turn(worker *w, const qp_problem *of, qp_kernel *k, qp_compiled *c,
                           qp_error *err) {
  const bool ptx = w->dev->info.wants_ptx;
  const qp_problem p = qp_problem_rotation_back(of);
  const qp_family *family = qp_families_serving(w->share->families, &p, NULL);
  qp_choice choice;
  if (!family) return qp_fail(err, QP_E_LIMIT, "no kernel family rotates on sm_%u", p.arch);
  qp_choice_default(family, &choice);
  const qp_status status = qp_kernel_make(w->share->families, &p, &choice, k, err);
  const qp_compile_job job = {
      .name = k->name, .source = k->source, .arch = p.arch, .want_cubin = !ptx, .want_ptx = ptx};
  return status ? status : qp_compiler_run(w->compiler, &job, c, err);
}

static qp_status verify(worker *w, const pending *p, const qp_compiled *c, qp_verdict *v,
                        qp_error *err) {
  const qp_checking_process *s = w->share;
  qp_kernel k = {0};
  qp_compiled compiled = {0};
  const qp_verify_turn turn = {&k, &compiled};
  const bool unrotate = s->cases->list[p->index].unrotate;
  qp_status status = unrotate ? make_turn(w, &p->kernel.problem, &k, &compiled, err) : QP_OK;
  if (!status)
    status = qp_verify_unrotated(w->dev, &p->kernel, c, unrotate ? &turn : NULL, w->reference,
                                 s->opt->seed + p->index, s->opt->row_groups_max, v, err);
  qp_compiled_free(&compiled);
  qp_kernel_free(&k);
  return status;
}

static void judge(worker *w, pending *p, const qp_compiled *c) {
  const qp_checking_process *s = w->share;
  qp_verdict v = {0};
  qp_error err = {0};
  if (c->status) {
    tell(w, p, QP_OUTCOME_FAIL, NAN, NULL, c->log);
    return;
  }
  if (s->verify && !s->verify[p->index]) {
    tell(w, p, QP_OUTCOME_MADE, NAN, c, "");
    return;
  }
  note(w, QP_CHECKING_RUNS, p->index, "");
  const qp_status status = verify(w, p, c, &v, &err);
  w->lost = (status == QP_E_DEVICE || v.fault) && !w->dev->info.simulated;
  if (status)
    tell(w, p, refused(status), NAN, c, err.text);
  else
    tell(w, p, v.pass ? QP_OUTCOME_PASS : QP_OUTCOME_FAIL, v.error, c, v.why);
}

/* ---- Its share ---- */

static void check_share(worker *w, size_t ahead) {
  const qp_checking_process *s = w->share;
  for (size_t next = s->first; !w->lost && (next < s->cases->count || w->waiting);) {
    for (; next < s->cases->count && w->waiting < ahead; next += s->step)
      if (!s->settled[next]) submit(w, next);
    qp_compiled c;
    void *user;
    if (!qp_compiler_next(w->compiler, &c, &user)) continue;
    w->waiting--;
    judge(w, user, &c);
    qp_kernel_free(&((pending *)user)->kernel);
    free(user);
    qp_compiled_free(&c);
  }
}

static void close_worker(worker *w) {
  if (w->compiler) qp_compiler_close(w->compiler);
  if (w->dev) qp_device_close(w->dev);
  qp_reference_free(w->reference);
}

/* The order in which the simulator runs blocks and warps. */
static qp_status shuffle(worker *w, uint64_t schedule, qp_error *err) {
  qp_sim_switches switches;
  if (!schedule) return QP_OK;
  qp_status status = qp_sim_switches_get(w->dev, &switches, err);
  switches.schedule = schedule;
  return status ? status : qp_sim_switches_set(w->dev, &switches, err);
}

static qp_status open_worker(worker *w, const qp_run_options *opt, unsigned compilers,
                             qp_error *err) {
  const qp_compiler_options co = {.workers = compilers};
  qp_status status = qp_compiler_open(&co, &w->compiler, err);
  if (!status) status = qp_device_open(opt->device, &w->dev, err);
  if (!status) status = shuffle(w, opt->schedule, err);
  if (!status && !(w->reference = qp_reference_new()))
    status = qp_fail(err, QP_E_NOMEM, "no memory");
  return status;
}

void qp_checking_process_run(const qp_checking_process *p) {
  worker w = {.share = p};
  qp_checking_greeting hello = {.status = QP_OK};
  hello.status = open_worker(&w, p->opt, p->compilers, &hello.err);
  send_bytes(&w, &hello, sizeof hello);
  if (!hello.status) check_share(&w, p->opt->fail_fast ? 1 : p->compilers + 2);
  close_worker(&w);
}
