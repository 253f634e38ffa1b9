/* SPDX-License-Identifier: MIT */
/* Reads command-line options by a table. */
#include "tuner/base/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/suggest.h"

static void print_help(const qp_verb_help *verb, const qp_option *table) {
  printf("usage: qpal %s %s\n\n%s\n", verb->name, verb->arguments, verb->text);
  if (table->name) printf("\noptions:\n");
  for (const qp_option *o = table; o->name; o++) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%s", o->name[1] ? "--" : "-", o->name,
             o->argument ? " " : "", o->argument ? o->argument : "");
    printf("  %-26s %s\n", left, o->help);
  }
  printf("  %-26s %s\n", "--help", "print this");
}

static int wrong(const qp_verb_help *verb, const char *format, const char *a, const char *b) {
  fprintf(stderr, "qpal %s: ", verb->name);
  fprintf(stderr, format, a, b);
  fprintf(stderr, "\nqpal %s --help tells the options\n", verb->name);
  return 2;
}

qp_status qp_shapes_parse(const char *text, qp_shapes *out, qp_error *err) {
  qp_shapes s = {0};
  for (const char *at = text;; at++) {
    char *end;
    unsigned long m = strtoul(at, &end, 10);
    unsigned long k = *end == 'x' && end != at ? strtoul(end + 1, &end, 10) : 0;
    if (m == 0 || k == 0 || m > 1u << 20 || k > 1u << 20 || (*end && *end != ','))
      return qp_fail(err, QP_E_ARG, "shape '%s': MxK[,MxK...] is needed, such as 4096x4096", text);
    if (s.count == QP_MAX_SHAPES)
      return qp_fail(err, QP_E_ARG, "shape '%s': more than %d linears", text, QP_MAX_SHAPES);
    if (s.count && s.columns[0] != k)
      return qp_fail(err, QP_E_ARG,
                     "shape '%s': linears of one launch read the same x, so K must be equal (%u, "
                     "%lu)",
                     text, s.columns[0], k);
    s.rows[s.count] = (unsigned)m;
    s.columns[s.count++] = (unsigned)k;
    at = end;
    if (!*end) break;
  }
  *out = s;
  return QP_OK;
}

static const char *real_range(const qp_option *o, char *out, size_t size) {
  snprintf(out, size, "%s: a number above 0 and at most %u is needed, not", o->name, o->hi);
  return out;
}

static int take_value(const qp_verb_help *verb, const qp_option *o, const char *text) {
  char range[96], *end;
  qp_error err = {0};
  qp_repeats *r = o->value;
  switch (o->type) {
  case QP_OPT_FLAG: *(bool *)o->value = true; return -1;
  case QP_OPT_STRING: *(const char **)o->value = text; return -1;
  case QP_OPT_UNSIGNED: {
    unsigned long v = strtoul(text, &end, 10);
    snprintf(range, sizeof range, "%s: a number from %u to %u is needed, not", o->name, o->lo,
             o->hi);
    if (end == text || *end || text[0] == '-' || v < o->lo || v > o->hi)
      return wrong(verb, "--%s '%s'", range, text);
    *(unsigned *)o->value = (unsigned)v;
    return -1;
  }
  case QP_OPT_REAL: {
    const double v = strtod(text, &end);
    if (end == text || *end || !(v > 0 && v <= o->hi))
      return wrong(verb, "--%s '%s'", real_range(o, range, sizeof range), text);
    *(double *)o->value = v;
    return -1;
  }
  case QP_OPT_SHAPES:
    return qp_shapes_parse(text, o->value, &err) ? wrong(verb, "--%s: %s", o->name, err.text) : -1;
  case QP_OPT_REPEATED:
    if (r->count == QP_MAX_REPEATS) return wrong(verb, "--%s: given too often (%s)", o->name, text);
    r->value[r->count++] = text;
    return -1;
  }
  return -1;
}

static int unknown(const qp_verb_help *verb, const qp_option *table, const char *given,
                   const char *name, size_t length) {
  enum { MOST = 64 };
  const char *names[MOST];
  char word[MOST];
  size_t count = 0;
  for (const qp_option *o = table; o->name && count < MOST; o++) names[count++] = o->name;
  snprintf(word, sizeof word, "%.*s", (int)length, name);
  const char *near = qp_suggest(word, names, count);
  char guess[MOST + 32] = "";
  if (near)
    snprintf(guess, sizeof guess, "; did you mean '%s%.*s'?", near[1] ? "--" : "-", MOST, near);
  return wrong(verb, "option '%s' is not known%s", given, guess);
}

