/* SPDX-License-Identifier: MIT */
/* Chains of dependent launches in the simulator; a launch that does not wait is seen. */
#include "tuner/check/chain.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "tuner/base/session.h"

typedef struct kit {
  qp_session session;
  qp_device *dev;
  qp_compiler *compiler;
  qp_error err;
} kit;

static void open_kit(kit *k) {
  *k = (kit){0};
  cr_assert_eq(qp_compiler_open(NULL, &k->compiler, &k->err), QP_OK, "%s", k->err.text);
  cr_assert_eq(qp_session_open(&k->session, &k->err), QP_OK, "%s", k->err.text);
  cr_assert_eq(qp_device_open("sim:sm_90:2", &k->dev, &k->err), QP_OK, "%s", k->err.text);
}

static void close_kit(kit *k) {
  qp_device_close(k->dev);
  qp_session_close(&k->session);
  qp_compiler_close(k->compiler);
}

static qp_verdict run(kit *k, const char *quantizer, const char *path, bool atomic) {
  qp_chain_case what = {.path = path,
                        .size = 256,
                        .batch = 2,
                        .atomic = atomic,
                        .arch = 90,
                        .sm_count = 2,
                        .seed = 7};
  cr_assert_eq(qp_palette_find(k->session.palette, quantizer, &what.quantizer, &k->err), QP_OK);
  qp_verdict v;
  cr_assert_eq(qp_chain_verify(k->dev, k->session.families, k->compiler, &what, &v, &k->err), QP_OK,
               "%s", k->err.text);
  return v;
}

Test(chain, four_launches_that_overlap_give_the_bits_of_four_launches_one_by_one) {
  kit k;
  open_kit(&k);
  const char *const quantizers[] = {"tcq-3", "nuq-4", "int4-g128"};
  for (size_t i = 0; i < sizeof quantizers / sizeof *quantizers; i++) {
    const qp_verdict v = run(&k, quantizers[i], NULL, false);
    cr_assert(v.pass, "%s: %s", quantizers[i], v.why);
    cr_assert_eq(v.compared, 512);
  }
  const qp_verdict v = run(&k, "nuq-4", "cuda", false);
  cr_assert(v.pass, "cuda: %s", v.why);
  close_kit(&k);
}

Test(chain, a_launch_that_adds_may_follow_the_fill_that_zeroes_its_output) {
  kit k;
  open_kit(&k);
  const qp_verdict v = run(&k, "tcq-3", NULL, true);
  cr_assert(v.pass, "%s", v.why);
  close_kit(&k);
}

Test(chain, an_architecture_without_dependent_launches_is_refused) {
  kit k;
  open_kit(&k);
  const qp_chain_case what = {.size = 256, .batch = 1, .arch = 86, .sm_count = 2};
  qp_verdict v;
  cr_assert_eq(qp_chain_verify(k.dev, k.session.families, k.compiler, &what, &v, &k.err), QP_E_ARG);
  cr_assert_not_null(strstr(k.err.text, "sm_86"));
  close_kit(&k);
}

/* A copy of lua/ and templates/ in which one line of one template is gone; tests run side by
** side. */
static void home_without(const char *file, const char *line) {
  char command[2048], home[512];
  snprintf(home, sizeof home, "%s/chain-home-%s", QP_BINARY_DIR, file);
  snprintf(command, sizeof command,
           "rm -rf '%s' && mkdir -p '%s/tuned' && cp -r '%s/lua' '%s/templates' '%s'", home, home,
           QP_SOURCE_DIR, QP_SOURCE_DIR, home);
  cr_assert_eq(system(command), 0);
  snprintf(command, sizeof command, "grep -qF '%s' '%s/templates/%s'", line, home, file);
  cr_assert_eq(system(command), 0, "%s has no such line: %s", file, line);
  snprintf(command, sizeof command, "sed -i '/%s/d' '%s/templates/%s'", line, home, file);
  cr_assert_eq(system(command), 0);
  setenv("QPAL_HOME", home, 1);
}

Test(chain, a_gemm_that_does_not_wait_is_seen) {
  home_without("gemm.cuh.in", "griddepcontrol.wait");
  kit k;
  open_kit(&k);
  const qp_verdict v = run(&k, "nuq-4", NULL, false);
  cr_assert_not(v.pass);
  cr_assert_not_null(strstr(v.why, "race of launches"), "%s", v.why);
  close_kit(&k);
}

Test(chain, a_rotation_that_does_not_wait_is_seen) {
  home_without("rotate.cu.in", "griddepcontrol.wait");
  kit k;
  open_kit(&k);
  const qp_verdict v = run(&k, "nuq-4", NULL, false);
  cr_assert_not(v.pass);
  cr_assert_not_null(strstr(v.why, "race of launches"), "%s", v.why);
  close_kit(&k);
}
