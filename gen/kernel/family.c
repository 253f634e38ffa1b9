/* SPDX-License-Identifier: MIT */
/* Kernel families:  lua/families/x.lua -> tunables, their values, constraints, template. */
#include "gen/kernel/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/resource.h"
#include "gen/compile/arch.h"
#include "gen/spec/lua_host.h"

enum { MAX_FAMILIES = 16 };

struct qp_families {
  qp_lua *lua;
  size_t count;
  qp_family family[MAX_FAMILIES];
  qp_error *err; /* during loading */
  qp_status status;
};

static qp_status copy_string(qp_families *f, qp_lua_ref v, const char *file, const char *field,
                             char *out, size_t size, bool needed, qp_error *err) {
  const char *s = qp_lua_get_string(f->lua, v, field);
  if (!s && !needed) return out[0] = 0, QP_OK;
  if (!s) return qp_fail(err, QP_E_ARG, "%s: field '%s': a string is needed", file, field);
  if (strlen(s) >= size)
    return qp_fail(err, QP_E_ARG, "%s: field '%s': '%s' is longer than %zu characters", file, field,
                   s, size - 1);
  memcpy(out, s, strlen(s) + 1);
  return QP_OK;
}

static qp_status read_tunable(qp_families *f, qp_lua_ref v, const char *file, size_t i,
                              qp_tunable *out, qp_error *err) {
  char path[64];
  struct {
    const char *field;
    char *to;
    size_t size;
  } strings[] = {{"name", out->name, sizeof out->name},
                 {"tag", out->tag, sizeof out->tag},
                 {"help", out->help, sizeof out->help}};
  for (size_t k = 0; k < 3; k++) {
    snprintf(path, sizeof path, "tunables.%zu.%s", i, strings[k].field);
    qp_status st = copy_string(f, v, file, path, strings[k].to, strings[k].size, true, err);
    if (st) return st;
  }
  snprintf(path, sizeof path, "tunables.%zu.values", i);
  size_t n = qp_lua_length(f->lua, v, path);
  if (n < 1 || n > QP_MAX_TUNABLE_VALUES)
    return qp_fail(err, QP_E_ARG, "%s: tunable '%s': %zu values; 1 to %d are possible", file,
                   out->name, n, QP_MAX_TUNABLE_VALUES);
  out->values = (unsigned)n;
  for (size_t k = 0; k < n; k++) {
    int64_t x;
    snprintf(path, sizeof path, "tunables.%zu.values.%zu", i, k + 1);
    if (!qp_lua_get_integer(f->lua, v, path, &x) || x < 0 || x > 65535)
      return qp_fail(err, QP_E_ARG, "%s: tunable '%s': value %zu must be an integer 0..65535", file,
                     out->name, k + 1);
    out->value[k] = (unsigned)x;
  }
  return QP_OK;
}

static qp_status read_family(qp_families *f, const char *file, qp_lua_ref v, qp_family *out,
                             qp_error *err) {
  qp_family fam = {0};
  char op[16];
  snprintf(fam.file, sizeof fam.file, "%s", file);
  qp_status st = copy_string(f, v, file, "name", fam.name, sizeof fam.name, true, err);
  if (!st) st = copy_string(f, v, file, "op", op, sizeof op, true, err);
  if (!st) st = copy_string(f, v, file, "path", fam.path, sizeof fam.path, false, err);
  if (!st) st = copy_string(f, v, file, "help", fam.help, sizeof fam.help, true, err);
  if (!st)
    st =
        copy_string(f, v, file, "template", fam.template_file, sizeof fam.template_file, true, err);
  if (st) return st;
  if (qp_op_parse(op, &fam.op, err)) return qp_fail_prefix(err, QP_E_ARG, "%s: field 'op'", file);
  size_t n = qp_lua_length(f->lua, v, "tunables");
  if (n > QP_MAX_TUNABLES)
    return qp_fail(err, QP_E_ARG, "%s: %zu tunables; at most %d are possible", file, n,
                   QP_MAX_TUNABLES);
  fam.tunables = (unsigned)n;
  for (size_t i = 0; i < n && !st; i++) st = read_tunable(f, v, file, i + 1, &fam.tunable[i], err);
  if (st) return st;
  if (qp_lua_type_of(f->lua, v, "constraint") == QP_LUA_FUNCTION)
    st = qp_lua_get(f->lua, v, "constraint", &fam.constraint, err);
  else if (qp_lua_type_of(f->lua, v, "constraint") != QP_LUA_NIL)
    st = qp_fail(err, QP_E_ARG, "%s: field 'constraint' must be a function(problem, tunables)",
                 file);
  if (!st) *out = fam;
  return st;
}

