/* SPDX-License-Identifier: MIT */
/* Timings made of samples, and the order in which candidates are launched. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tuner/tune/meter.h"

static qp_error err;

Test(meter, a_timing_is_the_median_and_the_median_distance_from_it) {
  int64_t odd[] = {90, 10, 30, 20, 50}, even[] = {4, 1, 3, 2}, one[] = {7};
  qp_timing t = qp_timing_of(odd, 5);
  cr_assert_eq(t.ps, 30);
  cr_assert_eq(t.spread_ps, 20, "of 60 20 0 10 20");
  cr_assert_eq(t.samples, 5);
  t = qp_timing_of(even, 4);
  cr_assert_eq(t.ps, 2, "the lower of two");
  cr_assert_eq(t.spread_ps, 1);
  t = qp_timing_of(one, 1);
  cr_assert_eq(t.ps, 7);
  cr_assert_eq(t.spread_ps, 0);
}

/* A meter that writes down whom it launches. */
struct qp_metered {
  char name;
  int64_t ps;
};
static char order[256];
static unsigned launches;
static int64_t bad; /* the value of every third sample; 0: none is bad */
static bool use_bad;

static qp_status fake_sample(qp_meter *m, qp_metered *c, unsigned n, int64_t *ps, qp_error *e) {
  (void)m, (void)e;
  order[strlen(order)] = c->name;
  for (unsigned i = 0; i < n; i++, launches++) ps[i] = use_bad && i % 3 == 2 ? bad : c->ps + i;
  return QP_OK;
}

static const qp_meter_ops fake_ops = {.sample = fake_sample};
static qp_meter fake = {.ops = &fake_ops};
static char noted[256];
static void note(unsigned i, void *arg) {
  (void)arg;
  noted[strlen(noted)] = (char)('a' + i);
}

Test(meter, the_clock_is_warmed_for_10_ms_which_are_not_counted) {
  qp_metered a = {.name = 'a', .ps = 1000000000}; /* 1 ms */
  qp_timing t;
  cr_assert_eq(qp_timing_take(&fake, &a, 5, &t, &err), QP_OK);
  cr_assert_eq(t.samples, 5);
  cr_assert_eq(t.ps, 1000000002);
  cr_assert_eq(launches, 10 + 5);
  a.ps = 5000000; /* 5 us: 2,000 launches, in chunks of at most 1,024 */
  launches = 0;
  cr_assert_eq(qp_timing_take(&fake, &a, 5, &t, &err), QP_OK);
  cr_assert(launches > 1990 && launches <= 2010, "%u", launches);
}

Test(meter, timestamps_that_are_zero_negative_or_absurd_are_refused) {
  static const int64_t values[] = {0, -5, (int64_t)61 * 1000000000000};
  qp_metered a = {.name = 'a', .ps = 100};
  use_bad = true;
  for (size_t i = 0; i < 3; i++) {
    qp_timing t = {.ps = 77};
    bad = values[i];
    cr_assert_eq(qp_timing_take(&fake, &a, 20, &t, &err), QP_E_WRONG);
    cr_assert(strstr(err.text, "no duration"), "%s", err.text);
    cr_assert_eq(t.ps, 77, "untouched");
  }
}

Test(meter, finalists_take_turns_so_that_drift_meets_all) {
  qp_metered a = {.name = 'a', .ps = 1000000000}, b = {.name = 'b', .ps = 2000000000};
  qp_metered *list[] = {&a, &b};
  qp_timing t[2];
  cr_assert_eq(qp_timing_interleaved(&fake, list, 2, 3, 5, t, note, NULL, &err), QP_OK);
  cr_assert_str_eq(order, "aaaabbaabbaabb",
                   "10 ms of the first, then a warm-up launch and samples in each turn");
  cr_assert_str_eq(noted, "aababab");
  cr_assert_eq(t[0].samples, 15);
  cr_assert_eq(t[0].ps, 1000000002);
  cr_assert_eq(t[1].ps, 2000000002);
}

Test(meter, more_launches_than_fit_are_refused) {
  qp_metered a = {.name = 'a', .ps = 100}, *list[] = {&a};
  qp_timing t;
  cr_assert_eq(qp_timing_take(&fake, &a, 0, &t, &err), QP_E_ARG);
  cr_assert_eq(qp_timing_take(&fake, &a, QP_TIMING_MOST + 1, &t, &err), QP_E_ARG);
  cr_assert_eq(qp_timing_interleaved(&fake, list, 1, 1025, 1, &t, note, NULL, &err), QP_E_ARG);
  cr_assert_eq(qp_timing_interleaved(&fake, list, 1, 1u << 31, 2, &t, note, NULL, &err), QP_E_ARG);
}

/* ---- The replay device ---- */

static void opens_not(const char *text, const char *part) {
  char file[64], device[80];
  qp_meter *m = NULL;
  snprintf(file, sizeof file, "/tmp/qpal_meter_%p.json", (void *)&m);
  snprintf(device, sizeof device, "replay:%s", file);
  FILE *f = fopen(file, "w");
  cr_assert(f);
  fputs(text, f);
  fclose(f);
  cr_assert_eq(qp_meter_open(device, false, &m, &err), QP_E_ARG, "%s", text);
  cr_assert(strstr(err.text, part), "'%s' is missing in: %s", part, err.text);
  remove(file);
}

#define HEAD "{\"gpu\":\"G\",\"arch\":90,\"sm_count\":132,\"driver\":\"1\""

Test(meter, what_is_wrong_in_a_replay_file_is_named) {
  opens_not("[]", "an object");
  opens_not("{\"gpu\":\"G\"}", "'driver'");
  opens_not("{\"gpu\":\"G\",\"arch\":90,\"driver\":\"1\"}", "'sm_count'");
  opens_not(HEAD ",\"noise\":2}", "'noise'");
  opens_not(HEAD ",\"rules\":[7]}", "rules");
  opens_not(HEAD ",\"rules\":[{\"match\":\"\",\"fault\":\"sloth\"}]}", "'sloth'");
  opens_not(HEAD ",\"rules\":[{\"match\":\"\",\"fault\":\"hang\",\"every\":0}]}", "'every'");
}

Test(meter, only_devices_with_a_clock_can_be_opened) {
  static const char *const names[] = {"sim", "sim:sm_90", "toaster", "cuda:", "cuda:x", "replay:"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    qp_meter *m = NULL;
    cr_assert_eq(qp_meter_open(names[i], false, &m, &err), QP_E_ARG, "%s", names[i]);
    cr_assert(strstr(err.text, "cuda:N or replay:FILE"), "%s", err.text);
  }
  qp_meter *m = NULL;
  cr_assert_eq(qp_meter_open("replay:/nowhere/x.json", false, &m, &err), QP_E_IO);
}
