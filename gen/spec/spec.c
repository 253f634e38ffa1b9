/* SPDX-License-Identifier: MIT */
/* Reads one Lua file of quantizers:  text --lua_host--> tables --check, trace--> [quantizers]. */
#include "gen/spec/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"
#include "gen/ir/passes.h"
#include "gen/spec/definition.h"
#include "gen/spec/definition_kept.h"
#include "gen/spec/layout.h"
#include "gen/spec/lua_host.h"
#include "gen/spec/spec_guard.h"
#include "gen/spec/spec_lint.h"
#include "gen/spec/spec_read.h"

_Static_assert((int)QP_MAX_CODEBOOKS == (int)QP_LUA_MAX_CODEBOOKS, "codebooks of a decode");
_Static_assert((int)QP_MAX_FIELDS == (int)QP_LUA_MAX_FIELDS, "fields of a decode");

enum {
  MAX_QUANTIZERS = 256,
  MAX_DIM = 16,
  MAX_TRELLIS_BITS = 24,
  MAX_CODE_BITS = 20,
  MAX_VECTOR_BITS = 32
};

/* ---- Kinds and the fields that each may have ---- */

#define INPUT_SIDE "rotation", "order", "scale"                         /* all have them */
#define CODED      "codebook", "codebooks", "group", "sparse", "decode" /* all but splits do */
static const char *const trellis_fields[] = {"name", "window",   "dim", "step",
                                             CODED,  INPUT_SIDE, NULL};
static const char *const vector_fields[] = {"name", "dim", "bits", CODED, INPUT_SIDE, NULL};
static const char *const scalar_fields[] = {"name", "bits",     "planes", "planes_read",
                                            CODED,  INPUT_SIDE, NULL};
static const char *const split_fields[] = {"name", "parts", INPUT_SIDE, NULL};

static const struct {
  const char *name;
  const char *const *fields;
} kinds[] = {[QP_TRELLIS] = {"trellis", trellis_fields},
             [QP_VECTOR] = {"vector", vector_fields},
             [QP_SCALAR] = {"scalar", scalar_fields},
             [QP_SPLIT] = {"split", split_fields}};

/* ---- Names ---- */

static bool name_is_right(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  const size_t length = strlen(name);
  if (length > 4 && !strcmp(name + length - 4, ".lua")) return false; /* it would be a path */
  return length > 0 && strspn(name, letters) == length && strchr("._-", name[0]) == NULL;
}

static qp_status read_name(qp_reader *r, qp_quantizer *q) {
  const char *name;
  const qp_status status = qp_read_string(r, "fields.name", &name);
  if (status) return status;
  if (strlen(name) >= sizeof q->name || !name_is_right(name)) {
    return qp_read_fail(r,
                        "field 'name': '%.80s' should be lower-case letters, digits, '.', '_' "
                        "and '-', should begin with a letter or digit, not end in '.lua', and be "
                        "at most %zu long",
                        name, sizeof q->name - 1);
  }
  memcpy(q->name, name, strlen(name) + 1);
  r->name = q->name;
  return QP_OK;
}

/* ---- Numbers ---- */

static qp_status read_trellis(qp_reader *r, qp_quantizer *q) {
  qp_status status = qp_read_unsigned(r, "fields.window", 1, MAX_TRELLIS_BITS, &q->window);
  if (!status) status = qp_read_unsigned(r, "fields.dim", 1, 8, &q->dim);
  if (!status) status = qp_read_unsigned(r, "fields.step", 1, MAX_TRELLIS_BITS, &q->step);
  if (status) return status;
  if (q->dim & (q->dim - 1)) {
    return qp_read_fail(r, "field 'dim': %u should be 1, 2, 4 or 8", q->dim);
  }
  if (q->step > q->window) {
    return qp_read_fail(r, "field 'step': %u is larger than the window (%u)", q->step, q->window);
  }
  return QP_OK;
}

static qp_status read_code(qp_reader *r, qp_quantizer *q) {
  const unsigned most = q->kind == QP_VECTOR ? MAX_VECTOR_BITS : MAX_CODE_BITS;
  qp_status status = qp_read_unsigned(r, "fields.bits", 1, most, &q->step);
  q->dim = 1;
  if (!status && q->kind == QP_VECTOR) {
    status = qp_read_unsigned(r, "fields.dim", 1, MAX_DIM, &q->dim);
  }
  q->window = q->step;
  return status;
}

