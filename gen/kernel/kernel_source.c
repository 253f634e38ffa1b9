/* SPDX-License-Identifier: MIT */
/* Writes a kernel's CUDA source: it makes the text of a template's holes, those that operations
   share. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "gen/kernel/expand.h"
#include "gen/kernel/kernel.h"
#include "gen/kernel/kernel_op.h"

/* ---- Lists ---- */

void qp_text_struct(qp_text *t, const qp_struct *of) {
  qp_text_add(t, "struct %s {\n", of->name);
  for (unsigned i = 0; i < of->members; i++)
    qp_text_add(t, "  unsigned %s;  // %s\n", of->member[i].name, of->member[i].help);
  qp_text_add(t, "};\n");
}

void qp_text_row(qp_text *t, const unsigned *value, unsigned members) {
  for (unsigned i = 0; i < members; i++) qp_text_add(t, "%s%u", i ? ", " : "  {", value[i]);
  qp_text_add(t, "},\n");
}

void qp_text_dispatch(qp_text *t, unsigned quantizers, const char *call, const char *arguments) {
  for (unsigned i = 0; i < quantizers; i++) {
    qp_text_add(t, "  %s", i ? "else " : "");
    if (i + 1 < quantizers) qp_text_add(t, "if (PARTS[i].quantizer == %u) ", i);
    qp_text_add(t, "%s<L%u>(args, %s);\n", call, i, arguments);
  }
}

static void add_words(qp_text *t, const char *name, const qp_argument *list) {
  if (!list->declaration) return;
  qp_text_add(t, "struct %s {\n", name);
  for (; list->declaration; list++)
    qp_text_add(t, "  %s;  // %s\n", list->declaration, list->comment);
  qp_text_add(t, "};\n");
}

/* ---- Holes of all operations ---- */

qp_status qp_hole_text_name(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)err;
  qp_text_add(t, "%s", k->name);
  return QP_OK;
}

qp_status qp_hole_text_header(qp_text *t, const qp_kernel *k, qp_error *err) {
  const qp_problem *p = &k->problem;
  (void)err;
  qp_text_add(t, "// %s\n// made from %s (%s)\n", k->name, k->choice.family->template_file,
              k->choice.family->file);
  for (unsigned s = 0; s < p->segments; s++) {
    const qp_quantizer *q = p->segment[s].quantizer;
    qp_text_add(t, "// segment %u: %u x %u, %s, %s:%d, hash %s\n", s + 1, p->segment[s].rows,
                p->columns, q->name, q->file, q->line_first, q->hash);
  }
  qp_text_add(t, "// launch: %u blocks of %u threads, %u bytes of dynamic shared memory\n", k->grid,
              k->block, k->smem_bytes);
  return QP_OK;
}

/* Tunables that C does not read are the template's own: their values stand there in capitals. */
static void add_own_tunables(qp_text *t, const qp_kernel *k) {
  const qp_family *f = k->choice.family;
  for (unsigned i = 0; i < f->tunables; i++) {
    bool known = false;
    for (unsigned u = 0; u < f->kernel->tunables; u++)
      known |= !strcmp(f->kernel->tunable[u].name, f->tunable[i].name);
    if (known) continue;
    qp_text_add(t, "constexpr unsigned ");
    for (const char *c = f->tunable[i].name; *c; c++)
      qp_text_add(t, "%c", toupper((unsigned char)*c));
    qp_text_add(t, " = %u;\n", k->choice.value[i]);
  }
}

qp_status qp_hole_text_constants(qp_text *t, const qp_kernel *k, qp_error *err) {
  const qp_kernel_op *op = k->choice.family->kernel;
  unsigned value[QP_NAMED_MAX] = {0};
  (void)err;
  op->values(k, value);
  for (unsigned i = 0; i < op->constants; i++)
    if (op->constant[i].flag)
      qp_text_add(t, "constexpr bool %s = %s;\n", op->constant[i].name,
                  value[i] ? "true" : "false");
    else
      qp_text_add(t, "constexpr unsigned %s = %u;\n", op->constant[i].name, value[i]);
  add_own_tunables(t, k);
  return QP_OK;
}

qp_status qp_hole_text_stream(qp_text *t, const qp_kernel *k, qp_error *err) {
  (void)k, (void)err;
  qp_text_add(t, "// One linear, or one column range of a split quantizer.\n");
  add_words(t, "Stream", qp_stream_words);
  return QP_OK;
}

qp_status qp_hole_text_arguments(qp_text *t, const qp_kernel *k, qp_error *err) {
  const qp_launch_arguments *of = &qp_launch_arguments_of[k->problem.op];
  (void)err;
  add_words(t, "Segment", of->segment);
  add_words(t, "Stride", of->stride);
  add_words(t, "Args", of->args);
  return QP_OK;
}

/* Say how many words hold a lane's 4 rows in registers. */
static unsigned field_words(const qp_field *f) {
  const unsigned bits = qp_field_row_of(f->type)->bits;
  return f->tensor || bits < 16 ? 1 : bits / 8;
}

/* How often a field is loaded for a block of 64 columns: for each half, or once. */
static unsigned field_loads(const qp_field *f) { return f->size % QP_BLOCK_COLUMNS ? 2 : 1; }

