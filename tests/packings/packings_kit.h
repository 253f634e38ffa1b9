/* SPDX-License-Identifier: MIT */
/* Files with packed weights, put together tensor by tensor, and what is read from them. */
#ifndef QP_PACKINGS_KIT_H
#define QP_PACKINGS_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/json.h"
#include "gen/model/tensor_writer.h"
#include "gen/packings/packing.h"

static qp_error err;
static char folder[] = "/tmp/qpal-packings-XXXXXX";

static inline void begin(void) { cr_assert(mkdtemp(folder)); }
static inline void end(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
}

/* ---- Writing ---- */

/* The tensors of one file; data is copied. */
typedef struct shelf {
  unsigned count;
  struct {
    char name[96];
    qp_tensor_type type;
    unsigned dims;
    uint64_t shape[4];
    void *data;
    size_t bytes;
  } tensor[16];
} shelf;

static inline void put(shelf *s, const char *name, qp_tensor_type type, const uint64_t *shape,
                       unsigned dims, const void *data) {
  size_t elements = 1;
  for (unsigned i = 0; i < dims; i++) elements *= shape[i];
  unsigned n = s->count++;
  snprintf(s->tensor[n].name, sizeof s->tensor[n].name, "%s", name);
  s->tensor[n].type = type;
  s->tensor[n].dims = dims;
  if (dims) memcpy(s->tensor[n].shape, shape, dims * sizeof *shape);
  s->tensor[n].bytes = elements * qp_tensor_type_bytes(type);
  s->tensor[n].data = malloc(s->tensor[n].bytes + 1);
  memcpy(s->tensor[n].data, data, s->tensor[n].bytes);
}

#define PUT(s, name, type, data, ...)                                                              \
  put(s, name, QP_TENSOR_##type, (const uint64_t[]){__VA_ARGS__},                                  \
      sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), data)

static inline void write_shelf(shelf *s, const char *path) {
  qp_tensor_writer *w;
  cr_assert_eq(qp_tensor_writer_new(path, &w, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < s->count; i++)
    cr_assert_eq(qp_tensor_writer_declare(w, s->tensor[i].name, s->tensor[i].type,
                                          s->tensor[i].dims, s->tensor[i].shape, NULL, &err),
                 QP_OK, "%s", err.text);
  cr_assert_eq(qp_tensor_writer_start(w, &err), QP_OK, "%s", err.text);
  for (unsigned i = 0; i < s->count; i++) {
    cr_assert_eq(qp_tensor_writer_write(w, i, 0, s->tensor[i].data, s->tensor[i].bytes, &err),
                 QP_OK);
    free(s->tensor[i].data);
  }
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_OK, "%s", err.text);
  qp_tensor_writer_free(w);
  s->count = 0;
}

/* ---- Reading ---- */

typedef struct opened {
  qp_safetensors *file;
  qp_packing *list;
  size_t count;
  bool taken[64];
} opened;

/* Write the tensors and find packings by quantization_config 'section' and more of config.json. */
static inline qp_status open_shelf(shelf *s, const char *section, const char *more, opened *out) {
  char path[128], config[1024];
  cJSON *tree;
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  write_shelf(s, path);
  snprintf(config, sizeof config, "{\"quantization_config\": {%s}%s}", section, more);
  *out = (opened){0};
  cr_assert_eq(qp_safetensors_open(path, &out->file, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_json_parse("config.json", config, strlen(config), &tree, &err), QP_OK, "%s",
               err.text);
  err.text[0] = 0;
  const qp_status status =
      qp_packings_find(out->file, "config.json", tree, &out->list, &out->count, out->taken, &err);
  cJSON_Delete(tree);
  return status;
}

static inline void close_shelf(opened *o) {
  qp_packings_free(o->list, o->count);
  qp_safetensors_close(o->file);
}

static inline void expect_same_bits(const float *got, const float *want, size_t n,
                                    const char *what) {
  for (size_t i = 0; i < n; i++)
    cr_assert(!memcmp(&got[i], &want[i], sizeof *got), "%s [%zu]: %a, not %a", what, i,
              (double)got[i], (double)want[i]);
}

/* The one matrix 'name' of the file is 'want' [rows][columns], in whatever pieces it is read. */
static inline void expect_values(shelf *s, const char *section, const char *more, const char *name,
                                 qp_tensor_type type, uint64_t rows, uint64_t columns,
                                 const float *want) {
  opened o;
  cr_assert_eq(open_shelf(s, section, more, &o), QP_OK, "%s", err.text);
  cr_assert(o.count == 1 && !strcmp(o.list[0].name, name), "%zu: %s", o.count,
            o.count ? o.list[0].name : "none");
  const qp_packing *p = &o.list[0];
  cr_assert_eq(p->rows, rows);
  cr_assert_eq(p->columns, columns);
  cr_assert_eq(p->type, type);
  for (size_t i = 0; i < qp_safetensors_count(o.file); i++) cr_assert(o.taken[i]);
  float *got = malloc(rows * columns * sizeof *got);
  qp_packing_read(p, 0, rows, got);
  expect_same_bits(got, want, rows * columns, name);
  memset(got, 0xff, rows * columns * sizeof *got);
  for (uint64_t r = rows; r-- > 0;) qp_packing_read(p, r, 1, got + r * columns);
  expect_same_bits(got, want, rows * columns, name);
  free(got);
  close_shelf(&o);
}

/* It is refused with these words. */
static inline void expect_refusal(shelf *s, const char *section, const char *words) {
  opened o;
  cr_assert_eq(open_shelf(s, section, "", &o), QP_E_ARG, "%s", section);
  cr_assert(strstr(err.text, words), "%s", err.text);
  qp_safetensors_close(o.file);
}

#endif
