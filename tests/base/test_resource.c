/* SPDX-License-Identifier: MIT */
/* Resources: what is carried inside the binary, and QPAL_HOME instead of it. */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gen/base/resource.h"
#include "gen/base/resource_data.h"

typedef struct seen {
  char path[64][128];
  size_t count;
} seen;

static void remember(const char *path, void *arg) {
  seen *s = arg;
  cr_assert(s->count < 64);
  snprintf(s->path[s->count++], sizeof s->path[0], "%s", path);
}

static void write_file(const char *dir, const char *name, const void *data, size_t bytes) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  cr_assert(f != NULL, "%s", path);
  cr_assert(fwrite(data, 1, bytes, f) == bytes);
  cr_assert(fclose(f) == 0);
}

static void make_directory(const char *dir, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  cr_assert(mkdir(path, 0700) == 0, "%s", path);
}

static char home[] = "/tmp/qpal-resource-XXXXXX";

/* A home with two files in lua/, one of them in a folder of its own, and files that do not
** count. */
static void make_home(void) {
  cr_assert(mkdtemp(home) != NULL);
  make_directory(home, "lua");
  make_directory(home, "lua/a");
  make_directory(home, "lua/.git");
  make_directory(home, "other");
  write_file(home, "lua/b.lua", "x\0y\n", 4);
  write_file(home, "lua/a/c.lua", "", 0);
  write_file(home, "lua/.hidden", "1", 1);
  write_file(home, "lua/b.lua~", "1", 1);
  write_file(home, "lua/.git/index", "1", 1);
  write_file(home, "other/d.lua", "1", 1);
  cr_assert(setenv("QPAL_HOME", home, 1) == 0);
}

static void remove_home(void) {
  char command[600];
  snprintf(command, sizeof command, "rm -rf '%s'", home);
  cr_assert(system(command) == 0);
}

static void no_home(void) { unsetenv("QPAL_HOME"); }

TestSuite(embedded, .init = no_home);
TestSuite(qpal_home, .init = make_home, .fini = remove_home);

Test(embedded, each_file_equals_its_source) {
  for (size_t i = 0; i < qp_resource_count; i++) {
    const char *text = NULL;
    size_t bytes = 0;
    qp_error err = {.text = ""};
    cr_assert(qp_resource_read(qp_resource_table[i].path, &text, &bytes, &err) == QP_OK, "%s",
              err.text);
    char name[512];
    snprintf(name, sizeof name, "%s/%s", QP_SOURCE_DIR, qp_resource_table[i].path);
    FILE *f = fopen(name, "rb");
    cr_assert(f != NULL, "%s", name);
    char *source = malloc(bytes + 1);
    cr_assert(source != NULL);
    size_t n = fread(source, 1, bytes + 1, f);
    fclose(f);
    cr_expect(n == bytes && memcmp(source, text, bytes) == 0, "%s differs", name);
    cr_expect(text[bytes] == '\0', "%s is not NUL-ended", name);
    free(source);
  }
}

Test(embedded, table_is_sorted_and_each_prefix_visits_its_files) {
  for (size_t i = 1; i < qp_resource_count; i++)
    cr_expect(strcmp(qp_resource_table[i - 1].path, qp_resource_table[i].path) < 0);
  seen *s = calloc(1, sizeof *s);
  cr_assert(s != NULL);
  qp_resource_each("no/such/prefix", remember, s);
  cr_expect(s->count == 0);
  if (qp_resource_count > 0) {
    qp_resource_each(qp_resource_table[0].path, remember, s);
    cr_expect(s->count >= 1);
    cr_expect_str_eq(s->path[0], qp_resource_table[0].path);
  }
  free(s);
}

Test(embedded, missing_resource_is_an_error_that_names_it) {
  const char *text = "untouched";
  size_t bytes = 77;
  qp_error err = {.text = ""};
  cr_expect(qp_resource_read("lua/no_such_file.lua", &text, &bytes, &err) == QP_E_IO);
  cr_expect(strstr(err.text, "lua/no_such_file.lua") != NULL, "%s", err.text);
  cr_expect_str_eq(text, "untouched");
  cr_expect(bytes == 77);
}

Test(embedded, empty_qpal_home_counts_as_not_set) {
  setenv("QPAL_HOME", "", 1);
  seen *s = calloc(1, sizeof *s);
  cr_assert(s != NULL);
  if (qp_resource_count > 0) qp_resource_each(qp_resource_table[0].path, remember, s);
  cr_expect(s->count >= (qp_resource_count > 0 ? 1u : 0u));
  free(s);
}

Test(qpal_home, file_is_read_with_every_byte) {
  const char *text = NULL;
  size_t bytes = 0;
  qp_error err = {.text = ""};
  cr_assert(qp_resource_read("lua/b.lua", &text, &bytes, &err) == QP_OK, "%s", err.text);
  cr_expect(bytes == 4 && memcmp(text, "x\0y\n", 5) == 0);
  cr_assert(qp_resource_read("lua/a/c.lua", &text, &bytes, &err) == QP_OK, "%s", err.text);
  cr_expect(bytes == 0 && text[0] == '\0');
}

