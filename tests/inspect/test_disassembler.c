/* SPDX-License-Identifier: MIT */
/* Where nvdisasm is looked for: among the packages of python3 last, and that once. */
#include "gen/inspect/disassembler.h"

#include <glob.h>
#include <sys/stat.h>

#include "tests/base/folder_kit.h"

static void write_script(const char *name, const char *text) {
  write_file(name, text);
  cr_assert_eq(chmod(in_folder(name), 0700), 0);
}

/* A PATH with a python3 alone: it notes that it was asked, and names the folder. */
static void make_python(const char *below) {
  char name[64], text[256];
  snprintf(name, sizeof name, "%s/python3", below);
  snprintf(text, sizeof text, "#!/bin/sh\necho asked >>'%s/asked'\necho '%s/packages'\n", folder,
           folder);
  write_script(name, text);
  setenv("PATH", in_folder(below), 1);
}

static size_t times_asked(void) {
  struct stat st;
  return stat(in_folder("asked"), &st) ? 0 : (size_t)st.st_size / strlen("asked\n");
}

static void set_up(void) {
  glob_t found;
  const bool toolkit = !glob("/usr/local/cuda*/bin/nvdisasm", 0, NULL, &found);
  if (toolkit) globfree(&found);
  unsetenv("QPAL_NVDISASM");
  unsetenv("CUDA_HOME");
  unsetenv("CUDA_PATH");
  open_folder();
  if (toolkit) cr_skip_test("a toolkit's nvdisasm comes before python3's packages");
}

TestSuite(disassembler, .init = set_up, .fini = close_folder);

static void expect(qp_status status) {
  char *text = NULL;
  qp_error err = {.text = ""};
  cr_expect_eq(qp_disassemble("x", 1, &text, &err), status, "%s", err.text);
  if (!status) cr_expect_str_eq(text, "sass\n");
  free(text);
}

Test(disassembler, is_found_among_packages_which_are_asked_for_once) {
  make_python("a");
  write_script("packages/nvidia/cu13/bin/nvdisasm", "#!/bin/sh\necho sass\n");
  for (int i = 0; i < 3; i++) expect(QP_OK);
  cr_expect_eq(times_asked(), 1);
}

Test(disassembler, is_looked_for_anew_on_another_path_alone) {
  make_python("a");
  for (int i = 0; i < 3; i++) expect(QP_E_MISSING);
  cr_expect_eq(times_asked(), 1);
  make_python("b");
  write_script("packages/nvidia/cuda_nvdisasm/bin/nvdisasm", "#!/bin/sh\necho sass\n");
  for (int i = 0; i < 3; i++) expect(QP_OK);
  cr_expect_eq(times_asked(), 2);
}
