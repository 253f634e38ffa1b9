/* SPDX-License-Identifier: MIT */
/* The encoder: what it says of its codes is what the reference decodes, and codes are the best
** ones. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/encode/encode.h"
#include "gen/encode/sample.h"
#include "runtime/half.h"

static qp_palette *palette;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) { qp_palette_close(palette); }
TestSuite(encode, .init = open_palette, .fini = close_palette);

static const qp_quantizer *find(const char *name) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  return q;
}

/* sum (w - r w^)^2 / sum w^2 with W^ from the reference decoder, which knows nothing of
** encoding. */
static double decoded_distortion(const qp_encoded *e, const float *weights) {
  qp_reference *reference = qp_reference_new();
  float *value = calloc((size_t)e->rows * e->columns, sizeof *value);
  for (unsigned p = 0; p < e->parts; p++) {
    const qp_packed packed = qp_encoded_packed(e, p);
    const unsigned width = packed.stream->columns;
    uint16_t *out = malloc(sizeof *out * 32 * width);
    for (unsigned g = 0; g < packed.stream->row_groups; g++) {
      cr_assert_eq(qp_reference_decode(reference, &packed, g, out, &err), QP_OK, "%s", err.text);
      for (unsigned r = 0; r < 32 && 32 * g + r < e->rows; r++)
        for (unsigned k = 0; k < width; k++)
          value[(size_t)(32 * g + r) * e->columns + e->part[p].column + k] =
              qp_half_to_float(out[(size_t)r * width + k]);
    }
    free(out);
  }
  double lost = 0, power = 0;
  for (unsigned r = 0; r < e->rows; r++) {
    for (unsigned k = 0; k < e->columns; k++) {
      const double w = (double)weights[(size_t)r * e->columns + k];
      const double d = w - (double)e->row_scale[r] * (double)value[(size_t)r * e->columns + k];
      lost += d * d;
      power += w * w;
    }
  }
  free(value);
  qp_reference_free(reference);
  return lost / power;
}

/* Has it, or has a part of it, a window that a beam searches?  A second each to make. */
static bool is_long(const qp_quantizer *q) {
  bool yes = q->window > QP_TRELLIS_WINDOW;
  for (unsigned p = 0; q->kind == QP_SPLIT && p < q->parts; p++)
    yes |= is_long(q->part[p].quantizer);
  return yes;
}

/* A window of more bits than the usual searches so many states a code that few codes are enough. */
enum { FEW_ROWS = 48, FEW_COLUMNS = 192, FEWEST_COLUMNS = 64, USUAL_WINDOW = 16 };

static bool is_wide(const qp_quantizer *q) {
  return q->kind == QP_SPLIT ? q->part[0].quantizer->window > USUAL_WINDOW
                             : q->window > USUAL_WINDOW;
}

/* Bits a weight of a linear of so few columns, its own codebooks among them: these learn it. */
static double bits_of(const qp_quantizer *q, unsigned columns) {
  double bits = q->stored_rate;
  for (unsigned b = 0; b < q->codebooks; b++)
    if (q->codebook[b].scope == QP_SCOPE_TENSOR)
      bits += 16.0 * q->codebook[b].entries * q->codebook[b].dim / (FEW_ROWS * columns);
  return bits;
}

static void expect_honest_distortion(const qp_quantizer *q, const float *weights) {
  qp_encode_options options = {.input_scale = 1, .threads = 2, .beam = 64};
  const unsigned columns = is_wide(q) ? FEWEST_COLUMNS : FEW_COLUMNS;
  qp_encoded e;
  cr_assert_eq(qp_encode_linear(q, weights, FEW_ROWS, columns, &options, &e, &err), QP_OK, "%s",
               err.text);
  const double decoded = decoded_distortion(&e, weights);
  cr_expect(fabs(decoded - e.distortion) < 1e-5 * decoded + 1e-9, "%s: %g decoded, %g reported",
            q->name, decoded, e.distortion);
  const double bits = bits_of(q, columns);
  cr_expect(decoded < 0.45 && decoded > exp2(-2 * bits) * 0.5, "%s: distortion %g at %g bits",
            q->name, decoded, bits);
  qp_encoded_free(&e);
}

