/* SPDX-License-Identifier: MIT */
/* How long the simulator lets an encode kernel run: as long as its work takes, and no longer. */
#include "tests/check/check_kit.h"

#include <stdio.h>
#include <string.h>

#include "runtime/sim/sim.h"

/* A simulator that by itself lets a thread execute no more than one instruction. */
static void open_impatient(void) {
  qp_sim_switches switches;
  kit_open();
  cr_assert_eq(qp_sim_switches_get(device, &switches, &err), QP_OK, "%s", err.text);
  switches.thread_limit = 1;
  cr_assert_eq(qp_sim_switches_set(device, &switches, &err), QP_OK, "%s", err.text);
}

TestSuite(verify_encode, .init = open_impatient, .fini = kit_close);

static void make_kernel(qp_op op, unsigned rows, const char *name, qp_kernel *k) {
  qp_problem p = {.op = op, .segments = 1, .columns = 64, .batch = 1, .arch = 90, .sm_count = 2};
  qp_choice c;
  p.segment[0].quantizer = kit_quantizer(name);
  p.segment[0].rows = rows;
  const qp_family *f = qp_families_serving(session.families, &p, NULL);
  cr_assert_not_null(f, "%s", name);
  qp_choice_default(f, &c);
  cr_assert_eq(qp_kernel_make(session.families, &p, &c, k, &err), QP_OK, "%s", err.text);
}

Test(verify_encode, the_time_of_a_thread_follows_its_work_and_is_as_before_afterwards) {
  static const struct {
    qp_op op;
    unsigned rows;
    const char *name;
  } of[] = {{QP_OP_ENCODE, 48, "nuq-2"},
            {QP_OP_ENCODE, 48, "small6-6-2"},
            {QP_OP_ENCODE, 48, "small11-10-2"},
            {QP_OP_ENCODE_FED, 16, "small6-6-2"}};
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
    char path[512];
    qp_kernel k;
    qp_sim_switches switches;
    snprintf(path, sizeof path, "%s/tests/kernel/encode_small.lua:%s", QP_SOURCE_DIR, of[i].name);
    make_kernel(of[i].op, of[i].rows, i ? path : of[i].name, &k);
    const qp_verdict v = kit_verdict(&k, 7);
    cr_expect(v.pass, "%s: %s", of[i].name, v.why);
    cr_assert_eq(qp_sim_switches_get(device, &switches, &err), QP_OK);
    cr_expect_eq(switches.thread_limit, 1);
    qp_kernel_free(&k);
  }
}

Test(verify_encode, a_search_that_never_ends_is_ended) {
  qp_kernel k;
  make_kernel(QP_OP_ENCODE, 48, "nuq-2", &k);
  char *step = strstr(k.source, "base += PIECE");
  cr_assert_not_null(step);
  memcpy(step, "base += 0    ", strlen("base += PIECE"));
  const qp_verdict v = kit_verdict(&k, 7);
  cr_expect(!v.pass && v.fault && strstr(v.why, "timeout"), "%s", v.why);
  qp_kernel_free(&k);
}