static qp_status read_planes(qp_reader *r, qp_quantizer *q) {
  q->planes_read = q->step;
  if (q->kind != QP_SCALAR) return QP_OK;
  qp_status status = qp_read_boolean(r, "fields.planes", &q->planes);
  if (status || qp_read_is_nil(r, "fields.planes_read")) return status;
  if (!q->planes) {
    return qp_read_fail(r, "field 'planes_read' goes with 'planes = true', which says that codes "
                           "are stored as bit planes");
  }
  return qp_read_unsigned(r, "fields.planes_read", 1, q->step, &q->planes_read);
}

static qp_status read_numbers(qp_reader *r, qp_quantizer *q) {
  qp_status status = q->kind == QP_TRELLIS ? read_trellis(r, q) : read_code(r, q);
  if (!status) status = read_planes(r, q);
  if (status) return status;
  if (q->step > 16 * q->dim) {
    return qp_read_fail(r, "field '%s': %u bits for %u weight%s, more than fp16 itself takes",
                        q->kind == QP_TRELLIS ? "step" : "bits", q->step, q->dim,
                        q->dim == 1 ? "" : "s");
  }
  return QP_OK;
}

static bool has_rows(const qp_quantizer *q) {
  for (unsigned i = 0; i < q->codebooks; i++) {
    if (q->codebook[i].scope == QP_SCOPE_ROW) return true;
  }
  return false;
}

/* What a kernel cannot do, and the layout of the codes. */
static qp_status check_form(qp_reader *r, const qp_quantizer *q) {
  if ((q->dim > 8 || (q->dim & (q->dim - 1))) && (q->fields || has_rows(q))) {
    return qp_read_fail(r,
                        "field 'dim': %u should be 1, 2, 4 or 8 where there are %s, since a code's "
                        "weights must lie in one row and group",
                        q->dim, q->fields ? "group fields" : "codebooks with scope = \"row\"");
  }
  qp_period period;
  qp_error why = {.text = ""};
  const qp_status status = qp_layout_period(q, &period, &why);
  return !status ? QP_OK : qp_read_fail(r, "%s", why.text);
}

/* ---- Decode ---- */

/* Copy lines first..last of the file's text; NULL: out of memory. */
static char *copy_lines(const char *text, size_t bytes, int first, int last) {
  const char *at = text, *end = text + bytes;
  for (int line = 1; line < first && at < end; line++) {
    const char *next = memchr(at, '\n', (size_t)(end - at));
    at = next ? next + 1 : end;
  }
  const char *stop = at;
  for (int line = first; line <= last && stop < end; line++) {
    const char *next = memchr(stop, '\n', (size_t)(end - stop));
    stop = next ? next + 1 : end;
  }
  if (stop > at && stop[-1] == '\n') stop--;
  return strndup(at, (size_t)(stop - at));
}

static void describe_decode(const qp_reader *r, const qp_quantizer *q, qp_lua_decode *d) {
  *d = (qp_lua_decode){.dim = q->dim,
                       .named = qp_read_is_nil(r, "fields.codebook"),
                       .codebooks = q->codebooks,
                       .fields = q->fields};
  for (unsigned i = 0; i < q->codebooks; i++) {
    d->codebook[i].name = q->codebook[i].name;
    d->codebook[i].entries = q->codebook[i].entries;
    d->codebook[i].dim = q->codebook[i].dim;
    d->codebook[i].given = q->codebook[i].given;
  }
  for (unsigned i = 0; i < q->fields; i++) {
    d->field[i].name = q->field[i].name;
    d->field[i].type = qp_field_row_of(q->field[i].type)->name;
  }
}

static int keep_all(qp_copy *c, unsigned node, const int *args) {
  (void)c, (void)node, (void)args;
  return QP_KEEP;
}

