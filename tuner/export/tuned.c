/* SPDX-License-Identifier: MIT */
/* GPUs of an export and what was measured on them; see tuned.h. */
#include "tuner/export/tuned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/export/groups.h"
#include "tuner/tune/crossover.h"
#include "tuner/tune/library.h"
#include "tuner/tune/lookup.h"
#include "tuner/tune/pairs.h"

/* Records of one GPU by the time in a chain, and by the kernel's own where there is none. */
enum { KINDS = 2 };
static const qp_time_kind kinds[KINDS] = {QP_TIME_CHAIN, QP_TIME_KERNEL};

typedef struct source {
  char name[QP_EXPORT_SOURCE]; /* of the file; "": nothing was measured */
  char chosen[QP_EXPORT_SOURCE + 64];
  qp_records records;     /* of a file that the request names */
  const qp_records *used; /* those that are looked up: 'records', or some of tuned/ */
  qp_lookup *lookup[KINDS];
} source;

struct qp_export_tuned {
  const qp_session *session;
  const qp_export_request *request;
  source source[QP_EXPORT_GPUS]; /* One for each GPU of the request. */
  qp_records *all;               /* tuned/ */
  size_t files;
};

void qp_export_tuned_close(qp_export_tuned *t) {
  if (!t) return;
  for (unsigned i = 0; i < QP_EXPORT_GPUS; i++) {
    for (unsigned k = 0; k < KINDS; k++) qp_lookup_close(t->source[i].lookup[k]);
    qp_records_free(&t->source[i].records);
  }
  for (size_t i = 0; i < t->files; i++) qp_records_free(&t->all[i]);
  free(t->all);
  free(t);
}

/* ---- Choosing ---- */

static bool find(source *s, const qp_problem *p, const char *path, qp_pick *out) {
  for (unsigned k = 0; k < KINDS; k++)
    if (s->lookup[k] && qp_lookup_find(s->lookup[k], p, path, out)) return true;
  return false;
}

/* A record's candidate, if it can be had for this problem; '*kept': just as it was measured. */
static bool take(const qp_export_tuned *t, const qp_pick *pick, const qp_problem *p,
                 qp_choice *choice, bool *kept) {
  qp_problem measured;
  qp_choice c;
  qp_error why = {.text = ""};
  if (qp_record_restore(pick->record, t->session->families, t->session->palette, &measured, &c,
                        &why))
    return false;
  *kept = t->request->pdl || !qp_choice_get(&c, "pdl");
  if (!*kept) qp_choice_put(&c, "pdl", 0);
  if (qp_choice_check(t->session->families, &c, p, &why)) return false;
  *choice = c;
  return true;
}

/* Records are of fp16; what was fastest there is taken for other types too, without its time. */
static qp_status choose(void *arg, const qp_export_gpu *gpu, const qp_problem *p, qp_choice *choice,
                        char name[QP_EXPORT_SOURCE], int64_t *latency_ps, qp_error *err) {
  qp_export_tuned *t = arg;
  source *s = &t->source[gpu - t->request->gpu];
  qp_problem own = *p, f16;
  qp_pick pick;
  (void)err;
  if (!s->name[0]) return QP_OK;
  if (!qp_op_has_batch(p->op) && !qp_op_has_experts(p->op))
    own.batch = 1, own.out_type = p->type; /* as they were tuned */
  own.inverse = false;
  f16 = own;
  f16.type = f16.out_type = QP_F16;
  const bool found = find(s, &own, choice->family->path, &pick);
  if (!found && !find(s, &f16, choice->family->path, &pick)) return QP_OK;
  /* a rotation takes any number of rows, its record is of one */
  const bool exact = found && p->op != QP_OP_ROTATE;
  bool kept;
  if (!take(t, &pick, p, choice, &kept)) return QP_OK;
  snprintf(name, QP_EXPORT_SOURCE, "%.100s: %s%s", s->name, qp_latency_match_name(pick.match),
           found ? "" : ", measured in f16");
  if (exact && kept) *latency_ps = pick.ps;
  return QP_OK;
}

/* Records are of fp16, whatever the type is: both have 16 bits. */
static unsigned crossover(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                          const char *path, const unsigned *batch, size_t batches) {
  qp_export_tuned *t = arg;
  source *s = &t->source[gpu - t->request->gpu];
  qp_problem f16 = *p;
  qp_crossover_sides sides;
  f16.type = f16.out_type = QP_F16;
  if (!s->lookup[0]) return 0;
  if (!qp_crossover_find(s->lookup[0], s->used, &f16, path, batch, batches, &sides)) return 0;
  return sides.batches == batches ? qp_crossover_rows(&sides) : 0;
}

/* Records are of fp16, as above; fp32 outputs have none. */
static int64_t pair_saves(void *arg, const qp_export_gpu *gpu, const qp_problem *p,
                          const char *path) {
  qp_export_tuned *t = arg;
  source *s = &t->source[gpu - t->request->gpu];
  qp_problem f16 = *p;
  qp_pair pair;
  f16.type = f16.out_type = QP_F16;
  for (unsigned k = 0; k < KINDS; k++)
    if (s->lookup[k] && qp_pair_find(s->lookup[k], &f16, path, &pair)) {
      const int64_t saves = qp_pair_before_ps(&pair) - qp_pair_behind_ps(&pair);
      return saves > 0 ? saves : 0;
    }
  return 0;
}

