/* SPDX-License-Identifier: MIT */
/* A folder of the test's own, which goes with it; also as the QPAL_HOME that product code reads. */
#ifndef QP_TESTS_FOLDER_KIT_H
#define QP_TESTS_FOLDER_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/resource.h"

static char folder[32]; /* "" before open_folder */

static inline void open_folder(void) {
  strcpy(folder, "/tmp/qpal-test-XXXXXX");
  cr_assert(mkdtemp(folder));
}

/* Nothing where none was opened. */
static inline void close_folder(void) {
  char command[64];
  if (!*folder) return;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  cr_expect_eq(system(command), 0);
  *folder = 0;
}

/* Path of a file in the folder; the eight newest stay valid. */
static inline const char *in_folder(const char *name) {
  static char made[8][256];
  static unsigned turn;
  char *to = made[turn++ % 8];
  snprintf(to, sizeof made[0], "%s/%s", folder, name);
  return to;
}

/* Folders on the way are made. */
static inline void write_file(const char *name, const char *text) {
  qp_error why = {.text = ""};
  cr_assert_eq(qp_file_write(in_folder(name), text, strlen(text), &why), QP_OK, "%s", why.text);
}

/* The folder as QPAL_HOME, with these files of the product's own and else nothing; NULL ends. */
static inline void open_home(const char *const *files) {
  open_folder();
  for (; files && *files; files++) {
    const char *text;
    size_t bytes;
    qp_error why = {.text = ""};
    cr_assert_eq(qp_resource_read(*files, &text, &bytes, &why), QP_OK, "%s", why.text);
    write_file(*files, text);
  }
  setenv("QPAL_HOME", folder, 1);
}

#endif
