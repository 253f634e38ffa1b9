/* SPDX-License-Identifier: MIT */
/* Opens a kernel library in memory:  file -> [checked tables]. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/arguments.h"
#include "runtime/input_side.h"
#include "runtime/library_state.h"
#include "runtime/regular_file.h"

enum { PIECES_MAX = 8, GRID_MAX = 1 << 20, BATCH_MAX = 64 };
/* So that the latencies of as many launches as there can be have a sum. */
#define LATENCY_MAX_PS ((int64_t)1 << 46)
enum { EXPERTS_MAX = 512, TOP_K_MAX = 16, TILE_MAX = 16 };

uint32_t qp_lib_count(const qpal_library *l, unsigned section) {
  return l->header->section[section].count;
}

const void *qp_lib_record(const qpal_library *l, unsigned section, uint32_t index) {
  const qp_lib_section *s = &l->header->section[section];
  return l->data + s->offset + (uint64_t)index * s->record_bytes;
}

uint32_t qp_lib_dequant_rows(const qpal_library *l, const qp_lib_kernel *k) {
  return l->header->section[QP_LIB_KERNELS].record_bytes < sizeof *k ? 0 : k->dequant_rows;
}

const char *qp_lib_string(const qpal_library *l, uint32_t offset) {
  return (const char *)l->data + l->header->section[QP_LIB_STRINGS].offset + offset;
}

unsigned qp_lib_streams(const qpal_library *l, uint32_t problem) {
  const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, problem);
  unsigned n = 0;
  for (unsigned s = 0; s < p->segments; s++) {
    const qp_lib_linear *e = QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s]);
    n += e->parts * qp_lib_pieces(l, e);
  }
  return n;
}

static bool has_pieces(const qpal_library *l) {
  return l->header->section[QP_LIB_LINEARS].record_bytes >= QP_LIB_LINEAR_PIECES;
}

/* So many parts have room in a record: those appended in version 5 are not in every file. */
static unsigned room_for_parts(const qpal_library *l, unsigned section, size_t whole) {
  const bool all = l->header->section[section].record_bytes >= whole;
  return all ? QP_LIB_PARTS + QP_LIB_MORE_PARTS : QP_LIB_PARTS;
}

unsigned qp_lib_pieces(const qpal_library *l, const qp_lib_linear *e) {
  return has_pieces(l) && e->pieces ? e->pieces : 1;
}

unsigned qp_lib_rotation(const qpal_library *l, const qp_lib_linear *e) {
  return has_pieces(l) ? e->rotation : 0;
}

bool qp_lib_reads_rows(uint32_t op) {
  return op == QPAL_ROTATE || op == QPAL_ROTATE_NORM || op == QPAL_ROTATE_GLU ||
         op == QPAL_ATTEND || op == QPAL_PICK || op == QPAL_COMBINE || op == QPAL_PLAIN;
}

bool qp_lib_has_strides(const qpal_library *l) { return l->header->version > QP_LIB_VERSION_CLOSE; }

bool qp_lib_multiplies(uint32_t op) {
  return op == QPAL_GEMM || op == QPAL_GEMM_GLU || op == QPAL_EXPERTS || op == QPAL_EXPERTS_GLU;
}

/* Its kernels read no packed weights: they belong to no problem. */
static bool stands_alone(uint32_t op) { return qp_lib_reads_rows(op) || op == QPAL_ROUTE; }

unsigned qp_lib_params_bytes(const qpal_library *l, uint32_t op, uint32_t problem) {
  size_t (*bytes)(unsigned, unsigned, unsigned) =
      qp_lib_has_strides(l) ? qp_arguments_bytes : qp_arguments_bytes_close;
  if (stands_alone(op)) return (unsigned)bytes(op, 0, 0);
  const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, problem);
  return (unsigned)bytes(op, qp_lib_streams(l, problem), p->segments);
}

/* ---- Checks: after them no index or offset of the file can lead outside ---- */

static qpal_status damaged(const char *what) {
  return qp_refuse(QPAL_E_FORMAT, "kernel library: %s", what);
}

