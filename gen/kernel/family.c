/* SPDX-License-Identifier: MIT */
/* Reads kernel families:  lua/families/x.lua -> tunables, their values, constraints, template. */
#include "gen/kernel/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/arch.h"
#include "gen/spec/lua_files.h"
#include "gen/spec/spec_read.h"

enum { RANKS = 1000 };

struct qp_families {
  qp_lua *lua;
  size_t count;
  qp_family family[QP_MAX_FAMILIES];
  const qp_family *ranked[QP_MAX_FAMILIES]; /* Sorted by reference, rank and name. */
};

/* ---- Reading a file ---- */

static qp_status copy_string(const qp_reader *r, const char *field, bool needed, char *out,
                             size_t size) {
  const char *s = "";
  if (!needed && qp_read_is_nil(r, field)) return out[0] = 0, QP_OK;
  const qp_status status = qp_read_string(r, field, &s);
  if (status) return status;
  if (strlen(s) >= size || (needed && !*s))
    return qp_read_fail(r, "field '%s': '%.60s' should have 1 to %zu characters", field, s,
                        size - 1);
  memcpy(out, s, strlen(s) + 1);
  return QP_OK;
}

/* Find a tunable that C reads, or NULL. */
static const qp_tunable_use *find_use(const qp_kernel_op *op, const char *name, size_t n) {
  for (unsigned i = 0; i < op->tunables; i++)
    if (strlen(op->tunable[i].name) == n && !memcmp(op->tunable[i].name, name, n))
      return &op->tunable[i];
  return NULL;
}

static qp_status check_value(const qp_reader *r, const qp_family *f, const qp_tunable *t,
                             unsigned v) {
  const qp_tunable_use *use = find_use(f->kernel, t->name, strlen(t->name));
  if (!use || (v >= use->low && v <= use->high && (!use->power || !(v & (v - 1))))) return QP_OK;
  return qp_read_fail(r, "tunable '%s': value %u; %s takes %s%u to %u (%s)", t->name, v,
                      qp_op_name(f->op), use->power ? "0 or a power of two from " : "",
                      use->power && !use->low ? 1 : use->low, use->high, use->help);
}

static qp_status read_values(const qp_reader *r, size_t i, const qp_family *f, qp_tunable *out) {
  char path[64];
  snprintf(path, sizeof path, "tunables.%zu.values", i);
  const size_t n = qp_lua_length(r->lua, r->v, path);
  if (n < 1 || n > QP_MAX_TUNABLE_VALUES)
    return qp_read_fail(r, "tunable '%s': %zu values; 1 to %d are possible", out->name, n,
                        QP_MAX_TUNABLE_VALUES);
  out->values = (unsigned)n;
  for (size_t k = 0; k < n; k++) {
    int64_t x;
    snprintf(path, sizeof path, "tunables.%zu.values.%zu", i, k + 1);
    if (!qp_lua_get_integer(r->lua, r->v, path, &x) || x < 0 || x > 65535)
      return qp_read_fail(r, "tunable '%s': value %zu must be an integer 0..65535", out->name,
                          k + 1);
    out->value[k] = (unsigned)x;
    const qp_status status = check_value(r, f, out, out->value[k]);
    if (status) return status;
  }
  return QP_OK;
}

static qp_status read_tunable(const qp_reader *r, size_t i, qp_family *f) {
  static const char *const known[] = {"name", "tag", "values", "help", NULL};
  qp_tunable *out = &f->tunable[i - 1];
  char path[64];
  const struct {
    const char *field;
    char *to;
    size_t size;
  } strings[] = {{"name", out->name, sizeof out->name},
                 {"tag", out->tag, sizeof out->tag},
                 {"help", out->help, sizeof out->help}};
  snprintf(path, sizeof path, "tunables.%zu", i);
  qp_status status = qp_read_known(r, path, path, known, false);
  for (size_t k = 0; k < 3 && !status; k++) {
    snprintf(path, sizeof path, "tunables.%zu.%s", i, strings[k].field);
    status = copy_string(r, path, true, strings[k].to, strings[k].size);
  }
  for (size_t k = 0; k + 1 < i && !status; k++)
    if (!strcmp(f->tunable[k].name, out->name) || !strcmp(f->tunable[k].tag, out->tag))
      status = qp_read_fail(r, "tunable '%s' has the name or the tag ('%s') of tunable '%s'",
                            out->name, out->tag, f->tunable[k].name);
  return status ? status : read_values(r, i, f, out);
}