/* ---- GPUs ---- */

static bool is_file(const char *item) {
  const size_t n = strlen(item);
  return strchr(item, '/') || (n > 6 && !strcmp(item + n - 6, ".jsonl"));
}

static qp_status use_records(qp_export_tuned *t, unsigned i, const char *name,
                             const qp_records *records, qp_error *err) {
  source *s = &t->source[i];
  qp_lookup_options o = {.worst = QP_MATCH_OTHER_DRIVER,
                         .families = t->session->families,
                         .palette = t->session->palette};
  qp_status status = QP_OK;
  for (unsigned k = 0; k < KINDS && !status; k++) {
    o.kind = kinds[k];
    status = qp_lookup_open(records, &o, &s->lookup[k], err);
  }
  s->used = records;
  snprintf(s->name, sizeof s->name, "%.150s", name);
  snprintf(s->chosen, sizeof s->chosen, "%.150s (%zu records)", name, records->count);
  return status;
}

static qp_status gpu_of_records(const char *item, const qp_records *r, qp_export_gpu *out,
                                qp_error *err) {
  if (!r->count)
    return qp_fail(err, QP_E_ARG, "%s: no records, so that the GPU is not known", item);
  *out = (qp_export_gpu){.arch = r->list[0].arch, .sm_count = r->list[0].sm_count};
  snprintf(out->name, sizeof out->name, "%s", r->gpu);
  return QP_OK;
}

/* "h100", "NVIDIA H100 80GB HBM3": does a file of records bear this name, or have it in its own? */
static bool is_named(const qp_records *r, const char *text) {
  char file[128], wanted[128];
  qp_records_file_name(r->gpu, file, sizeof file);
  qp_records_file_name(text, wanted, sizeof wanted);
  return *wanted && strstr(file, wanted);
}

/* Of a GPU that is known, the records with its architecture and multiprocessors. */
static qp_status find_records(qp_export_tuned *t, unsigned i, const char *item,
                              const qp_export_gpu *gpu, qp_error *err) {
  for (size_t f = 0; f < t->files; f++) {
    const qp_records *r = &t->all[f];
    const bool fits = r->count && r->list[0].arch == gpu->arch &&
                      r->list[0].sm_count == gpu->sm_count &&
                      (is_named(r, item) || is_named(r, gpu->name));
    char name[128], path[QP_EXPORT_SOURCE];
    if (!fits) continue;
    qp_records_file_name(r->gpu, name, sizeof name);
    snprintf(path, sizeof path, "tuned/%s.jsonl", name);
    return use_records(t, i, path, r, err);
  }
  return QP_OK;
}

static bool is_in_tuned(const qp_export_tuned *t, const char *item) {
  for (size_t f = 0; f < t->files; f++)
    if (is_named(&t->all[f], item)) return true;
  return false;
}

static qp_status add_gpu(qp_export_tuned *t, qp_export_request *r, const char *item, bool measured,
                         qp_error *err) {
  const unsigned i = r->gpus;
  qp_export_gpu *gpu = &r->gpu[i];
  qp_status status = is_file(item) ? QP_E_ARG : qp_export_gpu_parse(item, gpu, err);
  if (!status) {
    status = find_records(t, i, item, gpu, err);
  } else if (status == QP_E_ARG && (is_file(item) || is_in_tuned(t, item))) {
    char name[256];
    source *s = &t->source[i];
    status = qp_library_read(item, QP_RECORDS_MEASURED, &s->records, name, err);
    if (!status) status = gpu_of_records(item, &s->records, gpu, err);
    if (!status && measured) status = use_records(t, i, name, &s->records, err);
  }
  if (status) return status;
  gpu->chosen = t->source[i].name[0] ? t->source[i].chosen : NULL;
  r->gpus++;
  return QP_OK;
}

qp_status qp_export_tuned_open(const qp_session *s, const char *list, bool measured,
                               qp_export_request *r, qp_export_tuned **out, qp_error *err) {
  qp_export_tuned *t = calloc(1, sizeof *t);
  char *words = strdup(list), *rest = words;
  qp_status status = QP_OK;
  if (!t || !words) status = qp_fail(err, QP_E_NOMEM, "no memory for GPUs");
  if (!status) {
    t->session = s;
    t->request = r;
    status = qp_library_all(&t->all, &t->files, err);
  }
  for (char *item; !status && (item = strsep(&rest, ","));) {
    if (r->gpus == QP_EXPORT_GPUS)
      status = qp_fail(err, QP_E_ARG, "--gpu: more than %d GPUs", QP_EXPORT_GPUS);
    else
      status = add_gpu(t, r, item, measured, err);
  }
  free(words);
  if (status) return qp_export_tuned_close(t), status;
  if (measured) {
    r->choose = choose;
    r->crossover = crossover;
    r->pair = pair_saves;
    r->chooser = t;
  }
  *out = t;
  return QP_OK;
}