/* Trace the decode function into q->decode, without nodes that nothing needs. */
static qp_status trace_decode(qp_reader *r, qp_quantizer *q) {
  qp_lua_decode d;
  char where[sizeof q->file + 16], what[sizeof q->name + 16];
  describe_decode(r, q, &d);
  snprintf(where, sizeof where, "%s:%d", r->file, q->line_first ? q->line_first : r->line);
  snprintf(what, sizeof what, "%s: decode", q->name);
  d.where = where;
  d.what = what;
  qp_ir *ir = qp_ir_new();
  if (!ir) return qp_fail(r->err, QP_E_NOMEM, "out of memory");
  const qp_status status = qp_lua_trace(r->lua, r->v, "fields.decode", &d, ir, r->err);
  if (!status) q->decode = qp_pass_copy(ir, keep_all, NULL);
  qp_ir_free(ir);
  if (!status && !q->decode) return qp_fail(r->err, QP_E_NOMEM, "out of memory");
  return status;
}

static qp_status read_decode(qp_reader *r, qp_quantizer *q, const char *text, size_t bytes) {
  const qp_lua_type type = qp_lua_type_of(r->lua, r->v, "fields.decode");
  if (type == QP_LUA_NIL) {
    if (q->codebooks != 1 || qp_read_is_nil(r, "fields.codebook")) {
      return qp_read_fail(r, "field 'decode' is missing; only with one 'codebook' does it have a "
                             "default, codebook[code]");
    }
    q->decode_text = strdup("decode = function (code, codebook) return codebook[code] end");
  } else if (type != QP_LUA_FUNCTION) {
    return qp_read_fail(r, "field 'decode' should be a function, got %s",
                        qp_read_describe(r, "fields.decode"));
  } else if (!qp_lua_get_lines(r->lua, r->v, "fields.decode", &q->line_first, &q->line_last)) {
    return qp_read_fail(r, "field 'decode' should be a function written in Lua, not a library's");
  } else {
    q->decode_text = copy_lines(text, bytes, q->line_first, q->line_last);
  }
  if (!q->decode_text) return qp_fail(r->err, QP_E_NOMEM, "out of memory");
  return trace_decode(r, q);
}

/* ---- Split ---- */

static qp_status read_part(qp_reader *r, unsigned i, qp_spec *s) {
  static const char *const none[] = {NULL};
  char path[64];
  snprintf(path, sizeof path, "fields.parts.%u", i + 1);
  const qp_status status = qp_read_known(r, path, "field 'parts': an item", none, true);
  if (status) return status;
  if (qp_lua_length(r->lua, r->v, path) != 2) {
    return qp_read_fail(r, "field 'parts': item %u should be { \"name\", fraction }", i + 1);
  }
  snprintf(path, sizeof path, "fields.parts.%u.1", i + 1);
  const char *name = qp_lua_get_string(r->lua, r->v, path);
  if (!name || strlen(name) >= sizeof s->part_name[i] || !name_is_right(name)) {
    return qp_read_fail(r, "field 'parts': item %u should begin with a quantizer's name, got %s",
                        i + 1, qp_read_describe(r, path));
  }
  memcpy(s->part_name[i], name, strlen(name) + 1);
  const int parts = qp_read_line(r, "parts");
  const int own = parts ? qp_spec_find_string(r->text, parts, name) : 0;
  s->part_line[i] = own ? own : parts ? parts : r->line;
  snprintf(path, sizeof path, "fields.parts.%u.2", i + 1);
  double fraction = 0;
  if (!qp_lua_get_number(r->lua, r->v, path, &fraction) || !(fraction > 0 && fraction < 1)) {
    return qp_read_fail(r,
                        "field 'parts': the fraction of '%s' should be a number between 0 and "
                        "1, got %s",
                        name, qp_read_describe(r, path));
  }
  s->quantizer.part[i].fraction = fraction;
  return QP_OK;
}

static qp_status read_parts(qp_reader *r, qp_spec *s) {
  const size_t parts = qp_lua_length(r->lua, r->v, "fields.parts");
  if (parts < 2 || parts > QP_MAX_PARTS) {
    return qp_read_fail(r,
                        "field 'parts' should be a list of 2 to %d items { \"name\", fraction }, "
                        "got %s of %zu",
                        QP_MAX_PARTS, qp_read_describe(r, "fields.parts"), parts);
  }
  static const char *const none[] = {NULL};
  double sum = 0;
  qp_status status = qp_read_known(r, "fields.parts", "field 'parts'", none, true);
  for (unsigned i = 0; i < parts && !status; i++) {
    status = read_part(r, i, s);
    sum += s->quantizer.part[i].fraction;
  }
  if (status) return status;
  if (fabs(sum - 1) > 1e-9) {
    return qp_read_fail(r, "field 'parts': the fractions add up to %.9g, should be 1", sum);
  }
  s->quantizer.parts = (unsigned)parts;
  return QP_OK;
}

