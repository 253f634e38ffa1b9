/* SPDX-License-Identifier: MIT */
/* Which candidate of a problem to try next; see search.h. */
#include "tuner/tune/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/base/random.h"
#include "gen/inspect/instruction_mix.h"
#include "runtime/list.h"

enum { MOST_RESTART_TRIES = 200 };

struct qp_search {
  qp_families *families;
  const qp_family *family;
  const qp_problem *problem;
  qp_search_options opt;
  bool exhaustive;
  int fixed; /* index of a tunable; -1: none */
  qp_random random;
  qp_choice *seen; /* everything proposed */
  unsigned seens;
  size_t capacity;
  qp_choice *queue; /* The choices to propose next, in order. */
  unsigned queued, at, room;
  uint64_t next; /* exhaustive: the number of the next point */
  qp_choice center;
  int64_t center_ps; /* 0: the center has no time yet */
  unsigned open;     /* proposed, not told */
  bool moved, ended;
};

qp_status qp_strategy_parse(const char *text, qp_strategy *out, qp_error *err) {
  static const char *const names[] = {"auto", "exhaustive", "local"};
  for (unsigned i = 0; i < 3; i++)
    if (!strcmp(text, names[i])) return *out = (qp_strategy)i, QP_OK;
  return qp_fail(err, QP_E_ARG, "--strategy '%s': auto, exhaustive or local is needed", text);
}

static uint64_t points(const qp_family *f, int fixed) {
  uint64_t n = 1;
  for (unsigned i = 0; i < f->tunables; i++)
    if ((int)i != fixed) n *= f->tunable[i].values;
  return n;
}

static bool same(const qp_choice *a, const qp_choice *b) {
  return !memcmp(a->value, b->value, a->family->tunables * sizeof *a->value);
}

static bool was_seen(const qp_search *s, const qp_choice *c) {
  for (unsigned i = 0; i < s->seens; i++)
    if (same(&s->seen[i], c)) return true;
  return false;
}

static bool is_allowed(const qp_search *s, const qp_choice *c) {
  qp_error why = {0};
  return qp_choice_check(s->families, c, s->problem, &why) == QP_OK;
}

/* Note it as proposed; false when memory or the limit is at its end. */
static bool take(qp_search *s, const qp_choice *c) {
  if (s->opt.most && s->seens >= s->opt.most) return false;
  qp_choice *seen = qp_list_room(s->seen, s->seens, &s->capacity, sizeof *seen);
  if (!seen) return false;
  s->seen = seen;
  s->seen[s->seens++] = *c;
  s->open++;
  return true;
}

/* Every choice that differs from the center in one tunable, shuffled. */
static void surround(qp_search *s) {
  s->queued = s->at = 0;
  for (unsigned t = 0; t < s->family->tunables; t++)
    for (unsigned v = 0; v < s->family->tunable[t].values && (int)t != s->fixed; v++) {
      qp_choice c = s->center;
      c.value[t] = s->family->tunable[t].value[v];
      if (!was_seen(s, &c)) s->queue[s->queued++] = c;
    }
  for (unsigned i = s->queued; i > 1; i--) {
    unsigned k = (unsigned)(qp_random_next(&s->random) % i);
    qp_choice c = s->queue[i - 1];
    s->queue[i - 1] = s->queue[k];
    s->queue[k] = c;
  }
  s->moved = false;
}

/* A random point becomes the center; false: none was found that is new and allowed. */
static bool restart(qp_search *s) {
  for (unsigned tries = 0; tries < MOST_RESTART_TRIES; tries++) {
    qp_choice c;
    qp_choice_default(s->family, &c);
    for (unsigned t = 0; t < s->family->tunables; t++)
      if ((int)t != s->fixed)
        c.value[t] =
            s->family->tunable[t].value[qp_random_next(&s->random) % s->family->tunable[t].values];
    if (was_seen(s, &c) || !is_allowed(s, &c)) continue;
    s->center = c;
    s->center_ps = 0;
    s->queue[0] = c;
    s->queued = 1;
    s->at = 0;
    return true;
  }
  return false;
}

static bool next_point(qp_search *s, qp_choice *out) {
  uint64_t all = points(s->family, s->fixed);
  while (s->next < all) {
    uint64_t n = s->next++;
    qp_choice_default(s->family, out);
    for (unsigned t = 0; t < s->family->tunables; t++) {
      if ((int)t == s->fixed) continue;
      out->value[t] = s->family->tunable[t].value[n % s->family->tunable[t].values];
      n /= s->family->tunable[t].values;
    }
    if (!was_seen(s, out) && is_allowed(s, out)) return true;
  }
  return false;
}

static bool next_move(qp_search *s, qp_choice *out) {
  for (;;) {
    if (s->moved) surround(s);
    while (s->at < s->queued) {
      *out = s->queue[s->at++];
      if (!was_seen(s, out) && is_allowed(s, out)) return true;
    }
    if (s->exhaustive || s->open) return false; /* results decide where to go */
    if (!s->moved && !restart(s)) return false;
  }
}

