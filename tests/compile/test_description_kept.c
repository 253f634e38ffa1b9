/* SPDX-License-Identifier: MIT */
/* What NVRTC says of itself is kept for the files that are open, as they are. */
#include "gen/compile/description_kept.h"

#include <dlfcn.h>
#include <string.h>

#include "tests/base/folder_kit.h"

static void *library, *builtins;

/* A file of the folder that can be opened as a library, of one time of change; what lies behind its
   end says nothing. */
static void *open_copy(const char *name, const char *more) {
  char command[512];
  snprintf(command, sizeof command,
           "cd '%s' && rm -f %s && cp '%s' %s && printf '%s' >>%s && touch -d @1234567890 %s",
           folder, name, QP_BINARY_DIR "/libfake_nvrtc.so", name, more, name, name);
  cr_assert_eq(system(command), 0);
  void *handle = dlopen(in_folder(name), RTLD_NOW | RTLD_LOCAL);
  cr_assert_not_null(handle, "%s", dlerror());
  return handle;
}

/* Both, always one behind the other: their order is in the key. */
static void open_both(const char *more, const char *more_builtins) {
  if (library) dlclose(library);
  if (builtins) dlclose(builtins);
  library = open_copy("libnvrtc.so.99", more);
  builtins = open_copy("libnvrtc-builtins.so.99", more_builtins);
}

static void set_up(void) {
  open_folder();
  setenv("QPAL_CACHE", in_folder("cache"), 1);
  open_both("", "");
}

TestSuite(description_kept, .init = set_up, .fini = close_folder);

static void expect_kept(const char *text) {
  char found[64] = "";
  cr_expect_eq(qp_description_is_kept(found, sizeof found), text != NULL);
  cr_expect_str_eq(found, text ? text : "");
}

Test(description_kept, is_found_again_until_a_file_is_another) {
  expect_kept(NULL);
  qp_description_keep("NVRTC 99.0 (a build)");
  expect_kept("NVRTC 99.0 (a build)");
  open_both("another", "");
  expect_kept(NULL);
  qp_description_keep("NVRTC 99.0 (another build)");
  expect_kept("NVRTC 99.0 (another build)");
  open_both("another", "others");
  expect_kept(NULL);
}

/* Without them no kernel compiles, and what asks says that. */
Test(description_kept, is_of_no_use_without_builtins) {
  dlclose(builtins);
  qp_description_keep("NVRTC 99.0");
  expect_kept(NULL);
}

Test(description_kept, that_was_changed_on_the_disk_is_not_taken) {
  char command[256];
  qp_description_keep("NVRTC 99.0");
  snprintf(command, sizeof command, "sed -i s/99.0/98.0/ '%s'/cache/nvrtc/*", folder);
  cr_assert_eq(system(command), 0);
  expect_kept(NULL);
  qp_description_keep("NVRTC 99.0");
  expect_kept("NVRTC 99.0");
}

Test(description_kept, nothing_where_there_is_no_cache) {
  setenv("QPAL_CACHE", "", 1);
  qp_description_keep("NVRTC 99.0");
  expect_kept(NULL);
}
