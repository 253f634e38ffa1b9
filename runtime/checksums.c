/* SPDX-License-Identifier: MIT */
/* Compares the checksums of packed weights. */
#include "runtime/checksums.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/json_scan.h"

typedef struct comparison {
  const qp_safetensors *s;
  const char *file;
  bool whole;
  bool *seen; /* [tensors] */
  qp_error *err;
} comparison;

static size_t place_of(const comparison *c, const qp_tensor *t) {
  return (size_t)(t - qp_safetensors_get(c->s, 0));
}

static qp_status compare(comparison *c, const char *name, const char *wanted) {
  const qp_tensor *t = qp_safetensors_find(c->s, name);
  char found[17];
  if (!t && !c->whole) return QP_OK;
  if (!t) return qp_fail(c->err, QP_E_ARG, "%s: tensor '%s' is missing", c->file, name);
  if (c->seen[place_of(c, t)])
    return qp_fail(c->err, QP_E_ARG, "%s: tensor '%s' is there twice", c->file, name);
  c->seen[place_of(c, t)] = true;
  snprintf(found, sizeof found, "%016" PRIx64, (uint64_t)XXH3_64bits(t->data, t->bytes));
  qp_safetensors_release(c->s, t);
  if (!strcmp(found, wanted)) return QP_OK;
  return qp_fail(
      c->err, QP_E_ARG,
      "%s: tensor '%s' has the checksum %s, %.40s is right: it is damaged, or of another "
      "run",
      qp_safetensors_shard_path(c->s, t->shard), name, found, wanted);
}

static qp_status read_tensors(comparison *c, qp_json_scan *scan) {
  char name[QP_JSON_SCAN_KEY], wanted[64];
  bool more = false;
  qp_status status = qp_json_scan_open(scan, '{');
  while (!status && !(status = qp_json_scan_key(scan, name, &more)) && more) {
    status = qp_json_scan_text(scan, wanted, sizeof wanted);
    if (!status) status = compare(c, name, wanted);
  }
  return status;
}

static qp_status read_file(comparison *c, const qp_map *map) {
  qp_json_scan scan;
  char key[QP_JSON_SCAN_KEY], algorithm[32] = "";
  bool more = false;
  qp_json_scan_begin(&scan, c->file, (const char *)map->data, map->bytes, c->err);
  qp_status status = qp_json_scan_open(&scan, '{');
  while (!status && !(status = qp_json_scan_key(&scan, key, &more)) && more) {
    if (!strcmp(key, "algorithm"))
      status = qp_json_scan_text(&scan, algorithm, sizeof algorithm);
    else if (!strcmp(key, "tensors") && strcmp(algorithm, QP_CHECKSUMS_ALGORITHM) != 0)
      status = qp_json_scan_fail(
          &scan, QP_E_ARG, "field 'algorithm' should stand before and be " QP_CHECKSUMS_ALGORITHM);
    else if (!strcmp(key, "tensors"))
      status = read_tensors(c, &scan);
    else
      status = qp_json_scan_skip(&scan, NULL, NULL);
  }
  return status ? status : qp_json_scan_end(&scan);
}

static qp_status check_seen(const comparison *c) {
  for (size_t i = 0; i < qp_safetensors_count(c->s); i++)
    if (!c->seen[i])
      return qp_fail(c->err, QP_E_ARG, "%s: tensor '%s' has no checksum", c->file,
                     qp_safetensors_get(c->s, i)->name);
  return QP_OK;
}

qp_status qp_checksums_verify(const qp_safetensors *s, const char *folder, bool whole,
                              qp_error *err) {
  char file[4096];
  qp_map map;
  if (snprintf(file, sizeof file, "%s/" QP_CHECKSUMS_FILE, folder) >= (int)sizeof file)
    return qp_fail(err, QP_E_ARG, "%.60s...: the path is too long", folder);
  if (access(file, F_OK) != 0)
    return qp_fail(err, QP_E_MISSING,
                   "%s: is missing: an older qpal wrote the weights; qpal quantize, given the same "
                   "command again, adds it",
                   file);
  qp_status status = qp_map_open(file, &map, err);
  if (status) return status;
  comparison c = {.s = s, .file = file, .whole = whole, .err = err};
  c.seen = calloc(qp_safetensors_count(s) + 1, sizeof *c.seen);
  if (!c.seen) status = qp_fail(err, QP_E_NOMEM, "no memory for a list of tensors");
  if (!status) status = read_file(&c, &map);
  if (!status) status = check_seen(&c);
  free(c.seen);
  qp_map_close(&map);
  return status;
}