void qp_spec_finish_split(qp_quantizer *q) {
  q->rate = q->stored_rate = 0;
  for (unsigned i = 0; i < q->parts; i++) {
    q->rate += q->part[i].fraction * q->part[i].quantizer->rate;
    q->stored_rate += q->part[i].fraction * q->part[i].quantizer->stored_rate;
  }
}

/* ---- One quantizer ---- */

/* What a row or a linear has once is divided among USUAL_COLUMNS, and as many rows. */
static void set_rates(qp_quantizer *q) {
  enum { USUAL_COLUMNS = 4096 };
  const double row = 1.0 / USUAL_COLUMNS, linear = row * row;
  q->rate = (double)q->planes_read / q->dim;
  q->stored_rate = (double)q->step / q->dim;
  for (unsigned i = 0; i < q->fields; i++) {
    const qp_field *f = &q->field[i];
    const double share = f->tensor ? linear : f->size ? 1.0 / f->size : row;
    q->stored_rate += (double)qp_field_row_of(f->type)->bits * share;
  }
  q->stored_rate += 32 * q->sparse;
  for (unsigned i = 0; i < q->codebooks; i++) {
    const qp_codebook *b = &q->codebook[i];
    const double bits = 16.0 * b->entries * b->dim;
    if (b->scope == QP_SCOPE_ROW) q->stored_rate += bits * row;
    if (b->scope == QP_SCOPE_TENSOR) q->stored_rate += bits * linear;
  }
}

/* Read sparse, which is the share of a row's entries. */
static qp_status read_sparse(qp_reader *r, qp_quantizer *q) {
  if (qp_read_is_nil(r, "fields.sparse")) return QP_OK;
  if (!qp_lua_get_number(r->lua, r->v, "fields.sparse", &q->sparse) ||
      !(q->sparse > 0 && q->sparse * QP_SPARSE_SHARE <= 1)) {
    return qp_read_fail(r,
                        "field 'sparse' should be the share of a row's entries that are also "
                        "stored in fp16, above 0 and at most 1/%d, got %s",
                        QP_SPARSE_SHARE, qp_read_describe(r, "fields.sparse"));
  }
  return QP_OK;
}

/* rotation = "full", "none", or columns of its diagonal blocks. */
static qp_status read_rotation(qp_reader *r, qp_quantizer *q) {
  static const unsigned possible[] = {128, 256, 512};
  const char *word = NULL;
  double number = 0;
  if (qp_read_is_nil(r, "fields.rotation")) return QP_OK;
  if (qp_lua_get_number(r->lua, r->v, "fields.rotation", &number)) {
    for (unsigned i = 0; i < sizeof possible / sizeof *possible; i++)
      if (number == possible[i]) return q->rotation = possible[i], QP_OK;
  } else if (!qp_read_string(r, "fields.rotation", &word)) {
    if (!strcmp(word, "full")) return QP_OK;
    if (!strcmp(word, "none")) return q->rotation = 1, QP_OK;
  }
  return qp_read_fail(r, "field 'rotation' should be \"full\", \"none\", 128, 256 or 512, got %s",
                      qp_read_describe(r, "fields.rotation"));
}

/* A word of two, or nil: '*out' is its number from 1 on, or 0. */
static qp_status read_word(qp_reader *r, const char *name, const char *const words[2],
                           unsigned *out) {
  char path[64];
  const char *word = NULL;
  snprintf(path, sizeof path, "fields.%s", name);
  if (qp_read_is_nil(r, path)) return *out = 0, QP_OK;
  word = qp_lua_get_string(r->lua, r->v, path);
  for (unsigned i = 0; word && i < 2 && words[i]; i++)
    if (!strcmp(word, words[i])) return *out = i + 1, QP_OK;
  return qp_read_fail(r, "field '%s' should be \"%s\"%s%s%s, got %s", name, words[0],
                      words[1] ? " or \"" : "", words[1] ? words[1] : "", words[1] ? "\"" : "",
                      qp_read_describe(r, path));
}