static qp_status read_tunables(const qp_reader *r, qp_family *f) {
  const size_t n = qp_lua_length(r->lua, r->v, "tunables");
  if (n > QP_MAX_TUNABLES)
    return qp_read_fail(r, "%zu tunables; at most %d are possible", n, QP_MAX_TUNABLES);
  f->tunables = (unsigned)n;
  qp_status status = QP_OK;
  for (size_t i = 1; i <= n && !status; i++) status = read_tunable(r, i, f);
  for (unsigned u = 0; u < f->kernel->tunables && !status; u++) {
    const qp_tunable_use *use = &f->kernel->tunable[u];
    unsigned i = 0;
    while (i < f->tunables && strcmp(f->tunable[i].name, use->name) != 0) i++;
    if (i == f->tunables && use->absent == QP_NEEDED)
      status = qp_read_fail(r, "field 'tunables': '%s' is missing: %s needs it (%s, %u to %u)",
                            use->name, qp_op_name(f->op), use->help, use->low, use->high);
  }
  return status;
}

static qp_status read_needs(const qp_reader *r, qp_family *f) {
  const size_t n = qp_read_is_nil(r, "needs") ? 0 : qp_lua_length(r->lua, r->v, "needs");
  for (size_t i = 1; i <= n; i++) {
    char path[32], names[128];
    const char *name = "";
    snprintf(path, sizeof path, "needs.%zu", i);
    const qp_status status = qp_read_string(r, path, &name);
    if (status) return status;
    const unsigned bit = qp_arch_ability_parse(name);
    if (!bit)
      return qp_read_fail(r, "field 'needs': '%.40s' is no ability; there are %s", name,
                          qp_arch_ability_names(~0u, names, sizeof names));
    f->needs |= bit;
  }
  return QP_OK;
}

/* Operation and form decide which of C's rows serves the template. */
static qp_status read_kernel(const qp_reader *r, qp_family *f) {
  char op[16], form[16];
  qp_error why = {0};
  qp_status status = copy_string(r, "op", true, op, sizeof op);
  if (!status) status = copy_string(r, "form", false, form, sizeof form);
  if (status) return status;
  if (qp_op_parse(op, &f->op, &why)) return qp_read_fail(r, "field 'op': %s", why.text);
  if (qp_kernel_op_find(f->op, form, &f->kernel, &why))
    return qp_read_fail(r, "field 'form': %s", why.text);
  return QP_OK;
}

static qp_status read_family(const qp_reader *r, qp_family *out) {
  static const char *const known[] = {
#define X(field, help) #field,
      QP_FAMILY_FIELDS(X)
#undef X
          NULL};
  qp_family f = {.rank = RANKS, .x_tile = 1};
  snprintf(f.file, sizeof f.file, "%s", r->file);
  qp_status status = qp_read_known(r, "", "a family", known, false);
  if (!status) status = copy_string(r, "name", true, f.name, sizeof f.name);
  if (!status) status = read_kernel(r, &f);
  if (!status) status = copy_string(r, "path", false, f.path, sizeof f.path);
  if (!status) status = copy_string(r, "help", true, f.help, sizeof f.help);
  if (!status) status = copy_string(r, "template", true, f.template_file, sizeof f.template_file);
  if (!status && !qp_read_is_nil(r, "rank"))
    status = qp_read_unsigned(r, "rank", 1, RANKS, &f.rank);
  if (!status && !qp_read_is_nil(r, "x_tile"))
    status = qp_read_unsigned(r, "x_tile", 1, QP_MAX_BATCH, &f.x_tile);
  if (!status) status = qp_read_boolean(r, "reference", &f.reference);
  if (!status) status = read_needs(r, &f);
  if (!status) status = read_tunables(r, &f);
  if (status) return status;
  if (qp_lua_type_of(r->lua, r->v, "constraint") == QP_LUA_FUNCTION)
    status = qp_lua_get(r->lua, r->v, "constraint", &f.constraint, r->err);
  else if (!qp_read_is_nil(r, "constraint"))
    status = qp_read_fail(r, "field 'constraint' must be a function(problem, tunables)");
  if (!status) *out = f;
  return status;
}