/* Is it the first of its family (the words before the last '-') in the palette? */
static bool is_first(size_t index) {
  const char *name = qp_palette_get(palette, index)->name, *rate = strrchr(name, '-');
  const size_t length = rate ? (size_t)(rate - name) : strlen(name);
  for (size_t i = 0; i < index; i++) {
    const char *other = qp_palette_get(palette, i)->name;
    if (!strncmp(name, other, length) && (!other[length] || other[length] == '-')) return false;
  }
  return true;
}

/* Of each family one, with QPAL_FEW, as sanitizers and debug builds want it. */
Test(encode, every_quantizer_decodes_to_the_distortion_that_the_encoder_reports) {
  const bool few = getenv("QPAL_FEW") != NULL;
  float weights[FEW_ROWS * FEW_COLUMNS];
  qp_sample_gaussian(5, FEW_ROWS * FEW_COLUMNS, weights);
  cr_assert_eq(qp_palette_load(palette, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < qp_palette_count(palette); i++) {
    const qp_quantizer *q = qp_palette_get(palette, i);
    const bool slow = q->window > 12 && (i % 5 || q->step * 2 < q->window / 2); /* minutes */
    if (few ? !is_first(i) || is_long(q)
            : slow || (is_long(q) && strcmp(q->name, "long-4.75") != 0))
      continue;
    expect_honest_distortion(q, weights);
  }
}

Test(encode, a_window_that_a_beam_searches_decodes_to_the_distortion_that_is_reported) {
  float weights[FEW_ROWS * FEW_COLUMNS];
  qp_sample_gaussian(5, FEW_ROWS * FEW_COLUMNS, weights);
  expect_honest_distortion(find(QP_SOURCE_DIR "/tests/encode/window21.lua"), weights);
}

/* Codes of a run by trying all of them: circular, least squares. */
static double best_circular(const qp_trellis *t, const float *values, unsigned steps,
                            const float *target) {
  const unsigned bits = steps * t->step;
  double best = INFINITY;
  for (uint64_t stream = 0; stream < 1ull << bits; stream++) {
    double sum = 0;
    for (unsigned i = 0; i < steps; i++) {
      uint32_t state = 0;
      for (unsigned b = 0; b < t->window; b++) {
        const unsigned at = ((i + 1) * t->step + 8 * bits - t->window + b) % bits;
        state |= (uint32_t)(stream >> at & 1) << b;
      }
      for (unsigned e = 0; e < t->dim; e++) {
        const double d = (double)(target[i * t->dim + e] - values[state * t->dim + e]);
        sum += d * d;
      }
    }
    best = sum < best ? sum : best;
  }
  return best;
}

static double cost_of(const qp_trellis *t, const float *values, unsigned steps, const float *target,
                      uint32_t group, const uint32_t *code, uint32_t *end) {
  double sum = 0;
  for (unsigned i = 0; i < steps; i++) {
    const uint32_t state = code[i] << (t->window - t->step) | group;
    for (unsigned e = 0; e < t->dim; e++) {
      const double d = (double)(target[i * t->dim + e] - values[state * t->dim + e]);
      sum += d * d;
    }
    group = state >> t->step;
  }
  *end = group;
  return sum;
}

Test(encode, a_trellis_run_is_the_best_of_all_for_its_ends) {
  /* Forward dynamic programming over whole states, written plainly: m[s] per state, no groups. */
  enum { WINDOW = 8, STEP = 3, STEPS = 40, STATES = 1 << WINDOW };
  float values[STATES * 2], target[STEPS * 2];
  qp_sample_gaussian(1, STATES * 2, values);
  qp_sample_gaussian(2, STEPS * 2, target);
  qp_trellis t;
  cr_assert_eq(qp_trellis_make(&t, WINDOW, STEP, 2, values, &err), QP_OK);
  qp_search *search;
  cr_assert_eq(qp_search_new(&t, &search, &err), QP_OK);
  uint32_t code[STEPS], start = 5, end;
  const float *targets[] = {target};
  uint32_t *codes[] = {code};
  qp_trellis_search(&t, search, QP_ENDS_FROM, 1, STEPS, 0, targets, &start, NULL, codes);
  double sum[STATES], next[STATES], best = INFINITY;
  for (unsigned i = 0; i < STEPS; i++) {
    for (unsigned s = 0; s < STATES; s++) {
      double least = INFINITY;
      if (!i) least = (s & 31) == start ? 0 : INFINITY;
      for (unsigned o = 0; i && o < STATES; o++)
        if (o >> STEP == (s & 31) && sum[o] < least) least = sum[o];
      const double a = (double)(target[2 * i] - values[2 * s]),
                   b = (double)(target[2 * i + 1] - values[2 * s + 1]);
      next[s] = least + a * a + b * b;
    }
    memcpy(sum, next, sizeof sum);
  }
  for (unsigned s = 0; s < STATES; s++) best = sum[s] < best ? sum[s] : best;
  cr_expect_float_eq(cost_of(&t, values, STEPS, target, 5, code, &end), best, 1e-4);
  qp_search_free(search);
  qp_trellis_free(&t);
}

Test(encode, circular_runs_close_and_are_seldom_worse_than_the_best_circle) {
  enum { WINDOW = 6, STEP = 2, STEPS = 8, STATES = 1 << WINDOW, RUNS = 12 };
  float values[STATES], target[STEPS];
  double found = 0, best = 0;
  for (unsigned run = 0; run < RUNS; run++) {
    qp_trellis t;
    qp_sample_gaussian(100 + run, STATES, values);
    qp_sample_gaussian(200 + run, STEPS, target);
    cr_assert_eq(qp_trellis_make(&t, WINDOW, STEP, 1, values, &err), QP_OK);
    qp_search *search;
    cr_assert_eq(qp_search_new(&t, &search, &err), QP_OK);
    uint32_t code[STEPS], start, end;
    const float *targets[] = {target};
    uint32_t *codes[] = {code};
    qp_trellis_search(&t, search, QP_ENDS_TIED, 1, STEPS, 0, targets, &start, NULL, codes);
    const double cost = cost_of(&t, values, STEPS, target, start, code, &end);
    const double least = best_circular(&t, values, STEPS, target);
    cr_expect_eq(end, start);
    cr_expect(cost >= least - 1e-5);
    found += cost;
    best += least;
    qp_search_free(search);
    qp_trellis_free(&t);
  }
  cr_expect(found <= 1.1 * best, "%g found, %g possible", found, best);
}

/* Least cost from a group to a group, all sums of all steps in doubles. */
static double best_between(const qp_trellis *t, const float *values, unsigned steps,
                           const float *target, uint32_t from, uint32_t to) {
  double sum[64], next[64];
  cr_assert(t->groups <= 64 && t->dim == 1);
  for (uint32_t g = 0; g < t->groups; g++) sum[g] = g == from ? 0 : INFINITY;
  for (unsigned i = 0; i < steps; i++) {
    for (uint32_t g = 0; g < t->groups; g++) {
      next[g] = INFINITY;
      for (unsigned j = 0; j < t->fan; j++) {
        const uint32_t s = g << t->step | j;
        const double d = (double)(target[i] - values[s]), c = sum[s & (t->groups - 1)] + d * d;
        if (c < next[g]) next[g] = c;
      }
    }
    memcpy(sum, next, sizeof *sum * t->groups);
  }
  return sum[to];
}

Test(encode, runs_whose_two_best_paths_never_meet_are_the_best_for_their_ends) {
  /* States s and ~s decode to the same: two paths of equal sums, and only the end tells which. */
  enum { WINDOW = 9, STEP = 4, STATES = 1 << WINDOW, MOST = 40000, RUNS = 3 };
  static const unsigned length[] = {2048, 2049, 4096, 7168, MOST};
  static float values[STATES], target[RUNS][MOST];
  static uint32_t code[RUNS][MOST];
  qp_sample_gaussian(5, STATES / 2, values);
  for (unsigned s = 0; s < STATES / 2; s++) values[STATES - 1 - s] = values[s];
  for (unsigned run = 0; run < RUNS; run++) qp_sample_gaussian(6 + run, MOST, target[run]);
  qp_trellis t;
  cr_assert_eq(qp_trellis_make(&t, WINDOW, STEP, 1, values, &err), QP_OK);
  qp_search *search;
  cr_assert_eq(qp_search_new(&t, &search, &err), QP_OK);
  const float *targets[] = {target[0], target[1], target[2]};
  uint32_t *codes[] = {code[0], code[1], code[2]};
  for (unsigned l = 0; l < sizeof length / sizeof *length; l++) {
    uint32_t start[RUNS] = {0}, end[RUNS], at;
    qp_trellis_search(&t, search, QP_ENDS_TIED, RUNS, length[l], 0, targets, start, NULL, codes);
    for (unsigned pass = 0; pass < 2; pass++) { /* circles, then to another end */
      for (unsigned run = 0; run < RUNS; run++) {
        const uint32_t to = pass ? end[run] : start[run];
        const double best = best_between(&t, values, length[l], target[run], start[run], to);
        const double cost = cost_of(&t, values, length[l], target[run], start[run], code[run], &at);
        cr_expect_eq(at, to, "%u steps, run %u: ends in %u, not %u", length[l], run, at, to);
        cr_expect_float_eq(cost, best, 1.5e-4 * best, "%u steps, run %u: %.9g instead of %.9g",
                           length[l], run, cost, best);
        end[run] = t.groups - 1 - start[run];
      }
      if (!pass)
        qp_trellis_search(&t, search, QP_ENDS_BETWEEN, RUNS, length[l], 0, targets, start, end,
                          codes);
    }
  }
  qp_search_free(search);
  qp_trellis_free(&t);
}

Test(encode, long_runs_agree_with_the_same_run_searched_with_all_steps_kept) {
  /* A window whose survivors merge late: choices are told while the search goes on. */
  enum { WINDOW = 12, STEP = 1, STEPS = 3000, STATES = 1 << WINDOW };
  float *values = malloc(sizeof *values * STATES), *target = malloc(sizeof *target * STEPS);
  qp_sample_gaussian(3, STATES, values);
  qp_sample_gaussian(4, STEPS, target);
  qp_trellis t;
  cr_assert_eq(qp_trellis_make(&t, WINDOW, STEP, 1, values, &err), QP_OK);
  qp_search *search;
  cr_assert_eq(qp_search_new(&t, &search, &err), QP_OK);
  uint32_t *code = malloc(sizeof *code * STEPS), start = 0, end;
  const float *targets[] = {target};
  uint32_t *codes[] = {code};
  qp_trellis_search(&t, search, QP_ENDS_FROM, 1, STEPS, 0, targets, &start, NULL, codes);
  double *sum = malloc(sizeof *sum * STATES / 2), *next = malloc(sizeof *next * STATES / 2);
  for (unsigned g = 0; g < STATES / 2; g++) sum[g] = g ? INFINITY : 0;
  for (unsigned i = 0; i < STEPS; i++) {
    for (unsigned g = 0; g < STATES / 2; g++) {
      next[g] = INFINITY;
      for (unsigned j = 0; j < 2; j++) {
        const unsigned s = 2 * g + j;
        const double d = (double)(target[i] - values[s]), c = sum[s % (STATES / 2)] + d * d;
        next[g] = c < next[g] ? c : next[g];
      }
    }
    memcpy(sum, next, sizeof *sum * STATES / 2);
  }
  double best = INFINITY;
  for (unsigned g = 0; g < STATES / 2; g++) best = sum[g] < best ? sum[g] : best;
  cr_expect_float_eq(cost_of(&t, values, STEPS, target, 0, code, &end), best, 1.5e-4 * best);
  qp_search_free(search);
  qp_trellis_free(&t);
  free(values);
  free(target);
  free(code);
  free(sum);
  free(next);
}

enum { SAME_ROWS = 64, SAME_COLUMNS = 64 };

/* As encode_with() gets it. */
typedef struct sameness {
  const char *name;
  unsigned rows, columns;
  bool feeds;
} sameness;

static qp_encoded encode_with(const char *isa, unsigned threads, const sameness *s,
                              const float *weights, const float *h) {
  if (isa)
    setenv("QPAL_ISA", isa, 1);
  else
    unsetenv("QPAL_ISA");
  qp_encode_options options = {
      .input_scale = 0.9, .threads = threads, .beam = 256, .hessian = s->feeds ? h : NULL};
  qp_encoded e = {0};
  cr_assert_eq(qp_encode_linear(find(s->name), weights, s->rows, s->columns, &options, &e, &err),
               QP_OK, "%s", err.text);
  unsetenv("QPAL_ISA");
  return e;
}

static void expect_same(const qp_encoded *a, const qp_encoded *b, const char *what) {
  for (unsigned p = 0; p < a->parts; p++)
    cr_expect_arr_eq(a->part[p].codes, b->part[p].codes, a->part[p].stream.code_words * 4, "%s",
                     what);
  cr_expect_arr_eq(a->row_scale, b->row_scale, a->rows * sizeof(float), "%s", what);
}

/* H = I + sum of a few x x^T, of any length. */
static void make_small_hessian(unsigned columns, float *h) {
  enum { DIRECTIONS = 8 };
  float *u = malloc(sizeof *u * DIRECTIONS * columns);
  qp_sample_gaussian(78, (size_t)DIRECTIONS * columns, u);
  for (size_t i = 0; i < columns; i++)
    for (size_t j = 0; j < columns; j++) {
      h[i * columns + j] = i == j ? 1 : 0;
      for (size_t m = 0; m < DIRECTIONS; m++)
        h[i * columns + j] += u[m * columns + i] * u[m * columns + j];
    }
  free(u);
}

Test(encode, bits_do_not_depend_on_threads_or_instruction_set) {
  static float weights[SAME_ROWS * SAME_COLUMNS], h[SAME_COLUMNS * SAME_COLUMNS];
  static const struct {
    const char *isa;
    unsigned threads;
  } other[] = {{"avx2", 2}, {NULL, 4}}; /* NULL: the best that there is */
  /* Searches backward and forward from a group, of all paths and of some, of parts; 64 rows where
     threads are to share them. */
  static const sameness all[] = {{"tcq-5", 64, 32, true},
                                 {"vq2-4", 64, 64, true},
                                 {"nuq-3", 64, 64, true},
                                 {"int4-g128", 64, 64, false},
                                 {"nf4-g64", 64, 64, false},
                                 {"tcq-3.25", 64, 32, false},
                                 {"lin-3", 32, 32, true},
                                 {"mix-4", 32, 32, false},
                                 {QP_SOURCE_DIR "/tests/encode/window21.lua", 64, 32, true}};
  qp_sample_gaussian(8, sizeof weights / sizeof *weights, weights);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    make_small_hessian(all[i].columns, h);
    qp_encoded a = encode_with("plain", 1, &all[i], weights, h);
    for (size_t k = 0; k < 2; k++) {
      qp_encoded b = encode_with(other[k].isa, other[k].threads, &all[i], weights, h);
      expect_same(&a, &b, all[i].name);
      qp_encoded_free(&b);
    }
    qp_encoded_free(&a);
  }
}

