/* SPDX-License-Identifier: MIT */
/* Finds codes by the `encode` kernels. */
#include "tuner/quantize/device_search.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/field_table.h"
#include "gen/encode/lanes.h"
#include "gen/encode/path_table.h"
#include "gen/encode/shape_table.h"
#include "gen/encode/shapes.h"
#include "gen/encode/stage_table.h"
#include "gen/encode/sum_table.h"
#include "gen/kernel/kernel.h"
#include "runtime/half.h"

/* Buffers that are kept from search to search. */
enum {
  ROOM_TARGETS,
  ROOM_TABLES,
  ROOM_CODES,
  ROOM_START,
  ROOM_WORKSPACE,
  ROOM_ERRORS,
  ROOM_FACTOR,
  ROOM_UNITS,
  ROOM_APART,
  ROOM_ROOT,
  ROOM_ROWS,
  ROOM_PRODUCT,
  ROOMS
};

typedef struct room {
  qp_devptr at;
  size_t bytes;
} room;

/* A kernel of one quantizer and number of columns. */
typedef struct searcher {
  struct searcher *next;
  const qp_quantizer *quantizer; /* NULL: of products */
  unsigned columns;
  qp_op op;
  qp_status none; /* why there is no kernel */
  qp_kernel kernel;
  qp_module *module;
  qp_function *function;
  qp_devptr table; /* on the device; 0 before the first search; */
  size_t bytes;    /* it has room for so many */
  bool own;        /* it is of codebooks of a linear, or incomplete */
} searcher;

struct qp_device_search {
  qp_encode_searcher hook;
  qp_families *families;
  unsigned arch, sm_count;
  qp_device *dev;
  qp_compiler *compiler;
  searcher *searchers;
  room room[ROOMS];
  unsigned long factor; /* whose U the device has; 0: none's */
  unsigned long root;   /* whose C */
  pthread_mutex_t product;
  size_t codes; /* found so far */
};

/* x^ and t^ as fp32, times 2^doublings and this: a unit of sums is the least fp32 number. */
#define QP_UNIT 0x1p-82f

/* t^ as the kernel takes it. */
static uint32_t word_of_value(const qp_trellis *t, int16_t value) {
  const float v = QP_UNIT * (float)(1 << t->metric.doublings) * (float)value;
  uint32_t word;
  memcpy(&word, &v, sizeof word);
  return word;
}

/* Numbers or levels, padded to fours, then the values, or the numbers of levels. Numbers are
   'bytes' times those of the table. */
static uint32_t *trellis_words(const qp_trellis *t, const qp_path_table *p, uint32_t bytes,
                               size_t *count) {
  const size_t numbers = p->number ? (size_t)p->rows * (p->codes / p->span) : 0;
  const size_t values = (p->entries ? p->entries : (size_t)p->rows * p->codes) * p->dim;
  const size_t first = numbers + (p->levels + 3) / 4 * 4;
  uint32_t *table = calloc(*count = first + values, sizeof *table);
  for (size_t i = 0; table && i < numbers; i++) table[i] = bytes * p->number[i];
  for (size_t i = 0; table && i < p->levels; i++) table[i] = word_of_value(t, p->level[i]);
  for (size_t i = 0; table && i < values; i++) {
    const bool number = p->levels && i % p->dim == p->held;
    const uint32_t word = number ? (uint16_t)p->value[i] : word_of_value(t, p->value[i]);
    table[first + i] = number ? bytes * word : word;
  }
  return table;
}

static void *trellis_table(const qp_coder *c, const qp_kernel *k, size_t *bytes) {
  const qp_trellis *t = &c->trellis;
  const qp_code_rows_of of = {.window = t->window,
                              .step = t->step,
                              .dim = t->dim,
                              .metric = &t->metric,
                              .value = c->values};
  qp_path_table p;
  if (qp_path_table_make(&p, &of, k->path_entries, NULL)) return NULL;
  const bool held = !k->path_levels || !qp_path_table_hold(&p, k->path_levels, NULL);
  const bool same = held && p.entries == k->path_entries && p.span == k->path_span &&
                    p.levels == k->path_levels && p.held == k->path_held;
  size_t count = 0;
  const uint32_t metric_bytes = 4 * qp_choice_get(&k->choice, "pairs");
  uint32_t *table = same ? trellis_words(t, &p, metric_bytes, &count) : NULL;
  *bytes = sizeof *table * count;
  qp_path_table_free(&p);
  return table;
}

