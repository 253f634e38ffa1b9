/* SPDX-License-Identifier: MIT */
/* The cache of compiled kernels on good, torn, foreign and contested entries. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/compile/cubin_cache.h"

static char directory[64];

static void make_directory(void) {
  snprintf(directory, sizeof directory, "/tmp/qpal-cache-XXXXXX");
  cr_assert_not_null(mkdtemp(directory));
}

static void remove_directory(void) {
  char command[256];
  snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", directory, directory);
  cr_assert_eq(system(command), 0);
}

TestSuite(cache, .init = make_directory, .fini = remove_directory);

static qp_cubin_cache *open_cache(const char *where) {
  qp_cubin_cache *cache = NULL;
  qp_error err = {.text = ""};
  cr_assert_eq(qp_cubin_cache_open(where, &cache, &err), QP_OK, "%s", err.text);
  return cache;
}

static const qp_compile_job job = {
    .name = "k", .source = "some source", .arch = 90, .want_cubin = true, .want_ptx = true};

static char cubin[] = "ELF\0with\0zeros";
static char ptx[] = "some PTX text";
static char text[] = "ptxas said something";
static const qp_compiled result = {
    .log = text,
    .cubin = cubin,
    .cubin_bytes = sizeof cubin,
    .ptx = ptx,
    .ptx_bytes = sizeof ptx - 1,
    .res = {.registers = 1,
            .smem_static_bytes = 2,
            .stack_bytes = 3,
            .spill_store_bytes = 4,
            .spill_load_bytes = 5,
            .barriers = 6},
};

static void expect_result(const qp_compiled *c) {
  cr_assert_eq(c->status, QP_OK);
  cr_assert(c->cached);
  cr_assert_eq(c->cubin_bytes, sizeof cubin);
  cr_assert_eq(memcmp(c->cubin, cubin, sizeof cubin), 0);
  cr_assert_eq(c->ptx_bytes, sizeof ptx - 1);
  cr_assert_str_eq(c->ptx, ptx);
  cr_assert_str_eq(c->log, text);
  cr_assert_eq(memcmp(&c->res, &result.res, sizeof c->res), 0);
  cr_assert_eq(c->seconds, 0);
}

static char *slurp(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "rb");
  cr_assert_not_null(f);
  char *data = malloc(1 << 16);
  cr_assert_not_null(data);
  *bytes = fread(data, 1, 1 << 16, f);
  fclose(f);
  return data;
}

static void spit(const char *path, const void *data, size_t bytes) {
  FILE *f = fopen(path, "wb");
  cr_assert_not_null(f);
  cr_assert_eq(fwrite(data, 1, bytes, f), bytes);
  fclose(f);
}

static void expect_miss(const qp_cubin_cache *cache, const qp_cubin_cache_key *key,
                        const char *what, size_t where) {
  qp_compiled out = {.seconds = 77};
  cr_assert_not(qp_cubin_cache_read(cache, key, &out), "%s %zu is a hit", what, where);
  cr_assert_eq(out.seconds, 77, "changed by a miss");
  cr_assert_null(out.log);
}

Test(cache, what_was_written_is_read_and_nothing_else) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  expect_miss(cache, &key, "an empty cache", 0);
  cr_assert(qp_cubin_cache_write(cache, &key, &result));
  qp_compiled out = {0};
  cr_assert(qp_cubin_cache_read(cache, &key, &out));
  expect_result(&out);
  qp_compiled_free(&out);
  cr_assert(qp_cubin_cache_write(cache, &key, &result), "written again");
  const qp_cubin_cache_key other = {.low = key.low, .high = key.high ^ 1};
  expect_miss(cache, &other, "another key", 0);
  qp_cubin_cache_close(cache);
}

Test(cache, results_without_a_cubin_keep_it_absent) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, false);
  qp_compiled partial = result;
  partial.cubin = NULL;
  partial.cubin_bytes = 0;
  cr_assert(qp_cubin_cache_write(cache, &key, &partial));
  qp_compiled out = {0};
  cr_assert(qp_cubin_cache_read(cache, &key, &out));
  cr_assert_null(out.cubin);
  cr_assert_eq(out.cubin_bytes, 0);
  cr_assert_str_eq(out.ptx, ptx);
  qp_compiled_free(&out);
  qp_cubin_cache_close(cache);
}

static bool differ(qp_cubin_cache_key a, qp_cubin_cache_key b) {
  return a.low != b.low && a.high != b.high;
}

Test(cache, a_key_depends_on_all_that_a_compile_depends_on) {
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 2", &job, true)));
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 1", &job, false)));
  qp_compile_job other = job;
  other.source = "some sourc";
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 1", &other, true)));
  other.name = "ksome sourc"; /* the same bytes in a row as name and source */
  other.source = "e";
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 1", &other, true)));
  other = job;
  other.name = "l";
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 1", &other, true)));
  other = job;
  other.arch = 89;
  cr_assert(differ(key, qp_cubin_cache_key_of("NVRTC 1", &other, true)));
  other = job;
  other.user = &other;
  const qp_cubin_cache_key same = qp_cubin_cache_key_of("NVRTC 1", &other, true);
  cr_assert_eq(memcmp(&key, &same, sizeof key), 0);
}

