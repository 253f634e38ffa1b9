/* SPDX-License-Identifier: MIT */
/* Finds the best record of a problem, as lookup.h describes. */
#include "tuner/tune/lookup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

const char *qp_time_kind_name(qp_time_kind k) {
  static const char *const names[] = {"chain", "kernel", "events"};
  _Static_assert(sizeof names / sizeof *names == QP_TIME_KINDS, "a name for every kind");
  return (unsigned)k < QP_TIME_KINDS ? names[k] : "?";
}

qp_status qp_time_kind_parse(const char *text, qp_time_kind *out, qp_error *err) {
  for (unsigned k = 0; k < QP_TIME_KINDS; k++)
    if (!strcmp(text, qp_time_kind_name((qp_time_kind)k))) return *out = (qp_time_kind)k, QP_OK;
  return qp_fail(err, QP_E_ARG, "'%s': chain, kernel or events is needed", text);
}

int64_t qp_record_time(const qp_record *r, qp_time_kind kind) {
  bool events = !strcmp(r->timer, "events");
  if (r->outcome != QP_RECORD_OK) return 0;
  if (kind == QP_TIME_EVENTS) return events ? r->ps : 0;
  if (kind == QP_TIME_KERNEL) return events ? 0 : r->ps;
  if (r->chain_ps && r->chain_pdl_ps)
    return r->chain_ps < r->chain_pdl_ps ? r->chain_ps : r->chain_pdl_ps;
  return r->chain_ps ? r->chain_ps : r->chain_pdl_ps;
}

int64_t qp_record_standard_error(const qp_record *r) {
  if (!r->samples) return 0;
  return llround(1.2533 * 1.4826 * (double)r->spread_ps / sqrt(r->samples));
}

/* ---- Staleness ---- */

static qp_status restore_choice(const qp_record *r, qp_choice *choice, qp_error *err) {
  char text[sizeof r->tunables], *rest = text;
  qp_choice_default(choice->family, choice);
  memcpy(text, r->tunables, sizeof text);
  for (char *word; *text && (word = strsep(&rest, ","));) {
    qp_status status = qp_choice_set(choice, word, err);
    if (status) return status;
  }
  return QP_OK;
}

qp_status qp_record_restore(const qp_record *r, qp_families *families, qp_palette *palette,
                            qp_problem *problem, qp_choice *choice, qp_error *err) {
  qp_problem p = {.segments = r->segments,
                  .columns = r->columns,
                  .batch = r->batch,
                  .rotate_fused = r->rotate_fused,
                  .experts = r->experts,
                  .top_k = r->top_k,
                  .tile = r->tile,
                  .slices = r->slices,
                  .arch = r->arch,
                  .sm_count = r->sm_count};
  qp_choice c = {.family = qp_families_find(families, r->family)};
  qp_status status = qp_op_parse(r->op, &p.op, err);
  if (!status) status = qp_dtype_parse(r->type, &p.type, err);
  if (!status) status = qp_dtype_parse(r->out_type, &p.out_type, err);
  for (unsigned i = 0; i < r->segments && !status; i++) {
    status = qp_palette_find(palette, r->segment[i].quantizer, &p.segment[i].quantizer, err);
    p.segment[i].rows = r->segment[i].rows;
    if (!status && strcmp(p.segment[i].quantizer->hash, r->segment[i].hash) != 0)
      status = qp_fail(err, QP_E_ARG, "%s: definition %s was measured, it is %s now",
                       r->segment[i].quantizer, r->segment[i].hash, p.segment[i].quantizer->hash);
  }
  if (!status && !c.family) status = qp_fail(err, QP_E_ARG, "there is no family '%s'", r->family);
  if (!status) status = restore_choice(r, &c, err);
  if (status) return status;
  *problem = p;
  *choice = c;
  return QP_OK;
}

bool qp_record_is_stale(const qp_record *r, qp_families *families, qp_palette *palette,
                        qp_error *why) {
  qp_problem p;
  qp_choice c;
  qp_kernel k = {0};
  char now[33];
  if (qp_record_restore(r, families, palette, &p, &c, why)) return true;
  if (qp_kernel_make(families, &p, &c, &k, why)) return true;
  qp_record_generator(k.source, now);
  bool same = !strcmp(now, r->generator);
  if (!same)
    qp_fail(why, QP_E_ARG, "%.200s: source %s was measured, it is %s now", r->kernel, r->generator,
            now);
  qp_kernel_free(&k);
  return !same;
}