/* A field of record 'index' that is out of range. */
static qpal_status wrong(const char *record, uint32_t index, const char *field, uint64_t value) {
  return qp_refuse(QPAL_E_FORMAT, "kernel library: %s %u: field '%s': %llu is not possible", record,
                   index, field, (unsigned long long)value);
}

/* A field of record 'index' that files of its version do not have. */
static qpal_status too_early(const qpal_library *l, const char *record, uint32_t index,
                             const char *field, uint64_t value, unsigned version) {
  return qp_refuse(QPAL_E_FORMAT,
                   "kernel library: %s %u: field '%s': %llu is of version %u and later; the "
                   "header says version %u",
                   record, index, field, (unsigned long long)value, version, l->header->version);
}

static qpal_status check_header(const void *data, uint64_t bytes) {
  const qp_lib_header *h = data;
  if (bytes < sizeof *h)
    return qp_refuse(QPAL_E_FORMAT, "kernel library: %llu bytes; even its header has %zu",
                     (unsigned long long)bytes, sizeof *h);
  if (memcmp(h->magic, QP_LIB_MAGIC, sizeof h->magic) != 0)
    return damaged("it does not begin as one (bytes 0-7 should be 'QPALLIB' and a NUL)");
  if (h->version < QP_LIB_VERSION_CLOSE || h->version > QP_LIB_VERSION)
    return qp_refuse(QPAL_E_FORMAT,
                     "kernel library: its format is version %u; libqpal %s reads versions %d to %d",
                     h->version, qpal_version(), QP_LIB_VERSION_CLOSE, QP_LIB_VERSION);
  if (h->file_bytes != bytes)
    return qp_refuse(QPAL_E_FORMAT,
                     "kernel library: %llu bytes are there; it was written with %llu%s",
                     (unsigned long long)bytes, (unsigned long long)h->file_bytes,
                     bytes < h->file_bytes ? ": it is truncated" : "");
  if (h->header_bytes < sizeof *h || h->manifest_bytes < h->header_bytes ||
      h->manifest_bytes > bytes)
    return damaged("sizes in its header contradict each other");
  return QPAL_OK;
}

static qpal_status check_checksum(const qp_lib_header *h) {
  XXH3_state_t state;
  const uint64_t none = 0;
  const size_t at = offsetof(qp_lib_header, checksum);
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, h, at);
  XXH3_64bits_update(&state, &none, sizeof none);
  XXH3_64bits_update(&state, (const char *)h + at + 8, (size_t)h->manifest_bytes - at - 8);
  if (XXH3_64bits_digest(&state) != h->checksum)
    return damaged("the checksum of its tables is wrong: it is damaged");
  return QPAL_OK;
}

static qpal_status check_sections(const qp_lib_header *h) {
  static const struct {
    const char *name;
    uint32_t bytes;
  } known[] = {
#define X(name, record) {#name, sizeof(record)},
      QP_LIB_SECTIONS(X)
#undef X
  };
  for (unsigned i = 0; i < QP_LIB_SECTION_COUNT; i++) {
    const qp_lib_section *s = &h->section[i];
    const bool bytes = known[i].bytes == 1;
    const uint32_t least = i == QP_LIB_KERNELS      ? (uint32_t)QP_LIB_KERNEL_LEAST
                           : i == QP_LIB_LINEARS    ? (uint32_t)QP_LIB_LINEAR_LEAST
                           : i == QP_LIB_QUANTIZERS ? (uint32_t)QP_LIB_QUANTIZER_LEAST
                                                    : known[i].bytes;
    if (bytes ? s->record_bytes != 1 : s->record_bytes < least || s->record_bytes % 8)
      return wrong(known[i].name, i, "record_bytes", s->record_bytes);
    if (s->offset % 8 || s->offset < h->header_bytes || s->offset > h->manifest_bytes ||
        (h->manifest_bytes - s->offset) / s->record_bytes < s->count)
      return wrong(known[i].name, i, "offset", s->offset);
  }
  return QPAL_OK;
}

static bool is_string(const qpal_library *l, uint32_t offset) {
  return offset < qp_lib_count(l, QP_LIB_STRINGS);
}

