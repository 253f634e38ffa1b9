/* SPDX-License-Identifier: MIT */
/*
** A libnvrtc that only tells its version, which is in its path: ".../v13.5/...".  In a folder
** "crash" it ends the process that loads it.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nvrtcVersion(int *major, int *minor);

static const char *own_path(void) {
  static Dl_info info;
  return dladdr((void *)&info, &info) && info.dli_fname ? info.dli_fname : "";
}

int nvrtcVersion(int *major, int *minor) {
  const char *at = strstr(own_path(), "/v");
  return at && sscanf(at, "/v%d.%d/", major, minor) == 2 ? 0 : 1;
}

__attribute__((constructor)) static void begin(void) {
  if (strstr(own_path(), "/crash/")) abort();
}
