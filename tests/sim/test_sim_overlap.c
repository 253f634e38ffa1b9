/* SPDX-License-Identifier: MIT */
/* Launches that overlap, and blocks and warps in shuffled order. */
#include "runtime/sim/sim.h"
#include "tests/sim/sim_kit.h"

static const char *const wait = "griddepcontrol.wait;\n";
static const char *const go = "griddepcontrol.launch_dependents;\n";
/* One word of the input goes to the output, by one thread. */
static const char *const copy =
    "mov.u32 %r2, %ctaid.x; or.b32 %r2, %r2, %r0; setp.eq.u32 %p9, %r2, 0;\n"
    "@%p9 ld.global.u32 %r1, [%d0]; @%p9 st.global.u32 [%d1], %r1;\n";

/* A kernel of these pieces, one after another. */
static qp_function *piece(kit *k, qp_module **module, const char *a, const char *b, const char *c,
                          const char *d) {
  char body[1024];
  snprintf(body, sizeof body, "%s%s%s%s", a, b, c, d);
  char *ptx = kit_kernel("", body);
  qp_function *f = NULL;
  cr_assert_eq(qp_device_load(k->dev, ptx, strlen(ptx), module, &k->err), QP_OK, "%s", k->err.text);
  cr_assert_eq(qp_device_function(k->dev, *module, "k", &f, &k->err), QP_OK);
  free(ptx);
  return f;
}

static qp_status launch(kit *k, qp_function *f, qp_devptr in, qp_devptr out, bool pdl) {
  const qp_devptr params[2] = {in, out};
  const qp_launch how = {
      .grid = 2, .block = 32, .params = params, .params_bytes = sizeof params, .pdl = pdl};
  return qp_device_launch(k->dev, f, &how, &k->err);
}

typedef struct chain {
  kit k;
  qp_module *module[4];
  qp_devptr buffer[4];
} chain;

static void open_chain(chain *c) {
  *c = (chain){0};
  kit_open(&c->k, "sim:sm_90:2");
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(c->k.dev, &s, &c->k.err), QP_OK);
  s.overlap = true;
  cr_assert_eq(qp_sim_switches_set(c->k.dev, &s, &c->k.err), QP_OK);
  for (int i = 0; i < 4; i++) {
    cr_assert_eq(qp_device_alloc(c->k.dev, 256, &c->buffer[i], &c->k.err), QP_OK);
    cr_assert_eq(qp_device_fill(c->k.dev, c->buffer[i], (uint8_t)i, 256, &c->k.err), QP_OK);
  }
}

static void close_chain(chain *c) {
  for (int i = 0; i < 4; i++)
    if (c->module[i]) qp_device_unload(c->k.dev, c->module[i]);
  kit_close(&c->k);
}

/* Two launches of 'copy': buffer 0 -> 1 -> 2, the second of the given pieces. */
static qp_status two(chain *c, bool pdl, const char *a, const char *b) {
  open_chain(c);
  qp_function *first = piece(&c->k, &c->module[0], go, wait, copy, "");
  qp_function *second = piece(&c->k, &c->module[1], a, b, "", "");
  cr_assert_eq(launch(&c->k, first, c->buffer[0], c->buffer[1], true), QP_OK, "%s", c->k.err.text);
  return launch(&c->k, second, c->buffer[1], c->buffer[2], pdl);
}

Test(sim_overlap, a_dependent_that_waits_reads_what_its_predecessor_wrote) {
  chain c;
  cr_assert_eq(two(&c, true, wait, copy), QP_OK, "%s", c.k.err.text);
  uint32_t word;
  cr_assert_eq(qp_device_download(c.k.dev, &word, c.buffer[2], 4, &c.k.err), QP_OK);
  cr_assert_eq(word, 0);
  close_chain(&c);
}

Test(sim_overlap, a_dependent_that_reads_before_it_waited_is_an_error_that_names_both_kernels) {
  chain c;
  cr_assert_eq(two(&c, true, copy, wait), QP_E_DEVICE);
  cr_assert_not_null(strstr(c.k.err.text, "race of launches: reads"), "%s", c.k.err.text);
  cr_assert_not_null(strstr(c.k.err.text, "kernel 'k'"), "%s", c.k.err.text);
  close_chain(&c);
}

Test(sim_overlap, a_launch_without_the_attribute_waits_for_all) {
  chain c;
  cr_assert_eq(two(&c, false, copy, ""), QP_OK, "%s", c.k.err.text);
  close_chain(&c);
}

