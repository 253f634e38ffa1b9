/* SPDX-License-Identifier: MIT */
/* Packed weights through the public interface: found, compared with the library, refused. */
#include "tests/runtime/library_kit.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "gen/base/text.h"
#include "runtime/half.h"

static void *file;
static size_t file_bytes;
static qpal_library *library;
static char path[64];

static void open_library(qp_export_request r) {
  r.batches = 1;
  file = kit_export(&r, &file_bytes);
  cr_assert_eq(qpal_library_from_memory(file, file_bytes, &library), QPAL_OK, "%s", qpal_message());
  snprintf(path, sizeof path, "/tmp/qpal-packed-%ld.safetensors", (long)getpid());
}

static void set_up(void) {
  qp_export_group g[3];
  cr_assert_eq(qp_session_open(&kit_session, &kit_err), QP_OK, "%s", kit_err.text);
  kit_groups(g);
  open_library(kit_request(g));
}

/* One linear with sparse entries. */
static void set_up_sparse(void) {
  qp_export_group g[3];
  cr_assert_eq(qp_session_open(&kit_session, &kit_err), QP_OK, "%s", kit_err.text);
  kit_groups(g);
  g[2].member[0].quantizer = kit_find("squeezellm-3");
  g[2].lookup = false;
  qp_export_request r = kit_request(&g[2]);
  r.groups = 1;
  r.dequant = r.rotate = r.inverse = r.norm = r.glu = false;
  open_library(r);
}

static void tear_down(void) {
  unlink(path);
  qpal_library_close(library);
  free(file);
  qp_session_close(&kit_session);
}

TestSuite(packed, .init = set_up, .fini = tear_down);
TestSuite(packed_sparse, .init = set_up_sparse, .fini = tear_down);

/* ---- A file as PACKED.md says, written by hand ---- */

typedef struct writer {
  qp_text tensors, data, linears, quantizers;
  bool half_scales;
  const char *cut;     /* what each linear says of its slices, or NULL */
  unsigned columns;    /* that each linear claims; 0: KIT_K */
  const char *version; /* of the file; NULL: the last */
  const char *section; /* what the section says before all else, or NULL */
  const char *signs;   /* that each linear names; NULL: "in.signs" */
  const char *changed; /* this codebook of a definition has another last bit, or NULL */
} writer;

/* Tensors of 4-byte elements must be added before those of 2, these before bytes. */
static void add_tensor(writer *w, const char *name, const char *type, const char *shape,
                       const void *data, size_t bytes) {
  qp_text_add(&w->tensors, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
              name, type, shape, w->data.length, w->data.length + bytes);
  qp_text_append(&w->data, data, bytes);
}

static const char *kind_of(const qp_quantizer *q) {
  static const char *const kinds[] = {"trellis", "vector", "scalar", "split"};
  return kinds[q->kind];
}

/* One linear's tensors with elements of 'element' bytes. */
static void add_tensors(writer *w, const char *name, const kit_linear *l, unsigned element) {
  char tensor[128], shape[64];
  for (unsigned i = 0; i < l->parts; i++) {
    const qp_stream *s = &l->part[i].stream;
    if (element == 4) {
      snprintf(tensor, sizeof tensor, "%s.codes.%u", name, i);
      snprintf(shape, sizeof shape, "%zu", s->code_words);
      add_tensor(w, tensor, "U32", shape, l->part[i].codes, 4 * s->code_words);
    }
    for (unsigned f = 0; f < s->arrays; f++) {
      const bool halves = qp_layout_array_is_half(s->quantizer, f);
      if (element != (halves ? 2 : 1)) continue;
      snprintf(tensor, sizeof tensor, "%s.field.%u.%u", name, i, f);
      snprintf(shape, sizeof shape, "%zu", s->field_bytes[f] / element);
      add_tensor(w, tensor, halves ? "F16" : "U8", shape, l->part[i].field[f], s->field_bytes[f]);
    }
    for (unsigned c = 0; c < s->quantizer->codebooks && element == 2; c++) {
      const qp_codebook *b = &s->quantizer->codebook[c];
      if (b->scope == QP_SCOPE_SPEC) continue;
      const unsigned rows = b->scope == QP_SCOPE_ROW ? 32 * s->row_groups : b->dim;
      snprintf(tensor, sizeof tensor, "%s.codebook.%u.%u", name, i, c);
      snprintf(shape, sizeof shape, "%u,%u", rows, b->entries);
      add_tensor(w, tensor, "F16", shape, l->part[i].codebook[c], 2ul * rows * b->entries);
    }
  }
  snprintf(tensor, sizeof tensor, "%s.row_scales", name);
  snprintf(shape, sizeof shape, "%u", l->rows);
  if (element == 4 && !w->half_scales) add_tensor(w, tensor, "F32", shape, l->scale, 4ul * l->rows);
  if (element == 2 && w->half_scales) {
    uint16_t *half = malloc(sizeof *half * l->rows);
    for (unsigned r = 0; r < l->rows; r++) half[r] = qp_float_to_half(l->scale[r]);
    add_tensor(w, tensor, "F16", shape, half, sizeof *half * l->rows);
    free(half);
  }
}