Test(cache, an_entry_cut_at_any_length_is_a_miss) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  cr_assert(qp_cubin_cache_write(cache, &key, &result));
  char path[PATH_MAX];
  cr_assert(qp_cubin_cache_path(cache, &key, path, sizeof path));
  size_t bytes;
  char *data = slurp(path, &bytes);
  for (size_t n = 0; n < bytes; n++) {
    spit(path, data, n);
    expect_miss(cache, &key, "length", n);
  }
  data[bytes] = 'x';
  spit(path, data, bytes + 1);
  expect_miss(cache, &key, "length", bytes + 1);
  cr_assert(qp_cubin_cache_write(cache, &key, &result), "a torn entry can be replaced");
  qp_compiled out = {0};
  cr_assert(qp_cubin_cache_read(cache, &key, &out));
  expect_result(&out);
  qp_compiled_free(&out);
  free(data);
  qp_cubin_cache_close(cache);
}

Test(cache, an_entry_with_any_bit_changed_is_a_miss) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  cr_assert(qp_cubin_cache_write(cache, &key, &result));
  char path[PATH_MAX];
  cr_assert(qp_cubin_cache_path(cache, &key, path, sizeof path));
  size_t bytes;
  char *data = slurp(path, &bytes);
  for (size_t bit = 0; bit < 8 * bytes; bit++) {
    data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
    spit(path, data, bytes);
    expect_miss(cache, &key, "bit", bit);
    data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
  }
  free(data);
  qp_cubin_cache_close(cache);
}

Test(cache, foreign_things_in_an_entry_s_place_are_misses) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  const qp_cubin_cache_key other = {.low = key.low + 1, .high = key.high};
  cr_assert(qp_cubin_cache_write(cache, &key, &result));
  char path[PATH_MAX], other_path[PATH_MAX];
  cr_assert(qp_cubin_cache_path(cache, &key, path, sizeof path));
  cr_assert(qp_cubin_cache_path(cache, &other, other_path, sizeof other_path));

  cr_assert_eq(rename(path, other_path), 0); /* a good entry of another key */
  expect_miss(cache, &other, "a renamed entry", 0);

  char *noise = malloc(5000);
  cr_assert_not_null(noise);
  for (int i = 0; i < 5000; i++) noise[i] = (char)(i * i >> 3);
  spit(path, noise, 5000);
  expect_miss(cache, &key, "noise", 0);
  free(noise);

  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0777), 0);
  expect_miss(cache, &key, "a directory", 0);
  cr_assert_not(qp_cubin_cache_write(cache, &key, &result));
  cr_assert_eq(rmdir(path), 0);

  cr_assert_eq(mkfifo(path, 0666), 0);
  expect_miss(cache, &key, "a pipe that nobody writes", 0);
  cr_assert_eq(unlink(path), 0);

  cr_assert_eq(symlink("/dev/zero", path), 0);
  expect_miss(cache, &key, "a device", 0);
  qp_cubin_cache_close(cache);
}

