/* SPDX-License-Identifier: MIT */
/* Codebooks that belong to a linear suit its weights. */
#include "gen/encode/book_fit.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/encode/books.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

enum { ROWS = 64, COLUMNS = 192 };

static qp_palette *palette;
static qp_error err;
static float weight[ROWS * COLUMNS];

/* Weights as N(0,1) has them not: most are small, neighbours are alike. */
static void set_up(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
  qp_sample_gaussian(5, ROWS * COLUMNS, weight);
  for (unsigned i = ROWS * COLUMNS - 1; i > 0; i--)
    weight[i] = weight[i] * fabsf(weight[i]) + 0.7F * weight[i - 1];
}
static void tear_down(void) { qp_palette_close(palette); }
TestSuite(book_fit, .init = set_up, .fini = tear_down);

static qp_encoded encode_by(const char *name, const qp_encode_options *options) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/books.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  qp_encoded e;
  cr_assert_eq(qp_encode_linear(q, weight, ROWS, COLUMNS, options, &e, &err), QP_OK, "%s",
               err.text);
  return e;
}

static qp_encoded encode(const char *name, const float *hessian) {
  return encode_by(name, &(qp_encode_options){.threads = 2, .input_scale = 1, .hessian = hessian});
}

/* What is stored decodes to what the figure says. */
static void expect_figure(const qp_encoded *e) {
  qp_reference *r = qp_reference_new();
  const qp_packed packed = qp_encoded_packed(e, 0);
  static uint16_t half[32 * COLUMNS];
  double lost = 0, power = 0;
  for (unsigned g = 0; g < ROWS / 32; g++) {
    cr_assert_eq(qp_reference_decode(r, &packed, g, half, &err), QP_OK);
    for (size_t i = 0; i < (size_t)32 * COLUMNS; i++) {
      const double w = (double)weight[g * 32 * COLUMNS + i];
      const double v = (double)(qp_half_to_float(half[i]) * e->row_scale[g * 32 + i / COLUMNS]);
      lost += (w - v) * (w - v);
      power += w * w;
    }
  }
  qp_reference_free(r);
  cr_expect(fabs(lost / power / e->distortion - 1) < 1e-3, "%g, and the figure is %g", lost / power,
            e->distortion);
}

/* Squared errors in the first columns. */
static double lost_in(const qp_encoded *e, unsigned columns) {
  qp_reference *r = qp_reference_new();
  const qp_packed packed = qp_encoded_packed(e, 0);
  static uint16_t half[32 * COLUMNS];
  double lost = 0;
  for (unsigned g = 0; g < ROWS / 32; g++) {
    cr_assert_eq(qp_reference_decode(r, &packed, g, half, &err), QP_OK);
    for (size_t i = 0; i < (size_t)32 * COLUMNS; i++) {
      const double d = (double)(weight[g * 32 * COLUMNS + i] -
                                qp_half_to_float(half[i]) * e->row_scale[g * 32 + i / COLUMNS]);
      lost += i % COLUMNS < columns ? d * d : 0;
    }
  }
  qp_reference_free(r);
  return lost;
}

Test(book_fit, codebooks_of_a_linear_lose_less_than_those_of_the_file) {
  static const struct {
    const char *name;
    double most; /* of what those of the file lose */
  } expected[] = {{"additive", 0.85},  {"matrix", 0.95},    {"scaled", 0.95},
                  {"stages", 0.5},     {"path", 0.85},      {"row-pairs", 0.85},
                  {"row-signs", 0.95}, {"beside-rows", 0.7}};
  for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
    char as_is[64];
    snprintf(as_is, sizeof as_is, "%s-as-is", expected[i].name);
    qp_encoded before = encode(as_is, NULL), after = encode(expected[i].name, NULL);
    cr_expect_str_eq(after.unfitted, "");
    cr_expect(after.distortion < expected[i].most * before.distortion, "%s: %g, and %g as it is",
              expected[i].name, after.distortion, before.distortion);
    expect_figure(&after);
    qp_encoded_free(&before);
    qp_encoded_free(&after);
  }
}

