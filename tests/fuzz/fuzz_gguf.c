/* SPDX-License-Identifier: MIT */
/* Any bytes as a GGUF: refused with a message that names the file, or every weight can be read. */
#include "gen/model/checkpoint.h"
#include "gen/model/gguf.h"
#include "gen/model/gguf_names.h"
#include "tests/fuzz/fuzz_kit.h"

enum { MOST_WEIGHTS = 1 << 16 };

static char path[64];
static qp_models *models;

static void remove_file(void) { unlink(path); }

static void begin(void) {
  qp_error err = {.text = ""};
  own_path(path, sizeof path, ".gguf");
  if (qp_models_open(&models, &err) != QP_OK) abort();
  atexit(remove_file);
}

/* Every row once, in fp32 and as a tensor that is kept. */
static void read_tensor(const qp_checkpoint *c, const qp_source_tensor *t, float *out,
                        unsigned char *kept) {
  qp_error err = {.text = ""};
  if (t->columns > MOST_WEIGHTS) return;
  for (uint64_t r = 0; r < t->rows && r < 64 && t->columns; r++) {
    if (qp_checkpoint_read(c, t, r, 1, out, &err) != QP_OK) abort();
    if (qp_checkpoint_keep(c, t, r, 1, kept, &err) != QP_OK) abort();
  }
  if (t->rows && t->columns && qp_checkpoint_read(c, t, t->rows - 1, 1, out, &err) != QP_OK)
    abort();
  qp_checkpoint_release(c, t);
}

static void read_all(const qp_checkpoint *c) {
  float *out = malloc(sizeof *out * MOST_WEIGHTS);
  unsigned char *kept = malloc(sizeof *out * MOST_WEIGHTS);
  for (size_t i = 0; out && kept && i < qp_checkpoint_count(c); i++) {
    const qp_source_tensor *t = qp_checkpoint_get(c, i);
    if (qp_checkpoint_find(c, t->name) != t) abort();
    read_tensor(c, t, out, kept);
  }
  free(out);
  free(kept);
}

/* As a file of a whole model: with its metadata, names and what a converter did. */
static void open_file(const uint8_t *data, size_t size) {
  qp_error err = {.text = ""};
  qp_checkpoint *c;
  write_bytes(path, data, size);
  if (qp_checkpoint_open(path, models, &c, &err) != QP_OK) {
    must_name(&err, path);
    return;
  }
  read_all(c);
  qp_checkpoint_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!models) begin();
  qp_error err = {.text = ""};
  qp_gguf *g;
  if (qp_gguf_parse("f.gguf", data, size, &g, &err) != QP_OK) {
    must_name(&err, "f.gguf");
    return 0;
  }
  for (size_t i = 0; i < qp_gguf_count(g); i++) {
    const qp_gguf_tensor *t = qp_gguf_get(g, i);
    if (t->type && (t->data < data || t->bytes > (size_t)(data + size - t->data))) abort();
    if (qp_gguf_find(g, t->name) != t) abort();
  }
  qp_gguf_close(g);
  open_file(data, size);
  return 0;
}
