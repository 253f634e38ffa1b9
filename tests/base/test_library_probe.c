/* SPDX-License-Identifier: MIT */
/* Finds of shared libraries: versions, the newest, those that are too old or crash; qpal doctor. */
#include "tests/fake/fake_places.h"

#include <sys/wait.h>

#include "gen/compile/compile.h"
#include "tuner/base/library_probe.h"

TestSuite(library_probe, .init = places_open, .fini = places_close);

static qp_library_find find[QP_FINDS_MAX];

Test(library_probe, the_first_that_is_new_enough_is_chosen_and_a_newer_one_is_told) {
  places_put("v12.0/libnvrtc.so.13");
  places_put("v12.0/nvidia/cu13/lib/v13.0/libnvrtc.so.13"); /* not where it would be found */
  places_set("QPAL_NVRTC", "v12.0");
  cr_assert_eq(qp_library_finds(QP_DYNLIB_NVRTC, find), 1);
  cr_expect_not(find[0].usable);
  cr_expect_str_eq(find[0].version, "12.0");
  cr_expect_not_null(strstr(find[0].why, "too old; 12.8 or newer"), "%s", find[0].why);
  cr_expect_null(qp_library_chosen(find, 1));
  find[1] = (qp_library_find){.usable = true, .number = 1209};
  find[2] = (qp_library_find){.usable = true, .number = 1305};
  find[3] = (qp_library_find){.usable = true, .number = 1300};
  cr_expect_eq(qp_library_chosen(find, 4), &find[1]);
  cr_expect_eq(qp_library_newer(find, 4), &find[2]);
  find[1].number = 1305;
  cr_expect_null(qp_library_newer(find, 4));
}

Test(library_probe, a_library_that_ends_its_process_is_a_find_with_a_reason) {
  places_put("crash/libnvrtc.so.13");
  places_set("QPAL_NVRTC", "crash");
  cr_assert_eq(qp_library_finds(QP_DYNLIB_NVRTC, find), 1);
  cr_expect_not(find[0].usable);
  cr_expect_not_null(strstr(find[0].why, "ended"), "%s", find[0].why);
}

Test(library_probe, an_old_nvrtc_is_refused_with_a_sentence_when_kernels_are_compiled) {
  qp_compiler *c = NULL;
  qp_error err = {.text = ""};
  const qp_compiler_options opt = {.workers = 1, .cache_dir = ""};
  places_put("v12.0/libnvrtc.so.12");
  places_set("QPAL_NVRTC", "v12.0");
  cr_assert_eq(qp_compiler_open(&opt, &c, &err), QP_E_MISSING);
  cr_expect_not_null(strstr(err.text, "NVRTC 12.0 is too old; 12.8 or newer is needed"), "%s",
                     err.text);
}

/* Exit code and output of the command. */
static int doctor(const char *options, char *out, size_t size) {
  char command[256];
  snprintf(command, sizeof command, QP_BINARY_DIR "/qpal doctor %s 2>&1", options);
  FILE *from = popen(command, "r");
  cr_assert_not_null(from);
  out[fread(out, 1, size - 1, from)] = 0;
  const int status = pclose(from);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(library_probe, doctor_fails_without_an_nvrtc_that_will_do_and_says_how_to_get_one) {
  static char out[16384];
  places_put("v12.0/libnvrtc.so.12");
  places_set("QPAL_NVRTC", "v12.0");
  cr_expect_eq(doctor("", out, sizeof out), 1, "%s", out);
  cr_expect(strstr(out, "too old") && strstr(out, "pip install nvidia-cuda-nvrtc"), "%s", out);
  unsetenv("QPAL_NVRTC");
  cr_expect_eq(doctor("--json", out, sizeof out), 0, "%s", out);
  cr_expect(strstr(out, "\"libraries\"") && strstr(out, "\"needed_for\""), "%s", out);
  cr_expect_eq(doctor("aspirin", out, sizeof out), 2, "%s", out);
}