static void *fields_table(const qp_coder *c, unsigned columns, size_t *bytes) {
  qp_field_table t;
  if (qp_field_table_make(c->quantizer, columns, true, &t, NULL)) return NULL;
  *bytes = t.bytes;
  return t.data;
}

/* The same of fields that scale vectors. */
static void *shapes_table(const qp_coder *c, unsigned columns, size_t *bytes) {
  qp_shape_table t;
  if (qp_shape_table_make(c->quantizer, columns, true, &t, NULL)) return NULL;
  *bytes = t.bytes;
  return t.data;
}

/* The same of fields that add up; NULL where they do not. */
static void *sums_table(const qp_coder *c, size_t *bytes) {
  qp_sum_table t;
  if (!qp_coder_has_fields(c) || qp_sum_table_make(c->quantizer, true, &t, NULL)) return NULL;
  *bytes = t.bytes;
  return t.data;
}

void *qp_device_search_table(const qp_coder *c, const qp_kernel *k, size_t *bytes) {
  if (c->kind == QP_CODER_TRELLIS) return trellis_table(c, k, bytes);
  if (!strcmp(k->choice.family->kernel->form, "sums")) return sums_table(c, bytes);
  if (qp_has_shapes(c->quantizer)) return shapes_table(c, k->problem.columns, bytes);
  if (qp_coder_has_fields(c)) return fields_table(c, k->problem.columns, bytes);
  if (c->stages.count || (k->problem.op == QP_OP_ENCODE_FED && qp_coder_feeds_vectors(c)))
    return qp_stage_table_make(c, bytes);
  const size_t n = (size_t)c->states * c->quantizer->dim;
  *bytes = sizeof(uint16_t) * n;
  uint16_t *table = malloc(*bytes);
  for (size_t i = 0; table && i < n; i++) table[i] = qp_float_to_half(c->values[i]);
  return table;
}

void *qp_device_search_targets(const qp_coder *c, size_t n, const float *targets) {
  const bool trellis = c->kind == QP_CODER_TRELLIS;
  float *out = malloc(sizeof *out * n);
  if (out && !trellis) memcpy(out, targets, sizeof *out * n);
  const float factor = QP_UNIT * (float)(1 << c->trellis.metric.doublings);
  for (size_t i = 0; out && trellis && i < n; i++)
    out[i] = factor * (float)qp_metric_target(&c->trellis.metric, targets[i]);
  return out;
}

/* All codebooks behind each other. */
static void *books_of(const qp_quantizer *q, size_t *bytes) {
  size_t at = 0;
  for (unsigned b = 0; b < q->codebooks; b++)
    at += (size_t)q->codebook[b].entries * q->codebook[b].dim;
  *bytes = sizeof(uint16_t) * at;
  uint16_t *to = malloc(*bytes + 1);
  at = 0;
  for (unsigned b = 0; to && b < q->codebooks; b++) {
    const size_t n = (size_t)q->codebook[b].entries * q->codebook[b].dim;
    memcpy(to + at, q->codebook[b].data, sizeof *to * n);
    at += n;
  }
  return to;
}

void *qp_device_search_values(const qp_coder *c, size_t *bytes) {
  if (c->kind != QP_CODER_TRELLIS) return books_of(c->quantizer, bytes);
  const size_t n = (size_t)c->states * c->quantizer->dim;
  uint16_t *halves = malloc(sizeof *halves * n);
  *bytes = sizeof *halves * n;
  for (size_t i = 0; halves && i < n; i++) halves[i] = qp_float_to_half(c->values[i]);
  return halves;
}

/* Two numbers of 32 bits, the first one in the lower half. */
static uint64_t word_of(const void *low, const void *high) {
  uint32_t half[2];
  memcpy(&half[0], low, sizeof half[0]);
  memcpy(&half[1], high, sizeof half[1]);
  return half[0] | (uint64_t)half[1] << 32;
}

void qp_device_search_words(const qp_coder *c, unsigned first, unsigned all, qp_arguments *out) {
  const qp_metric *m = &c->trellis.metric;
  const float edge = (float)m->edge, unit = QP_UNIT * (float)(1 << m->doublings);
  const bool trellis = c->kind == QP_CODER_TRELLIS;
  const uint32_t kept = trellis ? qp_trellis_kept_ahead(&c->trellis) : 0;
  const uint32_t paths = kept | (uint32_t)c->trellis.mirrored << 16;
  assert(kept <= UINT16_MAX);
  out->metric = word_of(&m->scale, &edge);
  out->paths = word_of(&unit, &paths);
  out->part = word_of(&first, &all);
}