Test(encode, the_nearest_codeword_is_the_nearest_and_the_lowest_of_equals) {
  enum { COUNT = 100, N = 301 };
  float values[COUNT * 3], target[N * 3];
  uint32_t code[N];
  qp_sample_gaussian(1, COUNT * 3, values);
  qp_sample_gaussian(2, N * 3, target);
  memcpy(values + 3 * 40, values + 3 * 20, 3 * sizeof *values); /* code 40 is code 20 */
  memcpy(target, values + 3 * 20, 3 * sizeof *values);
  qp_codewords c;
  cr_assert_eq(qp_codewords_make(&c, COUNT, 3, values, &err), QP_OK);
  qp_codewords_nearest(&c, N, target, code);
  cr_expect_eq(code[0], 20u);
  for (unsigned i = 0; i < N; i++) {
    double least = INFINITY, got = 0;
    for (unsigned k = 0; k < COUNT; k++) {
      double sum = 0;
      for (unsigned e = 0; e < 3; e++)
        sum += pow((double)(target[3 * i + e] - values[3 * k + e]), 2);
      least = sum < least ? sum : least;
      if (k == code[i]) got = sum;
    }
    cr_expect_float_eq(got, least, 1e-5);
  }
  qp_codewords_free(&c);
}

Test(encode, rows_keep_their_own_scale_and_rows_of_zeros_stay_zero) {
  enum { ROWS = 32, COLUMNS = 256 };
  float weights[ROWS * COLUMNS];
  qp_sample_gaussian(8, ROWS * COLUMNS, weights);
  for (unsigned k = 0; k < COLUMNS; k++) {
    weights[3 * COLUMNS + k] = 0;
    weights[4 * COLUMNS + k] *= 1000;
  }
  const sameness plainly = {"nuq-4", ROWS, COLUMNS, false};
  qp_encoded e = encode_with(NULL, 1, &plainly, weights, NULL);
  cr_expect_eq(e.row_scale[3], 0.0f);
  cr_expect(e.row_scale[4] > 500 * e.row_scale[5]);
  cr_expect(e.row_distortion[4] < 0.02 && e.row_distortion[5] < 0.02);
  qp_encoded_free(&e);
}

