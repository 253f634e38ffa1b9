/* SPDX-License-Identifier: MIT */
/* Writes the bytes of a kernel library: its tables grow, and are written one behind the other. */
#include "tuner/export/library_writer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/spec/layout.h"

/* One section while it grows. */
typedef struct table {
  char *data;
  size_t count, capacity, record; /* records; bytes of one */
} table;

struct qp_library_writer {
  qp_lib_header header;
  table section[QP_LIB_SECTION_COUNT];
  table images;     /* bytes behind the tables */
  table quantizers; /* const qp_quantizer *: whose records section QUANTIZERS has */
  table keys;       /* uint32_t: the string of each problem's key. */
  bool failed;
};

static bool reserve(table *t, size_t more) {
  if (t->capacity - t->count >= more) return true;
  size_t capacity = t->capacity ? t->capacity : 64;
  while (capacity - t->count < more) capacity *= 2;
  char *data = realloc(t->data, capacity * t->record);
  if (!data) return false;
  t->data = data;
  t->capacity = capacity;
  return true;
}

static bool append(table *t, const void *records, size_t count) {
  if (!reserve(t, count)) return false;
  if (count) memcpy(t->data + t->count * t->record, records, count * t->record);
  t->count += count;
  return true;
}

/* Add bytes 0 up to a multiple of 'align' (of a table of bytes). */
static bool align_bytes(table *t, size_t align) {
  const size_t more = (align - t->count % align) % align;
  if (!reserve(t, more)) return false;
  if (more) memset(t->data + t->count, 0, more);
  t->count += more;
  return true;
}

static void *record(const table *t, size_t i) { return t->data + i * t->record; }

/* Index of an equal record, else of a new one. */
static bool find_or_add(table *t, const void *wanted, uint32_t *out) {
  for (size_t i = 0; i < t->count; i++)
    if (!memcmp(record(t, i), wanted, t->record)) return *out = (uint32_t)i, true;
  *out = (uint32_t)t->count;
  return append(t, wanted, 1);
}

static qp_status no_memory(qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "no memory for the kernel library");
}

qp_library_writer *qp_library_writer_new(uint32_t toolkit, const char *model,
                                         const char *generator) {
  static const size_t bytes[] = {
#define X(name, type) sizeof(type),
      QP_LIB_SECTIONS(X)
#undef X
  };
  qp_library_writer *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  for (unsigned i = 0; i < QP_LIB_SECTION_COUNT; i++) w->section[i].record = bytes[i];
  w->images.record = 1;
  w->quantizers.record = sizeof(const qp_quantizer *);
  w->keys.record = sizeof(uint32_t);
  memcpy(w->header.magic, QP_LIB_MAGIC, sizeof w->header.magic);
  w->header.version = QP_LIB_VERSION_WHOLE;
  w->header.header_bytes = sizeof w->header;
  w->header.toolkit = toolkit;
  w->failed = !append(&w->section[QP_LIB_STRINGS], "", 1);
  w->header.model = qp_library_writer_string(w, model);
  w->header.generator = qp_library_writer_string(w, generator);
  return w;
}

void qp_library_writer_free(qp_library_writer *w) {
  if (!w) return;
  for (unsigned i = 0; i < QP_LIB_SECTION_COUNT; i++) free(w->section[i].data);
  free(w->images.data);
  free(w->quantizers.data);
  free(w->keys.data);
  free(w);
}

uint32_t qp_library_writer_string(qp_library_writer *w, const char *text) {
  table *t = &w->section[QP_LIB_STRINGS];
  const size_t n = strlen(text) + 1;
  for (size_t at = 0; at < t->count; at += strlen(t->data + at) + 1)
    if (!strcmp(t->data + at, text)) return (uint32_t)at;
  const uint32_t offset = (uint32_t)t->count;
  if (append(t, text, n)) return offset;
  w->failed = true;
  return 0;
}

/* ---- Quantizers, linears ---- */

