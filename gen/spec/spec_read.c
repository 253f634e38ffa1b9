/* SPDX-License-Identifier: MIT */
/* Reads one quantizer's Lua table: its typed fields, codebooks and group fields. */
#include "gen/spec/spec_read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/suggest.h"
#include "gen/spec/codebook.h"
#include "gen/spec/codebook_file.h"
#include "gen/spec/spec_lint.h"
#include "runtime/half.h"

enum { MAX_ENTRIES = 65536, MIN_GROUP = 8, MAX_GROUP = 65536 };

/* The path of the field that a message begins with: "field 'group.size': ...", "codebook 'a': ...",
   which is codebooks.a, or codebook where that is its name; "" where it begins otherwise. */
static void field_of(const char *message, char *path, size_t size) {
  const bool field = !strncmp(message, "field '", 7), book = !strncmp(message, "codebook '", 10);
  const char *name = message + (field ? 7 : book ? 10 : 0);
  const int length = field || book ? (int)strcspn(name, "'") : 0;
  const bool named = book && strncmp(name, "codebook'", 9) != 0;
  snprintf(path, size, "%s%.*s", named ? "codebooks." : "", length, name);
}

/* The message, at the line of a field ("": the constructor's, as where it is not spelled out). */
static qp_status fail_at(const qp_reader *r, const char *field, const char *text) {
  char line[16] = "";
  const int own = *field ? qp_read_line(r, field) : 0;
  if (own || r->line) snprintf(line, sizeof line, ":%d", own ? own : r->line);
  return qp_fail(r->err, QP_E_ARG, "%s%s: %s%s%s", r->file, line, r->name ? r->name : "",
                 r->name ? ": " : "", text);
}

int qp_read_line(const qp_reader *r, const char *field) {
  return r->text && r->line ? qp_spec_find_field(r->text, r->line, field) : 0;
}

qp_status qp_read_fail(const qp_reader *r, const char *format, ...) {
  char text[2048], field[128];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  field_of(text, field, sizeof field);
  return fail_at(r, field, text);
}

const char *qp_read_describe(const qp_reader *r, const char *path) {
  static _Thread_local char text[128];
  double x;
  int64_t n;
  switch (qp_lua_type_of(r->lua, r->v, path)) {
  case QP_LUA_NIL: return "nothing";
  case QP_LUA_BOOLEAN: return "a boolean";
  case QP_LUA_TABLE: return "a table";
  case QP_LUA_FUNCTION: return "a function";
  case QP_LUA_STRING:
    snprintf(text, sizeof text, "the string '%.80s'", qp_lua_get_string(r->lua, r->v, path));
    return text;
  case QP_LUA_INTEGER:
    if (!qp_lua_get_integer(r->lua, r->v, path, &n)) break;
    snprintf(text, sizeof text, "%lld", (long long)n);
    return text;
  case QP_LUA_NUMBER:
    if (!qp_lua_get_number(r->lua, r->v, path, &x)) break;
    snprintf(text, sizeof text, "%.9g", x);
    return text;
  case QP_LUA_OTHER: break;
  }
  return "a value of another type";
}

/* "fields.codebook.fields.dim" is called "codebook.dim" in messages. */
static const char *field_name(const char *path, char *out, size_t size) {
  size_t n = 0;
  while (*path && n + 1 < size) {
    if (!strncmp(path, "fields.", 7)) {
      path += 7;
      continue;
    }
    const size_t part = strcspn(path, ".") + (path[strcspn(path, ".")] == '.');
    for (size_t i = 0; i < part && n + 1 < size; i++) out[n++] = *path++;
  }
  out[n] = 0;
  return out;
}

static qp_status wrong_type(const qp_reader *r, const char *path, const char *wanted) {
  char name[128];
  field_name(path, name, sizeof name);
  if (qp_read_is_nil(r, path)) {
    return qp_read_fail(r, "field '%s' is missing; it should be %s", name, wanted);
  }
  return qp_read_fail(r, "field '%s' should be %s, got %s", name, wanted,
                      qp_read_describe(r, path));
}

bool qp_read_is_nil(const qp_reader *r, const char *path) {
  return qp_lua_type_of(r->lua, r->v, path) == QP_LUA_NIL;
}

