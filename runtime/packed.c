/* SPDX-License-Identifier: MIT */
/* Opens packed weights:  safetensors of `qpal quantize` (PACKED.md) + library -> [pointers for
   upload]. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/checksums.h"
#include "runtime/half.h"
#include "runtime/input_side.h"
#include "runtime/library_state.h"
#include "runtime/packed_table.h"
#include "runtime/safetensors.h"
#include "runtime/sparse_entries.h"

enum { MOST_RANKS = 4096 };

/* ---- Opening ---- */

/* Wrong bytes are QP_E_ARG or QP_E_LIMIT inside. */
static qpal_status refuse(qp_status status, const qp_error *err) {
  return status == QP_E_ARG || status == QP_E_LIMIT ? qp_refuse(QPAL_E_FORMAT, "%s", err->text)
                                                    : qp_refuse_status(status, err);
}

/* Find the row scales of a linear, as many as it says it has rows.  NULL: there are none, which is
   told of when they are asked for. */
static qp_status find_scales(const qpal_packed *p, const qp_packed_linear *l, const qp_tensor **out,
                             qp_error *err) {
  char name[QP_PACKED_NAME + 64];
  snprintf(name, sizeof name, "%s.row_scales", l->name);
  const qp_tensor *t = *out = qp_safetensors_find(p->tensors, name);
  if (!t) return QP_OK;
  if (t->type != QP_TENSOR_F16 && t->type != QP_TENSOR_F32)
    return qp_fail(err, QP_E_ARG, "%s: tensor '%s' is of type %s; scales are F16 or F32", p->path,
                   name, qp_tensor_type_name(t->type));
  const size_t scales = t->bytes / qp_tensor_type_bytes(t->type);
  return l->rows == scales ? QP_OK
                           : qp_fail(err, QP_E_ARG, "%s: tensor '%s' holds %zu scales of %llu rows",
                                     p->path, name, scales, (unsigned long long)l->rows);
}

/* Row scales that are stored in fp16: kernels read fp32. */
static qp_status widen_scales(qp_packed_linear *l, const qp_tensor *t, qp_error *err) {
  if (!t || t->type != QP_TENSOR_F16) return QP_OK;
  const uint8_t *half = t->data;
  l->scale = malloc(sizeof *l->scale * l->rows + 1);
  if (!l->scale) return qp_packed_no_memory(err);
  for (size_t i = 0; i < l->rows; i++)
    l->scale[i] = qp_half_to_float((uint16_t)(half[2 * i] | half[2 * i + 1] << 8));
  return QP_OK;
}

/* A NaN or an infinity among them would be in every output. */
static qp_status check_scales(const qpal_packed *p, const qp_packed_linear *l, const qp_tensor *t,
                              qp_error *err) {
  for (size_t i = 0; t && i < l->rows; i++) {
    float scale;
    memcpy(&scale, l->scale ? (const void *)&l->scale[i] : t->data + 4 * i, sizeof scale);
    if (!isfinite(scale))
      return qp_fail(err, QP_E_ARG,
                     "%s: tensor '%s.row_scales' [%zu] is %g; scales should be finite", p->path,
                     l->name, i, (double)scale);
  }
  return QP_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const qp_packed_linear *)a)->name, ((const qp_packed_linear *)b)->name);
}

static bool is_cut(const qp_packed_linear *l, const char *way) { return !strcmp(l->split, way); }

/* The slices that ranks share are of whole row groups, or of columns that a stream may have. */
static qp_status check_slices(const qpal_packed *p, qp_error *err) {
  for (size_t i = 0; i < p->linears; i++) {
    const qp_packed_linear *l = &p->linear[i];
    const uint64_t of = is_cut(l, "columns") ? l->columns : l->rows, n = l->slices;
    if (*l->split && !is_cut(l, "columns") && !is_cut(l, "rows"))
      return qp_fail(err, QP_E_ARG, "%s: linear '%s': split '%s'; rows and columns are known",
                     p->path, l->name, l->split);
    if (*l->split && (!n || n > MOST_RANKS || of % (32 * n)))
      return qp_fail(err, QP_E_ARG,
                     "%s: linear '%s': slices: %llu; of its %llu %s each should have a multiple "
                     "of 32",
                     p->path, l->name, (unsigned long long)n, (unsigned long long)of, l->split);
  }
  return QP_OK;
}