static qpal_status check_strings(const qpal_library *l) {
  const uint32_t n = qp_lib_count(l, QP_LIB_STRINGS);
  if (!n || *qp_lib_string(l, n - 1)) return damaged("its strings do not end");
  if (!is_string(l, l->header->model)) return wrong("header", 0, "model", l->header->model);
  if (!is_string(l, l->header->generator))
    return wrong("header", 0, "generator", l->header->generator);
  return QPAL_OK;
}

static qpal_status check_targets(const qpal_library *l) {
  uint32_t kernels = 0;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_TARGETS); i++) {
    const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, i);
    if (!is_string(l, t->name)) return wrong("target", i, "name", t->name);
    if (!is_string(l, t->chosen)) return wrong("target", i, "chosen", t->chosen);
    if (t->arch < 50 || t->arch > 999) return wrong("target", i, "arch", t->arch);
    if (!t->sm_count || t->sm_count > 4096) return wrong("target", i, "sm_count", t->sm_count);
    if (t->first_kernel != kernels) return wrong("target", i, "first_kernel", t->first_kernel);
    if (t->kernels > qp_lib_count(l, QP_LIB_KERNELS) - kernels)
      return wrong("target", i, "kernels", t->kernels);
    kernels += t->kernels;
  }
  return kernels == qp_lib_count(l, QP_LIB_KERNELS) ? QPAL_OK
                                                    : damaged("kernels that belong to no target");
}

/* What constants take on the device is allocated before any is read: they are the codebooks of the
   definitions, one behind another at multiples of 256, and no more. */
static qpal_status check_codebooks(const qpal_library *l) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_CODEBOOKS); i++) {
    const qp_lib_codebook *c = QP_LIB_GET(l, CODEBOOKS, qp_lib_codebook, i);
    const uint32_t data = qp_lib_count(l, QP_LIB_DATA), room = l->header->constants_bytes;
    if (!is_string(l, c->name)) return wrong("codebook", i, "name", c->name);
    if (c->scope > 2) return wrong("codebook", i, "scope", c->scope);
    if (!c->entries || c->entries > 1u << 20) return wrong("codebook", i, "entries", c->entries);
    if (!c->dim || c->dim > 64) return wrong("codebook", i, "dim", c->dim);
    if (c->scope) continue;
    if (c->bytes != c->entries * c->dim * 2) return wrong("codebook", i, "bytes", c->bytes);
    if (c->data > data || data - c->data < c->bytes) return wrong("codebook", i, "data", c->data);
    if (c->constant % 256 || c->constant > room || room - c->constant < c->bytes)
      return wrong("codebook", i, "constant", c->constant);
    most += (c->bytes + 255ull) / 256 * 256;
  }
  return l->header->constants_bytes <= most
             ? QPAL_OK
             : wrong("header", 0, "constants_bytes", l->header->constants_bytes);
}

static qpal_status check_quantizers(const qpal_library *l) {
  const uint32_t n = qp_lib_count(l, QP_LIB_QUANTIZERS);
  const unsigned room = room_for_parts(l, QP_LIB_QUANTIZERS, sizeof(qp_lib_quantizer));
  for (uint32_t i = 0; i < n; i++) {
    const qp_lib_quantizer *q = QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, i);
    if (!is_string(l, q->name)) return wrong("quantizer", i, "name", q->name);
    if (!is_string(l, q->hash)) return wrong("quantizer", i, "hash", q->hash);
    if (q->kind > 3) return wrong("quantizer", i, "kind", q->kind);
    if (q->fields > QPAL_MAX_FIELDS) return wrong("quantizer", i, "fields", q->fields);
    if (q->codebooks > QPAL_MAX_CODEBOOKS) return wrong("quantizer", i, "codebooks", q->codebooks);
    if (q->parts > room) return wrong("quantizer", i, "parts", q->parts);
    if (q->parts > QP_LIB_PARTS && l->header->version < QP_LIB_VERSION)
      return too_early(l, "quantizer", i, "parts", q->parts, QP_LIB_VERSION);
    for (unsigned c = 0; c < q->codebooks; c++)
      if (q->codebook[c] >= qp_lib_count(l, QP_LIB_CODEBOOKS))
        return wrong("quantizer", i, "codebook", q->codebook[c]);
    for (unsigned p = 0; p < q->parts; p++) {
      const uint32_t of = qp_lib_split_part(q, p);
      if (of >= n || QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, of)->parts)
        return wrong("quantizer", i, "part", of);
    }
  }
  return QPAL_OK;
}

