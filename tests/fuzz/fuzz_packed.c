/* SPDX-License-Identifier: MIT */
/*
** Any bytes as packed weights.  An even first byte: the rest is the metadata 'quantization' of a
** file that is right otherwise (with its bit 1, the last three bytes change one of the order and
** scales of columns of t2); an odd one: the rest is the whole file.  It is refused with a message,
** or each linear of a library is asked for, by one rank and by each of two, and what is handed out
** lies inside of the file; an order leads each column to another place.
*/
#include "runtime/include/qpal.h"
#include "runtime/input_side.h"
#include "tests/fuzz/fuzz_kit.h"

/* Bytes of a linear of 32 x 128; of the side of t2's input: signs, an order, scales. */
enum { SCALES = 4 * 32, COLUMNS = 128, SIGNS = COLUMNS / 8, BOOK = 32, SIDE = SIGNS + 4 * COLUMNS };

static char path[64];
static qpal_library *library;
static uint64_t code_bytes;

static void forget(void) {
  unlink(path);
  qpal_library_close(library);
}

/* The linear t2, whose columns have an order and scales, as the second group. */
static void add_ordered(qp_library_writer *w, const qp_quantizer *q) {
  qp_error err = {.text = ""};
  uint32_t linear, problem;
  must(!qp_library_writer_linear(w, q, 32, COLUMNS, 0, QP_SIDE_FLAGS, &linear, &err));
  must(!qp_library_writer_problem(w, &linear, 1, COLUMNS, "tensor", &problem, &err));
  const qp_lib_group g = {.name = qp_library_writer_string(w, "g1"),
                          .path = qp_library_writer_string(w, "tensor"),
                          .problem = problem,
                          .tensor = {qp_library_writer_string(w, "t2")},
                          .single = {problem}};
  must(!qp_library_writer_group(w, &g, &err));
}

static void make_library(void) {
  static qp_quantizer quantizer;
  const qp_quantizer *const q[2] = {&quantizer, &quantizer};
  uint32_t both, alone[2];
  static uint64_t file[1 << 12]; /* is used where it lies, so it must stay */
  void *made = NULL;
  size_t bytes = 0;
  qp_error err = {.text = ""};
  quantizer = four_bits();
  qp_library_writer *w = qp_library_writer_new(13000, "m", "g");
  add_group(w, q, &both, alone);
  add_ordered(w, &quantizer);
  must(!qp_library_writer_finish(w, &made, &bytes, &err) && bytes <= sizeof file);
  memcpy(file, made, bytes);
  free(made);
  qp_library_writer_free(w);
  must(!qpal_library_from_memory(file, bytes, &library));
  qpal_linear_info info = {.size = sizeof info};
  must(!qpal_library_linear(library, 0, 0, &info) && info.parts == 1);
  code_bytes = info.part[0].code_bytes;
}

static void begin(void) {
  own_path(path, sizeof path, ".safetensors");
  make_library();
  atexit(forget);
}

/* As a string of JSON. */
static void add_text(FILE *to, const uint8_t *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] < 32 || text[i] == '"' || text[i] == '\\' || text[i] > 126)
      fprintf(to, "\\u%04x", text[i]);
    else
      fputc(text[i], to);
}

/* Signs as they come, columns in reverse order, scales of 1; one byte is changed. */
static void write_side(FILE *to, const uint8_t *change) {
  unsigned char side[SIDE] = {1, 2, 4};
  for (unsigned k = 0; k < COLUMNS; k++) {
    side[SIGNS + 2 * k] = (unsigned char)(COLUMNS - 1 - k);
    side[SIGNS + 2 * COLUMNS + 2 * k + 1] = 0x3c;
  }
  if (change) side[(change[0] | change[1] << 8) % SIDE] = change[2];
  if (!fwrite(side, sizeof side, 1, to)) abort();
}

/* What the text says of its version, since metadata that say another are refused; else the last. */
static char version_of(const uint8_t *text, size_t size) {
  static const char key[] = "\"version\":";
  const size_t n = sizeof key - 1;
  for (size_t i = 0; i + n < size; i++)
    if (!memcmp(text + i, key, n))
      return text[i + n] >= '1' && text[i + n] <= '6' ? (char)text[i + n] : '6';
  return '6';
}

/* All that t0 and t2 need is there, and t1 of two ranks, twice as many rows, so that metadata that
   are right reach the end. */