/* An order and scales of columns lie in the tensor that 'signs' names. */
static qp_status check_sides(const qpal_packed *p, qp_error *err) {
  for (size_t i = 0; i < p->linears; i++) {
    const qp_packed_linear *l = &p->linear[i];
    if ((l->order || l->scaled) && !*l->signs)
      return qp_fail(err, QP_E_ARG,
                     "%s: linear '%s': field '%s', but 'signs' names no tensor that holds it",
                     p->path, l->name, l->order ? "order" : "scale");
  }
  return QP_OK;
}

/* Can so many ranks share it? */
static qp_status check_ranks(const qpal_packed *p, qp_error *err) {
  bool shared = p->size == 1;
  for (size_t i = 0; i < p->linears; i++) {
    const qp_packed_linear *l = &p->linear[i];
    const uint64_t n = l->slices;
    shared |= *l->split || strstr(l->name, ".experts.");
    if (!*l->split) continue;
    if ((n % p->size && p->size % n) || (is_cut(l, "columns") && n < p->size))
      return qp_fail(err, QP_E_ARG,
                     "linear '%s': its %s are in %llu slices, which %u ranks cannot share", l->name,
                     l->split, (unsigned long long)n, p->size);
  }
  return shared ? QP_OK
                : qp_fail(err, QP_E_ARG, "%s was packed for one rank, not %u (qpal quantize --tp)",
                          p->path, p->size);
}

qpal_status qpal_packed_open(const char *path, qpal_packed **out) {
  return qpal_packed_open_rank(path, 0, 1, out);
}

qpal_status qpal_packed_open_rank(const char *path, unsigned rank, unsigned size,
                                  qpal_packed **out) {
  qp_error err = {.text = ""};
  if (!path || !out) return qp_refuse(QPAL_E_ARG, "%s is NULL", path ? "out" : "path");
  if (rank >= size || size > MOST_RANKS)
    return qp_refuse(QPAL_E_ARG, "rank is %u of %u; 0 to size - 1 are possible, of at most %u",
                     rank, size, MOST_RANKS);
  qpal_packed *p = calloc(1, sizeof *p);
  if (!p) return qp_refuse(QPAL_E_NOMEM, "no memory for packed weights");
  p->rank = rank;
  p->size = size;
  qp_status status = (p->path = strdup(path)) ? QP_OK : qp_packed_no_memory(&err);
  if (!status) status = qp_safetensors_open(path, &p->tensors, &err);
  for (unsigned i = 0; !status && i < qp_safetensors_shards(p->tensors); i++)
    status = qp_packed_read_shard(p, i, &err);
  if (!status && p->linears) qsort(p->linear, p->linears, sizeof *p->linear, by_name);
  if (!status) status = check_slices(p, &err);
  if (!status) status = check_sides(p, &err);
  const bool whole = !status;
  if (!status) status = check_ranks(p, &err);
  if (status && whole && size > 1)
    return qpal_packed_close(p), qp_refuse(QPAL_E_ARG, "%s", err.text);
  for (size_t i = 0; !status && i < p->linears; i++) {
    const qp_tensor *scales;
    status = find_scales(p, &p->linear[i], &scales, &err);
    if (!status) status = widen_scales(&p->linear[i], scales, &err);
    if (!status) status = check_scales(p, &p->linear[i], scales, &err);
  }
  for (size_t i = 1; !status && i < p->linears; i++)
    if (!strcmp(p->linear[i - 1].name, p->linear[i].name))
      status = qp_fail(&err, QP_E_ARG, "%s: linear '%s' is there twice", path, p->linear[i].name);
  if (status) return qpal_packed_close(p), refuse(status, &err);
  *out = p;
  return QPAL_OK;
}

void qpal_packed_close(qpal_packed *p) {
  if (!p) return;
  if (p->tensors) qp_safetensors_close(p->tensors);
  for (size_t i = 0; i < p->linears; i++) free(p->linear[i].scale);
  free(p->quantizer);
  free(p->linear);
  free(p->path);
  free(p);
}

qpal_status qpal_packed_verify(const qpal_packed *p) {
  qp_error err = {.text = ""};
  if (!p) return qp_refuse(QPAL_E_ARG, "packed is NULL");
  if (!qp_safetensors_shards(p->tensors)) return qp_refuse(QPAL_E_FORMAT, "%s: no file", p->path);
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", qp_safetensors_shard_path(p->tensors, 0));
  char *slash = strrchr(folder, '/');
  snprintf(slash ? slash : folder, 2, "%s", slash ? "" : ".");
  const size_t n = strlen(p->path), tail = sizeof ".safetensors" - 1;
  const bool whole = n < tail || strcmp(p->path + n - tail, ".safetensors") != 0;
  const qp_status status = qp_checksums_verify(p->tensors, folder, whole, &err);
  return status == QP_E_MISSING ? qp_refuse(QPAL_E_FORMAT, "%s", err.text)
         : status               ? refuse(status, &err)
                                : QPAL_OK;
}