qp_status qp_device_search_factor(qp_device *dev, const qp_feedback *f, qp_devptr to,
                                  qp_error *err) {
  enum { ROWS = 64 };
  const size_t n = f->columns;
  int32_t *some = malloc(sizeof *some * ROWS * n);
  if (!some) return qp_fail(err, QP_E_NOMEM, "no memory for rows of a Hessian's factor");
  qp_status status = QP_OK;
  for (size_t row = 0; row < n && !status; row += ROWS) {
    const size_t cells = n * (n - row < ROWS ? n - row : ROWS);
    for (size_t i = 0; i < cells; i++) some[i] = (int32_t)f->unit[row * n + i];
    status = qp_device_upload(dev, to + sizeof *some * row * n, some, sizeof *some * cells, err);
  }
  free(some);
  return status;
}

/* ---- Kernels ---- */

static qp_status load_kernel(qp_device_search *s, searcher *k, qp_error *err) {
  const bool ptx = s->dev->info.wants_ptx;
  const qp_compile_job job = {.name = k->kernel.name,
                              .source = k->kernel.source,
                              .arch = s->arch,
                              .want_cubin = !ptx,
                              .want_ptx = ptx};
  qp_compiled c;
  qp_status status = qp_compiler_run(s->compiler, &job, &c, err);
  if (status) return status;
  size_t bytes;
  const void *image = qp_compiled_image(&c, ptx, &bytes);
  status = qp_device_load(s->dev, image, bytes, &k->module, err);
  if (!status) status = qp_device_function(s->dev, k->module, k->kernel.name, &k->function, err);
  qp_compiled_free(&c);
  return status;
}

static qp_status make_kernel(qp_device_search *s, unsigned rows, searcher *k, qp_error *err) {
  qp_problem problem = {.op = k->op,
                        .segments = k->quantizer ? 1 : 0,
                        .columns = k->columns,
                        .batch = 1,
                        .arch = s->arch,
                        .sm_count = s->sm_count};
  problem.segment[0].quantizer = k->quantizer;
  problem.segment[0].rows = rows;
  const qp_family *family = qp_families_serving(s->families, &problem, NULL);
  if (!family)
    return qp_fail(err, QP_E_MISSING, "no family of kernels does %s of %s", qp_op_name(k->op),
                   k->quantizer ? k->quantizer->name : "rows");
  qp_choice choice;
  qp_choice_default(family, &choice);
  qp_status status = qp_kernel_make(s->families, &problem, &choice, &k->kernel, err);
  if (status == QP_E_LIMIT || status == QP_E_ARG) k->none = QP_E_MISSING;
  return status ? status : load_kernel(s, k, err);
}

static qp_status find_searcher(qp_device_search *s, qp_op op, const qp_quantizer *q, unsigned rows,
                               unsigned columns, searcher **out, qp_error *err) {
  for (searcher *k = s->searchers; k; k = k->next)
    if (k->quantizer == q && k->columns == columns && k->op == op) return *out = k, k->none;
  searcher *k = calloc(1, sizeof *k);
  if (!k) return qp_fail(err, QP_E_NOMEM, "no memory for a kernel");
  k->quantizer = q;
  k->columns = columns;
  k->op = op;
  qp_status status = make_kernel(s, rows, k, err);
  if (status && !k->none) {
    if (k->module) qp_device_unload(s->dev, k->module);
    qp_kernel_free(&k->kernel);
    return free(k), status;
  }
  k->next = s->searchers;
  s->searchers = k;
  *out = k;
  return k->none;
}

/* ---- One search ---- */

/* A buffer of at least so many bytes: the one that is kept, or a larger one in its place. */
static qp_status need(qp_device_search *s, unsigned which, size_t bytes, qp_devptr *out,
                      qp_error *err) {
  room *r = &s->room[which];
  if (r->bytes < bytes) {
    if (r->at) qp_device_free(s->dev, r->at);
    *r = (room){0};
    const qp_status status = qp_device_alloc(s->dev, bytes, &r->at, err);
    if (status) return status;
    r->bytes = bytes;
  }
  *out = bytes ? r->at : 0;
  return QP_OK;
}

