/* SPDX-License-Identifier: MIT */
/* Runs the GPU tier (bench.h).  A kernel that crashes, hangs or breaks the device costs its own
   row: measuring is done by a child process, which is replaced when it is lost. */
#include "tuner/bench/bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tuner/bench/measuring_process.h"
#include "gen/base/process.h"
#include "tuner/base/output.h"

enum { MOST_LOST = 16 };
static const double default_timeout_s = 60;

/* What parent and child share.  Rows and blocks lie behind it. */
typedef struct shared {
  qp_bench bench;
  qp_bench_place place;
  qp_status status;
  qp_error err;
} shared;

int64_t qp_bench_row_ps(const qp_bench_row *row) {
  const int64_t a = row->chain_ps, b = row->chain_pdl_ps;
  if (a && b) return a < b ? a : b;
  return a ? a : b ? b : row->timing.ps;
}

void qp_bench_free(qp_bench *b) {
  free(b->row);
  free(b->block);
  *b = (qp_bench){0};
}

bool qp_bench_has_kernel(const qp_bench *b, const qp_bench_row *row) {
  return !row->absent && (row->quantizer || qp_op_rotates(b->op[row->launch]));
}

/* ---- What is to be measured ---- */

static void add_launch(qp_bench *b, qp_op op, const qp_model_launch *l) {
  for (unsigned i = 0; i < b->launches; i++)
    if (b->op[i] == op && b->launch[i].columns == l->columns &&
        b->launch[i].linears == l->linears && b->launch[i].rows[0] == l->rows[0])
      return; /* of equal shapes the first */
  if (b->launches == QP_MODEL_LAUNCHES) return;
  b->op[b->launches] = op;
  b->launch[b->launches++] = *l;
}

/* What a model launches beside its gemms: rotations of their inputs, alone and with what makes
   them, linears to 16 bits. */
static void add_others(qp_bench *b, const qp_model *m) {
  qp_model_rotation rotation[QP_MODEL_ROTATIONS];
  const unsigned n = qp_model_rotations(m, rotation);
  for (unsigned i = 0; i < n; i++) {
    if (rotation[i].rows > 1) continue; /* of assignments: another K at the same batch tells it */
    qp_model_launch l = {.columns = rotation[i].columns, .copies = rotation[i].launches};
    snprintf(l.label, sizeof l.label, "rotate %u", rotation[i].columns);
    add_launch(b, QP_OP_ROTATE, &l);
    for (int p = 0; p < QP_PRODUCERS; p++) {
      const qp_op op = qp_op_of_producer((qp_model_producer)p);
      if (op == QP_OP_ROTATE || !rotation[i].by[p]) continue;
      l.copies = rotation[i].by[p];
      snprintf(l.label, sizeof l.label, "%s %u", qp_op_name(op), rotation[i].columns);
      add_launch(b, op, &l);
    }
  }
  for (unsigned i = 0; i < m->linears + !m->headless; i++) {
    const qp_model_linear *at = &m->linear[i];
    if (at->experts) continue;
    qp_model_launch l = {.linears = 1, .rows = {at->rows}, .columns = at->columns, .copies = 1};
    snprintf(l.label, sizeof l.label, "dequant %.40s", at->role);
    add_launch(b, QP_OP_DEQUANT, &l);
  }
}

/* One launch for each group of a block, then the lm_head, then with 'all' what else a
   plan may use; what is no gemm comes last. */
static void choose_launches(qp_bench *b, const qp_model *m, bool all) {
  qp_model_launch list[QP_MODEL_LAUNCHES];
  const unsigned n = qp_model_launches(m, list);
  bool taken[QP_MODEL_LAUNCHES] = {false};
  for (unsigned g = 0; g < m->groups; g++)
    for (unsigned i = 0; i < n; i++) {
      const qp_model_group *group = &m->group[g];
      if (list[i].linears != group->linears || list[i].columns != group->columns ||
          memcmp(list[i].rows, group->rows, group->linears * sizeof *group->rows) != 0)
        continue;
      if (list[i].experts != m->linear[group->linear[0]].experts) continue;
      b->op[b->launches] = list[i].experts ? QP_OP_EXPERTS : QP_OP_GEMM;
      b->launch[b->launches] = list[i]; /* of equal shapes the first: named as it is met here */
      snprintf(b->launch[b->launches++].label, sizeof list[i].label, "%s", group->name);
      taken[i] = true;
    }
  b->block_launches = b->launches;
  for (unsigned i = 0; i < n; i++)
    if (!taken[i] && (all || !strcmp(list[i].label, m->linear[m->linears].role))) {
      b->op[b->launches] = list[i].experts ? QP_OP_EXPERTS : QP_OP_GEMM;
      b->launch[b->launches++] = list[i];
    }
  add_others(b, m);
}

/* A rotation reads no weights, a dequant no activations; cuBLAS knows no routing. */
static bool is_absent(qp_op op, const qp_quantizer *quantizer, size_t batch) {
  return quantizer ? qp_op_rotates(op) || (op == QP_OP_DEQUANT && batch)
                   : op == QP_OP_DEQUANT || op == QP_OP_EXPERTS;
}

/* Make the rows in order: for each batch cuBLAS' launches, then those of quantizer by quantizer. */
static void make_rows(qp_bench *b, const qp_bench_options *o) {
  for (size_t n = 0; n < o->batches; n++)
    for (size_t q = 0; q <= o->quantizers; q++) {
      const qp_quantizer *quantizer = q ? o->quantizer[q - 1] : NULL;
      b->block[b->blocks++] = (qp_bench_block){.quantizer = quantizer, .batch = o->batch[n]};
      for (unsigned l = 0; l < b->launches; l++)
        b->row[b->rows++] = (qp_bench_row){.quantizer = quantizer,
                                           .launch = l,
                                           .batch = o->batch[n],
                                           .absent = is_absent(b->op[l], quantizer, n)};
    }
}

