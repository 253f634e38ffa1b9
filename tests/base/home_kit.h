/* SPDX-License-Identifier: MIT */
/* A home like the source tree's, in a folder of its own with a cache that is empty. */
#ifndef QP_TESTS_HOME_KIT_H
#define QP_TESTS_HOME_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[256]; /* holds home/, and cache/ once something is kept */

/* Make it, and let $QPAL_HOME and $QPAL_CACHE say so. */
static void make_home(void) {
  char command[1024];
  snprintf(folder, sizeof folder, "%s/home-%d", QP_BINARY_DIR, (int)getpid());
  snprintf(command, sizeof command,
           "mkdir -p '%s/home/tuned' && cp -r '%s/lua' '%s/templates' '%s/home/'", folder,
           QP_SOURCE_DIR, QP_SOURCE_DIR, folder);
  cr_assert_eq(system(command), 0);
  snprintf(command, sizeof command, "%s/home", folder);
  setenv("QPAL_HOME", command, 1);
  snprintf(command, sizeof command, "%s/cache", folder);
  setenv("QPAL_CACHE", command, 1);
}

static void drop_home(void) {
  char command[512];
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  cr_assert_eq(system(command), 0);
}

/* Is there a file or folder of this name in the folder? */
static bool exists(const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return access(path, F_OK) == 0;
}

#endif
