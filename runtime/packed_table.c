/* SPDX-License-Identifier: MIT */
/* Reads the section 'quantization' of a shard's metadata. */
#include "runtime/packed_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/input_side.h"
#include "runtime/json_scan.h"
#include "runtime/packed_version.h"

/* Add a further element to a growing array, zeroed.  NULL: no memory. */
static void *grow(void **array, size_t *count, size_t bytes) {
  if (!(*count & (*count + 1)) || !*array) { /* full at 0, 1, 3, 7, ... */
    char *more = realloc(*array, (2 * *count + 1) * bytes);
    if (!more) return NULL;
    *array = more;
  }
  void *last = (char *)*array + (*count)++ * bytes;
  memset(last, 0, bytes);
  return last;
}

qp_status qp_packed_no_memory(qp_error *err) {
  return qp_fail(err, QP_E_NOMEM, "no memory for the table of packed weights");
}

qp_packed_quantizer *qp_packed_find_quantizer(const qpal_packed *p, const char *name) {
  for (size_t i = 0; i < p->quantizers; i++)
    if (!strcmp(p->quantizer[i].name, name)) return &p->quantizer[i];
  return NULL;
}

/* {"hash": ..., "layout": 1, ...}; every shard must say the same of a quantizer. */
static qp_status read_quantizer(qpal_packed *p, qp_json_scan *s, const char *name) {
  qp_packed_quantizer q = {.layout = 0};
  char key[QP_JSON_SCAN_KEY];
  bool more = false;
  if ((size_t)snprintf(q.name, sizeof q.name, "%s", name) >= sizeof q.name)
    return qp_json_scan_fail(s, QP_E_ARG, "the quantizer's name is too long");
  qp_status status = qp_json_scan_open(s, '{');
  while (!status && !(status = qp_json_scan_key(s, key, &more)) && more) {
    if (!strcmp(key, "hash"))
      status = qp_json_scan_text(s, q.hash, sizeof q.hash);
    else if (!strcmp(key, "layout"))
      status = qp_json_scan_unsigned(s, &q.layout);
    else
      status = qp_json_scan_skip(s, NULL, NULL);
  }
  if (status) return status;
  const qp_packed_quantizer *known = qp_packed_find_quantizer(p, name);
  if (known && (strcmp(known->hash, q.hash) != 0 || known->layout != q.layout))
    return qp_json_scan_fail(s, QP_E_ARG, "another shard says otherwise of this quantizer");
  if (known) return QP_OK;
  void *array = p->quantizer;
  qp_packed_quantizer *to = grow(&array, &p->quantizers, sizeof *to);
  p->quantizer = array;
  if (!to) return qp_packed_no_memory(s->err);
  *to = q;
  return QP_OK;
}

static qp_status read_quantizers(qpal_packed *p, qp_json_scan *s) {
  char key[QP_JSON_SCAN_KEY];
  bool more = false;
  qp_status status = qp_json_scan_open(s, '{');
  while (!status && !(status = qp_json_scan_key(s, key, &more)) && more)
    status = read_quantizer(p, s, key);
  return status;
}

static qp_status read_part(qp_json_scan *s, qp_packed_linear *l) {
  char key[QP_JSON_SCAN_KEY];
  bool more = false;
  if (l->listed == sizeof l->part / sizeof *l->part)
    return qp_json_scan_fail(s, QP_E_ARG, "more than 16 parts");
  const unsigned i = l->parts;
  l->part[i].columns = l->part[i].sparse = 0;
  l->part[i].number = l->listed++;
  qp_status status = qp_json_scan_open(s, '{');
  while (!status && !(status = qp_json_scan_key(s, key, &more)) && more) {
    if (!strcmp(key, "column"))
      status = qp_json_scan_unsigned(s, &l->part[i].column);
    else if (!strcmp(key, "columns"))
      status = qp_json_scan_unsigned(s, &l->part[i].columns);
    else if (!strcmp(key, "sparse"))
      status = qp_json_scan_unsigned(s, &l->part[i].sparse);
    else
      status = qp_json_scan_skip(s, NULL, NULL);
  }
  if (!status && l->part[i].columns) l->parts++;
  return status;
}

static qp_status read_parts(qp_json_scan *s, qp_packed_linear *l) {
  bool more = false;
  qp_status status = qp_json_scan_open(s, '[');
  while (!status && !(status = qp_json_scan_item(s, &more)) && more) status = read_part(s, l);
  return status;
}

static qp_status read_linear(qpal_packed *p, qp_json_scan *s) {
  char key[QP_JSON_SCAN_KEY];
  bool more = false;
  void *array = p->linear;
  qp_packed_linear *l = grow(&array, &p->linears, sizeof *l);
  p->linear = array;
  if (!l) return qp_packed_no_memory(s->err);
  qp_status status = qp_json_scan_open(s, '{');
  while (!status && !(status = qp_json_scan_key(s, key, &more)) && more) {
    if (!strcmp(key, "name"))
      status = qp_json_scan_text(s, l->name, sizeof l->name);
    else if (!strcmp(key, "quantizer"))
      status = qp_json_scan_text(s, l->quantizer, sizeof l->quantizer);
    else if (!strcmp(key, "rows"))
      status = qp_json_scan_unsigned(s, &l->rows);
    else if (!strcmp(key, "columns"))
      status = qp_json_scan_unsigned(s, &l->columns);
    else if (!strcmp(key, "signs") && qp_json_scan_peek(s) != QP_JSON_NULL)
      status = qp_json_scan_text(s, l->signs, sizeof l->signs);
    else if (!strcmp(key, "rotation"))
      status = qp_json_scan_unsigned(s, &l->rotation);
    else if (!strcmp(key, "order"))
      status = qp_json_scan_boolean(s, &l->order);
    else if (!strcmp(key, "scale"))
      status = qp_json_scan_boolean(s, &l->scaled);
    else if (!strcmp(key, "split"))
      status = qp_json_scan_text(s, l->split, sizeof l->split);
    else if (!strcmp(key, "slices"))
      status = qp_json_scan_unsigned(s, &l->slices);
    else if (!strcmp(key, "parts"))
      status = read_parts(s, l);
    else
      status = qp_json_scan_skip(s, NULL, NULL);
  }
  return status;
}