qp_status qp_read_string(const qp_reader *r, const char *path, const char **out) {
  const char *s = qp_lua_get_string(r->lua, r->v, path);
  if (!s) return wrong_type(r, path, "a string");
  *out = s;
  return QP_OK;
}

qp_status qp_read_boolean(const qp_reader *r, const char *path, bool *out) {
  bool value = false;
  if (!qp_lua_get_boolean(r->lua, r->v, path, &value) && !qp_read_is_nil(r, path)) {
    return wrong_type(r, path, "true or false");
  }
  *out = value;
  return QP_OK;
}

qp_status qp_read_unsigned(const qp_reader *r, const char *path, unsigned lo, unsigned hi,
                           unsigned *out) {
  int64_t n = 0;
  char wanted[64];
  snprintf(wanted, sizeof wanted, "an integer from %u to %u", lo, hi);
  if (!qp_lua_get_integer(r->lua, r->v, path, &n) || n < (int64_t)lo || n > (int64_t)hi) {
    return wrong_type(r, path, wanted);
  }
  *out = (unsigned)n;
  return QP_OK;
}

static size_t count_names(const char *const *names) {
  size_t n = 0;
  while (names[n]) n++;
  return n;
}

/* The name that is near, or what another constructor calls 'step' or 'bits'; NULL: none. */
static const char *near_name(const char *key, const char *const *known) {
  const char *near = qp_suggest(key, known, count_names(known));
  const char *other = !strcmp(key, "step") ? "bits" : !strcmp(key, "bits") ? "step" : "";
  for (size_t k = 0; !near && known[k]; k++)
    if (!strcmp(known[k], other)) near = known[k];
  return near;
}

static qp_status refuse_key(const qp_reader *r, const char *path, const char *what, const char *key,
                            const char *const *known) {
  const char *near = near_name(key, known);
  char fields[256] = "", text[1024], full[256], own[256];
  size_t used = 0;
  for (size_t k = 0; known[k] && used + 40 < sizeof fields; k++) {
    used += (size_t)snprintf(fields + used, sizeof fields - used, "%s%s", k ? ", " : "", known[k]);
  }
  snprintf(text, sizeof text, "%s has no field '%.80s'%s%s%s; %s%s", what, key,
           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
           known[0] ? "its fields are " : "it is a list", fields);
  snprintf(full, sizeof full, "%s.%.80s", path, key);
  return fail_at(r, field_name(full, own, sizeof own), text);
}

qp_status qp_read_known(const qp_reader *r, const char *path, const char *what,
                        const char *const *known, bool items) {
  const char **keys = NULL;
  const size_t count = qp_lua_keys(r->lua, r->v, path, &keys);
  qp_status status = QP_OK;
  if (!items && qp_lua_length(r->lua, r->v, path)) {
    status = qp_read_fail(r, "%s has an item without a name; every field is 'name = value'", what);
  }
  if (!status && qp_lua_has_other_keys(r->lua, r->v, path)) {
    status = qp_read_fail(r, "%s has a key that is no name and no place in a list", what);
  }
  for (size_t i = 0; i < count && !status; i++) {
    size_t k = 0;
    while (known[k] && strcmp(keys[i], known[k]) != 0) k++;
    if (known[k]) continue;
    status = refuse_key(r, path, what, keys[i], known);
  }
  free(keys);
  return status;
}

static bool is_identifier(const char *name, size_t size) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  const size_t length = strlen(name);
  return length > 0 && length < size && strspn(name, letters) == length &&
         !(name[0] >= '0' && name[0] <= '9');
}

/* ---- Codebooks ---- */

typedef enum source { KMEANS, LLOYD_MAX, RANDOM, STORED, VALUES } source;

static const char *const dim_fields[] = {"entries", "dim", "seed", "scope", NULL};
static const char *const lloyd_fields[] = {"entries", "scope", NULL};
static const char *const stored_fields[] = {"file", "entries", "dim", "scope", NULL};
static const char *const values_fields[] = {"dim", "scope", NULL};

static const struct {
  const char *name;
  const char *const *fields;
} sources[] = {[KMEANS] = {"gaussian_kmeans", dim_fields},
               [LLOYD_MAX] = {"lloyd_max", lloyd_fields},
               [RANDOM] = {"random_gaussian", dim_fields},
               [STORED] = {"stored", stored_fields},
               [VALUES] = {"values", values_fields}};