static qpal_status check_parts(const qpal_library *l, uint32_t i, const qp_lib_linear *e) {
  const uint32_t pieces = qp_lib_pieces(l, e), all = e->columns / pieces; /* columns of one piece */
  uint32_t column = 0;
  if (pieces > PIECES_MAX || e->columns % pieces) return wrong("linear", i, "pieces", pieces);
  const unsigned rotation = qp_lib_rotation(l, e), block = qp_side_block(rotation);
  if ((block && e->columns % block) ||
      (qp_side_has_order(rotation) && e->columns > QP_SIDE_COLUMNS_MAX))
    return wrong("linear", i, "rotation", e->rotation);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_lib_part *part = qp_lib_part_of(e, p);
    if (part->quantizer >= qp_lib_count(l, QP_LIB_QUANTIZERS) ||
        QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, part->quantizer)->parts)
      return wrong("linear", i, "part.quantizer", part->quantizer);
    if (part->column != column) return wrong("linear", i, "part.column", part->column);
    if (!part->columns || part->columns > all - column)
      return wrong("linear", i, "part.columns", part->columns);
    if (!part->code_bytes || part->code_bytes >> 48 || part->code_bytes % pieces)
      return wrong("linear", i, "part.code_bytes", part->code_bytes);
    for (unsigned f = 0; f < 4; f++) {
      if (part->field_bytes[f] >> 48 || part->field_bytes[f] % pieces)
        return wrong("linear", i, "part.field_bytes", part->field_bytes[f]);
      if (part->codebook_bytes[f] >> 48 || part->codebook_bytes[f] % pieces)
        return wrong("linear", i, "part.codebook_bytes", part->codebook_bytes[f]);
    }
    column += part->columns;
  }
  return column == all || !e->parts ? QPAL_OK : wrong("linear", i, "columns", e->columns);
}

/* A reader of the header's version would read the linear otherwise. */
static qpal_status check_version(const qpal_library *l, uint32_t i, const qp_lib_linear *e) {
  const unsigned version = l->header->version, rotation = qp_lib_rotation(l, e);
  if (version < QP_LIB_VERSION && e->parts > QP_LIB_PARTS)
    return too_early(l, "linear", i, "parts", e->parts, QP_LIB_VERSION);
  if (version < QP_LIB_VERSION_SIDE && (rotation & QP_SIDE_FLAGS))
    return too_early(l, "linear", i, "rotation", rotation, QP_LIB_VERSION_SIDE);
  if (version < QP_LIB_VERSION_PIECES && rotation)
    return too_early(l, "linear", i, "rotation", rotation, QP_LIB_VERSION_PIECES);
  if (version < QP_LIB_VERSION_PIECES && qp_lib_pieces(l, e) > 1)
    return too_early(l, "linear", i, "pieces", e->pieces, QP_LIB_VERSION_PIECES);
  return QPAL_OK;
}

static qpal_status check_linears(const qpal_library *l) {
  const unsigned room = room_for_parts(l, QP_LIB_LINEARS, sizeof(qp_lib_linear));
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_LINEARS); i++) {
    const qp_lib_linear *e = QP_LIB_GET(l, LINEARS, qp_lib_linear, i);
    if (e->parts > room) return wrong("linear", i, "parts", e->parts);
    if (e->parts ? e->quantizer >= qp_lib_count(l, QP_LIB_QUANTIZERS) : e->quantizer != QP_LIB_NONE)
      return wrong("linear", i, "quantizer", e->quantizer);
    if (!e->rows || e->rows > 1u << 24) return wrong("linear", i, "rows", e->rows);
    if (!e->columns || e->columns > 1u << 24) return wrong("linear", i, "columns", e->columns);
    qpal_status status = check_version(l, i, e);
    if (!status) status = check_parts(l, i, e);
    if (status) return status;
  }
  return QPAL_OK;
}