/* Where a codebook's data lies, once for all quantizers that have the same. */
static bool place_codebook(qp_library_writer *w, const qp_codebook *b, qp_lib_codebook *out) {
  table *data = &w->section[QP_LIB_DATA];
  const table *books = &w->section[QP_LIB_CODEBOOKS];
  out->bytes = b->entries * b->dim * 2;
  for (size_t i = 0; i < books->count; i++) {
    const qp_lib_codebook *known = record(books, i);
    if (known->scope || known->bytes != out->bytes ||
        memcmp(data->data + known->data, b->data, out->bytes) != 0)
      continue;
    out->data = known->data;
    out->constant = known->constant;
    return true;
  }
  if (!align_bytes(data, 16)) return false;
  out->data = (uint32_t)data->count;
  out->constant = (w->header.constants_bytes + 255) / 256 * 256;
  w->header.constants_bytes = out->constant + out->bytes;
  return append(data, b->data, out->bytes);
}

static bool add_codebook(qp_library_writer *w, const qp_codebook *b, uint32_t *out) {
  qp_lib_codebook c = {.name = qp_library_writer_string(w, b->name),
                       .scope = (uint32_t)b->scope,
                       .entries = b->entries,
                       .dim = b->dim};
  if (b->scope == QP_SCOPE_SPEC && !place_codebook(w, b, &c)) return false;
  *out = (uint32_t)w->section[QP_LIB_CODEBOOKS].count;
  return append(&w->section[QP_LIB_CODEBOOKS], &c, 1);
}

static void need_version(qp_library_writer *w, uint32_t version) {
  if (version > w->header.version) w->header.version = version;
}

/* Add the quantizer's record, and before it those of a split's parts. */
static bool add_quantizer(qp_library_writer *w, const qp_quantizer *q, uint32_t *out) {
  for (size_t i = 0; i < w->quantizers.count; i++) {
    const qp_quantizer *known;
    memcpy(&known, record(&w->quantizers, i), sizeof known);
    if (known == q) return *out = (uint32_t)i, true;
  }
  qp_lib_quantizer r = {.name = qp_library_writer_string(w, q->name),
                        .hash = qp_library_writer_string(w, q->hash),
                        .layout = q->layout,
                        .kind = (uint32_t)q->kind,
                        .rate_bits = q->rate,
                        .stored_bits = q->stored_rate};
  if (q->kind == QP_SPLIT) {
    r.parts = q->parts;
    for (unsigned i = 0; i < q->parts; i++) {
      uint32_t *part = i < QP_LIB_PARTS ? &r.part[i] : &r.more[i - QP_LIB_PARTS];
      if (!add_quantizer(w, q->part[i].quantizer, part)) return false;
    }
    if (q->parts > QP_LIB_PARTS) need_version(w, QP_LIB_VERSION);
  } else {
    r.window = q->window;
    r.dim = q->dim;
    r.step = q->step;
    r.fields = qp_layout_arrays(q);
    r.codebooks = q->codebooks;
    for (unsigned i = 0; i < q->codebooks; i++)
      if (!add_codebook(w, &q->codebook[i], &r.codebook[i])) return false;
  }
  *out = (uint32_t)w->quantizers.count;
  return append(&w->quantizers, &q, 1) && append(&w->section[QP_LIB_QUANTIZERS], &r, 1);
}

/* Sizes are those of all pieces. */
static qp_status lay_out_part(qp_library_writer *w, const qp_range *r, unsigned rows,
                              unsigned pieces, qp_lib_part *out, qp_error *err) {
  const qp_quantizer *q = r->quantizer;
  qp_stream s;
  const qp_status status = qp_layout_stream(q, rows, r->columns, &s, err);
  if (status) return status;
  *out = (qp_lib_part){
      .column = r->column, .columns = r->columns, .code_bytes = 4ull * s.code_words * pieces};
  for (unsigned f = 0; f < s.arrays; f++) out->field_bytes[f] = s.field_bytes[f] * pieces;
  for (unsigned c = 0; c < q->codebooks; c++) {
    const uint64_t bytes = 2ull * q->codebook[c].entries * q->codebook[c].dim * pieces;
    if (pieces > 1 && q->codebook[c].scope == QP_SCOPE_TENSOR && bytes / pieces % 16)
      return qp_fail(err, QP_E_ARG,
                     "%s: its codebook of %u x %u, one for each of %u pieces, is not aligned to 16 "
                     "bytes",
                     q->name, q->codebook[c].entries, q->codebook[c].dim, pieces);
    if (q->codebook[c].scope == QP_SCOPE_TENSOR) out->codebook_bytes[c] = bytes;
    if (q->codebook[c].scope == QP_SCOPE_ROW)
      out->codebook_bytes[c] = bytes * s.row_groups * QP_GROUP_ROWS;
  }
  return add_quantizer(w, q, &out->quantizer) ? QP_OK : no_memory(err);
}

