/* SPDX-License-Identifier: MIT */
/*
** Any bytes as packed weights of others: a line that is config.json, a line that is the header of a
** .safetensors file, then its data, repeated or cut to the length that the header says.  They are
** refused with a message that names a file, or every row is read, and codes and numbers that import
** keeps give the values that are read.
*/
#include <math.h>

#include "gen/base/json.h"
#include "gen/packings/packing.h"
#include "tests/fuzz/fuzz_kit.h"

enum { MOST_DATA = 1 << 16, MOST_COLUMNS = 1 << 12, MOST_ROWS = 64, MOST_TENSORS = 256 };

static const char config_name[] = "f/config.json", file_name[] = "f.safetensors";

/* The largest number behind "data_offsets":[a, of a header. */
static size_t data_bytes(const char *header) {
  static const char field[] = "\"data_offsets\":[";
  size_t most = 0;
  for (const char *at = strstr(header, field); at; at = strstr(at + 1, field)) {
    char *end;
    strtoull(at + sizeof field - 1, &end, 10);
    const unsigned long long n = *end == ',' ? strtoull(end + 1, NULL, 10) : 0;
    if (n > most && n <= MOST_DATA) most = n;
  }
  return most;
}

/* A file of this header, with 'size' bytes of 'data' over and over. */
static unsigned char *make_file(const char *header, const uint8_t *data, size_t size,
                                size_t *bytes) {
  const uint64_t length = strlen(header);
  const size_t behind = data_bytes(header);
  unsigned char *file = malloc(8 + length + behind);
  must(file != NULL);
  memcpy(file, &length, 8);
  memcpy(file + 8, header, length);
  for (size_t i = 0; i < behind; i++) file[8 + length + i] = size ? data[i % size] : 0;
  *bytes = 8 + length + behind;
  return file;
}

static bool same(float a, float b) { return isnan(a) ? isnan(b) : !memcmp(&a, &b, sizeof a); }

/* Do a weight's code and numbers make it by integers, or by an exponent?  What import keeps of
   other formats goes through tables and products of its quantizers, where import compares them. */
static bool is_integer(const qp_packing *p) {
  static const char *const names[] = {"GPTQ", "AWQ", "pack-quantized"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strncmp(p->kind->name, names[i], strlen(names[i]))) return true;
  return false;
}

/* What import keeps of a weight is the weight. */
static void keep(const qp_packing *p, uint64_t row, const float *values) {
  const qp_packing_codes *codes = p->kind->codes;
  const bool floats = !strcmp(p->kind->name, "MXFP4");
  char name[64] = "", why[256] = "";
  if (!codes) return;
  if (!codes->quantizer(p, name, why)) {
    must(*why != 0);
    return;
  }
  must(*name != 0);
  for (uint64_t k = 0; k < p->columns; k++) {
    const uint32_t code = codes->code(p, row, k);
    const float first = codes->number(p, row, k, floats ? "exponent" : "scale"),
                zero = floats ? 0 : codes->number(p, row, k, "zero"),
                value = floats ? ldexpf(qp_fp4(code), (int)first - 127)
                               : ((float)code - zero) * first;
    if (!floats && !is_integer(p)) continue;
    if (floats && first == 255) continue; /* the formats differ there, and import refuses it */
    must(same(qp_element_round(value, p->type), values[k]));
  }
}

/* Rows read alone are the rows read together. */
static void read_all(const qp_packing *p) {
  if (p->columns > MOST_COLUMNS || !p->rows || !p->columns) return;
  const uint64_t rows = p->rows < MOST_ROWS ? p->rows : MOST_ROWS;
  float *all = malloc(sizeof *all * rows * p->columns), *one = malloc(sizeof *one * p->columns);
  must(all && one);
  qp_packing_read(p, 0, rows, all);
  for (uint64_t r = 0; r < rows; r++) {
    qp_packing_read(p, r, 1, one);
    for (uint64_t k = 0; k < p->columns; k++) must(same(one[k], all[r * p->columns + k]));
    keep(p, r, one);
  }
  qp_packing_read(p, p->rows - 1, 1, one);
  free(all);
  free(one);
}

static void find(const qp_safetensors *s, const cJSON *config) {
  bool taken[MOST_TENSORS] = {false};
  qp_packing *list = NULL;
  size_t count = 0;
  qp_error err = {.text = ""};
  if (qp_safetensors_count(s) > MOST_TENSORS) return;
  if (qp_packings_find(s, config_name, config, &list, &count, taken, &err)) {
must(strstr(err.text, config_name) || strstr(err.text, file_name));
    return;
  }
  for (size_t i = 0; i < count; i++) read_all(&list[i]);
  qp_packings_free(list, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *config = as_text(data, size), *header = strchr(config, '\n'),
       *rest = header ? strchr(header + 1, '\n') : NULL;
  qp_error err = {.text = ""};
  qp_safetensors *s = NULL;
  cJSON *tree = NULL;
  size_t bytes = 0;
  if (rest) {
    *header++ = *rest++ = 0;
    unsigned char *file =
        make_file(header, (const uint8_t *)rest, size - (size_t)(rest - config), &bytes);
    if (!qp_json_parse(config_name, config, strlen(config), &tree, &err) &&
        !qp_safetensors_parse(file_name, file, bytes, &s, &err))
      find(s, tree);
    qp_safetensors_close(s);
    free(file);
    cJSON_Delete(tree);
  }
  free(config);
  return 0;
}