/* Read order = "sensitivity" and scale = "activations" or "weights". */
static qp_status read_columns(qp_reader *r, qp_quantizer *q) {
  static const char *const orders[2] = {"sensitivity"};
  static const char *const scales[2] = {"activations", "weights"};
  unsigned order = 0, scale = 0;
  qp_status status = read_word(r, "order", orders, &order);
  if (!status) status = read_word(r, "scale", scales, &scale);
  if (order) q->rotation |= QP_SIDE_ORDER;
  if (scale) q->rotation |= QP_SIDE_SCALE;
  q->scale = (qp_column_scale)scale;
  return status;
}

static qp_status read_coded(qp_reader *r, qp_quantizer *q, const char *text, size_t bytes) {
  qp_status status = read_numbers(r, q);
  if (!status) status = qp_read_codebooks(r, q);
  if (!status) status = qp_read_group(r, q);
  if (!status) status = read_sparse(r, q);
  if (!status) status = check_form(r, q);
  if (!status) status = read_decode(r, q, text, bytes);
  if (status) return status;
  set_rates(q);
  if (qp_definition_is_kept(q)) return QP_OK;
  qp_error why = {.text = ""};
  status = qp_quantizer_check(q, &why);
  if (status) {
    if (q->line_first) r->line = q->line_first;
    return status == QP_E_ARG ? qp_read_fail(r, "%s", why.text)
                              : qp_fail(r->err, status, "%s", why.text);
  }
  if (!qp_quantizer_hash(q)) return qp_fail(r->err, QP_E_NOMEM, "out of memory");
  qp_definition_keep(q);
  return QP_OK;
}

static qp_status read_kind(qp_reader *r, qp_quantizer_kind *out) {
  const char *kind = qp_lua_get_string(r->lua, r->v, "kind");
  for (unsigned i = 0; kind && i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kind, kinds[i].name) != 0) continue;
    *out = (qp_quantizer_kind)i;
    return QP_OK;
  }
  return qp_read_fail(r,
                      "it should return trellis { ... }, vector { ... }, scalar { ... }, "
                      "split { ... } or a list of these, got %s%s",
                      kind ? kind : qp_read_describe(r, ""), kind ? " { ... }" : "");
}

static qp_status read_spec(qp_reader *r, qp_spec *s, const char *text, size_t bytes) {
  qp_quantizer *q = &s->quantizer;
  qp_status status = read_kind(r, &q->kind);
  if (status) return status;
  int64_t line = 0;
  if (qp_lua_get_integer(r->lua, r->v, "line", &line) && line > 0 && line < 1 << 24) {
    r->line = s->line = q->line = (int)line;
  }
  q->layout = QP_LAYOUT_VERSION;
  snprintf(q->file, sizeof q->file, "%s", r->file);
  status = read_name(r, q);
  if (!status) {
    status = qp_read_known(r, "fields", kinds[q->kind].name, kinds[q->kind].fields, false);
  }
  if (!status) status = read_rotation(r, q);
  if (!status) status = read_columns(r, q);
  if (status) return status;
  return q->kind == QP_SPLIT ? read_parts(r, s) : read_coded(r, q, text, bytes);
}

void qp_spec_free(qp_spec *s) {
  if (!s) return;
  for (unsigned i = 0; i < s->quantizer.codebooks; i++) free(s->quantizer.codebook[i].data);
  qp_ir_free(s->quantizer.decode);
  free(s->quantizer.decode_text);
  free(s->fault);
  free(s);
}

/* ---- The file ---- */

typedef struct file_job {
  const char *file, *text;
  size_t bytes;
  qp_lua *lua;
  qp_error *err;
  qp_spec **specs;
  size_t count;
} file_job;

static qp_status load_one(file_job *job, qp_lua_ref v) {
  qp_spec *s = calloc(1, sizeof *s);
  if (!s) return qp_fail(job->err, QP_E_NOMEM, "out of memory");
  qp_error why = {.text = ""};
  qp_reader r = {.lua = job->lua, .file = job->file, .text = job->text, .v = v, .err = &why};
  const qp_status status = read_spec(&r, s, job->text, job->bytes);
  const bool kept = status == QP_E_ARG && r.name;
  if (kept) s->fault = strdup(why.text);
  if (status && !s->fault) {
    qp_spec_free(s);
    return kept ? qp_fail(job->err, QP_E_NOMEM, "out of memory")
                : qp_fail(job->err, status, "%s", why.text);
  }
  job->specs[job->count++] = s;
  return QP_OK;
}

