/* SPDX-License-Identifier: MIT */
/* Mapped files that are cut short while they are read. */
#include "tuner/base/lost_file.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/map.h"
#include "tests/base/folder_kit.h"

TestSuite(lost_file, .init = open_folder, .fini = close_folder);

enum { PAGES = 4, PAGE = 65536 };

static qp_error error;

static qp_map map_zeros(const char *name) {
  static const char zeros[PAGES * PAGE];
  qp_map map = {0};
  cr_assert_eq(qp_file_write(in_folder(name), zeros, sizeof zeros, &error), QP_OK);
  cr_assert_eq(qp_map_open(in_folder(name), &map, &error), QP_OK);
  return map;
}

/* What a child that reads 'at' leaves: its wait status, and its last words in 'said'. */
static int read_in_child(const volatile unsigned char *at, char *said, size_t size) {
  int ends[2], status = 0;
  cr_assert_eq(pipe(ends), 0);
  const pid_t child = fork();
  if (!child) {
    dup2(ends[1], STDERR_FILENO);
    signal(SIGBUS, SIG_DFL);
    qp_lost_file_watch();
    _exit(*at ? 1 : 0);
  }
  close(ends[1]);
  const ssize_t n = read(ends[0], said, size - 1);
  said[n < 0 ? 0 : n] = 0;
  close(ends[0]);
  cr_assert_eq(waitpid(child, &status, 0), child);
  return status;
}

Test(lost_file, ends_the_process_with_its_name) {
  char said[512];
  qp_map other = map_zeros("other"), map = map_zeros("weights");
  cr_assert_eq(truncate(in_folder("weights"), PAGE), 0);
  int status = read_in_child(map.data + PAGE - 1, said, sizeof said);
  cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", said);
  status = read_in_child(map.data + 2 * PAGE, said, sizeof said);
  cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%x", status);
  cr_expect(strstr(said, "/weights: became shorter, or its disk failed, while it was read\n"), "%s",
            said);
  qp_map_close(&map);
  qp_map_close(&other);
}

/* An index names files of others. */
Test(lost_file, writes_no_name_that_a_terminal_obeys) {
  char said[512];
  qp_map map = map_zeros("we\033[31mights");
  cr_assert_eq(truncate(in_folder("we\033[31mights"), PAGE), 0);
  read_in_child(map.data + 2 * PAGE, said, sizeof said);
  cr_expect(strstr(said, "/we\\x1b[31mights: became shorter"), "%s", said);
  cr_expect(!strchr(said, '\033'));
  qp_map_close(&map);
}

Test(lost_file, leaves_other_faults_as_they_are) {
  char said[512];
  qp_map map = map_zeros("weights");
  const unsigned char *const old = map.data;
  qp_map_close(&map);
  cr_expect_null(qp_map_file_at(old));
  FILE *f = fopen(in_folder("weights"), "r+");
  cr_assert(f);
  void *data = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fileno(f), 0);
  fclose(f);
  cr_assert_eq(truncate(in_folder("weights"), 0), 0);
  const int status = read_in_child(data, said, sizeof said);
  cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x", status);
  munmap(data, PAGES * PAGE);
}

Test(lost_file, is_found_among_many_that_come_and_go) {
  qp_map map[20];
  for (int round = 0; round < 3; round++) {
    char name[32];
    for (int i = 0; i < 20; i++) {
      snprintf(name, sizeof name, "%d-%d", round, i);
      map[i] = map_zeros(name);
    }
    for (int i = 0; i < 20; i++) {
      snprintf(name, sizeof name, "/%d-%d", round, i);
      const char *file = qp_map_file_at(map[i].data + PAGES * PAGE - 1);
      cr_expect(file && strstr(file, name), "%s is taken for %s", name, file ? file : "none");
      cr_expect_null(qp_map_file_at(error.text));
    }
    for (int i = 0; i < 20; i++) qp_map_close(&map[i]);
    cr_expect_null(qp_map_file_at(map[3].data));
  }
}