/* ---- Finding ---- */

/* The slices of a linear that this rank has: 'count' of as many equal ones, slice 'at' of them. */
typedef struct share {
  uint64_t count, at;
} share;

static bool by_rows(const qp_packed_linear *l) { return is_cut(l, "rows"); }
static bool by_columns(const qp_packed_linear *l) { return is_cut(l, "columns"); }

/* Of rows, several ranks have one slice where there are fewer of them. */
static share share_of(const qpal_packed *p, const qp_packed_linear *l) {
  if (!by_rows(l) && !by_columns(l)) return (share){1, 0};
  assert(p->size > 0 && l->slices > 0); /* check_slices */
  if (l->slices >= p->size) return (share){p->size, p->rank};
  return (share){l->slices, p->rank * l->slices / p->size};
}

/* The rank's slice of the bytes of "NAME.what": 'bytes' of them, as the library says. */
static qpal_status find_slice(const qpal_packed *p, const char *name, uint64_t bytes, share of,
                              qpal_bytes *out) {
  const qp_tensor *t = qp_safetensors_find(p->tensors, name);
  if (!t) return qp_refuse(QPAL_E_FORMAT, "packed weights: tensor '%s' is missing", name);
  if (t->bytes % of.count || t->bytes / of.count != bytes)
    return qp_refuse(QPAL_E_MISMATCH,
                     "packed weights: tensor '%s' has %llu bytes%s; the library's kernels read "
                     "%llu",
                     name, (unsigned long long)(t->bytes / of.count),
                     of.count > 1 ? " a slice" : "", (unsigned long long)bytes);
  *out = (qpal_bytes){t->data + bytes * of.at, bytes};
  return QPAL_OK;
}

/* Refuse a part whose sparse entries, which end its last array in each piece, are out of order. */
static qpal_status check_sparse(const qp_packed_linear *l, unsigned i, const qpal_linear_info *info,
                                const qpal_packed_part *own) {
  const qpal_part_info *part = qpal_linear_part(info, i);
  const uint64_t entries = l->part[i].sparse;
  char why[128];
  if (!entries) return QPAL_OK;
  if (!part->fields || entries > part->columns)
    return qp_refuse(QPAL_E_FORMAT, "linear '%s', part %u: sparse: %llu entries of %u columns",
                     l->name, i, (unsigned long long)entries, part->columns);
  const qpal_bytes array = own->field[part->fields - 1];
  for (unsigned n = 0; n < info->pieces; n++) {
    const qp_sparse_array a = {.data = (const uint8_t *)array.data + array.bytes / info->pieces * n,
                               .bytes = array.bytes / info->pieces,
                               .row_groups = (info->rows + 31) / 32,
                               .entries = entries,
                               .columns = part->columns};
    if (!qp_sparse_is_right(&a, why, sizeof why))
      return qp_refuse(QPAL_E_FORMAT, "tensor '%s.field.%u.%u': %s", l->name, l->part[i].number,
                       part->fields - 1, why);
  }
  return QPAL_OK;
}

/* A definition's codebook is the library's, which kernels read; codes made for another one
   would decode to other weights.  Where it lies in a file that is not open it is not compared. */
static qpal_status check_codebook(const qpal_packed *p, const qpal_library *library,
                                  const qp_lib_quantizer *q, unsigned c) {
  const qp_lib_codebook *own = QP_LIB_GET(library, CODEBOOKS, qp_lib_codebook, q->codebook[c]);
  char name[QP_PACKED_NAME + 64];
  if (own->scope) return QPAL_OK;
  snprintf(name, sizeof name, "%.255s.codebook.%u", qp_lib_string(library, q->name), c);
  const qp_tensor *t = qp_safetensors_find(p->tensors, name);
  const unsigned char *data = qp_lib_record(library, QP_LIB_DATA, 0);
  if (!t || (t->bytes == own->bytes && !memcmp(t->data, data + own->data, own->bytes)))
    return QPAL_OK;
  return qp_refuse(QPAL_E_MISMATCH,
                   "%s: tensor '%s' is not the codebook that the library's kernels read: it is "
                   "damaged, or the weights are another definition's",
                   qp_safetensors_shard_path(p->tensors, t->shard), name);
}