qp_status qp_library_writer_linear(qp_library_writer *w, const qp_quantizer *q, unsigned rows,
                                   unsigned columns, unsigned pieces, unsigned rotation,
                                   uint32_t *out, qp_error *err) {
  qp_lib_linear e = {.quantizer = QP_LIB_NONE, .rows = rows, .columns = columns};
  if (q && !add_quantizer(w, q, &e.quantizer)) return no_memory(err);
  if (pieces > 1 && q) e.pieces = pieces;
  if (q) e.rotation = qp_side_plain(columns, rotation);
  need_version(w, e.rotation & QP_SIDE_FLAGS ? QP_LIB_VERSION_SIDE
                  : e.pieces || e.rotation   ? QP_LIB_VERSION_PIECES
                                             : QP_LIB_VERSION_WHOLE);
  for (unsigned i = 0; q && i < qp_layout_ranges(q, 1); i++) {
    const qp_range r = qp_layout_range(q, columns, pieces, i); /* The range of the first piece. */
    if (!r.columns) continue;
    qp_lib_part *part = e.parts < QP_LIB_PARTS ? &e.part[e.parts] : &e.more[e.parts - QP_LIB_PARTS];
    const qp_status status = lay_out_part(w, &r, rows, e.pieces ? e.pieces : 1, part, err);
    if (status) return status;
    e.parts++;
  }
  return find_or_add(&w->section[QP_LIB_LINEARS], &e, out) ? QP_OK : no_memory(err);
}

/* ---- Problems, groups, targets, kernels ---- */

qp_status qp_library_writer_problem(qp_library_writer *w, const uint32_t *linear, unsigned segments,
                                    unsigned columns, const char *key, uint32_t *out,
                                    qp_error *err) {
  table *t = &w->section[QP_LIB_PROBLEMS];
  const uint32_t path = qp_library_writer_string(w, key);
  qp_lib_problem p = {.columns = columns, .segments = segments};
  unsigned streams = 0;
  for (unsigned s = 0; s < segments; s++) {
    const qp_lib_linear *e = record(&w->section[QP_LIB_LINEARS], linear[s]);
    streams += e->parts * (e->pieces ? e->pieces : 1);
    p.linear[s] = linear[s];
  }
  if (streams > QP_LIB_FEW_STREAMS) need_version(w, QP_LIB_VERSION);
  for (size_t i = 0; i < t->count; i++)
    if (!memcmp(record(t, i), &p, sizeof p) && !memcmp(record(&w->keys, i), &path, sizeof path))
      return *out = (uint32_t)i, QP_OK;
  *out = (uint32_t)t->count;
  return append(t, &p, 1) && append(&w->keys, &path, 1) ? QP_OK : no_memory(err);
}

qp_status qp_library_writer_group(qp_library_writer *w, const qp_lib_group *group, qp_error *err) {
  return append(&w->section[QP_LIB_GROUPS], group, 1) ? QP_OK : no_memory(err);
}

qp_status qp_library_writer_target(qp_library_writer *w, const char *name, const char *chosen,
                                   unsigned arch, unsigned sm_count, uint32_t *out, qp_error *err) {
  const qp_lib_target t = {.name = qp_library_writer_string(w, name),
                           .chosen = qp_library_writer_string(w, chosen),
                           .arch = arch,
                           .sm_count = sm_count};
  *out = (uint32_t)w->section[QP_LIB_TARGETS].count;
  return append(&w->section[QP_LIB_TARGETS], &t, 1) ? QP_OK : no_memory(err);
}

qp_status qp_library_writer_image(qp_library_writer *w, uint32_t kind, unsigned arch,
                                  const void *data, size_t bytes, uint32_t *out, qp_error *err) {
  *out = QP_LIB_NONE;
  if (!data) return QP_OK;
  if (!align_bytes(&w->images, QP_LIB_ALIGN)) return no_memory(err);
  qp_lib_image m = {.kind = kind, .arch = arch, .offset = w->images.count, .bytes = bytes + kind};
  if (!append(&w->images, data, bytes) || (kind && !append(&w->images, "", 1)))
    return no_memory(err);
  m.checksum = XXH3_64bits(w->images.data + m.offset, (size_t)m.bytes);
  *out = (uint32_t)w->section[QP_LIB_IMAGES].count;
  return append(&w->section[QP_LIB_IMAGES], &m, 1) ? QP_OK : no_memory(err);
}