/* Where a codebook stands in the quantizer's table, and the paths of its fields. */
typedef struct place {
  const qp_reader *r;
  char table[64]; /* "fields.codebook" or "fields.codebooks.NAME" */
  char path[128];
} place;

static const char *at(place *p, const char *field) {
  snprintf(p->path, sizeof p->path, "%s.fields.%s", p->table, field);
  return p->path;
}

static qp_status read_source(place *p, source *out) {
  char path[128], name[128];
  snprintf(path, sizeof path, "%s.kind", p->table);
  const char *kind = qp_lua_get_string(p->r->lua, p->r->v, path);
  for (unsigned i = 0; kind && i < sizeof sources / sizeof *sources; i++) {
    if (strcmp(kind, sources[i].name) != 0) continue;
    *out = (source)i;
    return QP_OK;
  }
  return qp_read_fail(p->r,
                      "field '%s' should be a codebook: gaussian_kmeans { entries, dim, seed }, "
                      "lloyd_max { entries }, random_gaussian { entries, dim, seed }, "
                      "stored { file, entries, dim } or values { ... }, got %s",
                      field_name(p->table, name, sizeof name),
                      kind ? kind : qp_read_describe(p->r, p->table));
}

static qp_status read_scope(place *p, qp_scope *out) {
  static const char *const names[] = {"spec", "tensor", "row"};
  *out = QP_SCOPE_SPEC;
  if (qp_read_is_nil(p->r, at(p, "scope"))) return QP_OK;
  const char *scope = qp_lua_get_string(p->r->lua, p->r->v, at(p, "scope"));
  for (unsigned i = 0; scope && i < 3; i++) {
    if (strcmp(scope, names[i]) != 0) continue;
    *out = (qp_scope)i;
    return QP_OK;
  }
  return wrong_type(p->r, at(p, "scope"), "\"spec\", \"tensor\" or \"row\"");
}

static qp_status read_dim(place *p, unsigned *out) {
  *out = 1;
  if (qp_read_is_nil(p->r, at(p, "dim"))) return QP_OK;
  return qp_read_unsigned(p->r, at(p, "dim"), 1, QP_CODEBOOK_MAX_DIM, out);
}

/* Entries as they are stored: zeros behind what is given, up to a power of two. */
static qp_status widen(place *p, qp_codebook *book) {
  book->given = book->dim;
  while (book->dim & (book->dim - 1)) book->dim++;
  if (book->dim == book->given) return QP_OK;
  uint16_t *wide = calloc((size_t)book->entries * book->dim, sizeof *wide);
  if (!wide) return qp_fail(p->r->err, QP_E_NOMEM, "out of memory");
  for (size_t e = 0; e < book->entries; e++)
    memcpy(wide + e * book->dim, book->data + e * book->given, sizeof *wide * book->given);
  free(book->data);
  book->data = wide;
  return QP_OK;
}

static qp_status compute(place *p, source from, qp_codebook *book) {
  unsigned seed = 1;
  qp_status status = QP_OK;
  if (from != LLOYD_MAX && !qp_read_is_nil(p->r, at(p, "seed"))) {
    status = qp_read_unsigned(p->r, at(p, "seed"), 0, ~0u, &seed);
  }
  if (!status) {
    status = qp_read_unsigned(p->r, at(p, "entries"), 1, MAX_ENTRIES, &book->entries);
  }
  if (status) return status;
  book->data = calloc((size_t)book->entries * book->dim, sizeof *book->data);
  if (!book->data) return qp_fail(p->r->err, QP_E_NOMEM, "out of memory");
  if (from == LLOYD_MAX) {
    status = qp_codebook_lloyd_max(book->entries, book->data, p->r->err);
  } else if (from == KMEANS) {
    status = qp_codebook_gaussian_kmeans(book->entries, book->dim, seed, book->data, p->r->err);
  } else {
    status = qp_codebook_random_gaussian(book->entries, book->dim, seed, book->data, p->r->err);
  }
  if (!status) return QP_OK;
  return qp_fail_prefix(p->r->err, status, "%s: %s: codebook '%s'", p->r->file, p->r->name,
                        book->name);
}