/* The loss of a quantizer of books.lua on N(0,1). */
static double lost_of_normal(const char *name, uint64_t seed, unsigned rows, unsigned columns) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/books.lua:%s", QP_SOURCE_DIR, name);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  float *x = malloc(sizeof *x * rows * columns);
  qp_sample_gaussian(seed, (size_t)rows * columns, x);
  const qp_encode_options options = {.threads = 2, .input_scale = 1};
  qp_encoded e;
  cr_assert_eq(qp_encode_linear(q, x, rows, columns, &options, &e, &err), QP_OK);
  const double lost = e.distortion;
  qp_encoded_free(&e);
  free(x);
  return lost;
}

/* Alternating least squares alone end at 0.1034, and without going further at 0.1023. */
Test(book_fit, books_that_add_up_get_out_of_where_least_squares_alone_end) {
  const double lost = lost_of_normal("additive", 3, 128, 512);
  cr_expect(lost < 0.1019, "%g", lost);
}

/* They end at 0.1233; without chance at 0.1321, and without going further at 0.1268. */
Test(book_fit, books_of_many_entries_that_add_up_need_chance) {
  const double lost = lost_of_normal("sums-of-64", 3, 64, 256);
  cr_expect(lost < 0.125, "%g", lost);
}

Test(book_fit, what_cannot_be_fitted_says_so_and_keeps_the_codebooks_of_the_file) {
  static const char *const names[][2] = {{"square-as-is", "square"},
                                         {"row-square-as-is", "row-square"}};
  for (unsigned i = 0; i < 2; i++) {
    qp_encoded before = encode(names[i][0], NULL), after = encode(names[i][1], NULL);
    cr_expect(strstr(after.unfitted, "square: its decode is no sum"), "%s", after.unfitted);
    cr_expect_eq(after.distortion, before.distortion);
    expect_figure(&after);
    qp_encoded_free(&before);
    qp_encoded_free(&after);
  }
}

/* 1536 vectors for 8192 and 2048 entries; 3072 for 16 and 16. */
Test(book_fit, rows_that_stand_for_more_are_not_learnt_by_heart) {
  const qp_encode_options sample = {.threads = 2, .input_scale = 1, .stands_for_more = true};
  qp_encoded few = encode_by("stages", &sample), as_is = encode("stages-as-is", NULL);
  cr_expect_eq(few.distortion, as_is.distortion);
  cr_expect(strstr(few.unfitted, "'rest' has 2048 entries, and 1536 codes are too few"), "%s",
            few.unfitted);
  qp_encoded enough = encode_by("additive", &sample), all = encode("additive", NULL);
  cr_expect_eq(enough.distortion, all.distortion);
  cr_expect_str_empty(enough.unfitted);
  qp_encoded *const each[] = {&few, &as_is, &enough, &all};
  for (unsigned i = 0; i < sizeof each / sizeof *each; i++) qp_encoded_free(each[i]);
}

/* 3072 codes are too few for the large one alone. */
Test(book_fit, a_large_codebook_that_is_not_fitted_takes_no_rounds_from_a_small_one) {
  const qp_encode_options sample = {.threads = 2, .input_scale = 1, .stands_for_more = true};
  qp_encoded tensor = encode_by("beside-tensor", &sample);
  qp_encoded spec = encode_by("beside-spec", &sample);
  cr_expect(strstr(tensor.unfitted, "'main' has 8192 entries, and 3072 codes"), "%s",
            tensor.unfitted);
  cr_expect_str_empty(spec.unfitted);
  cr_expect_eq(tensor.distortion, spec.distortion, "%g, and %g", tensor.distortion,
               spec.distortion);
  qp_encoded_free(&tensor);
  qp_encoded_free(&spec);
}