Test(encode, a_weight_that_is_no_number_is_refused_with_its_place) {
  float weights[32 * 64] = {0};
  weights[2 * 64 + 7] = NAN;
  qp_encoded e;
  cr_expect_eq(qp_encode_linear(find("nuq-2"), weights, 32, 64, NULL, &e, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "[2][7]") != NULL, "%s", err.text);
}

Test(encode, the_input_scale_of_a_lloyd_max_codebook_is_one) {
  double scale;
  cr_assert_eq(qp_encode_input_scale(find("nuq-3"), &scale, &err), QP_OK, "%s", err.text);
  cr_expect_float_eq(scale, 1, 0.02, "%g", scale);
}

/* ---- Hessians ---- */

enum { H_ROWS = 32, H_COLUMNS = 256 };

/* H of activations that are mostly combinations of a few directions, as real ones are: I + 2 sum u
** u^T over 24 directions u spread over all columns. */
static void make_hessian(float *h) {
  enum { DIRECTIONS = 24 };
  float u[DIRECTIONS * H_COLUMNS];
  qp_sample_gaussian(77, DIRECTIONS * H_COLUMNS, u);
  for (unsigned i = 0; i < H_COLUMNS; i++) {
    for (unsigned j = 0; j < H_COLUMNS; j++) {
      float sum = i == j ? 1 : 0;
      for (unsigned m = 0; m < DIRECTIONS; m++)
        sum += 2 * u[m * H_COLUMNS + i] * u[m * H_COLUMNS + j];
      h[i * H_COLUMNS + j] = sum;
    }
  }
}