static void write_around(FILE *to, const uint8_t *text, size_t size, const uint8_t *change) {
  char *header = NULL;
  size_t length = 0;
  FILE *h = open_memstream(&header, &length);
  if (!h) abort();
  fprintf(h, "{\"__metadata__\":{\"format\":\"qpal-packed\",\"version\":\"%c\",",
          version_of(text, size));
  fputs("\"quantization\":\"", h);
  add_text(h, text, size);
  const unsigned long long a = code_bytes, b = a + SCALES, c = b + SIGNS, d = c + 32;
  const unsigned long long e = d + 2 * a, g = e + 2 * SCALES;
  fprintf(h,
          "\"},\"t0.codes.0\":{\"dtype\":\"U32\",\"shape\":[%llu],\"data_offsets\":[0,%llu]},"
          "\"t0.row_scales\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[%llu,%llu]},"
          "\"s\":{\"dtype\":\"U32\",\"shape\":[4],\"data_offsets\":[%llu,%llu]},"
          "\"t0.codebook.0.0\":{\"dtype\":\"F16\",\"shape\":[1,16],\"data_offsets\":[%llu,%llu]},"
          "\"t1.codes.0\":{\"dtype\":\"U32\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]},"
          "\"t1.row_scales\":{\"dtype\":\"F32\",\"shape\":[64],\"data_offsets\":[%llu,%llu]},"
          "\"t1.codebook.0.0\":{\"dtype\":\"F16\",\"shape\":[1,16],\"data_offsets\":[%llu,%llu]},",
          a / 4, a, a, b, b, c, c, d, a / 2, d, e, e, g, g, g + BOOK);
  const unsigned long long i = g + BOOK, j = i + a, k = j + SCALES, m = k + BOOK;
  fprintf(h,
          "\"t2.codes.0\":{\"dtype\":\"U32\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]},"
          "\"t2.row_scales\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[%llu,%llu]},"
          "\"t2.codebook.0.0\":{\"dtype\":\"F16\",\"shape\":[1,16],\"data_offsets\":[%llu,%llu]},"
          "\"x\":{\"dtype\":\"U32\",\"shape\":[%d],\"data_offsets\":[%llu,%llu]}}",
          a / 4, i, j, j, k, k, m, SIDE / 4, m, m + SIDE);
  if (fclose(h)) abort();
  const uint64_t bytes = length;
  if (!fwrite(&bytes, 8, 1, to) || !fwrite(header, length, 1, to)) abort();
  free(header);
  for (unsigned long long n = 0; n < m; n++) fputc((int)(n & 127), to);
  write_side(to, change);
}

static void walk(qpal_bytes b) { touch(b.data, (size_t)b.bytes); }

/* Every column of what a side says goes to a place of its own. */
static void check_order(const unsigned char *side) {
  unsigned seen[COLUMNS] = {0};
  for (unsigned k = 0; k < COLUMNS; k++) {
    const unsigned to = side[SIGNS + 2 * k] | (unsigned)side[SIGNS + 2 * k + 1] << 8;
    must(to < COLUMNS && !seen[to]++);
  }
}

static void ask_ordered(const qpal_packed *p) {
  qpal_packed_linear l = {.size = sizeof l};
  if (qpal_packed_find(p, library, 1, 0, &l)) {
    must(*qpal_message());
    return;
  }
  walk(l.scale), walk(l.signs), walk(l.part[0].codes), walk(l.part[0].codebook[0]);
  if (!l.signs.data) return; /* x is taken as it is */
  must(l.signs.bytes == SIDE);
  check_order(l.signs.data);
}

static void ask(const qpal_packed *p) {
  ask_ordered(p);
  for (unsigned m = 0; m < 2; m++) {
    qpal_packed_linear l = {.size = sizeof l};
    if (qpal_packed_find(p, library, 0, m, &l)) {
      if (!*qpal_message()) abort();
      continue;
    }
    if (l.parts != 1 || l.part[0].codes.bytes != code_bytes || l.scale.bytes != SCALES ||
        l.part[0].codebook[0].bytes != 32)
      abort();
    walk(l.scale), walk(l.signs), walk(l.part[0].codes), walk(l.part[0].codebook[0]);
  }
  qpal_tensor t = {.size = sizeof t};
  if (!qpal_packed_tensor(p, "s", &t)) walk(t.bytes);
}

static void write_metadata(FILE *to, const uint8_t *data, size_t size) {
  const bool changed = (data[0] & 2) && size > 4;
  write_around(to, data + 1, size - 1 - 3 * changed, changed ? data + size - 3 : NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!library) begin();
  if (!size) return 0;
  FILE *f = fopen(path, "wb");
  if (!f) abort();
  if (data[0] & 1)
    fwrite(data + 1, 1, size - 1, f);
  else
    write_metadata(f, data, size);
  if (fclose(f)) abort();
  qpal_packed *p = NULL;
  if (qpal_packed_open(path, &p)) {
    if (!strstr(qpal_message(), path)) abort();
    return 0;
  }
  ask(p);
  qpal_packed_close(p);
  for (unsigned rank = 0; rank < 2; rank++) {
    if (qpal_packed_open_rank(path, rank, 2, &p)) {
      if (!*qpal_message()) abort();
      continue;
    }
    ask(p);
    qpal_packed_close(p);
  }
  return 0;
}
