/* SPDX-License-Identifier: MIT */
/* The folder that an export writes: manifest.json tells what is in it, and it is so. */
#include "tests/runtime/library_kit.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tuner/export/files.h"
#include "tuner/export/manifest.h"

static char folder[] = "/tmp/qpal-manifest-XXXXXX";
static void *library;
static size_t library_bytes;
static cJSON *manifest;

/* The bytes of a file in the folder; the caller frees them. */
static char *read_in(const char *name, size_t *bytes) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb");
  cr_assert_not_null(f, "%s", path);
  fseek(f, 0, SEEK_END);
  *bytes = (size_t)ftell(f);
  rewind(f);
  char *data = kit_alloc(*bytes + 1);
  cr_assert_eq(fread(data, 1, *bytes, f), *bytes);
  fclose(f);
  return data;
}

static void set_up(void) {
  qp_export_group g[3];
  size_t bytes = 0;
  cr_assert_eq(qp_session_open(&kit_session, &kit_err), QP_OK, "%s", kit_err.text);
  kit_groups(g);
  const qp_export_request r = kit_request(g);
  library = kit_export(&r, &library_bytes);
  cr_assert_not_null(mkdtemp(folder));
  cr_assert_eq(qp_export_write_folder(folder, library, library_bytes, &kit_err), QP_OK, "%s",
               kit_err.text);
  char *text = read_in("manifest.json", &bytes);
  manifest = cJSON_Parse(text);
  cr_assert_not_null(manifest);
  free(text);
}

static int forget(const char *path, const struct stat *s, int type, struct FTW *ftw) {
  (void)s, (void)type, (void)ftw;
  return remove(path);
}

static void tear_down(void) {
  nftw(folder, forget, 8, FTW_DEPTH | FTW_PHYS);
  cJSON_Delete(manifest);
  free(library);
  qp_session_close(&kit_session);
}

TestSuite(manifest, .init = set_up, .fini = tear_down);

static const cJSON *get(const cJSON *o, const char *name) {
  const cJSON *e = cJSON_GetObjectItemCaseSensitive(o, name);
  cr_assert_not_null(e, "no '%s' in the manifest", name);
  return e;
}

static const char *text(const cJSON *o, const char *name) {
  return cJSON_GetStringValue(get(o, name));
}

static size_t number(const cJSON *o, const char *name) {
  return (size_t)cJSON_GetNumberValue(get(o, name));
}

/* The image of a kernel is that file, that place of the library, and has that checksum. */
static void expect_image(const cJSON *kernel, const char *kind, size_t beyond) {
  char name[300], sum[24];
  const cJSON *image = get(kernel, kind);
  size_t bytes = 0;
  snprintf(name, sizeof name, "kernels/%s.%s", text(kernel, "file"), kind);
  char *data = read_in(name, &bytes);
  cr_expect_eq(bytes + beyond, number(image, "bytes"), "%s", name);
  cr_assert_leq(number(image, "offset") + number(image, "bytes"), library_bytes);
  cr_expect_arr_eq((char *)library + number(image, "offset"), data, bytes);
  snprintf(sum, sizeof sum, "%016llx", (unsigned long long)XXH3_64bits(data, bytes + beyond));
  cr_expect_str_eq(text(image, "checksum"), sum);
  free(data);
}

Test(manifest, every_kernel_s_images_are_the_files_and_have_the_checksums_that_it_names) {
  const cJSON *kernel = NULL;
  unsigned gemms = 0;
  cJSON_ArrayForEach(kernel, get(manifest, "kernels")) {
    expect_image(kernel, "cubin", 0);
    expect_image(kernel, "ptx", 1); /* the NUL at its end is counted */
    cr_expect_gt(number(kernel, "grid_blocks"), 0);
    cr_expect_gt(number(kernel, "block_threads"), 0);
    if (strcmp(text(kernel, "op"), "gemm") != 0) continue;
    gemms++;
    const cJSON *groups = get(kernel, "groups");
    cr_assert_eq(cJSON_GetArraySize(groups), 1, "the kit's groups are all different");
    const char *group = cJSON_GetStringValue(cJSON_GetArrayItem(groups, 0));
    const bool single = strstr(text(kernel, "name"), "gemm_cuda") != NULL;
    cr_expect_str_eq(group, single ? "layers.0.single" : "layers.0.test");
    cr_expect_eq(number(kernel, "columns"), KIT_K);
  }
  cr_expect_eq(gemms, 4, "two batches of two groups");
}