/* The quantizer's table is kept; that of a coder with codebooks of the linear takes its place. */
static qp_status put_table(qp_device_search *s, const qp_coder *coder, searcher *k, qp_error *err) {
  const bool own = coder->quantizer != k->quantizer;
  if (k->table && !own && !k->own) return QP_OK;
  size_t bytes = 0;
  void *table = qp_device_search_table(coder, &k->kernel, &bytes);
  qp_status status =
      table ? QP_OK : qp_fail(err, QP_E_NOMEM, "no memory for a table of %u states", coder->states);
  if (!status && bytes > k->bytes) { /* codebooks of a linear may have other stages */
    if (k->table) qp_device_free(s->dev, k->table);
    k->table = 0;
    status = qp_device_alloc(s->dev, bytes, &k->table, err);
    k->bytes = status ? 0 : bytes;
  }
  k->own = own || status;
  if (!status) status = qp_device_upload(s->dev, k->table, table, bytes, err);
  k->own |= status != QP_OK;
  free(table);
  return status;
}

static qp_status put_targets(qp_device_search *s, const qp_coder *coder, size_t n,
                             const float *targets, qp_devptr to, qp_error *err) {
  void *whole = qp_device_search_targets(coder, n, targets);
  if (!whole) return qp_fail(err, QP_E_NOMEM, "no memory for %zu targets", n);
  const qp_status status = qp_device_upload(s->dev, to, whole, sizeof *targets * n, err);
  free(whole);
  return status;
}

static qp_status launch(qp_device_search *s, const searcher *k, const qp_arguments *a,
                        qp_error *err) {
  unsigned char params[QP_PARAMS_MAX];
  const qp_launch how = {.grid = k->kernel.grid,
                         .block = k->kernel.block,
                         .smem_bytes = k->kernel.smem_bytes,
                         .params = params,
                         .params_bytes = qp_kernel_params(&k->kernel, a, params)};
  qp_status status = qp_device_launch(s->dev, k->function, &how, err);
  return status ? status : qp_device_sync(s->dev, err);
}

/* What a search takes and gives: a kernel's sequences, codes, raw group fields, and what the codes
   of rows decode to. */
typedef struct amounts {
  size_t sequences, codes, fields, values;
} amounts;

static amounts amounts_of(const qp_coder *coder, const qp_stream *stream, size_t sequences,
                          bool fed) {
  const qp_quantizer *q = stream->quantizer;
  const size_t steps = (size_t)stream->superblocks * stream->period.steps;
  if (fed && coder->kind == QP_CODER_CODES && !qp_coder_feeds_vectors(coder))
    return (amounts){.sequences = sequences, .codes = sequences * (stream->columns / q->dim)};
  if (qp_coder_has_fields(coder))
    return (amounts){.sequences = sequences,
                     .codes = sequences * (stream->columns / q->dim),
                     .fields = sequences * qp_field_groups(stream) * q->fields};
  if (coder->kind == QP_CODER_ROWS)
    return (amounts){.sequences = sequences,
                     .codes = sequences * (stream->columns / q->dim),
                     .values = sequences * coder->states * q->dim};
  const bool lanes = fed || coder->kind == QP_CODER_TRELLIS; /* else vectors are one step each */
  return (amounts){.sequences = lanes ? sequences : sequences * steps, .codes = sequences * steps};
}

/* Tables of rows come with each search, another is the quantizer's. */
static qp_status put_tables(qp_device_search *s, const qp_coder *coder, searcher *k,
                            const amounts *n, const uint16_t *tables, qp_devptr *out,
                            qp_error *err) {
  qp_status status;
  if (!n->values) {
    status = put_table(s, coder, k, err);
    *out = k->table;
    return status;
  }
  status = need(s, ROOM_TABLES, sizeof *tables * n->values, out, err);
  return status ? status : qp_device_upload(s->dev, *out, tables, sizeof *tables * n->values, err);
}

