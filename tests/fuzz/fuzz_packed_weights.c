/* SPDX-License-Identifier: MIT */
/*
** Any text as the section 'quantization' of a packed folder whose tensors are right (linears l0 of
** int4-g128, l1 of q4_k, l2 of nuq-4; 32 x 128; an input's side with an order and scales): it is
** refused with a message, or every linear's rows are read, or refused.  No trellis, whose table
** takes seconds each time.
*/
#include "gen/base/json.h"
#include "gen/model/packed_weights.h"
#include "gen/model/tensor_writer.h"
#include "gen/spec/layout.h"
#include "tests/fuzz/fuzz_kit.h"

enum { ROWS = 32, COLUMNS = 128, LINEARS = 3, MOST = 1 << 14 };

static char folder[64], file[96];
static qp_palette *palette;
static qp_parallel *threads;
static const void *tensor_data[24]; /* NULL: zeros */
static size_t tensor_bytes[24], tensors;
static const char *const names[LINEARS] = {"int4-g128", "q4_k", "nuq-4"};

static void forget(void) {
  unlink(file);
  rmdir(folder);
  qp_palette_close(palette);
  qp_parallel_close(threads);
}

static void declare(qp_tensor_writer *w, const char *name, qp_tensor_type type, size_t bytes,
                    const void *data) {
  const uint64_t shape = bytes / qp_tensor_type_bytes(type);
  must(!qp_tensor_writer_declare(w, name, type, 1, &shape, NULL, NULL));
  must(tensors < sizeof tensor_bytes / sizeof *tensor_bytes);
  tensor_data[tensors] = data;
  tensor_bytes[tensors++] = bytes;
}

/* What check_codebooks of packed_weights.c asks for. */
static void declare_codebooks(qp_tensor_writer *w, const qp_quantizer *q) {
  char name[96];
  for (unsigned c = 0; c < q->codebooks; c++) {
    const qp_codebook *b = &q->codebook[c];
    if (b->scope != QP_SCOPE_SPEC) continue;
    snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
    declare(w, name, QP_TENSOR_F16, (size_t)2 * b->entries * b->dim, b->data);
  }
}

/* What take_part of packed_weights.c asks for, of linear 'i'. */
static void declare_linear(qp_tensor_writer *w, unsigned i) {
  const qp_quantizer *q = NULL;
  char name[64];
  must(!qp_palette_find(palette, names[i], &q, NULL));
  for (unsigned p = 0; p < qp_layout_ranges(q, 1); p++) {
    const qp_range r = qp_layout_range(q, COLUMNS, 1, p);
    qp_stream s;
    if (!r.columns) continue;
    must(!qp_layout_stream(r.quantizer, ROWS, r.columns, &s, NULL));
    snprintf(name, sizeof name, "l%u.codes.%u", i, p);
    declare(w, name, QP_TENSOR_U32, 4 * s.code_words, NULL);
    for (unsigned f = 0; f < s.arrays; f++) {
      snprintf(name, sizeof name, "l%u.field.%u.%u", i, p, f);
      declare(w, name, qp_layout_array_is_half(r.quantizer, f) ? QP_TENSOR_F16 : QP_TENSOR_U8,
              s.field_bytes[f], NULL);
    }
  }
  declare_codebooks(w, q);
  snprintf(name, sizeof name, "l%u.row_scales", i);
  declare(w, name, QP_TENSOR_F32, 4 * ROWS, NULL);
}

/* Columns in reverse order, scales of 1. */
static void make_side(uint16_t *side) {
  for (unsigned k = 0; k < COLUMNS; k++) {
    side[COLUMNS / 16 + k] = (uint16_t)(COLUMNS - 1 - k);
    side[COLUMNS / 16 + COLUMNS + k] = 0x3c00;
  }
}

static void fill(qp_tensor_writer *w) {
  static const unsigned char zeros[1 << 14];
  must(!qp_tensor_writer_start(w, NULL));
  for (size_t i = 0; i < tensors; i++) {
    const void *data = tensor_data[i] ? tensor_data[i] : zeros;
    must(tensor_data[i] || tensor_bytes[i] <= sizeof zeros);
    must(!qp_tensor_writer_write(w, i, 0, data, tensor_bytes[i], NULL));
  }
  must(!qp_tensor_writer_finish(w, NULL));
}

static void begin(void) {
  static uint16_t side[COLUMNS / 16 + 2 * COLUMNS];
  qp_tensor_writer *w = NULL;
  own_path(folder, sizeof folder, ".folder");
  must(snprintf(file, sizeof file, "%s/model.safetensors", folder) < (int)sizeof file);
  must(!qp_palette_open(&palette, NULL) && !qp_parallel_open(1, &threads, NULL));
  atexit(forget);
  must(!qp_tensor_writer_new(file, &w, NULL));
  for (unsigned i = 0; i < LINEARS; i++) declare_linear(w, i);
  make_side(side);
  declare(w, "signs", QP_TENSOR_U32, COLUMNS / 8, NULL);
  declare(w, "side", QP_TENSOR_U32, sizeof side, side);
  fill(w);
  qp_tensor_writer_free(w);
}

static void read_linear(qp_packed_weights *w, const qp_packed_entry *e) {
  const uint64_t rows = qp_packed_entry_rows(e), columns = qp_packed_entry_columns(e);
  qp_error err = {.text = ""};
  if (!rows || columns > MOST || rows > MOST || rows * columns > 1 << 20) return;
  float *out = malloc(rows * columns * sizeof *out);
  must(out != NULL);
  must(!qp_packed_weights_read(w, e, 0, rows, threads, out, &err) || *err.text);
  must(!qp_packed_weights_read(w, e, rows - 1, 1, threads, out, &err) || *err.text);
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qp_error err = {.text = ""};
  qp_packed_weights *w = NULL;
  cJSON *tree = NULL;
  if (!palette) begin();
  if (qp_json_parse("s.json", (const char *)data, size, &tree, &err)) return 0;
  if (qp_packed_weights_open(folder, tree, palette, &w, &err)) {
    must_name(&err, folder);
  } else {
    const cJSON *l;
    cJSON_ArrayForEach(l, cJSON_GetObjectItemCaseSensitive(tree, "linears")) {
      const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "name"));
      const qp_packed_entry *e = name ? qp_packed_weights_find(w, name) : NULL;
      must(e != NULL); /* all have names, and are found by them */
      read_linear(w, e);
    }
    qp_packed_weights_close(w);
  }
  cJSON_Delete(tree);
  return 0;
}
