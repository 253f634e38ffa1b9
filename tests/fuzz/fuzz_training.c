/* SPDX-License-Identifier: MIT */
/*
** Any bytes as what a training of factors goes on from.  An odd first byte: its checksum is put
** right, so that the rest counts.  Nothing is taken, and all is as it was; or all of it is, and
** written again it is the same file.
*/
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/fuzz/fuzz_kit.h"
#include "tuner/refine/training_file.h"

enum { HEAD = 16, FIRST = 24, SECOND = 7, KEY = 5, BEFORE = 0x5a };

static char path[64];

static void forget(void) { unlink(path); }

static void put_right(uint8_t *file, size_t size) {
  const uint64_t head[2] = {KEY, XXH3_64bits(file + HEAD, size - HEAD)};
  memcpy(file, head, sizeof head);
}

static void must_be(const char *file, const uint8_t *bytes, size_t size) {
  uint8_t read_back[HEAD + FIRST + SECOND + 1];
  FILE *f = fopen(file, "rb");
  must(f && fread(read_back, 1, sizeof read_back, f) == size);
  must(!memcmp(read_back, bytes, size));
  fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t first[FIRST], second[SECOND], was[FIRST];
  const qp_training_piece piece[2] = {{first, FIRST}, {second, SECOND}};
  qp_error err = {.text = ""};
  if (!*path) {
    own_path(path, sizeof path, ".training");
    atexit(forget);
  }
  if (!size) return 0;
  uint8_t *file = malloc(size);
  must(file != NULL);
  memcpy(file, data + 1, --size);
  if ((data[0] & 1) && size >= HEAD) put_right(file, size);
  write_bytes(path, file, size);
  memset(first, BEFORE, FIRST), memset(was, BEFORE, FIRST), memset(second, BEFORE, SECOND);
  if (!qp_training_file_read(path, KEY, piece, 2)) {
    must(!memcmp(first, was, FIRST) && !memcmp(second, was, SECOND));
  } else {
    must(size == HEAD + FIRST + SECOND && !memcmp(first, file + HEAD, FIRST));
    must(!memcmp(second, file + HEAD + FIRST, SECOND));
    must(!qp_training_file_write(path, KEY, piece, 2, &err));
    must_be(path, file, size);
  }
  free(file);
  return 0;
}