/* ---- Index ---- */

enum { NOT_ASKED, FRESH, STALE };

typedef struct entry {
  uint64_t key;
  const qp_record *record;
  int64_t ps;
  unsigned char state; /* NOT_ASKED, FRESH, STALE */
} entry;

struct qp_lookup {
  qp_lookup_options opt;
  char driver[32], gpu[128];
  entry *list; /* Own records, then those of other GPUs, each sorted by key, time and name. */
  size_t own, count, stale;
  entry *bounded; /* Own records of paths that were left out, sorted in the same way. */
  size_t bounds;
};

/* What a problem and a path look like, beside batch and types the shapes and definitions. */
typedef struct wanted {
  unsigned op, segments, columns, batch, fused;
  unsigned experts, top_k, tile, slices;
  struct {
    unsigned rows;
    char hash[36];
  } segment[QP_MAX_SEGMENTS];
  char path[16], type[8], out_type[8];
} wanted;

static uint64_t key_of(const wanted *w) { return XXH3_64bits(w, sizeof *w); }

static void want_record(const qp_record *r, wanted *w) {
  qp_op op = QP_OP_GEMM;
  memset(w, 0, sizeof *w);
  w->op = qp_op_parse(r->op, &op, NULL) ? QP_OP_COUNT : op;
  w->segments = r->segments;
  w->columns = r->columns;
  w->batch = r->batch;
  w->fused = r->rotate_fused;
  w->experts = r->experts;
  w->top_k = r->top_k;
  w->tile = r->tile;
  w->slices = r->slices;
  for (unsigned i = 0; i < r->segments; i++) {
    w->segment[i].rows = r->segment[i].rows;
    snprintf(w->segment[i].hash, sizeof w->segment[i].hash, "%s", r->segment[i].hash);
  }
  snprintf(w->path, sizeof w->path, "%s", r->path);
  snprintf(w->type, sizeof w->type, "%s", r->type);
  snprintf(w->out_type, sizeof w->out_type, "%s", r->out_type);
}

static void want_problem(const qp_problem *p, const char *path, wanted *w) {
  memset(w, 0, sizeof *w);
  w->op = p->op;
  w->segments = p->segments;
  w->columns = p->columns;
  w->batch = p->batch;
  w->fused = p->rotate_fused;
  w->experts = p->experts;
  w->top_k = p->top_k;
  w->tile = p->tile;
  w->slices = p->slices > 1 ? p->slices : 0;
  for (unsigned i = 0; i < p->segments; i++) {
    w->segment[i].rows = p->segment[i].rows;
    snprintf(w->segment[i].hash, sizeof w->segment[i].hash, "%s", p->segment[i].quantizer->hash);
  }
  snprintf(w->path, sizeof w->path, "%s", path ? path : "");
  snprintf(w->type, sizeof w->type, "%s", qp_dtype_name(p->type));
  snprintf(w->out_type, sizeof w->out_type, "%s", qp_dtype_name(p->out_type));
}

static int by_key(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  if (x->ps != y->ps) return x->ps < y->ps ? -1 : 1;
  int c = strcmp(x->record->kernel, y->record->kernel);
  return c ? c : strcmp(x->record->date, y->record->date);
}

static void index_records(qp_lookup *l, const qp_records *r) {
  size_t first = l->count;
  for (size_t i = 0; i < r->count; i++) {
    int64_t ps = qp_record_time(&r->list[i], l->opt.kind);
    wanted w;
    if (ps <= 0) continue;
    want_record(&r->list[i], &w);
    l->list[l->count++] = (entry){.key = key_of(&w), .record = &r->list[i], .ps = ps};
  }
  if (l->count > first) qsort(l->list + first, l->count - first, sizeof *l->list, by_key);
}

static void index_bounded(qp_lookup *l, const qp_records *r) {
  for (size_t i = 0; i < r->count; i++) {
    wanted w;
    if (r->list[i].outcome != QP_RECORD_BOUNDED) continue;
    want_record(&r->list[i], &w);
    l->bounded[l->bounds++] = (entry){.key = key_of(&w), .record = &r->list[i]};
  }
  qsort(l->bounded, l->bounds, sizeof *l->bounded, by_key);
}