/* Codebooks of the definitions of a linear's parts, which no linear before it had. */
static void add_codebooks(writer *w, const kit_linear *l) {
  char name[96], quoted[112], shape[64];
  for (unsigned i = 0; i < l->parts; i++) {
    const qp_quantizer *q = l->part[i].stream.quantizer;
    for (unsigned c = 0; c < q->codebooks; c++) {
      const qp_codebook *b = &q->codebook[c];
      snprintf(name, sizeof name, "%s.codebook.%u", q->name, c);
      snprintf(quoted, sizeof quoted, "\"%s\"", name);
      if (b->scope != QP_SCOPE_SPEC || strstr(w->tensors.s, quoted)) continue;
      snprintf(shape, sizeof shape, "%u,%u", b->entries, b->dim);
      add_tensor(w, name, "F16", shape, b->data, 2ul * b->entries * b->dim);
      if (w->changed && !strcmp(w->changed, name)) w->data.s[w->data.length - 1] ^= 1;
    }
  }
}

/* Describe it; 'q' is the quantizer that the file names (another one's hash is a lie to be
** seen). */
static void describe(writer *w, const char *name, const kit_linear *l, const qp_quantizer *q,
                     uint64_t rows) {
  qp_text_add(&w->quantizers,
              "%s\\\"%s\\\":{\\\"hash\\\":\\\"%s\\\",\\\"layout\\\":1,\\\"kind\\\":\\\"%s\\\"}",
              w->quantizers.length ? "," : "", q->name, q->hash, kind_of(q));
  qp_text_add(&w->linears,
              "%s{\\\"name\\\":\\\"%s\\\",\\\"rows\\\":%" PRIu64
              ",\\\"columns\\\":%u,\\\"quantizer\\\":"
              "\\\"%s\\\",%s\\\"signs\\\":%s,\\\"parts\\\":[",
              w->linears.length ? "," : "", name, rows, w->columns ? w->columns : KIT_K, q->name,
              w->cut ? w->cut : "", w->signs ? w->signs : "\\\"in.signs\\\"");
  for (unsigned i = 0; i < l->parts; i++)
    qp_text_add(&w->linears,
                "%s{\\\"quantizer\\\":\\\"x\\\",\\\"column\\\":%u,\\\"columns\\\":%u,"
                "\\\"sparse\\\":%u}",
                i ? "," : "", l->part[i].column, l->part[i].stream.columns,
                l->part[i].stream.sparse);
  qp_text_add(&w->linears, "]}");
}

static void write_file(writer *w, const char *format) {
  qp_text t = {0};
  qp_text_add(&t,
              "{\"__metadata__\":{\"format\":\"%s\",\"version\":\"%s\",\"quantization\":\"{%s"
              "\\\"quantizers\\\":{%s},\\\"linears\\\":[%s]}\"}%s}",
              format, w->version ? w->version : "6", w->section ? w->section : "", w->quantizers.s,
              w->linears.s, w->tensors.s);
  while (t.length % 8) qp_text_add(&t, " ");
  const uint64_t length = t.length;
  FILE *f = fopen(path, "wb");
  cr_assert_not_null(f);
  cr_assert(fwrite(&length, 8, 1, f) && fwrite(t.s, t.length, 1, f) &&
            fwrite(w->data.s, w->data.length, 1, f));
  fclose(f);
  qp_text_free(&t);
  qp_text_free(&w->tensors);
  qp_text_free(&w->data);
  qp_text_free(&w->linears);
  qp_text_free(&w->quantizers);
}

