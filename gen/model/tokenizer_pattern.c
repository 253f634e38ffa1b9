/* SPDX-License-Identifier: MIT */
/* Matches the patterns of tokenizers by PCRE2, under limits. */
#include "gen/model/tokenizer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/text.h"

/* A text that a sane pattern splits costs some tries a byte; one that runs into
   these is refused. */
enum {
  MATCH_LIMIT = 20000000,
  DEPTH_LIMIT = 200000,
  HEAP_LIMIT_KIB = 256 << 10,
  MAX_SOURCE = 1 << 16,
  MAX_GROUPS = 250
};

struct qp_pattern {
  char *where, *source;
  pcre2_code *code;
};

/* ---- From Oniguruma's syntax to PCRE2's ---- */

typedef struct translation {
  const char *source, *at;
  qp_text out;
  size_t group[MAX_GROUPS]; /* where each open group begins in 'out' */
  unsigned groups;
  size_t atom; /* where the last whole item begins in 'out' */
} translation;

/* What a class such as \s means in Oniguruma, in both forms: outside and inside of brackets. */
static const struct meaning {
  char letter;
  const char *outside, *inside;
} meanings[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'w', "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"},
    {'W', "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", NULL},
};

/* Translate an escape: two characters, or \p{...}, \x{...}, \u{...} and the like with their braces.
   False: it has no counterpart. */
static bool take_escape(translation *t, bool inside) {
  const char letter = t->at[1];
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
    if (meanings[i].letter == letter) {
      const char *text = inside ? meanings[i].inside : meanings[i].outside;
      if (text) qp_text_append(&t->out, text, strlen(text));
      t->at += 2;
      return text != NULL;
    }
  if (!letter || letter == 'h' || letter == 'H') return false; /* hex digits there, blanks here */
  if (letter == 'u') {                                         /* \uHHHH */
    if (strspn(t->at + 2, "0123456789abcdefABCDEF") < 4) return false;
    qp_text_add(&t->out, "\\x{%.4s}", t->at + 2);
    t->at += 6;
    return true;
  }
  const char *end = t->at + 2;
  if (*end == '{' && strchr("pPxXk", letter)) {
    end += strcspn(end, "}");
    if (!*end) return false;
    end++;
  }
  qp_text_append(&t->out, t->at, (size_t)(end - t->at));
  t->at = end;
  return true;
}

/* Translate a class in brackets.  False: it holds another one or an intersection, or has no end. */
static bool take_class(translation *t) {
  qp_text_append(&t->out, "[", 1);
  t->at++;
  if (*t->at == '^') {
    qp_text_append(&t->out, "^", 1);
    t->at++;
  }
  bool first = true;
  for (; *t->at && (*t->at != ']' || first); first = false) {
    if (*t->at == '\\') {
      if (!take_escape(t, true)) return false;
    } else if (*t->at == '[' || (t->at[0] == '&' && t->at[1] == '&')) {
      return false;
    } else {
      qp_text_append(&t->out, t->at++, 1);
    }
  }
  if (!*t->at) return false;
  qp_text_append(&t->out, t->at++, 1);
  return true;
}

/* Give the length of {n}, {n,}, {,m} or {n,m} at 's', or 0. */
static size_t interval_at(const char *s) {
  if (*s != '{') return 0;
  const size_t n = 1 + strspn(s + 1, "0123456789,");
  return n > 1 && s[n] == '}' ? n + 1 : 0;
}

/* Ruby repeats what stands before {n,m}+ (in Perl the plus forbids backtracking): (?:x{n,m})+ */
static void take_interval(translation *t, size_t length) {
  qp_text_append(&t->out, t->at, length);
  t->at += length;
  if (*t->at != '+' || t->out.failed) return;
  const size_t size = t->out.length - t->atom;
  char *item = strndup(t->out.s + t->atom, size);
  if (!item) {
    t->out.failed = true;
    return;
  }
  t->out.length = t->atom;
  qp_text_add(&t->out, "(?:%s)", item);
  free(item);
}

static bool take_group(translation *t) {
  if (t->groups == MAX_GROUPS) return false;
  t->group[t->groups++] = t->out.length;
  qp_text_append(&t->out, t->at++, 1);
  return true;
}

/* Translate one item of the pattern. */
static bool take(translation *t) {
  const size_t interval = interval_at(t->at), before = t->out.length;
  if (interval) return take_interval(t, interval), true;
  if (*t->at == '(') return take_group(t);
  if (*t->at == ')') {
    if (!t->groups) return false;
    t->atom = t->group[--t->groups];
    qp_text_append(&t->out, t->at++, 1);
    return true;
  }
  if (!strchr("?*+", *t->at)) t->atom = before;
  if (*t->at == '\\') return take_escape(t, false);
  if (*t->at == '[') return take_class(t);
  size_t n = 1; /* a whole character, so that an interval repeats all of it */
  while (((unsigned char)t->at[n] & 0xc0) == 0x80) n++;
  qp_text_append(&t->out, t->at, n);
  t->at += n;
  return true;
}