static qp_status search(void *context, const qp_coder *coder, const qp_stream *stream,
                        const qp_encode_search *in, qp_error *err) {
  qp_device_search *s = context;
  const size_t dim = stream->quantizer->dim;
  const amounts n = amounts_of(coder, stream, in->sequences, false);
  const size_t beside = n.fields ? n.fields : n.sequences;
  searcher *k = NULL;
  qp_status status =
      find_searcher(s, QP_OP_ENCODE, stream->quantizer, stream->rows, stream->columns, &k, err);
  if (status) return status;
  qp_arguments a = {.rows = (unsigned)n.sequences};
  status = put_tables(s, coder, k, &n, in->tables, &a.table, err);
  if (!status) status = need(s, ROOM_TARGETS, sizeof(float) * n.codes * dim, &a.x, err);
  if (!status) status = need(s, ROOM_CODES, sizeof(uint32_t) * n.codes, &a.y, err);
  if (!status) status = need(s, ROOM_START, sizeof(uint32_t) * beside, &a.start, err);
  if (!status) status = need(s, ROOM_WORKSPACE, k->kernel.workspace_bytes, &a.workspace, err);
  if (!status) status = put_targets(s, coder, n.codes * dim, in->targets, a.x, err);
  if (!status) status = launch(s, k, &a, err);
  if (!status) status = qp_device_download(s->dev, in->codes, a.y, sizeof(uint32_t) * n.codes, err);
  if (!status && n.fields)
    status = qp_device_download(s->dev, in->fields, a.start, sizeof(uint32_t) * n.fields, err);
  if (!status) s->codes += n.codes;
  return status ? qp_fail_prefix(err, status, "encoding %s on the device", stream->quantizer->name)
                : QP_OK;
}

/* ---- With error feedback ---- */

/* U and the units of its sums, for a linear; those that are there stay. */
static qp_status put_factor(qp_device_search *s, const qp_feedback *f, qp_arguments *a,
                            qp_error *err) {
  const size_t n = f->columns;
  qp_status status = need(s, ROOM_FACTOR, sizeof(int32_t) * n * n, &a->factor, err);
  if (!status) status = need(s, ROOM_UNITS, sizeof *f->scale * n, &a->sum_unit, err);
  if (status || (f->serial && s->factor == f->serial)) return status;
  s->factor = 0;
  status = qp_device_search_factor(s->dev, f, a->factor, err);
  if (!status) status = qp_device_upload(s->dev, a->sum_unit, f->scale, sizeof *f->scale * n, err);
  if (!status) s->factor = f->serial;
  return status;
}

static qp_status put_values(qp_device_search *s, const qp_coder *coder, qp_devptr *out,
                            qp_error *err) {
  size_t bytes = 0;
  void *values = qp_device_search_values(coder, &bytes);
  qp_status status = values ? need(s, ROOM_TABLES, bytes, out, err)
                            : qp_fail(err, QP_E_NOMEM, "no memory for a table");
  if (!status) status = qp_device_upload(s->dev, *out, values, bytes, err);
  free(values);
  return status;
}

static qp_status put_apart(qp_device_search *s, size_t rows, unsigned columns,
                           const uint32_t *apart, qp_devptr *out, qp_error *err) {
  const size_t bytes = sizeof *apart * rows * ((columns + 31) / 32);
  if (!apart) return QP_OK;
  const qp_status status = need(s, ROOM_APART, bytes, out, err);
  return status ? status : qp_device_upload(s->dev, *out, apart, bytes, err);
}

static qp_status feed(void *context, const qp_coder *coder, const qp_stream *stream,
                      const qp_encode_feed *in, qp_error *err) {
  qp_device_search *s = context;
  const size_t rows = QP_GROUP_ROWS * in->groups, all = in->feedback->columns;
  const amounts n = amounts_of(coder, stream, rows, true);
  const size_t errors = sizeof *in->errors * rows * all;
  const size_t targets = sizeof *in->targets * rows * stream->columns;
  searcher *k = NULL;
  qp_status status =
      find_searcher(s, QP_OP_ENCODE_FED, stream->quantizer, stream->rows, stream->columns, &k, err);
  if (status) return status;
  qp_arguments a = {.rows = in->groups};
  status = put_apart(s, rows, stream->columns, in->apart, &a.apart, err);
  if (status) return status;
  qp_device_search_words(coder, in->first, (unsigned)all, &a);
  status = put_tables(s, coder, k, &n, in->tables, &a.table, err);
  const bool lanes = coder->kind == QP_CODER_TRELLIS || qp_coder_feeds_vectors(coder);
  if (!status && lanes) status = put_values(s, coder, &a.values, err);
  if (!status) status = need(s, ROOM_START, sizeof *in->fields * n.fields, &a.start, err);
  if (!status) status = put_factor(s, in->feedback, &a, err);
  if (!status) status = need(s, ROOM_TARGETS, targets, &a.x, err);
  if (!status) status = need(s, ROOM_CODES, sizeof *in->codes * n.codes, &a.y, err);
  if (!status) status = need(s, ROOM_ERRORS, errors, &a.errors, err);
  if (!status) status = need(s, ROOM_WORKSPACE, k->kernel.workspace_bytes, &a.workspace, err);
  if (!status) status = qp_device_upload(s->dev, a.x, in->targets, targets, err);
  if (!status && in->first) status = qp_device_upload(s->dev, a.errors, in->errors, errors, err);
  if (!status) status = launch(s, k, &a, err);
  if (!status)
    status = qp_device_download(s->dev, in->codes, a.y, sizeof *in->codes * n.codes, err);
  if (!status && n.fields)
    status = qp_device_download(s->dev, in->fields, a.start, sizeof *in->fields * n.fields, err);
  if (!status && (in->apart || in->first + stream->columns < all))
    status = qp_device_download(s->dev, in->errors, a.errors, errors, err);
  if (!status) s->codes += n.codes;
  return status ? qp_fail_prefix(err, status, "encoding %s on the device", stream->quantizer->name)
                : QP_OK;
}