typedef struct lies {
  const char *hash_of; /* quantizer whose hash the second linear claims */
  uint64_t rows;       /* of the first */
  unsigned columns;    /* of all */
  bool no_scales, half_scales;
  const char *format, *cut, *version, *section, *signs, *changed;
} lies;

static void write_packed(kit_linear linear[KIT_MEMBERS], lies lie) {
  static const uint32_t signs[KIT_K / 32] = {1, 2, 3, 4, 5, 6};
  static const unsigned elements[] = {4, 2, 1};
  char name[64];
  writer w = {.half_scales = lie.half_scales,
              .cut = lie.cut,
              .version = lie.version,
              .section = lie.section,
              .columns = lie.columns,
              .signs = lie.signs,
              .changed = lie.changed};
  for (unsigned m = 0; m < KIT_MEMBERS; m++)
    kit_linear_make(&linear[m], kit_quantizers[m], kit_rows[m]);
  add_tensor(&w, "in.signs", "U32", "6", signs, sizeof signs);
  for (unsigned e = 0; e < 3; e++)
    for (unsigned m = 0; m < KIT_MEMBERS; m++) {
      snprintf(name, sizeof name, "model.layers.0.w%u", m);
      add_tensors(&w, name, &linear[m], elements[e]);
      if (elements[e] == 2) add_codebooks(&w, &linear[m]);
    }
  if (lie.no_scales) { /* under another name */
    char *at = strstr(w.tensors.s, "w0.row_scales");
    cr_assert_not_null(at);
    at[1] = '9';
  }
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    qp_quantizer q = *linear[m].quantizer;
    if (m == 1 && lie.hash_of) memcpy(q.hash, kit_find(lie.hash_of)->hash, sizeof q.hash);
    snprintf(name, sizeof name, "model.layers.0.w%u", m);
    describe(&w, name, &linear[m], &q, !m && lie.rows ? lie.rows : kit_rows[m]);
  }
  write_file(&w, lie.format ? lie.format : "qpal-packed");
}

static void free_linears(kit_linear linear[KIT_MEMBERS]) {
  for (unsigned m = 0; m < KIT_MEMBERS; m++) kit_linear_free(&linear[m]);
}

Test(packed, row_scales_in_fp16_are_handed_out_as_fp32) {
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  write_packed(linear, (lies){.half_scales = true});
  cr_assert_eq(qpal_packed_open(path, &p), QPAL_OK, "%s", qpal_message());
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    qpal_packed_linear got = {.size = sizeof got};
    cr_assert_eq(qpal_packed_find(p, library, 0, m, &got), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(got.scale.bytes, 4 * kit_rows[m]);
    for (unsigned r = 0; r < kit_rows[m]; r++)
      cr_expect_eq(((const float *)got.scale.data)[r],
                   qp_half_to_float(qp_float_to_half(linear[m].scale[r])));
  }
  qpal_packed_close(p);
  free_linears(linear);
}

