/* SPDX-License-Identifier: MIT */
/* What cannot be kept in the cache is said, once, with what would be right. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/cache_dir.h"

static char folder[] = "/tmp/qpal-cache-XXXXXX", path[128], said[1024];

static void begin(void) {
  cr_assert(mkdtemp(folder));
  cr_assert(!setenv("QPAL_CACHE", folder, 1));
}

static void end(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_assert_eq(system(command), 0);
}

TestSuite(cache_dir, .init = begin, .fini = end);

Test(cache_dir, entries_that_are_kept_are_not_spoken_of) {
  snprintf(path, sizeof path, "%s/kind/a", folder);
  cr_assert(qp_cache_keep(path, "x", 1));
  cr_assert_not(qp_cache_lost(said, sizeof said));
}

Test(cache_dir, the_first_entry_that_cannot_be_kept_is_told_with_its_reason) {
  snprintf(path, sizeof path, "%s/a", folder);
  cr_assert(qp_cache_keep(path, "x", 1));
  snprintf(path, sizeof path, "%s/a/b", folder); /* below a file */
  cr_assert_not(qp_cache_keep(path, "x", 1));
  cr_assert_not(qp_cache_keep("", "x", 1));
  cr_assert(qp_cache_lost(said, sizeof said));
  cr_assert(strstr(said, path) && strstr(said, "directory") && strstr(said, "set QPAL_CACHE to"),
            "%s", said);
}

Test(cache_dir, that_is_none_is_told_unless_it_was_a_wish) {
  cr_assert(!setenv("QPAL_CACHE", "", 1));
  cr_assert_not(qp_cache_keep("", "x", 1));
  cr_assert_not(qp_cache_lost(said, sizeof said));
  cr_assert(!unsetenv("QPAL_CACHE"));
  cr_assert_not(qp_cache_keep("", "x", 1));
  cr_assert(qp_cache_lost(said, sizeof said));
  cr_assert(strstr(said, "$HOME name no folder"), "%s", said);
}

Test(cache_dir, what_another_process_could_not_keep_is_told_too) {
  qp_cache_watch();
  const pid_t child = fork();
  if (!child) {
    cr_assert(!unsetenv("QPAL_CACHE"));
    qp_cache_keep("", "x", 1);
    _exit(0);
  }
  cr_assert_eq(waitpid(child, NULL, 0), child);
  cr_assert(qp_cache_lost(said, sizeof said));
}