static qp_status load_file(const char *file, qp_lua_ref value, void *arg, qp_error *err) {
  qp_families *f = arg;
  const qp_reader r = {.lua = f->lua, .file = file, .v = value, .err = err};
  if (f->count == QP_MAX_FAMILIES)
    return qp_fail(err, QP_E_ARG, "%s: more than %d kernel families", file, QP_MAX_FAMILIES);
  qp_family *own = &f->family[f->count];
  const qp_status status = read_family(&r, own);
  if (status) return status;
  const qp_family *other = qp_families_find(f, own->name);
  if (other)
    return qp_read_fail(&r, "field 'name': '%s' is taken by %s; choose another", own->name,
                        other->file);
  f->count++;
  return QP_OK;
}

/* ---- All files ---- */

static int by_rank(const void *a, const void *b) {
  const qp_family *x = *(const qp_family *const *)a, *y = *(const qp_family *const *)b;
  if (x->reference != y->reference) return x->reference - y->reference;
  if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
  return strcmp(x->name, y->name);
}

/* Collect the paths of an operation in the order of its ranked families; loading has made sure that
   they are not too many. */
static size_t collect_paths(const qp_families *f, qp_op op, const char *out[QP_MAX_FAMILIES],
                            size_t *usual) {
  size_t n = 0;
  *usual = 0;
  for (size_t i = 0; i < f->count; i++) {
    const qp_family *family = f->ranked[i];
    size_t k = 0;
    if (family->op != op || !*family->path) continue;
    while (k < n && strcmp(out[k], family->path) != 0) k++;
    if (k == n) out[n++] = family->path;
    if (!family->reference) *usual = n;
  }
  return n;
}

static qp_status rank_families(qp_families *f, qp_error *err) {
  const char *path[QP_MAX_FAMILIES];
  size_t usual;
  for (size_t i = 0; i < f->count; i++) f->ranked[i] = &f->family[i];
  qsort(f->ranked, f->count, sizeof *f->ranked, by_rank);
  for (size_t i = 0; i < f->count; i++) {
    const size_t n = collect_paths(f, f->family[i].op, path, &usual);
    if (n > QP_MAX_PATHS)
      return qp_fail(err, QP_E_LIMIT, "lua/families: %s has %zu paths; at most %d are possible",
                     qp_op_name(f->family[i].op), n, QP_MAX_PATHS);
  }
  return QP_OK;
}

qp_status qp_families_open(qp_families **out, qp_error *err) {
  qp_families *f = calloc(1, sizeof *f);
  if (!f) return qp_fail(err, QP_E_NOMEM, "no memory for the kernel families");
  qp_status status = qp_lua_open(NULL, &f->lua, err);
  if (!status)
    status = qp_lua_each_file(f->lua, "lua/families/", "lua/tunables.lua", load_file, f, err);
  status = qp_lua_all_read(f->lua, status, err);
  if (!status) status = rank_families(f, err);
  if (status) return qp_families_close(f), status;
  *out = f;
  return QP_OK;
}

void qp_families_close(qp_families *f) {
  if (!f) return;
  qp_lua_close(f->lua);
  free(f);
}