/* The codebooks of a part: of each that is stored with the linear its bytes. */
static qpal_status find_codebooks(const qpal_packed *p, const qpal_library *library,
                                  const qp_packed_linear *l, unsigned i, const qpal_part_info *part,
                                  qpal_packed_part *own) {
  const qp_lib_quantizer *q = QP_LIB_GET(library, QUANTIZERS, qp_lib_quantizer, part->quantizer);
  const share of = share_of(p, l);
  qpal_status status = QPAL_OK;
  char name[QP_PACKED_NAME + 64];
  for (unsigned c = 0; c < part->codebooks && !status; c++) {
    if (!part->codebook_bytes[c]) {
      status = check_codebook(p, library, q, c);
      continue;
    }
    snprintf(name, sizeof name, "%s.codebook.%u.%u", l->name, l->part[i].number, c);
    const qp_tensor *t = qp_safetensors_find(p->tensors, name);
    const bool whole = by_rows(l) && t && t->bytes == part->codebook_bytes[c]; /* all rows' */
    status =
        find_slice(p, name, part->codebook_bytes[c], whole ? (share){1, 0} : of, &own->codebook[c]);
  }
  return status;
}

static qpal_status find_part(const qpal_packed *p, const qpal_library *library,
                             const qp_packed_linear *l, unsigned i, const qpal_linear_info *info,
                             qpal_packed_linear *all) {
  const qpal_part_info *part = qpal_linear_part(info, i);
  qpal_packed_part *own = i < QPAL_MAX_PARTS ? &all->part[i] : &all->more[i - QPAL_MAX_PARTS];
  const share of = share_of(p, l);
  char name[QP_PACKED_NAME + 64];
  const unsigned number = l->part[i].number;
  if (l->part[i].column != part->column || l->part[i].columns != part->columns)
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s', part %u: columns %llu to %llu in the weights, %u to %u in the "
                     "library",
                     l->name, i, (unsigned long long)l->part[i].column,
                     (unsigned long long)l->part[i].column + l->part[i].columns, part->column,
                     part->column + part->columns);
  snprintf(name, sizeof name, "%s.codes.%u", l->name, number);
  qpal_status status = find_slice(p, name, part->code_bytes, of, &own->codes);
  for (unsigned f = 0; f < part->fields && !status; f++) {
    snprintf(name, sizeof name, "%s.field.%u.%u", l->name, number, f);
    status = find_slice(p, name, part->field_bytes[f], of, &own->field[f]);
  }
  if (!status) status = find_codebooks(p, library, l, i, part, own);
  if (!status) status = check_sparse(l, i, info, own);
  return status;
}

static unsigned side_flags(const qp_packed_linear *l) {
  return (l->order ? (unsigned)QP_SIDE_ORDER : 0) | (l->scaled ? (unsigned)QP_SIDE_SCALE : 0);
}

static qpal_status compare(const qpal_packed *p, const qp_packed_linear *l,
                           const qpal_linear_info *info, const qpal_quantizer_info *q) {
  const qp_packed_quantizer *own = qp_packed_find_quantizer(p, l->quantizer);
  if (!own)
    return qp_refuse(QPAL_E_FORMAT,
                     "packed weights: linear '%s' has quantizer '%s', which is not "
                     "described",
                     l->name, l->quantizer);
  if (strcmp(own->hash, q->hash) != 0)
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s': the weights were packed by quantizer %s with definition hash "
                     "%s; the library's kernels decode %s with %s",
                     l->name, own->name, own->hash, q->name, q->hash);
  if (own->layout != q->layout)
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s': layout version %llu in the weights, %u in the "
                     "library",
                     l->name, (unsigned long long)own->layout, q->layout);
  const uint64_t count = share_of(p, l).count;
  const uint64_t rows = by_rows(l) ? l->rows / count : l->rows;
  const uint64_t columns = by_columns(l) ? l->columns / count : l->columns;
  if (rows != info->rows || columns != info->columns || l->parts != info->parts)
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s': %llu x %llu in %u parts in the weights%s, %u x %u in %u in the "
                     "library",
                     l->name, (unsigned long long)rows, (unsigned long long)columns, l->parts,
                     count > 1 ? " of a rank" : "", info->rows, info->columns, info->parts);
  const uint64_t pieces = by_columns(l) ? l->slices / count : 1;
  const uint64_t block = l->rotation ? l->rotation : l->columns;
  const unsigned of_library = qp_side_block(info->rotation);
  const uint64_t known = of_library ? of_library : info->columns;
  if (*l->signs && side_flags(l) != (info->rotation & QP_SIDE_FLAGS))
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s': columns of x have%s order and%s scales in the weights, and%s "
                     "order and%s scales in the library",
                     l->name, l->order ? " an" : " no", l->scaled ? "" : " no",
                     qp_side_has_order(info->rotation) ? " an" : " no",
                     qp_side_has_scale(info->rotation) ? "" : " no");
  if (pieces != info->pieces || (*l->signs && block != known))
    return qp_refuse(QPAL_E_MISMATCH,
                     "linear '%s': %llu pieces of K, rotation in blocks of %llu in the weights; %u "
                     "and %llu in the library: export it for the ranks that they were packed for",
                     l->name, (unsigned long long)pieces, (unsigned long long)block, info->pieces,
                     (unsigned long long)known);
  return QPAL_OK;
}