/* tr(E H E^T) / tr(W H W^T) from the reference decoder's weights. */
static double output_error(const qp_encoded *e, const float *weights, const float *h) {
  const qp_packed packed = qp_encoded_packed(e, 0);
  qp_reference *reference = qp_reference_new();
  uint16_t *out = malloc(sizeof *out * 32 * H_COLUMNS);
  cr_assert_eq(qp_reference_decode(reference, &packed, 0, out, &err), QP_OK, "%s", err.text);
  double lost = 0, power = 0;
  for (unsigned r = 0; r < H_ROWS; r++) {
    double d[H_COLUMNS], w[H_COLUMNS];
    for (unsigned k = 0; k < H_COLUMNS; k++) {
      w[k] = (double)weights[r * H_COLUMNS + k];
      d[k] = w[k] - (double)e->row_scale[r] * (double)qp_half_to_float(out[r * H_COLUMNS + k]);
    }
    for (unsigned i = 0; i < H_COLUMNS; i++) {
      for (unsigned j = 0; j < H_COLUMNS; j++) {
        lost += d[i] * (double)h[i * H_COLUMNS + j] * d[j];
        power += w[i] * (double)h[i * H_COLUMNS + j] * w[j];
      }
    }
  }
  free(out);
  qp_reference_free(reference);
  return lost / power;
}

