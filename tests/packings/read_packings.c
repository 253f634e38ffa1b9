/* SPDX-License-Identifier: MIT */
/*
** The values of packed weights, for tests/packings/against_packages:
**   read_packings --block TYPE <BLOCKS >VALUES      GGUF blocks of a type, raw, at most 1 MiB
**   read_packings FOLDER
** reads FOLDER/model.safetensors and config.json and writes FOLDER/NAME.f32 of each matrix, raw
** little-endian fp32; a line a matrix says NAME, type, rows and columns.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/blocks.h"
#include "gen/packings/packing.h"

static int fail(const qp_error *err) {
  fprintf(stderr, "%s\n", err->text);
  return 2;
}

static int write_values(const char *folder, const qp_packing *p) {
  char path[4096];
  float *values = malloc(p->rows * p->columns * sizeof *values);
  snprintf(path, sizeof path, "%s/%s.f32", folder, p->name);
  FILE *f = fopen(path, "wb");
  if (!values || !f) return fprintf(stderr, "%s: cannot be written\n", path), 2;
  qp_packing_read(p, 0, p->rows, values);
  const size_t n = (size_t)(p->rows * p->columns);
  const bool whole = fwrite(values, sizeof *values, n, f) == n;
  free(values);
  if (fclose(f) != 0 || !whole) return fprintf(stderr, "%s: cannot be written\n", path), 2;
  printf("%s %s %llu %llu\n", p->name, qp_tensor_type_name(p->type), (unsigned long long)p->rows,
         (unsigned long long)p->columns);
  return 0;
}

static int read_blocks(unsigned number) {
  static unsigned char bytes[1 << 20];
  const qp_block_type *type = qp_block_type_find(number);
  if (!type) return fprintf(stderr, "type %u is not read\n", number), 2;
  const size_t blocks = fread(bytes, 1, sizeof bytes, stdin) / type->bytes;
  float *values = malloc(blocks * type->elements * sizeof *values + 1);
  if (!values) return 2;
  type->decode(bytes, blocks * type->elements, values);
  const bool whole =
      fwrite(values, sizeof *values, blocks * type->elements, stdout) == blocks * type->elements;
  free(values);
  return whole ? 0 : 2;
}

int main(int argc, char **argv) {
  qp_error err = {{0}};
  qp_safetensors *file;
  cJSON *tree;
  qp_packing *list;
  size_t count;
  char path[4096];
  if (argc == 3 && !strcmp(argv[1], "--block")) return read_blocks((unsigned)atoi(argv[2]));
  if (argc != 2) return fprintf(stderr, "read_packings FOLDER\n"), 2;
  if (qp_safetensors_open(argv[1], &file, &err)) return fail(&err);
  snprintf(path, sizeof path, "%s/config.json", argv[1]);
  if (qp_json_read_python(path, &tree, &err)) return fail(&err);
  bool *taken = calloc(qp_safetensors_count(file) + 1, sizeof *taken);
  if (!taken || qp_packings_find(file, path, tree, &list, &count, taken, &err)) return fail(&err);
  int status = 0;
  for (size_t i = 0; i < count && !status; i++) status = write_values(argv[1], &list[i]);
  for (size_t i = 0; i < qp_safetensors_count(file); i++)
    if (!taken[i]) printf("%s stays\n", qp_safetensors_get(file, i)->name);
  qp_packings_free(list, count);
  free(taken);
  cJSON_Delete(tree);
  qp_safetensors_close(file);
  return status;
}