static qp_status translate(const char *where, const char *source, char **out, qp_error *err) {
  translation t = {.source = source, .at = source};
  bool ok = true;
  while (ok && *t.at) ok = take(&t);
  if (ok) *out = qp_text_take(&t.out);
  if (ok && !*out) return qp_fail(err, QP_E_NOMEM, "%s: no memory for a pattern", where);
  if (ok) return QP_OK;
  qp_text_free(&t.out);
  return qp_fail(err, QP_E_ARG,
                 "%s: pattern '%.200s': '%.20s' at byte %zu is not understood (sets inside sets, "
                 "&&, \\h and \\W in brackets are not)",
                 where, source, t.at, (size_t)(t.at - source));
}

/* ---- Compiling ---- */

void qp_pattern_free(qp_pattern *p) {
  if (!p) return;
  pcre2_code_free(p->code);
  free(p->where);
  free(p->source);
  free(p);
}

static qp_status compile(qp_pattern *p, const char *text, uint32_t options, qp_error *err) {
  int code = 0;
  PCRE2_SIZE at = 0;
  p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);
  if (p->code) return QP_OK;
  char reason[256] = "";
  pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
  return qp_fail(err, QP_E_ARG, "%s: pattern '%.200s' cannot be used (at byte %zu of '%.200s'): %s",
                 p->where, p->source, (size_t)at, text, reason);
}

qp_status qp_pattern_new(const char *where, const char *source, bool literal, qp_pattern **out,
                         qp_error *err) {
  if (strlen(source) > MAX_SOURCE)
    return qp_fail(err, QP_E_LIMIT, "%s: a pattern of %zu bytes, more than %d", where,
                   strlen(source), MAX_SOURCE);
  qp_pattern *p = calloc(1, sizeof *p);
  if (p) p->where = strdup(where), p->source = strdup(source);
  if (!p || !p->where || !p->source)
    return qp_pattern_free(p), qp_fail(err, QP_E_NOMEM, "%s: no memory for a pattern", where);
  char *text = NULL;
  qp_status status = literal ? QP_OK : translate(where, source, &text, err);
  const uint32_t options = literal
                               ? PCRE2_UTF | PCRE2_LITERAL
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  if (!status) status = compile(p, literal ? source : text, options, err);
  free(text);
  if (status) return qp_pattern_free(p), status;
  *out = p;
  return QP_OK;
}

/* ---- Matching ---- */

typedef struct search {
  const qp_pattern *pattern;
  pcre2_match_data *data;
  pcre2_match_context *context;
  qp_span *span;
  size_t count, capacity;
} search;

static qp_status begin_search(search *s, qp_error *err) {
  s->data = pcre2_match_data_create(1, NULL);
  s->context = pcre2_match_context_create(NULL);
  s->capacity = 64;
  s->span = malloc(s->capacity * sizeof *s->span);
  if (!s->data || !s->context || !s->span)
    return qp_fail(err, QP_E_NOMEM, "%s: no memory to match a pattern", s->pattern->where);
  pcre2_set_match_limit(s->context, MATCH_LIMIT);
  pcre2_set_depth_limit(s->context, DEPTH_LIMIT);
  pcre2_set_heap_limit(s->context, HEAP_LIMIT_KIB);
  return QP_OK;
}

static qp_status keep(search *s, size_t begin, size_t end, qp_error *err) {
  if (s->count == s->capacity) {
    qp_span *more = realloc(s->span, 2 * s->capacity * sizeof *more);
    if (!more)
      return qp_fail(err, QP_E_NOMEM, "%s: no memory to match a pattern", s->pattern->where);
    s->span = more;
    s->capacity *= 2;
  }
  s->span[s->count++] = (qp_span){begin, end};
  return QP_OK;
}

static qp_status refused(const search *s, int code, size_t at, qp_error *err) {
  char reason[256] = "";
  pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
  return qp_fail(err, QP_E_LIMIT, "%s: pattern '%.200s' failed at byte %zu of a text: %s",
                 s->pattern->where, s->pattern->source, at, reason);
}

static qp_status find_all(search *s, const char *text, size_t bytes, qp_error *err) {
  for (size_t at = 0; at <= bytes;) {
    const int found = pcre2_match(s->pattern->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK,
                                  s->data, s->context);
    if (found == PCRE2_ERROR_NOMATCH) return QP_OK;
    if (found < 0) return refused(s, found, at, err);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(s->data);
    const size_t begin = place[0], end = place[1];
    if (begin < end && begin >= at) {
      qp_status status = keep(s, begin, end, err);
      if (status) return status;
      at = end;
    } else { /* After an empty match (or one that \K set back) it goes on by a character. */
      at = (end > at ? end : at) + 1;
      while (at < bytes && ((unsigned char)text[at] & 0xc0) == 0x80) at++;
    }
  }
  return QP_OK;
}

qp_status qp_pattern_find(const qp_pattern *p, const char *text, size_t bytes, qp_span **out,
                          size_t *count, qp_error *err) {
  search s = {.pattern = p};
  qp_status status = begin_search(&s, err);
  if (!status) status = find_all(&s, text, bytes, err);
  pcre2_match_data_free(s.data);
  pcre2_match_context_free(s.context);
  if (status) return free(s.span), status;
  *out = s.span;
  *count = s.count;
  return QP_OK;
}
