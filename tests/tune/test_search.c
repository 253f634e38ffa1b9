/* SPDX-License-Identifier: MIT */
/* Searches over a family's tunables with made-up durations: what is proposed, and when it ends. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/inspect/instruction_mix.h"
#include "tuner/base/session.h"
#include "tuner/tune/search.h"

static qp_error err;
static qp_session session;
static qp_problem problem;
static qp_family family; /* gemm_tensor, or a part of its space */

static void open_all(void) {
  cr_assert_eq(qp_session_open(&session, &err), QP_OK, "%s", err.text);
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(session.palette, "nuq-4", &q, &err), QP_OK, "%s", err.text);
  problem = (qp_problem){.op = QP_OP_GEMM,
                         .segments = 1,
                         .segment = {{.quantizer = q, .rows = 256}},
                         .columns = 256,
                         .batch = 1,
                         .type = QP_F16,
                         .out_type = QP_F16,
                         .arch = 90,
                         .sm_count = 132};
  family = *qp_families_find(session.families, "gemm_tensor");
}

static void close_all(void) { qp_session_close(&session); }
TestSuite(search, .init = open_all, .fini = close_all);

static unsigned at(const char *tunable) {
  for (unsigned t = 0; t < family.tunables; t++)
    if (!strcmp(family.tunable[t].name, tunable)) return t;
  cr_assert(false, "no tunable '%s'", tunable);
  return 0;
}

/* Only these tunables vary, the others stay at their defaults. */
static void keep_only(const char *const *names, unsigned count) {
  for (unsigned t = 0; t < family.tunables; t++) {
    bool kept = false;
    for (unsigned i = 0; i < count; i++) kept |= !strcmp(family.tunable[t].name, names[i]);
    if (!kept) family.tunable[t].values = 1;
  }
}

static qp_search *start(qp_search_options opt) {
  qp_search *s = NULL;
  cr_assert_eq(qp_search_open(session.families, &family, &problem, &opt, &s, &err), QP_OK, "%s",
               err.text);
  return s;
}

static bool same(const qp_choice *a, const qp_choice *b) {
  return !memcmp(a->value, b->value, family.tunables * sizeof *a->value);
}

/* Durations that grow with the distance of each tunable's place from a target's. */
static unsigned target[QP_MAX_TUNABLES];
static int64_t valley(const qp_choice *c) {
  int64_t ps = 1000;
  for (unsigned t = 0; t < family.tunables; t++) {
    unsigned i = 0;
    while (family.tunable[t].value[i] != c->value[t]) i++;
    ps += 100 * llabs((long long)i - (long long)target[t]);
  }
  return ps;
}

/* Run to the end, 'batch' at a time; what was proposed, in order. */
static unsigned run(qp_search *s, unsigned batch, int64_t (*ps)(const qp_choice *), qp_choice *seen,
                    unsigned most) {
  qp_choice got[64];
  unsigned count = 0, n;
  while ((n = qp_search_propose(s, got, batch)) > 0) {
    for (unsigned i = 0; i < n; i++) {
      cr_assert_lt(count, most, "the search does not end");
      seen[count++] = got[i];
      qp_search_tell(s, &got[i], ps(&got[i]));
    }
  }
  return count;
}

static int64_t fails(const qp_choice *c) { return c ? 0 : 1; }

Test(search, exhaustive_proposes_every_valid_choice_exactly_once) {
  static const char *const names[] = {"warps", "stages", "atomic", "blocks"};
  keep_only(names, 4);
  problem.batch = 16;
  /* The file's rules for f16 outputs at batch 16: no atomic sums, at most 32 warps in all. */
  unsigned valid = 0;
  for (unsigned w = 0; w < 4; w++)
    for (unsigned b = 1; b <= 2; b++)
      if (family.tunable[at("warps")].value[w] * b <= 32) valid += 3;
  for (unsigned batch = 1; batch <= 7; batch += 3) {
    static qp_choice seen[256];
    qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_EXHAUSTIVE, .seed = batch});
    const unsigned n = run(s, batch, fails, seen, 256);
    cr_assert_eq(n, valid, "%u of %u", n, valid);
    for (unsigned i = 0; i < n; i++) {
      cr_assert_eq(seen[i].value[at("atomic")], 0);
      cr_assert_leq(seen[i].value[at("warps")] * seen[i].value[at("blocks")], 32);
      for (unsigned k = 0; k < i; k++) cr_assert(!same(&seen[i], &seen[k]), "%u and %u", i, k);
    }
    cr_assert_eq(qp_search_count(s), valid);
    qp_search_close(s);
  }
}

