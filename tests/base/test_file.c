/* SPDX-License-Identifier: MIT */
/* Files: read whole within a limit, written whole or not at all, never anything but regular
   ones. */
#include "gen/base/file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/map.h"
#include "tests/base/folder_kit.h"

TestSuite(file, .init = open_folder, .fini = close_folder);

static qp_error error;

static bool says(const char *part) { return strstr(error.text, part) != NULL; }

Test(file, is_read_as_it_was_written) {
  char *text = NULL;
  size_t bytes = 0;
  cr_assert_eq(qp_file_write(in_folder("a/b.txt"), "one\0two", 7, &error), QP_OK);
  cr_assert_eq(qp_file_read(in_folder("a/b.txt"), 7, &text, &bytes, &error), QP_OK);
  cr_expect(bytes == 7 && !memcmp(text, "one\0two", 8));
  free(text);
  cr_assert_eq(qp_file_write(in_folder("a/b.txt"), "", 0, &error), QP_OK);
  cr_assert_eq(qp_file_read(in_folder("a/b.txt"), 7, &text, &bytes, &error), QP_OK);
  cr_expect(bytes == 0 && !*text);
  free(text);
}

Test(file, larger_than_asked_for_is_refused) {
  char *text = NULL;
  size_t bytes = 0;
  write_file("b.txt", "12345678");
  cr_expect_eq(qp_file_read(in_folder("b.txt"), 7, &text, &bytes, &error), QP_E_LIMIT);
  cr_expect(says("b.txt: larger than 7 bytes"), "%s", error.text);
  /* a file of the kernel says that it has no bytes */
  cr_expect_eq(qp_file_read("/proc/self/stat", 10, &text, &bytes, &error), QP_E_LIMIT);
  cr_assert_eq(qp_file_read("/proc/self/stat", 10000, &text, &bytes, &error), QP_OK);
  cr_expect_gt(bytes, 10);
  free(text);
}

Test(file, that_is_a_fifo_or_a_folder_is_refused_at_once) {
  char *text = NULL;
  size_t bytes = 0;
  qp_map map = {0};
  cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
  cr_assert_eq(mkdir(in_folder("inner"), 0700), 0);
  cr_expect_eq(qp_file_read(in_folder("fifo"), 9, &text, &bytes, &error), QP_E_IO);
  cr_expect(says("fifo: is no regular file"), "%s", error.text);
  cr_expect_eq(qp_map_open(in_folder("fifo"), &map, &error), QP_E_IO);
  cr_expect(says("fifo: is no regular file"), "%s", error.text);
  cr_expect_eq(qp_file_read(in_folder("inner"), 9, &text, &bytes, &error), QP_E_IO);
  cr_expect(says("inner: is a directory, no file"), "%s", error.text);
  cr_expect_eq(qp_file_read("/dev/zero", 9, &text, &bytes, &error), QP_E_IO);
  cr_expect(says("/dev/zero: is no regular file"), "%s", error.text);
}

Test(file, that_is_a_fifo_is_not_replaced_by_what_is_written) {
  struct stat info;
  cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
  cr_expect_eq(qp_file_write(in_folder("fifo"), "x", 1, &error), QP_E_IO);
  cr_expect(says("fifo: cannot be written: is no regular file"), "%s", error.text);
  cr_expect(!stat(in_folder("fifo"), &info) && S_ISFIFO(info.st_mode));
}

/* What a killed process left beside a file goes when the file is written again; what a living one
   holds stays, and so does what only looks like it. */
Test(file, that_was_left_half_written_goes_when_it_is_written_again) {
  static const char *const stay[] = {"a/b.txt.00112233445566778.part", "a/b.txt.part",
                                     "a/b.txt.0011223344556677.part.x", "a/c.0011223344556677.part",
                                     "a/b.txt.00112233445566GG.part"};
  for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
    cr_assert_eq(qp_file_write(in_folder(stay[i]), "", 0, &error), QP_OK);
  cr_assert_eq(qp_file_write(in_folder("a/b.txt.0011223344556677.part"), "", 0, &error), QP_OK);
  cr_assert_eq(qp_file_write(in_folder("a/b.txt.0123456789abcdef.part"), "", 0, &error), QP_OK);
  const int held = open(in_folder("a/b.txt.0123456789abcdef.part"), O_WRONLY);
  cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
  cr_assert_eq(qp_file_write(in_folder("a/b.txt"), "b", 1, &error), QP_OK);
  cr_expect_neq(access(in_folder("a/b.txt.0011223344556677.part"), F_OK), 0);
  cr_expect_eq(access(in_folder("a/b.txt.0123456789abcdef.part"), F_OK), 0);
  for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
    cr_expect_eq(access(in_folder(stay[i]), F_OK), 0, "%s", stay[i]);
  close(held);
}

static unsigned files_in(const char *name) {
  unsigned n = 0;
  DIR *d = opendir(in_folder(name));
  for (const struct dirent *e; d && (e = readdir(d));) n += *e->d_name != '.';
  if (d) closedir(d);
  return n;
}

/* As on a full disk: some of the bytes are taken, and then no more. */
Test(file, that_cannot_be_written_whole_stays_as_it_was_and_leaves_nothing) {
  static char many[1 << 16];
  struct rlimit limit, few;
  char *text = NULL;
  size_t bytes = 0;
  memset(many, 'b', sizeof many);
  write_file("a/b.txt", "before");
  signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
  few = limit;
  few.rlim_cur = sizeof many / 2;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
  const qp_status safely = qp_file_write(in_folder("a/b.txt"), many, sizeof many, &error);
  const qp_status unsafely = qp_file_write_unsafely(in_folder("a/b.txt"), many, sizeof many, NULL);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  cr_expect(safely == QP_E_IO && unsafely == QP_E_IO);
  cr_expect(says("a/b.txt: cannot be written: File too large"), "%s", error.text);
  cr_expect_eq(files_in("a"), 1);
  cr_assert_eq(qp_file_read(in_folder("a/b.txt"), 100, &text, &bytes, &error), QP_OK);
  cr_expect_str_eq(text, "before");
  free(text);
}