qp_status qp_library_writer_kernel(qp_library_writer *w, const qp_lib_kernel *kernel,
                                   qp_error *err) {
  return append(&w->section[QP_LIB_KERNELS], kernel, 1) ? QP_OK : no_memory(err);
}

/* ---- The file ---- */

static int order(const void *a, const void *b) { return qp_lib_kernel_order(a, b); }

/* Put kernels in the order that the file wants, and find each target's range of them. */
static qp_status sort_kernels(qp_library_writer *w, qp_error *err) {
  table *k = &w->section[QP_LIB_KERNELS], *t = &w->section[QP_LIB_TARGETS];
  if (k->count) qsort(k->data, k->count, k->record, order);
  for (size_t i = 1; i < k->count; i++)
    if (!order(record(k, i - 1), record(k, i))) {
      const qp_lib_kernel *twice = record(k, i);
      return qp_fail(err, QP_E_ARG, "kernel '%.300s' is there twice",
                     w->section[QP_LIB_STRINGS].data + twice->name);
    }
  for (size_t i = 0, at = 0; i < t->count; i++) {
    qp_lib_target *target = record(t, i);
    target->first_kernel = (uint32_t)at;
    while (at < k->count && ((const qp_lib_kernel *)record(k, at))->target == i) at++;
    target->kernels = (uint32_t)at - target->first_kernel;
  }
  return QP_OK;
}

/* Take off what version 5 appended to records. */
static void shorten(table *t, size_t bytes) {
  for (size_t i = 1; i < t->count; i++) memmove(t->data + i * bytes, record(t, i), bytes);
  t->record = bytes;
}

/* A file without parts that need it is as those of the versions before. */
static void leave_more_out(qp_library_writer *w) {
  shorten(&w->section[QP_LIB_QUANTIZERS], QP_LIB_QUANTIZER_LEAST);
  shorten(&w->section[QP_LIB_LINEARS], QP_LIB_LINEAR_PIECES);
}

static size_t align_up(size_t n) { return (n + QP_LIB_ALIGN - 1) / QP_LIB_ALIGN * QP_LIB_ALIGN; }

qp_status qp_library_writer_finish(qp_library_writer *w, void **data, size_t *bytes,
                                   qp_error *err) {
  if (w->failed) return no_memory(err);
  const qp_status status = sort_kernels(w, err);
  if (status) return status;
  size_t at = align_up(sizeof w->header);
  if (w->header.version < QP_LIB_VERSION) leave_more_out(w);
  for (unsigned i = 0; i < QP_LIB_SECTION_COUNT; i++) {
    const table *t = &w->section[i];
    w->header.section[i] = (qp_lib_section){
        .offset = at, .count = (uint32_t)t->count, .record_bytes = (uint32_t)t->record};
    at = align_up(at + t->count * t->record);
  }
  w->header.manifest_bytes = at;
  w->header.file_bytes = at + w->images.count;
  unsigned char *file = calloc(1, (size_t)w->header.file_bytes);
  if (!file) return no_memory(err);
  for (size_t i = 0; i < w->section[QP_LIB_IMAGES].count; i++) {
    qp_lib_image m;
    memcpy(&m, record(&w->section[QP_LIB_IMAGES], i), sizeof m);
    m.offset += at; /* From now on it counts in the file. */
    memcpy(record(&w->section[QP_LIB_IMAGES], i), &m, sizeof m);
  }
  for (unsigned i = 0; i < QP_LIB_SECTION_COUNT; i++) {
    const table *t = &w->section[i];
    if (t->count) memcpy(file + w->header.section[i].offset, t->data, t->count * t->record);
  }
  if (w->images.count) memcpy(file + at, w->images.data, w->images.count);
  w->header.checksum = 0;
  memcpy(file, &w->header, sizeof w->header);
  w->header.checksum = XXH3_64bits(file, at);
  memcpy(file, &w->header, sizeof w->header);
  *data = file;
  *bytes = (size_t)w->header.file_bytes;
  return QP_OK;
}
