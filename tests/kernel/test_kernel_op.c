/* SPDX-License-Identifier: MIT */
/* The rows of what C makes for templates, and lua/families/FAMILIES.md, which says the same to
** people. */
#include "gen/kernel/kernel_op.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/file.h"
#include "gen/base/resource.h"
#include "gen/base/text.h"
#include "gen/kernel/family.h"
#include "gen/kernel/kernel.h"

#define DOCUMENT "lua/families/FAMILIES.md"
#define EXPECTED QP_BINARY_DIR "/FAMILIES.tables.md"

static const char *const row_names[] = {
#define X(name) #name,
    QP_KERNEL_OPS(X)
#undef X
};

/* ---- The tables that the document has to hold, word for word ---- */

static void add_fields(qp_text *t) {
  qp_text_add(t, "| field | says |\n|---|---|\n");
#define X(field, help) qp_text_add(t, "| `%s` | %s |\n", #field, help);
  QP_FAMILY_FIELDS(X)
#undef X
}

static void add_problem(qp_text *t) {
  qp_text_add(t, "| problem | says |\n|---|---|\n");
#define X(field, kind, value, help) qp_text_add(t, "| `%s` | %s |\n", #field, help);
  QP_CONSTRAINT_FIELDS(X)
#undef X
}

static void add_holes(qp_text *t) {
  qp_text_add(t, "| hole | says |\n|---|---|\n");
#define X(name, help) qp_text_add(t, "| `@{%s}` | %s |\n", #name, help);
  QP_HOLES(X)
#undef X
}

static void add_words(qp_text *t, const char *name, const qp_argument *list) {
  if (!list->declaration) return;
  qp_text_add(t, "| %s | says |\n|---|---|\n", name);
  for (; list->declaration; list++)
    qp_text_add(t, "| `%s` | %s |\n", list->declaration, list->comment);
}

static void add_tunables(qp_text *t, const qp_kernel_op *op) {
  qp_text_add(t, "| tunable | values | without it | says |\n|---|---|---|---|\n");
  for (unsigned i = 0; i < op->tunables; i++) {
    const qp_tunable_use *use = &op->tunable[i];
    char absent[16] = "an error";
    if (use->absent != QP_NEEDED) snprintf(absent, sizeof absent, "%u", use->absent);
    qp_text_add(t, "| `%s` | %u to %u%s | %s | %s |\n", use->name, use->low, use->high,
                use->power ? ", 0 or a power of two" : "", absent, use->help);
  }
}

static void add_named(qp_text *t, const char *what, const qp_named *list, unsigned n) {
  qp_text_add(t, "| %s | says |\n|---|---|\n", what);
  for (unsigned i = 0; i < n; i++)
    qp_text_add(t, "| `%s%s` | %s |\n", list[i].flag ? "bool " : "", list[i].name, list[i].help);
}

static void add_row(qp_text *t, const qp_kernel_op *op, const char *name) {
  const qp_launch_arguments *of = &qp_launch_arguments_of[op->op];
  qp_text_add(t, "### %s: op = \"%s\"%s%s%s\n\n", name, qp_op_name(op->op),
              *op->form ? ", form = \"" : "", op->form, *op->form ? "\"" : "");
  qp_text_add(t, "%s. Holes:", op->help);
  for (unsigned h = 0; h < QP_HOLE_COUNT; h++)
    if (op->hole[h]) qp_text_add(t, " %s", qp_hole_name((qp_hole_id)h));
  qp_text_add(t, ".\n\n");
  add_tunables(t, op);
  qp_text_add(t, "\n");
  add_named(t, "constant", op->constant, op->constants);
  for (const qp_struct *s = op->structs; s && s->name; s++) {
    qp_text_add(t, "\n");
    add_named(t, s->name, s->member, s->members);
  }
  qp_text_add(t, "\n");
  add_words(t, "Args", of->args);
  if (of->segment->declaration) qp_text_add(t, "\n");
  add_words(t, "Segment", of->segment);
  if (of->stride->declaration) qp_text_add(t, "\n");
  add_words(t, "Stride", of->stride);
  qp_text_add(t, "\n");
}

static void add_all(qp_text *t) {
  add_fields(t);
  qp_text_add(t, "\n");
  add_problem(t);
  qp_text_add(t, "\n");
  add_holes(t);
  qp_text_add(t, "\n");
  add_words(t, "Stream", qp_stream_words);
  qp_text_add(t, "\n");
  for (unsigned i = 0; qp_kernel_ops[i]; i++) add_row(t, qp_kernel_ops[i], row_names[i]);
}

/* Lines of tables and headings of rows, which nobody writes but the lists. */
static bool is_listed(const char *line) {
  return !strncmp(line, "| ", 2) || !strncmp(line, "### ", 4);
}

/* The next listed line of a text, cut off; NULL at the end. */
static char *next_listed(char **rest) {
  for (char *line; (line = strsep(rest, "\n"));)
    if (is_listed(line)) return line;
  return NULL;
}

Test(kernel_op, the_document_of_families_says_what_the_lists_say) {
  qp_text t = {0};
  qp_error err = {0};
  const char *document;
  size_t bytes;
  unsetenv("QPAL_HOME");
  add_all(&t);
  cr_assert_not(t.failed);
  cr_assert_eq(qp_resource_read(DOCUMENT, &document, &bytes, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_file_write(EXPECTED, t.s, t.length, &err), QP_OK, "%s", err.text);
  char *copy = strdup(document), *there = copy, *wanted = t.s;
  for (char *want = "", *line = ""; want || line;) {
    want = next_listed(&wanted);
    line = next_listed(&there);
    cr_assert(want && line ? !strcmp(want, line) : want == line,
              "%s: '%s' should be '%s' (all tables: %s)", DOCUMENT, line ? line : "its end",
              want ? want : "its end", EXPECTED);
  }
  free(copy);
  qp_text_free(&t);
}

/* ---- The rows themselves ---- */

Test(kernel_op, every_row_is_found_by_its_operation_and_form) {
  for (const qp_kernel_op *const *row = qp_kernel_ops; *row; row++) {
    const qp_kernel_op *found;
    qp_error err = {0};
    cr_assert_eq(qp_kernel_op_find((*row)->op, (*row)->form, &found, &err), QP_OK);
    cr_expect_eq(found, *row);
  }
}

Test(kernel_op, every_operation_has_a_row) {
  for (unsigned op = 0; op < QP_OP_COUNT; op++) {
    unsigned n = 0;
    for (const qp_kernel_op *const *row = qp_kernel_ops; *row; row++) n += (*row)->op == (qp_op)op;
    cr_expect_gt(n, 0, "%s", qp_op_name((qp_op)op));
  }
}

Test(kernel_op, every_row_has_its_functions_and_lists_that_fit) {
  for (const qp_kernel_op *const *row = qp_kernel_ops; *row; row++) {
    cr_expect((*row)->check && (*row)->size && (*row)->values && (*row)->help);
    cr_expect((*row)->hole[QP_HOLE_name] && (*row)->hole[QP_HOLE_arguments]);
    cr_expect_leq((*row)->constants, QP_NAMED_MAX);
    cr_expect_leq((*row)->tunables, QP_MAX_TUNABLES);
    for (const qp_struct *s = (*row)->structs; s && s->name; s++)
      cr_expect_leq(s->members, QP_NAMED_MAX);
  }
}
