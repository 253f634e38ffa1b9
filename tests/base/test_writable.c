/* SPDX-License-Identifier: MIT */
/* Paths that can be written to, and such that cannot. */
#include "gen/base/writable.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/qpal-writable-XXXXXX";

static void set_up(void) {
  cr_assert(mkdtemp(folder));
  cr_assert_eq(chdir(folder), 0);
  FILE *f = fopen("file", "w");
  cr_assert(f && !fclose(f) && !mkdir("sub", 0700) && !mkfifo("fifo", 0600));
}

static void tear_down(void) {
  unlink("file");
  unlink("fifo");
  rmdir("sub");
  rmdir(folder);
}

TestSuite(writable, .init = set_up, .fini = tear_down);

Test(writable, are_files_and_what_lies_in_folders_also_in_new_ones) {
  char whole[128];
  qp_error err;
  snprintf(whole, sizeof whole, "%s/new", folder);
  const char *const good[] = {"file", "new", "sub/new", "sub/a/b/new", "./a/new", whole, NULL};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    cr_expect_eq(qp_writable_check(good[i], &err), QP_OK, "%s: %s", good[i], err.text);
  cr_expect_neq(access("new", F_OK), 0, "nothing is made");
  cr_expect_neq(access("sub/a", F_OK), 0);
}

Test(writable, is_nothing_else_and_the_message_names_path_folder_and_reason) {
  static const char *const bad[][2] = {{"fifo", "fifo: cannot be written: is no regular file"},
                                       {"sub", "sub: cannot be written: is no regular file"},
                                       {"file/new", "file: Not a directory"},
                                       {"file/a/new", "file: Not a directory"},
                                       {"", "it has no name"}};
  qp_error err;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_expect_eq(qp_writable_check(bad[i][0], &err), QP_E_IO, "%s", bad[i][0]);
    cr_expect(strstr(err.text, bad[i][1]), "'%s': %s", bad[i][0], err.text);
  }
  errno = ENOENT; /* after an attempt that could not make the folder */
  cr_expect_eq(qp_writable_fail("file/a/new", &err), QP_E_IO);
  cr_expect(strstr(err.text, "new: cannot be written: file: Not a directory"), "%s", err.text);
  errno = ENOSPC;
  cr_expect_eq(qp_writable_fail("sub/new", &err), QP_E_IO);
  cr_expect(strstr(err.text, "sub/new: cannot be written: No space left"), "%s", err.text);
  if (geteuid() == 0) return; /* who may write everywhere */
  cr_assert_eq(chmod("sub", 0500), 0);
  cr_expect_eq(qp_writable_check("sub/new", &err), QP_E_IO);
  cr_expect(strstr(err.text, "sub: Permission denied"), "%s", err.text);
}