size_t qp_families_count(const qp_families *f) { return f->count; }
const qp_family *qp_families_get(const qp_families *f, size_t i) { return &f->family[i]; }

const qp_family *qp_families_find(const qp_families *f, const char *name) {
  for (size_t i = 0; i < f->count; i++)
    if (!strcmp(f->family[i].name, name)) return &f->family[i];
  return NULL;
}

/* ---- Which families serve what ---- */

size_t qp_families_of(const qp_families *f, qp_op op, const char *path, bool references,
                      const qp_family *out[QP_MAX_FAMILIES]) {
  const bool named = path && *path;
  size_t n = 0;
  for (size_t i = 0; i < f->count; i++) {
    const qp_family *family = f->ranked[i];
    if (family->op != op || (named && strcmp(family->path, path) != 0)) continue;
    if (!family->reference || named || references) out[n++] = family;
  }
  return n;
}

const qp_family *qp_families_for(const qp_families *f, qp_op op, const char *path) {
  const qp_family *list[QP_MAX_FAMILIES];
  return qp_families_of(f, op, path, false, list) ? list[0] : NULL;
}

/* QP_E_ARG: it is for others; QP_E_LIMIT: something keeps it from serving. */
static qp_status serves(const qp_family *family, const qp_problem *p) {
  qp_error why;
  if (family->op != p->op) return QP_E_ARG;
  const qp_status status = qp_family_check_arch(family, p->arch, &why);
  return status ? status : family->kernel->check(p, family->name, &why);
}

bool qp_family_serves(const qp_family *family, const qp_problem *p) { return !serves(family, p); }

qp_status qp_family_check_arch(const qp_family *family, unsigned arch, qp_error *err) {
  const qp_arch *row = qp_arch_find(arch);
  const unsigned lacks = family->needs & ~(row ? row->abilities : 0);
  char names[128];
  return !lacks ? QP_OK
                : qp_fail(err, QP_E_LIMIT, "%s: sm_%u has no %s; choose another path", family->name,
                          arch, qp_arch_ability_names(lacks, names, sizeof names));
}

const qp_family *qp_families_serving(const qp_families *f, const qp_problem *p, const char *path) {
  const qp_family *list[QP_MAX_FAMILIES];
  const size_t n = qp_families_of(f, p->op, path, false, list);
  const qp_family *nearest = n ? list[0] : NULL;
  bool limited = false;
  for (size_t i = 0; i < n; i++) {
    const qp_status status = serves(list[i], p);
    if (!status) return list[i];
    if (status != QP_E_LIMIT || limited) continue;
    limited = true;
    nearest = list[i];
  }
  return nearest;
}

size_t qp_families_paths(const qp_families *f, qp_op op, const char *out[QP_MAX_PATHS],
                         size_t *usual) {
  const char *path[QP_MAX_FAMILIES];
  size_t first;
  const size_t n = collect_paths(f, op, path, usual ? usual : &first);
  memcpy(out, path, n * sizeof *path);
  return n;
}

qp_status qp_families_check_path(const qp_families *f, qp_op op, const char *path, qp_error *err) {
  const char *known[QP_MAX_PATHS];
  char list[QP_MAX_PATHS * 24] = "";
  size_t usual, used = 0;
  const size_t n = qp_families_paths(f, op, known, &usual);
  for (size_t i = 0; i < n; i++)
    if (!strcmp(known[i], path)) return QP_OK;
  for (size_t i = 0; i < n && used < sizeof list; i++)
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                             !i           ? ""
                             : i + 1 == n ? " or "
                                          : ", ",
                             known[i]);
  return qp_fail(err, QP_E_ARG, "'%.40s': %s is needed", path, list);
}

/* ---- Choices ---- */

void qp_choice_default(const qp_family *family, qp_choice *out) {
  *out = (qp_choice){.family = family};
  for (unsigned i = 0; i < family->tunables; i++) out->value[i] = family->tunable[i].value[0];
}

