/* SPDX-License-Identifier: MIT */
/* A temporary folder with fake libraries in places that people have. */
#ifndef QP_FAKE_PLACES_H
#define QP_FAKE_PLACES_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char places[64];

static inline void places_run(const char *format, const char *a, const char *b) {
  char command[1024];
  snprintf(command, sizeof command, format, a, b);
  cr_assert_eq(system(command), 0, "%s", command);
}

static inline void places_open(void) {
  snprintf(places, sizeof places, "/tmp/qpal-places-XXXXXX");
  cr_assert_not_null(mkdtemp(places));
  static const char *const variables[] = {"QPAL_NVRTC", "QPAL_LIBCUDA", "CUDA_HOME", "CUDA_PATH",
                                          "LD_LIBRARY_PATH"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
}

static inline void places_close(void) { places_run("rm -rf '%s'%s", places, ""); }

/* A copy of the fake NVRTC as 'path' below the folder. */
static inline void places_put(const char *path) {
  char to[512];
  snprintf(to, sizeof to, "%s/%s", places, path);
  places_run("mkdir -p \"$(dirname '%s')\"%s", to, "");
  places_run("cp " QP_BINARY_DIR "/libfake_nvrtc.so '%s'%s", to, "");
}

/* An environment variable becomes a folder below. */
static inline void places_set(const char *variable, const char *below) {
  char value[512];
  snprintf(value, sizeof value, "%s/%s", places, below);
  setenv(variable, value, 1);
}

#endif
