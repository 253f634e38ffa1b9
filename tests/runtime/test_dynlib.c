/* SPDX-License-Identifier: MIT */
/* Where shared libraries are looked for, in the order of runtime/LIBRARIES.md. */
#include "runtime/dynlib.h"
#include "tests/fake/fake_places.h"

TestSuite(dynlib, .init = places_open, .fini = places_close);

typedef struct seen {
  char path[32][512], place[32][64];
  size_t count;
} seen;

static bool note(const char *path, const char *place, void *arg) {
  seen *s = arg;
  snprintf(s->path[s->count], sizeof s->path[0], "%s", path);
  snprintf(s->place[s->count], sizeof s->place[0], "%s", place);
  return ++s->count == 32;
}

/* Number of the visit whose path ends so; -1: none. */
static int position(const seen *s, const char *end, const char *place) {
  for (size_t i = 0; i < s->count; i++) {
    const size_t n = strlen(s->path[i]), m = strlen(end);
    if (n >= m && !strcmp(s->path[i] + n - m, end) && !strcmp(s->place[i], place)) return (int)i;
  }
  return -1;
}

static seen visit(qp_dynlib_id id) {
  static seen s;
  s.count = 0;
  cr_assert_not(qp_dynlib_each(id, note, &s));
  return s;
}

Test(dynlib, a_toolkit_in_cuda_home_is_found_in_each_of_its_folders) {
  places_put("home/lib64/libnvrtc.so.12");
  places_put("home/lib/libnvrtc.so.13");
  places_put("path/extras/CUPTI/lib64/libcupti.so.13");
  places_set("CUDA_HOME", "home");
  places_set("CUDA_PATH", "path");
  const seen s = visit(QP_DYNLIB_NVRTC);
  const int a = position(&s, "home/lib64/libnvrtc.so.12", "$CUDA_HOME");
  const int b = position(&s, "home/lib/libnvrtc.so.13", "$CUDA_HOME");
  cr_expect_eq(position(&s, "libnvrtc.so.13", "the loader's path"), 0);
  cr_expect(a > 0 && b > a, "%d %d", a, b);
  const seen c = visit(QP_DYNLIB_CUPTI);
  cr_expect_gt(position(&c, "extras/CUPTI/lib64/libcupti.so.13", "$CUDA_PATH"), 0);
}

Test(dynlib, wheels_of_the_python3_on_path_are_found) {
  char script[256];
  places_put("site/nvidia/cu13/lib/libnvrtc.so.13");
  places_put("site/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
  places_put("site/nvidia/cublas/lib/libcublas.so.12");
  snprintf(script, sizeof script, "%s/python3", places);
  places_run("printf '#!/bin/sh\\necho %s/site\\n' > '%s'", places, script);
  places_run("chmod +x '%s'%s", script, "");
  setenv("PATH", places, 1);
  const seen s = visit(QP_DYNLIB_NVRTC);
  setenv("PATH", "/usr/bin:/bin", 1);
  const int new = position(&s, "cu13/lib/libnvrtc.so.13", "python3's packages");
  const int old = position(&s, "cuda_nvrtc/lib/libnvrtc.so.12", "python3's packages");
  cr_expect(new > 0 && old > new, "%d %d", new, old);
}

Test(dynlib, a_variable_names_a_file_a_folder_or_a_folder_of_packages_and_is_the_only_place) {
  static const char *const values[] = {"a/libnvrtc.so.13", "a", "site"};
  places_put("a/libnvrtc.so.13");
  places_put("site/nvidia/cu13/lib/libnvrtc.so.13");
  places_set("CUDA_HOME", "a");
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    places_set("QPAL_NVRTC", values[i]);
    const seen s = visit(QP_DYNLIB_NVRTC);
    cr_expect_eq(s.count, 1, "%s: %zu", values[i], s.count);
    cr_expect_eq(position(&s, "/libnvrtc.so.13", "$QPAL_NVRTC"), 0);
  }
}

static qp_status refuse(void *handle, qp_error *err) {
  (void)handle;
  return qp_fail(err, QP_E_MISSING, "it is not to my taste");
}

Test(dynlib, what_is_there_and_does_not_do_is_told_with_the_reason_and_the_advice) {
  void *handle = NULL;
  qp_error err = {.text = ""};
  places_put("a/libnvrtc.so.13");
  places_set("QPAL_NVRTC", "a");
  cr_assert_eq(qp_dynlib_open(QP_DYNLIB_NVRTC, NULL, &handle, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_dynlib_open(QP_DYNLIB_NVRTC, refuse, &handle, &err), QP_E_MISSING);
  cr_expect(strstr(err.text, "a/libnvrtc.so.13") && strstr(err.text, "not to my taste"), "%s",
            err.text);
  cr_expect(strstr(err.text, "compiling kernels") && strstr(err.text, "pip install nvidia-cuda") &&
                strstr(err.text, "QPAL_NVRTC"),
            "%s", err.text);
}