static int tunable_index(const qp_family *f, const char *name, size_t n) {
  for (unsigned i = 0; i < f->tunables; i++)
    if (strlen(f->tunable[i].name) == n && !memcmp(f->tunable[i].name, name, n)) return (int)i;
  return -1;
}

unsigned qp_choice_get(const qp_choice *c, const char *tunable) {
  const int i = tunable_index(c->family, tunable, strlen(tunable));
  if (i >= 0) return c->value[i];
  const qp_tunable_use *use = find_use(c->family->kernel, tunable, strlen(tunable));
  return use && use->absent != QP_NEEDED ? use->absent : 0;
}

void qp_choice_put(qp_choice *c, const char *tunable, unsigned value) {
  int i = tunable_index(c->family, tunable, strlen(tunable));
  if (i >= 0) c->value[i] = value;
}

static qp_status unknown_tunable(const qp_family *f, const char *name, qp_error *err) {
  char list[512] = "";
  size_t n = 0;
  for (unsigned i = 0; i < f->tunables && n < sizeof list - 32; i++)
    n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", f->tunable[i].name);
  return qp_fail(err, QP_E_ARG, "family %s has no tunable '%s'; it has %s", f->name, name, list);
}

qp_status qp_choice_set(qp_choice *c, const char *assignment, qp_error *err) {
  const char *eq = strchr(assignment, '=');
  if (!eq) return qp_fail(err, QP_E_ARG, "'%s': TUNABLE=VALUE is needed", assignment);
  int i = tunable_index(c->family, assignment, (size_t)(eq - assignment));
  if (i < 0) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(eq - assignment), assignment);
    return unknown_tunable(c->family, name, err);
  }
  const qp_tunable *t = &c->family->tunable[i];
  char *end, list[256] = "";
  unsigned long v = strtoul(eq + 1, &end, 10);
  for (unsigned k = 0; k < t->values; k++)
    if (end != eq + 1 && !*end && t->value[k] == v) return c->value[i] = (unsigned)v, QP_OK;
  size_t n = 0;
  for (unsigned k = 0; k < t->values; k++)
    n += (size_t)snprintf(list + n, sizeof list - n, "%s%u", k ? ", " : "", t->value[k]);
  return qp_fail(err, QP_E_ARG, "tunable '%s' of %s: '%s' is not one of %s", t->name,
                 c->family->name, eq + 1, list);
}

qp_status qp_choice_check(qp_families *f, const qp_choice *c, const qp_problem *p, qp_error *err) {
  if (!c->family->constraint) return QP_OK;
  qp_lua_field tun[QP_MAX_TUNABLES], prob[] = {
#define X(field, kind, value, help) {.name = #field, .kind = value},
                                         QP_CONSTRAINT_FIELDS(X)
#undef X
                                     };
  for (unsigned i = 0; i < c->family->tunables; i++)
    tun[i] = (qp_lua_field){.name = c->family->tunable[i].name, .number = c->value[i]};
  qp_lua_table args[] = {{prob, sizeof prob / sizeof *prob}, {tun, c->family->tunables}};
  qp_lua_ref yes = 0, why = 0;
  qp_status status = qp_lua_call(f->lua, c->family->constraint, args, 2, &yes, &why, err);
  if (status) return status;
  bool ok = false;
  if (!qp_lua_get_boolean(f->lua, yes, "", &ok))
    status = qp_fail(err, QP_E_ARG, "%s: constraint must return true, or false and a reason",
                     c->family->file);
  else if (!ok) {
    const char *reason = qp_lua_get_string(f->lua, why, "");
    status = qp_fail(err, QP_E_LIMIT, "%s: %s", c->family->name,
                     reason ? reason : "the constraint refuses these tunables");
  }
  qp_lua_release(f->lua, yes);
  qp_lua_release(f->lua, why);
  return status;
}