static qp_status read_stored(place *p, qp_codebook *book) {
  const char *name = NULL;
  qp_error why = {.text = ""};
  qp_status status = qp_read_string(p->r, at(p, "file"), &name);
  if (!status) {
    status = qp_read_unsigned(p->r, at(p, "entries"), 1, MAX_ENTRIES, &book->entries);
  }
  if (status) return status;
  status = qp_codebook_read(p->r->file, name, book->entries, book->dim, &book->data, &why);
  if (!status || status == QP_E_NOMEM) return status;
  return qp_read_fail(p->r, "codebook '%s': %s", book->name, why.text);
}

static qp_status round_values(place *p, const double *x, size_t count, qp_codebook *book) {
  book->entries = (unsigned)(count / book->dim);
  book->data = calloc(count, sizeof *book->data);
  if (!book->data) return qp_fail(p->r->err, QP_E_NOMEM, "out of memory");
  for (size_t i = 0; i < count; i++) {
    book->data[i] = qp_double_to_half(x[i]);
    if ((book->data[i] & 0x7c00) == 0x7c00) {
      return qp_read_fail(p->r,
                          "codebook '%s': number %zu of its values is %.9g; fp16 reaches from "
                          "-65504 to 65504",
                          book->name, i + 1, x[i]);
    }
  }
  return QP_OK;
}

static qp_status read_values(place *p, qp_codebook *book) {
  char path[128];
  snprintf(path, sizeof path, "%s.fields", p->table);
  double *x = NULL;
  size_t count = 0;
  qp_error why = {.text = ""};
  qp_status status = qp_lua_get_numbers(p->r->lua, p->r->v, path, &x, &count, &why);
  if (status) {
    return qp_read_fail(p->r, "codebook '%s': values: %s", book->name, why.text);
  }
  if (!count || count % book->dim || count / book->dim > MAX_ENTRIES) {
    status = qp_read_fail(p->r,
                          "codebook '%s': %zu values should be a multiple of its dim (%u), and "
                          "make 1 to %d entries",
                          book->name, count, book->dim, MAX_ENTRIES);
  } else {
    status = round_values(p, x, count, book);
  }
  free(x);
  return status;
}

static qp_status read_codebook(place *p, qp_codebook *book) {
  source from = KMEANS;
  qp_status status = read_source(p, &from);
  char path[128];
  snprintf(path, sizeof path, "%s.fields", p->table);
  if (!status) {
    status = qp_read_known(p->r, path, sources[from].name, sources[from].fields, from == VALUES);
  }
  if (!status) status = read_scope(p, &book->scope);
  book->dim = 1;
  if (!status && from != LLOYD_MAX) status = read_dim(p, &book->dim);
  if (status) return status;
  if (book->scope == QP_SCOPE_ROW && book->dim > 2) {
    return qp_read_fail(p->r, "codebook '%s': dim %u should be 1 or 2 where scope is \"row\"",
                        book->name, book->dim);
  }
  status = from == STORED   ? read_stored(p, book)
           : from == VALUES ? read_values(p, book)
                            : compute(p, from, book);
  return status ? status : widen(p, book);
}

static qp_status read_named(const qp_reader *r, const char *name, qp_quantizer *q) {
  if (q->codebooks == QP_MAX_CODEBOOKS) {
    return qp_read_fail(r, "field 'codebooks' has more than %d codebooks", QP_MAX_CODEBOOKS);
  }
  qp_codebook *book = &q->codebook[q->codebooks++];
  if (!is_identifier(name, sizeof book->name)) {
    return qp_read_fail(r,
                        "field 'codebooks': '%.80s' should be a name of letters, digits and '_' "
                        "of at most %zu bytes",
                        name, sizeof book->name - 1);
  }
  memcpy(book->name, name, strlen(name) + 1);
  place p = {.r = r};
  snprintf(p.table, sizeof p.table, "fields.codebooks.%s", name);
  return read_codebook(&p, book);
}