void qp_text_fields(qp_text *t, const qp_quantizer *q, unsigned blocks) {
  static const char *const facts[] = {"unsigned field_bits",  "unsigned field_size",
                                      "bool field_of_tensor", "unsigned field_loads",
                                      "unsigned field_words", "unsigned field_first"};
  unsigned words = 0;
  qp_text_add(t,
              "  static constexpr bool BY_ROW = %s, SPARSE = %s;\n"
              "  static constexpr unsigned SPARSE_ARRAY = %u;\n",
              qp_layout_by_row(q) ? "true" : "false", q->sparse > 0 ? "true" : "false",
              qp_layout_sparse_array(q));
  for (unsigned k = 0; k < sizeof facts / sizeof *facts; k++) {
    words = 0;
    qp_text_add(t, "  static __device__ constexpr %s(unsigned f) {\n    return ", facts[k]);
    for (unsigned f = 0; f < q->fields; f++) {
      const qp_field *field = &q->field[f];
      const unsigned fact[] = {qp_field_row_of(field->type)->bits,
                               field->size,
                               field->tensor,
                               field_loads(field),
                               field_words(field),
                               words};
      qp_text_add(t, "f == %u ? %u : ", f, fact[k]);
      words += blocks * field_loads(field) * field_words(field);
    }
    qp_text_add(t, "0;\n  }\n");
  }
  qp_text_add(t, "  static constexpr unsigned FIELD_WORDS = %u;\n", words ? words : 1);
}

/* The codebooks that are far among a quantizer's: how many, their numbers, how many numbers a row
   has of them (0: they are one for all rows). */
static void add_row_books(qp_text *t, const qp_quantizer *q) {
  unsigned books = 0;
  qp_text number = {0}, entries = {0};
  for (unsigned b = 0; b < q->codebooks; b++) {
    const qp_codebook *book = &q->codebook[b];
    if (!qp_book_is_far(book)) continue;
    qp_text_add(&number, "b == %u ? %u : ", books, b);
    qp_text_add(&entries, "b == %u ? %u : ", books++,
                book->scope == QP_SCOPE_ROW ? book->entries * book->dim : 0);
  }
  qp_text_add(t,
              "  static constexpr unsigned ROW_BOOKS = %u;\n"
              "  static __device__ constexpr unsigned row_codebook(unsigned b) { return %s0; }\n"
              "  static __device__ constexpr unsigned row_entries(unsigned b) { return %s0; }\n",
              books, books ? number.s : "", books ? entries.s : "");
  t->failed |= number.failed | entries.failed;
  qp_text_free(&number);
  qp_text_free(&entries);
}

/* A quantizer's decode function, then the struct that adds its layout. */
static qp_status add_quantizer(qp_text *t, const qp_kernel *k, unsigned i, qp_error *err) {
  const qp_lowered *l = &k->lowered[i];
  const qp_quantizer *q = l->quantizer;
  char name[8] = {'Q', (char)('0' + i / 10), (char)('0' + i % 10), 0};
  char *decode = qp_lowered_cuda(l, name);
  if (!decode) return qp_fail(err, QP_E_NOMEM, "%s: no memory for the decode's text", q->name);
  qp_text_add(t, "%s", decode);
  free(decode);
  qp_period period;
  const qp_status status = qp_layout_period(q, &period, err);
  if (status) return status;
  qp_text_add(t,
              "struct L%u : %s {\n"
              "  static constexpr unsigned BLOCKS = %u, WORDS = %u, WORDS_READ = %u, PLANES = %u;\n"
              "  static constexpr unsigned X_OFFSET = %u;\n",
              i, name, period.blocks, period.words, period.words_read,
              q->planes ? q->planes_read : 0, k->x_offset[i]);
  qp_text_fields(t, q, period.blocks);
  add_row_books(t, q);
  qp_text_add(t, "};\n");
  return QP_OK;
}

qp_status qp_hole_text_quantizers(qp_text *t, const qp_kernel *k, qp_error *err) {
  qp_status status = QP_OK;
  for (unsigned i = 0; i < k->lowereds && !status; i++) status = add_quantizer(t, k, i, err);
  return status;
}

/* ---- The source ---- */

qp_status qp_kernel_source(qp_kernel *k, qp_error *err) {
  const qp_family *family = k->choice.family;
  qp_text text[QP_HOLE_COUNT] = {0};
  qp_hole hole[QP_HOLE_COUNT];
  size_t n = 0;
  qp_status status = QP_OK;
  for (unsigned h = 0; h < QP_HOLE_COUNT && !status; h++) {
    if (!family->kernel->hole[h]) continue;
    status = family->kernel->hole[h](&text[h], k, err);
    if (!status && text[h].failed)
      status = qp_fail(err, QP_E_NOMEM, "%s: no memory for the source", family->template_file);
    hole[n++] = (qp_hole){qp_hole_name((qp_hole_id)h), text[h].s ? text[h].s : ""};
  }
  if (!status) status = qp_expand(family->template_file, hole, n, &k->source, err);
  for (unsigned h = 0; h < QP_HOLE_COUNT; h++) qp_text_free(&text[h]);
  return status;
}