static shared *make_shared(const qp_bench_options *o, size_t *bytes) {
  qp_bench b = {0};
  snprintf(b.model, sizeof b.model, "%s", o->model->name);
  choose_launches(&b, o->model, o->all);
  const size_t blocks = o->batches * (o->quantizers + 1), rows = blocks * b.launches;
  const size_t at = (sizeof(shared) + 63) / 64 * 64;
  *bytes = at + rows * sizeof *b.row + blocks * sizeof *b.block;
  shared *s = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (s == MAP_FAILED) return NULL;
  b.row = (qp_bench_row *)(void *)((char *)s + at);
  b.block = (qp_bench_block *)(void *)(b.row + rows);
  make_rows(&b, o);
  s->bench = b;
  return s;
}

/* ---- The child and its watch ---- */

static void wait_ms(long ms) {
  const struct timespec t = {.tv_nsec = ms * 1000000};
  nanosleep(&t, NULL);
}

/* Its wait status; '*hung': it was killed because its beat stood still. */
static int watch(pid_t pid, const shared *s, double timeout_s, bool *hung) {
  unsigned beat = 0;
  double since = qp_seconds();
  int status = 0;
  *hung = false;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    const unsigned now = atomic_load(&s->place.beat);
    if (now != beat || !atomic_load(&s->place.running)) since = qp_seconds();
    beat = now;
    if (qp_seconds() - since > timeout_s) {
      *hung = true;
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      break;
    }
    wait_ms(20);
  }
  return status;
}

/* What the process that measured died of, in the row or the block that it was at. */
static void blame(shared *s, int status, bool hung, double timeout_s) {
  const qp_bench_place *p = &s->place;
  qp_bench_row *row = &s->bench.row[p->row];
  qp_bench_block *block = &s->bench.block[p->row / s->bench.launches];
  char *why = p->block ? block->why : row->why;
  enum { WHY = sizeof row->why };
  _Static_assert(sizeof row->why == sizeof block->why, "one size for reasons");
  if (hung)
    snprintf(why, WHY, "did not end within %.0f s", timeout_s);
  else if (WIFSIGNALED(status))
    snprintf(why, WHY, "its process was killed by signal %d (%s)", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
  else if (!why[0])
    snprintf(why, WHY, "%.230s", s->err.text[0] ? s->err.text : "its process ended");
  if (p->block)
    block->whole = false;
  else
    row->outcome = QP_BENCH_FAIL;
}

/* Measure from row 'from' on in a child; '*next' is where to go on, the number of rows
   at the end. */
static qp_status run_child(qp_session *session, const qp_bench_options *o, shared *s, size_t from,
                           size_t *next, qp_error *err) {
  const double timeout_s = o->timeout_s > 0 ? o->timeout_s : default_timeout_s;
  bool hung;
  atomic_store(&s->place.beat, 0);
  atomic_store(&s->place.running, false);
  s->status = QP_E_DEVICE;
  s->err.text[0] = 0;
  fflush(NULL);
  pid_t pid;
  const qp_status forked = qp_process_fork(&pid, err);
  if (forked) return forked;
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    s->status = qp_bench_measure(session, o, from, &s->bench, &s->place, &s->err);
    _exit(0);
  }
  const int status = watch(pid, s, timeout_s, &hung);
  const bool ended = WIFEXITED(status) && !hung;
  *next = s->bench.rows;
  if (ended && !s->status) return QP_OK;
  if (!atomic_load(&s->place.beat)) /* nothing ran: it is not a kernel's doing */
    return qp_fail(err, s->status, "%s",
                   s->err.text[0] ? s->err.text : "the process that opens the device ended");
  if (ended && s->status != QP_E_DEVICE) return qp_fail(err, s->status, "%s", s->err.text);
  blame(s, status, hung, timeout_s);
  *next = s->place.block ? (s->place.row / s->bench.launches + 1) * s->bench.launches
                         : s->place.row + 1;
  return QP_OK;
}

/* Rows and blocks into memory of the caller's. */
static qp_status take_over(const shared *s, qp_bench *out, qp_error *err) {
  qp_bench b = s->bench;
  b.row = calloc(b.rows ? b.rows : 1, sizeof *b.row);
  b.block = calloc(b.blocks ? b.blocks : 1, sizeof *b.block);
  if (!b.row || !b.block) {
    qp_bench_free(&b);
    return qp_fail(err, QP_E_NOMEM, "no memory for rows");
  }
  memcpy(b.row, s->bench.row, b.rows * sizeof *b.row);
  memcpy(b.block, s->bench.block, b.blocks * sizeof *b.block);
  *out = b;
  return QP_OK;
}

qp_status qp_bench_run(qp_session *session, const qp_bench_options *opt, qp_bench *out,
                       qp_error *err) {
  size_t bytes = 0, from = 0;
  unsigned lost = 0;
  *out = (qp_bench){0};
  shared *s = make_shared(opt, &bytes);
  if (!s) return qp_fail(err, QP_E_NOMEM, "no memory for rows");
  if (opt->budget_s > 0) s->place.deadline = qp_seconds() + opt->budget_s;
  qp_status status = QP_OK;
  while (!status && from < s->bench.rows) {
    if (lost++ > MOST_LOST) {
      status = qp_fail(err, QP_E_DEVICE, "%d kernels broke the device: the rest is not measured",
                       MOST_LOST);
      break;
    }
    status = run_child(session, opt, s, from, &from, err);
  }
  if (!status || lost > 1) {
    const qp_status taken = take_over(s, out, status ? NULL : err);
    if (!status) status = taken;
  }
  munmap(s, bytes);
  return status;
}