static qp_status read_linears(qpal_packed *p, qp_json_scan *s) {
  bool more = false;
  qp_status status = qp_json_scan_open(s, '[');
  while (!status && !(status = qp_json_scan_item(s, &more)) && more) status = read_linear(p, s);
  return status;
}

/* Refuse a linear that has what its file's version does not have. */
static qp_status check_version(const qp_packed_linear *l, const char *file, unsigned version,
                               qp_error *err) {
  qp_packed_extras extras = {.rotation = l->rotation > 0,
                             .split = *l->split || l->slices,
                             .order = l->order,
                             .scale = l->scaled,
                             .parts = l->listed};
  const char *field;
  for (unsigned i = 0; i < l->parts; i++) extras.sparse |= l->part[i].sparse > 0;
  const unsigned needed = qp_packed_version(&extras, &field);
  if (needed <= version || !*field) return QP_OK;
  return qp_fail(err, QP_E_ARG,
                 "%s: linear '%s': field '%s' is of packed weights of version %u and later; the "
                 "file says version %u",
                 file, l->name, field, needed, version);
}

/* 'of_file': the version that the file's metadata say beside the section. */
static qp_status read_section(qpal_packed *p, const char *file, const char *text, unsigned of_file,
                              qp_error *err) {
  qp_json_scan s;
  char key[QP_JSON_SCAN_KEY];
  bool more = false;
  uint64_t version = of_file;
  const size_t known = p->linears;
  qp_json_scan_begin(&s, file, text, strlen(text), err);
  qp_status status = qp_json_scan_open(&s, '{');
  while (!status && !(status = qp_json_scan_key(&s, key, &more)) && more) {
    if (!strcmp(key, "quantizers"))
      status = read_quantizers(p, &s);
    else if (!strcmp(key, "linears"))
      status = read_linears(p, &s);
    else if (!strcmp(key, "version"))
      status = qp_json_scan_unsigned(&s, &version);
    else
      status = qp_json_scan_skip(&s, NULL, NULL);
  }
  if (!status) status = qp_json_scan_end(&s);
  if (!status && version != of_file)
    status = qp_fail(err, QP_E_ARG, "%s: field 'version': %llu; the metadata 'version' is %u", file,
                     (unsigned long long)version, of_file);
  for (size_t i = known; i < p->linears && !status; i++)
    status = check_version(&p->linear[i], file, of_file, err);
  return status;
}

/* Shards of one run have one 'job': weights of another have other signs, scales and codebooks. */
static qp_status check_job(const qpal_packed *p, unsigned shard, qp_error *err) {
  const char *first = qp_safetensors_metadata(p->tensors, 0, "job");
  const char *job = qp_safetensors_metadata(p->tensors, shard, "job");
  if (!first && !job) return QP_OK;
  if (first && job && !strcmp(first, job)) return QP_OK;
  return qp_fail(
      err, QP_E_ARG,
      "%s: metadata 'job' is '%.40s', that of %s is '%.40s': the shards are of different "
      "runs of qpal quantize",
      qp_safetensors_shard_path(p->tensors, shard), job ? job : "",
      qp_safetensors_shard_path(p->tensors, 0), first ? first : "");
}

qp_status qp_packed_read_shard(qpal_packed *p, unsigned shard, qp_error *err) {
  const char *file = qp_safetensors_shard_path(p->tensors, shard);
  const char *format = qp_safetensors_metadata(p->tensors, shard, "format");
  const char *version = qp_safetensors_metadata(p->tensors, shard, "version");
  const char *text = qp_safetensors_metadata(p->tensors, shard, "quantization");
  char where[600];
  if (!format || strcmp(format, "qpal-packed") != 0)
    return qp_fail(err, QP_E_ARG,
                   "%s: metadata 'format' is '%.40s'; packed weights of qpal quantize say "
                   "'qpal-packed'",
                   file, format ? format : "");
  if (!version || strlen(version) != 1 || *version < '0' + QP_PACKED_FIRST ||
      *version > '0' + QP_PACKED_LAST)
    return qp_fail(err, QP_E_ARG,
                   "%s: packed weights of version '%.40s'; this libqpal reads versions %d to %d",
                   file, version ? version : "", QP_PACKED_FIRST, QP_PACKED_LAST);
  qp_status status = check_job(p, shard, err);
  if (status) return status;
  snprintf(where, sizeof where, "%.500s: metadata 'quantization'", file);
  if (!text) return QP_OK; /* a shard may hold no linear */
  return read_section(p, where, text, (unsigned)(*version - '0'), err);
}