static qp_status read_all_named(const qp_reader *r, qp_quantizer *q) {
  const char **names = NULL;
  const size_t count = qp_lua_keys(r->lua, r->v, "fields.codebooks", &names);
  qp_status status = QP_OK;
  if (!count || qp_lua_length(r->lua, r->v, "fields.codebooks") ||
      qp_lua_has_other_keys(r->lua, r->v, "fields.codebooks")) {
    status = qp_read_fail(r, "field 'codebooks' should be a table { name = codebook, ... }, got %s",
                          count ? "one with items without names"
                                : qp_read_describe(r, "fields.codebooks"));
  }
  for (size_t i = 0; i < count && !status; i++) status = read_named(r, names[i], q);
  free(names);
  return status;
}

qp_status qp_read_codebooks(const qp_reader *r, qp_quantizer *q) {
  const bool one = !qp_read_is_nil(r, "fields.codebook");
  const bool many = !qp_read_is_nil(r, "fields.codebooks");
  if (one && many) {
    return qp_read_fail(r, "there are both 'codebook' and 'codebooks'; choose 'codebooks' and name "
                           "each");
  }
  if (many) return read_all_named(r, q);
  if (!one) return QP_OK;
  q->codebooks = 1;
  memcpy(q->codebook[0].name, "codebook", sizeof "codebook");
  place p = {.r = r, .table = "fields.codebook"};
  return read_codebook(&p, &q->codebook[0]);
}

/* ---- Group fields ---- */

/* A field is { type, lowest, highest } with a size or scope of its own, and nothing else. */
static qp_status check_field_items(const qp_reader *r, const char *name) {
  static const char *const known[] = {"size", "scope", NULL};
  char path[128], what[64];
  snprintf(path, sizeof path, "fields.group.%s", name);
  snprintf(what, sizeof what, "field 'group.%s'", name);
  const size_t items = qp_lua_length(r->lua, r->v, path);
  if (items > 3) {
    return qp_read_fail(r, "%s has %zu items, should be { type, lowest, highest }", what, items);
  }
  return qp_read_known(r, path, what, known, true);
}

static qp_status read_type(const qp_reader *r, const char *name, unsigned *out) {
  char of[112], path[128], types[128] = "";
  size_t used = 0;
  snprintf(of, sizeof of, "fields.group.%s", name);
  snprintf(path, sizeof path, "%s.1", of);
  const bool whole = qp_lua_type_of(r->lua, r->v, of) == QP_LUA_TABLE;
  const char *type = qp_lua_get_string(r->lua, r->v, path);
  for (*out = 0; *out < QP_FIELD_TYPE_COUNT; ++*out) {
    const char *known = qp_field_row_of(*out)->name;
    if (type && !strcmp(type, known)) return QP_OK;
    used += (size_t)snprintf(types + used, sizeof types - used, "%s%s", *out ? ", " : "", known);
  }
  return qp_read_fail(r,
                      "field 'group.%s' should be { type, lowest, highest } with a type of %s, "
                      "got %s",
                      name, types, qp_read_describe(r, whole ? path : of));
}

static qp_status read_range(const qp_reader *r, const char *name, qp_field *f) {
  const qp_field_row *type = qp_field_row_of(f->type);
  char lo[128], hi[128], lowest[128];
  snprintf(lo, sizeof lo, "fields.group.%s.2", name);
  snprintf(hi, sizeof hi, "fields.group.%s.3", name);
  bool right = qp_lua_get_number(r->lua, r->v, lo, &f->lo);
  right = right && qp_lua_get_number(r->lua, r->v, hi, &f->hi);
  right = right && f->lo >= type->lo && f->lo <= f->hi && f->hi <= type->hi;
  if (right && type->integer) right = f->lo == floor(f->lo) && f->hi == floor(f->hi);
  if (right) return QP_OK;
  snprintf(lowest, sizeof lowest, "%s", qp_read_describe(r, lo));
  return qp_read_fail(r,
                      "field 'group.%s' should be { \"%s\", lowest, highest } with %g <= "
                      "lowest <= highest <= %g%s, got %s and %s",
                      name, type->name, type->lo, type->hi, type->integer ? ", both integers" : "",
                      lowest, qp_read_describe(r, hi));
}

static qp_status read_columns(const qp_reader *r, const char *path, unsigned *out) {
  const qp_status status = qp_read_unsigned(r, path, MIN_GROUP, MAX_GROUP, out);
  if (status || *out % MIN_GROUP == 0) return status;
  return wrong_type(r, path, "a multiple of 8");
}