/* Only file names of entries: nothing half-written is left. */
static void expect_no_litter(const char *path) {
  char command[256];
  snprintf(command, sizeof command, "test -z \"$(find %s -type f -name '*.*')\"", path);
  cr_assert_eq(system(command), 0, "temporary files are left");
}

Test(cache, many_processes_write_and_read_one_entry_without_tearing_it) {
  qp_cubin_cache *cache = open_cache(directory);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  enum { WRITERS = 4, ROUNDS = 200 };
  pid_t pids[WRITERS];
  cr_assert(qp_cubin_cache_write(cache, &key, &result));
  for (int w = 0; w < WRITERS; w++) {
    pids[w] = fork();
    if (pids[w] == 0) {
      for (int i = 0; i < ROUNDS; i++) {
        if (!qp_cubin_cache_write(cache, &key, &result)) _exit(1);
      }
      _exit(0);
    }
  }
  for (int i = 0; i < ROUNDS; i++) {
    qp_compiled out = {0};
    cr_assert(qp_cubin_cache_read(cache, &key, &out), "read %d found no whole entry", i);
    expect_result(&out);
    qp_compiled_free(&out);
  }
  for (int w = 0; w < WRITERS; w++) {
    int status = -1;
    cr_assert_eq(waitpid(pids[w], &status, 0), pids[w]);
    cr_assert_eq(status, 0);
  }
  expect_no_litter(directory);
  qp_cubin_cache_close(cache);
}

Test(cache, a_directory_that_cannot_be_made_only_means_no_caching) {
  char below[128];
  snprintf(below, sizeof below, "%s/file", directory);
  spit(below, "x", 1);
  snprintf(below, sizeof below, "%s/file/cache", directory);
  qp_cubin_cache *cache = open_cache(below);
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  cr_assert_not(qp_cubin_cache_write(cache, &key, &result));
  expect_miss(cache, &key, "no directory", 0);
  qp_cubin_cache_close(cache);
}

Test(cache, no_directory_means_no_cache) {
  qp_cubin_cache *cache = open_cache("");
  const qp_cubin_cache_key key = qp_cubin_cache_key_of("NVRTC 1", &job, true);
  cr_assert_not(qp_cubin_cache_write(cache, &key, &result));
  expect_miss(cache, &key, "none", 0);
  qp_cubin_cache_close(cache);
}

static void expect_default(const char *path) {
  qp_cubin_cache *cache = open_cache(NULL);
  cr_assert_str_eq(qp_cubin_cache_directory(cache), path);
  qp_cubin_cache_close(cache);
}

Test(cache, the_default_directory_follows_the_environment) {
  setenv("HOME", "/home/someone", 1);
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  setenv("QPAL_CACHE", "/own", 1);
  expect_default("/own");
  unsetenv("QPAL_CACHE");
  expect_default("/xdg/qpal");
  setenv("XDG_CACHE_HOME", "relative", 1); /* the XDG base directory specification: ignore it */
  expect_default("/home/someone/.cache/qpal");
  unsetenv("XDG_CACHE_HOME");
  expect_default("/home/someone/.cache/qpal");
  setenv("QPAL_CACHE", "", 1);
  expect_default("");
  unsetenv("QPAL_CACHE");
  unsetenv("HOME");
  expect_default("");
}

Test(cache, a_path_too_long_is_no_cache) {
  char *long_path = malloc(8001);
  cr_assert_not_null(long_path);
  memset(long_path, 'd', 8000);
  long_path[0] = '/';
  long_path[8000] = 0;
  qp_cubin_cache *cache = open_cache(long_path);
  cr_assert_str_eq(qp_cubin_cache_directory(cache), "");
  qp_cubin_cache_close(cache);
  free(long_path);
}
