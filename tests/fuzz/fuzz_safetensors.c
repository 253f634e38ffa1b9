/* SPDX-License-Identifier: MIT */
/*
** Any bytes as a .safetensors file, or after a first byte '#' as the index of a folder with one
** shard: refused with a message that names the file, or every tensor's bytes are inside of it, and
** all tensors, written to another file, are read from that as they were.
*/
#include "gen/model/tensor_writer.h"
#include "runtime/safetensors.h"
#include "tests/fuzz/fuzz_kit.h"

static char folder[64], shard[96], list[96], copy[64];

/* A shard with the tensors a (F32, 2 values) and b (U8, 4 values). */
static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                             "\"b\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[8,12]}}";

static void remove_folder(void) {
  unlink(shard);
  unlink(list);
  unlink(copy);
  rmdir(folder);
}

static void begin(void) {
  unsigned char file[8 + sizeof header - 1 + 12] = {sizeof header - 1};
  snprintf(folder, sizeof folder, "%s/fuzz-safetensors-XXXXXX", files_folder());
  if (!mkdtemp(folder)) abort();
  snprintf(shard, sizeof shard, "%s/x.safetensors", folder);
  snprintf(list, sizeof list, "%s/model.safetensors.index.json", folder);
  own_path(copy, sizeof copy, ".safetensors");
  memcpy(file + 8, header, sizeof header - 1);
  write_bytes(shard, file, sizeof file);
  atexit(remove_folder);
}

static void walk(const qp_safetensors *s) {
  for (size_t i = 0; i < qp_safetensors_count(s); i++) {
    const qp_tensor *t = qp_safetensors_get(s, i);
    if (qp_safetensors_find(s, t->name) != t) abort();
    if (t->bytes != qp_tensor_bytes(t->type, t->elements)) abort();
    touch(t->data, t->bytes);
  }
}

static void write_copy(const qp_safetensors *s) {
  qp_tensor_writer *w = NULL;
  qp_error err = {.text = ""};
  must(!qp_tensor_writer_new(copy, &w, &err));
  for (size_t i = 0; i < qp_safetensors_count(s); i++) {
    const qp_tensor *t = qp_safetensors_get(s, i);
    size_t id = 0;
    must(!qp_tensor_writer_declare(w, t->name, t->type, t->dims, t->shape, &id, &err) && id == i);
  }
  must(!qp_tensor_writer_start(w, &err));
  for (size_t i = 0; i < qp_safetensors_count(s); i++) {
    const qp_tensor *t = qp_safetensors_get(s, i);
    must(!qp_tensor_writer_write(w, i, 0, t->data, t->bytes, &err));
  }
  must(!qp_tensor_writer_finish(w, &err));
  qp_tensor_writer_free(w);
}

static void go_round(const qp_safetensors *s) {
  qp_safetensors *again = NULL;
  qp_error err = {.text = ""};
  write_copy(s);
  must(!qp_safetensors_open(copy, &again, &err));
  must(qp_safetensors_count(again) == qp_safetensors_count(s));
  for (size_t i = 0; i < qp_safetensors_count(s); i++) {
    const qp_tensor *t = qp_safetensors_get(s, i), *u = qp_safetensors_find(again, t->name);
    must(u && u->type == t->type && u->dims == t->dims && u->bytes == t->bytes);
    must(!memcmp(u->shape, t->shape, t->dims * sizeof *t->shape));
    must(!t->bytes || !memcmp(u->data, t->data, t->bytes));
  }
  qp_safetensors_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!*folder) begin();
  qp_error err = {.text = ""};
  qp_safetensors *s;
  const bool of_index = size && *data == '#';
  if (of_index) write_bytes(list, data + 1, size - 1);
  const qp_status status = of_index ? qp_safetensors_open(list, &s, &err)
                                    : qp_safetensors_parse("f.safetensors", data, size, &s, &err);
  if (status != QP_OK) {
    if (!strstr(err.text, of_index ? folder : "f.safetensors")) abort();
    return 0;
  }
  walk(s);
  go_round(s);
  for (unsigned i = 0; i < qp_safetensors_shards(s); i++) qp_safetensors_metadata(s, i, "format");
  qp_safetensors_close(s);
  return 0;
}
