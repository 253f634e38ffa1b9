/* SPDX-License-Identifier: MIT */
/* Pieces of memory in a file: see training_file.h. */
#include "tuner/refine/training_file.h"

#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"

static size_t size_of(const qp_training_piece *piece, size_t pieces) {
  size_t all = sizeof(uint64_t);
  for (size_t i = 0; i < pieces; i++) all += piece[i].bytes;
  return all;
}

qp_status qp_training_file_write(const char *file, uint64_t key, const qp_training_piece *piece,
                                 size_t pieces, qp_error *err) {
  const size_t all = size_of(piece, pieces);
  char *text = malloc(all), *at = text;
  if (!text) return qp_fail(err, QP_E_NOMEM, "%s: no memory", file);
  memcpy(at, &key, sizeof key);
  at += sizeof key;
  for (size_t i = 0; i < pieces; at += piece[i++].bytes) memcpy(at, piece[i].data, piece[i].bytes);
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
  const bool ours = bytes == all && !memcmp(text, &key, sizeof key);
  const char *at = text + sizeof key;
  for (size_t i = 0; i < pieces && ours; at += piece[i++].bytes)
    memcpy(piece[i].data, at, piece[i].bytes);
  free(text);
  return ours;
}
