/* SPDX-License-Identifier: MIT */
/* Safetensors files are read, written, and refused when they are wrong. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/base/file.h"
#include "gen/model/tensor_writer.h"
#include "runtime/safetensors.h"

static qp_error err;
static unsigned char bytes[1 << 16];
static char folder[] = "/tmp/qpal-st-XXXXXX";

static void make_folder(void) { cr_assert(mkdtemp(folder)); }

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
}

static const char *in_folder(const char *name) {
  static char path[4][256];
  static unsigned next;
  char *p = path[next++ % 4];
  snprintf(p, 256, "%s/%s", folder, name);
  return p;
}

/* A file of a header and 'data' bytes 0, 1, 2 ...; returns its size. */
static size_t file_of(const char *header, size_t data) {
  const size_t n = strlen(header);
  memset(bytes, 0, 8);
  bytes[0] = (unsigned char)n;
  bytes[1] = (unsigned char)(n >> 8);
  memcpy(bytes + 8, header, n);
  for (size_t i = 0; i < data; i++) bytes[8 + n + i] = (unsigned char)i;
  return 8 + n + data;
}

static qp_status parse(const char *header, size_t data, qp_safetensors **out) {
  err.text[0] = 0;
  return qp_safetensors_parse("f.safetensors", bytes, file_of(header, data), out, &err);
}

Test(safetensors, tensors_are_found_by_name) {
  qp_safetensors *s;
  cr_assert_eq(parse("{\"__metadata__\":{\"format\":\"pt\"},"
                     "\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[4,12]},"
                     "\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                     "\"none\":{\"dtype\":\"I64\",\"shape\":[3,0],\"data_offsets\":[12,12]},"
                     "\"one\":{\"shape\":[],\"dtype\":\"U8\",\"data_offsets\":[12,13]}} ",
                     13, &s),
               QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(s), 4);
  const qp_tensor *b = qp_safetensors_find(s, "b"), *one = qp_safetensors_find(s, "one");
  cr_assert(b && b->type == QP_TENSOR_F32 && b->dims == 2 && b->shape[0] == 2 && b->shape[1] == 1);
  cr_assert(b->bytes == 8 && b->data[0] == 4 && b->data[7] == 11);
  cr_assert(one && one->elements == 1 && one->data[0] == 12);
  cr_assert_eq(qp_safetensors_find(s, "none")->elements, 0);
  cr_assert_null(qp_safetensors_find(s, "c"));
  cr_assert_str_eq(qp_safetensors_get(s, 0)->name, "a");
  cr_assert_str_eq(qp_safetensors_metadata(s, 0, "format"), "pt");
  cr_assert_null(qp_safetensors_metadata(s, 0, "x"));
  qp_safetensors_close(s);
}

/* header, bytes of data, what the message must hold */
static const struct {
  const char *header;
  size_t data;
  const char *part;
} wrong[] = {
    {"[]", 0, "object"},
    {"{\"a\":1}", 0, "object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "truncated"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "2 elements"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", 16, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "end at byte"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, "overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, "twice"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "3 elements"},
    {"{\"__metadata__\":[]}", 0, "object"},
    {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'F31'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "needs"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 4, "two numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "each once"},
    /* 2^62 elements of 4 bytes are 2^64 bytes, which is 0 where nobody looks */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     "elements"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     "2^64"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "8 dimensions"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "string"},
    {"{} x", 0, "follows"},
};

Test(safetensors, wrong_headers_are_refused_with_the_reason) {
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    qp_safetensors *s = NULL;
    cr_assert_neq(parse(wrong[i].header, wrong[i].data, &s), QP_OK, "%s", wrong[i].header);
    cr_assert_null(s);
    cr_assert(strstr(err.text, wrong[i].part), "%s: %s", wrong[i].header, err.text);
    cr_assert(strstr(err.text, "f.safetensors"), "%s", err.text);
  }
}

Test(safetensors, every_cut_of_a_file_is_refused) {
  qp_safetensors *s;
  const size_t n = file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
  for (size_t cut = 0; cut < n; cut++) {
    unsigned char *copy = malloc(cut + 1); /* so that a sanitizer sees a read behind the end */
    memcpy(copy, bytes, cut);
    cr_assert_neq(qp_safetensors_parse("cut", copy, cut, &s, &err), QP_OK, "%zu bytes", cut);
    free(copy);
  }
}

Test(safetensors, a_header_longer_than_the_file_is_refused) {
  qp_safetensors *s;
  memset(bytes, 0xff, 8);
  cr_assert_neq(qp_safetensors_parse("f", bytes, 64, &s, &err), QP_OK);
  cr_assert(strstr(err.text, "18446744073709551615"), "%s", err.text);
}