Test(encode, a_hessian_makes_the_error_of_the_outputs_smaller) {
  static const char *const names[] = {"tcq-3", "nuq-3", "vq2-3", "nf4-g64", "anyprec-3"};
  /* nuq-3 and vq2-3 are above these without their second pass: 0.066 and 0.061. */
  static const double most[] = {0.16, 0.060, 0.057, 0.6, 0.6};
  float *h = malloc(sizeof *h * H_COLUMNS * H_COLUMNS);
  float *weights = malloc(sizeof *weights * H_ROWS * H_COLUMNS);
  make_hessian(h);
  qp_sample_gaussian(12, H_ROWS * H_COLUMNS, weights);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    qp_encoded plain, fed;
    qp_encode_options options = {.input_scale = 0.95};
    cr_assert_eq(
        qp_encode_linear(find(names[i]), weights, H_ROWS, H_COLUMNS, &options, &plain, &err), QP_OK,
        "%s", err.text);
    options.hessian = h;
    qp_status status =
        qp_encode_linear(find(names[i]), weights, H_ROWS, H_COLUMNS, &options, &fed, &err);
    if (status == QP_E_MISSING) { /* no BLAS here: the message says how to get one */
      cr_expect(strstr(err.text, "libopenblas0") != NULL, "%s", err.text);
      qp_encoded_free(&plain);
      break;
    }
    cr_assert_eq(status, QP_OK, "%s: %s", names[i], err.text);
    const double without = output_error(&plain, weights, h), with = output_error(&fed, weights, h);
    cr_expect(with < most[i] * without, "%s: %g with, %g without", names[i], with, without);
    cr_expect(fabs(with - fed.proxy) < 1e-3 * with, "%s: %g decoded, %g reported", names[i], with,
              fed.proxy);
    qp_encoded_free(&plain);
    qp_encoded_free(&fed);
  }
  free(h);
  free(weights);
}