Test(qpal_home, file_larger_than_the_buffer_is_read_whole) {
  size_t n = 100000;
  char *big = malloc(n);
  cr_assert(big != NULL);
  for (size_t i = 0; i < n; i++) big[i] = (char)(i * 7919 >> 3);
  write_file(home, "lua/big.bin", big, n);
  const char *text = NULL;
  size_t bytes = 0;
  cr_assert(qp_resource_read("lua/big.bin", &text, &bytes, NULL) == QP_OK);
  cr_expect(bytes == n && memcmp(text, big, n) == 0 && text[n] == '\0');
  free(big);
}

Test(qpal_home, second_read_gives_the_same_text) {
  const char *first = NULL, *second = NULL;
  size_t bytes = 0;
  cr_assert(qp_resource_read("lua/b.lua", &first, &bytes, NULL) == QP_OK);
  write_file(home, "lua/b.lua", "changed", 7);
  cr_assert(qp_resource_read("lua/b.lua", &second, &bytes, NULL) == QP_OK);
  cr_expect(first == second && bytes == 4);
}

Test(qpal_home, each_visits_sorted_files_and_leaves_out_hidden_ones) {
  seen *s = calloc(1, sizeof *s);
  cr_assert(s != NULL);
  qp_resource_each("", remember, s);
  cr_assert(s->count == 2);
  cr_expect_str_eq(s->path[0], "lua/a/c.lua");
  cr_expect_str_eq(s->path[1], "lua/b.lua");
  s->count = 0;
  qp_resource_each("lua/a/", remember, s);
  cr_expect(s->count == 1);
  free(s);
}

Test(qpal_home, paths_outside_the_three_folders_are_refused) {
  static const char *const paths[] = {"other/d.lua", "lua/../other/d.lua", "../x", "/etc/passwd",
                                      "lua/..",      "luax/b.lua",         "lua",  ""};
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    const char *text = NULL;
    size_t bytes = 0;
    qp_error err = {.text = ""};
    cr_expect(qp_resource_read(paths[i], &text, &bytes, &err) == QP_E_IO, "'%s'", paths[i]);
    cr_expect(strstr(err.text, "no such resource") != NULL, "%s", err.text);
  }
}

Test(qpal_home, directory_is_not_a_resource) {
  const char *text = NULL;
  size_t bytes = 0;
  qp_error err = {.text = ""};
  cr_expect(qp_resource_read("lua/a", &text, &bytes, &err) == QP_E_IO);
  cr_expect(strstr(err.text, "lua/a") != NULL, "%s", err.text);
}

Test(qpal_home, not_a_directory_is_an_error_that_names_the_variable) {
  char name[512];
  snprintf(name, sizeof name, "%s/lua/b.lua", home);
  static const char missing[] = "/no/such/directory";
  const char *const values[] = {name, missing};
  for (size_t i = 0; i < 2; i++) {
    setenv("QPAL_HOME", values[i], 1);
    const char *text = NULL;
    size_t bytes = 0;
    qp_error err = {.text = ""};
    cr_expect(qp_resource_read("lua/b.lua", &text, &bytes, &err) == QP_E_IO);
    cr_expect(strstr(err.text, "QPAL_HOME") != NULL, "%s", err.text);
    cr_expect(strstr(err.text, values[i]) != NULL, "%s", err.text);
  }
}

static void copy_carried(const char *path, void *arg) {
  const qp_resource_entry *e = qp_resource_table;
  (void)arg;
  while (strcmp(e->path, path) != 0) e++;
  write_file(home, path, e->text, e->bytes);
}

static void change_byte(const char *path) {
  char name[512];
  snprintf(name, sizeof name, "%s/%s", home, path);
  FILE *f = fopen(name, "r+b");
  cr_assert(f != NULL && fputc('x', f) == 'x' && fclose(f) == 0);
}

Test(qpal_home, that_has_what_the_binary_carries_is_told_from_others) {
  static const char *const folders[] = {"lua/models", "lua/families", "lua/shipped",
                                        "lua/shipped/codebook"};
  cr_expect(qp_resource_is_carried("lua/no/such/folder/"));
  cr_expect_not(qp_resource_is_carried("lua/b.lua"));
  unsetenv("QPAL_HOME");
  for (size_t i = 0; i < 4; i++) {
    make_directory(home, folders[i]);
    if (i != 2) qp_resource_each(folders[i], copy_carried, NULL);
  }
  cr_expect(qp_resource_is_carried("lua/"));
  write_file(home, "lua/models/zz.lua", "x", 1);
  change_byte("lua/families/gather.lua");
  setenv("QPAL_HOME", home, 1);
  cr_expect_not(qp_resource_is_carried("lua/models/"), "with a file more");
  cr_expect_not(qp_resource_is_carried("lua/families/"), "with another text");
  cr_expect(qp_resource_is_carried("lua/shipped/codebook/"));
  cr_expect_not(qp_resource_is_carried("lua/shipped/"), "without some files");
}