qp_status qp_lookup_open(const qp_records *records, const qp_lookup_options *opt, qp_lookup **out,
                         qp_error *err) {
  qp_lookup *l = calloc(1, sizeof *l);
  size_t n = records->count, newest = 0;
  for (size_t i = 0; i < opt->others; i++) n += opt->other[i].count;
  if (l) l->list = calloc(n + 1, sizeof *l->list);
  if (l) l->bounded = calloc(records->count + 1, sizeof *l->bounded);
  if (!l || !l->list || !l->bounded)
    return qp_lookup_close(l), qp_fail(err, QP_E_NOMEM, "no memory for a look-up");
  l->opt = *opt;
  memcpy(l->gpu, records->gpu, sizeof l->gpu);
  for (size_t i = 1; i < records->count; i++)
    if (strcmp(records->list[i].date, records->list[newest].date) > 0) newest = i;
  const char *driver = opt->driver ? opt->driver : n ? NULL : "";
  if (!driver) driver = records->count ? records->list[newest].driver : "";
  snprintf(l->driver, sizeof l->driver, "%s", driver);
  index_records(l, records);
  index_bounded(l, records);
  l->own = l->count;
  for (size_t i = 0; i < opt->others; i++)
    if (strcmp(opt->other[i].gpu, records->gpu) != 0) index_records(l, &opt->other[i]);
  if (l->count > l->own) qsort(l->list + l->own, l->count - l->own, sizeof *l->list, by_key);
  *out = l;
  return QP_OK;
}

void qp_lookup_close(qp_lookup *l) {
  if (!l) return;
  free(l->list);
  free(l->bounded);
  free(l);
}

size_t qp_lookup_stale(const qp_lookup *l) { return l->stale; }

static bool fresh(qp_lookup *l, entry *e) {
  qp_error why = {0};
  if (!l->opt.palette || !l->opt.families) return true;
  if (e->state == NOT_ASKED) {
    e->state = qp_record_is_stale(e->record, l->opt.families, l->opt.palette, &why) ? STALE : FRESH;
    l->stale += e->state == STALE;
  }
  return e->state == FRESH;
}