Test(encode, a_hessian_that_is_none_is_refused) {
  float *h = malloc(sizeof *h * H_COLUMNS * H_COLUMNS);
  float *weights = malloc(sizeof *weights * H_ROWS * H_COLUMNS);
  make_hessian(h);
  qp_sample_gaussian(12, H_ROWS * H_COLUMNS, weights);
  h[3 * H_COLUMNS + 5] = 7;
  qp_encode_options options = {.input_scale = 1, .hessian = h};
  qp_encoded e;
  cr_expect_eq(qp_encode_linear(find("nuq-3"), weights, H_ROWS, H_COLUMNS, &options, &e, &err),
               QP_E_ARG);
  cr_expect(strstr(err.text, "symmetric") != NULL, "%s", err.text);
  free(h);
  free(weights);
}

/* Of inputs that are alike in 64 neighbouring columns and nowhere else: what feeds only from 64
** columns to the next 64 gains nothing. */
Test(encode, errors_are_fed_from_few_columns_to_the_next) {
  static const char *const names[] = {"tcq-3", "nuq-3", "vq2-3", "nf4-g64", "e8p-2", "tcq-2.75"};
  float *h = malloc(sizeof *h * H_COLUMNS * H_COLUMNS);
  float *weights = malloc(sizeof *weights * H_ROWS * H_COLUMNS);
  for (unsigned i = 0; i < H_COLUMNS; i++)
    for (unsigned j = 0; j < H_COLUMNS; j++)
      h[i * H_COLUMNS + j] = i == j ? 1.F : i / 64 == j / 64 ? 0.9F : 0;
  qp_sample_gaussian(14, H_ROWS * H_COLUMNS, weights);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    qp_encoded fed;
    qp_encode_options options = {.input_scale = 0.95, .hessian = h};
    qp_status status =
        qp_encode_linear(find(names[i]), weights, H_ROWS, H_COLUMNS, &options, &fed, &err);
    if (status == QP_E_MISSING) break;
    cr_assert_eq(status, QP_OK, "%s: %s", names[i], err.text);
    cr_expect(fed.proxy < 0.5 * fed.distortion, "%s: %g of the outputs, %g of the weights",
              names[i], fed.proxy, fed.distortion);
    qp_encoded_free(&fed);
  }
  free(h);
  free(weights);
}