/* All quantizers of a file refused: the first one's message is the file's. */
static qp_status check_any_right(const file_job *job) {
  for (size_t i = 0; i < job->count; i++) {
    if (!job->specs[i]->fault) return QP_OK;
  }
  return qp_fail(job->err, QP_E_ARG, "%s", job->specs[0]->fault);
}

static qp_status fail_result(file_job *job, qp_lua_ref result, size_t n) {
  const qp_reader r = {.lua = job->lua, .file = job->file, .v = result, .err = job->err};
  if (qp_read_is_nil(&r, "")) {
    return qp_read_fail(&r, "it returns nothing; write 'return' before its quantizer or before a "
                            "list { ... } of them");
  }
  char of[32] = "";
  if (qp_lua_type_of(job->lua, result, "") == QP_LUA_TABLE) snprintf(of, sizeof of, " of %zu", n);
  return qp_read_fail(&r, "it should return a quantizer or a list of 1 to %d, got %s%s",
                      MAX_QUANTIZERS, qp_read_describe(&r, ""), of);
}

/* A list has no names, under which a quantizer would be lost. */
static qp_status check_list(file_job *job, qp_lua_ref result) {
  static const char *const none[] = {NULL};
  const qp_reader r = {.lua = job->lua, .file = job->file, .v = result, .err = job->err};
  return qp_read_known(&r, "", "the list of quantizers that it returns", none, true);
}

/* Run the file, whose conditions ask whether they are of values.  One with a 0 in it is no text. */
static qp_status run_file(file_job *job, qp_lua_ref *result) {
  char *text = strndup(job->text, job->bytes);
  const bool whole = text && strlen(text) == job->bytes;
  char *guarded = whole ? qp_spec_guard(text) : NULL;
  const size_t bytes = guarded ? strlen(guarded) : job->bytes;
  free(text);
  if (!text || (whole && !guarded)) return qp_fail(job->err, QP_E_NOMEM, "out of memory");
  const qp_status status = qp_lua_run(job->lua, QP_PRELUDE, job->file,
                                      guarded ? guarded : job->text, bytes, result, job->err);
  free(guarded);
  return status;
}

static qp_status load_all(file_job *job) {
  qp_lua_ref result = 0;
  qp_status status = run_file(job, &result);
  if (status) return status;
  const bool list = qp_lua_type_of(job->lua, result, "kind") == QP_LUA_NIL;
  const size_t n = list ? qp_lua_length(job->lua, result, "") : 1;
  if (n > MAX_QUANTIZERS || (list && !n)) return fail_result(job, result, n);
  if (list) status = check_list(job, result);
  if (status) return status;
  job->specs = calloc(n, sizeof(qp_spec *));
  if (!job->specs) return qp_fail(job->err, QP_E_NOMEM, "out of memory");
  for (size_t i = 0; i < n && !status; i++) {
    qp_lua_ref item = 0;
    char path[32] = "";
    if (list) snprintf(path, sizeof path, "%zu", i + 1);
    status = qp_lua_get(job->lua, result, path, &item, job->err);
    if (!status) status = load_one(job, item);
    qp_lua_release(job->lua, item);
  }
  return status ? status : check_any_right(job);
}

qp_status qp_spec_load(const char *file, const char *text, size_t bytes, qp_spec ***out,
                       size_t *count, qp_error *err) {
  file_job job = {.file = file, .text = text, .bytes = bytes, .err = err};
  if (strlen(file) >= sizeof((qp_quantizer *)0)->file) {
    return qp_fail(err, QP_E_ARG, "%s: the path is longer than %zu bytes", file,
                   sizeof((qp_quantizer *)0)->file - 1);
  }
  qp_status status = qp_lua_open(NULL, &job.lua, err);
  if (!status) status = load_all(&job);
  status = qp_lua_all_read(job.lua, status, err);
  qp_lua_close(job.lua);
  if (status) {
    for (size_t i = 0; i < job.count; i++) qp_spec_free(job.specs[i]);
    free(job.specs);
    return status;
  }
  *out = job.specs;
  *count = job.count;
  return QP_OK;
}