static qpal_status check_problems(const qpal_library *l) {
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_PROBLEMS); i++) {
    const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, i);
    if (!p->segments || p->segments > QP_LIB_MEMBERS)
      return wrong("problem", i, "segments", p->segments);
    for (unsigned s = 0; s < p->segments; s++)
      if (p->linear[s] >= qp_lib_count(l, QP_LIB_LINEARS) ||
          QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s])->columns != p->columns)
        return wrong("problem", i, "linear", p->linear[s]);
    const unsigned streams = qp_lib_streams(l, i);
    if (streams > QP_ARGUMENT_STREAMS) return wrong("problem", i, "segments", p->segments);
    if (streams > QP_LIB_FEW_STREAMS && l->header->version < QP_LIB_VERSION)
      return too_early(l, "problem", i, "streams", streams, QP_LIB_VERSION);
  }
  return QPAL_OK;
}

static qpal_status check_groups(const qpal_library *l) {
  const uint32_t problems = qp_lib_count(l, QP_LIB_PROBLEMS);
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_GROUPS); i++) {
    const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, i);
    if (!is_string(l, g->name)) return wrong("group", i, "name", g->name);
    if (!is_string(l, g->path)) return wrong("group", i, "path", g->path);
    if (g->problem >= problems) return wrong("group", i, "problem", g->problem);
    const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
    for (unsigned m = 0; m < p->segments; m++) {
      if (!is_string(l, g->tensor[m])) return wrong("group", i, "tensor", g->tensor[m]);
      if (g->single[m] >= problems) return wrong("group", i, "single", g->single[m]);
      const qp_lib_problem *one = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->single[m]);
      if (one->segments != 1 || one->linear[0] != p->linear[m])
        return wrong("group", i, "single", g->single[m]);
    }
  }
  return QPAL_OK;
}

static qpal_status check_image(const qpal_library *l, uint32_t kernel, uint32_t image,
                               uint32_t kind) {
  const char *field = kind ? "ptx" : "cubin";
  if (image == QP_LIB_NONE) return QPAL_OK;
  if (image >= qp_lib_count(l, QP_LIB_IMAGES) ||
      QP_LIB_GET(l, IMAGES, qp_lib_image, image)->kind != kind)
    return wrong("kernel", kernel, field, image);
  return QPAL_OK;
}

static int compare_numbers(uint32_t a, uint32_t b) { return a < b ? -1 : a > b; }

int qp_lib_kernel_order(const qp_lib_kernel *a, const qp_lib_kernel *b) {
  const uint32_t turn = QP_LIB_ROTATES | QP_LIB_INVERSE;
  int c = compare_numbers(a->target, b->target);
  if (!c) c = compare_numbers(a->op, b->op);
  if (!c) c = compare_numbers(a->problem, b->problem);
  if (!c) c = compare_numbers(a->columns, b->columns);
  if (!c) c = compare_numbers(a->type, b->type);
  if (!c) c = compare_numbers(a->out_type, b->out_type);
  if (!c) c = compare_numbers(a->flags & turn, b->flags & turn);
  if (!c) c = compare_numbers(a->batch, b->batch);
  if (!c && a->op == QPAL_ROUTE) c = compare_numbers(a->experts, b->experts);
  if (!c && a->op == QPAL_ROUTE) c = compare_numbers(a->top_k, b->top_k);
  return c;
}

/* Checks what is said of experts and of what routes to them. */
static qpal_status check_routing(const qpal_library *l, uint32_t i, const qp_lib_kernel *k) {
  if (k->op != QPAL_ROUTE && k->op != QPAL_EXPERTS && k->op != QPAL_EXPERTS_GLU) return QPAL_OK;
  if (l->header->section[QP_LIB_KERNELS].record_bytes < sizeof *k)
    return damaged("its records of kernels end before their experts");
  if (!k->experts || k->experts > EXPERTS_MAX) return wrong("kernel", i, "experts", k->experts);
  if (!k->top_k || k->top_k > TOP_K_MAX) /* ids may be of other ranks' experts */
    return wrong("kernel", i, "top_k", k->top_k);
  if (!k->tile || k->tile > TILE_MAX) return wrong("kernel", i, "tile", k->tile);
  if (!k->batch || k->batch > BATCH_MAX) return wrong("kernel", i, "batch", k->batch);
  return QPAL_OK;
}

