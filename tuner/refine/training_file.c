/* SPDX-License-Identifier: MIT */
/* Keeps pieces of memory in a file, as training_file.h describes. */
#include "tuner/refine/training_file.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "gen/base/file.h"

/* What stands before the pieces. */
typedef struct head {
  uint64_t key, checksum; /* of the pieces */
} head;

static size_t size_of(const qp_training_piece *piece, size_t pieces) {
  size_t all = sizeof(head);
  for (size_t i = 0; i < pieces; i++) all += piece[i].bytes;
  return all;
}

qp_status qp_training_file_write(const char *file, uint64_t key, const qp_training_piece *piece,
                                 size_t pieces, qp_error *err) {
  const size_t all = size_of(piece, pieces);
  char *text = calloc(1, all), *at = text;
  if (!text) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  at += sizeof(head);
  for (size_t i = 0; i < pieces; at += piece[i++].bytes) memcpy(at, piece[i].data, piece[i].bytes);
  const head h = {key, XXH3_64bits(text + sizeof h, all - sizeof h)};
  memcpy(text, &h, sizeof h);
  const qp_status status = qp_file_write(file, text, all, err);
  free(text);
  return status;
}

bool qp_training_file_read(const char *file, uint64_t key, const qp_training_piece *piece,
                           size_t pieces) {
  const size_t all = size_of(piece, pieces);
  char *text = NULL;
  size_t bytes = 0;
  qp_error why = {{0}};
  if (qp_file_read(file, all, &text, &bytes, &why)) return false;
  head h = {0};
  if (bytes == all) memcpy(&h, text, sizeof h);
  const bool ours = bytes == all && h.key == key &&
                    h.checksum == XXH3_64bits(text + sizeof h, all - sizeof h);
  const char *at = text + sizeof h;
  for (size_t i = 0; i < pieces && ours; at += piece[i++].bytes)
    memcpy(piece[i].data, at, piece[i].bytes);
  free(text);
  return ours;
}