static qpal_status check_side(const qp_packed_linear *l, const qpal_linear_info *info,
                              const void *side) {
  char why[96];
  if (qp_side_is_right(side, info->columns, info->rotation, why, sizeof why)) return QPAL_OK;
  return qp_refuse(QPAL_E_FORMAT, "tensor '%s': %s", l->signs, why);
}

static const qp_packed_linear *find_linear(const qpal_packed *p, const char *name) {
  qp_packed_linear key = {.rows = 0};
  if ((size_t)snprintf(key.name, sizeof key.name, "%s", name) >= sizeof key.name || !p->linears)
    return NULL;
  return bsearch(&key, p->linear, p->linears, sizeof *p->linear, by_name);
}

/* Write the name of a stack's tensor with the number of an expert; of QPAL_NONE it stays as it
   is. */
static qpal_status name_expert(const char *tensor, unsigned expert, char out[QP_PACKED_NAME]) {
  const char *star = strchr(tensor, '*');
  if (expert == QPAL_NONE) return snprintf(out, QP_PACKED_NAME, "%s", tensor), QPAL_OK;
  if (!star) return qp_refuse(QPAL_E_ARG, "linear '%s' is no stack of experts", tensor);
  snprintf(out, QP_PACKED_NAME, "%.*s%u%s", (int)(star - tensor), tensor, expert, star + 1);
  return QPAL_OK;
}

/* Members of a group take one x~, of the first's order and scales. */
static qpal_status check_shared(const qpal_packed *p, const qpal_library *library, unsigned group,
                                const qp_packed_linear *l) {
  qpal_linear_info first = {.size = sizeof first};
  const qpal_status status = qpal_library_linear(library, group, 0, &first);
  const qp_packed_linear *other = status ? NULL : find_linear(p, first.tensor);
  if (status || !other || !strcmp(other->signs, l->signs)) return status;
  return qp_refuse(QPAL_E_MISMATCH,
                   "linear '%s' has its columns in another order than '%s', with which it shares "
                   "a launch: export the library without fusion",
                   l->name, other->name);
}

static qpal_status find(const qpal_packed *p, const qpal_library *library, unsigned group,
                        unsigned member, unsigned expert, qpal_packed_linear *out) {
  qpal_linear_info info = {.size = sizeof info};
  qpal_group_info g = {.size = sizeof g};
  qpal_quantizer_info q = {.size = sizeof q};
  qpal_packed_linear own = {.size = sizeof own};
  char name[QP_PACKED_NAME + 64], tensor[QP_PACKED_NAME];
  if (!p) return qp_refuse(QPAL_E_ARG, "packed is NULL");
  qpal_status status = qpal_library_linear(library, group, member, &info);
  if (!status) status = qpal_library_group(library, group, &g);
  if (!status && info.quantizer == QPAL_NONE)
    return qp_refuse(QPAL_E_ARG, "linear '%s' stays in 16 bits: see qpal_packed_tensor",
                     info.tensor);
  if (!status) status = qpal_library_quantizer(library, info.quantizer, &q);
  if (!status) status = name_expert(info.tensor, expert, tensor);
  if (status) return status;
  const qp_packed_linear *l = find_linear(p, tensor);
  if (!l && g.block < 0) l = find_linear(p, "lm_head"); /* of a tied model also this */
  if (!l) return qp_refuse(QPAL_E_ARG, "the packed weights have no linear '%s'", tensor);
  status = compare(p, l, &info, &q);
  own.parts = info.parts;
  for (unsigned i = 0; i < info.parts && !status; i++)
    status = find_part(p, library, l, i, &info, &own);
  snprintf(name, sizeof name, "%s.row_scales", l->name);
  const share of = share_of(p, l), all = {1, 0};
  if (!status && l->scale)
    own.scale = (qpal_bytes){l->scale + (by_rows(l) ? info.rows * of.at : 0), 4ull * info.rows};
  else if (!status)
    status = find_slice(p, name, 4ull * info.rows, by_rows(l) ? of : all, &own.scale);
  if (!status && *l->signs)
    status = find_slice(p, l->signs, qp_side_bytes(info.columns, info.rotation),
                        by_columns(l) ? of : all, &own.signs);
  if (!status && side_flags(l)) status = check_side(l, &info, own.signs.data);
  if (!status && side_flags(l) && member) status = check_shared(p, library, group, l);
  if (status) return status;
  const size_t least = offsetof(qpal_packed_linear, more);
  if (out && out->size >= least && out->size < sizeof own && own.parts > QPAL_MAX_PARTS)
    return qp_lib_too_many_parts(info.tensor, own.parts, "qpal_packed_linear", out->size);
  return qp_give(out, &own, sizeof own, least, "qpal_packed_linear");
}