Test(packed, hands_out_each_linears_bytes_as_they_lie_in_the_file) {
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  write_packed(linear, (lies){0});
  cr_assert_eq(qpal_packed_open(path, &p), QPAL_OK, "%s", qpal_message());
  for (unsigned m = 0; m < KIT_MEMBERS; m++) {
    qpal_packed_linear got = {.size = sizeof got};
    cr_assert_eq(qpal_packed_find(p, library, 0, m, &got), QPAL_OK, "%s", qpal_message());
    cr_assert_eq(got.parts, linear[m].parts);
    cr_expect_eq(got.signs.bytes, 24);
    cr_expect_eq(((const uint32_t *)got.signs.data)[5], 6);
    cr_expect_arr_eq(got.scale.data, linear[m].scale, 4 * kit_rows[m]);
    for (unsigned i = 0; i < got.parts; i++) {
      const qp_stream *s = &linear[m].part[i].stream;
      cr_assert_eq(got.part[i].codes.bytes, 4 * s->code_words);
      cr_expect_arr_eq(got.part[i].codes.data, linear[m].part[i].codes, 4 * s->code_words);
      for (unsigned f = 0; f < s->quantizer->fields; f++)
        cr_expect_arr_eq(got.part[i].field[f].data, linear[m].part[i].field[f], s->field_bytes[f]);
      for (unsigned c = 0; c < s->quantizer->codebooks; c++)
        if (s->quantizer->codebook[c].scope == QP_SCOPE_ROW)
          cr_expect_arr_eq(got.part[i].codebook[c].data, linear[m].part[i].codebook[c],
                           got.part[i].codebook[c].bytes);
    }
  }
  qpal_tensor t = {.size = sizeof t};
  cr_assert_eq(qpal_packed_tensor(p, "in.signs", &t), QPAL_OK);
  cr_expect_str_eq(t.type, "U32");
  cr_expect_eq(t.dim[0], 6);
  cr_expect_eq(qpal_packed_tensor(p, "out.signs", &t), QPAL_E_ARG);
  qpal_packed_linear none = {.size = sizeof none};
  cr_expect_eq(qpal_packed_find(p, library, 2, 0, &none), QPAL_E_ARG, "it has no such linear");
  cr_expect_eq(qpal_packed_find(p, library, 1, 0, &none), QPAL_E_ARG, "16 bits");
  qpal_packed_close(p);
  free_linears(linear);
}

/* Open what 'lie' makes of the file, ask for member 'm': the message must hold both words. */
static void expect_refusal(lies lie, unsigned m, qpal_status expected, const char *first,
                           const char *second) {
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  qpal_packed_linear got = {.size = sizeof got};
  write_packed(linear, lie);
  qpal_status status = qpal_packed_open(path, &p);
  if (!status) status = qpal_packed_find(p, library, 0, m, &got);
  cr_expect_eq(status, expected, "%d: %s", (int)status, qpal_message());
  cr_expect(strstr(qpal_message(), first) && strstr(qpal_message(), second), "%s", qpal_message());
  qpal_packed_close(p);
  free_linears(linear);
}

Test(packed, refuses_weights_of_another_definition_with_both_hashes) {
  expect_refusal((lies){.hash_of = "nuq-4"}, 1, QPAL_E_MISMATCH, kit_find("nuq-4")->hash,
                 kit_find("int4-g128")->hash);
}