Test(search, auto_is_exhaustive_where_the_space_is_small) {
  static const char *const names[] = {"warps", "stages"};
  keep_only(names, 2);
  static qp_choice seen[64];
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_AUTO, .seed = 3});
  cr_assert_eq(run(s, 5, fails, seen, 64), 12);
  qp_search_close(s);
}

Test(search, local_finds_the_bottom_of_a_valley_in_a_space_of_a_hundred_thousand) {
  double points = 1;
  for (unsigned t = 0; t < family.tunables; t++) {
    points *= family.tunable[t].values;
    target[t] = family.tunable[t].values - 1;
  }
  target[at("atomic")] = 0; /* not allowed with f16 outputs */
  target[at("owned")] = 0;  /* not allowed with slabs */
  target[at("warps")] = 2;  /* 24 warps, two blocks of them */
  cr_assert_gt(points, 1e5);
  for (uint64_t seed = 1; seed <= 5; seed++) {
    static qp_choice seen[200];
    qp_search *s =
        start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = seed, .most = 200});
    const unsigned n = run(s, 8, valley, seen, 200);
    unsigned found = n;
    for (unsigned i = n; i-- > 0;)
      if (valley(&seen[i]) == 1000) found = i;
    cr_assert_lt(found, n, "seed %llu", (unsigned long long)seed);
    qp_search_close(s);
  }
}

/* Two valleys: that of the defaults is the shallow one, and all ways out of it lead up. */
static int64_t two_valleys(const qp_choice *c) {
  const unsigned w = c->value[at("warps")], st = c->value[at("stages")], b = c->value[at("copies")];
  if (w == 8 && st == 4 && b == 32) return 500;
  return 1000 + 10 * (w != 16) + 10 * (st != 2) + 10 * (b != 0);
}

Test(search, local_restarts_when_no_neighbour_is_better) {
  static const char *const names[] = {"warps", "stages", "copies"};
  keep_only(names, 3);
  static qp_choice seen[256];
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 9});
  const unsigned n = run(s, 4, two_valleys, seen, 256);
  bool found = false;
  for (unsigned i = 0; i < n; i++) found |= two_valleys(&seen[i]) == 500;
  cr_assert(found, "%u proposals", n);
  qp_search_close(s);
}

Test(search, equal_seeds_propose_equal_sequences_and_other_seeds_others) {
  static qp_choice a[60], b[60];
  unsigned differences[2] = {0, 0};
  for (unsigned other = 0; other < 2; other++) {
    qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 7, .most = 60});
    qp_search *t =
        start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 7 + other, .most = 60});
    cr_assert_eq(run(s, 8, valley, a, 60), 60);
    cr_assert_eq(run(t, 8, valley, b, 60), 60);
    for (unsigned i = 0; i < 60; i++) differences[other] += !same(&a[i], &b[i]);
    qp_search_close(s);
    qp_search_close(t);
  }
  cr_assert_eq(differences[0], 0);
  cr_assert_gt(differences[1], 0);
}

Test(search, no_strategy_proposes_more_than_the_budget) {
  for (unsigned k = 0; k < 3; k++) {
    static qp_choice seen[64];
    qp_search *s = start((qp_search_options){.strategy = (qp_strategy)k, .seed = 1, .most = 17});
    cr_assert_eq(run(s, 8, valley, seen, 64), 17);
    cr_assert_eq(qp_search_propose(s, seen, 1), 0);
    qp_search_close(s);
  }
}

Test(search, seeds_come_first_in_their_order_and_then_the_defaults) {
  qp_choice from[2], got[3], plain;
  qp_choice_default(&family, &plain);
  from[0] = from[1] = plain;
  from[0].value[at("warps")] = 24;
  from[1].value[at("stages")] = 4;
  for (unsigned k = 1; k < 3; k++) {
    qp_search *s =
        start((qp_search_options){.strategy = (qp_strategy)k, .seed = 1, .from = from, .froms = 2});
    cr_assert_eq(qp_search_propose(s, got, 3), 3);
    cr_assert(same(&got[0], &from[0]) && same(&got[1], &from[1]) && same(&got[2], &plain));
    qp_search_close(s);
  }
}

Test(search, a_seed_that_the_problem_does_not_allow_is_left_out) {
  qp_choice from, got[2], plain;
  qp_choice_default(&family, &plain);
  from = plain;
  from.value[at("atomic")] = 1;
  qp_search *s = start(
      (qp_search_options){.strategy = QP_SEARCH_EXHAUSTIVE, .seed = 1, .from = &from, .froms = 1});
  cr_assert_eq(qp_search_propose(s, got, 1), 1);
  cr_assert(same(&got[0], &plain));
  qp_search_close(s);
}

