/* SPDX-License-Identifier: MIT */
/* Copies tokenizer and settings of generation:  folder of a checkpoint -> folder of packed weights.
   */
#include "tuner/quantize/companions.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "runtime/regular_file.h"

enum { MOST_BYTES = 1 << 28 };

/* The names that transformers and sentencepiece give them. */
static const char *const names[] = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "tokenizer.model",
                                    "vocab.json",
                                    "vocab.txt",
                                    "merges.txt",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "generation_config.json"};

static qp_status copy(const char *from, const char *to, qp_error *err) {
  char *text = NULL;
  size_t bytes = 0;
  qp_status status = qp_file_read(from, MOST_BYTES, &text, &bytes, err);
  if (!status) status = qp_file_write(to, text, bytes, err);
  free(text);
  return status;
}

static qp_status check(const char *from, qp_error *err) {
  struct stat at;
  int file = -1;
  const qp_status status = qp_regular_file_open(from, O_RDONLY, &file, err);
  if (status) return status;
  const bool fits = fstat(file, &at) == 0 && at.st_size <= MOST_BYTES;
  close(file);
  return fits ? QP_OK : qp_fail(err, QP_E_LIMIT, "%s: is larger than %d bytes", from, MOST_BYTES);
}

/* Copy each that is there to 'folder', or, where that is NULL, check it. */
static qp_status for_each(const char *checkpoint, const char *folder, qp_error *err) {
  struct stat at;
  char from[4096], to[4096];
  const bool is_folder = stat(checkpoint, &at) == 0 && S_ISDIR(at.st_mode);
  const char *slash = strrchr(checkpoint, '/');
  const size_t n = strlen(checkpoint);
  const int length = is_folder ? (int)n : slash ? (int)(slash - checkpoint) : 0;
  const char *base = length || slash ? checkpoint : ".";
  qp_status status = QP_OK;
  if (n > 5 && !strcmp(checkpoint + n - 5, ".gguf")) return QP_OK;
  for (size_t i = 0; i < sizeof names / sizeof *names && !status; i++) {
    const int a = snprintf(from, sizeof from, "%.*s/%s", length ? length : 1, base, names[i]);
    const int b = snprintf(to, sizeof to, "%s/%s", folder ? folder : "", names[i]);
    if (a >= (int)sizeof from || b >= (int)sizeof to)
      return qp_fail(err, QP_E_LIMIT, "%s: the path is too long", folder ? folder : checkpoint);
    if (access(from, F_OK) == 0) status = folder ? copy(from, to, err) : check(from, err);
  }
  return status;
}

qp_status qp_companions_copy(const char *checkpoint, const char *folder, qp_error *err) {
  return for_each(checkpoint, folder, err);
}

qp_status qp_companions_check(const char *checkpoint, qp_error *err) {
  return for_each(checkpoint, NULL, err);
}