static int take_option(const qp_verb_help *verb, const qp_option *table, char **argv, int *i) {
  const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *eq = strchr(name, '=');
  size_t n = eq ? (size_t)(eq - name) : strlen(name);
  for (const qp_option *o = table; o->name; o++) {
    if (strlen(o->name) != n || memcmp(o->name, name, n) != 0) continue;
    if (o->type == QP_OPT_FLAG)
      return eq ? wrong(verb, "--%s takes no value, not '%s'", o->name, eq + 1)
                : take_value(verb, o, NULL);
    if (eq) return take_value(verb, o, eq + 1);
    if (!argv[*i + 1]) return wrong(verb, "%s needs a value: %s", argv[*i], o->argument);
    return take_value(verb, o, argv[++*i]);
  }
  return unknown(verb, table, argv[*i], name, n);
}

int qp_options_parse(const qp_verb_help *verb, const qp_option *table, int argc, char **argv,
                     qp_words *words) {
  bool options = true;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    int code = -1;
    if (options && (!strcmp(a, "--help") || !strcmp(a, "-h"))) return print_help(verb, table), 0;
    if (options && !strcmp(a, "--"))
      options = false;
    else if (options && a[0] == '-' && a[1])
      code = take_option(verb, table, argv, &i);
    else if (words->count == QP_MAX_WORDS)
      code = wrong(verb, "too many words, from '%s'%s", a, "");
    else
      words->word[words->count++] = a;
    if (code >= 0) return code;
  }
  return -1;
}

int qp_exit_code(qp_status status) {
  switch (status) {
  case QP_OK: return 0;
  case QP_E_WRONG: return 1;
  case QP_E_DEVICE:
  case QP_E_MISSING: return 3;
  default: return 2;
  }
}

int qp_complain(const char *verb, qp_status status, const qp_error *err) {
  const char *text = err->text[0] ? err->text : qp_status_name(status);
  char shown[2 * sizeof err->text];
  size_t n = 0;
  for (; *text && n + 4 < sizeof shown; text++) {
    shown[n++] = *text;
    if (*text == '\n') shown[n++] = ' ', shown[n++] = ' '; /* so no name can begin a line */
  }
  shown[n] = 0;
  fflush(stdout); /* what it complains of comes before the complaint, also into one pipe */
  fprintf(stderr, "qpal %s: %s\n", verb, shown);
  return qp_exit_code(status);
}

int qp_verb_run(const qp_verb_help *verb, const qp_option *table, int argc, char **argv,
                qp_verb_body *body, void *options) {
  qp_words words = {0};
  int code = qp_options_parse(verb, table, argc, argv, &words);
  if (code >= 0) return code;
  qp_error err = {0};
  code = 0;
  const qp_status status = body(options, &words, &code, &err);
  return status ? qp_complain(verb->name, status, &err) : code;
}

qp_status qp_words_none(const qp_words *words, qp_error *err) {
  return words->count
             ? qp_fail(err, QP_E_ARG, "'%s' is no option, and no words are taken", words->word[0])
             : QP_OK;
}

qp_status qp_words_list(const qp_words *words, char *list, size_t size, qp_error *err) {
  size_t used = 0;
  list[0] = 0;
  for (size_t i = 0; i < words->count && used < size; i++)
    used += (size_t)snprintf(list + used, size - used, "%s%s", i ? "," : "", words->word[i]);
  return used < size ? QP_OK : qp_fail(err, QP_E_LIMIT, "the list of quantizers is too long");
}

qp_status qp_quantity_parse(const char *option, const char *text, const qp_unit *units, double *out,
                            qp_error *err) {
  char *end, known[128] = "";
  double v = strtod(text, &end);
  size_t n = 0;
  if (end != text && isfinite(v) && v > 0) {
    if (!*end) return *out = v * units[0].factor, QP_OK;
    for (const qp_unit *u = units; u->name; u++)
      if (!strcmp(end, u->name)) return *out = v * u->factor, QP_OK;
  }
  for (const qp_unit *u = units; u->name && n < sizeof known; u++)
    n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", u->name);
  return qp_fail(err, QP_E_ARG, "--%s '%s': a number above 0 is needed%s%s%s", option, text,
                 n ? ", with " : "", known, n ? " or nothing after it" : "");
}