/* The second writes what the first only read. */
Test(sim_overlap, writing_what_the_predecessor_reads_is_an_error_before_the_wait) {
  chain c;
  open_chain(&c);
  qp_function *first = piece(&c.k, &c.module[0], go, wait, copy, "");
  qp_function *second = piece(&c.k, &c.module[1], copy, wait, "", "");
  cr_assert_eq(launch(&c.k, first, c.buffer[0], c.buffer[1], true), QP_OK);
  cr_assert_eq(launch(&c.k, second, c.buffer[3], c.buffer[0], true), QP_E_DEVICE);
  cr_assert_not_null(strstr(c.k.err.text, "writes"), "%s", c.k.err.text);
  cr_assert_not_null(strstr(c.k.err.text, " read and "), "%s", c.k.err.text);
  close_chain(&c);
}

Test(sim_overlap, a_fill_between_two_launches_waits_for_the_first) {
  chain c;
  open_chain(&c);
  qp_function *first = piece(&c.k, &c.module[0], go, wait, copy, "");
  qp_function *second = piece(&c.k, &c.module[1], copy, "", "", "");
  cr_assert_eq(launch(&c.k, first, c.buffer[0], c.buffer[1], true), QP_OK);
  cr_assert_eq(qp_device_fill(c.k.dev, c.buffer[2], 0, 256, &c.k.err), QP_OK);
  cr_assert_eq(launch(&c.k, second, c.buffer[1], c.buffer[2], true), QP_OK, "%s", c.k.err.text);
  close_chain(&c);
}

/*
** Three launches; the middle one lets its dependents go before it waited, so the first may still
** run when the third begins.  The third reads what the first wrote.
*/
static qp_status three(chain *c, const char *m1, const char *m2, const char *l1, const char *l2) {
  open_chain(c);
  qp_function *first = piece(&c->k, &c->module[0], go, wait, copy, "");
  qp_function *middle = piece(&c->k, &c->module[1], m1, m2, "", "");
  qp_function *last = piece(&c->k, &c->module[2], l1, l2, "", "");
  cr_assert_eq(launch(&c->k, first, c->buffer[0], c->buffer[1], true), QP_OK);
  cr_assert_eq(launch(&c->k, middle, c->buffer[3], c->buffer[3], true), QP_OK, "%s", c->k.err.text);
  return launch(&c->k, last, c->buffer[1], c->buffer[2], true);
}

Test(sim_overlap, the_launch_before_the_predecessor_may_still_run_too) {
  chain c;
  cr_assert_eq(three(&c, go, wait, copy, wait), QP_E_DEVICE);
  close_chain(&c);
  cr_assert_eq(three(&c, wait, go, copy, wait), QP_OK, "%s", c.k.err.text);
  close_chain(&c);
  cr_assert_eq(three(&c, go, wait, wait, copy), QP_OK, "%s", c.k.err.text);
  close_chain(&c);
}

Test(sim_overlap, a_predecessor_that_never_waits_says_nothing_of_those_before_it) {
  chain c;
  cr_assert_eq(three(&c, go, "", wait, copy), QP_E_DEVICE);
  cr_assert_not_null(strstr(c.k.err.text, "kernel between"), "%s", c.k.err.text);
  close_chain(&c);
}

/* Each block takes the next number of a counter: the order in which blocks ran. */
static void run_order(uint64_t seed, uint32_t *number) {
  kit k;
  kit_open(&k, "sim:sm_90:1");
  qp_sim_switches s;
  cr_assert_eq(qp_sim_switches_get(k.dev, &s, &k.err), QP_OK);
  s.schedule = seed;
  cr_assert_eq(qp_sim_switches_set(k.dev, &s, &k.err), QP_OK);
  const uint32_t zero = 0;
  kit_buffers(&k, &zero, 4, 64 * 4);
  char *ptx = kit_kernel("", "mov.u32 %r1, %ctaid.x; mul.wide.u32 %d3, %r1, 4;"
                             "add.s64 %d3, %d1, %d3; atom.global.add.u32 %r2, [%d0], 1;"
                             "st.global.u32 [%d3], %r2;");
  cr_assert_eq(kit_load(&k, ptx), QP_OK, "%s", k.err.text);
  cr_assert_eq(kit_launch(&k, 64, 1, 0), QP_OK, "%s", k.err.text);
  cr_assert_eq(qp_device_download(k.dev, number, k.out, 64 * 4, &k.err), QP_OK);
  free(ptx);
  kit_close(&k);
}

Test(sim_overlap, a_seed_shuffles_the_blocks_and_gives_the_same_order_again) {
  uint32_t plain[64], one[64], again[64], two_[64];
  run_order(0, plain);
  run_order(1, one);
  run_order(1, again);
  run_order(2, two_);
  for (uint32_t i = 0; i < 64; i++) cr_assert_eq(plain[i], i);
  cr_assert_arr_eq(one, again, sizeof one);
  cr_assert(memcmp(one, plain, sizeof one) != 0);
  cr_assert(memcmp(one, two_, sizeof one) != 0);
}