/* Find the first entry of a key in list[from..to), or 'to'. */
static size_t lower_bound(const entry *list, size_t from, size_t to, uint64_t key) {
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (list[middle].key < key)
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

/* Finds the fastest of the entries of a key from 'at' on, or of those within each other's spread
   the one whose name is first.  With 'driver' only entries of that driver count; NULL stands for
   any. */
static const entry *fastest(qp_lookup *l, size_t at, size_t to, const char *driver) {
  const entry *best = NULL;
  int64_t limit = 0;
  for (uint64_t key = l->list[at].key; at < to && l->list[at].key == key; at++) {
    entry *e = &l->list[at];
    if (best && e->ps > limit) break;
    if ((driver && strcmp(e->record->driver, driver) != 0) || !fresh(l, e)) continue;
    if (!best) limit = e->ps + e->record->spread_ps;
    if (!best || strcmp(e->record->kernel, best->record->kernel) < 0) best = e;
  }
  return best;
}

static bool same_record(const qp_record *r, const wanted *w) {
  wanted x;
  want_record(r, &x);
  return !memcmp(&x, w, sizeof x);
}

static double weights(const wanted *w) {
  double rows = 0;
  for (unsigned i = 0; i < w->segments; i++) rows += w->segment[i].rows;
  return rows * w->columns;
}

/* Other shapes with the same quantizers in the same order, the rest equal. */
static bool comparable(const wanted *a, const wanted *b) {
  bool same = a->op == QP_OP_GEMM && b->op == QP_OP_GEMM && a->segments == b->segments &&
              a->batch == b->batch && a->fused == b->fused && !strcmp(a->path, b->path) &&
              !strcmp(a->type, b->type) && !strcmp(a->out_type, b->out_type);
  for (unsigned i = 0; i < a->segments && same; i++)
    same = !strcmp(a->segment[i].hash, b->segment[i].hash);
  return same;
}

static bool nearest(qp_lookup *l, const wanted *w, qp_pick *out) {
  const entry *best = NULL;
  double best_distance = INFINITY, ratio = 1;
  for (size_t i = 0; i < l->own; i++) {
    if (i && l->list[i].key == l->list[i - 1].key) continue;
    wanted x;
    want_record(l->list[i].record, &x);
    if (!comparable(&x, w)) continue;
    double distance = fabs(log(weights(w) / weights(&x)));
    const entry *e = distance < best_distance ? fastest(l, i, l->own, NULL) : NULL;
    if (!e) continue;
    best = e;
    best_distance = distance;
    ratio = weights(w) / weights(&x);
  }
  if (!best) return false;
  *out = (qp_pick){.record = best->record,
                   .ps = llround((double)best->ps * ratio),
                   .spread_ps = llround((double)best->record->spread_ps * ratio),
                   .match = QP_MATCH_NEAREST_SHAPE};
  if (out->ps < 1) out->ps = 1;
  return true;
}

bool qp_lookup_find(qp_lookup *l, const qp_problem *p, const char *path, qp_pick *out) {
  wanted w;
  want_problem(p, path, &w);
  uint64_t key = key_of(&w);
  const entry *e = NULL;
  qp_latency_match match = QP_MATCH_EXACT;
  size_t at = lower_bound(l->list, 0, l->own, key);
  if (at < l->own && l->list[at].key == key && same_record(l->list[at].record, &w)) {
    e = fastest(l, at, l->own, l->driver);
    if (!e && l->opt.worst >= QP_MATCH_OTHER_DRIVER) {
      match = QP_MATCH_OTHER_DRIVER;
      e = fastest(l, at, l->own, NULL);
    }
  }
  if (!e && l->opt.worst >= QP_MATCH_NEAREST_SHAPE && nearest(l, &w, out)) return true;
  if (!e && l->opt.worst >= QP_MATCH_OTHER_GPU) {
    at = lower_bound(l->list, l->own, l->count, key);
    match = QP_MATCH_OTHER_GPU;
    if (at < l->count && l->list[at].key == key) e = fastest(l, at, l->count, NULL);
  }
  if (!e) return false;
  *out = (qp_pick){
      .record = e->record, .ps = e->ps, .spread_ps = e->record->spread_ps, .match = match};
  return true;
}

const qp_record *qp_lookup_left_out(qp_lookup *l, const qp_problem *p, const char *path) {
  wanted w;
  want_problem(p, path, &w);
  const uint64_t key = key_of(&w);
  size_t at = lower_bound(l->list, 0, l->own, key);
  if (at < l->own && l->list[at].key == key && same_record(l->list[at].record, &w) &&
      fastest(l, at, l->own, NULL))
    return NULL;
  for (at = lower_bound(l->bounded, 0, l->bounds, key); at < l->bounds && l->bounded[at].key == key;
       at++)
    if (same_record(l->bounded[at].record, &w) && fresh(l, &l->bounded[at]))
      return l->bounded[at].record;
  return NULL;
}

/* ---- Latency table ---- */

static qp_status add_row(qp_lookup *l, size_t at, unsigned batch, qp_latency_table *out,
                         qp_error *err) {
  const entry *e = fastest(l, at, l->own, l->driver);
  qp_latency_row row = {.match = e ? QP_MATCH_EXACT : QP_MATCH_OTHER_DRIVER, .batch = batch};
  if (!e) e = fastest(l, at, l->own, NULL);
  if (!e) return QP_OK;
  const qp_record *r = e->record;
  row.members = r->segments;
  row.experts = r->experts;
  row.top_k = r->top_k;
  row.slices = r->slices;
  for (unsigned i = 0; i < r->segments; i++) {
    row.member[i].rows = r->segment[i].rows;
    row.member[i].columns = r->columns;
    snprintf(row.member[i].quantizer, sizeof row.member[i].quantizer, "%s",
             r->segment[i].quantizer);
    snprintf(row.member[i].hash, sizeof row.member[i].hash, "%s", r->segment[i].hash);
  }
  snprintf(row.path, sizeof row.path, "%s", r->path);
  row.ps = e->ps;
  row.spread_ps = qp_record_standard_error(r);
  row.samples = r->samples;
  return qp_latency_add(out, &row, err);
}

qp_status qp_lookup_latency(qp_lookup *l, unsigned batch, const char *source, qp_latency_table *out,
                            qp_error *err) {
  snprintf(out->source, sizeof out->source, "%s", source);
  snprintf(out->gpu, sizeof out->gpu, "%s", l->gpu);
  qp_status status = QP_OK;
  for (size_t i = 0; i < l->own && !status; i++) {
    const qp_record *r = l->list[i].record;
    bool first = !i || l->list[i].key != l->list[i - 1].key;
    const bool multiplies =
        !strcmp(r->op, qp_op_name(QP_OP_GEMM)) || !strcmp(r->op, qp_op_name(QP_OP_EXPERTS));
    if (first && multiplies && r->batch == batch && !r->rotate_fused && !strcmp(r->type, "f16") &&
        strcmp(r->out_type, "f32") != 0)
      status = add_row(l, i, batch, out, err);
  }
  return status;
}
