/* SPDX-License-Identifier: MIT */
/* qpal as a user calls it, in a folder of the test's own. */
#ifndef QP_TESTS_COMMAND_KIT_H
#define QP_TESTS_COMMAND_KIT_H

#include <sys/wait.h>

#include "tests/base/folder_kit.h"

static char text[1 << 20]; /* stdout and stderr of the last command */

/* The exit code; -1: it did not end by itself. */
static inline int run(const char *arguments) {
  char command[2048];
  snprintf(command, sizeof command, "cd '%s' && '%s/qpal' %s 2>&1", folder, QP_BINARY_DIR,
           arguments);
  FILE *f = popen(command, "r");
  cr_assert(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  const int status = pclose(f);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void expect(const char *arguments, int code, const char *part) {
  const int got = run(arguments);
  cr_expect_eq(got, code, "qpal %s: exit code %d, not %d: %.2000s", arguments, got, code, text);
  cr_expect(strstr(text, part), "qpal %s: '%s' is missing in: %.2000s", arguments, part, text);
}

#endif
