/* SPDX-License-Identifier: MIT */
/* The table that encode kernels read: every state's values are found by its number, and lanes that
** look numbers up together meet different banks. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "gen/encode/coder.h"
#include "gen/encode/path_table.h"

static qp_palette *palette;
static qp_coder coder;
static qp_path_table table;
static qp_error err;

static void open_palette(void) {
  cr_assert_eq(qp_palette_open(&palette, &err), QP_OK, "%s", err.text);
}
static void close_palette(void) {
  qp_path_table_free(&table);
  qp_coder_free(&coder);
  qp_palette_close(palette);
}
TestSuite(path_table, .init = open_palette, .fini = close_palette);

static void make(const char *name, size_t most) {
  const qp_quantizer *q = NULL;
  cr_assert_eq(qp_palette_find(palette, name, &q, &err), QP_OK, "%s", err.text);
  qp_path_table_free(&table);
  qp_coder_free(&coder);
  cr_assert_eq(qp_coder_make(&coder, q, &err), QP_OK, "%s", err.text);
  const qp_trellis *t = &coder.trellis;
  const qp_code_rows_of of = {.window = t->window,
                              .step = t->step,
                              .dim = t->dim,
                              .metric = &t->metric,
                              .value = coder.values};
  cr_assert_eq(qp_path_table_make(&table, &of, most, &err), QP_OK, "%s", err.text);
}

/* The number of a row's code, or of its state where there are no numbers. */
static size_t number_of(size_t row, size_t code) {
  if (!table.entries) return row * table.codes + code;
  return table.number[row * (table.codes / table.span) + code / table.span] + code % table.span;
}

static int value_of(size_t number, size_t e) {
  const int16_t value = table.value[number * table.dim + e];
  return table.levels && e == table.held ? table.level[value] : value;
}

/* The state of a row and a code has the group that the code leads to, and the row's oldest bits. */
static void expect_values(const char *name) {
  const qp_trellis *t = &coder.trellis;
  const size_t sets = table.rows / t->fan;
  cr_expect_eq((size_t)table.rows * table.codes, (size_t)t->groups * t->fan, "%s", name);
  for (size_t row = 0; row < table.rows; row++)
    for (size_t code = 0; code < table.codes; code++) {
      const size_t group = code * sets + row / t->fan, state = group << t->step | row % t->fan;
      for (size_t e = 0; e < t->dim; e++)
        cr_assert_eq(value_of(number_of(row, code), e),
                     qp_metric_value(&t->metric, coder.values[state * t->dim + e]),
                     "%s: row %zu, code %zu", name, row, code);
    }
}

Test(path_table, every_state_finds_its_values_by_its_number) {
  static const struct {
    const char *name;
    size_t most;
    unsigned entries, span; /* entries 0: each state has its own; span 1: each has a number */
  } kinds[] = {
      {"tcq-3", 16384, 1024, 1},    {"tcq-5", 16384, 4096, 1},   {"tcq-3", 1023, 0, 1},
      {"lin-3", 16384, 2112, 64},   {"lin-1.5", 16384, 1024, 1}, {"lin-2", 16384, 2048, 16},
      {"quad-1.5", 28000, 7824, 1}, {"mix-4", 28000, 10304, 64}, {"tcq-4", 0, 0, 1}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    make(kinds[i].name, kinds[i].most);
    cr_expect_eq(table.entries, kinds[i].entries, "%s: %u entries", kinds[i].name, table.entries);
    cr_expect_eq(table.span, kinds[i].span, "%s: span %u", kinds[i].name, table.span);
    expect_values(kinds[i].name);
  }
}

/* Of mix-5's two weights both have 8,000 values and more, the first one fewer. */
Test(path_table, without_entries_the_weight_with_the_fewest_values_has_numbers_of_levels) {
  static const struct {
    const char *name;
    size_t entries, most;
    unsigned levels, held;
  } kinds[] = {{"tcq-4", 0, 4096, 502, 1},    {"tcq-4", 0, 501, 0, 0},
               {"tcq-4", 1024, 4096, 0, 0},   {"mix-5", 0, 8196, 8196, 0},
               {"fine-4", 0, 65536, 5498, 1}, {"1mad-3", 0, 4096, 0, 0}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    make(kinds[i].name, kinds[i].entries);
    cr_assert_eq(qp_path_table_hold(&table, kinds[i].most, &err), QP_OK, "%s", err.text);
    cr_expect_eq(table.levels, kinds[i].levels, "%s: %u levels", kinds[i].name, table.levels);
    cr_expect_eq(table.held, kinds[i].held, "%s: weight %u", kinds[i].name, table.held);
    expect_values(kinds[i].name);
  }
}

/* Two lanes have codes half of all apart, or neighbours where entries follow each other; so do
   four. */
Test(path_table, entries_that_lanes_look_up_together_lie_in_different_banks) {
  static const char *const names[] = {"tcq-2", "tcq-3", "tcq-4", "lin-2", "lin-3"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    make(names[i], 16384);
    for (unsigned lanes = 2; lanes <= 4; lanes *= 2)
      for (size_t row = 0; row < table.rows; row++) {
        unsigned met = 0;
        for (unsigned l = 0; l < lanes; l++) {
          const size_t code = table.span > 1 ? l : l * (table.codes / lanes);
          met |= 1u << number_of(row, code) % lanes;
        }
        cr_assert_eq(met, (1u << lanes) - 1, "%s: row %zu, %u lanes", names[i], row, lanes);
      }
  }
}