/* ---- Products with a Hessian's root ---- */

static qp_status put_root(qp_device_search *s, const qp_feedback *f, qp_devptr *out,
                          qp_error *err) {
  const size_t bytes = sizeof *f->root * f->columns * f->stride;
  qp_status status = need(s, ROOM_ROOT, bytes, out, err);
  if (status || (f->serial && s->root == f->serial)) return status;
  s->root = 0;
  status = qp_device_upload(s->dev, *out, f->root, bytes, err);
  if (!status) s->root = f->serial;
  return status;
}

static qp_status multiply(qp_device_search *s, const qp_feedback *f, qp_rows_part part,
                          const float *a, float *out, qp_error *err) {
  const size_t bytes = sizeof *a * f->columns * QP_PRODUCT_ROWS;
  const uint32_t word[] = {(uint32_t)f->stride, part};
  qp_arguments args = {.part = word_of(&word[0], &word[1])};
  searcher *k = NULL;
  qp_status status = find_searcher(s, QP_OP_ROWS_PRODUCT, NULL, 0, f->columns, &k, err);
  if (status) return status;
  status = put_root(s, f, &args.factor, err);
  if (!status) status = need(s, ROOM_ROWS, bytes, &args.x, err);
  if (!status) status = need(s, ROOM_PRODUCT, bytes, &args.y, err);
  if (!status) status = qp_device_upload(s->dev, args.x, a, bytes, err);
  if (!status) status = launch(s, k, &args, err);
  if (!status) status = qp_device_download(s->dev, out, args.y, bytes, err);
  return status ? qp_fail_prefix(err, status, "products on the device") : QP_OK;
}

/* Threads that have coded their rows take turns. A product of few columns is found sooner than it
   is launched. */
static qp_status product(void *context, const qp_feedback *f, qp_rows_part part, const float *a,
                         float *out, qp_error *err) {
  enum { FEW = 512 };
  qp_device_search *s = context;
  if (f->columns < FEW) return QP_E_MISSING;
  pthread_mutex_lock(&s->product);
  const qp_status status = multiply(s, f, part, a, out, err);
  pthread_mutex_unlock(&s->product);
  return status;
}

/* ---- Opening ---- */

qp_status qp_device_search_open(const char *device, unsigned arch, unsigned sm_count,
                                qp_compiler *compiler, qp_families *families,
                                qp_device_search **out, qp_error *err) {
  qp_device_search *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(err, QP_E_NOMEM, "no memory for a device");
  *s = (qp_device_search){
      .families = families, .compiler = compiler, .arch = arch, .sm_count = sm_count};
  s->hook = (qp_encode_searcher){.context = s, .search = search, .feed = feed, .product = product};
  pthread_mutex_init(&s->product, NULL);
  const qp_status status = qp_device_open(device, &s->dev, err);
  if (status) return qp_device_search_close(s), status;
  *out = s;
  return QP_OK;
}

void qp_device_search_close(qp_device_search *s) {
  if (!s) return;
  for (searcher *k = s->searchers, *next; k; k = next) {
    next = k->next;
    if (k->table) qp_device_free(s->dev, k->table);
    if (k->module) qp_device_unload(s->dev, k->module);
    qp_kernel_free(&k->kernel);
    free(k);
  }
  for (unsigned i = 0; i < ROOMS; i++)
    if (s->room[i].at) qp_device_free(s->dev, s->room[i].at);
  if (s->dev) qp_device_close(s->dev);
  pthread_mutex_destroy(&s->product);
  free(s);
}

const qp_encode_searcher *qp_device_search_hook(const qp_device_search *s) { return &s->hook; }

size_t qp_device_search_codes(const qp_device_search *s) { return s->codes; }