Test(manifest, linears_are_listed_with_definition_hashes_and_the_sizes_of_the_layout) {
  const cJSON *group = cJSON_GetArrayItem(get(manifest, "groups"), 0);
  for (int m = 0; m < KIT_MEMBERS; m++) {
    const cJSON *linear = cJSON_GetArrayItem(get(group, "linears"), m), *q = NULL;
    cr_expect_str_eq(text(linear, "quantizer"), kit_quantizers[m]);
    cr_expect_eq(number(linear, "rows"), kit_rows[m]);
    const qp_quantizer *known = kit_find(kit_quantizers[m]);
    const unsigned parts = known->kind == QP_SPLIT ? known->parts : 1;
    size_t listed = 0;
    for (unsigned i = 0; i < parts; i++) {
      const qp_quantizer *leaf = known->kind == QP_SPLIT ? known->part[i].quantizer : known;
      const unsigned from = qp_layout_part_column(known, KIT_K, i);
      const unsigned to = qp_layout_part_column(known, KIT_K, i + 1);
      qp_stream s;
      if (from == to) continue;
      cr_assert_eq(qp_layout_stream(leaf, kit_rows[m], to - from, &s, &kit_err), QP_OK);
      const cJSON *part = cJSON_GetArrayItem(get(linear, "parts"), (int)listed++);
      cr_expect_eq(number(part, "code_bytes"), 4 * s.code_words);
      cr_expect_eq(number(part, "column"), from);
      cr_expect_eq((unsigned)cJSON_GetArraySize(get(part, "field_bytes")), leaf->fields);
    }
    cr_expect_eq((size_t)cJSON_GetArraySize(get(linear, "parts")), listed);
    bool found = false;
    cJSON_ArrayForEach(q, get(manifest, "quantizers")) if (!strcmp(text(q, "name"), known->name)) {
      found = true;
      cr_expect_str_eq(text(q, "hash"), known->hash);
    }
    cr_expect(found, "%s", known->name);
  }
}

Test(manifest, names_of_files_stay_different_however_long_the_kernels_names_are) {
  char first[600], second[600], a[QP_EXPORT_FILE_NAME], b[QP_EXPORT_FILE_NAME];
  memset(first, 'k', sizeof first);
  first[sizeof first - 1] = 0;
  memcpy(second, first, sizeof second);
  second[sizeof second - 2] = 'n';
  qp_export_file_name(first, a);
  qp_export_file_name(second, b);
  cr_expect_str_neq(a, b);
  cr_expect_leq(strlen(a) + strlen(".cubin"), 255, "what file systems take");
  qp_export_file_name("gemm", a);
  cr_expect_str_eq(a, "gemm");
}

/* A limit on the size of files stands in for a disk that is full. */
static qp_status write_within(const char *to, rlim_t most, qp_error *err) {
  struct rlimit before, limit;
  getrlimit(RLIMIT_FSIZE, &before);
  limit = (struct rlimit){.rlim_cur = most, .rlim_max = before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
  const qp_status status = qp_export_write_folder(to, library, library_bytes, err);
  setrlimit(RLIMIT_FSIZE, &before);
  return status;
}

Test(manifest, a_disk_that_is_full_leaves_all_of_an_export_or_nothing) {
  qp_error err = {{0}};
  char fresh[64], part[64];
  size_t n = 0;
  snprintf(fresh, sizeof fresh, "%s/fresh", folder);
  snprintf(part, sizeof part, "%s/.qpal-export", folder);
  cr_assert_neq(write_within(fresh, library_bytes - 1, &err), QP_OK);
  cr_assert(strstr(err.text, "library.qpal"), "%s", err.text);
  cr_assert_neq(access(fresh, F_OK), 0, "nothing is left behind");
  char *before = read_in("manifest.json", &n);
  cr_assert_neq(write_within(folder, library_bytes - 1, &err), QP_OK);
  char *after = read_in("manifest.json", &n);
  cr_assert_str_eq(before, after, "an earlier export stays");
  cr_assert_neq(access(part, F_OK), 0);
  cr_assert_eq(write_within(fresh, RLIM_INFINITY, &err), QP_OK, "%s", err.text);
  free(before);
  free(after);
}

static unsigned images_there(void) {
  char path[512];
  unsigned count = 0;
  snprintf(path, sizeof path, "%s/kernels", folder);
  DIR *d = opendir(path);
  cr_assert(d);
  for (const struct dirent *e; (e = readdir(d));) count += *e->d_name != '.';
  closedir(d);
  return count;
}

/* An export of fewer kernels into the same folder, in which something of the user's lies, too. */
Test(manifest, another_library_in_its_place_has_its_own_kernels_beside_it_alone) {
  char mine[512], manifest_file[512];
  qp_export_group g[3];
  qp_error err = {{0}};
  size_t bytes = 0;
  kit_groups(g);
  qp_export_request r = kit_request(g);
  r.batches = 1;
  void *fewer = kit_export(&r, &bytes);
  snprintf(mine, sizeof mine, "%s/kernels/mine.txt", folder);
  FILE *f = fopen(mine, "w");
  cr_assert(f && !fclose(f));
  const unsigned before = images_there();
  cr_assert_eq(qp_export_write_folder(folder, fewer, bytes, &err), QP_OK, "%s", err.text);
  cr_expect_eq(images_there(), before - 4, "two gemms of the other batch, cubin and PTX");
  cr_expect_eq(access(mine, F_OK), 0);
  snprintf(manifest_file, sizeof manifest_file, "%s/manifest.json", folder);
  cr_assert(!unlink(manifest_file) && !mkdir(manifest_file, 0777));
  cr_assert_eq(qp_export_write_folder(folder, library, library_bytes, &err), QP_E_IO);
  cr_assert(strstr(err.text, "manifest.json: cannot be written: it is a folder"), "%s", err.text);
  cr_expect_eq(images_there(), before - 4, "nothing was moved");
  free(fewer);
}