Test(packed, refuses_a_definition_s_codebook_that_is_not_the_library_s) {
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  qpal_tensor t = {.size = sizeof t};
  write_packed(linear, (lies){0});
  cr_assert_eq(qpal_packed_open(path, &p), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(qpal_packed_tensor(p, "tcq-2.5.codebook.0", &t), QPAL_OK, "%s", qpal_message());
  qpal_packed_close(p);
  free_linears(linear);
  expect_refusal((lies){.changed = "tcq-2.5.codebook.0"}, 0, QPAL_E_MISMATCH, path,
                 "tensor 'tcq-2.5.codebook.0' is not the codebook");
  expect_refusal((lies){.changed = "tcq-3.codebook.0"}, 0, QPAL_E_MISMATCH, path,
                 "tensor 'tcq-3.codebook.0' is not the codebook");
}

Test(packed, refuses_weights_of_another_shape_with_both_shapes) {
  expect_refusal((lies){.columns = 256}, 0, QPAL_E_MISMATCH, "48 x 256", "48 x 192");
}

Test(packed, refuses_rows_that_have_no_scales_at_once_however_many_are_claimed) {
  const char *says = "holds 48 scales of 1000000000000000 rows";
  expect_refusal((lies){.rows = 1000000000000000}, 0, QPAL_E_FORMAT, path, says);
  expect_refusal((lies){.rows = 1000000000000000, .half_scales = true}, 0, QPAL_E_FORMAT, path,
                 says);
}

Test(packed, refuses_weights_that_lack_a_tensor_and_names_it) {
  expect_refusal((lies){.no_scales = true}, 0, QPAL_E_FORMAT, "model.layers.0.w0.row_scales",
                 "missing");
}

#define CUT(way, n) "\\\"split\\\":\\\"" way "\\\",\\\"slices\\\":" n ","

Test(packed, refuses_slices_that_no_rank_can_have_by_file_and_number) {
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  expect_refusal((lies){.cut = CUT("columns", "5")}, 0, QPAL_E_FORMAT, path,
                 "slices: 5; of its 192 columns");
  expect_refusal((lies){.cut = CUT("columns", "0")}, 0, QPAL_E_FORMAT, path, "slices: 0;");
  expect_refusal((lies){.cut = CUT("diag", "2")}, 0, QPAL_E_FORMAT, path, "split 'diag'");
  write_packed(linear, (lies){.cut = CUT("columns", "2")});
  cr_expect_eq(qpal_packed_open_rank(path, 1, 2, &p), QPAL_OK, "%s", qpal_message());
  qpal_packed_close(p);
  p = NULL;
  cr_expect_eq(qpal_packed_open_rank(path, 1, 3, &p), QPAL_E_ARG);
  cr_expect_eq(qpal_packed_open_rank(path, 1, 1u << 31, &p), QPAL_E_ARG);
  cr_expect(strstr(qpal_message(), "at most 4096"), "%s", qpal_message());
  free_linears(linear);
}

/* It opens as version 'has', and not as the one before. */
static void expect_needs(const char *what, unsigned has, const char *field) {
  char version[] = {(char)('0' + has), 0}, before[] = {(char)('0' + has - 1), 0}, words[64];
  kit_linear linear[KIT_MEMBERS];
  qpal_packed *p = NULL;
  snprintf(words, sizeof words, "'%s' is of packed weights of version %u", field, has);
  expect_refusal((lies){.cut = what, .version = before}, 0, QPAL_E_FORMAT, path, words);
  write_packed(linear, (lies){.cut = what, .version = version});
  cr_expect_eq(qpal_packed_open(path, &p), QPAL_OK, "%s", qpal_message());
  qpal_packed_close(p);
  free_linears(linear);
}

Test(packed, refuses_what_its_version_does_not_have_by_file_linear_and_field) {
  expect_needs("\\\"rotation\\\":64,", 3, "rotation");
  expect_needs(CUT("columns", "2"), 3, "split");
  expect_needs("\\\"order\\\":true,", 4, "order");
  expect_needs("\\\"scale\\\":true,", 4, "scale");
  expect_needs("\\\"parts\\\":[{},{},{},{}],", 6, "parts"); /* and its own after them */
  expect_refusal((lies){.section = "\\\"version\\\":2,"}, 0, QPAL_E_FORMAT, path,
                 "field 'version': 2; the metadata 'version' is 6");
  expect_refusal((lies){.version = "7"}, 0, QPAL_E_FORMAT, path, "version '7'");
}

Test(packed, refuses_an_order_or_scales_that_no_tensor_holds) {
  expect_refusal((lies){.cut = "\\\"order\\\":true,", .signs = "null"}, 0, QPAL_E_FORMAT, path,
                 "field 'order', but 'signs' names no tensor");
  expect_refusal((lies){.cut = "\\\"scale\\\":true,", .signs = "null"}, 0, QPAL_E_FORMAT, path,
                 "field 'scale', but 'signs' names no tensor");
}

/* Find the one linear, written as it is now, in a file of 'version'; its arrays are mapped while
   the file is open. */
static qpal_status find_sparse(const kit_linear *l, const char *version) {
  static const uint32_t signs[KIT_K / 32] = {1};
  static const unsigned elements[] = {4, 2, 1};
  const char *name = "model.layers.0.alone";
  qpal_packed_linear got = {.size = sizeof got};
  qpal_packed *p = NULL;
  writer w = {.version = version};
  add_tensor(&w, "in.signs", "U32", "6", signs, sizeof signs);
  for (unsigned e = 0; e < 3; e++) add_tensors(&w, name, l, elements[e]);
  describe(&w, name, l, l->quantizer, l->rows);
  write_file(&w, "qpal-packed");
  qpal_status status = qpal_packed_open(path, &p);
  if (!status) status = qpal_packed_find(p, library, 0, 0, &got);
  qpal_packed_close(p);
  return status;
}

Test(packed_sparse, entries_that_no_row_has_are_refused_by_tensor_row_and_column) {
  kit_linear l;
  kit_linear_make(&l, "squeezellm-3", kit_rows[0]);
  cr_expect_eq(find_sparse(&l, "5"), QPAL_OK, "%s", qpal_message());
  cr_expect_eq(find_sparse(&l, "4"), QPAL_E_FORMAT);
  cr_expect(strstr(qpal_message(), "'sparse' is of packed weights of version 5"), "%s",
            qpal_message());
  const qp_stream *s = &l.part[0].stream;
  uint8_t *array = l.part[0].field[qp_layout_sparse_array(s->quantizer)];
  qp_layout_set_sparse(s, 40, 0, array, KIT_K | 0x3c00u << 16);
  cr_expect_eq(find_sparse(&l, "5"), QPAL_E_FORMAT);
  cr_expect(strstr(qpal_message(), "alone.field.0.0': row 40 has a sparse entry of column 192"),
            "%s", qpal_message());
  kit_linear_free(&l);
}

Test(packed, refuses_a_checkpoint_that_is_not_packed) {
  expect_refusal((lies){.format = "pt"}, 0, QPAL_E_FORMAT, "'pt'", path);
}

/* ---- Shards ---- */

/* A shard of one byte; a 'job' of NULL is left out. */
static void write_shard(const char *folder, unsigned i, const char *job) {
  char name[96], header[512];
  snprintf(header, sizeof header,
           "{\"__metadata__\":{\"format\":\"qpal-packed\",\"version\":\"1\"%s%s%s},"
           "\"t%u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
           job ? ",\"job\":\"" : "", job ? job : "", job ? "\"" : "", i);
  snprintf(name, sizeof name, "%s/s%u.safetensors", folder, i);
  FILE *f = fopen(name, "wb");
  cr_assert(f);
  const uint64_t length = strlen(header);
  fwrite(&length, 1, 8, f);
  fwrite(header, 1, length, f);
  fputc(0, f);
  fclose(f);
}

static qpal_status open_shards(const char *job, const char *other) {
  char folder[] = "/tmp/qpal-shards-XXXXXX", name[96], command[96];
  cr_assert(mkdtemp(folder));
  write_shard(folder, 0, job);
  write_shard(folder, 1, other);
  snprintf(name, sizeof name, "%s/model.safetensors.index.json", folder);
  FILE *f = fopen(name, "w");
  fputs("{\"weight_map\":{\"t0\":\"s0.safetensors\",\"t1\":\"s1.safetensors\"}}", f);
  fclose(f);
  qpal_packed *p = NULL;
  const qpal_status status = qpal_packed_open(folder, &p);
  if (!status) qpal_packed_close(p);
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  cr_assert_eq(system(command), 0);
  return status;
}

Test(packed, shards_of_different_runs_are_refused) {
  cr_assert_eq(open_shards("a1", "a1"), QPAL_OK, "%s", qpal_message());
  cr_assert_eq(open_shards("a1", "b2"), QPAL_E_FORMAT);
  cr_assert(strstr(qpal_message(), "'a1'") && strstr(qpal_message(), "'b2'"), "%s", qpal_message());
  cr_assert_eq(open_shards("a1", NULL), QPAL_E_FORMAT);
}

Test(packed, refuses_files_cut_off_anywhere) {
  kit_linear linear[KIT_MEMBERS];
  write_packed(linear, (lies){0});
  FILE *f = fopen(path, "rb");
  fseek(f, 0, SEEK_END);
  const long all = ftell(f);
  fclose(f);
  for (long n = all - 1; n > 0; n -= all / 40) {
    qpal_packed *p = NULL;
    cr_assert_eq(truncate(path, n), 0);
    cr_expect_eq(qpal_packed_open(path, &p), QPAL_E_FORMAT, "%ld bytes: %s", n, qpal_message());
  }
  qpal_packed *p = NULL;
  unlink(path);
  cr_expect_eq(qpal_packed_open(path, &p), QPAL_E_IO);
  free_linears(linear);
}
