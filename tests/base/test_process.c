/* SPDX-License-Identifier: MIT */
/* Processes: a fork is refused beside threads; threads are counted until they are joined. */
#include "gen/base/process.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen/base/parallel.h"
#include "gen/base/thread.h"
#include "tuner/base/watch.h"

static qp_error err;

/* The exit code of a child that ends with 'code'; -1: it was not to be had, err says why. */
static int end_of_child(int code) {
  pid_t pid = 0;
  int status = 0;
  const qp_status forked = qp_process_fork(&pid, &err);
  if (pid == 0) _exit(qp_thread_count() ? 99 : code);
  if (forked) {
    cr_expect_eq(forked, QP_E_LIMIT);
    cr_expect_eq(pid, -1);
    return -1;
  }
  cr_assert_eq(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

static void *wait_for_word(void *fd) {
  char word;
  return read(*(int *)fd, &word, 1) == 1 ? fd : NULL;
}

Test(process, is_not_forked_beside_threads_and_is_again_when_they_are_joined) {
  int ends[2];
  pthread_t thread[2];
  cr_assert_eq(pipe(ends), 0);
  cr_expect_eq(end_of_child(7), 7);
  for (unsigned i = 0; i < 2; i++) {
    cr_assert(qp_thread_start(&thread[i], wait_for_word, &ends[0]));
    cr_expect_eq(qp_thread_count(), i + 1);
    cr_expect_eq(end_of_child(7), -1);
    cr_expect(strstr(err.text, i ? "beside 2 threads," : "beside 1 thread,"), "%s", err.text);
  }
  cr_assert_eq(write(ends[1], "ab", 2), 2);
  for (unsigned i = 0; i < 2; i++) {
    cr_expect_eq(end_of_child(7), -1); /* one that has ended may not have left yet */
    qp_thread_join(thread[i]);
  }
  cr_expect_eq(qp_thread_count(), 0);
  cr_expect_eq(end_of_child(8), 8);
}

Test(process, is_not_forked_beside_progress_that_is_drawn_nor_beside_threads_that_wait_for_loops) {
  qp_watch watch;
  qp_parallel *pool = NULL;
  qp_watch_begin(&watch, "test", "words", 10);
  cr_expect_eq(end_of_child(7), -1);
  qp_watch_end(&watch);
  cr_expect_eq(end_of_child(7), 7);
  cr_assert_eq(qp_parallel_open(2, &pool, &err), QP_OK);
  cr_expect_eq(end_of_child(7), -1);
  qp_parallel_close(pool);
  cr_expect_eq(end_of_child(7), 7);
}