/* Codes of 10 weights meet words and columns again after 320 columns, which are coded together. */
Test(encode, errors_are_fed_between_blocks_wider_than_what_is_looked_ahead) {
  enum { COLUMNS = 640 };
  float *h = malloc(sizeof *h * COLUMNS * COLUMNS),
        *weights = malloc(sizeof *weights * 32 * COLUMNS);
  double proxy[2];
  for (unsigned i = 0; i < COLUMNS * COLUMNS; i++) h[i] = i % (COLUMNS + 1) ? 0.9F : 1;
  qp_sample_gaussian(16, 32 * COLUMNS, weights);
  for (unsigned feeds = 0; feeds < 2; feeds++) {
    qp_encoded e;
    qp_encode_options options = {
        .input_scale = 0.82, .hessian = h, .hessian_damping = feeds ? 0.01 : 1e6};
    qp_status status =
        qp_encode_linear(find("ternary-1.6"), weights, 32, COLUMNS, &options, &e, &err);
    if (status == QP_E_MISSING) break;
    cr_assert_eq(status, QP_OK, "%s", err.text);
    cr_expect(e.distortion < 0.4, "%g", e.distortion);
    proxy[feeds] = e.proxy;
    qp_encoded_free(&e);
    if (feeds) cr_expect(proxy[1] < 0.9 * proxy[0], "%g with, %g without", proxy[1], proxy[0]);
  }
  free(h);
  free(weights);
}

/* Encode with a Hessian of which each element is 'diagonal' or 'other'; the damping that it
** took. */
static double damping_of(float diagonal, float other, double *proxy, double *distortion) {
  float *h = malloc(sizeof *h * H_COLUMNS * H_COLUMNS), weights[H_ROWS * H_COLUMNS];
  for (unsigned i = 0; i < H_COLUMNS * H_COLUMNS; i++)
    h[i] = i % (H_COLUMNS + 1) ? other : diagonal;
  qp_sample_gaussian(15, H_ROWS * H_COLUMNS, weights);
  qp_encode_options options = {.input_scale = 1, .hessian = h};
  qp_encoded e;
  qp_status status =
      qp_encode_linear(find("nuq-3"), weights, H_ROWS, H_COLUMNS, &options, &e, &err);
  free(h);
  if (status == QP_E_MISSING) return -1;
  cr_assert_eq(status, QP_OK, "%s", err.text);
  double damping;
  *proxy = e.proxy;
  *distortion = e.distortion;
  damping = e.damping;
  qp_encoded_free(&e);
  return damping;
}

Test(encode, a_hessian_that_is_not_positive_definite_is_damped_until_it_is) {
  double proxy, distortion;
  double damping = damping_of(1, 0.5F, &proxy, &distortion);
  if (damping < 0) return; /* no BLAS here */
  cr_expect_eq(damping, 0.01);
  damping = damping_of(1, -0.004F, &proxy, &distortion); /* least eigenvalue -0.02 */
  cr_expect_float_eq(damping, 0.1, 1e-9, "%g", damping);
  damping = damping_of(1, -0.9F, &proxy, &distortion); /* -0.9 (H_COLUMNS - 1) + 1 */
  cr_expect(damping > 0.9 * (H_COLUMNS - 1) - 1 && damping < 9 * H_COLUMNS, "%g", damping);
}

Test(encode, a_hessian_of_zeros_counts_as_none) {
  double proxy, distortion;
  const double damping = damping_of(0, 0, &proxy, &distortion);
  if (damping < 0) return; /* no BLAS here */
  cr_expect_eq(damping, 0);
  cr_expect(distortion > 0 && proxy == distortion, "%g, %g", proxy, distortion);
}

Test(encode, the_parts_of_a_split_share_one_scale) {
  enum { ROWS = 32, COLUMNS = 512 };
  float weights[ROWS * COLUMNS];
  qp_sample_gaussian(31, ROWS * COLUMNS, weights);
  qp_encoded e;
  qp_encode_options options = {.input_scale = 0.9};
  cr_assert_eq(qp_encode_linear(find("tcq-4.75"), weights, ROWS, COLUMNS, &options, &e, &err),
               QP_OK);
  cr_expect(e.distortion < 0.0025, "%g", e.distortion); /* published: 0.00219 */
  cr_expect_float_eq(decoded_distortion(&e, weights), e.distortion, 1e-7);
  qp_encoded_free(&e);
}