static void write_two(const char *path, const char *name, const char *other) {
  qp_tensor_writer *w;
  const uint64_t shape[] = {2, 3};
  const uint16_t small[] = {1, 2, 3, 4, 5, 6};
  const float large[] = {1, 2, 3, 4, 5, 6};
  size_t a, b;
  cr_assert_eq(qp_tensor_writer_new(path, &w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_declare(w, name, QP_TENSOR_F16, 2, shape, &a, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_declare(w, other, QP_TENSOR_F32, 2, shape, &b, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_metadata(w, "who", "a \"test\"", &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_start(w, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_tensor_writer_write(w, b, 12, large + 3, 12, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_write(w, a, 0, small, 12, &err), QP_OK);
  cr_assert_neq(access(path, F_OK), 0, "no file before it is whole");
  cr_assert_eq(qp_tensor_writer_write(w, b, 0, large, 12, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_OK, "%s", err.text);
  qp_tensor_writer_free(w);
}

Test(safetensors, what_is_written_is_read_back, .init = make_folder, .fini = remove_folder) {
  qp_safetensors *s;
  write_two(in_folder("model.safetensors"), "half", "float");
  cr_assert_eq(qp_safetensors_open(folder, &s, &err), QP_OK, "%s", err.text);
  const qp_tensor *half = qp_safetensors_find(s, "half"), *f = qp_safetensors_find(s, "float");
  float v;
  cr_assert(half && f && f->offset < half->offset, "larger elements come first");
  cr_assert_eq(f->offset % 128, 0);
  memcpy(&v, f->data + 20, 4);
  cr_assert_eq(v, 6);
  cr_assert_eq(half->data[2], 2);
  cr_assert_str_eq(qp_safetensors_metadata(s, 0, "who"), "a \"test\"");
  qp_safetensors_close(s);
}

Test(safetensors, a_file_that_lacks_bytes_is_not_made, .init = make_folder, .fini = remove_folder) {
  qp_tensor_writer *w;
  const uint64_t shape[] = {4};
  const char *path = in_folder("x.safetensors");
  cr_assert_eq(qp_tensor_writer_new(path, &w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_declare(w, "a", QP_TENSOR_U8, 1, shape, NULL, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_start(w, &err), QP_OK);
  cr_assert_eq(qp_tensor_writer_write(w, 0, 2, "abc", 3, &err), QP_E_ARG, "behind the end");
  cr_assert_eq(qp_tensor_writer_finish(w, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "'a'"), "%s", err.text);
  qp_tensor_writer_free(w);
  cr_assert_neq(access(path, F_OK), 0);
  cr_assert_neq(access(in_folder("x.safetensors.part"), F_OK), 0);
}

static void write_index(const char *text) {
  cr_assert_eq(qp_file_write(in_folder("model.safetensors.index.json"), text, strlen(text), &err),
               QP_OK);
}

Test(safetensors, shards_are_found_through_their_index, .init = make_folder,
     .fini = remove_folder) {
  qp_safetensors *s;
  write_two(in_folder("1.safetensors"), "a", "b");
  write_two(in_folder("2.safetensors"), "c", "d");
  write_index("{\"metadata\":{\"total_size\":72},\"weight_map\":{\"a\":\"1.safetensors\","
              "\"d\":\"2.safetensors\",\"b\":\"1.safetensors\",\"c\":\"2.safetensors\"}}");
  cr_assert_eq(qp_safetensors_open(folder, &s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(s), 4);
  cr_assert_eq(qp_safetensors_shards(s), 2);
  const qp_tensor *d = qp_safetensors_find(s, "d");
  cr_assert_str_eq(qp_safetensors_shard_path(s, d->shard), in_folder("2.safetensors"));
  qp_safetensors_release(s, d);
  cr_assert_eq(d->data[3], 0x3f, "released pages are read again: 1.0f");
  qp_safetensors_close(s);
}

/* As transformers does: an index that was left behind names shards that are gone. */
Test(safetensors, a_single_file_counts_beside_a_stale_index, .init = make_folder,
     .fini = remove_folder) {
  qp_safetensors *s;
  write_two(in_folder("model.safetensors"), "a", "b");
  write_index("{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}");
  cr_assert_eq(qp_safetensors_open(folder, &s, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_safetensors_count(s), 2);
  qp_safetensors_close(s);
}

Test(safetensors, a_pointer_of_git_lfs_is_called_so) {
  static const char pointer[] =
      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
  qp_safetensors *s = NULL;
  cr_assert_eq(qp_safetensors_parse("f.safetensors", (const unsigned char *)pointer, sizeof pointer,
                                    &s, &err),
               QP_E_ARG);
  cr_assert(strstr(err.text, "git lfs pull"), "%s", err.text);
}

Test(safetensors, an_index_that_lies_is_refused, .init = make_folder, .fini = remove_folder) {
  static const struct {
    const char *text, *part;
  } lies[] = {
      {"{\"weight_map\":{\"a\":\"1.safetensors\"}}", "lists 1"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"x\":\"1.safetensors\"}}", "'x'"},
      {"{\"weight_map\":{\"a\":\"../1.safetensors\",\"b\":\"1.safetensors\"}}", "without folder"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"9.safetensors\"}}", "9.safetensors"},
      {"{\"metadata\":{}}", "weight_map"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\",\"a\":\"1.safetensors\"}}",
       "twice"},
  };
  write_two(in_folder("1.safetensors"), "a", "b");
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    qp_safetensors *s = NULL;
    write_index(lies[i].text);
    cr_assert_neq(qp_safetensors_open(folder, &s, &err), QP_OK, "%s", lies[i].text);
    cr_assert(strstr(err.text, lies[i].part), "%s: %s", lies[i].text, err.text);
  }
}