static void load_file(const char *path, void *arg) {
  qp_families *f = arg;
  const char *text;
  size_t bytes, n = strlen(path);
  if (f->status || n < 4 || strcmp(path + n - 4, ".lua") != 0) return;
  if (f->count == MAX_FAMILIES) {
    f->status = qp_fail(f->err, QP_E_ARG, "%s: more than %d kernel families", path, MAX_FAMILIES);
    return;
  }
  qp_lua_ref v = 0;
  f->status = qp_resource_read(path, &text, &bytes, f->err);
  if (!f->status) f->status = qp_lua_run(f->lua, NULL, path, text, bytes, &v, f->err);
  if (!f->status) f->status = read_family(f, path, v, &f->family[f->count], f->err);
  if (!f->status) f->count++;
}

qp_status qp_families_open(qp_families **out, qp_error *err) {
  qp_families *f = calloc(1, sizeof *f);
  if (!f) return qp_fail(err, QP_E_NOMEM, "no memory for the kernel families");
  f->err = err;
  f->status = qp_lua_open(NULL, &f->lua, err);
  if (!f->status) qp_resource_each("lua/families/", load_file, f);
  qp_status st = f->status;
  if (st) return qp_families_close(f), st;
  f->err = NULL;
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

const qp_family *qp_families_for(const qp_families *f, qp_op op, const char *path) {
  for (size_t i = f->count; i-- > 0;) { /* "tensor" stands before "cuda" */
    const qp_family *fam = &f->family[i];
    if (fam->op == op && (!path || !*path || !strcmp(fam->path, path))) return fam;
  }
  return NULL;
}

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
  int i = tunable_index(c->family, tunable, strlen(tunable));
  return i < 0 ? 0 : c->value[i];
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
  qp_lua_field tun[QP_MAX_TUNABLES],
      prob[] = {
          {.name = "segments", .number = p->segments},
          {.name = "k", .number = p->columns},
          {.name = "batch", .number = p->batch},
          {.name = "arch", .number = p->arch},
          {.name = "sm_count", .number = p->sm_count},
          {.name = "smem_bytes", .number = qp_arch_smem_bytes(p->arch)},
          {.name = "type", .string = qp_dtype_name(p->type)},
          {.name = "out_type", .string = qp_dtype_name(p->out_type)},
          {.name = "rotate_fused", .number = p->rotate_fused},
      };
  for (unsigned i = 0; i < c->family->tunables; i++)
    tun[i] = (qp_lua_field){.name = c->family->tunable[i].name, .number = c->value[i]};
  qp_lua_table args[] = {{prob, sizeof prob / sizeof *prob}, {tun, c->family->tunables}};
  qp_lua_ref yes = 0, why = 0;
  qp_status st = qp_lua_call(f->lua, c->family->constraint, args, 2, &yes, &why, err);
  if (st) return st;
  bool ok = false;
  if (!qp_lua_get_boolean(f->lua, yes, "", &ok))
    st = qp_fail(err, QP_E_ARG, "%s: constraint must return true, or false and a reason",
                 c->family->file);
  else if (!ok) {
    const char *reason = qp_lua_get_string(f->lua, why, "");
    st = qp_fail(err, QP_E_LIMIT, "%s: %s", c->family->name,
                 reason ? reason : "the constraint refuses these tunables");
  }
  qp_lua_release(f->lua, yes);
  qp_lua_release(f->lua, why);
  return st;
}