qpal_status qpal_packed_find(const qpal_packed *p, const qpal_library *library, unsigned group,
                             unsigned member, qpal_packed_linear *out) {
  return find(p, library, group, member, QPAL_NONE, out);
}

qpal_status qpal_packed_find_expert(const qpal_packed *p, const qpal_library *library,
                                    unsigned group, unsigned member, unsigned expert,
                                    qpal_packed_linear *out) {
  qpal_group_info g = {.size = sizeof g};
  qpal_linear_info info = {.size = sizeof info};
  char last[QP_PACKED_NAME];
  if (!p) return qp_refuse(QPAL_E_ARG, "packed is NULL");
  qpal_status status = qpal_library_group(library, group, &g);
  if (!status) status = qpal_library_linear(library, group, member, &info);
  if (status) return status;
  if (expert >= g.experts)
    return qp_refuse(QPAL_E_ARG, "expert %u: group '%s' has %u", expert, g.name, g.experts);
  const uint64_t all = (uint64_t)g.experts * p->size; /* of all ranks */
  if (all > UINT32_MAX)
    return qp_refuse(QPAL_E_MISMATCH, "group '%s': %u experts of each of %u ranks are too many",
                     g.name, g.experts, p->size);
  status = name_expert(info.tensor, (unsigned)(all - 1), last);
  const bool sliced = !status && p->size > 1 && find_linear(p, last);
  return status ? status
                : find(p, library, group, member, expert + (sliced ? p->rank * g.experts : 0), out);
}

/* The linear whose bias a tensor is, or NULL. */
static const qp_packed_linear *biased_by(const qpal_packed *p, const char *name) {
  static const char end[] = ".bias";
  char of[QP_PACKED_NAME];
  const size_t n = strlen(name), tail = sizeof end - 1;
  if (n <= tail || n >= sizeof of || strcmp(name + n - tail, end) != 0) return NULL;
  snprintf(of, sizeof of, "%.*s", (int)(n - tail), name);
  return find_linear(p, of);
}

qpal_status qpal_packed_tensor(const qpal_packed *p, const char *name, qpal_tensor *out) {
  if (!p || !name) return qp_refuse(QPAL_E_ARG, "%s is NULL", p ? "name" : "packed");
  const qp_tensor *t = qp_safetensors_find(p->tensors, name);
  const qp_packed_linear *l = p->size > 1 ? biased_by(p, name) : NULL;
  if (!t || (l && by_columns(l) && p->rank))
    return qp_refuse(QPAL_E_ARG, "the packed weights have no tensor '%s'%s", name,
                     t ? " but rank 0's, which adds it" : "");
  qpal_tensor own = {
      .bytes = {t->data, t->bytes}, .type = qp_tensor_type_name(t->type), .dims = t->dims};
  for (unsigned i = 0; i < t->dims && i < 8; i++) own.dim[i] = t->shape[i];
  if (l && by_rows(l)) {
    const share of = share_of(p, l);
    own.bytes.bytes /= of.count;
    own.bytes.data = t->data + own.bytes.bytes * of.at;
    own.dim[0] /= of.count;
  }
  return qp_give(out, &own, sizeof own, sizeof own, "qpal_tensor");
}