Test(search, seeds_that_come_later_are_tried_next_unless_they_were) {
  qp_choice plain, later[2], got[8];
  qp_choice_default(&family, &plain);
  later[0] = later[1] = plain; /* the defaults were proposed */
  later[1].value[at("warps")] = 8;
  later[1].value[at("stages")] = 4;
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 1});
  cr_assert_eq(qp_search_propose(s, got, 1), 1);
  qp_search_tell(s, &got[0], 5000);
  qp_search_seed(s, later, 2);
  cr_assert_eq(qp_search_propose(s, got, 8), 8);
  cr_assert(same(&got[0], &later[1]), "before the neighbours");
  for (unsigned i = 1; i < 8; i++) cr_assert(!same(&got[i], &plain) && !same(&got[i], &later[1]));
  qp_search_close(s);
}

Test(search, local_waits_for_results_before_it_moves) {
  qp_choice first, more[8], plain;
  qp_choice_default(&family, &plain);
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 1});
  cr_assert_eq(qp_search_propose(s, &first, 8), 1, "the defaults, and no more is known");
  cr_assert_eq(qp_search_propose(s, more, 8), 0);
  qp_search_tell(s, &first, 5000);
  cr_assert_eq(qp_search_propose(s, more, 8), 8);
  for (unsigned i = 0; i < 8; i++) {
    unsigned changed = 0;
    for (unsigned t = 0; t < family.tunables; t++) changed += more[i].value[t] != plain.value[t];
    cr_assert_eq(changed, 1, "a neighbour differs in one tunable");
  }
  qp_search_close(s);
}

Test(search, where_every_start_fails_it_goes_on_elsewhere) {
  static qp_choice seen[40];
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL, .seed = 1, .most = 40});
  cr_assert_eq(run(s, 4, fails, seen, 40), 40);
  qp_search_close(s);
}

Test(search, a_fixed_tunable_keeps_its_default_even_in_seeds) {
  static qp_choice seen[120];
  qp_choice from;
  qp_choice_default(&family, &from);
  from.value[at("pdl")] = 1;
  qp_search *s = start((qp_search_options){.strategy = QP_SEARCH_LOCAL,
                                           .seed = 2,
                                           .most = 120,
                                           .from = &from,
                                           .froms = 1,
                                           .fixed = "pdl"});
  const unsigned n = run(s, 8, valley, seen, 120);
  for (unsigned i = 0; i < n; i++) cr_assert_eq(seen[i].value[at("pdl")], 0);
  qp_search_close(s);
}

Test(search, strategies_are_named) {
  qp_strategy s = QP_SEARCH_AUTO;
  cr_assert_eq(qp_strategy_parse("local", &s, &err), QP_OK);
  cr_assert_eq(s, QP_SEARCH_LOCAL);
  cr_assert_eq(qp_strategy_parse("exhaustive", &s, &err), QP_OK);
  cr_assert_eq(s, QP_SEARCH_EXHAUSTIVE);
  cr_assert_eq(qp_strategy_parse("genetic", &s, &err), QP_E_ARG);
  cr_assert(strstr(err.text, "auto, exhaustive or local"));
}

Test(search, the_estimate_is_the_weights_bytes_over_the_bandwidth_or_the_instructions) {
  qp_choice c;
  qp_kernel k = {0};
  problem.segment[0].rows = 4096;
  problem.columns = 4096;
  qp_choice_default(&family, &c);
  cr_assert_eq(qp_kernel_make(session.families, &problem, &c, &k, &err), QP_OK, "%s", err.text);
  cr_assert_float_eq(qp_kernel_weight_bytes(&k), 4096.0 * 4096 / 2, 1);
  const qp_instruction_mix none = {.total = 0};
  cr_assert_eq(qp_search_roofline(&k, &none, 1000), 8388608, "8 MiB at 1e12 bytes a second");
  /* A load of 16 bytes a lane is 32 weights of 4 bits: 1024 a warp, 16384 turns of 1000 slots. */
  const qp_instruction_mix slow = {.total = 1000, .global_load = 1};
  const double seconds = 16384.0 * 1000 / (4 * 1.7e9 * 132);
  cr_assert_float_eq((double)qp_search_roofline(&k, &slow, 1000), seconds * 1e12, 1e3);
  qp_kernel_free(&k);
}