unsigned qp_search_propose(qp_search *s, qp_choice *out, unsigned most) {
  unsigned n = 0;
  for (; n < most && !s->ended; n++) {
    qp_choice c;
    bool seed = s->at < s->queued;
    bool more = s->exhaustive && !seed ? next_point(s, &c) : next_move(s, &c);
    if (s->exhaustive && !more) more = next_point(s, &c);
    if (!more) break;
    if (!take(s, &c)) {
      s->ended = true;
      break;
    }
    out[n] = c;
  }
  return n;
}

static bool is_queued(const qp_search *s, const qp_choice *c) {
  for (unsigned i = s->at; i < s->queued; i++)
    if (same(&s->queue[i], c)) return true;
  return false;
}

void qp_search_seed(qp_search *s, const qp_choice *choices, unsigned count) {
  if (s->moved) surround(s);
  for (unsigned i = count < QP_SEARCH_SEEDS ? count : QP_SEARCH_SEEDS; i-- > 0;) {
    qp_choice c = choices[i];
    if (c.family != s->family) continue;
    if (s->fixed >= 0) c.value[s->fixed] = s->family->tunable[s->fixed].value[0];
    if (was_seen(s, &c) || is_queued(s, &c)) continue;
    if (s->at == 0 && s->queued == s->room) return;
    if (s->at == 0) memmove(s->queue + 1, s->queue, s->queued++ * sizeof *s->queue);
    s->queue[s->at ? --s->at : 0] = c;
  }
}

void qp_search_tell(qp_search *s, const qp_choice *choice, int64_t ps) {
  if (s->open) s->open--;
  if (ps <= 0 || (s->center_ps && ps >= s->center_ps)) {
    /* a start that failed is left: its neighbours would be tried for nothing */
    return;
  }
  s->center = *choice;
  s->center_ps = ps;
  s->moved = !s->exhaustive;
}

unsigned qp_search_count(const qp_search *s) { return s->seens; }

void qp_search_close(qp_search *s) {
  if (!s) return;
  free(s->seen);
  free(s->queue);
  free(s);
}

qp_status qp_search_open(qp_families *families, const qp_family *family, const qp_problem *problem,
                         const qp_search_options *opt, qp_search **out, qp_error *err) {
  qp_search *s = calloc(1, sizeof *s);
  const unsigned room = opt->froms + 1 + QP_SEARCH_SEEDS + QP_MAX_TUNABLES * QP_MAX_TUNABLE_VALUES;
  if (s) s->queue = calloc(room, sizeof *s->queue);
  if (!s || !s->queue) return free(s), qp_fail(err, QP_E_NOMEM, "no memory for a search");
  s->room = room;
  s->families = families;
  s->family = family;
  s->problem = problem;
  s->opt = *opt;
  s->random.state = opt->seed;
  s->fixed = -1;
  for (unsigned t = 0; t < family->tunables && opt->fixed; t++)
    if (!strcmp(family->tunable[t].name, opt->fixed)) s->fixed = (int)t;
  s->exhaustive = opt->strategy == QP_SEARCH_EXHAUSTIVE ||
                  (opt->strategy == QP_SEARCH_AUTO && points(family, s->fixed) <= QP_SEARCH_SMALL);
  for (unsigned i = 0; i < opt->froms; i++) {
    qp_choice c = opt->from[i];
    if (s->fixed >= 0) c.value[s->fixed] = family->tunable[s->fixed].value[0];
    s->queue[s->queued++] = c;
  }
  qp_choice_default(family, &s->queue[s->queued++]);
  s->center = s->queue[0];
  *out = s;
  return QP_OK;
}

/* ---- Estimates ---- */

double qp_kernel_weight_bytes(const qp_kernel *k) {
  double bytes = 0;
  for (unsigned i = 0; i < k->streams; i++) {
    const qp_stream *s = &k->stream[i].stream;
    bytes += (double)s->code_words * 4;
    for (unsigned f = 0; f < s->arrays; f++) bytes += (double)s->field_bytes[f];
  }
  return bytes;
}

int64_t qp_search_roofline(const qp_kernel *k, const qp_instruction_mix *mix, double read_gbs) {
  static const double issue_per_second = 4 * 1.7e9;
  double bytes = qp_kernel_weight_bytes(k), weights = 0;
  for (unsigned s = 0; s < k->problem.segments; s++)
    weights += (double)k->problem.segment[s].rows * k->problem.columns;
  /* Of stacks the experts that tokens go to; 'bytes' are those of all. */
  const double met = qp_problem_met_experts(&k->problem);
  weights *= met;
  if (k->problem.experts) bytes *= met / k->problem.experts;
  double memory = bytes / ((read_gbs > 0 ? read_gbs : 1000) * 1e9), issue = 0;
  if (mix->global_load && bytes > 0) {
    double lane_weights = mix->global_load * 128.0 / (8 * bytes / weights);
    double warps = weights / (32 * lane_weights);
    issue = warps * mix->total / (issue_per_second * k->problem.sm_count);
  }
  return llround(fmax(memory, issue) * 1e12);
}