/* Are these up and gate, of equal rows?  Those of stacks must have one quantizer. */
static bool is_pair(const qpal_library *l, const qp_lib_problem *p, bool stacks) {
  if (p->segments != 2) return false;
  if (!stacks) return p->linear[0] == p->linear[1];
  return QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[0])->rows ==
         QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[1])->rows;
}

static qpal_status check_kernel(const qpal_library *l, uint32_t i) {
  const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
  if (!is_string(l, k->name)) return wrong("kernel", i, "name", k->name);
  if (!is_string(l, k->source)) return wrong("kernel", i, "source", k->source);
  if (k->target >= qp_lib_count(l, QP_LIB_TARGETS)) return wrong("kernel", i, "target", k->target);
  const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, k->target);
  if (i < t->first_kernel || i - t->first_kernel >= t->kernels)
    return wrong("kernel", i, "target", k->target);
  if (k->op > QPAL_GATHER && !stands_alone(k->op) && !qp_lib_multiplies(k->op))
    return wrong("kernel", i, "op", k->op);
  if (stands_alone(k->op) ? k->problem != QP_LIB_NONE
                          : k->problem >= qp_lib_count(l, QP_LIB_PROBLEMS))
    return wrong("kernel", i, "problem", k->problem);
  if (!stands_alone(k->op)) {
    const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, k->problem);
    if (k->columns != p->columns) return wrong("kernel", i, "columns", k->columns);
    for (unsigned s = 0; s < p->segments; s++) /* a kernel reads packed weights, not 16-bit ones */
      if (!QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s])->parts)
        return wrong("kernel", i, "problem", k->problem);
    if (!qp_lib_multiplies(k->op) && p->segments != 1)
      return wrong("kernel", i, "problem", k->problem);
    const bool stacks = k->op == QPAL_EXPERTS_GLU;
    if ((stacks || k->op == QPAL_GEMM_GLU) && !is_pair(l, p, stacks))
      return wrong("kernel", i, "problem", k->problem);
  }
  if (k->type > QPAL_BF16) return wrong("kernel", i, "type", k->type);
  if (k->out_type > QPAL_F32) return wrong("kernel", i, "out_type", k->out_type);
  if (qp_lib_multiplies(k->op) && (!k->batch || k->batch > BATCH_MAX))
    return wrong("kernel", i, "batch", k->batch);
  if (!k->grid || k->grid > GRID_MAX) return wrong("kernel", i, "grid", k->grid);
  if (!k->block || k->block > 1024 || k->block % 32) return wrong("kernel", i, "block", k->block);
  if (k->smem_bytes > 1u << 20) return wrong("kernel", i, "smem_bytes", k->smem_bytes);
  if (k->counters > 1u << 20) return wrong("kernel", i, "counters", k->counters);
  if (k->workspace_bytes >> 40) return wrong("kernel", i, "workspace_bytes", k->workspace_bytes);
  if (k->latency_ps < -1 || k->latency_ps > LATENCY_MAX_PS)
    return wrong("kernel", i, "latency_ps", (uint64_t)k->latency_ps);
  if (k->params_bytes != qp_lib_params_bytes(l, k->op, k->problem))
    return wrong("kernel", i, "params_bytes", k->params_bytes);
  if (i && qp_lib_kernel_order(QP_LIB_GET(l, KERNELS, qp_lib_kernel, i - 1), k) >= 0)
    return damaged("its kernels are not in order");
  if (k->cubin == QP_LIB_NONE && k->ptx == QP_LIB_NONE)
    return wrong("kernel", i, "cubin", k->cubin);
  qpal_status status = check_routing(l, i, k);
  if (!status) status = check_image(l, i, k->cubin, 0);
  return status ? status : check_image(l, i, k->ptx, 1);
}

static qpal_status check_kernels(const qpal_library *l) {
  qpal_status status = QPAL_OK;
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_KERNELS) && !status; i++)
    status = check_kernel(l, i);
  return status;
}

