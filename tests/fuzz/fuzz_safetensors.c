/* SPDX-License-Identifier: MIT */
/*
** Any bytes as a .safetensors file, or after a first byte '#' as the index of a folder with one
** shard: refused with a message that names the file, or every tensor's bytes are inside of it.
*/
#include "runtime/safetensors.h"
#include "tests/fuzz/fuzz_kit.h"

static char folder[64], shard[96], list[96];

/* A shard with the tensors a (F32, 2 values) and b (U8, 4 values). */
static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                             "\"b\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[8,12]}}";

static void remove_folder(void) {
  unlink(shard);
  unlink(list);
  rmdir(folder);
}

static void begin(void) {
  unsigned char file[8 + sizeof header - 1 + 12] = {sizeof header - 1};
  snprintf(folder, sizeof folder, "/tmp/fuzz-safetensors-XXXXXX");
  if (!mkdtemp(folder)) abort();
  snprintf(shard, sizeof shard, "%s/x.safetensors", folder);
  snprintf(list, sizeof list, "%s/model.safetensors.index.json", folder);
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
  for (unsigned i = 0; i < qp_safetensors_shards(s); i++) qp_safetensors_metadata(s, i, "format");
  qp_safetensors_close(s);
  return 0;
}