/* Its own size or scope, or the group's size, which is 0 where there is none. */
static qp_status read_extent(const qp_reader *r, const char *name, unsigned group, qp_field *f) {
  char size[128], scope[128];
  snprintf(size, sizeof size, "fields.group.%s.size", name);
  snprintf(scope, sizeof scope, "fields.group.%s.scope", name);
  f->size = group;
  if (!qp_read_is_nil(r, size) && !qp_read_is_nil(r, scope)) {
    return qp_read_fail(r, "field 'group.%s' has a size and a scope; leave one out", name);
  }
  if (!qp_read_is_nil(r, size)) return read_columns(r, size, &f->size);
  if (qp_read_is_nil(r, scope)) {
    return group ? QP_OK
                 : qp_read_fail(r,
                                "field 'group.size' is missing, and so is a size or "
                                "scope of 'group.%s'",
                                name);
  }
  const char *text = qp_lua_get_string(r->lua, r->v, scope);
  f->tensor = text && !strcmp(text, "tensor");
  f->size = 0;
  if (f->tensor || (text && !strcmp(text, "row"))) return QP_OK;
  return wrong_type(r, scope, "\"row\" or \"tensor\"");
}

static qp_status read_field(const qp_reader *r, const char *name, unsigned group, qp_field *f) {
  unsigned type = 0;
  qp_status status = read_type(r, name, &type);
  f->type = (qp_field_type)type;
  memcpy(f->name, name, strlen(name) + 1);
  if (!status) status = read_range(r, name, f);
  if (!status) status = check_field_items(r, name);
  return status ? status : read_extent(r, name, group, f);
}

/* Groups lie in one another: the smallest one's size is the quantizer's. */
static qp_status nest_groups(const qp_reader *r, qp_quantizer *q) {
  q->group = 0;
  for (unsigned i = 0; i < q->fields; i++) {
    const unsigned size = q->field[i].size;
    if (size && (!q->group || size < q->group)) q->group = size;
  }
  for (unsigned i = 0; i < q->fields; i++) {
    for (unsigned k = 0; k < q->fields; k++) {
      const unsigned a = q->field[i].size, b = q->field[k].size;
      if (!a || !b || a > b || b % a == 0) continue;
      return qp_read_fail(r,
                          "field 'group.%s': groups of %u columns, of which no whole number is a "
                          "group of 'group.%s' (%u)",
                          q->field[i].name, a, q->field[k].name, b);
    }
  }
  return QP_OK;
}

static qp_status read_fields(const qp_reader *r, const char **names, size_t count,
                             qp_quantizer *q) {
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(names[i], "size")) continue;
    if (q->fields == QP_MAX_FIELDS) {
      return qp_read_fail(r, "field 'group' has more than %d fields", QP_MAX_FIELDS);
    }
    if (!is_identifier(names[i], sizeof q->field[0].name)) {
      return qp_read_fail(r, "field 'group': '%.80s' should be a name of letters, digits and '_'",
                          names[i]);
    }
    const qp_status status = read_field(r, names[i], q->group, &q->field[q->fields]);
    if (status) return status;
    q->fields++;
  }
  if (q->fields) return nest_groups(r, q);
  return qp_read_fail(r, "field 'group' has no fields; for example scale = { \"f16\", 0.001, 4 }");
}

qp_status qp_read_group(const qp_reader *r, qp_quantizer *q) {
  if (qp_read_is_nil(r, "fields.group")) return QP_OK;
  if (qp_lua_type_of(r->lua, r->v, "fields.group") != QP_LUA_TABLE) {
    return wrong_type(r, "fields.group", "a table { size = 128, scale = { \"f16\", 0.001, 4 } }");
  }
  if (qp_lua_length(r->lua, r->v, "fields.group") ||
      qp_lua_has_other_keys(r->lua, r->v, "fields.group")) {
    return qp_read_fail(r, "field 'group' has an item without a name; every field is NAME = { "
                           "type, lowest, highest }");
  }
  qp_status status = QP_OK;
  if (!qp_read_is_nil(r, "fields.group.size")) {
    status = read_columns(r, "fields.group.size", &q->group);
  }
  if (status) return status;
  const char **names = NULL;
  const size_t count = qp_lua_keys(r->lua, r->v, "fields.group", &names);
  status = read_fields(r, names, count, q);
  free(names);
  return status;
}