static qpal_status check_images(const qpal_library *l) {
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_IMAGES); i++) {
    const qp_lib_image *m = QP_LIB_GET(l, IMAGES, qp_lib_image, i);
    if (m->kind > 1) return wrong("image", i, "kind", m->kind);
    if (m->offset < l->header->manifest_bytes || m->offset > l->bytes)
      return wrong("image", i, "offset", m->offset);
    if (m->bytes < 64 || l->bytes - m->offset < m->bytes)
      return wrong("image", i, "bytes", m->bytes);
  }
  return QPAL_OK;
}

/* ---- Opening ---- */

static qpal_status check(qpal_library *l) {
  qpal_status status = check_header(l->data, l->bytes);
  if (status) return status;
  l->header = (const qp_lib_header *)(const void *)l->data;
  status = check_checksum(l->header);
  if (!status) status = check_sections(l->header);
  if (!status) status = check_strings(l);
  if (!status) status = check_targets(l);
  if (!status) status = check_codebooks(l);
  if (!status) status = check_quantizers(l);
  if (!status) status = check_linears(l);
  if (!status) status = check_problems(l);
  if (!status) status = check_groups(l);
  if (!status) status = check_images(l);
  return status ? status : check_kernels(l);
}

qpal_status qpal_library_from_memory(const void *data, size_t bytes, qpal_library **out) {
  if (!data || !out) return qp_refuse(QPAL_E_ARG, "%s is NULL", data ? "out" : "data");
  if ((uintptr_t)data % 8)
    return qp_refuse(QPAL_E_ARG, "data is at %p; a kernel library begins at a multiple of 8", data);
  qpal_library *l = calloc(1, sizeof *l);
  if (!l) return qp_refuse(QPAL_E_NOMEM, "no memory for a kernel library");
  l->data = data;
  l->bytes = bytes;
  const qpal_status status = check(l);
  if (status) return free(l), status;
  *out = l;
  return QPAL_OK;
}

/* "path/library.qpal" where path is a directory, else path; malloc'ed. */
static char *file_of(const char *path) {
  static const char name[] = "/library.qpal";
  struct stat info;
  const size_t n = strlen(path);
  char *file = malloc(n + sizeof name);
  if (!file) return NULL;
  memcpy(file, path, n + 1);
  if (!stat(path, &info) && S_ISDIR(info.st_mode)) memcpy(file + n, name, sizeof name);
  return file;
}

static qpal_status map_file(const char *file, void **data, size_t *bytes) {
  struct stat info = {.st_size = 0};
  int fd = -1;
  qp_error why = {""};
  if (qp_regular_file_open(file, O_RDONLY, &fd, &why)) return qp_refuse(QPAL_E_IO, "%s", why.text);
  qpal_status status = QPAL_OK;
  if (fstat(fd, &info))
    status = qp_refuse(QPAL_E_IO, "%s: %s", file, strerror(errno));
  else if (!info.st_size)
    status = qp_refuse(QPAL_E_FORMAT, "%s: the file is empty", file);
  if (!status) {
    *bytes = (size_t)info.st_size;
    *data = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (*data == MAP_FAILED) status = qp_refuse(QPAL_E_IO, "%s: %s", file, strerror(errno));
  }
  close(fd);
  return status;
}

qpal_status qpal_library_open(const char *path, qpal_library **out) {
  if (!path || !out) return qp_refuse(QPAL_E_ARG, "%s is NULL", path ? "out" : "path");
  char *file = file_of(path);
  void *data = NULL;
  size_t bytes = 0;
  if (!file) return qp_refuse(QPAL_E_NOMEM, "no memory for a path");
  qpal_status status = map_file(file, &data, &bytes);
  if (!status) {
    qpal_library *l = NULL;
    status = qpal_library_from_memory(data, bytes, &l);
    if (status) {
      char why[1024];
      snprintf(why, sizeof why, "%s", qpal_message());
      munmap(data, bytes);
      status = qp_refuse(status, "%s: %s", file, why);
    } else {
      l->mapping = data;
      *out = l;
    }
  }
  free(file);
  return status;
}

void qpal_library_close(qpal_library *l) {
  if (!l) return;
  if (l->mapping) munmap(l->mapping, (size_t)l->bytes);
  free(l);
}