/* Of a diagonal Hessian the first 32 columns cost a hundred times as much as others. */
Test(book_fit, columns_that_cost_more_have_the_smaller_errors) {
  static const char *const names[] = {"row-pairs", "row-signs", "additive"};
  static const double most[] = {0.5, 0.7, 0.85};
  float *hessian = calloc((size_t)COLUMNS * COLUMNS, sizeof *hessian);
  for (size_t k = 0; k < COLUMNS; k++) hessian[k * COLUMNS + k] = k < 32 ? 100 : 1;
  for (unsigned i = 0; i < 3; i++) {
    double lost[2];
    for (unsigned weighed = 0; weighed < 2; weighed++) {
      qp_encoded e = encode(names[i], weighed ? hessian : NULL);
      lost[weighed] = lost_in(&e, 32);
      qp_encoded_free(&e);
    }
    cr_expect(lost[1] < most[i] * lost[0], "%s: %g, and %g with all columns alike", names[i],
              lost[1], lost[0]);
  }
  free(hessian);
}

enum { CODES = 3000, RUN_BITS = 4, ENTRIES = 16, DIM = 4 };

/* Solve for the two codebooks of "additive" from codes and targets that are drawn. */
static void solve(const qp_books_runs *runs, uint16_t *a, uint16_t *b) {
  const qp_quantizer *q = NULL;
  char path[512];
  snprintf(path, sizeof path, "%s/tests/encode/books.lua:additive", QP_SOURCE_DIR);
  cr_assert_eq(qp_palette_find(palette, path, &q, &err), QP_OK, "%s", err.text);
  qp_books *books = NULL;
  cr_assert_eq(qp_books_new(q, (bool[]){true, true, false, false}, runs, &books, &err), QP_OK);
  for (unsigned round = 0; round < 2; round++) { /* the first is forgotten */
    qp_books_clear(books);
    for (unsigned i = 0; i < CODES; i++) {
      const float cost[DIM] = {1, i % 3 ? 1 : 0, (float)(1 + i % 7), 2};
      const uint32_t code = i * 37 % 256; /* of run 0 the last value comes never */
      const uint32_t state = code % 16 == 15 ? code - 1 : code;
      cr_assert_eq(qp_books_add(books, state, NULL, weight + (i + round) * DIM, cost, &err), QP_OK,
                   "%s", err.text);
    }
  }
  uint16_t *const entry[QP_MAX_CODEBOOKS] = {a, b};
  memcpy(a, q->codebook[0].data, sizeof *a * ENTRIES * DIM);
  memcpy(b, q->codebook[1].data, sizeof *b * ENTRIES * DIM);
  cr_assert_eq(qp_books_solve(books, entry, &err), QP_OK);
  qp_books_free(books);
}

/* Sums are the same, though how the two share what is common to all codes may differ. */
Test(book_fit, codes_in_runs_have_the_solution_that_they_have_one_by_one) {
  const qp_books_runs runs = {.count = 2, .run = {{0, RUN_BITS}, {RUN_BITS, RUN_BITS}}};
  uint16_t a[2][ENTRIES * DIM], b[2][ENTRIES * DIM];
  solve(NULL, a[0], b[0]);
  solve(&runs, a[1], b[1]);
  for (unsigned i = 0; i < (ENTRIES - 1) * DIM; i++)
    for (unsigned k = 0; k < ENTRIES; k++) {
      double sum[2];
      for (unsigned s = 0; s < 2; s++)
        sum[s] = (double)qp_half_to_float(a[s][i]) +
                 0.5 * (double)qp_half_to_float(b[s][k * DIM + i % DIM]);
      cr_expect(fabs(sum[0] - sum[1]) < 4e-3, "entries %u, %u: %g and %g", i / DIM, k, sum[0],
                sum[1]);
    }
  for (unsigned e = 0; e < DIM; e++) /* no code reads it */
    cr_expect_eq(a[0][(ENTRIES - 1) * DIM + e], a[1][(ENTRIES - 1) * DIM + e]);
}
